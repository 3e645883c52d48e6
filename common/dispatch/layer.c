/* SPDX-License-Identifier: MIT */
#include "common/core/float_environment.h"
#include "common/dispatch/objects.h"

static const mglu_backend_fns *fns_of(const mglu_layer *layer)
{
    return layer->weights->device->backend.fns;
}

static void *state_of(const mglu_layer *layer)
{
    return layer->weights->device->backend.state;
}

/* Checks a caller's desc and whether the backend supports it. */
static mglu_status make_plan(const mglu_device *device, const mglu_packed_weights *shape, const mglu_layer_desc *desc,
                             mglu_layer_plan *plan)
{
    MGLU_DEFAULT_FLOATS;
    mglu_layer_desc known;
    mglu_status status =
        mglu_struct_read("mglu_layer_desc", &known, sizeof known, MGLU_FIRST_SIZE(mglu_layer_desc, max_batch), desc);

    if (status == MGLU_OK)
        status = mglu_validate_layer(shape, &known, plan);
    if (status == MGLU_OK)
        status = device->backend.fns->supports(device->backend.state, device->ordinal, plan);
    return status;
}

/* The same for weights that need not exist: their shape is written to `shape`. */
static mglu_status plan_for_desc(const mglu_device *device, const mglu_weights_desc *weights,
                                 const mglu_layer_desc *layer, mglu_packed_weights *shape, mglu_layer_plan *plan)
{
    mglu_weights_desc known;
    mglu_status status;

    if (!device)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "device is NULL");
    status = mglu_device_check(device);
    if (status == MGLU_OK)
        status = mglu_struct_read("mglu_weights_desc", &known, sizeof known,
                                  MGLU_FIRST_SIZE(mglu_weights_desc, down_bias), weights);
    if (status == MGLU_OK)
        status = mglu_validate_weights(&known);
    if (status != MGLU_OK)
        return status;
    *shape = mglu_weights_shape(&known);
    return make_plan(device, shape, layer, plan);
}

mglu_status mglu_supports(const mglu_device *device, const mglu_weights_desc *weights, const mglu_layer_desc *layer)
{
    mglu_packed_weights shape;
    mglu_layer_plan plan;

    return plan_for_desc(device, weights, layer, &shape, &plan);
}

static int has_output(const mglu_packed_weights *shape)
{
    return shape->intermediate_size > 0 || shape->output_size > 0;
}

size_t mglu_workspace_needed(const mglu_device *device, const mglu_layer_plan *plan, int64_t batch)
{
    if (batch <= 0 || batch > plan->desc.max_batch || !has_output(plan->shape))
        return 0;
    return device->backend.fns->workspace_size(device->backend.state, device->ordinal, plan, batch);
}

static mglu_status check_batch(const char *call, int64_t batch, const mglu_layer_plan *plan)
{
    if (batch >= 0 && batch <= plan->desc.max_batch)
        return MGLU_OK;
    return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: batch is %lld, must be 0..%lld", call, (long long)batch,
                     (long long)plan->desc.max_batch);
}

mglu_status mglu_workspace_size(const mglu_device *device, const mglu_weights_desc *weights,
                                const mglu_layer_desc *layer, int64_t batch, size_t *size)
{
    mglu_packed_weights shape;
    mglu_layer_plan plan;
    mglu_status status;

    if (!size)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "size is NULL");
    *size = 0;
    status = plan_for_desc(device, weights, layer, &shape, &plan);
    if (status == MGLU_OK)
        status = check_batch("workspace", batch, &plan);
    if (status == MGLU_OK)
        *size = mglu_workspace_needed(device, &plan, batch);
    return status;
}

static mglu_status fill_layer(mglu_layer *layer, const mglu_layer_desc *desc)
{
    const mglu_device *device = layer->weights->device;
    mglu_status status = make_plan(device, &layer->weights->packed, desc, &layer->plan);

    if (status == MGLU_OK)
        status = device->backend.fns->layer_create(device->backend.state, device->ordinal, &layer->plan,
                                                   layer->weights->state, &layer->state);
    if (status == MGLU_OK)
        layer->workspace_size = mglu_workspace_needed(device, &layer->plan, layer->plan.desc.max_batch);
    return status;
}

