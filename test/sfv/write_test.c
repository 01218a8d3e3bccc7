/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing, RFC 9651, section 4.1: canonical, or refused.
 */
#include "sfv_fixture.h"

static const char *ended(struct bl_sfv_writer *w)
{
    static char copy[512];
    const char *text;
    size_t len;
    struct bl_error err;
    if (bl_sfv_writer_end(w, &text, &len, &err) != BL_OK)
        snprintf(copy, sizeof copy, "%s: %s", err.subject, err.status == BL_LIMIT ? "limit" : err.text);
    else
        snprintf(copy, sizeof copy, "%.*s", (int)len, text);
    bl_sfv_writer_free(w);
    return copy;
}

static struct bl_sfv_writer *writer(enum bl_sfv_kind kind) { return bl_sfv_writer_new(kind, NULL, NULL); }

static const char *decimal(int64_t coefficient, int exponent)
{
    struct bl_sfv_writer *w = writer(BL_SFV_ITEM);
    bl_sfv_write_decimal(w, coefficient, exponent);
    return ended(w);
}

TEST(the_example_of_the_header_is_right)
{
    struct bl_sfv_writer *w = writer(BL_SFV_DICTIONARY);
    bl_sfv_write_key(w, "a", 1);
    bl_sfv_write_integer(w, 1);
    bl_sfv_write_key(w, "b", 1);
    bl_sfv_write_inner(w);
    bl_sfv_write_token(w, "x", 1);
    bl_sfv_write_inner_end(w);
    bl_sfv_write_param(w, "q", 1);
    bl_sfv_write_boolean(w, true);
    CHECK_TEXT(ended(w), "a=1, b=(x);q");
}

TEST(decimals_are_rounded_half_to_even)
{
    static const struct {
        int64_t coefficient;
        int exponent;
        const char *text;
    } cases[] = {
        {1, 0, "1.0"}, {105, -2, "1.05"}, {1, -2, "0.01"}, {1005, -3, "1.005"}, {-5, -1, "-0.5"}, {0, 0, "0.0"}, {0, INT32_MAX, "0.0"},
        {0, INT32_MIN, "0.0"}, {15, -4, "0.002"}, {25, -4, "0.002"}, {35, -4, "0.004"}, {-15, -4, "-0.002"}, {-25, -4, "-0.002"},
        {5, -4, "0.0"}, {-5, -4, "0.0"}, {50001, -8, "0.001"}, {99995, -4, "10.0"}, {9999999999999995, -4, "decimal: has more"},
        {999999999999999, -3, "999999999999.999"}, {-999999999999999, -3, "-999999999999.999"}, {1000000000000, 0, "decimal: has more"},
        {999999999999, 0, "999999999999.0"}, {1, 11, "100000000000.0"}, {1, 12, "decimal: has more"}, {1, 100, "decimal: has more"},
        {INT64_MAX, 0, "decimal: has more"}, {INT64_MIN, 0, "decimal: has more"}, {INT64_MIN, -18, "-9.223"}, {1, INT32_MIN, "0.0"},
        {INT64_MAX, -40, "0.0"}, {1500, -3, "1.5"}, {999999999999, -3, "999999999.999"}, {1234567, -3, "1234.567"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = decimal(cases[i].coefficient, cases[i].exponent);
        if (strncmp(got, cases[i].text, strlen(cases[i].text)) != 0 || (cases[i].text[0] != 'd' && strlen(got) != strlen(cases[i].text)))
            BL_TEST_FAIL("%s instead of %s", got, cases[i].text);
    }
}

TEST(integers_and_dates_have_15_digits_at_most)
{
    static const int64_t powers[] = {0, 9, 10, 99, 100, 123456789, 999999999999999};
    char text[40];
    for (size_t i = 0; i < sizeof powers / sizeof *powers; i++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            struct bl_sfv_writer *w = writer(BL_SFV_LIST);
            bl_sfv_write_integer(w, sign * powers[i]);
            bl_sfv_write_date(w, sign * powers[i]);
            snprintf(text, sizeof text, "%lld, @%lld", (long long)(sign * powers[i]), (long long)(sign * powers[i]));
            CHECK_TEXT(ended(w), text);
        }
    }
    static const int64_t large[] = {1000000000000000, -1000000000000000, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < 4; i++) {
        struct bl_sfv_writer *w = writer(BL_SFV_ITEM);
        CHECK(bl_sfv_write_integer(w, large[i]) == BL_INVALID);
        CHECK_TEXT(ended(w), "integer: has more than 15 digits");
        w = writer(BL_SFV_ITEM);
        CHECK(bl_sfv_write_date(w, large[i]) == BL_INVALID);
        CHECK_TEXT(ended(w), "date: has more than 15 digits");
    }
}

