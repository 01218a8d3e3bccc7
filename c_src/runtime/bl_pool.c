/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "bl_engine.h"
#include "bl_remote.h"
#include "bl_sync.h"
#include "bl_ticks.h"
#include "bl_warm.h"

void bl_pool_config_init(struct bl_pool_config *config) { *config = (struct bl_pool_config){.threads = 0}; }

void bl_task_options_init(struct bl_task_options *options)
{
    *options = (struct bl_task_options){.priority = BL_NORMAL, .timeout_ms = 60000};
}

enum { STACK_LEAST = 64 * 1024, HOUSEKEEPER_STACK = 256 * 1024, BEHIND_MOST = 1024, ROUND_NS = 1000000000, WARM_ROUNDS = 5 };

static unsigned online_cpus(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > BL_THREADS_MAX ? BL_THREADS_MAX : (unsigned)n;
}

enum bl_status bl_pool_config_complete(const struct bl_pool_config *given, struct bl_pool_config *config, struct bl_error *err)
{
    *config = *given;
    config->name[sizeof config->name - 1] = '\0';
    if (config->threads == 0) config->threads = online_cpus();
    if (config->threads > BL_THREADS_MAX) return bl_fail_invalid(err, "threads", "at most %d", BL_THREADS_MAX);
    if (config->stack_bytes == 0) config->stack_bytes = 1 << 20;
    if (config->stack_bytes < STACK_LEAST || config->stack_bytes > (size_t)1 << 30)
        return bl_fail_invalid(err, "stack_size", "64 KiB to 1 GiB");
    if (config->max_queue == 0) config->max_queue = 10000;
    if (config->max_queue > UINT32_MAX / 2) return bl_fail_invalid(err, "max_queue", "at most 2^31 - 1");
    if (config->max_queue_bytes == 0) config->max_queue_bytes = UINT64_C(1) << 30;
    if (config->max_behind == 0) config->max_behind = config->threads;
    if (config->max_behind > BEHIND_MOST) return bl_fail_invalid(err, "max_behind", "at most %d", BEHIND_MOST);
    if (config->ageing_ms == 0) config->ageing_ms = 100;
    if (config->spin_us == 0) config->spin_us = 50;
    if (online_cpus() == 1) config->spin_us = 0; /* it would only keep the submitter from running */
    return BL_OK;
}

/* ---- housekeeper: one thread that looks after all sources ------------- */

/* The first source, or the one after `before`, with a reference; `before` loses its own. NULL at the
 * end, also when `before` was closed meanwhile and the rest cannot be found from it: then *cut is set. */
static struct bl_source *next_source(struct bl_pool *pool, struct bl_source *before, bool *cut)
{
    pthread_mutex_lock(&pool->lock);
    struct bl_link *l = before ? before->link.next : pool->sources.next;
    *cut = before && l == &before->link;
    struct bl_source *source = *cut || l == &pool->sources ? NULL : BL_CONTAINER(l, struct bl_source, link);
    if (source) bl_source_ref(source);
    pthread_mutex_unlock(&pool->lock);
    if (before) bl_source_unref(before);
    return source;
}

/* When the housekeeper looks again if no deadline asks for it: while tasks come, every second, so that the usual
 * deadline, which is far, wakes nobody. A pool that has been idle for WARM_ROUNDS of these has no timer, and keeps no
 * memory warm. */
static uint64_t next_round(struct bl_pool *pool, uint64_t now)
{
    const uint64_t submitted = __atomic_load_n(&pool->submitted, __ATOMIC_RELAXED);
    pool->idle_rounds = submitted == pool->seen ? pool->idle_rounds + 1 : 0;
    pool->seen = submitted;
    if (pool->idle_rounds < WARM_ROUNDS) return now + ROUND_NS;
    bl_warm_trim();
    return UINT64_MAX;
}

static uint64_t look_after_sources(struct bl_pool *pool)
{
    const uint64_t now = bl_now_ns();
    uint64_t next = next_round(pool, now);
    if (bl_pool_remote(pool)) {
        const uint64_t at = bl_remote_tick(bl_pool_remote(pool), now);
        if (at < next) next = at;
    }
    bool cut;
    for (struct bl_source *source = next_source(pool, NULL, &cut); source; source = next_source(pool, source, &cut)) {
        bl_source_tidy(source);
        const uint64_t at = bl_source_expire(source, now);
        if (at < next) next = at;
    }
    return cut ? now : next;
}

