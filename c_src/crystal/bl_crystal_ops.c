/* SPDX-License-Identifier: Apache-2.0
 *
 * crystal_energy, crystal_neighbours, crystal_trajectory: decode the argument map, call the typed API, encode the answer. Keys of an
 * option map that nobody knows are errors, so that a misspelt option is not a default.
 */
#include <math.h>
#include <string.h>

#include "bl_crystal_ops.h"

/* What any crystal operation may be given; each accepts its own subset. */
struct arguments {
    struct bl_term_structure structure;
    struct bl_term_potential potential;
    bool has_structure, has_potential;
    /* energy */
    bool forces, virial, atom_energies;
    /* neighbours */
    double cutoff;
    struct bl_trajectory_options trajectory;
};

enum accepted {
    TAKES_STRUCTURE = 1,
    TAKES_POTENTIAL = 2,
    TAKES_WANTS = 4,
    TAKES_CUTOFF = 8,
    TAKES_STEPS = 16,
};

enum bl_status bl_read_positive(struct bl_reader *r, const char *field, double *out, struct bl_error *err)
{
    double value;
    bl_reader_at(r, field);
    const enum bl_status status = bl_read_number(r, &value);
    if (status != BL_OK) return status;
    if (!(value > 0)) return bl_fail_invalid(err, field, "a positive number");
    *out = value;
    return BL_OK;
}

enum bl_status bl_read_structure_once(struct bl_reader *r, struct bl_quota *quota, bool *there, struct bl_term_structure *t,
                                      struct bl_error *err)
{
    if (*there) return bl_fail_invalid(err, "structure", "stands twice");
    const enum bl_status status = bl_read_structure(r, quota, t, err);
    *there = status == BL_OK;
    return status;
}

enum bl_status bl_read_potential_once(struct bl_ctx *ctx, struct bl_reader *r, bool *there, struct bl_term_potential *p,
                                      struct bl_error *err)
{
    if (*there) return bl_fail_invalid(err, "potential", "stands twice");
    *there = true;
    return bl_read_potential(ctx, r, p, err);
}

static enum bl_status read_steps(struct bl_reader *r, struct bl_trajectory_options *o, const struct bl_span *key, struct bl_error *err)
{
    if (bl_span_is(key, "dt")) return bl_read_positive(r, "dt", &o->dt_fs, err);
    bl_reader_at(r, "steps");
    if (bl_span_is(key, "steps")) return bl_read_uint(r, &o->steps);
    bl_reader_at(r, "seed");
    if (bl_span_is(key, "seed")) return bl_read_uint(r, &o->seed);
    bl_reader_at(r, "energy_every");
    if (bl_span_is(key, "energy_every")) return bl_read_uint(r, &o->energy_every);
    bl_reader_at(r, "temperature");
    if (!bl_span_is(key, "temperature")) return bl_read_unknown_key(r, key);
    const enum bl_status status = bl_read_number(r, &o->temperature_kelvin);
    if (status == BL_OK && o->temperature_kelvin < 0) return bl_fail_invalid(err, "temperature", "a number from 0 on");
    return status;
}

