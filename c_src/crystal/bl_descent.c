/* SPDX-License-Identifier: Apache-2.0
 *
 * Descent along directions, each with a line search: L-BFGS (Nocedal, Math. Comput. 35, 773 (1980);
 * Liu & Nocedal, Math. Program. 45, 503 (1989)) and conjugate gradients (Polak & Ribière 1969 with
 * beta >= 0, Gilbert & Nocedal, SIAM J. Optim. 2, 21 (1992)).
 *
 * A point on the line is taken when the value went down enough (Armijo) and the slope is small
 * (strong Wolfe), or, where the value's last digits say nothing any more, when the slope alone says so
 * (approximate Wolfe: Hager & Zhang, SIAM J. Optim. 16, 170 (2005)).
 */
#include <math.h>

#include "bl_minimise.h"

enum { MEMORY = 8, TRIALS_MAX = 24 };

struct descent {
    struct bl_minimiser *m;
    double *d, *x0, *f0;        /* direction; where the line begins, and the force there */
    double *s[MEMORY], *y[MEMORY], rho[MEMORY];
    size_t pairs, newest;
    bool lbfgs, steepest;       /* steepest: d is along the force */
    double slope_ratio;         /* what is left of the slope at a point that is taken */
    double t_max;               /* as far along d as the caps allow */
    double t, slope;            /* of the last line: where it ended, and the slope it began with; 0: none */
};

/* ---- the line ------------------------------------------------------------------------- */

struct point {
    double t, value, slope; /* d value / dt */
};

static void along(struct descent *r, double t)
{
    for (size_t i = 0, end; (end = bl_piece(r->m->ctx, i, r->m->n)) > i;)
        for (; i < end; i++) r->m->x[i] = r->x0[i] + t * r->d[i];
}

static bool good_enough(const struct descent *r, const struct point *a, const struct point *p)
{
    if (!(fabs(p->slope) <= -r->slope_ratio * a->slope)) return false;
    return p->value <= a->value + 1e-4 * p->t * a->slope || p->value <= a->value + 1e-11 * fabs(a->value);
}

/* A zero of the slope between two points by its secant, kept away from the ends. */
static double between(const struct point *low, const struct point *high)
{
    const double span = high->t - low->t, part = isfinite(high->slope) && high->slope > low->slope
                                                     ? -low->slope / (high->slope - low->slope) : 0.5;
    return low->t + span * fmin(fmax(part, 0.05), 0.95);
}

/* Moves to a point on the line that is good enough; *found false when there is none. */
static enum bl_status search_line(struct descent *r, double first, bool *found, enum bl_relax_reason *reason, struct bl_error *err)
{
    struct bl_minimiser *m = r->m;
    const struct point start = {0, m->value, -bl_minimise_dot(m, r->f0, r->d)};
    const double noise = 1e-11 * fabs(start.value);
    struct point low = start, high = {.t = -1};
    double t = first;
    *found = false;
    r->slope = start.slope;
    for (int trial = 0; trial < TRIALS_MAX && m->steps < m->max_steps; trial++) {
        along(r, t);
        *reason = BL_RELAX_NOT_RUN;
        const enum bl_status status = bl_minimise_step(m, reason, err);
        if (status != BL_OK) return status;
        const bool broken = *reason == BL_RELAX_DIVERGED || !isfinite(m->value) || m->diverged;
        const struct point p = {t, broken ? INFINITY : m->value, broken ? INFINITY : -bl_minimise_dot(m, m->f, r->d)};
        r->t = t;
        if (p.value > start.value + noise || p.slope >= 0) high = p;
        else low = p;
        /* Downhill all the way that is allowed is progress, too. */
        *found = good_enough(r, &start, &p) || (m->measure <= m->enough && p.value <= start.value + noise) ||
                 (high.t < 0 && t >= r->t_max);
        if (*found) return BL_OK;
        if (high.t < 0) {
            const double secant = low.slope > start.slope ? 1.1 * t * start.slope / (start.slope - low.slope) : INFINITY;
            t = fmin(r->t_max, fmin(4 * t, fmax(secant, 1.1 * t)));
        } else {
            t = between(&low, &high);
            if (high.t - low.t < 1e-12 * high.t) break;
        }
    }
    m->diverged = false;
    return BL_OK;
}

/* ---- directions ------------------------------------------------------------------------- */

static void along_force(struct descent *r)
{
    for (size_t i = 0, end; (end = bl_piece(r->m->ctx, i, r->m->n)) > i;)
        for (; i < end; i++) r->d[i] = r->m->f[i] / r->m->omega2;
    r->steepest = true;
    r->pairs = 0;
}

/* The two loops: d = H f. */
static void lbfgs_direction(struct descent *r)
{
    const struct bl_minimiser *m = r->m;
    double alpha[MEMORY] = {0};
    bl_minimise_copy(m, r->d, m->f);
    for (size_t k = 0; k < r->pairs; k++) {
        const size_t j = (r->newest + MEMORY - k) % MEMORY;
        alpha[j] = r->rho[j] * bl_minimise_dot(m, r->s[j], r->d);
        for (size_t i = 0, end; (end = bl_piece(m->ctx, i, m->n)) > i;)
            for (; i < end; i++) r->d[i] -= alpha[j] * r->y[j][i];
    }
    const size_t j0 = r->newest;
    const double scale = 1 / (r->rho[j0] * bl_minimise_dot(m, r->y[j0], r->y[j0]));
    for (size_t i = 0, end; (end = bl_piece(m->ctx, i, m->n)) > i;)
        for (; i < end; i++) r->d[i] *= scale;
    for (size_t k = r->pairs; k-- > 0;) {
        const size_t j = (r->newest + MEMORY - k) % MEMORY;
        const double beta = r->rho[j] * bl_minimise_dot(m, r->y[j], r->d);
        for (size_t i = 0, end; (end = bl_piece(m->ctx, i, m->n)) > i;)
            for (; i < end; i++) r->d[i] += (alpha[j] - beta) * r->s[j][i];
    }
    r->steepest = false;
}

