/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of values: RFC 9651, section 4.1, without the order in which they come. The writer
 * (bl_sfv_write.c) adds the order; the Erlang skin walks terms that have it already.
 *
 * Each function takes the characters that stand in front of what it writes, checks, and appends.
 * false: out->status says why, and nothing of this field may be used.
 */
#ifndef BL_SFV_PUT_H
#define BL_SFV_PUT_H

#include "bl_sfv.h"

#pragma GCC visibility push(hidden)

struct bl_sfv_out {
    char *data;
    size_t len;
    size_t room; /* what data has room for, and the field may have: len stays below */
    size_t size; /* what data has room for */
    char *heap;  /* NULL: data is the caller's */
    size_t max_bytes;
    bool fixed; /* must not grow */
    bool relaxed_keys;
    struct bl_quota *quota;
    enum bl_status status;
    struct bl_error err;
};

/* `data` may be used up to `size` bytes. Ends with bl_sfv_out_clear. */
BL_API void bl_sfv_out_init(struct bl_sfv_out *out, char *data, size_t size, bool fixed, const struct bl_sfv_options *options);
BL_API void bl_sfv_out_clear(struct bl_sfv_out *out);

/* The slow paths. */
BL_API bool bl_sfv_out_grow(struct bl_sfv_out *out, size_t more);
BL_API bool bl_sfv_out_refuse(struct bl_sfv_out *out, const char *what, const char *why);
BL_API bool bl_sfv_out_over(struct bl_sfv_out *out, const char *what, uint64_t limit, uint64_t asked);

static inline char *bl_sfv_reserve(struct bl_sfv_out *out, size_t more)
{
    if (__builtin_expect(more > out->room - out->len, 0) && !bl_sfv_out_grow(out, more)) return NULL;
    return out->data + out->len;
}

static inline bool bl_sfv_put_text(struct bl_sfv_out *out, const char *text, size_t len)
{
    char *to = bl_sfv_reserve(out, len);
    if (!to) return false;
    memcpy(to, text, len);
    out->len += len;
    return true;
}

static inline bool bl_sfv_put_char(struct bl_sfv_out *out, char c)
{
    char *to = bl_sfv_reserve(out, 1);
    if (!to) return false;
    *to = c;
    out->len++;
    return true;
}

/* What stands in front of a value or key: how many characters, and the first of them. A number and
 * not a struct, because the two bytes of one would be written apart and read together. */
enum bl_sfv_front {
    BL_SFV_NOTHING = 0,
    BL_SFV_EQUALS = 1 | '=' << 8,
    BL_SFV_SPACE = 1 | ' ' << 8,
    BL_SFV_SEMICOLON = 1 | ';' << 8,
    BL_SFV_COMMA = 2 | ',' << 8, /* and a space */
};
static inline size_t bl_sfv_front_len(enum bl_sfv_front front) { return front & 3; }

static inline char *bl_sfv_put_front(char *to, enum bl_sfv_front front)
{
    if (front == BL_SFV_NOTHING) return to;
    *to++ = (char)(front >> 8);
    if (front == BL_SFV_COMMA) *to++ = ' ';
    return to;
}

/* `len` characters of one class, checked on the way; *belong says whether all are of it. Most
 * texts are short. */
static inline bool bl_sfv_put_checked(struct bl_sfv_out *out, enum bl_sfv_front front, const char *text, size_t len, unsigned mask,
                                      bool *belong)
{
    char *to = bl_sfv_reserve(out, bl_sfv_front_len(front) + len);
    if (!to) return false;
    to = bl_sfv_put_front(to, front);
    unsigned all = mask;
    size_t i = 0;
    for (; i + 4 <= len; i += 4) {
        memcpy(to + i, text + i, 4);
        all &= bl_sfv_classes[(uint8_t)text[i]] & bl_sfv_classes[(uint8_t)text[i + 1]] & bl_sfv_classes[(uint8_t)text[i + 2]] &
               bl_sfv_classes[(uint8_t)text[i + 3]];
    }
    for (; i < len; i++) {
        to[i] = text[i];
        all &= bl_sfv_classes[(uint8_t)text[i]];
    }
    out->len += bl_sfv_front_len(front) + len;
    *belong = all != 0;
    return true;
}

/* A key is new in its set, or refused: the field would be read back as another one. */
static inline bool bl_sfv_put_key(struct bl_sfv_out *out, struct bl_sfv_keys *keys, enum bl_sfv_front front, const char *text, size_t len)
{
    bool belong, is_new = false;
    if (len == 0 || !bl_sfv_is(text[0], out->relaxed_keys ? C_KEY_RELAXED : C_KEY_FIRST))
        return bl_sfv_out_refuse(out, "key", out->relaxed_keys ? "does not begin with a letter, a digit or one of * % _ - ."
                                                               : "does not begin with a lower-case letter or *");
    const size_t at = out->len + bl_sfv_front_len(front);
    if (!bl_sfv_put_checked(out, front, text, len, out->relaxed_keys ? C_KEY_RELAXED : C_KEY, &belong)) return false;
    if (!belong) return bl_sfv_out_refuse(out, "key", "has a character that keys must not have");
    if (!bl_sfv_keys_put(keys, out->data, (uint32_t)at, (uint32_t)len, &is_new, out->quota, &out->err)) {
        out->status = out->err.status;
        return false;
    }
    return is_new || bl_sfv_out_refuse(out, "key", "occurs twice");
}

