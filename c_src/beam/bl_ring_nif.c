/* SPDX-License-Identifier: Apache-2.0
 *
 * The skin of the part ring. Every entry on a normal scheduler takes a bounded time: it reads a few terms and fills a slot, or
 * makes something small. Opening a device and loading handlers start threads and read files, so they are dirty; what copies or
 * zeroes more than INLINE_COPY bytes is, too, and what walks over all actors.
 *
 * What an actor, a device or a buffer is called in Erlang: beamline_ring.erl.
 */
#include "beamline.h"
#include "bl_nif_version.h"
#include "bl_ring_nif.h"
#include "bl_rt_entry.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64, PATH_BYTES = 4096, INLINE_COPY = 65536, SLICE_BYTES = 500000, CASTS_MOST = 256, CASTS_PER_PERCENT = 50 };

static ERL_NIF_TERM am_ok, am_true, am_false, am_all, am_ask;
static const char *const phase_names[] = {"created", "idle", "suspended", "draining", "stopped", "failed"};
static const char *const control_names[] = {"suspend", "resume", "checkpoint", "upgrade", "stop", NULL};

static ERL_NIF_TERM pair(ErlNifEnv *env, ERL_NIF_TERM a, ERL_NIF_TERM b) { return enif_make_tuple2(env, a, b); }

static ERL_NIF_TERM status_error(ErlNifEnv *env, enum bl_status status)
{
    struct bl_error err;
    bl_fail(&err, status);
    return ring_error(env, &err);
}

static ERL_NIF_TERM closed(ErlNifEnv *env) { return status_error(env, BL_CLOSED); }

/* Milliseconds or -1. */
bool ring_get_deadline(ErlNifEnv *env, ERL_NIF_TERM term, uint64_t now_ns, uint64_t *out)
{
    ErlNifSInt64 ms;
    if (!enif_get_int64(env, term, &ms) || ms < -1 || ms > INT64_MAX / 4000000) return false;
    *out = ms < 0 ? UINT64_MAX : now_ns + (uint64_t)ms * 1000000;
    return true;
}

/* ---- devices ------------------------------------------------------------------------------ */

/* ({Threads, MemoryLimit | 0, MaxLost, MaxActors, SpinUs, StackBytes}) -> {ok, Device} | {error, Reason} */
static ERL_NIF_TERM nif_open(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    const ERL_NIF_TERM *e;
    int arity;
    struct bl_device_config config;
    ErlNifUInt64 memory, actors, stack;
    struct bl_device *d;
    struct bl_error err;
    ERL_NIF_TERM term;
    bl_device_config_init(&config);
    if (!enif_get_tuple(env, argv[0], &arity, &e) || arity != 6 || !enif_get_uint(env, e[0], &config.threads) ||
        !enif_get_uint64(env, e[1], &memory) || !enif_get_uint(env, e[2], &config.max_lost) || !enif_get_uint64(env, e[3], &actors) ||
        !enif_get_uint(env, e[4], &config.spin_us) || !enif_get_uint64(env, e[5], &stack))
        return enif_make_badarg(env);
    config.memory_limit = memory;
    config.max_actors = actors;
    config.stack_bytes = stack;
    if (bl_device_open(&config, &ring_host, NULL, &d, &err) != BL_OK) return ring_error(env, &err);
    if (!ring_handle_make(env, DEVICE_HANDLE, d, &term)) return closed(env);
    return pair(env, am_ok, term);
}

/* (Handle of any kind) -> ok: also when it was closed already */
static ERL_NIF_TERM nif_close(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    for (int kind = 0; kind < HANDLE_KINDS; kind++) {
        if (!ring_handle_get(env, argv[0], (enum handle_kind)kind, &h)) continue;
        ring_handle_close(h);
        return am_ok;
    }
    return enif_make_badarg(env);
}

ERL_NIF_TERM ring_map(ErlNifEnv *env, const char *const names[], const uint64_t values[], size_t count)
{
    ERL_NIF_TERM keys[32], terms[32], map;
    for (size_t i = 0; i < count; i++) {
        keys[i] = enif_make_atom(env, names[i]);
        terms[i] = enif_make_uint64(env, values[i]);
    }
    enif_make_map_from_arrays(env, keys, terms, count, &map);
    return map;
}

ERL_NIF_TERM ring_device_map(ErlNifEnv *env, const struct device_numbers *own, const struct bl_device_stats *s)
{
    static const char *const names[] = {"number", "actors", "buffers", "started", "handled", "expired", "busy", "undelivered",
                                        "failed", "lost",
                                        "lost_total", "moved_aside", "memory", "memory_peak", "threads", "threads_aside", "parked",
                                        "memory_limit", "max_lost"};
    const uint64_t values[] = {own->number, s->actors, s->buffers, s->started, s->handled, s->expired, s->busy, s->undelivered, s->failed,
                               s->lost_now, s->lost_total, s->moved_aside, s->memory, s->memory_peak, s->threads, s->threads_aside,
                               s->parked, own->memory_limit, own->max_lost};
    return ring_map(env, names, values, sizeof values / sizeof values[0]);
}

