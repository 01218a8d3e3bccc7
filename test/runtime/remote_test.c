/* SPDX-License-Identifier: Apache-2.0
 *
 * The VM's end of an OS process, with hosts that keep the rules and hosts that break them. Also run under
 * ThreadSanitizer.
 */
#include <pthread.h>
#include <signal.h>

#include "remote_fixture.h"

#include "../../c_src/runtime/bl_remote_link.h"
#include "../core/bl_test.h"

enum { HEARTBEAT_MS = 5000 };

static unsigned get(unsigned *n) { return __atomic_load_n(n, __ATOMIC_SEQ_CST); }

static enum bl_remote_state state_of(struct remote *r)
{
    struct bl_remote_info info;
    bl_remote_info(r->pool->remote, &info);
    return info.state;
}

static bool is_up(struct remote *r) { return state_of(r) == BL_REMOTE_UP; }
static bool is_down(struct remote *r) { return state_of(r) == BL_REMOTE_DOWN; }

/* The id of the next task that comes. */
static uint64_t take_task(struct remote *r)
{
    struct {
        struct bl_frame frame;
        struct bl_frame_task head;
        uint8_t args[8];
    } task;
    if (!bl_frame_receive(r->data, &task, sizeof task) || task.frame.type != BL_FRAME_TASK) return UINT64_MAX;
    return task.frame.id;
}

static void say_answer(struct remote *r, uint64_t id, const char *bytes, size_t len, size_t now)
{
    const struct bl_frame frame = {.type = BL_FRAME_ANSWER, .id = id, .total = len, .length = (uint32_t)now};
    host_say(r->data, &frame, sizeof frame);
    host_say(r->data, bytes, now);
}

static void end(struct remote *r)
{
    host_gone(r);
    bl_pool_end(r->pool);
    for (int i = 0; i < REMOTE_TASKS; i++) CHECK_EVENTUALLY(get(&r->task[i].releases) == get(&r->task[i].answers));
}

TEST(a_task_goes_out_and_its_answer_comes_back_in_parts)
{
    struct remote r;
    REQUIRE(remote_open(&r, HEARTBEAT_MS) && host_up(&r));
    CHECK_EVENTUALLY(is_up(&r));
    remote_submit(&r, 0);
    const uint64_t id = take_task(&r);
    say_answer(&r, id, "answer", 6, 2);
    const struct bl_frame rest = {.type = BL_FRAME_DATA, .id = id, .length = 4};
    host_say(r.data, &rest, sizeof rest);
    host_say(r.data, "swer", 4);
    CHECK_EVENTUALLY(get(&r.task[0].answers) == 1);
    CHECK_INT(r.task[0].status, BL_OK);
    end(&r);
}

TEST(an_error_comes_back_with_its_text_and_whatever_else_it_holds_is_made_harmless)
{
    struct remote r;
    struct bl_error err;
    memset(&err, 'x', sizeof err);
    REQUIRE(remote_open(&r, HEARTBEAT_MS) && host_up(&r));
    remote_submit(&r, 0);
    const struct bl_frame frame = {.type = BL_FRAME_ANSWER, .status = 77, .id = take_task(&r), .length = sizeof err};
    host_say(r.data, &frame, sizeof frame);
    host_say(r.data, &err, sizeof err);
    CHECK_EVENTUALLY(get(&r.task[0].answers) == 1);
    CHECK_INT(r.task[0].status, BL_DEVICE_FAILED);
    CHECK_INT(strlen(r.task[0].text), sizeof err.text - 1);
    end(&r);
}

TEST(a_host_that_goes_away_answers_what_it_had_once)
{
    struct remote r;
    REQUIRE(remote_open(&r, HEARTBEAT_MS) && host_up(&r));
    for (int i = 0; i < 3; i++) remote_submit(&r, i);
    for (int i = 0; i < 3; i++) CHECK(take_task(&r) != UINT64_MAX);
    host_gone(&r);
    bl_remote_exited(r.pool->remote, "killed by signal 9");
    for (int i = 0; i < 3; i++) {
        CHECK_EVENTUALLY(get(&r.task[i].answers) == 1);
        CHECK_INT(r.task[i].status, BL_HOST_EXITED);
        CHECK(strcmp(r.task[i].text, "killed by signal 9") == 0);
    }
    CHECK_EVENTUALLY(is_down(&r));
    /* The next one gets what was submitted meanwhile. */
    remote_submit(&r, 3);
    REQUIRE(host_up(&r));
    say_answer(&r, take_task(&r), "x", 1, 1);
    CHECK_EVENTUALLY(get(&r.task[3].answers) == 1);
    CHECK_INT(r.task[3].status, BL_OK);
    end(&r);
}

