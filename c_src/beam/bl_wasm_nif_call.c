/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls: in the process that asks, on its scheduler, slice by slice. doc/wasm.md has the whole story.
 */
#define _GNU_SOURCE 1 /* pthread_getattr_np */
#include <pthread.h>

#include "bl_ticks.h"
#include "bl_wasm_nif.h"

enum {
    SLICE_NS = 120000,
    DIRTY_SLICE_NS = 1000000,
    DIRTY_SLICES = 5,      /* before it queues again */
    LONG_SLICES = 3,       /* above 1 ms in one call: the rest of it runs on dirty schedulers */
    NS_PER_PERCENT = 10000, /* of a time slice, which is 1 ms */
    DIRECT_PER_PERCENT = 64,
    STACK_RESERVE = 64 << 10,
    TIMEOUT_MS = 60000,
};

static wasm_entry step_normal, step_dirty;

/* ---- accounts ------------------------------------------------------------------------------------------ */

static void charge(ErlNifEnv *env, struct bl_wasm_guest *g)
{
    const uint64_t ns = bl_ticks_ns(g->ticks);
    if (ns < NS_PER_PERCENT) return;
    g->ticks = 0;
    enif_consume_timeslice(env, ns < 100 * NS_PER_PERCENT ? (int)(ns / NS_PER_PERCENT) : 100);
}

/* The guest must be ours. One monitor is kept, and replaced when another process calls: one for each call would cost more
 * than the call. */
static void watch_caller(ErlNifEnv *env, struct wasm_guest *guest)
{
    ErlNifPid self;
    enif_self(env, &self);
    if (guest->watching) {
        if (enif_compare_pids(&self, &guest->watched) == 0) return;
        enif_demonitor_process(env, guest, &guest->monitor);
    }
    guest->watched = self;
    guest->watching = enif_monitor_process(env, guest, &self, &guest->monitor) == 0;
}

/* ---- what came of a slice --------------------------------------------------------------------------------- */

static ERL_NIF_TERM returned(ErlNifEnv *env, struct wasm_guest *guest, unsigned flags)
{
    struct bl_wasm_guest *g = guest->core;
    const struct bl_wasm_signature *s = g->returned;
    const ERL_NIF_TERM answer = g->trap || g->error
                                    ? wasm_fail_trap(env, g)
                                    : wasm_pair(env, am.ok_, wasm_make_values(env, guest, s->types + s->params, s->results, g->values,
                                        flags));
    charge(env, g);
    bl_wasm_boxes_free();
    if (g->depth > 0) {
        bl_wasm_leave(g, BL_WASM_PARKED);
    } else {
        bl_wasm_call_done(g);
        wasm_leave_idle(guest);
    }
    return answer;
}

/* Guests that stay in imports, or whose caller gets no time, end there at their deadline: the janitor comes. One visit is booked for
 * many calls. */
static void book_deadline(struct bl_wasm_guest *g)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (g->deadline_ns < __atomic_load_n(&g->due_ns, __ATOMIC_RELAXED)) bl_wasm_janitor_look_at(g, g->deadline_ns);
}

/* tell_left: how many milliseconds are left, which whoever called cannot know: the call is nested, or was in other slices before. */
static ERL_NIF_TERM imported(ErlNifEnv *env, struct wasm_guest *guest, unsigned flags, bool tell_left)
{
    struct bl_wasm_guest *g = guest->core;
    const struct bl_wasm_signature *s = g->import->signature;
    const ERL_NIF_TERM args = wasm_make_values(env, guest, s->types, s->params, g->import_values, flags);
    const ERL_NIF_TERM token = enif_make_uint64(env, g->token), id = enif_make_uint(env, g->import->id);
    watch_caller(env, guest);
    charge(env, g);
    bl_wasm_call_settle(g, 0);
    book_deadline(g);
    const uint64_t deadline = g->current.deadline_ns < g->deadline_ns ? g->current.deadline_ns : g->deadline_ns;
    ERL_NIF_TERM answer = enif_make_tuple4(env, am.import_, token, id, args);
    if (tell_left && deadline != UINT64_MAX) {
        const uint64_t now = bl_now_ns(), left = deadline > now ? deadline - now : 0;
        answer = enif_make_tuple5(env, am.import_, token, id, args, enif_make_uint64(env, left / 1000000));
    }
    bl_wasm_leave(g, BL_WASM_PARKED);
    return answer;
}

