/* SPDX-License-Identifier: MIT */
#include "backends/cpu/train.h"

#include <string.h>

/* Reading and packing the blocks of a chunk. */

static char *left_line(const struct mglu_cpu_train *train, char *panels, int64_t groups, int64_t row, int64_t group)
{
    const int64_t panel_rows = train->panels->panel_rows, panel = row / panel_rows, in_panel = row % panel_rows;
    const size_t bytes = mglu_cpu_left_bytes(train), line = bytes / (size_t)panel_rows;

    return panels + (size_t)(panel * groups + group) * bytes + (size_t)in_panel * line;
}

/* A block of rows of left panels, which may be in several. The last block is followed by zeros to its panel's end. */
void mglu_cpu_train_pack_left(const struct mglu_cpu_train *train, const mglu_cpu_train_row *block, char *panels,
                              int64_t groups, int64_t row, int64_t rows, int64_t group)
{
    static const mglu_cpu_train_row zeros;
    const int64_t end = row + MGLU_CPU_TRAIN_BLOCK;

    for (int64_t i = row; i < end; i++)
        train->panels->pack_left(block[i - row], left_line(train, panels, groups, i, group));
    for (int64_t i = end; end >= rows && i % train->panels->panel_rows != 0; i++)
        train->panels->pack_left(zeros, left_line(train, panels, groups, i, group));
}

static int32_t in_block(int64_t first, int64_t count)
{
    return (int32_t)mglu_cpu_least(count - first, MGLU_CPU_TRAIN_BLOCK);
}

/* Columns of W in a block. */
static int32_t block_columns(const struct mglu_cpu_train_call *call, int64_t h_block)
{
    return in_block(h_block * MGLU_CPU_TRAIN_BLOCK, call->train->desc.hidden_size);
}

void mglu_cpu_train_load_x(const struct mglu_cpu_train_call *call, int64_t token_block, int64_t h_block,
                           mglu_cpu_train_row *block)
{
    const mglu_dtype dtype = call->train->desc.dtype;
    const mglu_input *x = &call->inputs->x;
    const int64_t token = token_block * MGLU_CPU_TRAIN_BLOCK;
    const char *from = mglu_cpu_element(x->data, x->byte_offset, x->row_stride, call->first_token + token,
                                        h_block * MGLU_CPU_TRAIN_BLOCK, mglu_dtype_size(dtype));

    call->train->blocks->load[dtype](from, (size_t)x->row_stride * mglu_dtype_size(dtype),
                                     in_block(token, call->tokens), block_columns(call, h_block), block);
}

/* Rows of W from `row` of the chunk on. */
void mglu_cpu_train_load_w(const struct mglu_cpu_train_call *call, int64_t row, int64_t h_block,
                           mglu_cpu_train_row *block)
{
    const mglu_array *weight = &call->inputs->weight;
    const char *from = (const char *)weight->data + (size_t)(call->first_row + row) * weight->stride_bytes +
                       (size_t)h_block * MGLU_CPU_TRAIN_BLOCK * mglu_dtype_size(weight->dtype);

    call->train->blocks->load[weight->dtype](from, weight->stride_bytes, in_block(row, call->rows),
                                             block_columns(call, h_block), block);
}

/* Words from row to row of masks. */
size_t mglu_cpu_train_mask_stride(const struct mglu_cpu_train *train)
{
    return (size_t)mglu_format_mask_word(1, 0, 0, (mglu_index)train->h_blocks, (mglu_u32)train->desc.n_masks);
}

const uint32_t *mglu_cpu_train_mask_words(const struct mglu_cpu_train_call *call, int64_t row, int64_t h_block)
{
    return (const uint32_t *)call->inputs->masks.data +
           mglu_format_mask_word((mglu_index)(call->first_row + row), (mglu_index)h_block, 0,
                                 (mglu_index)call->train->h_blocks, (mglu_u32)call->train->desc.n_masks);
}

/* The weights of a product: all of them for product 0, those of mask i for product 1 + i. */
void mglu_cpu_train_mask_w(const struct mglu_cpu_train_call *call, int64_t row, int64_t h_block, int32_t product,
                           const mglu_cpu_train_row *block, mglu_cpu_train_row *masked)
{
    const struct mglu_cpu_train *train = call->train;

    if (product == 0)
        memcpy(masked, block, MGLU_CPU_TRAIN_BLOCK * sizeof *block);
    else
        train->blocks->mask(block, mglu_cpu_train_mask_words(call, row, h_block) + product - 1,
                            mglu_cpu_train_mask_stride(train), in_block(row, call->rows), masked);
}

/* The biases of 32 rows from `row` of the chunk on; zeros where there are none. */
void mglu_cpu_train_copy_bias(const struct mglu_cpu_train_call *call, const float *bias, int32_t mask, int64_t row,
                              float *padded)
{
    const int64_t d = call->train->desc.intermediate_size;
    const int32_t count = bias ? in_block(row, call->rows) : 0;

    memset(padded, 0, sizeof(mglu_cpu_train_row));
    if (count > 0)
        memcpy(padded, bias + mask * d + call->first_row + row, (size_t)count * sizeof *bias);
}

struct loop {
    const struct mglu_cpu_train_call *call;
    void (*body)(const struct mglu_cpu_train_call *call, int64_t index);
};

static void run_body(void *argument, int64_t index)
{
    const struct loop *loop = argument;

    loop->body(loop->call, index);
}

void mglu_cpu_train_parallel(const struct mglu_cpu_train_call *call, int64_t count,
                             void (*body)(const struct mglu_cpu_train_call *call, int64_t index))
{
    struct loop loop = {call, body};

    mglu_cpu_run_tasks(call->parallel, count, count > 1, run_body, &loop);
}
