/* SPDX-License-Identifier: Apache-2.0
 *
 * The crystal engine for C programs: structures, their files, neighbour lists,
 * potentials, relaxation, gates.
 *
 * Units: angstrom, eV, amu, degrees; velocities angstrom/fs. A Lennard-Jones run in
 * reduced units is the same code with epsilon = sigma = 1. Vectors of N atoms are 3N
 * doubles x0 y0 z0 x1 ...; cells are rows a, b, c; Voigt order is xx yy zz yz xz xy.
 * Every function that takes a ctx accepts NULL (no quota, not cancellable, one lane).
 */
#ifndef BEAMLINE_CRYSTAL_H
#define BEAMLINE_CRYSTAL_H

#include "beamline/core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- limits --------------------------------------------------------------- */

/* Checked before memory is asked for; each answers BL_LIMIT with its name. */
struct bl_crystal_limits {
    size_t max_atoms;      /* of one structure */
    size_t max_frames;     /* of one file */
    size_t max_inflated;   /* bytes that a compressed file may grow to */
    size_t max_images;     /* atoms and their periodic images that a neighbour search may hold */
    size_t max_neighbours; /* pairs that a neighbour list may hold */
};
/* 8 Mi atoms, 100,000 frames, 1 GiB inflated, 64 Mi images, 1 Gi neighbours. */
BL_API extern const struct bl_crystal_limits bl_crystal_limits_default;

/* ---- elements ------------------------------------------------------------- */

enum { BL_SYMBOL_SIZE = 16, BL_ELEMENT_COUNT = 119 };

struct bl_element {
    char symbol[4];
    double mass_amu;       /* standard atomic weight; of the longest-lived isotope where there is none */
    double radius_angstrom; /* covalent; 0: not known */
};
/* Indexed by atomic number; 0 is "X", a site without an element. */
BL_API extern const struct bl_element bl_elements[BL_ELEMENT_COUNT];
/* The atomic number, or 0: not an element. Case matters; D and T are hydrogen (1). */
BL_API unsigned bl_element_number(const char *symbol);

/* ---- symmetry ------------------------------------------------------------- */

/* One operation of a space group in fractional coordinates, exact: x' = rot x + shift / BL_SYMOP_DEN,
 * shift in [0, BL_SYMOP_DEN). The denominator holds thirds, fourths, ... up to sixteenths. */
enum { BL_SYMOP_DEN = 720720, BL_SYMOP_SIZE = 80, BL_SYMOPS_MAX = 4096 };
struct bl_symop {
    int8_t rot[3][3];
    int32_t shift[3];
};
/* "x,y,z", "-x+1/2, y, z-0.25", "X-Y;..." with `what` expected in the error (column 1-based in
 * the text, line 0). A fourth part "+1" or "-1" (time reversal) is read over. BL_SYNTAX. */
BL_API enum bl_status bl_symop_parse(const char *text, size_t len, struct bl_symop *out, struct bl_error *err);
/* Terminated; the length. Reads back as the same operation. */
BL_API size_t bl_symop_format(const struct bl_symop *op, char out[BL_SYMOP_SIZE]);
BL_API struct bl_symop bl_symop_multiply(const struct bl_symop *a, const struct bl_symop *b); /* a after b */
BL_API bool bl_symop_equal(const struct bl_symop *a, const struct bl_symop *b);

/* A space group in some setting. */
struct bl_symmetry {
    uint16_t number; /* 1 to 230; 0: not known */
    char name[40];   /* Hermann-Mauguin symbol; empty: not known */
    char hall[48];   /* Hall symbol; empty: not known */
    bool closed;     /* the operations were made as a group; false: nobody looked */
    size_t count;
    struct bl_symop *ops; /* the identity first */
};
/* The group that a Hall symbol generates. BL_SYNTAX, BL_NO_MEMORY. */
BL_API enum bl_status bl_symmetry_from_hall(const char *hall, size_t len, struct bl_quota *quota, struct bl_symmetry *out,
                                            struct bl_error *err);
/* The group that operations generate. BL_LIMIT when it does not close within BL_SYMOPS_MAX. */
BL_API enum bl_status bl_symmetry_from_ops(const struct bl_symop *ops, size_t count, struct bl_quota *quota,
                                           struct bl_symmetry *out, struct bl_error *err);
/* A Hermann-Mauguin symbol (spaced or not, short or full, ":1" ":2" ":H" ":R" for the setting), a
 * Hall symbol, or a number: the first setting of that name; for a number the standard one, with
 * origin choice 2 and hexagonal axes. BL_INVALID: nothing of that name. */
BL_API enum bl_status bl_symmetry_from_name(const char *name, size_t len, struct bl_quota *quota, struct bl_symmetry *out,
                                            struct bl_error *err);
BL_API void bl_symmetry_clear(struct bl_symmetry *s);

/* ---- structures ----------------------------------------------------------- */

/* A remark of a file: `key = value`. A scalar has rows 0 and columns 0, a vector
 * rows 0 and columns n, a matrix both. Text is one string, length in columns. */
enum bl_value_type { BL_VALUE_BOOL, BL_VALUE_INT, BL_VALUE_REAL, BL_VALUE_TEXT };
struct bl_info {
    char *key; /* terminated */
    enum bl_value_type type;
    uint32_t rows, columns;
    union {
        bool *bools;
        int64_t *ints;
        double *reals;
        char *text;
    } value;
};

