/* SPDX-License-Identifier: Apache-2.0
 *
 * The skin of the part sfv: fields to Erlang terms and back. What the terms are stands in
 * beamline_sfv.erl. Nothing is kept between calls.
 *
 * Reading: the core makes nodes, and the terms are built from the last node to the first, so
 * that every list comes into being from its end and nothing has to be stacked or reversed.
 *
 * Small work is done at once. Input above INLINE_BYTES or of more than INLINE_NODES, and a term that
 * takes more than INLINE_VALUES steps or INLINE_OUTPUT bytes, goes to a dirty scheduler: there the
 * call begins anew.
 */
#include "bl_nif_version.h"
#include "bl_sfv_nif.h"

enum {
    INLINE_NODES = 4096, /* building takes most of the time: up to 80 ns for a node (doc/sfv.md) */
    INLINE_LINES = 512,
    COPIED_BYTES = 64, /* a text above this is a part of the input, not a copy: what the VM does, too */
    KNOWN_KEYS = 8,
    KNOWN_LONE = 32,
    WORTH_KNOWING = 32, /* nodes from which on parameters are remembered */
};

ERL_NIF_TERM am_ok, am_error, am_true, am_false, am_item, am_list, am_decimal, am_string, am_token, am_binary, am_date, am_display,
    am_syntax, am_offset, am_expected, am_invalid, am_path, am_why, am_limit, am_what, am_asked, am_param, am_big, am_bytes, am_members,
    am_inner_members, am_params, am_no_memory, am_infinity, nil;
ERL_NIF_TERM exponents[EXPONENTS];

static const struct {
    ERL_NIF_TERM *term;
    const char *name;
} atoms[] = {
    {&am_ok, "ok"},           {&am_error, "error"},     {&am_true, "true"},         {&am_false, "false"},
    {&am_item, "item"},       {&am_list, "list"},       {&am_decimal, "decimal"},   {&am_string, "string"},
    {&am_token, "token"},     {&am_binary, "binary"},   {&am_date, "date"},         {&am_display, "display"},
    {&am_syntax, "syntax"},   {&am_offset, "offset"},   {&am_expected, "expected"}, {&am_invalid, "invalid"},
    {&am_path, "path"},       {&am_why, "why"},         {&am_limit, "limit"},       {&am_what, "what"},
    {&am_asked, "asked"},     {&am_param, "param"},     {&am_big, "big"},           {&am_bytes, "bytes"},
    {&am_members, "members"}, {&am_params, "params"},   {&am_inner_members, "inner_members"},
    {&am_no_memory, "no_memory"}, {&am_infinity, "infinity"},
};

/* ---- failures ------------------------------------------------------------------ */

ERL_NIF_TERM sfv_error(ErlNifEnv *env, ERL_NIF_TERM reason, ERL_NIF_TERM *keys, ERL_NIF_TERM *values, size_t count)
{
    ERL_NIF_TERM details;
    enif_make_map_from_arrays(env, keys, values, count, &details);
    return pair(env, am_error, pair(env, reason, details));
}

static ERL_NIF_TERM limit_name(const char *subject)
{
    if (strcmp(subject, "members") == 0) return am_members;
    if (strcmp(subject, "inner_members") == 0) return am_inner_members;
    return strcmp(subject, "params") == 0 ? am_params : am_bytes;
}

ERL_NIF_TERM sfv_limit_error(ErlNifEnv *env, const struct bl_error *err)
{
    ERL_NIF_TERM keys[3] = {am_what, am_limit, am_asked};
    ERL_NIF_TERM values[3] = {limit_name(err->subject), enif_make_uint64(env, err->limit), enif_make_uint64(env, err->asked)};
    return sfv_error(env, am_limit, keys, values, 3);
}

