/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer's back end for the external term format.
 */
#include <string.h>

#include "beamline/term.h"
#include "bl_etf.h"

enum { FIRST_CAPACITY = 256, SHARED_FROM = 64 * 1024 };

static struct bl_etf_writer *etf(struct bl_writer *w) { return (struct bl_etf_writer *)w; }

static bool grow(struct bl_etf_writer *e, size_t needed)
{
    struct bl_error err;
    if (e->fixed) {
        bl_fail_limit(&err, "term_bytes", e->capacity, needed);
        bl_writer_fail(&e->base, &err);
        return false;
    }
    const size_t doubled = e->capacity <= SIZE_MAX / 2 ? 2 * e->capacity : SIZE_MAX;
    size_t capacity = doubled > FIRST_CAPACITY ? doubled : FIRST_CAPACITY;
    if (capacity < needed) capacity = needed;
    uint8_t *data = bl_realloc(e->quota, e->data, capacity, &err);
    if (!data) {
        bl_writer_fail(&e->base, &err);
        return false;
    }
    e->data = data;
    e->capacity = capacity;
    return true;
}

/* Room for n more bytes, counted as written; NULL when the writer has failed. */
static uint8_t *room(struct bl_writer *w, size_t n)
{
    struct bl_etf_writer *e = etf(w);
    size_t needed;
    if (!bl_add_size(e->len, n, &needed)) {
        bl_writer_fail(w, &(struct bl_error){.status = BL_NO_MEMORY});
        return NULL;
    }
    if (needed > e->capacity && !grow(e, needed)) return NULL;
    uint8_t *p = e->data + e->len;
    e->len = needed;
    return p;
}

static void put_tag8(struct bl_writer *w, uint8_t tag, uint8_t value)
{
    uint8_t *p = room(w, 2);
    if (!p) return;
    p[0] = tag;
    p[1] = value;
}

static void put_tag32(struct bl_writer *w, uint8_t tag, uint32_t value)
{
    uint8_t *p = room(w, 5);
    if (!p) return;
    p[0] = tag;
    etf_put32(p + 1, value);
}

/* Counts of the format have 32 bits. */
static bool check_count(struct bl_writer *w, const char *what, size_t count)
{
    if (count <= UINT32_MAX) return true;
    struct bl_error err;
    bl_fail_limit(&err, what, UINT32_MAX, count);
    bl_writer_fail(w, &err);
    return false;
}

static void write_atom(struct bl_writer *w, const char *name, size_t len)
{
    uint8_t *p = room(w, 2 + len);
    if (!p) return;
    p[0] = ETF_SMALL_ATOM_UTF8;
    p[1] = (uint8_t)len;
    memcpy(p + 2, name, len);
}

static void write_big(struct bl_writer *w, bool negative, uint64_t magnitude)
{
    uint8_t digits = 0;
    for (uint64_t rest = magnitude; rest > 0; rest >>= 8) digits++;
    uint8_t *p = room(w, 3u + digits);
    if (!p) return;
    p[0] = ETF_SMALL_BIG;
    p[1] = digits;
    p[2] = negative;
    for (uint8_t i = 0; i < digits; i++) p[3 + i] = (uint8_t)(magnitude >> 8 * i);
}

static void write_uinteger(struct bl_writer *w, uint64_t value) { write_big(w, false, value); }

