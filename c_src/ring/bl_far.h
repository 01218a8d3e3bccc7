/* SPDX-License-Identifier: Apache-2.0
 *
 * A device in another process, as the VM sees it: handles, messages under way, and what is needed to make its actors again in
 * the next process. Knows no Erlang; what answers go through is a table of functions, as for bl_device.
 *
 *   bl_lines.h          the memory that both share: two rings of lines
 *   bl_far_wire.h       what is said through it
 *   bl_far.c            opening and closing, handlers, statistics
 *   bl_far_actor.c      actors: start, routes, subscribers, checkpoints; all of it again for the next process
 *   bl_far_flight.c     what was accepted and is not answered: in, out, and never twice
 *   bl_far_buffer.c     buffers: memory that this side and each of its processes see
 *   bl_far_load.c       handlers: of shared objects, of guests
 *   bl_far_link.c       the threads: one sends what could not go out at once, one reads
 *   bl_far_read.c       what the process says
 *   bl_far_serve.h      the other end
 *
 *     DOWN -> LISTENING -> UP -> BROKEN -> DOWN        CLOSED from any
 *
 *   LISTENING  a socket waits for the process, which the Erlang side starts
 *   BROKEN     the process ended, or broke a rule, or missed its heartbeat: it is killed. Waits a moment for the Erlang side to
 *              say how it ended (bl_far_exited), then answers everything under way
 *
 * All of a device is under its one lock, which is held for some hundred nanoseconds and never while waiting.
 */
#ifndef BL_FAR_H
#define BL_FAR_H

#include "bl_device.h"
#include "bl_far_wire.h"
#include "bl_peer.h"

enum {
    BL_FAR_FLIGHTS_MOST = 1 << 16,  /* messages of a device that are accepted and not answered */
    BL_FAR_CHUNK = 1024, BL_FAR_CHUNKS = 8192, /* flights are allocated so, with room for making many actors again */
    BL_FAR_NOW_BYTES = 4096,        /* a body up to this goes out from the thread that sends it */
    BL_FAR_TOLD_BYTES = 4 << 20,    /* what the processes of a device may say about handlers in all */
    BL_FAR_TOLD_NAMES = 16384,
    BL_FAR_TEXT = 4096,             /* bytes of a path */
    BL_FAR_BUFFERS_MOST = 4096,     /* of a device: each is a mapping, of which the kernel allows a process 65,530 */
    BL_FAR_LOOK_MS = 20,
};

struct bl_far;
struct bl_far_actor;

enum bl_far_state { BL_FAR_STATE_DOWN, BL_FAR_STATE_LISTENING, BL_FAR_STATE_UP, BL_FAR_STATE_BROKEN, BL_FAR_STATE_CLOSED };

/* What answers go through. On a thread of the device, or on the thread that called; never with the lock held. */
struct bl_far_host {
    /* Ends the request. `result` as of bl_device_host.answer. */
    void (*answer)(struct bl_far *d, uint64_t request, const struct bl_error *err, struct bl_result *result,
                   const struct bl_far_actor *a, uint32_t number);
    /* A cast that was accepted will not be handled. sender 0: it came from an actor. */
    void (*undelivered)(const struct bl_far_actor *a, uint64_t sender, uint32_t function, const struct bl_error *err);
    void (*batch)(void *sink, struct bl_result *results, size_t count);
    void (*failed)(const struct bl_far_actor *a, const struct bl_error *err);
    uint8_t *(*body_new)(struct bl_quota *quota, uint64_t size, void **owner, struct bl_error *err);
    void (*body_free)(void *owner);
    void (*sink_free)(void *sink);
    void (*actor_ended)(void *skin);
    void (*actor_free)(void *skin);
};

struct bl_far_config {
    struct bl_far_setup setup;
    uint64_t heartbeat_ns;
    uint64_t checkpoint_ns, checkpoint_messages; /* 0: none of its own accord */
};

