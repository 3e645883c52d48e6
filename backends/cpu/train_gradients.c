/* SPDX-License-Identifier: MIT */
#include "backends/cpu/train.h"

#include <string.h>

/*
 * The gradients of the gates: from the saved sums and dy to dt and the ds_i of a block of tokens, packed in two ways,
 * as the left factor of dx and, transposed, as that of the weight gradients; and what is summed of them on the way.
 */

/* A block of tokens x 32 rows of W, with room for its gradients. */
struct gate_block {
    int64_t token, row; /* of the chunk */
    int32_t tokens, rows;
    mglu_cpu_train_row t[MGLU_CPU_TRAIN_BLOCK], s[MGLU_CPU_TRAIN_BLOCK], dy[MGLU_CPU_TRAIN_BLOCK];
    mglu_cpu_train_row dt[MGLU_CPU_TRAIN_BLOCK], ds[MGLU_CPU_TRAIN_BLOCK];
};

/* The bias gradients of a block of tokens, from a row of the chunk on. */
static float *bias_sums(const struct mglu_cpu_train_call *call, int32_t of_value, int32_t mask, int64_t token,
                        int64_t row)
{
    const int64_t rows = mglu_cpu_pieces(call->rows, MGLU_CPU_TRAIN_BLOCK) * MGLU_CPU_TRAIN_BLOCK;
    const int64_t masks = call->train->products - 1;
    const int64_t line = (token / MGLU_CPU_TRAIN_BLOCK * 2 + of_value) * masks + mask;

    return (float *)(void *)(call->workspace + call->layout.bias) + line * rows + row;
}

static void load_saved(const struct mglu_cpu_train_call *call, const struct gate_block *block, int32_t product,
                       mglu_cpu_train_row *to)
{
    const mglu_train_desc *desc = &call->train->desc;
    const size_t bytes = mglu_dtype_size(desc->dtype);
    const int64_t line = product * call->batch + call->first_token + block->token;
    const char *from = (const char *)call->backward->saved +
                       (size_t)(line * desc->intermediate_size + call->first_row + block->row) * bytes;

    call->train->blocks->load[desc->dtype](from, (size_t)desc->intermediate_size * bytes, block->tokens, block->rows,
                                           to);
}

static void load_dy(const struct mglu_cpu_train_call *call, const struct gate_block *block, mglu_cpu_train_row *to)
{
    const mglu_dtype dtype = call->train->desc.dtype;
    const mglu_input *dy = &call->backward->dy;
    const char *from = mglu_cpu_element(dy->data, dy->byte_offset, dy->row_stride, call->first_token + block->token,
                                        call->first_row + block->row, mglu_dtype_size(dtype));

    call->train->blocks->load[dtype](from, (size_t)dy->row_stride * mglu_dtype_size(dtype), block->tokens, block->rows,
                                     to);
}

/* Packs the gradient of one product. */
static void pack(const struct mglu_cpu_train_call *call, const struct gate_block *block, int32_t product,
                 const mglu_cpu_train_row *gradient)
{
    const struct mglu_cpu_train *train = call->train;
    const int64_t row_blocks = mglu_cpu_pieces(call->rows, MGLU_CPU_TRAIN_BLOCK);
    const int64_t row_block = block->row / MGLU_CPU_TRAIN_BLOCK;
    mglu_cpu_train_row transposed[MGLU_CPU_TRAIN_BLOCK];

    if (call->backward->dx.data)
        mglu_cpu_train_pack_left(train, gradient, call->workspace + call->layout.d, train->products * row_blocks,
                                 block->token, call->tokens, product * row_blocks + row_block);
    if (!mglu_cpu_train_has_weight_gradients(call))
        return;
    train->blocks->transpose(gradient, transposed);
    mglu_cpu_train_pack_left(train, (const mglu_cpu_train_row *)transposed, mglu_cpu_train_rows_of(call, product),
                             mglu_cpu_pieces(call->tokens, MGLU_CPU_TRAIN_BLOCK), block->row, call->rows,
                             block->token / MGLU_CPU_TRAIN_BLOCK);
}

