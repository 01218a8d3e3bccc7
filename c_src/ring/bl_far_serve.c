/* SPDX-License-Identifier: Apache-2.0
 *
 * The other end: a process that has a device and does what the VM says. The main thread reads; the device's threads write the
 * answers, one record with its body, or one batch, at a time.
 */
#define _GNU_SOURCE
#include "bl_far_serve.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM_US = 100, LOOK_RECORDS = 256, LOOK_DATA = 16, LOOK_MS = 1000, EXIT_DYING = 5 };

struct bl_far_process bl_far_process = {.out_lock = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER};
static struct bl_far_process *const end = &bl_far_process;

/* ---- writing ---- */

static void say(uint8_t what) { (void)!send(end->far->socket, &what, 1, MSG_NOSIGNAL | MSG_DONTWAIT); }

/* out_lock held. The VM always reads; when it is gone the main thread ends all of this. */
static void write_record(const struct bl_far_head *head, const uint8_t *body)
{
    while (bl_lines_write(&end->out, head, body, bl_far_behind(head)) != BL_LINES_OK) {
        if (bl_lines_wake(&end->out)) say(BL_FAR_WAKE);
        usleep(ROOM_US);
    }
}

void bl_far_end_add(struct bl_far_head *head, const void *body, uint64_t size)
{
    head->total = (uint32_t)size;
    if (size <= BL_FAR_INLINE && size > 0) memcpy(head->bytes, body, (size_t)size);
    write_record(head, body);
    struct bl_far_head more = {.kind = BL_FAR_DATA, .token = head->token};
    for (uint64_t sent = bl_far_behind(head); size > BL_FAR_INLINE && sent < size; sent += more.total) {
        more.total = size - sent < BL_LINES_BODY ? (uint32_t)(size - sent) : BL_LINES_BODY;
        write_record(&more, (const uint8_t *)body + sent);
    }
}

void bl_far_end_begin(void) { pthread_mutex_lock(&end->out_lock); }

void bl_far_end_end(void)
{
    if (bl_lines_wake(&end->out)) say(BL_FAR_WAKE);
    pthread_mutex_unlock(&end->out_lock);
}

void bl_far_end_put(struct bl_far_head *head, const void *body, uint64_t size)
{
    bl_far_end_begin();
    bl_far_end_add(head, body, size);
    bl_far_end_end();
}

void bl_far_end_put_error(struct bl_far_head *head, const struct bl_error *err)
{
    head->status = (uint8_t)err->status;
    bl_far_end_put(head, err, sizeof *err);
}

void bl_far_end_answer(uint64_t token, const struct bl_error *err, uint32_t number)
{
    struct bl_far_head head = {.kind = BL_FAR_ANSWER, .token = token, .function = number};
    if (err)
        bl_far_end_put_error(&head, err);
    else
        bl_far_end_put(&head, NULL, 0);
}

void bl_far_end_die(const struct bl_error *err)
{
    bl_far_end_put_error(&(struct bl_far_head){.kind = BL_FAR_DYING}, err);
    _exit(EXIT_DYING);
}

/* ---- records ---- */

