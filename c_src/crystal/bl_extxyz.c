/* SPDX-License-Identifier: Apache-2.0
 *
 * XYZ and extended XYZ (libAtoms/extxyz, README): frames of
 *
 *     count
 *     comment, or  Lattice="ax ay az bx by bz cx cy cz" Properties=name:type:width:... key=value ...
 *     count rows
 *
 * A comment is "extended" when it sets Lattice or Properties; otherwise it is free text
 * and rows are a symbol and a position.
 */
#include <string.h>

#include "bl_crystal.h"

enum { COLUMNS_MAX = 64, VALUES_MAX = 4096 };

/* What a column of the rows goes to. */
enum target { TO_NOTHING, TO_SPECIES, TO_NUMBER, TO_REALS, TO_FIXED, TO_MOVABLE, TO_COLUMN };

struct property {
    enum target target;
    enum bl_value_type type;
    uint32_t width;
    double *reals;       /* TO_REALS */
    size_t reals_at;     /* offset of their pointer in bl_structure */
    size_t column_index; /* TO_COLUMN */
    struct bl_token name;
};

struct frame {
    struct bl_reader_state *r;
    struct bl_text *t;
    struct bl_structure *s;
    struct property properties[COLUMNS_MAX];
    size_t property_count;
    size_t atoms;
    bool has_lattice, has_pbc, extended;
    struct bl_token properties_text;
    struct bl_text properties_at;
    /* The last symbol and its type: atoms of a kind stand together. */
    struct bl_token last_symbol;
    uint32_t last_type;
};

/* ---- values of the comment line ---------------------------------------------------- */

/* A parsed value: text, or up to VALUES_MAX numbers or logicals, of one type. */
struct value {
    enum bl_value_type type;
    uint32_t rows, columns; /* as in bl_info */
    size_t count;
    const char *text; /* unescaped, in scratch */
    double *reals;
    int64_t *ints;
    bool *bools;
};

struct scratch {
    double reals[VALUES_MAX];
    int64_t ints[VALUES_MAX];
    bool bools[VALUES_MAX];
};

static bool token_is(struct bl_token t, const char *text)
{
    return t.len == strlen(text) && memcmp(t.p, text, t.len) == 0;
}