/* A handler of the other process: its table's row, without functions to call. Never freed before the device. */
struct bl_far_known {
    struct bl_ring_handler handler;
    struct bl_far_known *next;
    bool sandboxed;
    const char *names[BL_FAR_NAMES + 3]; /* functions, NULL, ports, NULL */
    size_t text_size;
    char text[]; /* of the names, then its own */
};

/* The memory of a buffer: a piece of the device's second file, of which no byte is ever used for two. */
struct bl_far_block {
    struct bl_far *device;
    uint64_t offset, bytes, size; /* in the file; whole pages; as asked */
    uint32_t index;
    bool lent; /* [lock] */
    uint8_t *data;
};

/* The buffers of a message. */
struct bl_far_uses {
    struct bl_far_use use[BL_RING_BUFFERS]; /* first: the record's body */
    struct bl_ring_buffer *buffer[BL_RING_BUFFERS];
    uint16_t count, flags; /* of the slot */
};

/* Handlers to be loaded, at first or again: a path, or a module of guests. */
struct bl_far_load {
    uint32_t refs; /* atomic */
    uint8_t kind;  /* BL_FAR_LOAD, BL_FAR_LOAD_GUESTS */
    size_t size;
    uint8_t bytes[];
};

/* What an actor begins with, at first or again. */
struct bl_far_saved {
    uint32_t refs; /* atomic */
    uint32_t version; /* of the state, if it came from a checkpoint */
    bool from_checkpoint;
    uint64_t size, stamp;
    uint8_t bytes[];
};

struct bl_far_route {
    uint32_t port;
    struct bl_far_actor *to; /* a reference */
};

struct bl_far_sink {
    struct bl_link link;
    uint32_t refs; /* atomic */
    uint32_t id;
    uint64_t window;
    uint64_t owed;      /* [lock] credit that waits for those that are on their way */
    uint32_t crediting; /* [lock] how many are */
    void *skin;
};

struct bl_far_actor {
    uint32_t refs;  /* atomic: of the table, flights, routes: who may tell in its name. The last one ends its skin */
    uint32_t holds; /* atomic: all refs together are one; of handles and subscriptions. The last one frees it */
    uint32_t index;
    struct bl_far *device;
    void *skin;
    const struct bl_ring_handler *handler; /* atomic; [lock] */
    /* Constant. */
    uint64_t queue, state_size;
    uint8_t priority;
    /* [lock] */
    enum bl_phase phase;
    bool suspended;
    uint64_t inside; /* accepted, not answered */
    uint64_t busy;
    uint64_t since_checkpoint; /* messages of this side */
    bool fed; /* others were connected to it: what they send is not counted here */
    bool checkpointing;
    struct bl_far_saved *saved;
    struct bl_far_route *route;
    size_t route_count;
    struct bl_link sinks;
};

enum bl_far_flight_kind { BL_FLIGHT_CALL, BL_FLIGHT_CAST, BL_FLIGHT_CONTROL, BL_FLIGHT_QUIET };

struct bl_far_flight {
    struct bl_link link; /* in `queue` until it is sent */
    uint32_t index, generation;
    uint8_t kind;
    bool used, queued;
    uint64_t request; /* CALL, CONTROL: to be answered; CAST: the sender. QUIET: nobody asked */
    struct bl_far_actor *actor; /* a reference, or NULL */
    struct bl_far_head head;
    const uint8_t *data; /* a body that is longer than the head holds */
    void *owner;         /* of it, until it is sent: body_free */
    struct bl_far_load *load; /* or this is the body, a reference; kept until it is answered */
    struct bl_far_uses *uses; /* or this, and the buffers with it */
    bool again;          /* START */
};

/* What the reader is in the middle of. */
struct bl_far_coming {
    bool open;
    struct bl_far_head head;
    struct bl_far_flight *flight; /* of an ANSWER */
    uint64_t have;
    uint8_t *space; /* NULL: nowhere */
    void *owner;    /* of it, if the host made it */
    struct bl_far_saved *saved; /* or it is this one's */
    uint8_t *block;             /* or this */
    uint8_t small[512];         /* or this */
    struct bl_error err;        /* why it goes nowhere */
    size_t told, results;       /* of a batch: records, and those that somebody gets */
    struct bl_result result[BL_RESULTS_MOST];
};

