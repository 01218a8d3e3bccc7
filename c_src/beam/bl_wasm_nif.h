/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the skin of wasm share. bl_wasm_nif.c has the table of functions and the handles, _values turns terms
 * into what the guest's code takes and back, _module compiles and describes, _start makes instances, _call runs them,
 * _state looks into memories, globals and tables.
 */
#ifndef BL_WASM_NIF_H
#define BL_WASM_NIF_H

#include <erl_nif.h>
#include <string.h>

#include "bl_list.h"
#include "bl_wasm_guest.h"

#pragma GCC visibility push(hidden)

#define WASM_ATOMS(A) \
    A(ok) A(error) A(badarg) A(import) A(busy) A(closed) A(cancelled) A(timeout) A(undefined) A(null) A(nan) A(infinity) A(neg_infinity) \
    A(i32) A(i64) A(f32) A(f64) A(v128) A(funcref) A(externref) A(ref) A(type) A(func) A(extern) A(nofunc) A(noextern) A(any) A(eq) A(i31) \
    A(struct) A(array) A(none) A(exn) A(noexn) A(host) A(global) A(table) A(memory) A(tag) A(const) A(var) A(trap) A(code) A(message) \
    A(backtrace) A(limit) A(what) A(asked) A(fuel) A(invalid) A(field) A(why) A(min) A(max) A(index) A(shared) A(element) A(unsupported) \
    A(no_memory) A(idle) A(running) A(yielded) A(parked) A(true) A(false) A(beamline_wasm) A(name) A(page_size) A(import_failed) A(own)
struct wasm_atoms {
#define WASM_ATOM(a) ERL_NIF_TERM a##_;
    WASM_ATOMS(WASM_ATOM)
#undef WASM_ATOM
};
extern struct wasm_atoms am;

/* ---- handles --------------------------------------------------------------------------------------- */

/* A process that waits for its turn. */
struct wasm_waiter {
    struct bl_link link;
    ErlNifPid pid;
    ErlNifMonitor monitor;
    ErlNifEnv *env; /* of `turn` */
    ERL_NIF_TERM turn;
};

/* A guest; watches whoever calls. */
struct wasm_guest {
    struct bl_wasm_guest *core;
    ErlNifMutex *lock;              /* for the queue */
    struct bl_link waiters;
    struct wasm_funs *funs;         /* of imports, for handles that do not know them */
    struct wasm_waiter *turn_of;    /* out of the queue: the guest is kept idle for it */
    ErlNifPid watched; /* of whoever has the guest; so below */
    ErlNifMonitor monitor;
    bool watching;
    bool no_room; /* for the term that was to go in last */
    uint32_t looking; /* processes that are in wasm_info; atomically */
};

/* An instance; watches its owner. */
struct wasm_instance {
    struct bl_wasm_instance *core;
    struct wasm_guest *guest; /* kept */
    ErlNifMutex *lock;        /* for the owner */
    ErlNifPid owner;
    ErlNifMonitor monitor;
    int64_t memory; /* the export that is meant when none is named; -1: there is none */
    size_t memory_bytes; /* of it, as last seen */
};

/* A reference out of a guest. */
struct wasm_reference {
    struct wasm_guest *guest; /* kept */
    uint8_t kind;             /* WASMTIME_FUNCREF, ANYREF, EXNREF */
    struct bl_wasm_function function;
    wasmtime_ref_t root;
};

extern ErlNifResourceType *wasm_modules, *wasm_guests_type, *wasm_instances, *wasm_references;

/* The handle a term stands for; NULL. */
struct bl_wasm_module *wasm_get_module(ErlNifEnv *env, ERL_NIF_TERM term);
struct wasm_instance *wasm_get_instance(ErlNifEnv *env, ERL_NIF_TERM term);
struct wasm_reference *wasm_get_reference(ErlNifEnv *env, ERL_NIF_TERM term);
ERL_NIF_TERM wasm_make_module(ErlNifEnv *env, struct bl_wasm_module *module); /* takes the caller's reference */

typedef ERL_NIF_TERM wasm_entry(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]);

/* ---- entering a guest -------------------------------------------------------------------------------- */

enum wasm_entered { WASM_IDLE, WASM_PARKED, WASM_BUSY, WASM_CLOSED, WASM_AGAIN /* somebody looks in: in a moment */ };

static inline uint64_t wasm_self(ErlNifEnv *env)
{
    ErlNifPid pid;
    return enif_self(env, &pid) ? (uint64_t)pid.pid : 0;
}
/* The slow ways of the functions below. */
enum wasm_entered wasm_enter_taken(ErlNifEnv *env, struct wasm_guest *guest);
enum wasm_entered wasm_enter_kept(ErlNifEnv *env, struct wasm_guest *guest);
void wasm_tell_next(struct wasm_guest *guest);

/* Takes an idle guest, or one that waits for an import of a call of this process. */
static inline enum wasm_entered wasm_enter(ErlNifEnv *env, struct wasm_guest *guest)
{
    struct bl_wasm_guest *g = guest->core;
    if (__atomic_load_n(&g->closing, __ATOMIC_RELAXED)) return WASM_CLOSED;
    if (__builtin_expect(!bl_wasm_take(g, BL_WASM_IDLE), 0)) return wasm_enter_taken(env, guest);
    return __builtin_expect(__atomic_load_n(&g->kept_for, __ATOMIC_RELAXED) == 0, 1) ? WASM_IDLE : wasm_enter_kept(env, guest);
}

