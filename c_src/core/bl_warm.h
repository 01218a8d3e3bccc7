/* SPDX-License-Identifier: Apache-2.0
 *
 * Large blocks that were freed and wait to be used again. The first touch of fresh memory costs a page fault for each
 * 4 KiB, which for a block that is filled once is more than the filling.
 *
 * Kept only while somebody tidies up: each pool does, its housekeeper trims when the pool has been idle for five seconds.
 */
#ifndef BL_WARM_H
#define BL_WARM_H

#include <stdbool.h>
#include <stddef.h>

enum { BL_WARM_FROM = 1 << 20 }; /* bytes; smaller blocks stay with malloc anyway */

/* A block of at least `bytes`, at most a quarter more, or NULL. What is in it is left over. */
void *bl_warm_take(size_t bytes, size_t *capacity);
/* True: the block of malloc's is kept. False: free it. */
bool bl_warm_give(void *block, size_t capacity);
/* Frees all that is kept. */
void bl_warm_trim(void);
/* One more, one less who trims. */
void bl_warm_join(void);
void bl_warm_leave(void);

#endif
