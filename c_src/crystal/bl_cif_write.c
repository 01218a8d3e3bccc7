/* SPDX-License-Identifier: Apache-2.0
 *
 * CIF 1.1, canonical: the same structure gives the same bytes. In P 1 all atoms are listed; with
 * symmetry one atom of each orbit, if the atoms still have it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bl_cif.h"

struct writer {
    const struct bl_structure *s;
    const struct bl_symmetry *symmetry; /* NULL: P 1 */
    struct bl_printer *p;
    struct bl_lattice lattice;
    uint8_t *image; /* per atom: an image of one before it */
};

/* A value that cannot be taken for anything else: bare where that is plain, else quoted, else a text field. */
static void print_value(struct bl_printer *p, const char *text, size_t len)
{
    bool plain = len > 0 && len < 70;
    for (size_t i = 0; plain && i < len; i++) {
        const char c = text[i];
        plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (i > 0 && strchr("+-./_'*", c));
    }
    static const char *const reserved[] = {"data_", "loop_", "save_", "stop_", "global_"};
    for (size_t i = 0; plain && i < sizeof reserved / sizeof *reserved; i++)
        plain = len < strlen(reserved[i]) || strncasecmp(text, reserved[i], strlen(reserved[i])) != 0;
    const bool one_line = !memchr(text, '\n', len) && !memchr(text, '\r', len);
    if (plain) {
        bl_print_bytes(p, text, len);
    } else if (one_line && !memchr(text, '\'', len)) {
        bl_print_text(p, "'");
        bl_print_bytes(p, text, len);
        bl_print_text(p, "'");
    } else { /* in a text field only a semicolon at the start of a line needs care */
        bl_print_text(p, "\n;");
        for (size_t i = 0; i < len; i++) {
            if (text[i] == ';' && i > 0 && (text[i - 1] == '\n' || text[i - 1] == '\r')) bl_print_text(p, " ");
            bl_print_bytes(p, text + i, 1);
        }
        bl_print_text(p, "\n;\n");
    }
}

static void print_tag(struct bl_printer *p, const char *tag)
{
    static const char blanks[] = "                                  ";
    const size_t len = strlen(tag);
    bl_print_text(p, tag);
    bl_print_bytes(p, blanks, len < 33 ? 33 - len : 1);
}

static void print_item(struct bl_printer *p, const char *tag, const char *value)
{
    print_tag(p, tag);
    print_value(p, value, strlen(value));
    bl_print_text(p, "\n");
}

static void print_cell(struct writer *w)
{
    static const char *const lengths[3] = {"_cell_length_a", "_cell_length_b", "_cell_length_c"};
    static const char *const angles[3] = {"_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma"};
    const double(*v)[3] = w->lattice.vectors;
    double length[3];
    for (int k = 0; k < 3; k++) {
        length[k] = sqrt(bl_dot(v[k], v[k]));
        print_tag(w->p, lengths[k]);
        bl_print_number(w->p, length[k]);
        bl_print_text(w->p, "\n");
    }
    for (int k = 0; k < 3; k++) {
        const int i = (k + 1) % 3, j = (k + 2) % 3;
        double n[3];
        bl_cross(v[i], v[j], n);
        const double degrees = atan2(sqrt(bl_dot(n, n)), bl_dot(v[i], v[j])) * (180 / M_PI);
        print_tag(w->p, angles[k]);
        bl_print_number(w->p, fabs(degrees - rint(degrees)) < 1e-10 ? rint(degrees) : degrees);
        bl_print_text(w->p, "\n");
    }
    print_tag(w->p, "_cell_volume");
    bl_print_number(w->p, fabs(w->lattice.volume));
    bl_print_text(w->p, "\n");
}

static void print_formula(struct writer *w)
{
    char text[512];
    size_t n = 0;
    double *counts = bl_alloc_zero(w->s->quota, w->s->species_count * sizeof *counts, w->p->err);
    if (!counts) w->p->status = bl_alloc_status(w->p->err);
    for (size_t i = 0; bl_print_goes_on(w->p, 1) && i < w->s->atoms; i++)
        counts[w->s->types[i]] += w->s->occupancies ? w->s->occupancies[i] : 1;
    for (size_t k = 0; counts && k < w->s->species_count && n + 64 < sizeof text; k++)
        if (counts[k] > 0) n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%.10g", n ? " " : "", w->s->species[k], counts[k]);
    bl_free(counts);
    if (n == 0) return;
    for (size_t i = 0; i < n; i++)
        if (text[i] == ',') text[i] = '.'; /* a locale's decimal point */
    print_item(w->p, "_chemical_formula_sum", text);
    print_item(w->p, "_cell_formula_units_Z", "1");
}

