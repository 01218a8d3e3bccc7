/* SPDX-License-Identifier: Apache-2.0
 *
 * Floor of runtime/roundtrip_idle: work handed to a sleeping thread and the answer handed
 * back, by one mutex and two condition variables; both sides were asleep for IDLE_MS.
 *
 *     floor_condvar ROUNDS     prints the median round trip in nanoseconds
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { IDLE_MS = 2, MAX_ROUNDS = 100000 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked = PTHREAD_COND_INITIALIZER, answered = PTHREAD_COND_INITIALIZER;
static bool question, answer;
static uint64_t times[MAX_ROUNDS];

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *worker(void *arg)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!question) pthread_cond_wait(&asked, &lock);
        question = false;
        answer = true;
        pthread_cond_signal(&answered);
    }
    return arg;
}

static int compare(const void *a, const void *b) { return (*(const uint64_t *)a > *(const uint64_t *)b) * 2 - 1; }

int main(int argc, char **argv)
{
    const int rounds = argc > 1 && atoi(argv[1]) > 0 && atoi(argv[1]) <= MAX_ROUNDS ? atoi(argv[1]) : 1000;
    pthread_t thread;
    if (pthread_create(&thread, NULL, worker, NULL) != 0) return 1;
    for (int i = 0; i < rounds; i++) {
        nanosleep(&(struct timespec){.tv_nsec = IDLE_MS * 1000000}, NULL);
        const uint64_t begin = now_ns();
        pthread_mutex_lock(&lock);
        question = true;
        pthread_cond_signal(&asked);
        while (!answer) pthread_cond_wait(&answered, &lock);
        answer = false;
        pthread_mutex_unlock(&lock);
        times[i] = now_ns() - begin;
    }
    qsort(times, (size_t)rounds, sizeof times[0], compare);
    printf("%llu\n", (unsigned long long)times[rounds / 2]);
}
