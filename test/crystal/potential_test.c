/* SPDX-License-Identifier: Apache-2.0
 *
 * Energies, forces, virials: against published and independently computed numbers, against
 * differences of the energy, under the symmetries of space.
 */
#include <stdarg.h>

#include "beamline/runtime.h"
#include "table_fixture.h"

/* ---- numbers ------------------------------------------------------------------------- */

static double energy_per_atom(double a, const double (*basis)[3], size_t sites, const struct bl_potential *p)
{
    struct bl_structure s;
    cubic(&s, NULL, "Si", a, 1, basis, sites);
    const double e = evaluate(NULL, &s, p, NULL).energy / (double)sites;
    bl_structure_clear(&s);
    return e;
}

TEST(cut_off_lennard_jones_crystals_have_their_exact_energies)
{
    /* Sums over exact shells. */
    struct bl_lj_pair pair = lj_reduced;
    struct bl_potential p = lennard_jones(&pair);
    const double melt = cbrt(4 / 0.8442), dense = cbrt(4 / 1.0931), a0 = 1.5417373827362991;
    CHECK_NEAR(energy_per_atom(melt, fcc_basis, 4, &p), -6.773368053252957, 1e-13);
    CHECK_NEAR(energy_per_atom(dense, fcc_basis, 4, &p), -8.090254127817682, 1e-13);
    p.shift = true;
    CHECK_NEAR(energy_per_atom(dense, fcc_basis, 4, &p), -7.453895373513682, 1e-13);
    p.shift = false;
    CHECK_NEAR(energy_per_atom(1.549603424089, fcc_basis, 4, &p), -8.099620792745, 1e-11);
    pair.cutoff = 5;
    CHECK_NEAR(energy_per_atom(1.542771105807, fcc_basis, 4, &p), -8.541222963217, 1e-11);
    pair.cutoff = 3;
    CHECK_NEAR(energy_per_atom(a0, fcc_basis, 4, &p), -8.30227547801299, 1e-12);
    CHECK_NEAR(energy_per_atom(1.23371916043171044, bcc_basis, 2, &p), -7.88425024104502, 1e-12);
    CHECK_NEAR(energy_per_atom(1.06708473642350026, sc_basis, 1, &p), -5.40829185665824, 1e-12);
    CHECK_NEAR(energy_per_atom(2.49200528693446837, diamond_basis, 8, &p), -3.04648937746622, 1e-12);
}

TEST(large_cut_offs_approach_the_lattice_sums)
{
    /* The rest beyond R is an integral over the density: -8 pi rho / (3 R^3) per atom, up to
     * the roughness of the last shell. */
    static const struct {
        double a, energy;
        const double (*basis)[3];
        size_t sites;
    } crystals[] = {{1.5417373827362991, -8.61020015670378131, fcc_basis, 4},
                    {1.23371916043171044, -8.23729191006382106, bcc_basis, 2},
                    {1.06708473642350026, -5.69095695427946273, sc_basis, 1},
                    {2.49200528693446837, -3.24114498141981681, diamond_basis, 8}};
    const double pi = 3.14159265358979323846;
    for (size_t i = 0; i < 4; i++) {
        const struct bl_lj_pair pair = {.epsilon = 1, .sigma = 1, .cutoff = 16};
        const struct bl_potential p = lennard_jones(&pair);
        const double density = (double)crystals[i].sites / pow(crystals[i].a, 3);
        const double tail = -8 * pi * density / (3 * pow(pair.cutoff, 3));
        CHECK_NEAR(energy_per_atom(crystals[i].a, crystals[i].basis, crystals[i].sites, &p) + tail, crystals[i].energy, 4e-5);
    }
}

TEST(silicon_has_the_energy_and_lattice_constant_of_its_potential)
{
    const struct bl_potential p = silicon();
    CHECK_NEAR(energy_per_atom(5.43094977840521, diamond_basis, 8, &p), -4.33659999991728, 1e-12);
    CHECK_NEAR(energy_per_atom(5.431, diamond_basis, 8, &p), -4.33659999503975, 1e-12);
    struct bl_structure s;
    cubic(&s, NULL, "Si", 5.43094977840521, 2, diamond_basis, 8);
    const struct bl_energies e = evaluate(NULL, &s, &p, NULL);
    for (int k = 0; k < 6; k++) CHECK_NEAR(e.virial[k] / fabs(bl_structure_volume(&s)), 0, 1e-9);
    bl_structure_clear(&s);
}

TEST(fcc_at_zero_pressure_has_no_virial)
{
    const struct bl_potential p = lennard_jones(&lj_reduced);
    struct bl_structure s;
    cubic(&s, NULL, "Ar", 1.549603424089, 1, fcc_basis, 4);
    const struct bl_energies e = evaluate(NULL, &s, &p, NULL);
    for (int k = 0; k < 6; k++) CHECK_NEAR(e.virial[k], 0, 1e-9);
    bl_structure_clear(&s);
}

