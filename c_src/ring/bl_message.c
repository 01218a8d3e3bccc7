/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_device.h"
#include "bl_sync.h"

#include <stdio.h>

/* ---- into the ring ---- */

enum bl_status bl_fail_actor(struct bl_error *err)
{
    bl_fail(err, BL_DEVICE_FAILED);
    if (err) memcpy(err->text, "the actor failed", sizeof "the actor failed");
    return BL_DEVICE_FAILED;
}

static enum bl_status fail_closed(const struct bl_actor *a, struct bl_error *err)
{
    if (bl_actor_phase(a) != BL_FAILED) return bl_fail(err, BL_CLOSED);
    return bl_fail_actor(err);
}

/* When there may be room: the messages inside times what one takes. */
static uint64_t retry_ms(const struct bl_actor *a)
{
    const uint64_t handled = bl_counted(&a->handled), run_ns = bl_counted(&a->run_ns);
    const uint64_t mean_ns = handled > 0 ? run_ns / handled : 0;
    return 1 + (bl_ring_length(&a->ring) / 2 * mean_ns) / 1000000;
}

enum bl_status bl_message_claim(struct bl_actor *a, uint64_t *position, struct bl_slot **slot, struct bl_error *err)
{
    const enum bl_status failed = bl_device_check(a->device, err);
    if (failed != BL_OK) return failed;
    const enum bl_status status = bl_ring_claim(&a->ring, position);
    if (status == BL_OK) {
        *slot = bl_ring_slot(&a->ring, *position);
        return BL_OK;
    }
    if (status == BL_CLOSED) return fail_closed(a, err);
    __atomic_add_fetch(&a->full, 1, __ATOMIC_RELAXED); /* relaxed: a number that is shown */
    return bl_fail_busy(err, retry_ms(a));
}

void bl_message_send(struct bl_actor *a, uint64_t position, uint64_t now_ns)
{
    bl_ring_commit(&a->ring, position);
    bl_actor_schedule(a, now_ns);
}

/* ---- its end ---- */

static void give_back(struct bl_actor *a, struct bl_slot *slot)
{
    if (slot->flags & BL_MESSAGE_BODY) a->device->host->body_free(slot->payload.body.owner);
    if (slot->flags & BL_MESSAGE_BUFFERS)
        for (unsigned i = 0; i < slot->size; i++) bl_ring_buffer_done(slot->payload.buffers[i], slot->flags >> BL_MESSAGE_WRITES >> i & 1);
}

static void tell(struct bl_actor *a, const struct bl_slot *slot, enum bl_status status, const struct bl_error *err)
{
    if (slot->flags & BL_MESSAGE_REQUEST) {
        a->device->host->answer(a, slot->reply_to, status, err, NULL);
        return;
    }
    bl_count(&a->device->undelivered, 1);
    a->device->host->undelivered(a, slot, status, err);
}

void bl_message_refuse(struct bl_actor *a, struct bl_slot *slot, enum bl_status status, const struct bl_error *err)
{
    give_back(a, slot);
    tell(a, slot, status, err);
}

/* ---- through the handler ---- */

struct call {
    struct bl_ring_outbox out;
    struct bl_turn *turn;
    const struct bl_slot *message;
    void *owner;         /* of a large reply */
    struct bl_error err; /* why there was no room for it; the handler's code tells */
    double scratch[BL_RING_SCRATCH];
};

/* A large one; there is none until space is asked for again. */
static void drop_reply(struct call *c)
{
    if (!c->owner) return;
    c->turn->actor->device->host->body_free(c->owner);
    c->owner = NULL;
    if (c->out.reply == c->out.small) return;
    c->out.reply = c->out.small;
    c->out.reply_size = 0;
    c->out.replied = 0;
}

static uint8_t *call_space(struct bl_ring_outbox *out, uint64_t size)
{
    struct call *c = BL_CONTAINER(out, struct call, out);
    struct bl_device *d = c->turn->actor->device;
    drop_reply(c);
    return d->host->body_new(d, size, &c->owner, &c->err);
}

