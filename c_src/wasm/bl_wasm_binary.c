/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "bl_wasm_binary.h"

/* ---- bytes and numbers ------------------------------------------------------------------------ */

static size_t left(const struct bl_wasm_cursor *c) { return (size_t)(c->end - c->at); }

uint8_t bl_wasm_u8(struct bl_wasm_cursor *c)
{
    if (c->at < c->end) return *c->at++;
    c->bad = true;
    return 0;
}

uint64_t bl_wasm_leb(struct bl_wasm_cursor *c, unsigned bits)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        const uint8_t byte = bl_wasm_u8(c);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return value;
    }
    c->bad = true;
    return 0;
}

void bl_wasm_skip_leb(struct bl_wasm_cursor *c)
{
    for (int i = 0; i < 10; i++)
        if (!(bl_wasm_u8(c) & 0x80)) return;
    c->bad = true;
}

void bl_wasm_skip(struct bl_wasm_cursor *c, size_t bytes)
{
    if (bytes > left(c))
        c->bad = true;
    else
        c->at += bytes;
}

static uint32_t u32(struct bl_wasm_cursor *c) { return (uint32_t)bl_wasm_leb(c, 35); }

/* A number of things that take at least a byte each. */
static size_t count_of(struct bl_wasm_cursor *c)
{
    const size_t count = u32(c);
    if (count <= left(c)) return count;
    c->bad = true;
    return 0;
}

/* ---- the reader ------------------------------------------------------------------------------- */

struct reader {
    struct bl_wasm_binary *b;
    struct bl_wasm_cursor c;
    struct bl_error *err;
    enum bl_status status; /* BL_OK until something failed */
    const uint8_t **bodies;
    size_t body_count, names_capacity, types_capacity;
    uint8_t *is_function; /* a byte for each type: 1 a function, 0 a struct or an array */
};

static bool fail(struct reader *r, enum bl_status status)
{
    if (r->status == BL_OK) r->status = status;
    return false;
}

static bool unknown(struct reader *r, const char *what)
{
    if (r->status == BL_OK) r->status = bl_fail_unsupported(r->err, what);
    return false;
}

static bool fine(struct reader *r, const char *expected)
{
    if (r->status != BL_OK) return false;
    if (!r->c.bad) return true;
    r->status = bl_fail_syntax_at(r->err, (uint64_t)(r->c.at - r->c.begin), "%s", expected);
    return false;
}

/* Room for `more` elements behind `count` in *array, a pointer to anything. */
static bool grow(struct reader *r, void *array, size_t count, size_t more, size_t size)
{
    size_t elements, bytes;
    void *p;
    memcpy(&p, array, sizeof p);
    if (!bl_add_size(count, more, &elements) || !bl_mul_size(elements, size, &bytes)) return fail(r, BL_NO_MEMORY);
    p = bl_realloc(NULL, p, bytes > 0 ? bytes : 1, r->err);
    if (!p) return fail(r, BL_NO_MEMORY);
    memcpy(array, &p, sizeof p);
    return true;
}

/* ---- types ------------------------------------------------------------------------------------ */

static void heap_type(struct bl_wasm_cursor *c, struct bl_wasm_type *type)
{
    static const struct { uint8_t code, heap, kind; } heaps[] = {
        {0x70, BL_HEAP_FUNC, WASMTIME_FUNCREF},     {0x73, BL_HEAP_NOFUNC, WASMTIME_FUNCREF},   {0x6f, BL_HEAP_EXTERN, WASMTIME_EXTERNREF},
        {0x72, BL_HEAP_NOEXTERN, WASMTIME_EXTERNREF}, {0x6e, BL_HEAP_ANY, WASMTIME_ANYREF},     {0x6d, BL_HEAP_EQ, WASMTIME_ANYREF},
        {0x6c, BL_HEAP_I31, WASMTIME_ANYREF},       {0x6b, BL_HEAP_STRUCT, WASMTIME_ANYREF},    {0x6a, BL_HEAP_ARRAY, WASMTIME_ANYREF},
        {0x71, BL_HEAP_NONE, WASMTIME_ANYREF},      {0x69, BL_HEAP_EXN, WASMTIME_EXNREF},       {0x74, BL_HEAP_NOEXN, WASMTIME_EXNREF},
    };
    if (c->at < c->end)
        for (size_t i = 0; i < sizeof heaps / sizeof heaps[0]; i++)
            if (*c->at == heaps[i].code) {
                c->at++;
                type->heap = heaps[i].heap;
                type->kind = heaps[i].kind;
                return;
            }
    type->heap = BL_HEAP_CONCRETE; /* which kind: settle() */
    type->kind = WASMTIME_ANYREF;
    type->index = u32(c); /* a signed number of 33 bits, but never negative */
}

