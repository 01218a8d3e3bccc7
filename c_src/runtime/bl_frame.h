/* SPDX-License-Identifier: Apache-2.0
 *
 * The frames between a pool in the VM and its OS process (doc/runtime.md, "The OS process"). Both ends are built
 * together and run on one machine, so numbers are in its byte order.
 *
 *      0        4      5       6       8        16       24
 *      | length | type | class | status | id     | total  | body: `length` bytes ...
 *
 * What the host sends is not trusted: every length is checked before it is used, and the first frame that breaks
 * a rule ends the host.
 */
#ifndef BL_FRAME_H
#define BL_FRAME_H

#include "beamline/runtime.h"
#include "beamline/term.h"

enum bl_frame_type {
    BL_FRAME_JOIN = 1, /* host, first on each socket: id = 0 data, 1 control; body = version */
    BL_FRAME_CONFIG,   /* VM, data: body = the pool's configuration, a term */
    BL_FRAME_HELLO,    /* host, data: id = tasks it takes at a time; body = its operations, a term. Or status and error */
    BL_FRAME_TASK,     /* VM, data: id, class, total = bytes of the argument; body = struct bl_frame_task and as much of it */
    BL_FRAME_DATA,     /* both, data: the next bytes of an argument, of an answer */
    BL_FRAME_ANSWER,   /* host, data: status; BL_OK: total = bytes of the term, body = as much of it; else body = struct bl_error */
    BL_FRAME_PROGRESS, /* host, data: body = struct bl_frame_field, `total` of them, then the bytes of a term among them */
    BL_FRAME_PING,     /* VM, control: id = a number */
    BL_FRAME_PONG,     /* host, control: the same number; body = struct bl_frame_pong */
    BL_FRAME_CANCEL,   /* VM, control: id */
};

struct bl_frame {
    uint32_t length;
    uint8_t type, class;
    uint16_t status;
    uint64_t id, total;
};

enum {
    BL_FRAME_CHUNK = 256 * 1024, /* bytes of a body, at most */
    BL_FRAME_OP_NAME = 64,
    BL_FRAME_FIELDS = 16,
    BL_FRAME_WINDOW = 256,               /* credit: tasks in the host at a time, at most */
    BL_FRAME_WINDOW_BYTES = 64 << 20,    /* and bytes of their arguments, but for a single task */
    BL_FRAME_SEND_TIMEOUT_S = 5,
};
/* Of an answer. */
#define BL_FRAME_ANSWER_MOST (UINT64_C(1) << 30)

struct bl_frame_task {
    char op[BL_FRAME_OP_NAME];
    uint64_t memory_limit, fail_nth;
    uint32_t progress_ms, each; /* not 0: the argument is a list of arguments */
};

struct bl_frame_field {
    char key[BL_FIELD_KEY_MOST + 1];
    uint64_t type; /* of struct bl_field */
    union {
        int64_t i; /* of a term: its length */
        double f;
    } value;
};

struct bl_frame_pong {
    uint64_t memory_bytes, memory_peak_bytes, running, behind, queued, threads, sandbox;
};

/* Whole or not at all: false when the other end is gone, or took nothing for BL_FRAME_SEND_TIMEOUT_S. `body` may lie
 * in several spans, of which the first `skip` bytes are left out. One frame at a time per socket: the caller's lock. */
BL_API bool bl_frame_send(int fd, const struct bl_frame *frame, const struct bl_span *body, size_t spans, size_t skip);
/* Without waiting; false when the socket is full, too. Only for frames without a body. */
BL_API bool bl_frame_send_now(int fd, const struct bl_frame *frame);

/* Waits for `len` bytes, past signals. False at the end of the stream and on errors. */
BL_API bool bl_frame_receive(int fd, void *out, size_t len);

/* Reading: a buffer in front of a socket. */
struct bl_frame_reader {
    int fd;
    size_t at, have;
    uint8_t buffer[64 * 1024];
};
BL_API void bl_frame_reader_init(struct bl_frame_reader *r, int fd);
/* True when a read would not have to ask the socket first. */
BL_API bool bl_frame_reader_has(const struct bl_frame_reader *r);
/* Waits for `len` bytes. False at the end of the stream and on errors. */
BL_API bool bl_frame_read(struct bl_frame_reader *r, void *out, size_t len);
BL_API bool bl_frame_skip(struct bl_frame_reader *r, size_t len);

/* Reads an error that came in a frame: the result is well-formed whatever came. */
BL_API void bl_frame_error(const struct bl_error *from, struct bl_error *to);

#endif
