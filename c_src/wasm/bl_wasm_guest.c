/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "bl_ctx.h"
#include "bl_wasm_guest.h"

/* ---- how many ------------------------------------------------------------------------------------- */

/* A guest needs about five of the process's memory maps; whoever asks for one too many is killed by the library. */
uint64_t bl_wasm_guests_most(void)
{
    enum { MAPS_PER_GUEST = 6, USUAL_MAPS = 65530 };
    static uint64_t most;
    if (most == 0) {
        unsigned long maps = USUAL_MAPS;
        FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
        if (file) {
            if (fscanf(file, "%lu", &maps) != 1) maps = USUAL_MAPS;
            fclose(file);
        }
        most = maps / MAPS_PER_GUEST;
    }
    return most;
}

/* ---- life ------------------------------------------------------------------------------------------ */

static void new_store(struct bl_wasm_guest *g)
{
    const struct bl_wasm_guest_limits *l = &g->limits;
    g->store = wt.wasmtime_store_new(g->engine->engine, g, NULL);
    g->context = wt.wasmtime_store_context(g->store);
    wt.wasmtime_store_limiter(g->store, l->memory_bytes, l->table_elements, l->instances, l->tables, l->memories);
    bl_wasm_fuel_give(g); /* else the first instruction would trap */
}

enum bl_status bl_wasm_guest_new(const struct bl_wasm_engine *engine, const struct bl_wasm_guest_limits *limits, struct bl_wasm_guest **out,
                                 struct bl_error *err)
{
    struct bl_wasm_guest *g = bl_alloc_zero(NULL, sizeof *g, err);
    if (!g) return BL_NO_MEMORY;
    g->refs = 1;
    g->engine = engine;
    g->limits = *limits;
    g->deadline_ns = g->due_ns = UINT64_MAX;
    bl_link_init(&g->chore);
    bl_link_init(&g->all);
    const uint64_t most = bl_wasm_guests_most();
    if (!bl_wasm_totals_enter(g, most)) {
        bl_free(g);
        return bl_fail_limit(err, "guests", most, most + 1);
    }
    new_store(g);
    *out = g;
    return BL_OK;
}

void bl_wasm_guest_ref(struct bl_wasm_guest *g) { __atomic_add_fetch(&g->refs, 1, __ATOMIC_RELAXED); }

static void free_store(struct bl_wasm_guest *g)
{
    if (!g->store) return;
    bl_wasm_guest_see_fuel(g);
    wt.wasmtime_store_delete(g->store);
    g->store = NULL;
    for (size_t i = 0; i < g->linker_count; i++) wt.wasmtime_linker_delete(g->linkers[i]);
    for (size_t i = 0; i < g->import_set_count; i++) bl_free(g->import_sets[i]);
    for (size_t i = 0; i < g->module_count; i++) bl_wasm_module_unref(g->modules[i]);
    for (size_t i = 0; i < g->signature_count; i++) bl_free(g->signatures[i]);
    bl_free(g->linkers);
    bl_free(g->import_sets);
    bl_free(g->modules);
    bl_free(g->signatures);
    bl_free(g->values);
    g->linkers = NULL;
    g->import_sets = NULL;
    g->modules = NULL;
    g->signatures = NULL;
    g->values = NULL;
    g->linker_count = g->import_set_count = g->module_count = g->signature_count = 0;
    bl_wasm_totals_leave(g);
}

