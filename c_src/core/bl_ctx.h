/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of struct bl_ctx: what the pool sets up and operations see as opaque.
 */
#ifndef BL_CTX_H
#define BL_CTX_H

#include "beamline/core.h"

struct bl_ctx {
    struct bl_quota *quota;
    /* enum bl_status: 0 while the work has a taker, else why not. Set once, by any thread;
     * relaxed, because it only asks to stop and publishes nothing. */
    uint32_t stop;
    unsigned lanes;
    bool in_loop; /* a loop of this context is running: inner ones stay on their thread */
    struct bl_threads *threads;
    /* NULL: loops run on the calling thread. */
    enum bl_status (*parallel_for)(struct bl_ctx *ctx, size_t count, size_t grain, bl_range_fn *body, void *arg, struct bl_error *err);
    /* NULL: nobody listens. */
    void (*progress)(struct bl_ctx *ctx, const struct bl_field *fields, size_t count);
    uint64_t progress_distance_ns, progress_next_ns; /* on bl_now_ns's clock */
};

void bl_ctx_init(struct bl_ctx *ctx, struct bl_quota *quota);
/* 1 to `most` printable ASCII characters: what keys of progress and names of operations are. May be NULL. Looks at most + 1 bytes. */
BL_API bool bl_is_name(const char *name, size_t most);
/* The first reason stays. */
void bl_ctx_stop(struct bl_ctx *ctx, enum bl_status why);
/* Used where there is no pool to help: chunk by chunk, checking in between. */
enum bl_status bl_serial_for(struct bl_ctx *ctx, size_t count, size_t grain, bl_range_fn *body, void *arg, struct bl_error *err);

/* CLOCK_MONOTONIC in nanoseconds. */
BL_API uint64_t bl_now_ns(void);

#endif
