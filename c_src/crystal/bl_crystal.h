/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the crystal part share and its users do not see.
 */
#ifndef BL_CRYSTAL_H
#define BL_CRYSTAL_H

#include "beamline/crystal.h"

/* The status of an allocation that gave NULL: bl_alloc has filled *err when there is one. */
static inline enum bl_status bl_alloc_status(const struct bl_error *err) { return err ? err->status : BL_NO_MEMORY; }

/* 1 eV per cubic angstrom in GPa (CODATA 2018: 1 eV = 1.602176634e-19 J). */
#define BL_GPA 160.2176634

/* Loops over atoms that no bl_parallel_for cuts look at the context after so many: well below a millisecond. */
enum { BL_POLL_ATOMS = 8192 };
static inline enum bl_status bl_poll(struct bl_ctx *ctx, size_t i, struct bl_error *err)
{
    return i % BL_POLL_ATOMS == BL_POLL_ATOMS - 1 ? bl_ctx_check(ctx, err) : BL_OK;
}
/* The same where turns are of different length: *work counts up to as many. */
static inline enum bl_status bl_poll_work(struct bl_ctx *ctx, size_t *work, size_t more, struct bl_error *err)
{
    *work += more;
    if (*work < 4 * BL_POLL_ATOMS) return BL_OK;
    *work = 0;
    return bl_ctx_check(ctx, err);
}

/* Passes over long vectors, in pieces of some tens of microseconds between looks at the context:
 *
 *     for (size_t i = 0, end; (end = bl_piece(ctx, i, n)) > i;)
 *         for (; i < end; i++) ...
 *
 * A stopped task leaves the pass where it is. What it made is then incomplete, so a bl_ctx_check stands between it and
 * every use that could be seen. */
enum { BL_PIECE = 4 * BL_POLL_ATOMS };
static inline size_t bl_piece(struct bl_ctx *ctx, size_t i, size_t n)
{
    if (i > 0 && i < n && bl_ctx_check(ctx, NULL) != BL_OK) return i;
    return n - i > BL_PIECE ? i + BL_PIECE : n;
}
/* memcpy in such pieces. */
void bl_copy_pieces(struct bl_ctx *ctx, double *to, const double *from, size_t n);

/* A normal deviate; the same state, the same deviates. */
double bl_normal(uint64_t *state);

void bl_cross(const double a[3], const double b[3], double out[3]);
double bl_dot(const double a[3], const double b[3]);

/* A cell made whole: missing vectors of free directions are unit vectors perpendicular
 * to the others, so that fractional coordinates always exist. */
struct bl_lattice {
    double vectors[3][3]; /* rows */
    double inverse[3][3]; /* r . inverse = fractional */
    double heights[3];    /* distance of the two faces */
    double volume;        /* signed */
    bool periodic[3];
};
enum bl_status bl_lattice_init(struct bl_lattice *lattice, const struct bl_structure *s, struct bl_error *err);
/* The same for a format that keeps only lengths and angles: the first two vectors of a left-handed
 * cell change places, which is the same crystal. */
enum bl_status bl_right_handed(const struct bl_structure *s, struct bl_lattice *lattice, struct bl_error *err);
void bl_lattice_fractional(const struct bl_lattice *l, const double r[3], double f[3]);
void bl_lattice_cartesian(const struct bl_lattice *l, const double f[3], double r[3]);

/* BL_INVALID where an atom takes its site only in part: such an atom `cannot` be taken for a whole one. */
enum bl_status bl_structure_whole(const struct bl_structure *s, const char *cannot, struct bl_error *err);

/* Drops the remarks of a file that were about the old positions: energy, free_energy, stress, virial. */
void bl_drop_stale_info(struct bl_structure *s);

/* bl_structure_allocate without zeroing, for who fills everything. */
enum bl_status bl_structure_allocate_raw(struct bl_structure *s, size_t atoms, const struct bl_crystal_limits *limits,
                                         struct bl_error *err);

/* ---- files: what readers and writers share --------------------------------- */

