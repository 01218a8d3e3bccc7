/* SPDX-License-Identifier: Apache-2.0
 *
 * Erlang terms without Erlang: a reader of the external term format over an
 * iovec, and a writer interface with exchangeable back ends. Used by operations
 * (beamline/op.h). Format: erts "External Term Format" (ext_dist), version 131.
 */
#ifndef BEAMLINE_TERM_H
#define BEAMLINE_TERM_H

#include <string.h>

#include "beamline/core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes borrowed from somewhere. `owner` is what keeps them alive, for the writer
 * back end that can share instead of copying (NULL: nobody that a back end knows). */
struct bl_span {
    const uint8_t *data;
    size_t len;
    void *owner;
};

/* ---- reading ------------------------------------------------------------ */

struct bl_term_limits {
    size_t max_bytes;  /* of the encoded term; more: the first read is BL_LIMIT "term_bytes" */
    size_t max_depth;  /* of containers that are not empty, in skip, raw and copy; at most 64 */
    size_t max_terms;  /* elements in all: every atom, number, container, end of a list ... */
    size_t max_map_pairs; /* of one map, in skip, raw and copy; 0: any */
};
/* 1 GiB, depth 64, 16 million terms, maps of any size. */
BL_API extern const struct bl_term_limits bl_term_limits_default;

enum bl_term_type {
    BL_TERM_NONE = 0, /* at the end, or broken: the next read says why */
    BL_TERM_INT,      /* fits int64_t */
    BL_TERM_BIG,      /* an integer that does not; bl_read_uint reads those below 2^64 */
    BL_TERM_FLOAT,
    BL_TERM_ATOM,
    BL_TERM_BINARY,
    BL_TERM_BITSTRING,
    BL_TERM_TUPLE,
    BL_TERM_LIST, /* proper or not, empty, or a string of bytes: one type */
    BL_TERM_MAP,
    BL_TERM_OTHER /* reference, pid, port, fun: can be skipped and passed on */
};

/* A cursor. The fields are private; it lives on the caller's stack. The spans must
 * outlive it. Terms are read in order, containers by header and then elements:
 *     bl_read_map(r, &n); n times { bl_read_atom(key); bl_read_...(value) }
 *     bl_read_list(r, &n); n times { bl_read_... } bl_read_list_end(r)
 * (list_end also for an empty list). A container never announces more elements than there
 * are bytes left, so memory for n elements may be asked for at once.
 * Each read checks type, bounds and limits. After an error the cursor stays where it
 * was and may be asked for another type; malformed input (BL_SYNTAX, offset) is final.
 * A wrong type is BL_INVALID with the field that bl_reader_at() named. */
struct bl_reader {
    struct bl_cursor {
        const uint8_t *at, *end; /* the rest of a span; equal only at the end of the input */
        size_t span;             /* which one */
        size_t end_offset;       /* of `end`, counted over all spans */
        size_t terms;            /* read so far */
        uint32_t string_left;    /* inside STRING_EXT: bytes still to be read as integers, plus 1 for the list's end */
    } cursor;
    const struct bl_span *spans;
    size_t span_count;
    size_t total; /* bytes in all spans */
    struct bl_term_limits limits;
    struct bl_quota *quota;
    void *scratch;        /* what had to be put together */
    const char *field;    /* named in BL_INVALID */
    const char *expected; /* set when the input is broken: what was expected, and where */
    size_t broken_offset;
    bool too_large;       /* more bytes than the limit */
    struct bl_error *err;
};

/* `err` (may be NULL) receives the details of every failing read until bl_reader_clear.
 * `limits` NULL: the default. `quota` (may be NULL) pays for what has to be put together. */
BL_API void bl_reader_init(struct bl_reader *r, const struct bl_span *spans, size_t count,
                           const struct bl_term_limits *limits, struct bl_quota *quota, struct bl_error *err);
/* Frees what was put together: the views that reads have given end here. */
BL_API void bl_reader_clear(struct bl_reader *r);
/* Bytes before the cursor, in all. */
BL_API size_t bl_reader_offset(const struct bl_reader *r);

/* Reads the version byte (131). Operations never need it: their reader stands at the term. */
BL_API enum bl_status bl_read_version(struct bl_reader *r);

/* Names the field that errors of following reads are about. Static string or NULL. */
BL_API void bl_reader_at(struct bl_reader *r, const char *field);

BL_API enum bl_term_type bl_read_type(struct bl_reader *r); /* looks, does not move */
BL_API enum bl_status bl_read_int(struct bl_reader *r, int64_t *out);
BL_API enum bl_status bl_read_uint(struct bl_reader *r, uint64_t *out);  /* negative: BL_INVALID */
BL_API enum bl_status bl_read_float(struct bl_reader *r, double *out);   /* a float, nothing else; finite */
BL_API enum bl_status bl_read_number(struct bl_reader *r, double *out);  /* float, or integer of at most 64 bits */
BL_API enum bl_status bl_read_bool(struct bl_reader *r, bool *out);
/* Its UTF-8 bytes, at most 255 characters. Valid until bl_reader_clear. */
BL_API enum bl_status bl_read_atom(struct bl_reader *r, struct bl_span *out);
/* The bytes of a binary; contiguous also where the input was cut inside it (then copied
 * into memory of the reader, charged to its quota, and without an owner). A binary that
 * lies in one span has that span's owner. Never NULL. Valid until bl_reader_clear. */
