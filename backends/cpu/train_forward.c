/* SPDX-License-Identifier: MIT */
#include "backends/cpu/train.h"

#include <string.h>

/*
 * The forward of training. For each chunk of tokens, x is packed into left panels; for each chunk of rows, W and its
 * masked copies into right ones. A task multiplies some panels of tokens with all rows of the chunk; while the sums of
 * 32 rows are in the cache, it saves them and makes y of them.
 */

static char *x_panels(const struct mglu_cpu_train_call *call)
{
    return call->workspace + call->layout.x;
}

/* The right panel of a block of rows, for one product. */
static char *w_panel(const struct mglu_cpu_train_call *call, int64_t row_block, int32_t product)
{
    const struct mglu_cpu_train *train = call->train;

    return call->workspace + call->layout.w +
           (size_t)((row_block * train->products + product) * train->h_blocks) * mglu_cpu_right_bytes(train);
}

static void pack_x(const struct mglu_cpu_train_call *call, int64_t token_block)
{
    mglu_cpu_train_row block[MGLU_CPU_TRAIN_BLOCK];

    for (int64_t h_block = 0; h_block < call->train->h_blocks; h_block++) {
        mglu_cpu_train_load_x(call, token_block, h_block, block);
        mglu_cpu_train_pack_left(call->train, (const mglu_cpu_train_row *)block, x_panels(call), call->train->h_blocks,
                                 token_block * MGLU_CPU_TRAIN_BLOCK, call->tokens, h_block);
    }
}

static void pack_w(const struct mglu_cpu_train_call *call, int64_t row_block)
{
    const struct mglu_cpu_train *train = call->train;
    const size_t bytes = mglu_cpu_right_bytes(train);
    const int64_t row = row_block * MGLU_CPU_TRAIN_BLOCK;
    mglu_cpu_train_row block[MGLU_CPU_TRAIN_BLOCK], masked[MGLU_CPU_TRAIN_BLOCK], transposed[MGLU_CPU_TRAIN_BLOCK];

    for (int64_t h_block = 0; h_block < train->h_blocks; h_block++) {
        mglu_cpu_train_load_w(call, row, h_block, block);
        for (int32_t product = 0; product < train->products; product++) {
            mglu_cpu_train_mask_w(call, row, h_block, product, (const mglu_cpu_train_row *)block, masked);
            train->blocks->transpose((const mglu_cpu_train_row *)masked, transposed);
            train->panels->pack_right((const mglu_cpu_train_row *)transposed,
                                      w_panel(call, row_block, product) + (size_t)h_block * bytes);
        }
    }
}

/* A part of the work: panels of tokens from `first` on. */
struct task {
    int64_t first;
    int32_t panels;
    mglu_cpu_train_row *sums; /* [panel][product][panel_rows] */
};

static mglu_cpu_train_row *sums_of(const struct mglu_cpu_train *train, const struct task *task, int32_t panel,
                                   int32_t product)
{
    return task->sums + (size_t)(panel * train->products + product) * (size_t)train->panels->panel_rows;
}

/* All sums of a block of rows. Right panels are multiplied in parts that stay in the cache for all panels of tokens. */
static void multiply(const struct mglu_cpu_train_call *call, const struct task *task, int64_t row_block)
{
    const struct mglu_cpu_train *train = call->train;
    const size_t left_bytes = mglu_cpu_left_bytes(train), right_bytes = mglu_cpu_right_bytes(train);
    const int64_t groups = train->h_blocks, parts = mglu_cpu_parts(train, groups, train->x_chain);

    for (int64_t i = 0; i < parts; i++) {
        const struct mglu_cpu_part part = mglu_cpu_part(groups, parts, i);
        for (int32_t product = 0; product < train->products; product++) {
            const char *right = w_panel(call, row_block, product) + (size_t)part.first * right_bytes;
            const struct mglu_cpu_product job = {
                .left = x_panels(call) + (size_t)(task->first * groups + part.first) * left_bytes,
                .right = right,
                .left_stride = (size_t)groups * left_bytes,
                .panels = task->panels,
                .groups = part.count,
                .chain = train->x_chain,
                .add = i > 0,
                .sums = sums_of(train, task, 0, product),
                .sums_stride = (size_t)(train->products * train->panels->panel_rows),
                .next_right = right + (size_t)groups * right_bytes,
            };
            train->panels->multiply(&job);
        }
    }
}

/* The rows of a block in y, or in one of the saved sums. */
struct window {
    int64_t token; /* of the batch */
    int32_t tokens;
    int64_t row; /* of W */
    int32_t rows;
};

static void save(const struct mglu_cpu_train_call *call, const struct window *window, int32_t product,
                 const mglu_cpu_train_row *sums)
{
    const mglu_train_desc *desc = &call->train->desc;
    const size_t bytes = mglu_dtype_size(desc->dtype);
    const int64_t line = product * call->batch + window->token;
    char *to = (char *)call->forward->saved + (size_t)(line * desc->intermediate_size + window->row) * bytes;

    call->train->blocks->store[desc->dtype](sums, to, (size_t)desc->intermediate_size * bytes, window->tokens,
                                            window->rows);
}

