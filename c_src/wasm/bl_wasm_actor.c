/* SPDX-License-Identifier: Apache-2.0
 *
 * The guest of one ring actor: messages, states and replies between the device's memory and the guest's.
 *
 * The actor's state lies in the device. The guest works on a copy in its own memory, which stays there from message to message
 * and is copied out when a handler has returned. So whatever ends a call in between leaves the actor as it was before.
 *
 * The room is memory that the guest gave for all this (beamline_ring_room), used like so, each part aligned to 64:
 *
 *     outbox | message | scratch | state | bytes of the message, or its buffers one behind the other
 *
 * Nothing of where it lies is read back from the guest but the reply's address and size, which are checked.
 */
#include <string.h>

#include "bl_ctx.h"
#include "bl_wasm_cell.h"

struct bl_ring_guest {
    const struct bl_wasm_handler *handler;
    struct bl_quota *quota;
    struct bl_wasm_cell cell;
    struct bl_wasm_function room_function, handle, check, migrate;
    uint64_t room, room_bytes; /* address; 0 bytes: none yet */
    bool current;              /* the state in the guest is the actor's */
};

enum {
    OUTBOX = 0, OUTBOX_STOP = 0, OUTBOX_SCRATCH = 4, OUTBOX_REPLY = 8, OUTBOX_REPLY_SIZE = 16, OUTBOX_REPLIED = 24, OUTBOX_TARGETS = 28,
    OUTBOX_BYTES = 88,
    MESSAGE = 128, MESSAGE_STAMP = 0, MESSAGE_DEADLINE = 8, MESSAGE_DATA = 16, MESSAGE_SIZE = 24, MESSAGE_FUNCTION = 32,
    MESSAGE_BUFFERS = 36, MESSAGE_VIEWS = 40, VIEW_BYTES = 16, VIEW_SIZE = 8, MESSAGE_BYTES = 88,
    SCRATCH = 256,
    STATE = SCRATCH + BL_RING_SCRATCH * 8,
    ALIGN = 64,
    ROOM_LEAST = 4096,
};

static void put32(uint8_t *at, uint64_t n)
{
    const uint32_t low = (uint32_t)n;
    memcpy(at, &low, sizeof low);
}

static void put64(uint8_t *at, uint64_t n) { memcpy(at, &n, sizeof n); }

