/* SPDX-License-Identifier: Apache-2.0
 *
 * The runtime's port driver: a port is a pool. It belongs to the pool's process, and the VM closes it when that
 * process ends, for whatever reason. Tasks come through NIFs (bl_runtime_nif.c), not through the port.
 */
#include <erl_driver.h>
#include <string.h>

#include "beamline.h"
#include "bl_pool_terms.h"
#include "bl_rt.h"
#include "bl_rt_entry.h"

/* Numbers of the control commands; beamline_runtime_drv.erl has the same. */
enum { DRV_VERSION = 1, DRV_CREATE, DRV_INFO, DRV_OPERATIONS, DRV_REMOTE, DRV_LISTEN, DRV_EXITED, DRV_COMMANDS };

struct drv_port {
    struct rt_pool *pool; /* NULL until created */
};

static int drv_init(void) { return strcmp(bl_version(), BL_VERSION) == 0 ? 0 : -1; /* core and skin of one version */ }

static ErlDrvData drv_start(ErlDrvPort port, char *command)
{
    (void)command;
    RT_ENTER();
    struct drv_port *p = bl_alloc_zero(NULL, sizeof *p, NULL);
    if (p) {
        set_port_control_flags(port, PORT_CONTROL_FLAG_BINARY);
        driver_lock_driver(port); /* own threads run in here: never unloaded */
    }
    RT_LEAVE("start");
    return p ? (ErlDrvData)p : ERL_DRV_ERROR_GENERAL;
}

/* The port closes or its owner died. Constant time: the housekeeper answers what is in flight. */
static void drv_stop(ErlDrvData data)
{
    RT_ENTER();
    struct drv_port *p = (struct drv_port *)data;
    if (p->pool) rt_pool_end(p->pool);
    bl_free(p);
    RT_LEAVE("stop");
}

/* ---- control: small questions, answered with a term in external format -------------------- */

static enum bl_status create(struct drv_port *p, struct bl_reader *args, struct bl_writer *w, struct bl_error *err)
{
    struct bl_pool_config config;
    uint64_t id = 0;
    if (p->pool) return bl_fail_invalid(err, "port", "has a pool already");
    enum bl_status status = bl_read_version(args);
    if (status == BL_OK) status = bl_pool_read_config(args, &config);
    if (status == BL_OK) status = rt_pool_create(&config, &p->pool, &id, err);
    if (status == BL_OK) bl_write_uint(w, id);
    return status;
}

/* {HeartbeatMs, HostConfig}: the tasks of this pool run in an OS process. */
static enum bl_status make_remote(struct drv_port *p, struct bl_reader *args, struct bl_writer *w, struct bl_error *err)
{
    struct bl_span config;
    uint64_t heartbeat = 0;
    size_t arity = 0;
    if (bl_pool_remote(p->pool->engine)) return bl_fail_invalid(err, "port", "has an OS process already");
    enum bl_status status = bl_read_version(args);
    if (status == BL_OK) status = bl_read_tuple(args, &arity);
    if (status == BL_OK && arity != 2) status = bl_fail_invalid(err, "remote", "not a pair");
    if (status == BL_OK) status = bl_read_uint(args, &heartbeat);
    if (status == BL_OK) status = bl_read_binary(args, &config);
    if (status == BL_OK && (heartbeat < 10 || heartbeat > 3600000)) status = bl_fail_invalid(err, "heartbeat", "10 ms to an hour");
    if (status == BL_OK) status = bl_remote_new(p->pool->engine, &config, (uint32_t)heartbeat, &rt_remote_ops, err);
    if (status == BL_OK) bl_write_bool(w, true);
    return status;
}

static enum bl_status listen_for_host(struct drv_port *p, struct bl_writer *w, struct bl_error *err)
{
    char path[128];
    const enum bl_status status = bl_remote_listen(bl_pool_remote(p->pool->engine), path, sizeof path, err);
    if (status == BL_OK) bl_write_text(w, path);
    return status;
}

static enum bl_status host_exited(struct drv_port *p, struct bl_reader *args, struct bl_writer *w)
{
    struct bl_span why;
    char text[128] = "";
    enum bl_status status = bl_read_version(args);
    if (status == BL_OK) status = bl_read_binary(args, &why);
    if (status != BL_OK) return status;
    memcpy(text, why.data, why.len < sizeof text - 1 ? why.len : sizeof text - 1);
    bl_remote_exited(bl_pool_remote(p->pool->engine), text);
    bl_write_bool(w, true);
    return BL_OK;
}

