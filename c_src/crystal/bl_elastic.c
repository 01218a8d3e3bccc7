/* SPDX-License-Identifier: Apache-2.0
 *
 * Elastic constants by finite strain of the Cauchy stress: with the atoms clamped to the strain, and
 * with atoms that find their minimum under it. Four strains a column, -2 to 2 times `strain`: the
 * error is of the fourth order in it.
 *
 * The derivative of the Cauchy stress by a symmetric strain of the present cell is the stress-strain
 * stiffness B (Wallace 1967; Wang, Yip, Phillpot, Wolf, Phys. Rev. Lett. 71, 4182 (1993)), which is C at
 * zero stress, and whose symmetric part decides about stability under load as well.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bl_landscape.h"

static const int voigt[6][2] = {{0, 0}, {1, 1}, {2, 2}, {1, 2}, {0, 2}, {0, 1}};

void bl_elastic_options_init(struct bl_elastic_options *options) { *options = (struct bl_elastic_options){.strain = 1e-4}; }

/* ---- linear algebra ------------------------------------------------------------------- */

/* Eigenvalues of a symmetric matrix, ascending: Jacobi's rotations. */
static void eigenvalues(double a[6][6], double out[6])
{
    for (int sweep = 0; sweep < 60; sweep++) {
        double off = 0, diagonal = 0;
        for (int i = 0; i < 6; i++)
            for (int k = 0; k < 6; k++) *(i == k ? &diagonal : &off) += a[i][k] * a[i][k];
        if (off <= 1e-30 * diagonal) break;
        for (int p = 0; p < 6; p++) {
            for (int q = p + 1; q < 6; q++) {
                if (a[p][q] == 0) continue;
                const double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
                const double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < 6; k++) {
                    const double x = a[k][p], y = a[k][q];
                    a[k][p] = c * x - s * y;
                    a[k][q] = s * x + c * y;
                }
                for (int k = 0; k < 6; k++) {
                    const double x = a[p][k], y = a[q][k];
                    a[p][k] = c * x - s * y;
                    a[q][k] = s * x + c * y;
                }
            }
        }
    }
    for (int i = 0; i < 6; i++) {
        int k = i;
        for (; k > 0 && out[k - 1] > a[i][i]; k--) out[k] = out[k - 1];
        out[k] = a[i][i];
    }
}

/* By Gauss and Jordan with pivots. false: singular. */
static bool invert(double from[6][6], double out[6][6])
{
    double a[6][6];
    memcpy(a, from, sizeof a);
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 6; k++) out[i][k] = i == k;
    for (int p = 0; p < 6; p++) {
        int best = p;
        for (int i = p + 1; i < 6; i++)
            if (fabs(a[i][p]) > fabs(a[best][p])) best = i;
        if (!(fabs(a[best][p]) > DBL_MIN)) return false;
        for (int k = 0; k < 6; k++) {
            const double x = a[p][k], y = out[p][k];
            a[p][k] = a[best][k], a[best][k] = x;
            out[p][k] = out[best][k], out[best][k] = y;
        }
        const double scale = 1 / a[p][p];
        for (int k = 0; k < 6; k++) a[p][k] *= scale, out[p][k] *= scale;
        for (int i = 0; i < 6; i++) {
            const double factor = i == p ? 0 : a[i][p];
            for (int k = 0; k < 6; k++) a[i][k] -= factor * a[p][k], out[i][k] -= factor * out[p][k];
        }
    }
    return true;
}

void bl_elastic_derive(struct bl_elastic *e)
{
    double m[6][6], s[6][6];
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 6; k++) m[i][k] = e->relaxed[i][k] * (i < 3 ? 1 : sqrt(2)) * (k < 3 ? 1 : sqrt(2));
    eigenvalues(m, e->eigenvalues);
    e->stable = e->eigenvalues[0] > 0;
    double(*c)[6] = e->relaxed;
    const double trace = c[0][0] + c[1][1] + c[2][2], cross = c[0][1] + c[0][2] + c[1][2];
    e->bulk_voigt = (trace + 2 * cross) / 9;
    e->shear_voigt = (trace - cross + 3 * (c[3][3] + c[4][4] + c[5][5])) / 15;
    e->has_moduli = e->stable && invert(c, s);
    if (!e->has_moduli) return;
    const double s_trace = s[0][0] + s[1][1] + s[2][2], s_cross = s[0][1] + s[0][2] + s[1][2];
    e->bulk_reuss = 1 / (s_trace + 2 * s_cross);
    e->shear_reuss = 15 / (4 * s_trace - 4 * s_cross + 3 * (s[3][3] + s[4][4] + s[5][5]));
    e->bulk_hill = (e->bulk_voigt + e->bulk_reuss) / 2;
    e->shear_hill = (e->shear_voigt + e->shear_reuss) / 2;
    e->young = 9 * e->bulk_hill * e->shear_hill / (3 * e->bulk_hill + e->shear_hill);
    e->poisson = (3 * e->bulk_hill - 2 * e->shear_hill) / (2 * (3 * e->bulk_hill + e->shear_hill));
    e->anisotropy = 5 * e->shear_voigt / e->shear_reuss + e->bulk_voigt / e->bulk_reuss - 6;
}

