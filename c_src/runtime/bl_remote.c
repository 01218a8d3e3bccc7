/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bl_remote.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "bl_sync.h"

enum {
    JOIN_MS = 10000,        /* a host that was started joins within this time */
    WHY_MS = 1000,          /* how long to wait for the word how the host ended */
    LOOK_MS = 20,           /* a waiting sender looks this often whether its task still has a taker */
    RECEIVER_STACK = 256 * 1024,
    CANCEL_AGAIN_NS = 100000000,
};

static const char CLOSED[] = "it closed its sockets";

/* A task in the host. */
struct slot {
    struct bl_task *task; /* NULL: free. With a reference */
    uint32_t generation;
    bool abandoned;       /* nobody waits for it, */
    bool cancelled;       /* and the host was told */
    bool answering;
    uint8_t *space;       /* where its answer goes; NULL with `answering`: nowhere, it is an error */
    uint64_t total, have;
    struct bl_error error;
};

struct bl_remote {
    struct bl_pool *pool;
    const struct bl_remote_ops *ops;
    struct bl_span config;
    uint64_t heartbeat_ns;
    pthread_mutex_t lock; /* everything below, but for what is said to be the receiver's */
    pthread_cond_t changed;
    enum bl_remote_state state;
    struct slot slot[BL_FRAME_WINDOW];
    unsigned window, in_host, abandoned; /* abandoned: in the host, but nobody waits for them */
    uint64_t in_host_bytes, starts, pid, pong_ns, ping, pong, cancelled_ns;
    struct bl_frame_pong host;
    char why[160];    /* the last end, for people */
    char exited[128]; /* what the Erlang side said about this one; empty: nothing yet */
    char broken[160]; /* what the C side says; empty: nothing is wrong */
    uint8_t *operations; /* the host's, a term */
    size_t operations_len;
    int data, control, pidfd, listening; /* -1: none. Opened and closed by the receiver; shut down by anybody, under `lock` */
    char path[108];
    pthread_mutex_t data_lock; /* one frame at a time */
    struct bl_frame_reader reader; /* the receiver's */
};

/* ---- ends ------------------------------------------------------------------------ */

static void shut(int fd)
{
    if (fd >= 0) shutdown(fd, SHUT_RDWR);
}

/* The first reason stays. Lock held. The receiver does the rest. */
static void break_link(struct bl_remote *r, const char *why)
{
    if (r->state == BL_REMOTE_DOWN) return;
    if (r->broken[0] == '\0') snprintf(r->broken, sizeof r->broken, "%s", why);
    r->state = BL_REMOTE_BROKEN;
    shut(r->data);
    shut(r->control);
    shut(r->listening);
    if (r->pidfd >= 0) syscall(SYS_pidfd_send_signal, r->pidfd, SIGKILL, NULL, 0);
    pthread_cond_broadcast(&r->changed);
}

static void break_now(struct bl_remote *r, const char *why)
{
    pthread_mutex_lock(&r->lock);
    break_link(r, why);
    pthread_mutex_unlock(&r->lock);
}

static void close_fd(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* ---- slots ------------------------------------------------------------------------- */

static uint64_t id_of(const struct bl_remote *r, const struct slot *s)
{
    return (uint64_t)s->generation << 32 | (uint64_t)(s - r->slot);
}

/* NULL: the host made it up. The receiver's, or with the lock held. */
static struct slot *slot_of(struct bl_remote *r, uint64_t id)
{
    const uint64_t index = id & UINT32_MAX;
    if (index >= BL_FRAME_WINDOW) return NULL;
    struct slot *s = &r->slot[index];
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
    struct slot *s = r->slot;
    while (s->task) s++; /* in_host < window <= their number */
    *s = (struct slot){.task = task, .generation = s->generation + 1};
    bl_task_ref(task);
    r->in_host++;
    r->in_host_bytes += task->options.argument_bytes;
    task->remote_id = id_of(r, s);
}

static void vacate(struct bl_remote *r, struct slot *s)
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
static void conclude(struct bl_remote *r, struct slot *s, enum bl_status status, const struct bl_error *why)
{
    struct bl_task *task = s->task;
    struct bl_error err = {.status = BL_OK};
    if (status != BL_OK) err = *why; /* the slot is somebody else's at once */
    vacate(r, s);
    r->ops->arrived(task, status, &err);
    bl_task_unref(task);
}

/* ---- sending tasks (pool threads) ----------------------------------------------------- */

static void wait_ms(struct bl_remote *r, unsigned ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += (long)ms * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&r->changed, &r->lock, &at);
}