/* Of a field of `bytes`, of which those in front of a malformed place were read. */
static ERL_NIF_TERM parse_error(ErlNifEnv *env, const struct bl_error *err, size_t bytes)
{
    charge(env, 0, (err->status == BL_SYNTAX ? err->offset : bytes) / READ_PER_NODE);
    if (err->status == BL_LIMIT) return sfv_limit_error(env, err);
    if (err->status != BL_SYNTAX) return pair(env, am_error, am_no_memory);
    ERL_NIF_TERM keys[2] = {am_offset, am_expected};
    ERL_NIF_TERM values[2] = {enif_make_uint64(env, err->offset), text(env, err->text, strlen(err->text))};
    return sfv_error(env, am_syntax, keys, values, 2);
}

/* ---- options: {Relaxed, StrictBase64, Copy, Bytes, Members, InnerMembers, Params} --- */

static bool get_limit(ErlNifEnv *env, ERL_NIF_TERM term, size_t *limit)
{
    ErlNifUInt64 number;
    if (term == am_infinity)
        *limit = SIZE_MAX;
    else if (enif_get_uint64(env, term, &number))
        *limit = number;
    else
        return false;
    return true;
}

bool sfv_options(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[], struct options *o)
{
    const ERL_NIF_TERM *field;
    int arity;
    o->core = bl_sfv_options_default;
    o->copy = false;
    if (argc == 1) return true;
    if (!enif_get_tuple(env, argv[1], &arity, &field) || arity != 7) return false;
    o->core.keys = field[0] == am_true ? BL_SFV_KEYS_RELAXED : BL_SFV_KEYS_STRICT;
    o->core.strict_base64 = field[1] == am_true;
    o->copy = field[2] == am_true;
    return get_limit(env, field[3], &o->core.max_bytes) && get_limit(env, field[4], &o->core.max_members) &&
           get_limit(env, field[5], &o->core.max_inner_members) && get_limit(env, field[6], &o->core.max_params);
}

/* ---- reading ------------------------------------------------------------------- */

/* Parameters come again and again in a long field: terms of the last few are used again. */
struct known {
    struct {
        const struct bl_sfv_node *node;
        ERL_NIF_TERM term;
    } keys[KNOWN_KEYS];
    struct {
        const struct bl_sfv_node *node; /* of the key; a number follows */
        ERL_NIF_TERM list;              /* of this parameter alone */
    } lone[KNOWN_LONE];
};

struct builder {
    ErlNifEnv *env;
    ERL_NIF_TERM input; /* a text may be a part of this binary; 0: it must be copied */
    const char *begin;
    size_t bytes;   /* of the input */
    bool remembers; /* else `known` has nothing in it */
    struct known known;
};

static ERL_NIF_TERM make_text(const struct builder *b, const struct bl_sfv_node *node)
{
    ERL_NIF_TERM term;
    if (!(node->flags & BL_SFV_ENCODED)) {
        if (node->len > COPIED_BYTES && b->input)
            return enif_make_sub_binary(b->env, b->input, (size_t)(node->as.text - b->begin), node->len);
        return text(b->env, node->as.text, node->len);
    }
    bl_sfv_decode(node, enif_make_new_binary(b->env, bl_sfv_decoded_size(node), &term));
    return term;
}

static ERL_NIF_TERM make_decimal(ErlNifEnv *env, int64_t thousandths)
{
    int exponent = -3;
    while (exponent < 0 && thousandths % 10 == 0) {
        thousandths /= 10;
        exponent++;
    }
    return pair(env, am_decimal, pair(env, enif_make_int64(env, thousandths), exponents[exponent + EXPONENTS - 1]));
}

static ERL_NIF_TERM make_bare(const struct builder *b, const struct bl_sfv_node *node)
{
    switch (node->type) {
        case BL_SFV_INTEGER: return enif_make_int64(b->env, node->as.number);
        case BL_SFV_BOOLEAN: return node->as.number ? am_true : am_false;
        case BL_SFV_TOKEN: return pair(b->env, am_token, make_text(b, node));
        case BL_SFV_STRING: return pair(b->env, am_string, make_text(b, node));
        case BL_SFV_BYTES: return pair(b->env, am_binary, make_text(b, node));
        case BL_SFV_DISPLAY: return pair(b->env, am_display, make_text(b, node));
        case BL_SFV_DATE: return pair(b->env, am_date, enif_make_int64(b->env, node->as.number));
        default: return make_decimal(b->env, node->as.number);
    }
}

