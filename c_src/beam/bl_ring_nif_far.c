/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries for devices in an OS process. A message goes into memory that is shared with that process, or into a queue; nothing
 * here waits for it. What it alone can answer is a request, as a call is.
 */
#include "bl_nif_term.h"
#include "bl_ring_nif.h"

#include <string.h>

enum { NAME_BYTES = 64, PATH_BYTES = 4096, INLINE_COPY = 65536 };

static ERL_NIF_TERM atom(ErlNifEnv *env, const char *name) { return enif_make_atom(env, name); }
static ERL_NIF_TERM ok(ErlNifEnv *env, ERL_NIF_TERM value) { return enif_make_tuple2(env, atom(env, "ok"), value); }

static ERL_NIF_TERM closed(ErlNifEnv *env)
{
    struct bl_error err;
    bl_fail(&err, BL_CLOSED);
    return ring_error(env, &err);
}

/* ---- what the device tells ---- */

struct outcome {
    int *new_atoms;
    const struct bl_far_actor *actor;
    const struct bl_error *err;
    struct bl_result *result;
    uint32_t number;
};

/* What this side knows, beside what the process has told. */
static ERL_NIF_TERM actor_map(ErlNifEnv *env, const struct bl_far_actor *a, struct bl_actor_info *i)
{
    pthread_mutex_lock(&a->device->lock);
    i->queue = a->queue;
    i->queued = a->inside;
    i->busy += a->busy;
    if (a->phase == BL_FAILED) {
        i->phase = BL_FAILED;
        i->version = a->handler->version;
    }
    const char *name = a->handler->name;
    pthread_mutex_unlock(&a->device->lock);
    return ring_actor_map(env, name, i);
}

static ERL_NIF_TERM numbers_of(ErlNifEnv *env, const struct outcome *o)
{
    struct bl_actor_info i;
    memcpy(&i, o->result->data, sizeof i);
    return actor_map(env, o->actor, &i);
}

/* One that failed is not in the process any more. */
static bool has_failed(const struct bl_far_actor *a)
{
    pthread_mutex_lock(&a->device->lock);
    const bool failed = a->phase == BL_FAILED;
    pthread_mutex_unlock(&a->device->lock);
    return failed;
}

static ERL_NIF_TERM failed_map(ErlNifEnv *env, const struct bl_far_actor *a)
{
    struct bl_actor_info i = {.queue = 0};
    return ok(env, actor_map(env, a, &i));
}

static ERL_NIF_TERM what(ErlNifEnv *env, enum request_kind kind, const void *arg)
{
    const struct outcome *o = arg;
    /* The question crossed the news. */
    if (o->err && o->err->status == BL_CLOSED && kind == ACTOR_INFO_REQUEST && has_failed(o->actor)) return failed_map(env, o->actor);
    if (o->err) return ring_foreign_error(env, o->err, o->new_atoms);
    switch (kind) {
    case CALL_REQUEST: return ok(env, ring_result_moved(env, o->result));
    case CHECKPOINT_REQUEST: return ok(env, ring_checkpoint(env, o->actor->handler->name, o->number, o->result));
    case COUNT_REQUEST: return ok(env, enif_make_uint(env, o->number));
    case ACTOR_INFO_REQUEST: return ok(env, numbers_of(env, o));
    default: return atom(env, "ok");
    }
}

static void answer(struct bl_far *d, uint64_t request, const struct bl_error *err, struct bl_result *result, const struct bl_far_actor *a,
                   uint32_t number)
{
    const struct outcome o = {.new_atoms = &d->new_atoms, .actor = a, .err = err, .result = result, .number = number};
    ring_request_answer(request, what, &o);
}

static void undelivered(const struct bl_far_actor *a, uint64_t sender, uint32_t function, const struct bl_error *err)
{
    ring_tell_undelivered(a->skin, sender, function, err, &a->device->new_atoms);
}

static void tell_failed(const struct bl_far_actor *a, const struct bl_error *err) { ring_tell_failed(a->skin, err, &a->device->new_atoms); }

static void batch(void *sink, struct bl_result *results, size_t count) { ring_tell_batch(sink, results, count, true); }

