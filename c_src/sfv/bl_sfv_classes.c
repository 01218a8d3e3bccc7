/* SPDX-License-Identifier: Apache-2.0
 *
 * Which character may stand where: RFC 9651, sections 3.1.2, 3.3.3, 3.3.4, 3.3.5, 3.3.8.
 */
#include "bl_sfv_put.h"

enum {
    LETTER = C_KEY_RELAXED | C_TOKEN | C_BASE64 | C_PLAIN | C_TOKEN_FIRST,
    LOWER = LETTER | C_KEY | C_KEY_FIRST,
    DIGIT = C_KEY | C_KEY_RELAXED | C_TOKEN | C_BASE64 | C_PLAIN | C_DIGIT,
    TCHAR = C_TOKEN | C_PLAIN, /* RFC 9110; with ":" and "/" in tokens */
};

const uint8_t bl_sfv_classes[256] = {
    [' '] = C_PLAIN,
    ['!'] = TCHAR,
    ['"'] = 0, /* ends a string */
    ['#'] = TCHAR,
    ['$'] = TCHAR,
    ['%'] = C_TOKEN | C_KEY_RELAXED | C_PLAIN, /* the display string looks for it by itself */
    ['&'] = TCHAR,
    ['\''] = TCHAR,
    ['('] = C_PLAIN,
    [')'] = C_PLAIN,
    ['*'] = TCHAR | C_KEY | C_KEY_RELAXED | C_KEY_FIRST | C_TOKEN_FIRST,
    ['+'] = TCHAR | C_BASE64,
    [','] = C_PLAIN,
    ['-'] = TCHAR | C_KEY | C_KEY_RELAXED,
    ['.'] = TCHAR | C_KEY | C_KEY_RELAXED,
    ['/'] = TCHAR | C_BASE64,
    ['0' ... '9'] = DIGIT,
    [':'] = TCHAR,
    [';' ... '@'] = C_PLAIN,
    ['A' ... 'Z'] = LETTER,
    ['['] = C_PLAIN,
    ['\\'] = 0, /* escapes in a string */
    [']'] = C_PLAIN,
    ['^'] = TCHAR,
    ['_'] = TCHAR | C_KEY | C_KEY_RELAXED,
    ['`'] = TCHAR,
    ['a' ... 'z'] = LOWER,
    ['{'] = C_PLAIN,
    ['|'] = TCHAR,
    ['}'] = C_PLAIN,
    ['~'] = TCHAR,
};

/* The same classes by columns of the ASCII table, made from the table above:
 * bit h of byte l tells of the character 16 * h + l. */
const uint8_t bl_sfv_vectors[V_COUNT][16] = {
    [V_KEY] = {0x88, 0xc8, 0xc8, 0xc8, 0xc8, 0xc8, 0xc8, 0xc8, 0xc8, 0xc8, 0xc4, 0x40, 0x40, 0x44, 0x44, 0x60},
    [V_KEY_RELAXED] = {0xa8, 0xf8, 0xf8, 0xf8, 0xf8, 0xfc, 0xf8, 0xf8, 0xf8, 0xf8, 0xf4, 0x50, 0x50, 0x54, 0x54, 0x70},
    [V_TOKEN] = {0xe8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xf8, 0xf8, 0xfc, 0x54, 0xd0, 0x54, 0xf4, 0x74},
    [V_BASE64] = {0xa8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf0, 0x54, 0x50, 0x50, 0x50, 0x54},
    [V_PLAIN] = {0xfc, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xdc, 0xfc, 0xfc, 0x7c},
};

#define ROW(tens) tens "0" tens "1" tens "2" tens "3" tens "4" tens "5" tens "6" tens "7" tens "8" tens "9"
const char bl_sfv_two_digits[201] = ROW("0") ROW("1") ROW("2") ROW("3") ROW("4") ROW("5") ROW("6") ROW("7") ROW("8") ROW("9");
