/* SPDX-License-Identifier: Apache-2.0 */
#include "beamline/term.h"
#include "bl_test.h"
#include "term_samples.h"

/* ---- inputs ----------------------------------------------------------------- */

enum { MAX_SPANS = 4096, SHIFT = 1 };

/* A reader over exact-size copies of one input. */
struct input {
    struct bl_span spans[MAX_SPANS];
    size_t count;
    struct bl_quota quota;
    struct bl_error err;
    struct bl_reader r;
};

static void add_span(struct input *in, const void *bytes, size_t len)
{
    struct bl_span *span = &in->spans[in->count++];
    *span = (struct bl_span){.data = bl_test_copy(bytes, len, SHIFT), .len = len, .owner = span};
}

static void start(struct input *in, const struct bl_term_limits *limits)
{
    bl_quota_init(&in->quota, NULL, "memory", 0);
    bl_reader_init(&in->r, in->spans, in->count, limits, &in->quota, &in->err);
}

static void finish(struct input *in)
{
    bl_reader_clear(&in->r);
    CHECK_INT(bl_quota_used(&in->quota), 0);
    for (size_t i = 0; i < in->count; i++) bl_test_uncopy(in->spans[i].data, SHIFT);
    in->count = 0;
}

static struct input input; /* too large for a stack of ASan frames */

static struct bl_reader *whole(const void *bytes, size_t len)
{
    input.count = 0;
    add_span(&input, bytes, len);
    start(&input, NULL);
    return &input.r;
}

static struct bl_reader *cut_at(const void *bytes, size_t len, size_t at)
{
    input.count = 0;
    add_span(&input, bytes, at);
    add_span(&input, (const char *)bytes + at, len - at);
    start(&input, NULL);
    return &input.r;
}

/* One span for each byte, and empty ones around them. */
static struct bl_reader *crumbs(const void *bytes, size_t len)
{
    input.count = 0;
    for (size_t i = 0; i < len && input.count + 2 < MAX_SPANS; i++) {
        add_span(&input, "", 0);
        add_span(&input, (const char *)bytes + i, 1);
    }
    add_span(&input, "", 0);
    start(&input, NULL);
    return &input.r;
}

static void done(void) { finish(&input); }

#define WHOLE(text) whole(text, sizeof(text) - 1)

/* ---- single terms ----------------------------------------------------------- */

static void check_int(const char *bytes, size_t len, int64_t expected)
{
    int64_t value = 4711;
    struct bl_reader *r = whole(bytes, len);
    CHECK_INT(bl_read_type(r), BL_TERM_INT);
    CHECK_INT(bl_read_int(r, &value), BL_OK);
    CHECK_INT(value, expected);
    CHECK_INT(bl_read_end(r), BL_OK);
    done();
    for (size_t at = 0; at <= len; at++) {
        r = cut_at(bytes, len, at);
        value = 4711;
        CHECK_INT(bl_read_type(r), BL_TERM_INT);
        CHECK_INT(bl_read_int(r, &value), BL_OK);
        CHECK_INT(value, expected);
        done();
    }
}

TEST(integers_are_read_from_all_their_encodings)
{
    check_int(BYTES("a\0"), 0);
    check_int(BYTES("a\xff"), 255);
    check_int(BYTES("b\xff\xff\xff\xff"), -1);
    check_int(BYTES("b\x80\0\0\0"), INT32_MIN);
    check_int(BYTES("b\x7f\xff\xff\xff"), INT32_MAX);
    check_int(BYTES("n\0\0"), 0);
    check_int(BYTES("n\x01\x01\0"), 0);
    check_int(BYTES("n\x05\x01\0\0\0\0\x01"), -(INT64_C(1) << 32));
    check_int(BYTES("n\x08\0\xff\xff\xff\xff\xff\xff\xff\x7f"), INT64_MAX);
    check_int(BYTES("n\x08\x01\0\0\0\0\0\0\0\x80"), INT64_MIN);
    check_int(BYTES("o\0\0\0\x02\x01\x2c\x01"), -300);
}

