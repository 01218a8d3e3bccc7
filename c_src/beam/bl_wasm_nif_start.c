/* SPDX-License-Identifier: Apache-2.0
 *
 * Instances: made, described, handed over, stopped.
 */
#include "bl_wasm_nif.h"

enum { INLINE_BYTES = 1 << 20, INLINE_IMPORTS = 50, INLINE_EXPORTS = 5000 };

/* What takes long to instantiate, which is done on a dirty scheduler. */
static bool is_large(const struct bl_wasm_module *m)
{
    const struct bl_wasm_binary *b = &m->binary;
    return m->bytes > INLINE_BYTES || b->import_count > INLINE_IMPORTS || b->export_count > INLINE_EXPORTS || b->has_arrays;
}

static bool get_limit(ErlNifEnv *env, ERL_NIF_TERM term, int64_t *limit)
{
    ErlNifSInt64 n;
    if (term == am.infinity_) return *limit = -1, true;
    if (!enif_get_int64(env, term, &n) || n < 0) return false;
    *limit = n;
    return true;
}

static bool get_fuel(ErlNifEnv *env, ERL_NIF_TERM term, uint64_t *fuel)
{
    ErlNifUInt64 n;
    if (term == am.infinity_) return *fuel = BL_WASM_NO_LIMIT, true;
    if (!enif_get_uint64(env, term, &n)) return false;
    *fuel = n < BL_WASM_NO_LIMIT ? n : BL_WASM_NO_LIMIT;
    return true;
}

/* {MemoryBytes, TableElements, Instances, FuelPerCall, FuelTotal} */
static bool get_limits(ErlNifEnv *env, ERL_NIF_TERM term, struct bl_wasm_guest_limits *l)
{
    enum { LEAST = 100 };
    const ERL_NIF_TERM *e;
    int arity;
    if (!enif_get_tuple(env, term, &arity, &e) || arity != 5 || !get_limit(env, e[0], &l->memory_bytes) ||
        !get_limit(env, e[1], &l->table_elements) || !get_limit(env, e[2], &l->instances) || !get_fuel(env, e[3], &l->fuel_per_call) ||
        !get_fuel(env, e[4], &l->fuel_total))
        return false;
    /* Tables and memories: as many as instances, but enough for one that has many. */
    l->tables = l->memories = l->instances >= 0 && l->instances < LEAST ? LEAST : l->instances;
    return true;
}

/* ---- links ------------------------------------------------------------------------------------------------- */

/* {Instance, Name}: an export of an instance in the same guest, which is entered. */
static bool get_link(ErlNifEnv *env, struct wasm_guest *guest, ERL_NIF_TERM term, struct bl_wasm_link *link)
{
    const ERL_NIF_TERM *e;
    int arity;
    ErlNifBinary name;
    link->by_host = term == am.host_;
    if (link->by_host) return true;
    if (!enif_get_tuple(env, term, &arity, &e) || arity != 2 || !enif_inspect_binary(env, e[1], &name)) return false;
    struct wasm_instance *from = wasm_get_instance(env, e[0]);
    if (!from || from->guest != guest) return false;
    const int64_t i = bl_wasm_module_export(from->core->module, (const char *)name.data, name.size);
    const wasmtime_extern_t *item = i < 0 ? NULL : bl_wasm_instance_item(from->core, (size_t)i);
    if (!item) return false;
    link->item = *item;
    return true;
}

/* One for each import; to be freed. NULL: they are none. */
static struct bl_wasm_link *get_links(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_module *m, ERL_NIF_TERM list)
{
    const size_t count = m->binary.import_count;
    struct bl_wasm_link *links = bl_alloc_zero(NULL, (count + 1) * sizeof *links, NULL);
    ERL_NIF_TERM head;
    size_t i = 0;
    while (links && i < count && enif_get_list_cell(env, list, &head, &list) && get_link(env, guest, head, &links[i])) {
        if (links[i].by_host && m->binary.imports[i].kind != WASMTIME_FUNC) break;
        i++;
    }
    if (links && i == count && enif_is_empty_list(env, list)) return links;
    bl_free(links);
    return NULL;
}

/* ---- funs for imports ---------------------------------------------------------------------------------------- */

/* The funs of an instance that joined a guest, for handles that were made before it. */
struct wasm_funs {
    struct wasm_funs *next;
    ErlNifEnv *env;
    uint64_t first, last;
    ERL_NIF_TERM funs; /* a tuple */
};