static ERL_NIF_TERM ended(ErlNifEnv *env, struct wasm_guest *guest, enum bl_status why)
{
    struct bl_wasm_guest *g = guest->core;
    bl_wasm_call_end(g, why);
    bl_wasm_boxes_free();
    wasm_leave_idle(guest);
    if (__atomic_load_n(&g->closing, __ATOMIC_SEQ_CST)) bl_wasm_guest_close(g); /* whoever closed it meanwhile is waiting for this */
    return wasm_fail_status(env, why);
}

/* A nested call that ends alone: its own time is over, or its instance was stopped, while that around it goes on. */
static ERL_NIF_TERM stopped_nested(ErlNifEnv *env, struct bl_wasm_guest *g, enum bl_status why)
{
    bl_wasm_call_stop_nested(g, why);
    bl_wasm_leave(g, BL_WASM_PARKED);
    return wasm_fail_status(env, why);
}

/* An instance may be stopped while others keep its guest. */
static bool is_closed(const struct wasm_instance *in) { return __atomic_load_n(&in->core->closed, __ATOMIC_RELAXED); }

/* Between two slices: is the call over, because of `why` or by itself? */
static bool is_over(ErlNifEnv *env, ERL_NIF_TERM handle, struct wasm_guest *guest, enum bl_status why, uint64_t now, ERL_NIF_TERM *answer)
{
    struct bl_wasm_guest *g = guest->core;
    if (why != BL_OK)
        *answer = ended(env, guest, why);
    else if (is_closed(wasm_get_instance(env, handle)))
        *answer = g->depth > 0 ? stopped_nested(env, g, BL_CLOSED) : ended(env, guest, BL_CLOSED);
    else if (now >= g->current.deadline_ns)
        *answer = stopped_nested(env, g, BL_TIMEOUT);
    else
        return false;
    return true;
}

static ERL_NIF_TERM go_on(ErlNifEnv *env, ERL_NIF_TERM handle, struct wasm_guest *guest, unsigned flags, bool dirty)
{
    struct bl_wasm_guest *g = guest->core;
    const bool was_dirty = dirty;
    dirty = g->heavy || g->long_slices >= LONG_SLICES;
    if (dirty && !was_dirty) g->statistics.migrations++;
    watch_caller(env, guest);
    const ERL_NIF_TERM argv[3] = {handle, enif_make_uint64(env, g->call_number), enif_make_uint(env, flags)};
    enif_consume_timeslice(env, 100);
    g->ticks = 0;
    book_deadline(g);
    bl_wasm_leave(g, BL_WASM_YIELDED); /* from here on it is anybody's */
    return enif_schedule_nif(env, "call", dirty ? ERL_NIF_DIRTY_JOB_CPU_BOUND : 0, dirty ? step_dirty : step_normal, 3, argv);
}

/* Version 45 charges nothing for bulk instructions, so nothing tells that a large one comes. */
static bool all_may_be_heavy(void) { return bl_wasmtime_loaded()->major == 45; }

static ERL_NIF_TERM run_slice(ErlNifEnv *env, ERL_NIF_TERM handle, struct wasm_guest *guest, unsigned flags, bool tell_left)
{
    struct bl_wasm_guest *g = guest->core;
    if (all_may_be_heavy()) {
        bl_wasm_call_settle(g, 0);
        g->heavy = true;
        return go_on(env, handle, guest, flags, false);
    }
    const enum bl_wasm_event event = bl_wasm_call_slice(g, SLICE_NS);
    if (event == BL_WASM_RETURN) return returned(env, guest, flags);
    if (event == BL_WASM_IMPORT) return imported(env, guest, flags, tell_left);
    const uint64_t now = bl_now_ns();
    bl_wasm_call_settle(g, now);
    ERL_NIF_TERM answer;
    if (is_over(env, handle, guest, bl_wasm_call_check(g, now), now, &answer)) return answer;
    return go_on(env, handle, guest, flags, false);
}

