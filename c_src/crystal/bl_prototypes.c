/* SPDX-License-Identifier: Apache-2.0
 *
 * Crystals by name: the asymmetric unit of each prototype, expanded by its space group.
 */
#include <math.h>
#include <string.h>

#include "bl_crystal.h"

enum shape { CUBIC, TETRAGONAL, HEXAGONAL };
enum { X = 1, Y = 2, Z = 4 };

struct site {
    unsigned element; /* of the formula, from 0 */
    double f[3];
    unsigned free; /* X | Y | Z: these coordinates are u */
};

#define THIRD (1.0 / 3)
#define IDEAL 1.63299316185545206546 /* c/a of spheres: sqrt(8/3) */

/* rows: of sites; ratio: the usual c/a; u: the usual free coordinate, 0 where there is none. */
static const struct prototype {
    const char *name, *setting;
    enum shape shape;
    unsigned elements, rows;
    double ratio, u;
    struct site sites[3];
} prototypes[] = {
    {"sc", "P m -3 m", CUBIC, 1, 1, 1, 0, {{0, {0, 0, 0}, 0}}},
    {"bcc", "I m -3 m", CUBIC, 1, 1, 1, 0, {{0, {0, 0, 0}, 0}}},
    {"fcc", "F m -3 m", CUBIC, 1, 1, 1, 0, {{0, {0, 0, 0}, 0}}},
    {"hcp", "P 63/m m c", HEXAGONAL, 1, 1, IDEAL, 0, {{0, {THIRD, 2 * THIRD, 0.25}, 0}}},
    {"diamond", "F d -3 m:1", CUBIC, 1, 1, 1, 0, {{0, {0, 0, 0}, 0}}},
    {"graphite", "P 63/m m c", HEXAGONAL, 1, 2, 2.726, 0, {{0, {0, 0, 0.25}, 0}, {0, {THIRD, 2 * THIRD, 0.25}, 0}}},
    {"beta_sn", "I 41/a m d:1", TETRAGONAL, 1, 1, 0.5456, 0, {{0, {0, 0, 0}, 0}}},
    {"rock_salt", "F m -3 m", CUBIC, 2, 2, 1, 0, {{0, {0, 0, 0}, 0}, {1, {0.5, 0.5, 0.5}, 0}}},
    {"cscl", "P m -3 m", CUBIC, 2, 2, 1, 0, {{0, {0, 0, 0}, 0}, {1, {0.5, 0.5, 0.5}, 0}}},
    {"zinc_blende", "F -4 3 m", CUBIC, 2, 2, 1, 0, {{0, {0, 0, 0}, 0}, {1, {0.25, 0.25, 0.25}, 0}}},
    {"wurtzite", "P 63 m c", HEXAGONAL, 2, 2, IDEAL, 0.375, {{0, {THIRD, 2 * THIRD, 0}, 0}, {1, {THIRD, 2 * THIRD, 0}, Z}}},
    {"nias", "P 63/m m c", HEXAGONAL, 2, 2, 1.39, 0, {{0, {0, 0, 0}, 0}, {1, {THIRD, 2 * THIRD, 0.25}, 0}}},
    {"fluorite", "F m -3 m", CUBIC, 2, 2, 1, 0, {{0, {0, 0, 0}, 0}, {1, {0.25, 0.25, 0.25}, 0}}},
    {"rutile", "P 42/m n m", TETRAGONAL, 2, 2, 0.6441, 0.3053, {{0, {0, 0, 0}, 0}, {1, {0, 0, 0}, X | Y}}},
    {"perovskite", "P m -3 m", CUBIC, 3, 3, 1, 0, {{0, {0, 0, 0}, 0}, {1, {0.5, 0.5, 0.5}, 0}, {2, {0, 0.5, 0.5}, 0}}},
    {"spinel", "F d -3 m:2", CUBIC, 3, 3, 1, 0.2624,
     {{0, {0.125, 0.125, 0.125}, 0}, {1, {0.5, 0.5, 0.5}, 0}, {2, {0, 0, 0}, X | Y | Z}}},
    {"l1_2", "P m -3 m", CUBIC, 2, 2, 1, 0, {{0, {0, 0.5, 0.5}, 0}, {1, {0, 0, 0}, 0}}},
    /* In the face-centred cell of four atoms: the centring is not a standard one, so operations of P 4/m m m with it. */
    {"l1_0", "-P 4 2", TETRAGONAL, 2, 3, 0.926, 0, {{0, {0, 0, 0}, 0}, {0, {0.5, 0.5, 0}, 0}, {1, {0.5, 0, 0.5}, 0}}},
    {"a15", "P m -3 n", CUBIC, 2, 2, 1, 0, {{0, {0.25, 0, 0.5}, 0}, {1, {0, 0, 0}, 0}}},
    {"heusler", "F m -3 m", CUBIC, 3, 3, 1, 0, {{0, {0.25, 0.25, 0.25}, 0}, {1, {0.5, 0.5, 0.5}, 0}, {2, {0, 0, 0}, 0}}},
};
enum { PROTOTYPES = sizeof prototypes / sizeof *prototypes };

