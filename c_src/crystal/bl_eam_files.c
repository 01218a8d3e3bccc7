/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of the embedded-atom method. Forms (docs.lammps.org, pair_eam); numbers run on over lines:
 *
 *     setfl:  3 comments / N names / Nrho drho Nr dr cutoff / per element: Z mass a0 lattice, F(rho), rho(r);
 *             then r phi(r), eV angstrom, of the pairs (i, j <= i)
 *     eam/fs: the same with N densities per element: rho of that element at the place of each
 *     funcfl: a comment / Z mass a0 lattice / Nrho drho Nr dr cutoff / F(rho), Z(r), rho(r);
 *             phi = 27.2 0.529 Z_i Z_j / r; several files are brought onto one grid
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bl_table.h"

enum { POINTS_MAX = 1 << 22, POINTS_MIN = 5, COEFFICIENTS_MAX = 1 << 28 };

struct grid {
    size_t rho_points, points;
    double drho, dr, cutoff;
};

/* ---- splines --------------------------------------------------------------------- */

void bl_spline_make(const double *f, size_t n, double *out)
{
    for (size_t m = 0; m + 1 < n; m++) {
        double slope[2];
        for (size_t k = 0; k < 2; k++) {
            const size_t i = m + k;
            if (i == 0) slope[k] = f[1] - f[0];
            else if (i == n - 1) slope[k] = f[n - 1] - f[n - 2];
            else if (i == 1 || i == n - 2) slope[k] = 0.5 * (f[i + 1] - f[i - 1]);
            else slope[k] = ((f[i - 2] - f[i + 2]) + 8 * (f[i + 1] - f[i - 1])) / 12;
        }
        const double rise = f[m + 1] - f[m];
        double *c = out + 4 * m;
        c[0] = f[m];
        c[1] = slope[0];
        c[2] = 3 * rise - 2 * slope[0] - slope[1];
        c[3] = slope[0] + slope[1] - 2 * rise;
    }
}

/* ---- shared parts ---------------------------------------------------------------- */

static enum bl_status read_grid(struct bl_table_reader *r, struct grid *g, struct bl_error *err)
{
    enum bl_status status = bl_table_count(r, &g->rho_points, POINTS_MAX, "a number of densities", err);
    if (status == BL_OK) status = bl_table_number(r, &g->drho, "a step of the density", err);
    if (status == BL_OK) status = bl_table_count(r, &g->points, POINTS_MAX, "a number of distances", err);
    if (status == BL_OK) status = bl_table_number(r, &g->dr, "a step of the distance", err);
    if (status == BL_OK) status = bl_table_number(r, &g->cutoff, "a cut-off", err);
    if (status != BL_OK) return status;
    if (!(g->drho > 0) || !(g->dr > 0) || !(g->cutoff > 0))
        return bl_text_expected(&r->text, err, "positive steps and a positive cut-off before this place");
    if (g->rho_points < POINTS_MIN || g->points < POINTS_MIN)
        return bl_text_expected(&r->text, err, "at least %d points of each function before this place", POINTS_MIN);
    return BL_OK;
}

/* A number has a digit, and a blank before the next. */
static enum bl_status check_size(const struct bl_table_reader *r, double values, struct bl_error *err)
{
    const double most = ((double)(r->text.end - r->text.p) + 1) / 2;
    if (values <= most) return BL_OK;
    return bl_text_expected(&r->text, err, "%.0f numbers: the file has no room for them", values);
}

static enum bl_status read_values(struct bl_table_reader *r, double *out, size_t n, const char *what, struct bl_error *err)
{
    enum bl_status status = BL_OK;
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        status = bl_table_number(r, &out[i], what, err);
        if (i % 4096 == 4095 && status == BL_OK) status = bl_ctx_check(r->ctx, err);
    }
    return status;
}

