/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_kernels.h"

#include <math.h>
#include <string.h>

/* ---- memory -------------------------------------------------------------------- */

void bl_search_init(struct bl_search *s, struct bl_quota *quota, const struct bl_crystal_limits *limits)
{
    *s = (struct bl_search){.quota = quota, .limits = limits};
}

void bl_search_clear(struct bl_search *s)
{
    void *const all[] = {s->wrap, s->rank, s->atom, s->image, s->xyzt, s->x, s->y, s->z, s->home, s->row_start, s->row_length,
                         s->image_shift, s->image_vector, s->bin_start};
    bl_lanes_clear(&s->lanes);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bl_free(all[i]);
    for (size_t i = 0; i < s->block_room; i++) bl_free(s->blocks[i].list);
    bl_free(s->blocks);
    bl_search_init(s, s->quota, s->limits);
}

size_t bl_search_bytes(const struct bl_search *s)
{
    size_t bytes = s->atom_room * (sizeof *s->wrap + sizeof *s->rank) +
                   s->site_room * (2 * sizeof(uint32_t) + 4 * sizeof(double) + 3 * sizeof(float)) + s->home_room * 3 * sizeof(uint32_t) +
                   s->bin_room * sizeof(uint32_t) + s->image_room * (sizeof *s->image_shift + 4 * sizeof(double));
    return bytes + s->block_room * sizeof *s->blocks + bl_search_list_bytes(s);
}

size_t bl_search_list_bytes(const struct bl_search *s)
{
    size_t bytes = 0;
    for (size_t i = 0; i < s->block_room; i++) bytes += s->blocks[i].capacity * sizeof(uint16_t);
    return bytes;
}

enum bl_status bl_search_room(struct bl_quota *quota, void *p, size_t count, size_t size, struct bl_error *err)
{
    void **slot = p;
    bl_free(*slot);
    *slot = bl_alloc_array(quota, count, size, err);
    return *slot ? BL_OK : bl_alloc_status(err);
}

static enum bl_status room_for_atoms(struct bl_search *s, size_t n, struct bl_error *err)
{
    if (n <= s->atom_room && s->wrap) return BL_OK;
    s->atom_room = 0;
    enum bl_status status = bl_search_room(s->quota, &s->wrap, n, sizeof *s->wrap, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &s->rank, n, sizeof *s->rank, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &s->home, n, sizeof *s->home, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &s->row_start, n, sizeof *s->row_start, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &s->row_length, n, sizeof *s->row_length, err);
    if (status == BL_OK) s->atom_room = s->home_room = n;
    return status;
}

enum { BEYOND = 8 }; /* the search reads up to 7 beyond the last */

static enum bl_status room_for_sites(struct bl_search *s, size_t n, struct bl_error *err)
{
    if (n <= s->site_room && s->atom) return BL_OK;
    s->site_room = 0;
    const size_t room = n + n / 64 + BEYOND; /* numbers of images vary a little */
    enum bl_status status = bl_search_room(s->quota, &s->atom, room, sizeof *s->atom, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &s->image, room, sizeof *s->image, err);
    if (status == BL_OK) status = bl_search_room(s->quota, &s->xyzt, room, 4 * sizeof(double), err);
    if (status == BL_OK) status = bl_search_room(s->quota, &s->x, room, sizeof(float), err);
    if (status == BL_OK) status = bl_search_room(s->quota, &s->y, room, sizeof(float), err);
    if (status == BL_OK) status = bl_search_room(s->quota, &s->z, room, sizeof(float), err);
    if (status == BL_OK) s->site_room = room - BEYOND;
    return status;
}

static enum bl_status room_for_blocks(struct bl_search *s, size_t n, struct bl_error *err)
{
    s->block_count = n;
    if (n <= s->block_room) return BL_OK;
    struct bl_block *blocks = bl_alloc_array(s->quota, n, sizeof *blocks, err);
    if (!blocks) return bl_alloc_status(err);
    memset(blocks, 0, n * sizeof *blocks);
    if (s->block_room > 0) memcpy(blocks, s->blocks, s->block_room * sizeof *blocks);
    bl_free(s->blocks);
    s->blocks = blocks;
    s->block_room = n;
    return BL_OK;
}

