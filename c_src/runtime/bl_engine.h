/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine behind a pool, as its skins see it (the C API, the VM, later the OS
 * process). doc/runtime.md tells the whole story; in short:
 *
 *   pool    threads, quota, statistics, one housekeeper thread that watches deadlines
 *   source  where tasks come from: one per scheduler thread of a VM, one for C. Closing it
 *           answers everything that came through it.
 *   owner   whose death cancels tasks: one per calling process of a source
 *   task    embedded by the skin in its own struct
 *
 * The answered word of a task (low 2 bits; the status asked for by others above):
 *
 *   OPEN ----------------------------------> ANSWERED    worker, deadline, cancel, owner, close
 *   OPEN -> SENDING -> OPEN                              worker, around a progress message
 *   SENDING -> SENDING + status -> ANSWERED              another asks meanwhile; the worker answers for it
 *
 * Whoever moves OPEN to ANSWERED answers; all others drop what they have. So there is exactly
 * one answer, and no progress message after it.
 */
#ifndef BL_ENGINE_H
#define BL_ENGINE_H

#include <pthread.h>

#include "beamline/runtime.h"
#include "bl_ctx.h"
#include "bl_list.h"
#include "bl_threads.h"

struct bl_task;

struct bl_task_ops {
    /* On a pool thread. Does the work, then calls bl_task_finish, once: with BL_OK `answer` is called from
     * in there, or not at all, so the result may lie on the stack of `run`. */
    void (*run)(struct bl_task *task);
    /* The same on the thread that submits it, if that neither waits nor works: only for pools with a remote. False:
     * not now, nothing has happened. May be NULL. */
    bool (*run_now)(struct bl_task *task);
    /* Sends. Exactly once, any thread; holds no lock. */
    void (*answer)(struct bl_task *task, enum bl_status status, const struct bl_error *err);
    /* Sends progress; pool thread, never after `answer`. */
    void (*progress)(struct bl_task *task, const struct bl_field *fields, size_t count);
    /* Nobody knows the task any more: free it. Any thread. */
    void (*release)(struct bl_task *task);
};

struct bl_owner {
    struct bl_link tasks; /* under the source's lock */
    struct bl_link dead;  /* in the source's list of dead ones */
    size_t count;         /* of unanswered tasks, and the bytes of their arguments */
    uint64_t bytes;
    void (*free)(struct bl_owner *owner); /* any thread; nobody knows it any more */
};

struct bl_task {
    struct bl_job job;
    const struct bl_task_ops *ops;
    struct bl_pool *pool;
    struct bl_source *source;
    struct bl_owner *owner; /* may be NULL */
    struct bl_task_options options;
    struct bl_ctx ctx;
    struct bl_quota quota;
    uint32_t refs, word, phase; /* atomic */
    uint64_t queue_bytes; /* of the pool's, not given back yet; atomic */
    uint64_t submitted_ns, started_ns, answered_ns, finished_ns, deadline_ns; /* 0: not yet */
    enum bl_status status; /* how it was answered */
    uint64_t key; /* its name, for cancel */
    uint64_t remote_id; /* its name in the host; 0: not there. Under the remote's lock */
    /* Under the source's lock. */
    bool linked;
    uint16_t slot_number;
    struct bl_link bucket, slot, owned;
};

enum { BL_BUCKETS = 1024, BL_SLOTS = 1024, BL_TICK_NS = 1000000, BL_TRACES = 256 };

/* The times of one task, on bl_now_ns's clock; 0: not yet, or never. */
struct bl_trace {
    uint64_t key, submitted_ns, started_ns, answered_ns, finished_ns;
    enum bl_priority priority;
    enum bl_status status;
};

struct bl_source {
    struct bl_pool *pool;
    struct bl_link link;  /* in the pool's sources, under the pool's lock */
    pthread_mutex_t lock; /* table, wheel and owners; held for a few dozen instructions */
    uint32_t refs;        /* atomic */
    bool closed;
    void *skin;           /* what the skin hangs on it, freed with the source */
    void (*close_skin)(void *skin); /* the source closes: give up its owners. May be NULL */
    void (*free_skin)(void *skin);  /* may be NULL */
    struct bl_link dead_owners;
    struct bl_link bucket[BL_BUCKETS]; /* unanswered tasks by key */
    /* Timing wheel, 1 ms a slot; a task of a later round stays in its slot until its tick. */
    struct bl_link slot[BL_SLOTS];
    uint64_t slots_used[BL_SLOTS / 64];
    uint64_t tick; /* all slots up to here were looked at */
    struct bl_trace trace[BL_TRACES]; /* of the last answered ones, by key; a later one takes the place of an older */
};

struct bl_pool {
    uint32_t refs; /* atomic */
    struct bl_pool_config config; /* every field filled in */
    struct bl_quota quota;
    struct bl_threads *threads;
    struct bl_source *own; /* of the C API; NULL under a skin */
    struct bl_remote *remote; /* atomic; NULL: this pool runs its tasks itself. Set once, before its first task */
    void *skin;            /* what the skin hangs on it, freed with the pool */
    void (*free_skin)(void *skin);
    pthread_mutex_t lock;  /* sources, housekeeper */
    pthread_cond_t wake;
    struct bl_link sources;
    uint64_t wake_at_ns; /* when the housekeeper wakes by itself */
    uint64_t seen;       /* tasks submitted when it last looked, */
    unsigned idle_rounds; /* and how often that was the number before */
    bool ending, closing, nudged;
    unsigned stuck; /* threads to be stood in for */
    /* Counters, atomic, relaxed. What submitting threads write is kept cache lines away from what the
     * pool's threads write. */
    char apart1[64];
    uint64_t queue_bytes, submitted;
    char apart2[64];
    uint64_t opaque_behind; /* of stats.behind: what max_behind bounds */
    struct bl_pool_stats stats; /* the rest */
};

