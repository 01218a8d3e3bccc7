/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_crystal.h"

#include <math.h>
#include <string.h>

const struct bl_crystal_limits bl_crystal_limits_default = {
    .max_atoms = (size_t)8 << 20,
    .max_frames = 100000,
    .max_inflated = (size_t)1 << 30,
    .max_images = (size_t)64 << 20,
    .max_neighbours = (size_t)1 << 30,
};

/* ---- life ------------------------------------------------------------------ */

void bl_structure_init(struct bl_structure *s, struct bl_quota *quota) { *s = (struct bl_structure){.quota = quota}; }

void bl_structure_clear(struct bl_structure *s)
{
    bl_free(s->species);
    bl_free(s->types);
    bl_free(s->positions);
    bl_free(s->velocities);
    bl_free(s->forces);
    bl_free(s->masses);
    bl_free(s->charges);
    bl_free(s->fixed);
    bl_free(s->occupancies);
    bl_free(s->sites);
    bl_free(s->label_ends);
    bl_free(s->label_text);
    if (s->symmetry) bl_symmetry_clear(s->symmetry);
    bl_free(s->symmetry);
    for (size_t i = 0; i < s->info_count; i++) bl_free(s->info[i].key); /* value lies in the same block */
    bl_free(s->info);
    for (size_t i = 0; i < s->column_count; i++) bl_free(s->columns[i].name);
    bl_free(s->columns);
    bl_structure_init(s, s->quota);
}

typedef void *allocate_fn(struct bl_quota *quota, size_t bytes, struct bl_error *err);

static enum bl_status allocate(struct bl_structure *s, size_t atoms, const struct bl_crystal_limits *limits, allocate_fn *get,
                               struct bl_error *err)
{
    const size_t most = (limits ? limits : &bl_crystal_limits_default)->max_atoms;
    if (atoms > most) return bl_fail_limit(err, "atoms", most, atoms);
    s->types = get(s->quota, atoms * sizeof *s->types, err);
    if (!s->types) return bl_alloc_status(err);
    s->positions = get(s->quota, atoms * 3 * sizeof(double), err);
    if (!s->positions) {
        bl_free(s->types);
        s->types = NULL;
        return bl_alloc_status(err);
    }
    s->atoms = atoms;
    return BL_OK;
}

enum bl_status bl_structure_allocate(struct bl_structure *s, size_t atoms, const struct bl_crystal_limits *limits,
                                     struct bl_error *err)
{
    return allocate(s, atoms, limits, bl_alloc_zero, err);
}

enum bl_status bl_structure_allocate_raw(struct bl_structure *s, size_t atoms, const struct bl_crystal_limits *limits,
                                         struct bl_error *err)
{
    return allocate(s, atoms, limits, bl_alloc, err);
}

enum bl_status bl_structure_add(struct bl_structure *s, void *field, size_t count, size_t size, struct bl_error *err)
{
    void **slot = field;
    if (*slot) return BL_OK;
    size_t bytes;
    if (!bl_mul_size(s->atoms, count * size, &bytes)) return bl_fail(err, BL_NO_MEMORY);
    void *p = bl_alloc_zero(s->quota, bytes, err);
    if (!p) return bl_alloc_status(err);
    *slot = p;
    return BL_OK;
}

enum { SPECIES_MAX = 4096 }; /* looked up one by one */

