/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BL_NIF_VERSION_H
#define BL_NIF_VERSION_H

#include <erl_nif.h>
#include <stdbool.h>
#include <string.h>

#include "beamline/core.h"

/* Are the beam (which says its version when it loads the library), this skin and the core of one version? */
static inline bool bl_nif_version_agrees(ErlNifEnv *env, ERL_NIF_TERM beams)
{
    char text[32];
    return enif_get_string(env, beams, text, sizeof text, ERL_NIF_LATIN1) > 0 && strcmp(text, BL_BUILD_VERSION) == 0 &&
           strcmp(bl_version(), BL_BUILD_VERSION) == 0;
}

#endif
