/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool's configuration and statistics as terms.
 */
#ifndef BL_POOL_TERMS_H
#define BL_POOL_TERMS_H

#include "beamline/term.h"
#include "bl_engine.h"

/* A map of numbers by name; what is missing has its default. */
BL_API enum bl_status bl_pool_read_config(struct bl_reader *r, struct bl_pool_config *config);
/* A map, as beamline_runtime:info/1 documents it. */
BL_API void bl_pool_write_info(struct bl_pool *pool, struct bl_writer *w);

#endif
