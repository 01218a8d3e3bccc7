/* SPDX-License-Identifier: Apache-2.0
 *
 * Potentials made ready, the list kept fresh, blocks run and summed.
 */
#include <math.h>
#include <string.h>

#include "bl_kernels.h"

struct bl_engine {
    struct bl_quota *quota;
    struct bl_crystal_limits limits;
    struct bl_lattice lattice;
    const struct bl_kernels *kernels;
    enum bl_potential_type type;
    size_t atoms, species;
    double cutoff, skin;
    unsigned rebuild_every, since_rebuild;
    bool built;
    struct bl_scales scales;
    struct bl_lj_row *table; /* species x species */
    double *tags;            /* species of each atom, as a number */
    struct bl_sw sw;
    struct bl_search search;
    struct bl_block_sums *sums; /* per block */
    /* Stillinger-Weber only. */
    struct bl_partials *partials;
    size_t partial_blocks;
    uint32_t *start, *count;
    struct bl_sw_scratch *scratch;
    unsigned lanes;
    uint64_t computes, rebuilds;
};

/* ---- Lennard-Jones: parameters ----------------------------------------------------- */

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

static enum bl_status prepare_lj(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *potential,
        struct bl_error *err)
{
    const size_t n = s->species_count;
    e->species = n;
    if (potential->pair_count > BL_LJ_PAIRS_MAX) return bl_fail_limit(err, "pairs", BL_LJ_PAIRS_MAX, potential->pair_count);
    enum bl_status status = bl_search_room(e->quota, &e->table, n * n, sizeof *e->table, err);
    bool *present = bl_alloc_zero(e->quota, n, err);
    if (!present) status = bl_alloc_status(err);
    for (size_t i = 0; status == BL_OK && i < s->atoms; i++) present[s->types[i]] = true;
    for (size_t a = 0; status == BL_OK && a < n; a++) {
        for (size_t b = 0; status == BL_OK && b < n; b++) {
            e->table[a * n + b] = (struct bl_lj_row){0};
            if (!present[a] || !present[b]) continue;
            const struct bl_lj_pair *p = find_pair(potential, s->species[a], s->species[b]);
            if (!p) status = bl_fail_invalid(err, "pairs", "no parameters for %s and %s", s->species[a], s->species[b]);
            else status = lj_row(p, potential->shift, &e->table[a * n + b], err);
            if (status == BL_OK) lj_scales(&e->scales, p);
        }
    }
    bl_free(present);
    if (status == BL_OK && e->scales.cutoff == 0) { /* no atoms */
        e->scales = (struct bl_scales){.length = 1, .curvature = 1, .neighbours = 12, .cutoff = 1};
    }
    return status;
}

/* ---- Stillinger-Weber: parameters ---------------------------------------------------- */

static double sw_pair_energy(const struct bl_sw *p, double r)
{
    const double cutoff = p->a * p->sigma;
    if (r >= cutoff) return 0;
    return p->big_a * p->epsilon * (p->big_b * pow(p->sigma / r, p->p) - pow(p->sigma / r, p->q)) * exp(p->sigma / (r - cutoff));
}

/* The pair term's minimum by scanning, its curvature by differences: only a scale. */
static void sw_scales(struct bl_scales *x, const struct bl_sw *p)
{
    const double cutoff = p->a * p->sigma;
    double best = p->sigma;
    for (int i = 1; i < 1000; i++) {
        const double r = cutoff * (0.3 + 0.7 * i / 1000);
        if (sw_pair_energy(p, r) < sw_pair_energy(p, best)) best = r;
    }
    const double h = 1e-3 * p->sigma;
    const double curvature = (sw_pair_energy(p, best + h) - 2 * sw_pair_energy(p, best) + sw_pair_energy(p, best - h)) / (h * h);
    x->length = p->sigma;
    x->curvature = isfinite(curvature) && curvature > 0 ? curvature : p->epsilon / (p->sigma * p->sigma);
    x->neighbours = 4;
    x->cutoff = cutoff;
}

static enum bl_status prepare_sw(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *potential,
        struct bl_error *err)
{
    const struct bl_sw *p = &potential->sw;
    const double all[] = {p->epsilon, p->sigma, p->a, p->lambda, p->gamma, p->cos_theta0, p->big_a, p->big_b, p->p, p->q};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!isfinite(all[i])) return bl_fail_invalid(err, "parameters", "a Stillinger-Weber parameter is not finite");
    if (!(p->epsilon > 0) || !(p->sigma > 0) || !(p->a > 0)) return bl_fail_invalid(err, "parameters",
            "epsilon, sigma and a must be positive");
    if (p->gamma < 0 || p->lambda < 0) return bl_fail_invalid(err, "parameters", "lambda and gamma must not be negative");
    const uint32_t first = s->atoms > 0 ? s->types[0] : 0;
    for (size_t i = 1; i < s->atoms; i++)
        if (s->types[i] != first) return bl_fail_unsupported(err, "stillinger_weber for more than one species");
    e->sw = *p;
    e->species = 1;
    sw_scales(&e->scales, p);
    enum bl_status status = bl_search_room(e->quota, &e->start, s->atoms, sizeof *e->start, err);
    if (status == BL_OK) status = bl_search_room(e->quota, &e->count, s->atoms, sizeof *e->count, err);
    return status;
}

