/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded-atom models: what tables and formula share.
 */
#ifndef BL_EAM_H
#define BL_EAM_H

#include "bl_model.h"

struct bl_eam_model {
    struct bl_eam_tables tables;
    double *slopes; /* per site */
    size_t slope_room;
    struct bl_lanes lanes;
    /* Owned: what tables points to. */
    struct bl_sutton_chen_row *formula;
    double *strength;
    const double **functions;
};

enum bl_status bl_eam_compute(struct bl_ctx *ctx, struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err);
void bl_eam_clear(struct bl_engine *e);
size_t bl_eam_bytes(const struct bl_engine *e);

#endif
