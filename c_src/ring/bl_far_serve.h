/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the process of a device:
 *
 *   bl_far_serve.c    the beginning, the main thread's loop, writing
 *   bl_far_do.c       what the VM asks for, and what the device tells
 *   bl_far_later.c    what runs code of guests outside of messages, and what has to wait for that
 *   bl_far_lend.c     buffers that the VM has made
 */
#ifndef BL_FAR_SERVE_H
#define BL_FAR_SERVE_H

#include "bl_far.h"

/* The one device of this process. */
struct bl_far_process {
    struct bl_far_end *far;
    const struct bl_far_guests *guests; /* NULL: it takes none */
    struct bl_device *device;
    struct bl_lines in; /* the main thread's */
    struct bl_lines out;
    pthread_mutex_t out_lock; /* guards `out` */
    pthread_mutex_t lock;     /* guards the table of actors and their subscribers */
    struct bl_far_end_actor **actor;
    uint32_t room;
    struct bl_ring_buffer *buffer[BL_FAR_BUFFERS_MOST]; /* the main thread's; NULL: free */
};
extern struct bl_far_process bl_far_process;
extern const struct bl_device_host bl_far_device_host;

/* One record with its body; many go between _begin and _end without another between them. */
void bl_far_end_put(struct bl_far_head *head, const void *body, uint64_t size);
void bl_far_end_begin(void);
void bl_far_end_add(struct bl_far_head *head, const void *body, uint64_t size);
void bl_far_end_end(void);
void bl_far_end_put_error(struct bl_far_head *head, const struct bl_error *err);
/* err NULL: it is done. */
void bl_far_end_answer(uint64_t token, const struct bl_error *err, uint32_t number);
/* Nothing of this process can be trusted, or it holds what it will not give back. */
void bl_far_end_die(const struct bl_error *err) __attribute__((noreturn));

/* Does what a record says; takes the body over, which is NULL when it is in the head. The main thread, and the one below. */
void bl_far_end_do(const struct bl_far_head *h, uint8_t *body);
/* The main thread. True: another thread does it, and has taken the body over. */
bool bl_far_end_later(const struct bl_far_head *h, uint8_t *body);
/* BUFFER, UNBUFFER: takes it in, gives it up. The main thread; messages with it come and go in between. */
void bl_far_end_lend(const struct bl_far_head *h);
/* Fills the buffers of a message in, with a use of each; a BODY or what its head holds says which. */
enum bl_status bl_far_end_uses(const struct bl_far_head *h, const uint8_t *body, struct bl_slot *out, struct bl_error *err);
/* Gives them back. */
void bl_far_end_unuse(const struct bl_slot *slot);
/* Tells the VM of handlers, from that one on. */
void bl_far_end_tell_handlers(size_t from);

#endif
