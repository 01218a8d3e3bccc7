/* SPDX-License-Identifier: Apache-2.0
 *
 * Space-group search through the system's spglib (Togo, Shinohara, Tanaka, arXiv:1808.01590), which is
 * opened when it is first asked for. What is used of it is declared here; its data set has had this
 * layout since version 1.9.
 */
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "bl_symmetry.h"

struct spg_dataset {
    int spacegroup_number, hall_number;
    char international_symbol[11], hall_symbol[17], choice[6];
    double transformation_matrix[3][3], origin_shift[3];
    int n_operations;
    int (*rotations)[3][3];
    double (*translations)[3];
    int n_atoms;
    int *wyckoffs;
    char (*site_symmetry_symbols)[7];
    int *equivalent_atoms, *crystallographic_orbits;
    double primitive_lattice[3][3];
    int *mapping_to_primitive;
    int n_std_atoms;
    double std_lattice[3][3];
    int *std_types;
    double (*std_positions)[3];
    double std_rotation_matrix[3][3];
    int *std_mapping_to_primitive;
    char pointgroup_symbol[6];
};

static struct {
    struct spg_dataset *(*get_dataset)(const double lattice[3][3], const double positions[][3], const int types[], int count,
                                       double symprec);
    void (*free_dataset)(struct spg_dataset *dataset);
    int (*niggli)(double lattice[3][3], double symprec);
    bool here;
} spglib;
static pthread_once_t spglib_once = PTHREAD_ONCE_INIT;

static void find(void *library, const char *name, void *slot)
{
    void *symbol = library ? dlsym(library, name) : NULL;
    memcpy(slot, &symbol, sizeof symbol); /* ISO C has no cast from an object to a function */
}

static void open_spglib(void)
{
    static const char *const names[] = {"libsymspg.so.2", "libsymspg.so.1", "libsymspg.so"};
    void *library = NULL;
    for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    find(library, "spg_get_dataset", &spglib.get_dataset);
    find(library, "spg_free_dataset", &spglib.free_dataset);
    find(library, "spg_niggli_reduce", &spglib.niggli);
    spglib.here = spglib.get_dataset && spglib.free_dataset && spglib.niggli;
}

/* ---- what goes in -------------------------------------------------------------------- */

/* A structure as spglib wants it: vectors in columns, fractions, kinds as numbers. */
struct cell {
    double lattice[3][3];
    double (*positions)[3];
    int *types;
    int count;
    uint32_t *kind_atom; /* per kind: an atom of it */
    size_t kinds, kind_room;
};

static void cell_clear(struct cell *c)
{
    bl_free(c->positions);
    bl_free(c->types);
    bl_free(c->kind_atom);
}

/* Sites of one element with different occupancies are different kinds. */
static enum bl_status kind_of(struct cell *c, const struct bl_structure *s, size_t atom, struct bl_quota *quota, struct bl_error *err)
{
    for (size_t k = 0; k < c->kinds; k++) {
        const uint32_t like = c->kind_atom[k];
        if (s->types[like] != s->types[atom] || (s->occupancies && s->occupancies[like] != s->occupancies[atom])) continue;
        c->types[atom] = (int)k + 1;
        return BL_OK;
    }
    if (c->kinds == c->kind_room) {
        const size_t room = c->kind_room ? 2 * c->kind_room : 16;
        void *p = bl_realloc(quota, c->kind_atom, room * sizeof *c->kind_atom, err);
        if (!p) return bl_alloc_status(err);
        c->kind_atom = p;
        c->kind_room = room;
    }
    c->kind_atom[c->kinds++] = (uint32_t)atom;
    c->types[atom] = (int)c->kinds;
    return BL_OK;
}

/* A fraction from 0 to below 1. */
static double into_cell(double f)
{
    const double rest = f - floor(f);
    return rest < 1 ? rest : 0;
}

/* Beyond them its reduction of the cell may not end. */
static const double VECTOR_MOST = 1e5, HEIGHT_LEAST = 1e-3;

