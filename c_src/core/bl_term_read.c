/* SPDX-License-Identifier: Apache-2.0
 *
 * Typed reads of single terms and of the heads of containers.
 */
#define _GNU_SOURCE /* strtod_l */
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bl_term.h"

/* ---- simple terms --------------------------------------------------------- */

struct integer {
    bool negative;
    uint64_t magnitude;
    size_t size; /* encoded */
};

/* True for a whole integer of at most eight digits (of 8 bits). */
static inline bool small_integer(struct bl_window w, struct integer *out)
{
    if (w.n >= 2 && w.p[0] == ETF_SMALL_INTEGER) {
        *out = (struct integer){false, w.p[1], 2};
        return true;
    }
    if (w.n >= 5 && w.p[0] == ETF_INTEGER) {
        const int64_t value = (int32_t)etf_get32(w.p + 1);
        *out = (struct integer){value < 0, (uint64_t)(value < 0 ? -value : value), 5};
        return true;
    }
    if (w.n == 0 || bl_tags[w.p[0]].type != BL_TERM_BIG || w.n < bl_tags[w.p[0]].head) return false;
    const size_t head = bl_tags[w.p[0]].head;
    const size_t digits = w.p[0] == ETF_SMALL_BIG ? w.p[1] : etf_get32(w.p + 1);
    if (digits > 8 || w.n < head + digits) return false;
    *out = (struct integer){.size = head + digits};
    for (size_t i = 0; i < digits; i++) out->magnitude |= (uint64_t)w.p[head + i] << 8 * i;
    out->negative = w.p[head - 1] != 0 && out->magnitude > 0;
    return true;
}

static inline bool fits_int64(struct integer v) { return v.magnitude <= (uint64_t)INT64_MAX + v.negative; }

/* Through unsigned, because -INT64_MIN is not there. */
static inline int64_t as_int64(struct integer v) { return (int64_t)(v.negative ? 0 - v.magnitude : v.magnitude); }

enum bl_term_type bl_type_of(struct bl_window w)
{
    if (w.n == 0 || w.n < bl_tags[w.p[0]].head) return BL_TERM_NONE;
    const enum bl_term_type type = bl_tags[w.p[0]].type;
    if (type != BL_TERM_BIG) return type;
    struct integer v;
    if (small_integer(w, &v)) return fits_int64(v) ? BL_TERM_INT : BL_TERM_BIG;
    const size_t digits = w.p[0] == ETF_SMALL_BIG ? w.p[1] : etf_get32(w.p + 1);
    return digits > 8 ? BL_TERM_BIG : BL_TERM_NONE;
}

enum bl_term_type bl_read_type(struct bl_reader *r)
{
    uint8_t buffer[BL_WINDOW];
    return bl_type_of(bl_look(r, buffer));
}

enum bl_status bl_read_int(struct bl_reader *r, int64_t *out)
{
    uint8_t buffer[BL_WINDOW];
    struct integer v;
    if (!small_integer(bl_look(r, buffer), &v) || !fits_int64(v)) return bl_wrong(r, "an integer of 64 bits");
    const enum bl_status status = bl_accept(r, v.size);
    if (status == BL_OK) *out = as_int64(v);
    return status;
}

enum bl_status bl_read_uint(struct bl_reader *r, uint64_t *out)
{
    uint8_t buffer[BL_WINDOW];
    struct integer v;
    if (!small_integer(bl_look(r, buffer), &v) || v.negative)
        return bl_wrong(r, "a non-negative integer of 64 bits");
    const enum bl_status status = bl_accept(r, v.size);
    if (status == BL_OK) *out = v.magnitude;
    return status;
}

static const char *pass_digits(const char *p) { return p + strspn(p, "0123456789"); }

/* What a VM accepts in FLOAT_EXT: [+-] digits . digits [e [+-] digits] */
static bool is_float_text(const char *text)
{
    const char *whole = text + (*text == '+' || *text == '-'), *p = pass_digits(whole);
    if (p == whole || *p != '.') return false;
    const char *fraction = p + 1;
    p = pass_digits(fraction);
    if (p == fraction) return false;
    if (*p != 'e' && *p != 'E') return *p == '\0';
    p++;
    const char *exponent = p + (*p == '+' || *p == '-');
    p = pass_digits(exponent);
    return p > exponent && *p == '\0';
}

/* The text is filled up with zero bytes; a number in it means the same in every locale. */
static bool parse_float_text(const uint8_t *bytes, double *out)
{
    char text[ETF_FLOAT_TEXT + 1] = {0};
    memcpy(text, bytes, ETF_FLOAT_TEXT);
    if (!is_float_text(text)) return false;
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c) return false;
    *out = strtod_l(text, NULL, c);
    freelocale(c);
    return true;
}

