/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of modules: what it finds, where it stops, what rewriting leaves.
 */
#include "bl_test.h"

#include "wasm/bl_wasm_binary.h"

/* Two types, an imported function, three own ones, a table, a memory, a global, five exports, a start function, code. */
static const uint8_t sample[] = {
    0, 'a', 's', 'm', 1, 0, 0, 0,
    1, 10, 2, 0x60, 2, 0x7f, 0x7f, 1, 0x7f, 0x60, 0, 0,
    2, 11, 1, 3, 'e', 'n', 'v', 3, 'a', 's', 'k', 0, 0,
    3, 4, 3, 0, 1, 1,
    4, 4, 1, 0x70, 0, 4,
    5, 4, 1, 1, 1, 3,
    6, 6, 1, 0x7f, 1, 0x41, 7, 0x0b,
    7, 22, 5, 1, 'a', 0, 1, 1, 'm', 2, 0, 1, 'g', 3, 0, 1, 't', 1, 0, 2, 'l', 'p', 0, 2,
    8, 1, 3,
    10, 22, 3, 7, 0, 0x20, 0, 0x20, 1, 0x6a, 0x0b, 9, 0, 0x03, 0x40, 0x41, 0, 0x0d, 0, 0x0b, 0x0b, 2, 0, 0x0b,
};

static bool named(const struct bl_wasm_binary *b, const struct bl_wasm_name *n, const char *name)
{
    return n->name_len == strlen(name) && memcmp(b->names + n->name, name, n->name_len) == 0;
}

TEST(a_module_is_read)
{
    struct bl_wasm_binary b;
    uint8_t *copy = bl_test_copy(sample, sizeof sample, 0);
    REQUIRE(bl_wasm_binary_read(&b, copy, sizeof sample, NULL) == BL_OK);
    bl_test_uncopy(copy, 0);
    CHECK_INT(b.type_count, 2);
    CHECK_INT(b.function_count, 4);
    CHECK_INT(b.imported_functions, 1);
    CHECK_INT(b.export_count, 5);
    CHECK_INT(b.value_count, 2);
    CHECK(named(&b, &b.exports[0], "a") && b.exports[0].is_short);
    CHECK(named(&b, &b.exports[4], "lp") && !b.exports[4].is_short);
    CHECK(b.has_start && b.start == 3);
    CHECK(b.memories[0].bounded && b.memories[0].max == 3);
    CHECK(b.globals[0].mutable && b.globals[0].type.kind == WASMTIME_I32);
    CHECK_INT(bl_wasm_binary_signature(&b, 1)->params, 2);
    CHECK(bl_wasm_binary_signature(&b, 4) == NULL);
    bl_wasm_binary_clear(&b);
}

TEST(a_module_that_is_cut_anywhere_is_refused_or_shorter)
{
    for (size_t len = 0; len < sizeof sample; len++) {
        struct bl_wasm_binary b;
        struct bl_error err = {0};
        uint8_t *copy = bl_test_copy(sample, len, 0);
        const enum bl_status status = bl_wasm_binary_read(&b, copy, len, &err);
        if (status == BL_OK)
            bl_wasm_binary_clear(&b);
        else
            CHECK(status == BL_SYNTAX && err.offset <= len);
        bl_test_uncopy(copy, 0);
    }
}

TEST(any_damage_is_survived)
{
    uint64_t seed = bl_test_seed();
    for (int round = 0; round < 30000; round++) {
        struct bl_wasm_binary b;
        uint8_t *copy = bl_test_copy(sample, sizeof sample, 0);
        for (uint64_t n = 1 + bl_test_random(&seed) % 3; n > 0; n--)
            copy[bl_test_random(&seed) % sizeof sample] = (uint8_t)bl_test_random(&seed);
        if (bl_wasm_binary_read(&b, copy, sizeof sample, NULL) == BL_OK) bl_wasm_binary_clear(&b);
        bl_test_uncopy(copy, 0);
    }
}

TEST(rewriting_takes_the_start_out_and_adds_exports)
{
    struct bl_wasm_binary b, again;
    const struct bl_wasm_extra extras[2] = {{"\1start", WASMTIME_FUNC, 3}, {"\1global", WASMTIME_GLOBAL, 0}};
    uint8_t *out;
    size_t len;
    int64_t moved;
    REQUIRE(bl_wasm_binary_read(&b, sample, sizeof sample, NULL) == BL_OK);
    REQUIRE(bl_wasm_binary_rewrite(&b, sample, sizeof sample, extras, 2, &out, &len, &moved, NULL) == BL_OK);
    REQUIRE(bl_wasm_binary_read(&again, out, len, NULL) == BL_OK);
    CHECK(!again.has_start);
    CHECK_INT(again.export_count, 7);
    CHECK(named(&again, &again.exports[5], "\1start") && again.exports[5].index == 3);
    CHECK(named(&again, &again.exports[6], "\1global") && again.exports[6].kind == WASMTIME_GLOBAL);
    CHECK_INT((int64_t)again.code_begin - (int64_t)b.code_begin, moved);
    CHECK_BYTES(out + again.code_begin, len - again.code_begin, sample + b.code_begin, sizeof sample - b.code_begin);
    bl_free(out);
    bl_wasm_binary_clear(&again);
    bl_wasm_binary_clear(&b);
}

/* A module without exports gets a section for them where it belongs. */
TEST(rewriting_makes_an_export_section)
{
    static const uint8_t bare[] = {0, 'a', 's', 'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 8, 1, 0, 10, 4, 1, 2, 0, 0x0b};
    static const uint8_t expected[] = {0, 'a', 's', 'm', 1,  0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0,
                                       7, 5,   1,   1,   's', 0, 0, 10, 4, 1, 2, 0,    0x0b};
    struct bl_wasm_binary b;
    const struct bl_wasm_extra extra = {"s", WASMTIME_FUNC, 0};
    uint8_t *out;
    size_t len;
    int64_t moved;
    REQUIRE(bl_wasm_binary_read(&b, bare, sizeof bare, NULL) == BL_OK);
    REQUIRE(bl_wasm_binary_rewrite(&b, bare, sizeof bare, &extra, 1, &out, &len, &moved, NULL) == BL_OK);
    CHECK_BYTES(out, len, expected, sizeof expected);
    bl_free(out);
    bl_wasm_binary_clear(&b);
}

TEST(without_a_library_everything_is_unsupported)
{
    struct bl_error err = {0};
    CHECK_INT(bl_wasmtime_load("/nowhere/libwasmtime.so", false, &err), BL_UNSUPPORTED);
    CHECK_TEXT(err.subject, "wasmtime");
    CHECK_INT(bl_wasmtime_load("/lib/x86_64-linux-gnu/libc.so.6", false, &err), BL_UNSUPPORTED); /* a library, but not that one */
    CHECK(bl_wasmtime_loaded() == NULL);
}
