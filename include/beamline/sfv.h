/* SPDX-License-Identifier: Apache-2.0
 *
 * Structured Field Values for HTTP (RFC 9651) for C programs: a strict parser whose result is
 * one array of nodes with views into the input, decoding on demand, and a writer that emits
 * the canonical form or nothing. No value is allocated by itself. See test/sfv/example.c.
 *
 * A field as nodes, in the order of the text:
 *
 *     item        BARE params            BARE    one of BL_SFV_INTEGER ... BL_SFV_DISPLAY
 *     inner list  INNER item* INNER_END params
 *     params      (PARAM BARE)*          PARAM   the parameter's key
 *     list        (item | inner list)* END
 *     dictionary  (KEY (item | inner list))* END
 *
 *     "a=1, b=(x y);q"  is  KEY a, INTEGER 1, KEY b, INNER, TOKEN x, TOKEN y, INNER_END,
 *                           PARAM q, BOOLEAN 1, END
 *
 * A key that occurs again has its last value at the place of its first (RFC 9651, 4.2.2 and
 * 4.2.3.2), found in constant time by a hash whose key the operating system gave this process.
 * Time is linear in the input for every input. Memory beside the input is at most 64 bytes
 * for each byte of it, none for fields of less than BL_SFV_ROOM nodes and 16 keys.
 */
#ifndef BEAMLINE_SFV_H
#define BEAMLINE_SFV_H

#include "beamline/core.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bl_sfv_kind { BL_SFV_ITEM = 1, BL_SFV_LIST, BL_SFV_DICTIONARY, BL_SFV_INNER_LIST /* writer only */ };

enum bl_sfv_type {
    BL_SFV_END = 0,
    BL_SFV_KEY,       /* text, len: never encoded */
    BL_SFV_PARAM,     /* text, len: never encoded */
    BL_SFV_INNER,     /* number: how many nodes further the node behind INNER_END is */
    BL_SFV_INNER_END,
    BL_SFV_INTEGER,   /* number */
    BL_SFV_DECIMAL,   /* number, in thousandths: -0.5 is -500 */
    BL_SFV_STRING,    /* text, len: between the quotes */
    BL_SFV_TOKEN,     /* text, len: never encoded */
    BL_SFV_BYTES,     /* text, len: base64, between the colons */
    BL_SFV_BOOLEAN,   /* number: 0 or 1 */
    BL_SFV_DATE,      /* number, seconds since 1970 */
    BL_SFV_DISPLAY    /* text, len: between the quotes; UTF-8, percent-encoded */
};

/* The text of the node is as it stands in the field: bl_sfv_decode gives its value. A string
 * without a backslash and a display string without a per cent sign are not encoded. */
enum { BL_SFV_ENCODED = 1 };

struct bl_sfv_node {
    uint8_t type;  /* enum bl_sfv_type */
    uint8_t flags; /* BL_SFV_ENCODED */
    uint16_t reserved;
    uint32_t len; /* bytes of text */
    union {
        const char *text; /* a view, not terminated */
        int64_t number;
    } as;
};

/* ---- limits --------------------------------------------------------------- */

enum bl_sfv_keys_allowed {
    BL_SFV_KEYS_STRICT,  /* RFC 9651: lcalpha or "*", then lcalpha, digit, "_", "-", ".", "*" */
    BL_SFV_KEYS_RELAXED, /* any of these, upper-case letters and "%", in any place */
};

/* Each bound answers BL_LIMIT with its name: bytes, members, inner_members, params. RFC 9651
 * wants at least 1024 members, 256 of an inner list, 256 parameters. */
