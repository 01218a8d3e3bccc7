/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_engine.h"
#include "bl_sync.h"

/* ---- the table ---------------------------------------------------------------- */

/* Keys are hashes or numbers in a row: both spread by a multiplication. */
static struct bl_link *bucket_of(struct bl_source *source, uint64_t key)
{
    return &source->bucket[(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) % BL_BUCKETS];
}

static struct bl_task *find(struct bl_source *source, uint64_t key)
{
    struct bl_link *head = bucket_of(source, key);
    for (struct bl_link *l = head->next; l != head; l = l->next) {
        struct bl_task *task = BL_CONTAINER(l, struct bl_task, bucket);
        if (task->key == key) return task;
    }
    return NULL;
}

/* ---- the timing wheel ----------------------------------------------------------- */

/* Rounded up: never early. */
static uint64_t tick_of(uint64_t ns) { return ns / BL_TICK_NS + (ns % BL_TICK_NS != 0); }

static void arm(struct bl_source *source, struct bl_task *task)
{
    uint64_t tick = tick_of(task->deadline_ns);
    if (tick <= source->tick) tick = source->tick + 1; /* overdue: the next look finds it */
    const size_t slot = tick % BL_SLOTS;
    task->slot_number = (uint16_t)slot;
    bl_link_append(&source->slot[slot], &task->slot);
    source->slots_used[slot / 64] |= UINT64_C(1) << slot % 64;
}

static void note_empty(struct bl_source *source, size_t slot)
{
    if (bl_link_is_alone(&source->slot[slot])) source->slots_used[slot / 64] &= ~(UINT64_C(1) << slot % 64);
}

/* Distance from `from` (exclusive) to the next slot in use; 0 when none is. */
static uint64_t next_used(const struct bl_source *source, uint64_t from)
{
    for (uint64_t i = 1; i <= BL_SLOTS;) {
        const size_t slot = (from + i) % BL_SLOTS;
        const uint64_t word = source->slots_used[slot / 64] >> slot % 64;
        if (word) {
            i += (uint64_t)__builtin_ctzll(word);
            return i <= BL_SLOTS ? i : 0;
        }
        i += 64 - slot % 64;
    }
    return 0;
}

/* Moves the overdue tasks of one slot to another list. */
static void collect(struct bl_source *source, size_t slot, uint64_t now_ns, struct bl_link *overdue)
{
    struct bl_link *head = &source->slot[slot];
    for (struct bl_link *l = head->next, *next; l != head; l = next) {
        next = l->next;
        struct bl_task *task = BL_CONTAINER(l, struct bl_task, slot);
        if (task->deadline_ns > now_ns) continue; /* a later round */
        bl_link_remove(l);
        bl_link_append(overdue, l);
    }
    note_empty(source, slot);
}

uint64_t bl_source_expire(struct bl_source *source, uint64_t now_ns)
{
    struct bl_link overdue;
    bl_link_init(&overdue);
    const uint64_t now = now_ns / BL_TICK_NS;
    pthread_mutex_lock(&source->lock);
    if (now > source->tick + BL_SLOTS) source->tick = now - BL_SLOTS; /* one round shows every slot */
    while (source->tick < now) {
        const uint64_t step = next_used(source, source->tick);
        if (step == 0 || source->tick + step > now) {
            source->tick = now;
            break;
        }
        source->tick += step;
        collect(source, source->tick % BL_SLOTS, now_ns, &overdue);
    }
    while (!bl_link_is_alone(&overdue)) {
        /* While the lock is open others may unlink tasks: that takes them out of `overdue` too. */
        struct bl_task *task = BL_CONTAINER(overdue.next, struct bl_task, slot);
        bl_link_remove(&task->slot);
        bl_task_ref(task);
        pthread_mutex_unlock(&source->lock);
        bl_task_end_early(task, BL_TIMEOUT);
        bl_task_unref(task);
        pthread_mutex_lock(&source->lock);
    }
    const uint64_t step = next_used(source, source->tick);
    const uint64_t next = step == 0 ? UINT64_MAX : (source->tick + step) * BL_TICK_NS;
    pthread_mutex_unlock(&source->lock);
    return next;
}

/* ---- traces (lock held) ------------------------------------------------------------------ */

