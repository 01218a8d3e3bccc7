/* SPDX-License-Identifier: Apache-2.0
 *
 * kv: a table of short keys and values, open addressing in cells of 64 bytes. The state is nothing but cells, and zeroes where no
 * whole one fits any more.
 *
 *     cell      0 used (0 never, 1 now, 2 was)   1 key bytes   2 value bytes   3.. key, value
 *
 *     put (0)    <<KeyBytes, Key, Value>>  ->  <<0>> new, <<1>> replaced       at most 61 bytes of key and value
 *     get (1)    Key                       ->  <<1, Value>>, <<0>> not there
 *     delete (2) Key                       ->  <<1>> it was there, <<0>>
 *     count (3)                            ->  64-bit little-endian
 *
 * One lane does it all: the chain of cells is a chain.
 */
#include "beamline/ring_handler.h"

#define KV_CELL 64
#define KV_ROOM 61

BL_RING_INNER uint64_t kv_hash(const uint8_t *key, uint64_t size)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (uint64_t i = 0; i < size; i++) h = (h ^ key[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 32;
}

BL_RING_INNER int kv_same(const uint8_t *cell, const uint8_t *key, uint64_t size)
{
    if (cell[0] != 1 || cell[1] != size) return 0;
    for (uint64_t i = 0; i < size; i++)
        if (cell[3 + i] != key[i]) return 0;
    return 1;
}

/* The key's cell, or NULL; *room is the first cell where it could go, or NULL. */
BL_RING_INNER uint8_t *kv_find(uint8_t *cells, uint64_t count, const uint8_t *key, uint64_t size, uint8_t **room)
{
    *room = 0;
    const uint64_t first = kv_hash(key, size) % count;
    for (uint64_t i = 0; i < count; i++) {
        uint8_t *cell = cells + (first + i) % count * KV_CELL;
        if (kv_same(cell, key, size)) return cell;
        if (cell[0] != 1 && !*room) *room = cell;
        if (cell[0] == 0) return 0;
    }
    return 0;
}

BL_RING_INNER int32_t kv_put(uint8_t *cells, uint64_t count, const uint8_t *data, uint64_t size, struct bl_ring_outbox *out)
{
    if (size < 1 || data[0] > size - 1 || size - 1 > KV_ROOM) return BL_RING_INVALID;
    uint8_t *room;
    uint8_t *cell = kv_find(cells, count, data + 1, data[0], &room);
    uint8_t *reply = bl_ring_reply_space(out, 1);
    reply[0] = cell != 0;
    if (!cell) cell = room;
    if (!cell) return BL_RING_LIMIT;
    cell[0] = 1;
    cell[1] = data[0];
    cell[2] = (uint8_t)(size - 1 - data[0]);
    for (uint64_t i = 0; i < size - 1; i++) cell[3 + i] = data[1 + i];
    return BL_RING_OK;
}

BL_RING_INNER int32_t kv_get(uint8_t *cells, uint64_t count, const uint8_t *key, uint64_t size, struct bl_ring_outbox *out)
{
    uint8_t *room;
    const uint8_t *cell = kv_find(cells, count, key, size, &room);
    const uint64_t bytes = cell ? cell[2] : 0;
    uint8_t *reply = bl_ring_reply_space(out, 1 + bytes);
    if (!reply) return BL_RING_NO_MEMORY;
    reply[0] = cell != 0;
    for (uint64_t i = 0; i < bytes; i++) reply[1 + i] = cell[3 + cell[1] + i];
    return BL_RING_OK;
}

BL_RING_INNER int32_t kv_delete(uint8_t *cells, uint64_t count, const uint8_t *key, uint64_t size, struct bl_ring_outbox *out)
{
    uint8_t *room;
    uint8_t *cell = kv_find(cells, count, key, size, &room);
    bl_ring_reply_space(out, 1)[0] = cell != 0;
    if (cell) cell[0] = 2;
    return BL_RING_OK;
}

BL_RING_INNER int32_t kv_count(const uint8_t *cells, uint64_t count, struct bl_ring_outbox *out)
{
    uint64_t used = 0;
    for (uint64_t i = 0; i < count; i++) used += cells[i * KV_CELL] == 1;
    uint8_t *reply = bl_ring_reply_space(out, 8);
    for (int i = 0; i < 8; i++) reply[i] = (uint8_t)(used >> 8 * i);
    return BL_RING_OK;
}

BL_RING_HANDLER(bl_ring_kv)
{
    uint8_t *cells = (uint8_t *)state;
    const uint8_t *data = (const uint8_t *)message->data;
    const uint64_t count = state_size / KV_CELL;
    if (lane != 0) return BL_RING_OK;
    switch (message->function) {
    case 0: return kv_put(cells, count, data, message->size, out);
    case 1: return kv_get(cells, count, data, message->size, out);
    case 2: return kv_delete(cells, count, data, message->size, out);
    case 3: return kv_count(cells, count, out);
    default: return BL_RING_UNSUPPORTED;
    }
}

#ifndef __CUDACC__
int32_t bl_ring_kv_check(const void *state, uint64_t state_size);
int32_t bl_ring_kv_check(const void *state, uint64_t state_size)
{
    const uint8_t *cell = (const uint8_t *)state;
    const uint64_t cells = state_size - state_size % KV_CELL;
    for (uint64_t i = 0; i < cells; i += KV_CELL)
        if (cell[i] > 2 || (uint64_t)cell[i + 1] + cell[i + 2] > KV_ROOM) return BL_RING_INVALID;
    for (uint64_t i = cells; i < state_size; i++)
        if (cell[i] != 0) return BL_RING_INVALID;
    return BL_RING_OK;
}
#endif
