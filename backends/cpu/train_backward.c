/* SPDX-License-Identifier: MIT */
#include "backends/cpu/train.h"

/*
 * The backward of training. For each chunk of tokens and each chunk of rows of W: the gradients of the gates
 * (train_gradients.c) and the masked copies of W are packed; then some tasks multiply both and add the products to the
 * chunk's dx, and others multiply the transposed gradients with x, which makes the weight gradients of the chunk's
 * rows. Later chunks of tokens add to these.
 */

int mglu_cpu_train_has_weight_gradients(const struct mglu_cpu_train_call *call)
{
    return call->backward->dweight || call->backward->dlogits;
}

/* Whether gradients of parameters are added to what is there. */
int mglu_cpu_train_adds(const struct mglu_cpu_train_call *call)
{
    return call->first_token > 0 || call->backward->flags & MGLU_TRAIN_ACCUMULATE;
}

static int64_t token_blocks(const struct mglu_cpu_train_call *call)
{
    return mglu_cpu_pieces(call->tokens, MGLU_CPU_TRAIN_BLOCK);
}

static int64_t row_blocks(const struct mglu_cpu_train_call *call)
{
    return mglu_cpu_pieces(call->rows, MGLU_CPU_TRAIN_BLOCK);
}

static int64_t token_panels(const struct mglu_cpu_train_call *call)
{
    return mglu_cpu_pieces(call->tokens, call->train->panels->panel_rows);
}

static int64_t row_panels(const struct mglu_cpu_train_call *call)
{
    return mglu_cpu_pieces(call->rows, call->train->panels->panel_rows);
}

/* The transposed gradients of a product. */
char *mglu_cpu_train_rows_of(const struct mglu_cpu_train_call *call, int32_t product)
{
    const int64_t panels = mglu_cpu_left_panels(call->train, call->rows);

    return call->workspace + call->layout.d_transposed +
           (size_t)(product * panels * token_blocks(call)) * mglu_cpu_left_bytes(call->train);
}

static char *x_panel(const struct mglu_cpu_train_call *call, int64_t h_block)
{
    return call->workspace + call->layout.x +
           (size_t)(h_block * token_blocks(call)) * mglu_cpu_right_bytes(call->train);
}

static char *w_panel(const struct mglu_cpu_train_call *call, int64_t h_block)
{
    return call->workspace + call->layout.w +
           (size_t)(h_block * call->train->products * row_blocks(call)) * mglu_cpu_right_bytes(call->train);
}

static mglu_cpu_train_row *dx_sums(const struct mglu_cpu_train_call *call, int64_t panel, int64_t h_block)
{
    return (mglu_cpu_train_row *)(void *)(call->workspace + call->layout.dx) +
           (panel * call->train->h_blocks + h_block) * call->train->panels->panel_rows;
}

static void pack_x(const struct mglu_cpu_train_call *call, int64_t token_block)
{
    mglu_cpu_train_row block[MGLU_CPU_TRAIN_BLOCK];

    for (int64_t h_block = 0; h_block < call->train->h_blocks; h_block++) {
        mglu_cpu_train_load_x(call, token_block, h_block, block);
        call->train->panels->pack_right((const mglu_cpu_train_row *)block,
                                        x_panel(call, h_block) +
                                            (size_t)token_block * mglu_cpu_right_bytes(call->train));
    }
}

static void pack_w(const struct mglu_cpu_train_call *call, int64_t row_block)
{
    const struct mglu_cpu_train *train = call->train;
    const int64_t row = row_block * MGLU_CPU_TRAIN_BLOCK;
    mglu_cpu_train_row block[MGLU_CPU_TRAIN_BLOCK], masked[MGLU_CPU_TRAIN_BLOCK];

    for (int64_t h_block = 0; h_block < train->h_blocks; h_block++) {
        mglu_cpu_train_load_w(call, row, h_block, block);
        for (int32_t product = 0; product < train->products; product++) {
            const int64_t group = product * row_blocks(call) + row_block;
            mglu_cpu_train_mask_w(call, row, h_block, product, (const mglu_cpu_train_row *)block, masked);
            train->panels->pack_right((const mglu_cpu_train_row *)masked,
                                      w_panel(call, h_block) + (size_t)group * mglu_cpu_right_bytes(train));
        }
    }
}

/* The first tasks are blocks of tokens, the others blocks of rows. */
static void pack(const struct mglu_cpu_train_call *call, int64_t index)
{
    if (index < token_blocks(call))
        mglu_cpu_train_pack_gates(call, index);
    else
        pack_w(call, index - token_blocks(call));
}

