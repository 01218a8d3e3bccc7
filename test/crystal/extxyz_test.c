/* SPDX-License-Identifier: Apache-2.0 */
#include "crystal_fixture.h"

static struct bl_parsed parsed;
static struct bl_quota quota;

static enum bl_status read_text(const char *text, struct bl_error *err)
{
    const size_t len = strlen(text);
    const uint8_t *copy = bl_test_copy(text, len, 0);
    bl_quota_init(&quota, NULL, "memory", 0);
    struct bl_ctx *ctx = bl_ctx_new(&quota);
    const enum bl_status status = bl_crystal_parse(ctx, (const char *)copy, len, NULL, &parsed, err);
    bl_ctx_free(ctx);
    bl_test_uncopy(copy, 0);
    return status;
}

static const struct bl_structure *read_ok(const char *text, size_t frames)
{
    struct bl_error err;
    REQUIRE(fine(read_text(text, &err), &err));
    CHECK_INT(parsed.format, BL_FORMAT_EXTXYZ);
    REQUIRE(parsed.count == frames);
    return parsed.frames;
}

static void done(void)
{
    bl_parsed_clear(&parsed);
    CHECK_INT(bl_quota_used(&quota), 0);
}

static void refused(const char *text, enum bl_status status, uint32_t line, uint32_t column, const char *part)
{
    struct bl_error err;
    CHECK_INT(read_text(text, &err), status);
    CHECK_INT(bl_quota_used(&quota), 0);
    if (line > 0) CHECK_INT(err.line, line);
    if (column > 0) CHECK_INT(err.column, column);
    if (!strstr(err.text, part)) BL_TEST_FAIL("\"%s\" says \"%s\", not \"%s\"", text, err.text, part);
}

static const struct bl_info *info(const struct bl_structure *s, const char *key)
{
    for (size_t i = 0; i < s->info_count; i++)
        if (strcmp(s->info[i].key, key) == 0) return &s->info[i];
    BL_TEST_FAIL("no info %s", key);
    longjmp(bl_tests.leave, 1);
}

/* ---- plain ------------------------------------------------------------------------- */

TEST(plain_files_have_a_comment_or_none_and_several_frames)
{
    const struct bl_structure *s = read_ok("  2\nwater or so\n O 0 0 .1\n  H 1 2 -3.5\n1\n\nC 0 0 0\n\n\n", 2);
    CHECK_INT(s[0].atoms, 2);
    CHECK_TEXT(info(&s[0], "comment")->value.text, "water or so");
    CHECK_NEAR(s[0].positions[5], -3.5, 0);
    CHECK_INT(s[1].info_count, 0);
    CHECK(!s[0].pbc[0] && bl_structure_volume(&s[0]) == 0);
    done();
}

TEST(columns_nobody_explains_are_left_out_with_a_warning)
{
    read_ok("1\nx\nO 0 0 .1 -0.8\n", 1);
    CHECK_INT(parsed.warnings.count, 1);
    done();
}

TEST(atomic_numbers_name_species_too)
{
    const struct bl_structure *s = read_ok("2\n\n14 0 0 0\nsi 0 0 2\n", 1);
    CHECK_INT(s->species_count, 1);
    CHECK_TEXT(s->species[0], "Si");
    CHECK_INT(parsed.warnings.count, 1);
    done();
}

TEST(lines_may_end_in_crlf_cr_or_nothing)
{
    read_ok("1\r\n\r\nC 0 0 0\r\n1\r\nx\r\nC 0 0 0", 2);
    done();
    read_ok("1\rx\rC 0 0 0\r1\r\rC 0 0 0\r", 2);
    done();
}

/* ---- extended ----------------------------------------------------------------------- */

TEST(lattice_rows_are_the_vectors)
{
    const char *const forms[] = {"Lattice=\"3 0 0 .6 2.9 0 -.4 .3 3.1\"", "Lattice = [[3, 0, 0], [0.6, 2.9, 0], [-.4, .3, 3.1]]",
                                 "lattice={3 0 0 .6 2.9 0 -.4 .3 3.1}", "Lattice=[3 0 0 .6 2.9 0 -.4 .3 3.1]\tx=1"};
    for (size_t i = 0; i < 4; i++) {
        char text[200];
        snprintf(text, sizeof text, "1\n%s\nMg 0 0 0\n", forms[i]);
        const struct bl_structure *s = read_ok(text, 1);
        CHECK_NEAR(s->cell[1][0], 0.6, 0);
        CHECK_NEAR(s->cell[2][0], -0.4, 0);
        CHECK(s->pbc[0] && s->pbc[1] && s->pbc[2]);
        done();
    }
}

