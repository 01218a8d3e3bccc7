/* SPDX-License-Identifier: Apache-2.0
 *
 * FIRE 2.0 (Guénolé et al., Comput. Mater. Sci. 175, 109584 (2020)) at fixed cell: semi-implicit
 * Euler steps of unit mass, velocities turned towards the force, time step grown while the
 * power P = F.v stays positive; on P <= 0 half a step back and a stop.
 *
 * Nothing here knows a unit. Time steps come from the curvature kappa of a pair at its
 * minimum: the stiffest mode of a crystal with z neighbours has about omega^2 = z kappa
 * (fcc Lennard-Jones: 12.6 kappa, diamond Stillinger-Weber: 3.9 kappa), and the scheme is
 * stable for omega dt < 2. The largest move comes from the potential's length.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "bl_crystal.h"

enum { DELAY_STEPS = 20, UPHILL_MAX = 2000, STAGNATION_STEPS = 2000 };
static const double grow = 1.1, shrink = 0.5, alpha_start = 0.25, alpha_shrink = 0.99;

struct fire {
    struct bl_ctx *ctx;
    struct bl_engine *engine;
    struct bl_structure *s;
    double *x, *v, *f, *best; /* 3N each; best: positions of the lowest largest force that went downhill */
    struct bl_energies now;
    double max_force, fmax, max_move;
    double dt, dt_min, dt_max, alpha;
    uint64_t steps, max_steps, downhill, uphill;
    double energy_before, max_force_before;
    double best_energy, best_force, mark_energy, mark_force;
    uint64_t best_step, mark_step;
    struct bl_energies best_now;
};

const char *bl_relax_reason_name(enum bl_relax_reason reason)
{
    static const char *const names[] = {"converged", "max_steps", "stagnated", "diverged", "not_run"};
    return (size_t)reason < sizeof names / sizeof *names ? names[reason] : "unknown";
}

void bl_relax_options_init(struct bl_relax_options *options) { *options = (struct bl_relax_options){.level = BL_LEVEL_DEFAULT}; }

/* ---- forces ---------------------------------------------------------------------- */

static void clear_fixed(const struct bl_structure *s, double *f)
{
    for (size_t i = 0; s->fixed && i < s->atoms; i++)
        for (unsigned k = 0; k < 3; k++)
            if (s->fixed[i] & (1u << k)) f[3 * i + k] = 0;
}

static double largest_force(const double *f, size_t atoms)
{
    double most = 0;
    for (size_t i = 0; i < 3 * atoms; i += 3) most = fmax(most, f[i] * f[i] + f[i + 1] * f[i + 1] + f[i + 2] * f[i + 2]);
    return sqrt(most);
}

static void report(const struct fire *r)
{
    if (!bl_ctx_progress_due(r->ctx)) return;
    const struct bl_field fields[] = {
        {"step", BL_FIELD_INT, {.i = (int64_t)r->steps}},
        {"energy", BL_FIELD_FLOAT, {.f = r->now.energy}},
        {"max_force", BL_FIELD_FLOAT, {.f = r->max_force}},
    };
    bl_ctx_progress(r->ctx, fields, 3);
}

static enum bl_status force_call(struct fire *r, struct bl_error *err)
{
    r->now.forces = r->f;
    const enum bl_status status = bl_engine_compute(r->ctx, r->engine, r->x, BL_WANT_FORCES | BL_WANT_ENERGY, &r->now, err);
    if (status != BL_OK) return status;
    r->steps++;
    clear_fixed(r->s, r->f);
    r->max_force = largest_force(r->f, r->s->atoms);
    report(r);
    return BL_OK;
}

/* ---- one step --------------------------------------------------------------------- */

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void adapt(struct fire *r, double power)
{
    const size_t n = 3 * r->s->atoms;
    if (power > 0) {
        r->uphill = 0;
        if (++r->downhill > DELAY_STEPS) {
            r->dt = fmin(grow * r->dt, r->dt_max);
            r->alpha *= alpha_shrink;
        }
        return;
    }
    r->downhill = 0;
    r->uphill++;
    if (r->steps > DELAY_STEPS) { /* no shrinking during the initial delay */
        r->dt = fmax(shrink * r->dt, r->dt_min);
        r->alpha = alpha_start;
    }
    for (size_t i = 0; i < n; i++) {
        r->x[i] -= 0.5 * r->dt * r->v[i];
        r->v[i] = 0;
    }
}

