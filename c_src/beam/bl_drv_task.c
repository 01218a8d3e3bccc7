/* SPDX-License-Identifier: Apache-2.0
 *
 * A command is one term in external format, as term_to_iovec gives it:
 *
 *     {Ref, Op, Options, Args}     Options = 0 (all defaults)
 *                                  | {Priority 0..3, TimeoutMs | -1, MemoryLimit, ProgressMs, FailNth}
 *
 * The header is read in the port's callback, Args on a pool thread. What the task keeps of the
 * command's bytes lies behind the struct, in one block:
 *
 *     [ struct drv_task | spans | binaries | Ref | copied bytes ... ]
 */
#include <string.h>

#include "bl_drv_term.h"
#include "bl_runtime_drv.h"

enum {
    HEADER_SPANS = 8,          /* the header lies in the first few pieces */
    COPY_BELOW = 256,          /* pieces smaller than this are copied, not referenced */
    COPY_SLICE = 64 * 1024,    /* so are slices up to here of binaries more than twice as large */
    COPY_IN_ALL = 256 * 1024,  /* but no more than this in one callback */
    NAME_MAX_BYTES = 512,
};

struct drv_task {
    struct bl_task task; /* first */
    ErlDrvTermData port, caller;
    const struct bl_op *op;
    struct bl_drv_writer *result; /* on the stack of task_run */
    struct bl_span *spans; /* of Args */
    size_t span_count;
    ErlDrvBinary **binaries; /* one reference each */
    size_t binary_count;
    struct bl_span ref; /* encoded, without version byte */
};

static struct drv_task *self(struct bl_task *task) { return BL_CONTAINER(task, struct drv_task, task); }

/* ---- messages: {beamline, Ref, {Kind, ...}} ------------------------------------------ */

static void begin_message(struct bl_drv_writer *w, struct bl_quota *quota, const struct bl_span *ref, const char *kind)
{
    bl_drv_writer_init(w, quota);
    bl_write_tuple(&w->base, 3);
    bl_write_atom(&w->base, "beamline");
    bl_write_raw(&w->base, ref);
    bl_write_tuple(&w->base, 2);
    bl_write_atom(&w->base, kind);
}

static void end_message(struct bl_drv_writer *w)
{
    bl_write_end(&w->base);
    bl_write_end(&w->base);
}

/* Not accounted, so that it can be told also when the quota is used up. */
static int send_error(ErlDrvTermData port, ErlDrvTermData to, const struct bl_span *ref, const struct bl_error *err)
{
    struct bl_drv_writer w;
    begin_message(&w, NULL, ref, "error");
    bl_write_reason(&w.base, err);
    end_message(&w);
    int sent = 0;
    if (bl_writer_status(&w.base, NULL) == BL_OK) sent = bl_drv_send(&w, port, to);
    bl_drv_writer_clear(&w);
    return sent;
}

/* ---- what the engine calls --------------------------------------------------------- */

static enum bl_status run_op(struct drv_task *t, struct bl_writer *w, struct bl_error *err)
{
    struct bl_reader args;
    struct bl_term_limits limits = bl_term_limits_default;
    limits.max_map_pairs = BL_DRV_MAP_PAIRS_MAX; /* what is passed on must fit a message */
    bl_reader_init(&args, t->spans, t->span_count, &limits, &t->task.quota, err);
    const enum bl_status status = t->op == &drv_load_op ? drv_pool_load(t->task.pool, &args, w, err)
                                                        : t->op->run(&t->task.ctx, &args, w, err);
    bl_reader_clear(&args);
    return status;
}

static void task_run(struct bl_task *task)
{
    struct drv_task *t = self(task);
    struct bl_error err = {.status = BL_OK};
    struct bl_drv_writer w;
    begin_message(&w, &task->quota, &t->ref, "ok");
    enum bl_status status = run_op(t, &w.base, &err);
    end_message(&w);
    if (status == BL_OK) status = bl_writer_status(&w.base, &err);
    if (status != BL_OK) bl_drv_writer_clear(&w); /* gives its memory back before the answer */
    t->result = &w;
    bl_task_finish(task, status, &err);
    bl_drv_writer_clear(&w);
}

static void task_answer(struct bl_task *task, enum bl_status status, const struct bl_error *err)
{
    struct drv_task *t = self(task);
    if (status != BL_OK) {
        send_error(t->port, t->caller, &t->ref, err);
    } else if (bl_drv_send(t->result, t->port, t->caller) < 0) {
        /* The port is open (we are inside the gate): the VM could not build the term. */
        struct bl_error broken;
        bl_fail_invalid(&broken, "result", "the operation wrote a term that the VM refuses");
        send_error(t->port, t->caller, &t->ref, &broken);
    }
}