/* What a host must not say; each is the last word of its link. */
static void broken_by(const char *what, const struct bl_frame *frame, bool of_a_task, size_t body)
{
    struct remote r;
    struct bl_frame said = *frame;
    uint8_t bytes[4096] = {0};
    REQUIRE(remote_open(&r, HEARTBEAT_MS) && host_up(&r));
    remote_submit(&r, 0);
    const uint64_t id = take_task(&r);
    if (of_a_task) said.id = id;
    host_say(r.data, &said, sizeof said);
    host_say(r.data, bytes, body);
    CHECK_EVENTUALLY(state_of(&r) == BL_REMOTE_BROKEN);
    bl_remote_exited(r.pool->remote, "killed by signal 9"); /* as it is then */
    CHECK_EVENTUALLY(get(&r.task[0].answers) == 1);
    CHECK_INT(r.task[0].status, BL_HOST_EXITED);
    CHECK_EVENTUALLY(is_down(&r));
    struct bl_remote_info info;
    bl_remote_info(r.pool->remote, &info);
    if (strcmp(info.why, what) != 0) BL_TEST_FAIL("said \"%s\", expected \"%s\"", info.why, what);
    end(&r);
}

TEST(a_host_that_breaks_a_rule_is_ended_with_the_rule)
{
    broken_by("a frame of impossible length", &(struct bl_frame){.type = BL_FRAME_DATA, .length = UINT32_MAX}, true, 0);
    broken_by("a frame of unknown type", &(struct bl_frame){.type = 99}, true, 0);
    broken_by("a frame of unknown type", &(struct bl_frame){.type = BL_FRAME_TASK}, true, 0);
    broken_by("an answer that nobody asked for", &(struct bl_frame){.type = BL_FRAME_ANSWER, .id = 3, .total = 1}, false, 0);
    broken_by("an answer that nobody asked for", &(struct bl_frame){.type = BL_FRAME_ANSWER, .id = UINT64_MAX, .total = 1}, false, 0);
    broken_by("an answer of impossible length", &(struct bl_frame){.type = BL_FRAME_ANSWER, .total = UINT64_MAX}, true, 0);
    broken_by("an answer of impossible length", &(struct bl_frame){.type = BL_FRAME_ANSWER, .total = 0}, true, 0);
    broken_by("an answer longer than it said", &(struct bl_frame){.type = BL_FRAME_ANSWER, .total = 2, .length = 3}, true, 3);
    broken_by("an error of the wrong size", &(struct bl_frame){.type = BL_FRAME_ANSWER, .status = 3, .length = 3}, true, 3);
    broken_by("data that nobody asked for", &(struct bl_frame){.type = BL_FRAME_DATA, .length = 3}, true, 3);
    broken_by("progress of the wrong size", &(struct bl_frame){.type = BL_FRAME_PROGRESS, .length = 3}, true, 3);
    broken_by("progress with a name that is none", &(struct bl_frame){.type = BL_FRAME_PROGRESS, .length = 40, .total = 1}, true, 40);
}

/* Nothing, cut short, a number, a list of one, an improper one, one and more behind it. */
TEST(a_host_whose_operations_are_no_list_of_names_is_ended)
{
    static const struct bl_span wrong[] = {{.data = (const uint8_t *)"", .len = 0},
                                           {.data = (const uint8_t *)"l\0\0\0\1w\2", .len = 7},
                                           {.data = (const uint8_t *)"a\1", .len = 2},
                                           {.data = (const uint8_t *)"l\0\0\0\1a\1j", .len = 8},
                                           {.data = (const uint8_t *)"l\0\0\0\1w\1aw\1b", .len = 11},
                                           {.data = (const uint8_t *)"jj", .len = 2}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct remote r;
        struct bl_remote_info info;
        REQUIRE(remote_open(&r, HEARTBEAT_MS) && host_greets(&r, (const char *)wrong[i].data, wrong[i].len));
        CHECK_EVENTUALLY(state_of(&r) == BL_REMOTE_BROKEN);
        bl_remote_exited(r.pool->remote, "killed by signal 9"); /* as it is then */
        CHECK_EVENTUALLY(is_down(&r));
        bl_remote_info(r.pool->remote, &info);
        CHECK_TEXT(info.why, "a greeting without a list of operations");
        end(&r);
    }
}

