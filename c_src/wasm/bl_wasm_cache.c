/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled code on disk. The library believes what it is given, so a file is only used from a folder that belongs to this
 * user and that nobody else can enter, and only when it is whole. A file is
 *
 *     FOLDER/<key>-<settings>-<version of the library>.cwasm       the library's code, mapped by the library
 *     FOLDER/<...>.sum                                              its length and checksum
 *
 * Both are written under another name and renamed, the sum last: two who compile the same thing do no harm.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bl_wasm_engine.h"

enum { PATH_BYTES = 4096 + 160, READ_ONLY = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK /* of a pipe: do not wait for who writes */ };

struct sum {
    uint64_t magic, length, hash;
    int64_t moved; /* what the module's code was compiled from is shifted by this */
};
#define MAGIC UINT64_C(0x324d555341574c42) /* "BLWASUM2" */

/* Against damage, not against forgery. Four lanes, so that it keeps up with the memory. */
static uint64_t hash(const uint8_t *data, size_t len)
{
    const uint64_t prime = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t lane[4] = {1, 2, 3, 4}, word = 0;
    size_t at = 0;
    for (; at + 32 <= len; at += 32)
        for (int i = 0; i < 4; i++) {
            memcpy(&word, data + at + 8 * i, 8);
            lane[i] = (lane[i] ^ word) * prime;
            lane[i] ^= lane[i] >> 29;
        }
    uint64_t h = len;
    for (; at < len; at++) h = (h ^ data[at]) * prime;
    for (int i = 0; i < 4; i++) h = ((h ^ lane[i]) * prime) ^ (h >> 31);
    return h;
}

static bool path_of(char path[PATH_BYTES], const struct bl_wasm_module *m, const char *folder, const char *key, const char *suffix)
{
    char settings[48];
    bl_wasm_settings_name(&m->engine->settings, settings);
    const int n = snprintf(path, PATH_BYTES, "%s/%s-%s%s-%s%s", folder, key, settings, m->exposed ? "-x" : "",
        bl_wasmtime_loaded()->version, suffix);
    return n > 0 && n < PATH_BYTES;
}

/* Ours alone: a folder, not a link to one. */
static bool is_safe(const char *folder)
{
    struct stat s;
    return lstat(folder, &s) == 0 && S_ISDIR(s.st_mode) && s.st_uid == geteuid() && (s.st_mode & 077) == 0;
}

static bool read_sum(const char *path, struct sum *sum)
{
    const int fd = open(path, READ_ONLY);
    if (fd < 0) return false;
    const bool whole = read(fd, sum, sizeof *sum) == (ssize_t)sizeof *sum && sum->magic == MAGIC;
    close(fd);
    return whole;
}

static bool is_whole(const char *path, const struct sum *sum)
{
    struct stat s;
    bool good = false;
    const int fd = open(path, READ_ONLY);
    if (fd < 0) return false;
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_uid == geteuid() && (uint64_t)s.st_size == sum->length && s.st_size > 0) {
        void *data = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        if (data != MAP_FAILED) {
            good = hash(data, (size_t)s.st_size) == sum->hash;
            munmap(data, (size_t)s.st_size);
        }
    }
    close(fd);
    return good;
}

bool bl_wasm_cache_load(struct bl_wasm_module *m, const char *folder, const char *key)
{
    char code[PATH_BYTES], sums[PATH_BYTES];
    struct sum sum;
    if (!path_of(code, m, folder, key, ".cwasm") || !path_of(sums, m, folder, key, ".sum")) return false;
    if (!is_safe(folder) || !read_sum(sums, &sum)) return false;
    if (is_whole(code, &sum)) {
        wasmtime_error_t *error = wt.wasmtime_module_deserialize_file(m->engine->engine, code, &m->module);
        if (!error) {
            m->moved = sum.moved;
            return true;
        }
        wt.wasmtime_error_delete(error); /* another processor, another build of the library */
        m->module = NULL;
    }
    unlink(sums);
    unlink(code);
    return false;
}

static bool write_file(const char *path, const void *data, size_t len)
{
    char temporary[PATH_BYTES + 32];
    static uint32_t number;
    snprintf(temporary, sizeof temporary, "%s.%d.%u", path, (int)getpid(), __atomic_add_fetch(&number, 1, __ATOMIC_RELAXED));
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return false;
    const char *from = data;
    size_t left = len;
    while (left > 0) {
        const ssize_t n = write(fd, from, left);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        from += n;
        left -= (size_t)n;
    }
    const bool good = close(fd) == 0 && left == 0 && rename(temporary, path) == 0;
    if (!good) unlink(temporary);
    return good;
}

/* A cache that cannot be written is no error: the code is there. */
void bl_wasm_cache_store(const struct bl_wasm_module *m, const char *folder, const char *key)
{
    char code[PATH_BYTES], sums[PATH_BYTES];
    wasm_byte_vec_t bytes;
    if (!path_of(code, m, folder, key, ".cwasm") || !path_of(sums, m, folder, key, ".sum")) return;
    if ((mkdir(folder, 0700) != 0 && errno != EEXIST) || !is_safe(folder)) return;
    wasmtime_error_t *error = wt.wasmtime_module_serialize(m->module, &bytes);
    if (error) {
        wt.wasmtime_error_delete(error);
        return;
    }
    const struct sum sum = {MAGIC, bytes.size, hash((const uint8_t *)bytes.data, bytes.size), m->moved};
    if (write_file(code, bytes.data, bytes.size)) write_file(sums, &sum, sizeof sum);
    wt.wasm_byte_vec_delete(&bytes);
}