static const struct bl_far_host far_host = {
    .answer = answer, .undelivered = undelivered, .batch = batch, .failed = tell_failed, .body_new = ring_body_new,
    .body_free = ring_body_free, .sink_free = ring_sink_free, .actor_ended = ring_actor_ended, .actor_free = ring_actor_free};

/* ---- devices: for beamline_ring_process ---- */

/* ({Threads, MemoryLimit | 0, MaxLost, MaxActors, SpinUs, StackBytes, HeartbeatMs, CheckpointMs | 0, CheckpointMessages | 0}) ->
 * {ok, Device} | {error, Reason}. It ends with the calling process, whoever its owner will be. */
ERL_NIF_TERM ring_far_open(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    const ERL_NIF_TERM *e;
    int arity;
    ErlNifUInt64 number[9];
    struct bl_error err;
    struct bl_far *d;
    ERL_NIF_TERM term;
    if (!enif_get_tuple(env, argv[0], &arity, &e) || arity != 9) return enif_make_badarg(env);
    for (int i = 0; i < arity; i++)
        if (!enif_get_uint64(env, e[i], &number[i])) return enif_make_badarg(env);
    const struct bl_far_config config = {
        .setup = {.threads = (uint32_t)number[0], .memory_limit = number[1], .max_lost = (uint32_t)number[2], .max_actors = number[3],
                  .spin_us = (uint32_t)number[4], .stack_bytes = number[5]},
        .heartbeat_ns = number[6] * 1000000, .checkpoint_ns = number[7] * 1000000, .checkpoint_messages = number[8]};
    if (bl_far_open(&config, &far_host, &d, &err) != BL_OK) return ring_error(env, &err);
    d->new_atoms = BL_NIF_NEW_ATOMS;
    return ring_handle_make(env, FAR_DEVICE_HANDLE, d, &term) ? ok(env, term) : closed(env);
}

/* (Device) -> {ok, Path} | {error, Reason} */
ERL_NIF_TERM ring_far_listen(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    struct bl_error err;
    char path[BL_PEER_PATH];
    if (!ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h)) return enif_make_badarg(env);
    struct bl_far *d = ring_handle_enter(h);
    if (!d) return closed(env);
    const enum bl_status status = bl_far_listen(d, path, &err);
    ring_handle_leave(h);
    return status == BL_OK ? ok(env, enif_make_string(env, path, ERL_NIF_LATIN1)) : ring_error(env, &err);
}

/* (Device, Why) -> ok */
ERL_NIF_TERM ring_far_exited(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    ErlNifBinary why;
    char text[128] = {0};
    if (!ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h) || !enif_inspect_binary(env, argv[1], &why)) return enif_make_badarg(env);
    struct bl_far *d = ring_handle_enter(h);
    if (!d) return atom(env, "ok");
    memcpy(text, why.data, why.size < sizeof text ? why.size : sizeof text - 1);
    bl_far_exited(d, text);
    ring_handle_leave(h);
    return atom(env, "ok");
}

static const char *const state_names[] = {"down", "listening", "up", "broken", "closed"};

static ERL_NIF_TERM why_term(ErlNifEnv *env, const char *why)
{
    ERL_NIF_TERM term;
    memcpy(enif_make_new_binary(env, strlen(why), &term), why, strlen(why));
    return term;
}

/* (Device) -> {State, Why} | {error, closed} */
ERL_NIF_TERM ring_far_state(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    struct bl_far_info info;
    if (!ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h)) return enif_make_badarg(env);
    struct bl_far *d = ring_handle_enter(h);
    if (!d) return closed(env);
    bl_far_info(d, &info);
    ring_handle_leave(h);
    return enif_make_tuple2(env, atom(env, state_names[info.state]), why_term(env, info.why));
}

