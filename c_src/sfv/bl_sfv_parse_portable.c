/* SPDX-License-Identifier: Apache-2.0
 *
 * The parser with plain loops: for any CPU, and the reference for the other one.
 */
#include "bl_sfv.h"

#define PARSE(name) name##_portable
#define TARGET

static inline const char *span(const struct bl_sfv_parse *s, const char *p, unsigned mask, unsigned vector)
{
    (void)vector;
    while (p < s->end && bl_sfv_is(*p, mask)) p++;
    return p;
}

#include "bl_sfv_parse.inc"
