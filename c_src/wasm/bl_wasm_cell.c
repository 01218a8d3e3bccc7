/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "bl_ctx.h"
#include "bl_sync.h"
#include "bl_wasm_cell.h"

enum {
    SLICE_NS = 250000,
    IMPORTS_MOST = 16,
    TABLES_MOST = 1,
    ELEMENTS_MOST = 16384, /* 8 bytes each, not charged */
    FRAMES_SHOWN = 4,
};

/* ---- types ---------------------------------------------------------------------------------------- */

static bool is_type(const struct bl_wasm_type *t, char letter)
{
    return letter == 'i' ? t->kind == WASMTIME_I32 : letter == 'j' && t->kind == WASMTIME_I64;
}

/* "iji>i" */
static bool has_type(const struct bl_wasm_signature *s, const char *type)
{
    const char *arrow = strchr(type, '>');
    const size_t params = arrow ? (size_t)(arrow - type) : 0, results = arrow ? strlen(arrow + 1) : 0;
    if (!s || s->params != params || s->results != results) return false;
    for (size_t i = 0; i < params; i++)
        if (!is_type(&s->types[i], type[i])) return false;
    for (size_t i = 0; i < results; i++)
        if (!is_type(&s->types[params + i], arrow[1 + i])) return false;
    return true;
}

/* ---- what a module must have ------------------------------------------------------------------------- */

static bool is_named(const struct bl_wasm_binary *b, size_t at, size_t len, const char *name)
{
    return len == strlen(name) && memcmp(b->names + at, name, len) == 0;
}

enum import { IMPORT_SEND, IMPORT_STOPPED, IMPORT_UNKNOWN };
static const struct {
    const char *name, *type;
} offered[] = {[IMPORT_SEND] = {"send", "iiii>i"}, [IMPORT_STOPPED] = {"stopped", ">i"}};

static enum import import_of(const struct bl_wasm_binary *b, size_t i)
{
    const struct bl_wasm_name *n = &b->imports[i];
    if (n->kind != WASMTIME_FUNC || !is_named(b, n->module, n->module_len, "beamline_ring")) return IMPORT_UNKNOWN;
    for (int k = 0; k < IMPORT_UNKNOWN; k++)
        if (is_named(b, n->name, n->name_len, offered[k].name) && has_type(bl_wasm_binary_signature(b, n->index), offered[k].type))
            return (enum import)k;
    return IMPORT_UNKNOWN;
}

static enum bl_status check_imports(const struct bl_wasm_binary *b, struct bl_error *err)
{
    if (b->import_count > IMPORTS_MOST) return bl_fail_limit(err, "imports", IMPORTS_MOST, b->import_count);
    for (size_t i = 0; i < b->import_count; i++) {
        const struct bl_wasm_name *n = &b->imports[i];
        if (import_of(b, i) != IMPORT_UNKNOWN) continue;
        const int module_len = n->module_len < 40 ? (int)n->module_len : 40, name_len = n->name_len < 40 ? (int)n->name_len : 40;
        return bl_fail_invalid(err, "imports", "%.*s.%.*s is not offered, or not with this type", module_len, b->names + n->module,
                               name_len, b->names + n->name);
    }
    return BL_OK;
}

static int64_t export_of(const struct bl_wasm_module *m, const char *name, uint8_t kind)
{
    const int64_t i = bl_wasm_module_export(m, name, strlen(name));
    return i >= 0 && m->binary.exports[i].kind == kind ? i : -1;
}

/* Bytes of the smallest that it can be. */
static bool least_memory(const struct bl_wasm_limits *memory, uint64_t *bytes)
{
    return !__builtin_mul_overflow(memory->min, UINT64_C(1) << (memory->page_log2 & 63), bytes);
}

