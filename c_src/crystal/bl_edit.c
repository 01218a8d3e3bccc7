/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of a structure. Each is made on a copy that takes the structure's place when all went well.
 */
#include <math.h>
#include <string.h>

#include "bl_crystal.h"

/* ---- what all share -------------------------------------------------------------------- */

/* Steele, Lea, Flood (2014): splitmix64. */
static double uniform(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

double bl_normal(uint64_t *state)
{
    for (;;) { /* Marsaglia's polar method; three of four pairs are taken */
        const double x = 2 * uniform(state) - 1, y = 2 * uniform(state) - 1, r2 = x * x + y * y;
        if (r2 < 1 && r2 > 0) return x * sqrt(-2 * log(r2) / r2);
    }
}

static void drop(void *slot)
{
    bl_free(*(void **)slot);
    *(void **)slot = NULL;
}

/* What was true of the atoms as they were. */
static void drop_stale(struct bl_structure *s)
{
    drop(&s->forces);
    if (s->symmetry) bl_symmetry_clear(s->symmetry);
    drop(&s->symmetry);
    bl_drop_stale_info(s);
}

/* The changed copy takes the place of s, if it is a structure. */
static enum bl_status replace(struct bl_ctx *ctx, enum bl_status status, struct bl_structure *s, struct bl_structure *made,
                              struct bl_error *err)
{
    if (status == BL_OK) status = bl_ctx_check(ctx, err); /* passes may have ended early */
    if (status == BL_OK) status = bl_structure_check(made, err);
    if (status != BL_OK) {
        bl_structure_clear(made);
        return status;
    }
    bl_structure_clear(s);
    *s = *made;
    return BL_OK;
}

static enum bl_status check_atoms(const struct bl_structure *s, const uint32_t *atoms, size_t count, struct bl_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (atoms[i] >= s->atoms) return bl_fail_invalid(err, "atoms", "atom %u of %zu", atoms[i], s->atoms);
    return BL_OK;
}

/* ---- places ------------------------------------------------------------------------------ */

void bl_matrix_rotation(const double degrees[3], double out[3][3])
{
    double c[3], s[3];
    for (int k = 0; k < 3; k++) {
        const double angle = degrees[k] * 0.01745329251994329577;
        c[k] = cos(angle);
        s[k] = sin(angle);
    }
    /* Rz Ry Rx for row vectors. */
    const double m[3][3] = {{c[2] * c[1], s[2] * c[0] + c[2] * s[1] * s[0], s[2] * s[0] - c[2] * s[1] * c[0]},
                            {-s[2] * c[1], c[2] * c[0] - s[2] * s[1] * s[0], c[2] * s[0] + s[2] * s[1] * c[0]},
                            {s[1], -c[1] * s[0], c[1] * c[0]}};
    memcpy(out, m, sizeof m);
}

void bl_matrix_strain(const double e[6], double out[3][3])
{
    const double m[3][3] = {{1 + e[0], e[5] / 2, e[4] / 2}, {e[5] / 2, 1 + e[1], e[3] / 2}, {e[4] / 2, e[3] / 2, 1 + e[2]}};
    memcpy(out, m, sizeof m);
}

static bool is_rotation(double m[3][3])
{
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++)
            if (!(fabs(bl_dot(m[i], m[k]) - (i == k)) < 1e-12)) return false;
    return true;
}

static void turn(double r[3], double m[3][3])
{
    double out[3];
    for (int c = 0; c < 3; c++) out[c] = r[0] * m[0][c] + r[1] * m[1][c] + r[2] * m[2][c];
    memcpy(r, out, sizeof out);
}

static void turn_all(struct bl_ctx *ctx, double *vectors, size_t atoms, double m[3][3])
{
    for (size_t i = 0, end; vectors && (end = bl_piece(ctx, i, atoms)) > i;)
        for (; i < end; i++) turn(vectors + 3 * i, m);
}

