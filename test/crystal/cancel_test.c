/* SPDX-License-Identifier: Apache-2.0
 *
 * Every stage of every kind of work ends soon after it was cancelled, gives its memory back, and leaves what it worked on as
 * it was. Time is processor time of the thread that works: a busy machine does not make the work slower.
 */
#include <pthread.h>
#include <time.h>

#include "crystal_fixture.h"
#include "crystal/bl_minimise.h"

/* A millisecond of work between two looks is ten and more under the sanitizers, and memory takes time to be given back. */
enum { SOON_MS = 100 };

static struct bl_error err;

static double cpu_ms(pthread_t thread)
{
    clockid_t clock;
    struct timespec t;
    if (pthread_getcpuclockid(thread, &clock) != 0) return 0;
    clock_gettime(clock, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

/* ---- work -------------------------------------------------------------------------------------- */

struct stage {
    const char *name;
    enum bl_status (*run)(struct bl_ctx *ctx, struct bl_quota *quota);
};

static struct bl_structure large;      /* 157,216 atoms of a melt */
static char *files[BL_FORMAT_COUNT];       /* `large` in every format */
static size_t sizes[BL_FORMAT_COUNT];

static enum bl_status parse(struct bl_ctx *ctx, enum bl_format format)
{
    struct bl_parsed parsed;
    const enum bl_status status = bl_crystal_parse(ctx, files[format], sizes[format], &(struct bl_parse_options){.format = format}, &parsed,
            &err);
    if (status == BL_OK) bl_parsed_clear(&parsed);
    return status;
}
static enum bl_status parse_poscar(struct bl_ctx *ctx, struct bl_quota *quota) { return (void)quota, parse(ctx, BL_FORMAT_POSCAR); }
static enum bl_status parse_extxyz(struct bl_ctx *ctx, struct bl_quota *quota) { return (void)quota, parse(ctx, BL_FORMAT_EXTXYZ); }
static enum bl_status parse_cif(struct bl_ctx *ctx, struct bl_quota *quota) { return (void)quota, parse(ctx, BL_FORMAT_CIF); }
static enum bl_status parse_lammps(struct bl_ctx *ctx, struct bl_quota *quota) { return (void)quota, parse(ctx, BL_FORMAT_LAMMPS); }

static enum bl_status write_as(struct bl_ctx *ctx, struct bl_quota *quota, enum bl_format format)
{
    struct bl_buffer out;
    bl_buffer_init(&out, quota);
    const enum bl_status status = bl_crystal_write(ctx, &large, format, &(struct bl_write_options){.symmetry = true}, &out, &err);
    CHECK(status == BL_OK || out.len == 0);
    bl_buffer_clear(&out);
    return status;
}
static enum bl_status write_poscar(struct bl_ctx *ctx, struct bl_quota *quota) { return write_as(ctx, quota, BL_FORMAT_POSCAR); }
static enum bl_status write_extxyz(struct bl_ctx *ctx, struct bl_quota *quota) { return write_as(ctx, quota, BL_FORMAT_EXTXYZ); }
static enum bl_status write_cif(struct bl_ctx *ctx, struct bl_quota *quota) { return write_as(ctx, quota, BL_FORMAT_CIF); }
static enum bl_status write_lammps(struct bl_ctx *ctx, struct bl_quota *quota) { return write_as(ctx, quota, BL_FORMAT_LAMMPS); }

static enum bl_status make_supercell(struct bl_ctx *ctx, struct bl_quota *quota)
{
    struct bl_structure one, out;
    int32_t m[3][3] = {{100, 0, 0}, {0, 100, 0}, {0, 0, 100}};
    cubic(&one, quota, "Ar", 1.6, 1, sc_basis, 1);
    const enum bl_status status = bl_structure_supercell(ctx, &one, m, NULL, &out, &err);
    if (status == BL_OK) bl_structure_clear(&out);
    bl_structure_clear(&one);
    return status;
}

static enum bl_status expand(struct bl_ctx *ctx, struct bl_quota *quota)
{
    struct bl_structure out, few;
    struct bl_symmetry group;
    uint64_t seed = 3;
    REQUIRE(OK(bl_symmetry_from_name("227", 3, quota, &group, &err)));
    cubic(&few, quota, "Si", 300, 12, sc_basis, 1); /* 1,728 rows, 192 operations */
    rattle(&few, 140, &seed);
    const enum bl_status status = bl_structure_expand(ctx, &few, &group, 0, &out, &err);
    if (status == BL_OK) bl_structure_clear(&out);
    bl_structure_clear(&few);
    bl_symmetry_clear(&group);
    return status;
}

static enum bl_status find_neighbours(struct bl_ctx *ctx, double cutoff)
{
    struct bl_neighbours list;
    const enum bl_status status = bl_neighbours_find(ctx, &large, cutoff, NULL, &list, &err);
    if (status == BL_OK) bl_neighbours_clear(&list);
    return status;
}
static enum bl_status neighbours(struct bl_ctx *ctx, struct bl_quota *quota) { return (void)quota, find_neighbours(ctx, 1.5); }

/* Each atom sees thousands, through images of a cell that is smaller than the cut-off. */
static enum bl_status huge_cutoff(struct bl_ctx *ctx, struct bl_quota *quota)
{
    struct bl_structure one;
    struct bl_neighbours list;
    cubic(&one, quota, "Ar", 1.6, 2, fcc_basis, 4);
    const enum bl_status status = bl_neighbours_find(ctx, &one, 16, NULL, &list, &err);
    if (status == BL_OK) bl_neighbours_clear(&list);
    bl_structure_clear(&one);
    return status;
}

static enum bl_status compute(struct bl_ctx *ctx, const struct bl_structure *s, const struct bl_potential *p)
{
    struct bl_engine *e;
    struct bl_energies out = {.forces = malloc(3 * s->atoms * sizeof(double))};
    enum bl_status status = bl_engine_new(ctx, s, p, NULL, &e, &err);
    if (status == BL_OK) {
        for (int i = 0; status == BL_OK && i < 3; i++)
            status = bl_engine_compute(ctx, e, s->positions, BL_WANT_FORCES | BL_WANT_ENERGY | BL_WANT_VIRIAL, &out, &err);
        bl_engine_free(e);
    }
    free(out.forces);
    return status;
}

static enum bl_status pair_forces(struct bl_ctx *ctx, struct bl_quota *quota)
{
    const struct bl_potential p = lennard_jones(&lj_reduced);
    (void)quota;
    return compute(ctx, &large, &p);
}

static enum bl_status far_forces(struct bl_ctx *ctx, struct bl_quota *quota)
{
    const struct bl_lj_pair far = {.epsilon = 1, .sigma = 1, .cutoff = 20};
    const struct bl_potential p = lennard_jones(&far);
    struct bl_structure s;
    cubic(&s, quota, "Ar", 1.6, 3, fcc_basis, 4);
    const enum bl_status status = compute(ctx, &s, &p);
    bl_structure_clear(&s);
    return status;
}

static enum bl_status metal_forces(struct bl_ctx *ctx, struct bl_quota *quota)
{
    const struct bl_potential p = {.type = BL_POTENTIAL_SUTTON_CHEN, .set = "sutton_chen"};
    struct bl_structure s;
    cubic(&s, quota, "Cu", 3.61, 20, fcc_basis, 4);
    const enum bl_status status = compute(ctx, &s, &p);
    bl_structure_clear(&s);
    return status;
}

static enum bl_status bond_forces(struct bl_ctx *ctx, struct bl_quota *quota, const struct bl_potential *p)
{
    struct bl_structure s;
    cubic(&s, quota, "Si", 5.43, 16, diamond_basis, 8);
    const enum bl_status status = compute(ctx, &s, p);
    bl_structure_clear(&s);
    return status;
}
static enum bl_status sw_forces(struct bl_ctx *ctx, struct bl_quota *quota)
{
    const struct bl_potential p = silicon();
    return bond_forces(ctx, quota, &p);
}
static enum bl_status tersoff_forces(struct bl_ctx *ctx, struct bl_quota *quota)
{
    const struct bl_potential p = {.type = BL_POTENTIAL_TERSOFF, .set = "silicon"};
    return bond_forces(ctx, quota, &p);
}

static enum bl_status relax_by(struct bl_ctx *ctx, struct bl_quota *quota, enum bl_relax_method method, size_t cells)
{
    const struct bl_potential p = silicon();
    const struct bl_relax_options o = {.level = BL_LEVEL_TIGHT, .method = method, .fmax = 1e-300, .max_steps = UINT64_MAX};
    struct bl_structure s;
    struct bl_relax_result r;
    uint64_t seed = 4;
    cubic(&s, quota, "Si", 5.43, cells, diamond_basis, 8);
    rattle(&s, 0.2, &seed);
    const double first = s.positions[0];
    const enum bl_status status = bl_relax(ctx, &s, &p, &o, &r, &err);
    CHECK(status == BL_OK || (s.positions[0] == first && !s.forces));
    bl_structure_clear(&s);
    return status;
}
static enum bl_status relax_fire(struct bl_ctx *ctx, struct bl_quota *quota) { return relax_by(ctx, quota, BL_METHOD_FIRE, 12); }
static enum bl_status relax_lbfgs(struct bl_ctx *ctx, struct bl_quota *quota) { return relax_by(ctx, quota, BL_METHOD_LBFGS, 12); }
static enum bl_status relax_cg(struct bl_ctx *ctx, struct bl_quota *quota) { return relax_by(ctx, quota, BL_METHOD_CG, 3); }

/* Minimisers alone, over what they would see of half a million atoms: the sum of x^2 / 2, x^4 / 4 by turns. */
static enum bl_status bowl(struct bl_minimiser *m, struct bl_error *e)
{
    m->value = m->measure = 0;
    for (size_t i = 0, end; (end = bl_piece(m->ctx, i, m->n)) > i;)
        for (; i < end; i++) {
            const double x = m->x[i], slope = i % 2 ? x : x * x * x;
            m->value += 0.25 * x * slope;
            m->f[i] = -slope;
            m->measure = fmax(m->measure, fabs(slope));
        }
    return bl_ctx_check(m->ctx, e);
}

static enum bl_status minimise_long(struct bl_ctx *ctx, struct bl_quota *quota,
                                    enum bl_status (*minimise)(struct bl_minimiser *, enum bl_relax_reason *, struct bl_error *))
{
    enum { N = 1500000 };
    static double x[N], f[N], best[N];
    struct bl_minimiser m = {.ctx = ctx, .quota = quota, .evaluate = bowl, .n = N, .x = x, .f = f, .best = best, .cap = 0.01, .omega2 = 1,
            .enough = 1e-300, .max_steps = 100};
    enum bl_relax_reason reason;
    for (size_t i = 0; i < N; i++) x[i] = 1 + 1e-6 * (double)i;
    enum bl_status status = bl_minimise_begin(&m, &err);
    if (status == BL_OK) status = minimise(&m, &reason, &err);
    return status;
}
static enum bl_status long_fire(struct bl_ctx *ctx, struct bl_quota *quota) { return minimise_long(ctx, quota, bl_minimise_fire); }
static enum bl_status long_lbfgs(struct bl_ctx *ctx, struct bl_quota *quota) { return minimise_long(ctx, quota, bl_minimise_lbfgs); }
static enum bl_status long_cg(struct bl_ctx *ctx, struct bl_quota *quota) { return minimise_long(ctx, quota, bl_minimise_cg); }

static enum bl_status verify(struct bl_ctx *ctx, struct bl_quota *quota)
{
    const struct bl_potential p = silicon();
    struct bl_verified v;
    struct bl_verify_options o;
    struct bl_structure s;
    bl_verify_options_init(&o);
    o.elastic = true;
    cubic(&s, quota, "Si", 5.43, 8, diamond_basis, 8);
    const enum bl_status status = bl_verify(ctx, &s, &p, &o, &v, &err);
    bl_structure_clear(&s);
    return status;
}

static enum bl_status trajectory(struct bl_ctx *ctx, struct bl_quota *quota)
{
    const struct bl_potential p = silicon();
    struct bl_trajectory_options o;
    struct bl_trajectory_result r;
    struct bl_structure s;
    bl_trajectory_options_init(&o);
    o.steps = UINT64_MAX;
    o.temperature_kelvin = 500;
    cubic(&s, quota, "Si", 5.43, 12, diamond_basis, 8);
    const enum bl_status status = bl_trajectory(ctx, &s, &p, &o, &r, &err);
    CHECK(status == BL_OK || !s.velocities);
    bl_structure_clear(&s);
    return status;
}

static enum bl_status match(struct bl_ctx *ctx, struct bl_quota *quota)
{
    struct bl_structure a, b;
    struct bl_match m;
    uint64_t seed = 5;
    cubic(&a, quota, "Si", 5.43, 6, diamond_basis, 8);
    cubic(&b, quota, "Si", 5.43, 6, diamond_basis, 8);
    rattle(&a, 0.02, &seed);
    rattle(&b, 0.02, &seed);
    const enum bl_status status = bl_structure_match(ctx, &a, &b, NULL, &m, &err);
    bl_structure_clear(&a);
    bl_structure_clear(&b);
    return status;
}

static enum bl_status read_table(struct bl_ctx *ctx, struct bl_quota *quota)
{
    enum { POINTS = 100000 };
    static char *text;
    static size_t len;
    (void)quota;
    if (!text) {
        text = malloc(64 + 6 * POINTS);
        len = (size_t)sprintf(text, "a\nb\nc\n1 Cu\n%d 0.1 %d 0.001 6\n29 63 3.6 fcc\n", POINTS, POINTS);
        for (int i = 0; i < 3 * POINTS; i++, len += 2) memcpy(text + len, "0 ", 2);
    }
    struct bl_table *table;
    const enum bl_status status = bl_table_read(ctx, BL_TABLE_SETFL, &(struct bl_table_file){text, len}, 1, &table, &err);
    if (status == BL_OK) bl_table_free(table);
    return status;
}

static const struct stage stages[] = {
    {"read POSCAR", parse_poscar},     {"read extended XYZ", parse_extxyz}, {"read CIF", parse_cif},
    {"read LAMMPS data", parse_lammps}, {"write POSCAR", write_poscar},     {"write extended XYZ", write_extxyz},
    {"write CIF", write_cif},           {"write LAMMPS data", write_lammps}, {"read a table", read_table},
    {"supercell", make_supercell},      {"expand", expand},                 {"neighbours", neighbours},
    {"neighbours far away", huge_cutoff}, {"pair forces", pair_forces},     {"pair forces far away", far_forces},
    {"embedded atoms", metal_forces},   {"Stillinger-Weber", sw_forces},    {"Tersoff", tersoff_forces},
    {"FIRE", relax_fire},               {"L-BFGS", relax_lbfgs},            {"conjugate gradients", relax_cg},
    {"FIRE, long vectors", long_fire},  {"L-BFGS, long vectors", long_lbfgs}, {"CG, long vectors", long_cg},
    {"verify", verify},                 {"trajectory", trajectory},         {"match", match},
};
enum { STAGES = sizeof stages / sizeof *stages };

/* ---- cancelling ---------------------------------------------------------------------------------- */

struct canceller {
    struct bl_ctx *ctx;
    pthread_t works;
    double after_ms, at_ms; /* 0: it has ended before */
    bool over;              /* atomic */
};

static void *cancels(void *arg)
{
    struct canceller *c = arg;
    const double begin = cpu_ms(c->works);
    while (!__atomic_load_n(&c->over, __ATOMIC_ACQUIRE)) {
        if (cpu_ms(c->works) - begin >= c->after_ms) {
            bl_ctx_cancel(c->ctx);
            c->at_ms = cpu_ms(c->works);
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return NULL;
}

/* Milliseconds from the cancel to the end; 0: it ended by itself. */
static double cancel_after(const struct stage *stage, double ms)
{
    struct bl_quota quota;
    pthread_t thread;
    bl_quota_init(&quota, NULL, "memory", 0);
    struct canceller c = {.ctx = bl_ctx_new(&quota), .works = pthread_self(), .after_ms = ms};
    REQUIRE(c.ctx && pthread_create(&thread, NULL, cancels, &c) == 0);
    const enum bl_status status = stage->run(c.ctx, &quota);
    const double ended = cpu_ms(c.works);
    __atomic_store_n(&c.over, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    CHECK(status == BL_OK || status == BL_CANCELLED);
    if (status != BL_OK && status != BL_CANCELLED) OK(status);
    bl_ctx_free(c.ctx);
    CHECK_INT(bl_quota_used(&quota), 0);
    return status == BL_CANCELLED ? ended - c.at_ms : 0;
}

static void prepare(void)
{
    uint64_t seed = 6;
    cubic(&large, NULL, "Ar", 1.6796, 34, fcc_basis, 4); /* 157,216 atoms */
    rattle(&large, 0.05, &seed);
    for (int format = BL_FORMAT_POSCAR; format < BL_FORMAT_COUNT; format++) {
        struct bl_buffer out;
        bl_buffer_init(&out, NULL);
        REQUIRE(OK(bl_crystal_write(NULL, &large, (enum bl_format)format, NULL, &out, &err)));
        files[format] = out.data;
        sizes[format] = out.len;
    }
}

TEST(every_stage_ends_soon_after_a_cancel)
{
    static const double moments[] = {0, 3, 10, 30, 100, 300};
    prepare();
    for (size_t i = 0; i < STAGES; i++) {
        double longest = 0;
        for (size_t k = 0; k < sizeof moments / sizeof *moments; k++) {
            double took = cancel_after(&stages[i], moments[k]);
            for (int again = 0; again < 2 && took >= SOON_MS; again++) took = cancel_after(&stages[i], moments[k]);
            longest = took > longest ? took : longest;
        }
        printf("    %-22s %6.2f ms\n", stages[i].name, longest);
        CHECK(longest < SOON_MS);
    }
    for (int format = BL_FORMAT_POSCAR; format < BL_FORMAT_COUNT; format++) bl_free(files[format]);
    bl_structure_clear(&large);
}
