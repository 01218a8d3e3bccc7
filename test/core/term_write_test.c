/* SPDX-License-Identifier: Apache-2.0 */
#include "beamline/term.h"
#include "bl_test.h"
#include "term_samples.h"

static struct bl_quota quota;
static struct bl_etf_writer etf;
static struct bl_writer *const w = &etf.base;

static void start(void)
{
    bl_quota_init(&quota, NULL, "memory", 0);
    bl_etf_writer_init(&etf, &quota, false);
}

static void finish(void)
{
    bl_etf_writer_clear(&etf);
    CHECK_INT(bl_quota_used(&quota), 0);
}

#define CHECK_WRITTEN(bytes)                                                                                           \
    do {                                                                                                               \
        CHECK(bl_writer_done(w));                                                                                      \
        CHECK_BYTES(etf.data, etf.len, bytes, sizeof(bytes) - 1);                                                      \
        finish();                                                                                                      \
        start();                                                                                                       \
    } while (0)

/* ---- the external term format ------------------------------------------------- */

TEST(integers_are_written_in_their_shortest_form)
{
    start();
    bl_write_int(w, 0);
    CHECK_WRITTEN("a\0");
    bl_write_int(w, 255);
    CHECK_WRITTEN("a\xff");
    bl_write_int(w, 256);
    CHECK_WRITTEN("b\0\0\x01\0");
    bl_write_int(w, -1);
    CHECK_WRITTEN("b\xff\xff\xff\xff");
    bl_write_int(w, INT32_MAX);
    CHECK_WRITTEN("b\x7f\xff\xff\xff");
    bl_write_int(w, INT32_MIN);
    CHECK_WRITTEN("b\x80\0\0\0");
    bl_write_int(w, INT64_C(1) << 31);
    CHECK_WRITTEN("n\x04\0\0\0\0\x80");
    bl_write_int(w, INT64_MIN);
    CHECK_WRITTEN("n\x08\x01\0\0\0\0\0\0\0\x80");
    bl_write_uint(w, 7);
    CHECK_WRITTEN("a\x07");
    bl_write_uint(w, INT64_MAX);
    CHECK_WRITTEN("n\x08\0\xff\xff\xff\xff\xff\xff\xff\x7f");
    bl_write_uint(w, UINT64_MAX);
    CHECK_WRITTEN("n\x08\0\xff\xff\xff\xff\xff\xff\xff\xff");
    finish();
}

TEST(floats_that_are_not_finite_become_atoms)
{
    start();
    bl_write_float(w, 1.5);
    CHECK_WRITTEN("F\x3f\xf8\0\0\0\0\0\0");
    bl_write_float(w, -0.0);
    CHECK_WRITTEN("F\x80\0\0\0\0\0\0\0");
    bl_write_float(w, NAN);
    CHECK_WRITTEN("w\x03nan");
    bl_write_float(w, INFINITY);
    CHECK_WRITTEN("w\x08infinity");
    bl_write_float(w, -INFINITY);
    CHECK_WRITTEN("w\x0cneg_infinity");
    finish();
}

TEST(atoms_are_written_as_utf8)
{
    start();
    bl_write_atom(w, "ok");
    CHECK_WRITTEN("w\x02ok");
    bl_write_atom(w, "");
    CHECK_WRITTEN("w\0");
    bl_write_atom(w, "gr\303\274n");
    CHECK_WRITTEN("w\x05gr\xc3\xbcn");
    bl_write_bool(w, true);
    CHECK_WRITTEN("w\x04true");
    bl_write_bool(w, false);
    CHECK_WRITTEN("w\x05" "false");
    finish();
}

TEST(an_atom_has_at_most_255_characters)
{
    char name[1024 + 1] = {0};
    start();
    memset(name, 'a', 255);
    bl_write_atom(w, name);
    CHECK(bl_writer_done(w));
    CHECK_INT(etf.len, 2 + 255);
    finish();
    start();
    memset(name, 'a', 256);
    bl_write_atom(w, name);
    CHECK_INT(bl_writer_status(w, NULL), BL_INVALID);
    finish();
    start();
    for (size_t i = 0; i < 255; i++) memcpy(name + 4 * i, "\xf0\x9f\x98\x80", 4);
    bl_write_atom(w, name);
    CHECK(bl_writer_done(w));
    CHECK_INT(etf.len, 3 + 1020);
    finish();
    start();
    bl_write_atom(w, "\xff");
    CHECK_INT(bl_writer_status(w, NULL), BL_INVALID);
    finish();
}