/* ---- strains ------------------------------------------------------------------------------- */

struct work {
    struct bl_landscape l;
    struct bl_structure base;      /* borrowed arrays; the cell of the start */
    double *x0;                    /* positions at rest */
    double *lean;                  /* what atoms moved beside the strain, at +1 */
    double strain, length;
    uint64_t max_steps, steps;
    char *why;                     /* set when the constants cannot be had */
};
enum { WHY = 96 };

static void deform(const struct work *w, int component, double amount, double cell[3][3], double *x)
{
    double f[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    const int i = voigt[component][0], k = voigt[component][1];
    if (i == k) f[i][i] += amount;
    else f[i][k] = f[k][i] = amount / 2;
    for (size_t a = 0; a < w->base.atoms + 3; a++) {
        const double *r = a < 3 ? w->base.cell[a] : w->x0 + 3 * (a - 3);
        double *out = a < 3 ? cell[a] : x + 3 * (a - 3);
        for (int c = 0; c < 3; c++) out[c] = r[0] * f[0][c] + r[1] * f[1][c] + r[2] * f[2][c];
    }
}

/* Cauchy stress in GPa, positive under tension. */
static enum bl_status stress_of(struct work *w, double cell[3][3], double out[6], struct bl_error *err)
{
    double n[3];
    bl_cross(cell[1], cell[2], n);
    const double volume = fabs(bl_dot(cell[0], n));
    w->l.now.forces = w->l.m.f;
    const enum bl_status status = bl_engine_compute(w->l.m.ctx, w->l.engine, w->l.m.x, BL_WANT_FORCES | BL_WANT_ENERGY | BL_WANT_VIRIAL,
            &w->l.now, err);
    w->steps++;
    for (int k = 0; status == BL_OK && k < 6; k++) out[k] = -w->l.now.virial[k] / volume * BL_GPA;
    return status;
}

/* To the minimum beside where the atoms are. Sets w->why when there is none near. */
static enum bl_status settle(struct work *w, const double *from, struct bl_error *err)
{
    struct bl_minimiser *m = &w->l.m;
    m->steps = 0;
    m->diverged = false;
    m->max_steps = w->max_steps;
    enum bl_relax_reason reason = BL_RELAX_NOT_RUN;
    enum bl_status status = bl_minimise_begin(m, err);
    if (status == BL_OK) status = bl_minimise_lbfgs(m, &reason, err);
    w->steps += m->steps;
    if (status != BL_OK) return status;
    double most = 0;
    for (size_t i = 0; i < m->n; i++) most = fmax(most, fabs(m->x[i] - from[i]));
    if (!(most < 0.1 * w->length)) snprintf(w->why, WHY, "atoms leave their places: they moved %.3g angstrom", most);
    else if (reason != BL_RELAX_CONVERGED && !(m->measure < 1e4)) snprintf(w->why, WHY, "atoms do not come to rest under strain");
    return BL_OK;
}

/* Stresses under one strain: clamped, and relaxed from the displacement that is expected. */
static enum bl_status strained(struct work *w, int component, int times, const struct bl_elastic_options *o, double clamped[6],
                               double relaxed[6], struct bl_error *err)
{
    double cell[3][3], *x = w->l.m.x;
    const size_t n = w->l.m.n;
    deform(w, component, times * w->strain, cell, x);
    enum bl_status status = bl_engine_set_cell(w->l.engine, cell, err);
    if (status == BL_OK) status = stress_of(w, cell, clamped, err);
    memcpy(relaxed, clamped, 6 * sizeof(double));
    if (status != BL_OK || o->clamped_only) return status;
    double *affine = w->lean + n;
    memcpy(affine, x, n * sizeof(double));
    if (times != 1)
        for (size_t i = 0; i < n; i++) x[i] += times * w->lean[i];
    status = settle(w, affine, err);
    if (status == BL_OK && !w->why[0]) status = stress_of(w, cell, relaxed, err);
    for (size_t i = 0; times == 1 && i < n; i++) w->lean[i] = x[i] - affine[i];
    return status;
}

static enum bl_status column(struct work *w, int j, const struct bl_elastic_options *o, struct bl_elastic *e, struct bl_error *err)
{
    static const int times[4] = {1, 2, -1, -2};
    double clamped[4][6], relaxed[4][6];
    for (int k = 0; k < 4; k++) {
        const enum bl_status status = strained(w, j, times[k], o, clamped[k], relaxed[k], err);
        if (status != BL_OK || w->why[0]) return status;
    }
    for (int i = 0; i < 6; i++) {
        e->clamped[i][j] = (8 * (clamped[0][i] - clamped[2][i]) - (clamped[1][i] - clamped[3][i])) / (12 * w->strain);
        e->relaxed[i][j] = (8 * (relaxed[0][i] - relaxed[2][i]) - (relaxed[1][i] - relaxed[3][i])) / (12 * w->strain);
    }
    return BL_OK;
}

/* The largest difference of C and its transpose, relative to the largest element; C becomes symmetric. */
static double symmetrise(double c[6][6])
{
    double most = 0, largest = DBL_MIN;
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 6; k++) {
            most = fmax(most, fabs(c[i][k] - c[k][i]));
            largest = fmax(largest, fabs(c[i][k]));
        }
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < i; k++) c[i][k] = c[k][i] = 0.5 * (c[i][k] + c[k][i]);
    return most / largest;
}

