/* SPDX-License-Identifier: Apache-2.0
 *
 * The energy of a structure as a function of its atoms, and of its cell if that is free: what the
 * minimisers walk on.
 *
 * Enthalpy in the deformation gradient (Tadmor, Smith, Bernstein, Kaxiras, Phys. Rev. B 59, 235 (1999)):
 * cell = cell0 F, r = X F with F symmetric, so that the cell cannot turn;
 *     H = E + P V - V0 t:(F - 1),   P = -tr(target) / 3,   t = target + P 1
 * Variables are X and the free components of c (F - 1) in Mandel's scaling with c = length sqrt(N), which
 * makes the cell about as stiff as an atom. With t, or components that are held, the Cauchy stress at
 * the minimum is the target only as far as F is 1: bl_landscape_rebase makes it 1, and one goes on.
 */
#ifndef BL_LANDSCAPE_H
#define BL_LANDSCAPE_H

#include "bl_minimise.h"

struct bl_landscape {
    struct bl_minimiser m;
    struct bl_engine *engine;
    const struct bl_structure *s; /* fixed axes, number of atoms */
    enum bl_cell_mode mode;
    bool held[6];                 /* components of strain, Voigt */
    double target[6];             /* eV/angstrom^3, Cauchy, Voigt */
    double fmax, smax;            /* eV/angstrom, eV/angstrom^3 */
    double cell0[3][3], cell[3][3], f[3][3], volume0, volume_begin, offset, scale;
    double *positions;            /* where the atoms are: m.x itself at fixed cell */
    double *forces;
    struct bl_energies now;
    double max_force, max_stress; /* what m.measure is made of; 0 at fixed cell */
    bool quiet; /* no progress */
    double *memory;
};

/* A landscape of s; the engine is borrowed. mode, held, target, fmax, smax and m.max_steps are set
 * by the caller before. max_move 0: a tenth of the potential's length. */
enum bl_status bl_landscape_init(struct bl_landscape *l, struct bl_ctx *ctx, struct bl_engine *engine, const struct bl_structure *s,
                                 double max_move, struct bl_error *err);
void bl_landscape_clear(struct bl_landscape *l);
/* The best state becomes the present one (without an evaluation). */
void bl_landscape_use_best(struct bl_landscape *l);
/* The same for the state it began with. */
void bl_landscape_use_first(struct bl_landscape *l);
/* The present cell becomes the reference: F = 1. Evaluates. */
enum bl_status bl_landscape_rebase(struct bl_landscape *l, struct bl_error *err);
bool bl_landscape_strained(const struct bl_landscape *l); /* F is not 1 */

/* Forces along fixed axes become 0. Both in pieces: bl_piece. */
void bl_clear_fixed(struct bl_ctx *ctx, const struct bl_structure *s, double *forces);
double bl_largest_force(struct bl_ctx *ctx, const double *forces, size_t atoms);

#endif