TEST(unsigned_integers_reach_to_64_bits)
{
    uint64_t value = 1;
    struct bl_reader *r = WHOLE("n\x08\0\xff\xff\xff\xff\xff\xff\xff\xff");
    int64_t other = 1;
    CHECK_INT(bl_read_type(r), BL_TERM_BIG);
    CHECK_INT(bl_read_int(r, &other), BL_INVALID);
    CHECK_INT(other, 1);
    CHECK_INT(bl_read_uint(r, &value), BL_OK);
    CHECK(value == UINT64_MAX);
    done();
    r = WHOLE("b\xff\xff\xff\xff");
    CHECK_INT(bl_read_uint(r, &value), BL_INVALID);
    CHECK(value == UINT64_MAX);
    done();
    r = WHOLE("n\x09\0\0\0\0\0\0\0\0\0\x01");
    CHECK_INT(bl_read_type(r), BL_TERM_BIG);
    CHECK_INT(bl_read_uint(r, &value), BL_INVALID);
    done();
}

TEST(floats_are_read_from_both_encodings_and_are_finite)
{
    double value = 0;
    struct bl_reader *r = WHOLE("F\xc0\x09\x21\xfb\x54\x44\x2d\x18");
    CHECK_INT(bl_read_float(r, &value), BL_OK);
    CHECK(value == -3.141592653589793);
    done();
    r = WHOLE("c-3.14159265358979311600e+00\0\0\0\0");
    CHECK_INT(bl_read_float(r, &value), BL_OK);
    CHECK(value == -3.141592653589793);
    done();
    r = WHOLE("F\x7f\xf0\0\0\0\0\0\0");
    CHECK_INT(bl_read_float(r, &value), BL_SYNTAX);
    done();
    r = WHOLE("F\x7f\xf8\0\0\0\0\0\0");
    CHECK_INT(bl_read_skip(r), BL_SYNTAX);
    done();
    r = WHOLE("c1,5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    CHECK_INT(bl_read_float(r, &value), BL_SYNTAX);
    done();
}

TEST(a_number_may_be_an_integer_or_a_float)
{
    double value = 0;
    struct bl_reader *r = WHOLE("F\x3f\xf8\0\0\0\0\0\0" "a\x03" "b\xff\xff\xff\xfe" "n\x08\0\0\0\0\0\0\0\0\x80" "n\0\x01" "j");
    CHECK_INT(bl_read_number(r, &value), BL_OK);
    CHECK(value == 1.5);
    CHECK_INT(bl_read_number(r, &value), BL_OK);
    CHECK(value == 3.0);
    CHECK_INT(bl_read_number(r, &value), BL_OK);
    CHECK(value == -2.0);
    CHECK_INT(bl_read_number(r, &value), BL_OK);
    CHECK(value == 0x1p63);
    CHECK_INT(bl_read_number(r, &value), BL_OK);
    CHECK(value == 0.0 && !signbit(value));
    CHECK_INT(bl_read_number(r, &value), BL_INVALID);
    done();
}

static void check_atom(const char *bytes, size_t len, const char *expected)
{
    for (size_t at = 0; at <= len; at++) {
        struct bl_span atom = {0};
        struct bl_reader *r = cut_at(bytes, len, at);
        CHECK_INT(bl_read_type(r), BL_TERM_ATOM);
        CHECK_INT(bl_read_atom(r, &atom), BL_OK);
        CHECK(bl_span_is(&atom, expected));
        CHECK_INT(bl_read_end(r), BL_OK);
        done();
    }
}

TEST(atoms_are_given_as_utf8)
{
    check_atom(BYTES("d\0\x05hello"), "hello");
    check_atom(BYTES("s\x05hello"), "hello");
    check_atom(BYTES("v\0\x05hello"), "hello");
    check_atom(BYTES("w\x05hello"), "hello");
    check_atom(BYTES("w\0"), "");
    check_atom(BYTES("d\0\x03gr\xfc"), "gr\303\274");
    check_atom(BYTES("w\x04gr\xc3\xbc"), "gr\303\274");
}

TEST(an_atom_has_at_most_255_characters_of_valid_utf8)
{
    char long_atom[3 + 1024] = "v";
    struct bl_span atom;
    for (size_t i = 0; i < 256; i++) memcpy(long_atom + 3 + 4 * i, "\xf0\x9f\x98\x80", 4);
    long_atom[1] = 1020 >> 8, long_atom[2] = (char)(1020 & 0xff);
    struct bl_reader *r = whole(long_atom, 3 + 1020);
    CHECK_INT(bl_read_atom(r, &atom), BL_OK);
    CHECK_INT(atom.len, 1020);
    done();
    r = cut_at(long_atom, 3 + 1020, 511);
    CHECK_INT(bl_read_skip(r), BL_OK);
    done();
    long_atom[1] = 4, long_atom[2] = 0;
    r = whole(long_atom, 3 + 1024);
    CHECK_INT(bl_read_atom(r, &atom), BL_SYNTAX);
    done();
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{BYTES("w\x01\xe4")},         {BYTES("w\x02\xc0\x80")},         {BYTES("w\x03\xed\xa0\x80")},
               {BYTES("w\x03\xe0\x80\x80")}, {BYTES("w\x04\xf4\x90\x80\x80")}, {BYTES("w\x02\xc3" "a")}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        r = whole(bad[i].bytes, bad[i].len);
        CHECK_INT(bl_read_atom(r, &atom), BL_SYNTAX);
        CHECK_INT(input.err.offset, 0);
        done();
        r = whole(bad[i].bytes, bad[i].len);
        CHECK_INT(bl_read_skip(r), BL_SYNTAX);
        done();
    }
}