/* A per-atom quantity without a field of its own. */
struct bl_column {
    char *name;
    enum bl_value_type type; /* not TEXT */
    uint32_t width;          /* values per atom */
    union {
        bool *bools;
        int64_t *ints;
        double *reals;
    } value;
};

enum { BL_FIXED_X = 1, BL_FIXED_Y = 2, BL_FIXED_Z = 4 };

/* Everything is owned by the structure, on its quota. Optional arrays are NULL when
 * the quantity is not known. A cell vector is zero where there is no lattice direction
 * (a molecule has three zero vectors); a periodic direction always has a vector. */
struct bl_structure {
    struct bl_quota *quota;
    double cell[3][3];
    bool pbc[3];
    size_t atoms, species_count, info_count, column_count;
    char (*species)[BL_SYMBOL_SIZE]; /* terminated, all different */
    uint32_t *types;                 /* index into species, per atom */
    double *positions;               /* Cartesian, may lie outside the cell */
    double *velocities, *forces;     /* 3N */
    double *masses, *charges;        /* N */
    double *occupancies;             /* N, of a site that is not always taken by its atom */
    uint32_t *sites;                 /* N, index into labels: the row of the file an atom came from */
    uint8_t *fixed;                  /* N, BL_FIXED_* along the Cartesian axes */
    size_t label_count;
    uint32_t *label_ends; /* label i is label_text[label_ends[i - 1] .. label_ends[i]) */
    char *label_text;
    struct bl_symmetry *symmetry; /* NULL: not known. What the file said; changes of the atoms may break it */
    struct bl_info *info;
    struct bl_column *columns;
};

BL_API void bl_structure_init(struct bl_structure *s, struct bl_quota *quota);
BL_API void bl_structure_clear(struct bl_structure *s);
/* Text of `len` bytes for all labels, ends[i] the end of label i; both are copied. */
BL_API enum bl_status bl_structure_set_labels(struct bl_structure *s, const char *text, const uint32_t *ends, size_t count,
                                              struct bl_error *err);
/* Takes the operations over: *symmetry is empty afterwards. */
BL_API enum bl_status bl_structure_set_symmetry(struct bl_structure *s, struct bl_symmetry *symmetry, struct bl_error *err);
/* Makes room for `atoms` atoms in an initialised, empty structure: types and positions,
 * all zero. BL_LIMIT (atoms), BL_NO_MEMORY. limits may be NULL (defaults). */
BL_API enum bl_status bl_structure_allocate(struct bl_structure *s, size_t atoms, const struct bl_crystal_limits *limits,
                                            struct bl_error *err);
/* Index of the symbol in s->species; adds it when new. BL_INVALID (empty or too long). */
BL_API enum bl_status bl_structure_species(struct bl_structure *s, const char *symbol, size_t len, uint32_t *index,
                                           struct bl_error *err);
/* Zeroed arrays for the optional quantities; no effect on one that is there. `count` elements of `size` bytes per atom. */
BL_API enum bl_status bl_structure_add(struct bl_structure *s, void *field, size_t count, size_t size, struct bl_error *err);
/* A deep copy on `quota`. *to is initialised by this function. */
BL_API enum bl_status bl_structure_copy(struct bl_structure *to, const struct bl_structure *from, struct bl_quota *quota,
                                        struct bl_error *err);
/* BL_INVALID unless all numbers are finite, types are in range, and the vectors of the
 * periodic directions are independent. */
BL_API enum bl_status bl_structure_check(const struct bl_structure *s, struct bl_error *err);
/* a . (b x c): negative for a left-handed cell, 0 when a vector is missing. */
BL_API double bl_structure_volume(const struct bl_structure *s);
/* `size` values of 8 bytes; *out belongs to the structure. For readers and decoders. */
BL_API enum bl_status bl_structure_add_info(struct bl_structure *s, const char *key, size_t key_len, enum bl_value_type type,
                                            uint32_t rows, uint32_t columns, const void *values, struct bl_error *err);
BL_API enum bl_status bl_structure_add_column(struct bl_structure *s, const char *name, size_t name_len,
                                              enum bl_value_type type, uint32_t width, struct bl_column **out,
                                              struct bl_error *err);

/* ---- files ---------------------------------------------------------------- */

enum bl_format { BL_FORMAT_AUTO = 0, BL_FORMAT_POSCAR, BL_FORMAT_EXTXYZ, BL_FORMAT_CIF, BL_FORMAT_LAMMPS, BL_FORMAT_COUNT };
/* "auto", "poscar", "extxyz", "cif", "lammps". */
BL_API const char *bl_format_name(enum bl_format format);

/* What a reader assumed because the file does not say. */
enum { BL_WARNINGS_MAX = 32, BL_WARNING_SIZE = 160 };
struct bl_warnings {
    size_t count, dropped;
    char text[BL_WARNINGS_MAX][BL_WARNING_SIZE];
};

