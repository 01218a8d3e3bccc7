/* SPDX-License-Identifier: Apache-2.0
 *
 * Around the loops of the parser: limits, room for nodes, several lines, repeated keys.
 */
#include "bl_sfv.h"

const struct bl_sfv_options bl_sfv_options_default = {
    .max_bytes = 1 << 20, .max_members = 65536, .max_inner_members = 65536, .max_params = 65536};

enum { HEAP_NODES, HEAP_TEXT }; /* of struct bl_sfv_field */

bool bl_sfv_parse_limit(struct bl_sfv_parse *s, const char *what, size_t limit)
{
    s->status = bl_fail_limit(s->err, what, limit, (uint64_t)limit + 1);
    return false;
}

/* How much of the input was read when the last node with a text was made. */
static size_t bytes_seen(const struct bl_sfv_parse *s)
{
    for (const struct bl_sfv_node *node = s->next - 1; node >= s->nodes && node >= s->next - 4; node--)
        if (node->type == BL_SFV_KEY || node->type == BL_SFV_PARAM || node->type == BL_SFV_TOKEN || node->type == BL_SFV_STRING)
            return (size_t)(node->as.text - s->begin) + 1;
    return (size_t)(s->end - s->begin) / 2 + 1;
}

/* As many nodes as the input needs if it goes on as it began, and a quarter more: one growth is
 * usually enough. A byte of the input makes two nodes at most. */
static size_t guess(const struct bl_sfv_parse *s, size_t have)
{
    const size_t bytes = (size_t)(s->end - s->begin), most = 2 * bytes + 2 * BL_SFV_MARGIN;
    const double scale = 1.25 * (double)bytes / (double)bytes_seen(s);
    size_t want = 16 + (size_t)((double)have * (scale > 2 ? scale : 2));
    return want < most ? want : most;
}

bool bl_sfv_parse_grow(struct bl_sfv_parse *s)
{
    const size_t have = (size_t)(s->next - s->nodes), want = guess(s, have);
    struct bl_sfv_node *const old = s->nodes == s->room ? NULL : s->nodes;
    struct bl_sfv_node *nodes = bl_realloc(s->options->quota, old, want * sizeof *nodes, s->err);
    if (!nodes) {
        s->status = s->err->status;
        return false;
    }
    if (!old) memcpy(nodes, s->room, have * sizeof *nodes);
    s->nodes = nodes;
    s->next = nodes + have;
    s->limit = nodes + want - BL_SFV_MARGIN;
    return true;
}

/* Keeps one member for each key: the last value, where the key came first. */
static bool keep_last(struct bl_sfv_parse *s)
{
    const size_t count = (size_t)(s->next - s->nodes);
    struct bl_sfv_node *kept = bl_alloc_array(s->options->quota, count + 1, sizeof *kept, s->err), *to = kept;
    if (!kept) {
        s->status = s->err->status;
        return false;
    }
    for (uint32_t i = 0; i < s->member_keys->count; i++) {
        const struct bl_sfv_node *from = s->nodes + s->member_keys->all[i].value;
        do {
            *to++ = *from++;
        } while (from < s->next && from->type != BL_SFV_KEY);
    }
    if (s->nodes != s->room) bl_free(s->nodes);
    s->nodes = kept;
    s->next = to;
    return true;
}

static enum bl_status failed(const struct bl_sfv_parse *s, struct bl_error *err)
{
    if (s->nodes != s->room) bl_free(s->nodes);
    if (s->status == BL_SYNTAX) return bl_fail_syntax_at(err, (uint64_t)(s->failed_at - s->begin), "%s", s->expected);
    return s->status;
}

