/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_warm.h"

#include <pthread.h>
#include <stdlib.h>

enum { BLOCKS = 32 };
#define KEPT_MOST ((size_t)256 << 20)

static struct {
    pthread_mutex_t lock;
    unsigned tidiers, count;
    size_t bytes;
    struct {
        void *block;
        size_t capacity;
    } kept[BLOCKS]; /* the oldest first */
} warm = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *take_out(unsigned i)
{
    void *block = warm.kept[i].block;
    warm.bytes -= warm.kept[i].capacity;
    for (warm.count--; i < warm.count; i++) warm.kept[i] = warm.kept[i + 1];
    return block;
}

void *bl_warm_take(size_t bytes, size_t *capacity)
{
    void *block = NULL;
    unsigned best = BLOCKS;
    pthread_mutex_lock(&warm.lock);
    for (unsigned i = 0; i < warm.count; i++) {
        const size_t has = warm.kept[i].capacity;
        if (has >= bytes && has - bytes <= bytes / 4 && (best == BLOCKS || has < warm.kept[best].capacity)) best = i;
    }
    if (best < BLOCKS) {
        *capacity = warm.kept[best].capacity;
        block = take_out(best);
    }
    pthread_mutex_unlock(&warm.lock);
    return block;
}

/* The oldest, if the rest has to make room for `capacity` more. */
static void *one_too_many(size_t capacity)
{
    pthread_mutex_lock(&warm.lock);
    const bool full = warm.count == BLOCKS || warm.bytes > KEPT_MOST - capacity;
    void *block = full && warm.count > 0 ? take_out(0) : NULL;
    pthread_mutex_unlock(&warm.lock);
    return block;
}

bool bl_warm_give(void *block, size_t capacity)
{
    if (capacity < BL_WARM_FROM || capacity > KEPT_MOST) return false;
    for (void *old; (old = one_too_many(capacity));) free(old); /* without the lock: it unmaps pages */
    pthread_mutex_lock(&warm.lock);
    const bool kept = warm.tidiers > 0 && warm.count < BLOCKS;
    if (kept) {
        warm.kept[warm.count].block = block;
        warm.kept[warm.count++].capacity = capacity;
        warm.bytes += capacity;
    }
    pthread_mutex_unlock(&warm.lock);
    return kept;
}

void bl_warm_trim(void)
{
    void *block;
    do {
        pthread_mutex_lock(&warm.lock);
        block = warm.count > 0 ? take_out(warm.count - 1) : NULL;
        pthread_mutex_unlock(&warm.lock);
        free(block);
    } while (block);
}

void bl_warm_join(void)
{
    pthread_mutex_lock(&warm.lock);
    warm.tidiers++;
    pthread_mutex_unlock(&warm.lock);
}

void bl_warm_leave(void)
{
    pthread_mutex_lock(&warm.lock);
    const bool last = --warm.tidiers == 0;
    pthread_mutex_unlock(&warm.lock);
    if (last) bl_warm_trim();
}
