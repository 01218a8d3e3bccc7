/* SPDX-License-Identifier: Apache-2.0
 *
 * The context without a pool: loops run on the calling thread. */
#include "bl_ctx.h"
#include "bl_test.h"

enum { MAX_COUNT = 1000 };

struct loop {
    struct bl_ctx *ctx;
    unsigned visits[MAX_COUNT];
    unsigned chunks;
    size_t largest;
    size_t fail_at, cancel_at; /* SIZE_MAX: never */
};

static enum bl_status visit(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    struct loop *loop = arg;
    CHECK(begin < end);
    CHECK_INT(lane, 0);
    loop->chunks++;
    if (end - begin > loop->largest) loop->largest = end - begin;
    for (size_t i = begin; i < end; i++) {
        loop->visits[i]++;
        if (i == loop->fail_at) return bl_fail_invalid(err, "element", "number %zu", i);
        if (i == loop->cancel_at) bl_ctx_cancel(loop->ctx);
    }
    return BL_OK;
}

static struct loop loop_of(struct bl_ctx *ctx)
{
    return (struct loop){.ctx = ctx, .fail_at = SIZE_MAX, .cancel_at = SIZE_MAX};
}

static void check_visits(const struct loop *loop, size_t count)
{
    for (size_t i = 0; i < MAX_COUNT; i++) CHECK_INT(loop->visits[i], i < count ? 1 : 0);
}

TEST(a_loop_covers_its_range_once_in_chunks_of_at_most_the_grain)
{
    static const size_t counts[] = {0, 1, 2, 7, 64, 999, 1000}, grains[] = {0, 1, 2, 7, 1000, SIZE_MAX};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) {
            struct loop loop = loop_of(NULL);
            struct bl_error err;
            CHECK_INT(bl_parallel_for(NULL, counts[c], grains[g], visit, &loop, &err), BL_OK);
            check_visits(&loop, counts[c]);
            if (grains[g] > 0) CHECK(loop.largest <= grains[g]);
        }
    }
}

TEST(the_first_failure_stops_the_loop_and_is_returned)
{
    struct loop loop = loop_of(NULL);
    struct bl_error err;
    loop.fail_at = 25;
    CHECK_INT(bl_parallel_for(NULL, 100, 10, visit, &loop, &err), BL_INVALID);
    CHECK_TEXT(err.text, "number 25");
    CHECK_INT(loop.chunks, 3);
}

TEST(a_cancelled_loop_stops_at_the_next_chunk)
{
    struct bl_ctx *ctx = bl_ctx_new(NULL);
    REQUIRE(ctx != NULL);
    struct loop loop = loop_of(ctx);
    struct bl_error err;
    loop.cancel_at = 25;
    CHECK_INT(bl_parallel_for(ctx, 100, 10, visit, &loop, &err), BL_CANCELLED);
    CHECK_INT(err.status, BL_CANCELLED);
    check_visits(&loop, 30);
    CHECK_INT(bl_ctx_check(ctx, &err), BL_CANCELLED);
    bl_ctx_free(ctx);
}

struct nest {
    unsigned inner;
};

static enum bl_status count_inner(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    (void)lane, (void)err;
    ((struct nest *)arg)->inner += (unsigned)(end - begin);
    return BL_OK;
}

static enum bl_status outer(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    (void)lane;
    for (size_t i = begin; i < end; i++) {
        const enum bl_status status = bl_parallel_for(NULL, 10, 3, count_inner, arg, err);
        if (status != BL_OK) return status;
    }
    return BL_OK;
}

TEST(loops_nest)
{
    struct nest nest = {0};
    CHECK_INT(bl_parallel_for(NULL, 5, 2, outer, &nest, NULL), BL_OK);
    CHECK_INT(nest.inner, 50);
}

TEST(no_context_means_no_quota_no_cancel_one_lane_and_no_progress)
{
    CHECK(bl_ctx_quota(NULL) == NULL);
    CHECK_INT(bl_ctx_check(NULL, NULL), BL_OK);
    CHECK_INT(bl_ctx_lanes(NULL), 1);
    CHECK(!bl_ctx_progress_due(NULL));
    bl_ctx_progress(NULL, NULL, 0);
}

