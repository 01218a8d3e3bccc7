/* SPDX-License-Identifier: Apache-2.0
 *
 * libseccomp is opened when it is there: its declarations below are those of its stable interface (version 2).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bl_host.h"

static bool limit(__rlimit_resource_t what, uint64_t most)
{
    struct rlimit now;
    if (getrlimit(what, &now) != 0) return false;
    if (now.rlim_max != RLIM_INFINITY && most > now.rlim_max) most = now.rlim_max;
    return setrlimit(what, &(struct rlimit){.rlim_cur = most, .rlim_max = most}) == 0;
}

static bool limit_data(uint64_t bytes)
{
    struct rlimit now;
    if (getrlimit(RLIMIT_DATA, &now) != 0) return false;
    now.rlim_cur = bytes < now.rlim_max ? bytes : now.rlim_max;
    return setrlimit(RLIMIT_DATA, &now) == 0;
}

void bl_host_more_data(uint64_t bytes)
{
    struct rlimit now;
    if (getrlimit(RLIMIT_DATA, &now) != 0 || now.rlim_cur == RLIM_INFINITY) return;
    (void)limit_data(now.rlim_cur + bytes < bytes ? RLIM_INFINITY : now.rlim_cur + bytes);
}

/* AddressSanitizer takes most of the addresses there are. */
static bool limit_memory(const struct bl_host_limits *limits)
{
#ifdef __SANITIZE_ADDRESS__
    (void)limits;
    return true;
#else
    return (limits->memory_bytes == 0 || limit(RLIMIT_AS, limits->memory_bytes)) &&
           (limits->data_bytes == 0 || limit_data(limits->data_bytes));
#endif
}

enum bl_status bl_host_limit(const struct bl_host_limits *limits, struct bl_error *err)
{
    const bool ok = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && limit(RLIMIT_CORE, 0) &&
                    limit(RLIMIT_NOFILE, limits->files) && limit_memory(limits) &&
                    (limits->cpu_seconds == 0 || limit(RLIMIT_CPU, limits->cpu_seconds));
    return ok ? BL_OK : bl_fail_invalid(err, "limits", "%s", strerror(errno));
}

/* What threads, memory, sockets and clocks need; nothing that names a file, a process or another machine. */
static const int allowed[] = {
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_recvfrom, SYS_sendto, SYS_recvmsg, SYS_sendmsg, SYS_ppoll, SYS_close, SYS_shutdown,
    SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_futex, SYS_set_robust_list,
    SYS_rseq, SYS_exit, SYS_exit_group, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_gettid, SYS_getpid,
    SYS_sched_yield, SYS_sched_getaffinity, SYS_getcpu, SYS_clock_gettime, SYS_clock_nanosleep,
    SYS_nanosleep, SYS_gettimeofday, SYS_getrandom, SYS_membarrier, SYS_restart_syscall, SYS_getrusage, SYS_sysinfo,
#ifdef SYS_poll
    SYS_poll,
#endif
};

enum { ACT_ALLOW = 0x7fff0000, ACT_ERRNO = 0x00050000, CMP_MASKED_EQ = 7 };

struct comparison {
    unsigned int argument;
    int how;
    uint64_t mask, value;
};
typedef int add_rule_fn(void *filter, uint32_t action, int syscall, unsigned int count, const struct comparison *all);

static bool allow_if(add_rule_fn *add, void *filter, int syscall, uint64_t mask, uint64_t value)
{
    return add(filter, ACT_ALLOW, syscall, 1, &(struct comparison){.how = CMP_MASKED_EQ, .mask = mask, .value = value}) == 0;
}

/* Whose first argument tells what it is for: threads and signals of this process, their names and processors, and nothing
 * that outlives it or reaches another one. (clone3 has its flags in memory; without it the C library takes clone.) */
static bool allow_some(add_rule_fn *add, void *filter)
{
    return allow_if(add, filter, SYS_clone, CLONE_THREAD, CLONE_THREAD) && add(filter, ACT_ERRNO | ENOSYS, SYS_clone3, 0, NULL) == 0 &&
           allow_if(add, filter, SYS_tgkill, UINT32_MAX, (uint64_t)getpid()) &&
           allow_if(add, filter, SYS_sched_setaffinity, UINT32_MAX, 0) && allow_if(add, filter, SYS_prctl, UINT32_MAX, PR_SET_NAME);
}

bool bl_host_sandbox(void)
{
    void *library = dlopen("libseccomp.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) return false;
    void *(*init)(uint32_t action) = NULL;
    add_rule_fn *add = NULL;
    int (*load)(const void *filter) = NULL;
    *(void **)&init = dlsym(library, "seccomp_init");
    *(void **)&add = dlsym(library, "seccomp_rule_add_array");
    *(void **)&load = dlsym(library, "seccomp_load");
    void *filter = init && add && load ? init(ACT_ERRNO | EPERM) : NULL;
    bool ok = filter && allow_some(add, filter);
    for (size_t i = 0; ok && i < sizeof allowed / sizeof allowed[0]; i++) ok = add(filter, ACT_ALLOW, allowed[i], 0, NULL) == 0;
    return ok && load(filter) == 0; /* holds for all threads that are started from here on */
}
