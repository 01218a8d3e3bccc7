/* SPDX-License-Identifier: Apache-2.0
 *
 * One block of a CIF as a structure: which tags mean something, and the order of the work.
 * Names: the core dictionary, old and new, mmCIF's and the magnetic dictionary's with dots.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "bl_cif.h"

/* ---- names -------------------------------------------------------------------------------- */

/* Sorted; lower case, dots as underscores. Of several names of one item the first in the file counts. */
static const struct known {
    const char *name;
    enum cif_item item;
} known[] = {
    {"_atom_site_attached_hydrogens", CIF_HYDROGENS},
    {"_atom_site_calc_flag", CIF_CALCULATED},
    {"_atom_site_cartn_x", CIF_CARTESIAN_X},
    {"_atom_site_cartn_y", CIF_CARTESIAN_Y},
    {"_atom_site_cartn_z", CIF_CARTESIAN_Z},
    {"_atom_site_disorder_assembly", CIF_ASSEMBLY},
    {"_atom_site_disorder_group", CIF_GROUP},
    {"_atom_site_fract_x", CIF_X},
    {"_atom_site_fract_y", CIF_Y},
    {"_atom_site_fract_z", CIF_Z_COORDINATE},
    {"_atom_site_group_pdb", CIF_MACROMOLECULE},
    {"_atom_site_id", CIF_LABEL},
    {"_atom_site_label", CIF_LABEL},
    {"_atom_site_label_asym_id", CIF_MACROMOLECULE},
    {"_atom_site_label_comp_id", CIF_MACROMOLECULE},
    {"_atom_site_occupancy", CIF_OCCUPANCY},
    {"_atom_site_site_symmetry_multiplicity", CIF_MULTIPLICITY},
    {"_atom_site_symmetry_multiplicity", CIF_MULTIPLICITY},
    {"_atom_site_type_symbol", CIF_TYPE},
    {"_atom_sites_fract_tran_matrix_11", CIF_FRACT_MATRIX},
    {"_atom_sites_fract_tran_matrix_12", CIF_FRACT_MATRIX + 1},
    {"_atom_sites_fract_tran_matrix_13", CIF_FRACT_MATRIX + 2},
    {"_atom_sites_fract_tran_matrix_21", CIF_FRACT_MATRIX + 3},
    {"_atom_sites_fract_tran_matrix_22", CIF_FRACT_MATRIX + 4},
    {"_atom_sites_fract_tran_matrix_23", CIF_FRACT_MATRIX + 5},
    {"_atom_sites_fract_tran_matrix_31", CIF_FRACT_MATRIX + 6},
    {"_atom_sites_fract_tran_matrix_32", CIF_FRACT_MATRIX + 7},
    {"_atom_sites_fract_tran_matrix_33", CIF_FRACT_MATRIX + 8},
    {"_atom_sites_fract_tran_vector_1", CIF_FRACT_MATRIX + 9},
    {"_atom_sites_fract_tran_vector_2", CIF_FRACT_MATRIX + 10},
    {"_atom_sites_fract_tran_vector_3", CIF_FRACT_MATRIX + 11},
    {"_cell_angle_alpha", CIF_CELL_ALPHA},
    {"_cell_angle_beta", CIF_CELL_BETA},
    {"_cell_angle_gamma", CIF_CELL_GAMMA},
    {"_cell_formula_units_z", CIF_Z},
    {"_cell_length_a", CIF_CELL_A},
    {"_cell_length_b", CIF_CELL_B},
    {"_cell_length_c", CIF_CELL_C},
    {"_cell_modulation_dimension", CIF_MODULATION},
    {"_chemical_formula_sum", CIF_FORMULA},
    {"_space_group_hall_symbol", CIF_HALL},
    {"_space_group_it_number", CIF_NUMBER},
    {"_space_group_name_h-m", CIF_NAME},
    {"_space_group_name_h-m_alt", CIF_NAME},
    {"_space_group_name_h-m_full", CIF_NAME},
    {"_space_group_name_h-m_ref", CIF_NAME},
    {"_space_group_name_hall", CIF_HALL},
    {"_space_group_number", CIF_NUMBER},
    {"_space_group_ssg_name", CIF_SUPERSPACE},
    {"_space_group_ssg_operation_algebraic", CIF_SUPERSPACE},
    {"_space_group_symop_magn_centering_xyz", CIF_MAGNETIC_CENTRING},
    {"_space_group_symop_magn_operation_xyz", CIF_MAGNETIC_OPERATION},
    {"_space_group_symop_magn_ssg_operation_algebraic", CIF_SUPERSPACE},
    {"_space_group_symop_operation_xyz", CIF_OPERATION},
    {"_space_group_symop_ssg_operation_algebraic", CIF_SUPERSPACE},
    {"_symmetry_equiv_pos_as_xyz", CIF_OPERATION},
    {"_symmetry_int_tables_number", CIF_NUMBER},
    {"_symmetry_space_group_name_h-m", CIF_NAME},
    {"_symmetry_space_group_name_hall", CIF_HALL},
};
enum { KNOWN = sizeof known / sizeof *known, NAME_MAX = 64 };

