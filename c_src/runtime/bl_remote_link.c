/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_remote_link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bl_sync.h"

enum {
    JOIN_MS = 10000, /* a host that was started joins within this time */
    WHY_MS = 1000,   /* how long to wait for the word how the host ended */
    OPERATIONS_MOST = 1024, /* names in a greeting: who asks for them makes atoms of them */
};

static void close_fd(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* ---- answers ---------------------------------------------------------------------- */

static void vacate(struct bl_remote *r, struct bl_slot *s)
{
    pthread_mutex_lock(&r->lock);
    r->in_host--;
    r->abandoned -= s->abandoned;
    r->in_host_bytes -= s->task->options.argument_bytes;
    s->task = NULL;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* The host has nothing more to say about it. Receiver. */
static void conclude(struct bl_remote *r, struct bl_slot *s, enum bl_status status, const struct bl_error *why)
{
    struct bl_task *task = s->task;
    struct bl_error err = {.status = BL_OK};
    if (status != BL_OK) err = *why; /* the slot is somebody else's at once */
    vacate(r, s);
    r->ops->arrived(task, status, &err);
    bl_task_unref(task);
}

/* ---- what the host says (receiver) ------------------------------------------------------ */

static bool rule(struct bl_remote *r, bool kept, const char *broken)
{
    if (!kept) bl_remote_break_now(r, broken);
    return kept;
}

/* Reads a body part into the answer's space, or past it. */
static bool take_answer(struct bl_remote *r, struct bl_slot *s, size_t len)
{
    if (!rule(r, len <= s->total - s->have, "an answer longer than it said")) return false;
    if (!(s->space ? bl_frame_read(&r->reader, s->space + s->have, len) : bl_frame_skip(&r->reader, len))) return false;
    s->have += len;
    if (s->have < s->total) return true;
    if (s->space)
        conclude(r, s, BL_OK, NULL);
    else
        conclude(r, s, s->error.status, &s->error);
    return true;
}

static bool take_error(struct bl_remote *r, struct bl_slot *s, const struct bl_frame *frame)
{
    struct bl_error raw, err;
    if (!rule(r, frame->length == sizeof raw, "an error of the wrong size")) return false;
    if (!bl_frame_read(&r->reader, &raw, sizeof raw)) return false;
    bl_frame_error(&raw, &err);
    conclude(r, s, err.status, &err);
    return true;
}

static bool on_answer(struct bl_remote *r, const struct bl_frame *frame)
{
    struct bl_slot *s = bl_remote_slot(r, frame->id);
    if (!rule(r, s && !s->answering, "an answer that nobody asked for")) return false;
    if (frame->status != BL_OK) return take_error(r, s, frame);
    if (!rule(r, frame->total > 0 && frame->total <= BL_FRAME_ANSWER_MOST, "an answer of impossible length")) return false;
    s->answering = true;
    s->total = frame->total;
    s->space = r->ops->space(s->task, frame->total, &s->error);
    return take_answer(r, s, frame->length);
}

static bool on_data(struct bl_remote *r, const struct bl_frame *frame)
{
    struct bl_slot *s = bl_remote_slot(r, frame->id);
    return rule(r, s && s->answering, "data that nobody asked for") && take_answer(r, s, frame->length);
}

/* The host keeps the distance of messages, too; half of it here, so that none of its are lost to a late one before it. */
static bool tell_progress(struct bl_remote *r, struct bl_slot *s, const struct bl_field *field, size_t count, struct bl_field_term *term)
{
    struct bl_ctx *ctx = &s->task->ctx;
    uint8_t *room = bl_alloc(NULL, term->len, NULL);
    if (!room) return bl_frame_skip(&r->reader, term->len);
    const bool whole = bl_frame_read(&r->reader, room, term->len), due = whole && bl_ctx_progress_due(ctx);
    term->data = room;
    if (due) bl_ctx_progress(ctx, field, count);
    if (due) ctx->progress_next_ns -= ctx->progress_distance_ns / 2;
    bl_free(room);
    return whole;
}

static bool on_progress(struct bl_remote *r, const struct bl_frame *frame)
{
    struct bl_frame_field raw[BL_FRAME_FIELDS];
    struct bl_field field[BL_FRAME_FIELDS];
    const size_t count = frame->total <= BL_FRAME_FIELDS ? (size_t)frame->total : BL_FRAME_FIELDS + 1, head = count * sizeof raw[0];
    struct bl_field_term term = {.data = NULL};
    struct bl_slot *s = bl_remote_slot(r, frame->id);
    if (!rule(r, s && count <= BL_FRAME_FIELDS && frame->length >= head, "progress of the wrong size")) return false;
    if (!bl_frame_read(&r->reader, raw, head)) return false;
    for (size_t i = 0; i < count; i++) {
        if (!rule(r, bl_is_name(raw[i].key, BL_FIELD_KEY_MOST), "progress with a name that is none")) return false;
        field[i] = (struct bl_field){.key = raw[i].key, .type = raw[i].type == BL_FIELD_INT ? BL_FIELD_INT : BL_FIELD_FLOAT};
        memcpy(&field[i].value, &raw[i].value, sizeof field[i].value);
        if (raw[i].type != BL_FIELD_TERM) continue;
        const bool fits = term.len == 0 && raw[i].value.i > 0 && (uint64_t)raw[i].value.i == frame->length - head;
        if (!rule(r, fits, "progress with a term that does not fit")) return false;
        term.len = frame->length - head;
        field[i].type = BL_FIELD_TERM;
        field[i].value.term = &term;
    }
    if (!rule(r, head + term.len == frame->length, "progress of the wrong size")) return false;
    return tell_progress(r, s, field, count, &term);
}

static bool on_data_socket(struct bl_remote *r)
{
    struct bl_frame frame;
    if (!bl_frame_read(&r->reader, &frame, sizeof frame)) return false;
    if (!rule(r, frame.length <= BL_FRAME_CHUNK, "a frame of impossible length")) return false;
    switch (frame.type) {
    case BL_FRAME_ANSWER: return on_answer(r, &frame);
    case BL_FRAME_DATA: return on_data(r, &frame);
    case BL_FRAME_PROGRESS: return on_progress(r, &frame);
    default: return rule(r, false, "a frame of unknown type");
    }
}

/* Small frames come whole. */
static bool on_control_socket(struct bl_remote *r)
{
    struct {
        struct bl_frame frame;
        struct bl_frame_pong body;
    } pong;
    if (!bl_frame_receive(r->control, &pong, sizeof pong)) return false;
    const bool kept = pong.frame.type == BL_FRAME_PONG && pong.frame.length == sizeof pong.body;
    if (!rule(r, kept, "no heartbeat, but something else")) return false;
    pthread_mutex_lock(&r->lock);
    if (pong.frame.id > r->pong && pong.frame.id <= r->ping) {
        r->pong = pong.frame.id;
        r->silence.ns = 0;
    }
    r->host = pong.body;
    pthread_mutex_unlock(&r->lock);
    return true;
}

static void receive(struct bl_remote *r)
{
    bool open = true;
    while (open) {
        if (!bl_frame_reader_has(&r->reader)) {
            struct pollfd ready[2] = {{.fd = r->data, .events = POLLIN}, {.fd = r->control, .events = POLLIN}};
            if (poll(ready, 2, -1) < 0 && errno != EINTR) return;
            if (ready[1].revents && !on_control_socket(r)) return;
            if (!ready[0].revents) continue;
        }
        open = on_data_socket(r);
    }
}

/* ---- a host joins --------------------------------------------------------------------------- */

static void set_timeouts(int fd)
{
    const struct timeval send = {.tv_sec = BL_FRAME_SEND_TIMEOUT_S};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send, sizeof send);
}

/* One connection of the host, which is always the same process. */
static int accept_one(struct bl_remote *r, uint64_t *kind)
{
    uint64_t pid = r->pid;
    const int fd = bl_peer_accept(r->listening, JOIN_MS, &pid);
    if (fd < 0) return -1;
    struct bl_frame join;
    char version[32];
    bool ok = bl_frame_receive(fd, &join, sizeof join) && join.type == BL_FRAME_JOIN;
    ok = ok && join.length == strlen(bl_version()) && bl_frame_receive(fd, version, join.length);
    ok = ok && memcmp(version, bl_version(), join.length) == 0;
    if (!ok) {
        close(fd);
        return -1;
    }
    pthread_mutex_lock(&r->lock);
    r->pid = pid;
    pthread_mutex_unlock(&r->lock);
    *kind = join.id;
    return fd;
}

static bool accept_both(struct bl_remote *r)
{
    for (int tries = 0; tries < 8 && (r->data < 0 || r->control < 0); tries++) {
        uint64_t kind = 2;
        const int fd = accept_one(r, &kind);
        int *place = kind == 0 ? &r->data : &r->control;
        pthread_mutex_lock(&r->lock);
        const bool listening = r->state == BL_REMOTE_LISTENING;
        if (fd >= 0 && kind < 2 && *place < 0)
            *place = fd;
        else if (fd >= 0)
            close(fd);
        pthread_mutex_unlock(&r->lock);
        if (!listening) return false;
        if (fd >= 0) set_timeouts(fd);
    }
    return r->data >= 0 && r->control >= 0;
}

static void forget_timeout(int fd)
{
    const struct timeval forever = {.tv_sec = 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever);
}

/* Its last words say more than how it ended, which may be known already. */
static bool refused(struct bl_remote *r, const uint8_t *body, size_t len)
{
    struct bl_error raw = {.status = BL_DEVICE_FAILED}, err;
    memcpy(&raw, body, len < sizeof raw ? len : sizeof raw);
    bl_frame_error(&raw, &err);
    char why[sizeof r->broken];
    bl_error_format(&err, why, sizeof why);
    pthread_mutex_lock(&r->lock);
    bl_remote_break(r, why);
    snprintf(r->broken, sizeof r->broken, "%s", why);
    pthread_mutex_unlock(&r->lock);
    return false;
}

static bool is_list_of_names(const struct bl_span *term)
{
    struct bl_reader reader;
    struct bl_span name;
    size_t count = 0;
    bl_reader_init(&reader, term, 1, NULL, NULL, NULL);
    bool is = bl_read_list(&reader, &count) == BL_OK && count <= OPERATIONS_MOST;
    for (; is && count > 0; count--) is = bl_read_atom(&reader, &name) == BL_OK;
    is = is && bl_read_list_end(&reader) == BL_OK && bl_read_end(&reader) == BL_OK;
    bl_reader_clear(&reader);
    return is;
}

/* Keeps the body in any case. */
static bool come_up(struct bl_remote *r, const struct bl_frame *hello, uint8_t *body)
{
    pthread_mutex_lock(&r->lock);
    bl_free(r->operations);
    r->operations = body;
    r->operations_len = hello->length;
    r->window = hello->id < 1 ? 1 : hello->id > BL_FRAME_WINDOW ? BL_FRAME_WINDOW : (unsigned)hello->id;
    bl_silence_begin(&r->silence, bl_now_ns());
    r->ping = r->pong = 0;
    const bool up = r->state == BL_REMOTE_LISTENING;
    if (up) {
        r->state = BL_REMOTE_UP;
        r->starts++;
        r->pidfd = bl_peer_open(r->pid);
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return up;
}

static bool is_welcome(struct bl_remote *r, const struct bl_frame *hello, const uint8_t *body)
{
    if (hello->status != BL_OK) return refused(r, body, hello->length);
    const struct bl_span operations = {.data = body, .len = hello->length};
    return rule(r, is_list_of_names(&operations), "a greeting without a list of operations");
}

/* CONFIG goes out, HELLO comes back. */
static bool greet(struct bl_remote *r)
{
    struct bl_frame frame = {.type = BL_FRAME_CONFIG, .length = (uint32_t)r->config.len};
    if (!bl_frame_send(r->data, &frame, &r->config, 1, 0) || !bl_frame_read(&r->reader, &frame, sizeof frame)) return false;
    if (!rule(r, frame.type == BL_FRAME_HELLO && frame.length <= BL_FRAME_CHUNK, "no greeting")) return false;
    uint8_t *body = bl_alloc(NULL, frame.length + 1, NULL);
    if (body && bl_frame_read(&r->reader, body, frame.length) && is_welcome(r, &frame, body)) return come_up(r, &frame, body);
    bl_free(body);
    return false;
}

/* ---- a host ends ------------------------------------------------------------------------------ */

void bl_remote_stop_listening(struct bl_remote *r)
{
    close_fd(&r->listening);
    bl_peer_forget(r->path);
}

/* Each task that it had is answered. A host that ends because its pool does is no news: as all others in flight, these
 * are closed, whoever comes first. */
static void fail_all(struct bl_remote *r)
{
    const bool ending = __atomic_load_n(&r->pool->ending, __ATOMIC_RELAXED);
    for (struct bl_slot *s = r->slot; s < r->slot + BL_FRAME_WINDOW; s++) {
        if (!s->task) continue;
        struct bl_error err;
        bl_fail(&err, ending ? BL_CLOSED : BL_HOST_EXITED);
        if (!ending) snprintf(err.text, sizeof err.text, "%s", r->why);
        conclude(r, s, err.status, &err);
    }
}

static void end_link(struct bl_remote *r)
{
    const uint64_t until = bl_now_ns() + (uint64_t)WHY_MS * 1000000;
    pthread_mutex_lock(&r->lock);
    bl_remote_break(r, bl_remote_closed);
    while (r->exited[0] == '\0' && !__atomic_load_n(&r->pool->ending, __ATOMIC_RELAXED) && bl_now_ns() < until)
        bl_remote_wait(r, BL_REMOTE_LOOK_MS);
    /* How the process ended says more than that it did, but the reason why it was killed says most. */
    const bool by_itself = strcmp(r->broken, bl_remote_closed) == 0 && r->exited[0] != '\0';
    snprintf(r->why, sizeof r->why, "%s", by_itself ? r->exited : r->broken);
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_lock(&r->data_lock); /* no sender is in the middle of a frame */
    pthread_mutex_lock(&r->lock);
    r->link++; /* who sends the rest of a task finds that it is not for the next one */
    close_fd(&r->data);
    close_fd(&r->control);
    close_fd(&r->pidfd);
    r->host.memory_bytes = r->host.running = r->host.behind = r->host.queued = 0; /* what it said last is over */
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_unlock(&r->data_lock);
    fail_all(r);
    pthread_mutex_lock(&r->lock);
    r->state = BL_REMOTE_DOWN;
    r->pid = 0;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void *bl_remote_receiver(void *arg)
{
    struct bl_remote *r = arg;
    struct bl_pool *pool = r->pool;
    bl_thread_name(pool->config.name);
    const bool joined = accept_both(r);
    pthread_mutex_lock(&r->lock);
    bl_remote_stop_listening(r);
    pthread_mutex_unlock(&r->lock);
    if (joined) {
        bl_frame_reader_init(&r->reader, r->data);
        if (greet(r)) {
            forget_timeout(r->data);
            bl_pool_nudge(pool); /* the heartbeat begins */
            receive(r);
        }
    } else {
        bl_remote_break_now(r, "it did not join");
    }
    end_link(r);
    bl_pool_unref(pool);
    return NULL;
}
