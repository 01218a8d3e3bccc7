/* SPDX-License-Identifier: Apache-2.0
 *
 * The values of nodes with text.
 */
#include "bl_sfv.h"

/* How many continuation bytes follow a first byte, and the range of the first of them, which
 * is what shuts out overlong forms, surrogates and numbers above 10FFFF (RFC 3629, section 4). */
static size_t continuation(uint8_t first, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (first >= 0xc2 && first <= 0xdf) return 1;
    if (first >= 0xe0 && first <= 0xef) {
        if (first == 0xe0) *low = 0xa0;
        if (first == 0xed) *high = 0x9f;
        return 2;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        if (first == 0xf0) *low = 0x90;
        if (first == 0xf4) *high = 0x8f;
        return 3;
    }
    return 0;
}

const uint8_t *bl_sfv_utf8_invalid(const uint8_t *text, size_t len)
{
    const uint8_t *const end = text + len;
    while (text < end) {
        uint8_t low, high;
        if (*text < 0x80) {
            text++;
            continue;
        }
        const size_t more = continuation(*text, &low, &high);
        if (more == 0 || (size_t)(end - text) <= more || text[1] < low || text[1] > high) return text;
        for (size_t i = 2; i <= more; i++)
            if ((text[i] & 0xc0) != 0x80) return text;
        text += 1 + more;
    }
    return NULL;
}

/* How often c stands in the text. A backslash that is escaped counts once. */
static size_t count_of(const struct bl_sfv_node *node, char c, size_t skip)
{
    const char *p = node->as.text, *const end = p + node->len;
    size_t n = 0;
    while (p < end && (p = memchr(p, c, (size_t)(end - p))) != NULL) {
        p += skip;
        n++;
    }
    return n;
}

size_t bl_sfv_decoded_size(const struct bl_sfv_node *node)
{
    if (!(node->flags & BL_SFV_ENCODED)) return node->len;
    if (node->type == BL_SFV_STRING) return node->len - count_of(node, '\\', 2);
    if (node->type == BL_SFV_DISPLAY) return node->len - 2 * count_of(node, '%', 3);
    const size_t len = bl_sfv_base64_unpadded(node->as.text, node->len);
    return len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0);
}

static void decode_string(const struct bl_sfv_node *node, char *out)
{
    const char *p = node->as.text, *const end = p + node->len;
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        const size_t plain = (size_t)((escape ? escape : end) - p);
        memcpy(out, p, plain);
        out += plain;
        p += plain;
        if (!escape) return;
        *out++ = p[1];
        p += 2;
    }
}

static void decode_display(const struct bl_sfv_node *node, uint8_t *out)
{
    const char *p = node->as.text, *const end = p + node->len;
    while (p < end) {
        if (*p == '%') {
            *out++ = (uint8_t)(bl_sfv_hex(p[1]) << 4 | bl_sfv_hex(p[2]));
            p += 3;
        } else {
            *out++ = (uint8_t)*p++;
        }
    }
}

void bl_sfv_decode(const struct bl_sfv_node *node, void *out)
{
    if (!(node->flags & BL_SFV_ENCODED)) {
        if (node->len > 0) memcpy(out, node->as.text, node->len);
    } else if (node->type == BL_SFV_STRING) {
        decode_string(node, out);
    } else if (node->type == BL_SFV_DISPLAY) {
        decode_display(node, out);
    } else {
        const char *text = node->as.text;
        const size_t len = bl_sfv_base64_unpadded(text, node->len);
        const size_t done = bl_sfv_have_avx2() ? bl_sfv_base64_avx2(text, len, out) : 0;
        bl_sfv_base64_decode(text + done, len - done, (uint8_t *)out + done / 4 * 3);
    }
}
