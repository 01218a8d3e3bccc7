/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer: RFC 9651, section 4.1. One state says what may come next; the text of a member or
 * parameter that is true waits as a key without "=", because that is how it is written.
 *
 *   state      next may be                              and is preceded by
 *   FIRST      member (key of it in a dictionary)
 *   VALUE      bare item, inner list                    "=" behind a key unless true
 *   INSIDE     bare item in an inner list, or its end   " " if it is not the first
 *   AFTER      parameter; next member; in an inner      ";"  ", "  " "
 *              list: next item or the end
 *   PARAM      bare item                                "=" unless true
 */
#include <stdio.h>

#include "bl_sfv.h"

enum state { FIRST, VALUE, INSIDE, AFTER, PARAM };

struct bl_sfv_writer {
    char *data;
    size_t len, size;
    char *heap; /* NULL: data is the caller's */
    uint8_t kind, state;
    bool inner, fixed, owned; /* in an inner list; must not grow; bl_sfv_writer_free frees it */
    size_t max_bytes;
    size_t members, inner_members, params;
    struct bl_sfv_options options;
    enum bl_status status;
    struct bl_error err;
    struct bl_sfv_keys member_keys, param_keys;
};

size_t bl_sfv_writer_size(void) { return sizeof(struct bl_sfv_writer); }

struct bl_sfv_writer *bl_sfv_writer_init(void *room, enum bl_sfv_kind kind, const struct bl_sfv_options *options, char *out,
                                         size_t size, bool fixed)
{
    struct bl_sfv_writer *const w = room;
    if (!options) options = &bl_sfv_options_default;
    w->data = out;
    w->len = 0;
    w->size = size;
    w->heap = NULL;
    w->kind = (uint8_t)kind;
    w->state = kind == BL_SFV_INNER_LIST ? VALUE : FIRST;
    w->inner = w->owned = false;
    w->fixed = fixed;
    w->max_bytes = options->max_bytes < UINT32_MAX ? options->max_bytes : UINT32_MAX;
    w->members = w->inner_members = w->params = 0;
    w->options = *options;
    w->status = BL_OK;
    bl_sfv_keys_init(&w->member_keys);
    bl_sfv_keys_init(&w->param_keys);
    if (kind < BL_SFV_ITEM || kind > BL_SFV_INNER_LIST)
        w->status = bl_fail_invalid(&w->err, "order", "no kind of field that can be written");
    return w;
}

void bl_sfv_writer_clear(struct bl_sfv_writer *w)
{
    bl_free(w->heap);
    bl_sfv_keys_clear(&w->member_keys);
    bl_sfv_keys_clear(&w->param_keys);
    w->heap = w->data = NULL;
    w->len = w->size = 0;
}

struct bl_sfv_writer *bl_sfv_writer_new(enum bl_sfv_kind kind, const struct bl_sfv_options *options, struct bl_error *err)
{
    struct bl_sfv_writer *w = bl_alloc(options ? options->quota : NULL, sizeof *w, err);
    if (!w) return NULL;
    bl_sfv_writer_init(w, kind, options, NULL, 0, false);
    w->owned = true;
    return w;
}

void bl_sfv_writer_free(struct bl_sfv_writer *w)
{
    if (!w) return;
    bl_sfv_writer_clear(w);
    bl_free(w);
}

static __attribute__((noinline, cold)) enum bl_status refuse(struct bl_sfv_writer *w, const char *what, const char *why)
{
    return w->status = bl_fail_invalid(&w->err, what, "%s", why);
}

static __attribute__((noinline, cold)) enum bl_status out_of_order(struct bl_sfv_writer *w)
{
    return refuse(w, "order", "this cannot stand here");
}

static __attribute__((noinline, cold)) enum bl_status over(struct bl_sfv_writer *w, const char *what, uint64_t limit, uint64_t asked)
{
    return w->status = bl_fail_limit(&w->err, what, limit, asked);
}

