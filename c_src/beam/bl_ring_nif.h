/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the skin of the part ring.
 *
 *   bl_ring_nif.c           entries, atoms, loading
 *   bl_ring_nif_handle.c    handles: devices, actors, buffers, subscribers; their owners
 *   bl_ring_nif_message.c   a term becomes a message; bodies
 *   bl_ring_nif_request.c   who waits for an answer; what the device tells processes
 */
#ifndef BL_RING_NIF_H
#define BL_RING_NIF_H

#include <erl_nif.h>

#include "bl_device.h"

#pragma GCC visibility push(hidden)

/* ---- handles ---- */

enum handle_kind { DEVICE_HANDLE, ACTOR_HANDLE, BUFFER_HANDLE, HANDLE_KINDS };

/* word: users * 2 + closing. Who finds `closing` and no users in it, first, gives the object up; nobody waits.
 * An open device and an actor that has not ended keep their handle: they do not need a term. */
struct handle {
    uint64_t word; /* atomic */
    enum handle_kind kind;
    void *object; /* struct bl_device, bl_actor, bl_ring_buffer: a reference */
    uint32_t changing; /* atomic: the owner is being replaced */
    ErlNifPid owner;
    ErlNifMonitor monitor;
    /* Of a device. */
    struct bl_link link;
    uint64_t number;
};

bool ring_handles_load(ErlNifEnv *env);
/* A term for it, owned by the caller; takes the reference over, also when it fails (the caller is dying). */
bool ring_handle_make(ErlNifEnv *env, enum handle_kind kind, void *object, ERL_NIF_TERM *out);
/* False: not a handle of that kind. */
bool ring_handle_get(ErlNifEnv *env, ERL_NIF_TERM term, enum handle_kind kind, struct handle **out);
/* The object, to be left again; NULL: closed. */
void *ring_handle_enter(struct handle *h);
void ring_handle_leave(struct handle *h);
void ring_actor_ended(void *actor_skin);
/* True: this call did it. */
bool ring_handle_close(struct handle *h);
/* BL_BUSY, BL_CLOSED, BL_INVALID (not the owner; the new one is dead). */
enum bl_status ring_handle_give(ErlNifEnv *env, struct handle *h, const ErlNifPid *to, struct bl_error *err);
/* A binary that is the buffer's memory; its handle is closed. BL_BUSY, BL_CLOSED. */
enum bl_status ring_handle_take(ErlNifEnv *env, struct handle *h, ERL_NIF_TERM *out, struct bl_error *err);
/* Calls for each open device, entered. */
void ring_devices_each(void (*fun)(struct handle *h, struct bl_device *d, void *arg), void *arg);

struct sink {
    struct bl_actor *actor; /* a reference */
    ErlNifPid pid;
    ErlNifMonitor monitor;
};
struct sink *ring_sink_new(ErlNifEnv *env, struct bl_actor *a);
bool ring_sink_get(ErlNifEnv *env, ERL_NIF_TERM term, struct sink **out);

/* What an actor knows about its process. */
struct actor_skin {
    ErlNifEnv *env;
    ERL_NIF_TERM ref; /* its name in messages */
    pthread_mutex_t lock; /* guards: */
    ErlNifPid owner;
    struct handle *handle; /* kept, until `ended` */
    bool ended;
};

/* ---- messages ---- */

struct body {
    ErlNifEnv *env; /* NULL: the bytes are behind the struct */
    ERL_NIF_TERM term;
    struct bl_quota *quota; /* charged with `size` for what the VM holds */
    uint64_t size;
    uint8_t bytes[];
};
uint8_t *ring_body_new(struct bl_device *d, uint64_t size, void **owner, struct bl_error *err);
void ring_body_free(void *owner);

/* Payload, function, flags and size of a slot from: Binary | {Function, Binary} | {Function, [Buffer]}.
 * BL_OK, BL_INVALID with a NULL subject text for badarg (*badarg), or another failure. What it holds is given back by _drop. */
enum bl_status ring_message_read(ErlNifEnv *env, struct bl_actor *a, ERL_NIF_TERM term, struct bl_slot *slot, bool *badarg,
                                 struct bl_error *err);
void ring_message_drop(struct bl_slot *slot);

/* ---- requests ---- */

enum request_kind { CALL_REQUEST, CONTROL_REQUEST, CHECKPOINT_REQUEST };

void ring_requests_load(ErlNifEnv *env);
/* 0: too many, or no memory (err). */
uint64_t ring_request_new(ErlNifEnv *env, enum request_kind kind, ERL_NIF_TERM ref, struct bl_error *err);
/* It was not handed to a device. */
void ring_request_drop(uint64_t id);
/* False: it was answered. */
bool ring_request_cancel(uint64_t id);
uint64_t ring_requests_open(void);
extern const struct bl_device_host ring_host;

/* {error, Reason} */
ERL_NIF_TERM ring_error(ErlNifEnv *env, const struct bl_error *err);

#pragma GCC visibility pop

#endif
