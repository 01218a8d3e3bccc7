/* SPDX-License-Identifier: Apache-2.0
 *
 * Terms in external format (without version byte), as OTP 25 and others encode them.
 */
#ifndef TERM_SAMPLES_H
#define TERM_SAMPLES_H

#include <stddef.h>

struct sample {
    const char *what, *bytes;
    size_t len;
};

#define BYTES(text) text, sizeof(text) - 1
#define NODE "d\0\x0dnonode@nohost"

static const struct sample samples[] = {
    {"0", BYTES("a\0")},
    {"255", BYTES("a\xff")},
    {"-1", BYTES("b\xff\xff\xff\xff")},
    {"2147483647", BYTES("b\x7f\xff\xff\xff")},
    {"1 bsl 63 - 1", BYTES("n\x08\0\xff\xff\xff\xff\xff\xff\xff\x7f")},
    {"-(1 bsl 63)", BYTES("n\x08\x01\0\0\0\0\0\0\0\x80")},
    {"1 bsl 64 - 1", BYTES("n\x08\0\xff\xff\xff\xff\xff\xff\xff\xff")},
    {"-(1 bsl 64)", BYTES("n\x09\x01\0\0\0\0\0\0\0\0\x01")},
    {"300 as a large big", BYTES("o\0\0\0\x02\0\x2c\x01")},
    {"1.5", BYTES("F\x3f\xf8\0\0\0\0\0\0")},
    {"1.5 in old form", BYTES("c1.50000000000000000000e+00\0\0\0\0\0")},
    {"'' as a Latin-1 atom", BYTES("d\0\0")},
    {"ok as a Latin-1 atom", BYTES("d\0\x02ok")},
    {"ok as a small Latin-1 atom", BYTES("s\x02ok")},
    {"\303\244 as a Latin-1 atom", BYTES("d\0\x01\xe4")},
    {"\303\244 as an UTF-8 atom", BYTES("v\0\x02\xc3\xa4")},
    {"a short atom of UTF-8", BYTES("w\x04\xe2\x82\xac!")},
    {"<<>>", BYTES("m\0\0\0\0")},
    {"<<\"binary\">>", BYTES("m\0\0\0\x06" "binary")},
    {"<<5:3>>", BYTES("M\0\0\0\x01\x03\xa0")},
    {"{}", BYTES("h\0")},
    {"{1, 2}", BYTES("h\x02" "a\x01" "a\x02")},
    {"{1} as a large tuple", BYTES("i\0\0\0\x01" "a\x01")},
    {"[]", BYTES("j")},
    {"\"abc\"", BYTES("k\0\x03" "abc")},
    {"[] as a string", BYTES("k\0\0")},
    {"[a, {[]}]", BYTES("l\0\0\0\x02" "d\0\x01" "a" "h\x01jj")},
    {"[1 | 2]", BYTES("l\0\0\0\x01" "a\x01" "a\x02")},
    {"{[1 | <<2>>], <<3>>}", BYTES("h\x02" "l\0\0\0\x01" "a\x01" "m\0\0\0\x01\x02" "m\0\0\0\x01\x03")},
    {"#{}", BYTES("t\0\0\0\0")},
    {"#{a => 1, \"b\" => #{c => [2.0]}}",
     BYTES("t\0\0\0\x02" "d\0\x01" "a" "a\x01" "k\0\x01" "b" "t\0\0\0\x01" "d\0\x01" "c" "l\0\0\0\x01" "F\x40\0\0\0\0\0\0\0" "j")},
    {"a pid", BYTES("X" NODE "\0\0\0\x09\0\0\0\0\0\0\0\0")},
    {"an old pid", BYTES("g" NODE "\0\0\0\x09\0\0\0\0\0")},
    {"a reference", BYTES("Z\0\x03" NODE "\0\0\0\0\0\x03\x63\xcc\xdb\xc0\0\x01\xe9\x1f\x9d\x3f")},
    {"an old reference", BYTES("r\0\x03" NODE "\0\0\x03\x63\xcc\xdb\xc0\0\x01\xe9\x1f\x9d\x3f")},
    {"a very old reference", BYTES("e" NODE "\0\0\0\x01\0")},
    {"a port", BYTES("Y" NODE "\0\0\0\x01\0\0\0\0")},
    {"an old port", BYTES("f" NODE "\0\0\0\x01\0")},
    {"a port of 64 bits", BYTES("x" NODE "\0\0\0\0\0\0\0\x01\0\0\0\0")},
    {"fun erlang:now/0", BYTES("qd\0\x06" "erlang" "d\0\x03now" "a\0")},
    {"a fun with a value",
     BYTES("p\0\0\0\x4c\x01\x06\x53\x61\xaa\x46\x15\x90\xd1\xbd\xf1\xeb\x62\xd1\xa6\xeb\x08\0\0\0\x2a\0\0\0\x01"
           "d\0\x08" "erl_eval" "a\x2a" "b\0\x32\x9b\x0d" "X" NODE "\0\0\0\x09\0\0\0\0\0\0\0\0" "a\x07")},
};
enum { SAMPLE_COUNT = sizeof samples / sizeof samples[0] };

#endif
