/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer: the order in which values come, on top of their text (bl_sfv_put.h). One state
 * says what may come next.
 *
 *   state      next may be                              which is preceded by
 *   FIRST      member (in a dictionary its key)
 *   VALUE      bare item, inner list                    "=" behind a key, unless true
 *   INSIDE     bare item in an inner list, or its end
 *   AFTER      parameter; next member;                  ";"  ", "
 *              in an inner list the next item, the end  " "
 *   PARAM      bare item                                "=" unless true
 */
#include "bl_sfv_put.h"

enum state { FIRST, VALUE, INSIDE, AFTER, PARAM };

struct bl_sfv_writer {
    struct bl_sfv_out out;
    uint8_t kind, state;
    bool inner; /* in an inner list */
    size_t members, inner_members, params;
    size_t max_members, max_inner_members, max_params;
    struct bl_sfv_keys member_keys, param_keys;
};

size_t bl_sfv_writer_size(void) { return sizeof(struct bl_sfv_writer); }

struct bl_sfv_writer *bl_sfv_writer_init(void *room, enum bl_sfv_kind kind, const struct bl_sfv_options *options, char *out,
                                         size_t size, bool fixed)
{
    struct bl_sfv_writer *const w = room;
    if (!options) options = &bl_sfv_options_default;
    bl_sfv_out_init(&w->out, out, size, fixed, options);
    w->kind = (uint8_t)kind;
    w->state = kind == BL_SFV_INNER_LIST ? VALUE : FIRST;
    w->inner = false;
    w->members = w->inner_members = w->params = 0;
    w->max_members = options->max_members;
    w->max_inner_members = options->max_inner_members;
    w->max_params = options->max_params;
    bl_sfv_keys_init(&w->member_keys);
    bl_sfv_keys_init(&w->param_keys);
    if (kind < BL_SFV_ITEM || kind > BL_SFV_INNER_LIST) bl_sfv_out_refuse(&w->out, "order", "no kind of field that can be written");
    return w;
}

void bl_sfv_writer_clear(struct bl_sfv_writer *w)
{
    bl_sfv_out_clear(&w->out);
    bl_sfv_keys_clear(&w->member_keys);
    bl_sfv_keys_clear(&w->param_keys);
}

struct bl_sfv_writer *bl_sfv_writer_new(enum bl_sfv_kind kind, const struct bl_sfv_options *options, struct bl_error *err)
{
    struct bl_sfv_writer *w = bl_alloc(options ? options->quota : NULL, sizeof *w, err);
    return w ? bl_sfv_writer_init(w, kind, options, NULL, 0, false) : NULL;
}

void bl_sfv_writer_free(struct bl_sfv_writer *w)
{
    if (!w) return;
    bl_sfv_writer_clear(w);
    bl_free(w);
}

/* ---- order ------------------------------------------------------------------------- */

static bool out_of_order(struct bl_sfv_writer *w) { return bl_sfv_out_refuse(&w->out, "order", "this cannot stand here"); }

static bool next_member(struct bl_sfv_writer *w, enum bl_sfv_front *front)
{
    *front = w->members > 0 ? BL_SFV_COMMA : BL_SFV_NOTHING;
    return ++w->members <= w->max_members || bl_sfv_out_over(&w->out, "members", w->max_members, w->members);
}

static bool next_inner_item(struct bl_sfv_writer *w, enum bl_sfv_front *front)
{
    *front = w->inner_members > 0 ? BL_SFV_SPACE : BL_SFV_NOTHING;
    return ++w->inner_members <= w->max_inner_members ||
           bl_sfv_out_over(&w->out, "inner_members", w->max_inner_members, w->inner_members);
}

/* Before a bare item, or an inner list: what stands in front of it. */
static bool before_value(struct bl_sfv_writer *w, bool inner_list, enum bl_sfv_front *front)
{
    *front = BL_SFV_NOTHING;
    if (w->out.status != BL_OK) return false;
    if (w->state == PARAM || (w->state == VALUE && w->kind == BL_SFV_DICTIONARY)) {
        *front = BL_SFV_EQUALS;
        return !(w->state == PARAM && inner_list) || out_of_order(w);
    }
    if (w->inner) return inner_list ? out_of_order(w) : next_inner_item(w, front);
    if (w->kind == BL_SFV_LIST) return next_member(w, front);
    if (w->kind == BL_SFV_ITEM) return (w->state == FIRST && !inner_list) || out_of_order(w);
    return (w->kind == BL_SFV_INNER_LIST && w->state == VALUE && inner_list) || out_of_order(w);
}

/* Behind a bare item or inner list, or what became of it. Parameters of it have no keys yet. */
static enum bl_status value_written(struct bl_sfv_writer *w)
{
    if (w->state != PARAM) {
        w->params = 0;
        bl_sfv_keys_reset(&w->param_keys);
    }
    w->state = AFTER;
    return w->out.status;
}

