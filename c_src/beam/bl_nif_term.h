/* SPDX-License-Identifier: Apache-2.0
 *
 * NIF terms: a back end of the term writer that builds a term in an environment that belongs to no
 * process (any thread that has the environment to itself), and the other way round for small ones.
 */
#ifndef BL_NIF_TERM_H
#define BL_NIF_TERM_H

#include <erl_nif.h>

#include "beamline/term.h"

/* The VM (OTP 25) sorts the keys of a larger map with the help of its scheduler's state and crashes on a thread
 * that is none. Such maps are put together key by key, which leaves garbage behind (`untidy`). */
enum { BL_NIF_MAP_PAIRS_AT_ONCE = 128, BL_NIF_NEW_ATOMS = 1000 };

/* A binary that is kept for a task. As the owner of a span it lets the writer share instead of copying. */
struct bl_nif_kept {
    ERL_NIF_TERM term; /* in the writer's environment */
    const uint8_t *data;
};

struct bl_nif_writer {
    struct bl_writer base;
    struct bl_quota *quota;
    ErlNifEnv *env;
    ERL_NIF_TERM *terms; /* a stack: `small`, or a block of its own */
    size_t count, capacity;
    uint64_t charged, owed; /* bytes: with the quota, and not yet */
    bool untidy;
    struct {
        ERL_NIF_TERM first, second, term;
    } pair; /* the last one made; term 0: none */
    struct bl_nif_atom *known; /* of the thread that writes */
    int *new_atoms; /* how many atoms it may make that the VM does not know yet, shared; NULL: any */
    ERL_NIF_TERM small[48];
};

/* `env` stays the caller's. `quota` may be NULL. */
void bl_nif_writer_init(struct bl_nif_writer *w, ErlNifEnv *env, struct bl_quota *quota);
/* Gives back what the quota paid for. The term stays in the environment. */
void bl_nif_writer_clear(struct bl_nif_writer *w);
/* The term; only when the writer is done. */
ERL_NIF_TERM bl_nif_writer_term(const struct bl_nif_writer *w);


/* ---- reading --------------------------------------------------------------------------------- */

enum { BL_NIF_SMALL_NODES = 256, BL_NIF_SMALL_BINARY = 64 };

/* Writes a small term of the calling process: few terms, short binaries, nothing unusual. False: it is not small, or
 * the writer has failed; what was written is of no use then. Bounded time. */
bool bl_nif_write_small(ErlNifEnv *env, ERL_NIF_TERM term, struct bl_writer *w);

#endif
