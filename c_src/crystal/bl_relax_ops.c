/* SPDX-License-Identifier: Apache-2.0
 *
 * The operations that relax and judge: crystal_relax, crystal_relax_batch, crystal_verify, crystal_elastic.
 */
#include <math.h>
#include <string.h>

#include "bl_crystal_ops.h"

struct arguments {
    struct bl_term_structure structure;
    struct bl_term_potential potential;
    bool has_structure, has_potential, has_load;
    struct bl_span structures; /* of a batch: an encoded list */
    struct bl_relax_options relax;
    struct bl_verify_options verify;
};

enum accepted { TAKES_STRUCTURE = 1, TAKES_STRUCTURES = 2, TAKES_RELAX = 4, TAKES_VERIFY = 8, TAKES_ELASTIC = 16 };

/* ---- reading -------------------------------------------------------------------------- */

static enum bl_status read_choice(struct bl_reader *r, const char *field, const char *const *names, int count, int *out,
        struct bl_error *err)
{
    struct bl_span name;
    bl_reader_at(r, field);
    const enum bl_status status = bl_read_atom(r, &name);
    if (status != BL_OK) return status;
    for (int i = 0; i < count; i++) {
        if (!bl_span_is(&name, names[i])) continue;
        *out = i;
        return BL_OK;
    }
    char list[120] = "one of";
    for (int i = 0; i < count; i++) {
        strncat(list, i > 0 ? ", " : " ", sizeof list - strlen(list) - 1);
        strncat(list, names[i], sizeof list - strlen(list) - 1);
    }
    return bl_fail_invalid(err, field, "%s", list);
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

/* A pressure, or six components of stress: the target, GPa. */
static enum bl_status read_load(struct bl_reader *r, const char *field, bool tensor, bool *given, double stress[6], struct bl_error *err)
{
    double v[6] = {0};
    size_t n;
    bl_reader_at(r, field);
    if (*given) return bl_fail_invalid(err, field, "pressure or stress, not both");
    enum bl_status status = BL_OK;
    if (tensor) {
        status = bl_read_list(r, &n);
        if (status == BL_OK && n != 6) status = bl_fail_invalid(err, field, "six numbers: xx, yy, zz, yz, xz, xy");
        for (int k = 0; status == BL_OK && k < 6; k++) status = bl_read_number(r, &v[k]);
        if (status == BL_OK) status = bl_read_list_end(r);
    } else {
        status = bl_read_number(r, &v[0]);
        v[0] = v[1] = v[2] = -v[0];
    }
    for (int k = 0; status == BL_OK && k < 6; k++)
        if (!(fabs(v[k]) <= 1e6)) status = bl_fail_invalid(err, field, "at most 1e6 GPa");
    if (status != BL_OK) return status;
    memcpy(stress, v, sizeof v);
    *given = true;
    return BL_OK;
}

/* fixed, free, isotropic, or a list of the strains that are free. */
static enum bl_status read_cell(struct bl_reader *r, struct bl_relax_options *o, struct bl_error *err)
{
    static const char *const modes[] = {"fixed", "free", "isotropic"}, *const strains[] = {"xx", "yy", "zz", "yz", "xz", "xy"};
    int choice;
    size_t n;
    bl_reader_at(r, "cell");
    memset(o->held, 0, sizeof o->held);
    if (bl_read_type(r) != BL_TERM_LIST) {
        const enum bl_status status = read_choice(r, "cell", modes, 3, &choice, err);
        if (status == BL_OK) o->cell = (enum bl_cell_mode)(BL_CELL_FIXED + choice);
        return status;
    }
    enum bl_status status = bl_read_list(r, &n);
    o->cell = BL_CELL_FREE;
    memset(o->held, true, sizeof o->held);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        status = read_choice(r, "cell", strains, 6, &choice, err);
        if (status == BL_OK) o->held[choice] = false;
    }
    return status == BL_OK ? bl_read_list_end(r) : status;
}

