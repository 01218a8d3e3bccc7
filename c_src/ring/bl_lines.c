/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_lines.h"

#include <string.h>

static uint64_t lines_of(size_t body_bytes) { return 1 + (body_bytes + BL_LINE - 1) / BL_LINE; }

/* The other side may write meanwhile: what was copied is not read a second time. */
static void copied(void) { __asm__ __volatile__("" ::: "memory"); }

static uint8_t *at(const struct bl_lines *l, uint64_t position) { return l->shared->line[position % BL_LINES]; }

/* How much of `bytes` lies before the end of the ring. */
static size_t before_end(uint64_t position, size_t bytes)
{
    const size_t room = (size_t)(BL_LINES - position % BL_LINES) * BL_LINE;
    return bytes < room ? bytes : room;
}

enum bl_lines_status bl_lines_write(struct bl_lines *l, const void *head, const void *body, size_t body_bytes)
{
    const uint64_t need = lines_of(body_bytes);
    if (l->position + need - l->other > BL_LINES) {
        /* Acquire: with the release in bl_lines_take. The reader has read what was there. */
        l->other = __atomic_load_n(&l->shared->tail, __ATOMIC_ACQUIRE);
        if (l->position - l->other > BL_LINES) return BL_LINES_BROKEN;
        if (l->position + need - l->other > BL_LINES) return BL_LINES_NONE;
    }
    memcpy(at(l, l->position), head, BL_LINE);
    const size_t first = before_end(l->position + 1, body_bytes);
    if (first > 0) memcpy(at(l, l->position + 1), body, first);
    if (body_bytes > first) memcpy(at(l, 0), (const uint8_t *)body + first, body_bytes - first);
    l->position += need;
    /* Release: the record comes before the head that announces it. And in one order with the words of bl_lines_wake and _doze. */
    __atomic_store_n(&l->shared->head, l->position, __ATOMIC_SEQ_CST);
    return BL_LINES_OK;
}

bool bl_lines_wake(struct bl_lines *l)
{
    /* In one order with the exchange in bl_lines_doze: either the reader sees the head, or this thread sees it asleep. */
    return __atomic_load_n(&l->shared->asleep, __ATOMIC_SEQ_CST) && __atomic_exchange_n(&l->shared->asleep, 0, __ATOMIC_RELAXED);
}

enum bl_lines_status bl_lines_peek(struct bl_lines *l, void *head)
{
    if (l->other == l->position) {
        /* Acquire: with the release in bl_lines_write. */
        l->other = __atomic_load_n(&l->shared->head, __ATOMIC_ACQUIRE);
        if (l->other == l->position) return BL_LINES_NONE;
        if (l->other - l->position > BL_LINES) return BL_LINES_BROKEN;
    }
    memcpy(head, at(l, l->position), BL_LINE);
    copied();
    return BL_LINES_OK;
}

enum bl_lines_status bl_lines_take(struct bl_lines *l, void *body, size_t body_bytes)
{
    if (body_bytes > BL_LINES_BODY || lines_of(body_bytes) > l->other - l->position) return BL_LINES_BROKEN;
    const size_t first = before_end(l->position + 1, body_bytes);
    if (body && first > 0) memcpy(body, at(l, l->position + 1), first);
    if (body && body_bytes > first) memcpy((uint8_t *)body + first, at(l, 0), body_bytes - first);
    copied();
    l->position += lines_of(body_bytes);
    /* Release: the record was read before its lines are free. */
    __atomic_store_n(&l->shared->tail, l->position, __ATOMIC_RELEASE);
    return BL_LINES_OK;
}

bool bl_lines_doze(struct bl_lines *l, bool asleep)
{
    /* In one order with the head in bl_lines_write and the load in bl_lines_wake. */
    __atomic_exchange_n(&l->shared->asleep, asleep, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&l->shared->head, __ATOMIC_SEQ_CST) == l->position;
}
