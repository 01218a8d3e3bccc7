/* SPDX-License-Identifier: Apache-2.0
 *
 * Beamline core: status codes, errors, accounted memory, and the context in
 * which an operation runs. Depends on libc and pthreads only.
 *
 * Rules that hold for every function of Beamline's C API:
 *   - On error, outputs are unchanged and `*err` says why. `err` may be NULL.
 *   - Nothing exits, aborts, prints, or touches signals or the locale.
 *   - A function may be called from any thread unless its comment says not.
 */
#ifndef BEAMLINE_CORE_H
#define BEAMLINE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BL_API __attribute__((visibility("default")))
#if defined(__GNUC__)
#define BL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define BL_PRINTF(f, a)
#endif

/* The version of the library that is loaded; compare with BL_VERSION. Static. */
BL_API const char *bl_version(void);

/* ---- status and error -------------------------------------------------- */

/* The same names as the atoms an Erlang caller sees (doc/design.md, Failures). */
enum bl_status {
    BL_OK = 0,
    BL_BUSY,          /* a bound is reached; retry_after_ms says when to try again */
    BL_TIMEOUT,       /* the deadline passed */
    BL_CANCELLED,     /* someone cancelled, or the owner died */
    BL_CLOSED,        /* the pool or handle is closed */
    BL_LIMIT,         /* a quota would be exceeded: subject, limit, asked */
    BL_SYNTAX,        /* malformed input: line and column, or offset; text = what was expected */
    BL_INVALID,       /* well-formed but wrong: subject = field, text = why */
    BL_TRAP,          /* a guest trapped: subject = code, text = message */
    BL_UNSUPPORTED,   /* not here: subject = what */
    BL_HOST_EXITED,   /* the isolated OS process ended: text = why */
    BL_DEVICE_FAILED, /* the device failed: text = why */
    BL_NO_MEMORY,     /* the operating system refused memory; nothing changed */
    BL_STATUS_COUNT
};

/* The second element of {error, {Status, Details}}. Plain data, copy it freely.
 * Only the fields named beside the status above mean something. */
struct bl_error {
    enum bl_status status;
    uint32_t line, column; /* BL_SYNTAX: 1-based; line 0 means `offset` holds instead */
    uint64_t offset;       /* BL_SYNTAX: bytes from the start, 0-based */
    uint64_t limit, asked; /* BL_LIMIT */
    uint64_t retry_after_ms; /* BL_BUSY */
    char subject[48];
    char text[160];
};

/* "ok", "busy", ...: static, never NULL. */
BL_API const char *bl_status_name(enum bl_status status);

/* Each fills *err (when not NULL) completely and returns its status, so that
 * `return bl_fail_invalid(err, "cell", "volume is zero");` is a whole branch.
 * Texts that are too long are cut at a UTF-8 boundary. */
BL_API enum bl_status bl_fail(struct bl_error *err, enum bl_status status);
BL_API enum bl_status bl_fail_busy(struct bl_error *err, uint64_t retry_after_ms);
BL_API enum bl_status bl_fail_limit(struct bl_error *err, const char *what, uint64_t limit, uint64_t asked);
BL_API enum bl_status bl_fail_invalid(struct bl_error *err, const char *field, const char *why, ...) BL_PRINTF(3, 4);
BL_API enum bl_status bl_fail_unsupported(struct bl_error *err, const char *what);
BL_API enum bl_status bl_fail_syntax(struct bl_error *err, uint32_t line, uint32_t column, const char *expected, ...) BL_PRINTF(4, 5);
BL_API enum bl_status bl_fail_syntax_at(struct bl_error *err, uint64_t offset, const char *expected, ...) BL_PRINTF(3, 4);

/* One line for people, always terminated; returns the length it wanted (as snprintf). */
BL_API size_t bl_error_format(const struct bl_error *err, char *out, size_t size);

/* ---- checked sizes ------------------------------------------------------ */

/* false on overflow, *out unchanged. */
BL_API bool bl_mul_size(size_t a, size_t b, size_t *out);
BL_API bool bl_add_size(size_t a, size_t b, size_t *out);

/* ---- accounted memory --------------------------------------------------- */

/* A quota counts the bytes allocated under it and under its children. A task's
 * quota has its pool's as parent. The owner keeps it alive until every byte is
 * freed. Thread-safe except _init and _fail_nth. */
struct bl_quota {
    struct bl_quota *parent; /* NULL at the root */
    const char *name;        /* static; the `what` of {limit, ...} */
    uint64_t limit_bytes;    /* 0: none of its own */
    /* Private; changed atomically. */
    uint64_t used_bytes, peak_bytes;
    int64_t fail_countdown; /* fault injection: 0 = off; the n-th allocation from now fails */
};

BL_API void bl_quota_init(struct bl_quota *quota, struct bl_quota *parent, const char *name, uint64_t limit_bytes);
BL_API uint64_t bl_quota_used(const struct bl_quota *quota);
BL_API uint64_t bl_quota_peak(const struct bl_quota *quota);