static void begin_bias_sums(const struct mglu_cpu_train_call *call, const struct gate_block *block, int32_t mask,
                            struct mglu_cpu_gates *job)
{
    job->gate_sums = bias_sums(call, 0, mask, block->token, block->row);
    job->value_sums = bias_sums(call, 1, mask, block->token, block->row);
    memset(job->gate_sums, 0, sizeof(mglu_cpu_train_row));
    memset(job->value_sums, 0, sizeof(mglu_cpu_train_row));
}

/* The gradients of all masks. The block's rows of bias gradients begin at zero, its dp are added to. */
static void compute(const struct mglu_cpu_train_call *call, struct gate_block *block)
{
    const struct mglu_cpu_train *train = call->train;
    mglu_cpu_train_row gate_bias, value_bias;
    struct mglu_cpu_gates job = {.tokens = block->tokens,
                                 .beta = train->desc.silu_beta,
                                 .t = (const mglu_cpu_train_row *)block->t,
                                 .s = (const mglu_cpu_train_row *)block->s,
                                 .dy = (const mglu_cpu_train_row *)block->dy,
                                 .gate_bias = gate_bias,
                                 .value_bias = value_bias,
                                 .dt = block->dt,
                                 .ds = block->ds};

    for (int32_t mask = 0; mask < train->desc.n_masks; mask++) {
        load_saved(call, block, 1 + mask, block->s);
        mglu_cpu_train_copy_bias(call, call->inputs->gate_bias, mask, block->row, gate_bias);
        mglu_cpu_train_copy_bias(call, call->inputs->value_bias, mask, block->row, value_bias);
        job.p = mglu_cpu_train_p(call, mask, block->token);
        job.dp = train->desc.top_k ? mglu_cpu_train_dp(call, mask, block->token) : NULL;
        if (train->desc.flags)
            begin_bias_sums(call, block, mask, &job);
        train->gates->backward[train->desc.activation](&job);
        pack(call, block, 1 + mask, (const mglu_cpu_train_row *)block->ds);
    }
    pack(call, block, 0, (const mglu_cpu_train_row *)block->dt);
}

void mglu_cpu_train_pack_gates(const struct mglu_cpu_train_call *call, int64_t token_block)
{
    struct gate_block block = {.token = token_block * MGLU_CPU_TRAIN_BLOCK};

    block.tokens = (int32_t)mglu_cpu_least(call->tokens - block.token, MGLU_CPU_TRAIN_BLOCK);
    for (; block.row < call->rows; block.row += MGLU_CPU_TRAIN_BLOCK) {
        block.rows = (int32_t)mglu_cpu_least(call->rows - block.row, MGLU_CPU_TRAIN_BLOCK);
        memset(block.dt, 0, sizeof block.dt);
        memset(block.ds, 0, sizeof block.ds);
        load_saved(call, &block, 0, block.t);
        load_dy(call, &block, block.dy);
        compute(call, &block);
    }
}

/* Adds up the bias gradients of all blocks of tokens, for one mask of the gate or the value bias. */
static void sum_bias(const struct mglu_cpu_train_call *call, int64_t index)
{
    const mglu_train_desc *desc = &call->train->desc;
    const int32_t mask = (int32_t)(index / 2), of_value = (int32_t)(index % 2);
    float *to = of_value ? call->backward->dvalue_bias : call->backward->dgate_bias;

    for (int64_t row = 0; to && row < call->rows; row++) {
        float *at = to + mask * desc->intermediate_size + call->first_row + row;
        float sum = mglu_cpu_train_adds(call) ? *at : 0;
        for (int64_t token = 0; token < call->tokens; token += MGLU_CPU_TRAIN_BLOCK)
            sum += bias_sums(call, of_value, mask, token, row)[0];
        *at = sum;
    }
}

void mglu_cpu_train_sum_biases(const struct mglu_cpu_train_call *call)
{
    if (call->backward->dgate_bias || call->backward->dvalue_bias)
        mglu_cpu_train_parallel(call, 2 * (call->train->products - 1), sum_bias);
}