enum bl_status bl_structure_species(struct bl_structure *s, const char *symbol, size_t len, uint32_t *index, struct bl_error *err)
{
    if (len == 0 || len >= BL_SYMBOL_SIZE || memchr(symbol, '\0', len))
        return bl_fail_invalid(err, "species", "a symbol has 1 to %d bytes", BL_SYMBOL_SIZE - 1);
    for (size_t i = 0; i < s->species_count; i++) {
        if (strlen(s->species[i]) == len && memcmp(s->species[i], symbol, len) == 0) {
            *index = (uint32_t)i;
            return BL_OK;
        }
    }
    /* Room grows by doubling: at powers of two. */
    const size_t n = s->species_count;
    if (n >= SPECIES_MAX) return bl_fail_limit(err, "species", SPECIES_MAX, n + 1);
    if ((n & (n - 1)) == 0) {
        void *p = bl_realloc(s->quota, s->species, (n ? 2 * n : 1) * sizeof *s->species, err);
        if (!p) return bl_alloc_status(err);
        s->species = p;
    }
    memcpy(s->species[n], symbol, len);
    memset(s->species[n] + len, 0, BL_SYMBOL_SIZE - len);
    s->species_count = n + 1;
    *index = (uint32_t)n;
    return BL_OK;
}

static size_t value_size(enum bl_value_type type)
{
    return type == BL_VALUE_TEXT ? 1 : type == BL_VALUE_BOOL ? sizeof(bool) : 8;
}

enum bl_status bl_structure_add_info(struct bl_structure *s, const char *key, size_t key_len, enum bl_value_type type,
                                     uint32_t rows, uint32_t columns, const void *values, struct bl_error *err)
{
    const size_t count = (rows ? rows : 1) * (size_t)(columns || type == BL_VALUE_TEXT ? columns : 1);
    const size_t key_room = (key_len + 8) & ~(size_t)7; /* terminator, and values aligned behind it */
    char *block = bl_alloc(s->quota, key_room + count * value_size(type) + 1, err);
    if (!block) return bl_alloc_status(err);
    const size_t n = s->info_count;
    if ((n & (n - 1)) == 0) {
        void *p = bl_realloc(s->quota, s->info, (n ? 2 * n : 1) * sizeof *s->info, err);
        if (!p) {
            bl_free(block);
            return bl_alloc_status(err);
        }
        s->info = p;
    }
    memcpy(block, key, key_len);
    block[key_len] = '\0';
    if (count > 0) memcpy(block + key_room, values, count * value_size(type));
    block[key_room + count * value_size(type)] = '\0';
    s->info[n] = (struct bl_info){.key = block, .type = type, .rows = rows, .columns = columns, .value.text = block + key_room};
    s->info_count = n + 1;
    return BL_OK;
}

enum bl_status bl_structure_add_column(struct bl_structure *s, const char *name, size_t name_len, enum bl_value_type type,
                                       uint32_t width, struct bl_column **out, struct bl_error *err)
{
    size_t count;
    const size_t name_room = (name_len + 8) & ~(size_t)7;
    if (!bl_mul_size(s->atoms, (size_t)width * value_size(type), &count) || count > SIZE_MAX - name_room)
        return bl_fail(err, BL_NO_MEMORY);
    char *block = bl_alloc_zero(s->quota, name_room + count, err);
    if (!block) return bl_alloc_status(err);
    const size_t n = s->column_count;
    if ((n & (n - 1)) == 0) {
        void *p = bl_realloc(s->quota, s->columns, (n ? 2 * n : 1) * sizeof *s->columns, err);
        if (!p) {
            bl_free(block);
            return bl_alloc_status(err);
        }
        s->columns = p;
    }
    memcpy(block, name, name_len);
    s->columns[n] = (struct bl_column){.name = block, .type = type, .width = width};
    s->columns[n].value.reals = (double *)(void *)(block + name_room);
    s->column_count = n + 1;
    *out = &s->columns[n];
    return BL_OK;
}

enum bl_status bl_structure_set_labels(struct bl_structure *s, const char *text, const uint32_t *ends, size_t count, struct bl_error *err)
{
    const size_t len = count ? ends[count - 1] : 0;
    char *copy = bl_alloc(s->quota, len + 1, err);
    if (!copy) return bl_alloc_status(err);
    uint32_t *copied_ends = bl_alloc_array(s->quota, count, sizeof *ends, err);
    if (!copied_ends) {
        bl_free(copy);
        return bl_alloc_status(err);
    }
    if (len > 0) memcpy(copy, text, len);
    if (count > 0) memcpy(copied_ends, ends, count * sizeof *ends);
    bl_free(s->label_text);
    bl_free(s->label_ends);
    s->label_text = copy;
    s->label_ends = copied_ends;
    s->label_count = count;
    return BL_OK;
}

