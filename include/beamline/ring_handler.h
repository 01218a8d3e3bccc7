/* SPDX-License-Identifier: Apache-2.0
 *
 * A handler of a ring kernel: what an actor does with one message. One source for the CPU (C, one lane, a scalar loop), for
 * CUDA (nvcc, a block of lanes that run the same call together), and for a sandbox (clang --target=wasm32 -mbulk-memory, one
 * lane). doc/ring.md has a whole one.
 *
 *     BL_RING_HANDLER(my_echo)
 *     {
 *         bl_ring_reply(out, message->data, message->size, lane, lanes);
 *         return BL_RING_OK;
 *     }
 *
 * Rules. A handler runs to its end and never waits: no locks, no input or output. It may run on another thread each time,
 * but never twice at once for one actor. Everything that it keeps is in `state`, which may be copied away between two
 * messages (checkpoint) and must not hold pointers. Work is divided by `lane` and `lanes`; what one lane does for all
 * (`lane == 0`) is followed by bl_ring_sync before another lane reads it. A handler that works for more than about a
 * millisecond asks bl_ring_stopped now and then. It is trusted like a NIF, unless it is WebAssembly.
 */
#ifndef BEAMLINE_RING_HANDLER_H
#define BEAMLINE_RING_HANDLER_H

#include <stddef.h>
#include <stdint.h>
#if !defined(__CUDACC__) && !defined(__wasm__)
#include <string.h>
#endif

/* Of the structs below; a shared object of another one is refused. */
#define BL_RING_ABI 1

enum {
    BL_RING_INLINE = 24,   /* bytes of a message or reply that travel inside the ring */
    BL_RING_BUFFERS = 3,   /* buffers of one message */
    BL_RING_PORTS = 8,     /* of one handler */
    BL_RING_SCRATCH = 256, /* doubles */
};

/* What a handler returns. After any but BL_RING_OK the reply is dropped; the actor goes on, but for BL_RING_FAILED. */
enum bl_ring_code {
    BL_RING_OK = 0,
    BL_RING_INVALID,     /* a message that makes no sense: {error, {invalid, _}} */
    BL_RING_LIMIT,       /* no room in the state: {error, {limit, _}} */
    BL_RING_UNSUPPORTED, /* no such function: {error, {unsupported, _}} */
    BL_RING_STOPPED,     /* it asked bl_ring_stopped: {error, timeout} */
    BL_RING_NO_MEMORY,   /* bl_ring_reply_space gave none */
    BL_RING_FAILED,      /* the state cannot be trusted any more: the actor fails */
};

/* What bl_ring_send says, when it is not the number of actors that took the message. */
enum { BL_RING_SEND_BUSY = -1, BL_RING_SEND_NO_PORT = -2, BL_RING_SEND_TOO_LONG = -3 };

struct bl_ring_view {
    void *data; /* any alignment for a message, 64 for a buffer of its own */
    uint64_t size;
};

struct bl_ring_message {
    uint64_t stamp;       /* hybrid logical clock, nanoseconds */
    uint64_t deadline_ns; /* monotonic clock; UINT64_MAX: none */
    const void *data;     /* the bytes; unaligned: memcpy. Not to be kept */
    uint64_t size;
    uint32_t function;
    uint32_t buffer_count;
    struct bl_ring_view buffer[BL_RING_BUFFERS];
};

struct bl_ring_outbox {
    const uint32_t *stop; /* becomes 1 when nobody wants the rest */
    double *scratch;      /* BL_RING_SCRATCH numbers that all lanes see; not kept */
    uint8_t *reply;
    uint64_t reply_size;
    uint32_t replied;
    uint32_t targets[BL_RING_PORTS]; /* actors connected to each port */
    uint8_t small[BL_RING_INLINE];
#ifdef __CUDACC__
    uint32_t stop_seen;
    uint8_t *arena; /* room for one larger reply */
    uint64_t arena_size;
    int32_t (*send)(struct bl_ring_outbox *out, uint32_t port, uint32_t function, const void *data, uint64_t size);
#elif !defined(__wasm__)
    /* Of the device; use the functions below. */
    uint8_t *(*space)(struct bl_ring_outbox *out, uint64_t size);
    int32_t (*send)(struct bl_ring_outbox *out, uint32_t port, uint32_t function, const void *data, uint64_t size);
#endif
};

typedef int32_t bl_ring_handle_fn(void *state, uint64_t state_size, const struct bl_ring_message *message, struct bl_ring_outbox *out,
                                  uint32_t lane, uint32_t lanes);

/* ---- what differs between C, CUDA and WebAssembly ------------------------------------------- */

#ifdef __wasm__
/* All that a guest may import. */
#define BL_RING_IMPORT(name) __attribute__((import_module("beamline_ring"), import_name(#name)))
BL_RING_IMPORT(send) int32_t bl_ring_import_send(uint32_t port, uint32_t function, const void *data, uint32_t size);
BL_RING_IMPORT(stopped) int32_t bl_ring_import_stopped(void);

