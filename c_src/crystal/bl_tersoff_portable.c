/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_portable.inc"
#include "bl_near.inc"
#include "bl_bonds.inc"
#include "bl_tersoff.inc"
