/* SPDX-License-Identifier: Apache-2.0
 *
 * A small argument term is encoded here and now, into the task's own block. Any other comes as pieces
 * (term_to_iovec): small ones are copied into the block, large ones are kept by reference in the
 * task's environment. The answer is built in that environment too, and goes with it.
 *
 *     [ struct rt_task | spans | kept | copied bytes ... ]
 *
 * Blocks of the usual size, environments included, are used again.
 *
 * Who touches the environment: the caller until the task is queued, then the thread that runs it. Whoever
 * answers in its place reads the reference in it, no more, and builds in an environment of his own.
 */
#include "bl_nif_term.h"
#include "bl_rt.h"

enum {
    ROOM = 1024,            /* of a usual block */
    SPARE_MOST = 1024,       /* blocks kept for later, per source */
    TOUCHED = 512,          /* bytes of a block that every task needs */
    KEEP_FROM = 256,        /* pieces from here on are kept by reference */
    PIECES_MOST = 4096,
};

struct rt_task {
    struct bl_task task; /* first */
    struct rt_source *home;
    struct rt_task *next; /* among the spare ones */
    bool usual;           /* of size ROOM: can be used again */
    ErlNifEnv *env;
    ErlNifPid caller;
    ERL_NIF_TERM ref; /* in env */
    const struct bl_op *op;    /* NULL: it runs in an OS process */
    bool each;                 /* with each element of a list */
    ERL_NIF_TERM result;       /* in env */
    bool untidy;               /* there is garbage beside it */
    bool lent;                 /* binaries in env are being sent to an OS process. Atomic */
    struct bl_frame_task head; /* for the OS process */
    ErlNifBinary answer;       /* what came back from there; size 0: nothing */
    size_t span_count;
    struct bl_span *spans; /* of Args, without version byte */
    _Alignas(8) uint8_t room[];
};

__thread ErlNifEnv *rt_calling;

static ERL_NIF_TERM am_beamline, am_ok, am_error, am_progress;

static struct rt_task *self(struct bl_task *task) { return BL_CONTAINER(task, struct rt_task, task); }

/* ---- messages: {beamline, Ref, {Kind, Term}} ------------------------------------------ */

/* Sends and empties `env`. `ref` may be in another environment. */
static void send_message(const struct rt_task *t, ErlNifEnv *env, ERL_NIF_TERM ref, ERL_NIF_TERM kind, ERL_NIF_TERM term)
{
    const ERL_NIF_TERM message = enif_make_tuple3(env, am_beamline, ref, enif_make_tuple2(env, kind, term));
    enif_send(rt_calling, &t->caller, env, message); /* false: the caller is dead */
}

/* In an environment of its own; false: it cannot be written. */
static bool send_apart(const struct rt_task *t, ERL_NIF_TERM kind, void (*write)(struct bl_writer *w, const void *what), const void *what)
{
    ErlNifEnv *env = enif_alloc_env();
    struct bl_nif_writer w;
    bl_nif_writer_init(&w, env, NULL); /* not accounted: it is small, and must be told also when the quota is used up */
    /* The names in errors and in progress become atoms, and those of an OS process are whatever it likes. */
    if (bl_pool_remote(t->task.pool)) w.new_atoms = &((struct rt_pool *)t->task.pool->skin)->new_atoms;
    write(&w.base, what);
    const bool written = bl_writer_done(&w.base);
    if (written) send_message(t, env, enif_make_copy(env, t->ref), kind, bl_nif_writer_term(&w));
    bl_nif_writer_clear(&w);
    enif_free_env(env);
    return written;
}

static void write_error(struct bl_writer *w, const void *err) { bl_write_reason(w, err); }

/* The OS process does not know the operation. Its error says so with as much of the name as fits, and where that does not look
 * like an atom it would become a binary; the caller gets the atom that he gave, as he does from a pool in the VM. */
static bool names_its_operation(const struct rt_task *t, const struct bl_error *err)
{
    return !t->op && err->status == BL_UNSUPPORTED && strncmp(err->subject, t->head.op, sizeof err->subject - 1) == 0;
}

static void write_unknown(struct bl_writer *w, const void *op_name)
{
    bl_write_tuple(w, 2);
    bl_write_atom(w, "unsupported");
    bl_write_atom(w, op_name);
    bl_write_end(w);
}

