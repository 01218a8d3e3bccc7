/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_kernels.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#include <immintrin.h>

#define KERNEL(name) name##_avx2
#include "bl_kernels.inc"

const struct bl_kernels bl_kernels_avx2 = {"avx2", lj_block, morse_block, sw_centres, tersoff_centres, eam_density_block, eam_force_block};
static bool have_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt"); }
#else
const struct bl_kernels bl_kernels_avx2 = {.name = "portable"};
size_t bl_filter_avx2(const double *x, const double *y, const double *z, uint32_t begin, uint32_t end, const double at[3],
                      double range2, uint32_t *out)
{
    return bl_filter_portable(x, y, z, begin, end, at, range2, out);
}
void bl_ranks_avx2(int64_t *keys, size_t n, uint32_t *ranks) { bl_ranks_portable(keys, n, ranks); }
static bool have_avx2(void) { return false; }
#endif

static bool simd_allowed = true; /* atomic */

void bl_engine_allow_simd(bool allow) { __atomic_store_n(&simd_allowed, allow, __ATOMIC_RELAXED); }
bool bl_simd_avx2(void) { return __atomic_load_n(&simd_allowed, __ATOMIC_RELAXED) && have_avx2(); }
const struct bl_kernels *bl_kernels_choose(void) { return bl_simd_avx2() ? &bl_kernels_avx2 : &bl_kernels_portable; }
const char *bl_engine_code_path(void) { return bl_kernels_choose()->name; }