/* Those that were kept last go. False: there are none. */
static bool forget_funs(struct wasm_guest *guest)
{
    enif_mutex_lock(guest->lock);
    struct wasm_funs *f = guest->funs;
    if (f) guest->funs = f->next;
    enif_mutex_unlock(guest->lock);
    if (!f) return false;
    enif_free_env(f->env);
    enif_free(f);
    return true;
}

/* A fun may refer to the guest that keeps it: they go when it is closed, not with it. */
void wasm_funs_free(struct wasm_guest *guest)
{
    while (forget_funs(guest)) continue;
}

/* What the imports from `first` on are answered by, before there is code that calls them. */
static void keep_funs(struct wasm_guest *guest, uint64_t first, uint64_t count, ERL_NIF_TERM funs)
{
    struct wasm_funs *f = enif_alloc(sizeof *f);
    *f = (struct wasm_funs){.env = enif_alloc_env(), .first = first, .last = first + count};
    f->funs = enif_make_copy(f->env, funs);
    enif_mutex_lock(guest->lock);
    f->next = guest->funs;
    guest->funs = f;
    enif_mutex_unlock(guest->lock);
}

/* (Instance, Id) -> {Import, Fun} | undefined: the guest was closed */
ERL_NIF_TERM wasm_kept_fun(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    ErlNifUInt64 id;
    ERL_NIF_TERM found = am.undefined_;
    (void)argc;
    if (!in || !enif_get_uint64(env, argv[1], &id)) return enif_make_badarg(env);
    enif_mutex_lock(in->guest->lock);
    for (struct wasm_funs *f = in->guest->funs; f && found == am.undefined_; f = f->next) {
        const ERL_NIF_TERM *e;
        int arity;
        if (id < f->first || id >= f->last || !enif_get_tuple(f->env, f->funs, &arity, &e)) continue;
        if (id - f->first < (uint64_t)arity) found = enif_make_copy(env, e[id - f->first]);
    }
    enif_mutex_unlock(in->guest->lock);
    return found;
}

/* ---- start --------------------------------------------------------------------------------------------------- */

static int64_t usual_memory(const struct bl_wasm_module *m)
{
    const struct bl_wasm_binary *b = &m->binary;
    const int64_t named = bl_wasm_module_export(m, "memory", 6);
    if (named >= 0 && b->exports[named].kind == WASMTIME_MEMORY) return named;
    for (size_t i = 0; i < b->export_count; i++)
        if (b->exports[i].kind == WASMTIME_MEMORY && !bl_wasm_is_own(b, &b->exports[i])) return (int64_t)i;
    return -1;
}

static struct wasm_guest *new_guest(const struct bl_wasm_module *m, const struct bl_wasm_guest_limits *limits, struct bl_error *err)
{
    struct bl_wasm_guest *core;
    if (bl_wasm_guest_new(m->engine, limits, &core, err) != BL_OK) return NULL;
    struct wasm_guest *guest = enif_alloc_resource(wasm_guests_type, sizeof *guest);
    memset(guest, 0, sizeof *guest);
    guest->core = core;
    guest->lock = enif_mutex_create((char *)"beamline_wasm_turns");
    bl_link_init(&guest->waiters);
    bl_wasm_take(core, BL_WASM_IDLE);
    return guest;
}

/* What is told of an instance that others use. The guest must be entered. */
static void look(struct wasm_instance *in)
{
    struct bl_wasm_guest *g = in->guest->core;
    const struct bl_wasm_binary *b = &in->core->module->binary;
    const struct bl_wasm_memory *memory = in->memory < 0 ? NULL : bl_wasm_instance_memory(in->core, (size_t)in->memory);
    bl_wasm_guest_see_fuel(g);
    if (!memory) return;
    const size_t bytes = memory->size;
    /* An imported one is another instance's, or was made for this one. */
    const bool own = b->exports[in->memory].index >= bl_wasm_binary_imported(b, WASMTIME_MEMORY);
    if (bytes != in->memory_bytes && own) g->memory_bytes += bytes - in->memory_bytes;
    in->memory_bytes = bytes;
}