TEST(binaries_are_copied_filled_or_shared)
{
    const struct bl_span span = {(const uint8_t *)"span", 4, NULL}, owned = {(const uint8_t *)"owned", 5, &quota};
    start();
    bl_write_binary(w, "abc", 3);
    CHECK_WRITTEN("m\0\0\0\x03" "abc");
    bl_write_binary(w, NULL, 0);
    CHECK_WRITTEN("m\0\0\0\0");
    bl_write_text(w, "text");
    CHECK_WRITTEN("m\0\0\0\x04text");
    bl_write_span(w, &span);
    CHECK_WRITTEN("m\0\0\0\x04span");
    bl_write_span(w, &owned);
    CHECK_WRITTEN("m\0\0\0\x05owned");
    uint8_t *space = bl_write_binary_space(w, 2);
    REQUIRE(space != NULL);
    memcpy(space, "hi", 2);
    CHECK_WRITTEN("m\0\0\0\x02hi");
    CHECK(bl_write_binary_space(w, 0) != NULL);
    CHECK_WRITTEN("m\0\0\0\0");
    finish();
}

TEST(containers_are_announced_and_ended)
{
    start();
    bl_write_map(w, 1);
    bl_write_atom(w, "a");
    bl_write_list(w, 2);
    bl_write_tuple(w, 0);
    bl_write_end(w);
    bl_write_list(w, 0);
    bl_write_end(w);
    CHECK(!bl_writer_done(w));
    bl_write_end(w);
    bl_write_end(w);
    CHECK_WRITTEN("t\0\0\0\x01" "w\x01" "a" "l\0\0\0\x02" "h\0" "j" "j");
    bl_write_tuple(w, 256);
    for (int i = 0; i < 256; i++) bl_write_int(w, 1);
    bl_write_end(w);
    CHECK(bl_writer_done(w));
    CHECK_BYTES(etf.data, 5, "i\0\0\x01\0", 5);
    finish();
}

TEST(the_version_byte_comes_first_when_asked_for)
{
    bl_etf_writer_init(&etf, NULL, true);
    bl_write_int(w, 1);
    CHECK_BYTES(etf.data, etf.len, "\x83" "a\x01", 3);
    bl_etf_writer_clear(&etf);
}

/* ---- what the front checks ------------------------------------------------------ */

#define CHECK_REFUSED(why)                                                                                             \
    do {                                                                                                               \
        struct bl_error bl_err = {.status = BL_OK};                                                                    \
        CHECK_INT(bl_writer_status(w, &bl_err), BL_INVALID);                                                           \
        CHECK_TEXT(bl_err.text, why);                                                                                  \
        CHECK(!bl_writer_done(w));                                                                                     \
        finish();                                                                                                      \
    } while (0)

TEST(counts_must_agree_with_what_was_announced)
{
    start();
    bl_write_int(w, 1);
    bl_write_int(w, 2);
    CHECK_REFUSED("more terms than announced");
    start();
    bl_write_tuple(w, 1);
    bl_write_int(w, 1);
    bl_write_int(w, 2);
    CHECK_REFUSED("more terms than announced");
    start();
    bl_write_map(w, 1);
    bl_write_int(w, 1);
    bl_write_end(w);
    CHECK_REFUSED("fewer terms than announced");
    start();
    bl_write_int(w, 1);
    bl_write_end(w);
    CHECK_REFUSED("more ends than containers");
    start();
    bl_write_map(w, SIZE_MAX / 2 + 1);
    CHECK_REFUSED("a map of impossible size");
}

TEST(the_first_failure_sticks_and_nothing_follows_it)
{
    start();
    bl_write_tuple(w, 1);
    bl_write_end(w);
    const size_t len = etf.len;
    bl_write_int(w, 1);
    bl_write_atom(w, "\xff");
    CHECK(bl_write_binary_space(w, 5) == NULL);
    bl_write_list(w, 1);
    bl_write_end(w);
    CHECK_INT(etf.len, len);
    CHECK_REFUSED("fewer terms than announced");
}

