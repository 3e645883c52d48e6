/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/train.h"
#include "backends/ref/kernels/store.h"
#include "common/core/float_environment.h"

/* A plan is its desc. `saved` has the sums of the forward in double, not rounded. */

static const mglu_host *host_of(void *backend)
{
    return ((const struct mglu_ref_backend *)backend)->host;
}

mglu_status mglu_ref_train_create(void *backend, int32_t ordinal, const mglu_train_desc *desc, void **train)
{
    const mglu_host *host = host_of(backend);
    mglu_train_desc *made = host->allocator.allocate(host->allocator.user, sizeof *made, _Alignof(mglu_train_desc));

    if (!made)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = *desc;
    *train = made;
    return MGLU_OK;
}

void mglu_ref_train_destroy(void *backend, void *train)
{
    const mglu_host *host = host_of(backend);

    host->allocator.release(host->allocator.user, train, sizeof(mglu_train_desc), _Alignof(mglu_train_desc));
}

static size_t stream_bytes(const mglu_train_desc *desc, int64_t batch)
{
    return mglu_ref_stream_count(desc, batch) * sizeof(struct estimate);
}

/* The parts of the workspace: x, the weights of masks, and a stream for each of `arrays`. */
static size_t scratch_bytes(const mglu_train_desc *desc, int64_t batch, size_t arrays)
{
    return (size_t)desc->hidden_size * sizeof(double) + (size_t)batch * sizeof(struct mglu_ref_shares) +
           arrays * stream_bytes(desc, batch);
}

/* A forward that keeps nothing has its sums there; a backward has its deltas there. */
size_t mglu_ref_train_workspace_size(void *backend, const void *train, int64_t batch)
{
    return scratch_bytes(train, batch, 1);
}

size_t mglu_ref_train_saved_size(void *backend, const void *train, int64_t batch)
{
    return stream_bytes(train, batch);
}

/* Places x and the weights of masks in scratch memory, and returns what follows. */
static struct estimate *place_scratch(struct mglu_ref_train_call *call, void *scratch)
{
    call->x = scratch;
    call->shares = (struct mglu_ref_shares *)(void *)(call->x + call->desc.hidden_size);
    return (struct estimate *)(void *)(call->shares + call->batch);
}

/* Where a result is stored. */
struct target {
    mglu_output to; /* with its stride */
    mglu_dtype dtype;
    int adds;
};

static void store(void *user, int64_t row, int64_t column, struct estimate element)
{
    const struct target *target = user;
    unsigned char *data = (unsigned char *)target->to.data + target->to.byte_offset;
    const size_t at = (size_t)(row * target->to.row_stride + column);
    const double old = target->adds ? (double)mglu_load_element(data, target->dtype, at) : 0;

    mglu_ref_store(data, target->dtype, at, old + element.value);
}

mglu_status mglu_ref_train_forward(void *backend, void *train, void *queue, const mglu_train_forward_args *args)
{
    MGLU_DEFAULT_FLOATS;
    const mglu_train_desc *desc = train;
    struct mglu_ref_train_call call = mglu_ref_train_call(desc, args->batch, &args->inputs);
    struct estimate *rest = place_scratch(&call, args->workspace);

    call.sums = args->saved ? args->saved : rest;
    mglu_ref_train_shares(&call);
    mglu_ref_train_sums(&call);
    mglu_ref_train_result(&call, MGLU_REF_Y, store, &(struct target){.to = args->y, .dtype = desc->dtype});
    return MGLU_OK;
}

/* A gradient of the parameters, without gaps between its rows. */
static mglu_output dense(float *gradient, const mglu_train_desc *desc, enum mglu_ref_result result)
{
    return (mglu_output){.data = gradient, .row_stride = mglu_ref_train_columns(desc, result)};
}

/* A gradient that is not NULL. */
static void store_gradient(const struct mglu_ref_train_call *call, enum mglu_ref_result result, mglu_output to,
                           uint32_t flags)
{
    const int is_parameter = result != MGLU_REF_DX && result != MGLU_REF_DROUTER_LOGITS;
    struct target target = {.to = to,
                            .dtype = mglu_ref_train_dtype(&call->desc, result),
                            .adds = is_parameter && flags & MGLU_TRAIN_ACCUMULATE};

    if (to.data)
        mglu_ref_train_result(call, result, store, &target);
}

