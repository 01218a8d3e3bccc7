/* SPDX-License-Identifier: Apache-2.0
 *
 * The operations on files: crystal_parse and crystal_write.
 */
#include <string.h>

#include "bl_crystal_ops.h"

/* ---- crystal_parse ---------------------------------------------------------------- */

enum { PARSE_SPECIES_MAX = 256 };
struct parse_arguments {
    struct bl_span data;
    bool has_data;
    struct bl_parse_options options;
    struct bl_crystal_limits limits;
    const char *species[PARSE_SPECIES_MAX];
    char symbols[PARSE_SPECIES_MAX][BL_SYMBOL_SIZE];
    char name[256], setting[64], block[256], atom_style[32];
};

static enum bl_status read_format(struct bl_reader *r, enum bl_format *out, bool may_be_auto, struct bl_error *err)
{
    struct bl_span name;
    bl_reader_at(r, "format");
    const enum bl_status status = bl_read_atom(r, &name);
    if (status != BL_OK) return status;
    if (bl_span_is(&name, "xyz")) {
        *out = BL_FORMAT_EXTXYZ;
        return BL_OK;
    }
    for (int i = may_be_auto ? BL_FORMAT_AUTO : BL_FORMAT_AUTO + 1; i < BL_FORMAT_COUNT; i++) {
        if (!bl_span_is(&name, bl_format_name((enum bl_format)i))) continue;
        *out = (enum bl_format)i;
        return BL_OK;
    }
    return bl_fail_invalid(err, "format", "%sposcar, extxyz, cif or lammps", may_be_auto ? "auto, " : "");
}

static enum bl_status read_species_option(struct bl_reader *r, struct parse_arguments *a, struct bl_error *err)
{
    bl_reader_at(r, "species");
    return bl_read_symbols(r, "species", PARSE_SPECIES_MAX, a->symbols, a->species, &a->options.species_count, err);
}

static enum bl_status read_max(struct bl_reader *r, const char *field, size_t *limit)
{
    uint64_t value;
    bl_reader_at(r, field);
    const enum bl_status status = bl_read_uint(r, &value);
    if (status == BL_OK && value < *limit) *limit = (size_t)value; /* may only be lowered */
    return status;
}

/* A text for the reader: kept terminated in `room`. */
static enum bl_status read_text(struct bl_reader *r, const char *field, char *room, size_t size, const char **out, struct bl_error *err)
{
    struct bl_span text;
    bl_reader_at(r, field);
    const enum bl_status status = bl_read_binary(r, &text);
    if (status != BL_OK) return status;
    if (text.len >= size || (text.len > 0 && memchr(text.data, 0, text.len)))
        return bl_fail_invalid(err, field, "at most %zu bytes, none of them zero", size - 1);
    if (text.len > 0) memcpy(room, text.data, text.len);
    room[text.len] = '\0';
    *out = room;
    return BL_OK;
}

static enum bl_status read_parse_argument(struct bl_reader *r, struct parse_arguments *a, struct bl_error *err)
{
    struct bl_span key;
    const enum bl_status status = bl_read_atom(r, &key);
    if (status != BL_OK) return status;
    bl_reader_at(r, "data");
    if (bl_span_is(&key, "data")) {
        a->has_data = true;
        return bl_read_binary(r, &a->data);
    }
    if (bl_span_is(&key, "format")) return read_format(r, &a->options.format, true, err);
    if (bl_span_is(&key, "species")) return read_species_option(r, a, err);
    if (bl_span_is(&key, "name")) return read_text(r, "name", a->name, sizeof a->name, &a->options.name, err);
    if (bl_span_is(&key, "setting") && bl_read_type(r) == BL_TERM_INT) {
        a->options.setting = a->setting;
        return bl_read_setting_number(r, a->setting, err);
    }
    if (bl_span_is(&key, "setting")) return read_text(r, "setting", a->setting, sizeof a->setting, &a->options.setting, err);
    if (bl_span_is(&key, "block")) return read_text(r, "block", a->block, sizeof a->block, &a->options.block, err);
    if (bl_span_is(&key, "atom_style")) return read_text(r, "atom_style", a->atom_style, sizeof a->atom_style, &a->options.atom_style, err);
    if (bl_span_is(&key, "max_inflated")) return read_max(r, "max_inflated", &a->limits.max_inflated);
    if (bl_span_is(&key, "max_atoms")) return read_max(r, "max_atoms", &a->limits.max_atoms);
    if (bl_span_is(&key, "max_frames")) return read_max(r, "max_frames", &a->limits.max_frames);
    return bl_read_unknown_key(r, &key);
}

