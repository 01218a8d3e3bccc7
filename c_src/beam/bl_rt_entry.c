/* SPDX-License-Identifier: Apache-2.0 */
#include "bl_rt_entry.h"

#ifdef BL_COUNT_ENTRIES
#include <pthread.h>
#include <stdio.h>

enum { NAMES_MOST = 32 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry {
    const char *name;
    uint64_t most_ns, times;
} seen[NAMES_MOST];
static size_t seen_count;

void rt_entry_left(const char *name, uint64_t entered_ns)
{
    const uint64_t spent_ns = bl_thread_cpu_ns() - entered_ns;
    size_t i = 0;
    pthread_mutex_lock(&lock);
    while (i < seen_count && seen[i].name != name) i++;
    if (i == seen_count && i < NAMES_MOST) seen[seen_count++] = (struct entry){.name = name};
    if (i < NAMES_MOST) {
        seen[i].times++;
        if (spent_ns > seen[i].most_ns) seen[i].most_ns = spent_ns;
    }
    pthread_mutex_unlock(&lock);
}

void rt_entries_write(struct bl_writer *w)
{
    pthread_mutex_lock(&lock);
    bl_write_list(w, seen_count);
    for (const struct entry *e = seen; e < seen + seen_count; e++) {
        bl_write_tuple(w, 3);
        bl_write_atom(w, e->name);
        bl_write_uint(w, e->most_ns);
        bl_write_uint(w, e->times);
        bl_write_end(w);
    }
    bl_write_end(w);
    seen_count = 0;
    pthread_mutex_unlock(&lock);
}

void rt_entries_save(const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f) return;
    pthread_mutex_lock(&lock);
    for (const struct entry *e = seen; e < seen + seen_count; e++)
        fprintf(f, "%s %llu %llu\n", e->name, (unsigned long long)e->most_ns, (unsigned long long)e->times);
    pthread_mutex_unlock(&lock);
    fclose(f);
}
#else
typedef int rt_entry_is_empty; /* a file of C has something in it */
#endif