TEST(containers_nest_64_deep)
{
    start();
    for (int i = 0; i < 64; i++) bl_write_tuple(w, 1);
    bl_write_list(w, 0); /* empty: no nesting */
    for (int i = 0; i < 65; i++) bl_write_end(w);
    CHECK(bl_writer_done(w));
    finish();
    start();
    for (int i = 0; i < 65; i++) bl_write_tuple(w, 1);
    struct bl_error err;
    CHECK_INT(bl_writer_status(w, &err), BL_LIMIT);
    CHECK_TEXT(err.subject, "depth");
    CHECK_INT(err.limit, 64);
    CHECK_INT(err.asked, 65);
    finish();
}

TEST(lengths_beyond_the_format_are_refused)
{
    struct bl_error err;
    start();
    bl_write_tuple(w, (size_t)1 << 32);
    CHECK_INT(bl_writer_status(w, &err), BL_LIMIT);
    CHECK_TEXT(err.subject, "members");
    finish();
    start();
    CHECK(bl_write_binary_space(w, (size_t)1 << 32) == NULL);
    CHECK_INT(bl_writer_status(w, &err), BL_LIMIT);
    CHECK_TEXT(err.subject, "binary_bytes");
    finish();
}

TEST(memory_is_paid_for_and_its_refusal_sticks)
{
    struct bl_error err;
    start();
    quota.limit_bytes = 1000;
    CHECK(bl_write_binary_space(w, 2000) == NULL);
    CHECK_INT(bl_writer_status(w, &err), BL_LIMIT);
    CHECK_TEXT(err.subject, "memory");
    finish();
    for (uint64_t nth = 1; nth <= 3; nth++) {
        start();
        bl_quota_fail_nth(&quota, nth);
        bl_write_tuple(w, 3);
        for (int i = 0; i < 3; i++) bl_write_binary_space(w, 300);
        bl_write_end(w);
        CHECK_INT(bl_writer_status(w, NULL), BL_NO_MEMORY);
        finish();
    }
}

/* ---- copying ------------------------------------------------------------------- */

enum { MAX_SPANS = 1024 };

/* Copies `bytes`, cut into spans of `step` bytes, into the writer. */
static enum bl_status copy(const char *bytes, size_t len, size_t step, struct bl_error *err)
{
    static struct bl_span spans[MAX_SPANS];
    struct bl_reader r;
    size_t count = 0;
    for (size_t at = 0; at < len; at += step, count++) {
        const size_t part = len - at < step ? len - at : step;
        spans[count] = (struct bl_span){bl_test_copy(bytes + at, part, 1), part, &spans[count]};
    }
    bl_reader_init(&r, spans, count, NULL, &quota, err);
    const enum bl_status status = bl_copy_term(&r, w);
    if (status == BL_OK) CHECK_INT(bl_read_end(&r), BL_OK);
    if (status != BL_OK && !r.expected) CHECK_INT(bl_reader_offset(&r), 0);
    bl_reader_clear(&r);
    for (size_t i = 0; i < count; i++) bl_test_uncopy(spans[i].data, 1);
    return status;
}

TEST(a_copied_term_is_the_same_however_its_input_was_cut)
{
    uint8_t first[512];
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        const struct sample *s = &samples[i];
        size_t first_len = 0;
        for (size_t step = s->len; step >= 1; step--) {
            start();
            CHECK_INT(copy(s->bytes, s->len, step, NULL), BL_OK);
            CHECK(bl_writer_done(w));
            if (step == s->len) {
                first_len = etf.len;
                memcpy(first, etf.data, etf.len);
            }
            CHECK_BYTES(etf.data, etf.len, first, first_len);
            finish();
        }
        /* The copy of the copy changes nothing any more. */
        start();
        CHECK_INT(copy((const char *)first, first_len, first_len, NULL), BL_OK);
        CHECK_BYTES(etf.data, etf.len, first, first_len);
        finish();
    }
}

TEST(a_term_in_modern_encoding_is_copied_byte_for_byte)
{
    static const char modern[] = "t\0\0\0\x02" "w\x01" "a" "l\0\0\0\x03" "a\x01" "b\xff\xff\xff\xff" "h\x02" "k\0\x02hi" "j" "j"
                                 "m\0\0\0\x01k" "M\0\0\0\x01\x03\xa0";
    start();
    CHECK_INT(copy(modern, sizeof modern - 1, 7, NULL), BL_OK);
    CHECK_WRITTEN(modern);
    finish();
}