static void send_error(const struct rt_task *t, const struct bl_error *err)
{
    if (names_its_operation(t, err) && send_apart(t, am_error, write_unknown, t->head.op)) return;
    if (send_apart(t, am_error, write_error, err)) return;
    /* It had a name too many. Those of this one are known (rt_tasks_load). */
    struct bl_error told;
    bl_fail_limit(&told, "atoms", BL_NIF_NEW_ATOMS, BL_NIF_NEW_ATOMS + 1);
    send_apart(t, am_error, write_error, &told);
}

struct progress {
    const struct bl_field *fields;
    size_t count;
};

/* Read and written again: it may come from an OS process. */
static void write_field_term(struct bl_writer *w, const struct bl_field_term *term)
{
    const struct bl_span span = {.data = term->data, .len = term->len};
    struct bl_reader r;
    struct bl_error err;
    bl_reader_init(&r, &span, 1, NULL, NULL, &err);
    enum bl_status status = bl_copy_term(&r, w);
    if (status == BL_OK) status = bl_read_end(&r);
    if (status != BL_OK) bl_writer_fail(w, &err);
    bl_reader_clear(&r);
}

static void write_progress(struct bl_writer *w, const void *what)
{
    const struct progress *p = what;
    bl_write_map(w, p->count);
    for (const struct bl_field *f = p->fields; f < p->fields + p->count; f++) {
        bl_write_atom(w, f->key);
        if (f->type == BL_FIELD_INT)
            bl_write_int(w, f->value.i);
        else if (f->type == BL_FIELD_FLOAT)
            bl_write_float(w, f->value.f);
        else
            write_field_term(w, f->value.term);
    }
    bl_write_end(w);
}

/* Its lines are in the cache of the thread that ran the last task in it: asks for all at once. */
static void touch(const struct rt_task *t)
{
    for (size_t i = 0; i < TOUCHED; i += 64) __builtin_prefetch((const char *)t + i, 1);
}

/* ---- what the engine calls --------------------------------------------------------- */

/* The writer gives its memory back before the caller is told: that may be what its next task needs. */
static void finish(struct rt_task *t, struct bl_nif_writer *w, enum bl_status status, struct bl_error *err)
{
    if (status == BL_OK) t->result = bl_nif_writer_term(w);
    t->untidy = w->untidy;
    bl_nif_writer_clear(w);
    bl_task_finish(&t->task, status, err);
}

static void task_run(struct bl_task *task)
{
    struct rt_task *t = self(task);
    touch(t);
    if (bl_pool_remote(task->pool)) {
        bl_remote_run(task, &t->head, t->spans, t->span_count);
        __atomic_store_n(&t->lent, false, __ATOMIC_RELEASE);
        return;
    }
    const struct rt_pool *pool = task->pool->skin;
    struct bl_error err = {.status = BL_OK};
    struct bl_nif_writer w;
    struct bl_reader args;
    bl_nif_writer_init(&w, t->env, &task->quota);
    bl_reader_init(&args, t->spans, t->span_count, NULL, &task->quota, &err);
    enum bl_status status = bl_op_set_run(pool->ops, t->op, t->each, &task->ctx, &args, &w.base, &err);
    bl_reader_clear(&args);
    finish(t, &w, status, &err);
}

static bool task_run_now(struct bl_task *task)
{
    struct rt_task *t = self(task);
    const bool done = bl_remote_run_now(task, &t->head, t->spans, t->span_count);
    if (done) __atomic_store_n(&t->lent, false, __ATOMIC_RELEASE);
    return done;
}

/* ---- answers of an OS process ------------------------------------------------------------ */

static uint8_t *answer_space(struct bl_task *task, size_t bytes, struct bl_error *err)
{
    struct rt_task *t = self(task);
    if (bl_quota_charge(&task->quota, bytes, err) != BL_OK) return NULL;
    if (enif_alloc_binary(bytes, &t->answer)) return t->answer.data;
    bl_quota_release(&task->quota, bytes);
    t->answer.size = 0;
    bl_fail(err, BL_NO_MEMORY);
    return NULL;
}

/* {ok, Value} or {error, Reason} comes next. */
static bool is_result(const struct bl_reader *r)
{
    struct bl_reader look = *r;
    struct bl_span kind = {.len = 0};
    size_t arity = 0;
    look.scratch = NULL;
    look.err = NULL;
    const bool is = bl_read_tuple(&look, &arity) == BL_OK && arity == 2 && bl_read_atom(&look, &kind) == BL_OK &&
                    (bl_span_is(&kind, "ok") || bl_span_is(&kind, "error"));
    bl_reader_clear(&look);
    return is;
}

