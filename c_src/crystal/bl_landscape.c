/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_landscape.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const int voigt[6][2] = {{0, 0}, {1, 1}, {2, 2}, {1, 2}, {0, 2}, {0, 1}};

void bl_clear_fixed(struct bl_ctx *ctx, const struct bl_structure *s, double *forces)
{
    for (size_t i = 0, end; s->fixed && (end = bl_piece(ctx, i, s->atoms)) > i;)
        for (; i < end; i++)
            for (unsigned k = 0; k < 3; k++)
                if (s->fixed[i] & (1u << k)) forces[3 * i + k] = 0;
}

double bl_largest_force(struct bl_ctx *ctx, const double *f, size_t atoms)
{
    double most = 0;
    for (size_t i = 0, end; (end = bl_piece(ctx, i, atoms)) > i;)
        for (; i < end; i++) most = fmax(most, f[3 * i] * f[3 * i] + f[3 * i + 1] * f[3 * i + 1] + f[3 * i + 2] * f[3 * i + 2]);
    return sqrt(most);
}

static double determinant(double a[3][3])
{
    double n[3];
    bl_cross(a[1], a[2], n);
    return bl_dot(a[0], n);
}

static void multiply(double a[3][3], double b[3][3], double out[3][3])
{
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) out[i][k] = a[i][0] * b[0][k] + a[i][1] * b[1][k] + a[i][2] * b[2][k];
}

static void invert(double a[3][3], double out[3][3])
{
    const double d = determinant(a);
    for (int k = 0; k < 3; k++) {
        double n[3];
        bl_cross(a[(k + 1) % 3], a[(k + 2) % 3], n);
        for (int c = 0; c < 3; c++) out[c][k] = n[c] / d;
    }
}

/* ---- at fixed cell --------------------------------------------------------------------- */

static void report(const struct bl_landscape *l)
{
    struct bl_ctx *ctx = l->m.ctx;
    if (l->quiet || !bl_ctx_progress_due(ctx)) return;
    const struct bl_field fields[] = {
        {"step", BL_FIELD_INT, {.i = (int64_t)l->m.steps}},
        {"energy", BL_FIELD_FLOAT, {.f = l->now.energy}},
        {"max_force", BL_FIELD_FLOAT, {.f = l->max_force}},
        {"max_stress", BL_FIELD_FLOAT, {.f = l->max_stress * BL_GPA}},
        {"volume", BL_FIELD_FLOAT, {.f = fabs(determinant((double (*)[3])l->cell))}},
    };
    bl_ctx_progress(ctx, fields, l->mode == BL_CELL_FIXED ? 3 : 5);
}

static enum bl_status evaluate_fixed(struct bl_minimiser *m, struct bl_error *err)
{
    struct bl_landscape *l = m->self;
    l->now.forces = m->f;
    const enum bl_status status = bl_engine_compute(m->ctx, l->engine, m->x, BL_WANT_FORCES | BL_WANT_ENERGY, &l->now, err);
    if (status != BL_OK) return status;
    bl_clear_fixed(l->m.ctx, l->s, m->f);
    l->max_force = bl_largest_force(l->m.ctx, m->f, l->s->atoms);
    m->value = l->now.energy;
    m->measure = l->max_force / l->fmax;
    report(l);
    return BL_OK;
}

/* ---- with the cell ------------------------------------------------------------------------ */

static double strain_factor(int k) { return k < 3 ? 1 : 0.70710678118654752440; }

/* out = v F */
static inline void in_f(const struct bl_landscape *l, const double v[3], double out[3])
{
    for (size_t c = 0; c < 3; c++) out[c] = v[0] * l->f[0][c] + v[1] * l->f[1][c] + v[2] * l->f[2][c];
}

static void unpack(struct bl_landscape *l)
{
    const size_t atoms = l->s->atoms;
    const double *x = l->m.x, *w = x + 3 * atoms;
    for (int k = 0; k < 6; k++) {
        const int i = voigt[k][0], c = voigt[k][1];
        l->f[i][c] = l->f[c][i] = (i == c) + w[k] * strain_factor(k) / l->scale;
    }
    multiply(l->cell0, l->f, l->cell);
    for (size_t a = 0, end; (end = bl_piece(l->m.ctx, a, atoms)) > a;)
        for (; a < end; a++) in_f(l, x + 3 * a, l->positions + 3 * a);
}

