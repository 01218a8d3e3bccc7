/* SPDX-License-Identifier: Apache-2.0
 *
 * The parser with vectors: a class of ASCII characters is a bit in one of 16 bytes, found by
 * the low half of the character, and the bit is found by the high half (bl_sfv_vectors).
 */
#include "bl_sfv.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PARSE(name) name##_avx2
#define TARGET __attribute__((target("avx2,bmi,bmi2")))

/* The bit of each high half; none from 0x80 on. */
#define HIGH_BITS 1, 2, 4, 8, 16, 32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0

/* A bit for each of 16 characters that is not in the class. */
TARGET static inline unsigned outside_16(__m128i text, __m128i class)
{
    const __m128i bits = _mm_setr_epi8(HIGH_BITS);
    const __m128i high = _mm_and_si128(_mm_srli_epi16(text, 4), _mm_set1_epi8(15));
    const __m128i in = _mm_and_si128(_mm_shuffle_epi8(class, text), _mm_shuffle_epi8(bits, high));
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(in, _mm_setzero_si128()));
}

TARGET static inline unsigned outside_32(__m256i text, __m256i class)
{
    const __m256i bits = _mm256_setr_epi8(HIGH_BITS, HIGH_BITS);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(text, 4), _mm256_set1_epi8(15));
    const __m256i in = _mm256_and_si256(_mm256_shuffle_epi8(class, text), _mm256_shuffle_epi8(bits, high));
    return (unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(in, _mm256_setzero_si256()));
}

/* From the second 16 characters on, which are many or the last. */
TARGET static __attribute__((noinline)) const char *span_on(const struct bl_sfv_parse *s, const char *p, __m128i class)
{
    const __m256i wide = _mm256_broadcastsi128_si256(class);
    for (; s->end - p >= 32; p += 32) {
        const unsigned outside = outside_32(_mm256_loadu_si256((const __m256i *)p), wide);
        if (outside) return p + __builtin_ctz(outside);
    }
    for (; s->end - p >= 16; p += 16) {
        const unsigned outside = outside_16(_mm_loadu_si128((const __m128i *)p), class);
        if (outside) return p + __builtin_ctz(outside);
    }
    /* The last 16 of the field, without those in front of p. */
    const unsigned skip = 16 - (unsigned)(s->end - p);
    const unsigned outside = outside_16(_mm_loadu_si128((const __m128i *)(s->end - 16)), class) >> skip;
    return outside ? p + __builtin_ctz(outside) : s->end;
}

TARGET static inline const char *span(const struct bl_sfv_parse *s, const char *p, unsigned mask, unsigned vector)
{
    if (__builtin_expect(s->end - p < 16, 0)) {
        if (s->end - s->begin >= 16) return span_on(s, p, _mm_loadu_si128((const __m128i *)bl_sfv_vectors[vector]));
        while (p < s->end && bl_sfv_is(*p, mask)) p++;
        return p;
    }
    const __m128i class = _mm_loadu_si128((const __m128i *)bl_sfv_vectors[vector]);
    const unsigned outside = outside_16(_mm_loadu_si128((const __m128i *)p), class);
    return __builtin_expect(outside != 0, 1) ? p + __builtin_ctz(outside) : span_on(s, p + 16, class);
}

#include "bl_sfv_parse.inc"

bool bl_sfv_have_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"); }
#else
enum bl_status bl_sfv_parse_avx2(struct bl_sfv_parse *s, enum bl_sfv_kind kind) { return bl_sfv_parse_portable(s, kind); }
bool bl_sfv_have_avx2(void) { return false; }
#endif
