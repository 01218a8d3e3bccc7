/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the ring part: a device with its threads, actors, buffers. Knows no Erlang; what answers go through is a table
 * of functions of the host (the NIF, or a C test).
 *
 *   bl_ring.h        the ring of slots
 *   bl_device.c      opening, closing, statistics
 *   bl_watch.c       the housekeeper: long handlers are moved aside, runaway ones given up
 *   bl_actor.c       life of an actor, its turns on a thread
 *   bl_message.c     one message: into the ring, through the handler, its answer
 *   bl_control.c     suspend, resume, checkpoint, upgrade, stop: between two messages
 *   bl_route.c       who sends to whom; subscribers
 *   bl_buffer.c      buffers and views
 *   bl_handlers.c    the handlers that a device knows; what is native and what is a guest
 *   bl_words.h       counters and references
 *   bl_far.h         a device in another process
 *
 * Unlike in the public interface, `err` is never NULL, but for bl_message_claim.
 *
 * Who owns an actor. Whoever changes its word `scheduled` from 0 to 1 is its consumer until he puts it back: a thread in a
 * turn, or nobody yet while its job waits. Everything marked [consumer] below is his alone.
 */
#ifndef BL_DEVICE_H
#define BL_DEVICE_H

#include <pthread.h>

#include "beamline/ring_handler.h"
#include "bl_ctx.h"
#include "bl_list.h"
#include "bl_ring.h"
#include "bl_ring_guest.h"
#include "bl_threads.h"
#include "bl_ticks.h"
#include "bl_words.h"

enum {
    BL_ACTOR_QUEUE = 16,            /* slots, when nobody asks for more */
    BL_RESULTS_MOST = 256,          /* of one batch for subscribers */
    BL_SINKS_MOST = 64, BL_TARGETS_MOST = 4096,
    BL_WATCHES = 256,
    BL_HANDLERS_MOST = 1024,
    BL_LONG_NS = 1000000,           /* a handler that takes longer is long */
    BL_GRACE_NS = 10000000,         /* of processor time, from the stop word to giving up */
    BL_GRACE_WALL_NS = 1000000000,  /* the same of time, for a handler that sleeps */
    BL_QUANTUM_NS = 20000,
};

/* Flags of a slot. */
enum {
    BL_MESSAGE_BODY = 1,    /* payload.body */
    BL_MESSAGE_BUFFERS = 2, /* payload.buffers */
    BL_MESSAGE_REQUEST = 4, /* reply_to is a request, to be answered in any case; otherwise the sender of a cast */
    BL_MESSAGE_ACTOR = 8,   /* sent by an actor */
    BL_MESSAGE_WRITES = 8,  /* shift: bit i above says that buffer i is written */
};

struct bl_device;
struct bl_actor;
struct bl_far;

/* What a handler replied, or a control brought. Borrowed: an owner that a host function keeps it sets to NULL. */
struct bl_result {
    const uint8_t *data;
    uint64_t size;
    void *owner; /* NULL: the bytes are on the stack */
    uint64_t stamp;
    uint8_t small[BL_RING_INLINE];
};

/* What the host does for a device. On a thread of the device, on its housekeeper, or on the thread that called. */
struct bl_device_host {
    /* Ends the request. `result` is NULL when there is none, with BL_OK too. */
    void (*answer)(struct bl_actor *a, uint64_t request, enum bl_status status, const struct bl_error *err, struct bl_result *result);
    /* A cast that was accepted will not be handled. */
    void (*undelivered)(struct bl_actor *a, const struct bl_slot *slot, enum bl_status status, const struct bl_error *err);
    /* last: no other sink gets these, and the host may keep their owners. */
    void (*batch)(struct bl_actor *a, void *sink, struct bl_result *results, size_t count, bool last);
    /* The actor failed, or its device ends (BL_CLOSED; under the device's lock). Once, and not after actor_ended. */
    void (*failed)(struct bl_actor *a, const struct bl_error *err);
    uint8_t *(*body_new)(struct bl_device *d, uint64_t size, void **owner, struct bl_error *err);
    void (*body_free)(void *owner);
    void (*sink_free)(void *sink);
    /* It has answered everything and is out of the list of actors. Once. */
    void (*actor_ended)(void *skin);
    void (*actor_free)(void *skin);
    void (*device_free)(void *skin);
    /* May be NULL. A cast was handled; for one that was not, undelivered is called instead. */
    void (*handled)(struct bl_actor *a, const struct bl_slot *slot);
};

/* ---- actors ---------------------------------------------------------------------------------- */

