/* SPDX-License-Identifier: Apache-2.0
 *
 * Erlang terms and the values of a guest. What the terms are stands in beamline_wasm.erl.
 */
#include <math.h>

#include "bl_wasm_nif.h"

/* ---- numbers ------------------------------------------------------------------------------------------ */

static bool get_i32(ErlNifEnv *env, ERL_NIF_TERM term, wasmtime_val_raw_t *value)
{
    ErlNifSInt64 n;
    if (!enif_get_int64(env, term, &n) || n < INT32_MIN || n > UINT32_MAX) return false;
    value->i64 = 0;
    value->i32 = (int32_t)(uint32_t)n;
    return true;
}

/* {f32, Bits} or {f64, Bits} */
static bool get_bits(ErlNifEnv *env, ERL_NIF_TERM term, ERL_NIF_TERM tag, uint64_t most, uint64_t *bits)
{
    const ERL_NIF_TERM *e;
    int arity;
    ErlNifUInt64 n;
    if (!enif_get_tuple(env, term, &arity, &e) || arity != 2 || e[0] != tag || !enif_get_uint64(env, e[1], &n) || n > most) return false;
    *bits = n;
    return true;
}

static bool get_f64(ErlNifEnv *env, ERL_NIF_TERM term, wasmtime_val_raw_t *value)
{
    double d;
    if (enif_get_double(env, term, &d))
        memcpy(&value->f64_bits, &d, sizeof d);
    else if (term == am.nan_)
        value->f64_bits = UINT64_C(0x7ff8000000000000);
    else if (term == am.infinity_)
        value->f64_bits = UINT64_C(0x7ff0000000000000);
    else if (term == am.neg_infinity_)
        value->f64_bits = UINT64_C(0xfff0000000000000);
    else
        return get_bits(env, term, am.f64_, UINT64_MAX, &value->f64_bits);
    return true;
}

static bool get_f32(ErlNifEnv *env, ERL_NIF_TERM term, wasmtime_val_raw_t *value)
{
    double d;
    uint64_t bits;
    value->f64_bits = 0;
    if (enif_get_double(env, term, &d)) {
        const float f = (float)d;
        if (isinf(f)) return false; /* too large for 32 bits */
        memcpy(&value->f32_bits, &f, sizeof f);
    } else if (term == am.nan_)
        value->f32_bits = 0x7fc00000u;
    else if (term == am.infinity_)
        value->f32_bits = 0x7f800000u;
    else if (term == am.neg_infinity_)
        value->f32_bits = 0xff800000u;
    else if (get_bits(env, term, am.f32_, UINT32_MAX, &bits))
        value->f32_bits = (uint32_t)bits;
    else
        return false;
    return true;
}

static bool get_v128(ErlNifEnv *env, ERL_NIF_TERM term, wasmtime_val_raw_t *value)
{
    ErlNifBinary binary;
    if (!enif_inspect_binary(env, term, &binary) || binary.size != 16) return false;
    memcpy(value->v128, binary.data, 16);
    return true;
}

static ERL_NIF_TERM make_float(ErlNifEnv *env, double d)
{
    if (isfinite(d)) return enif_make_double(env, d);
    return isnan(d) ? am.nan_ : d > 0 ? am.infinity_ : am.neg_infinity_;
}

static ERL_NIF_TERM make_f32(ErlNifEnv *env, uint32_t bits, unsigned flags)
{
    float f;
    if (flags & WASM_FLOATS_AS_BITS) return wasm_pair(env, am.f32_, enif_make_uint(env, bits));
    memcpy(&f, &bits, sizeof f);
    return make_float(env, (double)f);
}

static ERL_NIF_TERM make_f64(ErlNifEnv *env, uint64_t bits, unsigned flags)
{
    double d;
    if (flags & WASM_FLOATS_AS_BITS) return wasm_pair(env, am.f64_, enif_make_uint64(env, bits));
    memcpy(&d, &bits, sizeof d);
    return make_float(env, d);
}

/* ---- references ----------------------------------------------------------------------------------------- */

/* A term that a guest holds as externref. Its collector gives it back (bl_wasm_box_drop). */
struct term_box {
    struct bl_wasm_box box;
    ErlNifEnv *env;
    ERL_NIF_TERM term;
};

