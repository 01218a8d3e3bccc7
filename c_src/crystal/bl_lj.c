/* SPDX-License-Identifier: Apache-2.0
 *
 * Lennard-Jones: 4 epsilon [(sigma/r)^12 - (sigma/r)^6] below a cut-off, pair by pair of species.
 */
#include <math.h>
#include <string.h>

#include "bl_model.h"

struct lj_model {
    struct bl_lj_row *table; /* species x species */
};

static bool pair_names(const struct bl_lj_pair *p, const char *a, const char *b)
{
    return (strcmp(p->species[0], a) == 0 && strcmp(p->species[1], b) == 0) ||
           (strcmp(p->species[0], b) == 0 && strcmp(p->species[1], a) == 0);
}

static const struct bl_lj_pair *find_pair(const struct bl_potential *potential, const char *a, const char *b)
{
    const struct bl_lj_pair *general = NULL;
    for (size_t i = 0; i < potential->pair_count; i++) {
        const struct bl_lj_pair *p = &potential->pairs[i];
        if (pair_names(p, a, b)) return p;
        if (p->species[0][0] == '\0' && p->species[1][0] == '\0') general = p;
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

static enum bl_status fill_table(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *potential,
                                 const bool *present, struct bl_error *err)
{
    const size_t n = s->species_count;
    struct lj_model *m = e->model;
    enum bl_status status = BL_OK;
    for (size_t a = 0; status == BL_OK && a < n; a++) {
        for (size_t b = 0; status == BL_OK && b < n; b++) {
            if (!present[a] || !present[b]) continue;
            const struct bl_lj_pair *p = find_pair(potential, s->species[a], s->species[b]);
            if (!p) status = bl_fail_invalid(err, "pairs", "no parameters for %s and %s", s->species[a], s->species[b]);
            else status = lj_row(p, potential->shift, &m->table[a * n + b], err);
            if (status == BL_OK) lj_scales(&e->scales, p);
        }
    }
    return status;
}

static enum bl_status prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *potential, struct bl_error *err)
{
    const size_t n = s->species_count;
    if (potential->pair_count > BL_LJ_PAIRS_MAX) return bl_fail_limit(err, "pairs", BL_LJ_PAIRS_MAX, potential->pair_count);
    struct lj_model *m = e->model = bl_alloc_zero(e->quota, sizeof *m, err);
    if (!m) return bl_alloc_status(err);
    m->table = bl_alloc_zero(e->quota, n * n * sizeof *m->table, err);
    if (!m->table) return bl_alloc_status(err);
    bool *present;
    enum bl_status status = bl_species_present(e->quota, s, &present, err);
    if (status != BL_OK) return status;
    status = fill_table(e, s, potential, present, err);
    bl_free(present);
    e->species = n;
    return status;
}

struct lj_run {
    bl_lj_fn *fn;
    struct bl_lj_job job;
};

static enum bl_status body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct lj_run *run = arg;
    (void)lane;
    (void)err;
    for (size_t block = begin; block < end; block++) run->fn(&run->job, block);
    return BL_OK;
}

static enum bl_status compute(struct bl_ctx *ctx, struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err)
{
    const struct lj_model *m = e->model;
    struct lj_run run = {e->kernels->lj, {.search = &e->search, .table = m->table, .species = e->species, .want = want}};
    run.job.forces = out->forces;
    run.job.atom_energies = out->atom_energies;
    run.job.sums = e->sums;
    return bl_parallel_for(ctx, e->search.block_count, 4, body, &run, err);
}

static void clear(struct bl_engine *e)
{
    struct lj_model *m = e->model;
    if (m) bl_free(m->table);
    bl_free(m);
}

static size_t bytes(const struct bl_engine *e)
{
    return sizeof(struct lj_model) + e->species * e->species * sizeof(struct bl_lj_row);
}

/* Three tenths of sigma is the usual skin of a melt. */
const struct bl_model_class bl_lj_class = {BL_POTENTIAL_LENNARD_JONES, "lennard_jones", 0.3, prepare, compute, clear, bytes};
