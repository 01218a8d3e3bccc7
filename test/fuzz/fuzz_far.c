/* SPDX-License-Identifier: Apache-2.0
 *
 * What the process of a device may write into the memory that it shares with the VM. Whatever it says, everything under way is
 * answered exactly once, and nothing is left.
 *
 *     records: kind, flags | 1 an own token, 2 an error, 4 a wild number; then numbers as these ask for; then bytes of the body
 */
#include "../ring/far_fixture.h"

#include "bl_fuzz.h"

enum { MESSAGES = 8 };

static struct bl_far_memory *memory;
static struct bl_far *device;

static void ready(void)
{
    static const struct bl_far_config config = {.setup = {.threads = 1, .max_actors = 16}, .heartbeat_ns = 1000000000};
    struct bl_error err;
    if (!memory) memory = aligned_alloc(BL_LINE, sizeof *memory);
    FUZZ_CHECK(memory && (device = bl_far_make(&config, &far_host, &err)) != NULL);
    memset(memory, 0, sizeof *memory);
    memset(&far_seen, 0, 64 * sizeof far_seen.answers[0]);
    bl_lines_init(&device->out, &memory->to_host);
    bl_lines_init(&device->in, &memory->to_vm);
    device->memory = memory;
    device->state = BL_FAR_STATE_LISTENING;
}

static uint32_t wild(struct bl_fuzz *in) { return (uint32_t)bl_fuzz_byte(in) << (bl_fuzz_byte(in) % 25); }

