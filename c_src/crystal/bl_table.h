/* SPDX-License-Identifier: Apache-2.0
 *
 * What files of potentials say, in memory.
 */
#ifndef BL_TABLE_H
#define BL_TABLE_H

#include "bl_crystal.h"

/* A function on an equidistant grid from 0 on: between the points m and m + 1, at p in [0, 1] of the way,
 * c[m][0] + c[m][1] p + c[m][2] p^2 + c[m][3] p^3. */
struct bl_spline {
    double (*c)[4]; /* points - 1 intervals */
};

/* All densities and pair functions on one grid, all embeddings on another. */
struct bl_eam_table {
    size_t points, rho_points;
    double dr, drho, cutoff;
    double *embed, *density, *pair; /* coefficients, function after function, 4 (points - 1) each */
    size_t densities;               /* per element: 1, or one for each element beside it (Finnis-Sinclair) */
};

/* One line of a file: the elements by their place in the list of names. */
struct bl_sw_entry {
    uint32_t element[3];
    struct bl_sw p;
};
/* Tersoff, PRB 37, 6991 (1988) with the exponent m of LAMMPS: exp(lambda3^m (r_ij - r_ik)^m). */
struct bl_tersoff {
    double m, gamma, lambda3, c, d, cos_theta0, n, beta, lambda2, big_b, r, d_range, lambda1, big_a;
};
struct bl_tersoff_entry {
    uint32_t element[3];
    struct bl_tersoff p;
};

enum { BL_TABLE_ELEMENTS_MAX = 64, BL_TABLE_ENTRIES_MAX = 4096 };
struct bl_table {
    enum bl_table_format format;
    size_t elements;
    char names[BL_TABLE_ELEMENTS_MAX][BL_SYMBOL_SIZE];
    struct bl_eam_table eam;
    struct bl_sw_entry *sw;
    struct bl_tersoff_entry *tersoff;
    size_t entries;
};

/* The place of a name, or elements. */
size_t bl_table_find(const struct bl_table *t, const char *name);
/* For each species of the structure the place of its element, `elements` where no atom has it; to be freed.
 * BL_INVALID: the table has no such element. */
enum bl_status bl_table_map(struct bl_quota *quota, const struct bl_table *t, const struct bl_structure *s, uint32_t **out,
                            struct bl_error *err);

/* ---- reading ---- */

struct bl_table_reader {
    struct bl_ctx *ctx;
    struct bl_quota *quota;
    struct bl_text text;
    struct bl_table *out;
};
/* The next word, over line ends and comments from '#' on; len 0 at the end of the file. */
struct bl_token bl_table_word(struct bl_table_reader *r);
/* A finite number, a count from 1 to `most`: BL_SYNTAX. */
enum bl_status bl_table_number(struct bl_table_reader *r, double *out, const char *what, struct bl_error *err);
enum bl_status bl_table_count(struct bl_table_reader *r, size_t *out, size_t most, const char *what, struct bl_error *err);
/* Adds a name where it is new. */
enum bl_status bl_table_name(struct bl_table_reader *r, struct bl_token word, uint32_t *out, struct bl_error *err);
/* Only blanks and comments may follow. */
enum bl_status bl_table_end(struct bl_table_reader *r, struct bl_error *err);

enum bl_status bl_setfl_read(struct bl_table_reader *r, struct bl_error *err); /* and Finnis-Sinclair */
enum bl_status bl_funcfl_read(struct bl_table_reader *r, const struct bl_table_file *files, size_t count, struct bl_error *err);
enum bl_status bl_entries_read(struct bl_table_reader *r, struct bl_error *err); /* .sw, .tersoff */

/* Coefficients from values at n points, to 4 (n - 1) doubles: slopes from five points, from three and two
 * at the ends, as LAMMPS takes them, so that the same file gives the same numbers. */
void bl_spline_make(const double *values, size_t n, double *coefficients);

#endif
