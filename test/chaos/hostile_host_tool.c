/* SPDX-License-Identifier: Apache-2.0
 *
 * A host that joins as a good one does and then breaks its word. Put in the place of beamline_host by
 * beamline_chaos_host, which gives the name of the misdeed as if it were a library:
 *
 *     hostile_host_tool SOCKET /misdeed
 *
 * Pings are answered in any case: a silence would only be a missed heartbeat.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../c_src/runtime/bl_frame.h"
#include "beamline.h"

enum { FLOOD = 100, ATOMS = 400, BODY = 4096 };

static int data, control;
static struct bl_frame_reader reader;
static uint64_t last_atom, strange, strange_most;

static void say(const struct bl_frame *frame, const void *body)
{
    const struct bl_span span = {.data = body, .len = frame->length};
    if (!bl_frame_send(data, frame, &span, 1, 0)) exit(1);
}

static void say_term(uint64_t id, const uint8_t *term, size_t len)
{
    say(&(struct bl_frame){.type = BL_FRAME_ANSWER, .id = id, .total = len, .length = (uint32_t)len}, term);
}

static void ok(uint64_t id)
{
    static const uint8_t term[] = {119, 2, 'o', 'k'}; /* SMALL_ATOM_UTF8_EXT */
    say_term(id, term, sizeof term);
}

/* ---- misdeeds: each is asked to answer a task ---------------------------------------------- */

static void impossible_length(uint64_t id)
{
    const struct bl_frame frame = {.type = BL_FRAME_ANSWER, .id = id, .total = 1, .length = UINT32_MAX};
    if (send(data, &frame, sizeof frame, MSG_NOSIGNAL) < 0) exit(1);
}

static void garbage(uint64_t id)
{
    uint8_t bytes[BODY];
    (void)id;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)rand();
    if (send(data, bytes, sizeof bytes, MSG_NOSIGNAL) < 0) exit(1);
}

static void garbage_on_control(uint64_t id)
{
    uint8_t bytes[BODY] = {255};
    (void)id;
    if (send(control, bytes, sizeof bytes, MSG_NOSIGNAL) < 0) exit(1);
}

/* A well-formed frame around a term that is none; the first byte often looks like one. */
static void malformed_term(uint64_t id)
{
    static const uint8_t tags[] = {70, 88, 89, 90, 97, 98, 99, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 116, 118, 119, 131};
    uint8_t bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(rand() % 4 ? rand() % 3 : rand());
    bytes[0] = tags[(size_t)rand() % sizeof tags];
    say_term(id, bytes, 1 + (size_t)rand() % (sizeof bytes - 1));
}

/* Each frame keeps all rules; there are just too many of them, each with new names. */
static void flood(uint64_t id)
{
    for (int i = 0; i < FLOOD; i++) {
        struct bl_frame_field field[BL_FRAME_FIELDS];
        memset(field, 0, sizeof field);
        for (int k = 0; k < BL_FRAME_FIELDS; k++)
            snprintf(field[k].key, sizeof field[k].key, "flood_%llu", (unsigned long long)last_atom++), field[k].type = BL_FIELD_INT;
        say(&(struct bl_frame){.type = BL_FRAME_PROGRESS, .id = id, .length = sizeof field}, field);
    }
    ok(id);
}

static void new_atoms(uint64_t id)
{
    uint8_t term[16 + ATOMS * 32], *p = term;
    *p++ = 105 /* LARGE_TUPLE_EXT */, *p++ = 0, *p++ = 0, *p++ = ATOMS >> 8, *p++ = ATOMS & 255;
    for (int i = 0; i < ATOMS; i++) {
        const int len = snprintf((char *)p + 2, 30, "hostile_%llu", (unsigned long long)last_atom++);
        p[0] = 119, p[1] = (uint8_t)len;
        p += 2 + len;
    }
    say_term(id, term, (size_t)(p - term));
}

static void new_atoms_in_errors(uint64_t id)
{
    struct bl_error err;
    bl_fail_invalid(&err, "x", "why not");
    snprintf(err.subject, sizeof err.subject, "wrong_%llu", (unsigned long long)last_atom++);
    say(&(struct bl_frame){.type = BL_FRAME_ANSWER, .status = BL_INVALID, .id = id, .length = sizeof err}, &err);
}

