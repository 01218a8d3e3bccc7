/* SPDX-License-Identifier: Apache-2.0
 *
 * Floor of runtime/roundtrip_idle_port: a bare port driver whose one thread sleeps on a
 * semaphore until a command comes and answers the caller with {Port, ok}. One at a time.
 */
#include <erl_driver.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct port {
    ErlDrvTermData self, caller;
    ErlDrvTid thread;
    sem_t commands;
    atomic_bool end; /* with a last command */
};

static ErlDrvTermData am_ok;

static void *serve(void *arg)
{
    struct port *p = arg;
    for (;;) {
        while (sem_wait(&p->commands) != 0) continue;
        if (atomic_load(&p->end)) return NULL;
        ErlDrvTermData answer[] = {ERL_DRV_PORT, p->self, ERL_DRV_ATOM, am_ok, ERL_DRV_TUPLE, 2};
        erl_drv_send_term(p->self, p->caller, answer, sizeof answer / sizeof answer[0]);
    }
}

static ErlDrvData start(ErlDrvPort port, char *command __attribute__((unused)))
{
    struct port *p = driver_alloc(sizeof *p);
    am_ok = driver_mk_atom("ok");
    *p = (struct port){.self = driver_mk_port(port), .caller = driver_connected(port)};
    sem_init(&p->commands, 0, 0);
    return erl_drv_thread_create("floor", &p->thread, serve, p, NULL) == 0 ? (ErlDrvData)p : ERL_DRV_ERROR_GENERAL;
}

static void output(ErlDrvData data, char *bytes, ErlDrvSizeT len)
{
    (void)bytes, (void)len;
    sem_post(&((struct port *)data)->commands);
}

static void stop(ErlDrvData data)
{
    struct port *p = (struct port *)data;
    atomic_store(&p->end, true);
    sem_post(&p->commands);
    erl_drv_thread_join(p->thread, NULL);
    sem_destroy(&p->commands);
    driver_free(p);
}

static ErlDrvEntry entry = {.start = start, .stop = stop, .output = output, .driver_name = "floor_port_sleep",
                            .extended_marker = ERL_DRV_EXTENDED_MARKER, .major_version = ERL_DRV_EXTENDED_MAJOR_VERSION,
                            .minor_version = ERL_DRV_EXTENDED_MINOR_VERSION};
DRIVER_INIT(floor_port_sleep) { return &entry; }
