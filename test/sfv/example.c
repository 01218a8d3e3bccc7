/* SPDX-License-Identifier: Apache-2.0
 *
 * Structured fields from C: a Signature-Input field is read, its components listed, its bytes
 * decoded, and a field of our own written into a buffer on the stack.
 *
 *   cc -Iinclude -o example test/sfv/example.c -Lpriv -l:libbeamline-0.1.0.so -Wl,-rpath,'$ORIGIN'
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "beamline.h"

static const char field_line[] =
    "sig1=(\"@method\" \"content-digest\";req);created=1618884473;keyid=\"test-key\", note=:aGVsbG8=:";

static int fail(const struct bl_error *err)
{
    char text[256];
    bl_error_format(err, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return 1;
}

/* The components of an inner list: views into the input, nothing is copied. */
static unsigned list_components(const struct bl_sfv_node *inner)
{
    unsigned count = 0;
    for (const struct bl_sfv_node *item = inner + 1; item->type != BL_SFV_INNER_END; item = bl_sfv_next(item), count++)
        printf("component %.*s%s\n", (int)item->len, item->as.text, bl_sfv_param(item, "req", 3) ? " of the request" : "");
    return count;
}

static enum bl_status write_priority(char *out, size_t size, const char **text, size_t *len, struct bl_error *err)
{
    void *room = malloc(bl_sfv_writer_size());
    if (!room) return BL_NO_MEMORY;
    struct bl_sfv_writer *w = bl_sfv_writer_init(room, BL_SFV_DICTIONARY, NULL, out, size, true);
    bl_sfv_write_key(w, "u", 1);
    bl_sfv_write_integer(w, 1);
    bl_sfv_write_key(w, "i", 1);
    bl_sfv_write_boolean(w, true);
    const enum bl_status status = bl_sfv_writer_end(w, text, len, err);
    bl_sfv_writer_clear(w);
    free(room);
    return status; /* *text lies in out */
}

int main(void)
{
    struct bl_sfv_field field;
    struct bl_error err;
    if (bl_sfv_parse(&field, BL_SFV_DICTIONARY, field_line, strlen(field_line), NULL, &err) != BL_OK) return fail(&err);
    const struct bl_sfv_node *signature = bl_sfv_member(&field, "sig1", 4), *note = bl_sfv_member(&field, "note", 4);
    const struct bl_sfv_node *created = bl_sfv_param(signature, "created", 7);
    const unsigned components = list_components(signature);
    char hello[16] = "";
    if (bl_sfv_decoded_size(note) < sizeof hello) bl_sfv_decode(note, hello);
    printf("created %lld, note %s\n", (long long)created->as.number, hello);
    bl_sfv_field_clear(&field);

    if (bl_sfv_parse(&field, BL_SFV_ITEM, "1.5.", 4, NULL, &err) != BL_SYNTAX || err.offset != 3) return 1;

    char out[32];
    const char *text;
    size_t len;
    if (write_priority(out, sizeof out, &text, &len, &err) != BL_OK) return fail(&err);
    printf("Priority: %.*s\n", (int)len, text);
    return components == 2 && strcmp(hello, "hello") == 0 && len == 6 && memcmp(text, "u=1, i", 6) == 0 ? 0 : 1;
}
