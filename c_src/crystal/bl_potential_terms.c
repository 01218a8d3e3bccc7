/* SPDX-License-Identifier: Apache-2.0
 *
 * Potentials as Erlang terms (the type potential() of beamline_crystal).
 */
#include <math.h>
#include <string.h>

#include "bl_crystal_ops.h"

/* ---- maps of numbers ----------------------------------------------------------- */

struct number {
    const char *key;
    double *value;
};
enum { NUMBERS_MAX = 10 };

static double *find_number(const struct number *numbers, size_t count, const struct bl_span *key)
{
    for (size_t i = 0; i < count; i++)
        if (bl_span_is(key, numbers[i].key)) return numbers[i].value;
    return NULL;
}

enum bl_status bl_read_symbol(struct bl_reader *r, const char *field, char out[BL_SYMBOL_SIZE], struct bl_error *err)
{
    struct bl_span symbol;
    const enum bl_status status = bl_read_binary(r, &symbol);
    if (status != BL_OK) return status;
    if (symbol.len == 0 || symbol.len >= BL_SYMBOL_SIZE || memchr(symbol.data, 0, symbol.len))
        return bl_fail_invalid(err, field, "a symbol has 1 to %d bytes", BL_SYMBOL_SIZE - 1);
    memcpy(out, symbol.data, symbol.len);
    out[symbol.len] = '\0';
    return BL_OK;
}

enum bl_status bl_read_symbols(struct bl_reader *r, const char *field, size_t most, char symbols[][BL_SYMBOL_SIZE], const char *names[],
                               size_t *count, struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_read_list(r, &n);
    if (status == BL_OK && n > most) status = bl_fail_limit(err, field, most, n);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        status = bl_read_symbol(r, field, symbols[i], err);
        names[i] = symbols[i];
    }
    if (status == BL_OK) status = bl_read_list_end(r);
    if (status == BL_OK) *count = n;
    return status;
}

/* species => {A, B}, or <<"A">> where `second` is NULL. */
static enum bl_status read_species(struct bl_reader *r, char *first, char *second, struct bl_error *err)
{
    size_t n;
    if (!second) return bl_read_symbol(r, "species", first, err);
    enum bl_status status = bl_read_tuple(r, &n);
    if (status == BL_OK && n != 2) status = bl_fail_invalid(err, "species", "a tuple of two symbols");
    if (status == BL_OK) status = bl_read_symbol(r, "species", first, err);
    if (status == BL_OK) status = bl_read_symbol(r, "species", second, err);
    return status;
}

/* A map of species, where `first` is given, and of numbers. Those that are missing stay as they are. */
static enum bl_status read_numbers(struct bl_reader *r, char *first, char *second, const struct number *numbers, size_t count,
                                   struct bl_error *err)
{
    size_t n;
    enum bl_status status = bl_read_map(r, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_span key;
        status = bl_read_atom(r, &key);
        if (status != BL_OK) return status;
        double *value = find_number(numbers, count, &key);
        if (value) status = bl_read_number(r, value);
        else if (first && bl_span_is(&key, "species")) status = read_species(r, first, second, err);
        else status = bl_read_unknown_key(r, &key);
    }
    return status;
}

/* ---- the map of a potential ------------------------------------------------------ */

/* What stands in the map before the type says what it means. */
struct form {
    const char *type_name;
    struct bl_lj_pair lj;
    struct bl_morse_pair morse;
    double cutoff;
    bool has_lj, has_morse, has_cutoff, has_pairs, has_parameters, has_table, has_format;
    struct bl_span pairs, parameters, table; /* encoded */
    enum bl_term_type parameters_type;
    enum bl_table_format format;
};

static const struct {
    const char *name;
    enum bl_potential_type type;
} types[] = {{"lennard_jones", BL_POTENTIAL_LENNARD_JONES}, {"stillinger_weber", BL_POTENTIAL_STILLINGER_WEBER},
             {"morse", BL_POTENTIAL_MORSE},                 {"sutton_chen", BL_POTENTIAL_SUTTON_CHEN},
             {"eam", BL_POTENTIAL_EAM},                     {"tersoff", BL_POTENTIAL_TERSOFF}};

