/* SPDX-License-Identifier: Apache-2.0
 *
 * A crystal stripped to what is compared: its primitive cell, kinds and fractional positions.
 */
#ifndef BL_MATCH_H
#define BL_MATCH_H

#include "bl_crystal.h"

struct bl_motif {
    double cell[3][3];       /* reduced: the three shortest independent vectors */
    size_t atoms, copies;    /* in the primitive cell; primitive cells in the structure */
    uint32_t *kind;          /* of atoms that may take each other's place */
    double *fraction;        /* 3 per atom, each the mean over the copies */
    double spread2, spread;  /* mean square, and largest distance of the copies from it; angstrom */
};
/* The smallest cell that tells the structure within `tolerance` (angstrom). kinds: one per atom. The memory belongs to
 * the motif. Polls ctx. */
enum bl_status bl_motif_make(struct bl_ctx *ctx, const struct bl_structure *s, const uint32_t *kinds, double tolerance,
                             struct bl_motif *out, struct bl_error *err);
void bl_motif_clear(struct bl_motif *m);

double bl_cell_volume(double cell[3][3]); /* signed */
void bl_cell_invert(double cell[3][3], double out[3][3]);
/* r = x cell, in either direction. */
void bl_row_times(const double x[3], double m[3][3], double out[3]);
/* The shortest basis of the same lattice, right-handed where the given one was. */
void bl_cell_reduce(double cell[3][3]);
/* Squared length of a difference of fractions, brought to the nearest image of a reduced cell; `d` becomes it. */
double bl_nearest(double cell[3][3], double d[3]);

#endif
