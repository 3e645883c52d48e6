/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

#include <sched.h>

/*
 * A forward is a few launches for each chunk of tokens: the router's logits, the selection of masks, the projection,
 * the down-projection. They run in order on an in-order queue. No memory is allocated and no program built here.
 */

/* The state of one call. */
struct run {
    struct mglu_opencl_layer *layer;
    struct mglu_opencl_queue *queue;
    const mglu_forward_args *args;
    int set; /* of kernels, locked until the last launch */
    struct mglu_opencl_workspace workspace;
    int64_t first_token, tokens;
    cl_uint wait_count; /* for the next launch */
    const cl_event *wait_list;
    const char *call; /* of the driver, the last */
};

/* Locks a set of kernels. If more threads are in one layer than it has sets, the others yield. */
static int take_set(struct mglu_opencl_layer *layer)
{
    for (;;) {
        for (int i = 0; i < MGLU_OPENCL_KERNEL_SETS; i++)
            if (!atomic_flag_test_and_set_explicit(&layer->taken[i], memory_order_acquire))
                return i;
        sched_yield();
    }
}

/* An argument of a kernel. */
struct argument {
    size_t size;
    const void *value;
};

/* A work-group size that the driver selects may vary with the batch, and PoCL compiles a kernel for each size. */
static cl_int launch(struct run *run, cl_kernel kernel, const struct argument *arguments, cl_uint count, size_t items,
                     size_t group, int is_last)
{
    const struct mglu_opencl_driver *cl = &run->layer->device->backend->cl;
    cl_event *event = is_last && run->queue->stream ? run->queue->stream->event : NULL;
    cl_int code = CL_SUCCESS;

    run->call = "clSetKernelArg";
    for (cl_uint i = 0; i < count && code == CL_SUCCESS; i++)
        code = cl->clSetKernelArg(kernel, i, arguments[i].size, arguments[i].value);
    if (code != CL_SUCCESS)
        return code;
    run->call = "clEnqueueNDRangeKernel";
    code = cl->clEnqueueNDRangeKernel(run->queue->commands, kernel, 1, NULL, &items, &group, run->wait_count,
                                      run->wait_list, event);
    run->wait_count = 0;
    run->wait_list = NULL;
    return code;
}

/* The operands of a step other than its matrix. */
struct operands {
    cl_mem x, y, residual, gate_bias, value_bias, workspace;
    struct mglu_rows_job job;
};

static cl_int launch_part(struct run *run, const struct mglu_opencl_step *step, int several,
                          const struct mglu_opencl_part *part, struct operands *o, int is_last)
{
    const struct mglu_opencl_variant *variant = &step->variants[several];
    const size_t lines = (size_t)(variant->rows * variant->lines);
    const size_t passes = ((size_t)run->tokens + (size_t)variant->tokens - 1) / (size_t)variant->tokens;
    const size_t group = (size_t)(variant->slices * variant->lines);
    const struct argument arguments[] = {
        {sizeof(cl_mem), &part->weight}, {sizeof(cl_mem), &part->scales},
        {sizeof(cl_mem), &part->value},  {sizeof(cl_mem), &part->value_scales},
        {sizeof(cl_mem), &part->masks},  {sizeof(cl_mem), &o->x},
        {sizeof(cl_mem), &o->y},         {sizeof(cl_mem), &o->residual},
        {sizeof(cl_mem), &o->gate_bias}, {sizeof(cl_mem), &o->value_bias},
        {sizeof(cl_mem), &o->workspace}, {sizeof o->job, &o->job},
    };

    o->job.first_row = (mglu_u32)part->first_row;
    o->job.rows = (mglu_u32)part->rows;
    return launch(run, step->kernels[run->set][several], arguments, sizeof arguments / sizeof arguments[0],
                  ((size_t)part->rows + lines - 1) / lines * passes * group, group, is_last);
}

static cl_int launch_step(struct run *run, const struct mglu_opencl_step *step, struct operands *o, int is_last)
{
    const struct mglu_opencl_matrix *matrix = step->matrix;
    const int several = run->tokens > 1 ? step->last : step->first;
    cl_int code = CL_SUCCESS;

    o->job.weight_stride = matrix->stride_bytes;
    o->job.bias_stride = (mglu_index)matrix->rows;
    o->job.columns = (mglu_u32)matrix->columns;
    o->job.tokens = (mglu_u32)run->tokens;
    o->job.n_masks = (mglu_u32)matrix->n_masks;
    for (int32_t i = 0; i < matrix->count && code == CL_SUCCESS; i++)
        code = launch_part(run, step, several, &matrix->parts[i], o, is_last && i == matrix->count - 1);
    return code;
}