/* Elastic constants from the virial under small strains of the cell, atoms clamped: C11, C12, C44. */
static void clamped_constants(double a, const double (*basis)[3], size_t sites, const struct bl_potential *p, double c[3])
{
    const double d = 1e-4;
    double stress[2][2][6]; /* xx or yz strain, sign */
    for (int kind = 0; kind < 2; kind++) {
        for (int sign = 0; sign < 2; sign++) {
            struct bl_structure s;
            const double x = sign ? d : -d;
            double m[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
            if (kind == 0) m[0][0] += x;
            else m[1][2] = m[2][1] = x / 2;
            cubic(&s, NULL, "Si", a, 1, basis, sites);
            deform(&s, m);
            const struct bl_energies e = evaluate(NULL, &s, p, NULL);
            for (int k = 0; k < 6; k++) stress[kind][sign][k] = -e.virial[k] / fabs(bl_structure_volume(&s));
            bl_structure_clear(&s);
        }
    }
    c[0] = (stress[0][1][0] - stress[0][0][0]) / (2 * d);
    c[1] = (stress[0][1][1] - stress[0][0][1]) / (2 * d);
    c[2] = (stress[1][1][3] - stress[1][0][3]) / (2 * d);
}

TEST(elastic_constants_come_out_of_the_virial)
{
    double c[3];
    const struct bl_potential lj = lennard_jones(&lj_reduced), si = silicon();
    clamped_constants(1.549603424089, fcc_basis, 4, &lj, c);
    CHECK_NEAR(c[0], 97.71205963, 1e-4);
    CHECK_NEAR(c[1], 55.62663048, 1e-4);
    CHECK_NEAR(c[2], 55.62663048, 1e-4);
    clamped_constants(5.43094977840521, diamond_basis, 8, &si, c);
    CHECK_NEAR(c[0] * 160.2176634, 151.4245, 2e-3);
    CHECK_NEAR(c[1] * 160.2176634, 76.4221, 2e-3);
    CHECK_NEAR(c[2] * 160.2176634, 109.7565, 2e-3);
}

TEST(a_pair_of_atoms_feels_the_formula)
{
    struct bl_structure s;
    double f[6];
    const struct bl_lj_pair pair = {.epsilon = 0.7, .sigma = 1.3, .cutoff = 4};
    const struct bl_potential p = lennard_jones(&pair);
    blank(&s, NULL, "Ar", 2);
    for (double r = 1; r < 4.2; r += 0.1) {
        s.positions[3] = r;
        const struct bl_energies e = evaluate(NULL, &s, &p, f);
        const double x = pow(1.3 / r, 6), in = r < 4;
        CHECK_NEAR(e.energy, in * 4 * 0.7 * x * (x - 1), 1e-12 * (1 + fabs(e.energy)));
        CHECK_NEAR(f[3], in * 24 * 0.7 * x * (2 * x - 1) / r, 1e-12 * (1 + fabs(f[3])));
        CHECK_NEAR(e.virial[0], r * f[3], 1e-12 * (1 + fabs(r * f[3])));
        CHECK_NEAR(f[0], -f[3], 0);
    }
    bl_structure_clear(&s);
}

/* ---- the same as a difference of energies ------------------------------------------------ */

/* A random triclinic crystal for a potential. */
struct sample {
    struct bl_structure s;
    struct bl_potential p;
};

static const struct bl_lj_pair mixture[] = {
    {.species = {"", ""}, .epsilon = 0.5, .sigma = 2.2, .cutoff = 5.1},
    {.species = {"Cu", "Cu"}, .epsilon = 0.4, .sigma = 2.3, .cutoff = 5.5},
    {.species = {"Ni", "Cu"}, .epsilon = 0.45, .sigma = 2.25, .cutoff = 4.9},
};
/* Other numbers than silicon's, with a non-integer exponent. */
static const struct bl_sw odd_sw = {.epsilon = 1.9, .sigma = 2.2, .a = 1.9, .lambda = 15, .gamma = 1.1, .cos_theta0 = -0.3,
        .big_a = 7, .big_b = 0.55, .p = 3.7, .q = 1.5};

static const struct bl_morse_pair morse_mixture[] = {
    {.species = {"", ""}, .depth = 0.35, .alpha = 1.4, .r0 = 2.8, .cutoff = 5.1},
    {.species = {"Ni", "Cu"}, .depth = 0.4, .alpha = 1.3, .r0 = 2.7, .cutoff = 5.5},
};
/* The second with exponents that are no whole numbers. */
static const struct bl_sutton_chen sutton_chen_mixture[] = {{"Cu", 1.2382e-2, 3.61, 39.432, 9, 6}, {"Ni", 1.5e-2, 3.52, 39, 8.5, 5.5}};

/* Made once, kept to the end. */
static const struct bl_table *sample_table(enum bl_table_format format)
{
    static const struct bl_table *tables[BL_TABLE_TERSOFF + 1];
    if (!tables[format] && format <= BL_TABLE_FINNIS_SINCLAIR) {
        struct fixture_text t = fixture_setfl(format == BL_TABLE_FINNIS_SINCLAIR);
        tables[format] = fixture_table(format, t.data, t.len);
        free(t.data);
    } else if (!tables[format]) {
        tables[format] = fixture_table(format, fixture_sw, sizeof fixture_sw - 1);
    }
    return tables[format];
}

/* A truncated potential has a kink at its cut-off: no pair may cross one while differences are taken. */
static bool near_a_cut_off(const struct bl_structure *s)
{
    static const double cutoffs[] = {5.1, 5.5, 4.9};
    struct bl_neighbours list;
    struct bl_error err;
    bool near = false;
    REQUIRE(OK(bl_neighbours_find(NULL, s, 5.6, NULL, &list, &err)));
    for (size_t k = 0; k < list.pairs; k++) {
        const double *v = list.vector[k], r = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        for (size_t i = 0; i < 3; i++) near = near || fabs(r - cutoffs[i]) < 2e-4;
    }
    bl_neighbours_clear(&list);
    return near;
}

enum kind {
    SW_SILICON, SW_ODD, SW_MIXTURE, TERSOFF_SILICON, TERSOFF_CARBIDE, /* diamond */
    LJ_ONE, LJ_MIXTURE, MORSE_MIXTURE, SUTTON_CHEN_ONE, SUTTON_CHEN_MIXTURE, EAM_ONE, EAM_MIXTURE, FINNIS_SINCLAIR, /* fcc */
    SAMPLES
};

static struct bl_potential potential_of(enum kind kind)
{
    struct bl_potential p = silicon();
    switch (kind) {
    case SW_SILICON: return p;
    case SW_ODD:
        p.sw = odd_sw;
        return p;
    case SW_MIXTURE: return (struct bl_potential){.type = BL_POTENTIAL_STILLINGER_WEBER, .table = sample_table(BL_TABLE_SW)};
    case TERSOFF_SILICON: return (struct bl_potential){.type = BL_POTENTIAL_TERSOFF, .set = "silicon"};
    case TERSOFF_CARBIDE: return (struct bl_potential){.type = BL_POTENTIAL_TERSOFF, .set = "silicon_carbide_germanium"};
    case LJ_ONE:
    case LJ_MIXTURE: return (struct bl_potential){.type = BL_POTENTIAL_LENNARD_JONES, .pairs = mixture,
            .pair_count = kind == LJ_ONE ? 1 : 3, .shift = true};
    case MORSE_MIXTURE: return (struct bl_potential){.type = BL_POTENTIAL_MORSE, .morse = morse_mixture, .morse_count = 2, .shift = true};
    case SUTTON_CHEN_ONE: return (struct bl_potential){.type = BL_POTENTIAL_SUTTON_CHEN, .set = "sutton_chen", .cutoff = 5.5};
    case SUTTON_CHEN_MIXTURE: return (struct bl_potential){.type = BL_POTENTIAL_SUTTON_CHEN, .sutton_chen = sutton_chen_mixture,
            .sutton_chen_count = 2, .cutoff = 5.5};
    case FINNIS_SINCLAIR: return (struct bl_potential){.type = BL_POTENTIAL_EAM, .table = sample_table(BL_TABLE_FINNIS_SINCLAIR)};
    default: return (struct bl_potential){.type = BL_POTENTIAL_EAM, .table = sample_table(BL_TABLE_SETFL)};
    }
}

/* n x n x n cells; atoms of mixtures at random. */
static void crystal_of(struct sample *x, enum kind kind, size_t n, double by, uint64_t *seed)
{
    struct bl_error err;
    uint32_t index;
    const bool fcc = kind >= LJ_ONE, mixed = kind == SW_MIXTURE || kind == TERSOFF_CARBIDE || kind == LJ_MIXTURE || kind == MORSE_MIXTURE ||
                                             kind == SUTTON_CHEN_MIXTURE || kind == EAM_MIXTURE || kind == FINNIS_SINCLAIR;
    if (fcc) cubic(&x->s, NULL, "Cu", 3.6, 2 * n, fcc_basis, 4);
    else cubic(&x->s, NULL, "Si", kind == TERSOFF_CARBIDE ? 4.4 : 5.431, n, diamond_basis, 8);
    rattle(&x->s, by, seed);
    if (mixed) REQUIRE(OK(bl_structure_species(&x->s, fcc ? "Ni" : "C", fcc ? 2 : 1, &index, &err)));
    for (size_t i = 0; mixed && i < x->s.atoms; i++) x->s.types[i] = (uint32_t)(bl_test_random(seed) & 1);
    x->p = potential_of(kind);
}

static void try_sample(struct sample *x, int kind, uint64_t *seed)
{
    crystal_of(x, (enum kind)kind, 1, kind < LJ_ONE ? 0.2 : 0.15, seed);
    skew(&x->s, 0.12, seed);
}

static void make_sample(struct sample *x, int kind, uint64_t *seed)
{
    for (int tries = 0; tries < 1000; tries++) {
        try_sample(x, kind, seed);
        if (!near_a_cut_off(&x->s)) return;
        bl_structure_clear(&x->s);
    }
    BL_TEST_FAIL("no sample away from the cut-offs");
    longjmp(bl_tests.leave, 1);
}

TEST(forces_are_minus_the_slope_of_the_energy)
{
    uint64_t seed = bl_test_seed();
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        double f[3 * 64], scale = 0;
        make_sample(&x, kind, &seed);
        evaluate(NULL, &x.s, &x.p, f);
        for (size_t i = 0; i < 3 * x.s.atoms; i++) scale = fmax(scale, fabs(f[i]));
        for (size_t i = 0; i < 3 * x.s.atoms; i += 5) {
            const double at = x.s.positions[i], h = 2e-5;
            double e[4];
            for (int k = 0; k < 4; k++) {
                x.s.positions[i] = at + h * (double[]){-2, -1, 1, 2}[k];
                e[k] = evaluate(NULL, &x.s, &x.p, NULL).energy;
            }
            x.s.positions[i] = at;
            CHECK_NEAR(f[i], -(e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * h), 1e-7 * scale);
        }
        bl_structure_clear(&x.s);
    }
}