TEST(an_improper_list_is_passed_on)
{
    static const char improper[] = "h\x02" "l\0\0\0\x01" "a\x01" "a\x02" "a\x03";
    start();
    CHECK_INT(copy(improper, sizeof improper - 1, 3, NULL), BL_OK);
    CHECK_WRITTEN(improper);
    finish();
}

TEST(malformed_input_writes_nothing)
{
    struct bl_error err;
    start();
    CHECK_INT(copy("h\x02" "a\x01" "\x01", 5, 5, &err), BL_SYNTAX);
    CHECK_INT(err.offset, 4);
    CHECK_INT(etf.len, 0);
    CHECK_INT(bl_writer_status(w, NULL), BL_OK);
    finish();
}

TEST(a_failing_writer_fails_the_copy)
{
    struct bl_error err;
    start();
    for (int i = 0; i < 64; i++) bl_write_tuple(w, 1);
    CHECK_INT(copy("h\x01j", 3, 3, &err), BL_LIMIT);
    CHECK_TEXT(err.subject, "depth");
    finish();
    for (uint64_t nth = 1; nth <= 3; nth++) {
        start();
        bl_quota_fail_nth(&quota, nth);
        CHECK_INT(copy("h\x02" "m\0\0\0\x03" "abc" "d\0\x01\xe4", 14, 3, &err), BL_NO_MEMORY);
        CHECK_INT(err.status, BL_NO_MEMORY);
        bl_quota_fail_nth(&quota, 0);
        finish();
    }
}

/* A back end that shares spans, and tells what it was called with. */
struct recorder {
    struct bl_writer base;
    char text[256];
};

static void record(struct bl_writer *base, const char *format, ...) BL_PRINTF(2, 3);
static void record(struct bl_writer *base, const char *format, ...)
{
    struct recorder *r = (struct recorder *)base;
    const size_t len = strlen(r->text);
    va_list args;
    va_start(args, format);
    vsnprintf(r->text + len, sizeof r->text - len, format, args);
    va_end(args);
}

static void record_atom(struct bl_writer *b, const char *name, size_t len) { record(b, "atom %.*s;", (int)len, name); }
static void record_int(struct bl_writer *b, int64_t value) { record(b, "int %lld;", (long long)value); }
static void record_uint(struct bl_writer *b, uint64_t value) { record(b, "uint %llu;", (unsigned long long)value); }
static void record_real(struct bl_writer *b, double value) { record(b, "real %g;", value); }
static void record_raw(struct bl_writer *b, const struct bl_span *s) { record(b, "raw %zu;", s->len); }
static void record_begin(struct bl_writer *b, enum bl_term_type t, size_t n) { record(b, "begin %d %zu;", (int)t, n); }
static void record_end(struct bl_writer *b, enum bl_term_type t, size_t n) { record(b, "end %d %zu;", (int)t, n); }
static void record_span(struct bl_writer *b, const struct bl_span *s)
{
    record(b, "span %zu %s;", s->len, (const char *)s->owner);
}
static uint8_t *record_binary(struct bl_writer *b, size_t len)
{
    static uint8_t space[64];
    record(b, "binary %zu;", len);
    return len <= sizeof space ? space : NULL;
}
static const struct bl_writer_ops recording = {record_atom, record_int, record_uint, record_real, record_binary,
                                               record_span, record_raw, record_begin, record_end, NULL, NULL};

TEST(a_back_end_is_called_with_what_the_header_says)
{
    static char owner[] = "owner";
    static const char bytes[] = "h\x0b" "d\0\x02ok" "d\0\x01\xe4" "b\xff\xff\xff\xfe"
                                "n\x08\0\xff\xff\xff\xff\xff\xff\xff\xff" "n\x09\0\0\0\0\0\0\0\0\0\x01"
                                "F\x3f\xf8\0\0\0\0\0\0" "m\0\0\0\x03" "abc" "M\0\0\0\x01\x03\xa0"
                                "l\0\0\0\x01" "h\0" "j" "t\0\0\0\0" "k\0\x02xy";
    struct recorder r = {.text = ""};
    struct bl_reader reader;
    const struct bl_span span = {(const uint8_t *)bytes, sizeof bytes - 1, owner};
    bl_writer_init(&r.base, &recording);
    bl_reader_init(&reader, &span, 1, NULL, NULL, NULL);
    CHECK_INT(bl_copy_term(&reader, &r.base), BL_OK);
    bl_reader_clear(&reader);
    CHECK(bl_writer_done(&r.base));
    CHECK_TEXT(r.text, "begin 7 11;atom ok;raw 4;int -2;uint 18446744073709551615;raw 12;real 1.5;span 3 owner;raw 7;"
                       "begin 8 1;begin 7 0;end 7 0;end 8 1;begin 9 0;end 9 0;raw 5;end 7 11;");
}

