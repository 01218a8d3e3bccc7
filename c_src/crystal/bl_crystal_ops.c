/* SPDX-License-Identifier: Apache-2.0
 *
 * The operations: decode the argument map, call the typed API, encode the answer. Keys of an
 * option map that nobody knows are errors, so that a misspelt option is not a default.
 */
#include <math.h>
#include <string.h>

#include "bl_crystal_ops.h"

/* 1 eV per cubic angstrom in GPa (CODATA 2018: 1 eV = 1.602176634e-19 J). */
#define GPA_PER_EV_ANGSTROM3 160.2176634

/* What any crystal operation may be given; each accepts its own subset. */
struct arguments {
    struct bl_term_structure structure;
    struct bl_term_potential potential;
    bool has_structure, has_potential;
    /* energy */
    bool forces, virial, atom_energies;
    /* neighbours */
    double cutoff;
    /* relax */
    struct bl_relax_options relax;
    /* verify */
    struct bl_verify_options verify;
};

enum accepted {
    TAKES_STRUCTURE = 1,
    TAKES_POTENTIAL = 2,
    TAKES_WANTS = 4,
    TAKES_CUTOFF = 8,
    TAKES_RELAX = 16,
    TAKES_VERIFY = 32,
};

static enum bl_status read_level(struct bl_reader *r, enum bl_relax_level *out, struct bl_error *err)
{
    static const char *const names[] = {"none", "fast", "default", "tight", "search"};
    struct bl_span name;
    const enum bl_status status = bl_read_atom(r, &name);
    if (status != BL_OK) return status;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!bl_span_is(&name, names[i])) continue;
        *out = (enum bl_relax_level)i;
        return BL_OK;
    }
    return bl_fail_invalid(err, "level", "none, fast, default, tight or search");
}

static enum bl_status read_positive(struct bl_reader *r, const char *field, double *out, struct bl_error *err)
{
    double value;
    bl_reader_at(r, field);
    const enum bl_status status = bl_read_number(r, &value);
    if (status != BL_OK) return status;
    if (!(value > 0)) return bl_fail_invalid(err, field, "a positive number");
    *out = value;
    return BL_OK;
}

static enum bl_status read_steps(struct bl_reader *r, uint64_t *out, struct bl_error *err)
{
    uint64_t value;
    bl_reader_at(r, "max_steps");
    const enum bl_status status = bl_read_uint(r, &value);
    if (status != BL_OK) return status;
    if (value == 0) return bl_fail_invalid(err, "max_steps", "at least 1");
    *out = value;
    return BL_OK;
}

static enum bl_status read_verify(struct bl_reader *r, struct bl_verify_options *o, const struct bl_span *key, struct bl_error *err)
{
    if (bl_span_is(key, "fmax")) return read_positive(r, "fmax", &o->fmax, err);
    if (bl_span_is(key, "min_distance")) return read_positive(r, "min_distance", &o->min_distance, err);
    bl_reader_at(r, "verify");
    if (bl_span_is(key, "energy_tolerance")) return bl_read_number(r, &o->energy_tolerance);
    if (bl_span_is(key, "stability_threshold")) return bl_read_number(r, &o->stability_threshold);
    if (bl_span_is(key, "energy_before")) {
        o->has_energy_before = true;
        return bl_read_number(r, &o->energy_before);
    }
    if (bl_span_is(key, "reference_energy")) {
        o->has_reference = true;
        return bl_read_number(r, &o->reference_energy);
    }
    return bl_read_unknown_key(r, key);
}

static enum bl_status read_relax(struct bl_reader *r, struct bl_relax_options *o, const struct bl_span *key, struct bl_error *err)
{
    bl_reader_at(r, "level");
    if (bl_span_is(key, "level")) return read_level(r, &o->level, err);
    if (bl_span_is(key, "fmax")) return read_positive(r, "fmax", &o->fmax, err);
    if (bl_span_is(key, "max_move")) return read_positive(r, "max_move", &o->max_move, err);
    if (bl_span_is(key, "max_steps")) return read_steps(r, &o->max_steps, err);
    return bl_read_unknown_key(r, key);
}

