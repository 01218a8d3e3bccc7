/* SPDX-License-Identifier: Apache-2.0
 *
 * Memories, globals and tables of an instance that is idle, or waits for an import of this process. Base and size of a
 * memory are asked for again when the guest has run: it may have grown, and moved.
 */
#include <stdio.h>

#include "bl_wasm_nif.h"

enum {
    INLINE_BYTES = 64 << 10, /* larger copies run on a dirty scheduler */
    TRIED_BYTES = 2 << 20,   /* but reads up to this only where they turn out to be slow, in fresh memory */
    TRIED_US = 250,
};

/* An entry, which begins anew when it has met somebody who only looks, or belongs on a dirty scheduler. */
struct entry {
    const char *name;
    wasm_entry *run;
};

/* What an entry works on. */
struct visit {
    struct wasm_instance *in;
    struct bl_wasm_guest *g;
    enum wasm_entered entered;
    const struct bl_wasm_name *name;
    const wasmtime_item_t *item;
    const struct bl_wasm_memory *memory; /* instead of both, of visit_memory */
    ERL_NIF_TERM answer;                 /* where there is nothing to work on */
};

static ERL_NIF_TERM fail_invalid(ErlNifEnv *env, const char *field, const char *why)
{
    struct bl_error err;
    bl_fail_invalid(&err, field, "%s", why);
    return wasm_fail_error(env, &err);
}

/* Enters for an export of that kind. The last argument: its name, for a memory also undefined. Its number; -1: there is an answer.
 * The last, so that the arguments of beamline_wasm stay where they are: the VM moves them in pairs, which stalls. */
static inline int64_t enter(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[], uint8_t kind, const struct entry *entry, struct visit *v)
{
    ErlNifBinary text;
    int64_t i = -1;
    v->in = wasm_get_instance(env, argv[0]);
    if (!v->in) return v->answer = enif_make_badarg(env), -1;
    if (kind == WASMTIME_MEMORY && argv[argc - 1] == am.undefined_) {
        i = v->in->memory;
    } else {
        const struct bl_wasm_module *m = v->in->core->module;
        if (!enif_inspect_binary(env, argv[argc - 1], &text)) return v->answer = enif_make_badarg(env), -1;
        i = bl_wasm_module_export(m, (const char *)text.data, text.size);
        if (i >= 0 && m->binary.exports[i].kind != kind) i = -1;
    }
    if (i < 0) return v->answer = fail_invalid(env, "name", "no such export of this kind"), -1;
    if (__atomic_load_n(&v->in->core->closed, __ATOMIC_SEQ_CST)) return v->answer = wasm_fail(env, am.closed_), -1;
    v->g = v->in->guest->core;
    v->entered = wasm_enter(env, v->in->guest);
    if (v->entered <= WASM_PARKED) return i;
    v->answer = wasm_not_entered(env, v->entered, entry->name, entry->run, argc, argv);
    return -1;
}

static bool is_unknown(ErlNifEnv *env, struct visit *v)
{
    wasm_leave(v->in->guest, v->entered);
    v->answer = enif_make_badarg(env);
    return false;
}

static bool visit(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[], uint8_t kind, const struct entry *entry, struct visit *v)
{
    const int64_t i = enter(env, argc, argv, kind, entry, v);
    if (i < 0) return false;
    const wasmtime_extern_t *item = bl_wasm_instance_item(v->in->core, (size_t)i);
    if (!item) return is_unknown(env, v);
    v->name = &v->in->core->module->binary.exports[i];
    v->item = &item->of.item;
    return true;
}

static bool visit_memory(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[], const struct entry *entry, struct visit *v)
{
    const int64_t i = enter(env, argc, argv, WASMTIME_MEMORY, entry, v);
    if (i < 0) return false;
    v->memory = bl_wasm_instance_memory(v->in->core, (size_t)i);
    return v->memory || is_unknown(env, v);
}

static ERL_NIF_TERM leave(struct visit *v, ERL_NIF_TERM answer)
{
    wasm_leave(v->in->guest, v->entered);
    return answer;
}

