/* SPDX-License-Identifier: Apache-2.0
 *
 * The ring's protocol, checked in every order of its steps: producers (bl_ring_claim, fill, commit, schedule), workers that
 * take turns as consumer (bl_actor.c: turn, leave, look again), and one who closes. Each atomic access is a step of its own.
 *
 * Checked in every state: a message is read only if it was accepted, once, whole, and in the order of its sender. In every
 * state in which nothing can happen any more: all that was accepted was delivered, nobody holds the actor, no job waits.
 *
 * The bounds are in `worlds`. The mutants show that the model sees what it is there for.
 */
enum { SLOTS = 2, SHIFT = 1, CLOSED = 0x80 };
enum word { HEAD, SCHEDULED, JOBS, TAIL, MARK, PAYLOAD = MARK + SLOTS, MODEL_WORDS = PAYLOAD + SLOTS };
#define MODEL_THREADS 6

#include "model.h"

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

static struct world world;

static unsigned free_mark(unsigned position) { return position >> SHIFT << 1; }

/* ---- a producer: bl_ring_claim, fill, bl_ring_commit, schedule ---- */

enum { P_HEAD, P_MARK, P_CLAIM, P_FULL, P_FILL, P_COMMIT, P_SCHEDULE, P_PUSH, P_END };

static void next_message(struct thread *t)
{
    t->message++;
    t->head = t->mark = 0;
    t->pc = t->message < world.messages ? P_HEAD : P_END;
}

static bool producer(struct state *s, unsigned me, struct thread *t)
{
    const enum mutant mutant = world.mutant;
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

static void deliver(struct state *s, uint8_t payload) { deliver_message(s, (payload - 1u) / 8, (payload - 1u) % 8); }

/* `choice`: what a turn's budget says. */
static bool worker(struct state *s, struct thread *t, unsigned choice)
{
    const enum mutant mutant = world.mutant;
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

static bool step(struct state *s, unsigned i, unsigned choice)
{
    struct thread *t = &s->thread[i];
    if (i < world.producers) return choice == 0 && producer(s, i, t);
    if (i < 0u + world.producers + world.workers) return (choice == 0 || t->pc == W_GO_ON) && worker(s, t, choice);
    return choice == 0 && closer(s, t);
}

static void at_end(const struct state *s)
{
    if (s->memory[SCHEDULED] != 0 || s->memory[JOBS] != 0) search.broken = "the actor is held at the end";
    check_delivered(s);
}

static const char *explore_world(struct world w)
{
    const struct state start = {.memory = {0}};
    world = w;
    printf("    %u producers x %u messages, %u slots, %u workers, %u closers: ", w.producers, w.messages, SLOTS, w.workers, w.closers);
    return explore(&(struct model){0u + w.producers + w.workers + w.closers, 2, step, at_end}, &start);
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
    for (size_t i = 0; i < count; i++) CHECK(explore_world(worlds[i]) == NULL);
}

TEST(the_model_sees_each_mutant)
{
    for (enum mutant m = COMMIT_WITHOUT_RELEASE; m <= CLAIM_WITHOUT_LOOKING; m++) {
        CHECK(explore_world((struct world){1, 5, 2, 0, m}) != NULL || explore_world((struct world){2, 2, 1, 0, m}) != NULL);
    }
}
