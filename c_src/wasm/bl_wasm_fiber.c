/* SPDX-License-Identifier: Apache-2.0
 *
 * What runs on a guest's fiber, and how it is given slices.
 *
 * The fiber stays in the store: at its bottom trampoline() takes requests, and between them it waits in the library's
 * one asynchronous host function, `park`, which suspends the fiber until there is a request. Imports are plain host
 * functions that wait in the same way; while one does, a further call runs above it on the same stack.
 *
 * Above the line "the scheduler's side" everything runs on the guest's stack: no lock is held over a park(), no
 * large local, nothing of Erlang.
 */

#include "bl_sync.h"
#include "bl_ticks.h"
#include "bl_wasm_guest.h"

enum {
    RESERVE = 32 << 10, /* of the fiber's stack, for the host's own frames */
    INTERVAL_LEAST = 500,
    INTERVAL_FIRST = 10000,
    INTERVAL_MOST = 100000,
    POLL_NS = 60000,          /* what one poll should take */
    BULK_BYTES = 256 << 10,   /* a bulk instruction of more than that (1 fuel a byte) is not for a normal scheduler */
    LONG_NS = 1000000,
    LOOK_TICKS = 1 << 21, /* of the processor: about a millisecond */
    FORGIVEN = 64, /* so many slices that are not long make up for one that was */
};

static wasm_trap_t *host_trap(const char *text) { return wt.wasmtime_trap_new(text, __builtin_strlen(text)); }

/* NULL: there is a request. A fiber that is being unwound must never suspend again: that ends the process. */
static wasm_trap_t *park(struct bl_wasm_guest *g, wasmtime_context_t *context)
{
    wasm_trap_t *trap = NULL;
    wasmtime_val_raw_t none;
    if (g->dying) return host_trap("cancelled");
    wasmtime_error_t *error = wt.wasmtime_func_call_unchecked(context, &g->park, &none, 0, &trap);
    if (!error) return trap;
    wt.wasmtime_error_delete(error);
    return host_trap("cancelled");
}

static bool parked_enough(void *env) { return ((struct bl_wasm_guest *)env)->request != BL_WASM_NO_REQUEST; }

static void park_function(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args, size_t nargs, wasmtime_val_t *results,
                          size_t nresults, wasm_trap_t **trap, wasmtime_continuation_t *continuation)
{
    (void)env, (void)args, (void)nargs, (void)results, (void)nresults, (void)trap;
    continuation->callback = parked_enough;
    continuation->env = wt.wasmtime_context_get_data(wt.wasmtime_caller_context(caller));
    continuation->finalizer = NULL;
}

/* Also of calls that were unwound one after the other. */
static void drop_outcome(struct bl_wasm_guest *g)
{
    if (g->trap) wt.wasm_trap_delete(g->trap);
    if (g->error) wt.wasmtime_error_delete(g->error);
    g->trap = NULL;
    g->error = NULL;
}

/* One call, the outermost or a nested one. Each gets a fresh max_wasm_stack from the library: only the test here keeps
 * several levels inside the fiber's stack. */
static void run(struct bl_wasm_guest *g, wasmtime_context_t *context)
{
    char here;
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error;
    const struct bl_wasm_function f = g->current.function; /* a copy: what it came from may be gone after the next slice */
    const struct bl_wasm_signature *s = f.signature;
    if ((size_t)(g->fiber_top - &here) + g->engine->wasm_stack + RESERVE > g->engine->fiber_stack)
        error = wt.wasmtime_error_new("calls from imports are nested too deep");
    else
        error = wt.wasmtime_func_call_unchecked(context, &f.handle, g->values, s->params > s->results ? s->params : s->results, &trap);
    drop_outcome(g);
    g->error = error;
    g->trap = trap;
    g->returned = s;
    g->event = BL_WASM_RETURN;
}

