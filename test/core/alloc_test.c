/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <string.h>

#include "beamline/core.h"

#include "bl_test.h"

TEST(sizes_are_checked_and_kept_on_overflow)
{
    size_t out = 7;
    CHECK(bl_mul_size(3, 4, &out) && out == 12);
    CHECK(!bl_mul_size(SIZE_MAX, 2, &out) && out == 12);
    CHECK(bl_add_size(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    CHECK(!bl_add_size(SIZE_MAX, 1, &out) && out == SIZE_MAX);
}

TEST(blocks_are_counted_until_they_are_freed)
{
    struct bl_quota quota;
    bl_quota_init(&quota, NULL, "memory", 0);
    void *a = bl_alloc(&quota, 100, NULL), *b = bl_alloc_zero(&quota, 5000, NULL);
    REQUIRE(a != NULL && b != NULL);
    CHECK_INT(bl_quota_used(&quota), 5100);
    for (size_t i = 0; i < 5000; i++) CHECK(((char *)b)[i] == 0);
    bl_free(a);
    CHECK_INT(bl_quota_used(&quota), 5000);
    bl_free(b);
    bl_free(NULL);
    CHECK_INT(bl_quota_used(&quota), 0);
    CHECK_INT(bl_quota_peak(&quota), 5100);
}

TEST(a_block_can_stay_and_be_counted_no_more)
{
    struct bl_quota pool, task;
    bl_quota_init(&pool, NULL, "pool_memory", 0);
    bl_quota_init(&task, &pool, "memory", 0);
    char *p = bl_alloc(&task, 10000, NULL);
    REQUIRE(p != NULL);
    bl_uncount(p);
    CHECK_INT(bl_quota_used(&task), 0);
    CHECK_INT(bl_quota_used(&pool), 0);
    memset(p, 1, 10000);
    bl_uncount(p);
    bl_uncount(NULL);
    bl_free(p);
    CHECK_INT(bl_quota_used(&pool), 0);
}

TEST(blocks_are_aligned_and_all_their_bytes_are_usable)
{
    for (size_t bytes = 0; bytes < 9000; bytes += bytes < 40 ? 1 : 37) {
        char *p = bl_alloc(NULL, bytes, NULL);
        REQUIRE(p != NULL);
        CHECK_INT((uintptr_t)p % (bytes >= 4096 ? 64 : 16), 0);
        memset(p, 0x5a, bytes);
        bl_free(p);
    }
    char *edge = bl_alloc(NULL, 4096, NULL);
    CHECK_INT((uintptr_t)edge % 64, 0);
    bl_free(edge);
}

TEST(blocks_of_no_bytes_are_unique)
{
    void *a = bl_alloc(NULL, 0, NULL), *b = bl_alloc(NULL, 0, NULL);
    CHECK(a && b && a != b);
    bl_free(a);
    bl_free(b);
}

TEST(a_limit_refuses_and_names_the_quota)
{
    struct bl_quota quota;
    struct bl_error err;
    bl_quota_init(&quota, NULL, "task_memory", 100);
    void *a = bl_alloc(&quota, 60, &err);
    REQUIRE(a != NULL);
    CHECK(bl_alloc(&quota, 41, &err) == NULL);
    CHECK_INT(err.status, BL_LIMIT);
    CHECK_TEXT(err.subject, "task_memory");
    CHECK_INT(err.limit, 100);
    CHECK_INT(err.asked, 101);
    CHECK_INT(bl_quota_used(&quota), 60);
    void *b = bl_alloc(&quota, 40, &err);
    CHECK(b != NULL);
    bl_free(b);
    bl_free(a);
}

TEST(impossible_sizes_are_refused)
{
    struct bl_quota quota;
    struct bl_error err;
    bl_quota_init(&quota, NULL, "memory", 0);
    CHECK(bl_alloc(&quota, SIZE_MAX, &err) == NULL);
    CHECK_INT(err.status, BL_NO_MEMORY);
    CHECK(bl_alloc_array(&quota, SIZE_MAX / 2, 3, &err) == NULL);
    CHECK_INT(err.status, BL_NO_MEMORY);
    CHECK_INT(bl_quota_used(&quota), 0);
}

TEST(what_was_refused_is_no_peak)
{
    struct bl_quota pool, task;
    struct bl_error err;
    bl_quota_init(&pool, NULL, "pool_memory", 0);
    bl_quota_init(&task, &pool, "memory", 0);
    void *p = bl_alloc(&task, 100, &err);
    REQUIRE(p != NULL);
    pool.limit_bytes = 1000;
    CHECK(bl_alloc(&task, 5000, &err) == NULL); /* by the parent */
    CHECK_INT(err.status, BL_LIMIT);
    CHECK_INT(bl_quota_charge(&task, 5000, &err), BL_LIMIT);
    pool.limit_bytes = 0;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    CHECK(bl_alloc(&task, (size_t)1 << 62, &err) == NULL); /* by the system */
    CHECK_INT(err.status, BL_NO_MEMORY);
#endif
    bl_free(p);
    CHECK_INT(bl_quota_peak(&task), 100);
    CHECK_INT(bl_quota_peak(&pool), 100);
}

TEST(children_are_counted_in_their_parents_and_bounded_by_them)
{
    struct bl_quota pool, task;
    struct bl_error err;
    bl_quota_init(&pool, NULL, "pool_memory", 100);
    bl_quota_init(&task, &pool, "task_memory", 0);
    void *a = bl_alloc(&task, 80, &err);
    REQUIRE(a != NULL);
    CHECK_INT(bl_quota_used(&pool), 80);
    CHECK(bl_alloc(&task, 21, &err) == NULL);
    CHECK_TEXT(err.subject, "pool_memory");
    CHECK_INT(bl_quota_used(&task), 80);
    CHECK_INT(bl_quota_used(&pool), 80);
    bl_free(a);
    CHECK_INT(bl_quota_used(&task), 0);
    CHECK_INT(bl_quota_used(&pool), 0);
}

TEST(memory_that_lives_elsewhere_is_charged_and_released)
{
    struct bl_quota quota;
    struct bl_error err;
    bl_quota_init(&quota, NULL, "memory", 100);
    CHECK_INT(bl_quota_charge(&quota, 100, &err), BL_OK);
    CHECK_INT(bl_quota_charge(&quota, 1, &err), BL_LIMIT);
    CHECK_INT(bl_quota_charge(&quota, UINT64_MAX, &err), BL_LIMIT); /* must not wrap around */
    CHECK_INT(bl_quota_used(&quota), 100);
    bl_quota_release(&quota, 100);
    CHECK_INT(bl_quota_used(&quota), 0);
    CHECK_INT(bl_quota_charge(NULL, 100, &err), BL_OK);
    bl_quota_release(NULL, 100);
}

TEST(a_block_that_grows_or_shrinks_keeps_its_bytes)
{
    struct bl_quota quota;
    bl_quota_init(&quota, NULL, "memory", 0);
    static const size_t sizes[] = {1, 15, 4095, 4096, 20000, 4096, 100, 0};
    unsigned char *p = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        p = bl_realloc(&quota, p, sizes[i], NULL);
        REQUIRE(p != NULL);
        CHECK_INT(bl_quota_used(&quota), sizes[i]);
        for (size_t k = 0; k < kept && k < sizes[i]; k++) CHECK_INT(p[k], k & 0xff);
        for (size_t k = 0; k < sizes[i]; k++) p[k] = (unsigned char)k;
        kept = sizes[i];
    }
    bl_free(p);
    CHECK_INT(bl_quota_used(&quota), 0);
}

TEST(a_block_that_can_not_grow_is_untouched)
{
    struct bl_quota quota;
    struct bl_error err;
    bl_quota_init(&quota, NULL, "memory", 150);
    char *p = bl_alloc(&quota, 100, &err);
    REQUIRE(p != NULL);
    memset(p, 7, 100);
    CHECK(bl_realloc(&quota, p, 60, &err) == NULL); /* both live for a moment */
    CHECK_INT(err.status, BL_LIMIT);
    for (int i = 0; i < 100; i++) CHECK_INT(p[i], 7);
    bl_free(p);
}

TEST(the_injector_fails_the_nth_allocation_once)
{
    struct bl_quota pool, task;
    struct bl_error err;
    bl_quota_init(&pool, NULL, "pool_memory", 0);
    bl_quota_init(&task, &pool, "task_memory", 0);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        for (int at_parent = 0; at_parent < 2; at_parent++) {
            bl_quota_fail_nth(at_parent ? &pool : &task, nth);
            for (uint64_t i = 1; i <= 4; i++) {
                void *p = bl_alloc(&task, 10, &err);
                CHECK((p == NULL) == (i == nth));
                if (!p) CHECK_INT(err.status, BL_NO_MEMORY);
                bl_free(p);
            }
        }
    }
    bl_quota_fail_nth(&task, 1);
    bl_quota_fail_nth(&task, 0);
    void *p = bl_alloc(&task, 10, &err);
    CHECK(p != NULL);
    bl_free(p);
    CHECK_INT(bl_quota_used(&task), 0);
    CHECK_INT(bl_quota_used(&pool), 0);
}

/* ---- several threads ------------------------------------------------------------ */

enum { THREADS = 4, ROUNDS = 5000 };

static struct bl_quota shared, children[THREADS];

static void *allocate_and_free(void *arg)
{
    struct bl_quota *child = arg;
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < ROUNDS; i++) {
        void *p = bl_alloc(child, bl_test_random(&seed) % 600, NULL);
        if (bl_quota_used(&shared) > 2 * 1000 + THREADS * 600) BL_TEST_FAIL("far beyond the limit");
        bl_free(p);
    }
    return NULL;
}

TEST(threads_that_share_a_quota_leave_nothing)
{
    pthread_t threads[THREADS];
    bl_quota_init(&shared, NULL, "pool_memory", 1000);
    for (int i = 0; i < THREADS; i++) {
        bl_quota_init(&children[i], &shared, "task_memory", 500);
        REQUIRE(pthread_create(&threads[i], NULL, allocate_and_free, &children[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_INT(bl_quota_used(&shared), 0);
    CHECK(bl_quota_peak(&shared) <= 1000);
    for (int i = 0; i < THREADS; i++) CHECK_INT(bl_quota_used(&children[i]), 0);
}
