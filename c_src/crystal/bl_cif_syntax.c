/* SPDX-License-Identifier: Apache-2.0
 *
 * The syntax of CIF 1.1 (International Tables G, 2.2) and CIF 2.0 (Bernstein et al., J. Appl.
 * Cryst. 49, 277 (2016)). One pass; values stay where they are in the input until somebody asks.
 *
 *     file    = { "data_"name { item | loop | "save_"name ... "save_" } }
 *     item    = tag value         loop = "loop_" tag... value...
 *     value   = bare | 'quoted' | "quoted" | text field between ";" in column one
 *               and in CIF 2 '''triple''', [list], {'key':value}
 *
 * Lines end with LF, CRLF or a lone CR. A "[" begins a list in CIF 2 only; but there are files
 * without its mark that have lists, so a loop whose values do not come out is tried again with them.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "bl_cif.h"

enum { BLANK = 1, LINE_END = 2, COMMENT = 4 };
static const uint8_t classes[256] = {[' '] = BLANK, ['\t'] = BLANK, ['\v'] = BLANK, ['\f'] = BLANK, ['\n'] = LINE_END, ['\r'] = LINE_END};

static inline bool is_space(char c) { return classes[(uint8_t)c] != 0; }
static inline bool is_line_end(char c) { return c == '\n' || c == '\r'; }

struct parser {
    struct bl_ctx *ctx;
    struct cif_document *doc;
    struct bl_warnings *warnings;
    struct bl_error *err;
    const char *p, *end;
    bool cif2, lists, in_frame;
    bool retry; /* a loop did not come out and has a bracket: lists may help */
};

/* ---- errors ------------------------------------------------------------------------- */

enum bl_status bl_cif_expected(const struct cif_document *doc, const char *at, struct bl_error *err, const char *what, ...)
{
    char text[160];
    va_list args;
    va_start(args, what);
    vsnprintf(text, sizeof text, what, args);
    va_end(args);
    uint32_t line = 1;
    const char *line_start = doc->start;
    for (const char *p = doc->start; p < at; p++) {
        if (!is_line_end(*p)) continue;
        if (*p == '\r' && p + 1 < at && p[1] == '\n') p++;
        line++;
        line_start = p + 1;
    }
    return bl_fail_syntax(err, line, (uint32_t)(at - line_start) + 1, "%s", text);
}

static enum bl_status expected(const struct parser *x, const char *at, const char *what)
{
    return bl_cif_expected(x->doc, at, x->err, "%s", what);
}

/* ---- the growing document -------------------------------------------------------------- */

static enum bl_status grow(struct parser *x, void *array, size_t *room, size_t size)
{
    void **slot = array;
    const size_t want = *room ? 2 * *room : 64;
    void *p = bl_realloc(x->doc->quota, *slot, want * size, x->err);
    if (!p) return bl_alloc_status(x->err);
    *slot = p;
    *room = want;
    return BL_OK;
}

static inline enum bl_status add_value(struct parser *x, const char *p, const char *end, enum cif_kind kind)
{
    struct cif_document *d = x->doc;
    if (d->value_count == d->value_room) {
        enum bl_status status = grow(x, &d->values, &d->value_room, sizeof *d->values);
        if (status == BL_OK) status = bl_ctx_check(x->ctx, x->err);
        if (status != BL_OK) return status;
    }
    if ((d->value_count & 8191) == 8191) {
        const enum bl_status status = bl_ctx_check(x->ctx, x->err);
        if (status != BL_OK) return status;
    }
    if ((size_t)(end - p) > UINT32_MAX) return bl_fail_limit(x->err, "value_bytes", UINT32_MAX, (uint64_t)(end - p));
    d->values[d->value_count++] = (struct cif_value){p, (uint32_t)(end - p), kind};
    return BL_OK;
}

