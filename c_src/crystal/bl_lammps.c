/* SPDX-License-Identifier: Apache-2.0
 *
 * LAMMPS data files (docs.lammps.org, read_data), without bonds and other topology:
 *
 *     title
 *
 *     N atoms                              header: in any order, "#" begins a comment
 *     T atom types
 *     xlo xhi xlo xhi  (and y, z)  [xy xz yz xy xz yz]      or  ax ay az avec  (b, c), origin
 *
 *     Atom Type Labels | Masses | Atoms # style | Velocities | other sections
 *
 * Types are numbers, or labels: their species come from comments behind the masses, else from labels that
 * are elements, else from the masses, else they are asked for. Lengths and velocities are taken as the units "metal": angstrom and
 * angstrom/ps.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bl_crystal.h"

enum { TYPES_MAX = 1024 };

/* Where type, charge and position stand in a row of Atoms, counted behind the number of the atom, and how many words come
 * behind the position, before the image flags. The order is that of the manual's page read_data. */
static const struct style {
    const char *name;
    int type, charge, position, behind; /* charge -1: none; behind -1: any number, so that there are no image flags */
} styles[] = {
    {"atomic", 0, -1, 1, 0},    {"charge", 0, 1, 2, 0},     {"bond", 1, -1, 2, 0},      {"angle", 1, -1, 2, 0},
    {"molecular", 1, -1, 2, 0}, {"full", 1, 2, 3, 0},       {"body", 0, -1, 3, 0},      {"dielectric", 1, 2, 3, 8},
    {"dipole", 0, 1, 2, 3},     {"dpd", 0, -1, 2, 0},       {"edpd", 0, -1, 3, 0},      {"electron", 0, 1, 4, 0},
    {"ellipsoid", 0, -1, 3, 0}, {"hybrid", 0, -1, 1, -1},   {"line", 1, -1, 4, 0},      {"mdpd", 0, -1, 2, 0},
    {"peri", 0, -1, 3, 0},      {"smd", 0, -1, 9, 0},       {"sph", 0, -1, 4, 0},       {"sphere", 0, -1, 3, 0},
    {"spin", 0, -1, 1, 4},      {"tdpd", 0, -1, 1, -1},     {"tri", 1, -1, 4, 0},       {"wavepacket", 0, 1, 7, 0},
};

struct lammps {
    struct bl_reader_state *r;
    struct bl_text *t;
    struct bl_structure *s;
    struct bl_warnings *warnings;
    size_t atoms, types;
    double low[3], high[3], tilt[3], vectors[3][3], origin[3];
    bool has_bounds[3], has_vectors[3], has_atoms, has_labels, counted; /* counted: the header says how many atoms */
    double velocity; /* of the file's units in angstrom/fs */
    double masses[TYPES_MAX];
    struct bl_token names[TYPES_MAX], labels[TYPES_MAX]; /* behind the masses; of the section Atom Type Labels */
    uint32_t species[TYPES_MAX];
    /* Number of an atom to its place; numbers may come in any order. */
    uint64_t *ids;
    uint32_t *slots; /* of a hash table of places + 1, 0: free; NULL where the numbers ascend */
    size_t slot_mask;
    const struct style *style;
};

/* ---- lines ---------------------------------------------------------------------------- */

static bool is_word(struct bl_token w, const char *text) { return w.len == strlen(text) && memcmp(w.p, text, w.len) == 0; }

/* The next word before a comment; len 0 at the end of the line. */
static struct bl_token word(struct bl_text *t)
{
    struct bl_text at = *t;
    const struct bl_token w = bl_text_word(&at);
    if (w.len == 0 || *w.p == '#') return (struct bl_token){w.p, 0};
    const char *hash = memchr(w.p, '#', w.len);
    t->p = hash ? hash : at.p;
    return (struct bl_token){w.p, (size_t)(t->p - w.p)};
}

static bool is_blank(const struct bl_text *t)
{
    const struct bl_token rest = bl_text_rest(t);
    return rest.len == 0 || *rest.p == '#';
}

