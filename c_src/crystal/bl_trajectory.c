/* SPDX-License-Identifier: Apache-2.0
 *
 * Newton's equations at constant energy by velocity Verlet (Swope et al., J. Chem. Phys. 76, 637 (1982)):
 *     v += dt/2 f/m;  x += dt v;  f = f(x);  v += dt/2 f/m
 * reversible, second order in dt, and each coordinate for itself: no result depends on the number of threads.
 */
#include <math.h>
#include <string.h>

#include "bl_landscape.h"

enum { MOVE_GRAIN = 2048 }; /* atoms that a thread takes at a time */

/* One eV/angstrom on one amu, in angstrom/fs^2; and eV of one amu (angstrom/fs)^2 (CODATA 2018). */
static const double acceleration = 0.00964853321233100184, boltzmann = 8.617333262e-5;

struct flight {
    struct bl_ctx *ctx;
    struct bl_engine *engine;
    const struct bl_structure *s;
    const struct bl_trajectory_options *o;
    double *x, *v;          /* 3N */
    double *push;           /* N: dt/2 times acceleration / mass */
    double reach2;          /* (farthest move of a step / dt)^2 */
    double first_energy;    /* potential + kinetic */
    struct bl_energies now; /* forces: 3N, along fixed axes 0 */
    double *memory;
};

void bl_trajectory_options_init(struct bl_trajectory_options *options)
{
    *options = (struct bl_trajectory_options){.steps = 1000, .dt_fs = 1, .temperature_kelvin = -1, .energy_every = 100, .seed = 1};
}

static enum bl_status check_options(const struct bl_structure *s, const struct bl_trajectory_options *o, struct bl_error *err)
{
    if (s->atoms == 0) return bl_fail_invalid(err, "structure", "no atoms");
    if (!(o->dt_fs > 0) || !(o->dt_fs <= 1e6)) return bl_fail_invalid(err, "dt", "a positive number of fs, at most 1e6");
    if (!(fabs(o->temperature_kelvin) <= 1e9)) return bl_fail_invalid(err, "temperature", "a number of kelvin, at most 1e9");
    return BL_OK;
}

/* ---- masses, velocities ------------------------------------------------------------------------ */

static enum bl_status mass_of(const struct bl_structure *s, size_t i, double *out, struct bl_error *err)
{
    const char *symbol = s->species[s->types[i]];
    const double mass = s->masses ? s->masses[i] : bl_elements[bl_element_number(symbol)].mass_amu;
    if (s->masses && (!(mass > 0) || !isfinite(mass))) return bl_fail_invalid(err, "masses", "atom %zu: a positive number", i + 1);
    if (!(mass > 0)) return bl_fail_invalid(err, "masses", "the mass of %s is not known", symbol);
    *out = mass;
    return BL_OK;
}

static bool is_fixed(const struct bl_structure *s, size_t i, unsigned axis) { return s->fixed && (s->fixed[i] & (1u << axis)); }

static double mass_at(const struct flight *t, size_t i) { return 0.5 * t->o->dt_fs * acceleration / t->push[i]; }

static size_t free_axes(const struct bl_structure *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->atoms; i++)
        for (unsigned k = 0; k < 3; k++) n += !is_fixed(s, i, k);
    return n;
}

/* The drift of the whole is no heat, where nothing holds it. */
static size_t degrees_of_freedom(const struct bl_structure *s)
{
    const size_t n = free_axes(s);
    return n == 3 * s->atoms && s->atoms > 1 ? n - 3 : n;
}

static double kinetic_energy(const struct flight *t)
{
    double sum = 0;
    for (size_t i = 0; i < t->s->atoms; i++) {
        const double *v = t->v + 3 * i;
        sum += mass_at(t, i) * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    }
    return 0.5 * sum / acceleration;
}

static double temperature(const struct flight *t, double kinetic)
{
    const size_t n = degrees_of_freedom(t->s);
    return n > 0 ? 2 * kinetic / ((double)n * boltzmann) : 0;
}

static void stop_drift(const struct flight *t)
{
    double momentum[3] = {0}, mass = 0;
    for (size_t i = 0; i < t->s->atoms; i++) {
        for (size_t k = 0; k < 3; k++) momentum[k] += mass_at(t, i) * t->v[3 * i + k];
        mass += mass_at(t, i);
    }
    for (size_t i = 0; i < t->s->atoms; i++)
        for (size_t k = 0; k < 3; k++) t->v[3 * i + k] -= momentum[k] / mass;
}

