/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/isas.h"

#include <mglu/mglu.h>

#include <math.h>

/* Training in what depends on its chunks, chains and panels, on every instruction set. The conformance suite has the
 * rest. */

enum { MOST_MASKS = 3 };

/* A plan and the arrays of a step, all of f32 or bf16 numbers that bf16 holds too. */
struct step {
    int64_t batch, h, d;
    int32_t n_masks;
    mglu_dtype dtype;
    mglu_activation activation;
    mglu_context *context;
    mglu_train *train;
    mglu_memory *workspace, *saved;
    double *x, *weight, *dy;  /* [batch][h], [d][h], [batch][d] */
    float *logits;            /* [n_masks][d][h] */
    double *y, *dx;           /* as computed */
    float *dweight, *dlogits; /* as computed */
    void *x_data, *weight_data, *dy_data, *y_data, *dx_data;
};

static void *make(size_t bytes)
{
    void *memory = calloc(bytes + 1, 1);

    assert_non_null(memory);
    return memory;
}

static void *to_dtype(mglu_dtype dtype, const double *values, int64_t count)
{
    char *data = make((size_t)count * mglu_dtype_size(dtype));

    for (int64_t i = 0; i < count; i++) {
        const float value = (float)values[i];
        const uint16_t half = mglu_f32_to_bf16(value);
        if (dtype == MGLU_DTYPE_F32)
            memcpy(data + 4 * i, &value, sizeof value);
        else
            memcpy(data + 2 * i, &half, sizeof half);
    }
    return data;
}

static void from_dtype(mglu_dtype dtype, const void *data, double *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        float value;
        memcpy(&half, (const char *)data + 2 * i, sizeof half);
        memcpy(&value, (const char *)data + (dtype == MGLU_DTYPE_F32 ? 4 * i : 0), sizeof value);
        values[i] = (double)(dtype == MGLU_DTYPE_F32 ? value : mglu_bf16_to_f32(half));
    }
}

static void begin_step(const struct mglu_cpu_isa *isa, struct step *s)
{
    const mglu_context_desc context = {.struct_size = sizeof context, .max_isa = isa->name, .backends = "cpu"};
    const mglu_train_desc desc = {.struct_size = sizeof desc,
                                  .hidden_size = s->h,
                                  .intermediate_size = s->d,
                                  .n_masks = s->n_masks,
                                  .activation = s->activation,
                                  .dtype = s->dtype,
                                  .max_batch = s->batch};
    mglu_device *device;

    assert_ok(mglu_context_create(&context, &s->context));
    assert_ok(mglu_device_pick(s->context, "cpu", &device));
    assert_ok(mglu_train_create(device, &desc, &s->train));
    assert_ok(mglu_memory_create(device, mglu_train_workspace_size(s->train, s->batch), &s->workspace));
    assert_ok(mglu_memory_create(device, mglu_train_saved_size(s->train, s->batch), &s->saved));
    s->x = make((size_t)(s->batch * s->h) * sizeof *s->x);
    s->dx = make((size_t)(s->batch * s->h) * sizeof *s->dx);
    s->dy = make((size_t)(s->batch * s->d) * sizeof *s->dy);
    s->y = make((size_t)(s->batch * s->d) * sizeof *s->y);
    s->weight = make((size_t)(s->d * s->h) * sizeof *s->weight);
    s->dweight = make((size_t)(s->d * s->h) * sizeof *s->dweight);
    s->logits = make((size_t)(s->n_masks * s->d * s->h) * sizeof *s->logits);
    s->dlogits = make((size_t)(s->n_masks * s->d * s->h) * sizeof *s->dlogits);
}

