/* SPDX-License-Identifier: Apache-2.0
 *
 * The ring and a device from C.
 *
 *     bench_ring ring MESSAGES [SENDERS]   the ring alone: header, credit, marks, stamps   -> messages per second
 *     bench_ring alone MESSAGES            the same on one thread by turns              -> per second of its processor time
 *     bench_ring lanes MESSAGES SENDERS    a ring per sender instead, the consumer goes round  -> the same
 *     bench_ring triad ELEMENTS            the handler, and the plain loop                 -> nanoseconds each
 *     bench_ring scaling                   a compute handler on one thread, and on two     -> nanoseconds each
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compute_loop.h"
#include "ring/bl_device.h"

enum { SHIFT = 10, SENDERS_MOST = 8, REFRESH = 64, REPEATS = 7 };

/* ---- the ring ---- */

static struct bl_ring rings[SENDERS_MOST];
static uint64_t each;
static bool in_lanes;

static void fill(struct bl_slot *s, uint64_t i, uint64_t stamp)
{
    s->reply_to = i;
    s->deadline_ns = UINT64_MAX;
    s->stamp = stamp;
    s->function = 0;
    s->flags = 0;
    s->size = 24;
    for (int k = 0; k < 3; k++) s->payload.buffers[k] = (void *)(uintptr_t)(i + (uint64_t)k);
}

static void produce(struct bl_ring *r, uint64_t from, uint64_t to, uint64_t *last)
{
    uint64_t clock = *last, now_ns = 0;
    for (uint64_t i = from; i < to; i++) {
        uint64_t position;
        if (i % REFRESH == 0) now_ns = bl_now_ns(); /* as a turn does; between two looks the stamp's logical part counts */
        while (bl_ring_claim(r, &position) != BL_OK) continue;
        fill(bl_ring_slot(r, position), i, bl_clock_send(&clock, now_ns));
        bl_ring_commit(r, position);
    }
    *last = clock;
}

static void *produce_all(void *ring)
{
    uint64_t clock = 0;
    produce(ring, 0, each, &clock);
    return NULL;
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double rate_alone(void)
{
    uint64_t sum = 0, sent = 0, received = 0;
    const double begin = cpu_s();
    for (uint64_t i = 0; i < each; i += REFRESH) {
        produce(&rings[0], i, i + REFRESH, &sent);
        const uint64_t now_ns = bl_now_ns();
        for (const struct bl_slot *s; (s = bl_ring_peek(&rings[0])) != NULL;) {
            sum += s->reply_to;
            bl_clock_receive(&received, s->stamp, now_ns);
            bl_ring_release(&rings[0]);
        }
    }
    if (sum != each * (each - 1) / 2) exit(1);
    return (double)each / (cpu_s() - begin);
}

static double rate(unsigned senders)
{
    pthread_t thread[SENDERS_MOST];
    uint64_t sum = 0, clock = 0, got = 0;
    const unsigned count = in_lanes ? senders : 1;
    const uint64_t begin = bl_now_ns();
    for (unsigned i = 0; i < senders; i++)
        if (pthread_create(&thread[i], NULL, produce_all, &rings[in_lanes ? i : 0]) != 0) exit(1);
    for (unsigned lane = 0; got < each * senders; lane = lane + 1 < count ? lane + 1 : 0) {
        const struct bl_slot *s;
        const uint64_t now_ns = bl_now_ns();
        for (int most = 64; most > 0 && (s = bl_ring_peek(&rings[lane])) != NULL; most--, got++) {
            sum += s->reply_to;
            bl_clock_receive(&clock, s->stamp, now_ns);
            bl_ring_release(&rings[lane]);
        }
    }
    for (unsigned i = 0; i < senders; i++) pthread_join(thread[i], NULL);
    if (sum != senders * (each * (each - 1) / 2)) exit(1);
    return (double)(each * senders) / ((double)(bl_now_ns() - begin) / 1e9);
}

static int bench_rings(const char *how, uint64_t messages, unsigned senders)
{
    if (senders < 1 || senders > SENDERS_MOST) return 1;
    in_lanes = strcmp(how, "lanes") == 0;
    each = messages / senders / REFRESH * REFRESH;
    for (unsigned i = 0; i < SENDERS_MOST; i++) {
        struct bl_slot *slots = aligned_alloc(64, sizeof *slots << SHIFT);
        if (!slots) return 1;
        memset(slots, 0, sizeof *slots << SHIFT);
        bl_ring_init(&rings[i], slots, SHIFT);
    }
    printf("%.0f\n", strcmp(how, "alone") == 0 ? rate_alone() : rate(senders));
    return 0;
}

/* ---- handlers ---- */

bl_ring_handle_fn bl_ring_triad;

__attribute__((noinline)) static void plain_triad(double *restrict a, const double *restrict b, const double *restrict c,
                                                  double s, size_t n)
{
    for (size_t i = 0; i < n; i++) a[i] = b[i] + s * c[i];
}

static double *numbers(size_t n, double value)
{
    double *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64);
    if (!p) exit(1);
    for (size_t i = 0; i < n; i++) p[i] = value;
    return p;
}

