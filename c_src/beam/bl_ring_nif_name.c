/* SPDX-License-Identifier: Apache-2.0
 *
 * An actor tells processes things in the name of a reference. The VM shows the numbers of one in its external form alone:
 *
 *     131  90  length:16  node (an atom)  creation:32  length * id:32
 *
 * `length` is 3 for what make_ref makes. What stands before the numbers is taken from a new reference each time, because the
 * node's name changes when distribution starts or stops.
 */
#include "bl_ring_nif.h"

#include <string.h>

enum { VERSION_MAGIC = 131, NEWER_REFERENCE_EXT = 90, LENGTH_AT = 2 };

static bool has_form(const ErlNifBinary *b)
{
    return b->size > LENGTH_AT + 2 + sizeof(struct name) && b->data[0] == VERSION_MAGIC && b->data[1] == NEWER_REFERENCE_EXT &&
           b->data[LENGTH_AT] == 0 && b->data[LENGTH_AT + 1] == sizeof(struct name) / 4;
}

bool ring_name_read(ErlNifEnv *env, ERL_NIF_TERM ref, struct name *out)
{
    ErlNifBinary b;
    if (!enif_is_ref(env, ref) || !enif_term_to_binary(env, ref, &b)) return false;
    const bool good = has_form(&b);
    if (good) memcpy(out, b.data + b.size - sizeof *out, sizeof *out);
    enif_release_binary(&b);
    return good;
}

ERL_NIF_TERM ring_name_make(ErlNifEnv *env, const struct name *name)
{
    ErlNifBinary b;
    ERL_NIF_TERM ref = enif_make_ref(env);
    if (!enif_term_to_binary(env, ref, &b)) return ref; /* no memory: then the message names nobody */
    if (has_form(&b)) {
        memcpy(b.data + b.size - sizeof *name, name, sizeof *name);
        (void)enif_binary_to_term(env, b.data, b.size, &ref, 0);
    }
    enif_release_binary(&b);
    return ref;
}
