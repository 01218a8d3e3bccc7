/* SPDX-License-Identifier: Apache-2.0
 *
 * Erlang terms without Erlang: a reader of the external term format over an
 * iovec, and a writer interface with exchangeable back ends. Used by operations
 * (beamline/op.h). Format: erts "External Term Format" (ext_dist), version 131.
 */
#ifndef BEAMLINE_TERM_H
#define BEAMLINE_TERM_H

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
    size_t max_bytes;  /* of the encoded term */
    size_t max_depth;  /* of nesting */
    size_t max_terms;  /* elements in all: every atom, number, container ... */
};
/* 1 GiB, depth 64, 16 million terms. */
BL_API extern const struct bl_term_limits bl_term_limits_default;

enum bl_term_type {
    BL_TERM_NONE = 0, /* at the end, or broken: the next read says why */
    BL_TERM_INT,      /* fits int64_t */
    BL_TERM_BIG,      /* an integer that does not */
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
 * Each read checks type, bounds and limits. After an error the cursor stays where it
 * was and may be asked for another type; malformed input (BL_SYNTAX, offset) is final.
 * A wrong type is BL_INVALID with the field path that bl_reader_at() named. */
struct bl_reader {
    const struct bl_span *spans;
    size_t span_count, span, pos; /* the next byte: spans[span].data[pos] */
    size_t offset;                /* bytes before it, in all */
    struct bl_term_limits limits;
    size_t terms;          /* read so far */
    struct bl_quota *quota;
    void *scratch;         /* binaries that had to be put together */
    const char *field;     /* named in BL_INVALID */
    uint32_t string_left;  /* inside STRING_EXT: bytes still to be read as integers */
    bool broken;
    struct bl_error *err;
};

/* `err` receives the details of every failing read until bl_reader_clear. */
BL_API void bl_reader_init(struct bl_reader *r, const struct bl_span *spans, size_t count,
                           const struct bl_term_limits *limits, struct bl_quota *quota, struct bl_error *err);
BL_API void bl_reader_clear(struct bl_reader *r);

/* Reads the version byte (131). Operations never need it: their reader stands at the term. */
BL_API enum bl_status bl_read_version(struct bl_reader *r);

/* Names the field that errors of following reads are about. Static string or NULL. */
BL_API void bl_reader_at(struct bl_reader *r, const char *field);

BL_API enum bl_term_type bl_read_type(struct bl_reader *r); /* looks, does not move */
BL_API enum bl_status bl_read_int(struct bl_reader *r, int64_t *out);
BL_API enum bl_status bl_read_uint(struct bl_reader *r, uint64_t *out);  /* negative: BL_INVALID */
BL_API enum bl_status bl_read_float(struct bl_reader *r, double *out);   /* a float, nothing else; finite */
BL_API enum bl_status bl_read_number(struct bl_reader *r, double *out);  /* integer or float */
BL_API enum bl_status bl_read_bool(struct bl_reader *r, bool *out);
BL_API enum bl_status bl_read_atom(struct bl_reader *r, struct bl_span *out); /* its UTF-8 bytes */
/* The bytes of a binary; contiguous also where the input was cut inside it (then copied
 * into memory of the reader, charged to its quota). Valid until bl_reader_clear. */
BL_API enum bl_status bl_read_binary(struct bl_reader *r, struct bl_span *out);
BL_API enum bl_status bl_read_tuple(struct bl_reader *r, size_t *arity);
BL_API enum bl_status bl_read_map(struct bl_reader *r, size_t *pairs);
BL_API enum bl_status bl_read_list(struct bl_reader *r, size_t *length);
BL_API enum bl_status bl_read_list_end(struct bl_reader *r); /* an improper tail is BL_INVALID */
/* Steps over one whole term. Iterative: no stack depth from input. */
BL_API enum bl_status bl_read_skip(struct bl_reader *r);
/* Steps over one whole term and gives its encoded bytes (without version byte). */
BL_API enum bl_status bl_read_raw(struct bl_reader *r, struct bl_span *out);
/* BL_OK when everything was read. */
BL_API enum bl_status bl_read_end(struct bl_reader *r);

BL_API bool bl_span_is(const struct bl_span *span, const char *text);
/* BL_INVALID "unknown key" about the atom in `key`, for option maps. */
BL_API enum bl_status bl_read_unknown_key(struct bl_reader *r, const struct bl_span *key);

/* ---- writing ------------------------------------------------------------ */

/* One interface, several back ends: driver terms and external term format; later NIF
 * terms. Containers are announced with their exact count and ended:
 *     bl_write_map(w, 2); bl_write_atom(w, "a"); bl_write_int(w, 1); ...; bl_write_end(w);
 * The first failure sticks: later calls do nothing; bl_writer_status() tells. */
struct bl_writer;

BL_API enum bl_status bl_writer_status(const struct bl_writer *w, struct bl_error *err);

BL_API void bl_write_atom(struct bl_writer *w, const char *name); /* at most 255 bytes of UTF-8 */
BL_API void bl_write_bool(struct bl_writer *w, bool value);
BL_API void bl_write_int(struct bl_writer *w, int64_t value);
BL_API void bl_write_uint(struct bl_writer *w, uint64_t value);
/* Not finite: the atoms nan, infinity, neg_infinity. */
BL_API void bl_write_float(struct bl_writer *w, double value);
BL_API void bl_write_binary(struct bl_writer *w, const void *data, size_t len); /* copies */
BL_API void bl_write_text(struct bl_writer *w, const char *text);               /* a binary of a C string */
/* A binary of `len` bytes to be filled by the caller before the next write. NULL on failure. */
BL_API uint8_t *bl_write_binary_space(struct bl_writer *w, size_t len);
/* Shares the bytes when the back end knows their owner, else copies. */
BL_API void bl_write_span(struct bl_writer *w, const struct bl_span *span);
BL_API void bl_write_tuple(struct bl_writer *w, size_t arity);
BL_API void bl_write_list(struct bl_writer *w, size_t length);
BL_API void bl_write_map(struct bl_writer *w, size_t pairs); /* keys must differ */
BL_API void bl_write_end(struct bl_writer *w);
/* One term already encoded (no version byte), for instance from bl_read_raw. */
BL_API void bl_write_raw(struct bl_writer *w, const struct bl_span *encoded);
/* Reads one term and writes it: large binaries are shared where the back end can. */
BL_API enum bl_status bl_copy_term(struct bl_reader *r, struct bl_writer *w);
/* The Reason of {error, Reason} (doc/design.md, Failures). */
BL_API void bl_write_reason(struct bl_writer *w, const struct bl_error *err);

/* ---- back ends ---------------------------------------------------------- */

/* What a back end implements. The front checks counts, nesting and sizes before it calls. */
struct bl_writer_ops {
    void (*atom)(struct bl_writer *w, const char *name, size_t len);
    void (*integer)(struct bl_writer *w, int64_t value);
    void (*uinteger)(struct bl_writer *w, uint64_t value);
    void (*real)(struct bl_writer *w, double value); /* finite */
    uint8_t *(*binary)(struct bl_writer *w, size_t len);
    void (*span)(struct bl_writer *w, const struct bl_span *span); /* NULL: copied through `binary` */
    void (*raw)(struct bl_writer *w, const struct bl_span *encoded);
    void (*begin)(struct bl_writer *w, enum bl_term_type type, size_t count);
    void (*end)(struct bl_writer *w, enum bl_term_type type, size_t count);
};

enum { BL_WRITER_DEPTH = 64 };

/* The common head of every back end's writer; initialise with bl_writer_init. */
struct bl_writer {
    const struct bl_writer_ops *ops;
    struct bl_error error; /* status BL_OK while nothing failed */
    unsigned depth;
    struct {
        uint8_t type;
        size_t count, left; /* announced; terms still to come */
    } open[BL_WRITER_DEPTH];
};
BL_API void bl_writer_init(struct bl_writer *w, const struct bl_writer_ops *ops);
/* For back ends: make the writer fail. */
BL_API void bl_writer_fail(struct bl_writer *w, const struct bl_error *err);

/* External term format into a growing, accounted buffer. */
struct bl_etf_writer {
    struct bl_writer base;
    struct bl_quota *quota;
    uint8_t *data;
    size_t len, capacity;
};
BL_API void bl_etf_writer_init(struct bl_etf_writer *w, struct bl_quota *quota, bool with_version);
BL_API void bl_etf_writer_clear(struct bl_etf_writer *w);

#ifdef __cplusplus
}
#endif
#endif
