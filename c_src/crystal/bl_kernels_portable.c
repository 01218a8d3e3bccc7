/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_kernels.h"

#include <math.h>
#include <string.h>

/* Vectors wider than the machine's are passed between inlined functions only. */
#pragma GCC diagnostic ignored "-Wpsabi"

#define KERNEL(name) name##_portable
#include "bl_kernels.inc"

const struct bl_kernels bl_kernels_portable = {"portable", lj_block, morse_block, sw_centres, tersoff_centres,
                                               eam_density_block, eam_force_block};