/* ---- memories ---------------------------------------------------------------------------------------------- */

/* What no 64 bits hold is behind every end. */
static bool get_huge(ErlNifEnv *env, ERL_NIF_TERM term, uint64_t *out)
{
    double real;
    *out = UINT64_MAX;
    return enif_is_number(env, term) && !enif_get_double(env, term, &real);
}

/* Any integer. */
static inline bool get_range(ErlNifEnv *env, ERL_NIF_TERM term, uint64_t *out)
{
    ErlNifUInt64 n;
    return __builtin_expect(enif_get_uint64(env, term, &n), 1) ? *out = n, true : get_huge(env, term, out);
}

static bool is_inside(const struct visit *v, uint64_t offset, uint64_t length)
{
    return offset <= v->memory->size && length <= v->memory->size - offset;
}

static ERL_NIF_TERM not_inside(ErlNifEnv *env, struct visit *v)
{
    char why[64];
    snprintf(why, sizeof why, "not inside the %zu bytes of the memory", v->memory->size);
    return leave(v, fail_invalid(env, "range", why));
}

static ERL_NIF_TERM go_dirty(ErlNifEnv *env, const struct entry *entry, int argc, const ERL_NIF_TERM argv[])
{
    return enif_schedule_nif(env, entry->name, ERL_NIF_DIRTY_JOB_CPU_BOUND, entry->run, argc, argv);
}

static bool is_long(uint64_t bytes) { return bytes > INLINE_BYTES && enif_thread_type() == ERL_NIF_THR_NORMAL_SCHEDULER; }

static void charge(ErlNifEnv *env, uint64_t bytes)
{
    if (bytes > 4096) enif_consume_timeslice(env, (int)(bytes >> 12)); /* 16 at most: INLINE_BYTES */
}

/* A normal scheduler gives up where the time is over; the call begins anew on a dirty one. */
static bool copy_in_time(ErlNifEnv *env, unsigned char *to, const unsigned char *from, size_t length)
{
    const ErlNifTime begin = enif_monotonic_time(ERL_NIF_USEC);
    ErlNifTime spent = 0;
    for (size_t done = 0, part; done < length; done += part) {
        if (spent > TRIED_US) return false;
        part = length - done < INLINE_BYTES ? length - done : INLINE_BYTES;
        memcpy(to + done, from + done, part);
        spent = enif_monotonic_time(ERL_NIF_USEC) - begin;
    }
    enif_consume_timeslice(env, 1 + (int)(spent < 1000 ? spent / 10 : 99));
    return true;
}

/* (Instance, Offset, Length, Memory) -> {ok, Binary} */
ERL_NIF_TERM wasm_read(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"read", wasm_read};
    struct visit v;
    uint64_t offset, length;
    ERL_NIF_TERM answer;
    if (!get_range(env, argv[1], &offset) || !get_range(env, argv[2], &length)) return enif_make_badarg(env);
    const bool is_tried = is_long(length);
    if (is_tried && length > TRIED_BYTES) return go_dirty(env, &entry, argc, argv);
    if (!visit_memory(env, argc, argv, &entry, &v)) return v.answer;
    if (!is_inside(&v, offset, length)) return not_inside(env, &v);
    const unsigned char *from = v.memory->base + offset;
    unsigned char *to = enif_make_new_binary(env, length, &answer);
    if (is_tried) {
        if (!copy_in_time(env, to, from, length)) return leave(&v, go_dirty(env, &entry, argc, argv));
    } else {
        memcpy(to, from, length);
        if (length <= INLINE_BYTES) charge(env, length);
    }
    return leave(&v, wasm_pair(env, am.ok_, answer));
}

