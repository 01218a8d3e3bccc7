/* SPDX-License-Identifier: Apache-2.0
 *
 * POSCAR and CONTCAR, VASP 4 and 5 (VASP wiki, "POSCAR"):
 *
 *     comment
 *     scale                 one factor, minus the volume, or three factors along x y z
 *     ax ay az              three rows
 *     [symbols]             VASP 5; may run over several lines, may repeat a species
 *     counts                as many as symbols
 *     [Selective dynamics]
 *     Direct | Cartesian
 *     x y z [T|F T|F T|F] [anything]
 *     [lattice velocities] [velocities] [predictor-corrector data]
 */
#include <math.h>
#include <string.h>

#include "bl_crystal.h"

enum { GROUPS_MAX = 4096 };

/* One count and what it counts. */
struct group {
    struct bl_token symbol;
    uint32_t type;
    size_t count;
};

struct poscar {
    struct bl_reader_state *r;
    struct bl_text *t;
    struct bl_structure *s;
    struct bl_warnings *warnings;
    struct bl_token comment;
    struct group *groups;
    size_t group_count;
    double cell[3][3], factor[3];
    bool has_symbols, selective, direct;
};

/* ---- header -------------------------------------------------------------------- */

static enum bl_status read_scale(struct poscar *p, double scale[3], int *count, struct bl_error *err)
{
    enum bl_status status = bl_text_number(p->t, &scale[0], "a scaling factor", err);
    if (status != BL_OK) return status;
    *count = 1;
    while (*count < 3) {
        struct bl_text ahead = *p->t;
        if (!bl_token_number(bl_text_word(&ahead), &scale[*count])) break;
        *p->t = ahead;
        ++*count;
    }
    if (*count == 2) return bl_text_expected(p->t, err, "one or three scaling factors, not two");
    for (int k = 0; k < *count; k++) {
        if (scale[k] == 0) return bl_fail_invalid(err, "scale", "a scaling factor is zero (line %u)", p->t->line);
        if (*count == 3 && scale[k] < 0) return bl_fail_invalid(err, "scale", "three scaling factors must be positive (line %u)",
                p->t->line);
    }
    return BL_OK;
}

static enum bl_status read_row(struct bl_text *t, double row[3], const char *what, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    for (int k = 0; status == BL_OK && k < 3; k++) status = bl_text_number(t, &row[k], what, err);
    return status;
}

static double determinant(double m[3][3])
{
    double n[3];
    bl_cross(m[1], m[2], n);
    return bl_dot(m[0], n);
}

static enum bl_status read_cell(struct poscar *p, struct bl_error *err)
{
    double scale[3];
    int count;
    enum bl_status status = read_scale(p, scale, &count, err);
    for (int i = 0; status == BL_OK && i < 3; i++) {
        bl_text_next_line(p->t);
        status = read_row(p->t, p->cell[i], "three numbers of a lattice vector", err);
    }
    if (status != BL_OK) return status;
    const double volume = fabs(determinant(p->cell));
    if (!(volume > 0)) return bl_fail_invalid(err, "cell", "the lattice vectors are not independent (lines 3 to 5)");
    for (int c = 0; c < 3; c++) p->factor[c] = count == 3 ? scale[c] : scale[0] > 0 ? scale[0] : cbrt(-scale[0] / volume);
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < 3; c++) p->s->cell[i][c] = p->cell[i][c] * p->factor[c];
    return BL_OK;
}

static bool starts_comment(struct bl_token w) { return w.len > 0 && (w.p[0] == '!' || w.p[0] == '#'); }

static enum bl_status add_group(struct poscar *p, struct bl_token symbol, struct bl_error *err)
{
    const size_t n = p->group_count;
    if (n == GROUPS_MAX) return bl_fail_limit(err, "species", GROUPS_MAX, n + 1);
    if ((n & (n - 1)) == 0) {
        void *room = bl_realloc(p->r->out->quota, p->groups, (n ? 2 * n : 1) * sizeof *p->groups, err);
        if (!room) return err->status;
        p->groups = room;
    }
    p->groups[p->group_count++] = (struct group){.symbol = symbol};
    return BL_OK;
}

static bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