TEST(booleans_are_the_atoms_true_and_false)
{
    bool value = false;
    struct bl_reader *r = WHOLE("d\0\x04true" "w\x05" "false" "d\0\x02ok" "a\x01");
    CHECK_INT(bl_read_bool(r, &value), BL_OK);
    CHECK(value);
    CHECK_INT(bl_read_bool(r, &value), BL_OK);
    CHECK(!value);
    CHECK_INT(bl_read_bool(r, &value), BL_INVALID);
    CHECK_INT(bl_read_skip(r), BL_OK);
    CHECK_INT(bl_read_bool(r, &value), BL_INVALID);
    done();
}

/* ---- binaries --------------------------------------------------------------- */

TEST(a_binary_in_one_span_is_a_view_with_the_owner_of_the_span)
{
    static const char bytes[] = "m\0\0\0\x06" "binary";
    const size_t len = sizeof bytes - 1;
    for (size_t at = 0; at <= len; at++) {
        struct bl_span view = {0};
        struct bl_reader *r = cut_at(bytes, len, at);
        CHECK_INT(bl_read_binary(r, &view), BL_OK);
        CHECK_BYTES(view.data, view.len, "binary", 6);
        const bool in_one = at <= 5 || at == len;
        CHECK(view.owner == (in_one ? &input.spans[at == len ? 0 : 1] : NULL));
        CHECK((bl_quota_used(&input.quota) == 0) == in_one);
        CHECK_INT(bl_read_end(r), BL_OK);
        done();
    }
}

TEST(an_empty_binary_is_not_null)
{
    struct bl_span view = {0};
    struct bl_reader *r = WHOLE("m\0\0\0\0");
    CHECK_INT(bl_read_binary(r, &view), BL_OK);
    CHECK(view.data != NULL && view.len == 0);
    done();
}

TEST(memory_for_a_cut_binary_is_paid_for_and_refusal_leaves_the_cursor)
{
    struct bl_span view = {0};
    struct bl_reader *r = cut_at(BYTES("m\0\0\0\x06" "binary"), 8);
    bl_quota_fail_nth(&input.quota, 1);
    CHECK_INT(bl_read_binary(r, &view), BL_NO_MEMORY);
    CHECK_INT(input.err.status, BL_NO_MEMORY);
    CHECK(view.data == NULL);
    CHECK_INT(bl_reader_offset(r), 0);
    input.quota.limit_bytes = 10;
    CHECK_INT(bl_read_binary(r, &view), BL_LIMIT);
    CHECK_INT(bl_read_raw(r, &view), BL_LIMIT);
    CHECK_INT(bl_reader_offset(r), 0);
    CHECK_INT(bl_read_skip(r), BL_OK);
    done();
}

