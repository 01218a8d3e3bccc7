/* SPDX-License-Identifier: Apache-2.0
 *
 * Equality of two crystals: all ways to lay the primitive lattice of one over that of the other, for each all
 * origins that bring an atom of the rarest kind onto one of its own, and the best of these.
 */
#include "bl_match.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTHS_MAX = 4096, MAPS_MAX = 4096 };

const char *bl_match_why_name(enum bl_match_why why)
{
    static const char *const names[] = {"equal", "composition", "primitive_cell", "volume", "lattice", "mirror", "positions"};
    return (size_t)why < sizeof names / sizeof *names ? names[why] : "unknown";
}

void bl_match_options_init(struct bl_match_options *options)
{
    *options = (struct bl_match_options){.tolerance = 0.1, .strain_tolerance = 0.02};
}

/* ---- kinds ------------------------------------------------------------------------------ */

/* What an atom is: its symbol, and how much of its site it takes. Numbered through both structures, without gaps. */
struct kinds {
    uint32_t *of[2];
    size_t count;
    struct {
        const char *symbol;
        double occupancy;
    } *list;
};

static uint32_t kind_of(struct kinds *k, const struct bl_structure *s, size_t i)
{
    const char *symbol = s->species[s->types[i]];
    const double occupancy = s->occupancies ? s->occupancies[i] : 1;
    for (size_t j = k->count; j-- > 0;)
        if (fabs(k->list[j].occupancy - occupancy) < 1e-3 && strcmp(k->list[j].symbol, symbol) == 0) return (uint32_t)j;
    k->list[k->count].symbol = symbol;
    k->list[k->count].occupancy = occupancy;
    return (uint32_t)k->count++;
}

static enum bl_status number_kinds(struct bl_quota *quota, const struct bl_structure *s[2], struct kinds *k, struct bl_error *err)
{
    const size_t all = s[0]->atoms + s[1]->atoms;
    k->of[0] = bl_alloc_array(quota, all, sizeof *k->of[0], err);
    k->list = bl_alloc_array(quota, all, sizeof *k->list, err);
    if (!k->of[0] || !k->list) return bl_alloc_status(err);
    k->of[1] = k->of[0] + s[0]->atoms;
    for (int w = 0; w < 2; w++)
        for (size_t i = 0; i < s[w]->atoms; i++) k->of[w][i] = kind_of(k, s[w], i);
    return BL_OK;
}

static size_t count_of(const uint32_t *kinds, size_t atoms, uint32_t kind)
{
    size_t n = 0;
    for (size_t i = 0; i < atoms; i++) n += kinds[i] == kind;
    return n;
}

/* The first kind whose share differs, or SIZE_MAX. */
static size_t other_share(const struct kinds *k, const struct bl_structure *s[2])
{
    for (uint32_t j = 0; j < k->count; j++)
        if (count_of(k->of[0], s[0]->atoms, j) * s[1]->atoms != count_of(k->of[1], s[1]->atoms, j) * s[0]->atoms) return j;
    return SIZE_MAX;
}

/* ---- laying one lattice over the other ---------------------------------------------------- */

struct laid {
    double cell[3][3]; /* a basis of the second lattice, vector by vector like the first's */
    double strain;
    bool mirrored;
};

struct search {
    struct bl_ctx *ctx;
    const struct bl_motif *a, *b;
    double tolerance, strain_tolerance;
    double (*near[3])[3]; /* vectors of the second lattice as long as the first's basis */
    size_t near_count[3];
    struct laid *maps;
    size_t map_count;
    size_t pivot;       /* an atom of a, of the rarest kind */
    uint8_t *taken;
    double *shifted;    /* 3 per atom of b */
    /* The best: what it is judged by (mean square, and what the strain moves an atom of a cell), and its parts. */
    double score, best, best_far, best_strain, length2;
};

