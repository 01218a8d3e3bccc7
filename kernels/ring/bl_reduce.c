/* SPDX-License-Identifier: Apache-2.0
 *
 * reduce: sum (0), smallest (1) or largest (2) of the doubles in the message's buffer, or in its bytes; of none: 0, inf, -inf.
 * Replies <<Result:64/float-little>>.
 *
 * Element i goes into partial i mod 256, the partials are put together in order: the same bits whatever the number of lanes.
 */
#include "beamline/ring_handler.h"

#define REDUCE_ROUNDS 256 /* of 256 elements between two looks at the stop word */

BL_RING_INNER double reduce_two(uint32_t how, double a, double b)
{
    if (how == 0) return a + b;
    return how == 1 ? (b < a ? b : a) : (b > a ? b : a);
}

BL_RING_INNER double reduce_at(const uint8_t *data, uint64_t i)
{
    double x;
    memcpy(&x, data + i * sizeof x, sizeof x); /* it may be unaligned */
    return x;
}

BL_RING_HANDLER(bl_ring_reduce)
{
    const uint32_t how = message->function;
    const uint8_t *data = (const uint8_t *)(message->buffer_count == 1 ? message->buffer[0].data : message->data);
    const uint64_t bytes = message->buffer_count == 1 ? message->buffer[0].size : message->size, count = bytes / sizeof(double);
    const double none = how == 0 ? 0.0 : how == 1 ? 1.0 / 0.0 : -1.0 / 0.0;
    if (how > 2) return BL_RING_UNSUPPORTED;
    if (bytes % sizeof(double) != 0 || message->buffer_count > 1) return BL_RING_INVALID;
    for (uint32_t k = lane; k < BL_RING_SCRATCH; k += lanes) out->scratch[k] = none;
    for (uint64_t from = 0; from < count; from += BL_RING_SCRATCH) {
        const uint64_t here = count - from < BL_RING_SCRATCH ? count - from : BL_RING_SCRATCH;
        for (uint64_t k = lane; k < here; k += lanes) out->scratch[k] = reduce_two(how, out->scratch[k], reduce_at(data, from + k));
        if (from / BL_RING_SCRATCH % REDUCE_ROUNDS == 0 && bl_ring_stopped(out, lane, lanes)) return BL_RING_STOPPED;
    }
    bl_ring_sync(lanes);
    if (lane != 0) return BL_RING_OK;
    double all = none;
    for (uint32_t k = 0; k < BL_RING_SCRATCH; k++) all = reduce_two(how, all, out->scratch[k]);
    memcpy(bl_ring_reply_space(out, sizeof all), &all, sizeof all);
    return BL_RING_OK;
}
