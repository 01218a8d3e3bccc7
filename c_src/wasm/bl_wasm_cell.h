/* SPDX-License-Identifier: Apache-2.0
 *
 * A guest as a handler of ring actors: alone in its store, called from a thread of the device that waits for it, its imports
 * answered there. Its memory is charged to a quota as it grows. Whoever has a cell has it for himself.
 *
 * A call that traps, runs out of time or memory ends the guest, because what it was about to do is half done: the cell is
 * empty then, and has to be opened again.
 */
#ifndef BL_WASM_CELL_H
#define BL_WASM_CELL_H

#include "bl_wasm_guest.h"
#include "bl_wasm_handler.h"

struct bl_wasm_cell {
    struct bl_wasm_guest *guest; /* NULL: empty */
    struct bl_wasm_instance *instance;
    wasmtime_item_t memory;
    struct bl_quota *quota;
    uint64_t charged; /* atomic for others */
};

/* What ends a call, and what its imports are for. */
struct bl_wasm_run {
    uint64_t deadline_ns;       /* UINT64_MAX: none */
    uint64_t grace_ns;          /* of processor time after its end: for one that asks whether it shall stop */
    struct bl_ring_outbox *out; /* NULL: it cannot send */
};

/* Whether a module has what a cell needs: one memory, known imports. BL_INVALID, BL_LIMIT (its memory is too large). */
enum bl_status bl_wasm_cell_check(const struct bl_wasm_module *module, uint64_t memory_bytes, struct bl_error *err);
/* Makes the instance, and calls its start functions. `cell` is empty (zeroes at first); after a failure, too. */
enum bl_status bl_wasm_cell_open(struct bl_wasm_cell *cell, struct bl_wasm_module *module, uint64_t memory_bytes, struct bl_quota *quota,
                                 const struct bl_wasm_run *run, struct bl_error *err);
/* Constant time, any thread; an empty one, too. */
void bl_wasm_cell_close(struct bl_wasm_cell *cell);
/* The same, and all is freed by this thread: not a scheduler. */
void bl_wasm_cell_drop(struct bl_wasm_cell *cell);

/* BL_OK: *result is what it returned, when it returns an i32. Otherwise the cell is empty: BL_TRAP; BL_TIMEOUT, because of the
 * deadline or the outbox's word `stop`; BL_LIMIT. `args` fit to the signature. */
enum bl_status bl_wasm_cell_call(struct bl_wasm_cell *cell, const struct bl_wasm_function *function, const wasmtime_val_raw_t *args,
                                 const struct bl_wasm_run *run, int32_t *result, struct bl_error *err);
/* So many bytes of its memory, until the next call; NULL: they do not lie inside. */
uint8_t *bl_wasm_cell_bytes(const struct bl_wasm_cell *cell, uint64_t address, uint64_t size);

/* An exported function of that type, written as "ijji>i": i for i32, j for i64; "" for none. False: there is none. */
bool bl_wasm_cell_export(const struct bl_wasm_cell *cell, const char *name, const char *type, struct bl_wasm_function *out);
/* The same by its place in the table of functions, __indirect_function_table: what a pointer to a function is in C. */
bool bl_wasm_cell_pointer(const struct bl_wasm_cell *cell, uint32_t pointer, const char *type, struct bl_wasm_function *out);

#endif
