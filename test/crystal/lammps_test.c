/* SPDX-License-Identifier: Apache-2.0
 *
 * The corners of LAMMPS' data format (its manual, "read_data"), and what the writer makes of odd cells.
 */
#include "crystal_fixture.h"

static struct bl_parsed parsed;
static struct bl_quota quota;
static struct bl_error err;

static enum bl_status read_text(const char *text)
{
    const uint8_t *copy = bl_test_copy(text, strlen(text), 0);
    bl_quota_init(&quota, NULL, "memory", 0);
    struct bl_ctx *ctx = bl_ctx_new(&quota);
    const enum bl_status status = bl_crystal_parse(ctx, (const char *)copy, strlen(text), &(struct bl_parse_options){.name = "x.data"},
            &parsed, &err);
    bl_ctx_free(ctx);
    bl_test_uncopy(copy, 0);
    return status;
}

static const struct bl_structure *read_ok(const char *text)
{
    if (!OK(read_text(text))) printf("    in %s\n", text);
    REQUIRE(parsed.count == 1 && parsed.format == BL_FORMAT_LAMMPS);
    return &parsed.frames[0];
}

static void done(void)
{
    bl_parsed_clear(&parsed);
    CHECK_INT(bl_quota_used(&quota), 0);
}

static void refused(const char *text, enum bl_status status, const char *part)
{
    CHECK_INT(read_text(text), status);
    if (!strstr(err.text, part) && !strstr(err.subject, part)) BL_TEST_FAIL("\"%s\" says \"%s\", not \"%s\"", text, err.text, part);
    CHECK_INT(bl_quota_used(&quota), 0);
}

static bool warned(const char *part)
{
    for (size_t i = 0; i < parsed.warnings.count; i++)
        if (strstr(parsed.warnings.text[i], part)) return true;
    return false;
}

#define COUNTS "\n2 atoms\n2 atom types\n"
#define BOX "0 5 xlo xhi\n0 5 ylo yhi\n0 5 zlo zhi\n"
#define MASSES "\nMasses\n\n1 28.0855\n2 15.9994\n"
#define ATOMS "\nAtoms # atomic\n\n1 1 0 0 0\n2 2 2.5 2.5 2.5\n"

static void at(const struct bl_structure *s, size_t i, double x, double y, double z)
{
    CHECK_NEAR(s->positions[3 * i], x, 1e-12);
    CHECK_NEAR(s->positions[3 * i + 1], y, 1e-12);
    CHECK_NEAR(s->positions[3 * i + 2], z, 1e-12);
}

/* ---- reading --------------------------------------------------------------------------- */

TEST(boxes_of_all_kinds_are_read)
{
    const struct bl_structure *s = read_ok("t\n" COUNTS BOX "1 0.5 0.25 xy xz yz\n" MASSES ATOMS);
    CHECK_NEAR(bl_structure_volume(s), 125, 1e-12);
    CHECK_NEAR(s->cell[2][1], 0.25, 0);
    done();
    /* Orthogonal with an origin, positions outside and image flags. */
    s = read_ok("t\n" COUNTS "-1 4 xlo xhi\n2 7 ylo yhi\n0 5 zlo zhi\n" MASSES
            "\nAtoms # atomic\n\n1 1 -1 2 0 0 0 0\n2 2 9 3 0.5 -1 0 2\n");
    at(s, 0, 0, 0, 0);
    at(s, 1, 5, 1, 10.5);
    done();
    /* General triclinic: any vectors, an origin; images along those vectors. */
    s = read_ok("t\n" COUNTS "0 5 0 avec\n0 1 5 bvec\n5 0 1 cvec\n1 2 3 abc origin\n" MASSES
            "\nAtoms # atomic\n\n1 1 1 2 3 0 0 0\n2 2 2 3 4 0 1 0\n");
    CHECK_NEAR(bl_structure_volume(s), 125, 1e-12);
    CHECK_NEAR(s->cell[0][1], 5, 0);
    at(s, 1, 1, 2, 6);
    done();
    s = read_ok("t\n" COUNTS "0 5 xlo xhi\n0 5 ylo yhi\n" MASSES ATOMS);
    CHECK_NEAR(s->cell[2][2], 1, 0);
    CHECK(warned("zlo zhi is missing"));
    done();
    refused("t\n" COUNTS "5 0 xlo xhi\n0 5 ylo yhi\n0 5 zlo zhi\n" MASSES ATOMS, BL_INVALID, "xlo");
    refused("t\n" COUNTS "0 5 xlo xhi\n" MASSES ATOMS, BL_SYNTAX, "box");
}

TEST(types_by_label_mass_and_remark)
{
    const struct bl_structure *s = read_ok("t\n" COUNTS BOX "\nAtom Type Labels\n\n1 Si\n2 O.w\n\nMasses\n\nSi 28.0855\nO.w 15.9994\n"
            "\nAtoms # atomic\n\n1 O.w 0 0 0\n2 Si 1 1 1\n");
    CHECK_TEXT(s->species[s->types[0]], "O");
    CHECK_TEXT(s->species[s->types[1]], "Si");
    done();
    s = read_ok("t\n" COUNTS BOX "\nMasses # amu\n\n2 1 # O\n\n1 1 # Si\n" ATOMS);
    CHECK_TEXT(s->species[s->types[0]], "Si");
    CHECK_NEAR(s->masses[0], 1, 0);
    done();
    s = read_ok("5 atoms in the title\n#\n 2 atoms # n\n2\tatom types\n3 extra bond per atom\n0 bonds\n" BOX
            "\nPairIJ Coeffs # lj\n\n1 1 1 1\n1 2 1 1\n" ATOMS
            MASSES);
    CHECK_INT(s->atoms, 2);
    done();
    refused("t\n" COUNTS BOX ATOMS, BL_INVALID, "species");
    refused("t\n" COUNTS BOX MASSES "\nAtoms # atomic\n\n1 1 0 0 0\n2 3 1 1 1\n", BL_SYNTAX, "atom type");
    refused("t\n" COUNTS BOX MASSES "\nAtoms # atomic\n\n1 1 0 0 0\n", BL_SYNTAX, "number of an atom");
    refused("t\n" COUNTS BOX MASSES "\nAtoms # atomic\n\n1 1 0 0 0\n2 2 1 1 1\n3 2 2 2 2\n", BL_SYNTAX, "section");
}

