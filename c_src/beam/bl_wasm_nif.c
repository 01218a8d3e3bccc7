/* SPDX-License-Identifier: Apache-2.0
 *
 * The skin of the part wasm: handles, their deaths, and the table of functions. doc/wasm.md tells how a call runs.
 */
#include "bl_wasm_nif.h"

#include "bl_nif_term.h"
#include "bl_nif_version.h"
#include "bl_ticks.h"

struct wasm_atoms am;
ErlNifResourceType *wasm_modules, *wasm_guests_type, *wasm_instances, *wasm_references;

/* ---- handles -------------------------------------------------------------------------------------------- */

struct bl_wasm_module *wasm_get_module(ErlNifEnv *env, ERL_NIF_TERM term)
{
    void *p;
    return enif_get_resource(env, term, wasm_modules, &p) ? *(struct bl_wasm_module **)p : NULL;
}

struct wasm_instance *wasm_get_instance(ErlNifEnv *env, ERL_NIF_TERM term)
{
    void *p;
    return enif_get_resource(env, term, wasm_instances, &p) ? p : NULL;
}

struct wasm_reference *wasm_get_reference(ErlNifEnv *env, ERL_NIF_TERM term)
{
    void *p;
    return enif_is_ref(env, term) && enif_get_resource(env, term, wasm_references, &p) ? p : NULL;
}

ERL_NIF_TERM wasm_make_module(ErlNifEnv *env, struct bl_wasm_module *module)
{
    struct bl_wasm_module **handle = enif_alloc_resource(wasm_modules, sizeof *handle);
    *handle = module;
    const ERL_NIF_TERM term = enif_make_resource(env, handle);
    enif_release_resource(handle);
    return term;
}

static void module_gone(ErlNifEnv *env, void *object)
{
    (void)env;
    bl_wasm_module_unref(*(struct bl_wasm_module **)object);
}

static void guest_gone(ErlNifEnv *env, void *object)
{
    struct wasm_guest *guest = object;
    (void)env;
    if (!guest->core) return;
    bl_wasm_guest_close(guest->core);
    wasm_waiters_closed(guest);
    wasm_funs_free(guest);
    enif_mutex_destroy(guest->lock);
    bl_wasm_guest_unref(guest->core);
}

/* A caller died. It may have been replaced as caller long ago. */
static void caller_down(ErlNifEnv *env, void *object, ErlNifPid *pid, ErlNifMonitor *monitor)
{
    struct bl_wasm_guest *g = ((struct wasm_guest *)object)->core;
    (void)monitor;
    const uint64_t number = __atomic_load_n(&g->call_number, __ATOMIC_SEQ_CST);
    wasm_waiter_down(env, object, pid);
    if ((number & 1) && __atomic_load_n(&g->caller, __ATOMIC_SEQ_CST) == (uint64_t)pid->pid) bl_wasm_guest_cancel(g, number);
}

void wasm_instance_close(struct wasm_instance *in)
{
    if (__atomic_exchange_n(&in->core->closed, true, __ATOMIC_SEQ_CST)) return;
    if (__atomic_sub_fetch(&in->core->guest->open_instances, 1, __ATOMIC_SEQ_CST) > 0) return;
    bl_wasm_guest_close(in->core->guest);
    wasm_waiters_closed(in->guest);
    wasm_funs_free(in->guest);
}

static void instance_gone(ErlNifEnv *env, void *object)
{
    struct wasm_instance *in = object;
    (void)env;
    if (in->core) {
        wasm_instance_close(in);
        bl_wasm_instance_unref(in->core);
    }
    if (in->guest) enif_release_resource(in->guest);
    if (in->lock) enif_mutex_destroy(in->lock);
}

static void owner_down(ErlNifEnv *env, void *object, ErlNifPid *pid, ErlNifMonitor *monitor)
{
    struct wasm_instance *in = object;
    (void)env, (void)monitor;
    enif_mutex_lock(in->lock);
    const bool still = enif_compare_pids(pid, &in->owner) == 0;
    enif_mutex_unlock(in->lock);
    if (still) wasm_instance_close(in);
}

static void reference_gone(ErlNifEnv *env, void *object)
{
    struct wasm_reference *r = object;
    (void)env;
    if (r->kind == WASMTIME_ANYREF) wt.wasmtime_anyref_unroot(&r->root);
    if (r->kind == WASMTIME_EXTERNREF) wt.wasmtime_externref_unroot(&r->root);
    enif_release_resource(r->guest);
}

/* ---- failures ------------------------------------------------------------------------------------------------ */

