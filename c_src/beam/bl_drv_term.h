/* SPDX-License-Identifier: Apache-2.0
 *
 * The driver-term back end of the term writer: builds the array that erl_drv_send_term
 * takes. Any thread.
 */
#ifndef BL_DRV_TERM_H
#define BL_DRV_TERM_H

#include <erl_driver.h>

#include "beamline/term.h"

/* The VM builds larger maps with the help of its scheduler's state, and crashes on a thread that is none
 * (erts_qsort under erl_drv_send_term, OTP 25; 129 keys do it, as driver term and in external format). */
enum { BL_DRV_MAP_PAIRS_MAX = 128 };

/* Interns the atoms that are used most. Once, from the driver's init callback: driver_mk_atom
 * is not thread-safe. Other atoms travel in external format. */
void bl_drv_atoms_init(void);

struct bl_drv_chunk;
struct bl_drv_binary;

struct bl_drv_writer {
    struct bl_writer base;
    struct bl_quota *quota;
    ErlDrvTermData *terms; /* `small`, or a block of its own */
    size_t count, capacity;
    struct bl_drv_chunk *chunks;    /* what terms point to: floats, small binaries, external terms */
    struct bl_drv_binary *binaries; /* one reference each */
    /* Enough for most answers, without asking for memory. */
    size_t small_used;
    ErlDrvTermData small[48];
    _Alignas(8) uint8_t small_bytes[256];
};

void bl_drv_writer_init(struct bl_drv_writer *w, struct bl_quota *quota);
void bl_drv_writer_clear(struct bl_drv_writer *w);
/* 1 sent, 0 receiver dead, -1 malformed or port closed (erl_drv_send_term). */
int bl_drv_send(struct bl_drv_writer *w, ErlDrvTermData port, ErlDrvTermData to);

#endif