/* The same on a dirty scheduler: there a process may die while its call runs, and nobody else can use the thread. */
static ERL_NIF_TERM run_dirty(ErlNifEnv *env, ERL_NIF_TERM handle, struct wasm_guest *guest, unsigned flags)
{
    struct bl_wasm_guest *g = guest->core;
    for (int i = 0; i < DIRTY_SLICES; i++) {
        const enum bl_wasm_event event = bl_wasm_call_slice(g, DIRTY_SLICE_NS);
        if (event == BL_WASM_RETURN) return returned(env, guest, flags);
        if (event == BL_WASM_IMPORT) return imported(env, guest, flags, true);
        const uint64_t now = bl_now_ns();
        const enum bl_status why = enif_is_current_process_alive(env) ? bl_wasm_call_check(g, now) : BL_CANCELLED;
        ERL_NIF_TERM answer;
        if (is_over(env, handle, guest, why, now, &answer)) return answer;
        if (!g->heavy && g->long_slices < LONG_SLICES) break;
    }
    return go_on(env, handle, guest, flags, true);
}

static ERL_NIF_TERM step(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[], bool dirty)
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    ErlNifUInt64 number;
    unsigned flags;
    if (!in || !enif_get_uint64(env, argv[1], &number) || !enif_get_uint(env, argv[2], &flags)) return enif_make_badarg(env);
    struct bl_wasm_guest *g = in->guest->core;
    const bool taken = bl_wasm_take(g, BL_WASM_YIELDED);
    if (taken && g->call_number == number)
        return dirty ? run_dirty(env, argv[0], in->guest, flags) : run_slice(env, argv[0], in->guest, flags, true);
    if (taken) bl_wasm_leave(g, BL_WASM_YIELDED); /* it is another call's already */
    if (!taken && __atomic_load_n(&g->call_number, __ATOMIC_SEQ_CST) == number) /* somebody is looking in */
        return enif_schedule_nif(env, "call", dirty ? ERL_NIF_DIRTY_JOB_CPU_BOUND : 0, dirty ? step_dirty : step_normal, argc, argv);
    return wasm_fail_status(env, __atomic_load_n(&g->closing, __ATOMIC_RELAXED) ? BL_CLOSED : g->ended);
}

static ERL_NIF_TERM step_normal(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) { return step(env, argc, argv, false); }
static ERL_NIF_TERM step_dirty(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[]) { return step(env, argc, argv, true); }

/* ---- calls ------------------------------------------------------------------------------------------------- */

/* Whether this thread's stack has room for a guest. `+sss' may have made it small. */
static bool stack_has_room(const struct bl_wasm_guest *g)
{
    static __thread char *bottom __attribute__((tls_model("initial-exec")));
    char here;
    if (!bottom) {
        pthread_attr_t attributes;
        void *address = NULL;
        size_t size = 0;
        if (pthread_getattr_np(pthread_self(), &attributes) != 0) return false;
        pthread_attr_getstack(&attributes, &address, &size);
        pthread_attr_destroy(&attributes);
        bottom = address;
    }
    return &here > bottom && (size_t)(&here - bottom) > g->engine->wasm_stack + STACK_RESERVE;
}

static bool run_direct(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_function *f, unsigned flags, ERL_NIF_TERM *answer)
{
    struct bl_wasm_guest *g = guest->core;
    const struct bl_wasm_signature *s = f->signature;
    if (!stack_has_room(g)) return false;
    const enum bl_status status = bl_wasm_call_direct(g, f);
    if (status == BL_UNSUPPORTED) return false;
    if (g->statistics.direct_calls % DIRECT_PER_PERCENT == 0) enif_consume_timeslice(env, 1);
    *answer = status != BL_OK ? wasm_fail_trap(env, g)
                              : wasm_pair(env, am.ok_, wasm_make_values(env, guest, s->types + s->params, s->results, g->values, flags));
    return true;
}

/* Milliseconds, or infinity. */
static bool get_timeout(ErlNifEnv *env, ERL_NIF_TERM term, uint64_t *timeout_ns)
{
    ErlNifUInt64 ms;
    if (term == am.infinity_) return *timeout_ns = BL_WASM_NO_TIMEOUT, true;
    if (!enif_get_uint64(env, term, &ms) || ms > UINT64_MAX / 4 / 1000000) return false;
    *timeout_ns = ms * 1000000;
    return true;
}

struct request {
    struct wasm_instance *in;
    ERL_NIF_TERM args;
    uint64_t timeout_ns;
    unsigned flags;
    int64_t export; /* -1: `function` */
    struct bl_wasm_function function;
};

static const struct bl_wasm_type *param_types(const struct bl_wasm_function *f) { return f->signature->types; }

