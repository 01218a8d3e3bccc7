/* SPDX-License-Identifier: Apache-2.0
 *
 * The fast lane of the runtime: a task goes in through a NIF and its answer comes straight from the pool's thread.
 * Every entry is short: it reads a few terms, links a task into lists.
 */
#include "beamline.h"
#include "bl_nif_term.h"
#include "bl_nif_version.h"
#include "bl_rt.h"
#include "bl_rt_entry.h"
#include "bl_ticks.h"

static ERL_NIF_TERM am_ok, am_error, am_large, am_true, am_false, am_unsupported;

/* ---- what Erlang gives -------------------------------------------------------------- */

/* 0 (all defaults) or {Priority 0..3, TimeoutMs | -1, MemoryLimit | 0, ProgressMs | 0, FailNth | 0, Each 0 | 1}. */
static bool get_options(ErlNifEnv *env, ERL_NIF_TERM term, struct rt_request *request)
{
    struct bl_task_options *o = &request->options;
    const ERL_NIF_TERM *e;
    int arity, priority, each;
    ErlNifSInt64 timeout;
    ErlNifUInt64 memory, fail;
    bl_task_options_init(o);
    request->fail_nth = 0;
    request->each = false;
    if (!enif_get_tuple(env, term, &arity, &e)) return enif_is_number(env, term);
    if (arity != 6 || !enif_get_int(env, e[0], &priority) || !enif_get_int64(env, e[1], &timeout) ||
        !enif_get_uint64(env, e[2], &memory) || !enif_get_uint(env, e[3], &o->progress_ms) || !enif_get_uint64(env, e[4], &fail) ||
        !enif_get_int(env, e[5], &each))
        return false;
    if (priority < 0 || priority >= BL_PRIORITY_COUNT) return false;
    o->priority = (enum bl_priority)priority;
    o->timeout_ms = timeout < 0 ? BL_NO_TIMEOUT : (uint64_t)timeout;
    o->memory_limit = memory;
    request->fail_nth = fail;
    request->each = each != 0;
    return true;
}

/* {error, Reason} */
static ERL_NIF_TERM make_error(ErlNifEnv *env, const struct bl_error *err)
{
    struct bl_nif_writer w;
    bl_nif_writer_init(&w, env, NULL);
    bl_write_reason(&w.base, err);
    const ERL_NIF_TERM reason = bl_writer_done(&w.base) ? bl_nif_writer_term(&w) : enif_make_atom(env, "no_memory");
    bl_nif_writer_clear(&w);
    return enif_make_tuple2(env, am_error, reason);
}

static ERL_NIF_TERM make_status(ErlNifEnv *env, enum bl_status status)
{
    struct bl_error err;
    bl_fail(&err, status);
    return make_error(env, &err);
}

/* ---- entries -------------------------------------------------------------------------- */

typedef enum bl_status start_fn(struct rt_pool *pool, struct rt_request *request, const ERL_NIF_TERM argv[], struct bl_error *err);

static enum bl_status start_small(struct rt_pool *pool, struct rt_request *request, const ERL_NIF_TERM argv[], struct bl_error *err)
{
    return rt_task_start_small(pool, request, argv[4], err);
}

static enum bl_status start_pieces(struct rt_pool *pool, struct rt_request *request, const ERL_NIF_TERM argv[], struct bl_error *err)
{
    ErlNifUInt64 pinned;
    if (!enif_get_uint64(request->env, argv[5], &pinned)) return bl_fail_invalid(err, "pinned", "not a number of bytes");
    return rt_task_start_pieces(pool, request, argv[4], pinned, err);
}

enum { OP_NAME_MOST = 256 };

