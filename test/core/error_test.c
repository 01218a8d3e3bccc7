/* SPDX-License-Identifier: Apache-2.0 */
#include "beamline/core.h"
#include "bl_test.h"

TEST(every_status_has_its_own_name)
{
    CHECK_TEXT(bl_status_name(BL_OK), "ok");
    CHECK_TEXT(bl_status_name(BL_NO_MEMORY), "no_memory");
    for (int a = 0; a < BL_STATUS_COUNT; a++)
        for (int b = 0; b < a; b++) CHECK(strcmp(bl_status_name((enum bl_status)a), bl_status_name((enum bl_status)b)) != 0);
    CHECK_TEXT(bl_status_name((enum bl_status)BL_STATUS_COUNT), "unknown");
    CHECK_TEXT(bl_status_name((enum bl_status)-1), "unknown");
}

TEST(each_failure_fills_its_fields_and_clears_the_others)
{
    struct bl_error err;
    memset(&err, 0xff, sizeof err);
    CHECK_INT(bl_fail_busy(&err, 250), BL_BUSY);
    CHECK_INT(err.status, BL_BUSY);
    CHECK_INT(err.retry_after_ms, 250);
    CHECK_TEXT(err.subject, "");
    CHECK_TEXT(err.text, "");

    CHECK_INT(bl_fail_limit(&err, "memory", 10, 20), BL_LIMIT);
    CHECK_TEXT(err.subject, "memory");
    CHECK_INT(err.limit, 10);
    CHECK_INT(err.asked, 20);
    CHECK_INT(err.retry_after_ms, 0);

    CHECK_INT(bl_fail_syntax(&err, 3, 7, "a %s", "number"), BL_SYNTAX);
    CHECK_INT(err.line, 3);
    CHECK_INT(err.column, 7);
    CHECK_TEXT(err.text, "a number");

    CHECK_INT(bl_fail_syntax_at(&err, 99, "a term"), BL_SYNTAX);
    CHECK_INT(err.line, 0);
    CHECK_INT(err.offset, 99);

    CHECK_INT(bl_fail_invalid(&err, "cell", "volume is %d", 0), BL_INVALID);
    CHECK_TEXT(err.subject, "cell");
    CHECK_TEXT(err.text, "volume is 0");

    CHECK_INT(bl_fail_unsupported(&err, "wasmtime"), BL_UNSUPPORTED);
    CHECK_TEXT(err.subject, "wasmtime");

    CHECK_INT(bl_fail(&err, BL_TIMEOUT), BL_TIMEOUT);
    CHECK_INT(err.status, BL_TIMEOUT);
    CHECK_TEXT(err.subject, "");
}

TEST(nobody_has_to_listen)
{
    CHECK_INT(bl_fail(NULL, BL_CLOSED), BL_CLOSED);
    CHECK_INT(bl_fail_busy(NULL, 1), BL_BUSY);
    CHECK_INT(bl_fail_limit(NULL, "memory", 1, 2), BL_LIMIT);
    CHECK_INT(bl_fail_syntax(NULL, 1, 1, "x"), BL_SYNTAX);
    CHECK_INT(bl_fail_syntax_at(NULL, 1, "x"), BL_SYNTAX);
    CHECK_INT(bl_fail_invalid(NULL, "a", "b"), BL_INVALID);
    CHECK_INT(bl_fail_unsupported(NULL, "a"), BL_UNSUPPORTED);
}

/* True when `text` is whole code points of two bytes, after `prefix` bytes of ASCII. */
static bool whole_pairs(const char *text, size_t prefix) { return (strlen(text) - prefix) % 2 == 0; }

TEST(long_texts_are_cut_between_characters)
{
    struct bl_error err;
    char text[400];
    for (size_t prefix = 0; prefix < 4; prefix++) {
        memset(text, 'a', prefix);
        for (size_t i = prefix; i + 2 < sizeof text; i += 2) memcpy(text + i, "\303\244\0", 3);
        bl_fail_invalid(&err, text, "%s", text);
        CHECK(whole_pairs(err.subject, prefix) && strlen(err.subject) >= sizeof err.subject - 2);
        CHECK(whole_pairs(err.text, prefix) && strlen(err.text) >= sizeof err.text - 2);
        bl_fail_limit(&err, text, 0, 0);
        CHECK(whole_pairs(err.subject, prefix));
    }
    for (size_t prefix = 0; prefix < 5; prefix++) {
        memset(text, 'a', prefix);
        for (size_t i = prefix; i + 4 < sizeof text; i += 4) memcpy(text + i, "\360\237\230\200\0", 5);
        bl_fail_invalid(&err, text, "%s", text);
        CHECK((strlen(err.subject) - prefix) % 4 == 0);
        CHECK((strlen(err.text) - prefix) % 4 == 0);
    }
}

static void check_format(const struct bl_error *err, const char *expected)
{
    char line[256];
    const size_t len = bl_error_format(err, line, sizeof line);
    CHECK_TEXT(line, expected);
    CHECK_INT(len, strlen(expected));
}

TEST(an_error_is_one_line_for_people)
{
    struct bl_error err;
    bl_fail(&err, BL_TIMEOUT);
    check_format(&err, "timeout");
    bl_fail_busy(&err, 20);
    check_format(&err, "busy: retry after 20 ms");
    bl_fail_limit(&err, "memory", 1, 2);
    check_format(&err, "limit: memory: 2 asked, 1 allowed");
    bl_fail_syntax(&err, 3, 4, "a number");
    check_format(&err, "syntax: line 3, column 4: expected a number");
    bl_fail_syntax_at(&err, 5, "a term");
    check_format(&err, "syntax: offset 5: expected a term");
    bl_fail_invalid(&err, "cell", "volume is zero");
    check_format(&err, "invalid: cell: volume is zero");
    bl_fail_unsupported(&err, "spglib");
    check_format(&err, "unsupported: spglib");
}

TEST(a_line_that_does_not_fit_is_cut_and_terminated)
{
    struct bl_error err;
    char *line = malloc(5); /* exactly, for the sanitizer */
    REQUIRE(line != NULL);
    bl_fail(&err, BL_CANCELLED);
    CHECK_INT(bl_error_format(&err, line, 5), strlen("cancelled"));
    CHECK_TEXT(line, "canc");
    free(line);
}
