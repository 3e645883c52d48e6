/* SPDX-License-Identifier: MIT */
/*
 * The example backend with training: docs/backends.md, "Training". It is sample.c with seven more functions, which are
 * the equations of mglu/train.h written down: sums in double, what is kept in f32.
 */
#define mglu_backend_entry sample_entry
#include "sample.c"
#undef mglu_backend_entry

#include <pthread.h>

MGLU_API const mglu_backend_fns *mglu_backend_entry(uint32_t host_abi);

/* One call. A row of a token has 1 + n_m numbers in each array: one of all of W, then one of each mask. */
struct step {
    mglu_train_desc desc;
    mglu_train_inputs in;
    int64_t batch;
    float *sums, *deltas; /* t and s_i; dt and ds_i */
    mglu_input dy;
};

static int64_t count_of(const mglu_train_desc *desc, int64_t batch)
{
    return batch * desc->intermediate_size * (1 + desc->n_masks);
}

static float *row_of(const struct step *step, float *array, int64_t token, int64_t r)
{
    return array + (token * step->desc.intermediate_size + r) * (1 + step->desc.n_masks);
}

/* Element c of a row of f32 or bf16. */
static double number(const void *row, mglu_dtype dtype, int64_t c)
{
    float value = NAN;

    if (mglu_convert((const char *)row + (size_t)c * mglu_dtype_size(dtype), dtype, &value, MGLU_DTYPE_F32, 1))
        return NAN;
    return (double)value;
}

static double input_at(const struct step *step, const mglu_input *input, int64_t token, int64_t c)
{
    return number(input_row(input, token, mglu_dtype_size(step->desc.dtype)), step->desc.dtype, c);
}

static double weight_at(const struct step *step, int64_t r, int64_t c)
{
    const mglu_array *weight = &step->in.weight;

    return number((const char *)weight->data + (size_t)r * weight->stride_bytes, weight->dtype, c);
}

static int bit(const struct step *step, int32_t mask, int64_t r, int64_t c)
{
    const size_t at = mglu_packed_mask_offset(step->desc.n_masks, step->desc.hidden_size, r, c, mask);

    return ((const uint32_t *)step->in.masks.data)[at / sizeof(uint32_t)] >> c % 32 & 1;
}

/* The weights of a token's masks: negative for one that is not selected. */
static void weights_of(const struct step *step, int64_t token, double *p)
{
    const int32_t n_masks = step->desc.n_masks;
    const float *logits = input_row(&step->in.router_logits, token, sizeof *logits);
    double sum = 0, largest = -INFINITY;

    for (int32_t i = 0; i < n_masks; i++) {
        int32_t before = 0; /* masks that are chosen first: larger ones, and of equal ones the lower ids */

        p[i] = 1;
        for (int32_t k = 0; step->desc.top_k && k < n_masks; k++)
            before += logits[k] > logits[i] || (logits[k] == logits[i] && k < i);
        if (step->desc.top_k && before >= step->desc.top_k)
            p[i] = -1;
        else if (step->desc.top_k)
            largest = fmax(largest, (double)logits[i]);
    }
    for (int32_t i = 0; step->desc.top_k && i < n_masks; i++)
        sum += isnan(logits[i]) ? NAN : p[i] < 0 ? 0 : exp((double)logits[i] - largest);
    for (int32_t i = 0; step->desc.top_k && i < n_masks; i++)
        p[i] = p[i] < 0 ? -1 : exp((double)logits[i] - largest) / sum;
}

/* g'. */
static double slope(const mglu_train_desc *desc, double t)
{
    const double u = 0.79788456080286535588 * (t + 0.044715 * t * t * t), beta = (double)desc->silu_beta;

    switch (desc->activation) {
    case MGLU_ACTIVATION_SILU:
        return sigmoid(beta * t) + gated(beta * t, sigmoid(beta * t) * sigmoid(-beta * t));
    case MGLU_ACTIVATION_GELU_ERF:
        return erfc(-t * 0.70710678118654752440) / 2 + gated(t, exp(-t * t / 2) * 0.39894228040143267794);
    case MGLU_ACTIVATION_GELU_TANH:
        return (1 + tanh(u)) / 2 +
               gated(t * 0.79788456080286535588 * (1 + 3 * 0.044715 * t * t), 2 * sigmoid(2 * u) * sigmoid(-2 * u));
    case MGLU_ACTIVATION_RELU:
        return t > 0;
    case MGLU_ACTIVATION_SIGMOID:
        return sigmoid(t) * sigmoid(-t);
    case MGLU_ACTIVATION_IDENTITY:
        return 1;
    }
    return NAN;
}

/* What one mask adds to a row of a token. */
struct terms {
    double y, dgate, dvalue, dp;
};

