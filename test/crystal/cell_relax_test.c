/* SPDX-License-Identifier: Apache-2.0
 *
 * Minimisers, and cells under a target.
 */
#include "crystal/bl_landscape.h"
#include "crystal_fixture.h"

enum { LJ, SI };

/* A rattled, strained crystal 3 % too large. */
static void spoiled(struct bl_structure *s, int what, uint64_t *seed)
{
    if (what == SI) cubic(s, NULL, "Si", 5.431 * 1.03, 1, diamond_basis, 8);
    else cubic(s, NULL, "Ar", 1.5496 * 1.03, 2, fcc_basis, 4);
    rattle(s, what == SI ? 0.2 : 0.08, seed);
    skew(s, 0.02, seed);
}

static struct bl_potential potential_of(int what)
{
    struct bl_potential p = what == SI ? silicon() : lennard_jones(&lj_reduced);
    p.shift = true;
    return p;
}

static struct bl_relax_result relaxed(struct bl_structure *s, int what, const struct bl_relax_options *o)
{
    struct bl_relax_result r;
    struct bl_error err;
    const struct bl_potential p = potential_of(what);
    REQUIRE(OK(bl_relax(NULL, s, &p, o, &r, &err)));
    return r;
}

TEST(every_method_finds_the_same_minimum_with_and_without_the_cell)
{
    for (int what = LJ; what <= SI; what++) {
        for (int cell = BL_CELL_FIXED; cell <= BL_CELL_ISOTROPIC; cell++) {
            const uint64_t same = bl_test_seed();
            double energy[4];
            for (int method = BL_METHOD_AUTO; method <= BL_METHOD_CG; method++) {
                uint64_t seed = same;
                struct bl_structure s;
                spoiled(&s, what, &seed);
                const struct bl_relax_result r = relaxed(&s, what, &(struct bl_relax_options){.level = BL_LEVEL_DEFAULT,
                        .method = (enum bl_relax_method)method, .cell = (enum bl_cell_mode)cell, .fmax = 1e-6, .smax_gpa = 1e-5});
                CHECK_INT(r.reason, BL_RELAX_CONVERGED);
                CHECK(r.max_force <= 1e-6 && r.max_stress_gpa <= 1e-5);
                CHECK_INT(r.cell_relaxed, cell != BL_CELL_FIXED);
                energy[method] = r.energy / (double)s.atoms;
                bl_structure_clear(&s);
            }
            /* The force of Lennard-Jones jumps at the cut-off, and with it minima come in groups. */
            for (int k = 1; k < 4; k++) CHECK_NEAR(energy[k], energy[0], what == SI ? 1e-9 : 1e-4);
        }
    }
}

TEST(a_free_cell_finds_the_lattice_parameter)
{
    uint64_t seed = bl_test_seed();
    struct bl_structure s;
    spoiled(&s, SI, &seed);
    const struct bl_relax_result r = relaxed(&s, SI, &(struct bl_relax_options){.level = BL_LEVEL_TIGHT, .fmax = 1e-8, .smax_gpa = 1e-7});
    CHECK_INT(r.reason, BL_RELAX_CONVERGED);
    CHECK_NEAR(cbrt(bl_structure_volume(&s)), 5.43094977840521, 1e-8);
    CHECK_NEAR(r.energy / 8, -4.33659999991728, 1e-12);
    for (int i = 0; i < 3; i++) CHECK_NEAR(sqrt(bl_dot(s.cell[i], s.cell[i])), 5.43094977840521, 1e-8);
    bl_structure_clear(&s);
    cubic(&s, NULL, "Ar", 1.6, 1, fcc_basis, 4);
    struct bl_relax_result lj;
    struct bl_error err;
    const struct bl_potential p = lennard_jones(&lj_reduced); /* not shifted: the reference's */
    REQUIRE(OK(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.level = BL_LEVEL_TIGHT, .fmax = 1e-9, .smax_gpa = 1e-8}, &lj, &err)));
    CHECK_NEAR(s.cell[0][0], 1.549603424089, 1e-10);
    CHECK_NEAR(lj.energy / 4, -8.099620792745, 1e-11);
    bl_structure_clear(&s);
}

