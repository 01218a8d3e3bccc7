/* SPDX-License-Identifier: Apache-2.0
 *
 * The atoms of a whole cell from its asymmetric unit.
 *
 * Images of a row that fall together within its own tolerance (angstrom) are one atom on a special
 * position, put at their mean. A row that is an image of earlier ones of the same element is
 * redundant and dropped, unless their occupancies leave room for it; these, and different elements,
 * share the position.
 */
#include <math.h>
#include <string.h>

#include "bl_cif.h"

/* An operation in floating point. */
struct map {
    double rot[3][3], shift[3];
};

/* Entries by place: a table of cells of the unit cell, entries of a cell in a list. */
struct grid {
    uint32_t size[3];
    uint32_t *head, *next; /* index + 1 */
    size_t next_room;
};

struct expansion {
    const struct cif_reading *c;
    struct cif_expanded *out;
    struct map *maps;
    size_t count;
    bool is_group;
    struct grid grid;
    struct bl_error *err;
};

static inline double into_cell(double x)
{
    x -= (double)(int64_t)x; /* below 1e7 in size: checked */
    x += x < 0 ? 1.0 : 0.0; /* no branch: signs are at random */
    return x >= 1 ? 0 : x;
}

static inline void image(const struct map *m, const double f[3], double out[3])
{
    for (int i = 0; i < 3; i++)
        out[i] = into_cell(m->rot[i][0] * f[0] + m->rot[i][1] * f[1] + m->rot[i][2] * f[2] + m->shift[i]);
}

/* b - a for places in the cell, to the nearest image. */
static inline void difference(const double a[3], const double b[3], double d[3])
{
    for (int k = 0; k < 3; k++) {
        const double x = b[k] - a[k];
        d[k] = x - (x > 0.5 ? 1.0 : 0.0) + (x < -0.5 ? 1.0 : 0.0); /* no branch */
    }
}

static double length2(const struct bl_lattice *l, const double d[3])
{
    double r[3];
    bl_lattice_cartesian(l, d, r);
    return bl_dot(r, r);
}

static bool together(const struct expansion *x, const double a[3], const double b[3], double tolerance)
{
    double d[3];
    const struct bl_lattice *l = &x->c->lattice;
    difference(a, b, d);
    for (int k = 0; k < 3; k++)
        if (fabs(d[k]) * l->heights[k] > tolerance) return false; /* the distance is at least that along a face's normal */
    return length2(l, d) <= tolerance * tolerance;
}

/* ---- the grid ------------------------------------------------------------------------ */

static enum bl_status grid_init(struct expansion *x)
{
    const double volume = fabs(x->c->lattice.volume);
    double most = (double)x->c->atom_count * (double)x->count;
    if (most > 1e6) most = 1e6;
    const double edge = fmax(0.25, cbrt(volume / (most + 1)));
    size_t cells = 1;
    for (int k = 0; k < 3; k++) {
        const double n = floor(x->c->lattice.heights[k] / edge);
        x->grid.size[k] = n < 1 ? 1 : n > 128 ? 128 : (uint32_t)n;
        cells *= x->grid.size[k];
    }
    x->grid.head = bl_alloc_zero(x->c->r->out->quota, cells * sizeof *x->grid.head, x->err);
    return x->grid.head ? BL_OK : bl_alloc_status(x->err);
}

static uint32_t *grid_cell(const struct grid *g, const uint32_t at[3])
{
    return &g->head[((size_t)at[0] * g->size[1] + at[1]) * g->size[2] + at[2]];
}

static void grid_put(struct expansion *x, size_t entry)
{
    uint32_t at[3];
    const double *f = x->out->f + 3 * entry;
    for (int k = 0; k < 3; k++) {
        at[k] = (uint32_t)(f[k] * x->grid.size[k]);
        if (at[k] >= x->grid.size[k]) at[k] = x->grid.size[k] - 1;
    }
    uint32_t *head = grid_cell(&x->grid, at);
    x->grid.next[entry] = *head;
    *head = (uint32_t)entry + 1;
}

static inline uint32_t next_cell(const struct expansion *x, int axis, uint32_t at)
{
    return at + 1 < x->grid.size[axis] ? at + 1 : 0;
}

/* What stands at a place. */
struct found {
    bool shares;      /* something does */
    double occupancy; /* of entries of one element */
};

