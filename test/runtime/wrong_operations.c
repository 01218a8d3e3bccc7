/* SPDX-License-Identifier: Apache-2.0
 *
 * A library with something wrong in its table: what, its file's name says.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

#include "beamline/op.h"

static enum bl_status op_one(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)args, (void)err;
    bl_write_int(result, 1);
    return BL_OK;
}

BL_API const struct bl_op_table *beamline_operations(void);
const struct bl_op_table *beamline_operations(void)
{
    static struct bl_op ops[] = {{.name = "wrong_good", .run = op_one}, {.name = "wrong_one", .run = op_one}};
    static struct bl_op_table table = {.abi = BL_OP_ABI, .count = 2, .ops = ops};
    static char name[101];
    Dl_info file;
    if (!dladdr((const void *)&table, &file)) return NULL;
    const char *slash = strrchr(file.dli_fname, '/'), *wrong = slash ? slash + 1 : file.dli_fname;
    if (strcmp(wrong, "no_table.so") == 0) return NULL;
    if (strcmp(wrong, "other_abi.so") == 0) table.abi++;
    if (strcmp(wrong, "no_name.so") == 0) ops[1].name = NULL;
    if (strcmp(wrong, "empty_name.so") == 0) ops[1].name = "";
    if (strcmp(wrong, "name_in_utf8.so") == 0) ops[1].name = "\xC3\xA9";
    if (strcmp(wrong, "name_in_latin1.so") == 0) ops[1].name = "\xE9";
    if (strcmp(wrong, "long_name.so") == 0) ops[1].name = memset(name, 'a', 64);
    if (strcmp(wrong, "longest_name.so") == 0) ops[1].name = memset(name, 'a', 63);
    if (strcmp(wrong, "name_twice.so") == 0) ops[1].name = ops[0].name;
    if (strcmp(wrong, "no_function.so") == 0) ops[1].run = NULL;
    return &table;
}
