/* SPDX-License-Identifier: Apache-2.0
 *
 * Crystals by name, and changes of structures, through the C interface.
 */
#include <math.h>

#include "crystal_fixture.h"

static struct bl_error err;

static void prototype_on(struct bl_ctx *ctx, struct bl_structure *s, const char *name, const char *first, const char *second, double a)
{
    const char *const elements[] = {first, second};
    REQUIRE(OK(bl_structure_prototype(ctx, name, elements, second ? 2 : 1, &(struct bl_prototype_parameters){.a = a}, s, &err)));
}

static void prototype(struct bl_structure *s, const char *name, const char *first, const char *second, double a)
{
    prototype_on(NULL, s, name, first, second, a);
}

/* Rock salt with an array of each kind. */
static void salt_on(struct bl_ctx *ctx, struct bl_structure *s)
{
    prototype_on(ctx, s, "rock_salt", "Na", "Cl", 5.64);
    REQUIRE(OK(bl_structure_add(s, &s->velocities, 3, sizeof(double), &err)));
    REQUIRE(OK(bl_structure_add(s, &s->forces, 3, sizeof(double), &err)));
    REQUIRE(OK(bl_structure_add(s, &s->masses, 1, sizeof(double), &err)));
    REQUIRE(OK(bl_structure_add(s, &s->charges, 1, sizeof(double), &err)));
    REQUIRE(OK(bl_structure_add(s, &s->fixed, 1, 1, &err)));
    const double energy = -1;
    REQUIRE(OK(bl_structure_add_info(s, "energy", 6, BL_VALUE_REAL, 0, 0, &energy, &err)));
    struct bl_column *column;
    REQUIRE(OK(bl_structure_add_column(s, "number", 6, BL_VALUE_INT, 1, &column, &err)));
    for (size_t i = 0; i < s->atoms; i++) {
        s->velocities[3 * i] = s->forces[3 * i] = s->charges[i] = (double)i;
        s->masses[i] = 1 + (double)i;
        s->fixed[i] = (uint8_t)(i % 8);
        column->value.ints[i] = (int64_t)i;
    }
}

static void salt(struct bl_structure *s) { salt_on(NULL, s); }

TEST(every_prototype_has_a_name_and_an_energy)
{
    const struct bl_potential p = lennard_jones(&lj_reduced);
    size_t count = 0;
    for (const char *name; (name = bl_prototype_name(count)); count++) {
        const char *const elements[] = {"Ar", "Ar", "Ar"};
        struct bl_structure s;
        enum bl_status status = BL_INVALID;
        for (size_t n = 1; status != BL_OK && n <= 3; n++)
            status = bl_structure_prototype(NULL, name, elements, n, &(struct bl_prototype_parameters){.a = 4}, &s, &err);
        REQUIRE(OK(status));
        CHECK(s.symmetry && s.symmetry->count >= 12);
        CHECK(isfinite(evaluate(NULL, &s, &p, NULL).energy));
        bl_structure_clear(&s);
    }
    CHECK_INT(count, 20);
}

TEST(prototypes_that_do_not_go_are_refused)
{
    const char *const elements[] = {"Zn", "S", "O"};
    const struct {
        const char *name, *field;
        size_t count;
        struct bl_prototype_parameters p;
    } bad[] = {{"zinc", "prototype", 2, {.a = 4}},         {"wurtzite", "elements", 1, {.a = 4}},
               {"wurtzite", "elements", 3, {.a = 4}},      {"wurtzite", "a", 2, {.a = 0}},
               {"wurtzite", "a", 2, {.a = -1}},            {"wurtzite", "a", 2, {.a = NAN}},
               {"wurtzite", "c", 2, {.a = 4, .c = -1}},    {"wurtzite", "u", 2, {.a = 4, .u = INFINITY}},
               {"cscl", "c", 2, {.a = 4, .c = 4}},         {"cscl", "c_over_a", 2, {.a = 4, .c_over_a = 1}},
               {"cscl", "u", 2, {.a = 4, .u = 0.5}},       {"nias", "c_over_a", 2, {.a = 4, .c = 5, .c_over_a = 1.25}},
               {"cscl", "cell", 2, {.a = 1e308}}};
    struct bl_structure s;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(bl_structure_prototype(NULL, bad[i].name, elements, bad[i].count, &bad[i].p, &s, &err), BL_INVALID);
        CHECK_TEXT(err.subject, bad[i].field);
    }
}