/* False: the VM, or the pool's process, is gone. */
static bool listen_to_vm(int wait_ms)
{
    struct pollfd ready[2] = {{.fd = end->far->socket, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    uint8_t said[256];
    if (poll(ready, 2, wait_ms) <= 0) return true;
    if (ready[1].revents && read(STDIN_FILENO, said, sizeof said) <= 0) return false;
    if (!ready[0].revents) return true;
    const ssize_t n = recv(end->far->socket, said, sizeof said, MSG_DONTWAIT);
    if (n > 0 && memchr(said, BL_FAR_PING, (size_t)n)) say(BL_FAR_PONG);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* The body; NULL: it is in the head. The VM is trusted, and its records are whole. */
static uint8_t *read_body(const struct bl_far_head *h)
{
    struct bl_error err;
    struct bl_far_head more;
    if (h->total <= BL_FAR_INLINE) {
        bl_lines_take(&end->in, NULL, 0);
        return NULL;
    }
    uint8_t *body = bl_alloc(h->kind == BL_FAR_MESSAGE ? &end->device->quota : NULL, h->total, &err);
    size_t have = bl_far_behind(h);
    bl_lines_take(&end->in, body, have);
    for (uint32_t n = 1; have < h->total; n++) {
        if (n % LOOK_DATA == 0) (void)listen_to_vm(0); /* a long body is no silence */
        while (bl_lines_peek(&end->in, &more) != BL_LINES_OK) usleep(ROOM_US); /* the VM is writing it; when it is gone so are we */
        bl_lines_take(&end->in, body ? body + have : NULL, more.total);
        have += more.total;
    }
    if (!body) bl_far_end_answer(h->token, &err, 0);
    return body;
}

static void on_record(const struct bl_far_head *h)
{
    uint8_t *body = read_body(h);
    if (!body && h->total > BL_FAR_INLINE) return; /* it was refused */
    if (!bl_far_end_later(h, body)) bl_far_end_do(h, body);
}

static void serve(void)
{
    struct bl_far_head head;
    for (uint32_t n = 1;; n++) {
        if (bl_lines_peek(&end->in, &head) == BL_LINES_OK) {
            on_record(&head);
            if (n % LOOK_RECORDS == 0 && !listen_to_vm(0)) return;
            continue;
        }
        const bool open = listen_to_vm(bl_lines_doze(&end->in, true) ? LOOK_MS : 0);
        (void)bl_lines_doze(&end->in, false);
        if (!open) return;
    }
}

/* ---- the beginning ---- */

static bool receive_setup(int socket, struct bl_far_setup *setup, int fd[2])
{
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } room;
    struct iovec part = {.iov_base = setup, .iov_len = sizeof *setup};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room.bytes, .msg_controllen = sizeof room.bytes};
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != (ssize_t)sizeof *setup) return false;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    const size_t size = 2 * sizeof fd[0];
    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(size)) return false;
    memcpy(fd, CMSG_DATA(c), size);
    return true;
}

bool bl_far_join(const char *path, struct bl_far_end *out)
{
    char version[BL_FAR_VERSION] = {0};
    const int socket = bl_peer_connect(path);
    snprintf(version, sizeof version, "%s", bl_version());
    if (socket < 0 || send(socket, version, sizeof version, MSG_NOSIGNAL) != (ssize_t)sizeof version) return false;
    int fd[2];
    if (!receive_setup(socket, &out->setup, fd)) return false;
    void *memory = mmap(NULL, sizeof *out->memory, PROT_READ | PROT_WRITE, MAP_SHARED, fd[0], 0);
    close(fd[0]);
    out->arena = fd[1];
    out->socket = socket;
    out->memory = memory;
    return memory != MAP_FAILED;
}

void bl_far_serve(struct bl_far_end *far, const struct bl_far_guests *guests, const struct bl_error *err)
{
    struct bl_error own;
    struct bl_device_config config;
    end->far = far;
    end->guests = guests;
    bl_lines_init(&end->in, &far->memory->to_host);
    bl_lines_init(&end->out, &far->memory->to_vm);
    if (err->status != BL_OK) bl_far_end_die(err);
    bl_device_config_init(&config);
    config.threads = far->setup.threads;
    config.max_lost = far->setup.max_lost;
    config.memory_limit = far->setup.memory_limit;
    config.max_actors = far->setup.max_actors;
    config.spin_us = far->setup.spin_us;
    config.stack_bytes = far->setup.stack_bytes;
    if (bl_device_open(&config, &bl_far_device_host, NULL, &end->device, &own) != BL_OK) bl_far_end_die(&own);
    bl_far_end_tell_handlers(0);
    bl_far_end_put(&(struct bl_far_head){.kind = BL_FAR_UP}, NULL, 0);
    serve();
}
