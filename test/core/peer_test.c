/* SPDX-License-Identifier: Apache-2.0
 *
 * How long the other process has been silent.
 */
#include "bl_peer.h"
#include "bl_test.h"

enum { BEAT = 1000 };

TEST(one_that_says_nothing_is_silent_for_too_long_when_that_was_watched)
{
    struct bl_silence s;
    bl_silence_begin(&s, 5000);
    for (uint64_t now = 5250; now <= 5000 + BEAT; now += 250) CHECK(!bl_silence_is_long(&s, now, BEAT));
    CHECK(bl_silence_is_long(&s, 5000 + BEAT + 250, BEAT));
}

TEST(one_that_speaks_is_not)
{
    struct bl_silence s;
    bl_silence_begin(&s, 0);
    for (uint64_t now = 250; now < 100 * BEAT; now += 250) {
        CHECK(!bl_silence_is_long(&s, now, BEAT));
        if (now % 750 == 0) s.ns = 0;
    }
}

TEST(who_was_not_watched_still_gets_to_answer)
{
    struct bl_silence s;
    bl_silence_begin(&s, 0);
    CHECK(!bl_silence_is_long(&s, 250, BEAT));
    CHECK(!bl_silence_is_long(&s, 1000 * BEAT, BEAT)); /* nobody looked for long */
    s.ns = 0;
    CHECK(!bl_silence_is_long(&s, 2000 * BEAT, BEAT));
    CHECK(!bl_silence_is_long(&s, 2000 * BEAT, BEAT));
    CHECK(!bl_silence_is_long(&s, 1999 * BEAT, BEAT)); /* nor does time that went back count */
    CHECK(!bl_silence_is_long(&s, 2001 * BEAT, BEAT));
    CHECK(bl_silence_is_long(&s, 2002 * BEAT, BEAT)); /* but two such looks without a word are enough */
}