/* Of a task with many arguments. A result that the VM cannot be given is an error in its place. */
static enum bl_status copy_results(struct bl_reader *r, struct bl_writer *w)
{
    size_t count = 0;
    enum bl_status status = bl_read_list(r, &count);
    if (status == BL_OK) bl_write_list(w, count);
    if (status == BL_OK) status = bl_writer_status(w, r->err);
    for (size_t i = 0; i < count && status == BL_OK; i++) {
        const struct bl_writer_mark mark = bl_writer_mark(w);
        if (!is_result(r)) return bl_fail_invalid(r->err, "result", "neither {ok, _} nor {error, _}");
        if (bl_copy_term(r, w) == BL_OK) continue;
        const struct bl_error err = *r->err;
        bl_writer_rewind(w, &mark);
        bl_write_error(w, &err);
        status = bl_read_skip(r);
        if (status == BL_OK) status = bl_writer_status(w, r->err); /* no memory for it, either */
    }
    if (status == BL_OK) status = bl_read_list_end(r);
    if (status == BL_OK) bl_write_end(w);
    return status;
}

/* Large binaries in it are shared, not copied. */
static enum bl_status decode_answer(struct rt_task *t, struct bl_nif_writer *w, struct bl_error *err)
{
    struct rt_pool *pool = t->task.pool->skin;
    struct bl_nif_kept kept = {.data = t->answer.data};
    kept.term = enif_make_binary(t->env, &t->answer);
    const struct bl_span span = {.data = kept.data, .len = t->answer.size, .owner = &kept};
    struct bl_reader r;
    w->new_atoms = &pool->new_atoms;
    bl_reader_init(&r, &span, 1, NULL, &t->task.quota, err);
    enum bl_status status = t->each ? copy_results(&r, &w->base) : bl_copy_term(&r, &w->base);
    if (status == BL_OK) status = bl_read_end(&r);
    if (status == BL_OK) status = bl_writer_status(&w->base, err);
    bl_reader_clear(&r);
    return status;
}

static void task_arrived(struct bl_task *task, enum bl_status status, struct bl_error *err)
{
    struct rt_task *t = self(task);
    struct bl_nif_writer w;
    bl_nif_writer_init(&w, t->env, &task->quota);
    if (t->answer.size > 0) {
        bl_quota_release(&task->quota, t->answer.size);
        if (status == BL_OK)
            status = decode_answer(t, &w, err);
        else
            enif_release_binary(&t->answer);
        t->answer.size = 0;
    }
    finish(t, &w, status, err);
}

const struct bl_remote_ops rt_remote_ops = {.space = answer_space, .arrived = task_arrived};

/* Garbage that a large map left is not for the caller to hold; and a host may answer before it has read its argument, whose
 * binaries would go with the environment while they are sent. */
static void send_copy(struct rt_task *t)
{
    ErlNifEnv *env = enif_alloc_env();
    send_message(t, env, enif_make_copy(env, t->ref), am_ok, enif_make_copy(env, t->result));
    enif_free_env(env);
}

static void task_answer(struct bl_task *task, enum bl_status status, const struct bl_error *err)
{
    struct rt_task *t = self(task);
    if (status != BL_OK)
        send_error(t, err);
    else if (t->untidy || __atomic_load_n(&t->lent, __ATOMIC_ACQUIRE))
        send_copy(t);
    else
        send_message(t, t->env, t->ref, am_ok, t->result);
}

static void task_progress(struct bl_task *task, const struct bl_field *fields, size_t count)
{
    const struct progress p = {.fields = fields, .count = count};
    send_apart(self(task), am_progress, write_progress, &p);
}

/* ---- blocks ------------------------------------------------------------------------- */

static void free_block(struct rt_task *t)
{
    enif_free_env(t->env);
    bl_free(t);
}

/* Keeps the block for later, or frees it. */
static void recycle(struct rt_task *t)
{
    struct rt_source *home = t->home;
    bool room = false;
    if (t->usual) {
        enif_clear_env(t->env);
        pthread_mutex_lock(&home->lock);
        room = home->spare_count < SPARE_MOST && !home->closed;
        if (room) {
            t->next = home->spare;
            home->spare = t;
            home->spare_count++;
        }
        pthread_mutex_unlock(&home->lock);
    }
    if (!room) free_block(t);
}

