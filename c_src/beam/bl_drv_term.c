/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_drv_term.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_BYTES = 1024,
    INLINE_BINARY = 64, /* up to here a binary is copied into the message */
    MAGIC = 131,        /* version byte of the external term format */
};

/* ---- atoms ------------------------------------------------------------------ */

/* Sorted. */
static const char *const common_names[] = {
    "asked", "atoms", "beamline", "busy", "cancelled", "cell", "closed", "column", "completed", "converged", "data",
    "device_failed", "energy", "error", "expected", "extxyz", "false", "field", "fixed", "forces", "format", "gates",
    "host_exited", "infinity", "info", "invalid", "labels", "limit", "line", "masses", "max_force", "memory", "name",
    "nan", "neg_infinity", "no_memory", "offset", "ok", "pass", "pbc", "pool_memory", "poscar", "positions", "progress",
    "reason", "species", "step", "steps", "structure", "structures", "syntax", "threshold", "timeout", "trap", "true",
    "types", "undefined", "unit", "unsupported", "value", "velocities", "verdict", "virial", "volume", "warnings",
    "what", "why",
};
enum { COMMON_COUNT = sizeof common_names / sizeof common_names[0] };
static ErlDrvTermData common_atoms[COMMON_COUNT];

void bl_drv_atoms_init(void)
{
    for (size_t i = 0; i < COMMON_COUNT; i++) common_atoms[i] = driver_mk_atom((char *)(uintptr_t)common_names[i]);
}

static int compare_name(const void *key, const void *entry)
{
    const struct bl_span *name = key;
    const char *const *common = entry;
    const size_t len = strlen(*common), shorter = name->len < len ? name->len : len;
    const int order = memcmp(name->data, *common, shorter);
    return order != 0 ? order : name->len < len ? -1 : name->len > len;
}

/* Index, or -1. */
static int find_common(const char *name, size_t len)
{
    const struct bl_span key = {.data = (const uint8_t *)name, .len = len};
    const char *const *found = bsearch(&key, common_names, COMMON_COUNT, sizeof common_names[0], compare_name);
    return found ? (int)(found - common_names) : -1;
}

/* ---- memory -------------------------------------------------------------------- */

struct bl_drv_chunk {
    struct bl_drv_chunk *next;
    size_t used, size;
    _Alignas(8) uint8_t bytes[];
};

struct bl_drv_binary {
    struct bl_drv_binary *next;
    ErlDrvBinary *binary;
    uint64_t charged;
};

static struct bl_drv_writer *self(struct bl_writer *w) { return (struct bl_drv_writer *)w; }

/* Stays where it is until the writer is cleared. NULL: the writer has failed. */
static void *arena(struct bl_drv_writer *w, size_t bytes)
{
    const size_t rounded = (bytes + 7) & ~(size_t)7;
    struct bl_drv_chunk *c = w->chunks;
    if (rounded <= sizeof w->small_bytes - w->small_used) {
        w->small_used += rounded;
        return w->small_bytes + w->small_used - rounded;
    }
    if (!c || c->size - c->used < rounded) {
        const size_t size = rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES;
        struct bl_error err;
        c = bl_alloc(w->quota, sizeof *c + size, &err);
        if (!c) {
            bl_writer_fail(&w->base, &err);
            return NULL;
        }
        c->next = w->chunks;
        c->size = size;
        c->used = 0;
        w->chunks = c;
    }
    void *p = c->bytes + c->used;
    c->used += rounded;
    return p;
}

static bool grow(struct bl_drv_writer *w, size_t more)
{
    if (w->capacity - w->count >= more) return true;
    const size_t capacity = (w->capacity + more) * 2 + 32;
    struct bl_error err;
    ErlDrvTermData *terms = bl_realloc(w->quota, w->terms == w->small ? NULL : w->terms, capacity * sizeof *terms, &err);
    if (!terms) {
        bl_writer_fail(&w->base, &err);
        return false;
    }
    if (w->terms == w->small) memcpy(terms, w->small, w->count * sizeof *terms);
    w->terms = terms;
    w->capacity = capacity;
    return true;
}

static void put1(struct bl_drv_writer *w, ErlDrvTermData a)
{
    if (grow(w, 1)) w->terms[w->count++] = a;
}

static void put2(struct bl_drv_writer *w, ErlDrvTermData a, ErlDrvTermData b)
{
    if (!grow(w, 2)) return;
    w->terms[w->count++] = a;
    w->terms[w->count++] = b;
}

static void put3(struct bl_drv_writer *w, ErlDrvTermData a, ErlDrvTermData b, ErlDrvTermData c)
{
    if (!grow(w, 3)) return;
    w->terms[w->count++] = a;
    w->terms[w->count++] = b;
    w->terms[w->count++] = c;
}

/* ---- the back end ----------------------------------------------------------------- */

static void put_external(struct bl_drv_writer *w, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = arena(w, len + 1);
    if (!copy) return;
    copy[0] = MAGIC;
    memcpy(copy + 1, bytes, len);
    put3(w, ERL_DRV_EXT2TERM, (ErlDrvTermData)copy, len + 1);
}

static void write_atom(struct bl_writer *base, const char *name, size_t len)
{
    enum { SMALL_ATOM_UTF8_EXT = 119 };
    const int common = find_common(name, len);
    if (common >= 0) {
        put2(self(base), ERL_DRV_ATOM, common_atoms[common]);
        return;
    }
    uint8_t bytes[2 + 255] = {SMALL_ATOM_UTF8_EXT, (uint8_t)len};
    memcpy(bytes + 2, name, len);
    put_external(self(base), bytes, 2 + len);
}

