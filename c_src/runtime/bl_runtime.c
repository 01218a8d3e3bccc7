/* SPDX-License-Identifier: Apache-2.0
 *
 * The C face of the engine (include/beamline/runtime.h): tasks that are functions, waited for
 * on a condition instead of a mailbox.
 */
#include <string.h>

#include "bl_engine.h"
#include "bl_sync.h"

struct c_task {
    struct bl_task task; /* first */
    struct bl_task_spec spec;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool done;
    struct bl_error error; /* the answer, its status included */
};

static struct c_task *c_task_of(struct bl_task *task) { return BL_CONTAINER(task, struct c_task, task); }

static void c_run(struct bl_task *task)
{
    struct c_task *c = c_task_of(task);
    struct bl_error err = {.status = BL_OK};
    const enum bl_status status = c->spec.run(&task->ctx, c->spec.arg, &err);
    bl_task_finish(task, status, &err);
}

static void c_answer(struct bl_task *task, enum bl_status status, const struct bl_error *err)
{
    struct c_task *c = c_task_of(task);
    if (c->spec.answer) c->spec.answer(c->spec.arg, status, err);
    pthread_mutex_lock(&c->lock);
    c->error = *err;
    c->error.status = status;
    c->done = true;
    pthread_cond_broadcast(&c->answered);
    pthread_mutex_unlock(&c->lock);
}

static void c_progress(struct bl_task *task, const struct bl_field *fields, size_t count)
{
    struct c_task *c = c_task_of(task);
    c->spec.progress(c->spec.arg, fields, count);
}

static void free_c_task(struct c_task *c)
{
    pthread_cond_destroy(&c->answered);
    pthread_mutex_destroy(&c->lock);
    bl_free(c);
}

static void c_release(struct bl_task *task)
{
    struct c_task *c = c_task_of(task);
    if (c->spec.release) c->spec.release(c->spec.arg);
    free_c_task(c);
}

static const struct bl_task_ops c_ops = {.run = c_run, .answer = c_answer, .progress = c_progress, .release = c_release};
static const struct bl_task_ops c_ops_quiet = {.run = c_run, .answer = c_answer, .release = c_release};

enum bl_status bl_pool_new(const struct bl_pool_config *config, struct bl_pool **out, struct bl_error *err)
{
    struct bl_pool *pool = NULL;
    enum bl_status status = bl_pool_open(config, &pool, err);
    if (status != BL_OK) return status;
    status = bl_source_new(pool, &pool->own, err);
    if (status != BL_OK) {
        bl_pool_shut(pool);
        bl_pool_unref(pool);
        return status;
    }
    *out = pool;
    return BL_OK;
}

void bl_pool_close(struct bl_pool *pool)
{
    if (!pool) return;
    bl_source_close(pool->own);
    bl_pool_shut(pool);
    bl_pool_unref(pool);
}

enum bl_status bl_task_submit(struct bl_pool *pool, const struct bl_task_spec *spec, const struct bl_task_options *options,
                              struct bl_task **out, struct bl_error *err)
{
    struct bl_task_options defaults;
    bl_task_options_init(&defaults);
    if (!options) options = &defaults;
    if ((unsigned)options->priority >= BL_PRIORITY_COUNT) return bl_fail_invalid(err, "priority", "not a priority class");
    struct c_task *c = bl_alloc_zero(NULL, sizeof *c, err);
    if (!c) return BL_NO_MEMORY;
    pthread_mutex_init(&c->lock, NULL);
    bl_cond_init(&c->answered);
    bl_task_init(&c->task, spec->progress ? &c_ops : &c_ops_quiet, pool->own, options);
    c->task.key = (uintptr_t)c; /* unique while it lives */
    c->spec = *spec;
    enum bl_status status = bl_task_start(&c->task, err);
    if (status != BL_OK) c->spec.release = NULL; /* nothing was taken */
    if (status != BL_OK || !out)
        bl_task_unref(&c->task);
    else
        *out = &c->task;
    return status;
}

bool bl_task_cancel(struct bl_task *task) { return bl_task_end_early(task, BL_CANCELLED); }

enum bl_status bl_task_wait(struct bl_task *task, uint64_t timeout_ms, struct bl_error *err)
{
    struct c_task *c = c_task_of(task);
    const uint64_t now = bl_now_ns();
    const uint64_t until = timeout_ms > (UINT64_MAX - now) / 1000000 ? UINT64_MAX : now + timeout_ms * 1000000;
    bool in_time = true;
    pthread_mutex_lock(&c->lock);
    while (!c->done && in_time) in_time = bl_cond_wait_until(&c->answered, &c->lock, until);
    enum bl_status status = BL_BUSY;
    if (c->done) {
        status = c->error.status;
        if (status != BL_OK && err) *err = c->error;
    } else {
        bl_fail_busy(err, 1);
    }
    pthread_mutex_unlock(&c->lock);
    return status;
}

void bl_task_release(struct bl_task *task)
{
    if (task) bl_task_unref(task);
}
