/* SPDX-License-Identifier: Apache-2.0
 *
 * Floors of ring/c2 and ring/c3: a bare NIF hands the caller's pid to one thread, which answers by enif_send. The thread
 * spins (start 0) or sleeps on a condition (start 1). A request is for so many messages, and adds to those that are under way.
 */
#include <erl_nif.h>
#include <pthread.h>
#include <stdatomic.h>

static ErlNifPid caller;
static atomic_int asked;
static int sleeps;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

static int wait_for_work(void)
{
    int n;
    if (!sleeps) {
        while ((n = atomic_exchange_explicit(&asked, 0, memory_order_acquire)) == 0)
            while (atomic_load_explicit(&asked, memory_order_relaxed) == 0) __asm__ volatile("" ::: "memory");
        return n;
    }
    pthread_mutex_lock(&lock);
    while ((n = atomic_exchange_explicit(&asked, 0, memory_order_acquire)) == 0) pthread_cond_wait(&wake, &lock);
    pthread_mutex_unlock(&lock);
    return n;
}

static void *run(void *arg)
{
    ErlNifEnv *env = enif_alloc_env();
    for (int n; (n = wait_for_work()) > 0;)
        while (n-- > 0) enif_send(NULL, &caller, env, enif_make_atom(env, "answer"));
    enif_free_env(env);
    return arg;
}

static ERL_NIF_TERM start(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    pthread_t thread;
    (void)argc;
    enif_get_int(env, argv[0], &sleeps);
    return enif_make_int(env, pthread_create(&thread, NULL, run, NULL));
}

static ERL_NIF_TERM ask(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
{
    int n = 0;
    (void)argc;
    enif_get_int(env, argv[0], &n);
    enif_self(env, &caller);
    if (sleeps) pthread_mutex_lock(&lock);
    atomic_fetch_add_explicit(&asked, n, memory_order_release);
    if (sleeps) pthread_cond_signal(&wake), pthread_mutex_unlock(&lock);
    return argv[0];
}

static ErlNifFunc functions[] = {{"start", 1, start, 0}, {"ask", 1, ask, 0}};
ERL_NIF_INIT(floor_nif_spin, functions, NULL, NULL, NULL, NULL)
