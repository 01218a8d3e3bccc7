/* SPDX-License-Identifier: Apache-2.0
 *
 * What the VM asks for, on the main thread, and what the device tells, on any of its threads.
 */
#include "bl_far_serve.h"

#include <stdio.h>

struct bl_far_end_actor {
    uint32_t index;
    struct bl_actor *actor; /* a reference, while it is in the table */
    struct bl_link sinks;   /* [lock] */
};

struct end_sink {
    struct bl_link link;
    struct bl_far_end_actor *of;
    uint32_t id;
};

static struct bl_far_process *const end = &bl_far_process;

/* ---- what the device tells ---- */

static struct bl_far_end_actor *skin_of(const struct bl_actor *a) { return a->skin; }

static void answer(struct bl_actor *a, uint64_t request, enum bl_status status, const struct bl_error *err, struct bl_result *result)
{
    struct bl_far_head head = {.kind = BL_FAR_ANSWER, .token = request, .function = a->handler->version};
    if (status != BL_OK) {
        bl_far_end_put_error(&head, err);
    } else if (!result) {
        bl_far_end_put(&head, NULL, 0);
    } else if (result->size > BL_FAR_BODY_MOST) {
        struct bl_error limit;
        bl_fail_limit(&limit, "answer_bytes", BL_FAR_BODY_MOST, result->size);
        bl_far_end_put_error(&head, &limit);
    } else {
        head.stamp = result->stamp;
        bl_far_end_put(&head, result->data, result->size);
    }
}

static void handled(struct bl_actor *a, const struct bl_slot *slot)
{
    (void)a;
    bl_far_end_answer(slot->reply_to, NULL, 0);
}

static void undelivered(struct bl_actor *a, const struct bl_slot *slot, enum bl_status status, const struct bl_error *err)
{
    (void)status;
    if (!(slot->flags & BL_MESSAGE_ACTOR)) {
        bl_far_end_answer(slot->reply_to, err, 0);
        return;
    }
    bl_far_end_put_error(&(struct bl_far_head){.kind = BL_FAR_UNDELIVERED, .actor = skin_of(a)->index, .function = slot->function}, err);
}

static void batch(struct bl_actor *a, void *sink, struct bl_result *results, size_t count, bool last)
{
    (void)last;
    const struct end_sink *s = sink;
    bl_far_end_begin();
    for (size_t i = 0; i < count; i++) {
        struct bl_far_head head = {.kind = BL_FAR_RESULT, .actor = skin_of(a)->index, .function = s->id, .stamp = results[i].stamp,
                                   .flags = i + 1 == count ? BL_FAR_LAST : 0};
        bl_far_end_add(&head, results[i].data, results[i].size);
    }
    bl_far_end_end();
}

static void failed(struct bl_actor *a, const struct bl_error *err)
{
    struct bl_device *d = a->device;
    /* Relaxed: the housekeeper raises it and then calls this itself; another thread may see it a moment later. */
    if (__atomic_load_n(&d->lost, __ATOMIC_RELAXED) > d->config.max_lost) {
        struct bl_error why;
        bl_fail(&why, BL_DEVICE_FAILED);
        snprintf(why.text, sizeof why.text, "the handler %.60s did not return in time", a->handler->name);
        bl_far_end_die(&why);
    }
    bl_far_end_put_error(&(struct bl_far_head){.kind = BL_FAR_FAILED, .actor = skin_of(a)->index}, err);
}

static uint8_t *body_new(struct bl_device *d, uint64_t size, void **owner, struct bl_error *err)
{
    if (size > SIZE_MAX / 2) {
        bl_fail(err, BL_NO_MEMORY);
        return NULL;
    }
    return *owner = bl_alloc(&d->quota, (size_t)size, err);
}

static void body_free(void *owner) { bl_free(owner); }

static void sink_free(void *sink)
{
    struct end_sink *s = sink;
    pthread_mutex_lock(&end->lock);
    bl_link_remove(&s->link);
    pthread_mutex_unlock(&end->lock);
    bl_free(s);
}

static void actor_ended(void *skin)
{
    struct bl_far_end_actor *e = skin;
    pthread_mutex_lock(&end->lock);
    struct bl_actor *a = e->actor;
    const uint32_t index = e->index;
    if (a) end->actor[index] = NULL; /* else it was never put there */
    e->actor = NULL;
    pthread_mutex_unlock(&end->lock);
    if (!a) return;
    bl_far_end_put(&(struct bl_far_head){.kind = BL_FAR_ENDED, .actor = index}, NULL, 0);
    bl_actor_unref(a); /* `end` of bl_actor.c has another */
}