TEST(bytes_without_an_owner_are_copied_through_binary)
{
    struct recorder r = {.text = ""};
    bl_writer_init(&r.base, &recording);
    bl_write_span(&r.base, &(struct bl_span){(const uint8_t *)"abc", 3, NULL});
    CHECK_TEXT(r.text, "binary 3;");
}

/* ---- reasons --------------------------------------------------------------------- */

#define CHECK_REASON(bytes)                                                                                            \
    do {                                                                                                               \
        start();                                                                                                       \
        bl_write_reason(w, &err);                                                                                      \
        CHECK(bl_writer_done(w));                                                                                      \
        CHECK_BYTES(etf.data, etf.len, bytes, sizeof(bytes) - 1);                                                      \
        finish();                                                                                                      \
    } while (0)

TEST(each_failure_has_the_reason_of_the_design)
{
    struct bl_error err;
    bl_fail(&err, BL_TIMEOUT);
    CHECK_REASON("w\x07timeout");
    bl_fail(&err, BL_CANCELLED);
    CHECK_REASON("w\x09" "cancelled");
    bl_fail(&err, BL_CLOSED);
    CHECK_REASON("w\x06" "closed");
    bl_fail(&err, BL_NO_MEMORY);
    CHECK_REASON("w\x09no_memory");
    bl_fail_busy(&err, 300);
    CHECK_REASON("h\x02w\x04" "busy" "b\0\0\x01\x2c");
    bl_fail_limit(&err, "memory", 1, 2);
    CHECK_REASON("h\x02w\x05limit" "t\0\0\0\x03" "w\x04what" "w\x06memory" "w\x05limit" "a\x01" "w\x05" "asked" "a\x02");
    bl_fail_syntax(&err, 3, 4, "a number");
    CHECK_REASON("h\x02w\x06syntax" "t\0\0\0\x03" "w\x04line" "a\x03" "w\x06" "column" "a\x04" "w\x08" "expected" "m\0\0\0\x08" "a number");
    bl_fail_syntax_at(&err, 5, "a term");
    CHECK_REASON("h\x02w\x06syntax" "t\0\0\0\x02" "w\x06offset" "a\x05" "w\x08" "expected" "m\0\0\0\x06" "a term");
    bl_fail_invalid(&err, "cell", "volume is zero");
    CHECK_REASON("h\x02w\x07invalid" "t\0\0\0\x02" "w\x05" "field" "w\x04" "cell" "w\x03why" "m\0\0\0\x0e" "volume is zero");
    bl_fail_unsupported(&err, "wasmtime");
    CHECK_REASON("h\x02w\x0bunsupported" "w\x08wasmtime");
    bl_fail_unsupported(&err, "CUDA 13");
    CHECK_REASON("h\x02w\x0bunsupported" "m\0\0\0\x07" "CUDA 13");
    err = (struct bl_error){.status = BL_TRAP, .subject = "unreachable"};
    CHECK_REASON("h\x02w\x04trap" "t\0\0\0\x01" "w\x04" "code" "w\x0bunreachable");
    err = (struct bl_error){.status = BL_TRAP, .subject = "unreachable", .text = "why"};
    CHECK_REASON("h\x02w\x04trap" "t\0\0\0\x02" "w\x04" "code" "w\x0bunreachable" "w\x07message" "m\0\0\0\x03why");
    err = (struct bl_error){.status = BL_HOST_EXITED, .text = "signal 9"};
    CHECK_REASON("h\x02w\x0bhost_exited" "m\0\0\0\x08signal 9");
    err = (struct bl_error){.status = BL_DEVICE_FAILED, .text = "lost"};
    CHECK_REASON("h\x02w\x0d" "device_failed" "m\0\0\0\x04lost");
}