/* ---- pools ---- */

static inline struct bl_remote *bl_pool_remote(const struct bl_pool *pool)
{
    return __atomic_load_n(&pool->remote, __ATOMIC_ACQUIRE);
}

/* Puts the defaults in and checks the rest. Done to what is complete it changes nothing. */
BL_API enum bl_status bl_pool_config_complete(const struct bl_pool_config *given, struct bl_pool_config *config, struct bl_error *err);
/* Without a source of its own. The caller holds one reference. */
BL_API enum bl_status bl_pool_open(const struct bl_pool_config *config, struct bl_pool **out, struct bl_error *err);
BL_API void bl_pool_ref(struct bl_pool *pool);
BL_API void bl_pool_unref(struct bl_pool *pool);
/* Threads end when their work did. Sources must be closed by their owners. */
BL_API void bl_pool_shut(struct bl_pool *pool);
/* Ends a pool in constant time: the housekeeper closes all its sources, whoever made them, and shuts it. Gives up
 * the caller's references to the pool and its sources. */
BL_API void bl_pool_end(struct bl_pool *pool);
/* Cancels the task of that name, whichever source it came from. */
BL_API bool bl_pool_cancel(struct bl_pool *pool, uint64_t key);
/* The times of the task of that name, if it is unanswered or among the last that were over. */
BL_API bool bl_pool_trace(struct bl_pool *pool, uint64_t key, struct bl_trace *out);
/* When a refused caller might try again: the queue's length times the mean run time. */
BL_API uint64_t bl_pool_retry_after_ms(struct bl_pool *pool);
/* Internal: makes sure that the housekeeper looks at `deadline_ns`. */
void bl_pool_watch(struct bl_pool *pool, uint64_t deadline_ns);
/* Internal: there is something to tidy up. */
void bl_pool_nudge(struct bl_pool *pool);
/* Internal: an opaque operation keeps a thread; the housekeeper starts a stand-in. */
void bl_pool_stuck(struct bl_pool *pool);

/* ---- sources ---- */

BL_API enum bl_status bl_source_new(struct bl_pool *pool, struct bl_source **out, struct bl_error *err);
/* Answers everything unanswered with BL_CLOSED and takes no more. Gives up the caller's reference.
 * Waits for nothing: what another thread is answering just now, that thread answers. */
BL_API void bl_source_close(struct bl_source *source);
/* Answers the task of that name with BL_CANCELLED, if it is here and unanswered. */
BL_API bool bl_source_cancel(struct bl_source *source, uint64_t key);
/* Takes the owner over: the housekeeper cancels its tasks and frees it. Constant time (unless the source is
 * closed: then the few tasks that others are answering just now are detached here). */
BL_API void bl_source_owner_died(struct bl_source *source, struct bl_owner *owner);
BL_API void bl_owner_init(struct bl_owner *owner, void (*free)(struct bl_owner *owner));
/* Its unanswered tasks; *bytes (may be NULL): of their arguments. */
BL_API size_t bl_source_owner_tasks(struct bl_source *source, struct bl_owner *owner, uint64_t *bytes);
/* Internal, for the housekeeper: answers what is overdue; the next time to look, UINT64_MAX: never. */
uint64_t bl_source_expire(struct bl_source *source, uint64_t now_ns);
/* Internal, for the housekeeper: cancels what belongs to dead owners. */
void bl_source_tidy(struct bl_source *source);
/* BL_CLOSED, or BL_BUSY: its owner has enough. */
enum bl_status bl_source_link(struct bl_source *source, struct bl_task *task);
/* Remembers the times of a task that finished behind. */
void bl_source_record(struct bl_source *source, const struct bl_task *task);
bool bl_source_trace(struct bl_source *source, uint64_t key, struct bl_trace *out);
/* true: this call took it out; the table's reference is the caller's now. */
bool bl_source_unlink(struct bl_source *source, struct bl_task *task);
BL_API void bl_source_ref(struct bl_source *source);
BL_API void bl_source_unref(struct bl_source *source);

/* ---- tasks ---- */

/* Fills the engine's part. The skin's own fields, name and owner are set before bl_task_start. */
BL_API void bl_task_init(struct bl_task *task, const struct bl_task_ops *ops, struct bl_source *source,
                         const struct bl_task_options *options);
/* BL_OK: will be answered (or is). Otherwise refused: `answer` was not and will not be called.
 * The caller's reference stays the caller's in both cases. */
BL_API enum bl_status bl_task_start(struct bl_task *task, struct bl_error *err);
/* Internal: its run begins now; false: it was answered already. */
bool bl_task_begin(struct bl_task *task);
/* The operation ended; err tells about a status other than BL_OK. */
BL_API void bl_task_finish(struct bl_task *task, enum bl_status status, struct bl_error *err);
/* Answers in place of the operation: deadline, cancel, owner's death. False: too late. */
BL_API bool bl_task_end_early(struct bl_task *task, enum bl_status status);
/* Internal: nobody has claimed its answer. */
bool bl_task_is_open(const struct bl_task *task);
void bl_task_ref(struct bl_task *task);
BL_API void bl_task_unref(struct bl_task *task);

#endif