enum bl_status bl_wasm_cell_check(const struct bl_wasm_module *m, uint64_t memory_bytes, struct bl_error *err)
{
    const struct bl_wasm_binary *b = &m->binary;
    uint64_t least;
    const int64_t memory = export_of(m, "memory", WASMTIME_MEMORY);
    if (memory < 0 || b->memory_count != 1 || b->memories[0].is64)
        return bl_fail_invalid(err, "memory", "a handler exports its only memory, of 32 bits, as \"memory\"");
    if (!least_memory(&b->memories[0], &least)) least = UINT64_MAX;
    if (least > memory_bytes) return bl_fail_limit(err, "memory", memory_bytes, least);
    return check_imports(b, err);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static enum bl_status charge(struct bl_wasm_cell *c, uint64_t bytes, struct bl_error *err)
{
    if (bytes <= c->charged) return BL_OK;
    const enum bl_status status = c->quota ? bl_quota_charge(c->quota, bytes - c->charged, err) : BL_OK;
    if (status == BL_OK) __atomic_store_n(&c->charged, bytes, __ATOMIC_RELAXED);
    return status;
}

/* here: the store is freed by this thread, so that an actor which traps all the time pays for it, and not the janitor. */
static void let_go(struct bl_wasm_cell *c, bool here)
{
    if (c->guest) {
        if (here)
            bl_wasm_call_drop_fiber(c->guest);
        else
            bl_wasm_guest_close(c->guest);
        if (c->instance) bl_wasm_instance_unref(c->instance);
        bl_wasm_guest_unref(c->guest);
    }
    c->guest = NULL;
    c->instance = NULL;
    if (c->quota && c->charged > 0) bl_quota_release(c->quota, c->charged);
    __atomic_store_n(&c->charged, 0, __ATOMIC_RELAXED);
}

void bl_wasm_cell_close(struct bl_wasm_cell *c) { let_go(c, false); }
void bl_wasm_cell_drop(struct bl_wasm_cell *c) { let_go(c, true); }

static enum bl_status fail_trap(struct bl_wasm_guest *g, struct bl_error *err);

static enum bl_status instantiate(struct bl_wasm_cell *c, struct bl_wasm_module *m, uint64_t memory_bytes, struct bl_error *err)
{
    const struct bl_wasm_guest_limits limits = {.memory_bytes = memory_bytes > INT64_MAX ? INT64_MAX : (int64_t)memory_bytes,
                                                .table_elements = ELEMENTS_MOST, .instances = 1, .tables = TABLES_MOST, .memories = 1,
                                                .fuel_per_call = BL_WASM_NO_LIMIT, .fuel_total = BL_WASM_NO_LIMIT};
    struct bl_wasm_link links[IMPORTS_MOST];
    enum bl_status status = bl_wasm_guest_new(m->engine, &limits, &c->guest, err);
    if (status != BL_OK) return status;
    for (size_t i = 0; i < IMPORTS_MOST; i++) links[i].by_host = true;
    bl_wasm_take(c->guest, BL_WASM_IDLE);
    status = bl_wasm_instance_new(c->guest, m, links, &c->instance, err);
    if (status == BL_TRAP) status = fail_trap(c->guest, err);
    const wasmtime_extern_t *memory =
        status == BL_OK ? bl_wasm_instance_item(c->instance, (size_t)export_of(m, "memory", WASMTIME_MEMORY)) : NULL;
    if (memory) c->memory = memory->of.item;
    bl_wasm_leave(c->guest, BL_WASM_IDLE);
    return status == BL_OK && !memory ? bl_fail_invalid(err, "memory", "the library does not know it") : status;
}

/* The section `start`, and what C programs without a main have. */
static enum bl_status begin(struct bl_wasm_cell *c, const struct bl_wasm_run *run, struct bl_error *err)
{
    struct bl_wasm_function f;
    int32_t none;
    enum bl_status status = BL_OK;
    if (bl_wasm_instance_start(c->instance, &f)) status = bl_wasm_cell_call(c, &f, NULL, run, &none, err);
    if (status == BL_OK && bl_wasm_cell_export(c, "_initialize", "", &f)) status = bl_wasm_cell_call(c, &f, NULL, run, &none, err);
    return status;
}

enum bl_status bl_wasm_cell_open(struct bl_wasm_cell *c, struct bl_wasm_module *m, uint64_t memory_bytes, struct bl_quota *quota,
                                 const struct bl_wasm_run *run, struct bl_error *err)
{
    uint64_t least = 0;
    c->quota = quota;
    least_memory(&m->binary.memories[0], &least); /* bl_wasm_cell_check has seen it */
    enum bl_status status = charge(c, least, err);
    if (status == BL_OK) status = instantiate(c, m, memory_bytes, err);
    if (status == BL_OK) status = begin(c, run, err);
    if (status != BL_OK) bl_wasm_cell_drop(c);
    return status;
}

/* ---- traps ----------------------------------------------------------------------------------------------- */

/* How the library says that the system refused memory or a mapping: ENOMEM. */
#define NO_MEMORY "(os error 12)"

/* "why (at inner + 0x12, outer + 0x34)" */
static enum bl_status fail_trap(struct bl_wasm_guest *g, struct bl_error *err)
{
    struct bl_wasm_trap trap;
    bl_fail(err, BL_TRAP);
    if (!bl_wasm_guest_trap(g, &trap)) return BL_TRAP;
    if (strstr(trap.message, NO_MEMORY)) return bl_fail(err, BL_NO_MEMORY);
    snprintf(err->subject, sizeof err->subject, "%s", trap.code);
    size_t at = (size_t)snprintf(err->text, sizeof err->text, "%s", trap.message);
    for (size_t i = 0; i < trap.count && i < FRAMES_SHOWN && at < sizeof err->text; i++) {
        const struct bl_wasm_frame *f = &trap.frames[i];
        char number[16];
        snprintf(number, sizeof number, "%u", f->index);
        at += (size_t)snprintf(err->text + at, sizeof err->text - at, "%s%.40s + 0x%llx", i == 0 ? " (at " : ", ",
                               f->function[0] ? f->function : number, (unsigned long long)f->offset);
        if (i + 1 == trap.count || i + 1 == FRAMES_SHOWN)
            if (at < sizeof err->text) at += (size_t)snprintf(err->text + at, sizeof err->text - at, ")");
    }
    return BL_TRAP;
}

static enum bl_status fail_bounds(struct bl_error *err, const char *what)
{
    bl_fail(err, BL_TRAP);
    snprintf(err->subject, sizeof err->subject, "memory_out_of_bounds");
    snprintf(err->text, sizeof err->text, "%s does not lie in its memory", what);
    return BL_TRAP;
}

/* ---- calls ------------------------------------------------------------------------------------------------- */

/* Nobody wants the rest. */
static bool is_over(const struct bl_wasm_run *run, uint64_t now_ns)
{
    return now_ns >= run->deadline_ns || (run->out && bl_ring_stopped(run->out, 0, 1));
}

static enum bl_status serve_send(struct bl_wasm_cell *c, const struct bl_wasm_run *run, wasmtime_val_raw_t *v, struct bl_error *err)
{
    uint8_t bytes[BL_RING_INLINE];
    const uint32_t port = (uint32_t)v[0].i32, function = (uint32_t)v[1].i32, size = (uint32_t)v[3].i32;
    int32_t taken = size > BL_RING_INLINE ? BL_RING_SEND_TOO_LONG : BL_RING_SEND_NO_PORT;
    if (size <= BL_RING_INLINE) {
        const uint8_t *from = bl_wasm_cell_bytes(c, (uint32_t)v[2].i32, size);
        if (!from) return fail_bounds(err, "what it sends");
        memcpy(bytes, from, size);
        if (run->out) taken = bl_ring_send(run->out, port, function, bytes, size);
    }
    v[0].i32 = taken;
    return BL_OK;
}

static enum bl_status serve(struct bl_wasm_cell *c, const struct bl_wasm_run *run, struct bl_error *err)
{
    struct bl_wasm_guest *g = c->guest;
    wasmtime_val_raw_t *v = g->import_values;
    enum bl_status status = BL_OK;
    switch (import_of(&c->instance->module->binary, g->import->id)) { /* a cell has one instance: its imports begin at 0 */
    case IMPORT_SEND: status = serve_send(c, run, v, err); break;
    default: v[0].i32 = is_over(run, bl_now_ns()); break;
    }
    if (status == BL_OK) bl_wasm_call_answer(g, BL_WASM_RESULTS);
    return status;
}

/* over_ns: when it was told to stop; UINT64_MAX: not yet. */
static enum bl_status check(struct bl_wasm_cell *c, const struct bl_wasm_run *run, uint64_t *over_ns, struct bl_error *err)
{
    const enum bl_status status = charge(c, wt.wasmtime_memory_data_size(c->guest->context, &c->memory), err);
    if (status != BL_OK) return status;
    if (!is_over(run, bl_now_ns())) return BL_OK;
    if (run->grace_ns == 0) return bl_fail(err, BL_TIMEOUT);
    const uint64_t now_ns = bl_thread_cpu_ns(); /* on a machine that is overloaded the guest has its grace, too */
    if (*over_ns == UINT64_MAX) *over_ns = now_ns;
    return now_ns - *over_ns >= run->grace_ns ? bl_fail(err, BL_TIMEOUT) : BL_OK;
}

static enum bl_status run_to_end(struct bl_wasm_cell *c, const struct bl_wasm_run *run, struct bl_error *err)
{
    struct bl_wasm_guest *g = c->guest;
    uint64_t over_ns = UINT64_MAX;
    enum bl_status status = BL_OK;
    while (status == BL_OK) {
        const enum bl_wasm_event event = bl_wasm_call_slice(g, SLICE_NS);
        if (event == BL_WASM_RETURN) {
            if (g->trap || g->error) return fail_trap(g, err);
            status = charge(c, wt.wasmtime_memory_data_size(g->context, &c->memory), err);
            bl_wasm_call_done(g);
            return status;
        }
        if (event == BL_WASM_IMPORT) status = serve(c, run, err);
        if (status == BL_OK) status = check(c, run, &over_ns, err);
    }
    bl_wasm_call_end(g, status);
    return status;
}

enum bl_status bl_wasm_cell_call(struct bl_wasm_cell *c, const struct bl_wasm_function *f, const wasmtime_val_raw_t *args,
                                 const struct bl_wasm_run *run, int32_t *result, struct bl_error *err)
{
    struct bl_wasm_guest *g = c->guest;
    bl_wasm_take(g, BL_WASM_IDLE); /* nobody else knows it */
    if (f->signature->params > 0) memcpy(g->values, args, f->signature->params * sizeof *args);
    enum bl_status status = bl_wasm_call_begin(g, f, 0, BL_WASM_NO_TIMEOUT, err);
    if (status == BL_OK) status = run_to_end(c, run, err);
    if (status == BL_OK && f->signature->results > 0) *result = g->values[0].i32;
    bl_wasm_leave(g, BL_WASM_IDLE);
    if (status != BL_OK) bl_wasm_cell_drop(c);
    return status;
}

uint8_t *bl_wasm_cell_bytes(const struct bl_wasm_cell *c, uint64_t address, uint64_t size)
{
    const size_t have = wt.wasmtime_memory_data_size(c->guest->context, &c->memory);
    if (address > have || size > have - address) return NULL;
    return wt.wasmtime_memory_data(c->guest->context, &c->memory) + address;
}

/* ---- functions --------------------------------------------------------------------------------------------- */

bool bl_wasm_cell_export(const struct bl_wasm_cell *c, const char *name, const char *type, struct bl_wasm_function *out)
{
    const struct bl_wasm_module *m = c->instance->module;
    const int64_t i = export_of(m, name, WASMTIME_FUNC);
    const struct bl_wasm_signature *s = i < 0 ? NULL : bl_wasm_binary_signature(&m->binary, m->binary.exports[i].index);
    const wasmtime_extern_t *item = has_type(s, type) ? bl_wasm_instance_item(c->instance, (size_t)i) : NULL;
    if (item) *out = (struct bl_wasm_function){item->of.func, s};
    return item != NULL;
}

bool bl_wasm_cell_pointer(const struct bl_wasm_cell *c, uint32_t pointer, const char *type, struct bl_wasm_function *out)
{
    const struct bl_wasm_module *m = c->instance->module;
    const int64_t i = export_of(m, "__indirect_function_table", WASMTIME_TABLE);
    if (i < 0 || m->binary.tables[m->binary.exports[i].index].element.kind != WASMTIME_FUNCREF) return false;
    const wasmtime_extern_t *table = bl_wasm_instance_item(c->instance, (size_t)i);
    wasmtime_val_t value;
    if (!table || !wt.wasmtime_table_get(c->guest->context, &table->of.item, pointer, &value)) return false;
    if (value.kind != WASMTIME_FUNCREF || value.of.func.store_id == 0) return false;
    const struct bl_wasm_signature *s = bl_wasm_guest_signature(c->guest, &value.of.func);
    if (!has_type(s, type)) return false;
    *out = (struct bl_wasm_function){value.of.func, s};
    return true;
}