static void task_progress(struct bl_task *task, const struct bl_field *fields, size_t count)
{
    struct drv_task *t = self(task);
    struct bl_drv_writer w;
    begin_message(&w, NULL, &t->ref, "progress");
    bl_write_map(&w.base, count);
    for (size_t i = 0; i < count; i++) {
        bl_write_atom(&w.base, fields[i].key);
        if (fields[i].type == BL_FIELD_INT)
            bl_write_int(&w.base, fields[i].value.i);
        else
            bl_write_float(&w.base, fields[i].value.f);
    }
    bl_write_end(&w.base);
    end_message(&w);
    if (bl_writer_status(&w.base, NULL) == BL_OK) bl_drv_send(&w, t->port, t->caller);
    bl_drv_writer_clear(&w);
}

static void task_release(struct bl_task *task)
{
    struct drv_task *t = self(task);
    for (size_t i = 0; i < t->binary_count; i++) driver_free_binary(t->binaries[i]);
    bl_free(t);
}

static const struct bl_task_ops drv_ops = {
    .run = task_run,
    .answer = task_answer,
    .progress = task_progress,
    .release = task_release,
};

/* ---- the command's header -------------------------------------------------------------- */

struct header {
    struct bl_span ref; /* encoded, without version byte */
    const struct bl_op *op;
    struct bl_task_options options;
    uint64_t fail_nth;
    size_t bytes; /* up to Args */
};

static enum bl_status read_options(struct bl_reader *r, struct header *h)
{
    uint64_t priority, progress;
    int64_t timeout;
    size_t arity;
    if (bl_read_type(r) == BL_TERM_INT) return bl_read_int(r, &timeout);
    enum bl_status status = bl_read_tuple(r, &arity);
    if (status != BL_OK || arity != 5) return BL_INVALID;
    if ((status = bl_read_uint(r, &priority)) != BL_OK || (status = bl_read_int(r, &timeout)) != BL_OK ||
        (status = bl_read_uint(r, &h->options.memory_limit)) != BL_OK || (status = bl_read_uint(r, &progress)) != BL_OK ||
        (status = bl_read_uint(r, &h->fail_nth)) != BL_OK)
        return status;
    if (priority >= BL_PRIORITY_COUNT || progress > UINT32_MAX) return BL_INVALID;
    h->options.priority = (enum bl_priority)priority;
    h->options.timeout_ms = timeout < 0 ? BL_NO_TIMEOUT : (uint64_t)timeout;
    h->options.progress_ms = (uint32_t)progress;
    return BL_OK;
}

/* BL_OK, or BL_UNSUPPORTED (then `ref` is valid and can be answered), or anything else: not a command. */
static enum bl_status read_header(struct bl_pool *engine, struct bl_reader *r, struct header *h, struct bl_error *err)
{
    struct bl_span name;
    size_t arity;
    enum bl_status status;
    h->fail_nth = 0;
    bl_task_options_init(&h->options);
    if ((status = bl_read_version(r)) != BL_OK || (status = bl_read_tuple(r, &arity)) != BL_OK) return status;
    if (arity != 4) return BL_INVALID;
    if ((status = bl_read_raw(r, &h->ref)) != BL_OK || (status = bl_read_atom(r, &name)) != BL_OK) return status;
    if (h->ref.len > NAME_MAX_BYTES) return BL_INVALID;
    if ((status = read_options(r, h)) != BL_OK) return status;
    h->bytes = bl_reader_offset(r);
    h->op = drv_pool_find(engine, &name);
    if (h->op) {
        h->options.opaque = (h->op->flags & BL_OP_OPAQUE) != 0;
        return BL_OK;
    }
    char text[sizeof err->subject];
    const size_t len = name.len < sizeof text - 1 ? name.len : sizeof text - 1;
    memcpy(text, name.data, len);
    text[len] = '\0';
    return bl_fail_unsupported(err, text);
}

/* ---- what to keep of the command's bytes ------------------------------------------------- */

/* A reference pins the whole binary, so a small slice of a large one is copied; so is whatever is
 * small. The callback's time is bounded: what is large is referenced in any case. */
static bool copied(const SysIOVec *piece, const ErlDrvBinary *binary, size_t already)
{
    if (!binary || piece->iov_len < COPY_BELOW) return true;
    if (already + piece->iov_len > COPY_IN_ALL || piece->iov_len > COPY_SLICE) return false;
    return piece->iov_len < (size_t)binary->orig_size / 2;
}

struct plan {
    size_t spans, binaries, copied_bytes;
    uint64_t held_bytes; /* copied and referenced */
};

/* Walks over the pieces that hold Args. With `t` NULL it only counts; else it fills t's arrays,
 * putting copies at `bytes`. Both walks decide alike. */