void bl_wasm_guest_unref(struct bl_wasm_guest *g)
{
    if (__atomic_sub_fetch(&g->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    free_store(g); /* done already, but for one that was never used */
    bl_free(g);
}

static bool take_to_end(struct bl_wasm_guest *g)
{
    return bl_wasm_take(g, BL_WASM_YIELDED) || bl_wasm_take(g, BL_WASM_PARKED);
}

static bool try_close(struct bl_wasm_guest *g)
{
    if (take_to_end(g))
        bl_wasm_call_end(g, BL_CLOSED);
    else if (!bl_wasm_take(g, BL_WASM_IDLE))
        return false;
    else if (g->future)
        bl_wasm_call_drop_fiber(g);
    bl_wasm_leave(g, BL_WASM_CLOSED);
    return true;
}

void bl_wasm_guest_close(struct bl_wasm_guest *g)
{
    __atomic_store_n(&g->closing, true, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&g->state, __ATOMIC_ACQUIRE) == BL_WASM_CLOSED) return;
    try_close(g);
    bl_wasm_janitor_look_at(g, 0); /* frees the store, or tries again */
}

/* The call that is to be ended, of that number, may have been followed by another one. */
static bool try_cancel(struct bl_wasm_guest *g, uint64_t number, enum bl_status why)
{
    const bool yielded = bl_wasm_take(g, BL_WASM_YIELDED);
    if (!yielded && !bl_wasm_take(g, BL_WASM_PARKED)) return false;
    if (number != g->call_number) {
        bl_wasm_leave(g, yielded ? BL_WASM_YIELDED : BL_WASM_PARKED);
        return false;
    }
    bl_wasm_call_end(g, why);
    bl_wasm_leave(g, BL_WASM_IDLE);
    return true;
}

void bl_wasm_guest_cancel(struct bl_wasm_guest *g, uint64_t call_number)
{
    __atomic_store_n(&g->cancel_number, call_number, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&g->call_number, __ATOMIC_SEQ_CST) != call_number || try_cancel(g, call_number, BL_CANCELLED)) return;
    bl_wasm_janitor_look_at(g, 0);
}

uint64_t bl_wasm_guest_tend(struct bl_wasm_guest *g, uint64_t now_ns)
{
    enum { AGAIN_NS = 1000000 };
    if (__atomic_load_n(&g->closing, __ATOMIC_SEQ_CST)) {
        if (__atomic_load_n(&g->state, __ATOMIC_ACQUIRE) != BL_WASM_CLOSED && !try_close(g)) return now_ns + AGAIN_NS;
        free_store(g);
        return UINT64_MAX;
    }
    /* In this order: the deadline may be that of a later call than the number, but never of an earlier one. */
    const uint64_t number = __atomic_load_n(&g->call_number, __ATOMIC_SEQ_CST);
    const uint64_t deadline_ns = __atomic_load_n(&g->deadline_ns, __ATOMIC_SEQ_CST); /* UINT64_MAX: no call, or no deadline */
    if (__atomic_load_n(&g->cancel_number, __ATOMIC_SEQ_CST) == number && (number & 1)) {
        if (try_cancel(g, number, BL_CANCELLED)) return UINT64_MAX;
        return now_ns + AGAIN_NS;
    }
    if (deadline_ns > now_ns) return deadline_ns;
    return try_cancel(g, number, BL_TIMEOUT) ? UINT64_MAX : now_ns + AGAIN_NS;
}

/* ---- linking ----------------------------------------------------------------------------------------- */

static enum bl_status define_park(wasmtime_linker_t *linker, struct bl_error *err)
{
    wasm_valtype_vec_t params, results;
    wt.wasm_valtype_vec_new_empty(&params);
    wt.wasm_valtype_vec_new_empty(&results);
    wasm_functype_t *type = wt.wasm_functype_new(&params, &results);
    wasmtime_error_t *error = wt.wasmtime_linker_define_async_func(linker, BL_WASM_PARK_MODULE, sizeof BL_WASM_PARK_MODULE - 1, "park", 4,
        type,
                                                                   bl_wasm_park_function, NULL, NULL);
    wt.wasm_functype_delete(type);
    return error ? bl_wasm_library_error(error, err) : BL_OK;
}

static bool is_ours(const struct bl_wasm_module *m, const struct bl_wasm_name *n)
{
    return n->module_len == sizeof BL_WASM_PARK_MODULE - 1 &&
           memcmp(m->binary.names + n->module, BL_WASM_PARK_MODULE, n->module_len) == 0;
}

