/* SPDX-License-Identifier: Apache-2.0
 *
 * Minimisers over plain vectors: FIRE 2.0, and descent along L-BFGS or conjugate directions.
 * They know no atoms: what is minimised stands behind `evaluate`.
 */
#ifndef BL_MINIMISE_H
#define BL_MINIMISE_H

#include "bl_crystal.h"

struct bl_minimiser {
    struct bl_ctx *ctx;
    struct bl_quota *quota;
    /* Value and forces (minus the gradient) at m->x into m->value and m->f, and m->measure: largest force
     * over what is asked for, at most 1 when converged. BL_INVALID: not finite there. */
    enum bl_status (*evaluate)(struct bl_minimiser *m, struct bl_error *err);
    void *self;
    size_t n;
    double *x, *f, *best; /* n each; best: x of the lowest measure that went downhill */
    double value, measure;
    /* Units. No variable moves more than its cap in a step: the last `tail` ones have their own. */
    double cap, tail_cap, omega2; /* omega2: about the largest curvature */
    size_t tail;
    /* Ends. */
    double enough;   /* measure at which this stage ends */
    uint64_t steps, max_steps;
    bool diverged;   /* said by evaluate: what it saw can only get worse */
    /* Kept by the functions below. */
    double value_before, measure_before, best_value, best_measure, mark_value, mark_measure;
    uint64_t mark_step;
};

/* The first evaluation, at m->x. */
enum bl_status bl_minimise_begin(struct bl_minimiser *m, struct bl_error *err);
/* One evaluation more. A value that is not finite is no error but *reason = DIVERGED. */
enum bl_status bl_minimise_step(struct bl_minimiser *m, enum bl_relax_reason *reason, struct bl_error *err);
/* Over? Fills *reason; keeps the best state, and looks for explosion and stagnation. */
bool bl_minimise_over(struct bl_minimiser *m, enum bl_relax_reason *reason);
/* Steps without lower value and measure that count as stagnation. */
enum { BL_STAGNATION_STEPS = 2000 };

/* How many times the move `v` fits into the caps; infinity for no move. */
double bl_minimise_reach(const struct bl_minimiser *m, const double *v);
/* Of n elements; cut in pieces, as all passes here are (bl_piece): the evaluation that follows, or the end of the run,
 * tells that the task was stopped. */
double bl_minimise_dot(const struct bl_minimiser *m, const double *a, const double *b);
void bl_minimise_copy(const struct bl_minimiser *m, double *to, const double *from);

/* Each goes on from m->x, where m->value, f and measure are known, until bl_minimise_over, or STAGNATED
 * when it cannot go on. Memory for its work comes from m->quota. */
enum bl_status bl_minimise_fire(struct bl_minimiser *m, enum bl_relax_reason *reason, struct bl_error *err);
enum bl_status bl_minimise_lbfgs(struct bl_minimiser *m, enum bl_relax_reason *reason, struct bl_error *err);
enum bl_status bl_minimise_cg(struct bl_minimiser *m, enum bl_relax_reason *reason, struct bl_error *err);

#endif