/* To the host that was up when the task got its slot, and to no other. */
static bool send_data(struct bl_remote *r, uint64_t start, const struct bl_frame *frame, const struct bl_span *body, size_t spans,
                      size_t skip)
{
    pthread_mutex_lock(&r->data_lock);
    const bool mine = r->starts == start;
    const bool sent = mine && bl_frame_send(r->data, frame, body, spans, skip);
    if (mine && !sent) break_now(r, "its socket takes nothing");
    pthread_mutex_unlock(&r->data_lock);
    return sent;
}

/* In chunks, so that small tasks of other threads come in between. */
static void send_task(struct bl_remote *r, uint64_t start, const struct bl_task *task, const struct bl_frame_task *head,
                      const struct bl_span *args, size_t spans)
{
    struct bl_span body[1 + 16] = {{.data = (const uint8_t *)head, .len = sizeof *head}};
    uint64_t total = 0;
    for (size_t i = 0; i < spans; i++) total += args[i].len;
    struct bl_frame frame = {
        .type = BL_FRAME_TASK, .class = (uint8_t)task->options.priority, .id = task->remote_id, .total = total, .length = sizeof *head};
    const bool together = spans <= 16 && total + sizeof *head <= BL_FRAME_CHUNK;
    if (together) {
        memcpy(body + 1, args, spans * sizeof *args);
        frame.length += (uint32_t)total;
    }
    if (!send_data(r, start, &frame, body, together ? 1 + spans : 1, 0) || together) return;
    frame.type = BL_FRAME_DATA;
    for (uint64_t sent = 0; sent < total; sent += frame.length) {
        frame.length = total - sent < BL_FRAME_CHUNK ? (uint32_t)(total - sent) : BL_FRAME_CHUNK;
        if (!send_data(r, start, &frame, args, spans, sent)) return;
    }
}

void bl_remote_run(struct bl_task *task, const struct bl_frame_task *head, const struct bl_span *args, size_t spans)
{
    struct bl_remote *r = bl_pool_remote(task->pool);
    struct bl_error err;
    pthread_mutex_lock(&r->lock);
    while (!fits(r, task) && bl_ctx_check(&task->ctx, NULL) == BL_OK) wait_ms(r, LOOK_MS);
    const enum bl_status status = bl_ctx_check(&task->ctx, &err);
    if (status == BL_OK) occupy(r, task);
    const uint64_t start = r->starts;
    pthread_mutex_unlock(&r->lock);
    if (status != BL_OK) {
        r->ops->arrived(task, status, &err);
        return;
    }
    send_task(r, start, task, head, args, spans);
    /* A cancel may have overtaken the task. */
    if (bl_ctx_check(&task->ctx, NULL) != BL_OK) bl_remote_cancel(task);
}

/* Lock held. What does not fit into the socket now is sent by the next tick. */
static void cancel_slot(struct bl_remote *r, struct slot *s)
{
    const struct bl_frame frame = {.type = BL_FRAME_CANCEL, .id = id_of(r, s)};
    if (r->state == BL_REMOTE_UP) s->cancelled = bl_frame_send_now(r->control, &frame);
}

void bl_remote_cancel(struct bl_task *task)
{
    struct bl_remote *r = bl_pool_remote(task->pool);
    pthread_mutex_lock(&r->lock);
    struct slot *s = task->remote_id != 0 ? slot_of(r, task->remote_id) : NULL;
    if (s && s->task == task) {
        r->abandoned += !s->abandoned;
        s->abandoned = true;
        cancel_slot(r, s);
    }
    pthread_mutex_unlock(&r->lock);
}

/* ---- what the host says (receiver) ------------------------------------------------------ */

static bool rule(struct bl_remote *r, bool kept, const char *broken)
{
    if (!kept) break_now(r, broken);
    return kept;
}

/* Reads a body part into the answer's space, or past it. */
static bool take_answer(struct bl_remote *r, struct slot *s, size_t len)
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

static bool take_error(struct bl_remote *r, struct slot *s, const struct bl_frame *frame)
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
    struct slot *s = slot_of(r, frame->id);
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
    struct slot *s = slot_of(r, frame->id);
    return rule(r, s && s->answering, "data that nobody asked for") && take_answer(r, s, frame->length);
}

