/* SPDX-License-Identifier: Apache-2.0
 *
 * Which symmetry a CIF has. The first of these that is there counts:
 *
 *   option setting > operations > magnetic operations > Hall symbol > Hermann-Mauguin symbol > number
 *
 * A symbol or number may stand for several settings. Those whose operations change the shape of the
 * cell are out; then formula x Z and the multiplicities of the file decide. What is still open is
 * asked for.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bl_cif.h"

enum { CANDIDATES_MAX = 48 };

/* ---- does it fit the cell? --------------------------------------------------------------- */

static bool fits(const struct cif_reading *c, const struct bl_symmetry *s) { return bl_symmetry_fits(c->cell, s); }

/* ---- operations of the file ------------------------------------------------------------------ */

static enum bl_status read_operations(const struct cif_reading *c, enum cif_item item, struct bl_symop **out, size_t *count,
        struct bl_error *err)
{
    const size_t rows = bl_cif_rows(c, item);
    if (rows > BL_SYMOPS_MAX) return bl_fail_limit(err, "symmetry operations", BL_SYMOPS_MAX, rows);
    struct bl_symop *ops = bl_alloc_array(c->r->out->quota, rows, sizeof *ops, err);
    if (!ops) return bl_alloc_status(err);
    size_t n = 0;
    for (size_t i = 0; i < rows; i++) {
        struct bl_error why;
        const struct cif_value *v = bl_cif_item(c, item, i);
        if (!v) continue;
        if (bl_symop_parse(v->p, v->len, &ops[n], &why) != BL_OK) {
            bl_free(ops);
            return bl_cif_expected(c->doc, v->p, err, "%s", why.text);
        }
        n++;
    }
    *out = ops;
    *count = n;
    return BL_OK;
}

/* Each operation with each centring. */
static enum bl_status with_centrings(const struct cif_reading *c, struct bl_symop **ops, size_t *count, struct bl_error *err)
{
    struct bl_symop *centrings, *all;
    size_t n;
    if (bl_cif_rows(c, CIF_MAGNETIC_CENTRING) == 0) return BL_OK;
    const enum bl_status status = read_operations(c, CIF_MAGNETIC_CENTRING, &centrings, &n, err);
    if (status != BL_OK || n == 0) {
        if (status == BL_OK) bl_free(centrings);
        return status;
    }
    all = n * *count <= BL_SYMOPS_MAX ? bl_alloc_array(c->r->out->quota, n * *count, sizeof *all, err) : NULL;
    if (all) {
        for (size_t k = 0; k < n; k++)
            for (size_t i = 0; i < *count; i++) all[k * *count + i] = bl_symop_multiply(&centrings[k], &(*ops)[i]);
        bl_free(*ops);
        *ops = all;
        *count *= n;
    }
    bl_free(centrings);
    if (all) return BL_OK;
    return n * *count > BL_SYMOPS_MAX ? bl_fail_limit(err, "symmetry operations", BL_SYMOPS_MAX, n * *count) : bl_alloc_status(err);
}

static size_t different(const struct bl_symop *ops, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        size_t k = 0;
        while (k < i && !bl_symop_equal(&ops[k], &ops[i])) k++;
        n += k == i;
    }
    return n;
}

/* A list that is not a group is completed when that gives an ordinary one; else it stands as it is. `remark` says so. */
static enum bl_status group_of(const struct cif_reading *c, struct bl_symop *ops, size_t count, struct bl_symmetry *out,
        char remark[BL_WARNING_SIZE], struct bl_error *err)
{
    struct bl_error why;
    struct bl_symmetry s;
    const enum bl_status status = bl_symmetry_from_ops(ops, count, c->r->out->quota, &s, &why);
    if (status != BL_OK && status != BL_LIMIT) {
        *err = why;
        return status;
    }
    const size_t listed = different(ops, count);
    if (status == BL_OK && (s.count == listed || s.count <= 192)) {
        if (s.count != listed)
            snprintf(remark, BL_WARNING_SIZE, "the %zu listed operations are not a group: completed to %zu", listed, s.count);
        *out = s;
        return BL_OK;
    }
    if (status == BL_OK) bl_symmetry_clear(&s);
    snprintf(remark, BL_WARNING_SIZE, "the %zu listed operations are not a group: applied as they are", listed);
    struct bl_symop *copy = bl_alloc_array(c->r->out->quota, count + 1, sizeof *copy, err);
    if (!copy) return bl_alloc_status(err);
    copy[0] = bl_symop_identity();
    memcpy(copy + 1, ops, count * sizeof *ops);
    *out = (struct bl_symmetry){.count = count + 1, .ops = copy};
    return BL_OK;
}