static enum bl_status read_argument(struct bl_ctx *ctx, struct bl_reader *r, unsigned takes, struct arguments *a, struct bl_error *err)
{
    struct bl_span key;
    bl_reader_at(r, "arguments");
    enum bl_status status = bl_read_atom(r, &key);
    if (status != BL_OK) return status;
    if ((takes & TAKES_STRUCTURE) && bl_span_is(&key, "structure")) {
        if (a->has_structure) return bl_fail_invalid(err, "structure", "stands twice");
        status = bl_read_structure(r, bl_ctx_quota(ctx), &a->structure, err);
        a->has_structure = status == BL_OK;
        return status;
    }
    if ((takes & TAKES_POTENTIAL) && bl_span_is(&key, "potential")) {
        if (a->has_potential) return bl_fail_invalid(err, "potential", "stands twice");
        a->has_potential = true;
        return bl_read_potential(ctx, r, &a->potential, err);
    }
    bl_reader_at(r, "forces");
    if ((takes & TAKES_WANTS) && bl_span_is(&key, "forces")) return bl_read_bool(r, &a->forces);
    bl_reader_at(r, "virial");
    if ((takes & TAKES_WANTS) && bl_span_is(&key, "virial")) return bl_read_bool(r, &a->virial);
    bl_reader_at(r, "atom_energies");
    if ((takes & TAKES_WANTS) && bl_span_is(&key, "atom_energies")) return bl_read_bool(r, &a->atom_energies);
    if ((takes & TAKES_CUTOFF) && bl_span_is(&key, "cutoff")) return read_positive(r, "cutoff", &a->cutoff, err);
    if (takes & TAKES_RELAX) return read_relax(r, &a->relax, &key, err);
    if (takes & TAKES_VERIFY) return read_verify(r, &a->verify, &key, err);
    return bl_read_unknown_key(r, &key);
}

static void arguments_free(struct arguments *a)
{
    if (a && a->has_structure) bl_structure_clear(&a->structure.s);
    if (a) bl_term_potential_clear(&a->potential);
    bl_free(a);
}

/* On success the caller frees. */
static enum bl_status arguments_read(struct bl_ctx *ctx, struct bl_reader *r, unsigned takes, struct arguments **out, struct bl_error *err)
{
    struct arguments *a = bl_alloc_zero(bl_ctx_quota(ctx), sizeof *a, err);
    if (!a) return bl_alloc_status(err);
    bl_relax_options_init(&a->relax);
    bl_verify_options_init(&a->verify);
    a->forces = a->virial = true;
    size_t n;
    bl_reader_at(r, "arguments");
    enum bl_status status = bl_read_map(r, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) status = read_argument(ctx, r, takes, a, err);
    if (status == BL_OK && (takes & TAKES_STRUCTURE) && !a->has_structure) status = bl_fail_invalid(err, "structure", "is missing");
    if (status == BL_OK && (takes & TAKES_POTENTIAL) && !a->has_potential) status = bl_fail_invalid(err, "potential", "is missing");
    if (status == BL_OK && (takes & TAKES_CUTOFF) && a->cutoff == 0) status = bl_fail_invalid(err, "cutoff", "is missing");
    if (status != BL_OK) {
        arguments_free(a);
        return status;
    }
    *out = a;
    return BL_OK;
}

static void write_six(struct bl_writer *w, const char *key, const double v[6], double factor)
{
    bl_write_atom(w, key);
    bl_write_list(w, 6);
    for (int k = 0; k < 6; k++) bl_write_float(w, factor * v[k]);
    bl_write_end(w);
}

static void write_number(struct bl_writer *w, const char *key, double value)
{
    bl_write_atom(w, key);
    bl_write_float(w, value);
}

/* Stress and pressure exist in a cell that is periodic in all directions. */
static bool has_stress(const struct bl_structure *s) { return s->pbc[0] && s->pbc[1] && s->pbc[2]; }

