/* SPDX-License-Identifier: Apache-2.0
 *
 * Large blocks that wait to be used again. (bl_alloc does without them under AddressSanitizer.)
 */
#include <stdlib.h>

#include "bl_test.h"
#include "bl_warm.h"

enum { MIB = 1 << 20 };

TEST(a_block_comes_back_to_who_needs_about_as_much)
{
    size_t capacity = 0;
    void *block = malloc(8 * MIB);
    bl_warm_join();
    CHECK(bl_warm_give(block, 8 * MIB));
    CHECK(!bl_warm_take(9 * MIB, &capacity)); /* too small */
    CHECK(!bl_warm_take(4 * MIB, &capacity)); /* too large: it would be wasted */
    CHECK(bl_warm_take(7 * MIB, &capacity) == block);
    CHECK_INT(capacity, 8 * MIB);
    CHECK(!bl_warm_take(7 * MIB, &capacity));
    free(block);
    bl_warm_leave();
}

TEST(the_block_that_fits_best_is_taken)
{
    size_t capacity = 0;
    bl_warm_join();
    const size_t sizes[] = {12, 10, 11};
    for (size_t i = 0; i < 3; i++) CHECK(bl_warm_give(malloc(sizes[i] * MIB), sizes[i] * MIB));
    void *block = bl_warm_take(10 * MIB - 1, &capacity);
    CHECK_INT(capacity, 10 * MIB);
    free(block);
    bl_warm_leave();
}

TEST(nothing_is_kept_where_nobody_tidies_up)
{
    size_t capacity;
    void *block = malloc(2 * MIB);
    CHECK(!bl_warm_give(block, 2 * MIB));
    bl_warm_join();
    CHECK(!bl_warm_give(block, MIB / 2)); /* small */
    CHECK(bl_warm_give(block, 2 * MIB));
    bl_warm_leave(); /* frees it, or LeakSanitizer says so */
    CHECK(!bl_warm_take(2 * MIB, &capacity));
}

TEST(the_oldest_makes_room)
{
    size_t capacity;
    bl_warm_join();
    for (size_t i = 0; i < 40; i++) CHECK(bl_warm_give(malloc(2 * MIB + 64 * i), 2 * MIB + 64 * i));
    CHECK(bl_warm_give(malloc(200 * MIB), 200 * MIB));
    void *block = bl_warm_take(2 * MIB, &capacity);
    CHECK(block && capacity > 2 * MIB); /* the first ones went */
    free(block);
    CHECK(bl_warm_give(malloc(100 * MIB), 100 * MIB));
    CHECK(!bl_warm_take(200 * MIB, &capacity)); /* as a whole at most 256 MiB */
    bl_warm_trim();
    CHECK(!bl_warm_take(100 * MIB, &capacity));
    bl_warm_leave();
}
