/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices and actors through a host that is a C program (device_host.h).
 */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/syscall.h>

#include "device_host.h"

/* ---- handlers of the tests ---- */

BL_RING_HANDLER(test_count) /* the state counts; each message must carry the count before it */
{
    uint64_t *count = state, expected;
    memcpy(&expected, message->data, sizeof expected);
    if (message->size >= sizeof expected && expected != *count) return BL_RING_FAILED;
    ++*count;
    bl_ring_reply(out, count, sizeof *count, lane, lanes);
    return BL_RING_OK;
}

BL_RING_HANDLER(test_sleep) /* holds its thread: microseconds; listens when function is 1 */
{
    uint64_t us;
    memcpy(&us, message->data, sizeof us);
    const uint64_t until = bl_now_ns() + us * 1000;
    while (bl_now_ns() < until)
        if (message->function == 1 && bl_ring_stopped(out, lane, lanes)) return BL_RING_STOPPED;
    return BL_RING_OK;
}

BL_RING_HANDLER(test_code) { return (int32_t)message->function; }

BL_RING_HANDLER(test_total) /* per sender: the last number, which must grow by one */
{
    uint64_t *last = state, sender, number;
    memcpy(&sender, message->data, sizeof sender);
    memcpy(&number, (const uint8_t *)message->data + 8, sizeof number);
    if (sender >= 16 || last[sender] + 1 != number) return BL_RING_FAILED;
    last[sender] = number;
    bl_ring_send(out, 0, 0, message->data, message->size);
    return BL_RING_OK;
}

BL_RING_HANDLER(test_greedy) /* asks for more room than there is, and is content with no reply */
{
    (void)bl_ring_reply_space(out, 100);
    return bl_ring_reply_space(out, UINT64_C(1) << 62) ? BL_RING_INVALID : BL_RING_OK;
}

BL_RING_HANDLER(test_work) /* for so many microseconds of its thread's processor time */
{
    uint64_t us;
    memcpy(&us, message->data, sizeof us);
    const uint64_t until = bl_thread_effort().cpu_ns + us * 1000;
    while (bl_thread_effort().cpu_ns < until) continue;
    return BL_RING_OK;
}

static void *never_sleep(void *stop)
{
    while (!__atomic_load_n((uint32_t *)stop, __ATOMIC_RELAXED)) continue;
    return NULL;
}

static const char *const one_port[] = {"out", NULL};
static const struct bl_ring_handler count_1 = {.name = "count", .version = 1, .state_size = 8, .state_least = 8,
                                               .state_most = 8, .handle = test_count};
static const struct bl_ring_handler count_2 = {.name = "count", .version = 2, .state_size = 16, .state_least = 8, .state_most = 16,
                                               .handle = test_count, .migrate = thousandfold};
static const struct bl_ring_handler sleeper = {.name = "sleep", .version = 1, .handle = test_sleep};
static const struct bl_ring_handler worker = {.name = "work", .version = 1, .handle = test_work};
static const struct bl_ring_handler coder = {.name = "code", .version = 1, .handle = test_code};
static const struct bl_ring_handler greedy = {.name = "greedy", .version = 1, .handle = test_greedy};
static const struct bl_ring_handler total = {.name = "total", .version = 1, .state_size = 128, .state_least = 128, .state_most = 128,
                                             .ports = one_port, .handle = test_total};

static enum bl_status cast(struct bl_actor *a, uint64_t n) { return send_until(a, 0, &n, sizeof n, -1, 0); }

/* ---- messages ---- */

TEST(messages_are_handled_once_and_in_order_and_answered)
{
    struct bl_device *d = open_device(2);
    struct bl_actor *a = start(d, &count_1, 16);
    for (unsigned i = 0; i < 1000; i++) {
        enum bl_status status;
        while ((status = call(a, i, i)) == BL_BUSY) sched_yield();
        CHECK_INT(status, BL_OK);
    }
    for (unsigned i = 0; i < 1000; i++) {
        const struct reply *r = reply(i);
        CHECK_INT(r->status, BL_OK);
        CHECK_INT(number(r), i + 1);
        CHECK(i == 0 || r->stamp > replies[i - 1].stamp);
    }
    stop(a);
    close_device(d);
}