static enum bl_status add_tag(struct parser *x, const char *p, const char *end)
{
    struct cif_document *d = x->doc;
    if (d->tag_count == d->tag_room) {
        const enum bl_status status = grow(x, &d->tags, &d->tag_room, sizeof *d->tags);
        if (status != BL_OK) return status;
    }
    if (end - p > 2048) return expected(x, p, "a tag of at most 2048 bytes");
    d->tags[d->tag_count++] = (struct cif_tag){p, (uint32_t)(end - p), (uint32_t)d->loop_count};
    return BL_OK;
}

static enum bl_status begin_loop(struct parser *x, const char *at)
{
    struct cif_document *d = x->doc;
    if (d->loop_count == d->loop_room) {
        const enum bl_status status = grow(x, &d->loops, &d->loop_room, sizeof *d->loops);
        if (status != BL_OK) return status;
    }
    d->loops[d->loop_count] = (struct cif_loop){.first_tag = d->tag_count, .first_value = d->value_count, .at = at};
    return BL_OK;
}

/* What stands in a save frame belongs to dictionaries: it is checked and dropped. */
static void end_loop(struct parser *x)
{
    struct cif_document *d = x->doc;
    struct cif_loop *loop = &d->loops[d->loop_count];
    loop->width = d->tag_count - loop->first_tag;
    loop->rows = (d->value_count - loop->first_value) / loop->width;
    if (x->in_frame) {
        d->tag_count = loop->first_tag;
        d->value_count = loop->first_value;
    } else {
        d->loop_count++;
        d->blocks[d->block_count - 1].loop_end = d->loop_count;
    }
}

/* ---- tokens ------------------------------------------------------------------------------ */

static inline void skip_space(struct parser *x)
{
    const char *p = x->p, *const end = x->end;
    for (;;) {
        while (p < end && is_space(*p)) p++;
        if (p == end || *p != '#') break;
        while (p < end && !is_line_end(*p)) p++;
    }
    x->p = p;
}

static inline const char *word_end(const struct parser *x, const char *p)
{
    while (p < x->end && !is_space(*p)) p++;
    return p;
}

static bool begins(const struct parser *x, const char *word, size_t len)
{
    return (size_t)(x->end - x->p) >= len && strncasecmp(x->p, word, len) == 0;
}

enum keyword { NO_KEYWORD, KEY_DATA, KEY_LOOP, KEY_SAVE, KEY_GLOBAL, KEY_STOP };

static inline enum keyword keyword(const struct parser *x)
{
    switch (*x->p | 0x20) {
    case 'd':
        return begins(x, "data_", 5) ? KEY_DATA : NO_KEYWORD;
    case 'l':
        return begins(x, "loop_", 5) && word_end(x, x->p) == x->p + 5 ? KEY_LOOP : NO_KEYWORD;
    case 's':
        if (begins(x, "save_", 5)) return KEY_SAVE;
        return begins(x, "stop_", 5) && word_end(x, x->p) == x->p + 5 ? KEY_STOP : NO_KEYWORD;
    case 'g':
        return begins(x, "global_", 7) && word_end(x, x->p) == x->p + 7 ? KEY_GLOBAL : NO_KEYWORD;
    default:
        return NO_KEYWORD;
    }
}

static inline bool at_line_start(const struct parser *x) { return x->p == x->doc->start || is_line_end(x->p[-1]); }

static enum bl_status text_field(struct parser *x)
{
    const char *const open = x->p, *p = open + 1;
    for (;; p++) {
        p = p < x->end ? memchr(p, ';', (size_t)(x->end - p)) : NULL;
        if (!p) return expected(x, open, "a closing ; at the start of a line for this text field");
        if (is_line_end(p[-1])) break;
    }
    x->p = p + 1;
    const char *end = p - 1; /* without the line end before the semicolon */
    if (*end == '\n' && end > open + 1 && end[-1] == '\r') end--;
    if (end < open + 1) end = open + 1;
    return add_value(x, open + 1, end, CIF_TEXT);
}

/* The end of a triple-quoted string that begins at p, or NULL. */
static const char *triple_end(const struct parser *x, const char *p)
{
    const char quote = *p;
    for (p += 3; x->end - p >= 3; p++) {
        p = memchr(p, quote, (size_t)(x->end - p));
        if (!p || x->end - p < 3) return NULL;
        if (p[1] == quote && p[2] == quote) return p;
    }
    return NULL;
}

