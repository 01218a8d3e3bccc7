/* SPDX-License-Identifier: Apache-2.0
 *
 * What potentials of pairs share: Lennard-Jones, Morse.
 */
#ifndef BL_PAIRS_H
#define BL_PAIRS_H

#include "bl_model.h"

/* The row of a pair of species that both have atoms, and what it adds to the scales. */
typedef enum bl_status bl_pair_row_fn(const struct bl_potential *p, const char *a, const char *b, void *row, struct bl_scales *scales,
                                      struct bl_error *err);

enum bl_status bl_pairs_prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *p, size_t row_bytes,
                                bl_pair_row_fn *row, struct bl_error *err);
enum bl_status bl_pairs_compute(struct bl_ctx *ctx, struct bl_engine *e, bl_pair_fn *fn, unsigned want, struct bl_energies *out,
                                struct bl_error *err);
void bl_pairs_clear(struct bl_engine *e);
size_t bl_pairs_bytes(const struct bl_engine *e);

/* Does a pair of parameters name these species, in whatever order; or none, and so all? */
bool bl_pair_names(const char species[2][BL_SYMBOL_SIZE], const char *a, const char *b);
bool bl_pair_general(const char species[2][BL_SYMBOL_SIZE]);

#endif