/* Looks at the entries within the atom's tolerance of f. */
static struct found grid_look(const struct expansion *x, const double f[3], const struct cif_atom *atom)
{
    struct found found = {.shares = false};
    const double tolerance = atom->tolerance;
    uint32_t first[3], cells[3], at[3], i[3];
    for (int k = 0; k < 3; k++) {
        const uint32_t n = x->grid.size[k];
        const double reach = tolerance / x->c->lattice.heights[k] * n;
        const int64_t low = (int64_t)floor(f[k] * n - reach), high = (int64_t)floor(f[k] * n + reach);
        const int64_t wrapped = low < 0 ? low + n : low;
        first[k] = (uint32_t)(wrapped >= 0 ? wrapped : (wrapped % n + n) % n);
        cells[k] = high - low >= n ? n : (uint32_t)(high - low + 1);
    }
    for (at[0] = first[0], i[0] = 0; i[0] < cells[0]; i[0]++, at[0] = next_cell(x, 0, at[0]))
        for (at[1] = first[1], i[1] = 0; i[1] < cells[1]; i[1]++, at[1] = next_cell(x, 1, at[1]))
            for (at[2] = first[2], i[2] = 0; i[2] < cells[2]; i[2]++, at[2] = next_cell(x, 2, at[2]))
                for (uint32_t e = *grid_cell(&x->grid, at); e; e = x->grid.next[e - 1]) {
                    if (!together(x, x->out->f + 3 * (size_t)(e - 1), f, tolerance)) continue;
                    const struct cif_atom *other = &x->c->atoms[x->out->row[e - 1]];
                    found.shares = true;
                    if (other->type == atom->type) found.occupancy += other->occupancy;
                }
    return found;
}

/* ---- output --------------------------------------------------------------------------- */

static enum bl_status reserve(struct expansion *x, size_t more)
{
    struct cif_expanded *o = x->out;
    const size_t need = o->count + more;
    if (need <= o->capacity) return BL_OK;
    struct bl_quota *quota = x->c->r->out->quota;
    const size_t want = need > 2 * o->capacity ? need : 2 * o->capacity;
    void *p = bl_realloc(quota, o->f, want * 3 * sizeof *o->f, x->err);
    if (!p) return bl_alloc_status(x->err);
    o->f = p;
    p = bl_realloc(quota, o->row, want * sizeof *o->row, x->err);
    if (!p) return bl_alloc_status(x->err);
    o->row = p;
    p = bl_realloc(quota, x->grid.next, want * sizeof *x->grid.next, x->err);
    if (!p) return bl_alloc_status(x->err);
    x->grid.next = p;
    o->capacity = want;
    return BL_OK;
}

/* ---- rows --------------------------------------------------------------------------------- */

/* All images, straight into the output: right when no operation but the identity leaves the row in place. */
static bool general_images(struct expansion *x, const double f[3], double tolerance, size_t first)
{
    const struct bl_lattice *l = &x->c->lattice;
    const double reach[3] = {tolerance / l->heights[0], tolerance / l->heights[1], tolerance / l->heights[2]};
    for (size_t i = 0; i < x->count; i++) {
        double *to = x->out->f + 3 * (first + i), d[3];
        image(&x->maps[i], f, to);
        difference(f, to, d);
        if (i > 0 && fabs(d[0]) <= reach[0] && fabs(d[1]) <= reach[1] && fabs(d[2]) <= reach[2] &&
            together(x, f, to, tolerance))
            return false;
    }
    return true;
}

/* Images that fall together become one, at their mean: O(operations x distinct images). */
static enum bl_status special_images(struct expansion *x, const struct cif_atom *atom, size_t first)
{
    struct cif_expanded *o = x->out;
    uint32_t merged[BL_SYMOPS_MAX];
    for (size_t i = 0; i < x->count; i++) {
        double to[3], d[3];
        if (i % 64 == 63) {
            const enum bl_status status = bl_ctx_check(x->c->r->ctx, x->err);
            if (status != BL_OK) return status;
        }
        image(&x->maps[i], atom->f, to);
        size_t e = first;
        while (e < o->count && !together(x, o->f + 3 * e, to, atom->image_tolerance)) e++;
        double *at = o->f + 3 * e;
        if (e == o->count) {
            memcpy(at, to, sizeof to);
            merged[e - first] = 1;
            o->count++;
            continue;
        }
        difference(at, to, d);
        const double moved = sqrt(length2(&x->c->lattice, d));
        if (moved > o->moved) o->moved = moved;
        const double weight = 1.0 / ++merged[e - first];
        if (moved > 1e-7) /* exact ones stay as they are */
            for (int k = 0; k < 3; k++) at[k] = into_cell(at[k] + weight * d[k] + 1);
    }
    return BL_OK;
}

