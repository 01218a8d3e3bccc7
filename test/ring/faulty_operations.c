/* SPDX-License-Identifier: Apache-2.0
 *
 * A handler that breaks the rules, for devices in an OS process. Its state is a count: count (0) adds one and replies it; crash
 * (1) writes to nowhere; exhaust (2) takes memory until it is given none; spin (3) never returns; leave (4) ends its process.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "beamline/ring_handler.h"

BL_RING_HANDLER(faulty)
{
    uint64_t *count = (uint64_t *)state;
    if (message->function == 0) {
        *count += 1;
        return bl_ring_reply(out, count, sizeof *count, lane, lanes) ? BL_RING_OK : BL_RING_NO_MEMORY;
    }
    if (message->function == 1) {
        signal(SIGSEGV, SIG_DFL); /* no report of a sanitizer: it is meant */
        *(volatile int *)0 = 1;
    }
    if (message->function == 2)
        for (int i = 0; i < 2048; i++) memset(malloc(1 << 20), 1, 1 << 20); /* 2 GiB, where nothing limits it */
    if (message->function == 3)
        for (volatile uint64_t i = 0;; i++) continue;
    if (message->function == 4) _Exit(9);
    return BL_RING_UNSUPPORTED;
}

BL_RING_EXPORT const struct bl_ring_handler_table *beamline_ring_handlers(void)
{
    static const char *const functions[] = {"count", "crash", "exhaust", "spin", "leave", 0};
    static const struct bl_ring_handler handlers[] = {
        {.name = "faulty", .summary = "For tests.", .version = 1, .state_size = 8, .state_least = 8, .state_most = 8,
         .functions = functions, .handle = faulty}};
    static const struct bl_ring_handler_table table = {.abi = BL_RING_ABI, .count = 1, .handlers = handlers};
    return &table;
}
