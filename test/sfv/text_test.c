/* SPDX-License-Identifier: Apache-2.0
 *
 * Classes of characters, base64, UTF-8: each against a few plain lines.
 */
#include "bl_test.h"
#include "sfv/bl_sfv.h"

TEST(the_classes_for_vectors_are_those_of_the_table)
{
    static const unsigned mask[V_COUNT] = {[V_KEY] = C_KEY, [V_KEY_RELAXED] = C_KEY_RELAXED, [V_TOKEN] = C_TOKEN,
                                           [V_BASE64] = C_BASE64, [V_PLAIN] = C_PLAIN};
    for (unsigned c = 0; c < 256; c++)
        for (unsigned v = 0; v < V_COUNT; v++)
            CHECK(((bl_sfv_classes[c] & mask[v]) != 0) == (c < 128 && (bl_sfv_vectors[v][c & 15] >> (c >> 4) & 1)));
}

TEST(the_table_says_what_the_rfc_says)
{
    for (unsigned c = 0; c < 256; c++) {
        const bool lower = c >= 'a' && c <= 'z', alpha = lower || (c >= 'A' && c <= 'Z'), digit = c >= '0' && c <= '9';
        const bool tchar = alpha || digit || (c > 0 && c < 128 && strchr("!#$%&'*+-.^_`|~", (int)c));
        const uint8_t has = bl_sfv_classes[c];
        CHECK(((has & C_KEY_FIRST) != 0) == (lower || c == '*'));
        CHECK(((has & C_KEY) != 0) == (lower || digit || (c > 0 && c < 128 && strchr("_-.*", (int)c))));
        CHECK(((has & C_TOKEN_FIRST) != 0) == (alpha || c == '*'));
        CHECK(((has & C_TOKEN) != 0) == (tchar || c == ':' || c == '/'));
        CHECK(((has & C_PLAIN) != 0) == (c >= 0x20 && c <= 0x7e && c != '"' && c != '\\'));
        CHECK(((has & C_BASE64) != 0) == (alpha || digit || c == '+' || c == '/'));
        CHECK(((has & C_DIGIT) != 0) == digit);
        CHECK(((has & C_BASE64) != 0) == (bl_sfv_base64_value[c] >= 0));
    }
}

TEST(eight_characters_give_the_number_in_front_of_the_first_that_is_no_digit)
{
    srand(2);
    for (unsigned count = 0; count <= 8; count++)
        for (unsigned c = 0; c < 256; c++) {
            if (c >= '0' && c <= '9') continue;
            char text[8];
            uint64_t number = 0, expected = 0, word;
            for (unsigned i = 0; i < 8; i++) text[i] = (char)(i < count ? '0' + rand() % 10 : rand() % 256);
            if (count < 8) text[count] = (char)c;
            for (unsigned i = 0; i < count; i++) expected = 10 * expected + (unsigned)(text[i] - '0');
            memcpy(&word, text, sizeof word);
            CHECK(bl_sfv_digits_8(word, &number) == count);
            CHECK(number == expected);
        }
}

TEST(base64_of_every_length_comes_back_by_both_paths)
{
    srand(1);
    for (size_t len = 0; len < 300; len++) {
        uint8_t *bytes = malloc(len + 1), *back = malloc(len + 1);
        for (size_t i = 0; i < len; i++) bytes[i] = (uint8_t)rand();
        const size_t size = (len + 2) / 3 * 4;
        char *text = malloc(size + 1);
        bl_sfv_base64_encode(bytes, len, text);
        struct bl_sfv_node node = {.type = BL_SFV_BYTES, .flags = BL_SFV_ENCODED, .len = (uint32_t)size, .as.text = text};
        uint8_t *exact = malloc(len ? len : 1);
        REQUIRE(bl_sfv_decoded_size(&node) == len);
        bl_sfv_decode(&node, exact);
        CHECK(memcmp(exact, bytes, len) == 0);
        bl_sfv_base64_decode(text, bl_sfv_base64_unpadded(text, size), back);
        CHECK(memcmp(back, bytes, len) == 0);
        free(exact);
        free(text);
        free(back);
        free(bytes);
    }
}

/* The definition of UTF-8: the shortest form of a number that is no surrogate. */
static bool is_utf8_character(const uint8_t *b, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c = len == 1 ? b[0] : b[0] & (0x7fU >> len);
    if (len == 1) return b[0] < 0x80;
    if ((b[0] & (0xffU << (7 - len) & 0xff)) != (0xffU << (8 - len) & 0xff)) return false;
    for (size_t i = 1; i < len; i++) {
        if ((b[i] & 0xc0) != 0x80) return false;
        c = c << 6 | (b[i] & 0x3f);
    }
    return c >= least[len] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
}

TEST(utf8_is_what_its_definition_says)
{
    uint8_t b[4];
    for (uint32_t n = 0; n < 1U << 16; n++) { /* every first two bytes, with continuations or not behind them */
        b[0] = (uint8_t)(n >> 8);
        b[1] = (uint8_t)n;
        for (int c = 0; c < 4; c++) {
            b[2] = c & 1 ? 0x80 : 0xbf;
            b[3] = c & 2 ? 0x7f : 0x80;
            for (size_t len = 2; len <= 4; len++)
                if (b[0] >= 0xc0) CHECK((bl_sfv_utf8_invalid(b, len) == NULL) ==
                                        (is_utf8_character(b, len) || (len > 2 && is_utf8_character(b, 2) && b[2] < 0x80) ||
                                         (len == 4 && is_utf8_character(b, 3) && b[3] < 0x80)));
        }
        if (b[0] < 0xc0) CHECK((bl_sfv_utf8_invalid(b, 1) == NULL) == (b[0] < 0x80));
    }
    CHECK(bl_sfv_utf8_invalid((const uint8_t *)"\xf0\x9f\x98", 3) != NULL);
}
