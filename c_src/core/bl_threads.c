/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bl_threads.h"

#include <pthread.h>

#include "bl_ctx.h"
#include "bl_loop.h"
#include "bl_sync.h"

enum { CROWDED_NS = 50000, CROWDED_TIMES = 16, SPIN_CREDIT_MOST = 8 };

struct worker {
    struct bl_link parked; /* in threads->parked while it sleeps or is about to */
    uint32_t woken;        /* futex word */
};

struct bl_threads {
    /* A spinning thread reads these three all the time: cache lines away from the rest. Atomic for readers. */
    uint32_t queued;     /* jobs waiting */
    uint32_t loop_count; /* loops that may have work for helpers */
    uint32_t closing;
    char apart[64];
    pthread_mutex_t lock; /* guards everything in here */
    struct bl_threads_config config;
    struct bl_queue class[BL_CLASSES];
    unsigned overtaken;  /* starts in a row that passed over an aged job */
    unsigned spinning;
    unsigned spin_credit; /* spins that may still be in vain */
    int pushed_on;    /* processor of the last push */
    uint64_t pushed_ns;
    unsigned crowded; /* idle moments in a row on that processor, while pushes came fast */
    struct bl_link parked, loops;
    unsigned parked_count;
    unsigned alive;                  /* threads */
    int stuck;                       /* below 0 while unstuck came first */
    unsigned refs;                   /* one per thread, one of the owner */
    void (*ended)(void *arg);
    void *ended_arg;
};

/* ---- choosing a job (lock held) ------------------------------------------- */

static struct bl_job *head_of(const struct bl_threads *t, int class)
{
    struct bl_link *l = bl_queue_first(&t->class[class]);
    return l ? BL_CONTAINER(l, struct bl_job, link) : NULL;
}

static int top_class(const struct bl_threads *t)
{
    for (int c = BL_CLASSES - 1; c >= 0; c--)
        if (t->class[c].length > 0) return c;
    return -1;
}

/* The longest waiting head below `top` that has waited long enough to count. */
static struct bl_job *aged_below(const struct bl_threads *t, int top)
{
    struct bl_job *oldest = NULL;
    for (int c = 0; c < top; c++) {
        struct bl_job *job = head_of(t, c);
        if (job && (!oldest || job->queued_ns < oldest->queued_ns)) oldest = job;
    }
    if (!oldest) return NULL;
    return bl_now_ns() >= oldest->queued_ns + (uint64_t)t->config.ageing_ms * 1000000 ? oldest : NULL;
}

static void unqueue(struct bl_threads *t, struct bl_job *job)
{
    bl_queue_remove(&t->class[job->priority], &job->link);
    job->queued = false;
    __atomic_store_n(&t->queued, t->queued - 1, __ATOMIC_RELAXED);
}

static struct bl_job *take(struct bl_threads *t)
{
    const int top = top_class(t);
    if (top < 0) return NULL;
    struct bl_job *job = head_of(t, top);
    struct bl_job *aged = aged_below(t, top);
    if (!aged) {
        t->overtaken = 0;
    } else if (t->overtaken >= BL_OVERTAKE_LIMIT) {
        t->overtaken = 0;
        job = aged;
    } else {
        t->overtaken++;
    }
    unqueue(t, job);
    return job;
}

/* ---- waking (lock held; the wake itself after unlocking) -------------------- */

static struct worker *unpark(struct bl_threads *t)
{
    if (bl_link_is_alone(&t->parked)) return NULL;
    /* The last one parked: its cache and stack are the warmest. */
    struct worker *w = BL_CONTAINER(t->parked.prev, struct worker, parked);
    bl_link_remove(&w->parked);
    t->parked_count--;
    return w;
}

static void wake(struct worker *w)
{
    if (!w) return;
    __atomic_store_n(&w->woken, 1, __ATOMIC_RELEASE);
    bl_word_wake(&w->woken, 1);
}

/* ---- helping in a loop -------------------------------------------------------- */

static struct bl_loop *join_loop(struct bl_threads *t, unsigned *lane)
{
    for (struct bl_link *l = t->loops.next; l != &t->loops; l = l->next) {
        struct bl_loop *loop = BL_CONTAINER(l, struct bl_loop, link);
        if (!bl_loop_has_work(loop)) continue;
        for (unsigned i = 1; i < loop->lanes; i++) {
            if (loop->lane[i].busy) continue;
            loop->lane[i].busy = true;
            __atomic_store_n(&loop->helpers, loop->helpers + 1, __ATOMIC_RELAXED);
            *lane = i;
            return loop;
        }
    }
    return NULL;
}