static void skip_blank_lines(struct bl_text *t)
{
    while (!bl_text_end(t) && is_blank(t)) bl_text_next_line(t);
}

static enum bl_status number(struct lammps *l, double *out, const char *what, struct bl_error *err)
{
    struct bl_text at = *l->t;
    bl_text_blanks(&at);
    return bl_token_number(word(l->t), out) ? BL_OK : bl_text_expected(&at, err, "%s", what);
}

static enum bl_status integer(struct lammps *l, int64_t low, int64_t high, int64_t *out, const char *what, struct bl_error *err)
{
    struct bl_text at = *l->t;
    bl_text_blanks(&at);
    if (bl_token_integer(word(l->t), out) && *out >= low && *out <= high) return BL_OK;
    return bl_text_expected(&at, err, "%s from %lld to %lld", what, (long long)low, (long long)high);
}

/* The number of an atom type, or its label. */
static enum bl_status read_type(struct lammps *l, size_t *type, struct bl_error *err)
{
    struct bl_text at = *l->t;
    int64_t n;
    bl_text_blanks(&at);
    const struct bl_token w = word(l->t);
    if (bl_token_integer(w, &n) && n >= 1 && n <= (int64_t)l->types) {
        *type = (size_t)n - 1;
        return BL_OK;
    }
    for (*type = 0; w.len > 0 && *type < l->types; ++*type)
        if (l->labels[*type].len == w.len && memcmp(l->labels[*type].p, w.p, w.len) == 0) return BL_OK;
    return bl_text_expected(&at, err, "an atom type from 1 to %zu%s", l->types, l->has_labels ? ", or its label" : "");
}

/* ---- header ------------------------------------------------------------------------------- */

static enum bl_status take_count(double value, const struct bl_text *at, size_t limit, const char *what, size_t *out,
        struct bl_error *err)
{
    if (value < 0 || value != floor(value)) return bl_text_expected(at, err, "a number of %s", what);
    if (value > (double)limit) return bl_fail_limit(err, what, limit, value < 1e18 ? (uint64_t)value : UINT64_MAX);
    *out = (size_t)value;
    return BL_OK;
}

/* "1 2 xlo xhi", "0 0 0 xy xz yz", "1 0 0 avec", "100 atoms", "2 atom types"; others are read over. */
static enum bl_status header_line(struct lammps *l, struct bl_error *err)
{
    static const char *const bounds[3] = {"xlo", "ylo", "zlo"}, *const vectors[3] = {"avec", "bvec", "cvec"};
    struct bl_text at = *l->t;
    double v[3] = {0};
    int n = 0;
    struct bl_token w = word(l->t);
    while (n < 3 && bl_token_number(w, &v[n])) {
        n++;
        w = word(l->t);
    }
    for (int k = 0; k < 3; k++) {
        if (n == 2 && is_word(w, bounds[k])) {
            l->low[k] = v[0];
            l->high[k] = v[1];
            l->has_bounds[k] = true;
            if (!(v[1] > v[0])) return bl_fail_invalid(err, "box", "%s is not below %chi (line %u)", bounds[k], "xyz"[k], at.line);
        }
        if (n == 3 && is_word(w, vectors[k])) {
            memcpy(l->vectors[k], v, sizeof v);
            l->has_vectors[k] = true;
        }
    }
    if (n == 3 && is_word(w, "xy")) memcpy(l->tilt, v, sizeof v);
    if (n == 3 && is_word(w, "abc")) memcpy(l->origin, v, sizeof v); /* "abc origin" */
    l->counted = l->counted || (n == 1 && is_word(w, "atoms"));
    if (n == 1 && is_word(w, "atoms")) return take_count(v[0], &at, l->r->limits->max_atoms, "atoms", &l->atoms, err);
    if (n == 1 && is_word(w, "atom")) return take_count(v[0], &at, TYPES_MAX, "atom types", &l->types, err);
    return BL_OK;
}

