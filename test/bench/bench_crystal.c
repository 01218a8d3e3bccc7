/* SPDX-License-Identifier: Apache-2.0
 *
 * Constant-energy trajectories (bl_trajectory), the decks of doc/crystal.md:
 *
 *     bench_crystal lj [steps]     32,000 atoms, fcc, rho* 0.8442, cut-off 2.5, skin 0.3, list made
 *                                  anew every 20 steps, dt 0.005, T* 1.44
 *     bench_crystal sw [steps]     32,768 atoms of silicon, skin 1 angstrom, dt 1 fs, 1000 K
 *     bench_crystal tersoff [steps] the same with Tersoff's potential of 1988
 *     bench_crystal eam|eam_mishin FILE [steps]    32,000 atoms of copper, the table of FILE, skin 1 angstrom, dt 5 fs, 1600 K
 *     bench_crystal scaling CELLS [steps]   nanoseconds of the LJ melt of CELLS^3 cubes on one thread, and on two
 *     bench_crystal linear CELLS   picoseconds per atom of a new list and the forces: LJ melt, warm buffers
 *     bench_crystal neighbours CELLS CUTOFF   pairs/s, each in both directions, with vectors and shifts: rattled copper,
 *                                  CELLS x CELLS x CELLS cubes; the best of several times
 *     bench_crystal list CELLS CUTOFF     the same of the engine's own list alone
 *     bench_crystal bytes CELLS    bytes per atom that an engine holds, without and with its list: LJ melt of that many cubes
 *     bench_crystal make-poscar|make-extxyz FILE    writes 110,592 atoms of rock salt
 *     bench_crystal read FILE
 *     bench_crystal make-cif FILE       writes 200 blocks of molecular crystals, 40 atoms and operations each
 *     bench_crystal cif-parse|cif-expand FILE SECONDS     bytes/s
 *     bench_crystal lattice             bytes/s of positions and types while 1,000,188 fcc atoms are made
 *     bench_crystal memcpy              bytes/s of copying as many, the same way
 *
 * Prints the rate, an integer: atom-steps/s, or atoms/s. With a last word "verbose" also what
 * it was made of, with the drift of the energy, which says that the trajectory was a real one. The set-up (first list,
 * first forces) is not timed, as it is not in a LAMMPS loop time: it is a trajectory of no steps, taken off.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "beamline/crystal.h"
#include "beamline/runtime.h"
#include "core/bl_warm.h"
#include "crystal/bl_cif.h"
#include "crystal/bl_search.h"

static bool verbose;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(enum bl_status status, const struct bl_error *err)
{
    char text[300];
    if (status == BL_OK) return;
    bl_error_format(err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    exit(1);
}

static uint64_t state = 87287;
static double uniform(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(state >> 11) * 0x1p-53;
}

/* n x n x n cells of a basis. */
static void lattice(struct bl_structure *s, double a, size_t n, const double (*basis)[3], const uint32_t *types, size_t sites)
{
    struct bl_error err;
    must(bl_structure_allocate(s, n * n * n * sites, NULL, &err), &err);
    size_t i = 0;
    for (size_t x = 0; x < n; x++)
        for (size_t y = 0; y < n; y++)
            for (size_t z = 0; z < n; z++)
                for (size_t b = 0; b < sites; b++, i++) {
                    const double at[3] = {(double)x, (double)y, (double)z};
                    for (int c = 0; c < 3; c++) s->positions[3 * i + (size_t)c] = a * (at[c] + basis[b][c]);
                    s->types[i] = types ? types[b] : 0;
                }
    for (int k = 0; k < 3; k++) {
        s->cell[k][k] = a * (double)n;
        s->pbc[k] = true;
    }
}

struct deck {
    const char *name;
    struct bl_structure s;
    struct bl_potential potential;
    struct bl_engine_options options;
    struct bl_trajectory_options run;
};
/* Of one atom in reduced units: epsilon = sigma = m = k = 1 where an eV on an amu accelerates by this. */
static const double reduced_mass = 0.00964853321233100184, reduced_kelvin = 1 / 8.617333262e-5;

static const double fcc[4][3] = {{0, 0, 0}, {0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0}};
static const double diamond[8][3] = {{0, 0, 0},          {0, 0.5, 0.5},          {0.5, 0, 0.5},          {0.5, 0.5, 0},
                                     {0.25, 0.25, 0.25}, {0.25, 0.75, 0.75}, {0.75, 0.25, 0.75}, {0.75, 0.75, 0.25}};
static const struct bl_lj_pair reduced = {.epsilon = 1, .sigma = 1, .cutoff = 2.5};

