/* SPDX-License-Identifier: Apache-2.0
 *
 * The same work as floor_pthreads, on pools of one and of two threads: as one task that
 * uses bl_parallel_for, and as many independent tasks.
 *
 *     bench_scaling loop | tasks     prints nanoseconds on one thread, and on two
 */
#include <stdio.h>
#include <string.h>

#include "beamline/runtime.h"
#include "compute_loop.h"

enum { REPEATS = 5, TASKS = 200 };

static uint64_t sums[TASKS]; /* so that the work is not optimised away */

static enum bl_status body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    (void)lane, (void)err;
    __atomic_fetch_add((uint64_t *)arg, compute_loop(begin, end), __ATOMIC_RELAXED);
    return BL_OK;
}

static enum bl_status run_loop(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    return bl_parallel_for(ctx, COMPUTE_ELEMENTS, 0, body, arg, err);
}

static enum bl_status run_part(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    (void)ctx, (void)err;
    uint64_t *sum = arg;
    const size_t i = (size_t)(sum - sums);
    *sum = compute_loop(COMPUTE_ELEMENTS * i / TASKS, COMPUTE_ELEMENTS * (i + 1) / TASKS);
    return BL_OK;
}

/* Nanoseconds from the first submission to the last answer; 0: it failed. */
static uint64_t timed(struct bl_pool *pool, size_t tasks)
{
    struct bl_task *submitted[TASKS];
    struct bl_task_options options;
    bool ok = true;
    bl_task_options_init(&options);
    const uint64_t begin = compute_now_ns();
    for (size_t i = 0; i < tasks; i++) {
        const struct bl_task_spec spec = {.run = tasks == 1 ? run_loop : run_part, .arg = &sums[i]};
        if (bl_task_submit(pool, &spec, &options, &submitted[i], NULL) != BL_OK) return 0;
    }
    for (size_t i = 0; i < tasks; i++) {
        ok = bl_task_wait(submitted[i], 60000, NULL) == BL_OK && ok;
        bl_task_release(submitted[i]);
    }
    return ok ? compute_now_ns() - begin : 0;
}

int main(int argc, char **argv)
{
    const size_t tasks = argc > 1 && strcmp(argv[1], "tasks") == 0 ? TASKS : 1;
    uint64_t best[2] = {UINT64_MAX, UINT64_MAX};
    struct bl_pool *pools[2];
    for (unsigned i = 0; i < 2; i++) {
        struct bl_pool_config config;
        bl_pool_config_init(&config);
        config.threads = i + 1;
        if (bl_pool_new(&config, &pools[i], NULL) != BL_OK) return 1;
    }
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        for (unsigned i = 0; i < 2; i++) {
            const uint64_t time = timed(pools[i], tasks);
            if (time == 0) return 1;
            if (time < best[i]) best[i] = time;
        }
    }
    printf("%llu %llu\n", (unsigned long long)best[0], (unsigned long long)best[1]);
    for (unsigned i = 0; i < 2; i++) bl_pool_close(pools[i]);
    return 0;
}