TEST(a_rotation_turns_everything_and_keeps_the_energy)
{
    const struct bl_potential p = lennard_jones(&lj_reduced);
    struct bl_structure s;
    double m[3][3];
    salt(&s);
    const double before = evaluate(NULL, &s, &p, NULL).energy, volume = bl_structure_volume(&s);
    bl_matrix_rotation((const double[3]){10, 20, 30}, m);
    REQUIRE(OK(bl_structure_transform(NULL, &s, m, &err)));
    CHECK_NEAR(evaluate(NULL, &s, &p, NULL).energy, before, 1e-12 * fabs(before));
    CHECK_NEAR(bl_structure_volume(&s), volume, 1e-12 * volume);
    REQUIRE(s.velocities && s.forces);
    for (size_t c = 0; c < 3; c++) CHECK_NEAR(s.velocities[9 + c], 3 * m[0][c], 1e-14);
    CHECK(!s.symmetry);
    CHECK_INT(s.info_count, 0); /* the energy; a stress would be wrong, and one rule is better than two */
    /* About z, then y: x goes to y; the quarter about z alone. */
    bl_matrix_rotation((const double[3]){0, 0, 90}, m);
    CHECK_NEAR(m[0][1], 1, 0);
    CHECK_NEAR(m[1][0], -1, 0);
    bl_structure_clear(&s);
}

TEST(a_strain_takes_the_atoms_along_and_a_flat_one_is_refused)
{
    struct bl_structure s, before;
    double m[3][3];
    salt(&s);
    bl_matrix_strain((const double[6]){0.1, 0, 0, 0, 0, 0.02}, m);
    REQUIRE(OK(bl_structure_transform(NULL, &s, m, &err)));
    CHECK_NEAR(s.cell[0][0], 1.1 * 5.64, 1e-14);
    CHECK_NEAR(s.cell[0][1], 0.01 * 5.64, 1e-14);
    CHECK(!s.velocities && !s.forces && s.masses);
    REQUIRE(OK(bl_structure_copy(&before, &s, NULL, &err)));
    const double flat[6] = {-1, 0, 0, 0, 0, 0}, huge[6] = {1e308, 0, 0, 0, 0, 0};
    const double *const bad[] = {flat, huge};
    for (size_t i = 0; i < 2; i++) {
        bl_matrix_strain(bad[i], m);
        CHECK_INT(bl_structure_transform(NULL, &s, m, &err), BL_INVALID);
        CHECK_BYTES(s.cell, sizeof s.cell, before.cell, sizeof s.cell);
        CHECK_BYTES(s.positions, s.atoms * 24, before.positions, s.atoms * 24);
    }
    bl_structure_clear(&s);
    bl_structure_clear(&before);
}

TEST(wrapping_moves_atoms_by_whole_cells)
{
    struct bl_structure s;
    prototype(&s, "hcp", "Mg", NULL, 3.2);
    const double x = s.positions[0];
    s.positions[0] += 2 * s.cell[0][0] + 3 * s.cell[1][0];
    s.positions[1] += 3 * s.cell[1][1];
    s.positions[2] -= 4 * s.cell[2][2];
    s.pbc[2] = false;
    REQUIRE(OK(bl_structure_wrap(NULL, &s, &err)));
    CHECK_NEAR(s.positions[0], x, 1e-12);
    CHECK(s.positions[2] < 0); /* not periodic: stays outside */
    bl_structure_clear(&s);
}

