/* SPDX-License-Identifier: Apache-2.0
 *
 * triad: a[i] = b[i] + s * c[i] over doubles. The buffers of the message are a, b, c, of equal size; s is the state, and the
 * function `scale` (1) sets it: <<S:64/float-little>>. Replies with nothing (an empty binary) when a is written.
 */
#include "beamline/ring_handler.h"

#define TRIAD_CHUNK 32768 /* elements between two looks at the stop word: about 10 us */

BL_RING_HANDLER(bl_ring_triad)
{
    double s;
    if (message->function == 1) {
        if (message->size != sizeof s) return BL_RING_INVALID;
        if (lane == 0) {
            memcpy(state, message->data, sizeof s);
            bl_ring_reply_space(out, 0);
        }
        return BL_RING_OK;
    }
    if (message->function != 0) return BL_RING_UNSUPPORTED;
    if (message->buffer_count != 3) return BL_RING_INVALID;
    const uint64_t bytes = message->buffer[0].size, count = bytes / sizeof(double);
    if (bytes % sizeof(double) != 0 || message->buffer[1].size != bytes || message->buffer[2].size != bytes) return BL_RING_INVALID;
    for (int i = 0; i < 3; i++)
        if ((uintptr_t)message->buffer[i].data % sizeof(double) != 0) return BL_RING_INVALID; /* a view */
    double *__restrict__ a = (double *)message->buffer[0].data;
    const double *__restrict__ b = (const double *)message->buffer[1].data;
    const double *__restrict__ c = (const double *)message->buffer[2].data;
    memcpy(&s, state, sizeof s);
    for (uint64_t from = 0; from < count; from += TRIAD_CHUNK) {
        const uint64_t to = count - from < TRIAD_CHUNK ? count : from + TRIAD_CHUNK;
        for (uint64_t i = from + lane; i < to; i += lanes) a[i] = b[i] + s * c[i];
        if (bl_ring_stopped(out, lane, lanes)) return BL_RING_STOPPED;
    }
    bl_ring_sync(lanes);
    if (lane == 0) bl_ring_reply_space(out, 0);
    return BL_RING_OK;
}
