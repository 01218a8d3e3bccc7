/* SPDX-License-Identifier: Apache-2.0
 *
 * A device in another process: this program again, told by its environment to serve. And processes that lie: threads of this
 * one, so that the sanitizers see what the lies do.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bl_test.h"
#include "far_fixture.h"

#define SERVE "BEAMLINE_FAR_TEST_SERVE"

/* ---- handlers that are guests, in the process: each takes its time to load and to start ---- */

enum { SLOW_US = 30000 };

static enum bl_status slow_open(const struct bl_ring_guest_handler *h, struct bl_quota *quota, uint64_t state_size,
                                struct bl_ring_guest **out, struct bl_error *err)
{
    (void)h, (void)quota, (void)state_size;
    usleep(SLOW_US);
    *out = bl_alloc_zero(NULL, 1, err);
    return *out ? BL_OK : BL_NO_MEMORY;
}

static enum bl_status slow_handle(struct bl_ring_guest *g, uint8_t *state, uint64_t state_size, const struct bl_ring_message *message,
                                  struct bl_ring_outbox *out, int32_t *code, struct bl_error *err)
{
    (void)g, (void)state, (void)state_size, (void)err;
    *code = bl_ring_reply(out, message->data, message->size, 0, 1) ? BL_RING_OK : BL_RING_NO_MEMORY;
    return BL_OK;
}

static enum bl_status slow_check(struct bl_ring_guest *g, const uint8_t *state, uint64_t state_size, int32_t *code, struct bl_error *err)
{
    (void)g, (void)state, (void)state_size, (void)code, (void)err;
    return BL_OK;
}

static void slow_close(struct bl_ring_guest *g) { bl_free(g); }
static uint64_t slow_bytes(const struct bl_ring_guest *g) { return g ? 1 : 0; }
static void slow_free(struct bl_ring_guest_handler *h) { bl_free(h); }

static const struct bl_ring_guest_class slow = {.open = slow_open, .close = slow_close, .handle = slow_handle, .check = slow_check,
                                                .bytes = slow_bytes, .free = slow_free};

static enum bl_status slow_load(struct bl_handlers *handlers, const uint8_t *bytes, size_t size, size_t *added, struct bl_error *err)
{
    if (size != 100 || bytes[99] != 7) return bl_fail_invalid(err, "module", "not what was sent");
    usleep(SLOW_US);
    struct bl_ring_guest_handler *h = bl_alloc_zero(NULL, sizeof *h, err);
    if (!h) return BL_NO_MEMORY;
    h->face = (struct bl_ring_handler){.name = "slow", .version = 1, .state_most = 64};
    h->class = &slow;
    *added = 1;
    return bl_handlers_add_guests(handlers, &h, 1, err);
}

static const struct bl_far_guests guests = {.load = slow_load, .stack_bytes = 256 * 1024};

__attribute__((constructor)) static void serve_if_told(void)
{
    const char *path = getenv(SERVE);
    struct bl_far_end end;
    const struct bl_error none = {.status = BL_OK};
    if (!path) return;
    if (bl_far_join(path, &end)) bl_far_serve(&end, &guests, &none);
    _exit(0);
}

/* ---- a device ---- */

static bool eventually(bool (*check)(void *), void *arg)
{
    for (int i = 0; i < 20000; i++) {
        if (check(arg)) return true;
        usleep(1000);
    }
    return false;
}

static struct bl_far *open_device(uint64_t heartbeat_ms)
{
    struct bl_error err;
    struct bl_far *d = NULL;
    const struct bl_far_config config = {.setup = {.threads = 2, .max_actors = 1 << 20}, .heartbeat_ns = heartbeat_ms * 1000000};
    memset(&far_seen, 0, sizeof far_seen);
    return bl_far_open(&config, &far_host, &d, &err) == BL_OK ? d : NULL;
}

static bool is_up(void *device)
{
    struct bl_far_info info;
    bl_far_info(device, &info);
    return info.state == BL_FAR_STATE_UP;
}

static bool is_down(void *device)
{
    struct bl_far_info info;
    bl_far_info(device, &info);
    return info.state == BL_FAR_STATE_DOWN;
}

static bool is_not_up(void *device) { return !is_up(device); }

static int null_input = -1; /* the process ends with its standard input: it gets one that stays */