static void actor_free(void *skin) { bl_free(skin); }
static void device_free(void *skin) { (void)skin; }

const struct bl_device_host bl_far_device_host = {
    .answer = answer, .undelivered = undelivered, .handled = handled, .batch = batch, .failed = failed, .body_new = body_new,
    .body_free = body_free, .sink_free = sink_free, .actor_ended = actor_ended, .actor_free = actor_free, .device_free = device_free};

/* ---- what the VM says; the main thread, or that of bl_far_later.c ---- */

static struct bl_actor *find_actor(uint32_t index)
{
    pthread_mutex_lock(&end->lock);
    struct bl_far_end_actor *e = index < end->room ? end->actor[index] : NULL;
    struct bl_actor *a = e ? e->actor : NULL;
    if (a) bl_actor_ref(a);
    pthread_mutex_unlock(&end->lock);
    return a;
}

static void closed(uint64_t token)
{
    struct bl_error err;
    bl_fail(&err, BL_CLOSED);
    bl_far_end_answer(token, &err, 0);
}

static enum bl_status put_message(struct bl_actor *a, const struct bl_far_head *h, const struct bl_slot *message, struct bl_error *err)
{
    uint64_t position;
    struct bl_slot *slot;
    const enum bl_status status = bl_message_claim(a, &position, &slot, err);
    if (status != BL_OK) return status;
    slot->reply_to = h->token;
    slot->deadline_ns = h->deadline;
    slot->stamp = h->stamp;
    slot->function = h->function;
    slot->flags = (uint16_t)(message->flags | (h->flags & BL_MESSAGE_REQUEST));
    slot->size = message->size;
    slot->payload = message->payload;
    bl_message_send(a, position, bl_now_ns());
    return BL_OK;
}

/* Takes the body over. */
static void on_message(const struct bl_far_head *h, uint8_t *body)
{
    struct bl_actor *a = find_actor(h->actor);
    struct bl_slot message = {.flags = 0, .size = 0};
    struct bl_error err;
    enum bl_status status = a ? BL_OK : bl_fail(&err, BL_CLOSED);
    const bool buffers = (h->flags & BL_MESSAGE_BUFFERS) != 0;
    if (status == BL_OK && buffers) {
        status = bl_far_end_uses(h, body, &message, &err);
    } else if (body) {
        message.flags = BL_MESSAGE_BODY;
        message.payload.body.data = body;
        message.payload.body.size = h->total;
        message.payload.body.owner = body;
    } else {
        message.size = (uint16_t)h->total;
        memcpy(message.payload.bytes, h->bytes, sizeof h->bytes);
    }
    if (status == BL_OK && (status = put_message(a, h, &message, &err)) != BL_OK && buffers) bl_far_end_unuse(&message);
    if (status != BL_OK || buffers) bl_free(body);
    if (status != BL_OK) bl_far_end_answer(h->token, &err, 0);
    if (a) bl_actor_unref(a);
}

/* Room for one of that index. */
static bool make_room(uint32_t index)
{
    if (index < end->room) return true;
    const uint32_t room = index < 64 ? 128 : 2 * index;
    struct bl_far_end_actor **more = bl_realloc(NULL, end->actor, room * sizeof(struct bl_far_end_actor *), NULL);
    if (!more) return false;
    for (uint32_t i = end->room; i < room; i++) more[i] = NULL;
    end->actor = more;
    end->room = room;
    return true;
}

/* *version: of the handler that it has. */
static enum bl_status start(const struct bl_far_head *h, const struct bl_far_start *s, const uint8_t *state, uint64_t bytes,
                            uint32_t *version, struct bl_error *err)
{
    struct bl_actor_options o = {.state = state, .state_bytes = bytes, .state_size = s->state_size, .queue = s->queue, .stamp = s->stamp,
                                 .priority = (uint8_t)(s->priority % BL_CLASSES), .from_checkpoint = s->from_checkpoint,
                                 .from_version = s->from_version};
    o.handler = bl_handlers_find(&end->device->handlers, s->handler);
    if (!o.handler) return bl_fail_unsupported(err, "handler");
    *version = o.handler->version;
    if (s->again && s->from_checkpoint) o.state_size = 0; /* the checkpoint's: an upgrade may have changed it */
    struct bl_far_end_actor *e = bl_alloc_zero(NULL, sizeof *e, err);
    if (!e) return BL_NO_MEMORY;
    e->index = h->actor;
    bl_link_init(&e->sinks);
    o.skin = e;
    const enum bl_status status = bl_actor_new(end->device, &o, &e->actor, err);
    if (status != BL_OK) {
        bl_free(e);
        return status;
    }
    pthread_mutex_lock(&end->lock);
    const bool room = make_room(h->actor);
    if (room) end->actor[h->actor] = e;
    pthread_mutex_unlock(&end->lock);
    if (room) return BL_OK;
    struct bl_error fatal;
    bl_fail(&fatal, BL_NO_MEMORY);
    bl_far_end_die(&fatal);
}

