/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_loop.h"

#include "bl_ctx.h"

enum { CHUNKS_PER_LANE = 8 };

static uint64_t pack(uint32_t lo, uint32_t hi) { return (uint64_t)hi << 32 | lo; }
static uint32_t low(uint64_t range) { return (uint32_t)range; }
static uint32_t high(uint64_t range) { return (uint32_t)(range >> 32); }
static uint32_t left(uint64_t range) { return high(range) - low(range); }

static size_t choose_grain(size_t count, size_t grain, unsigned lanes)
{
    if (grain == 0) grain = count / ((size_t)lanes * CHUNKS_PER_LANE);
    if (grain == 0) grain = 1;
    const size_t least = count / (UINT32_MAX / 2) + 1; /* chunk numbers fit 32 bits */
    return grain > least ? grain : least;
}

void bl_loop_init(struct bl_loop *loop, struct bl_ctx *ctx, unsigned lanes, size_t count, size_t grain, bl_range_fn *body, void *arg)
{
    bl_link_init(&loop->link);
    loop->ctx = ctx;
    loop->body = body;
    loop->arg = arg;
    loop->count = count;
    loop->grain = choose_grain(count, grain, lanes);
    loop->chunks = (uint32_t)(count / loop->grain + (count % loop->grain != 0));
    loop->lanes = lanes;
    loop->helpers = 0;
    loop->failed = 0;
    loop->error = (struct bl_error){.status = BL_OK};
    for (unsigned i = 0; i < lanes; i++) {
        const uint32_t lo = (uint32_t)((uint64_t)loop->chunks * i / lanes);
        const uint32_t hi = (uint32_t)((uint64_t)loop->chunks * (i + 1) / lanes);
        loop->lane[i].range = pack(lo, hi);
        loop->lane[i].busy = false;
    }
}

/* Ranges carry no data of their own, they only divide chunk numbers: relaxed is enough. What the
 * bodies write is published by the lock and the helper count at the end of the loop. */
static bool take_own(struct bl_lane *lane, uint32_t *chunk)
{
    uint64_t range = __atomic_load_n(&lane->range, __ATOMIC_RELAXED);
    while (left(range) > 0) {
        if (__atomic_compare_exchange_n(&lane->range, &range, pack(low(range) + 1, high(range)), true,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            *chunk = low(range);
            return true;
        }
    }
    return false;
}

static struct bl_lane *richest(struct bl_loop *loop)
{
    struct bl_lane *best = NULL;
    uint32_t most = 0;
    for (unsigned i = 0; i < loop->lanes; i++) {
        const uint32_t n = left(__atomic_load_n(&loop->lane[i].range, __ATOMIC_RELAXED));
        if (n > most) {
            most = n;
            best = &loop->lane[i];
        }
    }
    return best;
}

static bool steal(struct bl_loop *loop, struct bl_lane *own, uint32_t *chunk)
{
    for (struct bl_lane *victim; (victim = richest(loop)) != NULL;) {
        uint64_t range = __atomic_load_n(&victim->range, __ATOMIC_RELAXED);
        if (left(range) == 0) continue;
        const uint32_t middle = low(range) + left(range) / 2;
        if (!__atomic_compare_exchange_n(&victim->range, &range, pack(low(range), middle), false,
                                         __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
        *chunk = middle;
        __atomic_store_n(&own->range, pack(middle + 1, high(range)), __ATOMIC_RELAXED);
        return true;
    }
    return false;
}

bool bl_loop_has_work(const struct bl_loop *loop)
{
    if (__atomic_load_n(&loop->failed, __ATOMIC_RELAXED)) return false;
    for (unsigned i = 0; i < loop->lanes; i++)
        if (left(__atomic_load_n(&loop->lane[i].range, __ATOMIC_RELAXED)) > 0) return true;
    return false;
}

static void record(struct bl_loop *loop, enum bl_status status, const struct bl_error *err)
{
    uint32_t none = 0;
    if (!__atomic_compare_exchange_n(&loop->failed, &none, 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return;
    loop->error = *err;
    loop->error.status = status; /* also where the body left *err alone */
}

void bl_loop_run(struct bl_loop *loop, unsigned lane, const uint32_t *leave)
{
    struct bl_lane *own = &loop->lane[lane];
    for (uint32_t chunk; !__atomic_load_n(&loop->failed, __ATOMIC_RELAXED);) {
        if (leave && __atomic_load_n(leave, __ATOMIC_RELAXED)) return;
        if (!take_own(own, &chunk) && !steal(loop, own, &chunk)) return;
        struct bl_error err = {.status = BL_OK};
        enum bl_status status = bl_ctx_check(loop->ctx, &err);
        if (status == BL_OK) {
            const size_t begin = (size_t)chunk * loop->grain;
            const size_t end = loop->count - begin > loop->grain ? begin + loop->grain : loop->count;
            status = loop->body(loop->arg, begin, end, lane, &err);
        }
        if (status != BL_OK) record(loop, status, &err);
    }
}
