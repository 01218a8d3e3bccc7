/* SPDX-License-Identifier: Apache-2.0
 *
 * The word `scheduled` and who runs an actor.
 *
 *     sender     commit the message, exchange(scheduled, 1): it was 0 -> push the job
 *     thread     a turn; then exchange(scheduled, 0), look again: work -> exchange(scheduled, 1): it was 0 -> push the job
 *
 * All changes of the word are exchanges with acquire and release order, so they are one chain: if the sender's exchange comes
 * before the thread's, the thread sees the message when it looks again; if it comes after, the sender finds 0. No message is
 * left behind, and never two jobs. test/ring/model_test.c goes through all orders, and shows that a store instead, or no
 * second look, loses messages.
 *
 * Deficit round robin: each turn adds a quantum of time, each message takes off what it took; who has used up his quantum
 * goes to the end of his class's queue. A handler that takes longer than BL_LONG_NS again sends its actor aside, to other
 * threads.
 */
#include "bl_device.h"
#include "bl_sync.h"

enum { QUIET_ENOUGH = 64, LINGER_NS = 1000 };

static void run(struct bl_job *job);

/* ---- memory ---- */

/* A block: [front][actor][slots][state], the actor and so each slot at the beginning of a cache line. */
enum { FRONT_MOST = 64 - 16 }; /* blocks are aligned to 16 bytes */

static size_t slot_bytes(const struct bl_actor *a) { return sizeof(struct bl_slot) << a->ring.shift; }

static uint8_t *inner_state(struct bl_actor *a) { return (uint8_t *)(a + 1) + slot_bytes(a); }

static enum bl_status choose_state(const struct bl_actor_options *o, uint64_t *size, struct bl_error *err)
{
    const struct bl_ring_handler *h = o->handler;
    const bool migrates = o->from_checkpoint && o->from_version != h->version;
    /* What comes back keeps its size; of another version too, as in bl_control.c, if it may have so much. */
    const bool larger = o->state_bytes > h->state_size && (!migrates || o->state_bytes <= h->state_most);
    *size = o->state_size > 0 ? o->state_size : larger || (o->from_checkpoint && !migrates) ? o->state_bytes : h->state_size;
    if (*size < h->state_least || *size > h->state_most)
        return bl_fail_limit(err, "state_size", *size > h->state_most ? h->state_most : h->state_least, *size);
    if (!migrates && o->state_bytes > *size) return bl_fail_invalid(err, "state", "longer than the state");
    return migrates ? bl_handler_takes(h, o->from_version, err) : BL_OK;
}

static enum bl_status fill_state(struct bl_actor *a, const struct bl_actor_options *o, struct bl_error *err)
{
    const struct bl_ring_handler *h = o->handler;
    enum bl_status status = BL_OK;
    if (o->from_checkpoint && o->from_version != h->version)
        status = bl_handler_migrate(h, a->guest, o->from_version, o->state, o->state_bytes, a->state, a->state_size, err);
    else if (o->state_bytes > 0)
        memcpy(a->state, o->state, (size_t)o->state_bytes);
    return status == BL_OK && o->state_bytes > 0 ? bl_handler_check(h, a->guest, a->state, a->state_size, err) : status;
}

static void free_memory(struct bl_actor *a)
{
    pthread_mutex_destroy(&a->lock);
    struct bl_device *d = a->device;
    bl_handler_close(a->handler, a->guest);
    const bool apart = a->state != inner_state(a);
    if (apart) bl_device_free_later(d, a->state, (size_t)a->state_size);
    bl_device_free_later(d, (uint8_t *)a - a->front, slot_bytes(a) + (apart ? 0 : (size_t)a->state_size));
}

void bl_actor_set_state(struct bl_actor *a, uint8_t *state, uint64_t size)
{
    if (a->state != inner_state(a)) bl_free(a->state);
    a->state = state;
    __atomic_store_n(&a->state_size, size, __ATOMIC_RELAXED); /* relaxed: bl_actor_info shows it */
}

