/* SPDX-License-Identifier: Apache-2.0
 *
 * Floor of runtime/host_bandwidth: two processes on an AF_UNIX socket, so many bytes there and then back, from
 * memory into memory that was used before.
 *
 *     floor_socket_copy BYTES     prints the nanoseconds of the fifth time there and back
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TIMES = 5 };

static void send_all(int fd, const char *p, size_t bytes)
{
    for (ssize_t n; bytes > 0; p += n, bytes -= (size_t)n)
        if ((n = write(fd, p, bytes)) <= 0) exit(1);
}

static void receive_all(int fd, char *p, size_t bytes)
{
    for (ssize_t n; bytes > 0; p += n, bytes -= (size_t)n)
        if ((n = read(fd, p, bytes)) <= 0) exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
    const size_t bytes = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    char *memory = malloc(bytes);
    int pair[2];
    if (!memory || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return 1;
    memset(memory, 1, bytes);
    const int child = fork() == 0;
    for (int i = 0; i < TIMES; i++) {
        const uint64_t begin = now_ns();
        if (!child) send_all(pair[0], memory, bytes);
        receive_all(pair[!!child], memory, bytes);
        if (child) send_all(pair[1], memory, bytes);
        if (!child && i == TIMES - 1) printf("%llu\n", (unsigned long long)(now_ns() - begin));
    }
    return 0;
}