static ERL_NIF_TERM device_map(ErlNifEnv *env, const struct handle *h, struct bl_device *d)
{
    struct bl_device_stats s;
    bl_device_stats(d, &s);
    return ring_device_map(env, &(struct device_numbers){ring_device_number(h), d->config.memory_limit, d->config.max_lost}, &s);
}

/* (Device) -> {ok, Map} | {error, closed}. Walks over all actors: dirty. */
static ERL_NIF_TERM nif_device_info(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    if (ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h)) return am_ask;
    if (!ring_handle_get(env, argv[0], DEVICE_HANDLE, &h)) return enif_make_badarg(env);
    struct bl_device *d = ring_handle_enter(h);
    if (!d) return closed(env);
    const ERL_NIF_TERM map = device_map(env, h, d);
    ring_handle_leave(h);
    return pair(env, am_ok, map);
}

struct listing {
    ErlNifEnv *env;
    ERL_NIF_TERM list;
};

static void list_device(struct handle *h, void *arg)
{
    struct listing *l = arg;
    const ERL_NIF_TERM map = h->kind == FAR_DEVICE_HANDLE ? ring_far_device_map(l->env, h) : device_map(l->env, h, h->object);
    l->list = enif_make_list_cell(l->env, map, l->list);
}

/* () -> {OpenRequests, [Map]}. Dirty. */
static ERL_NIF_TERM nif_devices(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc, (void)argv;
    struct listing l = {.env = env, .list = enif_make_list(env, 0)};
    ring_devices_each(list_device, &l);
    return pair(env, enif_make_uint64(env, ring_requests_open()), l.list);
}

static ERL_NIF_TERM name_list(ErlNifEnv *env, const char *const *names)
{
    ERL_NIF_TERM list[256];
    unsigned n = 0;
    while (names && names[n] && n < 256) {
        list[n] = enif_make_atom(env, names[n]);
        n++;
    }
    return enif_make_list_from_array(env, list, n);
}

ERL_NIF_TERM ring_handler_row(ErlNifEnv *env, const struct bl_ring_handler *r, bool sandboxed)
{
    return enif_make_tuple7(env, enif_make_atom(env, r->name), enif_make_uint(env, r->version), enif_make_uint64(env, r->state_size),
                            name_list(env, r->functions), name_list(env, r->ports),
                            enif_make_string(env, r->summary ? r->summary : "", ERL_NIF_LATIN1),
                            sandboxed ? am_true : am_false);
}

/* (Device) -> {ok, [{Name, Version, StateSize, Functions, Ports, Summary, Sandboxed}]} | {error, closed}, the newest first */
static ERL_NIF_TERM nif_handlers(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    if (!ring_handle_get(env, argv[0], DEVICE_HANDLE, &h)) return ring_far_handlers(env, argc, argv);
    struct bl_device *d = ring_handle_enter(h);
    if (!d) return closed(env);
    ERL_NIF_TERM list = enif_make_list(env, 0);
    pthread_mutex_lock(&d->handlers.lock);
    for (size_t i = 0; i < d->handlers.count; i++) {
        const struct bl_ring_handler *r = d->handlers.handler[i];
        list = enif_make_list_cell(env, ring_handler_row(env, r, bl_ring_guest_of(r) != NULL), list);
    }
    pthread_mutex_unlock(&d->handlers.lock);
    ring_handle_leave(h);
    return pair(env, am_ok, list);
}

/* (Device, PathBinary) -> {ok, Added} | {error, Reason}. Dirty: it opens a shared object. */
static ERL_NIF_TERM nif_load(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    ErlNifBinary path;
    char text[PATH_BYTES];
    struct bl_error err;
    size_t added = 0;
    if (ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h)) return am_ask;
    if (!ring_handle_get(env, argv[0], DEVICE_HANDLE, &h) || !enif_inspect_binary(env, argv[1], &path) || path.size >= sizeof text ||
        memchr(path.data, 0, path.size))
        return enif_make_badarg(env);
    memcpy(text, path.data, path.size);
    text[path.size] = 0;
    struct bl_device *d = ring_handle_enter(h);
    if (!d) return closed(env);
    const enum bl_status status = bl_handlers_load(&d->handlers, text, &added, &err);
    ring_handle_leave(h);
    return status == BL_OK ? pair(env, am_ok, enif_make_uint64(env, added)) : ring_error(env, &err);
}

/* ---- actors --------------------------------------------------------------------------------- */

/* {State, StateSize | 0, Queue, Priority, FromVersion | -1, Stamp} */
bool ring_get_start(ErlNifEnv *env, ERL_NIF_TERM term, struct bl_actor_options *o)
{
    const ERL_NIF_TERM *e;
    int arity, version, priority;
    ErlNifBinary state;
    ErlNifUInt64 size, queue, stamp;
    if (!enif_get_tuple(env, term, &arity, &e) || arity != 6 || !enif_inspect_binary(env, e[0], &state) ||
        !enif_get_uint64(env, e[1], &size) ||
        !enif_get_uint64(env, e[2], &queue) || !enif_get_int(env, e[3], &priority) || !enif_get_int(env, e[4], &version) ||
        !enif_get_uint64(env, e[5], &stamp) || priority < 0 || priority >= BL_CLASSES)
        return false;
    *o = (struct bl_actor_options){.state = state.data, .state_bytes = state.size, .state_size = size, .queue = queue,
                                   .priority = (uint8_t)priority, .from_checkpoint = version >= 0, .from_version = (uint32_t)version,
                                   .stamp = stamp};
    return true;
}

