/* SPDX-License-Identifier: Apache-2.0
 *
 * Elastic constants against published and independently computed numbers, and the gate that uses them.
 */
#include "crystal/bl_crystal.h"
#include "crystal_fixture.h"

static struct bl_elastic elastic(const struct bl_structure *s, const struct bl_potential *p, const struct bl_elastic_options *o)
{
    struct bl_elastic e;
    struct bl_error err;
    REQUIRE(OK(bl_elastic_constants(NULL, s, p, o, &e, &err)));
    return e;
}

TEST(silicon_has_the_constants_of_the_literature)
{
    /* Computed with LAMMPS by strain 1e-4; Cowley, Phys. Rev. Lett. 60, 2379 (1988): 151.4, 76.4, 56.4. */
    const struct bl_potential p = silicon();
    struct bl_structure s;
    cubic(&s, NULL, "Si", 5.43094977840521, 1, diamond_basis, 8);
    const struct bl_elastic e = elastic(&s, &p, NULL);
    REQUIRE(e.known);
    CHECK_NEAR(e.relaxed[0][0], 151.4245, 1e-4);
    CHECK_NEAR(e.relaxed[0][1], 76.4221, 1e-4);
    CHECK_NEAR(e.relaxed[3][3], 56.4493, 1e-4);
    CHECK_NEAR(e.clamped[3][3], 109.7565, 1e-4);
    CHECK_NEAR(e.bulk_hill, 101.4229, 1e-4);
    CHECK(e.stable && e.has_moduli && e.asymmetry < 1e-7);
    /* Closed forms of a cubic crystal. */
    CHECK_NEAR(e.eigenvalues[0], 151.4245 - 76.4221, 3e-4);
    CHECK_NEAR(e.eigenvalues[2], 2 * 56.4493, 3e-4);
    CHECK_NEAR(e.eigenvalues[5], 151.4245 + 2 * 76.4221, 3e-4);
    const double gv = (151.4245 - 76.4221 + 3 * 56.4493) / 5;
    const double gr = 5 * (151.4245 - 76.4221) * 56.4493 / (4 * 56.4493 + 3 * (151.4245 - 76.4221));
    CHECK_NEAR(e.shear_voigt, gv, 1e-3);
    CHECK_NEAR(e.shear_reuss, gr, 1e-3);
    CHECK_NEAR(e.anisotropy, 5 * gv / gr - 5, 1e-5);
    CHECK_NEAR(e.young, 9 * e.bulk_hill * e.shear_hill / (3 * e.bulk_hill + e.shear_hill), 1e-9);
    CHECK_NEAR(e.poisson, e.young / (2 * e.shear_hill) - 1, 1e-12);
    bl_structure_clear(&s);
}

TEST(constants_do_not_depend_on_the_cell_that_is_chosen_or_how_it_lies)
{
    uint64_t seed = bl_test_seed();
    const struct bl_potential p = silicon();
    struct bl_structure s;
    cubic(&s, NULL, "Si", 5.43094977840521, 2, diamond_basis, 8);
    rattle(&s, 1e-3, &seed); /* it settles first */
    double c = cos(0.7), d = sin(0.7), m[3][3] = {{c, d, 0}, {-d * 0.6, c * 0.6, 0.8}, {d * 0.8, -c * 0.8, 0.6}};
    deform(&s, m);
    const struct bl_elastic e = elastic(&s, &p, NULL);
    REQUIRE(e.known);
    static const double expected[6] = {75.0024, 75.0024, 112.8986, 112.8986, 112.8986, 304.2687};
    for (int k = 0; k < 6; k++) CHECK_NEAR(e.eigenvalues[k], expected[k], 5e-4);
    CHECK_NEAR(e.bulk_voigt, 101.4229, 1e-4);
    bl_structure_clear(&s);
}

TEST(argon_at_zero_pressure_has_the_constants_of_the_reference)
{
    const struct bl_potential p = lennard_jones(&lj_reduced);
    struct bl_structure s;
    cubic(&s, NULL, "Ar", 1.549603424089, 1, fcc_basis, 4);
    const struct bl_elastic e = elastic(&s, &p, NULL);
    REQUIRE(e.known);
    CHECK_NEAR(e.relaxed[0][0] / BL_GPA, 97.71205963, 1e-7);
    CHECK_NEAR(e.relaxed[0][1] / BL_GPA, 55.62663048, 1e-7);
    CHECK_NEAR(e.relaxed[3][3] / BL_GPA, 55.62663048, 1e-7);
    CHECK_NEAR(e.clamped[3][3] / BL_GPA, 55.62663048, 1e-7);
    bl_structure_clear(&s);
}

