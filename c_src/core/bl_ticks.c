/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_ticks.h"

#include <pthread.h>
#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

enum { CALIBRATION_NS = 5000000, TRUSTED_NS = 1000000, DOUBT_NS = 500 };

static struct {
    bool steady;          /* atomic; once true it stays */
    uint64_t ns_per_tick; /* times 2^32; written before */
    uint64_t doubt;       /* DOUBT_NS in ticks; the same */
} ticks = {.ns_per_tick = UINT64_C(1) << 32};

/* Acquire: with the release in calibrate, so that the length is known. */
static bool is_steady(void) { return __builtin_expect(__atomic_load_n(&ticks.steady, __ATOMIC_ACQUIRE), 1); }

static uint64_t counter(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#else
    return 0;
#endif
}

static bool counts_evenly(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8); /* the same speed at all times */
#else
    return false;
#endif
}

uint64_t bl_ticks(void) { return is_steady() ? counter() : bl_now_ns(); }

uint64_t bl_ticks_ns(uint64_t n)
{
    if (n >> 63) return 0; /* processors whose counters differ a little */
    return (uint64_t)((unsigned __int128)n * ticks.ns_per_tick >> 32);
}

/* Both clocks at once. The thread may lose its processor in between: of up to so many tries the first that is good enough, or
 * the best. */
struct moment {
    uint64_t ticks, ns, doubt;
};

static struct moment moment(uint64_t enough, int tries)
{
    struct moment best = {.doubt = UINT64_MAX};
    while (best.doubt > enough && tries-- > 0) {
        const uint64_t before = counter(), ns = bl_now_ns(), doubt = counter() - before;
        if (doubt < best.doubt) best = (struct moment){.ticks = before + doubt / 2, .ns = ns, .doubt = doubt};
    }
    return best;
}

static void calibrate(void)
{
    if (!counts_evenly()) return;
    const struct moment begin = moment(0, 16);
    nanosleep(&(struct timespec){.tv_nsec = CALIBRATION_NS}, NULL);
    const struct moment end = moment(0, 16);
    if (end.ticks <= begin.ticks || end.ns <= begin.ns) return;
    ticks.ns_per_tick = (uint64_t)(((unsigned __int128)(end.ns - begin.ns) << 32) / (end.ticks - begin.ticks));
    ticks.doubt = (end.ticks - begin.ticks) * DOUBT_NS / (end.ns - begin.ns);
    __atomic_store_n(&ticks.steady, true, __ATOMIC_RELEASE);
}

void bl_ticks_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, calibrate);
}

/* ---- stopwatch ------------------------------------------------------------------------- */

uint64_t bl_stopwatch_start(struct bl_stopwatch *w)
{
    w->trusted = is_steady();
    if (!w->trusted) return w->now_ns = bl_now_ns();
    const struct moment now = moment(ticks.doubt, 4);
    w->begin_ticks = now.ticks;
    return w->begin_ns = w->now_ns = now.ns;
}

uint64_t bl_stopwatch_now(struct bl_stopwatch *w)
{
    const uint64_t last_ns = w->now_ns, ns = w->trusted ? bl_ticks_ns(counter() - w->begin_ticks) : TRUSTED_NS;
    if (ns < TRUSTED_NS)
        w->now_ns = w->begin_ns + ns;
    else
        bl_stopwatch_start(w);
    if (w->now_ns < last_ns) w->now_ns = last_ns; /* the two clocks differ a little */
    return w->now_ns;
}