static void help(struct bl_threads *t, struct bl_loop *loop, unsigned lane)
{
    bl_loop_run(loop, lane, &t->queued);
    pthread_mutex_lock(&t->lock);
    loop->lane[lane].busy = false;
    const uint32_t helpers = loop->helpers - 1;
    /* Release: the caller that sees 0 sees what this helper's bodies wrote. It also may return
     * and reuse the loop's memory then, so nothing of the loop is touched afterwards; a wake on
     * an address that means something else by then is only a spurious wake. */
    __atomic_store_n(&loop->helpers, helpers, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&t->lock);
    if (helpers == 0) bl_word_wake(&loop->helpers, 1);
}

/* ---- threads --------------------------------------------------------------------- */

static bool work_in_sight(const struct bl_threads *t)
{
    return __atomic_load_n(&t->queued, __ATOMIC_RELAXED) > 0 || __atomic_load_n(&t->loop_count, __ATOMIC_RELAXED) > 0 ||
           __atomic_load_n(&t->closing, __ATOMIC_RELAXED);
}

static void spin(const struct bl_threads *t)
{
    const uint64_t until = bl_now_ns() + (uint64_t)t->config.spin_us * 1000;
    do {
        for (int i = 0; i < 64; i++) {
            if (work_in_sight(t)) return;
            bl_spin_hint();
        }
    } while (bl_now_ns() < until);
}

static void park(struct bl_threads *t, struct worker *self)
{
    self->woken = 0;
    bl_link_append(&t->parked, &self->parked);
    t->parked_count++;
    pthread_mutex_unlock(&t->lock);
    while (!__atomic_load_n(&self->woken, __ATOMIC_ACQUIRE)) bl_word_wait(&self->woken, 0);
    pthread_mutex_lock(&t->lock);
}

/* Where the thread runs does spinning help? Not on the processor of the last push. A thread that meets its
 * pusher there again and again at short intervals moves away first: the system wakes it where the pusher
 * is, and then both share one processor while another is free. Lock held; *away: it was given up meanwhile. */
static bool good_place(struct bl_threads *t, bool *away)
{
    if (bl_cpu() != t->pushed_on) {
        t->crowded = 0;
        return true;
    }
    const bool fast = bl_now_ns() < t->pushed_ns + CROWDED_NS;
    t->crowded = fast ? t->crowded + 1 : 0;
    if (t->crowded < CROWDED_TIMES) return false;
    t->crowded = 0;
    *away = true;
    pthread_mutex_unlock(&t->lock);
    const bool moved = bl_thread_leave_cpu();
    pthread_mutex_lock(&t->lock);
    return moved;
}

/* Waits for something to do, once; lock held on entry and return. */
static void idle(struct bl_threads *t, struct worker *self, bool *may_spin)
{
    bool away = false;
    if (*may_spin && t->spinning == 0 && t->config.spin_us > 0 && t->spin_credit > 0 && good_place(t, &away)) {
        t->spinning++;
        pthread_mutex_unlock(&t->lock);
        spin(t);
        pthread_mutex_lock(&t->lock);
        t->spinning--;
        *may_spin = false;
        if (!work_in_sight(t))
            t->spin_credit--;
        else if (t->spin_credit < SPIN_CREDIT_MOST)
            t->spin_credit++;
    } else if (away) {
        *may_spin = false; /* not parked yet: who pushed meanwhile has woken nobody */
    } else {
        const uint64_t since_ns = bl_now_ns();
        park(t, self);
        *may_spin = true;
        /* Would a spin have met what woke it, or nearly? */
        if (bl_now_ns() - since_ns < (uint64_t)t->config.spin_us * 2000) t->spin_credit = SPIN_CREDIT_MOST;
    }
}

/* One job or one helping turn; lock held on entry and return. */
static bool work(struct bl_threads *t)
{
    struct bl_job *job = take(t);
    unsigned lane = 0;
    struct bl_loop *loop = job ? NULL : join_loop(t, &lane);
    if (!job && !loop) return false;
    pthread_mutex_unlock(&t->lock);
    if (job)
        job->run(job);
    else
        help(t, loop, lane);
    pthread_mutex_lock(&t->lock);
    return true;
}

