/* SPDX-License-Identifier: Apache-2.0
 *
 * The operations that a pool knows: the built-in ones, load_operations, and a user's that it loaded. Finding needs
 * no lock and may go on while others load.
 */
#ifndef BL_OP_SET_H
#define BL_OP_SET_H

#include "beamline/op.h"

struct bl_op_set;

/* The built-in operations and load_operations. NULL: no memory. */
BL_API struct bl_op_set *bl_op_set_new(struct bl_error *err);
BL_API void bl_op_set_free(struct bl_op_set *ops);
/* NULL: none of that name. */
BL_API const struct bl_op *bl_op_set_find(struct bl_op_set *ops, const char *name);
/* Their names, as a list. */
BL_API void bl_op_set_list(struct bl_op_set *ops, struct bl_writer *w);
/* Runs an operation; load_operations, which needs `ops`, as well. BL_OK: one whole term was written.
 * `each`: with each element of a list, one after the other; the result is the list of {ok, Value} and {error, Reason} in the same
 * order, and it fails only when it is stopped, or its memory does not suffice for the results. */
BL_API enum bl_status bl_op_set_run(struct bl_op_set *ops, const struct bl_op *op, bool each, struct bl_ctx *ctx, struct bl_reader *args,
                                    struct bl_writer *result, struct bl_error *err);
/* Adds a user's operations from a shared object, which stays loaded for good. `loaded` may be NULL. */
BL_API enum bl_status bl_op_set_load(struct bl_op_set *ops, const char *path, const struct bl_op_table **loaded, struct bl_error *err);

#endif