/* All vectors whose length is about that of one of a's. */
static enum bl_status list_vectors(struct search *x, struct bl_error *err)
{
    double inverse[3][3], (*cell)[3] = (double (*)[3])x->b->cell;
    int most[3];
    double longest = 0, total = 1;
    for (int k = 0; k < 3; k++) longest = fmax(longest, sqrt(bl_dot(x->a->cell[k], x->a->cell[k])));
    bl_cell_invert(cell, inverse);
    for (int k = 0; k < 3; k++) {
        double reciprocal2 = 0;
        for (int c = 0; c < 3; c++) reciprocal2 += inverse[c][k] * inverse[c][k];
        const double reach = longest * (1 + 2 * x->strain_tolerance) * sqrt(reciprocal2);
        total *= 2 * reach + 1;
        if (!(total < 1e7)) return bl_fail_limit(err, "lattice vectors", 10000000, total < 1e18 ? (uint64_t)total : UINT64_MAX);
        most[k] = (int)reach;
    }
    for (int i = -most[0]; i <= most[0]; i++)
        for (int j = -most[1]; j <= most[1]; j++)
            for (int k = -most[2]; k <= most[2]; k++) {
                double v[3];
                bl_row_times((const double[3]){i, j, k}, cell, v);
                for (int n = 0; n < 3; n++) {
                    const double want = bl_dot(x->a->cell[n], x->a->cell[n]);
                    if (fabs(bl_dot(v, v) - want) > 2 * x->strain_tolerance * want * (1 + x->strain_tolerance)) continue;
                    if (x->near_count[n] == LENGTHS_MAX) return bl_fail_limit(err, "lattice vectors", LENGTHS_MAX, LENGTHS_MAX + 1);
                    memcpy(x->near[n][x->near_count[n]++], v, sizeof v);
                }
            }
    return BL_OK;
}

/* The largest component of E in |x cell|^2 = |x|^2 + 2 x E x, x a Cartesian vector of the first. */
static double strain_between(double first[3][3], double second[3][3])
{
    double inverse[3][3], f[3][3], most = 0;
    bl_cell_invert(first, inverse);
    for (int i = 0; i < 3; i++) bl_row_times(inverse[i], second, f[i]);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) most = fmax(most, fabs(bl_dot(f[i], f[k]) - (i == k)) / 2);
    return most;
}

static bool fits(const struct search *x, int m, const double *u, int n, const double *v)
{
    const double *a = x->a->cell[m], *b = x->a->cell[n], scale = sqrt(bl_dot(a, a) * bl_dot(b, b));
    return fabs(bl_dot(u, v) - bl_dot(a, b)) <= 2.1 * x->strain_tolerance * 3 * scale;
}

static enum bl_status lay(struct search *x, struct bl_error *err)
{
    double(*first)[3] = (double (*)[3])x->a->cell;
    for (size_t i = 0; i < x->near_count[0]; i++) {
        const enum bl_status status = bl_ctx_check(x->ctx, err);
        if (status != BL_OK) return status;
        for (size_t j = 0; j < x->near_count[1]; j++) {
            if (!fits(x, 0, x->near[0][i], 1, x->near[1][j])) continue;
            for (size_t k = 0; k < x->near_count[2]; k++) {
                if (!fits(x, 0, x->near[0][i], 2, x->near[2][k]) || !fits(x, 1, x->near[1][j], 2, x->near[2][k])) continue;
                struct laid m = {.strain = 0};
                memcpy(m.cell[0], x->near[0][i], sizeof m.cell[0]);
                memcpy(m.cell[1], x->near[1][j], sizeof m.cell[1]);
                memcpy(m.cell[2], x->near[2][k], sizeof m.cell[2]);
                const double volume = bl_cell_volume(m.cell), whole = bl_cell_volume((double (*)[3])x->b->cell);
                if (fabs(fabs(volume) - fabs(whole)) > 0.01 * fabs(whole)) continue; /* not a basis */
                m.strain = strain_between(first, m.cell);
                if (!(m.strain <= x->strain_tolerance)) continue;
                m.mirrored = (volume < 0) != (bl_cell_volume(first) < 0);
                if (x->map_count == MAPS_MAX) return bl_fail_limit(err, "lattice maps", MAPS_MAX, MAPS_MAX + 1);
                x->maps[x->map_count++] = m;
            }
        }
    }
    return BL_OK;
}

/* ---- laying atoms over atoms ----------------------------------------------------------------- */

/* Each atom of b, moved, to its nearest free one of a: false when one is too far from all. Fills the mean difference. */
static bool assign(struct search *x, const double shift[3], double reach, double mean[3], double *square, double *far2)
{
    double(*cell)[3] = (double (*)[3])x->a->cell;
    memset(x->taken, 0, x->a->atoms);
    mean[0] = mean[1] = mean[2] = *square = *far2 = 0;
    for (size_t i = 0; i < x->b->atoms; i++) {
        double best = reach * reach, delta[3] = {0, 0, 0};
        size_t found = SIZE_MAX;
        for (size_t j = 0; j < x->a->atoms; j++) {
            if (x->taken[j] || x->a->kind[j] != x->b->kind[i]) continue;
            double d[3];
            for (size_t k = 0; k < 3; k++) d[k] = x->shifted[3 * i + k] + shift[k] - x->a->fraction[3 * j + k];
            const double r2 = bl_nearest(cell, d);
            if (r2 > best) continue;
            best = r2;
            found = j;
            memcpy(delta, d, sizeof d);
        }
        if (found == SIZE_MAX) return false;
        x->taken[found] = 1;
        for (int k = 0; k < 3; k++) mean[k] += delta[k] / (double)x->b->atoms;
        *square += best / (double)x->b->atoms;
        *far2 = fmax(*far2, best);
    }
    return true;
}