/* C(r_c) = C + k / r_c^3 through many cut-offs, because shells enter one by one. */
struct line {
    double n, x, y, xx, xy;
};
static void add(struct line *l, double x, double y)
{
    l->n++;
    l->x += x;
    l->y += y;
    l->xx += x * x;
    l->xy += x * y;
}
static double at_zero(const struct line *l) { return (l->y * l->xx - l->x * l->xy) / (l->n * l->xx - l->x * l->x); }

TEST(constants_without_a_cut_off_follow_by_extrapolation)
{
    static const struct {
        double a, c11, c12, c44;
        const double (*basis)[3];
        size_t sites;
    } crystals[] = {
        {1.5417373827362991, 105.1820740882, 60.1866740324, 60.18667403237, fcc_basis, 4},
        {1.23371916043171044, 60.96467631, 74.79787835, 74.79787835, bcc_basis, 2},
        {1.06708473642350026, 128.5940438, -8.092685636, -8.092685636, sc_basis, 1},
    };
    for (size_t k = 0; k < 3; k++) {
        struct line c11 = {0}, c12 = {0}, c44 = {0};
        for (double rc = 5; rc <= 10; rc += 0.25) {
            const struct bl_lj_pair pair = {.epsilon = 1, .sigma = 1, .cutoff = rc};
            const struct bl_potential p = lennard_jones(&pair);
            struct bl_structure s;
            cubic(&s, NULL, "Ar", crystals[k].a, 1, crystals[k].basis, crystals[k].sites);
            const struct bl_elastic e = elastic(&s, &p, &(struct bl_elastic_options){.strain = 1e-5, .clamped_only = true});
            const double x = 1 / (rc * rc * rc);
            add(&c11, x, e.relaxed[0][0] / BL_GPA);
            add(&c12, x, e.relaxed[0][1] / BL_GPA);
            add(&c44, x, e.relaxed[3][3] / BL_GPA);
            bl_structure_clear(&s);
        }
        CHECK_NEAR(at_zero(&c11), crystals[k].c11, 2e-2);
        CHECK_NEAR(at_zero(&c12), crystals[k].c12, 2e-2);
        CHECK_NEAR(at_zero(&c44), crystals[k].c44, 2e-2);
    }
}

TEST(born_decides_as_the_literature_does)
{
    static const struct {
        double a;
        const double (*basis)[3];
        size_t sites;
        bool stable;
    } crystals[] = {{1.5427711, fcc_basis, 4, true}, {1.2345, bcc_basis, 2, false}, {1.0675, sc_basis, 1, false}};
    const struct bl_lj_pair pair = {.epsilon = 1, .sigma = 1, .cutoff = 5};
    const struct bl_potential p = lennard_jones(&pair);
    for (size_t k = 0; k < 3; k++) {
        struct bl_structure s;
        struct bl_verified v;
        struct bl_error err;
        struct bl_relax_result r;
        struct bl_verify_options o;
        cubic(&s, NULL, "Ar", crystals[k].a, 1, crystals[k].basis, crystals[k].sites);
        REQUIRE(OK(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.level = BL_LEVEL_TIGHT, .cell = BL_CELL_ISOTROPIC}, &r, &err)));
        bl_verify_options_init(&o);
        o.elastic = o.has_energy_before = o.has_smax = true;
        o.min_distance = 0.9;
        o.smax_gpa = 0.1;
        o.energy_before = r.energy_before;
        REQUIRE(OK(bl_verify(NULL, &s, &p, &o, &v, &err)));
        CHECK_INT(v.gates[BL_GATE_EQUILIBRIUM].pass, BL_GATE_PASSED);
        CHECK_INT(v.gates[BL_GATE_ELASTIC].pass, crystals[k].stable ? BL_GATE_PASSED : BL_GATE_FAILED);
        CHECK_INT(v.passed, crystals[k].stable);
        CHECK_INT(v.verdict, crystals[k].stable ? BL_VERDICT_UNKNOWN : BL_VERDICT_UNSTABLE);
        CHECK_INT(v.elastic.has_moduli, crystals[k].stable);
        bl_structure_clear(&s);
    }
}