static enum bl_status allocate(struct bl_device *d, const struct bl_actor_options *o, uint64_t state_size, struct bl_actor **out,
                               struct bl_error *err)
{
    const unsigned shift = bl_ring_shift(o->queue);
    size_t bytes;
    if (!bl_add_size(FRONT_MOST + sizeof(struct bl_actor) + (sizeof(struct bl_slot) << shift), (size_t)state_size, &bytes))
        return bl_fail(err, BL_NO_MEMORY);
    uint8_t *block = bl_alloc_zero(&d->quota, bytes, err);
    if (!block) return err->status;
    const size_t front = -(uintptr_t)block % 64;
    struct bl_actor *a = (void *)(block + front);
    a->front = (uint8_t)front;
    bl_ring_init(&a->ring, (struct bl_slot *)(void *)(a + 1), shift);
    a->state = inner_state(a);
    a->state_size = state_size;
    pthread_mutex_init(&a->lock, NULL);
    bl_link_init(&a->controls);
    bl_link_init(&a->sinks);
    bl_link_init(&a->link);
    bl_link_init(&a->job.link);
    *out = a;
    return BL_OK;
}

static enum bl_status enlist(struct bl_device *d, struct bl_actor *a, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    pthread_mutex_lock(&d->lock);
    if (__atomic_load_n(&d->closing, __ATOMIC_RELAXED)) { /* relaxed: it is set under this lock */
        status = bl_fail(err, BL_CLOSED);
    } else if (d->actor_count >= d->config.max_actors) {
        status = bl_fail_limit(err, "actors", d->config.max_actors, d->config.max_actors + 1);
    } else {
        bl_link_append(&d->actors, &a->link);
        d->actor_count++;
    }
    pthread_mutex_unlock(&d->lock);
    return status;
}

enum bl_status bl_actor_new(struct bl_device *d, const struct bl_actor_options *o, struct bl_actor **out, struct bl_error *err)
{
    struct bl_actor *a = NULL;
    uint64_t state_size = 0;
    enum bl_status status = bl_device_check(d, err);
    if (status == BL_OK && (o->queue < 1 || o->queue > BL_RING_COUNT_MAX))
        status = bl_fail_limit(err, "queue", BL_RING_COUNT_MAX, o->queue);
    if (status == BL_OK) status = choose_state(o, &state_size, err);
    if (status == BL_OK) status = allocate(d, o, state_size, &a, err);
    if (status != BL_OK) return status;
    a->device = d;
    a->handler = o->handler;
    a->job.run = run;
    a->job.priority = o->priority;
    a->clock = o->stamp;
    a->skin = o->skin;
    a->refs = 2; /* the caller's, and that of the list of actors */
    status = bl_handler_open(o->handler, &d->quota, state_size, &a->guest, err);
    if (status == BL_OK) status = fill_state(a, o, err);
    if (status == BL_OK) status = enlist(d, a, err);
    if (status != BL_OK) {
        free_memory(a);
        return status;
    }
    bl_device_ref(d);
    bl_count(&d->started, 1);
    *out = a;
    return BL_OK;
}

void bl_actor_ref(struct bl_actor *a) { bl_refs_get(&a->refs); }

void bl_actor_unref(struct bl_actor *a)
{
    if (!bl_refs_put(&a->refs)) return;
    struct bl_device *d = a->device;
    if (a->skin) d->host->actor_free(a->skin);
    free_memory(a);
    bl_device_unref(d);
}

uint64_t bl_actor_guest_bytes(struct bl_actor *a)
{
    pthread_mutex_lock(&a->lock); /* an upgrade changes handler and guest under it */
    const uint64_t bytes = a->guest ? bl_ring_guest_of(a->handler)->class->bytes(a->guest) : 0;
    pthread_mutex_unlock(&a->lock);
    return bytes;
}

/* ---- phases ---- */

/* Acquire: with the release in bl_actor_move; what led to the phase is seen. */
enum bl_phase bl_actor_phase(const struct bl_actor *a) { return (enum bl_phase)__atomic_load_n(&a->phase, __ATOMIC_ACQUIRE); }

