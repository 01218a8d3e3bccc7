/* SPDX-License-Identifier: Apache-2.0
 *
 * What potentials of centres share: Stillinger-Weber, Tersoff.
 *
 * U is a sum over centres i of energies that depend on the vectors r_ij to i's neighbours.
 * With g_ij = dU_i/dr_ij the force is F_i = sum_j (g_ij - g_ji) (Fan et al., Phys. Rev. B 92,
 * 094301 (2015)): each atom gathers, nothing is scattered, threads never write the same place.
 */
#ifndef BL_BONDS_H
#define BL_BONDS_H

#include "bl_model.h"

struct bl_bonds {
    struct bl_partials *partials; /* per block */
    size_t blocks;
    uint32_t *start, *count; /* per home */
    struct bl_lanes lanes;
};

enum bl_status bl_bonds_init(struct bl_engine *e, struct bl_bonds *b, struct bl_error *err);
void bl_bonds_clear(struct bl_bonds *b);
size_t bl_bonds_bytes(const struct bl_engine *e, const struct bl_bonds *b);
/* First every block's centres by `centres` with `parameters`, then every block's forces. */
enum bl_status bl_bonds_compute(struct bl_ctx *ctx, struct bl_engine *e, struct bl_bonds *b, bl_centres_fn *centres, const void *parameters,
                                unsigned want, struct bl_energies *out, struct bl_error *err);

#endif