static void task_release(struct bl_task *task) { recycle(self(task)); }

void rt_tasks_free_spare(struct rt_source *source)
{
    pthread_mutex_lock(&source->lock);
    struct rt_task *spare = source->spare;
    source->spare = NULL;
    source->spare_count = 0;
    source->closed = true;
    pthread_mutex_unlock(&source->lock);
    for (struct rt_task *t = spare, *next; t; t = next) {
        next = t->next;
        free_block(t);
    }
}

static const struct bl_task_ops ops = {
    .run = task_run, .run_now = task_run_now, .answer = task_answer, .progress = task_progress, .release = task_release};

static struct rt_task *spare_block(struct rt_source *source)
{
    pthread_mutex_lock(&source->lock);
    struct rt_task *t = source->spare;
    if (t) {
        source->spare = t->next;
        source->spare_count--;
    }
    pthread_mutex_unlock(&source->lock);
    return t;
}

/* With room for `bytes`, an empty environment, and nothing of a task yet. Not on the pool's quota: arguments
 * are bounded by max_queue_bytes. */
static struct rt_task *block(struct rt_source *source, size_t bytes, struct bl_error *err)
{
    const bool usual = bytes <= ROOM;
    struct rt_task *t = usual ? spare_block(source) : NULL;
    if (t) {
        touch(t);
        return t;
    }
    t = bl_alloc(NULL, sizeof *t + (usual ? ROOM : bytes), err);
    if (!t) {
        __atomic_fetch_add(&source->engine->pool->stats.refused_memory, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    t->env = enif_alloc_env();
    t->home = source;
    t->usual = usual;
    return t;
}

/* ---- starting --------------------------------------------------------------------------- */

/* A reference's name in the table: 64 bits of hash. The reference itself cannot be asked there, because it
 * leaves with the answer. */
static uint64_t key_of(ERL_NIF_TERM ref)
{
    return enif_hash(ERL_NIF_INTERNAL_HASH, ref, 1) << 32 | (enif_hash(ERL_NIF_INTERNAL_HASH, ref, 2) & UINT32_MAX);
}

static void fill_head(struct bl_frame_task *head, const struct rt_request *request)
{
    *head = (struct bl_frame_task){.memory_limit = request->options.memory_limit,
                                   .fail_nth = request->fail_nth,
                                   .progress_ms = request->options.progress_ms,
                                   .each = request->each};
    memcpy(head->op, request->op_name, strnlen(request->op_name, sizeof head->op - 1));
}

/* Gives up the block in any case. */
static enum bl_status start(struct rt_task *t, struct rt_request *request, uint64_t held_bytes, struct bl_error *err)
{
    struct rt_source *home = t->home;
    request->options.argument_bytes = held_bytes;
    request->options.opaque = request->op && (request->op->flags & BL_OP_OPAQUE);
    struct bl_owner *owner = rt_owners_get(home->owners, request->env, &request->caller);
    bl_task_init(&t->task, &ops, home->engine, &request->options);
    t->caller = request->caller;
    t->ref = enif_make_copy(t->env, request->ref);
    t->op = request->op;
    t->each = request->each;
    t->answer.size = 0;
    if (!t->op) fill_head(&t->head, request);
    t->task.key = key_of(request->ref);
    t->task.owner = owner;
    if (t->op && request->fail_nth > 0) bl_quota_fail_nth(&t->task.quota, request->fail_nth);
    /* A caller that is dying has nobody to be told. */
    const enum bl_status status = owner ? bl_task_start(&t->task, err) : bl_fail(err, BL_CANCELLED);
    if (owner) rt_owners_done(owner);
    bl_task_unref(&t->task);
    return status;
}

/* ---- a small argument -------------------------------------------------------------------- */

enum bl_status rt_task_start_small(struct rt_pool *pool, struct rt_request *request, ERL_NIF_TERM args, struct bl_error *err)
{
    struct rt_task *t = block(rt_pool_source(pool, &request->caller), ROOM, err);
    if (!t) return BL_NO_MEMORY;
    t->spans = (struct bl_span *)t->room;
    t->span_count = 1;
    t->lent = false;
    struct bl_etf_writer w;
    bl_etf_writer_init_fixed(&w, t->room + sizeof *t->spans, ROOM - sizeof *t->spans);
    if (!bl_nif_write_small(request->env, args, &w.base)) {
        recycle(t);
        err->status = BL_OK;
        return BL_LIMIT;
    }
    *t->spans = (struct bl_span){.data = w.data, .len = w.len};
    return start(t, request, w.len, err);
}

/* ---- an argument in pieces ------------------------------------------------------------------ */

struct plan {
    size_t spans, kept, copied_bytes, bytes;
};

/* Walks over the pieces. With `t` NULL it only counts; else it fills t's arrays. Both walks decide alike.
 * False: not a list of binaries. */
static bool walk(ErlNifEnv *env, ERL_NIF_TERM pieces, struct plan *plan, struct rt_task *t, struct bl_nif_kept *kept, uint8_t *bytes)
{
    *plan = (struct plan){0};
    bool joined = false; /* the last span is a copy: the next copy goes right behind it */
    ERL_NIF_TERM piece;
    ErlNifBinary b;
    while (enif_get_list_cell(env, pieces, &piece, &pieces)) {
        if (!enif_inspect_binary(env, piece, &b) || plan->spans + plan->kept > PIECES_MOST) return false;
        plan->bytes += b.size;
        if (b.size < KEEP_FROM) {
            if (t) {
                memcpy(bytes + plan->copied_bytes, b.data, b.size);
                if (joined)
                    t->spans[plan->spans - 1].len += b.size;
                else
                    t->spans[plan->spans] = (struct bl_span){.data = bytes + plan->copied_bytes, .len = b.size};
            }
            plan->spans += !joined;
            plan->copied_bytes += b.size;
            joined = true;
        } else {
            if (t) {
                struct bl_nif_kept *k = &kept[plan->kept];
                k->term = enif_make_copy(t->env, piece);
                if (!enif_inspect_binary(t->env, k->term, &b)) return false;
                k->data = b.data;
                t->spans[plan->spans] = (struct bl_span){.data = b.data, .len = b.size, .owner = k};
            }
            plan->spans++;
            plan->kept++;
            joined = false;
        }
    }
    return enif_is_empty_list(env, pieces);
}

enum bl_status rt_task_start_pieces(struct rt_pool *pool, struct rt_request *request, ERL_NIF_TERM pieces, uint64_t pinned,
                                    struct bl_error *err)
{
    struct plan plan;
    if (!walk(request->env, pieces, &plan, NULL, NULL, NULL) || plan.bytes < 2)
        return bl_fail_invalid(err, "arguments", "not in external term format");
    const size_t arrays = plan.spans * sizeof(struct bl_span) + plan.kept * sizeof(struct bl_nif_kept);
    struct rt_task *t = block(rt_pool_source(pool, &request->caller), arrays + plan.copied_bytes, err);
    if (!t) return err->status;
    t->spans = (struct bl_span *)t->room;
    t->span_count = plan.spans;
    t->lent = plan.kept > 0 && bl_pool_remote(pool->engine);
    struct bl_nif_kept *kept = (struct bl_nif_kept *)(t->spans + plan.spans);
    walk(request->env, pieces, &plan, t, kept, (uint8_t *)(kept + plan.kept));
    if (t->spans[0].len == 0) {
        recycle(t);
        return bl_fail_invalid(err, "arguments", "not in external term format");
    }
    t->spans[0].data++; /* the version byte */
    t->spans[0].len--;
    return start(t, request, plan.bytes + pinned, err);
}

/* ---- the rest --------------------------------------------------------------------------------- */

bool rt_task_cancel(struct rt_pool *pool, ERL_NIF_TERM ref)
{
    return bl_pool_cancel(pool->engine, key_of(ref));
}

bool rt_task_trace(struct rt_pool *pool, ERL_NIF_TERM ref, struct bl_trace *out) { return bl_pool_trace(pool->engine, key_of(ref), out); }

void rt_tasks_load(ErlNifEnv *env)
{
    am_beamline = enif_make_atom(env, "beamline");
    am_ok = enif_make_atom(env, "ok");
    am_error = enif_make_atom(env, "error");
    am_progress = enif_make_atom(env, "progress");
    static const char *const told_when_there_are_too_many[] = {"limit", "what", "atoms", "asked"};
    for (size_t i = 0; i < sizeof told_when_there_are_too_many / sizeof told_when_there_are_too_many[0]; i++)
        enif_make_atom(env, told_when_there_are_too_many[i]);
}
