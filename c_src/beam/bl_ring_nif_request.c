/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests stand in a table of chunks that only grows; a request is named by {Generation, Index}. Its word:
 *
 *     FREE -> OPEN        the caller's NIF
 *     OPEN -> ANSWERED    the device answers: the message is on its way soon; then FREE
 *     OPEN -> CANCELLED   the caller has given up; the device's answer is dropped
 *     CANCELLED -> FREE   the device has answered
 *
 * or, where the NIF stays for a moment to see whether the answer comes at once:
 *
 *     FREE -> WATCHED     the caller's NIF
 *     WATCHED -> READY    the device answers: the NIF takes the answer with it; then FREE
 *     WATCHED -> OPEN     the moment is over
 *
 * A device answers each request exactly once, so each entry comes back.
 */
#include "bl_nif_term.h"
#include "bl_ring_nif.h"
#include "bl_sync.h"
#include "bl_ticks.h"

#include <string.h>

enum { CHUNK = 1024, CHUNKS_MOST = 1024, SHARDS = 16 };
enum { FREE, OPEN, ANSWERED, CANCELLED, WATCHED, READY, STATES = 8 };
enum { WATCH_NS = 3000 };

struct request {
    uint64_t word; /* atomic: generation * STATES + state */
    ErlNifPid pid;
    ErlNifEnv *env;
    ERL_NIF_TERM ref;
    ERL_NIF_TERM answer; /* READY */
    uint32_t index;
    uint8_t kind;
    struct request *next; /* free */
};

static struct request *chunks[CHUNKS_MOST]; /* atomic */
static unsigned chunk_count;                /* under grow_lock */
static pthread_mutex_t grow_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct request *free;
    uint64_t open; /* atomic */
} shards[SHARDS];

static ERL_NIF_TERM am_beamline, am_ok, am_error, am_batch, am_undelivered, am_failed, am_handler, am_version, am_state, am_stamp;

/* ---- the table ---- */

