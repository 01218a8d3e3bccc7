/* SPDX-License-Identifier: Apache-2.0 */
#include "crystal_fixture.h"

/* ---- helpers ------------------------------------------------------------------ */

static struct bl_parsed parsed; /* large: warnings */
static struct bl_quota quota;

static enum bl_status read_with(const char *text, const struct bl_parse_options *options, struct bl_error *err)
{
    const size_t len = strlen(text);
    const uint8_t *copy = bl_test_copy(text, len, 0);
    bl_quota_init(&quota, NULL, "memory", 0);
    struct bl_ctx *ctx = bl_ctx_new(&quota);
    const enum bl_status status = bl_crystal_parse(ctx, (const char *)copy, len, options, &parsed, err);
    bl_ctx_free(ctx);
    bl_test_uncopy(copy, 0);
    return status;
}

static struct bl_structure *read_ok(const char *text)
{
    struct bl_error err;
    REQUIRE(fine(read_with(text, NULL, &err), &err));
    CHECK_INT(parsed.format, BL_FORMAT_POSCAR);
    CHECK_INT(parsed.count, 1);
    return &parsed.frames[0];
}

static void done(void)
{
    bl_parsed_clear(&parsed);
    CHECK_INT(bl_quota_used(&quota), 0);
}

static void refused(const char *text, enum bl_status status, uint32_t line, uint32_t column, const char *part)
{
    struct bl_error err;
    CHECK_INT(read_with(text, NULL, &err), status);
    CHECK_INT(bl_quota_used(&quota), 0);
    if (line > 0) CHECK_INT(err.line, line);
    if (column > 0) CHECK_INT(err.column, column);
    if (!strstr(err.text, part)) BL_TEST_FAIL("\"%s\" says \"%s\", not \"%s\"", text, err.text, part);
}

static bool warned(const char *part)
{
    for (size_t i = 0; i < parsed.warnings.count; i++)
        if (strstr(parsed.warnings.text[i], part)) return true;
    return false;
}

#define CUBE "c\n1.0\n4 0 0\n0 4 0\n0 0 4\n"

/* ---- what is read ----------------------------------------------------------------- */

TEST(direct_positions_are_multiplied_by_the_cell)
{
    const struct bl_structure *s = read_ok("salt\n2.0\n2 0 0\n1 2 0\n0 0 3\nNa Cl\n1 1\nDirect\n.5 .5 0\n0 0 .25\n");
    CHECK_NEAR(s->positions[0], 3, 1e-15);
    CHECK_NEAR(s->positions[1], 2, 1e-15);
    CHECK_NEAR(s->positions[5], 1.5, 1e-15);
    CHECK_NEAR(bl_structure_volume(s), 96, 1e-12);
    CHECK_TEXT(s->species[s->types[1]], "Cl");
    done();
}

TEST(cartesian_positions_are_scaled_and_may_begin_with_k)
{
    const char *const modes[] = {"Cartesian", "cart", "Kartesian", "k", " C"};
    for (size_t i = 0; i < 5; i++) {
        char text[200];
        snprintf(text, sizeof text, "c\n2.0\n4 0 0\n0 4 0\n0 0 4\nCu\n1\n%s\n1 2 3\n", modes[i]);
        const struct bl_structure *s = read_ok(text);
        CHECK_NEAR(s->positions[2], 6, 0);
        done();
    }
}

TEST(a_negative_scale_is_the_volume)
{
    const struct bl_structure *s = read_ok("c\n-180.4\n0 .5 .5\n.5 0 .5\n.5 .5 0\nGa As\n1 1\nCartesian\n0 0 0\n.25 .25 .25\n");
    CHECK_NEAR(fabs(bl_structure_volume(s)), 180.4, 1e-11);
    const double a = cbrt(180.4 * 4);
    CHECK_NEAR(s->positions[3], a / 4, 1e-12);
    done();
}

