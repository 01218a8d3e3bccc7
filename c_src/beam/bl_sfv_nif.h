/* SPDX-License-Identifier: Apache-2.0
 *
 * What reading (bl_sfv_nif.c) and writing (bl_sfv_nif_write.c) share.
 */
#ifndef BL_SFV_NIF_H
#define BL_SFV_NIF_H

#include <erl_nif.h>
#include <string.h>

#include "bl_sfv_put.h"

#pragma GCC visibility push(hidden)

enum {
    INLINE_BYTES = 16384,    /* of input, or of one text to write: more goes to a dirty scheduler */
    NODES_PER_PERCENT = 300, /* of a time slice, which is 1 ms: 33 ns a node, built into terms */
    READ_PER_NODE = 8,       /* bytes that are read, or decoded, while a node is built */
    WRITTEN_PER_NODE = 32,
};

#define TOO_LARGE ((ERL_NIF_TERM)0) /* no term is 0: it should be done elsewhere */

extern ERL_NIF_TERM am_ok, am_error, am_true, am_false, am_item, am_list, am_decimal, am_string, am_token, am_binary, am_date, am_display,
    am_syntax, am_offset, am_expected, am_invalid, am_path, am_why, am_limit, am_what, am_asked, am_param, am_big, am_bytes, am_members,
    am_inner_members, am_params, am_no_memory, am_infinity, nil;

/* The numbers -3 to 0, exponents that decimals mostly have: immediates are compared faster than read. */
enum { EXPONENTS = 4 };
extern ERL_NIF_TERM exponents[EXPONENTS];

struct options {
    struct bl_sfv_options core;
    bool copy;
};
/* The options of [Term, Options], or the defaults for [Term]. false: they are none. */
bool sfv_options(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[], struct options *o);

static inline ERL_NIF_TERM pair(ErlNifEnv *env, ERL_NIF_TERM a, ERL_NIF_TERM b)
{
    const ERL_NIF_TERM both[2] = {a, b};
    return enif_make_tuple_from_array(env, both, 2);
}

static inline ERL_NIF_TERM text(ErlNifEnv *env, const char *from, size_t len)
{
    ERL_NIF_TERM term;
    memcpy(enif_make_new_binary(env, len, &term), from, len);
    return term;
}

/* {error, {Reason, Details}} */
ERL_NIF_TERM sfv_error(ErlNifEnv *env, ERL_NIF_TERM reason, ERL_NIF_TERM *keys, ERL_NIF_TERM *values, size_t count);
ERL_NIF_TERM sfv_limit_error(ErlNifEnv *env, const struct bl_error *err);

/* Accounts for `count` nodes or values that were worked on, or for the text where that took longer:
 * as much as so many nodes. */
static inline void charge(ErlNifEnv *env, size_t count, size_t text)
{
    const size_t percent = (count > text ? count : text) / NODES_PER_PERCENT;
    if (percent > 0) enif_consume_timeslice(env, percent < 100 ? (int)percent : 100);
}

/* Writes argv[0]; TOO_LARGE unless `may_be_long`. */
ERL_NIF_TERM sfv_write(ErlNifEnv *env, enum bl_sfv_kind kind, int argc, const ERL_NIF_TERM argv[], bool may_be_long);

#pragma GCC visibility pop

#endif
