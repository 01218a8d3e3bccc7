/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_ring_nif.h"
#include "bl_rt_entry.h"

#include <string.h>

#define CLOSING UINT64_C(1)
#define GONE (UINT64_C(1) << 63)

struct taken {
    struct bl_ring_buffer *buffer;
};

static ErlNifResourceType *handle_type[HANDLE_KINDS], *taken_type, *sink_type;

/* ---- open devices ---- */

static pthread_mutex_t devices_lock = PTHREAD_MUTEX_INITIALIZER;
static struct bl_link devices = {&devices, &devices};
static uint64_t devices_opened;

static bool is_device(uint32_t kind) { return kind == DEVICE_HANDLE || kind == FAR_DEVICE_HANDLE; }

static struct device_handle *device_of(struct handle *h) { return BL_CONTAINER(h, struct device_handle, base); }

static void enlist(struct device_handle *h)
{
    pthread_mutex_lock(&devices_lock);
    h->number = ++devices_opened;
    bl_link_append(&devices, &h->link);
    pthread_mutex_unlock(&devices_lock);
}

static void unlist(struct device_handle *h)
{
    pthread_mutex_lock(&devices_lock);
    bl_link_remove(&h->link);
    pthread_mutex_unlock(&devices_lock);
}

uint64_t ring_device_number(const struct handle *h) { return ((const struct device_handle *)(const void *)h)->number; }

/* Under the lock: who unlists waits for it, and the handle with him. */
void ring_devices_each(void (*fun)(struct handle *h, void *arg), void *arg)
{
    pthread_mutex_lock(&devices_lock);
    for (struct bl_link *l = devices.next; l != &devices; l = l->next) {
        fun(&BL_CONTAINER(l, struct device_handle, link)->base, arg);
    }
    pthread_mutex_unlock(&devices_lock);
}

/* ---- in and out ---- */

/* Closed: ends what it names. */
static void shut(struct handle *h)
{
    switch (h->kind) {
    case DEVICE_HANDLE:
        unlist(device_of(h));
        bl_device_close(h->object);
        break;
    case ACTOR_HANDLE: bl_actor_kill(h->object, NULL); break;
    case BUFFER_HANDLE: bl_ring_buffer_close(h->object); break;
    case FAR_DEVICE_HANDLE:
        unlist(device_of(h));
        bl_far_close(h->object);
        break;
    case FAR_ACTOR_HANDLE: bl_far_actor_kill(h->object); break;
    default: break;
    }
}

static void give_up(struct handle *h)
{
    switch (h->kind) {
    case DEVICE_HANDLE: bl_device_unref(h->object); break;
    case ACTOR_HANDLE: bl_actor_unref(h->object); break;
    case BUFFER_HANDLE: bl_ring_buffer_unref(h->object); break;
    case FAR_DEVICE_HANDLE: bl_far_unref(h->object); break;
    case FAR_ACTOR_HANDLE: bl_far_actor_drop(h->object); break;
    default: break;
    }
}