static void write_stress(struct bl_writer *w, const struct bl_structure *s, const double virial[6])
{
    const double per_volume = GPA_PER_EV_ANGSTROM3 / fabs(bl_structure_volume(s));
    write_six(w, "stress_gpa", virial, -per_volume);
    write_number(w, "pressure_gpa", per_volume * (virial[0] + virial[1] + virial[2]) / 3);
}

/* ---- crystal_energy ------------------------------------------------------------------ */

static void write_energies(struct bl_writer *w, const struct arguments *a, const struct bl_energies *e)
{
    const struct bl_structure *s = &a->structure.s;
    const size_t stress = a->virial && has_stress(s) ? 2 : 0;
    bl_write_map(w, 2 + (size_t)a->forces + (size_t)a->virial + stress + (size_t)a->atom_energies);
    write_number(w, "energy", e->energy);
    bl_write_atom(w, "code_path");
    bl_write_atom(w, bl_engine_code_path());
    if (a->virial) write_six(w, "virial", e->virial, 1);
    if (stress) write_stress(w, s, e->virial);
    if (a->forces) {
        bl_write_atom(w, "forces");
        bl_write_binary(w, e->forces, 3 * s->atoms * sizeof(double));
    }
    if (a->atom_energies) {
        bl_write_atom(w, "atom_energies");
        bl_write_binary(w, e->atom_energies, s->atoms * sizeof(double));
    }
}

static enum bl_status run_energy(struct bl_ctx *ctx, const struct arguments *a, struct bl_energies *e, struct bl_error *err)
{
    struct bl_engine *engine;
    const unsigned want = BL_WANT_ENERGY | (a->forces ? BL_WANT_FORCES : 0u) | (a->virial ? BL_WANT_VIRIAL : 0u) |
                          (a->atom_energies ? BL_WANT_ATOM_ENERGIES : 0u);
    enum bl_status status = bl_engine_new(ctx, &a->structure.s, &a->potential.potential, NULL, &engine, err);
    if (status != BL_OK) return status;
    status = bl_engine_compute(ctx, engine, a->structure.s.positions, want, e, err);
    bl_engine_free(engine);
    return status;
}

enum bl_status bl_op_crystal_energy(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    enum bl_status status = arguments_read(ctx, args, TAKES_STRUCTURE | TAKES_POTENTIAL | TAKES_WANTS, &a, err);
    if (status != BL_OK) return status;
    const size_t atoms = a->structure.s.atoms;
    struct bl_energies e = {.energy = 0};
    e.forces = bl_alloc_array(bl_ctx_quota(ctx), 4 * atoms, sizeof(double), err);
    if (e.forces) {
        e.atom_energies = e.forces + 3 * atoms;
        status = run_energy(ctx, a, &e, err);
        if (status == BL_OK) {
            write_energies(result, a, &e);
            bl_write_end(result);
        }
    } else {
        status = bl_alloc_status(err);
    }
    bl_free(e.forces);
    arguments_free(a);
    return status;
}

/* ---- crystal_neighbours --------------------------------------------------------------- */

static void write_array(struct bl_writer *w, const char *key, const void *data, size_t bytes)
{
    bl_write_atom(w, key);
    bl_write_binary(w, data, bytes);
}

enum bl_status bl_op_crystal_neighbours(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    enum bl_status status = arguments_read(ctx, args, TAKES_STRUCTURE | TAKES_CUTOFF, &a, err);
    if (status != BL_OK) return status;
    struct bl_neighbours list;
    status = bl_neighbours_find(ctx, &a->structure.s, a->cutoff, NULL, &list, err);
    if (status == BL_OK) {
        bl_write_map(result, 5);
        bl_write_atom(result, "pairs");
        bl_write_uint(result, list.pairs);
        write_array(result, "first", list.first, (list.atoms + 1) * sizeof *list.first);
        write_array(result, "other", list.other, list.pairs * sizeof *list.other);
        write_array(result, "shift", list.shift, list.pairs * sizeof *list.shift);
        write_array(result, "vector", list.vector, list.pairs * sizeof *list.vector);
        bl_write_end(result);
        bl_neighbours_clear(&list);
    }
    arguments_free(a);
    return status;
}

