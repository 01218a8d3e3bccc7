/* SPDX-License-Identifier: Apache-2.0
 *
 * One parallel loop: chunks dealt out to lanes, taken from the front by the lane's thread,
 * stolen from the back by the others.
 *
 *     lane 0  [ lo ....... hi )     own thread: lo -> lo + 1
 *     lane 1  [ lo ....... hi )     thief: keeps the upper half, leaves [ lo .. mid )
 *
 * A lane's (lo, hi) is one 64-bit word, changed by compare-and-swap. No ABA: a lane gets
 * a new range only when it is empty, and a chunk that was taken never comes back.
 */
#ifndef BL_LOOP_H
#define BL_LOOP_H

#include "beamline/core.h"
#include "bl_list.h"

enum { BL_LANES_MAX = 256 };

struct bl_lane {
    _Alignas(64) uint64_t range; /* lo in the low half */
    bool busy;                   /* under the threads' lock */
};

struct bl_loop {
    struct bl_link link;
    struct bl_ctx *ctx;
    bl_range_fn *body;
    void *arg;
    size_t count, grain;
    uint32_t chunks;
    unsigned lanes;
    uint32_t helpers;  /* threads inside beside the caller's; futex word */
    uint32_t failed;   /* set by the first failure: stop taking chunks */
    struct bl_error error;
    struct bl_lane lane[BL_LANES_MAX];
};

void bl_loop_init(struct bl_loop *loop, struct bl_ctx *ctx, unsigned lanes, size_t count, size_t grain, bl_range_fn *body, void *arg);
/* Runs chunks until none is left, the loop failed, or `leave` (may be NULL) becomes non-zero. */
void bl_loop_run(struct bl_loop *loop, unsigned lane, const uint32_t *leave);
/* Something left that a helper could take. */
bool bl_loop_has_work(const struct bl_loop *loop);

#endif