static struct bl_wasm_type value_type(struct bl_wasm_cursor *c)
{
    struct bl_wasm_type type = {.nullable = true};
    const uint8_t code = c->at < c->end ? *c->at : 0;
    if (code >= 0x7b && code <= 0x7f) {
        c->at++;
        type.kind = (uint8_t)(0x7f - code);
    } else if (code == 0x63 || code == 0x64) {
        c->at++;
        type.nullable = code == 0x63;
        heap_type(c, &type);
    } else if (code >= 0x69 && code <= 0x74) {
        heap_type(c, &type);
    } else {
        c->bad = true;
    }
    return type;
}

static void field_type(struct bl_wasm_cursor *c)
{
    if (c->at < c->end && (*c->at == 0x78 || *c->at == 0x77))
        c->at++;
    else
        value_type(c);
    bl_wasm_u8(c);
}

static bool function_type(struct reader *r, struct bl_wasm_signature **out)
{
    struct bl_wasm_cursor ahead = r->c;
    const size_t params = count_of(&ahead);
    for (size_t i = 0; i < params && !ahead.bad; i++) value_type(&ahead);
    const size_t results = count_of(&ahead);
    size_t bytes;
    if (ahead.bad) {
        r->c = ahead;
        return fine(r, "a function type");
    }
    if (!bl_mul_size(params + results, sizeof(struct bl_wasm_type), &bytes)) return fail(r, BL_NO_MEMORY);
    struct bl_wasm_signature *s = bl_alloc(NULL, sizeof *s + bytes, r->err);
    if (!s) return fail(r, BL_NO_MEMORY);
    *out = s;
    s->params = (uint32_t)params;
    s->results = (uint32_t)results;
    count_of(&r->c);
    for (size_t i = 0; i < params; i++) s->types[i] = value_type(&r->c);
    count_of(&r->c);
    for (size_t i = 0; i < results && !r->c.bad; i++) s->types[params + i] = value_type(&r->c);
    const size_t most = params > results ? params : results;
    if (most > r->b->value_count) r->b->value_count = most;
    return fine(r, "a function type");
}

static bool composite_type(struct reader *r)
{
    struct bl_wasm_binary *b = r->b;
    if (b->type_count == r->types_capacity) {
        const size_t more = r->types_capacity + 16;
        if (!grow(r, &b->types, r->types_capacity, more, sizeof *b->types) || !grow(r, &r->is_function, r->types_capacity, more, 1))
            return false;
        r->types_capacity += more;
    }
    b->types[b->type_count] = NULL;
    r->is_function[b->type_count] = 0;
    const uint8_t form = bl_wasm_u8(&r->c);
    b->type_count++;
    if (form == 0x60) {
        r->is_function[b->type_count - 1] = 1;
        return function_type(r, &b->types[b->type_count - 1]);
    }
    if (form == 0x5e) {
        b->has_arrays = true;
        field_type(&r->c);
    } else if (form == 0x5f) {
        const size_t fields = count_of(&r->c);
        for (size_t i = 0; i < fields && !r->c.bad; i++) field_type(&r->c);
    } else {
        return r->c.bad ? fine(r, "a type") : unknown(r, "a form of type");
    }
    return fine(r, "a type");
}

