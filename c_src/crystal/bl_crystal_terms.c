/* SPDX-License-Identifier: Apache-2.0
 *
 * Structures as Erlang terms (the Structure map: doc/crystal.md). Arrays are
 * binaries of little-endian numbers.
 */
#include <math.h>
#include <string.h>

#include "bl_crystal_ops.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "arrays in binaries are little-endian: this machine needs a byte swap here"
#endif

/* ---- reading: parts ---------------------------------------------------------- */

static enum bl_status read_cell(struct bl_reader *r, double cell[3][3], struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_read_tuple(r, &n);
    if (status == BL_OK && n != 3) status = bl_fail_invalid(err, "cell", "three vectors of three numbers");
    for (int i = 0; status == BL_OK && i < 3; i++) {
        status = bl_read_tuple(r, &n);
        if (status == BL_OK && n != 3) status = bl_fail_invalid(err, "cell", "three vectors of three numbers");
        for (int c = 0; status == BL_OK && c < 3; c++) status = bl_read_number(r, &cell[i][c]);
    }
    return status;
}

static enum bl_status read_pbc(struct bl_reader *r, bool pbc[3], struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_read_tuple(r, &n);
    if (status == BL_OK && n != 3) status = bl_fail_invalid(err, "pbc", "three booleans");
    for (int k = 0; status == BL_OK && k < 3; k++) status = bl_read_bool(r, &pbc[k]);
    return status;
}

static enum bl_status read_species(struct bl_reader *r, struct bl_structure *s, struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_read_list(r, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_span symbol;
        uint32_t index;
        status = bl_read_binary(r, &symbol);
        if (status == BL_OK) status = bl_structure_species(s, (const char *)symbol.data, symbol.len, &index, err);
        if (status == BL_OK && index != i) status = bl_fail_invalid(err, "species", "a symbol stands twice");
    }
    return status == BL_OK ? bl_read_list_end(r) : status;
}

/* One array of `width` elements of `size` bytes per atom. */
struct array {
    const char *key;
    size_t offset; /* of the pointer in bl_structure */
    size_t size;
};
static const struct array arrays[] = {
    {"types", offsetof(struct bl_structure, types), sizeof(uint32_t)},
    {"positions", offsetof(struct bl_structure, positions), 3 * sizeof(double)},
    {"velocities", offsetof(struct bl_structure, velocities), 3 * sizeof(double)},
    {"forces", offsetof(struct bl_structure, forces), 3 * sizeof(double)},
    {"masses", offsetof(struct bl_structure, masses), sizeof(double)},
    {"charges", offsetof(struct bl_structure, charges), sizeof(double)},
    {"fixed", offsetof(struct bl_structure, fixed), 1},
    {"occupancies", offsetof(struct bl_structure, occupancies), sizeof(double)},
    {"sites", offsetof(struct bl_structure, sites), sizeof(uint32_t)},
};
enum { ARRAYS = sizeof arrays / sizeof *arrays, TYPES = 0, POSITIONS = 1 };

static void **array_slot(struct bl_structure *s, size_t i) { return (void **)(void *)((char *)s + arrays[i].offset); }

static enum bl_status take_arrays(struct bl_structure *s, const struct bl_span spans[ARRAYS], const bool has[ARRAYS], struct bl_error *err)
{
    if (!has[TYPES]) return bl_fail_invalid(err, "types", "is missing");
    if (!has[POSITIONS]) return bl_fail_invalid(err, "positions", "is missing");
    if (spans[TYPES].len % sizeof(uint32_t) != 0) return bl_fail_invalid(err, "types", "4 bytes per atom");
    const size_t atoms = spans[TYPES].len / sizeof(uint32_t), most = bl_crystal_limits_default.max_atoms;
    if (atoms > most) return bl_fail_limit(err, "atoms", most, atoms);
    s->atoms = atoms;
    for (size_t i = 0; i < ARRAYS; i++) {
        if (!has[i]) continue;
        if (spans[i].len != atoms * arrays[i].size)
            return bl_fail_invalid(err, arrays[i].key, "%zu bytes for %zu atoms, %zu each", spans[i].len, atoms, arrays[i].size);
        void *p = bl_alloc(s->quota, spans[i].len, err);
        if (!p) return bl_alloc_status(err);
        if (spans[i].len > 0) memcpy(p, spans[i].data, spans[i].len);
        *array_slot(s, i) = p;
    }
    for (size_t i = 0; s->fixed && i < atoms; i++)
        if (s->fixed[i] > 7) return bl_fail_invalid(err, "fixed", "a byte of the sum of 1 (x), 2 (y), 4 (z) per atom");
    return BL_OK;
}

