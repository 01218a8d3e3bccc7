/* SPDX-License-Identifier: Apache-2.0
 *
 * Crystals for the C tests, and a plain reference for pair sums.
 */
#ifndef CRYSTAL_FIXTURE_H
#define CRYSTAL_FIXTURE_H

#include "beamline/crystal.h"
#include "bl_test.h"

/* Tells the error when it is there, so that a failing test says more than "not true". */
__attribute__((unused)) static bool fine(enum bl_status status, const struct bl_error *err)
{
    char text[300];
    if (status == BL_OK) return true;
    bl_error_format(err, text, sizeof text);
    printf("    %s\n", text);
    return false;
}
#define OK(call) fine((call), &err)

__attribute__((unused)) static double random_real(uint64_t *state) { return (double)(bl_test_random(state) >> 11) * 0x1p-53; }

static const double sc_basis[1][3] = {{0, 0, 0}};
static const double bcc_basis[2][3] = {{0, 0, 0}, {0.5, 0.5, 0.5}};
static const double fcc_basis[4][3] = {{0, 0, 0}, {0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0}};
static const double diamond_basis[8][3] = {{0, 0, 0},          {0, 0.5, 0.5},          {0.5, 0, 0.5},          {0.5, 0.5, 0},
                                           {0.25, 0.25, 0.25}, {0.25, 0.75, 0.75}, {0.75, 0.25, 0.75}, {0.75, 0.75, 0.25}};

/* A structure of one species, to be filled. */
__attribute__((unused)) static void blank(struct bl_structure *s, struct bl_quota *quota, const char *symbol, size_t atoms)
{
    struct bl_error err;
    uint32_t index;
    bl_structure_init(s, quota);
    REQUIRE(OK(bl_structure_allocate(s, atoms, NULL, &err)));
    REQUIRE(OK(bl_structure_species(s, symbol, strlen(symbol), &index, &err)));
}

/* n x n x n cubic cells of edge a. */
__attribute__((unused)) static void cubic(struct bl_structure *s, struct bl_quota *quota, const char *symbol, double a, size_t n,
                                          const double (*basis)[3], size_t sites)
{
    blank(s, quota, symbol, n * n * n * sites);
    size_t i = 0;
    for (size_t x = 0; x < n; x++)
        for (size_t y = 0; y < n; y++)
            for (size_t z = 0; z < n; z++)
                for (size_t b = 0; b < sites; b++, i++) {
                    const double at[3] = {(double)x, (double)y, (double)z};
                    for (size_t c = 0; c < 3; c++) s->positions[3 * i + c] = a * (at[c] + basis[b][c]);
                }
    for (int k = 0; k < 3; k++) {
        s->cell[k][k] = a * (double)n;
        s->pbc[k] = true;
    }
}

__attribute__((unused)) static void rattle(struct bl_structure *s, double by, uint64_t *seed)
{
    for (size_t i = 0; i < 3 * s->atoms; i++) s->positions[i] += by * (2 * random_real(seed) - 1);
}

/* Positions and cell under r -> r (1 + strain), for any matrix. */
__attribute__((unused)) static void deform(struct bl_structure *s, double m[3][3])
{
    for (size_t i = 0; i < s->atoms + 3; i++) {
        double *r = i < s->atoms ? s->positions + 3 * i : s->cell[i - s->atoms], out[3];
        for (int c = 0; c < 3; c++) out[c] = r[0] * m[0][c] + r[1] * m[1][c] + r[2] * m[2][c];
        memcpy(r, out, sizeof out);
    }
}

/* A small, skew deformation: makes any crystal triclinic. */
__attribute__((unused)) static void skew(struct bl_structure *s, double by, uint64_t *seed)
{
    double m[3][3];
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < 3; c++) m[i][c] = (i == c) + by * (2 * random_real(seed) - 1);
    deform(s, m);
}

static const struct bl_lj_pair lj_reduced = {.epsilon = 1, .sigma = 1, .cutoff = 2.5};

__attribute__((unused)) static struct bl_potential lennard_jones(const struct bl_lj_pair *pair)
{
    return (struct bl_potential){.type = BL_POTENTIAL_LENNARD_JONES, .pairs = pair, .pair_count = 1};
}

__attribute__((unused)) static struct bl_potential silicon(void)
{
    return (struct bl_potential){.type = BL_POTENTIAL_STILLINGER_WEBER, .sw = bl_sw_silicon};
}

/* One evaluation by a fresh engine. forces may be NULL. */
__attribute__((unused)) static struct bl_energies evaluate(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *p,
                                                           double *forces)
{
    struct bl_error err;
    struct bl_engine *e;
    struct bl_energies out = {.forces = forces};
    REQUIRE(OK(bl_engine_new(ctx, s, p, NULL, &e, &err)));
    const bool good = OK(bl_engine_compute(ctx, e, s->positions, BL_WANT_ENERGY | BL_WANT_VIRIAL | (forces ? BL_WANT_FORCES : 0u),
            &out, &err));
    bl_engine_free(e);
    REQUIRE(good);
    return out;
}

#endif
