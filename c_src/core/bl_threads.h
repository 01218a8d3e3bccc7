/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads that run jobs from one bounded queue per priority class, and help each
 * other in loops (bl_parallel_for).
 *
 * Order. The highest class goes first, first in first out inside a class. Ageing: a job at
 * the head of a lower class that has waited `ageing_ms` is overtaken at most
 * BL_OVERTAKE_LIMIT times more, then the longest waiting one starts. So a class is never
 * starved, and yet a job of a high class does not wait for a long queue of old low ones.
 *
 * Idle threads. One thread at a time spins for `spin_us`, the others park at once; an idle
 * pool uses no processor. Spins in vain use up a credit, and without it all park at once: work
 * that comes seldom is not slowed by a thread that holds a processor for nothing. Work that comes
 * soon after parking gives it back. A thread that finds itself on the processor of the last push
 * parks, too, because spinning there would only keep the pusher from running (measured: this halves the
 * time of a call into an idle pool); when that goes on at short intervals it moves to another
 * processor. A push wakes a parked thread only when no spinning one will see
 * the job.
 */
#ifndef BL_THREADS_H
#define BL_THREADS_H

#include "beamline/core.h"
#include "bl_list.h"

enum { BL_CLASSES = 4, BL_OVERTAKE_LIMIT = 16, BL_THREADS_MAX = 1024 };

struct bl_job {
    struct bl_link link;
    void (*run)(struct bl_job *job); /* the job may be gone when it returns */
    uint64_t queued_ns; /* set by the pusher, bl_now_ns() */
    uint8_t priority; /* 0 .. BL_CLASSES - 1, higher first */
    bool queued;      /* under the threads' lock */
};

struct bl_threads_config {
    unsigned threads, extra; /* at the start; stand-ins at most (bl_threads_stuck) */
    size_t stack_bytes, capacity; /* capacity: jobs waiting, all classes together */
    uint32_t ageing_ms, spin_us;
    char name[12];
};

struct bl_threads;

/* The threads block all signals. BL_NO_MEMORY: the system gives no memory or no thread. The struct is
 * not accounted: it may outlive everything else of its pool by the end of a thread. */
/* Starts one thread; bl_threads_fill the others. */
enum bl_status bl_threads_new(const struct bl_threads_config *config, struct bl_threads **out, struct bl_error *err);
/* Starts threads until there are as many as configured, or the system has none to give. Takes some
 * 60 us each, so it is called from where that does not matter. */
void bl_threads_fill(struct bl_threads *t);
/* BL_BUSY: full. BL_CLOSED. Otherwise `run` will be called unless the job is removed first. */
enum bl_status bl_threads_push(struct bl_threads *t, struct bl_job *job);
/* true: it was waiting and will not run. */
bool bl_threads_remove(struct bl_threads *t, struct bl_job *job);
/* No more jobs are accepted; what still waits is run; threads end when nothing is left.
 * `ended` (may be NULL) is called once, by the last thread. Does not wait. */
void bl_threads_close(struct bl_threads *t, void (*ended)(void *arg), void *arg);
/* Gives up the owner's reference, after bl_threads_close: the memory goes with the last thread.
 * Nobody may push or remove any more. */
void bl_threads_free(struct bl_threads *t);

/* A thread is stuck in a job that nobody waits for: another one stands in for it, up to `extra`. Called as
 * often as bl_threads_unstuck, in any order; after that the next thread that is free ends. */
void bl_threads_stuck(struct bl_threads *t);
void bl_threads_unstuck(struct bl_threads *t);

unsigned bl_threads_alive(struct bl_threads *t);  /* with stand-ins */
unsigned bl_threads_parked(struct bl_threads *t);
/* Jobs waiting; one relaxed load, for a job that asks whether it shall give way. */
uint32_t bl_threads_waiting(const struct bl_threads *t);
void bl_threads_queued(struct bl_threads *t, uint64_t out[BL_CLASSES]);

/* Sets ctx up so that its loops use these threads. */
void bl_threads_serve(struct bl_threads *t, struct bl_ctx *ctx);

#endif