static bool token_logical(struct bl_token t, bool *out)
{
    if (token_is(t, "T") || token_is(t, "True") || token_is(t, "true") || token_is(t, "TRUE")) *out = true;
    else if (token_is(t, "F") || token_is(t, "False") || token_is(t, "false") || token_is(t, "FALSE")) *out = false;
    else return false;
    return true;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\f' || c == '\v'; }

/* Splits a list at blanks and commas; inner brackets make rows. False: not a list of
 * numbers or logicals of one kind (integers among reals are reals). */
static bool parse_list(struct bl_token text, bool brackets, struct scratch *x, struct value *v)
{
    const char *p = text.p, *const end = text.p + text.len;
    size_t n = 0, rows = 0, row_start = 0, row_width = 0;
    bool ints = true, reals = true, bools = true, in_row = false;
    while (p < end) {
        if (is_space(*p) || *p == ',') {
            p++;
        } else if (brackets && *p == '[') {
            if (in_row) return false;
            in_row = true;
            row_start = n;
            p++;
        } else if (brackets && *p == ']') {
            if (!in_row || (rows > 0 && n - row_start != row_width)) return false;
            in_row = false;
            row_width = n - row_start;
            rows++;
            p++;
        } else {
            struct bl_token w = {p, 0};
            while (p < end && !is_space(*p) && *p != ',' && !(brackets && (*p == '[' || *p == ']'))) p++;
            w.len = (size_t)(p - w.p);
            if (n == VALUES_MAX) return false;
            bools = bools && token_logical(w, &x->bools[n]);
            ints = ints && bl_token_integer(w, &x->ints[n]);
            reals = reals && bl_token_number(w, &x->reals[n]);
            if (!bools && !reals) return false;
            n++;
        }
    }
    if (n == 0 || in_row || (rows > 0 && rows * row_width != n)) return false;
    *v = (struct value){.count = n, .rows = (uint32_t)rows, .columns = (uint32_t)(rows ? row_width : n)};
    v->type = bools ? BL_VALUE_BOOL : ints ? BL_VALUE_INT : BL_VALUE_REAL;
    v->reals = x->reals;
    v->ints = x->ints;
    v->bools = x->bools;
    return true;
}

static bool is_bare_end(char c) { return is_space(c) || c == '\n' || c == '\r'; }

/* A word (a key ends at "=", too), or a string in double quotes with \" \\ \n; the unescaped text goes to `room`. */
static enum bl_status read_string(struct bl_text *t, bool is_key, char *room, struct bl_token *out, struct bl_error *err)
{
    const struct bl_text start = *t;
    size_t n = 0;
    const bool quoted = t->p < t->end && *t->p == '"';
    if (quoted) t->p++;
    for (;; t->p++) {
        if (bl_text_line_end(t)) {
            if (quoted) return bl_text_expected(&start, err, "a closing quote before the end of the line");
            break;
        }
        if (quoted ? *t->p == '"' : is_bare_end(*t->p) || (is_key && *t->p == '=')) break;
        if (quoted && *t->p == '\\' && t->p + 1 < t->end && !is_bare_end(t->p[1])) {
            t->p++;
            room[n++] = *t->p == 'n' ? '\n' : *t->p;
        } else {
            room[n++] = *t->p;
        }
    }
    if (quoted) t->p++;
    *out = (struct bl_token){room, n};
    return BL_OK;
}

/* "[...]" or "{...}": up to the matching bracket on this line. */
static enum bl_status read_bracketed(struct bl_text *t, struct bl_token *out, struct bl_error *err)
{
    const struct bl_text start = *t;
    const char open = *t->p, close = open == '[' ? ']' : '}';
    size_t depth = 0;
    for (; !bl_text_line_end(t); t->p++) {
        if (*t->p == open) depth++;
        if (*t->p == close && --depth == 0) {
            *out = (struct bl_token){start.p + 1, (size_t)(t->p - start.p - 1)};
            t->p++;
            return BL_OK;
        }
    }
    return bl_text_expected(&start, err, "a closing %c before the end of the line", close);
}

static enum bl_status read_value(struct bl_text *t, char *room, struct scratch *x, struct value *v, struct bl_error *err)
{
    struct bl_token text;
    enum bl_status status;
    if (t->p < t->end && (*t->p == '[' || *t->p == '{')) {
        const bool brackets = *t->p == '[';
        status = read_bracketed(t, &text, err);
        if (status != BL_OK) return status;
        if (parse_list(text, brackets, x, v)) return BL_OK;
    } else {
        status = read_string(t, false, room, &text, err);
        if (status != BL_OK) return status;
        if (memchr(text.p, ',', text.len) == NULL && parse_list(text, false, x, v)) {
            if (v->count == 1) v->columns = 0; /* a scalar, quoted or not */
            return BL_OK;
        }
    }
    *v = (struct value){.type = BL_VALUE_TEXT, .columns = (uint32_t)text.len, .count = text.len, .text = text.p};
    return BL_OK;
}

/* ---- keys --------------------------------------------------------------------------- */

static void as_reals(struct value *v)
{
    v->type = BL_VALUE_REAL; /* parse_list has filled the reals beside the integers */
}

static enum bl_status take_lattice(struct frame *f, const struct bl_text *at, struct value *v, struct bl_error *err)
{
    if ((v->type != BL_VALUE_REAL && v->type != BL_VALUE_INT) || (v->count != 9 && v->count != 3))
        return bl_text_expected(at, err, "Lattice with 9 numbers (or 3, the diagonal)");
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < 3; c++) f->s->cell[i][c] = v->count == 9 ? v->reals[3 * i + c] : i == c ? v->reals[i] : 0;
    f->has_lattice = true;
    return BL_OK;
}

static enum bl_status take_pbc(struct frame *f, const struct bl_text *at, const struct value *v, struct bl_error *err)
{
    const bool numbers = v->type == BL_VALUE_INT, logicals = v->type == BL_VALUE_BOOL;
    if ((!numbers && !logicals) || (v->count != 3 && v->count != 1))
        return bl_text_expected(at, err, "pbc with three of T and F");
    for (int k = 0; k < 3; k++) {
        const size_t i = v->count == 3 ? (size_t)k : 0;
        if (numbers && v->ints[i] != 0 && v->ints[i] != 1) return bl_text_expected(at, err, "pbc with three of T and F");
        f->s->pbc[k] = numbers ? v->ints[i] == 1 : v->bools[i];
    }
    f->has_pbc = true;
    return BL_OK;
}