/* ---- life ------------------------------------------------------------------------------ */

void bl_engine_free(struct bl_engine *e)
{
    if (!e) return;
    bl_search_clear(&e->search);
    for (size_t i = 0; i < e->partial_blocks; i++) bl_free(e->partials[i].list);
    for (unsigned i = 0; i < e->lanes; i++) {
        bl_free(e->scratch[i].memory);
        bl_free(e->scratch[i].site);
    }
    bl_free(e->scratch);
    bl_free(e->partials);
    bl_free(e->start);
    bl_free(e->count);
    bl_free(e->sums);
    bl_free(e->table);
    bl_free(e->tags);
    bl_free(e);
}

static enum bl_status prepare_tags(struct bl_engine *e, const struct bl_structure *s, struct bl_error *err)
{
    if (e->species < 2) return BL_OK;
    const enum bl_status status = bl_search_room(e->quota, &e->tags, s->atoms, sizeof *e->tags, err);
    for (size_t i = 0; status == BL_OK && i < s->atoms; i++) e->tags[i] = s->types[i];
    return status;
}

static enum bl_status prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *potential,
                              const struct bl_engine_options *options, struct bl_error *err)
{
    enum bl_status status = bl_structure_check(s, err);
    if (status == BL_OK) status = bl_lattice_init(&e->lattice, s, err);
    if (status != BL_OK) return status;
    if (potential->type == BL_POTENTIAL_LENNARD_JONES) status = prepare_lj(e, s, potential, err);
    else if (potential->type == BL_POTENTIAL_STILLINGER_WEBER) status = prepare_sw(e, s, potential, err);
    else status = bl_fail_invalid(err, "potential", "unknown type");
    if (status == BL_OK) status = prepare_tags(e, s, err);
    if (status != BL_OK) return status;
    const size_t blocks = (s->atoms + BL_BLOCK - 1) / BL_BLOCK;
    status = bl_search_room(e->quota, &e->sums, blocks, sizeof *e->sums, err);
    if (status == BL_OK && e->type == BL_POTENTIAL_STILLINGER_WEBER) {
        e->partials = bl_alloc_zero(e->quota, blocks * sizeof *e->partials, err);
        if (!e->partials) return bl_alloc_status(err);
        e->partial_blocks = blocks;
    }
    e->cutoff = e->scales.cutoff;
    /* Three tenths of sigma is the usual skin of a melt; half a sigma suits stiff, sparse lists. */
    e->skin = e->type == BL_POTENTIAL_LENNARD_JONES ? 0.3 * e->scales.length : 0.48 * e->scales.length;
    if (options && options->skin >= 0) e->skin = options->skin;
    if (!isfinite(e->skin)) return bl_fail_invalid(err, "skin", "a finite number");
    e->rebuild_every = options ? options->rebuild_every : 0;
    return status;
}

enum bl_status bl_engine_new(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *potential,
                             const struct bl_engine_options *options, struct bl_engine **out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct bl_quota *quota = bl_ctx_quota(ctx);
    struct bl_engine *e = bl_alloc_zero(quota, sizeof *e, err);
    if (!e) return err->status;
    e->quota = quota;
    e->limits = options && options->limits ? *options->limits : bl_crystal_limits_default;
    e->kernels = bl_kernels_choose();
    e->type = potential->type;
    e->atoms = s->atoms;
    bl_search_init(&e->search, quota, &e->limits);
    const enum bl_status status = prepare(e, s, potential, options, err);
    if (status != BL_OK) {
        bl_engine_free(e);
        return status;
    }
    *out = e;
    return BL_OK;
}

void bl_engine_scales(const struct bl_engine *e, struct bl_scales *out) { *out = e->scales; }

void bl_engine_stats(const struct bl_engine *e, struct bl_engine_stats *out)
{
    size_t bytes = sizeof *e + bl_search_bytes(&e->search) + e->search.block_count * sizeof *e->sums;
    for (size_t i = 0; i < e->partial_blocks; i++) bytes += sizeof *e->partials + e->partials[i].capacity * sizeof(struct bl_partial);
    if (e->start) bytes += e->atoms * 2 * sizeof(uint32_t);
    if (e->tags) bytes += e->atoms * sizeof(double);
    *out = (struct bl_engine_stats){.computes = e->computes,
                                    .rebuilds = e->rebuilds,
                                    .images = e->search.sites,
                                    .neighbours = e->search.neighbours,
                                    .bytes = bytes};
}

/* ---- the list --------------------------------------------------------------------------- */

/* Has some atom moved more than half the skin since the list was made? NaN counts as moved. */
static bool moved_too_far(const struct bl_engine *e, const double *positions)
{
    const double limit = 0.25 * e->skin * e->skin, *before = e->search.built;
    double most = 0;
    for (size_t i = 0; i < 3 * e->atoms; i += 3) {
        const double dx = positions[i] - before[i], dy = positions[i + 1] - before[i + 1], dz = positions[i + 2] - before[i + 2];
        const double d2 = dx * dx + dy * dy + dz * dz;
        most = d2 <= most ? most : d2;
        if (!(most <= limit)) return true;
    }
    return false;
}

