/* SPDX-License-Identifier: Apache-2.0
 *
 * Which format is it, and the frame list that every reader fills.
 */
#include <string.h>

#include "bl_crystal.h"

void bl_parsed_clear(struct bl_parsed *parsed)
{
    for (size_t i = 0; i < parsed->count; i++) bl_structure_clear(&parsed->frames[i]);
    bl_free(parsed->frames);
    *parsed = (struct bl_parsed){.quota = parsed->quota};
}

struct bl_structure *bl_parsed_add(struct bl_parsed *parsed, const struct bl_crystal_limits *limits, struct bl_error *err)
{
    if (parsed->count == limits->max_frames) {
        bl_fail_limit(err, "frames", limits->max_frames, parsed->count + 1);
        return NULL;
    }
    if (parsed->count == parsed->capacity) {
        const size_t room = parsed->capacity ? 2 * parsed->capacity : 1;
        void *p = bl_realloc(parsed->quota, parsed->frames, room * sizeof *parsed->frames, err);
        if (!p) return NULL;
        parsed->frames = p;
        parsed->capacity = room;
    }
    struct bl_structure *s = &parsed->frames[parsed->count++];
    bl_structure_init(s, parsed->quota);
    return s;
}

static size_t numbers_in_line(struct bl_text *t)
{
    size_t n = 0;
    double ignored;
    while (bl_token_number(bl_text_word(t), &ignored)) n++;
    bl_text_next_line(t);
    return n;
}

/* An XYZ file starts with a line that is a count and nothing else. So may a POSCAR, whose first
 * line is free text: then the second is a scale and three rows of numbers follow, where XYZ has
 * a comment and rows that hold a symbol or a fourth number. */
static enum bl_format detect(const struct bl_text *start)
{
    struct bl_text t = *start;
    int64_t count;
    const bool lone_count = bl_token_integer(bl_text_word(&t), &count) && bl_text_rest(&t).len == 0;
    if (!lone_count) return BL_FORMAT_POSCAR;
    bl_text_next_line(&t);
    const size_t scales = numbers_in_line(&t);
    if (scales != 1 && scales != 3) return BL_FORMAT_EXTXYZ;
    for (int row = 0; row < 3; row++)
        if (numbers_in_line(&t) != 3) return BL_FORMAT_EXTXYZ;
    return BL_FORMAT_POSCAR;
}

static bool starts_with(const struct bl_text *t, const char *word)
{
    struct bl_text at = *t;
    const struct bl_token first = bl_text_word(&at);
    const size_t len = strlen(word);
    return first.len >= len && memcmp(first.p, word, len) == 0;
}

static enum bl_status refuse_foreign(const struct bl_text *t, const char *data, size_t len, struct bl_error *err)
{
    if (len >= 2 && memcmp(data, "\x1F\x8B", 2) == 0) return bl_fail_unsupported(err, "gzip");
    struct bl_text at = *t;
    while (!bl_text_end(&at) && (bl_text_rest(&at).len == 0 || bl_text_rest(&at).p[0] == '#')) bl_text_next_line(&at);
    if (starts_with(&at, "data_")) return bl_fail_unsupported(err, "cif");
    return BL_OK;
}

/* Both formats are text; a zero byte would also end names in the middle. */
static enum bl_status refuse_zero_bytes(const struct bl_text *start, struct bl_error *err)
{
    const size_t left = (size_t)(start->end - start->p);
    const char *zero = left > 0 ? memchr(start->p, '\0', left) : NULL;
    if (!zero) return BL_OK;
    struct bl_text t = *start;
    for (;;) {
        struct bl_text next = t;
        bl_text_next_line(&next);
        if (next.p > zero || bl_text_end(&next)) break;
        t = next;
    }
    t.p = zero;
    return bl_text_expected(&t, err, "text, not a zero byte");
}

enum bl_status bl_crystal_parse(struct bl_ctx *ctx, const char *data, size_t len, const struct bl_parse_options *options,
                                struct bl_parsed *out, struct bl_error *err)
{
    static const struct bl_parse_options defaults;
    struct bl_parsed parsed = {.quota = bl_ctx_quota(ctx)};
    struct bl_reader_state r = {.ctx = ctx, .options = options ? options : &defaults, .out = &parsed};
    struct bl_error local;
    if (!err) err = &local; /* allocation reports through it */
    r.limits = r.options->limits ? r.options->limits : &bl_crystal_limits_default;
    bl_text_init(&r.text, data, len);
    parsed.format = r.options->format;
    enum bl_status status = BL_OK;
    if (parsed.format == BL_FORMAT_AUTO) {
        status = refuse_foreign(&r.text, data, len, err);
        parsed.format = detect(&r.text);
    } else if (len >= 2 && memcmp(data, "\x1F\x8B", 2) == 0) {
        status = bl_fail_unsupported(err, "gzip");
    }
    if (status == BL_OK) status = refuse_zero_bytes(&r.text, err);
    if (status == BL_OK) status = parsed.format == BL_FORMAT_POSCAR ? bl_poscar_read(&r, err) : bl_extxyz_read(&r, err);
    if (status != BL_OK) {
        bl_parsed_clear(&parsed);
        return status;
    }
    *out = parsed;
    return BL_OK;
}