static void run_step(struct step *s)
{
    mglu_train_forward_args forward = MGLU_TRAIN_FORWARD_ARGS_INIT;
    mglu_train_backward_args backward = MGLU_TRAIN_BACKWARD_ARGS_INIT;

    s->x_data = to_dtype(s->dtype, s->x, s->batch * s->h);
    s->dx_data = to_dtype(s->dtype, s->dx, s->batch * s->h);
    s->weight_data = to_dtype(s->dtype, s->weight, s->d * s->h);
    s->dy_data = to_dtype(s->dtype, s->dy, s->batch * s->d);
    s->y_data = to_dtype(s->dtype, s->y, s->batch * s->d);
    forward.batch = backward.batch = s->batch;
    forward.inputs.x.data = s->x_data;
    forward.inputs.weight = (mglu_array){.data = s->weight_data, .dtype = s->dtype};
    forward.inputs.masks = (mglu_mask_array){s->logits, MGLU_MASK_LOGITS_F32};
    forward.y.data = s->y_data;
    backward.inputs = forward.inputs;
    backward.dy.data = s->dy_data;
    backward.dx.data = s->dx_data;
    backward.dweight = s->dweight;
    backward.dlogits = s->dlogits;
    backward.saved = forward.saved = mglu_memory_data(s->saved);
    backward.saved_size = forward.saved_size = mglu_memory_size(s->saved);
    backward.workspace = forward.workspace = mglu_memory_data(s->workspace);
    backward.workspace_size = forward.workspace_size = mglu_memory_size(s->workspace);
    assert_ok(mglu_train_forward(s->train, NULL, &forward));
    assert_ok(mglu_train_backward(s->train, NULL, &backward));
    from_dtype(s->dtype, s->y_data, s->y, s->batch * s->d);
    from_dtype(s->dtype, s->dx_data, s->dx, s->batch * s->h);
}

static void end_step(struct step *s)
{
    free(s->x), free(s->dx), free(s->dy), free(s->y), free(s->weight), free(s->dweight), free(s->logits);
    free(s->dlogits), free(s->x_data), free(s->dx_data), free(s->weight_data), free(s->dy_data), free(s->y_data);
    mglu_memory_destroy(&s->saved);
    mglu_memory_destroy(&s->workspace);
    mglu_train_destroy(&s->train);
    mglu_context_destroy(&s->context);
}

static double small_integer(uint64_t *seed)
{
    return (double)(next_random(seed) % 3) - 1;
}

static void fill_integers(struct step *s, uint64_t seed)
{
    for (int64_t i = 0; i < s->batch * s->h; i++)
        s->x[i] = small_integer(&seed);
    for (int64_t i = 0; i < s->d * s->h; i++)
        s->weight[i] = small_integer(&seed);
    for (int64_t i = 0; i < s->batch * s->d; i++)
        s->dy[i] = small_integer(&seed);
    for (int64_t i = 0; i < s->n_masks * s->d * s->h; i++)
        s->logits[i] = next_random(&seed) % 2 ? 1.0f : -1.0f;
}

/* What a step of identity layers gives, in plain loops over tokens and rows: exact where all numbers are integers. */
struct expected {
    double *y, *dx, *dweight, *dlogits;
};

static int is_gate(const struct step *s, int32_t mask, int64_t row, int64_t column)
{
    return s->logits[(mask * s->d + row) * s->h + column] > 0;
}

static void expect_row(const struct step *s, int64_t token, int64_t row, const struct expected *want)
{
    const double *x = s->x + token * s->h, *weight = s->weight + row * s->h, dy = s->dy[token * s->d + row];
    double gate[MOST_MASKS] = {0}, total = 0, dt = 0;

    for (int64_t c = 0; c < s->h; c++) {
        total += x[c] * weight[c];
        for (int32_t i = 0; i < s->n_masks; i++)
            gate[i] += is_gate(s, i, row, c) ? x[c] * weight[c] : 0;
    }
    for (int32_t i = 0; i < s->n_masks; i++) {
        want->y[token * s->d + row] += gate[i] * (total - gate[i]);
        dt += dy * gate[i];
    }
    for (int64_t c = 0; c < s->h; c++) {
        double of_weight = dt;
        for (int32_t i = 0; i < s->n_masks; i++) {
            const double ds = dy * (total - gate[i]) - dy * gate[i];
            of_weight += is_gate(s, i, row, c) ? ds : 0;
            want->dlogits[(i * s->d + row) * s->h + c] += weight[c] * ds * x[c];
        }
        want->dx[token * s->h + c] += of_weight * weight[c];
        want->dweight[row * s->h + c] += of_weight * x[c];
    }
}

static double rounded(mglu_dtype dtype, double value)
{
    return dtype == MGLU_DTYPE_F32 ? value : (double)mglu_bf16_to_f32(mglu_f32_to_bf16((float)value));
}

