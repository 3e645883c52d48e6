/* SPDX-License-Identifier: MIT */
/* A complete backend in one file, as a starting point: docs/backends.md explains it. Scalar, on the host. */
#include <mglu/backend.h>

#include <fenv.h>
#include <math.h>

/* One struct serves as all four handles; each uses the members that concern it. */
struct sample {
    const mglu_host *host;      /* backend */
    int bad_routing;            /* queue: sticky until the next wait */
    mglu_layer_desc desc;       /* layer */
    mglu_packed_weights packed; /* weights and layer: the arrays are used in place */
};

/* Step 1: the backend and its devices. All memory comes from the host's allocator. */
static mglu_status make(const void *backend, struct sample content, void **handle)
{
    const mglu_host *host = ((const struct sample *)backend)->host;

    *handle = host->allocator.allocate(host->allocator.user, sizeof content, _Alignof(struct sample));
    if (!*handle)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "sample: out of memory");
    *(struct sample *)*handle = content;
    return MGLU_OK;
}

static void destroy(void *backend, void *handle)
{
    const mglu_allocator allocator = ((struct sample *)backend)->host->allocator;

    allocator.release(allocator.user, handle, sizeof(struct sample), _Alignof(struct sample));
}

static mglu_status open_backend(const mglu_host *host, void **backend)
{
    return make(&(struct sample){.host = host}, (struct sample){.host = host}, backend);
}

static void close_backend(void *backend)
{
    destroy(backend, backend);
}

static int32_t device_count(void *backend)
{
    return 1;
}

static mglu_status device_info(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    info->rank = MGLU_RANK_NEVER; /* used only when selected by name */
    info->type = MGLU_DEVICE_CPU;
    info->host_memory = 1;
    info->name = "sample";
    info->details = "scalar";
    info->works_after_fork = 1; /* it has no driver */
    return MGLU_OK;
}

/* Step 2: weights and queues. Work is done when forward returns, so a queue holds only its error. */
static mglu_status weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights)
{
    return make(backend, (struct sample){.packed = *packed}, weights);
}

static uint64_t weights_bytes(void *backend, const void *weights)
{
    return 0; /* no memory other than the host's arrays */
}

static mglu_status queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue)
{
    if (desc->native_stream)
        return ((struct sample *)backend)->host->fail(MGLU_ERROR_INVALID_ARGUMENT, "sample: no native streams");
    return make(backend, (struct sample){.bad_routing = 0}, queue);
}

static mglu_status queue_wait(void *backend, void *queue)
{
    int bad_routing = ((struct sample *)queue)->bad_routing;

    ((struct sample *)queue)->bad_routing = 0;
    return bad_routing ? ((struct sample *)backend)->host->fail(MGLU_ERROR_BAD_ROUTING, "routing id out of range")
                       : MGLU_OK;
}

static mglu_status queue_notify(void *backend, void *queue, mglu_queue_callback callback, void *user)
{
    callback(user, ((struct sample *)queue)->bad_routing ? MGLU_ERROR_BAD_ROUTING : MGLU_OK);
    return MGLU_OK;
}

/* Step 3: layers. */
static mglu_status supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan)
{
    const mglu_host *host = ((struct sample *)backend)->host;

    /* Supports every shape and all values known when this was compiled; a later library may have more. */
    if ((int)plan->desc.activation >= MGLU_ACTIVATION_COUNT)
        return host->fail(MGLU_ERROR_UNSUPPORTED, "sample: activation %s", mglu_activation_name(plan->desc.activation));
    if ((int)plan->shape->dtype >= MGLU_DTYPE_COUNT)
        return host->fail(MGLU_ERROR_UNSUPPORTED, "sample: weights in %s", mglu_dtype_name(plan->shape->dtype));
    return MGLU_OK;
}

static mglu_status layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                void **layer)
{
    const mglu_host *host = ((struct sample *)backend)->host;
    const mglu_packed_weights *packed = &((struct sample *)weights)->packed;

    host->log(host, MGLU_LOG_DEBUG, "sample: layer %lldx%lld n_m=%d %s batch<=%lld: kernel rows, scalar: the only one",
              (long long)packed->hidden_size, (long long)packed->intermediate_size, (int)packed->n_masks,
              mglu_dtype_name(packed->dtype), (long long)plan->desc.max_batch);
    return make(backend, (struct sample){.desc = plan->desc, .packed = *packed}, layer);
}

static size_t workspace_size(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch)
{
    /* x and z of one token at a time, for any batch; never 0 */
    return (size_t)(plan->shape->hidden_size + plan->shape->intermediate_size + 1) * sizeof(float);
}

static mglu_accuracy layer_accuracy(void *backend, const void *layer)
{
    return MGLU_ACCURACY_A;
}