static ERL_NIF_TERM start_actor(ErlNifEnv *env, struct bl_device *d, struct bl_actor_options *o, const struct name *name)
{
    struct bl_error err;
    struct bl_actor *a;
    ERL_NIF_TERM term;
    if (!o->handler) {
        bl_fail_unsupported(&err, "handler");
        return ring_error(env, &err);
    }
    struct handle *skin = ring_actor_handle_new(env, ACTOR_HANDLE, name);
    o->skin = skin;
    if (bl_actor_new(d, o, &a, &err) != BL_OK) {
        ring_actor_handle_drop(skin);
        return ring_error(env, &err);
    }
    if (!ring_actor_handle_open(env, skin, a, &term)) return closed(env);
    return pair(env, am_ok, term);
}

/* Is there so much to zero that it belongs on a dirty scheduler? Or code of a guest to run? */
static bool is_large(const struct bl_actor_options *o)
{
    if (enif_thread_type() != ERL_NIF_THR_NORMAL_SCHEDULER) return false;
    const struct bl_ring_handler *h = o->handler;
    return o->queue > INLINE_COPY / sizeof(struct bl_slot) || o->state_size > INLINE_COPY || o->state_bytes > INLINE_COPY ||
           (h && (h->state_size > INLINE_COPY || bl_ring_guest_of(h)));
}

/* (Device, Handler, Options, Ref) -> {ok, Actor} | {error, Reason} */
static ERL_NIF_TERM nif_start(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct handle *h;
    char name[NAME_BYTES];
    struct bl_actor_options o;
    struct name ref;
    if (ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h)) return ring_far_start(env, argc, argv);
    if (!ring_handle_get(env, argv[0], DEVICE_HANDLE, &h) || enif_get_atom(env, argv[1], name, sizeof name, ERL_NIF_LATIN1) < 1 ||
        !ring_get_start(env, argv[2], &o) || !ring_name_read(env, argv[3], &ref))
        return enif_make_badarg(env);
    struct bl_device *d = ring_handle_enter(h);
    if (!d) return closed(env);
    o.handler = bl_handlers_find(&d->handlers, name);
    const bool large = is_large(&o);
    const ERL_NIF_TERM answer = large ? 0 : start_actor(env, d, &o, &ref);
    ring_handle_leave(h);
    return large ? enif_schedule_nif(env, "start", ERL_NIF_DIRTY_JOB_CPU_BOUND, nif_start, argc, argv) : answer;
}

/* What is told to whom; *slot holds the message. */
static enum bl_status send_message(struct bl_actor *a, struct bl_slot *message, uint64_t now_ns, struct bl_error *err)
{
    uint64_t position;
    struct bl_slot *slot;
    const enum bl_status status = bl_message_claim(a, &position, &slot, err);
    if (status != BL_OK) {
        ring_message_drop(message);
        return status;
    }
    slot->reply_to = message->reply_to;
    slot->deadline_ns = message->deadline_ns;
    /* The clock of the node's processes is the machine's own: it goes forward from one scheduler to the next. */
    slot->stamp = now_ns;
    slot->function = message->function;
    slot->flags = message->flags;
    slot->size = message->size;
    slot->payload = message->payload;
    bl_message_send(a, position, now_ns);
    return BL_OK;
}

static struct reading reading_of(struct bl_actor *a)
{
    return (struct reading){__atomic_load_n(&a->handler, __ATOMIC_ACQUIRE), &a->device->quota, a->device, NULL};
}

/* Where casts of one entry go. */
struct casting {
    struct handle *handle;
    bool far;
    void *actor; /* entered; struct bl_far_actor when far */
    uint64_t now_ns, deadline_ns;
    bool badarg;
    struct bl_error err;
};

/* False: *answer says why not. */
static bool casting_begin(ErlNifEnv *env, const ERL_NIF_TERM argv[], struct casting *c, ERL_NIF_TERM *answer)
{
    c->now_ns = bl_now_ns();
    c->badarg = false;
    c->far = !ring_handle_get(env, argv[0], ACTOR_HANDLE, &c->handle);
    *answer = 0;
    if ((c->far && !ring_handle_get(env, argv[0], FAR_ACTOR_HANDLE, &c->handle)) ||
        !ring_get_deadline(env, argv[2], c->now_ns, &c->deadline_ns))
        *answer = enif_make_badarg(env);
    else if (!(c->actor = ring_handle_enter(c->handle)))
        *answer = closed(env);
    return *answer == 0;
}

static enum bl_status cast(ErlNifEnv *env, struct casting *c, ERL_NIF_TERM term)
{
    struct bl_slot message;
    ErlNifPid self;
    if (c->far) return ring_far_send(env, c->actor, term, c->deadline_ns, 0, NULL, &c->badarg, &c->err);
    const struct reading how = reading_of(c->actor);
    const enum bl_status status = ring_message_read(env, &how, term, &message, &c->badarg, &c->err);
    if (status != BL_OK) return status;
    message.deadline_ns = c->deadline_ns;
    message.reply_to = enif_self(env, &self)->pid;
    return send_message(c->actor, &message, c->now_ns, &c->err);
}

