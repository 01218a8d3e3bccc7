/* SPDX-License-Identifier: Apache-2.0
 *
 * Actors that live in another process. This side keeps what it takes to make them again there: the handler's name, the options,
 * the last state that it was given, routes and subscribers. doc/ring.md says what of an actor outlives its process.
 */
#include "bl_far.h"

/* ---- states ---- */

static struct bl_far_saved *new_saved(struct bl_far *d, uint64_t size, struct bl_error *err)
{
    struct bl_far_saved *s = bl_alloc(&d->quota, sizeof *s + (size_t)size, err);
    if (s) *s = (struct bl_far_saved){.refs = 1, .size = size};
    return s;
}

void bl_far_saved_unref(struct bl_far_saved *s)
{
    if (s && bl_refs_put(&s->refs)) bl_free(s);
}

void bl_far_save(struct bl_far_actor *a, struct bl_far_saved *saved)
{
    pthread_mutex_lock(&a->device->lock);
    struct bl_far_saved *old = a->saved;
    a->saved = saved;
    pthread_mutex_unlock(&a->device->lock);
    bl_far_saved_unref(old);
}

void bl_far_start_of(const struct bl_far_actor *a, bool again, struct bl_far_start *out)
{
    *out = (struct bl_far_start){.state_size = a->state_size, .queue = a->queue, .priority = a->priority, .again = again,
                                 .stamp = a->saved->stamp, .from_version = a->saved->version, .from_checkpoint = a->saved->from_checkpoint};
    memcpy(out->handler, a->handler->name, strnlen(a->handler->name, sizeof out->handler - 1));
}

/* ---- the table; lock held ---- */

static bool find_index(struct bl_far *d, uint32_t *index)
{
    for (uint32_t i = 0; i < d->actor_room; i++) {
        const uint32_t at = (d->next_index + i) % d->actor_room;
        if (d->actor[at]) continue;
        *index = at;
        d->next_index = at + 1;
        return true;
    }
    const uint32_t room = d->actor_room ? 2 * d->actor_room : 64;
    struct bl_far_actor **more = bl_realloc(NULL, d->actor, room * sizeof(struct bl_far_actor *), NULL);
    if (!more) return false;
    for (uint32_t i = d->actor_room; i < room; i++) more[i] = NULL;
    d->actor = more;
    *index = d->actor_room;
    d->actor_room = room;
    d->next_index = *index + 1;
    return true;
}

static enum bl_status enlist(struct bl_far_actor *a, uint64_t request, struct bl_error *err)
{
    struct bl_far *d = a->device;
    enum bl_status status = bl_far_check(d, err);
    if (status != BL_OK) return status;
    if (d->actor_count >= d->config.setup.max_actors)
        return bl_fail_limit(err, "actors", d->config.setup.max_actors, d->config.setup.max_actors + 1);
    if (!find_index(d, &a->index)) return bl_fail(err, BL_NO_MEMORY);
    struct bl_far_flight *f = bl_far_flight_new(d, BL_FLIGHT_CONTROL, BL_FAR_START, a, err);
    if (!f) return err->status;
    f->request = request;
    f->head.total = (uint32_t)(sizeof(struct bl_far_start) + a->saved->size);
    d->actor[a->index] = a;
    d->actor_count++;
    bl_far_actor_ref(a);
    bl_far_flight_go(d, f);
    return BL_OK;
}

