/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared objects that a user names.
 */
#ifndef BL_LIBRARY_H
#define BL_LIBRARY_H

#include "beamline/core.h"

/* Opened for good. NULL: BL_INVALID (path). A file that was cut short is refused, too: the dynamic loader would map it and die
 * of SIGBUS. May block. */
BL_API void *bl_library_open(const char *path, struct bl_error *err);

#endif