TEST(the_virial_is_minus_the_slope_of_the_energy_under_strain)
{
    static const int row[6] = {0, 1, 2, 1, 0, 0}, column[6] = {0, 1, 2, 2, 2, 1};
    uint64_t seed = bl_test_seed();
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        make_sample(&x, kind, &seed);
        const struct bl_energies here = evaluate(NULL, &x.s, &x.p, NULL);
        for (int k = 0; k < 6; k++) {
            double e[4];
            const double h = 5e-6;
            for (int n = 0; n < 4; n++) {
                struct bl_structure t;
                struct bl_error err;
                double m[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
                m[row[k]][column[k]] += 0.5 * h * (double[]){-2, -1, 1, 2}[n];
                m[column[k]][row[k]] += 0.5 * h * (double[]){-2, -1, 1, 2}[n];
                REQUIRE(OK(bl_structure_copy(&t, &x.s, NULL, &err)));
                deform(&t, m);
                e[n] = evaluate(NULL, &t, &x.p, NULL).energy;
                bl_structure_clear(&t);
            }
            CHECK_NEAR(here.virial[k], -(e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * h), 1e-6 * (1 + fabs(here.energy)));
        }
        bl_structure_clear(&x.s);
    }
}

TEST(a_species_that_no_atom_has_changes_nothing)
{
    uint64_t seed = bl_test_seed();
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        double f[3 * 64], g[3 * 64];
        make_sample(&x, kind, &seed);
        if (x.s.species_count < 2) {
            bl_structure_clear(&x.s);
            continue;
        }
        for (uint32_t only = 0; only < 2; only++) {
            for (size_t i = 0; i < x.s.atoms; i++) x.s.types[i] = only;
            const struct bl_energies e = evaluate(NULL, &x.s, &x.p, f), again = evaluate(NULL, &x.s, &x.p, NULL);
            CHECK(e.energy - e.energy == 0);
            for (int k = 0; k < 6; k++) CHECK(again.virial[k] - again.virial[k] == 0);
            struct bl_structure t = x.s; /* the same atoms with one species in the list */
            uint32_t types[64] = {0};
            t.types = types;
            t.species = &x.s.species[only];
            t.species_count = 1;
            const struct bl_energies alone = evaluate(NULL, &t, &x.p, g);
            CHECK_NEAR(alone.energy, e.energy, 1e-12 * fabs(e.energy));
            for (int k = 0; k < 6; k++) CHECK_NEAR(alone.virial[k], e.virial[k], 1e-9 * (1 + fabs(e.energy)));
        }
        bl_structure_clear(&x.s);
    }
}