/* (Actor, Message, TimeoutMs | -1) -> ok | {error, Reason} */
static ERL_NIF_TERM nif_cast(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct casting c;
    ERL_NIF_TERM answer;
    if (!casting_begin(env, argv, &c, &answer)) return answer;
    const enum bl_status status = cast(env, &c, argv[1]);
    ring_handle_leave(c.handle);
    if (status == BL_OK) return am_ok;
    return c.badarg ? enif_make_badarg(env) : ring_error(env, &c.err);
}

/* (Actor, [Message], TimeoutMs | -1) -> {ok | {error, Reason}, Rest} | {error, Reason}: the messages in front of Rest are accepted, as
 * many as do not take too long. */
static ERL_NIF_TERM nif_cast_some(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct casting c;
    ERL_NIF_TERM answer, rest = argv[1], head, tail;
    enum bl_status status = BL_OK;
    int count = 0;
    if (!casting_begin(env, argv, &c, &answer)) return answer;
    for (; count < CASTS_MOST && enif_get_list_cell(env, rest, &head, &tail); count++, rest = tail)
        if ((status = cast(env, &c, head)) != BL_OK) break;
    ring_handle_leave(c.handle);
    if (c.badarg || !enif_is_list(env, rest)) return enif_make_badarg(env);
    enif_consume_timeslice(env, 1 + count / CASTS_PER_PERCENT);
    return pair(env, status == BL_OK ? am_ok : ring_error(env, &c.err), rest);
}

/* ---- calls ----
 * An actor whose thread is awake answers sooner than the caller could be suspended and woken. So its last calls say whether
 * the entry stays for a moment: `luck` > 0, of so many that came too late; below, of so many that are not tried. */
enum { LUCK_MOST = 3, UNLUCKY = -16 };

/* Relaxed, all of it: a guess, which others may spoil. */
static bool is_lucky(struct handle *h)
{
    const int16_t luck = __atomic_load_n(&h->luck, __ATOMIC_RELAXED);
    if (luck >= 0) return true;
    __atomic_store_n(&h->luck, (int16_t)(luck + 1), __ATOMIC_RELAXED);
    return false;
}

static void remember(struct handle *h, bool came)
{
    const int16_t luck = __atomic_load_n(&h->luck, __ATOMIC_RELAXED);
    __atomic_store_n(&h->luck, came ? LUCK_MOST : luck > 0 ? (int16_t)(luck - 1) : UNLUCKY, __ATOMIC_RELAXED);
}

/* (Actor, Message, TimeoutMs | -1, Ref) -> Id | {error, Reason}; then {beamline, Ref, Answer} comes. Watched: also the answer. */
static ERL_NIF_TERM request(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[], bool watched)
{
    struct handle *h;
    ERL_NIF_TERM answer;
    struct bl_slot message;
    struct bl_error err;
    bool badarg = false;
    uint64_t id = 0;
    const uint64_t now_ns = bl_now_ns();
    if (!ring_handle_get(env, argv[0], ACTOR_HANDLE, &h)) return ring_far_call(env, argc, argv);
    if (!ring_get_deadline(env, argv[2], now_ns, &message.deadline_ns) || !enif_is_ref(env, argv[3]))
        return enif_make_badarg(env);
    struct bl_actor *a = ring_handle_enter(h);
    if (!a) return closed(env);
    const struct reading how = reading_of(a);
    enum bl_status status = ring_message_read(env, &how, argv[1], &message, &badarg, &err);
    if (status == BL_OK) {
        id = ring_request_new(env, CALL_REQUEST, argv[3], &err);
        message.reply_to = id;
        message.flags |= BL_MESSAGE_REQUEST;
        watched = watched && id != 0 && is_lucky(h);
        if (watched) ring_request_watch(id);
        if (id == 0) {
            ring_message_drop(&message);
            status = err.status;
        } else if ((status = send_message(a, &message, now_ns, &err)) != BL_OK) {
            ring_request_drop(id);
        }
    }
    ring_handle_leave(h);
    if (status != BL_OK) return badarg ? enif_make_badarg(env) : ring_error(env, &err);
    const bool came = watched && ring_request_take(env, id, &answer);
    if (watched) remember(h, came);
    return came ? answer : enif_make_uint64(env, id);
}

static ERL_NIF_TERM nif_request(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) { return request(env, argc, argv, false); }
static ERL_NIF_TERM nif_call(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) { return request(env, argc, argv, true); }

/* (Id) -> boolean(): false when the answer is there or on its way */
static ERL_NIF_TERM nif_cancel(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    ErlNifUInt64 id;
    if (!enif_get_uint64(env, argv[0], &id)) return enif_make_badarg(env);
    return ring_request_cancel(id) ? am_true : am_false;
}