/* links NULL: the host answers everything. `imports`: one for each of the module's. */
static wasmtime_error_t *define_imports(wasmtime_linker_t *linker, const struct bl_wasm_module *m, const struct bl_wasm_link *links,
                                        struct bl_wasm_import *imports, uint32_t first_id, struct bl_wasm_guest *g)
{
    const struct bl_wasm_binary *b = &m->binary;
    wasm_importtype_vec_t types;
    wasmtime_error_t *error = NULL;
    wt.wasmtime_module_imports(m->module, &types);
    for (size_t i = 0; i < b->import_count && i < types.size && !error; i++) {
        const struct bl_wasm_name *n = &b->imports[i];
        const char *module = b->names + n->module, *name = b->names + n->name;
        if (is_ours(m, n))
            error = wt.wasmtime_error_new("this module name belongs to the host");
        else if (!links || links[i].by_host) {
            imports[i] = (struct bl_wasm_import){first_id + (uint32_t)i, bl_wasm_binary_signature(b, n->index)};
            error = wt.wasmtime_linker_define_func_unchecked(linker, module, n->module_len, name, n->name_len,
                                                             wt.wasm_externtype_as_functype_const(wt.wasm_importtype_type(types.data[i])),
                                                             bl_wasm_import_function, &imports[i], NULL);
        } else
            error = wt.wasmtime_linker_define(linker, g->context, module, n->module_len, name, n->name_len, &links[i].item);
    }
    wt.wasm_importtype_vec_delete(&types);
    return error;
}

static wasmtime_linker_t *new_linker(const struct bl_wasm_engine *engine, struct bl_error *err)
{
    wasmtime_linker_t *linker = wt.wasmtime_linker_new(engine->engine);
    wt.wasmtime_linker_allow_shadowing(linker, true); /* a module may import the same thing twice */
    if (define_park(linker, err) == BL_OK) return linker;
    wt.wasmtime_linker_delete(linker);
    return NULL;
}

static enum bl_status imports_error(wasmtime_error_t *error, struct bl_error *err)
{
    const enum bl_status status = bl_wasm_library_error(error, err);
    if (err && status == BL_INVALID) memcpy(err->subject, "imports", sizeof "imports");
    return status;
}

/* The most usual case, made once for a module: alone in its guest, all imports are functions of the host. */
static enum bl_status link_alone(struct bl_wasm_module *m, struct bl_error *err)
{
    wasmtime_linker_t *linker = new_linker(m->engine, err);
    if (!linker) return BL_INVALID;
    struct bl_wasm_import *imports = bl_alloc_zero(NULL, (m->binary.import_count + 1) * sizeof *imports, err);
    wasmtime_error_t *error = imports ? define_imports(linker, m, NULL, imports, 0, NULL) : NULL;
    if (imports && !error) error = wt.wasmtime_linker_instantiate_pre(linker, m->module, &m->pre);
    if (imports && !error) {
        m->linker = linker;
        m->imports = imports;
        return BL_OK;
    }
    wt.wasmtime_linker_delete(linker);
    bl_free(imports);
    return error ? imports_error(error, err) : BL_NO_MEMORY;
}

static enum bl_status linked_alone(struct bl_wasm_module *m, struct bl_error *err)
{
    pthread_mutex_lock(&m->lock);
    const enum bl_status status = m->pre ? BL_OK : link_alone(m, err);
    pthread_mutex_unlock(&m->lock);
    return status;
}

/* ---- instances ----------------------------------------------------------------------------------------- */

/* Room for one more pointer in *array; NULL: no memory. */
static bool one_more(void *array, size_t count, struct bl_error *err)
{
    void *p;
    memcpy(&p, array, sizeof p);
    if ((count & (count - 1)) != 0) return true; /* it doubles at powers of two */
    p = bl_realloc(NULL, p, (count > 0 ? 2 * count : 1) * sizeof p, err);
    if (!p) return false;
    memcpy(array, &p, sizeof p);
    return true;
}

static enum bl_status room_for_values(struct bl_wasm_guest *g, const struct bl_wasm_module *m, struct bl_error *err)
{
    if (m->binary.value_count <= g->value_count) return BL_OK;
    wasmtime_val_raw_t *values = bl_realloc(NULL, g->values, m->binary.value_count * sizeof *values, err);
    if (!values) return BL_NO_MEMORY;
    g->values = values;
    g->value_count = m->binary.value_count;
    return BL_OK;
}