/* ---- symmetries ------------------------------------------------------------------------------ */

static void check_same_forces(const double *a, const double *b, size_t n, double tolerance)
{
    double scale = 0;
    for (size_t i = 0; i < n; i++) scale = fmax(scale, fabs(b[i]));
    for (size_t i = 0; i < n; i++) CHECK_NEAR(a[i], b[i], tolerance * scale);
}

TEST(translation_wrapping_and_lattice_shifts_change_nothing)
{
    uint64_t seed = bl_test_seed();
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        double f[3 * 64], g[3 * 64];
        make_sample(&x, kind, &seed);
        const size_t n = x.s.atoms;
        const struct bl_energies before = evaluate(NULL, &x.s, &x.p, f);
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < 3; c++)
                x.s.positions[3 * i + c] += 0.731 * (double)(c + 1) + (double)((int)(i % 5) - 2) * x.s.cell[i % 3][c];
        const struct bl_energies after = evaluate(NULL, &x.s, &x.p, g);
        CHECK_NEAR(after.energy, before.energy, 1e-12 * fabs(before.energy));
        check_same_forces(g, f, 3 * n, 1e-11);
        bl_structure_clear(&x.s);
    }
}

TEST(a_rotation_turns_the_forces)
{
    uint64_t seed = bl_test_seed();
    const double t = 0.7, u = 1.1;
    /* Rows: images of x, y, z. */
    double m[3][3] = {{cos(t), sin(t) * cos(u), sin(t) * sin(u)}, {-sin(t), cos(t) * cos(u), cos(t) * sin(u)}, {0, -sin(u), cos(u)}};
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        double f[3 * 64], g[3 * 64], turned[3 * 64];
        make_sample(&x, kind, &seed);
        const struct bl_energies before = evaluate(NULL, &x.s, &x.p, f);
        deform(&x.s, m);
        const struct bl_energies after = evaluate(NULL, &x.s, &x.p, g);
        for (size_t i = 0; i < x.s.atoms; i++)
            for (size_t c = 0; c < 3; c++) turned[3 * i + c] = f[3 * i] * m[0][c] + f[3 * i + 1] * m[1][c] + f[3 * i + 2] * m[2][c];
        CHECK_NEAR(after.energy, before.energy, 1e-12 * fabs(before.energy));
        CHECK_NEAR(after.virial[0] + after.virial[1] + after.virial[2], before.virial[0] + before.virial[1] + before.virial[2],
                1e-10 * fabs(before.energy));
        check_same_forces(g, turned, 3 * x.s.atoms, 1e-11);
        bl_structure_clear(&x.s);
    }
}