static void copy_text(const struct cif_value *v, char *out, size_t size)
{
    if (!v || v->kind == CIF_LIST || v->len >= size) return;
    memcpy(out, v->p, v->len);
    out[v->len] = '\0';
}

/* What the file calls the group of its own operations; taken at its word. */
static void name_group(const struct cif_reading *c, struct bl_symmetry *s)
{
    const struct cif_value *number = bl_cif_item(c, CIF_NUMBER, 0);
    int64_t n;
    copy_text(bl_cif_item(c, CIF_NAME, 0), s->name, sizeof s->name);
    copy_text(bl_cif_item(c, CIF_HALL, 0), s->hall, sizeof s->hall);
    if (number && bl_token_integer((struct bl_token){number->p, number->len}, &n) && n >= 1 && n <= 230) s->number = (uint16_t)n;
}

static enum bl_status from_operations(const struct cif_reading *c, bool magnetic, struct bl_symmetry *out,
        char remark[BL_WARNING_SIZE], struct bl_error *err)
{
    struct bl_symop *ops;
    size_t count;
    enum bl_status status = read_operations(c, magnetic ? CIF_MAGNETIC_OPERATION : CIF_OPERATION, &ops, &count, err);
    if (status != BL_OK) return status;
    if (magnetic) status = with_centrings(c, &ops, &count, err);
    if (status == BL_OK) status = group_of(c, ops, count, out, remark, err);
    bl_free(ops);
    if (status != BL_OK) return status;
    if (magnetic) bl_warn(c->warnings, "magnetic symmetry: moments and time reversal are left out");
    else name_group(c, out);
    return BL_OK;
}

/* ---- candidates --------------------------------------------------------------------------------- */

struct candidates {
    const struct cif_reading *c;
    struct bl_symmetry found[CANDIDATES_MAX];
    size_t count;
};

static void drop(struct candidates *k, size_t i)
{
    bl_symmetry_clear(&k->found[i]);
    k->found[i] = k->found[--k->count];
}

static enum bl_status consider(struct candidates *k, const struct bl_setting *setting, struct bl_error *err)
{
    if (k->count == CANDIDATES_MAX) return BL_OK;
    struct bl_symmetry *s = &k->found[k->count];
    const enum bl_status status = bl_setting_symmetry(setting, k->c->r->out->quota, s, err);
    if (status != BL_OK) return status;
    k->count++;
    bool again = !fits(k->c, s);
    /* Settings of one name differ in the origin at most: the first is the usual one. */
    for (size_t i = 0; !again && i + 1 < k->count; i++)
        again = strcmp(k->found[i].name, s->name) == 0 || bl_symmetry_equal(&k->found[i], s);
    if (again) drop(k, k->count - 1);
    return BL_OK;
}

static enum bl_status by_name(struct candidates *k, const struct cif_value *v, size_t *named, struct bl_error *err)
{
    struct bl_setting *settings = bl_alloc_array(k->c->r->out->quota, CANDIDATES_MAX, sizeof *settings, err);
    if (!settings) return bl_alloc_status(err);
    *named = bl_settings_named(v->p, v->len, settings, CANDIDATES_MAX);
    enum bl_status status = BL_OK;
    for (size_t i = 0; status == BL_OK && i < *named && i < CANDIDATES_MAX; i++) status = consider(k, &settings[i], err);
    bl_free(settings);
    return status;
}

static enum bl_status by_number(struct candidates *k, unsigned number, struct bl_error *err)
{
    unsigned state = 0;
    struct bl_setting setting;
    enum bl_status status = BL_OK;
    while (status == BL_OK && bl_setting_next(number, &state, &setting)) status = consider(k, &setting, err);
    return status;
}

/* A monoclinic symbol for another axis than the cell has, "I 2/c 1 1" where beta is not 90: the same letters for the
 * cell's axis, "I 1 2/c 1"; "R 3 c:R" where the cell is hexagonal. Orthogonal cells do not come here, whatever the symbol:
 * every axis fits them. */
static enum bl_status by_moved_name(struct candidates *k, const struct cif_value *v, struct bl_error *err)
{
    struct bl_setting setting, moved[2];
    if (bl_settings_named(v->p, v->len, &setting, 1) == 0) return BL_OK;
    const size_t count = bl_settings_moved(&setting, moved);
    enum bl_status status = BL_OK;
    for (size_t i = 0; status == BL_OK && i < count; i++) status = consider(k, &moved[i], err);
    return status;
}

/* What an expansion says about a setting: 2 formula and multiplicities agree, 1 one of them is not
 * known, 0 one of them is wrong. */
