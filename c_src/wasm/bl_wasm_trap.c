/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1 /* memmem */
#include <stdio.h>
#include <string.h>

#include "bl_wasm_guest.h"

/* ---- traps ----------------------------------------------------------------------------------------------- */

/* Those of the library by its numbers, up to OTHER. */
static const char *const codes[] = {
    "stack_overflow", "memory_out_of_bounds", "heap_misaligned", "table_out_of_bounds", "indirect_call_to_null", "bad_signature",
    "integer_overflow", "integer_division_by_zero", "bad_conversion_to_integer", "unreachable", "interrupt", "out_of_fuel",
    "atomic_wait_non_shared_memory", "null_reference", "array_out_of_bounds", "allocation_too_large", "cast_failure",
    "cannot_enter_component", "no_async_result", "unhandled_tag", "continuation_already_consumed", "disabled_opcode",
    "other", "uncaught_exception", "host",
};
enum { CODES = sizeof codes / sizeof codes[0], OTHER = CODES - 3, UNCAUGHT, HOST };

static uint64_t counts[CODES]; /* atomically */

static size_t code_of(uint8_t code)
{
    if (code < OTHER) return code;
    return code == 49 ? UNCAUGHT : OTHER; /* 22 to 48 are about components */
}

const char *bl_wasm_traps_of(size_t i, uint64_t *count)
{
    if (i >= CODES) return NULL;
    *count = __atomic_load_n(&counts[i], __ATOMIC_RELAXED);
    return codes[i];
}

/* UTF-8; cut before a character that does not fit. */
static void copy_name(char *to, size_t size, const wasm_byte_vec_t *name)
{
    size_t len = !name || !name->data ? 0 : name->size;
    if (len >= size)
        for (len = size - 1; len > 0 && (name->data[len] & 0xC0) == 0x80; len--) continue;
    if (len > 0) memcpy(to, name->data, len);
    to[len] = '\0';
}

/* By how much code was shifted when the start function was taken out. A frame does not say of which module it is: where several have
 * code, and not all were shifted by the same, offsets are those of the modules as they were compiled. */
static int64_t moved_by(const struct bl_wasm_guest *g)
{
    const struct bl_wasm_module *first = NULL;
    for (size_t i = 0; i < g->module_count; i++) {
        const struct bl_wasm_module *m = g->modules[i];
        if (m->binary.function_count == m->binary.imported_functions) continue;
        if (first && first->moved != m->moved) return 0;
        first = m;
    }
    return first ? first->moved : 0;
}

static void read_frames(const wasm_trap_t *trap, int64_t moved, struct bl_wasm_trap *out)
{
    wasm_frame_vec_t frames;
    wt.wasm_trap_trace(trap, &frames);
    out->count = frames.size < BL_WASM_FRAMES ? frames.size : BL_WASM_FRAMES;
    for (size_t i = 0; i < out->count; i++) {
        struct bl_wasm_frame *f = &out->frames[i];
        const size_t offset = wt.wasm_frame_module_offset(frames.data[i]);
        copy_name(f->module, sizeof f->module, wt.wasmtime_frame_module_name(frames.data[i]));
        copy_name(f->function, sizeof f->function, wt.wasmtime_frame_func_name(frames.data[i]));
        f->index = wt.wasm_frame_func_index(frames.data[i]);
        f->offset = offset == SIZE_MAX ? 0 : (uint64_t)((int64_t)offset - moved);
    }
    wt.wasm_frame_vec_delete(&frames);
}

/* Trap messages are "error while executing at wasm backtrace: ... Caused by:\n    0: context\n    1: why", without causes just why. */
static void copy_message(struct bl_wasm_trap *out, const wasm_byte_vec_t *message)
{
    static const char caused[] = "Caused by:", trap[] = "wasm trap: ";
    const char *const end = message->data + message->size;
    const char *at = memmem(message->data, message->size, caused, sizeof caused - 1), *why;
    at = at ? at + sizeof caused - 1 : message->data;
    if ((why = memmem(at, (size_t)(end - at), trap, sizeof trap - 1))) at = why + sizeof trap - 1;
    while (at < end && (*at == '\n' || *at == ' ')) at++;
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    snprintf(out->message, sizeof out->message, "%.*s", (int)((stop ? stop : end) - at), at);
}

static bool take_exception(struct bl_wasm_guest *g)
{
    wasmtime_ref_t exception;
    if (!wt.wasmtime_context_take_exception(g->context, &exception)) return false;
    wt.wasmtime_exnref_unroot(&exception);
    return true;
}

bool bl_wasm_guest_trap(struct bl_wasm_guest *g, struct bl_wasm_trap *out)
{
    wasm_byte_vec_t message;
    uint8_t number;
    if (!g->trap && !g->error) return false;
    memset(out, 0, offsetof(struct bl_wasm_trap, frames));
    memset(out->frames, 0, sizeof out->frames);
    size_t code = take_exception(g) ? UNCAUGHT : HOST;
    if (g->trap) {
        if (wt.wasmtime_trap_code(g->trap, &number)) code = code_of(number);
        g->out_of_fuel = strcmp(codes[code], "out_of_fuel") == 0;
        wt.wasm_trap_message(g->trap, &message);
        copy_message(out, &message);
        read_frames(g->trap, moved_by(g), out);
        wt.wasm_byte_vec_delete(&message);
        wt.wasm_trap_delete(g->trap);
    }
    if (g->error) {
        wt.wasmtime_error_message(g->error, &message);
        if (out->message[0] == '\0') copy_message(out, &message);
        wt.wasm_byte_vec_delete(&message);
        wt.wasmtime_error_delete(g->error);
    }
    g->trap = NULL;
    g->error = NULL;
    g->statistics.traps++;
    __atomic_fetch_add(&counts[code], 1, __ATOMIC_RELAXED);
    out->code = codes[code];
    return true;
}
