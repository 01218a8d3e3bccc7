/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes are replaced as a whole, so that a turn uses those that it began with; a reference to a target keeps its memory, not
 * its life: what is sent to an actor that stopped is refused as closed.
 */
#include "bl_device.h"

/* ---- routes ---- */

void bl_routes_put(struct bl_routes *r)
{
    if (!r || !bl_refs_put(&r->refs)) return;
    for (uint32_t i = 0; i < r->count; i++) bl_actor_unref(r->target[i].actor);
    bl_free(r);
}

struct bl_routes *bl_routes_get(struct bl_actor *a)
{
    pthread_mutex_lock(&a->lock);
    struct bl_routes *r = a->routes;
    if (r) bl_refs_get(&r->refs);
    pthread_mutex_unlock(&a->lock);
    return r;
}

/* Those that stay, with room for `more`. With more, those that have ended go. Lock held. */
static struct bl_routes *copy_routes(struct bl_actor *a, uint32_t more, uint32_t drop_port, const struct bl_actor *drop_to, bool drop,
                                     struct bl_error *err)
{
    const struct bl_routes *old = a->routes;
    const uint32_t count = old ? old->count : 0;
    struct bl_routes *r = bl_alloc(&a->device->quota, sizeof *r + (count + more) * sizeof r->target[0], err);
    if (!r) return NULL;
    r->refs = 1;
    r->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct bl_target *t = &old->target[i];
        if (drop && t->port == drop_port && (!drop_to || t->actor == drop_to)) continue;
        if (more > 0 && bl_actor_phase(t->actor) >= BL_STOPPED) continue;
        bl_actor_ref(t->actor);
        r->target[r->count++] = *t;
    }
    return r;
}

static size_t port_count(const struct bl_ring_handler *h)
{
    size_t n = 0;
    while (h->ports && h->ports[n]) n++;
    return n;
}

enum bl_status bl_actor_connect(struct bl_actor *from, uint32_t port, struct bl_actor *to, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    struct bl_routes *old = NULL;
    if (from->device != to->device) return bl_fail_invalid(err, "to", "an actor of another device");
    pthread_mutex_lock(&from->lock);
    if (bl_actor_phase(from) >= BL_STOPPED || bl_actor_phase(to) >= BL_STOPPED) {
        status = bl_fail(err, BL_CLOSED); /* bl_routes_end, which takes routes off, has been or will be */
    } else if (port >= port_count(from->handler)) {
        status = bl_fail_invalid(err, "port", "the handler %s has no such port", from->handler->name);
    } else {
        struct bl_routes *r = copy_routes(from, 1, 0, NULL, false, err);
        if (!r) {
            status = err->status;
        } else if (r->count >= BL_TARGETS_MOST) {
            status = bl_fail_limit(err, "targets", BL_TARGETS_MOST, (uint64_t)BL_TARGETS_MOST + 1);
            old = r;
        } else {
            bl_actor_ref(to);
            r->target[r->count++] = (struct bl_target){.port = port, .actor = to};
            old = from->routes;
            from->routes = r;
        }
    }
    pthread_mutex_unlock(&from->lock);
    bl_routes_put(old);
    return status;
}

uint32_t bl_actor_disconnect(struct bl_actor *from, uint32_t port, const struct bl_actor *to)
{
    struct bl_error err;
    struct bl_routes *old = NULL;
    uint32_t gone = 0;
    pthread_mutex_lock(&from->lock);
    struct bl_routes *r = from->routes ? copy_routes(from, 0, port, to, true, &err) : NULL;
    if (r) {
        old = from->routes;
        gone = old->count - r->count;
        from->routes = r;
    }
    pthread_mutex_unlock(&from->lock);
    bl_routes_put(old);
    return gone;
}

/* ---- subscribers ---- */