static pid_t start_process(struct bl_far *d)
{
    char path[BL_PEER_PATH];
    struct bl_error err;
    int input[2];
    if (bl_far_listen(d, path, &err) != BL_OK || pipe(input) != 0) return -1;
    const pid_t pid = fork();
    if (pid == 0) {
        dup2(input[0], STDIN_FILENO);
        setenv(SERVE, path, 1);
        execl("/proc/self/exe", "far_test", (char *)NULL);
        _exit(1);
    }
    close(input[0]);
    if (null_input >= 0) close(null_input);
    null_input = input[1];
    return pid;
}

static void await_end(struct bl_far *d, pid_t pid)
{
    int status;
    waitpid(pid, &status, 0);
    bl_far_exited(d, "killed by the test");
    CHECK(eventually(is_down, d));
}

static bool answered(void *request) { return FAR_SEEN(far_seen.answers[(uintptr_t)request]) > 0; }

static struct bl_far_actor *start_actor(struct bl_far *d, const char *handler, uint64_t request, size_t queue)
{
    struct bl_error err;
    struct bl_far_actor *a = NULL;
    const struct bl_actor_options o = {.handler = bl_far_handler(d, handler), .queue = queue, .priority = 1, .skin = d};
    if (!o.handler || bl_far_actor_new(d, &o, request, &a, &err) != BL_OK) return NULL;
    return eventually(answered, (void *)(uintptr_t)request) && far_seen.status[request] == BL_OK ? a : NULL;
}

static bool last_ref(void *device) { return FAR_SEEN(((struct bl_far *)device)->refs) == 1; }

static void close_device(struct bl_far *d)
{
    bl_far_close(d);
    CHECK(eventually(last_ref, d));
    struct bl_far_info info;
    bl_far_info(d, &info);
    CHECK_INT(info.in_flight, 0);
    CHECK_INT(info.stats.actors, 0);
    CHECK_INT(bl_quota_used(&d->quota), 0);
    bl_far_unref(d);
}

TEST(messages_of_all_sizes_come_back)
{
    struct bl_far *d = open_device(20000);
    REQUIRE(d != NULL);
    const pid_t pid = start_process(d);
    REQUIRE(eventually(is_up, d));
    struct bl_far_actor *echo = start_actor(d, "echo", 1, 64);
    REQUIRE(echo != NULL);
    static const size_t sizes[] = {0, 8, 24, 25, 64, 65, 4096, 4097, 65535, 65536, 65537, 131072, 3000000, 9000001};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const uint64_t request = 10 + i;
        CHECK_INT(far_say(echo, request, request, sizes[i]), BL_OK);
        CHECK(eventually(answered, (void *)(uintptr_t)request));
        CHECK_INT(far_seen.status[request], BL_OK);
        CHECK_INT(far_seen.size[request], sizes[i]);
        if (sizes[i] >= 8) CHECK_INT(far_seen.first[request], request);
    }
    bl_far_actor_kill(echo);
    bl_far_actor_drop(echo);
    close_device(d);
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(far_seen.freed, 1);
}

static uint64_t bodies_freed, freed_when_answered;

static void free_slowly(void *owner)
{
    usleep(20000);
    far_body_free(owner);
    __atomic_add_fetch(&bodies_freed, 1, __ATOMIC_ACQ_REL);
}

static void look_and_answer(struct bl_far *d, uint64_t request, const struct bl_error *err, struct bl_result *result,
                            const struct bl_far_actor *a, uint32_t number)
{
    __atomic_store_n(&freed_when_answered, FAR_SEEN(bodies_freed), __ATOMIC_RELEASE);
    far_answer(d, request, err, result, a, number);
}

TEST(who_is_answered_has_its_body_given_back)
{
    struct bl_far *d = open_device(20000);
    REQUIRE(d != NULL);
    struct bl_far_host slow_host = far_host;
    slow_host.body_free = free_slowly;
    slow_host.answer = look_and_answer;
    d->host = &slow_host;
    const pid_t pid = start_process(d);
    REQUIRE(eventually(is_up, d));
    struct bl_far_actor *echo = start_actor(d, "echo", 1, 64);
    REQUIRE(echo != NULL);
    CHECK_INT(far_say(echo, 0, 10, 10000), BL_OK);
    CHECK_INT(far_say(echo, 11, 11, 10000), BL_OK); /* behind the other: it is read at once */
    CHECK(eventually(answered, (void *)(uintptr_t)11));
    CHECK_INT(FAR_SEEN(freed_when_answered), 2);
    bl_far_actor_kill(echo);
    bl_far_actor_drop(echo);
    close_device(d);
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
}

