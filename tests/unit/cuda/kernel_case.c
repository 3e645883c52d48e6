/* SPDX-License-Identifier: MIT */
#include "tests/unit/cuda/kernels.h"

#include <math.h>

/* The arrays of a case, and access to their elements. */

void *kernel_memory(size_t bytes)
{
    void *memory = NULL;

    assert_int_equal(posix_memalign(&memory, 64, bytes ? bytes : 1), 0);
    return memory;
}

/* An input or output with its offset, as [batch][columns] of random numbers. */
static mglu_input make_rows(struct kernel_run *run, mglu_dtype dtype, int64_t columns, size_t *bytes)
{
    const struct kernel_case *test = &run->test;
    const int64_t stride = columns + test->gap;
    const size_t count = (size_t)(test->offset + (test->batch - 1) * stride + columns), size = mglu_dtype_size(dtype);
    void *numbers = sample_array(dtype, count, 1, &run->seed), *rows = kernel_memory(count * size);

    memcpy(rows, numbers, count * size);
    free(numbers);
    *bytes = count * size;
    return (mglu_input){rows, (size_t)test->offset * size, stride};
}

static void make_routing(struct kernel_run *run)
{
    const struct kernel_case *test = &run->test;
    const int64_t stride = test->top_k + test->gap;
    const size_t count = (size_t)((test->batch - 1) * stride + test->top_k);

    run->ids = kernel_memory(count * sizeof *run->ids);
    run->p = kernel_memory(count * sizeof *run->p);
    for (size_t i = 0; i < count; i++) {
        run->p[i] = sample_number(&run->seed);
        run->ids[i] = (int32_t)(fabsf(sample_number(&run->seed)) * (float)test->shape.n_masks * 0.99f);
    }
    if (test->given_routing) {
        run->args.routing_ids = (mglu_input){run->ids, 0, stride};
        run->args.routing_weights = (mglu_input){run->p, 0, stride};
    }
}

float kernel_scale(mglu_dtype dtype, int64_t row, int64_t group)
{
    return ldexpf(1, (dtype == MGLU_DTYPE_Q8_0 ? -8 : -4) + (int)((row + group) % 3));
}

/* Rounds a matrix in f32 to the values of the quantised one. */
static void round_to_quants(const mglu_array *array, mglu_dtype dtype, int64_t rows, int64_t columns)
{
    const float most = dtype == MGLU_DTYPE_Q8_0 ? 127 : 7;
    float *values = (float *)(uintptr_t)array->data;

    for (int64_t i = 0; values && i < rows * columns; i++) {
        float scale = kernel_scale(dtype, i / columns, i % columns / 32);
        values[i] = fmaxf(-most - 1, fminf(most, roundf(values[i] / scale))) * scale;
    }
}

/* Clears the sign of each number of an array of halves. */
static void make_positive(const void *halves, size_t count)
{
    uint16_t *bits = (uint16_t *)(uintptr_t)halves;

    for (size_t i = 0; halves && i < count; i++)
        bits[i] &= 0x7fff;
}

static void make_all_positive(const struct kernel_run *run)
{
    const size_t weights = (size_t)(run->test.shape.d * run->test.shape.h);

    assert_true(mglu_cuda_is_half(run->test.shape.dtype) && mglu_cuda_is_half(run->test.x) && run->test.batch == 1);
    make_positive(run->sample.desc.weight.data, weights);
    make_positive(run->sample.desc.value_weight.data, weights);
    make_positive(run->args.x.data, (size_t)run->test.shape.h);
}

const mglu_dtype kernel_dtypes[KERNEL_DTYPES] = {MGLU_DTYPE_F32, MGLU_DTYPE_F16, MGLU_DTYPE_BF16};

struct sample_shape kernel_shape(struct kernel_size size, mglu_dtype dtype, int32_t n_masks)
{
    return (struct sample_shape){.kind = n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
                                 .dtype = dtype,
                                 .h = size.h,
                                 .d = size.d,
                                 .out = 19,
                                 .n_masks = n_masks};
}

struct kernel_run kernel_prepare(const struct kernel_case *test, uint32_t seed)
{
    struct kernel_run run = {.test = *test, .seed = seed};
    size_t bytes;

    run.test.batch = test->batch ? test->batch : 1;
    run.sample = sample_make(&test->shape, seed);
    run.columns = test->shape.parts & WITH_DOWN ? test->shape.out : test->shape.d;
    if (test->quantised) {
        round_to_quants(&run.sample.desc.weight, test->quantised, test->shape.d, test->shape.h);
        round_to_quants(&run.sample.desc.value_weight, test->quantised, test->shape.d, test->shape.h);
        round_to_quants(&run.sample.desc.down, test->quantised, run.columns, test->shape.d);
    }
    run.layer = (mglu_layer_desc){.struct_size = sizeof run.layer,
                                  .activation = test->activation,
                                  .silu_beta = test->activation == MGLU_ACTIVATION_SILU ? 1.702f : 0,
                                  .x_dtype = test->x,
                                  .y_dtype = test->y,
                                  .top_k = test->top_k,
                                  .max_batch = run.test.batch};
    run.args = (mglu_forward_args){.struct_size = sizeof run.args, .batch = run.test.batch};
    run.args.x = make_rows(&run, test->x, test->shape.h, &bytes);
    if (test->shape.parts & WITH_RESIDUAL)
        run.args.residual = make_rows(&run, test->y, run.columns, &bytes);
    mglu_input y = make_rows(&run, test->y, run.columns, &run.y_bytes);
    run.args.y = (mglu_output){(void *)(uintptr_t)y.data, y.byte_offset, y.row_stride};
    memset(run.args.y.data, 0xff, run.y_bytes);
    if (test->top_k)
        make_routing(&run);
    if (test->is_positive)
        make_all_positive(&run);
    return run;
}

void kernel_free(struct kernel_run *run)
{
    free((void *)(uintptr_t)run->args.x.data);
    free((void *)(uintptr_t)run->args.residual.data);
    free(run->args.y.data);
    free(run->ids);
    free(run->p);
    sample_free(&run->sample);
}

static void *element_at(const void *data, size_t byte_offset, int64_t index, mglu_dtype dtype)
{
    return (char *)(uintptr_t)data + byte_offset + (size_t)index * mglu_dtype_size(dtype);
}

void kernel_set_x(struct kernel_run *run, int64_t token, int64_t column, float value)
{
    const mglu_input *x = &run->args.x;

    assert_ok(mglu_convert(&value, MGLU_DTYPE_F32,
                           element_at(x->data, x->byte_offset, token * x->row_stride + column, run->test.x),
                           run->test.x, 1));
}

float kernel_y(const struct kernel_run *run, int64_t token, int64_t column)
{
    const mglu_output *y = &run->args.y;
    float value;

    assert_ok(mglu_convert(element_at(y->data, y->byte_offset, token * y->row_stride + column, run->test.y),
                           run->test.y, &value, MGLU_DTYPE_F32, 1));
    return value;
}
