/* SPDX-License-Identifier: Apache-2.0
 *
 * Hall symbols: S. R. Hall, Acta Cryst. A37, 517 (1981); International Tables B, A1.4.2.
 *
 *     [-]L  [-]N[axis][translations] ...  [(origin shift in twelfths) | (x, y, z triplet)]
 */
#include <string.h>

#include "bl_symmetry.h"

enum { TWELFTH = BL_SYMOP_DEN / 12, GENERATORS_MAX = 12 };

struct hall {
    const char *text, *p, *end;
    struct bl_error *err;
    struct bl_symop generators[GENERATORS_MAX];
    size_t count;
    /* Of the rotation before: what an axis that is not written depends on. */
    int previous_fold, previous_axis, rotations;
};

static enum bl_status expected(const struct hall *h, const char *what)
{
    return bl_fail_syntax_at(h->err, (uint64_t)(h->p - h->text), "%s in the Hall symbol \"%.*s\"", what,
            (int)(h->end - h->text < 40 ? h->end - h->text : 40), h->text);
}

static char peek(const struct hall *h) { return h->p < h->end ? *h->p : '\0'; }
/* Lines end inside a text field, folded ones behind a backslash. */
static bool is_blank(char c) { return c != '\0' && strchr(" \t\r\n_\\", c) != NULL; }
static void skip_blanks(struct hall *h)
{
    while (is_blank(peek(h))) h->p++;
}

static enum bl_status add(struct hall *h, const struct bl_symop *op)
{
    if (h->count == GENERATORS_MAX) return expected(h, "fewer operations");
    h->generators[h->count++] = *op;
    return BL_OK;
}

static struct bl_symop translation(int a, int b, int c)
{
    struct bl_symop op = bl_symop_identity();
    const int v[3] = {a, b, c};
    for (int i = 0; i < 3; i++) op.shift[i] = ((v[i] % 12 + 12) % 12) * TWELFTH;
    return op;
}

/* The centrings of a lattice letter, in twelfths. */
static enum bl_status read_lattice(struct hall *h)
{
    static const struct {
        char letter;
        int count, shifts[3][3];
    } lattices[] = {
        {'P', 0, {{0}}},
        {'A', 1, {{0, 6, 6}}},
        {'B', 1, {{6, 0, 6}}},
        {'C', 1, {{6, 6, 0}}},
        {'I', 1, {{6, 6, 6}}},
        {'R', 2, {{8, 4, 4}, {4, 8, 8}}},
        {'H', 2, {{8, 4, 0}, {4, 8, 0}}},
        {'S', 2, {{4, 4, 8}, {8, 8, 4}}},
        {'T', 2, {{4, 8, 4}, {8, 4, 8}}},
        {'F', 3, {{0, 6, 6}, {6, 0, 6}, {6, 6, 0}}},
    };
    skip_blanks(h);
    if (peek(h) == '-') {
        struct bl_symop inversion = bl_symop_identity();
        for (int i = 0; i < 3; i++) inversion.rot[i][i] = -1;
        const enum bl_status status = add(h, &inversion);
        if (status != BL_OK) return status;
        h->p++;
    }
    const char letter = peek(h) >= 'a' ? (char)(peek(h) - 32) : peek(h);
    for (size_t i = 0; i < sizeof lattices / sizeof *lattices; i++) {
        if (lattices[i].letter != letter) continue;
        h->p++;
        for (int k = 0; k < lattices[i].count; k++) {
            const int *v = lattices[i].shifts[k];
            const struct bl_symop op = translation(v[0], v[1], v[2]);
            const enum bl_status status = add(h, &op);
            if (status != BL_OK) return status;
        }
        return BL_OK;
    }
    return expected(h, "a lattice letter");
}

/* ---- rotations -------------------------------------------------------------------- */

