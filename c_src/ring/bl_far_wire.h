/* SPDX-License-Identifier: Apache-2.0
 *
 * What the VM and the process of a device say to each other (doc/ring.md, "Devices in an OS process"). Both ends are built
 * together and run on one machine, so numbers are in its byte order. What the process says is not trusted.
 *
 * A record's head is one line. A body of at most BL_FAR_INLINE bytes is in it; a longer one follows, as much as
 * BL_LINES_BODY, and the rest in DATA records right behind.
 */
#ifndef BL_FAR_WIRE_H
#define BL_FAR_WIRE_H

#include "bl_lines.h"
#include "bl_ring.h"

enum { BL_FAR_INLINE = BL_RING_PAYLOAD };
#define BL_FAR_BODY_MOST (UINT64_C(1) << 30) /* of one record with its DATA */

/* The first bytes through the socket: the host's version, and the answer, with the descriptors of the memory and of the buffers'. */
enum { BL_FAR_VERSION = 32 };
struct bl_far_setup {
    uint64_t memory_limit, stack_bytes, max_actors;
    uint32_t threads, max_lost, spin_us, reserved;
};
/* After that single bytes. */
enum { BL_FAR_WAKE = 'w', BL_FAR_PING = 'i', BL_FAR_PONG = 'o' };

/* The shared memory. */
struct bl_far_memory {
    struct bl_lines_shared to_host, to_vm;
};

enum bl_far_kind {
    BL_FAR_DATA = 1,  /* both: the next `total` bytes of the record before */
    /* VM to host; each is answered once, by its token */
    BL_FAR_MESSAGE,   /* actor, function, deadline, stamp, flags: BL_MESSAGE_*; body, of BUFFERS up to three struct bl_far_use */
    BL_FAR_START,     /* actor; body: struct bl_far_start, then the state */
    BL_FAR_CONTROL,   /* actor, function: enum bl_control_kind, or BL_FAR_KILL, BL_FAR_INFO */
    BL_FAR_ROUTE,     /* actor, function: port, deadline: to which actor, flags: BL_FAR_CONNECT */
    BL_FAR_SUBSCRIBE, /* actor, function: subscriber, deadline: window */
    BL_FAR_UNSUBSCRIBE, /* actor, function */
    BL_FAR_CREDIT,    /* actor, function: subscriber, deadline: how many more */
    BL_FAR_LOAD,      /* body: path */
    BL_FAR_LOAD_GUESTS, /* body: a module, for struct bl_far_guests */
    BL_FAR_STATS,     /* of the device */
    BL_FAR_BUFFER,    /* function: buffer, deadline: where it begins in the second file, stamp: its size */
    BL_FAR_UNBUFFER,  /* function: no message will name it any more */
    /* host to VM */
    BL_FAR_UP,        /* it has a device */
    BL_FAR_HANDLER,   /* one that it knows now; body: struct bl_far_handler, then names, each ending with a zero */
    BL_FAR_ANSWER,    /* token; status; body: the reply, or struct bl_error. START, UPGRADE, CHECKPOINT: function is the version; stamp */
    BL_FAR_UNDELIVERED, /* actor, function: a message of another actor was not handled; body: struct bl_error */
    BL_FAR_RESULT,    /* actor, function: subscriber; flags: BL_FAR_LAST of a batch; body */
    BL_FAR_FAILED,    /* actor; body: struct bl_error */
    BL_FAR_ENDED,     /* actor: it has answered everything */
    BL_FAR_DYING,     /* body: struct bl_error: it ends itself now, and says why */
    BL_FAR_KINDS
};
enum { BL_FAR_KILL = 16, BL_FAR_INFO };
enum { BL_FAR_CONNECT = 0x100, BL_FAR_LAST = 0x100 };

struct bl_far_head {
    uint8_t kind, status;
    uint16_t flags;
    uint32_t total; /* bytes of the body */
    uint64_t token; /* flight: generation << 32 | index */
    uint32_t actor, function;
    uint64_t deadline, stamp;
    uint8_t bytes[BL_FAR_INLINE];
};
_Static_assert(sizeof(struct bl_far_head) == BL_LINE, "a head is a line");

/* Bytes that follow a record's head. */
static inline size_t bl_far_behind(const struct bl_far_head *h)
{
    if (h->kind != BL_FAR_DATA && h->total <= BL_FAR_INLINE) return 0;
    return h->total < BL_LINES_BODY ? h->total : BL_LINES_BODY;
}

struct bl_far_start {
    char handler[64];
    uint64_t state_size, queue, stamp;
    uint32_t from_version, priority, from_checkpoint, again; /* again: it takes what size it had */
};

/* What a message uses: a buffer or a view of it. */
struct bl_far_use {
    uint32_t buffer, reserved;
    uint64_t offset, size;
};
_Static_assert(sizeof(struct bl_far_use) == BL_FAR_INLINE, "one of them lies in the head");

struct bl_far_handler {
    char name[64];
    uint64_t state_size;
    uint32_t version, writes, functions, ports; /* the names: summary, functions, ports */
    uint64_t sandboxed;
};
enum { BL_FAR_NAMES = 256, BL_FAR_NAME = 256, BL_FAR_NAMES_BYTES = 32768 };

#endif