/* NULL: it has ended; or its device is closed, and it will in a moment. */
static struct bl_actor *enter_actor(struct handle *h)
{
    struct bl_actor *a = ring_handle_enter(h);
    if (!a || bl_device_check(a->device, NULL) != BL_CLOSED) return a;
    ring_handle_leave(h);
    return NULL;
}

/* (Actor, Kind, Handler, Ref) -> Id | ok (done already) | {error, Reason}; Handler counts for upgrade, the newest of that name */
static ERL_NIF_TERM nif_control(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    char handler_name[NAME_BYTES];
    struct bl_error err;
    if (!ring_handle_get(env, argv[0], ACTOR_HANDLE, &h)) return ring_far_control(env, argc, argv);
    const int kind = ring_get_control(env, argv[1]);
    if (kind < 0 || enif_get_atom(env, argv[2], handler_name, sizeof handler_name, ERL_NIF_LATIN1) < 1 || !enif_is_ref(env, argv[3]))
        return enif_make_badarg(env);
    struct bl_actor *a = enter_actor(h);
    if (!a) return closed(env);
    if (kind == BL_STOP && bl_actor_stop_idle(a)) {
        ring_handle_leave(h);
        return am_ok;
    }
    const struct bl_ring_handler *handler = kind == BL_UPGRADE ? bl_handlers_find(&a->device->handlers, handler_name) : NULL;
    enum bl_status status = kind == BL_UPGRADE && !handler ? bl_fail_unsupported(&err, "handler") : BL_OK;
    uint64_t id = 0;
    if (status == BL_OK) {
        id = ring_request_new(env, kind == BL_CHECKPOINT ? CHECKPOINT_REQUEST : CONTROL_REQUEST, argv[3], &err);
        status = id == 0 ? err.status : bl_actor_control(a, (enum bl_control_kind)kind, handler, id, &err);
        if (status != BL_OK && id != 0) ring_request_drop(id);
    }
    ring_handle_leave(h);
    return status == BL_OK ? enif_make_uint64(env, id) : ring_error(env, &err);
}

ERL_NIF_TERM ring_actor_map(ErlNifEnv *env, const char *handler, const struct bl_actor_info *i)
{
    static const char *const names[] = {"queue", "queued", "handled", "refused", "expired", "busy", "run_ns", "subscribers",
                                        "state_size", "version", "guest_memory"};
    const uint64_t values[] = {i->queue, i->queued, i->handled, i->refused, i->expired, i->busy, i->run_ns, i->subscribers, i->state_size,
                               i->version, i->guest_memory};
    ERL_NIF_TERM map = ring_map(env, names, values, sizeof values / sizeof values[0]);
    const char *name = i->running ? "running" : phase_names[i->phase <= BL_FAILED ? i->phase : BL_FAILED];
    enif_make_map_put(env, map, enif_make_atom(env, "state"), enif_make_atom(env, name), &map);
    enif_make_map_put(env, map, enif_make_atom(env, "handler"), enif_make_atom(env, handler), &map);
    return map;
}

/* (Actor) -> {ok, Map} | {error, closed} */
static ERL_NIF_TERM nif_actor_info(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    if (ring_handle_get(env, argv[0], FAR_ACTOR_HANDLE, &h)) return am_ask;
    if (!ring_handle_get(env, argv[0], ACTOR_HANDLE, &h)) return enif_make_badarg(env);
    struct bl_actor *a = enter_actor(h);
    if (!a) return closed(env);
    const struct bl_ring_handler *handler = __atomic_load_n(&a->handler, __ATOMIC_ACQUIRE);
    struct bl_actor_info numbers;
    bl_actor_info(a, &numbers);
    const ERL_NIF_TERM map = ring_actor_map(env, handler->name, &numbers);
    ring_handle_leave(h);
    return pair(env, am_ok, map);
}

/* ---- routes, subscribers ----------------------------------------------------------------------- */

/* A port's number or name; -1: there is none. */
int ring_get_port(ErlNifEnv *env, const struct bl_ring_handler *h, ERL_NIF_TERM term)
{
    char name[NAME_BYTES];
    unsigned number;
    if (enif_get_uint(env, term, &number)) return number < BL_RING_PORTS ? (int)number : -1;
    if (enif_get_atom(env, term, name, sizeof name, ERL_NIF_LATIN1) < 1) return -1;
    return bl_name_index(h->ports, name);
}

/* The number of a control's name; -1: there is none. */
int ring_get_control(ErlNifEnv *env, ERL_NIF_TERM term)
{
    char name[NAME_BYTES];
    return enif_get_atom(env, term, name, sizeof name, ERL_NIF_LATIN1) < 1 ? -1 : bl_name_index(control_names, name);
}

