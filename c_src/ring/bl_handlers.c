/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_device.h"

#include <dlfcn.h>
#include <string.h>

#include "bl_library.h"

/* ---- built in: kernels/ring ---- */

bl_ring_handle_fn bl_ring_echo, bl_ring_kv, bl_ring_triad, bl_ring_reduce, bl_ring_stencil;
int32_t bl_ring_kv_check(const void *state, uint64_t state_size);
int32_t bl_ring_stencil_check(const void *state, uint64_t state_size);

static const char *const echo_functions[] = {"echo", "forward", NULL}, *const echo_ports[] = {"out", NULL};
static const char *const kv_functions[] = {"put", "get", "delete", "count", NULL};
static const char *const triad_functions[] = {"triad", "scale", NULL};
static const char *const reduce_functions[] = {"sum", "min", "max", NULL};
static const char *const stencil_functions[] = {"run", "read", "edge", "set", "step", NULL};
static const char *const stencil_ports[] = {"north", "south", "east", "west", NULL};

static const struct bl_ring_handler built_in[] = {
    {.name = "echo", .summary = "Replies with the message.", .version = 1, .functions = echo_functions, .ports = echo_ports,
     .state_most = 1 << 20, .handle = bl_ring_echo},
    {.name = "kv", .summary = "Short keys and values.", .version = 1, .functions = kv_functions, .state_size = 4096, .state_least = 64,
     .state_most = 1 << 30, .handle = bl_ring_kv, .check = bl_ring_kv_check},
    {.name = "triad", .summary = "a = b + s * c.", .version = 1, .writes = 1, .functions = triad_functions, .state_size = 8,
     .state_least = 8, .state_most = 8, .handle = bl_ring_triad},
    {.name = "reduce", .summary = "Sum, smallest, largest.", .version = 1, .functions = reduce_functions, .handle = bl_ring_reduce},
    {.name = "stencil", .summary = "A tile of a grid under Jacobi steps.", .version = 1, .functions = stencil_functions,
     .ports = stencil_ports, .state_size = 24, .state_least = 24, .state_most = 1 << 21, .handle = bl_ring_stencil,
     .check = bl_ring_stencil_check},
};

void bl_handlers_init(struct bl_handlers *h)
{
    pthread_mutex_init(&h->lock, NULL);
    h->count = 0;
    for (size_t i = 0; i < sizeof built_in / sizeof built_in[0]; i++) h->handler[h->count++] = &built_in[i];
}

const struct bl_ring_handler *bl_handlers_find(struct bl_handlers *h, const char *name)
{
    const struct bl_ring_handler *found = NULL;
    pthread_mutex_lock(&h->lock);
    for (size_t i = h->count; i-- > 0 && !found;)
        if (strcmp(h->handler[i]->name, name) == 0) found = h->handler[i];
    pthread_mutex_unlock(&h->lock);
    return found;
}

