/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <math.h>

/*
 * The gradients of the oracle against finite differences, in double, of a direct transcription of the layer in which
 * masks are continuous: M_i is any real matrix. With the straight-through rule the gradient of a logit is that of M_i.
 */

enum { H = 5, D = 4, BATCH = 3, MAX_MASKS = 4 };

struct shape {
    mglu_activation activation;
    float beta;
    int32_t n_masks, top_k;
    mglu_dtype dtype, weight_dtype;
    uint32_t flags;
};

/* The layer in double; `parameters` are all that it can be differentiated by, one after the other. */
struct relaxed {
    const struct shape *shape;
    double x[BATCH * H], weight[D * H], masks[MAX_MASKS * D * H], gate_bias[MAX_MASKS * D], value_bias[MAX_MASKS * D],
        logits[BATCH * MAX_MASKS], dy[BATCH * D];
};

static double g(const struct shape *shape, double t)
{
    switch (shape->activation) {
    case MGLU_ACTIVATION_SILU:
        return t / (1 + exp(-(shape->beta ? (double)shape->beta : 1) * t));
    case MGLU_ACTIVATION_GELU_ERF:
        return 0.5 * t * (1 + erf(t / sqrt(2)));
    case MGLU_ACTIVATION_GELU_TANH:
        return 0.5 * t * (1 + tanh(sqrt(2 / M_PI) * (t + 0.044715 * t * t * t)));
    case MGLU_ACTIVATION_RELU:
        return t > 0 ? t : 0;
    case MGLU_ACTIVATION_SIGMOID:
        return 1 / (1 + exp(-t));
    case MGLU_ACTIVATION_IDENTITY:
        return t;
    }
    return NAN;
}

/* The weights of a token's masks: softmax over the K largest logits. */
static void weights_of(const struct relaxed *layer, int64_t token, double p[MAX_MASKS])
{
    const int32_t n_masks = layer->shape->n_masks;
    const double *logits = layer->logits + token * n_masks;
    double sum = 0;

    for (int32_t i = 0; i < n_masks; i++) {
        int32_t larger = 0;

        for (int32_t k = 0; k < n_masks; k++)
            larger += logits[k] > logits[i];
        p[i] = larger < layer->shape->top_k ? exp(logits[i]) : 0;
        sum += p[i];
    }
    for (int32_t i = 0; i < n_masks; i++)
        p[i] = layer->shape->top_k ? p[i] / sum : 1;
}

static double y_at(const struct relaxed *layer, int64_t token, int64_t row)
{
    double p[MAX_MASKS], y = 0;

    weights_of(layer, token, p);
    for (int32_t i = 0; i < layer->shape->n_masks; i++) {
        double gate = layer->gate_bias[i * D + row], value = layer->value_bias[i * D + row];

        for (int64_t c = 0; c < H; c++) {
            const double product = layer->weight[row * H + c] * layer->x[token * H + c];
            const double m = layer->masks[(i * D + row) * H + c];

            gate += m * product;
            value += (1 - m) * product;
        }
        y += p[i] * g(layer->shape, gate) * value;
    }
    return y;
}

/* A number whose gradient by y is dy. */
static double loss_of(const struct relaxed *layer)
{
    double loss = 0;

    for (int64_t token = 0; token < BATCH; token++)
        for (int64_t row = 0; row < D; row++)
            loss += layer->dy[token * D + row] * y_at(layer, token, row);
    return loss;
}

static void check_gradient(struct relaxed *layer, const char *name, double *parameters, const double *want,
                           size_t count)
{
    const double step = 1e-4;

    for (size_t i = 0; i < count; i++) {
        const double at = parameters[i];
        double slope;

        parameters[i] = at + step;
        slope = loss_of(layer);
        parameters[i] = at - step;
        slope = (slope - loss_of(layer)) / (2 * step);
        parameters[i] = at;
        if (!(fabs(slope - want[i]) <= 1e-6 * (1 + fabs(slope))))
            fail_msg("activation %d, %d masks, top_k %d: %s[%zu] is %.9g, the difference quotient %.9g",
                     (int)layer->shape->activation, layer->shape->n_masks, layer->shape->top_k, name, i, want[i],
                     slope);
    }
}

