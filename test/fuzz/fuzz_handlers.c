/* SPDX-License-Identifier: Apache-2.0
 *
 * A module whose memory says anything: the table of its handlers, then what it answers to messages, states and migrations. The
 * engine is not here: in its place stands a guest that does what the input says, in a memory of exact size that moves with each
 * call, as one that grows does.
 *
 *     input: length of the image, 2 bytes; the image, from address 0 on; then choices
 */
#define bl_wasm_cell_check fuzz_cell_check
#define bl_wasm_cell_open fuzz_cell_open
#define bl_wasm_cell_close fuzz_cell_close
#define bl_wasm_cell_drop fuzz_cell_drop
#define bl_wasm_cell_call fuzz_cell_call
#define bl_wasm_cell_bytes fuzz_cell_bytes
#define bl_wasm_cell_export fuzz_cell_export
#define bl_wasm_cell_pointer fuzz_cell_pointer
#define bl_wasm_handlers_read fuzz_handlers_read
#define bl_wasm_actor_class fuzz_actor_class
#include "../../c_src/wasm/bl_wasm_handler.c"
#include "../../c_src/wasm/bl_wasm_actor.c"

#include "bl_fuzz.h"

enum { MEMORY_LEAST = 8192, MEMORY_MOST = 1 << 18, FUNCTIONS = 16, MESSAGES = 4 };

static struct {
    uint8_t *bytes;
    uint64_t size;
    const uint8_t *image;
    size_t image_bytes;
    struct bl_fuzz in;
} guest;

static uint32_t wild(void) { return (uint32_t)bl_fuzz_byte(&guest.in) << bl_fuzz_byte(&guest.in) % 25; }

/* ---- the guest ---- */

static void move_memory(uint64_t size)
{
    uint8_t *bytes = calloc(1, size);
    FUZZ_CHECK(bytes != NULL);
    if (guest.bytes) memcpy(bytes, guest.bytes, guest.size);
    free(guest.bytes);
    guest.bytes = bytes;
    guest.size = size;
}

enum bl_status bl_wasm_cell_check(const struct bl_wasm_module *module, uint64_t memory_bytes, struct bl_error *err)
{
    (void)module, (void)memory_bytes, (void)err;
    return BL_OK;
}

enum bl_status bl_wasm_cell_open(struct bl_wasm_cell *cell, struct bl_wasm_module *module, uint64_t memory_bytes, struct bl_quota *quota,
                                 const struct bl_wasm_run *run, struct bl_error *err)
{
    (void)module, (void)memory_bytes, (void)quota, (void)run;
    FUZZ_CHECK(cell->guest == NULL);
    if (bl_fuzz_byte(&guest.in) == 255) return bl_fail(err, BL_NO_MEMORY);
    free(guest.bytes);
    guest.bytes = NULL;
    move_memory(MEMORY_LEAST);
    memcpy(guest.bytes, guest.image, guest.image_bytes);
    cell->guest = (void *)&guest;
    return BL_OK;
}

void bl_wasm_cell_close(struct bl_wasm_cell *cell) { cell->guest = NULL; }
void bl_wasm_cell_drop(struct bl_wasm_cell *cell) { cell->guest = NULL; }

static enum bl_status ends(struct bl_wasm_cell *cell, enum bl_status status, struct bl_error *err)
{
    bl_wasm_cell_drop(cell);
    return bl_fail(err, status);
}

/* Where a guest could say that something is: anywhere, or near the end of its memory, or where it belongs. */
static uint32_t some_address(void)
{
    switch (bl_fuzz_byte(&guest.in) % 4) {
    case 0: return wild();
    case 1: return (uint32_t)guest.size - bl_fuzz_byte(&guest.in);
    case 2: return 64u * bl_fuzz_byte(&guest.in);
    default: return 64u * bl_fuzz_byte(&guest.in) + 4u * (bl_fuzz_byte(&guest.in) % 16);
    }
}

