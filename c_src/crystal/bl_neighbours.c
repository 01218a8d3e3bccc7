/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "bl_search.h"

void bl_neighbours_clear(struct bl_neighbours *list)
{
    bl_free(list->first);
    bl_free(list->other);
    bl_free(list->shift);
    bl_free(list->vector);
    *list = (struct bl_neighbours){0};
}

/* ---- rows ------------------------------------------------------------------------ */

/* An image's number orders shifts: shifts to one atom differ from those of its images by the same wrap. */
static int64_t key_of(const struct bl_search *s, uint32_t site) { return (int64_t)((uint64_t)s->atom[site] << 32 | s->image[site]); }

static int compare_keys(const void *x, const void *y)
{
    const int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

enum { RANKED_MAX = 192 }; /* beyond it, sorting by comparisons is quicker */

struct fill_job {
    const struct bl_search *s;
    struct bl_neighbours *list;
    bl_ranks_fn *ranks;
    struct bl_quota *quota;
    size_t longest;
};

struct row_scratch {
    int64_t *keys; /* longest + 4, and where they are sorted as pairs of key and site twice that */
    uint32_t *ranks, *sites;
};

static void put(const struct fill_job *job, size_t i, uint32_t home, uint32_t site, uint64_t at)
{
    const struct bl_search *s = job->s;
    const uint32_t j = s->atom[site];
    job->list->other[at] = j;
    for (int k = 0; k < 3; k++) {
        job->list->shift[at][k] = s->image_shift[s->image[site]][k] + s->wrap[j][k] - s->wrap[i][k];
        job->list->vector[at][k] = s->xyzt[4 * (size_t)site + (size_t)k] - s->xyzt[4 * (size_t)home + (size_t)k];
    }
}

static void fill_row(const struct fill_job *job, const struct row_scratch *x, size_t i)
{
    const struct bl_search *s = job->s;
    const uint32_t h = s->rank[i], home = s->home[h];
    uint32_t *const sites = x->sites;
    const size_t n = s->row_length[h];
    bl_search_row(s, h, sites);
    const uint64_t at = job->list->first[i];
    if (n <= RANKED_MAX) {
        for (size_t k = 0; k < n; k++) x->keys[k] = key_of(s, sites[k]);
        job->ranks(x->keys, n, x->ranks);
        for (size_t k = 0; k < n; k++) put(job, i, home, sites[k], at + x->ranks[k]);
        return;
    }
    for (size_t k = 0; k < n; k++) {
        x->keys[2 * k] = key_of(s, sites[k]);
        x->keys[2 * k + 1] = sites[k];
    }
    qsort(x->keys, n, 2 * sizeof *x->keys, compare_keys);
    for (size_t k = 0; k < n; k++) put(job, i, home, (uint32_t)x->keys[2 * k + 1], at + k);
}

static enum bl_status fill_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct fill_job *job = arg;
    (void)lane;
    struct row_scratch x = {.keys = bl_alloc_array(job->quota, 2 * job->longest + 4, sizeof *x.keys, err)};
    if (x.keys) x.ranks = bl_alloc_array(job->quota, 2 * job->longest, sizeof *x.ranks, err);
    x.sites = x.ranks ? x.ranks + job->longest : NULL;
    const enum bl_status status = x.keys && x.ranks ? BL_OK : bl_alloc_status(err);
    for (size_t i = begin; status == BL_OK && i < end; i++) fill_row(job, &x, i);
    bl_free(x.keys);
    bl_free(x.ranks);
    return status;
}

static enum bl_status collect(struct bl_ctx *ctx, const struct bl_search *s, struct bl_neighbours *out, struct bl_error *err)
{
    struct bl_neighbours list = {.atoms = s->atoms, .pairs = s->neighbours};
    struct fill_job job = {.s = s, .list = &list, .ranks = bl_simd_avx2() ? bl_ranks_avx2 : bl_ranks_portable, .quota = s->quota};
    enum bl_status status = bl_search_room(s->quota, &list.first, s->atoms + 1, sizeof *list.first, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &list.other, list.pairs, sizeof *list.other, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &list.shift, list.pairs, sizeof *list.shift, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &list.vector, list.pairs, sizeof *list.vector, err);
    uint64_t at = 0;
    for (size_t i = 0; status == BL_OK && i < s->atoms; i++) {
        const size_t n = s->row_length[s->rank[i]];
        list.first[i] = at;
        at += n;
        job.longest = n > job.longest ? n : job.longest;
    }
    if (status == BL_OK) {
        list.first[s->atoms] = at;
        status = bl_parallel_for(ctx, s->atoms, 2048, fill_body, &job, err);
    }
    if (status == BL_OK) *out = list;
    else bl_neighbours_clear(&list);
    return status;
}

/* ---- the whole --------------------------------------------------------------------- */

enum bl_status bl_neighbours_find(struct bl_ctx *ctx, const struct bl_structure *structure, double cutoff,
                                  const struct bl_crystal_limits *limits, struct bl_neighbours *out, struct bl_error *err)
{
    struct bl_lattice lattice;
    if (!(cutoff > 0) || !isfinite(cutoff)) return bl_fail_invalid(err, "cutoff", "a positive number");
    enum bl_status status = bl_structure_check(structure, err);
    if (status == BL_OK) status = bl_lattice_init(&lattice, structure, err);
    if (status != BL_OK) return status;
    struct bl_search s;
    bl_search_init(&s, bl_ctx_quota(ctx), limits ? limits : &bl_crystal_limits_default);
    status = bl_search_build(ctx, &s, &lattice, structure->positions, NULL, structure->atoms, cutoff, err);
    if (status == BL_OK) status = collect(ctx, &s, out, err);
    bl_search_clear(&s);
    return status;
}
