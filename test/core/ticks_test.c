/* SPDX-License-Identifier: Apache-2.0
 *
 * The clock by the processor's counter, beside the system's.
 */
#include <time.h>

#include "bl_test.h"
#include "bl_ticks.h"

enum { ROUNDS = 200000, DOUBT_NS = 1000 };

/* A reading lies between two of the system's clock. */
static void follow(void)
{
    struct bl_stopwatch w;
    uint64_t last = bl_stopwatch_start(&w), wrong = 0, back = 0;
    for (int i = 0; i < ROUNDS; i++) {
        const uint64_t before = bl_now_ns(), now = bl_stopwatch_now(&w), after = bl_now_ns();
        wrong += now + DOUBT_NS < before || now > after + DOUBT_NS;
        back += now < last;
        last = now;
    }
    CHECK_INT(wrong, 0);
    CHECK_INT(back, 0);
}

TEST(before_the_length_of_a_tick_is_known_it_is_the_systems_clock) { follow(); }

TEST(then_it_follows_the_systems_clock_and_never_goes_back)
{
    bl_ticks_start();
    bl_ticks_start(); /* once is enough */
    follow();
}

TEST(it_goes_on_while_the_thread_sleeps)
{
    struct bl_stopwatch w;
    bl_ticks_start();
    const uint64_t begin = bl_stopwatch_start(&w);
    for (int i = 0; i < 5; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 300000 * (i + 1)}, NULL);
        const uint64_t before = bl_now_ns(), now = bl_stopwatch_now(&w);
        CHECK(now + DOUBT_NS >= before);
    }
    CHECK(w.now_ns - begin >= 4500000);
}

TEST(ticks_that_went_back_are_none)
{
    CHECK_INT(bl_ticks_ns((uint64_t)-5), 0);
    const uint64_t begin = bl_ticks();
    CHECK(bl_ticks_ns(bl_ticks() - begin) < 1000000000);
}
