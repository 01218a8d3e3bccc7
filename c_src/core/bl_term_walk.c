/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole terms: checked, passed over, given in their encoded form. The functions move as
 * they check; walk() puts the cursor back on failure.
 */
#include <string.h>

#include "bl_term.h"

enum { REFERENCE_WORDS = 5 }; /* as many as a VM accepts */

static enum bl_status pass_bytes(struct bl_reader *r, size_t n)
{
    if (n > bl_bytes_left(r)) return bl_cut_short(r);
    bl_advance(r, n);
    return BL_OK;
}

/* What stands inside pids, ports, references and funs. Not counted as terms. */
static enum bl_status pass_atom(struct bl_reader *r)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    if (!bl_begins(w, BL_TERM_ATOM)) return bl_type_of(w) == BL_TERM_NONE ? bl_wrong(r, "") : bl_broken(r, "an atom");
    const struct bl_atom a = bl_atom_of(w);
    const enum bl_status status = bl_is_plain_atom(w, a) ? BL_OK : bl_check_atom(r, a, w);
    if (status == BL_OK) bl_advance(r, a.head + a.len);
    return status;
}

static enum bl_status pass_tag(struct bl_reader *r, const char *expected, uint8_t tag, uint8_t other_tag)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    if (w.n == 0) return bl_cut_short(r);
    if (w.p[0] != tag && w.p[0] != other_tag) return bl_broken(r, expected);
    return pass_bytes(r, bl_tags[w.p[0]].head);
}

static enum bl_status pass_node_and(struct bl_reader *r, size_t bytes)
{
    const enum bl_status status = pass_atom(r);
    return status == BL_OK ? pass_bytes(r, bytes) : status;
}

static enum bl_status pass_pid(struct bl_reader *r)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    const size_t rest = w.n > 0 && w.p[0] == ETF_PID ? 9 : 12; /* id, serial, creation */
    const enum bl_status status = pass_tag(r, "a pid", ETF_PID, ETF_NEW_PID);
    return status == BL_OK ? pass_node_and(r, rest) : status;
}

static enum bl_status pass_export(struct bl_reader *r)
{
    bl_advance(r, 1);
    enum bl_status status = pass_atom(r);
    if (status == BL_OK) status = pass_atom(r);
    return status == BL_OK ? pass_tag(r, "an arity", ETF_SMALL_INTEGER, ETF_SMALL_INTEGER) : status;
}

/* NEW_FUN: tag 1, size 4 (it and all that follows), arity 1, uniq 16, index 4, values 4;
 * then module, old index, old uniq, pid, and the values it closed over. The size is not
 * looked at, as the VM does not: what it counts is passed over here. */
static enum bl_status pass_fun(struct bl_reader *r, struct bl_window w, uint64_t *children)
{
    const uint32_t values = etf_get32(w.p + 26);
    if (values > ETF_FUN_VALUES) return bl_broken(r, "a fun of at most 255 values");
    enum bl_status status = pass_bytes(r, 30);
    if (status == BL_OK) status = pass_atom(r);
    for (int i = 0; i < 2 && status == BL_OK; i++)
        status = pass_tag(r, "an integer", ETF_SMALL_INTEGER, ETF_INTEGER);
    if (status == BL_OK) status = pass_pid(r);
    if (status == BL_OK && values > bl_bytes_left(r)) status = bl_cut_short(r);
    *children = values;
    return status;
}

static enum bl_status pass_reference(struct bl_reader *r, struct bl_window w)
{
    const size_t words = etf_get16(w.p + 1), creation = w.p[0] == ETF_NEW_REFERENCE ? 1 : 4;
    if (words > REFERENCE_WORDS) return bl_broken(r, "a reference of at most five words");
    bl_advance(r, 3);
    return pass_node_and(r, creation + 4 * words);
}

static enum bl_status pass_other(struct bl_reader *r, struct bl_window w, uint64_t *children)
{
    switch (w.p[0]) {
    case ETF_NEW_REFERENCE:
    case ETF_NEWER_REFERENCE: return pass_reference(r, w);
    case ETF_PID:
    case ETF_NEW_PID: return pass_pid(r);
    case ETF_NEW_FUN: return pass_fun(r, w, children);
    case ETF_EXPORT: return pass_export(r);
    }
    const uint8_t tag = w.p[0];
    bl_advance(r, 1);
    /* Node, then id and creation. */
    return pass_node_and(r, tag == ETF_V4_PORT ? 12 : tag == ETF_NEW_PORT ? 8 : 5);
}

