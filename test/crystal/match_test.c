/* SPDX-License-Identifier: Apache-2.0
 *
 * Equality of crystals: what is the same stays the same under everything that does not change a crystal.
 */
#include "crystal/bl_match.h"
#include "crystal_fixture.h"

static struct bl_match match(const struct bl_structure *a, const struct bl_structure *b, const struct bl_match_options *o)
{
    struct bl_match m;
    struct bl_error err;
    REQUIRE(OK(bl_structure_match(NULL, a, b, o, &m, &err)));
    return m;
}

/* n atoms at random in a random cell, none nearer than 1 angstrom: two kinds. */
static void random_crystal(struct bl_structure *s, size_t n, uint64_t *seed)
{
    struct bl_error err;
    uint32_t index;
    blank(s, NULL, "Na", n);
    REQUIRE(OK(bl_structure_species(s, "Cl", 2, &index, &err)));
    for (int i = 0; i < 3; i++) {
        s->pbc[i] = true;
        for (int c = 0; c < 3; c++)
            s->cell[i][c] = (i == c) * (3 + 2 * random_real(seed)) * cbrt((double)n) / 1.5 + random_real(seed) - 0.5;
    }
    for (size_t i = 0; i < n; i++) {
        s->types[i] = i % 3 == 2;
        for (bool near = true; near;) {
            double f[3] = {random_real(seed), random_real(seed), random_real(seed)};
            bl_row_times(f, s->cell, s->positions + 3 * i);
            near = false;
            double inverse[3][3], cell[3][3];
            memcpy(cell, s->cell, sizeof cell);
            bl_cell_reduce(cell);
            bl_cell_invert(cell, inverse);
            for (size_t j = 0; j < i; j++) {
                double d[3], x[3];
                for (size_t k = 0; k < 3; k++) d[k] = s->positions[3 * i + k] - s->positions[3 * j + k];
                bl_row_times(d, inverse, x);
                near = near || bl_nearest(cell, x) < 1;
            }
        }
    }
}

