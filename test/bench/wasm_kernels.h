/* SPDX-License-Identifier: Apache-2.0
 *
 * Compute kernels for guest (clang --target=wasm32 -nostdlib) and host (gcc): calls, integers, floats, memory.
 */
#ifdef __wasm__
#define KERNEL(name) int name(int); __attribute__((export_name(#name)))
#else
#define KERNEL(name) int name(int); __attribute__((noinline))
#endif

KERNEL(fib) int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

KERNEL(lcg) int lcg(int turns)
{
    unsigned long long state = 1;
    for (int i = 0; i < turns; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        state ^= state >> 17;
    }
    return (int)state;
}

enum { SIDE = 128, MOST = 2000000 };
static double left[SIDE * SIDE], right[SIDE * SIDE], product[SIDE * SIDE];

KERNEL(matmul) int matmul(int times)
{
    for (int i = 0; i < SIDE * SIDE; i++) {
        left[i] = i % 7 + 0.5;
        right[i] = i % 5 - 1.25;
    }
    for (int t = 0; t < times; t++)
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                double sum = t;
                for (int k = 0; k < SIDE; k++) sum += left[i * SIDE + k] * right[k * SIDE + j];
                product[i * SIDE + j] = sum;
            }
    return (int)product[77 * SIDE + 33];
}

static unsigned char composite[MOST + 1];

KERNEL(sieve) int sieve(int most)
{
    int primes = 0;
    for (int i = 0; i <= most; i++) composite[i] = 0;
    for (int i = 2; i <= most; i++) {
        if (composite[i]) continue;
        primes++;
        for (long long j = (long long)i * i; j <= most; j += i) composite[j] = 1;
    }
    return primes;
}