enum bl_status bl_structure_transform(struct bl_ctx *ctx, struct bl_structure *s, double matrix[3][3], struct bl_error *err)
{
    struct bl_structure made;
    const enum bl_status status = bl_structure_copy(&made, s, s->quota, err);
    if (status != BL_OK) return status;
    double *const forces = made.forces;
    const bool rotation = is_rotation(matrix);
    if (rotation) made.forces = NULL; /* they stay */
    drop_stale(&made);
    if (rotation) made.forces = forces;
    else drop(&made.velocities);
    for (int i = 0; i < 3; i++) turn(made.cell[i], matrix);
    turn_all(ctx, made.positions, made.atoms, matrix);
    turn_all(ctx, made.velocities, made.atoms, matrix);
    turn_all(ctx, made.forces, made.atoms, matrix);
    return replace(ctx, BL_OK, s, &made, err);
}

enum bl_status bl_structure_wrap(struct bl_ctx *ctx, struct bl_structure *s, struct bl_error *err)
{
    struct bl_structure made;
    struct bl_lattice lattice;
    enum bl_status status = bl_structure_check(s, err);
    if (status == BL_OK) status = bl_lattice_init(&lattice, s, err);
    if (status == BL_OK) status = bl_structure_copy(&made, s, s->quota, err);
    if (status != BL_OK) return status;
    for (size_t i = 0, end; (end = bl_piece(ctx, i, made.atoms)) > i;)
        for (; i < end; i++) {
            double *r = made.positions + 3 * i, f[3];
            bl_lattice_fractional(&lattice, r, f);
            for (int k = 0; k < 3; k++)
                for (int c = 0; lattice.periodic[k] && c < 3; c++) r[c] -= floor(f[k]) * lattice.vectors[k][c];
        }
    return replace(ctx, BL_OK, s, &made, err);
}

enum bl_status bl_structure_rattle(struct bl_ctx *ctx, struct bl_structure *s, double width, uint64_t seed, struct bl_error *err)
{
    struct bl_structure made;
    if (!isfinite(width) || width < 0) return bl_fail_invalid(err, "width", "a number from 0 on");
    const enum bl_status status = bl_structure_copy(&made, s, s->quota, err);
    if (status != BL_OK) return status;
    drop_stale(&made);
    for (size_t i = 0, end; (end = bl_piece(ctx, i, 3 * made.atoms)) > i;)
        for (; i < end; i++) made.positions[i] += width * bl_normal(&seed);
    return replace(ctx, BL_OK, s, &made, err);
}

/* ---- which atoms, in which order ----------------------------------------------------------- */

/* Element order[i] becomes element i, in place of the array; room for n elements of 24 bytes. */
static void pick(struct bl_ctx *ctx, void *array, size_t size, const uint32_t *order, size_t n, char *room)
{
    char *const bytes = array;
    if (!array) return;
    for (size_t i = 0, end; (end = bl_piece(ctx, i, n)) > i;)
        for (; i < end; i++) memcpy(room + i * size, bytes + order[i] * size, size);
    memcpy(bytes, room, n * size);
}

static size_t column_size(const struct bl_column *c)
{
    return c->width * (c->type == BL_VALUE_BOOL ? sizeof(bool) : sizeof(double));
}

/* s keeps `n` of its atoms, in this order. */
static enum bl_status choose(struct bl_ctx *ctx, struct bl_structure *s, const uint32_t *order, size_t n, struct bl_error *err)
{
    size_t widest = 3 * sizeof(double);
    for (size_t i = 0; i < s->column_count; i++)
        if (column_size(&s->columns[i]) > widest) widest = column_size(&s->columns[i]);
    char *room = bl_alloc_array(s->quota, n, widest, err);
    if (!room) return bl_alloc_status(err);
    pick(ctx, s->types, sizeof *s->types, order, n, room);
    double *const vectors[] = {s->positions, s->velocities, s->forces}, *const numbers[] = {s->masses, s->charges, s->occupancies};
    for (int k = 0; k < 3; k++) pick(ctx, vectors[k], 3 * sizeof(double), order, n, room);
    for (int k = 0; k < 3; k++) pick(ctx, numbers[k], sizeof(double), order, n, room);
    pick(ctx, s->sites, sizeof *s->sites, order, n, room);
    pick(ctx, s->fixed, 1, order, n, room);
    for (size_t i = 0; i < s->column_count; i++)
        pick(ctx, s->columns[i].value.bools, column_size(&s->columns[i]), order, n, room);
    s->atoms = n;
    bl_free(room);
    return BL_OK;
}

