/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets of more keys than are worth comparing one by one: open addressing over the hashes.
 *
 *     slots   some bits of the hash | index + 1   one of `mask + 1`, a power of two, at most half of them used
 *     all     [ at | len | value | hash ]         the keys in the order in which they came
 *
 * A slot's lower bits, those of the mask, are the index + 1 (0: empty); the upper ones are the hash's.
 *
 * Whoever sends the keys must not be able to choose keys that collide, so the hash has a secret
 * key: the 16 random bytes that the kernel gives each process (AT_RANDOM). That needs no state.
 */
#include <sys/auxv.h>

#include "bl_load.h"
#include "bl_sfv.h"

enum { EXPECTED_MOST = 1 << 20 }; /* a guess may be wrong: more are made room for when they have come */

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

static inline uint32_t hash_of(const struct bl_sfv_keys *keys, const char *key, size_t len)
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

/* How many keys there will be if they go on as they began. */
static uint32_t expected(const struct bl_sfv_keys *keys)
{
    const struct bl_sfv_key *const first = &keys->all[0], *const last = &keys->all[keys->count - 1];
    const uint64_t text = (uint64_t)last->at + last->len - first->at;
    if (keys->mask != 0 || text == 0 || keys->expected < first->at) return 0;
    const uint64_t count = (uint64_t)(keys->expected - first->at) * keys->count / text;
    return count < EXPECTED_MOST ? (uint32_t)count : EXPECTED_MOST;
}

/* Memory for a table of `size` slots and for the keys of which it is then half full. */
static bool grow(struct bl_sfv_keys *keys, uint32_t size, struct bl_quota *quota, struct bl_error *err)
{
    struct bl_sfv_key *const old = keys->all == keys->few ? NULL : keys->all;
    struct bl_sfv_key *all = bl_realloc(quota, old, size / 2 * sizeof *all, err);
    if (!all) return false;
    if (!old) memcpy(all, keys->few, sizeof keys->few);
    keys->all = all;
    uint32_t *slots = bl_alloc_array(quota, size, sizeof *slots, err);
    if (!slots) return false;
    if (keys->slots) bl_free(keys->slots);
    keys->slots = slots;
    keys->slot_capacity = size;
    return true;
}

static inline uint32_t slot_of(const struct bl_sfv_keys *keys, uint32_t hash, uint32_t index) { return (hash & ~keys->mask) | (index + 1); }

static void fill(struct bl_sfv_keys *keys)
{
    memset(keys->slots, 0, ((size_t)keys->mask + 1) * sizeof *keys->slots);
    for (uint32_t k = 0; k < keys->count; k++) {
        const uint32_t hash = keys->all[k].hash;
        uint32_t i = hash & keys->mask;
        while (keys->slots[i] != 0) i = (i + 1) & keys->mask;
        keys->slots[i] = slot_of(keys, hash, k);
    }
}

/* The first table, or one twice as large. Memory of a set that was reset is used again. */
static bool make_table(struct bl_sfv_keys *keys, const char *text, struct bl_quota *quota, struct bl_error *err)
{
    const uint32_t wanted = expected(keys);
    uint32_t size = keys->mask ? 2 * (keys->mask + 1) : 4 * BL_SFV_FEW_KEYS;
    while (size / 2 <= wanted) size *= 2;
    if (size > keys->slot_capacity && !grow(keys, size, quota, err)) return false;
    if (keys->mask == 0) {
        take_secret(keys);
        for (uint32_t i = 0; i < keys->count; i++) keys->all[i].hash = hash_of(keys, text + keys->all[i].at, keys->all[i].len);
    }
    keys->mask = size - 1;
    keys->capacity = size / 2;
    fill(keys);
    return true;
}

static __attribute__((noinline)) struct bl_sfv_key *put_after_growth(struct bl_sfv_keys *keys, const char *text, uint32_t at, uint32_t len,
                                                                     bool *is_new, struct bl_quota *quota, struct bl_error *err)
{
    return make_table(keys, text, quota, err) ? bl_sfv_keys_many(keys, text, at, len, is_new, quota, err) : NULL;
}

static inline struct bl_sfv_key *add(struct bl_sfv_keys *keys, uint32_t i, uint32_t hash, uint32_t at, uint32_t len)
{
    keys->slots[i] = slot_of(keys, hash, keys->count);
    struct bl_sfv_key *key = &keys->all[keys->count++];
    key->at = at;
    key->len = len;
    key->hash = hash;
    return key;
}

/* From a slot in use on. */
static __attribute__((noinline)) struct bl_sfv_key *find_or_add(struct bl_sfv_keys *keys, uint32_t hash, const char *text, uint32_t at,
                                                                uint32_t len, bool *is_new)
{
    uint32_t i = hash & keys->mask;
    for (uint32_t slot; (slot = keys->slots[i]) != 0; i = (i + 1) & keys->mask) {
        if (((slot ^ hash) & ~keys->mask) != 0) continue;
        struct bl_sfv_key *key = &keys->all[(slot & keys->mask) - 1];
        if (key->len != len || memcmp(text + key->at, text + at, len) != 0) continue;
        *is_new = false;
        return key;
    }
    return add(keys, i, hash, at, len);
}

/* Mostly a new key whose slot is free: the rest is elsewhere, so that this needs no stack. */
struct bl_sfv_key *bl_sfv_keys_many(struct bl_sfv_keys *keys, const char *text, uint32_t at, uint32_t len, bool *is_new,
                                    struct bl_quota *quota, struct bl_error *err)
{
    if (keys->count == keys->capacity) return put_after_growth(keys, text, at, len, is_new, quota, err);
    const uint32_t hash = hash_of(keys, text + at, len), i = hash & keys->mask;
    *is_new = true;
    return keys->slots[i] == 0 ? add(keys, i, hash, at, len) : find_or_add(keys, hash, text, at, len, is_new);
}
