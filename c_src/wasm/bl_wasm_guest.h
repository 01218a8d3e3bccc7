/* SPDX-License-Identifier: Apache-2.0
 *
 * A guest: one store of the library with the instances in it, and one fiber that stays in it. Calls run on the fiber,
 * in slices that whoever called gives them; between slices, and while an import waits for its answer, any thread may
 * take over.
 *
 * The state word. Whoever moves it to RUNNING has the store to himself until he moves it on:
 *
 *              call                    slice is over
 *     IDLE ------------> RUNNING ------------------------> YIELDED
 *      ^                  |  ^ ^                              |
 *      |     returned     |  | |            step              |
 *      +------------------+  | +------------------------------+
 *                         |  |
 *              an import  |  |  answer, or a nested call
 *                         v  |
 *                       PARKED          from IDLE, YIELDED or PARKED over RUNNING: CLOSED
 *
 * Visitors (a deadline, a death, a look into memory) take it from IDLE, YIELDED or PARKED and give it back, or end the
 * call. Each call has a number: a step or an answer that comes for an older one learns that its call has ended.
 */
#ifndef BL_WASM_GUEST_H
#define BL_WASM_GUEST_H

#include "bl_list.h"
#include "bl_wasm_engine.h"

enum bl_wasm_state { BL_WASM_IDLE, BL_WASM_RUNNING, BL_WASM_YIELDED, BL_WASM_PARKED, BL_WASM_CLOSED };

/* Why the fiber gave control back. */
enum bl_wasm_event {
    BL_WASM_NONE,   /* the slice is over, the guest is not */
    BL_WASM_RETURN, /* a call is over: results in `values`, or a trap, or an error */
    BL_WASM_IMPORT, /* the guest waits for the host */
};

enum bl_wasm_request { BL_WASM_NO_REQUEST, BL_WASM_CALL, BL_WASM_RESULTS, BL_WASM_REFUSE, BL_WASM_BOX };

struct bl_wasm_guest_limits {
    int64_t memory_bytes, table_elements, instances, tables, memories; /* each memory, each table; negative: the library's */
    uint64_t fuel_per_call, fuel_total;                                /* BL_WASM_NO_LIMIT: none */
};
#define BL_WASM_NO_LIMIT (UINT64_C(1) << 60)

struct bl_wasm_function {
    wasmtime_func_t handle;
    const struct bl_wasm_signature *signature;
};

/* A call under way, the outermost or a nested one. */
struct bl_wasm_call {
    struct bl_wasm_function function;
    uint64_t deadline_ns; /* of a nested one; UINT64_MAX: none */
};

struct bl_wasm_statistics {
    uint64_t calls, direct_calls, imports, slices, slices_over_1ms, longest_slice_ns, traps, cancelled, timed_out, migrations;
};

struct bl_wasm_guest {
    /* Any thread, atomically. */
    uint32_t refs, state;
    uint64_t call_number, cancel_number; /* of the outermost call; which one shall end */
    uint64_t caller;                     /* who made it: the skin's word */
    uint64_t deadline_ns;                /* of the outermost call; UINT64_MAX: none, or not settled yet */
    bool closing;
    uint64_t kept_for;                   /* the skin's word: nobody else may enter when it is idle; 0: anybody */
    uint32_t waiting;                    /* how many the skin has to tell when it is idle */

    /* Of whoever has RUNNING. */
    const struct bl_wasm_engine *engine;
    wasmtime_store_t *store;
    wasmtime_context_t *context;
    wasmtime_call_future_t *future; /* NULL: there is no fiber */
    wasm_trap_t *fiber_trap;        /* of the fiber itself, which should not end */
    wasmtime_error_t *fiber_error;
    wasmtime_func_t park, trampoline;
    bool has_park;
    char *fiber_top;
    bool on_fiber, dying, stopping;
    enum bl_wasm_request request;
    enum bl_wasm_event event;
    uint64_t timeout_ns; /* not settled yet; 0: it is */
    unsigned depth; /* imports that wait for an answer */
    struct bl_wasm_call current, nested; /* `nested`: asked for by request CALL */
    const struct bl_wasm_signature *returned; /* of the call that returned last */
    wasmtime_val_raw_t *values;
    size_t value_count;
    const struct bl_wasm_import *import; /* the innermost that waits */
    wasmtime_val_raw_t *import_values;
    uint64_t token, next_token; /* of that import */
    struct bl_wasm_box *box; /* asked for by request BOX; NULL: it was taken */
    wasmtime_ref_t *boxed;   /* where its reference goes; NULL: it is there */
    wasm_trap_t *trap;
    wasmtime_error_t *error;
    enum bl_status ended;       /* why a call ended that was not allowed to end by itself */
    bool out_of_fuel;           /* the last trap was that */
    bool heavy;                 /* much work at once is about to come: not on a normal scheduler */
    unsigned long_slices;       /* lately */

