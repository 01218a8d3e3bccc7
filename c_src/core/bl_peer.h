/* SPDX-License-Identifier: Apache-2.0
 *
 * Another process of this machine that was started to work for this one: how the two find each other.
 *
 * This one listens at a socket in a fresh directory of mode 0700 and starts the other with its path as an argument; the
 * kernel then tells who has connected. What is said through the connection is the parts' business.
 */
#ifndef BL_PEER_H
#define BL_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "beamline/core.h"

enum { BL_PEER_PATH = 108 };

/* A listening socket, and its path; -1 with errno. */
int bl_peer_listen(char path[BL_PEER_PATH]);
/* Removes the path, if there is one. */
void bl_peer_forget(char path[BL_PEER_PATH]);
/* The next connection, within this time, of this process's user; and always of one process: *pid is 0 before the first. What
 * is then received through it comes within that time, too. -1: none, or of somebody else. */
int bl_peer_accept(int listening, unsigned patience_ms, uint64_t *pid);
/* A process that connects: -1 with errno. */
BL_API int bl_peer_connect(const char *path);
/* Names the process for good, so that bl_peer_kill never meets another one; -1 for this process itself, or when it is gone. */
int bl_peer_open(uint64_t pid);
/* SIGKILL. -1 is harmless. */
void bl_peer_kill(int pidfd);

/* How long it has said nothing, as far as that was watched: when the whole machine has stood still, or only this process, it
 * still gets to answer. */
struct bl_silence {
    uint64_t ns, looked_ns;
};
void bl_silence_begin(struct bl_silence *s, uint64_t now_ns);
/* A look, of about four in `most_ns`. True: it has been silent for longer than that. */
bool bl_silence_is_long(struct bl_silence *s, uint64_t now_ns, uint64_t most_ns);

#endif
