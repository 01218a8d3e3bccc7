/* SPDX-License-Identifier: Apache-2.0
 *
 * Two threads of a device in another process. The sender lives as long as the device: it sends what is longer than
 * BL_FAR_NOW_BYTES or found no room, and looks after heartbeat and checkpoints. A reader lives as long as one process.
 *
 * The memory is unmapped by the reader alone, when the sender is out of it (`sending`) and, because the state is no longer UP,
 * nobody else will write.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bl_far.h"
#include "bl_sync.h"

enum {
    JOIN_MS = 10000,     /* a process that was started joins within this time */
    WHY_MS = 1000,       /* how long to wait for the word how it ended */
    LOOK_MS = 1000,      /* a reader that sleeps looks this often all the same */
    ROOM_NS = 100000,    /* between two looks for room */
    SLICE = 256,
};

/* ---- ends ---- */

void bl_far_break(struct bl_far *d, const char *why)
{
    if (d->state == BL_FAR_STATE_DOWN || d->state == BL_FAR_STATE_CLOSED) return;
    if (d->broken[0] == '\0') snprintf(d->broken, sizeof d->broken, "%s", why);
    /* Relaxed: the sender looks at it without the lock while it waits for room. */
    __atomic_store_n(&d->state, BL_FAR_STATE_BROKEN, __ATOMIC_RELAXED);
    if (d->socket >= 0) shutdown(d->socket, SHUT_RDWR);
    if (d->listening >= 0) shutdown(d->listening, SHUT_RDWR);
    bl_peer_kill(d->pidfd);
    pthread_cond_broadcast(&d->changed);
}

void bl_far_break_now(struct bl_far *d, const char *why)
{
    pthread_mutex_lock(&d->lock);
    bl_far_break(d, why);
    pthread_mutex_unlock(&d->lock);
}

static void say(const struct bl_far *d, uint8_t what) { (void)!send(d->socket, &what, 1, MSG_NOSIGNAL | MSG_DONTWAIT); }

void bl_far_wake(struct bl_far *d)
{
    if (bl_lines_wake(&d->out)) say(d, BL_FAR_WAKE);
}

/* ---- the sender ---- */

/* What goes out, apart from its flight, which may land at any moment (a process that lies answers what it has not got yet) and be
 * another's then. */
struct parcel {
    struct bl_far_head head;
    struct bl_far_start start;
    size_t lead; /* bytes of `start` that go first */
    const uint8_t *data;
    void *owner;
    struct bl_far_saved *saved; /* a reference */
    struct bl_far_load *load;   /* as well */
};

/* Lock held. */
static void pack(struct bl_far_flight *f, struct parcel *p, uint8_t room[BL_LINES_BODY])
{
    *p = (struct parcel){.head = f->head, .data = f->data, .owner = f->owner};
    f->owner = NULL;
    if (f->uses) p->data = memcpy(room, f->data, f->head.total); /* at most three of them */
    p->load = f->load;
    if (p->load) bl_refs_get(&p->load->refs);
    if (f->head.kind != BL_FAR_START) return;
    p->lead = sizeof p->start;
    p->saved = f->actor->saved;
    bl_refs_get(&p->saved->refs);
    bl_far_start_of(f->actor, f->again, &p->start);
    p->data = p->saved->bytes;
    p->head.total = (uint32_t)(p->lead + p->saved->size); /* there may be a newer one by now */
}

/* Heartbeat and checkpoints; when to look again. Lock held. */
static uint64_t tick(struct bl_far *d, uint64_t now_ns)
{
    const uint64_t step = d->config.heartbeat_ns / 4;
    if (d->state != BL_FAR_STATE_UP) return now_ns + step;
    if (bl_silence_is_long(&d->silence, now_ns, d->config.heartbeat_ns)) {
        bl_far_break(d, "it missed its heartbeat");
        return now_ns + step;
    }
    say(d, BL_FAR_PING);
    if (!d->stats_asked) bl_far_quiet(d, &(struct bl_far_head){.kind = BL_FAR_STATS}, NULL);
    d->stats_asked = true;
    uint64_t next_ns = now_ns + step;
    if (d->config.checkpoint_ns > 0) {
        if (now_ns >= d->checkpoint_next_ns) {
            d->checkpoint_at = 0;
            d->checkpoint_next_ns = now_ns + d->config.checkpoint_ns;
        }
        if (d->checkpoint_next_ns < next_ns) next_ns = d->checkpoint_next_ns;
    }
    return next_ns;
}

