/* SPDX-License-Identifier: Apache-2.0
 *
 * The ring: a bounded queue of 64-byte slots, many producers, one consumer, no lock. doc/ring.md specifies it.
 *
 *     slot, 64 bytes        0 mark  8 reply_to  16 deadline_ns  24 stamp  32 function  36 flags  38 size  40 payload[24]
 *
 * A position counts messages from 0 on, modulo 2^63; its slot is `position mod count`, its lap `position / count`.
 * The mark says whose turn a slot is:
 *
 *     2 * lap        free for the producer of that lap          (zeroed memory is an empty ring)
 *     2 * lap + 1    holds the message of that lap
 *
 *     producer   claim: mark free? then compare-and-swap head to head + 1        claim -> fill -> commit
 *                commit: mark := 2 * lap + 1
 *     consumer   peek: mark = 2 * lap + 1?                                       peek -> read -> release
 *                release: mark := 2 * (lap + 1), which is the credit for the next lap
 *
 * A slot whose mark is behind its lap is not free yet: the ring is full, and claim says so at once. A producer that is
 * held up between claim and commit holds up what was claimed behind it, and nobody else: claims go on until the ring is full.
 */
#ifndef BL_RING_H
#define BL_RING_H

#include <string.h>

#include "beamline/core.h"

enum { BL_RING_PAYLOAD = 24, BL_RING_COUNT_MAX = 1 << 20 };
#define BL_RING_CLOSED (UINT64_C(1) << 63)

struct bl_slot {
    _Alignas(64) uint64_t mark;
    uint64_t reply_to;    /* who is told: a request, or the sender; what it means belongs to who fills it */
    uint64_t deadline_ns; /* on bl_now_ns's clock; UINT64_MAX: none */
    uint64_t stamp;       /* hybrid logical clock, see bl_clock_send */
    uint32_t function;
    uint16_t flags; /* BL_MESSAGE_* */
    uint16_t size;  /* bytes of an inline payload, or number of buffers */
    union {
        uint8_t bytes[BL_RING_PAYLOAD];
        struct {
            const uint8_t *data;
            uint64_t size;
            void *owner; /* of the device's host; freed by it */
        } body;
        void *buffers[BL_RING_PAYLOAD / 8]; /* struct bl_ring_buffer, a use of each */
    } payload;
};
_Static_assert(sizeof(struct bl_slot) == 64, "a slot is a cache line");

struct bl_ring {
    /* Written by producers: head, and beside it what they write next, too (struct bl_actor). */
    _Alignas(64) uint64_t head; /* atomic: BL_RING_CLOSED, position of the next claim */
    uint32_t scheduled;         /* atomic: of the actor, see bl_actor.c */
    uint32_t shift;             /* count = 1 << shift; constant */
    struct bl_slot *slots;      /* constant */
    /* Written by the consumer. */
    _Alignas(64) uint64_t tail; /* atomic: position of the next message */
    uint32_t consumer_shift;    /* the constants again, so that reading them does not fetch the producers' line */
    struct bl_slot *consumer_slots;
};

/* `slots` zeroed, aligned to 64 bytes, 1 << shift of them. */
static inline void bl_ring_init(struct bl_ring *r, struct bl_slot *slots, unsigned shift)
{
    *r = (struct bl_ring){.slots = slots, .shift = shift, .consumer_slots = slots, .consumer_shift = shift};
}

/* The shift of a ring with at least `count` slots; at least 1: with a single slot the marks of two laps would meet. */
static inline unsigned bl_ring_shift(size_t count)
{
    unsigned shift = 1;
    while (shift < 20 && (size_t)1 << shift < count) shift++;
    return shift;
}

static inline struct bl_slot *bl_ring_at(struct bl_slot *slots, unsigned shift, uint64_t position)
{
    return &slots[position & ((UINT64_C(1) << shift) - 1)];
}

/* Positions have 63 bits, so marks have 64 - shift of them; both wrap. */
static inline uint64_t bl_ring_free_mark(unsigned shift, uint64_t position) { return position >> shift << 1; }
static inline uint64_t bl_ring_next_mark(unsigned shift, uint64_t mark) { return (mark + 2) & (UINT64_MAX >> shift); }

/* BL_OK: *position is the caller's to fill (bl_ring_slot) and to commit. BL_BUSY: full. BL_CLOSED. Any thread, never waits:
 * it goes round again only when another producer has got ahead. */
