/* SPDX-License-Identifier: Apache-2.0
 *
 * The host: a process of its own that runs a pool's operations.
 *
 *     beamline_host SOCKET [LIBRARY ...]
 *     beamline_host ring SOCKET              see bl_host_ring.c
 *
 * It joins the VM at SOCKET with two connections, gets its configuration, loads the user's LIBRARYs, gives up what
 * privileges it can, says what operations it has, and then runs tasks until either connection or its standard input
 * ends. The main thread reads both sockets; the pool's threads send the answers.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "beamline.h"
#include "bl_frame.h"
#include "bl_host.h"
#include "bl_op_set.h"
#include "bl_peer.h"
#include "bl_pool_terms.h"

enum { FILES = 64, OVERHEAD_BYTES = 512 << 20, BUCKETS = 1024, SHARED = 8 };

static struct host {
    struct bl_pool *pool;
    struct bl_source *source;
    struct bl_op_set *ops;
    int data, control;
    bool sandbox;
    pthread_mutex_t send_lock; /* one frame at a time on `data` */
    struct bl_frame_reader reader;
    /* The main thread's: */
    struct host_task *incoming[BUCKETS];  /* arguments still on their way */
    uint64_t cancelled[BL_FRAME_WINDOW];  /* the last id of each slot that was cancelled: a cancel may overtake its task */
} host = {.send_lock = PTHREAD_MUTEX_INITIALIZER};

struct host_task {
    struct bl_task task; /* first */
    struct host_task *next; /* in `incoming` */
    const struct bl_op *op;
    struct bl_etf_writer *result; /* on the stack of run */
    struct bl_span args;
    uint64_t have;
    struct bl_task_options options;
    uint64_t id, fail_nth;
    bool each; /* with each element of a list */
    uint8_t bytes[];
};

static struct host_task *self(struct bl_task *task) { return BL_CONTAINER(task, struct host_task, task); }

/* ---- sending: false means that the VM is gone, and so are we soon -------------------- */

static bool send_frame(const struct bl_frame *frame, const struct bl_span *body, size_t spans, size_t skip)
{
    pthread_mutex_lock(&host.send_lock);
    const bool sent = bl_frame_send(host.data, frame, body, spans, skip);
    pthread_mutex_unlock(&host.send_lock);
    if (!sent) shutdown(host.data, SHUT_RDWR); /* wakes the main thread, which ends */
    return sent;
}

static void send_error(uint64_t id, const struct bl_error *err)
{
    const struct bl_frame frame = {.type = BL_FRAME_ANSWER, .id = id, .status = (uint16_t)err->status, .length = sizeof *err};
    send_frame(&frame, &(struct bl_span){.data = (const uint8_t *)err, .len = sizeof *err}, 1, 0);
}

static uint64_t length(const struct bl_etf_writer *term)
{
    uint64_t len = term->len;
    for (size_t i = 0; i < term->shared_count; i++) len += term->shared[i].bytes.len;
    return len;
}

/* In chunks, so that the answers of other threads come in between. With the last one the memory counts no more: the caller may
 * have read it before this thread goes on, and his next task may need as much. */
static void send_term(uint64_t id, const struct bl_etf_writer *term)
{
    struct bl_span spans[2 * SHARED + 1];
    const size_t count = bl_etf_writer_spans(term, spans);
    struct bl_frame frame = {.type = BL_FRAME_ANSWER, .id = id, .status = BL_OK, .total = length(term)};
    for (uint64_t sent = 0; sent < frame.total; sent += frame.length) {
        frame.length = frame.total - sent < BL_FRAME_CHUNK ? (uint32_t)(frame.total - sent) : BL_FRAME_CHUNK;
        if (sent + frame.length == frame.total) bl_uncount(term->data);
        if (!send_frame(&frame, spans, count, sent)) return;
        frame.type = BL_FRAME_DATA;
    }
}

/* ---- tasks --------------------------------------------------------------------------------- */