TEST(everything_goes_with_the_atoms_when_they_are_sorted)
{
    struct bl_structure s;
    uint64_t seed = bl_test_seed();
    salt(&s);
    rattle(&s, 0.5, &seed);
    for (int by = BL_SORT_X; by <= BL_SORT_SPECIES; by++) {
        REQUIRE(OK(bl_structure_sort(NULL, &s, (enum bl_sort_by)by, &err)));
        for (size_t i = 1; i < s.atoms; i++) {
            if (by == BL_SORT_SPECIES) CHECK(s.types[i - 1] <= s.types[i]);
            else CHECK(s.positions[3 * (i - 1) + (size_t)by] <= s.positions[3 * i + (size_t)by]);
        }
        for (size_t i = 0; i < s.atoms; i++) {
            const int64_t was = s.columns[0].value.ints[i];
            CHECK_NEAR(s.charges[i], (double)was, 0);
            CHECK_NEAR(s.masses[i], 1 + (double)was, 0);
            CHECK_NEAR(s.forces[3 * i], (double)was, 0);
            CHECK_INT(s.fixed[i], was % 8);
        }
    }
    /* By species ties keep their order: the last sort was by z before. */
    for (size_t i = 1; i < s.atoms; i++)
        if (s.types[i - 1] == s.types[i]) CHECK(s.positions[3 * i - 1] <= s.positions[3 * i + 2]);
    CHECK_INT(bl_structure_sort(NULL, &s, (enum bl_sort_by)7, &err), BL_INVALID);
    bl_structure_clear(&s);
}

TEST(atoms_are_deleted_and_replaced_by_number)
{
    struct bl_structure s;
    salt(&s);
    REQUIRE(OK(bl_structure_delete(NULL, &s, (const uint32_t[]){1, 3, 1}, 3, &err)));
    REQUIRE(s.atoms == 6);
    const int64_t left[] = {0, 2, 4, 5, 6, 7};
    for (size_t i = 0; i < 6; i++) {
        CHECK_INT(s.columns[0].value.ints[i], left[i]);
        CHECK_NEAR(s.masses[i], 1 + (double)left[i], 0);
    }
    CHECK(!s.forces);
    CHECK_INT(s.info_count, 0);
    CHECK_INT(bl_structure_delete(NULL, &s, (const uint32_t[]){6}, 1, &err), BL_INVALID);
    REQUIRE(OK(bl_structure_substitute(NULL, &s, (const uint32_t[]){0, 5}, 2, "K", &err)));
    CHECK_TEXT(s.species[s.types[0]], "K");
    CHECK_TEXT(s.species[s.types[5]], "K");
    CHECK(!s.masses);
    CHECK_INT(bl_structure_substitute(NULL, &s, (const uint32_t[]){0}, 1, "", &err), BL_INVALID);
    CHECK_INT(bl_structure_substitute(NULL, &s, (const uint32_t[]){6}, 1, "K", &err), BL_INVALID);
    CHECK_INT(s.atoms, 6);
    bl_structure_clear(&s);
}

TEST(merging_keeps_what_both_have)
{
    struct bl_structure s, more;
    salt(&s);
    prototype(&more, "cscl", "Cs", "Cl", 4.1);
    REQUIRE(OK(bl_structure_add(&more, &more.charges, 1, sizeof(double), &err)));
    more.charges[1] = -1;
    REQUIRE(OK(bl_structure_merge(NULL, &s, &more, &err)));
    REQUIRE(s.atoms == 10 && s.species_count == 3);
    CHECK_TEXT(s.species[s.types[8]], "Cs");
    CHECK_TEXT(s.species[s.types[9]], "Cl");
    CHECK_NEAR(s.charges[7], 7, 0);
    CHECK_NEAR(s.charges[9], -1, 0);
    CHECK(!s.masses && !s.forces && !s.symmetry);
    CHECK_NEAR(s.cell[0][0], 5.64, 0);
    bl_structure_clear(&s);
    bl_structure_clear(&more);
}