/* The arguments of the oracle, and what it writes. */
struct oracle {
    void *x, *dy, *weight;
    float *masks, *gate_bias, *value_bias, *logits;
    double y[BATCH * D], dx[BATCH * H], dweight[D * H], dlogits[MAX_MASKS * D * H], dgate_bias[MAX_MASKS * D],
        dvalue_bias[MAX_MASKS * D], drouter_logits[BATCH * MAX_MASKS];
};

static struct oracle make_oracle(const struct shape *shape, uint32_t seed)
{
    return (struct oracle){
        .x = sample_array(shape->dtype, BATCH * H, 1, &seed),
        .dy = sample_array(shape->dtype, BATCH * D, 1, &seed),
        .weight = sample_array(shape->weight_dtype, D * H, 1, &seed),
        .masks = sample_array(MGLU_DTYPE_F32, MAX_MASKS * D * H, 1, &seed),
        .gate_bias = sample_array(MGLU_DTYPE_F32, MAX_MASKS * D, 0.5f, &seed),
        .value_bias = sample_array(MGLU_DTYPE_F32, MAX_MASKS * D, 0.5f, &seed),
        .logits = sample_array(MGLU_DTYPE_F32, BATCH * MAX_MASKS, 1, &seed),
    };
}

static void free_oracle(struct oracle *oracle)
{
    void *const all[] = {oracle->x,         oracle->dy,         oracle->weight, oracle->masks,
                         oracle->gate_bias, oracle->value_bias, oracle->logits};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static mglu_train_inputs inputs_of(const struct shape *shape, const struct oracle *oracle)
{
    return (mglu_train_inputs){
        .x = {.data = oracle->x},
        .weight = {.data = oracle->weight, .dtype = shape->weight_dtype},
        .masks = {oracle->masks, MGLU_MASK_LOGITS_F32},
        .gate_bias = shape->flags & MGLU_TRAIN_GATE_BIAS ? oracle->gate_bias : NULL,
        .value_bias = shape->flags & MGLU_TRAIN_VALUE_BIAS ? oracle->value_bias : NULL,
        .router_logits = {.data = shape->top_k ? oracle->logits : NULL},
    };
}

static void run_oracle(const struct shape *shape, struct oracle *oracle)
{
    const mglu_train_desc desc = {.struct_size = sizeof desc,
                                  .flags = shape->flags,
                                  .hidden_size = H,
                                  .intermediate_size = D,
                                  .n_masks = shape->n_masks,
                                  .top_k = shape->top_k,
                                  .activation = shape->activation,
                                  .silu_beta = shape->beta,
                                  .dtype = shape->dtype,
                                  .max_batch = BATCH};
    const mglu_train_reference_args args = {.struct_size = sizeof args,
                                            .batch = BATCH,
                                            .inputs = inputs_of(shape, oracle),
                                            .dy = {.data = oracle->dy},
                                            .y = {oracle->y, NULL},
                                            .dx = {oracle->dx, NULL},
                                            .dweight = {oracle->dweight, NULL},
                                            .dlogits = {oracle->dlogits, NULL},
                                            .dgate_bias = {oracle->dgate_bias, NULL},
                                            .dvalue_bias = {oracle->dvalue_bias, NULL},
                                            .drouter_logits = {oracle->drouter_logits, NULL}};
    mglu_context *context = NULL;
    mglu_device *device = NULL;
    mglu_train *train = NULL;

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "ref", &device));
    assert_ok(mglu_train_create(device, &desc, &train));
    assert_ok(mglu_train_reference(train, &args));
    mglu_train_destroy(&train);
    mglu_context_destroy(&context);
}

static void read_doubles(const void *array, mglu_dtype dtype, double *target, size_t count)
{
    float numbers[MAX_MASKS * D * H];

    assert_true(count <= sizeof numbers / sizeof numbers[0]);
    assert_ok(mglu_convert(array, dtype, numbers, MGLU_DTYPE_F32, count));
    for (size_t i = 0; i < count; i++)
        target[i] = (double)numbers[i];
}

/* The layer at the masks that the logits mean: 0 and 1. */
static struct relaxed relax(const struct shape *shape, const struct oracle *oracle)
{
    struct relaxed layer = {.shape = shape};

