/* SPDX-License-Identifier: Apache-2.0
 *
 * Going through every order of the steps of a few threads. Whoever includes this has said how many words and threads there are
 * (MODEL_WORDS, MODEL_THREADS); a step is a function that changes a state, or says that it cannot be taken now.
 *
 * Memory. Stores wait in a buffer of their thread and become visible later, in any order between different words, but a
 * release store not before those that came before it (a thread reads its own buffer first). An exchange needs an empty
 * buffer. Loads happen in program order, as acquire loads do. So the model has the store side of weak memory; reordered
 * loads it has not.
 */
#ifndef MODEL_H
#define MODEL_H

#include "bl_test.h"

enum { BUFFER = 4, PRODUCERS_MAX = 3 };

struct entry {
    uint8_t word, value, release;
};

/* pc: the next step; message, head, mark: what it has read or is at. */
struct thread {
    uint8_t pc, message, head, mark, buffered;
    struct entry buffer[BUFFER];
};

struct state {
    uint8_t memory[MODEL_WORDS];
    uint8_t accepted[PRODUCERS_MAX], delivered[PRODUCERS_MAX]; /* per producer, a bit per message */
    struct thread thread[MODEL_THREADS];
};

static struct {
    struct state *seen; /* open addressing; seen[i].memory[0] == 0xFF: free */
    size_t capacity, count;
    struct state *stack;
    size_t depth, stack_capacity;
    const char *broken;
} search;

/* ---- memory ---- */

static uint8_t load(const struct state *s, const struct thread *t, unsigned word)
{
    for (unsigned i = t->buffered; i-- > 0;)
        if (t->buffer[i].word == word) return t->buffer[i].value;
    return s->memory[word];
}

static bool store(struct thread *t, unsigned word, unsigned value, bool release)
{
    if (t->buffered == BUFFER) return false;
    t->buffer[t->buffered++] = (struct entry){(uint8_t)word, (uint8_t)value, release};
    return true;
}

/* May entry i become visible now? */
static bool may_drain(const struct thread *t, unsigned i)
{
    if (t->buffer[i].release) return i == 0;
    for (unsigned k = 0; k < i; k++)
        if (t->buffer[k].word == t->buffer[i].word) return false;
    return true;
}

static void drain(struct state *s, struct thread *t, unsigned i)
{
    s->memory[t->buffer[i].word] = t->buffer[i].value;
    memmove(&t->buffer[i], &t->buffer[i + 1], (t->buffered - i - 1u) * sizeof t->buffer[0]);
    t->buffer[--t->buffered] = (struct entry){0, 0, 0};
}

static bool exchange(struct state *s, struct thread *t, unsigned word, unsigned value, uint8_t *old)
{
    if (t->buffered > 0) return false;
    *old = s->memory[word];
    s->memory[word] = (uint8_t)value;
    return true;
}

/* ---- all orders ---- */

static uint64_t hash(const struct state *s)
{
    const uint8_t *bytes = (const uint8_t *)s;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof *s; i++) h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static void grow(void)
{
    struct state *old = search.seen;
    const size_t before = search.capacity;
    search.capacity = before ? 2 * before : 1 << 16;
    search.seen = malloc(search.capacity * sizeof *search.seen);
    if (!search.seen) abort();
    for (size_t i = 0; i < search.capacity; i++) search.seen[i].memory[0] = 0xFF;
    for (size_t i = 0; i < before; i++) {
        if (old[i].memory[0] == 0xFF) continue;
        size_t at = hash(&old[i]) & (search.capacity - 1);
        while (search.seen[at].memory[0] != 0xFF) at = (at + 1) & (search.capacity - 1);
        search.seen[at] = old[i];
    }
    free(old);
}

static void visit(const struct state *s)
{
    if (2 * search.count >= search.capacity) grow();
    size_t at = hash(s) & (search.capacity - 1);
    for (; search.seen[at].memory[0] != 0xFF; at = (at + 1) & (search.capacity - 1))
        if (memcmp(&search.seen[at], s, sizeof *s) == 0) return;
    search.seen[at] = *s;
    search.count++;
    if (search.depth == search.stack_capacity) {
        search.stack_capacity = search.stack_capacity ? 2 * search.stack_capacity : 1024;
        search.stack = realloc(search.stack, search.stack_capacity * sizeof *search.stack);
        if (!search.stack) abort();
    }
    search.stack[search.depth++] = *s;
}

struct model {
    unsigned threads, choices;
    bool (*step)(struct state *s, unsigned thread, unsigned choice);
    void (*at_end)(const struct state *s); /* nothing can happen any more */
};

static void expand(const struct model *m, const struct state *from)
{
    bool moved = false;
    for (unsigned i = 0; i < m->threads && !search.broken; i++) {
        for (unsigned choice = 0; choice < m->choices; choice++) {
            struct state s = *from;
            if (!m->step(&s, i, choice)) continue;
            moved = true;
            visit(&s);
        }
        for (unsigned e = 0; e < from->thread[i].buffered; e++) {
            if (!may_drain(&from->thread[i], e)) continue;
            struct state s = *from;
            drain(&s, &s.thread[i], e);
            moved = true;
            visit(&s);
        }
    }
    if (!moved && !search.broken) m->at_end(from);
}

/* What went wrong, or NULL. */
static const char *explore(const struct model *m, const struct state *start)
{
    memset(&search, 0, sizeof search);
    visit(start);
    while (search.depth > 0 && !search.broken) {
        const struct state s = search.stack[--search.depth];
        expand(m, &s);
    }
    printf("%zu states%s%s\n", search.count, search.broken ? ", " : "", search.broken ? search.broken : "");
    free(search.seen);
    free(search.stack);
    return search.broken;
}

/* What a consumer has read of a producer's message, by number. */
static void deliver_message(struct state *s, unsigned producer, unsigned message)
{
    if (producer >= PRODUCERS_MAX || message >= 8 || !(s->accepted[producer] & 1u << message))
        search.broken = "a message was read that nobody sent";
    else if (s->delivered[producer] & 1u << message)
        search.broken = "a message was delivered twice";
    else if ((s->accepted[producer] & ~s->delivered[producer]) & ((1u << message) - 1))
        search.broken = "a message overtook one of the same sender";
    else
        s->delivered[producer] |= (uint8_t)(1u << message);
}

static void check_delivered(const struct state *s)
{
    for (unsigned p = 0; p < PRODUCERS_MAX; p++)
        if (s->accepted[p] != s->delivered[p]) search.broken = "an accepted message was never delivered";
}

#endif