/* As `info` gives it. */
ERL_NIF_TERM ring_far_device_map(ErlNifEnv *env, const struct handle *h)
{
    struct bl_far *d = h->object;
    struct bl_far_info info;
    bl_far_info(d, &info);
    const struct bl_far_setup *s = &d->config.setup;
    ERL_NIF_TERM map = ring_device_map(env, &(struct device_numbers){ring_device_number(h), s->memory_limit, s->max_lost}, &info.stats);
    static const char *const names[] = {"pid", "starts", "in_flight"};
    const uint64_t values[] = {info.pid, info.starts, info.in_flight};
    ERL_NIF_TERM host = ring_map(env, names, values, 3);
    enif_make_map_put(env, host, atom(env, "state"), atom(env, state_names[info.state]), &host);
    enif_make_map_put(env, host, atom(env, "why"), why_term(env, info.why), &host);
    enif_make_map_put(env, map, atom(env, "host"), host, &map);
    return map;
}

static enum bl_status load_path(struct bl_far *d, const ErlNifBinary *path, uint64_t request, struct bl_error *err)
{
    struct bl_far_load *load = bl_far_load_new(d, BL_FAR_LOAD, path->size, err);
    if (!load) return err->status;
    memcpy(load->bytes, path->data, path->size);
    return bl_far_load(d, load, request, err);
}

/* (Device, info, Ref) -> Id: then the map can be had by (Device, last, Ref) -> {ok, Map}
 * (Device, Path, Ref) -> Id: loads handlers
 * (Actor, info, Ref) -> Id | {ok, Map} | {error, Reason} */
ERL_NIF_TERM ring_far_ask(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    struct bl_error err;
    ErlNifBinary path;
    const bool actor = ring_handle_get(env, argv[0], FAR_ACTOR_HANDLE, &h);
    if ((!actor && !ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h)) || !enif_is_ref(env, argv[2])) return enif_make_badarg(env);
    const bool load = enif_inspect_binary(env, argv[1], &path);
    if (load && (actor || path.size >= PATH_BYTES || memchr(path.data, 0, path.size))) return enif_make_badarg(env);
    void *object = ring_handle_enter(h);
    if (!object) return closed(env);
    if (!actor && argv[1] == atom(env, "last")) {
        const ERL_NIF_TERM map = ring_far_device_map(env, h);
        ring_handle_leave(h);
        return ok(env, map);
    }
    const uint64_t id = ring_request_new(env, actor ? ACTOR_INFO_REQUEST : load ? COUNT_REQUEST : DEVICE_INFO_REQUEST, argv[2], &err);
    enum bl_status status = id == 0 ? err.status : BL_OK;
    if (id != 0)
        status = actor  ? bl_far_actor_control(object, BL_FAR_INFO, id, &err)
                 : load ? load_path(object, &path, id, &err)
                        : bl_far_ask(object, BL_FAR_STATS, id, &err);
    if (id != 0 && status != BL_OK) ring_request_drop(id);
    const ERL_NIF_TERM map = status != BL_OK && actor && has_failed(object) ? failed_map(env, object) : 0;
    ring_handle_leave(h);
    if (map) return map;
    return status == BL_OK ? enif_make_uint64(env, id) : ring_error(env, &err);
}

/* (Device) -> {ok, Rows}, as of any device */
ERL_NIF_TERM ring_far_handlers(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    if (!ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h)) return enif_make_badarg(env);
    struct bl_far *d = ring_handle_enter(h);
    if (!d) return closed(env);
    ERL_NIF_TERM list = enif_make_list(env, 0), newest_first;
    pthread_mutex_lock(&d->lock);
    for (const struct bl_far_known *k = d->known; k; k = k->next)
        list = enif_make_list_cell(env, ring_handler_row(env, &k->handler, k->sandboxed), list);
    pthread_mutex_unlock(&d->lock);
    ring_handle_leave(h);
    enif_make_reverse_list(env, list, &newest_first);
    return ok(env, newest_first);
}

/* ---- actors ---- */

