/* SPDX-License-Identifier: Apache-2.0
 *
 * A tiny test harness: a test program includes this once and gets its main().
 *
 *     TEST(a_full_queue_refuses_and_keeps_its_contents)
 *     {
 *         CHECK(queue_is_full(q));           // goes on after a failure
 *         REQUIRE(p != NULL);                // leaves the test after a failure
 *         CHECK_INT(queue_length(q), 3);     // (actual, expected), prints both
 *         if (!have_data) SKIP("no data");   // leaves the test, counted as skipped
 *     }
 *
 * Run with an argument to run only the tests whose name contains it. The last line is
 * `N passed, N failed, N skipped`; the exit code is 1 if any failed or none was found.
 * The functions marked [any thread] may be called from threads of the test; REQUIRE and
 * SKIP only from the thread that runs it.
 */
#ifndef BL_TEST_H
#define BL_TEST_H

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct bl_test {
    const char *name;
    void (*run)(void);
    struct bl_test *next;
};

static struct {
    struct bl_test *first, **last;
    unsigned failures; /* of the running test; atomic, because checks may run in threads */
    struct bl_test *running;
    bool skipping;
    unsigned passed, failed, skipped;
    jmp_buf leave;
} bl_tests;

/* Constructors of one file run in the order of their definition. */
#define TEST(test_name)                                                                                                \
    static void test_name(void);                                                                                       \
    __attribute__((constructor)) static void bl_register_##test_name(void)                                             \
    {                                                                                                                  \
        static struct bl_test test = {#test_name, test_name, NULL};                                                    \
        *(bl_tests.last ? bl_tests.last : &bl_tests.first) = &test;                                                    \
        bl_tests.last = &test.next;                                                                                    \
    }                                                                                                                  \
    static void test_name(void)

#define BL_TEST_FAIL(...)                                                                                              \
    (__atomic_add_fetch(&bl_tests.failures, 1, __ATOMIC_RELAXED), printf("    %s:%d: ", __FILE__, __LINE__),           \
     printf(__VA_ARGS__), putchar('\n'))

#define CHECK(condition) ((condition) ? (void)0 : (void)BL_TEST_FAIL("not true: %s", #condition)) /* [any thread] */

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (condition) break;                                                                                          \
        BL_TEST_FAIL("not true: %s", #condition);                                                                      \
        longjmp(bl_tests.leave, 1);                                                                                    \
    } while (0)

/* Any integer or enum that fits 64 bits; prints both. [any thread] */
#define CHECK_INT(actual, expected)                                                                                    \
    do {                                                                                                               \
        const int64_t bl_a = (int64_t)(actual), bl_e = (int64_t)(expected);                                            \
        if (bl_a != bl_e) BL_TEST_FAIL("%s is %" PRId64 ", expected %s (%" PRId64 ")", #actual, bl_a, #expected, bl_e);\
    } while (0)

/* |actual - expected| <= tolerance; false for NaN. [any thread] */
#define CHECK_NEAR(actual, expected, tolerance)                                                                        \
    do {                                                                                                               \
        const double bl_a = (actual), bl_e = (expected), bl_t = (tolerance);                                           \
        if (!(fabs(bl_a - bl_e) <= bl_t))                                                                              \
            BL_TEST_FAIL("%s is %.17g, expected %.17g within %.3g", #actual, bl_a, bl_e, bl_t);                        \
    } while (0)

/* C strings. [any thread] */
#define CHECK_TEXT(actual, expected)                                                                                   \
    do {                                                                                                               \
        const char *bl_a = (actual), *bl_e = (expected);                                                               \
        if (strcmp(bl_a, bl_e) != 0) BL_TEST_FAIL("%s is \"%s\", expected \"%s\"", #actual, bl_a, bl_e);               \
    } while (0)

/* Blocks of bytes; tells the first difference. [any thread] */
#define CHECK_BYTES(actual, actual_len, expected, expected_len)                                                        \
    bl_test_bytes(__FILE__, __LINE__, #actual, (actual), (actual_len), (expected), (expected_len))

#define SKIP(why)                                                                                                      \
    do {                                                                                                               \
        printf("skipped: %s: %s\n", bl_tests.running->name, (why));                                                    \
        bl_tests.skipping = true;                                                                                      \
        longjmp(bl_tests.leave, 1);                                                                                    \
    } while (0)

__attribute__((unused)) static void bl_test_bytes(const char *file, int line, const char *what, const void *actual,
                                                  size_t actual_len, const void *expected, size_t expected_len)
{
    const uint8_t *a = actual, *e = expected;
    size_t at = 0;
    while (at < actual_len && at < expected_len && a[at] == e[at]) at++;
    if (at == actual_len && at == expected_len) return;
    __atomic_add_fetch(&bl_tests.failures, 1, __ATOMIC_RELAXED);
    printf("    %s:%d: %s has %zu bytes, expected %zu; first difference at %zu\n", file, line, what, actual_len,
           expected_len, at);
}

/* A copy in a block of exactly its size, so that a sanitizer sees one byte too many;
 * shifted by `shift` bytes from malloc's alignment. Give it back with bl_test_uncopy. */
__attribute__((unused)) static uint8_t *bl_test_copy(const void *data, size_t len, size_t shift)
{
    uint8_t *base = malloc(len + shift > 0 ? len + shift : 1);
    if (!base) abort();
    if (len > 0) memcpy(base + shift, data, len);
    return base + shift;
}

__attribute__((unused)) static void bl_test_uncopy(const uint8_t *copy, size_t shift) { free((void *)(uintptr_t)(copy - shift)); }

/* A seed from the environment's SEED or from the clock, printed so that a failure can be repeated. */
__attribute__((unused)) static uint64_t bl_test_seed(void)
{
    const char *given = getenv("SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)now.tv_sec ^ (uint64_t)now.tv_nsec << 20;
    printf("    SEED=%" PRIu64 "\n", seed);
    return seed;
}

/* The next of a reproducible sequence (splitmix64). */
__attribute__((unused)) static uint64_t bl_test_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* Polls until the condition holds, at most two seconds. [any thread] */
#define CHECK_EVENTUALLY(condition)                                                                                    \
    do {                                                                                                               \
        unsigned bl_tries = 0;                                                                                         \
        while (!(condition) && bl_tries++ < 2000) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);             \
        if (bl_tries > 2000) BL_TEST_FAIL("not true within 2 s: %s", #condition);                                      \
    } while (0)

static void bl_test_run(struct bl_test *test)
{
    bl_tests.running = test;
    bl_tests.failures = 0;
    bl_tests.skipping = false;
    if (setjmp(bl_tests.leave) == 0) test->run();
    if (bl_tests.failures > 0)
        bl_tests.failed++, printf("FAILED: %s\n", test->name);
    else if (bl_tests.skipping)
        bl_tests.skipped++;
    else
        bl_tests.passed++;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (struct bl_test *test = bl_tests.first; test; test = test->next)
        if (argc < 2 || strstr(test->name, argv[1])) bl_test_run(test);
    printf("%u passed, %u failed, %u skipped\n", bl_tests.passed, bl_tests.failed, bl_tests.skipped);
    return bl_tests.failed > 0 || bl_tests.passed + bl_tests.skipped == 0;
}

#endif
