/* SPDX-License-Identifier: Apache-2.0
 *
 * Sutton and Chen, Phil. Mag. Lett. 61, 139 (1990): embedded atoms by formula.
 */
#include <math.h>
#include <string.h>

#include "bl_eam.h"

/* Table 1 of the paper: eV, angstrom. */
static const struct bl_sutton_chen metals[] = {
    {"Ni", 1.5707e-2, 3.52, 39.432, 9, 6},  {"Cu", 1.2382e-2, 3.61, 39.432, 9, 6},  {"Rh", 4.9371e-3, 3.80, 144.41, 12, 6},
    {"Pd", 4.1790e-3, 3.89, 108.27, 12, 7}, {"Ag", 2.5415e-3, 4.09, 144.41, 12, 6}, {"Ir", 2.4489e-3, 3.84, 334.94, 14, 6},
    {"Pt", 1.9833e-2, 3.92, 34.408, 10, 8}, {"Au", 1.2793e-2, 4.08, 34.408, 10, 8}, {"Pb", 5.5765e-3, 4.95, 45.778, 10, 7},
    {"Al", 3.3147e-2, 4.05, 16.399, 7, 6},
};
enum { METALS = sizeof metals / sizeof *metals };

static const struct bl_sutton_chen *find(const struct bl_potential *p, const char *symbol)
{
    const struct bl_sutton_chen *list = p->set ? metals : p->sutton_chen;
    const size_t count = p->set ? METALS : p->sutton_chen_count;
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].species, symbol) == 0) return &list[i];
    return NULL;
}

static enum bl_status check(const struct bl_sutton_chen *x, struct bl_error *err)
{
    const double all[] = {x->epsilon, x->a, x->c, x->n, x->m};
    for (size_t i = 0; i < 5; i++)
        if (!isfinite(all[i]) || !(all[i] > 0)) return bl_fail_invalid(err, "parameters", "epsilon, a, c, n and m are positive numbers");
    if (x->n > 32 || x->m > 32) return bl_fail_invalid(err, "parameters", "n and m are at most 32");
    return BL_OK;
}

/* An fcc crystal has no neighbours between 2.55 and 2.74 lattice constants: the energy has no step near the minimum. */
static double cutoff_of(const struct bl_potential *p, double a) { return p->cutoff > 0 ? p->cutoff : 2.64 * a; }

static void add(struct bl_engine *e, const struct bl_potential *p, const struct bl_sutton_chen *x)
{
    const double nearest = x->a / sqrt(2), curvature = x->n * (x->n + 1) * x->epsilon * pow(x->a / nearest, x->n) / (nearest * nearest);
    struct bl_scales *s = &e->scales;
    s->length = s->length > 0 ? fmin(s->length, 0.9 * nearest) : 0.9 * nearest;
    s->curvature = fmax(s->curvature, curvature);
    s->cutoff = fmax(s->cutoff, cutoff_of(p, x->a));
    s->neighbours = 12;
}

static void mix(struct bl_eam_model *m, size_t n, size_t a, size_t b, const struct bl_sutton_chen *x, const struct bl_sutton_chen *y)
{
    m->formula[a * n + b] = (struct bl_sutton_chen_row){.epsilon = sqrt(x->epsilon * y->epsilon), .a = sqrt(x->a * y->a),
                                                        .n = 0.5 * (x->n + y->n), .m = 0.5 * (x->m + y->m)};
}

static enum bl_status fill(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *p, const bool *present,
                           struct bl_error *err)
{
    struct bl_eam_model *m = e->model;
    const size_t n = s->species_count;
    for (size_t a = 0; a < n; a++) {
        if (!present[a]) continue;
        const struct bl_sutton_chen *x = find(p, s->species[a]);
        if (!x) return bl_fail_invalid(err, "species", "the potential has no parameters for %s", s->species[a]);
        const enum bl_status status = check(x, err);
        if (status != BL_OK) return status;
        add(e, p, x);
        m->strength[a] = x->epsilon * x->c;
        for (size_t b = 0; b < n; b++) {
            const struct bl_sutton_chen *y = present[b] ? find(p, s->species[b]) : NULL;
            if (y) mix(m, n, a, b, x, y);
        }
    }
    return BL_OK;
}

static enum bl_status prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *p, struct bl_error *err)
{
    const size_t n = s->species_count;
    if (p->set && strcmp(p->set, "sutton_chen") != 0) return bl_fail_invalid(err, "parameters", "no built-in set of this name");
    if (!isfinite(p->cutoff) || p->cutoff < 0) return bl_fail_invalid(err, "cutoff", "a positive number");
    struct bl_eam_model *m = e->model = bl_alloc_zero(e->quota, sizeof *m, err);
    if (!m) return bl_alloc_status(err);
    m->formula = bl_alloc_zero(e->quota, n * n * sizeof *m->formula, err);
    if (m->formula) m->strength = bl_alloc_zero(e->quota, n * sizeof *m->strength, err);
    /* The loops ask for functions and use none. */
    if (m->strength) m->functions = bl_alloc_zero(e->quota, n * n * sizeof *m->functions, err);
    if (!m->functions) return bl_alloc_status(err);
    bool *present;
    enum bl_status status = bl_species_present(e->quota, s, &present, err);
    if (status != BL_OK) return status;
    status = fill(e, s, p, present, err);
    bl_free(present);
    e->species = n;
    m->tables = (struct bl_eam_tables){.species = n, .cutoff2 = e->scales.cutoff * e->scales.cutoff, .formula = m->formula,
                                       .strength = m->strength, .density = m->functions};
    return status;
}

const struct bl_model_class bl_sutton_chen_class = {BL_POTENTIAL_SUTTON_CHEN, "sutton_chen", 0.33, prepare, bl_eam_compute,
                                                    bl_eam_clear, bl_eam_bytes};
