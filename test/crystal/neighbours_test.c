/* SPDX-License-Identifier: Apache-2.0 */
#include "crystal_fixture.h"

/* ---- the reference: every pair under every shift that could matter ------------------ */

static void cross(const double a[3], const double b[3], double out[3])
{
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

/* Pairs closer than rc, and a sum that tells pairs apart. Positions may be anywhere, so shifts
 * reach as far as the fractional distance of the two atoms says. */
struct tally {
    size_t pairs, borderline;
    double sum;
};

static double pair_mark(size_t i, size_t j, const int s[3], double r)
{
    return r * (1 + (double)i * 0.37 + (double)j * 0.11 + s[0] * 0.013 + s[1] * 0.0017 + s[2] * 0.00019);
}

static void reference_pair(const struct bl_structure *s, double rc, size_t i, size_t j, const int centre[3], const int reach[3],
        struct tally *t)
{
    int k[3];
    for (k[0] = centre[0] - reach[0]; k[0] <= centre[0] + reach[0]; k[0]++)
        for (k[1] = centre[1] - reach[1]; k[1] <= centre[1] + reach[1]; k[1]++)
            for (k[2] = centre[2] - reach[2]; k[2] <= centre[2] + reach[2]; k[2]++) {
                if (i == j && k[0] == 0 && k[1] == 0 && k[2] == 0) continue;
                double r2 = 0;
                for (int c = 0; c < 3; c++) {
                    double d = s->positions[3 * j + (size_t)c] - s->positions[3 * i + (size_t)c];
                    for (int v = 0; v < 3; v++) d += k[v] * s->cell[v][c];
                    r2 += d * d;
                }
                const double r = sqrt(r2);
                if (fabs(r - rc) < 1e-9 * rc) t->borderline++;
                if (r >= rc) continue;
                t->pairs++;
                t->sum += pair_mark(i, j, k, r);
            }
}

static struct tally reference(const struct bl_structure *s, double rc)
{
    struct tally t = {0, 0, 0};
    for (size_t i = 0; i < s->atoms; i++) {
        for (size_t j = 0; j < s->atoms; j++) {
            int centre[3] = {0, 0, 0}, reach[3] = {0, 0, 0};
            for (int v = 0; v < 3; v++) {
                double n[3], d[3];
                if (!s->pbc[v]) continue;
                cross(s->cell[(v + 1) % 3], s->cell[(v + 2) % 3], n);
                const double volume = s->cell[v][0] * n[0] + s->cell[v][1] * n[1] + s->cell[v][2] * n[2];
                const double height = fabs(volume) / sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);
                for (size_t c = 0; c < 3; c++) d[c] = s->positions[3 * j + c] - s->positions[3 * i + c];
                centre[v] = -(int)round((d[0] * n[0] + d[1] * n[1] + d[2] * n[2]) / volume);
                reach[v] = (int)ceil(rc / height) + 1;
            }
            reference_pair(s, rc, i, j, centre, reach, &t);
        }
    }
    return t;
}

static struct tally found(const struct bl_structure *s, double rc)
{
    struct bl_neighbours list;
    struct bl_error err;
    struct tally t = {0, 0, 0};
    REQUIRE(OK(bl_neighbours_find(NULL, s, rc, NULL, &list, &err)));
    CHECK_INT(list.first[s->atoms], list.pairs);
    for (size_t i = 0; i < s->atoms; i++) {
        for (uint64_t k = list.first[i]; k < list.first[i + 1]; k++, t.pairs++) {
            const size_t j = list.other[k];
            double r2 = 0;
            for (size_t c = 0; c < 3; c++) {
                double d = s->positions[3 * j + c] - s->positions[3 * i + c];
                for (int v = 0; v < 3; v++) d += list.shift[k][v] * s->cell[v][c];
                CHECK_NEAR(list.vector[k][c], d, 1e-11 * (1 + fabs(s->positions[3 * j + c])));
                r2 += d * d;
            }
            t.sum += pair_mark(i, j, list.shift[k], sqrt(r2));
            if (k > list.first[i] && list.other[k - 1] == list.other[k])
                CHECK(memcmp(list.shift[k - 1], list.shift[k], sizeof list.shift[k]) != 0);
            CHECK(k == list.first[i] || list.other[k - 1] <= list.other[k]);
        }
    }
    bl_neighbours_clear(&list);
    return t;
}

static void compare(const struct bl_structure *s, double rc)
{
    const struct tally a = found(s, rc), b = reference(s, rc);
    if (b.borderline > 0) return;
    CHECK_INT(a.pairs, b.pairs);
    CHECK_NEAR(a.sum, b.sum, 1e-9 * (1 + fabs(b.sum)));
}

/* ---- random crystals ------------------------------------------------------------------- */

