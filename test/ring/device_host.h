/* SPDX-License-Identifier: Apache-2.0
 *
 * A host that is a C program, for tests of devices: answers land in an array. Included by one file of each program.
 */
#ifndef DEVICE_HOST_H
#define DEVICE_HOST_H

#include <pthread.h>
#include <unistd.h>

#include "bl_sync.h"
#include "bl_test.h"
#include "ring/bl_device.h"

/* ---- the host ---- */

enum { REQUESTS = 4096, BODY_MOST = 1 << 30 };
#define SEEN(word) __atomic_load_n(&(word), __ATOMIC_ACQUIRE)

struct reply {
    uint32_t done; /* atomic */
    enum bl_status status;
    uint64_t size, stamp;
    uint8_t bytes[4096];
};

static struct reply replies[REQUESTS];
static struct bl_error why;
static uint64_t undelivered, failures, batches, batched, batch_sum, sinks_freed, actors_ended, actors_freed, devices_freed, doubly;

static void host_answer(struct bl_actor *a, uint64_t request, enum bl_status status, const struct bl_error *err, struct bl_result *result)
{
    (void)a, (void)err;
    struct reply *r = &replies[request];
    if (__atomic_load_n(&r->done, __ATOMIC_ACQUIRE)) __atomic_add_fetch(&doubly, 1, __ATOMIC_ACQ_REL);
    r->status = status;
    r->size = result ? result->size : 0;
    r->stamp = result ? result->stamp : 0;
    if (result) memcpy(r->bytes, result->data, result->size < sizeof r->bytes ? (size_t)result->size : sizeof r->bytes);
    __atomic_store_n(&r->done, 1, __ATOMIC_RELEASE);
}

static void host_undelivered(struct bl_actor *a, const struct bl_slot *slot, enum bl_status status, const struct bl_error *err)
{
    (void)a, (void)slot, (void)status, (void)err;
    __atomic_add_fetch(&undelivered, 1, __ATOMIC_ACQ_REL);
}

static void host_batch(struct bl_actor *a, void *sink, struct bl_result *results, size_t count, bool last)
{
    (void)a, (void)sink, (void)last;
    for (size_t i = 0; i < count; i++) {
        uint64_t n = 0;
        memcpy(&n, results[i].data, results[i].size < sizeof n ? (size_t)results[i].size : sizeof n);
        __atomic_add_fetch(&batch_sum, n, __ATOMIC_ACQ_REL);
    }
    __atomic_add_fetch(&batches, 1, __ATOMIC_ACQ_REL);
    __atomic_add_fetch(&batched, count, __ATOMIC_ACQ_REL);
}

static void host_failed(struct bl_actor *a, const struct bl_error *err)
{
    (void)a, (void)err;
    __atomic_add_fetch(&failures, 1, __ATOMIC_ACQ_REL);
}

static uint8_t *host_body_new(struct bl_device *d, uint64_t size, void **owner, struct bl_error *err)
{
    (void)d;
    *owner = NULL;
    if (size > BODY_MOST) bl_fail(err, BL_NO_MEMORY);
    else *owner = bl_alloc(NULL, (size_t)size, err);
    return *owner;
}

static void host_body_free(void *owner) { bl_free(owner); }
static void host_sink_free(void *sink) { (void)sink, __atomic_add_fetch(&sinks_freed, 1, __ATOMIC_ACQ_REL); }
static void host_actor_ended(void *skin) { (void)skin, __atomic_add_fetch(&actors_ended, 1, __ATOMIC_ACQ_REL); }
static void host_actor_free(void *skin) { (void)skin, __atomic_add_fetch(&actors_freed, 1, __ATOMIC_ACQ_REL); }
static void host_device_free(void *skin) { (void)skin, __atomic_add_fetch(&devices_freed, 1, __ATOMIC_ACQ_REL); }

static const struct bl_device_host host = {host_answer,    host_undelivered, host_batch,       host_failed,     host_body_new,
                                           host_body_free, host_sink_free,   host_actor_ended, host_actor_free, host_device_free,
                                           NULL};

/* ---- tools ---- */

/* A migration: of version 1 only, a thousand times as much. */
static int32_t thousandfold(uint32_t from_version, const void *from, uint64_t from_size, void *to, uint64_t to_size)
{
    uint64_t n;
    if (from_version != 1 || from_size < 8 || to_size < 8) return 1;
    memcpy(&n, from, sizeof n);
    n *= 1000;
    memcpy(to, &n, sizeof n);
    return 0;
}

static struct bl_device *open_device(unsigned threads)
{
    struct bl_device_config config;
    struct bl_device *d = NULL;
    bl_device_config_init(&config);
    config.threads = threads;
    config.max_lost = 1;
    uint64_t *const counts[] = {&undelivered, &failures, &batches, &batched, &batch_sum, &sinks_freed, &actors_ended, &actors_freed,
                                &devices_freed, &doubly};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) __atomic_store_n(counts[i], 0, __ATOMIC_RELEASE);
    memset(replies, 0, sizeof replies);
    REQUIRE(bl_device_open(&config, &host, &replies, &d, &why) == BL_OK);
    return d;
}

static void close_device(struct bl_device *d)
{
    bl_device_close(d);
    bl_device_unref(d);
    CHECK_EVENTUALLY(SEEN(devices_freed) == 1);
    CHECK_INT(SEEN(doubly), 0);
}

static struct bl_actor *start(struct bl_device *d, const struct bl_ring_handler *handler, size_t queue)
{
    struct bl_actor *a = NULL;
    const struct bl_actor_options options = {.handler = handler, .queue = queue, .priority = 1};
    REQUIRE(bl_actor_new(d, &options, &a, &why) == BL_OK);
    return a;
}

static void stop(struct bl_actor *a)
{
    bl_actor_kill(a, NULL);
    bl_actor_unref(a);
}

static enum bl_status send_until(struct bl_actor *a, uint32_t function, const void *data, size_t size, int64_t request, uint64_t timeout_ms)
{
    uint64_t position;
    struct bl_slot *slot;
    const uint64_t now_ns = bl_now_ns();
    const enum bl_status status = bl_message_claim(a, &position, &slot, NULL);
    if (status != BL_OK) return status;
    slot->reply_to = request >= 0 ? (uint64_t)request : 0;
    slot->deadline_ns = timeout_ms == 0 ? UINT64_MAX : now_ns + timeout_ms * 1000000;
    slot->stamp = now_ns;
    slot->function = function;
    slot->flags = request >= 0 ? BL_MESSAGE_REQUEST : 0;
    slot->size = (uint16_t)size;
    memcpy(slot->payload.bytes, data, size);
    bl_message_send(a, position, now_ns);
    return BL_OK;
}

static enum bl_status call(struct bl_actor *a, uint64_t n, unsigned request) { return send_until(a, 0, &n, sizeof n, request, 0); }

static const struct reply *reply(unsigned request)
{
    struct reply *r = &replies[request];
    CHECK_EVENTUALLY(__atomic_load_n(&r->done, __ATOMIC_ACQUIRE));
    return r;
}

static uint64_t number(const struct reply *r)
{
    uint64_t n = 0;
    memcpy(&n, r->bytes, sizeof n);
    return n;
}

static const struct reply *control(struct bl_actor *a, enum bl_control_kind kind, const struct bl_ring_handler *handler, unsigned request)
{
    REQUIRE(bl_actor_control(a, kind, handler, request, &why) == BL_OK);
    return reply(request);
}

#endif