static enum bl_status table_room(struct bl_table_reader *r, const struct grid *g, size_t densities, struct bl_error *err)
{
    struct bl_eam_table *t = &r->out->eam;
    const size_t n = r->out->elements, wide = 4 * (g->points - 1);
    const double total = 4.0 * (double)n * ((double)g->rho_points + ((double)densities + 0.5 * (double)(n + 1)) * (double)g->points);
    if (total > COEFFICIENTS_MAX) return bl_fail_limit(err, "table_coefficients", COEFFICIENTS_MAX, (uint64_t)total);
    *t = (struct bl_eam_table){.points = g->points, .rho_points = g->rho_points, .dr = g->dr, .drho = g->drho, .cutoff = g->cutoff,
                               .densities = densities};
    t->embed = bl_alloc_array(r->quota, n * 4 * (g->rho_points - 1), sizeof(double), err);
    if (t->embed) t->density = bl_alloc_array(r->quota, n * densities * wide, sizeof(double), err);
    if (t->density) t->pair = bl_alloc_array(r->quota, n * (n + 1) / 2 * wide, sizeof(double), err);
    return t->pair ? BL_OK : bl_alloc_status(err);
}

/* One function: values into the buffer, its coefficients out. */
static enum bl_status read_function(struct bl_table_reader *r, double *buffer, size_t n, double *out, const char *what,
                                    struct bl_error *err)
{
    const enum bl_status status = read_values(r, buffer, n, what, err);
    if (status == BL_OK) bl_spline_make(buffer, n, out);
    return status;
}

/* ---- setfl, Finnis-Sinclair ------------------------------------------------------- */

static enum bl_status read_names(struct bl_table_reader *r, struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_table_count(r, &n, BL_TABLE_ELEMENTS_MAX, "a number of elements", err);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        uint32_t at;
        const struct bl_token word = bl_table_word(r);
        status = bl_table_name(r, word, &at, err);
        if (status == BL_OK && at != i) status = bl_text_expected(&r->text, err, "another element: %s stands twice", r->out->names[at]);
    }
    return status;
}

static enum bl_status skip_line(struct bl_table_reader *r, struct bl_error *err)
{
    if (bl_text_end(&r->text)) return bl_text_expected(&r->text, err, "a comment");
    bl_text_next_line(&r->text);
    return BL_OK;
}

/* Z mass a0 lattice: checked to be there, used for nothing but Z. */
static enum bl_status read_element(struct bl_table_reader *r, size_t *number, struct bl_error *err)
{
    double mass, a0;
    enum bl_status status = bl_table_count(r, number, 999, "an atomic number", err);
    if (status == BL_OK) status = bl_table_number(r, &mass, "a mass", err);
    if (status == BL_OK) status = bl_table_number(r, &a0, "a lattice constant", err);
    if (status != BL_OK) return status;
    bl_text_next_line(&r->text); /* the lattice has no use, and may be missing */
    return BL_OK;
}

static enum bl_status read_functions(struct bl_table_reader *r, double *buffer, struct bl_error *err)
{
    struct bl_eam_table *t = &r->out->eam;
    const size_t n = r->out->elements, wide = 4 * (t->points - 1);
    double *density = t->density, *pair = t->pair;
    enum bl_status status = BL_OK;
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        size_t number;
        status = read_element(r, &number, err);
        if (status == BL_OK) status = read_function(r, buffer, t->rho_points, t->embed + i * 4 * (t->rho_points - 1),
                                                   "an embedding energy", err);
        for (size_t k = 0; status == BL_OK && k < t->densities; k++, density += wide)
            status = read_function(r, buffer, t->points, density, "a density", err);
    }
    for (size_t k = 0; status == BL_OK && k < n * (n + 1) / 2; k++, pair += wide)
        status = read_function(r, buffer, t->points, pair, "a pair energy", err);
    return status == BL_OK ? bl_table_end(r, err) : status;
}