static void free_box(struct term_box *box)
{
    enif_free_env(box->env);
    bl_free(box);
}

void wasm_free_boxes(struct bl_wasm_box *first)
{
    while (first) {
        struct bl_wasm_box *next = first->next;
        free_box((struct term_box *)first);
        first = next;
    }
}

/* A reference on its way into a guest. As a number (to_raw) it is gone with the next collection, until the guest has it, and every
 * term that is boxed may begin one: so all of a list are rooted before the first becomes a number. */
struct root {
    uint8_t kind; /* WASMTIME_EXTERNREF, WASMTIME_ANYREF: whose functions it takes; 0: null */
    bool own;     /* else it is a handle's, whose term the caller holds */
    wasmtime_ref_t ref;
};

static uint32_t root_raw(wasmtime_context_t *context, const struct root *root)
{
    if (root->kind == 0) return 0;
    return root->kind == WASMTIME_EXTERNREF ? wt.wasmtime_externref_to_raw(context, &root->ref)
                                            : wt.wasmtime_anyref_to_raw(context, &root->ref);
}

static void root_drop(struct root *root)
{
    if (!root->own) return;
    if (root->kind == WASMTIME_EXTERNREF)
        wt.wasmtime_externref_unroot(&root->ref);
    else
        wt.wasmtime_anyref_unroot(&root->ref);
}

static bool box_term(struct wasm_guest *guest, ERL_NIF_TERM term, struct root *root)
{
    struct term_box *box = bl_alloc(NULL, sizeof *box, NULL);
    guest->no_room = true;
    if (!box) return false;
    box->env = enif_alloc_env();
    box->term = enif_make_copy(box->env, term);
    if (!bl_wasm_box_new(guest->core, &box->box, &root->ref)) return false;
    guest->no_room = false;
    root->kind = WASMTIME_EXTERNREF;
    return root->own = true;
}

static bool get_function(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, ERL_NIF_TERM term,
    wasmtime_val_raw_t *value)
{
    struct wasm_reference *r = wasm_get_reference(env, term);
    if (!r || r->guest != guest || r->kind != WASMTIME_FUNCREF || type->heap != BL_HEAP_FUNC) return false;
    value->func = wt.wasmtime_func_to_raw(guest->core->context, &r->function.handle);
    return true;
}

static bool get_extern(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, ERL_NIF_TERM term, struct root *root)
{
    struct wasm_reference *r = wasm_get_reference(env, term);
    if (type->heap != BL_HEAP_EXTERN) return false;
    if (!r || r->kind != WASMTIME_EXTERNREF || r->guest != guest) return box_term(guest, term, root);
    *root = (struct root){.kind = WASMTIME_EXTERNREF, .ref = r->root};
    return true;
}

static bool is_of_heap(wasmtime_context_t *context, const wasmtime_ref_t *root, uint8_t heap)
{
    switch (heap) {
        case BL_HEAP_ANY: return true;
        case BL_HEAP_EQ: return wt.wasmtime_anyref_is_struct(context, root) || wt.wasmtime_anyref_is_array(context, root);
        case BL_HEAP_STRUCT: return wt.wasmtime_anyref_is_struct(context, root);
        case BL_HEAP_ARRAY: return wt.wasmtime_anyref_is_array(context, root);
        default: return false; /* of a type of the module: nobody would check it */
    }
}

/* A handle, {i31, Integer}, or {host, Term}. */
static bool get_any(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, ERL_NIF_TERM term, struct root *root)
{
    wasmtime_context_t *context = guest->core->context;
    const ERL_NIF_TERM *e;
    int arity;
    ErlNifSInt64 n;
    struct wasm_reference *r = wasm_get_reference(env, term);
    if (r) {
        if (r->guest != guest || r->kind != WASMTIME_ANYREF || !is_of_heap(context, &r->root, type->heap)) return false;
        *root = (struct root){.kind = WASMTIME_ANYREF, .ref = r->root};
        return true;
    }
    if (!enif_get_tuple(env, term, &arity, &e) || arity != 2) return false;
    if (e[0] == am.host_ && type->heap == BL_HEAP_ANY) return box_term(guest, e[1], root);
    if (e[0] != am.i31_ || !enif_get_int64(env, e[1], &n) || n < -(1 << 30) || n > INT32_MAX) return false;
    if (type->heap != BL_HEAP_ANY && type->heap != BL_HEAP_EQ && type->heap != BL_HEAP_I31) return false;
    wt.wasmtime_anyref_from_i31(context, (uint32_t)n & 0x7fffffffu, &root->ref);
    root->kind = WASMTIME_ANYREF;
    return root->own = true;
}