TEST(a_result_is_later_than_its_message_and_than_what_was_handled_before)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &count_1, 16);
    const uint64_t far_ahead = bl_now_ns() + UINT64_C(1000000000000), stamps[] = {far_ahead, 5, far_ahead, far_ahead + 10};
    for (unsigned i = 0; i < 4; i++) {
        uint64_t position;
        struct bl_slot *slot;
        REQUIRE(bl_message_claim(a, &position, &slot, NULL) == BL_OK);
        slot->reply_to = i; /* field by field: the actor may be looking at the mark */
        slot->deadline_ns = UINT64_MAX;
        slot->stamp = stamps[i];
        slot->function = slot->size = 0;
        slot->flags = BL_MESSAGE_REQUEST;
        bl_message_send(a, position, bl_now_ns());
    }
    for (unsigned i = 0; i < 4; i++) {
        CHECK(reply(i)->stamp > stamps[i]);
        CHECK(i == 0 || replies[i].stamp > replies[i - 1].stamp);
    }
    stop(a);
    close_device(d);
}

TEST(a_full_queue_refuses_and_a_suspended_actor_keeps_its_messages)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &count_1, 4);
    CHECK_INT(control(a, BL_SUSPEND, NULL, 100)->status, BL_OK);
    for (unsigned i = 0; i < 4; i++) CHECK_INT(call(a, i, i), BL_OK);
    CHECK_INT(call(a, 9, 9), BL_BUSY);
    usleep(2000);
    CHECK_INT(SEEN(replies[0].done), 0);
    CHECK_INT(control(a, BL_RESUME, NULL, 101)->status, BL_OK);
    for (unsigned i = 0; i < 4; i++) CHECK_INT(number(reply(i)), i + 1);
    stop(a);
    close_device(d);
}

TEST(each_code_of_a_handler_is_an_answer_and_only_failed_ends_the_actor)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &coder, 16);
    static const enum bl_status expected[] = {BL_OK, BL_INVALID, BL_LIMIT, BL_UNSUPPORTED, BL_TIMEOUT, BL_NO_MEMORY, BL_DEVICE_FAILED};
    for (unsigned i = 0; i < 7; i++) {
        CHECK_INT(send_until(a, i, "", 0, i, 0), BL_OK);
        CHECK_INT(reply(i)->status, expected[i]);
    }
    CHECK_EVENTUALLY(SEEN(failures) == 1);
    CHECK_INT(send_until(a, 0, "", 0, 10, 0), BL_DEVICE_FAILED);
    CHECK_INT(bl_actor_phase(a), BL_FAILED);
    bl_actor_unref(a);
    close_device(d);
}

TEST(a_reply_that_made_room_for_a_larger_one_is_gone)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &greedy, 16);
    CHECK_INT(send_until(a, 0, "", 0, 1, 0), BL_OK);
    CHECK_INT(reply(1)->status, BL_OK);
    CHECK_INT(reply(1)->size, 0);
    stop(a);
    close_device(d);
}

TEST(a_message_whose_deadline_passed_is_not_handled_and_its_sender_is_told)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &count_1, 16);
    control(a, BL_SUSPEND, NULL, 100);
    uint64_t n = 0;
    CHECK_INT(send_until(a, 0, &n, sizeof n, 1, 1), BL_OK);
    CHECK_INT(send_until(a, 0, &n, sizeof n, -1, 1), BL_OK);
    CHECK_INT(call(a, 0, 2), BL_OK);
    usleep(3000);
    control(a, BL_RESUME, NULL, 101);
    CHECK_INT(reply(1)->status, BL_TIMEOUT);
    CHECK_INT(number(reply(2)), 1);
    CHECK_INT(SEEN(undelivered), 1);
    stop(a);
    close_device(d);
}