/* "_Atom_sites.fract_transf_matrix[1][2]" of mmCIF is the core's "_atom_sites_fract_tran_matrix_12". */
static bool normalise(const struct cif_tag *tag, char out[NAME_MAX])
{
    if (tag->len >= NAME_MAX) return false;
    size_t n = 0;
    for (uint32_t i = 0; i < tag->len; i++) {
        const char c = tag->p[i];
        if (c == ']') continue;
        out[n++] = c == '.' ? '_' : c == '[' ? (i > 0 && tag->p[i - 1] == ']' ? '\0' : '_') : (char)tolower((unsigned char)c);
        if (out[n - 1] == '\0') n--;
    }
    out[n] = '\0';
    char *transf = strncmp(out, "_atom_sites_", 12) == 0 ? strstr(out, "_transf_") : NULL;
    if (transf) memmove(transf + 5, transf + 7, strlen(transf + 7) + 1);
    return true;
}

static const struct known *find_name(const struct cif_tag *tag)
{
    char name[NAME_MAX];
    if (tag->len < 7) return NULL;
    const int c = tolower((unsigned char)tag->p[1]) << 8 | tolower((unsigned char)tag->p[2]);
    if (c != ('a' << 8 | 't') && c != ('c' << 8 | 'e') && c != ('c' << 8 | 'h') && c != ('s' << 8 | 'p') &&
            c != ('s' << 8 | 'y')) return NULL;
    if (!normalise(tag, name)) return NULL;
    size_t low = 0, high = KNOWN;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const int order = strcmp(name, known[middle].name);
        if (order == 0) return &known[middle];
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

/* The symbol that names the setting most exactly: "_alt" and "_full" before "_ref". */
static bool is_weaker(const struct cif_tag *tag) { return tag->len >= 4 && strncmp(tag->p + tag->len - 4, "_ref", 4) == 0; }

static bool only_null(const struct cif_document *d, const struct cif_loop *loop, size_t column)
{
    for (size_t row = 0; row < loop->rows; row++)
        if (!cif_null(&d->values[loop->first_value + row * loop->width + column])) return false;
    return true;
}

static bool same_tag(const struct cif_tag *a, const struct cif_tag *b) { return a->len == b->len && strncasecmp(a->p, b->p, a->len) == 0; }

static void find_items(struct cif_reading *c)
{
    const struct cif_document *d = c->doc;
    for (size_t l = c->block->first_loop; l < c->block->loop_end; l++) {
        const struct cif_loop *loop = &d->loops[l];
        for (size_t k = 0; k < loop->width; k++) {
            const struct cif_tag *tag = &d->tags[loop->first_tag + k];
            const struct known *name = find_name(tag);
            if (!name) continue;
            const struct cif_loop *before = c->items[name->item].loop;
            if (before && before != loop && same_tag(tag, &d->tags[before->first_tag + c->items[name->item].column]))
                bl_warn(c->warnings, "%.*s stands more than once: the first that is known counts", (int)tag->len, tag->p);
            const bool label_wins = name->item == CIF_LABEL && before == loop && tag->len > 13; /* label before id */
            if (before && !label_wins && !is_weaker(&d->tags[before->first_tag + c->items[name->item].column]) &&
                !only_null(d, before, c->items[name->item].column))
                continue;
            c->items[name->item].loop = loop;
            c->items[name->item].column = k;
        }
    }
}

size_t bl_cif_rows(const struct cif_reading *c, enum cif_item item) { return c->items[item].loop ? c->items[item].loop->rows : 0; }

const struct cif_value *bl_cif_item(const struct cif_reading *c, enum cif_item item, size_t row)
{
    const struct cif_loop *loop = c->items[item].loop;
    if (!loop || row >= loop->rows) return NULL;
    const struct cif_value *v = &c->doc->values[loop->first_value + row * loop->width + c->items[item].column];
    return cif_null(v) ? NULL : v;
}

/* Columns of atoms in another loop than the coordinates say nothing about those. */
static void drop_foreign_columns(struct cif_reading *c)
{
    const struct cif_loop *rows = c->items[bl_cif_rows(c, CIF_X) > 0 ? CIF_X : CIF_CARTESIAN_X].loop;
    for (int item = CIF_LABEL; item <= CIF_MACROMOLECULE; item++) {
        const struct cif_loop *loop = c->items[item].loop;
        if (loop && rows && loop != rows && (loop->rows != 1 || rows->rows != 1)) c->items[item].loop = NULL;
    }
}

/* ---- one block ------------------------------------------------------------------------------ */

static bool has_atoms(const struct cif_reading *c) { return bl_cif_rows(c, CIF_X) > 0 || bl_cif_rows(c, CIF_CARTESIAN_X) > 0; }

static enum bl_status refuse_other_kinds(const struct cif_reading *c, struct bl_error *err)
{
    double dimension = 0;
    const struct cif_value *modulation = bl_cif_item(c, CIF_MODULATION, 0);
    if (modulation) bl_cif_number(modulation, &dimension, NULL);
    if (dimension > 0 || bl_cif_rows(c, CIF_SUPERSPACE) > 0) return bl_fail_unsupported(err, "modulated structure (superspace group)");
    if (bl_cif_rows(c, CIF_MACROMOLECULE) > 0) return bl_fail_unsupported(err, "macromolecular mmCIF");
    return BL_OK;
}

static enum bl_status copy_labels(const struct cif_reading *c, struct bl_structure *s, struct bl_error *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < c->atom_count; i++) bytes += c->atoms[i].label.len;
    if (bytes > UINT32_MAX) return bl_fail_limit(err, "label_bytes", UINT32_MAX, bytes);
    char *text = bl_alloc(s->quota, bytes + 1, err);
    uint32_t *ends = text ? bl_alloc_array(s->quota, c->atom_count, sizeof *ends, err) : NULL;
    enum bl_status status = ends ? BL_OK : bl_alloc_status(err);
    size_t n = 0;
    for (size_t i = 0; status == BL_OK && i < c->atom_count; i++) {
        if (c->atoms[i].label.len > 0) memcpy(text + n, c->atoms[i].label.p, c->atoms[i].label.len);
        n += c->atoms[i].label.len;
        ends[i] = (uint32_t)n;
    }
    if (status == BL_OK) status = bl_structure_set_labels(s, text, ends, c->atom_count, err);
    bl_free(text);
    bl_free(ends);
    return status;
}

