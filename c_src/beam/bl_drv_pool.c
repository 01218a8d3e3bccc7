/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "bl_ops.h"
#include "bl_runtime_drv.h"

/* ---- operations of a pool ------------------------------------------------------ */

/* Only ever replaced by a longer one; old ones stay until the pool goes, because lookups hold no lock. */
struct op_set {
    struct op_set *older;
    size_t count;
    const struct bl_op *op[];
};

struct drv_pool {
    struct bl_pool *engine;
    struct op_set *ops;   /* atomic */
    pthread_mutex_t lock; /* writers of `ops` */
    unsigned ports, slot; /* under table_lock */
};

static enum bl_status load_without_pool(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    (void)ctx, (void)args, (void)result;
    return bl_fail_unsupported(err, "load_operations");
}

const struct bl_op drv_load_op = {
    .name = "load_operations",
    .summary = "Loads a user's operations from a shared object.",
    .flags = BL_OP_OPAQUE,
    .run = load_without_pool, /* needs the pool: bl_drv_task.c calls drv_pool_load instead */
};

static const struct bl_op *find_in(const struct op_set *set, const struct bl_span *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (bl_span_is(name, set->op[i]->name)) return set->op[i];
    return NULL;
}

const struct bl_op *drv_pool_find(struct bl_pool *engine, const struct bl_span *name)
{
    struct drv_pool *pool = engine->skin;
    return find_in(__atomic_load_n(&pool->ops, __ATOMIC_ACQUIRE), name);
}

/* `ops` appended to `older`; names that are there already are refused. */
static struct op_set *extend(struct op_set *older, const struct bl_op *ops, size_t count, struct bl_error *err)
{
    const size_t before = older ? older->count : 0;
    struct op_set *set = bl_alloc(NULL, sizeof *set + (before + count) * sizeof set->op[0], err);
    if (!set) return NULL;
    set->older = older;
    set->count = before;
    if (older) memcpy(set->op, older->op, before * sizeof set->op[0]);
    for (size_t i = 0; i < count; i++) {
        const struct bl_span name = {.data = (const uint8_t *)ops[i].name, .len = strlen(ops[i].name)};
        if (find_in(set, &name)) {
            bl_fail_invalid(err, "operation", "there is already one named %s", ops[i].name);
            bl_free(set);
            return NULL;
        }
        set->op[set->count++] = &ops[i];
    }
    return set;
}

static enum bl_status add_operations(struct drv_pool *pool, const struct bl_op *ops, size_t count, struct bl_error *err)
{
    pthread_mutex_lock(&pool->lock);
    struct op_set *set = extend(pool->ops, ops, count, err);
    if (set) __atomic_store_n(&pool->ops, set, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&pool->lock);
    return set ? BL_OK : BL_INVALID;
}

/* The library stays for good (RTLD_NODELETE): its operations may run in any thread at any time. */
static const struct bl_op_table *open_library(const char *path, struct bl_error *err)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) {
        bl_fail_invalid(err, "path", "%s", dlerror());
        return NULL;
    }
    bl_op_entry_fn *entry = NULL;
    *(void **)&entry = dlsym(library, "beamline_operations");
    const struct bl_op_table *table = entry ? entry() : NULL;
    if (!table)
        bl_fail_invalid(err, "path", "no beamline_operations in it");
    else if (table->abi != BL_OP_ABI)
        bl_fail_unsupported(err, "abi");
    else
        return table;
    return NULL;
}

enum bl_status drv_pool_load(struct bl_pool *engine, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    char path[4096];
    struct bl_span text;
    bl_reader_at(args, "path");
    enum bl_status status = bl_read_binary(args, &text);
    if (status != BL_OK) return status;
    if (text.len >= sizeof path || memchr(text.data, 0, text.len)) return bl_fail_invalid(err, "path", "too long or with a NUL in it");
    memcpy(path, text.data, text.len);
    path[text.len] = '\0';
    const struct bl_op_table *table = open_library(path, err);
    if (!table) return err->status;
    status = add_operations(engine->skin, table->ops, table->count, err);
    if (status != BL_OK) return err->status;
    bl_write_list(result, table->count);
    for (uint32_t i = 0; i < table->count; i++) bl_write_atom(result, table->ops[i].name);
    bl_write_end(result);
    return BL_OK;
}