static void set_course(struct deck *d, double dt, double temperature)
{
    bl_trajectory_options_init(&d->run);
    d->run.dt_fs = dt;
    d->run.temperature_kelvin = temperature;
    d->run.engine = &d->options;
}

static void lj_deck(struct deck *d, size_t cells)
{
    struct bl_error err;
    uint32_t index;
    lattice(&d->s, cbrt(4 / 0.8442), cells, fcc, NULL, 4);
    must(bl_structure_species(&d->s, "Ar", 2, &index, &err), &err);
    must(bl_structure_add(&d->s, &d->s.masses, 1, sizeof(double), &err), &err);
    for (size_t i = 0; i < d->s.atoms; i++) d->s.masses[i] = reduced_mass;
    d->potential = (struct bl_potential){.type = BL_POTENTIAL_LENNARD_JONES, .pairs = &reduced, .pair_count = 1};
    d->options = (struct bl_engine_options){.skin = 0.3, .rebuild_every = 20};
    set_course(d, 0.005, 1.44 * reduced_kelvin);
}

static void silicon_deck(struct deck *d, bool tersoff)
{
    struct bl_error err;
    uint32_t index;
    lattice(&d->s, 5.431, 16, diamond, NULL, 8);
    must(bl_structure_species(&d->s, "Si", 2, &index, &err), &err);
    d->potential = (struct bl_potential){.type = BL_POTENTIAL_STILLINGER_WEBER, .sw = bl_sw_silicon};
    if (tersoff) d->potential = (struct bl_potential){.type = BL_POTENTIAL_TERSOFF, .set = "silicon"};
    d->options = (struct bl_engine_options){.skin = 1.0};
    set_course(d, 1, 1000);
}

static char *whole_file(const char *path, size_t *size);

static void eam_deck(struct deck *d, const char *path, bool funcfl)
{
    struct bl_error err;
    struct bl_table *table;
    uint32_t index;
    size_t size;
    char *text = whole_file(path, &size);
    must(bl_table_read(NULL, funcfl ? BL_TABLE_FUNCFL : BL_TABLE_SETFL, &(struct bl_table_file){text, size}, 1, &table, &err), &err);
    free(text);
    lattice(&d->s, 3.615, 20, fcc, NULL, 4);
    must(bl_structure_species(&d->s, "Cu", 2, &index, &err), &err);
    d->potential = (struct bl_potential){.type = BL_POTENTIAL_EAM, .table = table};
    d->options = (struct bl_engine_options){.skin = 1.0};
    set_course(d, 5, 1600);
}

/* Seconds of so many steps from the beginning; the deck stays as it is. */
static double course(struct bl_ctx *ctx, const struct deck *d, uint64_t steps, struct bl_trajectory_result *out)
{
    struct bl_error err;
    struct bl_structure s;
    struct bl_trajectory_options run = d->run;
    run.steps = steps;
    must(bl_structure_copy(&s, &d->s, NULL, &err), &err);
    const double start = now();
    must(bl_trajectory(ctx, &s, &d->potential, &run, out, &err), &err);
    const double seconds = now() - start;
    bl_structure_clear(&s);
    return seconds;
}

static void run_deck(const struct deck *d, int steps)
{
    struct bl_trajectory_result r;
    course(NULL, d, 0, &r); /* touches the memory */
    const double nothing = course(NULL, d, 0, &r), seconds = course(NULL, d, (uint64_t)steps, &r) - nothing;
    printf("%.0f\n", (double)d->s.atoms * steps / seconds);
    if (verbose)
        fprintf(stderr, "%s: %zu atoms, %d steps, energy drift %.3g of %.3g eV of heat, %s\n", d->name, d->s.atoms, steps, r.drift,
                r.kinetic_energy_before, bl_engine_code_path());
}

/* ---- two threads, many atoms ---- */

struct lap {
    const struct deck *d;
    uint64_t steps;
    double seconds;
};

static enum bl_status run_lap(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    struct lap *lap = arg;
    struct bl_trajectory_result r;
    (void)err;
    lap->seconds = course(ctx, lap->d, lap->steps, &r) - course(ctx, lap->d, 0, &r);
    return BL_OK;
}