static enum bl_status fill_groups(const struct cif_reading *c, const struct cif_expanded *x, struct bl_structure *s, struct bl_error *err)
{
    struct bl_column *group, *assembly;
    enum bl_status status = bl_structure_add_column(s, "disorder_group", 14, BL_VALUE_INT, 1, &group, err);
    for (size_t i = 0; status == BL_OK && i < x->count; i++) group->value.ints[i] = c->atoms[x->row[i]].group;
    if (status == BL_OK) status = bl_structure_add_column(s, "disorder_assembly", 17, BL_VALUE_INT, 1, &assembly, err);
    for (size_t i = 0; status == BL_OK && i < x->count; i++) assembly->value.ints[i] = c->atoms[x->row[i]].assembly;
    return status;
}

static bool partly_occupied(const struct cif_reading *c)
{
    for (size_t i = 0; i < c->atom_count; i++)
        if (c->atoms[i].occupancy != 1) return true;
    return false;
}

static enum bl_status fill_structure(const struct cif_reading *c, const struct cif_expanded *x, struct bl_structure *s,
        struct bl_error *err)
{
    enum bl_status status = bl_structure_allocate(s, x->count, c->r->limits, err);
    if (status == BL_OK && partly_occupied(c)) status = bl_structure_add(s, &s->occupancies, 1, sizeof(double), err);
    if (status == BL_OK) status = bl_structure_add(s, &s->sites, 1, sizeof *s->sites, err);
    if (status == BL_OK) status = copy_labels(c, s, err);
    if (status != BL_OK) return status;
    for (size_t i = 0; i < x->count; i++) {
        const struct cif_atom *atom = &c->atoms[x->row[i]];
        s->types[i] = atom->type;
        s->sites[i] = x->row[i];
        if (s->occupancies) s->occupancies[i] = atom->occupancy;
        if (c->has_cell) bl_lattice_cartesian(&c->lattice, x->f + 3 * i, s->positions + 3 * i);
        else memcpy(s->positions + 3 * i, atom->f, sizeof atom->f);
    }
    memcpy(s->cell, c->cell, sizeof s->cell);
    for (int k = 0; k < 3; k++) s->pbc[k] = c->has_cell;
    if (c->has_groups) status = fill_groups(c, x, s, err);
    const struct bl_token name = c->block->name;
    if (status == BL_OK && name.len > 0 && name.len < 1024)
        status = bl_structure_add_info(s, "block", 5, BL_VALUE_TEXT, 0, (uint32_t)name.len, name.p, err);
    return status;
}

