/* SPDX-License-Identifier: Apache-2.0
 *
 * Cell, formula and atom list of a CIF block.
 */
#include <ctype.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "bl_cif.h"

/* ---- cell ---------------------------------------------------------------------------- */

static enum bl_status cell_number(struct cif_reading *c, enum cif_item item, const char *what, double *out, struct bl_error *err)
{
    const struct cif_value *v = bl_cif_item(c, item, 0);
    if (!v) return bl_fail_invalid(err, "cell", "%s is missing or not known", what);
    if (!bl_cif_number(v, out, NULL)) return bl_cif_expected(c->doc, v->p, err, "a number for %s", what);
    return BL_OK;
}

/* a along x, b in the plane of x and y. */
static enum bl_status make_cell(struct cif_reading *c, const double length[3], const double angle[3], struct bl_error *err)
{
    double cosine[3];
    for (int k = 0; k < 3; k++) {
        if (!(length[k] > 1e-3) || !(length[k] < 1e7)) return bl_fail_invalid(err, "cell", "length %c is %g", "abc"[k], length[k]);
        if (!(angle[k] > 0) || !(angle[k] < 180)) return bl_fail_invalid(err, "cell", "an angle is %g degrees", angle[k]);
        cosine[k] = angle[k] == 90 ? 0 : angle[k] == 120 ? -0.5 : angle[k] == 60 ? 0.5 : cos(angle[k] * (M_PI / 180));
    }
    const double sine = angle[2] == 90 ? 1 : sqrt(1 - cosine[2] * cosine[2]);
    const double y = (cosine[0] - cosine[1] * cosine[2]) / sine, z2 = 1 - cosine[1] * cosine[1] - y * y;
    if (!(z2 > 1e-12)) return bl_fail_invalid(err, "cell", "no cell has the angles %g, %g, %g", angle[0], angle[1], angle[2]);
    const double rows[3][3] = {{length[0], 0, 0},
                               {length[1] * cosine[2], length[1] * sine, 0},
                               {length[2] * cosine[1], length[2] * y, length[2] * sqrt(z2)}};
    memcpy(c->cell, rows, sizeof rows);
    return BL_OK;
}

enum bl_status bl_cif_read_cell(struct cif_reading *c, struct bl_error *err)
{
    static const char *const lengths[3] = {"_cell_length_a", "_cell_length_b", "_cell_length_c"};
    static const char *const angles[3] = {"_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma"};
    double length[3], angle[3] = {90, 90, 90};
    bool any = false;
    for (int k = 0; k < 6; k++) any = any || bl_cif_rows(c, (enum cif_item)(CIF_CELL_A + k)) > 0;
    /* A molecule with Cartesian positions needs no cell. */
    if (!any && bl_cif_rows(c, CIF_X) == 0 && bl_cif_rows(c, CIF_CARTESIAN_X) > 0) return BL_OK;
    enum bl_status status = BL_OK;
    for (int k = 0; status == BL_OK && k < 3; k++) status = cell_number(c, (enum cif_item)(CIF_CELL_A + k), lengths[k], &length[k], err);
    for (int k = 0; status == BL_OK && k < 3; k++) {
        const enum cif_item item = (enum cif_item)(CIF_CELL_ALPHA + k);
        if (bl_cif_rows(c, item) > 0) status = cell_number(c, item, angles[k], &angle[k], err);
        else bl_warn(c->warnings, "%s is missing: taken as 90", angles[k]);
    }
    if (status == BL_OK) status = make_cell(c, length, angle, err);
    if (status != BL_OK) return status;
    struct bl_structure cell = {.pbc = {true, true, true}};
    memcpy(cell.cell, c->cell, sizeof cell.cell);
    c->has_cell = true;
    return bl_lattice_init(&c->lattice, &cell, err);
}

/* ---- elements -------------------------------------------------------------------------- */

static bool letter(char c) { return isalpha((unsigned char)c) != 0; }

/* The element that one or two letters name in whatever case; 0: none. */
static unsigned element_of(const char *p, size_t len)
{
    char symbol[3] = {(char)toupper((unsigned char)p[0]), len > 1 ? (char)tolower((unsigned char)p[1]) : '\0', '\0'};
    return bl_element_number(symbol);
}