struct bl_parse_options {
    enum bl_format format;
    /* The file's name, where its content does not tell the format; NULL: not known. */
    const char *name;
    /* CIF: the answer to "which setting?", any name that bl_symmetry_from_name takes, or "P 1" for
     * the atoms as they are listed. Wins over what the file says. NULL: the file's. */
    const char *setting;
    /* CIF: only the block of this name; NULL: all. */
    const char *block;
    /* LAMMPS: "atomic", "charge", ...; NULL: what the file says. */
    const char *atom_style;
    /* The answer to "which species?" for a VASP 4 file without symbols: one per count. */
    const char *const *species;
    size_t species_count;
    const struct bl_crystal_limits *limits; /* NULL: defaults */
};

/* Where the symmetry of a structure came from, the first that a file has. */
enum bl_symmetry_source {
    BL_SYMMETRY_NONE = 0, /* no word about it: P 1 */
    BL_SYMMETRY_OPTION,
    BL_SYMMETRY_OPERATIONS,
    BL_SYMMETRY_MAGNETIC, /* magnetic operations; moments and time reversal are left out */
    BL_SYMMETRY_HALL,
    BL_SYMMETRY_NAME,
    BL_SYMMETRY_NUMBER,
    BL_SYMMETRY_REFUSED /* what there was does not fit the cell: atoms as listed */
};
/* What was counted while a CIF was expanded. */
struct bl_report {
    char block[64];
    enum bl_symmetry_source source;
    size_t rows;      /* atoms in the file */
    size_t positions; /* distinct ones, whatever the elements on them */
    double occupancy; /* sum over the atoms of the cell */
    double expected;  /* Z x atoms of the formula; < 0: the file does not tell */
};

/* A block of a CIF with atoms that no structure could be made of, beside others that have one. */
struct bl_refusal {
    char block[64];
    uint32_t line; /* where the block begins */
    struct bl_error error; /* BL_SYNTAX (a value in it), BL_INVALID, BL_UNSUPPORTED */
};

struct bl_parsed {
    struct bl_quota *quota;
    enum bl_format format; /* what it was */
    struct bl_structure *frames;
    struct bl_report *reports; /* one a frame, or NULL */
    size_t count, capacity;
    struct bl_refusal *refusals; /* each is a warning, too */
    size_t refusal_count;
    struct bl_warnings warnings;
};

/* Reads a whole file, every frame. options may be NULL. On error nothing is kept:
 * BL_SYNTAX (line, column, what was expected), BL_INVALID (contradicts itself, or a
 * question is open: the text says which option answers it), BL_LIMIT, BL_NO_MEMORY,
 * BL_UNSUPPORTED ("zlib": compressed, and no library here). A CIF without atoms has no frames. A CIF
 * of several blocks fails only when none of them can be built: out->refusals tells of the others.
 * *out need not be initialised. */
BL_API enum bl_status bl_crystal_parse(struct bl_ctx *ctx, const char *data, size_t len, const struct bl_parse_options *options,
                                       struct bl_parsed *out, struct bl_error *err);
BL_API void bl_parsed_clear(struct bl_parsed *parsed);

/* Appends the content of a gzip file, all its members. BL_SYNTAX (offset), BL_LIMIT ("inflated_bytes",
 * or the quota), BL_UNSUPPORTED ("zlib"). */
struct bl_buffer;
BL_API enum bl_status bl_gunzip(struct bl_ctx *ctx, const char *data, size_t len, size_t limit, struct bl_buffer *out,
                                struct bl_error *err);

/* Appends a gzip file with this content; without a name or a time in it. BL_UNSUPPORTED ("zlib"). */
BL_API enum bl_status bl_gzip(struct bl_ctx *ctx, const char *data, size_t len, struct bl_buffer *out, struct bl_error *err);

/* Bytes that grow; free with bl_buffer_clear. */
struct bl_buffer {
    struct bl_quota *quota;
    char *data;
    size_t len, capacity;
};
BL_API void bl_buffer_init(struct bl_buffer *b, struct bl_quota *quota);
BL_API void bl_buffer_clear(struct bl_buffer *b);

struct bl_write_options {
    bool cartesian; /* POSCAR: Cartesian instead of Direct positions */
    const char *comment; /* POSCAR, LAMMPS: first line; NULL: the formula */
    bool symmetry; /* CIF: the symmetry of the structure, where its atoms still have it, instead of P 1 */
};
/* Appends one structure. Every number reads back as the same double (POSCAR Direct: the
 * fractional numbers do). BL_INVALID: the format cannot hold it (a POSCAR without a cell).
 * Options may be NULL. */
BL_API enum bl_status bl_crystal_write(struct bl_ctx *ctx, const struct bl_structure *s, enum bl_format format,
                                       const struct bl_write_options *options, struct bl_buffer *out, struct bl_error *err);

/* A number as both readers take it: decimal, exponent e, E, d or D; correctly rounded and
 * independent of the locale. Returns the bytes used, 0 when there is no number. Overflow
 * gives infinity: callers check. */
BL_API size_t bl_parse_number(const char *text, size_t len, double *out);
enum { BL_NUMBER_SIZE = 32 };
/* Writes a finite double so that bl_parse_number (and strtod) give it back exactly, usually
 * with the fewest digits. Returns the length; not terminated. */
BL_API size_t bl_format_number(double value, char out[BL_NUMBER_SIZE]);

/* ---- building, symmetry of a structure ------------------------------------------- */

