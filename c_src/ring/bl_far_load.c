/* SPDX-License-Identifier: Apache-2.0
 *
 * Handlers for a device in another process: which are loaded there, and again in each process after that.
 */
#include "bl_far.h"

struct bl_far_load *bl_far_load_new(struct bl_far *d, enum bl_far_kind kind, size_t size, struct bl_error *err)
{
    if (kind == BL_FAR_LOAD && size > BL_FAR_TEXT) {
        bl_fail_limit(err, "path", BL_FAR_TEXT, size);
        return NULL;
    }
    if (size > BL_FAR_BODY_MOST) {
        bl_fail_limit(err, "module_bytes", BL_FAR_BODY_MOST, size);
        return NULL;
    }
    struct bl_far_load *load = bl_alloc(&d->quota, sizeof *load + size, err);
    if (load) *load = (struct bl_far_load){.refs = 1, .kind = (uint8_t)kind, .size = size};
    return load;
}

void bl_far_load_unref(struct bl_far_load *load)
{
    if (load && bl_refs_put(&load->refs)) bl_free(load);
}

void bl_far_flight_load(struct bl_far_flight *f, struct bl_far_load *load)
{
    f->load = load;
    f->data = load->bytes;
    f->head.total = (uint32_t)load->size;
    if (load->size <= BL_FAR_INLINE) memcpy(f->head.bytes, load->bytes, load->size);
}

enum bl_status bl_far_load(struct bl_far *d, struct bl_far_load *load, uint64_t request, struct bl_error *err)
{
    struct bl_far_flight *f = NULL;
    pthread_mutex_lock(&d->lock);
    enum bl_status status = bl_far_check(d, err);
    if (status == BL_OK && !(f = bl_far_flight_new(d, BL_FLIGHT_CONTROL, (enum bl_far_kind)load->kind, NULL, err))) status = err->status;
    if (f) {
        f->request = request;
        bl_far_flight_load(f, load);
        bl_far_flight_go(d, f);
    }
    pthread_mutex_unlock(&d->lock);
    if (!f) bl_far_load_unref(load);
    return status;
}

/* Of modules nobody compares the bytes: each is another one. */
static bool is_same(const struct bl_far_load *a, const struct bl_far_load *b)
{
    return a->kind == BL_FAR_LOAD && b->kind == BL_FAR_LOAD && a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* A file that is loaded again is the newest again, and loaded once. Lock held. */
static void drop_same(struct bl_far *d, const struct bl_far_load *load)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->load_count; i++)
        if (is_same(d->load[i], load))
            bl_far_load_unref(d->load[i]);
        else
            d->load[kept++] = d->load[i];
    d->load_count = kept;
}

bool bl_far_remember(struct bl_far *d, struct bl_far_load *load)
{
    struct bl_far_load **more = bl_realloc(NULL, d->load, (d->load_count + 1) * sizeof(struct bl_far_load *), NULL);
    if (!more) return false;
    d->load = more;
    drop_same(d, load);
    d->load[d->load_count++] = load;
    return true;
}

void bl_far_forget(struct bl_far *d)
{
    while (d->load_count > 0) bl_far_load_unref(d->load[--d->load_count]);
    bl_free(d->load);
    d->load = NULL;
}