TEST(a_permutation_permutes_the_forces)
{
    uint64_t seed = bl_test_seed();
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        double f[3 * 64], g[3 * 64];
        make_sample(&x, kind, &seed);
        const size_t n = x.s.atoms;
        const struct bl_energies before = evaluate(NULL, &x.s, &x.p, f);
        for (size_t i = 0; i < n / 2; i++) { /* reversed */
            const size_t j = n - 1 - i;
            const uint32_t type = x.s.types[i];
            x.s.types[i] = x.s.types[j];
            x.s.types[j] = type;
            for (size_t c = 0; c < 3; c++) {
                const double r = x.s.positions[3 * i + c];
                x.s.positions[3 * i + c] = x.s.positions[3 * j + c];
                x.s.positions[3 * j + c] = r;
            }
        }
        const struct bl_energies after = evaluate(NULL, &x.s, &x.p, g);
        CHECK_NEAR(after.energy, before.energy, 1e-12 * fabs(before.energy));
        for (size_t i = 0; i < n; i++) check_same_forces(g + 3 * i, f + 3 * (n - 1 - i), 3, 1e-10);
        bl_structure_clear(&x.s);
    }
}

TEST(a_supercell_has_twice_the_energy_and_the_same_forces)
{
    uint64_t seed = bl_test_seed();
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        struct bl_structure twice;
        struct bl_error err;
        uint32_t index;
        double f[3 * 64], g[6 * 64];
        make_sample(&x, kind, &seed);
        const size_t n = x.s.atoms;
        const struct bl_energies one = evaluate(NULL, &x.s, &x.p, f);
        blank(&twice, NULL, x.s.species[0], 2 * n);
        for (size_t i = 1; i < x.s.species_count; i++) REQUIRE(OK(bl_structure_species(&twice, x.s.species[i],
                strlen(x.s.species[i]), &index, &err)));
        memcpy(twice.cell, x.s.cell, sizeof twice.cell);
        memcpy(twice.pbc, x.s.pbc, sizeof twice.pbc);
        for (size_t c = 0; c < 3; c++) twice.cell[1][c] *= 2;
        for (size_t i = 0; i < 2 * n; i++) {
            twice.types[i] = x.s.types[i % n];
            for (size_t c = 0; c < 3; c++) twice.positions[3 * i + c] = x.s.positions[3 * (i % n) + c] + (i >= n ? x.s.cell[1][c] : 0);
        }
        const struct bl_energies two = evaluate(NULL, &twice, &x.p, g);
        CHECK_NEAR(two.energy, 2 * one.energy, 1e-12 * fabs(two.energy));
        check_same_forces(g, f, 3 * n, 1e-11);
        check_same_forces(g + 3 * n, f, 3 * n, 1e-11);
        bl_structure_clear(&twice);
        bl_structure_clear(&x.s);
    }
}

