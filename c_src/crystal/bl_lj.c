/* SPDX-License-Identifier: Apache-2.0
 *
 * Lennard-Jones: 4 epsilon [(sigma/r)^12 - (sigma/r)^6] below a cut-off, pair by pair of species.
 */
#include <math.h>

#include "bl_pairs.h"

static const struct bl_lj_pair *find_pair(const struct bl_potential *potential, const char *a, const char *b)
{
    const struct bl_lj_pair *general = NULL;
    for (size_t i = 0; i < potential->pair_count; i++) {
        const struct bl_lj_pair *p = &potential->pairs[i];
        if (bl_pair_names(p->species, a, b)) return p;
        if (bl_pair_general(p->species)) general = p;
    }
    return general;
}

static enum bl_status lj_row(const struct bl_lj_pair *p, bool shift, struct bl_lj_row *row, struct bl_error *err)
{
    if (!isfinite(p->epsilon) || p->epsilon < 0) return bl_fail_invalid(err, "epsilon", "a number from 0 on");
    if (!isfinite(p->sigma) || !(p->sigma > 0)) return bl_fail_invalid(err, "sigma", "a positive number");
    if (!isfinite(p->cutoff) || !(p->cutoff > 0)) return bl_fail_invalid(err, "cutoff", "a positive number");
    const double s2 = p->sigma * p->sigma, s6 = s2 * s2 * s2;
    *row = (struct bl_lj_row){.c12 = 48 * p->epsilon * s6 * s6, .c6 = 24 * p->epsilon * s6, .cutoff2 = p->cutoff * p->cutoff};
    const double ratio2 = s2 / row->cutoff2, ratio6 = ratio2 * ratio2 * ratio2;
    if (shift) row->shift = 4 * p->epsilon * ratio6 * (ratio6 - 1);
    if (!isfinite(row->c12) || !isfinite(row->shift) || !(s6 * s6 > 0)) return bl_fail_invalid(err, "sigma", "out of range");
    return BL_OK;
}

static void lj_scales(struct bl_scales *x, const struct bl_lj_pair *p)
{
    /* At the minimum phi'' = 72 eps / (2^(1/3) sigma^2). */
    const double curvature = 57.1464378708551 * p->epsilon / (p->sigma * p->sigma);
    x->length = x->length > 0 ? fmin(x->length, p->sigma) : p->sigma;
    x->curvature = fmax(x->curvature, curvature);
    x->cutoff = fmax(x->cutoff, p->cutoff);
    x->neighbours = 12;
}

static enum bl_status pair_row(const struct bl_potential *potential, const char *a, const char *b, void *row, struct bl_scales *scales,
                               struct bl_error *err)
{
    const struct bl_lj_pair *p = find_pair(potential, a, b);
    if (!p) return bl_fail_invalid(err, "pairs", "no parameters for %s and %s", a, b);
    const enum bl_status status = lj_row(p, potential->shift, row, err);
    if (status == BL_OK) lj_scales(scales, p);
    return status;
}

static enum bl_status prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *p, struct bl_error *err)
{
    if (p->pair_count > BL_LJ_PAIRS_MAX) return bl_fail_limit(err, "pairs", BL_LJ_PAIRS_MAX, p->pair_count);
    return bl_pairs_prepare(e, s, p, sizeof(struct bl_lj_row), pair_row, err);
}

static enum bl_status compute(struct bl_ctx *ctx, struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err)
{
    return bl_pairs_compute(ctx, e, e->kernels->lj, want, out, err);
}

/* Three tenths of sigma is the usual skin of a melt. */
const struct bl_model_class bl_lj_class = {BL_POTENTIAL_LENNARD_JONES, "lennard_jones", 0.3, prepare, compute,
                                           bl_pairs_clear,             bl_pairs_bytes};
