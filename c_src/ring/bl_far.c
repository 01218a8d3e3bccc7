/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bl_far.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bl_sync.h"

enum { THREAD_STACK = 256 * 1024 };

const char bl_far_closed[] = "it closed its socket";

static enum bl_status check_config(const struct bl_far_config *c, struct bl_error *err)
{
    const enum bl_status status = bl_device_sizes_check(c->setup.threads, c->setup.max_lost, c->setup.max_actors, err);
    if (status != BL_OK) return status;
    if (c->heartbeat_ns < 1000000) return bl_fail_invalid(err, "heartbeat", "less than a millisecond");
    return BL_OK;
}

/* It may grow, but never be cut: reading what is gone would be the end of this process. */
static int make_arena(void)
{
    const int fd = memfd_create("beamline_buffers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) == 0) return fd;
    close(fd);
    return -1;
}

static void discard(struct bl_far *d)
{
    if (d->arena >= 0) close(d->arena);
    bl_free(d->block);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->changed);
    bl_free(d->coming);
    for (uint32_t i = 0; i < d->flight_room / BL_FAR_CHUNK; i++) bl_free(d->flight[i]);
    bl_far_forget(d);
    bl_free(d->actor);
    while (d->known) {
        struct bl_far_known *k = d->known;
        d->known = k->next;
        bl_free(k);
    }
    bl_free(d);
}

struct bl_far *bl_far_make(const struct bl_far_config *config, const struct bl_far_host *host, struct bl_error *err)
{
    struct bl_far *d = bl_alloc_zero(NULL, sizeof *d, err);
    if (!d) return NULL;
    d->refs = 1;
    d->config = *config;
    d->host = host;
    d->socket = d->pidfd = d->listening = -1;
    d->checkpoint_at = UINT32_MAX;
    bl_quota_init(&d->quota, NULL, "device_memory", config->setup.memory_limit);
    pthread_mutex_init(&d->lock, NULL);
    bl_cond_init(&d->changed);
    bl_link_init(&d->free);
    bl_link_init(&d->queue);
    d->coming = bl_alloc_zero(NULL, sizeof *d->coming, err);
    d->arena = make_arena();
    if (d->coming && d->arena >= 0) return d;
    discard(d);
    bl_fail(err, BL_NO_MEMORY);
    return NULL;
}

enum bl_status bl_far_open(const struct bl_far_config *config, const struct bl_far_host *host, struct bl_far **out, struct bl_error *err)
{
    enum bl_status status = check_config(config, err);
    if (status != BL_OK) return status;
    struct bl_far *d = bl_far_make(config, host, err);
    if (!d) return BL_NO_MEMORY;
    d->refs = 2; /* the caller's, and the sender's */
    if (bl_thread_start(bl_far_sender, d, THREAD_STACK) != 0) {
        discard(d);
        return bl_fail(err, BL_NO_MEMORY);
    }
    *out = d;
    return BL_OK;
}

void bl_far_close(struct bl_far *d)
{
    pthread_mutex_lock(&d->lock);
    d->closing = true;
    bl_far_break(d, "its device was closed");
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void bl_far_ref(struct bl_far *d) { bl_refs_get(&d->refs); }

void bl_far_unref(struct bl_far *d)
{
    if (bl_refs_put(&d->refs)) discard(d);
}

enum bl_status bl_far_check(const struct bl_far *d, struct bl_error *err)
{
    if (d->closing) return bl_fail(err, BL_CLOSED);
    if (d->state != BL_FAR_STATE_UP) return bl_fail_busy(err, BL_FAR_LOOK_MS);
    return BL_OK;
}

const struct bl_ring_handler *bl_far_handler(struct bl_far *d, const char *name)
{
    pthread_mutex_lock(&d->lock);
    const struct bl_far_known *k = d->known;
    while (k && strcmp(k->handler.name, name) != 0) k = k->next;
    pthread_mutex_unlock(&d->lock);
    return k ? &k->handler : NULL; /* rows stay */
}

/* ---- the process ---- */

enum bl_status bl_far_listen(struct bl_far *d, char path[BL_PEER_PATH], struct bl_error *err)
{
    enum bl_status status = BL_OK;
    pthread_mutex_lock(&d->lock);
    if (d->closing) {
        status = bl_fail(err, BL_CLOSED);
    } else if (d->state != BL_FAR_STATE_DOWN) {
        status = bl_fail_busy(err, BL_FAR_LOOK_MS);
    } else if ((d->listening = bl_peer_listen(d->path)) < 0) {
        status = bl_fail_invalid(err, "socket", "%s", strerror(errno));
    } else {
        memcpy(path, d->path, BL_PEER_PATH);
        d->broken[0] = d->exited[0] = '\0';
        d->state = BL_FAR_STATE_LISTENING;
        d->reading = true;
        bl_far_ref(d);
        if (bl_thread_start(bl_far_reader, d, THREAD_STACK) != 0) {
            (void)bl_refs_put(&d->refs); /* never the last: the caller has one */
            close(d->listening);
            d->listening = -1;
            bl_peer_forget(d->path);
            d->state = BL_FAR_STATE_DOWN;
            d->reading = false;
            status = bl_fail(err, BL_NO_MEMORY);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return status;
}

void bl_far_exited(struct bl_far *d, const char *why)
{
    pthread_mutex_lock(&d->lock);
    /* With a connection the reader finds its end, after what the process said last. */
    if (d->socket >= 0)
        shutdown(d->socket, SHUT_RDWR);
    else
        bl_far_break(d, bl_far_closed);
    snprintf(d->exited, sizeof d->exited, "%s", why);
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void bl_far_stats_add(struct bl_device_stats *sum, const struct bl_device_stats *one)
{
    sum->handled += one->handled;
    sum->expired += one->expired;
    sum->busy += one->busy;
    sum->lost_total += one->lost_total;
    sum->moved_aside += one->moved_aside;
}

void bl_far_info(struct bl_far *d, struct bl_far_info *out)
{
    pthread_mutex_lock(&d->lock);
    *out = (struct bl_far_info){.state = d->state, .pid = d->pid, .starts = d->starts, .in_flight = d->flight_count, .stats = d->stats};
    memcpy(out->why, d->why, sizeof out->why);
    bl_far_stats_add(&out->stats, &d->past);
    out->stats.actors = d->actor_count;
    out->stats.buffers = bl_counted(&d->buffer_count);
    out->stats.started = d->started;
    out->stats.busy += d->busy;
    out->stats.undelivered = d->undelivered;
    out->stats.failed = d->failures;
    pthread_mutex_unlock(&d->lock);
}
