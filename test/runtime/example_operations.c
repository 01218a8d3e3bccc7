/* SPDX-License-Identifier: Apache-2.0
 *
 * An operation of your own: the dot product of two vectors. doc/operations.md walks through it.
 *
 *   cc -O2 -shared -fPIC -Iinclude -o example_operations.so example_operations.c -Lpriv -l:libbeamline-0.1.0.so
 *
 *   1> {ok, _} = beamline_runtime:start_link(#{name => mine, operations => ["example_operations.so"]}).
 *   2> beamline_runtime:call(mine, example_dot, #{a => <<1.0:64/float-little>>, b => <<2.0:64/float-little>>}, #{}).
 *   {ok, 2.0}
 */
#include <string.h>

#include "beamline/op.h"

struct dot {
    const uint8_t *a, *b;
    double *partial; /* one per chunk, added up in order: the result does not depend on the threads */
};

enum { CHUNK = 4096 };

static double element(const uint8_t *vector, size_t i)
{
    double x; /* a binary may lie at any address */
    memcpy(&x, vector + i * sizeof x, sizeof x);
    return x;
}

static enum bl_status dot_chunk(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    struct dot *d = arg;
    (void)lane, (void)err;
    double sum = 0;
    for (size_t i = begin; i < end; i++) sum += element(d->a, i) * element(d->b, i);
    d->partial[begin / CHUNK] = sum;
    return BL_OK;
}

/* The typed part: no terms. Cancel and deadline are polled between chunks by bl_parallel_for. */
static enum bl_status dot(struct bl_ctx *ctx, const uint8_t *a, const uint8_t *b, size_t n, double *out, struct bl_error *err)
{
    const size_t chunks = n / CHUNK + 1;
    struct dot d = {.a = a, .b = b, .partial = bl_alloc_array(bl_ctx_quota(ctx), chunks, sizeof(double), err)};
    if (!d.partial) return err->status;
    memset(d.partial, 0, chunks * sizeof(double));
    const enum bl_status status = bl_parallel_for(ctx, n, CHUNK, dot_chunk, &d, err);
    if (status == BL_OK) {
        *out = 0;
        for (size_t i = 0; i < chunks; i++) *out += d.partial[i];
    }
    bl_free(d.partial);
    return status;
}

/* The operation: decode #{a, b}, call, encode a float. */
static enum bl_status op_dot(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct bl_span key, a = {0}, b = {0};
    size_t pairs;
    enum bl_status status = bl_read_map(args, &pairs);
    for (size_t i = 0; i < pairs && status == BL_OK; i++) {
        if ((status = bl_read_atom(args, &key)) != BL_OK) break;
        if (bl_span_is(&key, "a")) {
            bl_reader_at(args, "a");
            status = bl_read_binary(args, &a);
        } else if (bl_span_is(&key, "b")) {
            bl_reader_at(args, "b");
            status = bl_read_binary(args, &b);
        } else {
            status = bl_read_unknown_key(args, &key);
        }
    }
    if (status != BL_OK) return status;
    if (!a.data || !b.data) return bl_fail_invalid(err, a.data ? "b" : "a", "missing");
    if (a.len != b.len || a.len % sizeof(double) != 0) return bl_fail_invalid(err, "b", "both need the same number of 64-bit floats");
    double sum = 0;
    status = dot(ctx, a.data, b.data, a.len / sizeof(double), &sum, err);
    if (status == BL_OK) bl_write_float(result, sum);
    return status;
}

BL_API const struct bl_op_table *beamline_operations(void);
const struct bl_op_table *beamline_operations(void)
{
    static const struct bl_op ops[] = {{.name = "example_dot", .summary = "Dot product of two vectors.", .run = op_dot}};
    static const struct bl_op_table table = {.abi = BL_OP_ABI, .count = 1, .ops = ops};
    return &table;
}
