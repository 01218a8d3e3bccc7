/* SPDX-License-Identifier: Apache-2.0
 *
 * FIRE 2.0 (Guénolé et al., Comput. Mater. Sci. 175, 109584 (2020)): semi-implicit Euler steps of
 * unit mass, velocities turned towards the force, time step grown while the power P = F.v stays
 * positive; on P <= 0 half a step back and a stop.
 *
 * Nothing here knows a unit: the scheme is stable for omega dt < 2, where omega squared is the
 * largest curvature, and that and the largest move come from the potential.
 */
#include <math.h>

#include "bl_minimise.h"

enum { DELAY_STEPS = 20, UPHILL_MAX = 2000 };
static const double grow = 1.1, shrink = 0.5, alpha_start = 0.25, alpha_shrink = 0.99;

struct fire {
    double *v;
    double dt, dt_min, dt_max, alpha;
    uint64_t downhill, uphill, first;
};

static void adapt(struct bl_minimiser *m, struct fire *r)
{
    if (bl_minimise_dot(m, m->f, r->v) > 0) {
        r->uphill = 0;
        if (++r->downhill > DELAY_STEPS) {
            r->dt = fmin(grow * r->dt, r->dt_max);
            r->alpha *= alpha_shrink;
        }
        return;
    }
    r->downhill = 0;
    r->uphill++;
    if (m->steps - r->first >= DELAY_STEPS) { /* no shrinking during the initial delay */
        r->dt = fmax(shrink * r->dt, r->dt_min);
        r->alpha = alpha_start;
    }
    for (size_t i = 0, end; (end = bl_piece(m->ctx, i, m->n)) > i;)
        for (; i < end; i++) {
            m->x[i] -= 0.5 * r->dt * r->v[i];
            r->v[i] = 0;
        }
}

static void advance(struct bl_minimiser *m, struct fire *r)
{
    const size_t n = m->n;
    double vv = 0;
    for (size_t i = 0, end; (end = bl_piece(m->ctx, i, n)) > i;)
        for (; i < end; i++) {
            r->v[i] += r->dt * m->f[i];
            vv += r->v[i] * r->v[i];
        }
    const double ff = bl_minimise_dot(m, m->f, m->f), turn = ff > 0 ? r->alpha * sqrt(vv / ff) : 0;
    for (size_t i = 0, end; (end = bl_piece(m->ctx, i, n)) > i;)
        for (; i < end; i++) r->v[i] = r->dt * ((1 - r->alpha) * r->v[i] + turn * m->f[i]); /* the move, for now */
    /* The cap slows the velocities themselves: kept as they are they would outlive the collision
     * that made them, and half a step back would be no small step. */
    const double slow = fmin(1, bl_minimise_reach(m, r->v)), back = 1 / r->dt;
    for (size_t i = 0, end; (end = bl_piece(m->ctx, i, n)) > i;)
        for (; i < end; i++) {
            const double move = slow * r->v[i];
            m->x[i] += move;
            r->v[i] = move * back;
        }
}

enum bl_status bl_minimise_fire(struct bl_minimiser *m, enum bl_relax_reason *reason, struct bl_error *err)
{
    struct fire r = {.alpha = alpha_start, .first = m->steps};
    r.v = bl_alloc_zero(m->quota, m->n * sizeof(double), err);
    if (!r.v) return bl_alloc_status(err);
    r.dt_max = 1.7 / sqrt(m->omega2);
    r.dt = 0.5 * r.dt_max;
    r.dt_min = 0.02 * r.dt;
    enum bl_status status = BL_OK;
    while (status == BL_OK && !bl_minimise_over(m, reason)) {
        if (r.uphill > UPHILL_MAX) {
            *reason = BL_RELAX_STAGNATED;
            break;
        }
        adapt(m, &r);
        advance(m, &r);
        *reason = BL_RELAX_NOT_RUN;
        status = bl_minimise_step(m, reason, err);
        if (*reason == BL_RELAX_DIVERGED) break;
    }
    bl_free(r.v);
    return status == BL_OK ? bl_ctx_check(m->ctx, err) : status;
}
