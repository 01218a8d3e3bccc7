/* SPDX-License-Identifier: Apache-2.0
 *
 * CIF in two layers: the syntax of any CIF 1.1 or 2.0 file as a flat document, and the
 * crystallographic meaning of one block.
 */
#ifndef BL_CIF_H
#define BL_CIF_H

#include "bl_crystal.h"
#include "bl_symmetry.h"

/* ---- syntax (bl_cif_syntax.c) -------------------------------------------------------- */

enum cif_kind { CIF_BARE, CIF_QUOTED, CIF_TEXT, CIF_LIST };
/* Points into the input. A text field without its semicolons, a list or table with its brackets. */
struct cif_value {
    const char *p;
    uint32_t len;
    uint32_t kind;
};
struct cif_tag {
    const char *p;
    uint32_t len, loop;
};
/* A tag with one value is a loop of one column and one row. */
struct cif_loop {
    size_t first_tag, width, first_value, rows;
    const char *at;
};
struct cif_block {
    struct bl_token name;
    size_t first_loop, loop_end;
};
struct cif_document {
    struct bl_quota *quota;
    const char *start, *end; /* of the input */
    struct cif_value *values;
    struct cif_tag *tags;
    struct cif_loop *loops;
    struct cif_block *blocks;
    size_t value_count, value_room, tag_count, tag_room, loop_count, loop_room, block_count, block_room;
};
/* The input must outlive the document. BL_SYNTAX, BL_NO_MEMORY, BL_LIMIT. *out need not be initialised. */
enum bl_status bl_cif_parse(struct bl_ctx *ctx, const char *data, size_t len, struct bl_warnings *warnings, struct cif_document *out,
                            struct bl_error *err);
void bl_cif_document_clear(struct cif_document *doc);
/* BL_SYNTAX at a place of the input. */
enum bl_status bl_cif_expected(const struct cif_document *doc, const char *at, struct bl_error *err, const char *what, ...) BL_PRINTF(4, 5);
/* "?" and ".": not known, not applicable. */
static inline bool cif_null(const struct cif_value *v) { return v->kind == CIF_BARE && v->len == 1 && (*v->p == '?' || *v->p == '.'); }
/* A number with or without standard uncertainty; `places` (may be NULL) gets its decimals. */
bool bl_cif_number(const struct cif_value *v, double *out, int *places);

/* ---- meaning (bl_cif_block.c) ----------------------------------------------------------- */

enum cif_item {
    CIF_CELL_A, CIF_CELL_B, CIF_CELL_C, CIF_CELL_ALPHA, CIF_CELL_BETA, CIF_CELL_GAMMA,
    CIF_FORMULA, CIF_Z, CIF_NAME, CIF_HALL, CIF_NUMBER, CIF_OPERATION, CIF_MAGNETIC_OPERATION, CIF_MAGNETIC_CENTRING,
    CIF_MODULATION, CIF_SUPERSPACE, CIF_LABEL, CIF_TYPE, CIF_X, CIF_Y, CIF_Z_COORDINATE, CIF_CARTESIAN_X, CIF_CARTESIAN_Y,
    CIF_CARTESIAN_Z, CIF_OCCUPANCY, CIF_GROUP, CIF_ASSEMBLY, CIF_HYDROGENS, CIF_MULTIPLICITY, CIF_CALCULATED, CIF_MACROMOLECULE,
    CIF_FRACT_MATRIX, CIF_FRACT_MATRIX_END = CIF_FRACT_MATRIX + 12,
    CIF_ITEMS = CIF_FRACT_MATRIX_END
};

/* A row of the atom list. */
struct cif_atom {
    double f[3]; /* fractional, as it stands */
    double occupancy;
    double tolerance;       /* angstrom: what the digits leave open */
    double image_tolerance; /* at least that: of the atom and its own images */
    uint32_t type;
    uint32_t multiplicity; /* as the file says; 0: it does not */
    int32_t group, assembly; /* of disorder; 0: none */
    struct bl_token label;
    const char *at;
};

/* A type symbol and what became of it. */
enum { CIF_TYPES = 64 };
struct cif_type {
    struct bl_token text;
    struct bl_symbol symbol;
    uint32_t type;
};

struct cif_reading {
    struct bl_reader_state *r;
    const struct cif_document *doc;
    const struct cif_block *block;
    struct bl_warnings *warnings;
    struct {
        const struct cif_loop *loop;
        size_t column;
    } items[CIF_ITEMS];
    struct bl_lattice lattice;
    double cell[3][3];
    bool has_cell;
    struct bl_structure *s; /* species while rows are read, the rest at the end */
    struct cif_atom *atoms;
    size_t atom_count;
    double formula_atoms, z; /* < 0: not known */
    uint8_t formula_elements[BL_ELEMENT_COUNT];
    bool has_groups;
    struct cif_type types[CIF_TYPES]; /* seen so far */
};
/* The value of an item in a row; NULL where there is none, or it is null. */
const struct cif_value *bl_cif_item(const struct cif_reading *c, enum cif_item item, size_t row);
size_t bl_cif_rows(const struct cif_reading *c, enum cif_item item);

/* bl_cif_atoms.c: formula, cell and rows. */
enum bl_status bl_cif_read_cell(struct cif_reading *c, struct bl_error *err);
void bl_cif_read_formula(struct cif_reading *c);
/* Z times the atoms of the formula; -1: not known. Agrees: within half a per cent, or not known. */
double bl_cif_atoms_expected(const struct cif_reading *c);
bool bl_cif_formula_agrees(const struct cif_reading *c, double occupancy);
enum bl_status bl_cif_read_atoms(struct cif_reading *c, struct bl_error *err);

/* bl_cif_symmetry.c: chooses among what the file says; the expanded atoms go with it. */
enum bl_status bl_cif_choose_symmetry(struct cif_reading *c, struct bl_symmetry *out, enum bl_symmetry_source *source,
                                      struct bl_error *err);

/* ---- expansion (bl_expand.c) -------------------------------------------------------------- */

struct cif_expanded {
    double *f;      /* 3 per atom, in [0, 1) */
    uint32_t *row;  /* per atom */
    size_t count, capacity;
    size_t positions;
    double occupancy;
    size_t redundant;   /* rows that were images of rows before them */
    double moved;       /* largest distance to a special position, angstrom */
    size_t wrong_multiplicities;
};
/* All images of the rows under the operations, each position of a row once. */
enum bl_status bl_cif_expand(const struct cif_reading *c, const struct bl_symmetry *symmetry, struct cif_expanded *out,
                             struct bl_error *err);
void bl_cif_expanded_clear(struct cif_expanded *x);

#endif