struct bl_sfv_options {
    size_t max_bytes;         /* of the input, or of the output; 4 GiB - 1 at most */
    size_t max_members;       /* of a list or dictionary, repeated keys included */
    size_t max_inner_members; /* of one inner list */
    size_t max_params;        /* of one item or inner list, repeated keys included */
    enum bl_sfv_keys_allowed keys;
    bool strict_base64;       /* refuse missing padding and pad bits that are not zero */
    bool no_simd;             /* the plain loops, which are the reference for the others */
    struct bl_quota *quota;   /* what is allocated for large fields; may be NULL */
};
/* 1 MiB; 65,536 members, inner members and parameters each; strict keys, lenient base64. */
BL_API extern const struct bl_sfv_options bl_sfv_options_default;

/* ---- reading -------------------------------------------------------------- */

enum { BL_SFV_ROOM = 64 };

/* Filled by bl_sfv_parse. Do not copy or move: nodes may point into it. */
struct bl_sfv_field {
    const struct bl_sfv_node *nodes; /* count of them, then one BL_SFV_END */
    size_t count;
    size_t members; /* 1 for an item; repeated keys counted once */
    /* Private. */
    void *heap[2];
    struct bl_sfv_node room[BL_SFV_ROOM];
};

/* Parses one field line of `len` bytes: an item, a list or a dictionary. `text` must outlive
 * the field, and need not be terminated; it is not read beyond its end. options may be NULL.
 * After BL_OK the field belongs to the caller, who ends it with bl_sfv_field_clear; after an
 * error there is nothing to clear.
 * BL_SYNTAX (offset: of the byte that could not stand there; text: what could), BL_LIMIT,
 * BL_INVALID (kind), BL_NO_MEMORY. An empty list or dictionary is no error. */
BL_API enum bl_status bl_sfv_parse(struct bl_sfv_field *field, enum bl_sfv_kind kind, const char *text, size_t len,
                                   const struct bl_sfv_options *options, struct bl_error *err);

struct bl_sfv_line {
    const char *text;
    size_t len;
};
/* Several field lines, joined by ", " as RFC 9651, 4.2 says; offsets of errors count in the
 * joined text, which the field owns: the lines need not outlive it. No line is an empty field. */
BL_API enum bl_status bl_sfv_parse_lines(struct bl_sfv_field *field, enum bl_sfv_kind kind, const struct bl_sfv_line *lines,
                                         size_t count, const struct bl_sfv_options *options, struct bl_error *err);
BL_API void bl_sfv_field_clear(struct bl_sfv_field *field);

/* The node behind a bare item or inner list and its parameters: the next member. */
BL_API const struct bl_sfv_node *bl_sfv_next(const struct bl_sfv_node *node);
/* The node of a dictionary's member (behind its KEY), or of a parameter's value; NULL: it is
 * not there. Looks at each key in turn. `node` is a bare item or INNER. */
BL_API const struct bl_sfv_node *bl_sfv_member(const struct bl_sfv_field *field, const char *key, size_t len);
BL_API const struct bl_sfv_node *bl_sfv_param(const struct bl_sfv_node *node, const char *key, size_t len);

/* How many bytes the value of a node with text has, and the value itself into `out`, which
 * has room for exactly that many: the characters of a string or token, bytes, UTF-8. Cannot
 * fail for a node of a parsed field. Uses SIMD where the CPU has it. */
BL_API size_t bl_sfv_decoded_size(const struct bl_sfv_node *node);
BL_API void bl_sfv_decode(const struct bl_sfv_node *node, void *out);

/* ---- writing -------------------------------------------------------------- */

/* Writes one field in canonical form. Calls follow the order of the nodes above; separators,
 * and the values that are left out because they are true, are the writer's business.
 *
 *     struct bl_sfv_writer *w = bl_sfv_writer_new(BL_SFV_DICTIONARY, NULL, &err);
 *     bl_sfv_write_key(w, "a", 1);  bl_sfv_write_integer(w, 1);
 *     bl_sfv_write_key(w, "b", 1);  bl_sfv_write_inner(w);  bl_sfv_write_token(w, "x", 1);
 *     bl_sfv_write_inner_end(w);    bl_sfv_write_param(w, "q", 1);  bl_sfv_write_boolean(w, true);
 *     if (bl_sfv_writer_end(w, &text, &len, &err) == BL_OK) use(text, len);      // a=1, b=(x);q
 *     bl_sfv_writer_free(w);
 *
 * Each call answers BL_OK or the first error of the writer, after which nothing more is
 * written: BL_INVALID (subject: key, integer, decimal, string, token, date, display_string, or
 * order for a call that cannot come here; text: why), BL_LIMIT, BL_NO_MEMORY. */
