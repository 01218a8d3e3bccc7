/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops, each compiled once for any CPU (bl_<what>_portable.c) and once for AVX2 (bl_<what>_avx2.c) from
 * bl_<what>.inc.
 *
 * Both do the same operations in the same order on four numbers at a time, without fused
 * multiply-add, so their results are the same bits. A block of homes is the unit of work;
 * everything a block computes depends on nothing but its input.
 */
#ifndef BL_KERNELS_H
#define BL_KERNELS_H

#include "bl_scratch.h"
#include "bl_search.h"

/* Sums over one block's atoms. */
struct bl_block_sums {
    double energy, virial[6];
    bool finite;
};

/* One row of LJ parameters: 48 eps sigma^12, 24 eps sigma^6, cut-off squared, energy at the
 * cut-off (0 when not shifted). */
struct bl_lj_row {
    double c12, c6, cutoff2, shift;
};

struct bl_morse_row {
    double depth, alpha, r0, cutoff2, shift;
};
struct bl_pair_job {
    struct bl_ctx *ctx;
    const struct bl_search *search;
    const void *table; /* rows of parameters, species x species */
    size_t species;
    unsigned want;
    double *forces, *atom_energies; /* in the order of atoms */
    struct bl_block_sums *sums;     /* per block */
};

/* What a potential of centres (bl_bonds.h) keeps of one centre i and a neighbour j within the cut-off:
 * the derivative of the centre's energy by r_ij, and whom it belongs to. */
struct bl_partial {
    double g[3];
    uint32_t rank, image; /* of j */
};
struct bl_partials {
    struct bl_partial *list;
    size_t used, capacity;
};
struct bl_bonds_job {
    struct bl_ctx *ctx;
    const struct bl_search *search;
    const void *parameters; /* struct bl_sw_tables, ... */
    unsigned want;
    double *forces, *atom_energies;
    struct bl_block_sums *sums;
    struct bl_partials *partials; /* per block */
    uint32_t *start, *count;      /* per home: its partials in its block's list */
    struct bl_scratch *scratch;   /* per lane */
    struct bl_quota *quota;
};

/* Stillinger-Weber made ready. The pair terms, and the decay of the angle terms along r_ij, have the
 * numbers of (i, j, j), the angle's strength and cosine those of (i, j, k). */
struct bl_sw_tables {
    size_t species;
    const struct bl_sw *pairs;       /* species x species */
    const double *strength, *cosine; /* species x species x species: lambda epsilon, cos theta0 */
    double cutoff2;                  /* of the longest pair */
};

/* Tersoff made ready: bonds by the numbers of (i, j, j), angles by those of (i, j, k). */
struct bl_tersoff_pair {
    double big_a, big_b, lambda1, lambda2, beta, n, half_per_n, middle, per_d;
};
struct bl_tersoff_triple {
    double gamma, c2, d2, h, lambda, middle, per_d, cubic; /* cubic: 1, or 0 */
};
struct bl_tersoff_tables {
    size_t species;
    const struct bl_tersoff_pair *pairs;     /* species x species */
    const struct bl_tersoff_triple *triples; /* species x species x species */
    double cutoff2;                          /* the longest */
};

/* Embedded atoms made ready: functions by pair of species, of tables or of Sutton and Chen. */
struct bl_sutton_chen_row {
    double epsilon, a, n, m;
};
struct bl_eam_tables {
    size_t species;
    double cutoff2;
    const struct bl_sutton_chen_row *formula; /* species x species; NULL: tables */
    const double *strength;                   /* epsilon c of a species */
    const double *const *embed;               /* species */
    const double *const *density;             /* at the first species, of the second: species x species */
    const double *const *pair;                /* species x species */
    size_t points, rho_points;
    double per_dr, per_drho, rho_max;
};
struct bl_eam_job {
    struct bl_ctx *ctx;
    const struct bl_search *search;
    const struct bl_eam_tables *tables;
    unsigned want;
    double *forces, *atom_energies;
    struct bl_block_sums *sums;
    double *slopes; /* F' per site */
    struct bl_scratch *scratch; /* per lane */
    struct bl_quota *quota;
};

typedef enum bl_status bl_pair_fn(const struct bl_pair_job *job, size_t block, struct bl_error *err);
typedef enum bl_status bl_centres_fn(const struct bl_bonds_job *job, size_t block, unsigned lane, struct bl_error *err);
typedef enum bl_status bl_eam_fn(const struct bl_eam_job *job, size_t block, unsigned lane, struct bl_error *err);

bl_pair_fn bl_lj_block_portable, bl_lj_block_avx2, bl_morse_block_portable, bl_morse_block_avx2;
bl_centres_fn bl_sw_centres_portable, bl_sw_centres_avx2, bl_tersoff_centres_portable, bl_tersoff_centres_avx2;
bl_eam_fn bl_eam_densities_portable, bl_eam_densities_avx2, bl_eam_forces_portable, bl_eam_forces_avx2;

struct bl_kernels {
    const char *name;
    bl_filter_fn *filter;
    bl_ranks_fn *ranks;
    bl_pair_fn *lj, *morse;
    bl_centres_fn *sw_centres, *tersoff_centres;
    bl_eam_fn *eam_densities, *eam_forces;
};
/* What the CPU has, unless bl_engine_allow_simd(false). */
const struct bl_kernels *bl_kernels_choose(void);

/* The compiler that can be asked for AVX2 function by function. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define BL_BUILD_AVX2 1
#else
#define BL_BUILD_AVX2 0
#endif

/* Room for the partials of one more centre with so many neighbours in its cut-off. */
enum bl_status bl_partials_room(struct bl_quota *quota, struct bl_partials *p, size_t neighbours, struct bl_error *err);

#endif
