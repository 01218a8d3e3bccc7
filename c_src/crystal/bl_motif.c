/* SPDX-License-Identifier: Apache-2.0
 *
 * The primitive cell within a tolerance: all translations that bring the structure onto itself, the lattice
 * that they and the cell make, the mean of what falls together.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bl_match.h"

double bl_cell_volume(double cell[3][3])
{
    double n[3];
    bl_cross(cell[1], cell[2], n);
    return bl_dot(cell[0], n);
}

void bl_cell_invert(double cell[3][3], double out[3][3])
{
    const double volume = bl_cell_volume(cell);
    for (int k = 0; k < 3; k++) {
        double n[3];
        bl_cross(cell[(k + 1) % 3], cell[(k + 2) % 3], n);
        for (int c = 0; c < 3; c++) out[c][k] = n[c] / volume;
    }
}

void bl_row_times(const double x[3], double m[3][3], double out[3])
{
    for (int c = 0; c < 3; c++) out[c] = x[0] * m[0][c] + x[1] * m[1][c] + x[2] * m[2][c];
}

/* ---- reduction ---------------------------------------------------------------------- */

/* The third vector made shorter by whole multiples of the others; false: it was the shortest. */
static bool shorten(double v[3], const double *a, const double *b)
{
    double best[3], least = bl_dot(v, v) * (1 - 1e-12);
    bool better = false;
    const double na = round(-bl_dot(v, a) / bl_dot(a, a)), nb = b ? round(-bl_dot(v, b) / bl_dot(b, b)) : 0;
    for (int i = -1; i <= 1; i++) {
        for (int k = b ? -1 : 0; k <= (b ? 1 : 0); k++) {
            double w[3];
            for (int c = 0; c < 3; c++) w[c] = v[c] + (na + i) * a[c] + (b ? (nb + k) * b[c] : 0);
            const double length = bl_dot(w, w);
            if (!(length < least)) continue;
            least = length;
            memcpy(best, w, sizeof best);
            better = true;
        }
    }
    if (better) memcpy(v, best, sizeof best);
    return better;
}

static void sort_rows(double m[3][3])
{
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2 - i; k++) {
            if (bl_dot(m[k], m[k]) <= bl_dot(m[k + 1], m[k + 1])) continue;
            double t[3];
            memcpy(t, m[k], sizeof t);
            memcpy(m[k], m[k + 1], sizeof t);
            memcpy(m[k + 1], t, sizeof t);
        }
}

void bl_cell_reduce(double cell[3][3])
{
    const bool left = bl_cell_volume(cell) < 0;
    for (int round = 0; round < 1000; round++) { /* each makes a vector shorter: a few are enough */
        sort_rows(cell);
        if (!shorten(cell[1], cell[0], NULL) && !shorten(cell[2], cell[0], cell[1])) break;
    }
    if ((bl_cell_volume(cell) < 0) != left)
        for (int c = 0; c < 3; c++) cell[2][c] = -cell[2][c];
}

/* In a reduced basis the nearest image is at most one cell from the rounded one, and nothing is nearer than half
 * the shortest vector. */
double bl_nearest(double cell[3][3], double d[3])
{
    double best = INFINITY, at[3] = {0, 0, 0}, near[3];
    for (int k = 0; k < 3; k++) d[k] -= round(d[k]);
    bl_row_times(d, cell, near);
    if (bl_dot(near, near) < 0.25 * bl_dot(cell[0], cell[0])) return bl_dot(near, near);
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++)
            for (int k = -1; k <= 1; k++) {
                const double x[3] = {d[0] + i, d[1] + j, d[2] + k};
                double r[3];
                bl_row_times(x, cell, r);
                const double length = bl_dot(r, r);
                if (length >= best) continue;
                best = length;
                memcpy(at, x, sizeof at);
            }
    memcpy(d, at, sizeof at);
    return best;
}

/* ---- a grid to find atoms in -------------------------------------------------------------- */

struct grid {
    double (*cell)[3];
    const double *fraction; /* wrapped into [0, 1) */
    const uint32_t *kind;
    size_t atoms;
    int bins[3];
    uint32_t *start, *member;
};

static int bin_of(double f, int bins)
{
    f -= floor(f);
    const int b = (int)(f * bins);
    return b < bins ? b : bins - 1;
}

static size_t place_of(const struct grid *g, const int b[3])
{
    return ((size_t)b[0] * (size_t)g->bins[1] + (size_t)b[1]) * (size_t)g->bins[2] + (size_t)b[2];
}