/* ---- crystal_relax ---------------------------------------------------------------------- */

static void write_relaxed(struct bl_writer *w, const struct arguments *a, const struct bl_relax_result *x)
{
    const struct bl_structure *s = &a->structure.s;
    const bool stress = has_stress(s);
    bl_write_map(w, 11 + (stress ? 2u : 0u));
    bl_write_atom(w, "structure");
    bl_write_structure(w, s, &a->structure);
    write_number(w, "energy", x->energy);
    write_number(w, "energy_before", x->energy_before);
    write_number(w, "max_force", x->max_force);
    write_number(w, "max_force_before", x->max_force_before);
    bl_write_atom(w, "steps");
    bl_write_uint(w, x->steps);
    bl_write_atom(w, "converged");
    bl_write_bool(w, x->reason == BL_RELAX_CONVERGED);
    bl_write_atom(w, "reason");
    bl_write_atom(w, bl_relax_reason_name(x->reason));
    bl_write_atom(w, "cell_relaxed");
    bl_write_bool(w, false);
    bl_write_atom(w, "code_path");
    bl_write_atom(w, bl_engine_code_path());
    write_six(w, "virial", x->virial, 1);
    if (stress) write_stress(w, s, x->virial);
    bl_write_end(w);
}

enum bl_status bl_op_crystal_relax(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    struct bl_relax_result x;
    enum bl_status status = arguments_read(ctx, args, TAKES_STRUCTURE | TAKES_POTENTIAL | TAKES_RELAX, &a, err);
    if (status != BL_OK) return status;
    status = bl_relax(ctx, &a->structure.s, &a->potential.potential, &a->relax, &x, err);
    if (status == BL_OK) write_relaxed(result, a, &x);
    arguments_free(a);
    return status;
}

/* ---- crystal_verify ----------------------------------------------------------------------- */

static void write_gate(struct bl_writer *w, const struct bl_gate *g)
{
    const bool run = g->pass != BL_GATE_NOT_RUN, why = g->why[0] != '\0';
    bl_write_map(w, 4 + (run ? 2u : 0u) + (why ? 1u : 0u));
    bl_write_atom(w, "name");
    bl_write_atom(w, bl_gate_name(g->name));
    bl_write_atom(w, "quantity");
    bl_write_text(w, g->quantity);
    bl_write_atom(w, "unit");
    bl_write_text(w, g->unit);
    bl_write_atom(w, "pass");
    if (run) bl_write_bool(w, g->pass == BL_GATE_PASSED);
    else bl_write_atom(w, "unknown");
    if (run) {
        write_number(w, "value", g->value);
        write_number(w, "threshold", g->threshold);
    }
    if (why) {
        bl_write_atom(w, "why");
        bl_write_text(w, g->why);
    }
    bl_write_end(w);
}

static void write_verified(struct bl_writer *w, const struct bl_verified *v)
{
    bl_write_map(w, 5);
    bl_write_atom(w, "verdict");
    bl_write_atom(w, bl_verdict_name(v->verdict));
    bl_write_atom(w, "passed");
    bl_write_bool(w, v->passed);
    write_number(w, "energy", v->energy);
    write_number(w, "max_force", v->max_force);
    bl_write_atom(w, "gates");
    bl_write_list(w, BL_GATE_COUNT);
    for (int i = 0; i < BL_GATE_COUNT; i++) write_gate(w, &v->gates[i]);
    bl_write_end(w);
    bl_write_end(w);
}

enum bl_status bl_op_crystal_verify(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    struct bl_verified v;
    enum bl_status status = arguments_read(ctx, args, TAKES_STRUCTURE | TAKES_POTENTIAL | TAKES_VERIFY, &a, err);
    if (status != BL_OK) return status;
    status = bl_verify(ctx, &a->structure.s, &a->potential.potential, &a->verify, &v, err);
    if (status == BL_OK) write_verified(result, &v);
    arguments_free(a);
    return status;
}
