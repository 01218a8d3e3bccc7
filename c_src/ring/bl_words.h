/* SPDX-License-Identifier: Apache-2.0
 *
 * Atomic words that are used in one way only, each with the reason for its memory order. What is more than a number or a
 * reference is argued where it stands.
 */
#ifndef BL_WORDS_H
#define BL_WORDS_H

#include <stdbool.h>
#include <stdint.h>

/* ---- counters. Relaxed: a number that is shown, or compared with a limit; it says nothing about other memory. ---- */

static inline void bl_count(uint64_t *counter, uint64_t more) { __atomic_add_fetch(counter, more, __ATOMIC_RELAXED); }

/* Of a counter that only this thread writes: a store is enough, and costs no locked instruction. */
static inline void bl_count_own(uint64_t *counter, uint64_t more) { __atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED); }

static inline uint64_t bl_counted(const uint64_t *counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }

/* ---- references ---- */

/* Relaxed: by who has one, or under the lock that keeps one alive; so nothing can be freed meanwhile. */
static inline void bl_refs_get(uint32_t *refs) { __atomic_add_fetch(refs, 1, __ATOMIC_RELAXED); }

/* True: that was the last. Release: what this one did comes before; acquire: the last one sees what all others did. */
static inline bool bl_refs_put(uint32_t *refs) { return __atomic_sub_fetch(refs, 1, __ATOMIC_ACQ_REL) == 0; }

#endif