static enum bl_status read_argument(struct bl_ctx *ctx, struct bl_reader *r, unsigned takes, struct arguments *a, struct bl_error *err)
{
    struct bl_span key;
    bl_reader_at(r, "arguments");
    enum bl_status status = bl_read_atom(r, &key);
    if (status != BL_OK) return status;
    if ((takes & TAKES_STRUCTURE) && bl_span_is(&key, "structure"))
        return bl_read_structure_once(r, bl_ctx_quota(ctx), &a->has_structure, &a->structure, err);
    if ((takes & TAKES_POTENTIAL) && bl_span_is(&key, "potential"))
        return bl_read_potential_once(ctx, r, &a->has_potential, &a->potential, err);
    bl_reader_at(r, "forces");
    if ((takes & TAKES_WANTS) && bl_span_is(&key, "forces")) return bl_read_bool(r, &a->forces);
    bl_reader_at(r, "virial");
    if ((takes & TAKES_WANTS) && bl_span_is(&key, "virial")) return bl_read_bool(r, &a->virial);
    bl_reader_at(r, "atom_energies");
    if ((takes & TAKES_WANTS) && bl_span_is(&key, "atom_energies")) return bl_read_bool(r, &a->atom_energies);
    if ((takes & TAKES_CUTOFF) && bl_span_is(&key, "cutoff")) return bl_read_positive(r, "cutoff", &a->cutoff, err);
    if (takes & TAKES_STEPS) return read_steps(r, &a->trajectory, &key, err);
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
    a->forces = a->virial = true;
    bl_trajectory_options_init(&a->trajectory);
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

void bl_write_keyed_six(struct bl_writer *w, const char *key, const double v[6], double factor)
{
    bl_write_atom(w, key);
    bl_write_list(w, 6);
    for (int k = 0; k < 6; k++) bl_write_float(w, factor * v[k]);
    bl_write_end(w);
}

bool bl_has_stress(const struct bl_structure *s) { return s->pbc[0] && s->pbc[1] && s->pbc[2]; }

void bl_write_stress(struct bl_writer *w, const struct bl_structure *s, const double virial[6])
{
    const double per_volume = BL_GPA / fabs(bl_structure_volume(s));
    bl_write_keyed_six(w, "stress_gpa", virial, -per_volume);
    bl_write_keyed_float(w, "pressure_gpa", per_volume * (virial[0] + virial[1] + virial[2]) / 3);
}

/* ---- crystal_energy ------------------------------------------------------------------ */

static void write_energies(struct bl_writer *w, const struct arguments *a, const struct bl_energies *e)
{
    const struct bl_structure *s = &a->structure.s;
    const size_t stress = a->virial && bl_has_stress(s) ? 2 : 0;
    bl_write_map(w, 2 + (size_t)a->forces + (size_t)a->virial + stress + (size_t)a->atom_energies);
    bl_write_keyed_float(w, "energy", e->energy);
    bl_write_keyed_atom(w, "code_path", bl_engine_code_path());
    if (a->virial) bl_write_keyed_six(w, "virial", e->virial, 1);
    if (stress) bl_write_stress(w, s, e->virial);
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
        bl_write_keyed_uint(result, "pairs", list.pairs);
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

/* ---- crystal_trajectory ---------------------------------------------------------------- */

static void write_trajectory(struct bl_writer *w, const struct arguments *a, const struct bl_trajectory_result *x)
{
    bl_write_map(w, 11);
    bl_write_atom(w, "structure");
    bl_write_structure(w, &a->structure.s, &a->structure);
    bl_write_atom(w, "steps");
    bl_write_uint(w, x->steps);
    bl_write_atom(w, "code_path");
    bl_write_atom(w, bl_engine_code_path());
    bl_write_keyed_float(w, "time", (double)x->steps * a->trajectory.dt_fs);
    bl_write_keyed_float(w, "energy", x->potential_energy);
    bl_write_keyed_float(w, "energy_before", x->potential_energy_before);
    bl_write_keyed_float(w, "kinetic_energy", x->kinetic_energy);
    bl_write_keyed_float(w, "kinetic_energy_before", x->kinetic_energy_before);
    bl_write_keyed_float(w, "drift", x->drift);
    bl_write_keyed_float(w, "temperature", x->temperature_kelvin);
    bl_write_keyed_six(w, "virial", x->virial, 1);
    bl_write_end(w);
}

enum bl_status bl_op_crystal_trajectory(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    struct bl_trajectory_result x;
    enum bl_status status = arguments_read(ctx, args, TAKES_STRUCTURE | TAKES_POTENTIAL | TAKES_STEPS, &a, err);
    if (status != BL_OK) return status;
    status = bl_trajectory(ctx, &a->structure.s, &a->potential.potential, &a->trajectory, &x, err);
    if (status == BL_OK) write_trajectory(result, a, &x);
    arguments_free(a);
    return status;
}
