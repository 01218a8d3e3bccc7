/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool with a remote, and a host that is played by the test: it may say anything. For remote_test.c and the fuzz
 * target of the frames.
 */
#ifndef REMOTE_FIXTURE_H
#define REMOTE_FIXTURE_H

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../c_src/runtime/bl_remote.h"
#include "beamline.h"

enum { REMOTE_TASKS = 4 };

struct remote_task {
    struct bl_task task; /* first */
    struct bl_frame_task head;
    uint8_t args[8];
    unsigned answers, releases; /* atomic */
    enum bl_status status;
    char text[160];
    uint8_t *space;
    size_t bytes;
};

struct remote {
    struct bl_pool *pool;
    struct bl_source *source;
    struct remote_task task[REMOTE_TASKS];
    int data, control; /* the host's ends */
};

static struct remote_task *remote_self(struct bl_task *task) { return BL_CONTAINER(task, struct remote_task, task); }

static void remote_run(struct bl_task *task)
{
    struct remote_task *t = remote_self(task);
    const struct bl_span args = {.data = t->args, .len = sizeof t->args};
    bl_remote_run(task, &t->head, &args, 1);
}

/* Every other one. */
static bool remote_run_now(struct bl_task *task)
{
    struct remote_task *t = remote_self(task);
    const struct bl_span args = {.data = t->args, .len = sizeof t->args};
    return t->task.key % 2 == 0 && bl_remote_run_now(task, &t->head, &args, 1);
}

static void remote_answer(struct bl_task *task, enum bl_status status, const struct bl_error *err)
{
    struct remote_task *t = remote_self(task);
    t->status = status;
    memcpy(t->text, err->text, sizeof t->text);
    __atomic_add_fetch(&t->answers, 1, __ATOMIC_SEQ_CST);
}

static void remote_progress(struct bl_task *task, const struct bl_field *fields, size_t count) { (void)task, (void)fields, (void)count; }

static void remote_release(struct bl_task *task)
{
    struct remote_task *t = remote_self(task);
    free(t->space);
    t->space = NULL;
    __atomic_add_fetch(&t->releases, 1, __ATOMIC_SEQ_CST);
}

static uint8_t *remote_space(struct bl_task *task, size_t bytes, struct bl_error *err)
{
    struct remote_task *t = remote_self(task);
    t->space = bytes < (1 << 24) ? malloc(bytes) : NULL;
    t->bytes = bytes;
    if (!t->space) bl_fail(err, BL_NO_MEMORY);
    return t->space;
}

static void remote_arrived(struct bl_task *task, enum bl_status status, struct bl_error *err) { bl_task_finish(task, status, err); }

static const struct bl_task_ops remote_task_ops = {
    .run = remote_run, .run_now = remote_run_now, .answer = remote_answer, .progress = remote_progress, .release = remote_release};
static const struct bl_remote_ops remote_ops = {.space = remote_space, .arrived = remote_arrived};

/* False: no pool. */
static bool remote_open(struct remote *r, uint32_t heartbeat_ms)
{
    struct bl_pool_config config;
    const struct bl_span host_config = {.data = (const uint8_t *)"x", .len = 1};
    memset(r, 0, sizeof *r);
    r->data = r->control = -1;
    bl_pool_config_init(&config);
    config.threads = 1;
    config.spin_us = 1;
    return bl_pool_open(&config, &r->pool, NULL) == BL_OK && bl_source_new(r->pool, &r->source, NULL) == BL_OK &&
           bl_remote_new(r->pool, &host_config, heartbeat_ms, &remote_ops, NULL) == BL_OK;
}

static void remote_submit(struct remote *r, int i)
{
    struct bl_task_options options;
    struct remote_task *t = &r->task[i];
    bl_task_options_init(&options);
    options.progress_ms = 10;
    bl_task_init(&t->task, &remote_task_ops, r->source, &options);
    t->task.key = (uint64_t)i + 1;
    bl_task_start(&t->task, NULL);
    bl_task_unref(&t->task);
}

static bool host_say(int fd, const void *bytes, size_t len) { return send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len; }

static int host_join(const char *path, uint64_t kind, const char *version)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    const struct bl_frame join = {.type = BL_FRAME_JOIN, .id = kind, .length = (uint32_t)strlen(version)};
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 && host_say(fd, &join, sizeof join) &&
        host_say(fd, version, strlen(version)))
        return fd;
    if (fd >= 0) close(fd);
    return -1;
}

/* Joins as a good host does, and greets with so many bytes of operations. (It is this very process, which a pool never kills.) */
static bool host_greets(struct remote *r, const char *operations, size_t len)
{
    char path[128];
    const struct bl_frame hello = {.type = BL_FRAME_HELLO, .id = REMOTE_TASKS, .length = (uint32_t)len};
    if (bl_remote_listen(r->pool->remote, path, sizeof path, NULL) != BL_OK) return false;
    r->data = host_join(path, 0, bl_version());
    r->control = host_join(path, 1, bl_version());
    uint8_t config[sizeof(struct bl_frame) + 1];
    return r->data >= 0 && r->control >= 0 && bl_frame_receive(r->data, config, sizeof config) &&
           host_say(r->data, &hello, sizeof hello) && host_say(r->data, operations, len);
}

static bool host_up(struct remote *r) { return host_greets(r, "j", 1); }

static void host_gone(struct remote *r)
{
    if (r->data >= 0) close(r->data);
    if (r->control >= 0) close(r->control);
    r->data = r->control = -1;
}

#endif