static bool sub_type(struct reader *r)
{
    if (r->c.at < r->c.end && (*r->c.at == 0x50 || *r->c.at == 0x4f)) {
        r->c.at++;
        const size_t supers = count_of(&r->c);
        for (size_t i = 0; i < supers && !r->c.bad; i++) u32(&r->c);
    }
    return composite_type(r);
}

static bool read_types(struct reader *r)
{
    const size_t groups = count_of(&r->c);
    for (size_t i = 0; i < groups && !r->c.bad; i++) {
        size_t members = 1;
        if (r->c.at < r->c.end && *r->c.at == 0x4e) {
            r->c.at++;
            members = count_of(&r->c);
        }
        for (size_t m = 0; m < members; m++)
            if (!sub_type(r)) return false;
    }
    return fine(r, "the type section");
}

/* How a reference to one of the module's own types is kept is known when all types are. */
static void settle(const struct reader *r, struct bl_wasm_type *type)
{
    if (type->heap == BL_HEAP_CONCRETE && type->kind == WASMTIME_ANYREF && type->index < r->b->type_count && r->is_function[type->index])
        type->kind = WASMTIME_FUNCREF;
}

static void settle_all(struct reader *r)
{
    const struct bl_wasm_binary *b = r->b;
    for (size_t t = 0; t < b->type_count; t++)
        for (size_t i = 0; b->types[t] && i < (size_t)b->types[t]->params + b->types[t]->results; i++) settle(r, &b->types[t]->types[i]);
    for (size_t i = 0; i < b->table_count; i++) settle(r, &b->tables[i].element);
    for (size_t i = 0; i < b->global_count; i++) settle(r, &b->globals[i].type);
}

/* ---- limits, globals, constant expressions ----------------------------------------------------- */

static struct bl_wasm_limits limits(struct bl_wasm_cursor *c)
{
    struct bl_wasm_limits l = {.page_log2 = 16};
    const uint8_t flags = bl_wasm_u8(c);
    l.bounded = flags & 1;
    l.shared = flags & 2;
    l.is64 = flags & 4;
    l.min = bl_wasm_leb(c, 70);
    if (l.bounded) l.max = bl_wasm_leb(c, 70);
    if (flags & 8) l.page_log2 = (uint8_t)u32(c);
    return l;
}

static struct bl_wasm_limits table_type(struct bl_wasm_cursor *c)
{
    const struct bl_wasm_type element = value_type(c);
    struct bl_wasm_limits l = limits(c);
    l.element = element;
    return l;
}

static bool constant_expression(struct reader *r)
{
    struct bl_wasm_cursor *c = &r->c;
    while (!c->bad) {
        const uint8_t op = bl_wasm_u8(c);
        if (op == 0x0b) return fine(r, "a constant expression");
        if (op == 0x41 || op == 0x42 || op == 0x23 || op == 0xd2) { /* i32.const, i64.const, global.get, ref.func */
            bl_wasm_skip_leb(c);
        } else if (op == 0x43 || op == 0x44) {
            bl_wasm_skip(c, op == 0x43 ? 4 : 8);
        } else if (op == 0xd0) {
            bl_wasm_skip_leb(c);
        } else if (op == 0xfd) {
            if (u32(c) != 12 && !c->bad) return unknown(r, "a constant expression");
            bl_wasm_skip(c, 16);
        } else if (op == 0xfb) {
            const uint32_t sub = u32(c); /* struct.new, array.new and relations; ref.i31 and conversions have no operand */
            if (sub <= 1 || (sub >= 6 && sub <= 8)) bl_wasm_skip_leb(c);
            if (sub == 8) bl_wasm_skip_leb(c);
        } else if (!(op >= 0x6a && op <= 0x6c) && !(op >= 0x7c && op <= 0x7e)) { /* extended constants: add, sub, mul */
            return c->bad ? fine(r, "a constant expression") : unknown(r, "a constant expression");
        }
    }
    return fine(r, "a constant expression");
}

