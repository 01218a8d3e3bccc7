/* SPDX-License-Identifier: Apache-2.0
 *
 * The operations that make structures from structures, and the search for their symmetry.
 */
#include <stdio.h>
#include <string.h>

#include "bl_crystal_ops.h"

struct arguments {
    struct bl_term_structure structure;
    bool has_structure, has_kind, has_matrix, has_group;
    enum bl_cell_kind kind;
    double symprec, tolerance;
    int32_t matrix[3][3];
    struct bl_symmetry group;
};

enum accepted { TAKES_SYMPREC = 1, TAKES_KIND = 2, TAKES_GROUP = 4, TAKES_MATRIX = 8 };

static enum bl_status read_kind(struct bl_reader *r, enum bl_cell_kind *out, struct bl_error *err)
{
    static const char *const names[] = {"primitive", "conventional", "niggli"};
    struct bl_span name;
    const enum bl_status status = bl_read_atom(r, &name);
    for (size_t i = 0; status == BL_OK && i < sizeof names / sizeof *names; i++) {
        if (!bl_span_is(&name, names[i])) continue;
        *out = (enum bl_cell_kind)i;
        return BL_OK;
    }
    return status == BL_OK ? bl_fail_invalid(err, "kind", "primitive, conventional or niggli") : status;
}

static enum bl_status read_matrix(struct bl_reader *r, int32_t m[3][3], struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_read_tuple(r, &n);
    if (status == BL_OK && n != 3) status = bl_fail_invalid(err, "matrix", "three rows of three integers");
    for (int i = 0; status == BL_OK && i < 3; i++) {
        status = bl_read_tuple(r, &n);
        if (status == BL_OK && n != 3) status = bl_fail_invalid(err, "matrix", "three rows of three integers");
        for (int k = 0; status == BL_OK && k < 3; k++) {
            int64_t value;
            status = bl_read_int(r, &value);
            const bool fits = value <= INT32_MAX && value >= INT32_MIN;
            if (status == BL_OK && !fits)
                status = bl_fail_limit(err, "matrix", INT32_MAX, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
            if (status == BL_OK) m[i][k] = (int32_t)value;
        }
    }
    return status;
}

enum bl_status bl_read_setting_number(struct bl_reader *r, char out[BL_SETTING_NUMBER_SIZE], struct bl_error *err)
{
    int64_t number;
    const enum bl_status status = bl_read_int(r, &number);
    if (status != BL_OK) return status;
    if (number < 1 || number > 230) return bl_fail_invalid(err, "setting", "space groups have the numbers 1 to 230");
    snprintf(out, BL_SETTING_NUMBER_SIZE, "%d", (int)number);
    return BL_OK;
}

/* A name, a number, or a list of operations. */
static enum bl_status read_group(struct bl_reader *r, struct bl_quota *quota, struct bl_symmetry *out, struct bl_error *err)
{
    if (bl_read_type(r) == BL_TERM_BINARY) {
        struct bl_span name;
        const enum bl_status status = bl_read_binary(r, &name);
        return status == BL_OK ? bl_symmetry_from_name((const char *)name.data, name.len, quota, out, err) : status;
    }
    if (bl_read_type(r) == BL_TERM_INT) {
        char number[BL_SETTING_NUMBER_SIZE];
        const enum bl_status status = bl_read_setting_number(r, number, err);
        return status == BL_OK ? bl_symmetry_from_name(number, strlen(number), quota, out, err) : status;
    }
    size_t n;
    struct bl_symop *ops;
    enum bl_status status = bl_read_list(r, &n);
    if (status == BL_OK && n > BL_SYMOPS_MAX) status = bl_fail_limit(err, "symmetry operations", BL_SYMOPS_MAX, n);
    if (status != BL_OK) return status;
    ops = bl_alloc_array(quota, n, sizeof *ops, err);
    if (!ops) return bl_alloc_status(err);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_span text;
        status = bl_read_binary(r, &text);
        if (status == BL_OK && bl_symop_parse((const char *)text.data, text.len, &ops[i], NULL) != BL_OK)
            status = bl_fail_invalid(err, "setting", "operation %zu is not like x,y,z", i + 1);
    }
    if (status == BL_OK) status = bl_read_list_end(r);
    if (status == BL_OK) status = bl_symmetry_from_ops(ops, n, quota, out, err);
    bl_free(ops);
    return status;
}

