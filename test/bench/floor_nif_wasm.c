/* SPDX-License-Identifier: Apache-2.0
 *
 * Floors of the lines wasm/call_*, import, slice_overhead, read64, write64: NIFs with the same terms in and out, and no guest.
 */
#include <erl_nif.h>
#include <string.h>

static ErlNifResourceType *type;
static ERL_NIF_TERM am_ok;
static unsigned char memory[1 << 20];

static ERL_NIF_TERM new_handle(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc, (void)argv;
    void *p = enif_alloc_resource(type, 8);
    const ERL_NIF_TERM term = enif_make_resource(env, p);
    enif_release_resource(p);
    return term;
}

/* (Handle, Name, [A, B]) -> {ok, [A + B]} */
static ERL_NIF_TERM add(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    void *p;
    ErlNifBinary name;
    ERL_NIF_TERM a, b, list = argv[2];
    ErlNifSInt64 x, y;
    (void)argc;
    if (!enif_get_resource(env, argv[0], type, &p) || !enif_inspect_binary(env, argv[1], &name) || !enif_get_list_cell(env, list, &a,
        &list) ||
        !enif_get_list_cell(env, list, &b, &list) || !enif_is_empty_list(env, list) || !enif_get_int64(env, a, &x) || !enif_get_int64(env,
            b, &y))
        return enif_make_badarg(env);
    return enif_make_tuple2(env, am_ok, enif_make_list1(env, enif_make_int(env, (int)(x + y))));
}

static ERL_NIF_TERM empty(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)env, (void)argc;
    return argv[0];
}

/* (Length): what memcpy of so many bytes into a binary costs */
static ERL_NIF_TERM copy(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    ERL_NIF_TERM term;
    unsigned n;
    (void)argc;
    if (!enif_get_uint(env, argv[0], &n)) return enif_make_badarg(env);
    if (n > sizeof memory) return enif_make_badarg(env);
    memcpy(enif_make_new_binary(env, n, &term), memory, n);
    return term;
}

/* (N) -> 0: gives its scheduler back so many times */
static ERL_NIF_TERM yields(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    unsigned n;
    if (!enif_get_uint(env, argv[0], &n)) return enif_make_badarg(env);
    if (n == 0) return argv[0];
    const ERL_NIF_TERM left = enif_make_uint(env, n - 1);
    enif_consume_timeslice(env, 100);
    return enif_schedule_nif(env, "yields", 0, yields, argc, &left);
}

static int load(ErlNifEnv *env, void **data, ERL_NIF_TERM info)
{
    (void)data, (void)info;
    am_ok = enif_make_atom(env, "ok");
    memset(memory, 7, sizeof memory); /* no page of zeros that all share */
    type = enif_open_resource_type(env, NULL, "floor", NULL, ERL_NIF_RT_CREATE, NULL);
    return type == NULL;
}

static ErlNifFunc functions[] = {{"new", 0, new_handle, 0}, {"add", 3, add, 0}, {"empty", 1, empty, 0}, {"copy", 1, copy, 0},
                                  {"yields", 1, yields, 0}};
ERL_NIF_INIT(floor_nif_wasm, functions, load, NULL, NULL, NULL)