enum bl_status bl_far_actor_new(struct bl_far *d, const struct bl_actor_options *o, uint64_t request, struct bl_far_actor **out,
                                struct bl_error *err)
{
    if (o->queue < 1 || o->queue > BL_RING_COUNT_MAX) return bl_fail_limit(err, "queue", BL_RING_COUNT_MAX, o->queue);
    if (o->state_bytes > BL_FAR_BODY_MOST - sizeof(struct bl_far_start))
        return bl_fail_limit(err, "state_size", BL_FAR_BODY_MOST, o->state_bytes);
    struct bl_far_actor *a = bl_alloc_zero(&d->quota, sizeof *a, err);
    if (!a) return err->status;
    *a = (struct bl_far_actor){.refs = 1, .holds = 2, .device = d, .skin = o->skin, .handler = o->handler, .state_size = o->state_size,
                               .queue = UINT64_C(1) << bl_ring_shift(o->queue), .priority = o->priority};
    bl_link_init(&a->sinks);
    a->saved = new_saved(d, o->state_bytes, err);
    if (!a->saved) {
        bl_free(a);
        return err->status;
    }
    if (o->state_bytes > 0) memcpy(a->saved->bytes, o->state, (size_t)o->state_bytes);
    a->saved->version = o->from_version;
    a->saved->from_checkpoint = o->from_checkpoint;
    a->saved->stamp = o->stamp;
    bl_far_ref(d);
    pthread_mutex_lock(&d->lock);
    const enum bl_status status = enlist(a, request, err);
    pthread_mutex_unlock(&d->lock);
    if (status != BL_OK) {
        a->skin = NULL; /* still the caller's */
        bl_far_actor_drop(a);
    }
    bl_far_actor_unref(a);
    if (status == BL_OK) *out = a;
    return status;
}

void bl_far_actor_ref(struct bl_far_actor *a) { bl_refs_get(&a->refs); }

void bl_far_actor_unref(struct bl_far_actor *a)
{
    if (!bl_refs_put(&a->refs)) return;
    if (a->skin) a->device->host->actor_ended(a->skin);
    bl_far_actor_drop(a);
}

void bl_far_actor_hold(struct bl_far_actor *a) { bl_refs_get(&a->holds); }

void bl_far_actor_drop(struct bl_far_actor *a)
{
    if (!bl_refs_put(&a->holds)) return;
    struct bl_far *d = a->device;
    if (a->skin) d->host->actor_free(a->skin);
    bl_far_saved_unref(a->saved);
    bl_free(a);
    bl_far_unref(d);
}

/* ---- its end ---- */

void bl_far_sink_unref(struct bl_far *d, struct bl_far_sink *s)
{
    if (!bl_refs_put(&s->refs)) return;
    d->host->sink_free(s->skin);
    bl_free(s);
}

static void drop_routes(struct bl_far_route *route, size_t count)
{
    for (size_t i = 0; i < count; i++) bl_far_actor_unref(route[i].to);
    bl_free(route);
}

static void drop_sinks(struct bl_far *d, struct bl_link *sinks)
{
    while (!bl_link_is_alone(sinks)) {
        struct bl_far_sink *s = BL_CONTAINER(sinks->next, struct bl_far_sink, link);
        bl_link_remove(&s->link);
        bl_far_sink_unref(d, s);
    }
}

void bl_far_actor_end(struct bl_far_actor *a, enum bl_phase phase, const struct bl_error *err)
{
    struct bl_far *d = a->device;
    struct bl_link sinks;
    bl_link_init(&sinks);
    pthread_mutex_lock(&d->lock);
    const bool news = a->phase < BL_STOPPED;
    if (news) a->phase = phase;
    const bool listed = a->index < d->actor_room && d->actor[a->index] == a;
    struct bl_far_route *route = a->route;
    const size_t routes = a->route_count;
    if (listed) {
        d->actor[a->index] = NULL;
        d->actor_count--;
        while (!bl_link_is_alone(&a->sinks)) {
            struct bl_link *l = a->sinks.next;
            bl_link_remove(l);
            bl_link_append(&sinks, l);
        }
        a->route = NULL;
        a->route_count = 0;
    }
    if (news && phase == BL_FAILED) d->failures++;
    pthread_mutex_unlock(&d->lock);
    if (news && err) d->host->failed(a, err);
    if (!listed) return;
    drop_sinks(d, &sinks);
    drop_routes(route, routes);
    bl_far_actor_unref(a);
}

void bl_far_actor_kill(struct bl_far_actor *a)
{
    struct bl_far *d = a->device;
    pthread_mutex_lock(&d->lock);
    const bool first = a->phase < BL_STOPPED;
    const bool there = d->state == BL_FAR_STATE_UP;
    if (first) a->phase = BL_STOPPED;
    if (first && there) bl_far_quiet(d, &(struct bl_far_head){.kind = BL_FAR_CONTROL, .function = BL_FAR_KILL}, a);
    pthread_mutex_unlock(&d->lock);
    if (first && !there) bl_far_actor_end(a, BL_STOPPED, NULL);
}

