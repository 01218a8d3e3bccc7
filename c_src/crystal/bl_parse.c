/* SPDX-License-Identifier: Apache-2.0
 *
 * Which format is it, compressed or not, and the frame list that every reader fills.
 */
#include <string.h>
#include <strings.h>

#include "bl_crystal.h"

void bl_parsed_clear(struct bl_parsed *parsed)
{
    for (size_t i = 0; i < parsed->count; i++) bl_structure_clear(&parsed->frames[i]);
    bl_free(parsed->frames);
    bl_free(parsed->reports);
    bl_free(parsed->refusals);
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

/* Whatever the first line of a POSCAR says: the second is a scale, and three rows of numbers follow. */
static bool looks_like_poscar(const struct bl_text *start)
{
    struct bl_text t = *start;
    bl_text_next_line(&t);
    const size_t scales = numbers_in_line(&t);
    for (int row = 0; row < 3; row++)
        if (numbers_in_line(&t) != 3) return false;
    return scales == 1 || scales == 3;
}

/* An XYZ file starts with a line that is a count and nothing else. So may a POSCAR; but then XYZ has
 * a comment and rows that hold a symbol or a fourth number where it has its scale and cell. */
static enum bl_format detect(const struct bl_text *start)
{
    struct bl_text t = *start;
    int64_t count;
    const bool lone_count = bl_token_integer(bl_text_word(&t), &count) && bl_text_rest(&t).len == 0;
    return lone_count && !looks_like_poscar(start) ? BL_FORMAT_EXTXYZ : BL_FORMAT_POSCAR;
}

static bool is_word(struct bl_token token, const char *word, size_t len)
{
    return token.len >= len && strncasecmp(token.p, word, len) == 0;
}

/* Behind comments a CIF begins with a data block; what looks like its inside is a broken one. */
static bool looks_like_cif(const struct bl_text *start)
{
    static const char *const begins[] = {"data_", "loop_", "save_", "global_", "_"};
    static const char magic[] = "#\\#CIF_";
    struct bl_text t = *start;
    if ((size_t)(t.end - t.p) >= sizeof magic - 1 && memcmp(t.p, magic, sizeof magic - 1) == 0) return true;
    while (!bl_text_end(&t) && (bl_text_rest(&t).len == 0 || bl_text_rest(&t).p[0] == '#')) bl_text_next_line(&t);
    const struct bl_token first = bl_text_word(&t);
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (is_word(first, begins[i], strlen(begins[i]))) return true;
    return false;
}

/* A LAMMPS data file has "N atoms" and "lo hi xlo xhi" among the short lines of its head. */
static bool looks_like_lammps(const struct bl_text *start)
{
    enum { HEAD_LINES = 60 };
    bool atoms = false, box = false;
    struct bl_text t = *start;
    bl_text_next_line(&t);
    for (int line = 0; line < HEAD_LINES && !bl_text_end(&t) && !(atoms && box); line++) {
        double number;
        struct bl_text at = t;
        struct bl_token words[4];
        for (int k = 0; k < 4; k++) words[k] = bl_text_word(&at);
        const bool counted = bl_token_number(words[0], &number);
        atoms = atoms || (counted && words[1].len == 5 && memcmp(words[1].p, "atoms", 5) == 0);
        box = box || (counted && words[2].len == 3 && words[3].len == 3 && memcmp(words[2].p, "xlo", 3) == 0);
        bl_text_next_line(&t);
    }
    return atoms && box;
}

static bool ends_with(const char *name, size_t len, const char *end)
{
    const size_t n = strlen(end);
    return len >= n && strncasecmp(name + len - n, end, n) == 0;
}

/* What a file's name says about it; ".gz" aside. */
static enum bl_format format_of_name(const char *path)
{
    static const struct {
        const char *end;
        enum bl_format format;
    } ends[] = {
        {".cif", BL_FORMAT_CIF},       {".mcif", BL_FORMAT_CIF},    {".mmcif", BL_FORMAT_CIF},  {".xyz", BL_FORMAT_EXTXYZ},
        {".extxyz", BL_FORMAT_EXTXYZ}, {".vasp", BL_FORMAT_POSCAR}, {".poscar", BL_FORMAT_POSCAR}, {".data", BL_FORMAT_LAMMPS},
        {".lmp", BL_FORMAT_LAMMPS},    {".lammps", BL_FORMAT_LAMMPS}, {"poscar", BL_FORMAT_POSCAR}, {"contcar", BL_FORMAT_POSCAR},
    };
    const char *slash = path ? strrchr(path, '/') : NULL;
    const char *name = slash ? slash + 1 : path ? path : "";
    size_t len = strlen(name);
    if (ends_with(name, len, ".gz")) len -= 3;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(name, len, ends[i].end)) return ends[i].format;
    const bool poscar = len >= 6 && strncasecmp(name, "poscar", 6) == 0, contcar = len >= 7 && strncasecmp(name, "contcar", 7) == 0;
    return poscar || contcar ? BL_FORMAT_POSCAR : BL_FORMAT_AUTO;
}