static void write_report(struct bl_writer *w, const struct bl_report *x)
{
    static const char *const sources[] = {"none", "option", "operations", "magnetic", "hall", "name", "number", "refused"};
    const bool expected = x->expected >= 0;
    bl_write_map(w, 5 + (size_t)expected);
    bl_write_keyed_text(w, "block", x->block);
    bl_write_keyed_atom(w, "symmetry_from", sources[x->source]);
    bl_write_keyed_uint(w, "rows", x->rows);
    bl_write_keyed_uint(w, "positions", x->positions);
    bl_write_keyed_float(w, "occupancy", x->occupancy);
    if (expected) {
        bl_write_keyed_float(w, "expected_occupancy", x->expected);
    }
    bl_write_end(w);
}

static void write_refusals(struct bl_writer *w, const struct bl_parsed *p)
{
    bl_write_atom(w, "refused");
    bl_write_list(w, p->refusal_count);
    for (size_t i = 0; i < p->refusal_count; i++) {
        bl_write_map(w, 3);
        bl_write_keyed_text(w, "block", p->refusals[i].block);
        bl_write_keyed_uint(w, "line", p->refusals[i].line);
        bl_write_atom(w, "reason");
        bl_write_reason(w, &p->refusals[i].error);
        bl_write_end(w);
    }
    bl_write_end(w);
}

static void write_parsed(struct bl_writer *w, const struct bl_parsed *p)
{
    bl_write_map(w, 3 + (size_t)(p->format == BL_FORMAT_CIF) + (size_t)(p->refusal_count > 0));
    bl_write_keyed_atom(w, "format", bl_format_name(p->format));
    if (p->refusal_count > 0) write_refusals(w, p);
    if (p->format == BL_FORMAT_CIF) {
        bl_write_atom(w, "reports");
        bl_write_list(w, p->count);
        for (size_t i = 0; i < p->count; i++) write_report(w, &p->reports[i]);
        bl_write_end(w);
    }
    bl_write_atom(w, "structures");
    bl_write_list(w, p->count);
    for (size_t i = 0; i < p->count; i++) bl_write_structure(w, &p->frames[i], NULL);
    bl_write_end(w);
    bl_write_atom(w, "warnings");
    bl_write_list(w, p->warnings.count);
    for (size_t i = 0; i < p->warnings.count; i++) bl_write_text(w, p->warnings.text[i]);
    bl_write_end(w);
    bl_write_end(w);
}

enum bl_status bl_op_crystal_parse(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct parse_arguments *a = bl_alloc_zero(bl_ctx_quota(ctx), sizeof *a, err);
    struct bl_parsed *parsed = a ? bl_alloc(bl_ctx_quota(ctx), sizeof *parsed, err) : NULL;
    enum bl_status status = parsed ? BL_OK : bl_alloc_status(err);
    size_t n = 0;
    if (status == BL_OK) {
        a->limits = bl_crystal_limits_default;
        a->options.limits = &a->limits;
        a->options.species = a->species;
        bl_reader_at(args, "arguments");
        status = bl_read_map(args, &n);
    }
    for (size_t i = 0; status == BL_OK && i < n; i++) status = read_parse_argument(args, a, err);
    if (status == BL_OK && !a->has_data) status = bl_fail_invalid(err, "data", "is missing");
    if (status == BL_OK) status = bl_crystal_parse(ctx, (const char *)a->data.data, a->data.len, &a->options, parsed, err);
    if (status == BL_OK) {
        write_parsed(result, parsed);
        bl_parsed_clear(parsed);
    }
    bl_free(parsed);
    bl_free(a);
    return status;
}

