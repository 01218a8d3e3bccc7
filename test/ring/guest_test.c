/* SPDX-License-Identifier: Apache-2.0
 *
 * Handlers that are guests, as the ring part sees them: a class of functions that plays one, and counts what is open. What a
 * real one does is in beamline_ring_guest_tests.erl.
 */
#include "device_host.h"

/* ---- native ones beside them ---- */

BL_RING_HANDLER(native_count)
{
    ++*(uint64_t *)state;
    bl_ring_reply(out, state, 8, lane, lanes);
    return BL_RING_OK;
}

static int32_t as_it_is(uint32_t from_version, const void *from, uint64_t from_size, void *to, uint64_t to_size)
{
    (void)from_version, (void)to_size;
    memcpy(to, from, (size_t)from_size);
    return 0;
}

static const struct bl_ring_handler count_1 = {.name = "count", .version = 1, .state_size = 8, .state_least = 8, .state_most = 8,
                                               .handle = native_count};
static const struct bl_ring_handler count_9 = {.name = "count", .version = 9, .state_size = 8, .state_least = 8, .state_most = 64,
                                               .handle = native_count, .migrate = as_it_is};

/* ---- the class ---- */

struct bl_ring_guest {
    struct bl_quota *quota;
    uint64_t bytes;
};

enum { GUEST_BYTES = 1000 };
#define DEAF_NS (BL_GRACE_WALL_NS + UINT64_C(500000000))
static uint64_t guests_open, handlers_freed;
static uint32_t refuse_open, refuse_migrate; /* atomic */

static enum bl_status play_open(const struct bl_ring_guest_handler *h, struct bl_quota *quota, uint64_t state_size,
                                struct bl_ring_guest **out, struct bl_error *err)
{
    (void)h, (void)state_size;
    if (SEEN(refuse_open)) return bl_fail_limit(err, "memory", 1, 2);
    struct bl_ring_guest *g = bl_alloc_zero(NULL, sizeof *g, err);
    if (!g) return BL_NO_MEMORY;
    g->quota = quota;
    g->bytes = GUEST_BYTES;
    const enum bl_status status = bl_quota_charge(quota, GUEST_BYTES, err);
    if (status != BL_OK) {
        bl_free(g);
        return status;
    }
    __atomic_add_fetch(&guests_open, 1, __ATOMIC_ACQ_REL);
    *out = g;
    return BL_OK;
}

static void play_close(struct bl_ring_guest *g)
{
    bl_quota_release(g->quota, g->bytes);
    bl_free(g);
    __atomic_sub_fetch(&guests_open, 1, __ATOMIC_ACQ_REL);
}

/* Counts in the state and replies the count; function 1 traps, function 2 returns its data as a code, function 3 does not hear that it
 * shall stop for a while. */
static enum bl_status play_handle(struct bl_ring_guest *g, uint8_t *state, uint64_t state_size, const struct bl_ring_message *message,
                                  struct bl_ring_outbox *out, int32_t *code, struct bl_error *err)
{
    (void)g, (void)state_size;
    uint64_t count;
    if (message->function == 1) {
        bl_fail(err, BL_TRAP);
        memcpy(err->subject, "unreachable", sizeof "unreachable");
        return BL_TRAP;
    }
    if (message->function == 3)
        for (const uint64_t until_ns = bl_now_ns() + DEAF_NS; bl_now_ns() < until_ns;) usleep(1000);
    memcpy(&count, state, sizeof count);
    count++;
    memcpy(state, &count, sizeof count);
    bl_ring_reply(out, &count, sizeof count, 0, 1);
    *code = message->function == 2 ? *(const uint8_t *)message->data : BL_RING_OK;
    return BL_OK;
}

static enum bl_status play_check(struct bl_ring_guest *g, const uint8_t *state, uint64_t state_size, int32_t *code, struct bl_error *err)
{
    (void)g, (void)state_size, (void)err;
    *code = state[0] == 99;
    return BL_OK;
}

static enum bl_status play_migrate(struct bl_ring_guest *g, uint32_t from_version, const uint8_t *from, uint64_t from_size, uint8_t *to,
                                   uint64_t to_size, int32_t *code, struct bl_error *err)
{
    (void)g;
    if (SEEN(refuse_migrate)) return bl_fail(err, BL_TIMEOUT);
    *code = thousandfold(from_version, from, from_size, to, to_size);
    return BL_OK;
}

static uint64_t play_bytes(const struct bl_ring_guest *g) { return g->bytes; }

static void play_free(struct bl_ring_guest_handler *h)
{
    bl_free(h);
    __atomic_add_fetch(&handlers_freed, 1, __ATOMIC_ACQ_REL);
}

static const struct bl_ring_guest_class played = {play_open, play_close, play_handle, play_check, play_migrate, play_bytes, play_free};

static struct bl_ring_guest_handler *make(const char *name, uint32_t version)
{
    struct bl_ring_guest_handler *h = bl_alloc_zero(NULL, sizeof *h, &why);
    REQUIRE(h);
    h->face = (struct bl_ring_handler){.name = name, .version = version, .state_size = 8, .state_least = 8, .state_most = 64};
    h->class = &played;
    h->migrates = version > 1;
    return h;
}

static const struct bl_ring_handler *add(struct bl_device *d, const char *name, uint32_t version)
{
    struct bl_ring_guest_handler *list[1] = {make(name, version)};
    REQUIRE(bl_handlers_add_guests(&d->handlers, list, 1, &why) == BL_OK);
    return &list[0]->face;
}

static void close_all(struct bl_device *d, uint64_t handlers)
{
    close_device(d);
    CHECK_EVENTUALLY(SEEN(guests_open) == 0);
    CHECK_EVENTUALLY(SEEN(handlers_freed) == handlers);
    __atomic_store_n(&handlers_freed, 0, __ATOMIC_RELEASE);
}

