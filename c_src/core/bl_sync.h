/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting: a spin hint, sleeping on a word (Linux futex), conditions on the clock of bl_now_ns.
 */
#ifndef BL_SYNC_H
#define BL_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "beamline/core.h"

static inline void bl_spin_hint(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Sleeps while *word == value. May return early: test again. */
void bl_word_wait(uint32_t *word, uint32_t value);
void bl_word_wake(uint32_t *word, int count);

/* A condition whose waits end by bl_now_ns's clock. */
void bl_cond_init(pthread_cond_t *cond);
/* False: it is `until_ns`, and nobody signalled. UINT64_MAX: never. May return early: test again. */
bool bl_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns);

/* The processor that the caller runs on; -1: unknown. A few nanoseconds. */
int bl_cpu(void);
/* Moves the calling thread to another of the processors that it may use, and leaves its affinity as it
 * was. False when there is no other one. */
bool bl_thread_leave_cpu(void);

/* Processor time of the calling thread. Some 200 ns. */
BL_API uint64_t bl_thread_cpu_ns(void);
/* What the calling thread has done so far: its processor time, and how often it went to sleep by itself. Half a microsecond. */
struct bl_effort {
    uint64_t cpu_ns;
    long sleeps;
};
BL_API struct bl_effort bl_thread_effort(void);

/* A detached thread with all signals blocked, but those of its own faults, so that they go to the host's own threads.
 * stack_bytes 0: the system's default. Returns 0 or an errno. */
BL_API int bl_thread_start(void *(*main)(void *), void *arg, unsigned long stack_bytes);
/* Names the calling thread, for debuggers; at most 15 bytes; empty: no name. */
BL_API void bl_thread_name(const char *name);

#endif