/* A block of at least so many bytes: the one before, or fresh pages; NULL: there are none. Pages are never given back. */
struct bl_ring_block {
    uint8_t *at;
    uint64_t bytes;
};
static inline uint8_t *bl_ring_pages(struct bl_ring_block *block, uint64_t bytes)
{
    if (bytes <= block->bytes) return block->at;
    const uint64_t pages = (bytes + 65535) >> 16;
    const size_t before = pages > 65535 ? (size_t)-1 : __builtin_wasm_memory_grow(0, (size_t)pages);
    if (before == (size_t)-1) return (uint8_t *)0;
    block->at = (uint8_t *)(before << 16);
    block->bytes = pages << 16;
    return block->at;
}

/* Where the device puts state and message: so many bytes, aligned to 64, until it asks again. Every guest exports it; this one
 * goes with any malloc. */
__attribute__((weak, export_name("beamline_ring_room"))) uint8_t *beamline_ring_room(uint32_t bytes);
__attribute__((weak, export_name("beamline_ring_room"))) uint8_t *beamline_ring_room(uint32_t bytes)
{
    static struct bl_ring_block room;
    return bl_ring_pages(&room, bytes);
}

/* For one larger reply. */
static inline uint8_t *bl_ring_arena(uint64_t bytes)
{
    static struct bl_ring_block arena;
    return bl_ring_pages(&arena, bytes);
}
#endif

#ifdef __CUDACC__
#define BL_RING_INNER static __device__ inline
#define BL_RING_HANDLER(name)                                                                                                   \
    extern "C" __device__ int32_t name(void *state, uint64_t state_size, const struct bl_ring_message *message,                  \
                                       struct bl_ring_outbox *out, uint32_t lane, uint32_t lanes);                               \
    /* One message by one block: what tests launch; the resident kernel calls the function itself. */                           \
    extern "C" __global__ void name##_once(void *state, uint64_t state_size, const struct bl_ring_message *message,              \
                                           struct bl_ring_outbox *out, int32_t *code)                                            \
    {                                                                                                                            \
        const int32_t mine = name(state, state_size, message, out, threadIdx.x, blockDim.x);                                     \
        if (threadIdx.x == 0) *code = mine;                                                                                      \
    }                                                                                                                            \
    extern "C" __device__ int32_t name(void *state, uint64_t state_size, const struct bl_ring_message *message,                  \
                                       struct bl_ring_outbox *out, uint32_t lane, uint32_t lanes)
#else
#define BL_RING_INNER static inline
/* The usual case is one lane, which the compiler shall know: then the loops over lanes are plain ones. */
#define BL_RING_HANDLER(name)                                                                                                   \
    static inline __attribute__((always_inline)) int32_t name##_in_lanes(                                                        \
        void *state, uint64_t state_size, const struct bl_ring_message *message, struct bl_ring_outbox *out, uint32_t lane,      \
        uint32_t lanes);                                                                                                         \
    int32_t name(void *state, uint64_t state_size, const struct bl_ring_message *message, struct bl_ring_outbox *out,           \
                 uint32_t lane, uint32_t lanes);                                                                                 \
    int32_t name(void *state, uint64_t state_size, const struct bl_ring_message *message, struct bl_ring_outbox *out,           \
                 uint32_t lane, uint32_t lanes)                                                                                  \
    {                                                                                                                            \
        return lanes == 1 ? name##_in_lanes(state, state_size, message, out, 0, 1)                                              \
                          : name##_in_lanes(state, state_size, message, out, lane, lanes);                                       \
    }                                                                                                                            \
    static inline __attribute__((always_inline)) int32_t name##_in_lanes(                                                        \
        __attribute__((unused)) void *state, __attribute__((unused)) uint64_t state_size,                                        \
        __attribute__((unused)) const struct bl_ring_message *message, __attribute__((unused)) struct bl_ring_outbox *out,       \
        __attribute__((unused)) uint32_t lane, __attribute__((unused)) uint32_t lanes)
#endif

/* All lanes have come here, and see what each of them has written. Every lane calls it, or none. */
BL_RING_INNER void bl_ring_sync(uint32_t lanes)
{
#ifdef __CUDACC__
    if (lanes > 1) __syncthreads();
#else
    (void)lanes;
#endif
}

/* Nobody waits for this message any more (deadline, stop, owner's death): return BL_RING_STOPPED, with a state that can be used.
 * Every lane calls it, and all get the same answer. */
BL_RING_INNER int bl_ring_stopped(struct bl_ring_outbox *out, uint32_t lane, uint32_t lanes)
{
#ifdef __CUDACC__
    if (lane == 0) out->stop_seen = *(const volatile uint32_t *)out->stop; /* one word, asked again and again; orders nothing */
    bl_ring_sync(lanes);
    const uint32_t seen = out->stop_seen;
    bl_ring_sync(lanes); /* nobody asks again before all have read */
    return seen != 0;
#elif defined(__wasm__)
    (void)out, (void)lane, (void)lanes;
    return bl_ring_import_stopped() != 0;
#else
    (void)lane, (void)lanes;
    return __atomic_load_n(out->stop, __ATOMIC_RELAXED) != 0;
#endif
}