static bool write_record(struct bl_far *d, const struct bl_far_head *head, const uint8_t *body)
{
    for (;;) {
        const enum bl_lines_status status = bl_lines_write(&d->out, head, body, bl_far_behind(head));
        if (status == BL_LINES_OK) return true;
        if (status == BL_LINES_BROKEN) {
            bl_far_break_now(d, "it claims to have read what was not written");
            return false;
        }
        /* Relaxed: written under the lock; only how soon it gives up depends on it. */
        if (__atomic_load_n(&d->state, __ATOMIC_RELAXED) != BL_FAR_STATE_UP) return false;
        pthread_mutex_lock(&d->lock);
        const uint64_t now_ns = bl_now_ns();
        if (now_ns >= d->look_ns) d->look_ns = tick(d, now_ns); /* one that stands still makes no room either */
        bl_far_wake(d);
        pthread_mutex_unlock(&d->lock);
        usleep(ROOM_NS / 1000);
    }
}

/* The bytes of a record with its DATA; `lead` only ever lies in the first. */
static bool write_parcel(struct bl_far *d, const struct parcel *p, uint8_t room[BL_LINES_BODY])
{
    const size_t first = bl_far_behind(&p->head);
    const uint8_t *body = p->data;
    if (p->lead > 0) {
        memcpy(room, &p->start, p->lead);
        memcpy(room + p->lead, p->data, first - p->lead);
        body = room;
    }
    if (!write_record(d, &p->head, body)) return false;
    struct bl_far_head more = {.kind = BL_FAR_DATA, .token = p->head.token};
    for (size_t sent = first; first > 0 && sent < p->head.total; sent += more.total) {
        more.total = p->head.total - sent < BL_LINES_BODY ? (uint32_t)(p->head.total - sent) : BL_LINES_BODY;
        if (!write_record(d, &more, p->data + (sent - p->lead))) return false;
    }
    return true;
}

/* Lock held, and again on return. */
static void send_first(struct bl_far *d, uint8_t room[BL_LINES_BODY])
{
    struct bl_far_flight *f = BL_CONTAINER(d->queue.next, struct bl_far_flight, link);
    struct parcel p;
    pack(f, &p, room);
    bl_link_remove(&f->link);
    f->queued = false;
    d->sending = true;
    d->sent = p.head.token;
    pthread_mutex_unlock(&d->lock);
    const bool sent = write_parcel(d, &p, room);
    if (p.owner) d->host->body_free(p.owner);
    bl_far_saved_unref(p.saved);
    bl_far_load_unref(p.load);
    pthread_mutex_lock(&d->lock);
    d->sending = false;
    if (sent && d->state == BL_FAR_STATE_UP) bl_far_wake(d);
    pthread_cond_broadcast(&d->changed);
}

/* The next one from *at on that is in that phase or a later one, with a reference. */
static struct bl_far_actor *next_actor(struct bl_far *d, enum bl_phase phase, uint32_t *at)
{
    struct bl_far_actor *a = NULL;
    pthread_mutex_lock(&d->lock);
    for (; *at < d->actor_room && !a; ++*at)
        if (d->actor[*at] && d->actor[*at]->phase >= phase) a = d->actor[*at];
    if (a) bl_far_actor_ref(a);
    pthread_mutex_unlock(&d->lock);
    return a;
}

/* Lock not held. */
static void end_actors(struct bl_far *d, enum bl_phase phase, const struct bl_error *err)
{
    uint32_t at = 0;
    for (struct bl_far_actor *a; (a = next_actor(d, phase, &at)) != NULL; bl_far_actor_unref(a)) bl_far_actor_end(a, BL_STOPPED, err);
}