/* What the guest's collector looks after. */
static bool is_collected(const struct bl_wasm_type *type) { return type->kind > WASMTIME_V128 && type->kind != WASMTIME_FUNCREF; }

static bool get_root(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, ERL_NIF_TERM term, struct root *root)
{
    memset(root, 0, sizeof *root);
    if (term == am.null_) return type->nullable;
    if (type->kind == WASMTIME_EXTERNREF) return get_extern(env, guest, type, term, root);
    return type->kind == WASMTIME_ANYREF && get_any(env, guest, type, term, root);
}

static bool get_reference(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, ERL_NIF_TERM term,
    wasmtime_val_raw_t *value)
{
    struct root root;
    memset(value, 0, sizeof *value);
    if (!is_collected(type)) return term == am.null_ ? type->nullable : get_function(env, guest, type, term, value);
    if (!get_root(env, guest, type, term, &root)) return false;
    value->ref = root_raw(guest->core->context, &root);
    root_drop(&root);
    return true;
}

static ERL_NIF_TERM make_handle(ErlNifEnv *env, struct wasm_guest *guest, uint8_t kind, const struct wasm_reference *from)
{
    struct wasm_reference *r = enif_alloc_resource(wasm_references, sizeof *r);
    if (!r) return am.undefined_;
    *r = *from;
    r->guest = guest;
    r->kind = kind;
    enif_keep_resource(guest);
    const ERL_NIF_TERM term = enif_make_resource(env, r);
    enif_release_resource(r);
    return term;
}

static ERL_NIF_TERM make_function(ErlNifEnv *env, struct wasm_guest *guest, void *raw)
{
    struct wasm_reference r = {0};
    wt.wasmtime_func_from_raw(guest->core->context, raw, &r.function.handle);
    r.function.signature = bl_wasm_guest_signature(guest->core, &r.function.handle);
    return r.function.signature ? make_handle(env, guest, WASMTIME_FUNCREF, &r) : am.undefined_;
}

static ERL_NIF_TERM make_extern(ErlNifEnv *env, struct wasm_guest *guest, uint32_t raw)
{
    struct wasm_reference r = {0};
    wt.wasmtime_externref_from_raw(guest->core->context, raw, &r.root);
    struct term_box *box = wt.wasmtime_externref_data(guest->core->context, &r.root);
    if (!box) return make_handle(env, guest, WASMTIME_EXTERNREF, &r); /* something of the guest's own */
    const ERL_NIF_TERM term = enif_make_copy(env, box->term);
    wt.wasmtime_externref_unroot(&r.root);
    return term;
}

static ERL_NIF_TERM make_any(ErlNifEnv *env, struct wasm_guest *guest, uint32_t raw)
{
    wasmtime_context_t *context = guest->core->context;
    struct wasm_reference r = {0};
    int32_t n = 0;
    wt.wasmtime_anyref_from_raw(context, raw, &r.root);
    if (wt.wasmtime_anyref_i31_get_s(context, &r.root, &n)) { /* version 50 says of all references that they are i31 */
        wt.wasmtime_anyref_unroot(&r.root);
        return wasm_pair(env, am.i31_, enif_make_int(env, n));
    }
    if (wt.wasmtime_anyref_is_struct(context, &r.root) || wt.wasmtime_anyref_is_array(context, &r.root))
        return make_handle(env, guest, WASMTIME_ANYREF, &r);
    wt.wasmtime_anyref_unroot(&r.root);
    return wasm_pair(env, am.host_, make_extern(env, guest, raw)); /* any.convert_extern changes nothing in it */
}

