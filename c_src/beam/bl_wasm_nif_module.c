/* SPDX-License-Identifier: Apache-2.0
 *
 * Modules: compiling on threads of its own, because it takes long, cannot be stopped, and needs more stack than a dirty
 * scheduler has. The caller gets a message; one that does not wait any longer has its result dropped.
 */
#include "bl_ctx.h"
#include "bl_list.h"
#include "bl_sync.h"
#include "bl_wasm_nif.h"

enum { THREADS = 2, MOST_WAITING = 64, RETRY_MS = 100 };

/* ---- jobs ------------------------------------------------------------------------------------------------ */

struct job {
    struct bl_link link;
    ErlNifEnv *env; /* for the terms below, and for the answer */
    ErlNifPid caller;
    ERL_NIF_TERM ref;
    ErlNifBinary bytes;
    bool validate;
    struct bl_wasm_settings settings;
    struct bl_wasm_module_limits limits;
    uint64_t deadline_ns;
    char *cache, *key; /* NULL: none */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct bl_queue waiting;
    unsigned threads, idle;
    bool begun;
} jobs = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void job_free(struct job *job)
{
    if (job->env) enif_free_env(job->env);
    bl_free(job->cache);
    bl_free(job->key);
    bl_free(job);
}

static ERL_NIF_TERM job_result(struct job *job)
{
    const struct bl_wasm_engine *engine;
    struct bl_wasm_module *module;
    struct bl_error err = {0};
    enum bl_status status = bl_wasm_engine_get(job->settings, &engine, &err);
    if (status == BL_OK && job->validate)
        status = bl_wasm_module_validate(engine, job->bytes.data, job->bytes.size, &job->limits, &err);
    else if (status == BL_OK)
        status = bl_wasm_module_compile(engine, job->bytes.data, job->bytes.size, &job->limits, job->cache, job->key, &module, &err);
    err.status = status;
    if (status != BL_OK) return wasm_fail_error(job->env, &err);
    return job->validate ? am.ok_ : wasm_pair(job->env, am.ok_, wasm_make_module(job->env, module));
}

static void job_run(struct job *job)
{
    if (bl_now_ns() < job->deadline_ns && enif_is_process_alive(job->env, &job->caller)) {
        const ERL_NIF_TERM result = job_result(job);
        enif_send(NULL, &job->caller, job->env, enif_make_tuple3(job->env, am.beamline_wasm_, job->ref, result));
    }
    job_free(job);
}

static void *work(void *unused)
{
    (void)unused;
    bl_thread_name("bl_wasm_compile");
    pthread_mutex_lock(&jobs.lock);
    for (;;) {
        struct bl_link *first = bl_queue_first(&jobs.waiting);
        if (!first) {
            jobs.idle++;
            pthread_cond_wait(&jobs.wake, &jobs.lock);
            jobs.idle--;
            continue;
        }
        bl_queue_remove(&jobs.waiting, first);
        pthread_mutex_unlock(&jobs.lock);
        job_run(BL_CONTAINER(first, struct job, link));
        pthread_mutex_lock(&jobs.lock);
    }
    return NULL;
}

/* False: too many wait. */
static bool job_start(struct job *job)
{
    pthread_mutex_lock(&jobs.lock);
    if (!jobs.begun) {
        bl_queue_init(&jobs.waiting);
        pthread_cond_init(&jobs.wake, NULL);
        jobs.begun = true;
    }
    bool room = jobs.waiting.length < MOST_WAITING;
    if (room && jobs.idle <= jobs.waiting.length && jobs.threads < THREADS)
        jobs.threads += bl_thread_start(work, NULL, BL_WASM_COMPILE_STACK) == 0;
    room = room && jobs.threads > 0;
    if (room) {
        bl_queue_push(&jobs.waiting, &job->link);
        pthread_cond_signal(&jobs.wake);
    }
    pthread_mutex_unlock(&jobs.lock);
    return room;
}

/* ---- compile ----------------------------------------------------------------------------------------------- */

