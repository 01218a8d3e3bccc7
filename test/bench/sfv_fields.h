/* SPDX-License-Identifier: Apache-2.0
 *
 * The fields that bench_sfv and floor_sfv read, and their clock.
 */
#ifndef SFV_FIELDS_H
#define SFV_FIELDS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SFV_ITEM = 1, SFV_LIST, SFV_DICTIONARY };

struct sfv_case {
    const char *name;
    int kind;
    char *text; /* an exact-size copy */
    size_t len;
};

static uint64_t sfv_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

#define SIG_INPUT                                                                                                              \
    "sig1=(\"@method\" \"@target-uri\" \"content-digest\");created=1618884473;keyid=\"test-key-rsa\""
#define BASE64_64 "abcdefghijklmnopqrstuvwxyz0123456789+/ABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* Head, then `times` pieces (a %d in them is their number), then tail. */
static char *sfv_repeat(const char *head, const char *piece, const char *between, int times, const char *tail, size_t *len)
{
    const size_t size = strlen(head) + strlen(tail) + (size_t)times * (strlen(piece) + strlen(between) + 20) + 1;
    char *text = malloc(size), *end = text + sprintf(text, "%s", head);
    for (int i = 0; i < times; i++) {
        if (i > 0) end += sprintf(end, "%s", between);
        end += sprintf(end, piece, i, i % 9 + 1);
    }
    end += sprintf(end, "%s", tail);
    *len = (size_t)(end - text);
    return text;
}

static const struct sfv_case *sfv_case(const char *name)
{
    static struct sfv_case c;
    char *text = NULL;
    c.name = name;
    c.kind = SFV_DICTIONARY;
    if (strcmp(name, "priority") == 0) text = sfv_repeat("u=3, i", "", "", 0, "", &c.len);
    if (strcmp(name, "sig_input") == 0) text = sfv_repeat(SIG_INPUT, "", "", 0, "", &c.len);
    if (strcmp(name, "digest") == 0) text = sfv_repeat("sha-256=:", "X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=", "", 1, ":", &c.len);
    if (strcmp(name, "signature") == 0) text = sfv_repeat("sig1=:", BASE64_64, "", 5, BASE64_64 "=:", &c.len);
    if (strcmp(name, "signature") == 0) text = sfv_repeat("sig1=:", BASE64_64, "", 5, "abcdefghijklmnopqrstuvw=:", &c.len);
    if (strcmp(name, "base64") == 0) text = sfv_repeat("a=:", BASE64_64, "", 256, ":", &c.len);
    if (strcmp(name, "string") == 0) text = sfv_repeat("a=\"", "It was the best of times, (%d) ", "", 512, "\"", &c.len);
    if (strcmp(name, "dict1000") == 0) text = sfv_repeat("", "key%d=%d", ", ", 1000, "", &c.len);
    if (strcmp(name, "list1000") == 0) {
        c.kind = SFV_LIST;
        text = sfv_repeat("", "item%d;q=0.%d", ", ", 1000, "", &c.len);
    }
    if (!text) return NULL;
    c.text = malloc(c.len);
    memcpy(c.text, text, c.len);
    free(text);
    return &c;
}

/* About 20 ms of work for a parser of 1 GB/s. */
static size_t sfv_times(const struct sfv_case *c) { return 20000000 / (c->len + 20) + 1; }

static void sfv_print(const struct sfv_case *c, size_t times, uint64_t ns)
{
    printf("%llu\n", (unsigned long long)(1000 * ns / (times * c->len)));
}

#endif
