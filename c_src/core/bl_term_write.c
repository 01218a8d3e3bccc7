/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer's front: checks what every back end may rely on, then hands on.
 */
#include <math.h>
#include <string.h>

#include "bl_term.h"

void bl_writer_init(struct bl_writer *w, const struct bl_writer_ops *ops)
{
    w->ops = ops;
    w->error = (struct bl_error){.status = BL_OK};
    w->begun = false;
    w->depth = w->floor = 0; /* `open` is written before it is read */
}

void bl_writer_fail(struct bl_writer *w, const struct bl_error *err)
{
    if (w->error.status == BL_OK) w->error = *err;
}

static void fail_invalid(struct bl_writer *w, const char *why)
{
    struct bl_error err;
    bl_fail_invalid(&err, "result", "%s", why);
    bl_writer_fail(w, &err);
}

enum bl_status bl_writer_status(const struct bl_writer *w, struct bl_error *err)
{
    if (w->error.status != BL_OK && err) *err = w->error;
    return w->error.status;
}

bool bl_writer_done(const struct bl_writer *w) { return w->error.status == BL_OK && w->begun && w->depth == 0; }

/* True when one more term may come here; counts it. */
static bool admit(struct bl_writer *w)
{
    if (w->error.status != BL_OK) return false;
    if (w->depth > 0 ? w->open[w->depth - 1].left == 0 : w->begun) {
        fail_invalid(w, "more terms than announced");
        return false;
    }
    if (w->depth > 0) w->open[w->depth - 1].left--;
    w->begun = true;
    return true;
}

/* ---- marks ---------------------------------------------------------------- */

struct bl_writer_mark bl_writer_mark(const struct bl_writer *w)
{
    return (struct bl_writer_mark){
        .depth = w->depth, .begun = w->begun, .left = w->depth > 0 ? w->open[w->depth - 1].left : 0, .at = w->ops->mark(w)};
}

void bl_writer_rewind(struct bl_writer *w, const struct bl_writer_mark *mark)
{
    w->error.status = BL_OK;
    w->depth = mark->depth;
    w->begun = mark->begun;
    if (w->depth > 0) w->open[w->depth - 1].left = mark->left;
    w->ops->rewind(w, mark->at);
}

/* ---- simple terms --------------------------------------------------------- */

/* Back ends know ASCII atoms only, since a VM's C interfaces take Latin-1 in places. */
static void write_wide_atom(struct bl_writer *w, const uint8_t *name, size_t len)
{
    uint8_t encoded[3 + ETF_ATOM_BYTES] = {len <= UINT8_MAX ? ETF_SMALL_ATOM_UTF8 : ETF_ATOM_UTF8};
    const size_t head = len <= UINT8_MAX ? 2 : 3;
    if (head == 2)
        encoded[1] = (uint8_t)len;
    else
        etf_put16(encoded + 1, (uint16_t)len);
    memcpy(encoded + head, name, len);
    w->ops->raw(w, &(struct bl_span){.data = encoded, .len = head + len});
}

static void write_atom(struct bl_writer *w, const uint8_t *name, size_t len)
{
    if (!admit(w)) return;
    if (len <= ETF_ATOM_CHARACTERS && bl_is_ascii(name, len))
        w->ops->atom(w, (const char *)name, len);
    else if (bl_is_atom_text(name, len))
        write_wide_atom(w, name, len);
    else
        fail_invalid(w, "an atom is not UTF-8 or has more than 255 characters");
}

void bl_write_atom(struct bl_writer *w, const char *name) { write_atom(w, (const uint8_t *)name, strlen(name)); }

void bl_write_bool(struct bl_writer *w, bool value) { bl_write_atom(w, value ? "true" : "false"); }

void bl_write_int(struct bl_writer *w, int64_t value)
{
    if (admit(w)) w->ops->integer(w, value);
}

void bl_write_uint(struct bl_writer *w, uint64_t value)
{
    if (value <= INT64_MAX)
        bl_write_int(w, (int64_t)value);
    else if (admit(w))
        w->ops->uinteger(w, value);
}

void bl_write_float(struct bl_writer *w, double value)
{
    if (isnan(value))
        bl_write_atom(w, "nan");
    else if (isinf(value))
        bl_write_atom(w, value > 0 ? "infinity" : "neg_infinity");
    else if (admit(w))
        w->ops->real(w, value);
}

uint8_t *bl_write_binary_space(struct bl_writer *w, size_t len) { return admit(w) ? w->ops->binary(w, len) : NULL; }

void bl_write_binary(struct bl_writer *w, const void *data, size_t len)
{
    uint8_t *space = bl_write_binary_space(w, len);
    if (space && len > 0) memcpy(space, data, len);
}

void bl_write_text(struct bl_writer *w, const char *text) { bl_write_binary(w, text, strlen(text)); }

