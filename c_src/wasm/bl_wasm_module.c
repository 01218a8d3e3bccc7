/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bl_ctx.h"
#include "bl_wasm_engine.h"

/* ---- what the library says ---------------------------------------------------------------------- */

/* "... (at offset 0x1f)" */
static bool place_in_binary(const char *text, uint64_t *offset)
{
    const char *at = strstr(text, "(at offset 0x");
    if (!at) return false;
    *offset = strtoull(at + 13, NULL, 16);
    return true;
}

/* "expected ...\n     --> <anon>:3:14\n" */
static bool place_in_text(const char *text, uint32_t *line, uint32_t *column)
{
    const char *at = strstr(text, "<anon>:");
    if (!at) return false;
    char *end;
    *line = (uint32_t)strtoul(at + 7, &end, 10);
    if (*end == ':') *column = (uint32_t)strtoul(end + 1, NULL, 10);
    return true;
}

/* Messages come as "context\n\nCaused by:\n    0: why\n"; the last line that says something is the reason. */
static const char *reason_in(char *text)
{
    char *caused = strstr(text, "Caused by:");
    char *at = caused ? caused + 10 : text;
    while (*at == '\n' || *at == ' ' || (caused && *at >= '0' && *at <= '9') || (caused && *at == ':')) at++;
    char *end = strchr(at, '\n');
    if (end) *end = '\0';
    return *at ? at : text;
}

enum bl_status bl_wasm_library_error(wasmtime_error_t *error, struct bl_error *err)
{
    wasm_byte_vec_t message;
    char text[1024];
    uint32_t line = 0, column = 1;
    uint64_t offset = 0;
    wt.wasmtime_error_message(error, &message);
    const size_t len = message.size < sizeof text - 1 ? message.size : sizeof text - 1;
    memcpy(text, message.data, len);
    text[len] = '\0';
    wt.wasm_byte_vec_delete(&message);
    wt.wasmtime_error_delete(error);
    const bool in_text = place_in_text(text, &line, &column), in_binary = place_in_binary(text, &offset);
    const char *why = reason_in(text);
    if (in_text) return bl_fail_syntax(err, line, column, "%s", why);
    if (in_binary) {
        bl_fail_invalid(err, "module", "%s", why);
        if (err) err->offset = offset;
        return BL_INVALID;
    }
    return bl_fail_invalid(err, "module", "%s", why);
}

enum bl_status bl_wasm_text(const uint8_t *text, size_t len, uint8_t **out, size_t *out_len, struct bl_error *err)
{
    wasm_byte_vec_t binary;
    wasmtime_error_t *error = wt.wasmtime_wat2wasm((const char *)text, len, &binary);
    if (error) {
        const enum bl_status status = bl_wasm_library_error(error, err);
        if (status != BL_INVALID || !err) return status;
        const struct bl_error said = *err; /* no place: it is no UTF-8, or the text ends too soon */
        return bl_fail_syntax_at(err, said.offset, "%s", said.text);
    }
    uint8_t *copy = bl_alloc(NULL, binary.size, err);
    if (copy) memcpy(copy, binary.data, binary.size);
    *out_len = binary.size;
    *out = copy;
    wt.wasm_byte_vec_delete(&binary);
    return copy ? BL_OK : BL_NO_MEMORY;
}

/* ---- reading and compiling ------------------------------------------------------------------------ */

/* What is compiled: the bytes given, or what was made of them. */
struct source {
    const uint8_t *bytes;
    size_t len;
    uint8_t *binary, *rewritten; /* to be freed */
    int64_t moved;
};

static void source_clear(struct source *s)
{
    bl_free(s->binary);
    bl_free(s->rewritten);
}

static bool is_binary(const uint8_t *bytes, size_t len) { return len >= 4 && memcmp(bytes, "\0asm", 4) == 0; }

