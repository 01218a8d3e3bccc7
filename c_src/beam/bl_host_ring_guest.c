/* SPDX-License-Identifier: Apache-2.0
 *
 * Guests in the process of a device: what bl_ring_nif_guest.c does in the VM.
 */
#include <string.h>

#include "../ring/bl_far.h"
#include "bl_host.h"
#include "bl_ring_module.h"

static enum bl_status compile(const struct bl_ring_module *how, const uint8_t *bytes, size_t size, struct bl_wasm_module **out,
                              struct bl_error *err)
{
    const struct bl_wasm_settings settings = {.preset = how->preset, .off = how->off, .stack_kib = how->stack_kib};
    const struct bl_wasm_module_limits limits = {.bytes = how->bytes_most, .imports = how->imports_most};
    const struct bl_wasm_engine *engine;
    enum bl_status status = bl_wasmtime_load(how->library, how->any_version, err);
    if (status == BL_OK) status = bl_wasm_engine_get(settings, &engine, err);
    return status == BL_OK ? bl_wasm_module_compile(engine, bytes, size, &limits, NULL, NULL, out, err) : status;
}

static enum bl_status load(struct bl_handlers *handlers, const uint8_t *bytes, size_t size, size_t *added, struct bl_error *err)
{
    struct bl_ring_module how;
    struct bl_wasm_module *m;
    if (size < sizeof how) return bl_fail_invalid(err, "module", "it is too short");
    memcpy(&how, bytes, sizeof how);
    how.library[sizeof how.library - 1] = '\0';
    enum bl_status status = compile(&how, bytes + sizeof how, size - sizeof how, &m, err);
    if (status != BL_OK) return status;
    status = bl_ring_module_add(handlers, m, how.memory_bytes, added, err);
    bl_wasm_module_unref(m); /* its handlers have it */
    return status;
}

const struct bl_far_guests bl_host_guests = {.load = load, .stack_bytes = BL_WASM_COMPILE_STACK};