static void run(struct bl_task *task)
{
    struct host_task *t = self(task);
    struct bl_error err = {.status = BL_OK};
    struct bl_etf_writer w;
    struct bl_etf_shared shared[SHARED];
    struct bl_reader args;
    bl_etf_writer_init(&w, &task->quota, false);
    bl_etf_writer_share(&w, shared, SHARED);
    bl_reader_init(&args, &t->args, 1, NULL, &task->quota, &err);
    enum bl_status status = bl_op_set_run(host.ops, t->op, t->each, &task->ctx, &args, &w.base, &err);
    bl_reader_clear(&args);
    if (status == BL_OK && length(&w) > BL_FRAME_ANSWER_MOST)
        status = bl_fail_limit(&err, "answer_bytes", BL_FRAME_ANSWER_MOST, length(&w));
    if (status != BL_OK) bl_etf_writer_clear(&w);
    t->result = &w;
    bl_task_finish(task, status, &err);
    bl_etf_writer_clear(&w);
}

static void answer(struct bl_task *task, enum bl_status status, const struct bl_error *err)
{
    const struct host_task *t = self(task);
    if (status == BL_OK)
        send_term(t->id, t->result);
    else
        send_error(t->id, err);
}

static void progress(struct bl_task *task, const struct bl_field *fields, size_t count)
{
    struct bl_frame_field out[BL_FRAME_FIELDS];
    struct bl_span body[2] = {{.data = (const uint8_t *)out}};
    memset(out, 0, sizeof out);
    if (count > BL_FRAME_FIELDS) count = BL_FRAME_FIELDS;
    for (size_t i = 0; i < count; i++) {
        snprintf(out[i].key, sizeof out[i].key, "%s", fields[i].key);
        out[i].type = fields[i].type;
        if (fields[i].type != BL_FIELD_TERM) {
            memcpy(&out[i].value, &fields[i].value, sizeof out[i].value);
            continue;
        }
        if (body[1].data || fields[i].value.term->len > BL_FIELD_TERM_MOST) return;
        body[1] = (struct bl_span){.data = fields[i].value.term->data, .len = fields[i].value.term->len};
        out[i].value.i = (int64_t)body[1].len;
    }
    body[0].len = count * sizeof out[0];
    const struct bl_frame frame = {.type = BL_FRAME_PROGRESS, .id = self(task)->id, .total = count,
            .length = (uint32_t)(body[0].len + body[1].len)};
    send_frame(&frame, body, 2, 0);
}

static void release(struct bl_task *task) { bl_free(self(task)); }

static const struct bl_task_ops task_ops = {.run = run, .answer = answer, .progress = progress, .release = release};

static void start(struct host_task *t)
{
    struct bl_error err;
    bl_task_init(&t->task, &task_ops, host.source, &t->options);
    t->task.key = t->id;
    if (t->fail_nth > 0) bl_quota_fail_nth(&t->task.quota, t->fail_nth);
    const uint64_t id = t->id;
    if (bl_task_start(&t->task, &err) != BL_OK) send_error(id, &err);
    bl_task_unref(&t->task);
    uint64_t *cancelled = &host.cancelled[id % BL_FRAME_WINDOW];
    if (*cancelled == id) bl_source_cancel(host.source, id);
    *cancelled = 0; /* once this id comes again */
}

/* ---- what the VM says ------------------------------------------------------------------------ */

static struct host_task **incoming(uint64_t id)
{
    struct host_task **t = &host.incoming[id % BUCKETS];
    while (*t && (*t)->id != id) t = &(*t)->next;
    return t;
}

static void await_more(struct host_task *t)
{
    t->next = host.incoming[t->id % BUCKETS];
    host.incoming[t->id % BUCKETS] = t;
}

static bool take_bytes(struct host_task *t, uint32_t length)
{
    if (length > t->args.len - t->have || !bl_frame_read(&host.reader, t->bytes + t->have, length)) return false;
    t->have += length;
    if (t->have == t->args.len)
        start(t);
    else
        await_more(t);
    return true;
}

static struct host_task *new_task(const struct bl_frame *frame, const struct bl_frame_task *head, struct bl_error *err)
{
    const struct bl_op *op = bl_op_set_find(host.ops, head->op);
    if (!op) {
        bl_fail_unsupported(err, head->op);
        return NULL;
    }
    struct host_task *t = bl_alloc(NULL, sizeof *t + frame->total, err);
    if (!t) return NULL;
    *t = (struct host_task){.op = op, .id = frame->id, .fail_nth = head->fail_nth, .each = head->each != 0};
    t->args = (struct bl_span){.data = t->bytes, .len = frame->total, .owner = t}; /* shared with the answer */
    bl_task_options_init(&t->options);
    t->options.priority = frame->class < BL_PRIORITY_COUNT ? (enum bl_priority)frame->class : BL_NORMAL;
    t->options.timeout_ms = BL_NO_TIMEOUT; /* the VM keeps the deadline, and cancels */
    t->options.memory_limit = head->memory_limit;
    t->options.progress_ms = head->progress_ms;
    t->options.opaque = (op->flags & BL_OP_OPAQUE) != 0;
    t->options.argument_bytes = frame->total;
    return t;
}

