/* SPDX-License-Identifier: Apache-2.0
 *
 * Beamline from a C program, without Erlang and without terms: a pool of threads, a task with a
 * deadline and progress, and the typed operations inside it: read a structure, relax it, check it.
 *
 *   cc -Iinclude -o example test/runtime/example.c -Lpriv -l:libbeamline-0.1.0.so -Wl,-rpath,'$ORIGIN'
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "beamline.h"

/* Eight silicon atoms, one pushed off its place. */
static const char poscar[] = "silicon, one atom displaced\n"
                             "5.431\n"
                             "1 0 0\n0 1 0\n0 0 1\n"
                             "Si\n8\nDirect\n"
                             "0.03 0.02 0.01\n0.50 0.50 0.00\n0.50 0.00 0.50\n0.00 0.50 0.50\n"
                             "0.25 0.25 0.25\n0.75 0.75 0.25\n0.75 0.25 0.75\n0.25 0.75 0.75\n";

struct job {
    struct bl_relax_result relaxed;
    struct bl_verified verified;
};

/* On a thread of the pool; everything is allocated on the task's quota and freed on every path. */
static enum bl_status relax(struct bl_ctx *ctx, void *arg, struct bl_error *err)
{
    struct job *job = arg;
    struct bl_parsed parsed;
    enum bl_status status = bl_crystal_parse(ctx, poscar, strlen(poscar), NULL, &parsed, err);
    if (status != BL_OK) return status;

    const struct bl_potential silicon = {.type = BL_POTENTIAL_STILLINGER_WEBER, .sw = bl_sw_silicon};
    struct bl_relax_options options;
    struct bl_verify_options gates;
    bl_relax_options_init(&options);
    options.fmax = 1e-3;
    status = bl_relax(ctx, &parsed.frames[0], &silicon, &options, &job->relaxed, err);
    bl_verify_options_init(&gates);
    gates.has_energy_before = true;
    gates.energy_before = job->relaxed.energy_before;
    if (status == BL_OK) status = bl_verify(ctx, &parsed.frames[0], &silicon, &gates, &job->verified, err);
    bl_parsed_clear(&parsed);
    return status;
}

static void show(void *arg, const struct bl_field *fields, size_t count)
{
    (void)arg;
    for (size_t i = 0; i < count; i++) {
        if (fields[i].type == BL_FIELD_INT)
            printf("%s %lld  ", fields[i].key, (long long)fields[i].value.i);
        else
            printf("%s %g  ", fields[i].key, fields[i].value.f);
    }
    putchar('\n');
}

int main(void)
{
    struct bl_error err;
    char text[256];
    struct bl_pool_config config;
    struct bl_pool *pool = NULL;
    bl_pool_config_init(&config);
    config.threads = 2;
    if (bl_pool_new(&config, &pool, &err) != BL_OK) {
        bl_error_format(&err, text, sizeof text);
        fprintf(stderr, "%s\n", text);
        return 1;
    }

    static struct job job; /* outlives the task whatever happens */
    struct bl_task_spec spec = {.run = relax, .progress = show, .arg = &job};
    struct bl_task_options options;
    bl_task_options_init(&options);
    options.timeout_ms = 10000;
    options.memory_limit = 100 << 20;
    options.progress_ms = 10;
    struct bl_task *task = NULL;
    enum bl_status status = bl_task_submit(pool, &spec, &options, &task, &err);
    if (status == BL_OK) {
        status = bl_task_wait(task, BL_NO_TIMEOUT, &err);
        bl_task_release(task);
    }
    bl_pool_close(pool);
    if (status != BL_OK) {
        bl_error_format(&err, text, sizeof text);
        fprintf(stderr, "%s\n", text);
        return 1;
    }
    printf("%s: %s after %llu force calls, %.6f eV per atom, largest force %.1e eV/angstrom; gates %s\n", BL_VERSION,
           bl_relax_reason_name(job.relaxed.reason), (unsigned long long)job.relaxed.steps, job.relaxed.energy / 8,
           job.relaxed.max_force, job.verified.passed ? "passed" : "failed");
    /* The perfect crystal at this lattice constant (Stillinger-Weber): -4.3366 eV per atom. */
    return job.verified.passed && fabs(job.relaxed.energy / 8 + 4.3366) < 1e-5 ? 0 : 1;
}
