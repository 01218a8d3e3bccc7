/* SPDX-License-Identifier: Apache-2.0
 *
 * The host as the process of one device (doc/ring.md, "Devices in an OS process"): beamline_host ring SOCKET
 *
 * The kernel limits it as it limits a pool's. All system calls are allowed: handlers may be loaded at any time.
 */
#include <string.h>
#include <unistd.h>

#include "../ring/bl_far.h"
#include "bl_host.h"

enum { FILES = 64 + BL_HANDLERS_MOST /* wasmtime keeps one for each module */, STACK_BYTES = 8 << 20 };
#define OVERHEAD_BYTES ((uint64_t)512 << 20)

void bl_host_ring(const char *path)
{
    struct bl_far_end end;
    struct bl_error err = {.status = BL_OK};
    if (!bl_far_join(path, &end)) _exit(BL_HOST_EXIT_JOIN);
    const struct bl_far_setup *s = &end.setup;
    /* Not the addresses: a guest reserves many more than it uses. What is shared with the VM is counted there. */
    struct bl_host_limits limits = {.files = FILES, .data_bytes = s->memory_limit};
    const uint64_t stack = s->stack_bytes > 0 ? s->stack_bytes : STACK_BYTES;
    if (limits.data_bytes > 0) limits.data_bytes += OVERHEAD_BYTES + (4 * (uint64_t)s->threads + s->max_lost) * stack;
    (void)bl_host_limit(&limits, &err);
    bl_host_guests_init(s->memory_limit);
    bl_far_serve(&end, &bl_host_guests, &err);
    _exit(0); /* threads may be in the middle of something: nobody wants it any more */
}