static enum bl_status check_limits(const struct bl_wasm_binary *b, const struct bl_wasm_module_limits *limits, struct bl_error *err)
{
    return b->import_count > limits->imports ? bl_fail_limit(err, "imports", limits->imports, b->import_count) : BL_OK;
}

static enum bl_status open_source(struct source *s, const uint8_t *bytes, size_t len, const struct bl_wasm_module_limits *limits,
                                  struct bl_error *err)
{
    *s = (struct source){.bytes = bytes, .len = len};
    if (len > limits->bytes) return bl_fail_limit(err, "module_bytes", limits->bytes, len);
    if (is_binary(bytes, len)) return BL_OK;
    const enum bl_status status = bl_wasm_text(bytes, len, &s->binary, &s->len, err);
    if (status != BL_OK) return status;
    s->bytes = s->binary;
    return s->len > limits->bytes ? bl_fail_limit(err, "module_bytes", limits->bytes, s->len) : BL_OK;
}

/* The library's word counts; our own reader only adds a place to it, or refuses what it does not know. */
static enum bl_status judge(const struct bl_wasm_engine *engine, const struct source *s, enum bl_status read, const struct bl_error *why,
                            struct bl_error *err)
{
    wasmtime_error_t *error = wt.wasmtime_module_validate(engine->engine, s->bytes, s->len);
    if (!error) {
        if (err) *err = *why;
        return read;
    }
    const enum bl_status status = bl_wasm_library_error(error, err);
    if (status != BL_INVALID || read != BL_SYNTAX || !err) return status;
    const struct bl_error said = *err;
    return bl_fail_syntax_at(err, said.offset ? said.offset : why->offset, "%s", said.text);
}

/* What rewriting adds to a module. */
struct extras {
    struct bl_wasm_extra *extra;
    size_t count;
};

static void add_extra(struct extras *x, const char *what, size_t i, uint8_t kind, uint32_t index)
{
    struct bl_wasm_extra *e = &x->extra[x->count++];
    e->kind = kind;
    e->index = index;
    if (what)
        snprintf(e->name, sizeof e->name, BL_WASM_OWN_NAME "%s %zu", what, i);
    else
        snprintf(e->name, sizeof e->name, "%s", BL_WASM_START_NAME);
}

/* All state that a module has becomes exports; `binary` then has them, too. */
static enum bl_status expose(struct extras *x, struct bl_wasm_binary *b, struct bl_error *err)
{
    for (size_t i = 0; i < b->memory_count; i++) add_extra(x, "memory", i, WASMTIME_MEMORY, (uint32_t)i);
    for (size_t i = 0; i < b->table_count; i++) add_extra(x, "table", i, WASMTIME_TABLE, (uint32_t)i);
    for (size_t i = 0; i < b->global_count; i++)
        if (b->globals[i].mutable) add_extra(x, "global", i, WASMTIME_GLOBAL, (uint32_t)i);
    for (size_t i = 0; i < x->count; i++)
        if (bl_wasm_binary_add_export(b, x->extra[i].name, x->extra[i].kind, x->extra[i].index, err) != BL_OK) return BL_NO_MEMORY;
    return BL_OK;
}

static enum bl_status find_extras(struct extras *x, struct bl_wasm_binary *b, bool exposed, struct bl_error *err)
{
    const size_t most = 1 + (exposed ? b->memory_count + b->table_count + b->global_count : 0);
    *x = (struct extras){bl_alloc_array(NULL, most, sizeof *x->extra, err), 0};
    if (!x->extra) return BL_NO_MEMORY;
    const enum bl_status status = exposed ? expose(x, b, err) : BL_OK;
    if (b->has_start) add_extra(x, NULL, 0, WASMTIME_FUNC, b->start); /* which is taken out: see bl_wasm_rewrite.c */
    return status;
}