static wasm_trap_t *trampoline(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t count)
{
    char top;
    struct bl_wasm_guest *g = env;
    wasmtime_context_t *context = wt.wasmtime_caller_context(caller);
    (void)values, (void)count;
    g->fiber_top = &top;
    for (;;) {
        while (g->request == BL_WASM_NO_REQUEST) {
            wasm_trap_t *trap = park(g, context);
            if (trap) return trap;
        }
        g->request = BL_WASM_NO_REQUEST;
        run(g, context);
    }
}

static wasm_trap_t *import(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t count)
{
    wasmtime_context_t *context = wt.wasmtime_caller_context(caller);
    struct bl_wasm_guest *g = wt.wasmtime_context_get_data(context);
    (void)count;
    if (!g->on_fiber || g->dying || g->stopping) return host_trap("cancelled"); /* a short function has no imports; being unwound */
    const struct bl_wasm_call around = g->current;
    const uint64_t token = ++g->next_token;
    g->event = BL_WASM_IMPORT;
    for (;;) {
        g->import = env;
        g->import_values = values;
        g->token = token;
        g->current = around;
        wasm_trap_t *trap = park(g, context);
        if (trap) return trap;
        const enum bl_wasm_request request = g->request;
        g->request = BL_WASM_NO_REQUEST;
        if (request == BL_WASM_RESULTS) return NULL;
        if (request == BL_WASM_REFUSE) return host_trap("an import failed");
        if (request == BL_WASM_BOX) {
            struct bl_wasm_box *box = g->box;
            g->box = NULL;
            if (wt.wasmtime_externref_new(context, box, bl_wasm_box_drop, g->boxed)) g->boxed = NULL;
            g->event = BL_WASM_IMPORT; /* which still waits */
            continue;
        }
        g->current = g->nested;
        run(g, context); /* may have parked in imports of its own */
    }
}

/* ---- the scheduler's side ------------------------------------------------------------------------------ */

wasmtime_unchecked_fn *const bl_wasm_import_function = import;
wasmtime_async_fn *const bl_wasm_park_function = park_function;

void bl_wasm_fiber_ready(struct bl_wasm_guest *g, wasmtime_linker_t *with_park)
{
    wasmtime_extern_t item;
    wasm_valtype_vec_t params, results;
    if (g->has_park || !wt.wasmtime_linker_get(with_park, g->context, BL_WASM_PARK_MODULE, sizeof BL_WASM_PARK_MODULE - 1, "park", 4,
        &item)) return;
    g->park = item.of.func;
    wt.wasmtime_extern_delete(&item);
    wt.wasm_valtype_vec_new_empty(&params);
    wt.wasm_valtype_vec_new_empty(&results);
    wasm_functype_t *type = wt.wasm_functype_new(&params, &results);
    wt.wasmtime_func_new_unchecked(g->context, type, trampoline, g, NULL, &g->trampoline);
    wt.wasm_functype_delete(type);
    g->has_park = true;
}

static void set_interval(struct bl_wasm_guest *g, uint64_t interval)
{
    if (interval < INTERVAL_LEAST) interval = INTERVAL_LEAST;
    if (interval > INTERVAL_MOST) interval = INTERVAL_MOST;
    if (interval == g->interval) return;
    g->interval = interval;
    wasmtime_error_t *error = wt.wasmtime_context_fuel_async_yield_interval(g->context, interval);
    if (error) wt.wasmtime_error_delete(error);
}

static uint64_t fuel_left(struct bl_wasm_guest *g)
{
    uint64_t fuel = 0;
    wasmtime_error_t *error = wt.wasmtime_context_get_fuel(g->context, &fuel);
    if (error) wt.wasmtime_error_delete(error);
    return fuel;
}

static void set_fuel(struct bl_wasm_guest *g, uint64_t fuel)
{
    wasmtime_error_t *error = wt.wasmtime_context_set_fuel(g->context, fuel);
    if (error) wt.wasmtime_error_delete(error);
}

/* What is left; what was used by now is kept for the totals. */
static uint64_t look_at_fuel(struct bl_wasm_guest *g)
{
    const uint64_t left = fuel_left(g);
    g->fuel_seen = g->fuel_used + (g->fuel_given - left);
    return left;
}