/* Maxwell and Boltzmann's distribution without drift, scaled to the temperature itself. */
static void draw_velocities(const struct flight *t)
{
    const struct bl_structure *s = t->s;
    uint64_t state = t->o->seed;
    for (size_t i = 0; i < s->atoms; i++) {
        const double width = 1 / sqrt(mass_at(t, i));
        for (unsigned k = 0; k < 3; k++) {
            const double deviate = width * bl_normal(&state); /* drawn for fixed axes, too: the others are then the same */
            t->v[3 * i + k] = is_fixed(s, i, k) ? 0 : deviate;
        }
    }
    if (degrees_of_freedom(s) < free_axes(s)) stop_drift(t);
    const double drawn = temperature(t, kinetic_energy(t)), scale = drawn > 0 ? sqrt(t->o->temperature_kelvin / drawn) : 0;
    for (size_t i = 0; i < 3 * s->atoms; i++) t->v[i] *= scale;
}

static enum bl_status set_off(struct flight *t, struct bl_error *err)
{
    const struct bl_structure *s = t->s;
    for (size_t i = 0; i < s->atoms; i++) {
        double mass = 0;
        enum bl_status status = mass_of(s, i, &mass, err);
        if (status == BL_OK && i % BL_POLL_ATOMS == 0) status = bl_ctx_check(t->ctx, err);
        if (status != BL_OK) return status;
        t->push[i] = 0.5 * t->o->dt_fs * acceleration / mass;
        if (!(t->push[i] > 0) || !isfinite(t->push[i])) return bl_fail_invalid(err, "masses", "atom %zu: out of range", i + 1);
    }
    memcpy(t->x, s->positions, 3 * s->atoms * sizeof(double));
    if (t->o->temperature_kelvin >= 0) draw_velocities(t);
    else if (s->velocities) memcpy(t->v, s->velocities, 3 * s->atoms * sizeof(double));
    else memset(t->v, 0, 3 * s->atoms * sizeof(double));
    bl_clear_fixed(t->ctx, s, t->v);
    return bl_ctx_check(t->ctx, err);
}

/* ---- steps --------------------------------------------------------------------------------------- */

static enum bl_status kick_and_drift(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct flight *t = arg;
    (void)lane;
    for (size_t i = begin; i < end; i++) {
        double *v = t->v + 3 * i, *x = t->x + 3 * i;
        const double *f = t->now.forces + 3 * i, push = t->push[i];
        for (int k = 0; k < 3; k++) v[k] += push * f[k];
        if (!(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] <= t->reach2))
            return bl_fail_invalid(err, "dt", "atom %zu moves farther than the cut-off in one step", i + 1);
        for (int k = 0; k < 3; k++) x[k] += t->o->dt_fs * v[k];
    }
    return BL_OK;
}

static enum bl_status kick(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct flight *t = arg;
    (void)lane, (void)err;
    for (size_t i = begin; i < end; i++)
        for (size_t k = 0; k < 3; k++) t->v[3 * i + k] += t->push[i] * t->now.forces[3 * i + k];
    return BL_OK;
}

static enum bl_status forces(struct flight *t, unsigned want, struct bl_error *err)
{
    const enum bl_status status = bl_engine_compute(t->ctx, t->engine, t->x, want | BL_WANT_FORCES, &t->now, err);
    if (status != BL_OK) return status;
    bl_clear_fixed(t->ctx, t->s, t->now.forces);
    return bl_ctx_check(t->ctx, err);
}

static enum bl_status step(struct flight *t, unsigned want, struct bl_error *err)
{
    enum bl_status status = bl_parallel_for(t->ctx, t->s->atoms, MOVE_GRAIN, kick_and_drift, t, err);
    if (status == BL_OK) status = forces(t, want, err);
    if (status == BL_OK) status = bl_parallel_for(t->ctx, t->s->atoms, MOVE_GRAIN, kick, t, err);
    return status;
}

static void take_sample(const struct flight *t, struct bl_trajectory_result *out)
{
    out->potential_energy = t->now.energy;
    out->kinetic_energy = kinetic_energy(t);
    out->temperature_kelvin = temperature(t, out->kinetic_energy);
    out->drift = fmax(out->drift, fabs(out->potential_energy + out->kinetic_energy - t->first_energy));
}