TEST(pbc_has_many_spellings)
{
    const char *const forms[] = {"\"T T F\"", "[T, T, F]", "{T T F}", "\"True true False\"", "\"1 1 0\"", "[true, true, false]"};
    for (size_t i = 0; i < 6; i++) {
        char text[200];
        snprintf(text, sizeof text, "1\nLattice=\"4 0 0 0 4 0 0 0 9\" pbc=%s\nMg 0 0 0\n", forms[i]);
        const struct bl_structure *s = read_ok(text, 1);
        CHECK(s->pbc[0] && s->pbc[1] && !s->pbc[2]);
        done();
    }
}

TEST(a_quantity_under_two_names_is_read_once_and_kept_once)
{
    const struct bl_structure *s = read_ok("1\nProperties=species:S:1:pos:R:3:masses:R:1:mass:R:1:positions:R:3\n"
                                           "C 1 2 3 12.5 13.5 4 5 6\n", 1);
    CHECK_NEAR(s->masses[0], 12.5, 0);
    CHECK_NEAR(s->positions[2], 3, 0);
    CHECK_INT(s->column_count, 2);
    CHECK_TEXT(s->columns[0].name, "mass");
    CHECK_NEAR(s->columns[0].value.reals[0], 13.5, 0);
    CHECK_NEAR(s->columns[1].value.reals[2], 6, 0);
    CHECK_INT(parsed.warnings.count, 2);
    done();
}

TEST(properties_say_what_the_columns_are)
{
    const struct bl_structure *s =
        read_ok("2\nProperties=Z:I:1:pos:R:3:forces:R:3:masses:R:1:charges:R:1:velo:R:3:move_mask:L:3:tag:I:1:good:L:1:vec:R:2 e=1\n"
                "8 1 2 3 .1 .2 .3 16 -1 4 5 6 T F T -7 T 1.5 2.5\n1 0 0 0 0 0 0 1 1 0 0 0 T T T 2 F 0 0\n", 1);
    CHECK_TEXT(s->species[s->types[0]], "O");
    CHECK_NEAR(s->forces[2], 0.3, 0);
    CHECK_NEAR(s->masses[0], 16, 0);
    CHECK_NEAR(s->charges[1], 1, 0);
    CHECK_NEAR(s->velocities[1], 5, 0);
    CHECK_INT(s->fixed[0], BL_FIXED_Y);
    CHECK_INT(s->fixed[1], 0);
    REQUIRE(s->column_count == 3);
    CHECK_INT(s->columns[0].value.ints[0], -7);
    CHECK(s->columns[1].value.bools[0] && !s->columns[1].value.bools[1]);
    CHECK_NEAR(s->columns[2].value.reals[1], 2.5, 0);
    done();
}

TEST(values_have_types)
{
    const struct bl_structure *s = read_ok("1\nProperties=species:S:1:pos:R:3 a=-3 b=1.5e2 c=T flag d=\"two words\" e=\"1 2 3\" f=[1.5, 2] "
                                           "g=[[1,2],[3,4],[5,6]] h=\"q\\\"q\\\\ \\n\" i=bare_word j=\"7\" "
                                           "k=x=y energy=-3 \"odd key\"=1 dipole=\"0.1 -2e-3 3E1\"\nC 0 0 0\n", 1);
    CHECK_INT(info(s, "a")->value.ints[0], -3);
    CHECK_NEAR(info(s, "b")->value.reals[0], 150, 0);
    CHECK(info(s, "c")->value.bools[0] && info(s, "flag")->value.bools[0]);
    CHECK_TEXT(info(s, "d")->value.text, "two words");
    CHECK_INT(info(s, "e")->type, BL_VALUE_INT);
    CHECK_INT(info(s, "e")->columns, 3);
    CHECK_NEAR(info(s, "f")->value.reals[1], 2, 0);
    CHECK_INT(info(s, "g")->rows, 3);
    CHECK_INT(info(s, "g")->columns, 2);
    CHECK_INT(info(s, "g")->value.ints[5], 6);
    CHECK_TEXT(info(s, "h")->value.text, "q\"q\\ \n");
    CHECK_TEXT(info(s, "i")->value.text, "bare_word");
    CHECK_INT(info(s, "j")->value.ints[0], 7);
    CHECK_TEXT(info(s, "k")->value.text, "x=y");
    CHECK_NEAR(info(s, "energy")->value.reals[0], -3, 0);
    CHECK_INT(info(s, "odd key")->value.ints[0], 1);
    CHECK_NEAR(info(s, "dipole")->value.reals[2], 30, 0);
    done();
}