void bl_write_span(struct bl_writer *w, const struct bl_span *span)
{
    if (!span->owner || !w->ops->span)
        bl_write_binary(w, span->data, span->len);
    else if (admit(w))
        w->ops->span(w, span);
}

void bl_write_raw(struct bl_writer *w, const struct bl_span *encoded)
{
    if (!admit(w)) return;
    if (encoded->len == 0)
        fail_invalid(w, "an encoded term of no bytes"); /* a back end that only appends would not notice */
    else
        w->ops->raw(w, encoded);
}

/* ---- containers ----------------------------------------------------------- */

static void begin(struct bl_writer *w, enum bl_term_type type, size_t count, size_t terms)
{
    if (!admit(w)) return;
    if (w->depth >= BL_WRITER_DEPTH && terms > 0) {
        struct bl_error err;
        bl_fail_limit(&err, "depth", BL_WRITER_DEPTH, BL_WRITER_DEPTH + 1);
        bl_writer_fail(w, &err);
        return;
    }
    w->open[w->depth].type = (uint8_t)type;
    w->open[w->depth].count = count;
    w->open[w->depth].left = terms;
    w->depth++;
    w->ops->begin(w, type, count);
}

void bl_write_tuple(struct bl_writer *w, size_t arity) { begin(w, BL_TERM_TUPLE, arity, arity); }

void bl_write_list(struct bl_writer *w, size_t length) { begin(w, BL_TERM_LIST, length, length); }

void bl_write_map(struct bl_writer *w, size_t pairs)
{
    size_t terms;
    if (bl_mul_size(pairs, 2, &terms))
        begin(w, BL_TERM_MAP, pairs, terms);
    else
        fail_invalid(w, "a map of impossible size");
}

void bl_write_keyed_atom(struct bl_writer *w, const char *key, const char *value)
{
    bl_write_atom(w, key);
    bl_write_atom(w, value);
}

void bl_write_keyed_bool(struct bl_writer *w, const char *key, bool value)
{
    bl_write_atom(w, key);
    bl_write_bool(w, value);
}

void bl_write_keyed_uint(struct bl_writer *w, const char *key, uint64_t value)
{
    bl_write_atom(w, key);
    bl_write_uint(w, value);
}

void bl_write_keyed_float(struct bl_writer *w, const char *key, double value)
{
    bl_write_atom(w, key);
    bl_write_float(w, value);
}

void bl_write_keyed_text(struct bl_writer *w, const char *key, const char *value)
{
    bl_write_atom(w, key);
    bl_write_text(w, value);
}

void bl_write_end(struct bl_writer *w)
{
    if (w->error.status != BL_OK) return;
    if (w->depth == w->floor) {
        fail_invalid(w, "more ends than containers");
    } else if (w->open[w->depth - 1].left > 0) {
        fail_invalid(w, "fewer terms than announced");
    } else {
        w->ops->end(w, w->open[w->depth - 1].type, w->open[w->depth - 1].count);
        w->depth--;
    }
}

/* ---- copying -------------------------------------------------------------- */

static enum bl_status copy_raw(struct bl_reader *r, struct bl_writer *w)
{
    struct bl_span encoded;
    const enum bl_status status = bl_read_raw(r, &encoded);
    if (status == BL_OK) bl_write_raw(w, &encoded);
    return status;
}

static enum bl_status copy_integer(struct bl_reader *r, struct bl_writer *w, enum bl_term_type type)
{
    if (type == BL_TERM_INT) {
        int64_t i = 0;
        const enum bl_status status = bl_read_int(r, &i);
        if (status == BL_OK) bl_write_int(w, i);
        return status;
    }
    uint64_t u;
    if (bl_read_uint(r, &u) != BL_OK) return copy_raw(r, w);
    bl_write_uint(w, u);
    return BL_OK;
}

static enum bl_status copy_head(struct bl_reader *r, struct bl_writer *w, enum bl_term_type type)
{
    size_t n = 0;
    enum bl_status status;
    if (type == BL_TERM_TUPLE) {
        status = bl_read_tuple(r, &n);
        if (status == BL_OK) bl_write_tuple(w, n);
    } else if (type == BL_TERM_MAP) {
        status = bl_read_map(r, &n);
        if (status == BL_OK) bl_write_map(w, n);
    } else {
        status = bl_read_list(r, &n);
        if (status == BL_OK) bl_write_list(w, n);
    }
    return status;
}

