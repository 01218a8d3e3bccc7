/* SPDX-License-Identifier: Apache-2.0
 *
 * The bare C API of the library with the engine settings of the preset fast, and native code.
 *
 *     bench_wasm LIBRARY MODULE FUNCTION ARGUMENT [FUEL]    microseconds of one call; interrupted after each FUEL, and resumed at once
 *     bench_wasm LIBRARY MODULE start N                     nanoseconds of a store with an instance, made and deleted, of N
 *     bench_wasm native FUNCTION ARGUMENT                   microseconds, by this program's compiler
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wasm/bl_wasm_engine.h"
#include "wasm_kernels.h"

static volatile int sink;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int native(const char *name, int n)
{
    const uint64_t begin = now_ns();
    if (strcmp(name, "fib") == 0) sink = fib(n);
    if (strcmp(name, "lcg") == 0) sink = lcg(n);
    if (strcmp(name, "matmul") == 0) sink = matmul(n);
    if (strcmp(name, "sieve") == 0) sink = sieve(n);
    printf("%llu\n", (unsigned long long)(now_ns() - begin) / 1000);
    return 0;
}

static uint8_t *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(64 << 20);
    if (!file || !data) exit(2);
    *len = fread(data, 1, 64 << 20, file);
    fclose(file);
    return data;
}

static const struct bl_wasm_engine *engine;
static wasmtime_module_t *module;
static wasmtime_instance_pre_t *pre;

static wasmtime_store_t *start(wasmtime_instance_t *instance)
{
    wasmtime_store_t *store = wt.wasmtime_store_new(engine->engine, NULL, NULL);
    wasmtime_context_t *context = wt.wasmtime_store_context(store);
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error = NULL;
    wt.wasmtime_context_set_fuel(context, UINT64_MAX);
    wasmtime_call_future_t *f = wt.wasmtime_instance_pre_instantiate_async(pre, context, instance, &trap, &error);
    while (!wt.wasmtime_call_future_poll(f)) continue;
    wt.wasmtime_call_future_delete(f);
    if (trap || error) exit(3);
    return store;
}

static int starts(unsigned n)
{
    wasmtime_instance_t instance;
    const uint64_t begin = now_ns();
    for (unsigned i = 0; i < n; i++) wt.wasmtime_store_delete(start(&instance));
    printf("%llu\n", (unsigned long long)(now_ns() - begin) / n);
    return 0;
}

/* interval: 0, or the fuel after which it is interrupted. 0: good. */
static int call_once(wasmtime_context_t *context, const wasmtime_func_t *f, int n, uint64_t interval)
{
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error;
    if (interval > 0) {
        wasmtime_val_t arg = {.kind = WASMTIME_I32, .of.i32 = n}, result;
        error = wt.wasmtime_context_fuel_async_yield_interval(context, interval);
        if (error) return 5;
        wasmtime_call_future_t *future = wt.wasmtime_func_call_async(context, f, &arg, 1, &result, 1, &trap, &error);
        while (!wt.wasmtime_call_future_poll(future)) continue;
        wt.wasmtime_call_future_delete(future);
    } else {
        wasmtime_val_raw_t value = {.i32 = n};
        error = wt.wasmtime_func_call_unchecked(context, f, &value, 1, &trap);
    }
    return error || trap ? 5 : 0;
}

static int call(const char *name, int n, uint64_t interval)
{
    wasmtime_instance_t instance;
    wasmtime_extern_t item;
    wasmtime_store_t *store = start(&instance);
    wasmtime_context_t *context = wt.wasmtime_store_context(store);
    if (!wt.wasmtime_instance_export_get(context, &instance, name, strlen(name), &item)) return 4;
    for (int round = 0;; round++) {
        const uint64_t begin = now_ns();
        const int failed = call_once(context, &item.of.func, n, interval);
        if (failed) return failed;
        if (round == 0) continue; /* warm */
        printf("%llu\n", (unsigned long long)(now_ns() - begin) / 1000);
        return 0;
    }
}

int main(int argc, char **argv)
{
    size_t len;
    wasmtime_error_t *error;
    if (argc == 4 && strcmp(argv[1], "native") == 0) return native(argv[2], atoi(argv[3]));
    if (argc < 5 || argc > 6 || bl_wasmtime_load(argv[1], false, NULL) != BL_OK) return 1;
    if (bl_wasm_engine_get((struct bl_wasm_settings){.preset = BL_WASM_FAST}, &engine, NULL) != BL_OK) return 1;
    uint8_t *bytes = read_file(argv[2], &len);
    error = wt.wasmtime_module_new(engine->engine, bytes, len, &module);
    if (!error) error = wt.wasmtime_linker_instantiate_pre(wt.wasmtime_linker_new(engine->engine), module, &pre);
    if (error) return 6;
    if (strcmp(argv[3], "start") == 0) return starts((unsigned)atoi(argv[4]));
    return call(argv[3], atoi(argv[4]), argc == 6 ? strtoul(argv[5], NULL, 10) : 0);
}
