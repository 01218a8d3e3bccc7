/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_kernels.h"

#if BL_BUILD_AVX2
#include "bl_avx2.inc"
#include "bl_lj.inc"
#include "bl_morse.inc"
#endif