/* Step 4: the arithmetic. Sums are in double; f32 suffices if additions form a tree instead of a long chain. */
/* Row `r` times x: each product is added to the sum that its mask bit selects. Not 0 * product: NaN for Inf. */
static void add_row(const mglu_packed_matrix *matrix, mglu_dtype dtype, int64_t r, const float *x, int64_t columns,
                    const uint32_t *words, int32_t n_masks, double sums[2])
{
    const char *row = (const char *)matrix->data + (size_t)r * matrix->stride_bytes;
    const char *scales = matrix->scales; /* NULL unless the weights are quantised */
    float w[32];                         /* rows are padded to whole groups of 32 */

    for (int64_t c = 0; c < columns; c++) {
        if (c % 32 == 0 && mglu_unpack_weights(row + mglu_packed_weight_offset(dtype, columns, 0, c),
                                               scales ? scales + mglu_packed_scale_offset(dtype, columns, r, c) : NULL,
                                               dtype, 1, 32, MGLU_DTYPE_F32, w))
            sums[0] = sums[1] = NAN;
        sums[words ? words[mglu_packed_mask_offset(n_masks, columns, 0, c, 0) / 4] >> c % 32 & 1 : 1] +=
            (double)w[c % 32] * (double)x[c];
    }
}

static double dot(const mglu_packed_matrix *matrix, mglu_dtype dtype, int64_t r, const float *x, int64_t columns)
{
    double sums[2] = {0, 0};

    add_row(matrix, dtype, r, x, columns, NULL, 0, sums);
    return sums[1];
}

static double sigmoid(double t)
{
    return 1 / (1 + exp(-t));
}

static double gated(double t, double share)
{
    return share == 0 ? 0 : t * share; /* 0, not NaN, where t is infinite */
}

static double activate(const mglu_layer_desc *desc, double t)
{
    switch (desc->activation) {
    case MGLU_ACTIVATION_SILU:
        return gated(t, sigmoid((double)desc->silu_beta * t));
    case MGLU_ACTIVATION_GELU_ERF:
        return gated(t, erfc(-t * 0.70710678118654752440) / 2);
    case MGLU_ACTIVATION_GELU_TANH:
        return gated(t, (1 + tanh(0.79788456080286535588 * (t + 0.044715 * t * t * t))) / 2);
    case MGLU_ACTIVATION_RELU:
        return t < 0 ? 0 : t; /* NaN stays NaN */
    case MGLU_ACTIVATION_SIGMOID:
        return sigmoid(t);
    case MGLU_ACTIVATION_IDENTITY:
        return t;
    }
    return NAN;
}

/* Step 5: forward, token by token. */
struct job {
    const mglu_layer_desc *desc;
    const mglu_packed_weights *packed;
    const mglu_forward_args *args;
    struct sample *queue;
    float *x, *z;                           /* in the workspace */
    int32_t terms, ids[MGLU_MAX_MASKS + 1]; /* the masks that this token uses; room to sort one more in */
    double p[MGLU_MAX_MASKS];               /* and their weights, with routing */
};

/* A token's row of an input; may be NULL where it has no columns. Offsets are in bytes, strides in elements. */
static const void *input_row(const mglu_input *input, int64_t token, size_t size)
{
    return (const void *)((uintptr_t)input->data + input->byte_offset + (size_t)(token * input->row_stride) * size);
}

/* An id out of range is never used as an index; its weight makes the token NaN. */
static void route_given(struct job *job, int64_t token)
{
    const int32_t *ids = input_row(&job->args->routing_ids, token, sizeof *ids);
    const float *p = input_row(&job->args->routing_weights, token, sizeof *p);

    for (int32_t i = 0; i < job->terms; i++) {
        int in_range = ids[i] >= 0 && ids[i] < job->packed->n_masks;
        job->ids[i] = in_range ? ids[i] : 0;
        job->p[i] = in_range ? (double)p[i] : NAN;
        job->queue->bad_routing |= !in_range;
    }
}

/* The largest logits in descending order, the lower id first on a tie, and their softmax. NaN makes all NaN. */
static void route_by_router(struct job *job)
{
    double logits[MGLU_MAX_MASKS], sum = 0;

    for (int32_t m = 0; m < job->packed->n_masks; m++) {
        int32_t at = m < job->terms ? m : job->terms;
        logits[m] = dot(&job->packed->router, MGLU_DTYPE_F32, m, job->x, job->packed->hidden_size);
        sum = isnan(logits[m]) ? NAN : sum;
        for (; at > 0 && logits[m] > logits[job->ids[at - 1]]; at--)
            job->ids[at] = job->ids[at - 1];
        job->ids[at] = m;
    }
    for (int32_t i = 0; i < job->terms; i++)
        sum += job->p[i] = exp(logits[job->ids[i]] - logits[job->ids[0]]);
    for (int32_t i = 0; i < job->terms; i++)
        job->p[i] /= sum;
}

