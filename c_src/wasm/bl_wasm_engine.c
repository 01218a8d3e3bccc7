/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "bl_wasm_engine.h"

static const struct {
    const char *name;
    uint32_t needs; /* bits of others */
} proposals[BL_WASM_PROPOSALS] = {
    [BL_WASM_SIMD] = {"simd", 0},
    [BL_WASM_RELAXED_SIMD] = {"relaxed_simd", 1u << BL_WASM_SIMD},
    [BL_WASM_BULK_MEMORY] = {"bulk_memory", 0},
    [BL_WASM_MULTI_VALUE] = {"multi_value", 0},
    [BL_WASM_REFERENCE_TYPES] = {"reference_types", 1u << BL_WASM_BULK_MEMORY},
    [BL_WASM_FUNCTION_REFERENCES] = {"function_references", 1u << BL_WASM_REFERENCE_TYPES},
    [BL_WASM_GC] = {"gc", 1u << BL_WASM_FUNCTION_REFERENCES},
    [BL_WASM_EXCEPTIONS] = {"exceptions", 1u << BL_WASM_GC},
    [BL_WASM_TAIL_CALL] = {"tail_call", 0},
    [BL_WASM_MULTI_MEMORY] = {"multi_memory", 0},
    [BL_WASM_MEMORY64] = {"memory64", 0},
    [BL_WASM_THREADS] = {"threads", 1u << BL_WASM_BULK_MEMORY},
};

const char *bl_wasm_proposal_name(enum bl_wasm_proposal proposal)
{
    return (unsigned)proposal < BL_WASM_PROPOSALS ? proposals[proposal].name : NULL;
}

/* Settings that mean the same become equal. */
static struct bl_wasm_settings complete(struct bl_wasm_settings s)
{
    if (s.stack_kib == 0) s.stack_kib = s.preset == BL_WASM_DENSE ? 128 : 512;
    /* Without the collector there is no externref, and nothing that is built upon it. */
    if (s.preset == BL_WASM_DENSE) s.off |= 1u << BL_WASM_GC;
    for (int round = 0; round < BL_WASM_PROPOSALS; round++)
        for (int i = 0; i < BL_WASM_PROPOSALS; i++)
            if (proposals[i].needs & s.off) s.off |= 1u << i;
    return s;
}

void bl_wasm_settings_name(const struct bl_wasm_settings *s, char name[48])
{
    snprintf(name, 48, "p%u-%x-%u", s->preset, s->off, s->stack_kib);
}

static void set_proposals(wasm_config_t *c, uint32_t off)
{
    const bool on[BL_WASM_PROPOSALS] = {
#define ON(p) [p] = !(off & 1u << p)
        ON(BL_WASM_SIMD), ON(BL_WASM_RELAXED_SIMD), ON(BL_WASM_BULK_MEMORY), ON(BL_WASM_MULTI_VALUE), ON(BL_WASM_REFERENCE_TYPES),
        ON(BL_WASM_FUNCTION_REFERENCES), ON(BL_WASM_GC), ON(BL_WASM_EXCEPTIONS), ON(BL_WASM_TAIL_CALL), ON(BL_WASM_MULTI_MEMORY),
        ON(BL_WASM_MEMORY64), ON(BL_WASM_THREADS),
#undef ON
    };
    wt.wasmtime_config_wasm_simd_set(c, on[BL_WASM_SIMD]);
    wt.wasmtime_config_wasm_relaxed_simd_set(c, on[BL_WASM_RELAXED_SIMD]);
    wt.wasmtime_config_wasm_bulk_memory_set(c, on[BL_WASM_BULK_MEMORY]);
    wt.wasmtime_config_wasm_multi_value_set(c, on[BL_WASM_MULTI_VALUE]);
    wt.wasmtime_config_wasm_reference_types_set(c, on[BL_WASM_REFERENCE_TYPES]);
    wt.wasmtime_config_wasm_function_references_set(c, on[BL_WASM_FUNCTION_REFERENCES]);
    wt.wasmtime_config_wasm_gc_set(c, on[BL_WASM_GC]);
    wt.wasmtime_config_wasm_exceptions_set(c, on[BL_WASM_EXCEPTIONS]);
    wt.wasmtime_config_wasm_tail_call_set(c, on[BL_WASM_TAIL_CALL]);
    wt.wasmtime_config_wasm_multi_memory_set(c, on[BL_WASM_MULTI_MEMORY]);
    wt.wasmtime_config_wasm_memory64_set(c, on[BL_WASM_MEMORY64]);
    wt.wasmtime_config_wasm_threads_set(c, on[BL_WASM_THREADS]);
    wt.wasmtime_config_shared_memory_set(c, false); /* a guest that waits there would hold its scheduler */
    wt.wasmtime_config_gc_support_set(c, on[BL_WASM_GC]);
}