/* ---- reading: info and columns -------------------------------------------------- */

enum { INFO_VALUES_MAX = 4096 };
struct info_values {
    double reals[INFO_VALUES_MAX];
    int64_t ints[INFO_VALUES_MAX];
    bool bools[INFO_VALUES_MAX];
    size_t count;
    bool any_real, any_int, any_bool;
};

static enum bl_status read_value(struct bl_reader *r, struct info_values *v, struct bl_error *err)
{
    if (v->count == INFO_VALUES_MAX) return bl_fail_limit(err, "info values", INFO_VALUES_MAX, INFO_VALUES_MAX + 1);
    const size_t i = v->count++;
    enum bl_status status;
    switch (bl_read_type(r)) {
    case BL_TERM_ATOM:
        v->any_bool = true;
        return bl_read_bool(r, &v->bools[i]);
    case BL_TERM_INT:
        v->any_int = true;
        status = bl_read_int(r, &v->ints[i]);
        if (status == BL_OK) v->reals[i] = (double)v->ints[i];
        return status;
    default:
        v->any_real = true;
        return bl_read_float(r, &v->reals[i]);
    }
}

static enum bl_status read_vector(struct bl_reader *r, size_t n, struct info_values *v, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    for (size_t i = 0; status == BL_OK && i < n; i++) status = read_value(r, v, err);
    return status == BL_OK ? bl_read_list_end(r) : status;
}

static enum bl_status read_matrix(struct bl_reader *r, struct info_values *v, uint32_t *rows, uint32_t *columns, struct bl_error *err)
{
    size_t n, width = 0;
    enum bl_status status = bl_read_list(r, &n);
    if (status != BL_OK) return status;
    *rows = 0;
    if (n == 0 || bl_read_type(r) != BL_TERM_LIST) {
        *columns = (uint32_t)n;
        return read_vector(r, n, v, err);
    }
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        size_t here;
        status = bl_read_list(r, &here);
        if (status == BL_OK && (here == 0 || (i > 0 && here != width))) return bl_fail_invalid(err, "info", "rows of different length");
        width = here;
        if (status == BL_OK) status = read_vector(r, here, v, err);
    }
    *rows = (uint32_t)n;
    *columns = (uint32_t)width;
    return status == BL_OK ? bl_read_list_end(r) : status;
}

static enum bl_status read_info_value(struct bl_reader *r, struct bl_structure *s, struct bl_span key, struct info_values *v,
        struct bl_error *err)
{
    uint32_t rows = 0, columns = 0;
    enum bl_status status;
    v->count = 0;
    v->any_real = v->any_int = v->any_bool = false;
    const enum bl_term_type type = bl_read_type(r);
    if (type == BL_TERM_BINARY) {
        struct bl_span text;
        status = bl_read_binary(r, &text);
        if (status == BL_OK && text.len > UINT32_MAX / 2) status = bl_fail_limit(err, "info text", UINT32_MAX / 2, text.len);
        return status == BL_OK ? bl_structure_add_info(s, (const char *)key.data, key.len, BL_VALUE_TEXT, 0,
                                                             (uint32_t)text.len, text.data, err) : status;
    }
    status = type == BL_TERM_LIST ? read_matrix(r, v, &rows, &columns, err) : read_value(r, v, err);
    if (status != BL_OK) return status;
    if (v->any_bool && (v->any_int || v->any_real)) return bl_fail_invalid(err, "info", "numbers and booleans in one list");
    if (type == BL_TERM_LIST && v->count == 0) /* an empty list has no type: keep it as empty text */
        return bl_structure_add_info(s, (const char *)key.data, key.len, BL_VALUE_TEXT, 0, 0, "", err);
    const enum bl_value_type kind = v->any_bool ? BL_VALUE_BOOL : v->any_real ? BL_VALUE_REAL : BL_VALUE_INT;
    const void *values = v->any_bool ? (const void *)v->bools : v->any_real ? (const void *)v->reals : (const void *)v->ints;
    return bl_structure_add_info(s, (const char *)key.data, key.len, kind, rows, columns, values, err);
}