static void scaling(const struct deck *d, int steps)
{
    enum { REPEATS = 4 };
    double best[2] = {INFINITY, INFINITY};
    struct bl_pool *pools[2];
    struct bl_error err;
    for (unsigned i = 0; i < 2; i++) {
        struct bl_pool_config config;
        bl_pool_config_init(&config);
        config.threads = i + 1;
        must(bl_pool_new(&config, &pools[i], &err), &err);
    }
    for (int repeat = 0; repeat < REPEATS; repeat++)
        for (unsigned i = 0; i < 2; i++) {
            struct lap lap = {d, (uint64_t)steps, 0};
            struct bl_task_options options;
            struct bl_task *task;
            bl_task_options_init(&options);
            must(bl_task_submit(pools[i], &(struct bl_task_spec){.run = run_lap, .arg = &lap}, &options, &task, &err), &err);
            must(bl_task_wait(task, 60000, &err), &err);
            bl_task_release(task);
            best[i] = fmin(best[i], lap.seconds);
        }
    printf("%.0f %.0f\n", 1e9 * best[0], 1e9 * best[1]);
    for (unsigned i = 0; i < 2; i++) bl_pool_close(pools[i]);
}

static void melt_engine(struct deck *d, size_t cells, struct bl_engine **e, struct bl_energies *out)
{
    struct bl_error err;
    lj_deck(d, cells);
    must(bl_engine_new(NULL, &d->s, &d->potential, &(struct bl_engine_options){.skin = 0.3}, e, &err), &err);
    *out = (struct bl_energies){.forces = malloc(3 * d->s.atoms * sizeof(double))};
}

/* Moves every atom far enough that a list is due, and computes. */
static void shake(struct deck *d, struct bl_engine *e, double by, struct bl_energies *out)
{
    struct bl_error err;
    for (size_t i = 0; i < 3 * d->s.atoms; i++) d->s.positions[i] += by * (uniform() - 0.5);
    must(bl_engine_compute(NULL, e, d->s.positions, BL_WANT_FORCES, out, &err), &err);
}

static void linear(struct deck *d, size_t cells)
{
    struct bl_engine *e;
    struct bl_energies out;
    struct bl_engine_stats stats;
    struct bl_error err;
    melt_engine(d, cells, &e, &out);
    shake(d, e, 0.1, &out);
    d->s.positions[0] += 0.4;
    const double start = now();
    must(bl_engine_compute(NULL, e, d->s.positions, BL_WANT_FORCES, &out, &err), &err);
    const double seconds = now() - start;
    bl_engine_stats(e, &stats);
    if (stats.rebuilds != 2) exit(1);
    printf("%.0f\n", 1e12 * seconds / (double)d->s.atoms);
    bl_engine_free(e);
    free(out.forces);
}

/* A rattled crystal of rock salt as a file; a POSCAR lists one species after the other. */
static void make_file(const char *path, enum bl_format format)
{
    static const double salt[8][3] = {{0, 0, 0}, {0, 0.5, 0.5}, {0.5, 0, 0.5}, {0.5, 0.5, 0}, {0.5, 0.5, 0.5}, {0.5, 0, 0}, {0, 0.5,
            0}, {0, 0, 0.5}};
    struct bl_structure s;
    struct bl_error err;
    struct bl_buffer file;
    uint32_t index;
    bl_structure_init(&s, NULL);
    lattice(&s, 5.6402, 24, salt, NULL, 8);
    must(bl_structure_species(&s, "Na", 2, &index, &err), &err);
    must(bl_structure_species(&s, "Cl", 2, &index, &err), &err);
    for (size_t i = 0; i < 3 * s.atoms; i++) s.positions[i] += 0.1 * (uniform() - 0.5);
    for (size_t i = 0; i < s.atoms; i++) s.types[i] = i >= s.atoms / 2;
    bl_buffer_init(&file, NULL);
    const double start = now();
    must(bl_crystal_write(NULL, &s, format, NULL, &file, &err), &err);
    printf("%.0f\n", (double)s.atoms / (now() - start));
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(file.data, 1, file.len, out) != file.len || fclose(out) != 0) exit(1);
    bl_buffer_clear(&file);
    bl_structure_clear(&s);
}

/* The whole of it: from the name of the file to the structure. */
static void read_file(const char *path)
{
    struct bl_error err;
    struct bl_parsed parsed;
    const double start = now();
    FILE *in = fopen(path, "rb");
    if (!in || fseek(in, 0, SEEK_END) != 0) exit(1);
    const long size = ftell(in);
    char *data = malloc((size_t)size);
    rewind(in);
    if (!data || fread(data, 1, (size_t)size, in) != (size_t)size) exit(1);
    fclose(in);
    must(bl_crystal_parse(NULL, data, (size_t)size, NULL, &parsed, &err), &err);
    printf("%.0f\n", (double)parsed.frames[0].atoms / (now() - start));
    bl_parsed_clear(&parsed);
    free(data);
}