enum bl_phase { BL_CREATED, BL_LIVE, BL_SUSPENDED, BL_DRAINING, BL_STOPPED, BL_FAILED };

struct bl_target {
    uint32_t port;
    struct bl_actor *actor; /* a reference */
};

struct bl_routes {
    uint32_t refs;
    uint32_t count;
    struct bl_target target[];
};

struct bl_sink {
    struct bl_link link;
    int64_t credit; /* results that it still takes, under the actor's lock; INT64_MAX: any number */
    bool admitted;  /* gets what is handled from now on; also under the lock */
    void *skin;
};

struct bl_actor {
    struct bl_ring ring; /* first: two cache lines */
    /* [consumer] */
    _Alignas(64) struct bl_job job;
    const struct bl_ring_handler *handler; /* atomic for others: an upgrade changes it */
    struct bl_ring_guest *guest;           /* its code, when the handler is one */
    uint8_t *state;
    uint64_t state_size;
    uint64_t clock; /* hybrid logical */
    int64_t deficit_ns;
    uint8_t quiet;        /* short messages in a row since a long one */
    bool was_long, aside; /* runs on the threads for long handlers */
    uint8_t front;        /* constant: bytes of its block that lie in front of it */
    /* atomic, written by the consumer (phase: and by who gives a runaway up) */
    uint32_t phase;
    uint64_t handled, refused_by_handler, expired, run_ns;
    /* anybody */
    uint32_t refs;          /* atomic */
    uint32_t control_count; /* atomic: in `controls` */
    uint16_t sink_count;    /* atomic */
    uint16_t sinks_came;    /* atomic: some that bl_sinks_admit has not seen */
    uint32_t full;          /* atomic: claims that found no room */
    pthread_mutex_t lock;   /* guards: */
    struct bl_link controls, sinks;
    struct bl_routes *routes; /* NULL: none */
    /* constant */
    struct bl_device *device;
    struct bl_link link; /* in device->actors */
    void *skin;
};
/* There may be ten thousand of them. Lines: producers, tail, two of the consumer, two of anybody. */
_Static_assert(sizeof(struct bl_actor) == 6 * 64 && offsetof(struct bl_actor, refs) == 4 * 64, "each line has its writer");

struct bl_actor_options {
    const struct bl_ring_handler *handler;
    const uint8_t *state;
    uint64_t state_bytes, state_size; /* given; wanted, 0: the handler's own size, or what was given */
    uint32_t from_version;            /* of the state given */
    bool from_checkpoint;
    uint64_t stamp; /* of a checkpoint: stamps go on from there */
    size_t queue;
    uint8_t priority;
    void *skin;
};

/* BL_INVALID (state, state_size, queue), BL_LIMIT (memory, actors), BL_CLOSED, BL_DEVICE_FAILED. One reference is the caller's.
 * On failure the skin is still the caller's. */
BL_API enum bl_status bl_actor_new(struct bl_device *d, const struct bl_actor_options *options, struct bl_actor **out,
                                   struct bl_error *err);
BL_API void bl_actor_ref(struct bl_actor *a);
BL_API void bl_actor_unref(struct bl_actor *a);
/* Something was put where the consumer looks. Any thread; takes one exchange when the actor is scheduled already. */
BL_API void bl_actor_schedule(struct bl_actor *a, uint64_t now_ns);
/* Ends it without draining: what waits is answered BL_CLOSED. Any thread, constant time. True: this call did it, and has told the
 * host that it failed if `why` is given. */
BL_API bool bl_actor_kill(struct bl_actor *a, const struct bl_error *why);
/* Stops it here and now if nothing waits and no turn is under way; false: it must be asked (BL_STOP). Constant time. */
BL_API bool bl_actor_stop_idle(struct bl_actor *a);
BL_API enum bl_phase bl_actor_phase(const struct bl_actor *a);

struct bl_actor_info {
    uint64_t queue, queued, handled, refused, expired, busy, run_ns, subscribers, state_size, version, phase, running,
        guest_memory;
};
BL_API void bl_actor_info(struct bl_actor *a, struct bl_actor_info *out);

/* What its guest holds, but for that of an actor that is being upgraded. Any thread that has a reference. */
BL_API uint64_t bl_actor_guest_bytes(struct bl_actor *a);
/* An upgrade's: a block of its own. [consumer] */
void bl_actor_set_state(struct bl_actor *a, uint8_t *state, uint64_t size);
/* Changes the phase unless it is stopped or failed already. */
bool bl_actor_move(struct bl_actor *a, enum bl_phase to);
/* Makes it fail, and tells the host. [consumer] */
void bl_actor_fail(struct bl_actor *a, const struct bl_error *err);
/* Of one that stopped or failed: answers everything that waits. False: a claim is not committed yet, whoever commits it
 * schedules. [consumer] */