static int bench_triad(size_t n)
{
    double *a = numbers(n, 0), *b = numbers(n, 1), *c = numbers(n, 2), s = 3;
    const struct bl_ring_message message = {.deadline_ns = UINT64_MAX, .buffer_count = 3, .buffer = {{a, n * 8}, {b, n * 8}, {c, n * 8}}};
    const uint32_t go_on = 0;
    struct bl_ring_outbox out = {.stop = &go_on};
    uint64_t best[2] = {UINT64_MAX, UINT64_MAX};
    const size_t times = n < 100000 ? 2000 : 20;
    for (int repeat = 0; repeat < REPEATS; repeat++)
        for (int how = 0; how < 2; how++) {
            const uint64_t begin = bl_now_ns();
            for (size_t i = 0; i < times; i++) {
                if (how == 1)
                    plain_triad(a, b, c, s, n);
                else if (bl_ring_triad(&s, 8, &message, &out, 0, 1) != BL_RING_OK)
                    return 1;
            }
            const uint64_t spent = (bl_now_ns() - begin) / times;
            if (spent < best[how]) best[how] = spent;
        }
    printf("%llu %llu\n", (unsigned long long)best[0], (unsigned long long)best[1]);
    return 0;
}

/* ---- two threads ---- */

enum { PARTS = 480, ACTORS = 8 };
static uint32_t answered;
static volatile uint64_t sums[PARTS]; /* so that the work is done */

static void answer(struct bl_actor *a, uint64_t request, enum bl_status status, const struct bl_error *err, struct bl_result *result)
{
    (void)a, (void)request, (void)err, (void)result;
    if (status != BL_OK) exit(1);
    __atomic_add_fetch(&answered, 1, __ATOMIC_RELEASE);
}
static void failed(struct bl_actor *a, const struct bl_error *err) { (void)a, (void)err; }
static void device_free(void *skin) { (void)skin; }
static const struct bl_device_host host = {.answer = answer, .failed = failed, .device_free = device_free};

BL_RING_HANDLER(compute)
{
    uint64_t i;
    memcpy(&i, message->data, sizeof i);
    sums[i] = compute_loop(COMPUTE_ELEMENTS * i / PARTS, COMPUTE_ELEMENTS * (i + 1) / PARTS);
    return BL_RING_OK;
}

static uint64_t timed(struct bl_actor **actors)
{
    struct timespec pause = {.tv_nsec = 200000};
    const uint64_t begin = bl_now_ns();
    answered = 0;
    for (uint64_t i = 0; i < PARTS; i++) {
        uint64_t position;
        struct bl_slot *slot;
        if (bl_message_claim(actors[i % ACTORS], &position, &slot, NULL) != BL_OK) exit(1);
        slot->reply_to = i;
        slot->deadline_ns = UINT64_MAX;
        slot->stamp = begin;
        slot->function = 0;
        slot->flags = BL_MESSAGE_REQUEST;
        slot->size = 8;
        memcpy(slot->payload.bytes, &i, 8);
        bl_message_send(actors[i % ACTORS], position, begin);
    }
    while (__atomic_load_n(&answered, __ATOMIC_ACQUIRE) < PARTS) nanosleep(&pause, NULL);
    return bl_now_ns() - begin;
}

static uint64_t processor_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* A thread that the kernel keeps waiting in a handler gets a stand-in: a run in which one thread was two is not counted.
 * What the main thread and the housekeeper do meanwhile is a few percent. */
static int bench_scaling(void)
{
    static const struct bl_ring_handler handler = {.name = "compute", .version = 1, .handle = compute};
    struct bl_error err;
    struct bl_device *d[2];
    struct bl_actor *actors[2][ACTORS];
    uint64_t best[2] = {UINT64_MAX, UINT64_MAX};
    for (unsigned i = 0; i < 2; i++) {
        struct bl_device_config config;
        bl_device_config_init(&config);
        config.threads = i + 1;
        if (bl_device_open(&config, &host, NULL, &d[i], &err) != BL_OK) return 1;
        const struct bl_actor_options options = {.handler = &handler, .queue = 64, .priority = 1};
        for (int k = 0; k < ACTORS; k++)
            if (bl_actor_new(d[i], &options, &actors[i][k], &err) != BL_OK) return 1;
    }
    for (int counted = 0, repeat = 0; counted < REPEATS && repeat < 10 * REPEATS; repeat++)
        for (unsigned i = 0; i < 2; i++) {
            const uint64_t used = processor_ns(), spent = timed(actors[i]);
            const bool alone = processor_ns() - used < spent + spent / 4;
            counted += alone;
            if ((alone || i > 0) && spent < best[i]) best[i] = spent;
        }
    if (best[0] == UINT64_MAX) return 1;
    printf("%llu %llu\n", (unsigned long long)best[0], (unsigned long long)best[1]);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 2 && (strcmp(argv[1], "ring") == 0 || strcmp(argv[1], "lanes") == 0 || strcmp(argv[1], "alone") == 0))
        return bench_rings(argv[1], strtoull(argv[2], NULL, 10), argc > 3 ? (unsigned)atoi(argv[3]) : 1);
    if (argc > 2 && strcmp(argv[1], "triad") == 0) return bench_triad(strtoull(argv[2], NULL, 10));
    if (argc > 1 && strcmp(argv[1], "scaling") == 0) return bench_scaling();
    return 2;
}
