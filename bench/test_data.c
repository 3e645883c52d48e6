/* SPDX-License-Identifier: MIT */
#include "test_data.h"

#include "draw.h"
#include "tools/common/report.h"

#include <stdlib.h>

/* Deviations of weights and inputs are those of trained models, about. */
static const double weight_deviation = 0.05, x_deviation = 1;

static bool draw_matrices(struct material *material, struct shape shape, mglu_dtype dtype)
{
    struct random random = {.state = 1};
    const size_t count = (size_t)shape.d * (size_t)shape.h, size = mglu_dtype_size(dtype);
    material_free(material);
    material->weight = report_allocate(count, size);
    material->value = report_allocate(count, size);
    material->masks = report_allocate(mglu_packed_mask_size(MGLU_MAX_MASKS, shape.d, shape.h), 1);
    if (!material->weight || !material->value || !material->masks)
        return false;
    draw_normal(&random, weight_deviation, dtype, material->weight, count);
    draw_normal(&random, weight_deviation, dtype, material->value, count);
    material->shape = shape;
    material->dtype = dtype;
    return true;
}

static bool draw_inputs(struct material *material, const struct problem *problem, const struct compute *compute)
{
    struct random random = {.state = 2};
    const struct shape shape = problem->shape;
    const int64_t outputs = shape.d > shape.h ? shape.d : shape.h;
    const size_t size = mglu_dtype_size(problem->x_dtype), count = (size_t)problem->batch * (size_t)shape.h;
    mglu_memory_destroy(&material->x_memory);
    mglu_memory_destroy(&material->y_memory);
    free(material->x);
    material->x = report_allocate(count, size);
    if (!material->x)
        return false;
    draw_normal(&random, x_deviation, problem->x_dtype, material->x, count);
    return (mglu_memory_create(compute->device, count * size, &material->x_memory) == MGLU_OK &&
            mglu_memory_create(compute->device, (size_t)problem->batch * (size_t)outputs * size, &material->y_memory) ==
                MGLU_OK &&
            mglu_memory_write(material->x_memory, compute->queue, 0, material->x, count * size) == MGLU_OK) ||
           report_library("inputs");
}

bool material_draw(struct material *material, const struct problem *problem, const struct compute *compute)
{
    const mglu_dtype dtype = mglu_dtype_size(problem->dtype) ? problem->dtype : MGLU_DTYPE_F32;
    const struct shape shape = problem->shape;
    const bool same =
        material->weight && material->dtype == dtype && material->shape.d == shape.d && material->shape.h == shape.h;
    return (same || draw_matrices(material, shape, dtype)) && draw_inputs(material, problem, compute);
}

void material_free(struct material *material)
{
    mglu_memory_destroy(&material->x_memory);
    mglu_memory_destroy(&material->y_memory);
    free(material->weight);
    free(material->value);
    free(material->masks);
    free(material->x);
    *material = (struct material){0};
}
