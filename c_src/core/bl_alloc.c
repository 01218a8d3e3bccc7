/* SPDX-License-Identifier: Apache-2.0
 *
 * Accounted memory. Every block carries its size and its quota in front:
 *
 *     malloc'd ->  [ padding ][ struct header ][ the caller's bytes ... ]
 *                              16-byte aligned  ^ what bl_alloc returns
 */
#include <stdlib.h>
#include <string.h>

#include "beamline/core.h"
#include "bl_warm.h"

struct header {
    struct bl_quota *quota;
    size_t bytes; /* as asked; the low bits of big blocks are not used for anything */
};

enum {
    SMALL_ALIGN = 16,
    BIG_ALIGN = 64,   /* a cache line, and the widest vector register */
    BIG_BYTES = 4096, /* from here on the 64 bytes in front do not matter */
    OVERHEAD_LIMIT = 2 * BIG_ALIGN,
};
_Static_assert(sizeof(struct header) == SMALL_ALIGN, "the header must keep the alignment");

static size_t front(size_t bytes) { return bytes >= BIG_BYTES ? BIG_ALIGN : SMALL_ALIGN; }

static struct header *header_of(void *p) { return (struct header *)((char *)p - sizeof(struct header)); }

static void *base_of(struct header *h) { return (char *)(h + 1) - front(h->bytes); }

bool bl_mul_size(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *out = product;
    return true;
}

bool bl_add_size(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}

/* ---- quotas --------------------------------------------------------------
 * Relaxed everywhere: the counters order nothing, they only have to add up. */

void bl_quota_init(struct bl_quota *quota, struct bl_quota *parent, const char *name, uint64_t limit_bytes)
{
    *quota = (struct bl_quota){.parent = parent, .name = name, .limit_bytes = limit_bytes};
}

uint64_t bl_quota_used(const struct bl_quota *quota) { return __atomic_load_n(&quota->used_bytes, __ATOMIC_RELAXED); }

uint64_t bl_quota_peak(const struct bl_quota *quota) { return __atomic_load_n(&quota->peak_bytes, __ATOMIC_RELAXED); }

void bl_quota_fail_nth(struct bl_quota *quota, uint64_t n)
{
    __atomic_store_n(&quota->fail_countdown, (int64_t)n, __ATOMIC_RELAXED);
}

/* The countdown is tested before it is changed so that the usual case costs one load. */
static bool injected(struct bl_quota *quota)
{
    if (__atomic_load_n(&quota->fail_countdown, __ATOMIC_RELAXED) <= 0) return false;
    return __atomic_fetch_sub(&quota->fail_countdown, 1, __ATOMIC_RELAXED) == 1;
}

/* Once the memory is there: what was refused, by a parent or by the system, was never held. Another thread may be about to be
 * refused just now, so what is used may be above the limit for a moment. */
