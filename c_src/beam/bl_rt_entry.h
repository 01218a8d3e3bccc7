/* SPDX-License-Identifier: Apache-2.0
 *
 * What the VM calls in us may take about 1 ms of processor time. Built with CONFIG=count, each entry measures itself:
 * the most that it took is kept by its name, for runtime/entry_cpu_max and ring/entry_cpu_max. In any other build these macros
 * are nothing.
 *
 *     RT_ENTER();
 *     ...
 *     RT_LEAVE("name");    on every way out
 */
#ifndef BL_RT_ENTRY_H
#define BL_RT_ENTRY_H

#ifdef BL_COUNT_ENTRIES
#include "beamline/term.h"
#include "bl_sync.h"

/* Any thread. `name` is a literal. */
void rt_entry_left(const char *name, uint64_t entered_ns);
/* [{Name, MostNanoseconds, Times}] since the last call, which forgets them. */
void rt_entries_write(struct bl_writer *w);
/* The same as lines "name nanoseconds times" into a new file. */
void rt_entries_save(const char *path);

#define RT_ENTER() const uint64_t rt_entered_ns = bl_thread_cpu_ns()
#define RT_LEAVE(name) rt_entry_left(name, rt_entered_ns)
#else
#define RT_ENTER() ((void)0)
#define RT_LEAVE(name) ((void)0)
#endif

#endif