/* 0: the usual value. c or c_over_a of tetragonal and hexagonal ones, u where there is a free coordinate. */
struct bl_prototype_parameters {
    double a, c, c_over_a, u;
};
/* Names from 0 on; NULL after the last. */
BL_API const char *bl_prototype_name(size_t i);
/* A crystal by name in its conventional cell, a along x; elements in the order of the formula. BL_INVALID: no such
 * name ("prototype"), another number of elements, a parameter that is no positive number or not one of this crystal. */
BL_API enum bl_status bl_structure_prototype(struct bl_ctx *ctx, const char *name, const char *const *elements, size_t count,
                                             const struct bl_prototype_parameters *parameters, struct bl_structure *out,
                                             struct bl_error *err);

/* All atoms of the cell from those of an asymmetric unit. Images of one atom within `tolerance`
 * (angstrom; 0: 0.02) are one, at their mean; an atom that is an image of an earlier one of its kind
 * is left out. *out has the symmetry; other per-atom arrays than occupancies are left out.
 * BL_INVALID (the operations do not fit the cell, no full cell), BL_LIMIT, BL_NO_MEMORY. */
BL_API enum bl_status bl_structure_expand(struct bl_ctx *ctx, const struct bl_structure *asymmetric,
                                          const struct bl_symmetry *symmetry, double tolerance, struct bl_structure *out,
                                          struct bl_error *err);
/* The cell whose vectors are the rows of `matrix` times the rows of s->cell, filled with all images,
 * image by image. Velocities, forces, masses, charges, fixed, occupancies go with the atoms; info,
 * columns, labels and symmetry do not. BL_INVALID (determinant 0, a combination of a direction that
 * is not periodic), BL_LIMIT (atoms). */
BL_API enum bl_status bl_structure_supercell(struct bl_ctx *ctx, const struct bl_structure *s, int32_t matrix[3][3],
                                             const struct bl_crystal_limits *limits, struct bl_structure *out, struct bl_error *err);

/* ---- changing: on error the structure is what it was ----------------------------------
 *
 * What a change makes untrue goes: forces, symmetry, and the remarks energy, free_energy, stress and virial; after
 * bl_structure_transform velocities, too, but for a rotation, which turns velocities and forces along. Atoms are
 * numbered from 0. All poll ctx. */

/* r' = r matrix, for atoms and cell. BL_INVALID: not finite, or it makes the cell flat. */
BL_API enum bl_status bl_structure_transform(struct bl_ctx *ctx, struct bl_structure *s, double matrix[3][3], struct bl_error *err);
/* Matrices for it: a turn about z, then y, then x (degrees); a strain in Voigt order with engineering shears. A scale is
 * a diagonal matrix, a shear one with a number beside the diagonal. */
BL_API void bl_matrix_rotation(const double degrees[3], double out[3][3]);
BL_API void bl_matrix_strain(const double strain[6], double out[3][3]);
/* Atoms into the cell, along its periodic directions. */
BL_API enum bl_status bl_structure_wrap(struct bl_ctx *ctx, struct bl_structure *s, struct bl_error *err);
enum bl_sort_by { BL_SORT_X, BL_SORT_Y, BL_SORT_Z, BL_SORT_SPECIES };
/* Ties keep their order; everything goes with the atoms. */
BL_API enum bl_status bl_structure_sort(struct bl_ctx *ctx, struct bl_structure *s, enum bl_sort_by by, struct bl_error *err);
/* Without these atoms; one may be named twice. BL_INVALID: no such atom. */
BL_API enum bl_status bl_structure_delete(struct bl_ctx *ctx, struct bl_structure *s, const uint32_t *atoms, size_t count,
                                          struct bl_error *err);
/* These atoms become another element; masses go, too. BL_INVALID: no such atom, no symbol. */
BL_API enum bl_status bl_structure_substitute(struct bl_ctx *ctx, struct bl_structure *s, const uint32_t *atoms, size_t count,
                                              const char *symbol, struct bl_error *err);
/* The atoms of `more` behind those of s, in the cell of s; arrays that only one of them has are left out, and labels and
 * columns. BL_LIMIT (atoms). */
BL_API enum bl_status bl_structure_merge(struct bl_ctx *ctx, struct bl_structure *s, const struct bl_structure *more,
                                         struct bl_error *err);
/* Moves each coordinate by a normal deviate of this width (angstrom): the same seed, the same places. (Not those of
 * beamline_crystal:rattle/3, which draws from Erlang's generator.) */
BL_API enum bl_status bl_structure_rattle(struct bl_ctx *ctx, struct bl_structure *s, double width, uint64_t seed,
                                          struct bl_error *err);

/* What spglib finds. Arrays belong to it; free with bl_symmetry_found_clear. */
struct bl_symmetry_found {
    unsigned number, hall_number; /* 1 to 230, 1 to 530 */
    char name[12], hall[20], choice[8], point_group[8];
    struct bl_symmetry group;     /* operations in the cell as given */
    size_t atoms;
    char *wyckoff;        /* a letter per atom */
    uint32_t *equivalent; /* per atom the first one of its orbit */
    /* x_standard = transformation x + origin_shift */
    double transformation[3][3], origin_shift[3];
};
enum { BL_SYMMETRY_ATOMS_MAX = 20000 }; /* the search grows faster than the number of atoms */
/* symprec in angstrom. BL_UNSUPPORTED ("spglib": not installed), BL_INVALID (not periodic in all
 * directions, nothing found), BL_LIMIT. The library cannot be interrupted. */