static wasm_config_t *configuration(const struct bl_wasm_engine *e)
{
    wasm_config_t *c = wt.wasm_config_new();
    wt.wasmtime_config_consume_fuel_set(c, true); /* what slices are cut by */
    wt.wasmtime_config_epoch_interruption_set(c, false);
    wt.wasmtime_config_native_unwind_info_set(c, false); /* its registration takes a lock in libgcc */
    wt.wasmtime_config_parallel_compilation_set(c, false); /* no pool of threads beside the schedulers */
    wt.wasmtime_config_concurrency_support_set(c, false);
    wt.wasmtime_config_wasm_component_model_set(c, false);
    wt.wasmtime_config_signals_based_traps_set(c, true);
    wt.wasmtime_config_cranelift_opt_level_set(c, 1);
    wt.wasmtime_config_max_wasm_stack_set(c, e->wasm_stack);
    wt.wasmtime_config_async_stack_size_set(c, e->fiber_stack);
    set_proposals(c, e->settings.off);
    if (e->settings.preset == BL_WASM_DENSE) {
        wt.wasmtime_config_memory_reservation_set(c, 1 << 20);
        wt.wasmtime_config_memory_guard_size_set(c, 64 << 10);
        wt.wasmtime_config_memory_reservation_for_growth_set(c, 64 << 10);
    }
    if (e->settings.preset == BL_WASM_DETERMINISTIC) {
        wt.wasmtime_config_cranelift_nan_canonicalization_set(c, true);
        if (!(e->settings.off & 1u << BL_WASM_RELAXED_SIMD)) wt.wasmtime_config_wasm_relaxed_simd_deterministic_set(c, true);
    }
    return c;
}

static struct {
    pthread_mutex_t lock;
    size_t count;
    struct bl_wasm_engine engines[BL_WASM_ENGINES];
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static enum bl_status find_or_make(struct bl_wasm_settings s, const struct bl_wasm_engine **out, struct bl_error *err)
{
    for (size_t i = 0; i < all.count; i++)
        if (memcmp(&all.engines[i].settings, &s, sizeof s) == 0) {
            *out = &all.engines[i];
            return BL_OK;
        }
    if (all.count == BL_WASM_ENGINES) return bl_fail_limit(err, "engines", BL_WASM_ENGINES, BL_WASM_ENGINES + 1);
    struct bl_wasm_engine *e = &all.engines[all.count];
    e->settings = s;
    e->wasm_stack = (size_t)s.stack_kib << 10;
    e->fiber_stack = 2 * e->wasm_stack;
    e->engine = wt.wasm_engine_new_with_config(configuration(e));
    if (!e->engine) return bl_fail_invalid(err, "engine", "the library refuses these settings");
    all.count++;
    *out = e;
    return BL_OK;
}

enum bl_status bl_wasm_engine_get(struct bl_wasm_settings settings, const struct bl_wasm_engine **out, struct bl_error *err)
{
    if (!bl_wasmtime_loaded()) return bl_fail_unsupported(err, "wasmtime");
    const struct bl_wasm_settings s = complete(settings);
    if (s.preset >= BL_WASM_PRESETS) return bl_fail_invalid(err, "engine", "no such preset");
    if (s.stack_kib < BL_WASM_STACK_LEAST || s.stack_kib > BL_WASM_STACK_MOST)
        return bl_fail_invalid(err, "stack", "must be %d KiB to %d KiB", BL_WASM_STACK_LEAST, BL_WASM_STACK_MOST);
    pthread_mutex_lock(&all.lock);
    const enum bl_status status = find_or_make(s, out, err);
    pthread_mutex_unlock(&all.lock);
    return status;
}
