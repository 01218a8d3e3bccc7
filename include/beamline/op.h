/* SPDX-License-Identifier: Apache-2.0
 *
 * How an operation is made: decode the argument term, call a typed API, encode the
 * answer. Beamline's own operations are made the same way as a user's
 * (doc/operations.md tells how to build and load one).
 */
#ifndef BEAMLINE_OP_H
#define BEAMLINE_OP_H

#include "beamline/core.h"
#include "beamline/term.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Grows whenever a struct or function below changes its meaning; a library with another
 * number is refused with {unsupported, ...}. */
enum { BL_OP_ABI = 1 };

enum bl_op_flags {
    /* Cannot poll bl_ctx_check (a foreign library's long call): the caller is answered in
     * time all the same, the rest finishes behind, counted and bounded by the pool. */
    BL_OP_OPAQUE = 1u << 0,
};

/* Runs on a pool thread. Reads one term from `args`, writes exactly one term (the Value of
 * {ok, Value}) to `result` and returns BL_OK; or returns another status with *err filled,
 * then what was written is dropped. Must not keep any pointer after it returned. */
typedef enum bl_status bl_op_fn(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err);

struct bl_op {
    const char *name;    /* the Erlang atom: 1 to 63 printable ASCII characters */
    const char *summary; /* one sentence */
    uint32_t flags;
    bl_op_fn *run;
};

struct bl_op_table {
    uint32_t abi; /* BL_OP_ABI */
    uint32_t count;
    const struct bl_op *ops; /* static */
};

/* A user's shared object exports `beamline_operations`, a function of this type. Called once when a pool loads it. */
typedef const struct bl_op_table *bl_op_entry_fn(void);

#ifdef __cplusplus
}
#endif
#endif
