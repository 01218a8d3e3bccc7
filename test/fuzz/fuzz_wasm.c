/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a module: our own reader, what it says of functions, and what it makes of the module.
 */
#include "wasm/bl_wasm_binary.h"
#include "bl_fuzz.h"

static void check_names(const struct bl_wasm_binary *b)
{
    for (size_t i = 0; i < b->export_count; i++) {
        const struct bl_wasm_name *n = &b->exports[i];
        FUZZ_CHECK(n->name_len <= b->names_len && n->name <= b->names_len - n->name_len);
        if (n->kind == WASMTIME_FUNC) FUZZ_CHECK(bl_wasm_binary_signature(b, n->index) != NULL);
        FUZZ_CHECK(!n->is_short || n->kind == WASMTIME_FUNC);
    }
    for (size_t i = 0; i < b->import_count; i++) FUZZ_CHECK(b->imports[i].module_len <= b->names_len);
}

static void check_rewriting(const struct bl_wasm_binary *b, const uint8_t *bytes, size_t len)
{
    const struct bl_wasm_extra extra = {"\1extra", WASMTIME_FUNC, 0};
    struct bl_wasm_binary again;
    uint8_t *out;
    size_t out_len;
    int64_t moved;
    FUZZ_CHECK(bl_wasm_binary_rewrite(b, bytes, len, &extra, 1, &out, &out_len, &moved, NULL) == BL_OK);
    if (b->function_count > 0 && bl_wasm_binary_read(&again, out, out_len, NULL) == BL_OK) {
        FUZZ_CHECK(!again.has_start && again.export_count == b->export_count + 1);
        bl_wasm_binary_clear(&again);
    }
    bl_free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_wasm_binary b;
    struct bl_error err = {0};
    uint8_t *bytes = bl_fuzz_copy(data, size);
    const enum bl_status status = bl_wasm_binary_read(&b, bytes, size, &err);
    if (status == BL_OK) {
        check_names(&b);
        check_rewriting(&b, bytes, size);
        bl_wasm_binary_clear(&b);
    } else {
        FUZZ_CHECK(status == BL_SYNTAX || status == BL_UNSUPPORTED);
        FUZZ_CHECK(err.status == status && (status != BL_SYNTAX || err.offset <= size));
    }
    free(bytes);
    return 0;
}