/* ---- between two messages ---- */

static enum bl_status is_open(const struct bl_far_actor *a, struct bl_error *err)
{
    return a->phase < BL_DRAINING ? bl_far_check(a->device, err) : bl_fail(err, BL_CLOSED);
}

enum bl_status bl_far_actor_control(struct bl_far_actor *a, uint32_t kind, uint64_t request, struct bl_error *err)
{
    struct bl_far *d = a->device;
    struct bl_far_flight *f = NULL;
    pthread_mutex_lock(&d->lock);
    enum bl_status status = kind == BL_FAR_INFO && a->phase < BL_STOPPED ? bl_far_check(d, err) : is_open(a, err);
    if (status == BL_OK && !(f = bl_far_flight_new(d, BL_FLIGHT_CONTROL, BL_FAR_CONTROL, a, err))) status = err->status;
    if (f) {
        f->request = request;
        f->head.function = kind;
        if (kind == BL_STOP) a->phase = BL_DRAINING;
        if (kind == BL_CHECKPOINT) a->since_checkpoint = 0;
        bl_far_flight_go(d, f);
    }
    pthread_mutex_unlock(&d->lock);
    return status;
}

static void ask_checkpoint(struct bl_far_actor *a)
{
    if (a->checkpointing || a->phase >= BL_DRAINING) return;
    a->checkpointing = true;
    a->since_checkpoint = 0;
    bl_far_quiet(a->device, &(struct bl_far_head){.kind = BL_FAR_CONTROL, .function = BL_CHECKPOINT}, a);
}

void bl_far_count_message(struct bl_far_actor *a)
{
    const uint64_t every = a->device->config.checkpoint_messages;
    a->since_checkpoint++;
    if (every > 0 && a->since_checkpoint >= every && a->device->state == BL_FAR_STATE_UP) ask_checkpoint(a);
}

void bl_far_checkpoints(struct bl_far *d, uint32_t actors)
{
    for (; actors > 0 && d->checkpoint_at < d->actor_room; actors--) {
        struct bl_far_actor *a = d->actor[d->checkpoint_at++];
        if (a && (a->since_checkpoint > 0 || a->fed)) ask_checkpoint(a);
    }
}

/* ---- routes ---- */

static size_t port_count(const struct bl_ring_handler *h)
{
    size_t n = 0;
    while (h->ports && h->ports[n]) n++;
    return n;
}

static void send_route(struct bl_far_actor *from, uint32_t port, const struct bl_far_actor *to, bool connect)
{
    if (from->device->state != BL_FAR_STATE_UP) return; /* the next process learns of it */
    bl_far_quiet(from->device, &(struct bl_far_head){.kind = BL_FAR_ROUTE, .function = port, .deadline = to ? to->index : UINT64_MAX,
                                                     .flags = connect ? BL_FAR_CONNECT : 0}, from);
}

enum { ROUTES_AT_ONCE = 64 };

/* Which routes go. */
struct parting {
    bool ended; /* those to actors that have ended; else those of: */
    uint32_t port;
    const struct bl_far_actor *to; /* NULL: to any */
};

static bool goes(const struct bl_far_route *r, const struct parting *p)
{
    return p->ended ? r->to->phase >= BL_STOPPED : r->port == p->port && (!p->to || r->to == p->to);
}

/* Takes some of those that go off; the references are the caller's. Lock held. */
static uint32_t take_routes(struct bl_far_actor *from, const struct parting *p, struct bl_far_actor *gone[ROUTES_AT_ONCE])
{
    uint32_t some = 0;
    size_t kept = 0;
    for (size_t i = 0; i < from->route_count; i++) {
        const struct bl_far_route r = from->route[i];
        if (some < ROUTES_AT_ONCE && goes(&r, p))
            gone[some++] = r.to;
        else
            from->route[kept++] = r;
    }
    from->route_count = kept;
    return some;
}

