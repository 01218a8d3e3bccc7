/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in handlers: a state out of foreign bytes, as restore gives it, if the handler's check takes it; then messages.
 * State and messages are exact-size blocks; whatever comes, the handler returns a code, and its state passes its own check.
 */
#include "bl_fuzz.h"
#include "ring/bl_device.h"

enum { MESSAGES_MOST = 64, REPLY_MOST = 1 << 21 };

static uint8_t *reply_memory;

static uint8_t *space(struct bl_ring_outbox *out, uint64_t size)
{
    (void)out;
    free(reply_memory);
    FUZZ_CHECK(size <= REPLY_MOST);
    reply_memory = malloc(size);
    return reply_memory;
}

static int32_t sent(struct bl_ring_outbox *out, uint32_t port, uint32_t function, const void *data, uint64_t size)
{
    uint8_t copy[BL_RING_INLINE];
    (void)function;
    FUZZ_CHECK(size <= sizeof copy);
    memcpy(copy, data, size);
    return (int32_t)out->targets[port];
}

static void handle(const struct bl_ring_handler *h, uint8_t *state, uint64_t state_size, struct bl_fuzz *in)
{
    double scratch[BL_RING_SCRATCH];
    const uint32_t stop = 1; /* a message may ask for 2^31 steps: handlers listen */
    struct bl_ring_outbox out = {.stop = &stop, .scratch = scratch, .reply = out.small, .space = space, .send = sent};
    const uint8_t how = bl_fuzz_byte(in);
    const size_t wanted = bl_fuzz_byte(in), size = wanted < in->size ? wanted : in->size;
    uint8_t *data = bl_fuzz_copy(in->data, size);
    struct bl_ring_message m = {.function = how % 8, .data = data, .size = size, .deadline_ns = UINT64_MAX};
    in->data += size;
    in->size -= size;
    for (int port = 0; port < 4; port++) out.targets[port] = how >> 4 & 1;
    if (how & 8) {
        m.buffer_count = how >> 5 & 3;
        m.size = 0;
        for (uint32_t i = 0; i < m.buffer_count; i++) m.buffer[i] = (struct bl_ring_view){data, size / 8 * 8};
    }
    const int32_t code = h->handle(state, state_size, &m, &out, 0, 1);
    FUZZ_CHECK(code >= BL_RING_OK && code <= BL_RING_FAILED);
    if (h->check) FUZZ_CHECK(h->check(state, state_size) == 0);
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"echo", "kv", "triad", "reduce", "stencil"};
    static struct bl_handlers handlers;
    struct bl_fuzz in = {bytes, size};
    if (handlers.count == 0) bl_handlers_init(&handlers);
    const struct bl_ring_handler *h = bl_handlers_find(&handlers, names[bl_fuzz_byte(&in) % 5]);
    uint64_t state_size = h->state_size;
    if (strcmp(h->name, "stencil") == 0) {
        const uint64_t side = 1 + bl_fuzz_byte(&in) % 16;
        state_size = 24 + 8 * (8 * side + 2 * side * side);
    }
    uint8_t *state = calloc(1, state_size > 0 ? state_size : 1);
    FUZZ_CHECK(state != NULL);
    const size_t given = in.size / 2 < state_size ? in.size / 2 : state_size;
    memcpy(state, in.data, given);
    in.data += given;
    in.size -= given;
    if (!h->check || h->check(state, state_size) == 0)
        for (int i = 0; i < MESSAGES_MOST && in.size > 0; i++) handle(h, state, state_size, &in);
    free(state);
    free(reply_memory);
    reply_memory = NULL;
    return 0;
}
