/* SPDX-License-Identifier: Apache-2.0
 *
 * Floor of ring/c1: one producer, one consumer, the same 64-byte slot with a sequence number in it, and nothing else.
 *     floor_ring_spsc MESSAGES [1]     prints messages per second; with 1 on one thread by turns, per second of processor time
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { COUNT = 1024 };
static struct slot {
    _Alignas(64) _Atomic uint64_t sequence;
    uint64_t payload[7];
} slots[COUNT];
static _Alignas(64) _Atomic uint64_t tail;
static uint64_t messages;

static void consume(uint64_t *sum, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        struct slot *s = &slots[i % COUNT];
        while (atomic_load_explicit(&s->sequence, memory_order_acquire) != i + 1) continue;
        *sum += s->payload[0];
        if (i % 64 == 63) atomic_store_explicit(&tail, i + 1, memory_order_release);
    }
}

static void *consume_all(void *sum) { return consume(sum, 0, messages), sum; }

static void produce(uint64_t from, uint64_t to)
{
    static uint64_t seen;
    for (uint64_t i = from; i < to; i++) {
        while (i - seen >= COUNT) seen = atomic_load_explicit(&tail, memory_order_acquire);
        struct slot *s = &slots[i % COUNT];
        for (int k = 0; k < 7; k++) s->payload[k] = i + (uint64_t)k;
        atomic_store_explicit(&s->sequence, i + 1, memory_order_release);
    }
}

int main(int argc, char **argv)
{
    struct timespec a, b;
    pthread_t thread;
    uint64_t sum = 0;
    const int alone = argc > 2;
    messages = argc > 1 ? strtoull(argv[1], NULL, 10) / 64 * 64 : 0;
    clock_gettime(alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &a);
    if (!alone && pthread_create(&thread, NULL, consume_all, &sum) != 0) return 1;
    if (!alone) produce(0, messages), pthread_join(thread, NULL);
    for (uint64_t i = 0; alone && i < messages; i += 64) produce(i, i + 64), consume(&sum, i, i + 64);
    clock_gettime(alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &b);
    const double s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    if (sum != messages * (messages - 1) / 2) return 1;
    printf("%.0f\n", (double)messages / s);
}