enum bl_status bl_setfl_read(struct bl_table_reader *r, struct bl_error *err)
{
    struct grid g;
    enum bl_status status = BL_OK;
    for (int i = 0; status == BL_OK && i < 3; i++) status = skip_line(r, err);
    if (status == BL_OK) status = read_names(r, err);
    if (status == BL_OK) status = read_grid(r, &g, err);
    if (status != BL_OK) return status;
    const size_t n = r->out->elements, densities = r->out->format == BL_TABLE_FINNIS_SINCLAIR ? n : 1;
    status = check_size(r, (double)n * ((double)g.rho_points + (double)densities * (double)g.points) +
                               0.5 * (double)n * (double)(n + 1) * (double)g.points, err);
    if (status == BL_OK) status = table_room(r, &g, densities, err);
    if (status != BL_OK) return status;
    double *buffer = bl_alloc_array(r->quota, g.points > g.rho_points ? g.points : g.rho_points, sizeof *buffer, err);
    if (!buffer) return bl_alloc_status(err);
    status = read_functions(r, buffer, err);
    bl_free(buffer);
    return status;
}

/* ---- funcfl ----------------------------------------------------------------------- */

struct funcfl {
    struct grid grid;
    double *embed, *charge, *density; /* one block */
};

static enum bl_status read_funcfl(struct bl_table_reader *r, struct funcfl *f, struct bl_error *err)
{
    size_t number;
    uint32_t at;
    enum bl_status status = skip_line(r, err);
    if (status == BL_OK) status = read_element(r, &number, err);
    if (status == BL_OK && number >= BL_ELEMENT_COUNT)
        status = bl_text_expected(&r->text, err, "a line with an atomic number before this one");
    if (status == BL_OK) {
        const char *symbol = bl_elements[number].symbol;
        const size_t before = r->out->elements;
        status = bl_table_name(r, (struct bl_token){symbol, strlen(symbol)}, &at, err);
        if (status == BL_OK && at != before) status = bl_fail_invalid(err, "table", "two files are about %s", symbol);
    }
    if (status == BL_OK) status = read_grid(r, &f->grid, err);
    if (status != BL_OK) return status;
    const size_t n = f->grid.points, m = f->grid.rho_points;
    status = check_size(r, 2.0 * (double)n + (double)m, err);
    if (status != BL_OK) return status;
    f->embed = bl_alloc_array(r->quota, m + 2 * n, sizeof(double), err);
    if (!f->embed) return bl_alloc_status(err);
    f->charge = f->embed + m;
    f->density = f->charge + n;
    status = read_values(r, f->embed, m, "an embedding energy", err);
    if (status == BL_OK) status = read_values(r, f->charge, n, "an effective charge", err);
    if (status == BL_OK) status = read_values(r, f->density, n, "a density", err);
    return status == BL_OK ? bl_table_end(r, err) : status;
}

/* Third-order Lagrange interpolation at x steps from the first of n points. */
static double interpolate(const double *f, size_t n, double x)
{
    double k = floor(x);
    if (k < 1) k = 1;
    if (k > (double)n - 3) k = (double)n - 3;
    const double p = fmin(x - k, 2);
    const double *at = f + (size_t)k;
    return -p * (p - 1) * (p - 2) / 6 * at[-1] + (p * p - 1) * (p - 2) / 2 * at[0] - p * (p + 1) * (p - 2) / 2 * at[1] +
           p * (p * p - 1) / 6 * at[2];
}

/* The widest range in the widest steps, as LAMMPS takes them; so one file alone loses its last point. */
static enum bl_status common_grid(const struct funcfl *files, size_t count, struct grid *out, struct bl_error *err)
{
    struct grid g = {.dr = 0};
    double most = 0, most_rho = 0;
    for (size_t i = 0; i < count; i++) {
        const struct grid *f = &files[i].grid;
        g.dr = fmax(g.dr, f->dr);
        g.drho = fmax(g.drho, f->drho);
        g.cutoff = fmax(g.cutoff, f->cutoff);
        most = fmax(most, (double)(f->points - 1) * f->dr);
        most_rho = fmax(most_rho, (double)(f->rho_points - 1) * f->drho);
    }
    /* At most what the widest file has. */
    g.points = (size_t)fmin(most / g.dr + 0.5, POINTS_MAX);
    g.rho_points = (size_t)fmin(most_rho / g.drho + 0.5, POINTS_MAX);
    if (g.points < POINTS_MIN || g.rho_points < POINTS_MIN) return bl_fail_invalid(err, "table", "too few points in common");
    *out = g;
    return BL_OK;
}