/* Each byte alone and among others: written and read back as itself, or refused. */
TEST(no_byte_gets_through_that_may_not)
{
    for (int c = 0; c < 256; c++) {
        for (int place = 0; place < 3; place++) {
            char text[3] = {'a', 'a', 'a'};
            text[place] = (char)c;
            const bool printable = c >= 0x20 && c <= 0x7e, lower = (c >= 'a' && c <= 'z') || c == '*';
            struct bl_sfv_writer *w = writer(BL_SFV_ITEM);
            CHECK((bl_sfv_write_string(w, text, 3) == BL_OK) == printable);
            bl_sfv_writer_free(w);
            w = writer(BL_SFV_ITEM);
            const bool alpha = (c | 32) >= 'a' && (c | 32) <= 'z';
            const bool in_token = alpha || (c > 0 && c < 128 && strchr("0123456789!#$%&'*+-.^_`|~:/", c));
            CHECK((bl_sfv_write_token(w, text, 3) == BL_OK) == (place == 0 ? alpha || c == '*' : in_token));
            bl_sfv_writer_free(w);
            w = writer(BL_SFV_DICTIONARY);
            CHECK((bl_sfv_write_key(w, text, 3) == BL_OK) ==
                  (place == 0 ? lower : lower || (c > 0 && c < 128 && strchr("0123456789_-.", c))));
            bl_sfv_writer_free(w);
            w = writer(BL_SFV_ITEM);
            CHECK((bl_sfv_write_display(w, text, 3) == BL_OK) == (c < 0x80));
            const char *const shown = ended(w);
            for (const char *p = shown; c < 0x80 && *p; p++) CHECK(*p >= 0x20 && *p <= 0x7e);
            w = writer(BL_SFV_ITEM);
            CHECK(bl_sfv_write_bytes(w, text, 3) == BL_OK);
            bl_sfv_writer_free(w);
        }
    }
}

TEST(empty_texts_and_keys)
{
    struct bl_sfv_writer *w = writer(BL_SFV_LIST);
    bl_sfv_write_string(w, "", 0);
    bl_sfv_write_bytes(w, "", 0);
    bl_sfv_write_display(w, "", 0);
    CHECK_TEXT(ended(w), "\"\", ::, %\"\"");
    w = writer(BL_SFV_ITEM);
    CHECK(bl_sfv_write_token(w, "", 0) == BL_INVALID);
    bl_sfv_writer_free(w);
    w = writer(BL_SFV_DICTIONARY);
    CHECK(bl_sfv_write_key(w, "", 0) == BL_INVALID);
    bl_sfv_writer_free(w);
}

TEST(true_is_left_out_where_it_may_be)
{
    struct bl_sfv_writer *w = writer(BL_SFV_DICTIONARY);
    bl_sfv_write_key(w, "a", 1);
    bl_sfv_write_boolean(w, true);
    bl_sfv_write_param(w, "b", 1);
    bl_sfv_write_boolean(w, true);
    bl_sfv_write_param(w, "c", 1);
    bl_sfv_write_boolean(w, false);
    bl_sfv_write_key(w, "d", 1);
    bl_sfv_write_inner(w);
    bl_sfv_write_boolean(w, true);
    bl_sfv_write_inner_end(w);
    CHECK_TEXT(ended(w), "a;b;c=?0, d=(?1)");
    w = writer(BL_SFV_LIST);
    bl_sfv_write_boolean(w, true);
    CHECK_TEXT(ended(w), "?1");
}