static void remarks(struct cif_reading *c, const struct cif_expanded *x, const struct bl_report *report)
{
    if (x->redundant)
        bl_warn(c->warnings, "%zu listed atoms are images of others: kept once", x->redundant);
    if (x->moved > 0.002)
        bl_warn(c->warnings, "atoms near special positions are put on them, at most %.3f angstrom away", x->moved);
    if (x->wrong_multiplicities)
        bl_warn(c->warnings, "%zu atoms have another multiplicity than the file says", x->wrong_multiplicities);
    if (!bl_cif_formula_agrees(c, x->occupancy))
        bl_warn(c->warnings, "the formula and Z ask for %g atoms in the cell, the expanded list has %g", report->expected,
                report->occupancy);
}

static void copy_name(const struct cif_block *b, char out[64])
{
    const size_t n = b->name.len < 63 ? b->name.len : 63;
    memcpy(out, b->name.p, n);
    out[n] = '\0';
}

/* Images of whole atoms that are nearer to each other than atoms can be, where formula and Z count them once: a site
 * that was refined off its special position. They replace *x when the count is then right. */
static enum bl_status merge_crowded(struct cif_reading *c, const struct bl_symmetry *symmetry, struct cif_expanded *x, struct bl_error *err)
{
    const double CROWDED = 0.5; /* angstrom: no bond is as short */
    struct cif_expanded merged;
    if (bl_cif_formula_agrees(c, x->occupancy)) return BL_OK;
    for (size_t i = 0; i < c->atom_count; i++)
        if (c->atoms[i].occupancy == 1) c->atoms[i].image_tolerance = CROWDED;
    const enum bl_status status = bl_cif_expand(c, symmetry, &merged, err);
    if (status != BL_OK) return status;
    if (!bl_cif_formula_agrees(c, merged.occupancy)) {
        bl_cif_expanded_clear(&merged);
        return BL_OK;
    }
    bl_cif_expanded_clear(x);
    *x = merged;
    return BL_OK;
}