static struct plan walk(const ErlIOVec *ev, size_t skip, struct drv_task *t, uint8_t *bytes)
{
    struct plan plan = {0, 0, 0, 0};
    bool joined = false; /* the last span is a copy: the next copy goes right behind it */
    for (int i = 0; i < ev->vsize; i++) {
        SysIOVec piece = ev->iov[i];
        ErlDrvBinary *binary = ev->binv ? ev->binv[i] : NULL;
        if (skip >= piece.iov_len) {
            skip -= piece.iov_len;
            continue;
        }
        piece.iov_base = (char *)piece.iov_base + skip;
        piece.iov_len -= skip;
        skip = 0;
        if (copied(&piece, binary, plan.copied_bytes)) {
            if (t) {
                memcpy(bytes + plan.copied_bytes, piece.iov_base, piece.iov_len);
                if (joined)
                    t->spans[plan.spans - 1].len += piece.iov_len;
                else
                    t->spans[plan.spans] = (struct bl_span){.data = bytes + plan.copied_bytes, .len = piece.iov_len};
            }
            plan.spans += !joined;
            plan.copied_bytes += piece.iov_len;
            plan.held_bytes += piece.iov_len;
            joined = true;
        } else {
            if (t) {
                driver_binary_inc_refc(binary);
                t->binaries[plan.binaries] = binary;
                t->spans[plan.spans] = (struct bl_span){.data = (const uint8_t *)piece.iov_base, .len = piece.iov_len, .owner = binary};
            }
            plan.spans++;
            plan.binaries++;
            plan.held_bytes += (uint64_t)binary->orig_size;
            joined = false;
        }
    }
    return plan;
}

static struct drv_task *build(struct drv_port *port, ErlIOVec *ev, struct header *h, struct bl_error *err)
{
    struct bl_pool *engine = drv_pool_engine(port->pool);
    const struct plan plan = walk(ev, h->bytes, NULL, NULL);
    const size_t arrays = plan.spans * sizeof(struct bl_span) + plan.binaries * sizeof(ErlDrvBinary *);
    /* Not on the pool's quota: arguments are bounded by max_queue_bytes. */
    struct drv_task *t = bl_alloc(NULL, sizeof *t + arrays + h->ref.len + plan.copied_bytes, err);
    if (!t) {
        __atomic_fetch_add(&engine->stats.refused_memory, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    h->options.argument_bytes = plan.held_bytes;
    bl_task_init(&t->task, &drv_ops, port->source, &h->options);
    t->port = port->term;
    t->caller = driver_caller(port->port);
    t->op = h->op;
    t->spans = (struct bl_span *)(t + 1);
    t->span_count = plan.spans;
    t->binaries = (ErlDrvBinary **)(t->spans + plan.spans);
    t->binary_count = plan.binaries;
    uint8_t *bytes = (uint8_t *)(t->binaries + plan.binaries);
    memcpy(bytes, h->ref.data, h->ref.len);
    t->ref = (struct bl_span){.data = bytes, .len = h->ref.len};
    t->task.name = bytes;
    t->task.name_bytes = h->ref.len;
    walk(ev, h->bytes, t, bytes + h->ref.len);
    if (h->fail_nth > 0) bl_quota_fail_nth(&t->task.quota, h->fail_nth);
    return t;
}

static void start(struct drv_port *port, ErlIOVec *ev, struct header *h)
{
    const ErlDrvTermData caller = driver_caller(port->port);
    struct bl_error err;
    bool dead;
    struct bl_owner *owner = drv_owners_get(port, caller, &dead);
    if (dead) return; /* nobody to answer */
    if (!owner) {
        bl_fail(&err, BL_NO_MEMORY);
        send_error(port->term, caller, &h->ref, &err);
        return;
    }
    struct drv_task *t = build(port, ev, h, &err);
    if (!t) {
        send_error(port->term, caller, &h->ref, &err);
        return;
    }
    t->task.owner = owner;
    if (bl_task_start(&t->task, &err) != BL_OK) send_error(port->term, caller, &t->ref, &err);
    bl_task_unref(&t->task);
}

void drv_task_command(struct drv_port *port, ErlIOVec *ev)
{
    struct bl_span pieces[HEADER_SPANS];
    size_t count = 0;
    for (int i = 0; i < ev->vsize && count < HEADER_SPANS; i++)
        if (ev->iov[i].iov_len > 0)
            pieces[count++] = (struct bl_span){.data = (const uint8_t *)ev->iov[i].iov_base, .len = ev->iov[i].iov_len};
    struct bl_error err;
    struct bl_reader r;
    struct header h;
    struct bl_term_limits limits = bl_term_limits_default;
    limits.max_bytes = SIZE_MAX; /* of Args the operation's reader is the judge */
    bl_reader_init(&r, pieces, count, &limits, NULL, &err);
    const enum bl_status status = read_header(drv_pool_engine(port->pool), &r, &h, &err);
    if (status == BL_OK)
        start(port, ev, &h);
    else if (status == BL_UNSUPPORTED)
        send_error(port->term, driver_caller(port->port), &h.ref, &err);
    bl_reader_clear(&r);
}
