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

#include "bl_sfv.h"

static uint64_t mix(uint64_t a, uint64_t b)
{
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load(const char *from, size_t bytes)
{
    uint64_t word = 0;
    memcpy(&word, from, bytes);
    return word;
}

static uint32_t hash_of(const char *key, size_t len)
{
    uint64_t secret[2] = {UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xbf58476d1ce4e5b9)};
    const void *random = (const void *)getauxval(AT_RANDOM);
    if (random) memcpy(secret, random, sizeof secret);
    uint64_t hash = secret[0] ^ len;
    for (; len > 8; key += 8, len -= 8) hash = mix(hash ^ load(key, 8), secret[1] | 1);
    hash = mix(hash ^ load(key, len), secret[1] | 1);
    return (uint32_t)mix(hash, secret[0] | 1);
}

static void insert(struct bl_sfv_keys *keys, uint32_t hash, uint32_t index)
{
    uint32_t i = hash & keys->mask;
    while (keys->slots[i].index != 0) i = (i + 1) & keys->mask;
    keys->slots[i] = (struct bl_sfv_slot){hash, index + 1};
}

/* An empty table for twice the keys there are, and more for the next reset to keep. */
static bool make_table(struct bl_sfv_keys *keys, const char *text, struct bl_quota *quota, struct bl_error *err)
{
    const uint32_t size = keys->mask == 0 ? 4 * BL_SFV_FEW_KEYS : 2 * (keys->mask + 1), old_size = keys->mask + 1;
    struct bl_sfv_slot *const old = keys->slots;
    const bool had_table = keys->mask != 0;
    if (size > keys->slot_capacity) {
        struct bl_sfv_slot *slots = bl_alloc_array(quota, size, sizeof *slots, err);
        if (!slots) return false;
        keys->slots = slots;
        keys->slot_capacity = size;
    }
    keys->mask = size - 1;
    if (had_table && keys->slots != old) {
        memset(keys->slots, 0, size * sizeof *keys->slots);
        for (uint32_t i = 0; i < old_size; i++)
            if (old[i].index != 0) insert(keys, old[i].hash, old[i].index - 1);
    } else {
        memset(keys->slots, 0, size * sizeof *keys->slots);
        for (uint32_t i = 0; i < keys->count; i++) insert(keys, hash_of(text + keys->all[i].at, keys->all[i].len), i);
    }
    if (keys->slots != old && old) bl_free(old);
    return true;
}

static bool grow(struct bl_sfv_keys *keys, struct bl_quota *quota, struct bl_error *err)
{
    const size_t capacity = 2 * (size_t)keys->capacity;
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
    const uint32_t hash = hash_of(text + at, len);
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