/* ---- refused ------------------------------------------------------------------------- */

TEST(errors_name_line_and_column)
{
    refused("5\nthree follow\nC 0 0 0\nH 0 0 0\nH 0 0 0\n", BL_SYNTAX, 6, 1, "atom 4 of 5");
    refused("1\n\nC 0 0 0\n2 x\n", BL_SYNTAX, 4, 1, "number of atoms");
    refused("1\n\nC 0 0\n", BL_SYNTAX, 3, 6, "atom 1 of 1");
    refused("1\n\nC 0 0 z\n", BL_SYNTAX, 3, 7, "atom 1 of 1");
    refused("1\n\nC 0 0 0\nrubbish\n", BL_SYNTAX, 4, 1, "number of atoms");
    refused("1\nLattice=\"1 2\"\nC 0 0 0\n", BL_SYNTAX, 2, 1, "Lattice");
    refused("1\nLattice=\"1 0 0\nC 0 0 0\n", BL_SYNTAX, 2, 9, "closing quote");
    refused("1\nLattice=\"1 0 0          \t\t\t\t\t\t\t   ", BL_SYNTAX, 2, 9, "closing quote");
    refused("1\nLattice=\"4 0 0 0 4 0 0 0 4\" Properties\nC 0 0 0\n", BL_SYNTAX, 2, 39, "value of Properties");
    refused("1\nProperties=pos:R:3:a=[1 2\nC 0 0 0\n", BL_SYNTAX, 0, 0, "");
    refused("1\nProperties=species:S:pos:R:3\nC 0 0 0\n", BL_SYNTAX, 2, 12, "Properties");
    refused("1\nProperties=species:S:1:pos:R:3\nC 0 0 0 1\n", BL_SYNTAX, 3, 9, "no more columns");
    refused("1\nProperties=species:S:1:pos:R:3:t:I:1\nC 0 0 0 1.5\n", BL_SYNTAX, 3, 9, "integer");
    refused("1\nProperties=Z:I:1:pos:R:3\n300 0 0 0\n", BL_SYNTAX, 3, 1, "atomic number");
    refused("1\nLattice=\"4 0 0 0 4 0 0 0 9\" pbc=maybe\nMg 0 0 0\n", BL_SYNTAX, 2, 29, "pbc");
    refused("1\nProperties=species:S:1\nC\n", BL_INVALID, 0, 0, "no pos");
    refused("1\nProperties=pos:R:3\n0 0 0\n", BL_INVALID, 0, 0, "species");
    refused("1\nProperties=pos:R:3:Z:I:1:pos:R:3\n0 0 0 1 0 0 0\n", BL_INVALID, 0, 0, "twice");
    refused("1\nLattice=\"4 0 0 8 0 0 0 0 9\"\nMg 0 0 0\n", BL_INVALID, 0, 0, "independent");
    refused("999999\nx\nC 0 0 0\n", BL_SYNTAX, 1, 1, "fits");
}

TEST(a_zero_byte_is_no_text)
{
    static const char file[] = "1\nx\nC 0\0 0 0\n";
    struct bl_error err;
    CHECK_INT(bl_crystal_parse(NULL, file, sizeof file - 1, NULL, &parsed, &err), BL_SYNTAX);
    CHECK_INT(err.line, 3);
    CHECK_INT(err.column, 4);
}