static enum bl_status read_relax(struct bl_reader *r, struct arguments *a, const struct bl_span *key, struct bl_error *err)
{
    static const char *const levels[] = {"none", "fast", "default", "tight", "search"}, *const methods[] = {"auto", "fire", "lbfgs", "cg"};
    struct bl_relax_options *o = &a->relax;
    int choice = 0;
    if (bl_span_is(key, "level")) {
        const enum bl_status status = read_choice(r, "level", levels, 5, &choice, err);
        if (status == BL_OK) o->level = (enum bl_relax_level)choice;
        return status;
    }
    if (bl_span_is(key, "method")) {
        const enum bl_status status = read_choice(r, "method", methods, 4, &choice, err);
        if (status == BL_OK) o->method = (enum bl_relax_method)choice;
        return status;
    }
    if (bl_span_is(key, "cell")) return read_cell(r, o, err);
    if (bl_span_is(key, "pressure")) return read_load(r, "pressure", false, &a->has_load, o->stress_gpa, err);
    if (bl_span_is(key, "stress")) return read_load(r, "stress", true, &a->has_load, o->stress_gpa, err);
    if (bl_span_is(key, "smax")) return bl_read_positive(r, "smax", &o->smax_gpa, err);
    if (bl_span_is(key, "fmax")) return bl_read_positive(r, "fmax", &o->fmax, err);
    if (bl_span_is(key, "max_move")) return bl_read_positive(r, "max_move", &o->max_move, err);
    if (bl_span_is(key, "max_steps")) return read_steps(r, &o->max_steps, err);
    return bl_read_unknown_key(r, key);
}

static enum bl_status read_elastic(struct bl_reader *r, struct bl_elastic_options *o, const struct bl_span *key, struct bl_error *err)
{
    if (bl_span_is(key, "strain")) return bl_read_positive(r, "strain", &o->strain, err);
    if (bl_span_is(key, "max_steps")) return read_steps(r, &o->max_steps, err);
    bl_reader_at(r, "clamped_only");
    if (bl_span_is(key, "clamped_only")) return bl_read_bool(r, &o->clamped_only);
    return bl_read_unknown_key(r, key);
}

static enum bl_status read_verify(struct bl_reader *r, struct arguments *a, const struct bl_span *key, struct bl_error *err)
{
    struct bl_verify_options *o = &a->verify;
    if (bl_span_is(key, "fmax")) return bl_read_positive(r, "fmax", &o->fmax, err);
    if (bl_span_is(key, "min_distance")) return bl_read_positive(r, "min_distance", &o->min_distance, err);
    if (bl_span_is(key, "smax")) {
        o->has_smax = true;
        return bl_read_positive(r, "smax", &o->smax_gpa, err);
    }
    if (bl_span_is(key, "pressure")) return read_load(r, "pressure", false, &a->has_load, o->stress_gpa, err);
    if (bl_span_is(key, "stress")) return read_load(r, "stress", true, &a->has_load, o->stress_gpa, err);
    bl_reader_at(r, "verify");
    if (bl_span_is(key, "energy_tolerance")) return bl_read_number(r, &o->energy_tolerance);
    if (bl_span_is(key, "stability_threshold")) return bl_read_number(r, &o->stability_threshold);
    if (bl_span_is(key, "elastic")) return bl_read_bool(r, &o->elastic);
    if (bl_span_is(key, "energy_before")) {
        o->has_energy_before = true;
        return bl_read_number(r, &o->energy_before);
    }
    if (bl_span_is(key, "reference_energy")) {
        o->has_reference = true;
        return bl_read_number(r, &o->reference_energy);
    }
    return read_elastic(r, &o->elastic_options, key, err);
}

