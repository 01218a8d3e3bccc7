/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bl_peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

int bl_peer_listen(char path[BL_PEER_PATH])
{
    const char *tmp = getenv("TMPDIR");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char dir[sizeof address.sun_path];
    _Static_assert(sizeof address.sun_path == BL_PEER_PATH, "a socket's path");
    const bool usable = tmp && tmp[0] != '\0' && strlen(tmp) < 80;
    if (snprintf(dir, sizeof dir, "%s/beamline-XXXXXX", usable ? tmp : "/tmp") >= (int)sizeof dir) return -1;
    if (!mkdtemp(dir)) return -1; /* mode 0700 */
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s/host", dir);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4) != 0) {
        const int why = errno;
        if (fd >= 0) close(fd);
        unlink(address.sun_path);
        rmdir(dir);
        errno = why;
        return -1;
    }
    memcpy(path, address.sun_path, sizeof address.sun_path);
    return fd;
}

void bl_peer_forget(char path[BL_PEER_PATH])
{
    if (path[0] == '\0') return;
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    path[0] = '\0';
}

int bl_peer_accept(int listening, unsigned patience_ms, uint64_t *pid)
{
    struct pollfd ready = {.fd = listening, .events = POLLIN};
    if (poll(&ready, 1, (int)patience_ms) <= 0) return -1;
    const int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return -1;
    struct ucred peer;
    socklen_t len = sizeof peer;
    const struct timeval patience = {.tv_sec = patience_ms / 1000, .tv_usec = patience_ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const bool ok = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == geteuid() &&
                    (*pid == 0 || *pid == (uint64_t)peer.pid);
    if (!ok) {
        close(fd);
        return -1;
    }
    *pid = (uint64_t)peer.pid;
    return fd;
}

int bl_peer_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -1;
    memcpy(address.sun_path, path, strlen(path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

int bl_peer_open(uint64_t pid) { return pid == (uint64_t)getpid() ? -1 : (int)syscall(SYS_pidfd_open, (pid_t)pid, 0); }

void bl_peer_kill(int pidfd)
{
    if (pidfd >= 0) syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

void bl_silence_begin(struct bl_silence *s, uint64_t now_ns) { *s = (struct bl_silence){.looked_ns = now_ns}; }

bool bl_silence_is_long(struct bl_silence *s, uint64_t now_ns, uint64_t most_ns)
{
    const uint64_t passed_ns = now_ns > s->looked_ns ? now_ns - s->looked_ns : 0;
    s->looked_ns = now_ns;
    s->ns += passed_ns < most_ns / 2 ? passed_ns : most_ns / 2;
    return s->ns > most_ns;
}
