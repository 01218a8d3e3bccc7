/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_wasm_engine.h"

bool bl_wasm_cache_load(struct bl_wasm_module *module, const char *folder, const char *key) { return (void)module, (void)folder, (void)key, false; }
void bl_wasm_cache_store(const struct bl_wasm_module *module, const char *folder, const char *key) { (void)module, (void)folder, (void)key; }
