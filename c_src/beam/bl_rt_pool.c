/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of pools, the skin's only global state. Its entries' words:
 *
 *     generation (32 bits) | ENDING | number of NIF calls inside
 *
 * A call enters by adding 1 and leaves by taking it off. Ending sets the bit; whoever then brings the number to
 * 0 takes the pool out and ends it. So a call that is inside never loses its pool, and nobody waits.
 */
#include "bl_nif_term.h"
#include "bl_rt.h"

#include <string.h>

enum { POOLS_MAX = 1024, SOURCES_MAX = 64, EMPTY = 0 };
#define ENDING UINT64_C(0x80000000)
#define GENERATION(word) ((word) >> 32)

static struct entry {
    uint64_t word; /* atomic */
    struct rt_pool *pool;
} table[POOLS_MAX];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER; /* taking and freeing entries */

/* ---- sources ------------------------------------------------------------------ */

/* On the housekeeper's thread. The last reference to a source may go in a destructor on a scheduler: freeing the spare
 * blocks there took 1.2 ms. */
static void close_source(void *skin)
{
    struct rt_source *s = skin;
    rt_owners_close(s->owners);
    rt_tasks_free_spare(s);
}

static void free_source(void *skin)
{
    struct rt_source *s = skin;
    if (!s) return;
    rt_tasks_free_spare(s);
    rt_owners_free(s->owners);
    pthread_mutex_destroy(&s->lock);
    bl_free(s);
}

static enum bl_status add_source(struct rt_pool *pool, struct bl_error *err)
{
    struct bl_source *source = NULL;
    struct rt_source *s = bl_alloc_zero(NULL, sizeof *s, err);
    if (!s) return BL_NO_MEMORY;
    pthread_mutex_init(&s->lock, NULL);
    enum bl_status status = bl_source_new(pool->engine, &source, err);
    if (status != BL_OK || !(s->owners = rt_owners_new(source, err))) {
        if (source) bl_source_close(source);
        free_source(s);
        return err->status;
    }
    s->engine = source;
    source->skin = s;
    source->close_skin = close_source;
    source->free_skin = free_source;
    pool->source[pool->source_count++] = source;
    return BL_OK;
}

/* By the process, so that what one process holds is counted in one place; there are enough of them that two schedulers
 * seldom meet in one. */
struct rt_source *rt_pool_source(struct rt_pool *pool, const ErlNifPid *caller)
{
    const uint64_t spread = (uint64_t)caller->pid * UINT64_C(0x9e3779b97f4a7c15);
    return pool->source[(spread >> 32) % pool->source_count]->skin;
}

/* ---- in and out of the table ------------------------------------------------------ */

static bool enter_table(struct rt_pool *pool, uint64_t *id)
{
    pthread_mutex_lock(&table_lock);
    unsigned slot = 0;
    while (slot < POOLS_MAX && table[slot].pool) slot++;
    if (slot < POOLS_MAX) {
        pool->slot = slot;
        table[slot].pool = pool;
        /* The number of strays (calls with an old name) stays as it is. Release: who sees the generation sees the pool. */
        const uint64_t word = __atomic_add_fetch(&table[slot].word, UINT64_C(1) << 32, __ATOMIC_ACQ_REL);
        *id = GENERATION(word) << 32 | slot;
    }
    pthread_mutex_unlock(&table_lock);
    return slot < POOLS_MAX;
}

static void take_out(struct entry *e)
{
    pthread_mutex_lock(&table_lock);
    struct rt_pool *pool = e->pool;
    e->pool = NULL;
    pthread_mutex_unlock(&table_lock);
    bl_pool_end(pool->engine); /* its memory goes with the engine */
}

static void leave(struct entry *e)
{
    uint64_t word = __atomic_sub_fetch(&e->word, 1, __ATOMIC_ACQ_REL);
    while ((word & UINT32_MAX) == ENDING) {
        /* Out of the ending generation in one step: so only one takes the pool out. */
        if (!__atomic_compare_exchange_n(&e->word, &word, (GENERATION(word) + 1) << 32, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            continue;
        take_out(e);
        return;
    }
}

struct rt_pool *rt_pool_enter(uint64_t id)
{
    const uint64_t slot = id & UINT32_MAX;
    if (slot >= POOLS_MAX) return NULL;
    struct entry *e = &table[slot];
    const uint64_t word = __atomic_add_fetch(&e->word, 1, __ATOMIC_ACQ_REL);
    if (GENERATION(word) == id >> 32 && !(word & ENDING)) return e->pool;
    leave(e);
    return NULL;
}

void rt_pool_leave(struct rt_pool *pool) { leave(&table[pool->slot]); }

void rt_pool_end(struct rt_pool *pool)
{
    struct entry *e = &table[pool->slot];
    __atomic_add_fetch(&e->word, 1, __ATOMIC_ACQ_REL); /* so that leaving finds out whether anybody is inside */
    __atomic_fetch_or(&e->word, ENDING, __ATOMIC_ACQ_REL);
    leave(e);
}

/* ---- life --------------------------------------------------------------------------- */

static void free_pool(void *skin)
{
    struct rt_pool *pool = skin;
    bl_op_set_free(pool->ops);
    bl_free(pool);
}

static unsigned source_count(void)
{
    ErlNifSysInfo info;
    enif_system_info(&info, sizeof info);
    const unsigned wanted = info.scheduler_threads < 1 ? 4 : 4 * (unsigned)info.scheduler_threads;
    return wanted < SOURCES_MAX ? wanted : SOURCES_MAX;
}

static enum bl_status open_engine(struct rt_pool *pool, const struct bl_pool_config *config, struct bl_error *err)
{
    enum bl_status status = bl_pool_open(config, &pool->engine, err);
    if (status != BL_OK) {
        free_pool(pool);
        return status;
    }
    pool->engine->skin = pool;
    pool->engine->free_skin = free_pool;
    for (unsigned n = source_count(); n > 0 && status == BL_OK; n--) status = add_source(pool, err);
    if (status != BL_OK) bl_pool_end(pool->engine);
    return status;
}

enum bl_status rt_pool_create(const struct bl_pool_config *config, struct rt_pool **out, uint64_t *id, struct bl_error *err)
{
    struct rt_pool *pool = bl_alloc_zero(NULL, sizeof *pool + source_count() * sizeof pool->source[0], err);
    if (!pool) return BL_NO_MEMORY;
    pool->new_atoms = BL_NIF_NEW_ATOMS;
    if (!(pool->ops = bl_op_set_new(err))) {
        free_pool(pool);
        return err->status;
    }
    enum bl_status status = open_engine(pool, config, err);
    if (status != BL_OK) return status;
    if (!enter_table(pool, id)) {
        bl_pool_end(pool->engine);
        return bl_fail_limit(err, "pools", POOLS_MAX, POOLS_MAX + 1);
    }
    *out = pool;
    return BL_OK;
}