static void expect_step(const struct step *s, const struct expected *want)
{
    for (int64_t i = 0; i < s->batch * s->d; i++)
        assert_true(s->y[i] == rounded(s->dtype, want->y[i]));
    for (int64_t i = 0; i < s->batch * s->h; i++)
        assert_true(s->dx[i] == rounded(s->dtype, want->dx[i]));
    for (int64_t i = 0; i < s->d * s->h; i++)
        assert_true((double)s->dweight[i] == want->dweight[i]);
    for (int64_t i = 0; i < s->n_masks * s->d * s->h; i++)
        assert_true((double)s->dlogits[i] == want->dlogits[i]);
}

static void check_integers(const struct mglu_cpu_isa *isa, struct step s)
{
    struct expected want;

    s.activation = MGLU_ACTIVATION_IDENTITY;
    begin_step(isa, &s);
    fill_integers(&s, (uint64_t)(s.batch * s.h + s.d));
    run_step(&s);
    want = (struct expected){.y = make((size_t)(s.batch * s.d) * sizeof(double)),
                             .dx = make((size_t)(s.batch * s.h) * sizeof(double)),
                             .dweight = make((size_t)(s.d * s.h) * sizeof(double)),
                             .dlogits = make((size_t)(s.n_masks * s.d * s.h) * sizeof(double))};
    for (int64_t token = 0; token < s.batch; token++)
        for (int64_t row = 0; row < s.d; row++)
            expect_row(&s, token, row, &want);
    expect_step(&s, &want);
    free(want.y), free(want.dx), free(want.dweight), free(want.dlogits);
    end_step(&s);
}

/* Several chunks of tokens and of rows, panels and blocks that are not full, several parts of a sum. Gradients of the
 * gates stay below 256, so that bf16 holds them. */
static void integers_are_exact_in_every_chunk(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    static const int64_t sizes[][3] = {{4099, 2, 1}, {2050, 3, 5}, {37, 3, 613}, {45, 70, 33}, {9, 40, 300}};
    struct step s = {.n_masks = MOST_MASKS};

    for (s.dtype = MGLU_DTYPE_F32; s.dtype <= MGLU_DTYPE_BF16; s.dtype += MGLU_DTYPE_BF16) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            s.batch = sizes[i][0], s.h = sizes[i][1], s.d = sizes[i][2];
            check_integers(isa, s);
        }
    }
}

/* A sum of one large number and n - 1 small ones of its sign, whose rounding errors then add up, after `got`. */
static void expect_falling_sum(const char *what, int64_t n, double got)
{
    const double c = fmin((double)n, 8 + sqrt((double)n)), want = 0.5 * (1 + (double)(n - 1) * 0x1.8p-25);

    if (!(fabs(got - want) <= (2 * c + 2) * 0x1p-24 * want))
        fail_msg("%s of %lld terms: got %a, want %a, error %g of %g units", what, (long long)n, got, want,
                 fabs(got - want) / (0x1p-24 * want), 2 * c + 2);
}

/*
 * With sigmoid and masks of zeros every gate is 0 and its activation 1/2: dt = dy / 2. One dimension is long at a time,
 * for t (seen in saved), dx and dweight.
 */
static void check_falling(const struct mglu_cpu_isa *isa, int64_t batch, int64_t h, int64_t d)
{
    struct step s = {.batch = batch, .h = h, .d = d, .n_masks = 1, .activation = MGLU_ACTIVATION_SIGMOID};

    begin_step(isa, &s);
    for (int64_t i = 0; i < batch * h; i++)
        s.x[i] = i ? 0x1.8p-25 : 1;
    for (int64_t i = 0; i < d * h; i++)
        s.weight[i] = d == 1 || i == 0 ? 1 : 0x1.8p-25;
    for (int64_t i = 0; i < batch * d; i++)
        s.dy[i] = 1;
    run_step(&s);
    if (h > 1)
        expect_falling_sum("t", h, 0.5 * (double)*(float *)mglu_memory_data(s.saved));
    if (d > 1)
        expect_falling_sum("dx", d, s.dx[0]);
    if (batch > 1)
        expect_falling_sum("dweight", batch, (double)s.dweight[0]);
    end_step(&s);
}

static void sums_of_one_sign_keep_the_error_bound(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    static const int64_t lengths[] = {2, 31, 32, 33, 256, 300, 768, 2048, 4097, 16384, 40000};

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        check_falling(isa, 1, lengths[i], 1);
        check_falling(isa, 1, 1, lengths[i]);
        check_falling(isa, lengths[i], 1, 1);
    }
}

static double sigmoid(double g)
{
    return 1 / (1 + exp(-g));
}