static ERL_NIF_TERM make_reference(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type,
    const wasmtime_val_raw_t *value)
{
    const struct wasm_reference none = {0};
    if (type->kind == WASMTIME_FUNCREF) return value->func ? make_function(env, guest, value->func) : am.null_;
    if (value->ref == 0) return am.null_;
    if (type->kind == WASMTIME_EXTERNREF) return make_extern(env, guest, value->ref);
    if (type->kind == WASMTIME_ANYREF) return make_any(env, guest, value->ref);
    return make_handle(env, guest, WASMTIME_EXNREF, &none); /* says only that it is one */
}

/* ---- values ----------------------------------------------------------------------------------------------- */

bool wasm_get_value(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, ERL_NIF_TERM term, wasmtime_val_raw_t *value)
{
    switch (type->kind) {
        case WASMTIME_I32: return get_i32(env, term, value);
        case WASMTIME_I64: return wasm_get_int(env, term, &value->i64);
        case WASMTIME_F32: return get_f32(env, term, value);
        case WASMTIME_F64: return get_f64(env, term, value);
        case WASMTIME_V128: return get_v128(env, term, value);
        default: return get_reference(env, guest, type, term, value);
    }
}

ERL_NIF_TERM wasm_make_value(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, const wasmtime_val_raw_t *value,
                             unsigned flags)
{
    switch (type->kind) {
        case WASMTIME_I32: return enif_make_int(env, value->i32);
        case WASMTIME_I64: return enif_make_int64(env, value->i64);
        case WASMTIME_F32: return make_f32(env, value->f32_bits, flags);
        case WASMTIME_F64: return make_f64(env, value->f64_bits, flags);
        case WASMTIME_V128: return wasm_text(env, (const char *)value->v128, 16);
        default: return make_reference(env, guest, type, value);
    }
}

/* The values from `from` on, of a list that holds references. */
static size_t get_rooted_values(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *types, size_t from, size_t count,
                                ERL_NIF_TERM list, wasmtime_val_raw_t *values)
{
    enum { FEW = 8 };
    struct root few[FEW], *roots = count - from <= FEW ? few : enif_alloc((count - from) * sizeof *roots);
    ERL_NIF_TERM head;
    size_t bad = 0, i = from;
    for (; i < count && bad == 0; i++) {
        struct root *root = &roots[i - from];
        root->own = false;
        memset(&values[i], 0, sizeof values[i]);
        if (!enif_get_list_cell(env, list, &head, &list) ||
            !(is_collected(&types[i]) ? get_root(env, guest, &types[i], head, root)
                                      : wasm_get_value(env, guest, &types[i], head, &values[i])))
            bad = i + 1;
    }
    if (bad == 0 && !enif_is_empty_list(env, list)) bad = count + 1;
    for (size_t j = from; j < i; j++) {
        if (bad == 0 && is_collected(&types[j])) values[j].ref = root_raw(guest->core->context, &roots[j - from]);
        root_drop(&roots[j - from]);
    }
    if (roots != few) enif_free(roots);
    return bad;
}

size_t wasm_get_values(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *types, size_t count, ERL_NIF_TERM list,
                       wasmtime_val_raw_t *values)
{
    ERL_NIF_TERM head, tail;
    for (size_t i = 0; i < count; i++, list = tail) {
        if (is_collected(&types[i])) return get_rooted_values(env, guest, types, i, count, list, values);
        if (!enif_get_list_cell(env, list, &head, &tail) || !wasm_get_value(env, guest, &types[i], head, &values[i])) return i + 1;
    }
    return enif_is_empty_list(env, list) ? 0 : count + 1;
}

ERL_NIF_TERM wasm_make_values(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *types, size_t count,
                              const wasmtime_val_raw_t *values, unsigned flags)
{
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (size_t i = count; i > 0; i--)
        list = enif_make_list_cell(env, wasm_make_value(env, guest, &types[i - 1], &values[i - 1], flags), list);
    return list;
}

ERL_NIF_TERM wasm_bad_value(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *types, size_t count, size_t position)
{
    if (guest->no_room) return guest->no_room = false, am.no_memory_;
    const ERL_NIF_TERM expected = position <= count ? wasm_type_term(env, &types[position - 1]) : am.none_;
    return enif_make_tuple3(env, am.badarg_, enif_make_uint64(env, position), expected);
}

