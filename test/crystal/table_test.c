/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of potentials: what is read, and what is refused where.
 */
#include <stdarg.h>

#include "table_fixture.h"

static enum bl_status read_text(enum bl_table_format format, const char *text, struct bl_error *err)
{
    struct bl_table *table;
    const size_t len = strlen(text);
    char *copy = malloc(len + 1);
    memcpy(copy, text, len);
    const enum bl_status status = bl_table_read(NULL, format, &(struct bl_table_file){copy, len}, 1, &table, err);
    free(copy);
    if (status == BL_OK) bl_table_free(table);
    return status;
}

TEST(a_setfl_file_has_the_functions_it_was_made_from)
{
    struct fixture_text t = fixture_setfl(false);
    struct bl_table *table = fixture_table(BL_TABLE_SETFL, t.data, t.len);
    const struct bl_potential p = {.type = BL_POTENTIAL_EAM, .table = table};
    struct bl_structure s;
    struct bl_error err;
    uint32_t index;
    double f[9];
    CHECK_INT(bl_table_elements(table), 2);
    CHECK_TEXT(bl_table_element(table, 1), "Ni");
    blank(&s, NULL, "Ni", 3);
    REQUIRE(OK(bl_structure_species(&s, "Cu", 2, &index, &err)));
    s.types[1] = index;
    s.positions[3] = 2.3;
    s.positions[7] = 2.6;
    const double r12 = 2.3, r13 = 2.6, r23 = hypot(2.3, 2.6);
    const struct bl_energies e = evaluate(NULL, &s, &p, f);
    /* 1 and 3 are nickel, the second kind. */
    const double expected = fixture_phi(r12, 0, 1) + fixture_phi(r13, 1, 1) + fixture_phi(r23, 0, 1) +
                            fixture_embed(fixture_rho(r12, 0, 0) + fixture_rho(r13, 0, 1), 1) +
                            fixture_embed(fixture_rho(r12, 0, 1) + fixture_rho(r23, 0, 1), 0) +
                            fixture_embed(fixture_rho(r13, 0, 1) + fixture_rho(r23, 0, 0), 1);
    CHECK_NEAR(e.energy, expected, 1e-7); /* a table's steps */
    bl_structure_clear(&s);
    bl_table_free(table);
    free(t.data);
}

TEST(a_file_cut_anywhere_is_an_error_with_a_place)
{
    struct fixture_text t = fixture_setfl(true);
    uint64_t seed = bl_test_seed();
    for (int i = 0; i < 60; i++) {
        struct bl_error err;
        struct bl_table *table;
        const size_t len = i < 40 ? (size_t)i * 3 : bl_test_random(&seed) % (t.len - 30);
        char *copy = malloc(len > 0 ? len : 1);
        memcpy(copy, t.data, len);
        const enum bl_status status = bl_table_read(NULL, BL_TABLE_FINNIS_SINCLAIR, &(struct bl_table_file){copy, len}, 1, &table, &err);
        CHECK_INT(status, BL_SYNTAX);
        CHECK(err.line > 0 && err.column > 0);
        free(copy);
    }
    free(t.data);
}