/* The function that is meant: an export's handle is looked up once. */
static bool find_function(struct request *r)
{
    if (r->export < 0) return true;
    const wasmtime_extern_t *item = bl_wasm_instance_item(r->in->core, (size_t)r->export);
    if (!item || item->kind != WASMTIME_FUNC) return false;
    const struct bl_wasm_binary *b = &r->in->core->module->binary;
    r->function = (struct bl_wasm_function){item->of.func, bl_wasm_binary_signature(b, b->exports[r->export].index)};
    return true;
}

static ERL_NIF_TERM begin(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[], struct request *r, const char *name, wasm_entry *again)
{
    struct wasm_guest *guest = r->in->guest;
    struct bl_wasm_guest *g = guest->core;
    struct bl_error err;
    ERL_NIF_TERM answer;
    const enum wasm_entered entered = wasm_enter(env, guest);
    if (entered > WASM_PARKED) return wasm_not_entered(env, entered, name, again, argc, argv);
    if (!find_function(r)) {
        wasm_leave(guest, entered);
        return enif_make_badarg(env);
    }
    const struct bl_wasm_signature *s = r->function.signature;
    const size_t bad = wasm_get_values(env, guest, param_types(&r->function), s->params, r->args, g->values);
    if (bad > 0) {
        answer = wasm_bad_value(env, guest, s->types, s->params, bad);
        wasm_leave(guest, entered);
        return answer;
    }
    if (r->export >= 0 && r->in->core->module->binary.exports[r->export].is_short && run_direct(env, guest, &r->function, r->flags,
        &answer)) {
        wasm_leave(guest, entered);
        return answer;
    }
    if (entered == WASM_PARKED) {
        bl_wasm_call_nest(g, &r->function, r->timeout_ns);
    } else if (bl_wasm_call_begin(g, &r->function, wasm_self(env), r->timeout_ns, &err) != BL_OK) {
        wasm_leave_idle(guest);
        return wasm_fail_error(env, &err);
    }
    return run_slice(env, argv[0], guest, r->flags, entered == WASM_PARKED);
}

/* (Instance, Name | Function, Args, Timeout, Flags) -> {ok, Results} | {import, Token, Id, Args[, MsLeft]} | {badarg, Position, Expected}
 * | {error, Reason}; undefined: there is no such function */
ERL_NIF_TERM wasm_call(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct request r = {.in = wasm_get_instance(env, argv[0]), .args = argv[2]};
    ErlNifBinary name;
    if (!r.in || !enif_get_uint(env, argv[4], &r.flags) || !get_timeout(env, argv[3], &r.timeout_ns)) return enif_make_badarg(env);
    if (__atomic_load_n(&r.in->core->closed, __ATOMIC_RELAXED)) return wasm_fail_status(env, BL_CLOSED);
    if (enif_inspect_binary(env, argv[1], &name)) {
        r.export = bl_wasm_module_export(r.in->core->module, (const char *)name.data, name.size);
        if (r.export < 0 || r.in->core->module->binary.exports[r.export].kind != WASMTIME_FUNC) return am.undefined_;
    } else {
        const struct wasm_reference *f = wasm_get_reference(env, argv[1]);
        if (!f || f->kind != WASMTIME_FUNCREF || f->guest != r.in->guest) return enif_make_badarg(env);
        r.export = -1;
        r.function = f->function;
    }
    return begin(env, argc, argv, &r, "call", wasm_call);
}

/* (Instance, Timeout) -> as call, or none: the module has no start function */
ERL_NIF_TERM wasm_call_start(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct request r = {.in = wasm_get_instance(env, argv[0]), .args = enif_make_list(env, 0), .export = -1};
    if (!r.in || !get_timeout(env, argv[1], &r.timeout_ns)) return enif_make_badarg(env);
    if (!bl_wasm_instance_start(r.in->core, &r.function)) return am.none_;
    return begin(env, argc, argv, &r, "call_start", wasm_call_start);
}

/* ---- answers to imports --------------------------------------------------------------------------------------- */

/* Takes the guest if the import with this token still waits in it. */
static enum wasm_entered enter_import(ErlNifEnv *env, struct wasm_guest *guest, uint64_t token)
{
    struct bl_wasm_guest *g = guest->core;
    const enum wasm_entered entered = wasm_enter(env, guest);
    if (entered == WASM_PARKED && g->token != token) {
        bl_wasm_leave(g, BL_WASM_PARKED);
        return WASM_BUSY;
    }
    if (entered != WASM_IDLE) return entered;
    wasm_leave_idle(guest);
    return WASM_BUSY;
}

