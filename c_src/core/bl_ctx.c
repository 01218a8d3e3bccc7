/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_ctx.h"

#include <time.h>

enum { SERIAL_CHUNKS = 256 };

uint64_t bl_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

void bl_ctx_init(struct bl_ctx *ctx, struct bl_quota *quota) { *ctx = (struct bl_ctx){.quota = quota, .lanes = 1}; }

struct bl_ctx *bl_ctx_new(struct bl_quota *quota)
{
    struct bl_ctx *ctx = bl_alloc(quota, sizeof *ctx, NULL);
    if (ctx) bl_ctx_init(ctx, quota);
    return ctx;
}

void bl_ctx_free(struct bl_ctx *ctx) { bl_free(ctx); }

struct bl_quota *bl_ctx_quota(struct bl_ctx *ctx) { return ctx ? ctx->quota : NULL; }

enum bl_status bl_ctx_check(struct bl_ctx *ctx, struct bl_error *err)
{
    const enum bl_status why = ctx ? (enum bl_status)__atomic_load_n(&ctx->stop, __ATOMIC_RELAXED) : BL_OK;
    return why == BL_OK ? BL_OK : bl_fail(err, why);
}

void bl_ctx_stop(struct bl_ctx *ctx, enum bl_status why)
{
    uint32_t none = 0;
    __atomic_compare_exchange_n(&ctx->stop, &none, (uint32_t)why, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void bl_ctx_cancel(struct bl_ctx *ctx) { bl_ctx_stop(ctx, BL_CANCELLED); }

unsigned bl_ctx_lanes(struct bl_ctx *ctx) { return ctx ? ctx->lanes : 1; }

enum bl_status bl_serial_for(struct bl_ctx *ctx, size_t count, size_t grain, bl_range_fn *body, void *arg, struct bl_error *err)
{
    const size_t step = grain > 0 ? grain : count / SERIAL_CHUNKS + 1; /* it polls between chunks */
    for (size_t begin = 0; begin < count;) {
        enum bl_status status = bl_ctx_check(ctx, err);
        if (status != BL_OK) return status;
        const size_t end = count - begin > step ? begin + step : count;
        status = body(arg, begin, end, 0, err);
        if (status != BL_OK) return status;
        begin = end;
    }
    return BL_OK;
}

enum bl_status bl_parallel_for(struct bl_ctx *ctx, size_t count, size_t grain, bl_range_fn *body, void *arg, struct bl_error *err)
{
    if (ctx && ctx->parallel_for) return ctx->parallel_for(ctx, count, grain, body, arg, err);
    return bl_serial_for(ctx, count, grain, body, arg, err);
}

bool bl_ctx_progress_due(struct bl_ctx *ctx) { return ctx && ctx->progress && bl_now_ns() >= ctx->progress_next_ns; }

bool bl_is_name(const char *name, size_t most)
{
    size_t len = 0;
    if (!name) return false;
    while (len < most && name[len] >= ' ' && name[len] <= '~') len++;
    return len > 0 && name[len] == '\0';
}

/* What an OS process could not pass on is not sent in the VM either. */
static bool can_be_sent(const struct bl_field *fields, size_t count)
{
    size_t terms = 0;
    for (const struct bl_field *f = fields; f < fields + count; f++) {
        if (!bl_is_name(f->key, BL_FIELD_KEY_MOST)) return false;
        if (f->type != BL_FIELD_TERM) continue;
        if (++terms > 1 || f->value.term->len == 0 || f->value.term->len > BL_FIELD_TERM_MOST) return false;
    }
    return true;
}

void bl_ctx_progress(struct bl_ctx *ctx, const struct bl_field *fields, size_t count)
{
    if (!bl_ctx_progress_due(ctx)) return;
    if (count > 16) count = 16;
    if (!can_be_sent(fields, count)) return;
    ctx->progress_next_ns = bl_now_ns() + ctx->progress_distance_ns;
    ctx->progress(ctx, fields, count);
}
