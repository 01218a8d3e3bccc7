/* SPDX-License-Identifier: Apache-2.0
 *
 * How threads fall asleep and are woken, in every order of their steps (model.h). Two protocols:
 *
 *   lines     bl_lines.c with bl_far_link.c and bl_far_serve.c: one writes records into memory that two processes share (the lock
 *             of its side makes all of them one), one reads; a byte in a socket wakes
 *   threads   bl_threads.c: who pushes jobs, workers that spin, park, are woken, and leave when there are more than wanted
 *
 * Nobody looks again after a time here, as bl_far_link.c does each second: a sleep that nobody ends is an error. Where the code
 * holds a lock from one access to the last, the model has one step. How long a spin takes, and what it sees of the last push, is
 * chosen at will.
 */
enum { LINES = 2, WORKERS_MAX = 3 };
enum { MODEL_WORDS = 16 };
#define MODEL_THREADS 5

#include "model.h"

enum mutant {
    NONE,
    SLEEP_WITHOUT_LOOKING,
    LOOK_BEFORE_SAYING_SO,
    WAKE_BEFORE_THE_HEAD,
    HEAD_WITHOUT_ORDER,
    FREE_BEFORE_READING,
    LINES_MUTANTS,
    PARK_AFTER_A_SPIN_WITHOUT_LOOKING = LINES_MUTANTS,
    SPUN_AND_STILL_COUNTED,
    CLEAR_WOKEN_WITHOUT_THE_LOCK,
    PARK_AFTER_MOVING_IN_VAIN_WITHOUT_LOOKING,
    THREADS_MUTANTS
};

static struct {
    uint8_t messages, pushers, workers, retired;
    enum mutant mutant;
} world;

/* ---- lines: thread 0 writes, thread 1 reads -------------------------------------------------------- */

enum line_word { HEAD, TAIL, ASLEEP, SOCKET, LINE };
enum { W_ROOM, W_FILL, W_HEAD, W_LOOK, W_WAKE, W_BYTE, W_END };

static void next_record(struct thread *t)
{
    t->message++;
    t->pc = t->message < world.messages ? W_ROOM : W_END;
}

/* bl_lines_write, bl_lines_wake */
static bool writer(struct state *s, struct thread *t)
{
    uint8_t old;
    switch (t->pc) {
    case W_ROOM:
        if (t->message - load(s, t, TAIL) == LINES) return false; /* it looks again later */
        t->pc = W_FILL;
        return true;
    case W_FILL:
        if (!store(t, LINE + t->message % LINES, 1u + t->message, false)) return false;
        t->pc = world.mutant == WAKE_BEFORE_THE_HEAD ? W_LOOK : W_HEAD;
        return true;
    case W_HEAD:
        if (world.mutant == HEAD_WITHOUT_ORDER) {
            if (!store(t, HEAD, t->message + 1u, true)) return false;
        } else if (!exchange(s, t, HEAD, t->message + 1u, &old)) {
            return false;
        }
        s->accepted[0] |= (uint8_t)(1u << t->message);
        if (world.mutant == WAKE_BEFORE_THE_HEAD)
            next_record(t);
        else
            t->pc = W_LOOK;
        return true;
    case W_LOOK:
        if (load(s, t, ASLEEP))
            t->pc = W_WAKE;
        else if (world.mutant == WAKE_BEFORE_THE_HEAD)
            t->pc = W_HEAD;
        else
            next_record(t);
        return true;
    case W_WAKE:
        if (!exchange(s, t, ASLEEP, 0, &old)) return false;
        t->pc = W_BYTE;
        if (old) return true;
        if (world.mutant == WAKE_BEFORE_THE_HEAD)
            t->pc = W_HEAD;
        else
            next_record(t);
        return true;
    case W_BYTE:
        s->memory[SOCKET] = 1; /* more bytes are one */
        if (world.mutant == WAKE_BEFORE_THE_HEAD)
            t->pc = W_HEAD;
        else
            next_record(t);
        return true;
    default: return false;
    }
}

enum { R_PEEK, R_READ, R_TAIL, R_ASLEEP, R_AGAIN, R_SLEEP, R_UP };

