/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the part: classes of characters, sets of keys, and the loops that exist twice, for any
 * CPU and for AVX2 (bl_sfv_parse.inc).
 */
#ifndef BL_SFV_PRIVATE_H
#define BL_SFV_PRIVATE_H

#include <string.h>

#include "beamline/sfv.h"
#include "bl_load.h"

/* Also for what is only declared here: tables are then read without a detour. */
#pragma GCC visibility push(hidden)

/* ---- classes of characters -------------------------------------------------- */

/* What a byte may be, as bits of bl_sfv_classes[byte]. */
enum {
    C_KEY = 1,       /* in a key */
    C_KEY_RELAXED = 2,
    C_TOKEN = 4,
    C_BASE64 = 8,    /* without the padding */
    C_PLAIN = 16,    /* in a string or display string, standing for itself */
    C_DIGIT = 32,
    C_KEY_FIRST = 64,
    C_TOKEN_FIRST = 128,
};
extern const uint8_t bl_sfv_classes[256];

static inline bool bl_sfv_is(char c, unsigned mask) { return (bl_sfv_classes[(uint8_t)c] & mask) != 0; }

/* A class for vectors: c is in it when bit (c >> 4) of byte (c & 15) is set. ASCII only. The C
 * tests compare them with bl_sfv_classes. */
enum { V_KEY, V_KEY_RELAXED, V_TOKEN, V_BASE64, V_PLAIN, V_COUNT };
extern const uint8_t bl_sfv_vectors[V_COUNT][16];

/* ---- sets of keys ------------------------------------------------------------ */

/* Keys are parts of one text that may move, so they are kept as offsets. */
struct bl_sfv_key {
    uint32_t at, len;
    uint32_t value; /* the owner's: an index of a node */
    uint32_t hash;  /* once there is a table */
};
enum { BL_SFV_FEW_KEYS = 16 };
struct bl_sfv_keys {
    uint32_t count, capacity;     /* there is always room up to capacity */
    uint32_t mask, slot_capacity; /* mask 0: no table, the keys are compared one by one */
    uint32_t expected;            /* bytes of text: the keys' table is made for as many as these may hold */
    struct bl_sfv_key *all;       /* few, or on the heap */
    uint32_t *slots;
    uint64_t secret[2]; /* of the hash; taken with the first table */
    struct bl_sfv_key few[BL_SFV_FEW_KEYS];
};

static inline void bl_sfv_keys_reset(struct bl_sfv_keys *keys)
{
    keys->count = keys->mask = 0;
    keys->capacity = BL_SFV_FEW_KEYS;
}
static inline void bl_sfv_keys_init(struct bl_sfv_keys *keys)
{
    keys->slot_capacity = keys->expected = 0;
    bl_sfv_keys_reset(keys);
    keys->all = keys->few;
    keys->slots = NULL;
}
static inline void bl_sfv_keys_clear(struct bl_sfv_keys *keys)
{
    if (keys->all != keys->few) bl_free(keys->all);
    if (keys->slots) bl_free(keys->slots);
}

/* The key at text[at .. at + len) in the set, which it joins if it is new (*is_new). NULL: no memory. */
BL_API struct bl_sfv_key *bl_sfv_keys_many(struct bl_sfv_keys *keys, const char *text, uint32_t at, uint32_t len, bool *is_new,
                                    struct bl_quota *quota, struct bl_error *err);

static inline struct bl_sfv_key *bl_sfv_keys_put(struct bl_sfv_keys *keys, const char *text, uint32_t at, uint32_t len,
                                                 bool *is_new, struct bl_quota *quota, struct bl_error *err)
{
    if (keys->count >= BL_SFV_FEW_KEYS) return bl_sfv_keys_many(keys, text, at, len, is_new, quota, err);
    for (uint32_t i = 0; i < keys->count; i++) {
        struct bl_sfv_key *key = &keys->all[i];
        if (key->len != len || text[key->at] != text[at] || memcmp(text + key->at, text + at, len) != 0) continue;
        *is_new = false;
        return key;
    }
    struct bl_sfv_key *key = &keys->all[keys->count++];
    *key = (struct bl_sfv_key){.at = at, .len = len};
    *is_new = true;
    return key;
}