static enum bl_status read_argument(struct bl_reader *r, struct bl_quota *quota, unsigned takes, struct arguments *a, struct bl_error *err)
{
    struct bl_span key;
    bl_reader_at(r, "arguments");
    enum bl_status status = bl_read_atom(r, &key);
    if (status != BL_OK) return status;
    if (bl_span_is(&key, "structure")) return bl_read_structure_once(r, quota, &a->has_structure, &a->structure, err);
    bl_reader_at(r, "symprec");
    if ((takes & TAKES_SYMPREC) && bl_span_is(&key, "symprec")) return bl_read_number(r, &a->symprec);
    bl_reader_at(r, "tolerance");
    if ((takes & TAKES_GROUP) && bl_span_is(&key, "tolerance")) return bl_read_number(r, &a->tolerance);
    bl_reader_at(r, "kind");
    if ((takes & TAKES_KIND) && bl_span_is(&key, "kind")) return read_kind(r, &a->kind, err);
    bl_reader_at(r, "matrix");
    if ((takes & TAKES_MATRIX) && bl_span_is(&key, "matrix")) {
        a->has_matrix = true;
        return read_matrix(r, a->matrix, err);
    }
    bl_reader_at(r, "setting");
    if ((takes & TAKES_GROUP) && bl_span_is(&key, "setting")) {
        if (a->has_group) return bl_fail_invalid(err, "setting", "stands twice");
        status = read_group(r, quota, &a->group, err);
        a->has_group = status == BL_OK;
        return status;
    }
    return bl_read_unknown_key(r, &key);
}

static void arguments_free(struct arguments *a)
{
    if (a && a->has_structure) bl_structure_clear(&a->structure.s);
    if (a) bl_symmetry_clear(&a->group);
    bl_free(a);
}

/* On success the caller frees. */
static enum bl_status arguments_read(struct bl_ctx *ctx, struct bl_reader *r, unsigned takes, struct arguments **out, struct bl_error *err)
{
    struct bl_quota *quota = bl_ctx_quota(ctx);
    struct arguments *a = bl_alloc_zero(quota, sizeof *a, err);
    if (!a) return bl_alloc_status(err);
    a->symprec = 1e-3;
    size_t n;
    bl_reader_at(r, "arguments");
    enum bl_status status = bl_read_map(r, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) status = read_argument(r, quota, takes, a, err);
    if (status == BL_OK && !a->has_structure) status = bl_fail_invalid(err, "structure", "is missing");
    if (status == BL_OK && (takes & TAKES_MATRIX) && !a->has_matrix) status = bl_fail_invalid(err, "matrix", "is missing");
    if (status == BL_OK && (takes & TAKES_GROUP) && !a->has_group) status = bl_fail_invalid(err, "setting", "is missing");
    if (status == BL_OK) *out = a;
    else arguments_free(a);
    return status;
}

static void write_row(struct bl_writer *w, const double v[3])
{
    bl_write_tuple(w, 3);
    for (int k = 0; k < 3; k++) bl_write_float(w, v[k]);
    bl_write_end(w);
}

static void write_found(struct bl_writer *w, const struct bl_symmetry_found *f)
{
    bl_write_map(w, 11);
    bl_write_keyed_uint(w, "number", f->number);
    bl_write_keyed_uint(w, "hall_number", f->hall_number);
    bl_write_keyed_text(w, "name", f->name);
    bl_write_keyed_text(w, "hall", f->hall);
    bl_write_keyed_text(w, "choice", f->choice);
    bl_write_keyed_text(w, "point_group", f->point_group);
    bl_write_atom(w, "wyckoff");
    bl_write_binary(w, f->wyckoff, f->atoms);
    bl_write_atom(w, "equivalent");
    bl_write_binary(w, f->equivalent, f->atoms * sizeof *f->equivalent);
    bl_write_atom(w, "symmetry");
    bl_write_symmetry(w, &f->group);
    bl_write_atom(w, "transformation");
    bl_write_tuple(w, 3);
    for (int i = 0; i < 3; i++) write_row(w, f->transformation[i]);
    bl_write_end(w);
    bl_write_atom(w, "origin_shift");
    write_row(w, f->origin_shift);
    bl_write_end(w);
}

