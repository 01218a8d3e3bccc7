/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the skin of the part ring.
 *
 *   bl_ring_nif.c           entries, atoms, loading
 *   bl_ring_nif_handle.c    handles: devices, actors, buffers, subscribers; their owners
 *   bl_ring_nif_name.c      an actor's name in messages
 *   bl_ring_nif_message.c   a term becomes a message; bodies
 *   bl_ring_nif_request.c   who waits for an answer; what the device tells processes
 *   bl_ring_nif_far.c       entries for devices in an OS process
 *   bl_ring_nif_guest.c     handlers of WebAssembly
 */
#ifndef BL_RING_NIF_H
#define BL_RING_NIF_H

#include <erl_nif.h>

#include "bl_device.h"
#include "bl_far.h"

#pragma GCC visibility push(hidden)

/* ---- handles ---- */

enum handle_kind { DEVICE_HANDLE, ACTOR_HANDLE, BUFFER_HANDLE, FAR_DEVICE_HANDLE, FAR_ACTOR_HANDLE, HANDLE_KINDS };

/* A reference of the node, in few bytes: an environment to keep the term in would be larger than all the rest of a handle. */
struct name {
    uint32_t id[3];
};
/* False: not of the form that make_ref gives. */
bool ring_name_read(ErlNifEnv *env, ERL_NIF_TERM ref, struct name *out);
ERL_NIF_TERM ring_name_make(ErlNifEnv *env, const struct name *name);

/* word: users * 2 + closing. Who finds `closing` and no users in it, first, gives the object up; nobody waits.
 * An open device and an actor that has not ended keep their handle: they do not need a term. The handle of an actor is its skin. */
struct handle {
    uint64_t word; /* atomic */
    void *object;  /* struct bl_device, bl_actor, bl_ring_buffer, bl_far, bl_far_actor: a reference */
    uint64_t owner; /* atomic: ErlNifPid.pid; the device's threads read it */
    ErlNifMonitor monitor;
    uint16_t kind;     /* enum handle_kind */
    int16_t luck;      /* atomic: of an actor, see bl_ring_nif.c */
    uint32_t changing; /* atomic: the owner is being replaced */
    struct name name;  /* of an actor */
};

/* Of a device. There are few of them, and many actors. */
struct device_handle {
    struct handle base;
    struct bl_link link;
    uint64_t number;
    ErlNifMonitor keeper; /* FAR_DEVICE: of the process that has its OS process; it ends with that, too */
};

bool ring_handles_load(ErlNifEnv *env);
/* A term for it, owned by the caller; takes the reference over, also when it fails (the caller is dying). */
bool ring_handle_make(ErlNifEnv *env, enum handle_kind kind, void *object, ERL_NIF_TERM *out);
/* The skin of an actor that is about to be made: its handle, closed, kept until ring_actor_ended. Then _open it, which is the
 * second half of ring_handle_make, or _drop it if there will be no actor. */
struct handle *ring_actor_handle_new(ErlNifEnv *env, enum handle_kind kind, const struct name *name);
bool ring_actor_handle_open(ErlNifEnv *env, struct handle *h, void *object, ERL_NIF_TERM *out);
void ring_actor_handle_drop(struct handle *h);
uint64_t ring_device_number(const struct handle *h);
/* False: not a handle of that kind. */
bool ring_handle_get(ErlNifEnv *env, ERL_NIF_TERM term, enum handle_kind kind, struct handle **out);
/* The object, to be left again; NULL: closed. */
void *ring_handle_enter(struct handle *h);
void ring_handle_leave(struct handle *h);
/* Nobody tells in its name any more. */
void ring_actor_ended(void *skin);
/* A skin is its handle's: nothing to free. */
void ring_actor_free(void *skin);
/* True: this call did it. */
bool ring_handle_close(struct handle *h);
/* BL_BUSY, BL_CLOSED, BL_INVALID (not the owner; the new one is dead). */
enum bl_status ring_handle_give(ErlNifEnv *env, struct handle *h, const ErlNifPid *to, struct bl_error *err);
/* A binary that is the buffer's memory, or a copy of it where another process could write it; its handle is closed. BL_BUSY,
 * BL_CLOSED. */
enum bl_status ring_handle_take(ErlNifEnv *env, struct handle *h, ERL_NIF_TERM *out, struct bl_error *err);
/* Calls for each open device, of both kinds. */
void ring_devices_each(void (*fun)(struct handle *h, void *arg), void *arg);

struct sink {
    struct bl_actor *actor; /* a reference */
    struct bl_far_actor *far; /* or this is held */
    ErlNifPid pid;
    ErlNifMonitor monitor;
};
struct sink *ring_sink_new(ErlNifEnv *env, struct bl_actor *a, struct bl_far_actor *far);
bool ring_sink_get(ErlNifEnv *env, ERL_NIF_TERM term, struct sink **out);

/* ---- messages ---- */

struct body {
    ErlNifEnv *env; /* NULL: the bytes are behind the struct */
    ERL_NIF_TERM term;
    struct bl_quota *quota; /* charged with `size` for what the VM holds */
    uint64_t size;
    uint8_t bytes[];
};
uint8_t *ring_body_new(struct bl_quota *quota, uint64_t size, void **owner, struct bl_error *err);
void ring_body_free(void *owner);

/* Payload, function, flags and size of a slot from: Binary | {Function, Binary} | {Function, [Buffer]}.
 * BL_OK, BL_INVALID with a NULL subject text for badarg (*badarg), or another failure. What it holds is given back by _drop. */