/* ---- index spaces ------------------------------------------------------------------------------ */

static bool add_function(struct reader *r, uint32_t type)
{
    r->b->functions[r->b->function_count++] = type;
    return true;
}

static struct bl_wasm_global global_type(struct bl_wasm_cursor *c)
{
    struct bl_wasm_global g = {.type = value_type(c)};
    g.mutable = bl_wasm_u8(c) == 1;
    return g;
}

static bool read_name(struct reader *r, size_t *at, size_t *len)
{
    struct bl_wasm_binary *b = r->b;
    *len = u32(&r->c);
    const uint8_t *from = r->c.at;
    bl_wasm_skip(&r->c, *len);
    if (!fine(r, "a name")) return false;
    if (*len > r->names_capacity - b->names_len) {
        const size_t more = r->names_capacity + *len + 64;
        if (!grow(r, &b->names, r->names_capacity, more, 1)) return false;
        r->names_capacity += more;
    }
    *at = b->names_len;
    if (*len > 0) memcpy(b->names + b->names_len, from, *len);
    b->names_len += *len;
    return true;
}

static bool import(struct reader *r, struct bl_wasm_name *n)
{
    struct bl_wasm_binary *b = r->b;
    static const uint8_t kinds[5] = {WASMTIME_FUNC, WASMTIME_TABLE, WASMTIME_MEMORY, WASMTIME_GLOBAL, WASMTIME_TAG};
    memset(n, 0, sizeof *n);
    if (!read_name(r, &n->module, &n->module_len) || !read_name(r, &n->name, &n->name_len)) return false;
    const uint8_t code = bl_wasm_u8(&r->c);
    if (code > 4) return unknown(r, "a kind of import");
    n->kind = kinds[code];
    if (code == 4) bl_wasm_u8(&r->c);
    if (code == 0) {
        n->index = (uint32_t)b->function_count;
        add_function(r, u32(&r->c));
        b->imported_functions++;
    } else if (code == 1) {
        n->index = (uint32_t)b->table_count;
        if (!grow(r, &b->tables, b->table_count, 1, sizeof *b->tables)) return false;
        b->tables[b->table_count++] = table_type(&r->c);
    } else if (code == 2) {
        n->index = (uint32_t)b->memory_count;
        if (!grow(r, &b->memories, b->memory_count, 1, sizeof *b->memories)) return false;
        b->memories[b->memory_count++] = limits(&r->c);
    } else if (code == 3) {
        n->index = (uint32_t)b->global_count;
        if (!grow(r, &b->globals, b->global_count, 1, sizeof *b->globals)) return false;
        b->globals[b->global_count++] = global_type(&r->c);
    } else {
        n->index = (uint32_t)b->tag_count;
        if (!grow(r, &b->tags, b->tag_count, 1, sizeof *b->tags)) return false;
        b->tags[b->tag_count++] = u32(&r->c);
    }
    return fine(r, "an import");
}

static bool read_imports(struct reader *r)
{
    struct bl_wasm_binary *b = r->b;
    const size_t count = count_of(&r->c);
    if (!grow(r, &b->imports, b->import_count, count, sizeof *b->imports) ||
        !grow(r, &b->functions, b->function_count, count, sizeof *b->functions))
        return false;
    for (size_t i = 0; i < count && !r->c.bad; i++) {
        if (!import(r, &b->imports[b->import_count])) return false;
        b->import_count++;
    }
    return fine(r, "the import section");
}

static bool read_functions(struct reader *r)
{
    struct bl_wasm_binary *b = r->b;
    const size_t count = count_of(&r->c);
    if (!grow(r, &b->functions, b->function_count, count, sizeof *b->functions)) return false;
    for (size_t i = 0; i < count && !r->c.bad; i++) add_function(r, u32(&r->c));
    return fine(r, "the function section");
}