/* Copies one simple term or the head of a container. */
static enum bl_status copy_one(struct bl_reader *r, struct bl_writer *w)
{
    const enum bl_term_type type = bl_read_type(r);
    struct bl_span span;
    double real;
    enum bl_status status;
    switch (type) {
    case BL_TERM_INT:
    case BL_TERM_BIG: return copy_integer(r, w, type);
    case BL_TERM_FLOAT:
        status = bl_read_float(r, &real);
        if (status == BL_OK) bl_write_float(w, real);
        return status;
    case BL_TERM_ATOM:
        status = bl_read_atom(r, &span);
        if (status == BL_OK) write_atom(w, span.data, span.len);
        return status;
    case BL_TERM_BINARY:
        status = bl_read_binary(r, &span);
        if (status == BL_OK) bl_write_span(w, &span);
        return status;
    case BL_TERM_TUPLE:
    case BL_TERM_MAP: return copy_head(r, w, type);
    case BL_TERM_LIST:
        /* Half the bytes of a list of integers, and one step instead of one for each. */
        return r->cursor.string_left == 0 && *r->cursor.at == ETF_STRING ? copy_raw(r, w) : copy_head(r, w, type);
    default: return copy_raw(r, w);
    }
}

static enum bl_status copy_proper(struct bl_reader *r, struct bl_writer *w)
{
    const unsigned base = w->depth;
    do {
        enum bl_status status = copy_one(r, w);
        while (status == BL_OK && w->error.status == BL_OK && w->depth > base && w->open[w->depth - 1].left == 0) {
            if (w->open[w->depth - 1].type == BL_TERM_LIST) status = bl_read_list_end(r);
            bl_write_end(w);
        }
        if (status != BL_OK) return status;
    } while (w->error.status == BL_OK && w->depth > base);
    return BL_OK;
}

enum bl_status bl_copy_term(struct bl_reader *r, struct bl_writer *w)
{
    const struct bl_cursor before = r->cursor;
    bool improper;
    enum bl_status status = bl_read_check(r, &improper);
    if (status != BL_OK) return status;
    status = improper ? copy_raw(r, w) : copy_proper(r, w);
    if (status == BL_OK) status = bl_writer_status(w, r->err);
    if (status != BL_OK) r->cursor = before;
    return status;
}

/* ---- the reason of a failure ---------------------------------------------- */

/* A short name of [a-z][a-z0-9_]* becomes an atom, anything else a binary. */
static void write_name(struct bl_writer *w, const char *name)
{
    enum { LONGEST = 32 };
    const size_t len = strlen(name);
    if (len > 0 && len <= LONGEST && name[0] >= 'a' && name[0] <= 'z' &&
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len)
        bl_write_atom(w, name);
    else
        bl_write_text(w, name);
}

static void write_key_name(struct bl_writer *w, const char *key, const char *name)
{
    bl_write_atom(w, key);
    write_name(w, name);
}

static void write_place(struct bl_writer *w, const struct bl_error *err)
{
    bl_write_map(w, err->line > 0 ? 3 : 2);
    if (err->line > 0) {
        bl_write_keyed_uint(w, "line", err->line);
        bl_write_keyed_uint(w, "column", err->column);
    } else {
        bl_write_keyed_uint(w, "offset", err->offset);
    }
    bl_write_keyed_text(w, "expected", err->text);
    bl_write_end(w);
}

static void write_limit(struct bl_writer *w, const struct bl_error *err)
{
    bl_write_map(w, 3);
    write_key_name(w, "what", err->subject);
    bl_write_keyed_uint(w, "limit", err->limit);
    bl_write_keyed_uint(w, "asked", err->asked);
    bl_write_end(w);
}

static void write_details(struct bl_writer *w, const struct bl_error *err)
{
    switch (err->status) {
    case BL_BUSY: bl_write_uint(w, err->retry_after_ms); return;
    case BL_LIMIT: write_limit(w, err); return;
    case BL_SYNTAX: write_place(w, err); return;
    case BL_INVALID:
        bl_write_map(w, 2);
        write_key_name(w, "field", err->subject);
        bl_write_keyed_text(w, "why", err->text);
        bl_write_end(w);
        return;
    case BL_TRAP:
        bl_write_map(w, err->text[0] ? 2 : 1);
        write_key_name(w, "code", err->subject);
        if (err->text[0]) bl_write_keyed_text(w, "message", err->text);
        bl_write_end(w);
        return;
    case BL_UNSUPPORTED: write_name(w, err->subject); return;
    default: bl_write_text(w, err->text);
    }
}

void bl_write_error(struct bl_writer *w, const struct bl_error *err)
{
    bl_write_tuple(w, 2);
    bl_write_atom(w, "error");
    bl_write_reason(w, err);
    bl_write_end(w);
}

void bl_write_reason(struct bl_writer *w, const struct bl_error *err)
{
    switch (err->status) {
    case BL_BUSY:
    case BL_LIMIT:
    case BL_SYNTAX:
    case BL_INVALID:
    case BL_TRAP:
    case BL_UNSUPPORTED:
    case BL_HOST_EXITED:
    case BL_DEVICE_FAILED:
        bl_write_tuple(w, 2);
        bl_write_atom(w, bl_status_name(err->status));
        write_details(w, err);
        bl_write_end(w);
        return;
    default: bl_write_atom(w, bl_status_name(err->status));
    }
}