struct reading {
    const struct bl_ring_handler *handler;
    struct bl_quota *quota;
    const struct bl_device *device; /* of buffers */
    const struct bl_far *far;       /* or this */
};
enum bl_status ring_message_read(ErlNifEnv *env, const struct reading *how, ERL_NIF_TERM term, struct bl_slot *slot, bool *badarg,
                                 struct bl_error *err);
void ring_message_drop(struct bl_slot *slot);

/* ---- requests ---- */

enum request_kind { CALL_REQUEST, CONTROL_REQUEST, CHECKPOINT_REQUEST, COUNT_REQUEST, ACTOR_INFO_REQUEST, DEVICE_INFO_REQUEST };

void ring_requests_load(ErlNifEnv *env);
/* 0: too many, or no memory (err). */
uint64_t ring_request_new(ErlNifEnv *env, enum request_kind kind, ERL_NIF_TERM ref, struct bl_error *err);
/* It was not handed to a device. */
void ring_request_drop(uint64_t id);
/* Before the message is sent, if _take follows in the same entry: true, when the answer came within WATCH_NS. */
void ring_request_watch(uint64_t id);
bool ring_request_take(ErlNifEnv *env, uint64_t id, ERL_NIF_TERM *answer);
/* False: it was answered. */
bool ring_request_cancel(uint64_t id);
uint64_t ring_requests_open(void);
/* Its answer is what `what` makes, unless it was cancelled. */
void ring_request_answer(uint64_t id, ERL_NIF_TERM (*what)(ErlNifEnv *env, enum request_kind kind, const void *arg), const void *arg);
ERL_NIF_TERM ring_result(ErlNifEnv *env, const struct bl_result *result);
/* The same, and its owner is given back. */
ERL_NIF_TERM ring_result_moved(ErlNifEnv *env, struct bl_result *result);
ERL_NIF_TERM ring_checkpoint(ErlNifEnv *env, const char *handler, uint32_t version, struct bl_result *result);
extern const struct bl_device_host ring_host;
void ring_tell_undelivered(const struct handle *actor, uint64_t sender, uint32_t function, const struct bl_error *err,
                           int *new_atoms); /* sender 0: the owner; new_atoms NULL: any */
void ring_tell_failed(const struct handle *actor, const struct bl_error *err, int *new_atoms);
void ring_tell_batch(void *sink, struct bl_result *results, size_t count, bool last);
void ring_sink_free(void *sink);

/* {error, Reason} */
ERL_NIF_TERM ring_error(ErlNifEnv *env, const struct bl_error *err);
/* The same for what an OS process says, whose names are whatever it likes: so many may be new. */
ERL_NIF_TERM ring_foreign_error(ErlNifEnv *env, const struct bl_error *err, int *new_atoms);

/* ---- entries that both kinds of devices share ---- */

bool ring_get_deadline(ErlNifEnv *env, ERL_NIF_TERM term, uint64_t now_ns, uint64_t *out);
bool ring_get_start(ErlNifEnv *env, ERL_NIF_TERM term, struct bl_actor_options *o);
int ring_get_control(ErlNifEnv *env, ERL_NIF_TERM term);
int ring_get_port(ErlNifEnv *env, const struct bl_ring_handler *h, ERL_NIF_TERM term);
ERL_NIF_TERM ring_map(ErlNifEnv *env, const char *const names[], const uint64_t values[], size_t count);
ERL_NIF_TERM ring_handler_row(ErlNifEnv *env, const struct bl_ring_handler *h, bool sandboxed);
/* `info` of a device and an actor; `numbers` as doc/ring.md names them. */
struct device_numbers {
    uint64_t number, memory_limit, max_lost;
};
ERL_NIF_TERM ring_device_map(ErlNifEnv *env, const struct device_numbers *own, const struct bl_device_stats *stats);
ERL_NIF_TERM ring_actor_map(ErlNifEnv *env, const char *handler, const struct bl_actor_info *info);

/* ---- devices in an OS process: the same entries, which raise badarg for a handle of no kind ---- */

ERL_NIF_TERM ring_far_open(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
ERL_NIF_TERM ring_far_listen(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
ERL_NIF_TERM ring_far_exited(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
ERL_NIF_TERM ring_far_state(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
ERL_NIF_TERM ring_far_ask(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
ERL_NIF_TERM ring_far_handlers(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
ERL_NIF_TERM ring_far_start(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
/* A message into an entered actor; id NULL: a cast. */
enum bl_status ring_far_send(ErlNifEnv *env, struct bl_far_actor *a, ERL_NIF_TERM term, uint64_t deadline_ns, ERL_NIF_TERM ref,
                             uint64_t *id, bool *badarg, struct bl_error *err);
ERL_NIF_TERM ring_far_call(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
ERL_NIF_TERM ring_far_control(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
ERL_NIF_TERM ring_far_route(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
ERL_NIF_TERM ring_far_subscribe(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
ERL_NIF_TERM ring_far_buffer(ErlNifEnv *env, struct handle *h, uint64_t size);
ERL_NIF_TERM ring_far_device_map(ErlNifEnv *env, const struct handle *h);

/* ---- guests ---- */

/* (Device, ModuleId, MemoryBytes) -> {ok, Added} | {error, Reason}. Dirty: it runs a function of the module. */
ERL_NIF_TERM ring_load_guest(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);
/* (Device, Bytes, Recipe, MemoryBytes, Ref) -> Id | {error, Reason}: into the device's process. Dirty: the bytes are copied. */
ERL_NIF_TERM ring_far_load_guest(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);

#pragma GCC visibility pop

#endif