void bl_wasm_guest_see_fuel(struct bl_wasm_guest *g) { look_at_fuel(g); }

static bool has_fuel_limits(const struct bl_wasm_guest *g)
{
    return g->limits.fuel_per_call != BL_WASM_NO_LIMIT || g->limits.fuel_total != BL_WASM_NO_LIMIT;
}

/* A store begins without fuel, and what it was given is counted: the rest is what was used. */
void bl_wasm_fuel_give(struct bl_wasm_guest *g)
{
    g->fuel_used += g->fuel_given - fuel_left(g);
    const uint64_t left = g->limits.fuel_total > g->fuel_used ? g->limits.fuel_total - g->fuel_used : 0;
    g->fuel_given = left < g->limits.fuel_per_call ? left : g->limits.fuel_per_call;
    if (!has_fuel_limits(g)) g->fuel_given = UINT64_MAX;
    set_fuel(g, g->fuel_given);
}

static bool start_fiber(struct bl_wasm_guest *g)
{
    if (g->future) return true;
    if (!g->has_park) return false;
    g->future = wt.wasmtime_func_call_async(g->context, &g->trampoline, NULL, 0, NULL, 0, &g->fiber_trap, &g->fiber_error);
    return g->future != NULL;
}

void bl_wasm_call_drop_fiber(struct bl_wasm_guest *g)
{
    if (!g->future) return;
    g->dying = true;
    wt.wasmtime_call_future_delete(g->future);
    g->dying = false;
    g->future = NULL;
    if (g->fiber_trap) wt.wasm_trap_delete(g->fiber_trap);
    if (g->fiber_error) wt.wasmtime_error_delete(g->fiber_error);
    g->fiber_trap = NULL;
    g->fiber_error = NULL;
}

enum bl_status bl_wasm_call_begin(struct bl_wasm_guest *g, const struct bl_wasm_function *function, uint64_t caller, uint64_t timeout_ns,
                                  struct bl_error *err)
{
    /* A bulk instruction costs what it asks for, in advance: one call can use up what no loop could. */
    if (has_fuel_limits(g) || g->out_of_fuel) {
        g->out_of_fuel = false;
        bl_wasm_fuel_give(g);
        if (g->fuel_given == 0) {
            const uint64_t limit = g->limits.fuel_per_call == 0 ? 0 : g->limits.fuel_total;
            return bl_fail_limit(err, "fuel", limit, limit + 1);
        }
    }
    __atomic_store_n(&g->call_number, g->call_number + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&g->caller, caller, __ATOMIC_RELAXED);
    __atomic_store_n(&g->deadline_ns, UINT64_MAX, __ATOMIC_RELAXED);
    g->timeout_ns = timeout_ns == BL_WASM_NO_TIMEOUT ? 0 : timeout_ns + 1;
    g->statistics.calls++;
    g->long_slices = 0;
    g->heavy = false;
    g->current = (struct bl_wasm_call){*function, UINT64_MAX};
    if (g->interval > INTERVAL_FIRST || g->interval == 0) set_interval(g, INTERVAL_FIRST);
    g->request = BL_WASM_CALL;
    return BL_OK;
}

void bl_wasm_call_settle(struct bl_wasm_guest *g, uint64_t now_ns)
{
    if (g->timeout_ns == 0) return;
    __atomic_store_n(&g->deadline_ns, (now_ns ? now_ns : bl_now_ns()) + g->timeout_ns - 1, __ATOMIC_SEQ_CST);
    g->timeout_ns = 0;
}

void bl_wasm_call_nest(struct bl_wasm_guest *g, const struct bl_wasm_function *function, uint64_t timeout_ns)
{
    const uint64_t deadline_ns = timeout_ns == BL_WASM_NO_TIMEOUT ? UINT64_MAX : bl_now_ns() + timeout_ns;
    g->nested = (struct bl_wasm_call){*function, deadline_ns < g->current.deadline_ns ? deadline_ns : g->current.deadline_ns};
    g->statistics.calls++;
    g->request = BL_WASM_CALL;
}

