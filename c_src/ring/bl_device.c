/* SPDX-License-Identifier: Apache-2.0
 *
 * Who holds a device: its handles, each actor and buffer, its housekeeper, its threads until the last has ended.
 */
#include "bl_device.h"

#include "bl_sync.h"

enum { THREADS_MOST = 64, LOST_MOST = 64, AGEING_MS = 20 };

void bl_device_config_init(struct bl_device_config *config)
{
    *config = (struct bl_device_config){.threads = 1, .max_lost = 4, .max_actors = 1 << 20, .spin_us = 50};
}

enum bl_status bl_device_sizes_check(unsigned threads, unsigned max_lost, uint64_t max_actors, struct bl_error *err)
{
    if (threads < 1 || threads > THREADS_MOST) return bl_fail_limit(err, "threads", THREADS_MOST, threads);
    if (max_lost > LOST_MOST) return bl_fail_limit(err, "max_lost", LOST_MOST, max_lost);
    return max_actors < 1 ? bl_fail_invalid(err, "max_actors", "none") : BL_OK;
}

static enum bl_status start_threads(const struct bl_device *d, const char *name, struct bl_threads **out, struct bl_error *err)
{
    const struct bl_device_config *c = &d->config;
    struct bl_threads_config t = {.threads = c->threads,
                                  .extra = c->threads + c->max_lost,
                                  .stack_bytes = c->stack_bytes,
                                  .capacity = SIZE_MAX / 2, /* bounded by max_actors: each has one job */
                                  .ageing_ms = AGEING_MS,
                                  .spin_us = c->spin_us};
    memcpy(t.name, name, strlen(name) + 1);
    return bl_threads_new(&t, out, err);
}

/* Everything but the threads. */
static enum bl_status make(const struct bl_device_config *config, const struct bl_device_host *host, struct bl_device **out,
                           struct bl_error *err)
{
    struct bl_device *d = bl_alloc_zero(NULL, sizeof *d, err);
    if (!d) return BL_NO_MEMORY;
    d->watch = bl_alloc_zero(NULL, BL_WATCHES * sizeof *d->watch, err);
    if (!d->watch) {
        bl_free(d);
        return BL_NO_MEMORY;
    }
    d->config = *config;
    d->host = host;
    d->refs = 1;
    bl_quota_init(&d->quota, NULL, "device_memory", config->memory_limit);
    bl_handlers_init(&d->handlers);
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->watch_lock, NULL);
    pthread_mutex_init(&d->keeper_lock, NULL);
    bl_cond_init(&d->keeper_wake);
    bl_link_init(&d->actors);
    bl_link_init(&d->garbage);
    *out = d;
    return BL_OK;
}

static void discard(struct bl_device *d)
{
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->watch_lock);
    pthread_mutex_destroy(&d->keeper_lock);
    pthread_cond_destroy(&d->keeper_wake);
    bl_handlers_clear(&d->handlers);
    bl_free(d->watch);
    bl_free(d);
}

enum bl_status bl_device_open(const struct bl_device_config *config, const struct bl_device_host *host, void *skin, struct bl_device **out,
                              struct bl_error *err)
{
    struct bl_device *d;
    enum bl_status status = bl_device_sizes_check(config->threads, config->max_lost, config->max_actors, err);
    if (status == BL_OK) status = make(config, host, &d, err);
    if (status != BL_OK) return status;
    status = start_threads(d, "bl_ring", &d->threads, err);
    if (status == BL_OK && bl_keeper_start(d) != 0) {
        bl_threads_close(d->threads, NULL, NULL);
        bl_threads_free(d->threads);
        status = bl_fail(err, BL_NO_MEMORY);
    }
    if (status != BL_OK) {
        discard(d);
        return status;
    }
    d->skin = skin;
    *out = d;
    return BL_OK;
}