/* (Instance, Offset, Binary, Memory) -> ok */
ERL_NIF_TERM wasm_write(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"write", wasm_write};
    struct visit v;
    uint64_t offset;
    ErlNifBinary from;
    if (!get_range(env, argv[1], &offset) || !enif_inspect_binary(env, argv[2], &from)) return enif_make_badarg(env);
    if (is_long(from.size)) return go_dirty(env, &entry, argc, argv);
    if (!visit_memory(env, argc, argv, &entry, &v)) return v.answer;
    if (!is_inside(&v, offset, from.size)) return not_inside(env, &v);
    memcpy(v.memory->base + offset, from.data, from.size);
    if (from.size <= INLINE_BYTES) charge(env, from.size);
    return leave(&v, am.ok_);
}

/* (Instance, Offset, Length, Byte, Memory) -> ok */
ERL_NIF_TERM wasm_fill(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"fill", wasm_fill};
    struct visit v;
    uint64_t offset, length;
    unsigned byte;
    if (!get_range(env, argv[1], &offset) || !get_range(env, argv[2], &length) || !enif_get_uint(env, argv[3], &byte) || byte > 255)
        return enif_make_badarg(env);
    if (is_long(length)) return go_dirty(env, &entry, argc, argv);
    if (!visit_memory(env, argc, argv, &entry, &v)) return v.answer;
    if (!is_inside(&v, offset, length)) return not_inside(env, &v);
    memset(v.memory->base + offset, (int)byte, length);
    if (length <= INLINE_BYTES) charge(env, length);
    return leave(&v, am.ok_);
}

/* (Instance, Offset, Most, Memory) -> {ok, Length}: up to the first zero byte. */
ERL_NIF_TERM wasm_find_string(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"find_zero", wasm_find_string};
    struct visit v;
    uint64_t offset, most;
    if (!get_range(env, argv[1], &offset) || !get_range(env, argv[2], &most)) return enif_make_badarg(env);
    if (is_long(most)) return go_dirty(env, &entry, argc, argv);
    if (!visit_memory(env, argc, argv, &entry, &v)) return v.answer;
    if (!is_inside(&v, offset, 0)) return not_inside(env, &v);
    const size_t length = most < v.memory->size - offset ? most : v.memory->size - offset;
    const char *from = (const char *)v.memory->base + offset;
    const char *zero = length > 0 ? memchr(from, 0, length) : NULL;
    if (!zero) return leave(&v, fail_invalid(env, "string", "no zero byte where it must end"));
    return leave(&v, wasm_pair(env, am.ok_, enif_make_uint64(env, (uint64_t)(zero - from))));
}

/* (Instance, Memory) -> {ok, Bytes} */
ERL_NIF_TERM wasm_size(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"size", wasm_size};
    struct visit v;
    if (!visit_memory(env, argc, argv, &entry, &v)) return v.answer;
    return leave(&v, wasm_pair(env, am.ok_, enif_make_uint64(env, v.memory->size)));
}

/* (Instance, Pages, Memory) -> {ok, PagesBefore} */
ERL_NIF_TERM wasm_grow(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"grow", wasm_grow};
    struct visit v;
    uint64_t pages, before;
    if (!get_range(env, argv[1], &pages)) return enif_make_badarg(env);
    if (!visit(env, argc, argv, WASMTIME_MEMORY, &entry, &v)) return v.answer;
    const uint64_t now = wt.wasmtime_memory_size(v.g->context, v.item);
    v.g->runs++;
    wasmtime_error_t *error = pages > UINT64_MAX - now ? wt.wasmtime_error_new("more than there can be")
                                                       : wt.wasmtime_memory_grow(v.g->context, v.item, pages, &before);
    if (!error) return leave(&v, wasm_pair(env, am.ok_, enif_make_uint64(env, before)));
    struct bl_error err;
    wt.wasmtime_error_delete(error);
    bl_fail_limit(&err, "memory_pages", now, pages > UINT64_MAX - now ? UINT64_MAX : now + pages);
    return leave(&v, wasm_fail_error(env, &err));
}