static enum bl_status read_argument(struct bl_ctx *ctx, struct bl_reader *r, unsigned takes, struct arguments *a, struct bl_error *err)
{
    struct bl_span key;
    bl_reader_at(r, "arguments");
    enum bl_status status = bl_read_atom(r, &key);
    if (status != BL_OK) return status;
    if ((takes & TAKES_STRUCTURE) && bl_span_is(&key, "structure"))
        return bl_read_structure_once(r, bl_ctx_quota(ctx), &a->has_structure, &a->structure, err);
    bl_reader_at(r, "structures");
    if ((takes & TAKES_STRUCTURES) && bl_span_is(&key, "structures")) return bl_read_raw(r, &a->structures);
    if (bl_span_is(&key, "potential"))
        return bl_read_potential_once(ctx, r, &a->has_potential, &a->potential, err);
    if (takes & TAKES_RELAX) return read_relax(r, a, &key, err);
    if (takes & TAKES_VERIFY) return read_verify(r, a, &key, err);
    return read_elastic(r, &a->verify.elastic_options, &key, err);
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
    size_t n;
    bl_reader_at(r, "arguments");
    enum bl_status status = bl_read_map(r, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) status = read_argument(ctx, r, takes, a, err);
    if (status == BL_OK && (takes & TAKES_STRUCTURE) && !a->has_structure) status = bl_fail_invalid(err, "structure", "is missing");
    if (status == BL_OK && (takes & TAKES_STRUCTURES) && !a->structures.data) status = bl_fail_invalid(err, "structures", "is missing");
    if (status == BL_OK && !a->has_potential) status = bl_fail_invalid(err, "potential", "is missing");
    if (status != BL_OK) {
        arguments_free(a);
        return status;
    }
    *out = a;
    return BL_OK;
}

/* ---- crystal_relax ---------------------------------------------------------------------- */

static void write_relaxed(struct bl_writer *w, const struct bl_term_structure *t, const struct bl_relax_result *x)
{
    const bool stress = bl_has_stress(&t->s), loaded = x->loaded;
    bl_write_map(w, 11 + (stress ? 2u : 0u) + (x->cell_relaxed ? 1u : 0u) + (loaded ? 2u : 0u));
    bl_write_atom(w, "structure");
    bl_write_structure(w, &t->s, t);
    bl_write_keyed_float(w, "energy", x->energy);
    bl_write_keyed_float(w, "energy_before", x->energy_before);
    bl_write_keyed_float(w, "max_force", x->max_force);
    bl_write_keyed_float(w, "max_force_before", x->max_force_before);
    bl_write_keyed_uint(w, "steps", x->steps);
    bl_write_keyed_bool(w, "converged", x->reason == BL_RELAX_CONVERGED);
    bl_write_keyed_atom(w, "reason", bl_relax_reason_name(x->reason));
    bl_write_keyed_bool(w, "cell_relaxed", x->cell_relaxed);
    if (x->cell_relaxed) bl_write_keyed_float(w, "max_stress", x->max_stress_gpa);
    if (loaded) {
        bl_write_keyed_float(w, "enthalpy", x->enthalpy);
        bl_write_keyed_float(w, "enthalpy_before", x->enthalpy_before);
    }
    bl_write_keyed_atom(w, "code_path", bl_engine_code_path());
    bl_write_keyed_six(w, "virial", x->virial, 1);
    if (stress) bl_write_stress(w, &t->s, x->virial);
    bl_write_end(w);
}

enum bl_status bl_op_crystal_relax(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    struct bl_relax_result x;
    enum bl_status status = arguments_read(ctx, args, TAKES_STRUCTURE | TAKES_RELAX, &a, err);
    if (status != BL_OK) return status;
    status = bl_relax(ctx, &a->structure.s, &a->potential.potential, &a->relax, &x, err);
    if (status == BL_OK) write_relaxed(result, &a->structure, &x);
    arguments_free(a);
    return status;
}

/* ---- crystal_verify, crystal_elastic -------------------------------------------------------- */