TEST(errors_may_go_unheard)
{
    struct bl_span view, span = {(const uint8_t *)"m\0\0\0\x06" "binary", 8, NULL};
    const struct bl_span rest = {(const uint8_t *)"ary", 3, NULL};
    struct bl_quota quota;
    struct bl_reader r;
    bl_quota_init(&quota, NULL, "memory", 4);
    bl_reader_init(&r, (struct bl_span[]){span, rest}, 2, NULL, &quota, NULL);
    bool value;
    CHECK_INT(bl_read_bool(&r, &value), BL_INVALID);
    CHECK_INT(bl_read_binary(&r, &view), BL_LIMIT);
    CHECK_INT(bl_read_version(&r), BL_SYNTAX);
    bl_reader_clear(&r);
}

/* ---- containers ------------------------------------------------------------- */

TEST(an_option_map_is_read_key_by_key)
{
    struct bl_reader *r = WHOLE("t\0\0\0\x03" "d\0\x04" "fmax" "F\x3f\x84\x7a\xe1\x47\xae\x14\x7b" "d\0\x05" "steps" "b\0\0\x03\xe8"
                                "d\0\x06" "colour" "d\0\x03red");
    size_t pairs = 0;
    double fmax = 0;
    int64_t steps = 0;
    enum bl_status last = BL_OK;
    CHECK_INT(bl_read_map(r, &pairs), BL_OK);
    CHECK_INT(pairs, 3);
    for (size_t i = 0; i < pairs; i++) {
        struct bl_span key;
        REQUIRE(bl_read_atom(r, &key) == BL_OK);
        if (bl_span_is(&key, "fmax"))
            CHECK_INT(bl_read_float(r, &fmax), BL_OK);
        else if (bl_span_is(&key, "steps"))
            CHECK_INT(bl_read_int(r, &steps), BL_OK);
        else
            last = bl_read_unknown_key(r, &key);
    }
    CHECK(fmax == 0.01 && steps == 1000);
    CHECK_INT(last, BL_INVALID);
    CHECK_TEXT(input.err.subject, "colour");
    CHECK_TEXT(input.err.text, "unknown key");
    done();
}

TEST(lists_strings_and_the_empty_list_are_read_alike)
{
    static const struct {
        const char *bytes;
        size_t len, n;
    } lists[] = {{BYTES("j" "a\x09"), 0},
                 {BYTES("k\0\x03\x01\x02\x03" "a\x09"), 3},
                 {BYTES("k\0\0" "a\x09"), 0},
                 {BYTES("l\0\0\0\0j" "a\x09"), 0},
                 {BYTES("l\0\0\0\x03" "a\x01" "b\0\0\0\x02" "n\x01\0\x03" "j" "a\x09"), 3}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (size_t at = 0; at <= lists[i].len; at++) {
            struct bl_reader *r = cut_at(lists[i].bytes, lists[i].len, at);
            size_t n = 77;
            int64_t value;
            CHECK_INT(bl_read_type(r), BL_TERM_LIST);
            CHECK_INT(bl_read_list(r, &n), BL_OK);
            CHECK_INT(n, lists[i].n);
            for (size_t k = 0; k < n; k++) {
                CHECK_INT(bl_read_list_end(r), BL_INVALID);
                CHECK_INT(bl_read_type(r), BL_TERM_INT);
                CHECK_INT(bl_read_int(r, &value), BL_OK);
                CHECK_INT(value, k + 1);
            }
            CHECK_INT(bl_read_int(r, &value), BL_INVALID);
            CHECK_INT(bl_read_list_end(r), BL_OK);
            CHECK_INT(bl_read_int(r, &value), BL_OK);
            CHECK_INT(value, 9);
            CHECK_INT(bl_read_end(r), BL_OK);
            done();
        }
    }
}

TEST(an_element_of_a_string_can_be_skipped_and_given_raw)
{
    struct bl_reader *r = WHOLE("k\0\x04\x01\x02\x03\x04");
    size_t n;
    struct bl_span raw;
    int64_t value;
    CHECK_INT(bl_read_list(r, &n), BL_OK);
    CHECK_INT(bl_read_skip(r), BL_OK);
    CHECK_INT(bl_read_raw(r, &raw), BL_OK);
    CHECK_BYTES(raw.data, raw.len, "a\x02", 2);
    CHECK_INT(bl_read_int(r, &value), BL_OK);
    CHECK_INT(value, 3);
    CHECK_INT(bl_read_end(r), BL_SYNTAX);
    done();
}