/* Operations have ASCII names. In a pool with an OS process that one knows its operations. */
static bool find_op(struct rt_pool *pool, ERL_NIF_TERM op, char name[OP_NAME_MOST], struct rt_request *request)
{
    request->op_name = name;
    const int bytes = enif_get_atom(request->env, op, name, OP_NAME_MOST, ERL_NIF_LATIN1);
    if (bytes > 0 && (strlen(name) + 1 != (size_t)bytes || !bl_is_name(name, OP_NAME_MOST - 1))) return false; /* a NUL in it, for one */
    if (bl_pool_remote(pool->engine)) return bytes > 1 && bytes <= BL_FRAME_OP_NAME;
    if (bytes > 0) request->op = bl_op_set_find(pool->ops, name);
    return request->op != NULL;
}

/* (PoolId, Ref, Op, Options, ...) -> ok | large | {error, Reason} */
static ERL_NIF_TERM submit(ErlNifEnv *env, const ERL_NIF_TERM argv[], start_fn *start)
{
    struct rt_request request = {.env = env, .ref = argv[1]};
    char name[OP_NAME_MOST];
    ErlNifUInt64 id;
    struct bl_error err;
    if (!enif_get_uint64(env, argv[0], &id) || !enif_is_ref(env, argv[1]) || !enif_is_atom(env, argv[2]) ||
        !get_options(env, argv[3], &request) || !enif_self(env, &request.caller))
        return enif_make_badarg(env);
    struct rt_pool *pool = rt_pool_enter(id);
    if (!pool) return make_status(env, BL_CLOSED);
    const bool known = find_op(pool, argv[2], name, &request);
    const enum bl_status status = known ? start(pool, &request, argv, &err) : BL_UNSUPPORTED;
    rt_pool_leave(pool);
    if (status == BL_OK) return am_ok;
    if (!known) return enif_make_tuple2(env, am_error, enif_make_tuple2(env, am_unsupported, argv[2]));
    return status == BL_LIMIT && err.status == BL_OK ? am_large : make_error(env, &err);
}

/* Of a time slice. The VM calls it 1 ms, from which on a schedule is a long one; 4,000 reductions of Erlang code take less than
 * half of that, and so a process that does nothing but submit shall be no longer on its scheduler than others. */
enum { NS_PER_PERCENT = 4000 };

/* An entry takes one to five microseconds, many times that where threads and processes compete, and the VM counts one
 * reduction. What it took by the clock is charged, as soon as it is a hundredth of a slice. */
static void charge(ErlNifEnv *env, uint64_t begin_ticks)
{
    static __thread uint64_t owed_ns;
    owed_ns += bl_ticks_ns(bl_ticks() - begin_ticks);
    if (owed_ns < NS_PER_PERCENT) return;
    enif_consume_timeslice(env, owed_ns < 100 * NS_PER_PERCENT ? (int)(owed_ns / NS_PER_PERCENT) : 100);
    owed_ns = 0;
}

static ERL_NIF_TERM submit_small(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    RT_ENTER();
    const uint64_t begin = bl_ticks();
    const ERL_NIF_TERM answer = submit(env, argv, start_small);
    RT_LEAVE("submit");
    charge(env, begin);
    return answer;
}

static ERL_NIF_TERM submit_pieces(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    RT_ENTER();
    const uint64_t begin = bl_ticks();
    const ERL_NIF_TERM answer = submit(env, argv, start_pieces);
    RT_LEAVE("submit_pieces");
    charge(env, begin);
    return answer;
}

static ERL_NIF_TERM cancel_task(ErlNifEnv *env, const ERL_NIF_TERM argv[])
{
    ErlNifUInt64 id;
    if (!enif_get_uint64(env, argv[0], &id) || !enif_is_ref(env, argv[1])) return enif_make_badarg(env);
    struct rt_pool *pool = rt_pool_enter(id);
    if (!pool) return am_false;
    rt_calling = env; /* the answer is sent from here */
    const bool done = rt_task_cancel(pool, argv[1]);
    rt_calling = NULL;
    rt_pool_leave(pool);
    return done ? am_true : am_false;
}

/* (PoolId, Ref) -> boolean() */
static ERL_NIF_TERM cancel(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    RT_ENTER();
    const uint64_t begin = bl_ticks();
    const ERL_NIF_TERM answer = cancel_task(env, argv);
    RT_LEAVE("cancel");
    charge(env, begin);
    return answer;
}