/* ---- CIF, lattices ---- */

/* What databases hold: cell with uncertainties, bibliography, operations, a list of atoms. */
static void make_cif(const char *path)
{
    static const char *const operations[] = {"x,y,z", "-x,1/2+y,1/2-z", "-x,-y,-z", "x,1/2-y,1/2+z"};
    static const char *const elements[] = {"C", "H", "N", "O", "S"};
    FILE *out = fopen(path, "wb");
    if (!out) exit(1);
    for (int block = 0; block < 200; block++) {
        fprintf(out, "data_%d\nloop_\n_publ_author_name\n'Doe, J.'\n'Roe, R.'\n_publ_section_title\n;\n A structure like many others\n;\n"
                     "_journal_year 2001\n_cell_length_a %.3f(2)\n_cell_length_b 11.234(3)\n_cell_length_c 14.567(4)\n"
                     "_cell_angle_alpha 90.00\n_cell_angle_beta 98.76(2)\n_cell_angle_gamma 90.00\n"
                     "_symmetry_space_group_name_H-M 'P 1 21/c 1'\nloop_\n_symmetry_equiv_pos_as_xyz\n", block, 9 + uniform());
        for (int i = 0; i < 4; i++) fprintf(out, "'%s'\n", operations[i]);
        fprintf(out, "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
                     "_atom_site_U_iso_or_equiv\n_atom_site_occupancy\n_atom_site_disorder_group\n");
        for (int i = 0; i < 40; i++)
            fprintf(out, "%s%d %s %.5f(%d) %.5f(%d) %.5f(%d) 0.0%d(2) 1 .\n", elements[i % 5], i + 1, elements[i % 5], uniform(), i % 9 + 1,
                    uniform(), i % 8 + 1, uniform(), i % 7 + 1, 20 + i);
    }
    if (fclose(out) != 0) exit(1);
}

static char *whole_file(const char *path, size_t *size)
{
    FILE *in = fopen(path, "rb");
    if (!in || fseek(in, 0, SEEK_END) != 0) exit(1);
    *size = (size_t)ftell(in);
    char *data = malloc(*size + 1);
    rewind(in);
    if (!data || fread(data, 1, *size, in) != *size) exit(1);
    fclose(in);
    return data;
}

static void cif_rate(const char *path, bool expand, double seconds)
{
    size_t size;
    char *data = whole_file(path, &size);
    struct bl_error err;
    static struct bl_warnings warnings;
    unsigned rounds = 0;
    const double start = now();
    for (; now() - start < seconds || rounds == 0; rounds++) {
        if (expand) {
            static struct bl_parsed parsed;
            must(bl_crystal_parse(NULL, data, size, NULL, &parsed, &err), &err);
            bl_parsed_clear(&parsed);
        } else {
            struct cif_document doc;
            must(bl_cif_parse(NULL, data, size, &warnings, &doc, &err), &err);
            bl_cif_document_clear(&doc);
        }
    }
    printf("%.0f\n", (double)size * rounds / (now() - start));
    free(data);
}

/* Buffers are used again, as the pool's are: the first round touches fresh memory and is not timed. */
static void lattice_rate(bool copy)
{
    enum { N = 63, ROUNDS = 8 };
    struct bl_structure s, big;
    struct bl_error err;
    uint32_t index;
    int32_t m[3][3] = {{N, 0, 0}, {0, N, 0}, {0, 0, N}};
    const size_t atoms = 4ul * N * N * N, bytes = atoms * (3 * sizeof(double) + sizeof(uint32_t));
    double best = 0;
    bl_structure_init(&s, NULL);
    lattice(&s, 3.6, 1, fcc, NULL, 4);
    must(bl_structure_species(&s, "Cu", 2, &index, &err), &err);
    char *from = malloc(bytes);
    memset(from, 1, bytes);
    for (int round = 0; round < ROUNDS; round++) {
        const double start = now();
        if (copy) {
            char *to = malloc(bytes);
            memcpy(to, from, bytes);
            if (to[bytes / 2] != 1) exit(1);
            best = fmax(best, (double)bytes / (now() - start));
            free(to);
        } else {
            must(bl_structure_supercell(NULL, &s, m, NULL, &big, &err), &err);
            best = fmax(best, (double)bytes / (now() - start));
            bl_structure_clear(&big);
        }
    }
    printf("%.0f\n", best);
    free(from);
    bl_structure_clear(&s);
}