/* ---- bytes ---------------------------------------------------------------------- */

static __attribute__((noinline)) bool grow(struct bl_sfv_writer *w, size_t more)
{
    if (w->fixed) return over(w, "bytes", w->size, (uint64_t)w->len + more), false;
    size_t size = w->size * 2 > 256 ? w->size * 2 : 256;
    if (size < w->len + more) size = w->len + more;
    char *heap = bl_realloc(w->options.quota, w->heap, size, &w->err);
    if (!heap) return w->status = w->err.status, false;
    if (!w->heap && w->len > 0) memcpy(heap, w->data, w->len);
    w->data = w->heap = heap;
    w->size = size;
    return true;
}

/* Room for `more` bytes, more than a field may have left over being refused. */
static inline char *reserve(struct bl_sfv_writer *w, size_t more)
{
    if (__builtin_expect(more > w->max_bytes - w->len, 0)) return over(w, "bytes", w->max_bytes, (uint64_t)w->len + more), NULL;
    if (__builtin_expect(more > w->size - w->len, 0) && !grow(w, more)) return NULL;
    return w->data + w->len;
}

static inline enum bl_status append(struct bl_sfv_writer *w, const char *text, size_t len)
{
    char *to = reserve(w, len);
    if (!to) return w->status;
    memcpy(to, text, len);
    w->len += len;
    return BL_OK;
}

static inline enum bl_status append_char(struct bl_sfv_writer *w, char c)
{
    char *to = reserve(w, 1);
    if (!to) return w->status;
    *to = c;
    w->len++;
    return BL_OK;
}

/* ---- order ------------------------------------------------------------------------ */

static enum bl_status next_member(struct bl_sfv_writer *w)
{
    const bool more = w->members > 0;
    if (++w->members > w->options.max_members) return over(w, "members", w->options.max_members, w->members);
    return more ? append(w, ", ", 2) : BL_OK;
}

static enum bl_status next_inner_item(struct bl_sfv_writer *w)
{
    const bool more = w->inner_members > 0;
    if (++w->inner_members > w->options.max_inner_members)
        return over(w, "inner_members", w->options.max_inner_members, w->inner_members);
    return more ? append_char(w, ' ') : BL_OK;
}

/* Before a bare item, or an inner list: what stands in front of it. */
static inline enum bl_status before_value(struct bl_sfv_writer *w, bool inner_list)
{
    if (w->status != BL_OK) return w->status;
    if (w->state == PARAM) return inner_list ? out_of_order(w) : append_char(w, '=');
    if (w->inner) {
        if (inner_list) return out_of_order(w);
        w->state = AFTER;
        return next_inner_item(w);
    }
    if (w->kind == BL_SFV_LIST) return next_member(w);
    if (w->kind == BL_SFV_DICTIONARY) return w->state == VALUE ? append_char(w, '=') : out_of_order(w);
    if (w->kind == BL_SFV_ITEM) return w->state == FIRST && !inner_list ? BL_OK : out_of_order(w);
    return w->state == VALUE && inner_list ? BL_OK : out_of_order(w);
}

/* A key is new in its set, or refused: the field would be read back as another one. */
static enum bl_status key(struct bl_sfv_writer *w, struct bl_sfv_keys *keys, const char *text, size_t len)
{
    const bool relaxed = w->options.keys == BL_SFV_KEYS_RELAXED;
    const unsigned mask = relaxed ? C_KEY_RELAXED : C_KEY;
    bool is_new = false;
    if (len == 0 || !bl_sfv_is(text[0], relaxed ? C_KEY_RELAXED : C_KEY_FIRST))
        return refuse(w, "key", relaxed ? "does not begin with a letter, a digit or one of * % _ - ."
                                        : "does not begin with a lower-case letter or *");
    for (size_t i = 1; i < len; i++)
        if (!bl_sfv_is(text[i], mask)) return refuse(w, "key", "has a character that keys must not have");
    const size_t at = w->len;
    if (append(w, text, len) != BL_OK) return w->status;
    if (!bl_sfv_keys_put(keys, w->data, (uint32_t)at, (uint32_t)len, &is_new, w->options.quota, &w->err))
        return w->status = w->err.status;
    return is_new ? BL_OK : refuse(w, "key", "occurs twice");
}