TEST(an_actor_has_a_guest_of_its_own_and_a_trap_is_an_answer)
{
    struct bl_device *d = open_device(2);
    const struct bl_ring_handler *h = add(d, "count", 1);
    struct bl_actor *a = start(d, h, 16), *b = start(d, h, 16);
    CHECK_INT(SEEN(guests_open), 2);
    CHECK_INT(bl_actor_guest_bytes(a), GUEST_BYTES);
    CHECK_INT(call(a, 0, 0), BL_OK);
    CHECK_INT(send_until(a, 1, "", 0, 1, 0), BL_OK);
    CHECK_INT(send_until(a, 2, "\x01", 1, 2, 0), BL_OK);
    CHECK_INT(call(a, 0, 3), BL_OK);
    CHECK_INT(number(reply(0)), 1);
    CHECK_INT(reply(1)->status, BL_TRAP);
    CHECK_INT(reply(2)->status, BL_INVALID);
    CHECK_INT(number(reply(3)), 3);
    CHECK_INT(send_until(b, 2, "\x06", 1, 4, 0), BL_OK);
    CHECK_INT(reply(4)->status, BL_DEVICE_FAILED);
    CHECK_EVENTUALLY(SEEN(failures) == 1);
    stop(a);
    bl_actor_unref(b);
    close_all(d, 1);
}

TEST(a_guest_that_cannot_begin_leaves_nothing)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = NULL;
    const struct bl_ring_handler *h = add(d, "count", 1);
    struct bl_actor_options options = {.handler = h, .queue = 4, .state = (const uint8_t *)"\x63", .state_bytes = 1};
    CHECK_INT(bl_actor_new(d, &options, &a, &why), BL_INVALID); /* its check refuses */
    __atomic_store_n(&refuse_open, 1, __ATOMIC_RELEASE);
    options.state_bytes = 0;
    CHECK_INT(bl_actor_new(d, &options, &a, &why), BL_LIMIT);
    __atomic_store_n(&refuse_open, 0, __ATOMIC_RELEASE);
    CHECK_EVENTUALLY(SEEN(guests_open) == 0);
    CHECK_INT(bl_quota_used(&d->quota), 0);
    close_all(d, 1);
}

TEST(upgrades_go_between_native_handlers_and_guests)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, &count_1, 16);
    const struct bl_ring_handler *h2 = add(d, "count", 2), *h3 = add(d, "count", 3), *other = add(d, "other", 2);
    CHECK_INT(call(a, 0, 0), BL_OK);
    CHECK_INT(control(a, BL_UPGRADE, h2, 1)->status, BL_OK);
    CHECK_INT(SEEN(guests_open), 1);
    CHECK_INT(call(a, 0, 2), BL_OK);
    CHECK_INT(number(reply(2)), 1001);
    CHECK_INT(control(a, BL_UPGRADE, h3, 3)->status, BL_INVALID); /* from version 1 only */
    CHECK_INT(control(a, BL_UPGRADE, other, 4)->status, BL_INVALID);
    __atomic_store_n(&refuse_open, 1, __ATOMIC_RELEASE);
    CHECK_INT(control(a, BL_UPGRADE, h2, 5)->status, BL_LIMIT);
    __atomic_store_n(&refuse_open, 0, __ATOMIC_RELEASE);
    CHECK_INT(control(a, BL_UPGRADE, h2, 6)->status, BL_OK); /* the same: fresh code, the old state */
    __atomic_store_n(&refuse_migrate, 1, __ATOMIC_RELEASE);
    CHECK_INT(control(a, BL_UPGRADE, h3, 7)->status, BL_TIMEOUT);
    __atomic_store_n(&refuse_migrate, 0, __ATOMIC_RELEASE);
    CHECK_INT(SEEN(guests_open), 1);
    CHECK_INT(call(a, 0, 8), BL_OK);
    CHECK_INT(number(reply(8)), 1002);
    CHECK_INT(control(a, BL_UPGRADE, &count_9, 9)->status, BL_OK);
    CHECK_EVENTUALLY(SEEN(guests_open) == 0);
    CHECK_INT(bl_actor_guest_bytes(a), 0);
    stop(a);
    close_all(d, 3);
}

TEST(a_guest_that_does_not_end_is_given_up_and_closed_when_it_comes_back)
{
    struct bl_device *d = open_device(1);
    struct bl_actor *a = start(d, add(d, "count", 1), 16);
    struct bl_device_stats stats;
    CHECK_INT(send_until(a, 3, "", 0, 0, 20), BL_OK);
    CHECK_INT(reply(0)->status, BL_TIMEOUT);
    CHECK_EVENTUALLY(bl_actor_phase(a) == BL_FAILED);
    bl_actor_unref(a);
    CHECK_INT(SEEN(guests_open), 1); /* it is inside */
    CHECK_EVENTUALLY(SEEN(guests_open) == 0);
    bl_device_stats(d, &stats);
    CHECK_INT(stats.lost_total, 1);
    CHECK_EVENTUALLY(bl_quota_used(&d->quota) == 0);
    close_all(d, 1);
}

TEST(guests_that_are_no_handlers_stay_the_callers)
{
    struct bl_device *d = open_device(1);
    struct bl_ring_guest_handler *list[2] = {make("good", 1), make("Bad", 1)};
    CHECK_INT(bl_handlers_add_guests(&d->handlers, list, 2, &why), BL_INVALID);
    CHECK(bl_handlers_find(&d->handlers, "good") == NULL);
    for (int i = 0; i < 2; i++) play_free(list[i]);
    close_all(d, 2);
}