enum { SENDERS = 4, EACH = 5000 };
struct sender {
    pthread_t thread;
    struct bl_far_actor *actor;
    uint64_t first, refused;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;
    for (uint64_t i = 0; i < EACH; i++) {
        const enum bl_status status = far_say(s->actor, s->first + i, i, i % 7 == 0 ? 300 : 8);
        if (status == BL_OK) continue;
        if (status == BL_BUSY && i % 64) {
            i--;
            usleep(50);
            continue;
        }
        s->refused++;
        __atomic_add_fetch(&far_seen.answers[s->first + i], 1, __ATOMIC_ACQ_REL);
    }
    return NULL;
}

static bool all_answered(void *arg)
{
    (void)arg;
    for (uint64_t i = 1000; i < 1000 + SENDERS * EACH; i++)
        if (FAR_SEEN(far_seen.answers[i]) == 0) return false;
    return true;
}

TEST(what_is_under_way_when_its_process_is_killed_is_answered_once)
{
    struct bl_far *d = open_device(20000);
    REQUIRE(d != NULL);
    pid_t pid = start_process(d);
    REQUIRE(eventually(is_up, d));
    struct sender senders[SENDERS];
    for (uint64_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.actor = start_actor(d, "echo", 1 + i, 256), .first = 1000 + i * EACH};
        REQUIRE(senders[i].actor != NULL);
    }
    for (int i = 0; i < SENDERS; i++) pthread_create(&senders[i].thread, NULL, send_all, &senders[i]);
    for (int kill_number = 0; kill_number < 5; kill_number++) {
        usleep(20000);
        kill(pid, SIGKILL);
        await_end(d, pid);
        pid = start_process(d);
        REQUIRE(eventually(is_up, d));
    }
    for (int i = 0; i < SENDERS; i++) pthread_join(senders[i].thread, NULL);
    CHECK(eventually(all_answered, NULL));
    for (uint64_t i = 1000; i < 1000 + SENDERS * EACH; i++)
        if (far_seen.answers[i] != 1) CHECK_INT(far_seen.answers[i], 1);
    for (int i = 0; i < SENDERS; i++) bl_far_actor_drop(senders[i].actor);
    close_device(d);
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(far_seen.failed, SENDERS); /* the device's end */
    CHECK_INT(far_seen.freed, SENDERS);
}

/* ---- processes that lie ---- */

struct liar {
    struct bl_far *device;
    struct bl_far_end end;
    struct bl_lines in, out;
    struct bl_far_actor *actor;
};

static void write_record(struct liar *l, struct bl_far_head *head, const void *body)
{
    if (head->total <= BL_FAR_INLINE && body) memcpy(head->bytes, body, head->total);
    bl_lines_write(&l->out, head, body, bl_far_behind(head));
    if (bl_lines_wake(&l->out)) (void)!send(l->end.socket, "w", 1, MSG_NOSIGNAL);
}

/* The VM's next record, but for its questions for statistics. */
static struct bl_far_head read_record(struct liar *l)
{
    struct bl_far_head head;
    do {
        head = (struct bl_far_head){.kind = 0};
        for (int i = 0; i < 5000 && bl_lines_peek(&l->in, &head) != BL_LINES_OK; i++) usleep(1000);
        bl_lines_take(&l->in, NULL, bl_far_behind(&head));
    } while (head.kind == BL_FAR_STATS);
    return head;
}

/* Up, with an actor that has a handler "h", and nothing on its way. */
static bool be_up(struct liar *l, uint64_t heartbeat_ms)
{
    char path[BL_PEER_PATH];
    struct bl_error err;
    struct {
        struct bl_far_handler row;
        char names[8];
    } handler = {.row = {.name = "h", .version = 1, .functions = 1, .ports = 1}, .names = "s\0f\0p"};
    l->device = open_device(heartbeat_ms);
    if (!l->device || bl_far_listen(l->device, path, &err) != BL_OK || !bl_far_join(path, &l->end)) return false;
    bl_lines_init(&l->in, &l->end.memory->to_host);
    bl_lines_init(&l->out, &l->end.memory->to_vm);
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_HANDLER, .total = sizeof handler.row + 6}, &handler);
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_UP}, NULL);
    if (!eventually(is_up, l->device)) return false;
    const struct bl_actor_options o = {.handler = bl_far_handler(l->device, "h"), .queue = 64, .priority = 1, .skin = l};
    if (!o.handler || bl_far_actor_new(l->device, &o, 1, &l->actor, &err) != BL_OK) return false;
    const struct bl_far_head start = read_record(l);
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = start.token}, NULL);
    return start.kind == BL_FAR_START && eventually(answered, (void *)1);
}