static enum bl_status expand_block(struct cif_reading *c, struct bl_report *report, struct bl_error *err)
{
    struct bl_symmetry symmetry = {.count = 0};
    struct cif_expanded x = {.count = 0};
    enum bl_status status = bl_cif_choose_symmetry(c, &symmetry, &report->source, err);
    if (status == BL_OK) status = bl_cif_expand(c, &symmetry, &x, err);
    if (status == BL_OK) status = merge_crowded(c, &symmetry, &x, err);
    if (status == BL_OK) status = fill_structure(c, &x, c->s, err);
    if (status == BL_OK) status = bl_structure_set_symmetry(c->s, &symmetry, err);
    if (status == BL_OK) status = bl_structure_check(c->s, err);
    if (status == BL_OK) {
        report->rows = c->atom_count;
        report->positions = x.positions;
        report->occupancy = x.occupancy;
        report->expected = bl_cif_atoms_expected(c);
        copy_name(c->block, report->block);
        remarks(c, &x, report);
    }
    bl_symmetry_clear(&symmetry);
    bl_cif_expanded_clear(&x);
    return status;
}

/* A molecule: Cartesian positions and no cell. */
static enum bl_status take_molecule(struct cif_reading *c, struct bl_report *report, struct bl_error *err)
{
    struct cif_expanded x = {.count = c->atom_count};
    x.row = bl_alloc_array(c->s->quota, c->atom_count, sizeof *x.row, err);
    if (!x.row) return bl_alloc_status(err);
    for (size_t i = 0; i < c->atom_count; i++) x.row[i] = (uint32_t)i;
    bl_warn(c->warnings, "no cell: read as not periodic");
    const enum bl_status status = fill_structure(c, &x, c->s, err);
    bl_free(x.row);
    *report = (struct bl_report){.rows = c->atom_count, .positions = c->atom_count, .expected = -1};
    for (size_t i = 0; i < c->atom_count; i++) report->occupancy += c->atoms[i].occupancy;
    return status == BL_OK ? bl_structure_check(c->s, err) : status;
}

/* Reports grow beside the frames. */
static enum bl_status add_report(struct bl_parsed *p, const struct bl_report *report, struct bl_error *err)
{
    if ((p->count & (p->count - 1)) == 0) { /* the frame is counted already: at 1, 2, 4, ... */
        void *room = bl_realloc(p->quota, p->reports, 2 * p->count * sizeof *p->reports, err);
        if (!room) return bl_alloc_status(err);
        p->reports = room;
    }
    p->reports[p->count - 1] = *report;
    return BL_OK;
}

/* A block without atoms gives nothing. */
static enum bl_status read_block(struct cif_reading *c, struct bl_error *err)
{
    struct bl_reader_state *r = c->r;
    struct bl_report report = {.expected = -1};
    find_items(c);
    if (!has_atoms(c)) return bl_cif_rows(c, CIF_SUPERSPACE) > 0 ? refuse_other_kinds(c, err) : BL_OK;
    drop_foreign_columns(c);
    enum bl_status status = refuse_other_kinds(c, err);
    if (status == BL_OK) status = bl_cif_read_cell(c, err);
    if (status != BL_OK) return status;
    bl_cif_read_formula(c);
    c->s = bl_parsed_add(r->out, r->limits, err);
    if (!c->s) return bl_alloc_status(err);
    status = bl_cif_read_atoms(c, err);
    if (status == BL_OK && c->atom_count == 0) { /* only rows of "?" */
        bl_structure_clear(c->s);
        r->out->count--;
        return BL_OK;
    }
    if (status == BL_OK) status = c->has_cell ? expand_block(c, &report, err) : take_molecule(c, &report, err);
    return status == BL_OK ? add_report(r->out, &report, err) : status;
}

static bool wanted(const struct cif_block *b, const char *name)
{
    return !name || (strlen(name) == b->name.len && strncmp(name, b->name.p, b->name.len) == 0);
}