/* Rows whose occupancies leave room for each other are parts of one site; what has no room was listed twice. Occupancies that
 * were refined apart may add up to a little more than 1. */
static bool is_redundant(const struct found *f, const struct cif_atom *atom)
{
    const double MOST = 1.02;
    return f->occupancy > 0 && f->occupancy + atom->occupancy > MOST;
}

static enum bl_status expand_row(struct expansion *x, uint32_t row)
{
    const struct cif_atom *atom = &x->c->atoms[row];
    struct cif_expanded *o = x->out;
    double f[3];
    for (int k = 0; k < 3; k++) f[k] = into_cell(atom->f[k]);
    const struct found found = grid_look(x, f, atom);
    if (is_redundant(&found, atom)) {
        o->redundant++;
        return BL_OK;
    }
    const size_t first = o->count;
    enum bl_status status = reserve(x, x->count);
    if (status != BL_OK) return status;
    if (x->is_group && general_images(x, f, atom->image_tolerance, first)) o->count += x->count;
    else status = special_images(x, atom, first);
    if (status != BL_OK) return status;
    const size_t most = x->c->r->limits->max_atoms;
    if (o->count > most) return bl_fail_limit(x->err, "atoms", most, o->count);
    for (size_t e = first; e < o->count; e++) {
        o->row[e] = row;
        grid_put(x, e);
    }
    const size_t images = o->count - first;
    if (!found.shares) o->positions += images;
    o->occupancy += atom->occupancy * (double)images;
    o->wrong_multiplicities += atom->multiplicity != 0 && atom->multiplicity != images;
    return BL_OK;
}

/* Do the operations form a group? Only then is "no other operation leaves it in place" the same as
 * "all images differ". The generated groups that readers hand in do; lists of files may not. */
static enum bl_status make_maps(struct expansion *x, const struct bl_symmetry *s)
{
    struct bl_quota *quota = x->c->r->out->quota;
    x->maps = bl_alloc_array(quota, s->count, sizeof *x->maps, x->err);
    if (!x->maps) return bl_alloc_status(x->err);
    x->count = s->count;
    for (size_t n = 0; n < s->count; n++)
        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < 3; j++) x->maps[n].rot[i][j] = s->ops[n].rot[i][j];
            x->maps[n].shift[i] = (double)s->ops[n].shift[i] / BL_SYMOP_DEN;
        }
    x->is_group = s->closed;
    if (s->closed) return BL_OK;
    struct bl_symmetry closed;
    const enum bl_status status = bl_symmetry_from_ops(s->ops, s->count, quota, &closed, x->err);
    if (status == BL_LIMIT) return BL_OK; /* not a finite group: the slow way is right for anything */
    if (status != BL_OK) return status;
    x->is_group = closed.count == s->count;
    bl_symmetry_clear(&closed);
    return BL_OK;
}

enum bl_status bl_cif_expand(const struct cif_reading *c, const struct bl_symmetry *symmetry, struct cif_expanded *out,
        struct bl_error *err)
{
    struct cif_expanded o = {.count = 0};
    struct expansion x = {.c = c, .out = &o, .err = err};
    enum bl_status status = make_maps(&x, symmetry);
    if (status == BL_OK) status = grid_init(&x);
    for (size_t row = 0; status == BL_OK && row < c->atom_count; row++) {
        if (row % 16 == 0) status = bl_ctx_check(c->r->ctx, err);
        if (status == BL_OK) status = expand_row(&x, (uint32_t)row);
    }
    bl_free(x.maps);
    bl_free(x.grid.head);
    bl_free(x.grid.next);
    if (status != BL_OK) bl_cif_expanded_clear(&o);
    else *out = o;
    return status;
}

void bl_cif_expanded_clear(struct cif_expanded *x)
{
    bl_free(x->f);
    bl_free(x->row);
    *x = (struct cif_expanded){.count = 0};
}