/* Symbol lines: as long as lines begin with a letter. */
static enum bl_status read_symbols(struct poscar *p, struct bl_error *err)
{
    for (;;) {
        bl_text_blanks(p->t);
        if (bl_text_line_end(p->t) || !is_letter(*p->t->p)) return BL_OK;
        p->has_symbols = true;
        for (;;) {
            const struct bl_token w = bl_text_word(p->t);
            if (w.len == 0 || starts_comment(w)) break;
            if (!is_letter(w.p[0])) {
                p->t->p = w.p;
                return bl_text_expected(p->t, err, "a species symbol");
            }
            const enum bl_status status = add_group(p, w, err);
            if (status != BL_OK) return status;
        }
        bl_text_next_line(p->t);
    }
}

/* The counts of this line, from group `*have` on. */
static enum bl_status read_counts_line(struct poscar *p, size_t *have, struct bl_error *err)
{
    for (;;) {
        const struct bl_token w = bl_text_word(p->t);
        if (w.len == 0 || starts_comment(w)) return BL_OK;
        int64_t count;
        if (!bl_token_integer(w, &count) || count < 0) {
            if (*have > 0 && (!p->has_symbols || *have == p->group_count)) return BL_OK; /* a remark behind the counts */
            p->t->p = w.p;
            return bl_text_expected(p->t, err, "the number of atoms of a species");
        }
        if (!p->has_symbols) {
            const enum bl_status status = add_group(p, (struct bl_token){NULL, 0}, err);
            if (status != BL_OK) return status;
        } else if (*have == p->group_count) {
            return bl_fail_invalid(err, "counts", "more counts than the %zu symbols (line %u)", p->group_count, p->t->line);
        }
        p->groups[(*have)++].count = (size_t)count;
    }
}

static enum bl_status read_counts(struct poscar *p, size_t *total, struct bl_error *err)
{
    size_t have = 0;
    do {
        if (have > 0) { /* wrapped: the next line of counts begins with a digit, a mode line never does */
            struct bl_text ahead = *p->t;
            bl_text_next_line(&ahead);
            bl_text_blanks(&ahead);
            if (bl_text_end(&ahead) || *ahead.p < '0' || *ahead.p > '9') break;
            *p->t = ahead;
        }
        const enum bl_status status = read_counts_line(p, &have, err);
        if (status != BL_OK) return status;
    } while (have > 0 && (!p->has_symbols || have < p->group_count));
    if (have == 0) return bl_text_expected(p->t, err, "the numbers of atoms");
    if (p->has_symbols && have < p->group_count)
        return bl_fail_invalid(err, "counts", "%zu symbols, but %zu counts (line %u)", p->group_count, have, p->t->line);
    *total = 0;
    for (size_t g = 0; g < p->group_count; g++)
        if (!bl_add_size(*total, p->groups[g].count, total)) *total = SIZE_MAX;
    if (*total == 0) return bl_fail_invalid(err, "counts", "no atoms (line %u)", p->t->line);
    bl_text_next_line(p->t);
    return BL_OK;
}

static enum bl_status read_mode(struct poscar *p, struct bl_error *err)
{
    bl_text_blanks(p->t);
    if (!bl_text_line_end(p->t) && (*p->t->p == 'S' || *p->t->p == 's')) {
        p->selective = true;
        bl_text_next_line(p->t);
        bl_text_blanks(p->t);
    }
    if (bl_text_line_end(p->t) || !is_letter(*p->t->p))
        return bl_text_expected(p->t, err, p->selective ? "Direct or Cartesian" : "Selective dynamics, Direct or Cartesian");
    const char c = *p->t->p;
    p->direct = !strchr("CcKk", c);
    if (!strchr("CcKkDd", c)) {
        const struct bl_token w = bl_text_word(p->t);
        bl_warn(p->warnings, "line %u: \"%.*s\" is neither Direct nor Cartesian, read as Direct", p->t->line,
                (int)(w.len < 40 ? w.len : 40), w.p);
    }
    bl_text_next_line(p->t);
    return BL_OK;
}

/* ---- species ------------------------------------------------------------------------ */