TEST(whoever_does_not_join_properly_is_sent_away)
{
    struct remote r;
    char path[128];
    REQUIRE(remote_open(&r, HEARTBEAT_MS));
    REQUIRE(bl_remote_listen(r.pool->remote, path, sizeof path, NULL) == BL_OK);
    CHECK_INT(bl_remote_listen(r.pool->remote, path, sizeof path, NULL), BL_BUSY);
    const int old = host_join(path, 0, "0.0.1");
    char byte;
    CHECK_INT(recv(old, &byte, 1, 0), 0); /* closed */
    close(old);
    r.data = host_join(path, 0, bl_version());
    r.control = host_join(path, 1, bl_version());
    CHECK_INT(state_of(&r), BL_REMOTE_LISTENING);
    host_gone(&r);
    CHECK_EVENTUALLY(is_down(&r));
    end(&r);
}

TEST(a_silent_host_is_ended_and_the_deadline_is_kept_all_the_same)
{
    struct remote r;
    REQUIRE(remote_open(&r, 200) && host_up(&r));
    remote_submit(&r, 0);
    CHECK(take_task(&r) != UINT64_MAX);
    CHECK(bl_source_cancel(r.source, 1));
    CHECK_INT(get(&r.task[0].answers), 1);
    CHECK_INT(r.task[0].status, BL_CANCELLED);
    CHECK_EVENTUALLY(is_down(&r)); /* nobody answered a ping */
    end(&r);
}

/* Answers PINGs until the link ends. */
static void *answer_pings(void *arg)
{
    const struct remote *r = arg;
    for (struct bl_frame ping; bl_frame_receive(r->control, &ping, sizeof ping);) {
        struct {
            struct bl_frame frame;
            struct bl_frame_pong body;
        } pong = {.frame = {.type = BL_FRAME_PONG, .id = ping.id, .length = sizeof pong.body}};
        if (ping.type == BL_FRAME_PING && !host_say(r->control, &pong, sizeof pong)) break;
    }
    return NULL;
}

static void sleep_ms(long ms) { nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL); }

/* The child lets this process go on. */
static void stand_still_ms(long ms)
{
    const pid_t child = fork();
    if (child == 0) {
        sleep_ms(ms);
        kill(getppid(), SIGCONT);
        _exit(0);
    }
    if (child > 0) raise(SIGSTOP);
}

TEST(a_host_is_not_silent_because_this_process_stood_still)
{
    struct remote r;
    pthread_t host;
    REQUIRE(remote_open(&r, 400) && host_up(&r));
    CHECK_EVENTUALLY(is_up(&r));
    REQUIRE(pthread_create(&host, NULL, answer_pings, &r) == 0);
    for (int i = 0; i < 3; i++) {
        stand_still_ms(900);
        sleep_ms(50);
        CHECK(is_up(&r));
    }
    bl_remote_close(r.pool->remote);
    pthread_join(host, NULL);
    end(&r);
}

/* After four thousand million tasks in one place. */
TEST(no_task_gets_the_id_that_means_none)
{
    struct remote r;
    struct bl_frame frame = {.type = 0};
    REQUIRE(remote_open(&r, HEARTBEAT_MS) && host_up(&r));
    CHECK_EVENTUALLY(is_up(&r));
    r.pool->remote->slot[0].generation = UINT32_MAX;
    remote_submit(&r, 0);
    const uint64_t id = take_task(&r);
    CHECK(id != 0);
    CHECK(bl_source_cancel(r.source, 1));
    do REQUIRE(bl_frame_receive(r.control, &frame, sizeof frame)); while (frame.type == BL_FRAME_PING);
    CHECK_INT(frame.type, BL_FRAME_CANCEL);
    CHECK_INT(frame.id, id);
    end(&r);
}

TEST(a_pool_that_ends_answers_what_is_in_its_host)
{
    struct remote r;
    REQUIRE(remote_open(&r, HEARTBEAT_MS) && host_up(&r));
    for (int i = 0; i < 3; i++) remote_submit(&r, i);
    CHECK(take_task(&r) != UINT64_MAX);
    bl_pool_end(r.pool);
    for (int i = 0; i < 3; i++) {
        CHECK_EVENTUALLY(get(&r.task[i].answers) == 1);
        CHECK_INT(r.task[i].status, BL_CLOSED);
        CHECK_EVENTUALLY(get(&r.task[i].releases) == 1);
    }
    host_gone(&r);
}
