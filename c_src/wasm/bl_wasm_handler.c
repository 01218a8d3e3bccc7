/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "bl_ctx.h"
#include "bl_wasm_cell.h"

enum { GRACE_NS = 2000000 };

/* ---- layouts in a guest's memory: little-endian, as in ring_handler.h for wasm32 -------------------- */

enum { TABLE_BYTES = 12, TABLE_ABI = 0, TABLE_COUNT = 4, TABLE_ROWS = 8 };
enum {
    ROW_BYTES = 64, ROW_NAME = 0, ROW_SUMMARY = 4, ROW_VERSION = 8, ROW_WRITES = 12, ROW_STATE_SIZE = 16, ROW_STATE_LEAST = 24,
    ROW_STATE_MOST = 32, ROW_FUNCTIONS = 40, ROW_PORTS = 44, ROW_HANDLE = 48, ROW_CHECK = 52, ROW_MIGRATE = 56,
};

static uint32_t get32(const uint8_t *at)
{
    uint32_t n;
    memcpy(&n, at, sizeof n);
    return n;
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t n;
    memcpy(&n, at, sizeof n);
    return n;
}

static enum bl_status refuse(struct bl_error *err, const char *why) { return bl_fail_invalid(err, "handlers", "%s", why); }

/* A text with its zero into room for `most` bytes. */
static bool get_text(const struct bl_wasm_cell *c, uint32_t address, char *out, size_t most)
{
    for (size_t i = 0; i < most; i++) {
        const uint8_t *at = bl_wasm_cell_bytes(c, (uint64_t)address + i, 1);
        if (!at) return false;
        out[i] = (char)*at;
        if (*at == 0) return true;
    }
    return false;
}

static bool is_name(const char *name)
{
    if (name[0] < 'a' || name[0] > 'z') return false;
    for (const char *at = name; *at; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '_')) return false;
    return true;
}

/* A list of names that ends with 0. They become atoms, so they look like some. */
static bool get_names(const struct bl_wasm_cell *c, uint32_t address, char text[][BL_WASM_HANDLER_NAME], const char **out, size_t most)
{
    if (address == 0) return true;
    for (size_t i = 0; i <= most; i++) {
        const uint8_t *at = bl_wasm_cell_bytes(c, (uint64_t)address + 4 * i, 4);
        if (!at) return false;
        const uint32_t name = get32(at);
        if (name == 0) return true;
        if (i == most || !get_text(c, name, text[i], BL_WASM_HANDLER_NAME) || !is_name(text[i])) return false;
        out[i] = text[i];
    }
    return false;
}

/* ---- rows ------------------------------------------------------------------------------------------------ */

/* Whether a pointer to a function has its type; 0 is none. */
static bool is_function(const struct bl_wasm_cell *c, uint32_t pointer, const char *type)
{
    struct bl_wasm_function f;
    return pointer == 0 || bl_wasm_cell_pointer(c, pointer, type, &f);
}

static enum bl_status fill(struct bl_wasm_handler *h, const struct bl_wasm_cell *c, const uint8_t *row, struct bl_error *err)
{
    struct bl_ring_handler *face = &h->row.face;
    if (!get_text(c, get32(row + ROW_NAME), h->name, sizeof h->name) || !is_name(h->name))
        return refuse(err, "a handler's name is not [a-z][a-z0-9_]*");
    if (get32(row + ROW_SUMMARY) != 0 && !get_text(c, get32(row + ROW_SUMMARY), h->summary, sizeof h->summary))
        return bl_fail_invalid(err, "handlers", "%s: the summary is no text of less than %zu bytes", h->name, sizeof h->summary);
    if (!get_names(c, get32(row + ROW_FUNCTIONS), h->function_names, h->functions, BL_WASM_HANDLER_FUNCTIONS))
        return bl_fail_invalid(err, "handlers", "%s: its functions are not at most %d names", h->name, BL_WASM_HANDLER_FUNCTIONS);
    if (!get_names(c, get32(row + ROW_PORTS), h->port_names, h->ports, BL_RING_PORTS))
        return bl_fail_invalid(err, "handlers", "%s: its ports are not at most %d names", h->name, BL_RING_PORTS);
    h->handle = get32(row + ROW_HANDLE);
    h->check = get32(row + ROW_CHECK);
    h->migrate = get32(row + ROW_MIGRATE);
    if (h->handle == 0 || !is_function(c, h->handle, "ijiiii>i") || !is_function(c, h->check, "ij>i") ||
        !is_function(c, h->migrate, "iijij>i"))
        return bl_fail_invalid(err, "handlers", "%s: handle, check or migrate is not in __indirect_function_table with its type", h->name);
    *face = (struct bl_ring_handler){.name = h->name, .summary = h->summary, .version = get32(row + ROW_VERSION),
                                     .writes = get32(row + ROW_WRITES), .state_size = get64(row + ROW_STATE_SIZE),
                                     .state_least = get64(row + ROW_STATE_LEAST), .state_most = get64(row + ROW_STATE_MOST),
                                     .functions = h->functions, .ports = h->ports};
    /* The device makes room for a state before the guest can refuse. */
    if (face->state_size > h->memory_bytes) return bl_fail_limit(err, "memory", h->memory_bytes, face->state_size);
    if (face->state_most > h->memory_bytes) face->state_most = h->memory_bytes;
    if (face->version > INT32_MAX) return bl_fail_invalid(err, "handlers", "%s: the version is above 2^31 - 1", h->name);
    h->row.class = &bl_wasm_actor_class;
    h->row.migrates = h->migrate != 0;
    return BL_OK;
}

