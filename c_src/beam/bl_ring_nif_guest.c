/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the parts ring and wasm meet: a module becomes handlers of a device.
 */
#include "bl_ring_nif.h"
#include "bl_wasm_handler.h"

static enum bl_status add(struct bl_device *d, struct bl_wasm_module *m, uint64_t memory_bytes, size_t *added, struct bl_error *err)
{
    struct bl_ring_guest_handler *list[BL_WASM_HANDLERS_MOST];
    enum bl_status status = bl_wasm_handlers_read(m, memory_bytes, list, added, err);
    if (status != BL_OK) return status;
    status = bl_handlers_add_guests(&d->handlers, list, *added, err);
    for (size_t i = 0; i < *added && status != BL_OK; i++) list[i]->class->free(list[i]);
    return status;
}

ERL_NIF_TERM ring_load_guest(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    (void)argc;
    struct handle *h;
    ErlNifUInt64 id, memory_bytes;
    struct bl_error err;
    size_t added = 0;
    if (ring_handle_get(env, argv[0], FAR_DEVICE_HANDLE, &h)) {
        bl_fail_unsupported(&err, "wasm");
        return ring_error(env, &err);
    }
    if (!ring_handle_get(env, argv[0], DEVICE_HANDLE, &h) || !enif_get_uint64(env, argv[1], &id) ||
        !enif_get_uint64(env, argv[2], &memory_bytes))
        return enif_make_badarg(env);
    struct bl_device *d = ring_handle_enter(h);
    struct bl_wasm_module *m = d ? bl_wasm_module_find(id) : NULL;
    enum bl_status status = d && m ? BL_OK : bl_fail(&err, BL_CLOSED);
    if (status == BL_OK) status = add(d, m, memory_bytes, &added, &err);
    if (m) bl_wasm_module_unref(m);
    if (d) ring_handle_leave(h);
    return status == BL_OK ? enif_make_tuple2(env, enif_make_atom(env, "ok"), enif_make_uint64(env, added)) : ring_error(env, &err);
}