enum bl_status bl_far_actor_connect(struct bl_far_actor *from, uint32_t port, struct bl_far_actor *to, struct bl_error *err)
{
    struct bl_far *d = from->device;
    struct bl_far_actor *gone[ROUTES_AT_ONCE];
    if (d != to->device) return bl_fail_invalid(err, "to", "an actor of another device");
    enum bl_status status = BL_OK;
    pthread_mutex_lock(&d->lock);
    const uint32_t ended = take_routes(from, &(struct parting){.ended = true}, gone); /* as the process does it */
    if (from->phase >= BL_STOPPED || to->phase >= BL_STOPPED) {
        status = bl_fail(err, BL_CLOSED);
    } else if (d->flight_count >= BL_FAR_FLIGHTS_MOST) {
        status = bl_fail_busy(err, 1);
    } else if (port >= port_count(from->handler)) {
        status = bl_fail_invalid(err, "port", "the handler %s has no such port", from->handler->name);
    } else if (from->route_count >= BL_TARGETS_MOST) {
        status = bl_fail_limit(err, "targets", BL_TARGETS_MOST, (uint64_t)BL_TARGETS_MOST + 1);
    } else {
        struct bl_far_route *more = bl_realloc(&d->quota, from->route, (from->route_count + 1) * sizeof *more, err);
        if (more) {
            bl_far_actor_ref(to);
            to->fed = true;
            more[from->route_count++] = (struct bl_far_route){.port = port, .to = to};
            from->route = more;
            send_route(from, port, to, true);
        } else {
            status = err->status;
        }
    }
    pthread_mutex_unlock(&d->lock);
    for (uint32_t i = 0; i < ended; i++) bl_far_actor_unref(gone[i]);
    return status;
}

uint32_t bl_far_actor_disconnect(struct bl_far_actor *from, uint32_t port, const struct bl_far_actor *to)
{
    struct bl_far *d = from->device;
    struct bl_far_actor *gone[ROUTES_AT_ONCE];
    uint32_t count = 0, some;
    do { /* references are given up without the lock; one pass for each handful of them */
        pthread_mutex_lock(&d->lock);
        some = take_routes(from, &(struct parting){.port = port, .to = to}, gone);
        if (count == 0 && some > 0) send_route(from, port, to, false);
        pthread_mutex_unlock(&d->lock);
        for (uint32_t i = 0; i < some; i++) bl_far_actor_unref(gone[i]);
        count += some;
    } while (some == ROUTES_AT_ONCE);
    return count;
}

/* ---- subscribers ---- */

static void send_sink(struct bl_far_actor *a, enum bl_far_kind kind, const struct bl_far_sink *s, uint64_t number)
{
    if (a->device->state != BL_FAR_STATE_UP) return;
    bl_far_quiet(a->device, &(struct bl_far_head){.kind = (uint8_t)kind, .function = s->id, .deadline = number}, a);
}

enum bl_status bl_far_actor_subscribe(struct bl_far_actor *a, void *skin, uint64_t window, struct bl_error *err)
{
    struct bl_far *d = a->device;
    struct bl_far_sink *s = bl_alloc_zero(&d->quota, sizeof *s, err);
    if (!s) return err->status;
    *s = (struct bl_far_sink){.refs = 1, .skin = skin, .window = window};
    size_t count = 0;
    enum bl_status status = BL_OK;
    pthread_mutex_lock(&d->lock);
    for (const struct bl_link *l = a->sinks.next; l != &a->sinks; l = l->next) count++;
    if (a->phase >= BL_STOPPED)
        status = bl_fail(err, BL_CLOSED);
    else if (d->flight_count >= BL_FAR_FLIGHTS_MOST)
        status = bl_fail_busy(err, 1);
    else if (count >= BL_SINKS_MOST)
        status = bl_fail_limit(err, "subscribers", BL_SINKS_MOST, BL_SINKS_MOST + 1);
    if (status == BL_OK) {
        s->id = ++d->sink_count;
        bl_link_append(&a->sinks, &s->link);
        send_sink(a, BL_FAR_SUBSCRIBE, s, window);
    }
    pthread_mutex_unlock(&d->lock);
    if (status != BL_OK) bl_free(s);
    return status;
}

static struct bl_far_sink *find_sink(const struct bl_far_actor *a, const void *skin)
{
    for (struct bl_link *l = a->sinks.next; l != &a->sinks; l = l->next) {
        struct bl_far_sink *s = BL_CONTAINER(l, struct bl_far_sink, link);
        if (s->skin == skin) return s;
    }
    return NULL;
}

