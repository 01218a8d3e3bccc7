/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads what must be known about a module before and beside the library: its types, imports and exports, which exported
 * functions are short, and where sections lie. Nothing is validated that the library validates; every bound is checked.
 */
#ifndef BL_WASM_BINARY_H
#define BL_WASM_BINARY_H

#include "bl_wasmtime.h"

enum bl_wasm_heap {
    BL_HEAP_FUNC, BL_HEAP_NOFUNC, BL_HEAP_EXTERN, BL_HEAP_NOEXTERN, BL_HEAP_ANY, BL_HEAP_EQ, BL_HEAP_I31, BL_HEAP_STRUCT, BL_HEAP_ARRAY,
    BL_HEAP_NONE, BL_HEAP_EXN, BL_HEAP_NOEXN,
    BL_HEAP_CONCRETE /* a type of the module, `index` */
};

struct bl_wasm_type {
    uint8_t kind; /* WASMTIME_I32 ... WASMTIME_EXNREF: how values of it are kept */
    uint8_t heap; /* of a reference */
    bool nullable;
    uint32_t index;
};

/* Of a function. One block with its types behind it. */
struct bl_wasm_signature {
    uint32_t params, results;
    struct bl_wasm_type types[]; /* the parameters, then the results */
};

struct bl_wasm_limits { /* of a memory (pages) or a table (elements) */
    uint64_t min, max;
    bool bounded, is64, shared;
    uint8_t page_log2;
    struct bl_wasm_type element; /* of a table */
};

struct bl_wasm_global {
    struct bl_wasm_type type;
    bool mutable;
};

/* An import or an export. */
struct bl_wasm_name {
    size_t module, module_len; /* offsets into names; an import's */
    size_t name, name_len;
    uint8_t kind; /* WASMTIME_FUNC ... WASMTIME_TAG */
    uint32_t index; /* in the index space of its kind */
    bool is_short;  /* an exported function may run without a fiber */
};

struct bl_wasm_span {
    size_t begin, end; /* of a whole section, its header too; both 0: not there */
};

struct bl_wasm_binary {
    struct bl_wasm_signature **types; /* NULL: no function type */
    size_t type_count;
    uint32_t *functions; /* type of each, imported ones first; so below */
    size_t function_count, imported_functions;
    struct bl_wasm_limits *tables, *memories;
    size_t table_count, memory_count;
    struct bl_wasm_global *globals;
    size_t global_count;
    uint32_t *tags;
    size_t tag_count;
    struct bl_wasm_name *imports, *exports;
    size_t import_count, export_count;
    char *names;
    size_t names_len;
    bool has_start, has_bulk;
    bool has_arrays; /* types of them: a constant expression may make a large one */
    uint32_t start;
    size_t value_count; /* the largest number of parameters or results of a function type, at least 1 */
    size_t code_begin;  /* of the code section; 0: none */
    struct bl_wasm_span export_section, start_section;
};

/* BL_SYNTAX with an offset, BL_UNSUPPORTED for what this reader does not know, BL_NO_MEMORY. Memory is in proportion to len. */
BL_API enum bl_status bl_wasm_binary_read(struct bl_wasm_binary *binary, const uint8_t *bytes, size_t len, struct bl_error *err);
BL_API void bl_wasm_binary_clear(struct bl_wasm_binary *binary);

/* How many imports are of that kind (WASMTIME_*): what the module defines itself has the indices from there on. */
BL_API size_t bl_wasm_binary_imported(const struct bl_wasm_binary *binary, uint8_t kind);
/* The type of a function by its index; NULL if there is none. */
BL_API const struct bl_wasm_signature *bl_wasm_binary_signature(const struct bl_wasm_binary *binary, uint32_t function);

/* One more export of what is there: as if the module had it. */
BL_API enum bl_status bl_wasm_binary_add_export(struct bl_wasm_binary *binary, const char *name, uint8_t kind, uint32_t index,
    struct bl_error *err);

/* One more export. */
struct bl_wasm_extra {
    char name[40];
    uint8_t kind;
    uint32_t index;
};

/* The module without its start section and with further exports; the code in it begins *moved bytes later. To be freed by bl_free. */
BL_API enum bl_status bl_wasm_binary_rewrite(const struct bl_wasm_binary *binary, const uint8_t *bytes, size_t len,
                                             const struct bl_wasm_extra *extras, size_t count, uint8_t **out, size_t *out_len,
                                             int64_t *moved, struct bl_error *err);

/* ---- for the reader's own files ---- */

struct bl_wasm_cursor {
    const uint8_t *begin, *at, *end;
    bool bad; /* read behind the end, or a number too long; `at` stays where it was */
};

uint8_t bl_wasm_u8(struct bl_wasm_cursor *c);
uint64_t bl_wasm_leb(struct bl_wasm_cursor *c, unsigned bits); /* unsigned LEB128 */
void bl_wasm_skip_leb(struct bl_wasm_cursor *c);               /* of any signedness */
void bl_wasm_skip(struct bl_wasm_cursor *c, size_t bytes);

/* Whether a function is short (bl_wasm_short.c); bodies[i]: of the i-th function that is not imported. */
struct bl_wasm_bodies {
    const uint8_t **begin; /* [count + 1]; a body ends where the next begins, size field and all */
    size_t count;
};
void bl_wasm_mark_short(struct bl_wasm_binary *binary, const struct bl_wasm_bodies *bodies, struct bl_error *err);

#endif