static void write_integer(struct bl_writer *w, int64_t value)
{
    if (value >= 0 && value <= UINT8_MAX)
        put_tag8(w, ETF_SMALL_INTEGER, (uint8_t)value);
    else if (value >= INT32_MIN && value <= INT32_MAX)
        put_tag32(w, ETF_INTEGER, (uint32_t)value);
    else
        write_big(w, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

static void write_real(struct bl_writer *w, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint8_t *p = room(w, 9);
    if (!p) return;
    p[0] = ETF_NEW_FLOAT;
    etf_put64(p + 1, bits);
}

static uint8_t *write_binary(struct bl_writer *w, size_t len)
{
    if (!check_count(w, "binary_bytes", len)) return NULL;
    uint8_t *p = room(w, 5 + len);
    if (!p) return NULL;
    p[0] = ETF_BINARY;
    etf_put32(p + 1, (uint32_t)len);
    return p + 5;
}

static void write_span(struct bl_writer *w, const struct bl_span *span)
{
    struct bl_etf_writer *e = etf(w);
    if (e->shared_count < e->shared_most && span->len >= SHARED_FROM && check_count(w, "binary_bytes", span->len)) {
        put_tag32(w, ETF_BINARY, (uint32_t)span->len);
        e->shared[e->shared_count++] = (struct bl_etf_shared){.at = e->len, .bytes = *span};
        return;
    }
    uint8_t *p = w->error.status == BL_OK ? write_binary(w, span->len) : NULL;
    if (p && span->len > 0) memcpy(p, span->data, span->len);
}

static void write_raw(struct bl_writer *w, const struct bl_span *encoded)
{
    uint8_t *p = room(w, encoded->len);
    if (p && encoded->len > 0) memcpy(p, encoded->data, encoded->len);
}

static void write_begin(struct bl_writer *w, enum bl_term_type type, size_t count)
{
    if (!check_count(w, "members", count)) return;
    if (type == BL_TERM_MAP)
        put_tag32(w, ETF_MAP, (uint32_t)count);
    else if (type == BL_TERM_TUPLE && count <= UINT8_MAX)
        put_tag8(w, ETF_SMALL_TUPLE, (uint8_t)count);
    else if (type == BL_TERM_TUPLE)
        put_tag32(w, ETF_LARGE_TUPLE, (uint32_t)count);
    else if (count > 0)
        put_tag32(w, ETF_LIST, (uint32_t)count);
}

/* Every list ends with NIL; of an empty one it is all. */
static void write_end(struct bl_writer *w, enum bl_term_type type, size_t count)
{
    (void)count;
    if (type != BL_TERM_LIST) return;
    uint8_t *p = room(w, 1);
    if (p) *p = ETF_NIL;
}

static size_t mark(const struct bl_writer *w) { return ((const struct bl_etf_writer *)w)->len; }

static void rewind_to(struct bl_writer *w, size_t len)
{
    struct bl_etf_writer *e = etf(w);
    e->len = len;
    /* Those from before the mark end at it, or before; the head of any other stood behind it. */
    while (e->shared_count > 0 && e->shared[e->shared_count - 1].at > len) e->shared_count--;
}

static const struct bl_writer_ops etf_ops = {
    .atom = write_atom,
    .integer = write_integer,
    .uinteger = write_uinteger,
    .real = write_real,
    .binary = write_binary,
    .span = write_span,
    .raw = write_raw,
    .begin = write_begin,
    .end = write_end,
    .mark = mark,
    .rewind = rewind_to,
};

void bl_etf_writer_init(struct bl_etf_writer *w, struct bl_quota *quota, bool with_version)
{
    bl_writer_init(&w->base, &etf_ops);
    w->quota = quota;
    w->data = NULL;
    w->len = w->capacity = 0;
    w->fixed = false;
    w->shared = NULL;
    w->shared_count = w->shared_most = 0;
    uint8_t *p = with_version ? room(&w->base, 1) : NULL;
    if (p) *p = ETF_VERSION;
}

void bl_etf_writer_init_fixed(struct bl_etf_writer *w, void *data, size_t capacity)
{
    bl_etf_writer_init(w, NULL, false);
    w->data = data;
    w->capacity = capacity;
    w->fixed = true;
}

void bl_etf_writer_share(struct bl_etf_writer *w, struct bl_etf_shared *room, size_t most)
{
    w->shared = room;
    w->shared_most = most;
}

size_t bl_etf_writer_spans(const struct bl_etf_writer *w, struct bl_span *spans)
{
    size_t count = 0, done = 0;
    for (const struct bl_etf_shared *s = w->shared; s < w->shared + w->shared_count; done = s++->at) {
        spans[count++] = (struct bl_span){.data = w->data + done, .len = s->at - done};
        spans[count++] = s->bytes;
    }
    spans[count++] = (struct bl_span){.data = w->data + done, .len = w->len - done};
    return count;
}

void bl_etf_writer_clear(struct bl_etf_writer *w)
{
    if (!w->fixed) bl_free(w->data);
    w->data = NULL;
    w->len = w->capacity = w->shared_count = 0;
}