/* ---- Operands ------------------------------------------------------------------------------------------------- */

/* A caller's buffer; `empty_buffer` for an array without elements, which may be NULL. */
static cl_mem buffer_or_empty(const struct run *run, const void *data)
{
    return data ? (cl_mem)(uintptr_t)data : run->layer->device->empty_buffer;
}

/* In elements, from the start of the buffer to the first token of the chunk. */
static mglu_index element_offset(const struct run *run, size_t byte_offset, int64_t row_stride, size_t element)
{
    return byte_offset / element + (mglu_index)run->first_token * (mglu_index)row_stride;
}

static struct operands empty_operands(const struct run *run)
{
    const cl_mem empty_buffer = run->layer->device->empty_buffer;

    return (struct operands){.residual = empty_buffer,
                             .gate_bias = empty_buffer,
                             .value_bias = empty_buffer,
                             .workspace = buffer_or_empty(run, run->args->workspace)};
}

static void read_x(const struct run *run, struct operands *o)
{
    const mglu_dtype dtype = run->layer->desc.x_dtype;
    const mglu_input *x = &run->args->x;

    o->x = buffer_or_empty(run, x->data);
    o->job.x_dtype = dtype;
    o->job.x_offset = element_offset(run, x->byte_offset, x->row_stride, mglu_dtype_size(dtype));
    o->job.x_stride = (mglu_index)x->row_stride;
}

static void write_y(const struct run *run, struct operands *o)
{
    const mglu_dtype dtype = run->layer->desc.y_dtype;
    const mglu_output *y = &run->args->y;
    const mglu_input *residual = &run->args->residual;
    const size_t size = mglu_dtype_size(dtype);

    o->y = buffer_or_empty(run, y->data);
    o->job.y_dtype = dtype;
    o->job.y_offset = element_offset(run, y->byte_offset, y->row_stride, size);
    o->job.y_stride = (mglu_index)y->row_stride;
    if (!residual->data)
        return;
    o->residual = buffer_or_empty(run, residual->data);
    o->job.residual_offset = element_offset(run, residual->byte_offset, residual->row_stride, size);
    o->job.residual_stride = (mglu_index)residual->row_stride;
    o->job.parts |= MGLU_HAS_RESIDUAL;
}

/* Rows of the workspace, in f32. */
static void write_workspace(struct operands *o, mglu_index at, int64_t columns)
{
    o->y = o->workspace;
    o->job.y_dtype = MGLU_DTYPE_F32;
    o->job.y_offset = at;
    o->job.y_stride = (mglu_index)columns;
}

/* ---- Steps ---------------------------------------------------------------------------------------------------- */

static cl_int run_router(struct run *run)
{
    const struct mglu_opencl_layer *layer = run->layer;
    struct operands o = empty_operands(run);

    read_x(run, &o);
    write_workspace(&o, run->workspace.logits_at, layer->weights->shape.n_masks);
    return launch_step(run, &layer->router, &o, 0);
}

static cl_int run_route(struct run *run)
{
    const struct mglu_opencl_layer *layer = run->layer;
    const mglu_input *ids = &run->args->routing_ids, *p = &run->args->routing_weights;
    const cl_mem given_ids = buffer_or_empty(run, ids->data), given_p = buffer_or_empty(run, p->data);
    const cl_mem workspace = buffer_or_empty(run, run->args->workspace);
    const struct mglu_opencl_variant *variant = &layer->projection.variants[layer->projection.last];
    const size_t group = (size_t)(variant->slices * variant->lines);
    const struct mglu_route_job job = {
        .given_ids_offset = element_offset(run, ids->byte_offset, ids->row_stride, sizeof(int32_t)),
        .given_ids_stride = (mglu_index)ids->row_stride,
        .given_p_offset = element_offset(run, p->byte_offset, p->row_stride, sizeof(float)),
        .given_p_stride = (mglu_index)p->row_stride,
        .logits_offset = run->workspace.logits_at,
        .ids_offset = run->workspace.ids_at,
        .p_offset = run->workspace.p_at,
        .tokens = (mglu_u32)run->tokens,
        .terms = (mglu_u32)layer->terms,
        .n_masks = (mglu_u32)layer->weights->shape.n_masks,
        .is_given = ids->data != NULL,
    };
    const struct argument arguments[] = {
        {sizeof(cl_mem), &given_ids}, {sizeof(cl_mem), &given_p},
        {sizeof(cl_mem), &workspace}, {sizeof(cl_mem), &run->queue->bad_routing},
        {sizeof job, &job},
    };

    if (job.is_given)
        run->queue->routed = 1;
    return launch(run, layer->route[run->set], arguments, sizeof arguments / sizeof arguments[0],
                  ((size_t)run->tokens + group - 1) / group * group, group, 0);
}