static enum bl_status read_info(struct bl_reader *r, struct bl_structure *s, struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_read_map(r, &n);
    if (status != BL_OK) return status;
    struct info_values *v = bl_alloc(s->quota, sizeof *v, err);
    if (!v) return bl_alloc_status(err);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_span key;
        status = bl_read_binary(r, &key);
        if (status == BL_OK && (key.len == 0 || key.len > 1024 || memchr(key.data, 0, key.len)))
            status = bl_fail_invalid(err, "info", "a key has 1 to 1024 bytes, none of them zero");
        if (status == BL_OK) status = read_info_value(r, s, key, v, err);
    }
    bl_free(v);
    return status;
}

/* columns => #{Name => #{type => real|integer|boolean, width => W, data => Binary}} */
struct column_form {
    struct bl_span type, data;
    uint64_t width;
};

static enum bl_status read_column_form(struct bl_reader *r, struct column_form *f, struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_read_map(r, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_span key;
        status = bl_read_atom(r, &key);
        if (status != BL_OK) return status;
        if (bl_span_is(&key, "type")) status = bl_read_atom(r, &f->type);
        else if (bl_span_is(&key, "width")) status = bl_read_uint(r, &f->width);
        else if (bl_span_is(&key, "data")) status = bl_read_binary(r, &f->data);
        else status = bl_read_unknown_key(r, &key);
    }
    if (status == BL_OK && (!f->type.data || f->width == 0 || f->width > 1024))
        status = bl_fail_invalid(err, "columns", "a column has type, width from 1 to 1024, and data");
    return status;
}

static enum bl_status add_column(struct bl_structure *s, struct bl_span name, const struct column_form *f, struct bl_error *err)
{
    const bool real = bl_span_is(&f->type, "real"), integer = bl_span_is(&f->type, "integer");
    if (!real && !integer && !bl_span_is(&f->type, "boolean")) return bl_fail_invalid(err, "columns", "type is real, integer or boolean");
    const enum bl_value_type type = real ? BL_VALUE_REAL : integer ? BL_VALUE_INT : BL_VALUE_BOOL;
    const size_t bytes = s->atoms * (size_t)f->width * (type == BL_VALUE_BOOL ? 1 : 8);
    if (f->data.len != bytes) return bl_fail_invalid(err, "columns", "%zu bytes of data, %zu expected", f->data.len, bytes);
    for (size_t i = 0; type == BL_VALUE_BOOL && i < bytes; i++)
        if (f->data.data[i] > 1) return bl_fail_invalid(err, "columns", "a boolean is a byte 0 or 1");
    struct bl_column *c;
    const enum bl_status status = bl_structure_add_column(s, (const char *)name.data, name.len, type, (uint32_t)f->width, &c, err);
    if (status == BL_OK && bytes > 0) memcpy(c->value.bools, f->data.data, bytes);
    return status;
}

/* After the arrays: the number of atoms must be known. */
static enum bl_status read_columns(const struct bl_span *encoded, struct bl_structure *s, const struct bl_reader *outer,
        struct bl_error *err)
{
    struct bl_reader r;
    bl_reader_init(&r, encoded, 1, &outer->limits, s->quota, err);
    bl_reader_at(&r, "columns");
    size_t n;
    enum bl_status status = bl_read_map(&r, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_span name;
        struct column_form form = {.width = 0};
        status = bl_read_binary(&r, &name);
        if (status == BL_OK && (name.len == 0 || name.len > 256 || memchr(name.data, 0, name.len)))
            status = bl_fail_invalid(err, "columns", "a name has 1 to 256 bytes, none of them zero");
        if (status == BL_OK) status = read_column_form(&r, &form, err);
        if (status == BL_OK) status = add_column(s, name, &form, err);
    }
    bl_reader_clear(&r);
    return status;
}

/* ---- reading: labels and symmetry ------------------------------------------------- */

static enum bl_status read_labels(struct bl_reader *r, struct bl_structure *s, struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_read_list(r, &n);
    if (status != BL_OK) return status;
    struct bl_buffer text;
    struct bl_printer p = {.out = &text, .err = err};
    bl_buffer_init(&text, s->quota);
    uint32_t *ends = bl_alloc_array(s->quota, n, sizeof *ends, err);
    if (!ends) return bl_alloc_status(err);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_span label;
        status = bl_read_binary(r, &label);
        if (status == BL_OK && label.len > UINT32_MAX - text.len) status = bl_fail_limit(err, "label_bytes", UINT32_MAX, label.len);
        if (status == BL_OK) bl_print_bytes(&p, (const char *)label.data, label.len);
        if (status == BL_OK) status = p.status;
        ends[i] = (uint32_t)text.len;
    }
    if (status == BL_OK) status = bl_read_list_end(r);
    if (status == BL_OK) status = bl_structure_set_labels(s, text.data, ends, n, err);
    bl_buffer_clear(&text);
    bl_free(ends);
    return status;
}

