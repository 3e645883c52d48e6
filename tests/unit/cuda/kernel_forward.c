/* SPDX-License-Identifier: MIT */
#include "tests/unit/cuda/kernels.h"

#include "backends/cuda/kernels/retile.h"
#include "backends/cuda/kernels/ring_plan.h"
#include "tests/unit/cuda/shim/shim.h"

#include <stdio.h>

/* What the host side of the backend does. */

static uint64_t address_of(const void *memory)
{
    return (uint64_t)(uintptr_t)memory;
}

static mglu_dtype dtype_of(const struct kernel_run *run)
{
    return run->test.quantised ? run->test.quantised : run->sample.desc.dtype;
}

/* A matrix of the sample in q8_0 or q4_0, in the packed format. */
static mglu_packed_matrix quantise(const mglu_array *array, mglu_dtype dtype, int64_t rows, int64_t columns,
                                   const void **scales)
{
    const int64_t groups = (columns + 31) / 32, group_bytes = dtype == MGLU_DTYPE_Q8_0 ? 32 : 16;
    mglu_packed_matrix packed = {.stride_bytes = (size_t)(groups * group_bytes)};
    uint8_t *data;
    uint16_t *f16;

    if (!array->data)
        return packed;
    data = kernel_memory((size_t)rows * packed.stride_bytes);
    f16 = kernel_memory((size_t)(rows * groups) * sizeof *f16);
    memset(data, 0, (size_t)rows * packed.stride_bytes);
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t row = i / columns, column = i % columns, group = row * groups + column / 32;
        const float scale = kernel_scale(dtype, row, column / 32);
        const int quant = (int)(((const float *)array->data)[i] / scale);
        uint8_t *to = data + group * group_bytes;

        assert_ok(mglu_convert(&scale, MGLU_DTYPE_F32, &f16[group], MGLU_DTYPE_F16, 1));
        if (dtype == MGLU_DTYPE_Q8_0)
            to[column % 32] = (uint8_t)quant;
        else
            to[column % 16] |= (uint8_t)((quant + 8) << (column % 32 / 16 * 4));
    }
    packed.data = data;
    *scales = f16;
    return packed;
}

/* A matrix of the sample in the packed format. */
static mglu_packed_matrix pack(const mglu_array *array, int64_t rows, int64_t columns)
{
    const size_t row_bytes = (size_t)columns * mglu_dtype_size(array->dtype);
    mglu_packed_matrix packed = {.stride_bytes = mglu_packed_weight_stride_bytes(array->dtype, columns)};
    char *data;

    if (!array->data)
        return packed;
    data = kernel_memory((size_t)rows * packed.stride_bytes);
    memset(data, 0, (size_t)rows * packed.stride_bytes);
    for (int64_t row = 0; row < rows; row++)
        memcpy(data + (size_t)row * packed.stride_bytes, (const char *)array->data + (size_t)row * row_bytes,
               row_bytes);
    packed.data = data;
    return packed;
}

static float *as_floats(const mglu_array *array, size_t count)
{
    float *floats = array->data ? kernel_memory(count * sizeof *floats) : NULL;

    if (floats)
        assert_ok(mglu_convert(array->data, array->dtype, floats, MGLU_DTYPE_F32, count));
    return floats;
}

/* Puts up to two matrices of the sample into `matrix`, in the dtypes of the test. */
static void set_planes(const struct kernel_run *run, const mglu_array *first, const mglu_array *second,
                       struct mglu_cuda_matrix *matrix)
{
    const mglu_array *const arrays[2] = {first, second};

    matrix->dtype = dtype_of(run);
    for (int i = 0; i < 2; i++) {
        if (run->test.quantised)
            matrix->plane[i] = quantise(arrays[i], matrix->dtype, matrix->rows, matrix->columns, &matrix->scales[i]);
        else
            matrix->plane[i] = pack(arrays[i], matrix->rows, matrix->columns);
    }
}

/* The matrix in the layout of the device. Its packed form is freed. */
static void *arrange(struct mglu_cuda_matrix *matrix)
{
    void *tiles = kernel_memory((size_t)mglu_cuda_matrix_bytes(matrix));

    mglu_cuda_retile(matrix, 0, mglu_tile_strips(matrix->rows), tiles);
    for (int i = 0; i < 2; i++) {
        free((void *)(uintptr_t)matrix->plane[i].data);
        free((void *)(uintptr_t)matrix->scales[i]);
    }
    free((void *)(uintptr_t)matrix->masks);
    return tiles;
}

