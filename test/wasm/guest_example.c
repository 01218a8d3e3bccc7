/* SPDX-License-Identifier: Apache-2.0
 *
 * A guest in C without a library: word counts, with a log line and the time from the host.
 *
 *     clang -O2 --target=wasm32 -nostdlib -Wl,--no-entry -o guest_example.wasm guest_example.c
 */
#define IMPORT(name) __attribute__((import_module("host"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

IMPORT(log) void host_log(const char *text, int len);
IMPORT(now) long long host_now(void);

static char heap[1 << 20];
static int used;

EXPORT(malloc) void *allocate(unsigned bytes)
{
    const int at = (used + 15) & ~15;
    if (bytes > sizeof heap - (unsigned)at) return 0;
    used = at + (int)bytes;
    return heap + at;
}

/* A bump allocator: everything goes at once. */
EXPORT(free) void release(void *p)
{
    (void)p;
    used = 0;
}

EXPORT(words) int words(const char *text, int len)
{
    static const char done[] = "counted";
    int count = 0, inside = 0;
    for (int i = 0; i < len; i++) {
        const int letter = text[i] > ' ';
        if (letter && !inside) count++;
        inside = letter;
    }
    host_log(done, sizeof done - 1);
    return count;
}

EXPORT(elapsed) long long elapsed(long long since) { return host_now() - since; }