/* bl_lines_peek, _take, _doze; message: its position */
static bool reader(struct state *s, struct thread *t)
{
    uint8_t old;
    switch (t->pc) {
    case R_PEEK:
        t->pc = load(s, t, HEAD) != t->message ? R_READ : world.mutant == LOOK_BEFORE_SAYING_SO ? R_AGAIN : R_ASLEEP;
        if (t->pc == R_READ && world.mutant == FREE_BEFORE_READING) t->pc = R_TAIL;
        return true;
    case R_READ:
        deliver_message(s, 0, load(s, t, LINE + t->message % LINES) - 1u);
        t->pc = R_TAIL;
        if (world.mutant == FREE_BEFORE_READING) t->message++, t->pc = R_PEEK;
        return true;
    case R_TAIL:
        if (!store(t, TAIL, t->message + 1u, true)) return false;
        t->pc = R_READ;
        if (world.mutant != FREE_BEFORE_READING) t->message++, t->pc = R_PEEK;
        return true;
    case R_ASLEEP:
        if (!exchange(s, t, ASLEEP, 1, &old)) return false;
        t->pc = world.mutant == SLEEP_WITHOUT_LOOKING || world.mutant == LOOK_BEFORE_SAYING_SO ? R_SLEEP : R_AGAIN;
        return true;
    case R_AGAIN:
        if (world.mutant == LOOK_BEFORE_SAYING_SO)
            t->pc = load(s, t, HEAD) == t->message ? R_ASLEEP : R_PEEK;
        else
            t->pc = load(s, t, HEAD) == t->message ? R_SLEEP : R_UP;
        return true;
    case R_SLEEP:
        if (!s->memory[SOCKET]) return false;
        s->memory[SOCKET] = 0;
        t->pc = R_UP;
        return true;
    case R_UP:
        if (!exchange(s, t, ASLEEP, 0, &old)) return false;
        t->pc = R_PEEK;
        return true;
    default: return false;
    }
}

static bool lines_step(struct state *s, unsigned i, unsigned choice)
{
    (void)choice;
    return i == 0 ? writer(s, &s->thread[0]) : reader(s, &s->thread[1]);
}

static void lines_end(const struct state *s)
{
    check_delivered(s);
    if (s->thread[0].pc != W_END) search.broken = "the writer waits for room for ever";
}

static const char *explore_lines(uint8_t messages, enum mutant mutant)
{
    const struct state start = {.memory = {0}};
    world.messages = messages;
    world.mutant = mutant;
    printf("    %u records through %d lines: ", messages, LINES);
    return explore(&(struct model){2, 1, lines_step, lines_end}, &start);
}

/* ---- threads: first the pushers, then one who wants fewer, then the workers ------------------------ */

/* PARKED: a stack of them, the first at PARKED. WOKEN: of each worker. */
enum thread_word { QUEUED, SPINNING, ALIVE, WANTED, DONE, PUSHED, PARKED_COUNT, PARKED, WOKEN = PARKED + WORKERS_MAX };
enum { NOBODY = 9 };

/* unpark, lock held */
static uint8_t unpark(struct state *s)
{
    if (s->memory[PARKED_COUNT] == 0) return NOBODY;
    const unsigned last = --s->memory[PARKED_COUNT];
    const uint8_t worker = s->memory[PARKED + last];
    s->memory[PARKED + last] = 0;
    return worker;
}

static void wake(struct state *s, struct thread *t)
{
    if (t->mark != NOBODY) s->memory[WOKEN + t->mark] = 1;
    t->mark = 0;
}

/* bl_threads_push: with the lock; then the wake */
static bool pusher(struct state *s, struct thread *t)
{
    if (t->message == world.messages) return false;
    if (t->pc == 0) {
        s->memory[QUEUED]++;
        s->memory[PUSHED]++;
        t->mark = s->memory[QUEUED] > s->memory[SPINNING] ? unpark(s) : NOBODY;
    } else {
        wake(s, t);
        t->message++;
    }
    t->pc = !t->pc;
    return true;
}

/* bl_threads_unstuck: one thread is too many from now on */
static bool retire(struct state *s, struct thread *t)
{
    if (t->pc == 0) {
        s->memory[WANTED]--;
        t->mark = s->memory[ALIVE] > s->memory[WANTED] ? unpark(s) : NOBODY;
    } else if (t->pc == 1) {
        wake(s, t);
    } else {
        return false;
    }
    t->pc++;
    return true;
}

enum { T_LOOP, T_RUN, T_MOVE, T_SPIN, T_SPUN, T_CLEAR, T_SLEEP, T_LEFT, T_END };

static void park(struct state *s, struct thread *t, unsigned self)
{
    s->memory[PARKED + s->memory[PARKED_COUNT]++] = (uint8_t)self;
    t->message = 0;
    if (world.mutant != CLEAR_WOKEN_WITHOUT_THE_LOCK) s->memory[WOKEN + self] = 0;
    t->pc = world.mutant == CLEAR_WOKEN_WITHOUT_THE_LOCK ? T_CLEAR : T_SLEEP;
}

static void begin_to_spin(struct state *s, struct thread *t)
{
    s->memory[SPINNING]++;
    t->pc = T_SPIN;
}

/* worker_main with the lock: leave, take a job, spin, park or (without the lock) move away. head: may spin. choice 1: has no credit,
 * or is in a bad place; 2: has been there too often */