static enum bl_status read_type(struct bl_reader *r, struct bl_potential *p, struct form *f, struct bl_error *err)
{
    struct bl_span name;
    const enum bl_status status = bl_read_atom(r, &name);
    if (status != BL_OK) return status;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!bl_span_is(&name, types[i].name)) continue;
        p->type = types[i].type;
        f->type_name = types[i].name;
        return BL_OK;
    }
    return bl_fail_unsupported(err, "potential type");
}

static enum bl_status read_format(struct bl_reader *r, struct form *f, struct bl_error *err)
{
    struct bl_span name;
    const enum bl_status status = bl_read_atom(r, &name);
    if (status != BL_OK) return status;
    if (bl_span_is(&name, "setfl")) f->format = BL_TABLE_SETFL;
    else if (bl_span_is(&name, "funcfl")) f->format = BL_TABLE_FUNCFL;
    else if (bl_span_is(&name, "finnis_sinclair")) f->format = BL_TABLE_FINNIS_SINCLAIR;
    else return bl_fail_invalid(err, "format", "setfl, funcfl or finnis_sinclair");
    f->has_format = true;
    return BL_OK;
}

static enum bl_status read_field(struct bl_reader *r, struct bl_potential *p, struct form *f, struct bl_error *err)
{
    const struct {
        const char *key;
        double *value;
        bool *has;
    } numbers[] = {{"epsilon", &f->lj.epsilon, &f->has_lj}, {"sigma", &f->lj.sigma, &f->has_lj},
                   {"depth", &f->morse.depth, &f->has_morse},
                   {"alpha", &f->morse.alpha, &f->has_morse}, {"r0", &f->morse.r0, &f->has_morse}, {"cutoff", &f->cutoff, &f->has_cutoff}};
    const struct {
        const char *key;
        struct bl_span *value;
        bool *has;
    } terms[] = {{"pairs", &f->pairs, &f->has_pairs}, {"parameters", &f->parameters, &f->has_parameters},
                 {"table", &f->table, &f->has_table}};
    struct bl_span key;
    const enum bl_status status = bl_read_atom(r, &key);
    if (status != BL_OK) return status;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!bl_span_is(&key, numbers[i].key)) continue;
        *numbers[i].has = true;
        bl_reader_at(r, numbers[i].key);
        return bl_read_number(r, numbers[i].value);
    }
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
        if (!bl_span_is(&key, terms[i].key)) continue;
        *terms[i].has = true;
        if (terms[i].value == &f->parameters) f->parameters_type = bl_read_type(r);
        return bl_read_raw(r, terms[i].value);
    }
    if (bl_span_is(&key, "shift")) return bl_read_bool(r, &p->shift);
    if (bl_span_is(&key, "format")) return read_format(r, f, err);
    if (bl_span_is(&key, "type")) return read_type(r, p, f, err);
    return bl_read_unknown_key(r, &key);
}

/* ---- lists of pairs, of elements --------------------------------------------------- */

typedef enum bl_status read_entry_fn(struct bl_reader *r, struct bl_term_potential *p, size_t i, struct bl_error *err);

static enum bl_status read_lj_pair(struct bl_reader *r, struct bl_term_potential *p, size_t i, struct bl_error *err)
{
    struct bl_lj_pair *x = &p->lj[i];
    *x = (struct bl_lj_pair){.epsilon = NAN, .sigma = NAN, .cutoff = NAN};
    const struct number numbers[] = {{"epsilon", &x->epsilon}, {"sigma", &x->sigma}, {"cutoff", &x->cutoff}};
    const enum bl_status status = read_numbers(r, x->species[0], x->species[1], numbers, 3, err);
    if (status == BL_OK && x->species[0][0] == '\0') return bl_fail_invalid(err, "pairs", "a pair needs species => {A, B}");
    p->potential.pair_count = i + 1;
    return status;
}