TEST(stopping_drains_and_killing_answers_closed)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &count_1, 16), *b = start(d, &count_1, 16);
    control(b, BL_SUSPEND, NULL, 100);
    for (unsigned i = 0; i < 10; i++) {
        CHECK_INT(call(a, i, i), BL_OK);
        CHECK_INT(call(b, i, 20 + i), BL_OK);
    }
    CHECK_INT(control(a, BL_STOP, NULL, 101)->status, BL_OK);
    for (unsigned i = 0; i < 10; i++) CHECK_INT(reply(i)->status, BL_OK);
    CHECK_INT(call(a, 0, 50), BL_CLOSED);
    bl_actor_kill(b, NULL);
    for (unsigned i = 0; i < 10; i++) CHECK_INT(reply(20 + i)->status, BL_CLOSED);
    CHECK_INT(bl_actor_control(b, BL_RESUME, NULL, 102, &why), BL_CLOSED);
    bl_actor_kill(b, NULL);
    bl_actor_unref(a);
    bl_actor_unref(b);
    close_device(d);
}

TEST(an_idle_actor_stops_at_once_and_a_busy_one_does_not)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *idle = start(d, &count_1, 16), *busy = start(d, &count_1, 16);
    CHECK(bl_actor_stop_idle(idle));
    CHECK(!bl_actor_stop_idle(idle));
    CHECK_INT(bl_actor_phase(idle), BL_STOPPED);
    CHECK_INT(call(idle, 0, 0), BL_CLOSED);
    control(busy, BL_SUSPEND, NULL, 100);
    CHECK_INT(call(busy, 0, 1), BL_OK);
    CHECK(!bl_actor_stop_idle(busy));
    CHECK_INT(control(busy, BL_STOP, NULL, 101)->status, BL_OK);
    CHECK_INT(reply(1)->status, BL_OK);
    bl_actor_unref(idle);
    bl_actor_unref(busy);
    close_device(d);
}

TEST(a_closing_device_answers_everything)
{
    struct bl_device *d = open_device(2);
    struct bl_actor *a[100];
    for (unsigned i = 0; i < 100; i++) {
        a[i] = start(d, &count_1, 16);
        CHECK_INT(bl_actor_control(a[i], BL_SUSPEND, NULL, 1000 + i, &why), BL_OK);
    }
    for (unsigned i = 0; i < 100; i++) CHECK_INT(call(a[i], 0, i), BL_OK);
    for (unsigned i = 0; i < 100; i++) reply(1000 + i);
    bl_device_close(d);
    for (unsigned i = 0; i < 100; i++) {
        reply(i);
        bl_actor_unref(a[i]);
    }
    close_device(d);
}

/* ---- controls ---- */

static uint64_t ended_when_told;

/* Lets the actor go on meanwhile. */
static void failed_slowly(struct bl_actor *a, const struct bl_error *err)
{
    bl_actor_credit(a, a, 100);
    usleep(20000);
    __atomic_store_n(&ended_when_told, SEEN(actors_ended), __ATOMIC_RELEASE);
    host_failed(a, err);
}

TEST(an_actor_that_drains_does_not_end_while_its_owner_is_told_that_its_device_ends)
{
    struct bl_device *d = open_device(1);
    struct bl_device_host slow = host;
    slow.failed = failed_slowly;
    d->host = &slow;
    struct bl_actor *a = NULL;
    const struct bl_actor_options options = {.handler = &count_1, .queue = 16, .priority = 1, .skin = &slow};
    REQUIRE(bl_actor_new(d, &options, &a, &why) == BL_OK);
    CHECK_INT(bl_actor_subscribe(a, a, 1, &why), BL_OK);
    for (uint64_t i = 0; i < 3; i++) CHECK_INT(send_until(a, 0, &i, sizeof i, -1, 0), BL_OK);
    CHECK_EVENTUALLY(SEEN(batched) == 1);
    REQUIRE(bl_actor_control(a, BL_STOP, NULL, 100, &why) == BL_OK);
    CHECK_EVENTUALLY(bl_actor_phase(a) == BL_DRAINING);
    bl_actor_unref(a);
    close_device(d);
    CHECK_INT(SEEN(failures), 1);
    CHECK_INT(SEEN(ended_when_told), 0);
    CHECK_INT(SEEN(actors_ended), 1);
    CHECK_INT(reply(100)->status, BL_OK);
}