/* (Device, Handler, Options, Ref) -> {Id, RequestRef, Actor} | {error, Reason}: the request's answer says whether it is there */
ERL_NIF_TERM ring_far_start(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct handle *h;
    char name[NAME_BYTES];
    struct bl_actor_options o;
    struct bl_error err;
    struct bl_far_actor *a;
    struct name named;
    ERL_NIF_TERM term;
    if (!ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h) || enif_get_atom(env, argv[1], name, sizeof name, ERL_NIF_LATIN1) < 1 ||
        !ring_get_start(env, argv[2], &o) || !ring_name_read(env, argv[3], &named))
        return enif_make_badarg(env);
    if (o.state_bytes > INLINE_COPY && enif_thread_type() == ERL_NIF_THR_NORMAL_SCHEDULER)
        return enif_schedule_nif(env, "start", ERL_NIF_DIRTY_JOB_CPU_BOUND, ring_far_start, argc, argv);
    struct bl_far *d = ring_handle_enter(h);
    if (!d) return closed(env);
    const ERL_NIF_TERM ref = enif_make_ref(env);
    o.handler = bl_far_handler(d, name);
    struct handle *skin = NULL;
    uint64_t id = 0;
    enum bl_status status = o.handler ? BL_OK : bl_fail_unsupported(&err, "handler");
    if (status == BL_OK && (id = ring_request_new(env, CONTROL_REQUEST, ref, &err)) == 0) status = err.status;
    if (status == BL_OK) o.skin = skin = ring_actor_handle_new(env, FAR_ACTOR_HANDLE, &named);
    if (status == BL_OK && (status = bl_far_actor_new(d, &o, id, &a, &err)) != BL_OK) ring_request_drop(id);
    if (status != BL_OK && skin) ring_actor_handle_drop(skin);
    ring_handle_leave(h);
    if (status != BL_OK) return ring_error(env, &err);
    return ring_actor_handle_open(env, skin, a, &term) ? enif_make_tuple3(env, enif_make_uint64(env, id), ref, term) : closed(env);
}

enum bl_status ring_far_send(ErlNifEnv *env, struct bl_far_actor *a, ERL_NIF_TERM term, uint64_t deadline_ns, ERL_NIF_TERM ref,
                             uint64_t *id, bool *badarg, struct bl_error *err)
{
    struct bl_slot message = {.deadline_ns = deadline_ns, .stamp = bl_now_ns()};
    const struct reading how = {__atomic_load_n(&a->handler, __ATOMIC_ACQUIRE), &a->device->quota, NULL, a->device};
    ErlNifPid self;
    enum bl_status status = ring_message_read(env, &how, term, &message, badarg, err);
    if (status != BL_OK) return status;
    enif_self(env, &self);
    message.reply_to = self.pid;
    if (id && (*id = ring_request_new(env, CALL_REQUEST, ref, err)) == 0) {
        ring_message_drop(&message);
        return err->status;
    }
    status = bl_far_message(a, &message, id ? *id : 0, err);
    if (status != BL_OK && id) ring_request_drop(*id);
    return status;
}

/* (Actor, Message, TimeoutMs | -1, Ref) -> Id | {error, Reason} */
ERL_NIF_TERM ring_far_call(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    struct bl_error err;
    uint64_t deadline_ns, id = 0;
    bool badarg = false;
    if (!ring_handle_get(env, argv[0], FAR_ACTOR_HANDLE, &h) || !ring_get_deadline(env, argv[2], bl_now_ns(), &deadline_ns) ||
        !enif_is_ref(env, argv[3]))
        return enif_make_badarg(env);
    struct bl_far_actor *a = ring_handle_enter(h);
    if (!a) return closed(env);
    const enum bl_status status = ring_far_send(env, a, argv[1], deadline_ns, argv[3], &id, &badarg, &err);
    ring_handle_leave(h);
    if (status == BL_OK) return enif_make_uint64(env, id);
    return badarg ? enif_make_badarg(env) : ring_error(env, &err);
}

/* (Actor, Kind, Handler, Ref) -> Id | {error, Reason} */
ERL_NIF_TERM ring_far_control(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    struct bl_error err;
    const int kind = ring_get_control(env, argv[1]);
    if (!ring_handle_get(env, argv[0], FAR_ACTOR_HANDLE, &h) || kind < 0 || !enif_is_ref(env, argv[3])) return enif_make_badarg(env);
    struct bl_far_actor *a = ring_handle_enter(h);
    if (!a) return closed(env);
    const uint64_t id = ring_request_new(env, kind == BL_CHECKPOINT ? CHECKPOINT_REQUEST : CONTROL_REQUEST, argv[3], &err);
    enum bl_status status = id == 0 ? err.status : bl_far_actor_control(a, (uint32_t)kind, id, &err);
    if (status != BL_OK && id != 0) ring_request_drop(id);
    ring_handle_leave(h);
    return status == BL_OK ? enif_make_uint64(env, id) : ring_error(env, &err);
}