static bool is_triple(const struct parser *x, const char *p) { return x->cif2 && x->end - p >= 3 && p[1] == *p && p[2] == *p; }

/* In CIF 1 a quote closes only before a blank: 'a dog's life' is one string. */
static const char *quote_end(const struct parser *x, const char *open, bool in_list)
{
    for (const char *p = open + 1; p < x->end && !is_line_end(*p); p++)
        if (*p == *open && (x->cif2 || in_list || p + 1 == x->end || is_space(p[1]))) return p;
    return NULL;
}

static enum bl_status quoted(struct parser *x)
{
    const char *const open = x->p;
    const bool triple = is_triple(x, open);
    const char *close = triple ? triple_end(x, open) : quote_end(x, open, false);
    if (!close) return expected(x, open,
            triple ? "three closing quotes" : *open == '"' ? "a closing \" on this line" : "a closing ' on this line");
    x->p = close + (triple ? 3 : 1);
    if (x->p < x->end && !is_space(*x->p)) return expected(x, x->p, "a blank behind a quoted string");
    return add_value(x, open + (triple ? 3 : 1), close, CIF_QUOTED);
}

enum { NESTING_MAX = 64 };

/* Steps over a list or table: brackets that match, strings whole. What is in it is not looked at. */
static enum bl_status list_or_table(struct parser *x)
{
    char closers[NESTING_MAX];
    size_t depth = 0;
    const char *const open = x->p;
    do {
        skip_space(x);
        if (x->p == x->end) return expected(x, open, *open == '[' ? "a closing ]" : "a closing }");
        const char c = *x->p;
        if (c == '[' || c == '{') {
            if (depth == NESTING_MAX) return bl_fail_limit(x->err, "depth", NESTING_MAX, NESTING_MAX + 1);
            closers[depth++] = c == '[' ? ']' : '}';
            x->p++;
        } else if (c == ']' || c == '}') {
            if (c != closers[depth - 1]) return expected(x, x->p, closers[depth - 1] == ']' ? "]" : "}");
            depth--;
            x->p++;
        } else if (c == '\'' || c == '"') {
            const bool triple = is_triple(x, x->p);
            const char *close = triple ? triple_end(x, x->p) : quote_end(x, x->p, true);
            if (!close) return expected(x, x->p, "a closing quote");
            x->p = close + (triple ? 3 : 1);
        } else if (c == ';' && at_line_start(x)) {
            const size_t count = x->doc->value_count;
            const enum bl_status status = text_field(x);
            if (status != BL_OK) return status;
            x->doc->value_count = count;
        } else if (c == ':') { /* behind the key of a table; the value may be quoted */
            x->p++;
        } else {
            while (x->p < x->end && !is_space(*x->p) && !memchr("[]{}", *x->p, 4)) x->p++;
        }
    } while (depth > 0);
    return add_value(x, open, x->p, CIF_LIST);
}

static inline enum bl_status value(struct parser *x)
{
    const char c = *x->p;
    if (c == '\'' || c == '"') return quoted(x);
    if (c == ';' && at_line_start(x)) return text_field(x);
    if ((c == '[' || c == '{') && x->lists) return list_or_table(x);
    const char *start = x->p;
    x->p = word_end(x, start);
    return add_value(x, start, x->p, CIF_BARE);
}

/* ---- structure ----------------------------------------------------------------------------- */

