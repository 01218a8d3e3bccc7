/* SPDX-License-Identifier: Apache-2.0
 *
 * Gzip files, through the system's zlib. The library is looked for when the first such file
 * comes, so that everything else works where there is none; what is used of it is declared
 * here (its binary interface has been the same since 1.0).
 */
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "bl_crystal.h"

/* z_stream */
struct z_state {
    const unsigned char *next_in;
    unsigned avail_in;
    unsigned long total_in;
    unsigned char *next_out;
    unsigned avail_out;
    unsigned long total_out;
    const char *msg;
    void *internal;
    void *(*zalloc)(void *opaque, unsigned items, unsigned size);
    void (*zfree)(void *opaque, void *p);
    void *opaque;
    int data_type;
    unsigned long adler, reserved;
};
enum { Z_OK = 0, Z_STREAM_END = 1, Z_MEM_ERROR = -4, Z_BUF_ERROR = -5, WINDOW_GZIP = 15 + 16, Z_FINISH = 4, Z_DEFLATED = 8 };

struct zlib {
    int (*inflate_init)(struct z_state *z, int window_bits, const char *version, int size);
    int (*inflate)(struct z_state *z, int flush);
    int (*inflate_reset)(struct z_state *z);
    int (*inflate_end)(struct z_state *z);
    int (*deflate_init)(struct z_state *z, int level, int method, int window_bits, int memory_level, int strategy, const char *version,
                        int size);
    int (*deflate)(struct z_state *z, int flush);
    int (*deflate_end)(struct z_state *z);
    const char *(*version)(void);
    bool here;
};
static struct zlib zlib;
static pthread_once_t zlib_once = PTHREAD_ONCE_INIT;

static void find(void *library, const char *name, void *slot)
{
    void *symbol = library ? dlsym(library, name) : NULL;
    memcpy(slot, &symbol, sizeof symbol); /* ISO C has no cast from an object to a function */
}

static void open_zlib(void)
{
    void *library = dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);
    find(library, "inflateInit2_", &zlib.inflate_init);
    find(library, "inflate", &zlib.inflate);
    find(library, "inflateReset", &zlib.inflate_reset);
    find(library, "inflateEnd", &zlib.inflate_end);
    find(library, "deflateInit2_", &zlib.deflate_init);
    find(library, "deflate", &zlib.deflate);
    find(library, "deflateEnd", &zlib.deflate_end);
    find(library, "zlibVersion", &zlib.version);
    zlib.here = zlib.inflate_init && zlib.inflate && zlib.inflate_reset && zlib.inflate_end && zlib.version &&
                zlib.deflate_init && zlib.deflate && zlib.deflate_end;
}

/* Whose memory, and what to tell when there is none. */
struct lender {
    struct bl_quota *quota;
    struct bl_error *err;
};
static void *allocate(void *opaque, unsigned items, unsigned size)
{
    const struct lender *lender = opaque;
    return bl_alloc_array(lender->quota, items, size, lender->err);
}
static void release(void *opaque, void *p)
{
    (void)opaque;
    bl_free(p);
}

enum { CHUNK = 1 << 18 }; /* under a millisecond to inflate */

static enum bl_status make_room(struct bl_buffer *b, size_t before, size_t limit, struct bl_error *err)
{
    if (b->len - before >= limit) return bl_fail_limit(err, "inflated_bytes", limit, b->len - before + 1);
    if (b->capacity - b->len >= CHUNK) return BL_OK;
    size_t want = b->capacity + b->capacity / 2;
    if (want < b->len + CHUNK) want = b->len + CHUNK;
    if (want > before + limit + CHUNK) want = before + limit + CHUNK;
    char *data = bl_realloc(b->quota, b->data, want, err);
    if (!data) return bl_alloc_status(err);
    b->data = data;
    b->capacity = want;
    return BL_OK;
}

struct source {
    const char *data;
    size_t len, at;
};

static void feed(struct z_state *z, struct source *in)
{
    const size_t some = in->len - in->at < CHUNK ? in->len - in->at : CHUNK;
    z->next_in = (const unsigned char *)in->data + in->at;
    z->avail_in = (unsigned)some;
}

/* A file may have several members, one behind the other; zeros behind the last are padding. */
static bool another_member(const struct source *in)
{
    return in->len - in->at >= 2 && memcmp(in->data + in->at, "\x1F\x8B", 2) == 0;
}

