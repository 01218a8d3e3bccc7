/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bl_search.h"

void bl_neighbours_clear(struct bl_neighbours *list)
{
    bl_free(list->first);
    bl_free(list->other);
    bl_free(list->shift);
    bl_free(list->vector);
    *list = (struct bl_neighbours){0};
}

struct entry {
    uint32_t other;
    int32_t shift[3];
    double vector[3];
};

static int compare_entries(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    if (a->other != b->other) return a->other < b->other ? -1 : 1;
    for (int k = 0; k < 3; k++)
        if (a->shift[k] != b->shift[k]) return a->shift[k] < b->shift[k] ? -1 : 1;
    return 0;
}

static struct entry entry_of(const struct bl_search *s, size_t atom, uint32_t home, uint32_t site)
{
    struct entry x = {.other = s->atom[site]};
    for (int k = 0; k < 3; k++) {
        x.shift[k] = s->image_shift[s->image[site]][k] + s->wrap[x.other][k] - s->wrap[atom][k];
        x.vector[k] = s->xyzt[4 * (size_t)site + (size_t)k] - s->xyzt[4 * (size_t)home + (size_t)k];
    }
    return x;
}

/* Row by row in the order of the atoms; `row` holds the longest. */
static void copy_rows(const struct bl_search *s, struct entry *row, struct bl_neighbours *list)
{
    uint64_t at = 0;
    for (size_t i = 0; i < s->atoms; i++) {
        const uint32_t h = s->rank[i];
        const uint32_t *sites = s->blocks[h / BL_BLOCK].list + s->row_start[h];
        const size_t n = s->row_length[h];
        for (size_t k = 0; k < n; k++) row[k] = entry_of(s, i, s->home[h], sites[k]);
        qsort(row, n, sizeof *row, compare_entries);
        list->first[i] = at;
        for (size_t k = 0; k < n; k++, at++) {
            list->other[at] = row[k].other;
            memcpy(list->shift[at], row[k].shift, sizeof row[k].shift);
            memcpy(list->vector[at], row[k].vector, sizeof row[k].vector);
        }
    }
    list->first[s->atoms] = at;
}

static enum bl_status collect(struct bl_quota *quota, const struct bl_search *s, struct bl_neighbours *out, struct bl_error *err)
{
    struct bl_neighbours list = {.atoms = s->atoms, .pairs = s->neighbours};
    size_t longest = 0;
    for (size_t h = 0; h < s->atoms; h++) longest = s->row_length[h] > longest ? s->row_length[h] : longest;
    struct entry *row = NULL;
    enum bl_status status = bl_search_room(quota, &row, longest, sizeof *row, err);
    if (status == BL_OK) status = bl_search_room(quota, &list.first, s->atoms + 1, sizeof *list.first, err);
    if (status == BL_OK) status = bl_search_room(quota, &list.other, list.pairs, sizeof *list.other, err);
    if (status == BL_OK) status = bl_search_room(quota, &list.shift, list.pairs, sizeof *list.shift, err);
    if (status == BL_OK) status = bl_search_room(quota, &list.vector, list.pairs, sizeof *list.vector, err);
    if (status == BL_OK) {
        copy_rows(s, row, &list);
        *out = list;
    } else {
        bl_neighbours_clear(&list);
    }
    bl_free(row);
    return status;
}

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
    if (status == BL_OK) status = collect(s.quota, &s, out, err);
    bl_search_clear(&s);
    return status;
}
