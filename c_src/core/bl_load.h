/* SPDX-License-Identifier: Apache-2.0
 *
 * Words from memory at any alignment, in the machine's byte order.
 */
#ifndef BL_LOAD_H
#define BL_LOAD_H

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

#endif