enum bl_status bl_structure_set_symmetry(struct bl_structure *s, struct bl_symmetry *symmetry, struct bl_error *err)
{
    struct bl_symmetry *own = s->symmetry ? s->symmetry : bl_alloc_zero(s->quota, sizeof *own, err);
    if (!own) return bl_alloc_status(err);
    bl_symmetry_clear(own);
    *own = *symmetry;
    s->symmetry = own;
    *symmetry = (struct bl_symmetry){.count = 0};
    return BL_OK;
}

static enum bl_status copy_symmetry(struct bl_structure *to, const struct bl_symmetry *from, struct bl_error *err)
{
    struct bl_symmetry copy = *from;
    copy.ops = bl_alloc_array(to->quota, from->count, sizeof *from->ops, err);
    if (!copy.ops) return bl_alloc_status(err);
    memcpy(copy.ops, from->ops, from->count * sizeof *from->ops);
    const enum bl_status status = bl_structure_set_symmetry(to, &copy, err);
    if (status != BL_OK) bl_symmetry_clear(&copy);
    return status;
}

/* ---- copy -------------------------------------------------------------------- */

static enum bl_status copy_array(struct bl_quota *quota, void *to, const void *from, size_t bytes, struct bl_error *err)
{
    if (!from) return BL_OK;
    void *p = bl_alloc(quota, bytes, err);
    if (!p) return bl_alloc_status(err);
    memcpy(p, from, bytes);
    *(void **)to = p;
    return BL_OK;
}

static enum bl_status copy_remarks(struct bl_structure *t, const struct bl_structure *from, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    for (size_t i = 0; status == BL_OK && i < from->info_count; i++) {
        const struct bl_info *x = &from->info[i];
        status = bl_structure_add_info(t, x->key, strlen(x->key), x->type, x->rows, x->columns, x->value.text, err);
    }
    for (size_t i = 0; status == BL_OK && i < from->column_count; i++) {
        const struct bl_column *x = &from->columns[i];
        struct bl_column *c;
        status = bl_structure_add_column(t, x->name, strlen(x->name), x->type, x->width, &c, err);
        if (status == BL_OK) memcpy(c->value.bools, x->value.bools, from->atoms * x->width * value_size(x->type));
    }
    return status;
}

enum bl_status bl_structure_copy(struct bl_structure *to, const struct bl_structure *from, struct bl_quota *quota, struct bl_error *err)
{
    struct bl_structure t;
    bl_structure_init(&t, quota);
    memcpy(t.cell, from->cell, sizeof t.cell);
    memcpy(t.pbc, from->pbc, sizeof t.pbc);
    t.atoms = from->atoms;
    const size_t n = from->atoms, vector = 3 * n * sizeof(double);
    enum bl_status status = BL_OK;
    uint32_t ignored;
    for (size_t i = 0; status == BL_OK && i < from->species_count; i++)
        status = bl_structure_species(&t, from->species[i], strlen(from->species[i]), &ignored, err);
    if (status == BL_OK) status = copy_array(quota, &t.types, from->types, n * sizeof *t.types, err);
    if (status == BL_OK) status = copy_array(quota, &t.positions, from->positions, vector, err);
    if (status == BL_OK) status = copy_array(quota, &t.velocities, from->velocities, vector, err);
    if (status == BL_OK) status = copy_array(quota, &t.forces, from->forces, vector, err);
    if (status == BL_OK) status = copy_array(quota, &t.masses, from->masses, n * sizeof(double), err);
    if (status == BL_OK) status = copy_array(quota, &t.charges, from->charges, n * sizeof(double), err);
    if (status == BL_OK) status = copy_array(quota, &t.fixed, from->fixed, n, err);
    if (status == BL_OK) status = copy_array(quota, &t.occupancies, from->occupancies, n * sizeof(double), err);
    if (status == BL_OK) status = copy_array(quota, &t.sites, from->sites, n * sizeof *t.sites, err);
    if (status == BL_OK && from->label_text) status = bl_structure_set_labels(&t, from->label_text, from->label_ends,
            from->label_count, err);
    if (status == BL_OK && from->symmetry) status = copy_symmetry(&t, from->symmetry, err);
    if (status == BL_OK) status = copy_remarks(&t, from, err);
    if (status != BL_OK) {
        bl_structure_clear(&t);
        return status;
    }
    *to = t;
    return BL_OK;
}

