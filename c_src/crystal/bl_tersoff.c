/* SPDX-License-Identifier: Apache-2.0
 *
 * Tersoff: parameters of every pair and triple of species, from a file or built in.
 */
#include <math.h>
#include <string.h>

#include "bl_bonds.h"
#include "bl_table.h"

struct tersoff_model {
    struct bl_bonds bonds;
    struct bl_tersoff_tables tables;
    struct bl_tersoff_pair *pairs;
    struct bl_tersoff_triple *triples;
};

/* ---- built-in sets --------------------------------------------------------------- */

/* J. Tersoff, Phys. Rev. B 37, 6991 (1988). */
static const struct bl_tersoff silicon = {.m = 3, .gamma = 1, .lambda3 = 1.3258, .c = 4.8381, .d = 2.0417, .cos_theta0 = 0, .n = 22.956,
                                          .beta = 0.33675, .lambda2 = 1.3258, .big_b = 95.373, .r = 3.0, .d_range = 0.2,
                                          .lambda1 = 3.2394, .big_a = 3264.7};

/* J. Tersoff, Phys. Rev. B 39, 5566 (1989), with the erratum 41, 3248 (1990): cut-offs from r to s. */
struct element {
    char symbol[4];
    double big_a, big_b, lambda, mu, beta, n, c, d, h, r, s;
};
static const struct element elements[] = {
    {"C", 1393.6, 346.74, 3.4879, 2.2119, 1.5724e-7, 0.72751, 3.8049e4, 4.3484, -0.57058, 1.8, 2.1},
    {"Si", 1830.8, 471.18, 2.4799, 1.7322, 1.1000e-6, 0.78734, 1.0039e5, 16.217, -0.59825, 2.7, 3.0},
    {"Ge", 1769.0, 419.23, 2.4451, 1.7047, 9.0166e-7, 0.75627, 1.0643e5, 15.652, -0.43884, 2.8, 3.1},
};
enum { C, SI, GE, ELEMENTS };
/* How much weaker or stronger unlike bonds are; 0: not published. */
static const double chi[ELEMENTS][ELEMENTS] = {{1, 0.9776, 0}, {0.9776, 1, 1.00061}, {0, 1.00061, 1}};

static size_t find_element(const char *symbol)
{
    size_t i = 0;
    while (i < ELEMENTS && strcmp(elements[i].symbol, symbol) != 0) i++;
    return i;
}

/* The mixing rules of the paper; the range is that of i and k. */
static bool mixed_triple(size_t i, size_t j, size_t k, struct bl_tersoff *out)
{
    const struct element *a = &elements[i], *b = &elements[j], *c = &elements[k];
    const double inner = sqrt(a->r * c->r), outer = sqrt(a->s * c->s);
    *out = (struct bl_tersoff){.m = 3, .gamma = 1, .lambda3 = 0, .c = a->c, .d = a->d, .cos_theta0 = a->h, .n = a->n, .beta = a->beta,
                               .lambda2 = 0.5 * (a->mu + b->mu), .big_b = chi[i][j] * sqrt(a->big_b * b->big_b), .r = 0.5 * (inner + outer),
                               .d_range = 0.5 * (outer - inner), .lambda1 = 0.5 * (a->lambda + b->lambda),
                               .big_a = sqrt(a->big_a * b->big_a)};
    return chi[i][j] > 0 && chi[i][k] > 0;
}

static bool built_in(const char *set, const char *const symbols[3], struct bl_tersoff *out)
{
    if (strcmp(set, "silicon") == 0) {
        *out = silicon;
        return strcmp(symbols[0], "Si") == 0 && strcmp(symbols[1], "Si") == 0 && strcmp(symbols[2], "Si") == 0;
    }
    const size_t i = find_element(symbols[0]), j = find_element(symbols[1]), k = find_element(symbols[2]);
    return i < ELEMENTS && j < ELEMENTS && k < ELEMENTS && mixed_triple(i, j, k, out);
}

static bool in_table(const struct bl_table *t, const char *const symbols[3], struct bl_tersoff *out)
{
    uint32_t e[3];
    for (int i = 0; i < 3; i++) e[i] = (uint32_t)bl_table_find(t, symbols[i]);
    for (size_t i = 0; i < t->entries; i++) {
        const struct bl_tersoff_entry *x = &t->tersoff[i];
        if (x->element[0] != e[0] || x->element[1] != e[1] || x->element[2] != e[2]) continue;
        *out = x->p;
        return true;
    }
    return false;
}

/* ---- making ready ------------------------------------------------------------------ */

/* The numbers of bonds stand where the second and the third element are one. */
static enum bl_status check(const struct bl_tersoff *p, bool bond, struct bl_error *err)
{
    const double all[] = {p->gamma, p->lambda3, p->c, p->d, p->cos_theta0, p->n, p->beta, p->lambda2, p->big_b, p->r, p->d_range,
                          p->lambda1, p->big_a};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!isfinite(all[i])) return bl_fail_invalid(err, "parameters", "a Tersoff parameter is not finite");
    if (p->m != 3 && p->m != 1) return bl_fail_invalid(err, "parameters", "m is 3 or 1");
    if (p->gamma < 0 || p->d == 0 || (bond && !(p->n > 0)) || p->beta < 0 || p->lambda2 < 0 || p->big_b < 0 || p->lambda1 < 0 ||
        p->big_a < 0)
        return bl_fail_invalid(err, "parameters", "n positive, d not zero, gamma, beta, lambda1, lambda2, A, B not negative");
    if (p->d_range < 0 || !(p->r - p->d_range > 0)) return bl_fail_invalid(err, "parameters", "R positive and D from 0 to R");
    return BL_OK;
}