/* "Al_pv/1a2b3c", "H.75", "Fe": the element before the first byte that is no letter. */
static struct bl_token potcar_symbol(struct bl_token w)
{
    size_t n = 0;
    while (n < w.len && is_letter(w.p[n])) n++;
    return (struct bl_token){w.p, n};
}

static enum bl_status name_group(struct poscar *p, struct group *g, struct bl_token w, struct bl_error *err)
{
    const struct bl_symbol symbol = bl_symbol_of(potcar_symbol(w));
    if (!symbol.known) bl_warn(p->warnings, "\"%s\" is not an element", symbol.text);
    return bl_structure_species(p->s, symbol.text, strlen(symbol.text), &g->type, err);
}

/* Word i of the comment, if it is an element; "Si4" counts as Si where 4 is group i's count. */
static bool comment_symbol(struct bl_token w, const struct group *g, struct bl_token *symbol)
{
    *symbol = potcar_symbol(w);
    if (symbol->len == 0 || symbol->len > 2) return false;
    const struct bl_symbol s = bl_symbol_of(*symbol);
    if (!s.known || memcmp(s.text, symbol->p, symbol->len) != 0) return false;
    if (symbol->len == w.len) return true;
    int64_t count;
    return bl_token_integer((struct bl_token){w.p + symbol->len, w.len - symbol->len}, &count) && count == (int64_t)g->count;
}

static bool species_from_comment(struct poscar *p)
{
    struct bl_text t = {.p = p->comment.p, .end = p->comment.p + p->comment.len, .line_start = p->comment.p, .line = 1};
    size_t i = 0;
    for (struct bl_token w = bl_text_word(&t); w.len > 0; w = bl_text_word(&t), i++)
        if (i == p->group_count || !comment_symbol(w, &p->groups[i], &p->groups[i].symbol)) return false;
    return i == p->group_count;
}

/* VASP 4 writes no symbols, but many programs put one behind each position. */
static bool species_from_rows(struct poscar *p)
{
    struct bl_text t = *p->t;
    for (size_t g = 0; g < p->group_count; g++) {
        for (size_t i = 0; i < p->groups[g].count; i++, bl_text_next_line(&t)) {
            if (bl_text_end(&t)) return false;
            for (int skip = 0; skip < (p->selective ? 6 : 3); skip++) bl_text_word(&t);
            const struct bl_token w = bl_text_word(&t);
            const struct bl_symbol symbol = bl_symbol_of(w);
            if (!symbol.known || w.len > 2) return false;
            if (i > 0 && (w.len != p->groups[g].symbol.len || memcmp(w.p, p->groups[g].symbol.p, w.len) != 0)) return false;
            p->groups[g].symbol = w;
        }
        if (p->groups[g].count == 0) return false;
    }
    return true;
}

static enum bl_status resolve_species(struct poscar *p, struct bl_error *err)
{
    const struct bl_parse_options *o = p->r->options;
    enum bl_status status = BL_OK;
    if (!p->has_symbols && o->species_count > 0) {
        if (o->species_count != p->group_count)
            return bl_fail_invalid(err, "species", "%zu species are given for %zu counts", o->species_count, p->group_count);
        for (size_t g = 0; status == BL_OK && g < p->group_count; g++)
            status = bl_structure_species(p->s, o->species[g], strlen(o->species[g]), &p->groups[g].type, err);
        return status;
    }
    if (!p->has_symbols && species_from_rows(p))
        bl_warn(p->warnings, "no species line (VASP 4): species taken from the symbols behind the positions");
    else if (!p->has_symbols && species_from_comment(p))
        bl_warn(p->warnings, "no species line (VASP 4): species taken from the comment line");
    else if (!p->has_symbols)
        return bl_fail_invalid(err, "species",
                               "the file has no species line (VASP 4): give the option species with %zu symbols, one for each count",
                               p->group_count);
    else if (o->species_count > 0)
        bl_warn(p->warnings, "the file names its species: the option species is not used");
    for (size_t g = 0; status == BL_OK && g < p->group_count; g++) status = name_group(p, &p->groups[g], p->groups[g].symbol, err);
    return status;
}

/* ---- atoms -------------------------------------------------------------------------- */

