/* SPDX-License-Identifier: Apache-2.0
 *
 * What both readers' fuzz targets do with an input.
 */
#ifndef FUZZ_STRUCTURE_H
#define FUZZ_STRUCTURE_H

#include "beamline/crystal.h"
#include "bl_fuzz.h"

/* Extended XYZ keeps everything: written and read, the numbers are the same bits. */
static void fuzz_round_trip(const struct bl_structure *s)
{
    struct bl_buffer file;
    struct bl_parsed again;
    struct bl_error err;
    bl_buffer_init(&file, s->quota);
    if (bl_crystal_write(NULL, s, BL_FORMAT_EXTXYZ, NULL, &file, &err) == BL_OK) {
        FUZZ_CHECK(bl_crystal_parse(NULL, file.data, file.len, &(struct bl_parse_options){.format = BL_FORMAT_EXTXYZ}, &again,
                &err) == BL_OK);
        FUZZ_CHECK(again.count == 1 && again.frames[0].atoms == s->atoms);
        FUZZ_CHECK(memcmp(again.frames[0].positions, s->positions, 3 * s->atoms * sizeof(double)) == 0);
        bl_parsed_clear(&again);
    }
    file.len = 0;
    if (bl_crystal_write(NULL, s, BL_FORMAT_POSCAR, NULL, &file, &err) == BL_OK) {
        enum bl_status status = bl_crystal_parse(NULL, file.data, file.len, &(struct bl_parse_options){.format = BL_FORMAT_POSCAR},
                &again, &err);
        if (status == BL_OK) {
            FUZZ_CHECK(again.frames[0].atoms == s->atoms);
            bl_parsed_clear(&again);
        }
    }
    for (int format = BL_FORMAT_CIF; format <= BL_FORMAT_LAMMPS; format++) {
        file.len = 0;
        if (bl_crystal_write(NULL, s, (enum bl_format)format, &(struct bl_write_options){.symmetry = true}, &file, &err) != BL_OK) continue;
        const enum bl_status status = bl_crystal_parse(NULL, file.data, file.len,
                &(struct bl_parse_options){.format = (enum bl_format)format},
                &again, &err);
        if (status == BL_OK) bl_parsed_clear(&again);
        else FUZZ_CHECK(status != BL_SYNTAX);
    }
    bl_buffer_clear(&file);
}

static void fuzz_structure_file(const uint8_t *data, size_t size, const struct bl_parse_options *options)
{
    struct bl_quota quota;
    struct bl_parsed parsed;
    struct bl_error err;
    bl_quota_init(&quota, NULL, "memory", (uint64_t)64 << 20);
    struct bl_ctx *ctx = bl_ctx_new(&quota);
    FUZZ_CHECK(ctx != NULL);
    uint8_t *copy = bl_fuzz_copy(data, size);
    const enum bl_status status = bl_crystal_parse(ctx, (const char *)copy, size, options, &parsed, &err);
    free(copy);
    if (status == BL_OK) {
        for (size_t i = 0; i < parsed.count; i++) {
            FUZZ_CHECK(bl_structure_check(&parsed.frames[i], &err) == BL_OK);
            fuzz_round_trip(&parsed.frames[i]);
        }
        bl_parsed_clear(&parsed);
    } else {
        FUZZ_CHECK(err.status == status);
    }
    bl_ctx_free(ctx);
    FUZZ_CHECK(bl_quota_used(&quota) == 0);
}

#endif
