/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_remote.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "bl_peer.h"
#include "bl_remote_link.h"
#include "bl_sync.h"

enum { RECEIVER_STACK = 256 * 1024, CANCEL_AGAIN_NS = 100000000 };

const char bl_remote_closed[] = "it closed its sockets";

/* ---- ends ------------------------------------------------------------------------ */

static void shut(int fd)
{
    if (fd >= 0) shutdown(fd, SHUT_RDWR);
}

/* The first reason stays. Lock held. The receiver does the rest. */
void bl_remote_break(struct bl_remote *r, const char *why)
{
    if (r->state == BL_REMOTE_DOWN) return;
    if (r->broken[0] == '\0') snprintf(r->broken, sizeof r->broken, "%s", why);
    r->state = BL_REMOTE_BROKEN;
    shut(r->data);
    shut(r->control);
    shut(r->listening);
    bl_peer_kill(r->pidfd);
    pthread_cond_broadcast(&r->changed);
}

void bl_remote_break_now(struct bl_remote *r, const char *why)
{
    pthread_mutex_lock(&r->lock);
    bl_remote_break(r, why);
    pthread_mutex_unlock(&r->lock);
}

/* ---- slots ------------------------------------------------------------------------- */

static uint64_t id_of(const struct bl_remote *r, const struct bl_slot *s)
{
    return (uint64_t)s->generation << 32 | (uint64_t)(s - r->slot);
}

/* NULL: the host made it up. The receiver's, or with the lock held. */
struct bl_slot *bl_remote_slot(struct bl_remote *r, uint64_t id)
{
    const uint64_t index = id & UINT32_MAX;
    if (index >= BL_FRAME_WINDOW) return NULL;
    struct bl_slot *s = &r->slot[index];
    return s->task && s->generation == id >> 32 ? s : NULL;
}

static bool fits(const struct bl_remote *r, const struct bl_task *task)
{
    if (r->state != BL_REMOTE_UP || r->in_host >= r->window) return false;
    return r->in_host == 0 || r->in_host_bytes + task->options.argument_bytes <= BL_FRAME_WINDOW_BYTES;
}

/* Lock held. */
static void occupy(struct bl_remote *r, struct bl_task *task)
{
    struct bl_slot *s = r->slot;
    while (s->task) s++; /* in_host < window <= their number */
    *s = (struct bl_slot){.task = task, .generation = s->generation == UINT32_MAX ? 1 : s->generation + 1}; /* no id is 0 */
    bl_task_ref(task);
    r->in_host++;
    r->in_host_bytes += task->options.argument_bytes;
    task->remote_id = id_of(r, s);
}

/* ---- sending tasks (pool threads) ----------------------------------------------------- */

void bl_remote_wait(struct bl_remote *r, unsigned ms) { bl_cond_wait_until(&r->changed, &r->lock, bl_now_ns() + (uint64_t)ms * 1000000); }

/* To the host that was up when the task got its slot, and to no other. */
static bool send_data(struct bl_remote *r, uint64_t link, const struct bl_frame *frame, const struct bl_span *body, size_t spans,
                      size_t skip)
{
    pthread_mutex_lock(&r->data_lock);
    const bool mine = r->link == link;
    const bool sent = mine && bl_frame_send(r->data, frame, body, spans, skip);
    if (mine && !sent) bl_remote_break_now(r, "its socket takes nothing");
    pthread_mutex_unlock(&r->data_lock);
    return sent;
}

enum { TOGETHER = 16, NOW_BYTES = 2048 };

/* A task's first frame: with all of its argument where that is short. */
struct opening {
    struct bl_frame frame;
    struct bl_span body[1 + TOGETHER];
    size_t spans;
    bool whole;
};
static void open_task(struct opening *o, const struct bl_task *task, const struct bl_frame_task *head, const struct bl_span *args,
                      size_t spans)
{
    uint64_t total = 0;
    for (size_t i = 0; i < spans; i++) total += args[i].len;
    o->frame = (struct bl_frame){
        .type = BL_FRAME_TASK, .class = (uint8_t)task->options.priority, .id = task->remote_id, .total = total, .length = sizeof *head};
    o->body[0] = (struct bl_span){.data = (const uint8_t *)head, .len = sizeof *head};
    o->whole = spans <= TOGETHER && total + sizeof *head <= BL_FRAME_CHUNK;
    o->spans = 1;
    if (!o->whole) return;
    memcpy(o->body + 1, args, spans * sizeof *args);
    o->spans += spans;
    o->frame.length += (uint32_t)total;
}