#ifdef BL_COUNT_ENTRIES
/* For runtime/entry_cpu_max, which asks for it by this number. */
enum { DRV_ENTRIES = DRV_COMMANDS };
static const char *const command_name[] = {"control",      "control_version", "control_create", "control_info",   "control_operations",
                                           "control_remote", "control_listen",  "control_exited", "control_entries"};
#endif

static enum bl_status answer_remote(struct drv_port *p, unsigned command, struct bl_reader *args, struct bl_writer *w, struct bl_error *err)
{
    if (command == DRV_REMOTE) return make_remote(p, args, w, err);
    if (!bl_pool_remote(p->pool->engine)) return bl_fail_unsupported(err, "command");
    if (command == DRV_LISTEN) return listen_for_host(p, w, err);
    if (command == DRV_EXITED) return host_exited(p, args, w);
    return bl_fail_unsupported(err, "command");
}

static void list_operations(struct drv_port *p, struct bl_writer *w)
{
    struct bl_remote *remote = bl_pool_remote(p->pool->engine);
    if (!remote)
        bl_op_set_list(p->pool->ops, w);
    else if (!bl_remote_operations(remote, w))
        bl_write_list(w, 0), bl_write_end(w);
}

static enum bl_status answer(struct drv_port *p, unsigned command, const struct bl_span *data, struct bl_writer *w, struct bl_error *err)
{
    struct bl_reader args;
    bl_reader_init(&args, data, 1, NULL, NULL, err);
    enum bl_status status = BL_OK;
    if (command == DRV_VERSION)
        bl_write_text(w, bl_version());
    else if (command == DRV_CREATE)
        status = create(p, &args, w, err);
    else if (!p->pool)
        status = bl_fail(err, BL_CLOSED);
    else if (command == DRV_INFO)
        bl_pool_write_info(p->pool->engine, w);
    else if (command == DRV_OPERATIONS)
        list_operations(p, w);
#ifdef BL_COUNT_ENTRIES
    else if (command == DRV_ENTRIES)
        rt_entries_write(w);
#endif
    else
        status = answer_remote(p, command, &args, w, err);
    bl_reader_clear(&args);
    return status;
}

/* {ok, Value} or {error, Reason}; an empty binary when there is no memory even for that. */
static ErlDrvBinary *control(struct drv_port *p, unsigned command, const char *buf, size_t len)
{
    const struct bl_span args = {.data = (const uint8_t *)buf, .len = len};
    struct bl_error err = {.status = BL_OK};
    struct bl_etf_writer w;
    bl_etf_writer_init(&w, NULL, true);
    bl_write_tuple(&w.base, 2);
    bl_write_atom(&w.base, "ok");
    if (answer(p, command, &args, &w.base, &err) != BL_OK) {
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
    return out;
}

static ErlDrvSSizeT drv_control(ErlDrvData data, unsigned command, char *buf, ErlDrvSizeT len, char **rbuf, ErlDrvSizeT rlen)
{
    (void)rlen;
    RT_ENTER();
    ErlDrvBinary *out = control((struct drv_port *)data, command, buf, len);
    *rbuf = (char *)out;
    RT_LEAVE(command_name[command <= DRV_ENTRIES ? command : 0]);
    return out ? out->orig_size : 0;
}

static ErlDrvEntry entry = {
    .init = drv_init,
    .start = drv_start,
    .stop = drv_stop,
    .control = drv_control,
    .driver_name = BL_DRIVER_NAME,
    .extended_marker = (int)ERL_DRV_EXTENDED_MARKER,
    .major_version = ERL_DRV_EXTENDED_MAJOR_VERSION,
    .minor_version = ERL_DRV_EXTENDED_MINOR_VERSION,
    .driver_flags = ERL_DRV_FLAG_USE_PORT_LOCKING,
};

/* Exported in spite of hidden visibility: the VM looks for it. */
BL_API ErlDrvEntry *driver_init(void);
ErlDrvEntry *driver_init(void) { return &entry; }
