/* SPDX-License-Identifier: Apache-2.0
 *
 * Terms to fields. A walk over the term appends the text of each value (bl_sfv_put.h); a path of
 * at most three steps says where it was when something was refused.
 */
#include "bl_sfv_nif.h"

enum {
    INLINE_VALUES = 8192,
    INLINE_OUTPUT = 65536,
};

/* REFUSED: walker.out says why. BIG: a decimal whose numbers do not fit into 64 bits, which
 * beamline_sfv rounds first. */
enum outcome { WRITTEN, REFUSED, BAD_TERM, BIG, TOO_LONG };

struct walker {
    ErlNifEnv *env;
    struct bl_sfv_out out;
    const struct bl_sfv_options *options;
    size_t left; /* values until it takes too long here */
    bool may_be_long;
    /* Where it is: the key or the number of a member, the number in an inner list, a parameter's key. */
    ERL_NIF_TERM member, param;
    size_t index, inner;
    struct bl_sfv_keys member_keys, param_keys;
    /* The key that was read last: one that stands in a program comes again as the same term. */
    ERL_NIF_TERM known;
    ErlNifBinary key;
    bool numbers; /* the last value of a key was one, so the next may be */
};

static inline enum outcome told(bool ok) { return ok ? WRITTEN : REFUSED; }

static enum outcome over(struct walker *k, const char *what, size_t limit)
{
    return told(bl_sfv_out_over(&k->out, what, limit, (uint64_t)limit + 1));
}

static bool is_integer(ErlNifEnv *env, ERL_NIF_TERM term)
{
    return enif_term_type(env, term) == ERL_NIF_TERM_TYPE_INTEGER;
}

/* A bignum has more than the 15 digits that an integer may have: told as one that has too many. */
static bool get_number(ErlNifEnv *env, ERL_NIF_TERM term, int64_t *number)
{
    ErlNifSInt64 small;
    if (enif_get_int64(env, term, &small))
        *number = small;
    else if (is_integer(env, term))
        *number = INT64_MAX;
    else
        return false;
    return true;
}

static bool get_exponent(ErlNifEnv *env, ERL_NIF_TERM term, int *exponent)
{
    for (int i = EXPONENTS - 1; i >= 0; i--) {
        *exponent = i - EXPONENTS + 1;
        if (term == exponents[i]) return true;
    }
    return enif_get_int(env, term, exponent);
}

static enum outcome write_decimal(struct walker *k, enum bl_sfv_front front, ERL_NIF_TERM term)
{
    const ERL_NIF_TERM *part;
    int arity, exponent;
    ErlNifSInt64 coefficient;
    if (!enif_get_tuple(k->env, term, &arity, &part) || arity != 2) return BAD_TERM;
    if (!enif_get_int64(k->env, part[0], &coefficient) || !get_exponent(k->env, part[1], &exponent))
        return is_integer(k->env, part[0]) && is_integer(k->env, part[1]) ? BIG : BAD_TERM;
    return told(bl_sfv_put_decimal(&k->out, front, coefficient, exponent));
}

static enum outcome write_number(struct walker *k, enum bl_sfv_front front, char mark, ERL_NIF_TERM term)
{
    int64_t number;
    return get_number(k->env, term, &number) ? told(bl_sfv_put_integer(&k->out, front, mark, number)) : BAD_TERM;
}

static inline enum outcome write_text(struct walker *k, enum bl_sfv_front front, ERL_NIF_TERM tag, ERL_NIF_TERM value)
{
    ErlNifBinary bytes;
    if (!enif_inspect_binary(k->env, value, &bytes)) return BAD_TERM;
    if (bytes.size > INLINE_BYTES && !k->may_be_long) return TOO_LONG;
    const char *const data = (const char *)bytes.data;
    if (tag == am_token) return told(bl_sfv_put_token(&k->out, front, data, bytes.size));
    if (tag == am_string) return told(bl_sfv_put_string(&k->out, front, data, bytes.size));
    if (tag == am_binary) return told(bl_sfv_put_bytes(&k->out, front, data, bytes.size));
    return tag == am_display ? told(bl_sfv_put_display(&k->out, front, data, bytes.size)) : BAD_TERM;
}

/* Before a value: whether there are too many of them, or too much was written, to go on here. */
static inline bool takes_too_long(struct walker *k) { return k->left-- == 0 || (k->out.len > INLINE_OUTPUT && !k->may_be_long); }