static void advance(struct fire *r)
{
    const size_t n = 3 * r->s->atoms;
    for (size_t i = 0; i < n; i++) r->v[i] += r->dt * r->f[i];
    const double ff = dot(r->f, r->f, n), turn = ff > 0 ? r->alpha * sqrt(dot(r->v, r->v, n) / ff) : 0;
    double fastest = 0;
    for (size_t i = 0; i < n; i++) {
        r->v[i] = (1 - r->alpha) * r->v[i] + turn * r->f[i];
        fastest = fmax(fastest, fabs(r->v[i]));
    }
    /* The cap slows the velocities themselves: kept as they are they would outlive the collision
     * that made them, and half a step back would be no small step. */
    const double slow = fastest * r->dt > r->max_move ? r->max_move / (fastest * r->dt) : 1;
    for (size_t i = 0; i < n; i++) {
        r->v[i] *= slow;
        r->x[i] += r->dt * r->v[i];
    }
}

/* ---- when to stop ------------------------------------------------------------------- */

static void keep_best(struct fire *r)
{
    if (r->max_force >= r->best_force || r->now.energy > r->energy_before + 1e-9 * fabs(r->energy_before)) return;
    memcpy(r->best, r->x, 3 * r->s->atoms * sizeof(double));
    r->best_energy = r->now.energy;
    r->best_force = r->max_force;
    r->best_step = r->steps;
}

/* Downhill from the start is the only way a minimiser goes; a step may overshoot a little. */
static bool exploded(const struct fire *r)
{
    const double rise = r->now.energy - r->energy_before;
    return !isfinite(r->now.energy) || !isfinite(r->max_force) ||
           (rise > 0 && rise > 1e-6 * fabs(r->energy_before) && r->max_force > 100 * fmax(r->max_force_before, r->fmax));
}

/* Over STAGNATION_STEPS neither energy nor largest force came down. */
static bool stagnates(struct fire *r)
{
    const bool better = r->now.energy < r->mark_energy - 4 * DBL_EPSILON * fabs(r->mark_energy) || r->max_force < 0.999 * r->mark_force;
    if (better) {
        r->mark_energy = fmin(r->mark_energy, r->now.energy);
        r->mark_force = fmin(r->mark_force, r->max_force);
        r->mark_step = r->steps;
    }
    return r->uphill > UPHILL_MAX || r->steps - r->mark_step > STAGNATION_STEPS;
}

static enum bl_status iterate(struct fire *r, enum bl_relax_reason *reason, struct bl_error *err)
{
    for (;;) {
        keep_best(r);
        if (r->max_force <= r->fmax) *reason = BL_RELAX_CONVERGED;
        else if (r->steps >= r->max_steps) *reason = BL_RELAX_MAX_STEPS;
        else if (exploded(r)) *reason = BL_RELAX_DIVERGED;
        else if (stagnates(r)) *reason = BL_RELAX_STAGNATED;
        else {
            adapt(r, dot(r->f, r->v, 3 * r->s->atoms));
            advance(r);
            const enum bl_status status = force_call(r, err);
            if (status == BL_INVALID) *reason = BL_RELAX_DIVERGED; /* not finite any more */
            else if (status != BL_OK) return status;
            else continue;
        }
        return BL_OK;
    }
}

/* ---- the run ------------------------------------------------------------------------- */

static void choose_steps(struct fire *r, double max_move)
{
    struct bl_scales scales;
    bl_engine_scales(r->engine, &scales);
    const double omega = sqrt(1.06 * scales.neighbours * fmax(scales.curvature, DBL_MIN));
    r->dt_max = 1.4 / omega;
    r->dt = 0.3 * r->dt_max;
    r->dt_min = 0.02 * r->dt;
    r->alpha = alpha_start;
    r->max_move = max_move > 0 ? max_move : 0.1 * scales.length;
}

/* The state that is given back: converged and exhausted runs their last, the others their best. */
static enum bl_status settle(struct fire *r, enum bl_relax_reason reason, struct bl_relax_result *out, struct bl_error *err)
{
    const uint64_t steps = r->steps;
    const bool last_is_good = reason == BL_RELAX_CONVERGED || (reason == BL_RELAX_MAX_STEPS && r->now.energy <= r->energy_before);
    if (!last_is_good) memcpy(r->x, r->best, 3 * r->s->atoms * sizeof(double));
    r->now.forces = r->f;
    const enum bl_status status = bl_engine_compute(r->ctx, r->engine, r->x, BL_WANT_FORCES | BL_WANT_ENERGY | BL_WANT_VIRIAL,
            &r->now, err);
    if (status != BL_OK) return status;
    *out = (struct bl_relax_result){.reason = reason, .steps = steps, .energy_before = r->energy_before,
            .max_force_before = r->max_force_before};
    out->energy = r->now.energy;
    memcpy(out->virial, r->now.virial, sizeof out->virial);
    return BL_OK;
}