static enum bl_status rewrite(const struct bl_wasm_engine *engine, struct source *s, const struct bl_wasm_binary *binary,
    const struct extras *x,
                              struct bl_error *err)
{
    if (x->count == 0) return BL_OK;
    const struct bl_error none = {0};
    size_t len;
    enum bl_status status = judge(engine, s, BL_OK, &none, err); /* what is rewritten must have been good before */
    if (status != BL_OK) return status;
    status = bl_wasm_binary_rewrite(binary, s->bytes, s->len, x->extra, x->count, &s->rewritten, &len, &s->moved, err);
    if (status != BL_OK) return status;
    s->bytes = s->rewritten;
    s->len = len;
    return BL_OK;
}

static bool has_shared_memory(const struct bl_wasm_binary *b)
{
    for (size_t i = 0; i < b->memory_count; i++)
        if (b->memories[i].shared) return true;
    return false;
}

static enum bl_status read_binary(const struct bl_wasm_engine *engine, const struct source *s, const struct bl_wasm_module_limits *limits,
                                  struct bl_wasm_binary *binary, struct bl_error *err)
{
    struct bl_error why = {0};
    enum bl_status status = bl_wasm_binary_read(binary, s->bytes, s->len, &why);
    if (status == BL_OK) {
        if (!has_shared_memory(binary)) return check_limits(binary, limits, err);
        bl_wasm_binary_clear(binary);
        status = bl_fail_unsupported(&why, "shared_memory"); /* who waits on it would hold a scheduler */
    }
    return judge(engine, s, status, &why, err);
}

enum bl_status bl_wasm_module_validate(const struct bl_wasm_engine *engine, const uint8_t *bytes, size_t len,
                                       const struct bl_wasm_module_limits *limits, struct bl_error *err)
{
    struct source s;
    struct bl_wasm_binary binary = {0};
    const struct bl_error none = {0};
    enum bl_status status = open_source(&s, bytes, len, limits, err);
    if (status == BL_OK) status = read_binary(engine, &s, limits, &binary, err);
    if (status == BL_OK) status = judge(engine, &s, BL_OK, &none, err);
    bl_wasm_binary_clear(&binary);
    source_clear(&s);
    return status;
}

/* ---- exports by name ------------------------------------------------------------------------------ */

static uint32_t hash(const char *name, size_t len)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < len; i++) h = (h ^ (uint8_t)name[i]) * 16777619u;
    return h;
}

/* A table of indices + 1, at most half full. */
static enum bl_status index_exports(struct bl_wasm_module *m, struct bl_error *err)
{
    const struct bl_wasm_binary *b = &m->binary;
    size_t slots = 4;
    while (slots < 2 * b->export_count) slots *= 2;
    m->by_name = bl_alloc_zero(NULL, slots * sizeof *m->by_name, err);
    if (!m->by_name) return BL_NO_MEMORY;
    m->by_name_mask = (uint32_t)slots - 1;
    for (size_t i = 0; i < b->export_count; i++) {
        uint32_t at = hash(b->names + b->exports[i].name, b->exports[i].name_len) & m->by_name_mask;
        while (m->by_name[at]) at = (at + 1) & m->by_name_mask;
        m->by_name[at] = (uint32_t)i + 1;
    }
    return BL_OK;
}

int64_t bl_wasm_module_export(const struct bl_wasm_module *m, const char *name, size_t len)
{
    const struct bl_wasm_binary *b = &m->binary;
    for (uint32_t at = hash(name, len) & m->by_name_mask; m->by_name[at]; at = (at + 1) & m->by_name_mask) {
        const struct bl_wasm_name *e = &b->exports[m->by_name[at] - 1];
        if (e->name_len == len && (len == 0 || memcmp(b->names + e->name, name, len) == 0)) return m->by_name[at] - 1;
    }
    return -1;
}

/* ---- modules ---------------------------------------------------------------------------------------- */

