/* SPDX-License-Identifier: Apache-2.0
 *
 * Floor of runtime/roundtrip_busy: a bare port driver whose one thread spins until a command
 * comes and answers the caller with {Port, ok}. One command at a time.
 */
#include <erl_driver.h>
#include <stdatomic.h>
#include <stddef.h>

struct port {
    ErlDrvTermData self, caller;
    ErlDrvTid thread;
    atomic_int command; /* 1: answer, 2: end */
};

static ErlDrvTermData am_ok;

static void *spin(void *arg)
{
    struct port *p = arg;
    for (int command; (command = atomic_load_explicit(&p->command, memory_order_acquire)) != 2;) {
        if (command != 1) {
            __asm__ volatile("" ::: "memory");
            continue;
        }
        ErlDrvTermData answer[] = {ERL_DRV_PORT, p->self, ERL_DRV_ATOM, am_ok, ERL_DRV_TUPLE, 2};
        atomic_store_explicit(&p->command, 0, memory_order_relaxed);
        erl_drv_send_term(p->self, p->caller, answer, sizeof answer / sizeof answer[0]);
    }
    return NULL;
}

static ErlDrvData start(ErlDrvPort port, char *command)
{
    (void)command;
    struct port *p = driver_alloc(sizeof *p);
    am_ok = driver_mk_atom("ok");
    *p = (struct port){.self = driver_mk_port(port), .caller = driver_connected(port)};
    return erl_drv_thread_create("floor", &p->thread, spin, p, NULL) == 0 ? (ErlDrvData)p : ERL_DRV_ERROR_GENERAL;
}

static void output(ErlDrvData data, char *bytes, ErlDrvSizeT len)
{
    (void)bytes, (void)len;
    atomic_store_explicit(&((struct port *)data)->command, 1, memory_order_release);
}

static void stop(ErlDrvData data)
{
    atomic_store(&((struct port *)data)->command, 2);
    erl_drv_thread_join(((struct port *)data)->thread, NULL);
    driver_free(data);
}

static ErlDrvEntry entry = {.start = start, .stop = stop, .output = output, .driver_name = "floor_port_spin",
                            .extended_marker = ERL_DRV_EXTENDED_MARKER, .major_version = ERL_DRV_EXTENDED_MAJOR_VERSION,
                            .minor_version = ERL_DRV_EXTENDED_MINOR_VERSION};
DRIVER_INIT(floor_port_spin) { return &entry; }