static struct bl_trace trace_of(const struct bl_task *task)
{
    return (struct bl_trace){.key = task->key,
                             .submitted_ns = task->submitted_ns,
                             .started_ns = __atomic_load_n(&task->started_ns, __ATOMIC_RELAXED),
                             .answered_ns = __atomic_load_n(&task->answered_ns, __ATOMIC_RELAXED),
                             .finished_ns = __atomic_load_n(&task->finished_ns, __ATOMIC_RELAXED),
                             .priority = task->options.priority,
                             .status = __atomic_load_n(&task->status, __ATOMIC_RELAXED)};
}

static void remember(struct bl_source *source, const struct bl_task *task)
{
    source->trace[task->key % BL_TRACES] = trace_of(task);
}

/* ---- in and out -------------------------------------------------------------------- */

static enum bl_status may_link(const struct bl_source *source, const struct bl_task *task)
{
    const size_t most = source->pool->config.max_per_owner;
    if (source->closed) return BL_CLOSED;
    return task->owner && most > 0 && task->owner->count >= most ? BL_BUSY : BL_OK;
}

enum bl_status bl_source_link(struct bl_source *source, struct bl_task *task)
{
    pthread_mutex_lock(&source->lock);
    const enum bl_status status = may_link(source, task);
    if (status == BL_OK) {
        task->linked = true;
        bl_link_append(bucket_of(source, task->key), &task->bucket);
        if (task->owner) {
            bl_link_append(&task->owner->tasks, &task->owned);
            task->owner->count++;
            task->owner->bytes += task->options.argument_bytes;
        }
        if (task->deadline_ns != UINT64_MAX) arm(source, task);
    }
    pthread_mutex_unlock(&source->lock);
    return status;
}

static bool unlink_locked(struct bl_source *source, struct bl_task *task)
{
    if (!task->linked) return false;
    task->linked = false;
    bl_link_remove(&task->bucket);
    bl_link_remove(&task->slot);
    note_empty(source, task->slot_number);
    if (task->owner) {
        bl_link_remove(&task->owned);
        task->owner->count--;
        task->owner->bytes -= task->options.argument_bytes;
    }
    return true;
}

bool bl_source_unlink(struct bl_source *source, struct bl_task *task)
{
    pthread_mutex_lock(&source->lock);
    const bool was_linked = unlink_locked(source, task);
    if (was_linked && task->answered_ns > 0) remember(source, task);
    pthread_mutex_unlock(&source->lock);
    return was_linked;
}

bool bl_source_cancel(struct bl_source *source, uint64_t key)
{
    pthread_mutex_lock(&source->lock);
    struct bl_task *task = find(source, key);
    if (task) bl_task_ref(task);
    pthread_mutex_unlock(&source->lock);
    if (!task) return false;
    const bool done = bl_task_end_early(task, BL_CANCELLED);
    bl_task_unref(task);
    return done;
}

void bl_owner_init(struct bl_owner *owner, void (*free_owner)(struct bl_owner *owner))
{
    bl_link_init(&owner->tasks);
    bl_link_init(&owner->dead);
    owner->count = 0;
    owner->bytes = 0;
    owner->free = free_owner;
}

size_t bl_source_owner_tasks(struct bl_source *source, struct bl_owner *owner, uint64_t *bytes)
{
    pthread_mutex_lock(&source->lock);
    const size_t tasks = owner->count;
    if (bytes) *bytes = owner->bytes;
    pthread_mutex_unlock(&source->lock);
    return tasks;
}

/* Detached first, so that nothing points to the owner afterwards: also not a task whose answer another
 * thread is sending just now. With a reference; NULL: none left, and the owner is out of the source. */
static struct bl_task *orphan_of(struct bl_source *source, struct bl_owner *owner)
{
    struct bl_task *task = NULL;
    pthread_mutex_lock(&source->lock);
    if (bl_link_is_alone(&owner->tasks)) {
        bl_link_remove(&owner->dead);
    } else {
        task = BL_CONTAINER(owner->tasks.next, struct bl_task, owned);
        bl_link_remove(&task->owned);
        owner->count--;
        owner->bytes -= task->options.argument_bytes;
        task->owner = NULL;
        bl_task_ref(task);
    }
    pthread_mutex_unlock(&source->lock);
    return task;
}

static struct bl_owner *dead_owner(struct bl_source *source)
{
    pthread_mutex_lock(&source->lock);
    struct bl_owner *owner =
        bl_link_is_alone(&source->dead_owners) ? NULL : BL_CONTAINER(source->dead_owners.next, struct bl_owner, dead);
    pthread_mutex_unlock(&source->lock);
    return owner;
}