/* ---- images -------------------------------------------------------------------- */

/* Along one direction: the fractional margin around the cell in which images are wanted,
 * and how many cells that reaches. Margins are widened by a hair: a pair exactly in range
 * must not be lost to rounding. */
struct margin {
    double width;
    int32_t cells;
};

static enum bl_status plan_images(struct bl_ctx *ctx, struct bl_search *s, const struct bl_lattice *l, struct margin m[3],
                                  struct bl_error *err)
{
    double total = 1;
    for (int k = 0; k < 3; k++) {
        m[k] = (struct margin){0, 0};
        if (!l->periodic[k]) continue;
        m[k].width = s->range / l->heights[k] * (1 + 1e-9) + 1e-9;
        const double cells = ceil(m[k].width);
        total *= 2 * cells + 1;
        if (!(total <= (double)s->limits->max_images))
            return bl_fail_limit(err, "images", s->limits->max_images, total < 1e18 ? (uint64_t)total : UINT64_C(1000000000000000000));
        m[k].cells = (int32_t)cells;
    }
    const size_t images = (size_t)total;
    if (images > s->image_room) {
        s->image_room = 0;
        enum bl_status status = bl_search_room(s->quota, &s->image_shift, images, sizeof *s->image_shift, err);
        if (status == BL_OK) status = bl_search_room(s->quota, &s->image_vector, images, 4 * sizeof(double), err);
        if (status != BL_OK) return status;
        s->image_room = images;
    }
    s->images = images;
    size_t i = 0;
    for (int32_t a = -m[0].cells; a <= m[0].cells; a++)
        for (int32_t b = -m[1].cells; b <= m[1].cells; b++)
            for (int32_t c = -m[2].cells; c <= m[2].cells; c++, i++) {
                const double f[3] = {a, b, c};
                const enum bl_status status = bl_poll(ctx, i, err);
                if (status != BL_OK) return status;
                s->image_shift[i][0] = a;
                s->image_shift[i][1] = b;
                s->image_shift[i][2] = c;
                bl_lattice_cartesian(l, f, s->image_vector + 4 * i);
                s->image_vector[4 * i + 3] = 0;
            }
    return BL_OK;
}

/* The shifts along one direction that put an atom at fraction f inside cell and margin: in a large cell, of nearly all
 * atoms none. */
static inline void shift_span(const struct margin *m, double f, int32_t *low, int32_t *high)
{
    *low = *high = 0;
    if (m->cells == 0 || (f > m->width && f < 1 - m->width)) return;
    *low = (int32_t)ceil(-m->width - f);
    *high = (int32_t)floor(1 + m->width - f);
    if (*low < -m->cells) *low = -m->cells;
    if (*high > m->cells) *high = m->cells;
}

/* ---- wrapping ------------------------------------------------------------------ */

/* Beyond this many cells a position is an error, not an atom: shifts must fit 32 bits. */
#define WRAP_MAX 1e9

/* What a build looks at. */
struct source {
    struct bl_ctx *ctx;
    struct bl_search *s;
    const struct bl_lattice *lattice;
    const double *positions, *tags;
};

/* Of the wrapped atom: in [0, 1] along periodic directions, 1 by rounding, which is harmless. Computed again where
 * it is needed: cheaper than memory for all atoms. */
static void fraction_of(const struct source *b, size_t i, double f[3])
{
    bl_lattice_fractional(b->lattice, b->positions + 3 * i, f);
    for (int k = 0; k < 3; k++) f[k] += b->s->wrap[i][k];
}

static enum bl_status wrap_atoms(const struct source *b, struct bl_error *err)
{
    struct bl_search *s = b->s;
    s->wrapped = false;
    for (size_t i = 0; i < s->atoms; i++) {
        const double *r = b->positions + 3 * i;
        double f[3];
        const enum bl_status status = bl_poll(b->ctx, i, err);
        if (status != BL_OK) return status;
        if (!isfinite(r[0]) || !isfinite(r[1]) || !isfinite(r[2]))
            return bl_fail_invalid(err, "positions", "the position of atom %zu is not finite", i + 1);
        bl_lattice_fractional(b->lattice, r, f);
        for (int k = 0; k < 3; k++) {
            s->wrap[i][k] = 0;
            if (!b->lattice->periodic[k]) continue;
            if (f[k] >= 0 && f[k] < 1) continue;
            const double cell = floor(f[k]);
            if (!(fabs(cell) < WRAP_MAX)) return bl_fail_invalid(err, "positions", "atom %zu is %.3g cells away", i + 1, cell);
            s->wrap[i][k] = -(int32_t)cell;
            s->wrapped = s->wrapped || cell != 0;
        }
    }
    return BL_OK;
}