static enum bl_status inflate_all(struct bl_ctx *ctx, struct z_state *z, struct source *in, size_t limit, struct bl_buffer *out,
        struct bl_error *err)
{
    const size_t before = out->len;
    for (;;) {
        enum bl_status status = bl_ctx_check(ctx, err);
        if (status == BL_OK) status = make_room(out, before, limit, err);
        if (status != BL_OK) return status;
        feed(z, in);
        const unsigned given = z->avail_in;
        z->next_out = (unsigned char *)out->data + out->len;
        z->avail_out = CHUNK;
        const int result = zlib.inflate(z, 0);
        in->at += given - z->avail_in;
        out->len += CHUNK - z->avail_out;
        if (result == Z_STREAM_END) {
            if (!another_member(in)) break;
            zlib.inflate_reset(z);
        } else if (result == Z_MEM_ERROR) {
            return bl_alloc_status(err);
        } else if (result != Z_OK && result != Z_BUF_ERROR) {
            return bl_fail_syntax_at(err, in->at, "sound gzip data: %s", z->msg ? z->msg : "the data are broken");
        } else if (in->at == in->len && z->avail_out > 0) {
            return bl_fail_syntax_at(err, in->at, "more gzip data: the file is cut off");
        }
    }
    if (out->len - before > limit) return bl_fail_limit(err, "inflated_bytes", limit, out->len - before);
    return BL_OK;
}

/* What zlib allocates is the task's. */
static enum bl_status lend(struct bl_ctx *ctx, struct lender *lender, struct z_state *z, struct bl_error *err)
{
    pthread_once(&zlib_once, open_zlib);
    if (!zlib.here) return bl_fail_unsupported(err, "zlib");
    *lender = (struct lender){bl_ctx_quota(ctx), err};
    *z = (struct z_state){.zalloc = allocate, .zfree = release, .opaque = lender};
    return BL_OK;
}

enum bl_status bl_gunzip(struct bl_ctx *ctx, const char *data, size_t len, size_t limit, struct bl_buffer *out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct lender lender;
    struct z_state z;
    enum bl_status status = lend(ctx, &lender, &z, err);
    if (status != BL_OK) return status;
    if (zlib.inflate_init(&z, WINDOW_GZIP, zlib.version(), (int)sizeof z) != Z_OK) return bl_alloc_status(err);
    struct source in = {data, len, 0};
    const size_t before = out->len;
    status = inflate_all(ctx, &z, &in, limit, out, err);
    zlib.inflate_end(&z);
    if (status != BL_OK) out->len = before;
    return status;
}

/* ---- the other way ------------------------------------------------------------------------ */

enum { PIECE = 1 << 14, LEVEL = 6, MEMORY_LEVEL = 8 }; /* half a millisecond to deflate */

static enum bl_status deflate_all(struct bl_ctx *ctx, struct z_state *z, struct source *in, struct bl_buffer *out, struct bl_error *err)
{
    for (int result = Z_OK; result != Z_STREAM_END;) {
        enum bl_status status = bl_ctx_check(ctx, err);
        if (status == BL_OK) status = make_room(out, 0, SIZE_MAX - 2 * CHUNK, err);
        if (status != BL_OK) return status;
        const size_t some = in->len - in->at < PIECE ? in->len - in->at : PIECE;
        z->next_in = (const unsigned char *)in->data + in->at;
        z->avail_in = (unsigned)some;
        z->next_out = (unsigned char *)out->data + out->len;
        z->avail_out = CHUNK;
        result = zlib.deflate(z, in->at + some == in->len ? Z_FINISH : 0);
        in->at += some - z->avail_in;
        out->len += CHUNK - z->avail_out;
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return bl_alloc_status(err);
    }
    return BL_OK;
}

enum bl_status bl_gzip(struct bl_ctx *ctx, const char *data, size_t len, struct bl_buffer *out, struct bl_error *err)
{
    struct bl_error local;
    if (!err) err = &local;
    struct lender lender;
    struct z_state z;
    enum bl_status status = lend(ctx, &lender, &z, err);
    if (status != BL_OK) return status;
    if (zlib.deflate_init(&z, LEVEL, Z_DEFLATED, WINDOW_GZIP, MEMORY_LEVEL, 0, zlib.version(), (int)sizeof z) != Z_OK)
        return bl_alloc_status(err);
    struct source in = {len > 0 ? data : "", len, 0};
    const size_t before = out->len;
    status = deflate_all(ctx, &z, &in, out, err);
    zlib.deflate_end(&z);
    if (status != BL_OK) out->len = before;
    return status;
}
