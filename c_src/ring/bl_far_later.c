/* SPDX-License-Identifier: Apache-2.0
 *
 * Some of what the VM asks for takes long, because it runs code of guests outside of messages: loading a module, starting an actor
 * of one. A thread of its own does that, in order, and whatever else would overtake it; the main thread goes on with the rest.
 *
 *     LOAD_GUESTS, START of a guest          always
 *     LOAD, START again                      while anything waits here: handlers are loaded in order
 *     what names an actor that waits here    after it
 */
#include "bl_far_serve.h"

#include "bl_sync.h"

enum { LOOKED_THROUGH = 64 };

struct later {
    struct bl_link link;
    struct bl_far_head head;
    uint8_t *body;
};

static struct bl_far_process *const end = &bl_far_process;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct bl_queue queue; /* the first one is under way */
    bool started;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* ---- who waits ---- */

static bool names_actor(const struct bl_far_head *h)
{
    switch (h->kind) {
    case BL_FAR_MESSAGE:
    case BL_FAR_START:
    case BL_FAR_CONTROL:
    case BL_FAR_ROUTE:
    case BL_FAR_SUBSCRIBE:
    case BL_FAR_UNSUBSCRIBE:
    case BL_FAR_CREDIT: return true;
    default: return false;
    }
}

static bool names(const struct bl_far_head *h, uint64_t actor)
{
    return names_actor(h) && (h->actor == actor || (h->kind == BL_FAR_ROUTE && h->deadline == actor));
}

static bool follows(const struct bl_far_head *h, const struct bl_far_head *before)
{
    return names(before, h->actor) || (h->kind == BL_FAR_ROUTE && names(before, h->deadline));
}

static const struct bl_ring_guest_handler *guest_of(const struct bl_far_start *s)
{
    const struct bl_ring_handler *h = bl_handlers_find(&end->device->handlers, s->handler);
    return h ? bl_ring_guest_of(h) : NULL;
}

static bool is_long(const struct bl_far_head *h, const struct bl_far_start *s)
{
    return h->kind == BL_FAR_LOAD_GUESTS || (h->kind == BL_FAR_START && guest_of(s));
}

/* Lock held; something waits. */
static bool must_wait(const struct bl_far_head *h, const struct bl_far_start *s)
{
    if (h->kind == BL_FAR_LOAD || (h->kind == BL_FAR_START && s->again)) return true;
    if (!names_actor(h)) return false;
    size_t looked = 0;
    for (const struct bl_link *l = all.queue.head.next; l != &all.queue.head; l = l->next)
        if (looked++ == LOOKED_THROUGH || follows(h, &BL_CONTAINER(l, struct later, link)->head)) return true;
    return false;
}

/* ---- the thread ---- */

static void *work(void *unused)
{
    (void)unused;
    bl_thread_name("bl_ring_later");
    pthread_mutex_lock(&all.lock);
    for (;;) {
        struct bl_link *first = bl_queue_first(&all.queue);
        if (!first) {
            pthread_cond_wait(&all.wake, &all.lock);
            continue;
        }
        pthread_mutex_unlock(&all.lock);
        struct later *l = BL_CONTAINER(first, struct later, link);
        bl_far_end_do(&l->head, l->body);
        pthread_mutex_lock(&all.lock);
        bl_queue_remove(&all.queue, &l->link);
        bl_free(l);
    }
    return NULL;
}

/* Lock held. Without memory or a thread there is no going on: order would be lost. */
static void put(const struct bl_far_head *h, uint8_t *body)
{
    struct bl_error err;
    if (!all.started) {
        bl_queue_init(&all.queue);
        if (bl_thread_start(work, NULL, end->guests->stack_bytes) != 0) {
            bl_fail(&err, BL_NO_MEMORY);
            bl_far_end_die(&err);
        }
        all.started = true;
    }
    struct later *l = bl_alloc(NULL, sizeof *l, &err);
    if (!l) bl_far_end_die(&err);
    *l = (struct later){.head = *h, .body = body};
    bl_queue_push(&all.queue, &l->link);
    pthread_cond_signal(&all.wake);
}

bool bl_far_end_later(const struct bl_far_head *h, uint8_t *body)
{
    struct bl_far_start s = {.again = 0};
    if (!end->guests) return false;
    if (h->kind == BL_FAR_START) memcpy(&s, body, sizeof s);
    const bool waits = is_long(h, &s);
    pthread_mutex_lock(&all.lock);
    const bool later = waits || (all.queue.length > 0 && must_wait(h, &s));
    if (later) put(h, body);
    pthread_mutex_unlock(&all.lock);
    return later;
}
