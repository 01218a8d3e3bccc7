/* SPDX-License-Identifier: Apache-2.0
 *
 * A model made ready, the list kept fresh, blocks summed.
 */
#include <math.h>
#include <string.h>

#include "bl_model.h"

/* ---- life ------------------------------------------------------------------------------ */

void bl_engine_free(struct bl_engine *e)
{
    if (!e) return;
    if (e->class) e->class->clear(e);
    bl_search_clear(&e->search);
    bl_free(e->sums);
    bl_free(e->tags);
    bl_free(e);
}

static enum bl_status prepare_tags(struct bl_engine *e, const struct bl_structure *s, struct bl_error *err)
{
    if (e->species < 2) return BL_OK;
    const enum bl_status status = bl_search_room(e->quota, &e->tags, s->atoms, sizeof *e->tags, err);
    for (size_t i = 0; status == BL_OK && i < s->atoms; i++) e->tags[i] = s->types[i];
    return status;
}

static enum bl_status prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *potential,
                              const struct bl_engine_options *options, struct bl_error *err)
{
    enum bl_status status = bl_structure_check(s, err);
    if (status == BL_OK) status = bl_structure_whole(s, "has no energy of its own", err);
    if (status == BL_OK) status = bl_lattice_init(&e->lattice, s, err);
    if (status != BL_OK) return status;
    e->class = bl_model_class_of(potential->type);
    if (!e->class) return bl_fail_invalid(err, "potential", "unknown type");
    status = e->class->prepare(e, s, potential, err);
    if (status == BL_OK && e->scales.cutoff == 0) /* no atoms */
        e->scales = (struct bl_scales){.length = 1, .curvature = 1, .neighbours = 12, .cutoff = 1};
    if (status == BL_OK) status = prepare_tags(e, s, err);
    if (status != BL_OK) return status;
    status = bl_search_room(e->quota, &e->sums, (s->atoms + BL_BLOCK - 1) / BL_BLOCK, sizeof *e->sums, err);
    e->cutoff = e->scales.cutoff;
    e->skin = e->class->skin * e->scales.length;
    if (options && options->skin >= 0) e->skin = options->skin;
    if (!isfinite(e->skin)) return bl_fail_invalid(err, "skin", "a finite number");
    e->rebuild_every = options ? options->rebuild_every : 0;
    return status;
}

enum bl_status bl_engine_new(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *potential,
                             const struct bl_engine_options *options, struct bl_engine **out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct bl_quota *quota = bl_ctx_quota(ctx);
    struct bl_engine *e = bl_alloc_zero(quota, sizeof *e, err);
    if (!e) return err->status;
    e->quota = quota;
    e->limits = options && options->limits ? *options->limits : bl_crystal_limits_default;
    e->kernels = bl_kernels_choose();
    e->atoms = s->atoms;
    bl_search_init(&e->search, quota, &e->limits);
    const enum bl_status status = prepare(e, s, potential, options, err);
    if (status != BL_OK) {
        bl_engine_free(e);
        return status;
    }
    *out = e;
    return BL_OK;
}

void bl_engine_scales(const struct bl_engine *e, struct bl_scales *out) { *out = e->scales; }

void bl_engine_stats(const struct bl_engine *e, struct bl_engine_stats *out)
{
    size_t bytes = sizeof *e + bl_search_bytes(&e->search) + e->search.block_count * sizeof *e->sums + e->class->bytes(e);
    if (e->tags) bytes += e->atoms * sizeof(double);
    *out = (struct bl_engine_stats){.computes = e->computes,
                                    .rebuilds = e->rebuilds,
                                    .images = e->search.sites,
                                    .neighbours = e->search.neighbours,
                                    .bytes = bytes,
                                    .list_bytes = bl_search_list_bytes(&e->search)};
}

/* ---- the list --------------------------------------------------------------------------- */

/* Has some atom moved more than half the slack since the list was made? NaN counts as moved. Homes were wrapped
 * by the same cells then and now, which the map takes along. */
static enum bl_status moved_too_far(struct bl_ctx *ctx, const struct bl_engine *e, bool *out, struct bl_error *err)
{
    const struct bl_search *s = &e->search;
    const double reach = 0.5 * e->slack - s->blur, limit = reach * reach;
    *out = !(reach >= 0);
    for (size_t h = 0; !*out && h < s->atoms; h++) {
        const size_t home = s->home[h];
        const double *now = s->xyzt + 4 * home;
        double x = s->origin[0] + (double)s->x[home], y = s->origin[1] + (double)s->y[home], z = s->origin[2] + (double)s->z[home];
        const enum bl_status status = bl_poll(ctx, h, err);
        if (status != BL_OK) return status;
        if (e->strained) {
            const double at[3] = {x, y, z};
            x = at[0] * e->affine[0][0] + at[1] * e->affine[1][0] + at[2] * e->affine[2][0];
            y = at[0] * e->affine[0][1] + at[1] * e->affine[1][1] + at[2] * e->affine[2][1];
            z = at[0] * e->affine[0][2] + at[1] * e->affine[1][2] + at[2] * e->affine[2][2];
        }
        const double dx = now[0] - x, dy = now[1] - y, dz = now[2] - z;
        *out = !(dx * dx + dy * dy + dz * dz <= limit);
    }
    return BL_OK;
}