/* ---- geometry ------------------------------------------------------------------ */

double bl_structure_volume(const struct bl_structure *s)
{
    double n[3];
    bl_cross(s->cell[1], s->cell[2], n);
    return bl_dot(s->cell[0], n);
}

static enum bl_status check_finite(const double *values, size_t count, const char *field, struct bl_error *err)
{
    if (!values) return BL_OK;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return bl_fail_invalid(err, field, "value %zu is not a finite number", i + 1);
    return BL_OK;
}

enum bl_status bl_structure_check(const struct bl_structure *s, struct bl_error *err)
{
    enum bl_status status = check_finite(&s->cell[0][0], 9, "cell", err);
    if (status == BL_OK) status = check_finite(s->positions, 3 * s->atoms, "positions", err);
    if (status == BL_OK) status = check_finite(s->velocities, 3 * s->atoms, "velocities", err);
    if (status == BL_OK) status = check_finite(s->forces, 3 * s->atoms, "forces", err);
    if (status == BL_OK) status = check_finite(s->masses, s->atoms, "masses", err);
    if (status == BL_OK) status = check_finite(s->charges, s->atoms, "charges", err);
    if (status == BL_OK) status = check_finite(s->occupancies, s->atoms, "occupancies", err);
    if (status != BL_OK) return status;
    for (size_t i = 0; i < s->atoms; i++)
        if (s->types[i] >= s->species_count)
            return bl_fail_invalid(err, "types", "atom %zu has type %u of %zu species", i + 1, s->types[i], s->species_count);
    for (size_t i = 0; s->sites && i < s->atoms; i++)
        if (s->sites[i] >= s->label_count)
            return bl_fail_invalid(err, "sites", "atom %zu has label %u of %zu", i + 1, s->sites[i], s->label_count);
    struct bl_lattice lattice;
    return bl_lattice_init(&lattice, s, err);
}

/* Refined occupancies of whole atoms are off by their uncertainty. */
enum bl_status bl_structure_whole(const struct bl_structure *s, const char *cannot, struct bl_error *err)
{
    for (size_t i = 0; s->occupancies && i < s->atoms; i++)
        if (!(fabs(s->occupancies[i] - 1) <= 0.02))
            return bl_fail_invalid(err, "occupancies", "atom %zu takes %g of its site, which %s: choose the atoms that are there",
                    i + 1, s->occupancies[i], cannot);
    return BL_OK;
}

