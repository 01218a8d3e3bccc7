/* SPDX-License-Identifier: Apache-2.0
 *
 * Setting up a monitor costs more than the rest of a submission together, so it is kept from one
 * task of a process to the next. Entries without tasks are given up when there are many.
 *
 * An entry is a NIF resource, because the VM monitors for those. It holds a reference to its source;
 * the table's reference to it ends when the process died, or it was swept out, or the source closed.
 */
#include "bl_rt.h"
#include "bl_rt_entry.h"

enum { OWNER_BUCKETS = 256, OWNERS_KEPT = 128, OWNERS_SWEPT = 8, LISTED_MOST = 64, SEEN_MOST = 512 };

struct owner {
    struct bl_owner tasks;
    struct bl_link bucket, age; /* age: the one used longest ago first; under the table's lock */
    struct rt_owners *table;
    bool listed;
    bool entering; /* its process is between rt_owners_get and rt_owners_done: not to be swept out. Atomic */
    ErlNifPid pid;
    ErlNifMonitor monitor;
};

struct rt_owners {
    struct bl_source *source;
    pthread_mutex_t lock;
    struct bl_link bucket[OWNER_BUCKETS];
    struct bl_link age;
    size_t count;
};

static ErlNifResourceType *owner_type;

static struct bl_link *bucket_of(struct rt_owners *o, const ErlNifPid *pid)
{
    return &o->bucket[(pid->pid >> 4 ^ pid->pid >> 13) % OWNER_BUCKETS];
}

/* Lock held. */
static struct owner *find(struct rt_owners *o, const ErlNifPid *pid)
{
    struct bl_link *head = bucket_of(o, pid);
    for (struct bl_link *l = head->next; l != head; l = l->next) {
        struct owner *owner = BL_CONTAINER(l, struct owner, bucket);
        if (owner->pid.pid == pid->pid) return owner;
    }
    return NULL;
}

static void put(struct rt_owners *o, struct owner *owner)
{
    bl_link_append(bucket_of(o, &owner->pid), &owner->bucket);
    bl_link_append(&o->age, &owner->age);
    owner->listed = true;
    o->count++;
}

/* Lock held. False: another was faster. */
static bool take_out(struct rt_owners *o, struct owner *owner)
{
    if (!owner->listed) return false;
    bl_link_remove(&owner->bucket);
    bl_link_remove(&owner->age);
    owner->listed = false;
    o->count--;
    return true;
}

static void touch(struct rt_owners *o, struct owner *owner)
{
    bl_link_remove(&owner->age);
    bl_link_append(&o->age, &owner->age);
}

static void free_owner(struct bl_owner *tasks) { enif_release_resource(BL_CONTAINER(tasks, struct owner, tasks)); }

/* One of the oldest, which has no tasks: out of the table; NULL: none found. Lock held. */
static struct owner *unused(struct rt_owners *o)
{
    for (int i = 0; i < OWNERS_SWEPT && o->count > OWNERS_KEPT; i++) {
        struct owner *owner = BL_CONTAINER(o->age.next, struct owner, age);
        /* Acquire: with the release in rt_owners_done, so that the task is seen. */
        if (!__atomic_load_n(&owner->entering, __ATOMIC_ACQUIRE) && bl_source_owner_tasks(o->source, &owner->tasks, NULL) == 0) {
            take_out(o, owner);
            return owner;
        }
        touch(o, owner);
    }
    return NULL;
}

/* Until rt_owners_done. Lock held. */
static void enter(struct owner *owner)
{
    __atomic_store_n(&owner->entering, true, __ATOMIC_RELAXED); /* relaxed: read under the lock */
    enif_keep_resource(owner);
}

struct bl_owner *rt_owners_get(struct rt_owners *o, ErlNifEnv *env, const ErlNifPid *pid)
{
    pthread_mutex_lock(&o->lock);
    struct owner *owner = find(o, pid);
    struct owner *old = owner ? NULL : unused(o);
    if (owner) {
        touch(o, owner);
        enter(owner);
    }
    pthread_mutex_unlock(&o->lock);
    if (owner) return &owner->tasks;
    if (old) {
        enif_demonitor_process(env, old, &old->monitor);
        enif_release_resource(old);
    }
    owner = enif_alloc_resource(owner_type, sizeof *owner);
    memset(owner, 0, sizeof *owner);
    bl_owner_init(&owner->tasks, free_owner);
    owner->table = o;
    owner->pid = *pid;
    bl_source_ref(o->source);
    if (enif_monitor_process(env, owner, pid, &owner->monitor) != 0) {
        enif_release_resource(owner);
        return NULL;
    }
    pthread_mutex_lock(&o->lock);
    put(o, owner);
    enter(owner);
    pthread_mutex_unlock(&o->lock);
    return &owner->tasks;
}