TEST(three_scales_stretch_x_y_z)
{
    const struct bl_structure *s = read_ok("c\n2 3 4\n1 0 0\n1 1 0\n0 0 1\nFe\n1\nCartesian\n.5 .5 .5\n");
    CHECK_NEAR(s->cell[1][0], 2, 0);
    CHECK_NEAR(s->cell[1][1], 3, 0);
    CHECK_NEAR(s->positions[2], 2, 0);
    done();
}

TEST(symbols_and_counts_may_wrap_and_repeat)
{
    const struct bl_structure *s = read_ok(CUBE "Ni Al ! first\nNi\n1 1\n 2 # rest\nDirect\n0 0 0\n.5 0 0\n0 .5 0\n0 0 .5\n");
    CHECK_INT(s->species_count, 2);
    CHECK_INT(s->types[1], 1);
    CHECK_INT(s->types[3], 0);
    done();
}

TEST(potcar_names_are_cut_to_their_element)
{
    const struct bl_structure *s = read_ok(CUBE "Al_pv/1a2b3c H.75 fe_sv\n1 1 1\nDirect\n0 0 0\n.5 0 0\n0 .5 0\n");
    CHECK_TEXT(s->species[0], "Al");
    CHECK_TEXT(s->species[1], "H");
    CHECK_TEXT(s->species[2], "Fe");
    done();
}

TEST(selective_dynamics_fixes_axes)
{
    const struct bl_structure *s = read_ok(CUBE "Cu\n3\nSelective dynamics\nDirect\n0 0 0 F F F\n"
                                           ".5 0 0 .FALSE. .true. T Cu\n0 .5 0 T T f\n");
    REQUIRE(s->fixed);
    CHECK_INT(s->fixed[0], 7);
    CHECK_INT(s->fixed[1], BL_FIXED_X);
    CHECK_INT(s->fixed[2], BL_FIXED_Z);
    done();
}

TEST(partial_flags_in_a_skew_cell_are_warned_about)
{
    read_ok("c\n1.0\n4 1 0\n0 4 0\n0 0 4\nCu\n1\nS\nD\n0 0 0 F T T\n");
    CHECK(warned("along a, b, c"));
    done();
}

TEST(velocities_follow_a_blank_line_or_a_mode_line)
{
    const char *const gaps[] = {"\n", " \n", "Cartesian\n"};
    for (size_t i = 0; i < 3; i++) {
        char text[300];
        snprintf(text, sizeof text, CUBE "Cu\n2\nDirect\n0 0 0\n.5 .5 .5\n%s.1 .2 .3\n-1e-2 0 0\n", gaps[i]);
        const struct bl_structure *s = read_ok(text);
        REQUIRE(s->velocities);
        CHECK_NEAR(s->velocities[1], 0.2, 0);
        CHECK_NEAR(s->velocities[3], -0.01, 0);
        done();
    }
}

TEST(velocities_per_time_step_are_left_out_with_a_warning)
{
    const struct bl_structure *s = read_ok(CUBE "Cu\n1\nDirect\n0 0 0\nDirect\n.1 0 0\n");
    CHECK(!s->velocities);
    CHECK(warned("per time step"));
    done();
}

TEST(predictor_blocks_are_left_out_with_a_warning)
{
    const struct bl_structure *s = read_ok(CUBE "Cu\n1\nDirect\n0 0 0\n\n.1 0 0\n\n1\n0.5E+00\n0. 0. 0. 0.\n0 0 0\n0 0 0\n0 0 0\n");
    CHECK(s->velocities != NULL);
    CHECK(warned("left out"));
    done();
}

TEST(lattice_velocities_are_skipped)
{
    const struct bl_structure *s =
        read_ok(CUBE "Cu\n1\nDirect\n0 0 0\nLattice velocities and vectors\n1\n0 0 0\n0 0 0\n0 0 0\n4 0 0\n0 4 0\n0 0 4\n\n.1 0 0\n");
    REQUIRE(s->velocities);
    CHECK_NEAR(s->velocities[0], 0.1, 0);
    CHECK(warned("lattice velocities"));
    done();
}

