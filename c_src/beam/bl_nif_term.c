/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_nif_term.h"

#include "bl_etf.h"
#include "bl_load.h"

enum {
    CHARGE_STEP = 4096,   /* small terms are charged in steps of so many bytes */
    HEAP_BINARY = 64,     /* up to here a binary lies in the message itself */
    RAW_ON_STACK = 512,
    RAW_UNCHECKED = 256,  /* too short for a map that the VM cannot build here */
    TUPLE_MOST = (1 << 24) - 1,
    ATOMS_KNOWN = 32,     /* of a thread */
    ATOM_KNOWN = 23,      /* the longest of them */
};

static struct bl_nif_writer *self(struct bl_writer *w) { return (struct bl_nif_writer *)w; }

/* ---- memory: accounted as the VM will hold it ---------------------------------- */

static bool charge(struct bl_nif_writer *w, uint64_t bytes)
{
    struct bl_error err;
    if (bl_quota_charge(w->quota, bytes, &err) == BL_OK) {
        w->charged += bytes;
        return true;
    }
    bl_writer_fail(&w->base, &err);
    return false;
}

/* What cannot be paid stays owed, also when the writer comes back to a mark: the VM has made the terms. */
static void owe(struct bl_nif_writer *w, size_t words)
{
    w->owed += words * sizeof(ERL_NIF_TERM);
    if (w->owed >= CHARGE_STEP && charge(w, w->owed)) w->owed = 0;
}

static bool grow(struct bl_nif_writer *w)
{
    const size_t capacity = w->capacity * 2;
    struct bl_error err;
    ERL_NIF_TERM *terms = bl_realloc(w->quota, w->terms == w->small ? NULL : w->terms, capacity * sizeof *terms, &err);
    if (!terms) {
        bl_writer_fail(&w->base, &err);
        return false;
    }
    if (w->terms == w->small) memcpy(terms, w->small, sizeof w->small);
    w->terms = terms;
    w->capacity = capacity;
    return true;
}

static void push(struct bl_nif_writer *w, ERL_NIF_TERM term, size_t words)
{
    owe(w, words);
    if (w->count < w->capacity || grow(w)) w->terms[w->count++] = term;
}

static void fail_invalid(struct bl_nif_writer *w, const char *why)
{
    struct bl_error err;
    bl_fail_invalid(&err, "result", "%s", why);
    bl_writer_fail(&w->base, &err);
}

/* ---- simple terms ---------------------------------------------------------------- */

/* Atoms are never collected: who is not trusted may not make many. */
static bool may_make_atom(struct bl_nif_writer *w, const char *name, size_t len)
{
    ERL_NIF_TERM existing;
    if (!w->new_atoms || enif_make_existing_atom_len(w->env, name, len, &existing, ERL_NIF_LATIN1)) return true;
    if (__atomic_fetch_sub(w->new_atoms, 1, __ATOMIC_RELAXED) > 0) return true;
    __atomic_store_n(w->new_atoms, 0, __ATOMIC_RELAXED);
    struct bl_error err;
    bl_fail_limit(&err, "atoms", BL_NIF_NEW_ATOMS, BL_NIF_NEW_ATOMS + 1);
    bl_writer_fail(&w->base, &err);
    return false;
}

/* The VM finds an atom by its name under a lock that all threads share; what a thread wrote lately it knows. Atoms stay what
 * they are as long as the VM runs. */
struct bl_nif_atom {
    ERL_NIF_TERM term;
    uint8_t len; /* 0: none */
    char name[ATOM_KNOWN];
};

static __thread struct bl_nif_atom atoms_known[ATOMS_KNOWN];

static struct bl_nif_atom *known_atom(const struct bl_nif_writer *w, const char *name, size_t len)
{
    return &w->known[((uint8_t)name[0] * 7u + (uint8_t)name[len - 1] * 3u + len) % ATOMS_KNOWN];
}

static void write_atom(struct bl_writer *base, const char *name, size_t len)
{
    struct bl_nif_writer *w = self(base);
    struct bl_nif_atom *known = len > 0 && len <= ATOM_KNOWN ? known_atom(w, name, len) : NULL;
    if (known && known->len == len && bl_is_same(known->name, name, len)) {
        push(w, known->term, 0);
        return;
    }
    if (!may_make_atom(w, name, len)) return;
    const ERL_NIF_TERM atom = enif_make_atom_len(w->env, name, len);
    if (known) {
        known->term = atom;
        known->len = (uint8_t)len;
        memcpy(known->name, name, len);
    }
    push(w, atom, 0);
}

