/* SPDX-License-Identifier: Apache-2.0
 *
 * The plainest loop over a field: each byte through a table of 256 classes, up to the first
 * that may not stand in a field at all.
 *
 *     floor_sfv CASE     prints picoseconds for each byte
 */
#include "sfv_fields.h"

static uint8_t classes[256];

__attribute__((noinline)) static size_t scan(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (classes[(uint8_t)text[i]] == 0) return i;
    return len;
}

int main(int argc, char **argv)
{
    const struct sfv_case *c = sfv_case(argc > 1 ? argv[1] : "");
    size_t sum = 0;
    if (!c) return 2;
    for (int i = ' '; i < 127; i++) classes[i] = 1;
    const size_t times = sfv_times(c);
    const uint64_t begin = sfv_now_ns();
    for (size_t i = 0; i < times; i++) {
        sum += scan(c->text, c->len);
        __asm__ volatile("" ::: "memory");
    }
    sfv_print(c, times, sfv_now_ns() - begin);
    return sum != times * c->len;
}
