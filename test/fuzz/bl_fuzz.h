/* SPDX-License-Identifier: Apache-2.0
 *
 * For fuzz targets. A target is test/fuzz/fuzz_<what>.c with LLVMFuzzerTestOneInput; its
 * seeds are written by test/fuzz/seeds_<what>.escript DIR, where there is one;
 * `make fuzz SECS=n` runs them all. An input of a target that needs choices begins with
 * the bytes that make them (bl_fuzz_byte), what is left is the data. Data are handed on
 * as exact-size copies, so that the sanitizer sees one byte too many.
 */
#ifndef BL_FUZZ_H
#define BL_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input. Stays in builds without assert. */
#define FUZZ_CHECK(condition)                                                                                          \
    do {                                                                                                               \
        if (condition) break;                                                                                          \
        fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                      \
        abort();                                                                                                       \
    } while (0)

struct bl_fuzz {
    const uint8_t *data;
    size_t size;
};

/* The next choice; 0 when the input has ended. */
__attribute__((unused)) static uint8_t bl_fuzz_byte(struct bl_fuzz *in)
{
    if (in->size == 0) return 0;
    in->size--;
    return *in->data++;
}

/* An exact-size copy of `len` bytes, to be freed. */
__attribute__((unused)) static uint8_t *bl_fuzz_copy(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    FUZZ_CHECK(copy != NULL);
    if (len > 0) memcpy(copy, data, len);
    return copy;
}

#endif