static enum bl_status refresh(struct bl_ctx *ctx, struct bl_engine *e, const double *positions, struct bl_error *err)
{
    const bool due = e->rebuild_every > 0 ? ++e->since_rebuild >= e->rebuild_every : e->built && moved_too_far(e, positions);
    if (e->built && !due) return bl_search_move(ctx, &e->search, &e->lattice, positions, err);
    e->built = false; /* until it has succeeded */
    const enum bl_status status = bl_search_build(ctx, &e->search, &e->lattice, positions, e->tags, e->atoms, e->cutoff + e->skin, err);
    if (status != BL_OK) return status;
    e->built = true;
    e->since_rebuild = 0;
    e->rebuilds++;
    return BL_OK;
}

/* ---- computing --------------------------------------------------------------------------- */

struct lj_run {
    bl_lj_fn *fn;
    struct bl_lj_job job;
};

static enum bl_status lj_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct lj_run *run = arg;
    (void)lane;
    (void)err;
    for (size_t block = begin; block < end; block++) run->fn(&run->job, block);
    return BL_OK;
}

static enum bl_status run_lj(struct bl_ctx *ctx, struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err)
{
    struct lj_run run = {e->kernels->lj, {.search = &e->search, .table = e->table, .species = e->species, .want = want}};
    run.job.forces = out->forces;
    run.job.atom_energies = out->atom_energies;
    run.job.sums = e->sums;
    return bl_parallel_for(ctx, e->search.block_count, 4, lj_body, &run, err);
}

struct sw_run {
    bl_sw_centres_fn *fn;
    struct bl_sw_job job;
};

static enum bl_status centres_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct sw_run *run = arg;
    enum bl_status status = BL_OK;
    for (size_t block = begin; status == BL_OK && block < end; block++) status = run->fn(&run->job, block, lane, err);
    return status;
}

static enum bl_status forces_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct sw_run *run = arg;
    (void)lane;
    (void)err;
    for (size_t block = begin; block < end; block++) bl_sw_forces(&run->job, block);
    return BL_OK;
}

static enum bl_status lane_scratch(struct bl_ctx *ctx, struct bl_engine *e, struct bl_error *err)
{
    const unsigned lanes = bl_ctx_lanes(ctx);
    if (lanes <= e->lanes) return BL_OK;
    struct bl_sw_scratch *scratch = bl_alloc_zero(e->quota, lanes * sizeof *scratch, err);
    if (!scratch) return bl_alloc_status(err);
    if (e->lanes > 0) memcpy(scratch, e->scratch, e->lanes * sizeof *scratch);
    bl_free(e->scratch);
    e->scratch = scratch;
    e->lanes = lanes;
    return BL_OK;
}

static enum bl_status run_sw(struct bl_ctx *ctx, struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err)
{
    enum bl_status status = lane_scratch(ctx, e, err);
    if (status != BL_OK) return status;
    struct sw_run run = {e->kernels->sw_centres, {.search = &e->search, .sw = e->sw, .want = want, .quota = e->quota}};
    run.job.forces = out->forces;
    run.job.atom_energies = out->atom_energies;
    run.job.sums = e->sums;
    run.job.partials = e->partials;
    run.job.start = e->start;
    run.job.count = e->count;
    run.job.scratch = e->scratch;
    status = bl_parallel_for(ctx, e->search.block_count, 1, centres_body, &run, err);
    if (status == BL_OK && (want & BL_WANT_FORCES)) status = bl_parallel_for(ctx, e->search.block_count, 1, forces_body, &run, err);
    return status;
}

static enum bl_status sum_blocks(const struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err)
{
    double energy = 0, virial[6] = {0};
    bool finite = true;
    for (size_t b = 0; b < e->search.block_count; b++) {
        energy += e->sums[b].energy;
        for (int k = 0; k < 6; k++) virial[k] += e->sums[b].virial[k];
        finite = finite && e->sums[b].finite;
    }
    if (!finite || !isfinite(energy)) return bl_fail_invalid(err, "positions",
            "energy or force is not finite: atoms lie on top of each other");
    if (want & BL_WANT_ENERGY) out->energy = energy;
    if (want & BL_WANT_VIRIAL) memcpy(out->virial, virial, sizeof virial);
    return BL_OK;
}

enum bl_status bl_engine_compute(struct bl_ctx *ctx, struct bl_engine *e, const double *positions, unsigned want,
                                 struct bl_energies *out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    enum bl_status status = bl_ctx_check(ctx, err);
    if (status == BL_OK) status = refresh(ctx, e, positions, err);
    if (status == BL_OK) status = e->type == BL_POTENTIAL_LENNARD_JONES ? run_lj(ctx, e, want, out, err) : run_sw(ctx, e, want, out, err);
    if (status == BL_OK) status = sum_blocks(e, want, out, err);
    e->computes++;
    return status;
}
