/* SPDX-License-Identifier: MIT */
#include "api_train.h"

#include "api_arguments.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 9, MOST_BLOCK_BYTES = 1 << 24 };

static struct {
    mglu_train *handle;
    mglu_train_desc desc;
} plan;

static mglu_train_desc any_desc(struct fuzz_stream *stream)
{
    static const mglu_dtype dtypes[] = {MGLU_DTYPE_F32, MGLU_DTYPE_BF16};
    mglu_train_desc desc = {
        .flags = api_is_rare(stream) ? (uint32_t)fuzz_number(stream, 4) : fuzz_below(stream, 4),
        .hidden_size = api_size(stream),
        .intermediate_size = api_size(stream),
        .n_masks =
            api_is_rare(stream) ? (int32_t)fuzz_number(stream, 4) : 1 + (int32_t)fuzz_below(stream, MGLU_MAX_MASKS),
        .activation = (mglu_activation)api_choice(stream, MGLU_ACTIVATION_COUNT),
        .dtype = api_is_rare(stream) ? (mglu_dtype)api_choice(stream, MGLU_DTYPE_COUNT) : dtypes[fuzz_below(stream, 2)],
        .reserved = api_is_rare(stream),
        .max_batch = api_is_rare(stream) ? api_size(stream) : 1 + fuzz_below(stream, MOST_TOKENS),
    };

    if (desc.n_masks > 0 && fuzz_byte(stream) & 1)
        desc.top_k = 1 + (int32_t)fuzz_below(stream, (uint32_t)desc.n_masks);
    return desc;
}

static void create_plan(struct fuzz_stream *stream, mglu_device *device, mglu_queue *queue)
{
    mglu_status status;

    mglu_train_destroy(&plan.handle);
    plan.desc = any_desc(stream);
    status =
        mglu_train_create(device, api_struct(stream, &plan.desc, sizeof plan.desc, sizeof plan.desc), &plan.handle);
    fuzz_check_status(status, "mglu_train_create");
    fuzz_require((status == MGLU_OK) == (plan.handle != NULL), "a status and its handle contradict each other");
}

/* No more tokens than arrays can have; rarely a batch that must be refused. */
static int64_t any_batch(struct fuzz_stream *stream)
{
    const int64_t most = plan.desc.max_batch < MOST_TOKENS ? plan.desc.max_batch : MOST_TOKENS;

    if (api_is_rare(stream))
        return fuzz_byte(stream) & 1 ? -1 : INT64_MAX;
    return (int64_t)fuzz_below(stream, (uint32_t)most + 1);
}

static float *any_floats(struct fuzz_stream *stream, size_t count)
{
    return api_bytes(stream, count * sizeof(float));
}

/* A bias or its gradient, present where the plan has it; rarely the contrary. */
static float *any_bias(struct fuzz_stream *stream, uint32_t flag)
{
    const int is_given = ((plan.desc.flags & flag) != 0) != api_is_rare(stream);

    if (!is_given)
        return NULL;
    return any_floats(stream, (size_t)plan.desc.n_masks * (size_t)plan.desc.intermediate_size);
}

static mglu_train_inputs any_inputs(struct fuzz_stream *stream, int64_t batch)
{
    const mglu_train_desc *desc = &plan.desc;
    const mglu_weights_desc sizes = {
        .hidden_size = desc->hidden_size, .intermediate_size = desc->intermediate_size, .n_masks = desc->n_masks};
    const mglu_dtype dtype = fuzz_byte(stream) & 1 ? MGLU_DTYPE_BF16 : MGLU_DTYPE_F32;
    mglu_train_inputs inputs = {
        .x = api_rows(stream, batch, desc->hidden_size, mglu_dtype_size(desc->dtype)),
        .weight = api_array(stream, 0, dtype, desc->intermediate_size, desc->hidden_size),
        .masks = api_masks(stream, &sizes),
        .gate_bias = any_bias(stream, MGLU_TRAIN_GATE_BIAS),
        .value_bias = any_bias(stream, MGLU_TRAIN_VALUE_BIAS),
    };

    if ((desc->top_k > 0) != api_is_rare(stream))
        inputs.router_logits = api_rows(stream, batch, desc->n_masks, sizeof(float));
    return inputs;
}

static mglu_output any_output(struct fuzz_stream *stream, int64_t batch, int64_t columns, size_t element)
{
    const mglu_input rows = api_rows(stream, batch, columns, element);

    return (mglu_output){(void *)(uintptr_t)rows.data, rows.byte_offset, rows.row_stride};
}

/* A block of memory that only one call has; it is larger than arrays may be together. */
struct block {
    void *data;
    size_t size;
};

static struct block any_block(struct fuzz_stream *stream, size_t size)
{
    struct block block = {.size = api_is_rare(stream) && size ? size - 1 : size};

    if (api_is_rare(stream) || size > MOST_BLOCK_BYTES ||
        posix_memalign(&block.data, 64, block.size ? block.size : 1) != 0)
        return (struct block){0};
    memset(block.data, 0, block.size);
    return block;
}

static struct block any_workspace(struct fuzz_stream *stream, int64_t batch)
{
    const size_t size = mglu_train_workspace_size(plan.handle, batch);

    fuzz_require(batch < 1 || size <= mglu_train_workspace_size(plan.handle, plan.desc.max_batch),
                 "a batch needs more than the largest");
    return any_block(stream, size);
}

static struct block any_saved(struct fuzz_stream *stream, int64_t batch)
{
    return any_block(stream, mglu_train_saved_size(plan.handle, batch));
}