TEST(left_handed_cells_are_kept)
{
    const struct bl_structure *s = read_ok("c\n1.0\n0 1.8 1.8\n1.8 1.8 0\n1.8 0 1.8\nCu\n1\nDirect\n0 0 0\n");
    CHECK_NEAR(bl_structure_volume(s), -11.664, 1e-12);
    done();
}

TEST(lines_may_end_in_crlf_and_cr_alone)
{
    const char *const files[] = {"c\r\n1.0\r\n4 0 0\r\n0 4 0\r\n0 0 4\r\nGa\r\n1\r\ndirect\r\n0 0 0 Ga\r\n",
            "c\r1.0\r4 0 0\r0 4 0\r0 0 4\rGa\r1\rdirect\r0 0 0 Ga"};
    for (size_t i = 0; i < 2; i++) {
        CHECK_INT(read_ok(files[i])->atoms, 1);
        done();
    }
}

/* ---- VASP 4 ------------------------------------------------------------------------- */

TEST(species_of_vasp_4_come_from_a_plausible_comment_with_a_warning)
{
    const struct bl_structure *s = read_ok("Na1 Cl\n4.0\n1 0 0\n0 1 0\n0 0 1\n1 1\nDirect\n0 0 0\n.5 .5 .5\n");
    CHECK_TEXT(s->species[1], "Cl");
    CHECK(warned("comment line"));
    done();
}

TEST(species_of_vasp_4_come_from_symbols_behind_the_positions)
{
    const struct bl_structure *s = read_ok("Cu Au\n4.0\n1 0 0\n0 1 0\n0 0 1\n1 2\nDirect\n0 0 0 Na\n.5 .5 .5 Cl\n0 0 .5 Cl\n");
    CHECK_TEXT(s->species[0], "Na");
    CHECK(warned("behind the positions"));
    done();
}

TEST(species_of_vasp_4_are_asked_for_otherwise)
{
    static const char *const file = "cell vectors\n1.0\n4 0 0\n0 4 0\n0 0 4\n1 1\nDirect\n0 0 0 # W1\n.5 .5 .5 # W2\n";
    const char *const species[] = {"W", "O"};
    struct bl_error err;
    refused(file, BL_INVALID, 0, 0, "option species with 2 symbols");
    CHECK_INT(read_with(file, &(struct bl_parse_options){.species = species, .species_count = 1}, &err), BL_INVALID);
    CHECK(OK(read_with(file, &(struct bl_parse_options){.species = species, .species_count = 2}, &err)));
    CHECK_TEXT(parsed.frames[0].species[1], "O");
    done();
}

/* ---- what is refused ------------------------------------------------------------------ */

TEST(syntax_errors_name_line_and_column)
{
    refused("c\nx\n", BL_SYNTAX, 2, 1, "scaling factor");
    refused("c\n1 2\n", BL_SYNTAX, 2, 0, "one or three");
    refused("c\n1\n4 0 y\n", BL_SYNTAX, 3, 5, "lattice vector");
    refused("c\n1\n4 0\n", BL_SYNTAX, 3, 4, "lattice vector");
    refused(CUBE "Cu\nx\n", BL_SYNTAX, 8, 1, "numbers of atoms");
    refused(CUBE "Cu\n1\n0 0 0\n", BL_SYNTAX, 8, 1, "Direct or Cartesian");
    refused(CUBE "Cu\n2\nDirect\n0 0 0\n", BL_SYNTAX, 10, 1, "atom 2 of 2");
    refused(CUBE "Cu\n1\nDirect\n0 0\n", BL_SYNTAX, 9, 4, "atom 1 of 1");
    refused(CUBE "Cu\n1\nDirect\n0 0 nan\n", BL_SYNTAX, 9, 5, "atom 1 of 1");
    refused(CUBE "Cu\n1\nSelective\nDirect\n0 0 0 T T\n", BL_SYNTAX, 10, 10, "flags");
    refused(CUBE "Cu\n2\nDirect\n0 0 0\n.5 0 0\n\n.1 0 0\n", BL_SYNTAX, 13, 1, "velocity of atom 2 of 2");
    refused("", BL_SYNTAX, 0, 0, "scaling factor");
}