void bl_wasm_call_answer(struct bl_wasm_guest *g, enum bl_wasm_request request)
{
    g->depth--;
    g->request = request;
}

/* Fuel counts instructions, not time: the interval follows the clock. */
static void adapt(struct bl_wasm_guest *g, uint64_t ns, bool cut)
{
    if (ns > POLL_NS)
        set_interval(g, g->interval * POLL_NS / ns);
    else if (cut && 2 * ns < POLL_NS)
        set_interval(g, g->interval + g->interval / 4);
}

/* Version 48 charges a bulk instruction before it does its work, so a slice that used much more than its interval says
 * what comes next. */
static bool bulk_comes(struct bl_wasm_guest *g)
{
    const uint64_t left = look_at_fuel(g), used = g->fuel_before - left;
    g->fuel_before = left;
    return used > g->interval + BULK_BYTES;
}

/* What this thread had worked when it last looked, which takes too long for each slice. */
static __thread struct { uint64_t ticks, processor_ns; } looked;

static void look_now_and_then(uint64_t now)
{
    if (now - looked.ticks < LOOK_TICKS) return;
    looked.ticks = now;
    looked.processor_ns = bl_thread_cpu_ns();
}

/* ns: of the longest poll in a slice that began at `begin`. Only the thread's work counts; the rest is the kernel's, who gave
 * the processor to somebody else. */
static void count_slice(struct bl_wasm_guest *g, uint64_t ns, uint64_t begin)
{
    if (ns >= LONG_NS) {
        /* Since it looked; what came before the slice was work at most. */
        const uint64_t worked = bl_thread_cpu_ns() - looked.processor_ns, before = bl_ticks_ns(begin - looked.ticks);
        const uint64_t inside = worked > before ? worked - before : 0;
        if (inside < ns) ns = inside;
    }
    g->statistics.slices++;
    if (ns > g->statistics.longest_slice_ns) g->statistics.longest_slice_ns = ns;
    if (ns < LONG_NS) {
        if (g->long_slices > 0 && g->statistics.slices % FORGIVEN == 0) g->long_slices--;
        return;
    }
    g->statistics.slices_over_1ms++;
    g->long_slices++;
}

/* The fiber itself ended: only after an error of the library. */
static void fiber_ended(struct bl_wasm_guest *g)
{
    if (!g->error && !g->trap) {
        g->error = g->fiber_error ? g->fiber_error : wt.wasmtime_error_new("the fiber ended");
        g->fiber_error = NULL;
    }
    bl_wasm_call_drop_fiber(g);
    g->depth = 0;
    g->request = BL_WASM_NO_REQUEST;
    g->returned = g->current.function.signature;
    g->event = BL_WASM_RETURN;
}

/* Lets the fiber run. True: it ended. */
static bool poll(struct bl_wasm_guest *g)
{
    g->runs++;
    g->on_fiber = true;
    const bool ended = wt.wasmtime_call_future_poll(g->future);
    g->on_fiber = false;
    return ended;
}

enum bl_wasm_event bl_wasm_call_slice(struct bl_wasm_guest *g, uint64_t budget_ns)
{
    if (!start_fiber(g)) {
        g->error = wt.wasmtime_error_new("there could be no fiber");
        g->returned = g->current.function.signature;
        g->request = BL_WASM_NO_REQUEST;
        return g->event = BL_WASM_RETURN;
    }
    const uint64_t begin = bl_ticks();
    look_now_and_then(begin);
    uint64_t from = begin, now, budget = 0, longest = 0;
    g->heavy = false;
    g->event = BL_WASM_NONE;
    g->fuel_before = look_at_fuel(g);
    for (;;) {
        const bool ended = poll(g);
        now = bl_ticks();
        if (ended) fiber_ended(g);
        const uint64_t ns = bl_ticks_ns(now - from);
        if (ns > longest) longest = ns;
        adapt(g, ns, g->event == BL_WASM_NONE);
        if (g->event != BL_WASM_NONE) break;
        g->heavy = bulk_comes(g);
        if ((budget += ns) >= budget_ns || g->heavy) break;
        from = now;
    }
    g->ticks += now - begin;
    count_slice(g, longest, begin);
    if (g->event == BL_WASM_IMPORT) {
        g->depth++;
        g->statistics.imports++;
    }
    return g->event;
}

