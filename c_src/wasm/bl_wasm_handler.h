/* SPDX-License-Identifier: Apache-2.0
 *
 * Handlers of ring actors out of a module: what it declares in its memory, in the layout of ring_handler.h for wasm32, as rows
 * that the ring part takes (bl_ring_guest.h is its interface; no other file includes it).
 */
#ifndef BL_WASM_HANDLER_H
#define BL_WASM_HANDLER_H

#include "../ring/bl_ring_guest.h"
#include "bl_wasm_engine.h"

enum {
    BL_WASM_HANDLERS_MOST = 16, /* of one module */
    BL_WASM_HANDLER_FUNCTIONS = 64,
    BL_WASM_HANDLER_NAME = 64, /* bytes of a name with its zero */
};
#define BL_WASM_SETUP_NS UINT64_C(1000000000) /* for all but messages */

struct bl_wasm_handler {
    struct bl_ring_guest_handler row; /* first; its strings are below */
    struct bl_wasm_module *module;    /* a reference */
    uint64_t memory_bytes;            /* limit */
    uint32_t handle, check, migrate;  /* pointers to functions; 0: none */
    uint64_t grace_ns;
    const char *functions[BL_WASM_HANDLER_FUNCTIONS + 1], *ports[BL_RING_PORTS + 1];
    char name[BL_WASM_HANDLER_NAME], summary[160];
    char function_names[BL_WASM_HANDLER_FUNCTIONS][BL_WASM_HANDLER_NAME], port_names[BL_RING_PORTS][BL_WASM_HANDLER_NAME];
};

/* Runs a module's beamline_ring_handlers, for a second at most, and fills list[BL_WASM_HANDLERS_MOST] with what it declares; each
 * has a reference of the module, and goes by row.class->free. BL_INVALID, BL_LIMIT, BL_TRAP, BL_TIMEOUT, BL_NO_MEMORY: none is made. */
BL_API enum bl_status bl_wasm_handlers_read(struct bl_wasm_module *module, uint64_t memory_bytes, struct bl_ring_guest_handler *list[],
                                            size_t *count, struct bl_error *err);

/* bl_wasm_actor.c */
extern const struct bl_ring_guest_class bl_wasm_actor_class;

#endif
