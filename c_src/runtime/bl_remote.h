/* SPDX-License-Identifier: Apache-2.0
 *
 * The VM's end of an OS process: a pool with a remote runs nothing itself. Its threads send tasks to the host, one
 * receiver thread per host takes the answers. Everything else (names, deadlines, owners, bounds, the answered word) is
 * the engine's, as in any pool.
 *
 *     DOWN -> LISTENING -> UP -> BROKEN -> DOWN
 *
 *   LISTENING  a socket waits for the host, which the Erlang side starts
 *   UP         the host has joined with both sockets
 *   BROKEN     the stream ended, or broke a rule, or the heartbeat was missed: the host is killed. Waits a moment for
 *              the Erlang side to say how it ended (bl_remote_exited), then answers what is in flight
 *
 * Tasks that were not sent yet stay queued and go to the next host.
 */
#ifndef BL_REMOTE_H
#define BL_REMOTE_H

#include "bl_engine.h"
#include "bl_frame.h"

struct bl_remote;

enum bl_remote_state { BL_REMOTE_DOWN, BL_REMOTE_LISTENING, BL_REMOTE_UP, BL_REMOTE_BROKEN };

struct bl_remote_info {
    enum bl_remote_state state;
    uint64_t pid, starts, in_host, in_host_bytes;
    struct bl_frame_pong host;
    char why[160]; /* the last end; empty: none yet */
};

/* What a skin does for tasks of such a pool. */
struct bl_remote_ops {
    /* Where an answer of so many bytes goes; stays the skin's. NULL: err says why. Receiver thread. */
    uint8_t *(*space)(struct bl_task *task, size_t bytes, struct bl_error *err);
    /* The answer is complete in that space (BL_OK), or it is an error. Calls bl_task_finish. Any thread. */
    void (*arrived)(struct bl_task *task, enum bl_status status, struct bl_error *err);
};

/* Before the pool's first task. `config` is copied: the host's configuration, a term with version byte. */
BL_API enum bl_status bl_remote_new(struct bl_pool *pool, const struct bl_span *config, uint32_t heartbeat_ms,
                                    const struct bl_remote_ops *ops, struct bl_error *err);
void bl_remote_free(struct bl_remote *remote);
/* Waits for a host at a new socket, whose path it gives. BL_BUSY: the last host is not forgotten yet. */
BL_API enum bl_status bl_remote_listen(struct bl_remote *remote, char *path, size_t size, struct bl_error *err);
/* The host's process has ended, or could not be started. */
BL_API void bl_remote_exited(struct bl_remote *remote, const char *why);
/* The names of its operations, a term; false: never heard. */
BL_API bool bl_remote_operations(struct bl_remote *remote, struct bl_writer *w);
BL_API void bl_remote_info(struct bl_remote *remote, struct bl_remote_info *info);

/* For the skin's `run`: sends the task, or waits until it can; the rest comes through bl_remote_ops. */
BL_API void bl_remote_run(struct bl_task *task, const struct bl_frame_task *head, const struct bl_span *args, size_t spans);

/* The same without waiting, if it is small and the host can take it at once; false: not now, nothing has happened. */
BL_API bool bl_remote_run_now(struct bl_task *task, const struct bl_frame_task *head, const struct bl_span *args, size_t spans);
/* Internal, for the engine: nobody waits for it any more. Any thread, short. */
void bl_remote_cancel(struct bl_task *task);
/* Internal, for admission: tasks in the host beyond those that it runs, about. */
uint64_t bl_remote_waiting(struct bl_remote *remote);
/* Internal, for the housekeeper: heartbeat. Returns when to look again. */
uint64_t bl_remote_tick(struct bl_remote *remote, uint64_t now_ns);
/* Internal: the pool ends; the host is told by the end of its sockets. */
void bl_remote_close(struct bl_remote *remote);

#endif