static int32_t call_send(struct bl_ring_outbox *out, uint32_t port, uint32_t function, const void *data, uint64_t size)
{
    struct call *c = BL_CONTAINER(out, struct call, out);
    const struct bl_routes *routes = c->turn->routes;
    struct bl_actor *from = c->turn->actor;
    int32_t taken = 0;
    bool busy = bl_ring_stopped(out, 0, 1); /* it may have been given up: another has its place then */
    for (uint32_t i = 0; i < routes->count && !busy; i++) {
        if (routes->target[i].port != port) continue;
        struct bl_actor *to = routes->target[i].actor;
        uint64_t position;
        struct bl_slot *slot;
        if (bl_message_claim(to, &position, &slot, NULL) != BL_OK) {
            busy = true;
            continue;
        }
        slot->reply_to = 0;
        slot->deadline_ns = c->message->deadline_ns;
        slot->stamp = bl_clock_send(&from->clock, c->turn->clock.now_ns);
        slot->function = function;
        slot->flags = BL_MESSAGE_ACTOR;
        slot->size = (uint16_t)size;
        memcpy(slot->payload.bytes, data, (size_t)size);
        bl_message_send(to, position, c->turn->clock.now_ns);
        taken++;
    }
    return busy ? BL_RING_SEND_BUSY : taken;
}

static void describe(struct bl_ring_message *m, const struct bl_slot *s)
{
    m->stamp = s->stamp;
    m->deadline_ns = s->deadline_ns;
    m->function = s->function;
    m->buffer_count = s->flags & BL_MESSAGE_BUFFERS ? s->size : 0;
    m->data = s->flags & BL_MESSAGE_BODY ? s->payload.body.data : s->payload.bytes;
    m->size = s->flags & BL_MESSAGE_BODY ? s->payload.body.size : s->flags & BL_MESSAGE_BUFFERS ? 0 : s->size;
    for (uint32_t i = 0; i < m->buffer_count; i++) {
        const struct bl_ring_buffer *b = s->payload.buffers[i];
        m->buffer[i] = (struct bl_ring_view){.data = b->data, .size = b->size};
    }
}

/* What the handler's code means. */
static enum bl_status status_of(const struct bl_actor *a, int32_t code, const struct bl_slot *s, struct bl_error *err)
{
    switch (code) {
    case BL_RING_OK: return BL_OK;
    case BL_RING_INVALID: return bl_fail_invalid(err, "message", "%s: function %u does not take it", a->handler->name, s->function);
    case BL_RING_LIMIT: return bl_fail_limit(err, "state", a->state_size, a->state_size + 1);
    case BL_RING_UNSUPPORTED: return bl_fail_unsupported(err, "function");
    case BL_RING_STOPPED: return bl_fail(err, BL_TIMEOUT);
    case BL_RING_NO_MEMORY: return bl_fail(err, BL_NO_MEMORY);
    default:
        bl_fail(err, BL_DEVICE_FAILED);
        snprintf(err->text, sizeof err->text, "the handler %s failed, code %d", a->handler->name, (int)code);
        return BL_DEVICE_FAILED;
    }
}

/* Runs the code, native or a guest's: BL_OK, or why the message has no result. */
static enum bl_status call_handler(struct bl_actor *a, const struct bl_slot *s, const struct bl_ring_message *m, struct call *c,
                                   struct bl_error *err)
{
    int32_t code = BL_RING_OK;
    enum bl_status status = BL_OK;
    if (a->guest)
        status = bl_ring_guest_of(a->handler)->class->handle(a->guest, a->state, a->state_size, m, &c->out, &code, err);
    else
        code = a->handler->handle(a->state, a->state_size, m, &c->out, 0, 1);
    return status == BL_OK ? status_of(a, code, s, err) : status;
}

static void collect(struct bl_turn *t, struct call *c)
{
    struct bl_result *r = &t->result[t->result_count++];
    *r = (struct bl_result){.size = c->out.reply_size, .owner = c->owner, .data = c->out.reply,
                            .stamp = bl_clock_send(&t->actor->clock, t->clock.now_ns)};
    if (c->out.reply == c->out.small) {
        memcpy(r->small, c->out.small, sizeof r->small);
        r->data = r->small;
    }
    c->owner = NULL;
}