void bl_cross(const double a[3], const double b[3], double out[3])
{
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

void bl_copy_pieces(struct bl_ctx *ctx, double *to, const double *from, size_t n)
{
    for (size_t i = 0, end; (end = bl_piece(ctx, i, n)) > i; i = end) memcpy(to + i, from + i, (end - i) * sizeof *to);
}

double bl_dot(const double a[3], const double b[3]) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

/* Unit vectors perpendicular to what is there, where a vector is missing. */
static void complete_basis(double v[3][3])
{
    for (int k = 0; k < 3; k++) {
        if (bl_dot(v[k], v[k]) > 0) continue;
        const double *a = v[(k + 1) % 3], *b = v[(k + 2) % 3];
        double n[3];
        bl_cross(a, b, n);
        if (bl_dot(n, n) == 0) {
            const double *given = bl_dot(a, a) > 0 ? a : b;
            const int axis = fabs(given[0]) <= fabs(given[1]) && fabs(given[0]) <= fabs(given[2]) ? 0
                             : fabs(given[1]) <= fabs(given[2])                                  ? 1
                                                                                                 : 2;
            const double e[3] = {axis == 0, axis == 1, axis == 2};
            if (bl_dot(given, given) > 0)
                bl_cross(given, e, n);
            else
                memcpy(n, (const double[3]){k == 0, k == 1, k == 2}, sizeof n);
        }
        const double length = sqrt(bl_dot(n, n));
        for (int c = 0; c < 3; c++) v[k][c] = n[c] / length;
    }
}

enum bl_status bl_lattice_init(struct bl_lattice *lattice, const struct bl_structure *s, struct bl_error *err)
{
    struct bl_lattice l;
    memcpy(l.vectors, s->cell, sizeof l.vectors);
    for (int k = 0; k < 3; k++) {
        l.periodic[k] = s->pbc[k];
        if (s->pbc[k] && !(bl_dot(s->cell[k], s->cell[k]) > 0))
            return bl_fail_invalid(err, "cell", "vector %d is zero, but its direction is periodic", k + 1);
    }
    complete_basis(l.vectors);
    double n[3];
    bl_cross(l.vectors[1], l.vectors[2], n);
    l.volume = bl_dot(l.vectors[0], n);
    double scale = 1;
    for (int k = 0; k < 3; k++) scale *= sqrt(bl_dot(l.vectors[k], l.vectors[k]));
    if (!isfinite(l.volume) || !isfinite(scale) || !(fabs(l.volume) > 1e-10 * scale))
        return bl_fail_invalid(err, "cell", "the vectors are not independent: volume %.3g", l.volume);
    for (int k = 0; k < 3; k++) {
        bl_cross(l.vectors[(k + 1) % 3], l.vectors[(k + 2) % 3], n);
        l.heights[k] = fabs(l.volume) / sqrt(bl_dot(n, n));
        for (int c = 0; c < 3; c++) l.inverse[c][k] = n[c] / l.volume;
    }
    *lattice = l;
    return BL_OK;
}

enum bl_status bl_right_handed(const struct bl_structure *s, struct bl_lattice *lattice, struct bl_error *err)
{
    struct bl_structure turned = *s;
    if (bl_structure_volume(s) < 0) {
        memcpy(turned.cell[0], s->cell[1], sizeof s->cell[0]);
        memcpy(turned.cell[1], s->cell[0], sizeof s->cell[0]);
        turned.pbc[0] = s->pbc[1];
        turned.pbc[1] = s->pbc[0];
    }
    return bl_lattice_init(lattice, &turned, err);
}

void bl_lattice_fractional(const struct bl_lattice *l, const double r[3], double f[3])
{
    for (int k = 0; k < 3; k++) f[k] = r[0] * l->inverse[0][k] + r[1] * l->inverse[1][k] + r[2] * l->inverse[2][k];
}

void bl_lattice_cartesian(const struct bl_lattice *l, const double f[3], double r[3])
{
    for (int c = 0; c < 3; c++) r[c] = f[0] * l->vectors[0][c] + f[1] * l->vectors[1][c] + f[2] * l->vectors[2][c];
}

void bl_drop_stale_info(struct bl_structure *s)
{
    static const char *const stale[] = {"energy", "free_energy", "stress", "virial"};
    size_t kept = 0;
    for (size_t i = 0; i < s->info_count; i++) {
        bool drop = false;
        for (size_t k = 0; k < sizeof stale / sizeof *stale; k++) drop = drop || strcmp(s->info[i].key, stale[k]) == 0;
        if (drop) bl_free(s->info[i].key);
        else s->info[kept++] = s->info[i];
    }
    s->info_count = kept;
}
