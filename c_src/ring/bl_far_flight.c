/* SPDX-License-Identifier: Apache-2.0
 *
 * A flight stands for something that the process owes an answer to. It is named by a token {generation, index}, so that an
 * answer that was made up is known for one, and it lands once: with the answer, or with the end of the process.
 */
#include "bl_far.h"
#include "bl_sync.h"

static struct bl_far_flight *at(const struct bl_far *d, uint64_t index) { return &d->flight[index / BL_FAR_CHUNK][index % BL_FAR_CHUNK]; }

static bool grow(struct bl_far *d, struct bl_error *err)
{
    const uint32_t chunk = d->flight_room / BL_FAR_CHUNK;
    if (chunk == BL_FAR_CHUNKS) {
        bl_fail_busy(err, 1);
        return false;
    }
    struct bl_far_flight *f = bl_alloc_zero(NULL, BL_FAR_CHUNK * sizeof *f, err);
    if (!f) return false;
    d->flight[chunk] = f;
    for (uint32_t i = 0; i < BL_FAR_CHUNK; i++) {
        f[i].index = d->flight_room++;
        bl_link_append(&d->free, &f[i].link);
    }
    return true;
}

struct bl_far_flight *bl_far_flight_new(struct bl_far *d, enum bl_far_flight_kind kind, enum bl_far_kind record,
                                        struct bl_far_actor *a, struct bl_error *err)
{
    if (bl_link_is_alone(&d->free) && !grow(d, err)) return NULL;
    struct bl_far_flight *f = BL_CONTAINER(d->free.next, struct bl_far_flight, link);
    bl_link_remove(&f->link);
    const uint32_t generation = f->generation + 1, index = f->index;
    *f = (struct bl_far_flight){.index = index, .generation = generation, .kind = (uint8_t)kind, .used = true, .actor = a,
                                .head = {.kind = (uint8_t)record, .token = (uint64_t)generation << 32 | index}};
    bl_link_init(&f->link);
    if (a) {
        f->head.actor = a->index;
        bl_far_actor_ref(a);
    }
    d->flight_count++;
    return f;
}

static void drop_body(struct bl_far *d, struct bl_far_flight *f)
{
    if (f->owner) d->host->body_free(f->owner);
    f->owner = NULL;
    f->data = NULL;
}

/* True: written. What is longer, and what would have to wait, is the sender's. */
static bool go_now(struct bl_far *d, struct bl_far_flight *f)
{
    if (d->state != BL_FAR_STATE_UP || d->sending || !bl_link_is_alone(&d->queue)) return false;
    if (f->head.kind == BL_FAR_START || f->head.total > BL_FAR_NOW_BYTES) return false;
    if (bl_lines_write(&d->out, &f->head, f->data, bl_far_behind(&f->head)) != BL_LINES_OK) return false;
    drop_body(d, f);
    bl_far_wake(d);
    return true;
}

void bl_far_flight_go(struct bl_far *d, struct bl_far_flight *f)
{
    if (go_now(d, f)) return;
    f->queued = true;
    bl_link_append(&d->queue, &f->link);
    pthread_cond_broadcast(&d->changed);
}

void bl_far_quiet(struct bl_far *d, const struct bl_far_head *head, struct bl_far_actor *a)
{
    struct bl_error err;
    struct bl_far_flight *f = bl_far_flight_new(d, BL_FLIGHT_QUIET, (enum bl_far_kind)head->kind, a, &err);
    if (!f) {
        bl_far_break(d, "no memory");
        return;
    }
    f->head.function = head->function;
    f->head.deadline = head->deadline;
    f->head.stamp = head->stamp;
    f->head.flags = head->flags;
    bl_far_flight_go(d, f);
}

/* ---- messages ---- */

static enum bl_status takes_messages(struct bl_far_actor *a, struct bl_error *err)
{
    struct bl_far *d = a->device;
    if (a->phase == BL_FAILED) return bl_fail_actor(err);
    if (a->phase >= BL_DRAINING) return bl_fail(err, BL_CLOSED);
    const enum bl_status status = bl_far_check(d, err);
    if (status != BL_OK) return status;
    if (a->inside < a->queue && d->flight_count < BL_FAR_FLIGHTS_MOST) return BL_OK;
    a->busy++;
    d->busy++;
    return bl_fail_busy(err, 1);
}