static enum bl_status read_block(struct parser *x)
{
    struct cif_document *d = x->doc;
    if (d->block_count == d->block_room) {
        const enum bl_status status = grow(x, &d->blocks, &d->block_room, sizeof *d->blocks);
        if (status != BL_OK) return status;
    }
    const char *name = x->p + (begins(x, "global_", 7) ? 7 : 5), *end = word_end(x, x->p);
    x->p = end;
    /* Some names have blanks in them: words on the same line that can be nothing else. */
    for (;;) {
        const char *p = end;
        while (p < x->end && classes[(uint8_t)*p] == BLANK) p++;
        if (p == x->end || is_line_end(*p) || *p == '#' || *p == '_') break;
        x->p = p;
        if (keyword(x) != NO_KEYWORD) break;
        bl_warn(x->warnings, "the name of block %.*s has blanks", (int)(end - name < 40 ? end - name : 40), name);
        x->p = end = word_end(x, p);
    }
    x->p = end;
    d->blocks[d->block_count++] = (struct cif_block){{name, (size_t)(end - name)}, d->loop_count, d->loop_count};
    return BL_OK;
}

static enum bl_status read_item(struct parser *x)
{
    const char *const tag = x->p;
    enum bl_status status = begin_loop(x, tag);
    if (status != BL_OK) return status;
    x->p = word_end(x, tag);
    status = add_tag(x, tag, x->p);
    if (status != BL_OK) return status;
    skip_space(x);
    if (x->p == x->end || *x->p == '_' || keyword(x) != NO_KEYWORD)
        return bl_cif_expected(x->doc, tag, x->err, "a value for %.*s", (int)(x->p - tag < 60 ? word_end(x, tag) - tag : 60), tag);
    status = value(x);
    if (status == BL_OK) end_loop(x);
    return status;
}

static bool has_bracket(const struct cif_document *d, size_t first)
{
    for (size_t i = first; i < d->value_count; i++)
        if (d->values[i].kind == CIF_BARE && d->values[i].len > 0 && d->values[i].p[0] == '[') return true;
    return false;
}

static enum bl_status check_loop(struct parser *x, const char *at)
{
    const struct cif_document *d = x->doc;
    const struct cif_loop *loop = &d->loops[d->loop_count];
    const size_t width = d->tag_count - loop->first_tag, values = d->value_count - loop->first_value;
    if (width == 0) return expected(x, at, "a tag behind loop_");
    if (values % width == 0) {
        if (values == 0) bl_warn(x->warnings, "a loop has no values");
        return BL_OK;
    }
    x->retry = !x->lists && has_bracket(d, loop->first_value);
    const struct cif_tag *tag = &d->tags[loop->first_tag];
    return bl_cif_expected(x->doc, at, x->err, "values for whole rows in the loop of %.*s: %zu columns, %zu values",
            (int)(tag->len < 60 ? tag->len : 60), tag->p, width, values);
}

static enum bl_status read_loop(struct parser *x)
{
    const char *const at = x->p;
    enum bl_status status = begin_loop(x, at);
    x->p += 5;
    for (skip_space(x); status == BL_OK && x->p < x->end && *x->p == '_'; skip_space(x)) {
        const char *tag = x->p;
        x->p = word_end(x, tag);
        status = add_tag(x, tag, x->p);
    }
    for (; status == BL_OK && x->p < x->end && *x->p != '_'; skip_space(x)) {
        if (keyword(x) != NO_KEYWORD) break;
        status = value(x);
    }
    if (status == BL_OK) status = check_loop(x, at);
    if (status == BL_OK) end_loop(x);
    return status;
}

static enum bl_status read_save(struct parser *x)
{
    const char *end = word_end(x, x->p);
    const bool closes = end == x->p + 5;
    if (closes != x->in_frame) return expected(x, x->p, closes ? "an open save frame" : "save_ before the next frame");
    x->in_frame = !closes;
    x->p = end;
    return BL_OK;
}

static enum bl_status read_element(struct parser *x)
{
    const enum keyword key = *x->p == '_' ? NO_KEYWORD : keyword(x);
    if (x->doc->block_count == 0 && key != KEY_DATA && key != KEY_GLOBAL) return expected(x, x->p, "data_ and the name of a block");
    if (*x->p == '_') return read_item(x);
    switch (key) {
    case KEY_DATA:
    case KEY_GLOBAL:
        if (x->in_frame) return expected(x, x->p, "save_ before the next block");
        return read_block(x);
    case KEY_LOOP:
        return read_loop(x);
    case KEY_SAVE:
        return read_save(x);
    case KEY_STOP: /* STAR files; reserved in CIF */
        return expected(x, x->p, "a tag, not stop_");
    case NO_KEYWORD:
        break;
    }
    return expected(x, x->p, "a tag, loop_ or data_");
}

