/* SPDX-License-Identifier: Apache-2.0
 *
 * The operations of a pool: the built-in ones, load_operations, and a user's that it loaded.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "bl_ctx.h"
#include "bl_frame.h"
#include "bl_library.h"
#include "bl_op_set.h"
#include "bl_ops.h"

/* Only ever replaced by a longer one; old ones stay until the pool goes, because lookups hold no lock. */
struct version {
    struct version *older;
    size_t count;
    const struct bl_op *op[];
};

struct bl_op_set {
    struct version *newest; /* atomic */
    pthread_mutex_t lock;   /* its writers */
};

static enum bl_status load_without_pool(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)args, (void)result;
    return bl_fail_unsupported(err, "load_operations");
}

static const struct bl_op load_op = {
    .name = "load_operations",
    .summary = "Loads a user's operations from a shared object.",
    .flags = BL_OP_OPAQUE,
    .run = load_without_pool, /* needs the pool: see bl_op_set_run */
};

static const struct bl_op *find_in(const struct version *set, const char *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(name, set->op[i]->name) == 0) return set->op[i];
    return NULL;
}

const struct bl_op *bl_op_set_find(struct bl_op_set *ops, const char *name)
{
    return find_in(__atomic_load_n(&ops->newest, __ATOMIC_ACQUIRE), name);
}

/* `table` appended to `older`; names that are there already are refused. */
static struct version *extend(struct version *older, const struct bl_op *table, size_t count, struct bl_error *err)
{
    const size_t before = older ? older->count : 0;
    struct version *set = bl_alloc(NULL, sizeof *set + (before + count) * sizeof set->op[0], err);
    if (!set) return NULL;
    set->older = older;
    set->count = before;
    if (older) memcpy(set->op, older->op, before * sizeof set->op[0]);
    for (size_t i = 0; i < count; i++) {
        if (find_in(set, table[i].name)) {
            bl_fail_invalid(err, "operation", "there is already one named %s", table[i].name);
            bl_free(set);
            return NULL;
        }
        set->op[set->count++] = &table[i];
    }
    return set;
}

static enum bl_status add(struct bl_op_set *ops, const struct bl_op *table, size_t count, struct bl_error *err)
{
    pthread_mutex_lock(&ops->lock);
    struct version *set = extend(ops->newest, table, count, err);
    if (set) __atomic_store_n(&ops->newest, set, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&ops->lock);
    return set ? BL_OK : err->status;
}

/* A name that is no atom, or does not fit into a frame, would be listed but never found. */
static enum bl_status check(const struct bl_op_table *table, struct bl_error *err)
{
    if (table->abi != BL_OP_ABI) return bl_fail_unsupported(err, "abi");
    for (size_t i = 0; i < table->count; i++) {
        const struct bl_op *op = &table->ops[i];
        if (!bl_is_name(op->name, BL_FRAME_OP_NAME - 1))
            return bl_fail_invalid(err, "operation", "the name of number %zu is not 1 to %d printable ASCII characters", i + 1,
                                   BL_FRAME_OP_NAME - 1);
        if (!op->run) return bl_fail_invalid(err, "operation", "%s has no function", op->name);
    }
    return BL_OK;
}

/* The library stays for good: its operations may run in any thread at any time. */
static const struct bl_op_table *open_library(const char *path, struct bl_error *err)
{
    void *library = bl_library_open(path, err);
    if (!library) return NULL;
    bl_op_entry_fn *entry = NULL;
    *(void **)&entry = dlsym(library, "beamline_operations");
    const struct bl_op_table *table = entry ? entry() : NULL;
    if (!table) bl_fail_invalid(err, "path", "no beamline_operations in it");
    return table && check(table, err) == BL_OK ? table : NULL;
}

enum bl_status bl_op_set_load(struct bl_op_set *ops, const char *path, const struct bl_op_table **loaded, struct bl_error *err)
{
    const struct bl_op_table *table = open_library(path, err);
    if (!table) return err->status;
    const enum bl_status status = add(ops, table->ops, table->count, err);
    if (status == BL_OK && loaded) *loaded = table;
    return status;
}

static enum bl_status load(struct bl_op_set *ops, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    char path[4096];
    struct bl_span text;
    bl_reader_at(args, "path");
    enum bl_status status = bl_read_binary(args, &text);
    if (status != BL_OK) return status;
    if (text.len >= sizeof path || memchr(text.data, 0, text.len)) return bl_fail_invalid(err, "path", "too long or with a NUL in it");
    memcpy(path, text.data, text.len);
    path[text.len] = '\0';
    const struct bl_op_table *table = NULL;
    status = bl_op_set_load(ops, path, &table, err);
    if (status != BL_OK) return status;
    bl_write_list(result, table->count);
    for (uint32_t i = 0; i < table->count; i++) bl_write_atom(result, table->ops[i].name);
    bl_write_end(result);
    return BL_OK;
}