bool bl_pool_trace(struct bl_pool *pool, uint64_t key, struct bl_trace *out)
{
    bool cut, found = false;
    do {
        for (struct bl_source *source = next_source(pool, NULL, &cut); source; source = next_source(pool, source, &cut))
            found = found || bl_source_trace(source, key, out);
    } while (cut && !found);
    return found;
}

bool bl_pool_cancel(struct bl_pool *pool, uint64_t key)
{
    bool cut, done = false;
    do {
        for (struct bl_source *source = next_source(pool, NULL, &cut); source; source = next_source(pool, source, &cut))
            done = done || bl_source_cancel(source, key);
    } while (cut && !done);
    return done;
}

static void add_stand_ins(struct bl_pool *pool)
{
    for (; pool->stuck > 0; pool->stuck--) {
        pthread_mutex_unlock(&pool->lock);
        bl_threads_stuck(pool->threads);
        pthread_mutex_lock(&pool->lock);
    }
}

/* Lock held on entry and return. Whoever asked for the end may have lost his processor to this thread when he woke it. He
 * is in the middle of a callback: he gets it back before the many answers. */
static void end(struct bl_pool *pool)
{
    pthread_mutex_unlock(&pool->lock);
    sched_yield();
    pthread_mutex_lock(&pool->lock);
    while (!bl_link_is_alone(&pool->sources)) {
        struct bl_source *source = BL_CONTAINER(pool->sources.next, struct bl_source, link);
        pthread_mutex_unlock(&pool->lock);
        bl_source_close(source); /* takes it out of the list */
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    if (bl_pool_remote(pool)) bl_remote_close(bl_pool_remote(pool));
    bl_pool_shut(pool);
    bl_pool_unref(pool); /* of the one that asked for the end */
    pthread_mutex_lock(&pool->lock);
}

/* Deadlines, dead owners, stand-ins: what must not wait for a pool thread nor keep a caller's. */
static void *housekeeper_main(void *arg)
{
    struct bl_pool *pool = arg;
    bl_thread_name(pool->config.name);
    bl_threads_fill(pool->threads);
    bl_ticks_start();
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        if (pool->ending) {
            end(pool);
            break;
        }
        pool->nudged = false;
        add_stand_ins(pool);
        /* While it looks around, every newly armed deadline nudges it to look again. */
        __atomic_store_n(&pool->wake_at_ns, UINT64_MAX, __ATOMIC_SEQ_CST);
        pthread_mutex_unlock(&pool->lock);
        const uint64_t next = look_after_sources(pool);
        pthread_mutex_lock(&pool->lock);
        __atomic_store_n(&pool->wake_at_ns, next, __ATOMIC_SEQ_CST);
        while (!pool->nudged && !pool->closing && bl_now_ns() < next) bl_cond_wait_until(&pool->wake, &pool->lock, next);
    }
    pthread_mutex_unlock(&pool->lock);
    bl_pool_unref(pool);
    return NULL;
}

static void nudge(struct bl_pool *pool)
{
    pool->nudged = true;
    pthread_cond_signal(&pool->wake);
}

void bl_pool_watch(struct bl_pool *pool, uint64_t deadline_ns)
{
    if (deadline_ns < __atomic_load_n(&pool->wake_at_ns, __ATOMIC_SEQ_CST)) bl_pool_nudge(pool);
}

void bl_pool_nudge(struct bl_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    nudge(pool);
    pthread_mutex_unlock(&pool->lock);
}