static enum bl_status take_key(struct frame *f, const struct bl_text *at, struct bl_token key, struct value *v, struct bl_error *err)
{
    if (token_is(key, "Lattice") || token_is(key, "lattice")) return take_lattice(f, at, v, err);
    if (token_is(key, "pbc")) return take_pbc(f, at, v, err);
    const void *values = v->type == BL_VALUE_TEXT  ? (const void *)v->text
                         : v->type == BL_VALUE_INT ? (const void *)v->ints
                         : v->type == BL_VALUE_BOOL ? (const void *)v->bools
                                                    : (const void *)v->reals;
    return bl_structure_add_info(f->s, key.p, key.len, v->type, v->rows, v->columns, values, err);
}

static enum bl_status read_pair(struct frame *f, struct bl_text *t, char *room, struct scratch *x, struct bl_error *err)
{
    const struct bl_text at = *t;
    struct bl_token key;
    struct value v;
    enum bl_status status = read_string(t, true, room, &key, err);
    if (status != BL_OK) return status;
    if (key.len == 0) return bl_text_expected(&at, err, "a key");
    char *const value_room = room + key.len;
    const bool properties = token_is(key, "Properties") || token_is(key, "properties");
    struct bl_text ahead = *t;
    bl_text_blanks(&ahead);
    if (ahead.p >= ahead.end || *ahead.p != '=') { /* a flag */
        if (properties) return bl_text_expected(&ahead, err, "= and the value of Properties");
        x->bools[0] = true;
        v = (struct value){.type = BL_VALUE_BOOL, .count = 1, .bools = x->bools};
        return take_key(f, &at, key, &v, err);
    }
    *t = ahead;
    t->p++;
    bl_text_blanks(t);
    if (bl_text_line_end(t)) return bl_text_expected(t, err, "the value of a key");
    if (properties) {
        f->properties_at = *t;
        return read_string(t, false, value_room, &f->properties_text, err);
    }
    status = read_value(t, value_room, x, &v, err);
    if (status != BL_OK) return status;
    if (!bl_text_line_end(t) && !is_space(*t->p)) return bl_text_expected(t, err, "a blank behind a value");
    if (key.len == 6 && v.type == BL_VALUE_INT && token_is(key, "energy")) as_reals(&v);
    return take_key(f, &at, key, &v, err);
}

/* Does the comment set Lattice or Properties? */
static bool is_extended(struct bl_token comment)
{
    static const char *const keys[] = {"Lattice", "lattice", "Properties", "properties"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const size_t len = strlen(keys[k]);
        for (size_t i = 0; i + len < comment.len; i++) {
            if (memcmp(comment.p + i, keys[k], len) != 0 || (i > 0 && !is_space(comment.p[i - 1]))) continue;
            size_t j = i + len;
            while (j < comment.len && is_space(comment.p[j])) j++;
            if (j < comment.len && comment.p[j] == '=') return true;
        }
    }
    return false;
}

static enum bl_status read_pairs(struct frame *f, char *room, struct scratch *x, struct bl_error *err)
{
    for (;;) {
        bl_text_blanks(f->t);
        if (bl_text_line_end(f->t)) return BL_OK;
        const char *before = f->t->p;
        const enum bl_status status = read_pair(f, f->t, room, x, err);
        if (status != BL_OK) return status;
        /* Properties is looked at later: keep what was unescaped so far. */
        room += f->t->p - before;
    }
}

/* ---- properties ----------------------------------------------------------------------- */

struct known {
    const char *name;
    char type; /* 0: R or I */
    uint32_t width;
    enum target target;
    size_t offset; /* TO_REALS: of the pointer in bl_structure */
};
#define REALS(field) TO_REALS, offsetof(struct bl_structure, field)
static const struct known known_properties[] = {
    {"species", 'S', 1, TO_SPECIES, 0},      {"element", 'S', 1, TO_SPECIES, 0},
    {"Z", 'I', 1, TO_NUMBER, 0},             {"numbers", 'I', 1, TO_NUMBER, 0},
    {"atomic_numbers", 'I', 1, TO_NUMBER, 0}, {"pos", 0, 3, REALS(positions)},
    {"positions", 0, 3, REALS(positions)},   {"forces", 0, 3, REALS(forces)},
    {"force", 0, 3, REALS(forces)},          {"velo", 0, 3, REALS(velocities)},
    {"velocities", 0, 3, REALS(velocities)}, {"vel", 0, 3, REALS(velocities)},
    {"masses", 0, 1, REALS(masses)},         {"mass", 0, 1, REALS(masses)},
    {"charges", 0, 1, REALS(charges)},       {"charge", 0, 1, REALS(charges)},
    {"occupancies", 0, 1, REALS(occupancies)}, {"occupancy", 0, 1, REALS(occupancies)},
    {"fixed", 'L', 1, TO_FIXED, 0},          {"fixed", 'L', 3, TO_FIXED, 0},
    {"move_mask", 'L', 1, TO_MOVABLE, 0},    {"move_mask", 'L', 3, TO_MOVABLE, 0},
};