static enum bl_status read_short_text(struct bl_reader *r, char *out, size_t size, struct bl_error *err)
{
    struct bl_span text;
    const enum bl_status status = bl_read_binary(r, &text);
    if (status != BL_OK) return status;
    if (text.len >= size || (text.len > 0 && memchr(text.data, 0, text.len)))
        return bl_fail_invalid(err, "symmetry", "a name has at most %zu bytes", size - 1);
    if (text.len > 0) memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return BL_OK;
}

static enum bl_status read_operations(struct bl_reader *r, struct bl_quota *quota, struct bl_symmetry *out, struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_read_list(r, &n);
    if (status == BL_OK && n > BL_SYMOPS_MAX) status = bl_fail_limit(err, "symmetry operations", BL_SYMOPS_MAX, n);
    if (status != BL_OK) return status;
    bl_free(out->ops);
    out->count = 0;
    out->ops = bl_alloc_array(quota, n, sizeof *out->ops, err);
    if (!out->ops) return bl_alloc_status(err);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_span text;
        status = bl_read_binary(r, &text);
        if (status == BL_OK && bl_symop_parse((const char *)text.data, text.len, &out->ops[i], err) != BL_OK)
            status = bl_fail_invalid(err, "symmetry", "operation %zu is not like x,y,z", i + 1);
        out->count += status == BL_OK;
    }
    return status == BL_OK ? bl_read_list_end(r) : status;
}

/* symmetry => #{number, name, hall, operations}: all but the operations optional */
static enum bl_status read_symmetry(struct bl_reader *r, struct bl_structure *s, struct bl_error *err)
{
    struct bl_symmetry y = {.count = 0};
    size_t n;
    enum bl_status status = bl_read_map(r, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_span key;
        uint64_t number;
        status = bl_read_atom(r, &key);
        if (status != BL_OK) break;
        if (bl_span_is(&key, "number")) {
            status = bl_read_uint(r, &number);
            if (status == BL_OK && number > 230) status = bl_fail_invalid(err, "symmetry", "a number is at most 230");
            if (status == BL_OK) y.number = (uint16_t)number;
        } else if (bl_span_is(&key, "name")) {
            status = read_short_text(r, y.name, sizeof y.name, err);
        } else if (bl_span_is(&key, "hall")) {
            status = read_short_text(r, y.hall, sizeof y.hall, err);
        } else if (bl_span_is(&key, "operations")) {
            status = read_operations(r, s->quota, &y, err);
        } else {
            status = bl_read_unknown_key(r, &key);
        }
    }
    if (status == BL_OK && y.count == 0) status = bl_fail_invalid(err, "symmetry", "operations are missing");
    if (status == BL_OK) status = bl_structure_set_symmetry(s, &y, err);
    bl_symmetry_clear(&y);
    return status;
}

/* ---- reading: the structure ------------------------------------------------------- */

struct structure_form {
    struct bl_term_structure *t;
    struct bl_span arrays[ARRAYS], columns;
    bool has_array[ARRAYS];
    bool has_cell, has_pbc, has_species;
};

static enum bl_status keep_foreign(struct bl_reader *r, struct bl_term_structure *t, struct bl_span key, struct bl_error *err)
{
    if (t->foreign_count == BL_FOREIGN_MAX) return bl_fail_limit(err, "structure keys", BL_FOREIGN_MAX, BL_FOREIGN_MAX + 1);
    if (key.len > 255) return bl_fail_invalid(err, "structure", "a key has at most 255 bytes");
    const enum bl_status status = bl_read_raw(r, &t->foreign_value[t->foreign_count]);
    if (status == BL_OK) t->foreign_key[t->foreign_count++] = key;
    return status;
}

