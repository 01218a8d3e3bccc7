/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_pairs.h"

#include <string.h>

struct pair_model {
    char *table; /* species x species */
    size_t row_bytes;
};

bool bl_pair_names(const char species[2][BL_SYMBOL_SIZE], const char *a, const char *b)
{
    return (strcmp(species[0], a) == 0 && strcmp(species[1], b) == 0) || (strcmp(species[0], b) == 0 && strcmp(species[1], a) == 0);
}

bool bl_pair_general(const char species[2][BL_SYMBOL_SIZE]) { return species[0][0] == '\0' && species[1][0] == '\0'; }

enum bl_status bl_pairs_prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *p, size_t row_bytes,
                                bl_pair_row_fn *row, struct bl_error *err)
{
    const size_t n = s->species_count;
    struct pair_model *m = e->model = bl_alloc_zero(e->quota, sizeof *m, err);
    if (!m) return bl_alloc_status(err);
    m->row_bytes = row_bytes;
    m->table = bl_alloc_zero(e->quota, n * n * row_bytes, err);
    if (!m->table) return bl_alloc_status(err);
    bool *present;
    enum bl_status status = bl_species_present(e->quota, s, &present, err);
    if (status != BL_OK) return status;
    for (size_t i = 0; status == BL_OK && i < n * n; i++) {
        const size_t a = i / n, b = i % n;
        if (present[a] && present[b]) status = row(p, s->species[a], s->species[b], m->table + i * row_bytes, &e->scales, err);
    }
    bl_free(present);
    e->species = n;
    return status;
}

struct run {
    bl_pair_fn *fn;
    struct bl_pair_job job;
};

static enum bl_status body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct run *run = arg;
    enum bl_status status = BL_OK;
    (void)lane;
    for (size_t block = begin; status == BL_OK && block < end; block++) status = run->fn(&run->job, block, err);
    return status;
}

enum bl_status bl_pairs_compute(struct bl_ctx *ctx, struct bl_engine *e, bl_pair_fn *fn, unsigned want, struct bl_energies *out,
                                struct bl_error *err)
{
    const struct pair_model *m = e->model;
    struct run run = {fn, {.ctx = ctx, .search = &e->search, .table = m->table, .species = e->species, .want = want}};
    run.job.forces = out->forces;
    run.job.atom_energies = out->atom_energies;
    run.job.sums = e->sums;
    return bl_parallel_for(ctx, e->search.block_count, 4, body, &run, err);
}

void bl_pairs_clear(struct bl_engine *e)
{
    struct pair_model *m = e->model;
    if (m) bl_free(m->table);
    bl_free(m);
}

size_t bl_pairs_bytes(const struct bl_engine *e)
{
    const struct pair_model *m = e->model;
    return sizeof *m + e->species * e->species * m->row_bytes;
}