/* Adds the products of the chunk's rows to dx of some panels of tokens. */
static void multiply_dx(const struct mglu_cpu_train_call *call, int64_t index)
{
    const struct mglu_cpu_train *train = call->train;
    const int64_t first = index * train->task_panels,
                  end = mglu_cpu_least(first + train->task_panels, token_panels(call));
    const int64_t groups = train->products * row_blocks(call), parts = mglu_cpu_parts(train, groups, train->dx_chain);
    const char *left = call->workspace + call->layout.d;

    for (int64_t h_block = 0; h_block < train->h_blocks; h_block++) {
        for (int64_t i = 0; i < parts; i++) {
            const struct mglu_cpu_part part = mglu_cpu_part(groups, parts, i);
            const char *right = w_panel(call, h_block) + (size_t)part.first * mglu_cpu_right_bytes(train);
            const struct mglu_cpu_product job = {
                .left = left + (size_t)(first * groups + part.first) * mglu_cpu_left_bytes(train),
                .right = right,
                .left_stride = (size_t)groups * mglu_cpu_left_bytes(train),
                .panels = end - first,
                .groups = part.count,
                .chain = train->dx_chain,
                .add = call->first_row > 0 || i > 0,
                .sums = dx_sums(call, first, h_block),
                .sums_stride = (size_t)(train->h_blocks * train->panels->panel_rows),
                .next_right = right + (size_t)part.count * mglu_cpu_right_bytes(train),
            };
            train->panels->multiply(&job);
        }
    }
}

/* Some panels of rows, and a block of columns of W. */
struct weight_task {
    int64_t first, end; /* panels of rows */
    int64_t h_block;
    mglu_cpu_train_row *sums; /* [panel][product][panel_rows] */
};

static mglu_cpu_train_row *weight_sums(const struct mglu_cpu_train *train, const struct weight_task *task,
                                       int64_t panel, int32_t product)
{
    return task->sums + ((panel - task->first) * train->products + product) * train->panels->panel_rows;
}

static void multiply_weights(const struct mglu_cpu_train_call *call, const struct weight_task *task)
{
    const struct mglu_cpu_train *train = call->train;
    const int64_t groups = token_blocks(call), parts = mglu_cpu_parts(train, groups, train->weight_chain);

    for (int64_t i = 0; i < parts; i++) {
        const struct mglu_cpu_part part = mglu_cpu_part(groups, parts, i);
        const char *right = x_panel(call, task->h_block) + (size_t)part.first * mglu_cpu_right_bytes(train);
        for (int32_t product = 0; product < train->products; product++) {
            const int64_t left = task->first * groups + part.first;
            const struct mglu_cpu_product job = {
                .left = mglu_cpu_train_rows_of(call, product) + (size_t)left * mglu_cpu_left_bytes(train),
                .right = right,
                .left_stride = (size_t)groups * mglu_cpu_left_bytes(train),
                .panels = task->end - task->first,
                .groups = part.count,
                .chain = train->weight_chain,
                .add = i > 0,
                .sums = weight_sums(train, task, task->first, product),
                .sums_stride = (size_t)(train->products * train->panels->panel_rows),
                .next_right = right + (size_t)part.count * mglu_cpu_right_bytes(train),
            };
            train->panels->multiply(&job);
        }
    }
}

static float *gradient_at(float *gradient, int64_t element)
{
    return gradient ? gradient + element : NULL;
}

/* From the sums of a panel of rows to dweight and dlogits. */
static void finish_weights(const struct mglu_cpu_train_call *call, const struct weight_task *task, int64_t panel)
{
    const struct mglu_cpu_train *train = call->train;
    const int64_t row = panel * train->panels->panel_rows, h = train->desc.hidden_size;
    const int64_t column = task->h_block * MGLU_CPU_TRAIN_BLOCK, element = (call->first_row + row) * h + column;
    mglu_cpu_train_row weight[MGLU_CPU_TRAIN_BLOCK];
    const struct mglu_cpu_train_gradients job = {
        .rows = (int32_t)mglu_cpu_least(call->rows - row, train->panels->panel_rows),
        .columns = (int32_t)mglu_cpu_least(h - column, MGLU_CPU_TRAIN_BLOCK),
        .n_masks = train->desc.n_masks,
        .add = mglu_cpu_train_adds(call),
        .sums = (const mglu_cpu_train_row *)weight_sums(train, task, panel, 0),
        .sums_gap = (size_t)train->panels->panel_rows,
        .weight = (const mglu_cpu_train_row *)weight,
        .masks = mglu_cpu_train_mask_words(call, row, task->h_block),
        .mask_stride = mglu_cpu_train_mask_stride(train),
        .dweight = gradient_at(call->backward->dweight, element),
        .dlogits = gradient_at(call->backward->dlogits, element),
        .row_stride = (size_t)h,
        .mask_gap = (size_t)(train->desc.intermediate_size * h),
    };

    mglu_cpu_train_load_w(call, row, task->h_block, weight);
    train->blocks->weight_gradients(&job);
}