ERL_NIF_TERM wasm_fail_error(ErlNifEnv *env, const struct bl_error *err)
{
    struct bl_nif_writer w;
    bl_nif_writer_init(&w, env, NULL);
    bl_write_reason(&w.base, err);
    const ERL_NIF_TERM reason = bl_writer_done(&w.base) ? bl_nif_writer_term(&w) : am.no_memory_;
    bl_nif_writer_clear(&w);
    return wasm_fail(env, reason);
}

ERL_NIF_TERM wasm_fail_status(ErlNifEnv *env, enum bl_status status)
{
    struct bl_error err;
    bl_fail(&err, status);
    return wasm_fail_error(env, &err);
}

static ERL_NIF_TERM frame_term(ErlNifEnv *env, const struct bl_wasm_frame *f)
{
    const ERL_NIF_TERM module = f->module[0] ? wasm_text(env, f->module, strlen(f->module)) : am.undefined_;
    const ERL_NIF_TERM function = f->function[0] ? wasm_text(env, f->function, strlen(f->function)) : enif_make_uint(env, f->index);
    return enif_make_tuple3(env, module, function, enif_make_uint64(env, f->offset));
}

/* {limit, #{what => fuel, ...}}, or {trap, #{code, message, backtrace}} */
ERL_NIF_TERM wasm_fail_trap(ErlNifEnv *env, struct bl_wasm_guest *g)
{
    struct bl_wasm_trap *trap = enif_alloc(sizeof *trap);
    ERL_NIF_TERM details, frames = enif_make_list(env, 0);
    if (!trap || !bl_wasm_guest_trap(g, trap)) {
        enif_free(trap);
        return wasm_fail(env, am.no_memory_);
    }
    if (strcmp(trap->code, "out_of_fuel") == 0) {
        struct bl_error err;
        const uint64_t limit = g->limits.fuel_per_call < g->limits.fuel_total ? g->limits.fuel_per_call : g->limits.fuel_total;
        bl_fail_limit(&err, "fuel", limit, limit + 1);
        enif_free(trap);
        return wasm_fail_error(env, &err);
    }
    for (size_t i = trap->count; i > 0; i--) frames = enif_make_list_cell(env, frame_term(env, &trap->frames[i - 1]), frames);
    const ERL_NIF_TERM keys[3] = {am.code_, am.message_, am.backtrace_};
    const ERL_NIF_TERM values[3] = {enif_make_atom(env, trap->code), wasm_text(env, trap->message, strlen(trap->message)), frames};
    enif_make_map_from_arrays(env, (ERL_NIF_TERM *)keys, (ERL_NIF_TERM *)values, 3, &details);
    enif_free(trap);
    return wasm_fail(env, wasm_pair(env, am.trap_, details));
}

/* ---- the library ----------------------------------------------------------------------------------------------- */

/* (Path, AnyVersion) -> {ok, Path, Version} | {error, Why} */
ERL_NIF_TERM wasm_load(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    ErlNifBinary path;
    struct bl_error err;
    (void)argc;
    if (!enif_inspect_binary(env, argv[0], &path) || path.size > 4096) return enif_make_badarg(env);
    char *copy = enif_alloc(path.size + 1);
    memcpy(copy, path.data, path.size);
    copy[path.size] = '\0';
    const bool first = !bl_wasmtime_loaded();
    const enum bl_status status = bl_wasmtime_load(copy, argv[1] == am.true_, &err);
    enif_free(copy);
    if (status != BL_OK) return wasm_fail(env, wasm_text(env, err.text, strlen(err.text)));
    if (first) bl_ticks_start();
    return wasm_library(env, 0, NULL);
}

/* () -> {ok, Path, Version} | undefined */
ERL_NIF_TERM wasm_library(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    const struct bl_wasmtime_info *info = bl_wasmtime_loaded();
    (void)argc, (void)argv;
    if (!info) return am.undefined_;
    return enif_make_tuple3(env, am.ok_, wasm_text(env, info->path, strlen(info->path)), wasm_text(env, info->version,
        strlen(info->version)));
}

/* () -> [{Name, Number}] */
ERL_NIF_TERM wasm_totals(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    struct bl_wasm_totals t;
    (void)argc, (void)argv;
    bl_wasm_totals(&t);
    const struct { const char *name; uint64_t value; } all[] = {
        {"guests", t.guests}, {"calls", t.s.calls}, {"direct_calls", t.s.direct_calls}, {"imports", t.s.imports}, {"slices", t.s.slices},
        {"slices_over_1ms", t.s.slices_over_1ms}, {"longest_slice_ns", t.s.longest_slice_ns}, {"traps", t.s.traps},
        {"cancelled", t.s.cancelled}, {"timed_out", t.s.timed_out}, {"migrations", t.s.migrations}, {"fuel", t.fuel},
        {"memory_bytes", t.memory_bytes},
    };
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (size_t i = sizeof all / sizeof all[0]; i > 0; i--)
        list = enif_make_list_cell(env, wasm_pair(env, enif_make_atom(env, all[i - 1].name), enif_make_uint64(env, all[i - 1].value)),
            list);
    return list;
}