static void place_home(const struct bl_search *s, const struct bl_lattice *l, const double *positions, size_t i, double *out)
{
    memcpy(out, positions + 3 * i, 3 * sizeof(double));
    if (!s->wrapped || (s->wrap[i][0] == 0 && s->wrap[i][1] == 0 && s->wrap[i][2] == 0)) return;
    const double w[3] = {s->wrap[i][0], s->wrap[i][1], s->wrap[i][2]};
    double shift[3];
    bl_lattice_cartesian(l, w, shift);
    for (int c = 0; c < 3; c++) out[c] += shift[c];
}

/* ---- bins ---------------------------------------------------------------------- */

struct grid {
    double low[3], per[3]; /* bin = (f - low) * per */
};

/* Bins of half the range: 125 of them hold 2/3 of what 27 of the full range would. Where few atoms are in range, walking
 * through 25 columns of them costs more than the candidates: then 9, of bins that are a quarter as high. Fewer
 * where atoms are sparse, so that memory stays linear in the sites. */
static enum bl_status plan_bins(const struct source *b, const struct margin m[3], size_t sites, struct grid *g, struct bl_error *err)
{
    struct bl_search *s = b->s;
    const struct bl_lattice *l = b->lattice;
    enum { FEW = 10 }; /* sites in a cube of the range: some 40 neighbours */
    static const double halves[3] = {0.5, 0.5, 0.5}, columns[3] = {1, 1, 0.25};
    double extent[3], bins[3], cubes = fabs(l->volume) / (s->range * s->range * s->range);
    for (int k = 0; k < 3; k++) {
        double low = -m[k].width, high = 1 + m[k].width;
        if (!l->periodic[k]) {
            low = INFINITY;
            high = -INFINITY;
            for (size_t i = 0; i < s->atoms; i++) {
                double f[3];
                const enum bl_status status = bl_poll(b->ctx, i, err);
                if (status != BL_OK) return status;
                fraction_of(b, i, f);
                low = fmin(low, f[k]);
                high = fmax(high, f[k]);
            }
        }
        g->low[k] = low;
        extent[k] = high - low;
        cubes *= extent[k];
    }
    const double *const part = (double)sites < FEW * cubes ? columns : halves;
    for (int k = 0; k < 3; k++)
        bins[k] = fmin(fmax(floor(extent[k] * l->heights[k] / (part[k] * s->range * (1 + 1e-7))), 1), 1 << 20);
    const double most = 2.0 * (double)sites + 64;
    while (bins[0] * bins[1] * bins[2] > most) {
        int widest = 0;
        for (int k = 1; k < 3; k++)
            if (bins[k] > bins[widest]) widest = k;
        bins[widest] = ceil(bins[widest] / 2);
    }
    for (int k = 0; k < 3; k++) {
        s->bins[k] = (uint32_t)bins[k];
        const double width = extent[k] * l->heights[k] / bins[k];
        g->per[k] = extent[k] > 0 ? bins[k] / extent[k] : 0;
        const double reach = width > 0 ? ceil(s->range / width * (1 + 1e-9)) : 0;
        s->reach[k] = (uint32_t)fmin(reach, bins[k]);
    }
    return BL_OK;
}

static uint32_t bin_along(const struct bl_search *s, const struct grid *g, int k, double f)
{
    const double b = (f - g->low[k]) * g->per[k];
    if (!(b > 0)) return 0;
    return b < (double)s->bins[k] ? (uint32_t)b : s->bins[k] - 1;
}

