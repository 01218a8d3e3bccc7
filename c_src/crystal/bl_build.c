/* SPDX-License-Identifier: Apache-2.0
 *
 * Structures from others: all images of an asymmetric unit, supercells.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "bl_cif.h"

/* ---- asymmetric unit ------------------------------------------------------------------ */

static enum bl_status take_atoms(const struct bl_structure *s, double tolerance, struct cif_reading *c, struct bl_error *err)
{
    c->atoms = bl_alloc_zero(c->r->out->quota, s->atoms * sizeof *c->atoms, err);
    if (!c->atoms) return bl_alloc_status(err);
    c->atom_count = s->atoms;
    for (size_t i = 0; i < s->atoms; i++) {
        struct cif_atom *atom = &c->atoms[i];
        bl_lattice_fractional(&c->lattice, s->positions + 3 * i, atom->f);
        for (int k = 0; k < 3; k++)
            if (!(fabs(atom->f[k]) < 1e6)) return bl_fail_invalid(err, "positions", "atom %zu is a million cells away", i + 1);
        atom->type = s->types[i];
        atom->occupancy = s->occupancies ? s->occupancies[i] : 1;
        atom->tolerance = atom->image_tolerance = tolerance > 0 ? tolerance : 0.02;
    }
    return BL_OK;
}

static enum bl_status copy_group(struct bl_structure *out, const struct bl_symmetry *from, struct bl_error *err)
{
    struct bl_symmetry copy = *from;
    copy.ops = bl_alloc_array(out->quota, from->count, sizeof *copy.ops, err);
    if (!copy.ops) return bl_alloc_status(err);
    memcpy(copy.ops, from->ops, from->count * sizeof *copy.ops);
    const enum bl_status status = bl_structure_set_symmetry(out, &copy, err);
    bl_symmetry_clear(&copy);
    return status;
}

static enum bl_status fill_expanded(const struct bl_structure *s, const struct cif_reading *c, const struct cif_expanded *x,
                                    struct bl_structure *out, struct bl_error *err)
{
    enum bl_status status = bl_structure_allocate(out, x->count, NULL, err);
    uint32_t index;
    for (size_t k = 0; status == BL_OK && k < s->species_count; k++)
        status = bl_structure_species(out, s->species[k], strlen(s->species[k]), &index, err);
    if (status == BL_OK && s->occupancies) status = bl_structure_add(out, &out->occupancies, 1, sizeof(double), err);
    if (status != BL_OK) return status;
    memcpy(out->cell, s->cell, sizeof out->cell);
    memcpy(out->pbc, s->pbc, sizeof out->pbc);
    for (size_t i = 0; i < x->count; i++) {
        bl_lattice_cartesian(&c->lattice, x->f + 3 * i, out->positions + 3 * i);
        out->types[i] = s->types[x->row[i]];
        if (out->occupancies) out->occupancies[i] = s->occupancies[x->row[i]];
    }
    return BL_OK;
}

enum bl_status bl_structure_expand(struct bl_ctx *ctx, const struct bl_structure *asymmetric, const struct bl_symmetry *symmetry,
                                   double tolerance, struct bl_structure *out, struct bl_error *err)
{
    struct bl_error local;
    struct bl_parsed parsed = {.quota = bl_ctx_quota(ctx)}; /* lends its quota */
    struct bl_reader_state r = {.ctx = ctx, .out = &parsed, .limits = &bl_crystal_limits_default};
    struct cif_reading c = {.r = &r};
    struct cif_expanded x = {.count = 0};
    struct bl_structure made;
    if (!err) err = &local;
    bl_structure_init(&made, parsed.quota);
    enum bl_status status = bl_structure_check(asymmetric, err);
    for (int k = 0; status == BL_OK && k < 3; k++)
        if (!asymmetric->pbc[k]) status = bl_fail_invalid(err, "pbc", "space groups need a cell that is periodic in all directions");
    if (status == BL_OK) status = bl_lattice_init(&c.lattice, asymmetric, err);
    memcpy(c.cell, asymmetric->cell, sizeof c.cell);
    if (status == BL_OK && !bl_symmetry_fits(c.cell, symmetry))
        status = bl_fail_invalid(err, "setting", "the operations do not fit the shape of the cell");
    if (status == BL_OK) status = take_atoms(asymmetric, tolerance, &c, err);
    if (status == BL_OK) status = bl_cif_expand(&c, symmetry, &x, err);
    if (status == BL_OK) status = fill_expanded(asymmetric, &c, &x, &made, err);
    if (status == BL_OK) status = copy_group(&made, symmetry, err);
    bl_cif_expanded_clear(&x);
    bl_free(c.atoms);
    if (status != BL_OK) bl_structure_clear(&made);
    else *out = made;
    return status;
}