/* What is short, or ends at once. */
static void poll_until_event(struct bl_wasm_guest *g)
{
    g->event = BL_WASM_NONE;
    while (g->event == BL_WASM_NONE) {
        const bool ended = poll(g);
        if (ended) fiber_ended(g);
    }
}

bool bl_wasm_box_new(struct bl_wasm_guest *g, struct bl_wasm_box *box, wasmtime_ref_t *out)
{
    if (g->depth == 0) return wt.wasmtime_externref_new(g->context, box, bl_wasm_box_drop, out);
    g->box = box;
    g->boxed = out;
    g->request = BL_WASM_BOX;
    poll_until_event(g);
    if (g->box) bl_wasm_box_drop(g->box); /* the fiber ended before it took it */
    g->box = NULL;
    return g->boxed == NULL;
}

void bl_wasm_call_done(struct bl_wasm_guest *g)
{
    __atomic_store_n(&g->call_number, g->call_number + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&g->deadline_ns, UINT64_MAX, __ATOMIC_RELAXED);
}

static void count_end(struct bl_wasm_guest *g, enum bl_status why)
{
    if (why == BL_TIMEOUT)
        g->statistics.timed_out++;
    else
        g->statistics.cancelled++;
}

void bl_wasm_call_end(struct bl_wasm_guest *g, enum bl_status why)
{
    count_end(g, why);
    bl_wasm_call_drop_fiber(g);
    drop_outcome(g);
    g->depth = 0;
    g->event = BL_WASM_NONE;
    g->request = BL_WASM_NO_REQUEST;
    g->ended = why;
    bl_wasm_call_done(g);
}

/* Without fuel it traps at its next loop or call; an import on the way refuses. */
void bl_wasm_call_stop_nested(struct bl_wasm_guest *g, enum bl_status why)
{
    const uint64_t left = fuel_left(g);
    set_fuel(g, 0);
    g->stopping = true;
    count_end(g, why);
    poll_until_event(g);
    g->stopping = false;
    set_fuel(g, left);
    drop_outcome(g);
}

enum bl_status bl_wasm_call_check(const struct bl_wasm_guest *g, uint64_t now_ns)
{
    if (__atomic_load_n(&g->closing, __ATOMIC_RELAXED)) return BL_CLOSED;
    if (__atomic_load_n(&g->cancel_number, __ATOMIC_RELAXED) == g->call_number) return BL_CANCELLED;
    return now_ns >= g->deadline_ns ? BL_TIMEOUT : BL_OK;
}

enum bl_status bl_wasm_call_direct(struct bl_wasm_guest *g, const struct bl_wasm_function *f)
{
    enum { FUEL_LEAST = 4000 };
    if (has_fuel_limits(g)) return BL_UNSUPPORTED;
    const uint64_t left = look_at_fuel(g);
    if (left < FUEL_LEAST) return BL_UNSUPPORTED;
    if (g->interval < FUEL_LEAST) set_interval(g, INTERVAL_FIRST);
    set_fuel(g, left); /* a whole interval lies ahead again: off the fiber its end would be an error with the work half done */
    const struct bl_wasm_signature *s = f->signature;
    wasm_trap_t *trap = NULL;
    g->statistics.direct_calls++;
    g->runs++;
    wasmtime_error_t *error =
        wt.wasmtime_func_call_unchecked(g->context, &f->handle, g->values, s->params > s->results ? s->params : s->results, &trap);
    if (__builtin_expect(!trap && !error, 1)) return BL_OK;
    g->trap = trap;
    g->error = error;
    return BL_TRAP;
}