void bl_device_close(struct bl_device *d)
{
    pthread_mutex_lock(&d->lock); /* no new actor after this */
    /* In one order with the words of doze() in bl_watch.c: a housekeeper that sleeps is woken. */
    const bool first = !__atomic_exchange_n(&d->closing, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&d->lock);
    if (first) bl_keeper_wake(d);
}

void bl_device_ref(struct bl_device *d) { bl_refs_get(&d->refs); }

void bl_device_unref(struct bl_device *d)
{
    if (!bl_refs_put(&d->refs)) return;
    bl_threads_free(d->threads);
    if (d->aside) bl_threads_free(d->aside);
    if (d->skin) d->host->device_free(d->skin);
    discard(d);
}

enum bl_status bl_device_check(struct bl_device *d, struct bl_error *err)
{
    /* Relaxed, both: a message that overtakes the end of its device is answered by the end of its actor. */
    if (__atomic_load_n(&d->closing, __ATOMIC_RELAXED)) return bl_fail(err, BL_CLOSED);
    if (__atomic_load_n(&d->lost, __ATOMIC_RELAXED) <= d->config.max_lost) return BL_OK;
    bl_fail(err, BL_DEVICE_FAILED);
    if (err) memcpy(err->text, "too many threads are lost in handlers", sizeof "too many threads are lost in handlers");
    return BL_DEVICE_FAILED;
}

static struct bl_threads *aside_threads(struct bl_device *d)
{
    /* Acquire: with the release below. */
    struct bl_threads *t = __atomic_load_n(&d->aside, __ATOMIC_ACQUIRE);
    if (t) return t;
    struct bl_threads *fresh = NULL;
    pthread_mutex_lock(&d->watch_lock);
    t = __atomic_load_n(&d->aside, __ATOMIC_RELAXED); /* relaxed: it is written under this lock */
    if (!t && start_threads(d, "bl_ring_long", &fresh, NULL) == BL_OK) {
        bl_threads_fill(fresh);
        /* Release: who finds them finds them complete. */
        __atomic_store_n(&d->aside, fresh, __ATOMIC_RELEASE);
        t = fresh;
    }
    pthread_mutex_unlock(&d->watch_lock);
    return t ? t : d->threads;
}

struct bl_threads *bl_device_threads(struct bl_device *d, bool aside) { return aside ? aside_threads(d) : d->threads; }

void bl_device_stats(struct bl_device *d, struct bl_device_stats *out)
{
    struct bl_threads *aside = __atomic_load_n(&d->aside, __ATOMIC_ACQUIRE); /* acquire: with the release in aside_threads */
    *out = (struct bl_device_stats){
        .buffers = bl_counted(&d->buffer_count), .started = bl_counted(&d->started), .undelivered = bl_counted(&d->undelivered),
        .failed = bl_counted(&d->failures), .lost_total = bl_counted(&d->lost_total), .moved_aside = bl_counted(&d->moved_aside),
        .lost_now = __atomic_load_n(&d->lost, __ATOMIC_RELAXED), /* relaxed: a number that is shown, as `full` below */
        .memory = bl_quota_used(&d->quota),
        .memory_peak = bl_quota_peak(&d->quota), .threads = bl_threads_alive(d->threads),
        .threads_aside = aside ? bl_threads_alive(aside) : 0, .parked = bl_threads_parked(d->threads)};
    pthread_mutex_lock(&d->lock);
    out->actors = d->actor_count;
    out->handled = bl_counted(&d->past_handled);
    out->expired = bl_counted(&d->past_expired);
    out->busy = bl_counted(&d->past_busy);
    for (const struct bl_link *l = d->actors.next; l != &d->actors; l = l->next) {
        const struct bl_actor *a = BL_CONTAINER(l, struct bl_actor, link);
        out->handled += bl_counted(&a->handled);
        out->expired += bl_counted(&a->expired);
        out->busy += __atomic_load_n(&a->full, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&d->lock);
}