static void end_liar(struct liar *l)
{
    bl_far_exited(l->device, "the test");
    CHECK(eventually(is_down, l->device));
    munmap(l->end.memory, sizeof *l->end.memory);
    close(l->end.socket);
    close(l->end.arena);
    bl_far_actor_drop(l->actor);
    close_device(l->device);
}

/* What is said breaks the rule that the device then names. */
static void breaks(const char *rule, void (*lie)(struct liar *l, const struct bl_far_head *message))
{
    struct liar l;
    struct bl_far_info info;
    REQUIRE(be_up(&l, 20000));
    CHECK_INT(far_say(l.actor, 7, 7, 8), BL_OK);
    const struct bl_far_head message = read_record(&l);
    CHECK_INT(message.kind, BL_FAR_MESSAGE);
    lie(&l, &message);
    CHECK(eventually(is_not_up, l.device));
    bl_far_exited(l.device, "the test"); /* so that it need not wait for the word */
    CHECK(eventually(is_down, l.device));
    bl_far_info(l.device, &info);
    if (strcmp(info.why, rule) != 0) BL_TEST_FAIL("the device says: %s, expected: %s", info.why, rule);
    CHECK_INT(far_seen.answers[7], 1);
    CHECK_INT(far_seen.status[7], BL_HOST_EXITED);
    end_liar(&l);
}

static uint8_t filler[BL_LINES_BODY];

#define LIE(name) static void name(struct liar *l, __attribute__((unused)) const struct bl_far_head *message)
LIE(no_kind) { write_record(l, &(struct bl_far_head){.kind = 200}, NULL); }
LIE(foreign_token) { write_record(l, &(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = message->token + 1}, NULL); }
LIE(old_generation) { write_record(l, &(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = message->token - (UINT64_C(1) << 32)}, NULL); }
LIE(answer_without_end)
{
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = message->token, .total = UINT32_MAX}, filler);
}
LIE(short_error)
{
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = message->token, .status = 1, .total = 4}, "????");
}
LIE(unasked_data)
{
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_DATA, .total = 64}, filler);
}
LIE(other_than_data)
{
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = message->token, .total = 200000}, filler);
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_UP}, NULL);
}
LIE(too_much_data)
{
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = message->token, .total = BL_LINES_BODY + 1}, filler);
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_DATA, .total = 2}, filler);
}
LIE(up_twice) { write_record(l, &(struct bl_far_head){.kind = BL_FAR_UP}, NULL); }
LIE(up_with_body) { write_record(l, &(struct bl_far_head){.kind = BL_FAR_UP, .total = 3}, "abc"); }
LIE(false_end) { write_record(l, &(struct bl_far_head){.kind = BL_FAR_ENDED, .actor = 0}, NULL); }
LIE(handler_without_names)
{
    const struct {
        struct bl_far_handler row;
        char names[4];
    } handler = {.row = {.name = "x", .functions = 5}};
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_HANDLER, .total = sizeof handler.row + 4}, &handler);
}
LIE(handler_without_name)
{
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_HANDLER, .total = sizeof(struct bl_far_handler) + 4}, filler);
}
LIE(batch_without_end)
{
    for (int i = 0; i <= BL_RESULTS_MOST; i++) write_record(l, &(struct bl_far_head){.kind = BL_FAR_RESULT, .total = 2}, "ab");
}
LIE(wild_head)
{
    __atomic_store_n(&l->end.memory->to_vm.head, UINT64_MAX / 2, __ATOMIC_RELEASE);
    (void)!send(l->end.socket, "w", 1, MSG_NOSIGNAL);
}
LIE(head_before_its_body)
{
    struct bl_far_head head = {.kind = BL_FAR_ANSWER, .token = message->token, .total = 5000};
    memcpy(l->end.memory->to_vm.line[l->out.position % BL_LINES], &head, sizeof head);
    __atomic_store_n(&l->end.memory->to_vm.head, l->out.position + 1, __ATOMIC_RELEASE);
    (void)!send(l->end.socket, "w", 1, MSG_NOSIGNAL);
}
LIE(dying)
{
    struct bl_error err;
    bl_fail(&err, BL_DEVICE_FAILED);
    memcpy(err.text, "so it says", sizeof "so it says");
    write_record(l, &(struct bl_far_head){.kind = BL_FAR_DYING, .total = sizeof err}, &err);
}
LIE(wild_tail)
{
    __atomic_store_n(&l->end.memory->to_host.tail, UINT64_C(1) << 60, __ATOMIC_RELEASE);
    for (int i = 0; i < 60; i++) far_say(l->actor, 100 + (uint64_t)i, 0, 65536); /* more than the ring has room for */
}