static bool read_tables(struct reader *r)
{
    struct bl_wasm_binary *b = r->b;
    const size_t count = count_of(&r->c);
    if (!grow(r, &b->tables, b->table_count, count, sizeof *b->tables)) return false;
    for (size_t i = 0; i < count && !r->c.bad; i++) {
        const bool has_init = r->c.at < r->c.end && *r->c.at == 0x40;
        if (has_init) bl_wasm_skip(&r->c, 2);
        b->tables[b->table_count++] = table_type(&r->c);
        if (has_init && !constant_expression(r)) return false;
    }
    return fine(r, "the table section");
}

static bool read_memories(struct reader *r)
{
    struct bl_wasm_binary *b = r->b;
    const size_t count = count_of(&r->c);
    if (!grow(r, &b->memories, b->memory_count, count, sizeof *b->memories)) return false;
    for (size_t i = 0; i < count && !r->c.bad; i++) b->memories[b->memory_count++] = limits(&r->c);
    return fine(r, "the memory section");
}

static bool read_globals(struct reader *r)
{
    struct bl_wasm_binary *b = r->b;
    const size_t count = count_of(&r->c);
    if (!grow(r, &b->globals, b->global_count, count, sizeof *b->globals)) return false;
    for (size_t i = 0; i < count && !r->c.bad; i++) {
        b->globals[b->global_count++] = global_type(&r->c);
        if (!constant_expression(r)) return false;
    }
    return fine(r, "the global section");
}

static bool read_tags(struct reader *r)
{
    struct bl_wasm_binary *b = r->b;
    const size_t count = count_of(&r->c);
    if (!grow(r, &b->tags, b->tag_count, count, sizeof *b->tags)) return false;
    for (size_t i = 0; i < count && !r->c.bad; i++) {
        bl_wasm_u8(&r->c);
        b->tags[b->tag_count++] = u32(&r->c);
    }
    return fine(r, "the tag section");
}

static bool read_exports(struct reader *r)
{
    struct bl_wasm_binary *b = r->b;
    static const uint8_t kinds[5] = {WASMTIME_FUNC, WASMTIME_TABLE, WASMTIME_MEMORY, WASMTIME_GLOBAL, WASMTIME_TAG};
    const size_t count = count_of(&r->c);
    if (!grow(r, &b->exports, b->export_count, count, sizeof *b->exports)) return false;
    for (size_t i = 0; i < count && !r->c.bad; i++) {
        struct bl_wasm_name *n = &b->exports[b->export_count];
        memset(n, 0, sizeof *n);
        if (!read_name(r, &n->name, &n->name_len)) return false;
        const uint8_t code = bl_wasm_u8(&r->c);
        if (code > 4) return unknown(r, "a kind of export");
        n->kind = kinds[code];
        n->index = u32(&r->c);
        b->export_count++;
    }
    return fine(r, "the export section");
}

static bool read_code(struct reader *r)
{
    const size_t count = count_of(&r->c);
    if (!grow(r, &r->bodies, 0, count + 1, sizeof *r->bodies)) return false;
    for (size_t i = 0; i < count && !r->c.bad; i++) {
        r->bodies[r->body_count++] = r->c.at;
        bl_wasm_skip(&r->c, u32(&r->c));
    }
    r->bodies[r->body_count] = r->c.at;
    return fine(r, "the code section");
}

static bool read_start(struct reader *r)
{
    r->b->has_start = true;
    r->b->start = u32(&r->c);
    return fine(r, "the start section");
}

/* ---- sections ---------------------------------------------------------------------------------- */

static bool read_section(struct reader *r, uint8_t id, struct bl_wasm_span span)
{
    switch (id) {
        case 1: return read_types(r);
        case 2: return read_imports(r);
        case 3: return read_functions(r);
        case 4: return read_tables(r);
        case 5: return read_memories(r);
        case 6: return read_globals(r);
        case 7: r->b->export_section = span; return read_exports(r);
        case 8: r->b->start_section = span; return read_start(r);
        case 10: r->b->code_begin = span.begin; return read_code(r);
        case 13: return read_tags(r);
        default: return true; /* custom, elements, data, their count */
    }
}