static void *arrange_projection(const struct kernel_run *run, uint32_t *block_bytes)
{
    const mglu_weights_desc *desc = &run->sample.desc;
    const int64_t h = desc->hidden_size, d = desc->intermediate_size;
    struct mglu_cuda_matrix matrix = {.n_masks = (uint32_t)desc->n_masks, .rows = d, .columns = h};

    set_planes(run, &desc->weight, &desc->value_weight, &matrix);
    if (desc->n_masks) {
        uint32_t *masks = kernel_memory(mglu_packed_mask_size(desc->n_masks, d, h));
        assert_ok(mglu_pack_masks(&desc->masks, desc->n_masks, d, h, masks));
        matrix.masks = masks;
    }
    *block_bytes = mglu_tile_block_bytes(matrix.dtype, desc->n_masks ? 1 : 2, matrix.n_masks);
    return arrange(&matrix);
}

static void launch(const char *symbol, struct mglu_cuda_launch launch, const void *argument)
{
    mglu_shim_launch(symbol, launch.grid_x, launch.grid_y, launch.block_x, launch.shared_bytes, argument);
}

/* On a device with one multiprocessor, so that blocks of threads take several strips. */
static struct mglu_cuda_launch ring_launch(const struct kernel_run *run, struct mglu_cuda_variant variant,
                                           uint32_t warps, struct mglu_cuda_projection *projection)
{
    const struct mglu_cuda_ring_device device = {1, run->test.ring_shared ? run->test.ring_shared : 100 << 10};
    const struct mglu_cuda_ring_plan plan = mglu_cuda_ring_plan(device, variant.form, warps, projection->block_bytes);

    assert_true(plan.depth > 0);
    projection->ring_depth = plan.depth;
    return mglu_cuda_ring_launch(device, plan, projection->rows);
}

static void launch_projection(const struct kernel_run *run, struct mglu_cuda_variant variant,
                              struct mglu_cuda_projection *projection)
{
    uint32_t warps =
        run->test.warps ? run->test.warps : mglu_cuda_warps(variant, projection->rows, projection->columns, 1);
    struct mglu_cuda_launch geometry = mglu_cuda_projection_launch(variant, warps, projection->rows, projection->batch);
    char symbol[64];

    assert_true(mglu_cuda_variant_exists(variant));
    if (variant.engine == MGLU_CUDA_RING)
        geometry = ring_launch(run, variant, warps, projection);
    if (run->test.grid_y && run->test.grid_y < geometry.grid_y)
        geometry.grid_y = run->test.grid_y;
    snprintf(symbol, sizeof symbol, "mglu_%s_%s_x%s_%s", mglu_cuda_engine_name(variant.engine),
             mglu_dtype_name(variant.weights), mglu_cuda_x_name(variant), mglu_cuda_form_name(variant.form));
    launch(symbol, geometry, projection);
}

static void route(struct kernel_run *run, const float *router, int32_t *ids, float *p)
{
    const mglu_input *x = &run->args.x;
    const struct mglu_cuda_routing routing = {.x = address_of(x->data) + x->byte_offset,
                                              .router = address_of(router),
                                              .given_ids = address_of(run->args.routing_ids.data),
                                              .given_weights = address_of(run->args.routing_weights.data),
                                              .mask_ids = address_of(ids),
                                              .mask_weights = address_of(p),
                                              .bad_routing = address_of(&run->bad_routing),
                                              .x_stride = x->row_stride,
                                              .ids_stride = run->args.routing_ids.row_stride,
                                              .weights_stride = run->args.routing_weights.row_stride,
                                              .router_stride = run->test.shape.h,
                                              .batch = run->test.batch,
                                              .columns = (uint32_t)run->test.shape.h,
                                              .n_masks = run->test.shape.n_masks,
                                              .top_k = run->test.top_k,
                                              .x_dtype = (int32_t)run->test.x};

    launch(MGLU_CUDA_ROUTE_SYMBOL, mglu_cuda_route_launch(run->test.batch), &routing);
}

/* The up-projection's arguments except routing, biases and y. */
static struct mglu_cuda_projection projection_of(const struct kernel_run *run, const void *tiles, uint32_t block_bytes)
{
    const mglu_input *x = &run->args.x;

