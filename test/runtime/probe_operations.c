/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations for the runtime's tests and benches: they wait, spin, do not listen, allocate, fail.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "beamline/op.h"

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_us(long us) { nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL); }

/* Milliseconds -> ok. Sleeps, listens every 0.2 ms, sends progress #{left_ms}. */
static enum bl_status op_wait(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    uint64_t ms;
    enum bl_status status = bl_read_uint(args, &ms);
    if (status != BL_OK) return status;
    const uint64_t until = now_ns() + ms * 1000000;
    for (uint64_t now; (now = now_ns()) < until;) {
        if ((status = bl_ctx_check(ctx, err)) != BL_OK) return status;
        bl_ctx_progress(ctx, &(struct bl_field){.key = "left_ms", .type = BL_FIELD_INT, .value.i = (int64_t)((until - now) / 1000000)}, 1);
        sleep_us(200);
    }
    bl_write_atom(result, "ok");
    return BL_OK;
}

/* Key -> ok. Sends one progress message, #{Key => 1}. */
static enum bl_status op_tell(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)err;
    char key[64] = "";
    struct bl_span text;
    const enum bl_status status = bl_read_binary(args, &text);
    if (status != BL_OK) return status;
    memcpy(key, text.data, text.len < sizeof key - 1 ? text.len : sizeof key - 1);
    bl_ctx_progress(ctx, &(struct bl_field){.key = key, .type = BL_FIELD_INT, .value.i = 1}, 1);
    bl_write_atom(result, "ok");
    return BL_OK;
}

/* Milliseconds -> ok. Sleeps and does not listen. */
static enum bl_status op_deaf(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)err;
    uint64_t ms;
    const enum bl_status status = bl_read_uint(args, &ms);
    if (status != BL_OK) return status;
    for (uint64_t until = now_ns() + ms * 1000000; now_ns() < until;) sleep_us(200);
    bl_write_atom(result, "ok");
    return BL_OK;
}

/* Bytes -> a binary of so many zeros, and as much scratch memory on the way. */
static enum bl_status op_allocate(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    uint64_t bytes;
    const enum bl_status status = bl_read_uint(args, &bytes);
    if (status != BL_OK) return status;
    void *scratch = bl_alloc(bl_ctx_quota(ctx), bytes, err);
    if (!scratch) return err->status;
    uint8_t *out = bl_write_binary_space(result, bytes);
    if (out) memset(out, 0, bytes);
    bl_free(scratch);
    return BL_OK;
}

/* Any term -> a result that is none: two terms instead of one. */
static enum bl_status op_two(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)err;
    const enum bl_status status = bl_read_skip(args);
    bl_write_int(result, 1);
    bl_write_int(result, 2);
    return status;
}

/* What, or {What, any term} and nothing behind it -> 0: a value that contains What; else what an operation must not do, or a
 * failure half-way. */
static enum bl_status op_half(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx;
    int64_t what;
    size_t arity = 1;
    static const uint8_t bytes[100000];
    enum bl_status status = bl_read_type(args) == BL_TERM_TUPLE ? bl_read_tuple(args, &arity) : BL_OK;
    if (status == BL_OK) status = bl_read_int(args, &what);
    if (status == BL_OK && arity == 2) status = bl_read_skip(args);
    if (status == BL_OK) status = bl_read_end(args);
    if (status != BL_OK || what == 1) return status; /* 1: writes nothing */
    if (what == 6) return BL_UNSUPPORTED;            /* and does not say what */
    if (what == 8) return (enum bl_status)999;
    if (what == 9) return err->status = BL_INVALID; /* and nothing else */
    if (what == 7) {
        bl_write_raw(result, &(struct bl_span){.len = 0});
        return BL_OK;
    }
    bl_write_list(result, 2);
    bl_write_int(result, what);
    if (what == 2) return BL_OK;
    bl_write_binary(result, bytes, what == 0 ? 10 : sizeof bytes);
    if (what == 3) return bl_fail_invalid(err, "half", "as asked");
    bl_write_end(result);
    if (what == 4) bl_write_int(result, what);
    for (int i = 0; what == 5 && i < 10; i++) bl_write_end(result);
    return BL_OK;
}