static enum bl_status read_morse_pair(struct bl_reader *r, struct bl_term_potential *p, size_t i, struct bl_error *err)
{
    struct bl_morse_pair *x = &p->morse[i];
    *x = (struct bl_morse_pair){.depth = NAN, .alpha = NAN, .r0 = NAN, .cutoff = NAN};
    const struct number numbers[] = {{"depth", &x->depth}, {"alpha", &x->alpha}, {"r0", &x->r0}, {"cutoff", &x->cutoff}};
    const enum bl_status status = read_numbers(r, x->species[0], x->species[1], numbers, 4, err);
    if (status == BL_OK && x->species[0][0] == '\0') return bl_fail_invalid(err, "pairs", "a pair needs species => {A, B}");
    p->potential.morse_count = i + 1;
    return status;
}

static enum bl_status read_sutton_chen(struct bl_reader *r, struct bl_term_potential *p, size_t i, struct bl_error *err)
{
    struct bl_sutton_chen *x = &p->sutton_chen[i];
    *x = (struct bl_sutton_chen){.epsilon = NAN, .a = NAN, .c = NAN, .n = NAN, .m = NAN};
    const struct number numbers[] = {{"epsilon", &x->epsilon}, {"a", &x->a}, {"c", &x->c}, {"n", &x->n}, {"m", &x->m}};
    const enum bl_status status = read_numbers(r, x->species, NULL, numbers, 5, err);
    if (status == BL_OK && x->species[0] == '\0') return bl_fail_invalid(err, "parameters", "an element needs species => Symbol");
    p->potential.sutton_chen_count = i + 1;
    return status;
}

static enum bl_status read_list(struct bl_reader *outer, const struct bl_span *encoded, const char *field, size_t most,
                                read_entry_fn *entry, struct bl_term_potential *p, struct bl_error *err)
{
    struct bl_reader r;
    size_t n;
    bl_reader_init(&r, encoded, 1, &outer->limits, outer->quota, err);
    bl_reader_at(&r, field);
    enum bl_status status = bl_read_list(&r, &n);
    if (status == BL_OK && n > most) status = bl_fail_limit(err, field, most, n);
    for (size_t i = 0; status == BL_OK && i < n; i++) status = entry(&r, p, i, err);
    if (status == BL_OK) status = bl_read_list_end(&r);
    bl_reader_clear(&r);
    return status;
}

/* ---- parameters ---------------------------------------------------------------------- */

