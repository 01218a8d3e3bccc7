/* SPDX-License-Identifier: Apache-2.0
 *
 * What a potential is to the engine: a model. A new potential is one file with a
 * struct bl_model_class, one line in bl_models.c, and its parameters in struct bl_potential.
 *
 * The engine keeps the lattice, the neighbour list and the sums of the blocks; the model keeps its
 * parameters and what it computes with, and runs its loops over blocks of homes. What a block writes
 * depends on nothing but its input, so that no result depends on the number of threads.
 */
#ifndef BL_MODEL_H
#define BL_MODEL_H

#include "bl_kernels.h"

struct bl_model_class;

struct bl_engine {
    struct bl_quota *quota;
    struct bl_crystal_limits limits;
    struct bl_lattice lattice;
    /* The cell since the list was made: inverse(cell then) . cell now, and how far two atoms may have moved
     * beside it before a pair could be missing. */
    double built_inverse[3][3], affine[3][3], slack;
    bool strained;
    const struct bl_kernels *kernels;
    const struct bl_model_class *class;
    void *model; /* of its class; freed by it */
    size_t atoms;
    size_t species; /* how many the model tells apart; from 2 on the list carries them as tags */
    double cutoff, skin;
    unsigned rebuild_every, since_rebuild;
    bool built;
    struct bl_scales scales;
    double *tags; /* species of each atom, as a number */
    struct bl_search search;
    struct bl_block_sums *sums; /* per block */
    uint64_t computes, rebuilds;
};

struct bl_model_class {
    enum bl_potential_type type;
    const char *name; /* the atom an Erlang caller uses */
    double skin;      /* of the list, as a share of the scale's length, where nobody asks for another */
    /* Checks the parameters, makes e->model, sets e->scales (with the cut-off) and e->species. On error
     * clear is called all the same, with what there is. */
    enum bl_status (*prepare)(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *p, struct bl_error *err);
    /* Fills e->sums, and forces and atom energies when they are wanted. */
    enum bl_status (*compute)(struct bl_ctx *ctx, struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err);
    void (*clear)(struct bl_engine *e);       /* e->model may be NULL */
    size_t (*bytes)(const struct bl_engine *e);
};

/* NULL: no such type. */
const struct bl_model_class *bl_model_class_of(enum bl_potential_type type);

/* Which of the structure's species atoms have; to be freed. */
enum bl_status bl_species_present(struct bl_quota *quota, const struct bl_structure *s, bool **out, struct bl_error *err);

extern const struct bl_model_class bl_lj_class, bl_sw_class, bl_morse_class, bl_sutton_chen_class, bl_eam_class, bl_tersoff_class;

#endif