/* Each site of atom i in a fixed order: it is counted in its bin, or put there. */
static inline enum bl_status visit_atom(const struct source *source, const struct margin m[3], const struct grid *g, size_t i,
                                        const bool put, size_t *work, struct bl_error *err)
{
    struct bl_search *s = source->s;
    uint32_t *const bin_start = s->bin_start, *const atom = s->atom, *const images = s->image;
    double f[3];
    fraction_of(source, i, f);
    int32_t low[3], high[3];
    for (int k = 0; k < 3; k++) shift_span(&m[k], f[k], &low[k], &high[k]);
    const uint32_t n1 = (uint32_t)(2 * m[1].cells + 1), n2 = (uint32_t)(2 * m[2].cells + 1);
    for (int32_t a = low[0]; a <= high[0]; a++) {
        const uint32_t bin0 = bin_along(s, g, 0, f[0] + a);
        for (int32_t b = low[1]; b <= high[1]; b++) {
            const enum bl_status status = bl_poll_work(source->ctx, work, (size_t)(high[2] - low[2] + 1), err);
            if (status != BL_OK) return status;
            const uint32_t bin1 = bin0 * s->bins[1] + bin_along(s, g, 1, f[1] + b);
            for (int32_t c = low[2]; c <= high[2]; c++) {
                const uint32_t image = ((uint32_t)(a + m[0].cells) * n1 + (uint32_t)(b + m[1].cells)) * n2 + (uint32_t)(c + m[2].cells);
                const uint32_t bin = bin1 * s->bins[2] + bin_along(s, g, 2, f[2] + c);
                if (!put) {
                    bin_start[bin + 1]++;
                    continue;
                }
                const uint32_t at = bin_start[bin]++;
                atom[at] = (uint32_t)i;
                images[at] = image;
            }
        }
    }
    return BL_OK;
}

static inline enum bl_status visit_sites(const struct source *source, const struct margin m[3], const struct grid *g, const bool put,
                                         struct bl_error *err)
{
    enum bl_status status = BL_OK;
    size_t work = 0;
    for (size_t i = 0; status == BL_OK && i < source->s->atoms; i++) status = visit_atom(source, m, g, i, put, &work, err);
    return status;
}

static enum bl_status count_sites(const struct source *b, const struct margin m[3], size_t *out, struct bl_error *err)
{
    const struct bl_search *s = b->s;
    size_t total = 0;
    const size_t most = s->limits->max_images < UINT32_MAX - 1 ? s->limits->max_images : UINT32_MAX - 1;
    for (size_t i = 0; i < s->atoms; i++) {
        size_t here = 1;
        double f[3];
        const enum bl_status status = bl_poll(b->ctx, i, err);
        if (status != BL_OK) return status;
        fraction_of(b, i, f);
        for (int k = 0; k < 3; k++) {
            int32_t low, high;
            shift_span(&m[k], f[k], &low, &high);
            here *= (size_t)(high - low + 1);
        }
        total += here;
        if (total > most) return bl_fail_limit(err, "images", most, total);
    }
    *out = total;
    return BL_OK;
}

static enum bl_status sort_sites(const struct source *b, const struct margin m[3], const struct grid *g, struct bl_error *err)
{
    struct bl_search *s = b->s;
    const size_t bins = (size_t)s->bins[0] * s->bins[1] * s->bins[2];
    if (bins + 2 > s->bin_room) {
        s->bin_room = 0;
        const enum bl_status status = bl_search_room(s->quota, &s->bin_start, bins + bins / 8 + 2, sizeof *s->bin_start, err);
        if (status != BL_OK) return status;
        s->bin_room = bins + bins / 8 + 2;
    }
    memset(s->bin_start, 0, (bins + 2) * sizeof *s->bin_start);
    enum bl_status status = visit_sites(b, m, g, false, err);
    if (status != BL_OK) return status;
    for (size_t k = 0; k < bins; k++) s->bin_start[k + 1] += s->bin_start[k];
    status = visit_sites(b, m, g, true, err);
    if (status != BL_OK) return status;
    /* Each start has moved to its end: shift back. */
    memmove(s->bin_start + 1, s->bin_start, bins * sizeof *s->bin_start);
    s->bin_start[0] = 0;
    return bl_ctx_check(b->ctx, err);
}

/* ---- positions of sites ----------------------------------------------------------- */

struct move_job {
    struct bl_search *s;
    const struct bl_lattice *lattice;
    const double *positions;
};