static enum bl_status judge(const struct cif_reading *c, const struct bl_symmetry *s, int *verdict, struct bl_error *err)
{
    struct cif_expanded x;
    const enum bl_status status = bl_cif_expand(c, s, &x, err);
    if (status != BL_OK) return status;
    *verdict = !bl_cif_formula_agrees(c, x.occupancy) || x.wrong_multiplicities ? 0 : bl_cif_atoms_expected(c) >= 0 ? 2 : 1;
    bl_cif_expanded_clear(&x);
    return BL_OK;
}

/* Keeps the best verdict only. */
static enum bl_status let_counts_decide(struct candidates *k, struct bl_error *err)
{
    int verdicts[CANDIDATES_MAX], best = 0;
    for (size_t i = 0; i < k->count; i++) {
        const enum bl_status status = judge(k->c, &k->found[i], &verdicts[i], err);
        if (status != BL_OK) return status;
        if (verdicts[i] > best) best = verdicts[i];
    }
    if (best == 0) return BL_OK;
    for (size_t i = k->count; i-- > 0;) {
        if (verdicts[i] == best) continue;
        drop(k, i);
        verdicts[i] = verdicts[k->count];
    }
    return BL_OK;
}

static enum bl_status ask(const struct candidates *k, const char *what, struct bl_error *err)
{
    char names[120] = "";
    size_t n = 0;
    for (size_t i = 0; i < k->count && n + 20 < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", k->found[i].name);
    return bl_fail_invalid(err, "setting", "%s leaves it open: give the option setting, one of %s", what, names);
}

static enum bl_status listed_only(struct bl_symmetry *out, struct bl_quota *quota, struct bl_error *err)
{
    const enum bl_status status = bl_symmetry_from_ops(NULL, 0, quota, out, err);
    if (status == BL_OK) snprintf(out->name, sizeof out->name, "P 1"), out->number = 1;
    return status;
}

/* Takes one candidate out; what is left is cleared. */
static enum bl_status decide(struct candidates *k, const char *what, struct bl_symmetry *out, enum bl_symmetry_source *source,
        struct bl_error *err)
{
    const struct cif_reading *c = k->c;
    enum bl_status status = BL_OK;
    if (k->count == 0) {
        bl_warn(c->warnings, "no setting of %s fits the shape of the cell: atoms taken as listed", what);
        *source = BL_SYMMETRY_REFUSED;
        return listed_only(out, c->r->out->quota, err);
    }
    const bool several = k->count > 1;
    if (several) status = let_counts_decide(k, err);
    if (status != BL_OK) return status;
    if (k->count > 1) return ask(k, what, err);
    if (several) bl_warn(c->warnings, "%s names several settings: %s agrees with the formula or multiplicities", what, k->found[0].name);
    *out = k->found[0];
    k->count = 0;
    return BL_OK;
}

static enum bl_status choose_named(struct candidates *k, struct bl_symmetry *out, enum bl_symmetry_source *source, struct bl_error *err)
{
    const struct cif_value *name = bl_cif_item(k->c, CIF_NAME, 0), *number = bl_cif_item(k->c, CIF_NUMBER, 0);
    int64_t n;
    size_t named = 0;
    char what[80];
    if (name) {
        const enum bl_status status = by_name(k, name, &named, err);
        if (status != BL_OK) return status;
        snprintf(what, sizeof what, "the symbol \"%.*s\"", (int)(name->len < 40 ? name->len : 40), name->p);
        *source = BL_SYMMETRY_NAME;
        if (named > 0 && k->count == 0) {
            const enum bl_status moved = by_moved_name(k, name, err);
            if (moved != BL_OK) return moved;
            if (k->count > 0) bl_warn(k->c->warnings, "%s is for other axes than the cell has: read as %s", what, k->found[0].name);
        }
        if (named > 0) return decide(k, what, out, source, err);
        bl_warn(k->c->warnings, "%s is not understood", what);
    }
    if (number && bl_token_integer((struct bl_token){number->p, number->len}, &n) && n >= 1 && n <= 230) {
        const enum bl_status status = by_number(k, (unsigned)n, err);
        if (status != BL_OK) return status;
        snprintf(what, sizeof what, "the number %d", (int)n);
        bl_warn(k->c->warnings, "the symmetry is given by a number alone");
        *source = BL_SYMMETRY_NUMBER;
        return decide(k, what, out, source, err);
    }
    if (name) return bl_fail_invalid(err, "setting", "the space group \"%.*s\" is not known: give the option setting",
            (int)(name->len < 40 ? name->len : 40), name->p);
    bl_warn(k->c->warnings, "no symmetry is given: atoms taken as listed");
    *source = BL_SYMMETRY_NONE;
    return listed_only(out, k->c->r->out->quota, err);
}

/* The one setting of the symbol that fits the cell; where none does, the one for the cell's axis with which formula and
 * multiplicities agree. */
static bool settled_by_name(struct candidates *k, struct bl_symmetry *out)
{
    struct bl_error ignored;
    size_t named = 0;
    const struct cif_value *name = bl_cif_item(k->c, CIF_NAME, 0);
    enum bl_status status = name ? by_name(k, name, &named, &ignored) : BL_INVALID;
    const bool moved = status == BL_OK && named > 0 && k->count == 0;
    if (moved) status = by_moved_name(k, name, &ignored);
    if (status == BL_OK && k->count > 1) status = let_counts_decide(k, &ignored);
    bool settled = status == BL_OK && k->count == 1;
    int verdict = 0;
    if (settled && moved) settled = judge(k->c, &k->found[0], &verdict, &ignored) == BL_OK && verdict == 2;
    if (settled) *out = k->found[--k->count];
    while (k->count > 0) drop(k, k->count - 1);
    return settled;
}

/* The operations of the file; where they are wrong, that is nothing for this cell, or not to be read, and the symbol is
 * clear, the symbol's. */
static enum bl_status listed_operations(const struct cif_reading *c, bool magnetic, struct candidates *k, struct bl_symmetry *out,
        enum bl_symmetry_source *source, struct bl_error *err)
{
    char remark[BL_WARNING_SIZE] = "";
    struct bl_symmetry named;
    *source = magnetic ? BL_SYMMETRY_MAGNETIC : BL_SYMMETRY_OPERATIONS;
    const enum bl_status status = from_operations(c, magnetic, out, remark, err);
    const bool misfit = status == BL_OK && !fits(c, out), wrong = status == BL_SYNTAX || misfit;
    if (wrong && !magnetic && settled_by_name(k, &named)) {
        if (status == BL_OK) bl_symmetry_clear(out);
        bl_warn(c->warnings, "the listed operations are wrong: those of %s are used", named.name);
        *out = named;
        *source = BL_SYMMETRY_NAME;
        return BL_OK;
    }
    if (status == BL_OK && remark[0]) bl_warn(c->warnings, "%s", remark);
    if (misfit) bl_warn(c->warnings, "the operations do not fit the shape of the cell");
    return status;
}

static enum bl_status choose(const struct cif_reading *c, struct candidates *k, struct bl_symmetry *out, enum bl_symmetry_source *source,
        struct bl_error *err)
{
    const char *setting = c->r->options->setting;
    struct bl_quota *quota = c->r->out->quota;
    if (setting) {
        *source = BL_SYMMETRY_OPTION;
        const enum bl_status status = bl_symmetry_from_name(setting, strlen(setting), quota, out, err);
        if (status != BL_OK || fits(c, out)) return status;
        bl_symmetry_clear(out);
        return bl_fail_invalid(err, "setting", "the operations of \"%.40s\" do not fit the shape of the cell", setting);
    }
    for (size_t i = 0; i < bl_cif_rows(c, CIF_OPERATION); i++) {
        if (bl_cif_item(c, CIF_OPERATION, i)) return listed_operations(c, false, k, out, source, err);
    }
    if (bl_cif_rows(c, CIF_MAGNETIC_OPERATION) > 0) return listed_operations(c, true, k, out, source, err);
    const struct cif_value *hall = bl_cif_item(c, CIF_HALL, 0);
    if (hall && bl_symmetry_from_hall(hall->p, hall->len, quota, out, NULL) == BL_OK) {
        *source = BL_SYMMETRY_HALL;
        name_group(c, out);
        if (fits(c, out)) return BL_OK;
        bl_symmetry_clear(out);
        bl_warn(c->warnings, "the Hall symbol does not fit the shape of the cell: not used");
    } else if (hall) {
        bl_warn(c->warnings, "the Hall symbol is not understood");
    }
    return choose_named(k, out, source, err);
}

enum bl_status bl_cif_choose_symmetry(struct cif_reading *c, struct bl_symmetry *out, enum bl_symmetry_source *source, struct bl_error *err)
{
    struct candidates *k = bl_alloc(c->r->out->quota, sizeof *k, err);
    if (!k) return bl_alloc_status(err);
    k->c = c;
    k->count = 0;
    const enum bl_status status = choose(c, k, out, source, err);
    while (k->count > 0) drop(k, k->count - 1);
    bl_free(k);
    return status;
}
