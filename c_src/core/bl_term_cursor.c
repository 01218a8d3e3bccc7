/* SPDX-License-Identifier: Apache-2.0
 *
 * The term reader's cursor over the spans, what it puts together, and its errors
 * (bl_term.h says how they work together).
 */
#include <string.h>

#include "bl_term.h"

const struct bl_term_limits bl_term_limits_default = {
    .max_bytes = (size_t)1 << 30, .max_depth = BL_WRITER_DEPTH, .max_terms = (size_t)16 << 20};

/* A block of memory that bl_reader_clear frees. */
struct scratch {
    struct scratch *next;
    uint8_t bytes[];
};

static const uint8_t nothing[1];

const struct bl_tag bl_tags[256] = {
    [ETF_SMALL_INTEGER] = {BL_TERM_INT, 2},
    [ETF_INTEGER] = {BL_TERM_INT, 5},
    [ETF_SMALL_BIG] = {BL_TERM_BIG, 3},
    [ETF_LARGE_BIG] = {BL_TERM_BIG, 6},
    [ETF_NEW_FLOAT] = {BL_TERM_FLOAT, 9},
    [ETF_FLOAT] = {BL_TERM_FLOAT, 1 + ETF_FLOAT_TEXT},
    [ETF_SMALL_ATOM] = {BL_TERM_ATOM, 2},
    [ETF_SMALL_ATOM_UTF8] = {BL_TERM_ATOM, 2},
    [ETF_ATOM] = {BL_TERM_ATOM, 3},
    [ETF_ATOM_UTF8] = {BL_TERM_ATOM, 3},
    [ETF_BINARY] = {BL_TERM_BINARY, 5},
    [ETF_BIT_BINARY] = {BL_TERM_BITSTRING, 6},
    [ETF_SMALL_TUPLE] = {BL_TERM_TUPLE, 2},
    [ETF_LARGE_TUPLE] = {BL_TERM_TUPLE, 5},
    [ETF_NIL] = {BL_TERM_LIST, 1},
    [ETF_STRING] = {BL_TERM_LIST, 3},
    [ETF_LIST] = {BL_TERM_LIST, 5},
    [ETF_MAP] = {BL_TERM_MAP, 5},
    [ETF_REFERENCE] = {BL_TERM_OTHER, 1},
    [ETF_NEW_REFERENCE] = {BL_TERM_OTHER, 3},
    [ETF_NEWER_REFERENCE] = {BL_TERM_OTHER, 3},
    [ETF_PORT] = {BL_TERM_OTHER, 1},
    [ETF_NEW_PORT] = {BL_TERM_OTHER, 1},
    [ETF_V4_PORT] = {BL_TERM_OTHER, 1},
    [ETF_PID] = {BL_TERM_OTHER, 1},
    [ETF_NEW_PID] = {BL_TERM_OTHER, 1},
    [ETF_NEW_FUN] = {BL_TERM_OTHER, 30},
    [ETF_EXPORT] = {BL_TERM_OTHER, 1},
};

/* ---- the cursor ----------------------------------------------------------- */

/* Stands the cursor at the begin of the first span that has bytes, from the `from`th on. */
static void enter_span(struct bl_reader *r, size_t from)
{
    while (from < r->span_count && r->spans[from].len == 0) from++;
    if (from >= r->span_count) return;
    r->cursor.span = from;
    r->cursor.at = r->spans[from].data;
    r->cursor.end = r->cursor.at + r->spans[from].len;
    r->cursor.end_offset += r->spans[from].len;
}

void bl_reader_init(struct bl_reader *r, const struct bl_span *spans, size_t count, const struct bl_term_limits *limits,
                    struct bl_quota *quota, struct bl_error *err)
{
    *r = (struct bl_reader){.cursor = {.at = nothing, .end = nothing},
                            .spans = spans,
                            .span_count = count,
                            .limits = limits ? *limits : bl_term_limits_default,
                            .quota = quota,
                            .err = err};
    for (size_t i = 0; i < count; i++)
        if (!bl_add_size(r->total, spans[i].len, &r->total)) r->total = SIZE_MAX;
    if (r->limits.max_depth > BL_WRITER_DEPTH) r->limits.max_depth = BL_WRITER_DEPTH;
    r->too_large = r->total > r->limits.max_bytes;
    if (!r->too_large) enter_span(r, 0);
}

void bl_reader_clear(struct bl_reader *r)
{
    for (struct scratch *block = r->scratch, *next; block; block = next) {
        next = block->next;
        bl_free(block);
    }
    r->scratch = NULL;
}

void bl_reader_at(struct bl_reader *r, const char *field) { r->field = field; }