static enum bl_status try_map(struct search *x, const struct laid *m, struct bl_error *err)
{
    double inverse[3][3];
    bl_cell_invert((double (*)[3])m->cell, inverse);
    for (size_t i = 0; i < x->b->atoms; i++) {
        double r[3];
        bl_row_times(x->b->fraction + 3 * i, (double (*)[3])x->b->cell, r);
        bl_row_times(r, inverse, x->shifted + 3 * i);
    }
    for (size_t i = 0; i < x->b->atoms; i++) {
        if (x->b->kind[i] != x->a->kind[x->pivot]) continue;
        const enum bl_status status = bl_ctx_check(x->ctx, err);
        if (status != BL_OK) return status;
        double shift[3], mean[3], square, far2;
        for (size_t k = 0; k < 3; k++) shift[k] = x->a->fraction[3 * x->pivot + k] - x->shifted[3 * i + k];
        /* First by one pair of atoms, then by all. */
        if (!assign(x, shift, 2 * x->tolerance, mean, &square, &far2)) continue;
        for (int k = 0; k < 3; k++) shift[k] -= mean[k];
        if (!assign(x, shift, x->tolerance, mean, &square, &far2)) continue;
        const double score = square + m->strain * m->strain * x->length2;
        if (score >= x->score) continue;
        x->score = score;
        x->best = square;
        x->best_far = sqrt(far2);
        x->best_strain = m->strain;
    }
    return BL_OK;
}

static enum bl_status try_maps(struct search *x, bool mirrored, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    x->best = x->score = INFINITY;
    for (size_t i = 0; status == BL_OK && i < x->map_count; i++)
        if (x->maps[i].mirrored == mirrored) status = try_map(x, &x->maps[i], err);
    return status;
}

/* ---- the whole ----------------------------------------------------------------------------------- */

static void differ(struct bl_match *m, enum bl_match_why why, const char *text, ...) BL_PRINTF(3, 4);
static void differ(struct bl_match *m, enum bl_match_why why, const char *text, ...)
{
    m->why = why;
    va_list args;
    va_start(args, text);
    vsnprintf(m->text, sizeof m->text, text, args);
    va_end(args);
}

static void choose_pivot(struct search *x)
{
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < x->a->atoms; i++) {
        const size_t n = count_of(x->a->kind, x->a->atoms, x->a->kind[i]);
        if (n >= least) continue;
        least = n;
        x->pivot = i;
    }
}

static enum bl_status compare(struct search *x, bool mirror, struct bl_match *m, struct bl_error *err)
{
    enum bl_status status = list_vectors(x, err);
    if (status == BL_OK) status = lay(x, err);
    if (status != BL_OK) return status;
    if (x->map_count == 0) {
        differ(m, BL_MATCH_LATTICE, "no choice of vectors lays the lattices over each other");
        return BL_OK;
    }
    choose_pivot(x);
    x->length2 = pow(m->volume[0], 2.0 / 3);
    status = try_maps(x, false, err);
    const double proper = x->best, far = x->best_far, strain = x->best_strain;
    if (status == BL_OK && !(proper < INFINITY)) status = try_maps(x, true, err);
    if (status != BL_OK) return status;
    if (proper < INFINITY) {
        x->best = proper;
        x->best_far = far;
        x->best_strain = strain;
    } else if (!(x->best < INFINITY)) {
        differ(m, BL_MATCH_POSITIONS, "the lattices agree, the atoms do not");
        return BL_OK;
    } else if (!mirror) {
        differ(m, BL_MATCH_MIRROR, "mirror images of each other");
        return BL_OK;
    }
    m->rmsd = sqrt(x->best + x->a->spread2 + x->b->spread2);
    m->max_distance = x->best_far + x->a->spread + x->b->spread;
    m->strain = x->best_strain;
    return BL_OK;
}