/* A Fortran logical: T, F, .TRUE., .false. */
static bool read_logical(struct bl_text *t, bool *out)
{
    const struct bl_token w = bl_text_word(t);
    const size_t i = w.len > 0 && w.p[0] == '.';
    if (i >= w.len) return false;
    *out = w.p[i] == 'T' || w.p[i] == 't';
    return *out || w.p[i] == 'F' || w.p[i] == 'f';
}

static enum bl_status read_flags(struct poscar *p, size_t atom, struct bl_error *err)
{
    uint8_t fixed = 0;
    for (int k = 0; k < 3; k++) {
        bl_text_blanks(p->t);
        struct bl_text at = *p->t;
        bool movable;
        if (!read_logical(p->t, &movable)) return bl_text_expected(&at, err, "three flags T or F behind the position of atom %zu",
                atom + 1);
        if (!movable) fixed |= (uint8_t)(1u << k);
    }
    p->s->fixed[atom] = fixed;
    return BL_OK;
}

static enum bl_status read_atom(struct poscar *p, size_t atom, struct bl_error *err)
{
    double f[3];
    for (int k = 0; k < 3; k++) {
        bl_text_blanks(p->t);
        const struct bl_text at = *p->t;
        if (bl_text_number(p->t, &f[k], "", NULL) != BL_OK)
            return bl_text_expected(&at, err, "the position of atom %zu of %zu: three numbers", atom + 1, p->s->atoms);
    }
    double *r = p->s->positions + 3 * atom;
    for (int c = 0; c < 3; c++)
        r[c] = p->direct ? f[0] * p->s->cell[0][c] + f[1] * p->s->cell[1][c] + f[2] * p->s->cell[2][c] : f[c] * p->factor[c];
    const enum bl_status status = p->selective ? read_flags(p, atom, err) : BL_OK;
    bl_text_next_line(p->t);
    return status;
}

static bool partly_fixed_in_skew_cell(const struct bl_structure *s)
{
    bool skew = false, partly = false;
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < 3; c++) skew = skew || (i != c && s->cell[i][c] != 0);
    for (size_t i = 0; i < s->atoms; i++) partly = partly || (s->fixed[i] != 0 && s->fixed[i] != 7);
    return skew && partly;
}

static enum bl_status read_atoms(struct poscar *p, struct bl_error *err)
{
    size_t atom = 0;
    for (size_t g = 0; g < p->group_count; g++) {
        for (size_t i = 0; i < p->groups[g].count; i++, atom++) {
            if (atom % 4096 == 0) {
                const enum bl_status stop = bl_ctx_check(p->r->ctx, err);
                if (stop != BL_OK) return stop;
            }
            const enum bl_status status = read_atom(p, atom, err);
            if (status != BL_OK) return status;
            p->s->types[atom] = p->groups[g].type;
        }
    }
    if (p->selective && partly_fixed_in_skew_cell(p->s))
        bl_warn(p->warnings, "some atoms are fixed in part: the flags are taken along x, y, z, VASP takes them along a, b, c");
    return BL_OK;
}

/* ---- what may follow the atoms ---------------------------------------------------------- */

static bool row_of_numbers(struct bl_text t)
{
    double ignored;
    for (int k = 0; k < 3; k++)
        if (!bl_token_number(bl_text_word(&t), &ignored)) return false;
    return true;
}

static enum bl_status read_velocities(struct poscar *p, bool direct, struct bl_error *err)
{
    const struct bl_text start = *p->t;
    enum bl_status status = bl_structure_add(p->s, &p->s->velocities, 3, sizeof(double), err);
    bool any = false;
    for (size_t i = 0; status == BL_OK && i < p->s->atoms; i++) {
        double *v = p->s->velocities + 3 * i;
        status = read_row(p->t, v, "", NULL);
        if (status != BL_OK) return bl_text_expected(p->t, err, "the velocity of atom %zu of %zu: three numbers", i + 1, p->s->atoms);
        any = any || v[0] != 0 || v[1] != 0 || v[2] != 0;
        bl_text_next_line(p->t);
    }
    if (status == BL_OK && direct && any) {
        bl_warn(p->warnings, "velocities in Direct mode (line %u) are per time step, which the file does not give: left out", start.line);
        bl_free(p->s->velocities);
        p->s->velocities = NULL;
    }
    return status;
}