/* A task that cannot be had: its argument's bytes come all the same, and go nowhere. */
static bool refuse(const struct bl_frame *frame, uint32_t length, const struct bl_error *err)
{
    send_error(frame->id, err);
    return bl_frame_skip(&host.reader, length);
}

static bool on_task(const struct bl_frame *frame)
{
    struct bl_frame_task head;
    struct bl_error err;
    if (frame->length < sizeof head || !bl_frame_read(&host.reader, &head, sizeof head)) return false;
    head.op[sizeof head.op - 1] = '\0';
    const uint32_t length = frame->length - (uint32_t)sizeof head;
    struct host_task *t = new_task(frame, &head, &err);
    return t ? take_bytes(t, length) : refuse(frame, length, &err);
}

static bool on_data(const struct bl_frame *frame)
{
    struct host_task **at = incoming(frame->id), *t = *at;
    if (!t) return bl_frame_skip(&host.reader, frame->length); /* of a task that was refused */
    *at = t->next;
    return take_bytes(t, frame->length);
}

static bool on_data_socket(void)
{
    struct bl_frame frame;
    if (!bl_frame_read(&host.reader, &frame, sizeof frame) || frame.length > BL_FRAME_CHUNK) return false;
    return frame.type == BL_FRAME_TASK ? on_task(&frame) : frame.type == BL_FRAME_DATA && on_data(&frame);
}

static bool pong(uint64_t id)
{
    struct bl_pool_stats s;
    bl_pool_stats(host.pool, &s);
    struct {
        struct bl_frame frame;
        struct bl_frame_pong body;
    } out = {{.type = BL_FRAME_PONG, .id = id, .length = sizeof out.body},
             {.memory_bytes = s.memory_bytes,
              .memory_peak_bytes = s.memory_peak_bytes,
              .running = s.running,
              .behind = s.behind,
              .threads = host.pool->config.threads,
              .sandbox = host.sandbox}};
    for (int i = 0; i < BL_PRIORITY_COUNT; i++) out.body.queued += s.queued[i];
    return send(host.control, &out, sizeof out, MSG_NOSIGNAL) == (ssize_t)sizeof out;
}

static bool on_control_socket(void)
{
    struct bl_frame frame;
    if (!bl_frame_receive(host.control, &frame, sizeof frame)) return false;
    if (frame.type == BL_FRAME_PING) return pong(frame.id);
    if (frame.type != BL_FRAME_CANCEL) return false;
    host.cancelled[frame.id % BL_FRAME_WINDOW] = frame.id;
    bl_source_cancel(host.source, frame.id);
    return true;
}

static void serve(void)
{
    struct pollfd ready[3] = {
        {.fd = host.data, .events = POLLIN}, {.fd = host.control, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    char ignored[64];
    for (;;) {
        const bool buffered = bl_frame_reader_has(&host.reader);
        if (poll(ready, 3, buffered ? 0 : -1) < 0 && errno != EINTR) return;
        if (ready[2].revents && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) return;
        if (ready[1].revents && !on_control_socket()) return;
        if ((buffered || ready[0].revents) && !on_data_socket()) return;
    }
}

/* ---- start ---------------------------------------------------------------------------------------- */

static int join(const char *path, uint64_t kind)
{
    const int fd = bl_peer_connect(path);
    const struct timeval send = {.tv_sec = BL_FRAME_SEND_TIMEOUT_S};
    const struct bl_span version = {.data = (const uint8_t *)bl_version(), .len = strlen(bl_version())};
    const struct bl_frame frame = {.type = BL_FRAME_JOIN, .id = kind, .length = (uint32_t)version.len};
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send, sizeof send) == 0 && bl_frame_send(fd, &frame, &version, 1, 0))
        return fd;
    return -1;
}

/* Parts open these when they are first needed (spglib, zlib), which the sandbox would not let them. Already here they
 * are found by their names. What is missing is missing then, too. */