static double charge_at(const struct funcfl *f, double r) { return interpolate(f->charge, f->grid.points, r / f->grid.dr); }

static enum bl_status fill(struct bl_ctx *ctx, struct bl_table *out, const struct funcfl *files, double *buffer, struct bl_error *err)
{
    struct bl_eam_table *t = &out->eam;
    const size_t wide = 4 * (t->points - 1);
    double *pair = t->pair;
    for (size_t i = 0; i < out->elements; i++) {
        const struct funcfl *f = &files[i];
        enum bl_status status = bl_ctx_check(ctx, err);
        for (size_t m = 0; m < t->rho_points; m++)
            buffer[m] = interpolate(f->embed, f->grid.rho_points, (double)m * t->drho / f->grid.drho);
        bl_spline_make(buffer, t->rho_points, t->embed + i * 4 * (t->rho_points - 1));
        for (size_t m = 0; m < t->points; m++) buffer[m] = interpolate(f->density, f->grid.points, (double)m * t->dr / f->grid.dr);
        bl_spline_make(buffer, t->points, t->density + i * wide);
        for (size_t j = 0; status == BL_OK && j <= i; j++, pair += wide) {
            status = bl_ctx_check(ctx, err);
            for (size_t m = 0; m < t->points; m++) {
                const double r = (double)m * t->dr;
                buffer[m] = 27.2 * 0.529 * charge_at(f, r) * charge_at(&files[j], r);
            }
            bl_spline_make(buffer, t->points, pair);
        }
        if (status != BL_OK) return status;
    }
    return BL_OK;
}

static enum bl_status join(struct bl_table_reader *r, const struct funcfl *files, size_t count, struct bl_error *err)
{
    struct grid g;
    enum bl_status status = common_grid(files, count, &g, err);
    if (status == BL_OK) status = table_room(r, &g, 1, err);
    if (status != BL_OK) return status;
    double *buffer = bl_alloc_array(r->quota, g.points > g.rho_points ? g.points : g.rho_points, sizeof *buffer, err);
    if (!buffer) return bl_alloc_status(err);
    status = fill(r->ctx, r->out, files, buffer, err);
    bl_free(buffer);
    return status;
}

/* A line and a column say little without the file. */
static void name_file(struct bl_error *err, size_t i)
{
    const size_t len = strlen(err->text);
    snprintf(err->text + len, sizeof err->text - len, " (file %zu)", i + 1);
}

enum bl_status bl_funcfl_read(struct bl_table_reader *r, const struct bl_table_file *files, size_t count, struct bl_error *err)
{
    if (count > BL_TABLE_ELEMENTS_MAX) return bl_fail_limit(err, "table_elements", BL_TABLE_ELEMENTS_MAX, count);
    struct funcfl *read = bl_alloc_zero(r->quota, count * sizeof *read, err);
    if (!read) return bl_alloc_status(err);
    enum bl_status status = BL_OK;
    for (size_t i = 0; status == BL_OK && i < count; i++) {
        bl_text_init(&r->text, files[i].data, files[i].len);
        status = read_funcfl(r, &read[i], err);
        if (count > 1 && (status == BL_SYNTAX || status == BL_INVALID)) name_file(err, i);
    }
    if (status == BL_OK) status = join(r, read, count, err);
    for (size_t i = 0; i < count; i++) bl_free(read[i].embed);
    bl_free(read);
    return status;
}