const char *bl_prototype_name(size_t i) { return i < PROTOTYPES ? prototypes[i].name : NULL; }

static enum bl_status check(const struct prototype *p, size_t count, const struct bl_prototype_parameters *x, struct bl_error *err)
{
    const double all[] = {x->a, x->c, x->c_over_a, x->u};
    static const char *const names[] = {"a", "c", "c_over_a", "u"};
    if (count != p->elements)
        return bl_fail_invalid(err, "elements", "%s has %u elements, %zu are given", p->name, p->elements, count);
    for (size_t i = 0; i < 4; i++)
        if (!isfinite(all[i]) || all[i] < 0 || (i == 0 && all[i] == 0)) return bl_fail_invalid(err, names[i], "a positive number");
    if (p->shape == CUBIC && x->c > 0) return bl_fail_invalid(err, "c", "%s is cubic", p->name);
    if (p->shape == CUBIC && x->c_over_a > 0) return bl_fail_invalid(err, "c_over_a", "%s is cubic", p->name);
    if (x->c > 0 && x->c_over_a > 0) return bl_fail_invalid(err, "c_over_a", "c is given, too");
    if (p->u == 0 && x->u > 0) return bl_fail_invalid(err, "u", "%s has no free coordinate", p->name);
    return BL_OK;
}

/* a along x, c along z. */
static void set_cell(const struct prototype *p, const struct bl_prototype_parameters *x, struct bl_structure *s)
{
    const double ratio = x->c_over_a > 0 ? x->c_over_a : p->ratio;
    const double half_root_three = 0.86602540378443864676;
    s->cell[0][0] = x->a;
    s->cell[1][0] = p->shape == HEXAGONAL ? -0.5 * x->a : 0;
    s->cell[1][1] = p->shape == HEXAGONAL ? half_root_three * x->a : x->a;
    s->cell[2][2] = x->c > 0 ? x->c : ratio * x->a;
    for (int k = 0; k < 3; k++) s->pbc[k] = true;
}

static enum bl_status asymmetric_unit(const struct prototype *p, const char *const *elements, const struct bl_prototype_parameters *x,
                                      struct bl_structure *s, struct bl_error *err)
{
    enum bl_status status = bl_structure_allocate(s, p->rows, NULL, err);
    if (status != BL_OK) return status;
    set_cell(p, x, s);
    const double u = x->u > 0 ? x->u : p->u;
    for (size_t i = 0; status == BL_OK && i < s->atoms; i++) {
        const struct site *site = &p->sites[i];
        const char *symbol = elements[site->element];
        status = bl_structure_species(s, symbol, strlen(symbol), &s->types[i], err);
        for (unsigned k = 0; k < 3; k++) {
            const double f = site->free & (1u << k) ? u : site->f[k];
            for (size_t c = 0; c < 3; c++) s->positions[3 * i + c] += f * s->cell[k][c];
        }
    }
    return status;
}

enum bl_status bl_structure_prototype(struct bl_ctx *ctx, const char *name, const char *const *elements, size_t count,
                                      const struct bl_prototype_parameters *parameters, struct bl_structure *out, struct bl_error *err)
{
    struct bl_error local;
    const struct prototype *p = NULL;
    if (!err) err = &local;
    for (size_t i = 0; i < PROTOTYPES; i++)
        if (strcmp(prototypes[i].name, name) == 0) p = &prototypes[i];
    if (!p) return bl_fail_invalid(err, "prototype", "\"%.40s\" is none", name);
    enum bl_status status = check(p, count, parameters, err);
    if (status != BL_OK) return status;
    struct bl_structure unit;
    struct bl_symmetry group = {.count = 0};
    bl_structure_init(&unit, bl_ctx_quota(ctx));
    status = asymmetric_unit(p, elements, parameters, &unit, err);
    if (status == BL_OK) status = bl_symmetry_from_name(p->setting, strlen(p->setting), bl_ctx_quota(ctx), &group, err);
    if (status == BL_OK) status = bl_structure_expand(ctx, &unit, &group, 0, out, err);
    bl_symmetry_clear(&group);
    bl_structure_clear(&unit);
    return status;
}