/* g'(t), in double. */
static double derivative(mglu_activation activation, double beta, double t)
{
    const double linear = sqrt(2 / M_PI), s = sigmoid(2 * linear * (t + 0.044715 * t * t * t));

    switch (activation) {
    case MGLU_ACTIVATION_SILU:
        return sigmoid(beta * t) + beta * t * sigmoid(beta * t) * sigmoid(-beta * t);
    case MGLU_ACTIVATION_GELU_ERF:
        return 0.5 * erfc(-t / sqrt(2)) + t * exp(-0.5 * t * t) / sqrt(2 * M_PI);
    case MGLU_ACTIVATION_GELU_TANH:
        return s + t * s * (1 - s) * 2 * linear * (1 + 3 * 0.044715 * t * t);
    case MGLU_ACTIVATION_RELU:
        return t > 0;
    case MGLU_ACTIVATION_SIGMOID:
        return sigmoid(t) * sigmoid(-t);
    default:
        return 1;
    }
}

/* g'(gate) as the kernel has it: dgate where dy, p and the value are 1. */
static float kernel_derivative(const struct mglu_cpu_isa *isa, mglu_activation activation, float beta, float gate)
{
    static mglu_cpu_train_row zeros[1], dy[1], ds[1], dt[1];
    mglu_cpu_train_row gate_bias, value_bias, gate_sums = {0}, value_sums = {0};
    const float p = 1;
    const struct mglu_cpu_gates job = {.tokens = 1,
                                       .beta = beta,
                                       .t = (const mglu_cpu_train_row *)zeros,
                                       .s = (const mglu_cpu_train_row *)zeros,
                                       .dy = (const mglu_cpu_train_row *)dy,
                                       .gate_bias = gate_bias,
                                       .value_bias = value_bias,
                                       .p = &p,
                                       .ds = ds,
                                       .dt = dt,
                                       .gate_sums = gate_sums,
                                       .value_sums = value_sums};

    for (int c = 0; c < MGLU_CPU_TRAIN_BLOCK; c++) {
        gate_bias[c] = gate;
        value_bias[c] = dy[0][c] = 1;
    }
    isa->train_gates->backward[activation](&job);
    for (int c = 1; c < MGLU_CPU_TRAIN_BLOCK; c++)
        assert_true(same_bits(gate_sums[c], gate_sums[0]));
    return gate_sums[0];
}

/* 16 u (1 + |g|) of docs/semantics.md. */
static void derivatives_are_within_the_bound(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);

    for (mglu_activation activation = 0; activation < MGLU_ACTIVATION_COUNT; activation++) {
        for (float gate = -20; gate <= 20; gate += 0x1p-6f) {
            const float beta = activation == MGLU_ACTIVATION_SILU ? 1.702f : 1;
            const double want = derivative(activation, (double)beta, (double)gate);
            const double got = (double)kernel_derivative(isa, activation, beta, gate);
            if (!(fabs(got - want) <= 16 * 0x1p-24 * (1 + (double)beta * fabs((double)gate)) + 0x1p-126))
                fail_msg("activation %d, gate %g: got %a, want %a", (int)activation, (double)gate, got, want);
        }
    }
}

static void derivatives_at_the_limits(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    static const float at_inf[] = {
        [MGLU_ACTIVATION_SILU] = 1, [MGLU_ACTIVATION_GELU_ERF] = 1, [MGLU_ACTIVATION_GELU_TANH] = 1,
        [MGLU_ACTIVATION_RELU] = 1, [MGLU_ACTIVATION_SIGMOID] = 0,  [MGLU_ACTIVATION_IDENTITY] = 1};

    for (mglu_activation activation = 0; activation < MGLU_ACTIVATION_COUNT; activation++) {
        const float below = activation == MGLU_ACTIVATION_IDENTITY ? 1 : 0;
        assert_float_equal(kernel_derivative(isa, activation, 1, 1e30f), at_inf[activation], 0);
        assert_float_equal(kernel_derivative(isa, activation, 1, INFINITY), at_inf[activation], 0);
        assert_float_equal(kernel_derivative(isa, activation, 1, -1e30f), below, 0);
        assert_float_equal(kernel_derivative(isa, activation, 1, -INFINITY), below, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_exact_in_every_chunk),
        cmocka_unit_test(sums_of_one_sign_keep_the_error_bound),
        cmocka_unit_test(derivatives_are_within_the_bound),
        cmocka_unit_test(derivatives_at_the_limits),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