static void loop(struct state *s, struct thread *t, unsigned self, unsigned choice)
{
    if (s->memory[ALIVE] > s->memory[WANTED]) {
        s->memory[ALIVE]--;
        t->mark = s->memory[QUEUED] > s->memory[SPINNING] ? unpark(s) : NOBODY;
        t->pc = T_LEFT;
    } else if (s->memory[QUEUED] > 0 && !(world.mutant == PARK_AFTER_A_SPIN_WITHOUT_LOOKING && t->message)) {
        s->memory[QUEUED]--;
        t->pc = T_RUN;
    } else if (t->head && s->memory[SPINNING] == 0 && choice == 0) {
        begin_to_spin(s, t);
    } else if (t->head && s->memory[SPINNING] == 0 && choice == 2) {
        t->pc = T_MOVE;
    } else {
        park(s, t, self);
    }
}

static bool worker(struct state *s, struct thread *t, unsigned self, unsigned choice)
{
    if (choice > 0 && t->pc != T_LOOP && !(choice == 1 && t->pc == T_MOVE)) return false;
    switch (t->pc) {
    case T_LOOP: loop(s, t, self, choice); return true;
    case T_RUN:
        s->memory[DONE]++;
        t->head = 1;
        t->pc = T_LOOP;
        return true;
    case T_MOVE: /* with the lock again. choice 1: in vain */
        if (choice == 0) {
            begin_to_spin(s, t);
        } else if (world.mutant == PARK_AFTER_MOVING_IN_VAIN_WITHOUT_LOOKING) {
            park(s, t, self);
        } else {
            t->head = 0;
            t->pc = T_LOOP;
        }
        return true;
    case T_SPIN: /* it saw something, or not: both end it */
        t->pc = T_SPUN;
        return true;
    case T_SPUN:
        if (world.mutant != SPUN_AND_STILL_COUNTED) s->memory[SPINNING]--;
        t->head = 0;
        if (world.mutant == PARK_AFTER_A_SPIN_WITHOUT_LOOKING) t->message = 1;
        t->pc = T_LOOP;
        return true;
    case T_CLEAR:
        s->memory[WOKEN + self] = 0;
        t->pc = T_SLEEP;
        return true;
    case T_SLEEP:
        if (!s->memory[WOKEN + self]) return false;
        t->head = 1;
        t->pc = T_LOOP;
        return true;
    case T_LEFT:
        wake(s, t);
        t->pc = T_END;
        return true;
    default: return false;
    }
}

static bool threads_step(struct state *s, unsigned i, unsigned choice)
{
    struct thread *t = &s->thread[i];
    if (i < world.pushers) return choice == 0 && pusher(s, t);
    if (i < 0u + world.pushers + world.retired) return choice == 0 && retire(s, t);
    return worker(s, t, i - world.pushers - world.retired, choice);
}

static void threads_end(const struct state *s)
{
    if (s->memory[QUEUED] > 0) search.broken = "a job waits, and all sleep";
    if (s->memory[DONE] != s->memory[PUSHED]) search.broken = "a job was lost";
    if (s->memory[ALIVE] > s->memory[WANTED]) search.broken = "one too many sleeps";
}

static const char *explore_threads(uint8_t pushers, uint8_t messages, uint8_t workers, uint8_t retired, enum mutant mutant)
{
    struct state start = {.memory = {0}};
    world.pushers = pushers;
    world.messages = messages;
    world.workers = workers;
    world.retired = retired;
    world.mutant = mutant;
    start.memory[ALIVE] = start.memory[WANTED] = workers;
    printf("    %u pushers x %u jobs, %u workers, of which %u leave: ", pushers, messages, workers, retired);
    return explore(&(struct model){0u + pushers + retired + workers, 3, threads_step, threads_end}, &start);
}

/* ---- tests ------------------------------------------------------------------------------------------- */

TEST(a_reader_of_shared_lines_never_sleeps_beside_a_record)
{
    for (uint8_t messages = 1; messages <= 5; messages++) CHECK(explore_lines(messages, NONE) == NULL);
}

TEST(the_model_of_lines_sees_each_mutant)
{
    for (enum mutant m = SLEEP_WITHOUT_LOOKING; m < LINES_MUTANTS; m++) CHECK(explore_lines(4, m) != NULL);
}

TEST(no_job_waits_while_all_threads_sleep)
{
    static const uint8_t worlds[][4] = {
        {1, 3, 1, 0}, {2, 2, 2, 0}, {2, 2, 3, 0}, {1, 3, 2, 1}, {2, 2, 2, 1}, {1, 3, 3, 1},
        /* With RING_MODEL=large, as `make check` runs it: */
        {2, 5, 2, 1}, {2, 5, 3, 0}, {1, 7, 3, 1},
    };
    const size_t count = getenv("RING_MODEL") ? sizeof worlds / sizeof worlds[0] : 6;
    for (size_t i = 0; i < count; i++)
        CHECK(explore_threads(worlds[i][0], worlds[i][1], worlds[i][2], worlds[i][3], NONE) == NULL);
}

TEST(the_model_of_threads_sees_each_mutant)
{
    for (enum mutant m = PARK_AFTER_A_SPIN_WITHOUT_LOOKING; m < THREADS_MUTANTS; m++) CHECK(explore_threads(2, 2, 2, 0, m) != NULL);
}