static void report(struct flight *t, const struct bl_trajectory_result *now)
{
    const struct bl_field fields[] = {
        {"step", BL_FIELD_INT, {.i = (int64_t)now->steps}},
        {"energy", BL_FIELD_FLOAT, {.f = now->potential_energy}},
        {"kinetic_energy", BL_FIELD_FLOAT, {.f = now->kinetic_energy}},
        {"temperature", BL_FIELD_FLOAT, {.f = now->temperature_kelvin}},
    };
    bl_ctx_progress(t->ctx, fields, 4);
}

static enum bl_status fly(struct flight *t, struct bl_trajectory_result *out, struct bl_error *err)
{
    enum bl_status status = forces(t, BL_WANT_ENERGY | BL_WANT_VIRIAL, err);
    if (status != BL_OK) return status;
    out->potential_energy_before = t->now.energy;
    out->kinetic_energy_before = kinetic_energy(t);
    t->first_energy = out->potential_energy_before + out->kinetic_energy_before;
    take_sample(t, out);
    while (out->steps < t->o->steps) {
        const uint64_t next = out->steps + 1;
        const bool last = next == t->o->steps, due = bl_ctx_progress_due(t->ctx);
        const bool sample = last || due || (t->o->energy_every > 0 && next % t->o->energy_every == 0);
        status = step(t, (sample ? BL_WANT_ENERGY : 0u) | (last ? BL_WANT_VIRIAL : 0u), err);
        if (status != BL_OK) return status;
        out->steps = next;
        if (sample) take_sample(t, out);
        if (due) report(t, out);
    }
    return BL_OK;
}

/* ---- the run --------------------------------------------------------------------------------------- */

/* What the caller sees changes here and only here. */
static enum bl_status publish(const struct flight *t, struct bl_structure *s, struct bl_error *err)
{
    const size_t bytes = 3 * s->atoms * sizeof(double);
    const bool had = s->forces != NULL;
    enum bl_status status = bl_structure_add(s, &s->forces, 3, sizeof(double), err);
    if (status != BL_OK) return status;
    status = bl_structure_add(s, &s->velocities, 3, sizeof(double), err);
    if (status != BL_OK) {
        if (!had) {
            bl_free(s->forces);
            s->forces = NULL;
        }
        return status;
    }
    bl_drop_stale_info(s);
    memcpy(s->positions, t->x, bytes);
    memcpy(s->velocities, t->v, bytes);
    memcpy(s->forces, t->now.forces, bytes);
    return BL_OK;
}

static enum bl_status prepare(struct flight *t, const struct bl_potential *potential, struct bl_error *err)
{
    struct bl_scales scales;
    const size_t n = t->s->atoms;
    enum bl_status status = bl_engine_new(t->ctx, t->s, potential, t->o->engine, &t->engine, err);
    if (status != BL_OK) return status;
    bl_engine_scales(t->engine, &scales);
    t->reach2 = scales.cutoff / t->o->dt_fs * (scales.cutoff / t->o->dt_fs);
    t->memory = bl_alloc_array(bl_ctx_quota(t->ctx), n, 10 * sizeof(double), err);
    if (!t->memory) return bl_alloc_status(err);
    t->x = t->memory;
    t->v = t->x + 3 * n;
    t->now.forces = t->v + 3 * n;
    t->push = t->now.forces + 3 * n;
    return set_off(t, err);
}

enum bl_status bl_trajectory(struct bl_ctx *ctx, struct bl_structure *s, const struct bl_potential *potential,
                             const struct bl_trajectory_options *options, struct bl_trajectory_result *out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct bl_trajectory_options o;
    bl_trajectory_options_init(&o);
    if (options) o = *options;
    struct flight t = {.ctx = ctx, .s = s, .o = &o};
    struct bl_trajectory_result result = {.steps = 0};
    enum bl_status status = check_options(s, &o, err);
    if (status == BL_OK) status = prepare(&t, potential, err);
    if (status == BL_OK) status = fly(&t, &result, err);
    if (status == BL_OK) status = publish(&t, s, err);
    if (status == BL_OK) {
        memcpy(result.virial, t.now.virial, sizeof result.virial);
        *out = result;
    }
    bl_free(t.memory);
    bl_engine_free(t.engine);
    return status;
}
