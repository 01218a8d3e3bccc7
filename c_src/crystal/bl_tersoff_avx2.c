/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_kernels.h"

#if BL_BUILD_AVX2
#include "bl_avx2.inc"
#include "bl_near.inc"
#include "bl_bonds.inc"
#include "bl_tersoff.inc"
#endif
