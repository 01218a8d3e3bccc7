/* SPDX-License-Identifier: Apache-2.0
 *
 * The crystal operations, and the term forms of structures and potentials.
 */
#ifndef BL_CRYSTAL_OPS_H
#define BL_CRYSTAL_OPS_H

#include "beamline/op.h"
#include "bl_crystal.h"

bl_op_fn bl_op_crystal_parse, bl_op_crystal_write, bl_op_crystal_energy, bl_op_crystal_neighbours, bl_op_crystal_relax,
        bl_op_crystal_verify, bl_op_crystal_elastic, bl_op_crystal_trajectory, bl_op_crystal_relax_batch, bl_op_crystal_match,
        bl_op_crystal_symmetry, bl_op_crystal_cell, bl_op_crystal_expand, bl_op_crystal_supercell,
        bl_op_crystal_prototype;

/* A structure as it came: what the engine knows in `s`, keys it does not know kept as bytes
 * of the reader's input and written back as they were. */
enum { BL_FOREIGN_MAX = 32 };
struct bl_term_structure {
    struct bl_structure s;
    size_t foreign_count;
    struct bl_span foreign_key[BL_FOREIGN_MAX], foreign_value[BL_FOREIGN_MAX]; /* encoded */
};
/* On success the caller clears t->s. */
enum bl_status bl_read_structure(struct bl_reader *r, struct bl_quota *quota, struct bl_term_structure *t, struct bl_error *err);
/* An argument that may stand once. The caller clears what is there: *there, or of a potential in any case. */
enum bl_status bl_read_structure_once(struct bl_reader *r, struct bl_quota *quota, bool *there, struct bl_term_structure *t,
                                      struct bl_error *err);
void bl_write_structure(struct bl_writer *w, const struct bl_structure *s, const struct bl_term_structure *foreign);

/* The number of a space group, as text: a name like any other for who looks settings up. */
enum { BL_SETTING_NUMBER_SIZE = 24 };
enum bl_status bl_read_setting_number(struct bl_reader *r, char out[BL_SETTING_NUMBER_SIZE], struct bl_error *err);

/* A symbol, or BL_INVALID about `field`. */
enum bl_status bl_read_symbol(struct bl_reader *r, const char *field, char out[BL_SYMBOL_SIZE], struct bl_error *err);
/* A list of at most so many; names[i] is symbols[i]. */
enum bl_status bl_read_symbols(struct bl_reader *r, const char *field, size_t most, char symbols[][BL_SYMBOL_SIZE], const char *names[],
                               size_t *count, struct bl_error *err);
/* A number above 0, or BL_INVALID about `field`. */
enum bl_status bl_read_positive(struct bl_reader *r, const char *field, double *out, struct bl_error *err);
/* key => number; key => [six numbers times factor]. */
void bl_write_keyed_six(struct bl_writer *w, const char *key, const double v[6], double factor);
/* Stress and pressure exist in a cell that is periodic in all directions: stress_gpa, pressure_gpa. */
bool bl_has_stress(const struct bl_structure *s);
void bl_write_stress(struct bl_writer *w, const struct bl_structure *s, const double virial[6]);
void bl_write_symmetry(struct bl_writer *w, const struct bl_symmetry *symmetry);

/* A potential with the memory of what it borrows. */
struct bl_term_potential {
    struct bl_potential potential;
    struct bl_lj_pair lj[BL_LJ_PAIRS_MAX];
    struct bl_morse_pair morse[BL_LJ_PAIRS_MAX];
    struct bl_sutton_chen sutton_chen[BL_ELEMENT_COUNT];
    struct bl_table *table;
};
/* The caller clears, also after an error. */
enum bl_status bl_read_potential(struct bl_ctx *ctx, struct bl_reader *r, struct bl_term_potential *p, struct bl_error *err);
enum bl_status bl_read_potential_once(struct bl_ctx *ctx, struct bl_reader *r, bool *there, struct bl_term_potential *p,
                                      struct bl_error *err);
void bl_term_potential_clear(struct bl_term_potential *p);

#endif