static void check_train_status(mglu_status status, const char *call)
{
    fuzz_check_status(status, call);
    fuzz_require(status != MGLU_OK || plan.handle, "a call without a plan succeeds");
}

static void forward(struct fuzz_stream *stream, mglu_device *device, mglu_queue *queue)
{
    const int64_t batch = plan.handle ? any_batch(stream) : 0;
    const struct block workspace = any_workspace(stream, batch), saved = any_saved(stream, batch);
    mglu_train_forward_args args = {.batch = batch, .reserved = api_is_rare(stream)};

    if (plan.handle) {
        args.inputs = any_inputs(stream, batch);
        args.y = any_output(stream, batch, plan.desc.intermediate_size, mglu_dtype_size(plan.desc.dtype));
        if (api_is_rare(stream))
            args.y = (mglu_output){.data = (void *)(uintptr_t)args.inputs.x.data};
    }
    args.saved = saved.data;
    args.saved_size = saved.size;
    args.workspace = workspace.data;
    args.workspace_size = workspace.size;
    args.parallel = api_parallel(stream);
    check_train_status(mglu_train_forward(plan.handle, queue, api_struct(stream, &args, sizeof args, sizeof args)),
                       "mglu_train_forward");
    free(workspace.data);
    free(saved.data);
}

/* Some of the gradients; rarely dweight is an array that is read. */
static void add_gradients(struct fuzz_stream *stream, mglu_train_backward_args *args)
{
    const mglu_train_desc *desc = &plan.desc;
    const size_t matrix = (size_t)plan.desc.intermediate_size * (size_t)desc->hidden_size;
    const uint8_t wanted = fuzz_byte(stream);

    if (wanted & 1)
        args->dx = any_output(stream, args->batch, desc->hidden_size, mglu_dtype_size(desc->dtype));
    if (wanted & 2)
        args->dweight = any_floats(stream, matrix);
    if (wanted & 4)
        args->dlogits = any_floats(stream, (size_t)desc->n_masks * matrix);
    if (wanted & 8)
        args->dgate_bias = any_bias(stream, MGLU_TRAIN_GATE_BIAS);
    if (wanted & 16)
        args->dvalue_bias = any_bias(stream, MGLU_TRAIN_VALUE_BIAS);
    if (wanted & 32 && (desc->top_k || api_is_rare(stream)))
        args->drouter_logits = any_output(stream, args->batch, desc->n_masks, sizeof(float));
    if (args->inputs.weight.dtype == MGLU_DTYPE_F32 && api_is_rare(stream))
        args->dweight = (float *)(uintptr_t)args->inputs.weight.data;
}

static void backward(struct fuzz_stream *stream, mglu_device *device, mglu_queue *queue)
{
    const int64_t batch = plan.handle ? any_batch(stream) : 0;
    const struct block workspace = any_workspace(stream, batch), saved = any_saved(stream, batch);
    mglu_train_backward_args args = {.batch = batch};

    args.flags = api_is_rare(stream) ? (uint32_t)fuzz_number(stream, 4) : fuzz_below(stream, 2);
    if (plan.handle) {
        args.inputs = any_inputs(stream, batch);
        args.dy = api_rows(stream, batch, plan.desc.intermediate_size, mglu_dtype_size(plan.desc.dtype));
        add_gradients(stream, &args);
    }
    args.saved = saved.data;
    args.saved_size = saved.size;
    args.workspace = workspace.data;
    args.workspace_size = workspace.size;
    args.parallel = api_parallel(stream);
    check_train_status(mglu_train_backward(plan.handle, queue, api_struct(stream, &args, sizeof args, sizeof args)),
                       "mglu_train_backward");
    free(workspace.data);
    free(saved.data);
}

static void ask_oracle(struct fuzz_stream *stream, mglu_device *device, mglu_queue *queue)
{
    const int64_t batch = plan.handle ? any_batch(stream) : 0;
    const size_t rows = batch > 0 && batch <= MOST_TOKENS ? (size_t)batch : 0;
    mglu_train_reference_args args = {.batch = batch, .reserved = api_is_rare(stream)};

    if (plan.handle) {
        args.inputs = any_inputs(stream, batch);
        args.dy = api_rows(stream, batch, plan.desc.intermediate_size, mglu_dtype_size(plan.desc.dtype));
        args.y.want = api_bytes(stream, rows * (size_t)plan.desc.intermediate_size * sizeof(double));
        args.dx.tolerance = api_bytes(stream, rows * (size_t)plan.desc.hidden_size * sizeof(double));
        args.dlogits.want = api_bytes(stream, (size_t)plan.desc.n_masks * (size_t)plan.desc.intermediate_size *
                                                  (size_t)plan.desc.hidden_size * sizeof(double));
    }
    check_train_status(mglu_train_reference(plan.handle, api_struct(stream, &args, sizeof args, sizeof args)),
                       "mglu_train_reference");
}

static void destroy_plan(struct fuzz_stream *stream, mglu_device *device, mglu_queue *queue)
{
    mglu_train_destroy(&plan.handle);
}

/* Without a plan, nearly always one is made. */
void api_train_call(struct fuzz_stream *stream, mglu_device *device, mglu_queue *queue)
{
    static void (*const calls[])(struct fuzz_stream * stream, mglu_device * device, mglu_queue * queue) = {
        create_plan, forward, backward, forward, backward, ask_oracle, create_plan, destroy_plan,
    };
    const uint32_t number = fuzz_below(stream, sizeof calls / sizeof calls[0]);

    calls[plan.handle || api_is_rare(stream) ? number : 0](stream, device, queue);
}

void api_train_destroy(void)
{
    mglu_train_destroy(&plan.handle);
}