BL_API enum bl_status bl_symmetry_find(struct bl_ctx *ctx, const struct bl_structure *s, double symprec,
                                       struct bl_symmetry_found *out, struct bl_error *err);
BL_API void bl_symmetry_found_clear(struct bl_symmetry_found *found);
enum bl_cell_kind { BL_CELL_PRIMITIVE, BL_CELL_CONVENTIONAL, BL_CELL_NIGGLI };
/* The structure in another cell: the standard primitive or conventional one (idealised, turned), or the
 * Niggli cell of the primitive one (as it lies). Atoms by species; only species and positions are kept. */
BL_API enum bl_status bl_symmetry_cell(struct bl_ctx *ctx, const struct bl_structure *s, enum bl_cell_kind kind, double symprec,
                                       struct bl_structure *out, struct bl_error *err);

/* ---- equality ---------------------------------------------------------------------- */

enum { BL_MATCH_ATOMS_MAX = 4096 };
struct bl_match_options {
    double tolerance;        /* angstrom an atom may be off; default 0.1 */
    double strain_tolerance; /* of the lattices against each other; default 0.02 */
    bool mirror;             /* mirror images are equal, too */
};
BL_API void bl_match_options_init(struct bl_match_options *options);
enum bl_match_why {
    BL_MATCH_EQUAL = 0,
    BL_MATCH_COMPOSITION, /* not the same elements in the same proportions */
    BL_MATCH_CELL,        /* primitive cells of different content */
    BL_MATCH_VOLUME,
    BL_MATCH_LATTICE,
    BL_MATCH_MIRROR,      /* equal but for a reflection */
    BL_MATCH_POSITIONS
};
BL_API const char *bl_match_why_name(enum bl_match_why why);
struct bl_match {
    enum bl_match_why why;
    char text[96];             /* about a difference */
    size_t primitive_atoms[2]; /* in the primitive cells */
    double volume[2];          /* of these */
    /* Only for equal ones. Atoms against atoms, the mean difference of positions taken out; both with the deviations
     * of each structure from its own primitive cell. */
    double rmsd, max_distance;
    double strain;             /* largest component of the Green-Lagrange strain between the lattices */
};
/* Are two crystals the same up to the choice of the cell, the origin, the orientation and the order of the atoms? Each is
 * brought to its primitive cell within the tolerance, so a supercell is equal to its cell. Occupancies must agree to 0.001.
 * A difference is an answer. BL_INVALID (not periodic in all directions, no atoms, options), BL_LIMIT (atoms). */
BL_API enum bl_status bl_structure_match(struct bl_ctx *ctx, const struct bl_structure *a, const struct bl_structure *b,
                                         const struct bl_match_options *options, struct bl_match *out, struct bl_error *err);

/* ---- neighbours ----------------------------------------------------------- */

/* All pairs within a cut-off, each in both directions; i = j with another image is a
 * pair like any other. Row i is [first[i], first[i+1]), sorted by (j, shift).
 * vector = r_j + shift . cell - r_i for the positions as given (not wrapped). */
struct bl_neighbours {
    size_t atoms, pairs;
    uint64_t *first;  /* atoms + 1 */
    uint32_t *other;  /* j */
    int32_t (*shift)[3];
    double (*vector)[3];
};
/* Any cell, any mix of periodic directions, also a cell smaller than the cut-off.
 * BL_INVALID (structure, cut-off), BL_LIMIT (images, neighbours), BL_NO_MEMORY. */
BL_API enum bl_status bl_neighbours_find(struct bl_ctx *ctx, const struct bl_structure *s, double cutoff,
                                         const struct bl_crystal_limits *limits, struct bl_neighbours *out,
                                         struct bl_error *err);
BL_API void bl_neighbours_clear(struct bl_neighbours *list);

/* ---- potentials ----------------------------------------------------------- */

enum bl_potential_type {
    BL_POTENTIAL_LENNARD_JONES = 1,
    BL_POTENTIAL_STILLINGER_WEBER,
    BL_POTENTIAL_MORSE,
    BL_POTENTIAL_SUTTON_CHEN,
    BL_POTENTIAL_EAM,
    BL_POTENTIAL_TERSOFF
};

/* 4 epsilon [(sigma/r)^12 - (sigma/r)^6] below the cut-off. */
struct bl_lj_pair {
    char species[2][BL_SYMBOL_SIZE]; /* unordered; both empty: every pair not named otherwise */
    double epsilon, sigma, cutoff;
};
/* depth [exp(-2 alpha (r - r0)) - 2 exp(-alpha (r - r0))] below the cut-off. */
struct bl_morse_pair {
    char species[2][BL_SYMBOL_SIZE]; /* as above */
    double depth, alpha, r0, cutoff;
};
/* epsilon [1/2 sum_j (a/r_ij)^n - c sqrt(sum_j (a/r_ij)^m)] per atom i. Between species: a and epsilon
 * geometric, n and m arithmetic means, embedding by the atom's own epsilon c (Rafii-Tabar and Sutton,
 * Phil. Mag. Lett. 63, 217 (1991)). */
