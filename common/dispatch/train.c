/* SPDX-License-Identifier: MIT */
#include "common/dispatch/parts.h"

#include <string.h>

static const mglu_backend_fns *fns_of(const mglu_train *train)
{
    return train->device->backend.fns;
}

static void *state_of(const mglu_train *train)
{
    return train->device->backend.state;
}

static mglu_status check_device(const mglu_device *device)
{
    mglu_status status = mglu_device_check(device);

    if (status != MGLU_OK)
        return status;
    if (!device->info.host_memory)
        return mglu_fail(MGLU_ERROR_UNSUPPORTED,
                         "backend '%s' has memory of its own: only devices with host memory train, as \"cpu\"",
                         device->backend.fns->name);
    if (!MGLU_TABLE_SLOT(device->backend.fns, train_create))
        return mglu_fail(MGLU_ERROR_UNSUPPORTED, "backend '%s' does not train: it has no train_create",
                         device->backend.fns->name);
    return MGLU_OK;
}

/* Reads and checks a caller's desc. */
static mglu_status read_desc(const mglu_train_desc *desc, mglu_train_desc *known)
{
    mglu_status status =
        mglu_struct_read("mglu_train_desc", known, sizeof *known, MGLU_FIRST_SIZE(mglu_train_desc, max_batch), desc);

    return status == MGLU_OK ? mglu_validate_train(known) : status;
}

mglu_status mglu_train_create(mglu_device *device, const mglu_train_desc *desc, mglu_train **train)
{
    mglu_train_desc known;
    mglu_train *made;
    mglu_status status;

    if (!device || !train)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "device or train is NULL");
    *train = NULL;
    status = read_desc(desc, &known);
    if (status == MGLU_OK)
        status = check_device(device);
    if (status != MGLU_OK)
        return status;
    made = mglu_host_allocate(device->context, sizeof *made, _Alignof(mglu_train));
    if (!made)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (mglu_train){.device = device, .desc = known};
    status = fns_of(made)->train_create(state_of(made), device->ordinal, &made->desc, &made->state);
    if (status != MGLU_OK) {
        mglu_host_release(device->context, made, sizeof *made, _Alignof(mglu_train));
        return status;
    }
    mglu_context_hold(device->context);
    *train = made;
    return MGLU_OK;
}

void mglu_train_destroy(mglu_train **train)
{
    mglu_context *context;
    mglu_train *old;

    if (!train || !*train)
        return;
    old = *train;
    *train = NULL;
    context = old->device->context;
    if (is_callable(old->device))
        fns_of(old)->train_destroy(state_of(old), old->state);
    mglu_host_release(context, old, sizeof *old, _Alignof(mglu_train));
    mglu_context_release(context);
}

/* The workspace begins with the packed masks; what follows is the backend's. */
static size_t mask_space(const mglu_train *train)
{
    const mglu_train_desc *desc = &train->desc;

    return (mglu_packed_mask_size(desc->n_masks, desc->intermediate_size, desc->hidden_size) + 63) / 64 * 64;
}

size_t mglu_train_workspace_size(const mglu_train *train, int64_t batch)
{
    if (!train || batch < 1 || batch > train->desc.max_batch)
        return 0;
    return mask_space(train) + fns_of(train)->train_workspace_size(state_of(train), train->state, batch);
}

size_t mglu_train_saved_size(const mglu_train *train, int64_t batch)
{
    if (!train || batch < 1 || batch > train->desc.max_batch)
        return 0;
    return fns_of(train)->train_saved_size(state_of(train), train->state, batch);
}

/* Packs the masks at `target` and makes `masks` these; words are checked and used in place. */
static mglu_status pack_masks(const mglu_train *train, const mglu_parallel *parallel, mglu_mask_array *masks,
                              void *target)
{
    const mglu_weights_desc desc = {.hidden_size = train->desc.hidden_size,
                                    .intermediate_size = train->desc.intermediate_size,
                                    .n_masks = train->desc.n_masks,
                                    .masks = *masks};
    const int in_place = masks->form == MGLU_MASK_WORDS && (uintptr_t)masks->data % sizeof(uint32_t) == 0;
    mglu_status status = mglu_pack_desc_masks(&desc, parallel, in_place ? NULL : target);

    if (!in_place)
        *masks = (mglu_mask_array){.data = target, .form = MGLU_MASK_WORDS};
    return status;
}

/* What forward and backward have in common before their arrays are checked. */
static mglu_status check_call(const mglu_train *train, const mglu_queue *queue, const char *call, int64_t batch,
                              const mglu_parallel **parallel)
{
    const mglu_status status = mglu_parallel_check(call, *parallel);

    if (status != MGLU_OK)
        return status;
    if (queue && queue->device != train->device)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: the queue is on another device than the plan", call);
    if (batch < 0 || batch > train->desc.max_batch)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: batch is %lld, must be 0..%lld", call, (long long)batch,
                         (long long)train->desc.max_batch);
    if (!*parallel)
        *parallel = &train->device->context->parallel;
    return mglu_device_check_fork(train->device);
}

/* The workspace behind the masks is what a backend gets. */
static void skip_masks(const mglu_train *train, void **workspace, size_t *size)
{
    *workspace = (unsigned char *)*workspace + mask_space(train);
    *size -= mask_space(train);
}

