/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "bl_engine.h"
#include "bl_remote.h"

/* ---- the answered word (bl_engine.h) ------------------------------------------ */

enum { OPEN = 0, SENDING = 1, ANSWERED = 2, STATE_MASK = 3, STATUS_SHIFT = 8 };
enum claim { LATE, HANDED_OVER, CLAIMED };

/* Acquire and release: whoever claims sees what earlier holders of the word wrote (a progress
 * message's state, say), and the reverse. */
static bool move(struct bl_task *task, uint32_t *from, uint32_t to)
{
    return __atomic_compare_exchange_n(&task->word, from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static enum claim claim(struct bl_task *task, enum bl_status status)
{
    uint32_t word = __atomic_load_n(&task->word, __ATOMIC_ACQUIRE);
    for (;;) {
        if (word == OPEN) {
            if (move(task, &word, ANSWERED)) return CLAIMED;
        } else if (word == SENDING) {
            if (move(task, &word, SENDING | (uint32_t)status << STATUS_SHIFT)) return HANDED_OVER;
        } else {
            return LATE;
        }
    }
}

/* ---- phases: who takes care of a task that was answered early ------------------- */

enum { STARTED = 1, FINISHED = 2, EARLY = 4 };

static uint32_t enter_phase(struct bl_task *task, uint32_t bit) { return __atomic_fetch_or(&task->phase, bit, __ATOMIC_ACQ_REL); }

/* ---- counting ------------------------------------------------------------------------ */

static void add(uint64_t *counter, uint64_t n) { __atomic_fetch_add(counter, n, __ATOMIC_RELAXED); }
static void sub(uint64_t *counter, uint64_t n) { __atomic_fetch_sub(counter, n, __ATOMIC_RELAXED); }

static void observe(uint64_t *sum, uint64_t histogram[40], uint64_t ns)
{
    const uint64_t us = (ns + 999) / 1000;
    unsigned bucket = us <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(us - 1);
    add(sum, ns);
    add(&histogram[bucket < 39 ? bucket : 39], 1);
}

static uint64_t *counter_of(struct bl_pool_stats *stats, enum bl_status status)
{
    switch (status) {
    case BL_OK: return &stats->completed;
    case BL_TIMEOUT: return &stats->timed_out;
    case BL_CANCELLED: return &stats->cancelled;
    case BL_CLOSED: return &stats->closed;
    default: return &stats->failed;
    }
}

/* Twice is once. */
static void give_back_bytes(struct bl_task *task)
{
    sub(&task->pool->queue_bytes, __atomic_exchange_n(&task->queue_bytes, 0, __ATOMIC_RELAXED));
}

/* ---- references -------------------------------------------------------------------------- */

void bl_task_ref(struct bl_task *task) { __atomic_fetch_add(&task->refs, 1, __ATOMIC_RELAXED); }

void bl_task_unref(struct bl_task *task)
{
    if (__atomic_fetch_sub(&task->refs, 1, __ATOMIC_ACQ_REL) != 1) return;
    struct bl_source *source = task->source;
    give_back_bytes(task);
    const uint32_t behind = STARTED | EARLY;
    if ((__atomic_load_n(&task->phase, __ATOMIC_RELAXED) & behind) == behind) bl_source_record(source, task);
    task->ops->release(task);
    bl_source_unref(source);
}

/* ---- answering --------------------------------------------------------------------------- */

/* The word is ours. First out of the source: who was told can submit the next task at once, and is not refused for
 * what this one held. Somebody else has a reference. */
static void deliver(struct bl_task *task, enum bl_status status, const struct bl_error *err)
{
    struct bl_error plain;
    if (!err) {
        bl_fail(&plain, status);
        err = &plain;
    }
    add(counter_of(&task->pool->stats, status), 1);
    __atomic_store_n(&task->status, status, __ATOMIC_RELAXED);
    __atomic_store_n(&task->answered_ns, bl_now_ns(), __ATOMIC_RELAXED);
    if (bl_source_unlink(task->source, task)) bl_task_unref(task);
    task->ops->answer(task, status, err);
}

static void answer(struct bl_task *task, enum bl_status status, const struct bl_error *err)
{
    if (claim(task, status) != CLAIMED) return;
    give_back_bytes(task);
    deliver(task, status, err);
}

static void count_behind(struct bl_task *task, void count(uint64_t *counter, uint64_t n))
{
    count(&task->pool->stats.behind, 1);
    if (task->options.opaque) count(&task->pool->opaque_behind, 1);
}

/* Runs, and is not over: it is counted as behind before its thread can count it down. False: it does not run. */
static bool leave_behind(struct bl_task *task)
{
    uint32_t phase = __atomic_load_n(&task->phase, __ATOMIC_ACQUIRE);
    for (;;) {
        const bool runs = phase == STARTED;
        if (runs) count_behind(task, add);
        if (__atomic_compare_exchange_n(&task->phase, &phase, phase | EARLY, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return runs;
        if (runs) count_behind(task, sub);
    }
}

/* Nobody waits for the operation any more: keep it from starting, or ask it to stop. What does not run holds nothing
 * any more, whoever still has a reference. */
static void abandon(struct bl_task *task, enum bl_status why)
{
    struct bl_pool *pool = task->pool;
    bl_ctx_stop(&task->ctx, why);
    if (leave_behind(task)) {
        sub(&pool->stats.running, 1);
        if (bl_pool_remote(pool))
            bl_remote_cancel(task);
        else if (task->options.opaque)
            bl_pool_stuck(pool);
        return;
    }
    give_back_bytes(task);
    if (bl_threads_remove(pool->threads, &task->job)) bl_task_unref(task); /* the queue's */
}

/* A waiting task gives its place in the queue back before its caller is told. */
bool bl_task_end_early(struct bl_task *task, enum bl_status status)
{
    const enum claim got = claim(task, status);
    if (got != LATE) abandon(task, status);
    if (got == CLAIMED) deliver(task, status, NULL);
    return got != LATE;
}

bool bl_task_is_open(const struct bl_task *task)
{
    const uint32_t word = __atomic_load_n(&task->word, __ATOMIC_ACQUIRE);
    return word == OPEN || word == SENDING;
}

/* ---- progress ---------------------------------------------------------------------------- */

static void send_progress(struct bl_ctx *ctx, const struct bl_field *fields, size_t count)
{
    struct bl_task *task = BL_CONTAINER(ctx, struct bl_task, ctx);
    uint32_t word = OPEN;
    if (!move(task, &word, SENDING)) return;
    task->ops->progress(task, fields, count);
    word = SENDING;
    if (move(task, &word, OPEN)) return;
    __atomic_store_n(&task->word, ANSWERED, __ATOMIC_RELEASE);
    deliver(task, (enum bl_status)(word >> STATUS_SHIFT), NULL);
}

/* ---- running ------------------------------------------------------------------------------ */

void bl_task_finish(struct bl_task *task, enum bl_status status, struct bl_error *err)
{
    struct bl_pool *pool = task->pool;
    struct bl_pool_stats *stats = &pool->stats;
    const uint64_t now = bl_now_ns();
    observe(&stats->run_ns_sum, stats->run_histogram, now - task->started_ns);
    __atomic_store_n(&task->finished_ns, now, __ATOMIC_RELAXED);
    if (enter_phase(task, FINISHED) & EARLY) {
        count_behind(task, sub);
        if (task->options.opaque && !bl_pool_remote(pool)) bl_threads_unstuck(pool->threads);
        return;
    }
    sub(&stats->running, 1);
    if (status != BL_OK && err->status != status) bl_fail(err, status);
    answer(task, status, err);
}

static enum bl_status refuse(struct bl_task *task, uint64_t *counter, struct bl_error *err)
{
    add(counter, 1);
    return bl_fail_busy(err, bl_pool_retry_after_ms(task->pool));
}

static bool too_much_behind(const struct bl_task *task)
{
    const struct bl_pool *pool = task->pool;
    return task->options.opaque && __atomic_load_n(&pool->opaque_behind, __ATOMIC_RELAXED) >= pool->config.max_behind;
}

bool bl_task_begin(struct bl_task *task)
{
    struct bl_pool_stats *stats = &task->pool->stats;
    add(&stats->running, 1);
    if (enter_phase(task, STARTED) & EARLY) {
        sub(&stats->running, 1);
        return false;
    }
    const uint64_t now = bl_now_ns();
    __atomic_store_n(&task->started_ns, now, __ATOMIC_RELAXED);
    observe(&stats->wait_ns_sum, stats->wait_histogram, now - task->submitted_ns);
    return true;
}

static void run_job(struct bl_job *job)
{
    struct bl_task *task = BL_CONTAINER(job, struct bl_task, job);
    if (too_much_behind(task)) { /* it was admitted before the others fell behind */
        struct bl_error err;
        answer(task, refuse(task, &task->pool->stats.refused_behind, &err), &err);
    } else if (bl_task_begin(task)) {
        task->ops->run(task);
    }
    bl_task_unref(task);
}

/* ---- starting ------------------------------------------------------------------------------ */

void bl_task_init(struct bl_task *task, const struct bl_task_ops *ops, struct bl_source *source, const struct bl_task_options *options)
{
    struct bl_pool *pool = source->pool;
    *task = (struct bl_task){
        .job = {.run = run_job, .priority = (uint8_t)options->priority},
        .ops = ops,
        .pool = pool,
        .source = source,
        .options = *options,
        .refs = 1,
        .deadline_ns = UINT64_MAX,
    };
    bl_link_init(&task->job.link);
    bl_link_init(&task->bucket);
    bl_link_init(&task->slot);
    bl_link_init(&task->owned);
    bl_quota_init(&task->quota, &pool->quota, "memory", options->memory_limit);
    bl_ctx_init(&task->ctx, &task->quota);
    bl_threads_serve(pool->threads, &task->ctx);
    if (options->progress_ms > 0 && ops->progress) {
        task->ctx.progress = send_progress;
        task->ctx.progress_distance_ns = (uint64_t)(options->progress_ms < 10 ? 10 : options->progress_ms) * 1000000;
    }
    __atomic_fetch_add(&source->refs, 1, __ATOMIC_RELAXED);
    task->submitted_ns = task->job.queued_ns = bl_now_ns();
    if (options->timeout_ms < UINT64_MAX / 2 / 1000000) task->deadline_ns = task->submitted_ns + options->timeout_ms * 1000000;
}

static uint64_t waiting_here(struct bl_pool *pool)
{
    uint64_t queued[BL_CLASSES], sum = 0;
    bl_threads_queued(pool->threads, queued);
    for (int c = 0; c < BL_CLASSES; c++) sum += queued[c];
    return sum;
}

/* All or nothing: who is refused has kept nobody else out. There are never more than the pool may hold. */
static bool take_bytes(struct bl_task *task)
{
    struct bl_pool *pool = task->pool;
    const uint64_t bytes = task->options.argument_bytes;
    uint64_t held = __atomic_load_n(&pool->queue_bytes, __ATOMIC_RELAXED);
    do {
        if (bytes > pool->config.max_queue_bytes - held) return false;
    } while (!__atomic_compare_exchange_n(&pool->queue_bytes, &held, held + bytes, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    task->queue_bytes = bytes;
    return true;
}

static enum bl_status admit(struct bl_task *task, struct bl_error *err)
{
    struct bl_pool *pool = task->pool;
    struct bl_pool_stats *stats = &pool->stats;
    if (too_much_behind(task)) return refuse(task, &stats->refused_behind, err);
    struct bl_remote *remote = bl_pool_remote(pool);
    if (remote && waiting_here(pool) + bl_remote_waiting(remote) >= pool->config.max_queue)
        return refuse(task, &stats->refused_queue, err);
    return take_bytes(task) ? BL_OK : refuse(task, &stats->refused_bytes, err);
}

/* Queueing failed. Takes the task back, unless somebody answered it in between: then it was accepted. */
static enum bl_status withdraw(struct bl_task *task, enum bl_status status, struct bl_error *err)
{
    bl_task_unref(task); /* the queue's */
    if (claim(task, status) != CLAIMED) {
        add(&task->pool->submitted, 1);
        return BL_OK;
    }
    if (bl_source_unlink(task->source, task)) bl_task_unref(task);
    if (status == BL_BUSY) return refuse(task, &task->pool->stats.refused_queue, err);
    return bl_fail(err, status);
}

/* Whoever answered it before it was pushed found nothing to remove. The threads' lock orders the two: either
 * they saw the job in the queue, or their EARLY is seen here. */
static void unqueue_answered(struct bl_task *task)
{
    const bool early = __atomic_load_n(&task->phase, __ATOMIC_RELAXED) & EARLY;
    if (early && bl_threads_remove(task->pool->threads, &task->job)) bl_task_unref(task); /* the queue's */
}

/* A wake-up less, where nobody is waiting already. */
static bool run_now(struct bl_task *task)
{
    if (!task->ops->run_now || !bl_pool_remote(task->pool) || waiting_here(task->pool) > 0 || !task->ops->run_now(task)) return false;
    add(&task->pool->submitted, 1);
    bl_task_unref(task);
    return true;
}

enum bl_status bl_task_start(struct bl_task *task, struct bl_error *err)
{
    enum bl_status status = admit(task, err);
    if (status != BL_OK) return status;
    bl_task_ref(task); /* the table's */
    status = bl_source_link(task->source, task);
    if (status != BL_OK) {
        bl_task_unref(task);
        return status == BL_BUSY ? refuse(task, &task->pool->stats.refused_owner, err) : bl_fail(err, status);
    }
    if (task->deadline_ns != UINT64_MAX) bl_pool_watch(task->pool, task->deadline_ns);
    bl_task_ref(task); /* the queue's, then the thread's */
    if (run_now(task)) return BL_OK;
    status = bl_threads_push(task->pool->threads, &task->job);
    if (status != BL_OK) return withdraw(task, status, err);
    unqueue_answered(task);
    add(&task->pool->submitted, 1);
    return BL_OK;
}