static struct bl_wasm_handler *new_handler(struct bl_wasm_module *m, uint64_t memory_bytes, struct bl_error *err)
{
    struct bl_wasm_handler *h = bl_alloc_zero(NULL, sizeof *h, err);
    if (!h) return NULL;
    bl_wasm_module_ref(m);
    h->module = m;
    h->memory_bytes = memory_bytes;
    h->grace_ns = m->binary.import_count > 0 ? GRACE_NS : 0; /* it can hear that it shall stop */
    h->row.class = &bl_wasm_actor_class;
    return h;
}

static enum bl_status read_rows(struct bl_wasm_module *m, uint64_t memory_bytes, const struct bl_wasm_cell *c, uint32_t table,
                                struct bl_ring_guest_handler *list[], size_t *count, struct bl_error *err)
{
    const uint8_t *t = bl_wasm_cell_bytes(c, table, TABLE_BYTES);
    if (!t) return refuse(err, "its table does not lie in its memory");
    if (get32(t + TABLE_ABI) != BL_RING_ABI) return refuse(err, "made for another version of ring_handler.h");
    const uint32_t rows = get32(t + TABLE_COUNT), first = get32(t + TABLE_ROWS);
    if (rows == 0) return refuse(err, "its table is empty");
    if (rows > BL_WASM_HANDLERS_MOST) return bl_fail_limit(err, "handlers", BL_WASM_HANDLERS_MOST, rows);
    for (uint32_t i = 0; i < rows; i++) {
        const uint8_t *row = bl_wasm_cell_bytes(c, (uint64_t)first + (uint64_t)i * ROW_BYTES, ROW_BYTES);
        if (!row) return refuse(err, "its table does not lie in its memory");
        struct bl_wasm_handler *h = new_handler(m, memory_bytes, err);
        if (!h) return err->status;
        list[(*count)++] = &h->row;
        const enum bl_status status = fill(h, c, row, err);
        if (status != BL_OK) return status;
    }
    return BL_OK;
}

enum bl_status bl_wasm_handlers_read(struct bl_wasm_module *m, uint64_t memory_bytes, struct bl_ring_guest_handler *list[], size_t *count,
                                     struct bl_error *err)
{
    const struct bl_wasm_run run = {.deadline_ns = bl_now_ns() + BL_WASM_SETUP_NS};
    struct bl_wasm_cell cell = {0};
    struct bl_wasm_function handlers, room;
    int32_t table = 0;
    *count = 0;
    enum bl_status status = bl_wasm_cell_check(m, memory_bytes, err);
    if (status == BL_OK) status = bl_wasm_cell_open(&cell, m, memory_bytes, NULL, &run, err);
    if (status != BL_OK) return status;
    if (!bl_wasm_cell_export(&cell, "beamline_ring_handlers", ">i", &handlers))
        status = refuse(err, "it exports no function beamline_ring_handlers");
    else if (!bl_wasm_cell_export(&cell, "beamline_ring_room", "i>i", &room))
        status = refuse(err, "it exports no function beamline_ring_room");
    if (status == BL_OK) status = bl_wasm_cell_call(&cell, &handlers, NULL, &run, &table, err);
    if (status == BL_OK) status = read_rows(m, memory_bytes, &cell, (uint32_t)table, list, count, err);
    bl_wasm_cell_drop(&cell);
    if (status == BL_OK) return BL_OK;
    while (*count > 0) bl_wasm_actor_class.free(list[--*count]);
    return status;
}
