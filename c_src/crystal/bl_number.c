/* SPDX-License-Identifier: Apache-2.0
 *
 * Decimal numbers, correctly rounded both ways, whatever the locale.
 *
 * Reading: up to 19 digits are collected in a 64-bit integer w; the value is w * 10^e.
 *   1. w < 2^53 and |e| <= 22: both are exact doubles, one operation rounds once
 *      (Clinger, PLDI 1990).
 *   2. Where long double has a 64-bit significand (x86): w and 10^|e| (|e| <= 27) are exact,
 *      one operation rounds to 64 bits. The second rounding, to 53, is right unless the 11
 *      bits that go are exactly one half.
 *   3. strtod in the C locale.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* newlocale, strtod_l */
#endif
#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bl_crystal.h"

static const double exact_power[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

#if LDBL_MANT_DIG == 64 && defined(__x86_64__)
#define BL_X87 1
enum { LONG_POWER_MAX = 27 };
static const long double long_power[LONG_POWER_MAX + 1] = {
    1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,  1e10L, 1e11L, 1e12L, 1e13L,
    1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L, 1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L};

static bool scale_long(uint64_t w, int exponent, double *out)
{
    if (exponent < -LONG_POWER_MAX || exponent > LONG_POWER_MAX) return false;
    const long double x = exponent < 0 ? (long double)w / long_power[-exponent] : (long double)w * long_power[exponent];
    uint64_t significand;
    memcpy(&significand, &x, sizeof significand);
    if ((significand & 0x7FF) == 0x400) return false;
    *out = (double)x;
    return true;
}
#endif

/* ---- the slow, general way ------------------------------------------------------ */

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;
static void make_c_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

enum { SLOW_DIGITS = 800 }; /* more cannot change a double except through being not zero */

/* Digits without the point, then the exponent that puts it back: short enough for the stack
 * however long the input is. */
static double parse_slow(const char *mantissa, const char *mantissa_end, bool negative, int64_t exponent)
{
    char text[SLOW_DIGITS + 32];
    size_t n = 0;
    bool point = false, sticky = false;
    if (negative) text[n++] = '-';
    const size_t first = n;
    for (const char *p = mantissa; p < mantissa_end; p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        if (point) exponent--;
        if (n == first && *p == '0') continue;
        if (n - first < SLOW_DIGITS) {
            text[n++] = *p;
        } else {
            sticky = sticky || *p != '0';
            exponent++;
        }
    }
    if (n == first) return negative ? -0.0 : 0.0;
    if (sticky) {
        text[n++] = '1';
        exponent--;
    }
    if (exponent > 99999) exponent = 99999;
    if (exponent < -99999) exponent = -99999;
    snprintf(text + n, sizeof text - n, "e%lld", (long long)exponent);
    pthread_once(&c_locale_once, make_c_locale);
    return c_locale ? strtod_l(text, NULL, c_locale) : strtod(text, NULL);
}

/* ---- reading ---------------------------------------------------------------------- */

static bool is_digit(char c) { return (unsigned char)(c - '0') < 10; }

/* An exponent at p: its bytes, 0 if there is none. Absurd ones are cut, not overflowed. */
static size_t parse_exponent(const char *p, const char *end, int64_t *out)
{
    if (p == end || (*p != 'e' && *p != 'E' && *p != 'd' && *p != 'D')) return 0;
    const char *q = p + 1;
    bool negative = false;
    if (q < end && (*q == '+' || *q == '-')) negative = *q++ == '-';
    if (q == end || !is_digit(*q)) return 0;
    int64_t e = 0;
    for (; q < end && is_digit(*q); q++)
        if (e < 100000000) e = 10 * e + (*q - '0');
    *out = negative ? -e : e;
    return (size_t)(q - p);
}

static bool scale_fast(uint64_t w, int exponent, double *out)
{
    if (w <= UINT64_C(1) << 53 && exponent >= -22 && exponent <= 22) {
        *out = exponent < 0 ? (double)w / exact_power[-exponent] : (double)w * exact_power[exponent];
        return true;
    }
#ifdef BL_X87
    return scale_long(w, exponent, out);
#else
    return false;
#endif
}

size_t bl_parse_number(const char *text, size_t len, double *out)
{
    const char *p = text, *const end = text + len;
    bool negative = false;
    if (p < end && (*p == '-' || *p == '+')) negative = *p++ == '-';
    const char *const mantissa = p;
    uint64_t w = 0;
    while (p < end && is_digit(*p)) w = 10 * w + (uint64_t)(*p++ - '0');
    size_t digits = (size_t)(p - mantissa);
    int64_t fraction = 0;
    if (p < end && *p == '.') {
        const char *const first = ++p;
        while (p < end && is_digit(*p)) w = 10 * w + (uint64_t)(*p++ - '0');
        fraction = p - first;
        digits += (size_t)fraction;
    }
    if (digits == 0) return 0;
    const char *const mantissa_end = p;
    int64_t exponent = 0;
    p += parse_exponent(p, end, &exponent);
    double value;
    /* w has not wrapped with up to 19 digits; leading zeros go the slow way, rarely. */
    const int64_t scale = exponent - fraction;
    if (digits <= 19 && scale > -400 && scale < 400 && scale_fast(w, (int)scale, &value))
        *out = negative ? -value : value;
    else
        *out = parse_slow(mantissa, mantissa_end, negative, exponent);
    return (size_t)(p - text);
}

/* ---- writing ----------------------------------------------------------------------- */

static const uint64_t integer_power[18] = {UINT64_C(1),
                                           UINT64_C(10),
                                           UINT64_C(100),
                                           UINT64_C(1000),
                                           UINT64_C(10000),
                                           UINT64_C(100000),
                                           UINT64_C(1000000),
                                           UINT64_C(10000000),
                                           UINT64_C(100000000),
                                           UINT64_C(1000000000),
                                           UINT64_C(10000000000),
                                           UINT64_C(100000000000),
                                           UINT64_C(1000000000000),
                                           UINT64_C(10000000000000),
                                           UINT64_C(100000000000000),
                                           UINT64_C(1000000000000000),
                                           UINT64_C(10000000000000000),
                                           UINT64_C(100000000000000000)};

static size_t put_integer(uint64_t value, char *out)
{
    char text[20];
    size_t n = 0;
    do {
        text[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < n; i++) out[i] = text[n - 1 - i];
    return n;
}

/* w / 10^places in plain notation, without trailing zeros. */
static size_t put_decimal(uint64_t w, int places, char *out)
{
    while (places > 0 && w % 10 == 0) {
        w /= 10;
        places--;
    }
    char digits[20];
    size_t n = put_integer(w, digits), len = 0;
    if (n <= (size_t)places) {
        out[len++] = '0';
        out[len++] = '.';
        for (size_t i = n; i < (size_t)places; i++) out[len++] = '0';
        memcpy(out + len, digits, n);
        return len + n;
    }
    const size_t whole = n - (size_t)places;
    memcpy(out, digits, whole);
    len = whole;
    if (places > 0) {
        out[len++] = '.';
        memcpy(out + len, digits + whole, (size_t)places);
        len += (size_t)places;
    }
    return len;
}

/* Tries 15, 16 and 17 significant digits; takes the first that reads back as the same
 * double. Only for the magnitudes that structures have: 1e-4 <= x < 1e9. */
static size_t format_plain(double x, char *out)
{
    if (x < 1e-4 || x >= 1e9) return 0;
    int magnitude = 1; /* x < 10^magnitude */
    while (x >= exact_power[magnitude]) magnitude++;
    for (double low = 1; magnitude <= 1 && x < low; low /= 10) magnitude--;
    for (int significant = 15; significant <= 17; significant++) {
        const int places = significant - magnitude;
        if (places < 0 || places > 22) continue;
#ifdef BL_X87
        const long double shifted = (long double)x * long_power[places] + 0.5L;
#else
        const double shifted = x * exact_power[places] + 0.5;
#endif
        const uint64_t w = (uint64_t)shifted;
        double back;
        if (w <= 10 * integer_power[17] && scale_fast(w, -places, &back) && back == x) return put_decimal(w, places, out);
    }
    return 0;
}

static size_t format_general(double value, char *out)
{
    char text[40];
    double back;
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(text, sizeof text, "%.*e", digits - 1, value);
        /* The locale's decimal point, one byte or several, stands behind the first digit. */
        const size_t at = text[0] == '-' ? 2 : 1;
        size_t end = at;
        while (text[end] != '\0' && !is_digit(text[end])) end++;
        text[at] = '.';
        memmove(text + at + 1, text + end, (size_t)n + 1 - end);
        n -= (int)(end - at - 1);
        if (bl_parse_number(text, (size_t)n, &back) == (size_t)n && back == value) break;
    }
    memcpy(out, text, (size_t)n);
    return (size_t)n;
}

size_t bl_format_number(double value, char out[BL_NUMBER_SIZE])
{
    size_t sign = 0;
    if (signbit(value)) out[sign++] = '-';
    const double x = fabs(value);
    if (x < 1e9 && x == (double)(uint64_t)x) { /* an integer: a point says it is a real number */
        const size_t n = put_integer((uint64_t)x, out + sign);
        memcpy(out + sign + n, ".0", 2);
        return sign + n + 2;
    }
    const size_t n = format_plain(x, out + sign);
    return n > 0 ? sign + n : format_general(value, out);
}
