/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_bonds.h"

#include <math.h>
#include <string.h>

/* The work of one atom grows with the square of its neighbours: beyond this a block would run too long
 * between two looks at the deadline, and no crystal comes near it. */
enum { NEIGHBOURS_MAX = 512 };

/* ---- memory -------------------------------------------------------------------- */

enum bl_status bl_bonds_init(struct bl_engine *e, struct bl_bonds *b, struct bl_error *err)
{
    const size_t blocks = (e->atoms + BL_BLOCK - 1) / BL_BLOCK;
    b->partials = bl_alloc_zero(e->quota, blocks * sizeof *b->partials, err);
    if (!b->partials) return bl_alloc_status(err);
    b->blocks = blocks;
    enum bl_status status = bl_search_room(e->quota, &b->start, e->atoms, sizeof *b->start, err);
    if (status == BL_OK) status = bl_search_room(e->quota, &b->count, e->atoms, sizeof *b->count, err);
    return status;
}

void bl_bonds_clear(struct bl_bonds *b)
{
    for (size_t i = 0; i < b->blocks; i++) bl_free(b->partials[i].list);
    bl_lanes_clear(&b->lanes);
    bl_free(b->partials);
    bl_free(b->start);
    bl_free(b->count);
}

size_t bl_bonds_bytes(const struct bl_engine *e, const struct bl_bonds *b)
{
    size_t bytes = e->atoms * 2 * sizeof(uint32_t);
    for (size_t i = 0; i < b->blocks; i++) bytes += sizeof *b->partials + b->partials[i].capacity * sizeof(struct bl_partial);
    return bytes;
}

enum bl_status bl_partials_room(struct bl_quota *quota, struct bl_partials *p, size_t neighbours, struct bl_error *err)
{
    if (neighbours > NEIGHBOURS_MAX) return bl_fail_limit(err, "neighbours_per_atom", NEIGHBOURS_MAX, neighbours);
    if (p->list && p->used + neighbours <= p->capacity) return BL_OK;
    const size_t want = p->used + p->used / 2 + neighbours + 4 * BL_BLOCK;
    void *list = bl_alloc_array(quota, want, sizeof *p->list, err);
    if (!list) return bl_alloc_status(err);
    if (p->used > 0) memcpy(list, p->list, p->used * sizeof *p->list);
    bl_free(p->list);
    p->list = list;
    p->capacity = want;
    return BL_OK;
}

/* ---- forces -------------------------------------------------------------------- */

/* What neighbour (rank, image) of home h feels from h's side: its own record of h. */
static const struct bl_partial *reverse(const struct bl_bonds_job *job, size_t h, const struct bl_partial *p)
{
    const struct bl_partial *row = job->partials[p->rank / BL_BLOCK].list + job->start[p->rank];
    const uint32_t n = job->count[p->rank], image = bl_search_opposite(job->search, p->image);
    for (uint32_t k = 0; k < n; k++)
        if (row[k].rank == h && row[k].image == image) return &row[k];
    return NULL; /* just at the cut-off, where both are zero: rounding put it on one side only */
}

static void block_forces(const struct bl_bonds_job *job, size_t block)
{
    const struct bl_search *s = job->search;
    const size_t begin = block * BL_BLOCK, end = begin + BL_BLOCK < s->atoms ? begin + BL_BLOCK : s->atoms;
    for (size_t h = begin; h < end; h++) {
        const struct bl_partial *row = job->partials[block].list + job->start[h];
        double f[3] = {0, 0, 0};
        for (uint32_t k = 0; k < job->count[h]; k++) {
            const struct bl_partial *back = reverse(job, h, &row[k]);
            for (int c = 0; c < 3; c++) f[c] += back ? row[k].g[c] - back->g[c] : row[k].g[c];
        }
        memcpy(job->forces + 3 * (size_t)s->atom[s->home[h]], f, sizeof f);
        if (!(f[0] * f[0] + f[1] * f[1] + f[2] * f[2] < INFINITY)) job->sums[block].finite = false;
    }
}

struct run {
    bl_centres_fn *centres;
    struct bl_bonds_job job;
};

static enum bl_status centres_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct run *run = arg;
    enum bl_status status = BL_OK;
    for (size_t block = begin; status == BL_OK && block < end; block++) status = run->centres(&run->job, block, lane, err);
    return status;
}

static enum bl_status forces_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct run *run = arg;
    (void)lane;
    (void)err;
    for (size_t block = begin; block < end; block++) block_forces(&run->job, block);
    return BL_OK;
}

enum bl_status bl_bonds_compute(struct bl_ctx *ctx, struct bl_engine *e, struct bl_bonds *b, bl_centres_fn *centres, const void *parameters,
                                unsigned want, struct bl_energies *out, struct bl_error *err)
{
    enum bl_status status = bl_lanes_ready(ctx, e->quota, &b->lanes, err);
    if (status != BL_OK) return status;
    struct run run = {centres, {.ctx = ctx, .search = &e->search, .parameters = parameters, .want = want, .quota = e->quota}};
    run.job.forces = out->forces;
    run.job.atom_energies = out->atom_energies;
    run.job.sums = e->sums;
    run.job.partials = b->partials;
    run.job.start = b->start;
    run.job.count = b->count;
    run.job.scratch = b->lanes.scratch;
    status = bl_parallel_for(ctx, e->search.block_count, 1, centres_body, &run, err);
    if (status == BL_OK && (want & BL_WANT_FORCES)) status = bl_parallel_for(ctx, e->search.block_count, 1, forces_body, &run, err);
    return status;
}