/* The same crystal: another cell of the same lattice or a supercell, turned, moved, atoms in another order. */
static void disguise(const struct bl_structure *from, struct bl_structure *to, bool super, double rattle_by, uint64_t *seed)
{
    struct bl_error err;
    int32_t m[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    if (super)
        for (int k = 0; k < 3; k++) m[k][k] = 1 + (int32_t)(bl_test_random(seed) % 2);
    for (int step = 0; step < 4; step++) { /* add a row to another: determinant stays */
        const int i = (int)(bl_test_random(seed) % 3), k = (i + 1 + (int)(bl_test_random(seed) % 2)) % 3;
        const int32_t sign = bl_test_random(seed) % 2 ? 1 : -1;
        for (int c = 0; c < 3; c++) m[i][c] += sign * m[k][c];
    }
    REQUIRE(OK(bl_structure_supercell(NULL, from, m, NULL, to, &err)));
    double shift[3] = {10 * random_real(seed), 10 * random_real(seed), -10 * random_real(seed)};
    for (size_t i = 0; i < to->atoms; i++)
        for (size_t k = 0; k < 3; k++) to->positions[3 * i + k] += shift[k];
    for (size_t i = to->atoms - 1; i > 0; i--) {
        const size_t j = bl_test_random(seed) % (i + 1);
        double r[3];
        const uint32_t t = to->types[i];
        memcpy(r, to->positions + 3 * i, sizeof r);
        memcpy(to->positions + 3 * i, to->positions + 3 * j, sizeof r);
        memcpy(to->positions + 3 * j, r, sizeof r);
        to->types[i] = to->types[j];
        to->types[j] = t;
    }
    const double a = 6.3 * random_real(seed), b = 6.3 * random_real(seed);
    double turn[3][3] = {{cos(a), sin(a), 0}, {-sin(a), cos(a), 0}, {0, 0, 1}};
    double tilt[3][3] = {{1, 0, 0}, {0, cos(b), sin(b)}, {0, -sin(b), cos(b)}};
    deform(to, turn);
    deform(to, tilt);
    rattle(to, rattle_by, seed);
}

TEST(a_disguised_crystal_is_recognised)
{
    uint64_t seed = bl_test_seed();
    for (int round = 0; round < 60; round++) {
        struct bl_structure a, b;
        random_crystal(&a, 1 + (size_t)round % 9, &seed);
        disguise(&a, &b, round % 2, 0, &seed);
        const struct bl_match m = match(&a, &b, NULL);
        CHECK_INT(m.why, BL_MATCH_EQUAL);
        /* By chance a crystal is nearly one of a smaller cell: then it is that far from it. */
        if (m.primitive_atoms[0] == a.atoms) CHECK(m.rmsd < 1e-6 && m.max_distance < 1e-6 && m.strain < 1e-9);
        CHECK(m.primitive_atoms[0] == m.primitive_atoms[1]);
        const struct bl_match back = match(&b, &a, NULL);
        CHECK_INT(back.why, BL_MATCH_EQUAL);
        bl_structure_clear(&a);
        bl_structure_clear(&b);
    }
}

TEST(small_displacements_are_told_and_large_ones_are_a_difference)
{
    uint64_t seed = bl_test_seed();
    for (int round = 0; round < 30; round++) {
        struct bl_structure a, b;
        random_crystal(&a, 4 + (size_t)round % 5, &seed);
        disguise(&a, &b, round % 2, 0.02, &seed);
        const struct bl_match m = match(&a, &b, NULL);
        CHECK_INT(m.why, BL_MATCH_EQUAL);
        /* Uniform in (-d, d) along three axes: d; the mean difference is taken out. */
        CHECK(m.rmsd > 0.002 && m.rmsd < 0.03 && m.max_distance >= m.rmsd && m.max_distance < 0.12);
        bl_structure_clear(&b);
        disguise(&a, &b, false, 0, &seed);
        b.positions[0] += 0.5;
        CHECK_INT(match(&a, &b, NULL).why, BL_MATCH_POSITIONS);
        bl_structure_clear(&b);
        bl_structure_clear(&a);
    }
}

TEST(each_difference_has_its_name)
{
    struct bl_structure fcc, bcc, other;
    cubic(&fcc, NULL, "Cu", 3.6, 1, fcc_basis, 4);
    cubic(&bcc, NULL, "Cu", 3.6 / cbrt(2), 1, bcc_basis, 2);
    CHECK_INT(match(&fcc, &bcc, NULL).why, BL_MATCH_LATTICE);
    CHECK_INT(match(&fcc, &fcc, NULL).primitive_atoms[0], 1);
    cubic(&other, NULL, "Cu", 4, 1, fcc_basis, 4);
    CHECK_INT(match(&fcc, &other, NULL).why, BL_MATCH_VOLUME);
    bl_structure_clear(&other);
    cubic(&other, NULL, "Ni", 3.6, 1, fcc_basis, 4);
    CHECK_INT(match(&fcc, &other, NULL).why, BL_MATCH_COMPOSITION);
    bl_structure_clear(&other);
    cubic(&other, NULL, "Cu", 5, 1, diamond_basis, 8);
    CHECK_INT(match(&fcc, &other, NULL).why, BL_MATCH_CELL);
    bl_structure_clear(&other);
    cubic(&other, NULL, "Cu", 3.61, 2, fcc_basis, 4);
    struct bl_match m = match(&fcc, &other, NULL);
    CHECK_INT(m.why, BL_MATCH_EQUAL);
    CHECK_NEAR(m.strain, (3.61 * 3.61 / (3.6 * 3.6) - 1) / 2, 1e-12);
    CHECK_INT(match(&fcc, &other, &(struct bl_match_options){.tolerance = 0.1, .strain_tolerance = 1e-3}).why, BL_MATCH_VOLUME);
    struct bl_error err;
    REQUIRE(OK(bl_structure_add(&other, &other.occupancies, 1, sizeof(double), &err)));
    for (size_t i = 0; i < other.atoms; i++) other.occupancies[i] = 0.5;
    CHECK_INT(match(&fcc, &other, NULL).why, BL_MATCH_COMPOSITION);
    bl_structure_clear(&other);
    bl_structure_clear(&bcc);
    bl_structure_clear(&fcc);
}

TEST(mirror_images_are_equal_only_where_asked)
{
    uint64_t seed = bl_test_seed();
    struct bl_structure a, b;
    random_crystal(&a, 7, &seed); /* no symmetry: chiral */
    disguise(&a, &b, true, 0, &seed);
    double m[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, -1}};
    deform(&b, m);
    CHECK_INT(match(&a, &b, NULL).why, BL_MATCH_MIRROR);
    CHECK_INT(match(&a, &b, &(struct bl_match_options){.tolerance = 0.1, .strain_tolerance = 0.02, .mirror = true}).why, BL_MATCH_EQUAL);
    deform(&b, m); /* a left-handed description of the same crystal */
    for (int c = 0; c < 3; c++) {
        const double t = b.cell[0][c];
        b.cell[0][c] = b.cell[1][c];
        b.cell[1][c] = t;
    }
    CHECK_INT(match(&a, &b, NULL).why, BL_MATCH_EQUAL);
    bl_structure_clear(&a);
    bl_structure_clear(&b);
}

