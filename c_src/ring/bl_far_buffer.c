/* SPDX-License-Identifier: Apache-2.0
 *
 * Buffers of a device in another process are pieces of one file in memory, the arena, that this side and the process map, each
 * piece by itself. The file stays when a process ends, and the next one maps the same pieces: so do the buffers.
 *
 * The process may write into a buffer at any time, whatever this side says about its use. So nothing here looks at what is in one:
 * bytes are copied in and out, and take/1 makes a copy, because a binary must never change. It cannot make a piece go away: the
 * file's length only grows, and what is cut out of it reads as zeroes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bl_far.h"
#include "bl_sync.h"

enum { PAGE = 4096, LARGE_BYTES = 256 * 1024 };

/* ---- its end ---- */

static void *unmap(void *arg)
{
    struct bl_far_block *k = arg;
    struct bl_far *d = k->device;
    munmap(k->data, (size_t)k->bytes);
    (void)fallocate(d->arena, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)k->offset, (off_t)k->bytes);
    bl_free(k);
    bl_far_unref(d);
    return NULL;
}

/* Nobody uses it any more; lock not held. */
static void release(void *home)
{
    struct bl_far_block *k = home;
    struct bl_far *d = k->device;
    pthread_mutex_lock(&d->lock);
    d->block[k->index] = NULL;
    d->block_count--;
    if (d->state == BL_FAR_STATE_UP) bl_far_quiet(d, &(struct bl_far_head){.kind = BL_FAR_UNBUFFER, .function = k->index}, NULL);
    pthread_mutex_unlock(&d->lock);
    bl_quota_release(&d->quota, k->bytes); /* now, so that the next one finds room */
    /* Giving gigabytes back takes longer than starting a thread. */
    if (k->bytes < LARGE_BYTES || bl_thread_start(unmap, k, 0) != 0) unmap(k);
}

/* ---- making one ---- */

/* A place in the table. Lock held. */
static bool find_index(struct bl_far *d, uint32_t *index)
{
    for (uint32_t i = 0; i < d->block_room; i++) {
        const uint32_t at = (d->block_next + i) % d->block_room;
        if (d->block[at]) continue;
        *index = at;
        d->block_next = at + 1;
        return true;
    }
    const uint32_t room = d->block_room ? 2 * d->block_room : 64; /* at most BL_FAR_BUFFERS_MOST, a power of two */
    struct bl_far_block **more = bl_realloc(NULL, d->block, room * sizeof(struct bl_far_block *), NULL);
    if (!more) return false;
    for (uint32_t i = d->block_room; i < room; i++) more[i] = NULL;
    d->block = more;
    *index = d->block_room;
    d->block_room = room;
    d->block_next = *index + 1;
    return true;
}

/* Has the machine so much? posix_fallocate does not ask: it takes page after page, until the kernel kills somebody. */
static bool machine_has(uint64_t bytes)
{
    char line[128];
    unsigned long long kib = ULLONG_MAX;
    if (bytes < LARGE_BYTES) return true;
    FILE *info = fopen("/proc/meminfo", "re");
    while (info && fgets(line, sizeof line, info) && sscanf(line, "MemAvailable: %llu", &kib) != 1) continue;
    if (info) fclose(info);
    return bytes / 1024 < kib;
}

/* A piece of the file that is there, in this process only. */
static enum bl_status map_block(struct bl_far_block *k, struct bl_error *err)
{
    if (!machine_has(k->bytes)) return bl_fail(err, BL_NO_MEMORY);
    if (posix_fallocate(k->device->arena, (off_t)k->offset, (off_t)k->bytes) != 0) return bl_fail(err, BL_NO_MEMORY);
    void *data = mmap(NULL, (size_t)k->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, k->device->arena, (off_t)k->offset);
    if (data == MAP_FAILED) return bl_fail(err, BL_NO_MEMORY);
    k->data = data;
    return BL_OK;
}

/* May it be made, and where? The piece is gone when it is not made after all: there are 2^63 bytes of them. Lock held. */
static enum bl_status reserve(struct bl_far_block *k, struct bl_error *err)
{
    struct bl_far *d = k->device;
    const enum bl_status status = bl_far_check(d, err);
    if (status != BL_OK) return status;
    if (d->block_count >= BL_FAR_BUFFERS_MOST) return bl_fail_limit(err, "buffers", BL_FAR_BUFFERS_MOST, (uint64_t)BL_FAR_BUFFERS_MOST + 1);
    if (k->bytes > INT64_MAX - d->arena_bytes) return bl_fail(err, BL_NO_MEMORY);
    if (!find_index(d, &k->index)) return bl_fail(err, BL_NO_MEMORY);
    k->offset = d->arena_bytes;
    d->arena_bytes += k->bytes;
    d->block[k->index] = k;
    d->block_count++;
    return BL_OK;
}