static size_t place_at(const struct grid *g, const double f[3])
{
    return place_of(g, (const int[3]){bin_of(f[0], g->bins[0]), bin_of(f[1], g->bins[1]), bin_of(f[2], g->bins[2])});
}

/* Bins at least `reach` wide, about one atom each. */
static enum bl_status grid_make(struct bl_quota *quota, double reach, struct grid *g, struct bl_error *err)
{
    double inverse[3][3];
    bl_cell_invert(g->cell, inverse);
    const double most = cbrt((double)g->atoms) * 2 + 1;
    for (int k = 0; k < 3; k++) {
        double height2 = 0;
        for (int c = 0; c < 3; c++) height2 += inverse[c][k] * inverse[c][k];
        g->bins[k] = (int)fmax(1, fmin(most, 1 / sqrt(height2) / reach));
    }
    const size_t bins = (size_t)g->bins[0] * (size_t)g->bins[1] * (size_t)g->bins[2];
    g->start = bl_alloc_zero(quota, (bins + 1 + g->atoms) * sizeof *g->start, err);
    if (!g->start) return bl_alloc_status(err);
    g->member = g->start + bins + 1;
    for (size_t i = 0; i < g->atoms; i++) g->start[place_at(g, g->fraction + 3 * i) + 1]++;
    for (size_t b = 0; b < bins; b++) g->start[b + 1] += g->start[b];
    for (size_t i = g->atoms; i-- > 0;) { /* from behind: starts become ends and starts again */
        const size_t b = place_at(g, g->fraction + 3 * i);
        g->member[--g->start[b + 1]] = (uint32_t)i;
    }
    /* start[b + 1] is now where b begins: one to the left is where it should stand. */
    for (size_t b = 0; b < bins; b++) g->start[b] = g->start[b + 1];
    g->start[bins] = (uint32_t)g->atoms;
    return BL_OK;
}

/* The nearest atom of a kind within `reach`, not taken; d: from it to f. -1: none. */
static int64_t grid_nearest(const struct grid *g, const double f[3], uint32_t kind, double reach, const uint8_t *taken, double d[3])
{
    int64_t found = -1;
    double best = reach * reach;
    int low[3], count[3];
    for (int k = 0; k < 3; k++) {
        low[k] = bin_of(f[k], g->bins[k]) - 1;
        count[k] = g->bins[k] < 3 ? g->bins[k] : 3;
    }
    for (int a = 0; a < count[0]; a++)
        for (int b = 0; b < count[1]; b++)
            for (int c = 0; c < count[2]; c++) {
                const int at[3] = {(low[0] + a + g->bins[0]) % g->bins[0], (low[1] + b + g->bins[1]) % g->bins[1],
                        (low[2] + c + g->bins[2]) % g->bins[2]};
                const size_t place = place_of(g, at);
                for (uint32_t m = g->start[place]; m < g->start[place + 1]; m++) {
                    const uint32_t i = g->member[m];
                    if (g->kind[i] != kind || (taken && taken[i])) continue;
                    double x[3];
                    for (int k = 0; k < 3; k++) x[k] = f[k] - g->fraction[3 * i + (uint32_t)k];
                    const double r2 = bl_nearest(g->cell, x);
                    if (r2 > best) continue;
                    best = r2;
                    found = i;
                    memcpy(d, x, sizeof x);
                }
            }
    return found;
}

/* ---- translations ------------------------------------------------------------------------------ */

/* Does the structure fall on itself, moved by t? Then t becomes the mean of what its atoms say. */
static bool is_translation(const struct grid *g, double t[3], double tolerance, uint8_t *taken)
{
    double mean[3] = {0, 0, 0};
    for (int pass = 0; pass < 2; pass++) {
        memset(taken, 0, g->atoms);
        for (size_t i = 0; i < g->atoms; i++) {
            double d[3];
            const double f[3] = {g->fraction[3 * i] + t[0], g->fraction[3 * i + 1] + t[1], g->fraction[3 * i + 2] + t[2]};
            /* One atom against another is off by both their displacements; the first guess is off by two more. */
            const int64_t j = grid_nearest(g, f, g->kind[i], (pass ? 2 : 4) * tolerance, taken, d);
            if (j < 0) return false;
            taken[j] = 1;
            for (int k = 0; k < 3; k++) mean[k] += d[k] / (double)g->atoms;
        }
        for (int k = 0; pass == 0 && k < 3; k++) {
            t[k] -= mean[k];
            mean[k] = 0;
        }
    }
    return true;
}