/* Leaves it idle, and tells the next who waits. */
static inline void wasm_leave_idle(struct wasm_guest *guest)
{
    bl_wasm_leave(guest->core, BL_WASM_IDLE);
    /* Relaxed: who queues at this very moment may be missed, and looks again by himself (beamline_wasm_turns). */
    if (__builtin_expect(__atomic_load_n(&guest->core->waiting, __ATOMIC_RELAXED) != 0, 0)) wasm_tell_next(guest);
}

/* Leaves it as it was entered. */
static inline void wasm_leave(struct wasm_guest *guest, enum wasm_entered entered)
{
    if (entered == WASM_PARKED)
        bl_wasm_leave(guest->core, BL_WASM_PARKED);
    else
        wasm_leave_idle(guest);
}
/* A process died: it waits no longer. */
void wasm_waiter_down(ErlNifEnv *env, struct wasm_guest *guest, const ErlNifPid *pid);
void wasm_waiters_closed(struct wasm_guest *guest);
void wasm_funs_free(struct wasm_guest *guest);
/* For BUSY, CLOSED and AGAIN: what to answer; AGAIN begins the entry anew. */
ERL_NIF_TERM wasm_not_entered(ErlNifEnv *env, enum wasm_entered entered, const char *name, wasm_entry *entry, int argc,
                              const ERL_NIF_TERM argv[]);

/* ---- terms -------------------------------------------------------------------------------------------- */

static inline ERL_NIF_TERM wasm_pair(ErlNifEnv *env, ERL_NIF_TERM a, ERL_NIF_TERM b)
{
    const ERL_NIF_TERM both[2] = {a, b};
    return enif_make_tuple_from_array(env, both, 2);
}
static inline ERL_NIF_TERM wasm_fail(ErlNifEnv *env, ERL_NIF_TERM reason) { return wasm_pair(env, am.error_, reason); }
static inline ERL_NIF_TERM wasm_text(ErlNifEnv *env, const char *from, size_t len)
{
    ERL_NIF_TERM term;
    memcpy(enif_make_new_binary(env, len, &term), from, len);
    return term;
}
ERL_NIF_TERM wasm_fail_error(ErlNifEnv *env, const struct bl_error *err);   /* {error, Reason} */
ERL_NIF_TERM wasm_fail_status(ErlNifEnv *env, enum bl_status status);
ERL_NIF_TERM wasm_fail_trap(ErlNifEnv *env, struct bl_wasm_guest *guest);   /* of the call that returned one */
ERL_NIF_TERM wasm_type_term(ErlNifEnv *env, const struct bl_wasm_type *type);
ERL_NIF_TERM wasm_signature_term(ErlNifEnv *env, const struct bl_wasm_signature *signature); /* {func, Params, Results} */

/* ---- values -------------------------------------------------------------------------------------------- */

enum { WASM_FLOATS_AS_BITS = 1 }; /* flags: all floats come as {f32 | f64, Bits} */

/* A term as a value of that type. The guest must be entered when the type is a reference. */
bool wasm_get_value(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, ERL_NIF_TERM term,
    wasmtime_val_raw_t *value);
ERL_NIF_TERM wasm_make_value(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, const wasmtime_val_raw_t *value,
                             unsigned flags);
/* A whole list. 0: good; else the position of the first that is wrong, count + 1 when there are too many. */
size_t wasm_get_values(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *types, size_t count, ERL_NIF_TERM list,
                       wasmtime_val_raw_t *values);
ERL_NIF_TERM wasm_make_values(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *types, size_t count,
                              const wasmtime_val_raw_t *values, unsigned flags);
/* {badarg, Position, Expected}, or no_memory: the guest has no room for a term */
ERL_NIF_TERM wasm_bad_value(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *types, size_t count, size_t position);
/* The same for what globals and tables hold. */
bool wasm_get_held(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, ERL_NIF_TERM term, wasmtime_val_t *value);
ERL_NIF_TERM wasm_make_held(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, const wasmtime_val_t *value,
                            unsigned flags);
void wasm_free_boxes(struct bl_wasm_box *first);

static inline bool wasm_get_int(ErlNifEnv *env, ERL_NIF_TERM term, int64_t *out)
{
    ErlNifSInt64 signed_;
    ErlNifUInt64 unsigned_;
    if (enif_get_int64(env, term, &signed_)) return *out = signed_, true;
    if (enif_get_uint64(env, term, &unsigned_)) return *out = (int64_t)unsigned_, true;
    return false;
}

/* ---- the files' entries ---------------------------------------------------------------------------------- */

wasm_entry wasm_load, wasm_library, wasm_compile, wasm_module_imports, wasm_module_exports, wasm_module_info,
    wasm_start, wasm_stop, wasm_info, wasm_controlling_process, wasm_totals, wasm_traps, wasm_function, wasm_call, wasm_call_start,
        wasm_resume, wasm_refuse,
    wasm_cancel, wasm_wait, wasm_unwait, wasm_next_turn, wasm_size, wasm_grow, wasm_read, wasm_write, wasm_fill, wasm_global_get,
        wasm_global_set, wasm_table_get, wasm_table_set,
    wasm_table_size, wasm_table_grow, wasm_find_string,
    wasm_module_of, wasm_same_function, wasm_kept_fun;

/* Closes for good: stop, the owner's death, collection. */
void wasm_instance_close(struct wasm_instance *in);

#pragma GCC visibility pop

#endif