static struct bl_token leading_letters(const char *p, size_t len)
{
    size_t n = 0;
    while (n < len && letter(p[n])) n++;
    return (struct bl_token){p, n};
}

/* Labels in capitals as organic chemists give them, where the second letter counts: alpha carbons, hydrogens of oxygen,
 * nitrogens of pyrroles. "CU1", "FE1" and "SI1" are none of these. */
static bool may_count(const char *p)
{
    static const struct {
        char element;
        const char *counts;
    } organic[] = {{'C', "ADEFMNO"}, {'H', "EFGOS"}, {'N', "ABDEHOP"}, {'O', "GS"}};
    for (size_t i = 0; i < sizeof organic / sizeof *organic; i++)
        if (p[0] == organic[i].element) return strchr(organic[i].counts, p[1]) != NULL;
    return false;
}

/* How many letters of a type symbol or label are its element: 2, 1 or 0. "Cl1", "CL1" and "cl1" are
 * chlorine; in labels, where "CA1" may be a carbon, the formula decides. */
static size_t element_letters(const struct cif_reading *c, struct bl_token word, bool is_label)
{
    const unsigned two = word.len >= 2 ? element_of(word.p, 2) : 0, one = word.len >= 1 ? element_of(word.p, 1) : 0;
    if (!is_label) return two && (word.len == 2 || !one || islower((unsigned char)word.p[1])) ? 2 : one ? 1 : two ? 2 : 0;
    if (!two || !one) return two ? 2 : one ? 1 : 0;
    if (c->formula_elements[0] && (c->formula_elements[two] || c->formula_elements[one])) return c->formula_elements[two] ? 2 : 1;
    return islower((unsigned char)word.p[1]) || !may_count(word.p) ? 2 : 1;
}

/* The oxygen of water, as mineralogists label it: "Wat1", and "WA2" where there is no tungsten. */
static bool is_water(const struct cif_reading *c, struct bl_token word)
{
    enum { OXYGEN = 8, TUNGSTEN = 74 };
    if (word.len < 2 || word.len > 3 || strncasecmp(word.p, "wat", word.len) != 0) return false;
    return word.len == 3 || (c->formula_elements[OXYGEN] && !c->formula_elements[TUNGSTEN]);
}

/* "D" and "T" keep their names. */
static void put_symbol(const char *p, size_t letters, struct bl_symbol *out)
{
    out->text[0] = (char)toupper((unsigned char)p[0]);
    out->text[1] = letters > 1 ? (char)tolower((unsigned char)p[1]) : '\0';
    out->text[2] = '\0';
    out->known = true;
}

/* Not an element: as it stands, without the digits behind. */
static void put_unknown(struct bl_token word, struct bl_symbol *out)
{
    const size_t n = word.len < BL_SYMBOL_SIZE ? word.len : BL_SYMBOL_SIZE - 1;
    memcpy(out->text, word.p, n);
    out->text[n] = '\0';
    out->known = false;
}

enum named { BY_TYPE, BY_LABEL, NOT_AT_ALL };

static enum named symbol_of_row(const struct cif_reading *c, size_t row, struct bl_symbol *out)
{
    const struct cif_value *type = bl_cif_item(c, CIF_TYPE, row), *label = bl_cif_item(c, CIF_LABEL, row);
    memset(out, 0, sizeof *out);
    const struct cif_value *const sources[2] = {type, label};
    for (int k = 0; k < 2; k++) {
        if (!sources[k]) continue;
        const struct bl_token word = leading_letters(sources[k]->p, sources[k]->len);
        const bool water = is_water(c, word);
        const size_t letters = element_letters(c, word, k == 1);
        if (letters == 0 && !water) continue;
        put_symbol(water ? "O" : word.p, water ? 1 : letters, out);
        if (water) bl_warn(c->warnings, "%.*s is taken as the oxygen of water", (int)word.len, word.p);
        return k == 0 ? BY_TYPE : BY_LABEL;
    }
    const struct cif_value *any = type ? type : label;
    const struct bl_token word = any ? leading_letters(any->p, any->len) : (struct bl_token){"", 0};
    if (word.len == 0) return NOT_AT_ALL;
    put_unknown(word, out);
    return type ? BY_TYPE : BY_LABEL;
}