/* Fault injection: the n-th (1 = next) allocation or charge under this quota fails
 * with BL_NO_MEMORY, once. 0 turns it off. */
BL_API void bl_quota_fail_nth(struct bl_quota *quota, uint64_t n);

/* Account for memory that lives elsewhere (a VM binary, a mapping). BL_LIMIT or BL_OK. */
BL_API enum bl_status bl_quota_charge(struct bl_quota *quota, uint64_t bytes, struct bl_error *err);
BL_API void bl_quota_release(struct bl_quota *quota, uint64_t bytes);

/* NULL on failure with *err = BL_LIMIT or BL_NO_MEMORY. Zero bytes give a unique
 * pointer. Aligned to 16 bytes, from 4 KiB on to 64. `quota` may be NULL (not accounted).
 * bl_free(NULL) is harmless; a block remembers its quota, which must still live. */
BL_API void *bl_alloc(struct bl_quota *quota, size_t bytes, struct bl_error *err);
BL_API void *bl_alloc_zero(struct bl_quota *quota, size_t bytes, struct bl_error *err);
BL_API void *bl_alloc_array(struct bl_quota *quota, size_t count, size_t size, struct bl_error *err);
/* Keeps the first min(old, new) bytes; on failure the old block is untouched. p may be NULL. */
BL_API void *bl_realloc(struct bl_quota *quota, void *p, size_t bytes, struct bl_error *err);
BL_API void bl_free(void *p);
/* The block stays, but is counted no more. p may be NULL. */
BL_API void bl_uncount(void *p);

/* ---- the context of a running operation --------------------------------- */

/* What an operation may use while it runs: quota, cancel, helpers, progress.
 * Opaque; handed in by the pool, or made by bl_ctx_new for use without one.
 * Belongs to the thread that runs the operation; only the functions marked
 * [lanes] may also be called from inside a bl_parallel_for body.
 * Every function accepts ctx == NULL: no quota, never cancelled, one lane. */
struct bl_ctx;

BL_API struct bl_ctx *bl_ctx_new(struct bl_quota *quota);
BL_API void bl_ctx_free(struct bl_ctx *ctx);

BL_API struct bl_quota *bl_ctx_quota(struct bl_ctx *ctx); /* [lanes] */

/* BL_OK, or BL_CANCELLED / BL_TIMEOUT / BL_CLOSED when the work has no more taker.
 * One relaxed load: call it at least once per millisecond of work. [lanes] */
BL_API enum bl_status bl_ctx_check(struct bl_ctx *ctx, struct bl_error *err);
/* Ask the operation running under a context made by bl_ctx_new to stop. Any thread. */
BL_API void bl_ctx_cancel(struct bl_ctx *ctx);

/* How many threads a bl_parallel_for of this context can use at most (>= 1). */
BL_API unsigned bl_ctx_lanes(struct bl_ctx *ctx);

/* Runs body(arg, begin, end, lane) over disjoint chunks that cover [0, count),
 * in chunks of at most `grain` (0 = chosen), on the calling thread and on idle
 * threads of the pool, which steal from each other. `lane` < bl_ctx_lanes(ctx)
 * is unique among bodies that run at the same time: use it to index scratch.
 * A body returns BL_OK, or a status that stops the loop; which chunk a lane gets is not
 * deterministic, so results must not depend on it. Returns when no body runs any more:
 * BL_OK, the first failing body's status, or bl_ctx_check's. `err` of the failing body
 * is returned. Loops may nest; an inner loop runs on the thread it is called from, always with
 * lane 0: its scratch must belong to the outer body. */
typedef enum bl_status bl_range_fn(void *arg, size_t begin, size_t end, unsigned lane, struct bl_error *err);
BL_API enum bl_status bl_parallel_for(struct bl_ctx *ctx, size_t count, size_t grain, bl_range_fn *body, void *arg, struct bl_error *err);

/* Progress: a few named values. Keys are static strings of 1 to BL_FIELD_KEY_MOST printable ASCII characters. A term is
 * one in external term format, without version byte, 1 to BL_FIELD_TERM_MOST bytes; both are the caller's and may go
 * after the call. */
struct bl_field_term {
    const void *data;
    size_t len;
};
enum { BL_FIELD_KEY_MOST = 23, BL_FIELD_TERM_MOST = 192 * 1024 };
enum bl_field_type { BL_FIELD_INT, BL_FIELD_FLOAT, BL_FIELD_TERM };
struct bl_field {
    const char *key;
    enum bl_field_type type;
    union {
        int64_t i;
        double f;
        const struct bl_field_term *term;
    } value;
};
/* True when a progress message would be sent now: lets the caller skip building it. */
BL_API bool bl_ctx_progress_due(struct bl_ctx *ctx);
/* Sends it if due, drops it otherwise. At most 16 fields, one of them a term. Never fails,
 * never blocks; a message may be dropped, and one that breaks these rules is. */
BL_API void bl_ctx_progress(struct bl_ctx *ctx, const struct bl_field *fields, size_t count);

#ifdef __cplusplus
}
#endif
#endif
