/* SPDX-License-Identifier: Apache-2.0
 *
 * The processor's own counter as a clock: a third of the price of bl_now_ns, for what is asked with each message.
 */
#ifndef BL_TICKS_H
#define BL_TICKS_H

#include <stdbool.h>

#include "bl_ctx.h"

/* Ticks of the processor where they are steady and it is known how long they are, else nanoseconds. */
BL_API uint64_t bl_ticks(void);
BL_API uint64_t bl_ticks_ns(uint64_t ticks);
/* Finds out how long a tick is; the first call sleeps for 5 ms. What was measured with bl_ticks across it means nothing. */
BL_API void bl_ticks_start(void);

/* The time of bl_now_ns, to less than a microsecond, and never back. A thread's own. */
struct bl_stopwatch {
    bool trusted; /* the counter is; else each reading is the system's clock's */
    uint64_t begin_ns, begin_ticks, now_ns; /* now_ns: the last reading */
};
uint64_t bl_stopwatch_start(struct bl_stopwatch *w);
uint64_t bl_stopwatch_now(struct bl_stopwatch *w);

#endif
