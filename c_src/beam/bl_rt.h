/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the runtime's skin: one shared object that is a port driver and a NIF library.
 *
 *   bl_runtime_drv.c    the port driver: a port is a pool, and lives as long as its process
 *   bl_runtime_nif.c    the NIFs: a task goes in, a cancel goes in
 *   bl_rt_pool.c        the table of pools; their sources, one per scheduler thread
 *   bl_rt_task.c        one task: from the caller's terms to the answer's
 *   bl_rt_owner.c       calling processes and their monitors
 *   bl_rt_entry.c       what an entry costs, in a counting build
 *   bl_nif_term.c       terms of an answer
 *
 * Pools are named by {Generation, Slot} packed into one number, never by a pointer.
 */
#ifndef BL_RT_H
#define BL_RT_H

#include <erl_nif.h>

#include "beamline/op.h"
#include "bl_engine.h"
#include "bl_op_set.h"
#include "bl_remote.h"

/* ---- bl_rt_pool.c ---- */

struct rt_owners;
struct rt_task;

struct rt_pool {
    struct bl_pool *engine;
    struct bl_op_set *ops;
    int new_atoms; /* atomic: how many atoms that the VM does not know answers of an OS process may still make */
    unsigned slot, source_count;
    struct bl_source *source[];
};

/* Skin of a source. */
struct rt_source {
    struct bl_source *engine;
    struct rt_owners *owners;
    pthread_mutex_t lock;  /* spare tasks */
    struct rt_task *spare; /* blocks to be used again */
    unsigned spare_count;
    bool closed; /* keeps no more blocks */
};

enum bl_status rt_pool_create(const struct bl_pool_config *config, struct rt_pool **out, uint64_t *id, struct bl_error *err);
/* From the port's closing; constant time. What is in flight is answered by the pool's housekeeper. */
void rt_pool_end(struct rt_pool *pool);
/* The pool of that name, which stays until rt_pool_leave. NULL: gone. */
struct rt_pool *rt_pool_enter(uint64_t id);
void rt_pool_leave(struct rt_pool *pool);
/* The source of a calling process: always the same. */
struct rt_source *rt_pool_source(struct rt_pool *pool, const ErlNifPid *caller);

/* ---- bl_rt_owner.c ---- */

bool rt_owners_load(ErlNifEnv *env);
struct rt_owners *rt_owners_new(struct bl_source *source, struct bl_error *err);
/* The source closes: gives up all owners. */
void rt_owners_close(struct rt_owners *owners);
void rt_owners_free(struct rt_owners *owners);
/* The caller's entry, monitored, with a reference: it stays, also in the table, until rt_owners_done. NULL: the process is dying. */
struct bl_owner *rt_owners_get(struct rt_owners *owners, ErlNifEnv *env, const ErlNifPid *pid);
void rt_owners_done(struct bl_owner *owner);

/* ---- bl_rt_task.c ---- */

/* The NIF that this thread is in; NULL on threads that are not the VM's. */
extern __thread ErlNifEnv *rt_calling;

void rt_tasks_load(ErlNifEnv *env);
/* What the caller gave, in its own environment. */
struct rt_request {
    ErlNifEnv *env;
    ErlNifPid caller;
    ERL_NIF_TERM ref;
    const char *op_name;
    const struct bl_op *op; /* NULL in a pool with a remote, which alone knows its operations */
    struct bl_task_options options;
    uint64_t fail_nth;
    bool each; /* the argument is a list of arguments */
};
/* `args`: a small term. BL_LIMIT with nothing in err: not small enough, give it as pieces. Otherwise BL_OK, or
 * refused with the reason in err. */
enum bl_status rt_task_start_small(struct rt_pool *pool, struct rt_request *request, ERL_NIF_TERM args, struct bl_error *err);
/* `pieces`: a list of binaries that are the argument in external format; what they pin beyond their own bytes. */
enum bl_status rt_task_start_pieces(struct rt_pool *pool, struct rt_request *request, ERL_NIF_TERM pieces, uint64_t pinned,
                                    struct bl_error *err);
/* For a pool whose tasks run in an OS process. */
extern const struct bl_remote_ops rt_remote_ops;
/* Processes with unanswered tasks, [{Pid, Tasks, Bytes}], at most so many of each source. */
ERL_NIF_TERM rt_owners_list(struct rt_owners *owners, ErlNifEnv *env, ERL_NIF_TERM tail);
/* Its times; false: it is forgotten. */
bool rt_task_trace(struct rt_pool *pool, ERL_NIF_TERM ref, struct bl_trace *out);
/* Cancels by the caller's reference. */
bool rt_task_cancel(struct rt_pool *pool, ERL_NIF_TERM ref);
/* Frees the source's spare blocks, and from now on every block at once. */
void rt_tasks_free_spare(struct rt_source *source);

#endif