/* It has ended meanwhile, or it never was. */
static ERL_NIF_TERM import_is_gone(ErlNifEnv *env, struct bl_wasm_guest *g, enum wasm_entered entered)
{
    if (entered == WASM_CLOSED) return wasm_fail_status(env, BL_CLOSED);
    const enum bl_status why = g->ended;
    return wasm_fail_status(env, why == BL_OK ? BL_CANCELLED : why);
}

/* A call that is over its time ends here, whatever the import answers; a nested one alone. */
static bool too_late(ErlNifEnv *env, const struct wasm_instance *in, ERL_NIF_TERM *answer)
{
    struct bl_wasm_guest *g = in->guest->core;
    const bool timed = g->deadline_ns != UINT64_MAX || g->current.deadline_ns != UINT64_MAX, nested = g->depth > 1;
    const uint64_t now = timed ? bl_now_ns() : 0;
    const enum bl_status all = bl_wasm_call_check(g, now);
    const enum bl_status why = all != BL_OK ? all : is_closed(in) ? BL_CLOSED : now >= g->current.deadline_ns ? BL_TIMEOUT : BL_OK;
    if (why == BL_OK) return false;
    if (all == BL_OK && nested) {
        bl_wasm_call_answer(g, BL_WASM_REFUSE);
        *answer = stopped_nested(env, g, why);
    } else
        *answer = ended(env, in->guest, why);
    return true;
}

/* (Instance, Token, Results, Flags) -> as call */
ERL_NIF_TERM wasm_resume(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    ErlNifUInt64 token;
    unsigned flags;
    ERL_NIF_TERM answer;
    if (!in || !enif_get_uint64(env, argv[1], &token) || !enif_get_uint(env, argv[3], &flags)) return enif_make_badarg(env);
    struct bl_wasm_guest *g = in->guest->core;
    const enum wasm_entered entered = enter_import(env, in->guest, token);
    if (entered == WASM_AGAIN) return wasm_not_entered(env, entered, "resume", wasm_resume, argc, argv);
    if (entered != WASM_PARKED) return import_is_gone(env, g, entered);
    if (too_late(env, in, &answer)) return answer;
    const struct bl_wasm_signature *s = g->import->signature;
    const size_t bad = wasm_get_values(env, in->guest, s->types + s->params, s->results, argv[2], g->values);
    if (bad > 0) {
        answer = wasm_bad_value(env, in->guest, s->types + s->params, s->results, bad);
        bl_wasm_leave(g, BL_WASM_PARKED);
        return answer;
    }
    memcpy(g->import_values, g->values, s->results * sizeof g->values[0]);
    bl_wasm_call_answer(g, BL_WASM_RESULTS);
    return run_slice(env, argv[0], in->guest, flags, false);
}

/* (Instance, Token, Flags) -> as call: the call around this import fails */
ERL_NIF_TERM wasm_refuse(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    ErlNifUInt64 token;
    unsigned flags;
    ERL_NIF_TERM answer;
    if (!in || !enif_get_uint64(env, argv[1], &token) || !enif_get_uint(env, argv[2], &flags)) return enif_make_badarg(env);
    struct bl_wasm_guest *g = in->guest->core;
    const enum wasm_entered entered = enter_import(env, in->guest, token);
    if (entered == WASM_AGAIN) return wasm_not_entered(env, entered, "refuse", wasm_refuse, argc, argv);
    if (entered != WASM_PARKED) return import_is_gone(env, g, entered);
    if (too_late(env, in, &answer)) return answer;
    bl_wasm_call_answer(g, BL_WASM_REFUSE);
    return run_slice(env, argv[0], in->guest, flags, false);
}

/* (Instance) -> boolean(): whether there was a call. Any process. */
ERL_NIF_TERM wasm_cancel(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    (void)argc;
    if (!in) return enif_make_badarg(env);
    const uint64_t number = __atomic_load_n(&in->guest->core->call_number, __ATOMIC_SEQ_CST);
    if (!(number & 1)) return am.false_;
    bl_wasm_guest_cancel(in->guest->core, number);
    return am.true_;
}