static enum bl_status run(struct bl_op_set *ops, const struct bl_op *op, struct bl_ctx *ctx, struct bl_reader *args,
                          struct bl_writer *result, struct bl_error *err)
{
    const enum bl_status status = op == &load_op ? load(ops, args, result, err) : op->run(ctx, args, result, err);
    if ((unsigned)status < BL_STATUS_COUNT) return status;
    return bl_fail_invalid(err, "result", "the operation returned %d, which is no status", (int)status);
}

/* {ok, Value} */
static enum bl_status run_one(struct bl_op_set *ops, const struct bl_op *op, struct bl_ctx *ctx, struct bl_reader *arg,
                              struct bl_writer *result, struct bl_error *err)
{
    const unsigned floor = result->floor;
    bl_write_tuple(result, 2);
    bl_write_atom(result, "ok");
    const unsigned inside = result->floor = result->depth;
    enum bl_status status = run(ops, op, ctx, arg, result, err);
    result->floor = floor;
    if (status == BL_OK) status = bl_writer_status(result, err);
    if (status == BL_OK && (result->depth != inside || result->open[inside - 1].left > 0))
        status = bl_fail_invalid(err, "result", "the operation wrote no whole term");
    if (status != BL_OK) return status;
    bl_write_end(result);
    return bl_writer_status(result, err);
}

/* Whatever an operation has read and written, the next one begins behind this argument, and behind its result. */
static enum bl_status run_next(struct bl_op_set *ops, const struct bl_op *op, struct bl_ctx *ctx, struct bl_reader *args,
                               struct bl_writer *result, struct bl_error *own, struct bl_error *err)
{
    struct bl_reader arg;
    if (own->status != BL_OK) bl_fail(own, BL_OK); /* it is large: not emptied for each element */
    enum bl_status status = bl_ctx_check(ctx, err);
    if (status != BL_OK) return status;
    status = bl_read_part(args, &arg, own);
    if (status != BL_OK) {
        bl_reader_clear(&arg);
        return status;
    }
    const struct bl_writer_mark mark = bl_writer_mark(result);
    status = run_one(ops, op, ctx, &arg, result, own);
    bl_reader_clear(&arg);
    if (status == BL_OK) return BL_OK;
    if (own->status != status) bl_fail(own, status); /* it did not say why */
    bl_writer_rewind(result, &mark);
    bl_write_error(result, own);
    status = bl_ctx_check(ctx, err); /* it may have failed because it was stopped */
    return status == BL_OK ? bl_writer_status(result, err) : status;
}

static enum bl_status run_each(struct bl_op_set *ops, const struct bl_op *op, struct bl_ctx *ctx, struct bl_reader *args,
                               struct bl_writer *result, struct bl_error *err)
{
    struct bl_error own = {.status = BL_OK};
    size_t count = 0;
    bl_reader_at(args, "arguments");
    enum bl_status status = bl_read_list(args, &count);
    if (status == BL_OK) bl_write_list(result, count);
    if (status == BL_OK) status = bl_writer_status(result, err); /* what fails later may be forgotten, but not this */
    for (size_t i = 0; i < count && status == BL_OK; i++) status = run_next(ops, op, ctx, args, result, &own, err);
    if (status == BL_OK) status = bl_read_list_end(args);
    if (status == BL_OK) bl_write_end(result);
    return status;
}

enum bl_status bl_op_set_run(struct bl_op_set *ops, const struct bl_op *op, bool each, struct bl_ctx *ctx, struct bl_reader *args,
                             struct bl_writer *result, struct bl_error *err)
{
    enum bl_status status = each ? run_each(ops, op, ctx, args, result, err) : run(ops, op, ctx, args, result, err);
    if (status == BL_OK) status = bl_writer_status(result, err);
    if (status == BL_OK && !bl_writer_done(result)) status = bl_fail_invalid(err, "result", "the operation wrote no whole term");
    return status;
}

void bl_op_set_list(struct bl_op_set *ops, struct bl_writer *w)
{
    const struct version *set = __atomic_load_n(&ops->newest, __ATOMIC_ACQUIRE);
    bl_write_list(w, set->count - 1);
    for (size_t i = 0; i < set->count; i++)
        if (set->op[i] != &load_op) bl_write_atom(w, set->op[i]->name);
    bl_write_end(w);
}

void bl_op_set_free(struct bl_op_set *ops)
{
    if (!ops) return;
    for (struct version *set = ops->newest, *older; set; set = older) {
        older = set->older;
        bl_free(set);
    }
    pthread_mutex_destroy(&ops->lock);
    bl_free(ops);
}

struct bl_op_set *bl_op_set_new(struct bl_error *err)
{
    const struct bl_op_table *builtin = bl_builtin_operations();
    struct bl_op_set *ops = bl_alloc_zero(NULL, sizeof *ops, err);
    if (!ops) return NULL;
    pthread_mutex_init(&ops->lock, NULL);
    if (add(ops, builtin->ops, builtin->count, err) == BL_OK && add(ops, &load_op, 1, err) == BL_OK) return ops;
    bl_op_set_free(ops);
    return NULL;
}