static bool is_key(const char key[24])
{
    const size_t len = strnlen(key, 24);
    return len > 0 && len < 24 && strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

static bool on_progress(struct bl_remote *r, const struct bl_frame *frame)
{
    struct bl_frame_field raw[BL_FRAME_FIELDS];
    struct bl_field field[BL_FRAME_FIELDS];
    const size_t count = frame->length / sizeof raw[0];
    struct slot *s = slot_of(r, frame->id);
    if (!rule(r, s && count <= BL_FRAME_FIELDS && frame->length % sizeof raw[0] == 0, "progress of the wrong size")) return false;
    if (!bl_frame_read(&r->reader, raw, frame->length)) return false;
    for (size_t i = 0; i < count; i++) {
        if (!rule(r, is_key(raw[i].key), "progress with a name that is none")) return false;
        field[i] = (struct bl_field){.key = raw[i].key, .type = raw[i].type == BL_FIELD_INT ? BL_FIELD_INT : BL_FIELD_FLOAT};
        memcpy(&field[i].value, &raw[i].value, sizeof field[i].value);
    }
    bl_ctx_progress(&s->task->ctx, field, count);
    return true;
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
        r->pong_ns = bl_now_ns();
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

/* One connection of the host: ours by its user, and always the same process. */
static int accept_one(struct bl_remote *r, uint64_t *kind)
{
    struct pollfd ready = {.fd = r->listening, .events = POLLIN};
    if (poll(&ready, 1, JOIN_MS) <= 0) return -1;
    const int fd = accept4(r->listening, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return -1;
    struct ucred peer;
    socklen_t len = sizeof peer;
    struct timeval patience = {.tv_sec = JOIN_MS / 1000};
    struct bl_frame join;
    char version[32];
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    bool ok = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == geteuid();
    ok = ok && (r->pid == 0 || r->pid == (uint64_t)peer.pid);
    ok = ok && bl_frame_receive(fd, &join, sizeof join) && join.type == BL_FRAME_JOIN;
    ok = ok && join.length == strlen(bl_version()) && bl_frame_receive(fd, version, join.length);
    ok = ok && memcmp(version, bl_version(), join.length) == 0;
    if (!ok) {
        close(fd);
        return -1;
    }
    pthread_mutex_lock(&r->lock);
    r->pid = (uint64_t)peer.pid;
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

/* CONFIG goes out, HELLO comes back. */
static bool greet(struct bl_remote *r)
{
    struct bl_frame frame = {.type = BL_FRAME_CONFIG, .length = (uint32_t)r->config.len};
    if (!bl_frame_send(r->data, &frame, &r->config, 1, 0) || !bl_frame_read(&r->reader, &frame, sizeof frame)) return false;
    if (!rule(r, frame.type == BL_FRAME_HELLO && frame.length <= BL_FRAME_CHUNK, "no greeting")) return false;
    uint8_t *body = bl_alloc(NULL, frame.length + 1, NULL);
    if (!body || !bl_frame_read(&r->reader, body, frame.length)) {
        bl_free(body);
        return false;
    }
    if (frame.status != BL_OK) {
        struct bl_error raw = {.status = BL_DEVICE_FAILED}, err;
        memcpy(&raw, body, frame.length < sizeof raw ? frame.length : sizeof raw);
        bl_frame_error(&raw, &err);
        char text[160];
        bl_error_format(&err, text, sizeof text);
        bl_free(body);
        return rule(r, false, text);
    }
    pthread_mutex_lock(&r->data_lock); /* guards `starts` as well */
    pthread_mutex_lock(&r->lock);
    bl_free(r->operations);
    r->operations = body;
    r->operations_len = frame.length;
    r->window = frame.id < 1 ? 1 : frame.id > BL_FRAME_WINDOW ? BL_FRAME_WINDOW : (unsigned)frame.id;
    r->pong_ns = bl_now_ns();
    r->ping = r->pong = 0;
    const bool up = r->state == BL_REMOTE_LISTENING;
    if (up) {
        r->state = BL_REMOTE_UP;
        r->starts++;
        if (r->pid != (uint64_t)getpid()) r->pidfd = (int)syscall(SYS_pidfd_open, (pid_t)r->pid, 0); /* never ourselves */
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_unlock(&r->data_lock);
    return up;
}

/* ---- a host ends ------------------------------------------------------------------------------ */

static void forget_path(struct bl_remote *r)
{
    if (r->path[0] == '\0') return;
    unlink(r->path);
    *strrchr(r->path, '/') = '\0';
    rmdir(r->path);
    r->path[0] = '\0';
}

/* Each task that it had is answered. */
static void fail_all(struct bl_remote *r)
{
    for (struct slot *s = r->slot; s < r->slot + BL_FRAME_WINDOW; s++) {
        if (!s->task) continue;
        struct bl_error err;
        bl_fail(&err, BL_HOST_EXITED);
        snprintf(err.text, sizeof err.text, "%s", r->why);
        conclude(r, s, BL_HOST_EXITED, &err);
    }
}

static void end_link(struct bl_remote *r)
{
    const uint64_t until = bl_now_ns() + (uint64_t)WHY_MS * 1000000;
    pthread_mutex_lock(&r->lock);
    break_link(r, CLOSED);
    while (r->exited[0] == '\0' && !__atomic_load_n(&r->pool->ending, __ATOMIC_RELAXED) && bl_now_ns() < until) wait_ms(r, LOOK_MS);
    /* How the process ended says more than that it did, but the reason why it was killed says most. */
    const bool by_itself = strcmp(r->broken, CLOSED) == 0 && r->exited[0] != '\0';
    snprintf(r->why, sizeof r->why, "%s", by_itself ? r->exited : r->broken);
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_lock(&r->data_lock); /* no sender is in the middle of a frame */
    pthread_mutex_lock(&r->lock);
    close_fd(&r->data);
    close_fd(&r->control);
    close_fd(&r->pidfd);
    pthread_mutex_unlock(&r->lock);
    pthread_mutex_unlock(&r->data_lock);
    fail_all(r);
    pthread_mutex_lock(&r->lock);
    r->state = BL_REMOTE_DOWN;
    r->pid = 0;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void *receiver_main(void *arg)
{
    struct bl_remote *r = arg;
    struct bl_pool *pool = r->pool;
    bl_thread_name(pool->config.name);
    const bool joined = accept_both(r);
    pthread_mutex_lock(&r->lock);
    close_fd(&r->listening);
    forget_path(r);
    pthread_mutex_unlock(&r->lock);
    if (joined) {
        bl_frame_reader_init(&r->reader, r->data);
        if (greet(r)) {
            forget_timeout(r->data);
            bl_pool_nudge(pool); /* the heartbeat begins */
            receive(r);
        }
    } else {
        break_now(r, "it did not join");
    }
    end_link(r);
    bl_pool_unref(pool);
    return NULL;
}

/* ---- the surface -------------------------------------------------------------------------------- */

static int open_socket(char path[108])
{
    const char *tmp = getenv("TMPDIR");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char dir[sizeof address.sun_path];
    if (snprintf(dir, sizeof dir, "%s/beamline-XXXXXX", tmp && strlen(tmp) < 80 ? tmp : "/tmp") >= (int)sizeof dir) return -1;
    if (!mkdtemp(dir)) return -1; /* mode 0700 */
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s/host", dir);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4) != 0) {
        if (fd >= 0) close(fd);
        unlink(address.sun_path);
        rmdir(dir);
        return -1;
    }
    memcpy(path, address.sun_path, sizeof address.sun_path);
    return fd;
}

enum bl_status bl_remote_listen(struct bl_remote *r, char *path, size_t size, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    pthread_mutex_lock(&r->lock);
    if (r->state != BL_REMOTE_DOWN) {
        status = bl_fail_busy(err, LOOK_MS);
    } else if ((r->listening = open_socket(r->path)) < 0) {
        status = bl_fail_invalid(err, "socket", "%s", strerror(errno));
    } else {
        r->broken[0] = r->exited[0] = '\0';
        r->state = BL_REMOTE_LISTENING;
        snprintf(path, size, "%s", r->path);
        bl_pool_ref(r->pool);
        if (bl_thread_start(receiver_main, r, RECEIVER_STACK) != 0) {
            bl_pool_unref(r->pool); /* never the last: the caller has one */
            close_fd(&r->listening);
            forget_path(r);
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
    break_link(r, CLOSED);
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
    for (struct slot *s = r->slot; s < r->slot + BL_FRAME_WINDOW; s++)
        if (s->task && s->abandoned && !s->cancelled) cancel_slot(r, s);
}

uint64_t bl_remote_tick(struct bl_remote *r, uint64_t now_ns)
{
    const uint64_t step = r->heartbeat_ns / 4;
    pthread_mutex_lock(&r->lock);
    const bool up = r->state == BL_REMOTE_UP;
    if (up && now_ns > r->pong_ns + r->heartbeat_ns) {
        break_link(r, "it missed its heartbeat");
    } else if (up) {
        const struct bl_frame ping = {.type = BL_FRAME_PING, .id = r->ping + 1};
        if (bl_frame_send_now(r->control, &ping)) r->ping++;
        if (now_ns > r->cancelled_ns + CANCEL_AGAIN_NS) cancel_again(r, now_ns);
    }
    pthread_mutex_unlock(&r->lock);
    return up ? now_ns + step : UINT64_MAX;
}

void bl_remote_close(struct bl_remote *r) { break_now(r, "its pool ended"); }

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
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attr);
    pthread_condattr_destroy(&attr);
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