TEST(rattling_repeats_itself_and_has_its_width)
{
    struct bl_structure s[3];
    struct bl_structure cell;
    const uint64_t seeds[] = {7, 7, 8};
    double sum = 0;
    prototype(&cell, "fcc", "Cu", NULL, 3.6);
    for (int i = 0; i < 3; i++) {
        int32_t m[3][3] = {{8, 0, 0}, {0, 8, 0}, {0, 0, 8}};
        REQUIRE(OK(bl_structure_supercell(NULL, &cell, m, NULL, &s[i], &err)));
        REQUIRE(OK(bl_structure_rattle(NULL, &s[i], 0.1, seeds[i], &err)));
    }
    const size_t bytes = s[0].atoms * 24;
    CHECK_BYTES(s[0].positions, bytes, s[1].positions, bytes);
    CHECK(memcmp(s[0].positions, s[2].positions, bytes) != 0);
    for (size_t i = 0; i < 3 * s[0].atoms; i++) {
        const double d = s[0].positions[i] - s[2].positions[i]; /* of two deviates: 0.1 sqrt(2) */
        sum += d * d;
    }
    CHECK_NEAR(sqrt(sum / (3 * (double)s[0].atoms)), 0.1 * sqrt(2), 0.005);
    CHECK_INT(bl_structure_rattle(NULL, &s[0], -1, 1, &err), BL_INVALID);
    CHECK_INT(bl_structure_rattle(NULL, &s[0], NAN, 1, &err), BL_INVALID);
    CHECK_INT(bl_structure_rattle(NULL, &s[0], 1e308, 1, &err), BL_INVALID);
    CHECK_BYTES(s[0].positions, bytes, s[1].positions, bytes);
    for (int i = 0; i < 3; i++) bl_structure_clear(&s[i]);
    bl_structure_clear(&cell);
}

/* One change of each kind; with `ctx` of a quota whose allocations fail one after another, or that is cancelled. */
static enum bl_status change(struct bl_ctx *ctx, struct bl_structure *s, int which)
{
    double m[3][3];
    const uint32_t atoms[] = {0, 2};
    bl_matrix_strain((const double[6]){0.01, 0.02, 0.03, 0, 0, 0}, m);
    switch (which) {
    case 0: return bl_structure_transform(ctx, s, m, &err);
    case 1: return bl_structure_wrap(ctx, s, &err);
    case 2: return bl_structure_sort(ctx, s, BL_SORT_Z, &err);
    case 3: return bl_structure_delete(ctx, s, atoms, 2, &err);
    case 4: return bl_structure_substitute(ctx, s, atoms, 2, "K", &err);
    case 5: return bl_structure_merge(ctx, s, s, &err);
    default: return bl_structure_rattle(ctx, s, 0.1, 1, &err);
    }
}

TEST(a_cancelled_change_changes_nothing)
{
    for (int which = 0; which < 7; which++) {
        struct bl_structure s, before;
        struct bl_ctx *ctx = bl_ctx_new(NULL);
        salt(&s);
        REQUIRE(OK(bl_structure_copy(&before, &s, NULL, &err)));
        bl_ctx_cancel(ctx);
        CHECK_INT(change(ctx, &s, which), BL_CANCELLED);
        CHECK_INT(s.atoms, before.atoms);
        CHECK_BYTES(s.positions, s.atoms * 24, before.positions, s.atoms * 24);
        CHECK(s.forces && s.symmetry && s.info_count == 1);
        bl_ctx_free(ctx);
        bl_structure_clear(&s);
        bl_structure_clear(&before);
    }
}

TEST(every_allocation_of_a_change_may_fail)
{
    for (int which = 0; which < 7; which++) {
        for (uint64_t n = 1;; n++) {
            struct bl_quota quota;
            struct bl_structure s;
            bl_quota_init(&quota, NULL, "memory", 0);
            struct bl_ctx *ctx = bl_ctx_new(&quota);
            salt_on(ctx, &s);
            bl_quota_fail_nth(&quota, n);
            const enum bl_status status = change(ctx, &s, which);
            bl_quota_fail_nth(&quota, 0);
            if (status != BL_OK) CHECK(s.atoms == 8 && s.forces && s.symmetry && s.info_count == 1);
            bl_structure_clear(&s);
            bl_ctx_free(ctx);
            CHECK_INT(bl_quota_used(&quota), 0);
            if (status == BL_OK) break;
            CHECK_INT(status, BL_NO_MEMORY);
            REQUIRE(n < 100);
        }
    }
}
