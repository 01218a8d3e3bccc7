/* SPDX-License-Identifier: Apache-2.0
 *
 * What is done to an actor between two messages, in the order in which it was asked. CHECKPOINT and UPGRADE wait until what
 * was in the ring before them is handled, and let the others pass meanwhile; in a suspended actor they do not wait, and the messages
 * that do meet the new version.
 */
#include "bl_device.h"

struct control {
    struct bl_link link;
    enum bl_control_kind kind;
    const struct bl_ring_handler *handler; /* UPGRADE: the new one */
    uint64_t position;                     /* of the ring's head when it was asked */
    uint64_t request;
    bool begun; /* STOP: it drains */
};

enum bl_status bl_actor_control(struct bl_actor *a, enum bl_control_kind kind, const struct bl_ring_handler *handler, uint64_t request,
                                struct bl_error *err)
{
    struct control *c = bl_alloc_zero(&a->device->quota, sizeof *c, err);
    if (!c) return err->status;
    *c = (struct control){.kind = kind, .handler = handler, .position = bl_ring_head(&a->ring), .request = request};
    pthread_mutex_lock(&a->lock);
    const bool open = bl_actor_phase(a) < BL_STOPPED;
    if (open) {
        bl_link_append(&a->controls, &c->link);
        /* Release: with the exchange of `scheduled` behind it, it is seen by the next turn. */
        __atomic_store_n(&a->control_count, a->control_count + 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&a->lock);
    if (!open) {
        bl_free(c);
        return bl_fail(err, BL_CLOSED);
    }
    bl_actor_schedule(a, bl_now_ns());
    return BL_OK;
}

static struct control *first(struct bl_actor *a)
{
    return bl_link_is_alone(&a->controls) ? NULL : BL_CONTAINER(a->controls.next, struct control, link);
}

static bool is_due(const struct bl_actor *a, const struct control *c)
{
    if (c->kind != BL_CHECKPOINT && c->kind != BL_UPGRADE) return true;
    /* Acquire: with the release in bl_ring_release; what was handled before this position has been. */
    const uint64_t tail = __atomic_load_n(&a->ring.tail, __ATOMIC_ACQUIRE);
    /* 63-bit positions: the sign of the difference, one bit up. */
    return bl_actor_phase(a) == BL_SUSPENDED || (int64_t)((tail - c->position) << 1) >= 0;
}

/* The first that is; none behind a stop that has begun. Lock held. */
static struct control *next_due(struct bl_actor *a)
{
    for (struct bl_link *l = a->controls.next; l != &a->controls; l = l->next) {
        struct control *c = BL_CONTAINER(l, struct control, link);
        if (c->begun) return NULL;
        if (is_due(a, c)) return c;
    }
    return NULL;
}

bool bl_controls_due(struct bl_actor *a)
{
    /* Acquire: with the release where it is raised. Without a control it saves the lock. */
    if (__atomic_load_n(&a->control_count, __ATOMIC_ACQUIRE) == 0) return false;
    pthread_mutex_lock(&a->lock);
    const bool due = next_due(a) != NULL;
    pthread_mutex_unlock(&a->lock);
    return due;
}

static void done(struct bl_actor *a, struct control *c, enum bl_status status, const struct bl_error *err, struct bl_result *result)
{
    pthread_mutex_lock(&a->lock);
    bl_link_remove(&c->link);
    /* Release: who sees it without the lock sees what the control did. */
    __atomic_store_n(&a->control_count, a->control_count - 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&a->lock);
    const uint64_t request = c->request;
    bl_free(c); /* before the answer: what it held may be what the next one needs */
    a->device->host->answer(a, request, status, err, result);
}

static void checkpoint(struct bl_actor *a, struct control *c)
{
    struct bl_device *d = a->device;
    struct bl_error err;
    struct bl_result r = {.size = a->state_size, .stamp = a->clock};
    uint8_t *copy = d->host->body_new(d, a->state_size, &r.owner, &err);
    if (!copy) {
        done(a, c, err.status, &err, NULL);
        return;
    }
    memcpy(copy, a->state, (size_t)a->state_size);
    r.data = copy;
    done(a, c, BL_OK, NULL, &r);
    if (r.owner) d->host->body_free(r.owner);
}

/* The new state in a block of its own; *out NULL: the old one can stay as it is. */
static enum bl_status migrate(struct bl_actor *a, const struct bl_ring_handler *to, struct bl_ring_guest *guest, uint8_t **out,
                              uint64_t *size, struct bl_error *err)
{
    const struct bl_ring_handler *from = a->handler;
    *out = NULL;
    *size = a->state_size;
    if (strcmp(from->name, to->name) != 0) return bl_fail_invalid(err, "handler", "%s is not %s", to->name, from->name);
    const bool fits = *size >= to->state_least && *size <= to->state_most;
    if (to->version == from->version) return fits ? BL_OK : bl_fail_invalid(err, "handler", "its state has another size");
    enum bl_status status = bl_handler_takes(to, from->version, err);
    if (status != BL_OK) return status;
    if (!fits || to->state_size > *size) *size = to->state_size;
    uint8_t *state = bl_alloc_zero(&a->device->quota, (size_t)*size, err);
    if (!state) return err->status;
    status = bl_handler_migrate(to, guest, from->version, a->state, a->state_size, state, *size, err);
    if (status == BL_OK)
        *out = state;
    else
        bl_free(state);
    return status;
}

static void upgrade_now(struct bl_actor *a, struct control *c)
{
    struct bl_error err;
    struct bl_ring_guest *guest;
    uint8_t *state = NULL;
    uint64_t size = 0;
    enum bl_status status = bl_handler_open(c->handler, &a->device->quota, a->state_size, &guest, &err);
    if (status == BL_OK) status = migrate(a, c->handler, guest, &state, &size, &err);
    if (status == BL_OK) {
        const struct bl_ring_handler *old_handler = a->handler;
        struct bl_ring_guest *old_guest = a->guest;
        pthread_mutex_lock(&a->lock); /* bl_actor_connect reads the handler */
        __atomic_store_n(&a->handler, c->handler, __ATOMIC_RELEASE); /* its table is complete, and stays as long as the device */
        a->guest = guest;
        pthread_mutex_unlock(&a->lock);
        bl_handler_close(old_handler, old_guest);
        if (state) bl_actor_set_state(a, state, size);
    } else {
        bl_handler_close(c->handler, guest);
    }
    done(a, c, status, &err, NULL);
}

/* A guest has a second for its migration: meanwhile another thread stands in. */
static void upgrade(struct bl_actor *a, struct control *c)
{
    struct bl_threads *t = bl_ring_guest_of(c->handler) ? bl_device_threads(a->device, a->aside) : NULL;
    if (t) bl_threads_stuck(t);
    upgrade_now(a, c);
    if (t) bl_threads_unstuck(t);
}

void bl_controls_run(struct bl_actor *a)
{
    for (;;) {
        pthread_mutex_lock(&a->lock);
        struct control *c = next_due(a);
        pthread_mutex_unlock(&a->lock);
        if (!c) return;
        switch (c->kind) {
        case BL_SUSPEND:
            if (bl_actor_phase(a) != BL_DRAINING) bl_actor_move(a, BL_SUSPENDED);
            done(a, c, BL_OK, NULL, NULL);
            break;
        case BL_RESUME:
            if (bl_actor_phase(a) == BL_SUSPENDED) bl_actor_move(a, BL_LIVE);
            done(a, c, BL_OK, NULL, NULL);
            break;
        case BL_CHECKPOINT: checkpoint(a, c); break;
        case BL_UPGRADE: upgrade(a, c); break;
        case BL_STOP:
            pthread_mutex_lock(&a->lock); /* who has just left may still look for work */
            c->begun = true; /* answered by bl_controls_end */
            pthread_mutex_unlock(&a->lock);
            bl_actor_move(a, BL_DRAINING);
            bl_ring_close(&a->ring);
            return;
        }
    }
}

void bl_controls_end(struct bl_actor *a)
{
    struct bl_error err;
    const bool failed = bl_actor_phase(a) == BL_FAILED;
    for (;;) {
        pthread_mutex_lock(&a->lock);
        struct control *c = first(a);
        pthread_mutex_unlock(&a->lock);
        if (!c) return;
        if (failed) bl_fail_actor(&err);
        else bl_fail(&err, BL_CLOSED);
        if (c->kind == BL_STOP && !failed)
            done(a, c, BL_OK, NULL, NULL);
        else
            done(a, c, err.status, &err, NULL);
    }
}
