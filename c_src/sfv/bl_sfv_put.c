/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of values, as far as it is not worth being inline.
 */
#include "bl_sfv_put.h"

/* ---- the buffer -------------------------------------------------------------------- */

void bl_sfv_out_init(struct bl_sfv_out *out, char *data, size_t size, bool fixed, const struct bl_sfv_options *options)
{
    out->data = data;
    out->len = 0;
    out->size = size;
    out->max_bytes = options->max_bytes < UINT32_MAX ? options->max_bytes : UINT32_MAX;
    out->room = size < out->max_bytes ? size : out->max_bytes;
    out->heap = NULL;
    out->fixed = fixed;
    out->relaxed_keys = options->keys == BL_SFV_KEYS_RELAXED;
    out->quota = options->quota;
    out->status = BL_OK;
}

void bl_sfv_out_clear(struct bl_sfv_out *out)
{
    bl_free(out->heap);
    out->heap = out->data = NULL;
    out->len = out->size = out->room = 0;
}

bool bl_sfv_out_refuse(struct bl_sfv_out *out, const char *what, const char *why)
{
    out->status = bl_fail_invalid(&out->err, what, "%s", why);
    return false;
}

bool bl_sfv_out_over(struct bl_sfv_out *out, const char *what, uint64_t limit, uint64_t asked)
{
    out->status = bl_fail_limit(&out->err, what, limit, asked);
    return false;
}

/* Room for `more` bytes where there is none, or why not. */
bool bl_sfv_out_grow(struct bl_sfv_out *out, size_t more)
{
    if (more > out->max_bytes - out->len) return bl_sfv_out_over(out, "bytes", out->max_bytes, (uint64_t)out->len + more);
    if (out->fixed) return bl_sfv_out_over(out, "bytes", out->size, (uint64_t)out->len + more);
    size_t size = out->size * (out->size < 32768 ? 4 : 2); /* few copies while it is small */
    if (size < 256) size = 256;
    if (size < out->len + more) size = out->len + more;
    char *heap = bl_realloc(out->quota, out->heap, size, &out->err);
    if (!heap) {
        out->status = out->err.status;
        return false;
    }
    if (!out->heap && out->len > 0) memcpy(heap, out->data, out->len);
    out->data = out->heap = heap;
    out->size = size;
    out->room = size < out->max_bytes ? size : out->max_bytes;
    return true;
}

/* ---- values ------------------------------------------------------------------------ */

bool bl_sfv_thousandths(uint64_t magnitude, int exponent, uint64_t *out)
{
    if (exponent > 20) exponent = 20; /* too large, or zero */
    if (exponent < -30) exponent = -30; /* less than half of one thousandth */
    for (exponent += 3; exponent > 0; exponent--)
        if (__builtin_mul_overflow(magnitude, 10, &magnitude)) return false;
    uint64_t last = 0;
    bool more = false; /* a digit that was cut off before the last one was not zero */
    for (; exponent < 0; exponent++) {
        more |= last != 0;
        last = magnitude % 10;
        magnitude /= 10;
    }
    if (last > 5 || (last == 5 && (more || magnitude % 2 == 1))) magnitude++;
    *out = magnitude;
    return magnitude <= (uint64_t)bl_sfv_integer_most;
}

/* Bytes of a word below 0x20, above 0x7e, or that must be escaped: some bit is set. It may be set
 * for the byte behind one of these, too, which changes nothing. */
static inline uint64_t not_plain(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    const uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\', delete = word ^ ones * 0x7f;
    return (word | (word - ones * 0x20) | (quote - ones) | (backslash - ones) | (delete - ones)) & tops;
}

/* Copies, and says whether each character stands for itself. */
static bool copy_plain(char *to, const char *text, size_t len)
{
    uint64_t word, odd = 0;
    unsigned all = C_PLAIN;
    if (len < 8) {
        for (size_t i = 0; i < len; i++) {
            to[i] = text[i];
            all &= bl_sfv_classes[(uint8_t)text[i]];
        }
        return all != 0;
    }
    for (size_t i = 0; i < len; i += 8) {
        const size_t at = len - i < 8 ? len - 8 : i; /* the last word may overlap the one before it */
        memcpy(&word, text + at, 8);
        memcpy(to + at, &word, 8);
        odd |= not_plain(word);
    }
    return odd == 0;
}

/* A string with something to escape, or to refuse; the quote is open. */
static bool put_escaped(struct bl_sfv_out *out, const char *text, const char *end)
{
    while (text < end) {
        char *to = bl_sfv_reserve(out, (size_t)(end - text));
        if (!to) return false;
        for (; text < end && bl_sfv_is(*text, C_PLAIN); text++) *to++ = *text;
        out->len = (size_t)(to - out->data);
        if (text == end) break;
        if (*text != '"' && *text != '\\') return bl_sfv_out_refuse(out, "string", "has a character that is not printable ASCII");
        const char escaped[2] = {'\\', *text++};
        if (!bl_sfv_put_text(out, escaped, 2)) return false;
    }
    return true;
}

bool bl_sfv_put_string(struct bl_sfv_out *out, enum bl_sfv_front front, const char *text, size_t len)
{
    char *to = bl_sfv_reserve(out, bl_sfv_front_len(front) + len + 2);
    if (!to) return false;
    to = bl_sfv_put_front(to, front);
    *to++ = '"';
    const bool plain = copy_plain(to, text, len);
    out->len = (size_t)(to - out->data) + (plain ? len : 0);
    return (plain || put_escaped(out, text, text + len)) && bl_sfv_put_char(out, '"');
}

bool bl_sfv_put_bytes(struct bl_sfv_out *out, enum bl_sfv_front front, const void *bytes, size_t len)
{
    if (len >= UINT32_MAX) return bl_sfv_out_over(out, "bytes", UINT32_MAX, len);
    const size_t characters = (len + 2) / 3 * 4;
    char *to = bl_sfv_reserve(out, bl_sfv_front_len(front) + characters + 2);
    if (!to) return false;
    to = bl_sfv_put_front(to, front);
    *to++ = ':';
    bl_sfv_base64_encode(bytes, len, to);
    to += characters;
    *to++ = ':';
    out->len = (size_t)(to - out->data);
    return true;
}

bool bl_sfv_put_display(struct bl_sfv_out *out, enum bl_sfv_front front, const char *utf8, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    char head[4], *head_end = bl_sfv_put_front(head, front);
    if (bl_sfv_utf8_invalid((const uint8_t *)utf8, len)) return bl_sfv_out_refuse(out, "display_string", "is not well-formed UTF-8");
    *head_end++ = '%';
    *head_end++ = '"';
    if (!bl_sfv_put_text(out, head, (size_t)(head_end - head))) return false;
    for (const char *const end = utf8 + len; utf8 < end;) {
        const char *const first = utf8;
        while (utf8 < end && *utf8 != '%' && (bl_sfv_is(*utf8, C_PLAIN) || *utf8 == '\\')) utf8++;
        if (utf8 > first && !bl_sfv_put_text(out, first, (size_t)(utf8 - first))) return false;
        if (utf8 == end) break;
        const uint8_t byte = (uint8_t)*utf8++;
        const char escaped[3] = {'%', hex[byte >> 4], hex[byte & 15]};
        if (!bl_sfv_put_text(out, escaped, 3)) return false;
    }
    return bl_sfv_put_char(out, '"');
}