static void open_libraries(void)
{
    static const char *const names[] = {"libz.so.1", "libsymspg.so.2", "libsymspg.so.1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) (void)dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
}

/* A term: {PoolConfig, MemoryBytes, CpuSeconds}. */
static enum bl_status read_config(struct bl_pool_config *config, struct bl_host_limits *limits, struct bl_error *err)
{
    static uint8_t bytes[BL_FRAME_CHUNK];
    struct bl_frame frame;
    if (!bl_frame_read(&host.reader, &frame, sizeof frame) || frame.type != BL_FRAME_CONFIG || frame.length > sizeof bytes ||
        !bl_frame_read(&host.reader, bytes, frame.length))
        return bl_fail(err, BL_CLOSED);
    const struct bl_span span = {.data = bytes, .len = frame.length};
    struct bl_reader r;
    size_t arity;
    bl_reader_init(&r, &span, 1, NULL, NULL, err);
    enum bl_status status = bl_read_version(&r);
    if (status == BL_OK) status = bl_read_tuple(&r, &arity);
    if (status == BL_OK && arity != 3) status = bl_fail_invalid(err, "config", "not a triple");
    if (status == BL_OK) status = bl_pool_read_config(&r, config);
    if (status == BL_OK) status = bl_read_uint(&r, &limits->memory_bytes);
    if (status == BL_OK) status = bl_read_uint(&r, &limits->cpu_seconds);
    bl_reader_clear(&r);
    return status;
}

static enum bl_status set_up(char **libraries, struct bl_error *err)
{
    struct bl_pool_config config;
    struct bl_host_limits limits = {.files = FILES};
    enum bl_status status = read_config(&config, &limits, err);
    if (status == BL_OK) status = bl_pool_config_complete(&config, &config, err);
    if (status != BL_OK) return status;
    /* Each arena of the allocator takes 64 MiB of addresses, and addresses are what the limit counts. */
    mallopt(M_ARENA_MAX, 2);
    const uint64_t stacks = (uint64_t)config.threads + config.max_behind; /* each that falls behind has a stand-in */
    if (limits.memory_bytes > 0) limits.memory_bytes += OVERHEAD_BYTES + stacks * config.stack_bytes;
    if (!(host.ops = bl_op_set_new(err))) return BL_NO_MEMORY;
    for (; *libraries && status == BL_OK; libraries++) status = bl_op_set_load(host.ops, *libraries, NULL, err);
    if (status == BL_OK) status = bl_host_limit(&limits, err);
    if (status == BL_OK) {
        open_libraries();
        host.sandbox = bl_host_sandbox();
        config.max_queue = 2 * BL_FRAME_WINDOW; /* the VM's pool is the bound */
        config.max_queue_bytes = UINT64_MAX;
        status = bl_pool_open(&config, &host.pool, err);
    }
    return status == BL_OK ? bl_source_new(host.pool, &host.source, err) : status;
}

static bool hello(enum bl_status status, const struct bl_error *err)
{
    struct bl_etf_writer w;
    struct bl_frame frame = {.type = BL_FRAME_HELLO, .id = BL_FRAME_WINDOW, .status = (uint16_t)status};
    struct bl_span body = {.data = (const uint8_t *)err, .len = sizeof *err};
    bl_etf_writer_init(&w, NULL, false);
    if (status == BL_OK) {
        bl_op_set_list(host.ops, &w.base);
        body = (struct bl_span){.data = w.data, .len = w.len};
    }
    frame.length = (uint32_t)body.len;
    const bool sent = bl_frame_send(host.data, &frame, &body, 1, 0);
    bl_etf_writer_clear(&w);
    return sent && status == BL_OK;
}

/* Whoever started it reads neither. */
static void be_silent(void)
{
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0) return;
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    close(null);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: beamline_host SOCKET [LIBRARY ...]\nStarted by a pool or a device with isolation => os_process.\n");
        return 2;
    }
    struct bl_error err = {.status = BL_OK};
    be_silent();
    if (argc == 3 && strcmp(argv[1], "ring") == 0) bl_host_ring(argv[2]);
    host.data = join(argv[1], 0);
    host.control = host.data >= 0 ? join(argv[1], 1) : -1;
    if (host.control < 0) return BL_HOST_EXIT_JOIN;
    bl_frame_reader_init(&host.reader, host.data);
    const enum bl_status status = set_up(argv + 2, &err);
    if (!hello(status, &err)) return BL_HOST_EXIT_CONFIG;
    serve();
    _exit(0); /* threads may be in the middle of something: nobody wants it any more */
}
