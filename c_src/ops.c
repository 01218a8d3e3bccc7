/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of built-in operations: one line a part.
 */
#include "bl_ops.h"

#include "crystal/bl_crystal_ops.h"

static enum bl_status op_noop(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)err;
    const enum bl_status status = bl_read_skip(args);
    if (status == BL_OK) bl_write_atom(result, "ok");
    return status;
}

static enum bl_status op_echo(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)err;
    return bl_copy_term(args, result);
}

static const struct bl_op ops[] = {
    {.name = "noop", .summary = "Reads its argument and answers ok.", .run = op_noop},
    {.name = "echo", .summary = "Answers its argument.", .run = op_echo},
    {.name = "crystal_parse", .summary = "Reads a structure file.", .run = bl_op_crystal_parse},
    {.name = "crystal_write", .summary = "Writes structures as a file.", .run = bl_op_crystal_write},
    {.name = "crystal_symmetry", .summary = "Finds the space group.", .flags = BL_OP_OPAQUE, .run = bl_op_crystal_symmetry},
    {.name = "crystal_cell", .summary = "The primitive, conventional or Niggli cell.", .flags = BL_OP_OPAQUE, .run = bl_op_crystal_cell},
    {.name = "crystal_prototype", .summary = "A crystal by name.", .run = bl_op_crystal_prototype},
    {.name = "crystal_expand", .summary = "All atoms from an asymmetric unit.", .run = bl_op_crystal_expand},
    {.name = "crystal_supercell", .summary = "A supercell by an integer matrix.", .run = bl_op_crystal_supercell},
    {.name = "crystal_match", .summary = "Whether two structures are the same crystal.", .run = bl_op_crystal_match},
    {.name = "crystal_energy", .summary = "Energy, forces and virial of a structure.", .run = bl_op_crystal_energy},
    {.name = "crystal_neighbours", .summary = "All pairs within a cut-off.", .run = bl_op_crystal_neighbours},
    {.name = "crystal_relax", .summary = "Moves atoms and cell to a minimum of the energy.", .run = bl_op_crystal_relax},
    {.name = "crystal_relax_batch", .summary = "Relaxes many structures, each for itself.", .run = bl_op_crystal_relax_batch},
    {.name = "crystal_trajectory", .summary = "Follows the atoms in time at constant energy.", .run = bl_op_crystal_trajectory},
    {.name = "crystal_elastic", .summary = "Elastic constants by finite strain.", .run = bl_op_crystal_elastic},
    {.name = "crystal_verify", .summary = "Runs the gates on a structure.", .run = bl_op_crystal_verify},
};

const struct bl_op_table *bl_builtin_operations(void)
{
    static const struct bl_op_table table = {.abi = BL_OP_ABI, .count = sizeof ops / sizeof ops[0], .ops = ops};
    return &table;
}