struct bl_sutton_chen {
    char species[BL_SYMBOL_SIZE];
    double epsilon, a, c, n, m;
};
/* Stillinger and Weber, Phys. Rev. B 31, 5262 (1985). */
struct bl_sw {
    double epsilon, sigma, a, lambda, gamma, cos_theta0, big_a, big_b, p, q;
};
BL_API extern const struct bl_sw bl_sw_silicon; /* the original paper, epsilon = 2.1683 eV */

/* Files of tables and parameters in the forms that LAMMPS reads (units metal). */
enum bl_table_format {
    BL_TABLE_SETFL = 1,       /* eam/alloy: one file, any number of elements */
    BL_TABLE_FUNCFL,          /* eam: one file for each element */
    BL_TABLE_FINNIS_SINCLAIR, /* eam/fs: a density for each pair of elements */
    BL_TABLE_SW,              /* lines of Stillinger-Weber parameters for triples of elements */
    BL_TABLE_TERSOFF          /* lines of Tersoff parameters for triples of elements */
};
struct bl_table_file {
    const char *data;
    size_t len;
};
/* What such files say, made ready once for any number of engines; never changes. */
struct bl_table;
/* BL_SYNTAX (line, column, what was expected; with several files the text names the file), BL_INVALID,
 * BL_LIMIT ("table_values", or the quota), BL_NO_MEMORY. Free with bl_table_free, after the engines made from it. */
BL_API enum bl_status bl_table_read(struct bl_ctx *ctx, enum bl_table_format format, const struct bl_table_file *files, size_t count,
                                    struct bl_table **out, struct bl_error *err);
BL_API void bl_table_free(struct bl_table *table);
/* Elements the table has parameters for, in the order of the file. */
BL_API size_t bl_table_elements(const struct bl_table *table);
BL_API const char *bl_table_element(const struct bl_table *table, size_t i);

enum { BL_LJ_PAIRS_MAX = 256 };
/* Arrays, names and tables are borrowed until the engine is made, tables until it is freed. Species of the
 * structure are looked up by symbol; one that is there without parameters is BL_INVALID. */
struct bl_potential {
    enum bl_potential_type type;
    /* Built-in parameters instead of the caller's: "girifalco_weizer" (Morse), "sutton_chen" (Sutton-Chen),
     * "silicon" (Stillinger-Weber, Tersoff), "silicon_carbide_germanium" (Tersoff). Each is for its elements only. */
    const char *set;
    bool shift;    /* LJ, Morse: subtract the energy at the cut-off */
    double cutoff; /* Morse and Sutton-Chen from a set, Sutton-Chen: 0: chosen */
    const struct bl_lj_pair *pairs;
    size_t pair_count;
    const struct bl_morse_pair *morse;
    size_t morse_count;
    const struct bl_sutton_chen *sutton_chen;
    size_t sutton_chen_count;
    struct bl_sw sw;              /* one species only; not with a table */
    const struct bl_table *table; /* EAM; Stillinger-Weber and Tersoff from a file */
};

/* What a minimiser needs to know about units: a length below which the potential is all
 * repulsion, and the curvature of a pair at its minimum. */
struct bl_scales {
    double length, curvature, neighbours, cutoff;
};

/* ---- the engine ----------------------------------------------------------- */

/* Energies and forces of one structure under one potential, call after call as atoms
 * move: keeps the sorted copy, the neighbour list with its skin, and all buffers.
 * The sums do not depend on the number of threads, nor on the vector unit: the same
 * positions after the same history give the same bits. One thread at a time. */
struct bl_engine;

struct bl_engine_options {
    double skin;            /* extra range of the list; < 0: chosen from the potential */
    unsigned rebuild_every; /* 0: when an atom has moved half the skin (correct); n: blindly every n calls (comparisons only) */
    const struct bl_crystal_limits *limits; /* NULL: defaults */
};
enum { BL_WANT_FORCES = 1, BL_WANT_ENERGY = 2, BL_WANT_VIRIAL = 4, BL_WANT_ATOM_ENERGIES = 8 };

struct bl_energies {
    double energy;     /* eV, of the whole cell */
    double virial[6];  /* eV, Voigt; sum of r (x) f: pressure = trace / 3V, stress = -virial / V */
    double *forces;        /* 3N, the caller's; only with BL_WANT_FORCES */
    double *atom_energies; /* N, the caller's; only with BL_WANT_ATOM_ENERGIES */
};

/* Copies what it needs: structure and potential may go. BL_INVALID, BL_LIMIT, BL_NO_MEMORY,
 * BL_UNSUPPORTED (a potential for other species). options may be NULL. */
BL_API enum bl_status bl_engine_new(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *potential,
                                    const struct bl_engine_options *options, struct bl_engine **out, struct bl_error *err);
BL_API void bl_engine_free(struct bl_engine *e);
/* Fills what `want` asks for; the rest of *out is left alone. positions: 3N, finite.
 * BL_INVALID when the result is not finite (atoms on top of each other): *out is then undefined. */
BL_API enum bl_status bl_engine_compute(struct bl_ctx *ctx, struct bl_engine *e, const double *positions, unsigned want,
                                        struct bl_energies *out, struct bl_error *err);
/* Another cell with the same periodic directions, for the calls after this one; atoms are where their
 * positions say. BL_INVALID: not finite, or flat; the cell is then what it was. */
BL_API enum bl_status bl_engine_set_cell(struct bl_engine *e, double cell[3][3], struct bl_error *err);
BL_API void bl_engine_scales(const struct bl_engine *e, struct bl_scales *out);