static ERL_NIF_TERM list_owners(ErlNifEnv *env, const ERL_NIF_TERM argv[])
{
    ErlNifUInt64 id;
    ERL_NIF_TERM list = enif_make_list(env, 0);
    if (!enif_get_uint64(env, argv[0], &id)) return enif_make_badarg(env);
    struct rt_pool *pool = rt_pool_enter(id);
    if (!pool) return list;
    for (unsigned i = 0; i < pool->source_count; i++) list = rt_owners_list(((struct rt_source *)pool->source[i]->skin)->owners, env, list);
    rt_pool_leave(pool);
    return list;
}

/* (PoolId) -> [{Pid, Tasks, Bytes}] */
static ERL_NIF_TERM owners(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    RT_ENTER();
    const ERL_NIF_TERM answer = list_owners(env, argv);
    RT_LEAVE("owners");
    return answer;
}

static ERL_NIF_TERM trace_task(ErlNifEnv *env, const ERL_NIF_TERM argv[])
{
    ErlNifUInt64 id;
    struct bl_trace t;
    if (!enif_get_uint64(env, argv[0], &id) || !enif_is_ref(env, argv[1])) return enif_make_badarg(env);
    struct rt_pool *pool = rt_pool_enter(id);
    if (!pool) return am_false;
    const bool found = rt_task_trace(pool, argv[1], &t);
    rt_pool_leave(pool);
    if (!found) return am_false;
    const uint64_t at[3] = {t.started_ns, t.answered_ns, t.finished_ns};
    ERL_NIF_TERM us[3];
    for (int i = 0; i < 3; i++) us[i] = enif_make_int64(env, at[i] == 0 ? -1 : (ErlNifSInt64)((at[i] - t.submitted_ns) / 1000));
    return enif_make_tuple5(env, enif_make_int(env, (int)t.priority), enif_make_atom(env, bl_status_name(t.status)), us[0], us[1], us[2]);
}

/* (PoolId, Ref) -> {Priority, Status, Started, Answered, Finished} | false: microseconds from submission, -1: not yet */
static ERL_NIF_TERM trace(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    RT_ENTER();
    const ERL_NIF_TERM answer = trace_task(env, argv);
    RT_LEAVE("trace");
    return answer;
}

static ERL_NIF_TERM version(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc, (void)argv;
    return enif_make_string(env, bl_version(), ERL_NIF_LATIN1);
}

/* ---- loading ----------------------------------------------------------------------------- */

static int load_once(ErlNifEnv *env, ERL_NIF_TERM expected)
{
    if (!bl_nif_version_agrees(env, expected)) return 1;
    am_ok = enif_make_atom(env, "ok");
    am_error = enif_make_atom(env, "error");
    am_large = enif_make_atom(env, "large");
    am_true = enif_make_atom(env, "true");
    am_false = enif_make_atom(env, "false");
    am_unsupported = enif_make_atom(env, "unsupported");
    rt_tasks_load(env);
    return rt_owners_load(env) ? 0 : 2;
}

static int load(ErlNifEnv *env, void **data, ERL_NIF_TERM expected)
{
    (void)data;
    RT_ENTER();
    const int failed = load_once(env, expected);
    RT_LEAVE("load");
    return failed;
}

static int upgrade(ErlNifEnv *env, void **data, void **old_data, ERL_NIF_TERM expected)
{
    (void)old_data;
    return load(env, data, expected);
}

static ErlNifFunc functions[] = {
    {"submit", 5, submit_small, 0},
    {"submit_pieces", 6, submit_pieces, 0},
    {"cancel", 2, cancel, 0},
    {"owners", 1, owners, 0},
    {"trace", 2, trace, 0},
    {"version", 0, version, 0},
};

ERL_NIF_INIT(beamline_runtime_nif, functions, load, NULL, upgrade, NULL)
