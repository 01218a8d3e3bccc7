/* SPDX-License-Identifier: Apache-2.0
 *
 * Floor of runtime/host_roundtrip: joins an AF_UNIX socket and sends back each frame that comes, a length of
 * 4 bytes (big-endian) and so many bytes, until the other end closes.
 *
 *     floor_socket_echo PATH
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char frame[1 << 20];

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
    strcpy(address.sun_path, argv[1]);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) return 1;
    for (;;) {
        size_t have = 0, need = sizeof(uint32_t);
        while (have < need) {
            const ssize_t n = read(fd, frame + have, sizeof frame - have);
            if (n <= 0) return 0;
            have += (size_t)n;
            uint32_t length;
            memcpy(&length, frame, sizeof length);
            if (have >= sizeof length) need = sizeof length + ntohl(length);
            if (need > sizeof frame) return 1;
        }
        for (size_t sent = 0; sent < have;) { /* one frame at a time: the caller waits for it */
            const ssize_t n = write(fd, frame + sent, have - sent);
            if (n <= 0) return 1;
            sent += (size_t)n;
        }
    }
}
