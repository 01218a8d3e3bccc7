/* SPDX-License-Identifier: Apache-2.0
 *
 * An operation with a bug on purpose: `make test-san` proves with it that the sanitizer sees a read
 * behind a binary of the VM.
 */
#include <stdlib.h>
#include <string.h>

#include "beamline/op.h"

/* Binary -> a boolean, after reading 64 bytes too many of it. */
static enum bl_status op_overread(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)err;
    struct bl_span binary;
    const enum bl_status status = bl_read_binary(args, &binary);
    if (status != BL_OK) return status;
    char *copy = malloc(binary.len + 64);
    if (copy) memcpy(copy, binary.data, binary.len + 64);
    bl_write_bool(result, copy && copy[binary.len + 63] == 0); /* so that the copy is made */
    free(copy);
    return BL_OK;
}

BL_API const struct bl_op_table *beamline_operations(void);
const struct bl_op_table *beamline_operations(void)
{
    static const struct bl_op ops[] = {{.name = "canary_overread", .summary = "Reads too far.", .run = op_overread}};
    static const struct bl_op_table table = {.abi = BL_OP_ABI, .count = 1, .ops = ops};
    return &table;
}