static enum bl_status home_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct move_job *job = arg;
    const struct bl_search *s = job->s;
    (void)lane;
    (void)err;
    for (size_t h = begin; h < end; h++) {
        const size_t e = s->home[h];
        place_home(s, job->lattice, job->positions, s->atom[e], s->xyzt + 4 * e);
    }
    return BL_OK;
}

/* The image with no shift is the home itself: the middle of an odd box. */
static uint32_t no_shift(const struct bl_search *s) { return (uint32_t)(s->images / 2); }

static enum bl_status image_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    const struct bl_search *s = arg;
    const uint32_t centre = no_shift(s);
    (void)lane;
    (void)err;
    for (size_t e = begin; e < end; e++) {
        if (s->image[e] == centre) continue;
        const double *h = s->xyzt + 4 * (size_t)s->home[s->rank[s->atom[e]]], *v = s->image_vector + 4 * (size_t)s->image[e];
        double *out = s->xyzt + 4 * e;
        for (int c = 0; c < 4; c++) out[c] = h[c] + v[c];
    }
    return BL_OK;
}

enum { MOVE_GRAIN = 2048 };

enum bl_status bl_search_move_homes(struct bl_ctx *ctx, struct bl_search *s, const struct bl_lattice *lattice, const double *positions,
                                    struct bl_error *err)
{
    struct move_job job = {s, lattice, positions};
    return bl_parallel_for(ctx, s->atoms, MOVE_GRAIN, home_body, &job, err);
}

enum bl_status bl_search_move_images(struct bl_ctx *ctx, struct bl_search *s, struct bl_error *err)
{
    return bl_parallel_for(ctx, s->sites, MOVE_GRAIN, image_body, s, err);
}

/* The homes in the order of sites, with their tags. */
static enum bl_status list_homes(const struct source *b, struct bl_error *err)
{
    struct bl_search *s = b->s;
    const uint32_t centre = no_shift(s);
    uint32_t n = 0;
    for (size_t e = 0; e < s->sites; e++) {
        const enum bl_status status = bl_poll(b->ctx, e, err);
        if (status != BL_OK) return status;
        if (s->image[e] != centre) continue;
        s->rank[s->atom[e]] = n;
        s->home[n++] = (uint32_t)e;
        s->xyzt[4 * e + 3] = b->tags ? b->tags[s->atom[e]] : 0;
    }
    return BL_OK;
}

/* The box around all sites: its middle becomes the origin; how far from it they are. */
static enum bl_status centre_places(const struct source *b, double *farthest, struct bl_error *err)
{
    struct bl_search *s = b->s;
    double low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
    for (size_t e = 0; e < s->sites; e++) {
        const double *r = s->xyzt + 4 * e;
        const enum bl_status status = bl_poll(b->ctx, e, err);
        if (status != BL_OK) return status;
        for (int c = 0; c < 3; c++) {
            low[c] = r[c] < low[c] ? r[c] : low[c];
            high[c] = r[c] > high[c] ? r[c] : high[c];
        }
    }
    *farthest = 0;
    for (int c = 0; c < 3; c++) {
        s->origin[c] = low[c] + 0.5 * (high[c] - low[c]);
        *farthest = fmax(*farthest, fmax(high[c] - s->origin[c], s->origin[c] - low[c]));
    }
    return BL_OK;
}

/* Copies for the search, from the middle of all: half the memory, and off by at most farthest 2^-24 each. Numbers
 * that do not fit nobody looks at: the filter then takes all. */
static enum bl_status remember_places(const struct source *b, struct bl_error *err)
{
    struct bl_search *s = b->s;
    double farthest = 0;
    enum bl_status status = centre_places(b, &farthest, err);
    s->blur = farthest * 0x1p-22;
    const double scale = farthest < 1e30 ? 1 : 0;
    for (size_t e = 0; status == BL_OK && e < s->sites; e++) {
        const double *r = s->xyzt + 4 * e;
        status = bl_poll(b->ctx, e, err);
        s->x[e] = (float)(scale * (r[0] - s->origin[0]));
        s->y[e] = (float)(scale * (r[1] - s->origin[1]));
        s->z[e] = (float)(scale * (r[2] - s->origin[2]));
    }
    for (size_t e = s->sites; e < s->sites + BEYOND; e++) s->x[e] = s->y[e] = s->z[e] = 0;
    return status;
}