TEST(an_improper_tail_is_invalid)
{
    struct bl_reader *r = WHOLE("l\0\0\0\x01" "a\x01" "a\x02");
    size_t n;
    int64_t value;
    bl_reader_at(r, "species");
    CHECK_INT(bl_read_list(r, &n), BL_OK);
    CHECK_INT(bl_read_int(r, &value), BL_OK);
    CHECK_INT(bl_read_list_end(r), BL_INVALID);
    CHECK_TEXT(input.err.subject, "species");
    CHECK_INT(bl_read_int(r, &value), BL_OK);
    done();
}

TEST(tuples_of_both_sizes_are_read)
{
    struct bl_reader *r = WHOLE("h\x02" "h\0" "i\0\0\0\x01" "a\x01");
    size_t arity = 0;
    CHECK_INT(bl_read_tuple(r, &arity), BL_OK);
    CHECK_INT(arity, 2);
    CHECK_INT(bl_read_tuple(r, &arity), BL_OK);
    CHECK_INT(arity, 0);
    CHECK_INT(bl_read_tuple(r, &arity), BL_OK);
    CHECK_INT(arity, 1);
    done();
}

/* ---- errors ----------------------------------------------------------------- */

TEST(a_wrong_type_leaves_the_cursor_and_names_the_field)
{
    struct bl_reader *r = WHOLE("m\0\0\0\x02ok");
    int64_t i;
    uint64_t u;
    double d;
    bool b;
    size_t n;
    struct bl_span span;
    CHECK_INT(bl_read_int(r, &i), BL_INVALID);
    CHECK_TEXT(input.err.subject, "term");
    bl_reader_at(r, "cutoff");
    CHECK_INT(bl_read_int(r, &i), BL_INVALID);
    CHECK_TEXT(input.err.subject, "cutoff");
    CHECK_TEXT(input.err.text, "expected an integer of 64 bits");
    CHECK_INT(bl_read_uint(r, &u), BL_INVALID);
    CHECK_INT(bl_read_float(r, &d), BL_INVALID);
    CHECK_INT(bl_read_number(r, &d), BL_INVALID);
    CHECK_INT(bl_read_bool(r, &b), BL_INVALID);
    CHECK_INT(bl_read_atom(r, &span), BL_INVALID);
    CHECK_INT(bl_read_tuple(r, &n), BL_INVALID);
    CHECK_INT(bl_read_map(r, &n), BL_INVALID);
    CHECK_INT(bl_read_list(r, &n), BL_INVALID);
    CHECK_INT(bl_read_list_end(r), BL_INVALID);
    CHECK_INT(bl_reader_offset(r), 0);
    CHECK_INT(bl_read_binary(r, &span), BL_OK);
    done();
}

TEST(malformed_input_is_final_and_says_where)
{
    int64_t value;
    struct bl_reader *r = WHOLE("a\x01" "\x01" "a\x02");
    CHECK_INT(bl_read_int(r, &value), BL_OK);
    CHECK_INT(bl_read_int(r, &value), BL_SYNTAX);
    CHECK_INT(input.err.offset, 2);
    memset(&input.err, 0, sizeof input.err);
    CHECK_INT(bl_read_skip(r), BL_SYNTAX);
    CHECK_INT(input.err.offset, 2);
    CHECK_INT(bl_read_type(r), BL_TERM_NONE);
    CHECK_INT(bl_read_end(r), BL_SYNTAX);
    CHECK_INT(bl_read_version(r), BL_SYNTAX);
    done();
}

TEST(compressed_terms_are_refused)
{
    struct bl_reader *r = WHOLE("\x83P\0\0\x01\0x\x9c");
    CHECK_INT(bl_read_version(r), BL_OK);
    CHECK_INT(bl_read_skip(r), BL_SYNTAX);
    CHECK_INT(input.err.offset, 1);
    CHECK_TEXT(input.err.text, "a term that is not compressed");
    done();
}