static struct bl_far_head head_of(const struct bl_far_block *k)
{
    return (struct bl_far_head){.kind = BL_FAR_BUFFER, .function = k->index, .deadline = k->offset, .stamp = k->size};
}

/* The process is asked to map it, too. Lock held. */
static enum bl_status lend(struct bl_far_block *k, uint64_t request, struct bl_error *err)
{
    struct bl_far *d = k->device;
    const enum bl_status status = bl_far_check(d, err);
    struct bl_far_flight *f = status == BL_OK ? bl_far_flight_new(d, BL_FLIGHT_CONTROL, BL_FAR_BUFFER, NULL, err) : NULL;
    if (!f) return err->status;
    const struct bl_far_head head = head_of(k);
    f->request = request;
    f->head.function = head.function;
    f->head.deadline = head.deadline;
    f->head.stamp = head.stamp;
    k->lent = true;
    bl_far_flight_go(d, f);
    return BL_OK;
}

static void forget(struct bl_far_block *k)
{
    struct bl_far *d = k->device;
    pthread_mutex_lock(&d->lock);
    d->block[k->index] = NULL;
    d->block_count--;
    pthread_mutex_unlock(&d->lock);
}

/* In this process; *out has the block then. */
static enum bl_status make(struct bl_far_block *k, struct bl_ring_buffer **out, struct bl_error *err)
{
    struct bl_far *d = k->device;
    pthread_mutex_lock(&d->lock);
    enum bl_status status = reserve(k, err);
    pthread_mutex_unlock(&d->lock);
    if (status != BL_OK) return status;
    status = map_block(k, err);
    const struct bl_ring_buffer memory = {.data = k->data, .size = k->size, .release = release, .home = k};
    if (status == BL_OK) {
        bl_far_ref(d); /* the block's */
        status = bl_ring_buffer_over(NULL, d, &memory, out, err);
        if (status != BL_OK) {
            munmap(k->data, (size_t)k->bytes);
            bl_far_unref(d);
        }
    }
    if (status != BL_OK) forget(k);
    return status;
}

enum bl_status bl_far_buffer_new(struct bl_far *d, uint64_t size, uint64_t request, struct bl_ring_buffer **out, struct bl_error *err)
{
    if (size > INT64_MAX / 2) return bl_fail(err, BL_NO_MEMORY);
    const uint64_t bytes = ((size ? size : 1) + PAGE - 1) / PAGE * PAGE;
    enum bl_status status = bl_quota_charge(&d->quota, bytes, err);
    if (status != BL_OK) return status;
    struct bl_far_block *k = bl_alloc_zero(NULL, sizeof *k, err);
    if (k) *k = (struct bl_far_block){.device = d, .bytes = bytes, .size = size};
    status = k ? make(k, out, err) : err->status;
    if (status != BL_OK) {
        bl_quota_release(&d->quota, bytes);
        bl_free(k);
        return status;
    }
    pthread_mutex_lock(&d->lock);
    status = lend(k, request, err);
    pthread_mutex_unlock(&d->lock);
    if (status != BL_OK) bl_ring_buffer_unref(*out);
    return status;
}

void bl_far_buffers_again(struct bl_far *d)
{
    for (uint32_t i = 0; i < d->block_room; i++) {
        if (!d->block[i] || !d->block[i]->lent) continue; /* one that is being made is lent by who makes it */
        const struct bl_far_head head = head_of(d->block[i]);
        bl_far_quiet(d, &head, NULL);
    }
}

/* ---- in messages ---- */

struct bl_far_uses *bl_far_uses_new(const struct bl_slot *slot, struct bl_error *err)
{
    struct bl_far_uses *u = bl_alloc_zero(NULL, sizeof *u, err);
    if (!u) return NULL;
    u->count = slot->size;
    u->flags = slot->flags;
    for (unsigned i = 0; i < slot->size; i++) {
        struct bl_ring_buffer *b = u->buffer[i] = slot->payload.buffers[i];
        const struct bl_far_block *k = bl_ring_buffer_whole(b)->home;
        u->use[i] = (struct bl_far_use){.buffer = k->index, .offset = (uint64_t)(b->data - k->data), .size = b->size};
    }
    return u;
}

void bl_far_uses_done(struct bl_far_uses *u)
{
    for (unsigned i = 0; i < u->count; i++) bl_ring_buffer_done(u->buffer[i], u->flags >> BL_MESSAGE_WRITES >> i & 1);
    bl_free(u);
}
