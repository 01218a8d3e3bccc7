/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the VM's end of an OS process:
 *
 *   bl_remote.c        tasks go out, cancels and heartbeats too; the surface
 *   bl_remote_link.c   the receiver thread: a host joins, speaks, ends
 */
#ifndef BL_REMOTE_LINK_H
#define BL_REMOTE_LINK_H

#include "bl_peer.h"
#include "bl_remote.h"

enum { BL_REMOTE_LOOK_MS = 20 }; /* who waits looks this often whether it is still of use */

/* A task in the host. */
struct bl_slot {
    struct bl_task *task; /* NULL: free. With a reference */
    uint32_t generation;
    bool abandoned;       /* nobody waits for it, */
    bool cancelled;       /* and the host was told */
    bool answering;
    uint8_t *space;       /* where its answer goes; NULL with `answering`: nowhere, it is an error */
    uint64_t total, have;
    struct bl_error error;
};

struct bl_remote {
    struct bl_pool *pool;
    const struct bl_remote_ops *ops;
    struct bl_span config;
    uint64_t heartbeat_ns;
    pthread_mutex_t lock; /* everything below, but for what is said to be the receiver's */
    pthread_cond_t changed;
    enum bl_remote_state state;
    struct bl_slot slot[BL_FRAME_WINDOW];
    unsigned window, in_host, abandoned; /* abandoned: in the host, but nobody waits for them */
    uint64_t in_host_bytes, starts, pid, ping, pong, cancelled_ns;
    struct bl_silence silence; /* without a PONG */
    struct bl_frame_pong host;
    char why[160];    /* the last end, for people */
    char exited[128]; /* what the Erlang side said about this one; empty: nothing yet */
    char broken[160]; /* what the C side says; empty: nothing is wrong */
    uint8_t *operations; /* the host's, a term */
    size_t operations_len;
    int data, control, pidfd, listening; /* -1: none. Opened and closed by the receiver; shut down by anybody, under `lock` */
    char path[108];
    pthread_mutex_t data_lock; /* one frame at a time */
    uint64_t link;             /* the next one after each host's end: written with both locks, read with one */
    struct bl_frame_reader reader; /* the receiver's */
};

/* Ends the host with a reason, of which the first stays. Lock held. The receiver does the rest. */
void bl_remote_break(struct bl_remote *r, const char *why);
void bl_remote_break_now(struct bl_remote *r, const char *why); /* takes the lock */
/* The reason that is none of ours: how the process ended says more. */
extern const char bl_remote_closed[];
/* NULL: the host made it up. The receiver's, or with the lock held. */
struct bl_slot *bl_remote_slot(struct bl_remote *r, uint64_t id);
/* Waits for a change. Lock held. */
void bl_remote_wait(struct bl_remote *r, unsigned ms);
/* The thread of one host, from listening to its end; the remote's pool with a reference. */
void *bl_remote_receiver(void *remote);
/* Closes what listens, and removes its path. Lock held. */
void bl_remote_stop_listening(struct bl_remote *r);

#endif