TEST(the_end_is_known)
{
    struct bl_reader *r = WHOLE("");
    CHECK_INT(bl_read_type(r), BL_TERM_NONE);
    CHECK_INT(bl_read_end(r), BL_OK);
    CHECK_INT(bl_read_skip(r), BL_SYNTAX);
    done();
    r = WHOLE("a\x01");
    CHECK_INT(bl_read_end(r), BL_SYNTAX);
    CHECK_TEXT(input.err.text, "the end");
    done();
    bl_reader_init(&input.r, NULL, 0, NULL, NULL, &input.err);
    CHECK_INT(bl_read_end(&input.r), BL_OK);
    CHECK_INT(bl_read_skip(&input.r), BL_SYNTAX);
}

/* ---- limits ----------------------------------------------------------------- */

static struct bl_reader *limited(const void *bytes, size_t len, struct bl_term_limits limits)
{
    input.count = 0;
    add_span(&input, bytes, len);
    start(&input, &limits);
    return &input.r;
}

TEST(more_bytes_than_the_limit_are_refused_by_every_read)
{
    struct bl_reader *r = limited(BYTES("a\x01"), (struct bl_term_limits){1, 64, 100, 0});
    int64_t value;
    CHECK_INT(bl_read_type(r), BL_TERM_NONE);
    CHECK_INT(bl_read_int(r, &value), BL_LIMIT);
    CHECK_TEXT(input.err.subject, "term_bytes");
    CHECK_INT(input.err.limit, 1);
    CHECK_INT(input.err.asked, 2);
    CHECK_INT(bl_read_skip(r), BL_LIMIT);
    CHECK_INT(bl_read_version(r), BL_LIMIT);
    CHECK_INT(bl_read_end(r), BL_LIMIT);
    done();
}

TEST(the_keys_of_a_map_are_limited_where_it_is_passed_on)
{
    static const uint8_t map[] = {116, 0, 0, 0, 2, 97, 1, 97, 1, 97, 2, 97, 2};
    struct bl_reader *r = limited(map, sizeof map, (struct bl_term_limits){1000, 64, 1000, 1});
    CHECK_INT(bl_read_skip(r), BL_LIMIT);
    CHECK_TEXT(input.err.subject, "map_keys");
    done();
    r = limited(map, sizeof map, (struct bl_term_limits){1000, 64, 1000, 2});
    CHECK_INT(bl_read_skip(r), BL_OK);
    done();
}

TEST(nesting_is_limited_without_using_the_stack)
{
    enum { DEEP = 1 << 20 };
    char *nested = malloc(2 * DEEP);
    REQUIRE(nested != NULL);
    for (size_t i = 0; i < DEEP; i++) memcpy(nested + 2 * i, "h\x01", 2);
    struct bl_reader *r = whole(nested, 2 * DEEP);
    CHECK_INT(bl_read_skip(r), BL_LIMIT);
    CHECK_TEXT(input.err.subject, "depth");
    CHECK_INT(bl_reader_offset(r), 0);
    done();
    memcpy(nested + 2 * 64, "j", 1);
    r = whole(nested, 2 * 64 + 1);
    CHECK_INT(bl_read_skip(r), BL_OK);
    done();
    r = limited(nested, 2 * 64 + 1, (struct bl_term_limits){1000, 63, 1000, 0});
    CHECK_INT(bl_read_skip(r), BL_LIMIT);
    CHECK_INT(input.err.limit, 63);
    CHECK_INT(input.err.asked, 64);
    done();
    memcpy(nested + 2 * 64, "h\x01j", 3);
    r = limited(nested, 2 * 65 + 1, (struct bl_term_limits){1000, 1000, 1000, 0});
    CHECK_INT(bl_read_skip(r), BL_LIMIT);
    done();
    free(nested);
}

