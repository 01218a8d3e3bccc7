/* SPDX-License-Identifier: Apache-2.0
 *
 * What a clock of processor time says about a few hundred nanoseconds of arithmetic, at most in so many rounds: the
 * interrupts and the hypervisor's share that runtime/entry_cpu_max has in it.
 *
 *     floor_cpu_time ROUNDS     prints nanoseconds
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
    uint64_t most = 0;
    volatile uint64_t sum = 0;
    for (long left = argc > 1 ? strtol(argv[1], NULL, 10) : 1; left > 0; left--) {
        const uint64_t begin = cpu_ns();
        for (unsigned i = 0; i < 300; i++) sum += i;
        const uint64_t spent = cpu_ns() - begin;
        if (spent > most) most = spent;
    }
    printf("%llu\n", (unsigned long long)most);
    return sum == 0;
}
