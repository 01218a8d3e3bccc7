/* SPDX-License-Identifier: Apache-2.0
 *
 * Levels of relaxation: which minimiser on which landscape, how far, and what is given back.
 */
#include <math.h>
#include <string.h>

#include "bl_landscape.h"

/* FIRE hands over where forces are small against the potential's own: this part of curvature times length. */
static const double nearly = 0.02;
enum { REBASES_MAX = 30 };

const char *bl_relax_reason_name(enum bl_relax_reason reason)
{
    static const char *const names[] = {"converged", "max_steps", "stagnated", "diverged", "not_run"};
    return (size_t)reason < sizeof names / sizeof *names ? names[reason] : "unknown";
}

const char *bl_relax_method_name(enum bl_relax_method method)
{
    static const char *const names[] = {"auto", "fire", "lbfgs", "cg"};
    return (size_t)method < sizeof names / sizeof *names ? names[method] : "unknown";
}

void bl_relax_options_init(struct bl_relax_options *options) { *options = (struct bl_relax_options){.level = BL_LEVEL_DEFAULT}; }

/* ---- options ------------------------------------------------------------------------- */

struct level {
    double fmax, smax_gpa;
    uint64_t max_steps;
    bool cell;
};
static const struct level levels[] = {
    [BL_LEVEL_NONE] = {0.01, 0.1, 1, false},
    [BL_LEVEL_FAST] = {0.05, 0.1, 500, false},
    [BL_LEVEL_DEFAULT] = {0.01, 0.1, 20000, true},
    [BL_LEVEL_TIGHT] = {1e-4, 0.01, 20000, true},
};

static enum bl_status check_numbers(const struct bl_relax_options *o, struct bl_error *err)
{
    if (!isfinite(o->fmax) || o->fmax < 0) return bl_fail_invalid(err, "fmax", "a positive number");
    if (!isfinite(o->smax_gpa) || o->smax_gpa < 0) return bl_fail_invalid(err, "smax", "a positive number");
    if (!isfinite(o->max_move) || o->max_move < 0) return bl_fail_invalid(err, "max_move", "a positive number");
    for (int k = 0; k < 6; k++)
        if (!(fabs(o->stress_gpa[k]) <= 1e6)) return bl_fail_invalid(err, "stress", "finite numbers of GPa, at most 1e6");
    return BL_OK;
}

static enum bl_status check_cell(const struct bl_structure *s, const struct bl_relax_options *o, bool free, struct bl_error *err)
{
    const bool periodic = s->pbc[0] && s->pbc[1] && s->pbc[2];
    bool loaded = false, skewed = false, all_held = true;
    for (int k = 0; k < 6; k++) {
        loaded = loaded || o->stress_gpa[k] != 0;
        skewed = skewed || o->stress_gpa[k] != (k < 3 ? o->stress_gpa[0] : 0);
        all_held = all_held && o->held[k];
    }
    if (!free && loaded) return bl_fail_invalid(err, "stress", "a target needs a cell that is free to change");
    if (!free) return BL_OK;
    if (!periodic) return bl_fail_invalid(err, "cell", "only a cell that is periodic in all directions can be relaxed");
    if (all_held) return bl_fail_invalid(err, "cell", "every component is held");
    if (o->cell == BL_CELL_ISOTROPIC && skewed) return bl_fail_invalid(err, "stress", "an isotropic cell takes a pressure only");
    return BL_OK;
}

