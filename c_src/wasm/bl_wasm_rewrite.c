/* SPDX-License-Identifier: Apache-2.0
 *
 * Section editing: the code stays as it is. A start function becomes an ordinary call that the instance makes first:
 * then it has slices, a deadline and imports like any other call.
 */
#include <string.h>

#include "bl_wasm_binary.h"

enum { LEB_BYTES = 5 };

static size_t put_leb(uint8_t *at, uint64_t value)
{
    size_t n = 0;
    do {
        at[n] = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        n++;
        value >>= 7;
    } while (value > 0);
    return n;
}

static uint8_t *put_entry(uint8_t *at, const struct bl_wasm_extra *extra)
{
    static const uint8_t codes[6] = {[WASMTIME_FUNC] = 0, [WASMTIME_TABLE] = 1, [WASMTIME_MEMORY] = 2, [WASMTIME_GLOBAL] = 3,
        [WASMTIME_TAG] = 4};
    const size_t len = strlen(extra->name);
    at += put_leb(at, len);
    memcpy(at, extra->name, len);
    at += len;
    *at++ = codes[extra->kind];
    return at + put_leb(at, extra->index);
}

/* The entries of the export section as they are: behind its header and its count. */
static struct bl_wasm_cursor old_entries(const struct bl_wasm_binary *b, const uint8_t *bytes, size_t *count)
{
    *count = 0;
    struct bl_wasm_cursor c = {bytes, bytes + b->export_section.begin, bytes + b->export_section.end, false};
    if (b->export_section.end == 0) return c;
    bl_wasm_u8(&c);
    bl_wasm_skip_leb(&c);
    *count = (size_t)bl_wasm_leb(&c, 35);
    return c;
}

/* Returns how many bytes were written. */
static size_t put_exports(uint8_t *out, size_t own, struct bl_wasm_cursor old, const struct bl_wasm_extra *extras, size_t count,
    uint8_t *body)
{
    const size_t kept = (size_t)(old.end - old.at);
    uint8_t *at = body + put_leb(body, own + count);
    if (kept > 0) memcpy(at, old.at, kept);
    at += kept;
    for (size_t i = 0; i < count; i++) at = put_entry(at, &extras[i]);
    const size_t size = (size_t)(at - body);
    out[0] = 7;
    const size_t head = 1 + put_leb(out + 1, size);
    memcpy(out + head, body, size);
    return head + size;
}

/* Where a new export section goes if there is none: before the first section that comes after it. */
static size_t place_of_exports(const uint8_t *bytes, size_t len)
{
    struct bl_wasm_cursor c = {bytes, bytes + 8, bytes + len, false};
    while (c.at < c.end) {
        const size_t begin = (size_t)(c.at - bytes);
        const uint8_t id = bl_wasm_u8(&c);
        if (id >= 8 && id <= 12) return begin;
        bl_wasm_skip(&c, (size_t)bl_wasm_leb(&c, 35));
        if (c.bad) break;
    }
    return len;
}

enum bl_status bl_wasm_binary_rewrite(const struct bl_wasm_binary *b, const uint8_t *bytes, size_t len, const struct bl_wasm_extra *extras,
                                      size_t count, uint8_t **out, size_t *out_len, int64_t *moved, struct bl_error *err)
{
    size_t room = 0, most;
    for (size_t i = 0; i < count; i++) room += strlen(extras[i].name) + 2 * LEB_BYTES + 1;
    room += 3 * LEB_BYTES + 1;
    if (!bl_add_size(len, room, &most)) return bl_fail(err, BL_NO_MEMORY);
    uint8_t *new = bl_alloc(NULL, most, err), *body = bl_alloc(NULL, most, err);
    if (!new || !body) {
        bl_free(new);
        bl_free(body);
        return BL_NO_MEMORY;
    }
    const bool has = b->export_section.end > 0;
    const size_t place = has ? b->export_section.begin : place_of_exports(bytes, len);
    size_t from = 0, to = 0;
    /* What lies before, the exports, what follows; the start section is left out wherever it is. */
    memcpy(new, bytes, place);
    to = from = place;
    size_t own;
    const struct bl_wasm_cursor old = old_entries(b, bytes, &own);
    to += put_exports(new + to, own, old, extras, count, body);
    if (has) from = b->export_section.end;
    if (b->start_section.end > from) {
        memcpy(new + to, bytes + from, b->start_section.begin - from);
        to += b->start_section.begin - from;
        from = b->start_section.end;
    }
    memcpy(new + to, bytes + from, len - from);
    to += len - from;
    bl_free(body);
    *out = new;
    *out_len = to;
    *moved = (int64_t)to - (int64_t)len;
    return BL_OK;
}

enum bl_status bl_wasm_binary_add_export(struct bl_wasm_binary *b, const char *name, uint8_t kind, uint32_t index, struct bl_error *err)
{
    const size_t len = strlen(name);
    struct bl_wasm_name *exports = bl_realloc(NULL, b->exports, (b->export_count + 1) * sizeof *exports, err);
    if (!exports) return BL_NO_MEMORY;
    b->exports = exports;
    char *names = bl_realloc(NULL, b->names, b->names_len + len, err);
    if (!names) return BL_NO_MEMORY;
    b->names = names;
    memcpy(names + b->names_len, name, len);
    exports[b->export_count++] = (struct bl_wasm_name){.name = b->names_len, .name_len = len, .kind = kind, .index = index};
    b->names_len += len;
    return BL_OK;
}