static void cauchy(const struct bl_structure *s, const struct bl_relax_result *r, double out[6])
{
    for (int k = 0; k < 6; k++) out[k] = -r->virial[k] / fabs(bl_structure_volume(s)) * BL_GPA;
}

TEST(a_target_stress_is_the_cauchy_stress_that_comes_out)
{
    static const double targets[][6] = {{-5, -5, -5, 0, 0, 0}, {3, 3, 3, 0, 0, 0}, {-4, -1, 2, 0.5, -0.7, 1}};
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
        for (int method = BL_METHOD_AUTO; method <= BL_METHOD_CG; method++) {
            uint64_t seed = bl_test_seed();
            struct bl_structure s;
            double stress[6];
            spoiled(&s, SI, &seed);
            struct bl_relax_options o = {.level = BL_LEVEL_TIGHT, .method = (enum bl_relax_method)method, .fmax = 1e-6, .smax_gpa = 1e-5};
            memcpy(o.stress_gpa, targets[t], sizeof o.stress_gpa);
            const struct bl_relax_result r = relaxed(&s, SI, &o);
            CHECK_INT(r.reason, BL_RELAX_CONVERGED);
            cauchy(&s, &r, stress);
            for (int k = 0; k < 6; k++) CHECK_NEAR(stress[k], targets[t][k], 1.1e-5);
            CHECK(r.loaded && r.enthalpy <= r.enthalpy_before + 1e-9);
            const double pressure = -targets[t][0] / BL_GPA;
            if (t < 2) CHECK_NEAR(r.enthalpy, r.energy + pressure * bl_structure_volume(&s), 1e-9);
            bl_structure_clear(&s);
        }
    }
}

TEST(strains_that_are_held_stay_and_the_others_relax)
{
    struct bl_structure s;
    double before[3][3], stress[6];
    cubic(&s, NULL, "Si", 5.6, 1, diamond_basis, 8);
    memcpy(before, s.cell, sizeof before);
    /* A film on a substrate: only zz is free. */
    const struct bl_relax_result r = relaxed(&s, SI, &(struct bl_relax_options){.level = BL_LEVEL_TIGHT, .cell = BL_CELL_FREE,
            .held = {true, true, false, true, true, true}, .smax_gpa = 1e-6, .fmax = 1e-6});
    CHECK_INT(r.reason, BL_RELAX_CONVERGED);
    CHECK_BYTES(s.cell[0], sizeof s.cell[0], before[0], sizeof before[0]);
    CHECK_BYTES(s.cell[1], sizeof s.cell[1], before[1], sizeof before[1]);
    CHECK(s.cell[2][2] < 5.431);
    cauchy(&s, &r, stress);
    CHECK_NEAR(stress[2], 0, 1.1e-6);
    CHECK(stress[0] > 1);
    bl_structure_clear(&s);
}

TEST(an_isotropic_cell_keeps_its_shape)
{
    uint64_t seed = bl_test_seed();
    struct bl_structure s;
    double before[3][3];
    spoiled(&s, LJ, &seed);
    memcpy(before, s.cell, sizeof before);
    const struct bl_relax_result r = relaxed(&s, LJ, &(struct bl_relax_options){.level = BL_LEVEL_TIGHT, .cell = BL_CELL_ISOTROPIC});
    CHECK_INT(r.reason, BL_RELAX_CONVERGED);
    const double factor = s.cell[0][0] / before[0][0];
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < 3; c++) CHECK_NEAR(s.cell[i][c], factor * before[i][c], 1e-12);
    bl_structure_clear(&s);
}