static void print_symmetry(struct writer *w)
{
    const struct bl_symmetry *y = w->symmetry;
    print_item(w->p, "_space_group_name_H-M_alt", y ? (y->name[0] ? y->name : "?") : "P 1");
    if (y && y->hall[0]) print_item(w->p, "_space_group_name_Hall", y->hall);
    char number[8];
    snprintf(number, sizeof number, "%u", y ? y->number : 1u);
    print_item(w->p, "_space_group_IT_number", y && y->number == 0 ? "?" : number);
    bl_print_text(w->p, "loop_\n_space_group_symop_operation_xyz\n");
    for (size_t i = 0; i < (y ? y->count : 1); i++) {
        char text[BL_SYMOP_SIZE] = "x,y,z";
        if (y) bl_symop_format(&y->ops[i], text);
        bl_print_text(w->p, "'");
        bl_print_text(w->p, text);
        bl_print_text(w->p, "'\n");
    }
}

/* Its own label, or symbol and number. */
static void print_label(struct writer *w, size_t atom, size_t number)
{
    const struct bl_structure *s = w->s;
    if (s->sites && s->label_text) {
        const size_t site = s->sites[atom], start = site ? s->label_ends[site - 1] : 0, len = s->label_ends[site] - start;
        if (len > 0) {
            print_value(w->p, s->label_text + start, len);
            return;
        }
    }
    char text[BL_SYMBOL_SIZE + 24];
    snprintf(text, sizeof text, "%s%zu", s->species[s->types[atom]], number);
    print_value(w->p, text, strlen(text));
}

static const struct bl_column *find_column(const struct bl_structure *s, const char *name)
{
    for (size_t i = 0; i < s->column_count; i++)
        if (strcmp(s->columns[i].name, name) == 0 && s->columns[i].type == BL_VALUE_INT && s->columns[i].width == 1) return &s->columns[i];
    return NULL;
}

static void print_group(struct writer *w, const struct bl_column *c, size_t atom)
{
    if (!c) return;
    bl_print_text(w->p, " ");
    if (c->value.ints[atom] == 0) bl_print_text(w->p, ".");
    else bl_print_integer(w->p, c->value.ints[atom]);
}

static void print_atoms(struct writer *w)
{
    const struct bl_structure *s = w->s;
    const struct bl_column *assembly = find_column(s, "disorder_assembly"), *group = find_column(s, "disorder_group");
    bl_print_text(w->p, "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
                        "_atom_site_occupancy\n");
    if (assembly) bl_print_text(w->p, "_atom_site_disorder_assembly\n");
    if (group) bl_print_text(w->p, "_atom_site_disorder_group\n");
    for (size_t i = 0, number = 0; w->p->status == BL_OK && i < s->atoms; i++) {
        double f[3];
        if (w->image && w->image[i]) continue;
        bl_lattice_fractional(&w->lattice, s->positions + 3 * i, f);
        print_label(w, i, ++number);
        bl_print_text(w->p, " ");
        print_value(w->p, s->species[s->types[i]], strlen(s->species[s->types[i]]));
        for (int k = 0; k < 3; k++) {
            bl_print_text(w->p, " ");
            bl_print_number(w->p, f[k]);
        }
        bl_print_text(w->p, " ");
        bl_print_number(w->p, s->occupancies ? s->occupancies[i] : 1);
        print_group(w, assembly, i);
        print_group(w, group, i);
        bl_print_text(w->p, "\n");
    }
}

/* The atom of the same kind at f, or SIZE_MAX. Fractions are sorted along the first axis. */
struct by_x {
    double x;
    uint32_t atom;
};

static int compare_x(const void *a, const void *b)
{
    const double x = ((const struct by_x *)a)->x, y = ((const struct by_x *)b)->x;
    return x < y ? -1 : x > y;
}

static double wrapped(double x)
{
    x -= floor(x);
    return x >= 1 ? 0 : x;
}

static bool same_kind(const struct bl_structure *s, size_t a, size_t b)
{
    return s->types[a] == s->types[b] && (!s->occupancies || s->occupancies[a] == s->occupancies[b]);
}

enum { TOLERANCE_DIVISOR = 100 };
static size_t atom_at(const struct writer *w, const struct by_x *sorted, const double f[3], size_t like)
{
    const struct bl_structure *s = w->s;
    const double tolerance = 1.0 / TOLERANCE_DIVISOR, reach = tolerance / w->lattice.heights[0], x = wrapped(f[0]);
    size_t low = 0, high = s->atoms;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (sorted[middle].x < x - reach) low = middle + 1;
        else high = middle;
    }
    const bool around = x + reach >= 1 || x - reach < 0;
    for (size_t i = around ? 0 : low; i < s->atoms && (around || sorted[i].x <= x + reach); i++) {
        double g[3], r[3];
        if (!bl_print_goes_on(w->p, 4)) return SIZE_MAX;
        bl_lattice_fractional(&w->lattice, s->positions + 3 * (size_t)sorted[i].atom, g);
        for (int k = 0; k < 3; k++) g[k] -= f[k] + rint(g[k] - f[k]);
        bl_lattice_cartesian(&w->lattice, g, r);
        if (bl_dot(r, r) <= tolerance * tolerance && same_kind(s, sorted[i].atom, like)) return sorted[i].atom;
    }
    return SIZE_MAX;
}