/* The content decides where it can: names lie. A POSCAR has no mark of its own. */
static enum bl_format detect_format(const struct bl_text *start, const char *name)
{
    if (looks_like_poscar(start)) return BL_FORMAT_POSCAR;
    if (looks_like_cif(start)) return BL_FORMAT_CIF;
    if (looks_like_lammps(start)) return BL_FORMAT_LAMMPS;
    const enum bl_format content = detect(start), named = format_of_name(name);
    return content == BL_FORMAT_POSCAR && named != BL_FORMAT_AUTO ? named : content;
}

/* All formats are text; a zero byte would also end names in the middle. */
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

const char *bl_format_name(enum bl_format format)
{
    static const char *const names[BL_FORMAT_COUNT] = {"auto", "poscar", "extxyz", "cif", "lammps"};
    return names[format];
}

typedef enum bl_status read_fn(struct bl_reader_state *r, struct bl_error *err);
static read_fn *const readers[BL_FORMAT_COUNT] = {
    [BL_FORMAT_POSCAR] = bl_poscar_read,
    [BL_FORMAT_EXTXYZ] = bl_extxyz_read,
    [BL_FORMAT_CIF] = bl_cif_read,
    [BL_FORMAT_LAMMPS] = bl_lammps_read,
};

static enum bl_status parse_text(struct bl_ctx *ctx, const char *data, size_t len, const struct bl_parse_options *options,
                                 struct bl_parsed *out, struct bl_error *err)
{
    struct bl_parsed parsed = {.quota = bl_ctx_quota(ctx), .format = options->format};
    struct bl_reader_state r = {.ctx = ctx, .options = options, .out = &parsed};
    r.limits = options->limits ? options->limits : &bl_crystal_limits_default;
    bl_text_init(&r.text, data, len);
    enum bl_status status = refuse_zero_bytes(&r.text, err);
    if (parsed.format == BL_FORMAT_AUTO) parsed.format = detect_format(&r.text, options->name);
    if (status == BL_OK) status = readers[parsed.format](&r, err);
    if (status != BL_OK) {
        bl_parsed_clear(&parsed);
        return status;
    }
    *out = parsed;
    return BL_OK;
}

enum bl_status bl_crystal_parse(struct bl_ctx *ctx, const char *data, size_t len, const struct bl_parse_options *options,
                                struct bl_parsed *out, struct bl_error *err)
{
    static const struct bl_parse_options defaults;
    struct bl_error local;
    if (!err) err = &local; /* allocation reports through it */
    if (!options) options = &defaults;
    if (len < 2 || memcmp(data, "\x1F\x8B", 2) != 0) return parse_text(ctx, data, len, options, out, err);
    struct bl_buffer text;
    bl_buffer_init(&text, bl_ctx_quota(ctx));
    const struct bl_crystal_limits *limits = options->limits ? options->limits : &bl_crystal_limits_default;
    enum bl_status status = bl_gunzip(ctx, data, len, limits->max_inflated, &text, err);
    if (status == BL_OK) status = parse_text(ctx, text.data, text.len, options, out, err);
    bl_buffer_clear(&text);
    return status;
}