mglu_status mglu_ref_train_backward(void *backend, void *train, void *queue, const mglu_train_backward_args *args)
{
    MGLU_DEFAULT_FLOATS;
    const mglu_train_desc *desc = train;
    struct mglu_ref_train_call call = mglu_ref_train_call(desc, args->batch, &args->inputs);
    const mglu_output targets[MGLU_REF_RESULTS] = {
        [MGLU_REF_DX] = args->dx,
        [MGLU_REF_DWEIGHT] = dense(args->dweight, desc, MGLU_REF_DWEIGHT),
        [MGLU_REF_DLOGITS] = dense(args->dlogits, desc, MGLU_REF_DLOGITS),
        [MGLU_REF_DGATE_BIAS] = dense(args->dgate_bias, desc, MGLU_REF_DGATE_BIAS),
        [MGLU_REF_DVALUE_BIAS] = dense(args->dvalue_bias, desc, MGLU_REF_DVALUE_BIAS),
        [MGLU_REF_DROUTER_LOGITS] = args->drouter_logits,
    };

    call.dy = args->dy;
    call.deltas = place_scratch(&call, args->workspace);
    call.sums = (struct estimate *)args->saved; /* read only */
    mglu_ref_train_shares(&call);
    mglu_ref_train_deltas(&call);
    for (enum mglu_ref_result i = MGLU_REF_DX; i < MGLU_REF_RESULTS; i++)
        store_gradient(&call, i, targets[i], args->flags);
    return MGLU_OK;
}

/* Where the oracle writes a result. */
struct expectation {
    mglu_train_expected to;
    int64_t columns;
};

static void expect(void *user, int64_t row, int64_t column, struct estimate element)
{
    const struct expectation *expectation = user;
    const int64_t at = row * expectation->columns + column;

    if (expectation->to.want)
        expectation->to.want[at] = element.value;
    if (expectation->to.tolerance)
        expectation->to.tolerance[at] = element.error;
}

static void expect_all(struct mglu_ref_train_call *call, const mglu_train_reference_args *args)
{
    const mglu_train_expected all[MGLU_REF_RESULTS] = {
        [MGLU_REF_Y] = args->y,
        [MGLU_REF_DX] = args->dx,
        [MGLU_REF_DWEIGHT] = args->dweight,
        [MGLU_REF_DLOGITS] = args->dlogits,
        [MGLU_REF_DGATE_BIAS] = args->dgate_bias,
        [MGLU_REF_DVALUE_BIAS] = args->dvalue_bias,
        [MGLU_REF_DROUTER_LOGITS] = args->drouter_logits,
    };

    mglu_ref_train_shares(call);
    mglu_ref_train_sums(call);
    mglu_ref_train_deltas(call);
    for (enum mglu_ref_result i = MGLU_REF_Y; i < MGLU_REF_RESULTS; i++) {
        struct expectation expectation = {all[i], mglu_ref_train_columns(&call->desc, i)};

        if (all[i].want || all[i].tolerance)
            mglu_ref_train_result(call, i, expect, &expectation);
    }
}

mglu_status mglu_ref_train_reference(void *backend, void *train, const mglu_train_reference_args *args)
{
    MGLU_DEFAULT_FLOATS;
    const mglu_host *host = host_of(backend);
    const mglu_train_desc *desc = train;
    const size_t size = scratch_bytes(desc, args->batch, 2);
    struct mglu_ref_train_call call = mglu_ref_train_call(desc, args->batch, &args->inputs);
    void *scratch = host->allocator.allocate(host->allocator.user, size, _Alignof(max_align_t));

    if (!scratch)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    call.dy = args->dy;
    call.sums = place_scratch(&call, scratch);
    call.deltas = call.sums + mglu_ref_stream_count(desc, args->batch);
    expect_all(&call, args);
    host->allocator.release(host->allocator.user, scratch, size, _Alignof(max_align_t));
    return MGLU_OK;
}