bool bl_far_actor_unsubscribe(struct bl_far_actor *a, const void *skin)
{
    struct bl_far *d = a->device;
    pthread_mutex_lock(&d->lock);
    struct bl_far_sink *s = find_sink(a, skin);
    if (s) {
        bl_link_remove(&s->link);
        send_sink(a, BL_FAR_UNSUBSCRIBE, s, 0);
    }
    pthread_mutex_unlock(&d->lock);
    if (s) bl_far_sink_unref(d, s);
    return s != NULL;
}

enum { CREDITS_AT_ONCE = 16 };

/* A few at a time for each, so that a process that does not listen cannot make them many. Between two processes there is nothing to
 * allow: in the next one the window is whole. */
static void send_credit(struct bl_far_actor *a, struct bl_far_sink *s)
{
    if (s->owed == 0 || s->crediting == CREDITS_AT_ONCE) return;
    if (a->device->state == BL_FAR_STATE_UP) {
        s->crediting++;
        send_sink(a, BL_FAR_CREDIT, s, s->owed);
    }
    s->owed = 0;
}

void bl_far_credited(struct bl_far_actor *a, uint32_t id)
{
    for (struct bl_link *l = a->sinks.next; l != &a->sinks; l = l->next) {
        struct bl_far_sink *s = BL_CONTAINER(l, struct bl_far_sink, link);
        if (s->id != id) continue;
        s->crediting--;
        send_credit(a, s);
        return;
    }
}

bool bl_far_actor_credit(struct bl_far_actor *a, const void *skin, uint64_t more)
{
    pthread_mutex_lock(&a->device->lock);
    struct bl_far_sink *s = find_sink(a, skin);
    if (s) {
        s->owed = more > UINT64_MAX - s->owed ? UINT64_MAX : s->owed + more;
        send_credit(a, s);
    }
    pthread_mutex_unlock(&a->device->lock);
    return s != NULL;
}

/* ---- the next process; lock held ---- */

static bool load_again(struct bl_far *d, struct bl_far_load *load)
{
    struct bl_error err;
    struct bl_far_flight *f = bl_far_flight_new(d, BL_FLIGHT_QUIET, (enum bl_far_kind)load->kind, NULL, &err);
    if (!f) return false;
    bl_refs_get(&load->refs);
    bl_far_flight_load(f, load);
    bl_far_flight_go(d, f);
    return true;
}

static bool start_again(struct bl_far_actor *a)
{
    struct bl_far *d = a->device;
    struct bl_error err;
    struct bl_far_flight *f = bl_far_flight_new(d, BL_FLIGHT_QUIET, BL_FAR_START, a, &err);
    if (!f) return false;
    f->again = true;
    f->head.total = (uint32_t)(sizeof(struct bl_far_start) + a->saved->size);
    a->since_checkpoint = 0;
    bl_far_flight_go(d, f);
    if (a->suspended) bl_far_quiet(d, &(struct bl_far_head){.kind = BL_FAR_CONTROL, .function = BL_SUSPEND}, a);
    for (const struct bl_link *l = a->sinks.next; l != &a->sinks; l = l->next) {
        const struct bl_far_sink *s = BL_CONTAINER(l, struct bl_far_sink, link);
        send_sink(a, BL_FAR_SUBSCRIBE, s, s->window);
    }
    return true;
}

void bl_far_again(struct bl_far *d)
{
    bool ok = true;
    for (size_t i = 0; i < d->load_count && ok; i++) ok = load_again(d, d->load[i]);
    bl_far_buffers_again(d);
    for (uint32_t i = 0; i < d->actor_room && ok; i++)
        if (d->actor[i]) ok = start_again(d->actor[i]);
    for (uint32_t i = 0; i < d->actor_room && ok; i++)
        for (size_t r = 0; d->actor[i] && r < d->actor[i]->route_count; r++) {
            const struct bl_far_route *route = &d->actor[i]->route[r];
            if (route->to->phase < BL_STOPPED) send_route(d->actor[i], route->port, route->to, true);
        }
    if (!ok) bl_far_break(d, "no memory");
}