static inline bool same_key(const struct bl_sfv_node *a, const struct bl_sfv_node *b)
{
    return a && a->len == b->len && memcmp(a->as.text, b->as.text, a->len) == 0;
}

static ERL_NIF_TERM make_param_key(struct builder *b, const struct bl_sfv_node *key)
{
    if (!b->remembers) return make_text(b, key);
    const size_t i = (key->len + (uint8_t)key->as.text[0]) % KNOWN_KEYS;
    if (same_key(b->known.keys[i].node, key)) return b->known.keys[i].term;
    b->known.keys[i].node = key;
    return b->known.keys[i].term = make_text(b, key);
}

static ERL_NIF_TERM make_param(struct builder *b, const struct bl_sfv_node *key, ERL_NIF_TERM tail)
{
    const ERL_NIF_TERM value = make_bare(b, key + 1);
    return enif_make_list_cell(b->env, pair(b->env, make_param_key(b, key), value), tail);
}

/* The last parameter of an item, a number, with a list that may have been made before. */
static ERL_NIF_TERM make_lone_param(struct builder *b, const struct bl_sfv_node *key)
{
    const size_t i = ((uint64_t)key[1].as.number * UINT64_C(0x9e3779b97f4a7c15) >> 32) % KNOWN_LONE;
    const struct bl_sfv_node *const known = b->known.lone[i].node;
    if (same_key(known, key) && known[1].type == key[1].type && known[1].as.number == key[1].as.number) return b->known.lone[i].list;
    b->known.lone[i].node = key;
    return b->known.lone[i].list = make_param(b, key, nil);
}

static bool is_number(unsigned type)
{
    return type == BL_SFV_DECIMAL || type == BL_SFV_INTEGER || type == BL_SFV_BOOLEAN || type == BL_SFV_DATE;
}

/* The list of members; the last node first. */
static ERL_NIF_TERM make_members(struct builder *b, const struct bl_sfv_field *field)
{
    ErlNifEnv *const env = b->env;
    ERL_NIF_TERM list = nil, params = nil, outer = nil, outer_params = nil, member[3];
    for (const struct bl_sfv_node *node = field->nodes + field->count - 1; node >= field->nodes; node--) {
        if (node->type == BL_SFV_INNER_END) {
            outer = list;
            outer_params = params;
            list = params = nil;
            continue;
        }
        if (node->type == BL_SFV_INNER) {
            member[0] = am_list;
            member[1] = list;
            member[2] = outer_params;
            list = outer;
        } else if (node > field->nodes && node[-1].type == BL_SFV_PARAM) {
            node--;
            params = b->remembers && params == nil && is_number(node[1].type) ? make_lone_param(b, node) : make_param(b, node, params);
            continue;
        } else {
            member[0] = am_item;
            member[1] = make_bare(b, node);
            member[2] = params;
            params = nil;
        }
        ERL_NIF_TERM one = enif_make_tuple_from_array(env, member, 3);
        if (node > field->nodes && node[-1].type == BL_SFV_KEY) one = pair(env, make_text(b, --node), one);
        list = enif_make_list_cell(env, one, list);
    }
    return list;
}

static ERL_NIF_TERM make_field(struct builder *b, enum bl_sfv_kind kind, const struct bl_sfv_field *field)
{
    ERL_NIF_TERM head, tail, members;
    b->remembers = field->count >= WORTH_KNOWING;
    if (b->remembers) memset(&b->known, 0, sizeof b->known);
    members = make_members(b, field);
    if (kind == BL_SFV_ITEM && enif_get_list_cell(b->env, members, &head, &tail)) members = head;
    charge(b->env, field->count, b->bytes / READ_PER_NODE);
    return pair(b->env, am_ok, members);
}