/* Forces on X: f F. (F is symmetric.) */
static void forces_on_reference(struct bl_landscape *l)
{
    for (size_t a = 0, end; (end = bl_piece(l->m.ctx, a, l->s->atoms)) > a;)
        for (; a < end; a++) in_f(l, l->forces + 3 * a, l->m.f + 3 * a);
    bl_clear_fixed(l->m.ctx, l->s, l->m.f);
}

/* Minus dH/dF, symmetric, of free components; fills max_stress and the value. */
static void forces_on_cell(struct bl_landscape *l)
{
    const double volume = l->volume0 * determinant(l->f), pressure = -(l->target[0] + l->target[1] + l->target[2]) / 3;
    double w[3][3], inverse[3][3], g[3][3], work = 0, down[6];
    invert(l->f, inverse);
    for (int k = 0; k < 6; k++) {
        const int i = voigt[k][0], c = voigt[k][1];
        w[i][c] = w[c][i] = l->now.virial[k] - (i == c) * pressure * volume;
        work += (i == c ? 1 : 2) * (l->target[k] + (i == c) * pressure) * (l->f[i][c] - (i == c));
    }
    multiply(inverse, w, g);
    for (int k = 0; k < 6; k++) {
        const int i = voigt[k][0], c = voigt[k][1];
        down[k] = 0.5 * (g[i][c] + g[c][i]) + l->volume0 * (l->target[k] + (i == c) * pressure);
    }
    if (l->mode == BL_CELL_ISOTROPIC) {
        const double mean = (down[0] + down[1] + down[2]) / 3;
        for (int k = 0; k < 6; k++) down[k] = k < 3 ? mean : 0;
    }
    l->max_stress = 0;
    for (int k = 0; k < 6; k++) {
        if (l->held[k]) down[k] = 0;
        l->max_stress = fmax(l->max_stress, fabs(down[k]) / volume);
        l->m.f[3 * l->s->atoms + (size_t)k] = down[k] / strain_factor(k) / l->scale;
    }
    l->m.value = l->now.energy + pressure * volume - l->volume0 * work + l->offset;
}

/* Beyond an eighth or eight times the volume it began with nothing good comes any more. */
static bool runaway(const struct bl_landscape *l)
{
    const double ratio = l->volume0 * determinant((double (*)[3])l->f) / l->volume_begin;
    return !(ratio > 0.125) || !(ratio < 8);
}

static enum bl_status evaluate_cell(struct bl_minimiser *m, struct bl_error *err)
{
    struct bl_landscape *l = m->self;
    unpack(l);
    if (runaway(l)) return bl_fail_invalid(err, "cell", "collapses, or grows without end");
    enum bl_status status = bl_engine_set_cell(l->engine, l->cell, err);
    if (status != BL_OK) return status;
    l->now.forces = l->forces;
    status = bl_engine_compute(m->ctx, l->engine, l->positions, BL_WANT_FORCES | BL_WANT_ENERGY | BL_WANT_VIRIAL, &l->now, err);
    if (status != BL_OK) return status;
    bl_clear_fixed(l->m.ctx, l->s, l->forces);
    l->max_force = bl_largest_force(l->m.ctx, l->forces, l->s->atoms);
    forces_on_reference(l);
    forces_on_cell(l);
    m->measure = fmax(l->max_force / l->fmax, l->max_stress / l->smax);
    report(l);
    return BL_OK;
}

bool bl_landscape_strained(const struct bl_landscape *l)
{
    if (l->mode == BL_CELL_FIXED) return false;
    double norm = 0;
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < 3; c++) norm = fmax(norm, fabs(l->f[i][c] - (i == c)));
    return norm > 0;
}