enum bl_status bl_structure_delete(struct bl_ctx *ctx, struct bl_structure *s, const uint32_t *atoms, size_t count, struct bl_error *err)
{
    struct bl_structure made;
    enum bl_status status = check_atoms(s, atoms, count, err);
    if (status != BL_OK) return status;
    bool *gone = bl_alloc_zero(s->quota, s->atoms, err);
    uint32_t *order = gone ? bl_alloc_array(s->quota, s->atoms, sizeof *order, err) : NULL;
    status = order ? bl_structure_copy(&made, s, s->quota, err) : bl_alloc_status(err);
    if (status == BL_OK) {
        size_t n = 0;
        for (size_t i = 0; i < count; i++) gone[atoms[i]] = true;
        for (size_t i = 0; i < s->atoms; i++)
            if (!gone[i]) order[n++] = (uint32_t)i;
        drop_stale(&made);
        status = replace(ctx, choose(ctx, &made, order, n, err), s, &made, err);
    }
    bl_free(order);
    bl_free(gone);
    return status;
}

static bool before_or_with(const struct bl_structure *s, enum bl_sort_by by, uint32_t a, uint32_t b)
{
    if (by == BL_SORT_SPECIES) return s->types[a] <= s->types[b];
    return s->positions[3 * (size_t)a + by] <= s->positions[3 * (size_t)b + by];
}

/* Merges runs of doubling length: ties keep their order. The order ends in *order. */
static enum bl_status sort(struct bl_ctx *ctx, const struct bl_structure *s, enum bl_sort_by by, uint32_t **order, uint32_t **other,
                           struct bl_error *err)
{
    const size_t n = s->atoms;
    size_t work = 0;
    for (size_t i = 0; i < n; i++) (*order)[i] = (uint32_t)i;
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * run) {
            const size_t middle = begin + run < n ? begin + run : n, end = middle + run < n ? middle + run : n;
            size_t a = begin, b = middle;
            for (size_t i = begin; i < end; i++) {
                const bool first = b == end || (a < middle && before_or_with(s, by, (*order)[a], (*order)[b]));
                const enum bl_status status = bl_poll_work(ctx, &work, 1, err);
                if (status != BL_OK) return status;
                (*other)[i] = first ? (*order)[a++] : (*order)[b++];
            }
        }
        uint32_t *const swap = *order;
        *order = *other;
        *other = swap;
    }
    return BL_OK;
}

enum bl_status bl_structure_sort(struct bl_ctx *ctx, struct bl_structure *s, enum bl_sort_by by, struct bl_error *err)
{
    struct bl_structure made;
    if ((unsigned)by > BL_SORT_SPECIES) return bl_fail_invalid(err, "by", "x, y, z or species");
    enum bl_status status = bl_structure_check(s, err);
    if (status != BL_OK) return status;
    uint32_t *order = bl_alloc_array(s->quota, s->atoms, sizeof *order, err);
    uint32_t *other = order ? bl_alloc_array(s->quota, s->atoms, sizeof *other, err) : NULL;
    status = other ? sort(ctx, s, by, &order, &other, err) : bl_alloc_status(err);
    if (status == BL_OK) status = bl_structure_copy(&made, s, s->quota, err);
    if (status == BL_OK) status = replace(ctx, choose(ctx, &made, order, s->atoms, err), s, &made, err);
    bl_free(other);
    bl_free(order);
    return status;
}

/* ---- which elements -------------------------------------------------------------------------- */