/* How many lines there are. false: it is no list of binaries, and nobody looks at what follows the
 * first other term. */
static bool count_lines(ErlNifEnv *env, ERL_NIF_TERM list, size_t *count)
{
    ERL_NIF_TERM head;
    for (*count = 0; enif_get_list_cell(env, list, &head, &list); ++*count)
        if (!enif_is_binary(env, head)) return false;
    return enif_is_empty_list(env, list);
}

static bool get_lines(ErlNifEnv *env, ERL_NIF_TERM list, size_t count, struct bl_sfv_line *lines, size_t *bytes)
{
    ERL_NIF_TERM head;
    ErlNifBinary line;
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (!enif_get_list_cell(env, list, &head, &list) || !enif_inspect_binary(env, head, &line)) return false;
        lines[i] = (struct bl_sfv_line){(const char *)line.data, line.size};
        *bytes += line.size;
    }
    return true;
}

/* The term of a field that was read, which is cleared. TOO_LARGE: it should be done elsewhere. */
static ERL_NIF_TERM built(struct builder *b, enum bl_sfv_kind kind, struct bl_sfv_field *field, bool may_be_long)
{
    const bool here = may_be_long || field->count <= INLINE_NODES;
    const ERL_NIF_TERM answer = here ? make_field(b, kind, field) : TOO_LARGE;
    bl_sfv_field_clear(field);
    return answer;
}

static ERL_NIF_TERM parse_lines(ErlNifEnv *env, enum bl_sfv_kind kind, ERL_NIF_TERM list, size_t count,
                                const struct options *options, bool may_be_long)
{
    struct bl_sfv_line few[16], *lines = count > 16 ? enif_alloc(count * sizeof *lines) : few;
    struct bl_sfv_field field;
    struct bl_error err;
    struct builder b;
    b.env = env;
    b.input = 0;
    b.begin = NULL;
    if (!lines) return pair(env, am_error, am_no_memory);
    ERL_NIF_TERM answer;
    if (!get_lines(env, list, count, lines, &b.bytes)) {
        answer = enif_make_badarg(env);
    } else if (bl_sfv_parse_lines(&field, kind, lines, count, &options->core, &err) == BL_OK) {
        answer = built(&b, kind, &field, may_be_long);
    } else {
        answer = parse_error(env, &err, b.bytes);
    }
    if (lines != few) enif_free(lines);
    return answer;
}

static ERL_NIF_TERM parse(ErlNifEnv *env, enum bl_sfv_kind kind, ERL_NIF_TERM input, const struct options *options, bool may_be_long)
{
    ErlNifBinary line;
    size_t count;
    struct builder b;
    struct bl_sfv_field field;
    struct bl_error err;
    if (!enif_inspect_binary(env, input, &line)) {
        if (!count_lines(env, input, &count)) return enif_make_badarg(env);
        return parse_lines(env, kind, input, count, options, may_be_long);
    }
    b.env = env;
    b.input = options->copy ? 0 : input;
    b.begin = (const char *)line.data;
    b.bytes = line.size;
    if (bl_sfv_parse(&field, kind, b.begin, line.size, &options->core, &err) != BL_OK) return parse_error(env, &err, line.size);
    return built(&b, kind, &field, may_be_long);
}

/* Stops counting where it is enough to know. */
static bool is_large(ErlNifEnv *env, ERL_NIF_TERM input)
{
    ErlNifBinary line;
    ERL_NIF_TERM head;
    size_t bytes = 0;
    if (enif_inspect_binary(env, input, &line)) return line.size > INLINE_BYTES;
    for (unsigned count = 0; enif_get_list_cell(env, input, &head, &input); count++) {
        if (!enif_inspect_binary(env, head, &line)) return false;
        bytes += line.size;
        if (bytes > INLINE_BYTES || count > INLINE_LINES) return true;
    }
    return false;
}

