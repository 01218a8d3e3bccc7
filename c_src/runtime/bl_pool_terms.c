/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool's configuration, as the Erlang side sends it, and its statistics.
 */
#include <stddef.h>
#include <string.h>

#include "bl_pool_terms.h"
#include "bl_remote.h"

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

/* Where a number of the configuration goes, and the most that fits (more stays too much). */
struct number_key {
    const char *key;
    size_t offset, bytes;
};
#define NUMBER(key, field) {key, offsetof(struct bl_pool_config, field), sizeof((struct bl_pool_config *)0)->field}

static const struct number_key number_keys[] = {
    NUMBER("threads", threads),
    NUMBER("stack_size", stack_bytes),
    NUMBER("max_queue", max_queue),
    NUMBER("max_queue_bytes", max_queue_bytes),
    NUMBER("memory_limit", memory_limit),
    NUMBER("max_behind", max_behind),
    NUMBER("max_per_owner", max_per_owner),
    NUMBER("ageing", ageing_ms),
};

static enum bl_status read_number(struct bl_reader *r, const struct bl_span *key, struct bl_pool_config *config)
{
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof number_keys / sizeof number_keys[0]; i++) {
        const struct number_key *k = &number_keys[i];
        if (!bl_span_is(key, k->key)) continue;
        const enum bl_status status = bl_read_uint(r, &n);
        const uint32_t narrow = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
        if (status == BL_OK) memcpy((char *)config + k->offset, k->bytes == sizeof n ? (const void *)&n : (const void *)&narrow, k->bytes);
        return status;
    }
    return bl_read_unknown_key(r, key);
}

enum bl_status bl_pool_read_config(struct bl_reader *r, struct bl_pool_config *config)
{
    size_t pairs;
    bl_pool_config_init(config);
    enum bl_status status = bl_read_map(r, &pairs);
    for (size_t i = 0; i < pairs && status == BL_OK; i++) {
        struct bl_span key;
        status = bl_read_atom(r, &key);
        if (status == BL_OK) status = bl_span_is(&key, "name") ? read_name(r, config) : read_number(r, &key, config);
    }
    return status;
}

static void histogram(struct bl_writer *w, const char *key, uint64_t sum_ns, const uint64_t counts[40])
{
    bl_write_atom(w, key);
    bl_write_map(w, 2);
    bl_write_keyed_uint(w, "sum_us", sum_ns / 1000);
    bl_write_atom(w, "counts");
    bl_write_list(w, 40);
    for (int i = 0; i < 40; i++) bl_write_uint(w, counts[i]);
    bl_write_end(w);
    bl_write_end(w);
}

static void write_host(struct bl_remote *remote, struct bl_writer *w)
{
    static const char *const state_names[] = {"down", "listening", "up", "broken"};
    struct bl_remote_info i;
    bl_remote_info(remote, &i);
    bl_write_atom(w, "host");
    bl_write_map(w, 13);
    bl_write_keyed_atom(w, "state", state_names[i.state]);
    bl_write_keyed_text(w, "why", i.why);
    bl_write_keyed_bool(w, "sandbox", i.host.sandbox != 0);
    bl_write_keyed_uint(w, "pid", i.pid);
    bl_write_keyed_uint(w, "starts", i.starts);
    bl_write_keyed_uint(w, "tasks", i.in_host);
    bl_write_keyed_uint(w, "argument_bytes", i.in_host_bytes);
    bl_write_keyed_uint(w, "memory", i.host.memory_bytes);
    bl_write_keyed_uint(w, "memory_peak", i.host.memory_peak_bytes);
    bl_write_keyed_uint(w, "running", i.host.running);
    bl_write_keyed_uint(w, "behind", i.host.behind);
    bl_write_keyed_uint(w, "queued", i.host.queued);
    bl_write_keyed_uint(w, "threads", i.host.threads);
    bl_write_end(w);
}

void bl_pool_write_info(struct bl_pool *pool, struct bl_writer *w)
{
    static const char *const class_names[BL_PRIORITY_COUNT] = {"low", "normal", "high", "critical"};
    const struct bl_pool_config *c = &pool->config;
    struct bl_pool_stats s;
    bl_pool_stats(pool, &s);
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
        {"refused_owner", s.refused_owner}, {"max_per_owner", c->max_per_owner},
    };
    enum { NUMBERS = sizeof numbers / sizeof numbers[0] };
    bl_write_map(w, NUMBERS + 3 + (bl_pool_remote(pool) ? 1 : 0));
    if (bl_pool_remote(pool)) write_host(bl_pool_remote(pool), w);
    for (size_t i = 0; i < NUMBERS; i++) bl_write_keyed_uint(w, numbers[i].key, numbers[i].value);
    bl_write_atom(w, "queued");
    bl_write_map(w, BL_PRIORITY_COUNT);
    for (int i = 0; i < BL_PRIORITY_COUNT; i++) bl_write_keyed_uint(w, class_names[i], s.queued[i]);
    bl_write_end(w);
    histogram(w, "wait", s.wait_ns_sum, s.wait_histogram);
    histogram(w, "run", s.run_ns_sum, s.run_histogram);
    bl_write_end(w);
}