/* ---- the table of pools ------------------------------------------------------------ */

enum { POOLS_MAX = 1024 };

/* The skin's only global state: names of pools. */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct drv_pool *pool;
    uint32_t generation;
} table[POOLS_MAX];

static bool enter_table(struct drv_pool *pool, uint64_t *id)
{
    pthread_mutex_lock(&table_lock);
    unsigned slot = 0;
    while (slot < POOLS_MAX && table[slot].pool) slot++;
    if (slot < POOLS_MAX) {
        table[slot].pool = pool;
        pool->slot = slot;
        *id = (uint64_t)++table[slot].generation << 32 | slot;
    }
    pthread_mutex_unlock(&table_lock);
    return slot < POOLS_MAX;
}

struct drv_pool *drv_pool_attach(uint64_t id)
{
    const uint32_t slot = (uint32_t)id;
    if (slot >= POOLS_MAX) return NULL;
    pthread_mutex_lock(&table_lock);
    struct drv_pool *pool = table[slot].generation == id >> 32 ? table[slot].pool : NULL;
    if (pool) pool->ports++;
    pthread_mutex_unlock(&table_lock);
    return pool;
}

void drv_pool_detach(struct drv_pool *pool)
{
    pthread_mutex_lock(&table_lock);
    const bool last = --pool->ports == 0;
    if (last) table[pool->slot].pool = NULL;
    pthread_mutex_unlock(&table_lock);
    if (!last) return;
    bl_pool_shut(pool->engine);
    bl_pool_unref(pool->engine); /* frees `pool` with the last thread */
}

struct bl_pool *drv_pool_engine(struct drv_pool *pool) { return pool->engine; }

static void free_pool(void *skin)
{
    struct drv_pool *pool = skin;
    for (struct op_set *set = pool->ops, *older; set; set = older) {
        older = set->older;
        bl_free(set);
    }
    pthread_mutex_destroy(&pool->lock);
    bl_free(pool);
}

static struct drv_pool *new_pool(struct bl_error *err)
{
    const struct bl_op_table *builtin = bl_builtin_operations();
    struct drv_pool *pool = bl_alloc_zero(NULL, sizeof *pool, err);
    if (!pool) return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    if (add_operations(pool, builtin->ops, builtin->count, err) == BL_OK && add_operations(pool, &drv_load_op, 1, err) == BL_OK)
        return pool;
    free_pool(pool);
    return NULL;
}

enum bl_status drv_pool_create(const struct bl_pool_config *config, struct drv_pool **out, uint64_t *id, struct bl_error *err)
{
    struct drv_pool *pool = new_pool(err);
    if (!pool) return err->status;
    enum bl_status status = bl_pool_open(config, &pool->engine, err);
    if (status != BL_OK) {
        free_pool(pool);
        return status;
    }
    pool->engine->skin = pool;
    pool->engine->free_skin = free_pool;
    pool->ports = 1;
    if (!enter_table(pool, id)) {
        bl_pool_shut(pool->engine);
        bl_pool_unref(pool->engine);
        return bl_fail_limit(err, "pools", POOLS_MAX, POOLS_MAX + 1);
    }
    *out = pool;
    return BL_OK;
}

/* ---- configuration and statistics ------------------------------------------------------ */

static enum bl_status read_name(struct bl_reader *r, struct bl_pool_config *config)
{
    struct bl_span text;
    enum bl_status status = bl_read_binary(r, &text);
    if (status != BL_OK) return status;
    const size_t len = text.len < sizeof config->name - 1 ? text.len : sizeof config->name - 1;
    memcpy(config->name, text.data, len);
    config->name[len] = '\0';
    return BL_OK;
}