/* [Input] and [Input, Options]. */
static ERL_NIF_TERM parse_now(ErlNifEnv *env, enum bl_sfv_kind kind, int argc, const ERL_NIF_TERM argv[], bool may_be_long)
{
    struct options options;
    if (!sfv_options(env, argc, argv, &options)) return enif_make_badarg(env);
    return parse(env, kind, argv[0], &options, may_be_long);
}

#define PARSER(name, kind)                                                                                             \
    static ERL_NIF_TERM name##_dirty(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])                              \
    {                                                                                                                  \
        return parse_now(env, kind, argc, argv, true);                                                                 \
    }                                                                                                                  \
    static ERL_NIF_TERM name(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])                                      \
    {                                                                                                                  \
        const ERL_NIF_TERM answer = is_large(env, argv[0]) ? TOO_LARGE : parse_now(env, kind, argc, argv, false);      \
        if (answer != TOO_LARGE) return answer;                                                                        \
        return enif_schedule_nif(env, #name, ERL_NIF_DIRTY_JOB_CPU_BOUND, name##_dirty, argc, argv);                   \
    }
PARSER(parse_item, BL_SFV_ITEM)
PARSER(parse_list, BL_SFV_LIST)
PARSER(parse_dictionary, BL_SFV_DICTIONARY)

/* ---- writing, in bl_sfv_nif_write.c --------------------------------------------- */

#define WRITER(name, kind)                                                                                             \
    static ERL_NIF_TERM name##_dirty(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])                              \
    {                                                                                                                  \
        return sfv_write(env, kind, argc, argv, true);                                                                 \
    }                                                                                                                  \
    static ERL_NIF_TERM name(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])                                      \
    {                                                                                                                  \
        const ERL_NIF_TERM answer = sfv_write(env, kind, argc, argv, false);                                           \
        if (answer != TOO_LARGE) return answer;                                                                        \
        return enif_schedule_nif(env, #name, ERL_NIF_DIRTY_JOB_CPU_BOUND, name##_dirty, argc, argv);                   \
    }
WRITER(item, BL_SFV_ITEM)
WRITER(list, BL_SFV_LIST)
WRITER(dictionary, BL_SFV_DICTIONARY)
WRITER(inner_list, BL_SFV_INNER_LIST)

/* ---- loading -------------------------------------------------------------------- */

static int load(ErlNifEnv *env, void **priv_data, ERL_NIF_TERM load_info)
{
    (void)priv_data;
    if (!bl_nif_version_agrees(env, load_info)) return 1;
    if (am_ok != 0) return 0; /* a reload: others are reading them */
    nil = enif_make_list_from_array(env, NULL, 0);
    for (int i = 0; i < EXPONENTS; i++) exponents[i] = enif_make_int(env, i - EXPONENTS + 1);
    for (size_t i = 0; i < sizeof atoms / sizeof *atoms; i++) *atoms[i].term = enif_make_atom(env, atoms[i].name);
    return 0;
}

static int upgrade(ErlNifEnv *env, void **priv_data, void **old_priv_data, ERL_NIF_TERM load_info)
{
    (void)old_priv_data;
    return load(env, priv_data, load_info);
}

static ErlNifFunc functions[] = {
    {"parse_item", 1, parse_item, 0},
    {"parse_item", 2, parse_item, 0},
    {"parse_list", 1, parse_list, 0},
    {"parse_list", 2, parse_list, 0},
    {"parse_dictionary", 1, parse_dictionary, 0},
    {"parse_dictionary", 2, parse_dictionary, 0},
    {"item", 1, item, 0},
    {"item", 2, item, 0},
    {"list", 1, list, 0},
    {"list", 2, list, 0},
    {"dictionary", 1, dictionary, 0},
    {"dictionary", 2, dictionary, 0},
    {"inner_list", 1, inner_list, 0},
    {"inner_list", 2, inner_list, 0},
};

ERL_NIF_INIT(beamline_sfv_nif, functions, load, NULL, upgrade, NULL)
