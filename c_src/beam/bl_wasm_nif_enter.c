/* SPDX-License-Identifier: Apache-2.0
 *
 * Entering a guest, leaving it, and waiting for one's turn. Who waits is served in order: when the guest becomes idle, it
 * is kept for the first in the queue, who gets a message; all others are refused until that process has come.
 */
#include "bl_wasm_nif.h"

/* It was idle, is taken, and is kept for somebody who waited. */
enum wasm_entered wasm_enter_kept(ErlNifEnv *env, struct wasm_guest *guest)
{
    if (__atomic_load_n(&guest->core->kept_for, __ATOMIC_RELAXED) == wasm_self(env)) return WASM_IDLE;
    bl_wasm_leave(guest->core, BL_WASM_IDLE);
    return WASM_BUSY;
}

enum wasm_entered wasm_enter_taken(ErlNifEnv *env, struct wasm_guest *guest)
{
    struct bl_wasm_guest *g = guest->core;
    const uint64_t self = wasm_self(env);
    if (__atomic_load_n(&g->caller, __ATOMIC_SEQ_CST) != self || !(__atomic_load_n(&g->call_number, __ATOMIC_SEQ_CST) & 1)) {
        if (__atomic_load_n(&g->closing, __ATOMIC_RELAXED)) return WASM_CLOSED;
        /* Who asks for info does not use it. */
        const bool looked_at = __atomic_load_n(&guest->looking, __ATOMIC_SEQ_CST) > 0;
        return looked_at || __atomic_load_n(&g->state, __ATOMIC_SEQ_CST) == BL_WASM_IDLE ? WASM_AGAIN : WASM_BUSY;
    }
    if (bl_wasm_take(g, BL_WASM_PARKED)) {
        if (g->caller == self) return WASM_PARKED;
        bl_wasm_leave(g, BL_WASM_PARKED);
        return WASM_BUSY;
    }
    /* This process runs, so no slice of its call does: whoever is in there is only looking, or ending the call. */
    return __atomic_load_n(&g->closing, __ATOMIC_RELAXED) ? WASM_CLOSED : WASM_AGAIN;
}

ERL_NIF_TERM wasm_not_entered(ErlNifEnv *env, enum wasm_entered entered, const char *name, wasm_entry *entry, int argc,
                              const ERL_NIF_TERM argv[])
{
    if (entered == WASM_CLOSED) return wasm_fail(env, am.closed_);
    if (entered == WASM_BUSY) return wasm_fail(env, wasm_pair(env, am.busy_, enif_make_int(env, 0)));
    return enif_schedule_nif(env, name, 0, entry, argc, argv);
}

/* ---- turns ------------------------------------------------------------------------------------------------ */

static void free_waiter(struct wasm_waiter *w)
{
    enif_free_env(w->env);
    enif_free(w);
}

static void tell(struct wasm_waiter *w, ERL_NIF_TERM what)
{
    ErlNifEnv *env = enif_alloc_env();
    const ERL_NIF_TERM turn = enif_make_copy(env, w->turn);
    enif_send(NULL, &w->pid, env, enif_make_tuple3(env, enif_make_atom(env, "beamline_wasm_turn"), turn, what));
    enif_free_env(env);
}

/* Under the lock: the first in the queue has its turn, unless somebody has it already, or the guest is in use. */
static void next_turn(struct wasm_guest *guest)
{
    struct bl_wasm_guest *g = guest->core;
    if (guest->turn_of || bl_link_is_alone(&guest->waiters)) return;
    if (__atomic_load_n(&g->state, __ATOMIC_SEQ_CST) != BL_WASM_IDLE) return; /* whoever is in there comes here when leaving */
    struct wasm_waiter *w = BL_CONTAINER(guest->waiters.next, struct wasm_waiter, link);
    bl_link_remove(&w->link);
    guest->turn_of = w;
    __atomic_store_n(&g->kept_for, (uint64_t)w->pid.pid, __ATOMIC_SEQ_CST);
    tell(w, am.ok_);
}

/* Under the lock. */
static void end_turn(ErlNifEnv *env, struct wasm_guest *guest, struct wasm_waiter *w)
{
    struct bl_wasm_guest *g = guest->core;
    if (guest->turn_of == w) {
        guest->turn_of = NULL;
        __atomic_store_n(&g->kept_for, 0, __ATOMIC_SEQ_CST);
    }
    bl_link_remove(&w->link);
    enif_demonitor_process(env, guest, &w->monitor);
    free_waiter(w);
    __atomic_sub_fetch(&g->waiting, 1, __ATOMIC_SEQ_CST);
    next_turn(guest);
}

