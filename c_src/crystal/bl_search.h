/* SPDX-License-Identifier: Apache-2.0
 *
 * The neighbour search under the engine and under bl_neighbours_find.
 *
 * Atoms are wrapped into the cell and joined by their periodic images as far as the range
 * reaches ("sites"); sites are counting-sorted into bins along the cell vectors. So a force
 * loop knows no periodicity: a neighbour is the index of a site, and neighbours lie close to
 * each other in memory. Rows are made per block of BLOCK home atoms (an atom's site inside
 * the cell), each block in its own memory: blocks are independent of each other and of the
 * number of threads, so are all results.
 */
#ifndef BL_SEARCH_H
#define BL_SEARCH_H

#include "bl_crystal.h"
#include "bl_scratch.h"

enum { BL_BLOCK = 128 };

/* Rows of neighbours, one after another, in groups of eight sites in ascending order, the last one filled up with
 * offset 0 (wide: its first site). A group is a site in two words and eight 16-bit offsets from it: 20 bytes, where
 * eight numbers of sites take 32. Where the offsets of one group of the block do not fit, all of its groups
 * are wide: eight numbers of sites. */
struct bl_block {
    uint16_t *list;
    size_t used, capacity; /* in 16-bit words */
    bool wide;
};
enum { BL_GROUP = 8, BL_NARROW_WORDS = 10, BL_WIDE_WORDS = 16 };

struct bl_search {
    struct bl_quota *quota;
    const struct bl_crystal_limits *limits;
    size_t atoms, sites, images;
    /* Per atom. */
    int32_t (*wrap)[3];  /* added to bring it into the cell */
    bool wrapped;        /* any wrap is not zero */
    uint32_t *rank;      /* its place among the homes */
    /* Per site. */
    uint32_t *atom, *image;
    double *xyzt;        /* 4 per site: x y z tag (the type) */
    float *x, *y, *z;    /* of the last build, from `origin`: for the search itself, and to see who has moved */
    double origin[3], blur; /* how far these may be off, with the sums they are put into */
    /* Per home, in the order of bins. */
    uint32_t *home;      /* its site */
    uint32_t *row_start, *row_length; /* in its block's list: the first group; sites, not groups */
    struct bl_block *blocks;
    size_t block_count;
    /* Per image. */
    int32_t (*image_shift)[3];
    double *image_vector; /* 4 per image */
    /* Bins. */
    uint32_t *bin_start;
    uint32_t bins[3], reach[3];
    double range;
    /* Capacities, in elements: buffers only grow. */
    size_t atom_room, site_room, home_room, image_room, bin_room, block_room;
    uint64_t neighbours;
    struct bl_lanes lanes; /* scratch of a build */
};

void bl_search_init(struct bl_search *s, struct bl_quota *quota, const struct bl_crystal_limits *limits);
void bl_search_clear(struct bl_search *s);
/* Bins, sites and rows for all pairs closer than `range`. tags: one number per atom that
 * travels with it (may be NULL). After an error only init, clear and another build are allowed. */
enum bl_status bl_search_build(struct bl_ctx *ctx, struct bl_search *s, const struct bl_lattice *lattice, const double *positions,
                               const double *tags, size_t atoms, double range, struct bl_error *err);
/* New positions under the old list: first of the homes, then, if the list still serves, of their images. */
enum bl_status bl_search_move_homes(struct bl_ctx *ctx, struct bl_search *s, const struct bl_lattice *lattice, const double *positions,
                                    struct bl_error *err);
enum bl_status bl_search_move_images(struct bl_ctx *ctx, struct bl_search *s, struct bl_error *err);
/* The sites of home h's row; room for row_length. */
void bl_search_row(const struct bl_search *s, size_t h, uint32_t *sites);
/* The image with the opposite shift. */
static inline uint32_t bl_search_opposite(const struct bl_search *s, uint32_t image) { return (uint32_t)s->images - 1 - image; }
size_t bl_search_bytes(const struct bl_search *s);
size_t bl_search_list_bytes(const struct bl_search *s); /* of these: rows */

/* Grows *p to hold `count` elements of `size` bytes; contents are lost. */
enum bl_status bl_search_room(struct bl_quota *quota, void *p, size_t count, size_t size, struct bl_error *err);

/* Who lies within the range, by single precision: nobody nearer is missed, all within the inner one are sure. */
struct bl_filter {
    const float *x, *y, *z; /* may be read 3 elements beyond the last */
    float outer2, inner2;
};
/* Sites begin..end-1. */
struct bl_range {
    uint32_t begin, end;
};
/* Sites of the ranges within the outer range of `at`, one after another at out; room for 4 more than there are candidates.
 * Returns how many; *unsure is set when one of them is not within the inner. */
typedef size_t bl_filter_fn(const struct bl_filter *f, const struct bl_range *ranges, size_t count, const float at[3], uint32_t *out,
                            bool *unsure);
bl_filter_fn bl_filter_portable, bl_filter_avx2;
/* The place of each key among n that differ; room for n + 3 keys. The work grows with n squared. */
typedef void bl_ranks_fn(int64_t *keys, size_t n, uint32_t *ranks);
bl_ranks_fn bl_ranks_portable, bl_ranks_avx2;

#endif