static bool read_sections(struct reader *r)
{
    static const uint8_t magic[8] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    const uint8_t *const end = r->c.end;
    if (left(&r->c) < sizeof magic || memcmp(r->c.at, magic, sizeof magic) != 0) {
        r->c.bad = true;
        return fine(r, "the header of a module");
    }
    r->c.at += sizeof magic;
    uint32_t seen = 0;
    while (r->c.at < end) {
        struct bl_wasm_span span = {.begin = (size_t)(r->c.at - r->c.begin)};
        const uint8_t id = bl_wasm_u8(&r->c);
        const size_t size = u32(&r->c);
        const uint8_t *const body = r->c.at;
        bl_wasm_skip(&r->c, size);
        if (id > 13 || (id > 0 && seen & 1u << id)) r->c.bad = true; /* unknown, or twice */
        if (!fine(r, "a section")) return false;
        if (id > 0) seen |= 1u << id;
        span.end = (size_t)(r->c.at - r->c.begin);
        r->c.at = body;
        r->c.end = body + size;
        if (!read_section(r, id, span)) return false;
        r->c.at = body + size;
        r->c.end = end;
    }
    return true;
}

/* What an export names must be there; what the index of a function's type names, too. */
static bool indices_are_good(struct reader *r)
{
    const struct bl_wasm_binary *b = r->b;
    const size_t counts[6] = {[WASMTIME_FUNC] = b->function_count, [WASMTIME_GLOBAL] = b->global_count, [WASMTIME_TABLE] = b->table_count,
                              [WASMTIME_MEMORY] = b->memory_count, [WASMTIME_TAG] = b->tag_count};
    bool good = b->function_count == b->imported_functions + r->body_count;
    for (size_t i = 0; i < b->export_count && good; i++) good = b->exports[i].index < counts[b->exports[i].kind];
    for (size_t i = 0; i < b->function_count && good; i++) good = bl_wasm_binary_signature(b, (uint32_t)i) != NULL;
    for (size_t i = 0; i < b->tag_count && good; i++) good = b->tags[i] < b->type_count && b->types[b->tags[i]];
    if (b->has_start && b->start >= b->function_count) good = false;
    r->c.bad = !good;
    return fine(r, "indices of things that are there");
}

enum bl_status bl_wasm_binary_read(struct bl_wasm_binary *binary, const uint8_t *bytes, size_t len, struct bl_error *err)
{
    struct bl_wasm_binary b = {.value_count = 1};
    struct reader r = {.b = &b, .c = {bytes, bytes, bytes + len, false}, .err = err};
    if (read_sections(&r) && indices_are_good(&r)) {
        settle_all(&r);
        const struct bl_wasm_bodies bodies = {r.bodies, r.body_count};
        bl_wasm_mark_short(&b, &bodies, err);
    }
    bl_free(r.bodies);
    bl_free(r.is_function);
    if (r.status == BL_OK)
        *binary = b;
    else
        bl_wasm_binary_clear(&b);
    return r.status;
}

void bl_wasm_binary_clear(struct bl_wasm_binary *b)
{
    for (size_t i = 0; i < b->type_count; i++) bl_free(b->types[i]);
    bl_free(b->types);
    bl_free(b->functions);
    bl_free(b->tables);
    bl_free(b->memories);
    bl_free(b->globals);
    bl_free(b->tags);
    bl_free(b->imports);
    bl_free(b->exports);
    bl_free(b->names);
    *b = (struct bl_wasm_binary){0};
}

size_t bl_wasm_binary_imported(const struct bl_wasm_binary *b, uint8_t kind)
{
    size_t count = 0;
    for (size_t i = 0; i < b->import_count; i++) count += b->imports[i].kind == kind;
    return count;
}

const struct bl_wasm_signature *bl_wasm_binary_signature(const struct bl_wasm_binary *b, uint32_t function)
{
    if (function >= b->function_count || b->functions[function] >= b->type_count) return NULL;
    return b->types[b->functions[function]];
}