static enum outcome write_bare(struct walker *k, enum bl_sfv_front front, ERL_NIF_TERM term)
{
    const ERL_NIF_TERM *part;
    ErlNifSInt64 small;
    int arity;
    if (takes_too_long(k)) return TOO_LONG;
    if (k->numbers && front == BL_SFV_EQUALS) {
        if (enif_get_int64(k->env, term, &small)) return told(bl_sfv_put_integer(&k->out, front, 0, small));
        k->numbers = false;
    }
    if (enif_get_tuple(k->env, term, &arity, &part)) {
        if (arity != 2) return BAD_TERM;
        if (part[0] == am_decimal) return write_decimal(k, front, part[1]);
        return part[0] == am_date ? write_number(k, front, '@', part[1]) : write_text(k, front, part[0], part[1]);
    }
    if (term == am_true || term == am_false) return told(bl_sfv_put_boolean(&k->out, front, term == am_true));
    k->numbers = front == BL_SFV_EQUALS;
    return write_number(k, front, 0, term);
}

/* The key of {Key, Value}, which becomes the step of the path. */
static inline enum outcome write_key(struct walker *k, struct bl_sfv_keys *keys, enum bl_sfv_front front, ERL_NIF_TERM term,
                                     ERL_NIF_TERM *step, ERL_NIF_TERM *value)
{
    const ERL_NIF_TERM *part;
    int arity;
    if (!enif_get_tuple(k->env, term, &arity, &part) || arity != 2) return BAD_TERM;
    if (part[0] != k->known) {
        k->known = 0;
        if (!enif_inspect_binary(k->env, part[0], &k->key)) return BAD_TERM;
        k->known = part[0];
    }
    if (k->key.size > INLINE_BYTES && !k->may_be_long) return TOO_LONG;
    *step = part[0];
    *value = part[1];
    return told(bl_sfv_put_key(&k->out, keys, front, (const char *)k->key.data, k->key.size));
}

static enum outcome write_params(struct walker *k, ERL_NIF_TERM list)
{
    ERL_NIF_TERM head, value;
    size_t count = 0;
    bl_sfv_keys_reset(&k->param_keys);
    for (; list != nil && enif_get_list_cell(k->env, list, &head, &list); k->param = 0) {
        if (++count > k->options->max_params) return over(k, "params", k->options->max_params);
        enum outcome out = write_key(k, &k->param_keys, BL_SFV_SEMICOLON, head, &k->param, &value);
        if (out == WRITTEN) out = write_bare(k, BL_SFV_EQUALS, value);
        if (out != WRITTEN) return out;
    }
    return list == nil ? WRITTEN : BAD_TERM;
}

static inline enum outcome write_item(struct walker *k, enum bl_sfv_front front, const ERL_NIF_TERM *part)
{
    const enum outcome out = write_bare(k, front, part[1]);
    return out != WRITTEN || part[2] == nil ? out : write_params(k, part[2]);
}

/* {item, Bare, Params} or {list, Items, Params}. */
static inline const ERL_NIF_TERM *get_triple(const struct walker *k, ERL_NIF_TERM term)
{
    const ERL_NIF_TERM *part;
    int arity;
    return enif_get_tuple(k->env, term, &arity, &part) && arity == 3 ? part : NULL;
}

static enum outcome write_inner(struct walker *k, enum bl_sfv_front front, ERL_NIF_TERM list, ERL_NIF_TERM params)
{
    ERL_NIF_TERM head;
    char open[4], *const end = bl_sfv_put_front(open, front);
    if (takes_too_long(k)) return TOO_LONG;
    *end = '(';
    if (!bl_sfv_put_text(&k->out, open, (size_t)(end + 1 - open))) return REFUSED;
    while (enif_get_list_cell(k->env, list, &head, &list)) {
        const ERL_NIF_TERM *const part = get_triple(k, head);
        if (!part || part[0] != am_item) return BAD_TERM;
        if (++k->inner > k->options->max_inner_members) return over(k, "inner_members", k->options->max_inner_members);
        const enum outcome out = write_item(k, k->inner > 1 ? BL_SFV_SPACE : BL_SFV_NOTHING, part);
        if (out != WRITTEN) return out;
    }
    k->inner = 0;
    if (list != nil) return BAD_TERM;
    return bl_sfv_put_char(&k->out, ')') ? write_params(k, params) : REFUSED;
}