/* ---- supercells ------------------------------------------------------------------------- */

static int64_t determinant(int32_t m[3][3])
{
    return (int64_t)m[0][0] * ((int64_t)m[1][1] * m[2][2] - (int64_t)m[1][2] * m[2][1]) -
           (int64_t)m[0][1] * ((int64_t)m[1][0] * m[2][2] - (int64_t)m[1][2] * m[2][0]) +
           (int64_t)m[0][2] * ((int64_t)m[1][0] * m[2][1] - (int64_t)m[1][1] * m[2][0]);
}

/* Representatives of the old lattice modulo the new one: the row-style Hermite normal form of the
 * matrix is triangular, and the box of its diagonal holds each class once. */
static void hermite(int64_t h[3][3])
{
    for (int col = 0; col < 3; col++) {
        for (int row = col + 1; row < 3; row++) {
            while (h[row][col] != 0) {
                const int64_t q = h[col][col] / h[row][col];
                for (int k = 0; k < 3; k++) {
                    const int64_t rest = h[col][k] - q * h[row][k];
                    h[col][k] = h[row][k];
                    h[row][k] = rest;
                }
            }
        }
    }
    for (int i = 0; i < 3; i++)
        if (h[i][i] < 0) h[i][i] = -h[i][i];
}

enum { MATRIX_MAX = 100000 };

static enum bl_status check_matrix(const struct bl_structure *s, int32_t m[3][3], size_t *images, struct bl_error *err)
{
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            if (m[i][k] > MATRIX_MAX || m[i][k] < -MATRIX_MAX) return bl_fail_limit(err, "matrix", MATRIX_MAX, (uint64_t)llabs(m[i][k]));
            if ((!s->pbc[i] || !s->pbc[k]) && m[i][k] != (i == k))
                return bl_fail_invalid(err, "matrix", "direction %d is not periodic: its row and column are those of 1",
                        (s->pbc[i] ? k : i) + 1);
        }
    const int64_t d = determinant(m);
    if (d == 0) return bl_fail_invalid(err, "matrix", "the determinant is 0");
    *images = (size_t)llabs(d);
    return BL_OK;
}

struct copying {
    const struct bl_structure *from;
    struct bl_structure *to;
    double (*shift)[3];
};

/* One image. Past the caches it is written around them where the machine can: twice as fast. */
static void copy_image(const double *from, const double shift[3], size_t atoms, double *to, bool stream)
{
#ifdef __SSE2__
    if (stream && atoms % 2 == 0 && ((uintptr_t)to & 15) == 0) {
        const __m128d xy = _mm_set_pd(shift[1], shift[0]), zx = _mm_set_pd(shift[0], shift[2]), yz = _mm_set_pd(shift[2], shift[1]);
        for (size_t i = 0; i < 3 * atoms; i += 6) {
            _mm_stream_pd(to + i, _mm_add_pd(_mm_loadu_pd(from + i), xy));
            _mm_stream_pd(to + i + 2, _mm_add_pd(_mm_loadu_pd(from + i + 2), zx));
            _mm_stream_pd(to + i + 4, _mm_add_pd(_mm_loadu_pd(from + i + 4), yz));
        }
        return;
    }
#endif
    (void)stream;
    for (size_t i = 0; i < atoms; i++)
        for (size_t k = 0; k < 3; k++) to[3 * i + k] = from[3 * i + k] + shift[k];
}

static enum bl_status copy_images(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    (void)lane, (void)err;
    const struct copying *c = arg;
    const size_t n = c->from->atoms;
    const bool stream = c->to->atoms > ((size_t)1 << 16);
    for (size_t image = begin; image < end; image++) {
        copy_image(c->from->positions, c->shift[image], n, c->to->positions + 3 * n * image, stream);
        memcpy(c->to->types + n * image, c->from->types, n * sizeof *c->to->types);
    }
#ifdef __SSE2__
    if (stream) _mm_sfence();
#endif
    return BL_OK;
}