/* A value that went in; an error says that its type is another one of the module. */
static ERL_NIF_TERM went_in(ErlNifEnv *env, struct visit *v, const struct bl_wasm_type *type, wasmtime_error_t *error)
{
    if (!error) return leave(v, am.ok_);
    wt.wasmtime_error_delete(error);
    return leave(v, wasm_bad_value(env, v->in->guest, type, 1, 1));
}

/* ---- globals ------------------------------------------------------------------------------------------------- */

static const struct bl_wasm_global *global_type(const struct visit *v)
{
    return &v->in->core->module->binary.globals[v->name->index];
}

/* (Instance, Flags, Name) -> {ok, Value} */
ERL_NIF_TERM wasm_global_get(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"global_get", wasm_global_get};
    struct visit v;
    wasmtime_val_t value;
    unsigned flags;
    ERL_NIF_TERM answer;
    if (!enif_get_uint(env, argv[1], &flags)) return enif_make_badarg(env);
    if (!visit(env, argc, argv, WASMTIME_GLOBAL, &entry, &v)) return v.answer;
    wt.wasmtime_global_get(v.g->context, v.item, &value);
    answer = wasm_make_held(env, v.in->guest, &global_type(&v)->type, &value, flags);
    wt.wasmtime_val_unroot(&value);
    return leave(&v, wasm_pair(env, am.ok_, answer));
}

/* (Instance, Value, Name) -> ok */
ERL_NIF_TERM wasm_global_set(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"global_set", wasm_global_set};
    struct visit v;
    wasmtime_val_t value;
    if (!visit(env, argc, argv, WASMTIME_GLOBAL, &entry, &v)) return v.answer;
    const struct bl_wasm_global *type = global_type(&v);
    if (!type->mutable) return leave(&v, fail_invalid(env, "name", "the global is constant"));
    if (!wasm_get_held(env, v.in->guest, &type->type, argv[1], &value))
        return leave(&v, wasm_bad_value(env, v.in->guest, &type->type, 1, 1));
    wasmtime_error_t *error = wt.wasmtime_global_set(v.g->context, v.item, &value);
    wt.wasmtime_val_unroot(&value);
    return went_in(env, &v, &type->type, error);
}

/* ---- tables --------------------------------------------------------------------------------------------------- */

static const struct bl_wasm_type *element_type(const struct visit *v)
{
    return &v->in->core->module->binary.tables[v->name->index].element;
}

/* (Instance, Name) -> {ok, Elements} */
ERL_NIF_TERM wasm_table_size(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"table_size", wasm_table_size};
    struct visit v;
    if (!visit(env, argc, argv, WASMTIME_TABLE, &entry, &v)) return v.answer;
    return leave(&v, wasm_pair(env, am.ok_, enif_make_uint64(env, wt.wasmtime_table_size(v.g->context, v.item))));
}

static ERL_NIF_TERM no_element(ErlNifEnv *env, uint64_t size)
{
    char why[64];
    snprintf(why, sizeof why, "the table has %llu elements", (unsigned long long)size);
    return fail_invalid(env, "index", why);
}

/* (Instance, Index, Name) -> {ok, Reference} */
ERL_NIF_TERM wasm_table_get(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"table_get", wasm_table_get};
    struct visit v;
    wasmtime_val_t value;
    uint64_t index;
    ERL_NIF_TERM answer;
    if (!get_range(env, argv[1], &index)) return enif_make_badarg(env);
    if (!visit(env, argc, argv, WASMTIME_TABLE, &entry, &v)) return v.answer;
    if (!wt.wasmtime_table_get(v.g->context, v.item, index, &value))
        return leave(&v, no_element(env, wt.wasmtime_table_size(v.g->context, v.item)));
    answer = wasm_make_held(env, v.in->guest, element_type(&v), &value, 0);
    wt.wasmtime_val_unroot(&value);
    return leave(&v, wasm_pair(env, am.ok_, answer));
}