static enum bl_status read_field(struct bl_reader *r, struct structure_form *f, struct bl_span key, struct bl_error *err)
{
    struct bl_structure *s = &f->t->s;
    for (size_t i = 0; i < ARRAYS; i++) {
        if (!bl_span_is(&key, arrays[i].key)) continue;
        bl_reader_at(r, arrays[i].key);
        f->has_array[i] = true;
        return bl_read_binary(r, &f->arrays[i]);
    }
    if (bl_span_is(&key, "cell")) {
        bl_reader_at(r, "cell");
        f->has_cell = true;
        return read_cell(r, s->cell, err);
    }
    if (bl_span_is(&key, "pbc")) {
        bl_reader_at(r, "pbc");
        f->has_pbc = true;
        return read_pbc(r, s->pbc, err);
    }
    if (bl_span_is(&key, "species")) {
        bl_reader_at(r, "species");
        f->has_species = true;
        return read_species(r, s, err);
    }
    if (bl_span_is(&key, "info")) {
        bl_reader_at(r, "info");
        return read_info(r, s, err);
    }
    if (bl_span_is(&key, "columns")) {
        bl_reader_at(r, "columns");
        return bl_read_raw(r, &f->columns);
    }
    if (bl_span_is(&key, "labels")) {
        bl_reader_at(r, "labels");
        return read_labels(r, s, err);
    }
    if (bl_span_is(&key, "symmetry")) {
        bl_reader_at(r, "symmetry");
        return read_symmetry(r, s, err);
    }
    return keep_foreign(r, f->t, key, err);
}

enum bl_status bl_read_structure(struct bl_reader *r, struct bl_quota *quota, struct bl_term_structure *t, struct bl_error *err)
{
    struct structure_form f = {.t = t};
    bl_structure_init(&t->s, quota);
    t->foreign_count = 0;
    size_t n;
    bl_reader_at(r, "structure");
    enum bl_status status = bl_read_map(r, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_span key;
        bl_reader_at(r, "structure");
        status = bl_read_atom(r, &key);
        if (status == BL_OK) status = read_field(r, &f, key, err);
    }
    if (status == BL_OK && !f.has_cell) status = bl_fail_invalid(err, "cell", "is missing");
    if (status == BL_OK && !f.has_pbc) status = bl_fail_invalid(err, "pbc", "is missing");
    if (status == BL_OK && !f.has_species) status = bl_fail_invalid(err, "species", "is missing");
    if (status == BL_OK) status = take_arrays(&t->s, f.arrays, f.has_array, err);
    if (status == BL_OK && f.columns.data) status = read_columns(&f.columns, &t->s, r, err);
    if (status == BL_OK) status = bl_structure_check(&t->s, err);
    if (status != BL_OK) bl_structure_clear(&t->s);
    return status;
}

/* ---- writing ------------------------------------------------------------------------ */

static void write_scalar(struct bl_writer *w, const struct bl_info *x, size_t i)
{
    if (x->type == BL_VALUE_BOOL) bl_write_bool(w, x->value.bools[i]);
    else if (x->type == BL_VALUE_INT) bl_write_int(w, x->value.ints[i]);
    else bl_write_float(w, x->value.reals[i]);
}

static void write_info_value(struct bl_writer *w, const struct bl_info *x)
{
    if (x->type == BL_VALUE_TEXT) {
        bl_write_binary(w, x->value.text, x->columns);
    } else if (x->columns == 0) {
        write_scalar(w, x, 0);
    } else if (x->rows == 0) {
        bl_write_list(w, x->columns);
        for (size_t i = 0; i < x->columns; i++) write_scalar(w, x, i);
        bl_write_end(w);
    } else {
        bl_write_list(w, x->rows);
        for (size_t i = 0; i < x->rows; i++) {
            bl_write_list(w, x->columns);
            for (size_t c = 0; c < x->columns; c++) write_scalar(w, x, i * x->columns + c);
            bl_write_end(w);
        }
        bl_write_end(w);
    }
}

/* The last of several equal keys counts. */
static bool info_is_last(const struct bl_structure *s, size_t i)
{
    for (size_t k = i + 1; k < s->info_count; k++)
        if (strcmp(s->info[i].key, s->info[k].key) == 0) return false;
    return true;
}

static void write_info(struct bl_writer *w, const struct bl_structure *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->info_count; i++) n += info_is_last(s, i);
    bl_write_atom(w, "info");
    bl_write_map(w, n);
    for (size_t i = 0; i < s->info_count; i++) {
        if (!info_is_last(s, i)) continue;
        bl_write_text(w, s->info[i].key);
        write_info_value(w, &s->info[i]);
    }
    bl_write_end(w);
}