bool bl_whole_float(struct bl_window w, double *out)
{
    if (w.p[0] == ETF_FLOAT) return parse_float_text(w.p + 1, out) && isfinite(*out);
    const uint64_t bits = etf_get64(w.p + 1);
    memcpy(out, &bits, sizeof *out);
    return isfinite(*out);
}

enum bl_status bl_read_float(struct bl_reader *r, double *out)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    double value;
    if (!bl_begins(w, BL_TERM_FLOAT)) return bl_wrong(r, "a float");
    if (!bl_whole_float(w, &value)) return bl_broken(r, "a finite float");
    const enum bl_status status = bl_accept(r, bl_tags[w.p[0]].head);
    if (status == BL_OK) *out = value;
    return status;
}

enum bl_status bl_read_number(struct bl_reader *r, double *out)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    if (bl_begins(w, BL_TERM_FLOAT)) return bl_read_float(r, out);
    struct integer v;
    if (!small_integer(w, &v)) return bl_wrong(r, "a float or an integer of 64 bits");
    const enum bl_status status = bl_accept(r, v.size);
    if (status == BL_OK) *out = v.negative ? -(double)v.magnitude : (double)v.magnitude;
    return status;
}

/* ---- atoms ---------------------------------------------------------------- */

/* The length in bytes of the code point at p (n > 0 bytes left), 0 when it is not UTF-8. */
static size_t utf8_length(const uint8_t *p, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* shorter forms exist below */
    const size_t len = p[0] < 0x80 ? 1 : p[0] < 0xC0 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF8 ? 4 : 0;
    if (len < 2 || len > n) return len == 1 ? 1 : 0;
    uint32_t code = p[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
        code = code << 6 | (p[i] & 0x3Fu);
    }
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    return code < least[len] || code > 0x10FFFF || surrogate ? 0 : len;
}

bool bl_is_atom_text(const uint8_t *p, size_t n)
{
    if (n <= ETF_ATOM_CHARACTERS && bl_is_ascii(p, n)) return true;
    size_t characters = 0;
    for (size_t at = 0, len; at < n; at += len) {
        len = utf8_length(p + at, n - at);
        if (len == 0 || ++characters > ETF_ATOM_CHARACTERS) return false;
    }
    return true;
}

enum bl_status bl_check_atom(struct bl_reader *r, struct bl_atom a, struct bl_window w)
{
    static const char expected[] = "an atom of at most 255 characters";
    if (a.len > bl_bytes_left(r) - a.head) return bl_cut_short(r);
    if (a.latin1) return a.len <= ETF_ATOM_CHARACTERS ? BL_OK : bl_broken(r, expected);
    if (a.len > ETF_ATOM_BYTES) return bl_broken(r, expected);
    uint8_t buffer[3 + ETF_ATOM_BYTES];
    const uint8_t *text = w.p + a.head;
    if (w.n < a.head + a.len) {
        bl_gather(r, buffer, a.head + a.len);
        text = buffer + a.head;
    }
    return bl_is_atom_text(text, a.len) ? BL_OK : bl_broken(r, expected);
}

static enum bl_status latin1_to_utf8(struct bl_reader *r, struct bl_span *span)
{
    if (bl_is_ascii(span->data, span->len)) return BL_OK;
    size_t high = 0;
    for (size_t i = 0; i < span->len; i++) high += span->data[i] >> 7;
    uint8_t *out;
    const enum bl_status status = bl_scratch(r, span->len + high, &out);
    if (status != BL_OK) return status;
    size_t n = 0;
    for (size_t i = 0; i < span->len; i++) {
        const uint8_t c = span->data[i];
        if (c >= 0x80) out[n++] = (uint8_t)(0xC0 | c >> 6);
        out[n++] = c >= 0x80 ? (uint8_t)(0x80 | (c & 0x3F)) : c;
    }
    *span = (struct bl_span){.data = out, .len = n};
    return BL_OK;
}

/* An atom that is cut, or not ASCII. */
static enum bl_status read_other_atom(struct bl_reader *r, struct bl_atom a, struct bl_window w, struct bl_span *out)
{
    enum bl_status status = bl_check_atom(r, a, w);
    if (status != BL_OK) return status;
    const struct bl_cursor before = r->cursor;
    struct bl_span text;
    status = bl_accept(r, a.head);
    if (status == BL_OK) status = bl_take(r, a.len, &text);
    if (status == BL_OK && a.latin1) status = latin1_to_utf8(r, &text);
    if (status == BL_OK)
        *out = text;
    else
        r->cursor = before;
    return status;
}

enum bl_status bl_read_atom(struct bl_reader *r, struct bl_span *out)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    if (!bl_begins(w, BL_TERM_ATOM)) return bl_wrong(r, "an atom");
    const struct bl_atom a = bl_atom_of(w);
    if (w.p != r->cursor.at || !bl_is_plain_atom(w, a)) return read_other_atom(r, a, w, out);
    const struct bl_span view = {w.p + a.head, a.len, r->spans[r->cursor.span].owner};
    const enum bl_status status = bl_accept(r, a.head + a.len);
    if (status == BL_OK) *out = view;
    return status;
}