enum bl_status bl_actor_subscribe(struct bl_actor *a, void *skin, uint64_t window, struct bl_error *err)
{
    struct bl_sink *s = bl_alloc_zero(&a->device->quota, sizeof *s, err);
    if (!s) return err->status;
    s->skin = skin;
    s->credit = window == 0 || window > INT64_MAX / 2 ? INT64_MAX : (int64_t)window;
    enum bl_status status = BL_OK;
    pthread_mutex_lock(&a->lock);
    if (bl_actor_phase(a) >= BL_STOPPED)
        status = bl_fail(err, BL_CLOSED);
    else if (a->sink_count >= BL_SINKS_MOST)
        status = bl_fail_limit(err, "subscribers", BL_SINKS_MOST, BL_SINKS_MOST + 1);
    else {
        bl_link_append(&a->sinks, &s->link);
        /* Release, both: with the acquires in bl_sinks_room and bl_sinks_came; the list is read under the lock anyway. */
        __atomic_store_n(&a->sink_count, (uint16_t)(a->sink_count + 1), __ATOMIC_RELEASE);
        __atomic_store_n(&a->sinks_came, 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&a->lock);
    if (status != BL_OK) bl_free(s);
    return status;
}

static struct bl_sink *find_sink(struct bl_actor *a, const void *skin)
{
    for (struct bl_link *l = a->sinks.next; l != &a->sinks; l = l->next) {
        struct bl_sink *s = BL_CONTAINER(l, struct bl_sink, link);
        if (s->skin == skin) return s;
    }
    return NULL;
}

bool bl_actor_unsubscribe(struct bl_actor *a, const void *skin)
{
    pthread_mutex_lock(&a->lock);
    struct bl_sink *s = find_sink(a, skin);
    if (s) {
        bl_link_remove(&s->link);
        __atomic_store_n(&a->sink_count, (uint16_t)(a->sink_count - 1), __ATOMIC_RELEASE); /* release: as above */
    }
    pthread_mutex_unlock(&a->lock);
    if (!s) return false;
    a->device->host->sink_free(s->skin);
    bl_free(s);
    bl_actor_schedule(a, bl_now_ns()); /* it may have waited for this one's credit */
    return true;
}

bool bl_actor_credit(struct bl_actor *a, const void *skin, uint64_t more)
{
    pthread_mutex_lock(&a->lock);
    struct bl_sink *s = find_sink(a, skin);
    if (s && s->credit != INT64_MAX) {
        const int64_t now = s->credit;
        s->credit = more > (uint64_t)(INT64_MAX / 2 - (now > 0 ? now : 0)) ? INT64_MAX / 2 : now + (int64_t)more;
    }
    pthread_mutex_unlock(&a->lock);
    if (s) bl_actor_schedule(a, bl_now_ns());
    return s != NULL;
}

bool bl_sinks_came(const struct bl_actor *a)
{
    /* Acquire: with the release in bl_actor_subscribe. Who subscribes and then sends is seen before his message is handled. */
    return __atomic_load_n(&a->sinks_came, __ATOMIC_ACQUIRE) != 0;
}

static size_t room(struct bl_actor *a, bool admit)
{
    int64_t least = BL_RESULTS_MOST;
    /* Acquire: with the releases where it changes. Without a subscriber it saves the lock. */
    if (__atomic_load_n(&a->sink_count, __ATOMIC_ACQUIRE) == 0 && !(admit && bl_sinks_came(a))) return BL_RESULTS_MOST;
    pthread_mutex_lock(&a->lock);
    for (struct bl_link *l = a->sinks.next; l != &a->sinks; l = l->next) {
        struct bl_sink *s = BL_CONTAINER(l, struct bl_sink, link);
        if (s->credit < least) least = s->credit;
        s->admitted |= admit;
    }
    if (admit) __atomic_store_n(&a->sinks_came, 0, __ATOMIC_RELAXED); /* relaxed: it changes under the lock alone */
    pthread_mutex_unlock(&a->lock);
    return least > 0 ? (size_t)least : 0;
}

size_t bl_sinks_room(struct bl_actor *a) { return room(a, false); }

size_t bl_sinks_admit(struct bl_actor *a) { return room(a, true); }

static void tell(struct bl_actor *a, struct bl_sink *s, struct bl_result *results, size_t count, bool last)
{
    a->device->host->batch(a, s->skin, results, count, last);
    if (s->credit != INT64_MAX) s->credit -= (int64_t)count;
}

void bl_sinks_batch(struct bl_actor *a, struct bl_result *results, size_t count)
{
    struct bl_sink *next = NULL;
    pthread_mutex_lock(&a->lock);
    for (struct bl_link *l = a->sinks.next; l != &a->sinks; l = l->next) {
        struct bl_sink *s = BL_CONTAINER(l, struct bl_sink, link);
        if (!s->admitted) continue;
        if (next) tell(a, next, results, count, false);
        next = s;
    }
    if (next) tell(a, next, results, count, true);
    pthread_mutex_unlock(&a->lock);
}

void bl_routes_end(struct bl_actor *a)
{
    pthread_mutex_lock(&a->lock);
    struct bl_routes *routes = a->routes;
    a->routes = NULL;
    struct bl_link gone;
    bl_link_init(&gone);
    while (!bl_link_is_alone(&a->sinks)) {
        struct bl_link *l = a->sinks.next;
        bl_link_remove(l);
        bl_link_append(&gone, l);
    }
    __atomic_store_n(&a->sink_count, 0, __ATOMIC_RELEASE); /* release: as above */
    pthread_mutex_unlock(&a->lock);
    bl_routes_put(routes);
    while (!bl_link_is_alone(&gone)) {
        struct bl_sink *s = BL_CONTAINER(gone.next, struct bl_sink, link);
        bl_link_remove(&s->link);
        a->device->host->sink_free(s->skin);
        bl_free(s);
    }
}