static void drop(struct bl_threads *t)
{
    pthread_mutex_lock(&t->lock);
    const bool last = --t->refs == 0;
    pthread_mutex_unlock(&t->lock);
    if (!last) return;
    pthread_mutex_destroy(&t->lock);
    bl_free(t);
}

/* Lock held on entry, not on return. */
static void leave(struct bl_threads *t)
{
    const bool last = --t->alive == 0;
    void (*ended)(void *) = t->ended;
    void *arg = t->ended_arg;
    /* It may have been woken for a job that another must take now. */
    struct worker *w = t->queued > t->spinning ? unpark(t) : NULL;
    pthread_mutex_unlock(&t->lock);
    wake(w);
    if (last && ended) ended(arg);
    drop(t);
}

/* How many threads there should be. */
static unsigned wanted(const struct bl_threads *t)
{
    const unsigned stuck = t->stuck > 0 ? (unsigned)t->stuck : 0;
    return t->config.threads + (stuck < t->config.extra ? stuck : t->config.extra);
}

static void *worker_main(void *arg)
{
    struct bl_threads *t = arg;
    struct worker self = {.woken = 0};
    bl_link_init(&self.parked);
    bl_thread_name(t->config.name);
    bool may_spin = false; /* fresh threads of a pool nobody uses yet shall not spin */
    pthread_mutex_lock(&t->lock);
    for (;;) {
        if (t->alive > wanted(t)) break;
        if (work(t)) {
            may_spin = true;
            continue;
        }
        if (t->closing) break;
        idle(t, &self, &may_spin);
    }
    leave(t);
    return NULL;
}

/* ---- loops ------------------------------------------------------------------------- */

static void open_loop(struct bl_threads *t, struct bl_loop *loop)
{
    struct worker *woken[BL_LANES_MAX];
    unsigned n = 0;
    pthread_mutex_lock(&t->lock);
    bl_link_append(&t->loops, &loop->link);
    __atomic_store_n(&t->loop_count, t->loop_count + 1, __ATOMIC_RELAXED);
    while (n + 1 < loop->lanes && n + 1 < loop->chunks && (woken[n] = unpark(t)) != NULL) n++;
    pthread_mutex_unlock(&t->lock);
    while (n > 0) wake(woken[--n]);
}

/* After this no helper can join; waits for those inside, which have at most one chunk to finish. */
static void close_loop(struct bl_threads *t, struct bl_loop *loop)
{
    pthread_mutex_lock(&t->lock);
    bl_link_remove(&loop->link);
    __atomic_store_n(&t->loop_count, t->loop_count - 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < 2000 && __atomic_load_n(&loop->helpers, __ATOMIC_ACQUIRE) > 0; i++) bl_spin_hint();
    for (uint32_t n; (n = __atomic_load_n(&loop->helpers, __ATOMIC_ACQUIRE)) > 0;) bl_word_wait(&loop->helpers, n);
    /* The helper that counted down to 0 did so under the lock: once it is ours the helper is out. */
    pthread_mutex_lock(&t->lock);
    pthread_mutex_unlock(&t->lock);
}

static enum bl_status run_loop(struct bl_ctx *ctx, size_t count, size_t grain, bl_range_fn *body, void *arg, struct bl_error *err)
{
    struct bl_threads *t = ctx->threads;
    if (ctx->in_loop || ctx->lanes < 2) return bl_serial_for(ctx, count, grain, body, arg, err);
    struct bl_loop loop;
    bl_loop_init(&loop, ctx, ctx->lanes, count, grain, body, arg);
    if (loop.chunks < 2) return bl_serial_for(ctx, count, grain, body, arg, err);
    ctx->in_loop = true;
    loop.lane[0].busy = true;
    open_loop(t, &loop);
    bl_loop_run(&loop, 0, NULL);
    close_loop(t, &loop);
    ctx->in_loop = false;
    if (loop.error.status != BL_OK && err) *err = loop.error;
    return loop.error.status;
}

void bl_threads_serve(struct bl_threads *t, struct bl_ctx *ctx)
{
    ctx->threads = t;
    ctx->parallel_for = run_loop;
    ctx->lanes = t->config.threads < BL_LANES_MAX ? t->config.threads : BL_LANES_MAX;
}

/* ---- the surface ---------------------------------------------------------------------- */

