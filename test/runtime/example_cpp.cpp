// SPDX-License-Identifier: Apache-2.0
//
// A pool from C++: a sum over chunks, with progress.
#include <cstddef>
#include <cstdio>
#include <vector>

#include "beamline.h"

struct Sum {
    std::vector<double> partial;
    double result;
    int told;
};

static constexpr std::size_t count = 100000, grain = 1000;

static bl_status add(void *arg, std::size_t begin, std::size_t end, unsigned, bl_error *)
{
    auto &partial = static_cast<Sum *>(arg)->partial;
    for (std::size_t i = begin; i < end; i++) partial[begin / grain] += static_cast<double>(i);
    return BL_OK;
}

static bl_status run(bl_ctx *ctx, void *arg, bl_error *err)
{
    auto &sum = *static_cast<Sum *>(arg);
    const bl_status status = bl_parallel_for(ctx, count, grain, add, &sum, err);
    for (const double p : sum.partial) sum.result += p;
    bl_field field = {};
    field.key = "sum";
    field.type = BL_FIELD_FLOAT;
    field.value.f = sum.result;
    bl_ctx_progress(ctx, &field, 1);
    return status;
}

static void show(void *arg, const bl_field *fields, std::size_t n)
{
    for (const bl_field *f = fields; f < fields + n; f++)
        if (f->type == BL_FIELD_FLOAT) std::printf("%s %g\n", f->key, f->value.f);
    static_cast<Sum *>(arg)->told++;
}

int main()
{
    Sum sum = {std::vector<double>(count / grain), 0, 0};
    bl_pool *pool = nullptr;
    bl_task *task = nullptr;
    bl_error err;
    bl_pool_config config;
    bl_task_options options;
    bl_pool_config_init(&config);
    bl_task_options_init(&options);
    options.progress_ms = 10;
    if (bl_pool_new(&config, &pool, &err) != BL_OK) return 1;
    bl_task_spec spec = {};
    spec.run = run;
    spec.progress = show;
    spec.arg = &sum;
    bl_status status = bl_task_submit(pool, &spec, &options, &task, &err);
    if (status == BL_OK) status = bl_task_wait(task, 10000, &err);
    bl_task_release(task);
    bl_pool_close(pool);
    return status == BL_OK && sum.told == 1 && sum.result == count * (count - 1.0) / 2 ? 0 : 1;
}