/* ---- rows ------------------------------------------------------------------------- */

struct row_job {
    struct bl_ctx *ctx;
    struct bl_search *s;
    bl_filter_fn *choose;
    struct bl_filter filter;
    uint64_t neighbours; /* atomic */
};

/* Bins are at least half the range wide, so at most 25 pairs of outer bins are in reach. */
enum { COLUMNS_MOST = 25 };

/* Where candidates of the homes in a bin lie: a range for each pair of outer bins. */
struct stencil {
    struct bl_range ranges[COLUMNS_MOST];
    size_t count, own, candidates; /* own: which range has the bin itself */
};

static void set_stencil(const struct bl_search *s, uint32_t bin, struct stencil *t)
{
    const uint32_t at[3] = {bin / s->bins[2] / s->bins[1], bin / s->bins[2] % s->bins[1], bin % s->bins[2]};
    uint32_t low[3], high[3];
    for (int k = 0; k < 3; k++) {
        low[k] = at[k] > s->reach[k] ? at[k] - s->reach[k] : 0;
        high[k] = at[k] + s->reach[k] < s->bins[k] ? at[k] + s->reach[k] : s->bins[k] - 1;
    }
    t->count = t->candidates = 0;
    for (uint32_t a = low[0]; a <= high[0]; a++)
        for (uint32_t b = low[1]; b <= high[1]; b++) {
            const uint32_t *const start = s->bin_start + ((size_t)a * s->bins[1] + b) * s->bins[2];
            const struct bl_range r = {start[low[2]], start[high[2] + 1]};
            if (a == at[0] && b == at[1]) t->own = t->count;
            t->candidates += r.end - r.begin;
            t->ranges[t->count] = r;
            t->count += r.end > r.begin;
        }
}

/* The bin of a site: the last that begins there or before. */
static uint32_t bin_of(const struct bl_search *s, uint32_t site)
{
    uint32_t low = 0, high = s->bins[0] * s->bins[1] * s->bins[2];
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (s->bin_start[middle] <= site) low = middle;
        else high = middle;
    }
    return low;
}

static enum bl_status block_room(struct bl_search *s, struct bl_block *block, size_t need, size_t done, size_t total, struct bl_error *err)
{
    if (block->list && need <= block->capacity) return BL_OK; /* a row without neighbours has a place, too */
    /* Of the rows so far, how long will all be? */
    size_t want = done > 0 ? block->used / done * total + block->used / 32 : 0;
    if (want < need) want = need;
    uint16_t *list = bl_alloc_array(s->quota, want, sizeof *list, err);
    if (!list) return bl_alloc_status(err);
    if (block->used > 0) memcpy(list, block->list, block->used * sizeof *list);
    bl_free(block->list);
    block->list = list;
    block->capacity = want;
    return BL_OK;
}

/* ---- groups ---- */

static size_t group_words(const struct bl_block *block) { return block->wide ? BL_WIDE_WORDS : BL_NARROW_WORDS; }

/* Do the sites of every group lie close enough to each other? */
static bool fits_narrow(const uint32_t *sites, size_t n)
{
    for (size_t k = 0; k < n; k += BL_GROUP) {
        const size_t last = k + BL_GROUP < n ? k + BL_GROUP - 1 : n - 1;
        if (sites[last] - sites[k] > UINT16_MAX) return false;
    }
    return true;
}

/* `sites` is filled up to a whole group with its last group's first site. */
static void put_groups(const struct bl_block *block, const uint32_t *sites, size_t n, uint16_t *out)
{
    for (size_t k = 0; k < n; k += BL_GROUP) {
        if (block->wide) {
            memcpy(out, sites + k, BL_GROUP * sizeof *sites);
            out += BL_WIDE_WORDS;
            continue;
        }
        memcpy(out, sites + k, sizeof *sites);
        for (size_t i = 0; i < BL_GROUP; i++) out[2 + i] = (uint16_t)(sites[k + i] - sites[k]);
        out += BL_NARROW_WORDS;
    }
}

