/* SPDX-License-Identifier: Apache-2.0
 *
 * What the scaling benches and their floor compute: about a microsecond an element, in
 * registers, so that nothing but the processors themselves is shared.
 */
#ifndef COMPUTE_LOOP_H
#define COMPUTE_LOOP_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { COMPUTE_ELEMENTS = 100000, COMPUTE_STEPS = 500 };

static inline uint64_t compute_loop(size_t begin, size_t end)
{
    uint64_t sum = 0;
    for (size_t i = begin; i < end; i++) {
        uint64_t x = i;
        for (int k = 0; k < COMPUTE_STEPS; k++) x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        sum += x >> 32;
    }
    return sum;
}

static inline uint64_t compute_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif
