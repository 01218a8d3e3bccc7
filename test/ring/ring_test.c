/* SPDX-License-Identifier: Apache-2.0
 *
 * The bare ring: order, credit, laps, close; many producers under the sanitizers.
 */
#include <pthread.h>
#include <sched.h>

#include "bl_sync.h"
#include "bl_test.h"
#include "ring/bl_ring.h"

enum { SENDERS = 7, MESSAGES = 10000000 };

struct box {
    struct bl_ring ring;
    struct bl_slot *slots;
};

static void open_box(struct box *b, unsigned shift)
{
    b->slots = aligned_alloc(64, sizeof(struct bl_slot) << shift);
    REQUIRE(b->slots != NULL);
    memset(b->slots, 0, sizeof(struct bl_slot) << shift);
    bl_ring_init(&b->ring, b->slots, shift);
}

static enum bl_status put(struct bl_ring *r, uint64_t sender, uint64_t number)
{
    uint64_t position;
    const enum bl_status status = bl_ring_claim(r, &position);
    if (status != BL_OK) return status;
    struct bl_slot *slot = bl_ring_slot(r, position);
    slot->reply_to = sender;
    slot->stamp = number;
    memcpy(slot->payload.bytes, &number, sizeof number);
    memcpy(slot->payload.bytes + 16, &sender, sizeof sender);
    bl_ring_commit(r, position);
    return BL_OK;
}

/* UINT64_MAX: nothing there. */
static uint64_t get(struct bl_ring *r)
{
    const struct bl_slot *slot = bl_ring_peek(r);
    if (!slot) return UINT64_MAX;
    const uint64_t number = slot->stamp;
    bl_ring_release(r);
    return number;
}

TEST(zeroed_memory_is_an_empty_ring)
{
    struct box b;
    open_box(&b, 2);
    CHECK(bl_ring_peek(&b.ring) == NULL);
    CHECK_INT(bl_ring_length(&b.ring), 0);
    CHECK(!bl_ring_drained(&b.ring));
    free(b.slots);
}

TEST(a_full_ring_refuses_and_keeps_its_contents)
{
    struct box b;
    open_box(&b, 2);
    for (uint64_t i = 0; i < 4; i++) CHECK_INT(put(&b.ring, 0, i), BL_OK);
    CHECK_INT(put(&b.ring, 0, 99), BL_BUSY);
    CHECK_INT(bl_ring_length(&b.ring), 4);
    CHECK_INT(get(&b.ring), 0);
    CHECK_INT(put(&b.ring, 0, 4), BL_OK);
    CHECK_INT(put(&b.ring, 0, 99), BL_BUSY);
    for (uint64_t i = 1; i < 5; i++) CHECK_INT(get(&b.ring), i);
    CHECK(bl_ring_peek(&b.ring) == NULL);
    free(b.slots);
}

TEST(a_zero_payload_is_a_message)
{
    struct box b;
    open_box(&b, 1);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(put(&b.ring, 0, 0), BL_OK);
        CHECK_INT(get(&b.ring), 0);
        CHECK(bl_ring_peek(&b.ring) == NULL);
    }
    free(b.slots);
}

TEST(a_claimed_slot_holds_up_what_is_behind_it_and_comes_in_its_place)
{
    struct box b;
    open_box(&b, 2);
    uint64_t position;
    REQUIRE(bl_ring_claim(&b.ring, &position) == BL_OK);
    CHECK_INT(put(&b.ring, 0, 2), BL_OK);
    CHECK(bl_ring_peek(&b.ring) == NULL);
    bl_ring_slot(&b.ring, position)->stamp = 1;
    bl_ring_commit(&b.ring, position);
    CHECK_INT(get(&b.ring), 1);
    CHECK_INT(get(&b.ring), 2);
    free(b.slots);
}

TEST(a_closed_ring_takes_no_more_and_gives_what_it_has)
{
    struct box b;
    open_box(&b, 2);
    uint64_t position;
    CHECK_INT(put(&b.ring, 0, 1), BL_OK);
    REQUIRE(bl_ring_claim(&b.ring, &position) == BL_OK);
    bl_ring_close(&b.ring);
    CHECK_INT(put(&b.ring, 0, 9), BL_CLOSED);
    CHECK_INT(get(&b.ring), 1);
    CHECK(!bl_ring_drained(&b.ring)); /* one claim is not committed yet */
    bl_ring_slot(&b.ring, position)->stamp = 2;
    bl_ring_commit(&b.ring, position);
    CHECK_INT(get(&b.ring), 2);
    CHECK(bl_ring_drained(&b.ring));
    free(b.slots);
}

TEST(a_ring_works_across_every_wrap_of_its_counters)
{
    static const uint64_t starts[] = {UINT64_C(1) << 31, UINT64_C(1) << 32, UINT64_C(1) << 62, UINT64_C(1) << 63, 0};
    for (unsigned shift = 1; shift < 6; shift++)
        for (size_t s = 0; s < sizeof starts / sizeof starts[0]; s++)
            for (uint64_t before = 0; before < 20; before++) {
                struct box b;
                open_box(&b, shift);
                bl_ring_seed(&b.ring, starts[s] - before);
                uint64_t sent = 0, received = 0, random = before;
                for (int i = 0; i < 400; i++) {
                    if (bl_test_random(&random) % 2) {
                        const bool full = sent - received == UINT64_C(1) << shift;
                        CHECK_INT(put(&b.ring, 0, sent), full ? BL_BUSY : BL_OK);
                        sent += !full;
                    } else {
                        CHECK_INT((int64_t)get(&b.ring), sent == received ? -1 : (int64_t)received);
                        received += sent != received;
                    }
                    CHECK_INT(bl_ring_length(&b.ring), sent - received);
                }
                free(b.slots);
            }
}

TEST(a_count_is_rounded_up_to_a_power_of_two)
{
    CHECK_INT(bl_ring_shift(1), 1);
    CHECK_INT(bl_ring_shift(2), 1);
    CHECK_INT(bl_ring_shift(3), 2);
    CHECK_INT(bl_ring_shift(16), 4);
    CHECK_INT(bl_ring_shift(17), 5);
    CHECK_INT(bl_ring_shift(BL_RING_COUNT_MAX), 20);
}

TEST(stamps_grow_with_each_cause_and_stay_near_the_clock)
{
    uint64_t a = 0, b = 0;
    CHECK_INT(bl_clock_send(&a, 100), 100);
    CHECK_INT(bl_clock_send(&a, 100), 101); /* a clock that stands still */
    CHECK_INT(bl_clock_send(&a, 90), 102);  /* or goes back */
    bl_clock_receive(&b, 102, 95);
    CHECK_INT(b, 103);
    CHECK_INT(bl_clock_send(&b, 95), 104);
    bl_clock_receive(&b, 50, 95);
    CHECK_INT(b, 105); /* after what came before */
    CHECK_INT(bl_clock_send(&b, 200), 200);
}

/* ---- many producers ---- */

struct stress {
    struct bl_ring *ring;
    uint64_t sender, count;
};

static void *send_all(void *arg)
{
    struct stress *s = arg;
    for (uint64_t i = 0; i < s->count;) {
        if (put(s->ring, s->sender, i) == BL_OK)
            i++;
        else
            sched_yield();
    }
    return NULL;
}

static void stress(unsigned shift, uint64_t start, unsigned senders, uint64_t messages)
{
    struct box b;
    pthread_t thread[SENDERS];
    struct stress of[SENDERS];
    uint64_t next[SENDERS] = {0};
    open_box(&b, shift);
    bl_ring_seed(&b.ring, start);
    for (unsigned i = 0; i < senders; i++) {
        of[i] = (struct stress){.ring = &b.ring, .sender = i, .count = messages / senders};
        REQUIRE(pthread_create(&thread[i], NULL, send_all, &of[i]) == 0);
    }
    const uint64_t all = messages / senders * senders;
    uint64_t wrong = 0;
    for (uint64_t got = 0; got < all;) {
        const struct bl_slot *slot = bl_ring_peek(&b.ring);
        if (!slot) {
            sched_yield();
            continue;
        }
        uint64_t number, sender;
        memcpy(&number, slot->payload.bytes, sizeof number);
        memcpy(&sender, slot->payload.bytes + 16, sizeof sender);
        wrong += sender >= senders || sender != slot->reply_to || number != slot->stamp || next[sender % SENDERS]++ != number;
        bl_ring_release(&b.ring);
        got++;
    }
    for (unsigned i = 0; i < senders; i++) pthread_join(thread[i], NULL);
    CHECK_INT(wrong, 0);
    CHECK(bl_ring_peek(&b.ring) == NULL);
    CHECK_INT(bl_ring_length(&b.ring), 0);
    free(b.slots);
}

/* Ten million, half by one sender and half by seven; RING_MESSAGES=1000000000 in `make soak`. */
static uint64_t messages(void)
{
    const char *given = getenv("RING_MESSAGES");
    return given ? strtoull(given, NULL, 10) : MESSAGES;
}

TEST(messages_of_one_sender_arrive_once_and_in_order) { stress(10, 0, 1, messages() / 2); }
TEST(messages_of_seven_senders_arrive_once_and_in_order) { stress(8, 0, SENDERS, messages() / 2); }
TEST(a_small_ring_wraps_its_counters_under_seven_senders)
{
    stress(1, (UINT64_C(1) << 63) - 1000, SENDERS, messages() / 100);
    stress(3, (UINT64_C(1) << 32) - 1000, SENDERS, messages() / 100);
}
