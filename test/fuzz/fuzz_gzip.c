/* SPDX-License-Identifier: Apache-2.0
 *
 * Compressed files: broken ones, several members, more than the limit.
 */
#include "bl_fuzz.h"
#include "beamline/crystal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { LIMIT = 100000 };
    struct bl_quota quota;
    struct bl_buffer out;
    struct bl_error err;
    bl_quota_init(&quota, NULL, "memory", (uint64_t)16 << 20);
    struct bl_ctx *ctx = bl_ctx_new(&quota);
    FUZZ_CHECK(ctx != NULL);
    bl_buffer_init(&out, &quota);
    uint8_t *copy = bl_fuzz_copy(data, size);
    const enum bl_status status = bl_gunzip(ctx, (const char *)copy, size, LIMIT, &out, &err);
    FUZZ_CHECK(status == BL_OK ? out.len <= LIMIT : out.len == 0 && err.status == status);
    free(copy);
    bl_buffer_clear(&out);
    bl_ctx_free(ctx);
    FUZZ_CHECK(bl_quota_used(&quota) == 0);
    return 0;
}