static void on_start(const struct bl_far_head *h, const uint8_t *body)
{
    struct bl_far_start s;
    struct bl_error err;
    uint32_t version = 0;
    memcpy(&s, body, sizeof s);
    const enum bl_status status = start(h, &s, body + sizeof s, h->total - sizeof s, &version, &err);
    bl_far_end_answer(h->token, status == BL_OK ? NULL : &err, status == BL_OK ? version : 0);
}

static void info(const struct bl_far_head *h, struct bl_actor *a)
{
    struct bl_actor_info numbers;
    bl_actor_info(a, &numbers);
    bl_far_end_put(&(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = h->token}, &numbers, sizeof numbers);
}

static void control(const struct bl_far_head *h, struct bl_actor *a)
{
    struct bl_error err;
    const struct bl_ring_handler *handler = NULL;
    enum bl_status status = BL_OK;
    if (h->function == BL_UPGRADE && !(handler = bl_handlers_find(&end->device->handlers, a->handler->name)))
        status = bl_fail_unsupported(&err, "handler");
    if (status == BL_OK) status = bl_actor_control(a, (enum bl_control_kind)h->function, handler, h->token, &err);
    if (status != BL_OK) bl_far_end_answer(h->token, &err, 0);
}

static void on_control(const struct bl_far_head *h)
{
    struct bl_actor *a = find_actor(h->actor);
    if (!a) {
        closed(h->token);
        return;
    }
    if (h->function == BL_FAR_INFO) {
        info(h, a);
    } else if (h->function == BL_FAR_KILL) {
        bl_far_end_answer(h->token, NULL, 0);
        bl_actor_kill(a, NULL);
    } else {
        control(h, a);
    }
    bl_actor_unref(a);
}

static void on_route(const struct bl_far_head *h)
{
    struct bl_actor *from = find_actor(h->actor), *to = h->deadline <= UINT32_MAX ? find_actor((uint32_t)h->deadline) : NULL;
    struct bl_error err;
    if (from && to && h->flags & BL_FAR_CONNECT) (void)bl_actor_connect(from, h->function, to, &err);
    if (from && !(h->flags & BL_FAR_CONNECT) && (to || h->deadline == UINT64_MAX)) bl_actor_disconnect(from, h->function, to);
    bl_far_end_answer(h->token, NULL, 0);
    if (from) bl_actor_unref(from);
    if (to) bl_actor_unref(to);
}

static struct end_sink *find_sink(struct bl_actor *a, uint32_t id)
{
    struct end_sink *found = NULL;
    struct bl_far_end_actor *e = skin_of(a);
    pthread_mutex_lock(&end->lock);
    for (struct bl_link *l = e->sinks.next; l != &e->sinks && !found; l = l->next) {
        struct end_sink *s = BL_CONTAINER(l, struct end_sink, link);
        if (s->id == id) found = s;
    }
    pthread_mutex_unlock(&end->lock);
    return found; /* bl_actor_* look for it again under the actor's lock, by its address alone */
}

static void subscribe(struct bl_actor *a, uint32_t id, uint64_t window)
{
    struct bl_error err;
    struct end_sink *s = bl_alloc_zero(NULL, sizeof *s, &err);
    if (!s) bl_far_end_die(&err);
    *s = (struct end_sink){.of = skin_of(a), .id = id};
    pthread_mutex_lock(&end->lock);
    bl_link_append(&s->of->sinks, &s->link);
    pthread_mutex_unlock(&end->lock);
    if (bl_actor_subscribe(a, s, window, &err) != BL_OK) sink_free(s);
}

static void on_subscriber(const struct bl_far_head *h)
{
    struct bl_actor *a = find_actor(h->actor);
    if (a) {
        struct end_sink *s = h->kind == BL_FAR_SUBSCRIBE ? NULL : find_sink(a, h->function);
        if (h->kind == BL_FAR_SUBSCRIBE) subscribe(a, h->function, h->deadline);
        if (s && h->kind == BL_FAR_UNSUBSCRIBE) bl_actor_unsubscribe(a, s);
        if (s && h->kind == BL_FAR_CREDIT) bl_actor_credit(a, s, h->deadline);
        bl_actor_unref(a);
    }
    bl_far_end_answer(h->token, NULL, 0);
}