/* ---- the run ----------------------------------------------------------------------------------- */

static enum bl_status run(struct work *w, const struct bl_elastic_options *o, struct bl_elastic *e, struct bl_error *err)
{
    enum bl_status status = o->clamped_only ? BL_OK : settle(w, w->base.positions, err);
    if (status != BL_OK || w->why[0]) return status;
    memcpy(w->x0, w->l.m.x, w->l.m.n * sizeof(double));
    status = stress_of(w, w->base.cell, e->stress_gpa, err);
    for (int j = 0; status == BL_OK && !w->why[0] && j < 6; j++) {
        status = column(w, j, o, e, err);
        if (status == BL_OK && bl_ctx_progress_due(w->l.m.ctx)) {
            const struct bl_field fields[] = {
                {"step", BL_FIELD_INT, {.i = (int64_t)w->steps}},
                {"strains", BL_FIELD_INT, {.i = 4 * (j + 1)}},
            };
            bl_ctx_progress(w->l.m.ctx, fields, 2);
        }
    }
    return status;
}

enum bl_status bl_elastic_constants(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *potential,
                                    const struct bl_elastic_options *options, struct bl_elastic *out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct bl_elastic_options o;
    bl_elastic_options_init(&o);
    if (options) o = *options;
    if (s->atoms == 0) return bl_fail_invalid(err, "structure", "no atoms");
    if (!s->pbc[0] || !s->pbc[1] || !s->pbc[2])
        return bl_fail_invalid(err, "cell", "elastic constants need a cell that is periodic in all directions");
    if (!(o.strain > 1e-9) || !(o.strain <= 0.01)) return bl_fail_invalid(err, "strain", "from 1e-9 to 0.01");
    struct bl_elastic e = {.strain = o.strain};
    struct work w = {.base = *s, .strain = o.strain, .max_steps = o.max_steps > 0 ? o.max_steps : 5000, .why = e.why};
    enum bl_status status = bl_engine_new(ctx, s, potential, NULL, &w.l.engine, err);
    if (status != BL_OK) return status;
    struct bl_engine *engine = w.l.engine;
    struct bl_scales scales;
    bl_engine_scales(engine, &scales);
    w.length = scales.length;
    w.l.mode = BL_CELL_FIXED;
    w.l.quiet = true;
    /* An atom this far from its minimum changes a constant by about 1e-6 of itself. */
    w.l.fmax = 1e-11 * scales.curvature * scales.length * (o.strain / 1e-4);
    status = bl_landscape_init(&w.l, ctx, engine, s, 0, err);
    if (status == BL_OK) {
        w.x0 = bl_alloc_array(bl_ctx_quota(ctx), 3 * w.l.m.n, sizeof(double), err);
        if (w.x0) {
            w.lean = w.x0 + w.l.m.n;
            status = run(&w, &o, &e, err);
        } else {
            status = bl_alloc_status(err);
        }
        bl_free(w.x0);
        bl_landscape_clear(&w.l);
    }
    bl_engine_free(engine);
    if (status != BL_OK) return status;
    e.steps = w.steps;
    e.known = !e.why[0];
    if (e.known) {
        symmetrise(e.clamped);
        e.asymmetry = symmetrise(e.relaxed);
        bl_elastic_derive(&e);
    }
    *out = e;
    return BL_OK;
}
