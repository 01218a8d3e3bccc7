/* SPDX-License-Identifier: Apache-2.0
 *
 * Eight threads submit, cancel and wait, a ninth closes pools under their feet and opens new ones. SECS seconds with
 * CHAOS=long (under ThreadSanitizer: `make chaos`), else one.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "beamline/runtime.h"

#include "../core/bl_test.h"

enum { RACERS = 8, POOL_MS = 30 };

static unsigned long add(unsigned long *n) { return __atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST); }
static unsigned long get(unsigned long *n) { return __atomic_load_n(n, __ATOMIC_SEQ_CST); }

struct race {
    struct bl_pool *pool;
    unsigned long accepted, answers, releases;
    unsigned over; /* atomic */
};

struct racer {
    struct race *race;
    pthread_t thread;
    uint64_t state;
};

static enum bl_status run(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    (void)arg;
    for (int i = 0; i < 100; i++) {
        bl_ctx_progress(ctx, &(struct bl_field){.key = "i", .type = BL_FIELD_INT, .value.i = i}, 1);
        const enum bl_status status = bl_ctx_check(ctx, err);
        if (status != BL_OK) return status;
    }
    void *p = bl_alloc(bl_ctx_quota(ctx), 1000, err);
    if (!p) return err->status;
    bl_free(p);
    return BL_OK;
}

static void answer(void *arg, enum bl_status status, const struct bl_error *err)
{
    (void)status, (void)err;
    add(&((struct race *)arg)->answers);
}

static void progress(void *arg, const struct bl_field *fields, size_t count) { (void)arg, (void)fields, (void)count; }
static void release(void *arg) { add(&((struct race *)arg)->releases); }

static void once(struct race *r, uint64_t dice)
{
    const struct bl_task_spec spec = {.run = run, .answer = answer, .progress = progress, .release = release, .arg = r};
    struct bl_task_options options;
    bl_task_options_init(&options);
    options.priority = (enum bl_priority)(dice % 4);
    options.timeout_ms = dice / 4 % 3 == 0 ? dice / 64 % 3 : 1000;
    options.memory_limit = dice / 32 % 2 ? 100 : 0;
    options.progress_ms = 10;
    options.opaque = dice / 16 % 8 == 0;
    struct bl_task *task = NULL;
    if (bl_task_submit(r->pool, &spec, &options, &task, NULL) != BL_OK) return;
    add(&r->accepted);
    if (dice / 1024 % 2) bl_task_cancel(task);
    if (dice / 2048 % 4 == 0) bl_task_wait(task, dice / 8192 % 3, NULL);
    bl_task_release(task);
}

static void *racer(void *arg)
{
    struct racer *self = arg;
    while (!__atomic_load_n(&self->race->over, __ATOMIC_ACQUIRE)) once(self->race, bl_test_random(&self->state));
    return NULL;
}

static enum bl_status run_anchor(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    (void)ctx, (void)arg, (void)err;
    return BL_OK;
}

/* A pool lives until its last task is released; `anchor` keeps it for those who submit to it while it closes. */
static void one_pool(uint64_t seed, unsigned long *tasks)
{
    struct race race = {0};
    struct bl_pool_config config;
    struct bl_task *anchor = NULL;
    bl_pool_config_init(&config);
    config.threads = 4;
    config.max_queue = 64;
    REQUIRE(bl_pool_new(&config, &race.pool, NULL) == BL_OK);
    const struct bl_task_spec spec = {.run = run_anchor};
    REQUIRE(bl_task_submit(race.pool, &spec, NULL, &anchor, NULL) == BL_OK);
    struct racer racers[RACERS];
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.race = &race, .state = seed * RACERS + (uint64_t)i + 1};
        REQUIRE(pthread_create(&racers[i].thread, NULL, racer, &racers[i]) == 0);
    }
    usleep(POOL_MS * 1000);
    bl_pool_close(race.pool);
    usleep(1000); /* some are refused by the closed pool */
    __atomic_store_n(&race.over, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < RACERS; i++) pthread_join(racers[i].thread, NULL);
    CHECK_EVENTUALLY(get(&race.answers) == get(&race.accepted));
    CHECK_EVENTUALLY(get(&race.releases) == get(&race.accepted));
    *tasks += get(&race.accepted);
    bl_task_release(anchor);
}

TEST(submit_cancel_and_close_race_and_each_task_is_answered_and_released_once)
{
    const char *chaos = getenv("CHAOS"), *secs = getenv("SECS");
    const double seconds = chaos && strcmp(chaos, "long") == 0 ? (secs ? atof(secs) : 60) : 1;
    const uint64_t seed = bl_test_seed();
    struct timespec start, now;
    unsigned long tasks = 0, pools = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        one_pool(seed + pools++, &tasks);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - start.tv_sec) < seconds);
    printf("    %lu pools, %lu tasks\n", pools, tasks);
    CHECK(tasks > 0);
}