/* Any term -> infinity and friends, numbers at the ends of their ranges, odd atoms. */
static enum bl_status op_extremes(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)err;
    const enum bl_status status = bl_read_skip(args);
    bl_write_list(result, 9);
    bl_write_float(result, __builtin_inf());
    bl_write_float(result, -__builtin_inf());
    bl_write_float(result, __builtin_nan(""));
    bl_write_int(result, INT64_MIN);
    bl_write_uint(result, UINT64_MAX);
    bl_write_atom(result, "an atom that nobody interned \xC3\xA9");
    bl_write_text(result, "");
    bl_write_list(result, 0);
    bl_write_end(result);
    bl_write_map(result, 0);
    bl_write_end(result);
    bl_write_end(result);
    return status;
}

/* Iterations -> the sum of a compute-bound loop over as many elements, by bl_parallel_for. */
struct spin {
    uint64_t sums[256];
};

static enum bl_status spin_range(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    (void)err;
    uint64_t x = begin + 1;
    for (size_t i = begin; i < end; i++) x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    ((struct spin *)arg)->sums[lane] += x | 1;
    return BL_OK;
}

static enum bl_status op_spin(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    uint64_t n;
    struct spin spin = {{0}};
    enum bl_status status = bl_read_uint(args, &n);
    if (status == BL_OK) status = bl_parallel_for(ctx, n, 1 << 18, spin_range, &spin, err);
    if (status == BL_OK) bl_write_bool(result, spin.sums[0] != 42);
    return status;
}

/* Only for a process of its own. */
static enum bl_status op_crash(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)args, (void)result, (void)err;
    abort();
}

/* Bytes -> touches so much memory that nobody accounts for. */
static enum bl_status op_malloc(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx;
    uint64_t bytes;
    const enum bl_status status = bl_read_uint(args, &bytes);
    if (status != BL_OK) return status;
    char *p = malloc(bytes);
    if (!p) return bl_fail(err, BL_NO_MEMORY);
    memset(p, 1, bytes);
    bl_write_int(result, p[bytes - 1]);
    free(p);
    return BL_OK;
}

/* Path -> whether it can be opened for reading. */
static enum bl_status op_open(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)err;
    char path[256] = "";
    struct bl_span text;
    const enum bl_status status = bl_read_binary(args, &text);
    if (status != BL_OK) return status;
    memcpy(path, text.data, text.len < sizeof path - 1 ? text.len : sizeof path - 1);
    FILE *file = fopen(path, "r");
    bl_write_bool(result, file != NULL);
    if (file) fclose(file);
    return BL_OK;
}

/* A process's number -> whether a signal could be sent to it; 0: whether another process could be started. */
static enum bl_status op_reach(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)err;
    uint64_t pid;
    const enum bl_status status = bl_read_uint(args, &pid);
    if (status != BL_OK) return status;
    const long got = pid == 0 ? fork() : syscall(SYS_tgkill, (pid_t)pid, (pid_t)pid, 0);
    if (pid == 0 && got == 0) _exit(0);
    bl_write_bool(result, got >= 0);
    return BL_OK;
}

BL_API const struct bl_op_table *beamline_operations(void);
const struct bl_op_table *beamline_operations(void)
{
    static const struct bl_op ops[] = {
        {.name = "probe_wait", .summary = "Waits, listening.", .run = op_wait},
        {.name = "probe_tell", .summary = "Tells of progress.", .run = op_tell},
        {.name = "probe_deaf", .summary = "Waits, not listening.", .flags = BL_OP_OPAQUE, .run = op_deaf},
        {.name = "probe_allocate", .summary = "Allocates.", .run = op_allocate},
        {.name = "probe_two", .summary = "Writes a malformed result.", .run = op_two},
        {.name = "probe_half", .summary = "Writes half a result.", .run = op_half},
        {.name = "probe_extremes", .summary = "Writes unusual terms.", .run = op_extremes},
        {.name = "probe_crash", .summary = "Ends the process.", .run = op_crash},
        {.name = "probe_malloc", .summary = "Takes memory past the accounts.", .run = op_malloc},
        {.name = "probe_open", .summary = "Opens a file.", .run = op_open},
        {.name = "probe_reach", .summary = "Reaches for other processes.", .run = op_reach},
        {.name = "probe_spin", .summary = "Computes in a parallel loop.", .run = op_spin},
    };
    static const struct bl_op_table table = {.abi = BL_OP_ABI, .count = sizeof ops / sizeof ops[0], .ops = ops};
    return &table;
}
