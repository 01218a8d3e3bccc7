/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations of space groups as exact integers, their text form, and the group that some of
 * them generate.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bl_symmetry.h"

/* ---- algebra ------------------------------------------------------------------- */

static int32_t wrap(int64_t shift)
{
    const int64_t rest = shift % BL_SYMOP_DEN;
    return (int32_t)(rest < 0 ? rest + BL_SYMOP_DEN : rest);
}

struct bl_symop bl_symop_multiply(const struct bl_symop *a, const struct bl_symop *b)
{
    struct bl_symop out;
    for (int i = 0; i < 3; i++) {
        int64_t shift = a->shift[i];
        for (int j = 0; j < 3; j++) {
            int sum = 0;
            for (int k = 0; k < 3; k++) sum += a->rot[i][k] * b->rot[k][j];
            out.rot[i][j] = (int8_t)sum;
            shift += (int64_t)a->rot[i][j] * b->shift[j];
        }
        out.shift[i] = wrap(shift);
    }
    return out;
}

bool bl_symop_equal(const struct bl_symop *a, const struct bl_symop *b)
{
    return memcmp(a->rot, b->rot, sizeof a->rot) == 0 && memcmp(a->shift, b->shift, sizeof a->shift) == 0;
}

struct bl_symop bl_symop_identity(void) { return (struct bl_symop){.rot = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}; }

int bl_rotation_determinant(const int8_t r[3][3])
{
    return r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1]) - r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0]) +
           r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0]);
}

/* ---- text ------------------------------------------------------------------------ */

/* The fraction that a decimal number of a file means: 0.3333 is a third. Denominators that occur
 * in space groups and their small supercells come first, the nearest grid point last. */
static int64_t shift_of(double value)
{
    const double exact = value * BL_SYMOP_DEN;
    if (fabs(exact - rint(exact)) < 1e-6) return (int64_t)rint(exact);
    for (int64_t denominator = 1; denominator <= 16; denominator++) {
        const double scaled = value * (double)denominator;
        if (fabs(scaled - rint(scaled)) < 1e-3 * (double)denominator) return (int64_t)rint(scaled) * (BL_SYMOP_DEN / denominator);
    }
    return (int64_t)rint(value * BL_SYMOP_DEN);
}

int32_t bl_symop_shift(double value) { return wrap(shift_of(value)); }

struct triplet {
    const char *text, *p, *end;
    struct bl_error *err;
};

static enum bl_status expected(const struct triplet *t, const char *what)
{
    return bl_fail_syntax_at(t->err, (uint64_t)(t->p - t->text), "%s in the operation \"%.*s\"", what,
            (int)(t->end - t->text < 60 ? t->end - t->text : 60), t->text);
}

static void skip_blanks(struct triplet *t)
{
    while (t->p < t->end && (isspace((unsigned char)*t->p) || *t->p == '_' || *t->p == '\\')) t->p++;
}

/* 1/2, 0.5, .25, 2: false where there is none. */
static bool read_fraction(struct triplet *t, double *out)
{
    double denominator;
    size_t used = bl_parse_number(t->p, (size_t)(t->end - t->p), out);
    if (used == 0 || *t->p == '+' || *t->p == '-') return false;
    t->p += used;
    skip_blanks(t);
    if (t->p == t->end || *t->p != '/') return isfinite(*out);
    t->p++;
    skip_blanks(t);
    used = bl_parse_number(t->p, (size_t)(t->end - t->p), &denominator);
    if (used == 0 || !(denominator >= 1)) return false;
    t->p += used;
    *out /= denominator;
    return isfinite(*out);
}

/* The axis that a letter names, in any of the usual alphabets; -1: none. */
static int axis_of(char c)
{
    const char *const letters = "xyzXYZ", *at = c ? strchr(letters, c) : NULL;
    return at ? (int)(at - letters) % 3 : -1;
}

/* One signed term: an axis, a number of them, or a shift. */
static enum bl_status read_term(struct triplet *t, int sign, int8_t rot[3], double *shift)
{
    double number = 1;
    const bool counted = read_fraction(t, &number);
    skip_blanks(t);
    if (counted && t->p < t->end && *t->p == '*') {
        t->p++;
        skip_blanks(t);
    }
    const int axis = t->p < t->end ? axis_of(*t->p) : -1;
    if (axis < 0 && !counted) return expected(t, "x, y, z or a number");
    if (axis < 0) {
        if (fabs(number) > 1000) return expected(t, "a shift below 1000");
        *shift += sign * number;
        return BL_OK;
    }
    if (number != rint(number) || number > 9 || rot[axis] != 0) return expected(t, "each of x, y, z once, with whole numbers");
    rot[axis] = (int8_t)(sign * (int)number);
    t->p++;
    return BL_OK;
}

