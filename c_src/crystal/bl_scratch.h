/* SPDX-License-Identifier: Apache-2.0
 *
 * Scratch for one home and its neighbours, one for each lane of a loop.
 */
#ifndef BL_SCRATCH_H
#define BL_SCRATCH_H

#include "beamline/core.h"

/* Arrays of `room`, a multiple of 4. */
struct bl_scratch {
    size_t room;
    double *memory;
    uint32_t *site;
};
struct bl_lanes {
    struct bl_scratch *scratch;
    unsigned count;
};

/* Before a loop: as many as the context has lanes. */
enum bl_status bl_lanes_ready(struct bl_ctx *ctx, struct bl_quota *quota, struct bl_lanes *lanes, struct bl_error *err);
void bl_lanes_clear(struct bl_lanes *lanes);
/* In a lane: room for a row of so many neighbours and 8 more, in `arrays` arrays; contents are lost. */
enum bl_status bl_scratch_room(struct bl_quota *quota, struct bl_scratch *x, size_t neighbours, size_t arrays, struct bl_error *err);

#endif
