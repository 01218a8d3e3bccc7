/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of potentials for the C tests: smooth functions on a grid, numbers that no paper gave.
 */
#ifndef TABLE_FIXTURE_H
#define TABLE_FIXTURE_H

#include "crystal_fixture.h"

enum { FIXTURE_POINTS = 2001, FIXTURE_RHO_POINTS = 501 };
#define FIXTURE_CUTOFF 5.2
#define FIXTURE_DR (FIXTURE_CUTOFF / (FIXTURE_POINTS - 1))
#define FIXTURE_DRHO 0.05

static double fixture_tail(double r) { return r < FIXTURE_CUTOFF ? pow(1 - r / FIXTURE_CUTOFF, 4) : 0; }
/* By kinds of atoms: of those at the place and of those around it. */
static double fixture_rho(double r, int at, int of) { return (4 + of + 0.5 * at) * exp(-0.4 * r) * fixture_tail(r); }
static double fixture_phi(double r, int a, int b) { return (200 + 30 * (a + b)) * exp(-2.0 * r) * fixture_tail(r); }
static double fixture_embed(double rho, int a) { return -(1.5 + 0.2 * a) * (sqrt(rho + 2) - sqrt(2)); }

struct fixture_text {
    char *data;
    size_t len, capacity;
};

__attribute__((unused, format(printf, 2, 3))) static void fixture_add(struct fixture_text *t, const char *format, ...)
{
    va_list args;
    if (t->len + 512 > t->capacity) {
        t->capacity = 2 * t->capacity + 4096;
        t->data = realloc(t->data, t->capacity);
    }
    va_start(args, format);
    t->len += (size_t)vsnprintf(t->data + t->len, 512, format, args);
    va_end(args);
}

/* setfl, or Finnis-Sinclair. */
__attribute__((unused)) static struct fixture_text fixture_setfl(bool finnis_sinclair)
{
    static const char *const names[] = {"Cu", "Ni"};
    struct fixture_text t = {NULL, 0, 0};
    fixture_add(&t, "made\nfor\ntests\n2 Cu Ni\n%d %.17g %d %.17g %.17g\n", FIXTURE_RHO_POINTS, FIXTURE_DRHO, FIXTURE_POINTS, FIXTURE_DR,
            FIXTURE_CUTOFF);
    for (int a = 0; a < 2; a++) {
        fixture_add(&t, "%d 60 3.6 fcc # %s\n", 28 + a, names[a]);
        for (int i = 0; i < FIXTURE_RHO_POINTS; i++) fixture_add(&t, "%.17g\n", fixture_embed(i * FIXTURE_DRHO, a));
        for (int b = 0; b < (finnis_sinclair ? 2 : 1); b++)
            for (int i = 0; i < FIXTURE_POINTS; i++) fixture_add(&t, "%.17g%s", fixture_rho(i * FIXTURE_DR, finnis_sinclair ? b : 0, a),
                    i % 5 == 4 ? "\n" : " ");
        fixture_add(&t, "\n");
    }
    for (int a = 0; a < 2; a++)
        for (int b = 0; b <= a; b++)
            for (int i = 0; i < FIXTURE_POINTS; i++) fixture_add(&t, "%.17g\n", i * FIXTURE_DR * fixture_phi(i * FIXTURE_DR, a, b));
    return t;
}

static const char fixture_sw[] = "# made for tests\n"
    "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"
    "C C C 2.5 1.9 1.9 25.0 1.10 -0.3 7.0 0.58 4.0 0.0 0.0\n"
    "Si C C 2.3 2.0 1.85 23 1.15 -0.32 7.1 0.59 3.7 0.4 0.0\n"
    "C Si Si 2.3 2.0 1.85 22 1.15 -0.33 7.1 0.59 3.7 0.4 0.0\n"
    "Si Si C 2.2 0 0 21 0 -0.31\n    0 0 0 0 0 # over two lines\n"
    "Si C Si 2.2 0 0 21 0 -0.31 0 0 0 0 0\n"
    "C C Si 2.1 0 0 21 0 -0.35 0 0 0 0 0\n"
    "C Si C 2.1 0 0 21 0 -0.35 0 0 0 0 0\n";

static const char fixture_tersoff[] =
    "Si Si Si 3 1.0 1.3258 4.8381 2.0417 0.0 22.956 0.33675 1.3258 95.373 3.0 0.2 3.2394 3264.7\n";

__attribute__((unused)) static struct bl_table *fixture_table(enum bl_table_format format, const char *data, size_t len)
{
    struct bl_error err;
    struct bl_table *table;
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, data, len);
    REQUIRE(OK(bl_table_read(NULL, format, &(struct bl_table_file){copy, len}, 1, &table, &err)));
    free(copy);
    return table;
}

#endif