/* False: the input has ended. */
static bool say(struct bl_lines *out, struct bl_fuzz *in, const uint64_t *token, size_t tokens)
{
    static const uint32_t totals[] = {0, 8, 24, 25, sizeof(struct bl_error), sizeof(struct bl_actor_info), sizeof(struct bl_device_stats),
                                      sizeof(struct bl_far_handler) + 3, BL_LINES_BODY, BL_LINES_BODY + 1};
    static uint8_t body[BL_LINES_BODY];
    if (in->size == 0) return false;
    const uint8_t kind = bl_fuzz_byte(in), flags = bl_fuzz_byte(in);
    struct bl_far_head head = {.kind = (uint8_t)(BL_FAR_DATA + kind % (BL_FAR_KINDS + 1)), .actor = bl_fuzz_byte(in) % 4u,
                               .function = bl_fuzz_byte(in), .total = totals[bl_fuzz_byte(in) % 10],
                               .flags = (uint16_t)(flags & 8 ? BL_FAR_LAST : 0)};
    head.token = flags & 1 && tokens > 0 ? token[bl_fuzz_byte(in) % tokens] : (uint64_t)wild(in) << 32 | wild(in);
    if (flags & 2) head.status = bl_fuzz_byte(in);
    if (flags & 4) head.total = wild(in);
    const size_t size = bl_far_behind(&head), given = size < in->size ? size : in->size;
    memset(body, 0, size);
    memcpy(body, in->data, given);
    memcpy(head.bytes, in->data, in->size < sizeof head.bytes ? in->size : sizeof head.bytes);
    in->data += given;
    in->size -= given;
    return bl_lines_write(out, &head, body, size) == BL_LINES_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct bl_fuzz in = {bytes, size};
    struct bl_error err;
    struct bl_lines out;
    struct bl_far_actor *actor[2] = {NULL};
    uint64_t token[64], request = 1;
    size_t tokens = 0;
    static const struct {
        struct bl_far_handler row;
        char names[6];
    } row = {.row = {.name = "h", .version = 1, .functions = 1, .ports = 1}, .names = {'s', 0, 'f', 0, 'p', 0}};
    struct bl_far_head head = {.kind = BL_FAR_HANDLER, .total = sizeof row.row + sizeof row.names};
    ready();
    bl_lines_init(&out, &memory->to_vm);
    uint8_t text[sizeof row.row + sizeof row.names];
    memcpy(text, &row, sizeof row.row);
    memcpy(text + sizeof row.row, row.names, sizeof row.names);
    bl_lines_write(&out, &head, text, sizeof text);
    head = (struct bl_far_head){.kind = BL_FAR_UP};
    bl_lines_write(&out, &head, NULL, 0);
    FUZZ_CHECK(bl_far_read(device) && device->state == BL_FAR_STATE_UP);
    for (int i = 0; i < 2; i++) {
        const struct bl_actor_options o = {.handler = bl_far_handler(device, "h"), .queue = 16, .priority = 1, .skin = &memory};
        FUZZ_CHECK(bl_far_actor_new(device, &o, request++, &actor[i], &err) == BL_OK);
        bl_far_actor_subscribe(actor[i], &memory, 0, &err);
    }
    while (!bl_link_is_alone(&device->queue)) { /* as if a thread had sent them */
        struct bl_far_flight *f = BL_CONTAINER(device->queue.next, struct bl_far_flight, link);
        bl_link_remove(&f->link);
        f->queued = false;
    }
    for (int i = 0; i < MESSAGES; i++) FUZZ_CHECK(far_say(actor[i % 2], request++, 1, 8) == BL_OK);
    FUZZ_CHECK(bl_far_actor_control(actor[0], BL_CHECKPOINT, request++, &err) == BL_OK);
    FUZZ_CHECK(bl_far_actor_control(actor[1], BL_FAR_INFO, request++, &err) == BL_OK);
    FUZZ_CHECK(bl_far_ask(device, BL_FAR_STATS, request++, &err) == BL_OK);
    for (int i = 0; i < 2; i++) {
        struct bl_far_load *load = bl_far_load_new(device, i == 0 ? BL_FAR_LOAD : BL_FAR_LOAD_GUESTS, 40, &err);
        FUZZ_CHECK(load && memset(load->bytes, 'x', load->size) && bl_far_load(device, load, request++, &err) == BL_OK);
    }
    struct bl_ring_buffer *buffer;
    FUZZ_CHECK(bl_far_buffer_new(device, 8, request++, &buffer, &err) == BL_OK && bl_ring_buffer_use(buffer, true, &err) == BL_OK);
    struct bl_slot with_buffer = {.deadline_ns = UINT64_MAX, .flags = BL_MESSAGE_BUFFERS | 1 << BL_MESSAGE_WRITES, .size = 1};
    with_buffer.payload.buffers[0] = buffer;
    FUZZ_CHECK(bl_far_message(actor[0], &with_buffer, request++, &err) == BL_OK);
    for (uint32_t i = 0; i < device->flight_room && tokens < 64; i++)
        if (device->flight[0][i].used) token[tokens++] = device->flight[0][i].head.token;
    while (say(&out, &in, token, tokens)) continue;
    (void)bl_far_read(device);
    device->state = BL_FAR_STATE_BROKEN;
    bl_far_read_end(device);
    bl_fail(&err, BL_HOST_EXITED);
    for (int i = 0; i < 2; i++) bl_far_actor_kill(actor[i]);
    while (!bl_link_is_alone(&device->queue)) bl_link_remove(device->queue.next);
    bl_far_flights_fail(device, &err);
    for (uint64_t r = 1; r < request; r++) FUZZ_CHECK(far_seen.answers[r] == 1);
    FUZZ_CHECK(bl_ring_buffer_use(buffer, true, &err) == BL_OK); /* its message is answered */
    bl_ring_buffer_done(buffer, true);
    bl_ring_buffer_unref(buffer);
    for (int i = 0; i < 2; i++) {
        bl_far_actor_end(actor[i], BL_STOPPED, NULL);
        bl_far_actor_drop(actor[i]);
    }
    bl_far_forget(device);
    FUZZ_CHECK(device->flight_count == 0 && device->actor_count == 0 && bl_quota_used(&device->quota) == 0 && device->refs == 1);
    bl_far_unref(device);
    return 0;
}
