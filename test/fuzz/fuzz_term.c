/* SPDX-License-Identifier: Apache-2.0
 *
 * The term reader over input cut anywhere, and the writer behind it.
 *
 *     input    limits, failing allocation, number of cuts, cuts..., term (no version byte)
 */
#include "beamline/term.h"
#include "bl_fuzz.h"

enum { MAX_SPANS = 16 };

struct input {
    const uint8_t *term;
    size_t size;
    struct bl_span spans[MAX_SPANS], whole;
    size_t count;
    struct bl_term_limits limits;
    uint8_t fail_nth; /* 0: none */
    struct bl_quota quota;
};

static void cut(struct input *in, struct bl_fuzz *fuzz, size_t cuts)
{
    uint8_t lengths[MAX_SPANS];
    for (size_t i = 0; i < cuts; i++) lengths[i] = bl_fuzz_byte(fuzz);
    in->term = fuzz->data;
    in->size = fuzz->size;
    size_t at = 0;
    for (size_t i = 0; i <= cuts; i++) {
        const size_t left = in->size - at, len = i < cuts && lengths[i] < left ? lengths[i] : left;
        in->spans[in->count++] = (struct bl_span){bl_fuzz_copy(in->term + at, len), len, &in->spans[i]};
        at += len;
    }
    in->whole = (struct bl_span){bl_fuzz_copy(in->term, in->size), in->size, NULL};
}

static void uncut(struct input *in)
{
    for (size_t i = 0; i < in->count; i++) free((void *)(uintptr_t)in->spans[i].data);
    free((void *)(uintptr_t)in->whole.data);
}

static void start(struct bl_reader *r, struct input *in, bool whole, struct bl_error *err)
{
    bl_quota_init(&in->quota, NULL, "memory", 0);
    bl_reader_init(r, whole ? &in->whole : in->spans, whole ? 1 : in->count, &in->limits, &in->quota, err);
}

static void finish(struct bl_reader *r, struct input *in)
{
    bl_reader_clear(r);
    FUZZ_CHECK(bl_quota_used(&in->quota) == 0);
}

/* ---- whole terms -------------------------------------------------------------- */

/* Cut or not, skipped or given raw: the same verdict, place and bytes. */
static enum bl_status check_verdicts(struct input *in)
{
    struct bl_reader r;
    struct bl_error first = {.status = BL_OK}, err = first;
    struct bl_span raw;
    start(&r, in, true, &first);
    const enum bl_status status = bl_read_skip(&r);
    const size_t end = bl_reader_offset(&r), terms = r.cursor.terms;
    finish(&r, in);
    FUZZ_CHECK(status == BL_OK || status == BL_SYNTAX || status == BL_LIMIT);
    FUZZ_CHECK(status == BL_OK || first.status == status);
    FUZZ_CHECK(status != BL_SYNTAX || first.offset <= in->size);
    for (int pass = 0; pass < 2; pass++) {
        start(&r, in, false, &err);
        FUZZ_CHECK((pass == 0 ? bl_read_skip(&r) : bl_read_raw(&r, &raw)) == status);
        FUZZ_CHECK(bl_reader_offset(&r) == end);
        FUZZ_CHECK(status == BL_SYNTAX || r.cursor.terms == terms);
        FUZZ_CHECK(err.offset == first.offset && err.asked == first.asked);
        if (pass == 1 && status == BL_OK) FUZZ_CHECK(raw.len == end && memcmp(raw.data, in->term, end) == 0);
        finish(&r, in);
    }
    return status;
}

/* What was copied is whole, reads as it was written, and copies to itself. */
static void check_copy(struct input *in, enum bl_status expected)
{
    struct bl_reader r;
    struct bl_etf_writer w, again;
    start(&r, in, false, NULL);
    bl_etf_writer_init(&w, NULL, true);
    FUZZ_CHECK(bl_copy_term(&r, &w.base) == expected);
    finish(&r, in);
    if (expected == BL_OK) {
        const struct bl_span copy = {.data = w.data, .len = w.len};
        FUZZ_CHECK(bl_writer_done(&w.base));
        bl_reader_init(&r, &copy, 1, NULL, NULL, NULL);
        bl_etf_writer_init(&again, NULL, true);
        FUZZ_CHECK(bl_read_version(&r) == BL_OK);
        FUZZ_CHECK(bl_copy_term(&r, &again.base) == BL_OK);
        FUZZ_CHECK(bl_read_end(&r) == BL_OK);
        FUZZ_CHECK(again.len == w.len && memcmp(again.data, w.data, w.len) == 0);
        bl_etf_writer_clear(&again);
        bl_reader_clear(&r);
    }
    bl_etf_writer_clear(&w);
}

/* A refused allocation is reported, leaves the cursor, and leaks nothing. */
static void check_failing_memory(struct input *in)
{
    struct bl_reader r;
    struct bl_etf_writer w;
    start(&r, in, false, NULL);
    bl_etf_writer_init(&w, &in->quota, false);
    bl_quota_fail_nth(&in->quota, in->fail_nth);
    const enum bl_status status = bl_copy_term(&r, &w.base);
    if (status == BL_NO_MEMORY) FUZZ_CHECK(bl_reader_offset(&r) == 0 && r.cursor.terms == 0);
    bl_etf_writer_clear(&w);
    finish(&r, in);
}

/* ---- head by head ---------------------------------------------------------------- */