/* In chunks, so that small tasks of other threads come in between. */
static void send_task(struct bl_remote *r, uint64_t link, const struct bl_task *task, const struct bl_frame_task *head,
                      const struct bl_span *args, size_t spans)
{
    struct opening o;
    open_task(&o, task, head, args, spans);
    if (!send_data(r, link, &o.frame, o.body, o.spans, 0) || o.whole) return;
    struct bl_frame frame = {.type = BL_FRAME_DATA, .id = o.frame.id, .total = o.frame.total};
    for (uint64_t sent = 0; sent < frame.total; sent += frame.length) {
        frame.length = frame.total - sent < BL_FRAME_CHUNK ? (uint32_t)(frame.total - sent) : BL_FRAME_CHUNK;
        if (!send_data(r, link, &frame, args, spans, sent)) return;
    }
}

void bl_remote_run(struct bl_task *task, const struct bl_frame_task *head, const struct bl_span *args, size_t spans)
{
    struct bl_remote *r = bl_pool_remote(task->pool);
    struct bl_error err;
    pthread_mutex_lock(&r->lock);
    while (!fits(r, task) && bl_ctx_check(&task->ctx, NULL) == BL_OK) bl_remote_wait(r, BL_REMOTE_LOOK_MS);
    const enum bl_status status = bl_ctx_check(&task->ctx, &err);
    if (status == BL_OK) occupy(r, task);
    const uint64_t link = r->link;
    pthread_mutex_unlock(&r->lock);
    if (status != BL_OK) {
        r->ops->arrived(task, status, &err);
        return;
    }
    send_task(r, link, task, head, args, spans);
    /* A cancel may have overtaken the task. */
    if (bl_ctx_check(&task->ctx, NULL) != BL_OK) bl_remote_cancel(task);
}

/* With both locks held. Where the socket has room at all it has room for this. */
static bool send_opening_now(struct bl_remote *r, struct bl_task *task, const struct bl_frame_task *head, const struct bl_span *args,
                             size_t spans)
{
    struct pollfd room = {.fd = r->data, .events = POLLOUT};
    if (!fits(r, task) || poll(&room, 1, 0) != 1 || room.revents != POLLOUT) return false;
    if (!bl_task_begin(task)) return true;
    struct opening o;
    occupy(r, task);
    open_task(&o, task, head, args, spans);
    if (!bl_frame_send(r->data, &o.frame, o.body, o.spans, 0)) bl_remote_break(r, "its socket takes nothing");
    return true;
}