void ring_handle_leave(struct handle *h)
{
    /* Acquire and release: the last one out sees what the others did. */
    uint64_t word = __atomic_sub_fetch(&h->word, 2, __ATOMIC_ACQ_REL);
    if (word == CLOSING && __atomic_compare_exchange_n(&h->word, &word, GONE, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) give_up(h);
}

void *ring_handle_enter(struct handle *h)
{
    const uint64_t word = __atomic_add_fetch(&h->word, 2, __ATOMIC_ACQ_REL);
    if (!(word & (CLOSING | GONE))) return h->object;
    ring_handle_leave(h);
    return NULL;
}

bool ring_handle_close(struct handle *h)
{
    if (!ring_handle_enter(h)) return false;
    const bool first = !(__atomic_fetch_or(&h->word, CLOSING, __ATOMIC_ACQ_REL) & CLOSING);
    if (first) shut(h);
    ring_handle_leave(h);
    if (first && is_device(h->kind)) enif_release_resource(h);
    return first;
}

bool ring_handle_get(ErlNifEnv *env, ERL_NIF_TERM term, enum handle_kind kind, struct handle **out)
{
    return enif_get_resource(env, term, handle_type[kind], (void **)out) != 0;
}

/* Closed, and named by one reference: the caller's. */
static struct handle *new_handle(ErlNifEnv *env, enum handle_kind kind)
{
    const size_t size = is_device(kind) ? sizeof(struct device_handle) : sizeof(struct handle);
    struct handle *h = enif_alloc_resource(handle_type[kind], size);
    ErlNifPid self;
    memset(h, 0, size);
    h->word = CLOSING | GONE;
    h->kind = (uint16_t)kind;
    enif_self(env, &self);
    h->owner = self.pid;
    if (is_device(kind)) bl_link_init(&device_of(h)->link);
    return h;
}

/* Takes the caller's reference over. */
static bool open_handle(ErlNifEnv *env, struct handle *h, void *object, ERL_NIF_TERM *out)
{
    const ErlNifPid owner = {.pid = h->owner};
    h->object = object;
    if (is_device(h->kind)) {
        enif_keep_resource(h);
        enlist(device_of(h));
    }
    /* Release: what was written above is for who enters. */
    __atomic_store_n(&h->word, 0, __ATOMIC_RELEASE);
    /* On a dirty scheduler the owner may end meanwhile; its end is noticed once the monitor's name is written. */
    bool alive = enif_monitor_process(env, h, &owner, &h->monitor) == 0;
    if (is_device(h->kind)) device_of(h)->keeper = h->monitor;
    alive = alive && enif_is_current_process_alive(env);
    if (!alive) ring_handle_close(h);
    *out = enif_make_resource(env, h);
    enif_release_resource(h);
    return alive;
}

bool ring_handle_make(ErlNifEnv *env, enum handle_kind kind, void *object, ERL_NIF_TERM *out)
{
    return open_handle(env, new_handle(env, kind), object, out);
}

struct handle *ring_actor_handle_new(ErlNifEnv *env, enum handle_kind kind, const struct name *name)
{
    struct handle *h = new_handle(env, kind);
    h->name = *name;
    enif_keep_resource(h);
    return h;
}

bool ring_actor_handle_open(ErlNifEnv *env, struct handle *h, void *object, ERL_NIF_TERM *out) { return open_handle(env, h, object, out); }

void ring_actor_handle_drop(struct handle *h)
{
    ring_actor_ended(h);
    enif_release_resource(h);
}

void ring_actor_ended(void *skin) { enif_release_resource(skin); }

void ring_actor_free(void *skin) { (void)skin; }

enum bl_status ring_handle_give(ErlNifEnv *env, struct handle *h, const ErlNifPid *to, struct bl_error *err)
{
    ErlNifPid self;
    ErlNifMonitor monitor;
    enum bl_status status = BL_OK;
    uint32_t free = 0;
    if (!ring_handle_enter(h)) return bl_fail(err, BL_CLOSED);
    if (!__atomic_compare_exchange_n(&h->changing, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        ring_handle_leave(h);
        return bl_fail_busy(err, 0);
    }
    if (!enif_self(env, &self) || self.pid != __atomic_load_n(&h->owner, __ATOMIC_RELAXED))
        status = bl_fail_invalid(err, "owner", "the caller does not own it");
    else if (enif_monitor_process(env, h, to, &monitor) != 0)
        status = bl_fail_invalid(err, "owner", "not alive");
    if (status == BL_OK) {
        const bool keeps = h->kind == FAR_DEVICE_HANDLE && enif_compare_monitors(&h->monitor, &device_of(h)->keeper) == 0;
        if (!keeps) enif_demonitor_process(env, h, &h->monitor);
        h->monitor = monitor;
        __atomic_store_n(&h->owner, to->pid, __ATOMIC_RELAXED); /* a word of its own: it orders nothing */
    }
    __atomic_store_n(&h->changing, 0, __ATOMIC_RELEASE);
    /* It may have ended before the monitor's name was written: then nobody noticed. The name is written before the look. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    ErlNifPid owner = *to;
    if (status == BL_OK && !enif_is_process_alive(env, &owner)) ring_handle_close(h);
    ring_handle_leave(h);
    return status;
}

/* The use as a writer is given back by the binary's end: the memory is its own until then. */
static void take_memory(ErlNifEnv *env, struct bl_ring_buffer *b, ERL_NIF_TERM *out)
{
    struct taken *t = enif_alloc_resource(taken_type, sizeof *t);
    t->buffer = b;
    *out = enif_make_resource_binary(env, t, b->data, (size_t)b->size);
    enif_release_resource(t);
}

static enum bl_status take_copy(ErlNifEnv *env, struct bl_ring_buffer *b, ERL_NIF_TERM *out, struct bl_error *err)
{
    ErlNifBinary copy;
    const bool there = enif_alloc_binary((size_t)b->size, &copy);
    if (there) {
        memcpy(copy.data, b->data, (size_t)b->size);
        *out = enif_make_binary(env, &copy);
    }
    bl_ring_buffer_done(b, true);
    return there ? BL_OK : bl_fail(err, BL_NO_MEMORY);
}

enum bl_status ring_handle_take(ErlNifEnv *env, struct handle *h, ERL_NIF_TERM *out, struct bl_error *err)
{
    struct bl_ring_buffer *b = ring_handle_enter(h);
    if (!b) return bl_fail(err, BL_CLOSED);
    enum bl_status status = b->parent ? bl_fail_invalid(err, "buffer", "a view") : bl_ring_buffer_use(b, true, err);
    if (status == BL_OK && b->far)
        status = take_copy(env, b, out, err);
    else if (status == BL_OK)
        take_memory(env, b, out);
    if (status == BL_OK) ring_handle_close(h);
    ring_handle_leave(h);
    return status;
}

/* ---- subscribers ---- */

struct sink *ring_sink_new(ErlNifEnv *env, struct bl_actor *a, struct bl_far_actor *far)
{
    struct sink *s = enif_alloc_resource(sink_type, sizeof *s);
    memset(s, 0, sizeof *s);
    enif_self(env, &s->pid);
    if (enif_monitor_process(env, s, &s->pid, &s->monitor) != 0) {
        enif_release_resource(s);
        return NULL;
    }
    if (a) bl_actor_ref(a);
    if (far) bl_far_actor_hold(far);
    s->actor = a;
    s->far = far;
    return s;
}

bool ring_sink_get(ErlNifEnv *env, ERL_NIF_TERM term, struct sink **out)
{
    return enif_get_resource(env, term, sink_type, (void **)out) != 0;
}

/* ---- the VM calls ---- */

static void handle_down(ErlNifEnv *env, void *object, ErlNifPid *pid, ErlNifMonitor *monitor)
{
    (void)env, (void)pid;
    struct handle *h = object;
    RT_ENTER();
    /* Else it is a monitor of an owner who has handed it over. */
    if (enif_compare_monitors(monitor, &h->monitor) == 0 ||
        (h->kind == FAR_DEVICE_HANDLE && enif_compare_monitors(monitor, &device_of(h)->keeper) == 0))
        ring_handle_close(h);
    RT_LEAVE("down");
}

static void handle_destroy(ErlNifEnv *env, void *object)
{
    (void)env;
    RT_ENTER();
    ring_handle_close(object);
    RT_LEAVE("destroy");
}

static void sink_down(ErlNifEnv *env, void *object, ErlNifPid *pid, ErlNifMonitor *monitor)
{
    (void)env, (void)pid, (void)monitor;
    struct sink *s = object;
    RT_ENTER();
    if (s->actor) bl_actor_unsubscribe(s->actor, s);
    if (s->far) bl_far_actor_unsubscribe(s->far, s);
    RT_LEAVE("sink_down");
}

static void sink_destroy(ErlNifEnv *env, void *object)
{
    (void)env;
    struct sink *s = object;
    if (s->actor) bl_actor_unref(s->actor);
    if (s->far) bl_far_actor_drop(s->far);
}

static void taken_destroy(ErlNifEnv *env, void *object)
{
    (void)env;
    RT_ENTER();
    bl_ring_buffer_done(((struct taken *)object)->buffer, true);
    RT_LEAVE("taken_destroy");
}

static ErlNifResourceType *make_type(ErlNifEnv *env, const char *name, ErlNifResourceDtor *destroy, ErlNifResourceDown *down)
{
    ErlNifResourceTypeInit init = {.dtor = destroy, .down = down, .members = 3};
    return enif_init_resource_type(env, name, &init, ERL_NIF_RT_CREATE | ERL_NIF_RT_TAKEOVER, NULL);
}

bool ring_handles_load(ErlNifEnv *env)
{
    handle_type[DEVICE_HANDLE] = make_type(env, "beamline_ring_device", handle_destroy, handle_down);
    handle_type[ACTOR_HANDLE] = make_type(env, "beamline_ring_actor", handle_destroy, handle_down);
    handle_type[BUFFER_HANDLE] = make_type(env, "beamline_ring_buffer", handle_destroy, handle_down);
    handle_type[FAR_DEVICE_HANDLE] = make_type(env, "beamline_ring_far_device", handle_destroy, handle_down);
    handle_type[FAR_ACTOR_HANDLE] = make_type(env, "beamline_ring_far_actor", handle_destroy, handle_down);
    taken_type = make_type(env, "beamline_ring_taken", taken_destroy, NULL);
    sink_type = make_type(env, "beamline_ring_sink", sink_destroy, sink_down);
    for (int kind = 0; kind < HANDLE_KINDS; kind++)
        if (!handle_type[kind]) return false;
    return taken_type && sink_type;
}