/* Takes the reference to `core`. {error, closed}: the owner is dead already. */
static ERL_NIF_TERM new_handle(ErlNifEnv *env, struct wasm_guest *guest, struct bl_wasm_instance *core, const ErlNifPid *owner)
{
    struct wasm_instance *in = enif_alloc_resource(wasm_instances, sizeof *in);
    memset(in, 0, sizeof *in);
    in->core = core;
    in->guest = guest;
    enif_keep_resource(guest);
    in->owner = *owner;
    in->lock = enif_mutex_create((char *)"beamline_wasm_owner");
    in->memory = usual_memory(core->module);
    look(in);
    ERL_NIF_TERM handle = enif_make_resource(env, in);
    const bool alive = enif_monitor_process(env, in, owner, &in->monitor) == 0;
    const bool has_start = core->module->binary.has_start;
    const uint32_t first = core->first_import;
    if (!alive) wasm_instance_close(in);
    enif_release_resource(in);
    if (!alive) return wasm_fail(env, am.closed_);
    return enif_make_tuple4(env, am.ok_, handle, enif_make_uint(env, first), has_start ? am.true_ : am.false_);
}

static ERL_NIF_TERM instantiate(ErlNifEnv *env, struct wasm_guest *guest, struct bl_wasm_module *m, ERL_NIF_TERM links_,
    const ErlNifPid *owner)
{
    struct bl_wasm_instance *core;
    struct bl_error err = {0};
    struct bl_wasm_link *links = get_links(env, guest, m, links_);
    if (!links) return enif_make_badarg(env);
    const enum bl_status status = bl_wasm_instance_new(guest->core, m, links, &core, &err);
    bl_free(links);
    if (status == BL_OK) return new_handle(env, guest, core, owner);
    return status == BL_TRAP ? wasm_fail_trap(env, guest->core) : wasm_fail_error(env, &err);
}

/* The same in a guest that others have. Its funs stay also where it fails when it was half made: a table may have its functions. */
static ERL_NIF_TERM instantiate_with(ErlNifEnv *env, struct wasm_guest *guest, struct bl_wasm_module *m, const ERL_NIF_TERM argv[],
    const ErlNifPid *owner)
{
    const uint32_t first = guest->core->next_import;
    const uint64_t count = m->binary.import_count;
    if (count > 0) keep_funs(guest, first, count, argv[5]);
    const ERL_NIF_TERM answer = instantiate(env, guest, m, argv[2], owner);
    if (count > 0 && guest->core->next_import == first) forget_funs(guest); /* there is no such code */
    if (__atomic_load_n(&guest->core->closing, __ATOMIC_SEQ_CST)) wasm_funs_free(guest);
    return answer;
}

static ERL_NIF_TERM start_alone(ErlNifEnv *env, struct bl_wasm_module *m, const ERL_NIF_TERM argv[], const ErlNifPid *owner)
{
    struct bl_wasm_guest_limits limits;
    struct bl_error err;
    if (!get_limits(env, argv[1], &limits)) return enif_make_badarg(env);
    struct wasm_guest *guest = new_guest(m, &limits, &err);
    if (!guest) return wasm_fail_error(env, &err);
    const ERL_NIF_TERM answer = instantiate(env, guest, m, argv[2], owner);
    wasm_leave_idle(guest);
    enif_release_resource(guest); /* the instance keeps it, if there is one */
    return answer;
}

/* (Module, Limits, Links, With | undefined, Owner, Funs) -> {ok, Instance, FirstImport, HasStart} | {error, Reason} */
ERL_NIF_TERM wasm_start(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct bl_wasm_module *m = wasm_get_module(env, argv[0]);
    ErlNifPid owner;
    if (!m || !enif_get_local_pid(env, argv[4], &owner) || !enif_is_tuple(env, argv[5])) return enif_make_badarg(env);
    if (is_large(m) && enif_thread_type() == ERL_NIF_THR_NORMAL_SCHEDULER)
        return enif_schedule_nif(env, "start", ERL_NIF_DIRTY_JOB_CPU_BOUND, wasm_start, argc, argv);
    enif_consume_timeslice(env, 2);
    if (argv[3] == am.undefined_) return start_alone(env, m, argv, &owner);
    struct wasm_instance *with = wasm_get_instance(env, argv[3]);
    if (!with || with->guest->core->engine != m->engine) return enif_make_badarg(env);
    if (__atomic_load_n(&with->core->closed, __ATOMIC_SEQ_CST)) return wasm_fail(env, am.closed_);
    const enum wasm_entered entered = wasm_enter(env, with->guest);
    if (entered == WASM_PARKED) wasm_leave(with->guest, entered);
    if (entered != WASM_IDLE)
        return wasm_not_entered(env, entered == WASM_PARKED ? WASM_BUSY : entered, "start", wasm_start, argc, argv);
    const ERL_NIF_TERM answer = instantiate_with(env, with->guest, m, argv, &owner);
    wasm_leave_idle(with->guest);
    return answer;
}