TEST(only_short_plain_names_become_atoms)
{
    struct bl_error err;
    bl_fail_unsupported(&err, "");
    CHECK_REASON("h\x02w\x0bunsupported" "m\0\0\0\0");
    bl_fail_unsupported(&err, "_a");
    CHECK_REASON("h\x02w\x0bunsupported" "m\0\0\0\x02_a");
    bl_fail_unsupported(&err, "a_1");
    CHECK_REASON("h\x02w\x0bunsupported" "w\x03" "a_1");
    bl_fail_unsupported(&err, "abcdefghijklmnopqrstuvwxyzabcdefg");
    CHECK_REASON("h\x02w\x0bunsupported" "m\0\0\0\x21" "abcdefghijklmnopqrstuvwxyzabcdefg");
}

TEST(a_writer_comes_back_to_a_mark)
{
    static uint8_t large[70000];
    struct bl_etf_writer plain, marked;
    struct bl_etf_shared room[3];
    const struct bl_span owned = {.data = large, .len = sizeof large, .owner = large};
    bl_etf_writer_init(&plain, NULL, false);
    bl_etf_writer_init(&marked, NULL, false);
    bl_etf_writer_share(&marked, room, 3);
    struct bl_writer *const to = &marked.base;
    const struct bl_writer_mark empty = bl_writer_mark(to);
    bl_write_int(to, 7);
    bl_write_int(to, 8); /* fails */
    bl_writer_rewind(to, &empty);
    bl_write_list(to, 2);
    bl_write_span(to, &owned);
    const struct bl_writer_mark mark = bl_writer_mark(to);
    for (int i = 0; i < 3; i++) {
        bl_write_map(to, 3);
        bl_write_span(to, &owned);
        bl_write_atom(to, "\xff"); /* fails */
        CHECK_INT(bl_writer_status(to, NULL), BL_INVALID);
        bl_writer_rewind(to, &mark);
        CHECK_INT(marked.shared_count, 1);
    }
    bl_write_span(to, &owned);
    bl_write_end(to);
    CHECK(bl_writer_done(to));
    CHECK_INT(marked.shared_count, 2);
    bl_write_list(&plain.base, 2);
    for (int i = 0; i < 2; i++) bl_write_binary(&plain.base, large, sizeof large);
    bl_write_end(&plain.base);
    CHECK_INT(marked.len + 2 * sizeof large, plain.len);
    bl_etf_writer_clear(&plain);
    bl_etf_writer_clear(&marked);
}

TEST(a_container_below_the_floor_stays_open)
{
    struct bl_etf_writer e;
    bl_etf_writer_init(&e, NULL, false);
    bl_write_list(&e.base, 0);
    e.base.floor = 1;
    bl_write_end(&e.base);
    CHECK_INT(bl_writer_status(&e.base, NULL), BL_INVALID);
    bl_etf_writer_clear(&e);
}

TEST(shared_binaries_stay_where_they_are)
{
    static uint8_t large[70000], whole[300000];
    struct bl_etf_writer plain, sharing;
    struct bl_etf_shared room[2];
    struct bl_span spans[2 * 2 + 1];
    size_t len = 0;
    for (size_t i = 0; i < sizeof large; i++) large[i] = (uint8_t)(i * 7);
    const struct bl_span owned = {.data = large, .len = sizeof large, .owner = large}, small = {.data = large, .len = 100, .owner = large};
    bl_etf_writer_init(&plain, NULL, true);
    bl_etf_writer_init(&sharing, NULL, true);
    bl_etf_writer_share(&sharing, room, 2);
    struct bl_etf_writer *const both[2] = {&plain, &sharing};
    for (int i = 0; i < 2; i++) {
        struct bl_writer *const to = &both[i]->base;
        bl_write_list(to, 5);
        bl_write_span(to, &owned);
        bl_write_span(to, &small);
        bl_write_span(to, &owned);
        bl_write_span(to, &owned); /* one more than there is room for */
        bl_write_int(to, 5);
        bl_write_end(to);
        CHECK(bl_writer_done(to));
    }
    CHECK_INT(sharing.shared_count, 2);
    const size_t count = bl_etf_writer_spans(&sharing, spans);
    CHECK_INT(count, 5);
    for (size_t i = 0; i < count; i++) {
        memcpy(whole + len, spans[i].data, spans[i].len);
        len += spans[i].len;
    }
    CHECK(spans[1].data == large);
    CHECK_BYTES(whole, len, plain.data, plain.len);
    bl_etf_writer_clear(&plain);
    bl_etf_writer_clear(&sharing);
}