static void bury_owners(struct bl_source *source)
{
    for (struct bl_owner *owner; (owner = dead_owner(source)) != NULL; owner->free(owner)) {
        for (struct bl_task *task; (task = orphan_of(source, owner)) != NULL; bl_task_unref(task))
            bl_task_end_early(task, BL_CANCELLED);
    }
}

void bl_source_owner_died(struct bl_source *source, struct bl_owner *owner)
{
    pthread_mutex_lock(&source->lock);
    bl_link_append(&source->dead_owners, &owner->dead);
    const bool closed = source->closed;
    pthread_mutex_unlock(&source->lock);
    if (closed)
        bury_owners(source); /* there is no housekeeper any more; nor many tasks */
    else
        bl_pool_nudge(source->pool);
}

void bl_source_tidy(struct bl_source *source) { bury_owners(source); }

/* ---- times ----------------------------------------------------------------------------- */

void bl_source_record(struct bl_source *source, const struct bl_task *task)
{
    pthread_mutex_lock(&source->lock);
    remember(source, task);
    pthread_mutex_unlock(&source->lock);
}

bool bl_source_trace(struct bl_source *source, uint64_t key, struct bl_trace *out)
{
    pthread_mutex_lock(&source->lock);
    const struct bl_task *task = find(source, key);
    const struct bl_trace *over = &source->trace[key % BL_TRACES];
    const bool known = task || (over->submitted_ns > 0 && over->key == key);
    if (known) *out = task ? trace_of(task) : *over;
    pthread_mutex_unlock(&source->lock);
    return known;
}

/* ---- life ------------------------------------------------------------------------------ */

enum bl_status bl_source_new(struct bl_pool *pool, struct bl_source **out, struct bl_error *err)
{
    struct bl_source *source = bl_alloc_zero(NULL, sizeof *source, err);
    if (!source) return BL_NO_MEMORY;
    pthread_mutex_init(&source->lock, NULL);
    source->refs = 2; /* the caller's and the pool's list */
    source->tick = bl_now_ns() / BL_TICK_NS;
    bl_link_init(&source->dead_owners);
    for (size_t i = 0; i < BL_BUCKETS; i++) bl_link_init(&source->bucket[i]);
    for (size_t i = 0; i < BL_SLOTS; i++) bl_link_init(&source->slot[i]);
    source->pool = pool;
    bl_pool_ref(pool);
    pthread_mutex_lock(&pool->lock);
    bl_link_append(&pool->sources, &source->link);
    pthread_mutex_unlock(&pool->lock);
    *out = source;
    return BL_OK;
}

void bl_source_ref(struct bl_source *source) { __atomic_fetch_add(&source->refs, 1, __ATOMIC_RELAXED); }

void bl_source_unref(struct bl_source *source)
{
    if (__atomic_fetch_sub(&source->refs, 1, __ATOMIC_ACQ_REL) != 1) return;
    struct bl_pool *pool = source->pool;
    if (source->free_skin) source->free_skin(source->skin);
    pthread_mutex_destroy(&source->lock);
    bl_free(source);
    bl_pool_unref(pool);
}

/* The first task from a bucket on that nobody answers yet, with a reference; the bucket moves along. */
static struct bl_task *next_open(struct bl_source *source, size_t *bucket)
{
    struct bl_task *open = NULL;
    pthread_mutex_lock(&source->lock);
    for (; *bucket < BL_BUCKETS; ++*bucket) {
        struct bl_link *head = &source->bucket[*bucket];
        for (struct bl_link *l = head->next; l != head && !open; l = l->next) {
            struct bl_task *task = BL_CONTAINER(l, struct bl_task, bucket);
            if (bl_task_is_open(task)) open = task;
        }
        if (open) break;
    }
    if (open) bl_task_ref(open);
    pthread_mutex_unlock(&source->lock);
    return open;
}

void bl_source_close(struct bl_source *source)
{
    struct bl_pool *pool = source->pool;
    pthread_mutex_lock(&source->lock);
    source->closed = true;
    pthread_mutex_unlock(&source->lock);
    size_t bucket = 0;
    for (struct bl_task *task; (task = next_open(source, &bucket)) != NULL; bl_task_unref(task))
        bl_task_end_early(task, BL_CLOSED);
    if (source->close_skin) source->close_skin(source->skin);
    bury_owners(source);
    pthread_mutex_lock(&pool->lock);
    bl_link_remove(&source->link);
    pthread_mutex_unlock(&pool->lock);
    bl_source_unref(source); /* the list's */
    bl_source_unref(source); /* the maker's */
}