struct bl_engine_stats {
    uint64_t computes, rebuilds;
    size_t images;     /* atoms with their images */
    uint64_t neighbours; /* of the last list, with those in the skin */
    size_t bytes;      /* held */
    size_t list_bytes; /* of these: rows of neighbours */
};
BL_API void bl_engine_stats(const struct bl_engine *e, struct bl_engine_stats *out);
/* "avx2" or "portable": chosen once from the CPU. */
BL_API const char *bl_engine_code_path(void);
/* For tests: false takes the portable code path. Engines made afterwards. */
BL_API void bl_engine_allow_simd(bool allow);

/* ---- relaxation ------------------------------------------------------------ */

enum bl_relax_level { BL_LEVEL_NONE = 0, BL_LEVEL_FAST, BL_LEVEL_DEFAULT, BL_LEVEL_TIGHT, BL_LEVEL_SEARCH };
enum bl_relax_reason {
    BL_RELAX_CONVERGED = 0, /* max_force <= fmax */
    BL_RELAX_MAX_STEPS,
    BL_RELAX_STAGNATED, /* no progress any more: the numbers' end, or forces that do not fit the energy */
    BL_RELAX_DIVERGED,  /* not finite, far above the start, or no bottom: the state it began with is given back */
    BL_RELAX_NOT_RUN    /* level none */
};
BL_API const char *bl_relax_reason_name(enum bl_relax_reason reason);

enum bl_relax_method { BL_METHOD_AUTO = 0, BL_METHOD_FIRE, BL_METHOD_LBFGS, BL_METHOD_CG };
BL_API const char *bl_relax_method_name(enum bl_relax_method method);
enum bl_cell_mode {
    BL_CELL_BY_LEVEL = 0, /* free at default and tight where all directions are periodic, else fixed */
    BL_CELL_FIXED,
    BL_CELL_FREE,
    BL_CELL_ISOTROPIC /* the shape stays */
};

/* Stresses in GPa, Voigt, positive under tension; a pressure P is the stress -P, -P, -P, 0, 0, 0. */
struct bl_relax_options {
    enum bl_relax_level level; /* SEARCH: BL_UNSUPPORTED for now */
    enum bl_relax_method method; /* AUTO: FIRE at fast; FIRE, then L-BFGS at default; L-BFGS at tight, FIRE where it fails */
    double fmax;               /* eV/angstrom, largest force on an atom; 0: the level's */
    uint64_t max_steps;        /* force calls; 0: the level's */
    double max_move;           /* angstrom per step; 0: from the potential */
    enum bl_cell_mode cell;
    bool held[6];              /* strains of a free cell that stay 0 */
    double stress_gpa[6];      /* target */
    double smax_gpa;           /* largest component beside the target; 0: the level's */
    bool quiet;                /* no progress: for structures that are relaxed inside a bl_parallel_for */
};
/* level default. */
BL_API void bl_relax_options_init(struct bl_relax_options *options);

struct bl_relax_result {
    enum bl_relax_reason reason;
    uint64_t steps; /* force calls */
    double energy_before, energy, max_force_before, max_force;
    double virial[6];
    bool cell_relaxed;            /* the cell was free to change */
    double max_stress_gpa;        /* beside the target, of components that were free; 0 at fixed cell */
    bool loaded;                  /* there was a target; else the next two are the energies */
    /* E + P V, P the mean pressure of the target, less the work of the rest of the target along the way. */
    double enthalpy_before, enthalpy;
};
/* Atoms, and the cell where it is free, to a minimum of the energy (or enthalpy). Moves the free axes of
 * s->positions; a fixed axis keeps its place, in a cell that changes relative to the cell. Fills s->forces;
 * drops the info keys energy, free_energy, stress and virial, which were about the old positions.
 * On error (cancel, timeout, limit, ...) the structure is unchanged. A run that diverged
 * gives the state it began with, one that stagnated the best it saw. Progress: step, energy, max_force, and max_stress
 * (GPa) and volume with the cell. */
BL_API enum bl_status bl_relax(struct bl_ctx *ctx, struct bl_structure *s, const struct bl_potential *potential,
                               const struct bl_relax_options *options, struct bl_relax_result *out, struct bl_error *err);

/* ---- trajectories ----------------------------------------------------------------- */

struct bl_trajectory_options {
    uint64_t steps;            /* default 1,000 */
    double dt_fs;              /* default 1 */
    double temperature_kelvin; /* velocities are drawn for it; < 0 (default): those of the structure, at rest without */
    uint64_t seed;             /* of the drawing; default 1 */
    uint64_t energy_every;     /* steps between looks at the energy, for `drift`; default 100; 0: at the ends only */
    const struct bl_engine_options *engine; /* NULL: defaults */
};
BL_API void bl_trajectory_options_init(struct bl_trajectory_options *options);