/* Where the bytes of a message are, and how many. */
struct content {
    const void *data;
    uint64_t size;
    void *owner;
    struct bl_far_uses *uses;
};

static enum bl_status content_of(const struct bl_slot *slot, struct content *c, struct bl_error *err)
{
    *c = (struct content){.data = slot->payload.bytes, .size = slot->size};
    if (slot->flags & BL_MESSAGE_BODY)
        *c = (struct content){.data = slot->payload.body.data, .size = slot->payload.body.size, .owner = slot->payload.body.owner};
    if (slot->flags & BL_MESSAGE_BUFFERS) {
        c->uses = bl_far_uses_new(slot, err);
        if (!c->uses) return err->status;
        c->data = c->uses->use;
        c->size = slot->size * sizeof c->uses->use[0];
    }
    return c->size <= BL_FAR_BODY_MOST ? BL_OK : bl_fail_limit(err, "message_bytes", BL_FAR_BODY_MOST, c->size);
}

static void drop_slot(struct bl_far *d, const struct bl_slot *slot)
{
    if (slot->flags & BL_MESSAGE_BODY) d->host->body_free(slot->payload.body.owner);
    if (slot->flags & BL_MESSAGE_BUFFERS)
        for (unsigned i = 0; i < slot->size; i++) bl_ring_buffer_done(slot->payload.buffers[i], slot->flags >> BL_MESSAGE_WRITES >> i & 1);
}

enum bl_status bl_far_message(struct bl_far_actor *a, const struct bl_slot *slot, uint64_t request, struct bl_error *err)
{
    struct bl_far *d = a->device;
    struct bl_far_flight *f = NULL;
    struct content c;
    enum bl_status status = content_of(slot, &c, err);
    pthread_mutex_lock(&d->lock);
    if (status == BL_OK) status = takes_messages(a, err);
    const enum bl_far_flight_kind kind = request ? BL_FLIGHT_CALL : BL_FLIGHT_CAST;
    if (status == BL_OK && !(f = bl_far_flight_new(d, kind, BL_FAR_MESSAGE, a, err))) status = err->status;
    if (f) {
        a->inside++;
        f->request = request ? request : slot->reply_to;
        f->head.flags = (uint16_t)((slot->flags & ~BL_MESSAGE_BODY) | (request ? BL_MESSAGE_REQUEST : 0));
        f->head.function = slot->function;
        f->head.deadline = slot->deadline_ns;
        f->head.stamp = slot->stamp;
        f->head.total = (uint32_t)c.size;
        f->data = c.data;
        f->owner = c.owner;
        f->uses = c.uses;
        if (c.size <= BL_FAR_INLINE) memcpy(f->head.bytes, c.data, c.size);
        bl_far_flight_go(d, f);
    }
    pthread_mutex_unlock(&d->lock);
    if (f) return BL_OK;
    bl_free(c.uses);
    drop_slot(d, slot);
    return status;
}

enum bl_status bl_far_ask(struct bl_far *d, enum bl_far_kind kind, uint64_t request, struct bl_error *err)
{
    struct bl_far_flight *f = NULL;
    pthread_mutex_lock(&d->lock);
    enum bl_status status = bl_far_check(d, err);
    if (status == BL_OK && !(f = bl_far_flight_new(d, BL_FLIGHT_CONTROL, kind, NULL, err))) status = err->status;
    if (f) {
        f->request = request;
        bl_far_flight_go(d, f);
    }
    pthread_mutex_unlock(&d->lock);
    return status;
}

/* ---- answers ---- */

struct bl_far_flight *bl_far_flight_find(struct bl_far *d, uint64_t token)
{
    const uint64_t index = token & UINT32_MAX;
    if (index >= d->flight_room) return NULL;
    struct bl_far_flight *f = at(d, index);
    return f->used && !f->queued && f->generation == token >> 32 ? f : NULL;
}

static void give_back(struct bl_far *d, struct bl_far_flight *f)
{
    f->used = f->queued = false;
    d->flight_count--;
    bl_link_append(&d->free, &f->link);
}

/* What its messages are read by from now on: the row of what the process says that it runs. Lock held. */
static void adopt(struct bl_far_actor *a, uint32_t version)
{
    const struct bl_far_known *k = a->device->known;
    while (k && !(strcmp(k->handler.name, a->handler->name) == 0 && k->handler.version == version)) k = k->next;
    /* Release: for those who read it without the lock; its row is complete and stays. */
    if (k) __atomic_store_n(&a->handler, &k->handler, __ATOMIC_RELEASE);
}

