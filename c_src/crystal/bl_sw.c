/* SPDX-License-Identifier: Apache-2.0
 *
 * Stillinger-Weber: parameters of every pair and triple of species.
 */
#include <math.h>
#include <string.h>

#include "bl_bonds.h"
#include "bl_table.h"

const struct bl_sw bl_sw_silicon = {.epsilon = 2.1683,
                                    .sigma = 2.0951,
                                    .a = 1.80,
                                    .lambda = 21.0,
                                    .gamma = 1.20,
                                    .cos_theta0 = -1.0 / 3.0,
                                    .big_a = 7.049556277,
                                    .big_b = 0.6022245584,
                                    .p = 4.0,
                                    .q = 0.0};

struct sw_model {
    struct bl_bonds bonds;
    struct bl_sw_tables tables;
    struct bl_sw *pairs;
    double *strength, *cosine;
};

static double pair_energy(const struct bl_sw *p, double r)
{
    const double cutoff = p->a * p->sigma;
    if (r >= cutoff) return 0;
    return p->big_a * p->epsilon * (p->big_b * pow(p->sigma / r, p->p) - pow(p->sigma / r, p->q)) * exp(p->sigma / (r - cutoff));
}

/* The pair term's minimum by scanning, its curvature by differences: only a scale. */
static void add_scales(struct bl_scales *x, const struct bl_sw *p)
{
    const double cutoff = p->a * p->sigma;
    double best = p->sigma;
    for (int i = 1; i < 1000; i++) {
        const double r = cutoff * (0.3 + 0.7 * i / 1000);
        if (pair_energy(p, r) < pair_energy(p, best)) best = r;
    }
    const double h = 1e-3 * p->sigma;
    const double curvature = (pair_energy(p, best + h) - 2 * pair_energy(p, best) + pair_energy(p, best - h)) / (h * h);
    x->length = x->length > 0 ? fmin(x->length, p->sigma) : p->sigma;
    x->curvature = fmax(x->curvature, isfinite(curvature) && curvature > 0 ? curvature : p->epsilon / (p->sigma * p->sigma));
    x->neighbours = 4;
    x->cutoff = fmax(x->cutoff, cutoff);
}

static enum bl_status check(const struct bl_sw *p, struct bl_error *err)
{
    const double all[] = {p->epsilon, p->sigma, p->a, p->lambda, p->gamma, p->cos_theta0, p->big_a, p->big_b, p->p, p->q};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!isfinite(all[i])) return bl_fail_invalid(err, "parameters", "a Stillinger-Weber parameter is not finite");
    if (!(p->epsilon > 0) || !(p->sigma > 0) || !(p->a > 0)) return bl_fail_invalid(err, "parameters",
            "epsilon, sigma and a must be positive");
    if (p->gamma < 0 || p->lambda < 0) return bl_fail_invalid(err, "parameters", "lambda and gamma must not be negative");
    return BL_OK;
}

static enum bl_status room(struct bl_engine *e, struct sw_model *m, size_t n, struct bl_error *err)
{
    m->pairs = bl_alloc_zero(e->quota, n * n * sizeof *m->pairs, err);
    if (m->pairs) m->strength = bl_alloc_zero(e->quota, n * n * n * sizeof *m->strength, err);
    if (m->strength) m->cosine = bl_alloc_zero(e->quota, n * n * n * sizeof *m->cosine, err);
    if (!m->cosine) return bl_alloc_status(err);
    m->tables = (struct bl_sw_tables){.species = n, .pairs = m->pairs, .strength = m->strength, .cosine = m->cosine};
    e->species = n;
    return bl_bonds_init(e, &m->bonds, err);
}

/* ---- one set of numbers for one species ---------------------------------------------- */

static enum bl_status prepare_one(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *potential,
                                  struct bl_error *err)
{
    struct sw_model *m = e->model;
    const struct bl_sw *p = potential->set ? &bl_sw_silicon : &potential->sw;
    if (potential->set && strcmp(potential->set, "silicon") != 0)
        return bl_fail_invalid(err, "parameters", "no built-in set of this name");
    enum bl_status status = check(p, err);
    if (status != BL_OK) return status;
    const uint32_t first = s->atoms > 0 ? s->types[0] : 0;
    for (size_t i = 1; i < s->atoms; i++)
        if (s->types[i] != first) return bl_fail_unsupported(err, "one set of stillinger_weber numbers for several species");
    if (potential->set && s->atoms > 0 && strcmp(s->species[first], "Si") != 0)
        return bl_fail_invalid(err, "species", "the potential has no parameters for %s", s->species[first]);
    status = room(e, m, 1, err);
    if (status != BL_OK) return status;
    m->pairs[0] = *p;
    m->strength[0] = p->lambda * p->epsilon;
    m->cosine[0] = p->cos_theta0;
    add_scales(&e->scales, p);
    m->tables.cutoff2 = e->scales.cutoff * e->scales.cutoff;
    return BL_OK;
}