static wasmtime_call_future_t *begin_alone(struct bl_wasm_guest *g, struct bl_wasm_module *m, struct bl_wasm_instance *in,
    struct bl_error *err)
{
    if (linked_alone(m, err) != BL_OK) return NULL;
    bl_wasm_fiber_ready(g, m->linker);
    return wt.wasmtime_instance_pre_instantiate_async(m->pre, g->context, &in->handle, &g->trap, &g->error);
}

/* Imports that do not fit are found before the store knows anything of them. *pre: to be deleted after the future. */
static wasmtime_call_future_t *begin_linked(struct bl_wasm_guest *g, struct bl_wasm_module *m, const struct bl_wasm_link *links,
                                            struct bl_wasm_instance *in, wasmtime_instance_pre_t **pre, struct bl_error *err)
{
    if (!one_more(&g->linkers, g->linker_count, err) || !one_more(&g->import_sets, g->import_set_count, err)) return NULL;
    struct bl_wasm_import *imports = bl_alloc_zero(NULL, (m->binary.import_count + 1) * sizeof *imports, err);
    wasmtime_linker_t *linker = imports ? new_linker(g->engine, err) : NULL;
    if (!linker) {
        bl_free(imports);
        return NULL;
    }
    wasmtime_error_t *error = define_imports(linker, m, links, imports, in->first_import, g);
    if (!error) error = wt.wasmtime_linker_instantiate_pre(linker, m->module, pre);
    if (error) {
        wt.wasmtime_linker_delete(linker);
        bl_free(imports);
        imports_error(error, err);
        return NULL;
    }
    g->import_sets[g->import_set_count++] = imports;
    g->linkers[g->linker_count++] = linker;
    bl_wasm_fiber_ready(g, linker);
    return wt.wasmtime_instance_pre_instantiate_async(*pre, g->context, &in->handle, &g->trap, &g->error);
}

/* What the module's own memories and tables begin with. The library says only as a text that it is too much. */
static enum bl_status check_sizes(const struct bl_wasm_guest *g, const struct bl_wasm_binary *b, struct bl_error *err)
{
    const struct bl_wasm_guest_limits *l = &g->limits;
    const size_t memories = bl_wasm_binary_imported(b, WASMTIME_MEMORY), tables = bl_wasm_binary_imported(b, WASMTIME_TABLE);
    for (const struct bl_wasm_limits *m = b->memories + memories; l->memory_bytes >= 0 && m < b->memories + b->memory_count; m++) {
        const uint64_t most = (uint64_t)l->memory_bytes >> m->page_log2;
        if (m->min > most) return bl_fail_limit(err, "memory_pages", most, m->min);
    }
    for (const struct bl_wasm_limits *t = b->tables + tables; l->table_elements >= 0 && t < b->tables + b->table_count; t++)
        if (t->min > (uint64_t)l->table_elements) return bl_fail_limit(err, "table_elements", (uint64_t)l->table_elements, t->min);
    return BL_OK;
}

/* One too many of something. */
static enum bl_status count_error(const struct bl_wasm_guest_limits *l, const char *text, struct bl_error *err)
{
    const bool memory = strstr(text, "memory count") != NULL, table = strstr(text, "table count") != NULL;
    const int64_t most = memory ? l->memories : table ? l->tables : l->instances;
    return bl_fail_limit(err, memory ? "memories" : table ? "tables" : "instances", (uint64_t)most, (uint64_t)most + 1);
}

static enum bl_status finish_instance(struct bl_wasm_guest *g, wasmtime_call_future_t *future, struct bl_error *err)
{
    while (!wt.wasmtime_call_future_poll(future)) /* no code of the guest runs: constant expressions, segments */
        ;
    wt.wasmtime_call_future_delete(future);
    if (g->trap) return bl_fail(err, BL_TRAP);
    if (!g->error) return BL_OK;
    wasmtime_error_t *error = g->error;
    g->error = NULL;
    struct bl_error why;
    bl_wasm_library_error(error, &why);
    if (strstr(why.text, "limit exceeded")) return count_error(&g->limits, why.text, err);
    if (strstr(why.text, "memory") || strstr(why.text, "allocation size")) /* there is not so much, of addresses or at all */
        return bl_fail(err, BL_NO_MEMORY);
    if (err) *err = why;
    return why.status;
}