TEST(a_checkpoint_comes_after_the_messages_before_it_and_restores)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &count_1, 16);
    for (unsigned i = 0; i < 10; i++) CHECK_INT(cast(a, i), BL_OK);
    const struct reply *r = control(a, BL_CHECKPOINT, NULL, 0);
    CHECK_INT(r->status, BL_OK);
    CHECK_INT(r->size, 8);
    CHECK_INT(number(r), 10);
    const struct bl_actor_options options = {.handler = &count_2, .queue = 4, .state = r->bytes, .state_bytes = 8, .from_checkpoint = true,
                                             .from_version = 1, .stamp = r->stamp};
    struct bl_actor *b = NULL;
    REQUIRE(bl_actor_new(d, &options, &b, &why) == BL_OK);
    CHECK_INT(call(b, 10000, 1), BL_OK);
    CHECK_INT(number(reply(1)), 10001);
    CHECK(reply(1)->stamp > r->stamp);
    const struct bl_actor_options from_the_future = {.handler = &count_1, .queue = 4, .state = r->bytes, .state_bytes = 8,
                                                     .from_checkpoint = true, .from_version = 2};
    CHECK_INT(bl_actor_new(d, &from_the_future, &b, &why), BL_INVALID);
    stop(a);
    stop(b);
    close_device(d);
}

TEST(an_upgrade_keeps_messages_in_flight_on_the_old_version)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &count_1, 16);
    for (unsigned i = 0; i < 5; i++) CHECK_INT(call(a, i, i), BL_OK);
    CHECK_INT(control(a, BL_UPGRADE, &count_2, 100)->status, BL_OK);
    CHECK_INT(number(reply(4)), 5);
    CHECK_INT(call(a, 5000, 5), BL_OK);
    CHECK_INT(number(reply(5)), 5001);
    CHECK_INT(control(a, BL_UPGRADE, &count_1, 101)->status, BL_INVALID);
    CHECK_INT(control(a, BL_UPGRADE, &coder, 102)->status, BL_INVALID);
    CHECK_INT(call(a, 5001, 6), BL_OK);
    CHECK_INT(number(reply(6)), 5002);
    stop(a);
    close_device(d);
}

/* ---- actors to actors ---- */

TEST(actors_send_to_each_other_in_order_and_fan_out)
{
    struct bl_device *d = open_device(2);
    struct bl_actor *from = start(d, &total, 64), *to[3];
    for (int i = 0; i < 3; i++) {
        to[i] = start(d, &total, 2048);
        CHECK_INT(bl_actor_connect(from, 0, to[i], &why), BL_OK);
    }
    CHECK_INT(bl_actor_connect(from, 1, to[0], &why), BL_INVALID);
    for (uint64_t i = 1; i <= 1000; i++) {
        const uint64_t message[2] = {3, i};
        while (send_until(from, 0, message, sizeof message, -1, 0) == BL_BUSY) sched_yield();
    }
    for (int i = 0; i < 3; i++) CHECK_EVENTUALLY(__atomic_load_n(&to[i]->handled, __ATOMIC_RELAXED) == 1000);
    CHECK_INT(bl_actor_disconnect(from, 0, to[1]), 1);
    CHECK_INT(bl_actor_disconnect(from, 0, NULL), 2);
    CHECK_INT(SEEN(failures), 0);
    stop(from);
    for (int i = 0; i < 3; i++) stop(to[i]);
    close_device(d);
}

TEST(subscribers_get_batches_and_credit_holds_the_actor_back)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &count_1, 128);
    int me;
    CHECK_INT(bl_actor_subscribe(a, &me, 10, &why), BL_OK);
    for (unsigned i = 0; i < 100; i++) CHECK_INT(cast(a, i), BL_OK);
    CHECK_EVENTUALLY(SEEN(batched) == 10);
    usleep(2000);
    CHECK_INT(SEEN(batched), 10);
    CHECK(bl_actor_credit(a, &me, 50));
    CHECK_EVENTUALLY(SEEN(batched) == 60);
    CHECK(bl_actor_unsubscribe(a, &me));
    CHECK(!bl_actor_unsubscribe(a, &me));
    CHECK_EVENTUALLY(__atomic_load_n(&a->handled, __ATOMIC_RELAXED) == 100);
    CHECK_INT(SEEN(batch_sum), 60 * 61 / 2);
    CHECK_INT(SEEN(sinks_freed), 1);
    stop(a);
    close_device(d);
}

/* ---- fairness and runaways ---- */