BL_API enum bl_status bl_read_binary(struct bl_reader *r, struct bl_span *out);
BL_API enum bl_status bl_read_tuple(struct bl_reader *r, size_t *arity);
BL_API enum bl_status bl_read_map(struct bl_reader *r, size_t *pairs);
BL_API enum bl_status bl_read_list(struct bl_reader *r, size_t *length);
BL_API enum bl_status bl_read_list_end(struct bl_reader *r); /* an improper tail is BL_INVALID */
/* Steps over one whole term and checks it. Iterative: no stack depth from input.
 * What it accepts a VM decodes, but for what only the VM can know: that the keys of a map
 * differ, and the range of the numbers in pids, ports and references. */
BL_API enum bl_status bl_read_skip(struct bl_reader *r);
/* Steps over one whole term and gives a reader of it alone, whose own reads fill `err`. To be cleared, also after a failure. */
BL_API enum bl_status bl_read_part(struct bl_reader *r, struct bl_reader *part, struct bl_error *err);
/* Steps over one whole term and gives its encoded bytes (without version byte),
 * contiguous and owned as those of bl_read_binary. */
BL_API enum bl_status bl_read_raw(struct bl_reader *r, struct bl_span *out);
/* BL_OK when everything was read, else BL_SYNTAX. */
BL_API enum bl_status bl_read_end(struct bl_reader *r);

/* Inline, so that the length of a literal is a constant: most keys differ in it. */
static inline bool bl_span_is(const struct bl_span *span, const char *text)
{
    const size_t len = strlen(text);
    return span->len == len && memcmp(span->data, text, len) == 0;
}
/* BL_INVALID "unknown key" about the atom in `key`, for option maps. */
BL_API enum bl_status bl_read_unknown_key(struct bl_reader *r, const struct bl_span *key);

/* ---- writing ------------------------------------------------------------ */

/* One interface, several back ends: NIF terms and external term format. One term is
 * written; containers are announced with their exact count and ended:
 *     bl_write_map(w, 2); bl_write_atom(w, "a"); bl_write_int(w, 1); ...; bl_write_end(w);
 * The first failure sticks: later calls do nothing; bl_writer_status() tells. Failures:
 * BL_INVALID (counts that do not agree, an atom that is none), BL_LIMIT (depth: 64
 * containers that are not empty within each other; a quota), BL_NO_MEMORY. */
struct bl_writer;

/* The first failure, or BL_OK. */
BL_API enum bl_status bl_writer_status(const struct bl_writer *w, struct bl_error *err);
/* True when one whole term was written, and nothing failed. */
BL_API bool bl_writer_done(const struct bl_writer *w);

BL_API void bl_write_atom(struct bl_writer *w, const char *name); /* UTF-8, at most 255 characters */
BL_API void bl_write_bool(struct bl_writer *w, bool value);
BL_API void bl_write_int(struct bl_writer *w, int64_t value);
BL_API void bl_write_uint(struct bl_writer *w, uint64_t value);
/* Not finite: the atoms nan, infinity, neg_infinity. */
BL_API void bl_write_float(struct bl_writer *w, double value);
BL_API void bl_write_binary(struct bl_writer *w, const void *data, size_t len); /* copies */
BL_API void bl_write_text(struct bl_writer *w, const char *text);               /* a binary of a C string */
/* A binary of `len` bytes to be filled by the caller before the next write. NULL on failure. */
BL_API uint8_t *bl_write_binary_space(struct bl_writer *w, size_t len);
/* A binary; shares the bytes when they have an owner and the back end knows it, else copies. */
BL_API void bl_write_span(struct bl_writer *w, const struct bl_span *span);
BL_API void bl_write_tuple(struct bl_writer *w, size_t arity);
BL_API void bl_write_list(struct bl_writer *w, size_t length);
BL_API void bl_write_map(struct bl_writer *w, size_t pairs); /* keys must differ */
/* A key of a map and its value. */
BL_API void bl_write_keyed_atom(struct bl_writer *w, const char *key, const char *value);
BL_API void bl_write_keyed_bool(struct bl_writer *w, const char *key, bool value);
BL_API void bl_write_keyed_uint(struct bl_writer *w, const char *key, uint64_t value);
BL_API void bl_write_keyed_float(struct bl_writer *w, const char *key, double value);
BL_API void bl_write_keyed_text(struct bl_writer *w, const char *key, const char *value);
BL_API void bl_write_end(struct bl_writer *w);
/* One term already encoded (no version byte), for instance from bl_read_raw. Not checked, but no bytes at all are BL_INVALID. */
BL_API void bl_write_raw(struct bl_writer *w, const struct bl_span *encoded);
/* Reads one term and writes it: large binaries are shared where the back end can. The input is
 * checked first: when that fails nothing is written. A term that has an improper list in it is
 * passed on in encoded form. Failures of the writer are returned too, in the reader's `err`. */