static void random_structure(struct bl_structure *s, uint64_t *seed)
{
    blank(s, NULL, "Cu", 1 + bl_test_random(seed) % 12);
    const uint64_t pbc = bl_test_random(seed);
    for (int v = 0; v < 3; v++) {
        s->pbc[v] = pbc >> v & 1;
        const double length = exp(3 * random_real(seed) - 1);
        for (int c = 0; c < 3; c++) s->cell[v][c] = length * ((v == c) + 0.9 * (random_real(seed) - 0.5));
    }
    for (size_t i = 0; i < 3 * s->atoms; i++) s->positions[i] = 12 * (random_real(seed) - 0.5);
}

TEST(random_triclinic_cells_with_any_periodicity_agree_with_the_plain_sum)
{
    uint64_t seed = bl_test_seed();
    for (int round = 0; round < 400; round++) {
        struct bl_structure s;
        random_structure(&s, &seed);
        compare(&s, 0.3 + 3 * random_real(&seed));
        bl_structure_clear(&s);
    }
}

TEST(both_code_paths_find_the_same)
{
    uint64_t seed = bl_test_seed();
    for (int round = 0; round < 50; round++) {
        struct bl_structure s;
        random_structure(&s, &seed);
        const double rc = 0.3 + 3 * random_real(&seed);
        const struct tally a = found(&s, rc);
        bl_engine_allow_simd(false);
        const struct tally b = found(&s, rc);
        bl_engine_allow_simd(true);
        CHECK_INT(a.pairs, b.pairs);
        CHECK_NEAR(a.sum, b.sum, 0);
        bl_structure_clear(&s);
    }
}

TEST(a_cell_much_smaller_than_the_cut_off_sees_many_images_of_itself)
{
    struct bl_structure s;
    cubic(&s, NULL, "Cu", 1, 1, sc_basis, 1);
    struct bl_neighbours list;
    struct bl_error err;
    REQUIRE(OK(bl_neighbours_find(NULL, &s, 5.01, NULL, &list, &err)));
    CHECK_INT(list.pairs, 514); /* lattice points within 5, the origin left out */
    bl_neighbours_clear(&list);
    bl_structure_clear(&s);
}

TEST(shells_of_fcc_have_12_6_24_neighbours)
{
    struct bl_structure s;
    struct bl_neighbours list;
    struct bl_error err;
    static const struct {
        double cutoff;
        size_t neighbours;
    } shells[] = {{0.71, 12}, {1.01, 18}, {1.23, 42}};
    cubic(&s, NULL, "Cu", 3.6, 1, fcc_basis, 4);
    for (size_t i = 0; i < 3; i++) {
        REQUIRE(OK(bl_neighbours_find(NULL, &s, 3.6 * shells[i].cutoff, NULL, &list, &err)));
        CHECK_INT(list.pairs, 4 * shells[i].neighbours);
        bl_neighbours_clear(&list);
    }
    bl_structure_clear(&s);
}

TEST(a_molecule_needs_no_cell)
{
    struct bl_structure s;
    uint64_t seed = 7;
    blank(&s, NULL, "O", 20);
    rattle(&s, 3, &seed);
    compare(&s, 2.5);
    s.positions[0] = 1e7; /* far away: bins must not follow */
    compare(&s, 2.5);
    bl_structure_clear(&s);
}

/* The search looks at single-precision copies first: whatever they cannot tell apart must come out right all the same. */
TEST(ranges_and_extents_of_any_size_find_the_same_pairs)
{
    static const double extents[] = {1e-3, 1, 1e3, 1e5, 1e8, 1e18}, ranges[] = {1e-30, 1e-9, 1e-3, 1, 30, 1e4, 1e20};
    uint64_t seed = bl_test_seed();
    for (size_t a = 0; a < sizeof extents / sizeof *extents; a++) {
        for (size_t b = 0; b < sizeof ranges / sizeof *ranges; b++) {
            struct bl_structure s;
            blank(&s, NULL, "Ar", 24);
            rattle(&s, extents[a], &seed);
            for (size_t i = 0; i < 3 * s.atoms / 2; i++) /* twins well and hardly within the range, and just beyond it */
                s.positions[36 + i] = s.positions[i] + (i % 3 == 0 ? (0.5 + (double)(i / 3 % 3) * 0.499999) * ranges[b] : 0);
            compare(&s, ranges[b]);
            bl_engine_allow_simd(false);
            compare(&s, ranges[b]);
            bl_engine_allow_simd(true);
            bl_structure_clear(&s);
        }
    }
}

TEST(long_rows_are_sorted_too)
{
    struct bl_structure s;
    uint64_t seed = 9;
    cubic(&s, NULL, "Cu", 2, 1, fcc_basis, 4);
    skew(&s, 0.1, &seed);
    compare(&s, 6); /* some 450 neighbours */
    bl_structure_clear(&s);
}

TEST(atoms_far_outside_the_cell_are_wrapped)
{
    struct bl_structure s;
    uint64_t seed = 8;
    cubic(&s, NULL, "Cu", 3.6, 2, fcc_basis, 4);
    skew(&s, 0.2, &seed);
    const struct tally before = found(&s, 3);
    for (size_t i = 0; i < s.atoms; i++)
        for (size_t c = 0; c < 3; c++) s.positions[3 * i + c] += 17 * s.cell[i % 3][c];
    CHECK_INT(found(&s, 3).pairs, before.pairs);
    compare(&s, 3);
    bl_structure_clear(&s);
}

