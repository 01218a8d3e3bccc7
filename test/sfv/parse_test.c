/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading, RFC 9651, section 4.2.
 */
#include "sfv_fixture.h"

/* Both code paths. */
static void check_reads(enum bl_sfv_kind kind, const char *text, const char *canonical)
{
    struct sfv_answer a;
    struct bl_sfv_options options = bl_sfv_options_default;
    for (int plain = 0; plain < 2; plain++) {
        options.no_simd = plain;
        sfv_canonical(&a, kind, text, strlen(text), &options);
        if (a.status != BL_OK || strcmp(a.text, canonical) != 0)
            BL_TEST_FAIL("%s: %s instead of %s", text, a.status == BL_OK ? a.text : a.err.text, canonical);
    }
}

static void check_fails(enum bl_sfv_kind kind, const char *text, size_t offset)
{
    struct sfv_answer a;
    struct bl_sfv_options options = bl_sfv_options_default;
    for (int plain = 0; plain < 2; plain++) {
        options.no_simd = plain;
        sfv_canonical(&a, kind, text, strlen(text), &options);
        if (a.status != BL_SYNTAX || a.err.offset != offset)
            BL_TEST_FAIL("%s: %s at %zu: %s", text, bl_status_name(a.status), (size_t)a.err.offset, a.status ? a.err.text : a.text);
    }
}