struct bl_far {
    uint32_t refs; /* atomic */
    struct bl_far_config config;
    const struct bl_far_host *host;
    struct bl_quota quota;
    pthread_mutex_t lock; /* guards everything below that does not say otherwise */
    pthread_cond_t changed;
    enum bl_far_state state;
    bool closing;
    /* The process. */
    int socket, pidfd, listening;
    char path[BL_PEER_PATH];
    uint64_t pid, starts;
    struct bl_silence silence; /* without a PONG, or more of a long body; under the lock */
    char why[160], exited[128], broken[160]; /* the last end; what the Erlang side said; what this side says */
    struct bl_far_memory *memory;
    struct bl_lines out; /* the lock, or `sending` */
    struct bl_lines in;  /* the reader's */
    struct bl_far_coming *coming; /* the reader's */
    bool reading, sending; /* a thread is in the memory: it stays */
    uint64_t sent;         /* the token of what the sender sends, or has sent last */
    /* Handlers, newest first; what was loaded, in order. */
    struct bl_far_known *known; /* the reader's to change, under the lock */
    size_t told_bytes, told_names; /* of those that were new */
    int new_atoms; /* the host's, atomic: how many names it may still make of what the process says */
    struct bl_far_load **load;
    size_t load_count;
    /* Flights. */
    struct bl_far_flight *flight[BL_FAR_CHUNKS];
    uint32_t flight_room, flight_count;
    struct bl_link free, queue;
    /* Actors by index; NULL: free. */
    struct bl_far_actor **actor;
    uint32_t actor_room, actor_count, sink_count, next_index;
    /* Buffers. */
    int arena;            /* constant: the file */
    uint64_t arena_bytes; /* of it that were ever used */
    struct bl_far_block **block; /* by index; NULL: free */
    uint32_t block_room, block_next, block_count;
    uint64_t buffer_count; /* atomic, with views */
    /* Counters of all processes together. */
    uint64_t started, busy, undelivered, failures;
    struct bl_device_stats stats, past; /* of this process, of those before */
    bool stats_asked; /* by the sender */
    uint64_t look_ns, checkpoint_next_ns; /* the sender: when to look again */
    uint32_t checkpoint_at;
};

/* ---- devices: bl_far.c ---- */

/* BL_LIMIT, BL_NO_MEMORY. One reference is the caller's. */
BL_API enum bl_status bl_far_open(const struct bl_far_config *config, const struct bl_far_host *host, struct bl_far **out,
                                  struct bl_error *err);
/* The same without threads: nothing goes out that cannot go at once. For tests. NULL: no memory. */
struct bl_far *bl_far_make(const struct bl_far_config *config, const struct bl_far_host *host, struct bl_error *err);
/* Kills the process; everything is answered BL_CLOSED. Constant time, any number of times. */
BL_API void bl_far_close(struct bl_far *d);
BL_API void bl_far_ref(struct bl_far *d);
BL_API void bl_far_unref(struct bl_far *d);
/* Waits for a process at a new socket, whose path it gives. BL_BUSY: the last one is not forgotten yet. */
BL_API enum bl_status bl_far_listen(struct bl_far *d, char path[BL_PEER_PATH], struct bl_error *err);
/* The process has ended, or could not be started. */
BL_API void bl_far_exited(struct bl_far *d, const char *why);
/* BL_OK, or why it takes no work now. Lock held. */
enum bl_status bl_far_check(const struct bl_far *d, struct bl_error *err);
extern const char bl_far_closed[]; /* why a process ended that says no more */
/* What is counted over all its processes. */
void bl_far_stats_add(struct bl_device_stats *sum, const struct bl_device_stats *one);
BL_API const struct bl_ring_handler *bl_far_handler(struct bl_far *d, const char *name);

struct bl_far_info {
    enum bl_far_state state;
    uint64_t pid, starts, in_flight;
    char why[160];
    struct bl_device_stats stats; /* as it last told */
};
BL_API void bl_far_info(struct bl_far *d, struct bl_far_info *out);

