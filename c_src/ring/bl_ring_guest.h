/* SPDX-License-Identifier: Apache-2.0
 *
 * Handlers that are guests: their code runs in a sandbox, with an instance for each actor. The ring part calls it through this
 * table of functions, the wasm part implements it, the skin puts them together: neither needs a symbol of the other.
 *
 * Who calls has the actor for himself; only `bytes` is for any thread. What a guest does is its own trouble: each function
 * comes back, with a status, in the time that is said.
 */
#ifndef BL_RING_GUEST_H
#define BL_RING_GUEST_H

#include "beamline/core.h"
#include "beamline/ring_handler.h"

struct bl_ring_guest; /* an instance */
struct bl_ring_guest_handler;

struct bl_ring_guest_class {
    /* The code for one actor, with room for such a state. Its memory is charged to `quota`, also what it grows by. BL_LIMIT,
     * BL_TRAP, BL_INVALID, BL_TIMEOUT (it takes a second at most). Not for a normal scheduler. */
    enum bl_status (*open)(const struct bl_ring_guest_handler *handler, struct bl_quota *quota, uint64_t state_size,
                           struct bl_ring_guest **out, struct bl_error *err);
    /* Constant time, any thread. */
    void (*close)(struct bl_ring_guest *guest);
    /* One message. BL_OK: *code is what the handler returned, BL_RING_STOPPED too when it was unwound because of the message's
     * deadline or out->stop; `state` and `out` are as if it were native. Otherwise (BL_TRAP, BL_LIMIT, ...) the state is as it
     * was, and the next message finds a fresh instance. */
    enum bl_status (*handle)(struct bl_ring_guest *guest, uint8_t *state, uint64_t state_size, const struct bl_ring_message *message,
                             struct bl_ring_outbox *out, int32_t *code, struct bl_error *err);
    /* *code: what the function returned, 0 when the module has none. A second at most. `to` is written when it returned 0. */
    enum bl_status (*check)(struct bl_ring_guest *guest, const uint8_t *state, uint64_t state_size, int32_t *code, struct bl_error *err);
    enum bl_status (*migrate)(struct bl_ring_guest *guest, uint32_t from_version, const uint8_t *from, uint64_t from_size, uint8_t *to,
                              uint64_t to_size, int32_t *code, struct bl_error *err);
    /* What it has charged. */
    uint64_t (*bytes)(const struct bl_ring_guest *guest);
    /* Nobody uses the handler any more. */
    void (*free)(struct bl_ring_guest_handler *handler);
};

/* What begins like a native handler's row, but has no `handle`. */
struct bl_ring_guest_handler {
    struct bl_ring_handler face; /* handle, check and migrate: NULL */
    const struct bl_ring_guest_class *class;
    bool migrates; /* there is such a function */
};

/* NULL: it is native. */
static inline const struct bl_ring_guest_handler *bl_ring_guest_of(const struct bl_ring_handler *handler)
{
    return handler->handle ? (const struct bl_ring_guest_handler *)0 : (const struct bl_ring_guest_handler *)(const void *)handler;
}

#endif