TEST(hostile_structures_are_refused_or_answered_soon)
{
    struct bl_structure s, big;
    struct bl_match m;
    struct bl_error err;
    cubic(&s, NULL, "Cu", 3.6, 1, fcc_basis, 4);
    s.pbc[1] = false;
    CHECK_INT(bl_structure_match(NULL, &s, &s, NULL, &m, &err), BL_INVALID);
    s.pbc[1] = true;
    s.positions[4] = NAN;
    CHECK_INT(bl_structure_match(NULL, &s, &s, NULL, &m, &err), BL_INVALID);
    s.positions[4] = 0;
    CHECK_INT(bl_structure_match(NULL, &s, &s, &(struct bl_match_options){.tolerance = -1}, &m, &err), BL_INVALID);
    const struct bl_match_options no_number = {.tolerance = 0.1, .strain_tolerance = NAN};
    CHECK_INT(bl_structure_match(NULL, &s, &s, &no_number, &m, &err), BL_INVALID);
    memset(s.positions, 0, 12 * sizeof(double)); /* all at one place */
    REQUIRE(OK(bl_structure_match(NULL, &s, &s, NULL, &m, &err)));
    CHECK_INT(m.why, BL_MATCH_EQUAL);
    bl_structure_clear(&s);
    /* A needle: the first two vectors are tiny against the third. */
    cubic(&s, NULL, "Cu", 1, 1, sc_basis, 1);
    s.cell[2][2] = 1e6;
    CHECK_INT(bl_structure_match(NULL, &s, &s, NULL, &m, &err), BL_LIMIT);
    s.cell[2][2] = 1e-9;
    const enum bl_status flat = bl_structure_match(NULL, &s, &s, NULL, &m, &err);
    CHECK(flat == BL_OK || flat == BL_LIMIT || flat == BL_INVALID);
    bl_structure_clear(&s);
    cubic(&big, NULL, "Cu", 3.6, 11, fcc_basis, 4);
    CHECK_INT(bl_structure_match(NULL, &big, &big, NULL, &m, &err), BL_LIMIT);
    bl_structure_clear(&big);
    cubic(&big, NULL, "Cu", 3.6, 5, fcc_basis, 4);
    CHECK_INT(match(&big, &big, NULL).primitive_atoms[1], 1);
    bl_structure_clear(&big);
}

TEST(every_allocation_may_fail)
{
    uint64_t seed = bl_test_seed();
    for (uint64_t n = 1;; n++) {
        struct bl_quota quota;
        struct bl_structure a, b;
        struct bl_match m;
        struct bl_error err;
        bl_quota_init(&quota, NULL, "memory", 0);
        struct bl_ctx *ctx = bl_ctx_new(&quota);
        random_crystal(&a, 5, &seed);
        disguise(&a, &b, true, 0, &seed);
        bl_quota_fail_nth(&quota, n);
        const enum bl_status status = bl_structure_match(ctx, &a, &b, NULL, &m, &err);
        bl_quota_fail_nth(&quota, 0);
        bl_structure_clear(&a);
        bl_structure_clear(&b);
        bl_ctx_free(ctx);
        CHECK_INT(bl_quota_used(&quota), 0);
        if (status == BL_OK) break;
        CHECK_INT(status, BL_NO_MEMORY);
        REQUIRE(n < 100);
    }
}