/* Room for `spare` times the atoms: standardizing may give a larger cell. */
static enum bl_status cell_init(struct bl_ctx *ctx, const struct bl_structure *s, size_t spare, struct cell *out, struct bl_error *err)
{
    struct bl_quota *quota = bl_ctx_quota(ctx);
    struct bl_lattice lattice;
    struct cell c = {.count = (int)s->atoms};
    pthread_once(&spglib_once, open_spglib);
    if (!spglib.here) return bl_fail_unsupported(err, "spglib");
    if (s->atoms == 0 || !s->pbc[0] || !s->pbc[1] || !s->pbc[2])
        return bl_fail_invalid(err, "structure", "space groups are of atoms in a cell that is periodic in all directions");
    if (s->atoms > BL_SYMMETRY_ATOMS_MAX) return bl_fail_limit(err, "atoms", BL_SYMMETRY_ATOMS_MAX, s->atoms);
    enum bl_status status = bl_lattice_init(&lattice, s, err);
    if (status != BL_OK) return status;
    for (int k = 0; k < 3; k++) {
        const double *const v = s->cell[k];
        if (hypot(hypot(v[0], v[1]), v[2]) > VECTOR_MOST || lattice.heights[k] < HEIGHT_LEAST)
            return bl_fail_invalid(err, "cell", "for spglib vectors of at most 100,000 angstrom, and 0.001 between faces");
    }
    c.positions = bl_alloc_array(quota, spare * s->atoms, sizeof *c.positions, err);
    c.types = c.positions ? bl_alloc_array(quota, spare * s->atoms, sizeof *c.types, err) : NULL;
    if (!c.types) status = bl_alloc_status(err);
    size_t work = 0;
    for (size_t i = 0; status == BL_OK && i < s->atoms; i++) {
        bl_lattice_fractional(&lattice, s->positions + 3 * i, c.positions[i]);
        for (int k = 0; k < 3; k++) { /* atoms many cells away keep spglib busy for minutes */
            const double f = c.positions[i][k];
            if (!isfinite(f)) status = bl_fail_invalid(err, "positions", "atom %zu is too far away", i + 1);
            c.positions[i][k] = into_cell(f);
        }
        if (status == BL_OK) status = kind_of(&c, s, i, quota, err);
        if (status == BL_OK) status = bl_poll_work(ctx, &work, 1 + c.kinds, err);
    }
    if (status == BL_OK) status = bl_ctx_check(ctx, err); /* the last before a search that cannot be interrupted */
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) c.lattice[k][i] = s->cell[i][k];
    if (status != BL_OK) cell_clear(&c);
    else *out = c;
    return status;
}

static enum bl_status check_symprec(double symprec, struct bl_error *err)
{
    if (symprec > 0 && symprec < 10) return BL_OK;
    return bl_fail_invalid(err, "symprec", "a length in angstrom above 0 and below 10");
}

/* ---- finding ---------------------------------------------------------------------------- */

static enum bl_status copy_found(const struct spg_dataset *d, struct bl_quota *quota, struct bl_symmetry_found *out, struct bl_error *err)
{
    struct bl_symmetry_found f = {.number = (unsigned)d->spacegroup_number, .hall_number = (unsigned)d->hall_number,
                                  .atoms = (size_t)d->n_atoms};
    snprintf(f.name, sizeof f.name, "%.11s", d->international_symbol);
    snprintf(f.hall, sizeof f.hall, "%.17s", d->hall_symbol);
    snprintf(f.choice, sizeof f.choice, "%.6s", d->choice);
    snprintf(f.point_group, sizeof f.point_group, "%.6s", d->pointgroup_symbol);
    memcpy(f.transformation, d->transformation_matrix, sizeof f.transformation);
    memcpy(f.origin_shift, d->origin_shift, sizeof f.origin_shift);
    const size_t count = (size_t)d->n_operations;
    f.group.ops = bl_alloc_array(quota, count, sizeof *f.group.ops, err);
    f.wyckoff = f.group.ops ? bl_alloc(quota, f.atoms + 1, err) : NULL;
    f.equivalent = f.wyckoff ? bl_alloc_array(quota, f.atoms, sizeof *f.equivalent, err) : NULL;
    if (!f.equivalent) {
        bl_symmetry_found_clear(&f);
        return bl_alloc_status(err);
    }
    for (size_t n = 0; n < count; n++)
        for (int i = 0; i < 3; i++) {
            for (int k = 0; k < 3; k++) f.group.ops[n].rot[i][k] = (int8_t)d->rotations[n][i][k];
            f.group.ops[n].shift[i] = bl_symop_shift(d->translations[n][i]);
        }
    f.group.count = count;
    f.group.number = (uint16_t)f.number;
    for (size_t i = 0; i < f.atoms; i++) {
        f.wyckoff[i] = d->wyckoffs[i] < 26 ? (char)('a' + d->wyckoffs[i]) : 'A';
        f.equivalent[i] = (uint32_t)d->equivalent_atoms[i];
    }
    f.wyckoff[f.atoms] = '\0';
    *out = f;
    return BL_OK;
}

/* Of a cell at the ends of what a double can hold they were seen not to be. */
static bool translations_are_small(const struct spg_dataset *d)
{
    bool small = true;
    for (int n = 0; n < d->n_operations; n++)
        for (int i = 0; i < 3; i++) small = small && fabs(d->translations[n][i]) < 1000;
    return small;
}

