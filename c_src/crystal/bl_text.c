/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines, words, warnings; the growing output of the writers.
 */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bl_crystal.h"

/* ---- reading ---------------------------------------------------------------- */

void bl_text_init(struct bl_text *t, const char *data, size_t len)
{
    if (len >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0) { /* byte order mark */
        data += 3;
        len -= 3;
    }
    *t = (struct bl_text){.p = data, .end = data + len, .line_start = data, .line = 1};
}

uint32_t bl_text_column(const struct bl_text *t) { return (uint32_t)(t->p - t->line_start) + 1; }

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\f' || c == '\v'; }
static bool is_line_end(char c) { return c == '\n' || c == '\r'; }

void bl_text_blanks(struct bl_text *t)
{
    while (t->p < t->end && is_blank(*t->p)) t->p++;
}

bool bl_text_end(const struct bl_text *t) { return t->p >= t->end; }
bool bl_text_line_end(const struct bl_text *t) { return t->p >= t->end || is_line_end(*t->p); }

void bl_text_next_line(struct bl_text *t)
{
    while (t->p < t->end && !is_line_end(*t->p)) t->p++;
    if (t->p < t->end) {
        const bool cr = *t->p++ == '\r';
        if (cr && t->p < t->end && *t->p == '\n') t->p++;
        t->line++;
    }
    t->line_start = t->p;
}

struct bl_token bl_text_word(struct bl_text *t)
{
    bl_text_blanks(t);
    const char *start = t->p;
    while (t->p < t->end && !is_blank(*t->p) && !is_line_end(*t->p)) t->p++;
    return (struct bl_token){start, (size_t)(t->p - start)};
}

struct bl_token bl_text_rest(const struct bl_text *t)
{
    struct bl_text at = *t;
    bl_text_blanks(&at);
    const char *start = at.p;
    while (!bl_text_line_end(&at)) at.p++;
    while (at.p > start && is_blank(at.p[-1])) at.p--;
    return (struct bl_token){start, (size_t)(at.p - start)};
}

enum bl_status bl_text_expected(const struct bl_text *t, struct bl_error *err, const char *what, ...)
{
    char text[160];
    va_list args;
    va_start(args, what);
    vsnprintf(text, sizeof text, what, args);
    va_end(args);
    return bl_fail_syntax(err, t->line, bl_text_column(t), "%s", text);
}

enum bl_status bl_text_number(struct bl_text *t, double *out, const char *what, struct bl_error *err)
{
    bl_text_blanks(t);
    double value;
    const size_t used = bl_parse_number(t->p, (size_t)(t->end - t->p), &value);
    const char *after = t->p + used;
    if (used == 0 || (after < t->end && !is_blank(*after) && !is_line_end(*after)) || !isfinite(value))
        return bl_text_expected(t, err, "%s", what);
    t->p = after;
    *out = value;
    return BL_OK;
}

bool bl_token_number(struct bl_token token, double *out)
{
    double value;
    if (token.len == 0 || bl_parse_number(token.p, token.len, &value) != token.len || !isfinite(value)) return false;
    *out = value;
    return true;
}

bool bl_token_integer(struct bl_token token, int64_t *out)
{
    size_t i = token.len > 0 && (*token.p == '-' || *token.p == '+');
    if (i == token.len || token.len - i > 18) return false;
    int64_t value = 0;
    for (; i < token.len; i++) {
        if (token.p[i] < '0' || token.p[i] > '9') return false;
        value = 10 * value + (token.p[i] - '0');
    }
    *out = *token.p == '-' ? -value : value;
    return true;
}

/* ---- warnings, symbols ---------------------------------------------------------- */

void bl_warn(struct bl_warnings *w, const char *text, ...)
{
    if (w->count == BL_WARNINGS_MAX) {
        w->dropped++;
        return;
    }
    struct bl_error cut; /* bl_fail_invalid cuts at a UTF-8 boundary */
    char line[BL_WARNING_SIZE];
    va_list args;
    va_start(args, text);
    vsnprintf(line, sizeof line, text, args);
    va_end(args);
    bl_fail_invalid(&cut, "", "%s", line);
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->text[i], cut.text) == 0) return; /* once is enough */
    snprintf(w->text[w->count++], BL_WARNING_SIZE, "%s", cut.text);
}