TEST(each_rule_that_a_process_breaks_ends_it)
{
    breaks("a record of no kind", no_kind);
    breaks("an answer that nobody asked for", foreign_token);
    breaks("an answer that nobody asked for", old_generation);
    breaks("a body of impossible length", answer_without_end);
    breaks("a body of the wrong size", short_error);
    breaks("a record of no kind", unasked_data);
    breaks("no data where they belong", other_than_data);
    breaks("no data where they belong", too_much_data);
    breaks("it came twice", up_twice);
    breaks("a body that does not belong there", up_with_body);
    breaks("the end of an actor that was not to end", false_end);
    breaks("a handler with wrong names", handler_without_names);
    breaks("a handler without a name", handler_without_name);
    breaks("a batch that is too long", batch_without_end);
    breaks("it claims to have written more than there is room for", wild_head);
    breaks("a record that is not whole", head_before_its_body);
    breaks("it claims to have read what was not written", wild_tail);
    breaks("so it says", dying);
}

TEST(a_process_that_says_nothing_misses_its_heartbeat)
{
    struct liar l;
    struct bl_far_info info;
    REQUIRE(be_up(&l, 100));
    CHECK_INT(far_say(l.actor, 7, 7, 8), BL_OK);
    CHECK(eventually(is_down, l.device));
    bl_far_info(l.device, &info);
    CHECK(strcmp(info.why, "it missed its heartbeat") == 0);
    CHECK_INT(far_seen.answers[7], 1);
    end_liar(&l);
}

/* Who writes it keeps the others from answering. */
TEST(a_long_answer_that_goes_on_is_no_silence)
{
    enum { PIECES = 12 };
    struct liar l;
    REQUIRE(be_up(&l, 400));
    CHECK_INT(far_say(l.actor, 7, 7, 8), BL_OK);
    const struct bl_far_head message = read_record(&l);
    write_record(&l, &(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = message.token, .total = BL_LINES_BODY + 64 * PIECES}, filler);
    for (int i = 0; i < PIECES; i++) {
        usleep(100000);
        write_record(&l, &(struct bl_far_head){.kind = BL_FAR_DATA, .total = 64}, filler);
    }
    CHECK(eventually(answered, (void *)7));
    CHECK(is_up(l.device));
    end_liar(&l);
}