TEST(a_long_handler_is_moved_aside_and_others_go_on)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *slow = start(d, &sleeper, 16), *quick = start(d, &count_1, 16);
    for (int i = 0; i < 3; i++) CHECK_INT(cast(slow, 100000), BL_OK);
    usleep(1000);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_INT(call(quick, i, i), BL_OK);
        reply(i);
    }
    CHECK(__atomic_load_n(&slow->handled, __ATOMIC_RELAXED) < 3);
    CHECK_EVENTUALLY(__atomic_load_n(&slow->handled, __ATOMIC_RELAXED) == 3);
    struct bl_device_stats stats;
    bl_device_stats(d, &stats);
    CHECK_INT(stats.moved_aside, 1);
    stop(slow);
    stop(quick);
    close_device(d);
}

/* Beside a thread that never sleeps, on one processor: hundreds of microseconds of work then often last for milliseconds. */
TEST(an_actor_whose_processor_is_taken_away_stays_where_it_is)
{
    enum { ACTORS = 8, EACH = 60 };
    cpu_set_t all, one;
    CHECK_INT(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)bl_cpu(), &one);
    CHECK_INT(sched_setaffinity(0, sizeof one, &one), 0);
    uint32_t stop_it = 0;
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, never_sleep, &stop_it), 0);
    struct bl_device *d = open_device(1);
    struct bl_actor *a[ACTORS];
    for (int i = 0; i < ACTORS; i++) a[i] = start(d, &worker, 64);
    for (int k = 0; k < EACH; k++)
        for (int i = 0; i < ACTORS; i++) CHECK_INT(cast(a[i], 200), BL_OK);
    for (int i = 0; i < ACTORS; i++) CHECK_EVENTUALLY(__atomic_load_n(&a[i]->handled, __ATOMIC_RELAXED) == EACH);
    struct bl_device_stats stats;
    bl_device_stats(d, &stats);
    CHECK(stats.moved_aside <= 1); /* the processor's time is not always its own, either */
    __atomic_store_n(&stop_it, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    for (int i = 0; i < ACTORS; i++) stop(a[i]);
    close_device(d);
    CHECK_INT(sched_setaffinity(0, sizeof all, &all), 0);
}

TEST(a_handler_that_listens_ends_at_its_deadline_and_the_actor_lives)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &sleeper, 16);
    const uint64_t us = 1000000, none = 0;
    CHECK_INT(send_until(a, 1, &us, sizeof us, 1, 5), BL_OK);
    CHECK_INT(reply(1)->status, BL_TIMEOUT);
    CHECK_INT(send_until(a, 1, &none, sizeof none, 2, 0), BL_OK);
    CHECK_INT(reply(2)->status, BL_OK);
    stop(a);
    close_device(d);
}

TEST(a_runaway_handler_is_given_up_its_thread_replaced_and_too_many_close_the_door)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *bad[2] = {start(d, &sleeper, 16), start(d, &sleeper, 16)}, *good = start(d, &count_1, 16);
    const uint64_t us = 1500000, none = 0; /* begun long before their deadline, also on a busy machine */
    struct bl_device_stats stats;
    CHECK_INT(send_until(bad[0], 0, &us, sizeof us, 1, 200), BL_OK);
    CHECK_INT(send_until(bad[0], 0, &none, sizeof none, 2, 0), BL_OK);
    CHECK_INT(reply(1)->status, BL_TIMEOUT);
    CHECK_INT(reply(2)->status, BL_DEVICE_FAILED);
    CHECK_INT(bl_actor_phase(bad[0]), BL_FAILED);
    CHECK_INT(call(good, 0, 3), BL_OK);
    CHECK_INT(reply(3)->status, BL_OK);
    CHECK_INT(send_until(bad[1], 0, &us, sizeof us, 4, 200), BL_OK);
    CHECK_INT(reply(4)->status, BL_TIMEOUT);
    CHECK_EVENTUALLY((bl_device_stats(d, &stats), stats.lost_now == 2));
    CHECK_INT(call(good, 1, 5), BL_DEVICE_FAILED); /* max_lost is 1 */
    CHECK_EVENTUALLY((bl_device_stats(d, &stats), stats.lost_now == 0));
    CHECK_INT(stats.lost_total, 2);
    CHECK_INT(call(good, 1, 6), BL_OK);
    CHECK_INT(reply(6)->status, BL_OK);
    CHECK_INT(SEEN(failures), 2);
    bl_actor_unref(bad[0]);
    bl_actor_unref(bad[1]);
    stop(good);
    close_device(d);
}