/* *at += bytes, aligned; false: more than any guest has. */
static bool behind(uint64_t *at, uint64_t bytes)
{
    if (bytes > UINT32_MAX || *at > UINT32_MAX) return false;
    *at = (*at + bytes + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
    return *at <= UINT32_MAX;
}

/* ---- life ---------------------------------------------------------------------------------------- */

static enum bl_status resolve(struct bl_ring_guest *a, struct bl_error *err)
{
    const struct bl_wasm_handler *h = a->handler;
    const struct bl_wasm_cell *c = &a->cell;
    if (bl_wasm_cell_export(c, "beamline_ring_room", "i>i", &a->room_function) &&
        bl_wasm_cell_pointer(c, h->handle, "ijiiii>i", &a->handle) &&
        (h->check == 0 || bl_wasm_cell_pointer(c, h->check, "ij>i", &a->check)) &&
        (h->migrate == 0 || bl_wasm_cell_pointer(c, h->migrate, "iijij>i", &a->migrate)))
        return BL_OK;
    return bl_fail_invalid(err, "handlers", "%s: its functions are not where they were", h->name);
}

/* A cell, if there is none. */
static enum bl_status ready(struct bl_ring_guest *a, const struct bl_wasm_run *run, struct bl_error *err)
{
    const uint64_t latest_ns = bl_now_ns() + BL_WASM_SETUP_NS;
    struct bl_wasm_run setup = *run;
    if (a->cell.guest) return BL_OK;
    if (setup.deadline_ns > latest_ns) setup.deadline_ns = latest_ns;
    a->room_bytes = 0;
    a->current = false;
    enum bl_status status = bl_wasm_cell_open(&a->cell, a->handler->module, a->handler->memory_bytes, a->quota, &setup, err);
    if (status == BL_OK && (status = resolve(a, err)) != BL_OK) bl_wasm_cell_drop(&a->cell);
    return status;
}

static void actor_close(struct bl_ring_guest *a)
{
    bl_wasm_cell_close(&a->cell);
    bl_free(a);
}

static uint64_t actor_bytes(const struct bl_ring_guest *a) { return __atomic_load_n(&a->cell.charged, __ATOMIC_RELAXED); }

static void handler_free(struct bl_ring_guest_handler *row)
{
    struct bl_wasm_handler *h = (void *)row;
    bl_wasm_module_unref(h->module);
    bl_free(h);
}

/* ---- room ------------------------------------------------------------------------------------------ */

static enum bl_status ask_room(struct bl_ring_guest *a, uint64_t bytes, const struct bl_wasm_run *run, struct bl_error *err)
{
    const wasmtime_val_raw_t args[1] = {{.i32 = (int32_t)(uint32_t)bytes}};
    int32_t answer = 0;
    const enum bl_status status = bl_wasm_cell_call(&a->cell, &a->room_function, args, run, &answer, err);
    if (status != BL_OK) return status;
    a->room = (uint32_t)answer;
    if (a->room == 0) return bl_fail_limit(err, "memory", a->handler->memory_bytes, bytes);
    if (a->room % ALIGN == 0 && bl_wasm_cell_bytes(&a->cell, a->room, bytes)) {
        a->room_bytes = bytes;
        return BL_OK;
    }
    bl_wasm_cell_drop(&a->cell);
    return bl_fail_invalid(err, "handlers", "%s: beamline_ring_room gave %llu, where %llu bytes do not lie, or not aligned to %d",
                           a->handler->name, (unsigned long long)a->room, (unsigned long long)bytes, ALIGN);
}

/* At least so many bytes. Twice as many as needed, so that messages that grow do not ask each time; less if there is less. */
static enum bl_status make_room(struct bl_ring_guest *a, uint64_t bytes, const struct bl_wasm_run *run, struct bl_error *err)
{
    if (bytes <= a->room_bytes) return BL_OK;
    if (bytes > a->handler->memory_bytes) return bl_fail_limit(err, "memory", a->handler->memory_bytes, bytes);
    const uint64_t least = bytes < ROOM_LEAST ? ROOM_LEAST : bytes, more = a->room_bytes > 0 ? 2 * least : least;
    a->room_bytes = 0;
    a->current = false;
    enum bl_status status = more <= a->handler->memory_bytes ? ask_room(a, more, run, err) : bl_fail(err, BL_LIMIT);
    if (status == BL_LIMIT && a->cell.guest) status = ask_room(a, least, run, err);
    return status;
}

static enum bl_status actor_open(const struct bl_ring_guest_handler *row, struct bl_quota *quota, uint64_t state_size,
                                 struct bl_ring_guest **out, struct bl_error *err)
{
    const struct bl_wasm_run run = {.deadline_ns = bl_now_ns() + BL_WASM_SETUP_NS};
    const struct bl_wasm_handler *h = (const struct bl_wasm_handler *)(const void *)row;
    uint64_t end = STATE;
    if (!behind(&end, state_size)) return bl_fail_limit(err, "memory", h->memory_bytes, state_size);
    struct bl_ring_guest *a = bl_alloc_zero(quota, sizeof *a, err);
    if (!a) return err->status;
    a->handler = h;
    a->quota = quota;
    enum bl_status status = ready(a, &run, err);
    if (status == BL_OK) status = make_room(a, end, &run, err);
    if (status == BL_OK)
        *out = a;
    else
        actor_close(a);
    return status;
}

/* ---- messages ---------------------------------------------------------------------------------------- */

/* Where data or buffers begin; *end: behind them. */
static bool lay_out(const struct bl_ring_message *m, uint64_t state_size, uint64_t *data, uint64_t *end)
{
    uint64_t at = STATE;
    if (!behind(&at, state_size)) return false;
    *data = at;
    if (!behind(&at, m->size)) return false;
    for (uint32_t i = 0; i < m->buffer_count; i++)
        if (!behind(&at, m->buffer[i].size)) return false;
    *end = at;
    return true;
}

static void put_outbox(const struct bl_ring_guest *a, uint8_t *to, const struct bl_ring_outbox *out)
{
    memset(to, 0, OUTBOX_BYTES);
    put32(to + OUTBOX_SCRATCH, a->room + SCRATCH);
    for (int i = 0; i < BL_RING_PORTS; i++) put32(to + OUTBOX_TARGETS + 4 * i, out->targets[i]);
}

static void put_message(const struct bl_ring_guest *a, uint8_t *base, uint64_t data, const struct bl_ring_message *m)
{
    uint8_t *to = base + MESSAGE;
    memset(to, 0, MESSAGE_BYTES);
    put64(to + MESSAGE_STAMP, m->stamp);
    put64(to + MESSAGE_DEADLINE, m->deadline_ns);
    put32(to + MESSAGE_DATA, a->room + data);
    put64(to + MESSAGE_SIZE, m->size);
    put32(to + MESSAGE_FUNCTION, m->function);
    put32(to + MESSAGE_BUFFERS, m->buffer_count);
    if (m->size > 0) memcpy(base + data, m->data, (size_t)m->size);
    behind(&data, m->size);
    for (uint32_t i = 0; i < m->buffer_count; i++) {
        uint8_t *view = to + MESSAGE_VIEWS + VIEW_BYTES * i;
        put32(view, a->room + data);
        put64(view + VIEW_SIZE, m->buffer[i].size);
        if (m->buffer[i].size > 0) memcpy(base + data, m->buffer[i].data, (size_t)m->buffer[i].size);
        behind(&data, m->buffer[i].size);
    }
}

static void take_buffers(const struct bl_ring_guest *a, const uint8_t *base, uint64_t data, const struct bl_ring_message *m)
{
    behind(&data, m->size);
    for (uint32_t i = 0; i < m->buffer_count; i++) {
        if ((a->handler->row.face.writes >> i & 1) && m->buffer[i].size > 0)
            memcpy(m->buffer[i].data, base + data, (size_t)m->buffer[i].size);
        behind(&data, m->buffer[i].size);
    }
}

/* The reply, if there is one. BL_TRAP: it is not where it says, the cell is empty. */
static enum bl_status take_reply(struct bl_ring_guest *a, struct bl_ring_outbox *out, int32_t *code, struct bl_error *err)
{
    uint32_t address, replied;
    uint64_t size;
    const uint8_t *box = bl_wasm_cell_bytes(&a->cell, a->room + OUTBOX, OUTBOX_BYTES);
    memcpy(&address, box + OUTBOX_REPLY, sizeof address);
    memcpy(&size, box + OUTBOX_REPLY_SIZE, sizeof size);
    memcpy(&replied, box + OUTBOX_REPLIED, sizeof replied);
    if (*code != BL_RING_OK || replied == 0) return BL_OK;
    const uint8_t *from = bl_wasm_cell_bytes(&a->cell, address, size);
    if (!from) {
        bl_wasm_cell_drop(&a->cell);
        bl_fail(err, BL_TRAP);
        memcpy(err->subject, "memory_out_of_bounds", sizeof "memory_out_of_bounds");
        memcpy(err->text, "the reply does not lie in its memory", sizeof "the reply does not lie in its memory");
        return BL_TRAP;
    }
    uint8_t *to = bl_ring_reply_space(out, size);
    if (!to)
        *code = BL_RING_NO_MEMORY;
    else if (size > 0)
        memcpy(to, from, (size_t)size);
    return BL_OK;
}

/* What a handler left, when it returned with a code after which the state counts. */
static enum bl_status take_results(struct bl_ring_guest *a, uint8_t *state, uint64_t state_size, uint64_t data,
                                   const struct bl_ring_message *m, struct bl_ring_outbox *out, int32_t *code, struct bl_error *err)
{
    const enum bl_status status = take_reply(a, out, code, err);
    if (status != BL_OK || *code < BL_RING_OK || *code >= BL_RING_FAILED) return status;
    const uint8_t *base = bl_wasm_cell_bytes(&a->cell, a->room, a->room_bytes);
    if (state_size > 0) memcpy(state, base + STATE, (size_t)state_size);
    take_buffers(a, base, data, m);
    a->current = true;
    return BL_OK;
}

static enum bl_status run_message(struct bl_ring_guest *a, uint8_t *state, uint64_t state_size, const struct bl_ring_message *m,
                                  const struct bl_wasm_run *run, int32_t *code, struct bl_error *err)
{
    uint64_t data, end;
    if (!lay_out(m, state_size, &data, &end)) return bl_fail_limit(err, "memory", a->handler->memory_bytes, UINT32_MAX);
    enum bl_status status = ready(a, run, err);
    if (status == BL_OK) status = make_room(a, end, run, err);
    if (status != BL_OK) return status;
    uint8_t *base = bl_wasm_cell_bytes(&a->cell, a->room, a->room_bytes);
    put_outbox(a, base + OUTBOX, run->out);
    put_message(a, base, data, m);
    if (!a->current && state_size > 0) memcpy(base + STATE, state, (size_t)state_size);
    a->current = false;
    const wasmtime_val_raw_t args[6] = {{.i32 = (int32_t)(uint32_t)(a->room + STATE)}, {.i64 = (int64_t)state_size},
                                        {.i32 = (int32_t)(uint32_t)(a->room + MESSAGE)}, {.i32 = (int32_t)(uint32_t)(a->room + OUTBOX)},
                                        {.i32 = 0}, {.i32 = 1}};
    status = bl_wasm_cell_call(&a->cell, &a->handle, args, run, code, err);
    return status == BL_OK ? take_results(a, state, state_size, data, m, run->out, code, err) : status;
}

static enum bl_status actor_handle(struct bl_ring_guest *a, uint8_t *state, uint64_t state_size, const struct bl_ring_message *m,
                                   struct bl_ring_outbox *out, int32_t *code, struct bl_error *err)
{
    const struct bl_wasm_run run = {.deadline_ns = m->deadline_ns, .grace_ns = a->handler->grace_ns, .out = out};
    const enum bl_status status = run_message(a, state, state_size, m, &run, code, err);
    if (status != BL_TIMEOUT) return status;
    *code = BL_RING_STOPPED; /* unwound */
    return BL_OK;
}

/* ---- states --------------------------------------------------------------------------------------------- */

static enum bl_status actor_check(struct bl_ring_guest *a, const uint8_t *state, uint64_t size, int32_t *code, struct bl_error *err)
{
    const struct bl_wasm_run run = {.deadline_ns = bl_now_ns() + BL_WASM_SETUP_NS};
    uint64_t end = STATE;
    *code = 0;
    if (a->handler->check == 0) return BL_OK;
    if (!behind(&end, size)) return bl_fail_limit(err, "memory", a->handler->memory_bytes, size);
    enum bl_status status = ready(a, &run, err);
    if (status == BL_OK) status = make_room(a, end, &run, err);
    if (status != BL_OK) return status;
    a->current = false;
    if (size > 0) memcpy(bl_wasm_cell_bytes(&a->cell, a->room, a->room_bytes) + STATE, state, (size_t)size);
    const wasmtime_val_raw_t args[2] = {{.i32 = (int32_t)(uint32_t)(a->room + STATE)}, {.i64 = (int64_t)size}};
    return bl_wasm_cell_call(&a->cell, &a->check, args, &run, code, err);
}

static enum bl_status actor_migrate(struct bl_ring_guest *a, uint32_t from_version, const uint8_t *from, uint64_t from_size, uint8_t *to,
                                    uint64_t to_size, int32_t *code, struct bl_error *err)
{
    const struct bl_wasm_run run = {.deadline_ns = bl_now_ns() + BL_WASM_SETUP_NS};
    uint64_t old = STATE, end;
    if (!behind(&old, to_size)) return bl_fail_limit(err, "memory", a->handler->memory_bytes, to_size);
    end = old;
    if (!behind(&end, from_size)) return bl_fail_limit(err, "memory", a->handler->memory_bytes, from_size);
    enum bl_status status = ready(a, &run, err);
    if (status == BL_OK) status = make_room(a, end, &run, err);
    if (status != BL_OK) return status;
    uint8_t *base = bl_wasm_cell_bytes(&a->cell, a->room, a->room_bytes);
    memset(base + STATE, 0, (size_t)to_size);
    if (from_size > 0) memcpy(base + old, from, (size_t)from_size);
    a->current = false;
    const wasmtime_val_raw_t args[5] = {{.i32 = (int32_t)from_version}, {.i32 = (int32_t)(uint32_t)(a->room + old)},
                                        {.i64 = (int64_t)from_size}, {.i32 = (int32_t)(uint32_t)(a->room + STATE)},
                                        {.i64 = (int64_t)to_size}};
    status = bl_wasm_cell_call(&a->cell, &a->migrate, args, &run, code, err);
    if (status == BL_OK && *code == 0 && to_size > 0)
        memcpy(to, bl_wasm_cell_bytes(&a->cell, a->room, a->room_bytes) + STATE, (size_t)to_size);
    return status;
}

const struct bl_ring_guest_class bl_wasm_actor_class = {.open = actor_open, .close = actor_close, .handle = actor_handle,
                                                        .check = actor_check, .migrate = actor_migrate, .bytes = actor_bytes,
                                                        .free = handler_free};