static const struct known *find_known(struct bl_token name, char type, uint32_t width)
{
    for (size_t i = 0; i < sizeof known_properties / sizeof *known_properties; i++) {
        const struct known *k = &known_properties[i];
        const bool fits = k->type == type || (k->type == 0 && (type == 'R' || type == 'I')) ||
                          ((k->target == TO_FIXED || k->target == TO_MOVABLE) && type == 'I');
        if (token_is(name, k->name) && fits && k->width == width) return k;
    }
    return NULL;
}

static struct bl_token next_field(struct bl_token *rest)
{
    const char *colon = memchr(rest->p, ':', rest->len);
    const size_t len = colon ? (size_t)(colon - rest->p) : rest->len;
    const struct bl_token field = {rest->p, len};
    rest->p += len + (colon != NULL);
    rest->len -= len + (colon != NULL);
    return field;
}

/* Another name of the same quantity stood before. */
static bool is_taken(const struct frame *f, const struct known *k)
{
    for (size_t i = 0; i + 1 < f->property_count; i++)
        if (f->properties[i].target == TO_REALS && f->properties[i].reals_at == k->offset) return true;
    return false;
}

static enum bl_status add_property(struct frame *f, struct bl_token name, char type, uint32_t width, struct bl_error *err)
{
    if (f->property_count == COLUMNS_MAX) return bl_fail_limit(err, "columns", COLUMNS_MAX, COLUMNS_MAX + 1);
    struct property *p = &f->properties[f->property_count++];
    const struct known *k = find_known(name, type, width);
    p->width = width;
    p->name = name;
    p->type = type == 'R' ? BL_VALUE_REAL : type == 'I' ? BL_VALUE_INT : type == 'L' ? BL_VALUE_BOOL : BL_VALUE_TEXT;
    p->target = k ? k->target : type == 'S' ? TO_NOTHING : TO_COLUMN;
    for (size_t i = 0; i + 1 < f->property_count; i++)
        if (f->properties[i].name.len == name.len && memcmp(f->properties[i].name.p, name.p, name.len) == 0)
            return bl_fail_invalid(err, "Properties", "%.*s stands twice (line %u)", (int)(name.len < 40 ? name.len : 40), name.p,
                    f->t->line);
    p->reals_at = k ? k->offset : 0;
    if (p->target == TO_NOTHING)
        bl_warn(&f->r->out->warnings, "the text column %.*s is left out", (int)(name.len < 40 ? name.len : 40), name.p);
    if (p->target == TO_REALS && is_taken(f, k)) {
        bl_warn(&f->r->out->warnings, "a second column for the same quantity, %.*s, is kept under its name",
                (int)(name.len < 40 ? name.len : 40), name.p);
        p->target = TO_COLUMN;
    }
    if (p->target == TO_REALS) {
        double **slot = (double **)(void *)((char *)f->s + k->offset);
        const enum bl_status status = bl_structure_add(f->s, slot, width, sizeof(double), err);
        if (status != BL_OK) return status;
        p->reals = *slot;
    }
    if (p->target == TO_FIXED || p->target == TO_MOVABLE) return bl_structure_add(f->s, &f->s->fixed, 1, 1, err);
    if (p->target == TO_COLUMN) {
        struct bl_column *c;
        const enum bl_status status = bl_structure_add_column(f->s, name.p, name.len, p->type, width, &c, err);
        p->column_index = f->s->column_count - 1;
        return status;
    }
    return BL_OK;
}

static bool has_target(const struct frame *f, enum target target, const double *reals)
{
    for (size_t i = 0; i < f->property_count; i++)
        if (f->properties[i].target == target && (target != TO_REALS || f->properties[i].reals == reals)) return true;
    return false;
}

