/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the parts ring and wasm meet: modules that become handlers of a device, in the VM or in the device's process.
 */
#ifndef BL_RING_MODULE_H
#define BL_RING_MODULE_H

#include "../ring/bl_device.h"
#include "../wasm/bl_wasm_handler.h"

/* A module on its way to the process (BL_FAR_LOAD_GUESTS): this, then its bytes, which are compiled there and nowhere else. */
struct bl_ring_module {
    char library[512]; /* wasmtime's file, as the VM uses it */
    uint64_t memory_bytes; /* of each actor */
    uint64_t bytes_most, imports_most;
    uint32_t preset, off, stack_kib; /* struct bl_wasm_settings */
    uint32_t any_version;
};

/* All handlers of a module, for actors with so much memory each. */
static inline enum bl_status bl_ring_module_add(struct bl_handlers *handlers, struct bl_wasm_module *m, uint64_t memory_bytes,
                                                size_t *added, struct bl_error *err)
{
    struct bl_ring_guest_handler *list[BL_WASM_HANDLERS_MOST];
    enum bl_status status = bl_wasm_handlers_read(m, memory_bytes, list, added, err);
    if (status != BL_OK) return status;
    status = bl_handlers_add_guests(handlers, list, *added, err);
    for (size_t i = 0; i < *added && status != BL_OK; i++) list[i]->class->free(list[i]);
    return status;
}

#endif
