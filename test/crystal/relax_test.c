/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_ctx.h"
#include "crystal_fixture.h"

/* ---- minima ------------------------------------------------------------------------- */

TEST(a_rattled_crystal_finds_its_lattice_again)
{
    uint64_t seed = bl_test_seed();
    const struct bl_lj_pair pair = lj_reduced;
    struct bl_potential p = lennard_jones(&pair);
    p.shift = true;
    struct bl_structure s;
    struct bl_error err;
    struct bl_relax_result r;
    cubic(&s, NULL, "Ar", cbrt(4 / 1.0931), 4, fcc_basis, 4);
    rattle(&s, 0.154, &seed);
    REQUIRE(OK(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.cell = BL_CELL_FIXED, .level = BL_LEVEL_DEFAULT,
            .fmax = 1e-9}, &r, &err)));
    CHECK_INT(r.reason, BL_RELAX_CONVERGED);
    CHECK_NEAR(r.energy / 256, -7.453895373513682, 1e-12);
    CHECK(r.max_force <= 1e-9 && r.steps < 2000 && r.energy < r.energy_before);
    CHECK(s.forces != NULL);
    bl_structure_clear(&s);
}

TEST(silicon_relaxes_to_its_cohesive_energy)
{
    uint64_t seed = bl_test_seed();
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_error err;
    struct bl_relax_result r;
    cubic(&s, NULL, "Si", 5.43094977840521, 2, diamond_basis, 8);
    rattle(&s, 0.2, &seed);
    REQUIRE(OK(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.cell = BL_CELL_FIXED, .level = BL_LEVEL_DEFAULT,
            .fmax = 1e-8}, &r, &err)));
    CHECK_INT(r.reason, BL_RELAX_CONVERGED);
    CHECK_NEAR(r.energy / 64, -4.33659999991728, 1e-10);
    bl_structure_clear(&s);
}

TEST(units_do_not_matter)
{
    /* The same crystal in units where lengths are 1e4 times and energies 1e-7 times as large. */
    double energy[2];
    uint64_t steps[2];
    for (int k = 0; k < 2; k++) {
        uint64_t seed = 11;
        const double length = k ? 1e4 : 1, energy_unit = k ? 1e-7 : 1;
        const struct bl_lj_pair pair = {.epsilon = energy_unit, .sigma = length, .cutoff = 2.5 * length};
        const struct bl_potential p = lennard_jones(&pair);
        struct bl_structure s;
        struct bl_error err;
        struct bl_relax_result r;
        cubic(&s, NULL, "Ar", 1.5496, 2, fcc_basis, 4);
        rattle(&s, 0.1, &seed);
        double m[3][3] = {{length, 0, 0}, {0, length, 0}, {0, 0, length}};
        deform(&s, m);
        REQUIRE(OK(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.cell = BL_CELL_FIXED, .level = BL_LEVEL_DEFAULT,

                .fmax = 1e-6 * energy_unit / length}, &r, &err)));
        CHECK_INT(r.reason, BL_RELAX_CONVERGED);
        energy[k] = r.energy / energy_unit;
        steps[k] = r.steps;
        bl_structure_clear(&s);
    }
    CHECK_NEAR(energy[1], energy[0], 1e-9);
    CHECK(steps[1] < steps[0] + 5 && steps[0] < steps[1] + 5);
}

TEST(fixed_axes_stay_where_they_are)
{
    uint64_t seed = bl_test_seed();
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_error err;
    struct bl_relax_result r;
    cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
    rattle(&s, 0.2, &seed);
    REQUIRE(OK(bl_structure_add(&s, &s.fixed, 1, 1, &err)));
    s.fixed[0] = 7;
    s.fixed[3] = BL_FIXED_Y;
    double before[24];
    memcpy(before, s.positions, sizeof before);
    REQUIRE(OK(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.cell = BL_CELL_FIXED, .level = BL_LEVEL_DEFAULT,
            .fmax = 1e-6}, &r, &err)));
    CHECK_INT(r.reason, BL_RELAX_CONVERGED);
    CHECK_BYTES(s.positions, 24, before, 24);
    CHECK_NEAR(s.positions[10], before[10], 0);
    CHECK(s.positions[9] != before[9]);
    CHECK(r.max_force <= 1e-6);
    bl_structure_clear(&s);
}

/* ---- ends ------------------------------------------------------------------------------ */

