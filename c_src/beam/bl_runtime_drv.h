/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the runtime's port driver: a port is a source of tasks, several ports share
 * a pool, calling processes are owners.
 *
 *   bl_runtime_drv.c    driver entry, commands of the control callback
 *   bl_drv_task.c       one task: from the command's bytes to the answer's terms
 *   bl_drv_pool.c       pools, their operations, their statistics
 *   bl_drv_owner.c      calling processes and their monitors
 *   bl_drv_term.c       terms for erl_drv_send_term
 */
#ifndef BL_RUNTIME_DRV_H
#define BL_RUNTIME_DRV_H

#include <erl_driver.h>

#include "beamline/op.h"
#include "bl_engine.h"

/* Numbers of the control commands; beamline_runtime_drv.erl has the same. */
enum bl_drv_command { DRV_VERSION = 1, DRV_CREATE, DRV_ATTACH, DRV_CANCEL, DRV_INFO, DRV_OPERATIONS, DRV_DRAIN };

struct drv_pool;
struct drv_owners;

struct drv_port {
    ErlDrvPort port;
    ErlDrvTermData term;
    struct drv_pool *pool;     /* NULL until created or attached */
    struct bl_source *source;
    struct drv_owners *owners; /* callbacks of this port only */
};

/* ---- bl_drv_pool.c ---- */

/* Pools are named by {Id, Generation} packed into one number, never by a pointer. */
enum bl_status drv_pool_create(const struct bl_pool_config *config, struct drv_pool **out, uint64_t *id, struct bl_error *err);
struct drv_pool *drv_pool_attach(uint64_t id); /* NULL: gone */
/* A port of it goes; with the last one the pool closes. */
void drv_pool_detach(struct drv_pool *pool);
struct bl_pool *drv_pool_engine(struct drv_pool *pool);
const struct bl_op *drv_pool_find(struct bl_pool *engine, const struct bl_span *name);
/* The operation of every pool that loads a user's library; runs on a pool thread. */
enum bl_status drv_pool_load(struct bl_pool *engine, struct bl_reader *args, struct bl_writer *result, struct bl_error *err);
extern const struct bl_op drv_load_op;
void drv_pool_info(struct drv_pool *pool, struct bl_writer *w);
void drv_pool_operations(struct drv_pool *pool, struct bl_writer *w);
enum bl_status drv_read_config(struct bl_reader *r, struct bl_pool_config *config);

/* ---- bl_drv_owner.c ---- */

struct drv_owners *drv_owners_new(void); /* NULL: no memory */
void drv_owners_free(struct drv_owners *owners);
/* The caller's entry, monitored. NULL: it is dead already, or no memory (then *dead is false). */
struct bl_owner *drv_owners_get(struct drv_port *port, ErlDrvTermData pid, bool *dead);
void drv_owners_died(struct drv_port *port, ErlDrvMonitor *monitor);

/* ---- bl_drv_task.c ---- */

/* Takes one command: starts a task or answers with the refusal. */
void drv_task_command(struct drv_port *port, ErlIOVec *ev);

#endif