static cl_int run_projection(struct run *run, int is_last)
{
    const struct mglu_opencl_layer *layer = run->layer;
    const struct mglu_opencl_weights *weights = layer->weights;
    struct operands o = empty_operands(run);

    read_x(run, &o);
    if (weights->shape.output_size > 0)
        write_workspace(&o, run->workspace.z_at, weights->shape.intermediate_size);
    else
        write_y(run, &o);
    o.gate_bias = weights->gate_bias;
    o.value_bias = weights->value_bias;
    o.job.parts |= weights->shape.gate_bias ? MGLU_HAS_GATE_BIAS : 0;
    o.job.parts |= weights->shape.value_bias ? MGLU_HAS_VALUE_BIAS : 0;
    o.job.activation = layer->desc.activation;
    o.job.beta = layer->desc.silu_beta;
    o.job.ids_offset = run->workspace.ids_at;
    o.job.p_offset = run->workspace.p_at;
    return launch_step(run, &layer->projection, &o, is_last);
}

static cl_int run_down(struct run *run, int is_last)
{
    const struct mglu_opencl_layer *layer = run->layer;
    const struct mglu_opencl_weights *weights = layer->weights;
    struct operands o = empty_operands(run);

    o.x = o.workspace;
    o.job.x_dtype = MGLU_DTYPE_F32;
    o.job.x_offset = run->workspace.z_at;
    o.job.x_stride = (mglu_index)weights->shape.intermediate_size;
    write_y(run, &o);
    o.gate_bias = weights->down_bias;
    o.job.parts |= weights->shape.down_bias ? MGLU_HAS_GATE_BIAS : 0;
    return launch_step(run, &layer->down, &o, is_last);
}

static cl_int run_chunk(struct run *run)
{
    const int has_down = run->layer->down.matrix != NULL;
    const int is_last = run->first_token + run->tokens == run->args->batch;
    cl_int code = CL_SUCCESS;

    if (run->layer->router.matrix && !run->args->routing_ids.data)
        code = run_router(run);
    if (code == CL_SUCCESS && run->layer->desc.top_k > 0)
        code = run_route(run);
    if (code == CL_SUCCESS)
        code = run_projection(run, is_last && !has_down);
    if (code == CL_SUCCESS && has_down)
        code = run_down(run, is_last);
    return code;
}

mglu_status mglu_opencl_forward(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    struct mglu_opencl_layer *self = layer;
    struct mglu_opencl_queue *to = queue;
    struct run run = {.layer = self,
                      .queue = to,
                      .args = args,
                      .workspace = mglu_opencl_lay_out(&self->weights->shape, &self->desc, args->batch)};
    mglu_status status = mglu_opencl_device_check(self->device);
    cl_int code = CL_SUCCESS;

    if (status == MGLU_OK)
        status = mglu_opencl_check_buffers(to, self, args, (size_t)run.workspace.end * sizeof(uint32_t));
    if (status != MGLU_OK)
        return status;
    if (to->stream) {
        run.wait_count = to->stream->wait_count;
        run.wait_list = to->stream->wait_list;
    }
    run.set = take_set(self);
    to->has_newer_work = 1;
    while (run.first_token < args->batch && code == CL_SUCCESS) {
        const int64_t left = args->batch - run.first_token;
        run.tokens = left < run.workspace.chunk_tokens ? left : run.workspace.chunk_tokens;
        code = run_chunk(&run);
        run.first_token += run.tokens;
    }
    atomic_flag_clear_explicit(&self->taken[run.set], memory_order_release);
    /* Without a flush some drivers do not start work until it is waited for. */
    if (code == CL_SUCCESS) {
        run.call = "clFlush";
        code = self->device->backend->cl.clFlush(to->commands);
    }
    return code == CL_SUCCESS ? MGLU_OK : mglu_opencl_fail(self->device, code, run.call, "enqueuing a forward");
}
