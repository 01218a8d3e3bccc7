/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bl_sync.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

void bl_word_wait(uint32_t *word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }

void bl_word_wake(uint32_t *word, int count) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0); }

int bl_thread_start(void *(*thread_main)(void *), void *arg, unsigned long stack_bytes, const char *name)
{
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc != 0) return rc;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (stack_bytes > 0) rc = pthread_attr_setstacksize(&attr, stack_bytes);
    if (rc == 0) {
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        pthread_t thread;
        rc = pthread_create(&thread, &attr, thread_main, arg);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
#ifdef __GLIBC__
        if (rc == 0 && name && name[0]) pthread_setname_np(thread, name);
#endif
    }
    pthread_attr_destroy(&attr);
    return rc;
}
