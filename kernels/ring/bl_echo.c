/* SPDX-License-Identifier: Apache-2.0
 *
 * echo: replies with the message. `forward` (1) passes an inline message on to the port `out`, and replies nothing.
 */
#include "beamline/ring_handler.h"

BL_RING_HANDLER(bl_ring_echo)
{
    if (message->function == 1) {
        const int32_t taken = lane == 0 ? bl_ring_send(out, 0, 1, message->data, message->size) : 0;
        return taken == BL_RING_SEND_TOO_LONG ? BL_RING_INVALID : taken < 0 ? BL_RING_LIMIT : BL_RING_OK;
    }
    if (message->function != 0) return BL_RING_UNSUPPORTED;
    return bl_ring_reply(out, message->data, message->size, lane, lanes) ? BL_RING_OK : BL_RING_NO_MEMORY;
}