static enum bl_status plan(const struct bl_structure *s, const struct bl_relax_options *o, struct bl_landscape *l, struct bl_error *err)
{
    if (o->level == BL_LEVEL_SEARCH) return bl_fail_unsupported(err, "level search");
    if (o->level > BL_LEVEL_SEARCH) return bl_fail_invalid(err, "level", "none, fast, default or tight");
    if (o->method > BL_METHOD_CG) return bl_fail_invalid(err, "method", "auto, fire, lbfgs or cg");
    if (o->cell > BL_CELL_ISOTROPIC) return bl_fail_invalid(err, "cell", "fixed, free or isotropic");
    if (s->atoms == 0) return bl_fail_invalid(err, "structure", "no atoms");
    const struct level *level = &levels[o->level];
    const bool by_level = o->cell == BL_CELL_BY_LEVEL, periodic = s->pbc[0] && s->pbc[1] && s->pbc[2];
    const bool free = by_level ? level->cell && periodic : o->cell != BL_CELL_FIXED;
    enum bl_status status = check_numbers(o, err);
    if (status == BL_OK) status = check_cell(s, o, free, err);
    if (status != BL_OK) return status;
    l->mode = !free ? BL_CELL_FIXED : by_level ? BL_CELL_FREE : o->cell;
    l->fmax = o->fmax > 0 ? o->fmax : level->fmax;
    l->smax = (o->smax_gpa > 0 ? o->smax_gpa : level->smax_gpa) / BL_GPA;
    l->m.max_steps = o->max_steps > 0 ? o->max_steps : level->max_steps;
    for (int k = 0; k < 6; k++) {
        l->held[k] = l->mode == BL_CELL_FREE && o->held[k];
        l->target[k] = o->stress_gpa[k] / BL_GPA;
    }
    return BL_OK;
}

/* ---- stages ------------------------------------------------------------------------------ */

static enum bl_status descend_auto(struct bl_landscape *l, enum bl_relax_level level, enum bl_relax_reason *reason, struct bl_error *err)
{
    struct bl_minimiser *m = &l->m;
    if (level == BL_LEVEL_FAST) return bl_minimise_fire(m, reason, err);
    enum bl_status status = BL_OK;
    *reason = BL_RELAX_CONVERGED;
    if (level == BL_LEVEL_DEFAULT) {
        struct bl_scales scales;
        bl_engine_scales(l->engine, &scales);
        m->enough = fmax(10, nearly * scales.curvature * scales.length / l->fmax);
        status = bl_minimise_fire(m, reason, err);
        m->enough = 1;
    }
    if (status != BL_OK || *reason == BL_RELAX_MAX_STEPS || *reason == BL_RELAX_DIVERGED) return status;
    status = bl_minimise_lbfgs(m, reason, err);
    if (status != BL_OK || *reason == BL_RELAX_CONVERGED || *reason == BL_RELAX_MAX_STEPS) return status;
    /* Energies that jump (a cut-off without a shift) stop a line search; FIRE looks at forces only. */
    if (*reason == BL_RELAX_DIVERGED) {
        bl_landscape_use_best(l);
        status = bl_minimise_step(m, reason, err);
        if (status != BL_OK) return status;
    }
    return bl_minimise_fire(m, reason, err);
}

static enum bl_status descend(struct bl_landscape *l, const struct bl_relax_options *o, enum bl_relax_reason *reason,
        struct bl_error *err)
{
    switch (o->method) {
    case BL_METHOD_FIRE: return bl_minimise_fire(&l->m, reason, err);
    case BL_METHOD_LBFGS: return bl_minimise_lbfgs(&l->m, reason, err);
    case BL_METHOD_CG: return bl_minimise_cg(&l->m, reason, err);
    default: return descend_auto(l, o->level, reason, err);
    }
}

/* At a minimum under strain the Cauchy stress may not be the target yet: from there again, unstrained. */
static enum bl_status iterate(struct bl_landscape *l, const struct bl_relax_options *o, enum bl_relax_reason *reason,
        struct bl_error *err)
{
    for (int round = 0;; round++) {
        enum bl_status status = descend(l, o, reason, err);
        if (status != BL_OK || *reason != BL_RELAX_CONVERGED || !bl_landscape_strained(l)) return status;
        status = bl_landscape_rebase(l, err);
        if (status != BL_OK || l->m.measure <= 1) return status;
        if (round == REBASES_MAX) {
            *reason = BL_RELAX_STAGNATED;
            return BL_OK;
        }
    }
}

/* ---- the run ------------------------------------------------------------------------- */

/* The state that is given back: converged and exhausted runs their last, diverged ones where they began, the others their
 * best. Its forces are made anew, those on fixed atoms too. */