    uint64_t interval, fuel_before; /* of the slice */
    uint64_t fuel_given, fuel_used; /* given to the store; used before that */
    struct bl_wasm_guest_limits limits;
    struct bl_wasm_statistics statistics;
    uint64_t ticks;        /* work that the caller's time slice has not paid for yet */
    uint32_t next_import;  /* id */
    uint64_t runs;         /* how often its code ran or a memory was made larger: what was seen of memories before is old */
    size_t memory_bytes;   /* of its instances' usual memories, as last seen; so below */
    uint64_t fuel_seen;
    struct bl_wasm_module **modules; /* kept alive */
    size_t module_count;
    struct bl_wasm_import **import_sets; /* of instances that are not alone */
    wasmtime_linker_t **linkers;
    size_t import_set_count, linker_count;
    struct bl_wasm_signature **signatures; /* of functions that no module names */
    size_t signature_count;
    uint32_t open_instances; /* atomically */

    /* The janitor's. */
    struct bl_link chore, all;
    uint64_t due_ns; /* UINT64_MAX: not waited for */
};

enum { BL_WASM_ITEM_UNKNOWN = 0xff };

/* A memory as it is until the guest's `runs` changes. */
struct bl_wasm_memory {
    uint8_t *base;
    size_t size;
    size_t export;
    uint64_t runs;
};

/* An instance in a guest. */
struct bl_wasm_instance {
    uint32_t refs;
    bool closed; /* atomically */
    struct bl_wasm_guest *guest;
    struct bl_wasm_module *module;
    wasmtime_instance_t handle;
    uint32_t first_import;   /* id of its first import that the host answers */
    wasmtime_extern_t *items; /* of the module's exports; kind BL_WASM_ITEM_UNKNOWN until somebody asks */
    struct bl_wasm_memory seen; /* the one that was looked at last */
};

/* ---- life --------------------------------------------------------------------------------------- */

/* BL_LIMIT: as many guests as the machine's memory maps allow. One reference. */
BL_API enum bl_status bl_wasm_guest_new(const struct bl_wasm_engine *engine, const struct bl_wasm_guest_limits *limits,
                                        struct bl_wasm_guest **out, struct bl_error *err);
BL_API void bl_wasm_guest_ref(struct bl_wasm_guest *guest);
BL_API void bl_wasm_guest_unref(struct bl_wasm_guest *guest);
/* Ends what runs, then the store. At once, or as soon as whoever is inside leaves. Any thread, any time, never blocks. */
BL_API void bl_wasm_guest_close(struct bl_wasm_guest *guest);
/* Ends the call of that number, if it still runs. Any thread, never blocks. */
BL_API void bl_wasm_guest_cancel(struct bl_wasm_guest *guest, uint64_t call_number);