/* ---- sameness of code paths, threads, lists ----------------------------------------------------- */

static void make_large(struct sample *x, int kind, uint64_t *seed)
{
    crystal_of(x, (enum kind)kind, kind < LJ_ONE ? 5 : 4, 0.05, seed);
    skew(&x->s, 0.05, seed);
}

TEST(both_code_paths_give_the_same_bits)
{
    uint64_t seed = bl_test_seed();
    if (strcmp(bl_engine_code_path(), "portable") == 0) SKIP("this CPU has one code path only");
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        make_large(&x, kind, &seed);
        double *f = malloc(x.s.atoms * 48), *g = f + 3 * x.s.atoms;
        const struct bl_energies a = evaluate(NULL, &x.s, &x.p, f);
        bl_engine_allow_simd(false);
        const struct bl_energies b = evaluate(NULL, &x.s, &x.p, g);
        bl_engine_allow_simd(true);
        CHECK_BYTES(g, x.s.atoms * 24, f, x.s.atoms * 24);
        CHECK_NEAR(a.energy, b.energy, 0);
        CHECK_BYTES(a.virial, sizeof a.virial, b.virial, sizeof b.virial);
        free(f);
        bl_structure_clear(&x.s);
    }
}

/* Whatever else is asked for; and nothing else is touched. */
static void check_wanted(struct sample *x, unsigned want, const struct bl_energies *all, bool simd)
{
    const size_t n = x->s.atoms;
    double *f = malloc(n * 32), *e = f + 3 * n;
    struct bl_engine *engine;
    struct bl_error err;
    bl_engine_allow_simd(simd);
    REQUIRE(OK(bl_engine_new(NULL, &x->s, &x->p, NULL, &engine, &err)));
    bl_engine_allow_simd(true);
    for (size_t i = 0; i < 4 * n; i++) f[i] = 7;
    struct bl_energies got = {.energy = 7, .virial = {7, 7, 7, 7, 7, 7}, .forces = f, .atom_energies = e};
    REQUIRE(OK(bl_engine_compute(NULL, engine, x->s.positions, want, &got, &err)));
    bl_engine_free(engine);
    CHECK_NEAR(got.energy, want & BL_WANT_ENERGY ? all->energy : 7, 0);
    for (size_t k = 0; k < 6; k++) CHECK_NEAR(got.virial[k], want & BL_WANT_VIRIAL ? all->virial[k] : 7, 0);
    for (size_t i = 0; i < 3 * n; i++) CHECK_NEAR(f[i], want & BL_WANT_FORCES ? all->forces[i] : 7, 0);
    for (size_t i = 0; i < n; i++) CHECK_NEAR(e[i], want & BL_WANT_ATOM_ENERGIES ? all->atom_energies[i] : 7, 0);
    free(f);
}

TEST(each_quantity_is_the_same_bits_whatever_else_is_asked_for)
{
    const unsigned everything = BL_WANT_FORCES | BL_WANT_ENERGY | BL_WANT_VIRIAL | BL_WANT_ATOM_ENERGIES;
    uint64_t seed = bl_test_seed();
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        struct bl_engine *engine;
        struct bl_error err;
        make_sample(&x, kind, &seed);
        struct bl_energies all = {.forces = malloc(x.s.atoms * 32)};
        all.atom_energies = all.forces + 3 * x.s.atoms;
        REQUIRE(OK(bl_engine_new(NULL, &x.s, &x.p, NULL, &engine, &err)));
        REQUIRE(OK(bl_engine_compute(NULL, engine, x.s.positions, everything, &all, &err)));
        bl_engine_free(engine);
        for (unsigned want = 0; want <= everything; want++) check_wanted(&x, want, &all, want % 2 == 0);
        free(all.forces);
        bl_structure_clear(&x.s);
    }
}

struct threaded {
    struct sample *x;
    double *f;
    struct bl_energies e;
};

static enum bl_status run_threaded(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    struct threaded *t = arg;
    struct bl_engine *e;
    enum bl_status status = bl_engine_new(ctx, &t->x->s, &t->x->p, NULL, &e, err);
    if (status != BL_OK) return status;
    t->e.forces = t->f;
    status = bl_engine_compute(ctx, e, t->x->s.positions, BL_WANT_FORCES | BL_WANT_ENERGY | BL_WANT_VIRIAL, &t->e, err);
    bl_engine_free(e);
    return status;
}