enum bl_status bl_op_crystal_symmetry(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    struct bl_symmetry_found found;
    enum bl_status status = arguments_read(ctx, args, TAKES_SYMPREC, &a, err);
    if (status != BL_OK) return status;
    status = bl_symmetry_find(ctx, &a->structure.s, a->symprec, &found, err);
    if (status == BL_OK) {
        write_found(result, &found);
        bl_symmetry_found_clear(&found);
    }
    arguments_free(a);
    return status;
}

/* Writes what was made and frees it. */
static enum bl_status answer(enum bl_status status, struct bl_structure *made, struct bl_writer *result)
{
    if (status != BL_OK) return status;
    bl_write_structure(result, made, NULL);
    bl_structure_clear(made);
    return BL_OK;
}

enum bl_status bl_op_crystal_cell(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    struct bl_structure made;
    enum bl_status status = arguments_read(ctx, args, TAKES_SYMPREC | TAKES_KIND, &a, err);
    if (status != BL_OK) return status;
    status = answer(bl_symmetry_cell(ctx, &a->structure.s, a->kind, a->symprec, &made, err), &made, result);
    arguments_free(a);
    return status;
}

enum bl_status bl_op_crystal_expand(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    struct bl_structure made;
    enum bl_status status = arguments_read(ctx, args, TAKES_GROUP, &a, err);
    if (status != BL_OK) return status;
    status = answer(bl_structure_expand(ctx, &a->structure.s, &a->group, a->tolerance, &made, err), &made, result);
    arguments_free(a);
    return status;
}

enum bl_status bl_op_crystal_supercell(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct arguments *a;
    struct bl_structure made;
    enum bl_status status = arguments_read(ctx, args, TAKES_MATRIX, &a, err);
    if (status != BL_OK) return status;
    status = answer(bl_structure_supercell(ctx, &a->structure.s, a->matrix, NULL, &made, err), &made, result);
    arguments_free(a);
    return status;
}

/* ---- crystals by name --------------------------------------------------------------------- */

enum { ELEMENTS_MAX = 8 };
struct prototype_arguments {
    char name[32], symbols[ELEMENTS_MAX][BL_SYMBOL_SIZE];
    const char *elements[ELEMENTS_MAX];
    size_t count;
    struct bl_prototype_parameters parameters;
};

static enum bl_status read_prototype_argument(struct bl_reader *r, struct prototype_arguments *a, struct bl_error *err)
{
    struct bl_prototype_parameters *p = &a->parameters;
    const struct {
        const char *key;
        double *value;
    } numbers[] = {{"a", &p->a}, {"c", &p->c}, {"c_over_a", &p->c_over_a}, {"u", &p->u}};
    struct bl_span key, name;
    bl_reader_at(r, "arguments");
    enum bl_status status = bl_read_atom(r, &key);
    if (status != BL_OK) return status;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (bl_span_is(&key, numbers[i].key)) return bl_read_positive(r, numbers[i].key, numbers[i].value, err);
    bl_reader_at(r, "elements");
    if (bl_span_is(&key, "elements")) return bl_read_symbols(r, "elements", ELEMENTS_MAX, a->symbols, a->elements, &a->count, err);
    if (!bl_span_is(&key, "prototype")) return bl_read_unknown_key(r, &key);
    bl_reader_at(r, "prototype");
    status = bl_read_atom(r, &name);
    if (status != BL_OK) return status;
    if (name.len == 0 || name.len >= sizeof a->name) return bl_fail_invalid(err, "prototype", "none of this name");
    memcpy(a->name, name.data, name.len);
    return BL_OK;
}

enum bl_status bl_op_crystal_prototype(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct prototype_arguments a = {.count = 0};
    struct bl_structure made;
    size_t n;
    bl_reader_at(args, "arguments");
    enum bl_status status = bl_read_map(args, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) status = read_prototype_argument(args, &a, err);
    if (status == BL_OK && !a.name[0]) status = bl_fail_invalid(err, "prototype", "is missing");
    if (status == BL_OK && a.parameters.a == 0) status = bl_fail_invalid(err, "a", "is missing");
    if (status != BL_OK) return status;
    return answer(bl_structure_prototype(ctx, a.name, a.elements, a.count, &a.parameters, &made, err), &made, result);
}