TEST(errors_name_line_and_column)
{
    static const struct {
        enum bl_table_format format;
        const char *text;
        enum bl_status status;
        uint32_t line, column;
    } cases[] = {
        {BL_TABLE_SETFL, "a\nb\nc\n1 Cu\n5 0.1 5 0.1 3\n29 63 3.6 fcc\n0 0 nan 0 0\n0 0 0 0 0\n0 0 0 0 0\n", BL_SYNTAX, 7, 5},
        {BL_TABLE_SETFL, "a\nb\nc\n1 Cu\n5 0.1 5 0.1 3\n29 63 3.6 fcc\n0 0 1e999 0 0\n0 0 0 0 0\n0 0 0 0 0\n", BL_SYNTAX, 7, 5},
        {BL_TABLE_SETFL, "a\nb\nc\n1 Cu\n1000000 0.1 1000000 0.1 3\n29 63 3.6 fcc\n0\n", BL_SYNTAX, 5, 26},
        {BL_TABLE_SETFL, "a\nb\nc\n1 Cu\n99999999 0.1 5 0.1 3\n", BL_LIMIT, 0, 0},
        {BL_TABLE_SETFL, "a\nb\nc\n99999999999999999999 Cu\n", BL_SYNTAX, 4, 1},
        {BL_TABLE_SETFL, "a\nb\nc\n2 Cu Cu\n5 0.1 5 0.1 3\n", BL_SYNTAX, 4, 8},
        {BL_TABLE_SETFL, "a\nb\nc\n1 Cu\n5 -0.1 5 0.1 3\n", BL_SYNTAX, 5, 15},
        {BL_TABLE_SETFL, "a\nb\nc\n1 Cu\n5 0.1 5 0.1 3\n29 63 3.6 fcc\n0 0 0 0 0\n0 0 0 0 0\n0 0 0 0 0\n 7\n", BL_SYNTAX, 10, 2},
        {BL_TABLE_FUNCFL, "a\n129 63 3.6 fcc\n5 0.1 5 0.1 3\n", BL_SYNTAX, 3, 1},
        {BL_TABLE_SW, "Si Si Si 1 2 3 4 5 6 x\n", BL_SYNTAX, 1, 22},
        {BL_TABLE_SW, "# nothing\n\n", BL_SYNTAX, 3, 1},
        {BL_TABLE_SW, "Si Si Si 1 2 3 4 5 6 7 8 9 10 11\nSi Si Si 1 2 3 4 5 6 7 8 9 10 11", BL_SYNTAX, 2, 1},
        {BL_TABLE_TERSOFF, "Si Si Si 3 1.0 1.3258 4.8381\n 2.0417 0.0 22.956\n", BL_SYNTAX, 3, 1},
        {BL_TABLE_TERSOFF, "Si averylongnameofanelement Si 3", BL_SYNTAX, 1, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bl_error err;
        CHECK_INT(read_text(cases[i].format, cases[i].text, &err), cases[i].status);
        if (cases[i].status != BL_SYNTAX) continue;
        CHECK_INT(err.line, cases[i].line);
        CHECK_INT(err.column, cases[i].column);
    }
}

TEST(an_error_in_one_of_several_files_names_the_file)
{
    static const char good[] = "Cu\n29 63 3.6 fcc\n5 0.1 5 0.1 3\n0 0 0 0 0\n0 0 0 0 0\n0 0 0 0 0\n";
    static const char bad[] = "Ni\n28 58 3.5 fcc\n5 0.1 5 0.1 3\n0 0 0 x 0\n0 0 0 0 0\n0 0 0 0 0\n";
    const struct bl_table_file files[] = {{good, sizeof good - 1}, {bad, sizeof bad - 1}}, same[] = {files[0], files[0]};
    struct bl_error err;
    struct bl_table *table;
    CHECK_INT(bl_table_read(NULL, BL_TABLE_FUNCFL, files, 2, &table, &err), BL_SYNTAX);
    CHECK_INT(err.line, 4);
    CHECK_INT(err.column, 7);
    CHECK(strstr(err.text, "(file 2)") != NULL);
    CHECK_INT(bl_table_read(NULL, BL_TABLE_FUNCFL, same, 2, &table, &err), BL_INVALID);
    CHECK(strstr(err.text, "(file 2)") != NULL);
    CHECK_INT(bl_table_read(NULL, BL_TABLE_FUNCFL, files + 1, 1, &table, &err), BL_SYNTAX);
    CHECK(!strstr(err.text, "(file"));
}

TEST(numbers_that_make_no_sense_are_refused_when_an_engine_is_made)
{
    static const struct {
        enum bl_table_format format;
        const char *text;
    } cases[] = {
        {BL_TABLE_SW, "Si Si Si -1 2 3 4 5 6 7 8 9 10 11\n"},
        {BL_TABLE_SW, "Si Si Ge 1 2 3 4 5 6 7 8 9 10 11\n"},
        {BL_TABLE_SW, "Ge Ge Ge 1 2 3 4 5 6 7 8 9 10 11\n"},
        {BL_TABLE_TERSOFF, "Si Si Si 2 1.0 1.3258 4.8381 2.0417 0.0 22.956 0.33675 1.3258 95.373 3.0 0.2 3.2394 3264.7\n"},
        {BL_TABLE_TERSOFF, "Si Si Si 3 1.0 1.3258 4.8381 0.0 0.0 22.956 0.33675 1.3258 95.373 3.0 0.2 3.2394 3264.7\n"},
        {BL_TABLE_TERSOFF, "Si Si Si 3 1.0 1.3258 4.8381 2.0417 0.0 22.956 0.33675 1.3258 95.373 3.0 3.2 3.2394 3264.7\n"},
    };
    struct bl_structure s;
    cubic(&s, NULL, "Si", 5.43, 1, diamond_basis, 8);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bl_error err;
        struct bl_engine *e;
        struct bl_table *table = fixture_table(cases[i].format, cases[i].text, strlen(cases[i].text));
        struct bl_potential p = {.table = table};
        p.type = cases[i].format == BL_TABLE_SW ? BL_POTENTIAL_STILLINGER_WEBER : BL_POTENTIAL_TERSOFF;
        CHECK_INT(bl_engine_new(NULL, &s, &p, NULL, &e, &err), BL_INVALID);
        p.type = BL_POTENTIAL_EAM; /* a table of another kind */
        CHECK_INT(bl_engine_new(NULL, &s, &p, NULL, &e, &err), BL_INVALID);
        bl_table_free(table);
    }
    bl_structure_clear(&s);
}

TEST(every_allocation_of_a_reader_may_fail)
{
    struct fixture_text t = fixture_setfl(false);
    static const char funcfl[] = "made\n29 63 3.6 fcc\n6 0.1 6 0.5 3\n0 1 2 3 4 5\n5 4 3 2 1 0\n5 4 3 2 1 0\n";
    const struct {
        enum bl_table_format format;
        const char *data;
        size_t len;
    } files[] = {{BL_TABLE_SETFL, t.data, t.len}, {BL_TABLE_FUNCFL, funcfl, sizeof funcfl - 1},
                 {BL_TABLE_SW, fixture_sw, sizeof fixture_sw - 1},
                 {BL_TABLE_TERSOFF, fixture_tersoff, sizeof fixture_tersoff - 1}};
    for (size_t i = 0; i < 4; i++) {
        for (uint64_t n = 1;; n++) {
            struct bl_quota quota;
            struct bl_error err;
            struct bl_table *table;
            bl_quota_init(&quota, NULL, "memory", 0);
            struct bl_ctx *ctx = bl_ctx_new(&quota);
            bl_quota_fail_nth(&quota, n);
            const enum bl_status status = bl_table_read(ctx, files[i].format, &(struct bl_table_file){files[i].data, files[i].len}, 1,
                    &table, &err);
            bl_quota_fail_nth(&quota, 0);
            if (status == BL_OK) bl_table_free(table);
            bl_ctx_free(ctx);
            CHECK_INT(bl_quota_used(&quota), 0);
            if (status == BL_OK) break;
            CHECK_INT(status, BL_NO_MEMORY);
            REQUIRE(n < 100);
        }
    }
    free(t.data);
}