struct bl_trajectory_result {
    uint64_t steps;
    double potential_energy_before, kinetic_energy_before, potential_energy, kinetic_energy; /* eV */
    double drift;              /* eV; largest |difference| of the sum of both from the first, where it was looked at */
    double temperature_kelvin; /* at the end; of free axes, less three where nothing is fixed */
    double virial[6];          /* as in bl_energies, without the part of the velocities; of the end */
};
/* Newton's equations at constant energy by velocity Verlet, in a cell that stays. Masses are the structure's or the
 * elements'; fixed axes do not move. Positions (not wrapped), velocities and forces of the end are left in s. On error
 * the structure is unchanged: BL_INVALID (a mass that is not known; dt so long that an atom moves farther than the
 * cut-off in one step), and the errors of bl_engine_compute. Progress: step, energy, kinetic_energy, temperature. */
BL_API enum bl_status bl_trajectory(struct bl_ctx *ctx, struct bl_structure *s, const struct bl_potential *potential,
                                    const struct bl_trajectory_options *options, struct bl_trajectory_result *out,
                                    struct bl_error *err);

/* ---- elastic constants --------------------------------------------------------- */

struct bl_elastic_options {
    double strain;      /* of the finite differences; default 1e-4 */
    bool clamped_only;  /* atoms follow the strain; `relaxed` is then the same */
    uint64_t max_steps; /* force calls for the atoms under one strain; 0: 5,000 */
};
BL_API void bl_elastic_options_init(struct bl_elastic_options *options);

/* GPa; Voigt order with engineering shears. */
struct bl_elastic {
    bool known;                         /* false: `why` says why not, and the rest is 0 */
    char why[96];
    double relaxed[6][6], clamped[6][6]; /* symmetric */
    double asymmetry;                   /* of `relaxed` before it was made symmetric, relative to its largest element */
    double eigenvalues[6];              /* of `relaxed` in Mandel's form, ascending: the same in any orientation */
    bool stable;                        /* Born: the smallest eigenvalue is positive */
    double bulk_voigt, shear_voigt;
    bool has_moduli;                    /* the rest; only for a stable crystal */
    double bulk_reuss, shear_reuss, bulk_hill, shear_hill, young, poisson, anisotropy; /* universal anisotropy index */
    double stress_gpa[6], strain;       /* of the state they belong to; of the differences */
    uint64_t steps;                     /* force calls */
};
/* Derivatives of the Cauchy stress by strain, for the minimum of the atoms next to where they are, in the cell
 * as it is. Atoms that run away under the strain, or do not come to rest, are an answer (known = false).
 * BL_INVALID (not periodic in all directions), and the errors of bl_relax. Progress: step, strains (of 24). */
BL_API enum bl_status bl_elastic_constants(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *potential,
                                           const struct bl_elastic_options *options, struct bl_elastic *out, struct bl_error *err);
/* Eigenvalues and moduli from `relaxed`. */
BL_API void bl_elastic_derive(struct bl_elastic *e);

/* ---- gates ------------------------------------------------------------------ */

enum bl_gate_name {
    BL_GATE_GEOMETRY = 0,
    BL_GATE_EQUILIBRIUM,
    BL_GATE_ENERGY,
    BL_GATE_ELASTIC,
    BL_GATE_DYNAMIC,
    BL_GATE_THERMODYNAMIC,
    BL_GATE_COUNT
};
BL_API const char *bl_gate_name(enum bl_gate_name name);
enum bl_gate_pass { BL_GATE_FAILED = 0, BL_GATE_PASSED = 1, BL_GATE_NOT_RUN = 2 };
struct bl_gate {
    enum bl_gate_name name;
    const char *quantity; /* what `value` is; static */
    double value, threshold;
    const char *unit; /* static */
    enum bl_gate_pass pass;
    char why[96]; /* of a failure, or why it was not run */
};
enum bl_verdict { BL_VERDICT_UNKNOWN = 0, BL_VERDICT_STABLE, BL_VERDICT_METASTABLE, BL_VERDICT_UNSTABLE };
BL_API const char *bl_verdict_name(enum bl_verdict verdict);

struct bl_verify_options {
    double min_distance;        /* angstrom; 0: half the sum of the covalent radii */
    double fmax;                /* 0: 0.01 eV/angstrom */
    bool has_energy_before;     /* the energy gate runs when either is given */
    double energy_before;       /* eV of the cell: the state this one came from */
    double energy_tolerance;    /* eV allowed above energy_before */
    bool has_reference;
    double reference_energy;    /* eV/atom: the best known state under the same potential */
    double stability_threshold; /* eV/atom allowed above it: metastable */
    bool has_smax;              /* the equilibrium gate looks at the stress, too */
    double smax_gpa, stress_gpa[6]; /* largest component beside the target; energies are then E + P V */
    bool elastic;               /* run the elastic gate */
    struct bl_elastic_options elastic_options;
};
BL_API void bl_verify_options_init(struct bl_verify_options *options);

struct bl_verified {
    enum bl_verdict verdict; /* stable and metastable need every gate; one failure is unstable */
    bool passed;             /* geometry, equilibrium and energy all ran and passed, and no gate failed */
    double energy, max_force;
    double max_stress_gpa;   /* beside the target; 0 where a direction is not periodic */
    struct bl_elastic elastic; /* known only when the gate ran */
    struct bl_gate gates[BL_GATE_COUNT]; /* all, by name; those not built yet say so */
};
/* A failed gate is an answer, not an error. */
BL_API enum bl_status bl_verify(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *potential,
                                const struct bl_verify_options *options, struct bl_verified *out, struct bl_error *err);

#ifdef __cplusplus
}
#endif
#endif