static double bond_energy(const struct bl_tersoff *p, double r)
{
    return p->big_a * exp(-p->lambda1 * r) - 0.8 * p->big_b * exp(-p->lambda2 * r);
}

static void add_scales(struct bl_scales *x, const struct bl_tersoff *p)
{
    const double cutoff = p->r + p->d_range;
    double best = cutoff;
    for (int i = 1; i < 1000; i++) {
        const double r = cutoff * (0.3 + 0.7 * i / 1000);
        if (bond_energy(p, r) < bond_energy(p, best)) best = r;
    }
    const double h = 1e-3 * best, curvature = (bond_energy(p, best + h) - 2 * bond_energy(p, best) + bond_energy(p, best - h)) / (h * h);
    x->length = x->length > 0 ? fmin(x->length, 0.9 * best) : 0.9 * best;
    x->curvature = fmax(x->curvature, isfinite(curvature) && curvature > 0 ? curvature : 1);
    x->neighbours = 4;
    x->cutoff = fmax(x->cutoff, cutoff);
}

static struct bl_tersoff_pair pair_of(const struct bl_tersoff *p)
{
    return (struct bl_tersoff_pair){.big_a = p->big_a, .big_b = p->big_b, .lambda1 = p->lambda1, .lambda2 = p->lambda2, .beta = p->beta,
                                    .n = p->n, .half_per_n = 0.5 / p->n, .middle = p->r, .per_d = 1 / fmax(p->d_range, 1e-12)};
}

static struct bl_tersoff_triple triple_of(const struct bl_tersoff *p)
{
    return (struct bl_tersoff_triple){.gamma = p->gamma, .c2 = p->c * p->c, .d2 = p->d * p->d, .h = p->cos_theta0, .lambda = p->lambda3,
                                      .middle = p->r, .per_d = 1 / fmax(p->d_range, 1e-12), .cubic = p->m == 3};
}

static enum bl_status fill(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *potential, const bool *present,
                           struct bl_error *err)
{
    struct tersoff_model *m = e->model;
    const size_t n = s->species_count;
    double longest = 0;
    for (size_t t = 0; t < n * n * n; t++) {
        const size_t i = t / (n * n), j = t / n % n, k = t % n;
        if (!present[i] || !present[j] || !present[k]) continue;
        const char *const symbols[3] = {s->species[i], s->species[j], s->species[k]};
        struct bl_tersoff p;
        const bool found = potential->table ? in_table(potential->table, symbols, &p) : built_in(potential->set, symbols, &p);
        if (!found) return bl_fail_invalid(err, "species", "the potential has no parameters for %s %s %s", symbols[0], symbols[1],
                                           symbols[2]);
        const enum bl_status status = check(&p, j == k, err);
        if (status != BL_OK) return status;
        m->triples[t] = triple_of(&p);
        longest = fmax(longest, p.r + p.d_range);
        if (j != k) continue;
        m->pairs[i * n + j] = pair_of(&p);
        add_scales(&e->scales, &p);
    }
    e->scales.cutoff = longest;
    m->tables = (struct bl_tersoff_tables){.species = n, .pairs = m->pairs, .triples = m->triples, .cutoff2 = longest * longest};
    return BL_OK;
}

static enum bl_status prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *p, struct bl_error *err)
{
    const size_t n = s->species_count;
    size_t triples;
    if (p->table && p->table->format != BL_TABLE_TERSOFF) return bl_fail_invalid(err, "potential", "tersoff needs a table of its own form");
    if (!p->table && (!p->set || (strcmp(p->set, "silicon") != 0 && strcmp(p->set, "silicon_carbide_germanium") != 0)))
        return bl_fail_invalid(err, "parameters", "silicon or silicon_carbide_germanium");
    if (n > BL_TABLE_ELEMENTS_MAX) return bl_fail_limit(err, "species", BL_TABLE_ELEMENTS_MAX, n);
    struct tersoff_model *m = e->model = bl_alloc_zero(e->quota, sizeof *m, err);
    if (!m) return bl_alloc_status(err);
    triples = n * n * n;
    m->pairs = bl_alloc_zero(e->quota, n * n * sizeof *m->pairs, err);
    if (m->pairs) m->triples = bl_alloc_zero(e->quota, triples * sizeof *m->triples, err);
    if (!m->triples) return bl_alloc_status(err);
    bool *present;
    enum bl_status status = bl_species_present(e->quota, s, &present, err);
    if (status != BL_OK) return status;
    status = fill(e, s, p, present, err);
    bl_free(present);
    e->species = n;
    return status == BL_OK ? bl_bonds_init(e, &m->bonds, err) : status;
}

static enum bl_status compute(struct bl_ctx *ctx, struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err)
{
    struct tersoff_model *m = e->model;
    return bl_bonds_compute(ctx, e, &m->bonds, e->kernels->tersoff_centres, &m->tables, want, out, err);
}

static void clear(struct bl_engine *e)
{
    struct tersoff_model *m = e->model;
    if (!m) return;
    bl_bonds_clear(&m->bonds);
    bl_free(m->pairs);
    bl_free(m->triples);
    bl_free(m);
}

static size_t bytes(const struct bl_engine *e)
{
    const struct tersoff_model *m = e->model;
    const size_t n = m->tables.species;
    return sizeof *m + n * n * sizeof *m->pairs + n * n * n * sizeof *m->triples + bl_bonds_bytes(e, &m->bonds);
}

const struct bl_model_class bl_tersoff_class = {BL_POTENTIAL_TERSOFF, "tersoff", 0.45, prepare, compute, clear, bytes};