void bl_actor_info(struct bl_actor *a, struct bl_actor_info *out)
{
    const enum bl_phase phase = bl_actor_phase(a);
    /* Relaxed: numbers that are shown. The handler with acquire: its row is read. */
    *out = (struct bl_actor_info){
        .queue = UINT64_C(1) << a->ring.shift, .queued = bl_ring_length(&a->ring),
        .handled = bl_counted(&a->handled),
        .refused = bl_counted(&a->refused_by_handler), .expired = bl_counted(&a->expired),
        .busy = __atomic_load_n(&a->full, __ATOMIC_RELAXED), .run_ns = bl_counted(&a->run_ns),
        .subscribers = __atomic_load_n(&a->sink_count, __ATOMIC_RELAXED), .state_size = bl_counted(&a->state_size),
        .version = __atomic_load_n(&a->handler, __ATOMIC_ACQUIRE)->version, .phase = phase,
        .running = phase == BL_LIVE && __atomic_load_n(&a->ring.scheduled, __ATOMIC_RELAXED), .guest_memory = bl_actor_guest_bytes(a)};
}

bool bl_actor_move(struct bl_actor *a, enum bl_phase to)
{
    uint32_t seen = __atomic_load_n(&a->phase, __ATOMIC_RELAXED); /* relaxed: the exchange proves it */
    while (seen < BL_STOPPED)
        /* Release: who sees the phase sees what led to it. */
        if (__atomic_compare_exchange_n(&a->phase, &seen, (uint32_t)to, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return true;
    return false;
}

bool bl_actor_kill(struct bl_actor *a, const struct bl_error *why)
{
    struct bl_device *d = a->device;
    if (why) pthread_mutex_lock(&d->lock); /* it does not end before the host is told; its ring may be closed already */
    const bool mine = bl_actor_move(a, BL_STOPPED);
    if (mine && why) d->host->failed(a, why);
    if (why) pthread_mutex_unlock(&d->lock);
    if (!mine) return false;
    bl_ring_close(&a->ring);
    bl_keeper_touch(d); /* a handler under way is told to stop */
    bl_actor_schedule(a, bl_now_ns());
    return true;
}

void bl_actor_fail(struct bl_actor *a, const struct bl_error *err)
{
    if (!bl_actor_move(a, BL_FAILED)) return;
    bl_ring_close(&a->ring);
    bl_count(&a->device->failures, 1);
    a->device->host->failed(a, err);
}

/* Out of the list of actors: nothing will happen any more. */
static void end(struct bl_actor *a)
{
    struct bl_device *d = a->device;
    pthread_mutex_lock(&d->lock);
    const bool mine = !bl_link_is_alone(&a->link);
    bl_link_remove(&a->link);
    d->actor_count -= mine;
    if (mine) { /* under the lock: in the sums it is at no time missing, nor there twice */
        bl_count(&d->past_handled, bl_counted(&a->handled));
        bl_count(&d->past_expired, bl_counted(&a->expired));
        bl_count(&d->past_busy, __atomic_load_n(&a->full, __ATOMIC_RELAXED)); /* relaxed: a number that is shown */
    }
    /* Relaxed: it is set under this lock. */
    const bool last = d->actor_count == 0 && __atomic_load_n(&d->closing, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&d->lock);
    if (last) bl_keeper_wake(d);
    if (!mine) return;
    if (a->skin) d->host->actor_ended(a->skin);
    bl_actor_unref(a); /* the caller has one, too */
}

bool bl_actor_sweep(struct bl_actor *a)
{
    struct bl_error err;
    const bool failed = bl_actor_phase(a) == BL_FAILED;
    if (failed) bl_fail_actor(&err);
    else bl_fail(&err, BL_CLOSED);
    for (struct bl_slot *slot; (slot = bl_ring_peek(&a->ring)) != NULL;) {
        struct bl_slot copy = *slot;
        bl_ring_release(&a->ring);
        bl_message_refuse(a, &copy, err.status, &err);
    }
    if (!bl_ring_drained(&a->ring)) return false;
    bl_routes_end(a);
    end(a);
    bl_controls_end(a); /* last: who is told that it has stopped can start another in its place */
    return true;
}

/* ---- turns ---- */

/* Not swept yet. */
static bool is_listed(struct bl_actor *a)
{
    pthread_mutex_lock(&a->device->lock);
    const bool listed = !bl_link_is_alone(&a->link);
    pthread_mutex_unlock(&a->device->lock);
    return listed;
}

static bool has_work(struct bl_actor *a)
{
    const enum bl_phase phase = bl_actor_phase(a);
    /* It may have been killed when a turn had looked at its phase for the last time. The end waits for a claim that is not committed
     * yet; who commits it schedules. */
    if (phase >= BL_STOPPED) return bl_ring_peek(&a->ring) || (bl_ring_drained(&a->ring) && is_listed(a));
    if (bl_controls_due(a)) return true;
    if (phase == BL_DRAINING && bl_ring_drained(&a->ring)) return true;
    return phase != BL_SUSPENDED && bl_ring_peek(&a->ring) && bl_sinks_room(a) > 0;
}

/* The job goes into the queue; the reference and `scheduled` are with it. */
static void push(struct bl_actor *a, uint64_t now_ns)
{
    a->job.queued_ns = now_ns;
    /* Never full: its capacity is that of the device. Closed: the device is ending, and nothing of ours can take long. */
    if (bl_threads_push(bl_device_threads(a->device, a->aside), &a->job) != BL_OK) run(&a->job);
}

void bl_actor_schedule(struct bl_actor *a, uint64_t now_ns)
{
    /* Acquire and release: see above. */
    if (__atomic_exchange_n(&a->ring.scheduled, 1, __ATOMIC_ACQ_REL) != 0) return;
    bl_actor_ref(a);
    push(a, now_ns);
}

static void leave(struct bl_actor *a, bool more, uint64_t now_ns)
{
    if (more) {
        push(a, now_ns);
        return;
    }
    /* Acquire and release, both: see above. */
    __atomic_exchange_n(&a->ring.scheduled, 0, __ATOMIC_ACQ_REL);
    if (has_work(a) && __atomic_exchange_n(&a->ring.scheduled, 1, __ATOMIC_ACQ_REL) == 0)
        push(a, now_ns);
    else
        bl_actor_unref(a);
}

bool bl_actor_stop_idle(struct bl_actor *a)
{
    /* Acquire: a control that is counted is in the list, and a turn's. The exchange: see above; this thread is the consumer then. */
    if (bl_actor_phase(a) >= BL_DRAINING || __atomic_load_n(&a->control_count, __ATOMIC_ACQUIRE) > 0) return false;
    if (__atomic_exchange_n(&a->ring.scheduled, 1, __ATOMIC_ACQ_REL) != 0) return false;
    bl_actor_ref(a);
    bl_ring_close(&a->ring);
    /* What was accepted before is handled by a turn; the stop that the caller asks for then finds the ring closed. */
    const bool idle = bl_ring_drained(&a->ring) && bl_actor_move(a, BL_STOPPED);
    if (idle) bl_actor_sweep(a);
    leave(a, !idle, bl_now_ns());
    return idle;
}

/* After a message that took so long: where does the actor belong? True: it moves. One long message may be the system's doing,
 * which took the processor away; the second within QUIET_ENOUGH messages, where bl_message_handle looks whether it was, is not. */
static bool find_place(struct bl_actor *a, uint64_t spent_ns)
{
    if (spent_ns > BL_LONG_NS) {
        const bool again = a->was_long;
        a->was_long = true;
        a->quiet = 0;
        if (a->aside || !again) return false;
        bl_count(&a->device->moved_aside, 1);
        a->aside = true;
        return true;
    }
    if (!a->was_long || ++a->quiet < QUIET_ENOUGH) return false;
    const bool moves = a->aside;
    a->was_long = a->aside = false;
    return moves;
}

enum turn_end { TURN_OVER, TURN_MORE, TURN_LOST };

/* Nobody else wants the thread: waits for the next message, which usually comes sooner than a batch of its own would cost, or,
 * from who got an answer, than another turn. True: it is there. */
static bool linger(struct bl_turn *t)
{
    struct bl_actor *a = t->actor;
    const struct bl_threads *threads = bl_device_threads(a->device, a->aside);
    const uint64_t begin = t->clock.now_ns;
    bool came = false;
    while (!came && t->clock.now_ns - begin < LINGER_NS && bl_threads_waiting(threads) == 0 && !bl_controls_due(a)) {
        bl_spin_hint();
        came = bl_ring_peek(&a->ring) != NULL;
        bl_stopwatch_now(&t->clock);
    }
    a->deficit_ns -= (int64_t)(t->clock.now_ns - begin);
    return came;
}

static enum turn_end turn(struct bl_turn *t)
{
    struct bl_actor *a = t->actor;
    size_t room = bl_sinks_admit(a);
    for (;;) {
        if (bl_controls_due(a)) {
            bl_message_flush(t);
            bl_controls_run(a);
            room = bl_sinks_admit(a);
            bl_stopwatch_now(&t->clock); /* who was answered may have sent since: his deadline counts */
        }
        const enum bl_phase phase = bl_actor_phase(a);
        if (phase >= BL_STOPPED) {
            bl_message_flush(t);
            bl_actor_sweep(a);
            return TURN_OVER;
        }
        if (t->result_count >= room) {
            bl_message_flush(t);
            room = bl_sinks_admit(a);
        }
        struct bl_slot *slot = bl_ring_peek(&a->ring);
        if (!slot && phase == BL_DRAINING && bl_ring_drained(&a->ring)) {
            bl_actor_move(a, BL_STOPPED);
            continue;
        }
        if (phase == BL_SUSPENDED || room == 0) return TURN_OVER;
        if (!slot && (t->result_count > 0 || t->asked) && linger(t)) continue;
        if (!slot) return TURN_OVER;
        if (a->deficit_ns <= 0) return TURN_MORE;
        if (bl_sinks_came(a)) {
            bl_message_flush(t);
            room = bl_sinks_admit(a);
            continue;
        }
        if (phase == BL_CREATED) bl_actor_move(a, BL_LIVE);
        const uint64_t before = t->clock.now_ns;
        if (bl_message_handle(t, slot) == BL_HANDLED_LOST) return TURN_LOST;
        bl_stopwatch_now(&t->clock);
        const uint64_t spent_ns = t->clock.now_ns - before;
        a->deficit_ns -= (int64_t)spent_ns;
        bl_count_own(&a->run_ns, spent_ns);
        if (find_place(a, t->held ? 0 : spent_ns)) return TURN_MORE;
    }
}

static void count_targets(struct bl_turn *t)
{
    memset(t->targets, 0, sizeof t->targets);
    /* Relaxed: whether to ask at all; they are read under the lock. */
    t->routes = __atomic_load_n(&t->actor->routes, __ATOMIC_RELAXED) ? bl_routes_get(t->actor) : NULL;
    for (uint32_t i = 0; t->routes && i < t->routes->count; i++) t->targets[t->routes->target[i].port]++;
}

static void run(struct bl_job *job)
{
    struct bl_actor *a = BL_CONTAINER(job, struct bl_actor, job);
    struct bl_device *d = a->device;
    struct bl_threads *threads = bl_device_threads(d, a->aside);
    struct bl_watch unwatched = {.used = 1};
    struct bl_turn t;
    bl_keeper_touch(d);
    t.actor = a;
    t.result_count = 0;
    t.asked = false;
    bl_stopwatch_start(&t.clock);
    t.watch = bl_watch_take(d, threads, &t);
    if (!t.watch) t.watch = &unwatched; /* more threads than watches: not given up, for once */
    count_targets(&t);
    /* What it has overdrawn counts only as long as others wait. */
    a->deficit_ns = a->deficit_ns < 0 && bl_threads_waiting(threads) > 0 ? a->deficit_ns + BL_QUANTUM_NS : BL_QUANTUM_NS;
    const enum turn_end how = turn(&t);
    bl_message_flush(&t);
    bl_routes_put(t.routes);
    bl_watch_give_back(t.watch);
    if (how == TURN_LOST)
        bl_actor_unref(a); /* the housekeeper has done the rest */
    else
        leave(a, how == TURN_MORE, t.clock.now_ns);
}