static enum bl_status read_part(struct triplet *t, int8_t rot[3], int32_t *shift)
{
    double sum = 0;
    memset(rot, 0, 3);
    for (bool first = true;; first = false) {
        skip_blanks(t);
        if (t->p == t->end || *t->p == ',' || *t->p == ';') break;
        int sign = 1;
        if (*t->p == '+' || *t->p == '-') sign = *t->p++ == '-' ? -1 : 1;
        else if (!first) return expected(t, "+, - or a comma");
        skip_blanks(t);
        const enum bl_status status = read_term(t, sign, rot, &sum);
        if (status != BL_OK) return status;
    }
    *shift = bl_symop_shift(sum);
    return BL_OK;
}

enum bl_status bl_symop_parse(const char *text, size_t len, struct bl_symop *out, struct bl_error *err)
{
    struct triplet t = {text, text, text + len, err};
    struct bl_symop op = {.shift = {0}};
    for (int i = 0; i < 3; i++) {
        if (i > 0 && (t.p == t.end || (*t.p != ',' && *t.p != ';'))) return expected(&t, "three parts with commas between them");
        if (i > 0) t.p++;
        const enum bl_status status = read_part(&t, op.rot[i], &op.shift[i]);
        if (status != BL_OK) return status;
    }
    if (t.p < t.end && *t.p == ',') { /* time reversal of a magnetic operation: +1, -1, m, mx,my,mz */
        while (t.p < t.end && (strchr(",+-1m", *t.p) || isspace((unsigned char)*t.p) || axis_of(*t.p) >= 0)) t.p++;
    }
    skip_blanks(&t);
    if (t.p < t.end) return expected(&t, "the end");
    const int determinant = bl_rotation_determinant(op.rot);
    if (determinant != 1 && determinant != -1) return expected(&t, "a rotation, determinant 1 or -1,");
    *out = op;
    return BL_OK;
}

static size_t put_shift(int32_t shift, char *out, size_t size)
{
    for (int32_t denominator = 2; denominator <= 16; denominator++)
        if ((int64_t)shift * denominator % BL_SYMOP_DEN == 0)
            return (size_t)snprintf(out, size, "+%lld/%d", (long long)shift * denominator / BL_SYMOP_DEN, denominator);
    return (size_t)snprintf(out, size, "+%d/%d", shift, BL_SYMOP_DEN);
}

size_t bl_symop_format(const struct bl_symop *op, char out[BL_SYMOP_SIZE])
{
    size_t n = 0;
    for (int i = 0; i < 3; i++) {
        const size_t start = n;
        for (int j = 0; j < 3; j++) {
            const int r = op->rot[i][j];
            if (r == 0) continue;
            if (r < 0 || n > start) out[n++] = r < 0 ? '-' : '+';
            if (r > 1 || r < -1) out[n++] = (char)('0' + (r < 0 ? -r : r) % 10);
            out[n++] = "xyz"[j];
        }
        if (op->shift[i] != 0) n += put_shift(op->shift[i], out + n, BL_SYMOP_SIZE - n);
        if (i < 2) out[n++] = ',';
    }
    out[n] = '\0';
    return n;
}

/* ---- groups ------------------------------------------------------------------------- */

/* Operations in a list that grows, with a table to find them in. */
enum { TABLE_SIZE = 4 * BL_SYMOPS_MAX };
struct group {
    struct bl_quota *quota;
    struct bl_symop *ops;
    size_t count, capacity, table_size;
    uint16_t *table; /* index + 1 */
};

static size_t slot_of(const struct group *g, const struct bl_symop *op)
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) hash = (hash ^ (uint8_t)op->rot[i][j]) * 16777619u;
        hash = (hash ^ (uint32_t)op->shift[i]) * 2654435761u;
    }
    size_t slot = (hash ^ hash >> 15) & (g->table_size - 1);
    while (g->table[slot] && !bl_symop_equal(&g->ops[g->table[slot] - 1], op)) slot = (slot + 1) & (g->table_size - 1);
    return slot;
}

static enum bl_status grow(struct group *g, struct bl_error *err)
{
    const size_t capacity = g->capacity ? 4 * g->capacity : 256;
    void *ops = bl_realloc(g->quota, g->ops, capacity * sizeof *g->ops, err);
    if (!ops) return bl_alloc_status(err);
    g->ops = ops;
    uint16_t *table = bl_alloc_zero(g->quota, 4 * capacity * sizeof *table, err);
    if (!table) return bl_alloc_status(err);
    bl_free(g->table);
    g->table = table;
    g->capacity = capacity;
    g->table_size = 4 * capacity;
    for (size_t i = 0; i < g->count; i++) g->table[slot_of(g, &g->ops[i])] = (uint16_t)(i + 1);
    return BL_OK;
}

static enum bl_status add(struct group *g, const struct bl_symop *op, struct bl_error *err)
{
    if (g->count == g->capacity) {
        const enum bl_status status = grow(g, err);
        if (status != BL_OK) return status;
    }
    const size_t slot = slot_of(g, op);
    if (g->table[slot]) return BL_OK;
    if (g->count == BL_SYMOPS_MAX) return bl_fail_limit(err, "symmetry operations", BL_SYMOPS_MAX, BL_SYMOPS_MAX + 1);
    g->ops[g->count++] = *op;
    g->table[slot] = (uint16_t)g->count;
    return BL_OK;
}