bool bl_actor_sweep(struct bl_actor *a);

/* Why nothing more is done by an actor that failed. err may be NULL. */
enum bl_status bl_fail_actor(struct bl_error *err);

/* ---- messages: bl_message.c ---- */

/* Takes a slot for a message. BL_OK: fill *slot, then bl_message_send. BL_BUSY, BL_CLOSED (also when it is draining or
 * stopped), BL_DEVICE_FAILED (when it or its device failed). */
BL_API enum bl_status bl_message_claim(struct bl_actor *a, uint64_t *position, struct bl_slot **slot, struct bl_error *err);
BL_API void bl_message_send(struct bl_actor *a, uint64_t position, uint64_t now_ns);
/* Tells who sent it that it was not handled, and gives its body and buffers back. */
void bl_message_refuse(struct bl_actor *a, struct bl_slot *slot, enum bl_status status, const struct bl_error *err);

struct bl_watch;
struct bl_turn {
    struct bl_actor *actor;
    struct bl_watch *watch;
    struct bl_routes *routes;
    struct bl_stopwatch clock;
    bool held;  /* the last message took long because the system had taken the processor away */
    bool asked; /* it was a request, and the threads may spin */
    uint32_t targets[BL_RING_PORTS];
    size_t result_count;
    struct bl_result result[BL_RESULTS_MOST];
};
enum bl_handled { BL_HANDLED, BL_HANDLED_FAILED, BL_HANDLED_LOST };
/* Handles the message in the slot, which is copied and released first. LOST: the actor is no longer ours. [consumer] */
enum bl_handled bl_message_handle(struct bl_turn *t, struct bl_slot *slot);
/* Hands collected results to the subscribers. [consumer] */
void bl_message_flush(struct bl_turn *t);

/* ---- controls: bl_control.c ---- */

enum bl_control_kind { BL_SUSPEND, BL_RESUME, BL_CHECKPOINT, BL_UPGRADE, BL_STOP };
/* Answers `request` when it is done: after the message under way; CHECKPOINT and UPGRADE also after all messages that were
 * accepted before, unless the actor is suspended. BL_NO_MEMORY, BL_CLOSED: the request is still the caller's. */
BL_API enum bl_status bl_actor_control(struct bl_actor *a, enum bl_control_kind kind, const struct bl_ring_handler *handler,
                                       uint64_t request,
                                struct bl_error *err);
/* Does those that are due. [consumer] */
void bl_controls_run(struct bl_actor *a);
/* Is one due? */
bool bl_controls_due(struct bl_actor *a);
/* Answers all of them; at the end. [consumer] */
void bl_controls_end(struct bl_actor *a);

/* ---- routes and subscribers: bl_route.c ---- */

/* BL_INVALID: no such port, or another device. BL_LIMIT: BL_TARGETS_MOST. */
BL_API enum bl_status bl_actor_connect(struct bl_actor *from, uint32_t port, struct bl_actor *to, struct bl_error *err);
/* How many connections were taken off. `to` NULL: all of the port. */
BL_API uint32_t bl_actor_disconnect(struct bl_actor *from, uint32_t port, const struct bl_actor *to);
/* The present routes with a reference, or NULL. */
struct bl_routes *bl_routes_get(struct bl_actor *a);
void bl_routes_put(struct bl_routes *r);
/* window 0: any number of results. The sink's skin is given back by host.sink_free. */
BL_API enum bl_status bl_actor_subscribe(struct bl_actor *a, void *skin, uint64_t window, struct bl_error *err);
BL_API bool bl_actor_unsubscribe(struct bl_actor *a, const void *skin);
BL_API bool bl_actor_credit(struct bl_actor *a, const void *skin, uint64_t more);
/* How many results every subscriber still takes, at most BL_RESULTS_MOST. */
size_t bl_sinks_room(struct bl_actor *a);
/* The same. Those that have come get what is handled from now on, and not what was collected before: their window is for more. To be
 * asked when nothing is collected. [consumer] */
size_t bl_sinks_admit(struct bl_actor *a);
bool bl_sinks_came(const struct bl_actor *a);
void bl_sinks_batch(struct bl_actor *a, struct bl_result *results, size_t count);
void bl_routes_end(struct bl_actor *a);

/* ---- buffers: bl_buffer.c ---- */