/* (Connect, From, Port, To | all) -> ok | {ok, Count} | {error, Reason} */
ERL_NIF_TERM ring_far_route(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *from_handle, *to_handle = NULL, *other;
    struct bl_error err;
    const bool connect = argv[0] == atom(env, "true");
    if (!ring_handle_get(env, argv[1], FAR_ACTOR_HANDLE, &from_handle)) return enif_make_badarg(env);
    if (!ring_handle_get(env, argv[3], FAR_ACTOR_HANDLE, &to_handle)) {
        to_handle = NULL;
        if (ring_handle_get(env, argv[3], ACTOR_HANDLE, &other)) {
            bl_fail_invalid(&err, "to", "an actor of another device");
            return ring_error(env, &err);
        }
        if (connect || argv[3] != atom(env, "all")) return enif_make_badarg(env);
    }
    struct bl_far_actor *from = ring_handle_enter(from_handle);
    if (!from) return closed(env);
    struct bl_far_actor *to = to_handle ? ring_handle_enter(to_handle) : NULL;
    enum bl_status status = to_handle && !to ? bl_fail(&err, BL_CLOSED) : BL_OK;
    uint32_t gone = 0;
    const int port = ring_get_port(env, __atomic_load_n(&from->handler, __ATOMIC_ACQUIRE), argv[2]);
    if (status == BL_OK && port < 0) status = bl_fail_invalid(&err, "port", "the handler has no such port");
    if (status == BL_OK && connect) status = bl_far_actor_connect(from, (uint32_t)port, to, &err);
    if (status == BL_OK && !connect) gone = bl_far_actor_disconnect(from, (uint32_t)port, to);
    if (to) ring_handle_leave(to_handle);
    ring_handle_leave(from_handle);
    if (status != BL_OK) return ring_error(env, &err);
    return connect ? atom(env, "ok") : ok(env, enif_make_uint(env, gone));
}

/* (Actor, Window | 0) -> {ok, Subscription} | {error, Reason} */
ERL_NIF_TERM ring_far_subscribe(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    ErlNifUInt64 window;
    struct bl_error err;
    if (!ring_handle_get(env, argv[0], FAR_ACTOR_HANDLE, &h) || !enif_get_uint64(env, argv[1], &window)) return enif_make_badarg(env);
    struct bl_far_actor *a = ring_handle_enter(h);
    if (!a) return closed(env);
    struct sink *s = ring_sink_new(env, NULL, a);
    ERL_NIF_TERM term = 0;
    enum bl_status status = s ? BL_OK : bl_fail(&err, BL_CLOSED);
    if (s) {
        term = enif_make_resource(env, s);
        status = bl_far_actor_subscribe(a, s, window, &err); /* keeps our reference until host.sink_free */
        if (status != BL_OK) enif_release_resource(s);
    }
    ring_handle_leave(h);
    return status == BL_OK ? ok(env, term) : ring_error(env, &err);
}

/* ---- buffers ---- */

/* (Device, Bytes) -> {Id, RequestRef, Buffer} | {error, Reason}: the request's answer says whether it is there */
ERL_NIF_TERM ring_far_buffer(ErlNifEnv *env, struct handle *h, uint64_t size)
{
    struct bl_error err;
    struct bl_ring_buffer *b;
    ERL_NIF_TERM term;
    struct bl_far *d = ring_handle_enter(h);
    if (!d) return closed(env);
    const ERL_NIF_TERM ref = enif_make_ref(env);
    const uint64_t id = ring_request_new(env, CONTROL_REQUEST, ref, &err);
    const enum bl_status status = id == 0 ? err.status : bl_far_buffer_new(d, size, id, &b, &err);
    if (status != BL_OK && id != 0) ring_request_drop(id);
    ring_handle_leave(h);
    if (status != BL_OK) return ring_error(env, &err);
    return ring_handle_make(env, BUFFER_HANDLE, b, &term) ? enif_make_tuple3(env, enif_make_uint64(env, id), ref, term) : closed(env);
}
