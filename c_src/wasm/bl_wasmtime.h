/* SPDX-License-Identifier: Apache-2.0
 *
 * wasmtime's C API, majors 45 to 50 (LP64), as far as it is used here: the layouts, and a table of functions that
 * bl_wasmtime_load fills from a library that is opened at run time.
 *
 * The library is built with panic=abort: a call with a wrong handle or value ends the process. doc/wasm.md lists
 * these calls, each with its guard.
 */
#ifndef BL_WASMTIME_H
#define BL_WASMTIME_H

#include "beamline/core.h"

/* ---- opaque things ---------------------------------------------------------------------------- */

typedef struct wasm_config_t wasm_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasm_importtype_t wasm_importtype_t;
typedef struct wasm_externtype_t wasm_externtype_t;
typedef struct wasm_globaltype_t wasm_globaltype_t;
typedef struct wasm_frame_t wasm_frame_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasmtime_error wasmtime_error_t;
typedef struct wasmtime_module wasmtime_module_t;
typedef struct wasmtime_store wasmtime_store_t;
typedef struct wasmtime_context wasmtime_context_t;
typedef struct wasmtime_caller wasmtime_caller_t;
typedef struct wasmtime_linker wasmtime_linker_t;
typedef struct wasmtime_instance_pre wasmtime_instance_pre_t;
typedef struct wasmtime_call_future wasmtime_call_future_t;

/* ---- layouts ---------------------------------------------------------------------------------- */

/* Vectors own their elements; bytes are char. */
typedef struct wasm_byte_vec { size_t size; char *data; } wasm_byte_vec_t;
typedef struct wasm_valtype_vec { size_t size; wasm_valtype_t **data; } wasm_valtype_vec_t;
typedef struct wasm_importtype_vec { size_t size; wasm_importtype_t **data; } wasm_importtype_vec_t;
typedef struct wasm_frame_vec { size_t size; wasm_frame_t **data; } wasm_frame_vec_t;

enum { WASMTIME_FUNC, WASMTIME_GLOBAL, WASMTIME_TABLE, WASMTIME_MEMORY, WASMTIME_SHAREDMEMORY, WASMTIME_TAG }; /* kinds of externs */
enum { WASMTIME_I32, WASMTIME_I64, WASMTIME_F32, WASMTIME_F64, WASMTIME_V128, WASMTIME_FUNCREF, WASMTIME_EXTERNREF, WASMTIME_ANYREF,
       WASMTIME_EXNREF }; /* kinds of values */

/* Handles by value, without destructor. store_id 0: a null reference. */
typedef struct wasmtime_func { uint64_t store_id; void *internal; } wasmtime_func_t;
typedef struct wasmtime_item { uint64_t store_id; uint32_t internal[4]; } wasmtime_item_t; /* a table, a memory, a global or a tag */
typedef struct wasmtime_instance { uint64_t store_id; size_t internal; } wasmtime_instance_t;
/* Roots of the garbage collector: to be given back by the matching _unroot. */
typedef struct wasmtime_ref { uint64_t store_id; uint32_t internal[2]; void *owner; } wasmtime_ref_t; /* anyref, externref, exnref */

typedef struct wasmtime_extern {
    uint8_t kind;
    union { wasmtime_func_t func; wasmtime_item_t item; } of;
} wasmtime_extern_t;

typedef struct wasmtime_val {
    uint8_t kind;
    union { int32_t i32; int64_t i64; float f32; double f64; uint8_t v128[16]; wasmtime_func_t func; wasmtime_ref_t ref; } of;
} wasmtime_val_t;

/* As compiled code passes them: parameters and results share one array. */
typedef union wasmtime_val_raw {
    int32_t i32; int64_t i64; uint32_t f32_bits; uint64_t f64_bits; uint8_t v128[16]; uint32_t ref; void *func;
} wasmtime_val_raw_t;

