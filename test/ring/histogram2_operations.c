/* SPDX-License-Identifier: Apache-2.0
 *
 * The next version of histogram: 32 bins by the upper five bits. It takes a state of version 1, whose counts go into the
 * lower of each two bins. And a handler that misbehaves as its first byte says.
 */
#include <time.h>

#include "beamline/ring_handler.h"

enum { BINS = 32 };

BL_RING_HANDLER(histogram2)
{
    uint64_t *bin = (uint64_t *)state;
    const uint8_t *data = (const uint8_t *)message->data;
    if (message->function == 1) return bl_ring_reply(out, bin, BINS * sizeof *bin, lane, lanes) ? BL_RING_OK : BL_RING_NO_MEMORY;
    if (message->function != 0) return BL_RING_UNSUPPORTED;
    for (uint32_t b = lane; b < BINS; b += lanes)
        for (uint64_t i = 0; i < message->size; i++) bin[b] += data[i] >> 3 == b;
    return BL_RING_OK;
}

static int32_t from_version_1(uint32_t from_version, const void *from, uint64_t from_size, void *to, uint64_t to_size)
{
    const uint64_t *old = (const uint64_t *)from;
    uint64_t *bin = (uint64_t *)to;
    if (from_version != 1 || from_size != BINS / 2 * sizeof *old || to_size != BINS * sizeof *bin) return 1;
    for (int i = 0; i < BINS / 2; i++) bin[2 * i] = old[i];
    return 0;
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1000.0 + (double)t.tv_nsec / 1e6;
}

/* <<Ms:16/little>>: holds its thread so long. work (0) does not listen, listen (1) does; fail (2) fails the actor; count (3)
 * counts in the state, and replies the count */
BL_RING_HANDLER(unruly)
{
    const uint8_t *data = (const uint8_t *)message->data;
    if (message->function == 2) return BL_RING_FAILED;
    if (message->function == 3) {
        *(uint64_t *)state += 1;
        return bl_ring_reply(out, state, 8, lane, lanes) ? BL_RING_OK : BL_RING_NO_MEMORY;
    }
    if (message->size < 2) return BL_RING_INVALID;
    const double until = now_ms() + data[0] + 256.0 * data[1];
    while (now_ms() < until)
        if (message->function == 1 && bl_ring_stopped(out, lane, lanes)) return BL_RING_STOPPED;
    return BL_RING_OK;
}

BL_RING_EXPORT const struct bl_ring_handler_table *beamline_ring_handlers(void)
{
    static const char *const functions[] = {"add", "read", 0}, *const unruly_functions[] = {"work", "listen", "fail", "count", 0};
    static const struct bl_ring_handler handlers[] = {
        {.name = "histogram", .summary = "Counts bytes by their upper five bits.", .version = 2, .state_size = BINS * sizeof(uint64_t),
         .state_least = BINS * sizeof(uint64_t), .state_most = BINS * sizeof(uint64_t), .functions = functions, .handle = histogram2,
         .migrate = from_version_1},
        {.name = "unruly", .summary = "Naïve, for tests.", .version = 1, .state_size = 8, .state_least = 8, .state_most = 8,
         .functions = unruly_functions, .handle = unruly}};
    static const struct bl_ring_handler_table table = {.abi = BL_RING_ABI, .count = 2, .handlers = handlers};
    return &table;
}