/* Of a type of the module, too: whoever holds it checks that. */
static bool get_held_function(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, ERL_NIF_TERM term,
                              wasmtime_val_t *value)
{
    if (term == am.null_) return type->nullable;
    struct wasm_reference *r = wasm_get_reference(env, term);
    if (!r || r->guest != guest || r->kind != WASMTIME_FUNCREF || type->heap == BL_HEAP_NOFUNC) return false;
    value->of.func = r->function.handle;
    return true;
}

bool wasm_get_held(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, ERL_NIF_TERM term, wasmtime_val_t *value)
{
    wasmtime_val_raw_t raw;
    wasmtime_context_t *context = guest->core->context;
    memset(value, 0, sizeof *value);
    value->kind = type->kind;
    if (type->kind == WASMTIME_FUNCREF) return get_held_function(env, guest, type, term, value);
    if (!wasm_get_value(env, guest, type, term, &raw)) return false;
    if (type->kind <= WASMTIME_V128)
        memcpy(&value->of, &raw, sizeof raw);
    else if (type->kind == WASMTIME_EXTERNREF && raw.ref)
        wt.wasmtime_externref_from_raw(context, raw.ref, &value->of.ref);
    else if (type->kind == WASMTIME_ANYREF && raw.ref)
        wt.wasmtime_anyref_from_raw(context, raw.ref, &value->of.ref);
    return true;
}

ERL_NIF_TERM wasm_make_held(ErlNifEnv *env, struct wasm_guest *guest, const struct bl_wasm_type *type, const wasmtime_val_t *value,
                            unsigned flags)
{
    wasmtime_val_raw_t raw;
    wasmtime_context_t *context = guest->core->context;
    const bool null = value->of.ref.store_id == 0;
    memset(&raw, 0, sizeof raw);
    if (type->kind <= WASMTIME_V128)
        memcpy(&raw, &value->of, sizeof raw);
    else if (type->kind == WASMTIME_FUNCREF && !null)
        raw.func = wt.wasmtime_func_to_raw(context, &value->of.func);
    else if (type->kind == WASMTIME_EXTERNREF && !null)
        raw.ref = wt.wasmtime_externref_to_raw(context, &value->of.ref);
    else if (type->kind == WASMTIME_ANYREF && !null)
        raw.ref = wt.wasmtime_anyref_to_raw(context, &value->of.ref);
    else if (type->kind == WASMTIME_EXNREF && !null)
        raw.ref = 1;
    return wasm_make_value(env, guest, type, &raw, flags);
}

/* ---- types -------------------------------------------------------------------------------------------------- */

ERL_NIF_TERM wasm_type_term(ErlNifEnv *env, const struct bl_wasm_type *type)
{
    const ERL_NIF_TERM numbers[] = {am.i32_, am.i64_, am.f32_, am.f64_, am.v128_};
    const ERL_NIF_TERM heaps[] = {am.func_, am.nofunc_, am.extern_, am.noextern_, am.any_, am.eq_, am.i31_, am.struct_, am.array_,
                                  am.none_, am.exn_,    am.noexn_};
    if (type->kind <= WASMTIME_V128) return numbers[type->kind];
    if (type->nullable && type->heap == BL_HEAP_FUNC) return am.funcref_;
    if (type->nullable && type->heap == BL_HEAP_EXTERN) return am.externref_;
    const ERL_NIF_TERM heap =
        type->heap == BL_HEAP_CONCRETE ? wasm_pair(env, am.type_, enif_make_uint(env, type->index)) : heaps[type->heap];
    return enif_make_tuple3(env, am.ref_, type->nullable ? am.null_ : am.none_, heap);
}

static ERL_NIF_TERM type_list(ErlNifEnv *env, const struct bl_wasm_type *types, size_t count)
{
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (size_t i = count; i > 0; i--) list = enif_make_list_cell(env, wasm_type_term(env, &types[i - 1]), list);
    return list;
}

ERL_NIF_TERM wasm_signature_term(ErlNifEnv *env, const struct bl_wasm_signature *s)
{
    return enif_make_tuple3(env, am.func_, type_list(env, s->types, s->params), type_list(env, s->types + s->params, s->results));
}