/* ---- handlers ---- */

static bool add_text(char *text, size_t *at, size_t most, const char *name)
{
    const size_t size = strnlen(name, BL_FAR_NAME - 1);
    if (*at + size + 1 > most) return false;
    memcpy(text + *at, name, size);
    text[*at + size] = 0;
    *at += size + 1;
    return true;
}

static bool add_names(char *text, size_t *at, size_t most, const char *const *names, uint32_t limit, uint32_t *count)
{
    *count = 0;
    for (; names && names[*count]; ++*count)
        if (*count == limit || !add_text(text, at, most, names[*count])) return false;
    return true;
}

static void tell_handler(const struct bl_ring_handler *r)
{
    static char block[sizeof(struct bl_far_handler) + BL_FAR_NAMES_BYTES];
    struct bl_far_handler h = {.state_size = r->state_size, .version = r->version, .writes = r->writes,
                               .sandboxed = bl_ring_guest_of(r) != NULL};
    const size_t most = sizeof block;
    size_t at = sizeof h;
    memcpy(h.name, r->name, strnlen(r->name, sizeof h.name - 1));
    if (!add_text(block, &at, most, r->summary ? r->summary : "") ||
        !add_names(block, &at, most, r->functions, BL_FAR_NAMES - BL_RING_PORTS, &h.functions) ||
        !add_names(block, &at, most, r->ports, BL_RING_PORTS, &h.ports))
        return; /* more names than can be told: then nobody can name it either */
    memcpy(block, &h, sizeof h);
    bl_far_end_put(&(struct bl_far_head){.kind = BL_FAR_HANDLER}, block, at);
}

void bl_far_end_tell_handlers(size_t from)
{
    const struct bl_handlers *all = &end->device->handlers; /* one thread at a time adds to them: see bl_far_later.c */
    for (size_t i = from; i < all->count; i++) tell_handler(all->handler[i]);
}

static void on_load(const struct bl_far_head *h, const uint8_t *body)
{
    char path[BL_FAR_TEXT + 1];
    struct bl_error err;
    size_t added = 0;
    if (h->total >= sizeof path) {
        bl_fail_limit(&err, "path", sizeof path - 1, h->total);
        bl_far_end_answer(h->token, &err, 0);
        return;
    }
    memcpy(path, body ? body : h->bytes, h->total);
    path[h->total] = 0;
    const enum bl_status status = bl_handlers_load(&end->device->handlers, path, &added, &err);
    bl_far_end_tell_handlers(end->device->handlers.count - added); /* also those that were there: they are the newest again */
    bl_far_end_answer(h->token, status == BL_OK ? NULL : &err, (uint32_t)added);
}

static void on_load_guests(const struct bl_far_head *h, const uint8_t *body)
{
    struct bl_error err;
    size_t added = 0;
    struct bl_handlers *all = &end->device->handlers;
    const size_t before = all->count;
    const enum bl_status status = end->guests ? end->guests->load(all, body ? body : h->bytes, h->total, &added, &err)
                                              : bl_fail_unsupported(&err, "wasm");
    bl_far_end_tell_handlers(before);
    bl_far_end_answer(h->token, status == BL_OK ? NULL : &err, (uint32_t)added);
}

static void on_stats(const struct bl_far_head *h)
{
    struct bl_device_stats s;
    memset(&s, 0, sizeof s);
    bl_device_stats(end->device, &s);
    bl_far_end_put(&(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = h->token}, &s, sizeof s);
}

/* ---- records ---- */

void bl_far_end_do(const struct bl_far_head *h, uint8_t *body)
{
    switch (h->kind) {
    case BL_FAR_MESSAGE: on_message(h, body); return; /* takes it over */
    case BL_FAR_START: on_start(h, body); break;
    case BL_FAR_CONTROL: on_control(h); break;
    case BL_FAR_ROUTE: on_route(h); break;
    case BL_FAR_LOAD: on_load(h, body); break;
    case BL_FAR_LOAD_GUESTS: on_load_guests(h, body); break;
    case BL_FAR_STATS: on_stats(h); break;
    case BL_FAR_BUFFER:
    case BL_FAR_UNBUFFER: bl_far_end_lend(h); break;
    default: on_subscriber(h); break;
    }
    bl_free(body);
}

