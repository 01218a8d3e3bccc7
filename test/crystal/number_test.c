/* SPDX-License-Identifier: Apache-2.0 */
#include <locale.h>

#include "beamline/crystal.h"
#include "bl_test.h"

static double parse(const char *text)
{
    double value = NAN;
    const size_t len = strlen(text);
    const uint8_t *copy = bl_test_copy(text, len, 0);
    CHECK_INT(bl_parse_number((const char *)copy, len, &value), len);
    bl_test_uncopy(copy, 0);
    return value;
}

static void check_as_strtod(const char *text)
{
    const double mine = parse(text), theirs = strtod(text, NULL);
    if (memcmp(&mine, &theirs, sizeof mine) != 0) BL_TEST_FAIL("%s is %.17g, strtod says %.17g", text, mine, theirs);
}

TEST(numbers_of_every_length_and_scale_are_rounded_as_strtod_rounds_them)
{
    uint64_t seed = bl_test_seed();
    for (int i = 0; i < 200000; i++) {
        char text[64];
        const int digits = 1 + (int)(bl_test_random(&seed) % 20), point = (int)(bl_test_random(&seed) % (uint64_t)(digits + 1));
        size_t n = 0;
        if (bl_test_random(&seed) & 1) text[n++] = '-';
        for (int k = 0; k < digits; k++) {
            if (k == point) text[n++] = '.';
            text[n++] = (char)('0' + bl_test_random(&seed) % 10);
        }
        const int exponent = (int)(bl_test_random(&seed) % 60) - 30;
        text[n] = '\0';
        if (bl_test_random(&seed) & 1) snprintf(text + n, sizeof text - n, "e%d", exponent);
        check_as_strtod(text);
    }
}

TEST(numbers_in_the_middle_between_two_doubles_go_to_the_even_one)
{
    static const char *const hard[] = {"9007199254740993", "9007199254740991.5", "1.00000000000000011102230246251565404e0",
                                       "0.500000000000000166533453693773481063544750213623046875", "2.2250738585072011e-308",
                                       "4.9406564584124654e-324", "2.4703282292062327e-324", "1.7976931348623159e308",
                                               "123456789012345678901234567890e-29",
                                       "0.000000000000000000000000000000000000123", "8.9884656743115795e307", "6929495644600919.5",
                                               "3.7455744005952583e15"};
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) check_as_strtod(hard[i]);
}

TEST(fortran_exponents_are_numbers_too)
{
    CHECK_NEAR(parse("1.5D-3"), 1.5e-3, 0);
    CHECK_NEAR(parse("-.5d+02"), -50, 0);
    CHECK_NEAR(parse("+7."), 7, 0);
}

TEST(what_is_no_number_uses_no_bytes)
{
    static const char *const bad[] = {"", "-", ".", "e5", "nan", "inf", "x1", "+-1", ".e1"};
    double value;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK_INT(bl_parse_number(bad[i], strlen(bad[i]), &value), 0);
    CHECK_INT(bl_parse_number("1e", 2, &value), 1);
    CHECK_INT(bl_parse_number("1e+x", 4, &value), 1);
    CHECK_INT(bl_parse_number("12abc", 5, &value), 2);
}

static void check_round_trip(double value)
{
    char text[BL_NUMBER_SIZE + 1];
    const size_t n = bl_format_number(value, text);
    text[n] = '\0';
    CHECK(n <= BL_NUMBER_SIZE);
    const double back = strtod(text, NULL), mine = parse(text);
    if (memcmp(&back, &value, sizeof value) != 0 || memcmp(&mine, &value, sizeof value) != 0) BL_TEST_FAIL("%.17g was written %s",
            value, text);
}

TEST(every_double_is_written_so_that_it_reads_back)
{
    uint64_t seed = bl_test_seed();
    for (int i = 0; i < 200000; i++) {
        const uint64_t bits = bl_test_random(&seed);
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value)) check_round_trip(value);
        check_round_trip(((double)(bits >> 11) * 0x1p-53 - 0.5) * 200);
        check_round_trip((double)(int64_t)(bits >> 20) * 1e-5);
    }
    check_round_trip(0.0);
    check_round_trip(-0.0);
    check_round_trip(5e-324);
    check_round_trip(1.7976931348623157e308);
}

TEST(short_decimals_are_written_short)
{
    char text[BL_NUMBER_SIZE + 1];
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"}, {5.431, "5.431"}, {-0.25, "-0.25"}, {3, "3.0"}, {1.0 / 3, "0.3333333333333333"}, {123456.789,
            "123456.789"}, {1e-3, "0.001"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text[bl_format_number(cases[i].value, text)] = '\0';
        CHECK_TEXT(text, cases[i].text);
    }
}

TEST(the_locale_does_not_matter)
{
    static const char *const commas[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    const char *set = NULL;
    for (size_t i = 0; !set && i < sizeof commas / sizeof *commas; i++) set = setlocale(LC_NUMERIC, commas[i]);
    if (!set) SKIP("no locale with a decimal comma is installed");
    char text[BL_NUMBER_SIZE + 1];
    CHECK_NEAR(parse("0.12345678901234567890123"), 0.12345678901234568, 0);
    text[bl_format_number(1.25e300, text)] = '\0';
    CHECK_TEXT(text, "1.25000000000000e+300");
    setlocale(LC_NUMERIC, "C");
}