static enum bl_status read_properties(struct frame *f, struct bl_error *err)
{
    struct bl_token rest = f->properties_text;
    while (rest.len > 0) {
        const struct bl_token name = next_field(&rest), type = next_field(&rest), width = next_field(&rest);
        int64_t n;
        if (name.len == 0 || type.len != 1 || !memchr("SRIL", type.p[0], 4) || !bl_token_integer(width, &n) || n < 1 || n > 1024)
            return bl_text_expected(&f->properties_at, err, "Properties as name:S|R|I|L:width, separated by colons");
        const enum bl_status status = add_property(f, name, type.p[0], (uint32_t)n, err);
        if (status != BL_OK) return status;
    }
    if (!has_target(f, TO_REALS, f->s->positions)) return bl_fail_invalid(err, "Properties", "no pos:R:3 (line %u)", f->properties_at.line);
    if (!has_target(f, TO_SPECIES, NULL) && !has_target(f, TO_NUMBER, NULL))
        return bl_fail_invalid(err, "Properties", "neither species:S:1 nor Z:I:1 (line %u)", f->properties_at.line);
    return BL_OK;
}

static enum bl_status default_properties(struct frame *f, struct bl_error *err)
{
    enum bl_status status = add_property(f, (struct bl_token){"species", 7}, 'S', 1, err);
    if (status == BL_OK) status = add_property(f, (struct bl_token){"pos", 3}, 'R', 3, err);
    return status;
}

/* ---- rows -------------------------------------------------------------------------------- */

static enum bl_status set_number(struct frame *f, const struct bl_text *at, size_t atom, int64_t z, struct bl_error *err)
{
    if (z < 0 || z >= BL_ELEMENT_COUNT) return bl_text_expected(at, err, "an atomic number from 0 to %d", BL_ELEMENT_COUNT - 1);
    const char *symbol = bl_elements[z].symbol;
    return bl_structure_species(f->s, symbol, strlen(symbol), &f->s->types[atom], err);
}

static enum bl_status set_symbol(struct frame *f, const struct bl_text *at, size_t atom, struct bl_token w, struct bl_error *err)
{
    if (w.len == f->last_symbol.len && w.len > 0 && memcmp(w.p, f->last_symbol.p, w.len) == 0) {
        f->s->types[atom] = f->last_type;
        return BL_OK;
    }
    int64_t z;
    enum bl_status status;
    if (bl_token_integer(w, &z)) {
        bl_warn(&f->r->out->warnings, "species are given as atomic numbers");
        status = set_number(f, at, atom, z, err);
    } else {
        double number;
        if (w.len == 0 || w.len >= BL_SYMBOL_SIZE || bl_token_number(w, &number))
            return bl_text_expected(at, err, "the symbol of atom %zu of %zu", atom + 1, f->atoms);
        const struct bl_symbol symbol = bl_symbol_of(w);
        if (!symbol.known) bl_warn(&f->r->out->warnings, "\"%s\" is not an element", symbol.text);
        status = bl_structure_species(f->s, symbol.text, strlen(symbol.text), &f->s->types[atom], err);
    }
    f->last_symbol = w;
    f->last_type = f->s->types[atom];
    return status;
}

static enum bl_status set_fixed(struct frame *f, const struct property *p, size_t atom, struct bl_error *err)
{
    uint8_t fixed = 0;
    for (uint32_t k = 0; k < p->width; k++) {
        bl_text_blanks(f->t);
        const struct bl_text at = *f->t;
        const struct bl_token w = bl_text_word(f->t);
        bool on;
        int64_t number;
        if (p->type == BL_VALUE_INT && bl_token_integer(w, &number)) on = number != 0;
        else if (!token_logical(w, &on)) return bl_text_expected(&at, err, "T or F for atom %zu", atom + 1);
        if (on == (p->target == TO_FIXED)) fixed |= (uint8_t)(p->width == 1 ? 7 : 1u << k);
    }
    f->s->fixed[atom] = fixed;
    return BL_OK;
}

static enum bl_status set_column(struct frame *f, const struct property *p, size_t atom, struct bl_error *err)
{
    struct bl_column *c = &f->s->columns[p->column_index];
    for (uint32_t k = 0; k < p->width; k++) {
        bl_text_blanks(f->t);
        const struct bl_text at = *f->t;
        const struct bl_token w = bl_text_word(f->t);
        const size_t i = atom * p->width + k;
        const bool good = p->type == BL_VALUE_REAL  ? bl_token_number(w, &c->value.reals[i])
                          : p->type == BL_VALUE_INT ? bl_token_integer(w, &c->value.ints[i])
                                                    : token_logical(w, &c->value.bools[i]);
        if (!good)
            return bl_text_expected(&at, err, "%s for %s of atom %zu",
                                    p->type == BL_VALUE_REAL  ? "a number"
                                    : p->type == BL_VALUE_INT ? "an integer"
                                                              : "T or F",
                                    c->name, atom + 1);
    }
    return BL_OK;
}

