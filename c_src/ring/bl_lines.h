/* SPDX-License-Identifier: Apache-2.0
 *
 * A ring of 64-byte lines in memory that two processes share: one writes, one reads. A record is a line, its head, and as
 * many lines as its body needs; a body may go round the end.
 *
 *     head, in lines, written by the writer          room  = count - (head - tail)
 *     tail, in lines, written by the reader          there = head - tail
 *
 * Each side keeps its own word in memory of its own, and only publishes it. What it reads of the other side is checked: a
 * distance beyond the number of lines is BL_LINES_BROKEN. A record is copied before anybody looks at it. So whatever the other
 * process writes into the memory, this one reads wrong bytes at worst.
 *
 * Sleeping: the reader says so in `asleep`, looks once more, and sleeps in a way of its own; the writer that finds it asleep
 * has to wake it (bl_lines_wake tells).
 */
#ifndef BL_LINES_H
#define BL_LINES_H

#include "beamline/core.h"

enum { BL_LINE = 64, BL_LINES = 16384, BL_LINES_BODY = 65536 };

/* What is shared, per direction. */
struct bl_lines_shared {
    _Alignas(BL_LINE) uint64_t head; /* atomic */
    _Alignas(BL_LINE) uint64_t tail; /* atomic */
    _Alignas(BL_LINE) uint32_t asleep; /* atomic: the reader */
    _Alignas(BL_LINE) uint8_t line[BL_LINES][BL_LINE];
};

/* One end, in the memory of its process. */
struct bl_lines {
    struct bl_lines_shared *shared;
    uint64_t position; /* head or tail, the own */
    uint64_t other;    /* of the other side, when last looked at */
};

enum bl_lines_status { BL_LINES_OK, BL_LINES_NONE, BL_LINES_BROKEN };

/* Zeroed memory is an empty ring. */
static inline void bl_lines_init(struct bl_lines *l, struct bl_lines_shared *shared) { *l = (struct bl_lines){.shared = shared}; }

/* The writer: a head of BL_LINE bytes and at most BL_LINES_BODY bytes of body. NONE: no room now. */
enum bl_lines_status bl_lines_write(struct bl_lines *l, const void *head, const void *body, size_t body_bytes);
/* After a write: true, once, if the reader sleeps and must be woken. */
bool bl_lines_wake(struct bl_lines *l);

/* The reader: copies the next record's head. NONE: there is none. */
enum bl_lines_status bl_lines_peek(struct bl_lines *l, void *head);
/* After a peek: its body, into `body` or nowhere (NULL), and gives the record back. BROKEN: it is not whole. */
enum bl_lines_status bl_lines_take(struct bl_lines *l, void *body, size_t body_bytes);
/* Before it sleeps, and (false) when it is up again. True: it may sleep, nothing has come meanwhile. */
bool bl_lines_doze(struct bl_lines *l, bool asleep);

#endif
