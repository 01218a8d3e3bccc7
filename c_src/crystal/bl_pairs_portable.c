/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_portable.inc"
#include "bl_lj.inc"
#include "bl_morse.inc"
