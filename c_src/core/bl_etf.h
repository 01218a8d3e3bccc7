/* SPDX-License-Identifier: Apache-2.0
 *
 * The external term format as its reader and its writer share it: tags and big-endian
 * numbers. Names as in erts, "External Term Format".
 */
#ifndef BL_ETF_H
#define BL_ETF_H

#include <stdint.h>

enum {
    ETF_VERSION = 131,
    ETF_NEW_FLOAT = 70,
    ETF_BIT_BINARY = 77,
    ETF_COMPRESSED = 80,
    ETF_NEW_PID = 88,
    ETF_NEW_PORT = 89,
    ETF_NEWER_REFERENCE = 90,
    ETF_SMALL_INTEGER = 97,
    ETF_INTEGER = 98,
    ETF_FLOAT = 99,
    ETF_ATOM = 100, /* this and SMALL_ATOM in Latin-1 */
    ETF_REFERENCE = 101,
    ETF_PORT = 102,
    ETF_PID = 103,
    ETF_SMALL_TUPLE = 104,
    ETF_LARGE_TUPLE = 105,
    ETF_NIL = 106,
    ETF_STRING = 107,
    ETF_LIST = 108,
    ETF_BINARY = 109,
    ETF_SMALL_BIG = 110,
    ETF_LARGE_BIG = 111,
    ETF_NEW_FUN = 112,
    ETF_EXPORT = 113,
    ETF_NEW_REFERENCE = 114,
    ETF_SMALL_ATOM = 115,
    ETF_MAP = 116,
    ETF_FUN = 117,
    ETF_ATOM_UTF8 = 118,
    ETF_SMALL_ATOM_UTF8 = 119,
    ETF_V4_PORT = 120,
};

enum {
    ETF_ATOM_CHARACTERS = 255, /* an atom's bound */
    ETF_ATOM_BYTES = 4 * ETF_ATOM_CHARACTERS,
    ETF_FLOAT_TEXT = 31,       /* of FLOAT_EXT: "%.20e" and zero bytes */
    ETF_FUN_VALUES = 255,      /* what a fun can have closed over */
};

static inline uint16_t etf_get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

static inline uint32_t etf_get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t etf_get64(const uint8_t *p) { return (uint64_t)etf_get32(p) << 32 | etf_get32(p + 4); }

static inline void etf_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void etf_put32(uint8_t *p, uint32_t v)
{
    etf_put16(p, (uint16_t)(v >> 16));
    etf_put16(p + 2, (uint16_t)v);
}

static inline void etf_put64(uint8_t *p, uint64_t v)
{
    etf_put32(p, (uint32_t)(v >> 32));
    etf_put32(p + 4, (uint32_t)v);
}

#endif