mglu_status mglu_layer_create(mglu_weights *weights, const mglu_layer_desc *desc, mglu_layer **layer)
{
    mglu_context *context;
    mglu_layer *made;
    mglu_status status;

    if (!weights || !layer)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "weights or layer is NULL");
    *layer = NULL;
    context = weights->device->context;
    status = mglu_device_check(weights->device);
    if (status != MGLU_OK)
        return status;
    made = mglu_host_allocate(context, sizeof *made, _Alignof(mglu_layer));
    if (!made)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (mglu_layer){.weights = weights};
    status = fill_layer(made, desc);
    if (status != MGLU_OK) {
        mglu_host_release(context, made, sizeof *made, _Alignof(mglu_layer));
        return status;
    }
    atomic_fetch_add_explicit(&weights->refcount, 1, memory_order_relaxed);
    *layer = made;
    return MGLU_OK;
}

void mglu_layer_destroy(mglu_layer **layer)
{
    mglu_layer *old;
    mglu_weights *weights;

    if (!layer || !*layer)
        return;
    old = *layer;
    *layer = NULL;
    weights = old->weights;
    if (is_callable(weights->device))
        fns_of(old)->layer_destroy(state_of(old), old->state);
    mglu_host_release(weights->device->context, old, sizeof *old, _Alignof(mglu_layer));
    mglu_weights_release(weights);
}

size_t mglu_layer_workspace_size(const mglu_layer *layer)
{
    return layer ? layer->workspace_size : 0;
}

size_t mglu_layer_workspace_size_for(const mglu_layer *layer, int64_t batch)
{
    return layer ? mglu_workspace_needed(layer->weights->device, &layer->plan, batch) : 0;
}

mglu_accuracy mglu_layer_accuracy(const mglu_layer *layer)
{
    return layer ? fns_of(layer)->layer_accuracy(state_of(layer), layer->state) : MGLU_ACCURACY_A;
}

/* Reads the args of a forward; *is_noop: there is no output to compute. */
static mglu_status read_args(const mglu_layer *layer, const mglu_forward_args *args, mglu_forward_args *known,
                             int *is_noop)
{
    mglu_status status = mglu_struct_read("mglu_forward_args", known, sizeof *known,
                                          MGLU_FIRST_SIZE(mglu_forward_args, workspace_size), args);

    if (status == MGLU_OK)
        status = mglu_parallel_check("forward", known->parallel);
    if (status != MGLU_OK)
        return status;
    if (!known->parallel)
        known->parallel = &layer->weights->device->context->parallel;
    if (known->reserved != 0)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "forward: reserved must be 0");
    *is_noop = known->batch == 0 || !has_output(layer->plan.shape);
    return check_batch("forward", known->batch, &layer->plan);
}

/* Whether a forward of the layer can be enqueued there. */
static mglu_status check_queue(const mglu_layer *layer, const mglu_queue *queue)
{
    const mglu_device *device = layer->weights->device;

    if (queue && queue->device != device)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "forward: the queue is on another device than the layer");
    if (!queue && !device->info.host_memory)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, MGLU_QUEUE_MISSING, device->backend.fns->name);
    return mglu_device_check_fork(device);
}

mglu_status mglu_forward(mglu_layer *layer, mglu_queue *queue, const mglu_forward_args *args)
{
    mglu_forward_args known;
    mglu_status status;
    int is_noop;

    if (!layer)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "layer is NULL");
    status = check_queue(layer, queue);
    if (status == MGLU_OK)
        status = read_args(layer, args, &known, &is_noop);
    if (status != MGLU_OK || is_noop)
        return status;
    status = mglu_validate_forward(layer, &known, 1);
    if (status != MGLU_OK)
        return status;
    return fns_of(layer)->forward(state_of(layer), layer->state, queue ? queue->state : NULL, &known);
}

mglu_status mglu_forward_reference(mglu_layer *layer, const mglu_forward_args *args, mglu_accuracy accuracy,
                                   double *want, double *tolerance)
{
    mglu_forward_args known;
    mglu_status status;
    int is_noop;

    if (!layer)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "layer is NULL");
    if (!fns_of(layer)->forward_reference)
        return mglu_fail(MGLU_ERROR_UNSUPPORTED, "backend '%s' is not a reference", fns_of(layer)->name);
    if (accuracy < MGLU_ACCURACY_A || accuracy > MGLU_ACCURACY_C)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "unknown accuracy class %d", (int)accuracy);
    status = mglu_device_check_fork(layer->weights->device);
    if (status == MGLU_OK)
        status = read_args(layer, args, &known, &is_noop);
    if (status != MGLU_OK || is_noop)
        return status;
    status = mglu_validate_forward(layer, &known, 0);
    if (status != MGLU_OK)
        return status;
    return fns_of(layer)->forward_reference(state_of(layer), layer->state, &known, accuracy, want, tolerance);
}