static enum bl_status compile(struct bl_wasm_module *m, const struct source *s, struct bl_error *err)
{
    wasmtime_error_t *error = wt.wasmtime_module_new(m->engine->engine, s->bytes, s->len, &m->module);
    if (!error) return BL_OK;
    wasmtime_error_t *better = wt.wasmtime_module_validate(m->engine->engine, s->bytes, s->len); /* says what, and where */
    if (!better) return bl_wasm_library_error(error, err);
    wt.wasmtime_error_delete(error);
    return bl_wasm_library_error(better, err);
}

/* All that there are. */
static struct {
    pthread_mutex_t lock;
    struct bl_link list;
    uint64_t made;
} all = {PTHREAD_MUTEX_INITIALIZER, {&all.list, &all.list}, 0};

static void enlist(struct bl_wasm_module *m)
{
    pthread_mutex_lock(&all.lock);
    m->id = ++all.made;
    bl_link_append(&all.list, &m->all);
    pthread_mutex_unlock(&all.lock);
}

struct bl_wasm_module *bl_wasm_module_find(uint64_t id)
{
    struct bl_wasm_module *found = NULL;
    pthread_mutex_lock(&all.lock);
    for (struct bl_link *l = all.list.next; l != &all.list && !found; l = l->next) {
        struct bl_wasm_module *m = BL_CONTAINER(l, struct bl_wasm_module, all);
        if (m->id == id) found = m;
    }
    /* One without references is on its way out of the list. */
    uint32_t refs = found ? __atomic_load_n(&found->refs, __ATOMIC_RELAXED) : 0;
    while (refs > 0 && !__atomic_compare_exchange_n(&found->refs, &refs, refs + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
    pthread_mutex_unlock(&all.lock);
    return refs > 0 ? found : NULL;
}

enum bl_status bl_wasm_module_compile(const struct bl_wasm_engine *engine, const uint8_t *bytes, size_t len,
                                      const struct bl_wasm_module_limits *limits, const char *cache, const char *key,
                                      struct bl_wasm_module **out, struct bl_error *err)
{
    struct source s;
    struct extras extras = {0};
    const uint64_t begin = bl_now_ns();
    struct bl_wasm_module *m = bl_alloc_zero(NULL, sizeof *m, err);
    if (!m) return BL_NO_MEMORY;
    m->refs = 1;
    enlist(m);
    m->engine = engine;
    m->bytes = len;
    m->exposed = limits->expose;
    pthread_mutex_init(&m->lock, NULL);
    enum bl_status status = open_source(&s, bytes, len, limits, err);
    if (status == BL_OK) status = read_binary(engine, &s, limits, &m->binary, err);
    if (status == BL_OK) status = find_extras(&extras, &m->binary, m->exposed, err);
    if (status == BL_OK) status = index_exports(m, err);
    m->from_cache = status == BL_OK && cache && bl_wasm_cache_load(m, cache, key);
    if (status == BL_OK && !m->from_cache) {
        status = rewrite(engine, &s, &m->binary, &extras, err);
        m->moved = s.moved;
        if (status == BL_OK) status = compile(m, &s, err);
        if (status == BL_OK && cache) bl_wasm_cache_store(m, cache, key);
    }
    source_clear(&s);
    bl_free(extras.extra);
    m->compile_ns = bl_now_ns() - begin;
    if (status == BL_OK)
        *out = m;
    else
        bl_wasm_module_unref(m);
    return status;
}

void bl_wasm_module_ref(struct bl_wasm_module *m) { __atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED); }

void bl_wasm_module_unref(struct bl_wasm_module *m)
{
    if (__atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    pthread_mutex_lock(&all.lock);
    bl_link_remove(&m->all);
    pthread_mutex_unlock(&all.lock);
    if (m->pre) wt.wasmtime_instance_pre_delete(m->pre);
    if (m->linker) wt.wasmtime_linker_delete(m->linker);
    if (m->module) wt.wasmtime_module_delete(m->module);
    bl_free(m->imports);
    bl_free(m->by_name);
    bl_wasm_binary_clear(&m->binary);
    pthread_mutex_destroy(&m->lock);
    bl_free(m);
}

