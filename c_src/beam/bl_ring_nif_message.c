/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes up to BL_RING_INLINE travel in the slot. Up to COPIED_BYTES they are copied into a block; above, the binary is kept
 * by reference in an environment of its own, which costs the same for any size, and counts with the device's memory.
 */
#include "bl_ring_nif.h"

#include <string.h>

enum { COPIED_BYTES = 512, NAME_BYTES = 64 };

/* ---- bodies ---- */

static struct body *new_body(struct bl_quota *quota, size_t room, struct bl_error *err)
{
    struct body *b = bl_alloc(quota, sizeof *b + room, err);
    if (!b) return NULL;
    b->env = NULL;
    b->size = 0;
    b->quota = quota;
    return b;
}

/* With an environment, charged with so many bytes. */
static struct body *new_env_body(struct bl_quota *quota, uint64_t size, struct bl_error *err)
{
    struct body *b = new_body(quota, 0, err);
    if (!b) return NULL;
    if (bl_quota_charge(b->quota, size, err) != BL_OK) {
        bl_free(b);
        return NULL;
    }
    b->size = size;
    b->env = enif_alloc_env();
    return b;
}

void ring_body_free(void *owner)
{
    struct body *b = owner;
    if (b->env) {
        enif_free_env(b->env);
        bl_quota_release(b->quota, b->size);
    }
    bl_free(b);
}

/* For a handler's reply: it becomes the binary that the caller gets. */
uint8_t *ring_body_new(struct bl_quota *quota, uint64_t size, void **owner, struct bl_error *err)
{
    struct body *b = new_env_body(quota, size, err);
    if (!b) return NULL;
    unsigned char *data = enif_make_new_binary(b->env, (size_t)size, &b->term);
    *owner = b;
    return data;
}

static enum bl_status read_binary(ErlNifEnv *env, struct bl_quota *quota, ERL_NIF_TERM term, struct bl_slot *slot, bool *badarg,
                                  struct bl_error *err)
{
    ErlNifBinary bin;
    if (!enif_inspect_binary(env, term, &bin)) {
        *badarg = true;
        return BL_INVALID;
    }
    if (bin.size <= BL_RING_INLINE) {
        slot->size = (uint16_t)bin.size;
        memcpy(slot->payload.bytes, bin.data, bin.size);
        return BL_OK;
    }
    const bool copied = bin.size <= COPIED_BYTES;
    struct body *b = copied ? new_body(quota, bin.size, err) : new_env_body(quota, bin.size, err);
    if (!b) return err->status;
    if (copied) {
        memcpy(b->bytes, bin.data, bin.size);
        slot->payload.body.data = b->bytes;
    } else {
        b->term = enif_make_copy(b->env, term);
        enif_inspect_binary(b->env, b->term, &bin);
        slot->payload.body.data = bin.data;
    }
    slot->payload.body.size = bin.size;
    slot->payload.body.owner = b;
    slot->flags |= BL_MESSAGE_BODY;
    return BL_OK;
}

/* ---- buffers ---- */

static enum bl_status read_buffers(ErlNifEnv *env, const struct reading *how, ERL_NIF_TERM list, struct bl_slot *slot, bool *badarg,
                                   struct bl_error *err)
{
    const uint32_t writes = how->handler->writes;
    enum bl_status status = BL_OK;
    ERL_NIF_TERM head;
    slot->flags |= BL_MESSAGE_BUFFERS;
    while (status == BL_OK && enif_get_list_cell(env, list, &head, &list)) {
        struct handle *h;
        if (slot->size == BL_RING_BUFFERS || !ring_handle_get(env, head, BUFFER_HANDLE, &h)) {
            *badarg = true;
            return BL_INVALID;
        }
        struct bl_ring_buffer *b = ring_handle_enter(h);
        if (!b) return bl_fail(err, BL_CLOSED);
        const bool write = writes >> slot->size & 1;
        const bool own = b->device == how->device && b->far == how->far;
        status = own ? bl_ring_buffer_use(b, write, err) : bl_fail_invalid(err, "buffer", "of another device");
        if (status == BL_OK) {
            slot->flags |= (uint16_t)(write << (BL_MESSAGE_WRITES + slot->size));
            slot->payload.buffers[slot->size++] = b;
        }
        ring_handle_leave(h);
    }
    if (status == BL_OK && !enif_is_empty_list(env, list)) {
        *badarg = true;
        return BL_INVALID;
    }
    return status;
}

void ring_message_drop(struct bl_slot *slot)
{
    if (slot->flags & BL_MESSAGE_BODY) ring_body_free(slot->payload.body.owner);
    if (slot->flags & BL_MESSAGE_BUFFERS)
        for (unsigned i = 0; i < slot->size; i++) bl_ring_buffer_done(slot->payload.buffers[i], slot->flags >> (BL_MESSAGE_WRITES + i) & 1);
}

/* ---- a message ---- */

/* A number, or a name that the handler knows. */
static bool read_function(ErlNifEnv *env, const struct bl_ring_handler *handler, ERL_NIF_TERM term, uint32_t *out)
{
    char name[NAME_BYTES];
    unsigned number;
    if (enif_get_uint(env, term, &number)) {
        *out = number;
        return true;
    }
    if (enif_get_atom(env, term, name, sizeof name, ERL_NIF_LATIN1) < 1) return false;
    const int index = bl_name_index(handler->functions, name);
    *out = (uint32_t)index;
    return index >= 0;
}

enum bl_status ring_message_read(ErlNifEnv *env, const struct reading *how, ERL_NIF_TERM term, struct bl_slot *slot, bool *badarg,
                                 struct bl_error *err)
{
    const ERL_NIF_TERM *element;
    int arity;
    slot->function = 0;
    slot->flags = 0;
    slot->size = 0;
    *badarg = false;
    if (enif_is_binary(env, term)) return read_binary(env, how->quota, term, slot, badarg, err);
    if (!enif_get_tuple(env, term, &arity, &element) || arity != 2 ||
        !(enif_is_atom(env, element[0]) || enif_is_number(env, element[0]))) {
        *badarg = true;
        return BL_INVALID;
    }
    if (!read_function(env, how->handler, element[0], &slot->function)) return bl_fail_unsupported(err, "function");
    if (!enif_is_list(env, element[1])) return read_binary(env, how->quota, element[1], slot, badarg, err);
    const enum bl_status status = read_buffers(env, how, element[1], slot, badarg, err);
    if (status != BL_OK) {
        ring_message_drop(slot);
        slot->flags = 0;
    }
    return status;
}
