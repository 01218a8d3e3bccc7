/* SPDX-License-Identifier: Apache-2.0
 *
 * Floor of ring/c4: an empty NIF on the caller's scheduler (floor_nif_plain.erl).
 */
#include <erl_nif.h>

static ERL_NIF_TERM nothing(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)env, (void)argc;
    return argv[0];
}

static ErlNifFunc functions[] = {{"nothing", 1, nothing, 0}};
ERL_NIF_INIT(floor_nif_plain, functions, NULL, NULL, NULL, NULL)