typedef struct wasmtime_valtype { /* 0..4 as values; 5: a reference */
    uint8_t kind;
    struct { bool nullable; struct { uint8_t kind; void *concrete; } heap; } ref;
} wasmtime_valtype_t;

_Static_assert(sizeof(wasmtime_func_t) == 16 && sizeof(wasmtime_item_t) == 24 && sizeof(wasmtime_ref_t) == 24 &&
                   sizeof(wasmtime_extern_t) == 32 && sizeof(wasmtime_val_t) == 32 && sizeof(wasmtime_val_raw_t) == 16 &&
                   sizeof(wasmtime_valtype_t) == 32,
               "the layouts of wasmtime 45 to 50");

typedef wasm_trap_t *wasmtime_unchecked_fn(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t count);
typedef bool wasmtime_continuation_fn(void *env); /* true: the host function has finished */
typedef struct wasmtime_continuation {
    wasmtime_continuation_fn *callback;
    void *env;
    void (*finalizer)(void *);
} wasmtime_continuation_t;
typedef void wasmtime_async_fn(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args, size_t nargs, wasmtime_val_t *results,
                               size_t nresults, wasm_trap_t **trap, wasmtime_continuation_t *continuation);

/* ---- functions -------------------------------------------------------------------------------- */

/* F(result, name, parameters) */
#define BL_WASMTIME_CONFIG(F) \
    F(wasm_config_t *, wasm_config_new, (void)) \
    F(wasm_engine_t *, wasm_engine_new_with_config, (wasm_config_t *)) \
    F(void, wasm_engine_delete, (wasm_engine_t *)) \
    F(void, wasmtime_config_consume_fuel_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_epoch_interruption_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_max_wasm_stack_set, (wasm_config_t *, size_t)) \
    F(void, wasmtime_config_async_stack_size_set, (wasm_config_t *, size_t)) \
    F(void, wasmtime_config_wasm_simd_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_relaxed_simd_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_relaxed_simd_deterministic_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_bulk_memory_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_multi_value_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_multi_memory_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_memory64_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_tail_call_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_reference_types_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_threads_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_shared_memory_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_exceptions_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_gc_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_function_references_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_gc_support_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_parallel_compilation_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_cranelift_opt_level_set, (wasm_config_t *, uint8_t)) \
    F(void, wasmtime_config_cranelift_nan_canonicalization_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_native_unwind_info_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_signals_based_traps_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_memory_reservation_set, (wasm_config_t *, uint64_t)) \
    F(void, wasmtime_config_memory_guard_size_set, (wasm_config_t *, uint64_t)) \
    F(void, wasmtime_config_memory_reservation_for_growth_set, (wasm_config_t *, uint64_t)) \
    F(void, wasmtime_config_concurrency_support_set, (wasm_config_t *, bool)) \
    F(void, wasmtime_config_wasm_component_model_set, (wasm_config_t *, bool))

#define BL_WASMTIME_MODULE(F) \
    F(wasmtime_error_t *, wasmtime_wat2wasm, (const char *, size_t, wasm_byte_vec_t *)) \
    F(wasmtime_error_t *, wasmtime_module_new, (wasm_engine_t *, const uint8_t *, size_t, wasmtime_module_t **)) \
    F(wasmtime_error_t *, wasmtime_module_validate, (wasm_engine_t *, const uint8_t *, size_t)) \
    F(void, wasmtime_module_delete, (wasmtime_module_t *)) \
    F(void, wasmtime_module_imports, (const wasmtime_module_t *, wasm_importtype_vec_t *)) \
    F(wasmtime_error_t *, wasmtime_module_serialize, (const wasmtime_module_t *, wasm_byte_vec_t *)) \
    F(wasmtime_error_t *, wasmtime_module_deserialize_file, (wasm_engine_t *, const char *, wasmtime_module_t **)) \
    F(void, wasm_byte_vec_delete, (wasm_byte_vec_t *)) \
    F(void, wasm_importtype_vec_delete, (wasm_importtype_vec_t *)) \
    F(const wasm_externtype_t *, wasm_importtype_type, (const wasm_importtype_t *)) \
    F(const wasm_functype_t *, wasm_externtype_as_functype_const, (const wasm_externtype_t *)) \
    F(wasm_functype_t *, wasm_functype_new, (wasm_valtype_vec_t *, wasm_valtype_vec_t *)) \
    F(const wasm_valtype_vec_t *, wasm_functype_params, (const wasm_functype_t *)) \
    F(const wasm_valtype_vec_t *, wasm_functype_results, (const wasm_functype_t *)) \
    F(void, wasm_functype_delete, (wasm_functype_t *)) \
    F(void, wasm_valtype_vec_new_empty, (wasm_valtype_vec_t *)) \
    F(void, wasmtime_valtype_new, (const wasm_valtype_t *, wasmtime_valtype_t *)) \
    F(void, wasmtime_valtype_delete, (wasmtime_valtype_t *))