/* ---- replies and sends --------------------------------------------------------------------- */

/* Room for a reply of exactly `size` bytes, to be filled before the handler returns; the last one counts. NULL: there is none.
 * Becomes a binary without being copied. Lane 0 calls it. */
BL_RING_INNER uint8_t *bl_ring_reply_space(struct bl_ring_outbox *out, uint64_t size)
{
    uint8_t *space = out->small;
    if (size > BL_RING_INLINE) {
#ifdef __CUDACC__
        space = size <= out->arena_size ? out->arena : (uint8_t *)0;
#elif defined(__wasm__)
        space = bl_ring_arena(size);
#else
        space = out->space(out, size);
#endif
        if (!space) return space;
    }
    out->reply = space;
    out->reply_size = size;
    out->replied = 1;
    return space;
}

/* Replies with a copy. Every lane calls it. 0: no memory. */
BL_RING_INNER int bl_ring_reply(struct bl_ring_outbox *out, const void *data, uint64_t size, uint32_t lane, uint32_t lanes)
{
    if (lane == 0 && !bl_ring_reply_space(out, size)) out->replied = 0;
    bl_ring_sync(lanes);
    if (!out->replied) return 0;
#ifdef __CUDACC__
    for (uint64_t i = lane; i < size; i += lanes) out->reply[i] = ((const uint8_t *)data)[i];
    bl_ring_sync(lanes);
#elif defined(__wasm__)
    __builtin_memcpy(out->reply, data, (size_t)size);
#else
    if (size > 0) memcpy(out->reply, data, (size_t)size);
#endif
    return 1;
}

/* A message of at most BL_RING_INLINE bytes to every actor that is connected to `port`. How many took it, or BL_RING_SEND_*.
 * Busy: at least one had no room, or has stopped; the others have it. Lane 0 calls it. The message inherits the deadline. */
BL_RING_INNER int32_t bl_ring_send(struct bl_ring_outbox *out, uint32_t port, uint32_t function, const void *data, uint64_t size)
{
    if (port >= BL_RING_PORTS) return BL_RING_SEND_NO_PORT;
    if (size > BL_RING_INLINE) return BL_RING_SEND_TOO_LONG;
    if (out->targets[port] == 0) return 0;
#ifdef __wasm__
    return bl_ring_import_send(port, function, data, (uint32_t)size);
#else
    return out->send(out, port, function, data, size);
#endif
}

/* ---- the table of a shared object ------------------------------------------------------------ */

struct bl_ring_handler {
    const char *name;     /* looks like an Erlang atom: [a-z][a-z0-9_]*, at most 63 bytes */
    const char *summary;  /* one line */
    uint32_t version;     /* of its state; a checkpoint of another one goes through migrate */
    uint32_t writes;      /* bit i: it writes into buffer i of a message */
    uint64_t state_size;  /* bytes, when nobody asks for another size */
    uint64_t state_least, state_most;
    const char *const *functions; /* names, their index being the number; ends with NULL; may be NULL */
    const char *const *ports;     /* the same for what it sends to */
    bl_ring_handle_fn *handle;
    /* Is this a state (of a caller, or out of a checkpoint)? May be NULL: any bytes are. New states are zeroed behind what was given. */
    int32_t (*check)(const void *state, uint64_t state_size);
    /* Fills `to` (zeroed) from the state of another version, 0 when it can. May be NULL: then only the same version is accepted. */
    int32_t (*migrate)(uint32_t from_version, const void *from, uint64_t from_size, void *to, uint64_t to_size);
};

struct bl_ring_handler_table {
    uint32_t abi; /* BL_RING_ABI */
    uint32_t count;
    const struct bl_ring_handler *handlers;
};

/* A shared object, or a module of WebAssembly, exports: const struct bl_ring_handler_table *beamline_ring_handlers(void) */
#ifndef __CUDACC__
#ifdef __wasm__
#define BL_RING_EXPORT __attribute__((export_name("beamline_ring_handlers")))
#else
#define BL_RING_EXPORT __attribute__((visibility("default")))
#endif
typedef const struct bl_ring_handler_table *bl_ring_handlers_fn(void);
#endif

/* The layouts that the device reads and writes in a guest's memory: doc/ring.md has them as a table. */
#if defined(__wasm__) && !defined(__cplusplus)
_Static_assert(sizeof(struct bl_ring_message) == 88 && sizeof(struct bl_ring_outbox) == 88 && sizeof(struct bl_ring_handler) == 64 &&
                   sizeof(struct bl_ring_handler_table) == 12,
               "wasm32");
#endif

#endif
