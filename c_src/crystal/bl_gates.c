/* SPDX-License-Identifier: Apache-2.0
 *
 * Gates: named checks with value, threshold and unit. What was not run says so, and then
 * the verdict is unknown; it is never guessed.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bl_landscape.h"

const char *bl_gate_name(enum bl_gate_name name)
{
    static const char *const names[] = {"geometry", "equilibrium", "energy", "elastic", "dynamic", "thermodynamic"};
    return (size_t)name < BL_GATE_COUNT ? names[name] : "unknown";
}

const char *bl_verdict_name(enum bl_verdict verdict)
{
    static const char *const names[] = {"unknown", "stable", "metastable", "unstable"};
    return (size_t)verdict < sizeof names / sizeof *names ? names[verdict] : "unknown";
}

void bl_verify_options_init(struct bl_verify_options *options)
{
    *options = (struct bl_verify_options){.min_distance = 0};
    bl_elastic_options_init(&options->elastic_options);
}

static void decide(struct bl_gate *g, bool pass, const char *why, ...) BL_PRINTF(3, 4);
static void decide(struct bl_gate *g, bool pass, const char *why, ...)
{
    g->pass = pass ? BL_GATE_PASSED : BL_GATE_FAILED;
    g->why[0] = '\0';
    if (pass) return;
    va_list args;
    va_start(args, why);
    vsnprintf(g->why, sizeof g->why, why, args);
    va_end(args);
}

/* ---- geometry ---------------------------------------------------------------------- */

/* Half the covalent radius of each species, or half the distance that was given: two of them are the distance two
 * species must keep. To be freed. */
static enum bl_status allowances(struct bl_quota *quota, const struct bl_structure *s, double given, double **out, double *largest,
                                 struct bl_error *err)
{
    double *half = bl_alloc_array(quota, s->species_count, sizeof *half, err);
    if (!half) return bl_alloc_status(err);
    *largest = 0;
    for (size_t a = 0; a < s->species_count; a++) {
        half[a] = given > 0 ? 0.5 * given : 0.5 * fmax(bl_elements[bl_element_number(s->species[a])].radius_angstrom, 0);
        *largest = fmax(*largest, 2 * half[a]);
    }
    *out = half;
    return BL_OK;
}

/* The pair that is closest by its own measure: the value, and its atoms from 1. */
static enum bl_status closest(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_neighbours *list, const double *half,
                              double *value, size_t at[2], struct bl_error *err)
{
    size_t work = 0;
    for (size_t i = 0; i < s->atoms; i++) {
        for (uint64_t k = list->first[i]; k < list->first[i + 1]; k++) {
            const size_t j = list->other[k];
            const enum bl_status status = bl_poll_work(ctx, &work, 1, err);
            if (status != BL_OK) return status;
            const double r = sqrt(bl_dot(list->vector[k], list->vector[k])), allowed = half[s->types[i]] + half[s->types[j]];
            if (!(allowed > 0) || !(r / allowed < *value)) continue;
            *value = r / allowed;
            at[0] = i + 1;
            at[1] = j + 1;
        }
    }
    return BL_OK;
}

/* Every pair is compared with its own allowance: value is the smallest ratio. */
static enum bl_status gate_geometry(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_verify_options *o,
                                    struct bl_gate *g, struct bl_error *err)
{
    *g = (struct bl_gate){.name = BL_GATE_GEOMETRY, .quantity = "shortest distance / allowed distance", .threshold = 1, .unit = "1",
            .value = INFINITY};
    struct bl_error why;
    if (bl_structure_check(s, &why) != BL_OK) {
        g->value = 0;
        decide(g, false, "%s: %s", why.subject, why.text);
        return BL_OK;
    }
    double largest = 0, *half = NULL;
    enum bl_status status = allowances(bl_ctx_quota(ctx), s, o->min_distance, &half, &largest, err);
    if (status != BL_OK) return status;
    if (!(largest > 0)) {
        g->pass = BL_GATE_NOT_RUN;
        snprintf(g->why, sizeof g->why, "no covalent radius is known for these species: give min_distance");
        bl_free(half);
        return BL_OK;
    }
    struct bl_neighbours list;
    size_t at[2] = {0, 0};
    status = bl_neighbours_find(ctx, s, 2 * largest, NULL, &list, err);
    if (status == BL_OK) {
        status = closest(ctx, s, &list, half, &g->value, at, err);
        bl_neighbours_clear(&list);
    }
    bl_free(half);
    if (status != BL_OK) return status;
    decide(g, g->value >= g->threshold, "atoms %zu and %zu are too close", at[0], at[1]);
    /* Nobody within twice the allowance: at least that. */
    if (!isfinite(g->value)) g->value = 2;
    return BL_OK;
}

