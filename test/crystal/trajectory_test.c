/* SPDX-License-Identifier: Apache-2.0
 *
 * Trajectories at constant energy.
 */
#include <math.h>

#include "bl_ctx.h"
#include "crystal_fixture.h"

static struct bl_error err;

static struct bl_trajectory_options options_of(uint64_t steps, double dt, double temperature)
{
    struct bl_trajectory_options o;
    bl_trajectory_options_init(&o);
    o.steps = steps;
    o.dt_fs = dt;
    o.temperature_kelvin = temperature;
    o.energy_every = 1;
    return o;
}

static void silicon_crystal(struct bl_structure *s, size_t n) { cubic(s, NULL, "Si", 5.431, n, diamond_basis, 8); }

/* Largest drift over 200 fs. */
static double drift_at(double dt)
{
    const struct bl_potential p = silicon();
    const struct bl_trajectory_options o = options_of((uint64_t)(200 / dt), dt, 600);
    struct bl_structure s;
    struct bl_trajectory_result r;
    silicon_crystal(&s, 2);
    REQUIRE(OK(bl_trajectory(NULL, &s, &p, &o, &r, &err)));
    bl_structure_clear(&s);
    return r.drift;
}

TEST(the_energy_is_kept_to_second_order_in_the_time_step)
{
    const double coarse = drift_at(2), fine_step = drift_at(1), finest = drift_at(0.5);
    CHECK(coarse < 0.05); /* of 5 eV of heat */
    CHECK_NEAR(coarse / fine_step, 4, 0.4);
    CHECK_NEAR(fine_step / finest, 4, 0.4);
}

TEST(two_atoms_swing_with_the_frequency_of_their_bond)
{
    /* Two argon-like atoms at the minimum of the pair: omega^2 = 2 phi'' / m. */
    const double sigma = 3.4, epsilon = 0.0104, mass = 39.948, r0 = pow(2, 1.0 / 6) * sigma;
    const struct bl_lj_pair pair = {.epsilon = epsilon, .sigma = sigma, .cutoff = 12};
    const struct bl_potential p = lennard_jones(&pair);
    const double stiff = 57.1464378708551 * epsilon / (sigma * sigma);
    const double omega = sqrt(2 * stiff / mass * 0.00964853321233100184), period = 2 * 3.14159265358979323846 / omega;
    const double dt = period / 2000, amplitude = 1e-4;
    struct bl_structure s;
    struct bl_trajectory_result r;
    const struct bl_trajectory_options o = options_of(1000, dt, -1);
    blank(&s, NULL, "Ar", 2);
    s.positions[3] = r0 + 2 * amplitude;
    REQUIRE(OK(bl_structure_add(&s, &s.masses, 1, sizeof(double), &err)));
    s.masses[0] = s.masses[1] = mass;
    REQUIRE(OK(bl_trajectory(NULL, &s, &p, &o, &r, &err)));
    CHECK_NEAR(s.positions[3] - s.positions[0], r0 - 2 * amplitude, 3e-7); /* half a period later; the bond is not quite harmonic */
    CHECK_NEAR((s.positions[3] + s.positions[0]) / 2, r0 / 2 + amplitude, 1e-12);
    bl_structure_clear(&s);
}

TEST(momentum_stays_and_temperature_begins_as_asked)
{
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_trajectory_result r;
    struct bl_trajectory_options o = options_of(0, 1, 750);
    silicon_crystal(&s, 2);
    REQUIRE(OK(bl_trajectory(NULL, &s, &p, &o, &r, &err)));
    CHECK_NEAR(r.temperature_kelvin, 750, 1e-9);
    CHECK_INT(r.steps, 0);
    o = options_of(100, 1, -1);
    REQUIRE(OK(bl_trajectory(NULL, &s, &p, &o, &r, &err)));
    double momentum[3] = {0};
    for (size_t i = 0; i < 3 * s.atoms; i++) momentum[i % 3] += s.velocities[i];
    for (int k = 0; k < 3; k++) CHECK_NEAR(momentum[k], 0, 1e-14);
    CHECK(r.temperature_kelvin < 700); /* half of it went into the springs */
    CHECK_NEAR(r.potential_energy_before + r.kinetic_energy_before, r.potential_energy + r.kinetic_energy, r.drift * 1.0001);
    bl_structure_clear(&s);
}

TEST(time_runs_backwards_with_the_velocities)
{
    const struct bl_potential p = silicon();
    struct bl_structure s, first;
    struct bl_trajectory_result r;
    const struct bl_trajectory_options o = options_of(200, 1, -1), begin = options_of(0, 1, 900);
    uint64_t seed = bl_test_seed();
    silicon_crystal(&s, 1);
    rattle(&s, 0.05, &seed);
    REQUIRE(OK(bl_trajectory(NULL, &s, &p, &begin, &r, &err)));
    REQUIRE(OK(bl_structure_copy(&first, &s, NULL, &err)));
    REQUIRE(OK(bl_trajectory(NULL, &s, &p, &o, &r, &err)));
    for (size_t i = 0; i < 3 * s.atoms; i++) s.velocities[i] = -s.velocities[i];
    REQUIRE(OK(bl_trajectory(NULL, &s, &p, &o, &r, &err)));
    for (size_t i = 0; i < 3 * s.atoms; i++) {
        CHECK_NEAR(s.positions[i], first.positions[i], 1e-9);
        CHECK_NEAR(s.velocities[i], -first.velocities[i], 1e-10);
    }
    bl_structure_clear(&first);
    bl_structure_clear(&s);
}