/* All over the memory that it shares, while messages are sent; it is never cut short by what is not there. */
static void scribble(struct liar *l, unsigned seed)
{
    uint8_t *all = (void *)l->end.memory;
    uint64_t request = 100;
    for (int i = 0; i < 2000; i++) {
        seed = seed * 1103515245u + 12345u;
        const uint64_t value = (uint64_t)seed << (seed >> 27);
        const size_t words = (seed >> 8) % 24 + (seed & 1 ? sizeof(struct bl_lines_shared) / 8 : 0); /* near the counters */
        const size_t at = i % 3 ? (seed >> 3) % (sizeof *l->end.memory / 8) : words;
        __atomic_store_n((uint64_t *)(void *)all + at, i % 5 ? value : value % 64, __ATOMIC_RELAXED);
        if (i % 16 == 0 && far_say(l->actor, request, 1, seed % 3 ? 8 : 5000) == BL_OK) request++;
        if (i % 64 == 0) (void)!send(l->end.socket, "w", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    bl_far_exited(l->device, "scribbled");
    CHECK(eventually(is_down, l->device));
    for (uint64_t r = 100; r < request; r++)
        if (far_seen.answers[r] != 1) CHECK_INT(far_seen.answers[r], 1);
}

TEST(whatever_is_written_into_the_shared_memory_nothing_breaks_here)
{
#ifdef __SANITIZE_THREAD__
    SKIP("to write where others do is what it does");
#endif
    const unsigned seed = (unsigned)time(NULL);
    printf("SEED=%u\n", seed);
    for (unsigned i = 0; i < 50; i++) {
        struct liar l;
        REQUIRE(be_up(&l, 20000));
        scribble(&l, seed + i);
        end_liar(&l);
    }
}

/* It cuts, empties, grows and overwrites the file, answers before it is done, and goes on writing. */
TEST(whatever_a_process_does_to_a_buffer_it_stays_one)
{
    enum { SIZE = 100000 };
    struct liar l;
    struct bl_error err;
    struct bl_ring_buffer *b = NULL, *view = NULL;
    REQUIRE(be_up(&l, 20000));
    REQUIRE(bl_far_buffer_new(l.device, SIZE, 8, &b, &err) == BL_OK);
    const struct bl_far_head lent = read_record(&l);
    CHECK_INT(lent.kind, BL_FAR_BUFFER);
    CHECK_INT(lent.stamp, SIZE);
    write_record(&l, &(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = lent.token}, NULL);
    CHECK(eventually(answered, (void *)8));
    memset(b->data, 7, SIZE);
    uint8_t *its = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, l.end.arena, (off_t)lent.deadline);
    REQUIRE(its != MAP_FAILED);
    CHECK_INT(its[SIZE - 1], 7);
    CHECK_INT(ftruncate(l.end.arena, 0), -1);
    CHECK_INT(fallocate(l.end.arena, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20), 0);
    CHECK_INT(b->data[SIZE - 1], 0);
    CHECK_INT(ftruncate(l.end.arena, 1 << 24), 0);
    its[0] = 9;
    CHECK_INT(b->data[0], 9);
    REQUIRE(bl_ring_buffer_view(b, 64, 8, &view, &err) == BL_OK);
    REQUIRE(bl_ring_buffer_use(view, true, &err) == BL_OK);
    struct bl_slot slot = {.deadline_ns = UINT64_MAX, .flags = BL_MESSAGE_BUFFERS | 1 << BL_MESSAGE_WRITES, .size = 1};
    slot.payload.buffers[0] = view;
    CHECK_INT(bl_far_message(l.actor, &slot, 9, &err), BL_OK);
    const struct bl_far_head message = read_record(&l);
    struct bl_far_use use;
    memcpy(&use, message.bytes, sizeof use);
    CHECK_INT(message.flags, BL_MESSAGE_BUFFERS | BL_MESSAGE_REQUEST | 1 << BL_MESSAGE_WRITES);
    CHECK_INT(use.buffer, lent.function);
    CHECK_INT(use.offset, 64);
    CHECK_INT(use.size, 8);
    CHECK_INT(bl_ring_buffer_use(b, false, &err), BL_BUSY);
    write_record(&l, &(struct bl_far_head){.kind = BL_FAR_ANSWER, .token = message.token}, NULL);
    CHECK(eventually(answered, (void *)9));
    CHECK_INT(bl_ring_buffer_use(b, true, &err), BL_OK);
    its[1] = 10;
    bl_ring_buffer_done(b, true);
    bl_ring_buffer_unref(view);
    bl_ring_buffer_unref(b);
    const struct bl_far_head back = read_record(&l);
    CHECK_INT(back.kind, BL_FAR_UNBUFFER);
    CHECK_INT(back.function, lent.function);
    munmap(its, SIZE);
    end_liar(&l);
}

TEST(a_process_of_another_version_or_none_does_not_join)
{
    char path[BL_PEER_PATH];
    struct bl_error err;
    struct bl_far *d = open_device(20000);
    REQUIRE(d != NULL);
    REQUIRE(bl_far_listen(d, path, &err) == BL_OK);
    const int socket = bl_peer_connect(path);
    CHECK(socket >= 0);
    CHECK_INT(send(socket, "another version .................", BL_FAR_VERSION, 0), BL_FAR_VERSION);
    bl_far_exited(d, "the test");
    CHECK(eventually(is_down, d));
    CHECK_INT(bl_far_listen(d, path, &err), BL_OK); /* closing ends the waiting, too */
    close(socket);
    close_device(d);
    CHECK(access(path, F_OK) != 0);
}

/* ---- the ring of lines ---- */

static bool knows_slow(void *device) { return bl_far_handler(device, "slow") != NULL; }

/* Loading and starting guests goes on beside the rest, and what is for an actor comes after its start. */
TEST(what_takes_long_is_done_in_order_and_beside_the_rest)
{
    struct bl_error err;
    struct bl_far *d = open_device(20000);
    REQUIRE(d != NULL);
    pid_t pid = start_process(d);
    REQUIRE(eventually(is_up, d));
    struct bl_far_actor *echo = start_actor(d, "echo", 1, 64), *actor[3];
    struct bl_far_load *load = bl_far_load_new(d, BL_FAR_LOAD_GUESTS, 100, &err);
    REQUIRE(echo != NULL && load != NULL);
    memset(load->bytes, 7, load->size);
    CHECK_INT(bl_far_load(d, load, 2, &err), BL_OK);
    uint64_t request = 10;
    for (int i = 0; i < 10; i++) CHECK_INT(far_say(echo, request++, 1, 8), BL_OK);
    REQUIRE(eventually(knows_slow, d));
    for (unsigned i = 0; i < 3; i++) {
        const struct bl_actor_options o = {.handler = bl_far_handler(d, "slow"), .queue = 64, .priority = 1, .skin = d};
        CHECK_INT(bl_far_actor_new(d, &o, request++, &actor[i], &err), BL_OK);
        for (int k = 0; k < 10; k++) {
            CHECK_INT(far_say(actor[i], request++, 5, k % 2 ? 8 : 3000), BL_OK); /* it is not there yet */
            CHECK_INT(far_say(echo, request++, 1, 8), BL_OK);
        }
        CHECK_INT(bl_far_actor_control(actor[i], BL_FAR_INFO, request++, &err), BL_OK);
    }
    for (uint64_t r = 2; r < request; r++) {
        if (r > 2 && r < 10) continue;
        CHECK(eventually(answered, (void *)(uintptr_t)r));
        CHECK_INT(far_seen.status[r], BL_OK);
    }
    /* All of it again in the next process. */
    kill(pid, SIGKILL);
    await_end(d, pid);
    pid = start_process(d);
    REQUIRE(eventually(is_up, d));
    for (unsigned i = 0; i < 3; i++) {
        CHECK_INT(far_say(actor[i], request, 5, 8), BL_OK);
        CHECK(eventually(answered, (void *)(uintptr_t)request));
        CHECK_INT(far_seen.status[request++], BL_OK);
        bl_far_actor_kill(actor[i]);
        bl_far_actor_drop(actor[i]);
    }
    bl_far_actor_kill(echo);
    bl_far_actor_drop(echo);
    close_device(d);
    int status;
    waitpid(pid, &status, 0);
}

TEST(records_go_round_the_end_of_the_ring)
{
    struct bl_lines_shared *shared = aligned_alloc(BL_LINE, sizeof *shared);
    memset(shared, 0, sizeof *shared);
    struct bl_lines w, r;
    uint8_t head[BL_LINE], back[BL_LINE], body[3000], got[3000];
    bl_lines_init(&w, shared);
    bl_lines_init(&r, shared);
    w.position = w.other = r.position = r.other = shared->head = shared->tail = UINT64_MAX - 100; /* the positions wrap, too */
    unsigned sent = 0, taken = 0;
    while (taken < 100000) {
        const size_t size = sent * 37 % sizeof body;
        memset(head, (int)(sent & 255), sizeof head);
        memset(body, (int)(sent * 3 & 255), sizeof body);
        if (bl_lines_write(&w, head, body, size) == BL_LINES_OK) {
            sent++;
            continue;
        }
        CHECK(sent > taken);
        while (bl_lines_peek(&r, back) == BL_LINES_OK) {
            const size_t expected = taken * 37 % sizeof body;
            CHECK_INT(back[63], taken & 255);
            CHECK_INT(bl_lines_take(&r, got, expected), BL_LINES_OK);
            if (expected > 0) CHECK(got[0] == (taken * 3 & 255) && got[expected - 1] == (taken * 3 & 255));
            taken++;
        }
        CHECK_INT(taken, sent);
    }
    free(shared);
}
