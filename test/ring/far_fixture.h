/* SPDX-License-Identifier: Apache-2.0
 *
 * A device in another process with a host that counts: each request is answered once.
 */
#ifndef FAR_FIXTURE_H
#define FAR_FIXTURE_H

#include "ring/bl_far.h"

enum { FAR_REQUESTS = 65536 };

static struct {
    uint32_t answers[FAR_REQUESTS]; /* atomic: how often */
    enum bl_status status[FAR_REQUESTS];
    uint64_t size[FAR_REQUESTS], first[FAR_REQUESTS];
    uint64_t undelivered, failed, batched, ended, freed; /* atomic */
} far_seen;

#define FAR_SEEN(word) __atomic_load_n(&(word), __ATOMIC_ACQUIRE)

static void far_answer(struct bl_far *d, uint64_t request, const struct bl_error *err, struct bl_result *result,
                       const struct bl_far_actor *a, uint32_t number)
{
    (void)d, (void)a, (void)number;
    far_seen.status[request] = err ? err->status : BL_OK;
    far_seen.size[request] = result ? result->size : 0;
    far_seen.first[request] = 0;
    if (result && result->size >= 8) memcpy(&far_seen.first[request], result->data, 8);
    __atomic_add_fetch(&far_seen.answers[request], 1, __ATOMIC_ACQ_REL);
}

static void far_undelivered(const struct bl_far_actor *a, uint64_t sender, uint32_t function, const struct bl_error *err)
{
    (void)a, (void)sender, (void)function, (void)err;
    __atomic_add_fetch(&far_seen.undelivered, 1, __ATOMIC_ACQ_REL);
}

static void far_batch(void *sink, struct bl_result *results, size_t count)
{
    (void)sink;
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        for (uint64_t b = 0; b < results[i].size; b++) sum += results[i].data[b]; /* every byte is there */
    __atomic_add_fetch(&far_seen.batched, count + 0 * sum, __ATOMIC_ACQ_REL);
}

static void far_failed(const struct bl_far_actor *a, const struct bl_error *err)
{
    (void)a, (void)err;
    __atomic_add_fetch(&far_seen.failed, 1, __ATOMIC_ACQ_REL);
}

static uint8_t *far_body_new(struct bl_quota *quota, uint64_t size, void **owner, struct bl_error *err)
{
    return *owner = bl_alloc(quota, (size_t)size, err);
}

static void far_body_free(void *owner) { bl_free(owner); }
static void far_sink_free(void *sink) { (void)sink; }
static void far_actor_ended(void *skin) { (void)skin, __atomic_add_fetch(&far_seen.ended, 1, __ATOMIC_ACQ_REL); }
static void far_actor_free(void *skin) { (void)skin, __atomic_add_fetch(&far_seen.freed, 1, __ATOMIC_ACQ_REL); }

static const struct bl_far_host far_host = {
    .answer = far_answer, .undelivered = far_undelivered, .batch = far_batch, .failed = far_failed, .body_new = far_body_new,
    .body_free = far_body_free, .sink_free = far_sink_free, .actor_ended = far_actor_ended, .actor_free = far_actor_free};

/* A message with `size` bytes, the first eight of which are `number`. */
static enum bl_status far_say(struct bl_far_actor *a, uint64_t request, uint64_t number, size_t size)
{
    struct bl_error err;
    struct bl_slot slot = {.deadline_ns = UINT64_MAX, .reply_to = 1};
    uint8_t bytes[BL_RING_INLINE] = {0};
    memcpy(bytes, &number, sizeof number);
    if (size > BL_RING_INLINE) {
        uint8_t *body = bl_alloc_zero(NULL, size, &err);
        memcpy(body, &number, sizeof number);
        slot.flags = BL_MESSAGE_BODY;
        slot.payload.body.data = body;
        slot.payload.body.size = size;
        slot.payload.body.owner = body;
    } else {
        slot.size = (uint16_t)size;
        memcpy(slot.payload.bytes, bytes, sizeof bytes);
    }
    return bl_far_message(a, &slot, request, &err);
}

#endif