enum bl_status bl_threads_push(struct bl_threads *t, struct bl_job *job)
{
    pthread_mutex_lock(&t->lock);
    enum bl_status status = t->closing ? BL_CLOSED : t->queued >= t->config.capacity ? BL_BUSY : BL_OK;
    struct worker *w = NULL;
    if (status == BL_OK) {
        bl_queue_push(&t->class[job->priority], &job->link);
        job->queued = true;
        t->pushed_on = bl_cpu();
        t->pushed_ns = job->queued_ns;
        __atomic_store_n(&t->queued, t->queued + 1, __ATOMIC_RELAXED);
        if (t->queued > t->spinning) w = unpark(t);
    }
    pthread_mutex_unlock(&t->lock);
    wake(w);
    return status;
}

bool bl_threads_remove(struct bl_threads *t, struct bl_job *job)
{
    pthread_mutex_lock(&t->lock);
    const bool was_queued = job->queued;
    if (was_queued) unqueue(t, job);
    pthread_mutex_unlock(&t->lock);
    return was_queued;
}

void bl_threads_close(struct bl_threads *t, void (*ended)(void *arg), void *arg)
{
    pthread_mutex_lock(&t->lock);
    t->ended = ended;
    t->ended_arg = arg;
    __atomic_store_n(&t->closing, 1, __ATOMIC_RELAXED);
    /* Woken under the lock: a thread that ends must not free `t` while this one still walks it. */
    for (struct worker *w; (w = unpark(t)) != NULL;) wake(w);
    pthread_mutex_unlock(&t->lock);
}

void bl_threads_free(struct bl_threads *t) { drop(t); }

static bool start_thread(struct bl_threads *t)
{
    return bl_thread_start(worker_main, t, t->config.stack_bytes) == 0;
}

/* One more thread, if there should be one. False: there are enough, or the system has none to give. */
static bool start_one(struct bl_threads *t)
{
    pthread_mutex_lock(&t->lock);
    const bool start = !t->closing && t->alive < wanted(t);
    if (start) {
        t->alive++;
        t->refs++;
    }
    pthread_mutex_unlock(&t->lock);
    if (!start || start_thread(t)) return start;
    pthread_mutex_lock(&t->lock);
    leave(t); /* in the name of the thread that is not there */
    return false;
}

void bl_threads_fill(struct bl_threads *t)
{
    while (start_one(t)) continue;
}

void bl_threads_stuck(struct bl_threads *t)
{
    pthread_mutex_lock(&t->lock);
    t->stuck++;
    pthread_mutex_unlock(&t->lock);
    start_one(t);
}

void bl_threads_unstuck(struct bl_threads *t)
{
    pthread_mutex_lock(&t->lock);
    t->stuck--;
    struct worker *w = t->alive > wanted(t) ? unpark(t) : NULL;
    pthread_mutex_unlock(&t->lock);
    wake(w);
}

unsigned bl_threads_alive(struct bl_threads *t)
{
    pthread_mutex_lock(&t->lock);
    const unsigned n = t->alive;
    pthread_mutex_unlock(&t->lock);
    return n;
}

unsigned bl_threads_parked(struct bl_threads *t)
{
    pthread_mutex_lock(&t->lock);
    const unsigned n = t->parked_count;
    pthread_mutex_unlock(&t->lock);
    return n;
}

uint32_t bl_threads_waiting(const struct bl_threads *t) { return __atomic_load_n(&t->queued, __ATOMIC_RELAXED); }

void bl_threads_queued(struct bl_threads *t, uint64_t out[BL_CLASSES])
{
    pthread_mutex_lock(&t->lock);
    for (int c = 0; c < BL_CLASSES; c++) out[c] = t->class[c].length;
    pthread_mutex_unlock(&t->lock);
}

enum bl_status bl_threads_new(const struct bl_threads_config *config, struct bl_threads **out, struct bl_error *err)
{
    struct bl_threads *t = bl_alloc_zero(NULL, sizeof *t, err);
    if (!t) return BL_NO_MEMORY;
    t->pushed_on = -1;
    t->spin_credit = SPIN_CREDIT_MOST;
    pthread_mutex_init(&t->lock, NULL);
    t->config = *config;
    for (int c = 0; c < BL_CLASSES; c++) bl_queue_init(&t->class[c]);
    bl_link_init(&t->parked);
    bl_link_init(&t->loops);
    t->refs = 1;
    if (!start_one(t)) {
        drop(t);
        return bl_fail(err, BL_NO_MEMORY);
    }
    *out = t;
    return BL_OK;
}