/* ---- stop, hand over, describe ---------------------------------------------------------------------------------- */

/* (Instance) -> ok */
ERL_NIF_TERM wasm_stop(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    (void)argc;
    if (!in) return enif_make_badarg(env);
    wasm_instance_close(in);
    return am.ok_;
}

/* (Instance, Pid) -> ok | {error, closed}. Only the owner may. */
ERL_NIF_TERM wasm_controlling_process(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    ErlNifPid self, next;
    ErlNifMonitor monitor;
    (void)argc;
    if (!in || !enif_self(env, &self) || !enif_get_local_pid(env, argv[1], &next)) return enif_make_badarg(env);
    if (enif_compare_pids(&self, &in->owner) != 0) return enif_make_badarg(env);
    if (enif_monitor_process(env, in, &next, &monitor) != 0) return wasm_fail(env, am.closed_);
    enif_mutex_lock(in->lock);
    enif_demonitor_process(env, in, &in->monitor);
    in->owner = next;
    in->monitor = monitor;
    enif_mutex_unlock(in->lock);
    return __atomic_load_n(&in->core->closed, __ATOMIC_SEQ_CST) ? wasm_fail(env, am.closed_) : am.ok_;
}

static ERL_NIF_TERM state_term(const struct wasm_instance *in)
{
    if (__atomic_load_n(&in->core->closed, __ATOMIC_SEQ_CST)) return am.closed_;
    switch (__atomic_load_n(&in->guest->core->state, __ATOMIC_SEQ_CST)) {
        case BL_WASM_IDLE: return am.idle_;
        case BL_WASM_PARKED: return am.parked_;
        case BL_WASM_CLOSED: return am.closed_;
        default: return am.running_;
    }
}

/* (Instance) -> [{Name, Value}]. Never waits: of a guest at work the numbers are those of its last slice or look. */
ERL_NIF_TERM wasm_info(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    ErlNifPid owner;
    (void)argc;
    if (!in) return enif_make_badarg(env);
    struct bl_wasm_guest *g = in->guest->core;
    const struct bl_wasm_statistics *s = &g->statistics;
    const ERL_NIF_TERM state = state_term(in);
    __atomic_add_fetch(&in->guest->looking, 1, __ATOMIC_SEQ_CST);
    const enum wasm_entered entered = wasm_enter(env, in->guest);
    if (entered <= WASM_PARKED) {
        look(in);
        wasm_leave(in->guest, entered);
    }
    __atomic_sub_fetch(&in->guest->looking, 1, __ATOMIC_SEQ_CST);
    enif_mutex_lock(in->lock);
    owner = in->owner;
    enif_mutex_unlock(in->lock);
    const struct { const char *name; uint64_t value; } numbers[] = {
        {"memory", in->memory_bytes}, {"fuel", g->fuel_seen}, {"calls", s->calls + s->direct_calls}, {"direct_calls", s->direct_calls},
        {"imports", s->imports}, {"slices", s->slices}, {"slices_over_1ms", s->slices_over_1ms}, {"longest_slice_ns", s->longest_slice_ns},
        {"traps", s->traps}, {"cancelled", s->cancelled}, {"timed_out", s->timed_out}, {"migrations", s->migrations},
    };
    ERL_NIF_TERM list = enif_make_list2(env, wasm_pair(env, enif_make_atom(env, "state"), state),
                                        wasm_pair(env, enif_make_atom(env, "owner"), enif_make_pid(env, &owner)));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        list = enif_make_list_cell(env, wasm_pair(env, enif_make_atom(env, numbers[i].name), enif_make_uint64(env, numbers[i].value)),
            list);
    return list;
}

/* (Instance) -> Module */
ERL_NIF_TERM wasm_module_of(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct wasm_instance *in = wasm_get_instance(env, argv[0]);
    (void)argc;
    if (!in) return enif_make_badarg(env);
    bl_wasm_module_ref(in->core->module);
    return wasm_make_module(env, in->core->module);
}
