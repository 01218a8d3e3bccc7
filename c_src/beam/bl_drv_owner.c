/* SPDX-License-Identifier: Apache-2.0
 *
 * Setting up a monitor costs more than the rest of a submission together, so it is kept from one
 * task of a process to the next. Entries without tasks are given up when there are many.
 */
#include "bl_runtime_drv.h"

enum { OWNER_BUCKETS = 512, OWNERS_KEPT = 256, OWNERS_SWEPT = 8 };

struct owner {
    struct bl_owner tasks;
    struct bl_link bucket, age; /* age: the one used longest ago first */
    ErlDrvTermData pid;
    ErlDrvMonitor monitor;
};

struct drv_owners {
    struct bl_link bucket[OWNER_BUCKETS];
    struct bl_link age;
    size_t count;
};

static struct bl_link *bucket_of(struct drv_owners *o, ErlDrvTermData pid)
{
    return &o->bucket[(pid >> 4 ^ pid >> 13) % OWNER_BUCKETS];
}

static struct owner *find(struct drv_owners *o, ErlDrvTermData pid)
{
    struct bl_link *head = bucket_of(o, pid);
    for (struct bl_link *l = head->next; l != head; l = l->next) {
        struct owner *owner = BL_CONTAINER(l, struct owner, bucket);
        if (owner->pid == pid) return owner;
    }
    return NULL;
}

static void free_owner(struct bl_owner *tasks) { bl_free(BL_CONTAINER(tasks, struct owner, tasks)); }

static void forget(struct drv_owners *o, struct owner *owner)
{
    bl_link_remove(&owner->bucket);
    bl_link_remove(&owner->age);
    o->count--;
}

/* Looks at a few of the oldest; those with tasks become the youngest. */
static void sweep(struct drv_port *port)
{
    struct drv_owners *o = port->owners;
    for (int i = 0; i < OWNERS_SWEPT && o->count > OWNERS_KEPT; i++) {
        struct owner *owner = BL_CONTAINER(o->age.next, struct owner, age);
        if (bl_source_owner_busy(port->source, &owner->tasks)) {
            bl_link_remove(&owner->age);
            bl_link_append(&o->age, &owner->age);
        } else {
            driver_demonitor_process(port->port, &owner->monitor);
            forget(o, owner);
            bl_free(owner);
        }
    }
}

static struct owner *add(struct drv_port *port, ErlDrvTermData pid, bool *dead)
{
    struct drv_owners *o = port->owners;
    struct owner *owner = bl_alloc_zero(NULL, sizeof *owner, NULL);
    if (!owner) return NULL;
    bl_owner_init(&owner->tasks, free_owner);
    owner->pid = pid;
    if (driver_monitor_process(port->port, pid, &owner->monitor) != 0) {
        *dead = true;
        bl_free(owner);
        return NULL;
    }
    bl_link_append(bucket_of(o, pid), &owner->bucket);
    bl_link_append(&o->age, &owner->age);
    o->count++;
    return owner;
}

struct bl_owner *drv_owners_get(struct drv_port *port, ErlDrvTermData pid, bool *dead)
{
    struct drv_owners *o = port->owners;
    *dead = false;
    struct owner *owner = find(o, pid);
    if (owner) {
        bl_link_remove(&owner->age);
        bl_link_append(&o->age, &owner->age);
        return &owner->tasks;
    }
    sweep(port);
    owner = add(port, pid, dead);
    return owner ? &owner->tasks : NULL;
}

void drv_owners_died(struct drv_port *port, ErlDrvMonitor *monitor)
{
    const ErlDrvTermData pid = driver_get_monitored_process(port->port, monitor);
    struct owner *owner = find(port->owners, pid);
    if (!owner) return;
    forget(port->owners, owner);
    bl_source_owner_died(port->source, &owner->tasks);
}

struct drv_owners *drv_owners_new(void)
{
    struct drv_owners *o = bl_alloc(NULL, sizeof *o, NULL);
    if (!o) return NULL;
    for (int i = 0; i < OWNER_BUCKETS; i++) bl_link_init(&o->bucket[i]);
    bl_link_init(&o->age);
    o->count = 0;
    return o;
}

void drv_owners_free(struct drv_owners *o)
{
    if (!o) return;
    while (!bl_link_is_alone(&o->age)) {
        struct owner *owner = BL_CONTAINER(o->age.next, struct owner, age);
        forget(o, owner);
        bl_free(owner);
    }
    bl_free(o);
}