static enum bl_status compare_motifs(struct bl_ctx *ctx, const struct bl_motif motif[2], const struct kinds *k,
                                     const struct bl_match_options *o, struct bl_match *m, struct bl_error *err)
{
    for (int w = 0; w < 2; w++) {
        m->primitive_atoms[w] = motif[w].atoms;
        m->volume[w] = fabs(bl_cell_volume((double (*)[3])motif[w].cell));
    }
    for (uint32_t j = 0; j < k->count; j++) {
        const size_t n[2] = {count_of(motif[0].kind, motif[0].atoms, j), count_of(motif[1].kind, motif[1].atoms, j)};
        if (n[0] == n[1]) continue;
        differ(m, BL_MATCH_CELL, "primitive cells of %zu and %zu atoms", motif[0].atoms, motif[1].atoms);
        return BL_OK;
    }
    if (fabs(m->volume[1] / m->volume[0] - 1) > 3.1 * o->strain_tolerance) {
        differ(m, BL_MATCH_VOLUME, "primitive cells of %.6g and %.6g cubic angstrom", m->volume[0], m->volume[1]);
        return BL_OK;
    }
    struct bl_quota *quota = bl_ctx_quota(ctx);
    struct search x = {.ctx = ctx, .a = &motif[0], .b = &motif[1], .tolerance = o->tolerance, .strain_tolerance = o->strain_tolerance};
    double(*vectors)[3] = bl_alloc_array(quota, 3 * LENGTHS_MAX, sizeof *vectors, err);
    x.maps = bl_alloc_array(quota, MAPS_MAX, sizeof *x.maps, err);
    x.shifted = bl_alloc_array(quota, 4 * motif[0].atoms, sizeof(double), err);
    enum bl_status status = vectors && x.maps && x.shifted ? BL_OK : bl_alloc_status(err);
    if (status == BL_OK) {
        for (int n = 0; n < 3; n++) x.near[n] = vectors + n * LENGTHS_MAX;
        x.taken = (uint8_t *)(x.shifted + 3 * motif[0].atoms);
        status = compare(&x, o->mirror, m, err);
    }
    bl_free(x.shifted);
    bl_free(x.maps);
    bl_free(vectors);
    return status;
}

static enum bl_status check(const struct bl_structure *s, struct bl_error *err)
{
    if (s->atoms == 0) return bl_fail_invalid(err, "structure", "no atoms");
    if (s->atoms > BL_MATCH_ATOMS_MAX) return bl_fail_limit(err, "atoms", BL_MATCH_ATOMS_MAX, s->atoms);
    struct bl_lattice l;
    const enum bl_status status = bl_structure_check(s, err);
    if (status != BL_OK) return status;
    if (!s->pbc[0] || !s->pbc[1] || !s->pbc[2]) return bl_fail_invalid(err, "pbc", "a crystal is periodic in all directions");
    return bl_lattice_init(&l, s, err);
}

enum bl_status bl_structure_match(struct bl_ctx *ctx, const struct bl_structure *a, const struct bl_structure *b,
                                  const struct bl_match_options *options, struct bl_match *out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct bl_match_options o;
    bl_match_options_init(&o);
    if (options) o = *options;
    if (!(o.tolerance > 0) || !(o.tolerance <= 1)) return bl_fail_invalid(err, "tolerance", "above 0, at most 1 angstrom");
    if (!(o.strain_tolerance > 0) || !(o.strain_tolerance <= 0.2)) return bl_fail_invalid(err, "strain_tolerance", "above 0, at most 0.2");
    const struct bl_structure *s[2] = {a, b};
    struct bl_match m = {.why = BL_MATCH_EQUAL};
    struct kinds kinds = {.count = 0};
    struct bl_motif motif[2] = {{.atoms = 0}, {.atoms = 0}};
    enum bl_status status = check(a, err);
    if (status == BL_OK) status = check(b, err);
    if (status == BL_OK) status = number_kinds(bl_ctx_quota(ctx), s, &kinds, err);
    const size_t odd = status == BL_OK ? other_share(&kinds, s) : SIZE_MAX;
    if (odd != SIZE_MAX) differ(&m, BL_MATCH_COMPOSITION, "%s has another share", kinds.list[odd].symbol);
    for (int w = 0; status == BL_OK && odd == SIZE_MAX && w < 2; w++)
        status = bl_motif_make(ctx, s[w], kinds.of[w], o.tolerance, &motif[w], err);
    if (status == BL_OK && odd == SIZE_MAX) status = compare_motifs(ctx, motif, &kinds, &o, &m, err);
    bl_motif_clear(&motif[0]);
    bl_motif_clear(&motif[1]);
    bl_free(kinds.of[0]);
    bl_free(kinds.list);
    if (status == BL_OK) *out = m;
    return status;
}