enum bl_status bl_wasm_cell_call(struct bl_wasm_cell *cell, const struct bl_wasm_function *function, const wasmtime_val_raw_t *args,
                                 const struct bl_wasm_run *run, int32_t *result, struct bl_error *err)
{
    (void)function, (void)args, (void)run;
    FUZZ_CHECK(cell->guest != NULL);
    const uint8_t how = bl_fuzz_byte(&guest.in);
    if (how == 255) return ends(cell, BL_TRAP, err);
    if (how == 254) return ends(cell, BL_TIMEOUT, err);
    if (how == 253) return ends(cell, BL_LIMIT, err);
    const uint64_t more = how & 1 ? (uint64_t)bl_fuzz_byte(&guest.in) << 6 : 0;
    move_memory(guest.size + more <= MEMORY_MOST ? guest.size + more : guest.size);
    for (int writes = how >> 1 & 3; writes > 0; writes--) {
        const uint32_t at = some_address(), value = how & 16 ? some_address() : wild();
        if (guest.size >= 4 && at <= guest.size - 4) memcpy(guest.bytes + at, &value, sizeof value);
    }
    *result = how & 8 ? (int32_t)some_address() : bl_fuzz_byte(&guest.in) % 8;
    return BL_OK;
}

uint8_t *bl_wasm_cell_bytes(const struct bl_wasm_cell *cell, uint64_t address, uint64_t size)
{
    FUZZ_CHECK(cell->guest != NULL);
    return address <= guest.size && size <= guest.size - address ? guest.bytes + address : NULL;
}

bool bl_wasm_cell_export(const struct bl_wasm_cell *cell, const char *name, const char *type, struct bl_wasm_function *out)
{
    (void)cell, (void)name, (void)type;
    memset(out, 0, sizeof *out);
    return true;
}

bool bl_wasm_cell_pointer(const struct bl_wasm_cell *cell, uint32_t pointer, const char *type, struct bl_wasm_function *out)
{
    (void)cell, (void)type;
    memset(out, 0, sizeof *out);
    return pointer < FUNCTIONS;
}

/* ---- what a device does with it ---- */

static void check_names(const char *const *names, size_t most)
{
    size_t n = 0;
    for (; names[n]; n++) FUZZ_CHECK(n < most && is_name(names[n]) && strlen(names[n]) < BL_WASM_HANDLER_NAME);
}

static void check_row(const struct bl_ring_guest_handler *row, uint64_t memory_bytes)
{
    const struct bl_ring_handler *h = &row->face;
    FUZZ_CHECK(is_name(h->name) && strlen(h->name) < BL_WASM_HANDLER_NAME && strlen(h->summary) < 160);
    FUZZ_CHECK(h->state_size <= memory_bytes && h->state_most <= memory_bytes && h->version <= INT32_MAX);
    FUZZ_CHECK(!h->handle && !h->check && !h->migrate && bl_ring_guest_of(h) == row);
    check_names(h->functions, BL_WASM_HANDLER_FUNCTIONS);
    check_names(h->ports, BL_RING_PORTS);
}

static uint8_t *reply;

static uint8_t *give_space(struct bl_ring_outbox *out, uint64_t size)
{
    (void)out;
    free(reply);
    return reply = size < MEMORY_MOST ? malloc(size) : NULL;
}

