/* SPDX-License-Identifier: Apache-2.0
 *
 * The second half of Stillinger-Weber, and its memory.
 *
 * U is a sum over centres i of energies that depend on the vectors r_ij to i's neighbours.
 * With g_ij = dU_i/dr_ij the force is F_i = sum_j (g_ij - g_ji) (Fan et al., Phys. Rev. B 92,
 * 094301 (2015)): each atom gathers, nothing is scattered, threads never write the same place.
 */
#include "bl_kernels.h"

#include <math.h>
#include <string.h>

const struct bl_sw bl_sw_silicon = {.epsilon = 2.1683,
                                    .sigma = 2.0951,
                                    .a = 1.80,
                                    .lambda = 21.0,
                                    .gamma = 1.20,
                                    .cos_theta0 = -1.0 / 3.0,
                                    .big_a = 7.049556277,
                                    .big_b = 0.6022245584,
                                    .p = 4.0,
                                    .q = 0.0};

/* The work of one atom grows with the square of its neighbours: beyond this a block would run too long
 * between two looks at the deadline, and no crystal comes near it. */
enum { SCRATCH_ARRAYS = 9, NEIGHBOURS_MAX = 512 };

static enum bl_status scratch_room(const struct bl_sw_job *job, struct bl_sw_scratch *x, size_t neighbours, struct bl_error *err)
{
    if (neighbours + 8 <= x->room) return BL_OK;
    const size_t room = (2 * neighbours + 16) & ~(size_t)3;
    x->room = 0;
    enum bl_status status = bl_search_room(job->quota, &x->memory, room * SCRATCH_ARRAYS, sizeof(double), err);
    if (status == BL_OK) status = bl_search_room(job->quota, &x->site, room, sizeof *x->site, err);
    if (status == BL_OK) x->room = room;
    return status;
}

enum bl_status bl_sw_room(const struct bl_sw_job *job, struct bl_partials *p, struct bl_sw_scratch *x, size_t neighbours,
        struct bl_error *err)
{
    if (neighbours > NEIGHBOURS_MAX) return bl_fail_limit(err, "neighbours_per_atom", NEIGHBOURS_MAX, neighbours);
    const enum bl_status status = scratch_room(job, x, neighbours, err);
    if (status != BL_OK || p->used + neighbours <= p->capacity) return status;
    const size_t want = p->used + p->used / 2 + neighbours + 4 * BL_BLOCK;
    void *list = bl_alloc_array(job->quota, want, sizeof *p->list, err);
    if (!list) return bl_alloc_status(err);
    if (p->used > 0) memcpy(list, p->list, p->used * sizeof *p->list);
    bl_free(p->list);
    p->list = list;
    p->capacity = want;
    return BL_OK;
}

/* What neighbour (rank, image) of home h feels from h's side: its own record of h. */
static const struct bl_partial *reverse(const struct bl_sw_job *job, size_t h, const struct bl_partial *p)
{
    const struct bl_partial *row = job->partials[p->rank / BL_BLOCK].list + job->start[p->rank];
    const uint32_t n = job->count[p->rank], image = bl_search_opposite(job->search, p->image);
    for (uint32_t k = 0; k < n; k++)
        if (row[k].rank == h && row[k].image == image) return &row[k];
    return NULL; /* just at the cut-off, where both are zero: rounding put it on one side only */
}

void bl_sw_forces(const struct bl_sw_job *job, size_t block)
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