/* (Connect, From, Port, To | all) -> ok | {ok, Count} | {error, Reason} */
static ERL_NIF_TERM nif_route(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *from_handle, *to_handle = NULL, *other;
    struct bl_error err;
    const bool connect = argv[0] == am_true;
    if (ring_handle_get(env, argv[1], FAR_ACTOR_HANDLE, &from_handle)) return ring_far_route(env, argc, argv);
    if (!ring_handle_get(env, argv[1], ACTOR_HANDLE, &from_handle)) return enif_make_badarg(env);
    if (ring_handle_get(env, argv[3], FAR_ACTOR_HANDLE, &other)) {
        bl_fail_invalid(&err, "to", "an actor of another device");
        return ring_error(env, &err);
    }
    if (!(ring_handle_get(env, argv[3], ACTOR_HANDLE, &to_handle) || (!connect && argv[3] == am_all)))
        return enif_make_badarg(env);
    struct bl_actor *from = enter_actor(from_handle);
    if (!from) return closed(env);
    struct bl_actor *to = to_handle ? enter_actor(to_handle) : NULL;
    enum bl_status status = to_handle && !to ? bl_fail(&err, BL_CLOSED) : BL_OK;
    uint32_t gone = 0;
    const int port = ring_get_port(env, __atomic_load_n(&from->handler, __ATOMIC_ACQUIRE), argv[2]);
    if (status == BL_OK && port < 0) status = bl_fail_invalid(&err, "port", "the handler has no such port");
    if (status == BL_OK && connect) status = bl_actor_connect(from, (uint32_t)port, to, &err);
    if (status == BL_OK && !connect) gone = bl_actor_disconnect(from, (uint32_t)port, to);
    if (to) ring_handle_leave(to_handle);
    ring_handle_leave(from_handle);
    if (status != BL_OK) return ring_error(env, &err);
    return connect ? am_ok : pair(env, am_ok, enif_make_uint(env, gone));
}

/* (Actor, Window | 0) -> {ok, Subscription} | {error, Reason} */
static ERL_NIF_TERM nif_subscribe(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    ErlNifUInt64 window;
    struct bl_error err;
    if (!ring_handle_get(env, argv[0], ACTOR_HANDLE, &h)) return ring_far_subscribe(env, argc, argv);
    if (!enif_get_uint64(env, argv[1], &window)) return enif_make_badarg(env);
    struct bl_actor *a = enter_actor(h);
    if (!a) return closed(env);
    struct sink *s = ring_sink_new(env, a, NULL);
    ERL_NIF_TERM term = 0;
    enum bl_status status = s ? BL_OK : bl_fail(&err, BL_CLOSED);
    if (s) {
        term = enif_make_resource(env, s);
        status = bl_actor_subscribe(a, s, window, &err); /* keeps our reference until host.sink_free */
        if (status != BL_OK) enif_release_resource(s);
    }
    ring_handle_leave(h);
    return status == BL_OK ? pair(env, am_ok, term) : ring_error(env, &err);
}

/* (Subscription) -> boolean() */
static ERL_NIF_TERM nif_unsubscribe(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct sink *s;
    if (!ring_sink_get(env, argv[0], &s)) return enif_make_badarg(env);
    return (s->actor ? bl_actor_unsubscribe(s->actor, s) : bl_far_actor_unsubscribe(s->far, s)) ? am_true : am_false;
}

/* (Subscription, Results) -> boolean() */
static ERL_NIF_TERM nif_credit(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct sink *s;
    ErlNifUInt64 more;
    if (!ring_sink_get(env, argv[0], &s) || !enif_get_uint64(env, argv[1], &more)) return enif_make_badarg(env);
    return (s->actor ? bl_actor_credit(s->actor, s, more) : bl_far_actor_credit(s->far, s, more)) ? am_true : am_false;
}

/* ---- buffers --------------------------------------------------------------------------------------- */

/* (Device, Bytes) -> {ok, Buffer} | {Id, RequestRef, Buffer} | {error, Reason}. A large one is zeroed on a dirty scheduler. */
static ERL_NIF_TERM nif_buffer(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct handle *h;
    ErlNifUInt64 size;
    struct bl_ring_buffer *b;
    struct bl_error err;
    ERL_NIF_TERM term;
    const bool far = ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h);
    if ((!far && !ring_handle_get(env, argv[0], DEVICE_HANDLE, &h)) || !enif_get_uint64(env, argv[1], &size)) return enif_make_badarg(env);
    if (size > INLINE_COPY && enif_thread_type() == ERL_NIF_THR_NORMAL_SCHEDULER)
        return enif_schedule_nif(env, "buffer", ERL_NIF_DIRTY_JOB_CPU_BOUND, nif_buffer, argc, argv);
    if (far) return ring_far_buffer(env, h, size);
    struct bl_device *d = ring_handle_enter(h);
    if (!d) return closed(env);
    const enum bl_status status = bl_ring_buffer_new(d, size, &b, &err);
    ring_handle_leave(h);
    if (status != BL_OK) return ring_error(env, &err);
    return ring_handle_make(env, BUFFER_HANDLE, b, &term) ? pair(env, am_ok, term) : closed(env);
}

/* (Buffer, Offset, Bytes) -> {ok, Buffer} | {error, Reason} */
static ERL_NIF_TERM nif_view(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    ErlNifUInt64 offset, size;
    struct bl_ring_buffer *view;
    struct bl_error err;
    ERL_NIF_TERM term;
    if (!ring_handle_get(env, argv[0], BUFFER_HANDLE, &h) || !enif_get_uint64(env, argv[1], &offset) ||
        !enif_get_uint64(env, argv[2], &size))
        return enif_make_badarg(env);
    struct bl_ring_buffer *b = ring_handle_enter(h);
    if (!b) return closed(env);
    const enum bl_status status = bl_ring_buffer_view(b, offset, size, &view, &err);
    ring_handle_leave(h);
    if (status != BL_OK) return ring_error(env, &err);
    return ring_handle_make(env, BUFFER_HANDLE, view, &term) ? pair(env, am_ok, term) : closed(env);
}