struct bl_sfv_writer;

/* `no_simd`, `strict_base64` mean nothing here. */
BL_API struct bl_sfv_writer *bl_sfv_writer_new(enum bl_sfv_kind kind, const struct bl_sfv_options *options, struct bl_error *err);
BL_API void bl_sfv_writer_free(struct bl_sfv_writer *w);

/* The same in the caller's memory: `room` of bl_sfv_writer_size() bytes, aligned as malloc
 * does, and `out`, used while the text fits in. With `fixed`, text that does not fit is
 * BL_LIMIT (bytes); else the writer goes on in memory of its own. End with bl_sfv_writer_clear. */
BL_API size_t bl_sfv_writer_size(void);
BL_API struct bl_sfv_writer *bl_sfv_writer_init(void *room, enum bl_sfv_kind kind, const struct bl_sfv_options *options, char *out,
                                                size_t size, bool fixed);
BL_API void bl_sfv_writer_clear(struct bl_sfv_writer *w);

BL_API enum bl_status bl_sfv_write_key(struct bl_sfv_writer *w, const char *key, size_t len);
BL_API enum bl_status bl_sfv_write_param(struct bl_sfv_writer *w, const char *key, size_t len);
BL_API enum bl_status bl_sfv_write_inner(struct bl_sfv_writer *w);
BL_API enum bl_status bl_sfv_write_inner_end(struct bl_sfv_writer *w);

/* At most 15 digits. */
BL_API enum bl_status bl_sfv_write_integer(struct bl_sfv_writer *w, int64_t number);
BL_API enum bl_status bl_sfv_write_date(struct bl_sfv_writer *w, int64_t seconds);
/* coefficient x 10^exponent, rounded half to even to three digits after the point; then at
 * most 12 digits before it. */
BL_API enum bl_status bl_sfv_write_decimal(struct bl_sfv_writer *w, int64_t coefficient, int exponent);
BL_API enum bl_status bl_sfv_write_boolean(struct bl_sfv_writer *w, bool value);
/* Printable ASCII. */
BL_API enum bl_status bl_sfv_write_string(struct bl_sfv_writer *w, const char *text, size_t len);
BL_API enum bl_status bl_sfv_write_token(struct bl_sfv_writer *w, const char *text, size_t len);
BL_API enum bl_status bl_sfv_write_bytes(struct bl_sfv_writer *w, const void *bytes, size_t len);
/* Any text in UTF-8. */
BL_API enum bl_status bl_sfv_write_display(struct bl_sfv_writer *w, const char *utf8, size_t len);

/* One node of any type; encoded text is decoded first. bl_sfv_write_nodes writes all up to
 * BL_SFV_END, so that the nodes of a parsed field give its canonical form. */
BL_API enum bl_status bl_sfv_write_node(struct bl_sfv_writer *w, const struct bl_sfv_node *node);
BL_API enum bl_status bl_sfv_write_nodes(struct bl_sfv_writer *w, const struct bl_sfv_node *nodes);

/* The finished text, not terminated, the writer's until it is cleared. An empty list or
 * dictionary is an empty text: do not send the field. Also BL_INVALID (order): incomplete. */
BL_API enum bl_status bl_sfv_writer_end(struct bl_sfv_writer *w, const char **text, size_t *len, struct bl_error *err);

#ifdef __cplusplus
}
#endif
#endif