static void raise_peaks(struct bl_quota *quota)
{
    for (; quota; quota = quota->parent) {
        const uint64_t counted = bl_quota_used(quota), limit = quota->limit_bytes;
        const uint64_t used = limit != 0 && counted > limit ? limit : counted;
        uint64_t peak = __atomic_load_n(&quota->peak_bytes, __ATOMIC_RELAXED);
        while (peak < used && !__atomic_compare_exchange_n(&quota->peak_bytes, &peak, used, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            ;
    }
}

/* Adds first and takes back on excess: two allocations that race at the limit may both
 * be refused, but never both pass. */
static bool charge_one(struct bl_quota *quota, uint64_t bytes, struct bl_error *err)
{
    const uint64_t used = __atomic_add_fetch(&quota->used_bytes, bytes, __ATOMIC_RELAXED);
    if (quota->limit_bytes != 0 && (used > quota->limit_bytes || used < bytes)) {
        __atomic_sub_fetch(&quota->used_bytes, bytes, __ATOMIC_RELAXED);
        bl_fail_limit(err, quota->name, quota->limit_bytes, used);
        return false;
    }
    return true;
}

static void release_up_to(struct bl_quota *quota, const struct bl_quota *end, uint64_t bytes)
{
    for (; quota != end; quota = quota->parent) __atomic_sub_fetch(&quota->used_bytes, bytes, __ATOMIC_RELAXED);
}

static enum bl_status charge(struct bl_quota *quota, uint64_t bytes, struct bl_error *err)
{
    for (struct bl_quota *q = quota; q; q = q->parent) {
        const bool inject = injected(q);
        if (!inject && charge_one(q, bytes, err)) continue;
        release_up_to(quota, q, bytes);
        return inject ? bl_fail(err, BL_NO_MEMORY) : BL_LIMIT;
    }
    return BL_OK;
}

enum bl_status bl_quota_charge(struct bl_quota *quota, uint64_t bytes, struct bl_error *err)
{
    const enum bl_status status = charge(quota, bytes, err);
    if (status == BL_OK) raise_peaks(quota);
    return status;
}

void bl_quota_release(struct bl_quota *quota, uint64_t bytes) { release_up_to(quota, NULL, bytes); }

/* ---- blocks --------------------------------------------------------------- */

static void *fresh(size_t bytes)
{
    void *base;
    return posix_memalign(&base, BIG_ALIGN, bytes + BIG_ALIGN) == 0 ? base : NULL;
}

/* A big block begins with its capacity. */
static void *get(size_t bytes)
{
    void *base = NULL;
    size_t capacity = bytes;
    if (bytes < BIG_BYTES) return malloc(bytes + SMALL_ALIGN);
    if (bytes >= BL_WARM_FROM) base = bl_warm_take(bytes, &capacity);
    if (!base) base = fresh(bytes);
    if (!base) {
        bl_warm_trim(); /* it may be what the process is short of */
        base = fresh(bytes);
    }
    if (base) *(size_t *)base = capacity;
    return base;
}

static void put_back(void *base, size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
    const bool kept = false; /* it wants to see each block's end */
#else
    const bool kept = bytes >= BL_WARM_FROM && bl_warm_give(base, *(size_t *)base);
#endif
    (void)bytes;
    if (!kept) free(base);
}

void *bl_alloc(struct bl_quota *quota, size_t bytes, struct bl_error *err)
{
    if (bytes > SIZE_MAX - OVERHEAD_LIMIT) {
        bl_fail(err, BL_NO_MEMORY);
        return NULL;
    }
    if (charge(quota, bytes, err) != BL_OK) return NULL;
    void *base = get(bytes);
    if (!base) {
        bl_quota_release(quota, bytes);
        bl_fail(err, BL_NO_MEMORY);
        return NULL;
    }
    raise_peaks(quota);
    char *p = (char *)base + front(bytes);
    *header_of(p) = (struct header){.quota = quota, .bytes = bytes};
    return p;
}

void *bl_alloc_zero(struct bl_quota *quota, size_t bytes, struct bl_error *err)
{
    void *p = bl_alloc(quota, bytes, err);
    if (p) memset(p, 0, bytes);
    return p;
}

void *bl_alloc_array(struct bl_quota *quota, size_t count, size_t size, struct bl_error *err)
{
    size_t bytes;
    if (!bl_mul_size(count, size, &bytes)) {
        bl_fail(err, BL_NO_MEMORY);
        return NULL;
    }
    return bl_alloc(quota, bytes, err);
}

void *bl_realloc(struct bl_quota *quota, void *p, size_t bytes, struct bl_error *err)
{
    if (!p) return bl_alloc(quota, bytes, err);
    void *q = bl_alloc(quota, bytes, err);
    if (!q) return NULL;
    const size_t old = header_of(p)->bytes;
    memcpy(q, p, old < bytes ? old : bytes);
    bl_free(p);
    return q;
}

void bl_free(void *p)
{
    if (!p) return;
    struct header *h = header_of(p);
    struct bl_quota *quota = h->quota;
    const size_t bytes = h->bytes;
    put_back(base_of(h), bytes);
    bl_quota_release(quota, bytes);
}

void bl_uncount(void *p)
{
    if (!p) return;
    struct header *h = header_of(p);
    bl_quota_release(h->quota, h->bytes);
    h->quota = NULL;
}