static enum bl_status read_property(struct frame *f, const struct property *p, size_t atom, struct bl_error *err)
{
    bl_text_blanks(f->t);
    const struct bl_text at = *f->t;
    int64_t z;
    switch (p->target) {
    case TO_SPECIES:
        return set_symbol(f, &at, atom, bl_text_word(f->t), err);
    case TO_NUMBER:
        if (!bl_token_integer(bl_text_word(f->t), &z)) return bl_text_expected(&at, err, "an atomic number");
        /* Beside a species column the number is only another name for it. */
        return has_target(f, TO_SPECIES, NULL) ? BL_OK : set_number(f, &at, atom, z, err);
    case TO_REALS:
        for (uint32_t k = 0; k < p->width; k++) {
            if (bl_text_number(f->t, &p->reals[atom * p->width + k], "", NULL) != BL_OK) {
                bl_text_blanks(f->t);
                return bl_text_expected(f->t, err, "a number in the row of atom %zu of %zu", atom + 1, f->atoms);
            }
        }
        return BL_OK;
    case TO_FIXED:
    case TO_MOVABLE:
        return set_fixed(f, p, atom, err);
    case TO_COLUMN:
        return set_column(f, p, atom, err);
    case TO_NOTHING:
        for (uint32_t k = 0; k < p->width; k++)
            if (bl_text_word(f->t).len == 0) return bl_text_expected(f->t, err, "a word in the row of atom %zu", atom + 1);
        return BL_OK;
    }
    return BL_OK;
}

static enum bl_status read_rows(struct frame *f, struct bl_error *err)
{
    for (size_t atom = 0; atom < f->atoms; atom++) {
        if (atom % 4096 == 0) {
            const enum bl_status stop = bl_ctx_check(f->r->ctx, err);
            if (stop != BL_OK) return stop;
        }
        if (bl_text_end(f->t)) return bl_text_expected(f->t, err, "the row of atom %zu of %zu", atom + 1, f->atoms);
        for (size_t i = 0; i < f->property_count; i++) {
            const enum bl_status status = read_property(f, &f->properties[i], atom, err);
            if (status != BL_OK) return status;
        }
        bl_text_blanks(f->t);
        if (!bl_text_line_end(f->t)) {
            if (f->extended) return bl_text_expected(f->t, err, "the end of the line: Properties name no more columns");
            bl_warn(&f->r->out->warnings, "columns behind the position are left out: nothing says what they are");
        }
        bl_text_next_line(f->t);
    }
    return BL_OK;
}

/* ---- frames -------------------------------------------------------------------------------- */

static size_t line_bytes(const struct bl_text *t)
{
    struct bl_text at = *t;
    while (!bl_text_line_end(&at)) at.p++;
    return (size_t)(at.p - t->p);
}

static enum bl_status read_comment(struct frame *f, struct bl_error *err)
{
    const struct bl_token comment = bl_text_rest(f->t);
    f->extended = is_extended(comment);
    if (!f->extended) {
        enum bl_status status = default_properties(f, err);
        if (status == BL_OK && comment.len > 0)
            status = bl_structure_add_info(f->s, "comment", 7, BL_VALUE_TEXT, 0, (uint32_t)comment.len, comment.p, err);
        return status;
    }
    /* Unescaped text is never longer than the line it comes from, trailing blanks included. */
    char *room = bl_alloc(f->s->quota, line_bytes(f->t) + 1, err);
    struct scratch *x = room ? bl_alloc(f->s->quota, sizeof *x, err) : NULL;
    enum bl_status status = x ? read_pairs(f, room, x, err) : err->status;
    if (status == BL_OK) status = f->properties_text.p ? read_properties(f, err) : default_properties(f, err);
    bl_free(x);
    bl_free(room);
    for (size_t i = 0; i < f->property_count; i++) f->properties[i].name = (struct bl_token){NULL, 0}; /* lay in room */
    return status;
}

