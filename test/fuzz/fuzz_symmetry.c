/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations, Hall symbols and names of space groups: what is understood is a group, and is
 * written as it is read.
 */
#include "bl_fuzz.h"
#include "beamline/crystal.h"

static void check_group(struct bl_symmetry *s)
{
    FUZZ_CHECK(s->count > 0 && s->count <= BL_SYMOPS_MAX);
    for (size_t i = 0; i < s->count && i < 64; i++) {
        char text[BL_SYMOP_SIZE];
        struct bl_symop again;
        const size_t len = bl_symop_format(&s->ops[i], text);
        FUZZ_CHECK(bl_symop_parse(text, len, &again, NULL) == BL_OK && bl_symop_equal(&again, &s->ops[i]));
    }
    bl_symmetry_clear(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_symmetry s;
    struct bl_symop op;
    struct bl_quota quota;
    bl_quota_init(&quota, NULL, "memory", (uint64_t)16 << 20);
    char *copy = (char *)bl_fuzz_copy(data, size);
    if (bl_symmetry_from_hall(copy, size, &quota, &s, NULL) == BL_OK) check_group(&s);
    if (bl_symmetry_from_name(copy, size, &quota, &s, NULL) == BL_OK) check_group(&s);
    if (bl_symop_parse(copy, size, &op, NULL) == BL_OK && bl_symmetry_from_ops(&op, 1, &quota, &s, NULL) == BL_OK) check_group(&s);
    free(copy);
    FUZZ_CHECK(bl_quota_used(&quota) == 0);
    return 0;
}
