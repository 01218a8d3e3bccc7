/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the term reader (bl_term_cursor.c, bl_term_read.c, bl_term_walk.c), and what
 * the writer needs of it. Every read looks at the head of a term through a window:
 *
 *     spans   [ ....... | .... ][ ..... ][ ........ ]
 *                       ^ cursor
 *     window            [ at least BL_WINDOW bytes, or all that is left ]
 *
 * The window points into the span when it lies in it, which is nearly always; else its
 * bytes are gathered on the stack. A read looks, checks, and moves the cursor last.
 *
 * A STRING_EXT is shown through the same window as the list that it stands for: small
 * integers and then NIL. So nothing else has to know that it exists.
 *
 * When the input proves malformed the cursor is put at an empty place: every read then
 * takes its error path, and the good path has no flag to test.
 */
#ifndef BL_TERM_H
#define BL_TERM_H

#include <string.h>

#include "beamline/term.h"
#include "bl_etf.h"
#include "bl_load.h"

enum { BL_WINDOW = 32 }; /* the longest head: FLOAT_EXT */

struct bl_window {
    const uint8_t *p;
    size_t n;
};

/* What a tag begins, and the bytes needed to know the term's size and children; 0, 0 for
 * what is no tag of a term. */
struct bl_tag {
    uint8_t type, head;
};
extern const struct bl_tag bl_tags[256];

/* True when the window begins with the head of such a term, whole. Not for integers. */
static inline bool bl_begins(struct bl_window w, enum bl_term_type type)
{
    return w.n > 0 && bl_tags[w.p[0]].type == type && w.n >= bl_tags[w.p[0]].head;
}

/* ---- bl_term_cursor.c ------------------------------------------------------- */

struct bl_window bl_look_around(const struct bl_reader *r, uint8_t buffer[BL_WINDOW]);

static inline struct bl_window bl_look(const struct bl_reader *r, uint8_t buffer[BL_WINDOW])
{
    const size_t here = (size_t)(r->cursor.end - r->cursor.at);
    if (__builtin_expect(r->cursor.string_left == 0 && (here >= BL_WINDOW || r->cursor.span + 1 >= r->span_count), 1))
        return (struct bl_window){r->cursor.at, here};
    return bl_look_around(r, buffer);
}

static inline size_t bl_offset(const struct bl_reader *r)
{
    return r->expected ? r->broken_offset : r->cursor.end_offset - (size_t)(r->cursor.end - r->cursor.at);
}

static inline size_t bl_bytes_left(const struct bl_reader *r) { return r->total - bl_offset(r); }

/* Moves over n <= bl_bytes_left bytes. */
void bl_advance_far(struct bl_reader *r, size_t n);

static inline void bl_advance(struct bl_reader *r, size_t n)
{
    if (__builtin_expect(n < (size_t)(r->cursor.end - r->cursor.at), 1))
        r->cursor.at += n;
    else
        bl_advance_far(r, n);
}

/* Copies the next n bytes, or what is left of them; does not move. Returns how many. */
size_t bl_gather(const struct bl_reader *r, uint8_t *out, size_t n);
/* A view of the next n <= bl_bytes_left bytes, put together if need be; moves over them. */
enum bl_status bl_take(struct bl_reader *r, size_t n, struct bl_span *out);
/* Memory that lives until bl_reader_clear. */
enum bl_status bl_scratch(struct bl_reader *r, size_t len, uint8_t **out);

/* The input is malformed here, or ends too early: final. */
enum bl_status bl_broken(struct bl_reader *r, const char *expected);
enum bl_status bl_cut_short(struct bl_reader *r);
/* Why nothing can be read any more, or BL_OK. */
enum bl_status bl_stuck(struct bl_reader *r);
/* The error of a read that did not find `wanted`: malformed input or a wrong type. */
enum bl_status bl_wrong(struct bl_reader *r, const char *wanted);
enum bl_status bl_too_many(struct bl_reader *r, uint64_t more_terms);

/* Counts a term and moves over it or over its head. Nothing happened when it fails. */
static inline enum bl_status bl_accept(struct bl_reader *r, size_t size)
{
    if (__builtin_expect(r->cursor.terms >= r->limits.max_terms, 0)) return bl_too_many(r, 1);
    r->cursor.terms++;
    if (__builtin_expect(r->cursor.string_left > 0, 0)) size = r->cursor.string_left-- > 1 ? 1 : 0;
    if (size > 0) bl_advance(r, size);
    return BL_OK;
}

/* ---- bl_term_read.c ----------------------------------------------------------- */

/* BL_TERM_NONE when the window does not hold what is needed to know it. */
enum bl_term_type bl_type_of(struct bl_window w);

struct bl_atom {
    size_t head, len;
    bool latin1;
};

/* Of a window that begins with an atom's head. */
static inline struct bl_atom bl_atom_of(struct bl_window w)
{
    const uint8_t tag = w.p[0], head = bl_tags[tag].head;
    return (struct bl_atom){head, head == 2 ? w.p[1] : etf_get16(w.p + 1), tag == ETF_ATOM || tag == ETF_SMALL_ATOM};
}

/* True for an atom that is as it stands: ASCII, of legal length, all in the window. Most are. */
static inline bool bl_is_plain_atom(struct bl_window w, struct bl_atom a)
{
    return a.len <= ETF_ATOM_CHARACTERS && a.head + a.len <= w.n && bl_is_ascii(w.p + a.head, a.len);
}

/* Checks that it is all there and well-formed, wherever the input is cut. */
enum bl_status bl_check_atom(struct bl_reader *r, struct bl_atom a, struct bl_window w);
/* UTF-8 of at most 255 characters. */
bool bl_is_atom_text(const uint8_t *p, size_t n);
/* Reads the float at the window's begin. Not finite is as bad as not a number: no VM has such a term. */
bool bl_whole_float(struct bl_window w, double *out);

/* ---- bl_term_walk.c ----------------------------------------------------------- */

/* Checks one whole term as bl_read_skip does, without moving; *improper says whether
 * an improper list stands anywhere in it. */
enum bl_status bl_read_check(struct bl_reader *r, bool *improper);

#endif