/* ---- actors: bl_far_actor.c ---- */

/* As bl_actor_new; asks the process, which answers `request`. The actor is there already, and takes messages. The caller holds it. */
BL_API enum bl_status bl_far_actor_new(struct bl_far *d, const struct bl_actor_options *options, uint64_t request,
                                       struct bl_far_actor **out, struct bl_error *err);
BL_API void bl_far_actor_hold(struct bl_far_actor *a);
BL_API void bl_far_actor_drop(struct bl_far_actor *a);
void bl_far_actor_ref(struct bl_far_actor *a);
void bl_far_actor_unref(struct bl_far_actor *a);
/* Ends it without draining. Any number of times. */
BL_API void bl_far_actor_kill(struct bl_far_actor *a);
/* kind: enum bl_control_kind, or BL_FAR_INFO. */
BL_API enum bl_status bl_far_actor_control(struct bl_far_actor *a, uint32_t kind, uint64_t request, struct bl_error *err);
BL_API enum bl_status bl_far_actor_connect(struct bl_far_actor *from, uint32_t port, struct bl_far_actor *to, struct bl_error *err);
BL_API uint32_t bl_far_actor_disconnect(struct bl_far_actor *from, uint32_t port, const struct bl_far_actor *to);
BL_API enum bl_status bl_far_actor_subscribe(struct bl_far_actor *a, void *skin, uint64_t window, struct bl_error *err);
BL_API bool bl_far_actor_unsubscribe(struct bl_far_actor *a, const void *skin);
BL_API bool bl_far_actor_credit(struct bl_far_actor *a, const void *skin, uint64_t more);
/* Everything again for a process that has just come: put into the queue. Lock held. */
void bl_far_again(struct bl_far *d);
/* Takes it out of the table and drops what only a living actor needs. Its owner is told (err) unless err is NULL. Lock not held. */
void bl_far_actor_end(struct bl_far_actor *a, enum bl_phase phase, const struct bl_error *err);
/* One more message was answered: is a checkpoint due? Lock held. */
void bl_far_count_message(struct bl_far_actor *a);
/* Asks those among the next actors that had messages for one; `checkpoint_at` says where it goes on. Lock held. */
void bl_far_checkpoints(struct bl_far *d, uint32_t actors);
/* The head and first part of the body of its START. Lock held. */
void bl_far_start_of(const struct bl_far_actor *a, bool again, struct bl_far_start *out);
/* Takes a reference over. Lock not held. */
void bl_far_save(struct bl_far_actor *a, struct bl_far_saved *saved);
void bl_far_saved_unref(struct bl_far_saved *s);
void bl_far_sink_unref(struct bl_far *d, struct bl_far_sink *s);
/* The process has what one of its subscribers was allowed: is there more? Lock held. */
void bl_far_credited(struct bl_far_actor *a, uint32_t id);

/* ---- buffers: bl_far_buffer.c ---- */

/* As bl_ring_buffer_new; asks the process to take it in, which answers `request`. May take a while. BL_LIMIT (memory, BUFFERS_MOST),
 * BL_NO_MEMORY, BL_BUSY, BL_CLOSED. */
BL_API enum bl_status bl_far_buffer_new(struct bl_far *d, uint64_t size, uint64_t request, struct bl_ring_buffer **out,
                                        struct bl_error *err);
/* The slot's buffers as the process knows them. They are still the slot's when there is no memory (NULL). */
struct bl_far_uses *bl_far_uses_new(const struct bl_slot *slot, struct bl_error *err);
/* Gives the buffers back. Lock not held. */
void bl_far_uses_done(struct bl_far_uses *uses);
/* Names all of them to a process that has just come. Lock held. */
void bl_far_buffers_again(struct bl_far *d);

/* ---- under way: bl_far_flight.c ---- */