static void skip_blank_lines(struct bl_text *t)
{
    while (!bl_text_end(t) && bl_text_rest(t).len == 0) bl_text_next_line(t);
}

/* A title, an initialisation flag, 3 rows of velocities, 3 of vectors: for a moving cell. */
static enum bl_status skip_lattice_velocities(struct poscar *p, struct bl_error *err)
{
    bl_text_next_line(p->t);
    bl_text_next_line(p->t);
    for (int i = 0; i < 6; i++) {
        if (!row_of_numbers(*p->t)) return bl_text_expected(p->t, err, "three numbers of the lattice velocities");
        bl_text_next_line(p->t);
    }
    bl_warn(p->warnings, "lattice velocities are left out");
    return BL_OK;
}

static enum bl_status read_tail(struct poscar *p, struct bl_error *err)
{
    if (bl_text_end(p->t)) return BL_OK;
    if (row_of_numbers(*p->t))
        return bl_fail_invalid(err, "counts", "the counts say %zu atoms, but line %u is one more", p->s->atoms, p->t->line);
    bl_text_blanks(p->t);
    if (!bl_text_line_end(p->t) && (*p->t->p == 'L' || *p->t->p == 'l')) {
        const enum bl_status status = skip_lattice_velocities(p, err);
        if (status != BL_OK) return status;
    }
    struct bl_text mode = *p->t; /* empty: Cartesian */
    bl_text_blanks(&mode);
    const bool direct = !bl_text_line_end(&mode) && (*mode.p == 'D' || *mode.p == 'd');
    const bool plain = bl_text_line_end(&mode) || strchr("CcKkDd", *mode.p);
    struct bl_text rows = *p->t;
    bl_text_next_line(&rows);
    if (bl_text_line_end(&mode)) skip_blank_lines(&rows);
    if (plain && row_of_numbers(rows)) {
        *p->t = rows;
        const enum bl_status status = read_velocities(p, direct, err);
        if (status != BL_OK) return status;
    }
    skip_blank_lines(p->t);
    if (!bl_text_end(p->t)) bl_warn(p->warnings, "what follows from line %u on is left out", p->t->line);
    return BL_OK;
}

/* ---- the whole file ---------------------------------------------------------------------- */

static enum bl_status read_file(struct poscar *p, struct bl_error *err)
{
    p->comment = bl_text_rest(p->t);
    bl_text_next_line(p->t);
    enum bl_status status = read_cell(p, err);
    if (status != BL_OK) return status;
    bl_text_next_line(p->t);
    size_t atoms;
    status = read_symbols(p, err);
    if (status == BL_OK) status = read_counts(p, &atoms, err);
    if (status == BL_OK) status = read_mode(p, err);
    if (status != BL_OK) return status;
    if (atoms > p->r->limits->max_atoms) return bl_fail_limit(err, "atoms", p->r->limits->max_atoms, atoms);
    /* A lie about the count must not cost memory. */
    const size_t left = (size_t)(p->t->end - p->t->p);
    if (atoms > left / BL_ROW_BYTES_MIN + 1)
        return bl_fail_invalid(err, "counts", "%zu atoms do not fit into the %zu bytes that follow", atoms, left);
    status = resolve_species(p, err);
    if (status == BL_OK) status = bl_structure_allocate(p->s, atoms, p->r->limits, err);
    if (status == BL_OK && p->selective) status = bl_structure_add(p->s, &p->s->fixed, 1, 1, err);
    if (status == BL_OK) status = read_atoms(p, err);
    if (status == BL_OK) status = read_tail(p, err);
    if (status == BL_OK && p->comment.len > 0)
        status = bl_structure_add_info(p->s, "comment", 7, BL_VALUE_TEXT, 0, (uint32_t)p->comment.len, p->comment.p, err);
    if (status == BL_OK) status = bl_structure_check(p->s, err);
    return status;
}