static enum bl_status pass_bits(struct bl_reader *r, struct bl_window w)
{
    const size_t len = etf_get32(w.p + 1);
    const uint8_t bits = w.p[5];
    if (bits > 8 || (bits == 0) != (len == 0)) return bl_broken(r, "1 to 8 bits in the last byte");
    return pass_bytes(r, 6 + len);
}

static enum bl_status pass_big(struct bl_reader *r, struct bl_window w)
{
    return pass_bytes(r, w.p[0] == ETF_SMALL_BIG ? 3 + (size_t)w.p[1] : 6 + (size_t)etf_get32(w.p + 1));
}

static enum bl_status pass_float(struct bl_reader *r, struct bl_window w)
{
    double value;
    if (!bl_whole_float(w, &value)) return bl_broken(r, "a finite float");
    return pass_bytes(r, bl_tags[w.p[0]].head);
}

static enum bl_status pass_string(struct bl_reader *r, struct bl_window w)
{
    const size_t len = etf_get16(w.p + 1);
    if (len > bl_bytes_left(r) - 3) return bl_cut_short(r);
    if (len > r->limits.max_terms - r->cursor.terms) return bl_too_many(r, len);
    r->cursor.terms += len;
    bl_advance(r, 3 + len);
    return BL_OK;
}

/* Passes a container's head and says how many terms stand in it. */
static enum bl_status pass_head(struct bl_reader *r, struct bl_window w, uint64_t *children)
{
    const size_t head = bl_tags[w.p[0]].head;
    const uint64_t n = head == 1 ? 0 : head == 2 ? w.p[1] : etf_get32(w.p + 1);
    *children = w.p[0] == ETF_MAP ? 2 * n : w.p[0] == ETF_LIST ? n + 1 : n;
    if (*children > bl_bytes_left(r) - head) return bl_cut_short(r);
    const size_t map_max = r->limits.max_map_pairs;
    if (w.p[0] == ETF_MAP && map_max > 0 && n > map_max) return bl_fail_limit(r->err, "map_keys", map_max, n);
    if (*children > r->limits.max_terms - r->cursor.terms) return bl_too_many(r, *children);
    bl_advance(r, head);
    return BL_OK;
}

/* Passes one term, or its head when it has children. */
static enum bl_status pass_term(struct bl_reader *r, uint64_t *children)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    *children = 0;
    const enum bl_term_type type = w.n > 0 && w.n >= bl_tags[w.p[0]].head ? bl_tags[w.p[0]].type : BL_TERM_NONE;
    if (type == BL_TERM_NONE) return bl_wrong(r, "");
    if (r->cursor.string_left > 0) return bl_accept(r, 0);
    if (r->cursor.terms >= r->limits.max_terms) return bl_too_many(r, 1);
    r->cursor.terms++;
    switch (type) {
    case BL_TERM_INT: return pass_bytes(r, bl_tags[w.p[0]].head);
    case BL_TERM_BIG: return pass_big(r, w);
    case BL_TERM_FLOAT: return pass_float(r, w);
    case BL_TERM_ATOM: return pass_atom(r);
    case BL_TERM_BINARY: return pass_bytes(r, 5 + (size_t)etf_get32(w.p + 1));
    case BL_TERM_BITSTRING: return pass_bits(r, w);
    case BL_TERM_OTHER: return pass_other(r, w, children);
    default: return w.p[0] == ETF_STRING ? pass_string(r, w) : pass_head(r, w, children);
    }
}

/* Passes one whole term. The stack holds, for each container around, the terms that
 * are still to come in it; a list's last one is its tail. */
static enum bl_status walk_forward(struct bl_reader *r, bool *improper)
{
    struct {
        uint64_t left;
        bool list;
    } open[BL_WRITER_DEPTH];
    size_t depth = 0;
    for (;;) {
        const uint8_t tag = r->cursor.at < r->cursor.end ? *r->cursor.at : 0;
        if (depth > 0 && open[depth - 1].list && open[depth - 1].left == 1 && tag != ETF_NIL) *improper = true;
        uint64_t children;
        const enum bl_status status = pass_term(r, &children);
        if (status != BL_OK) return status;
        if (children > 0) {
            if (depth >= r->limits.max_depth) return bl_fail_limit(r->err, "depth", r->limits.max_depth, depth + 1);
            open[depth].left = children;
            open[depth++].list = tag == ETF_LIST;
            continue;
        }
        while (depth > 0 && --open[depth - 1].left == 0) depth--;
        if (depth == 0) return BL_OK;
    }
}

