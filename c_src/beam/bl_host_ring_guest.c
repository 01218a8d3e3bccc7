/* SPDX-License-Identifier: Apache-2.0
 *
 * Guests in the process of a device: what bl_ring_nif_guest.c does in the VM.
 */
#include <stdlib.h>
#include <string.h>

#include "../ring/bl_far.h"
#include "bl_host.h"
#include "bl_ring_module.h"

enum { PAGE_BYTES = 65536, OTHER_BYTES = 65536 };

static uint64_t most_guests;   /* each has at least a page */
static uint64_t allowed_bytes; /* for what is not counted of each: its stack, what the library keeps */

void bl_host_guests_init(uint64_t memory_limit)
{
    most_guests = memory_limit / PAGE_BYTES;
    /* A library that is out of memory shall end the process, not look for words in its own debug information. */
    setenv("RUST_BACKTRACE", "0", 1);
    setenv("RUST_LIB_BACKTRACE", "0", 1);
}

/* The device's limit shall be reached before the kernel's: the one is an answer, the other the end. */
static void allow_stacks(const struct bl_wasm_engine *engine)
{
    const uint64_t bytes = engine->fiber_stack + OTHER_BYTES;
    if (bytes > allowed_bytes) bl_host_more_data(most_guests * (bytes - allowed_bytes));
    if (bytes > allowed_bytes) allowed_bytes = bytes;
}

static enum bl_status compile(const struct bl_ring_module *how, const uint8_t *bytes, size_t size, struct bl_wasm_module **out,
                              struct bl_error *err)
{
    const struct bl_wasm_settings settings = {.preset = how->preset, .off = how->off, .stack_kib = how->stack_kib};
    const struct bl_wasm_module_limits limits = {.bytes = how->bytes_most, .imports = how->imports_most};
    const struct bl_wasm_engine *engine;
    enum bl_status status = bl_wasmtime_load(how->library, how->any_version, err);
    if (status == BL_OK) status = bl_wasm_engine_get(settings, &engine, err);
    if (status != BL_OK) return status;
    allow_stacks(engine);
    return bl_wasm_module_compile(engine, bytes, size, &limits, NULL, NULL, out, err);
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