/* ---- the parser's loops ------------------------------------------------------- */

/* Key, INNER, INNER_END without anything between them, and the last END. */
enum { BL_SFV_MARGIN = 4 };

struct bl_sfv_parse {
    const char *begin, *end;
    struct bl_sfv_node *nodes, *next, *limit; /* up to limit there is room for BL_SFV_MARGIN nodes */
    struct bl_sfv_node *room;                 /* the field's own */
    size_t members, params;                   /* so far, of what is being read */
    bool repeated;                            /* a dictionary's key occurred again */
    const struct bl_sfv_options *options;
    struct bl_sfv_keys *member_keys; /* of a dictionary; a key's value: the node of its last KEY */
    struct bl_sfv_keys *param_keys;  /* of one item with many parameters; a key's value: its node */
    bool many_params;                /* param_keys was needed, and has been initialised */
    unsigned key_class, key_vector, key_first;
    /* The failure: a place and what was expected, or a status that *err describes. */
    const char *failed_at, *expected;
    enum bl_status status;
    struct bl_error *err;
};

/* From begin to the end of the field, white space included; nodes without the last END. The
 * same code compiled twice. BL_OK, or the failure as above (BL_SYNTAX: *err is not filled). */
enum bl_status bl_sfv_parse_portable(struct bl_sfv_parse *s, enum bl_sfv_kind kind);
enum bl_status bl_sfv_parse_avx2(struct bl_sfv_parse *s, enum bl_sfv_kind kind);
bool bl_sfv_have_avx2(void);

/* Twice the room for nodes, or more, when next is above limit. */
bool bl_sfv_parse_grow(struct bl_sfv_parse *s);
bool bl_sfv_parse_limit(struct bl_sfv_parse *s, const char *what, size_t limit);

/* ---- text --------------------------------------------------------------------- */

/* The first byte that does not belong to well-formed UTF-8, or NULL. */
const uint8_t *bl_sfv_utf8_invalid(const uint8_t *text, size_t len);

/* How many characters there are before the padding. */
size_t bl_sfv_base64_unpadded(const char *text, size_t len);
/* Valid characters without padding; 3 bytes for each 4, 1 or 2 for a rest of 2 or 3. */
void bl_sfv_base64_decode(const char *text, size_t len, uint8_t *out);
/* The same for as many groups of four as vectors can take without writing behind the last byte
 * of all; returns how many characters that were. Only where bl_sfv_have_avx2(). */
size_t bl_sfv_base64_avx2(const char *text, size_t len, uint8_t *out);
void bl_sfv_base64_encode(const uint8_t *bytes, size_t len, char *out); /* 4 * ceil(len / 3) characters */
extern const int8_t bl_sfv_base64_value[256];                          /* -1: not in the alphabet */

/* How many of the next eight characters are digits before the first that is none, and their number:
 * each step joins neighbours, digits to pairs, pairs to fours, fours to eight. */
static inline unsigned bl_sfv_digits_8(uint64_t characters, uint64_t *number)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    characters = __builtin_bswap64(characters);
#endif
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t v = characters ^ ones * '0'; /* a digit's value; what is none has a bit above nine, here or after the sum */
    const uint64_t others = (v | (v + ones * (0x7f - 9))) & ones << 7;
    const unsigned count = others ? (unsigned)__builtin_ctzll(others) / 8 : 8;
    if (count == 0) return 0;
    v <<= 64 - 8 * count; /* zeros in front */
    v = v * 10 + (v >> 8);
    v = (v & UINT64_C(0x00ff00ff00ff00ff)) * (1 + (UINT64_C(100) << 16)) >> 16;
    v = (v & UINT64_C(0x0000ffff0000ffff)) * (1 + (UINT64_C(10000) << 32)) >> 32;
    *number = v;
    return count;
}

/* -1: not a lower-case hexadecimal digit. */
static inline int bl_sfv_hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#pragma GCC visibility pop

#endif