TEST(too_many_atoms_or_frames_are_a_limit)
{
    struct bl_error err;
    CHECK_INT(read_text("99999999999\n", &err), BL_LIMIT);
    struct bl_crystal_limits limits = bl_crystal_limits_default;
    limits.max_frames = 1;
    const char *two = "1\n\nC 0 0 0\n1\n\nC 0 0 0\n";
    CHECK_INT(bl_crystal_parse(NULL, two, strlen(two), &(struct bl_parse_options){.limits = &limits}, &parsed, &err), BL_LIMIT);
    CHECK_TEXT(err.subject, "frames");
}

TEST(every_allocation_may_fail)
{
    static const char *const file = "2\nLattice=\"4 0 0 0 4 0 0 0 4\" Properties=species:S:1:pos:R:3:fixed:L:1:tag:I:1 "
                                    "a=1 b=2 c=x\nC 0 0 0 T 1\nO 0 0 2 F 2\n1\nx\nC 0 0 0\n";
    for (uint64_t n = 1;; n++) {
        struct bl_error err;
        bl_quota_init(&quota, NULL, "memory", 0);
        struct bl_ctx *ctx = bl_ctx_new(&quota);
        bl_quota_fail_nth(&quota, n);
        const enum bl_status status = bl_crystal_parse(ctx, file, strlen(file), NULL, &parsed, &err);
        bl_quota_fail_nth(&quota, 0);
        bl_ctx_free(ctx);
        if (status == BL_OK) break;
        CHECK_INT(status, BL_NO_MEMORY);
        CHECK_INT(bl_quota_used(&quota), 0);
        REQUIRE(n < 100);
    }
    done();
}

/* ---- writing -------------------------------------------------------------------------- */

TEST(everything_is_written_so_that_it_reads_back)
{
    static const char *const file =
        "2\nLattice=\"4.1 0 0 .1 4 0 0 .3 9\" pbc=\"T F T\" "
        "Properties=species:S:1:pos:R:3:forces:R:3:masses:R:1:charges:R:1:velo:R:3:fixed:L:3:tag:I:1:b:L:2 "
        "a=-3 b=0.1 c=T d=\"two \\\"w\\\\ords\\n\" g=[[1,2],[3,4]] f=[0.1] \"odd key\"=1\n"
        "Cu .1 .2 .3 1e-7 2 3 63.546 1 .4 .5 .6 T F T -7 T F\nO .333333333333333333 1 2 0 0 0 16 -2 0 0 0 F F F 9 F F\n";
    read_ok(file, 1);
    struct bl_structure before;
    struct bl_error err;
    REQUIRE(OK(bl_structure_copy(&before, &parsed.frames[0], NULL, &err)));
    done();
    struct bl_buffer first, second;
    bl_buffer_init(&first, NULL);
    bl_buffer_init(&second, NULL);
    REQUIRE(OK(bl_crystal_write(NULL, &before, BL_FORMAT_EXTXYZ, NULL, &first, &err)));
    REQUIRE(OK(bl_crystal_parse(NULL, first.data, first.len, NULL, &parsed, &err)));
    const struct bl_structure *s = parsed.frames;
    CHECK_BYTES(s->positions, 48, before.positions, 48);
    CHECK_BYTES(s->forces, 48, before.forces, 48);
    CHECK_BYTES(s->fixed, 2, before.fixed, 2);
    CHECK_BYTES(s->columns[0].value.ints, 16, before.columns[0].value.ints, 16);
    CHECK_BYTES(s->columns[1].value.bools, 4, before.columns[1].value.bools, 4);
    CHECK_TEXT(info(s, "d")->value.text, "two \"w\\ords\n");
    CHECK_INT(info(s, "g")->rows, 2);
    CHECK_INT(s->info_count, before.info_count);
    REQUIRE(OK(bl_crystal_write(NULL, s, BL_FORMAT_EXTXYZ, NULL, &second, &err)));
    CHECK_BYTES(second.data, second.len, first.data, first.len);
    bl_parsed_clear(&parsed);
    bl_buffer_clear(&first);
    bl_buffer_clear(&second);
    bl_structure_clear(&before);
}