static struct spg_dataset *get_dataset(const struct cell *c, double symprec, struct bl_error *err)
{
    struct spg_dataset *d = spglib.get_dataset(c->lattice, c->positions, c->types, c->count, symprec);
    if (d && d->n_atoms == c->count && d->spacegroup_number > 0 && translations_are_small(d)) return d;
    if (d) spglib.free_dataset(d);
    bl_fail_invalid(err, "structure", "spglib finds no space group: atoms may be too close to each other");
    return NULL;
}

enum bl_status bl_symmetry_find(struct bl_ctx *ctx, const struct bl_structure *s, double symprec, struct bl_symmetry_found *out,
                                struct bl_error *err)
{
    struct bl_error local;
    struct cell c;
    if (!err) err = &local;
    enum bl_status status = check_symprec(symprec, err);
    if (status == BL_OK) status = cell_init(ctx, s, 1, &c, err);
    if (status != BL_OK) return status;
    struct spg_dataset *d = get_dataset(&c, symprec, err);
    status = d ? copy_found(d, bl_ctx_quota(ctx), out, err) : err->status;
    if (d) spglib.free_dataset(d);
    cell_clear(&c);
    return status;
}

void bl_symmetry_found_clear(struct bl_symmetry_found *found)
{
    bl_symmetry_clear(&found->group);
    bl_free(found->wyckoff);
    bl_free(found->equivalent);
    *found = (struct bl_symmetry_found){.number = 0};
}

/* ---- other cells --------------------------------------------------------------------------- */

static enum bl_status fill(const struct bl_structure *s, const struct cell *c, struct bl_structure *out, struct bl_error *err)
{
    enum bl_status status = bl_structure_allocate(out, (size_t)c->count, NULL, err);
    uint32_t index;
    for (size_t k = 0; status == BL_OK && k < s->species_count; k++)
        status = bl_structure_species(out, s->species[k], strlen(s->species[k]), &index, err);
    if (status == BL_OK && s->occupancies) status = bl_structure_add(out, &out->occupancies, 1, sizeof(double), err);
    if (status != BL_OK) return status;
    for (int i = 0; i < 3; i++) {
        out->pbc[i] = true;
        for (int k = 0; k < 3; k++) out->cell[i][k] = c->lattice[k][i];
    }
    struct bl_lattice lattice;
    status = bl_lattice_init(&lattice, out, err);
    for (size_t i = 0; status == BL_OK && i < out->atoms; i++) {
        const uint32_t like = c->kind_atom[c->types[i] - 1];
        double f[3];
        for (int k = 0; k < 3; k++) f[k] = into_cell(c->positions[i][k]);
        bl_lattice_cartesian(&lattice, f, out->positions + 3 * i);
        out->types[i] = s->types[like];
        if (s->occupancies) out->occupancies[i] = s->occupancies[like];
    }
    return status;
}

/* Not by spg_standardize_cell: where atoms do not fit the centring within symprec, 2.0.2 reads through a null pointer.
 * `copies`: how many atoms of the cell are one of the primitive cell; of each class of `mapping` the first one stays. */
static enum bl_status keep_first(struct cell *c, const int *mapping, size_t copies, struct bl_quota *quota, struct bl_error *err)
{
    const size_t n = (size_t)c->count, classes = n / copies;
    uint32_t *seen = bl_alloc_array(quota, classes + 1, sizeof *seen, err);
    if (!seen) return bl_alloc_status(err);
    memset(seen, 0, (classes + 1) * sizeof *seen);
    bool fits = classes * copies == n;
    size_t kept = 0;
    for (size_t i = 0; fits && i < n; i++) {
        fits = mapping[i] >= 0 && (size_t)mapping[i] < classes && seen[mapping[i]] < copies;
        if (!fits || seen[mapping[i]]++ > 0) continue;
        memmove(c->positions[kept], c->positions[i], sizeof c->positions[0]);
        c->types[kept++] = c->types[i];
    }
    bl_free(seen);
    c->count = (int)kept;
    return fits ? BL_OK : bl_fail_invalid(err, "structure", "the atoms do not fit the centring that spglib finds");
}

/* The vectors of `lattice`; atoms stay where they are. */
static bool change_lattice(struct cell *c, double lattice[3][3])
{
    struct bl_structure from = {.pbc = {true, true, true}}, to = from;
    struct bl_lattice old, new;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            from.cell[i][k] = c->lattice[k][i];
            to.cell[i][k] = lattice[k][i];
        }
    if (bl_lattice_init(&old, &from, NULL) != BL_OK || bl_lattice_init(&new, &to, NULL) != BL_OK) return false;
    for (int i = 0; i < c->count; i++) {
        double r[3];
        bl_lattice_cartesian(&old, c->positions[i], r);
        bl_lattice_fractional(&new, r, c->positions[i]);
    }
    memcpy(c->lattice, lattice, sizeof c->lattice);
    return true;
}