static void write_integer(struct bl_writer *base, int64_t value)
{
    push(self(base), enif_make_int64(self(base)->env, value), 0);
}

static void write_uinteger(struct bl_writer *base, uint64_t value)
{
    push(self(base), enif_make_uint64(self(base)->env, value), 2);
}

static void write_real(struct bl_writer *base, double value)
{
    push(self(base), enif_make_double(self(base)->env, value), 2);
}

/* The bytes are filled in after the term was made: nobody else can see it before the message is sent. */
static uint8_t *write_binary(struct bl_writer *base, size_t len)
{
    struct bl_nif_writer *w = self(base);
    ERL_NIF_TERM term;
    if (len <= HEAP_BINARY) {
        uint8_t *data = enif_make_new_binary(w->env, len, &term);
        push(w, term, 2 + len / sizeof term);
        return base->error.status == BL_OK ? data : NULL;
    }
    ErlNifBinary binary;
    if (!charge(w, len)) return NULL;
    if (!enif_alloc_binary(len, &binary)) {
        struct bl_error err;
        bl_fail(&err, BL_NO_MEMORY);
        bl_writer_fail(base, &err);
        return NULL;
    }
    uint8_t *data = binary.data;
    push(w, enif_make_binary(w->env, &binary), 6);
    return base->error.status == BL_OK ? data : NULL;
}

static void write_span(struct bl_writer *base, const struct bl_span *span)
{
    struct bl_nif_writer *w = self(base);
    const struct bl_nif_kept *kept = span->owner;
    if (span->len > HEAP_BINARY) {
        push(w, enif_make_sub_binary(w->env, kept->term, (size_t)(span->data - kept->data), span->len), 6);
        return;
    }
    uint8_t *p = write_binary(base, span->len);
    if (p) memcpy(p, span->data, span->len);
}

/* A map too large for this thread may hide in it. */
static bool is_buildable(struct bl_nif_writer *w, const struct bl_span *encoded)
{
    if (encoded->len <= RAW_UNCHECKED) return true;
    struct bl_term_limits limits = bl_term_limits_default;
    limits.max_map_pairs = BL_NIF_MAP_PAIRS_AT_ONCE;
    struct bl_error err;
    struct bl_reader r;
    bl_reader_init(&r, encoded, 1, &limits, NULL, &err);
    const bool ok = bl_read_skip(&r) == BL_OK;
    bl_reader_clear(&r);
    if (!ok) bl_writer_fail(&w->base, &err);
    return ok;
}

static void write_raw(struct bl_writer *base, const struct bl_span *encoded)
{
    struct bl_nif_writer *w = self(base);
    uint8_t small[RAW_ON_STACK], *bytes = small;
    struct bl_error err;
    if (!is_buildable(w, encoded)) return;
    /* ERL_NIF_BIN2TERM_SAFE: no new atoms in it. */
    const ErlNifBinaryToTerm safe = w->new_atoms ? ERL_NIF_BIN2TERM_SAFE : 0;
    if (encoded->len >= sizeof small && !(bytes = bl_alloc(w->quota, encoded->len + 1, &err))) {
        bl_writer_fail(base, &err);
        return;
    }
    bytes[0] = ETF_VERSION;
    memcpy(bytes + 1, encoded->data, encoded->len);
    ERL_NIF_TERM term;
    if (enif_binary_to_term(w->env, bytes, encoded->len + 1, &term, safe) == 0)
        fail_invalid(w, "an external term that the VM refuses");
    else
        push(w, term, encoded->len / sizeof term);
    if (bytes != small) bl_free(bytes);
}

/* ---- containers: everything happens at the end, when all terms are on the stack ------ */

static void write_begin(struct bl_writer *base, enum bl_term_type type, size_t count)
{
    const size_t most = type == BL_TERM_TUPLE ? TUPLE_MOST : UINT32_MAX;
    if (count <= most) return;
    struct bl_error err;
    bl_fail_limit(&err, "elements", most, count);
    bl_writer_fail(base, &err);
}

/* Keys and values alternate in `pairs`. */
static bool map_at_once(ErlNifEnv *env, const ERL_NIF_TERM *pairs, size_t count, ERL_NIF_TERM *map)
{
    ERL_NIF_TERM keys[BL_NIF_MAP_PAIRS_AT_ONCE], values[BL_NIF_MAP_PAIRS_AT_ONCE];
    for (size_t i = 0; i < count; i++) {
        keys[i] = pairs[2 * i];
        values[i] = pairs[2 * i + 1];
    }
    return enif_make_map_from_arrays(env, keys, values, count, map);
}