TEST(a_killed_actor_stops_its_handler)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &sleeper, 16);
    const uint64_t us = 1500000;
    CHECK_INT(send_until(a, 1, &us, sizeof us, 1, 0), BL_OK);
    usleep(5000);
    const uint64_t begin = bl_now_ns();
    bl_actor_kill(a, NULL);
    reply(1);
    CHECK(bl_now_ns() - begin < 1000000000);
    bl_actor_unref(a);
    close_device(d);
}

TEST(an_idle_device_sleeps)
{
    struct bl_device *d = open_device(2);
    struct bl_actor *a = start(d, &count_1, 16);
    CHECK_INT(call(a, 0, 0), BL_OK);
    reply(0);
    CHECK_EVENTUALLY(bl_threads_parked(d->threads) == bl_threads_alive(d->threads));
    CHECK_EVENTUALLY(__atomic_load_n(&d->keeper_deep, __ATOMIC_RELAXED));
    CHECK_INT(call(a, 1, 1), BL_OK);
    reply(1);
    stop(a);
    close_device(d);
}

static uint64_t affinity_asked, affinity_us;

/* In the C library's place: a thread that asks may lose its processor in that moment. */
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *out)
{
    const long bytes = syscall(SYS_sched_getaffinity, pid, size, out);
    if (bytes < 0) return -1;
    memset((uint8_t *)out + bytes, 0, size - (size_t)bytes);
    __atomic_add_fetch(&affinity_asked, 1, __ATOMIC_ACQ_REL);
    usleep((useconds_t)SEEN(affinity_us));
    return 0;
}

TEST(a_thread_on_the_only_processor_does_not_sleep_beside_a_message)
{
    cpu_set_t all, one;
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0); /* and so its children */
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &count_1, 16);
    __atomic_store_n(&affinity_asked, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&affinity_us, 5000, __ATOMIC_RELEASE);
    for (unsigned n = 0; n < REQUESTS && SEEN(affinity_asked) < 5; n++) {
        CHECK_INT(call(a, n, n), BL_OK);
        reply(n);
        if (!SEEN(replies[n].done)) break;
    }
    __atomic_store_n(&affinity_us, 0, __ATOMIC_RELEASE);
    CHECK_INT(sched_setaffinity(0, sizeof all, &all), 0);
    stop(a);
    close_device(d);
}

/* ---- many at once ---- */

struct crowd {
    struct bl_actor *actor[4];
    uint64_t me, count;
};

static void *send_crowd(void *arg)
{
    struct crowd *c = arg;
    for (uint64_t i = 1; i <= c->count; i++) {
        const uint64_t message[2] = {c->me, i};
        for (int k = 0; k < 4; k++)
            while (send_until(c->actor[k], 0, message, sizeof message, -1, 0) == BL_BUSY) sched_yield();
    }
    return NULL;
}

TEST(eight_senders_and_four_actors_on_two_threads_lose_nothing)
{
    enum { SENDERS = 8, EACH = 5000 };
    struct bl_device *d = open_device(2);
    struct crowd crowd[SENDERS];
    pthread_t thread[SENDERS];
    struct bl_actor *actor[4];
    for (int k = 0; k < 4; k++) actor[k] = start(d, &total, 16);
    for (unsigned i = 0; i < SENDERS; i++) {
        crowd[i] = (struct crowd){.me = i, .count = EACH};
        memcpy(crowd[i].actor, actor, sizeof actor);
        REQUIRE(pthread_create(&thread[i], NULL, send_crowd, &crowd[i]) == 0);
    }
    for (unsigned i = 0; i < SENDERS; i++) pthread_join(thread[i], NULL);
    for (int k = 0; k < 4; k++) {
        CHECK_EVENTUALLY(__atomic_load_n(&actor[k]->handled, __ATOMIC_RELAXED) == SENDERS * EACH);
        CHECK_INT(bl_actor_phase(actor[k]), BL_LIVE);
        stop(actor[k]);
    }
    close_device(d);
}