TEST(a_run_out_of_steps_gives_a_state_that_is_not_worse)
{
    uint64_t seed = bl_test_seed();
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_error err;
    struct bl_relax_result r;
    cubic(&s, NULL, "Si", 5.431, 2, diamond_basis, 8);
    rattle(&s, 0.3, &seed);
    REQUIRE(OK(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.level = BL_LEVEL_FAST, .fmax = 1e-9, .max_steps = 7}, &r, &err)));
    CHECK_INT(r.reason, BL_RELAX_MAX_STEPS);
    CHECK_INT(r.steps, 7);
    CHECK(r.energy <= r.energy_before);
    bl_structure_clear(&s);
}

TEST(forces_at_the_end_of_the_numbers_are_stagnation_not_a_hang)
{
    uint64_t seed = bl_test_seed();
    const struct bl_potential p = lennard_jones(&lj_reduced);
    struct bl_structure s;
    struct bl_error err;
    struct bl_relax_result r;
    cubic(&s, NULL, "Ar", 1.5496, 2, fcc_basis, 4);
    rattle(&s, 0.05, &seed);
    REQUIRE(OK(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.cell = BL_CELL_FIXED, .level = BL_LEVEL_DEFAULT,
            .fmax = 1e-300, .max_steps = 1000000},
            &r, &err)));
    CHECK_INT(r.reason, BL_RELAX_STAGNATED);
    CHECK(r.max_force < 1e-9 && r.steps < 50000);
    bl_structure_clear(&s);
}

TEST(nearly_overlapping_atoms_come_apart)
{
    const struct bl_potential p = lennard_jones(&lj_reduced);
    struct bl_structure s;
    struct bl_error err;
    struct bl_relax_result r;
    blank(&s, NULL, "Ar", 3);
    s.positions[3] = 0.05; /* force about 1e18 */
    s.positions[7] = 1;
    REQUIRE(OK(bl_relax(NULL, &s, &p, NULL, &r, &err)));
    CHECK(r.reason == BL_RELAX_CONVERGED || r.reason == BL_RELAX_STAGNATED);
    for (size_t i = 0; i < 9; i++) CHECK(isfinite(s.positions[i]) && fabs(s.positions[i]) < 100);
    bl_structure_clear(&s);
}

TEST(a_potential_without_a_bottom_is_seen_to_diverge_or_stagnate)
{
    /* Only attraction: B = 0 makes silicon fall into itself. */
    struct bl_potential p = silicon();
    p.sw.big_b = 0;
    p.sw.lambda = 0;
    p.sw.q = 6;
    struct bl_structure s;
    struct bl_error err;
    struct bl_relax_result r;
    uint64_t seed = bl_test_seed();
    cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
    rattle(&s, 0.1, &seed);
    REQUIRE(OK(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.level = BL_LEVEL_DEFAULT, .max_steps = 3000}, &r, &err)));
    CHECK(r.reason != BL_RELAX_CONVERGED);
    for (size_t i = 0; i < 24; i++) CHECK(isfinite(s.positions[i]));
    CHECK(isfinite(r.energy));
    bl_structure_clear(&s);
}

TEST(levels_that_are_not_there_are_refused)
{
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_error err;
    struct bl_relax_result r;
    cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
    CHECK_INT(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.level = BL_LEVEL_SEARCH}, &r, &err), BL_UNSUPPORTED);
    REQUIRE(OK(bl_relax(NULL, &s, &p, &(struct bl_relax_options){.level = BL_LEVEL_NONE}, &r, &err)));
    CHECK_INT(r.reason, BL_RELAX_NOT_RUN);
    CHECK_INT(r.steps, 1);
    bl_structure_clear(&s);
}

/* ---- cancel, progress, memory ---------------------------------------------------------------- */

static unsigned reports;
static double last_energy;

static void hear(struct bl_ctx *ctx, const struct bl_field *fields, size_t count)
{
    CHECK_INT(count, 5);
    CHECK_TEXT(fields[3].key, "max_stress");
    CHECK_TEXT(fields[4].key, "volume");
    CHECK_TEXT(fields[0].key, "step");
    CHECK_TEXT(fields[1].key, "energy");
    CHECK_TEXT(fields[2].key, "max_force");
    CHECK(fields[1].value.f <= last_energy + 1);
    last_energy = fields[1].value.f;
    if (++reports == 10) bl_ctx_cancel(ctx);
}