static bool get_text(ErlNifEnv *env, ERL_NIF_TERM term, char **out)
{
    ErlNifBinary text;
    if (term == am.undefined_) return true;
    if (!enif_inspect_binary(env, term, &text) || text.size > 4096 || memchr(text.data, 0, text.size)) return false;
    *out = bl_alloc(NULL, text.size + 1, NULL);
    if (!*out) return false;
    memcpy(*out, text.data, text.size);
    (*out)[text.size] = '\0';
    return true;
}

/* {Validate, Preset, Off, StackKiB, MaxBytes, MaxImports, TimeoutMs | infinity, Expose} */
static bool get_settings(ErlNifEnv *env, ERL_NIF_TERM term, struct job *job)
{
    const ERL_NIF_TERM *e;
    int arity;
    ErlNifUInt64 bytes, imports, timeout;
    if (!enif_get_tuple(env, term, &arity, &e) || arity != 8) return false;
    job->validate = e[0] == am.true_;
    if (!enif_get_uint(env, e[1], &job->settings.preset) || !enif_get_uint(env, e[2], &job->settings.off) ||
        !enif_get_uint(env, e[3], &job->settings.stack_kib) || !enif_get_uint64(env, e[4], &bytes) || !enif_get_uint64(env, e[5], &imports))
        return false;
    job->limits = (struct bl_wasm_module_limits){bytes, imports, e[7] == am.true_};
    if (e[6] == am.infinity_) return job->deadline_ns = UINT64_MAX, true;
    if (!enif_get_uint64(env, e[6], &timeout) || timeout > UINT64_MAX / 4000000) return false;
    job->deadline_ns = bl_now_ns() + timeout * 1000000;
    return true;
}

/* (Ref, Bytes, Settings, Cache | undefined, Key | undefined) -> ok | {error, {busy, Ms}}; then the caller gets
 * {beamline_wasm, Ref, {ok, Module} | ok | {error, Reason}} */
ERL_NIF_TERM wasm_compile(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct job *job = bl_alloc_zero(NULL, sizeof *job, NULL);
    if (!job) return wasm_fail(env, am.no_memory_);
    job->env = enif_alloc_env();
    if (!enif_is_ref(env, argv[0]) || !enif_is_binary(env, argv[1]) || !get_settings(env, argv[2], job) ||
        !get_text(env, argv[3], &job->cache) || !get_text(env, argv[4], &job->key) || !enif_self(env, &job->caller)) {
        job_free(job);
        return enif_make_badarg(env);
    }
    job->ref = enif_make_copy(job->env, argv[0]);
    enif_inspect_binary(job->env, enif_make_copy(job->env, argv[1]), &job->bytes);
    if (job_start(job)) return am.ok_;
    job_free(job);
    return wasm_fail(env, wasm_pair(env, am.busy_, enif_make_int(env, RETRY_MS)));
}

/* ---- what is in a module ---------------------------------------------------------------------------------------- */

static ERL_NIF_TERM put(ErlNifEnv *env, ERL_NIF_TERM map, ERL_NIF_TERM key, ERL_NIF_TERM value)
{
    enif_make_map_put(env, map, key, value, &map);
    return map;
}

static ERL_NIF_TERM limits_term(ErlNifEnv *env, const struct bl_wasm_limits *l, bool memory)
{
    ERL_NIF_TERM map = enif_make_new_map(env);
    map = put(env, map, am.min_, enif_make_uint64(env, l->min));
    map = put(env, map, am.max_, l->bounded ? enif_make_uint64(env, l->max) : am.infinity_);
    map = put(env, map, am.index_, l->is64 ? am.i64_ : am.i32_);
    if (!memory) return put(env, map, am.element_, wasm_type_term(env, &l->element));
    map = put(env, map, am.page_size_, enif_make_uint64(env, UINT64_C(1) << (l->page_log2 & 63)));
    return put(env, map, am.shared_, l->shared ? am.true_ : am.false_);
}