enum bl_status bl_sfv_write_key(struct bl_sfv_writer *w, const char *text, size_t len)
{
    enum bl_sfv_front front;
    if (w->out.status != BL_OK) return w->out.status;
    const bool here = w->kind == BL_SFV_DICTIONARY && !w->inner && (w->state == FIRST || w->state == AFTER);
    w->state = VALUE;
    if ((here || out_of_order(w)) && next_member(w, &front)) bl_sfv_put_key(&w->out, &w->member_keys, front, text, len);
    return w->out.status;
}

enum bl_status bl_sfv_write_param(struct bl_sfv_writer *w, const char *text, size_t len)
{
    if (w->out.status != BL_OK) return w->out.status;
    const bool here = w->state == AFTER;
    w->state = PARAM;
    if (!here)
        out_of_order(w);
    else if (++w->params > w->max_params)
        bl_sfv_out_over(&w->out, "params", w->max_params, w->params);
    else
        bl_sfv_put_key(&w->out, &w->param_keys, BL_SFV_SEMICOLON, text, len);
    return w->out.status;
}

enum bl_status bl_sfv_write_inner(struct bl_sfv_writer *w)
{
    enum bl_sfv_front front;
    char text[4];
    if (!before_value(w, true, &front)) return w->out.status;
    w->inner = true;
    w->inner_members = 0;
    w->state = INSIDE;
    char *const end = bl_sfv_put_front(text, front);
    *end = '(';
    bl_sfv_put_text(&w->out, text, (size_t)(end + 1 - text));
    return w->out.status;
}

enum bl_status bl_sfv_write_inner_end(struct bl_sfv_writer *w)
{
    if (w->out.status != BL_OK) return w->out.status;
    const bool here = w->inner && w->state != PARAM;
    w->inner = false;
    w->state = INSIDE; /* not PARAM: the parameters to come are the list's own */
    if (here || out_of_order(w)) bl_sfv_put_char(&w->out, ')');
    return value_written(w);
}

/* ---- values -------------------------------------------------------------------------- */

#define VALUE_OF(put)                                                                                                  \
    enum bl_sfv_front front;                                                                                         \
    if (!before_value(w, false, &front)) return w->out.status;                                                         \
    put;                                                                                                               \
    return value_written(w)

enum bl_status bl_sfv_write_integer(struct bl_sfv_writer *w, int64_t number)
{
    VALUE_OF(bl_sfv_put_integer(&w->out, front, 0, number));
}
enum bl_status bl_sfv_write_date(struct bl_sfv_writer *w, int64_t seconds)
{
    VALUE_OF(bl_sfv_put_integer(&w->out, front, '@', seconds));
}
enum bl_status bl_sfv_write_decimal(struct bl_sfv_writer *w, int64_t coefficient, int exponent)
{
    VALUE_OF(bl_sfv_put_decimal(&w->out, front, coefficient, exponent));
}
enum bl_status bl_sfv_write_boolean(struct bl_sfv_writer *w, bool value)
{
    VALUE_OF(bl_sfv_put_boolean(&w->out, front, value));
}
enum bl_status bl_sfv_write_token(struct bl_sfv_writer *w, const char *text, size_t len)
{
    VALUE_OF(bl_sfv_put_token(&w->out, front, text, len));
}
enum bl_status bl_sfv_write_string(struct bl_sfv_writer *w, const char *text, size_t len)
{
    VALUE_OF(bl_sfv_put_string(&w->out, front, text, len));
}
enum bl_status bl_sfv_write_bytes(struct bl_sfv_writer *w, const void *bytes, size_t len)
{
    VALUE_OF(bl_sfv_put_bytes(&w->out, front, bytes, len));
}
enum bl_status bl_sfv_write_display(struct bl_sfv_writer *w, const char *utf8, size_t len)
{
    VALUE_OF(bl_sfv_put_display(&w->out, front, utf8, len));
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
    char *value = bl_alloc(w->out.quota, size, &w->out.err);
    if (!value) return w->out.status = w->out.err.status;
    bl_sfv_decode(node, value);
    write_text(w, node->type, value, size);
    bl_free(value);
    return w->out.status;
}

enum bl_status bl_sfv_write_node(struct bl_sfv_writer *w, const struct bl_sfv_node *node)
{
    if (w->out.status != BL_OK) return w->out.status;
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
        default:
            out_of_order(w);
            return w->out.status;
    }
}

enum bl_status bl_sfv_write_nodes(struct bl_sfv_writer *w, const struct bl_sfv_node *nodes)
{
    for (; nodes->type != BL_SFV_END && w->out.status == BL_OK; nodes++) bl_sfv_write_node(w, nodes);
    return w->out.status;
}

enum bl_status bl_sfv_writer_end(struct bl_sfv_writer *w, const char **text, size_t *len, struct bl_error *err)
{
    const bool complete = w->state == AFTER || (w->state == FIRST && w->kind != BL_SFV_ITEM);
    if (w->out.status == BL_OK && (!complete || w->inner)) bl_sfv_out_refuse(&w->out, "order", "the field is not complete");
    if (w->out.status != BL_OK) {
        if (err) *err = w->out.err;
        return w->out.status;
    }
    *text = w->out.len > 0 ? w->out.data : "";
    *len = w->out.len;
    return BL_OK;
}
