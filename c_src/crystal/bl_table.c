/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of potentials: what all forms share.
 */
#include "bl_table.h"

#include <string.h>

/* ---- words ----------------------------------------------------------------------- */

struct bl_token bl_table_word(struct bl_table_reader *r)
{
    struct bl_text *t = &r->text;
    while (!bl_text_end(t)) {
        bl_text_blanks(t);
        if (bl_text_line_end(t) || *t->p == '#') {
            bl_text_next_line(t);
            continue;
        }
        const char *start = t->p;
        while (!bl_text_line_end(t) && *t->p != ' ' && *t->p != '\t' && *t->p != '#') t->p++;
        return (struct bl_token){start, (size_t)(t->p - start)};
    }
    return (struct bl_token){t->end, 0};
}

/* The error is about the word, not about what stands behind it. */
static enum bl_status refuse(struct bl_table_reader *r, struct bl_token word, const char *what, struct bl_error *err)
{
    struct bl_text at = r->text;
    at.p = word.p;
    return bl_text_expected(&at, err, "%s", what);
}

enum bl_status bl_table_number(struct bl_table_reader *r, double *out, const char *what, struct bl_error *err)
{
    const struct bl_token word = bl_table_word(r);
    return bl_token_number(word, out) ? BL_OK : refuse(r, word, what, err);
}

enum bl_status bl_table_count(struct bl_table_reader *r, size_t *out, size_t most, const char *what, struct bl_error *err)
{
    const struct bl_token word = bl_table_word(r);
    int64_t value;
    if (!bl_token_integer(word, &value) || value < 1) return refuse(r, word, what, err);
    if ((uint64_t)value > most) return bl_fail_limit(err, "table_values", most, (uint64_t)value);
    *out = (size_t)value;
    return BL_OK;
}

enum bl_status bl_table_name(struct bl_table_reader *r, struct bl_token word, uint32_t *out, struct bl_error *err)
{
    struct bl_table *t = r->out;
    char name[BL_SYMBOL_SIZE] = "";
    if (word.len == 0 || word.len >= BL_SYMBOL_SIZE || memchr(word.p, 0, word.len))
        return refuse(r, word, "the name of an element", err);
    memcpy(name, word.p, word.len);
    const size_t at = bl_table_find(t, name);
    *out = (uint32_t)at;
    if (at < t->elements) return BL_OK;
    if (at == BL_TABLE_ELEMENTS_MAX) return bl_fail_limit(err, "table_elements", BL_TABLE_ELEMENTS_MAX, at + 1);
    memcpy(t->names[t->elements++], name, sizeof name);
    return BL_OK;
}

enum bl_status bl_table_end(struct bl_table_reader *r, struct bl_error *err)
{
    const struct bl_token word = bl_table_word(r);
    double number;
    return bl_token_number(word, &number) ? refuse(r, word, "no more numbers", err) : BL_OK;
}

/* ---- the table ------------------------------------------------------------------- */

size_t bl_table_find(const struct bl_table *t, const char *name)
{
    size_t i = 0;
    while (i < t->elements && strcmp(t->names[i], name) != 0) i++;
    return i;
}

enum bl_status bl_table_map(struct bl_quota *quota, const struct bl_table *t, const struct bl_structure *s, uint32_t **out,
                            struct bl_error *err)
{
    uint32_t *map = bl_alloc_array(quota, s->species_count, sizeof *map, err);
    if (!map) return bl_alloc_status(err);
    for (size_t i = 0; i < s->species_count; i++) map[i] = (uint32_t)t->elements;
    for (size_t i = 0; i < s->atoms; i++) {
        const uint32_t type = s->types[i];
        if (map[type] < t->elements) continue;
        map[type] = (uint32_t)bl_table_find(t, s->species[type]);
        if (map[type] < t->elements) continue;
        bl_free(map);
        return bl_fail_invalid(err, "species", "the potential has no parameters for %s", s->species[type]);
    }
    *out = map;
    return BL_OK;
}

void bl_table_free(struct bl_table *t)
{
    if (!t) return;
    bl_free(t->eam.embed);
    bl_free(t->eam.density);
    bl_free(t->eam.pair);
    bl_free(t->sw);
    bl_free(t->tersoff);
    bl_free(t);
}

size_t bl_table_elements(const struct bl_table *table) { return table->elements; }
const char *bl_table_element(const struct bl_table *table, size_t i) { return table->names[i]; }

static enum bl_status read_format(struct bl_table_reader *r, const struct bl_table_file *files, size_t count, struct bl_error *err)
{
    const enum bl_table_format format = r->out->format;
    if (count == 0) return bl_fail_invalid(err, "table", "no file");
    if (format == BL_TABLE_FUNCFL) return bl_funcfl_read(r, files, count, err);
    if (count > 1) return bl_fail_invalid(err, "table", "one file holds all elements: %zu were given", count);
    bl_text_init(&r->text, files->data, files->len);
    if (format == BL_TABLE_SETFL || format == BL_TABLE_FINNIS_SINCLAIR) return bl_setfl_read(r, err);
    if (format == BL_TABLE_SW || format == BL_TABLE_TERSOFF) return bl_entries_read(r, err);
    return bl_fail_invalid(err, "format", "unknown");
}

enum bl_status bl_table_read(struct bl_ctx *ctx, enum bl_table_format format, const struct bl_table_file *files, size_t count,
                             struct bl_table **out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct bl_table_reader r = {.ctx = ctx, .quota = bl_ctx_quota(ctx)};
    r.out = bl_alloc_zero(r.quota, sizeof *r.out, err);
    if (!r.out) return err->status;
    r.out->format = format;
    const enum bl_status status = read_format(&r, files, count, err);
    if (status == BL_OK) *out = r.out;
    else bl_table_free(r.out);
    return status;
}