struct vectors {
    double (*v)[3];
    size_t count;
};

static int by_length(const void *x, const void *y)
{
    const double *a = x, *b = y, la = bl_dot(a, a), lb = bl_dot(b, b);
    return (la > lb) - (la < lb);
}

/* In three dimensions the shortest independent vectors of a lattice are a basis of it. */
static bool shortest_basis(struct vectors *all, double volume, double out[3][3])
{
    size_t found = 0;
    double n[3];
    qsort(all->v, all->count, sizeof *all->v, by_length);
    for (size_t i = 0; i < all->count && found < 3; i++) {
        const double *v = all->v[i], length = sqrt(bl_dot(v, v));
        if (length == 0) continue;
        if (found == 1) {
            bl_cross(out[0], v, n);
            if (!(bl_dot(n, n) > 1e-4 * bl_dot(out[0], out[0]) * length * length)) continue;
        } else if (found == 2) {
            bl_cross(out[0], out[1], n);
            if (!(fabs(bl_dot(n, v)) > 0.02 * volume)) continue;
        }
        memcpy(out[found++], v, 3 * sizeof(double));
    }
    return found == 3;
}

/* P with cell = M P for a whole M of determinant `copies`; false: the translations make no such lattice. */
static bool commensurate(double cell[3][3], double basis[3][3], size_t copies, double out[3][3])
{
    double inverse[3][3], m[3][3], m_inverse[3][3];
    bl_cell_invert(basis, inverse);
    for (int i = 0; i < 3; i++) {
        bl_row_times(cell[i], inverse, m[i]);
        for (int k = 0; k < 3; k++) m[i][k] = round(m[i][k]);
    }
    if (fabs(fabs(bl_cell_volume(m)) - (double)copies) > 0.5) return false;
    bl_cell_invert(m, m_inverse);
    for (int i = 0; i < 3; i++) bl_row_times(m_inverse[i], cell, out[i]);
    return true;
}

/* ---- folding -------------------------------------------------------------------------------------- */

/* Atoms that fall together in the cell of m become one, at their mean; false: not `copies` of each. */
static bool fold(struct bl_ctx *ctx, const struct bl_structure *s, const uint32_t *kinds, double tolerance, uint8_t *taken,
        struct bl_motif *m)
{
    double inverse[3][3];
    bl_cell_invert(m->cell, inverse);
    memset(taken, 0, s->atoms);
    m->atoms = 0;
    m->spread = m->spread2 = 0;
    for (size_t i = 0; i < s->atoms; i++) {
        if (taken[i]) continue;
        if (bl_ctx_check(ctx, NULL) != BL_OK) return false;
        double at[3], sum[3] = {0, 0, 0}, far2 = 0, square = 0;
        bl_row_times(s->positions + 3 * i, inverse, at);
        size_t members = 0;
        for (int pass = 0; pass < 2; pass++) { /* first the mean, then how far from it */
            for (size_t j = i; j < s->atoms; j++) {
                if (kinds[j] != kinds[i] || taken[j] != pass) continue;
                double d[3];
                bl_row_times(s->positions + 3 * j, inverse, d);
                for (int k = 0; k < 3; k++) d[k] -= at[k];
                const double r2 = bl_nearest(m->cell, d);
                if (r2 > 4 * tolerance * tolerance) continue;
                if (pass == 0) {
                    taken[j] = 1;
                    members++;
                    for (int k = 0; k < 3; k++) sum[k] += d[k];
                } else {
                    taken[j] = 2;
                    far2 = fmax(far2, r2);
                    square += r2;
                }
            }
            if (members != m->copies) return false;
            for (int k = 0; pass == 0 && k < 3; k++) at[k] += sum[k] / (double)members;
        }
        m->kind[m->atoms] = kinds[i];
        for (int k = 0; k < 3; k++) m->fraction[3 * m->atoms + (size_t)k] = at[k] - floor(at[k]);
        m->atoms++;
        m->spread = fmax(m->spread, sqrt(far2));
        m->spread2 += square / (double)s->atoms;
    }
    return m->spread <= tolerance;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

static uint32_t rarest(const uint32_t *kinds, size_t atoms, size_t *count)
{
    uint32_t best = 0;
    *count = SIZE_MAX;
    for (uint32_t k = 0; k < atoms; k++) {
        size_t n = 0;
        for (size_t i = 0; i < atoms; i++) n += kinds[i] == k;
        if (n == 0) break; /* kinds are numbered without gaps */
        if (n >= *count) continue;
        *count = n;
        best = k;
    }
    return best;
}

static void add_images(struct vectors *all, double cell[3][3], double t[3])
{
    double d[3] = {t[0], t[1], t[2]};
    bl_nearest(cell, d);
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++)
            for (int k = -1; k <= 1; k++) {
                const double x[3] = {d[0] + i, d[1] + j, d[2] + k};
                bl_row_times(x, cell, all->v[all->count++]);
            }
}