struct bl_ring_buffer {
    uint32_t refs; /* atomic */
    uint32_t use;  /* atomic: readers, or BL_BUFFER_WRITER, or BL_BUFFER_CLOSED; of the parent for a view */
    struct bl_device *device; /* whose; NULL: `far`'s */
    struct bl_far *far;
    struct bl_ring_buffer *parent; /* of a view */
    uint8_t *data;
    uint64_t size;
    void (*release)(void *home); /* gives memory back that is not the device's own; NULL: it is */
    void *home;
};
#define BL_BUFFER_WRITER UINT32_C(0x40000000)
#define BL_BUFFER_CLOSED UINT32_C(0x80000000)

/* Zeroed. */
BL_API enum bl_status bl_ring_buffer_new(struct bl_device *d, uint64_t size, struct bl_ring_buffer **out, struct bl_error *err);
/* The same over memory that is there already, of a device here (d) or in another process (far). BL_NO_MEMORY, BL_LIMIT: `release` is
 * not called then. */
enum bl_status bl_ring_buffer_over(struct bl_device *d, struct bl_far *far, const struct bl_ring_buffer *memory,
                                   struct bl_ring_buffer **out, struct bl_error *err);
/* The buffer that a view is of, or itself. */
BL_API struct bl_ring_buffer *bl_ring_buffer_whole(struct bl_ring_buffer *b);
/* Part of another: shares its memory and its word `use`. BL_INVALID: out of bounds. */
BL_API enum bl_status bl_ring_buffer_view(struct bl_ring_buffer *of, uint64_t offset, uint64_t size,
                                          struct bl_ring_buffer **out, struct bl_error *err);
/* BL_BUSY (0 ms): somebody writes, or (for writing) anybody uses it. BL_CLOSED. */
BL_API enum bl_status bl_ring_buffer_use(struct bl_ring_buffer *b, bool write, struct bl_error *err);
BL_API void bl_ring_buffer_done(struct bl_ring_buffer *b, bool write);
/* No new uses; memory goes with the last reference and use. */
BL_API void bl_ring_buffer_close(struct bl_ring_buffer *b);
BL_API void bl_ring_buffer_unref(struct bl_ring_buffer *b);

/* ---- handlers: bl_handlers.c ---- */

struct bl_handlers {
    pthread_mutex_t lock;
    const struct bl_ring_handler *handler[BL_HANDLERS_MOST];
    size_t count;
};
void bl_handlers_init(struct bl_handlers *h);
/* No actor uses them any more. */
void bl_handlers_clear(struct bl_handlers *h);
/* Adds those of a shared object; may block. BL_INVALID (it says why), BL_LIMIT. It is never closed. */
BL_API enum bl_status bl_handlers_load(struct bl_handlers *h, const char *path, size_t *added, struct bl_error *err);
/* Adds all of these guests, which are the device's then, or none. BL_INVALID, BL_LIMIT. */
BL_API enum bl_status bl_handlers_add_guests(struct bl_handlers *h, struct bl_ring_guest_handler *const list[], size_t count,
                                             struct bl_error *err);
/* The last one added of that name, or NULL. */
BL_API const struct bl_ring_handler *bl_handlers_find(struct bl_handlers *h, const char *name);
/* A handler's code for one actor: *out is NULL for a native one, which needs none. */
enum bl_status bl_handler_open(const struct bl_ring_handler *h, struct bl_quota *quota, uint64_t state_size, struct bl_ring_guest **out,
                               struct bl_error *err);
void bl_handler_close(const struct bl_ring_handler *h, struct bl_ring_guest *guest);
/* Can this version take a state of that one? BL_INVALID. */
enum bl_status bl_handler_takes(const struct bl_ring_handler *h, uint32_t from_version, struct bl_error *err);
/* BL_INVALID: it refuses. */
enum bl_status bl_handler_check(const struct bl_ring_handler *h, struct bl_ring_guest *guest, const uint8_t *state, uint64_t size,
                                struct bl_error *err);
enum bl_status bl_handler_migrate(const struct bl_ring_handler *h, struct bl_ring_guest *guest, uint32_t from_version,
                                  const uint8_t *from, uint64_t from_size, uint8_t *to, uint64_t to_size, struct bl_error *err);
/* Index of a name in a list that ends with NULL; -1: not in it. */
BL_API int bl_name_index(const char *const *names, const char *name);

/* ---- devices: bl_device.c -------------------------------------------------------------------- */

struct bl_device_config {
    unsigned threads, max_lost;
    uint64_t memory_limit; /* 0: none */
    size_t max_actors;
    uint32_t spin_us;
    size_t stack_bytes;
};