static void neighbours_rate(size_t cells, double cutoff, bool alone)
{
    struct bl_structure s;
    struct bl_error err;
    uint32_t index;
    double best = 0;
    bl_structure_init(&s, NULL);
    lattice(&s, 3.615, cells, fcc, NULL, 4);
    must(bl_structure_species(&s, "Cu", 2, &index, &err), &err);
    for (size_t i = 0; i < 3 * s.atoms; i++) s.positions[i] += 0.2 * (uniform() - 0.5);
    struct bl_lattice l;
    struct bl_search search;
    must(bl_lattice_init(&l, &s, &err), &err);
    bl_search_init(&search, NULL, &bl_crystal_limits_default);
    bl_warm_join(); /* as a pool does; vesin's process keeps its buffers, too */
    for (int round = 0; round < 3; round++) {
        struct bl_neighbours list;
        const double start = now();
        if (alone) must(bl_search_build(NULL, &search, &l, s.positions, NULL, s.atoms, cutoff, &err), &err);
        else must(bl_neighbours_find(NULL, &s, cutoff, NULL, &list, &err), &err);
        const double seconds = now() - start;
        best = fmax(best, (double)(alone ? search.neighbours : list.pairs) / seconds);
        if (!alone) bl_neighbours_clear(&list);
    }
    printf("%.0f\n", best);
    bl_search_clear(&search);
    bl_structure_clear(&s);
}

/* After some steps of the melt, so that lists have grown as they do. */
static void bytes_per_atom(struct deck *d, size_t cells)
{
    struct bl_engine *e;
    struct bl_energies out;
    struct bl_engine_stats stats;
    melt_engine(d, cells, &e, &out);
    for (int step = 0; step < 5; step++) shake(d, e, 0.1, &out);
    bl_engine_stats(e, &stats);
    printf("%.0f %.0f\n", ceil((double)(stats.bytes - stats.list_bytes) / (double)d->s.atoms),
           ceil((double)stats.bytes / (double)d->s.atoms));
    bl_engine_free(e);
    free(out.forces);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    verbose = argc > 2 && strcmp(argv[argc - 1], "verbose") == 0;
    const bool eam = strncmp(what, "eam", 3) == 0 && argc > 2;
    const int at = eam ? 3 : 2, steps = argc > at && atoi(argv[at]) > 0 ? atoi(argv[at]) : 100;
    struct deck d = {.name = what};
    bl_structure_init(&d.s, NULL);
    if (getenv("PORTABLE")) bl_engine_allow_simd(false);
    if (strcmp(what, "lj") == 0 || strcmp(what, "sw") == 0 || strcmp(what, "tersoff") == 0) {
        if (what[0] == 'l') lj_deck(&d, 20);
        else silicon_deck(&d, what[0] == 't');
        run_deck(&d, steps);
    } else if (strcmp(what, "scaling") == 0 && argc > 2) {
        lj_deck(&d, (size_t)atoi(argv[2]));
        scaling(&d, argc > 3 ? atoi(argv[3]) : 40);
    } else if (strcmp(what, "linear") == 0 && argc > 2) {
        linear(&d, (size_t)atoi(argv[2]));
    } else if ((strcmp(what, "neighbours") == 0 || strcmp(what, "list") == 0) && argc > 3) {
        neighbours_rate((size_t)atoi(argv[2]), atof(argv[3]), what[0] == 'l');
    } else if (strcmp(what, "bytes") == 0 && argc > 2) {
        bytes_per_atom(&d, (size_t)atoi(argv[2]));
    } else if (eam) {
        eam_deck(&d, argv[2], strcmp(what, "eam") == 0);
        run_deck(&d, steps);
    } else if (strcmp(what, "read") == 0 && argc > 2) {
        read_file(argv[2]);
    } else if (strcmp(what, "make-cif") == 0 && argc > 2) {
        make_cif(argv[2]);
        printf("0\n");
    } else if (strncmp(what, "cif-", 4) == 0 && argc > 3) {
        cif_rate(argv[2], strcmp(what, "cif-expand") == 0, atof(argv[3]));
    } else if (strcmp(what, "lattice") == 0 || strcmp(what, "memcpy") == 0) {
        lattice_rate(what[0] == 'm');
    } else if (strcmp(what, "make-poscar") == 0 && argc > 2) {
        make_file(argv[2], BL_FORMAT_POSCAR);
    } else if (strcmp(what, "make-extxyz") == 0 && argc > 2) {
        make_file(argv[2], BL_FORMAT_EXTXYZ);
    } else {
        fprintf(stderr, "usage: bench_crystal lj|sw [steps] | ...: see the head of bench_crystal.c\n");
        return 2;
    }
    bl_structure_clear(&d.s);
    return 0;
}