static enum bl_status run(struct fire *r, const struct bl_relax_options *o, struct bl_relax_result *out, struct bl_error *err)
{
    const size_t bytes = 3 * r->s->atoms * sizeof(double);
    choose_steps(r, o->max_move);
    memcpy(r->x, r->s->positions, bytes);
    memcpy(r->best, r->s->positions, bytes);
    memset(r->v, 0, bytes);
    enum bl_status status = force_call(r, err);
    if (status != BL_OK) return status;
    r->energy_before = r->mark_energy = r->best_energy = r->now.energy;
    r->max_force_before = r->mark_force = r->max_force;
    r->best_force = INFINITY;
    enum bl_relax_reason reason = BL_RELAX_NOT_RUN;
    if (o->level != BL_LEVEL_NONE) status = iterate(r, &reason, err);
    if (status == BL_OK) status = settle(r, reason, out, err);
    return status;
}

static enum bl_status check_options(const struct bl_structure *s, const struct bl_relax_options *o, struct fire *r, struct bl_error *err)
{
    if (o->level == BL_LEVEL_TIGHT) return bl_fail_unsupported(err, "level tight");
    if (o->level == BL_LEVEL_SEARCH) return bl_fail_unsupported(err, "level search");
    if (o->level > BL_LEVEL_SEARCH) return bl_fail_invalid(err, "level", "none, fast or default");
    if (!isfinite(o->fmax) || o->fmax < 0) return bl_fail_invalid(err, "fmax", "a positive number");
    if (!isfinite(o->max_move) || o->max_move < 0) return bl_fail_invalid(err, "max_move", "a positive number");
    if (s->atoms == 0) return bl_fail_invalid(err, "structure", "no atoms");
    r->fmax = o->fmax > 0 ? o->fmax : o->level == BL_LEVEL_FAST ? 0.05 : 0.01;
    r->max_steps = o->max_steps > 0 ? o->max_steps : o->level == BL_LEVEL_FAST ? 500 : 20000;
    return BL_OK;
}

/* Remarks of the file that were about the old positions. */
static void drop_stale_info(struct bl_structure *s)
{
    static const char *const stale[] = {"energy", "free_energy", "stress", "virial"};
    size_t kept = 0;
    for (size_t i = 0; i < s->info_count; i++) {
        bool drop = false;
        for (size_t k = 0; k < sizeof stale / sizeof *stale; k++) drop = drop || strcmp(s->info[i].key, stale[k]) == 0;
        if (drop) bl_free(s->info[i].key);
        else s->info[kept++] = s->info[i];
    }
    s->info_count = kept;
}

/* What the caller sees changes here and only here. */
static enum bl_status publish(struct fire *r, struct bl_structure *s, const struct bl_relax_result *result,
        struct bl_relax_result *out, struct bl_error *err)
{
    const enum bl_status status = bl_structure_add(s, &s->forces, 3, sizeof(double), err);
    if (status != BL_OK) return status;
    *out = *result;
    drop_stale_info(s);
    if (result->reason != BL_RELAX_NOT_RUN) memcpy(s->positions, r->x, 3 * s->atoms * sizeof(double));
    memcpy(s->forces, r->f, 3 * s->atoms * sizeof(double)); /* all of them: also on fixed atoms */
    clear_fixed(s, r->f);
    out->max_force = largest_force(r->f, s->atoms);
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
    struct fire r = {.ctx = ctx, .s = s};
    enum bl_status status = check_options(s, &o, &r, err);
    if (status == BL_OK) status = bl_engine_new(ctx, s, potential, NULL, &r.engine, err);
    if (status != BL_OK) return status;
    const size_t n = 3 * s->atoms;
    double *room = bl_alloc_array(bl_ctx_quota(ctx), 4 * n, sizeof(double), err);
    if (room) {
        struct bl_relax_result result;
        r.x = room;
        r.v = room + n;
        r.f = room + 2 * n;
        r.best = room + 3 * n;
        status = run(&r, &o, &result, err);
        if (status == BL_OK) status = publish(&r, s, &result, out, err);
    } else {
        status = err->status;
    }
    bl_free(room);
    bl_engine_free(r.engine);
    return status;
}