#define BL_WASMTIME_STORE(F) \
    F(wasmtime_store_t *, wasmtime_store_new, (wasm_engine_t *, void *, void (*)(void *))) \
    F(wasmtime_context_t *, wasmtime_store_context, (wasmtime_store_t *)) \
    F(void, wasmtime_store_delete, (wasmtime_store_t *)) \
    F(void, wasmtime_store_limiter, (wasmtime_store_t *, int64_t, int64_t, int64_t, int64_t, int64_t)) \
    F(void *, wasmtime_context_get_data, (const wasmtime_context_t *)) \
    F(wasmtime_error_t *, wasmtime_context_set_fuel, (wasmtime_context_t *, uint64_t)) \
    F(wasmtime_error_t *, wasmtime_context_get_fuel, (const wasmtime_context_t *, uint64_t *)) \
    F(wasmtime_error_t *, wasmtime_context_fuel_async_yield_interval, (wasmtime_context_t *, uint64_t)) \
    F(wasmtime_linker_t *, wasmtime_linker_new, (wasm_engine_t *)) \
    F(void, wasmtime_linker_delete, (wasmtime_linker_t *)) \
    F(wasmtime_error_t *, wasmtime_linker_define, (wasmtime_linker_t *, wasmtime_context_t *, const char *, size_t, const char *, size_t, \
                                                  const wasmtime_extern_t *)) \
    F(wasmtime_error_t *, wasmtime_linker_define_func_unchecked, (wasmtime_linker_t *, const char *, size_t, const char *, size_t, \
                                                                 const wasm_functype_t *, wasmtime_unchecked_fn *, void *, \
            void (*)(void *))) \
    F(wasmtime_error_t *, wasmtime_linker_define_async_func, (wasmtime_linker_t *, const char *, size_t, const char *, size_t, \
                                                             const wasm_functype_t *, wasmtime_async_fn *, void *, void (*)(void *))) \
    F(bool, wasmtime_linker_get, (const wasmtime_linker_t *, wasmtime_context_t *, const char *, size_t, const char *, size_t, \
                                  wasmtime_extern_t *)) \
    F(void, wasmtime_linker_allow_shadowing, (wasmtime_linker_t *, bool)) \
    F(wasmtime_error_t *, wasmtime_linker_instantiate_pre, (const wasmtime_linker_t *, const wasmtime_module_t *, \
                                                           wasmtime_instance_pre_t **)) \
    F(wasmtime_call_future_t *, wasmtime_linker_instantiate_async, (const wasmtime_linker_t *, wasmtime_context_t *, \
                                                                   const wasmtime_module_t *, wasmtime_instance_t *, wasm_trap_t **, \
                                                                   wasmtime_error_t **)) \
    F(wasmtime_call_future_t *, wasmtime_instance_pre_instantiate_async, (const wasmtime_instance_pre_t *, wasmtime_context_t *, \
                                                                         wasmtime_instance_t *, wasm_trap_t **, wasmtime_error_t **)) \
    F(void, wasmtime_instance_pre_delete, (wasmtime_instance_pre_t *)) \
    F(bool, wasmtime_instance_export_get, (wasmtime_context_t *, const wasmtime_instance_t *, const char *, size_t, wasmtime_extern_t *)) \
    F(void, wasmtime_extern_delete, (wasmtime_extern_t *))