static void write_matrix(struct bl_writer *w, const char *key, const double m[6][6])
{
    bl_write_atom(w, key);
    bl_write_list(w, 6);
    for (int i = 0; i < 6; i++) {
        bl_write_list(w, 6);
        for (int k = 0; k < 6; k++) bl_write_float(w, m[i][k]);
        bl_write_end(w);
    }
    bl_write_end(w);
}

static void write_elastic(struct bl_writer *w, const struct bl_elastic *e)
{
    if (!e->known) {
        bl_write_map(w, 2);
        bl_write_keyed_bool(w, "known", false);
        bl_write_keyed_text(w, "why", e->why);
        bl_write_end(w);
        return;
    }
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"asymmetry", e->asymmetry}, {"strain", e->strain}, {"bulk_voigt", e->bulk_voigt}, {"shear_voigt", e->shear_voigt},
        {"bulk_reuss", e->bulk_reuss}, {"shear_reuss", e->shear_reuss}, {"bulk_hill", e->bulk_hill}, {"shear_hill", e->shear_hill},
        {"young", e->young}, {"poisson", e->poisson}, {"anisotropy", e->anisotropy},
    };
    enum { ALWAYS = 4, ALL = sizeof numbers / sizeof *numbers };
    const size_t count = e->has_moduli ? ALL : ALWAYS;
    bl_write_map(w, 7 + count);
    bl_write_keyed_bool(w, "known", true);
    bl_write_keyed_bool(w, "stable", e->stable);
    write_matrix(w, "relaxed", e->relaxed);
    write_matrix(w, "clamped", e->clamped);
    bl_write_keyed_six(w, "eigenvalues", e->eigenvalues, 1);
    bl_write_keyed_six(w, "stress_gpa", e->stress_gpa, 1);
    bl_write_keyed_uint(w, "steps", e->steps);
    for (size_t i = 0; i < count; i++) bl_write_keyed_float(w, numbers[i].key, numbers[i].value);
    bl_write_end(w);
}

static void write_gate(struct bl_writer *w, const struct bl_gate *g)
{
    const bool run = g->pass != BL_GATE_NOT_RUN, why = g->why[0] != '\0';
    bl_write_map(w, 4 + (run ? 2u : 0u) + (why ? 1u : 0u));
    bl_write_keyed_atom(w, "name", bl_gate_name(g->name));
    bl_write_keyed_text(w, "quantity", g->quantity);
    bl_write_keyed_text(w, "unit", g->unit);
    bl_write_atom(w, "pass");
    if (run) bl_write_bool(w, g->pass == BL_GATE_PASSED);
    else bl_write_atom(w, "unknown");
    if (run) {
        bl_write_keyed_float(w, "value", g->value);
        bl_write_keyed_float(w, "threshold", g->threshold);
    }
    if (why) {
        bl_write_keyed_text(w, "why", g->why);
    }
    bl_write_end(w);
}

static void write_verified(struct bl_writer *w, const struct arguments *a, const struct bl_verified *v)
{
    const bool stress = bl_has_stress(&a->structure.s), elastic = v->elastic.known || v->elastic.why[0];
    bl_write_map(w, 6 + (stress ? 1u : 0u) + (elastic ? 1u : 0u));
    bl_write_keyed_atom(w, "verdict", bl_verdict_name(v->verdict));
    bl_write_keyed_bool(w, "passed", v->passed);
    bl_write_keyed_atom(w, "code_path", bl_engine_code_path());
    bl_write_keyed_float(w, "energy", v->energy);
    bl_write_keyed_float(w, "max_force", v->max_force);
    if (stress) bl_write_keyed_float(w, "max_stress", v->max_stress_gpa);
    if (elastic) {
        bl_write_atom(w, "elastic");
        write_elastic(w, &v->elastic);
    }
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
    enum bl_status status = arguments_read(ctx, args, TAKES_STRUCTURE | TAKES_VERIFY, &a, err);
    if (status != BL_OK) return status;
    status = bl_verify(ctx, &a->structure.s, &a->potential.potential, &a->verify, &v, err);
    if (status == BL_OK) write_verified(result, a, &v);
    arguments_free(a);
    return status;
}

