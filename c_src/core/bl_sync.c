/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bl_sync.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void bl_word_wait(uint32_t *word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }

void bl_word_wake(uint32_t *word, int count) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0); }

void bl_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

bool bl_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns)
{
    if (until_ns == UINT64_MAX) return pthread_cond_wait(cond, lock) == 0;
    const struct timespec at = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};
    return pthread_cond_timedwait(cond, lock, &at) != ETIMEDOUT;
}

void bl_thread_name(const char *name)
{
#ifdef __GLIBC__
    if (name[0]) pthread_setname_np(pthread_self(), name);
#else
    (void)name;
#endif
}

int bl_cpu(void) { return sched_getcpu(); }

bool bl_thread_leave_cpu(void)
{
    cpu_set_t mine, others;
    const int here = bl_cpu();
    if (here < 0 || here >= CPU_SETSIZE || sched_getaffinity(0, sizeof mine, &mine) != 0) return false;
    others = mine;
    CPU_CLR((size_t)here, &others);
    if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return false;
    sched_setaffinity(0, sizeof mine, &mine);
    return true;
}

uint64_t bl_thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The times that getrusage tells are those of the last tick. */
struct bl_effort bl_thread_effort(void)
{
    struct rusage used;
    if (getrusage(RUSAGE_THREAD, &used) != 0) return (struct bl_effort){0};
    return (struct bl_effort){.cpu_ns = bl_thread_cpu_ns(), .sleeps = used.ru_nvcsw};
}

int bl_thread_start(void *(*thread_main)(void *), void *arg, unsigned long stack_bytes)
{
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc != 0) return rc;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (stack_bytes > 0) rc = pthread_attr_setstacksize(&attr, stack_bytes);
    if (rc == 0) {
        sigset_t all, old;
        static const int own[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP}; /* a guest's traps; blocked, they end the process */
        sigfillset(&all);
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) sigdelset(&all, own[i]);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        pthread_t thread;
        rc = pthread_create(&thread, &attr, thread_main, arg);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    pthread_attr_destroy(&attr);
    return rc;
}