#define BL_WASMTIME_CALL(F) \
    F(wasmtime_call_future_t *, wasmtime_func_call_async, (wasmtime_context_t *, const wasmtime_func_t *, const wasmtime_val_t *, size_t, \
                                                          wasmtime_val_t *, size_t, wasm_trap_t **, wasmtime_error_t **)) \
    F(bool, wasmtime_call_future_poll, (wasmtime_call_future_t *)) \
    F(void, wasmtime_call_future_delete, (wasmtime_call_future_t *)) \
    F(wasmtime_error_t *, wasmtime_func_call_unchecked, (wasmtime_context_t *, const wasmtime_func_t *, wasmtime_val_raw_t *, size_t, \
                                                        wasm_trap_t **)) \
    F(void, wasmtime_func_new_unchecked, (wasmtime_context_t *, const wasm_functype_t *, wasmtime_unchecked_fn *, void *, \
                                          void (*)(void *), wasmtime_func_t *)) \
    F(wasm_functype_t *, wasmtime_func_type, (const wasmtime_context_t *, const wasmtime_func_t *)) \
    F(void *, wasmtime_func_to_raw, (wasmtime_context_t *, const wasmtime_func_t *)) \
    F(void, wasmtime_func_from_raw, (wasmtime_context_t *, void *, wasmtime_func_t *)) \
    F(wasmtime_context_t *, wasmtime_caller_context, (wasmtime_caller_t *)) \
    F(void, wasmtime_val_unroot, (wasmtime_val_t *)) \
    F(bool, wasmtime_externref_new, (wasmtime_context_t *, void *, void (*)(void *), wasmtime_ref_t *)) \
    F(void *, wasmtime_externref_data, (wasmtime_context_t *, const wasmtime_ref_t *)) \
    F(void, wasmtime_externref_unroot, (wasmtime_ref_t *)) \
    F(void, wasmtime_externref_from_raw, (wasmtime_context_t *, uint32_t, wasmtime_ref_t *)) \
    F(uint32_t, wasmtime_externref_to_raw, (wasmtime_context_t *, const wasmtime_ref_t *)) \
    F(void, wasmtime_anyref_unroot, (wasmtime_ref_t *)) \
    F(void, wasmtime_anyref_from_raw, (wasmtime_context_t *, uint32_t, wasmtime_ref_t *)) \
    F(uint32_t, wasmtime_anyref_to_raw, (wasmtime_context_t *, const wasmtime_ref_t *)) \
    F(void, wasmtime_anyref_from_i31, (wasmtime_context_t *, uint32_t, wasmtime_ref_t *)) \
    F(bool, wasmtime_anyref_i31_get_s, (wasmtime_context_t *, const wasmtime_ref_t *, int32_t *)) \
    F(bool, wasmtime_anyref_is_struct, (wasmtime_context_t *, const wasmtime_ref_t *)) \
    F(bool, wasmtime_anyref_is_array, (wasmtime_context_t *, const wasmtime_ref_t *)) \
    F(bool, wasmtime_context_take_exception, (wasmtime_context_t *, wasmtime_ref_t *)) \
    F(void, wasmtime_exnref_unroot, (wasmtime_ref_t *))