static ERL_NIF_TERM item_term(ErlNifEnv *env, const struct bl_wasm_binary *b, const struct bl_wasm_name *n)
{
    switch (n->kind) {
        case WASMTIME_FUNC: return wasm_signature_term(env, bl_wasm_binary_signature(b, n->index));
        case WASMTIME_GLOBAL:
            return enif_make_tuple3(env, am.global_, b->globals[n->index].mutable ? am.var_ : am.const_,
                                    wasm_type_term(env, &b->globals[n->index].type));
        case WASMTIME_TABLE: return wasm_pair(env, am.table_, limits_term(env, &b->tables[n->index], false));
        case WASMTIME_MEMORY: return wasm_pair(env, am.memory_, limits_term(env, &b->memories[n->index], true));
        default: {
            const struct bl_wasm_signature *s = b->types[b->tags[n->index]];
            const ERL_NIF_TERM *e;
            int arity;
            enif_get_tuple(env, wasm_signature_term(env, s), &arity, &e);
            return wasm_pair(env, am.tag_, e[1]);
        }
    }
}

/* Long lists are made on a dirty scheduler. */
static bool is_long(size_t count)
{
    enum { INLINE = 2000 };
    return count > INLINE && enif_thread_type() == ERL_NIF_THR_NORMAL_SCHEDULER;
}

/* (Module) -> [{Module, Name, Type}] */
ERL_NIF_TERM wasm_module_imports(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    const struct bl_wasm_module *m = wasm_get_module(env, argv[0]);
    ERL_NIF_TERM list = enif_make_list(env, 0);
    if (!m) return enif_make_badarg(env);
    const struct bl_wasm_binary *b = &m->binary;
    if (is_long(b->import_count * b->value_count))
        return enif_schedule_nif(env, "module_imports", ERL_NIF_DIRTY_JOB_CPU_BOUND, wasm_module_imports, argc, argv);
    for (size_t i = b->import_count; i > 0; i--) {
        const struct bl_wasm_name *n = &b->imports[i - 1];
        list = enif_make_list_cell(env, enif_make_tuple3(env, wasm_text(env, b->names + n->module, n->module_len),
                                                         wasm_text(env, b->names + n->name, n->name_len), item_term(env, b, n)),
                                   list);
    }
    enif_consume_timeslice(env, 1);
    return list;
}

/* (Module, All) -> [{Name, Type}]: with those that rewriting added, or without */
ERL_NIF_TERM wasm_module_exports(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    const struct bl_wasm_module *m = wasm_get_module(env, argv[0]);
    ERL_NIF_TERM list = enif_make_list(env, 0);
    if (!m) return enif_make_badarg(env);
    const struct bl_wasm_binary *b = &m->binary;
    if (is_long(b->export_count * b->value_count))
        return enif_schedule_nif(env, "module_exports", ERL_NIF_DIRTY_JOB_CPU_BOUND, wasm_module_exports, argc, argv);
    for (size_t i = b->export_count; i > 0; i--) {
        const struct bl_wasm_name *n = &b->exports[i - 1];
        if (argv[1] != am.true_ && bl_wasm_is_own(b, n)) continue;
        list = enif_make_list_cell(env, wasm_pair(env, wasm_text(env, b->names + n->name, n->name_len), item_term(env, b, n)), list);
    }
    enif_consume_timeslice(env, 1);
    return list;
}

/* (Module) -> {Bytes, CompileNs, FromCache, Preset, Off, StackKiB, [ShortExport], HasStart, Id} */
ERL_NIF_TERM wasm_module_info(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    const struct bl_wasm_module *m = wasm_get_module(env, argv[0]);
    ERL_NIF_TERM shorts = enif_make_list(env, 0);
    if (!m) return enif_make_badarg(env);
    const struct bl_wasm_binary *b = &m->binary;
    const struct bl_wasm_settings *s = &m->engine->settings;
    if (is_long(b->export_count))
        return enif_schedule_nif(env, "module_info_", ERL_NIF_DIRTY_JOB_CPU_BOUND, wasm_module_info, argc, argv);
    for (size_t i = b->export_count; i > 0; i--)
        if (b->exports[i - 1].is_short)
            shorts = enif_make_list_cell(env, wasm_text(env, b->names + b->exports[i - 1].name, b->exports[i - 1].name_len), shorts);
    return enif_make_tuple9(env, enif_make_uint64(env, m->bytes), enif_make_uint64(env, m->compile_ns),
        m->from_cache ? am.true_ : am.false_,
                            enif_make_uint(env, s->preset), enif_make_uint(env, s->off), enif_make_uint(env, s->stack_kib), shorts,
                            b->has_start ? am.true_ : am.false_, enif_make_uint64(env, m->id));
}
