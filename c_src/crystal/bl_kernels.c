/* SPDX-License-Identifier: Apache-2.0
 *
 * Which code path the CPU gets.
 */
#include "bl_kernels.h"

static const struct bl_kernels portable = {
    "portable",
    bl_filter_portable,
    bl_ranks_portable,
    bl_lj_block_portable,
    bl_morse_block_portable,
    bl_sw_centres_portable,
    bl_tersoff_centres_portable,
    bl_eam_densities_portable,
    bl_eam_forces_portable,
};

#if BL_BUILD_AVX2
static const struct bl_kernels avx2 = {
    "avx2",
    bl_filter_avx2,
    bl_ranks_avx2,
    bl_lj_block_avx2,
    bl_morse_block_avx2,
    bl_sw_centres_avx2,
    bl_tersoff_centres_avx2,
    bl_eam_densities_avx2,
    bl_eam_forces_avx2,
};
static bool have_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt"); }
#endif

static bool simd_allowed = true; /* atomic */

void bl_engine_allow_simd(bool allow) { __atomic_store_n(&simd_allowed, allow, __ATOMIC_RELAXED); }

const struct bl_kernels *bl_kernels_choose(void)
{
#if BL_BUILD_AVX2
    if (__atomic_load_n(&simd_allowed, __ATOMIC_RELAXED) && have_avx2()) return &avx2;
#endif
    return &portable;
}

const char *bl_engine_code_path(void) { return bl_kernels_choose()->name; }