static bool all_by_host(const struct bl_wasm_module *m, const struct bl_wasm_link *links)
{
    for (size_t i = 0; i < m->binary.import_count; i++)
        if (!links[i].by_host) return false;
    return true;
}

static enum bl_status instantiate(struct bl_wasm_guest *g, struct bl_wasm_module *m, const struct bl_wasm_link *links,
                                  struct bl_wasm_instance *in, struct bl_error *err)
{
    struct bl_error why = {.status = BL_NO_MEMORY};
    const bool alone = g->next_import == 0 && g->module_count == 0 && all_by_host(m, links);
    in->first_import = g->next_import;
    enum bl_status status = check_sizes(g, &m->binary, err);
    if (status != BL_OK) return status;
    if (!one_more(&g->modules, g->module_count, err)) return BL_NO_MEMORY;
    status = room_for_values(g, m, err);
    if (status != BL_OK) return status;
    wasmtime_instance_pre_t *pre = NULL;
    wasmtime_call_future_t *future = alone ? begin_alone(g, m, in, &why) : begin_linked(g, m, links, in, &pre, &why);
    if (!future) {
        if (err) *err = why;
        return why.status;
    }
    /* From here on the store knows the module, also when instantiation fails. */
    bl_wasm_module_ref(m);
    g->modules[g->module_count++] = m;
    g->next_import += (uint32_t)m->binary.import_count;
    status = finish_instance(g, future, err);
    if (pre) wt.wasmtime_instance_pre_delete(pre);
    return status;
}

enum bl_status bl_wasm_instance_new(struct bl_wasm_guest *g, struct bl_wasm_module *m, const struct bl_wasm_link *links,
                                    struct bl_wasm_instance **out, struct bl_error *err)
{
    struct bl_wasm_instance *in = bl_alloc_zero(NULL, sizeof *in, err);
    if (!in) return BL_NO_MEMORY;
    in->items = bl_alloc(NULL, (m->binary.export_count + 1) * sizeof *in->items, err);
    if (!in->items) {
        bl_free(in);
        return BL_NO_MEMORY;
    }
    for (size_t i = 0; i < m->binary.export_count; i++) in->items[i].kind = BL_WASM_ITEM_UNKNOWN;
    in->refs = 1;
    in->seen.export = SIZE_MAX;
    const enum bl_status status = instantiate(g, m, links, in, err);
    if (status != BL_OK) {
        bl_free(in->items);
        bl_free(in);
        return status;
    }
    in->guest = g;
    in->module = m;
    bl_wasm_guest_ref(g);
    bl_wasm_module_ref(m);
    __atomic_add_fetch(&g->open_instances, 1, __ATOMIC_RELAXED);
    *out = in;
    return BL_OK;
}