/* What write_data says in the title, "units = real". Velocities of metal are angstrom/ps, of real angstrom/fs. */
static enum bl_status read_units(struct lammps *l, struct bl_error *err)
{
    struct bl_text title = *l->t;
    l->velocity = 1e-3;
    struct bl_token w = bl_text_word(&title);
    while (w.len > 0 && !is_word(w, "units")) w = bl_text_word(&title);
    if (w.len > 0) w = bl_text_word(&title);
    if (is_word(w, "=")) w = bl_text_word(&title);
    const bool real = is_word(w, "real"), reduced = is_word(w, "lj");
    static const char *const others[] = {"si", "cgs", "electron", "micro", "nano"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (is_word(w, others[i])) return bl_fail_unsupported(err, "LAMMPS data in other units than metal, real and lj");
    if (real || reduced) l->velocity = 1;
    else if (!is_word(w, "metal")) bl_warn(l->warnings, "the file does not say its units: taken as metal, angstrom and angstrom/ps");
    if (reduced) bl_warn(l->warnings, "reduced units (lj): numbers are kept as they are");
    return BL_OK;
}

/* As LAMMPS takes it: a bound that is not there is -0.5 or 0.5 (two-dimensional systems have no zlo zhi). */
static bool complete_bounds(struct lammps *l)
{
    if (!l->has_bounds[0] || !l->has_bounds[1]) return false;
    if (l->has_bounds[2]) return true;
    l->low[2] = -0.5;
    l->high[2] = 0.5;
    bl_warn(l->warnings, "zlo zhi is missing: taken as -0.5 and 0.5, as LAMMPS does");
    return true;
}

static bool begins_with_number(const struct bl_text *t)
{
    struct bl_text at = *t;
    double ignored;
    return bl_token_number(word(&at), &ignored);
}

static enum bl_status read_header(struct lammps *l, struct bl_error *err)
{
    const enum bl_status known = read_units(l, err);
    if (known != BL_OK) return known;
    bl_text_next_line(l->t);
    for (skip_blank_lines(l->t); !bl_text_end(l->t) && begins_with_number(l->t); skip_blank_lines(l->t)) {
        const enum bl_status status = header_line(l, err);
        if (status != BL_OK) return status;
        bl_text_next_line(l->t);
    }
    const bool general = l->has_vectors[0] && l->has_vectors[1] && l->has_vectors[2];
    const bool bounds = general || complete_bounds(l);
    if (!l->counted) return bl_text_expected(l->t, err, "the number of atoms in the header");
    if (l->types == 0 && l->atoms > 0) return bl_text_expected(l->t, err, "the number of atom types in the header");
    if (!bounds) return bl_text_expected(l->t, err, "the box in the header: xlo xhi, ylo yhi, zlo zhi");
    if (l->atoms > (size_t)(l->t->end - l->t->p) / BL_ROW_BYTES_MIN + 1)
        return bl_fail_invalid(err, "atoms", "%zu atoms do not fit into the bytes that follow", l->atoms);
    for (int k = 0; k < 3; k++) {
        const double row[3][3] = {{l->high[0] - l->low[0], 0, 0},
                                  {l->tilt[0], l->high[1] - l->low[1], 0},
                                  {l->tilt[1], l->tilt[2], l->high[2] - l->low[2]}};
        memcpy(l->s->cell[k], general ? l->vectors[k] : row[k], sizeof row[k]);
        if (!general) l->origin[k] = l->low[k];
        l->s->pbc[k] = true;
    }
    return BL_OK;
}

/* ---- sections -------------------------------------------------------------------------------- */

static enum bl_status read_masses(struct lammps *l, struct bl_error *err)
{
    for (size_t i = 0; i < l->types; i++, bl_text_next_line(l->t)) {
        size_t type;
        double mass;
        skip_blank_lines(l->t);
        enum bl_status status = read_type(l, &type, err);
        if (status == BL_OK) status = number(l, &mass, "a mass", err);
        if (status != BL_OK) return status;
        if (!(mass > 0)) return bl_fail_invalid(err, "Masses", "the mass of type %zu is %g", type + 1, mass);
        l->masses[type] = mass;
        struct bl_token rest = bl_text_rest(l->t);
        if (rest.len > 1 && *rest.p == '#') {
            struct bl_text at = {.p = rest.p + 1, .end = rest.p + rest.len, .line_start = rest.p, .line = 1};
            l->names[type] = bl_text_word(&at);
        }
    }
    return BL_OK;
}

static enum bl_status read_labels(struct lammps *l, struct bl_error *err)
{
    l->has_labels = true;
    for (size_t i = 0; i < l->types; i++, bl_text_next_line(l->t)) {
        int64_t type;
        skip_blank_lines(l->t);
        const enum bl_status status = integer(l, 1, (int64_t)l->types, &type, "an atom type", err);
        if (status != BL_OK) return status;
        const struct bl_token label = word(l->t);
        if (label.len == 0) return bl_text_expected(l->t, err, "the label of the atom type");
        l->labels[type - 1] = label;
    }
    return BL_OK;
}

/* The style behind "Atoms #", an option, or the one that fits the number of columns. */
static enum bl_status find_style(struct lammps *l, struct bl_token remark, struct bl_error *err)
{
    const char *asked = l->r->options->atom_style;
    const struct bl_token name = asked ? (struct bl_token){asked, strlen(asked)} : remark;
    for (size_t i = 0; name.len > 0 && i < sizeof styles / sizeof *styles; i++)
        if (is_word(name, styles[i].name)) l->style = &styles[i];
    if (l->style) return BL_OK;
    if (asked) return bl_fail_unsupported(err, "atom style");
    struct bl_text at = *l->t;
    skip_blank_lines(&at);
    int words = 0;
    while (word(&at).len > 0) words++;
    if (words == 5 || words == 8) l->style = &styles[0];
    if (words == 7 || words == 10) l->style = &styles[5];
    if (l->style) {
        bl_warn(l->warnings, "atom style %s taken from the number of columns", l->style->name);
        return BL_OK;
    }
    return bl_fail_invalid(err, "atom_style", "the file does not say its atom style: give the option atom_style, charge or molecular");
}

static enum bl_status read_atom(struct lammps *l, size_t i, struct bl_error *err)
{
    int64_t id;
    size_t type;
    double v[3], charge = 0;
    const struct style *s = l->style;
    enum bl_status status = integer(l, 1, INT64_MAX / 2, &id, "the number of an atom", err);
    for (int column = 0; status == BL_OK && column < s->position; column++) {
        if (column == s->type) status = read_type(l, &type, err);
        else if (column == s->charge) status = number(l, &charge, "a charge", err);
        else if (word(l->t).len == 0) status = bl_text_expected(l->t, err, "the columns of atom style %s", s->name);
    }
    for (int k = 0; status == BL_OK && k < 3; k++) status = number(l, &v[k], "three numbers of a position", err);
    if (status != BL_OK) return status;
    double image[3];
    int images = s->behind < 0 ? 4 : 0;
    for (int k = 0; k < s->behind; k++) word(l->t);
    while (images < 3 && bl_token_number(word(l->t), &image[images])) images++;
    if (images == 3) /* which periodic image the atom is in */
        for (int k = 0; k < 3; k++)
            for (int c = 0; c < 3; c++) v[c] += image[k] * l->s->cell[k][c];
    l->ids[i] = (uint64_t)id;
    l->s->types[i] = (uint32_t)type;
    for (int c = 0; c < 3; c++) l->s->positions[3 * i + (size_t)c] = v[c] - l->origin[c];
    if (l->s->charges) l->s->charges[i] = charge;
    return BL_OK;
}

static size_t slot_of(const struct lammps *l, uint64_t id)
{
    size_t slot = (size_t)((id * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & l->slot_mask;
    while (l->slots[slot] && l->ids[l->slots[slot] - 1] != id) slot = (slot + 1) & l->slot_mask;
    return slot;
}

/* Every number once: plain where they ascend, else by a table. */
static enum bl_status check_ids(struct lammps *l, struct bl_error *err)
{
    size_t i = 1, room = 16;
    enum bl_status status = BL_OK;
    while (status == BL_OK && i < l->atoms && l->ids[i] > l->ids[i - 1]) status = bl_poll(l->r->ctx, i++, err);
    if (status != BL_OK || i >= l->atoms) return status;
    while (room < 2 * l->atoms) room *= 2;
    l->slots = bl_alloc_array(l->s->quota, room, sizeof *l->slots, err);
    if (!l->slots) return bl_alloc_status(err);
    l->slot_mask = room - 1;
    for (size_t k = 0; status == BL_OK && k < room; k++) {
        l->slots[k] = 0;
        status = bl_poll(l->r->ctx, k, err);
    }
    for (size_t k = 0; status == BL_OK && k < l->atoms; k++) {
        const size_t slot = slot_of(l, l->ids[k]);
        if (l->slots[slot]) return bl_fail_invalid(err, "Atoms", "the number %llu stands twice", (unsigned long long)l->ids[k]);
        l->slots[slot] = (uint32_t)k + 1;
        status = bl_poll(l->r->ctx, k, err);
    }
    return status;
}

static enum bl_status read_atoms(struct lammps *l, struct bl_token remark, struct bl_error *err)
{
    enum bl_status status = find_style(l, remark, err);
    if (status == BL_OK) status = bl_structure_allocate(l->s, l->atoms, l->r->limits, err);
    if (status == BL_OK && l->style->charge >= 0) status = bl_structure_add(l->s, &l->s->charges, 1, sizeof(double), err);
    if (status != BL_OK) return status;
    l->ids = bl_alloc_array(l->s->quota, l->atoms, sizeof *l->ids, err);
    if (!l->ids) return bl_alloc_status(err);
    for (size_t i = 0; status == BL_OK && i < l->atoms; i++, bl_text_next_line(l->t)) {
        if (i % 4096 == 0) status = bl_ctx_check(l->r->ctx, err);
        skip_blank_lines(l->t);
        if (status == BL_OK) status = read_atom(l, i, err);
    }
    if (status == BL_OK) status = check_ids(l, err);
    l->has_atoms = status == BL_OK;
    return status;
}

/* The place of an atom; files mostly keep the order of their atoms. */
static size_t place_of(const struct lammps *l, uint64_t id, size_t guess)
{
    if (l->ids[guess] == id) return guess;
    if (l->slots) {
        const uint32_t found = l->slots[slot_of(l, id)];
        return found ? found - 1 : SIZE_MAX;
    }
    size_t low = 0, high = l->atoms; /* they ascend */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (l->ids[middle] < id) low = middle + 1;
        else high = middle;
    }
    return low < l->atoms && l->ids[low] == id ? low : SIZE_MAX;
}

static enum bl_status read_velocities(struct lammps *l, struct bl_error *err)
{
    if (!l->has_atoms) return bl_text_expected(l->t, err, "Atoms before Velocities");
    enum bl_status status = bl_structure_add(l->s, &l->s->velocities, 3, sizeof(double), err);
    for (size_t i = 0; status == BL_OK && i < l->atoms; i++, bl_text_next_line(l->t)) {
        int64_t id;
        double v[3];
        if (i % 256 == 0) status = bl_ctx_check(l->r->ctx, err);
        skip_blank_lines(l->t);
        if (status == BL_OK) status = integer(l, 1, INT64_MAX / 2, &id, "the number of an atom", err);
        for (int k = 0; status == BL_OK && k < 3; k++) status = number(l, &v[k], "three numbers of a velocity", err);
        if (status != BL_OK) return status;
        const size_t at = place_of(l, (uint64_t)id, i);
        if (at == SIZE_MAX) return bl_fail_invalid(err, "Velocities", "there is no atom %lld (line %u)", (long long)id, l->t->line);
        for (int k = 0; k < 3; k++) l->s->velocities[3 * at + (size_t)k] = v[k] * l->velocity;
    }
    return status;
}

static bool begins_section(const struct bl_text *t)
{
    struct bl_text at = *t;
    const struct bl_token w = word(&at);
    return w.len > 0 && isalpha((unsigned char)*w.p);
}

static enum bl_status read_section(struct lammps *l, struct bl_error *err)
{
    struct bl_text title = *l->t;
    const struct bl_token name = word(&title), kind = word(&title);
    bl_text_blanks(&title);
    struct bl_token remark = bl_text_rest(&title);
    if (remark.len > 0 && *remark.p == '#') {
        title.p = remark.p + 1;
        remark = bl_text_word(&title);
    } else {
        remark.len = 0;
    }
    bl_text_next_line(l->t);
    if (is_word(name, "Atom") && is_word(kind, "Type")) return read_labels(l, err);
    if (is_word(name, "Masses")) return read_masses(l, err);
    if (is_word(name, "Velocities")) return read_velocities(l, err);
    if (is_word(name, "Atoms")) {
        if (l->has_atoms) return bl_fail_invalid(err, "Atoms", "stands twice (line %u)", l->t->line);
        return read_atoms(l, remark, err);
    }
    bl_warn(l->warnings, "the section %.*s is left out", (int)(name.len < 40 ? name.len : 40), name.p);
    for (skip_blank_lines(l->t); !bl_text_end(l->t) && !begins_section(l->t); skip_blank_lines(l->t)) bl_text_next_line(l->t);
    return BL_OK;
}

/* ---- species -------------------------------------------------------------------------------------- */

/* The element whose mass is nearest, if it is within half a percent; 0: none. */
static unsigned element_of_mass(double mass)
{
    unsigned best = 0;
    double distance = 0.005 * mass;
    for (unsigned z = 1; z < BL_ELEMENT_COUNT; z++) {
        const double d = fabs(bl_elements[z].mass_amu - mass);
        if (d >= distance) continue;
        distance = d;
        best = z;
    }
    return best;
}

/* A label that is an element's symbol; 0: none. */
static unsigned element_of_label(struct bl_token label)
{
    for (unsigned z = 1; z < BL_ELEMENT_COUNT; z++)
        if (is_word(label, bl_elements[z].symbol)) return z;
    return 0;
}

static enum bl_status name_type(struct lammps *l, size_t type, struct bl_error *err)
{
    const struct bl_parse_options *o = l->r->options;
    if (o->species_count > 0) {
        if (o->species_count != l->types)
            return bl_fail_invalid(err, "species", "%zu species are given for %zu atom types", o->species_count, l->types);
        return bl_structure_species(l->s, o->species[type], strlen(o->species[type]), &l->species[type], err);
    }
    const struct bl_symbol symbol = bl_symbol_of(l->names[type]);
    if (l->names[type].len > 0 && symbol.known) return bl_structure_species(l->s, symbol.text, strlen(symbol.text), &l->species[type], err);
    const unsigned z = element_of_mass(l->masses[type]), labelled = element_of_label(l->labels[type]);
    if (labelled > 0 && (z == labelled || l->masses[type] == 0))
        return bl_structure_species(l->s, bl_elements[labelled].symbol, strlen(bl_elements[labelled].symbol), &l->species[type], err);
    if (z == 0) return bl_fail_invalid(err, "species",
            "nothing says what atom type %zu is: give the option species with %zu symbols", type + 1,
            l->types);
    bl_warn(l->warnings, "species taken from masses");
    return bl_structure_species(l->s, bl_elements[z].symbol, strlen(bl_elements[z].symbol), &l->species[type], err);
}

static enum bl_status name_types(struct lammps *l, struct bl_error *err)
{
    bool masses = true;
    enum bl_status status = BL_OK;
    for (size_t i = 0; status == BL_OK && i < l->types; i++) {
        status = name_type(l, i, err);
        masses = masses && l->masses[i] > 0;
    }
    if (status == BL_OK && masses) status = bl_structure_add(l->s, &l->s->masses, 1, sizeof(double), err);
    for (size_t i = 0; status == BL_OK && i < l->atoms; i++) {
        const uint32_t type = l->s->types[i];
        if (masses) l->s->masses[i] = l->masses[type];
        l->s->types[i] = l->species[type];
    }
    return status;
}

enum bl_status bl_lammps_read(struct bl_reader_state *r, struct bl_error *err)
{
    struct lammps *l = bl_alloc_zero(r->out->quota, sizeof *l, err);
    if (!l) return bl_alloc_status(err);
    l->r = r;
    l->t = &r->text;
    l->warnings = &r->out->warnings;
    l->s = bl_parsed_add(r->out, r->limits, err);
    enum bl_status status = l->s ? read_header(l, err) : bl_alloc_status(err);
    for (skip_blank_lines(l->t); status == BL_OK && !bl_text_end(l->t); skip_blank_lines(l->t)) {
        if (!begins_section(l->t)) status = bl_text_expected(l->t, err, "the name of a section");
        else status = read_section(l, err);
    }
    if (status == BL_OK && !l->has_atoms && l->atoms > 0) status = bl_text_expected(l->t, err, "a section Atoms");
    if (status == BL_OK && !l->has_atoms) status = bl_structure_allocate(l->s, 0, r->limits, err);
    if (status == BL_OK && l->atoms > 0) status = name_types(l, err);
    if (status == BL_OK) status = bl_structure_check(l->s, err);
    bl_free(l->ids);
    bl_free(l->slots);
    bl_free(l);
    return status;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

/* LAMMPS wants a along x and b in the plane of x and y: the same crystal, turned. By cross products: differences
 * of squares lose a short vector beside a long one. */
static void turned_cell(const struct bl_lattice *lattice, double out[3][3])
{
    const double(*v)[3] = lattice->vectors;
    double normal[3], in_plane[3];
    bl_cross(v[0], v[1], normal);
    const double a = sqrt(bl_dot(v[0], v[0])), area = sqrt(bl_dot(normal, normal));
    bl_cross(normal, v[0], in_plane); /* of length area a */
    memset(out, 0, 9 * sizeof(double));
    out[0][0] = a;
    out[1][0] = bl_dot(v[0], v[1]) / a;
    out[1][1] = area / a;
    out[2][0] = bl_dot(v[0], v[2]) / a;
    out[2][1] = bl_dot(in_plane, v[2]) / a / area;
    out[2][2] = fabs(lattice->volume) / area;
}

static bool is_turned(const struct bl_lattice *l)
{
    return l->vectors[0][1] == 0 && l->vectors[0][2] == 0 && l->vectors[1][2] == 0 && l->vectors[0][0] > 0 && l->vectors[1][1] > 0 &&
           l->vectors[2][2] > 0;
}

struct turned {
    const struct bl_structure *s;
    struct bl_lattice lattice;
    double cell[3][3];
    bool as_it_is;
};

static void turn(const struct turned *w, const double r[3], double out[3])
{
    double f[3];
    memcpy(out, r, 3 * sizeof *out);
    if (w->as_it_is) return;
    bl_lattice_fractional(&w->lattice, r, f);
    for (int c = 0; c < 3; c++) out[c] = f[0] * w->cell[0][c] + f[1] * w->cell[1][c] + f[2] * w->cell[2][c];
}

static void print_line(struct bl_printer *p, const double *v, int count, const char *behind)
{
    for (int k = 0; k < count; k++) {
        if (k > 0) bl_print_text(p, " ");
        bl_print_number(p, v[k]);
    }
    bl_print_text(p, behind);
}

static void print_head(const struct turned *w, const struct bl_write_options *options, struct bl_printer *p)
{
    const double tilt[3] = {w->cell[1][0], w->cell[2][0], w->cell[2][1]};
    for (const char *c = options->comment ? options->comment : "written by Beamline, units = metal"; *c; c++)
        bl_print_bytes(p, *c == '\n' || *c == '\r' ? " " : c, 1);
    bl_print_text(p, "\n\n");
    bl_print_integer(p, (int64_t)w->s->atoms);
    bl_print_text(p, " atoms\n");
    bl_print_integer(p, (int64_t)w->s->species_count);
    bl_print_text(p, " atom types\n");
    print_line(p, (const double[2]){0, w->cell[0][0]}, 2, " xlo xhi\n");
    print_line(p, (const double[2]){0, w->cell[1][1]}, 2, " ylo yhi\n");
    print_line(p, (const double[2]){0, w->cell[2][2]}, 2, " zlo zhi\n");
    if (tilt[0] != 0 || tilt[1] != 0 || tilt[2] != 0) print_line(p, tilt, 3, " xy xz yz\n");
}

/* Of each species its first atom's, or the element's. */
static void print_masses(const struct bl_structure *s, struct bl_printer *p)
{
    double *masses = bl_alloc_zero(s->quota, s->species_count * sizeof *masses, p->err);
    if (!masses) p->status = bl_alloc_status(p->err);
    for (size_t i = s->atoms; s->masses && bl_print_goes_on(p, 1) && i-- > 0;) masses[s->types[i]] = s->masses[i];
    bl_print_text(p, "\nMasses\n\n");
    for (size_t k = 0; p->status == BL_OK && k < s->species_count; k++) {
        const double mass = masses[k] > 0 ? masses[k] : bl_elements[bl_element_number(s->species[k])].mass_amu;
        bl_print_integer(p, (int64_t)k + 1);
        bl_print_text(p, " ");
        bl_print_number(p, mass > 0 ? mass : 1);
        bl_print_text(p, " # ");
        bl_print_text(p, s->species[k]);
        bl_print_text(p, "\n");
    }
    bl_free(masses);
}

enum bl_status bl_lammps_write(const struct bl_structure *s, const struct bl_write_options *options, struct bl_printer *p)
{
    struct turned w = {.s = s};
    double v[3];
    if (bl_structure_volume(s) == 0) return bl_fail_invalid(p->err, "cell", "a LAMMPS data file needs three lattice vectors");
    if (s->atoms == 0) return bl_fail_invalid(p->err, "structure", "a LAMMPS data file needs an atom");
    if (bl_structure_whole(s, "a LAMMPS data file cannot say", p->err) != BL_OK) return BL_INVALID;
    for (size_t k = 0; k < s->species_count; k++)
        if (strpbrk(s->species[k], " \t\r\n")) return bl_fail_invalid(p->err, "species", "\"%s\" cannot stand in a data file",
                s->species[k]);
    const enum bl_status status = bl_right_handed(s, &w.lattice, p->err);
    if (status != BL_OK) return status;
    w.as_it_is = is_turned(&w.lattice);
    if (w.as_it_is) memcpy(w.cell, w.lattice.vectors, sizeof w.cell);
    else turned_cell(&w.lattice, w.cell);
    print_head(&w, options, p);
    print_masses(s, p);
    bl_print_text(p, s->charges ? "\nAtoms # charge\n\n" : "\nAtoms # atomic\n\n");
    for (size_t i = 0; p->status == BL_OK && i < s->atoms; i++) {
        bl_print_integer(p, (int64_t)i + 1);
        bl_print_text(p, " ");
        bl_print_integer(p, (int64_t)s->types[i] + 1);
        bl_print_text(p, " ");
        if (s->charges) print_line(p, &s->charges[i], 1, " ");
        turn(&w, s->positions + 3 * i, v);
        print_line(p, v, 3, "\n");
    }
    if (s->velocities) bl_print_text(p, "\nVelocities\n\n");
    for (size_t i = 0; s->velocities && p->status == BL_OK && i < s->atoms; i++) {
        bl_print_integer(p, (int64_t)i + 1);
        bl_print_text(p, " ");
        turn(&w, s->velocities + 3 * i, v);
        for (int k = 0; k < 3; k++) v[k] *= 1e3;
        print_line(p, v, 3, "\n");
    }
    return BL_OK;
}