#define BL_WASMTIME_STATE(F) \
    F(uint8_t *, wasmtime_memory_data, (wasmtime_context_t *, const wasmtime_item_t *)) \
    F(size_t, wasmtime_memory_data_size, (const wasmtime_context_t *, const wasmtime_item_t *)) \
    F(uint64_t, wasmtime_memory_size, (const wasmtime_context_t *, const wasmtime_item_t *)) \
    F(wasmtime_error_t *, wasmtime_memory_grow, (wasmtime_context_t *, const wasmtime_item_t *, uint64_t, uint64_t *)) \
    F(void, wasmtime_global_get, (wasmtime_context_t *, const wasmtime_item_t *, wasmtime_val_t *)) \
    F(wasmtime_error_t *, wasmtime_global_set, (wasmtime_context_t *, const wasmtime_item_t *, const wasmtime_val_t *)) \
    F(bool, wasmtime_table_get, (wasmtime_context_t *, const wasmtime_item_t *, uint64_t, wasmtime_val_t *)) \
    F(wasmtime_error_t *, wasmtime_table_set, (wasmtime_context_t *, const wasmtime_item_t *, uint64_t, const wasmtime_val_t *)) \
    F(uint64_t, wasmtime_table_size, (const wasmtime_context_t *, const wasmtime_item_t *)) \
    F(wasmtime_error_t *, wasmtime_table_grow, (wasmtime_context_t *, const wasmtime_item_t *, uint64_t, const wasmtime_val_t *, \
            uint64_t *)) \
    F(wasmtime_error_t *, wasmtime_error_new, (const char *)) \
    F(void, wasmtime_error_delete, (wasmtime_error_t *)) \
    F(void, wasmtime_error_message, (const wasmtime_error_t *, wasm_byte_vec_t *)) \
    F(wasm_trap_t *, wasmtime_trap_new, (const char *, size_t)) \
    F(bool, wasmtime_trap_code, (const wasm_trap_t *, uint8_t *)) \
    F(void, wasm_trap_message, (const wasm_trap_t *, wasm_byte_vec_t *)) \
    F(void, wasm_trap_trace, (const wasm_trap_t *, wasm_frame_vec_t *)) \
    F(void, wasm_trap_delete, (wasm_trap_t *)) \
    F(void, wasm_frame_vec_delete, (wasm_frame_vec_t *)) \
    F(uint32_t, wasm_frame_func_index, (const wasm_frame_t *)) \
    F(size_t, wasm_frame_module_offset, (const wasm_frame_t *)) \
    F(const wasm_byte_vec_t *, wasmtime_frame_func_name, (const wasm_frame_t *)) \
    F(const wasm_byte_vec_t *, wasmtime_frame_module_name, (const wasm_frame_t *))

#define BL_WASMTIME_FUNCTIONS(F) \
    BL_WASMTIME_CONFIG(F) BL_WASMTIME_MODULE(F) BL_WASMTIME_STORE(F) BL_WASMTIME_CALL(F) BL_WASMTIME_STATE(F)

struct bl_wasmtime {
#define BL_WASMTIME_POINTER(result, name, parameters) result(*name) parameters;
    BL_WASMTIME_FUNCTIONS(BL_WASMTIME_POINTER)
#undef BL_WASMTIME_POINTER
};

/* All zero until bl_wasmtime_load has succeeded, then constant until the process ends. */
BL_API extern struct bl_wasmtime wt;

enum { BL_WASMTIME_OLDEST = 45, BL_WASMTIME_NEWEST = 50 };

struct bl_wasmtime_info {
    char path[512];
    char version[32]; /* "48.0.0"; "unknown": only with any_version */
    int major;        /* 0: unknown */
};

/* Opens the library, once: later calls answer what is loaded. BL_UNSUPPORTED: err->subject is "wasmtime", err->text why.
 * May block (31 MB to read). `any_version` accepts majors outside the range, at the caller's risk. */
BL_API enum bl_status bl_wasmtime_load(const char *path, bool any_version, struct bl_error *err);
/* NULL: not loaded. */
BL_API const struct bl_wasmtime_info *bl_wasmtime_loaded(void);

#endif