TEST(the_number_of_terms_is_limited)
{
    const struct bl_term_limits limits = {1000, 64, 4, 0};
    struct bl_reader *r = limited(BYTES("h\x03" "a\x01" "a\x02" "a\x03" "a\x04"), limits);
    CHECK_INT(bl_read_skip(r), BL_OK);
    CHECK_INT(bl_read_skip(r), BL_LIMIT);
    CHECK_TEXT(input.err.subject, "terms");
    done();
    r = limited(BYTES("h\x03" "a\x01" "a\x02" "h\x01" "a\x04"), limits);
    CHECK_INT(bl_read_skip(r), BL_LIMIT);
    CHECK_INT(bl_reader_offset(r), 0);
    CHECK_INT(bl_read_tuple(r, &(size_t){0}), BL_OK);
    done();
    r = limited(BYTES("k\0\x04" "abcd"), limits);
    CHECK_INT(bl_read_skip(r), BL_LIMIT);
    CHECK_INT(bl_read_list(r, &(size_t){0}), BL_LIMIT);
    done();
}

TEST(a_container_never_announces_more_than_the_bytes_that_are_left)
{
    static const struct {
        const char *bytes;
        size_t len;
    } lies[] = {{BYTES("t\0\0\0\x02" "a\x01" "j")}, {BYTES("t\xff\xff\xff\xff" "jjjj")}, {BYTES("l\xff\xff\xff\xff" "j")},
                {BYTES("l\0\0\0\x02" "jj")},        {BYTES("i\0\0\0\x02" "j")},          {BYTES("h\x02" "j")},
                {BYTES("k\0\x02" "a")}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        size_t n = 77;
        struct bl_reader *r = whole(lies[i].bytes, lies[i].len);
        const enum bl_term_type type = bl_read_type(r);
        CHECK_INT(type == BL_TERM_MAP    ? bl_read_map(r, &n)
                  : type == BL_TERM_LIST ? bl_read_list(r, &n)
                                         : bl_read_tuple(r, &n),
                  BL_SYNTAX);
        CHECK_INT(n, 77);
        done();
        r = whole(lies[i].bytes, lies[i].len);
        CHECK_INT(bl_read_skip(r), BL_SYNTAX);
        done();
    }
}

/* ---- all kinds of terms, cut in all ways -------------------------------------- */

static void check_skip_and_raw(struct bl_reader *r, const struct sample *s)
{
    struct bl_span raw;
    const struct bl_cursor begin = r->cursor;
    CHECK(bl_read_type(r) != BL_TERM_NONE);
    if (bl_read_skip(r) != BL_OK) BL_TEST_FAIL("%s: %s at %zu", s->what, input.err.text, (size_t)input.err.offset);
    CHECK_INT(bl_read_end(r), BL_OK);
    const size_t terms = r->cursor.terms;
    r->cursor = begin;
    CHECK_INT(bl_read_raw(r, &raw), BL_OK);
    CHECK_BYTES(raw.data, raw.len, s->bytes, s->len);
    CHECK_INT(bl_read_end(r), BL_OK);
    CHECK_INT(r->cursor.terms, terms);
}

TEST(every_kind_of_term_is_skipped_and_given_raw_wherever_it_is_cut)
{
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        const struct sample *s = &samples[i];
        check_skip_and_raw(whole(s->bytes, s->len), s);
        done();
        for (size_t at = 0; at <= s->len; at++) {
            check_skip_and_raw(cut_at(s->bytes, s->len, at), s);
            done();
        }
        check_skip_and_raw(crumbs(s->bytes, s->len), s);
        done();
    }
}

/* Of [Sample, 1]: as if the sample were all there is. */
static void check_part(struct bl_reader *r, const struct sample *s)
{
    struct bl_error err;
    struct bl_reader part;
    size_t length;
    int64_t i = 0;
    CHECK_INT(bl_read_list(r, &length), BL_OK);
    REQUIRE(bl_read_part(r, &part, &err) == BL_OK);
    check_skip_and_raw(&part, s);
    CHECK_INT(bl_read_type(&part), BL_TERM_NONE);
    CHECK_INT(bl_read_int(&part, &i), BL_SYNTAX);
    CHECK_INT(err.status, BL_SYNTAX);
    CHECK_INT(err.offset, s->len);
    CHECK_INT(bl_read_end(&part), BL_SYNTAX);
    bl_reader_clear(&part);
    CHECK_INT(bl_read_int(r, &i), BL_OK);
    CHECK_INT(i, 1);
    CHECK_INT(bl_read_list_end(r), BL_OK);
    CHECK_INT(bl_read_end(r), BL_OK);
}