void bl_search_row(const struct bl_search *s, size_t h, uint32_t *sites)
{
    const struct bl_block *block = &s->blocks[h / BL_BLOCK];
    const uint16_t *group = block->list + s->row_start[h] * group_words(block);
    for (size_t k = 0; k < s->row_length[h]; k += BL_GROUP, group += group_words(block)) {
        const size_t n = s->row_length[h] - k < BL_GROUP ? s->row_length[h] - k : BL_GROUP;
        uint32_t base;
        memcpy(&base, group, sizeof base);
        if (block->wide) memcpy(sites + k, group, n * sizeof *sites);
        else
            for (size_t i = 0; i < n; i++) sites[k + i] = base + group[2 + i];
    }
}

/* Every candidate: for numbers that single precision cannot tell apart. */
static size_t take_all(const struct bl_filter *f, const struct bl_range *ranges, size_t count, const float at[3], uint32_t *out,
                       bool *unsure)
{
    size_t n = 0;
    (void)f, (void)at;
    for (size_t k = 0; k < count; k++)
        for (uint32_t j = ranges[k].begin; j < ranges[k].end; j++) out[n++] = j;
    *unsure = true;
    return n;
}

/* Differences of two places are off by half a blur, sums of their squares by a few units of the last place. */
static void choose_filter(struct row_job *job)
{
    const struct bl_search *s = job->s;
    const double outer = s->range * (1 + 1e-6) + 2 * s->blur, inner = s->range * (1 - 1e-6) - 2 * s->blur;
    const bool coarse = !(inner > 0.5 * s->range) || !(s->range > 1e-15) || !(outer < 1e15);
    job->choose = coarse ? take_all : bl_kernels_choose()->filter;
    job->filter = (struct bl_filter){s->x, s->y, s->z, coarse ? 0 : (float)(outer * outer * (1 + 1e-6)),
                                     coarse ? 0 : (float)(inner * inner * (1 - 1e-6))};
}

/* Those that are in range by their places themselves. */
static size_t keep_near(const struct bl_search *s, uint32_t self, uint32_t *sites, size_t n)
{
    const double *at = s->xyzt + 4 * (size_t)self, range2 = s->range * s->range;
    size_t kept = 0;
    for (size_t k = 0; k < n; k++) {
        const double *r = s->xyzt + 4 * (size_t)sites[k];
        const double dx = r[0] - at[0], dy = r[1] - at[1], dz = r[2] - at[2];
        sites[kept] = sites[k];
        kept += dx * dx + dy * dy + dz * dz < range2;
    }
    return kept;
}

/* The neighbours of site `self`, ascending. A range that is long is work for a poll of its own. */
static enum bl_status fill_row(const struct row_job *job, const struct stencil *t, uint32_t self, uint32_t *out, size_t *work,
                               size_t *found, struct bl_error *err)
{
    const struct bl_search *s = job->s;
    const float at[3] = {s->x[self], s->y[self], s->z[self]};
    struct bl_range ranges[COLUMNS_MOST + 1];
    bool unsure = false;
    size_t n = 0;
    memcpy(ranges, t->ranges, (t->own + 1) * sizeof ranges[0]);
    ranges[t->own].end = self;
    memcpy(ranges + t->own + 1, t->ranges + t->own, (t->count - t->own) * sizeof ranges[0]);
    ranges[t->own + 1].begin = self + 1;
    const size_t count = t->count + 1, each = t->candidates < BL_POLL_ATOMS ? count : 1;
    for (size_t k = 0; k < count; k += each) {
        const enum bl_status status = bl_poll_work(job->ctx, work, each > 1 ? t->candidates : ranges[k].end - ranges[k].begin, err);
        if (status != BL_OK) return status;
        n += job->choose(&job->filter, ranges + k, each, at, out + n, &unsure);
    }
    *found = unsure ? keep_near(s, self, out, n) : n;
    return BL_OK;
}

