/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

#include <string.h>

/* A layer: the kernels of its steps, and the layout of a chunk's data in the workspace. */

/* Maximum number of tokens per chunk, which bounds the workspace. */
enum { CHUNK_TOKENS = 256, WORKSPACE_ALIGNMENT = 16 /* words */ };

/* For smaller matrices a second kernel takes longer to compile than it saves. */
#define SMALL_WEIGHTS ((int64_t)64 << 10)

/* The largest array that is not divided into parts, in bytes. */
static uint64_t largest_whole(const mglu_packed_weights *shape)
{
    const uint64_t d = (uint64_t)shape->intermediate_size, terms = shape->n_masks ? (uint64_t)shape->n_masks : 1;
    const uint64_t sizes[] = {
        shape->gate_bias || shape->value_bias ? terms * d * sizeof(float) : 0,
        shape->down_bias ? (uint64_t)shape->output_size * sizeof(float) : 0,
    };

    return sizes[0] > sizes[1] ? sizes[0] : sizes[1];
}

_Static_assert(MGLU_DTYPE_COUNT == 5, "a new dtype needs its case in kernels/load.cl, or a refusal by name here");

mglu_status mglu_opencl_supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan)
{
    const struct mglu_opencl_backend *self = backend;
    const struct mglu_opencl_device *device = &self->devices[ordinal];
    const uint64_t whole = largest_whole(plan->shape);

    if (whole > device->most_bytes)
        return self->host->fail(MGLU_ERROR_UNSUPPORTED,
                                "opencl: biases of %llu bytes; one buffer of %s has at most %llu",
                                (unsigned long long)whole, device->name, (unsigned long long)device->most_bytes);
    return MGLU_OK;
}

/* ---- The workspace -------------------------------------------------------------------------------------------- */

/* Appends `words` and returns their offset. */
static mglu_index reserve(struct mglu_opencl_workspace *workspace, int64_t words)
{
    const mglu_index at = workspace->end;

    workspace->end += ((mglu_index)words + WORKSPACE_ALIGNMENT - 1) / WORKSPACE_ALIGNMENT * WORKSPACE_ALIGNMENT;
    return at;
}

struct mglu_opencl_workspace mglu_opencl_lay_out(const mglu_packed_weights *shape, const mglu_layer_desc *desc,
                                                 int64_t batch)
{
    const int64_t tokens = batch < CHUNK_TOKENS ? batch : CHUNK_TOKENS;
    struct mglu_opencl_workspace workspace = {.chunk_tokens = tokens};

    workspace.logits_at = reserve(&workspace, desc->top_k > 0 && shape->router.data ? tokens * shape->n_masks : 0);
    workspace.ids_at = reserve(&workspace, tokens * desc->top_k);
    workspace.p_at = reserve(&workspace, tokens * desc->top_k);
    workspace.z_at = reserve(&workspace, shape->output_size > 0 ? tokens * shape->intermediate_size : 0);
    return workspace;
}

size_t mglu_opencl_workspace_size(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch)
{
    return (size_t)mglu_opencl_lay_out(plan->shape, &plan->desc, batch).end * sizeof(uint32_t);
}

/* ---- Kernels -------------------------------------------------------------------------------------------------- */

static mglu_status make_kernels(struct mglu_opencl_device *device, cl_program program, const char *name,
                                cl_kernel *kernels, size_t stride)
{
    cl_int code = CL_SUCCESS;

    for (size_t set = 0; set < MGLU_OPENCL_KERNEL_SETS; set++) {
        cl_kernel kernel = device->backend->cl.clCreateKernel(program, name, &code);
        if (code != CL_SUCCESS)
            return mglu_opencl_fail(device, code, "clCreateKernel", "making a kernel");
        kernels[set * stride] = kernel;
    }
    return MGLU_OK;
}

