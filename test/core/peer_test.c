/* SPDX-License-Identifier: Apache-2.0
 *
 * How long the other process has been silent; where it is waited for.
 */
#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

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

TEST(the_place_to_meet_lies_in_tmpdir_or_where_that_is_of_no_use_in_tmp)
{
    char path[BL_PEER_PATH], *old = getenv("TMPDIR"), *before = old ? strdup(old) : NULL;
    char very_long[200] = "/tmp/";
    memset(very_long + 5, '/', sizeof very_long - 6);
    const char *const useless[] = {"", very_long};
    for (size_t i = 0; i < sizeof useless / sizeof useless[0]; i++) {
        setenv("TMPDIR", useless[i], 1);
        const int fd = bl_peer_listen(path);
        CHECK(fd >= 0);
        CHECK(strncmp(path, "/tmp/beamline-", 14) == 0);
        bl_peer_forget(path);
        close(fd);
    }
    setenv("TMPDIR", "/no/such/folder", 1);
    CHECK(bl_peer_listen(path) < 0);
    CHECK_INT(errno, ENOENT);
    if (before) setenv("TMPDIR", before, 1);
    else unsetenv("TMPDIR");
    free(before);
}

TEST(without_a_descriptor_there_is_no_place_to_meet_and_the_reason_stays)
{
    char path[BL_PEER_PATH];
    struct rlimit now;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &now) == 0);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 0, .rlim_max = now.rlim_max});
    const int fd = bl_peer_listen(path), why = errno;
    setrlimit(RLIMIT_NOFILE, &now);
    CHECK(fd < 0);
    CHECK_INT(why, EMFILE);
}