enum bl_status bl_structure_substitute(struct bl_ctx *ctx, struct bl_structure *s, const uint32_t *atoms, size_t count,
                                       const char *symbol, struct bl_error *err)
{
    struct bl_structure made;
    uint32_t index;
    enum bl_status status = check_atoms(s, atoms, count, err);
    if (status == BL_OK) status = bl_structure_copy(&made, s, s->quota, err);
    if (status != BL_OK) return status;
    status = bl_structure_species(&made, symbol, strlen(symbol), &index, err);
    if (status == BL_OK) {
        drop_stale(&made);
        drop(&made.masses);
        for (size_t i = 0; i < count; i++) made.types[atoms[i]] = index;
    }
    return replace(ctx, status, s, &made, err);
}

/* Both arrays behind each other where both structures have them. */
static enum bl_status join(struct bl_structure *to, void *slot, const void *first, size_t atoms, const void *second, size_t more,
                           size_t size, struct bl_error *err)
{
    if (!first || !second) return BL_OK;
    const enum bl_status status = bl_structure_add(to, slot, 1, size, err);
    if (status != BL_OK) return status;
    char *out = *(char **)slot;
    memcpy(out, first, atoms * size);
    memcpy(out + atoms * size, second, more * size);
    return BL_OK;
}

static enum bl_status join_all(const struct bl_structure *s, const struct bl_structure *more, struct bl_structure *made,
                               struct bl_error *err)
{
    const size_t n = s->atoms, m = more->atoms;
    uint32_t index;
    enum bl_status status = BL_OK;
    memcpy(made->positions, s->positions, 3 * n * sizeof(double));
    memcpy(made->positions + 3 * n, more->positions, 3 * m * sizeof(double));
    for (size_t k = 0; status == BL_OK && k < s->species_count; k++)
        status = bl_structure_species(made, s->species[k], strlen(s->species[k]), &index, err);
    memcpy(made->types, s->types, n * sizeof *made->types);
    for (size_t i = 0; status == BL_OK && i < m; i++) {
        const char *symbol = more->species[more->types[i]];
        status = bl_structure_species(made, symbol, strlen(symbol), &made->types[n + i], err);
    }
    const size_t vector = 3 * sizeof(double);
    if (status == BL_OK) status = join(made, &made->velocities, s->velocities, n, more->velocities, m, vector, err);
    if (status == BL_OK) status = join(made, &made->masses, s->masses, n, more->masses, m, sizeof(double), err);
    if (status == BL_OK) status = join(made, &made->charges, s->charges, n, more->charges, m, sizeof(double), err);
    if (status == BL_OK) status = join(made, &made->occupancies, s->occupancies, n, more->occupancies, m, sizeof(double), err);
    if (status == BL_OK) status = join(made, &made->fixed, s->fixed, n, more->fixed, m, 1, err);
    for (size_t i = 0; status == BL_OK && i < s->info_count; i++) {
        const struct bl_info *x = &s->info[i];
        status = bl_structure_add_info(made, x->key, strlen(x->key), x->type, x->rows, x->columns, x->value.text, err);
    }
    memcpy(made->cell, s->cell, sizeof made->cell);
    memcpy(made->pbc, s->pbc, sizeof made->pbc);
    return status;
}

enum bl_status bl_structure_merge(struct bl_ctx *ctx, struct bl_structure *s, const struct bl_structure *more, struct bl_error *err)
{
    struct bl_structure made;
    size_t atoms;
    enum bl_status status = bl_structure_check(s, err);
    if (status == BL_OK) status = bl_structure_check(more, err);
    if (status != BL_OK) return status;
    atoms = s->atoms > SIZE_MAX - more->atoms ? SIZE_MAX : s->atoms + more->atoms;
    bl_structure_init(&made, s->quota);
    status = bl_structure_allocate(&made, atoms, NULL, err);
    if (status == BL_OK) status = join_all(s, more, &made, err);
    if (status == BL_OK) bl_drop_stale_info(&made);
    return replace(ctx, status, s, &made, err);
}