enum bl_status bl_op_crystal_elastic(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    struct bl_elastic e;
    enum bl_status status = arguments_read(ctx, args, TAKES_STRUCTURE | TAKES_ELASTIC, &a, err);
    if (status != BL_OK) return status;
    status = bl_elastic_constants(ctx, &a->structure.s, &a->potential.potential, &a->verify.elastic_options, &e, err);
    if (status == BL_OK) write_elastic(result, &e);
    arguments_free(a);
    return status;
}

/* ---- crystal_relax_batch ------------------------------------------------------------------------ */

/* One structure: encoded, then its answer, encoded. */
struct item {
    struct bl_span in;
    struct bl_etf_writer out;
    bool made, failed;
};

struct batch {
    struct bl_ctx *ctx;
    const struct arguments *a;
    const struct bl_term_limits *limits;
    struct item *items;
    size_t begin; /* of this wave */
};

static enum bl_status relax_item(const struct batch *b, struct item *x, struct bl_term_structure *t, struct bl_relax_result *result,
        struct bl_error *err)
{
    struct bl_quota *quota = bl_ctx_quota(b->ctx);
    struct bl_reader r;
    bl_reader_init(&r, &x->in, 1, b->limits, quota, err);
    enum bl_status status = bl_read_structure(&r, quota, t, err);
    if (status == BL_OK) {
        status = bl_relax(b->ctx, &t->s, &b->a->potential.potential, &b->a->relax, result, err);
        if (status == BL_OK) {
            bl_write_tuple(&x->out.base, 2);
            bl_write_atom(&x->out.base, "ok");
            write_relaxed(&x->out.base, t, result);
            bl_write_end(&x->out.base);
        }
        bl_structure_clear(&t->s);
    }
    bl_reader_clear(&r);
    return status;
}

/* What ends the whole task is told; everything else is this structure's own. */
static enum bl_status item_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct batch *b = arg;
    (void)lane;
    for (size_t i = begin; i < end; i++) {
        struct item *x = &b->items[b->begin + i];
        struct bl_term_structure t;
        struct bl_relax_result result;
        struct bl_error own;
        enum bl_status status = bl_ctx_check(b->ctx, err);
        if (status != BL_OK) return status;
        bl_etf_writer_init(&x->out, bl_ctx_quota(b->ctx), false);
        x->made = true;
        status = relax_item(b, x, &t, &result, &own);
        if (status == BL_OK) continue;
        const enum bl_status stopped = bl_ctx_check(b->ctx, err);
        if (stopped != BL_OK) return stopped;
        x->failed = true;
        bl_write_tuple(&x->out.base, 2);
        bl_write_atom(&x->out.base, "error");
        bl_write_reason(&x->out.base, &own);
        bl_write_end(&x->out.base);
    }
    return BL_OK;
}

static struct bl_span encoded(const struct item *x) { return (struct bl_span){.data = x->out.data, .len = x->out.len}; }

/* Those that ended since the last message, numbered from 1, as far as they fit into one. One that alone
 * does not fit comes with the answer only. Returns how many need not be told any more. */
