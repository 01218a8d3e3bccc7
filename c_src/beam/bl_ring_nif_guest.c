/* SPDX-License-Identifier: Apache-2.0
 *
 * Handlers of a device that are guests.
 */
#include <string.h>

#include "bl_ring_module.h"
#include "bl_ring_nif.h"

ERL_NIF_TERM ring_load_guest(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    ErlNifUInt64 id, memory_bytes;
    struct bl_error err;
    size_t added = 0;
    if (!ring_handle_get(env, argv[0], DEVICE_HANDLE, &h) || !enif_get_uint64(env, argv[1], &id) ||
        !enif_get_uint64(env, argv[2], &memory_bytes))
        return enif_make_badarg(env);
    struct bl_device *d = ring_handle_enter(h);
    struct bl_wasm_module *m = d ? bl_wasm_module_find(id) : NULL;
    enum bl_status status = d && m ? BL_OK : bl_fail(&err, BL_CLOSED);
    if (status == BL_OK) status = bl_ring_module_add(&d->handlers, m, memory_bytes, &added, &err);
    if (m) bl_wasm_module_unref(m);
    if (d) ring_handle_leave(h);
    return status == BL_OK ? enif_make_tuple2(env, enif_make_atom(env, "ok"), enif_make_uint64(env, added)) : ring_error(env, &err);
}

/* {Library, AnyVersion, Preset, Off, StackKiB, MaxBytes, MaxImports} */
static bool get_recipe(ErlNifEnv *env, ERL_NIF_TERM term, struct bl_ring_module *out)
{
    const ERL_NIF_TERM *e;
    int arity;
    ErlNifBinary library;
    ErlNifUInt64 bytes_most, imports_most;
    if (!enif_get_tuple(env, term, &arity, &e) || arity != 7 || !enif_inspect_binary(env, e[0], &library) ||
        library.size >= sizeof out->library || !enif_get_uint(env, e[2], &out->preset) || !enif_get_uint(env, e[3], &out->off) ||
        !enif_get_uint(env, e[4], &out->stack_kib) || !enif_get_uint64(env, e[5], &bytes_most) ||
        !enif_get_uint64(env, e[6], &imports_most))
        return false;
    memcpy(out->library, library.data, library.size);
    out->any_version = enif_is_identical(e[1], enif_make_atom(env, "true")) != 0;
    out->bytes_most = bytes_most;
    out->imports_most = imports_most;
    return true;
}

static enum bl_status load_far(ErlNifEnv *env, struct bl_far *d, const struct bl_ring_module *how, const ErlNifBinary *bytes,
                               ERL_NIF_TERM ref, uint64_t *id, struct bl_error *err)
{
    if (bytes->size > how->bytes_most) return bl_fail_limit(err, "module_bytes", how->bytes_most, bytes->size);
    struct bl_far_load *load = bl_far_load_new(d, BL_FAR_LOAD_GUESTS, sizeof *how + bytes->size, err);
    if (!load) return err->status;
    memcpy(load->bytes, how, sizeof *how);
    if (bytes->size > 0) memcpy(load->bytes + sizeof *how, bytes->data, bytes->size);
    *id = ring_request_new(env, COUNT_REQUEST, ref, err);
    if (*id == 0) {
        bl_far_load_unref(load);
        return err->status;
    }
    const enum bl_status status = bl_far_load(d, load, *id, err);
    if (status != BL_OK) ring_request_drop(*id);
    return status;
}

ERL_NIF_TERM ring_far_load_guest(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    ErlNifBinary bytes;
    ErlNifUInt64 memory_bytes;
    struct bl_error err;
    struct bl_ring_module how = {.off = 0};
    uint64_t id = 0;
    if (!ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h) || !enif_inspect_binary(env, argv[1], &bytes) ||
        !get_recipe(env, argv[2], &how) || !enif_get_uint64(env, argv[3], &memory_bytes) || !enif_is_ref(env, argv[4]))
        return enif_make_badarg(env);
    how.memory_bytes = memory_bytes;
    struct bl_far *d = ring_handle_enter(h);
    const enum bl_status status = d ? load_far(env, d, &how, &bytes, argv[4], &id, &err) : bl_fail(&err, BL_CLOSED);
    if (d) ring_handle_leave(h);
    return status == BL_OK ? enif_make_uint64(env, id) : ring_error(env, &err);
}