static bool map_by_key(ErlNifEnv *env, const ERL_NIF_TERM *pairs, size_t count, ERL_NIF_TERM *map)
{
    size_t size = 0;
    *map = enif_make_new_map(env);
    for (size_t i = 0; i < count; i++)
        if (!enif_make_map_put(env, *map, pairs[2 * i], pairs[2 * i + 1], map)) return false;
    return enif_get_map_size(env, *map, &size) && size == count;
}

static void end_map(struct bl_nif_writer *w, size_t count)
{
    ERL_NIF_TERM map = 0;
    const ERL_NIF_TERM *pairs = w->terms + w->count - 2 * count;
    const bool large = count > BL_NIF_MAP_PAIRS_AT_ONCE;
    if (large ? !map_by_key(w->env, pairs, count, &map) : !map_at_once(w->env, pairs, count, &map)) {
        fail_invalid(w, "a key stands in a map twice");
        return;
    }
    w->untidy = w->untidy || large;
    w->count -= 2 * count;
    push(w, map, 3 + 3 * count);
}

/* One that equals the last one made is the last one: of many results many are {ok, ok}. They are charged as if each stood
 * alone, so that a limit means the same whatever they are. */
static ERL_NIF_TERM make_pair(struct bl_nif_writer *w, ERL_NIF_TERM first, ERL_NIF_TERM second)
{
    if (w->pair.term == 0 || w->pair.first != first || w->pair.second != second) {
        w->pair.first = first;
        w->pair.second = second;
        w->pair.term = enif_make_tuple2(w->env, first, second);
    }
    return w->pair.term;
}

static void end_tuple(struct bl_nif_writer *w, size_t count)
{
    const ERL_NIF_TERM *terms = w->terms + w->count - count;
    const ERL_NIF_TERM term =
        count == 2 ? make_pair(w, terms[0], terms[1]) : enif_make_tuple_from_array(w->env, terms, (unsigned)count);
    w->count -= count;
    push(w, term, 1 + count);
}

static void end_list(struct bl_nif_writer *w, size_t count)
{
    const ERL_NIF_TERM list = enif_make_list_from_array(w->env, w->terms + w->count - count, (unsigned)count);
    w->count -= count;
    push(w, list, 2 * count);
}

static void write_end(struct bl_writer *base, enum bl_term_type type, size_t count)
{
    if (type == BL_TERM_MAP)
        end_map(self(base), count);
    else if (type == BL_TERM_TUPLE)
        end_tuple(self(base), count);
    else
        end_list(self(base), count);
}

static size_t mark(const struct bl_writer *base) { return ((const struct bl_nif_writer *)base)->count; }

static void rewind_to(struct bl_writer *base, size_t count)
{
    self(base)->count = count;
    self(base)->untidy = true;
}

static const struct bl_writer_ops nif_ops = {
    .atom = write_atom,
    .integer = write_integer,
    .uinteger = write_uinteger,
    .real = write_real,
    .binary = write_binary,
    .span = write_span,
    .raw = write_raw,
    .begin = write_begin,
    .end = write_end,
    .mark = mark,
    .rewind = rewind_to,
};

/* ---- the surface --------------------------------------------------------------------- */

void bl_nif_writer_init(struct bl_nif_writer *w, ErlNifEnv *env, struct bl_quota *quota)
{
    bl_writer_init(&w->base, &nif_ops);
    w->quota = quota;
    w->env = env;
    w->terms = w->small;
    w->count = 0;
    w->capacity = sizeof w->small / sizeof w->small[0];
    w->charged = w->owed = 0;
    w->untidy = false;
    w->pair.term = 0;
    w->new_atoms = NULL;
    w->known = atoms_known;
}

void bl_nif_writer_clear(struct bl_nif_writer *w)
{
    if (w->charged > 0) bl_quota_release(w->quota, w->charged);
    if (w->terms != w->small) bl_free(w->terms);
    w->charged = 0;
    w->terms = w->small;
}

ERL_NIF_TERM bl_nif_writer_term(const struct bl_nif_writer *w) { return w->terms[0]; }

/* ---- reading ---------------------------------------------------------------------------- */

struct small {
    ErlNifEnv *env;
    struct bl_writer *w;
    int nodes; /* terms still allowed; bounds the depth too */
};