void bl_pool_stuck(struct bl_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stuck++;
    nudge(pool);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- life --------------------------------------------------------------------------- */

void bl_pool_ref(struct bl_pool *pool) { __atomic_fetch_add(&pool->refs, 1, __ATOMIC_RELAXED); }

void bl_pool_unref(struct bl_pool *pool)
{
    if (__atomic_fetch_sub(&pool->refs, 1, __ATOMIC_ACQ_REL) != 1) return;
    if (pool->threads) bl_threads_free(pool->threads);
    if (pool->free_skin) pool->free_skin(pool->skin);
    bl_remote_free(bl_pool_remote(pool));
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    bl_free(pool);
    bl_warm_leave();
}

static void threads_ended(void *pool) { bl_pool_unref(pool); }

void bl_pool_shut(struct bl_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    const bool first = !pool->closing;
    pool->closing = true;
    pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    if (first) bl_threads_close(pool->threads, threads_ended, pool);
}

void bl_pool_end(struct bl_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    __atomic_store_n(&pool->ending, true, __ATOMIC_RELAXED);
    nudge(pool);
    pthread_mutex_unlock(&pool->lock);
}

static enum bl_status start_threads(struct bl_pool *pool, struct bl_error *err)
{
    const struct bl_pool_config *c = &pool->config;
    struct bl_threads_config config = {
        .threads = c->threads,
        .extra = c->max_behind,
        .stack_bytes = c->stack_bytes,
        .capacity = c->max_queue,
        .ageing_ms = c->ageing_ms,
        .spin_us = c->spin_us,
    };
    memcpy(config.name, c->name, sizeof config.name);
    enum bl_status status = bl_threads_new(&config, &pool->threads, err);
    if (status != BL_OK) return status;
    pool->refs = 3; /* the caller's, the threads', the housekeeper's */
    if (bl_thread_start(housekeeper_main, pool, HOUSEKEEPER_STACK) == 0) return BL_OK;
    pool->refs = 2;
    bl_pool_shut(pool);
    return bl_fail(err, BL_NO_MEMORY);
}

enum bl_status bl_pool_open(const struct bl_pool_config *given, struct bl_pool **out, struct bl_error *err)
{
    struct bl_pool_config config;
    enum bl_status status = bl_pool_config_complete(given, &config, err);
    if (status != BL_OK) return status;
    struct bl_pool *pool = bl_alloc_zero(NULL, sizeof *pool, err);
    if (!pool) return BL_NO_MEMORY;
    pool->config = config;
    pool->refs = 1;
    pool->wake_at_ns = UINT64_MAX;
    bl_quota_init(&pool->quota, NULL, "pool_memory", config.memory_limit);
    bl_warm_join();
    bl_link_init(&pool->sources);
    pthread_mutex_init(&pool->lock, NULL);
    bl_cond_init(&pool->wake);
    status = start_threads(pool, err);
    if (status != BL_OK) {
        bl_pool_unref(pool);
        return status;
    }
    *out = pool;
    return BL_OK;
}

/* ---- statistics ----------------------------------------------------------------------- */

uint64_t bl_pool_retry_after_ms(struct bl_pool *pool)
{
    const struct bl_pool_stats *s = &pool->stats;
    uint64_t runs = 0, waiting[BL_CLASSES], queued = 0;
    for (int i = 0; i < 40; i++) runs += __atomic_load_n(&s->run_histogram[i], __ATOMIC_RELAXED);
    bl_threads_queued(pool->threads, waiting);
    for (int c = 0; c < BL_CLASSES; c++) queued += waiting[c];
    const uint64_t mean_ns = runs > 0 ? __atomic_load_n(&s->run_ns_sum, __ATOMIC_RELAXED) / runs : 1000000;
    const uint64_t ms = (queued + 1) * (mean_ns / 1000) / 1000 / pool->config.threads;
    return ms < 1 ? 1 : ms > 60000 ? 60000 : ms;
}

void bl_pool_stats(struct bl_pool *pool, struct bl_pool_stats *out)
{
    const uint64_t *from = (const uint64_t *)(const void *)&pool->stats;
    uint64_t *to = (uint64_t *)(void *)out;
    _Static_assert(sizeof *out % sizeof *to == 0, "copied word by word");
    for (size_t i = 0; i < sizeof *out / sizeof *to; i++) to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    out->queue_bytes = __atomic_load_n(&pool->queue_bytes, __ATOMIC_RELAXED);
    out->submitted = __atomic_load_n(&pool->submitted, __ATOMIC_RELAXED);
    out->threads = bl_threads_alive(pool->threads);
    out->parked = bl_threads_parked(pool->threads);
    bl_threads_queued(pool->threads, out->queued);
    out->memory_bytes = bl_quota_used(&pool->quota);
    out->memory_peak_bytes = bl_quota_peak(&pool->quota);
}