/* A slice of the actors is asked for checkpoints, and then whoever waits for the lock has it. */
static void ask_for_some(struct bl_far *d)
{
    bl_far_checkpoints(d, SLICE);
    pthread_mutex_unlock(&d->lock);
    pthread_mutex_lock(&d->lock);
}

static void end_all(struct bl_far *d)
{
    struct bl_error err;
    bl_fail(&err, BL_CLOSED);
    bl_far_flights_fail(d, &err);
    end_actors(d, BL_CREATED, &err);
    bl_far_forget(d);
}

void *bl_far_sender(void *arg)
{
    struct bl_far *d = arg;
    uint8_t *room = NULL;
    bl_thread_name("bl_ring_send");
    pthread_mutex_lock(&d->lock);
    while (!d->closing || d->reading) {
        if (!room) room = bl_alloc(NULL, BL_LINES_BODY, NULL);
        const uint64_t now_ns = bl_now_ns();
        if (now_ns >= d->look_ns) d->look_ns = tick(d, now_ns);
        if (room && d->state == BL_FAR_STATE_UP && !bl_link_is_alone(&d->queue))
            send_first(d, room);
        else if (d->state == BL_FAR_STATE_UP && d->checkpoint_at < d->actor_room)
            ask_for_some(d);
        else
            bl_cond_wait_until(&d->changed, &d->lock, d->state == BL_FAR_STATE_UP ? d->look_ns : UINT64_MAX);
    }
    d->state = BL_FAR_STATE_CLOSED;
    pthread_mutex_unlock(&d->lock);
    bl_free(room);
    end_all(d);
    bl_far_unref(d);
    return NULL;
}

/* ---- a process joins (reader) ---- */