/* One element of z: the sum of its terms. A plain layer is one term of two matrices. */
static double project(const struct job *job, int64_t r)
{
    const mglu_packed_weights *w = job->packed;
    double z = 0;

    for (int32_t i = 0; i < job->terms; i++) {
        size_t word = mglu_packed_mask_offset(w->n_masks, w->hidden_size, r, 0, job->ids[i]) / sizeof(uint32_t);
        int64_t at = job->ids[i] * w->intermediate_size + r;
        double sums[2] = {w->value_bias ? (double)w->value_bias[at] : 0, w->gate_bias ? (double)w->gate_bias[at] : 0};
        add_row(&w->weight, w->dtype, r, job->x, w->hidden_size, w->masks ? w->masks + word : NULL, w->n_masks, sums);
        if (!w->masks)
            sums[0] += dot(&w->value_weight, w->dtype, r, job->x, w->hidden_size);
        z += (job->desc->top_k ? job->p[i] : 1) * (activate(job->desc, sums[1]) * sums[0]);
    }
    return z;
}

/* One element of y. A residual that is y itself is read before the store; memory between rows is not written. */
static mglu_status store(const struct job *job, int64_t token, int64_t c)
{
    const mglu_packed_weights *w = job->packed;
    const mglu_output *y = &job->args->y;
    size_t size = mglu_dtype_size(job->desc->y_dtype), at = y->byte_offset + (size_t)(token * y->row_stride + c) * size;
    double sum = w->output_size ? dot(&w->down, w->dtype, c, job->z, w->intermediate_size) : (double)job->z[c];
    float value = 0;

    if (job->args->residual.data &&
        mglu_convert((const char *)input_row(&job->args->residual, token, size) + (size_t)c * size, job->desc->y_dtype,
                     &value, MGLU_DTYPE_F32, 1))
        return MGLU_ERROR_INVALID_ARGUMENT;
    value = (float)(sum + (w->down_bias ? (double)w->down_bias[c] : 0) + (double)value);
    return mglu_convert(&value, MGLU_DTYPE_F32, (char *)y->data + at, job->desc->y_dtype, 1);
}

static mglu_status run_token(struct job *job, int64_t token)
{
    const mglu_packed_weights *w = job->packed;
    const void *x = input_row(&job->args->x, token, mglu_dtype_size(job->desc->x_dtype));
    mglu_status status = mglu_convert(x, job->desc->x_dtype, job->x, MGLU_DTYPE_F32, (size_t)w->hidden_size);

    if (job->args->routing_ids.data)
        route_given(job, token);
    else if (job->desc->top_k)
        route_by_router(job);
    for (int64_t r = 0; r < w->intermediate_size; r++)
        job->z[r] = (float)project(job, r);
    for (int64_t c = 0; c < (w->output_size ? w->output_size : w->intermediate_size) && status == MGLU_OK; c++)
        status = store(job, token, c);
    return status;
}

/* Runs in the default floating-point environment and restores the caller's. */
static mglu_status forward(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    const struct sample *self = layer;
    float *x = args->workspace;
    int32_t n_masks = self->packed.n_masks, top_k = self->desc.top_k, terms = top_k ? top_k : n_masks ? n_masks : 1;
    struct sample own = {0}; /* in place of a queue that is NULL, which devices with host memory accept */
    struct job job = {.desc = &self->desc,
                      .packed = &self->packed,
                      .args = args,
                      .queue = queue ? queue : &own,
                      .x = x,
                      .z = x + self->packed.hidden_size,
                      .terms = terms};
    mglu_status status = MGLU_OK;
    fenv_t callers;

    for (int32_t i = 0; i < terms; i++)
        job.ids[i] = i;
    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    for (int64_t token = 0; token < args->batch && status == MGLU_OK; token++)
        status = run_token(&job, token);
    fesetenv(&callers);
    return queue || status != MGLU_OK ? status : queue_wait(backend, &own);
}

/* Step 6: the table, and the one symbol that is exported. */
static const mglu_backend_fns sample_fns = {
    .abi = MGLU_BACKEND_ABI,
    .struct_size = sizeof(mglu_backend_fns),
    .name = "sample",
    .open = open_backend,
    .close = close_backend,
    .device_count = device_count,
    .device_info = device_info,
    .supports = supports,
    .weights_create = weights_create,
    .weights_destroy = destroy,
    .weights_bytes = weights_bytes,
    .queue_create = queue_create,
    .queue_wait = queue_wait,
    .queue_destroy = destroy,
    .layer_create = layer_create,
    .layer_destroy = destroy,
    .workspace_size = workspace_size,
    .layer_accuracy = layer_accuracy,
    .forward = forward,
    .queue_poll = queue_wait, /* work is done when forward returns */
    .queue_notify = queue_notify,
};

MGLU_API const mglu_backend_fns *mglu_backend_entry(uint32_t host_abi)
{
    return &sample_fns;
}