/* What the last line taught: s = x - x0, y = f0 - f. Only where the curvature is positive. */
static void remember(struct descent *r)
{
    const size_t j = (r->newest + 1) % MEMORY;
    double sy = 0, ss = 0, yy = 0;
    for (size_t i = 0, end; (end = bl_piece(r->m->ctx, i, r->m->n)) > i;)
        for (; i < end; i++) {
            const double s = r->m->x[i] - r->x0[i], y = r->f0[i] - r->m->f[i];
            r->s[j][i] = s;
            r->y[j][i] = y;
            sy += s * y;
            ss += s * s;
            yy += y * y;
        }
    if (!(sy > 1e-10 * sqrt(ss * yy)) || !(sy > 0)) return;
    r->rho[j] = 1 / sy;
    r->newest = j;
    if (r->pairs < MEMORY) r->pairs++;
}

static void conjugate(struct descent *r)
{
    const struct bl_minimiser *m = r->m;
    const double *f = m->f;
    double fresh = 0, before = 0;
    for (size_t i = 0, end; (end = bl_piece(m->ctx, i, m->n)) > i;)
        for (; i < end; i++) {
            fresh += f[i] * (f[i] - r->f0[i]);
            before += r->f0[i] * r->f0[i];
        }
    const double beta = before > 0 ? fmax(0, fresh / before) : 0;
    for (size_t i = 0, end; (end = bl_piece(m->ctx, i, m->n)) > i;)
        for (; i < end; i++) r->d[i] = f[i] / m->omega2 + beta * r->d[i];
    r->steepest = beta == 0;
}

/* The next direction, downhill in any case; the first step along it. */
static double aim(struct descent *r, bool fresh)
{
    struct bl_minimiser *m = r->m;
    if (fresh || (r->lbfgs && r->pairs == 0)) along_force(r);
    else if (r->lbfgs) lbfgs_direction(r);
    else conjugate(r);
    double downhill = bl_minimise_dot(m, r->d, m->f);
    if (!(downhill > 1e-10 * sqrt(bl_minimise_dot(m, r->d, r->d) * bl_minimise_dot(m, m->f, m->f)))) {
        along_force(r);
        downhill = bl_minimise_dot(m, r->d, m->f);
    }
    r->t_max = bl_minimise_reach(m, r->d);
    /* Newton's step is 1; along a conjugate direction the next gain is about that of the last line. */
    const double guess = r->lbfgs || fresh || !(r->t > 0) || !(downhill > 0) ? 1 : -r->t * r->slope / downhill;
    return fmin(guess, r->t_max);
}

/* ---- the run ------------------------------------------------------------------------------- */

static enum bl_status room(struct descent *r, double **memory, struct bl_error *err)
{
    const size_t n = r->m->n;
    double *p = bl_alloc_array(r->m->quota, (3 + (r->lbfgs ? 2 * (size_t)MEMORY : 0)) * n, sizeof(double), err);
    if (!p) return bl_alloc_status(err);
    *memory = p;
    r->d = p;
    r->x0 = p + n;
    r->f0 = p + 2 * n;
    for (size_t k = 0; r->lbfgs && k < MEMORY; k++) {
        r->s[k] = p + (3 + 2 * k) * n;
        r->y[k] = r->s[k] + n;
    }
    return BL_OK;
}

static enum bl_status descend(struct descent *r, enum bl_relax_reason *reason, struct bl_error *err)
{
    struct bl_minimiser *m = r->m;
    bool fresh = true;
    while (!bl_minimise_over(m, reason)) {
        const double first = aim(r, fresh), value = m->value, measure = m->measure;
        bl_minimise_copy(m, r->x0, m->x);
        bl_minimise_copy(m, r->f0, m->f);
        bool found;
        const enum bl_status status = search_line(r, first, &found, reason, err);
        if (status != BL_OK) return status;
        if (found) {
            if (r->lbfgs) remember(r);
            fresh = false;
            continue;
        }
        /* Back to where the line began. */
        bl_minimise_copy(m, m->x, r->x0);
        bl_minimise_copy(m, m->f, r->f0);
        m->value = value;
        m->measure = measure;
        *reason = m->steps >= m->max_steps ? BL_RELAX_MAX_STEPS : BL_RELAX_STAGNATED;
        if (*reason == BL_RELAX_MAX_STEPS || r->steepest) return BL_OK; /* not even along the force */
        fresh = true;
    }
    return BL_OK;
}

static enum bl_status run(struct bl_minimiser *m, bool lbfgs, enum bl_relax_reason *reason, struct bl_error *err)
{
    struct descent r = {.m = m, .lbfgs = lbfgs, .slope_ratio = lbfgs ? 0.9 : 0.1};
    double *memory = NULL;
    enum bl_status status = room(&r, &memory, err);
    if (status != BL_OK) return status;
    status = descend(&r, reason, err);
    bl_free(memory);
    return status == BL_OK ? bl_ctx_check(m->ctx, err) : status;
}

enum bl_status bl_minimise_lbfgs(struct bl_minimiser *m, enum bl_relax_reason *reason, struct bl_error *err)
{
    return run(m, true, reason, err);
}

enum bl_status bl_minimise_cg(struct bl_minimiser *m, enum bl_relax_reason *reason, struct bl_error *err)
{
    return run(m, false, reason, err);
}