/* ---- formula ------------------------------------------------------------------------------- */

/* "C10 H12 N0.5 O2", "Na Cl", "C4 H9 O, 2(H2 O)" is none. False: not understood. */
static bool read_formula(struct cif_reading *c, struct bl_token text, double *atoms)
{
    const char *p = text.p, *const end = p + text.len;
    *atoms = 0;
    while (p < end) {
        if (isspace((unsigned char)*p) || *p == '\'' || *p == '\\') {
            p++;
            continue;
        }
        const struct bl_token word = leading_letters(p, (size_t)(end - p));
        const size_t letters = word.len == 0 ? 0 : element_letters(c, word, false);
        if (letters == 0 || letters != word.len) return false;
        c->formula_elements[element_of(p, letters)] = 1;
        p += letters;
        double count = 1;
        const size_t used = p < end && (isdigit((unsigned char)*p) || *p == '.') ? bl_parse_number(p, (size_t)(end - p), &count) : 0;
        if (!(count >= 0 && count < 1e9)) return false;
        *atoms += count;
        p += used;
        while (p < end && (*p == '+' || *p == '-')) p++;
    }
    return *atoms > 0;
}

void bl_cif_read_formula(struct cif_reading *c)
{
    const struct cif_value *formula = bl_cif_item(c, CIF_FORMULA, 0), *z = bl_cif_item(c, CIF_Z, 0);
    double number;
    c->formula_atoms = c->z = -1;
    if (formula && read_formula(c, (struct bl_token){formula->p, formula->len}, &number)) {
        c->formula_atoms = number;
        c->formula_elements[0] = 1; /* known at all */
    } else {
        memset(c->formula_elements, 0, sizeof c->formula_elements);
    }
    if (z && bl_cif_number(z, &number, NULL) && number > 0) c->z = number;
}

double bl_cif_atoms_expected(const struct cif_reading *c) { return c->z > 0 && c->formula_atoms > 0 ? c->z * c->formula_atoms : -1; }

bool bl_cif_formula_agrees(const struct cif_reading *c, double occupancy)
{
    const double expected = bl_cif_atoms_expected(c);
    return expected < 0 || fabs(occupancy - expected) <= 0.005 * expected;
}

/* ---- rows ------------------------------------------------------------------------------------- */

/* The fractions of a Cartesian position: by the matrix of the file, else by the usual axes. */
static void to_fractional(struct cif_reading *c, const double r[3], double f[3])
{
    double m[12];
    bool given = true;
    for (int k = 0; k < 12; k++) {
        const struct cif_value *v = bl_cif_item(c, (enum cif_item)(CIF_FRACT_MATRIX + k), 0);
        m[k] = 0;
        const bool read = v && bl_cif_number(v, &m[k], NULL);
        given = given && (read || k >= 9);
    }
    if (!given) {
        bl_warn(c->warnings, "only Cartesian positions: taken along the axes a || x, c* || z");
        bl_lattice_fractional(&c->lattice, r, f);
        return;
    }
    for (int i = 0; i < 3; i++) f[i] = m[3 * i] * r[0] + m[3 * i + 1] * r[1] + m[3 * i + 2] * r[2] + m[9 + i];
}

/* 0.25, 0.25(3), 1/4. */
static bool coordinate(const struct cif_value *v, double *out, int *places)
{
    if (bl_cif_number(v, out, places)) return true;
    const char *slash = v->kind == CIF_LIST ? NULL : memchr(v->p, '/', v->len);
    double below;
    if (!slash) return false;
    const struct bl_token top = {v->p, (size_t)(slash - v->p)}, bottom = {slash + 1, v->len - (size_t)(slash - v->p) - 1};
    if (!bl_token_number(top, out) || !bl_token_number(bottom, &below) || below == 0) return false;
    *out /= below;
    *places = 15;
    return true;
}