struct bl_symbol bl_symbol_of(struct bl_token token)
{
    struct bl_symbol s = {.known = false};
    const size_t len = token.len < BL_SYMBOL_SIZE ? token.len : BL_SYMBOL_SIZE - 1;
    if (len > 0) memcpy(s.text, token.p, len);
    if (len == 0 || len > 2) return s;
    char cased[3] = {(char)toupper((unsigned char)s.text[0]), (char)tolower((unsigned char)s.text[1]), '\0'};
    if (bl_element_number(s.text) > 0) {
        s.known = true;
    } else if (bl_element_number(cased) > 0) {
        s.known = true;
        memcpy(s.text, cased, sizeof cased);
    }
    return s;
}

/* ---- writing ---------------------------------------------------------------------- */

void bl_buffer_init(struct bl_buffer *b, struct bl_quota *quota) { *b = (struct bl_buffer){.quota = quota}; }

void bl_buffer_clear(struct bl_buffer *b)
{
    bl_free(b->data);
    bl_buffer_init(b, b->quota);
}

static bool make_room(struct bl_printer *p, size_t len)
{
    struct bl_buffer *b = p->out;
    if (!bl_print_goes_on(p, 4)) return false;
    if (b->capacity - b->len >= len) return true;
    struct bl_error err;
    size_t want = b->capacity + b->capacity / 2;
    if (want < b->len + len) want = b->len + len;
    if (want < 512) want = 512;
    char *data = bl_realloc(b->quota, b->data, want, &err);
    if (!data) {
        p->status = err.status;
        if (p->err) *p->err = err;
        return false;
    }
    b->data = data;
    b->capacity = want;
    return true;
}

void bl_print_bytes(struct bl_printer *p, const char *bytes, size_t len)
{
    if (len == 0 || !make_room(p, len)) return;
    memcpy(p->out->data + p->out->len, bytes, len);
    p->out->len += len;
}

void bl_print_text(struct bl_printer *p, const char *text) { bl_print_bytes(p, text, strlen(text)); }

void bl_print_number(struct bl_printer *p, double value)
{
    if (!make_room(p, BL_NUMBER_SIZE)) return;
    if (!isfinite(value)) { /* made on the way: a structure's own numbers are finite */
        p->status = bl_fail_invalid(p->err, "structure", "a number is too large for this format");
        return;
    }
    p->out->len += bl_format_number(value, p->out->data + p->out->len);
}

void bl_print_integer(struct bl_printer *p, int64_t value)
{
    char text[24];
    const int len = snprintf(text, sizeof text, "%lld", (long long)value);
    bl_print_bytes(p, text, (size_t)len);
}

enum bl_status bl_crystal_write(struct bl_ctx *ctx, const struct bl_structure *s, enum bl_format format,
                                const struct bl_write_options *options, struct bl_buffer *out, struct bl_error *err)
{
    static const struct bl_write_options defaults;
    struct bl_printer p = {.ctx = ctx, .out = out, .err = err, .status = BL_OK};
    const size_t before = out->len;
    enum bl_status status = bl_structure_check(s, err);
    if (status == BL_OK && format == BL_FORMAT_POSCAR) status = bl_poscar_write(s, options ? options : &defaults, &p);
    else if (status == BL_OK && format == BL_FORMAT_EXTXYZ) status = bl_extxyz_write(s, &p);
    else if (status == BL_OK && format == BL_FORMAT_CIF) status = bl_cif_write(s, options ? options : &defaults, &p);
    else if (status == BL_OK && format == BL_FORMAT_LAMMPS) status = bl_lammps_write(s, options ? options : &defaults, &p);
    else if (status == BL_OK) status = bl_fail_invalid(err, "format", "poscar, extxyz, cif or lammps");
    if (status == BL_OK) status = p.status;
    if (status != BL_OK) out->len = before;
    return status;
}