/* About z; other principal axes by turning the axes round. */
static void principal(int fold, int axis, int8_t rot[3][3])
{
    static const int8_t about_z[7][2][2] = {[1] = {{1, 0}, {0, 1}},  [2] = {{-1, 0}, {0, -1}}, [3] = {{0, -1}, {1, -1}},
                                            [4] = {{0, -1}, {1, 0}}, [6] = {{1, -1}, {1, 0}}};
    memset(rot, 0, 9);
    rot[axis][axis] = 1;
    const int u = (axis + 1) % 3, v = (axis + 2) % 3;
    rot[u][u] = about_z[fold][0][0];
    rot[u][v] = about_z[fold][0][1];
    rot[v][u] = about_z[fold][1][0];
    rot[v][v] = about_z[fold][1][1];
}

/* Twofold about the diagonal of the plane across `axis`: a - b for ', a + b for ". */
static void diagonal(int axis, bool plus, int8_t rot[3][3])
{
    const int u = (axis + 1) % 3, v = (axis + 2) % 3;
    memset(rot, 0, 9);
    rot[axis][axis] = -1;
    rot[u][v] = rot[v][u] = plus ? 1 : -1;
}

static enum bl_status read_axis(struct hall *h, int fold, bool negative, struct bl_symop *op, int *axis)
{
    const char c = peek(h);
    const bool quote = c == '\'' || c == '"';
    *axis = h->rotations == 0 ? 2 : 0; /* z for the first, x for a second */
    if (c == 'x' || c == 'y' || c == 'z') {
        *axis = c - 'x';
        h->p++;
        principal(fold, *axis, op->rot);
    } else if (c == '*' || (h->rotations == 2 && fold == 3 && !quote)) {
        if (fold != 3) return expected(h, "3 before *");
        if (c == '*') h->p++;
        memcpy(op->rot, (const int8_t[3][3]){{0, 0, 1}, {1, 0, 0}, {0, 1, 0}}, sizeof op->rot);
    } else if (quote || (h->rotations == 1 && fold == 2 && (h->previous_fold == 3 || h->previous_fold == 6))) {
        if (fold != 2) return expected(h, "2 before ' or \"");
        if (quote) h->p++;
        diagonal(h->rotations == 0 ? 2 : h->previous_axis, c == '"', op->rot);
        *axis = h->rotations == 0 ? 2 : h->previous_axis;
    } else {
        principal(fold, *axis, op->rot);
    }
    for (int i = 0; negative && i < 3; i++)
        for (int j = 0; j < 3; j++) op->rot[i][j] = (int8_t)-op->rot[i][j];
    return BL_OK;
}

static enum bl_status read_translations(struct hall *h, int fold, int axis, struct bl_symop *op)
{
    static const struct {
        char letter;
        int shift[3];
    } letters[] = {{'a', {6, 0, 0}}, {'b', {0, 6, 0}}, {'c', {0, 0, 6}}, {'n', {6, 6, 6}},
                   {'u', {3, 0, 0}}, {'v', {0, 3, 0}}, {'w', {0, 0, 3}}, {'d', {3, 3, 3}}};
    int sum[3] = {0};
    for (;; h->p++) {
        const char c = peek(h);
        if (c >= '1' && c < '0' + fold) {
            sum[axis] += 12 * (c - '0') / fold;
            continue;
        }
        size_t i = 0;
        while (i < 8 && letters[i].letter != c) i++;
        if (i == 8) break;
        for (int k = 0; k < 3; k++) sum[k] += letters[i].shift[k];
    }
    for (int k = 0; k < 3; k++) op->shift[k] = (sum[k] % 12) * TWELFTH;
    return BL_OK;
}

static enum bl_status read_rotation(struct hall *h)
{
    struct bl_symop op = bl_symop_identity();
    const bool negative = peek(h) == '-';
    if (negative) h->p++;
    const int fold = peek(h) - '0';
    if (fold != 1 && fold != 2 && fold != 3 && fold != 4 && fold != 6) return expected(h, "1, 2, 3, 4 or 6");
    h->p++;
    int axis;
    enum bl_status status = read_axis(h, fold, negative, &op, &axis);
    if (status == BL_OK) status = read_translations(h, fold, axis, &op);
    if (status != BL_OK) return status;
    const char next = peek(h);
    if (next != '\0' && !is_blank(next) && next != '(') return expected(h, "a blank");
    h->previous_fold = fold;
    h->previous_axis = axis;
    h->rotations++;
    return add(h, &op);
}

