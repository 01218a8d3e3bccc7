/* SPDX-License-Identifier: Apache-2.0
 *
 * The task engine through its C face (include/beamline/runtime.h). Also run under ThreadSanitizer.
 */
#include <pthread.h>

#include "beamline/runtime.h"
#include "../core/bl_test.h"

enum { SHORT_MS = 20, LONG_MS = 5000 };

/* ---- jobs that tests use ------------------------------------------------------- */

struct probe {
    unsigned started, ended, answers, releases, progress, late_progress; /* atomic */
    uint32_t open;                                                       /* `run` ends when set */
    enum bl_status status;
    unsigned order, *clock;
};

static unsigned add(unsigned *n) { return __atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST); }
static unsigned get(unsigned *n) { return __atomic_load_n(n, __ATOMIC_SEQ_CST); }
static void pause_1ms(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

static enum bl_status run_at_once(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    struct probe *p = arg;
    (void)ctx, (void)err;
    if (p->clock) p->order = add(p->clock);
    add(&p->started);
    add(&p->ended);
    return BL_OK;
}

/* Runs until opened or asked to stop. */
static enum bl_status run_until_open(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    struct probe *p = arg;
    enum bl_status status = BL_OK;
    add(&p->started);
    while (!__atomic_load_n(&p->open, __ATOMIC_SEQ_CST) && (status = bl_ctx_check(ctx, err)) == BL_OK) {
        bl_ctx_progress(ctx, &(struct bl_field){.key = "n", .type = BL_FIELD_INT, .value.i = 1}, 1);
        pause_1ms();
    }
    add(&p->ended);
    return status;
}

/* Cannot be asked to stop. */
static enum bl_status run_deaf(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    struct probe *p = arg;
    (void)ctx, (void)err;
    add(&p->started);
    while (!__atomic_load_n(&p->open, __ATOMIC_SEQ_CST)) pause_1ms();
    add(&p->ended);
    return BL_OK;
}

static void on_answer(void *arg, enum bl_status status, const struct bl_error *err)
{
    struct probe *p = arg;
    (void)err;
    p->status = status;
    add(&p->answers);
}

static void on_progress(void *arg, const struct bl_field *fields, size_t count)
{
    struct probe *p = arg;
    (void)fields, (void)count;
    add(&p->progress);
    if (get(&p->answers) > 0) add(&p->late_progress);
}

static void on_release(void *arg) { add(&((struct probe *)arg)->releases); }

typedef enum bl_status run_fn(struct bl_ctx *ctx, void *arg, struct bl_error *err);

static struct bl_task_spec spec_of(run_fn *run, struct probe *p)
{
    return (struct bl_task_spec){.run = run, .answer = on_answer, .progress = on_progress, .release = on_release, .arg = p};
}

static struct bl_pool *new_pool(unsigned threads, size_t max_queue)
{
    struct bl_pool_config config;
    struct bl_pool *pool = NULL;
    bl_pool_config_init(&config);
    config.threads = threads;
    config.max_queue = max_queue;
    config.ageing_ms = 1000000;
    CHECK_INT(bl_pool_new(&config, &pool, NULL), BL_OK);
    return pool;
}

static struct bl_task_options options_of(enum bl_priority priority, uint64_t timeout_ms)
{
    struct bl_task_options options;
    bl_task_options_init(&options);
    options.priority = priority;
    options.timeout_ms = timeout_ms;
    return options;
}

static enum bl_status submit(struct bl_pool *pool, run_fn *run, struct probe *p, struct bl_task_options options, struct bl_task **out)
{
    const struct bl_task_spec spec = spec_of(run, p);
    return bl_task_submit(pool, &spec, &options, out, NULL);
}

/* Keeps the only thread of a pool busy. */
static void block(struct bl_pool *pool, struct probe *p)
{
    CHECK_INT(submit(pool, run_until_open, p, options_of(BL_NORMAL, BL_NO_TIMEOUT), NULL), BL_OK);
    CHECK_EVENTUALLY(get(&p->started) == 1);
}

static void open_probe(struct probe *p) { __atomic_store_n(&p->open, 1, __ATOMIC_SEQ_CST); }

/* ---- one task ---------------------------------------------------------------------- */

TEST(a_task_runs_is_answered_once_and_is_released)
{
    struct bl_pool *pool = new_pool(2, 10);
    struct probe p = {0};
    struct bl_task *task = NULL;
    CHECK_INT(submit(pool, run_at_once, &p, options_of(BL_NORMAL, LONG_MS), &task), BL_OK);
    CHECK_INT(bl_task_wait(task, LONG_MS, NULL), BL_OK);
    CHECK_INT(get(&p.releases), 0);
    bl_task_release(task);
    CHECK_EVENTUALLY(get(&p.releases) == 1);
    CHECK_INT(get(&p.answers), 1);
    bl_pool_close(pool);
}

TEST(the_error_of_an_operation_is_the_answer)
{
    struct bl_pool *pool = new_pool(1, 10);
    struct bl_error err = {.status = BL_OK};
    struct bl_task *task = NULL;
    struct probe p = {.open = 0};
    CHECK_INT(submit(pool, run_until_open, &p, options_of(BL_NORMAL, SHORT_MS), &task), BL_OK);
    CHECK_INT(bl_task_wait(task, LONG_MS, &err), BL_TIMEOUT);
    CHECK_INT(err.status, BL_TIMEOUT);
    bl_task_release(task);
    bl_pool_close(pool);
    CHECK_EVENTUALLY(get(&p.releases) == 1);
}

TEST(waiting_for_an_answer_is_bounded)
{
    struct bl_pool *pool = new_pool(1, 10);
    struct probe p = {0};
    struct bl_task *task = NULL;
    CHECK_INT(submit(pool, run_until_open, &p, options_of(BL_NORMAL, BL_NO_TIMEOUT), &task), BL_OK);
    CHECK_INT(bl_task_wait(task, SHORT_MS, NULL), BL_BUSY);
    open_probe(&p);
    CHECK_INT(bl_task_wait(task, LONG_MS, NULL), BL_OK);
    bl_task_release(task);
    bl_pool_close(pool);
    CHECK_EVENTUALLY(get(&p.releases) == 1);
}

TEST(a_waiting_task_is_answered_at_its_deadline_and_never_runs)
{
    struct bl_pool *pool = new_pool(1, 10);
    struct probe blocker = {0}, p = {0};
    block(pool, &blocker);
    struct bl_task *task = NULL;
    CHECK_INT(submit(pool, run_at_once, &p, options_of(BL_NORMAL, SHORT_MS), &task), BL_OK);
    CHECK_INT(bl_task_wait(task, LONG_MS, NULL), BL_TIMEOUT);
    bl_task_release(task);
    CHECK_EVENTUALLY(get(&p.releases) == 1); /* gone at once, not when a thread comes by */
    CHECK_INT(get(&blocker.ended), 0);
    open_probe(&blocker);
    CHECK_EVENTUALLY(get(&blocker.releases) == 1);
    CHECK_INT(get(&p.started), 0);
    bl_pool_close(pool);
}

TEST(a_deadline_beyond_one_turn_of_the_wheel_is_kept)
{
    struct bl_pool *pool = new_pool(1, 10);
    struct probe p = {0};
    struct bl_task *task = NULL;
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    CHECK_INT(submit(pool, run_until_open, &p, options_of(BL_NORMAL, 1500), &task), BL_OK);
    CHECK_INT(bl_task_wait(task, LONG_MS, NULL), BL_TIMEOUT);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    const double ms = (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e6;
    CHECK(ms >= 1500 && ms < 1900);
    bl_task_release(task);
    bl_pool_close(pool);
    CHECK_EVENTUALLY(get(&p.releases) == 1);
}

TEST(cancel_answers_a_running_task_at_once_and_only_once)
{
    struct bl_pool *pool = new_pool(1, 10);
    struct probe p = {0};
    struct bl_task *task = NULL;
    CHECK_INT(submit(pool, run_until_open, &p, options_of(BL_NORMAL, BL_NO_TIMEOUT), &task), BL_OK);
    CHECK_EVENTUALLY(get(&p.started) == 1);
    CHECK(bl_task_cancel(task));
    CHECK_INT(bl_task_wait(task, 0, NULL), BL_CANCELLED);
    CHECK(!bl_task_cancel(task));
    CHECK_EVENTUALLY(get(&p.ended) == 1);
    bl_task_release(task);
    bl_pool_close(pool);
    CHECK_EVENTUALLY(get(&p.releases) == 1);
    CHECK_INT(get(&p.answers), 1);
}

TEST(no_progress_comes_after_the_answer)
{
    struct bl_pool *pool = new_pool(2, 100);
    for (int i = 0; i < 20; i++) {
        struct probe p = {0};
        struct bl_task_options options = options_of(BL_NORMAL, 15);
        struct bl_task *task = NULL;
        options.progress_ms = 10;
        CHECK_INT(submit(pool, run_until_open, &p, options, &task), BL_OK);
        CHECK_INT(bl_task_wait(task, LONG_MS, NULL), BL_TIMEOUT);
        bl_task_release(task);
        CHECK_EVENTUALLY(get(&p.releases) == 1);
        CHECK(get(&p.progress) >= 1 && get(&p.progress) <= 3);
        CHECK_INT(get(&p.late_progress), 0);
    }
    bl_pool_close(pool);
}

/* ---- bounds ------------------------------------------------------------------------- */

TEST(a_full_queue_refuses_and_takes_nothing)
{
    struct bl_pool *pool = new_pool(1, 2);
    struct probe blocker = {0}, p[3] = {0};
    block(pool, &blocker);
    const struct bl_task_options options = options_of(BL_NORMAL, BL_NO_TIMEOUT);
    CHECK_INT(submit(pool, run_at_once, &p[0], options, NULL), BL_OK);
    CHECK_INT(submit(pool, run_at_once, &p[1], options, NULL), BL_OK);
    const struct bl_task_spec spec = spec_of(run_at_once, &p[2]);
    struct bl_error err = {.status = BL_OK};
    CHECK_INT(bl_task_submit(pool, &spec, &options, NULL, &err), BL_BUSY);
    CHECK(err.retry_after_ms >= 1);
    open_probe(&blocker);
    CHECK_EVENTUALLY(get(&p[1].releases) == 1);
    CHECK_INT(get(&p[2].answers) + get(&p[2].releases), 0);
    struct bl_pool_stats stats;
    bl_pool_stats(pool, &stats);
    CHECK_INT(stats.refused_queue, 1);
    CHECK_INT(stats.queued[BL_NORMAL], 0);
    bl_pool_close(pool);
    CHECK_EVENTUALLY(get(&blocker.releases) == 1);
}

TEST(argument_bytes_are_bounded_too)
{
    struct bl_pool_config config;
    struct bl_pool *pool = NULL;
    bl_pool_config_init(&config);
    config.threads = 1;
    config.max_queue_bytes = 1000;
    REQUIRE(bl_pool_new(&config, &pool, NULL) == BL_OK);
    struct probe a = {0}, b = {0};
    struct bl_task_options options = options_of(BL_NORMAL, BL_NO_TIMEOUT);
    options.argument_bytes = 600;
    CHECK_INT(submit(pool, run_until_open, &a, options, NULL), BL_OK);
    CHECK_INT(submit(pool, run_at_once, &b, options, NULL), BL_BUSY);
    options.argument_bytes = UINT64_MAX - 100; /* with the other's it is 499 */
    CHECK_INT(submit(pool, run_at_once, &b, options, NULL), BL_BUSY);
    options.argument_bytes = 400; /* exactly what is left */
    CHECK_INT(submit(pool, run_at_once, &b, options, NULL), BL_OK);
    open_probe(&a);
    CHECK_EVENTUALLY(get(&a.releases) == 1);
    CHECK_EVENTUALLY(get(&b.releases) == 1);
    options.argument_bytes = 1000;
    b = (struct probe){0};
    CHECK_INT(submit(pool, run_at_once, &b, options, NULL), BL_OK);
    CHECK_EVENTUALLY(get(&b.releases) == 1);
    bl_pool_close(pool);
}

static enum bl_status run_hungry(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    (void)arg;
    void *small = bl_alloc(bl_ctx_quota(ctx), 1000, err);
    void *large = small ? bl_alloc(bl_ctx_quota(ctx), 1000000, err) : NULL;
    const enum bl_status status = large ? BL_OK : err->status;
    bl_free(large);
    bl_free(small);
    return status;
}

TEST(a_task_cannot_allocate_beyond_its_quota)
{
    struct bl_pool *pool = new_pool(1, 10);
    struct probe p = {0};
    struct bl_task_options options = options_of(BL_NORMAL, LONG_MS);
    struct bl_task *task = NULL;
    struct bl_error err;
    options.memory_limit = 5000;
    CHECK_INT(submit(pool, run_hungry, &p, options, &task), BL_OK);
    CHECK_INT(bl_task_wait(task, LONG_MS, &err), BL_LIMIT);
    CHECK_TEXT(err.subject, "memory");
    CHECK_INT(err.limit, 5000);
    bl_task_release(task);
    struct bl_pool_stats stats;
    bl_pool_stats(pool, &stats);
    CHECK_INT(stats.memory_bytes, 0);
    bl_pool_close(pool);
    CHECK_EVENTUALLY(get(&p.releases) == 1);
}

TEST(wrong_configurations_are_refused_with_the_field)
{
    struct bl_pool_config config;
    struct bl_pool *pool = NULL;
    struct bl_error err;
    bl_pool_config_init(&config);
    config.threads = 100000;
    CHECK_INT(bl_pool_new(&config, &pool, &err), BL_INVALID);
    CHECK_TEXT(err.subject, "threads");
    bl_pool_config_init(&config);
    config.stack_bytes = 1;
    CHECK_INT(bl_pool_new(&config, &pool, &err), BL_INVALID);
    CHECK_TEXT(err.subject, "stack_size");
    CHECK(pool == NULL);
}

/* ---- order ----------------------------------------------------------------------------- */

TEST(higher_classes_go_first_and_a_class_keeps_its_order)
{
    struct bl_pool *pool = new_pool(1, 100);
    unsigned clock = 0;
    struct probe blocker = {0}, p[8] = {0};
    const enum bl_priority class[8] = {BL_LOW, BL_NORMAL, BL_HIGH, BL_CRITICAL, BL_LOW, BL_NORMAL, BL_HIGH, BL_CRITICAL};
    const unsigned expected[8] = {7, 5, 3, 1, 8, 6, 4, 2};
    block(pool, &blocker);
    for (int i = 0; i < 8; i++) {
        p[i].clock = &clock;
        CHECK_INT(submit(pool, run_at_once, &p[i], options_of(class[i], BL_NO_TIMEOUT), NULL), BL_OK);
    }
    open_probe(&blocker);
    for (int i = 0; i < 8; i++) CHECK_EVENTUALLY(get(&p[i].releases) == 1);
    for (int i = 0; i < 8; i++) CHECK_INT(p[i].order, expected[i]);
    bl_pool_close(pool);
    CHECK_EVENTUALLY(get(&blocker.releases) == 1);
}

TEST(an_aged_task_is_overtaken_sixteen_times_at_most)
{
    enum { MANY = 100 };
    struct bl_pool_config config;
    struct bl_pool *pool = NULL;
    bl_pool_config_init(&config);
    config.threads = 1;
    config.ageing_ms = 10;
    REQUIRE(bl_pool_new(&config, &pool, NULL) == BL_OK);
    unsigned clock = 0;
    struct probe blocker = {0}, low = {.clock = &clock}, critical[MANY] = {0};
    block(pool, &blocker);
    CHECK_INT(submit(pool, run_at_once, &low, options_of(BL_LOW, BL_NO_TIMEOUT), NULL), BL_OK);
    for (int i = 0; i < MANY; i++) {
        critical[i].clock = &clock;
        CHECK_INT(submit(pool, run_at_once, &critical[i], options_of(BL_CRITICAL, BL_NO_TIMEOUT), NULL), BL_OK);
    }
    for (int i = 0; i < 20; i++) pause_1ms();
    open_probe(&blocker);
    CHECK_EVENTUALLY(get(&low.releases) == 1);
    CHECK(low.order <= 17);
    bl_pool_close(pool);
    CHECK_EVENTUALLY(get(&blocker.releases) == 1);
    for (int i = 0; i < MANY; i++) CHECK_EVENTUALLY(get(&critical[i].releases) == 1);
}

/* ---- operations that do not listen ---------------------------------------------------------- */

TEST(an_opaque_task_is_answered_in_time_and_another_thread_stands_in)
{
    struct bl_pool *pool = new_pool(1, 10);
    struct probe deaf = {0}, second = {0}, next = {0};
    struct bl_task_options options = options_of(BL_NORMAL, SHORT_MS);
    struct bl_task *task = NULL;
    struct bl_pool_stats stats;
    options.opaque = true;
    CHECK_INT(submit(pool, run_deaf, &deaf, options, &task), BL_OK);
    CHECK_INT(bl_task_wait(task, LONG_MS, NULL), BL_TIMEOUT);
    bl_pool_stats(pool, &stats);
    CHECK_INT(stats.behind, 1);
    CHECK_INT(stats.running, 0);
    CHECK_INT(submit(pool, run_at_once, &next, options_of(BL_NORMAL, LONG_MS), NULL), BL_OK);
    CHECK_EVENTUALLY(get(&next.answers) == 1);
    CHECK_INT(next.status, BL_OK);
    CHECK_INT(submit(pool, run_deaf, &second, options, NULL), BL_BUSY); /* max_behind is 1 here */
    open_probe(&deaf);
    CHECK_EVENTUALLY((bl_pool_stats(pool, &stats), stats.behind == 0));
    bl_task_release(task);
    CHECK_EVENTUALLY(get(&deaf.releases) == 1);
    CHECK_INT(get(&deaf.answers), 1);
    bl_pool_close(pool);
    CHECK_EVENTUALLY(get(&next.releases) == 1);
}

TEST(closing_answers_everything_and_waits_for_nothing)
{
    enum { MANY = 50 };
    struct bl_pool *pool = new_pool(2, 100);
    struct probe p[MANY] = {0};
    for (int i = 0; i < MANY; i++)
        CHECK_INT(submit(pool, run_until_open, &p[i], options_of(BL_NORMAL, BL_NO_TIMEOUT), NULL), BL_OK);
    CHECK_EVENTUALLY(get(&p[0].started) == 1);
    bl_pool_close(pool);
    for (int i = 0; i < MANY; i++) {
        CHECK_INT(get(&p[i].answers), 1);
        CHECK_INT(p[i].status, BL_CLOSED);
        CHECK_EVENTUALLY(get(&p[i].releases) == 1);
    }
}

/* ---- loops -------------------------------------------------------------------------------------- */

enum { CELLS = 100000 };

struct loop_job {
    uint8_t *seen;
    size_t fail_at;
    unsigned lanes_used[64];
    enum bl_status expected;
};

static enum bl_status mark(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    struct loop_job *job = arg;
    CHECK(lane < 64);
    add(&job->lanes_used[lane]);
    for (size_t i = begin; i < end; i++) {
        if (i == job->fail_at) return bl_fail_invalid(err, "cell", "number %zu", i);
        __atomic_add_fetch(&job->seen[i], 1, __ATOMIC_RELAXED);
    }
    return BL_OK;
}

static enum bl_status run_loop(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    CHECK(bl_ctx_lanes(ctx) == 4);
    return bl_parallel_for(ctx, CELLS, 100, mark, arg, err);
}

static void loop_with(struct loop_job *job, struct bl_error *err)
{
    struct bl_pool *pool = new_pool(4, 10);
    struct bl_task *task = NULL;
    const struct bl_task_spec spec = {.run = run_loop, .arg = job};
    REQUIRE((job->seen = calloc(CELLS, 1)) != NULL);
    CHECK_INT(bl_task_submit(pool, &spec, NULL, &task, NULL), BL_OK);
    CHECK_INT(bl_task_wait(task, LONG_MS, err), job->expected);
    bl_task_release(task);
    bl_pool_close(pool);
}

TEST(a_parallel_loop_visits_every_index_once)
{
    struct loop_job job = {.fail_at = SIZE_MAX, .expected = BL_OK};
    for (int round = 0; round < 20; round++) {
        loop_with(&job, NULL);
        size_t wrong = 0;
        for (size_t i = 0; i < CELLS; i++) wrong += job.seen[i] != 1;
        CHECK_INT(wrong, 0);
        free(job.seen);
    }
}

TEST(the_first_failure_of_a_parallel_loop_is_its_result)
{
    struct loop_job job = {.fail_at = CELLS / 2, .expected = BL_INVALID};
    struct bl_error err;
    loop_with(&job, &err);
    CHECK_TEXT(err.text, "number 50000");
    free(job.seen);
}

static enum bl_status add_range(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    (void)lane, (void)err;
    for (size_t i = begin; i < end; i++) __atomic_add_fetch((uint64_t *)arg, i, __ATOMIC_RELAXED);
    return BL_OK;
}

struct nest {
    struct bl_ctx *ctx;
    uint64_t sum;
};

static enum bl_status nested(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    struct nest *n = arg;
    (void)lane;
    enum bl_status status = BL_OK;
    for (size_t i = begin; i < end && status == BL_OK; i++) status = bl_parallel_for(n->ctx, 100, 10, add_range, &n->sum, err);
    return status;
}

static enum bl_status run_nested(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    struct nest *n = arg;
    n->ctx = ctx;
    return bl_parallel_for(ctx, 50, 1, nested, n, err);
}

TEST(an_inner_loop_runs_on_its_thread)
{
    struct bl_pool *pool = new_pool(3, 10);
    struct nest n = {0};
    struct bl_task *task = NULL;
    const struct bl_task_spec spec = {.run = run_nested, .arg = &n};
    CHECK_INT(bl_task_submit(pool, &spec, NULL, &task, NULL), BL_OK);
    CHECK_INT(bl_task_wait(task, LONG_MS, NULL), BL_OK);
    CHECK_INT(n.sum, 50 * 4950);
    bl_task_release(task);
    bl_pool_close(pool);
}

static enum bl_status slow(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    (void)begin, (void)end, (void)lane, (void)err;
    add(arg);
    pause_1ms();
    return BL_OK;
}

static enum bl_status run_slow_loop(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    return bl_parallel_for(ctx, 100000, 1, slow, &((struct probe *)arg)->started, err);
}

TEST(a_cancelled_loop_stops_soon)
{
    struct bl_pool *pool = new_pool(2, 10);
    struct probe p = {0};
    struct bl_task *task = NULL;
    CHECK_INT(submit(pool, run_slow_loop, &p, options_of(BL_NORMAL, BL_NO_TIMEOUT), &task), BL_OK);
    CHECK_EVENTUALLY(get(&p.started) > 3);
    CHECK(bl_task_cancel(task));
    bl_task_release(task);
    CHECK_EVENTUALLY(get(&p.releases) == 1);
    bl_pool_close(pool);
}

/* ---- races -------------------------------------------------------------------------------------- */

enum { RACERS = 8, ROUNDS = 3000 };

struct race {
    struct bl_pool *pool;
    unsigned answers, releases, accepted, runs;
    uint64_t seed;
};

static enum bl_status race_run(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    struct race *r = arg;
    add(&r->runs);
    for (int i = 0; i < 200; i++) {
        bl_ctx_progress(ctx, &(struct bl_field){.key = "i", .type = BL_FIELD_INT, .value.i = i}, 1);
        const enum bl_status status = bl_ctx_check(ctx, err);
        if (status != BL_OK) return status;
    }
    return BL_OK;
}

static void race_answer(void *arg, enum bl_status status, const struct bl_error *err)
{
    (void)status, (void)err;
    add(&((struct race *)arg)->answers);
}

static void race_progress(void *arg, const struct bl_field *fields, size_t count) { (void)arg, (void)fields, (void)count; }
static void race_release(void *arg) { add(&((struct race *)arg)->releases); }

static void *racer(void *arg)
{
    struct race *r = arg;
    uint64_t state = __atomic_add_fetch(&r->seed, 0x1234567, __ATOMIC_RELAXED);
    for (int i = 0; i < ROUNDS; i++) {
        const uint64_t dice = bl_test_random(&state);
        const struct bl_task_spec spec = {
            .run = race_run, .answer = race_answer, .progress = race_progress, .release = race_release, .arg = r};
        struct bl_task_options options = options_of((enum bl_priority)(dice % 4), dice / 4 % 3 == 0 ? dice / 64 % 3 : 1000);
        options.progress_ms = 10;
        options.opaque = dice / 16 % 8 == 0;
        struct bl_task *task = NULL;
        if (bl_task_submit(r->pool, &spec, &options, &task, NULL) != BL_OK) continue;
        add(&r->accepted);
        if (dice / 1024 % 2) bl_task_cancel(task);
        if (dice / 2048 % 4 == 0) bl_task_wait(task, dice / 8192 % 3, NULL);
        bl_task_release(task);
    }
    return NULL;
}

static void race(bool close_early)
{
    struct race r = {.seed = bl_test_seed()};
    r.pool = new_pool(4, 64);
    /* A pool may be closed while others submit: they keep it alive by a reference of their own, here a task. */
    struct probe anchor = {0};
    struct bl_task *held = NULL;
    CHECK_INT(submit(r.pool, run_at_once, &anchor, options_of(BL_NORMAL, LONG_MS), &held), BL_OK);
    pthread_t thread[RACERS];
    for (int i = 0; i < RACERS; i++) REQUIRE(pthread_create(&thread[i], NULL, racer, &r) == 0);
    if (close_early) {
        CHECK_EVENTUALLY(get(&r.accepted) > ROUNDS);
        bl_pool_close(r.pool);
    }
    for (int i = 0; i < RACERS; i++) pthread_join(thread[i], NULL);
    CHECK_EVENTUALLY(get(&r.answers) == get(&r.accepted));
    CHECK_EVENTUALLY(get(&r.releases) == get(&r.accepted));
    if (!close_early) {
        struct bl_pool_stats s;
        CHECK_EVENTUALLY((bl_pool_stats(r.pool, &s), s.running == 0 && s.behind == 0));
        CHECK_INT(s.memory_bytes, 0);
        CHECK_INT(s.queue_bytes, 0);
        CHECK_INT(s.completed + s.failed + s.cancelled + s.timed_out + s.closed, r.accepted + 1);
        bl_pool_close(r.pool);
    }
    bl_task_release(held);
    CHECK_EVENTUALLY(get(&anchor.releases) == 1);
}

TEST(submit_cancel_and_deadlines_race_and_nothing_is_lost) { race(false); }

TEST(closing_races_with_everything_and_nothing_is_lost) { race(true); }