static void write_integer(struct bl_writer *base, int64_t value) { put2(self(base), ERL_DRV_INT, (ErlDrvTermData)value); }

static void write_uinteger(struct bl_writer *base, uint64_t value) { put2(self(base), ERL_DRV_UINT, (ErlDrvTermData)value); }

static void write_real(struct bl_writer *base, double value)
{
    double *p = arena(self(base), sizeof *p);
    if (!p) return;
    *p = value;
    put2(self(base), ERL_DRV_FLOAT, (ErlDrvTermData)p);
}

static bool keep(struct bl_drv_writer *w, ErlDrvBinary *binary, uint64_t charged)
{
    struct bl_drv_binary *b = arena(w, sizeof *b);
    if (!b) return false;
    *b = (struct bl_drv_binary){.next = w->binaries, .binary = binary, .charged = charged};
    w->binaries = b;
    return true;
}

static uint8_t *write_binary(struct bl_writer *base, size_t len)
{
    struct bl_drv_writer *w = self(base);
    if (len <= INLINE_BINARY) {
        uint8_t *p = arena(w, len > 0 ? len : 1);
        if (p) put3(w, ERL_DRV_BUF2BINARY, (ErlDrvTermData)p, len);
        return p;
    }
    struct bl_error err;
    if (bl_quota_charge(w->quota, len, &err) != BL_OK) {
        bl_writer_fail(base, &err);
        return NULL;
    }
    ErlDrvBinary *binary = driver_alloc_binary(len);
    if (!binary || !keep(w, binary, len)) {
        if (binary) driver_free_binary(binary);
        bl_quota_release(w->quota, len);
        bl_fail(&err, BL_NO_MEMORY);
        bl_writer_fail(base, &err);
        return NULL;
    }
    if (!grow(w, 4)) return NULL;
    put2(w, ERL_DRV_BINARY, (ErlDrvTermData)binary);
    put2(w, len, 0);
    return (uint8_t *)binary->orig_bytes;
}

static void write_span(struct bl_writer *base, const struct bl_span *span)
{
    struct bl_drv_writer *w = self(base);
    ErlDrvBinary *binary = span->owner;
    if (!binary || span->len <= INLINE_BINARY) {
        uint8_t *p = write_binary(base, span->len);
        if (p) memcpy(p, span->data, span->len);
        return;
    }
    if (!grow(w, 4) || !keep(w, binary, 0)) return;
    driver_binary_inc_refc(binary);
    put2(w, ERL_DRV_BINARY, (ErlDrvTermData)binary);
    put2(w, span->len, (ErlDrvTermData)(span->data - (const uint8_t *)binary->orig_bytes));
}

static void write_raw(struct bl_writer *base, const struct bl_span *encoded) { put_external(self(base), encoded->data, encoded->len); }

/* Reverse Polish: everything else happens at the end of a container. */
static void write_begin(struct bl_writer *base, enum bl_term_type type, size_t count)
{
    if (type != BL_TERM_MAP || count <= BL_DRV_MAP_PAIRS_MAX) return;
    struct bl_error err;
    bl_fail_limit(&err, "map_keys", BL_DRV_MAP_PAIRS_MAX, count);
    bl_writer_fail(base, &err);
}

static void write_end(struct bl_writer *base, enum bl_term_type type, size_t count)
{
    struct bl_drv_writer *w = self(base);
    switch (type) {
    case BL_TERM_TUPLE: put2(w, ERL_DRV_TUPLE, count); break;
    case BL_TERM_MAP: put2(w, ERL_DRV_MAP, count); break;
    default:
        put1(w, ERL_DRV_NIL);
        if (count > 0) put2(w, ERL_DRV_LIST, count + 1);
    }
}

static const struct bl_writer_ops drv_ops = {
    .atom = write_atom,
    .integer = write_integer,
    .uinteger = write_uinteger,
    .real = write_real,
    .binary = write_binary,
    .span = write_span,
    .raw = write_raw,
    .begin = write_begin,
    .end = write_end,
};

/* ---- the surface --------------------------------------------------------------------- */

static void start_over(struct bl_drv_writer *w)
{
    w->terms = w->small;
    w->count = 0;
    w->capacity = sizeof w->small / sizeof w->small[0];
    w->chunks = NULL;
    w->binaries = NULL;
    w->small_used = 0;
}

void bl_drv_writer_init(struct bl_drv_writer *w, struct bl_quota *quota)
{
    bl_writer_init(&w->base, &drv_ops);
    w->quota = quota;
    start_over(w);
}

void bl_drv_writer_clear(struct bl_drv_writer *w)
{
    for (struct bl_drv_binary *b = w->binaries; b; b = b->next) {
        driver_free_binary(b->binary);
        bl_quota_release(w->quota, b->charged);
    }
    for (struct bl_drv_chunk *c = w->chunks, *next; c; c = next) {
        next = c->next;
        bl_free(c);
    }
    if (w->terms != w->small) bl_free(w->terms);
    start_over(w);
}

int bl_drv_send(struct bl_drv_writer *w, ErlDrvTermData port, ErlDrvTermData to)
{
    return erl_drv_send_term(port, to, w->terms, (int)w->count);
}