static enum bl_status in_bounds(const struct bl_ring_buffer *b, uint64_t offset, uint64_t size, struct bl_error *err)
{
    if (offset <= b->size && size <= b->size - offset) return BL_OK;
    return bl_fail_invalid(err, "offset", "not inside of the buffer");
}

static ERL_NIF_TERM write_now(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    ErlNifUInt64 offset;
    ErlNifBinary data;
    struct bl_error err;
    if (!ring_handle_get(env, argv[0], BUFFER_HANDLE, &h) || !enif_get_uint64(env, argv[1], &offset) ||
        !enif_inspect_binary(env, argv[2], &data))
        return enif_make_badarg(env);
    struct bl_ring_buffer *b = ring_handle_enter(h);
    if (!b) return closed(env);
    enum bl_status status = in_bounds(b, offset, data.size, &err);
    if (status == BL_OK) status = bl_ring_buffer_use(b, true, &err);
    if (status == BL_OK) {
        memcpy(b->data + offset, data.data, data.size);
        bl_ring_buffer_done(b, true);
    }
    ring_handle_leave(h);
    return status == BL_OK ? am_ok : ring_error(env, &err);
}

/* (Buffer, Offset, Binary) -> ok | {error, Reason} */
static ERL_NIF_TERM nif_write(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    ErlNifBinary data;
    if (!enif_inspect_binary(env, argv[2], &data)) return enif_make_badarg(env);
    if (data.size > INLINE_COPY) return enif_schedule_nif(env, "write", ERL_NIF_DIRTY_JOB_CPU_BOUND, write_now, argc, argv);
    enif_consume_timeslice(env, 1 + (int)(data.size * 100 / SLICE_BYTES / 10));
    return write_now(env, argc, argv);
}

static ERL_NIF_TERM read_now(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    ErlNifUInt64 offset, size;
    struct bl_error err;
    ERL_NIF_TERM term = 0;
    if (!ring_handle_get(env, argv[0], BUFFER_HANDLE, &h) || !enif_get_uint64(env, argv[1], &offset) ||
        !enif_get_uint64(env, argv[2], &size))
        return enif_make_badarg(env);
    struct bl_ring_buffer *b = ring_handle_enter(h);
    if (!b) return closed(env);
    enum bl_status status = in_bounds(b, offset, size, &err);
    if (status == BL_OK) status = bl_ring_buffer_use(b, false, &err);
    if (status == BL_OK) {
        ErlNifBinary copy;
        if (enif_alloc_binary((size_t)size, &copy)) {
            memcpy(copy.data, b->data + offset, (size_t)size);
            term = enif_make_binary(env, &copy);
        } else {
            status = bl_fail(&err, BL_NO_MEMORY);
        }
        bl_ring_buffer_done(b, false);
    }
    ring_handle_leave(h);
    return status == BL_OK ? pair(env, am_ok, term) : ring_error(env, &err);
}

/* (Buffer, Offset, Bytes) -> {ok, Binary} | {error, Reason}: a copy */
static ERL_NIF_TERM nif_read(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    ErlNifUInt64 size;
    if (!enif_get_uint64(env, argv[2], &size)) return enif_make_badarg(env);
    if (size > INLINE_COPY) return enif_schedule_nif(env, "read", ERL_NIF_DIRTY_JOB_CPU_BOUND, read_now, argc, argv);
    enif_consume_timeslice(env, 1 + (int)(size * 100 / SLICE_BYTES / 10));
    return read_now(env, argc, argv);
}

/* Is it a large one that take must copy? */
static bool is_large_far(struct handle *h)
{
    const struct bl_ring_buffer *b = ring_handle_enter(h);
    const bool large = b && b->far && b->size > INLINE_COPY;
    if (b) ring_handle_leave(h);
    return large;
}

/* (Buffer) -> {ok, Binary} | {error, Reason}: its memory; the handle is closed */
static ERL_NIF_TERM nif_take(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct handle *h;
    struct bl_error err;
    ERL_NIF_TERM binary;
    if (!ring_handle_get(env, argv[0], BUFFER_HANDLE, &h)) return enif_make_badarg(env);
    if (enif_thread_type() == ERL_NIF_THR_NORMAL_SCHEDULER && is_large_far(h))
        return enif_schedule_nif(env, "take", ERL_NIF_DIRTY_JOB_CPU_BOUND, nif_take, argc, argv);
    return ring_handle_take(env, h, &binary, &err) == BL_OK ? pair(env, am_ok, binary) : ring_error(env, &err);
}

/* (Buffer) -> {ok, Bytes} | {error, closed} */
static ERL_NIF_TERM nif_size(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    if (!ring_handle_get(env, argv[0], BUFFER_HANDLE, &h)) return enif_make_badarg(env);
    const struct bl_ring_buffer *b = ring_handle_enter(h);
    if (!b) return closed(env);
    const ERL_NIF_TERM size = enif_make_uint64(env, b->size);
    ring_handle_leave(h);
    return pair(env, am_ok, size);
}