static struct terms terms_of(const struct step *step, int64_t token, int64_t r, int32_t mask, double p)
{
    const mglu_train_desc *desc = &step->desc;
    const mglu_layer_desc g = {.activation = desc->activation, .silu_beta = desc->silu_beta};
    const float *sums = row_of(step, step->sums, token, r);
    const int64_t at = mask * desc->intermediate_size + r;
    const double gate = (double)sums[1 + mask] + (step->in.gate_bias ? (double)step->in.gate_bias[at] : 0);
    const double value =
        (double)sums[0] - (double)sums[1 + mask] + (step->in.value_bias ? (double)step->in.value_bias[at] : 0);
    const double a = activate(&g, gate), dy = step->dy.data ? input_at(step, &step->dy, token, r) : 0;

    if (p < 0)
        return (struct terms){0, 0, 0, 0};
    return (struct terms){p * a * value, dy * p * slope(desc, gate) * value, dy * p * a, dy * a * value};
}

/* The sums of a row with a token's x. A mask selects: it is not multiplied. */
static void add_sums(const struct step *step, int64_t token, int64_t r)
{
    double sums[1 + MGLU_MAX_MASKS] = {0};
    float *to = row_of(step, step->sums, token, r);

    for (int64_t c = 0; c < step->desc.hidden_size; c++) {
        const double product = weight_at(step, r, c) * input_at(step, &step->in.x, token, c);

        sums[0] += product;
        for (int32_t i = 0; i < step->desc.n_masks; i++)
            sums[1 + i] += bit(step, i, r, c) ? product : 0;
    }
    for (int32_t i = 0; i <= step->desc.n_masks; i++)
        to[i] = (float)sums[i];
}

static mglu_status store_row(const mglu_output *to, mglu_dtype dtype, int64_t token, int64_t c, double value)
{
    const size_t size = mglu_dtype_size(dtype);
    const float rounded = (float)value;

    return mglu_convert(&rounded, MGLU_DTYPE_F32,
                        (char *)to->data + to->byte_offset + (size_t)(token * to->row_stride + c) * size, dtype, 1);
}

static mglu_status step_forward(const struct step *step, const mglu_output *y)
{
    mglu_status status = MGLU_OK;
    double p[MGLU_MAX_MASKS];

    for (int64_t token = 0; token < step->batch; token++) {
        weights_of(step, token, p);
        for (int64_t r = 0; r < step->desc.intermediate_size && status == MGLU_OK; r++) {
            double sum = 0;

            add_sums(step, token, r);
            for (int32_t i = 0; i < step->desc.n_masks; i++)
                sum += terms_of(step, token, r, i, p[i]).y;
            status = store_row(y, step->desc.dtype, token, r, sum);
        }
    }
    return status;
}

/* dt and ds_i, and what needs each mask's terms: gradients of biases and of router logits. */
static mglu_status step_back(const struct step *step, const mglu_train_backward_args *args)
{
    const int64_t d = step->desc.intermediate_size;
    mglu_status status = MGLU_OK;
    double p[MGLU_MAX_MASKS];

    for (int64_t token = 0; token < step->batch && status == MGLU_OK; token++) {
        double dp[MGLU_MAX_MASKS] = {0}, mean = 0;

        weights_of(step, token, p);
        for (int64_t r = 0; r < d; r++) {
            float *deltas = row_of(step, step->deltas, token, r);
            double dt = 0;

            for (int32_t i = 0; i < step->desc.n_masks; i++) {
                const struct terms terms = terms_of(step, token, r, i, p[i]);

                dt += terms.dvalue;
                deltas[1 + i] = (float)(terms.dgate - terms.dvalue);
                dp[i] += terms.dp;
            }
            deltas[0] = (float)dt;
        }
        for (int32_t i = 0; i < step->desc.n_masks; i++)
            mean += p[i] < 0 ? 0 : p[i] * dp[i];
        for (int32_t i = 0; args->drouter_logits.data && i < step->desc.n_masks && status == MGLU_OK; i++)
            status = store_row(&args->drouter_logits, MGLU_DTYPE_F32, token, i, p[i] < 0 ? 0 : p[i] * (dp[i] - mean));
    }
    return status;
}

/* A gradient of a parameter, which may be added to what is there. */
static void store_sum(float *gradient, int64_t at, double sum, uint32_t flags)
{
    gradient[at] = (float)(sum + (flags & MGLU_TRAIN_ACCUMULATE ? (double)gradient[at] : 0));
}

static void bias_gradients(const struct step *step, const mglu_train_backward_args *args, int32_t mask, int64_t r)
{
    const int64_t at = mask * step->desc.intermediate_size + r;
    double gate = 0, value = 0, p[MGLU_MAX_MASKS];

    for (int64_t token = 0; token < step->batch; token++) {
        struct terms terms;

        weights_of(step, token, p);
        terms = terms_of(step, token, r, mask, p[mask]);
        gate += terms.dgate;
        value += terms.dvalue;
    }
    if (args->dgate_bias)
        store_sum(args->dgate_bias, at, gate, args->flags);
    if (args->dvalue_bias)
        store_sum(args->dvalue_bias, at, value, args->flags);
}

