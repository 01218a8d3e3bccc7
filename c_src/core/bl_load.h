/* SPDX-License-Identifier: Apache-2.0
 *
 * Words from memory at any alignment, in the machine's byte order, and short texts looked at in words, the last two of which
 * may overlap.
 */
#ifndef BL_LOAD_H
#define BL_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t bl_load64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t bl_load32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline bool bl_is_ascii(const uint8_t *p, size_t n)
{
    uint64_t all = 0;
    if (n >= 8) {
        for (size_t i = 0; i + 8 < n; i += 8) all |= bl_load64(p + i);
        all |= bl_load64(p + (n - 8));
    } else if (n >= 4) {
        all = bl_load32(p) | bl_load32(p + (n - 4));
    } else if (n > 0) {
        all = (uint64_t)(p[0] | p[n / 2] | p[n - 1]);
    }
    return (all & UINT64_C(0x8080808080808080)) == 0;
}

static inline bool bl_is_same(const void *a, const void *b, size_t n)
{
    const uint8_t *p = a, *q = b;
    uint64_t differ = 0;
    if (n >= 8) {
        for (size_t i = 0; i + 8 < n; i += 8) differ |= bl_load64(p + i) ^ bl_load64(q + i);
        differ |= bl_load64(p + (n - 8)) ^ bl_load64(q + (n - 8));
    } else if (n >= 4) {
        differ = (bl_load32(p) ^ bl_load32(q)) | (bl_load32(p + (n - 4)) ^ bl_load32(q + (n - 4)));
    } else if (n > 0) {
        differ = (uint64_t)((p[0] ^ q[0]) | (p[n / 2] ^ q[n / 2]) | (p[n - 1] ^ q[n - 1]));
    }
    return differ == 0;
}

#endif