static size_t stream(const struct batch *b, size_t told, size_t done, size_t failed, size_t total)
{
    enum { AROUND = 32 }; /* bytes around an answer, at most */
    if (!bl_ctx_progress_due(b->ctx)) return told;
    while (told < done && b->items[told].out.len + 2 * AROUND > BL_FIELD_TERM_MOST) told++;
    size_t bytes = AROUND, end = told;
    for (; end < done; end++) {
        bytes += b->items[end].out.len + AROUND;
        if (bytes > BL_FIELD_TERM_MOST) break;
    }
    struct bl_etf_writer w;
    bl_etf_writer_init(&w, bl_ctx_quota(b->ctx), false);
    bl_write_list(&w.base, end - told);
    for (size_t i = told; i < end; i++) {
        const struct bl_span answer = encoded(&b->items[i]);
        bl_write_tuple(&w.base, 2);
        bl_write_uint(&w.base, i + 1);
        bl_write_raw(&w.base, &answer);
        bl_write_end(&w.base);
    }
    bl_write_end(&w.base);
    if (bl_writer_done(&w.base)) {
        const struct bl_field_term results = {w.data, w.len};
        const struct bl_field fields[] = {
            {"done", BL_FIELD_INT, {.i = (int64_t)done}},
            {"failed", BL_FIELD_INT, {.i = (int64_t)failed}},
            {"total", BL_FIELD_INT, {.i = (int64_t)total}},
            {"results", BL_FIELD_TERM, {.term = &results}},
        };
        bl_ctx_progress(b->ctx, fields, 4);
        told = end;
    }
    bl_etf_writer_clear(&w);
    return told;
}

/* Wave by wave, so that the thread of the task can tell what is done in between. */
static enum bl_status relax_all(struct batch *b, size_t total, size_t *failed, struct bl_error *err)
{
    const size_t wave = 16 * (size_t)bl_ctx_lanes(b->ctx);
    size_t told = 0;
    for (b->begin = 0; b->begin < total;) {
        const size_t count = total - b->begin < wave ? total - b->begin : wave;
        const enum bl_status status = bl_parallel_for(b->ctx, count, 1, item_body, b, err);
        if (status != BL_OK) return status;
        for (size_t i = b->begin; i < b->begin + count; i++) {
            const enum bl_status written = bl_writer_status(&b->items[i].out.base, err);
            if (written != BL_OK) return written;
            *failed += b->items[i].failed;
        }
        b->begin += count;
        told = stream(b, told, b->begin, *failed, total);
    }
    return BL_OK;
}

static void write_batch(struct bl_writer *w, const struct item *items, size_t count, size_t failed)
{
    bl_write_map(w, 3);
    bl_write_keyed_uint(w, "done", count);
    bl_write_keyed_uint(w, "failed", failed);
    bl_write_atom(w, "results");
    bl_write_list(w, count);
    for (size_t i = 0; i < count; i++) {
        const struct bl_span answer = encoded(&items[i]);
        bl_write_raw(w, &answer);
    }
    bl_write_end(w);
    bl_write_end(w);
}

enum { BATCH_MAX = 1000000 };

enum bl_status bl_op_crystal_relax_batch(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    enum bl_status status = arguments_read(ctx, args, TAKES_STRUCTURES | TAKES_RELAX, &a, err);
    if (status != BL_OK) return status;
    a->relax.quiet = true;
    struct bl_quota *quota = bl_ctx_quota(ctx);
    struct bl_reader r;
    size_t count = 0, failed = 0;
    struct item *items = NULL;
    bl_reader_init(&r, &a->structures, 1, &args->limits, quota, err);
    bl_reader_at(&r, "structures");
    status = bl_read_list(&r, &count);
    if (status == BL_OK && count > BATCH_MAX) status = bl_fail_limit(err, "structures", BATCH_MAX, count);
    if (status == BL_OK) {
        items = bl_alloc_zero(quota, (count + 1) * sizeof *items, err);
        if (!items) status = bl_alloc_status(err);
    }
    for (size_t i = 0; status == BL_OK && i < count; i++) status = bl_read_raw(&r, &items[i].in);
    if (status == BL_OK) status = bl_read_list_end(&r);
    if (status == BL_OK) {
        struct batch b = {.ctx = ctx, .a = a, .limits = &args->limits, .items = items};
        status = relax_all(&b, count, &failed, err);
    }
    if (status == BL_OK) write_batch(result, items, count, failed);
    for (size_t i = 0; items && i < count; i++)
        if (items[i].made) bl_etf_writer_clear(&items[i].out);
    bl_free(items);
    bl_reader_clear(&r);
    arguments_free(a);
    return status;
}