TEST(the_number_of_threads_does_not_change_a_bit)
{
    uint64_t seed = bl_test_seed();
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        make_large(&x, kind, &seed);
        double *f = malloc(x.s.atoms * 48), *g = f + 3 * x.s.atoms;
        const struct bl_energies alone = evaluate(NULL, &x.s, &x.p, f);
        for (unsigned threads = 1; threads <= 4; threads++) {
            struct bl_pool_config config;
            struct bl_pool *pool;
            struct bl_task *task;
            struct bl_error err;
            struct threaded t = {.x = &x, .f = g};
            bl_pool_config_init(&config);
            config.threads = threads;
            REQUIRE(OK(bl_pool_new(&config, &pool, &err)));
            struct bl_task_options options;
            bl_task_options_init(&options);
            REQUIRE(OK(bl_task_submit(pool, &(struct bl_task_spec){.run = run_threaded, .arg = &t}, &options, &task, &err)));
            CHECK(OK(bl_task_wait(task, 60000, &err)));
            CHECK_BYTES(g, x.s.atoms * 24, f, x.s.atoms * 24);
            CHECK_NEAR(t.e.energy, alone.energy, 0);
            CHECK_BYTES(t.e.virial, sizeof t.e.virial, alone.virial, sizeof alone.virial);
            bl_task_release(task);
            bl_pool_close(pool);
        }
        free(f);
        bl_structure_clear(&x.s);
    }
}

TEST(a_list_that_is_kept_gives_what_a_new_one_gives)
{
    uint64_t seed = bl_test_seed();
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        struct bl_engine *e;
        struct bl_error err;
        struct bl_engine_stats stats;
        double f[3 * 64], g[3 * 64];
        struct bl_energies out = {.forces = f};
        make_sample(&x, kind, &seed);
        REQUIRE(OK(bl_engine_new(NULL, &x.s, &x.p, NULL, &e, &err)));
        for (int step = 0; step < 60; step++) {
            rattle(&x.s, 0.02, &seed);
            REQUIRE(OK(bl_engine_compute(NULL, e, x.s.positions, 7, &out, &err)));
            const struct bl_energies fresh = evaluate(NULL, &x.s, &x.p, g);
            CHECK_NEAR(out.energy, fresh.energy, 1e-13 * (double)x.s.atoms + 1e-12 * fabs(fresh.energy));
            check_same_forces(f, g, 3 * x.s.atoms, 1e-11);
        }
        bl_engine_stats(e, &stats);
        CHECK(stats.rebuilds < stats.computes);
        bl_engine_free(e);
        bl_structure_clear(&x.s);
    }
}

TEST(energies_of_atoms_add_up)
{
    uint64_t seed = bl_test_seed();
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        struct bl_engine *e;
        struct bl_error err;
        double each[64], sum = 0;
        struct bl_energies out = {.atom_energies = each};
        make_sample(&x, kind, &seed);
        REQUIRE(OK(bl_engine_new(NULL, &x.s, &x.p, NULL, &e, &err)));
        REQUIRE(OK(bl_engine_compute(NULL, e, x.s.positions, BL_WANT_ENERGY | BL_WANT_ATOM_ENERGIES, &out, &err)));
        for (size_t i = 0; i < x.s.atoms; i++) sum += each[i];
        CHECK_NEAR(sum, out.energy, 1e-12 * fabs(sum));
        bl_engine_free(e);
        bl_structure_clear(&x.s);
    }
}

/* ---- what goes wrong ---------------------------------------------------------------------------- */

TEST(atoms_on_top_of_each_other_are_an_error_not_a_number)
{
    for (int i = 0; i < SAMPLES; i++) {
        const struct bl_potential p = potential_of((enum kind)i);
        struct bl_structure s;
        struct bl_engine *e;
        struct bl_error err;
        double f[6];
        struct bl_energies out = {.forces = f};
        blank(&s, NULL, i < LJ_ONE ? "Si" : "Cu", 2);
        REQUIRE(OK(bl_engine_new(NULL, &s, &p, NULL, &e, &err)));
        CHECK_INT(bl_engine_compute(NULL, e, s.positions, 7, &out, &err), BL_INVALID);
        CHECK_TEXT(err.subject, "positions");
        s.positions[0] = NAN;
        CHECK_INT(bl_engine_compute(NULL, e, s.positions, 7, &out, &err), BL_INVALID);
        s.positions[0] = 2; /* and it goes on afterwards */
        CHECK(OK(bl_engine_compute(NULL, e, s.positions, 7, &out, &err)));
        bl_engine_free(e);
        bl_structure_clear(&s);
    }
}

static enum bl_status new_engine(const struct bl_structure *s, const struct bl_potential *p, struct bl_error *err)
{
    struct bl_engine *e;
    const enum bl_status status = bl_engine_new(NULL, s, p, NULL, &e, err);
    if (status == BL_OK) bl_engine_free(e);
    return status;
}