struct bl_device_stats {
    uint64_t actors, buffers, started, handled, expired, busy, undelivered, failed, lost_now, lost_total, moved_aside, memory, memory_peak;
    unsigned threads, threads_aside, parked;
};

/* One handler under way. */
struct bl_watch {
    _Alignas(64) uint64_t state; /* atomic: number << 3 | WATCH_ABANDONED | WATCH_STUCK | WATCH_INSIDE */
    uint32_t used;               /* atomic */
    uint32_t stop;               /* atomic: what bl_ring_stopped asks */
    /* Written before state says WATCH_INSIDE; atomic. */
    struct bl_actor *actor;
    struct bl_turn *turn;
    struct bl_threads *threads;
    uint64_t since_ns, deadline_ns, reply_to;
    pthread_t thread;        /* atomic */
    uint64_t stopped_cpu_ns; /* the housekeeper's: what the thread had used when it was told to stop */
    uint32_t function, flags;
};
/* The state word. */
enum { WATCH_INSIDE = 1, WATCH_STUCK = 2, WATCH_ABANDONED = 4, WATCH_SHIFT = 3 };

struct bl_device {
    struct bl_device_config config;
    const struct bl_device_host *host;
    void *skin;
    struct bl_quota quota;
    struct bl_handlers handlers;
    struct bl_threads *threads;
    struct bl_threads *aside; /* atomic: NULL until needed */
    struct bl_watch *watch;   /* BL_WATCHES */
    uint32_t refs, closing, lost; /* atomic */
    uint64_t started, moved_aside, lost_total, undelivered, failures, buffer_count; /* atomic */
    uint64_t past_handled, past_expired, past_busy; /* atomic: of actors that are gone */
    pthread_mutex_t lock; /* guards: */
    struct bl_link actors;
    size_t actor_count;
    /* The housekeeper. */
    struct bl_link garbage; /* blocks to be freed by it: large ones, and once the device closes all, because the C library may give
                             * the kernel back what ten thousand small ones were at the last of them */
    pthread_mutex_t watch_lock; /* giving up a runaway */
    pthread_mutex_t keeper_lock;
    pthread_cond_t keeper_wake;
    bool keeper_gone, collecting; /* under keeper_lock, as garbage is: another thread frees it */
    uint32_t keeper_deep; /* atomic: it sleeps until it is woken */
    uint32_t touched;     /* atomic: somebody had a turn since it last looked */
};

BL_API void bl_device_config_init(struct bl_device_config *config);
/* Of any device, also in another process: BL_LIMIT, BL_INVALID. */
enum bl_status bl_device_sizes_check(unsigned threads, unsigned max_lost, uint64_t max_actors, struct bl_error *err);
/* BL_INVALID, BL_NO_MEMORY. On success the device has one reference, the caller's. */
BL_API enum bl_status bl_device_open(const struct bl_device_config *config, const struct bl_device_host *host, void *skin,
                                     struct bl_device **out,
                              struct bl_error *err);
/* Its housekeeper kills all actors and ends the threads. Constant time, any number of times. */
BL_API void bl_device_close(struct bl_device *d);
BL_API void bl_device_ref(struct bl_device *d);
BL_API void bl_device_unref(struct bl_device *d);
BL_API void bl_device_stats(struct bl_device *d, struct bl_device_stats *out);
/* BL_OK, or why it takes no new work. */
BL_API enum bl_status bl_device_check(struct bl_device *d, struct bl_error *err);
/* Frees a block that may be large, not on this thread if so. The caller has a reference of the device. */
void bl_device_free_later(struct bl_device *d, void *block, size_t bytes);

/* ---- the housekeeper: bl_watch.c ---- */

int bl_keeper_start(struct bl_device *d);
/* Somebody has work: it looks again soon. */
void bl_keeper_touch(struct bl_device *d);
/* Now. */
void bl_keeper_wake(struct bl_device *d);
struct bl_watch *bl_watch_take(struct bl_device *d, struct bl_threads *threads, struct bl_turn *t);
void bl_watch_give_back(struct bl_watch *w);
void bl_watch_enter(struct bl_watch *w, uint64_t now_ns, const struct bl_slot *message);
/* What the housekeeper did meanwhile: WATCH_STUCK, WATCH_ABANDONED. */
unsigned bl_watch_leave(struct bl_device *d, struct bl_watch *w);
/* Where its turns run. */
struct bl_threads *bl_device_threads(struct bl_device *d, bool aside);

#endif