static enum bl_status read_as(struct bl_reader *r, enum bl_term_type type)
{
    static volatile uint8_t sink; /* every byte of a view is looked at */
    int64_t i;
    uint64_t u;
    double d;
    bool b;
    size_t n;
    struct bl_span view = {.len = 0};
    enum bl_status status;
    switch (type) {
    case BL_TERM_INT: status = bl_read_int(r, &i); break;
    case BL_TERM_BIG: status = bl_read_uint(r, &u); break;
    case BL_TERM_FLOAT: status = bl_read_float(r, &d); break;
    case BL_TERM_ATOM: status = bl_read_atom(r, &view); break;
    case BL_TERM_BINARY: status = bl_read_binary(r, &view); break;
    case BL_TERM_TUPLE: status = bl_read_tuple(r, &n); break;
    case BL_TERM_MAP: status = bl_read_map(r, &n); break;
    case BL_TERM_LIST: status = bl_read_list(r, &n); break;
    case BL_TERM_NONE: status = bl_read_bool(r, &b); break;
    case BL_TERM_BITSTRING: status = bl_read_list_end(r); break;
    default: status = bl_read_number(r, &d); break;
    }
    for (size_t k = 0; status == BL_OK && k < view.len; k++) sink = (uint8_t)(sink ^ view.data[k]);
    return status;
}

static bool same_place(const struct bl_cursor *a, const struct bl_cursor *b)
{
    return a->at == b->at && a->span == b->span && a->terms == b->terms && a->string_left == b->string_left;
}

/* Asks for every type at every head: at most those that fit succeed, and errors leave the cursor. */
static void check_heads(struct input *in)
{
    struct bl_reader r;
    start(&r, in, false, NULL);
    for (;;) {
        const enum bl_term_type type = bl_read_type(&r);
        const struct bl_cursor before = r.cursor;
        for (enum bl_term_type wanted = BL_TERM_NONE; wanted <= BL_TERM_OTHER && type != BL_TERM_NONE; wanted++) {
            const enum bl_status status = read_as(&r, wanted);
            if (status == BL_SYNTAX) break;
            FUZZ_CHECK(status == BL_OK || status == BL_INVALID || status == BL_LIMIT);
            FUZZ_CHECK(status == BL_OK || same_place(&before, &r.cursor));
            r.cursor = before;
        }
        /* On to the next head; what has none of its own is skipped, and every list ends. */
        enum bl_status status = read_as(&r, type);
        if (status == BL_INVALID) status = bl_read_skip(&r);
        if (status == BL_OK && type == BL_TERM_LIST && same_place(&before, &r.cursor)) status = bl_read_list_end(&r);
        if (status != BL_OK) break;
        FUZZ_CHECK(!same_place(&before, &r.cursor));
    }
    finish(&r, in);
}

/* ---- terms inside of a term ------------------------------------------------------- */

/* A reader of a term alone passes over as much as a skip, and reads the same bytes as if that were all there is. */
static void check_part(struct input *in, const struct bl_reader *outer)
{
    struct bl_reader r = *outer, skipped = *outer, part;
    struct bl_error err = {.status = BL_OK};
    struct bl_etf_writer raw, copy;
    struct bl_span bytes;
    r.scratch = skipped.scratch = NULL;
    const enum bl_status status = bl_read_part(&r, &part, &err);
    FUZZ_CHECK(bl_read_raw(&skipped, &bytes) == status);
    FUZZ_CHECK(status == BL_SYNTAX || same_place(&r.cursor, &skipped.cursor));
    if (status == BL_OK) {
        bl_etf_writer_init(&raw, NULL, false);
        bl_etf_writer_init(&copy, NULL, false);
        struct bl_reader alone;
        bl_reader_init(&alone, &bytes, 1, &in->limits, NULL, NULL);
        const enum bl_status copied = bl_copy_term(&alone, &raw.base);
        FUZZ_CHECK(bl_copy_term(&part, &copy.base) == copied);
        if (copied == BL_OK) {
            FUZZ_CHECK(raw.len == copy.len && memcmp(raw.data, copy.data, raw.len) == 0);
            FUZZ_CHECK(bl_reader_offset(&part) == bytes.len && bl_read_end(&part) == BL_OK);
            FUZZ_CHECK(bl_read_type(&part) == BL_TERM_NONE && bl_read_skip(&part) == BL_SYNTAX && err.status == BL_SYNTAX);
        }
        bl_reader_clear(&alone);
        bl_etf_writer_clear(&copy);
        bl_etf_writer_clear(&raw);
    }
    bl_reader_clear(&part);
    bl_reader_clear(&skipped);
    bl_reader_clear(&r);
}

static void check_parts(struct input *in)
{
    struct bl_reader r;
    start(&r, in, false, NULL);
    for (;;) {
        check_part(in, &r);
        const enum bl_term_type type = bl_read_type(&r);
        const struct bl_cursor before = r.cursor;
        enum bl_status status = read_as(&r, type);
        if (status == BL_INVALID) status = bl_read_skip(&r);
        if (status == BL_OK && type == BL_TERM_LIST && same_place(&before, &r.cursor)) status = bl_read_list_end(&r);
        if (status != BL_OK) break;
    }
    finish(&r, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_fuzz fuzz = {data, size};
    struct input in = {.limits = bl_term_limits_default};
    const uint8_t limits = bl_fuzz_byte(&fuzz);
    if (limits & 1) in.limits.max_depth = limits >> 4;
    if (limits & 2) in.limits.max_terms = limits >> 2;
    if (limits & 4) in.limits.max_bytes = limits;
    in.fail_nth = bl_fuzz_byte(&fuzz) % 16;
    cut(&in, &fuzz, bl_fuzz_byte(&fuzz) % MAX_SPANS);
    check_copy(&in, check_verdicts(&in));
    check_failing_memory(&in);
    check_heads(&in);
    check_parts(&in);
    uncut(&in);
    return 0;
}