/* Under the map A a pair at distance d beyond cut-off and skin stays beyond (1 - |A - 1|) d, less what
 * its two atoms move beside A. */
enum bl_status bl_engine_set_cell(struct bl_engine *e, double cell[3][3], struct bl_error *err)
{
    struct bl_structure s = {.atoms = 0};
    struct bl_lattice l;
    for (int i = 0; i < 3; i++) {
        s.pbc[i] = e->lattice.periodic[i];
        for (int c = 0; c < 3; c++) {
            if (!isfinite(cell[i][c])) return bl_fail_invalid(err, "cell", "a number is not finite");
            s.cell[i][c] = cell[i][c];
        }
    }
    const enum bl_status status = bl_lattice_init(&l, &s, err);
    if (status != BL_OK) return status;
    e->lattice = l;
    if (!e->built) return BL_OK;
    double norm2 = 0;
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < 3; c++) {
            e->affine[i][c] = e->built_inverse[i][0] * l.vectors[0][c] + e->built_inverse[i][1] * l.vectors[1][c] +
                              e->built_inverse[i][2] * l.vectors[2][c];
            norm2 += (e->affine[i][c] - (i == c)) * (e->affine[i][c] - (i == c));
        }
    e->strained = norm2 > 0;
    e->slack = (1 - sqrt(norm2)) * (e->cutoff + e->skin) - e->cutoff;
    for (size_t i = 0; i < e->search.images; i++) {
        const int32_t *shift = e->search.image_shift[i];
        bl_lattice_cartesian(&l, (const double[3]){shift[0], shift[1], shift[2]}, e->search.image_vector + 4 * i);
    }
    return BL_OK;
}

static enum bl_status refresh(struct bl_ctx *ctx, struct bl_engine *e, const double *positions, struct bl_error *err)
{
    if (e->built && (e->rebuild_every == 0 || ++e->since_rebuild < e->rebuild_every)) {
        bool moved = false;
        enum bl_status status = bl_search_move_homes(ctx, &e->search, &e->lattice, positions, err);
        if (status == BL_OK && e->rebuild_every == 0) status = moved_too_far(ctx, e, &moved, err);
        if (status != BL_OK) return status;
        if (!moved) return bl_search_move_images(ctx, &e->search, err);
    }
    e->built = false; /* until it has succeeded */
    const enum bl_status status = bl_search_build(ctx, &e->search, &e->lattice, positions, e->tags, e->atoms, e->cutoff + e->skin, err);
    if (status != BL_OK) return status;
    e->built = true;
    e->strained = false;
    e->slack = e->skin;
    memcpy(e->built_inverse, e->lattice.inverse, sizeof e->built_inverse);
    e->since_rebuild = 0;
    e->rebuilds++;
    return BL_OK;
}

/* ---- computing --------------------------------------------------------------------------- */

static enum bl_status sum_blocks(const struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err)
{
    double energy = 0, virial[6] = {0};
    bool finite = true;
    for (size_t b = 0; b < e->search.block_count; b++) {
        energy += e->sums[b].energy;
        for (int k = 0; k < 6; k++) virial[k] += e->sums[b].virial[k];
        finite = finite && e->sums[b].finite;
    }
    if (!finite || !isfinite(energy)) return bl_fail_invalid(err, "positions",
            "energy or force is not finite: atoms lie on top of each other");
    if (want & BL_WANT_ENERGY) out->energy = energy;
    if (want & BL_WANT_VIRIAL) memcpy(out->virial, virial, sizeof virial);
    return BL_OK;
}

enum bl_status bl_engine_compute(struct bl_ctx *ctx, struct bl_engine *e, const double *positions, unsigned want,
                                 struct bl_energies *out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    enum bl_status status = bl_ctx_check(ctx, err);
    if (status == BL_OK) status = refresh(ctx, e, positions, err);
    if (status == BL_OK) status = e->class->compute(ctx, e, want, out, err);
    if (status == BL_OK) status = sum_blocks(e, want, out, err);
    e->computes++;
    return status;
}