void rt_owners_done(struct bl_owner *tasks)
{
    struct owner *owner = BL_CONTAINER(tasks, struct owner, tasks);
    __atomic_store_n(&owner->entering, false, __ATOMIC_RELEASE); /* what was done meanwhile comes first */
    enif_release_resource(owner);
}

/* Constant time: the housekeeper does the rest. */
static void owner_down(ErlNifEnv *env, void *object, ErlNifPid *pid, ErlNifMonitor *monitor)
{
    (void)env, (void)pid, (void)monitor;
    RT_ENTER();
    struct owner *owner = object;
    struct rt_owners *o = owner->table;
    pthread_mutex_lock(&o->lock);
    const bool mine = take_out(o, owner);
    pthread_mutex_unlock(&o->lock);
    if (mine) bl_source_owner_died(o->source, &owner->tasks);
    RT_LEAVE("owner_down");
}

static void owner_destroy(ErlNifEnv *env, void *object)
{
    (void)env;
    RT_ENTER();
    bl_source_unref(((struct owner *)object)->table->source);
    RT_LEAVE("owner_destroy");
}

/* The youngest first; a bounded look. */
ERL_NIF_TERM rt_owners_list(struct rt_owners *o, ErlNifEnv *env, ERL_NIF_TERM tail)
{
    int listed = 0, seen = 0;
    pthread_mutex_lock(&o->lock);
    for (struct bl_link *l = o->age.prev; l != &o->age && listed < LISTED_MOST && seen < SEEN_MOST; l = l->prev, seen++) {
        struct owner *owner = BL_CONTAINER(l, struct owner, age);
        uint64_t bytes;
        const size_t tasks = bl_source_owner_tasks(o->source, &owner->tasks, &bytes);
        if (tasks == 0) continue;
        const ERL_NIF_TERM pid = enif_make_pid(env, &owner->pid), count = enif_make_uint64(env, tasks);
        tail = enif_make_list_cell(env, enif_make_tuple3(env, pid, count, enif_make_uint64(env, bytes)), tail);
        listed++;
    }
    pthread_mutex_unlock(&o->lock);
    return tail;
}

void rt_owners_close(struct rt_owners *o)
{
    for (;;) {
        pthread_mutex_lock(&o->lock);
        struct owner *owner = bl_link_is_alone(&o->age) ? NULL : BL_CONTAINER(o->age.next, struct owner, age);
        if (owner) take_out(o, owner);
        pthread_mutex_unlock(&o->lock);
        if (!owner) return;
        enif_demonitor_process(NULL, owner, &owner->monitor);
        bl_source_owner_died(o->source, &owner->tasks);
    }
}

struct rt_owners *rt_owners_new(struct bl_source *source, struct bl_error *err)
{
    struct rt_owners *o = bl_alloc(NULL, sizeof *o, err);
    if (!o) return NULL;
    o->source = source;
    pthread_mutex_init(&o->lock, NULL);
    for (int i = 0; i < OWNER_BUCKETS; i++) bl_link_init(&o->bucket[i]);
    bl_link_init(&o->age);
    o->count = 0;
    return o;
}

void rt_owners_free(struct rt_owners *o)
{
    if (!o) return;
    pthread_mutex_destroy(&o->lock);
    bl_free(o);
}

bool rt_owners_load(ErlNifEnv *env)
{
    ErlNifResourceTypeInit init = {.dtor = owner_destroy, .down = owner_down, .members = 3};
    const ErlNifResourceFlags flags = ERL_NIF_RT_CREATE | ERL_NIF_RT_TAKEOVER;
    ErlNifResourceType *type = enif_init_resource_type(env, "beamline_owner", &init, flags, NULL);
    if (type) owner_type = type;
    return type != NULL;
}
