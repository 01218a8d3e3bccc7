/* SPDX-License-Identifier: Apache-2.0
 *
 * The host as the process of one device (doc/ring.md, "Devices in an OS process"): beamline_host ring SOCKET
 *
 * The kernel limits it as it limits a pool's. All system calls are allowed: handlers may be loaded at any time.
 */
#include <malloc.h>
#include <string.h>
#include <unistd.h>

#include "../ring/bl_far.h"
#include "bl_host.h"

enum { FILES = 64, STACK_BYTES = 8 << 20 };
#define OVERHEAD_BYTES ((uint64_t)512 << 20)

void bl_host_ring(const char *path)
{
    struct bl_far_end end;
    struct bl_error err = {.status = BL_OK};
    if (!bl_far_join(path, &end)) _exit(BL_HOST_EXIT_JOIN);
    const struct bl_far_setup *s = &end.setup;
    struct bl_host_limits limits = {.files = FILES, .memory_bytes = s->memory_limit};
    /* Each arena of the allocator takes 64 MiB of addresses, and addresses are what the limit counts. */
    mallopt(M_ARENA_MAX, 2);
    const uint64_t stack = s->stack_bytes > 0 ? s->stack_bytes : STACK_BYTES;
    if (limits.memory_bytes > 0)
        limits.memory_bytes += OVERHEAD_BYTES + sizeof *end.memory + (4 * (uint64_t)s->threads + s->max_lost) * stack;
    (void)bl_host_limit(&limits, &err);
    bl_far_serve(&end, &err);
    _exit(0); /* threads may be in the middle of something: nobody wants it any more */
}