/* *known is false where a coordinate is "?" or ".". */
static enum bl_status read_position(struct cif_reading *c, enum cif_item first, size_t row, double out[3], int *places, bool *known,
        struct bl_error *err)
{
    *places = 0;
    *known = true;
    for (int k = 0; k < 3; k++) {
        const struct cif_value *v = bl_cif_item(c, (enum cif_item)((int)first + k), row);
        int here = 0;
        if (!v) {
            *known = false;
            return BL_OK;
        }
        if (!coordinate(v, &out[k], &here)) return bl_cif_expected(c->doc, v->p, err, "a number for a coordinate");
        if (!(fabs(out[k]) < 1e6)) return bl_cif_expected(c->doc, v->p, err, "a coordinate below 1000000");
        if (here > *places) *places = here;
    }
    return BL_OK;
}

static const double LEAST = 0.02, MOST = 0.1; /* angstrom */

/* Mates of a rounded special position (0.333 for a third) lie apart by about a unit of the last
 * decimal. What has many decimals must agree within the least distance that a merge is safe for. */
static double tolerance_of(const struct cif_reading *c, int places)
{
    double longest = 0;
    for (int k = 0; k < 3; k++) longest = fmax(longest, bl_dot(c->cell[k], c->cell[k]));
    static const double units[] = {1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5};
    const double unit = sqrt(longest) * (places < 6 ? units[places] : 1e-6);
    return unit < LEAST ? LEAST : unit > MOST ? MOST : unit;
}

static int32_t group_number(const struct cif_value *v)
{
    int64_t number;
    if (!v) return 0;
    if (bl_token_integer((struct bl_token){v->p, v->len}, &number) && number > -1000000 && number < 1000000) return (int32_t)number;
    return letter(v->p[0]) ? (int32_t)(toupper((unsigned char)v->p[0]) - 'A' + 1) : 0;
}

static enum bl_status read_occupancy(struct cif_reading *c, size_t row, struct cif_atom *atom, struct bl_error *err)
{
    const struct cif_value *v = bl_cif_item(c, CIF_OCCUPANCY, row);
    atom->occupancy = 1;
    if (!v) return BL_OK;
    if (!bl_cif_number(v, &atom->occupancy, NULL)) return bl_cif_expected(c->doc, v->p, err, "a number for an occupancy");
    if (atom->occupancy < 0 || atom->occupancy > 1.05)
        bl_warn(c->warnings, "an occupancy is %g (%.*s)", atom->occupancy, (int)(atom->label.len < 30 ? atom->label.len : 30),
                atom->label.p);
    return BL_OK;
}

static bool is_word(const struct cif_value *v, const char *word)
{
    return v && v->len == strlen(word) && memcmp(v->p, word, v->len) == 0;
}

struct left_out {
    size_t unknown, nameless, dummies;
    double hydrogens;
};

/* A row that stands for an atom? Those that do not are counted. */
static bool is_atom(struct cif_reading *c, size_t row, const struct bl_symbol *symbol, enum named how, struct left_out *out)
{
    const bool type_unknown = bl_cif_rows(c, CIF_TYPE) > 0 && !bl_cif_item(c, CIF_TYPE, row);
    if (is_word(bl_cif_item(c, CIF_CALCULATED, row), "dum")) {
        out->dummies++;
        return false;
    }
    if (how == NOT_AT_ALL || (type_unknown && !symbol->known)) {
        out->nameless++;
        return false;
    }
    return true;
}

/* The species of a row; rows of one type symbol come in numbers. */
static enum bl_status find_species(struct cif_reading *c, size_t row, struct bl_symbol *symbol, enum named *how, uint32_t *type,
        struct bl_error *err)
{
    const struct cif_value *v = bl_cif_item(c, CIF_TYPE, row);
    struct cif_type *cached = v &&
            v->len > 0 ? &c->types[((unsigned char)v->p[0] + 7u * (unsigned char)v->p[v->len - 1]) % CIF_TYPES] : NULL;
    if (cached && cached->text.len == v->len && memcmp(cached->text.p, v->p, v->len) == 0) {
        *symbol = cached->symbol;
        *how = BY_TYPE;
        *type = cached->type;
        return BL_OK;
    }
    *how = symbol_of_row(c, row, symbol);
    if (*how == NOT_AT_ALL) return BL_OK;
    const enum bl_status status = bl_structure_species(c->s, symbol->text, strlen(symbol->text), type, err);
    if (status == BL_OK && cached && *how == BY_TYPE) *cached = (struct cif_type){{v->p, v->len}, *symbol, *type};
    return status;
}

