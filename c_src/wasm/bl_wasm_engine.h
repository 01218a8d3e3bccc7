/* SPDX-License-Identifier: Apache-2.0
 *
 * Engines and modules. An engine is made from a preset and a set of proposals that are off, never from free settings: a
 * bad mix ends the process (doc/wasm.md). Engines live until the process ends; there are at most BL_WASM_ENGINES.
 */
#ifndef BL_WASM_ENGINE_H
#define BL_WASM_ENGINE_H

#include <pthread.h>

#include "bl_list.h"
#include "bl_wasm_binary.h"

enum { BL_WASM_ENGINES = 32 };

enum bl_wasm_preset { BL_WASM_FAST, BL_WASM_DENSE, BL_WASM_DETERMINISTIC, BL_WASM_PRESETS };

enum bl_wasm_proposal {
    BL_WASM_SIMD, BL_WASM_RELAXED_SIMD, BL_WASM_BULK_MEMORY, BL_WASM_MULTI_VALUE, BL_WASM_REFERENCE_TYPES, BL_WASM_FUNCTION_REFERENCES,
    BL_WASM_GC, BL_WASM_EXCEPTIONS, BL_WASM_TAIL_CALL, BL_WASM_MULTI_MEMORY, BL_WASM_MEMORY64, BL_WASM_THREADS, BL_WASM_PROPOSALS
};
/* "simd", "relaxed_simd", ... */
BL_API const char *bl_wasm_proposal_name(enum bl_wasm_proposal proposal);

struct bl_wasm_settings {
    uint32_t preset, off; /* a bit for each proposal; what depends on one that is off is off, too */
    uint32_t stack_kib;   /* a guest's stack; 0: the preset's (512, dense 128); BL_WASM_STACK_LEAST to _MOST */
};
enum { BL_WASM_STACK_LEAST = 64, BL_WASM_STACK_MOST = 8192 };

struct bl_wasm_engine {
    struct bl_wasm_settings settings; /* complete: nothing is 0 that has a default */
    wasm_engine_t *engine;
    size_t wasm_stack, fiber_stack; /* bytes */
};

/* The engine of these settings. BL_UNSUPPORTED: no library; BL_INVALID; BL_LIMIT: too many different ones. Blocks. */
BL_API enum bl_status bl_wasm_engine_get(struct bl_wasm_settings settings, const struct bl_wasm_engine **out, struct bl_error *err);
/* The settings as a short text for names of files. */
BL_API void bl_wasm_settings_name(const struct bl_wasm_settings *settings, char name[48]);

/* An import that the host answers. `id` says which, for all instances of a guest together. */
struct bl_wasm_import {
    uint32_t id;
    const struct bl_wasm_signature *signature;
};

struct bl_wasm_module {
    uint32_t refs;
    uint64_t id; /* never used again */
    struct bl_link all;
    const struct bl_wasm_engine *engine;
    wasmtime_module_t *module;
    struct bl_wasm_binary binary;
    uint32_t *by_name, by_name_mask; /* exports */
    size_t bytes;       /* of the module as it came */
    int64_t moved;      /* by how much the code lies behind its place in these bytes */
    uint64_t compile_ns;
    bool from_cache, exposed;
    pthread_mutex_t lock; /* for what follows */
    wasmtime_linker_t *linker; /* for an instance alone in its guest with functions as imports; made once */
    wasmtime_instance_pre_t *pre;
    struct bl_wasm_import *imports;
};

struct bl_wasm_module_limits {
    uint64_t bytes, imports;
    bool expose; /* also: export all memories, tables and mutable globals under names that begin with BL_WASM_OWN_NAME */
};

/* Text or binary; text becomes binary first. Long, and needs stack: for a thread of its own with BL_WASM_COMPILE_STACK. cache: a
 * folder that is ours, or NULL; `key`: of the bytes, for names of files there.
 * BL_SYNTAX, BL_INVALID: the library refuses the module; BL_LIMIT, BL_UNSUPPORTED, BL_NO_MEMORY. */
enum { BL_WASM_COMPILE_STACK = 8 << 20 };
BL_API enum bl_status bl_wasm_module_compile(const struct bl_wasm_engine *engine, const uint8_t *bytes, size_t len,
                                             const struct bl_wasm_module_limits *limits, const char *cache, const char *key,
                                             struct bl_wasm_module **out, struct bl_error *err);
/* The same judgement, nothing is made. */
BL_API enum bl_status bl_wasm_module_validate(const struct bl_wasm_engine *engine, const uint8_t *bytes, size_t len,
                                              const struct bl_wasm_module_limits *limits, struct bl_error *err);
/* Text to binary; *out to be freed with bl_free. */
BL_API enum bl_status bl_wasm_text(const uint8_t *text, size_t len, uint8_t **out, size_t *out_len, struct bl_error *err);
BL_API void bl_wasm_module_ref(struct bl_wasm_module *module);
BL_API void bl_wasm_module_unref(struct bl_wasm_module *module);
/* The module of that number, with a reference; NULL: it is gone. How another skin gets one. */
BL_API struct bl_wasm_module *bl_wasm_module_find(uint64_t id);
/* The export of that name; -1: there is none. */
BL_API int64_t bl_wasm_module_export(const struct bl_wasm_module *module, const char *name, size_t len);

/* How names begin that rewriting adds; users do not see them. */
#define BL_WASM_OWN_NAME "\1beamline "
static inline bool bl_wasm_is_own(const struct bl_wasm_binary *b, const struct bl_wasm_name *n)
{
    const size_t len = sizeof BL_WASM_OWN_NAME - 1;
    return n->name_len >= len && __builtin_memcmp(b->names + n->name, BL_WASM_OWN_NAME, len) == 0;
}
/* Under which an instance finds its start function. */
#define BL_WASM_START_NAME BL_WASM_OWN_NAME "start"

/* The cache's part (bl_wasm_cache.c): false: not there, or of no use (then it is gone). */
bool bl_wasm_cache_load(struct bl_wasm_module *module, const char *folder, const char *key);
void bl_wasm_cache_store(const struct bl_wasm_module *module, const char *folder, const char *key);

/* The message of an error of the library as err->text, and a place if it names one; eats the error. */
BL_API enum bl_status bl_wasm_library_error(wasmtime_error_t *error, struct bl_error *err);

#endif