/* The standard cell, with standard axes and origin. */
static enum bl_status to_conventional(struct cell *c, const struct spg_dataset *d, size_t room, struct bl_error *err)
{
    if (d->n_std_atoms < 1 || (size_t)d->n_std_atoms > room) return bl_fail_invalid(err, "structure", "spglib finds no standard cell");
    memcpy(c->lattice, d->std_lattice, sizeof c->lattice);
    memcpy(c->positions, d->std_positions, (size_t)d->n_std_atoms * sizeof c->positions[0]);
    memcpy(c->types, d->std_types, (size_t)d->n_std_atoms * sizeof c->types[0]);
    c->count = d->n_std_atoms;
    return BL_OK;
}

/* Of the standard cell; vectors as in spglib's documentation (and International Tables A, table 3.1.2.2): R is obverse. */
static enum bl_status to_primitive(struct cell *c, const struct spg_dataset *d, struct bl_quota *quota, struct bl_error *err)
{
    static const struct {
        char letter;
        uint8_t copies;
        int8_t sixths[3][3]; /* columns: the primitive vectors in units of the standard ones */
    } centrings[] = {{'A', 2, {{6, 0, 0}, {0, 3, -3}, {0, 3, 3}}},      {'C', 2, {{3, 3, 0}, {-3, 3, 0}, {0, 0, 6}}},
                     {'I', 2, {{-3, 3, 3}, {3, -3, 3}, {3, 3, -3}}},    {'F', 4, {{0, 3, 3}, {3, 0, 3}, {3, 3, 0}}},
                     {'R', 3, {{4, -2, -2}, {2, 2, -4}, {2, 2, 2}}}};
    for (size_t n = 0; n < sizeof centrings / sizeof *centrings; n++) {
        if (centrings[n].letter != d->international_symbol[0]) continue;
        double lattice[3][3];
        for (int i = 0; i < 3; i++)
            for (int k = 0; k < 3; k++) {
                lattice[i][k] = 0;
                for (int m = 0; m < 3; m++) lattice[i][k] += c->lattice[i][m] * centrings[n].sixths[m][k] / 6.0;
            }
        const enum bl_status status = keep_first(c, d->std_mapping_to_primitive, centrings[n].copies, quota, err);
        if (status != BL_OK) return status;
        return change_lattice(c, lattice) ? BL_OK : bl_fail_invalid(err, "cell", "spglib's standard cell is flat");
    }
    return BL_OK;
}

/* Of the structure as it is, not of the standard cell. */
static enum bl_status to_niggli(struct cell *c, const struct spg_dataset *d, double symprec, struct bl_quota *quota, struct bl_error *err)
{
    double lattice[3][3];
    int classes = 0;
    for (int i = 0; i < c->count; i++) classes = d->mapping_to_primitive[i] >= classes ? d->mapping_to_primitive[i] + 1 : classes;
    const size_t copies = classes > 0 && classes <= c->count ? (size_t)(c->count / classes) : 1;
    enum bl_status status = keep_first(c, d->mapping_to_primitive, copies, quota, err);
    if (status != BL_OK) return status;
    memcpy(lattice, d->primitive_lattice, sizeof lattice);
    if (spglib.niggli(lattice, symprec) && change_lattice(c, lattice)) return BL_OK;
    return bl_fail_invalid(err, "cell", "spglib finds no Niggli cell");
}

enum bl_status bl_symmetry_cell(struct bl_ctx *ctx, const struct bl_structure *s, enum bl_cell_kind kind, double symprec,
                                struct bl_structure *out, struct bl_error *err)
{
    enum { SPARE = 4 };
    struct bl_quota *quota = bl_ctx_quota(ctx);
    struct bl_error local;
    struct cell c;
    struct bl_structure made;
    if (!err) err = &local;
    enum bl_status status = check_symprec(symprec, err);
    if (status == BL_OK) status = cell_init(ctx, s, SPARE, &c, err);
    if (status != BL_OK) return status;
    struct spg_dataset *d = get_dataset(&c, symprec, err);
    bl_structure_init(&made, quota);
    status = d ? BL_OK : err->status;
    if (status == BL_OK && kind == BL_CELL_NIGGLI) status = to_niggli(&c, d, symprec, quota, err);
    if (status == BL_OK && kind != BL_CELL_NIGGLI) status = to_conventional(&c, d, SPARE * s->atoms, err);
    if (status == BL_OK && kind == BL_CELL_PRIMITIVE) status = to_primitive(&c, d, quota, err);
    if (status == BL_OK) status = fill(s, &c, &made, err);
    if (d) spglib.free_dataset(d);
    cell_clear(&c);
    if (status != BL_OK) bl_structure_clear(&made);
    else *out = made;
    return status;
}