    return (struct mglu_cuda_projection){.x = address_of(x->data) + x->byte_offset,
                                         .weights = address_of(tiles),
                                         .x_stride = x->row_stride,
                                         .batch = run->test.batch,
                                         .rows = (uint32_t)run->test.shape.d,
                                         .columns = (uint32_t)run->test.shape.h,
                                         .block_bytes = block_bytes,
                                         .terms = run->test.top_k                ? run->test.top_k
                                                  : run->sample.desc.n_masks > 0 ? run->sample.desc.n_masks
                                                                                 : 1,
                                         .x_dtype = (int32_t)run->test.x,
                                         .activation = (int32_t)run->test.activation,
                                         .silu_beta = run->layer.silu_beta};
}

static void set_output(const struct kernel_run *run, struct mglu_cuda_projection *projection)
{
    const mglu_input *residual = &run->args.residual;

    projection->y = address_of(run->args.y.data) + run->args.y.byte_offset;
    projection->y_stride = run->args.y.row_stride;
    projection->y_dtype = (int32_t)run->test.y;
    projection->residual = residual->data ? address_of(residual->data) + residual->byte_offset : 0;
    projection->residual_stride = residual->row_stride;
}

/* y from z, which it frees. */
static void project_down(const struct kernel_run *run, float *z)
{
    const mglu_weights_desc *desc = &run->sample.desc;
    const int64_t d = desc->intermediate_size, out = desc->output_size;
    const mglu_array none = {0};
    struct mglu_cuda_matrix matrix = {.rows = out, .columns = d};
    void *tiles;
    float *bias = as_floats(&desc->down_bias, (size_t)out);
    struct mglu_cuda_projection down = {.x = address_of(z),
                                        .gate_bias = address_of(bias),
                                        .x_stride = d,
                                        .batch = run->test.batch,
                                        .rows = (uint32_t)out,
                                        .columns = (uint32_t)d,
                                        .block_bytes = mglu_tile_block_bytes(dtype_of(run), 1, 0),
                                        .terms = 1,
                                        .x_dtype = MGLU_DTYPE_F32};

    set_planes(run, &desc->down, &none, &matrix);
    tiles = arrange(&matrix);
    down.weights = address_of(tiles);
    set_output(run, &down);
    launch_projection(run, (struct mglu_cuda_variant){MGLU_CUDA_SIMT, dtype_of(run), MGLU_CUDA_X_F32, MGLU_CUDA_SUM},
                      &down);
    free(tiles);
    free(bias);
    free(z);
}

static struct mglu_cuda_variant variant_of(const struct kernel_run *run, int32_t terms)
{
    const mglu_weights_desc *desc = &run->sample.desc;

    return (struct mglu_cuda_variant){.engine = run->test.engine,
                                      .weights = dtype_of(run),
                                      .x = mglu_cuda_x_of(dtype_of(run), run->test.x),
                                      .form = desc->n_masks ? mglu_cuda_form_of_terms(terms) : MGLU_CUDA_GLU};
}

void kernel_forward(struct kernel_run *run)
{
    const mglu_weights_desc *desc = &run->sample.desc;
    const size_t d = (size_t)desc->intermediate_size, biases = d * (size_t)(desc->n_masks ? desc->n_masks : 1);
    const size_t batch = (size_t)run->test.batch, choices = batch * (size_t)run->test.top_k;
    uint32_t block_bytes;
    void *tiles = arrange_projection(run, &block_bytes);
    float *gate_bias = as_floats(&desc->gate_bias, biases), *value_bias = as_floats(&desc->value_bias, biases);
    float *router = as_floats(&desc->router, (size_t)(desc->n_masks * desc->hidden_size));
    int32_t *ids = kernel_memory(choices * sizeof *ids);
    float *p = kernel_memory(choices * sizeof *p);
    float *z = run->test.shape.parts & WITH_DOWN ? kernel_memory(batch * d * sizeof *z) : NULL;
    struct mglu_cuda_projection projection = projection_of(run, tiles, block_bytes);

    projection.gate_bias = address_of(gate_bias);
    projection.value_bias = address_of(value_bias);
    if (run->test.top_k) {
        route(run, router, ids, p);
        projection.mask_ids = address_of(ids);
        projection.mask_weights = address_of(p);
    }
    set_output(run, &projection);
    if (z) {
        projection.y = address_of(z);
        projection.y_stride = (int64_t)d;
        projection.y_dtype = MGLU_DTYPE_F32;
        projection.residual = 0;
    }
    if (d > 0)
        launch_projection(run, variant_of(run, projection.terms), &projection);
    if (z)
        project_down(run, z);
    free(tiles);
    free(gate_bias);
    free(value_bias);
    free(router);
    free(ids);
    free(p);
}
