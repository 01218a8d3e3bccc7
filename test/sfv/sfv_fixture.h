/* SPDX-License-Identifier: Apache-2.0
 *
 * For the tests of structured fields: a field read from an exact-size copy and written again.
 */
#ifndef SFV_FIXTURE_H
#define SFV_FIXTURE_H

#include "beamline/sfv.h"
#include "bl_test.h"

struct sfv_answer {
    enum bl_status status;
    struct bl_error err;
    char text[4096]; /* the canonical form */
    size_t len;
};

/* At an odd address, so that the sanitizer sees one byte too many on either side. */
__attribute__((unused)) static char *sfv_copy(const char *text, size_t len, char **block)
{
    *block = malloc(len + 1);
    memcpy(*block + 1, text, len);
    return *block + 1;
}

__attribute__((unused)) static void sfv_canonical(struct sfv_answer *a, enum bl_sfv_kind kind, const char *text, size_t len,
                                                  const struct bl_sfv_options *options)
{
    char *block, *copy = sfv_copy(text, len, &block);
    struct bl_sfv_field field;
    memset(a, 0, sizeof *a);
    a->status = bl_sfv_parse(&field, kind, copy, len, options, &a->err);
    if (a->status == BL_OK) {
        const char *written;
        size_t size;
        struct bl_sfv_options wide = options ? *options : bl_sfv_options_default;
        wide.max_bytes = SIZE_MAX;
        struct bl_sfv_writer *w = bl_sfv_writer_new(kind, &wide, &a->err);
        bl_sfv_write_nodes(w, field.nodes);
        a->status = bl_sfv_writer_end(w, &written, &size, &a->err);
        if (a->status == BL_OK && size < sizeof a->text) {
            memcpy(a->text, written, size);
            a->len = size;
        }
        bl_sfv_writer_free(w);
        bl_sfv_field_clear(&field);
    }
    free(block);
}

#endif
