/* SPDX-License-Identifier: MIT */
#include "test_data.h"

#include "draw.h"
#include "tools/common/report.h"

#include <stdlib.h>

/* Standard deviations of weights and inputs: about those of trained models. */
static const double weight_deviation = 0.05, x_deviation = 1;

static bool draw_matrices(struct test_data *test_data, struct shape shape, mglu_dtype dtype)
{
    struct random random = {.state = 1};
    const size_t count = (size_t)shape.d * (size_t)shape.h, size = mglu_dtype_size(dtype);
    test_data_free(test_data);
    test_data->weight = report_allocate(count, size);
    test_data->value = report_allocate(count, size);
    test_data->masks = report_allocate(mglu_packed_mask_size(MGLU_MAX_MASKS, shape.d, shape.h), 1);
    if (!test_data->weight || !test_data->value || !test_data->masks)
        return false;
    draw_normal(&random, weight_deviation, dtype, test_data->weight, count);
    draw_normal(&random, weight_deviation, dtype, test_data->value, count);
    test_data->shape = shape;
    test_data->dtype = dtype;
    return true;
}

static bool draw_inputs(struct test_data *test_data, const struct problem *problem, const struct compute *compute)
{
    struct random random = {.state = 2};
    const struct shape shape = problem->shape;
    const int64_t outputs = shape.d > shape.h ? shape.d : shape.h;
    const size_t size = mglu_dtype_size(problem->x_dtype), count = (size_t)problem->batch * (size_t)shape.h;
    mglu_memory_destroy(&test_data->x_memory);
    mglu_memory_destroy(&test_data->y_memory);
    free(test_data->x);
    test_data->x = report_allocate(count, size);
    if (!test_data->x)
        return false;
    draw_normal(&random, x_deviation, problem->x_dtype, test_data->x, count);
    return (mglu_memory_create(compute->device, count * size, &test_data->x_memory) == MGLU_OK &&
            mglu_memory_create(compute->device, (size_t)problem->batch * (size_t)outputs * size,
                               &test_data->y_memory) == MGLU_OK &&
            mglu_memory_write(test_data->x_memory, compute->queue, 0, test_data->x, count * size) == MGLU_OK) ||
           report_library("inputs");
}

bool test_data_draw(struct test_data *test_data, const struct problem *problem, const struct compute *compute)
{
    const mglu_dtype dtype = mglu_dtype_size(problem->dtype) ? problem->dtype : MGLU_DTYPE_F32;
    const struct shape shape = problem->shape;
    const bool same = test_data->weight && test_data->dtype == dtype && test_data->shape.d == shape.d &&
                      test_data->shape.h == shape.h;
    return (same || draw_matrices(test_data, shape, dtype)) && draw_inputs(test_data, problem, compute);
}

void test_data_free(struct test_data *test_data)
{
    mglu_memory_destroy(&test_data->x_memory);
    mglu_memory_destroy(&test_data->y_memory);
    free(test_data->weight);
    free(test_data->value);
    free(test_data->masks);
    free(test_data->x);
    *test_data = (struct test_data){0};
}