static void send_message(const struct bl_ring_guest_handler *row, struct bl_ring_guest *a, uint8_t *state, uint64_t state_size)
{
    static const uint32_t stop = 0;
    double scratch[BL_RING_SCRATCH];
    struct bl_error err;
    int32_t code = BL_RING_OK;
    uint8_t *before = bl_fuzz_copy(state, state_size), *buffer[BL_RING_BUFFERS] = {NULL};
    const uint64_t size = bl_fuzz_byte(&guest.in);
    uint8_t *data = calloc(1, size + 1);
    struct bl_ring_message m = {.deadline_ns = UINT64_MAX, .data = data, .size = size, .function = bl_fuzz_byte(&guest.in),
                                .buffer_count = bl_fuzz_byte(&guest.in) % (BL_RING_BUFFERS + 1)};
    struct bl_ring_outbox out = {.stop = &stop, .scratch = scratch, .space = give_space};
    out.reply = out.small;
    for (uint32_t i = 0; i < m.buffer_count; i++) {
        const uint64_t bytes = (uint64_t)bl_fuzz_byte(&guest.in) << 2;
        buffer[i] = calloc(1, bytes ? bytes : 1);
        m.buffer[i] = (struct bl_ring_view){.data = buffer[i], .size = bytes};
    }
    const enum bl_status status = row->class->handle(a, state, state_size, &m, &out, &code, &err);
    if (status != BL_OK || code == BL_RING_STOPPED) FUZZ_CHECK(code == BL_RING_STOPPED || memcmp(before, state, state_size) == 0);
    if (status == BL_OK && code == BL_RING_OK && out.replied && out.reply_size > 0) {
        uint32_t sum = 0;
        for (uint64_t i = 0; i < out.reply_size; i++) sum += out.reply[i]; /* each byte is there */
        FUZZ_CHECK(sum <= 255 * out.reply_size);
    }
    for (uint32_t i = 0; i < m.buffer_count; i++) free(buffer[i]);
    free(data);
    free(before);
}

static void use_handler(struct bl_ring_guest_handler *row)
{
    struct bl_quota quota;
    struct bl_error err;
    struct bl_ring_guest *a = NULL;
    int32_t code;
    bl_quota_init(&quota, NULL, "device_memory", 0);
    const uint64_t size = (uint64_t)bl_fuzz_byte(&guest.in) << bl_fuzz_byte(&guest.in) % 12;
    uint8_t *state = calloc(1, size + 1), *to = calloc(1, size + 1);
    if (row->class->open(row, &quota, size, &a, &err) == BL_OK) {
        for (int i = 0; i < MESSAGES && guest.in.size > 0; i++) send_message(row, a, state, size);
        (void)row->class->check(a, state, size, &code, &err);
        if (row->migrates) (void)row->class->migrate(a, 1, state, size, to, size, &code, &err);
        row->class->close(a);
    }
    FUZZ_CHECK(bl_quota_used(&quota) == 0);
    free(state);
    free(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct bl_wasm_module module = {.refs = 1};
    struct bl_ring_guest_handler *list[BL_WASM_HANDLERS_MOST];
    struct bl_error err;
    size_t count = 0;
    guest.in = (struct bl_fuzz){bytes, size};
    guest.image_bytes = bl_fuzz_byte(&guest.in);
    guest.image_bytes |= (size_t)bl_fuzz_byte(&guest.in) << 8;
    if (guest.image_bytes > guest.in.size) guest.image_bytes = guest.in.size;
    if (guest.image_bytes > MEMORY_LEAST) guest.image_bytes = MEMORY_LEAST;
    guest.image = guest.in.data;
    guest.in.data += guest.image_bytes;
    guest.in.size -= guest.image_bytes;
    const uint64_t memory_bytes = (uint64_t)MEMORY_LEAST << bl_fuzz_byte(&guest.in) % 6;
    const enum bl_status status = bl_wasm_handlers_read(&module, memory_bytes, list, &count, &err);
    FUZZ_CHECK(status == BL_OK ? count > 0 && count <= BL_WASM_HANDLERS_MOST : count == 0 && err.status == status);
    for (size_t i = 0; i < count; i++) {
        check_row(list[i], memory_bytes);
        use_handler(list[i]);
        list[i]->class->free(list[i]);
    }
    FUZZ_CHECK(module.refs == 1);
    free(guest.bytes);
    free(reply);
    guest.bytes = reply = NULL;
    return 0;
}
