/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_library.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_inside(uint64_t offset, uint64_t length, uint64_t size) { return offset <= size && length <= size - offset; }

static bool read_all(int fd, void *to, size_t length, uint64_t offset) { return pread(fd, to, length, (off_t)offset) == (ssize_t)length; }

/* What an ELF file of this machine says that it has: its segments, and its section headers, which come last. What is no such file the
 * loader refuses by itself. */
static bool is_whole(int fd, uint64_t size)
{
    Elf64_Ehdr head;
    if (!read_all(fd, &head, sizeof head, 0)) return true;
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64) return true;
    if (!is_inside(head.e_shoff, (uint64_t)head.e_shentsize * head.e_shnum, size)) return false;
    for (unsigned i = 0; i < head.e_phnum; i++) {
        Elf64_Phdr segment;
        if (!read_all(fd, &segment, sizeof segment, head.e_phoff + (uint64_t)i * sizeof segment)) return false;
        if (segment.p_type == PT_LOAD && !is_inside(segment.p_offset, segment.p_filesz, size)) return false;
    }
    return true;
}

/* NULL: let the loader try, which says more. */
static const char *look(const char *path)
{
    const char *why = NULL;
    struct stat info;
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return NULL;
    if (fstat(fd, &info) == 0) {
        if (!S_ISREG(info.st_mode))
            why = "not a regular file";
        else if (!is_whole(fd, (uint64_t)info.st_size))
            why = "file too short";
    }
    close(fd);
    return why;
}

void *bl_library_open(const char *path, struct bl_error *err)
{
    const char *why = look(path);
    void *library = why ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (why)
        bl_fail_invalid(err, "path", "%.120s: %s", path, why);
    else if (!library)
        bl_fail_invalid(err, "path", "%s", dlerror());
    return library;
}
