/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the host program (doc/runtime.md, "The OS process").
 */
#ifndef BL_HOST_H
#define BL_HOST_H

#include "beamline/core.h"

struct bl_host_limits {
    uint64_t memory_bytes; /* addresses of the process; 0: none */
    uint64_t data_bytes;   /* of memory of its own that it may write to; 0: none. It can be raised */
    uint64_t cpu_seconds;  /* 0: none */
    uint64_t files;
};

/* What the kernel keeps from now on: limits, no new privileges, no core files, death with the parent. */
enum bl_status bl_host_limit(const struct bl_host_limits *limits, struct bl_error *err);
/* So much more than data_bytes. */
void bl_host_more_data(uint64_t bytes);
/* Allows only the system calls that computing needs. False: libseccomp is not here, or the kernel has none. */
bool bl_host_sandbox(void);

enum { BL_HOST_EXIT_JOIN = 3, BL_HOST_EXIT_CONFIG = 4 };
/* Serves one device of the part ring; does not return. */
void bl_host_ring(const char *path) __attribute__((noreturn));
extern const struct bl_far_guests bl_host_guests;
/* Before the first module: what a device's actors may have in all; 0: no limit. */
void bl_host_guests_init(uint64_t memory_limit);

#endif