TEST(fixed_atoms_keep_their_fractions_in_a_cell_that_changes)
{
    uint64_t seed = bl_test_seed();
    struct bl_structure s;
    struct bl_error err;
    struct bl_lattice l;
    double before[3], after[3];
    spoiled(&s, SI, &seed);
    REQUIRE(OK(bl_structure_add(&s, &s.fixed, 1, 1, &err)));
    s.fixed[3] = 7;
    REQUIRE(OK(bl_lattice_init(&l, &s, &err)));
    bl_lattice_fractional(&l, s.positions + 9, before);
    const struct bl_relax_result r = relaxed(&s, SI, &(struct bl_relax_options){.level = BL_LEVEL_TIGHT});
    CHECK_INT(r.reason, BL_RELAX_CONVERGED);
    REQUIRE(OK(bl_lattice_init(&l, &s, &err)));
    bl_lattice_fractional(&l, s.positions + 9, after);
    for (int k = 0; k < 3; k++) CHECK_NEAR(after[k], before[k], 1e-12);
    bl_structure_clear(&s);
}

/* H in all its variables against four-point differences. */
TEST(forces_are_minus_the_gradient_of_the_enthalpy)
{
    uint64_t seed = bl_test_seed();
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_engine *engine;
    struct bl_error err;
    spoiled(&s, SI, &seed);
    REQUIRE(OK(bl_engine_new(NULL, &s, &p, NULL, &engine, &err)));
    struct bl_landscape l = {.mode = BL_CELL_FREE, .fmax = 1, .smax = 1, .target = {-0.02, -0.01, 0.03, 0.005, -0.01, 0.02}};
    REQUIRE(OK(bl_landscape_init(&l, NULL, engine, &s, 0, &err)));
    struct bl_minimiser *m = &l.m;
    for (int k = 0; k < 6; k++) m->x[24 + k] = l.scale * 0.02 * (random_real(&seed) - 0.5); /* not at F = 1 */
    REQUIRE(OK(m->evaluate(m, &err)));
    double forces[30];
    memcpy(forces, m->f, sizeof forces);
    for (size_t i = 0; i < 30; i++) {
        const double h = 1e-3, x = m->x[i];
        double sum = 0;
        for (int k = -2; k <= 2; k++) {
            static const double weight[] = {1, -8, 0, 8, -1};
            m->x[i] = x + k * h;
            REQUIRE(OK(m->evaluate(m, &err)));
            sum += weight[k + 2] * m->value / (12 * h);
        }
        m->x[i] = x;
        CHECK_NEAR(forces[i], -sum, 1e-7);
    }
    bl_landscape_clear(&l);
    bl_engine_free(engine);
    bl_structure_clear(&s);
}

TEST(a_cell_that_changes_gives_what_a_fresh_engine_gives)
{
    uint64_t seed = bl_test_seed();
    for (int what = LJ; what <= SI; what++) {
        const struct bl_potential p = potential_of(what);
        struct bl_structure s;
        struct bl_engine *engine;
        struct bl_error err;
        spoiled(&s, what, &seed);
        REQUIRE(OK(bl_engine_new(NULL, &s, &p, NULL, &engine, &err)));
        double *forces = malloc(6 * s.atoms * sizeof *forces);
        for (int step = 0; step < 60; step++) {
            skew(&s, step % 10 == 0 ? 0.03 : 0.002, &seed);
            rattle(&s, 0.01, &seed);
            REQUIRE(OK(bl_engine_set_cell(engine, s.cell, &err)));
            struct bl_energies kept = {.forces = forces};
            REQUIRE(OK(bl_engine_compute(NULL, engine, s.positions, BL_WANT_ENERGY | BL_WANT_FORCES | BL_WANT_VIRIAL, &kept, &err)));
            const struct bl_energies fresh = evaluate(NULL, &s, &p, forces + 3 * s.atoms);
            CHECK_NEAR(kept.energy, fresh.energy, 1e-10 * fabs(fresh.energy));
            for (int k = 0; k < 6; k++) CHECK_NEAR(kept.virial[k], fresh.virial[k], 1e-9 * (1 + fabs(fresh.virial[k])));
            for (size_t i = 0; i < 3 * s.atoms; i++) CHECK_NEAR(forces[i], forces[3 * s.atoms + i], 1e-9 * (1 + fabs(forces[i])));
        }
        struct bl_engine_stats stats;
        bl_engine_stats(engine, &stats);
        CHECK(stats.rebuilds < stats.computes); /* the list was kept where it could be */
        CHECK_INT(bl_engine_set_cell(engine, (double[3][3]){{1, 0, 0}, {2, 0, 0}, {0, 0, 1}}, &err), BL_INVALID);
        CHECK_INT(bl_engine_set_cell(engine, (double[3][3]){{NAN, 0, 0}, {0, 1, 0}, {0, 0, 1}}, &err), BL_INVALID);
        free(forces);
        bl_engine_free(engine);
        bl_structure_clear(&s);
    }
}

