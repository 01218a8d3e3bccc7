/* SPDX-License-Identifier: Apache-2.0
 *
 * Intrusive doubly linked list, and a counted first-in first-out queue over it. No locks and no
 * bound: whoever owns the list locks and counts. A link that is in no list points to itself.
 */
#ifndef BL_LIST_H
#define BL_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct bl_link {
    struct bl_link *prev, *next;
};

/* The struct around a link. */
#define BL_CONTAINER(link, type, member) ((type *)(void *)((char *)(link) - offsetof(type, member)))

static inline void bl_link_init(struct bl_link *l) { l->prev = l->next = l; }

static inline bool bl_link_is_alone(const struct bl_link *l) { return l->next == l; }

static inline void bl_link_append(struct bl_link *head, struct bl_link *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

/* Harmless for a link that is in no list. */
static inline void bl_link_remove(struct bl_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    bl_link_init(l);
}

struct bl_queue {
    struct bl_link head;
    size_t length;
};

static inline void bl_queue_init(struct bl_queue *q)
{
    bl_link_init(&q->head);
    q->length = 0;
}

static inline void bl_queue_push(struct bl_queue *q, struct bl_link *l)
{
    bl_link_append(&q->head, l);
    q->length++;
}

static inline struct bl_link *bl_queue_first(const struct bl_queue *q) { return q->length > 0 ? q->head.next : NULL; }

/* `l` must be in this queue. */
static inline void bl_queue_remove(struct bl_queue *q, struct bl_link *l)
{
    bl_link_remove(l);
    q->length--;
}

#endif