static inline enum bl_status bl_ring_claim(struct bl_ring *r, uint64_t *position)
{
    /* Relaxed: the head only proposes a position. What it says is proved by the slot's mark and by the exchange. */
    uint64_t head = __atomic_load_n(&r->head, __ATOMIC_RELAXED);
    for (;;) {
        if (head & BL_RING_CLOSED) return BL_CLOSED;
        const struct bl_slot *slot = bl_ring_at(r->slots, r->shift, head);
        /* Acquire: pairs with the release in bl_ring_release; the consumer's reads of the last lap come before our writes. */
        const uint64_t mark = __atomic_load_n(&slot->mark, __ATOMIC_ACQUIRE);
        const int64_t ahead = (int64_t)((mark - bl_ring_free_mark(r->shift, head)) << r->shift);
        if (ahead == 0) {
            /* Relaxed: it makes the position ours, and publishes nothing; commit does. No ABA within 2^63 positions. */
            if (!__atomic_compare_exchange_n(&r->head, &head, (head + 1) & ~BL_RING_CLOSED, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
                continue;
            *position = head;
            return BL_OK;
        }
        /* Behind: full, unless the head has moved on meanwhile. Ahead: the head that we saw is old. */
        const uint64_t now = __atomic_load_n(&r->head, __ATOMIC_RELAXED); /* relaxed: as above */
        if (ahead < 0 && now == head) return BL_BUSY;
        head = now;
    }
}

static inline struct bl_slot *bl_ring_slot(struct bl_ring *r, uint64_t position) { return bl_ring_at(r->slots, r->shift, position); }

/* The slot is the consumer's from here on. */
static inline void bl_ring_commit(struct bl_ring *r, uint64_t position)
{
    struct bl_slot *slot = bl_ring_slot(r, position);
    /* Release: the slot's contents come before the mark that announces them. */
    __atomic_store_n(&slot->mark, bl_ring_free_mark(r->shift, position) + 1, __ATOMIC_RELEASE);
}

/* The next message, or NULL. The consumer only. */
static inline struct bl_slot *bl_ring_peek(struct bl_ring *r)
{
    /* Relaxed: the consumer's own word; atomic for those who look at it from outside. */
    const uint64_t tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED);
    struct bl_slot *slot = bl_ring_at(r->consumer_slots, r->consumer_shift, tail);
    /* Acquire: pairs with the release in bl_ring_commit. */
    const uint64_t mark = __atomic_load_n(&slot->mark, __ATOMIC_ACQUIRE);
    return mark == bl_ring_free_mark(r->consumer_shift, tail) + 1 ? slot : NULL;
}

/* Gives the slot of the last peek back. The consumer only. */
static inline void bl_ring_release(struct bl_ring *r)
{
    const uint64_t tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED); /* relaxed: the consumer's own word */
    struct bl_slot *slot = bl_ring_at(r->consumer_slots, r->consumer_shift, tail);
    const uint64_t next = bl_ring_next_mark(r->consumer_shift, bl_ring_free_mark(r->consumer_shift, tail));
    /* The tail first: who sees the credit sees a tail that allows it. Both are release, so that the contents were read before. */
    __atomic_store_n(&r->tail, (tail + 1) & ~BL_RING_CLOSED, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->mark, next, __ATOMIC_RELEASE);
}

/* No more claims. What is claimed already will be committed: bl_ring_drained tells when all of it was consumed. */
static inline void bl_ring_close(struct bl_ring *r)
{
    /* Relaxed: in the order of changes of `head` every claim is either before it or refused. */
    __atomic_fetch_or(&r->head, BL_RING_CLOSED, __ATOMIC_RELAXED);
}

static inline uint64_t bl_ring_head(const struct bl_ring *r)
{
    /* Relaxed: a position and no promise; who needs one has a mark or the word `scheduled` for it. */
    return __atomic_load_n(&r->head, __ATOMIC_RELAXED) & ~BL_RING_CLOSED;
}

/* Closed, and nothing left. The consumer only. */
static inline bool bl_ring_drained(const struct bl_ring *r)
{
    /* Relaxed: once closed the head does not change any more, and a claim that it counts keeps the two apart until it is consumed.
     * The tail is the consumer's own word. */
    const uint64_t head = __atomic_load_n(&r->head, __ATOMIC_RELAXED);
    return (head & BL_RING_CLOSED) && (head & ~BL_RING_CLOSED) == __atomic_load_n(&r->tail, __ATOMIC_RELAXED);
}

/* Messages inside, about; exact when nobody moves. */
static inline uint64_t bl_ring_length(const struct bl_ring *r)
{
    /* Acquire: the head is read after it, and so is never behind it. */
    const uint64_t tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
    return (bl_ring_head(r) - tail) & ~BL_RING_CLOSED;
}

/* For tests: an empty ring goes on at `position`, as if that many messages had passed. */
static inline void bl_ring_seed(struct bl_ring *r, uint64_t position)
{
    const uint64_t count = UINT64_C(1) << r->shift;
    position &= ~BL_RING_CLOSED;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t p = (position + i) & ~BL_RING_CLOSED;
        bl_ring_at(r->slots, r->shift, p)->mark = bl_ring_free_mark(r->shift, p);
    }
    r->head = r->tail = position;
}

/* ---- hybrid logical clock ---------------------------------------------------------------------------
 * One word of nanoseconds: max(physical time, last stamp + 1). The physical part and the logical one share it: how far a
 * stamp is ahead of the clock is the logical part. Of two events of which one caused the other that one has the smaller
 * stamp, and no stamp is ahead of the largest clock of all senders by more than the number of events since. */

/* The stamp of an event of who owns `last`. */
static inline uint64_t bl_clock_send(uint64_t *last, uint64_t now_ns)
{
    *last = now_ns > *last ? now_ns : *last + 1;
    return *last;
}

/* A message has come, which is an event, too. */
static inline void bl_clock_receive(uint64_t *last, uint64_t stamp, uint64_t now_ns)
{
    if (stamp > *last) *last = stamp;
    bl_clock_send(last, now_ns);
}

#endif