TEST(files_that_contradict_themselves_are_refused)
{
    refused(CUBE "Cu Au\n1\nDirect\n0 0 0\n", BL_INVALID, 0, 0, "2 symbols, but 1 counts");
    refused(CUBE "Cu\n1 1\nDirect\n0 0 0\n", BL_INVALID, 0, 0, "more counts");
    refused(CUBE "Cu\n1\nDirect\n0 0 0\n.5 .5 .5\n", BL_INVALID, 0, 0, "one more");
    refused(CUBE "Cu\n0\nDirect\n", BL_INVALID, 0, 0, "no atoms");
    refused("c\n0\n4 0 0\n0 4 0\n0 0 4\nCu\n1\nDirect\n0 0 0\n", BL_INVALID, 0, 0, "zero");
    refused("c\n1 -1 1\n4 0 0\n0 4 0\n0 0 4\nCu\n1\nDirect\n0 0 0\n", BL_INVALID, 0, 0, "positive");
    refused("c\n1\n4 0 0\n8 0 0\n0 0 4\nCu\n1\nDirect\n0 0 0\n", BL_INVALID, 0, 0, "not independent");
}

TEST(a_count_that_lies_costs_no_memory)
{
    struct bl_error err;
    refused(CUBE "Cu\n7000000\nDirect\n0 0 0\n", BL_INVALID, 0, 0, "do not fit");
    CHECK(bl_quota_peak(&quota) < 100000);
    CHECK_INT(read_with(CUBE "Cu\n99999999999\nDirect\n0 0 0\n", NULL, &err), BL_LIMIT);
    CHECK_TEXT(err.subject, "atoms");
    CHECK_INT(err.asked, 99999999999);
}

TEST(a_broken_gzip_file_says_where)
{
    struct bl_error err;
    const enum bl_status status = read_with("\x1f\x8b\x08 x", NULL, &err);
    CHECK(status == BL_SYNTAX || status == BL_UNSUPPORTED); /* without zlib */
}

/* ---- memory, writing ---------------------------------------------------------------------- */

TEST(every_allocation_may_fail)
{
    static const char *const file = CUBE "Cu Au\n1 1\nSelective\nDirect\n0 0 0 T T T\n.5 .5 .5 F F F\n\n1 2 3\n4 5 6\n";
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

TEST(what_is_written_reads_back)
{
    struct bl_structure *s = read_ok("my comment\n1.0\n4.1 .1 .2\n.3 4.2 0\n0 .7 4.3\nCu Au Cu\n1 2 1\nSelective\nCart\n"
                                     ".1 .2 .3 T F T\n1 1 1 T T T\n2 2 2 F F F\n3 3 3 T T T\n\n.1 .2 .3\n0 0 0\n0 0 0\n1 1 1\n");
    struct bl_structure before;
    struct bl_error err;
    REQUIRE(OK(bl_structure_copy(&before, s, NULL, &err)));
    done();
    struct bl_buffer file;
    for (int cartesian = 0; cartesian < 2; cartesian++) {
        bl_buffer_init(&file, NULL);
        REQUIRE(OK(bl_crystal_write(NULL, &before, BL_FORMAT_POSCAR, &(struct bl_write_options){.cartesian = cartesian}, &file, &err)));
        REQUIRE(OK(bl_crystal_parse(NULL, file.data, file.len, NULL, &parsed, &err)));
        const struct bl_structure *again = &parsed.frames[0];
        CHECK_BYTES(again->cell, sizeof again->cell, before.cell, sizeof before.cell);
        CHECK_BYTES(again->types, 16, before.types, 16);
        CHECK_BYTES(again->fixed, 4, before.fixed, 4);
        CHECK_BYTES(again->velocities, 96, before.velocities, 96);
        CHECK(memcmp(file.data, "my comment\n", 11) == 0);
        for (size_t i = 0; i < 12; i++) CHECK_NEAR(again->positions[i], before.positions[i], cartesian ? 0 : 1e-15);
        bl_parsed_clear(&parsed);
        bl_buffer_clear(&file);
    }
    bl_structure_clear(&before);
}