static void write_y(const struct mglu_cpu_train_call *call, const struct window *window, const mglu_cpu_train_row *y)
{
    const mglu_dtype dtype = call->train->desc.dtype;
    const mglu_output *to = &call->forward->y;

    call->train->blocks->store[dtype](
        y,
        mglu_cpu_element(to->data, to->byte_offset, to->row_stride, window->token, window->row, mglu_dtype_size(dtype)),
        (size_t)to->row_stride * mglu_dtype_size(dtype), window->tokens, window->rows);
}

/* From the sums of one panel of tokens and a block of rows to `saved` and y. */
static void finish(const struct mglu_cpu_train_call *call, const struct task *task, int32_t panel, int64_t row_block)
{
    const struct mglu_cpu_train *train = call->train;
    const int64_t first = (task->first + panel) * train->panels->panel_rows, row = row_block * MGLU_CPU_TRAIN_BLOCK;
    const struct window window = {
        .token = call->first_token + first,
        .tokens = (int32_t)mglu_cpu_least(call->tokens - first, train->panels->panel_rows),
        .row = call->first_row + row,
        .rows = (int32_t)mglu_cpu_least(call->rows - row, MGLU_CPU_TRAIN_BLOCK),
    };
    mglu_cpu_train_row y[MGLU_CPU_MOST_PANEL_ROWS], gate_bias, value_bias;
    struct mglu_cpu_gates job = {.tokens = window.tokens,
                                 .beta = train->desc.silu_beta,
                                 .gate_bias = gate_bias,
                                 .value_bias = value_bias,
                                 .y = y};

    if (window.tokens <= 0)
        return;
    memset(y, 0, (size_t)train->panels->panel_rows * sizeof *y);
    for (int32_t product = 0; call->forward->saved && product < train->products; product++)
        save(call, &window, product, (const mglu_cpu_train_row *)sums_of(train, task, panel, product));
    for (int32_t mask = 0; mask < train->desc.n_masks; mask++) {
        mglu_cpu_train_copy_bias(call, call->inputs->gate_bias, mask, row, gate_bias);
        mglu_cpu_train_copy_bias(call, call->inputs->value_bias, mask, row, value_bias);
        job.t = (const mglu_cpu_train_row *)sums_of(train, task, panel, 0);
        job.s = (const mglu_cpu_train_row *)sums_of(train, task, panel, 1 + mask);
        job.p = mglu_cpu_train_p(call, mask, first);
        train->gates->forward[train->desc.activation](&job);
    }
    write_y(call, &window, (const mglu_cpu_train_row *)y);
}

static void compute(const struct mglu_cpu_train_call *call, int64_t index)
{
    const struct mglu_cpu_train *train = call->train;
    const int64_t panels = mglu_cpu_pieces(call->tokens, train->panels->panel_rows);
    struct task task = {.first = index * train->task_panels};

    task.panels = (int32_t)mglu_cpu_least(panels - task.first, train->task_panels);
    task.sums = (mglu_cpu_train_row *)(void *)(call->workspace + call->layout.sums) +
                (size_t)(task.first * train->products) * (size_t)train->panels->panel_rows;
    mglu_cpu_train_begin(train);
    for (int64_t row_block = 0; row_block < mglu_cpu_pieces(call->rows, MGLU_CPU_TRAIN_BLOCK); row_block++) {
        multiply(call, &task, row_block);
        for (int32_t panel = 0; panel < task.panels; panel++)
            finish(call, &task, panel, row_block);
    }
    mglu_cpu_train_end(train);
}

static void compute_tokens(struct mglu_cpu_train_call *call)
{
    const struct mglu_cpu_train *train = call->train;
    const int64_t d = train->desc.intermediate_size;
    const int64_t panels = mglu_cpu_pieces(call->tokens, train->panels->panel_rows);

    mglu_cpu_train_parallel(call, mglu_cpu_pieces(call->tokens, MGLU_CPU_TRAIN_BLOCK), pack_x);
    mglu_cpu_train_route(call);
    for (call->first_row = 0; call->first_row < d; call->first_row += call->rows) {
        call->rows = mglu_cpu_least(d - call->first_row, train->forward_rows);
        mglu_cpu_train_parallel(call, mglu_cpu_pieces(call->rows, MGLU_CPU_TRAIN_BLOCK), pack_w);
        mglu_cpu_train_parallel(call, mglu_cpu_pieces(panels, train->task_panels), compute);
    }
}

mglu_status mglu_cpu_train_forward(void *backend, void *train, void *queue, const mglu_train_forward_args *args)
{
    const struct mglu_cpu_train *self = train;
    struct mglu_cpu_train_call call = {
        .train = self,
        .inputs = &args->inputs,
        .forward = args,
        .batch = args->batch,
        .parallel = args->parallel,
        .workspace = args->workspace,
        .layout = mglu_cpu_train_lay_out_forward(self, args->batch),
    };

    for (; call.first_token < call.batch; call.first_token += call.tokens) {
        call.tokens = mglu_cpu_least(call.batch - call.first_token, self->forward_tokens);
        compute_tokens(&call);
    }
    return MGLU_OK;
}