enum bl_status bl_poscar_read(struct bl_reader_state *r, struct bl_error *err)
{
    struct poscar p = {.r = r, .t = &r->text, .warnings = &r->out->warnings};
    p.s = bl_parsed_add(r->out, r->limits, err);
    if (!p.s) return err->status;
    for (int k = 0; k < 3; k++) p.s->pbc[k] = true;
    const enum bl_status status = read_file(&p, err);
    bl_free(p.groups);
    return status;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* The atoms of one run of equal types. */
static size_t run_end(const struct bl_structure *s, size_t begin)
{
    size_t end = begin + 1;
    while (end < s->atoms && s->types[end] == s->types[begin]) end++;
    return end;
}

static void print_row(struct bl_printer *p, const double v[3])
{
    for (int c = 0; c < 3; c++) {
        bl_print_bytes(p, "  ", v[c] < 0 ? 1 : 2);
        bl_print_number(p, v[c]);
    }
}

static void print_comment(struct bl_printer *p, const struct bl_structure *s, const char *comment)
{
    for (size_t i = 0; !comment && i < s->info_count; i++)
        if (s->info[i].type == BL_VALUE_TEXT && strcmp(s->info[i].key, "comment") == 0) comment = s->info[i].value.text;
    for (const char *c = comment; c && *c; c++) bl_print_bytes(p, *c == '\n' || *c == '\r' ? " " : c, 1);
    for (size_t i = 0; !comment && i < s->atoms; i = run_end(s, i)) {
        bl_print_text(p, s->species[s->types[i]]);
        bl_print_integer(p, (int64_t)(run_end(s, i) - i));
        bl_print_text(p, " ");
    }
}

static void print_header(struct bl_printer *p, const struct bl_structure *s, const struct bl_write_options *options)
{
    print_comment(p, s, options->comment);
    bl_print_text(p, "\n1.0\n");
    for (int i = 0; i < 3; i++) {
        print_row(p, s->cell[i]);
        bl_print_text(p, "\n");
    }
    for (size_t i = 0; p->status == BL_OK && i < s->atoms; i = run_end(s, i)) {
        bl_print_text(p, " ");
        bl_print_text(p, s->species[s->types[i]]);
    }
    bl_print_text(p, "\n");
    for (size_t i = 0; p->status == BL_OK && i < s->atoms; i = run_end(s, i)) {
        bl_print_text(p, " ");
        bl_print_integer(p, (int64_t)(run_end(s, i) - i));
    }
    if (s->fixed) bl_print_text(p, "\nSelective dynamics");
    bl_print_text(p, options->cartesian ? "\nCartesian\n" : "\nDirect\n");
}

enum bl_status bl_poscar_write(const struct bl_structure *s, const struct bl_write_options *options, struct bl_printer *p)
{
    struct bl_lattice lattice;
    if (bl_structure_volume(s) == 0) return bl_fail_invalid(p->err, "cell", "a POSCAR needs three lattice vectors");
    if (bl_structure_whole(s, "a POSCAR cannot say", p->err) != BL_OK) return BL_INVALID;
    for (size_t i = 0; i < s->species_count; i++)
        if (!is_letter(s->species[i][0]) || strpbrk(s->species[i], " \t\r\n"))
            return bl_fail_invalid(p->err, "species", "\"%s\" cannot stand in a POSCAR", s->species[i]);
    if (s->atoms == 0) return bl_fail_invalid(p->err, "structure", "a POSCAR needs an atom");
    const enum bl_status status = bl_lattice_init(&lattice, s, p->err);
    if (status != BL_OK) return status;
    print_header(p, s, options);
    for (size_t i = 0; p->status == BL_OK && i < s->atoms; i++) {
        const double *r = s->positions + 3 * i;
        double f[3];
        bl_lattice_fractional(&lattice, r, f);
        print_row(p, options->cartesian ? r : f);
        for (int k = 0; s->fixed && k < 3; k++) bl_print_text(p, s->fixed[i] & (1u << k) ? " F" : " T");
        bl_print_text(p, "\n");
    }
    if (s->velocities) bl_print_text(p, "\n");
    for (size_t i = 0; s->velocities && p->status == BL_OK && i < s->atoms; i++) {
        print_row(p, s->velocities + 3 * i);
        bl_print_text(p, "\n");
    }
    return BL_OK;
}
