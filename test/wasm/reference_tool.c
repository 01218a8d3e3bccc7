/* SPDX-License-Identifier: Apache-2.0
 *
 * The plain way to call a function: wasmtime_func_call_async, polled until it has ended, with a future of its own for each
 * call. Slower than the resident fiber, and simple: what the others are compared with.
 *
 *     reference_tool LIBRARY WAT FUNCTION    one call for each line "I32 I64 F32 F64" of the standard input, numbers as
 *                                            bits in decimal; answers a line of the results' bits, or "trap CODE"
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wasm/bl_wasm_engine.h"

enum { PARAMS = 4, INTERVAL = 500 };
static const uint8_t kinds[PARAMS] = {WASMTIME_I32, WASMTIME_I64, WASMTIME_F32, WASMTIME_F64};

static void need(bool good, const char *what)
{
    if (good) return;
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void finish(wasmtime_call_future_t *future)
{
    need(future, "no future");
    while (!wt.wasmtime_call_future_poll(future)) continue;
    wt.wasmtime_call_future_delete(future);
}

static wasmtime_module_t *read_module(const struct bl_wasm_engine *engine, const char *path)
{
    static char text[1 << 20];
    wasm_byte_vec_t bytes;
    wasmtime_module_t *module;
    FILE *file = fopen(path, "rb");
    need(file, "no such file");
    const size_t len = fread(text, 1, sizeof text, file);
    fclose(file);
    need(len < sizeof text && !wt.wasmtime_wat2wasm(text, len, &bytes), "no text of a module");
    need(!wt.wasmtime_module_new(engine->engine, (const uint8_t *)bytes.data, bytes.size, &module), "no module");
    return module;
}

static uint64_t bits(const wasmtime_val_t *v)
{
    uint32_t small;
    uint64_t large;
    memcpy(&small, &v->of, sizeof small);
    memcpy(&large, &v->of, sizeof large);
    return v->kind == WASMTIME_I32 || v->kind == WASMTIME_F32 ? small : large;
}

static void call(wasmtime_context_t *context, const wasmtime_func_t *function, const uint64_t in[PARAMS])
{
    wasmtime_val_t args[PARAMS], results[PARAMS];
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error = NULL;
    uint8_t code = 255;
    memset(args, 0, sizeof args);
    for (int i = 0; i < PARAMS; i++) {
        args[i].kind = kinds[i];
        memcpy(&args[i].of, &in[i], sizeof in[i]);
    }
    finish(wt.wasmtime_func_call_async(context, function, args, PARAMS, results, PARAMS, &trap, &error));
    need(!error, "an error");
    if (trap) {
        wt.wasmtime_trap_code(trap, &code);
        wt.wasm_trap_delete(trap);
        printf("trap %u\n", code);
        return;
    }
    for (int i = 0; i < PARAMS; i++) printf("%" PRIu64 "%c", bits(&results[i]), i == PARAMS - 1 ? '\n' : ' ');
}

int main(int argc, char **argv)
{
    const struct bl_wasm_engine *engine;
    wasmtime_instance_pre_t *pre;
    wasmtime_instance_t instance;
    wasmtime_extern_t item;
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error = NULL;
    uint64_t in[PARAMS];
    need(argc == 4 && bl_wasmtime_load(argv[1], false, NULL) == BL_OK, "reference_tool LIBRARY WAT FUNCTION");
    need(bl_wasm_engine_get((struct bl_wasm_settings){.preset = BL_WASM_FAST}, &engine, NULL) == BL_OK, "no engine");
    wasmtime_module_t *module = read_module(engine, argv[2]);
    need(!wt.wasmtime_linker_instantiate_pre(wt.wasmtime_linker_new(engine->engine), module, &pre), "it has imports");
    wasmtime_context_t *context = wt.wasmtime_store_context(wt.wasmtime_store_new(engine->engine, NULL, NULL));
    wt.wasmtime_context_set_fuel(context, UINT64_MAX);
    wt.wasmtime_context_fuel_async_yield_interval(context, INTERVAL);
    finish(wt.wasmtime_instance_pre_instantiate_async(pre, context, &instance, &trap, &error));
    need(!trap && !error && wt.wasmtime_instance_export_get(context, &instance, argv[3], strlen(argv[3]), &item), "no such function");
    while (scanf("%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &in[0], &in[1], &in[2], &in[3]) == PARAMS)
        call(context, &item.of.func, in);
    return 0;
}