/* ---- blocks that cannot be built ---------------------------------------------------------------- */

/* The file's fault and that of one block. All else (memory, limits, cancel) ends the reading. */
static bool is_refusal(enum bl_status status) { return status == BL_SYNTAX || status == BL_INVALID || status == BL_UNSUPPORTED; }

/* Refusals grow at 1, 2, 4, ... as reports do. */
static enum bl_status add_refusal(const struct cif_reading *c, const struct bl_error *why, struct bl_error *err)
{
    struct bl_parsed *p = c->r->out;
    struct bl_error place;
    if ((p->refusal_count & (p->refusal_count - 1)) == 0) {
        const size_t room = p->refusal_count ? 2 * p->refusal_count : 1;
        void *grown = bl_realloc(p->quota, p->refusals, room * sizeof *p->refusals, err);
        if (!grown) return bl_alloc_status(err);
        p->refusals = grown;
    }
    struct bl_refusal *x = &p->refusals[p->refusal_count++];
    bl_cif_expected(c->doc, c->block->name.p, &place, "a structure");
    *x = (struct bl_refusal){.line = place.line, .error = *why};
    copy_name(c->block, x->block);
    return BL_OK;
}

/* Nothing of the block is left: neither a structure nor what was assumed for it. */
static void forget_block(struct bl_parsed *p, size_t frames, size_t warnings)
{
    while (p->count > frames) bl_structure_clear(&p->frames[--p->count]);
    if (p->warnings.count > warnings) p->warnings.count = warnings;
}

static void warn_of_refusals(struct bl_parsed *p)
{
    for (size_t i = 0; i < p->refusal_count; i++) {
        const struct bl_refusal *x = &p->refusals[i];
        char why[BL_WARNING_SIZE];
        bl_error_format(&x->error, why, sizeof why);
        bl_warn(&p->warnings, "block \"%.40s\" (line %u) is left out: %s", x->block, x->line, why);
    }
}

static enum bl_status read_or_refuse(struct cif_reading *c, struct bl_error *err)
{
    struct bl_parsed *p = c->r->out;
    const size_t frames = p->count, warnings = p->warnings.count;
    struct bl_error why;
    const enum bl_status status = read_block(c, &why);
    bl_free(c->atoms);
    if (status == BL_OK) return BL_OK;
    if (!is_refusal(status)) {
        *err = why;
        return status;
    }
    forget_block(p, frames, warnings);
    return add_refusal(c, &why, err);
}

static enum bl_status read_blocks(struct bl_reader_state *r, const struct cif_document *doc, struct cif_reading *c, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    bool any = false;
    for (size_t b = 0; status == BL_OK && b < doc->block_count; b++) {
        if (!wanted(&doc->blocks[b], r->options->block)) continue;
        any = true;
        *c = (struct cif_reading){.r = r, .doc = doc, .block = &doc->blocks[b], .warnings = &r->out->warnings};
        status = read_or_refuse(c, err);
    }
    if (status != BL_OK) return status;
    if (!any && r->options->block) return bl_fail_invalid(err, "block", "the file has no block \"%.60s\"", r->options->block);
    if (r->out->count == 0 && r->out->refusal_count > 0) {
        *err = r->out->refusals[0].error;
        return err->status;
    }
    warn_of_refusals(r->out);
    return BL_OK;
}

enum bl_status bl_cif_read(struct bl_reader_state *r, struct bl_error *err)
{
    struct cif_document doc;
    const char *const data = r->text.p;
    enum bl_status status = bl_cif_parse(r->ctx, data, (size_t)(r->text.end - data), &r->out->warnings, &doc, err);
    if (status != BL_OK) return status;
    struct cif_reading *c = bl_alloc(r->out->quota, sizeof *c, err);
    status = c ? read_blocks(r, &doc, c, err) : bl_alloc_status(err);
    bl_free(c);
    bl_cif_document_clear(&doc);
    if (status == BL_OK && r->out->count == 0) bl_warn(&r->out->warnings, "there are no atoms in this file");
    return status;
}