/* Inline: a short field takes no longer than a call and what it saves. */
static inline __attribute__((always_inline)) enum bl_status parse(struct bl_sfv_field *field, enum bl_sfv_kind kind, const char *text,
                                                                  size_t len, const struct bl_sfv_options *options, struct bl_error *err)
{
    struct bl_error own;
    struct bl_sfv_keys member_keys, param_keys;
    struct bl_sfv_parse s; /* large: only what is read before it is written */
    const bool relaxed = options->keys == BL_SFV_KEYS_RELAXED, dictionary = kind == BL_SFV_DICTIONARY;
    s.begin = text;
    s.end = text + len;
    s.nodes = s.next = s.room = field->room;
    s.limit = s.nodes + BL_SFV_ROOM - BL_SFV_MARGIN;
    s.members = 0;
    s.repeated = s.many_params = false;
    s.options = options;
    s.member_keys = &member_keys;
    s.param_keys = &param_keys;
    s.key_class = relaxed ? C_KEY_RELAXED : C_KEY;
    s.key_first = relaxed ? C_KEY_RELAXED : C_KEY_FIRST;
    s.key_vector = relaxed ? V_KEY_RELAXED : V_KEY;
    s.status = BL_OK;
    s.err = err ? err : &own; /* filled by who fails */ // cppcheck-suppress uninitvar
    if (dictionary) {
        bl_sfv_keys_init(&member_keys);
        member_keys.expected = (uint32_t)len;
    }
    enum bl_status status =
        !options->no_simd && bl_sfv_have_avx2() ? bl_sfv_parse_avx2(&s, kind) : bl_sfv_parse_portable(&s, kind);
    if (status == BL_OK && s.repeated && !keep_last(&s)) status = s.status;
    field->members = dictionary ? member_keys.count : s.members;
    if (dictionary) bl_sfv_keys_clear(&member_keys);
    if (s.many_params) bl_sfv_keys_clear(&param_keys);
    if (status != BL_OK) return failed(&s, err);
    s.next->type = BL_SFV_END;
    field->nodes = s.nodes;
    field->count = (size_t)(s.next - s.nodes);
    field->heap[HEAP_NODES] = s.nodes == s.room ? NULL : s.nodes;
    field->heap[HEAP_TEXT] = NULL;
    return BL_OK;
}

static enum bl_status check(enum bl_sfv_kind kind, size_t len, const struct bl_sfv_options *options, struct bl_error *err)
{
    const size_t most = options->max_bytes < UINT32_MAX ? options->max_bytes : UINT32_MAX;
    if (kind < BL_SFV_ITEM || kind > BL_SFV_DICTIONARY) return bl_fail_invalid(err, "kind", "neither item, list nor dictionary");
    return len > most ? bl_fail_limit(err, "bytes", most, len) : BL_OK;
}

enum bl_status bl_sfv_parse(struct bl_sfv_field *field, enum bl_sfv_kind kind, const char *text, size_t len,
                            const struct bl_sfv_options *options, struct bl_error *err)
{
    if (!options) options = &bl_sfv_options_default;
    const enum bl_status status = check(kind, len, options, err);
    return status == BL_OK ? parse(field, kind, len > 0 ? text : "", len, options, err) : status;
}

enum bl_status bl_sfv_parse_lines(struct bl_sfv_field *field, enum bl_sfv_kind kind, const struct bl_sfv_line *lines, size_t count,
                                  const struct bl_sfv_options *options, struct bl_error *err)
{
    if (!options) options = &bl_sfv_options_default;
    if (count == 1) return bl_sfv_parse(field, kind, lines->text, lines->len, options, err);
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        if (!bl_add_size(len, lines[i].len, &len) || !bl_add_size(len, i > 0 ? 2 : 0, &len)) len = SIZE_MAX;
    enum bl_status status = check(kind, len, options, err);
    if (status != BL_OK) return status;
    struct bl_error own;
    char *text = bl_alloc(options->quota, len, err ? err : &own), *to = text;
    if (!text) return err ? err->status : own.status;
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            *to++ = ',';
            *to++ = ' ';
        }
        if (lines[i].len > 0) memcpy(to, lines[i].text, lines[i].len);
        to += lines[i].len;
    }
    status = parse(field, kind, text, len, options, err);
    if (status == BL_OK)
        field->heap[HEAP_TEXT] = text;
    else
        bl_free(text);
    return status;
}

void bl_sfv_field_clear(struct bl_sfv_field *field)
{
    for (int i = 0; i < 2; i++) {
        if (field->heap[i]) bl_free(field->heap[i]);
        field->heap[i] = NULL;
    }
}

/* ---- looking ------------------------------------------------------------------- */

const struct bl_sfv_node *bl_sfv_next(const struct bl_sfv_node *node)
{
    node += node->type == BL_SFV_INNER ? node->as.number : 1;
    while (node->type == BL_SFV_PARAM) node += 2;
    return node;
}

static bool named(const struct bl_sfv_node *node, const char *key, size_t len)
{
    return node->len == len && memcmp(node->as.text, key, len) == 0;
}

const struct bl_sfv_node *bl_sfv_member(const struct bl_sfv_field *field, const char *key, size_t len)
{
    for (const struct bl_sfv_node *node = field->nodes; node->type == BL_SFV_KEY; node = bl_sfv_next(node + 1))
        if (named(node, key, len)) return node + 1;
    return NULL;
}

const struct bl_sfv_node *bl_sfv_param(const struct bl_sfv_node *node, const char *key, size_t len)
{
    for (node += node->type == BL_SFV_INNER ? node->as.number : 1; node->type == BL_SFV_PARAM; node += 2)
        if (named(node, key, len)) return node + 1;
    return NULL;
}