static enum bl_status walk(struct bl_reader *r, bool *improper)
{
    const struct bl_cursor before = r->cursor;
    const enum bl_status status = walk_forward(r, improper);
    if (status != BL_OK && !r->expected) r->cursor = before;
    return status;
}

enum bl_status bl_read_skip(struct bl_reader *r)
{
    bool improper;
    return walk(r, &improper);
}

enum bl_status bl_read_check(struct bl_reader *r, bool *improper)
{
    const struct bl_cursor before = r->cursor;
    *improper = false;
    const enum bl_status status = walk(r, improper);
    if (status == BL_OK) r->cursor = before;
    return status;
}

/* An element of a string has no encoding of its own in the input. */
static enum bl_status string_element(struct bl_reader *r, struct bl_span *out)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    uint8_t *encoded;
    enum bl_status status = bl_scratch(r, w.n, &encoded);
    if (status != BL_OK) return status;
    memcpy(encoded, w.p, w.n);
    status = bl_accept(r, 0);
    if (status == BL_OK) *out = (struct bl_span){.data = encoded, .len = w.n};
    return status;
}

/* The spans up to `end`, the last one cut there. */
static enum bl_status cut_spans(struct bl_reader *part, const struct bl_cursor *end)
{
    const size_t first = part->cursor.span, count = end->span - first + 1;
    uint8_t *room;
    const enum bl_status status = bl_scratch(part, count * sizeof(struct bl_span), &room);
    if (status != BL_OK) return status;
    struct bl_span *spans = (struct bl_span *)room;
    memcpy(spans, part->spans + first, count * sizeof *spans);
    spans[count - 1].len = (size_t)(end->at - spans[count - 1].data);
    part->spans = spans;
    part->span_count = count;
    part->cursor.span = 0;
    return BL_OK;
}

/* An element of a string, or its end, becomes a span of its own. */
static enum bl_status string_part(struct bl_reader *r, struct bl_reader *part)
{
    uint8_t buffer[BL_WINDOW], *room;
    const struct bl_window w = bl_look(r, buffer);
    struct bl_span *span;
    enum bl_status status = bl_scratch(part, sizeof *span + w.n, &room);
    if (status == BL_OK) status = bl_accept(r, 0);
    if (status != BL_OK) return status;
    span = (struct bl_span *)room;
    *span = (struct bl_span){.data = room + sizeof *span, .len = w.n};
    memcpy(room + sizeof *span, w.p, w.n);
    part->cursor = (struct bl_cursor){.at = span->data, .end = span->data + w.n, .end_offset = w.n, .terms = part->cursor.terms};
    part->spans = span;
    part->span_count = 1;
    part->total = w.n;
    return BL_OK;
}

static enum bl_status plain_part(struct bl_reader *r, struct bl_reader *part)
{
    const size_t begin = bl_offset(r);
    const enum bl_status status = bl_read_skip(r);
    if (status != BL_OK) return status;
    part->total = bl_offset(r) - begin;
    part->cursor.end_offset -= begin;
    if (r->cursor.span != part->cursor.span) return cut_spans(part, &r->cursor);
    part->cursor.end = r->cursor.at;
    part->cursor.end_offset = part->total;
    part->span_count = part->cursor.span + 1;
    return BL_OK;
}

/* Its offsets begin at 0, as if it stood alone. */
enum bl_status bl_read_part(struct bl_reader *r, struct bl_reader *part, struct bl_error *err)
{
    *part = *r;
    part->scratch = NULL;
    part->field = NULL;
    const enum bl_status status = r->cursor.string_left > 0 ? string_part(r, part) : plain_part(r, part);
    part->err = err;
    return status;
}

enum bl_status bl_read_raw(struct bl_reader *r, struct bl_span *out)
{
    if (r->cursor.string_left > 0) return string_element(r, out);
    const struct bl_cursor before = r->cursor;
    const size_t begin = bl_offset(r);
    enum bl_status status = bl_read_skip(r);
    if (status != BL_OK) return status;
    const size_t len = bl_offset(r) - begin, terms = r->cursor.terms;
    r->cursor = before;
    status = bl_take(r, len, out);
    if (status == BL_OK) r->cursor.terms = terms;
    return status;
}
