/* SPDX-License-Identifier: Apache-2.0
 *
 * The housekeeper of a device. While there is work it looks every millisecond, twenty milliseconds after the last turn every
 * ten, and after a second of quiet it sleeps until it is woken: an idle device uses no processor.
 *
 * A handler under way stands in a watch. What the housekeeper does about it:
 *
 *     longer than BL_LONG_NS     STUCK: a stand-in takes the thread's place until the handler returns
 *     past its deadline          the word `stop`, which the handler may ask
 *     after BL_GRACE_NS more     ABANDONED: the actor fails, the thread counts as lost until the handler returns
 *
 * Whoever moves the watch's state away from "inside, message n" decides: if the thread's exchange comes first the handler is
 * done, if the housekeeper's compare-and-swap comes first the actor is the housekeeper's, and the thread touches nothing of it.
 */
#include "bl_device.h"

#include <time.h>

#include "bl_sync.h"

enum { LOOK_NS = 1000000, LOOK_SELDOM_NS = 10000000, BUSY_NS = 20000000, QUIET_NS = 1000000000 };

/* ---- watches ---- */

static __thread unsigned hint; /* the watch that this thread had last is free, most often */

struct bl_watch *bl_watch_take(struct bl_device *d, struct bl_threads *threads, struct bl_turn *t)
{
    for (unsigned i = 0; i < BL_WATCHES; i++) {
        struct bl_watch *w = &d->watch[(hint + i) % BL_WATCHES];
        uint32_t free = 0;
        if (__atomic_load_n(&w->used, __ATOMIC_RELAXED) != 0) continue; /* relaxed: the exchange proves it */
        /* Acquire: what the last user did is over. */
        if (!__atomic_compare_exchange_n(&w->used, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) continue;
        hint = (hint + i) % BL_WATCHES;
        /* Relaxed, these: the housekeeper reads them after it has seen `state` say INSIDE, which is released behind them. */
        __atomic_store_n(&w->actor, t->actor, __ATOMIC_RELAXED);
        __atomic_store_n(&w->turn, t, __ATOMIC_RELAXED);
        __atomic_store_n(&w->threads, threads, __ATOMIC_RELAXED);
        __atomic_store_n(&w->thread, pthread_self(), __ATOMIC_RELAXED);
        __atomic_store_n(&w->stop, 0, __ATOMIC_RELAXED);
        return w;
    }
    return NULL;
}

/* Release: what this user did is over when the next one takes it. */
void bl_watch_give_back(struct bl_watch *w) { __atomic_store_n(&w->used, 0, __ATOMIC_RELEASE); }

void bl_watch_enter(struct bl_watch *w, uint64_t now_ns, const struct bl_slot *message)
{
    /* Relaxed, these: released by `state` below. */
    __atomic_store_n(&w->since_ns, now_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&w->deadline_ns, message->deadline_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&w->reply_to, message->reply_to, __ATOMIC_RELAXED);
    __atomic_store_n(&w->function, message->function, __ATOMIC_RELAXED);
    __atomic_store_n(&w->flags, message->flags, __ATOMIC_RELAXED);
    /* Relaxed: the housekeeper changes only flags, and only while a handler is inside. */
    const uint64_t number = (__atomic_load_n(&w->state, __ATOMIC_RELAXED) >> WATCH_SHIFT) + 1;
    /* Release: the fields above belong to this number. */
    __atomic_store_n(&w->state, number << WATCH_SHIFT | WATCH_INSIDE, __ATOMIC_RELEASE);
}

unsigned bl_watch_leave(struct bl_device *d, struct bl_watch *w)
{
    const uint64_t number = __atomic_load_n(&w->state, __ATOMIC_RELAXED) >> WATCH_SHIFT; /* relaxed: its own number */
    /* Acquire: what the housekeeper did before it decided. Release: what the handler did. */
    const uint64_t was = __atomic_exchange_n(&w->state, number << WATCH_SHIFT, __ATOMIC_ACQ_REL);
    if (!(was & (WATCH_STUCK | WATCH_ABANDONED))) return 0;
    pthread_mutex_lock(&d->watch_lock); /* the housekeeper may still have its hand on it */
    __atomic_store_n(&w->stop, 0, __ATOMIC_RELAXED); /* relaxed: the handler that asked has returned, the lock is held */
    pthread_mutex_unlock(&d->watch_lock);
    if (was & WATCH_ABANDONED) __atomic_sub_fetch(&d->lost, 1, __ATOMIC_RELAXED); /* relaxed: a number, compared with a limit */
    if (was & WATCH_STUCK) bl_threads_unstuck(w->threads);
    return (unsigned)was & (WATCH_STUCK | WATCH_ABANDONED);
}

/* ---- looking ---- */

/* The actor is ours now: there is no consumer any more, nor will there be one. */
static void bury(struct bl_actor *a, struct bl_slot *message)
{
    struct bl_error err;
    bl_message_refuse(a, message, bl_fail(&err, BL_TIMEOUT), &err); /* what it holds is in use: its flags do not say so here */
    bl_fail(&err, BL_DEVICE_FAILED);
    memcpy(err.text, "its handler did not return in time", sizeof "its handler did not return in time");
    bl_actor_fail(a, &err);
    while (!bl_actor_sweep(a)) bl_spin_hint(); /* a claim that is about to be committed */
    bl_actor_unref(a);
}

/* Processor time of the watch's thread, which is inside. On a machine that is overloaded a handler may not have had the chance
 * to listen. */
static uint64_t cpu_ns(struct bl_watch *w)
{
    clockid_t clock;
    struct timespec t;
    /* Relaxed: written before `state`, which said INSIDE with acquire. */
    if (pthread_getcpuclockid(__atomic_load_n(&w->thread, __ATOMIC_RELAXED), &clock) != 0 || clock_gettime(clock, &t) != 0) return 0;
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Tells the handler to stop, once; true: it had its time to do so. A guest ends by itself, but for one instruction that may fill or
 * copy all its memory. Lock held. */
static bool told_long_ago(struct bl_watch *w, const struct bl_actor *a, uint64_t now_ns, uint64_t deadline_ns)
{
    /* The handler with acquire: its row is read. `stop` relaxed: a word that the handler asks again and again; it orders nothing. */
    const bool guest = bl_ring_guest_of(__atomic_load_n(&a->handler, __ATOMIC_ACQUIRE)) != NULL;
    if (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
        __atomic_store_n(&w->stop, 1, __ATOMIC_RELAXED);
        w->stopped_cpu_ns = cpu_ns(w);
        return false;
    }
    return (!guest && cpu_ns(w) - w->stopped_cpu_ns > BL_GRACE_NS) || now_ns - deadline_ns > BL_GRACE_WALL_NS;
}

/* Under way for more than BL_LONG_NS. The state gets a flag under the lock, so that the thread that leaves waits for the lock:
 * until it is free the watch stays with this message, and the actor with the watch. */
static void look_closer(struct bl_device *d, struct bl_watch *w, uint64_t state, uint64_t now_ns)
{
    struct bl_threads *stuck_threads = NULL;
    struct bl_actor *buried = NULL;
    struct bl_slot message = {.reply_to = 0};
    pthread_mutex_lock(&d->watch_lock);
    /* Acquire and release: the fields belong to this number. */
    if (!__atomic_compare_exchange_n(&w->state, &state, state | WATCH_STUCK, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        pthread_mutex_unlock(&d->watch_lock);
        return;
    }
    /* Relaxed, all fields: the exchange above has acquired them, and with the flag set nobody changes them until this lock is free. */
    if (!(state & WATCH_STUCK)) stuck_threads = __atomic_load_n(&w->threads, __ATOMIC_RELAXED);
    struct bl_actor *a = __atomic_load_n(&w->actor, __ATOMIC_RELAXED);
    uint64_t deadline_ns = __atomic_load_n(&w->deadline_ns, __ATOMIC_RELAXED);
    if (bl_actor_phase(a) >= BL_STOPPED && deadline_ns > now_ns) {
        deadline_ns = now_ns; /* nobody wants the rest */
        __atomic_store_n(&w->deadline_ns, now_ns, __ATOMIC_RELAXED);
    }
    if (now_ns >= deadline_ns && told_long_ago(w, a, now_ns, deadline_ns)) {
        state |= WATCH_STUCK;
        /* Acquire and release: what the handler did so far, and that from here on the actor is this thread's. */
        if (__atomic_compare_exchange_n(&w->state, &state, state | WATCH_ABANDONED, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            buried = a;
            bl_actor_ref(a);
            bl_message_flush(__atomic_load_n(&w->turn, __ATOMIC_RELAXED)); /* of the messages before this one */
            message.reply_to = __atomic_load_n(&w->reply_to, __ATOMIC_RELAXED);
            message.function = __atomic_load_n(&w->function, __ATOMIC_RELAXED);
            message.flags = (uint16_t)(__atomic_load_n(&w->flags, __ATOMIC_RELAXED) & (BL_MESSAGE_REQUEST | BL_MESSAGE_ACTOR));
            __atomic_add_fetch(&d->lost, 1, __ATOMIC_RELAXED); /* relaxed: a number, compared with a limit */
            bl_count(&d->lost_total, 1);
        }
    }
    pthread_mutex_unlock(&d->watch_lock);
    if (stuck_threads) bl_threads_stuck(stuck_threads);
    if (buried) bury(buried, &message);
}

/* True: a handler is under way that may still be given up. */
static bool look(struct bl_device *d, struct bl_watch *w, uint64_t now_ns)
{
    /* Acquire: with the release in bl_watch_enter. */
    const uint64_t state = __atomic_load_n(&w->state, __ATOMIC_ACQUIRE);
    if (!(state & WATCH_INSIDE) || (state & WATCH_ABANDONED)) return false;
    /* Relaxed: acquired with the state; if it is of a later message already the exchange in look_closer fails. */
    if (now_ns > __atomic_load_n(&w->since_ns, __ATOMIC_RELAXED) + BL_LONG_NS) look_closer(d, w, state, now_ns);
    return true;
}

static bool look_around(struct bl_device *d)
{
    const uint64_t now_ns = bl_now_ns();
    bool inside = false;
    /* Relaxed: one that is missed is seen by the next look. */
    for (unsigned i = 0; i < BL_WATCHES; i++)
        if (__atomic_load_n(&d->watch[i].used, __ATOMIC_RELAXED) && look(d, &d->watch[i], now_ns)) inside = true;
    return inside;
}

/* ---- waking ---- */

void bl_keeper_touch(struct bl_device *d)
{
    /* Relaxed: who still sees it set knows that the housekeeper has taken it just now, or will; after that it looks for a second,
     * and longer while a handler is inside. */
    if (__atomic_load_n(&d->touched, __ATOMIC_RELAXED)) return;
    /* In one order with the exchanges in doze(): either it sees `touched`, or this thread sees `keeper_deep`. */
    __atomic_exchange_n(&d->touched, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&d->keeper_deep, __ATOMIC_SEQ_CST)) bl_keeper_wake(d);
}

void bl_keeper_wake(struct bl_device *d)
{
    pthread_mutex_lock(&d->keeper_lock);
    __atomic_store_n(&d->keeper_deep, 0, __ATOMIC_RELAXED); /* relaxed: it only saves others the waking */
    pthread_cond_signal(&d->keeper_wake);
    pthread_mutex_unlock(&d->keeper_lock);
}

/* Sleeps until the next look; keeper_lock held. */
static void doze(struct bl_device *d, uint64_t quiet_ns)
{
    if (quiet_ns < QUIET_NS) {
        bl_cond_wait_until(&d->keeper_wake, &d->keeper_lock, bl_now_ns() + (quiet_ns < BUSY_NS ? LOOK_NS : LOOK_SELDOM_NS));
        return;
    }
    /* In one order with bl_keeper_touch and bl_device_close: either they see it asleep, or it sees what they did. */
    __atomic_exchange_n(&d->keeper_deep, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&d->touched, __ATOMIC_SEQ_CST) && !__atomic_load_n(&d->closing, __ATOMIC_SEQ_CST) && bl_link_is_alone(&d->garbage))
        bl_cond_wait_until(&d->keeper_wake, &d->keeper_lock, UINT64_MAX);
    __atomic_store_n(&d->keeper_deep, 0, __ATOMIC_RELAXED); /* relaxed: as above */
}

/* ---- garbage ---- */

enum { LARGE_BYTES = 1 << 20 };

/* keeper_lock held on entry and return. */
static void collect(struct bl_device *d)
{
    while (!bl_link_is_alone(&d->garbage)) {
        struct bl_link *block = d->garbage.next;
        bl_link_remove(block);
        pthread_mutex_unlock(&d->keeper_lock);
        bl_free(block);
        pthread_mutex_lock(&d->keeper_lock);
    }
}

/* In the housekeeper's place, once it is gone: what is left of a device is freed as its terms go. */
static void *collect_apart(void *device)
{
    struct bl_device *d = device;
    pthread_mutex_lock(&d->keeper_lock);
    collect(d);
    d->collecting = false;
    pthread_mutex_unlock(&d->keeper_lock);
    bl_device_unref(d);
    return NULL;
}

void bl_device_free_later(struct bl_device *d, void *block, size_t bytes)
{
    /* Relaxed: who misses that it closes frees one block more himself. */
    const bool closing = __atomic_load_n(&d->closing, __ATOMIC_RELAXED) && bytes >= sizeof(struct bl_link); /* which it holds then */
    if (bytes < LARGE_BYTES && !closing) {
        bl_free(block);
        return;
    }
    pthread_mutex_lock(&d->keeper_lock);
    const bool first = bl_link_is_alone(&d->garbage), gone = d->keeper_gone, apart = gone && !d->collecting;
    bl_link_append(&d->garbage, block);
    if (first && !gone) {
        __atomic_store_n(&d->keeper_deep, 0, __ATOMIC_RELAXED); /* relaxed: as above */
        pthread_cond_signal(&d->keeper_wake);
    }
    d->collecting |= apart;
    pthread_mutex_unlock(&d->keeper_lock);
    if (!apart) return;
    bl_device_ref(d); /* its quota is charged until the last block is free */
    if (bl_thread_start(collect_apart, d, 0) != 0) collect_apart(d);
}

/* ---- life ---- */

static void kill_all(struct bl_device *d)
{
    struct bl_error err;
    bl_fail(&err, BL_CLOSED);
    for (;;) {
        struct bl_actor *victim = NULL;
        pthread_mutex_lock(&d->lock);
        for (struct bl_link *l = d->actors.next; l != &d->actors; l = l->next) {
            struct bl_actor *a = BL_CONTAINER(l, struct bl_actor, link);
            if (bl_actor_phase(a) >= BL_STOPPED) continue;
            bl_actor_ref(a);
            victim = a;
            /* The next look begins behind it. */
            bl_link_remove(&a->link);
            bl_link_append(&d->actors, &a->link);
            break;
        }
        pthread_mutex_unlock(&d->lock);
        if (!victim) return;
        bl_actor_kill(victim, &err);
        bl_actor_unref(victim);
    }
}

static bool all_ended(struct bl_device *d)
{
    pthread_mutex_lock(&d->lock);
    const bool none = d->actor_count == 0;
    pthread_mutex_unlock(&d->lock);
    return none;
}

static void threads_ended(void *device) { bl_device_unref(device); }

static void end_threads(struct bl_device *d, struct bl_threads *threads)
{
    if (!threads) return;
    bl_device_ref(d);
    bl_threads_close(threads, threads_ended, d);
}

static void *keeper_main(void *arg)
{
    struct bl_device *d = arg;
    uint64_t quiet_since_ns = bl_now_ns();
    bool killed = false;
    bl_thread_name("bl_ring_keeper");
    bl_threads_fill(d->threads);
    bl_ticks_start();
    for (;;) {
        /* In one order with bl_keeper_touch. */
        if (__atomic_exchange_n(&d->touched, 0, __ATOMIC_SEQ_CST)) quiet_since_ns = bl_now_ns();
        if (look_around(d)) quiet_since_ns = bl_now_ns();
        if (__atomic_load_n(&d->closing, __ATOMIC_SEQ_CST)) { /* in one order: as in doze() */
            if (!killed) kill_all(d);
            killed = true;
            quiet_since_ns = bl_now_ns();
            if (all_ended(d)) break;
        }
        pthread_mutex_lock(&d->keeper_lock);
        collect(d);
        doze(d, bl_now_ns() - quiet_since_ns);
        pthread_mutex_unlock(&d->keeper_lock);
    }
    end_threads(d, d->threads);
    end_threads(d, __atomic_load_n(&d->aside, __ATOMIC_ACQUIRE)); /* acquire: with the release in aside_threads */
    pthread_mutex_lock(&d->keeper_lock);
    collect(d);
    d->keeper_gone = true;
    pthread_mutex_unlock(&d->keeper_lock);
    bl_device_unref(d);
    return NULL;
}

int bl_keeper_start(struct bl_device *d)
{
    bl_device_ref(d);
    const int rc = bl_thread_start(keeper_main, d, 0);
    if (rc != 0) bl_device_unref(d);
    return rc;
}
