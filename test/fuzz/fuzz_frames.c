/* SPDX-License-Identifier: Apache-2.0
 *
 * What a host may say to the VM: the input is the bytes that a host, which joined and greeted, sends on its two sockets
 * while it has tasks. Whatever it says, every task is answered exactly once, and nothing is left.
 *
 *     byte  which socket (0: data, 1: control) and how many bytes follow; ids in frames of the data socket are filled in
 */
#include "../runtime/remote_fixture.h"

#include "bl_fuzz.h"

static void pause_some(void) { nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL); }

static bool reached(unsigned *n, unsigned value)
{
    for (int i = 0; i < 500000; i++) {
        if (__atomic_load_n(n, __ATOMIC_SEQ_CST) == value) return true;
        pause_some();
    }
    return false;
}

static uint64_t ids[REMOTE_TASKS];

static bool take_tasks(struct remote *r)
{
    for (int i = 0; i < REMOTE_TASKS; i++) {
        struct {
            struct bl_frame frame;
            struct bl_frame_task head;
            uint8_t args[8];
        } task;
        if (!bl_frame_receive(r->data, &task, sizeof task)) return false;
        ids[i] = task.frame.id;
    }
    return true;
}

/* A frame with fields of the input's choice, mostly sensible; the rest of the input is its body. */
static void say_frame(struct remote *r, struct bl_fuzz *in)
{
    static const uint32_t lengths[] = {0, 1, 8, 40, 80, sizeof(struct bl_error), 300, BL_FRAME_CHUNK, BL_FRAME_CHUNK + 1, UINT32_MAX};
    const uint8_t kind = bl_fuzz_byte(in), length = bl_fuzz_byte(in);
    struct bl_frame frame = {.type = (uint8_t)(kind & 15), .status = (uint16_t)(kind & 16 ? 1 + bl_fuzz_byte(in) % 16 : 0)};
    frame.id = kind & 32 ? (uint64_t)bl_fuzz_byte(in) * UINT64_C(0x1000000000000001) : ids[bl_fuzz_byte(in) % REMOTE_TASKS];
    frame.total = kind & 64 ? (uint64_t)bl_fuzz_byte(in) << (bl_fuzz_byte(in) % 57) : bl_fuzz_byte(in);
    frame.length = length & 128 ? lengths[length % 10] : length & 63;
    host_say(r->data, &frame, sizeof frame);
    const size_t body = frame.length < in->size ? frame.length : in->size;
    host_say(r->data, in->data, body);
    in->data += body;
    in->size -= body;
}

static void say_raw(int fd, struct bl_fuzz *in)
{
    size_t len = bl_fuzz_byte(in) % 96;
    if (len > in->size) len = in->size;
    host_say(fd, in->data, len);
    in->data += len;
    in->size -= len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct remote *r = malloc(sizeof *r);
    struct bl_fuzz in = {.data = data, .size = size};
    FUZZ_CHECK(r && remote_open(r, 60000) && host_up(r));
    for (int i = 0; i < REMOTE_TASKS; i++) remote_submit(r, i);
    FUZZ_CHECK(take_tasks(r));
    while (in.size > 0) {
        const uint8_t what = bl_fuzz_byte(&in) % 8;
        if (what < 6)
            say_frame(r, &in);
        else
            say_raw(what == 6 ? r->data : r->control, &in);
    }
    host_gone(r);
    bl_remote_exited(r->pool->remote, "gone");
    bl_pool_ref(r->pool);
    bl_pool_end(r->pool);
    for (int i = 0; i < REMOTE_TASKS; i++) FUZZ_CHECK(reached(&r->task[i].answers, 1) && reached(&r->task[i].releases, 1));
    for (int i = 0; i < 500000 && __atomic_load_n(&r->pool->refs, __ATOMIC_ACQUIRE) > 1; i++) pause_some();
    FUZZ_CHECK(bl_quota_used(&r->pool->quota) == 0);
    bl_pool_unref(r->pool);
    free(r);
    return 0;
}