size_t bl_reader_offset(const struct bl_reader *r) { return bl_offset(r); }

void bl_advance_far(struct bl_reader *r, size_t n)
{
    for (;;) {
        const size_t here = (size_t)(r->cursor.end - r->cursor.at);
        if (n < here) {
            r->cursor.at += n;
            return;
        }
        n -= here;
        r->cursor.at = r->cursor.end;
        enter_span(r, r->cursor.span + 1);
        if (r->cursor.at == r->cursor.end) return;
    }
}

size_t bl_gather(const struct bl_reader *r, uint8_t *out, size_t n)
{
    const uint8_t *from = r->cursor.at;
    size_t here = (size_t)(r->cursor.end - from), done = 0;
    for (size_t span = r->cursor.span;;) {
        const size_t part = here < n - done ? here : n - done;
        if (part > 0) memcpy(out + done, from, part);
        done += part;
        if (done == n || ++span >= r->span_count) return done;
        from = r->spans[span].data;
        here = r->spans[span].len;
    }
}

struct bl_window bl_look_around(const struct bl_reader *r, uint8_t buffer[BL_WINDOW])
{
    if (r->cursor.string_left > 1) {
        buffer[0] = ETF_SMALL_INTEGER;
        buffer[1] = *r->cursor.at;
        return (struct bl_window){buffer, 2};
    }
    if (r->cursor.string_left == 1) {
        buffer[0] = ETF_NIL;
        return (struct bl_window){buffer, 1};
    }
    if (r->cursor.at == r->cursor.end) return (struct bl_window){nothing, 0}; /* at the end, or broken */
    return (struct bl_window){buffer, bl_gather(r, buffer, BL_WINDOW)};
}

/* ---- what had to be put together ------------------------------------------ */

enum bl_status bl_scratch(struct bl_reader *r, size_t len, uint8_t **out)
{
    struct bl_error unheard = {.status = BL_OK}, *err = r->err ? r->err : &unheard;
    struct scratch *block = bl_alloc(r->quota, sizeof *block + len, err);
    if (!block) return err->status;
    block->next = r->scratch;
    r->scratch = block;
    *out = block->bytes;
    return BL_OK;
}

enum bl_status bl_take(struct bl_reader *r, size_t n, struct bl_span *out)
{
    struct bl_span view = {.data = r->cursor.at, .len = n};
    if (n == 0) {
        view.data = nothing;
    } else if (n <= (size_t)(r->cursor.end - r->cursor.at)) {
        view.owner = r->spans[r->cursor.span].owner;
    } else {
        uint8_t *together;
        const enum bl_status status = bl_scratch(r, n, &together);
        if (status != BL_OK) return status;
        bl_gather(r, together, n);
        view.data = together;
    }
    bl_advance(r, n);
    *out = view;
    return BL_OK;
}

/* ---- errors --------------------------------------------------------------- */

static enum bl_status broken_at(struct bl_reader *r, size_t offset, const char *expected)
{
    r->expected = expected;
    r->broken_offset = offset;
    r->cursor.at = r->cursor.end = nothing;
    r->cursor.span = r->span_count;
    r->cursor.string_left = 0;
    return bl_fail_syntax_at(r->err, offset, "%s", expected);
}

enum bl_status bl_broken(struct bl_reader *r, const char *expected)
{
    return broken_at(r, bl_offset(r), expected);
}

enum bl_status bl_cut_short(struct bl_reader *r) { return broken_at(r, r->total, "more bytes"); }

enum bl_status bl_stuck(struct bl_reader *r)
{
    if (r->expected) return bl_fail_syntax_at(r->err, r->broken_offset, "%s", r->expected);
    if (r->too_large) return bl_fail_limit(r->err, "term_bytes", r->limits.max_bytes, r->total);
    return BL_OK;
}

enum bl_status bl_too_many(struct bl_reader *r, uint64_t more)
{
    return bl_fail_limit(r->err, "terms", r->limits.max_terms, r->cursor.terms + more);
}

enum bl_status bl_wrong(struct bl_reader *r, const char *wanted)
{
    enum bl_status status = bl_stuck(r);
    if (status != BL_OK) return status;
    if (bl_read_type(r) != BL_TERM_NONE)
        return bl_fail_invalid(r->err, r->field ? r->field : "term", "expected %s", wanted);
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    if (w.n == 0) return bl_broken(r, "a term");
    if (w.p[0] == ETF_COMPRESSED) return bl_broken(r, "a term that is not compressed");
    return bl_tags[w.p[0]].head == 0 ? bl_broken(r, "the tag of a term") : bl_cut_short(r);
}