/* One array of `size` bytes per atom, image after image. */
static enum bl_status repeat(struct bl_ctx *ctx, struct bl_structure *to, void *slot, const void *from, size_t atoms, size_t size,
                             struct bl_error *err)
{
    if (!from) return BL_OK;
    enum bl_status status = bl_structure_add(to, slot, 1, size, err);
    char *out = *(char **)slot;
    size_t work = 0;
    for (size_t i = 0; status == BL_OK && atoms > 0 && i < to->atoms; i += atoms) {
        status = bl_poll_work(ctx, &work, atoms, err);
        memcpy(out + i * size, from, atoms * size);
    }
    return status;
}

static enum bl_status fill_supercell(struct bl_ctx *ctx, const struct bl_structure *s, int32_t m[3][3], size_t images,
                                     struct bl_structure *out, struct bl_error *err)
{
    int64_t h[3][3];
    struct copying copying = {.from = s, .to = out};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) h[i][k] = m[i][k];
    hermite(h);
    copying.shift = bl_alloc_array(out->quota, images, sizeof *copying.shift, err);
    if (!copying.shift) return bl_alloc_status(err);
    size_t n = 0;
    enum bl_status status = BL_OK;
    for (int64_t i = 0; i < h[0][0]; i++)
        for (int64_t j = 0; j < h[1][1]; j++)
            for (int64_t k = 0; status == BL_OK && k < h[2][2]; k++, n++) {
                status = bl_poll(ctx, n, err);
                for (int c = 0; c < 3; c++)
                    copying.shift[n][c] = (double)i * s->cell[0][c] + (double)j * s->cell[1][c] + (double)k * s->cell[2][c];
            }
    const size_t grain = s->atoms < 4096 ? 4096 / (s->atoms + 1) + 1 : 1;
    if (status == BL_OK) status = bl_parallel_for(ctx, images, grain, copy_images, &copying, err);
    bl_free(copying.shift);
    return status;
}

enum bl_status bl_structure_supercell(struct bl_ctx *ctx, const struct bl_structure *s, int32_t matrix[3][3],
                                      const struct bl_crystal_limits *limits, struct bl_structure *out, struct bl_error *err)
{
    struct bl_error local;
    struct bl_structure made;
    size_t images = 0, atoms;
    uint32_t index;
    if (!err) err = &local;
    enum bl_status status = bl_structure_check(s, err);
    if (status == BL_OK) status = check_matrix(s, matrix, &images, err);
    if (status != BL_OK) return status;
    const size_t most = (limits ? limits : &bl_crystal_limits_default)->max_atoms;
    if (!bl_mul_size(images, s->atoms, &atoms) || atoms > most || images > most) return bl_fail_limit(err, "atoms", most, atoms);
    bl_structure_init(&made, bl_ctx_quota(ctx));
    status = bl_structure_allocate_raw(&made, atoms, limits, err);
    for (size_t k = 0; status == BL_OK && k < s->species_count; k++)
        status = bl_structure_species(&made, s->species[k], strlen(s->species[k]), &index, err);
    if (status == BL_OK) status = fill_supercell(ctx, s, matrix, images, &made, err);
    if (status == BL_OK) status = repeat(ctx, &made, &made.velocities, s->velocities, s->atoms, 3 * sizeof(double), err);
    if (status == BL_OK) status = repeat(ctx, &made, &made.forces, s->forces, s->atoms, 3 * sizeof(double), err);
    if (status == BL_OK) status = repeat(ctx, &made, &made.masses, s->masses, s->atoms, sizeof(double), err);
    if (status == BL_OK) status = repeat(ctx, &made, &made.charges, s->charges, s->atoms, sizeof(double), err);
    if (status == BL_OK) status = repeat(ctx, &made, &made.occupancies, s->occupancies, s->atoms, sizeof(double), err);
    if (status == BL_OK) status = repeat(ctx, &made, &made.fixed, s->fixed, s->atoms, 1, err);
    if (status != BL_OK) {
        bl_structure_clear(&made);
        return status;
    }
    for (int i = 0; i < 3; i++) {
        made.pbc[i] = s->pbc[i];
        for (int c = 0; c < 3; c++)
            made.cell[i][c] = matrix[i][0] * s->cell[0][c] + matrix[i][1] * s->cell[1][c] + matrix[i][2] * s->cell[2][c];
    }
    *out = made;
    return BL_OK;
}