/* ---- refused ----------------------------------------------------------------------------- */

TEST(impossible_requests_are_refused_before_memory_is_asked_for)
{
    struct bl_structure s;
    struct bl_neighbours list;
    struct bl_error err;
    struct bl_quota quota;
    bl_quota_init(&quota, NULL, "memory", 0);
    struct bl_ctx *ctx = bl_ctx_new(&quota);
    cubic(&s, NULL, "Cu", 3.6, 1, fcc_basis, 4);
    CHECK_INT(bl_neighbours_find(ctx, &s, 1e6, NULL, &list, &err), BL_LIMIT);
    CHECK_TEXT(err.subject, "images");
    CHECK_INT(bl_neighbours_find(ctx, &s, 1e300, NULL, &list, &err), BL_LIMIT);
    CHECK_INT(bl_neighbours_find(ctx, &s, 0, NULL, &list, &err), BL_INVALID);
    CHECK_INT(bl_neighbours_find(ctx, &s, NAN, NULL, &list, &err), BL_INVALID);
    s.cell[2][2] = 1e-9; /* very flat: images without end */
    CHECK_INT(bl_neighbours_find(ctx, &s, 3, NULL, &list, &err), BL_LIMIT);
    s.cell[2][2] = 0;
    CHECK_INT(bl_neighbours_find(ctx, &s, 3, NULL, &list, &err), BL_INVALID);
    s.cell[2][2] = 3.6;
    struct bl_crystal_limits limits = bl_crystal_limits_default;
    limits.max_neighbours = 47;
    CHECK_INT(bl_neighbours_find(ctx, &s, 2.6, &limits, &list, &err), BL_LIMIT);
    CHECK_TEXT(err.subject, "neighbours");
    CHECK(bl_quota_peak(&quota) < 1000000);
    bl_structure_clear(&s);
    bl_ctx_free(ctx);
    CHECK_INT(bl_quota_used(&quota), 0);
}

TEST(every_allocation_may_fail)
{
    struct bl_structure s;
    struct bl_quota quota;
    cubic(&s, NULL, "Cu", 3.6, 4, fcc_basis, 4);
    for (uint64_t n = 1;; n++) {
        struct bl_neighbours list;
        struct bl_error err;
        bl_quota_init(&quota, NULL, "memory", 0);
        struct bl_ctx *ctx = bl_ctx_new(&quota);
        bl_quota_fail_nth(&quota, n);
        const enum bl_status status = bl_neighbours_find(ctx, &s, 4, NULL, &list, &err);
        bl_quota_fail_nth(&quota, 0);
        if (status == BL_OK) bl_neighbours_clear(&list);
        else CHECK_INT(status, BL_NO_MEMORY);
        bl_ctx_free(ctx);
        CHECK_INT(bl_quota_used(&quota), 0);
        if (status == BL_OK) break;
        REQUIRE(n < 1000);
    }
    bl_structure_clear(&s);
}

/* A plane of bins with more sites than a 16-bit offset reaches. */
TEST(rows_that_reach_over_a_large_plane_are_whole)
{
    enum { WIDE = 300, ATOMS = 2 * WIDE * WIDE };
    struct bl_structure s;
    struct bl_neighbours list;
    struct bl_error err;
    blank(&s, NULL, "Ar", ATOMS);
    for (size_t i = 0; i < ATOMS; i++) {
        const double at[3] = {(double)(i / (WIDE * WIDE)), (double)(i / WIDE % WIDE), (double)(i % WIDE)};
        memcpy(s.positions + 3 * i, at, sizeof at);
    }
    for (int k = 0; k < 3; k++) s.pbc[k] = true;
    s.cell[0][0] = 2;
    s.cell[1][1] = s.cell[2][2] = WIDE;
    REQUIRE(OK(bl_neighbours_find(NULL, &s, 1.2, NULL, &list, &err)));
    CHECK_INT(list.pairs, 6 * (size_t)ATOMS);
    size_t off = 0;
    for (size_t k = 0; k < list.pairs; k++) {
        const double *v = list.vector[k];
        off += fabs(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] - 1) > 1e-12;
    }
    CHECK_INT(off, 0);
    bl_neighbours_clear(&list);
    const struct bl_lj_pair pair = {.epsilon = 1, .sigma = 1, .cutoff = 1.2};
    const struct bl_potential p = lennard_jones(&pair);
    const struct bl_energies e = evaluate(NULL, &s, &p, NULL);
    CHECK_NEAR(e.energy, 0, 1e-9); /* each pair stands where its energy is zero */
    CHECK_NEAR(e.virial[1] / ATOMS, 24, 1e-9);
    bl_structure_clear(&s);
}