/* x and best are in the old reference: best is dropped for the present state. */
enum bl_status bl_landscape_rebase(struct bl_landscape *l, struct bl_error *err)
{
    const size_t n = 3 * l->s->atoms;
    const double before = l->m.value;
    unpack(l);
    memcpy(l->cell0, l->cell, sizeof l->cell0);
    l->volume0 = fabs(determinant(l->cell0));
    bl_copy_pieces(l->m.ctx, l->m.x, l->positions, n);
    memset(l->m.x + n, 0, l->m.tail * sizeof(double));
    const enum bl_status status = evaluate_cell(&l->m, err);
    if (status != BL_OK) return status;
    l->offset += before - l->m.value;
    l->m.value = before;
    l->m.best_measure = INFINITY;
    l->m.mark_measure = INFINITY;
    bl_minimise_copy(&l->m, l->m.best, l->m.x);
    return BL_OK;
}

void bl_landscape_use_best(struct bl_landscape *l)
{
    bl_minimise_copy(&l->m, l->m.x, l->m.best);
    if (l->mode != BL_CELL_FIXED) unpack(l);
}

void bl_landscape_use_first(struct bl_landscape *l)
{
    const size_t atoms3 = 3 * l->s->atoms;
    memcpy(l->cell0, l->s->cell, sizeof l->cell0);
    l->volume0 = l->volume_begin;
    l->offset = 0;
    bl_copy_pieces(l->m.ctx, l->m.x, l->s->positions, atoms3);
    memset(l->m.x + atoms3, 0, l->m.tail * sizeof(double));
    if (l->mode != BL_CELL_FIXED) unpack(l);
}

/* ---- life ------------------------------------------------------------------------------------ */

enum bl_status bl_landscape_init(struct bl_landscape *l, struct bl_ctx *ctx, struct bl_engine *engine, const struct bl_structure *s,
                                 double max_move, struct bl_error *err)
{
    const size_t atoms3 = 3 * s->atoms, tail = l->mode == BL_CELL_FIXED ? 0 : 6, n = atoms3 + tail;
    struct bl_quota *quota = bl_ctx_quota(ctx);
    double *p = bl_alloc_array(quota, 3 * n + (tail ? 2 * atoms3 : 0), sizeof(double), err);
    if (!p) return bl_alloc_status(err);
    struct bl_scales scales;
    bl_engine_scales(engine, &scales);
    l->engine = engine;
    l->s = s;
    l->memory = p;
    l->scale = scales.length * sqrt((double)s->atoms);
    memcpy(l->cell0, s->cell, sizeof l->cell0);
    memcpy(l->cell, s->cell, sizeof l->cell);
    memset(l->f, 0, sizeof l->f);
    for (int k = 0; k < 3; k++) l->f[k][k] = 1;
    l->volume0 = l->volume_begin = fabs(determinant(l->cell0));
    struct bl_minimiser *m = &l->m;
    m->ctx = ctx;
    m->quota = quota;
    m->evaluate = tail ? evaluate_cell : evaluate_fixed;
    m->self = l;
    m->n = n;
    m->tail = tail;
    m->x = p;
    m->f = p + n;
    m->best = p + 2 * n;
    l->positions = tail ? p + 3 * n : m->x;
    l->forces = tail ? l->positions + atoms3 : m->f;
    /* The stiffest mode of a crystal with z neighbours has about omega^2 = z kappa (fcc Lennard-Jones: 12.6 kappa,
     * diamond Stillinger-Weber: 3.9 kappa). */
    m->omega2 = 1.06 * scales.neighbours * fmax(scales.curvature, DBL_MIN);
    m->cap = max_move > 0 ? max_move : 0.1 * scales.length;
    m->tail_cap = 0.02 * l->scale;
    m->enough = 1;
    bl_copy_pieces(ctx, m->x, s->positions, atoms3);
    memset(m->x + atoms3, 0, tail * sizeof(double));
    const enum bl_status status = bl_ctx_check(ctx, err);
    if (status != BL_OK) bl_landscape_clear(l);
    return status;
}

void bl_landscape_clear(struct bl_landscape *l)
{
    bl_free(l->memory);
    l->memory = NULL;
}