TEST(an_atom_that_is_there_in_part_has_no_energy)
{
    const struct bl_potential p = lennard_jones(&lj_reduced);
    struct bl_structure s;
    struct bl_engine *e;
    struct bl_error err;
    cubic(&s, NULL, "Ar", 1.6, 2, fcc_basis, 4);
    REQUIRE(OK(bl_structure_add(&s, &s.occupancies, 1, sizeof(double), &err)));
    for (size_t i = 0; i < s.atoms; i++) s.occupancies[i] = i == 4 ? 0.99 : 1; /* whole, within its uncertainty */
    REQUIRE(OK(bl_engine_new(NULL, &s, &p, NULL, &e, &err)));
    bl_engine_free(e);
    s.occupancies[3] = 0.5;
    CHECK_INT(bl_engine_new(NULL, &s, &p, NULL, &e, &err), BL_INVALID);
    CHECK_TEXT(err.subject, "occupancies");
    bl_structure_clear(&s);
}

TEST(a_built_in_set_serves_its_elements_only)
{
    const struct bl_potential sw = {.type = BL_POTENTIAL_STILLINGER_WEBER, .set = "silicon"};
    struct bl_structure s;
    struct bl_engine *e;
    struct bl_error err;
    cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
    const struct bl_potential numbers = silicon();
    CHECK_NEAR(evaluate(NULL, &s, &sw, NULL).energy, evaluate(NULL, &s, &numbers, NULL).energy, 0);
    bl_structure_clear(&s);
    cubic(&s, NULL, "Cu", 3.61, 1, fcc_basis, 4);
    CHECK_INT(bl_engine_new(NULL, &s, &sw, NULL, &e, &err), BL_INVALID);
    CHECK_TEXT(err.subject, "species");
    bl_structure_clear(&s);
}

TEST(parameters_are_checked)
{
    struct bl_structure s;
    struct bl_error err;
    uint32_t index;
    cubic(&s, NULL, "Si", 5.431, 1, diamond_basis, 8);
    struct bl_lj_pair pair = lj_reduced;
    struct bl_potential p = lennard_jones(&pair);
    pair.sigma = -1;
    CHECK_INT(new_engine(&s, &p, &err), BL_INVALID);
    pair.sigma = 1e200;
    CHECK_INT(new_engine(&s, &p, &err), BL_INVALID);
    pair = (struct bl_lj_pair){.species = {"Ge", "Ge"}, .epsilon = 1, .sigma = 1, .cutoff = 2};
    CHECK_INT(new_engine(&s, &p, &err), BL_INVALID);
    CHECK(strstr(err.text, "Si and Si") != NULL);
    p = silicon();
    p.sw.a = NAN;
    CHECK_INT(new_engine(&s, &p, &err), BL_INVALID);
    p = silicon();
    REQUIRE(OK(bl_structure_species(&s, "Ge", 2, &index, &err)));
    s.types[3] = index;
    CHECK_INT(new_engine(&s, &p, &err), BL_UNSUPPORTED);
    bl_structure_clear(&s);
}

TEST(every_allocation_may_fail_and_nothing_leaks)
{
    uint64_t seed = 3;
    for (int kind = 0; kind < SAMPLES; kind++) {
        struct sample x;
        make_sample(&x, kind, &seed);
        for (uint64_t n = 1;; n++) {
            struct bl_quota quota;
            struct bl_engine *e = NULL;
            struct bl_error err;
            double f[3 * 64];
            struct bl_energies out = {.forces = f};
            bl_quota_init(&quota, NULL, "memory", 0);
            struct bl_ctx *ctx = bl_ctx_new(&quota);
            bl_quota_fail_nth(&quota, n);
            enum bl_status status = bl_engine_new(ctx, &x.s, &x.p, NULL, &e, &err);
            if (status == BL_OK) status = bl_engine_compute(ctx, e, x.s.positions, 7, &out, &err);
            bl_quota_fail_nth(&quota, 0);
            /* The engine that failed works at the next try. */
            if (status != BL_OK && e) CHECK(OK(bl_engine_compute(ctx, e, x.s.positions, 7, &out, &err)));
            bl_engine_free(e);
            bl_ctx_free(ctx);
            CHECK_INT(bl_quota_used(&quota), 0);
            if (status == BL_OK) break;
            CHECK_INT(status, BL_NO_MEMORY);
            REQUIRE(n < 1000);
        }
        bl_structure_clear(&x.s);
    }
}

TEST(the_nist_configuration_is_reproduced)
{
    SKIP("NIST's Lennard-Jones reference configuration 4 (30 atoms) is not here: its file has to be fetched from nist.gov");
}