static enum bl_status read_sw(struct bl_reader *r, struct bl_sw *sw, struct bl_error *err)
{
    *sw = (struct bl_sw){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    const struct number numbers[NUMBERS_MAX] = {
        {"epsilon", &sw->epsilon}, {"sigma", &sw->sigma}, {"a", &sw->a}, {"lambda", &sw->lambda},
        {"gamma", &sw->gamma}, {"cos_theta0", &sw->cos_theta0}, {"a_coefficient", &sw->big_a},
        {"b_coefficient", &sw->big_b}, {"p", &sw->p}, {"q", &sw->q},
    };
    const enum bl_status status = read_numbers(r, NULL, NULL, numbers, NUMBERS_MAX, err);
    for (size_t i = 0; status == BL_OK && i < NUMBERS_MAX; i++)
        if (isnan(*numbers[i].value)) return bl_fail_invalid(err, "parameters",
            "all ten of epsilon, sigma, a, lambda, gamma, cos_theta0, a_coefficient, b_coefficient, p, q");
    return status;
}

/* The names of built-in sets. */
static enum bl_status read_set(struct bl_reader *r, const char *const *sets, const char **out, struct bl_error *err)
{
    struct bl_span name;
    const enum bl_status status = bl_read_atom(r, &name);
    if (status != BL_OK) return status;
    for (; *sets; sets++) {
        if (!bl_span_is(&name, *sets)) continue;
        *out = *sets;
        return BL_OK;
    }
    return bl_fail_invalid(err, "parameters", "no built-in set of this name");
}

static enum bl_status read_parameters(struct bl_reader *outer, const struct form *f, struct bl_term_potential *p, struct bl_error *err)
{
    static const char *const sw[] = {"silicon", NULL}, *const morse[] = {"girifalco_weizer", NULL},
                      *const sutton_chen[] = {"sutton_chen", NULL}, *const tersoff[] = {"silicon", "silicon_carbide_germanium", NULL},
                      *const none[] = {NULL};
    struct bl_potential *x = &p->potential;
    if (x->type == BL_POTENTIAL_SUTTON_CHEN && f->parameters_type == BL_TERM_LIST)
        return read_list(outer, &f->parameters, "parameters", BL_ELEMENT_COUNT, read_sutton_chen, p, err);
    struct bl_reader r;
    bl_reader_init(&r, &f->parameters, 1, &outer->limits, outer->quota, err);
    bl_reader_at(&r, "parameters");
    enum bl_status status;
    if (x->type == BL_POTENTIAL_STILLINGER_WEBER) {
        status = bl_read_type(&r) == BL_TERM_ATOM ? read_set(&r, sw, &x->set, err) : read_sw(&r, &x->sw, err);
    } else {
        status = read_set(&r, x->type == BL_POTENTIAL_MORSE ? morse : x->type == BL_POTENTIAL_SUTTON_CHEN ? sutton_chen :
            x->type == BL_POTENTIAL_TERSOFF ? tersoff : none, &x->set, err);
    }
    bl_reader_clear(&r);
    return status;
}

/* ---- tables ------------------------------------------------------------------------------ */

enum { FILES_MAX = BL_ELEMENT_COUNT };

static enum bl_status read_files(struct bl_reader *r, struct bl_table_file *files, size_t *count, struct bl_error *err)
{
    struct bl_span file;
    size_t n = 1;
    const bool list = bl_read_type(r) == BL_TERM_LIST;
    enum bl_status status = list ? bl_read_list(r, &n) : BL_OK;
    if (status == BL_OK && n > FILES_MAX) return bl_fail_limit(err, "table", FILES_MAX, n);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        status = bl_read_binary(r, &file);
        if (status == BL_OK) files[i] = (struct bl_table_file){(const char *)file.data, file.len};
    }
    *count = n;
    return status == BL_OK && list ? bl_read_list_end(r) : status;
}

