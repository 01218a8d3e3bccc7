/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading fields with the C core. What a field is stands in sfv_fields.h.
 *
 *     bench_sfv CASE [parse | decode | write]     prints picoseconds for each byte
 *
 * decode reads and then decodes each text; PLAIN=1 in the environment takes the plain loops.
 */
#include <stdlib.h>

#include "beamline/sfv.h"
#include "sfv_fields.h"

static size_t sink; /* so that the work is not optimised away */

static void decode(const struct bl_sfv_field *field, char *out)
{
    for (const struct bl_sfv_node *node = field->nodes; node->type != BL_SFV_END; node++) {
        if (node->type != BL_SFV_STRING && node->type != BL_SFV_BYTES && node->type != BL_SFV_DISPLAY) continue;
        bl_sfv_decode(node, out);
        sink += (size_t)out[0];
    }
}

static void write_field(const struct bl_sfv_field *field, enum bl_sfv_kind kind, void *room, char *out, size_t size)
{
    const char *text;
    size_t len = 0;
    struct bl_sfv_writer *w = bl_sfv_writer_init(room, kind, NULL, out, size, false);
    bl_sfv_write_nodes(w, field->nodes);
    if (bl_sfv_writer_end(w, &text, &len, NULL) != BL_OK) exit(1);
    sink += len;
    bl_sfv_writer_clear(w);
}

int main(int argc, char **argv)
{
    const struct sfv_case *c = sfv_case(argc > 1 ? argv[1] : "");
    const char what = argc > 2 ? argv[2][0] : 'p';
    if (!c) return 2;
    struct bl_sfv_options options = bl_sfv_options_default;
    options.no_simd = getenv("PLAIN") != NULL;
    char *out = malloc(2 * c->len + 1024);
    void *room = malloc(bl_sfv_writer_size());
    const size_t times = sfv_times(c);
    struct bl_sfv_field kept, field;
    const enum bl_sfv_kind kind = (enum bl_sfv_kind)c->kind;
    if (!out || !room || bl_sfv_parse(&kept, kind, c->text, c->len, &options, NULL) != BL_OK) return 1;
    const uint64_t begin = sfv_now_ns();
    for (size_t i = 0; i < times; i++) {
        if (what == 'w') {
            write_field(&kept, kind, room, out, 2 * c->len + 1024);
            continue;
        }
        if (bl_sfv_parse(&field, kind, c->text, c->len, &options, NULL) != BL_OK) return 1;
        sink += field.count;
        if (what == 'd') decode(&field, out);
        bl_sfv_field_clear(&field);
    }
    sfv_print(c, times, sfv_now_ns() - begin);
    bl_sfv_field_clear(&kept);
    free(room);
    free(out);
    return sink == 0;
}