TEST(fixed_axes_do_not_move)
{
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_trajectory_result r;
    const struct bl_trajectory_options o = options_of(50, 1, 500);
    silicon_crystal(&s, 1);
    REQUIRE(OK(bl_structure_add(&s, &s.fixed, 1, 1, &err)));
    s.fixed[0] = BL_FIXED_X | BL_FIXED_Y | BL_FIXED_Z;
    s.fixed[3] = BL_FIXED_Y;
    const double y = s.positions[10];
    REQUIRE(OK(bl_trajectory(NULL, &s, &p, &o, &r, &err)));
    for (int k = 0; k < 3; k++) CHECK(s.positions[k] == 0 && s.velocities[k] == 0);
    CHECK(s.positions[10] == y && s.velocities[10] == 0 && s.velocities[9] != 0);
    bl_structure_clear(&s);
}

TEST(requests_that_make_no_sense_are_refused)
{
    const struct bl_potential p = silicon(), lj = lennard_jones(&lj_reduced);
    struct bl_structure s;
    struct bl_trajectory_result r;
    const struct bl_trajectory_options bad[] = {options_of(1, 0, -1), options_of(1, -1, -1), options_of(1, NAN, -1),
            options_of(1, 1, INFINITY), options_of(1, 1, NAN)};
    silicon_crystal(&s, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(bl_trajectory(NULL, &s, &p, &bad[i], &r, &err), BL_INVALID);
        CHECK_TEXT(err.subject, i < 3 ? "dt" : "temperature");
    }
    /* A step that throws atoms across the cell is an error, not a number. */
    const struct bl_trajectory_options wild = options_of(1000, 200, 3000);
    CHECK_INT(bl_trajectory(NULL, &s, &p, &wild, &r, &err), BL_INVALID);
    CHECK_TEXT(err.subject, "dt");
    CHECK(!s.velocities && s.positions[0] == 0);
    bl_structure_clear(&s);
    const struct bl_trajectory_options plain = options_of(1, 1, -1);
    blank(&s, NULL, "Q", 1);
    CHECK_INT(bl_trajectory(NULL, &s, &lj, &plain, &r, &err), BL_INVALID);
    CHECK_TEXT(err.subject, "masses");
    REQUIRE(OK(bl_structure_add(&s, &s.masses, 1, sizeof(double), &err)));
    CHECK_INT(bl_trajectory(NULL, &s, &lj, &plain, &r, &err), BL_INVALID);
    CHECK_TEXT(err.subject, "masses");
    bl_structure_clear(&s);
    blank(&s, NULL, "Ar", 0);
    CHECK_INT(bl_trajectory(NULL, &s, &lj, &plain, &r, &err), BL_INVALID);
    bl_structure_clear(&s);
}

static int reports;
static void hear(struct bl_ctx *ctx, const struct bl_field *fields, size_t count)
{
    CHECK_INT(count, 4);
    CHECK_TEXT(fields[0].key, "step");
    CHECK_TEXT(fields[3].key, "temperature");
    if (++reports == 5) bl_ctx_cancel(ctx);
}

TEST(progress_is_told_and_cancel_leaves_the_structure_alone)
{
    const struct bl_potential p = silicon();
    struct bl_structure s;
    struct bl_trajectory_result r;
    struct bl_quota quota;
    struct bl_ctx ctx;
    const struct bl_trajectory_options o = options_of(UINT64_MAX, 1, 300);
    bl_quota_init(&quota, NULL, "memory", 0);
    bl_ctx_init(&ctx, &quota);
    ctx.progress = hear;
    silicon_crystal(&s, 1);
    CHECK_INT(bl_trajectory(&ctx, &s, &p, &o, &r, &err), BL_CANCELLED);
    CHECK_INT(reports, 5);
    CHECK(!s.forces && !s.velocities && s.positions[0] == 0);
    CHECK_INT(bl_quota_used(&quota), 0);
    bl_structure_clear(&s);
}

TEST(both_code_paths_and_every_seed_give_the_same_bytes_again)
{
    const struct bl_potential p = silicon();
    const struct bl_trajectory_options o = options_of(50, 1, 800);
    struct bl_structure s[3];
    struct bl_trajectory_result r[3];
    for (int i = 0; i < 3; i++) {
        silicon_crystal(&s[i], 1);
        bl_engine_allow_simd(i != 1);
        REQUIRE(OK(bl_trajectory(NULL, &s[i], &p, &o, &r[i], &err)));
        bl_engine_allow_simd(true);
    }
    for (int i = 1; i < 3; i++) {
        CHECK_BYTES(&r[i], sizeof *r, &r[0], sizeof *r);
        CHECK_BYTES(s[i].positions, 24 * sizeof(double), s[0].positions, 24 * sizeof(double));
    }
    for (int i = 0; i < 3; i++) bl_structure_clear(&s[i]);
}

TEST(every_allocation_may_fail_and_the_structure_is_unchanged)
{
    const struct bl_potential p = silicon();
    const struct bl_trajectory_options o = options_of(3, 1, 300);
    for (uint64_t n = 1;; n++) {
        struct bl_structure s;
        struct bl_quota quota;
        struct bl_trajectory_result r;
        bl_quota_init(&quota, NULL, "memory", 0);
        struct bl_ctx *ctx = bl_ctx_new(&quota);
        cubic(&s, &quota, "Si", 5.431, 1, diamond_basis, 8);
        bl_quota_fail_nth(&quota, n);
        const enum bl_status status = bl_trajectory(ctx, &s, &p, &o, &r, &err);
        bl_quota_fail_nth(&quota, 0);
        if (status != BL_OK) {
            CHECK_INT(status, BL_NO_MEMORY);
            CHECK(!s.forces && !s.velocities && s.positions[0] == 0);
        }
        bl_structure_clear(&s);
        bl_ctx_free(ctx);
        CHECK_INT(bl_quota_used(&quota), 0);
        if (status == BL_OK) break;
        REQUIRE(n < 1000);
    }
}