static bool copy_small(struct small *s, ERL_NIF_TERM term);

static bool copy_atom(struct small *s, ERL_NIF_TERM term)
{
    char name[256];
    const int bytes = enif_get_atom(s->env, term, name, sizeof name, ERL_NIF_LATIN1);
    for (int i = 0; i < bytes - 1; i++)
        if ((unsigned char)name[i] > 127 || name[i] == '\0') return false; /* the writer wants UTF-8 that ends with NUL */
    if (bytes > 0) bl_write_atom(s->w, name);
    return bytes > 0;
}

static bool copy_integer(struct small *s, ERL_NIF_TERM term)
{
    ErlNifSInt64 i;
    if (!enif_get_int64(s->env, term, &i)) return false;
    bl_write_int(s->w, i);
    return true;
}

static bool copy_float(struct small *s, ERL_NIF_TERM term)
{
    double d;
    if (!enif_get_double(s->env, term, &d)) return false;
    bl_write_float(s->w, d);
    return true;
}

static bool copy_binary(struct small *s, ERL_NIF_TERM term)
{
    ErlNifBinary b;
    if (!enif_inspect_binary(s->env, term, &b) || b.size > BL_NIF_SMALL_BINARY) return false;
    bl_write_binary(s->w, b.data, b.size);
    return true;
}

static bool copy_tuple(struct small *s, ERL_NIF_TERM tuple)
{
    const ERL_NIF_TERM *element;
    int arity;
    if (!enif_get_tuple(s->env, tuple, &arity, &element)) return false;
    bl_write_tuple(s->w, (size_t)arity);
    for (int i = 0; i < arity; i++)
        if (!copy_small(s, element[i])) return false;
    bl_write_end(s->w);
    return true;
}

/* The length of a short proper list; -1: it is none. Does not walk over a long one. */
static int short_length(struct small *s, ERL_NIF_TERM list)
{
    ERL_NIF_TERM head;
    int n = 0;
    while (n <= s->nodes && enif_get_list_cell(s->env, list, &head, &list)) n++;
    return enif_is_empty_list(s->env, list) ? n : -1;
}

static bool copy_list(struct small *s, ERL_NIF_TERM list)
{
    ERL_NIF_TERM head;
    const int length = enif_is_empty_list(s->env, list) ? 0 : short_length(s, list);
    if (length < 0) return false;
    bl_write_list(s->w, (size_t)length);
    for (int i = 0; i < length && enif_get_list_cell(s->env, list, &head, &list); i++)
        if (!copy_small(s, head)) return false;
    bl_write_end(s->w);
    return true;
}

static bool copy_map(struct small *s, ERL_NIF_TERM map)
{
    ErlNifMapIterator it;
    ERL_NIF_TERM key, value;
    size_t pairs;
    if (!enif_get_map_size(s->env, map, &pairs) || pairs > BL_NIF_SMALL_NODES) return false;
    if (!enif_map_iterator_create(s->env, map, &it, ERL_NIF_MAP_ITERATOR_FIRST)) return false;
    bl_write_map(s->w, pairs);
    bool small = true;
    for (; small && enif_map_iterator_get_pair(s->env, &it, &key, &value); enif_map_iterator_next(s->env, &it))
        small = copy_small(s, key) && copy_small(s, value);
    enif_map_iterator_destroy(s->env, &it);
    if (small) bl_write_end(s->w);
    return small;
}

static bool copy_small(struct small *s, ERL_NIF_TERM term)
{
    if (--s->nodes < 0) return false;
    switch (enif_term_type(s->env, term)) {
    case ERL_NIF_TERM_TYPE_ATOM: return copy_atom(s, term);
    case ERL_NIF_TERM_TYPE_INTEGER: return copy_integer(s, term);
    case ERL_NIF_TERM_TYPE_FLOAT: return copy_float(s, term);
    case ERL_NIF_TERM_TYPE_BITSTRING: return copy_binary(s, term);
    case ERL_NIF_TERM_TYPE_TUPLE: return copy_tuple(s, term);
    case ERL_NIF_TERM_TYPE_LIST: return copy_list(s, term);
    case ERL_NIF_TERM_TYPE_MAP: return copy_map(s, term);
    default: return false;
    }
}

bool bl_nif_write_small(ErlNifEnv *env, ERL_NIF_TERM term, struct bl_writer *w)
{
    struct small s = {.env = env, .w = w, .nodes = BL_NIF_SMALL_NODES};
    return copy_small(&s, term) && bl_writer_done(w);
}