bool bl_remote_run_now(struct bl_task *task, const struct bl_frame_task *head, const struct bl_span *args, size_t spans)
{
    struct bl_remote *r = bl_pool_remote(task->pool);
    bool done = false;
    if (spans > TOGETHER || task->options.argument_bytes > NOW_BYTES || pthread_mutex_trylock(&r->data_lock) != 0) return false;
    if (pthread_mutex_trylock(&r->lock) == 0) {
        done = send_opening_now(r, task, head, args, spans);
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_unlock(&r->data_lock);
    if (done && bl_ctx_check(&task->ctx, NULL) != BL_OK) bl_remote_cancel(task); /* a cancel may have overtaken the task */
    return done;
}

/* Lock held. What does not fit into the socket now is sent by the next tick. */
static void cancel_slot(struct bl_remote *r, struct bl_slot *s)
{
    const struct bl_frame frame = {.type = BL_FRAME_CANCEL, .id = id_of(r, s)};
    if (r->state == BL_REMOTE_UP) s->cancelled = bl_frame_send_now(r->control, &frame);
}

void bl_remote_cancel(struct bl_task *task)
{
    struct bl_remote *r = bl_pool_remote(task->pool);
    pthread_mutex_lock(&r->lock);
    struct bl_slot *s = task->remote_id != 0 ? bl_remote_slot(r, task->remote_id) : NULL;
    if (s && s->task == task) {
        r->abandoned += !s->abandoned;
        s->abandoned = true;
        cancel_slot(r, s);
    }
    pthread_mutex_unlock(&r->lock);
}

/* ---- the surface -------------------------------------------------------------------------------- */

enum bl_status bl_remote_listen(struct bl_remote *r, char *path, size_t size, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    pthread_mutex_lock(&r->lock);
    if (r->state != BL_REMOTE_DOWN) {
        status = bl_fail_busy(err, BL_REMOTE_LOOK_MS);
    } else if ((r->listening = bl_peer_listen(r->path)) < 0) {
        status = bl_fail_invalid(err, "socket", "%s", strerror(errno));
    } else {
        r->broken[0] = r->exited[0] = '\0';
        r->state = BL_REMOTE_LISTENING;
        snprintf(path, size, "%s", r->path);
        bl_pool_ref(r->pool);
        if (bl_thread_start(bl_remote_receiver, r, RECEIVER_STACK) != 0) {
            bl_pool_unref(r->pool); /* never the last: the caller has one */
            bl_remote_stop_listening(r);
            r->state = BL_REMOTE_DOWN;
            status = bl_fail(err, BL_NO_MEMORY);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return status;
}

void bl_remote_exited(struct bl_remote *r, const char *why)
{
    pthread_mutex_lock(&r->lock);
    bl_remote_break(r, bl_remote_closed);
    snprintf(r->exited, sizeof r->exited, "%s", why);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

bool bl_remote_operations(struct bl_remote *r, struct bl_writer *w)
{
    pthread_mutex_lock(&r->lock);
    const struct bl_span term = {.data = r->operations, .len = r->operations_len};
    const bool known = r->operations != NULL;
    if (known) {
        struct bl_reader reader;
        bl_reader_init(&reader, &term, 1, NULL, NULL, NULL);
        bl_copy_term(&reader, w);
        bl_reader_clear(&reader);
    }
    pthread_mutex_unlock(&r->lock);
    return known;
}

void bl_remote_info(struct bl_remote *r, struct bl_remote_info *info)
{
    pthread_mutex_lock(&r->lock);
    *info = (struct bl_remote_info){.state = r->state,
                                    .pid = r->pid,
                                    .starts = r->starts,
                                    .in_host = r->in_host,
                                    .in_host_bytes = r->in_host_bytes,
                                    .host = r->host};
    memcpy(info->why, r->why, sizeof info->why);
    pthread_mutex_unlock(&r->lock);
}

uint64_t bl_remote_waiting(struct bl_remote *r)
{
    pthread_mutex_lock(&r->lock);
    const uint64_t wanted = r->in_host - r->abandoned;
    const uint64_t waiting = wanted > r->host.threads ? wanted - r->host.threads : 0;
    pthread_mutex_unlock(&r->lock);
    return waiting;
}

static void cancel_again(struct bl_remote *r, uint64_t now_ns)
{
    r->cancelled_ns = now_ns;
    for (struct bl_slot *s = r->slot; s < r->slot + BL_FRAME_WINDOW; s++)
        if (s->task && s->abandoned && !s->cancelled) cancel_slot(r, s);
}

uint64_t bl_remote_tick(struct bl_remote *r, uint64_t now_ns)
{
    const uint64_t step = r->heartbeat_ns / 4;
    pthread_mutex_lock(&r->lock);
    const bool up = r->state == BL_REMOTE_UP;
    if (up && bl_silence_is_long(&r->silence, now_ns, r->heartbeat_ns)) {
        bl_remote_break(r, "it missed its heartbeat");
    } else if (up) {
        const struct bl_frame ping = {.type = BL_FRAME_PING, .id = r->ping + 1};
        if (bl_frame_send_now(r->control, &ping)) r->ping++;
        if (now_ns > r->cancelled_ns + CANCEL_AGAIN_NS) cancel_again(r, now_ns);
    }
    pthread_mutex_unlock(&r->lock);
    return up ? now_ns + step : UINT64_MAX;
}

void bl_remote_close(struct bl_remote *r) { bl_remote_break_now(r, "its pool ended"); }

enum bl_status bl_remote_new(struct bl_pool *pool, const struct bl_span *config, uint32_t heartbeat_ms,
                             const struct bl_remote_ops *ops, struct bl_error *err)
{
    if (config->len > BL_FRAME_CHUNK) return bl_fail_limit(err, "config", BL_FRAME_CHUNK, config->len);
    struct bl_remote *r = bl_alloc_zero(NULL, sizeof *r, err);
    uint8_t *copy = r ? bl_alloc(NULL, config->len + 1, err) : NULL;
    if (!copy) {
        bl_free(r);
        return BL_NO_MEMORY;
    }
    memcpy(copy, config->data, config->len);
    r->pool = pool;
    r->ops = ops;
    r->config = (struct bl_span){.data = copy, .len = config->len};
    r->heartbeat_ns = (uint64_t)heartbeat_ms * 1000000;
    r->data = r->control = r->pidfd = r->listening = -1;
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->data_lock, NULL);
    bl_cond_init(&r->changed);
    __atomic_store_n(&pool->remote, r, __ATOMIC_RELEASE);
    return BL_OK;
}

void bl_remote_free(struct bl_remote *r)
{
    if (!r) return;
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->data_lock);
    pthread_mutex_destroy(&r->lock);
    bl_free(r->operations);
    bl_free((void *)(uintptr_t)r->config.data);
    bl_free(r);
}