static void write_columns(struct bl_writer *w, const struct bl_structure *s)
{
    bl_write_atom(w, "columns");
    bl_write_map(w, s->column_count);
    for (size_t i = 0; i < s->column_count; i++) {
        const struct bl_column *c = &s->columns[i];
        bl_write_text(w, c->name);
        bl_write_map(w, 3);
        bl_write_keyed_atom(w, "type", c->type == BL_VALUE_REAL ? "real" : c->type == BL_VALUE_INT ? "integer" : "boolean");
        bl_write_keyed_uint(w, "width", c->width);
        bl_write_atom(w, "data");
        bl_write_binary(w, c->value.bools, s->atoms * c->width * (c->type == BL_VALUE_BOOL ? 1 : 8));
        bl_write_end(w);
    }
    bl_write_end(w);
}

static void write_cell(struct bl_writer *w, const struct bl_structure *s)
{
    bl_write_atom(w, "cell");
    bl_write_tuple(w, 3);
    for (int i = 0; i < 3; i++) {
        bl_write_tuple(w, 3);
        for (int c = 0; c < 3; c++) bl_write_float(w, s->cell[i][c]);
        bl_write_end(w);
    }
    bl_write_end(w);
    bl_write_atom(w, "pbc");
    bl_write_tuple(w, 3);
    for (int k = 0; k < 3; k++) bl_write_bool(w, s->pbc[k]);
    bl_write_end(w);
}

static void write_labels(struct bl_writer *w, const struct bl_structure *s)
{
    bl_write_atom(w, "labels");
    bl_write_list(w, s->label_count);
    for (size_t i = 0, start = 0; i < s->label_count; start = s->label_ends[i++])
        bl_write_binary(w, s->label_text + start, s->label_ends[i] - start);
    bl_write_end(w);
}

void bl_write_symmetry(struct bl_writer *w, const struct bl_symmetry *y)
{
    bl_write_map(w, 1 + (size_t)(y->number > 0) + (size_t)(y->name[0] != '\0') + (size_t)(y->hall[0] != '\0'));
    if (y->number > 0) {
        bl_write_keyed_uint(w, "number", y->number);
    }
    if (y->name[0]) {
        bl_write_keyed_text(w, "name", y->name);
    }
    if (y->hall[0]) {
        bl_write_keyed_text(w, "hall", y->hall);
    }
    bl_write_atom(w, "operations");
    bl_write_list(w, y->count);
    for (size_t i = 0; i < y->count; i++) {
        char text[BL_SYMOP_SIZE];
        bl_symop_format(&y->ops[i], text);
        bl_write_text(w, text);
    }
    bl_write_end(w);
    bl_write_end(w);
}

void bl_write_structure(struct bl_writer *w, const struct bl_structure *s, const struct bl_term_structure *foreign)
{
    struct bl_structure view = *s; /* array_slot wants one that may be written */
    size_t pairs = 3u + (s->info_count > 0) + (s->column_count > 0) + (foreign ? foreign->foreign_count : 0);
    for (size_t i = 0; i < ARRAYS; i++) pairs += *array_slot(&view, i) != NULL;
    pairs += (size_t)(s->label_text != NULL) + (size_t)(s->symmetry != NULL);
    bl_write_map(w, pairs);
    write_cell(w, s);
    bl_write_atom(w, "species");
    bl_write_list(w, s->species_count);
    for (size_t i = 0; i < s->species_count; i++) bl_write_text(w, s->species[i]);
    bl_write_end(w);
    for (size_t i = 0; i < ARRAYS; i++) {
        const void *values = *array_slot(&view, i);
        if (!values) continue;
        bl_write_atom(w, arrays[i].key);
        bl_write_binary(w, values, s->atoms * arrays[i].size);
    }
    if (s->info_count > 0) write_info(w, s);
    if (s->column_count > 0) write_columns(w, s);
    if (s->label_text) write_labels(w, s);
    if (s->symmetry) {
        bl_write_atom(w, "symmetry");
        bl_write_symmetry(w, s->symmetry);
    }
    for (size_t i = 0; foreign && i < foreign->foreign_count; i++) {
        char key[256];
        memcpy(key, foreign->foreign_key[i].data, foreign->foreign_key[i].len);
        key[foreign->foreign_key[i].len] = '\0';
        bl_write_atom(w, key);
        bl_write_raw(w, &foreign->foreign_value[i]);
    }
    bl_write_end(w);
}
