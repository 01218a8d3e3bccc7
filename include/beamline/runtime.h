/* SPDX-License-Identifier: Apache-2.0
 *
 * The task runtime for C programs: a pool of threads with bounded queues, priorities,
 * deadlines, quotas, progress and cancel. The Erlang face (beamline_runtime) stands on
 * the same engine.
 */
#ifndef BEAMLINE_RUNTIME_H
#define BEAMLINE_RUNTIME_H

#include "beamline/core.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bl_priority { BL_LOW = 0, BL_NORMAL, BL_HIGH, BL_CRITICAL, BL_PRIORITY_COUNT };

#define BL_NO_TIMEOUT UINT64_MAX

struct bl_pool_config {
    unsigned threads;         /* 0: one per online CPU */
    size_t stack_bytes;       /* per thread; 0: 1 MiB */
    size_t max_queue;         /* tasks waiting; 0: 10,000 */
    uint64_t max_queue_bytes; /* argument bytes held by waiting and running tasks; 0: 1 GiB */
    uint64_t memory_limit;    /* bytes of all tasks together; 0: none */
    unsigned max_behind;      /* answered tasks whose opaque operation still runs; 0: as many as threads */
    size_t max_per_owner;     /* unanswered tasks of one calling process (of a VM); 0: any number */
    uint32_t ageing_ms;       /* a waiting task is overtaken at will for this long; 0: 100 */
    uint32_t spin_us;         /* an idle thread looks for work this long before it parks; 0: 50 */
    char name[12];            /* of the threads; may be empty */
};
/* All defaults. */
BL_API void bl_pool_config_init(struct bl_pool_config *config);

struct bl_pool;

/* BL_INVALID (a field out of range), BL_NO_MEMORY. */
BL_API enum bl_status bl_pool_new(const struct bl_pool_config *config, struct bl_pool **out, struct bl_error *err);
/* Closes: whatever is waiting or running is answered BL_CLOSED now, threads end as soon as
 * their operation notices. Does not wait; the memory goes when the last thread and task did. The
 * pool must not be used any more by any thread, except through tasks that are still held. */
BL_API void bl_pool_close(struct bl_pool *pool);

struct bl_task_options {
    enum bl_priority priority;
    uint64_t timeout_ms;    /* from submission, waiting included; BL_NO_TIMEOUT */
    uint64_t memory_limit;  /* bytes; 0: only the pool's */
    uint32_t progress_ms;   /* least distance of progress calls, at least 10; 0: none */
    bool opaque;            /* see BL_OP_OPAQUE */
    uint64_t argument_bytes; /* what the task's arguments hold, for admission */
};
/* normal, 60,000 ms, no limit of its own, no progress. */
BL_API void bl_task_options_init(struct bl_task_options *options);

/* A task in C: a function and what is called when it is over. */
struct bl_task_spec {
    enum bl_status (*run)(struct bl_ctx *ctx, void *arg, struct bl_error *err); /* pool thread */
    /* Called exactly once per task that was accepted, from any thread, with no lock held: status of
     * `run`, or BL_TIMEOUT, BL_CANCELLED, BL_CLOSED, and then `run` may still be going on. Must be short, and
     * must not close the pool. May be NULL. */
    void (*answer)(void *arg, enum bl_status status, const struct bl_error *err);
    /* Called from the thread that runs, never after `answer`. Must not close the pool. May be NULL. */
    void (*progress)(void *arg, const struct bl_field *fields, size_t count);
    /* Called exactly once, last, when nobody uses `arg` any more. May be NULL. */
    void (*release)(void *arg);
    void *arg;
};

struct bl_task;

/* BL_OK: the task will be answered exactly once. BL_BUSY (queue or bytes full), BL_CLOSED,
 * BL_NO_MEMORY: nothing was taken, none of the functions will be called.
 * `*out` (may be NULL) is a reference that must be given back with bl_task_release. */
BL_API enum bl_status bl_task_submit(struct bl_pool *pool, const struct bl_task_spec *spec,
                                     const struct bl_task_options *options, struct bl_task **out, struct bl_error *err);
/* True if this call answered it (with BL_CANCELLED); false if it was answered before. */
BL_API bool bl_task_cancel(struct bl_task *task);
/* Waits until answered, at most timeout_ms. Returns the answer, or BL_BUSY when it is not there yet. */
BL_API enum bl_status bl_task_wait(struct bl_task *task, uint64_t timeout_ms, struct bl_error *err);
BL_API void bl_task_release(struct bl_task *task);

struct bl_pool_stats {
    unsigned threads, parked;
    uint64_t queued[BL_PRIORITY_COUNT], running, behind, queue_bytes, memory_bytes, memory_peak_bytes;
    uint64_t submitted, completed, failed, cancelled, timed_out, closed;
    uint64_t refused_queue, refused_bytes, refused_behind, refused_memory, refused_owner;
    uint64_t wait_ns_sum, run_ns_sum; /* of started, of finished tasks */
    uint64_t wait_histogram[40], run_histogram[40]; /* bucket i: up to 2^i microseconds */
};
BL_API void bl_pool_stats(struct bl_pool *pool, struct bl_pool_stats *out);

#ifdef __cplusplus
}
#endif
#endif