/* () -> [{Code, Number}]: of those that there were */
ERL_NIF_TERM wasm_traps(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    ERL_NIF_TERM list = enif_make_list(env, 0);
    const char *code;
    uint64_t count;
    (void)argc, (void)argv;
    for (size_t i = 0; (code = bl_wasm_traps_of(i, &count)); i++)
        if (count > 0) list = enif_make_list_cell(env, wasm_pair(env, enif_make_atom(env, code), enif_make_uint64(env, count)), list);
    return list;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static bool open_types(ErlNifEnv *env)
{
    const ErlNifResourceFlags flags = ERL_NIF_RT_CREATE | ERL_NIF_RT_TAKEOVER;
    const ErlNifResourceTypeInit module = {.dtor = module_gone}, guest = {.dtor = guest_gone, .down = caller_down},
                                 instance = {.dtor = instance_gone, .down = owner_down}, reference = {.dtor = reference_gone};
    wasm_modules = enif_open_resource_type_x(env, "beamline_wasm_module", &module, flags, NULL);
    wasm_guests_type = enif_open_resource_type_x(env, "beamline_wasm_guest", &guest, flags, NULL);
    wasm_instances = enif_open_resource_type_x(env, "beamline_wasm_instance", &instance, flags, NULL);
    wasm_references = enif_open_resource_type_x(env, "beamline_wasm_reference", &reference, flags, NULL);
    return wasm_modules && wasm_guests_type && wasm_instances && wasm_references;
}

static int load(ErlNifEnv *env, void **data, ERL_NIF_TERM expected)
{
    (void)data;
    if (!bl_nif_version_agrees(env, expected)) return 1;
#define WASM_MAKE(a) am.a##_ = enif_make_atom(env, #a);
    WASM_ATOMS(WASM_MAKE)
#undef WASM_MAKE
    bl_wasm_on_boxes(wasm_free_boxes);
    return open_types(env) ? 0 : 2;
}

static int upgrade(ErlNifEnv *env, void **data, void **old_data, ERL_NIF_TERM expected)
{
    (void)old_data;
    return load(env, data, expected);
}

static ErlNifFunc functions[] = {
    {"load_library", 2, wasm_load, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"library", 0, wasm_library, 0},
    {"compile", 5, wasm_compile, 0},
    {"module_imports", 1, wasm_module_imports, 0},
    {"module_exports", 2, wasm_module_exports, 0},
    {"module", 1, wasm_module_of, 0},
    {"same_function", 3, wasm_same_function, 0},
    {"module_info_", 1, wasm_module_info, 0},
    {"start", 6, wasm_start, 0},
    {"kept_fun", 2, wasm_kept_fun, 0},
    {"stop", 1, wasm_stop, 0},
    {"info", 1, wasm_info, 0},
    {"totals", 0, wasm_totals, 0},
    {"traps", 0, wasm_traps, 0},
    {"controlling_process", 2, wasm_controlling_process, 0},
    {"function", 2, wasm_function, 0},
    {"call", 5, wasm_call, 0},
    {"call_start", 2, wasm_call_start, 0},
    {"resume", 4, wasm_resume, 0},
    {"refuse", 3, wasm_refuse, 0},
    {"cancel", 1, wasm_cancel, 0},
    {"wait", 2, wasm_wait, 0},
    {"unwait", 2, wasm_unwait, 0},
    {"next_turn", 1, wasm_next_turn, 0},
    {"size", 2, wasm_size, 0},
    {"grow", 3, wasm_grow, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"read", 4, wasm_read, 0},
    {"write", 4, wasm_write, 0},
    {"fill", 5, wasm_fill, 0},
    {"find_zero", 4, wasm_find_string, 0},
    {"global_get", 3, wasm_global_get, 0},
    {"global_set", 3, wasm_global_set, 0},
    {"table_size", 2, wasm_table_size, 0},
    {"table_get", 3, wasm_table_get, 0},
    {"table_set", 4, wasm_table_set, 0},
    {"table_grow", 4, wasm_table_grow, ERL_NIF_DIRTY_JOB_CPU_BOUND},
};

ERL_NIF_INIT(beamline_wasm_nif, functions, load, NULL, upgrade, NULL)
