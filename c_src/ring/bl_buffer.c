/* SPDX-License-Identifier: Apache-2.0
 *
 * A buffer's word `use`: 0 idle, n readers, BL_BUFFER_WRITER one writer; BL_BUFFER_CLOSED beside any of these. Views use the
 * word of their parent. A message uses its buffers from the moment it is sent until it was handled or refused.
 */
#include "bl_far.h"

struct bl_ring_buffer *bl_ring_buffer_whole(struct bl_ring_buffer *b) { return b->parent ? b->parent : b; }

static uint64_t *count_of(struct bl_device *d, struct bl_far *far) { return d ? &d->buffer_count : &far->buffer_count; }

static enum bl_status make(struct bl_device *d, struct bl_far *far, struct bl_ring_buffer **out, struct bl_error *err)
{
    struct bl_ring_buffer *b = bl_alloc_zero(d ? &d->quota : &far->quota, sizeof *b, err);
    if (!b) return err->status;
    b->refs = 1;
    b->device = d;
    b->far = far;
    if (d) bl_device_ref(d);
    else bl_far_ref(far);
    bl_count(count_of(d, far), 1);
    *out = b;
    return BL_OK;
}

enum bl_status bl_ring_buffer_over(struct bl_device *d, struct bl_far *far, const struct bl_ring_buffer *memory,
                                   struct bl_ring_buffer **out, struct bl_error *err)
{
    const enum bl_status status = make(d, far, out, err);
    if (status != BL_OK) return status;
    (*out)->data = memory->data;
    (*out)->size = memory->size;
    (*out)->release = memory->release;
    (*out)->home = memory->home;
    return BL_OK;
}

/* At least so much, so that it is aligned to a cache line (bl_alloc: from 4 KiB on). */
static size_t room_of(uint64_t size) { return size < 4096 ? 4096 : (size_t)size; }

enum bl_status bl_ring_buffer_new(struct bl_device *d, uint64_t size, struct bl_ring_buffer **out, struct bl_error *err)
{
    struct bl_ring_buffer *b = NULL;
    enum bl_status status = bl_device_check(d, err);
    if (status == BL_OK) status = make(d, NULL, &b, err);
    if (status != BL_OK) return status;
    if (size > SIZE_MAX / 2) {
        bl_ring_buffer_unref(b);
        return bl_fail(err, BL_NO_MEMORY);
    }
    /* Counted by hand: what nobody has any more does not count, however late it is freed. */
    status = bl_quota_charge(&d->quota, room_of(size), err);
    if (status == BL_OK && !(b->data = bl_alloc_zero(NULL, room_of(size), err))) {
        bl_quota_release(&d->quota, room_of(size));
        status = err->status;
    }
    if (status != BL_OK) {
        bl_ring_buffer_unref(b);
        return status;
    }
    b->size = size;
    *out = b;
    return BL_OK;
}

enum bl_status bl_ring_buffer_view(struct bl_ring_buffer *of, uint64_t offset, uint64_t size, struct bl_ring_buffer **out,
                                   struct bl_error *err)
{
    if (offset > of->size || size > of->size - offset) return bl_fail_invalid(err, "view", "not inside of the buffer");
    struct bl_ring_buffer *b = NULL;
    const enum bl_status status = make(of->device, of->far, &b, err);
    if (status != BL_OK) return status;
    b->parent = bl_ring_buffer_whole(of);
    bl_refs_get(&b->parent->refs);
    b->data = of->data + offset;
    b->size = size;
    *out = b;
    return BL_OK;
}

enum bl_status bl_ring_buffer_use(struct bl_ring_buffer *b, bool write, struct bl_error *err)
{
    uint32_t *use = &bl_ring_buffer_whole(b)->use;
    uint32_t seen = __atomic_load_n(use, __ATOMIC_RELAXED); /* relaxed: the exchange proves it */
    for (;;) {
        if (seen & BL_BUFFER_CLOSED) return bl_fail(err, BL_CLOSED);
        if ((seen & BL_BUFFER_WRITER) || (write && seen != 0) || seen + 1 >= BL_BUFFER_WRITER) return bl_fail_busy(err, 0);
        /* Acquire: what the last user wrote is visible to this one. */
        if (__atomic_compare_exchange_n(use, &seen, write ? BL_BUFFER_WRITER : seen + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) break;
    }
    bl_refs_get(&b->refs);
    return BL_OK;
}

void bl_ring_buffer_done(struct bl_ring_buffer *b, bool write)
{
    /* Release: what this user wrote. */
    __atomic_sub_fetch(&bl_ring_buffer_whole(b)->use, write ? BL_BUFFER_WRITER : 1, __ATOMIC_RELEASE);
    bl_ring_buffer_unref(b);
}

void bl_ring_buffer_close(struct bl_ring_buffer *b)
{
    /* Relaxed: in the order of changes of `use` each use is either before it or refused. */
    if (!b->parent) __atomic_or_fetch(&b->use, BL_BUFFER_CLOSED, __ATOMIC_RELAXED);
}

void bl_ring_buffer_unref(struct bl_ring_buffer *b)
{
    if (!bl_refs_put(&b->refs)) return;
    struct bl_device *d = b->device;
    struct bl_far *far = b->far;
    if (b->parent) {
        bl_ring_buffer_unref(b->parent);
    } else if (b->release) {
        b->release(b->home);
    } else if (b->data) {
        bl_quota_release(&d->quota, room_of(b->size));
        bl_device_free_later(d, b->data, (size_t)b->size);
    }
    bl_free(b);
    bl_count(count_of(d, far), UINT64_MAX); /* one less */
    if (d) bl_device_unref(d);
    else bl_far_unref(far);
}
