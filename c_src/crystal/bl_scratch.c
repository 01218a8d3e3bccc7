/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_scratch.h"

#include <string.h>

#include "bl_search.h"

enum bl_status bl_lanes_ready(struct bl_ctx *ctx, struct bl_quota *quota, struct bl_lanes *lanes, struct bl_error *err)
{
    const unsigned count = bl_ctx_lanes(ctx);
    if (count <= lanes->count) return BL_OK;
    struct bl_scratch *scratch = bl_alloc_zero(quota, count * sizeof *scratch, err);
    if (!scratch) return bl_alloc_status(err);
    if (lanes->count > 0) memcpy(scratch, lanes->scratch, lanes->count * sizeof *scratch);
    bl_free(lanes->scratch);
    *lanes = (struct bl_lanes){scratch, count};
    return BL_OK;
}

void bl_lanes_clear(struct bl_lanes *lanes)
{
    for (unsigned i = 0; i < lanes->count; i++) {
        bl_free(lanes->scratch[i].memory);
        bl_free(lanes->scratch[i].site);
    }
    bl_free(lanes->scratch);
    *lanes = (struct bl_lanes){NULL, 0};
}

enum bl_status bl_scratch_room(struct bl_quota *quota, struct bl_scratch *x, size_t neighbours, size_t arrays, struct bl_error *err)
{
    if (neighbours + 8 <= x->room) return BL_OK;
    const size_t room = (2 * neighbours + 16) & ~(size_t)3;
    x->room = 0;
    enum bl_status status = bl_search_room(quota, &x->memory, room * arrays, sizeof(double), err);
    if (status == BL_OK) status = bl_search_room(quota, &x->site, room, sizeof *x->site, err);
    if (status == BL_OK) x->room = room;
    return status;
}