/* ---- change of basis ------------------------------------------------------------------ */

static void conjugate(struct bl_symop *op, const struct bl_symop *v, const struct bl_symop *inverse)
{
    const struct bl_symop half = bl_symop_multiply(op, inverse);
    *op = bl_symop_multiply(v, &half);
}

/* The inverse of an operation whose rotation has determinant 1 or -1. */
static struct bl_symop inverse_of(const struct bl_symop *v)
{
    struct bl_symmetry one = {.count = 1, .ops = &(struct bl_symop){.shift = {0}}};
    *one.ops = bl_symop_identity();
    struct bl_symop turn = *v, inverse;
    memset(turn.shift, 0, sizeof turn.shift);
    inverse = turn; /* rotations of finite order: the last power before the identity */
    for (struct bl_symop power = turn; !bl_symop_equal(&power, &one.ops[0]); power = bl_symop_multiply(&power, &turn)) inverse = power;
    struct bl_symop back = bl_symop_identity();
    for (int k = 0; k < 3; k++) back.shift[k] = (BL_SYMOP_DEN - v->shift[k]) % BL_SYMOP_DEN;
    return bl_symop_multiply(&inverse, &back);
}

static bool finite_order(const struct bl_symop *v)
{
    struct bl_symop turn = *v, power;
    memset(turn.shift, 0, sizeof turn.shift);
    const struct bl_symop identity = bl_symop_identity();
    power = turn;
    for (int k = 0; k < 12; k++, power = bl_symop_multiply(&power, &turn))
        if (bl_symop_equal(&power, &identity)) return true;
    return false;
}

static enum bl_status read_change(struct hall *h)
{
    const char *close = memchr(h->p, ')', (size_t)(h->end - h->p));
    if (!close) return expected(h, "a closing parenthesis");
    const char *inside = h->p + 1;
    struct bl_symop v = bl_symop_identity();
    if (memchr(inside, ',', (size_t)(close - inside))) {
        const enum bl_status status = bl_symop_parse(inside, (size_t)(close - inside), &v, h->err);
        if (status != BL_OK) return status;
        if (!finite_order(&v)) return expected(h, "a change of axes of finite order");
    } else {
        struct bl_text t;
        bl_text_init(&t, inside, (size_t)(close - inside));
        for (int k = 0; k < 3; k++) {
            int64_t twelfths;
            if (!bl_token_integer(bl_text_word(&t), &twelfths)) return expected(h, "three twelfths");
            v.shift[k] = (int32_t)((twelfths % 12 + 12) % 12) * TWELFTH;
        }
    }
    h->p = close + 1;
    const struct bl_symop inverse = inverse_of(&v);
    for (size_t i = 0; i < h->count; i++) conjugate(&h->generators[i], &v, &inverse);
    return BL_OK;
}

enum bl_status bl_symmetry_from_hall(const char *hall, size_t len, struct bl_quota *quota, struct bl_symmetry *out, struct bl_error *err)
{
    struct hall h = {.text = hall, .p = hall, .end = hall + len, .err = err};
    enum bl_status status = read_lattice(&h);
    for (skip_blanks(&h); status == BL_OK && h.p < h.end; skip_blanks(&h))
        status = peek(&h) == '(' ? read_change(&h) : read_rotation(&h);
    if (status != BL_OK) return status;
    struct bl_symmetry s;
    status = bl_symmetry_from_ops(h.generators, h.count, quota, &s, err);
    if (status != BL_OK) return status;
    const size_t n = len < sizeof s.hall ? len : sizeof s.hall - 1;
    memcpy(s.hall, hall, n);
    *out = s;
    return BL_OK;
}
