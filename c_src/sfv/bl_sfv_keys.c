/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets of more keys than are worth comparing one by one: open addressing over the hashes.
 *
 *     slots   [ hash | index + 1 ]  one of `mask + 1`, a power of two, at most half of them used
 *     all     [ at | len | value ]  the keys in the order in which they came
 *
 * Whoever sends the keys must not be able to choose keys that collide, so the hash has a secret
 * key: the 16 random bytes that the kernel gives each process (AT_RANDOM). That needs no state.
 */
#include <sys/auxv.h>

#include "bl_load.h"
#include "bl_sfv.h"

static uint64_t mix(uint64_t a, uint64_t b)
{
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Up to eight bytes; together with the length no two are alike. */
static inline uint64_t load_up_to_8(const char *from, size_t bytes)
{
    if (bytes == 8) return bl_load64(from);
    if (bytes >= 4) return bl_load32(from) << 32 | bl_load32(from + bytes - 4);
    if (bytes == 0) return 0;
    return (uint64_t)(uint8_t)from[0] << 16 | (uint64_t)(uint8_t)from[bytes / 2] << 8 | (uint8_t)from[bytes - 1];
}

static uint32_t hash_of(const struct bl_sfv_keys *keys, const char *key, size_t len)
{
    uint64_t hash = keys->secret[0] ^ len;
    for (; len > 8; key += 8, len -= 8) hash = mix(hash ^ bl_load64(key), keys->secret[1]);
    hash = mix(hash ^ load_up_to_8(key, len), keys->secret[1]);
    return (uint32_t)(hash ^ hash >> 32);
}

static void take_secret(struct bl_sfv_keys *keys)
{
    const void *random = (const void *)getauxval(AT_RANDOM);
    keys->secret[0] = UINT64_C(0x9e3779b97f4a7c15);
    keys->secret[1] = UINT64_C(0xbf58476d1ce4e5b9);
    if (random) memcpy(keys->secret, random, sizeof keys->secret);
    keys->secret[1] |= 1;
}

static void insert(struct bl_sfv_keys *keys, uint32_t hash, uint32_t index)
{
    uint32_t i = hash & keys->mask;
    while (keys->slots[i].index != 0) i = (i + 1) & keys->mask;
    keys->slots[i] = (struct bl_sfv_slot){hash, index + 1};
}

/* How many keys there will be if they go on as they began. */
static uint32_t expected(const struct bl_sfv_keys *keys)
{
    const struct bl_sfv_key *const first = &keys->all[0], *const last = &keys->all[keys->count - 1];
    const uint64_t text = (uint64_t)last->at + last->len - first->at;
    if (keys->mask != 0 || text == 0 || keys->expected < first->at) return 0;
    return (uint32_t)((uint64_t)(keys->expected - first->at) * keys->count / text);
}

static void fill(struct bl_sfv_keys *keys, const char *text, const struct bl_sfv_slot *old, uint32_t old_size)
{
    memset(keys->slots, 0, ((size_t)keys->mask + 1) * sizeof *keys->slots);
    if (old) {
        for (uint32_t i = 0; i < old_size; i++)
            if (old[i].index != 0) insert(keys, old[i].hash, old[i].index - 1);
    } else {
        for (uint32_t i = 0; i < keys->count; i++) insert(keys, hash_of(keys, text + keys->all[i].at, keys->all[i].len), i);
    }
}

/* The first table, or one twice as large. Memory of a set that was reset is used again. */
static bool make_table(struct bl_sfv_keys *keys, const char *text, struct bl_quota *quota, struct bl_error *err)
{
    struct bl_sfv_slot *const old = keys->slots;
    const uint32_t old_size = keys->mask ? keys->mask + 1 : 0, wanted = expected(keys);
    uint32_t size = old_size ? 2 * old_size : 4 * BL_SFV_FEW_KEYS;
    while (size / 2 <= wanted) size *= 2;
    if (!old) take_secret(keys);
    if (size > keys->slot_capacity) {
        struct bl_sfv_slot *slots = bl_alloc_array(quota, size, sizeof *slots, err);
        if (!slots) return false;
        keys->slots = slots;
        keys->slot_capacity = size;
    }
    keys->mask = size - 1;
    fill(keys, text, old_size && keys->slots != old ? old : NULL, old_size);
    if (keys->slots != old) bl_free(old);
    return true;
}

static bool grow(struct bl_sfv_keys *keys, struct bl_quota *quota, struct bl_error *err)
{
    const size_t twice = 2 * (size_t)keys->capacity, fitting = ((size_t)keys->mask + 1) / 2;
    const size_t capacity = twice > fitting ? twice : fitting;
    struct bl_sfv_key *const old = keys->all == keys->few ? NULL : keys->all;
    struct bl_sfv_key *all = bl_realloc(quota, old, capacity * sizeof *all, err);
    if (!all) return false;
    if (!old) memcpy(all, keys->few, sizeof keys->few);
    keys->all = all;
    keys->capacity = (uint32_t)capacity;
    return true;
}

struct bl_sfv_key *bl_sfv_keys_many(struct bl_sfv_keys *keys, const char *text, uint32_t at, uint32_t len, bool *is_new,
                                    struct bl_quota *quota, struct bl_error *err)
{
    if (2 * (keys->count + 1) > keys->mask && !make_table(keys, text, quota, err)) return NULL;
    const uint32_t hash = hash_of(keys, text + at, len);
    for (uint32_t i = hash & keys->mask; keys->slots[i].index != 0; i = (i + 1) & keys->mask) {
        struct bl_sfv_key *key = &keys->all[keys->slots[i].index - 1];
        if (keys->slots[i].hash != hash || key->len != len || memcmp(text + key->at, text + at, len) != 0) continue;
        *is_new = false;
        return key;
    }
    if (keys->count == keys->capacity && !grow(keys, quota, err)) return NULL;
    insert(keys, hash, keys->count);
    struct bl_sfv_key *key = &keys->all[keys->count++];
    *key = (struct bl_sfv_key){.at = at, .len = len};
    *is_new = true;
    return key;
}
