/* SPDX-License-Identifier: MIT */
#include "mglu_ggml.h"

#include <sched.h>
#include <stdlib.h>

/* Executes tasks of the loop until all are taken. */
static void take_tasks(struct mglu_ggml_team *team)
{
    for (long long i; (i = atomic_fetch_add(&team->next, 1)) < team->count;)
        team->task(team->argument, i);
}

/* mglu_parallel.parallel_for: runs a loop of mglu_forward() with the help of the other threads in the operator. */
static void run_loop(void *user, int64_t count, mglu_task task, void *argument)
{
    struct mglu_ggml_team *team = user;

    team->count = count;
    team->task = task;
    team->argument = argument;
    atomic_store(&team->next, 0);
    atomic_store(&team->open, true);
    take_tasks(team);
    atomic_store(&team->open, false);
    while (atomic_load(&team->inside) > 0)
        sched_yield();
}

/* A thread is counted before it looks again whether the loop is open: run_loop() waits for those that found it so. */
static void help(struct mglu_ggml_team *team)
{
    while (!atomic_load(&team->finished)) {
        if (!atomic_load(&team->open)) {
            sched_yield();
            continue;
        }
        atomic_fetch_add(&team->inside, 1);
        if (atomic_load(&team->open))
            take_tasks(team);
        atomic_fetch_sub(&team->inside, 1);
    }
}

/* ggml's threads wait for each other between two operators, so the last to leave can prepare the next call. */
static void leave(struct mglu_ggml_team *team, int threads)
{
    if (atomic_fetch_add(&team->left, 1) + 1 < threads)
        return;
    atomic_store(&team->left, 0);
    atomic_store(&team->finished, false);
}

static void forward(struct mglu_ggml *op, const struct ggml_tensor *x, struct ggml_tensor *y, int threads)
{
    const mglu_parallel parallel = {.user = &op->team, .parallel_for = run_loop, .num_threads = threads};
    mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;

    args.batch = ggml_nrows(x);
    args.x.data = x->data;
    args.y.data = y->data;
    args.workspace = op->workspace;
    args.workspace_size = op->workspace_size;
    args.parallel = &parallel;
    const mglu_status status = mglu_forward(op->layer, NULL, &args);
    if (status != MGLU_OK)
        op->status = status;
}

/* ggml calls it on each of its threads. */
static void compute(struct ggml_tensor *y, int thread, int threads, void *user)
{
    struct mglu_ggml *op = user;

    if (thread == 0) {
        forward(op, y->src[0], y, threads);
        atomic_store(&op->team.finished, true);
    } else {
        help(&op->team);
    }
    leave(&op->team, threads);
}

struct ggml_tensor *mglu_ggml_apply(struct ggml_context *graph, struct mglu_ggml *op, struct ggml_tensor *x)
{
    GGML_ASSERT(ggml_is_contiguous(x));
    return ggml_custom_4d(graph, op->y_type, op->y_columns, x->ne[1], x->ne[2], x->ne[3], &x, 1, compute,
                          GGML_N_TASKS_MAX, op);
}

static const mglu_dtype dtypes[GGML_TYPE_COUNT] = {[GGML_TYPE_F32] = MGLU_DTYPE_F32,
                                                   [GGML_TYPE_F16] = MGLU_DTYPE_F16,
                                                   [GGML_TYPE_BF16] = MGLU_DTYPE_BF16,
                                                   [GGML_TYPE_Q8_0] = MGLU_DTYPE_Q8_0,
                                                   [GGML_TYPE_Q4_0] = MGLU_DTYPE_Q4_0};

static mglu_status repack(const struct ggml_tensor *tensor, mglu_array *matrix, void **packed)
{
    const int64_t h = tensor->ne[0], d = tensor->ne[1];
    const size_t size = mglu_packed_weight_size(matrix->dtype, d, h); /* a multiple of 64 */
    const size_t scales = (mglu_packed_scale_size(matrix->dtype, d, h) + 63) / 64 * 64;

    *packed = aligned_alloc(64, size + scales);
    if (!*packed)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "no %zu bytes for tensor '%s'", size + scales, tensor->name);
    matrix->data = *packed;
    matrix->scales = (char *)*packed + size;
    matrix->stride_bytes = mglu_packed_weight_stride_bytes(matrix->dtype, h);
    return mglu_pack_ggml_blocks(tensor->data, 0, matrix->dtype, d, h, *packed, (char *)*packed + size);
}

mglu_status mglu_ggml_matrix(const struct ggml_tensor *tensor, mglu_array *matrix, void **packed)
{
    *packed = NULL;
    *matrix = (mglu_array){.data = tensor->data, .dtype = dtypes[tensor->type]};
    if (matrix->dtype == MGLU_DTYPE_F32 && tensor->type != GGML_TYPE_F32)
        return mglu_fail(MGLU_ERROR_UNSUPPORTED, "tensor '%s' is %s: must be f32, f16, bf16, q8_0 or q4_0",
                         tensor->name, ggml_type_name(tensor->type));
    if (!ggml_is_contiguous(tensor) || !ggml_is_matrix(tensor))
        return mglu_fail(MGLU_ERROR_UNSUPPORTED, "tensor '%s' is not a contiguous matrix", tensor->name);
    return mglu_dtype_is_quantised(matrix->dtype) ? repack(tensor, matrix, packed) : MGLU_OK;
}