TEST(items_are_read)
{
    static const char *const cases[][2] = {
        {"42", "42"}, {"  42  ", "42"}, {"-0", "0"}, {"042", "42"}, {"999999999999999", "999999999999999"},
        {"-999999999999999", "-999999999999999"}, {"1.0", "1.0"}, {"-0.5", "-0.5"}, {"1.50", "1.5"}, {"1.005", "1.005"},
        {"000000000001.100", "1.1"}, {"999999999999.999", "999999999999.999"}, {"-0.0", "0.0"}, {"\"\"", "\"\""},
        {"\"a \\\" \\\\ ~\"", "\"a \\\" \\\\ ~\""}, {"token", "token"}, {"*a:/!#$%&'*+-.^_`|~9", "*a:/!#$%&'*+-.^_`|~9"},
        {"A", "A"}, {"::", "::"}, {":YQ==:", ":YQ==:"}, {":YQ:", ":YQ==:"}, {":YQ=:", ":YQ==:"}, {":YWI:", ":YWI=:"},
        {":iZ==:", ":iQ==:"}, {":/+Ah:", ":/+Ah:"}, {"?1", "?1"}, {"?0", "?0"}, {"@0", "@0"}, {"@-62135596800", "@-62135596800"},
        {"@253402214400", "@253402214400"}, {"%\"\"", "%\"\""}, {"%\"f%c3%bc \\ %22%25%00\"", "%\"f%c3%bc \\ %22%25%00\""},
        {"%\"%61\"", "%\"a\""}, {"1;a;b=?0;  c=x;a=2", "1;a=2;b=?0;c=x"}, {"1; a", "1;a"}, {"a;*-_.9z=\"x\"", "a;*-_.9z=\"x\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_reads(BL_SFV_ITEM, cases[i][0], cases[i][1]);
}

TEST(lists_and_dictionaries_are_read)
{
    static const char *const lists[][2] = {
        {"", ""}, {"   ", ""}, {"a", "a"}, {"a,b", "a, b"}, {"a\t , \t b", "a, b"}, {"a \t", "a"}, {"()", "()"}, {"( )", "()"},
        {"(  a   b  )", "(a b)"}, {"(a;x b);y, c", "(a;x b);y, c"}, {"((a), b", NULL},
    };
    static const char *const dictionaries[][2] = {
        {"", ""}, {"a", "a"}, {"a=?1", "a"}, {"a=?0", "a=?0"}, {"a;x=1, b=2", "a;x=1, b=2"}, {"a=1,b=2,a=3", "a=3, b=2"},
        {"a=1,b,a=(1 2);q", "a=(1 2);q, b"}, {"a=(), a=1;x, b=(x);y, a=(y);z", "a=(y);z, b=(x);y"}, {"a , b", "a, b"},
        {"u=3, i", "u=3, i"}, {"a=:YQ==:,  b=@1", "a=:YQ==:, b=@1"},
    };
    for (size_t i = 0; lists[i][1]; i++) check_reads(BL_SFV_LIST, lists[i][0], lists[i][1]);
    for (size_t i = 0; i < sizeof dictionaries / sizeof *dictionaries; i++)
        check_reads(BL_SFV_DICTIONARY, dictionaries[i][0], dictionaries[i][1]);
}

TEST(malformed_items_are_refused_with_the_place)
{
    static const struct {
        const char *text;
        size_t offset;
    } cases[] = {
        {"", 0}, {" ", 1}, {"\t1", 0}, {"1\t", 1}, {"1 2", 2}, {"1,", 1}, {"-", 1}, {"--1", 1}, {"+1", 0}, {".5", 0}, {"1.", 2},
        {"1.x", 2}, {"1.2345", 5}, {"1.2.3", 3}, {"1000000000000000", 15}, {"1000000000000.0", 12}, {"99999999999999999999999", 15},
        {"\"", 1}, {"\"a", 2}, {"\"\\", 2}, {"\"\\a\"", 2}, {"\"\t\"", 1}, {"\"\x7f\"", 1}, {"\"\xc3\xbc\"", 1}, {"'a'", 0},
        {"\xc3", 0}, {":", 1}, {":YQ==", 5}, {":Y:", 2}, {":=:", 2}, {":YQ===:", 6}, {":YWJj=:", 6}, {":Y=Q=:", 3}, {":Y-_Q:", 2},
        {":Y Q=:", 2}, {"?", 1}, {"?2", 1}, {"?true", 1}, {"@", 1}, {"@1.0", 2}, {"@x", 1}, {"@1000000000000000", 16}, {"%", 1},
        {"%a", 1}, {"%\"", 2}, {"%\"%\"", 2}, {"%\"%C3%BC\"", 3}, {"%\"%c\"", 4}, {"%\"%c3\"", 2}, {"%\"%c3a%bc\"", 2},
        {"%\"%80\"", 2}, {"%\"%c0%80\"", 2}, {"%\"%ed%a0%80\"", 2}, {"%\"%f4%90%80%80\"", 2}, {"%\"%e2%82\"", 2},
        {"%\"\xc3\xbc\"", 2}, {"%\"\t\"", 2}, {"1;", 2}, {"1;A", 2}, {"1;a=", 4}, {"1;a =1", 4}, {"1 ;a", 2}, {"1;a= 1", 4},
        {"1;\ta", 2}, {"1;a;;b", 4}, {"(a)", 0}, {"a=b", 1}, {"[", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_fails(BL_SFV_ITEM, cases[i].text, cases[i].offset);
}

TEST(malformed_lists_and_dictionaries_are_refused_with_the_place)
{
    static const struct {
        const char *text;
        size_t offset;
    } lists[] = {{"\t", 0}, {"\ta", 0}, {",", 0}, {"a,", 2}, {"a, ", 3}, {"a,,b", 2}, {"a, ,b", 3}, {"a b", 2}, {"(", 1}, {"(a", 2},
                 {"(a ", 3}, {"(a,b)", 2}, {"(a\tb)", 2}, {"(\"a\"\"b\")", 4}, {"((a))", 1}, {"(a)b", 3}, {")", 0}, {"a;;", 2}},
      dictionaries[] = {{"A", 0}, {"1", 0}, {"a=", 2}, {"a,", 2}, {"a =1", 2}, {"a= 1", 2}, {"=1", 0}, {"a=1 b=2", 4}, {"a==1", 2},
                        {"a.b-c_d*=1,-a", 11}, {"a=1;", 4}, {"a=(1 2", 6}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) check_fails(BL_SFV_LIST, lists[i].text, lists[i].offset);
    for (size_t i = 0; i < sizeof dictionaries / sizeof *dictionaries; i++)
        check_fails(BL_SFV_DICTIONARY, dictionaries[i].text, dictionaries[i].offset);
}

/* Every byte at every place: both code paths say the same, and what is accepted is canonical once
 * it was written. */
TEST(every_byte_at_every_place_is_judged_alike_by_both_paths)
{
    static const struct {
        enum bl_sfv_kind kind;
        const char *text;
    } samples[] = {
        {BL_SFV_ITEM, "123456.789;a=-5"}, {BL_SFV_ITEM, "\"a string of \\\"many\\\" characters, longer than a vector\";q"},
        {BL_SFV_ITEM, "token/of.more:than*sixteen+characters"}, {BL_SFV_ITEM, ":YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo+/w==:"},
        {BL_SFV_ITEM, "%\"f%c3%bcnf %e2%82%ac %f0%9f%98%80 in all\""}, {BL_SFV_ITEM, "@1659578233"}, {BL_SFV_ITEM, "?1;x=?0"},
        {BL_SFV_LIST, "a, (b c;x);y=1.5 ,\t\"d\""}, {BL_SFV_DICTIONARY, "key-one_x.y*=1, b=(\"x\" y);z, key-one_x.y*;q=:YQ==:"},
    };
    struct bl_sfv_options options = bl_sfv_options_default, plain = options;
    static struct sfv_answer fast, slow, again;
    plain.no_simd = true;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const size_t len = strlen(samples[i].text);
        char text[128];
        memcpy(text, samples[i].text, len);
        for (size_t at = 0; at < len; at++) {
            for (int byte = 0; byte < 256; byte++) {
                text[at] = (char)byte;
                sfv_canonical(&fast, samples[i].kind, text, len, &options);
                sfv_canonical(&slow, samples[i].kind, text, len, &plain);
                REQUIRE(fast.status == slow.status && fast.err.offset == slow.err.offset);
                REQUIRE(strcmp(fast.text, slow.text) == 0 && strcmp(fast.err.text, slow.err.text) == 0);
                if (fast.status != BL_OK) continue;
                sfv_canonical(&again, samples[i].kind, fast.text, fast.len, &options);
                REQUIRE(again.status == BL_OK && strcmp(again.text, fast.text) == 0);
            }
            text[at] = samples[i].text[at];
        }
    }
}

TEST(an_input_may_end_anywhere)
{
    static const char text[] = "sig1=(\"@method\" \"@target-uri\" :YWJj:);created=1618884473;keyid=\"test\\\"key\", b=%\"%c3%bc\";d=@1.5";
    struct sfv_answer a;
    for (size_t len = 0; len < sizeof text; len++) {
        sfv_canonical(&a, BL_SFV_DICTIONARY, text, len, NULL);
        CHECK(a.status == BL_OK || (a.status == BL_SYNTAX && a.err.offset <= len));
    }
}

static char *repeat(const char *piece, const char *between, size_t times, size_t *len)
{
    char *text = malloc(times * (strlen(piece) + strlen(between) + 20) + 1), *end = text;
    *end = '\0';
    for (size_t i = 0; i < times; i++) end += sprintf(end, "%s%s%zu", i > 0 ? between : "", piece, i);
    *len = (size_t)(end - text);
    return text;
}

TEST(a_thousand_keys_that_come_twice_keep_their_places)
{
    size_t len, half;
    char *once = repeat("k", ",", 1000, &half), *text = malloc(2 * half + 3);
    len = (size_t)sprintf(text, "%s, %s", once, once);
    struct bl_sfv_field field;
    REQUIRE(bl_sfv_parse(&field, BL_SFV_DICTIONARY, text, len, NULL, NULL) == BL_OK);
    CHECK_INT(field.members, 1000);
    CHECK_INT(field.count, 2000);
    for (size_t i = 0; i < 1000; i++) {
        char key[20];
        const size_t key_len = (size_t)sprintf(key, "k%zu", i);
        CHECK(field.nodes[2 * i].len == key_len && memcmp(field.nodes[2 * i].as.text, key, key_len) == 0);
        CHECK(bl_sfv_member(&field, key, key_len) == &field.nodes[2 * i + 1]);
    }
    CHECK(bl_sfv_member(&field, "k", 1) == NULL);
    bl_sfv_field_clear(&field);
    free(text);
    free(once);
}

TEST(parameters_beyond_a_few_keep_their_places_too)
{
    size_t len;
    char *params = repeat("p", ";", 100, &len), *text = malloc(2 * len + 40);
    len = (size_t)sprintf(text, "1;%s;p5=x;p99=y;p17;%s, 2;p1;p1=5", params, params);
    struct bl_sfv_field field;
    REQUIRE(bl_sfv_parse(&field, BL_SFV_LIST, text, len, NULL, NULL) == BL_OK);
    CHECK_INT(field.members, 2);
    CHECK_INT(field.count, 201 + 3);
    CHECK_INT(bl_sfv_param(field.nodes, "p99", 3) - field.nodes, 200);
    const struct bl_sfv_node *second = bl_sfv_next(field.nodes);
    CHECK_INT(second->as.number, 2);
    CHECK_INT(bl_sfv_param(second, "p1", 2)->as.number, 5);
    CHECK(bl_sfv_next(second)->type == BL_SFV_END);
    bl_sfv_field_clear(&field);
    free(text);
    free(params);
}

static void check_limit(enum bl_sfv_kind kind, const char *text, const struct bl_sfv_options *options, const char *what)
{
    struct sfv_answer a;
    sfv_canonical(&a, kind, text, strlen(text), options);
    CHECK(a.status == BL_LIMIT);
    CHECK_TEXT(a.err.subject, what);
    CHECK(a.err.asked > a.err.limit);
}

TEST(each_limit_holds_and_says_its_name)
{
    struct bl_sfv_options o = bl_sfv_options_default;
    o.max_bytes = 3;
    check_reads(BL_SFV_LIST, "a,b", "a, b");
    check_limit(BL_SFV_LIST, "a,bc", &o, "bytes");
    o = bl_sfv_options_default;
    o.max_members = 2;
    check_limit(BL_SFV_LIST, "a,b,c", &o, "members");
    check_limit(BL_SFV_DICTIONARY, "a,a,a", &o, "members");
    o = bl_sfv_options_default;
    o.max_inner_members = 2;
    check_limit(BL_SFV_LIST, "(a b), (a b c)", &o, "inner_members");
    o = bl_sfv_options_default;
    o.max_params = 2;
    check_limit(BL_SFV_ITEM, "1;a;b;c", &o, "params");
    check_limit(BL_SFV_LIST, "();a;a;a", &o, "params");
    struct sfv_answer a;
    sfv_canonical(&a, BL_SFV_LIST, "1;a;b, 2;a;b", 12, &o);
    CHECK(a.status == BL_OK);
}

TEST(relaxed_keys_widen_keys_only)
{
    struct bl_sfv_options o = bl_sfv_options_default;
    struct sfv_answer a;
    o.keys = BL_SFV_KEYS_RELAXED;
    sfv_canonical(&a, BL_SFV_DICTIONARY, "A=1, 9%x;Q, _-.=2", 17, &o);
    CHECK(a.status == BL_OK);
    CHECK_TEXT(a.text, "A=1, 9%x;Q, _-.=2");
    for (int c = 0; c < 256; c++) {
        const char key[2] = {(char)c, 'a'};
        const bool ok = c > 0 && c < 128 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*%_-. ", c) != NULL;
        sfv_canonical(&a, BL_SFV_DICTIONARY, key, 2, &o);
        CHECK((a.status == BL_OK) == ok);
    }
}

TEST(strict_base64_wants_padding_and_no_bits_left_over)
{
    struct bl_sfv_options o = bl_sfv_options_default;
    struct sfv_answer a;
    o.strict_base64 = true;
    static const char *const good[] = {"::", ":YQ==:", ":YWI=:", ":YWJj:"}, *const bad[] = {":YQ:", ":YQ=:", ":YR==:", ":YWJ=:", ":YWI:"};
    for (size_t i = 0; i < 4; i++) {
        sfv_canonical(&a, BL_SFV_ITEM, good[i], strlen(good[i]), &o);
        CHECK(a.status == BL_OK);
    }
    for (size_t i = 0; i < 5; i++) {
        sfv_canonical(&a, BL_SFV_ITEM, bad[i], strlen(bad[i]), &o);
        CHECK(a.status == BL_SYNTAX);
        check_reads(BL_SFV_ITEM, bad[i], i < 3 ? ":YQ==:" : ":YWI=:");
    }
}

TEST(lines_are_joined_by_a_comma)
{
    const struct bl_sfv_line lines[] = {{"a=1", 3}, {"b=\"x", 4}, {"y\"", 2}};
    struct bl_sfv_field field;
    struct bl_error err;
    REQUIRE(bl_sfv_parse_lines(&field, BL_SFV_DICTIONARY, lines, 3, NULL, &err) == BL_OK);
    CHECK_INT(field.members, 2);
    CHECK(field.nodes[3].len == 4 && memcmp(field.nodes[3].as.text, "x, y", 4) == 0);
    bl_sfv_field_clear(&field);
    const struct bl_sfv_line empty_middle[] = {{"a", 1}, {"", 0}, {"b", 1}};
    CHECK(bl_sfv_parse_lines(&field, BL_SFV_LIST, empty_middle, 3, NULL, &err) == BL_SYNTAX);
    CHECK_INT(err.offset, 3);
    REQUIRE(bl_sfv_parse_lines(&field, BL_SFV_LIST, NULL, 0, NULL, &err) == BL_OK);
    CHECK_INT(field.members, 0);
    bl_sfv_field_clear(&field);
    CHECK(bl_sfv_parse_lines(&field, BL_SFV_ITEM, NULL, 0, NULL, &err) == BL_SYNTAX);
}

TEST(no_memory_is_an_answer_wherever_it_strikes)
{
    size_t len;
    char *keys = repeat("key", "=(1 2);p, ", 300, &len), *text = malloc(2 * len + 1000);
    len = (size_t)sprintf(text, "%s, %s, z;a1;a2;a3;a4;a5;a6;a7;a8;a9;b1;b2;b3;b4;b5;b6;b7;b8;b9", keys, keys);
    struct bl_quota quota;
    bl_quota_init(&quota, NULL, "memory", 0);
    struct bl_sfv_options o = bl_sfv_options_default;
    o.quota = &quota;
    enum bl_status status = BL_NO_MEMORY;
    size_t nth = 0;
    while (status == BL_NO_MEMORY) {
        struct bl_sfv_field field;
        struct bl_error err;
        bl_quota_fail_nth(&quota, ++nth);
        status = bl_sfv_parse(&field, BL_SFV_DICTIONARY, text, len, &o, &err);
        if (status == BL_OK) bl_sfv_field_clear(&field);
        CHECK_INT(bl_quota_used(&quota), 0);
        CHECK(status == BL_OK || (status == BL_NO_MEMORY && err.status == BL_NO_MEMORY));
        REQUIRE(nth < 100);
    }
    CHECK(nth > 4);
    free(text);
    free(keys);
}

/* The header's promise. */
TEST(memory_is_at_most_64_bytes_for_each_byte_of_the_input)
{
    static const char *const pieces[] = {"a,", "a;b;c,", "(),", "1,", "a=1,", "aa,ab,ac,ad,", "a=(1 1 1),", "\"\","};
    struct bl_quota quota;
    struct bl_sfv_options o = bl_sfv_options_default;
    o.quota = &quota;
    o.max_members = o.max_params = o.max_inner_members = o.max_bytes = SIZE_MAX;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (int kind = BL_SFV_LIST; kind <= BL_SFV_DICTIONARY; kind++) {
            const size_t size = strlen(pieces[i]), len = size * 100000 / size;
            char *text = malloc(len + 1);
            for (size_t j = 0; j < len; j++) text[j] = pieces[i][j % size];
            text[len] = 'z';
            struct bl_sfv_field field;
            bl_quota_init(&quota, NULL, "memory", 0);
            if (bl_sfv_parse(&field, (enum bl_sfv_kind)kind, text, len + 1, &o, NULL) == BL_OK) bl_sfv_field_clear(&field);
            if (bl_quota_peak(&quota) > 64 * len) BL_TEST_FAIL("%s: %zu", pieces[i], (size_t)bl_quota_peak(&quota) / len);
            free(text);
        }
    }
    size_t len;
    char *distinct = repeat("", ",", 50000, &len);
    for (size_t i = 0; i < len; i++) distinct[i] = distinct[i] == ',' ? ',' : (char)(distinct[i] - '0' + 'a');
    struct bl_sfv_field field;
    bl_quota_init(&quota, NULL, "memory", 0);
    REQUIRE(bl_sfv_parse(&field, BL_SFV_DICTIONARY, distinct, len, &o, NULL) == BL_OK);
    CHECK_INT(field.members, 50000);
    bl_sfv_field_clear(&field);
    CHECK(bl_quota_peak(&quota) <= 64 * len);
    free(distinct);
}