static enum bl_status read_table(struct bl_ctx *ctx, struct bl_reader *outer, const struct form *f, struct bl_term_potential *p,
                                 struct bl_error *err)
{
    struct bl_table_file files[FILES_MAX];
    size_t count = 0;
    const enum bl_table_format format = p->potential.type == BL_POTENTIAL_STILLINGER_WEBER ? BL_TABLE_SW
                                        : p->potential.type == BL_POTENTIAL_TERSOFF        ? BL_TABLE_TERSOFF
                                                                                           : f->format;
    struct bl_reader r;
    bl_reader_init(&r, &f->table, 1, &outer->limits, outer->quota, err);
    bl_reader_at(&r, "table");
    enum bl_status status = read_files(&r, files, &count, err);
    if (status == BL_OK) status = bl_table_read(ctx, format, files, count, &p->table, err);
    if (status == BL_OK) p->potential.table = p->table;
    bl_reader_clear(&r);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* Which keys a type takes beside `type`. */
static enum bl_status check_form(const struct bl_potential *p, const struct form *f, struct bl_error *err)
{
    const bool lj = p->type == BL_POTENTIAL_LENNARD_JONES, morse = p->type == BL_POTENTIAL_MORSE, eam = p->type == BL_POTENTIAL_EAM,
               sw = p->type == BL_POTENTIAL_STILLINGER_WEBER, sutton_chen = p->type == BL_POTENTIAL_SUTTON_CHEN,
               tersoff = p->type == BL_POTENTIAL_TERSOFF;
    const struct {
        bool there, taken;
        const char *what;
    } keys[] = {{f->has_lj, lj, "epsilon and sigma"},      {f->has_morse, morse, "depth, alpha and r0"},
                {f->has_pairs, lj || morse, "pairs"},      {f->has_cutoff, lj || morse || sutton_chen, "cutoff"},
                {p->shift, lj || morse, "shift"},          {f->has_parameters, sw || morse || sutton_chen || tersoff, "parameters"},
                {f->has_table, eam || sw || tersoff, "table"}, {f->has_format, eam, "format"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].there && !keys[i].taken) return bl_fail_invalid(err, "potential", "%s does not take %s", f->type_name, keys[i].what);
    if (lj && !f->has_lj && !f->has_pairs) return bl_fail_invalid(err, "potential",
            "lennard_jones needs epsilon, sigma and cutoff, or pairs");
    if (morse && f->has_parameters && (f->has_morse || f->has_pairs)) return bl_fail_invalid(err, "potential",
            "morse takes parameters, or depth, alpha, r0 and pairs");
    if (morse && !f->has_parameters && !f->has_morse && !f->has_pairs) return bl_fail_invalid(err, "potential",
            "morse needs depth, alpha, r0 and cutoff, or pairs, or parameters => girifalco_weizer");
    if ((sw || tersoff) && f->has_parameters == f->has_table) return bl_fail_invalid(err, "potential",
            "%s needs parameters, or table", f->type_name);
    if (eam && (!f->has_table || !f->has_format)) return bl_fail_invalid(err, "potential",
            "eam needs table, and format: setfl, funcfl or finnis_sinclair");
    return BL_OK;
}

static enum bl_status finish(struct bl_ctx *ctx, struct bl_reader *r, struct form *f, struct bl_term_potential *p, struct bl_error *err)
{
    struct bl_potential *x = &p->potential;
    enum bl_status status = check_form(x, f, err);
    /* One place stays for the general pair. */
    if (status == BL_OK && f->has_pairs)
        status = read_list(r, &f->pairs, "pairs", BL_LJ_PAIRS_MAX - 1,
                           x->type == BL_POTENTIAL_MORSE ? read_morse_pair : read_lj_pair, p, err);
    if (status == BL_OK && f->has_parameters) status = read_parameters(r, f, p, err);
    if (status == BL_OK && f->has_table) status = read_table(ctx, r, f, p, err);
    if (status != BL_OK) return status;
    if (f->has_lj) {
        f->lj.cutoff = f->cutoff;
        p->lj[x->pair_count++] = f->lj;
    }
    if (f->has_morse) {
        f->morse.cutoff = f->cutoff;
        p->morse[x->morse_count++] = f->morse;
    }
    if (f->has_cutoff && !(f->cutoff > 0)) return bl_fail_invalid(err, "cutoff", "a positive number");
    x->cutoff = f->has_cutoff ? f->cutoff : 0;
    if (x->type == BL_POTENTIAL_SUTTON_CHEN && !f->has_parameters) x->set = "sutton_chen";
    return BL_OK;
}

enum bl_status bl_read_potential(struct bl_ctx *ctx, struct bl_reader *r, struct bl_term_potential *p, struct bl_error *err)
{
    struct form f = {.lj = {.epsilon = NAN, .sigma = NAN, .cutoff = NAN}, .morse = {.depth = NAN, .alpha = NAN, .r0 = NAN}, .cutoff = NAN};
    p->table = NULL;
    p->potential = (struct bl_potential){.pairs = p->lj, .morse = p->morse, .sutton_chen = p->sutton_chen};
    size_t n;
    bl_reader_at(r, "potential");
    enum bl_status status = bl_read_map(r, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        bl_reader_at(r, "potential");
        status = read_field(r, &p->potential, &f, err);
    }
    if (status != BL_OK) return status;
    if (!f.type_name) return bl_fail_invalid(err, "potential", "type is missing");
    return finish(ctx, r, &f, p, err);
}

void bl_term_potential_clear(struct bl_term_potential *p)
{
    bl_table_free(p->table);
    p->table = NULL;
}