BL_API enum bl_status bl_copy_term(struct bl_reader *r, struct bl_writer *w);
/* The Reason of {error, Reason} (doc/design.md, Failures). Names of fields and things become
 * atoms where they look like one, so they must come from a bounded set, not from input. */
BL_API void bl_write_reason(struct bl_writer *w, const struct bl_error *err);
/* {error, Reason} */
BL_API void bl_write_error(struct bl_writer *w, const struct bl_error *err);

/* ---- back ends ---------------------------------------------------------- */

/* What a back end implements. The front checks counts, nesting and texts before it calls.
 * A back end that fails says so by bl_writer_fail, and is not called again. */
struct bl_writer_ops {
    void (*atom)(struct bl_writer *w, const char *name, size_t len); /* ASCII, at most 255 bytes, not terminated; other atoms come as raw */
    void (*integer)(struct bl_writer *w, int64_t value);
    void (*uinteger)(struct bl_writer *w, uint64_t value); /* above INT64_MAX */
    void (*real)(struct bl_writer *w, double value);       /* finite */
    uint8_t *(*binary)(struct bl_writer *w, size_t len);   /* NULL only after bl_writer_fail */
    void (*span)(struct bl_writer *w, const struct bl_span *span); /* has an owner. May be NULL: copied through `binary` */
    void (*raw)(struct bl_writer *w, const struct bl_span *encoded);
    void (*begin)(struct bl_writer *w, enum bl_term_type type, size_t count); /* tuple, list, map (count of pairs) */
    void (*end)(struct bl_writer *w, enum bl_term_type type, size_t count);   /* the same, when all its terms have come */
    /* How much was written, and back to there: what came since is forgotten. */
    size_t (*mark)(const struct bl_writer *w);
    void (*rewind)(struct bl_writer *w, size_t mark);
};

enum { BL_WRITER_DEPTH = 64 };

/* The common head of every back end's writer; initialise with bl_writer_init. */
struct bl_writer {
    const struct bl_writer_ops *ops;
    struct bl_error error; /* status BL_OK while nothing failed */
    bool begun;            /* the term, at least */
    unsigned depth;
    unsigned floor; /* containers that bl_write_end must leave open: they are somebody else's */
    struct {
        uint8_t type;
        size_t count, left; /* announced; terms still to come */
    } open[BL_WRITER_DEPTH + 1]; /* the last only for an empty one, which is no nesting */
};
BL_API void bl_writer_init(struct bl_writer *w, const struct bl_writer_ops *ops);
/* A place to come back to: bl_writer_rewind forgets all that was written since, a failure and open containers, too. Containers
 * that were open at the mark must not have been ended. What a quota paid for meanwhile stays paid. */
struct bl_writer_mark {
    unsigned depth;
    bool begun;
    size_t left, at;
};
BL_API struct bl_writer_mark bl_writer_mark(const struct bl_writer *w);
BL_API void bl_writer_rewind(struct bl_writer *w, const struct bl_writer_mark *mark);
/* For back ends: make the writer fail. */
BL_API void bl_writer_fail(struct bl_writer *w, const struct bl_error *err);

/* External term format into a growing, accounted buffer: `data` and `len` hold the term
 * once bl_writer_done(&w.base). */
struct bl_etf_writer {
    struct bl_writer base;
    struct bl_quota *quota;
    uint8_t *data;
    size_t len, capacity;
    bool fixed; /* `data` is the caller's */
    /* Binaries that stayed where they are (bl_etf_writer_share). */
    struct bl_etf_shared *shared;
    size_t shared_count, shared_most;
};
/* Bytes of an owner that belong behind the first `at` bytes of `data`. */
struct bl_etf_shared {
    size_t at;
    struct bl_span bytes;
};
BL_API void bl_etf_writer_init(struct bl_etf_writer *w, struct bl_quota *quota, bool with_version);
/* The same into the caller's buffer, without version byte; BL_LIMIT "term_bytes" when it is full. */
BL_API void bl_etf_writer_init_fixed(struct bl_etf_writer *w, void *data, size_t capacity);
/* From now on the first `most` large binaries with an owner (bl_write_span, bl_copy_term) are noted in `room` instead
 * of copied: `data` and `len` are then only parts of the term, and bl_etf_writer_spans gives the whole. */
BL_API void bl_etf_writer_share(struct bl_etf_writer *w, struct bl_etf_shared *room, size_t most);
/* The term, as up to 2 x shared_count + 1 spans; returns how many. */
BL_API size_t bl_etf_writer_spans(const struct bl_etf_writer *w, struct bl_span *spans);
BL_API void bl_etf_writer_clear(struct bl_etf_writer *w);

#ifdef __cplusplus
}
#endif
#endif
