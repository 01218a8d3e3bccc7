/* SPDX-License-Identifier: Apache-2.0
 *
 * The readers of potential files. First byte: the format, and whether the file stands twice (funcfl). What is accepted
 * must serve an engine, or be refused by it; nothing may leak, whatever is refused.
 */
#include "beamline/crystal.h"
#include "bl_fuzz.h"

/* Three atoms of every kind that the table knows first. */
static void try_engine(struct bl_ctx *ctx, const struct bl_table *table, enum bl_table_format format)
{
    struct bl_structure s;
    struct bl_error err;
    struct bl_engine *e;
    uint32_t index;
    double forces[9];
    struct bl_energies out = {.forces = forces};
    bl_structure_init(&s, bl_ctx_quota(ctx));
    enum bl_status status = bl_structure_allocate(&s, 3, NULL, &err);
    for (size_t i = 0; status == BL_OK && i < 3; i++) {
        const char *name = bl_table_element(table, i % bl_table_elements(table));
        status = bl_structure_species(&s, name, strlen(name), &index, &err);
        if (status != BL_OK) break;
        s.types[i] = index;
        s.positions[3 * i] = 2.3 * (double)i;
        s.positions[3 * i + 1] = 0.4 * (double)(i * i);
    }
    const struct bl_potential p = {.type = format == BL_TABLE_SW ? BL_POTENTIAL_STILLINGER_WEBER :
                                           format == BL_TABLE_TERSOFF ? BL_POTENTIAL_TERSOFF : BL_POTENTIAL_EAM, .table = table};
    if (status == BL_OK && bl_engine_new(ctx, &s, &p, NULL, &e, &err) == BL_OK) {
        status = bl_engine_compute(ctx, e, s.positions, 7, &out, &err);
        for (int i = 0; status == BL_OK && i < 9; i++) FUZZ_CHECK(forces[i] - forces[i] == 0);
        bl_engine_free(e);
    }
    bl_structure_clear(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_fuzz in = {data, size};
    const uint8_t choice = bl_fuzz_byte(&in);
    const enum bl_table_format format = (enum bl_table_format)(1 + choice % 5);
    struct bl_quota quota;
    struct bl_table *table;
    struct bl_error err;
    bl_quota_init(&quota, NULL, "memory", (uint64_t)64 << 20);
    struct bl_ctx *ctx = bl_ctx_new(&quota);
    FUZZ_CHECK(ctx != NULL);
    char *copy = (char *)bl_fuzz_copy(in.data, in.size);
    const struct bl_table_file files[] = {{copy, in.size / 2}, {copy + in.size / 2, in.size - in.size / 2}};
    const struct bl_table_file whole = {copy, in.size};
    const bool two = choice >= 128;
    const enum bl_status status = bl_table_read(ctx, format, two ? files : &whole, two ? 2 : 1, &table, &err);
    free(copy);
    if (status == BL_OK) {
        FUZZ_CHECK(bl_table_elements(table) > 0);
        try_engine(ctx, table, format);
        bl_table_free(table);
    } else {
        FUZZ_CHECK(err.status == status);
    }
    bl_ctx_free(ctx);
    FUZZ_CHECK(bl_quota_used(&quota) == 0);
    return 0;
}
