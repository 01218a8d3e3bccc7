/* SPDX-License-Identifier: Apache-2.0
 *
 * A handler of one's own, as doc/ring.md shows it: counts bytes by their upper four bits.
 *
 *     add (0)    any bytes; replies nothing
 *     read (1)   16 counts of 64 bits, little-endian
 */
#include "beamline/ring_handler.h"

enum { BINS = 16 };

BL_RING_HANDLER(histogram)
{
    uint64_t *bin = (uint64_t *)state;
    const uint8_t *data = (const uint8_t *)message->data;
    if (message->function == 1) return bl_ring_reply(out, bin, BINS * sizeof *bin, lane, lanes) ? BL_RING_OK : BL_RING_NO_MEMORY;
    if (message->function != 0) return BL_RING_UNSUPPORTED;
    for (uint32_t b = lane; b < BINS; b += lanes) /* each lane has bins of its own */
        for (uint64_t i = 0; i < message->size; i++) bin[b] += data[i] >> 4 == b;
    return BL_RING_OK;
}

BL_RING_EXPORT const struct bl_ring_handler_table *beamline_ring_handlers(void)
{
    static const char *const functions[] = {"add", "read", 0};
    static const struct bl_ring_handler handlers[] = {{.name = "histogram",
                                                       .summary = "Counts bytes by their upper four bits.",
                                                       .version = 1,
                                                       .state_size = BINS * sizeof(uint64_t),
                                                       .state_least = BINS * sizeof(uint64_t),
                                                       .state_most = BINS * sizeof(uint64_t),
                                                       .functions = functions,
                                                       .handle = histogram}};
    static const struct bl_ring_handler_table table = {.abi = BL_RING_ABI, .count = 1, .handlers = handlers};
    return &table;
}
