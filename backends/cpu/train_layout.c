/* SPDX-License-Identifier: MIT */
#include "backends/cpu/train.h"

/* The workspace of training. */

static size_t padded(int64_t count)
{
    return (size_t)mglu_cpu_pieces(count, MGLU_CPU_TRAIN_BLOCK) * MGLU_CPU_TRAIN_BLOCK;
}

/* Sums of a left panel and 32 columns, for each product. */
static size_t sum_bytes(const struct mglu_cpu_train *train)
{
    return (size_t)train->products * (size_t)train->panels->panel_rows * sizeof(mglu_cpu_train_row);
}

static size_t routing_bytes(const struct mglu_cpu_train *train, int64_t tokens)
{
    return (size_t)train->desc.n_masks * padded(tokens) * sizeof(float);
}

struct mglu_cpu_train_layout mglu_cpu_train_lay_out_forward(const struct mglu_cpu_train *train, int64_t batch)
{
    const int64_t tokens = mglu_cpu_least(batch, train->forward_tokens);
    const size_t panels = (size_t)mglu_cpu_left_panels(train, tokens), h = (size_t)train->h_blocks;
    const size_t row_blocks = padded(train->forward_rows) / MGLU_CPU_TRAIN_BLOCK;
    struct mglu_cpu_train_layout layout = {0};

    layout.x = mglu_cpu_reserve(&layout.size, panels * h * mglu_cpu_left_bytes(train));
    layout.w = mglu_cpu_reserve(&layout.size, row_blocks * (size_t)train->products * h * mglu_cpu_right_bytes(train));
    layout.p = mglu_cpu_reserve(&layout.size, train->desc.top_k ? routing_bytes(train, tokens) : 0);
    layout.sums = mglu_cpu_reserve(&layout.size, panels * sum_bytes(train));
    return layout;
}

struct mglu_cpu_train_layout mglu_cpu_train_lay_out_backward(const struct mglu_cpu_train *train, int64_t batch)
{
    const int64_t tokens = mglu_cpu_least(batch, train->backward_tokens), rows = train->backward_rows;
    const size_t h = (size_t)train->h_blocks, products = (size_t)train->products;
    const size_t token_blocks = padded(tokens) / MGLU_CPU_TRAIN_BLOCK, row_blocks = padded(rows) / MGLU_CPU_TRAIN_BLOCK;
    const size_t token_panels = (size_t)mglu_cpu_left_panels(train, tokens);
    const size_t row_panels = (size_t)mglu_cpu_left_panels(train, rows);
    const size_t task_panels =
        (size_t)(mglu_cpu_pieces((int64_t)row_panels, train->row_task_panels) * train->row_task_panels);
    const size_t slices = (size_t)mglu_cpu_pieces(train->h_blocks, MGLU_CPU_TRAIN_SLICE);
    struct mglu_cpu_train_layout layout = {0};

    layout.x = mglu_cpu_reserve(&layout.size, h * token_blocks * mglu_cpu_right_bytes(train));
    layout.w = mglu_cpu_reserve(&layout.size, h * products * row_blocks * mglu_cpu_right_bytes(train));
    layout.d = mglu_cpu_reserve(&layout.size, token_panels * products * row_blocks * mglu_cpu_left_bytes(train));
    layout.d_transposed =
        mglu_cpu_reserve(&layout.size, row_panels * products * token_blocks * mglu_cpu_left_bytes(train));
    layout.dx = mglu_cpu_reserve(&layout.size,
                                 token_panels * h * (size_t)train->panels->panel_rows * sizeof(mglu_cpu_train_row));
    layout.sums = mglu_cpu_reserve(&layout.size, task_panels * slices * sum_bytes(train));
    layout.p = mglu_cpu_reserve(&layout.size, train->desc.top_k ? routing_bytes(train, tokens) : 0);
    layout.dp = mglu_cpu_reserve(&layout.size, routing_bytes(train, tokens));
    layout.bias = mglu_cpu_reserve(&layout.size, train->desc.flags ? token_blocks * 2 * (products - 1) * row_blocks *
                                                                         sizeof(mglu_cpu_train_row)
                                                                   : 0);
    return layout;
}