/* Hydrostatic load: B_ijkl against C of the energy's second derivatives. For a cubic crystal under pressure P:
 * B11 = C11 - P, B12 = C12 + P, B44 = C44 - P, and 3 K = B11 + 2 B12 is -3 V dP/dV. */
TEST(under_pressure_the_bulk_modulus_is_that_of_the_equation_of_state)
{
    const struct bl_potential p = silicon();
    double pressure[3], volume[3];
    struct bl_elastic e = {.known = false};
    for (int k = -1; k <= 1; k++) {
        struct bl_structure s;
        cubic(&s, NULL, "Si", 5.3 * (1 + k * 1e-5), 1, diamond_basis, 8);
        const struct bl_energies x = evaluate(NULL, &s, &p, NULL);
        volume[k + 1] = bl_structure_volume(&s);
        pressure[k + 1] = (x.virial[0] + x.virial[1] + x.virial[2]) / (3 * volume[k + 1]) * BL_GPA;
        if (k == 0) e = elastic(&s, &p, NULL);
        bl_structure_clear(&s);
    }
    const double bulk = -volume[1] * (pressure[2] - pressure[0]) / (volume[2] - volume[0]);
    CHECK_NEAR((e.relaxed[0][0] + 2 * e.relaxed[0][1]) / 3, bulk, 1e-4 * bulk);
    CHECK_NEAR(e.stress_gpa[0], -pressure[1], 1e-9);
}

TEST(atoms_that_leave_their_places_are_an_answer)
{
    /* Two Lennard-Jones atoms far apart in a large cell fall onto each other. */
    const struct bl_potential p = lennard_jones(&lj_reduced);
    struct bl_structure s;
    struct bl_verified v;
    struct bl_error err;
    struct bl_verify_options o;
    blank(&s, NULL, "Ar", 2);
    for (int k = 0; k < 3; k++) {
        s.cell[k][k] = 6;
        s.pbc[k] = true;
    }
    s.positions[3] = 2;
    const struct bl_elastic e = elastic(&s, &p, NULL);
    CHECK(!e.known && strstr(e.why, "leave their places"));
    bl_verify_options_init(&o);
    o.elastic = true;
    REQUIRE(OK(bl_verify(NULL, &s, &p, &o, &v, &err)));
    CHECK_INT(v.gates[BL_GATE_ELASTIC].pass, BL_GATE_NOT_RUN);
    bl_structure_clear(&s);
}

TEST(requests_that_make_no_sense_are_refused)
{
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_elastic e;
    struct bl_error err;
    cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
    CHECK_INT(bl_elastic_constants(NULL, &s, &p, &(struct bl_elastic_options){.strain = 0.5}, &e, &err), BL_INVALID);
    CHECK_INT(bl_elastic_constants(NULL, &s, &p, &(struct bl_elastic_options){.strain = NAN}, &e, &err), BL_INVALID);
    s.pbc[1] = false;
    CHECK_INT(bl_elastic_constants(NULL, &s, &p, NULL, &e, &err), BL_INVALID);
    CHECK_TEXT(err.subject, "cell");
    bl_structure_clear(&s);
}

TEST(every_allocation_may_fail)
{
    const struct bl_potential p = silicon();
    for (uint64_t n = 1;; n++) {
        struct bl_structure s;
        struct bl_quota quota;
        struct bl_error err;
        struct bl_elastic e;
        bl_quota_init(&quota, NULL, "memory", 0);
        struct bl_ctx *ctx = bl_ctx_new(&quota);
        cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
        bl_quota_fail_nth(&quota, n);
        const enum bl_status status = bl_elastic_constants(ctx, &s, &p, NULL, &e, &err);
        bl_quota_fail_nth(&quota, 0);
        bl_structure_clear(&s);
        bl_ctx_free(ctx);
        CHECK_INT(bl_quota_used(&quota), 0);
        if (status == BL_OK) break;
        CHECK_INT(status, BL_NO_MEMORY);
        REQUIRE(n < 2000);
    }
}