static inline enum outcome write_member(struct walker *k, enum bl_sfv_front front, ERL_NIF_TERM term, enum bl_sfv_kind kind)
{
    const ERL_NIF_TERM *const part = get_triple(k, term);
    if (part && part[0] == am_item && kind != BL_SFV_INNER_LIST) return write_item(k, front, part);
    if (part && part[0] == am_list && kind != BL_SFV_ITEM) return write_inner(k, front, part[1], part[2]);
    return BAD_TERM;
}

static enum outcome write_members(struct walker *k, ERL_NIF_TERM list, enum bl_sfv_kind kind)
{
    ERL_NIF_TERM head;
    while (enif_get_list_cell(k->env, list, &head, &list)) {
        enum outcome out = WRITTEN;
        enum bl_sfv_front front = k->index > 0 ? BL_SFV_COMMA : BL_SFV_NOTHING;
        if (++k->index > k->options->max_members) return over(k, "members", k->options->max_members);
        if (kind == BL_SFV_DICTIONARY) {
            out = write_key(k, &k->member_keys, front, head, &k->member, &head);
            front = BL_SFV_EQUALS;
        }
        if (out == WRITTEN) out = write_member(k, front, head, kind);
        if (out != WRITTEN) return out;
    }
    return list == nil ? WRITTEN : BAD_TERM;
}

static ERL_NIF_TERM invalid(const struct walker *k, const struct bl_error *err)
{
    char why[sizeof err->subject + sizeof err->text + 8];
    size_t len = strlen(err->subject);
    memcpy(why, err->subject, len);
    why[len++] = ' ';
    memcpy(why + len, err->text, strlen(err->text));
    len += strlen(err->text);
    ERL_NIF_TERM path = nil;
    if (k->param) path = enif_make_list_cell(k->env, pair(k->env, am_param, k->param), path);
    if (k->inner) path = enif_make_list_cell(k->env, enif_make_uint64(k->env, k->inner), path);
    if (k->index) path = enif_make_list_cell(k->env, k->member ? k->member : enif_make_uint64(k->env, k->index), path);
    ERL_NIF_TERM keys[2] = {am_path, am_why}, values[2] = {path, text(k->env, why, len)};
    return sfv_error(k->env, am_invalid, keys, values, 2);
}

static ERL_NIF_TERM refused(const struct walker *k, const struct bl_error *err)
{
    if (err->status == BL_LIMIT) return sfv_limit_error(k->env, err);
    return err->status == BL_INVALID ? invalid(k, err) : pair(k->env, am_error, am_no_memory);
}

static ERL_NIF_TERM written(struct walker *k, enum outcome result, size_t values)
{
    charge(k->env, values, k->out.len / WRITTEN_PER_NODE);
    if (result == BAD_TERM) return enif_make_badarg(k->env);
    if (result == BIG) return am_big;
    if (result == REFUSED) return refused(k, &k->out.err);
    return pair(k->env, am_ok, text(k->env, k->out.data, k->out.len));
}

ERL_NIF_TERM sfv_write(ErlNifEnv *env, enum bl_sfv_kind kind, int argc, const ERL_NIF_TERM argv[], bool may_be_long)
{
    struct options options;
    char room[2048];
    struct walker k; /* large: only what is read before it is written */
    if (!sfv_options(env, argc, argv, &options)) return enif_make_badarg(env);
    k.env = env;
    k.options = &options.core;
    k.may_be_long = may_be_long;
    k.left = may_be_long ? SIZE_MAX : INLINE_VALUES;
    k.member = k.param = 0;
    k.index = k.inner = 0;
    k.known = 0;
    k.numbers = false;
    bl_sfv_out_init(&k.out, room, sizeof room, false, k.options);
    bl_sfv_keys_init(&k.member_keys);
    bl_sfv_keys_init(&k.param_keys);
    const bool many = kind == BL_SFV_LIST || kind == BL_SFV_DICTIONARY;
    const enum outcome result = many ? write_members(&k, argv[0], kind) : write_member(&k, BL_SFV_NOTHING, argv[0], kind);
    const ERL_NIF_TERM answer = result == TOO_LONG ? TOO_LARGE : written(&k, result, may_be_long ? 0 : INLINE_VALUES - k.left);
    bl_sfv_out_clear(&k.out);
    bl_sfv_keys_clear(&k.member_keys);
    bl_sfv_keys_clear(&k.param_keys);
    return answer;
}