static void answer(struct bl_turn *t, struct call *c, enum bl_status status, const struct bl_error *err)
{
    struct bl_actor *a = t->actor;
    const struct bl_slot *s = c->message;
    if (status != BL_OK || c->out.reply == c->out.small) drop_reply(c);
    if (status != BL_OK) {
        bl_count_own(&a->refused_by_handler, 1);
        tell(a, s, status, err);
    } else if (s->flags & BL_MESSAGE_REQUEST) {
        struct bl_result r = {.data = c->out.reply, .size = c->out.reply_size, .owner = c->owner,
                              .stamp = bl_clock_send(&a->clock, t->clock.now_ns)};
        a->device->host->answer(a, s->reply_to, BL_OK, NULL, c->out.replied ? &r : NULL);
        c->owner = c->out.replied ? r.owner : c->owner;
    } else {
        /* Relaxed: who subscribes while a message is handled may miss it. */
        if (c->out.replied && __atomic_load_n(&a->sink_count, __ATOMIC_RELAXED) > 0) collect(t, c);
        if (a->device->host->handled && !(s->flags & BL_MESSAGE_ACTOR)) a->device->host->handled(a, s);
    }
}

static void expire(struct bl_actor *a, struct bl_slot *s)
{
    struct bl_error err;
    bl_count_own(&a->expired, 1);
    bl_message_refuse(a, s, bl_fail(&err, BL_TIMEOUT), &err);
}

/* A handler that neither computed nor slept so long was kept waiting for its processor. */
static bool was_held(struct bl_turn *t, const struct bl_effort *before)
{
    const uint64_t begin_ns = t->clock.now_ns;
    if (bl_stopwatch_now(&t->clock) - begin_ns <= BL_LONG_NS) return false;
    const struct bl_effort now = bl_thread_effort();
    return now.cpu_ns - before->cpu_ns <= BL_LONG_NS && now.sleeps == before->sleeps;
}

enum bl_handled bl_message_handle(struct bl_turn *t, struct bl_slot *slot)
{
    struct bl_actor *a = t->actor;
    struct bl_device *d = a->device;
    struct bl_slot s = *slot; /* a copy, so that its place is free, and stays ours if the actor is taken from us */
    bl_ring_release(&a->ring);
    t->held = false;
    t->asked = s.flags & BL_MESSAGE_REQUEST && d->config.spin_us > 0;
    if (s.deadline_ns <= t->clock.now_ns) {
        expire(a, &s);
        return BL_HANDLED;
    }
    bl_clock_receive(&a->clock, s.stamp, t->clock.now_ns);
    struct bl_ring_message message;
    struct call c;
    describe(&message, &s);
    c.out.stop = &t->watch->stop;
    c.out.scratch = c.scratch;
    c.out.reply = c.out.small;
    c.out.reply_size = 0;
    c.out.replied = 0;
    memcpy(c.out.targets, t->targets, sizeof c.out.targets);
    c.out.space = call_space;
    c.out.send = call_send;
    c.turn = t;
    c.message = &s;
    c.owner = NULL;
    bl_watch_enter(t->watch, t->clock.now_ns, &s);
    struct bl_error err;
    const struct bl_effort before = a->was_long ? bl_thread_effort() : (struct bl_effort){0};
    const enum bl_status status = call_handler(a, &s, &message, &c, &err);
    t->held = a->was_long && was_held(t, &before);
    const unsigned meanwhile = bl_watch_leave(d, t->watch);
    enum bl_handled handled = BL_HANDLED;
    if (meanwhile & WATCH_ABANDONED) {
        handled = BL_HANDLED_LOST;
    } else {
        bl_count_own(&a->handled, 1);
        /* First: who is answered may use the buffers, and the memory. */
        give_back(a, &s);
        s.flags &= (uint16_t)~(BL_MESSAGE_BODY | BL_MESSAGE_BUFFERS);
        answer(t, &c, status, &err);
        if (status == BL_DEVICE_FAILED) {
            bl_actor_fail(a, &err);
            handled = BL_HANDLED_FAILED;
        }
    }
    give_back(a, &s); /* of one that is lost */
    drop_reply(&c);
    return handled;
}

void bl_message_flush(struct bl_turn *t)
{
    if (t->result_count == 0) return;
    bl_sinks_batch(t->actor, t->result, t->result_count);
    for (size_t i = 0; i < t->result_count; i++)
        if (t->result[i].owner) t->actor->device->host->body_free(t->result[i].owner);
    t->result_count = 0;
}