static enum bl_status parse(struct parser *x)
{
    struct cif_document *d = x->doc;
    d->value_count = d->tag_count = d->loop_count = d->block_count = 0;
    x->p = d->start;
    x->in_frame = false;
    for (skip_space(x); x->p < x->end; skip_space(x)) {
        const enum bl_status status = read_element(x);
        if (status != BL_OK) return status;
    }
    const bool marked = x->end - d->start >= 7 && memcmp(d->start, "#\\#CIF_", 7) == 0; /* then no block is a file, too */
    if (d->block_count == 0 && !marked) return expected(x, x->p, "data_ and the name of a block");
    return x->in_frame ? expected(x, x->p, "save_ at the end of a frame") : BL_OK;
}

/* Ctrl-Z ended files on old systems; blanks may stand around it. */
static const char *without_ctrl_z(const char *start, const char *end)
{
    while (end > start && (end[-1] == 0x1A || is_space(end[-1]))) end--;
    return end;
}

enum bl_status bl_cif_parse(struct bl_ctx *ctx, const char *data, size_t len, struct bl_warnings *warnings, struct cif_document *out,
                            struct bl_error *err)
{
    static const char magic[] = "#\\#CIF_2.";
    struct cif_document doc = {.quota = bl_ctx_quota(ctx), .start = data, .end = without_ctrl_z(data, data + len)};
    struct parser x = {.ctx = ctx, .doc = &doc, .warnings = warnings, .err = err, .end = doc.end};
    x.cif2 = x.lists = len >= sizeof magic - 1 && memcmp(data, magic, sizeof magic - 1) == 0;
    enum bl_status status = parse(&x);
    if (status == BL_SYNTAX && x.retry) {
        struct bl_error again;
        x.lists = true;
        x.err = &again;
        if (parse(&x) == BL_OK) {
            bl_warn(warnings, "lists in brackets, as in CIF 2, without its mark");
            status = BL_OK;
        }
    }
    if (status != BL_OK) bl_cif_document_clear(&doc);
    else *out = doc;
    return status;
}

void bl_cif_document_clear(struct cif_document *doc)
{
    bl_free(doc->values);
    bl_free(doc->tags);
    bl_free(doc->loops);
    bl_free(doc->blocks);
    *doc = (struct cif_document){.quota = doc->quota};
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool uncertainty_or_end(const char *p, const char *end)
{
    if (p == end) return true;
    if (*p++ != '(') return false;
    while (p < end && ((*p >= '0' && *p <= '9') || *p == '.')) p++;
    return p == end || (*p == ')' && p + 1 == end); /* the closing one is missing in some */
}

bool bl_cif_number(const struct cif_value *v, double *out, int *places)
{
    static const double power[16] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const char *p = v->p, *const end = p + v->len;
    if (v->kind == CIF_LIST || v->kind == CIF_TEXT || v->len == 0) return false;
    const bool negative = *p == '-';
    if (*p == '-' || *p == '+') p++;
    const char *const digits = p, *point = NULL;
    uint64_t w = 0;
    for (; p < end; p++) {
        const unsigned digit = (unsigned)(uint8_t)*p - '0';
        if (digit < 10) w = 10 * w + digit;
        else if (*p == '.' && !point) point = p;
        else break;
    }
    const size_t count = (size_t)(p - digits) - (point != NULL);
    const int decimals = point ? (int)(p - point - 1) : 0;
    if (places) *places = decimals;
    if (count > 0 && count <= 15 && uncertainty_or_end(p, end)) { /* both exact: rounded once */
        const double value = (double)w / power[decimals];
        *out = negative ? -value : value;
        return true;
    }
    const size_t used = bl_parse_number(v->p, v->len, out);
    return used > 0 && uncertainty_or_end(v->p + used, end) && *out - *out == 0;
}