static enum bl_status fill_block(struct row_job *job, size_t index, bool wide, struct bl_scratch *x, bool *too_wide, struct bl_error *err)
{
    struct bl_search *s = job->s;
    struct bl_block *block = &s->blocks[index];
    const size_t begin = index * BL_BLOCK, end = begin + BL_BLOCK < s->atoms ? begin + BL_BLOCK : s->atoms;
    uint64_t found = 0;
    size_t work = 0;
    struct stencil t;
    uint32_t bin = bin_of(s, s->home[begin]);
    set_stencil(s, bin, &t);
    block->used = 0;
    block->wide = wide;
    for (size_t h = begin; h < end; h++) {
        const uint32_t self = s->home[h];
        if (self >= s->bin_start[bin + 1]) {
            while (self >= s->bin_start[bin + 1]) bin++;
            set_stencil(s, bin, &t);
        }
        enum bl_status status = bl_scratch_room(s->quota, x, t.candidates, 1, err);
        if (status != BL_OK) return status;
        size_t n = 0;
        status = fill_row(job, &t, self, x->site, &work, &n, err);
        if (status != BL_OK) return status;
        found += n;
        s->row_start[h] = (uint32_t)(block->used / group_words(block));
        s->row_length[h] = (uint32_t)n;
        *too_wide = !wide && !fits_narrow(x->site, n);
        if (*too_wide) return BL_OK;
        for (const uint32_t first = n > 0 ? x->site[(n - 1) / BL_GROUP * BL_GROUP] : 0; n % BL_GROUP != 0; n++) x->site[n] = first;
        const size_t words = n / BL_GROUP * group_words(block);
        status = block_room(s, block, block->used + words, h - begin, end - begin, err);
        if (status != BL_OK) return status;
        put_groups(block, x->site, n, block->list + block->used);
        block->used += words;
        if (block->used > UINT32_MAX) return bl_fail_limit(err, "neighbours", UINT32_MAX, block->used);
    }
    const uint64_t total = __atomic_add_fetch(&job->neighbours, found, __ATOMIC_RELAXED);
    return total <= s->limits->max_neighbours ? BL_OK : bl_fail_limit(err, "neighbours", s->limits->max_neighbours, total);
}

static enum bl_status row_body(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err)
{
    struct row_job *job = arg;
    struct bl_scratch *x = &job->s->lanes.scratch[lane];
    enum bl_status status = BL_OK;
    for (size_t i = begin; status == BL_OK && i < end; i++) {
        bool too_wide = false;
        status = fill_block(job, i, false, x, &too_wide, err);
        if (status == BL_OK && too_wide) status = fill_block(job, i, true, x, &too_wide, err);
    }
    return status;
}

/* ---- the whole ----------------------------------------------------------------------- */

enum bl_status bl_search_build(struct bl_ctx *ctx, struct bl_search *s, const struct bl_lattice *lattice, const double *positions,
                               const double *tags, size_t atoms, double range, struct bl_error *err)
{
    const struct source source = {ctx, s, lattice, positions, tags};
    struct margin m[3];
    struct grid grid;
    struct row_job job = {.ctx = ctx, .s = s};
    s->atoms = atoms;
    s->range = range;
    size_t sites = 0;
    enum bl_status status = room_for_atoms(s, atoms, err);
    if (status == BL_OK) status = plan_images(ctx, s, lattice, m, err);
    if (status == BL_OK) status = wrap_atoms(&source, err);
    if (status == BL_OK) status = count_sites(&source, m, &sites, err);
    if (status == BL_OK) status = room_for_sites(s, sites, err);
    if (status == BL_OK) status = room_for_blocks(s, (atoms + BL_BLOCK - 1) / BL_BLOCK, err);
    if (status == BL_OK) status = bl_lanes_ready(ctx, s->quota, &s->lanes, err);
    if (status == BL_OK) status = bl_ctx_check(ctx, err);
    if (status != BL_OK) return status;
    s->sites = sites;
    if (atoms == 0) return BL_OK;
    status = plan_bins(&source, m, sites, &grid, err);
    if (status == BL_OK) status = sort_sites(&source, m, &grid, err);
    if (status == BL_OK) status = list_homes(&source, err);
    if (status == BL_OK) status = bl_search_move_homes(ctx, s, lattice, positions, err);
    if (status == BL_OK) status = bl_search_move_images(ctx, s, err);
    if (status == BL_OK) status = remember_places(&source, err);
    if (status != BL_OK) return status;
    choose_filter(&job);
    status = bl_parallel_for(ctx, s->block_count, 1, row_body, &job, err);
    s->neighbours = job.neighbours;
    return status;
}