/* Moves `from` to RUNNING. */
static inline bool bl_wasm_take(struct bl_wasm_guest *g, enum bl_wasm_state from)
{
    uint32_t expected = from;
    return __atomic_compare_exchange_n(&g->state, &expected, BL_WASM_RUNNING, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}
static inline void bl_wasm_leave(struct bl_wasm_guest *g, enum bl_wasm_state to) { __atomic_store_n(&g->state, to, __ATOMIC_RELEASE); }

/* What an import of an instance is linked with. */
struct bl_wasm_link {
    bool by_host;           /* a function that the host answers */
    wasmtime_extern_t item; /* otherwise; of the same guest */
};

/* A new instance; one reference, and it keeps the guest and the module. The guest must be taken, and have no call under way.
 * `links`: one for each import of the module. Its start function, if it has one, is not called yet. BL_INVALID: the imports do not
 * fit; BL_TRAP: guest->trap; BL_NO_MEMORY. */
BL_API enum bl_status bl_wasm_instance_new(struct bl_wasm_guest *guest, struct bl_wasm_module *module, const struct bl_wasm_link *links,
                                           struct bl_wasm_instance **out, struct bl_error *err);
BL_API void bl_wasm_instance_unref(struct bl_wasm_instance *instance);
/* The i-th export, asked of the library the first time. The guest must be taken. NULL: the library does not know it. */
BL_API const wasmtime_extern_t *bl_wasm_instance_ask(struct bl_wasm_instance *instance, size_t i);
static inline const wasmtime_extern_t *bl_wasm_instance_item(struct bl_wasm_instance *instance, size_t i)
{
    const wasmtime_extern_t *item = &instance->items[i];
    return item->kind != BL_WASM_ITEM_UNKNOWN ? item : bl_wasm_instance_ask(instance, i);
}
/* The memory that is export number i. The guest must be taken; good until it is left. NULL: the library does not know it. */
BL_API const struct bl_wasm_memory *bl_wasm_instance_look(struct bl_wasm_instance *instance, size_t i);
static inline const struct bl_wasm_memory *bl_wasm_instance_memory(struct bl_wasm_instance *instance, size_t i)
{
    const struct bl_wasm_memory *seen = &instance->seen;
    const bool is_new = seen->runs == instance->guest->runs && seen->export == i;
    return __builtin_expect(is_new, 1) ? seen : bl_wasm_instance_look(instance, i);
}
BL_API bool bl_wasm_instance_start(struct bl_wasm_instance *instance, struct bl_wasm_function *out);
/* The signature of any function of the guest; lives as long as the guest. NULL: no memory. */
BL_API const struct bl_wasm_signature *bl_wasm_guest_signature(struct bl_wasm_guest *guest, const wasmtime_func_t *function);

/* ---- calls: the guest must be taken ------------------------------------------------------------------ */

/* Begins an outermost call (depth 0): its number, fuel. The arguments are in `values`. BL_LIMIT: no fuel is left. */
#define BL_WASM_NO_TIMEOUT UINT64_MAX
BL_API enum bl_status bl_wasm_call_begin(struct bl_wasm_guest *guest, const struct bl_wasm_function *function, uint64_t caller,
                                         uint64_t timeout_ns, struct bl_error *err);
/* Its deadline, from now on; a call that is over in its first slice never needs one. now_ns 0: look at the clock. */
BL_API void bl_wasm_call_settle(struct bl_wasm_guest *guest, uint64_t now_ns);
/* Begins a nested one: an import waits. */
BL_API void bl_wasm_call_nest(struct bl_wasm_guest *guest, const struct bl_wasm_function *function, uint64_t timeout_ns);
/* Lets the fiber run until something happens, or for about budget_ns. BL_WASM_RETURN also when there could be no fiber (then error). */
BL_API enum bl_wasm_event bl_wasm_call_slice(struct bl_wasm_guest *guest, uint64_t budget_ns);
/* What an import waits for: its results are in import_values; or it fails, which unwinds the call around it. */
BL_API void bl_wasm_call_answer(struct bl_wasm_guest *guest, enum bl_wasm_request request);
/* Ends all calls under way; nobody runs. They count as ended by `why`. The state stays with the caller of this. */
BL_API void bl_wasm_call_end(struct bl_wasm_guest *guest, enum bl_status why);
/* Ends the innermost call, which is nested and waits for its next slice: its RETURN follows here. It counts as ended by `why`. */
BL_API void bl_wasm_call_stop_nested(struct bl_wasm_guest *guest, enum bl_status why);
/* A reference to something of the host, for which the guest's collector may have to make room. It must see all frames of the guest:
 * while a call waits it runs on the fiber. The box is dropped when nothing refers to it: at once where there is no room, which is
 * false. */
BL_API bool bl_wasm_box_new(struct bl_wasm_guest *guest, struct bl_wasm_box *box, wasmtime_ref_t *out);
/* Lets an idle guest's fiber go. */
void bl_wasm_call_drop_fiber(struct bl_wasm_guest *guest);
/* After an outermost call has returned. */
BL_API void bl_wasm_call_done(struct bl_wasm_guest *guest);
/* Whether the outermost call has to end, and why; BL_OK: not yet. Between slices. */
BL_API enum bl_status bl_wasm_call_check(const struct bl_wasm_guest *guest, uint64_t now_ns);

/* A short function, on the caller's own stack, which must have room for engine->wasm_stack. BL_OK, or what guest->trap and
 * guest->error say. BL_UNSUPPORTED: not now (little fuel is left, or it is limited per call): use the fiber. */
BL_API enum bl_status bl_wasm_call_direct(struct bl_wasm_guest *guest, const struct bl_wasm_function *function);

/* Brings fuel_seen, the fuel used since the guest began, up to date. The guest must be taken. */
BL_API void bl_wasm_guest_see_fuel(struct bl_wasm_guest *guest);

/* ---- between bl_wasm_guest.c and bl_wasm_fiber.c -------------------------------------------------- */

/* No guest can import from it: bl_wasm_instance_new refuses such a module. */
#define BL_WASM_PARK_MODULE "\1beamline"
extern wasmtime_unchecked_fn *const bl_wasm_import_function;
extern wasmtime_async_fn *const bl_wasm_park_function;
/* Finds the park function in a linker, makes the trampoline. */
void bl_wasm_fiber_ready(struct bl_wasm_guest *guest, wasmtime_linker_t *with_park);
void bl_wasm_fuel_give(struct bl_wasm_guest *guest);
/* What the janitor does for a guest that is due: when to come again; UINT64_MAX: never. */
uint64_t bl_wasm_guest_tend(struct bl_wasm_guest *guest, uint64_t now_ns);

/* ---- what happened ----------------------------------------------------------------------------------- */

enum { BL_WASM_FRAMES = 32 };
struct bl_wasm_frame {
    char module[48], function[112]; /* empty: no name */
    uint32_t index;
    uint64_t offset; /* in the module as it came */
};
struct bl_wasm_trap {
    const char *code; /* "unreachable", ...; static */
    char message[160];
    size_t count;
    struct bl_wasm_frame frames[BL_WASM_FRAMES];
};
/* Of the last call: true, and guest->trap or guest->error are gone; false: it returned results. */
BL_API bool bl_wasm_guest_trap(struct bl_wasm_guest *guest, struct bl_wasm_trap *out);
/* The i-th code, and how many traps of all guests had it; NULL: there are no more. */
BL_API const char *bl_wasm_traps_of(size_t i, uint64_t *count);

/* ---- the janitor ------------------------------------------------------------------------------------- */

/* A thread that ends parked calls at their deadline, finishes closing what was in use, and frees stores. */
BL_API void bl_wasm_janitor_look_at(struct bl_wasm_guest *guest, uint64_t due_ns);
/* Boxes of host values that the guest's collector has dropped; the skin frees them: takes all, NULL: none. */
struct bl_wasm_box {
    struct bl_wasm_box *next;
};
BL_API void bl_wasm_box_drop(void *box); /* finalizer for externrefs */
BL_API void bl_wasm_boxes_free(void); /* on the caller's thread */
BL_API void bl_wasm_on_boxes(void (*free_boxes)(struct bl_wasm_box *first)); /* who frees them, on the janitor's thread */

/* Of all guests there were and are. */
struct bl_wasm_totals {
    struct bl_wasm_statistics s;
    uint64_t guests, fuel, memory_bytes;
};
BL_API void bl_wasm_totals(struct bl_wasm_totals *out);
bool bl_wasm_totals_enter(struct bl_wasm_guest *guest, uint64_t most); /* false: there are as many as may be */
void bl_wasm_totals_leave(struct bl_wasm_guest *guest);
/* How many guests there may be. */
BL_API uint64_t bl_wasm_guests_most(void);

#endif