/* Of one weight and its logits: sums over the batch of dt x and ds_i x. */
static void weight_gradients(const struct step *step, const mglu_train_backward_args *args, int64_t r, int64_t c)
{
    const int64_t h = step->desc.hidden_size, d = step->desc.intermediate_size;
    double sums[1 + MGLU_MAX_MASKS] = {0}, total;

    for (int64_t token = 0; token < step->batch; token++)
        for (int32_t i = 0; i <= step->desc.n_masks; i++)
            sums[i] += (double)row_of(step, step->deltas, token, r)[i] * input_at(step, &step->in.x, token, c);
    total = sums[0];
    for (int32_t i = 0; i < step->desc.n_masks; i++) {
        total += bit(step, i, r, c) ? sums[1 + i] : 0;
        if (args->dlogits)
            store_sum(args->dlogits, (i * d + r) * h + c, weight_at(step, r, c) * sums[1 + i], args->flags);
    }
    if (args->dweight)
        store_sum(args->dweight, r * h + c, total, args->flags);
}

static double dx_at(const struct step *step, int64_t token, int64_t c)
{
    double sum = 0;

    for (int64_t r = 0; r < step->desc.intermediate_size; r++) {
        const float *deltas = row_of(step, step->deltas, token, r);
        double delta = (double)deltas[0];

        for (int32_t i = 0; i < step->desc.n_masks; i++)
            delta += bit(step, i, r, c) ? (double)deltas[1 + i] : 0;
        sum += delta * weight_at(step, r, c);
    }
    return sum;
}

static mglu_status store_gradients(const struct step *step, const mglu_train_backward_args *args)
{
    mglu_status status = step_back(step, args);

    for (int64_t token = 0; args->dx.data && token < step->batch; token++)
        for (int64_t c = 0; c < step->desc.hidden_size && status == MGLU_OK; c++)
            status = store_row(&args->dx, step->desc.dtype, token, c, dx_at(step, token, c));
    for (int64_t r = 0; r < step->desc.intermediate_size; r++) {
        for (int64_t c = 0; (args->dweight || args->dlogits) && c < step->desc.hidden_size; c++)
            weight_gradients(step, args, r, c);
        for (int32_t i = 0; (args->dgate_bias || args->dvalue_bias) && i < step->desc.n_masks; i++)
            bias_gradients(step, args, i, r);
    }
    return status;
}

/* The functions of the table. A plan is its desc; what is slow, as choosing kernels, would be done here. */
static mglu_status train_create(void *backend, int32_t ordinal, const mglu_train_desc *desc, void **train)
{
    const mglu_host *host = ((struct sample *)backend)->host;
    mglu_train_desc *plan = host->allocator.allocate(host->allocator.user, sizeof *plan, _Alignof(mglu_train_desc));

    if (!plan)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "sample: out of memory");
    *plan = *desc;
    *train = plan;
    return MGLU_OK;
}

static void train_destroy(void *backend, void *train)
{
    const mglu_allocator allocator = ((struct sample *)backend)->host->allocator;

    allocator.release(allocator.user, train, sizeof(mglu_train_desc), _Alignof(mglu_train_desc));
}

/* Both are one array: a forward that keeps nothing has its sums in the workspace, a backward its deltas. */
static size_t train_size(void *backend, const void *train, int64_t batch)
{
    return (size_t)count_of(train, batch) * sizeof(float);
}

static mglu_status train_forward(void *backend, void *train, void *queue, const mglu_train_forward_args *args)
{
    const struct step step = {.desc = *(const mglu_train_desc *)train,
                              .in = args->inputs,
                              .batch = args->batch,
                              .sums = args->saved ? args->saved : args->workspace};
    mglu_status status;
    fenv_t callers;

    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    status = step_forward(&step, &args->y);
    fesetenv(&callers);
    return status;
}

static mglu_status train_backward(void *backend, void *train, void *queue, const mglu_train_backward_args *args)
{
    const struct step step = {.desc = *(const mglu_train_desc *)train,
                              .in = args->inputs,
                              .batch = args->batch,
                              .sums = (float *)args->saved, /* read only */
                              .deltas = args->workspace,
                              .dy = args->dy};
    mglu_status status;
    fenv_t callers;

    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    status = store_gradients(&step, args);
    fesetenv(&callers);
    return status;
}

/* The table of sample.c with these functions. */
static mglu_backend_fns trains_too;
static pthread_once_t is_made = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    trains_too = *sample_entry(MGLU_BACKEND_ABI);
    trains_too.name = "sample-train";
    trains_too.train_create = train_create;
    trains_too.train_destroy = train_destroy;
    trains_too.train_workspace_size = train_size;
    trains_too.train_saved_size = train_size;
    trains_too.train_forward = train_forward;
    trains_too.train_backward = train_backward;
}

MGLU_API const mglu_backend_fns *mglu_backend_entry(uint32_t host_abi)
{
    return pthread_once(&is_made, make_table) == 0 ? &trains_too : NULL;
}