/* ---- crystal_write ----------------------------------------------------------------- */

struct write_arguments {
    struct bl_span structures; /* encoded list */
    enum bl_format format;
    struct bl_write_options options;
    char comment[256];
    bool compressed;
};

static enum bl_status read_write_argument(struct bl_reader *r, struct write_arguments *a, struct bl_error *err)
{
    struct bl_span key;
    const enum bl_status status = bl_read_atom(r, &key);
    if (status != BL_OK) return status;
    bl_reader_at(r, "structures");
    if (bl_span_is(&key, "structures")) return bl_read_raw(r, &a->structures);
    if (bl_span_is(&key, "format")) return read_format(r, &a->format, false, err);
    if (bl_span_is(&key, "comment")) return read_text(r, "comment", a->comment, sizeof a->comment, &a->options.comment, err);
    bl_reader_at(r, "symmetry");
    if (bl_span_is(&key, "symmetry")) return bl_read_bool(r, &a->options.symmetry);
    bl_reader_at(r, "compressed");
    if (bl_span_is(&key, "compressed")) return bl_read_bool(r, &a->compressed);
    bl_reader_at(r, "cartesian");
    if (bl_span_is(&key, "cartesian")) return bl_read_bool(r, &a->options.cartesian);
    return bl_read_unknown_key(r, &key);
}

static enum bl_status write_all(struct bl_ctx *ctx, const struct write_arguments *a, struct bl_reader *outer, struct bl_buffer *out,
        struct bl_error *err)
{
    struct bl_quota *quota = bl_ctx_quota(ctx);
    struct bl_reader r;
    size_t n;
    bl_reader_init(&r, &a->structures, 1, &outer->limits, quota, err);
    bl_reader_at(&r, "structures");
    enum bl_status status = bl_read_list(&r, &n);
    const bool single = a->format == BL_FORMAT_POSCAR || a->format == BL_FORMAT_LAMMPS;
    if (status == BL_OK && single && n != 1) status = bl_fail_invalid(err, "structures",
            "a file of this format holds one structure, not %zu", n);
    for (size_t i = 0; status == BL_OK && i < n; i++) {
        struct bl_term_structure t;
        status = bl_ctx_check(ctx, err);
        if (status == BL_OK) status = bl_read_structure(&r, quota, &t, err);
        if (status != BL_OK) break;
        status = bl_crystal_write(ctx, &t.s, a->format, &a->options, out, err);
        bl_structure_clear(&t.s);
    }
    bl_reader_at(&r, "structures");
    if (status == BL_OK) status = bl_read_list_end(&r);
    bl_reader_clear(&r);
    return status;
}

enum bl_status bl_op_crystal_write(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct write_arguments a = {.format = BL_FORMAT_AUTO};
    struct bl_buffer out, packed;
    bl_buffer_init(&out, bl_ctx_quota(ctx));
    bl_buffer_init(&packed, bl_ctx_quota(ctx));
    size_t n;
    bl_reader_at(args, "arguments");
    enum bl_status status = bl_read_map(args, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) status = read_write_argument(args, &a, err);
    if (status == BL_OK && !a.structures.data) status = bl_fail_invalid(err, "structures", "is missing");
    if (status == BL_OK && a.format == BL_FORMAT_AUTO) status = bl_fail_invalid(err, "format", "is missing");
    if (status == BL_OK) status = write_all(ctx, &a, args, &out, err);
    if (status == BL_OK && a.compressed) status = bl_gzip(ctx, out.data, out.len, &packed, err);
    const struct bl_buffer *file = a.compressed ? &packed : &out;
    if (status == BL_OK) bl_write_binary(result, file->data, file->len);
    bl_buffer_clear(&packed);
    bl_buffer_clear(&out);
    return status;
}