TEST(a_context_belongs_to_its_quota)
{
    struct bl_quota quota;
    bl_quota_init(&quota, NULL, "memory", 0);
    struct bl_ctx *ctx = bl_ctx_new(&quota);
    REQUIRE(ctx != NULL);
    CHECK(bl_ctx_quota(ctx) == &quota);
    CHECK_INT(bl_ctx_lanes(ctx), 1);
    CHECK_INT(bl_ctx_check(ctx, NULL), BL_OK);
    CHECK(!bl_ctx_progress_due(ctx));
    bl_ctx_free(ctx);
    CHECK_INT(bl_quota_used(&quota), 0);
    bl_ctx_free(NULL);
    bl_quota_fail_nth(&quota, 1);
    CHECK(bl_ctx_new(&quota) == NULL);
}

TEST(the_first_reason_to_stop_stays)
{
    struct bl_ctx ctx;
    bl_ctx_init(&ctx, NULL);
    bl_ctx_stop(&ctx, BL_TIMEOUT);
    bl_ctx_cancel(&ctx);
    CHECK_INT(bl_ctx_check(&ctx, NULL), BL_TIMEOUT);
}

static struct {
    unsigned calls;
    size_t count;
} seen;

static void listen(struct bl_ctx *ctx, const struct bl_field *fields, size_t count)
{
    (void)ctx, (void)fields;
    seen.calls++;
    seen.count = count;
}

TEST(progress_is_sent_when_it_is_due_and_dropped_otherwise)
{
    struct bl_ctx ctx;
    struct bl_field fields[20];
    for (int i = 0; i < 20; i++) fields[i] = (struct bl_field){.key = "step", .type = BL_FIELD_INT, .value.i = 1};
    bl_ctx_init(&ctx, NULL);
    ctx.progress = listen;
    ctx.progress_distance_ns = UINT64_C(3600) * 1000000000;
    CHECK(bl_ctx_progress_due(&ctx));
    bl_ctx_progress(&ctx, fields, 20);
    CHECK_INT(seen.calls, 1);
    CHECK_INT(seen.count, 16);
    CHECK(!bl_ctx_progress_due(&ctx));
    bl_ctx_progress(&ctx, fields, 1);
    CHECK_INT(seen.calls, 1);
    ctx.progress_next_ns = bl_now_ns();
    bl_ctx_progress(&ctx, fields, 1);
    CHECK_INT(seen.calls, 2);
}

/* An OS process could not pass it on: the VM would take it for a broken one, and end it. */
TEST(progress_that_breaks_the_rules_is_dropped)
{
    struct bl_ctx ctx;
    const struct bl_field_term one = {.data = "a\1", .len = 2}, empty = {.data = "", .len = 0},
                               large = {.data = "a\1", .len = BL_FIELD_TERM_MOST + 1};
    const struct bl_field good[] = {{.key = "Max force (eV/\\)", .type = BL_FIELD_FLOAT},
                                    {.key = "exactly_23_characters_x", .type = BL_FIELD_TERM, .value.term = &one}};
    const struct bl_field bad[] = {{.key = NULL, .type = BL_FIELD_INT},
                                   {.key = "", .type = BL_FIELD_INT},
                                   {.key = "a_key_of_24_characters_x", .type = BL_FIELD_INT},
                                   {.key = "\xC3\xA9", .type = BL_FIELD_INT},
                                   {.key = "t", .type = BL_FIELD_TERM, .value.term = &empty},
                                   {.key = "t", .type = BL_FIELD_TERM, .value.term = &large}};
    const struct bl_field two_terms[] = {good[1], good[1]};
    bl_ctx_init(&ctx, NULL);
    ctx.progress = listen;
    seen.calls = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) bl_ctx_progress(&ctx, &bad[i], 1);
    bl_ctx_progress(&ctx, two_terms, 2);
    CHECK_INT(seen.calls, 0);
    bl_ctx_progress(&ctx, good, 2);
    CHECK_INT(seen.calls, 1);
}