TEST(progress_is_told_and_cancel_leaves_the_structure_alone)
{
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_error err;
    struct bl_relax_result r;
    struct bl_quota quota;
    struct bl_ctx ctx;
    uint64_t seed = 5;
    double before[24];
    bl_quota_init(&quota, NULL, "memory", 0);
    bl_ctx_init(&ctx, &quota);
    ctx.progress = hear;
    reports = 0;
    last_energy = 0;
    cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
    rattle(&s, 0.2, &seed);
    memcpy(before, s.positions, sizeof before);
    CHECK_INT(bl_relax(&ctx, &s, &p, &(struct bl_relax_options){.level = BL_LEVEL_DEFAULT, .fmax = 1e-12}, &r, &err), BL_CANCELLED);
    CHECK_INT(reports, 10);
    CHECK_BYTES(s.positions, sizeof before, before, sizeof before);
    CHECK(!s.forces);
    CHECK_INT(bl_quota_used(&quota), 0);
    bl_structure_clear(&s);
}

TEST(every_allocation_may_fail_and_the_structure_is_unchanged)
{
    const struct bl_potential p = silicon();
    for (uint64_t n = 1;; n++) {
        struct bl_structure s;
        struct bl_quota quota;
        struct bl_error err;
        struct bl_relax_result r;
        uint64_t seed = 5;
        double before[24];
        bl_quota_init(&quota, NULL, "memory", 0);
        struct bl_ctx *ctx = bl_ctx_new(&quota);
        cubic(&s, &quota, "Si", 5.431, 1, diamond_basis, 8);
        rattle(&s, 0.2, &seed);
        memcpy(before, s.positions, sizeof before);
        bl_quota_fail_nth(&quota, n);
        const enum bl_status status = bl_relax(ctx, &s, &p, NULL, &r, &err);
        bl_quota_fail_nth(&quota, 0);
        if (status != BL_OK) CHECK_BYTES(s.positions, sizeof before, before, sizeof before);
        bl_structure_clear(&s);
        bl_ctx_free(ctx);
        CHECK_INT(bl_quota_used(&quota), 0);
        if (status == BL_OK) break;
        CHECK_INT(status, BL_NO_MEMORY);
        REQUIRE(n < 1000);
    }
}

/* ---- gates ------------------------------------------------------------------------------------ */

static struct bl_verified verify(const struct bl_structure *s, const struct bl_potential *p, const struct bl_verify_options *o)
{
    struct bl_verified v;
    struct bl_error err;
    REQUIRE(OK(bl_verify(NULL, s, p, o, &v, &err)));
    return v;
}

TEST(a_perfect_crystal_passes_and_its_verdict_waits_for_the_other_gates)
{
    const struct bl_potential p = silicon();
    struct bl_structure s;
    cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
    struct bl_verified v = verify(&s, &p, NULL);
    CHECK_INT(v.gates[BL_GATE_GEOMETRY].pass, BL_GATE_PASSED);
    CHECK_INT(v.gates[BL_GATE_EQUILIBRIUM].pass, BL_GATE_PASSED);
    CHECK_INT(v.gates[BL_GATE_ENERGY].pass, BL_GATE_NOT_RUN);
    CHECK_INT(v.gates[BL_GATE_ELASTIC].pass, BL_GATE_NOT_RUN);
    CHECK_INT(v.verdict, BL_VERDICT_UNKNOWN);
    CHECK(!v.passed);
    v = verify(&s, &p, &(struct bl_verify_options){.has_energy_before = true, .energy_before = v.energy + 1});
    CHECK(v.passed);
    CHECK_INT(v.verdict, BL_VERDICT_UNKNOWN);
    bl_structure_clear(&s);
}

TEST(each_gate_fails_for_its_own_reason)
{
    const struct bl_potential p = silicon();
    struct bl_structure s;
    cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
    s.positions[0] += 1.4; /* towards (1/4 1/4 1/4): 0.95 angstrom away at least */
    s.positions[1] += 1.4;
    s.positions[2] += 0.9;
    struct bl_verified v = verify(&s, &p, &(struct bl_verify_options){.has_energy_before = true, .energy_before = -34});
    CHECK_INT(v.gates[BL_GATE_GEOMETRY].pass, BL_GATE_FAILED);
    CHECK(v.gates[BL_GATE_GEOMETRY].value < 1);
    CHECK(strstr(v.gates[BL_GATE_GEOMETRY].why, "atoms 1 and 5") || strstr(v.gates[BL_GATE_GEOMETRY].why, "atoms 5 and 1"));
    CHECK_INT(v.gates[BL_GATE_EQUILIBRIUM].pass, BL_GATE_FAILED);
    CHECK_INT(v.gates[BL_GATE_ENERGY].pass, BL_GATE_FAILED);
    CHECK_INT(v.verdict, BL_VERDICT_UNSTABLE);
    bl_structure_clear(&s);
}

