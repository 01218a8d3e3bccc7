/* SPDX-License-Identifier: Apache-2.0
 *
 * The ring's protocol, checked in every order of its steps: producers (bl_ring_claim, fill, commit, schedule), workers that
 * take turns as consumer (bl_actor.c: turn, leave, look again), and one who closes. Each atomic access is a step of its own.
 *
 * Memory. Stores wait in a buffer of their thread and become visible later, in any order between different words, but a
 * release store not before those that came before it (a thread reads its own buffer first). An exchange needs an empty
 * buffer. Loads happen in program order, as acquire loads do. So the model has the store side of weak memory; reordered
 * loads it has not.
 *
 * Checked in every state: a message is read only if it was accepted, once, whole, and in the order of its sender. In every
 * state in which nothing can happen any more: all that was accepted was delivered, nobody holds the actor, no job waits.
 *
 * The bounds are in `worlds`. The mutants show that the model sees what it is there for.
 */
#include "bl_test.h"

enum { SLOTS = 2, SHIFT = 1, BUFFER = 4, THREADS_MAX = 6, PRODUCERS_MAX = 3, CLOSED = 0x80 };
enum word { HEAD, SCHEDULED, JOBS, TAIL, MARK, PAYLOAD = MARK + SLOTS, WORDS = PAYLOAD + SLOTS };

enum mutant {
    NONE,
    COMMIT_WITHOUT_RELEASE,
    LEAVE_BY_A_STORE,
    NO_SECOND_LOOK,
    SCHEDULE_BY_A_LOAD,
    RELEASE_BEFORE_READING,
    CLAIM_WITHOUT_LOOKING,
};

struct world {
    uint8_t producers, messages, workers, closers;
    enum mutant mutant;
};

struct entry {
    uint8_t word, value, release;
};

struct thread {
    uint8_t pc, message, head, mark, buffered;
    struct entry buffer[BUFFER];
};

struct state {
    uint8_t memory[WORDS];
    uint8_t accepted[PRODUCERS_MAX], delivered[PRODUCERS_MAX]; /* per producer, a bit per message */
    struct thread thread[THREADS_MAX];
};