mglu_status mglu_train_forward(mglu_train *train, mglu_queue *queue, const mglu_train_forward_args *args)
{
    mglu_train_forward_args known;
    mglu_status status;

    if (!train)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "train is NULL");
    status = mglu_struct_read("mglu_train_forward_args", &known, sizeof known,
                              MGLU_FIRST_SIZE(mglu_train_forward_args, parallel), args);
    if (status == MGLU_OK && known.reserved != 0)
        status = mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "train forward: reserved must be 0");
    if (status == MGLU_OK)
        status = check_call(train, queue, "train forward", known.batch, &known.parallel);
    if (status != MGLU_OK || known.batch == 0)
        return status;
    status = mglu_validate_train_forward(train, &known);
    if (status == MGLU_OK)
        status = pack_masks(train, known.parallel, &known.inputs.masks, known.workspace);
    if (status != MGLU_OK)
        return status;
    skip_masks(train, &known.workspace, &known.workspace_size);
    return fns_of(train)->train_forward(state_of(train), train->state, queue ? queue->state : NULL, &known);
}

static void clear(float *gradient, size_t count)
{
    if (gradient)
        memset(gradient, 0, count * sizeof *gradient);
}

/* The gradients of an empty batch. */
static void clear_gradients(const mglu_train *train, const mglu_train_backward_args *args)
{
    const size_t rows = (size_t)train->desc.intermediate_size, masks = (size_t)train->desc.n_masks;
    const size_t matrix = rows * (size_t)train->desc.hidden_size;

    if (args->flags & MGLU_TRAIN_ACCUMULATE)
        return;
    clear(args->dweight, matrix);
    clear(args->dlogits, masks * matrix);
    clear(args->dgate_bias, masks * rows);
    clear(args->dvalue_bias, masks * rows);
}

/* Reads the args of a backward, and checks what an empty batch needs as well. */
static mglu_status read_backward(const mglu_train *train, const mglu_queue *queue, const mglu_train_backward_args *args,
                                 mglu_train_backward_args *known)
{
    mglu_status status = mglu_struct_read("mglu_train_backward_args", known, sizeof *known,
                                          MGLU_FIRST_SIZE(mglu_train_backward_args, parallel), args);

    if (status == MGLU_OK)
        status = check_call(train, queue, "train backward", known->batch, &known->parallel);
    if (status == MGLU_OK)
        status = mglu_validate_train_gradients(train, known);
    return status;
}

mglu_status mglu_train_backward(mglu_train *train, mglu_queue *queue, const mglu_train_backward_args *args)
{
    mglu_train_backward_args known;
    mglu_status status;

    if (!train)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "train is NULL");
    status = read_backward(train, queue, args, &known);
    if (status != MGLU_OK)
        return status;
    if (known.batch == 0) {
        clear_gradients(train, &known);
        return MGLU_OK;
    }
    status = mglu_validate_train_backward(train, &known);
    if (status == MGLU_OK)
        status = pack_masks(train, known.parallel, &known.inputs.masks, known.workspace);
    if (status != MGLU_OK)
        return status;
    skip_masks(train, &known.workspace, &known.workspace_size);
    return fns_of(train)->train_backward(state_of(train), train->state, queue ? queue->state : NULL, &known);
}

static void clear_expected(const mglu_train_expected *result, size_t count)
{
    if (result->want)
        memset(result->want, 0, count * sizeof *result->want);
    if (result->tolerance)
        memset(result->tolerance, 0, count * sizeof *result->tolerance);
}

/* The same for the oracle. */
static void clear_all_expected(const mglu_train *train, const mglu_train_reference_args *args)
{
    const size_t rows = (size_t)train->desc.intermediate_size, masks = (size_t)train->desc.n_masks;
    const size_t matrix = rows * (size_t)train->desc.hidden_size;

    clear_expected(&args->dweight, matrix);
    clear_expected(&args->dlogits, masks * matrix);
    clear_expected(&args->dgate_bias, masks * rows);
    clear_expected(&args->dvalue_bias, masks * rows);
}

/* The oracle has no workspace: the masks are packed into memory of its own. */
static mglu_status run_reference(mglu_train *train, mglu_train_reference_args *args)
{
    mglu_context *context = train->device->context;
    const size_t size = mask_space(train), alignment = 64;
    void *masks = mglu_host_allocate(context, size, alignment);
    mglu_status status;

    if (!masks)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    status = pack_masks(train, &context->parallel, &args->inputs.masks, masks);
    if (status == MGLU_OK)
        status = fns_of(train)->train_reference(state_of(train), train->state, args);
    mglu_host_release(context, masks, size, alignment);
    return status;
}

mglu_status mglu_train_reference(mglu_train *train, const mglu_train_reference_args *args)
{
    const mglu_parallel *parallel = NULL;
    mglu_train_reference_args known;
    mglu_status status;

    if (!train)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "train is NULL");
    if (!MGLU_TABLE_SLOT(fns_of(train), train_reference))
        return mglu_fail(MGLU_ERROR_UNSUPPORTED, "backend '%s' is not a reference", fns_of(train)->name);
    status = mglu_struct_read("mglu_train_reference_args", &known, sizeof known,
                              MGLU_FIRST_SIZE(mglu_train_reference_args, drouter_logits), args);
    if (status == MGLU_OK && known.reserved != 0)
        status = mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "train reference: reserved must be 0");
    if (status == MGLU_OK)
        status = check_call(train, NULL, "train reference", known.batch, &parallel);
    if (status != MGLU_OK)
        return status;
    if (known.batch == 0) {
        clear_all_expected(train, &known);
        return MGLU_OK;
    }
    status = mglu_validate_train_reference(train, &known);
    return status == MGLU_OK ? run_reference(train, &known) : status;
}