TEST(a_key_that_comes_twice_is_refused)
{
    struct bl_sfv_writer *w = writer(BL_SFV_DICTIONARY);
    char key[20];
    for (int i = 0; i < 100; i++) {
        CHECK(bl_sfv_write_key(w, key, (size_t)sprintf(key, "k%d", i)) == BL_OK);
        CHECK(bl_sfv_write_integer(w, i) == BL_OK);
        for (int j = 0; j < 30; j++) {
            CHECK(bl_sfv_write_param(w, key, (size_t)sprintf(key, "p%d", j)) == BL_OK);
            CHECK(bl_sfv_write_boolean(w, true) == BL_OK);
        }
        if (i == 99) CHECK(bl_sfv_write_param(w, "p7", 2) == BL_INVALID);
    }
    CHECK_TEXT(ended(w), "key: occurs twice");
}

TEST(calls_out_of_order_are_refused)
{
    static const char order[] = "order: this cannot stand here", incomplete[] = "order: the field is not complete";
    struct bl_sfv_writer *w = writer(BL_SFV_ITEM);
    CHECK_TEXT(ended(w), incomplete);
    w = writer(BL_SFV_ITEM);
    bl_sfv_write_integer(w, 1);
    bl_sfv_write_integer(w, 2);
    CHECK_TEXT(ended(w), order);
    w = writer(BL_SFV_ITEM);
    bl_sfv_write_inner(w);
    CHECK_TEXT(ended(w), order);
    w = writer(BL_SFV_LIST);
    bl_sfv_write_param(w, "a", 1);
    CHECK_TEXT(ended(w), order);
    w = writer(BL_SFV_LIST);
    bl_sfv_write_key(w, "a", 1);
    CHECK_TEXT(ended(w), order);
    w = writer(BL_SFV_LIST);
    bl_sfv_write_inner(w);
    bl_sfv_write_inner(w);
    CHECK_TEXT(ended(w), order);
    w = writer(BL_SFV_LIST);
    bl_sfv_write_inner(w);
    CHECK_TEXT(ended(w), incomplete);
    w = writer(BL_SFV_LIST);
    bl_sfv_write_inner_end(w);
    CHECK_TEXT(ended(w), order);
    w = writer(BL_SFV_DICTIONARY);
    bl_sfv_write_integer(w, 1);
    CHECK_TEXT(ended(w), order);
    w = writer(BL_SFV_DICTIONARY);
    bl_sfv_write_key(w, "a", 1);
    CHECK_TEXT(ended(w), incomplete);
    w = writer(BL_SFV_DICTIONARY);
    bl_sfv_write_key(w, "a", 1);
    bl_sfv_write_key(w, "b", 1);
    CHECK_TEXT(ended(w), order);
    w = writer(BL_SFV_LIST);
    bl_sfv_write_integer(w, 1);
    bl_sfv_write_param(w, "a", 1);
    CHECK_TEXT(ended(w), incomplete);
    w = writer(BL_SFV_LIST);
    bl_sfv_write_integer(w, 1);
    bl_sfv_write_param(w, "a", 1);
    bl_sfv_write_inner(w);
    CHECK_TEXT(ended(w), order);
    w = writer(BL_SFV_INNER_LIST);
    bl_sfv_write_inner(w);
    bl_sfv_write_inner_end(w);
    bl_sfv_write_inner(w);
    CHECK_TEXT(ended(w), order);
    w = writer((enum bl_sfv_kind)7);
    CHECK(bl_sfv_write_integer(w, 1) == BL_INVALID);
    bl_sfv_writer_free(w);
}

TEST(an_inner_list_can_be_written_alone)
{
    struct bl_sfv_writer *w = writer(BL_SFV_INNER_LIST);
    bl_sfv_write_inner(w);
    bl_sfv_write_string(w, "@method", 7);
    bl_sfv_write_string(w, "a\"b", 3);
    bl_sfv_write_inner_end(w);
    bl_sfv_write_param(w, "created", 7);
    bl_sfv_write_integer(w, 5);
    CHECK_TEXT(ended(w), "(\"@method\" \"a\\\"b\");created=5");
}