TEST(a_part_ends_where_its_term_ends_wherever_it_is_cut)
{
    char bytes[512];
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        const struct sample *s = &samples[i];
        const size_t len = 5 + s->len + 3;
        REQUIRE(len <= sizeof bytes);
        memcpy(bytes, "l\0\0\0\x02", 5);
        memcpy(bytes + 5, s->bytes, s->len);
        memcpy(bytes + 5 + s->len, "a\x01j", 3);
        for (size_t at = 0; at <= len; at++) {
            check_part(cut_at(bytes, len, at), s);
            done();
        }
        check_part(crumbs(bytes, len), s);
        done();
    }
}

TEST(a_part_of_a_string_is_an_integer)
{
    struct bl_reader *const r = whole("k\0\x02\x07\x08", 5);
    struct bl_reader part;
    struct bl_error err;
    struct bl_span raw;
    size_t length;
    int64_t i = 0;
    CHECK_INT(bl_read_list(r, &length), BL_OK);
    CHECK_INT(bl_read_part(r, &part, &err), BL_OK);
    CHECK_INT(bl_read_raw(&part, &raw), BL_OK);
    CHECK_BYTES(raw.data, raw.len, "a\x07", 2);
    CHECK_INT(bl_read_end(&part), BL_OK);
    bl_reader_clear(&part);
    CHECK_INT(bl_read_part(r, &part, &err), BL_OK);
    CHECK_INT(bl_read_int(&part, &i), BL_OK);
    CHECK_INT(i, 8);
    CHECK_INT(bl_read_end(&part), BL_OK);
    bl_reader_clear(&part);
    CHECK_INT(bl_read_part(r, &part, &err), BL_OK); /* its end: an empty list */
    CHECK_INT(bl_read_list(&part, &length), BL_OK);
    CHECK_INT(length, 0);
    bl_reader_clear(&part);
    done();
}

TEST(every_truncation_is_malformed)
{
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        for (size_t len = 0; len < samples[i].len; len++) {
            CHECK_INT(bl_read_skip(whole(samples[i].bytes, len)), BL_SYNTAX);
            CHECK(input.err.offset <= len);
            done();
            CHECK_INT(bl_read_skip(crumbs(samples[i].bytes, len)), BL_SYNTAX);
            done();
        }
    }
}

/* Whole and cut input must agree on everything. */
static void check_agreement(const char *bytes, size_t len)
{
    struct bl_span raw;
    const enum bl_status status = bl_read_raw(whole(bytes, len), &raw);
    const uint64_t offset = input.err.offset;
    const size_t raw_len = status == BL_OK ? raw.len : 0;
    CHECK(status == BL_OK || status == BL_SYNTAX || status == BL_LIMIT);
    done();
    CHECK_INT(bl_read_raw(crumbs(bytes, len), &raw), status);
    if (status == BL_OK) CHECK_BYTES(raw.data, raw.len, bytes, raw_len);
    if (status == BL_SYNTAX) CHECK_INT(input.err.offset, offset);
    done();
}

TEST(every_corrupted_byte_gives_an_error_or_a_term)
{
    static const char others[] = "\0\x01\x7f\x80\xfe\xff" "adhjklmntvwpqXYZFMcx";
    char bytes[512];
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        const size_t len = samples[i].len;
        REQUIRE(len <= sizeof bytes);
        for (size_t at = 0; at < len; at++) {
            for (size_t k = 0; k < sizeof others - 1; k++) {
                memcpy(bytes, samples[i].bytes, len);
                bytes[at] = others[k];
                check_agreement(bytes, len);
            }
        }
    }
}

TEST(random_bytes_give_an_error_or_a_term)
{
    static const char tags[] = "FMPXYZabcdefghijklmnopqrstuvwx";
    uint64_t seed = bl_test_seed();
    char bytes[64];
    for (unsigned round = 0; round < 20000; round++) {
        const size_t len = 1 + bl_test_random(&seed) % sizeof bytes;
        for (size_t i = 0; i < len; i++) {
            const uint64_t random = bl_test_random(&seed);
            bytes[i] = random & 0x300 ? (char)(random & 0x400 ? random & 3 : 0) : tags[(random >> 16) % (sizeof tags - 1)];
        }
        check_agreement(bytes, len);
    }
}