/* Sends a message; takes over what the slot holds. request 0: a cast of slot->reply_to. */
BL_API enum bl_status bl_far_message(struct bl_far_actor *a, const struct bl_slot *slot, uint64_t request, struct bl_error *err);
/* What the process knows: its STATS. */
BL_API enum bl_status bl_far_ask(struct bl_far *d, enum bl_far_kind kind, uint64_t request, struct bl_error *err);
/* Room for what is to be loaded, counted with the device's memory; to be filled. NULL: BL_LIMIT, BL_NO_MEMORY. */
BL_API struct bl_far_load *bl_far_load_new(struct bl_far *d, enum bl_far_kind kind, size_t size, struct bl_error *err);
BL_API void bl_far_load_unref(struct bl_far_load *load);
/* Asks the process to load it, and each one after that. Takes the reference, whatever it answers. */
BL_API enum bl_status bl_far_load(struct bl_far *d, struct bl_far_load *load, uint64_t request, struct bl_error *err);
/* The flight's body is what is to be loaded: takes the reference over. Lock held. */
void bl_far_flight_load(struct bl_far_flight *f, struct bl_far_load *load);
/* What was loaded is loaded again by the next process. True: it has taken the reference. Lock held. */
bool bl_far_remember(struct bl_far *d, struct bl_far_load *load);
/* Nothing is loaded any more. */
void bl_far_forget(struct bl_far *d);
/* A flight with its head begun, or NULL (BL_NO_MEMORY). Lock held. */
struct bl_far_flight *bl_far_flight_new(struct bl_far *d, enum bl_far_flight_kind kind, enum bl_far_kind record,
                                        struct bl_far_actor *a, struct bl_error *err);
/* On its way: at once if that can be, or through the sender. Lock held. */
void bl_far_flight_go(struct bl_far *d, struct bl_far_flight *f);
/* The same for what needs no more than a head and nobody asked for. Without memory the link breaks. Lock held. */
void bl_far_quiet(struct bl_far *d, const struct bl_far_head *head, struct bl_far_actor *a);
/* The one that a token names, sent and not answered; NULL: it was made up. Lock held. */
struct bl_far_flight *bl_far_flight_find(struct bl_far *d, uint64_t token);
/* Answers it, and gives it back. Lock not held. */
void bl_far_flight_land(struct bl_far *d, struct bl_far_flight *f, const struct bl_error *err, struct bl_result *result,
                        uint32_t number);
/* Those under way, each answered with err. Only when no thread is in the memory. Lock not held. */
void bl_far_flights_fail(struct bl_far *d, const struct bl_error *err);

/* ---- threads: bl_far_link.c, bl_far_read.c ---- */

/* Sends what is queued, looks after the heartbeat; until the device is closed. */
void *bl_far_sender(void *device);
/* One process, from listening to its end. */
void *bl_far_reader(void *device);
/* Ends the process with a reason, of which the first stays. Lock held. */
void bl_far_break(struct bl_far *d, const char *why);
void bl_far_break_now(struct bl_far *d, const char *why); /* takes the lock */
/* Reads all records that are there. False: a rule was broken. The reader. */
bool bl_far_read(struct bl_far *d);
/* Nothing more comes of what had begun. The reader. */
void bl_far_read_end(struct bl_far *d);
/* Wakes the process if it sleeps. Lock held. */
void bl_far_wake(struct bl_far *d);

/* ---- the other end: bl_far_serve.c, bl_far_do.c ---- */

struct bl_far_end {
    int socket, arena;
    struct bl_far_memory *memory;
    struct bl_far_setup setup;
};
/* Joins the VM at a path. False: it is not there, or of another version. */
BL_API bool bl_far_join(const char *path, struct bl_far_end *out);
/* How a process gets handlers out of a module of guests; the ring part only carries its bytes. */
struct bl_far_guests {
    enum bl_status (*load)(struct bl_handlers *handlers, const uint8_t *bytes, size_t size, size_t *added, struct bl_error *err);
    size_t stack_bytes; /* that `load` needs */
};
/* Says that it is there, or why not (err), and then serves until the VM or the standard input ends. guests NULL: it takes none. */
BL_API void bl_far_serve(struct bl_far_end *end, const struct bl_far_guests *guests, const struct bl_error *err);

#endif
