/* SPDX-License-Identifier: Apache-2.0
 *
 * One thread for what must not happen on a scheduler, or happens when nobody is there: the deadline of a call whose
 * import waits, closing what was in use, freeing stores and host values. And the list of all guests, for the totals.
 */
#include <string.h>

#include "bl_ctx.h"
#include "bl_sync.h"
#include "bl_wasm_guest.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct bl_link chores; /* of guests with a reference each */
    uint64_t until_ns;     /* when it wakes by itself */
    bool started;
    void (*free_boxes)(struct bl_wasm_box *);
    struct bl_wasm_box *boxes; /* atomically */
} janitor = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void free_boxes(void)
{
    struct bl_wasm_box *first = __atomic_exchange_n(&janitor.boxes, NULL, __ATOMIC_ACQUIRE);
    if (first && janitor.free_boxes) janitor.free_boxes(first);
}

/* The next guest that is due, out of the list; NULL: none is, and *until says when. */
static struct bl_wasm_guest *next_due(uint64_t now, uint64_t *until)
{
    *until = UINT64_MAX;
    for (struct bl_link *l = janitor.chores.next; l != &janitor.chores; l = l->next) {
        struct bl_wasm_guest *g = BL_CONTAINER(l, struct bl_wasm_guest, chore);
        if (g->due_ns <= now) {
            bl_link_remove(l);
            __atomic_store_n(&g->due_ns, UINT64_MAX, __ATOMIC_SEQ_CST);
            return g;
        }
        if (g->due_ns < *until) *until = g->due_ns;
    }
    return NULL;
}

static void *work(void *unused)
{
    (void)unused;
    bl_thread_name("bl_wasm");
    pthread_mutex_lock(&janitor.lock);
    for (;;) {
        struct bl_wasm_guest *g = next_due(bl_now_ns(), &janitor.until_ns);
        if (!g) {
            bl_cond_wait_until(&janitor.wake, &janitor.lock, janitor.until_ns);
            continue;
        }
        janitor.until_ns = 0; /* awake: nobody needs to wake it */
        pthread_mutex_unlock(&janitor.lock);
        const uint64_t due = bl_wasm_guest_tend(g, bl_now_ns());
        free_boxes();
        if (due != UINT64_MAX) bl_wasm_janitor_look_at(g, due);
        bl_wasm_guest_unref(g);
        pthread_mutex_lock(&janitor.lock);
    }
    return NULL;
}

static void start(void)
{
    janitor.started = true;
    bl_link_init(&janitor.chores);
    bl_cond_init(&janitor.wake);
    bl_thread_start(work, NULL, 1 << 20);
}

void bl_wasm_janitor_look_at(struct bl_wasm_guest *g, uint64_t due_ns)
{
    pthread_mutex_lock(&janitor.lock);
    if (!janitor.started) start();
    if (bl_link_is_alone(&g->chore)) {
        bl_wasm_guest_ref(g);
        bl_link_append(&janitor.chores, &g->chore);
    }
    if (due_ns < g->due_ns) __atomic_store_n(&g->due_ns, due_ns, __ATOMIC_SEQ_CST);
    if (due_ns < janitor.until_ns) {
        janitor.until_ns = 0; /* once is enough */
        pthread_cond_signal(&janitor.wake);
    }
    pthread_mutex_unlock(&janitor.lock);
}

void bl_wasm_on_boxes(void (*free_boxes_)(struct bl_wasm_box *)) { janitor.free_boxes = free_boxes_; }

/* May run in the guest's collector, on a fiber: only hangs it into a list. Freed when a store is, and by bl_wasm_boxes_free. */
void bl_wasm_box_drop(void *p)
{
    struct bl_wasm_box *box = p;
    box->next = __atomic_load_n(&janitor.boxes, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&janitor.boxes, &box->next, box, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
}

void bl_wasm_boxes_free(void)
{
    if (__atomic_load_n(&janitor.boxes, __ATOMIC_RELAXED)) free_boxes();
}

/* ---- totals ------------------------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    struct bl_link all;
    struct bl_wasm_totals gone;
    uint64_t count;
    bool begun;
} totals = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool bl_wasm_totals_enter(struct bl_wasm_guest *g, uint64_t most)
{
    pthread_mutex_lock(&totals.lock);
    if (!totals.begun) bl_link_init(&totals.all);
    totals.begun = true;
    const bool room = totals.count < most;
    if (room) {
        totals.count++;
        bl_link_append(&totals.all, &g->all);
    }
    pthread_mutex_unlock(&totals.lock);
    return room;
}

/* Numbers that others change meanwhile: what is read is a little old. */
static void add(struct bl_wasm_totals *sum, const struct bl_wasm_guest *g)
{
    const struct bl_wasm_statistics *s = &g->statistics;
    sum->s.calls += s->calls;
    sum->s.direct_calls += s->direct_calls;
    sum->s.imports += s->imports;
    sum->s.slices += s->slices;
    sum->s.slices_over_1ms += s->slices_over_1ms;
    sum->s.traps += s->traps;
    sum->s.cancelled += s->cancelled;
    sum->s.timed_out += s->timed_out;
    sum->s.migrations += s->migrations;
    sum->fuel += g->fuel_seen;
    if (s->longest_slice_ns > sum->s.longest_slice_ns) sum->s.longest_slice_ns = s->longest_slice_ns;
}

void bl_wasm_totals_leave(struct bl_wasm_guest *g)
{
    pthread_mutex_lock(&totals.lock);
    bl_link_remove(&g->all);
    add(&totals.gone, g);
    totals.count--;
    pthread_mutex_unlock(&totals.lock);
}

void bl_wasm_totals(struct bl_wasm_totals *out)
{
    pthread_mutex_lock(&totals.lock);
    *out = totals.gone;
    for (struct bl_link *l = totals.all.next; totals.begun && l != &totals.all; l = l->next) {
        const struct bl_wasm_guest *g = BL_CONTAINER(l, struct bl_wasm_guest, all);
        add(out, g);
        out->memory_bytes += g->memory_bytes;
    }
    out->guests = totals.count;
    pthread_mutex_unlock(&totals.lock);
}
