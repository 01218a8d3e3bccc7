/* SPDX-License-Identifier: Apache-2.0
 *
 * Floor of runtime/throughput_vs_async: a bare port driver whose every command is an empty driver_async job; its
 * end is told to the port's owner as {Port, ok}.
 */
#include <erl_driver.h>
#include <stddef.h>

struct port {
    ErlDrvPort port;
    ErlDrvTermData self;
};

static ErlDrvTermData am_ok;

static ErlDrvData start(ErlDrvPort port, char *command)
{
    (void)command;
    struct port *p = driver_alloc(sizeof *p);
    am_ok = driver_mk_atom("ok");
    *p = (struct port){.port = port, .self = driver_mk_port(port)};
    return (ErlDrvData)p;
}

static void nothing(void *job) { (void)job; }

static void output(ErlDrvData data, char *bytes, ErlDrvSizeT len)
{
    (void)bytes, (void)len;
    struct port *p = (struct port *)data;
    driver_async(p->port, NULL, nothing, p, NULL);
}

static void ready_async(ErlDrvData data, ErlDrvThreadData job)
{
    (void)job;
    struct port *p = (struct port *)data;
    ErlDrvTermData answer[] = {ERL_DRV_PORT, p->self, ERL_DRV_ATOM, am_ok, ERL_DRV_TUPLE, 2};
    erl_drv_output_term(p->self, answer, sizeof answer / sizeof answer[0]);
}

static void stop(ErlDrvData data) { driver_free(data); }

static ErlDrvEntry entry = {.start = start, .stop = stop, .output = output, .ready_async = ready_async,
                            .driver_name = "floor_port_async", .extended_marker = ERL_DRV_EXTENDED_MARKER,
                            .major_version = ERL_DRV_EXTENDED_MAJOR_VERSION, .minor_version = ERL_DRV_EXTENDED_MINOR_VERSION,
                            .driver_flags = ERL_DRV_FLAG_USE_PORT_LOCKING};
DRIVER_INIT(floor_port_async) { return &entry; }