/* (Handle of any kind, Pid) -> ok | {error, Reason} */
static ERL_NIF_TERM nif_give(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h = NULL;
    ErlNifPid to;
    struct bl_error err;
    if (!enif_get_local_pid(env, argv[1], &to)) return enif_make_badarg(env);
    for (int kind = 0; kind < HANDLE_KINDS && !h; kind++)
        if (!ring_handle_get(env, argv[0], (enum handle_kind)kind, &h)) h = NULL;
    if (!h) return enif_make_badarg(env);
    return ring_handle_give(env, h, &to, &err) == BL_OK ? am_ok : ring_error(env, &err);
}

/* ---- loading ----------------------------------------------------------------------------------------- */

static int load(ErlNifEnv *env, void **data, ERL_NIF_TERM expected)
{
    (void)data;
    if (!bl_nif_version_agrees(env, expected)) return 1;
    am_ok = enif_make_atom(env, "ok");
    am_true = enif_make_atom(env, "true");
    am_false = enif_make_atom(env, "false");
    am_all = enif_make_atom(env, "all");
    am_ask = enif_make_atom(env, "ask");
    ring_requests_load(env);
    return ring_handles_load(env) ? 0 : 2;
}

static int upgrade(ErlNifEnv *env, void **data, void **old_data, ERL_NIF_TERM expected)
{
    (void)old_data;
    return load(env, data, expected);
}

/* What a normal scheduler calls, measured in a counting build; the table is written when the VM ends. */
#ifdef BL_COUNT_ENTRIES
#define COUNTED(function)                                                                                                        \
    static ERL_NIF_TERM counted_##function(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])                                  \
    {                                                                                                                            \
        RT_ENTER();                                                                                                              \
        const ERL_NIF_TERM answer = function(env, argc, argv);                                                                   \
        RT_LEAVE(#function);                                                                                                     \
        return answer;                                                                                                           \
    }
COUNTED(nif_close) COUNTED(nif_start) COUNTED(nif_cast) COUNTED(nif_call) COUNTED(nif_request) COUNTED(nif_cancel) COUNTED(nif_control)
COUNTED(nif_actor_info) COUNTED(nif_route) COUNTED(nif_subscribe) COUNTED(nif_unsubscribe) COUNTED(nif_credit) COUNTED(nif_buffer)
COUNTED(nif_view) COUNTED(nif_write) COUNTED(nif_read) COUNTED(nif_take) COUNTED(nif_size) COUNTED(nif_give) COUNTED(nif_cast_some)
COUNTED(ring_far_exited) COUNTED(ring_far_state) COUNTED(ring_far_ask)
#define ENTRY(function) counted_##function

__attribute__((destructor)) static void save_entries(void)
{
    const char *path = getenv("BEAMLINE_RING_ENTRIES");
    if (path) rt_entries_save(path);
}
#else
#define ENTRY(function) function
#endif

static ErlNifFunc functions[] = {
    {"open", 1, nif_open, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"close", 1, ENTRY(nif_close), 0},
    {"device_info", 1, nif_device_info, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"devices", 0, nif_devices, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"handlers", 1, nif_handlers, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"load", 2, nif_load, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"load_guest", 3, ring_load_guest, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"start", 4, ENTRY(nif_start), 0},
    {"cast", 3, ENTRY(nif_cast), 0},
    {"cast_some", 3, ENTRY(nif_cast_some), 0},
    {"call", 4, ENTRY(nif_call), 0},
    {"request", 4, ENTRY(nif_request), 0},
    {"cancel", 1, ENTRY(nif_cancel), 0},
    {"control", 4, ENTRY(nif_control), 0},
    {"actor_info", 1, ENTRY(nif_actor_info), 0},
    {"route", 4, ENTRY(nif_route), 0},
    {"subscribe", 2, ENTRY(nif_subscribe), 0},
    {"unsubscribe", 1, ENTRY(nif_unsubscribe), 0},
    {"credit", 2, ENTRY(nif_credit), 0},
    {"buffer", 2, ENTRY(nif_buffer), 0},
    {"view", 3, ENTRY(nif_view), 0},
    {"write", 3, ENTRY(nif_write), 0},
    {"read", 3, ENTRY(nif_read), 0},
    {"take", 1, ENTRY(nif_take), 0},
    {"size", 1, ENTRY(nif_size), 0},
    {"give", 2, ENTRY(nif_give), 0},
    {"far_open", 1, ring_far_open, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"far_listen", 1, ring_far_listen, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"far_exited", 2, ENTRY(ring_far_exited), 0},
    {"far_state", 1, ENTRY(ring_far_state), 0},
    {"far_ask", 3, ENTRY(ring_far_ask), 0},
    {"far_load_guest", 5, ring_far_load_guest, ERL_NIF_DIRTY_JOB_CPU_BOUND},
};

ERL_NIF_INIT(beamline_ring_nif, functions, load, NULL, upgrade, NULL)
