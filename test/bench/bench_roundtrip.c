/* SPDX-License-Identifier: Apache-2.0
 *
 * An empty task through the typed C API; the caller and the pool's thread were asleep for IDLE_MS.
 *
 *     bench_roundtrip ROUNDS     prints the median round trip in nanoseconds
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "beamline/runtime.h"

enum { IDLE_MS = 2, MAX_ROUNDS = 100000 };
static uint64_t times[MAX_ROUNDS];

static enum bl_status nothing(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    (void)ctx, (void)arg, (void)err;
    return BL_OK;
}

static bool round_trip(struct bl_pool *pool)
{
    const struct bl_task_spec spec = {.run = nothing};
    struct bl_task *task;
    if (bl_task_submit(pool, &spec, NULL, &task, NULL) != BL_OK) return false;
    const bool ok = bl_task_wait(task, 1000, NULL) == BL_OK;
    bl_task_release(task);
    return ok;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare(const void *a, const void *b) { return (*(const uint64_t *)a > *(const uint64_t *)b) * 2 - 1; }

int main(int argc, char **argv)
{
    const int rounds = argc > 1 && atoi(argv[1]) > 0 && atoi(argv[1]) <= MAX_ROUNDS ? atoi(argv[1]) : 1000;
    struct bl_pool_config config;
    struct bl_pool *pool;
    bl_pool_config_init(&config);
    config.threads = 1;
    if (bl_pool_new(&config, &pool, NULL) != BL_OK) return 1;
    bool ok = true;
    for (int i = 0; i < rounds && ok; i++) {
        nanosleep(&(struct timespec){.tv_nsec = IDLE_MS * 1000000}, NULL);
        const uint64_t begin = now_ns();
        ok = round_trip(pool);
        times[i] = now_ns() - begin;
    }
    bl_pool_close(pool);
    qsort(times, (size_t)rounds, sizeof times[0], compare);
    printf("%llu\n", (unsigned long long)times[rounds / 2]);
    return ok ? 0 : 1;
}