TEST(a_cell_without_cohesion_is_seen_to_diverge_and_stays_what_it_was)
{
    uint64_t seed = bl_test_seed();
    unsigned diverged = 0;
    for (int method = BL_METHOD_AUTO; method <= BL_METHOD_CG; method++) {
        struct bl_structure s, before;
        struct bl_error err;
        spoiled(&s, LJ, &seed);
        REQUIRE(OK(bl_structure_copy(&before, &s, NULL, &err)));
        /* A tension that no Lennard-Jones crystal bears. */
        const struct bl_relax_result r = relaxed(&s, LJ, &(struct bl_relax_options){.level = BL_LEVEL_DEFAULT,
                .method = (enum bl_relax_method)method, .stress_gpa = {5000, 5000, 5000}});
        CHECK(r.reason != BL_RELAX_CONVERGED);
        for (int i = 0; i < 3; i++)
            for (int c = 0; c < 3; c++) CHECK(isfinite(s.cell[i][c]));
        CHECK(fabs(bl_structure_volume(&s)) < 8.1 * 16 * 3);
        if (r.reason == BL_RELAX_DIVERGED) {
            diverged++;
            CHECK_BYTES(s.cell, sizeof s.cell, before.cell, sizeof s.cell);
            for (size_t i = 0; i < 3 * s.atoms; i++) CHECK_NEAR(s.positions[i], before.positions[i], 0);
            CHECK_NEAR(r.energy, r.energy_before, 1e-12 * fabs(r.energy_before));
            CHECK_NEAR(r.enthalpy, r.enthalpy_before, 1e-12 * fabs(r.enthalpy_before));
        }
        bl_structure_clear(&s);
        bl_structure_clear(&before);
    }
    CHECK(diverged > 0);
}

TEST(requests_for_cells_that_make_no_sense_are_refused)
{
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_error err;
    struct bl_relax_result r;
    cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
    const struct bl_relax_options bad[] = {
        {.level = BL_LEVEL_FAST, .stress_gpa = {1}},
        {.level = BL_LEVEL_DEFAULT, .cell = BL_CELL_FREE, .held = {true, true, true, true, true, true}},
        {.level = BL_LEVEL_DEFAULT, .cell = BL_CELL_ISOTROPIC, .stress_gpa = {1, 2, 3}},
        {.level = BL_LEVEL_DEFAULT, .stress_gpa = {NAN}},
        {.level = BL_LEVEL_DEFAULT, .smax_gpa = -1},
        {.level = BL_LEVEL_DEFAULT, .smax_gpa = INFINITY},
        {.level = BL_LEVEL_DEFAULT, .method = (enum bl_relax_method)7},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK_INT(bl_relax(NULL, &s, &p, &bad[i], &r, &err), BL_INVALID);
    s.pbc[2] = false;
    CHECK_INT(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.level = BL_LEVEL_DEFAULT, .cell = BL_CELL_FREE}, &r, &err), BL_INVALID);
    REQUIRE(OK(bl_relax(NULL, &s, &p, NULL, &r, &err))); /* by level: a slab keeps its cell */
    CHECK(!r.cell_relaxed);
    bl_structure_clear(&s);
}