/* Marks all atoms but one of each orbit. False: an image is missing. */
static bool mark_orbits(struct writer *w, const struct by_x *sorted)
{
    const struct bl_symmetry *y = w->symmetry;
    for (size_t i = 0; i < w->s->atoms; i++) {
        double f[3];
        if (w->image[i]) continue;
        bl_lattice_fractional(&w->lattice, w->s->positions + 3 * i, f);
        for (size_t n = 0; n < y->count; n++) {
            double g[3];
            for (int a = 0; a < 3; a++)
                g[a] = y->ops[n].rot[a][0] * f[0] + y->ops[n].rot[a][1] * f[1] + y->ops[n].rot[a][2] * f[2] +
                       (double)y->ops[n].shift[a] / BL_SYMOP_DEN;
            const size_t other = atom_at(w, sorted, g, i);
            if (other == SIZE_MAX) return false;
            if (other != i) w->image[other] = 1;
        }
    }
    return true;
}

/* The symmetry of the structure, where every image of an atom is an atom of its kind and the cell
 * keeps its shape; else P 1. */
static enum bl_status use_symmetry(struct writer *w, struct bl_error *err)
{
    const struct bl_structure *s = w->s;
    for (int k = 0; k < 3; k++)
        if (!s->pbc[k]) return BL_OK;
    if (!s->symmetry || s->symmetry->count < 2) return BL_OK;
    struct by_x *sorted = bl_alloc_array(s->quota, s->atoms, sizeof *sorted, err);
    if (!sorted) return bl_alloc_status(err);
    w->image = bl_alloc_zero(s->quota, s->atoms, err);
    if (!w->image) {
        bl_free(sorted);
        return bl_alloc_status(err);
    }
    for (size_t i = 0; bl_print_goes_on(w->p, 1) && i < s->atoms; i++) {
        double f[3];
        bl_lattice_fractional(&w->lattice, s->positions + 3 * i, f);
        sorted[i] = (struct by_x){wrapped(f[0]), (uint32_t)i};
    }
    if (w->p->status == BL_OK) qsort(sorted, s->atoms, sizeof *sorted, compare_x);
    w->symmetry = s->symmetry;
    if (w->p->status != BL_OK || !mark_orbits(w, sorted)) {
        w->symmetry = NULL;
        bl_free(w->image);
        w->image = NULL;
    }
    bl_free(sorted);
    return BL_OK;
}

/* A reader would refuse what lies a million cells away. */
static enum bl_status check_positions(const struct writer *w, struct bl_error *err)
{
    for (size_t i = 0; i < w->s->atoms; i++) {
        double f[3];
        bl_lattice_fractional(&w->lattice, w->s->positions + 3 * i, f);
        for (int k = 0; k < 3; k++)
            if (!(fabs(f[k]) < 1e6)) return bl_fail_invalid(err, "positions", "atom %zu is a million cells away", i + 1);
    }
    return BL_OK;
}

static void print_block_name(struct writer *w)
{
    const char *name = NULL;
    for (size_t i = 0; i < w->s->info_count; i++)
        if (w->s->info[i].type == BL_VALUE_TEXT && strcmp(w->s->info[i].key, "block") == 0) name = w->s->info[i].value.text;
    bl_print_text(w->p, "data_");
    for (const char *c = name && *name ? name : "structure"; *c; c++) bl_print_bytes(w->p, (unsigned char)*c <= ' ' ? "_" : c, 1);
    bl_print_text(w->p, "\n");
}

enum bl_status bl_cif_write(const struct bl_structure *s, const struct bl_write_options *options, struct bl_printer *p)
{
    struct writer w = {.s = s, .p = p};
    if (bl_structure_volume(s) == 0) return bl_fail_invalid(p->err, "cell", "a CIF needs three lattice vectors");
    enum bl_status status = bl_right_handed(s, &w.lattice, p->err);
    if (status == BL_OK) status = check_positions(&w, p->err);
    if (status == BL_OK && options->symmetry && bl_structure_volume(s) > 0) status = use_symmetry(&w, p->err);
    if (status != BL_OK) return status;
    print_block_name(&w);
    print_formula(&w);
    print_cell(&w);
    print_symmetry(&w);
    print_atoms(&w);
    bl_free(w.image);
    return BL_OK;
}