static void default_pbc(struct frame *f)
{
    if (f->has_lattice && !f->has_pbc)
        for (int k = 0; k < 3; k++) f->s->pbc[k] = bl_dot(f->s->cell[k], f->s->cell[k]) > 0;
    bool periodic = false;
    for (int k = 0; k < 3; k++) periodic = periodic || f->s->pbc[k];
    if (!f->has_lattice && periodic) {
        bl_warn(&f->r->out->warnings, "pbc without a Lattice: read as not periodic");
        for (int k = 0; k < 3; k++) f->s->pbc[k] = false;
    }
}

static enum bl_status read_frame(struct bl_reader_state *r, struct frame *f, struct bl_error *err)
{
    bl_text_blanks(f->t);
    const struct bl_text at = *f->t;
    int64_t count;
    if (!bl_token_integer(bl_text_word(f->t), &count) || count < 0 || bl_text_rest(f->t).len > 0)
        return bl_text_expected(&at, err, "the number of atoms, alone on its line");
    bl_text_next_line(f->t);
    const size_t left = (size_t)(f->t->end - f->t->p);
    if ((uint64_t)count > r->limits->max_atoms) return bl_fail_limit(err, "atoms", r->limits->max_atoms, (uint64_t)count);
    if ((size_t)count > left / BL_ROW_BYTES_MIN + 1)
        return bl_text_expected(&at, err, "a number of atoms that fits into the %zu bytes which follow", left);
    f->atoms = (size_t)count;
    f->s = bl_parsed_add(r->out, r->limits, err);
    if (!f->s) return err->status;
    enum bl_status status = bl_structure_allocate(f->s, f->atoms, r->limits, err);
    if (status == BL_OK) status = read_comment(f, err);
    if (status != BL_OK) return status;
    default_pbc(f);
    bl_text_next_line(f->t);
    status = read_rows(f, err);
    if (status == BL_OK) status = bl_structure_check(f->s, err);
    return status;
}

enum bl_status bl_extxyz_read(struct bl_reader_state *r, struct bl_error *err)
{
    struct frame *f = bl_alloc(r->out->quota, sizeof *f, err);
    if (!f) return err->status;
    enum bl_status status = BL_OK;
    do {
        *f = (struct frame){.r = r, .t = &r->text};
        status = read_frame(r, f, err);
        while (status == BL_OK && !bl_text_end(f->t) && bl_text_rest(f->t).len == 0) bl_text_next_line(f->t);
    } while (status == BL_OK && !bl_text_end(&r->text));
    bl_free(f);
    return status;
}

/* ---- writing ---------------------------------------------------------------------------------- */

static void print_quoted(struct bl_printer *p, const char *text, size_t len)
{
    bl_print_text(p, "\"");
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\') bl_print_text(p, "\\");
        if (text[i] == '\n') bl_print_text(p, "\\n");
        else bl_print_bytes(p, text[i] == '\r' || text[i] == '\0' ? " " : text + i, 1);
    }
    bl_print_text(p, "\"");
}

static void print_scalar(struct bl_printer *p, const struct bl_info *x, size_t i)
{
    if (x->type == BL_VALUE_BOOL) bl_print_text(p, x->value.bools[i] ? "T" : "F");
    else if (x->type == BL_VALUE_INT) bl_print_integer(p, x->value.ints[i]);
    else bl_print_number(p, x->value.reals[i]);
}

static void print_info(struct bl_printer *p, const struct bl_info *x)
{
    bl_print_text(p, " ");
    const bool plain = x->key[0] != '\0' && !strpbrk(x->key, " \t\r\n\"=\\");
    if (plain) bl_print_text(p, x->key);
    else print_quoted(p, x->key, strlen(x->key));
    bl_print_text(p, "=");
    if (x->type == BL_VALUE_TEXT) {
        print_quoted(p, x->value.text, x->columns);
        return;
    }
    const size_t rows = x->rows ? x->rows : 1, columns = x->columns ? x->columns : 1;
    if (x->columns) bl_print_text(p, "[");
    for (size_t i = 0; i < rows; i++) {
        if (i > 0) bl_print_text(p, ", ");
        if (x->rows) bl_print_text(p, "[");
        for (size_t c = 0; c < columns; c++) {
            if (c > 0) bl_print_text(p, ", ");
            print_scalar(p, x, i * columns + c);
        }
        if (x->rows) bl_print_text(p, "]");
    }
    if (x->columns) bl_print_text(p, "]");
}

