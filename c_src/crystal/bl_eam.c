/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded-atom method from tables.
 */
#include "bl_eam.h"

#include <math.h>
#include <string.h>

#include "bl_table.h"

/* ---- computing --------------------------------------------------------------------- */

struct run {
    bl_eam_fn *fn;
    struct bl_eam_job job;
};

static enum bl_status body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct run *run = arg;
    enum bl_status status = BL_OK;
    for (size_t block = begin; status == BL_OK && block < end; block++) status = run->fn(&run->job, block, lane, err);
    return status;
}

/* From the homes to their images. */
static enum bl_status spread_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct bl_eam_job *job = arg;
    const struct bl_search *s = job->search;
    const uint32_t centre = (uint32_t)(s->images / 2);
    (void)lane;
    (void)err;
    for (size_t e = begin; e < end; e++)
        if (s->image[e] != centre) job->slopes[e] = job->slopes[s->home[s->rank[s->atom[e]]]];
    return BL_OK;
}

enum bl_status bl_eam_compute(struct bl_ctx *ctx, struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err)
{
    struct bl_eam_model *m = e->model;
    enum bl_status status = bl_lanes_ready(ctx, e->quota, &m->lanes, err);
    if (status == BL_OK && m->slope_room < e->search.sites + 1) {
        m->slope_room = 0;
        status = bl_search_room(e->quota, &m->slopes, e->search.sites + e->search.sites / 16 + 1, sizeof *m->slopes, err);
        if (status == BL_OK) m->slope_room = e->search.sites + e->search.sites / 16 + 1;
    }
    if (status != BL_OK) return status;
    struct run run = {e->kernels->eam_densities, {.ctx = ctx, .search = &e->search, .tables = &m->tables, .want = want, .quota = e->quota}};
    run.job.forces = out->forces;
    run.job.atom_energies = out->atom_energies;
    run.job.sums = e->sums;
    run.job.slopes = m->slopes;
    run.job.scratch = m->lanes.scratch;
    status = bl_parallel_for(ctx, e->search.block_count, 2, body, &run, err);
    if (status == BL_OK && (want & (BL_WANT_FORCES | BL_WANT_VIRIAL)))
        status = bl_parallel_for(ctx, e->search.sites, 16384, spread_body, &run.job, err);
    run.fn = e->kernels->eam_forces;
    if (status == BL_OK) status = bl_parallel_for(ctx, e->search.block_count, 2, body, &run, err);
    return status;
}

void bl_eam_clear(struct bl_engine *e)
{
    struct bl_eam_model *m = e->model;
    if (!m) return;
    bl_lanes_clear(&m->lanes);
    bl_free(m->slopes);
    bl_free(m->formula);
    bl_free(m->strength);
    bl_free(m->functions);
    bl_free(m);
}

size_t bl_eam_bytes(const struct bl_engine *e)
{
    const struct bl_eam_model *m = e->model;
    return sizeof *m + m->slope_room * sizeof *m->slopes;
}

/* ---- tables ------------------------------------------------------------------------- */

/* The pair energy and, of the equal atoms of a crystal, the curvature where it is lowest. */
static double pair_energy(const struct bl_eam_table *t, const double *pair, double r)
{
    const double x = fmin(r / t->dr, (double)(t->points - 1)), whole = floor(fmin(x, (double)(t->points - 2))), p = x - whole;
    const double *c = pair + 4 * (size_t)whole;
    return (((c[3] * p + c[2]) * p + c[1]) * p + c[0]) / r;
}

/* A length and a stiffness for minimisers: where the pair function falls to its own scale, and the curvature there. The
 * pair function of an embedded atom is often repulsive everywhere, so the neighbour's distance is where it has
 * fallen to a tenth of an electron volt. */
static void add_scales(struct bl_scales *x, const struct bl_eam_table *t, const double *pair)
{
    const double step = t->cutoff / 512;
    double r = t->cutoff;
    while (r > 2 * step && pair_energy(t, pair, r - step) < 0.1) r -= step;
    const double h = 4 * step < r / 2 ? 4 * step : r / 4;
    const double curvature = (pair_energy(t, pair, r + h) - 2 * pair_energy(t, pair, r) + pair_energy(t, pair, r - h)) / (h * h);
    const double length = 0.9 * r;
    x->length = x->length > 0 ? fmin(x->length, length) : length;
    x->curvature = fmax(x->curvature, isfinite(curvature) && curvature > 0 ? curvature : 1);
    x->cutoff = t->cutoff;
    x->neighbours = 12;
}

static const double *pair_of(const struct bl_eam_table *t, size_t a, size_t b)
{
    const size_t high = a > b ? a : b, low = a > b ? b : a;
    return t->pair + (high * (high + 1) / 2 + low) * 4 * (t->points - 1);
}

static void fill_functions(struct bl_engine *e, const struct bl_table *table, const uint32_t *map)
{
    const struct bl_eam_table *t = &table->eam;
    struct bl_eam_model *m = e->model;
    const size_t n = e->species, wide = 4 * (t->points - 1), none = table->elements;
    const double **embed = m->functions, **density = embed + n, **pair = density + n * n;
    for (size_t a = 0; a < n; a++) {
        embed[a] = t->embed + (map[a] == none ? 0 : map[a]) * 4 * (t->rho_points - 1);
        for (size_t b = 0; b < n; b++) {
            const bool there = map[a] != none && map[b] != none;
            const size_t i = there ? map[a] : 0, j = there ? map[b] : 0;
            density[a * n + b] = t->density + wide * (t->densities > 1 ? j * t->densities + i : j);
            pair[a * n + b] = pair_of(t, i, j);
            if (there) add_scales(&e->scales, t, pair_of(t, i, j));
        }
    }
    m->tables.embed = embed;
    m->tables.density = density;
    m->tables.pair = pair;
}

static enum bl_status prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *potential, struct bl_error *err)
{
    const struct bl_table *table = potential->table;
    if (!table || table->format > BL_TABLE_FINNIS_SINCLAIR) return bl_fail_invalid(err, "potential", "eam needs a table of embedded atoms");
    const struct bl_eam_table *t = &table->eam;
    const size_t n = s->species_count;
    struct bl_eam_model *m = e->model = bl_alloc_zero(e->quota, sizeof *m, err);
    if (!m) return bl_alloc_status(err);
    m->functions = bl_alloc_array(e->quota, n + 2 * n * n, sizeof *m->functions, err);
    if (!m->functions) return bl_alloc_status(err);
    uint32_t *map;
    const enum bl_status status = bl_table_map(e->quota, table, s, &map, err);
    if (status != BL_OK) return status;
    e->species = n;
    m->tables = (struct bl_eam_tables){.species = n, .cutoff2 = t->cutoff * t->cutoff, .points = t->points, .rho_points = t->rho_points,
                                       .per_dr = 1 / t->dr, .per_drho = 1 / t->drho, .rho_max = (double)(t->rho_points - 1) * t->drho};
    fill_functions(e, table, map);
    bl_free(map);
    return BL_OK;
}

/* A third of the pair's length, about an angstrom in metals. */
const struct bl_model_class bl_eam_class = {BL_POTENTIAL_EAM, "eam", 0.33, prepare, bl_eam_compute, bl_eam_clear, bl_eam_bytes};