/* (Instance, Index, Reference, Name) -> ok */
ERL_NIF_TERM wasm_table_set(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"table_set", wasm_table_set};
    struct visit v;
    wasmtime_val_t value;
    uint64_t index;
    if (!get_range(env, argv[1], &index)) return enif_make_badarg(env);
    if (!visit(env, argc, argv, WASMTIME_TABLE, &entry, &v)) return v.answer;
    const uint64_t size = wt.wasmtime_table_size(v.g->context, v.item);
    if (index >= size) return leave(&v, no_element(env, size));
    if (!wasm_get_held(env, v.in->guest, element_type(&v), argv[2], &value))
        return leave(&v, wasm_bad_value(env, v.in->guest, element_type(&v), 1, 1));
    wasmtime_error_t *error = wt.wasmtime_table_set(v.g->context, v.item, index, &value);
    wt.wasmtime_val_unroot(&value);
    return went_in(env, &v, element_type(&v), error);
}

/* (Instance, Elements, Reference, Name) -> {ok, ElementsBefore} */
ERL_NIF_TERM wasm_table_grow(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"table_grow", wasm_table_grow};
    struct visit v;
    wasmtime_val_t value;
    uint64_t more, before;
    if (!get_range(env, argv[1], &more)) return enif_make_badarg(env);
    if (!visit(env, argc, argv, WASMTIME_TABLE, &entry, &v)) return v.answer;
    const uint64_t now = wt.wasmtime_table_size(v.g->context, v.item);
    if (!wasm_get_held(env, v.in->guest, element_type(&v), argv[2], &value))
        return leave(&v, wasm_bad_value(env, v.in->guest, element_type(&v), 1, 1));
    wasmtime_error_t *error = wt.wasmtime_table_grow(v.g->context, v.item, 0, &value, &before); /* whether it is of this type */
    if (error) {
        wt.wasmtime_val_unroot(&value);
        return went_in(env, &v, element_type(&v), error);
    }
    error = more > UINT32_MAX ? wt.wasmtime_error_new("more than there can be")
                              : wt.wasmtime_table_grow(v.g->context, v.item, more, &value, &before);
    wt.wasmtime_val_unroot(&value);
    if (!error) return leave(&v, wasm_pair(env, am.ok_, enif_make_uint64(env, before)));
    struct bl_error err;
    wt.wasmtime_error_delete(error);
    bl_fail_limit(&err, "table_elements", now, more > UINT64_MAX - now ? UINT64_MAX : now + more);
    return leave(&v, wasm_fail_error(env, &err));
}

/* (Instance, Name) -> {ok, Function}: an export as a reference, which call takes, and tables. */
ERL_NIF_TERM wasm_function(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"function", wasm_function};
    struct visit v;
    ERL_NIF_TERM answer;
    const struct bl_wasm_type type = {.kind = WASMTIME_FUNCREF, .nullable = true, .heap = BL_HEAP_FUNC};
    if (!visit(env, argc, argv, WASMTIME_FUNC, &entry, &v)) return v.answer;
    wasmtime_func_t function;
    memcpy(&function, v.item, sizeof function);
    const wasmtime_val_raw_t raw = {.func = wt.wasmtime_func_to_raw(v.g->context, &function)};
    answer = wasm_make_value(env, v.in->guest, &type, &raw, 0);
    return leave(&v, wasm_pair(env, am.ok_, answer));
}

/* (Instance, Function, Name) -> boolean(): whether the reference is this export. */
ERL_NIF_TERM wasm_same_function(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    static const struct entry entry = {"same_function", wasm_same_function};
    struct visit v;
    const struct wasm_reference *r = wasm_get_reference(env, argv[1]);
    if (!r) return enif_make_badarg(env);
    if (!visit(env, argc, argv, WASMTIME_FUNC, &entry, &v)) return v.answer;
    wasmtime_func_t function;
    memcpy(&function, v.item, sizeof function);
    const bool same = r->kind == WASMTIME_FUNCREF && r->guest == v.in->guest &&
                      wt.wasmtime_func_to_raw(v.g->context, &function) == wt.wasmtime_func_to_raw(v.g->context, &r->function.handle);
    return leave(&v, same ? am.true_ : am.false_);
}