/* ---- a file --------------------------------------------------------------------------- */

static const struct bl_sw *find(const struct bl_table *t, uint32_t i, uint32_t j, uint32_t k)
{
    for (size_t n = 0; n < t->entries; n++) {
        const uint32_t *e = t->sw[n].element;
        if (e[0] == i && e[1] == j && e[2] == k) return &t->sw[n].p;
    }
    return NULL;
}

static enum bl_status fill_triple(struct bl_engine *e, const struct bl_table *t, const uint32_t *map, size_t i, size_t j, size_t k,
                                  struct bl_error *err)
{
    struct sw_model *m = e->model;
    const size_t n = m->tables.species;
    const struct bl_sw *p = find(t, map[i], map[j], map[k]), *turned = find(t, map[i], map[k], map[j]);
    if (!p || !turned) return bl_fail_invalid(err, "species", "the potential has no parameters for %s %s %s", t->names[map[i]],
            t->names[map[j]], t->names[map[k]]);
    if (!isfinite(p->lambda * p->epsilon) || !isfinite(p->cos_theta0) || p->lambda * p->epsilon != turned->lambda * turned->epsilon ||
        p->cos_theta0 != turned->cos_theta0)
        return bl_fail_invalid(err, "parameters", "the angle of %s between %s and %s has two energies", t->names[map[i]],
                t->names[map[j]], t->names[map[k]]);
    m->strength[(i * n + j) * n + k] = p->lambda * p->epsilon;
    m->cosine[(i * n + j) * n + k] = p->cos_theta0;
    if (j != k) return BL_OK;
    const enum bl_status status = check(p, err);
    m->pairs[i * n + j] = *p;
    if (status == BL_OK) add_scales(&e->scales, p);
    return status;
}

static enum bl_status prepare_table(struct bl_engine *e, const struct bl_structure *s, const struct bl_table *t, struct bl_error *err)
{
    struct sw_model *m = e->model;
    const size_t n = s->species_count;
    uint32_t *map;
    if (t->format != BL_TABLE_SW) return bl_fail_invalid(err, "potential", "stillinger_weber needs a table of its own form");
    if (n > BL_TABLE_ELEMENTS_MAX) return bl_fail_limit(err, "species", BL_TABLE_ELEMENTS_MAX, n);
    enum bl_status status = room(e, m, n, err);
    if (status == BL_OK) status = bl_table_map(e->quota, t, s, &map, err);
    if (status != BL_OK) return status;
    for (size_t x = 0; status == BL_OK && x < n * n * n; x++) {
        const size_t i = x / (n * n), j = x / n % n, k = x % n;
        if (map[i] < t->elements && map[j] < t->elements && map[k] < t->elements) status = fill_triple(e, t, map, i, j, k, err);
    }
    bl_free(map);
    m->tables.cutoff2 = e->scales.cutoff * e->scales.cutoff;
    return status;
}

static enum bl_status prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *potential, struct bl_error *err)
{
    e->model = bl_alloc_zero(e->quota, sizeof(struct sw_model), err);
    if (!e->model) return bl_alloc_status(err);
    return potential->table ? prepare_table(e, s, potential->table, err) : prepare_one(e, s, potential, err);
}

static enum bl_status compute(struct bl_ctx *ctx, struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err)
{
    struct sw_model *m = e->model;
    return bl_bonds_compute(ctx, e, &m->bonds, e->kernels->sw_centres, &m->tables, want, out, err);
}

static void clear(struct bl_engine *e)
{
    struct sw_model *m = e->model;
    if (!m) return;
    bl_bonds_clear(&m->bonds);
    bl_free(m->pairs);
    bl_free(m->strength);
    bl_free(m->cosine);
    bl_free(m);
}

static size_t bytes(const struct bl_engine *e)
{
    const struct sw_model *m = e->model;
    const size_t n = m->tables.species;
    return sizeof *m + n * n * sizeof *m->pairs + 2 * n * n * n * sizeof(double) + bl_bonds_bytes(e, &m->bonds);
}

/* Half a sigma suits stiff, sparse lists. */
const struct bl_model_class bl_sw_class = {BL_POTENTIAL_STILLINGER_WEBER, "stillinger_weber", 0.48, prepare, compute, clear, bytes};
