/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "bl_kernels.h"

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

/* A key and its site. */
struct entry {
    int64_t key;
    uint32_t site;
};

static void merge(const struct entry *a, size_t n, const struct entry *b, size_t m, struct entry *out)
{
    size_t i = 0, k = 0;
    while (i < n || k < m) *out++ = k == m || (i < n && a[i].key < b[k].key) ? a[i++] : b[k++];
}

/* Merging from pairs up, so that a long row can be given up; where the result stands is answered. */
static enum bl_status sort_entries(struct bl_ctx *ctx, struct entry *list, struct entry *other, size_t n, struct entry **out,
                                   struct bl_error *err)
{
    size_t work = 0;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t at = 0; at < n; at += 2 * width) {
            const size_t left = n - at < width ? n - at : width, right = n - at - left < width ? n - at - left : width;
            const enum bl_status status = bl_poll_work(ctx, &work, left + right, err);
            if (status != BL_OK) return status;
            merge(list + at, left, list + at + left, right, other + at);
        }
        struct entry *made = other;
        other = list;
        list = made;
    }
    *out = list;
    return BL_OK;
}

enum { RANKED_MAX = 192 }; /* beyond it, sorting by comparisons is quicker */

struct fill_job {
    struct bl_ctx *ctx;
    const struct bl_search *s;
    struct bl_neighbours *list;
    bl_ranks_fn *ranks;
    struct bl_quota *quota;
    size_t longest;
};

struct row_scratch {
    int64_t *keys;
    uint32_t *ranks, *sites;
    struct entry *entries; /* twice the longest row, where that is long */
};

static inline void put(const struct fill_job *job, size_t i, const double home[4], uint32_t site, uint64_t at)
{
    const struct bl_search *s = job->s;
    const uint32_t j = s->atom[site];
    const int32_t *const image = s->image_shift[s->image[site]], *const theirs = s->wrap[j], *const own = s->wrap[i];
    const double *const there = s->xyzt + 4 * (size_t)site;
    int32_t *const shift = job->list->shift[at];
    double *const vector = job->list->vector[at];
    job->list->other[at] = j;
    for (int k = 0; k < 3; k++) shift[k] = image[k] + theirs[k] - own[k];
    for (int k = 0; k < 3; k++) vector[k] = there[k] - home[k];
}

static enum bl_status fill_row(const struct fill_job *job, const struct row_scratch *x, size_t i, size_t *work, struct bl_error *err)
{
    const struct bl_search *s = job->s;
    const uint32_t h = s->rank[i];
    const double *const home = s->xyzt + 4 * (size_t)s->home[h];
    uint32_t *const sites = x->sites;
    const size_t n = s->row_length[h];
    enum bl_status status = bl_poll_work(job->ctx, work, n < RANKED_MAX ? n * (n / 16 + 1) : 16 * n, err);
    if (status != BL_OK) return status;
    bl_search_row(s, h, sites);
    const uint64_t at = job->list->first[i];
    if (n <= RANKED_MAX) {
        for (size_t k = 0; k < n; k++) x->keys[k] = key_of(s, sites[k]);
        job->ranks(x->keys, n, x->ranks);
        for (size_t k = 0; k < n; k++) put(job, i, home, sites[k], at + x->ranks[k]);
        return BL_OK;
    }
    struct entry *sorted = NULL;
    for (size_t k = 0; k < n; k++) x->entries[k] = (struct entry){key_of(s, sites[k]), sites[k]};
    status = sort_entries(job->ctx, x->entries, x->entries + job->longest, n, &sorted, err);
    for (size_t k = 0; status == BL_OK && k < n; k++) put(job, i, home, sorted[k].site, at + k);
    return status;
}

static enum bl_status fill_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct fill_job *job = arg;
    (void)lane;
    struct row_scratch x = {.sites = bl_alloc_array(job->quota, job->longest, sizeof *x.sites, err)};
    if (x.sites) x.keys = bl_alloc_array(job->quota, RANKED_MAX + 4, sizeof *x.keys, err);
    if (x.keys) x.ranks = bl_alloc_array(job->quota, RANKED_MAX, sizeof *x.ranks, err);
    if (x.ranks && job->longest > RANKED_MAX) x.entries = bl_alloc_array(job->quota, job->longest, 2 * sizeof *x.entries, err);
    const bool ready = x.ranks && (x.entries || job->longest <= RANKED_MAX);
    enum bl_status status = ready ? BL_OK : bl_alloc_status(err);
    size_t work = 0;
    for (size_t i = begin; status == BL_OK && i < end; i++) status = fill_row(job, &x, i, &work, err);
    bl_free(x.sites);
    bl_free(x.keys);
    bl_free(x.ranks);
    bl_free(x.entries);
    return status;
}

static enum bl_status collect(struct bl_ctx *ctx, const struct bl_search *s, struct bl_neighbours *out, struct bl_error *err)
{
    struct bl_neighbours list = {.atoms = s->atoms, .pairs = s->neighbours};
    struct fill_job job = {.ctx = ctx, .s = s, .list = &list, .ranks = bl_kernels_choose()->ranks, .quota = s->quota};
    enum bl_status status = bl_search_room(s->quota, &list.first, s->atoms + 1, sizeof *list.first, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &list.other, list.pairs, sizeof *list.other, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &list.shift, list.pairs, sizeof *list.shift, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &list.vector, list.pairs, sizeof *list.vector, err);
    uint64_t at = 0;
    for (size_t i = 0; status == BL_OK && i < s->atoms; i++) {
        const size_t n = s->row_length[s->rank[i]];
        status = bl_poll(ctx, i, err);
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