    read_doubles(oracle->x, shape->dtype, layer.x, BATCH * H);
    read_doubles(oracle->dy, shape->dtype, layer.dy, BATCH * D);
    read_doubles(oracle->weight, shape->weight_dtype, layer.weight, D * H);
    read_doubles(oracle->logits, MGLU_DTYPE_F32, layer.logits, (size_t)(BATCH * shape->n_masks));
    for (int32_t i = 0; i < shape->n_masks * D * H; i++)
        layer.masks[i] = oracle->masks[i] > 0;
    if (shape->flags & MGLU_TRAIN_GATE_BIAS)
        read_doubles(oracle->gate_bias, MGLU_DTYPE_F32, layer.gate_bias, MAX_MASKS * D);
    if (shape->flags & MGLU_TRAIN_VALUE_BIAS)
        read_doubles(oracle->value_bias, MGLU_DTYPE_F32, layer.value_bias, MAX_MASKS * D);
    return layer;
}

static void check_shape(const struct shape *shape, uint32_t seed)
{
    const size_t masks = (size_t)shape->n_masks;
    struct oracle oracle = make_oracle(shape, seed);
    struct relaxed layer = relax(shape, &oracle);

    run_oracle(shape, &oracle);
    for (int64_t i = 0; i < BATCH * D; i++)
        assert_true(fabs(oracle.y[i] - y_at(&layer, i / D, i % D)) <= 1e-12);
    check_gradient(&layer, "dx", layer.x, oracle.dx, BATCH * H);
    check_gradient(&layer, "dweight", layer.weight, oracle.dweight, D * H);
    check_gradient(&layer, "dlogits", layer.masks, oracle.dlogits, masks * D * H);
    check_gradient(&layer, "dgate_bias", layer.gate_bias, oracle.dgate_bias, masks * D);
    check_gradient(&layer, "dvalue_bias", layer.value_bias, oracle.dvalue_bias, masks * D);
    if (shape->top_k)
        check_gradient(&layer, "drouter_logits", layer.logits, oracle.drouter_logits, BATCH * masks);
    free_oracle(&oracle);
}

static const struct {
    mglu_activation activation;
    float beta;
} activations[] = {
    {MGLU_ACTIVATION_SILU, 0},     {MGLU_ACTIVATION_SILU, 1.7f},   {MGLU_ACTIVATION_SILU, -1},
    {MGLU_ACTIVATION_GELU_ERF, 0}, {MGLU_ACTIVATION_GELU_TANH, 0}, {MGLU_ACTIVATION_RELU, 0},
    {MGLU_ACTIVATION_SIGMOID, 0},  {MGLU_ACTIVATION_IDENTITY, 0},
};

static void every_gradient_is_the_difference_quotient(void **state)
{
    static const int32_t routings[][2] = {{1, 0}, {2, 0}, {4, 0}, {1, 1}, {4, 1}, {4, 2}, {4, 4}};
    static const mglu_dtype dtypes[][2] = {{MGLU_DTYPE_F32, MGLU_DTYPE_F32},
                                           {MGLU_DTYPE_BF16, MGLU_DTYPE_BF16},
                                           {MGLU_DTYPE_BF16, MGLU_DTYPE_F32},
                                           {MGLU_DTYPE_F32, MGLU_DTYPE_BF16}};
    uint32_t seed = 1;

    for (size_t a = 0; a < sizeof activations / sizeof activations[0]; a++)
        for (size_t r = 0; r < sizeof routings / sizeof routings[0]; r++, seed++) {
            const struct shape shape = {.activation = activations[a].activation,
                                        .beta = activations[a].beta,
                                        .n_masks = routings[r][0],
                                        .top_k = routings[r][1],
                                        .dtype = dtypes[seed % 4][0],
                                        .weight_dtype = dtypes[seed % 4][1],
                                        .flags = MGLU_TRAIN_GATE_BIAS | MGLU_TRAIN_VALUE_BIAS};
            check_shape(&shape, seed);
        }
}

/* A step function has no slope: the size of a logit counts for nothing, only on which side of 0 it is. */
static void the_straight_through_gradient_depends_on_the_sign_of_a_logit_alone(void **state)
{
    const struct shape shape = {.activation = MGLU_ACTIVATION_SILU, .n_masks = 3};
    struct oracle small = make_oracle(&shape, 7), large = make_oracle(&shape, 7);

    for (size_t i = 0; i < 3 * D * H; i++)
        large.masks[i] *= 1000;
    run_oracle(&shape, &small);
    run_oracle(&shape, &large);
    assert_memory_equal(small.dlogits, large.dlogits, 3 * D * H * sizeof(double));
    free_oracle(&small);
    free_oracle(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gradient_is_the_difference_quotient),
        cmocka_unit_test(the_straight_through_gradient_depends_on_the_sign_of_a_logit_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