/* In the caller's memory of every size: all of it, or BL_LIMIT, and nothing beyond the end. */
TEST(a_fixed_buffer_is_never_overrun)
{
    static const char text[] = "aa=12.5;q, b=(\"x\\\"\" :YWI=: %\"%c3%bc\" ?0 @5);zz=tok";
    struct bl_sfv_field field;
    void *room = malloc(bl_sfv_writer_size());
    REQUIRE(bl_sfv_parse(&field, BL_SFV_DICTIONARY, text, strlen(text), NULL, NULL) == BL_OK);
    for (size_t size = 0; size <= sizeof text; size++) {
        for (int fixed = 0; fixed < 2; fixed++) {
            char *out = malloc(size ? size : 1);
            const char *written;
            size_t len;
            struct bl_error err;
            struct bl_sfv_writer *w = bl_sfv_writer_init(room, BL_SFV_DICTIONARY, NULL, out, size, fixed);
            bl_sfv_write_nodes(w, field.nodes);
            const enum bl_status status = bl_sfv_writer_end(w, &written, &len, &err);
            if (fixed && size < strlen(text)) {
                CHECK(status == BL_LIMIT);
            } else {
                CHECK(status == BL_OK && len == strlen(text) && memcmp(written, text, len) == 0);
                CHECK((written == out) == (size >= strlen(text)));
            }
            bl_sfv_writer_clear(w);
            free(out);
        }
    }
    bl_sfv_field_clear(&field);
    free(room);
}

TEST(limits_hold_for_what_is_written)
{
    struct bl_sfv_options o = bl_sfv_options_default;
    o.max_bytes = 5;
    struct bl_sfv_writer *w = bl_sfv_writer_new(BL_SFV_LIST, &o, NULL);
    CHECK(bl_sfv_write_integer(w, 12345) == BL_OK);
    CHECK(bl_sfv_write_param(w, "a", 1) == BL_LIMIT);
    CHECK_TEXT(ended(w), "bytes: limit");
    w = bl_sfv_writer_new(BL_SFV_ITEM, &o, NULL);
    CHECK(bl_sfv_write_string(w, "abc", 3) == BL_OK);
    CHECK_TEXT(ended(w), "\"abc\"");
    o = bl_sfv_options_default;
    o.max_members = o.max_inner_members = o.max_params = 1;
    w = bl_sfv_writer_new(BL_SFV_LIST, &o, NULL);
    bl_sfv_write_inner(w);
    bl_sfv_write_integer(w, 1);
    CHECK(bl_sfv_write_integer(w, 1) == BL_LIMIT);
    CHECK_TEXT(ended(w), "inner_members: limit");
    w = bl_sfv_writer_new(BL_SFV_LIST, &o, NULL);
    bl_sfv_write_integer(w, 1);
    bl_sfv_write_param(w, "a", 1);
    bl_sfv_write_boolean(w, true);
    CHECK(bl_sfv_write_param(w, "b", 1) == BL_LIMIT);
    CHECK_TEXT(ended(w), "params: limit");
    w = bl_sfv_writer_new(BL_SFV_LIST, &o, NULL);
    bl_sfv_write_integer(w, 1);
    CHECK(bl_sfv_write_integer(w, 1) == BL_LIMIT);
    CHECK_TEXT(ended(w), "members: limit");
}

TEST(no_memory_is_the_writers_answer_wherever_it_strikes)
{
    struct bl_quota quota;
    bl_quota_init(&quota, NULL, "memory", 0);
    struct bl_sfv_options o = bl_sfv_options_default;
    o.quota = &quota;
    bool done = false;
    for (size_t nth = 1; !done; nth++) {
        const char *text;
        size_t len;
        char key[20];
        REQUIRE(nth < 50);
        bl_quota_fail_nth(&quota, nth);
        struct bl_sfv_writer *w = bl_sfv_writer_new(BL_SFV_DICTIONARY, &o, NULL);
        if (!w) continue;
        for (int i = 0; i < 100; i++) {
            bl_sfv_write_key(w, key, (size_t)sprintf(key, "k%d", i));
            bl_sfv_write_string(w, "some text", 9);
        }
        const enum bl_status status = bl_sfv_writer_end(w, &text, &len, NULL);
        CHECK(status == BL_OK || status == BL_NO_MEMORY);
        done = status == BL_OK;
        bl_sfv_writer_free(w);
        CHECK_INT(bl_quota_used(&quota), 0);
    }
}
