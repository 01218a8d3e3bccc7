/* SPDX-License-Identifier: Apache-2.0
 *
 * What all minimisers share: counting, the best state, when to stop.
 */
#include "bl_minimise.h"

#include <float.h>
#include <math.h>

double bl_minimise_dot(const struct bl_minimiser *m, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0, end; (end = bl_piece(m->ctx, i, m->n)) > i;)
        for (; i < end; i++) sum += a[i] * b[i];
    return sum;
}

void bl_minimise_copy(const struct bl_minimiser *m, double *to, const double *from) { bl_copy_pieces(m->ctx, to, from, m->n); }

double bl_minimise_reach(const struct bl_minimiser *m, const double *v)
{
    const size_t body = m->n - m->tail;
    double most = 0, tail = 0;
    for (size_t i = 0, end; (end = bl_piece(m->ctx, i, body)) > i;)
        for (; i < end; i++) most = fmax(most, fabs(v[i]));
    for (size_t i = body; i < m->n; i++) tail = fmax(tail, fabs(v[i]));
    return 1 / fmax(most / m->cap, m->tail > 0 ? tail / m->tail_cap : 0);
}

enum bl_status bl_minimise_begin(struct bl_minimiser *m, struct bl_error *err)
{
    const enum bl_status status = m->evaluate(m, err);
    if (status != BL_OK) return status;
    m->steps = 1;
    m->mark_step = 1;
    m->value_before = m->mark_value = m->best_value = m->value;
    m->measure_before = m->mark_measure = m->measure;
    m->best_measure = INFINITY;
    bl_minimise_copy(m, m->best, m->x);
    return BL_OK;
}

enum bl_status bl_minimise_step(struct bl_minimiser *m, enum bl_relax_reason *reason, struct bl_error *err)
{
    enum bl_status status = bl_ctx_check(m->ctx, err); /* the passes before may be incomplete */
    if (status != BL_OK) return status;
    m->steps++;
    status = m->evaluate(m, err);
    if (status != BL_INVALID) return status;
    m->value = m->measure = INFINITY;
    *reason = BL_RELAX_DIVERGED;
    return BL_OK;
}

static void keep_best(struct bl_minimiser *m)
{
    if (m->measure >= m->best_measure || m->value > m->value_before + 1e-9 * fabs(m->value_before)) return;
    bl_minimise_copy(m, m->best, m->x);
    m->best_value = m->value;
    m->best_measure = m->measure;
}

/* Downhill from the start is the only way a minimiser goes; a step may overshoot a little. */
static bool exploded(const struct bl_minimiser *m)
{
    const double rise = m->value - m->value_before;
    return m->diverged || !isfinite(m->value) || !isfinite(m->measure) ||
           (rise > 0 && rise > 1e-6 * fabs(m->value_before) && m->measure > 100 * fmax(m->measure_before, 1));
}

/* Over BL_STAGNATION_STEPS neither value nor measure came down. */
static bool stagnates(struct bl_minimiser *m)
{
    const bool better = m->value < m->mark_value - 4 * DBL_EPSILON * fabs(m->mark_value) || m->measure < 0.999 * m->mark_measure;
    if (better) {
        m->mark_value = fmin(m->mark_value, m->value);
        m->mark_measure = fmin(m->mark_measure, m->measure);
        m->mark_step = m->steps;
    }
    return m->steps - m->mark_step > BL_STAGNATION_STEPS;
}

bool bl_minimise_over(struct bl_minimiser *m, enum bl_relax_reason *reason)
{
    keep_best(m);
    if (exploded(m)) *reason = BL_RELAX_DIVERGED;
    else if (m->measure <= m->enough) *reason = BL_RELAX_CONVERGED;
    else if (m->steps >= m->max_steps) *reason = BL_RELAX_MAX_STEPS;
    else if (stagnates(m)) *reason = BL_RELAX_STAGNATED;
    else return false;
    return true;
}