static void *kill_some(void *arg)
{
    struct bl_actor **actor = arg;
    for (int i = 0; i < 4; i++) {
        usleep(300);
        bl_actor_kill(actor[i], NULL);
    }
    return NULL;
}

TEST(killing_while_senders_send_answers_every_request)
{
    for (int round = 0; round < 20; round++) {
        struct bl_device *d = open_device(2);
        struct bl_actor *actor[4];
        pthread_t killer;
        unsigned sent = 0;
        for (int k = 0; k < 4; k++) actor[k] = start(d, &coder, 4);
        REQUIRE(pthread_create(&killer, NULL, kill_some, actor) == 0);
        for (unsigned i = 0; i < REQUESTS; i++)
            if (send_until(actor[i % 4], 0, "", 0, sent, 0) == BL_OK) sent++;
        pthread_join(killer, NULL);
        for (unsigned i = 0; i < sent; i++) reply(i);
        for (int k = 0; k < 4; k++) bl_actor_unref(actor[k]);
        close_device(d);
    }
}

/* ---- memory ---- */

TEST(buffers_are_shared_by_readers_and_exclusive_to_a_writer)
{
    struct bl_device *d = open_device(1);
    struct bl_ring_buffer *b = NULL, *view = NULL;
    REQUIRE(bl_ring_buffer_new(d, 1000, &b, &why) == BL_OK);
    CHECK_INT(bl_ring_buffer_view(b, 900, 101, &view, &why), BL_INVALID);
    CHECK_INT(bl_ring_buffer_view(b, UINT64_MAX, 2, &view, &why), BL_INVALID);
    REQUIRE(bl_ring_buffer_view(b, 900, 100, &view, &why) == BL_OK);
    CHECK_INT((uintptr_t)b->data % 64, 0);
    CHECK_INT(bl_ring_buffer_use(b, false, &why), BL_OK);
    CHECK_INT(bl_ring_buffer_use(view, false, &why), BL_OK);
    CHECK_INT(bl_ring_buffer_use(view, true, &why), BL_BUSY);
    bl_ring_buffer_done(b, false);
    bl_ring_buffer_done(view, false);
    CHECK_INT(bl_ring_buffer_use(view, true, &why), BL_OK);
    CHECK_INT(bl_ring_buffer_use(b, false, &why), BL_BUSY);
    bl_ring_buffer_close(b);
    bl_ring_buffer_done(view, true);
    CHECK_INT(bl_ring_buffer_use(view, false, &why), BL_CLOSED);
    bl_ring_buffer_unref(b);
    bl_ring_buffer_unref(view);
    struct bl_device_stats stats;
    bl_device_stats(d, &stats);
    CHECK_INT(stats.buffers, 0);
    CHECK_INT(stats.memory, 0);
    close_device(d);
}

TEST(every_allocation_of_a_start_may_fail)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = NULL;
    const struct bl_actor_options options = {.handler = &count_1, .queue = 16};
    bl_quota_fail_nth(&d->quota, 1);
    CHECK_INT(bl_actor_new(d, &options, &a, &why), BL_NO_MEMORY);
    bl_quota_fail_nth(&d->quota, 0);
    a = start(d, &count_1, 16);
    bl_quota_fail_nth(&d->quota, 1);
    CHECK_INT(bl_actor_control(a, BL_SUSPEND, NULL, 0, &why), BL_NO_MEMORY);
    bl_quota_fail_nth(&d->quota, 1);
    CHECK_INT(bl_actor_subscribe(a, a, 0, &why), BL_NO_MEMORY);
    stop(a);
    CHECK_EVENTUALLY(bl_quota_used(&d->quota) == 0);
    close_device(d);
}

TEST(an_idle_actor_is_small)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a[1000];
    for (int i = 0; i < 1000; i++) a[i] = start(d, &count_1, BL_ACTOR_QUEUE);
    CHECK(bl_quota_used(&d->quota) / 1000 <= 1800); /* the NIF's handle comes on top: 2 KB in all */
    for (int i = 0; i < 1000; i++) stop(a[i]);
    close_device(d);
}