/* ---- numbers -------------------------------------------------------------------- */

enum { BL_SFV_NUMBER = 32 }; /* characters that a number has at most, with all that stands in front of it */
static const int64_t bl_sfv_integer_most = INT64_C(999999999999999);

/* Where to write one, and where it ended: in place, or beside it where the field is nearly full. */
static inline char *bl_sfv_number_room(struct bl_sfv_out *out, char *beside)
{
    return out->room - out->len >= BL_SFV_NUMBER ? out->data + out->len : beside;
}
static inline bool bl_sfv_number_put(struct bl_sfv_out *out, const char *beside, const char *begin, const char *end)
{
    if (begin == beside) return bl_sfv_put_text(out, begin, (size_t)(end - begin));
    out->len += (size_t)(end - begin);
    return true;
}

extern const char bl_sfv_two_digits[201]; /* "00" to "99" */

/* The digits of a number, from the first on; behind the last. */
static inline char *bl_sfv_put_digits(char *to, uint64_t number)
{
    if (number < 10) {
        *to = (char)('0' + number);
        return to + 1;
    }
    char text[20], *const end = text + sizeof text, *first = end;
    for (; number >= 10; number /= 100) memcpy(first -= 2, bl_sfv_two_digits + 2 * (number % 100), 2);
    if (number > 0) *--first = (char)('0' + number);
    memcpy(to, first, (size_t)(end - first));
    return to + (end - first);
}

/* Integers, and with the mark '@' dates. */
static inline bool bl_sfv_put_integer(struct bl_sfv_out *out, enum bl_sfv_front front, char mark, int64_t number)
{
    char beside[BL_SFV_NUMBER], *const begin = bl_sfv_number_room(out, beside), *to = bl_sfv_put_front(begin, front);
    if (number > bl_sfv_integer_most || number < -bl_sfv_integer_most)
        return bl_sfv_out_refuse(out, mark ? "date" : "integer", "has more than 15 digits");
    if (mark) *to++ = mark;
    if (number < 0) *to++ = '-';
    to = bl_sfv_put_digits(to, (uint64_t)(number < 0 ? -number : number));
    return bl_sfv_number_put(out, beside, begin, to);
}

/* magnitude x 10^exponent in thousandths, rounded half to even; false: more than 15 digits. */
BL_API bool bl_sfv_thousandths(uint64_t magnitude, int exponent, uint64_t *out);

static inline bool bl_sfv_put_decimal(struct bl_sfv_out *out, enum bl_sfv_front front, int64_t coefficient, int exponent)
{
    static const uint64_t scale[] = {1, 10, 100, 1000};
    char beside[BL_SFV_NUMBER], *const begin = bl_sfv_number_room(out, beside), *to = bl_sfv_put_front(begin, front);
    const uint64_t magnitude = coefficient < 0 ? -(uint64_t)coefficient : (uint64_t)coefficient;
    uint64_t value;
    if (exponent <= 0 && exponent >= -3 && magnitude <= (uint64_t)bl_sfv_integer_most / 1000)
        value = magnitude * scale[exponent + 3];
    else if (!bl_sfv_thousandths(magnitude, exponent, &value))
        return bl_sfv_out_refuse(out, "decimal", "has more than 12 digits before the point");
    if (coefficient < 0 && value != 0) *to++ = '-';
    to = bl_sfv_put_digits(to, value / 1000);
    const unsigned part = (unsigned)(value % 1000), tenths = part / 100, rest = part - 100 * tenths;
    *to++ = '.';
    *to++ = (char)('0' + tenths);
    if (rest > 0) {
        memcpy(to, bl_sfv_two_digits + 2 * (size_t)rest, 2);
        to += to[1] == '0' ? 1 : 2;
    }
    return bl_sfv_number_put(out, beside, begin, to);
}

/* True is left out behind a key. */
static inline bool bl_sfv_put_boolean(struct bl_sfv_out *out, enum bl_sfv_front front, bool value)
{
    char text[4];
    if (value && front == BL_SFV_EQUALS) return true;
    char *to = bl_sfv_put_front(text, front);
    *to++ = '?';
    *to++ = value ? '1' : '0';
    return bl_sfv_put_text(out, text, (size_t)(to - text));
}

/* ---- texts ---------------------------------------------------------------------- */

static inline bool bl_sfv_put_token(struct bl_sfv_out *out, enum bl_sfv_front front, const char *text, size_t len)
{
    bool belong;
    if (len == 0 || !bl_sfv_is(text[0], C_TOKEN_FIRST)) return bl_sfv_out_refuse(out, "token", "does not begin with a letter or *");
    if (!bl_sfv_put_checked(out, front, text, len, C_TOKEN, &belong)) return false;
    return belong || bl_sfv_out_refuse(out, "token", "has a character that tokens must not have");
}
BL_API bool bl_sfv_put_string(struct bl_sfv_out *out, enum bl_sfv_front front, const char *text, size_t len);
BL_API bool bl_sfv_put_bytes(struct bl_sfv_out *out, enum bl_sfv_front front, const void *bytes, size_t len);
BL_API bool bl_sfv_put_display(struct bl_sfv_out *out, enum bl_sfv_front front, const char *utf8, size_t len);

#pragma GCC visibility pop

#endif
