/* SPDX-License-Identifier: Apache-2.0
 *
 * The operation crystal_match.
 */
#include "bl_crystal_ops.h"

struct arguments {
    struct bl_term_structure structure[2];
    bool has[2];
    struct bl_match_options options;
};

static enum bl_status read_argument(struct bl_reader *r, struct bl_quota *quota, struct arguments *a, struct bl_error *err)
{
    static const char *const names[] = {"structure", "other"};
    struct bl_span key;
    bl_reader_at(r, "arguments");
    const enum bl_status status = bl_read_atom(r, &key);
    if (status != BL_OK) return status;
    for (int w = 0; w < 2; w++) {
        if (!bl_span_is(&key, names[w])) continue;
        if (a->has[w]) return bl_fail_invalid(err, names[w], "stands twice");
        const enum bl_status read = bl_read_structure(r, quota, &a->structure[w], err);
        a->has[w] = read == BL_OK;
        return read;
    }
    bl_reader_at(r, "tolerance");
    if (bl_span_is(&key, "tolerance")) return bl_read_number(r, &a->options.tolerance);
    bl_reader_at(r, "strain_tolerance");
    if (bl_span_is(&key, "strain_tolerance")) return bl_read_number(r, &a->options.strain_tolerance);
    bl_reader_at(r, "mirror");
    if (bl_span_is(&key, "mirror")) return bl_read_bool(r, &a->options.mirror);
    return bl_read_unknown_key(r, &key);
}

static void write_match(struct bl_writer *w, const struct bl_match *m)
{
    const bool equal = m->why == BL_MATCH_EQUAL;
    bl_write_map(w, equal ? 5 : 3);
    bl_write_keyed_bool(w, "equal", equal);
    bl_write_atom(w, "primitive_atoms");
    bl_write_tuple(w, 2);
    bl_write_uint(w, m->primitive_atoms[0]);
    bl_write_uint(w, m->primitive_atoms[1]);
    bl_write_end(w);
    if (equal) {
        bl_write_keyed_float(w, "rmsd", m->rmsd);
        bl_write_keyed_float(w, "max_distance", m->max_distance);
        bl_write_keyed_float(w, "strain", m->strain);
    } else {
        bl_write_atom(w, "why");
        bl_write_tuple(w, 2);
        bl_write_atom(w, bl_match_why_name(m->why));
        bl_write_text(w, m->text);
        bl_write_end(w);
    }
    bl_write_end(w);
}

enum bl_status bl_op_crystal_match(struct bl_ctx *ctx, struct bl_reader *args, struct bl_writer *result, struct bl_error *err)
{
    struct bl_quota *quota = bl_ctx_quota(ctx);
    struct arguments *a = bl_alloc_zero(quota, sizeof *a, err);
    if (!a) return bl_alloc_status(err);
    struct bl_match m;
    size_t n;
    bl_match_options_init(&a->options);
    bl_reader_at(args, "arguments");
    enum bl_status status = bl_read_map(args, &n);
    for (size_t i = 0; status == BL_OK && i < n; i++) status = read_argument(args, quota, a, err);
    if (status == BL_OK && !a->has[0]) status = bl_fail_invalid(err, "structure", "is missing");
    if (status == BL_OK && !a->has[1]) status = bl_fail_invalid(err, "other", "is missing");
    if (status == BL_OK) status = bl_structure_match(ctx, &a->structure[0].s, &a->structure[1].s, &a->options, &m, err);
    if (status == BL_OK) write_match(result, &m);
    for (int w = 0; w < 2; w++)
        if (a->has[w]) bl_structure_clear(&a->structure[w].s);
    bl_free(a);
    return status;
}