/* ---- equilibrium and energy ------------------------------------------------------------ */

static bool periodic(const struct bl_structure *s) { return s->pbc[0] && s->pbc[1] && s->pbc[2]; }

static double target_pressure(const struct bl_verify_options *o)
{
    return -(o->stress_gpa[0] + o->stress_gpa[1] + o->stress_gpa[2]) / 3 / BL_GPA;
}

static void judge_state(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_verify_options *o, const struct bl_energies *e,
                        struct bl_verified *v)
{
    bl_clear_fixed(ctx, s, e->forces);
    v->max_force = bl_largest_force(ctx, e->forces, s->atoms);
    v->energy = e->energy;
    if (!periodic(s)) return;
    const double volume = fabs(bl_structure_volume(s));
    for (int k = 0; k < 6; k++) v->max_stress_gpa = fmax(v->max_stress_gpa, fabs(e->virial[k] / volume * BL_GPA + o->stress_gpa[k]));
}

static enum bl_status compute(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *potential,
                              const struct bl_verify_options *o, struct bl_verified *v, struct bl_error *err)
{
    struct bl_engine *engine;
    enum bl_status status = bl_engine_new(ctx, s, potential, NULL, &engine, err);
    if (status != BL_OK) return status;
    struct bl_energies e = {.forces = bl_alloc_array(bl_ctx_quota(ctx), 3 * s->atoms, sizeof(double), err)};
    if (!e.forces) {
        bl_engine_free(engine);
        return bl_alloc_status(err);
    }
    status = bl_engine_compute(ctx, engine, s->positions, BL_WANT_FORCES | BL_WANT_ENERGY | BL_WANT_VIRIAL, &e, err);
    if (status == BL_OK) {
        judge_state(ctx, s, o, &e, v);
        status = bl_ctx_check(ctx, err);
    } else if (status == BL_INVALID) { /* overlapping atoms: an answer of the gate */
        v->energy = v->max_force = v->max_stress_gpa = INFINITY;
        status = BL_OK;
    }
    bl_free(e.forces);
    bl_engine_free(engine);
    return status;
}

static void gate_equilibrium(const struct bl_verify_options *o, struct bl_verified *v)
{
    struct bl_gate *g = &v->gates[BL_GATE_EQUILIBRIUM];
    *g = (struct bl_gate){.name = BL_GATE_EQUILIBRIUM, .quantity = "largest force on an atom", .unit = "eV/angstrom",
            .value = v->max_force};
    g->threshold = o->fmax > 0 ? o->fmax : 0.01;
    decide(g, v->max_force <= g->threshold, isfinite(v->max_force) ? "not at a minimum" : "forces are not finite");
    if (g->pass == BL_GATE_FAILED || !o->has_smax) return;
    if (v->max_stress_gpa <= o->smax_gpa) return;
    *g = (struct bl_gate){.name = BL_GATE_EQUILIBRIUM, .quantity = "largest stress beside the target", .unit = "GPa",
            .value = v->max_stress_gpa, .threshold = o->smax_gpa};
    decide(g, false, "the cell is not at a minimum");
}

static void gate_energy(const struct bl_structure *s, const struct bl_verify_options *o, struct bl_verified *v)
{
    struct bl_gate *g = &v->gates[BL_GATE_ENERGY];
    *g = (struct bl_gate){.name = BL_GATE_ENERGY, .quantity = "energy above the start", .unit = "eV", .pass = BL_GATE_NOT_RUN};
    snprintf(g->why, sizeof g->why, "neither energy_before nor reference_energy was given");
    if (o->has_energy_before) {
        g->value = v->energy + target_pressure(o) * fabs(bl_structure_volume(s)) - o->energy_before;
        g->threshold = o->energy_tolerance;
        decide(g, g->value <= g->threshold, "the energy went up");
    }
    if (o->has_reference && g->pass != BL_GATE_FAILED) {
        g->quantity = "energy above the reference, per atom";
        g->unit = "eV/atom";
        g->value = v->energy / (double)s->atoms - o->reference_energy;
        g->threshold = o->stability_threshold;
        decide(g, g->value <= g->threshold, "a better state is known");
    }
}