static enum bl_status settle(struct bl_landscape *l, enum bl_relax_reason reason, struct bl_relax_result *out, struct bl_error *err)
{
    struct bl_minimiser *m = &l->m;
    const bool last_is_good = reason == BL_RELAX_CONVERGED || reason == BL_RELAX_NOT_RUN ||
                              (reason == BL_RELAX_MAX_STEPS && m->value <= m->value_before);
    if (!last_is_good) {
        if (reason == BL_RELAX_DIVERGED) bl_landscape_use_first(l);
        else bl_landscape_use_best(l);
        enum bl_status status = l->mode == BL_CELL_FIXED ? BL_OK : bl_engine_set_cell(l->engine, l->cell, err);
        if (status == BL_OK) status = m->evaluate(m, err); /* for the stress */
        if (status != BL_OK) return status;
    }
    l->now.forces = l->forces;
    const enum bl_status status = bl_engine_compute(m->ctx, l->engine, l->positions, BL_WANT_FORCES | BL_WANT_ENERGY | BL_WANT_VIRIAL,
            &l->now, err);
    if (status != BL_OK) return status;
    out->reason = reason;
    out->energy = l->now.energy;
    out->max_stress_gpa = l->max_stress * BL_GPA;
    memcpy(out->virial, l->now.virial, sizeof out->virial);
    return BL_OK;
}

static enum bl_status run(struct bl_landscape *l, const struct bl_relax_options *o, struct bl_relax_result *out, struct bl_error *err)
{
    enum bl_status status = bl_minimise_begin(&l->m, err);
    if (status != BL_OK) return status;
    *out = (struct bl_relax_result){.energy_before = l->now.energy, .max_force_before = l->max_force,
            .cell_relaxed = o->level != BL_LEVEL_NONE && l->mode != BL_CELL_FIXED};
    enum bl_relax_reason reason = BL_RELAX_NOT_RUN;
    if (o->level != BL_LEVEL_NONE) status = iterate(l, o, &reason, err);
    if (status == BL_OK) status = settle(l, reason, out, err);
    out->steps = l->m.steps;
    return status;
}

/* What the caller sees changes here and only here. */
static enum bl_status publish(struct bl_landscape *l, struct bl_structure *s, const struct bl_relax_result *result,
        struct bl_relax_result *out, struct bl_error *err)
{
    const size_t bytes = 3 * s->atoms * sizeof(double);
    const enum bl_status status = bl_structure_add(s, &s->forces, 3, sizeof(double), err);
    if (status != BL_OK) return status;
    *out = *result;
    bl_drop_stale_info(s);
    if (result->reason != BL_RELAX_NOT_RUN) memcpy(s->positions, l->positions, bytes);
    if (result->cell_relaxed) memcpy(s->cell, l->cell, sizeof s->cell);
    out->loaded = false;
    for (int k = 0; k < 6; k++) out->loaded = out->loaded || l->target[k] != 0;
    out->enthalpy_before = out->loaded ? l->m.value_before : out->energy_before;
    out->enthalpy = out->loaded ? l->m.value : out->energy;
    memcpy(s->forces, l->forces, bytes);
    bl_clear_fixed(NULL, s, l->forces);
    out->max_force = bl_largest_force(NULL, l->forces, s->atoms);
    return BL_OK;
}

enum bl_status bl_relax(struct bl_ctx *ctx, struct bl_structure *s, const struct bl_potential *potential,
                        const struct bl_relax_options *options, struct bl_relax_result *out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct bl_relax_options o;
    bl_relax_options_init(&o);
    if (options) o = *options;
    struct bl_landscape l = {.s = s, .quiet = o.quiet};
    struct bl_engine *engine;
    enum bl_status status = plan(s, &o, &l, err);
    if (status == BL_OK) status = bl_engine_new(ctx, s, potential, NULL, &engine, err);
    if (status != BL_OK) return status;
    status = bl_landscape_init(&l, ctx, engine, s, o.max_move, err);
    if (status == BL_OK) {
        struct bl_relax_result result;
        status = run(&l, &o, &result, err);
        if (status == BL_OK) status = publish(&l, s, &result, out, err);
        bl_landscape_clear(&l);
    }
    bl_engine_free(engine);
    return status;
}