int bl_name_index(const char *const *names, const char *name)
{
    for (int i = 0; names && names[i]; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

/* ---- of a user ---- */

static bool is_name(const char *name)
{
    if (!name || name[0] < 'a' || name[0] > 'z') return false;
    size_t i = 1;
    while (i < 64 && ((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '_')) i++;
    return i < 64 && name[i] == 0;
}

static enum bl_status refuse(struct bl_error *err, const char *why) { return bl_fail_invalid(err, "handlers", "%s", why); }

static enum bl_status check_handler(const struct bl_ring_handler *h, struct bl_error *err)
{
    if (!is_name(h->name)) return refuse(err, "a handler's name is not [a-z][a-z0-9_]*");
    if (h->state_least > h->state_size || h->state_size > h->state_most)
        return bl_fail_invalid(err, "handlers", "%s: state_size does not lie between least and most", h->name);
    size_t ports = 0;
    while (h->ports && h->ports[ports]) ports++;
    if (ports > BL_RING_PORTS) return bl_fail_invalid(err, "handlers", "%s has more than %d ports", h->name, BL_RING_PORTS);
    return BL_OK;
}

/* Where it stands; `count`: nowhere. Lock held. */
static size_t place_of(const struct bl_handlers *h, const struct bl_ring_handler *row)
{
    size_t i = 0;
    while (i < h->count && h->handler[i] != row) i++;
    return i;
}

/* The newest; one that was loaded before takes no second place. Lock held, and there is room. */
static void add(struct bl_handlers *h, const struct bl_ring_handler *row)
{
    const size_t at = place_of(h, row);
    if (at < h->count) memmove(&h->handler[at], &h->handler[at + 1], (--h->count - at) * sizeof h->handler[0]);
    h->handler[h->count++] = row;
}

static enum bl_status add_table(struct bl_handlers *h, const struct bl_ring_handler_table *table, size_t *added, struct bl_error *err)
{
    if (!table || table->abi != BL_RING_ABI) return refuse(err, "made for another version of ring_handler.h");
    if (table->count == 0 || !table->handlers) return refuse(err, "its table is empty");
    for (uint32_t i = 0; i < table->count; i++) {
        const struct bl_ring_handler *row = &table->handlers[i];
        const enum bl_status status = check_handler(row, err);
        if (status != BL_OK) return status;
        if (!row->handle) return bl_fail_invalid(err, "handlers", "%s has no function", row->name);
    }
    pthread_mutex_lock(&h->lock);
    size_t fresh = 0;
    for (uint32_t i = 0; i < table->count; i++) fresh += place_of(h, &table->handlers[i]) == h->count;
    const bool room = fresh <= BL_HANDLERS_MOST - h->count;
    for (uint32_t i = 0; i < table->count && room; i++) add(h, &table->handlers[i]);
    pthread_mutex_unlock(&h->lock);
    if (!room) return bl_fail_limit(err, "handlers", BL_HANDLERS_MOST, (uint64_t)BL_HANDLERS_MOST + 1);
    *added = table->count;
    return BL_OK;
}

enum bl_status bl_handlers_add_guests(struct bl_handlers *h, struct bl_ring_guest_handler *const list[], size_t count,
                                      struct bl_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const enum bl_status status = check_handler(&list[i]->face, err);
        if (status != BL_OK) return status;
    }
    pthread_mutex_lock(&h->lock);
    const bool room = count <= BL_HANDLERS_MOST - h->count;
    for (size_t i = 0; i < count && room; i++) h->handler[h->count++] = &list[i]->face;
    pthread_mutex_unlock(&h->lock);
    return room ? BL_OK : bl_fail_limit(err, "handlers", BL_HANDLERS_MOST, (uint64_t)BL_HANDLERS_MOST + 1);
}

void bl_handlers_clear(struct bl_handlers *h)
{
    for (size_t i = 0; i < h->count; i++) {
        const struct bl_ring_guest_handler *guest = bl_ring_guest_of(h->handler[i]);
        if (guest) guest->class->free((struct bl_ring_guest_handler *)(uintptr_t)guest); /* const for all but its owner */
    }
    pthread_mutex_destroy(&h->lock);
}

/* ---- native, or a guest ---- */

enum bl_status bl_handler_open(const struct bl_ring_handler *h, struct bl_quota *quota, uint64_t state_size, struct bl_ring_guest **out,
                               struct bl_error *err)
{
    const struct bl_ring_guest_handler *g = bl_ring_guest_of(h);
    *out = NULL;
    return g ? g->class->open(g, quota, state_size, out, err) : BL_OK;
}

void bl_handler_close(const struct bl_ring_handler *h, struct bl_ring_guest *guest)
{
    if (guest) bl_ring_guest_of(h)->class->close(guest);
}

enum bl_status bl_handler_takes(const struct bl_ring_handler *h, uint32_t from_version, struct bl_error *err)
{
    const struct bl_ring_guest_handler *g = bl_ring_guest_of(h);
    if (g ? g->migrates : h->migrate != NULL) return BL_OK;
    return bl_fail_invalid(err, "version", "%s %u takes no state of %u", h->name, h->version, from_version);
}

enum bl_status bl_handler_check(const struct bl_ring_handler *h, struct bl_ring_guest *guest, const uint8_t *state, uint64_t size,
                                struct bl_error *err)
{
    int32_t code = 0;
    enum bl_status status = BL_OK;
    if (guest)
        status = bl_ring_guest_of(h)->class->check(guest, state, size, &code, err);
    else if (h->check)
        code = h->check(state, size);
    if (status != BL_OK) return status;
    return code == 0 ? BL_OK : bl_fail_invalid(err, "state", "%s cannot use it", h->name);
}

enum bl_status bl_handler_migrate(const struct bl_ring_handler *h, struct bl_ring_guest *guest, uint32_t from_version,
                                  const uint8_t *from, uint64_t from_size, uint8_t *to, uint64_t to_size, struct bl_error *err)
{
    int32_t code = 0;
    enum bl_status status = BL_OK;
    if (guest)
        status = bl_ring_guest_of(h)->class->migrate(guest, from_version, from, from_size, to, to_size, &code, err);
    else
        code = h->migrate(from_version, from, from_size, to, to_size);
    if (status != BL_OK) return status;
    return code == 0 ? BL_OK : bl_fail_invalid(err, "state", "%s %u cannot use this state of %u", h->name, h->version, from_version);
}

/* ---- shared objects ---- */

enum bl_status bl_handlers_load(struct bl_handlers *h, const char *path, size_t *added, struct bl_error *err)
{
    struct bl_error why;
    void *library = bl_library_open(path, &why);
    if (!library) return refuse(err, why.text);
    bl_ring_handlers_fn *handlers;
    *(void **)&handlers = dlsym(library, "beamline_ring_handlers");
    const enum bl_status status = handlers ? add_table(h, handlers(), added, err) : refuse(err, "it exports no beamline_ring_handlers");
    dlclose(library); /* it stays all the same */
    return status;
}