/* ---- elastic ----------------------------------------------------------------------------- */

static enum bl_status gate_elastic(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *potential,
                                   const struct bl_verify_options *o, struct bl_verified *v, struct bl_error *err)
{
    struct bl_gate *g = &v->gates[BL_GATE_ELASTIC];
    *g = (struct bl_gate){.name = BL_GATE_ELASTIC, .quantity = "smallest eigenvalue of the elastic tensor", .unit = "GPa",
            .pass = BL_GATE_NOT_RUN};
    const char *why = !o->elastic ? "not asked for" : !periodic(s) ? "not periodic in all directions" : NULL;
    if (!why && v->gates[BL_GATE_GEOMETRY].pass == BL_GATE_FAILED) why = "the geometry failed";
    if (!why && !isfinite(v->max_force)) why = "forces are not finite";
    if (why) {
        snprintf(g->why, sizeof g->why, "%s", why);
        return BL_OK;
    }
    const enum bl_status status = bl_elastic_constants(ctx, s, potential, &o->elastic_options, &v->elastic, err);
    if (status != BL_OK) return status;
    if (!v->elastic.known) {
        memcpy(g->why, v->elastic.why, sizeof g->why);
        return BL_OK;
    }
    g->value = v->elastic.eigenvalues[0];
    decide(g, v->elastic.stable, "Born: some strain lowers the energy");
    if (v->elastic.stable && g->value < 1) snprintf(g->why, sizeof g->why, "soft: below 1 GPa");
    return BL_OK;
}

static void gates_not_built(struct bl_verified *v)
{
    static const char *const quantities[] = {"lowest squared frequency", "energy above the hull"}, *const units[] = {"THz^2", "eV/atom"};
    for (int i = 0; i < 2; i++) {
        struct bl_gate *g = &v->gates[BL_GATE_DYNAMIC + i];
        *g = (struct bl_gate){.name = (enum bl_gate_name)(BL_GATE_DYNAMIC + i), .quantity = quantities[i], .unit = units[i],
                .pass = BL_GATE_NOT_RUN};
        snprintf(g->why, sizeof g->why, "not built yet");
    }
}

static enum bl_verdict verdict_of(const struct bl_verified *v, const struct bl_verify_options *o)
{
    bool all = true;
    for (int i = 0; i < BL_GATE_COUNT; i++) {
        if (v->gates[i].pass == BL_GATE_FAILED) return BL_VERDICT_UNSTABLE;
        all = all && v->gates[i].pass == BL_GATE_PASSED;
    }
    if (!all) return BL_VERDICT_UNKNOWN;
    return o->has_reference && v->gates[BL_GATE_ENERGY].value > 0 ? BL_VERDICT_METASTABLE : BL_VERDICT_STABLE;
}

enum bl_status bl_verify(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *potential,
                         const struct bl_verify_options *options, struct bl_verified *out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct bl_verify_options o;
    bl_verify_options_init(&o);
    if (options) o = *options;
    if (s->atoms == 0) return bl_fail_invalid(err, "structure", "no atoms");
    struct bl_verified v = {.passed = false};
    enum bl_status status = gate_geometry(ctx, s, &o, &v.gates[BL_GATE_GEOMETRY], err);
    if (status == BL_OK) status = compute(ctx, s, potential, &o, &v, err);
    if (status != BL_OK) return status;
    gate_equilibrium(&o, &v);
    gate_energy(s, &o, &v);
    status = gate_elastic(ctx, s, potential, &o, &v, err);
    if (status != BL_OK) return status;
    gates_not_built(&v);
    v.verdict = verdict_of(&v, &o);
    v.passed = v.gates[BL_GATE_GEOMETRY].pass == BL_GATE_PASSED && v.gates[BL_GATE_EQUILIBRIUM].pass == BL_GATE_PASSED &&
               v.gates[BL_GATE_ENERGY].pass == BL_GATE_PASSED && v.verdict != BL_VERDICT_UNSTABLE;
    *out = v;
    return BL_OK;
}