TEST(velocities_are_in_the_units_that_the_title_names)
{
    static const struct { const char *title; double factor; const char *warning; } units[] = {
        {"LAMMPS data file via write_data, version 22 Jul 2025, timestep = 0, units = metal", 1e-3, NULL},
        {"LAMMPS data file via write_data, version 22 Jul 2025, timestep = 0, units = real", 1, NULL},
        {"LAMMPS data file via write_data, version 22 Jul 2025, timestep = 0, units = lj", 1, "reduced units"},
        {"LAMMPS data file", 1e-3, "does not say its units"},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        char text[1024];
        snprintf(text, sizeof text, "%s\n%s", units[i].title, COUNTS BOX MASSES ATOMS "\nVelocities\n\n2 4 0 0\n1 0 0 8\n");
        const struct bl_structure *s = read_ok(text);
        CHECK_NEAR(s->velocities[3], 4 * units[i].factor, 1e-18);
        CHECK_NEAR(s->velocities[2], 8 * units[i].factor, 1e-18);
        CHECK(units[i].warning ? warned(units[i].warning) : !warned("units"));
        done();
    }
    refused("LAMMPS data file via write_data, timestep = 0, units = electron\n" COUNTS BOX MASSES ATOMS, BL_UNSUPPORTED, "units");
}

/* Numbers of atoms may come in any order and have gaps; velocities find theirs. */
TEST(numbers_of_atoms_are_found_and_stand_once)
{
    static char text[100000];
    uint64_t seed = bl_test_seed();
    for (int ascending = 0; ascending < 2; ascending++) {
        enum { N = 500 };
        size_t n = (size_t)snprintf(text, sizeof text, "t\n\n%d atoms\n2 atom types\n%s%s\nAtoms # atomic\n\n", N, BOX, MASSES);
        uint64_t ids[N];
        for (size_t i = 0; i < N; i++) ids[i] = 1 + 7919 * i;
        for (size_t i = 0; i < N && !ascending; i++) {
            const size_t k = (size_t)(random_real(&seed) * N);
            const uint64_t id = ids[i];
            ids[i] = ids[k];
            ids[k] = id;
        }
        for (size_t i = 0; i < N; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%llu 1 %zu 0 0\n", (unsigned long long)ids[i], i);
        n += (size_t)snprintf(text + n, sizeof text - n, "\nVelocities\n\n");
        for (size_t i = N; i-- > 0;)
            n += (size_t)snprintf(text + n, sizeof text - n, "%llu %zu 0 0\n", (unsigned long long)ids[i], 1000 * i);
        const struct bl_structure *s = read_ok(text);
        for (size_t i = 0; i < N; i++) CHECK_NEAR(s->velocities[3 * i], (double)i, 1e-9);
        done();
    }
    refused("t\n" COUNTS BOX MASSES "\nAtoms # atomic\n\n7 1 0 0 0\n7 2 1 1 1\n", BL_INVALID, "twice");
    refused("t\n" COUNTS BOX MASSES ATOMS "\nVelocities\n\n1 0 0 0\n3 0 0 0\n", BL_INVALID, "no atom 3");
}

TEST(no_atoms_are_a_system_too)
{
    CHECK_INT(read_ok("t\n\n0 atoms\n1 atom types\n" BOX)->atoms, 0);
    done();
    refused("t\n\n2 atom types\n" BOX, BL_SYNTAX, "number of atoms");
}

/* ---- writing --------------------------------------------------------------------------- */

/* A short vector beside a long one: its part across the long one is what is left of 1 beside 5e21. */
TEST(a_short_vector_beside_a_long_one_keeps_its_length)
{
    struct bl_structure s;
    struct bl_buffer out;
    cubic(&s, NULL, "Si", 1, 1, sc_basis, 1);
    const double cell[3][3] = {{58, 70000080000, 2}, {0, 1, 0}, {0, 0, 1}};
    memcpy(s.cell, cell, sizeof cell);
    bl_buffer_init(&out, NULL);
    REQUIRE(OK(bl_crystal_write(NULL, &s, BL_FORMAT_LAMMPS, NULL, &out, &err)));
    REQUIRE(OK(bl_crystal_parse(NULL, out.data, out.len, NULL, &parsed, &err)));
    CHECK_NEAR(bl_structure_volume(&parsed.frames[0]) / 58, 1, 1e-12);
    bl_parsed_clear(&parsed);
    /* What the format's own numbers cannot hold is told. */
    s.cell[0][0] = s.cell[1][1] = 1e200;
    s.cell[0][1] = 0.9e200;
    const size_t before = out.len;
    CHECK_INT(bl_crystal_write(NULL, &s, BL_FORMAT_LAMMPS, NULL, &out, &err), BL_INVALID);
    CHECK_INT(out.len, before);
    bl_buffer_clear(&out);
    bl_structure_clear(&s);
}