/* A chunk's requests go to the free list of the shard. Its lock is held. */
static bool grow(struct shard *s)
{
    pthread_mutex_lock(&grow_lock);
    const unsigned at = chunk_count;
    struct request *chunk = at < CHUNKS_MOST ? bl_alloc_zero(NULL, CHUNK * sizeof *chunk, NULL) : NULL;
    if (chunk) {
        chunk_count++;
        /* Release: with the load in find(). */
        __atomic_store_n(&chunks[at], chunk, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&grow_lock);
    for (unsigned i = 0; chunk && i < CHUNK; i++) {
        chunk[i].index = at * CHUNK + i;
        chunk[i].next = s->free;
        s->free = &chunk[i];
    }
    return chunk != NULL;
}

static struct shard *shard_of(const ErlNifPid *pid) { return &shards[(pid->pid >> 4 ^ pid->pid >> 10) % SHARDS]; }

static struct request *find(uint64_t id)
{
    const uint64_t index = id & UINT32_MAX;
    if (index >= (uint64_t)CHUNK * CHUNKS_MOST) return NULL;
    struct request *chunk = __atomic_load_n(&chunks[index / CHUNK], __ATOMIC_ACQUIRE);
    return chunk ? &chunk[index % CHUNK] : NULL;
}

static void recycle(struct request *r)
{
    struct shard *s = shard_of(&r->pid);
    const uint64_t generation = __atomic_load_n(&r->word, __ATOMIC_RELAXED) / STATES;
    __atomic_store_n(&r->word, ((generation + 1) & UINT32_MAX) * STATES + FREE, __ATOMIC_RELAXED);
    pthread_mutex_lock(&s->lock);
    r->next = s->free;
    s->free = r;
    pthread_mutex_unlock(&s->lock);
    __atomic_sub_fetch(&s->open, 1, __ATOMIC_RELAXED);
}

uint64_t ring_request_new(ErlNifEnv *env, enum request_kind kind, ERL_NIF_TERM ref, struct bl_error *err)
{
    ErlNifPid pid;
    enif_self(env, &pid);
    struct shard *s = shard_of(&pid);
    pthread_mutex_lock(&s->lock);
    struct request *r = s->free || grow(s) ? s->free : NULL;
    if (r) s->free = r->next;
    pthread_mutex_unlock(&s->lock);
    if (!r) {
        bl_fail_busy(err, 1);
        return 0;
    }
    __atomic_add_fetch(&s->open, 1, __ATOMIC_RELAXED);
    if (!r->env) r->env = enif_alloc_env();
    r->pid = pid;
    r->kind = (uint8_t)kind;
    r->ref = enif_make_copy(r->env, ref);
    /* The generation is never 0 in a name, so that a name is never 0. */
    const uint64_t generation = __atomic_load_n(&r->word, __ATOMIC_RELAXED) / STATES;
    __atomic_store_n(&r->word, generation * STATES + OPEN, __ATOMIC_RELEASE);
    return ((generation & INT32_MAX) + 1) << 32 | r->index;
}

/* False: *word is another one meanwhile. Release: what was written for who finds the new state; acquire: what the last one wrote. */
static bool move(struct request *r, uint64_t *word, unsigned to)
{
    return __atomic_compare_exchange_n(&r->word, word, *word / STATES * STATES + to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static bool is_named(uint64_t word, uint64_t id) { return ((word / STATES) & INT32_MAX) + 1 == id >> 32; }

void ring_request_watch(uint64_t id)
{
    struct request *r = find(id);
    /* Relaxed: nobody else knows it yet; the message's way through the ring publishes it. */
    const uint64_t word = __atomic_load_n(&r->word, __ATOMIC_RELAXED);
    __atomic_store_n(&r->word, word / STATES * STATES + WATCHED, __ATOMIC_RELAXED);
}

bool ring_request_take(ErlNifEnv *env, uint64_t id, ERL_NIF_TERM *answer)
{
    struct request *r = find(id);
    const uint64_t begin = bl_ticks();
    uint64_t word;
    /* Acquire: with the release of READY, so that the answer is there. */
    while ((word = __atomic_load_n(&r->word, __ATOMIC_ACQUIRE)) % STATES == WATCHED && bl_ticks_ns(bl_ticks() - begin) < WATCH_NS)
        bl_spin_hint();
    enif_consume_timeslice(env, 1); /* who is answered at once again and again must give way, too */
    if (word % STATES == WATCHED && move(r, &word, OPEN)) return false;
    *answer = enif_make_copy(env, r->answer);
    enif_clear_env(r->env);
    recycle(r);
    return true;
}

void ring_request_drop(uint64_t id)
{
    struct request *r = find(id);
    enif_clear_env(r->env);
    recycle(r);
}

bool ring_request_cancel(uint64_t id)
{
    struct request *r = find(id);
    if (!r) return false;
    uint64_t word = __atomic_load_n(&r->word, __ATOMIC_ACQUIRE);
    return is_named(word, id) && word % STATES == OPEN && move(r, &word, CANCELLED);
}

uint64_t ring_requests_open(void)
{
    uint64_t n = 0;
    for (int i = 0; i < SHARDS; i++) n += __atomic_load_n(&shards[i].open, __ATOMIC_RELAXED);
    return n;
}

/* ---- terms ---- */

static ERL_NIF_TERM make_reason(ErlNifEnv *env, const struct bl_error *err, int *new_atoms)
{
    struct bl_nif_writer w;
    struct bl_error too_many;
    bl_nif_writer_init(&w, env, NULL);
    w.new_atoms = new_atoms;
    bl_write_reason(&w.base, err);
    ERL_NIF_TERM reason = enif_make_atom(env, "no_memory");
    if (bl_writer_done(&w.base)) {
        reason = bl_nif_writer_term(&w);
    } else if (new_atoms) {
        bl_fail_limit(&too_many, "atoms", BL_NIF_NEW_ATOMS, BL_NIF_NEW_ATOMS + 1);
        reason = make_reason(env, &too_many, NULL);
    }
    bl_nif_writer_clear(&w);
    return reason;
}

ERL_NIF_TERM ring_error(ErlNifEnv *env, const struct bl_error *err) { return ring_foreign_error(env, err, NULL); }

ERL_NIF_TERM ring_foreign_error(ErlNifEnv *env, const struct bl_error *err, int *new_atoms)
{
    return enif_make_tuple2(env, am_error, make_reason(env, err, new_atoms));
}

ERL_NIF_TERM ring_result(ErlNifEnv *env, const struct bl_result *result)
{
    ERL_NIF_TERM term;
    if (result && result->owner && ((struct body *)result->owner)->env) return enif_make_copy(env, ((struct body *)result->owner)->term);
    const size_t size = result ? (size_t)result->size : 0;
    unsigned char *data = enif_make_new_binary(env, size, &term);
    if (size > 0) memcpy(data, result->data, size);
    return term;
}

/* The message has it: what the device held for it is given back before who waits can ask for more. */
static void give_back(struct bl_result *result)
{
    if (!result || !result->owner) return;
    ring_body_free(result->owner);
    result->owner = NULL;
}

ERL_NIF_TERM ring_result_moved(ErlNifEnv *env, struct bl_result *result)
{
    const ERL_NIF_TERM term = ring_result(env, result);
    give_back(result);
    return term;
}

ERL_NIF_TERM ring_checkpoint(ErlNifEnv *env, const char *handler, uint32_t version, struct bl_result *result)
{
    ERL_NIF_TERM keys[] = {am_handler, am_version, am_state, am_stamp};
    ERL_NIF_TERM values[] = {enif_make_atom(env, handler), enif_make_uint(env, version), ring_result_moved(env, result),
                             enif_make_uint64(env, result->stamp)};
    ERL_NIF_TERM map;
    enif_make_map_from_arrays(env, keys, values, 4, &map);
    return map;
}

/* ---- what the device tells ---- */

/* The VM keeps a thread's entry when it calls us; on our own threads it is NULL. The caller's environment must be given to
 * enif_send when the call comes from a NIF of this process. */
static void send_to(const ErlNifPid *pid, ErlNifEnv *env, ERL_NIF_TERM name, ERL_NIF_TERM what)
{
    enif_send(NULL, pid, env, enif_make_tuple3(env, am_beamline, name, what)); /* false: nobody is there */
}

void ring_request_answer(uint64_t id, ERL_NIF_TERM (*what)(ErlNifEnv *env, enum request_kind kind, const void *arg), const void *arg)
{
    struct request *r = find(id);
    uint64_t word = __atomic_load_n(&r->word, __ATOMIC_ACQUIRE);
    const bool watched = word % STATES == WATCHED;
    if (watched) {
        r->answer = what(r->env, (enum request_kind)r->kind, arg);
        if (move(r, &word, READY)) return; /* else it is OPEN now, or even CANCELLED already */
    }
    if (word % STATES == OPEN && move(r, &word, ANSWERED))
        send_to(&r->pid, r->env, r->ref, watched ? r->answer : what(r->env, (enum request_kind)r->kind, arg));
    enif_clear_env(r->env);
    recycle(r);
}

struct outcome {
    const struct bl_actor *actor;
    const struct bl_error *err; /* NULL: there is a result, or none is needed */
    struct bl_result *result;
};

static ERL_NIF_TERM what(ErlNifEnv *env, enum request_kind kind, const void *arg)
{
    const struct outcome *o = arg;
    if (o->err) return ring_error(env, o->err);
    if (kind == CONTROL_REQUEST) return am_ok;
    if (kind == CALL_REQUEST) return enif_make_tuple2(env, am_ok, ring_result_moved(env, o->result));
    return enif_make_tuple2(env, am_ok, ring_checkpoint(env, o->actor->handler->name, o->actor->handler->version, o->result));
}

static void answer(struct bl_actor *a, uint64_t id, enum bl_status status, const struct bl_error *err, struct bl_result *result)
{
    const struct outcome o = {.actor = a, .err = status == BL_OK ? NULL : err, .result = result};
    ring_request_answer(id, what, &o);
}

static void tell(const struct handle *actor, const ErlNifPid *pid, ERL_NIF_TERM kind, int64_t function, const struct bl_error *err,
                 int *new_atoms)
{
    ErlNifEnv *env = enif_alloc_env();
    const ERL_NIF_TERM name = ring_name_make(env, &actor->name), reason = make_reason(env, err, new_atoms);
    const ERL_NIF_TERM told =
        function < 0 ? enif_make_tuple2(env, kind, reason) : enif_make_tuple3(env, kind, enif_make_int64(env, function), reason);
    send_to(pid, env, name, told);
    enif_free_env(env);
}

static ErlNifPid owner_of(const struct handle *actor)
{
    return (ErlNifPid){.pid = __atomic_load_n(&actor->owner, __ATOMIC_RELAXED)};
}

void ring_tell_undelivered(const struct handle *actor, uint64_t sender, uint32_t function, const struct bl_error *err, int *new_atoms)
{
    const ErlNifPid to = sender == 0 ? owner_of(actor) : (ErlNifPid){.pid = (ERL_NIF_TERM)sender};
    tell(actor, &to, am_undelivered, function, err, new_atoms);
}

static void undelivered(struct bl_actor *a, const struct bl_slot *slot, enum bl_status status, const struct bl_error *err)
{
    (void)status;
    ring_tell_undelivered(a->skin, slot->flags & BL_MESSAGE_ACTOR ? 0 : slot->reply_to, slot->function, err, NULL);
}

void ring_tell_failed(const struct handle *actor, const struct bl_error *err, int *new_atoms)
{
    const ErlNifPid to = owner_of(actor);
    tell(actor, &to, am_failed, -1, err, new_atoms);
}

static void failed(struct bl_actor *a, const struct bl_error *err) { ring_tell_failed(a->skin, err, NULL); }

void ring_tell_batch(void *sink, struct bl_result *results, size_t count, bool last)
{
    struct sink *s = sink;
    ErlNifEnv *env = enif_alloc_env();
    ERL_NIF_TERM list = enif_make_list(env, 0);
    while (count-- > 0)
        list = enif_make_list_cell(env, last ? ring_result_moved(env, &results[count]) : ring_result(env, &results[count]), list);
    send_to(&s->pid, env, enif_make_resource(env, s), enif_make_tuple2(env, am_batch, list));
    enif_free_env(env);
}

static void batch(struct bl_actor *a, void *sink, struct bl_result *results, size_t count, bool last)
{
    (void)a;
    ring_tell_batch(sink, results, count, last);
}

static uint8_t *body_new(struct bl_device *d, uint64_t size, void **owner, struct bl_error *err)
{
    return ring_body_new(&d->quota, size, owner, err);
}

void ring_sink_free(void *sink) { enif_release_resource(sink); }

static void free_device(void *skin) { (void)skin; }

const struct bl_device_host ring_host = {
    .answer = answer, .undelivered = undelivered, .batch = batch, .failed = failed, .body_new = body_new,
    .body_free = ring_body_free,
    .sink_free = ring_sink_free, .actor_ended = ring_actor_ended, .actor_free = ring_actor_free, .device_free = free_device};

void ring_requests_load(ErlNifEnv *env)
{
    static bool loaded; /* a reload keeps the table */
    const struct {
        ERL_NIF_TERM *atom;
        const char *name;
    } atoms[] = {{&am_beamline, "beamline"}, {&am_ok, "ok"}, {&am_error, "error"}, {&am_batch, "batch"}, {&am_undelivered, "undelivered"},
                 {&am_failed, "failed"}, {&am_handler, "handler"}, {&am_version, "version"}, {&am_state, "state"}, {&am_stamp, "stamp"}};
    for (size_t i = 0; i < sizeof atoms / sizeof atoms[0]; i++) *atoms[i].atom = enif_make_atom(env, atoms[i].name);
    for (int i = 0; i < SHARDS && !loaded; i++) pthread_mutex_init(&shards[i].lock, NULL);
    loaded = true;
}