/* Says that a gigabyte comes, and sends nothing of it. */
static void empty_promise(uint64_t id) { say(&(struct bl_frame){.type = BL_FRAME_ANSWER, .id = id, .total = BL_FRAME_ANSWER_MOST}, ""); }

/* A list of one, but not what an operation with each element of a list answers. */
static void odd_result(uint64_t id)
{
    static const uint8_t term[] = {108, 0, 0, 0, 1, 119, 2, 'o', 'k', 106}; /* [ok] */
    say_term(id, term, sizeof term);
}

static void answer_twice(uint64_t id) { ok(id), ok(id); }

/* Before it has read the argument, which must still be what it was: all of it 'x', but for the five bytes before a binary. */
static void answer_early(uint64_t id)
{
    ok(id);
    strange_most += 5;
    usleep(200000);
}

static void look_at_argument(size_t length)
{
    uint8_t body[BODY];
    for (size_t n; length > 0; length -= n) {
        n = length < sizeof body ? length : sizeof body;
        if (!bl_frame_read(&reader, body, n)) exit(0);
        for (size_t i = 0; i < n; i++) strange += body[i] != 'x';
    }
    if (strange > strange_most) exit(5);
}

static void silence(uint64_t id) { (void)id; }

static const struct {
    const char *name;
    void (*answer)(uint64_t id);
} misdeeds[] = {
    {"impossible_length", impossible_length}, {"garbage", garbage},         {"garbage_on_control", garbage_on_control},
    {"malformed_term", malformed_term},       {"flood", flood},             {"new_atoms", new_atoms},
    {"new_atoms_in_errors", new_atoms_in_errors}, {"empty_promise", empty_promise}, {"answer_twice", answer_twice},
    {"silence", silence},                     {"odd_result", odd_result}, {"answer_early", answer_early},
};

/* ---- otherwise a good host ------------------------------------------------------------------- */

static int join(const char *path, uint64_t kind)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct bl_span version = {.data = (const uint8_t *)bl_version(), .len = strlen(bl_version())};
    const struct bl_frame frame = {.type = BL_FRAME_JOIN, .id = kind, .length = (uint32_t)version.len};
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    const bool joined = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (!joined || !bl_frame_send(fd, &frame, &version, 1, 0)) exit(3);
    return fd;
}

static void greet(void)
{
    struct bl_frame config;
    if (!bl_frame_read(&reader, &config, sizeof config) || !bl_frame_skip(&reader, config.length)) exit(4);
    say(&(struct bl_frame){.type = BL_FRAME_HELLO, .id = BL_FRAME_WINDOW, .length = 1}, "j");
}

static void on_control(void)
{
    struct bl_frame frame;
    if (!bl_frame_receive(control, &frame, sizeof frame)) exit(0);
    if (frame.type != BL_FRAME_PING) return;
    struct {
        struct bl_frame frame;
        struct bl_frame_pong body;
    } pong = {{.type = BL_FRAME_PONG, .id = frame.id, .length = sizeof pong.body}, {.threads = 1}};
    if (send(control, &pong, sizeof pong, MSG_NOSIGNAL) < 0) exit(0);
}

static void on_data(void (*answer)(uint64_t id))
{
    struct bl_frame frame;
    if (!bl_frame_read(&reader, &frame, sizeof frame)) exit(0);
    if (answer == answer_early && frame.type == BL_FRAME_DATA)
        look_at_argument(frame.length);
    else if (!bl_frame_skip(&reader, frame.length))
        exit(0);
    if (frame.type == BL_FRAME_TASK) answer(frame.id);
}

int main(int argc, char **argv)
{
    void (*answer)(uint64_t id) = silence;
    const char *name = argc > 2 ? strrchr(argv[2], '/') : NULL;
    for (size_t i = 0; name && i < sizeof misdeeds / sizeof misdeeds[0]; i++)
        if (strcmp(misdeeds[i].name, name + 1) == 0) answer = misdeeds[i].answer;
    if (argc < 2) return 2;
    srand((unsigned)getpid());
    data = join(argv[1], 0);
    control = join(argv[1], 1);
    bl_frame_reader_init(&reader, data);
    greet();
    for (;;) {
        const bool buffered = bl_frame_reader_has(&reader);
        struct pollfd ready[2] = {{.fd = data, .events = POLLIN}, {.fd = control, .events = POLLIN}};
        poll(ready, 2, buffered ? 0 : -1);
        if (ready[1].revents) on_control();
        if (buffered || ready[0].revents) on_data(answer);
    }
}