enum bl_status drv_read_config(struct bl_reader *r, struct bl_pool_config *config)
{
    size_t pairs;
    bl_pool_config_init(config);
    enum bl_status status = bl_read_map(r, &pairs);
    for (size_t i = 0; i < pairs && status == BL_OK; i++) {
        struct bl_span key;
        uint64_t n = 0;
        status = bl_read_atom(r, &key);
        if (status != BL_OK) break;
        if (bl_span_is(&key, "name")) {
            status = read_name(r, config);
            continue;
        }
        status = bl_read_uint(r, &n);
        if (status != BL_OK) break;
        const uint32_t small = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n; /* too much stays too much */
        if (bl_span_is(&key, "threads"))
            config->threads = small;
        else if (bl_span_is(&key, "stack_size"))
            config->stack_bytes = n;
        else if (bl_span_is(&key, "max_queue"))
            config->max_queue = n;
        else if (bl_span_is(&key, "max_queue_bytes"))
            config->max_queue_bytes = n;
        else if (bl_span_is(&key, "memory_limit"))
            config->memory_limit = n;
        else if (bl_span_is(&key, "max_behind"))
            config->max_behind = small;
        else if (bl_span_is(&key, "ageing"))
            config->ageing_ms = small;
        else
            status = bl_read_unknown_key(r, &key);
    }
    return status;
}

static void number(struct bl_writer *w, const char *key, uint64_t value)
{
    bl_write_atom(w, key);
    bl_write_uint(w, value);
}

static void histogram(struct bl_writer *w, const char *key, uint64_t sum_ns, const uint64_t counts[40])
{
    bl_write_atom(w, key);
    bl_write_map(w, 2);
    number(w, "sum_us", sum_ns / 1000);
    bl_write_atom(w, "counts");
    bl_write_list(w, 40);
    for (int i = 0; i < 40; i++) bl_write_uint(w, counts[i]);
    bl_write_end(w);
    bl_write_end(w);
}

void drv_pool_info(struct drv_pool *pool, struct bl_writer *w)
{
    static const char *const class_names[BL_PRIORITY_COUNT] = {"low", "normal", "high", "critical"};
    const struct bl_pool_config *c = &pool->engine->config;
    struct bl_pool_stats s;
    bl_pool_stats(pool->engine, &s);
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"threads", s.threads},           {"parked", s.parked},
        {"running", s.running},           {"behind", s.behind},
        {"max_queue", c->max_queue},      {"max_queue_bytes", c->max_queue_bytes},
        {"queue_bytes", s.queue_bytes},   {"max_behind", c->max_behind},
        {"stack_size", c->stack_bytes},   {"memory_limit", c->memory_limit},
        {"memory", s.memory_bytes},       {"memory_peak", s.memory_peak_bytes},
        {"submitted", s.submitted},       {"completed", s.completed},
        {"failed", s.failed},             {"cancelled", s.cancelled},
        {"timed_out", s.timed_out},       {"closed", s.closed},
        {"refused_queue", s.refused_queue}, {"refused_bytes", s.refused_bytes},
        {"refused_behind", s.refused_behind}, {"refused_memory", s.refused_memory},
    };
    enum { NUMBERS = sizeof numbers / sizeof numbers[0] };
    bl_write_map(w, NUMBERS + 3);
    for (size_t i = 0; i < NUMBERS; i++) number(w, numbers[i].key, numbers[i].value);
    bl_write_atom(w, "queued");
    bl_write_map(w, BL_PRIORITY_COUNT);
    for (int i = 0; i < BL_PRIORITY_COUNT; i++) number(w, class_names[i], s.queued[i]);
    bl_write_end(w);
    histogram(w, "wait", s.wait_ns_sum, s.wait_histogram);
    histogram(w, "run", s.run_ns_sum, s.run_histogram);
    bl_write_end(w);
}

void drv_pool_operations(struct drv_pool *pool, struct bl_writer *w)
{
    const struct op_set *set = __atomic_load_n(&pool->ops, __ATOMIC_ACQUIRE);
    bl_write_list(w, set->count - 1);
    for (size_t i = 0; i < set->count; i++)
        if (set->op[i] != &drv_load_op) bl_write_atom(w, set->op[i]->name);
    bl_write_end(w);
}