static struct {
    struct world world;
    struct state *seen; /* open addressing; seen[i].memory[HEAD] == 0xFF: free */
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

static unsigned free_mark(unsigned position) { return position >> SHIFT << 1; }

/* ---- a producer: bl_ring_claim, fill, bl_ring_commit, schedule ---- */

enum { P_HEAD, P_MARK, P_CLAIM, P_FULL, P_FILL, P_COMMIT, P_SCHEDULE, P_PUSH, P_END };

static void next_message(struct thread *t)
{
    t->message++;
    t->head = t->mark = 0;
    t->pc = t->message < search.world.messages ? P_HEAD : P_END;
}

static bool producer(struct state *s, unsigned me, struct thread *t)
{
    const enum mutant mutant = search.world.mutant;
    uint8_t old;
    switch (t->pc) {
    case P_HEAD:
        t->head = load(s, t, HEAD);
        if (t->head & CLOSED)
            next_message(t); /* refused: closed */
        else
            t->pc = P_MARK;
        return true;
    case P_MARK:
        t->mark = load(s, t, MARK + t->head % SLOTS);
        if (t->mark == free_mark(t->head) || mutant == CLAIM_WITHOUT_LOOKING)
            t->pc = P_CLAIM;
        else
            t->pc = t->mark < free_mark(t->head) ? P_FULL : P_HEAD;
        return true;
    case P_FULL:
        if (load(s, t, HEAD) == t->head)
            next_message(t); /* refused: busy */
        else
            t->pc = P_HEAD;
        return true;
    case P_CLAIM:
        if (t->buffered > 0) return false;
        t->pc = P_HEAD;
        if (s->memory[HEAD] != t->head) return true;
        s->memory[HEAD] = (uint8_t)(t->head + 1);
        s->accepted[me] |= (uint8_t)(1u << t->message);
        t->pc = P_FILL;
        return true;
    case P_FILL:
        if (!store(t, PAYLOAD + t->head % SLOTS, 1u + me * 8u + t->message, false)) return false;
        t->pc = P_COMMIT;
        return true;
    case P_COMMIT:
        if (!store(t, MARK + t->head % SLOTS, free_mark(t->head) + 1, mutant != COMMIT_WITHOUT_RELEASE)) return false;
        t->pc = P_SCHEDULE;
        return true;
    case P_SCHEDULE:
        if (mutant == SCHEDULE_BY_A_LOAD && load(s, t, SCHEDULED) == 1) {
            next_message(t);
            return true;
        }
        if (!exchange(s, t, SCHEDULED, 1, &old)) return false;
        if (old == 0)
            t->pc = P_PUSH;
        else
            next_message(t);
        return true;
    case P_PUSH:
        if (t->buffered > 0) return false;
        s->memory[JOBS]++;
        next_message(t);
        return true;
    default: return false;
    }
}

/* ---- a worker: takes a job, consumes, leaves ---- */

enum { W_JOB, W_PEEK, W_READ, W_TAIL, W_FREE, W_GO_ON, W_LEAVE, W_LOOK, W_AGAIN, W_PUSH };

static void deliver(struct state *s, uint8_t payload)
{
    const unsigned producer = (payload - 1u) / 8, message = (payload - 1u) % 8;
    if (payload == 0 || producer >= search.world.producers || message >= search.world.messages ||
        !(s->accepted[producer] & 1u << message))
        search.broken = "a message was read that nobody sent";
    else if (s->delivered[producer] & 1u << message)
        search.broken = "a message was delivered twice";
    else if ((s->accepted[producer] & ~s->delivered[producer]) & ((1u << message) - 1))
        search.broken = "a message overtook one of the same sender";
    else
        s->delivered[producer] |= (uint8_t)(1u << message);
}

/* `choice`: what a turn's budget says. */
static bool worker(struct state *s, struct thread *t, unsigned choice)
{
    const enum mutant mutant = search.world.mutant;
    const uint8_t tail = load(s, t, TAIL);
    uint8_t old;
    switch (t->pc) {
    case W_JOB:
        if (s->memory[JOBS] == 0 || t->buffered > 0) return false;
        s->memory[JOBS]--;
        t->pc = W_PEEK;
        return true;
    case W_PEEK:
        t->pc = load(s, t, MARK + tail % SLOTS) == free_mark(tail) + 1 ? W_READ : W_LEAVE;
        if (t->pc == W_READ && mutant == RELEASE_BEFORE_READING) t->pc = W_FREE;
        return true;
    case W_READ:
        deliver(s, load(s, t, PAYLOAD + (mutant == RELEASE_BEFORE_READING ? tail - 1u : tail) % SLOTS));
        t->pc = mutant == RELEASE_BEFORE_READING ? W_GO_ON : W_TAIL;
        return true;
    case W_TAIL:
        if (!store(t, TAIL, tail + 1u, true)) return false;
        t->pc = W_FREE;
        return true;
    case W_FREE:
        if (mutant == RELEASE_BEFORE_READING) {
            if (t->buffered + 2 > BUFFER) return false;
            store(t, TAIL, tail + 1u, true);
            store(t, MARK + tail % SLOTS, free_mark(tail) + 2, true);
            t->pc = W_READ;
            return true;
        }
        if (!store(t, MARK + (tail - 1u) % SLOTS, free_mark(tail - 1u) + 2, true)) return false;
        t->pc = W_GO_ON;
        return true;
    case W_GO_ON: t->pc = choice == 0 ? W_PEEK : W_PUSH; return true;
    case W_LEAVE:
        if (mutant == LEAVE_BY_A_STORE) {
            if (!store(t, SCHEDULED, 0, true)) return false;
        } else if (!exchange(s, t, SCHEDULED, 0, &old)) {
            return false;
        }
        t->pc = mutant == NO_SECOND_LOOK ? W_JOB : W_LOOK;
        return true;
    case W_LOOK: /* no longer the consumer: the tail may move meanwhile */
        t->mark = tail;
        t->pc = load(s, t, MARK + t->mark % SLOTS) == free_mark(t->mark) + 1 ? W_AGAIN : W_JOB;
        t->mark = 0;
        return true;
    case W_AGAIN:
        if (!exchange(s, t, SCHEDULED, 1, &old)) return false;
        t->pc = old == 0 ? W_PUSH : W_JOB;
        return true;
    case W_PUSH:
        if (t->buffered > 0) return false;
        s->memory[JOBS]++;
        t->pc = W_JOB;
        return true;
    default: return false;
    }
}

/* ---- who closes: bl_ring_close, schedule ---- */

static bool closer(struct state *s, struct thread *t)
{
    uint8_t old;
    switch (t->pc) {
    case 0:
        s->memory[HEAD] |= CLOSED;
        t->pc = 1;
        return true;
    case 1:
        if (!exchange(s, t, SCHEDULED, 1, &old)) return false;
        t->pc = old == 0 ? 2 : 3;
        return true;
    case 2:
        s->memory[JOBS]++;
        t->pc = 3;
        return true;
    default: return false;
    }
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
    for (size_t i = 0; i < search.capacity; i++) search.seen[i].memory[HEAD] = 0xFF;
    for (size_t i = 0; i < before; i++) {
        if (old[i].memory[HEAD] == 0xFF) continue;
        size_t at = hash(&old[i]) & (search.capacity - 1);
        while (search.seen[at].memory[HEAD] != 0xFF) at = (at + 1) & (search.capacity - 1);
        search.seen[at] = old[i];
    }
    free(old);
}

static void visit(const struct state *s)
{
    if (2 * search.count >= search.capacity) grow();
    size_t at = hash(s) & (search.capacity - 1);
    for (; search.seen[at].memory[HEAD] != 0xFF; at = (at + 1) & (search.capacity - 1))
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

static bool step(struct state *s, unsigned i, unsigned choice)
{
    const struct world *w = &search.world;
    struct thread *t = &s->thread[i];
    if (i < w->producers) return choice == 0 && producer(s, i, t);
    if (i < w->producers + w->workers) return (choice == 0 || t->pc == W_GO_ON) && worker(s, t, choice);
    return choice == 0 && closer(s, t);
}

static void expand(const struct state *from)
{
    const unsigned threads = 0u + search.world.producers + search.world.workers + search.world.closers;
    bool moved = false;
    for (unsigned i = 0; i < threads && !search.broken; i++) {
        for (unsigned choice = 0; choice < 2; choice++) {
            struct state s = *from;
            if (!step(&s, i, choice)) continue;
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
    if (moved || search.broken) return;
    if (from->memory[SCHEDULED] != 0 || from->memory[JOBS] != 0) search.broken = "the actor is held at the end";
    for (unsigned p = 0; p < search.world.producers; p++)
        if (from->accepted[p] != from->delivered[p]) search.broken = "an accepted message was never delivered";
}

/* What went wrong, or NULL. */
static const char *explore(struct world world)
{
    memset(&search, 0, sizeof search);
    search.world = world;
    struct state start;
    memset(&start, 0, sizeof start);
    visit(&start);
    while (search.depth > 0 && !search.broken) {
        const struct state s = search.stack[--search.depth];
        expand(&s);
    }
    printf("    %u producers x %u messages, %u slots, %u workers, %u closers: %zu states%s%s\n", world.producers, world.messages,
           SLOTS, world.workers, world.closers, search.count, search.broken ? ", " : "", search.broken ? search.broken : "");
    free(search.seen);
    free(search.stack);
    return search.broken;
}

TEST(no_order_of_steps_loses_repeats_or_reorders_a_message)
{
    static const struct world worlds[] = {
        {1, 5, 2, 0, NONE}, /* two laps and a half */
        {1, 3, 2, 1, NONE},
        {2, 1, 1, 1, NONE},
        {2, 2, 1, 1, NONE},
        {2, 2, 2, 0, NONE},
        /* With RING_MODEL=large, as `make check` runs it: */
        {2, 2, 2, 1, NONE},
        {2, 3, 1, 1, NONE},
        {2, 3, 2, 0, NONE},
        {3, 1, 2, 1, NONE},
    };
    const size_t count = getenv("RING_MODEL") ? sizeof worlds / sizeof worlds[0] : 5;
    for (size_t i = 0; i < count; i++) CHECK(explore(worlds[i]) == NULL);
}

TEST(the_model_sees_each_mutant)
{
    for (enum mutant m = COMMIT_WITHOUT_RELEASE; m <= CLAIM_WITHOUT_LOOKING; m++) {
        CHECK(explore((struct world){1, 5, 2, 0, m}) != NULL || explore((struct world){2, 2, 1, 0, m}) != NULL);
    }
}