enum bl_status bl_sfv_write_key(struct bl_sfv_writer *w, const char *text, size_t len)
{
    if (w->status != BL_OK) return w->status;
    if (w->kind != BL_SFV_DICTIONARY || w->inner || (w->state != FIRST && w->state != AFTER)) return out_of_order(w);
    if (next_member(w) != BL_OK) return w->status;
    w->state = VALUE;
    return key(w, &w->member_keys, text, len);
}

enum bl_status bl_sfv_write_param(struct bl_sfv_writer *w, const char *text, size_t len)
{
    if (w->status != BL_OK) return w->status;
    if (w->state != AFTER) return out_of_order(w);
    if (++w->params > w->options.max_params) return over(w, "params", w->options.max_params, w->params);
    if (append_char(w, ';') != BL_OK) return w->status;
    w->state = PARAM;
    return key(w, &w->param_keys, text, len);
}

/* Behind a bare item or inner list. Parameters of it have no keys yet. */
static inline enum bl_status value_written(struct bl_sfv_writer *w)
{
    if (w->state != PARAM) {
        w->params = 0;
        bl_sfv_keys_reset(&w->param_keys);
    }
    w->state = AFTER;
    return w->status;
}

enum bl_status bl_sfv_write_inner(struct bl_sfv_writer *w)
{
    if (before_value(w, true) != BL_OK) return w->status;
    w->inner = true;
    w->inner_members = 0;
    w->state = INSIDE;
    return append_char(w, '(');
}

enum bl_status bl_sfv_write_inner_end(struct bl_sfv_writer *w)
{
    if (w->status != BL_OK) return w->status;
    if (!w->inner || w->state == PARAM) return out_of_order(w);
    w->inner = false;
    w->state = INSIDE; /* not PARAM: the parameters to come are the list's own */
    if (append_char(w, ')') != BL_OK) return w->status;
    return value_written(w);
}

/* ---- values ------------------------------------------------------------------------ */

static const int64_t integer_most = INT64_C(999999999999999);