static int64_t slices(const struct mglu_cpu_train *train)
{
    return mglu_cpu_pieces(train->h_blocks, MGLU_CPU_TRAIN_SLICE);
}

/* A task of weight gradients: some panels of rows, some blocks of columns. */
static void compute_weights(const struct mglu_cpu_train_call *call, int64_t index)
{
    const struct mglu_cpu_train *train = call->train;
    const int64_t slice = index % slices(train), last = (slice + 1) * MGLU_CPU_TRAIN_SLICE;
    struct weight_task task = {.first = index / slices(train) * train->row_task_panels};

    task.end = mglu_cpu_least(task.first + train->row_task_panels, row_panels(call));
    task.sums = (mglu_cpu_train_row *)(void *)(call->workspace + call->layout.sums) +
                index * train->row_task_panels * train->products * train->panels->panel_rows;
    for (task.h_block = slice * MGLU_CPU_TRAIN_SLICE; task.h_block < mglu_cpu_least(last, train->h_blocks);
         task.h_block++) {
        multiply_weights(call, &task);
        for (int64_t panel = task.first; panel < task.end; panel++)
            finish_weights(call, &task, panel);
    }
}

static int64_t dx_tasks(const struct mglu_cpu_train_call *call)
{
    return call->backward->dx.data ? mglu_cpu_pieces(token_panels(call), call->train->task_panels) : 0;
}

static int64_t weight_tasks(const struct mglu_cpu_train_call *call)
{
    if (!mglu_cpu_train_has_weight_gradients(call))
        return 0;
    return mglu_cpu_pieces(row_panels(call), call->train->row_task_panels) * slices(call->train);
}

static void multiply(const struct mglu_cpu_train_call *call, int64_t index)
{
    mglu_cpu_train_begin(call->train);
    if (index < dx_tasks(call))
        multiply_dx(call, index);
    else
        compute_weights(call, index - dx_tasks(call));
    mglu_cpu_train_end(call->train);
}

static void write_dx(const struct mglu_cpu_train_call *call, int64_t panel)
{
    const struct mglu_cpu_train *train = call->train;
    const mglu_dtype dtype = train->desc.dtype;
    const mglu_output *dx = &call->backward->dx;
    const int64_t token = panel * train->panels->panel_rows;

    for (int64_t h_block = 0; h_block < train->h_blocks; h_block++) {
        const int64_t column = h_block * MGLU_CPU_TRAIN_BLOCK;
        char *to = mglu_cpu_element(dx->data, dx->byte_offset, dx->row_stride, call->first_token + token, column,
                                    mglu_dtype_size(dtype));
        train->blocks->store[dtype]((const mglu_cpu_train_row *)dx_sums(call, panel, h_block), to,
                                    (size_t)dx->row_stride * mglu_dtype_size(dtype),
                                    (int32_t)mglu_cpu_least(call->tokens - token, train->panels->panel_rows),
                                    (int32_t)mglu_cpu_least(train->desc.hidden_size - column, MGLU_CPU_TRAIN_BLOCK));
    }
}

static void compute_tokens(struct mglu_cpu_train_call *call)
{
    const int64_t d = call->train->desc.intermediate_size;

    if (mglu_cpu_train_has_weight_gradients(call))
        mglu_cpu_train_parallel(call, token_blocks(call), pack_x);
    mglu_cpu_train_route(call);
    for (call->first_row = 0; call->first_row < d; call->first_row += call->rows) {
        call->rows = mglu_cpu_least(d - call->first_row, call->train->backward_rows);
        mglu_cpu_train_parallel(call, token_blocks(call) + (call->backward->dx.data ? row_blocks(call) : 0), pack);
        mglu_cpu_train_sum_biases(call);
        mglu_cpu_train_parallel(call, dx_tasks(call) + weight_tasks(call), multiply);
    }
    mglu_cpu_train_router_gradients(call);
    if (call->backward->dx.data)
        mglu_cpu_train_parallel(call, token_panels(call), write_dx);
}

mglu_status mglu_cpu_train_backward(void *backend, void *train, void *queue, const mglu_train_backward_args *args)
{
    const struct mglu_cpu_train *self = train;
    struct mglu_cpu_train_call call = {
        .train = self,
        .inputs = &args->inputs,
        .backward = args,
        .batch = args->batch,
        .parallel = args->parallel,
        .workspace = args->workspace,
        .layout = mglu_cpu_train_lay_out_backward(self, args->batch),
    };

    for (; call.first_token < call.batch; call.first_token += call.tokens) {
        call.tokens = mglu_cpu_least(call.batch - call.first_token, self->backward_tokens);
        compute_tokens(&call);
    }
    return MGLU_OK;
}