TEST(overlapping_atoms_are_a_failed_gate_not_an_error)
{
    const struct bl_potential p = silicon();
    struct bl_structure s;
    blank(&s, NULL, "Si", 2);
    const struct bl_verified v = verify(&s, &p, NULL);
    CHECK_INT(v.verdict, BL_VERDICT_UNSTABLE);
    CHECK_INT(v.gates[BL_GATE_EQUILIBRIUM].pass, BL_GATE_FAILED);
    CHECK_NEAR(v.gates[BL_GATE_GEOMETRY].value, 0, 0);
    bl_structure_clear(&s);
}

TEST(a_better_reference_makes_the_energy_gate_fail)
{
    /* bcc against fcc of the same potential. */
    const struct bl_lj_pair pair = {.epsilon = 1, .sigma = 1, .cutoff = 3};
    const struct bl_potential p = lennard_jones(&pair);
    struct bl_structure s;
    cubic(&s, NULL, "Ar", 1.23371916043171044, 1, bcc_basis, 2);
    struct bl_verify_options o = {.min_distance = 0.9, .has_reference = true, .reference_energy = -8.30227547801299};
    CHECK_INT(verify(&s, &p, &o).gates[BL_GATE_ENERGY].pass, BL_GATE_FAILED);
    o.stability_threshold = 0.5;
    const struct bl_verified v = verify(&s, &p, &o);
    CHECK_INT(v.gates[BL_GATE_ENERGY].pass, BL_GATE_PASSED);
    CHECK_NEAR(v.gates[BL_GATE_ENERGY].value, 0.418025, 1e-6);
    bl_structure_clear(&s);
}

/* ---- code paths --------------------------------------------------------------------------- */

struct outcome {
    struct bl_relax_result relaxed;
    struct bl_verified verified;
};

static struct outcome relax_and_judge(const struct bl_structure *start, const struct bl_potential *p, enum bl_relax_method method,
                                      bool simd)
{
    struct bl_structure s;
    struct bl_error err;
    struct outcome out;
    struct bl_verify_options o;
    bl_engine_allow_simd(simd);
    REQUIRE(OK(bl_structure_copy(&s, start, NULL, &err)));
    REQUIRE(OK(bl_relax(NULL, &s, p, &(struct bl_relax_options){.level = BL_LEVEL_DEFAULT, .method = method}, &out.relaxed, &err)));
    bl_verify_options_init(&o);
    o.elastic = true;
    o.has_energy_before = true;
    o.energy_before = out.relaxed.energy_before;
    REQUIRE(OK(bl_verify(NULL, &s, p, &o, &out.verified, &err)));
    bl_engine_allow_simd(true);
    bl_structure_clear(&s);
    return out;
}

TEST(whole_relaxations_agree_between_the_code_paths)
{
    const struct bl_lj_pair pair = {.epsilon = 0.0104, .sigma = 3.4, .cutoff = 8.5};
    const struct {
        const char *symbol;
        double a;
        bool diamond;
        struct bl_potential p;
    } cases[] = {
        {"Si", 5.5, true, silicon()},
        {"Si", 5.5, true, {.type = BL_POTENTIAL_TERSOFF, .set = "silicon"}},
        {"Cu", 3.7, false, {.type = BL_POTENTIAL_SUTTON_CHEN, .set = "sutton_chen"}},
        {"Cu", 3.7, false, {.type = BL_POTENTIAL_MORSE, .set = "girifalco_weizer"}},
        {"Ar", 5.3, false, lennard_jones(&pair)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int method = BL_METHOD_AUTO; method <= BL_METHOD_CG; method++) {
            struct bl_structure s;
            uint64_t seed = 70 + i;
            if (cases[i].diamond) cubic(&s, NULL, cases[i].symbol, cases[i].a, 1, diamond_basis, 8);
            else cubic(&s, NULL, cases[i].symbol, cases[i].a, 2, fcc_basis, 4);
            rattle(&s, 0.1, &seed);
            const struct outcome a = relax_and_judge(&s, &cases[i].p, (enum bl_relax_method)method, true);
            const struct outcome b = relax_and_judge(&s, &cases[i].p, (enum bl_relax_method)method, false);
            CHECK_INT(a.relaxed.reason, b.relaxed.reason);
            CHECK_NEAR(a.relaxed.energy, b.relaxed.energy, 1e-9 * fabs(b.relaxed.energy));
            CHECK_INT(a.verified.verdict, b.verified.verdict);
            CHECK_INT(a.verified.passed, b.verified.passed);
            for (int g = 0; g < BL_GATE_COUNT; g++) CHECK_INT(a.verified.gates[g].pass, b.verified.gates[g].pass);
            bl_structure_clear(&s);
        }
}