/* The digits of a number below 10^16, right-aligned before `end`; where they begin. */
static char *digits(char *end, uint64_t number)
{
    do {
        *--end = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return end;
}

static enum bl_status integer(struct bl_sfv_writer *w, char mark, const char *what, int64_t number)
{
    char text[24], *const end = text + sizeof text;
    if (number > integer_most || number < -integer_most) return refuse(w, what, "has more than 15 digits");
    if (before_value(w, false) != BL_OK) return w->status;
    char *begin = digits(end, (uint64_t)(number < 0 ? -number : number));
    if (number < 0) *--begin = '-';
    if (mark) *--begin = mark;
    append(w, begin, (size_t)(end - begin));
    return value_written(w);
}

enum bl_status bl_sfv_write_integer(struct bl_sfv_writer *w, int64_t number) { return integer(w, 0, "integer", number); }
enum bl_status bl_sfv_write_date(struct bl_sfv_writer *w, int64_t seconds) { return integer(w, '@', "date", seconds); }

/* magnitude x 10^exponent in thousandths, rounded half to even; false: more than 15 digits. */
static bool thousandths(uint64_t magnitude, int exponent, uint64_t *out)
{
    if (exponent > 20) exponent = 20; /* too large, or zero */
    if (exponent < -30) exponent = -30; /* less than half of one thousandth */
    for (exponent += 3; exponent > 0; exponent--)
        if (__builtin_mul_overflow(magnitude, 10, &magnitude)) return false;
    uint64_t last = 0;
    bool more = false; /* a digit that was cut off before the last one was not zero */
    for (; exponent < 0; exponent++) {
        more |= last != 0;
        last = magnitude % 10;
        magnitude /= 10;
    }
    if (last > 5 || (last == 5 && (more || magnitude % 2 == 1))) magnitude++;
    *out = magnitude;
    return magnitude <= (uint64_t)integer_most;
}

enum bl_status bl_sfv_write_decimal(struct bl_sfv_writer *w, int64_t coefficient, int exponent)
{
    char text[24], *const end = text + sizeof text;
    const uint64_t magnitude = coefficient < 0 ? -(uint64_t)coefficient : (uint64_t)coefficient;
    uint64_t value;
    if (!thousandths(magnitude, exponent, &value)) return refuse(w, "decimal", "has more than 12 digits before the point");
    if (before_value(w, false) != BL_OK) return w->status;
    char *stop = end;
    uint64_t part = value % 1000;
    size_t places = 3;
    for (; places > 1 && part % 10 == 0; places--) part /= 10;
    for (size_t i = 0; i < places; i++, part /= 10) *--stop = (char)('0' + part % 10);
    *--stop = '.';
    stop = digits(stop, value / 1000);
    if (coefficient < 0 && value != 0) *--stop = '-';
    append(w, stop, (size_t)(end - stop));
    return value_written(w);
}

/* True as a member or parameter is left out, with its "=". */
enum bl_status bl_sfv_write_boolean(struct bl_sfv_writer *w, bool value)
{
    const bool left_out =
        value && w->status == BL_OK && (w->state == PARAM || (w->state == VALUE && w->kind == BL_SFV_DICTIONARY));
    if (!left_out && before_value(w, false) == BL_OK) append(w, value ? "?1" : "?0", 2);
    return w->status == BL_OK ? value_written(w) : w->status;
}

enum bl_status bl_sfv_write_string(struct bl_sfv_writer *w, const char *text, size_t len)
{
    const char *const end = text + len;
    if (before_value(w, false) != BL_OK || append_char(w, '"') != BL_OK) return w->status;
    while (text < end) {
        const char *const first = text;
        while (text < end && bl_sfv_is(*text, C_PLAIN)) text++;
        if (text > first && append(w, first, (size_t)(text - first)) != BL_OK) return w->status;
        if (text == end) break;
        if (*text != '"' && *text != '\\') return refuse(w, "string", "has a character that is not printable ASCII");
        const char escaped[2] = {'\\', *text++};
        if (append(w, escaped, 2) != BL_OK) return w->status;
    }
    append_char(w, '"');
    return value_written(w);
}

enum bl_status bl_sfv_write_token(struct bl_sfv_writer *w, const char *text, size_t len)
{
    if (len == 0 || !bl_sfv_is(text[0], C_TOKEN_FIRST)) return refuse(w, "token", "does not begin with a letter or *");
    for (size_t i = 1; i < len; i++)
        if (!bl_sfv_is(text[i], C_TOKEN)) return refuse(w, "token", "has a character that tokens must not have");
    if (before_value(w, false) == BL_OK) append(w, text, len);
    return value_written(w);
}

enum bl_status bl_sfv_write_bytes(struct bl_sfv_writer *w, const void *bytes, size_t len)
{
    if (len >= UINT32_MAX) return over(w, "bytes", UINT32_MAX, len);
    const size_t characters = (len + 2) / 3 * 4;
    if (before_value(w, false) != BL_OK) return w->status;
    char *to = reserve(w, characters + 2);
    if (!to) return w->status;
    *to = ':';
    bl_sfv_base64_encode(bytes, len, to + 1);
    to[1 + characters] = ':';
    w->len += characters + 2;
    return value_written(w);
}

enum bl_status bl_sfv_write_display(struct bl_sfv_writer *w, const char *utf8, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    if (bl_sfv_utf8_invalid((const uint8_t *)utf8, len)) return refuse(w, "display_string", "is not well-formed UTF-8");
    if (before_value(w, false) != BL_OK || append(w, "%\"", 2) != BL_OK) return w->status;
    for (const char *const end = utf8 + len; utf8 < end;) {
        const char *const first = utf8;
        while (utf8 < end && *utf8 != '%' && (bl_sfv_is(*utf8, C_PLAIN) || *utf8 == '\\')) utf8++;
        if (utf8 > first && append(w, first, (size_t)(utf8 - first)) != BL_OK) return w->status;
        if (utf8 == end) break;
        const uint8_t byte = (uint8_t)*utf8++;
        const char escaped[3] = {'%', hex[byte >> 4], hex[byte & 15]};
        if (append(w, escaped, 3) != BL_OK) return w->status;
    }
    append_char(w, '"');
    return value_written(w);
}

/* ---- nodes --------------------------------------------------------------------------- */

static enum bl_status write_text(struct bl_sfv_writer *w, unsigned type, const char *text, size_t len)
{
    switch (type) {
        case BL_SFV_STRING: return bl_sfv_write_string(w, text, len);
        case BL_SFV_BYTES: return bl_sfv_write_bytes(w, text, len);
        default: return bl_sfv_write_display(w, text, len);
    }
}

static enum bl_status write_decoded(struct bl_sfv_writer *w, const struct bl_sfv_node *node)
{
    const size_t size = bl_sfv_decoded_size(node);
    char *value = bl_alloc(w->options.quota, size, &w->err);
    if (!value) return w->status = w->err.status;
    bl_sfv_decode(node, value);
    write_text(w, node->type, value, size);
    bl_free(value);
    return w->status;
}

enum bl_status bl_sfv_write_node(struct bl_sfv_writer *w, const struct bl_sfv_node *node)
{
    if (w->status != BL_OK) return w->status;
    switch (node->type) {
        case BL_SFV_KEY: return bl_sfv_write_key(w, node->as.text, node->len);
        case BL_SFV_PARAM: return bl_sfv_write_param(w, node->as.text, node->len);
        case BL_SFV_INNER: return bl_sfv_write_inner(w);
        case BL_SFV_INNER_END: return bl_sfv_write_inner_end(w);
        case BL_SFV_INTEGER: return bl_sfv_write_integer(w, node->as.number);
        case BL_SFV_DECIMAL: return bl_sfv_write_decimal(w, node->as.number, -3);
        case BL_SFV_BOOLEAN: return bl_sfv_write_boolean(w, node->as.number != 0);
        case BL_SFV_DATE: return bl_sfv_write_date(w, node->as.number);
        case BL_SFV_TOKEN: return bl_sfv_write_token(w, node->as.text, node->len);
        case BL_SFV_STRING:
        case BL_SFV_BYTES:
        case BL_SFV_DISPLAY:
            return node->flags & BL_SFV_ENCODED ? write_decoded(w, node) : write_text(w, node->type, node->as.text, node->len);
        default: return out_of_order(w);
    }
}

enum bl_status bl_sfv_write_nodes(struct bl_sfv_writer *w, const struct bl_sfv_node *nodes)
{
    for (; nodes->type != BL_SFV_END && w->status == BL_OK; nodes++) bl_sfv_write_node(w, nodes);
    return w->status;
}

enum bl_status bl_sfv_writer_end(struct bl_sfv_writer *w, const char **text, size_t *len, struct bl_error *err)
{
    const bool complete = w->state == AFTER || (w->state == FIRST && w->kind != BL_SFV_ITEM);
    if (w->status == BL_OK && (!complete || w->inner)) refuse(w, "order", "the field is not complete");
    if (w->status != BL_OK) {
        if (err) *err = w->err;
        return w->status;
    }
    *text = w->len > 0 ? w->data : "";
    *len = w->len;
    return BL_OK;
}