static enum bl_status find_lattice(struct bl_ctx *ctx, const struct grid *g, double tolerance, struct vectors *all, uint8_t *taken,
        size_t *copies, struct bl_error *err)
{
    size_t count, first = 0;
    const uint32_t kind = rarest(g->kind, g->atoms, &count);
    while (g->kind[first] != kind) first++;
    *copies = 1;
    add_images(all, g->cell, (double[3]){0, 0, 0});
    for (size_t i = first + 1; i < g->atoms; i++) {
        if (g->kind[i] != kind) continue;
        const enum bl_status status = bl_ctx_check(ctx, err);
        if (status != BL_OK) return status;
        double t[3];
        for (size_t k = 0; k < 3; k++) t[k] = g->fraction[3 * i + k] - g->fraction[3 * first + k];
        if (!is_translation(g, t, tolerance, taken)) continue;
        add_images(all, g->cell, t);
        ++*copies;
    }
    return BL_OK;
}

/* The whole structure in its reduced cell. */
static void as_it_is(const struct bl_structure *s, const uint32_t *kinds, double cell[3][3], double inverse[3][3], struct bl_motif *m)
{
    memcpy(m->cell, cell, sizeof m->cell);
    memcpy(m->kind, kinds, s->atoms * sizeof *kinds);
    m->atoms = s->atoms;
    m->copies = 1;
    m->spread = m->spread2 = 0;
    for (size_t i = 0; i < s->atoms; i++) {
        double *f = m->fraction + 3 * i;
        bl_row_times(s->positions + 3 * i, inverse, f);
        for (int k = 0; k < 3; k++) f[k] -= floor(f[k]);
    }
}

void bl_motif_clear(struct bl_motif *m)
{
    bl_free(m->kind);
    bl_free(m->fraction);
    *m = (struct bl_motif){.atoms = 0};
}

enum bl_status bl_motif_make(struct bl_ctx *ctx, const struct bl_structure *s, const uint32_t *kinds, double tolerance,
                             struct bl_motif *out, struct bl_error *err)
{
    struct bl_quota *quota = bl_ctx_quota(ctx);
    struct bl_motif m = {.atoms = s->atoms};
    double cell[3][3], inverse[3][3], basis[3][3];
    memcpy(cell, s->cell, sizeof cell);
    bl_cell_reduce(cell);
    bl_cell_invert(cell, inverse);
    struct vectors all = {.v = bl_alloc_array(quota, 27 * (s->atoms + 1), sizeof *all.v, err)};
    m.kind = bl_alloc_array(quota, s->atoms, sizeof *m.kind, err);
    m.fraction = bl_alloc_array(quota, 3 * s->atoms, sizeof(double), err);
    uint8_t *taken = bl_alloc(quota, s->atoms, err);
    struct grid g = {.cell = cell, .fraction = m.fraction, .kind = kinds, .atoms = s->atoms};
    enum bl_status status = all.v && m.kind && m.fraction && taken ? BL_OK : bl_alloc_status(err);
    if (status == BL_OK) as_it_is(s, kinds, cell, inverse, &m);
    if (status == BL_OK) status = grid_make(quota, 4 * tolerance, &g, err);
    if (status == BL_OK) status = find_lattice(ctx, &g, tolerance, &all, taken, &m.copies, err);
    if (status == BL_OK) {
        const double volume = fabs(bl_cell_volume(cell)) / (double)m.copies; /* m.fraction is free again: the grid is done */
        const bool smaller = m.copies > 1 && shortest_basis(&all, volume, basis) && commensurate(cell, basis, m.copies, m.cell);
        if (smaller) bl_cell_reduce(m.cell);
        if (!smaller || !fold(ctx, s, kinds, tolerance, taken, &m)) {
            as_it_is(s, kinds, cell, inverse, &m);
        }
        status = bl_ctx_check(ctx, err);
    }
    bl_free(g.start);
    bl_free(taken);
    bl_free(all.v);
    if (status == BL_OK) *out = m;
    else bl_motif_clear(&m);
    return status;
}
