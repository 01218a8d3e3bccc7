/* SPDX-License-Identifier: Apache-2.0
 *
 * Floor of runtime/throughput_vs_dirty: an empty NIF that runs on the dirty CPU schedulers (floor_nif_dirty.erl).
 */
#include <erl_nif.h>

static ERL_NIF_TERM nothing(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc, (void)argv;
    return enif_make_atom(env, "ok");
}

static ErlNifFunc functions[] = {{"nothing", 0, nothing, ERL_NIF_DIRTY_JOB_CPU_BOUND}};
ERL_NIF_INIT(floor_nif_dirty, functions, NULL, NULL, NULL, NULL)