static bool has(const struct group *g, const struct bl_symop *op) { return g->count > 0 && g->table[slot_of(g, op)]; }

/* Numbers of axes in an operation are digits. An operation of infinite order (a shear) soon has larger ones, and must
 * not seem to close where they run over. */
static bool stays_small(const struct bl_symop *a, const struct bl_symop *b)
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            int sum = 0;
            for (int k = 0; k < 3; k++) sum += a->rot[i][k] * b->rot[k][j];
            if (sum > 9 || sum < -9) return false;
        }
    return true;
}

/* Each element times each generator, until nothing new comes. */
static enum bl_status close_group(struct group *g, const struct bl_symop *generators, size_t count, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    for (size_t i = 0; status == BL_OK && i < g->count; i++) {
        for (size_t k = 0; status == BL_OK && k < count; k++) {
            if (!stays_small(&g->ops[i], &generators[k]))
                return bl_fail_limit(err, "symmetry operations", BL_SYMOPS_MAX, BL_SYMOPS_MAX + 1);
            const struct bl_symop product = bl_symop_multiply(&g->ops[i], &generators[k]);
            status = add(g, &product, err);
        }
    }
    return status;
}

enum { GENERATORS_MAX = 24 }; /* each at least doubles the group: 2^12 is BL_SYMOPS_MAX */

enum bl_status bl_symmetry_from_ops(const struct bl_symop *ops, size_t count, struct bl_quota *quota, struct bl_symmetry *out,
                                    struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct group g = {.quota = quota};
    struct bl_symop generators[GENERATORS_MAX];
    size_t generator_count = 0;
    const struct bl_symop identity = bl_symop_identity();
    enum bl_status status = add(&g, &identity, err);
    for (size_t i = 0; status == BL_OK && i < count; i++) {
        if (has(&g, &ops[i])) continue;
        if (generator_count == GENERATORS_MAX) status = bl_fail_limit(err, "symmetry generators", GENERATORS_MAX, generator_count + 1);
        if (status != BL_OK) break;
        generators[generator_count++] = ops[i];
        status = close_group(&g, generators, generator_count, err);
    }
    bl_free(g.table);
    if (status != BL_OK) {
        bl_free(g.ops);
        return status;
    }
    *out = (struct bl_symmetry){.closed = true, .count = g.count, .ops = g.ops};
    return BL_OK;
}

void bl_symmetry_clear(struct bl_symmetry *s)
{
    bl_free(s->ops);
    *s = (struct bl_symmetry){.count = 0};
}

static bool contains(const struct bl_symmetry *s, const struct bl_symop *op)
{
    for (size_t i = 0; i < s->count; i++)
        if (bl_symop_equal(&s->ops[i], op)) return true;
    return false;
}

bool bl_symmetry_equal(const struct bl_symmetry *a, const struct bl_symmetry *b)
{
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (!contains(b, &a->ops[i])) return false;
    return true;
}

/* x = p x': the columns of p are the new axes in terms of the old; determinant 1 or -1. */
void bl_symmetry_transform(struct bl_symmetry *s, const int8_t p[3][3])
{
    struct bl_symop from = bl_symop_identity(), to = from;
    memcpy(from.rot, p, sizeof from.rot);
    const int d = bl_rotation_determinant(p);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            const int a = (j + 1) % 3, b = (j + 2) % 3, c = (i + 1) % 3, e = (i + 2) % 3;
            to.rot[i][j] = (int8_t)(d * (p[a][c] * p[b][e] - p[a][e] * p[b][c]));
        }
    for (size_t k = 0; k < s->count; k++) {
        const struct bl_symop half = bl_symop_multiply(&s->ops[k], &from);
        s->ops[k] = bl_symop_multiply(&to, &half);
    }
}

/* ---- operations and cells ----------------------------------------------------------------- */

/* An operation keeps the metric: R^T G R = G, within what measured cells differ by. */
static bool keeps_metric(const struct bl_symop *op, double g[3][3])
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j <= i; j++) {
            double sum = 0;
            for (int a = 0; a < 3; a++)
                for (int b = 0; b < 3; b++) sum += op->rot[a][i] * g[a][b] * op->rot[b][j];
            if (fabs(sum - g[i][j]) > 0.02 * sqrt(g[i][i] * g[j][j])) return false;
        }
    return true;
}

bool bl_symmetry_fits(const double (*cell)[3], const struct bl_symmetry *s)
{
    double g[3][3];
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) g[i][j] = bl_dot(cell[i], cell[j]);
    for (size_t i = 0; i < s->count; i++)
        if (!keeps_metric(&s->ops[i], g)) return false;
    return true;
}
