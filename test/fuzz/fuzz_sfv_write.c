/* SPDX-License-Identifier: Apache-2.0
 *
 * Any sequence of calls with any arguments: the writer accepts what can be read back as the
 * same nodes, refuses the rest, and writes nothing beyond a caller's buffer.
 */
#include "beamline/sfv.h"
#include "bl_fuzz.h"

static int64_t number(struct bl_fuzz *in)
{
    uint64_t value = 0;
    for (unsigned bytes = bl_fuzz_byte(in) % 9; bytes > 0; bytes--) value = value << 8 | bl_fuzz_byte(in);
    return bl_fuzz_byte(in) & 1 ? -(int64_t)(value >> 1) : (int64_t)value;
}

/* One call; its text is an exact-size copy. */
static enum bl_status call(struct bl_sfv_writer *w, struct bl_fuzz *in)
{
    const uint8_t what = bl_fuzz_byte(in) % 13;
    size_t len = bl_fuzz_byte(in) % 64;
    if (what < 6) {
        switch (what) {
            case 0: return bl_sfv_write_inner(w);
            case 1: return bl_sfv_write_inner_end(w);
            case 2: return bl_sfv_write_integer(w, number(in));
            case 3: return bl_sfv_write_date(w, number(in));
            case 4: return bl_sfv_write_decimal(w, number(in), (int)number(in));
            default: return bl_sfv_write_boolean(w, len & 1);
        }
    }
    if (len > in->size) len = in->size;
    char *text = (char *)bl_fuzz_copy(in->data, len);
    in->data += len;
    in->size -= len;
    enum bl_status status;
    switch (what) {
        case 6: status = bl_sfv_write_key(w, text, len); break;
        case 7: status = bl_sfv_write_param(w, text, len); break;
        case 8: status = bl_sfv_write_string(w, text, len); break;
        case 9: status = bl_sfv_write_token(w, text, len); break;
        case 10: status = bl_sfv_write_bytes(w, text, len); break;
        default: status = bl_sfv_write_display(w, text, len); break;
    }
    free(text);
    return status;
}

/* What was written is read, and written again, as itself. */
static void read_back(enum bl_sfv_kind kind, const char *text, size_t len, const struct bl_sfv_options *options)
{
    struct bl_sfv_field field;
    const char *again;
    size_t again_len;
    const enum bl_sfv_kind read_as = kind == BL_SFV_INNER_LIST ? BL_SFV_LIST : kind;
    for (size_t i = 0; i < len; i++) FUZZ_CHECK(text[i] >= 0x20 && text[i] <= 0x7e);
    char *copy = (char *)bl_fuzz_copy((const uint8_t *)text, len);
    FUZZ_CHECK(bl_sfv_parse(&field, read_as, copy, len, options, NULL) == BL_OK);
    struct bl_sfv_writer *w = bl_sfv_writer_new(read_as, options, NULL);
    bl_sfv_write_nodes(w, field.nodes);
    FUZZ_CHECK(bl_sfv_writer_end(w, &again, &again_len, NULL) == BL_OK);
    FUZZ_CHECK(again_len == len && memcmp(again, copy, len) == 0);
    bl_sfv_writer_free(w);
    bl_sfv_field_clear(&field);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_fuzz in = {data, size};
    const uint8_t choice = bl_fuzz_byte(&in);
    const enum bl_sfv_kind kind = (enum bl_sfv_kind)(BL_SFV_ITEM + choice % 4);
    struct bl_sfv_options options = bl_sfv_options_default;
    options.keys = choice & 4 ? BL_SFV_KEYS_RELAXED : BL_SFV_KEYS_STRICT;
    options.strict_base64 = true;
    if (choice & 8) options.max_bytes = bl_fuzz_byte(&in);
    const size_t room = bl_fuzz_byte(&in);
    char *out = malloc(room ? room : 1), *text = NULL;
    void *memory = malloc(bl_sfv_writer_size());
    FUZZ_CHECK(out != NULL && memory != NULL);
    struct bl_sfv_writer *w = bl_sfv_writer_init(memory, kind, &options, out, room, choice & 16);
    enum bl_status status = BL_OK;
    while (in.size > 0 && status == BL_OK) status = call(w, &in);
    const char *written;
    size_t len;
    struct bl_error err;
    if (status != BL_OK) FUZZ_CHECK(bl_sfv_write_integer(w, 1) == status);
    const enum bl_status end = bl_sfv_writer_end(w, &written, &len, &err);
    FUZZ_CHECK(status == BL_OK || end == status);
    if (end == BL_OK) {
        FUZZ_CHECK(len <= options.max_bytes && (!(choice & 16) || len <= room));
        text = (char *)bl_fuzz_copy((const uint8_t *)written, len);
        options.max_bytes = SIZE_MAX;
        read_back(kind, text, len, &options);
    } else {
        FUZZ_CHECK(err.status == end && (end == BL_INVALID || end == BL_LIMIT));
    }
    bl_sfv_writer_clear(w);
    free(text);
    free(memory);
    free(out);
    return 0;
}
