/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as any field: the plain loops and the vectors judge alike, every view lies in the
 * input, everything decodes, and what is accepted is canonical once it was written.
 */
#include "beamline/sfv.h"
#include "bl_fuzz.h"

struct text {
    char *data;
    size_t len;
};

static void check_nodes(const struct bl_sfv_field *field, const char *text, size_t len)
{
    FUZZ_CHECK(field->nodes[field->count].type == BL_SFV_END);
    for (size_t i = 0; i < field->count; i++) {
        const struct bl_sfv_node *node = &field->nodes[i];
        const bool has_text = node->type == BL_SFV_KEY || node->type == BL_SFV_PARAM || node->type == BL_SFV_STRING ||
                              node->type == BL_SFV_TOKEN || node->type == BL_SFV_BYTES || node->type == BL_SFV_DISPLAY;
        FUZZ_CHECK(node->type > BL_SFV_END && node->type <= BL_SFV_DISPLAY);
        if (!has_text) continue;
        FUZZ_CHECK(node->as.text >= text && node->len <= len && (size_t)(node->as.text - text) <= len - node->len);
        const size_t size = bl_sfv_decoded_size(node);
        char *value = malloc(size ? size : 1);
        FUZZ_CHECK(value != NULL && size <= node->len);
        bl_sfv_decode(node, value);
        free(value);
    }
}

/* The canonical form of what is accepted; data is NULL when it is refused. */
static struct text canonical(enum bl_sfv_kind kind, const char *text, size_t len, const struct bl_sfv_options *options)
{
    struct bl_sfv_field field;
    struct bl_error err;
    struct text out = {NULL, 0};
    const enum bl_status status = bl_sfv_parse(&field, kind, text, len, options, &err);
    if (status != BL_OK) {
        FUZZ_CHECK(err.status == status && (status != BL_SYNTAX || err.offset <= len));
        out.len = (size_t)err.offset + 1000 * status;
        return out;
    }
    const char *written;
    check_nodes(&field, text, len);
    struct bl_sfv_writer *w = bl_sfv_writer_new(kind, options, NULL);
    FUZZ_CHECK(w != NULL && bl_sfv_write_nodes(w, field.nodes) == BL_OK);
    FUZZ_CHECK(bl_sfv_writer_end(w, &written, &out.len, NULL) == BL_OK);
    out.data = (char *)bl_fuzz_copy((const uint8_t *)written, out.len);
    for (size_t i = 0; i < out.len; i++) FUZZ_CHECK(out.data[i] >= 0x20 && out.data[i] <= 0x7e);
    bl_sfv_writer_free(w);
    bl_sfv_field_clear(&field);
    return out;
}

static void same(struct text a, struct text b)
{
    FUZZ_CHECK(a.len == b.len && !a.data == !b.data);
    FUZZ_CHECK(!a.data || memcmp(a.data, b.data, a.len) == 0);
}

/* Also as lines: cut somewhere, the pieces join to something else, but nothing breaks. */
static void cut(enum bl_sfv_kind kind, const char *text, size_t len, uint8_t where)
{
    const size_t at = len > 0 ? where % len : 0;
    char *head = (char *)bl_fuzz_copy((const uint8_t *)text, at), *tail = (char *)bl_fuzz_copy((const uint8_t *)text + at, len - at);
    const struct bl_sfv_line lines[] = {{head, at}, {tail, len - at}};
    struct bl_sfv_field field;
    const enum bl_status status = bl_sfv_parse_lines(&field, kind, lines, 2, NULL, NULL);
    free(head);
    free(tail);
    if (status != BL_OK) return;
    for (size_t i = 0; i < field.count; i++)
        if (field.nodes[i].type == BL_SFV_STRING) FUZZ_CHECK(bl_sfv_decoded_size(&field.nodes[i]) <= len + 2);
    bl_sfv_field_clear(&field);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_fuzz in = {data, size};
    const uint8_t choice = bl_fuzz_byte(&in), where = bl_fuzz_byte(&in);
    const enum bl_sfv_kind kind = (enum bl_sfv_kind)(BL_SFV_ITEM + choice % 3);
    struct bl_sfv_options options = bl_sfv_options_default, plain;
    options.keys = choice & 4 ? BL_SFV_KEYS_RELAXED : BL_SFV_KEYS_STRICT;
    options.strict_base64 = choice & 8;
    if (choice & 16) options.max_members = options.max_params = options.max_inner_members = 3;
    plain = options;
    plain.no_simd = true;
    char *text = (char *)bl_fuzz_copy(in.data, in.size);
    const struct text fast = canonical(kind, text, in.size, &options), slow = canonical(kind, text, in.size, &plain);
    same(fast, slow);
    if (fast.data) {
        const struct text again = canonical(kind, fast.data, fast.len, &options);
        same(fast, again);
        free(again.data);
    }
    cut(kind, text, in.size, where);
    free(fast.data);
    free(slow.data);
    free(text);
    return 0;
}