/* Selects and makes the kernels of one step. */
static mglu_status make_step(struct mglu_opencl_layer *layer, const struct mglu_opencl_matrix *matrix,
                             const struct mglu_opencl_variant *wanted, struct mglu_opencl_step *step)
{
    const int is_small = matrix->rows * matrix->columns < SMALL_WEIGHTS;
    mglu_status status = MGLU_OK;

    step->matrix = matrix;
    step->last = layer->desc.max_batch > 1;
    step->first = step->last && is_small;
    for (int i = step->first; i <= step->last && status == MGLU_OK; i++) {
        struct mglu_opencl_variant *variant = &step->variants[i];
        cl_program program;
        *variant = *wanted;
        variant->weight = matrix->dtype;
        variant->matrices = matrix->matrices;
        variant->tokens = i == 0 ? 1 : 0;
        step->reason = mglu_opencl_select(layer->device, matrix, variant);
        status = mglu_opencl_program_get(layer->device, variant, &program);
        if (status == MGLU_OK)
            status = make_kernels(layer->device, program, "mglu_rows", &step->kernels[0][i], 2);
    }
    return status;
}

static mglu_status make_route(struct mglu_opencl_layer *layer)
{
    const struct mglu_opencl_step *other = &layer->projection;
    cl_program program;
    mglu_status status = mglu_opencl_program_get(layer->device, &other->variants[other->last], &program);

    if (status == MGLU_OK)
        status = make_kernels(layer->device, program, "mglu_route", layer->route, 1);
    return status;
}

static mglu_status make_steps(struct mglu_opencl_layer *layer)
{
    const struct mglu_opencl_weights *weights = layer->weights;
    const int is_routed = layer->desc.top_k > 0;
    const struct mglu_opencl_variant sums = {0};
    const struct mglu_opencl_variant glu = {
        .masks = weights->shape.n_masks ? layer->terms : 0, .is_glu = 1, .routed = is_routed};
    mglu_status status = make_step(layer, &weights->projection, &glu, &layer->projection);

    if (status == MGLU_OK && is_routed)
        status = make_route(layer);
    if (status == MGLU_OK && is_routed && weights->shape.router.data)
        status = make_step(layer, &weights->router, &sums, &layer->router);
    if (status == MGLU_OK && weights->shape.output_size > 0)
        status = make_step(layer, &weights->down, &sums, &layer->down);
    return status;
}

static void free_kernels(const struct mglu_opencl_driver *cl, cl_kernel *kernels, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (kernels[i])
            cl->clReleaseKernel(kernels[i]);
}

void mglu_opencl_layer_destroy(void *backend, void *layer)
{
    struct mglu_opencl_layer *self = layer;
    const struct mglu_opencl_driver *cl = &self->device->backend->cl;
    const size_t count = sizeof self->down.kernels / sizeof self->down.kernels[0][0];

    free_kernels(cl, &self->router.kernels[0][0], count);
    free_kernels(cl, &self->projection.kernels[0][0], count);
    free_kernels(cl, &self->down.kernels[0][0], count);
    free_kernels(cl, self->route, MGLU_OPENCL_KERNEL_SETS);
    mglu_opencl_release(self->device->backend->host, self, sizeof *self);
}

mglu_status mglu_opencl_layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                     void **layer)
{
    struct mglu_opencl_device *device = &((struct mglu_opencl_backend *)backend)->devices[ordinal];
    const struct mglu_opencl_weights *from = weights;
    mglu_status status = mglu_opencl_device_check(device);
    struct mglu_opencl_layer *made;

    if (status != MGLU_OK)
        return status;
    made = mglu_opencl_allocate(device->backend->host, sizeof *made);
    if (!made)
        return device->backend->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_opencl_layer){
        .device = device,
        .weights = from,
        .desc = plan->desc,
        .terms = plan->desc.top_k      ? plan->desc.top_k
                 : from->shape.n_masks ? from->shape.n_masks
                                       : 1,
    };
    for (int i = 0; i < MGLU_OPENCL_KERNEL_SETS; i++)
        atomic_flag_clear(&made->taken[i]);
    status = make_steps(made);
    if (status != MGLU_OK) {
        mglu_opencl_layer_destroy(backend, made);
        return status;
    }
    mglu_opencl_describe(made);
    *layer = made;
    return MGLU_OK;
}

mglu_accuracy mglu_opencl_layer_accuracy(void *backend, const void *layer)
{
    return MGLU_ACCURACY_A;
}