static void print_header(struct bl_printer *p, const struct bl_structure *s)
{
    const bool lattice = bl_structure_volume(s) != 0 || s->pbc[0] || s->pbc[1] || s->pbc[2];
    bl_print_integer(p, (int64_t)s->atoms);
    bl_print_text(p, "\n");
    for (int i = 0; lattice && i < 9; i++) {
        bl_print_text(p, i == 0 ? "Lattice=\"" : " ");
        bl_print_number(p, s->cell[i / 3][i % 3]);
    }
    bl_print_text(p, lattice ? "\" Properties=species:S:1:pos:R:3" : "Properties=species:S:1:pos:R:3");
    if (s->velocities) bl_print_text(p, ":velo:R:3");
    if (s->forces) bl_print_text(p, ":forces:R:3");
    if (s->masses) bl_print_text(p, ":masses:R:1");
    if (s->charges) bl_print_text(p, ":charges:R:1");
    if (s->occupancies) bl_print_text(p, ":occupancies:R:1");
    if (s->fixed) bl_print_text(p, ":fixed:L:3");
    for (size_t i = 0; i < s->column_count; i++) {
        const struct bl_column *c = &s->columns[i];
        bl_print_text(p, ":");
        bl_print_text(p, c->name);
        bl_print_text(p, c->type == BL_VALUE_REAL ? ":R:" : c->type == BL_VALUE_INT ? ":I:" : ":L:");
        bl_print_integer(p, c->width);
    }
    if (lattice) {
        bl_print_text(p, " pbc=\"");
        for (int k = 0; k < 3; k++) bl_print_text(p, s->pbc[k] ? (k < 2 ? "T " : "T") : (k < 2 ? "F " : "F"));
        bl_print_text(p, "\"");
    }
    for (size_t i = 0; i < s->info_count; i++) print_info(p, &s->info[i]);
    bl_print_text(p, "\n");
}

static void print_reals(struct bl_printer *p, const double *values, size_t count)
{
    for (size_t k = 0; values && k < count; k++) {
        bl_print_text(p, " ");
        bl_print_number(p, values[k]);
    }
}

static void print_atom(struct bl_printer *p, const struct bl_structure *s, size_t i)
{
    bl_print_text(p, s->species[s->types[i]]);
    print_reals(p, s->positions + 3 * i, 3);
    print_reals(p, s->velocities ? s->velocities + 3 * i : NULL, 3);
    print_reals(p, s->forces ? s->forces + 3 * i : NULL, 3);
    print_reals(p, s->masses ? s->masses + i : NULL, 1);
    print_reals(p, s->charges ? s->charges + i : NULL, 1);
    print_reals(p, s->occupancies ? s->occupancies + i : NULL, 1);
    for (int k = 0; s->fixed && k < 3; k++) bl_print_text(p, s->fixed[i] & (1u << k) ? " T" : " F");
    for (size_t c = 0; c < s->column_count; c++) {
        const struct bl_column *x = &s->columns[c];
        for (uint32_t k = 0; k < x->width; k++) {
            const size_t at = i * x->width + k;
            bl_print_text(p, " ");
            if (x->type == BL_VALUE_REAL) bl_print_number(p, x->value.reals[at]);
            else if (x->type == BL_VALUE_INT) bl_print_integer(p, x->value.ints[at]);
            else bl_print_text(p, x->value.bools[at] ? "T" : "F");
        }
    }
    bl_print_text(p, "\n");
}

/* Keys that mean something else in a file. */
static bool is_reserved(const char *key)
{
    static const char *const keys[] = {"Lattice", "lattice", "Properties", "properties", "pbc"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return false;
}

enum bl_status bl_extxyz_write(const struct bl_structure *s, struct bl_printer *p)
{
    for (size_t i = 0; i < s->species_count; i++)
        if (strpbrk(s->species[i], " \t\r\n\f\v")) return bl_fail_invalid(p->err, "species", "\"%s\" cannot stand in an XYZ file",
                s->species[i]);
    for (size_t i = 0; i < s->column_count; i++)
        if (strpbrk(s->columns[i].name, " \t\r\n\f\v:=\"\\[]{}")) return bl_fail_invalid(p->err, "columns",
                "\"%s\" cannot stand in an XYZ file", s->columns[i].name);
    for (size_t i = 0; i < s->info_count; i++)
        if (is_reserved(s->info[i].key)) return bl_fail_invalid(p->err, "info", "the key %s has its own meaning in an XYZ file",
                s->info[i].key);
    print_header(p, s);
    for (size_t i = 0; p->status == BL_OK && i < s->atoms; i++) print_atom(p, s, i);
    return BL_OK;
}
