/* SPDX-License-Identifier: Apache-2.0
 *
 * base64 (RFC 4648, section 4). The parser has seen to it that only valid text is decoded.
 */
#include "bl_sfv.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static const char alphabet[64] = {
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V',
    'W', 'X', 'Y', 'Z', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r',
    's', 't', 'u', 'v', 'w', 'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '+', '/',
};

const int8_t bl_sfv_base64_value[256] = {
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 62, -1, -1, -1, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, -1, -1, -1, -1, -1, -1,
    -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, -1, -1, -1, -1, -1,
    -1, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
};

size_t bl_sfv_base64_unpadded(const char *text, size_t len)
{
    while (len > 0 && text[len - 1] == '=') len--;
    return len;
}

static uint32_t group(const char *text, size_t have)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; i++) bits = bits << 6 | (i < have ? (uint8_t)bl_sfv_base64_value[(uint8_t)text[i]] : 0U);
    return bits;
}

void bl_sfv_base64_decode(const char *text, size_t len, uint8_t *out)
{
    for (; len >= 4; text += 4, len -= 4, out += 3) {
        const uint32_t bits = group(text, 4);
        out[0] = (uint8_t)(bits >> 16);
        out[1] = (uint8_t)(bits >> 8);
        out[2] = (uint8_t)bits;
    }
    if (len > 1) {
        const uint32_t bits = group(text, len);
        out[0] = (uint8_t)(bits >> 16);
        if (len > 2) out[1] = (uint8_t)(bits >> 8);
    }
}

void bl_sfv_base64_encode(const uint8_t *bytes, size_t len, char *out)
{
    for (; len >= 3; bytes += 3, len -= 3, out += 4) {
        const uint32_t bits = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
        out[0] = alphabet[bits >> 18];
        out[1] = alphabet[bits >> 12 & 63];
        out[2] = alphabet[bits >> 6 & 63];
        out[3] = alphabet[bits & 63];
    }
    if (len > 0) {
        const uint32_t bits = (uint32_t)bytes[0] << 16 | (len > 1 ? (uint32_t)bytes[1] << 8 : 0);
        out[0] = alphabet[bits >> 18];
        out[1] = alphabet[bits >> 12 & 63];
        out[2] = len > 1 ? alphabet[bits >> 6 & 63] : '=';
        out[3] = '=';
    }
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))

/* Sixteen or 32 characters to their six bits: each range of the alphabet is a distance away,
 * told by the high half of the character; "/" shares that of "+", so it is moved one down.
 *   high half    2 "/"  2 "+"  3 digits  4, 5 upper case  6, 7 lower case */
#define DISTANCES 0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0
/* Where the three bytes of each group of four stand after the packing. */
#define PACKED 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1

AVX2 static inline __m128i decode_16(__m128i text)
{
    const __m128i high = _mm_and_si128(_mm_srli_epi16(text, 4), _mm_set1_epi8(15));
    const __m128i range = _mm_add_epi8(high, _mm_cmpeq_epi8(text, _mm_set1_epi8('/')));
    const __m128i six = _mm_add_epi8(text, _mm_shuffle_epi8(_mm_setr_epi8(DISTANCES), range));
    const __m128i twelve = _mm_maddubs_epi16(six, _mm_set1_epi32(0x01400140));
    const __m128i all = _mm_madd_epi16(twelve, _mm_set1_epi32(0x00011000));
    return _mm_shuffle_epi8(all, _mm_setr_epi8(PACKED));
}

AVX2 static inline __m256i decode_32(__m256i text)
{
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(text, 4), _mm256_set1_epi8(15));
    const __m256i range = _mm256_add_epi8(high, _mm256_cmpeq_epi8(text, _mm256_set1_epi8('/')));
    const __m256i six = _mm256_add_epi8(text, _mm256_shuffle_epi8(_mm256_setr_epi8(DISTANCES, DISTANCES), range));
    const __m256i twelve = _mm256_maddubs_epi16(six, _mm256_set1_epi32(0x01400140));
    const __m256i all = _mm256_madd_epi16(twelve, _mm256_set1_epi32(0x00011000));
    const __m256i packed = _mm256_shuffle_epi8(all, _mm256_setr_epi8(PACKED, PACKED));
    return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7));
}

/* A store writes 8 or 4 bytes too many, so as many have to follow: those of 12 or 8 characters. */
AVX2 size_t bl_sfv_base64_avx2(const char *text, size_t len, uint8_t *out)
{
    size_t at = 0;
    for (; len - at >= 32 + 12; at += 32, out += 24)
        _mm256_storeu_si256((__m256i *)out, decode_32(_mm256_loadu_si256((const __m256i *)(text + at))));
    for (; len - at >= 16 + 8; at += 16, out += 12)
        _mm_storeu_si128((__m128i *)out, decode_16(_mm_loadu_si128((const __m128i *)(text + at))));
    return at;
}
#else
size_t bl_sfv_base64_avx2(const char *text, size_t len, uint8_t *out)
{
    (void)text, (void)len, (void)out;
    return 0;
}
#endif