/* What an actor counts, and where it is now. Lock held. */
static void note(struct bl_far_actor *a, const struct bl_far_flight *f, bool ok, uint32_t number)
{
    if (f->head.kind == BL_FAR_MESSAGE) {
        a->inside--;
        if (ok) bl_far_count_message(a);
        if (a->phase == BL_CREATED) a->phase = BL_LIVE;
    } else if (f->head.kind == BL_FAR_CREDIT) {
        bl_far_credited(a, f->head.function);
    } else if (f->head.kind == BL_FAR_START) {
        a->device->started += ok && f->kind == BL_FLIGHT_CONTROL;
        if (ok) adopt(a, number);
    } else if (f->head.kind == BL_FAR_CONTROL) {
        if (f->head.function == BL_CHECKPOINT && f->kind == BL_FLIGHT_QUIET) a->checkpointing = false;
        if (f->head.function == BL_CHECKPOINT && !ok && a->since_checkpoint == 0) a->since_checkpoint = 1; /* it is due as before */
        if (f->head.function == BL_SUSPEND && ok) a->suspended = true;
        if (f->head.function == BL_RESUME && ok) a->suspended = false;
        if (f->head.function == BL_UPGRADE && ok) adopt(a, number);
    }
}

static void tell(struct bl_far *d, const struct bl_far_flight *f, const struct bl_error *err, struct bl_result *result, uint32_t number)
{
    const bool start = f->head.kind == BL_FAR_START && err;
    /* One that could not be made; with the end of the process it is made by the next, unless its starter is told. First: who is
     * told can start another in its place. */
    if (start && (f->kind == BL_FLIGHT_CONTROL || err->status != BL_HOST_EXITED))
        bl_far_actor_end(f->actor, f->kind == BL_FLIGHT_QUIET ? BL_FAILED : BL_STOPPED, f->kind == BL_FLIGHT_QUIET ? err : NULL);
    if (f->kind == BL_FLIGHT_CALL || f->kind == BL_FLIGHT_CONTROL)
        d->host->answer(d, f->request, err, result, f->actor, number);
    else if (f->kind == BL_FLIGHT_CAST && err)
        d->host->undelivered(f->actor, f->request, f->head.function, err);
}

/* A message may cross the news that its actor has failed; the process does not know that one any more. Lock held. */
static bool has_crossed(const struct bl_far_flight *f, const struct bl_error *err)
{
    return err && err->status == BL_CLOSED && f->head.kind == BL_FAR_MESSAGE && f->actor->phase == BL_FAILED;
}

void bl_far_flight_land(struct bl_far *d, struct bl_far_flight *f, const struct bl_error *err, struct bl_result *result,
                        uint32_t number)
{
    struct bl_error failed;
    pthread_mutex_lock(&d->lock);
    /* Who is answered has its body given back: the sender, which has written all of it, is about to do so. Of a process that answers
     * what it has not got yet, it waits for room until the heartbeat is missed. */
    while (d->sending && d->sent == f->head.token) bl_cond_wait_until(&d->changed, &d->lock, UINT64_MAX);
    if (has_crossed(f, err)) {
        bl_fail_actor(&failed);
        err = &failed;
    }
    struct bl_far_flight copy = *f;
    bl_link_remove(&f->link);
    give_back(d, f);
    if (copy.actor) note(copy.actor, &copy, !err, number);
    if (copy.kind == BL_FLIGHT_CAST && err) d->undelivered++;
    if (copy.load && copy.kind == BL_FLIGHT_CONTROL && !err && bl_far_remember(d, copy.load)) copy.load = NULL;
    pthread_mutex_unlock(&d->lock);
    drop_body(d, &copy);
    bl_far_load_unref(copy.load);
    if (copy.uses) bl_far_uses_done(copy.uses); /* who is answered may use them */
    tell(d, &copy, err, result, number);
    if (copy.actor) bl_far_actor_unref(copy.actor);
}

void bl_far_flights_fail(struct bl_far *d, const struct bl_error *err)
{
    for (uint32_t i = 0; i < d->flight_room; i++)
        if (at(d, i)->used) bl_far_flight_land(d, at(d, i), err, NULL, 0);
}