void bl_wasm_instance_unref(struct bl_wasm_instance *in)
{
    if (__atomic_sub_fetch(&in->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
    bl_wasm_guest_unref(in->guest);
    bl_wasm_module_unref(in->module);
    bl_free(in->items);
    bl_free(in);
}

const wasmtime_extern_t *bl_wasm_instance_ask(struct bl_wasm_instance *in, size_t i)
{
    const struct bl_wasm_binary *b = &in->module->binary;
    wasmtime_extern_t *item = &in->items[i];
    const struct bl_wasm_name *n = &b->exports[i];
    return wt.wasmtime_instance_export_get(in->guest->context, &in->handle, b->names + n->name, n->name_len, item) ? item : NULL;
}

const struct bl_wasm_memory *bl_wasm_instance_look(struct bl_wasm_instance *in, size_t i)
{
    const wasmtime_extern_t *item = bl_wasm_instance_item(in, i);
    if (!item) return NULL;
    wasmtime_context_t *context = in->guest->context;
    in->seen = (struct bl_wasm_memory){.base = wt.wasmtime_memory_data(context, &item->of.item),
                                       .size = wt.wasmtime_memory_data_size(context, &item->of.item),
                                       .export = i,
                                       .runs = in->guest->runs};
    return &in->seen;
}

bool bl_wasm_instance_start(struct bl_wasm_instance *in, struct bl_wasm_function *out)
{
    wasmtime_extern_t item;
    const struct bl_wasm_binary *b = &in->module->binary;
    if (!b->has_start) return false;
    if (!wt.wasmtime_instance_export_get(in->guest->context, &in->handle, BL_WASM_START_NAME, sizeof BL_WASM_START_NAME - 1, &item))
        return false;
    *out = (struct bl_wasm_function){item.of.func, bl_wasm_binary_signature(b, b->start)};
    return true;
}

/* ---- signatures of functions that came as references ------------------------------------------------------ */

static struct bl_wasm_type type_of(const wasm_valtype_t *from)
{
    static const uint8_t heaps[16][2] = {
        /* by wasmtime_heaptype_kind: how it is kept, what it is */
        {WASMTIME_EXTERNREF, BL_HEAP_EXTERN}, {WASMTIME_EXTERNREF, BL_HEAP_NOEXTERN}, {WASMTIME_FUNCREF, BL_HEAP_FUNC},
        {WASMTIME_FUNCREF, BL_HEAP_CONCRETE}, {WASMTIME_FUNCREF, BL_HEAP_NOFUNC},     {WASMTIME_ANYREF, BL_HEAP_ANY},
        {WASMTIME_ANYREF, BL_HEAP_NONE},      {WASMTIME_ANYREF, BL_HEAP_EQ},          {WASMTIME_ANYREF, BL_HEAP_I31},
        {WASMTIME_ANYREF, BL_HEAP_ARRAY},     {WASMTIME_ANYREF, BL_HEAP_CONCRETE},    {WASMTIME_ANYREF, BL_HEAP_STRUCT},
        {WASMTIME_ANYREF, BL_HEAP_CONCRETE},  {WASMTIME_EXNREF, BL_HEAP_EXN},         {WASMTIME_EXNREF, BL_HEAP_CONCRETE},
        {WASMTIME_EXNREF, BL_HEAP_NOEXN},
    };
    wasmtime_valtype_t v;
    wt.wasmtime_valtype_new(from, &v);
    struct bl_wasm_type type = {.kind = v.kind, .nullable = true};
    if (v.kind == 5) {
        type.kind = heaps[v.ref.heap.kind & 15][0];
        type.heap = heaps[v.ref.heap.kind & 15][1];
        type.nullable = v.ref.nullable;
    }
    wt.wasmtime_valtype_delete(&v);
    return type;
}

static struct bl_wasm_signature *signature_of(const wasm_functype_t *from, struct bl_error *err)
{
    const wasm_valtype_vec_t *params = wt.wasm_functype_params(from), *results = wt.wasm_functype_results(from);
    struct bl_wasm_signature *s = bl_alloc_zero(NULL, sizeof *s + (params->size + results->size) * sizeof s->types[0], err);
    if (!s) return NULL;
    s->params = (uint32_t)params->size;
    s->results = (uint32_t)results->size;
    for (size_t i = 0; i < params->size; i++) s->types[i] = type_of(params->data[i]);
    for (size_t i = 0; i < results->size; i++) s->types[params->size + i] = type_of(results->data[i]);
    return s;
}

static bool same_signature(const struct bl_wasm_signature *a, const struct bl_wasm_signature *b)
{
    if (a->params != b->params || a->results != b->results) return false;
    for (size_t i = 0; i < (size_t)a->params + a->results; i++)
        if (a->types[i].kind != b->types[i].kind || a->types[i].heap != b->types[i].heap || a->types[i].nullable != b->types[i].nullable)
            return false;
    return true;
}

const struct bl_wasm_signature *bl_wasm_guest_signature(struct bl_wasm_guest *g, const wasmtime_func_t *function)
{
    wasm_functype_t *type = wt.wasmtime_func_type(g->context, function);
    struct bl_wasm_signature *s = signature_of(type, NULL);
    wt.wasm_functype_delete(type);
    if (!s) return NULL;
    for (size_t i = 0; i < g->signature_count; i++)
        if (same_signature(g->signatures[i], s)) {
            bl_free(s);
            return g->signatures[i];
        }
    if (!one_more(&g->signatures, g->signature_count, NULL)) {
        bl_free(s);
        return NULL;
    }
    return g->signatures[g->signature_count++] = s;
}