static enum bl_status read_row(struct cif_reading *c, size_t row, struct left_out *out, struct bl_error *err)
{
    struct cif_atom atom = {.occupancy = 1};
    struct bl_symbol symbol;
    double r[3];
    int places;
    bool known;
    const struct cif_value *label = bl_cif_item(c, CIF_LABEL, row);
    if (label) atom.label = (struct bl_token){label->p, label->len};
    const bool cartesian = bl_cif_rows(c, CIF_X) == 0;
    enum bl_status status = read_position(c, cartesian ? CIF_CARTESIAN_X : CIF_X, row, r, &places, &known, err);
    if (status != BL_OK) return status;
    if (!known) {
        out->unknown++;
        return BL_OK;
    }
    enum named how;
    status = find_species(c, row, &symbol, &how, &atom.type, err);
    if (status != BL_OK) return status;
    if (!is_atom(c, row, &symbol, how, out)) return BL_OK;
    if (!symbol.known) bl_warn(c->warnings, "\"%s\" is not an element", symbol.text);
    if (how == BY_LABEL) bl_warn(c->warnings, "no type symbols: elements taken from labels");
    if (cartesian && c->has_cell) {
        to_fractional(c, r, atom.f);
        places = 15;
    } else {
        memcpy(atom.f, r, sizeof r);
    }
    for (int k = 0; k < 3; k++)
        if (!(fabs(atom.f[k]) < 1e6)) return bl_fail_invalid(err, "positions", "atom %zu is a million cells away", c->atom_count + 1);
    status = read_occupancy(c, row, &atom, err);
    if (status != BL_OK) return status;
    atom.tolerance = tolerance_of(c, places);
    /* Where more than half an atom stands there is no room for its image beside it. */
    atom.image_tolerance = atom.occupancy > 0.5 ? MOST : atom.tolerance;
    const struct cif_value *v;
    double number;
    if ((v = bl_cif_item(c, CIF_HYDROGENS, row)) && bl_cif_number(v, &number, NULL) && number > 0) out->hydrogens += number;
    if ((v = bl_cif_item(c, CIF_MULTIPLICITY, row)) && bl_cif_number(v, &number, NULL) && number >= 1 && number < 1e6)
        atom.multiplicity = (uint32_t)number;
    atom.group = group_number(bl_cif_item(c, CIF_GROUP, row));
    atom.assembly = group_number(bl_cif_item(c, CIF_ASSEMBLY, row));
    c->has_groups = c->has_groups || atom.group || atom.assembly;
    c->atoms[c->atom_count++] = atom;
    return BL_OK;
}

enum bl_status bl_cif_read_atoms(struct cif_reading *c, struct bl_error *err)
{
    const size_t rows = bl_cif_rows(c, bl_cif_rows(c, CIF_X) > 0 ? CIF_X : CIF_CARTESIAN_X), most = c->r->limits->max_atoms;
    struct left_out out = {0};
    if (rows > most) return bl_fail_limit(err, "atoms", most, rows);
    c->atoms = bl_alloc_array(c->r->out->quota, rows, sizeof *c->atoms, err);
    if (!c->atoms) return bl_alloc_status(err);
    enum bl_status status = BL_OK;
    for (size_t row = 0; status == BL_OK && row < rows; row++) {
        if (row % 1024 == 0) status = bl_ctx_check(c->r->ctx, err);
        if (status == BL_OK) status = read_row(c, row, &out, err);
    }
    if (out.unknown) bl_warn(c->warnings, "%zu atoms without coordinates are left out", out.unknown);
    if (out.nameless) bl_warn(c->warnings, "%zu rows of unknown type are left out", out.nameless);
    if (out.dummies) bl_warn(c->warnings, "%zu dummy sites are left out", out.dummies);
    if (out.hydrogens > 0) bl_warn(c->warnings, "%g hydrogen atoms are attached without coordinates: left out", out.hydrogens);
    return status;
}
