/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_frame.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PARTS_AT_ONCE = 64, STRAIGHT_FROM = 16 * 1024 };

/* ---- sending ------------------------------------------------------------------- */

/* SO_SNDTIMEO bounds each wait. */
static bool send_parts(int fd, struct iovec *part, size_t parts)
{
    while (parts > 0) {
        const struct msghdr message = {.msg_iov = part, .msg_iovlen = parts < PARTS_AT_ONCE ? parts : PARTS_AT_ONCE};
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return false;
        for (; parts > 0 && (size_t)sent >= part->iov_len; part++, parts--) sent -= (ssize_t)part->iov_len;
        if (parts == 0) break;
        part->iov_base = (char *)part->iov_base + sent;
        part->iov_len -= (size_t)sent;
    }
    return true;
}

static void *writable(const void *p) { return (void *)(uintptr_t)p; }

bool bl_frame_send(int fd, const struct bl_frame *frame, const struct bl_span *body, size_t spans, size_t skip)
{
    struct iovec part[PARTS_AT_ONCE] = {{.iov_base = writable(frame), .iov_len = sizeof *frame}};
    size_t parts = 1, left = frame->length;
    for (size_t i = 0; i < spans && left > 0; i++) {
        if (skip >= body[i].len) {
            skip -= body[i].len;
            continue;
        }
        const size_t len = body[i].len - skip < left ? body[i].len - skip : left;
        part[parts++] = (struct iovec){.iov_base = writable(body[i].data + skip), .iov_len = len};
        left -= len;
        skip = 0;
        if (parts < PARTS_AT_ONCE) continue;
        if (!send_parts(fd, part, parts)) return false;
        parts = 0;
    }
    return send_parts(fd, part, parts);
}

bool bl_frame_send_now(int fd, const struct bl_frame *frame)
{
    return send(fd, frame, sizeof *frame, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof *frame;
}

/* ---- reading -------------------------------------------------------------------- */

void bl_frame_reader_init(struct bl_frame_reader *r, int fd)
{
    r->fd = fd;
    r->at = r->have = 0;
}

bool bl_frame_reader_has(const struct bl_frame_reader *r) { return r->at < r->have; }

static bool receive(int fd, uint8_t *out, size_t least, size_t most, size_t *got)
{
    *got = 0;
    while (*got < least) {
        const ssize_t n = recv(fd, out + *got, most - *got, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        *got += (size_t)n;
    }
    return true;
}

bool bl_frame_receive(int fd, void *out, size_t len)
{
    size_t got;
    return receive(fd, out, len, len, &got);
}

static size_t take(struct bl_frame_reader *r, void *out, size_t len)
{
    const size_t n = r->have - r->at < len ? r->have - r->at : len;
    if (out) memcpy(out, r->buffer + r->at, n);
    r->at += n;
    return n;
}

bool bl_frame_read(struct bl_frame_reader *r, void *out, size_t len)
{
    uint8_t *p = out;
    size_t n = take(r, p, len), got;
    p += n;
    len -= n;
    if (len >= STRAIGHT_FROM) return receive(r->fd, p, len, len, &got);
    if (len == 0) return true;
    r->at = 0;
    if (!receive(r->fd, r->buffer, len, sizeof r->buffer, &r->have)) return false;
    take(r, p, len);
    return true;
}

bool bl_frame_skip(struct bl_frame_reader *r, size_t len)
{
    for (;;) {
        len -= take(r, NULL, len);
        if (len == 0) return true;
        r->at = 0;
        if (!receive(r->fd, r->buffer, 1, sizeof r->buffer, &r->have)) return false;
    }
}

/* ---- errors ----------------------------------------------------------------------- */

void bl_frame_error(const struct bl_error *from, struct bl_error *to)
{
    *to = *from;
    if ((unsigned)from->status >= BL_STATUS_COUNT || from->status == BL_OK) to->status = BL_DEVICE_FAILED;
    to->subject[sizeof to->subject - 1] = '\0';
    to->text[sizeof to->text - 1] = '\0';
}