enum bl_status bl_read_bool(struct bl_reader *r, bool *out)
{
    const struct bl_cursor before = r->cursor;
    struct bl_span atom;
    if (bl_read_type(r) != BL_TERM_ATOM) return bl_wrong(r, "true or false");
    const enum bl_status status = bl_read_atom(r, &atom);
    if (status != BL_OK) return status;
    const bool value = bl_span_is(&atom, "true");
    if (!value && !bl_span_is(&atom, "false")) {
        r->cursor = before;
        return bl_wrong(r, "true or false");
    }
    *out = value;
    return BL_OK;
}

enum bl_status bl_read_unknown_key(struct bl_reader *r, const struct bl_span *key)
{
    char name[sizeof((struct bl_error *)0)->subject];
    const size_t len = key->len < sizeof name ? key->len : sizeof name - 1;
    memcpy(name, key->data, len);
    name[len] = '\0';
    return bl_fail_invalid(r->err, name, "unknown key");
}

/* bl_accept for the head of a container. */
static enum bl_status accept_container(struct bl_reader *r, size_t head, uint64_t elements)
{
    if (elements > bl_bytes_left(r) - head) return bl_cut_short(r);
    if (elements >= r->limits.max_terms - r->cursor.terms) return bl_too_many(r, elements + 1);
    return bl_accept(r, head);
}

/* ---- binaries and containers ---------------------------------------------- */

enum bl_status bl_read_binary(struct bl_reader *r, struct bl_span *out)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    if (!bl_begins(w, BL_TERM_BINARY)) return bl_wrong(r, "a binary");
    const size_t len = etf_get32(w.p + 1);
    if (len > bl_bytes_left(r) - 5) return bl_cut_short(r);
    const struct bl_cursor before = r->cursor;
    enum bl_status status = bl_accept(r, 5);
    if (status == BL_OK) status = bl_take(r, len, out);
    if (status != BL_OK) r->cursor = before;
    return status;
}

enum bl_status bl_read_tuple(struct bl_reader *r, size_t *arity)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    if (!bl_begins(w, BL_TERM_TUPLE)) return bl_wrong(r, "a tuple");
    const size_t n = w.p[0] == ETF_SMALL_TUPLE ? w.p[1] : etf_get32(w.p + 1);
    const enum bl_status status = accept_container(r, bl_tags[w.p[0]].head, n);
    if (status == BL_OK) *arity = n;
    return status;
}

enum bl_status bl_read_map(struct bl_reader *r, size_t *pairs)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    if (!bl_begins(w, BL_TERM_MAP)) return bl_wrong(r, "a map");
    const size_t n = etf_get32(w.p + 1);
    const enum bl_status status = accept_container(r, 5, 2 * (uint64_t)n);
    if (status == BL_OK) *pairs = n;
    return status;
}

/* NIL stays unread until bl_read_list_end, so that every list ends with one. */
enum bl_status bl_read_list(struct bl_reader *r, size_t *length)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    if (!bl_begins(w, BL_TERM_LIST)) return bl_wrong(r, "a list");
    enum bl_status status = BL_OK;
    size_t n = 0;
    if (w.p[0] == ETF_LIST) {
        n = etf_get32(w.p + 1);
        status = accept_container(r, 5, (uint64_t)n + 1);
    } else if (w.p[0] == ETF_STRING) {
        n = etf_get16(w.p + 1);
        status = accept_container(r, 3, n);
        if (status == BL_OK) r->cursor.string_left = (uint32_t)n + 1;
    }
    if (status == BL_OK) *length = n;
    return status;
}

enum bl_status bl_read_list_end(struct bl_reader *r)
{
    uint8_t buffer[BL_WINDOW];
    const struct bl_window w = bl_look(r, buffer);
    if (w.n == 0 || w.p[0] != ETF_NIL) return bl_wrong(r, "the end of a proper list");
    return bl_accept(r, 1);
}

enum bl_status bl_read_version(struct bl_reader *r)
{
    uint8_t buffer[BL_WINDOW];
    const enum bl_status status = bl_stuck(r);
    if (status != BL_OK) return status;
    const struct bl_window w = bl_look(r, buffer);
    if (w.n == 0 || w.p[0] != ETF_VERSION) return bl_broken(r, "the version byte 131");
    bl_advance(r, 1);
    return BL_OK;
}

enum bl_status bl_read_end(struct bl_reader *r)
{
    const enum bl_status status = bl_stuck(r);
    if (status != BL_OK) return status;
    return bl_bytes_left(r) == 0 && r->cursor.string_left == 0 ? BL_OK : bl_broken(r, "the end");
}