void wasm_tell_next(struct wasm_guest *guest)
{
    enif_mutex_lock(guest->lock);
    next_turn(guest);
    enif_mutex_unlock(guest->lock);
}

static struct wasm_waiter *find_waiter(struct wasm_guest *guest, const ErlNifPid *pid, ERL_NIF_TERM turn)
{
    struct wasm_waiter *w = guest->turn_of;
    if (w && enif_compare_pids(&w->pid, pid) == 0 && (turn == 0 || enif_compare(w->turn, turn) == 0)) return w;
    for (struct bl_link *l = guest->waiters.next; l != &guest->waiters; l = l->next) {
        w = BL_CONTAINER(l, struct wasm_waiter, link);
        if (enif_compare_pids(&w->pid, pid) == 0 && (turn == 0 || enif_compare(w->turn, turn) == 0)) return w;
    }
    return NULL;
}

void wasm_waiter_down(ErlNifEnv *env, struct wasm_guest *guest, const ErlNifPid *pid)
{
    if (__atomic_load_n(&guest->core->waiting, __ATOMIC_SEQ_CST) == 0) return;
    enif_mutex_lock(guest->lock);
    struct wasm_waiter *w = find_waiter(guest, pid, 0);
    if (w) end_turn(env, guest, w);
    enif_mutex_unlock(guest->lock);
}

void wasm_waiters_closed(struct wasm_guest *guest)
{
    enif_mutex_lock(guest->lock);
    while (!bl_link_is_alone(&guest->waiters)) {
        struct wasm_waiter *w = BL_CONTAINER(guest->waiters.next, struct wasm_waiter, link);
        bl_link_remove(&w->link);
        tell(w, am.closed_);
        free_waiter(w);
    }
    if (guest->turn_of) free_waiter(guest->turn_of);
    guest->turn_of = NULL;
    __atomic_store_n(&guest->core->waiting, 0, __ATOMIC_SEQ_CST);
    enif_mutex_unlock(guest->lock);
}

/* (Instance, Turn) -> ok | own | {error, Reason}; after ok {beamline_wasm_turn, Turn, ok | closed} */
ERL_NIF_TERM wasm_wait(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    (void)argc;
    if (!in || !enif_is_ref(env, argv[1])) return enif_make_badarg(env);
    struct wasm_guest *guest = in->guest;
    struct bl_wasm_guest *g = guest->core;
    if (__atomic_load_n(&g->caller, __ATOMIC_SEQ_CST) == wasm_self(env) && (__atomic_load_n(&g->call_number, __ATOMIC_SEQ_CST) & 1))
        return am.own_; /* this process has it: in an import */
    struct wasm_waiter *w = enif_alloc(sizeof *w);
    bl_link_init(&w->link);
    enif_self(env, &w->pid);
    w->env = enif_alloc_env();
    w->turn = enif_make_copy(w->env, argv[1]);
    enif_mutex_lock(guest->lock);
    const bool closed = __atomic_load_n(&g->closing, __ATOMIC_SEQ_CST);
    if (closed || enif_monitor_process(env, guest, &w->pid, &w->monitor) != 0) {
        enif_mutex_unlock(guest->lock);
        free_waiter(w);
        return wasm_fail(env, am.closed_);
    }
    bl_link_append(&guest->waiters, &w->link);
    __atomic_add_fetch(&g->waiting, 1, __ATOMIC_SEQ_CST);
    next_turn(guest); /* it may have become idle meanwhile */
    enif_mutex_unlock(guest->lock);
    return am.ok_;
}

/* (Instance, Turn) -> ok: the turn was used, or is not wanted any more. */
ERL_NIF_TERM wasm_unwait(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    ErlNifPid self;
    (void)argc;
    if (!in || !enif_is_ref(env, argv[1]) || !enif_self(env, &self)) return enif_make_badarg(env);
    enif_mutex_lock(in->guest->lock);
    struct wasm_waiter *w = find_waiter(in->guest, &self, argv[1]);
    if (w) end_turn(env, in->guest, w);
    enif_mutex_unlock(in->guest->lock);
    return am.ok_;
}

/* (Instance) -> ok: gives the turn away, if the guest is idle. */
ERL_NIF_TERM wasm_next_turn(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    (void)argc;
    if (!in) return enif_make_badarg(env);
    enif_mutex_lock(in->guest->lock);
    next_turn(in->guest);
    enif_mutex_unlock(in->guest->lock);
    return am.ok_;
}
