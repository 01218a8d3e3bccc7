/* SPDX-License-Identifier: Apache-2.0
 *
 * Buffers in the process of a device: pieces of the VM's file, mapped. They count with the device's memory here, too, so that
 * actors and buffers together keep to its limit.
 */
#include "bl_far_serve.h"

#include <sys/mman.h>

enum { PAGE = 4096 };

static struct bl_far_process *const end = &bl_far_process;

static uint64_t pages_of(uint64_t size) { return ((size ? size : 1) + PAGE - 1) / PAGE * PAGE; }

struct piece {
    void *data;
    uint64_t bytes;
};

static void release(void *home)
{
    struct piece *p = home;
    munmap(p->data, (size_t)p->bytes);
    bl_quota_release(&end->device->quota, p->bytes);
    bl_free(p);
}

static enum bl_status map_piece(struct piece *p, uint64_t offset, struct bl_error *err)
{
    const enum bl_status status = bl_quota_charge(&end->device->quota, p->bytes, err);
    if (status != BL_OK) return status;
    p->data = mmap(NULL, (size_t)p->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, end->far->arena, (off_t)offset);
    if (p->data != MAP_FAILED) return BL_OK;
    bl_quota_release(&end->device->quota, p->bytes);
    return bl_fail(err, BL_NO_MEMORY);
}

static enum bl_status take_in(const struct bl_far_head *h, struct bl_error *err)
{
    struct piece *p = bl_alloc_zero(NULL, sizeof *p, err);
    if (!p) return err->status;
    p->bytes = pages_of(h->stamp);
    enum bl_status status = map_piece(p, h->deadline, err);
    if (status != BL_OK) {
        bl_free(p);
        return status;
    }
    const struct bl_ring_buffer memory = {.data = p->data, .size = h->stamp, .release = release, .home = p};
    status = bl_ring_buffer_over(end->device, NULL, &memory, &end->buffer[h->function], err);
    if (status != BL_OK) release(p);
    return status;
}

void bl_far_end_lend(const struct bl_far_head *h)
{
    struct bl_error err;
    enum bl_status status = BL_OK;
    struct bl_ring_buffer *old = end->buffer[h->function % BL_FAR_BUFFERS_MOST];
    end->buffer[h->function % BL_FAR_BUFFERS_MOST] = NULL;
    if (old) bl_ring_buffer_unref(old);
    if (h->kind == BL_FAR_BUFFER) status = take_in(h, &err);
    bl_far_end_answer(h->token, status == BL_OK ? NULL : &err, 0);
}

/* ---- in messages ---- */

static enum bl_status use(const struct bl_far_use *u, bool write, struct bl_ring_buffer **out, struct bl_error *err)
{
    struct bl_ring_buffer *b = end->buffer[u->buffer % BL_FAR_BUFFERS_MOST], *view = NULL;
    if (!b) return bl_fail(err, BL_NO_MEMORY); /* there was no room for it in this process */
    const bool all = u->offset == 0 && u->size == b->size;
    enum bl_status status = all ? BL_OK : bl_ring_buffer_view(b, u->offset, u->size, &view, err);
    if (status == BL_OK) status = bl_ring_buffer_use(all ? b : view, write, err);
    if (status == BL_OK) *out = all ? b : view;
    if (view) bl_ring_buffer_unref(view); /* the use keeps it */
    return status;
}

enum bl_status bl_far_end_uses(const struct bl_far_head *h, const uint8_t *body, struct bl_slot *out, struct bl_error *err)
{
    struct bl_far_use uses[BL_RING_BUFFERS];
    const unsigned count = (unsigned)(h->total / sizeof uses[0]);
    memcpy(uses, body ? body : h->bytes, count * sizeof uses[0]);
    *out = (struct bl_slot){.flags = (uint16_t)(h->flags & ~BL_MESSAGE_REQUEST)};
    enum bl_status status = BL_OK;
    for (unsigned i = 0; i < count && status == BL_OK; i++) {
        struct bl_ring_buffer *b = NULL;
        status = use(&uses[i], h->flags >> BL_MESSAGE_WRITES >> i & 1, &b, err);
        if (status == BL_OK) out->payload.buffers[out->size++] = b;
    }
    if (status != BL_OK) bl_far_end_unuse(out);
    return status;
}

void bl_far_end_unuse(const struct bl_slot *slot)
{
    for (unsigned i = 0; i < slot->size; i++) bl_ring_buffer_done(slot->payload.buffers[i], slot->flags >> BL_MESSAGE_WRITES >> i & 1);
}
