/* SPDX-License-Identifier: Apache-2.0
 *
 * The runtime's port driver. Every callback is short: it reads a header, links a task into
 * lists, answers from memory. Work is done by the pool's threads (c_src/runtime).
 */
#include "bl_runtime_drv.h"

#include <string.h>

#include "beamline.h"
#include "bl_drv_term.h"

static int drv_init(void)
{
    if (strcmp(bl_version(), BL_VERSION) != 0) return -1; /* core and skin of different versions */
    bl_drv_atoms_init();
    return 0;
}

static ErlDrvData drv_start(ErlDrvPort port, char *command)
{
    (void)command;
    struct drv_port *p = bl_alloc_zero(NULL, sizeof *p, NULL);
    if (!p || !(p->owners = drv_owners_new())) {
        bl_free(p);
        return ERL_DRV_ERROR_GENERAL;
    }
    p->port = port;
    p->term = driver_mk_port(port);
    set_port_control_flags(port, PORT_CONTROL_FLAG_BINARY);
    driver_lock_driver(port); /* own threads run in here: never unloaded */
    /* Callbacks are short and each caller waits for its own command: there is no queue to bound here,
     * and its limit would suspend or refuse callers for nothing. */
    ErlDrvSizeT disabled = ERL_DRV_BUSY_MSGQ_DISABLED;
    erl_drv_busy_msgq_limits(port, &disabled, &disabled);
    return (ErlDrvData)p;
}

/* The port closes or its owner died. What is in flight is answered now; nothing is waited for but
 * sends in progress (bl_engine.h). */
static void drv_stop(ErlDrvData data)
{
    struct drv_port *p = (struct drv_port *)data;
    if (p->pool) {
        bl_source_close(p->source);
        drv_pool_detach(p->pool);
    }
    drv_owners_free(p->owners);
    bl_free(p);
}

static void drv_outputv(ErlDrvData data, ErlIOVec *ev)
{
    struct drv_port *p = (struct drv_port *)data;
    if (p->pool) drv_task_command(p, ev);
}

static void drv_process_exit(ErlDrvData data, ErlDrvMonitor *monitor) { drv_owners_died((struct drv_port *)data, monitor); }

/* ---- control: small questions, answered with a term in external format -------------------- */

static enum bl_status open_source(struct drv_port *p, struct drv_pool *pool, struct bl_error *err)
{
    enum bl_status status = bl_source_new(drv_pool_engine(pool), &p->source, err);
    if (status == BL_OK)
        p->pool = pool;
    else
        drv_pool_detach(pool);
    return status;
}

static enum bl_status create(struct drv_port *p, struct bl_reader *args, struct bl_writer *w, struct bl_error *err)
{
    struct bl_pool_config config;
    struct drv_pool *pool = NULL;
    uint64_t id = 0;
    if (p->pool) return bl_fail_invalid(err, "port", "has a pool already");
    enum bl_status status = bl_read_version(args);
    if (status == BL_OK) status = drv_read_config(args, &config);
    if (status == BL_OK) status = drv_pool_create(&config, &pool, &id, err);
    if (status == BL_OK) status = open_source(p, pool, err);
    if (status == BL_OK) bl_write_uint(w, id);
    return status;
}

static enum bl_status attach(struct drv_port *p, struct bl_reader *args, struct bl_writer *w, struct bl_error *err)
{
    uint64_t id = 0;
    if (p->pool) return bl_fail_invalid(err, "port", "has a pool already");
    enum bl_status status = bl_read_version(args);
    if (status == BL_OK) status = bl_read_uint(args, &id);
    if (status != BL_OK) return status;
    struct drv_pool *pool = drv_pool_attach(id);
    if (!pool) return bl_fail(err, BL_CLOSED);
    status = open_source(p, pool, err);
    if (status == BL_OK) bl_write_uint(w, id);
    return status;
}

/* The task may have come through any port of the pool. */
static bool cancel(struct drv_port *p, const uint8_t *name, size_t bytes)
{
    struct bl_pool *engine = drv_pool_engine(p->pool);
    if (bl_source_cancel(p->source, name, bytes)) return true;
    return bl_pool_cancel(engine, name, bytes);
}

static enum bl_status answer(struct drv_port *p, unsigned command, const uint8_t *data, size_t len,
                             struct bl_writer *w, struct bl_error *err)
{
    const struct bl_span span = {.data = data, .len = len};
    struct bl_reader args;
    bl_reader_init(&args, &span, 1, NULL, NULL, err);
    enum bl_status status = BL_OK;
    if (command == DRV_VERSION)
        bl_write_text(w, bl_version());
    else if (command == DRV_CREATE)
        status = create(p, &args, w, err);
    else if (command == DRV_ATTACH)
        status = attach(p, &args, w, err);
    else if (!p->pool)
        status = bl_fail(err, BL_CLOSED);
    else if (command == DRV_CANCEL)
        bl_write_bool(w, len > 1 && cancel(p, data + 1, len - 1)); /* without the version byte */
    else if (command == DRV_INFO)
        drv_pool_info(p->pool, w);
    else if (command == DRV_OPERATIONS)
        drv_pool_operations(p->pool, w);
    else if (command == DRV_DRAIN) {
        bl_source_drain(p->source);
        bl_write_bool(w, true);
    } else
        status = bl_fail_unsupported(err, "command");
    bl_reader_clear(&args);
    return status;
}

/* {ok, Value} or {error, Reason}; an empty binary when there is no memory even for that. */
static ErlDrvSSizeT drv_control(ErlDrvData data, unsigned command, char *buf, ErlDrvSizeT len, char **rbuf, ErlDrvSizeT rlen)
{
    (void)rlen;
    struct bl_error err = {.status = BL_OK};
    struct bl_etf_writer w;
    bl_etf_writer_init(&w, NULL, true);
    bl_write_tuple(&w.base, 2);
    bl_write_atom(&w.base, "ok");
    if (answer((struct drv_port *)data, command, (const uint8_t *)buf, len, &w.base, &err) != BL_OK) {
        bl_etf_writer_clear(&w);
        bl_etf_writer_init(&w, NULL, true);
        bl_write_tuple(&w.base, 2);
        bl_write_atom(&w.base, "error");
        bl_write_reason(&w.base, &err);
    }
    bl_write_end(&w.base);
    const bool ok = bl_writer_status(&w.base, NULL) == BL_OK;
    ErlDrvBinary *out = driver_alloc_binary(ok ? w.len : 0);
    if (ok && out) memcpy(out->orig_bytes, w.data, w.len);
    bl_etf_writer_clear(&w);
    *rbuf = (char *)out;
    return out ? out->orig_size : 0;
}

static ErlDrvEntry entry = {
    .init = drv_init,
    .start = drv_start,
    .stop = drv_stop,
    .outputv = drv_outputv,
    .control = drv_control,
    .process_exit = drv_process_exit,
    .driver_name = BL_DRIVER_NAME,
    .extended_marker = (int)ERL_DRV_EXTENDED_MARKER,
    .major_version = ERL_DRV_EXTENDED_MAJOR_VERSION,
    .minor_version = ERL_DRV_EXTENDED_MINOR_VERSION,
    .driver_flags = ERL_DRV_FLAG_USE_PORT_LOCKING,
};

/* Exported in spite of hidden visibility: the VM looks for it. */
BL_API ErlDrvEntry *driver_init(void);
ErlDrvEntry *driver_init(void) { return &entry; }
