/* SPDX-License-Identifier: Apache-2.0
 *
 * Morse: depth [exp(-2 alpha (r - r0)) - 2 exp(-alpha (r - r0))] below a cut-off, pair by pair of species.
 */
#include <math.h>
#include <string.h>

#include "bl_pairs.h"

/* L. A. Girifalco and V. G. Weizer, Phys. Rev. 114, 687 (1959), table I: eV, 1/angstrom, angstrom. */
static const struct {
    char symbol[4];
    double depth, alpha, r0;
} metals[] = {
    {"Pb", 0.2348, 1.1836, 3.733},  {"Ag", 0.3323, 1.3690, 3.115},  {"Ni", 0.4205, 1.4199, 2.780},  {"Cu", 0.3429, 1.3588, 2.866},
    {"Al", 0.2703, 1.1646, 3.253},  {"Ca", 0.1623, 0.80535, 4.569}, {"Sr", 0.1513, 0.73776, 4.988}, {"Mo", 0.8032, 1.5079, 2.976},
    {"W", 0.9906, 1.4116, 3.032},   {"Cr", 0.4414, 1.5721, 2.754},  {"Fe", 0.4174, 1.3885, 2.845},  {"Ba", 0.1416, 0.65698, 5.373},
    {"K", 0.05424, 0.49767, 6.369}, {"Na", 0.06334, 0.58993, 5.336}, {"Cs", 0.04485, 0.41569, 7.557}, {"Rb", 0.04644, 0.42981, 7.207},
};

/* The paper sums over all neighbours: at this many lengths exp(-alpha (r - r0)) is 1e-4. */
static bool metal(const char *symbol, double cutoff, struct bl_morse_pair *out)
{
    for (size_t i = 0; i < sizeof metals / sizeof *metals; i++) {
        if (strcmp(metals[i].symbol, symbol) != 0) continue;
        *out = (struct bl_morse_pair){.depth = metals[i].depth, .alpha = metals[i].alpha, .r0 = metals[i].r0,
                                      .cutoff = cutoff > 0 ? cutoff : metals[i].r0 + 9.2 / metals[i].alpha};
        return true;
    }
    return false;
}

static bool find_pair(const struct bl_potential *potential, const char *a, const char *b, struct bl_morse_pair *out)
{
    bool found = false;
    if (potential->set) return strcmp(a, b) == 0 && metal(a, potential->cutoff, out);
    for (size_t i = 0; i < potential->morse_count; i++) {
        const struct bl_morse_pair *p = &potential->morse[i];
        const bool named = bl_pair_names(p->species, a, b), general = bl_pair_general(p->species);
        if (!named && (!general || found)) continue;
        *out = *p;
        found = true;
        if (named) break;
    }
    return found;
}

static enum bl_status row_of(const struct bl_morse_pair *p, bool shift, struct bl_morse_row *row, struct bl_error *err)
{
    if (!isfinite(p->depth) || p->depth < 0) return bl_fail_invalid(err, "depth", "a number from 0 on");
    if (!isfinite(p->alpha) || !(p->alpha > 0)) return bl_fail_invalid(err, "alpha", "a positive number");
    if (!isfinite(p->r0) || !(p->r0 > 0)) return bl_fail_invalid(err, "r0", "a positive number");
    if (!isfinite(p->cutoff) || !(p->cutoff > 0)) return bl_fail_invalid(err, "cutoff", "a positive number");
    if (p->alpha * p->r0 > 300) return bl_fail_invalid(err, "alpha", "alpha r0 at most 300");
    const double x = exp(-p->alpha * (p->cutoff - p->r0));
    *row = (struct bl_morse_row){p->depth, p->alpha, p->r0, p->cutoff * p->cutoff, shift ? p->depth * x * (x - 2) : 0};
    return BL_OK;
}

static void add_scales(struct bl_scales *x, const struct bl_morse_pair *p)
{
    x->length = x->length > 0 ? fmin(x->length, 0.8 * p->r0) : 0.8 * p->r0;
    x->curvature = fmax(x->curvature, 2 * p->depth * p->alpha * p->alpha);
    x->cutoff = fmax(x->cutoff, p->cutoff);
    x->neighbours = 12;
}

static enum bl_status pair_row(const struct bl_potential *potential, const char *a, const char *b, void *row, struct bl_scales *scales,
                               struct bl_error *err)
{
    struct bl_morse_pair p = {.depth = NAN};
    if (!find_pair(potential, a, b, &p)) return bl_fail_invalid(err, "pairs", "no parameters for %s and %s", a, b);
    const enum bl_status status = row_of(&p, potential->shift, row, err);
    if (status == BL_OK) add_scales(scales, &p);
    return status;
}

static enum bl_status prepare(struct bl_engine *e, const struct bl_structure *s, const struct bl_potential *p, struct bl_error *err)
{
    if (p->morse_count > BL_LJ_PAIRS_MAX) return bl_fail_limit(err, "pairs", BL_LJ_PAIRS_MAX, p->morse_count);
    if (p->set && strcmp(p->set, "girifalco_weizer") != 0) return bl_fail_invalid(err, "parameters", "no built-in set of this name");
    if (p->set && !(p->cutoff >= 0 && p->cutoff < INFINITY)) return bl_fail_invalid(err, "cutoff", "a positive number");
    return bl_pairs_prepare(e, s, p, sizeof(struct bl_morse_row), pair_row, err);
}

static enum bl_status compute(struct bl_ctx *ctx, struct bl_engine *e, unsigned want, struct bl_energies *out, struct bl_error *err)
{
    return bl_pairs_compute(ctx, e, e->kernels->morse, want, out, err);
}

const struct bl_model_class bl_morse_class = {BL_POTENTIAL_MORSE, "morse", 0.33, prepare, compute, bl_pairs_clear, bl_pairs_bytes};