/* A place in the input. Lines end with LF, CRLF or a lone CR. */
struct bl_text {
    const char *p, *end, *line_start;
    uint32_t line; /* 1-based */
};
struct bl_token {
    const char *p;
    size_t len;
};
void bl_text_init(struct bl_text *t, const char *data, size_t len);
uint32_t bl_text_column(const struct bl_text *t); /* of p, 1-based, in bytes */
void bl_text_blanks(struct bl_text *t);           /* steps over blanks and tabs */
bool bl_text_line_end(const struct bl_text *t);   /* at the end of a line, or of the input */
bool bl_text_end(const struct bl_text *t);
void bl_text_next_line(struct bl_text *t);
/* The next blank-separated word of this line; len 0 at its end. */
struct bl_token bl_text_word(struct bl_text *t);
/* The rest of the line without surrounding blanks. Does not move. */
struct bl_token bl_text_rest(const struct bl_text *t);
/* BL_SYNTAX here: `what` was expected. */
enum bl_status bl_text_expected(const struct bl_text *t, struct bl_error *err, const char *what, ...) BL_PRINTF(3, 4);
/* A finite number that ends at a blank or the line's end, or BL_SYNTAX. */
enum bl_status bl_text_number(struct bl_text *t, double *out, const char *what, struct bl_error *err);
bool bl_token_number(struct bl_token token, double *out);
bool bl_token_integer(struct bl_token token, int64_t *out);
/* The shortest bytes an atom's row can have: "0 0 0" and its line end. */
enum { BL_ROW_BYTES_MIN = 6 };

void bl_warn(struct bl_warnings *w, const char *text, ...) BL_PRINTF(2, 3);

/* A symbol in the case of the element it names ("cu" is Cu), or as it is. *known tells. */
struct bl_symbol {
    char text[BL_SYMBOL_SIZE];
    bool known;
};
struct bl_symbol bl_symbol_of(struct bl_token token);

struct bl_reader_state {
    struct bl_ctx *ctx;
    struct bl_text text;
    const struct bl_parse_options *options;
    const struct bl_crystal_limits *limits;
    struct bl_parsed *out;
};
/* One more empty frame; NULL with *err when there is no room. */
struct bl_structure *bl_parsed_add(struct bl_parsed *parsed, const struct bl_crystal_limits *limits, struct bl_error *err);
enum bl_status bl_poscar_read(struct bl_reader_state *r, struct bl_error *err);
enum bl_status bl_extxyz_read(struct bl_reader_state *r, struct bl_error *err);
enum bl_status bl_cif_read(struct bl_reader_state *r, struct bl_error *err);
enum bl_status bl_lammps_read(struct bl_reader_state *r, struct bl_error *err);

/* The first failure sticks in *err and later calls do nothing. */
struct bl_printer {
    struct bl_ctx *ctx; /* looked at now and then */
    size_t work;
    struct bl_buffer *out;
    struct bl_error *err;
    enum bl_status status;
};
/* So much work has been done without printing: false when it is to end. */
static inline bool bl_print_goes_on(struct bl_printer *p, size_t work)
{
    if (p->status == BL_OK) p->status = bl_poll_work(p->ctx, &p->work, work, p->err);
    return p->status == BL_OK;
}
void bl_print_bytes(struct bl_printer *p, const char *bytes, size_t len);
void bl_print_text(struct bl_printer *p, const char *text);
void bl_print_number(struct bl_printer *p, double value);
void bl_print_integer(struct bl_printer *p, int64_t value);
enum bl_status bl_poscar_write(const struct bl_structure *s, const struct bl_write_options *options, struct bl_printer *p);
enum bl_status bl_extxyz_write(const struct bl_structure *s, struct bl_printer *p);
enum bl_status bl_cif_write(const struct bl_structure *s, const struct bl_write_options *options, struct bl_printer *p);
enum bl_status bl_lammps_write(const struct bl_structure *s, const struct bl_write_options *options, struct bl_printer *p);

#endif
