/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of built-in operations (c_src/ops.c) as the runtime sees it.
 */
#ifndef BL_OPS_H
#define BL_OPS_H

#include "beamline/op.h"

/* Built-in operations, static. */
BL_API const struct bl_op_table *bl_builtin_operations(void);

#endif