/* Sealed: if it could be cut, reading it would be the end of this process. All of it is there from the start, for the same reason. */
static struct bl_far_memory *make_memory(int *fd)
{
    const size_t size = sizeof(struct bl_far_memory);
    *fd = memfd_create("beamline_ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0) return NULL;
    void *memory = MAP_FAILED;
    if (ftruncate(*fd, (off_t)size) == 0 && posix_fallocate(*fd, 0, (off_t)size) == 0 &&
        fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (memory != MAP_FAILED) return memory;
    close(*fd);
    return NULL;
}

static bool send_setup(int socket, const struct bl_far_setup *setup, const int fd[2])
{
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct bl_far_setup copy = *setup;
    struct iovec part = {.iov_base = &copy, .iov_len = sizeof copy};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(2 * sizeof fd[0]);
    memcpy(CMSG_DATA(c), fd, 2 * sizeof fd[0]);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)sizeof copy;
}

static bool meet(struct bl_far *d)
{
    uint64_t pid = 0;
    char version[BL_FAR_VERSION] = {0}, own[BL_FAR_VERSION] = {0};
    int fd[2] = {-1, d->arena};
    const int socket = bl_peer_accept(d->listening, JOIN_MS, &pid);
    if (socket < 0) return false;
    snprintf(own, sizeof own, "%s", bl_version());
    struct bl_far_memory *memory = NULL;
    if (recv(socket, version, sizeof version, MSG_WAITALL) == (ssize_t)sizeof version && memcmp(version, own, sizeof own) == 0)
        memory = make_memory(&fd[0]);
    const bool ok = memory && send_setup(socket, &d->config.setup, fd);
    if (memory) close(fd[0]);
    pthread_mutex_lock(&d->lock);
    const bool wanted = ok && d->state == BL_FAR_STATE_LISTENING;
    if (wanted) {
        d->socket = socket;
        d->pid = pid;
        d->pidfd = bl_peer_open(pid);
        d->memory = memory;
        bl_lines_init(&d->out, &memory->to_host);
        bl_lines_init(&d->in, &memory->to_vm);
    }
    pthread_mutex_unlock(&d->lock);
    if (wanted) return true;
    if (memory) munmap(memory, sizeof *memory);
    close(socket);
    return false;
}

static void stop_listening(struct bl_far *d)
{
    pthread_mutex_lock(&d->lock);
    close(d->listening);
    d->listening = -1;
    bl_peer_forget(d->path);
    pthread_mutex_unlock(&d->lock);
}

/* ---- it speaks ---- */

/* The bytes of the socket, which only wake and beat. False: it has ended. */
static bool listen_to_socket(struct bl_far *d)
{
    uint8_t said[256];
    const ssize_t n = recv(d->socket, said, sizeof said, MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n > 0 && memchr(said, BL_FAR_PONG, (size_t)n)) {
        pthread_mutex_lock(&d->lock);
        d->silence.ns = 0;
        pthread_mutex_unlock(&d->lock);
    }
    return n > 0;
}

static bool is_up(struct bl_far *d)
{
    pthread_mutex_lock(&d->lock);
    const bool up = d->state == BL_FAR_STATE_UP;
    pthread_mutex_unlock(&d->lock);
    return up;
}

static void read_all(struct bl_far *d)
{
    const uint64_t join_ns = bl_now_ns() + (uint64_t)JOIN_MS * 1000000;
    struct pollfd ready = {.fd = d->socket, .events = POLLIN};
    while (bl_far_read(d)) {
        if (!is_up(d) && bl_now_ns() > join_ns) {
            bl_far_break_now(d, "it did not join");
            return;
        }
        if (bl_lines_doze(&d->in, true)) {
            (void)poll(&ready, 1, LOOK_MS);
            if (ready.revents && !listen_to_socket(d)) {
                bl_far_read(d); /* its last words */
                return;
            }
        }
        (void)bl_lines_doze(&d->in, false);
    }
}

/* ---- it ends ---- */

/* How the process ended says more than that it did, but the reason why it was killed says most. Lock held. */
static void find_why(struct bl_far *d)
{
    const uint64_t until_ns = bl_now_ns() + (uint64_t)WHY_MS * 1000000;
    while (d->exited[0] == '\0' && !d->closing && bl_now_ns() < until_ns)
        bl_cond_wait_until(&d->changed, &d->lock, bl_now_ns() + (uint64_t)BL_FAR_LOOK_MS * 1000000);
    const bool by_itself = strcmp(d->broken, bl_far_closed) == 0 && d->exited[0] != '\0';
    snprintf(d->why, sizeof d->why, "%s", by_itself ? d->exited : d->broken);
}

static void let_go(struct bl_far *d)
{
    while (d->sending) bl_cond_wait_until(&d->changed, &d->lock, UINT64_MAX);
    if (d->memory) munmap(d->memory, sizeof *d->memory);
    if (d->socket >= 0) close(d->socket);
    if (d->pidfd >= 0) close(d->pidfd);
    d->memory = NULL;
    d->socket = d->pidfd = -1;
    d->pid = 0;
    bl_far_stats_add(&d->past, &d->stats);
    d->stats = (struct bl_device_stats){.actors = 0};
    d->stats_asked = false;
}

static void end_link(struct bl_far *d)
{
    struct bl_error err;
    pthread_mutex_lock(&d->lock);
    bl_far_break(d, bl_far_closed);
    find_why(d);
    let_go(d);
    bl_fail(&err, d->closing ? BL_CLOSED : BL_HOST_EXITED);
    if (!d->closing) snprintf(err.text, sizeof err.text, "%s", d->why);
    pthread_mutex_unlock(&d->lock);
    bl_far_read_end(d);
    bl_far_flights_fail(d, &err);
    end_actors(d, BL_DRAINING, NULL); /* those that were about to end */
    pthread_mutex_lock(&d->lock);
    __atomic_store_n(&d->state, BL_FAR_STATE_DOWN, __ATOMIC_RELAXED); /* relaxed: as in bl_far_break */
    d->reading = false;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void *bl_far_reader(void *arg)
{
    struct bl_far *d = arg;
    bl_thread_name("bl_ring_read");
    const bool met = meet(d);
    stop_listening(d);
    if (met)
        read_all(d);
    else
        bl_far_break_now(d, "it did not join");
    end_link(d);
    bl_far_unref(d);
    return NULL;
}
