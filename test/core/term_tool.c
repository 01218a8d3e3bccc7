/* SPDX-License-Identifier: Apache-2.0
 *
 * Lets Erlang tests use the term reader and writer: a port program, {packet, 4}.
 *
 *     request   <<Step:32, Encoded/binary>>   a term with version byte; the reader gets it
 *                                             cut into spans of Step bytes (0: one span)
 *     answer    <<"copy", Copy/binary>>       read, and written by the ETF back end
 *               <<"fail", Text/binary>>       bl_error_format's line
 *
 * Each answer was also checked against bl_read_skip and bl_read_raw; a disagreement ends
 * the program.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "beamline/term.h"

static void must(bool condition, const char *what)
{
    if (condition) return;
    fprintf(stderr, "term_tool: %s\n", what);
    exit(2);
}

static void *allocate(size_t bytes)
{
    void *p = malloc(bytes > 0 ? bytes : 1);
    must(p != NULL, "no memory");
    return p;
}

static uint32_t get32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

/* Exact-size copies, so that a sanitizer sees every byte too many. */
static struct bl_span *cut(const uint8_t *data, size_t len, size_t step, size_t *count)
{
    if (step == 0) step = len;
    struct bl_span *spans = allocate((len / (step > 0 ? step : 1) + 1) * sizeof *spans);
    *count = 0;
    for (size_t at = 0; at < len; at += step) {
        const size_t part = len - at < step ? len - at : step;
        uint8_t *copy = allocate(part);
        memcpy(copy, data + at, part);
        spans[(*count)++] = (struct bl_span){.data = copy, .len = part};
    }
    return spans;
}

static void uncut(struct bl_span *spans, size_t count)
{
    for (size_t i = 0; i < count; i++) free((void *)(uintptr_t)spans[i].data);
    free(spans);
}

static enum bl_status read_raw(const struct bl_span *spans, size_t count, struct bl_quota *quota, const uint8_t *input, size_t len)
{
    struct bl_reader r;
    struct bl_span raw;
    bl_reader_init(&r, spans, count, NULL, quota, NULL);
    enum bl_status status = bl_read_version(&r);
    if (status == BL_OK) status = bl_read_raw(&r, &raw);
    if (status == BL_OK) must(raw.len < len && memcmp(raw.data, input + 1, raw.len) == 0, "raw is not the input");
    if (status == BL_OK) status = bl_read_end(&r);
    bl_reader_clear(&r);
    return status;
}

static void answer(const char *kind, const void *data, size_t len)
{
    const uint32_t size = (uint32_t)len + 4;
    const uint8_t head[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};
    fwrite(head, 1, sizeof head, stdout);
    fwrite(kind, 1, 4, stdout);
    if (len > 0) fwrite(data, 1, len, stdout);
    must(fflush(stdout) == 0, "nobody reads");
}

static void serve(const uint8_t *input, size_t len, size_t step)
{
    struct bl_quota quota;
    struct bl_reader r;
    struct bl_etf_writer w;
    struct bl_error err;
    size_t count;
    struct bl_span *spans = cut(input, len, step, &count);
    bl_quota_init(&quota, NULL, "memory", 0);
    bl_reader_init(&r, spans, count, NULL, &quota, &err);
    bl_etf_writer_init(&w, &quota, true);
    enum bl_status status = bl_read_version(&r);
    if (status == BL_OK) status = bl_copy_term(&r, &w.base);
    if (status == BL_OK) must(bl_writer_done(&w.base), "the copy is not whole");
    if (status == BL_OK) status = bl_read_end(&r);
    must(read_raw(spans, count, &quota, input, len) == status, "raw and copy do not agree");
    if (status == BL_OK) {
        answer("copy", w.data, w.len);
    } else {
        char text[256];
        bl_error_format(&err, text, sizeof text);
        answer("fail", text, strlen(text));
    }
    bl_reader_clear(&r);
    bl_etf_writer_clear(&w);
    must(bl_quota_used(&quota) == 0, "memory is left");
    uncut(spans, count);
}

int main(void)
{
    uint8_t head[4];
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        const size_t len = get32(head);
        uint8_t *request = allocate(len);
        must(len >= 4 && fread(request, 1, len, stdin) == len, "a request is cut short");
        serve(request + 4, len - 4, get32(request));
        free(request);
    }
    return 0;
}
