/* SPDX-License-Identifier: Apache-2.0
 *
 * Floor of runtime/scaling_2: what a second bare pthread gains on this machine.
 *
 *     floor_pthreads     prints nanoseconds of one thread, and of two that share the work
 */
#include <pthread.h>
#include <stdio.h>

#include "compute_loop.h"

enum { REPEATS = 5 };

struct part {
    size_t begin, end;
    uint64_t sum;
};

static void *run(void *arg)
{
    struct part *p = arg;
    p->sum = compute_loop(p->begin, p->end);
    return NULL;
}

static uint64_t timed(size_t threads)
{
    pthread_t ids[2];
    struct part parts[2];
    const uint64_t begin = compute_now_ns();
    for (size_t i = 0; i < threads; i++) {
        parts[i] = (struct part){COMPUTE_ELEMENTS * i / threads, COMPUTE_ELEMENTS * (i + 1) / threads, 0};
        if (pthread_create(&ids[i], NULL, run, &parts[i]) != 0) return 0;
    }
    for (size_t i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    return compute_now_ns() - begin;
}

int main(void)
{
    uint64_t best[2] = {UINT64_MAX, UINT64_MAX};
    for (int i = 0; i < REPEATS; i++) {
        for (size_t threads = 1; threads <= 2; threads++) {
            const uint64_t time = timed(threads);
            if (time < best[threads - 1]) best[threads - 1] = time;
        }
    }
    printf("%llu %llu\n", (unsigned long long)best[0], (unsigned long long)best[1]);
}
