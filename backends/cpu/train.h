/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_TRAIN_H
#define MGLU_CPU_TRAIN_H

#include "backends/cpu/cpu.h"
#include "backends/cpu/kernels/train.h"

/*
 * Training: products of packed panels (kernels/train.h), of chunks of tokens and of rows of W, so that the workspace
 * is bounded. Each element of a result is computed by one task, in an order that depends on the plan alone.
 */

/* The plan: what depends on the desc and on the instruction set. */
struct mglu_cpu_train {
    const struct mglu_cpu_backend *backend;
    mglu_train_desc desc;
    const struct mglu_cpu_train_blocks *blocks;
    const struct mglu_cpu_train_gates *gates;
    const struct mglu_cpu_train_panels *panels;
    int64_t h_blocks;                     /* of 32 columns of W */
    int32_t products;                     /* 1 + n_masks: t and the s_i */
    int64_t forward_tokens, forward_rows; /* of a chunk, in whole blocks */
    int64_t backward_tokens, backward_rows;
    int64_t x_chain, dx_chain, weight_chain; /* groups of a chain in the products of forward, of dx and of dweight */
    int32_t task_panels;                     /* left panels of a task of tokens, or of a task of rows in backward */
    int32_t row_task_panels;                 /* the same of rows of W, in the products of weight gradients */
};

/* Offsets in the workspace, which forward and backward lay out each for itself. */
struct mglu_cpu_train_layout {
    size_t x;            /* left panels [tokens][h] in forward, right panels in backward */
    size_t w;            /* right panels: forward [row block][product][h], backward [h block][product][rows] */
    size_t p;            /* f32 [mask][token of the chunk] */
    size_t sums;         /* of each task */
    size_t d;            /* left panels of dt and the ds_i: [tokens][product][rows] */
    size_t d_transposed; /* [product][rows][tokens] */
    size_t dx;           /* f32 [panel of tokens][h block][panel_rows][32] */
    size_t dp;           /* f32 [mask][token] */
    size_t bias;         /* f32 [block of tokens][2][mask][row of the chunk] */
    size_t size;
};

/* A forward or backward call, at one of its chunks. */
struct mglu_cpu_train_call {
    const struct mglu_cpu_train *train;
    const mglu_train_inputs *inputs;
    const mglu_train_forward_args *forward;
    const mglu_train_backward_args *backward; /* NULL in forward */
    int64_t batch;
    const mglu_parallel *parallel;
    char *workspace;
    struct mglu_cpu_train_layout layout;
    int64_t first_token, tokens; /* of the chunk */
    int64_t first_row, rows;
};

/* Blocks of columns of W in a task of weight gradients. */
enum { MGLU_CPU_TRAIN_SLICE = 8 };

/* How many blocks or panels of `size` hold `count`. */
static inline int64_t mglu_cpu_pieces(int64_t count, int64_t size)
{
    return (count + size - 1) / size;
}

static inline int64_t mglu_cpu_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Left panels of `rows` rows in whole blocks: packing writes whole blocks. */
static inline int64_t mglu_cpu_left_panels(const struct mglu_cpu_train *train, int64_t rows)
{
    return mglu_cpu_pieces(mglu_cpu_pieces(rows, MGLU_CPU_TRAIN_BLOCK) * MGLU_CPU_TRAIN_BLOCK,
                           train->panels->panel_rows);
}

/* Bytes of a left panel, or of a right one, per group. */
static inline size_t mglu_cpu_left_bytes(const struct mglu_cpu_train *train)
{
    return (size_t)train->panels->panel_rows * MGLU_CPU_TRAIN_BLOCK * mglu_dtype_size(train->panels->dtype);
}

static inline size_t mglu_cpu_right_bytes(const struct mglu_cpu_train *train)
{
    return (size_t)MGLU_CPU_TRAIN_BLOCK * MGLU_CPU_TRAIN_BLOCK * mglu_dtype_size(train->panels->dtype);
}

/* A part of a sum's groups: whole chains, such that a right panel stays in the cache while it is used. */
struct mglu_cpu_part {
    int64_t first, count;
};

static inline int64_t mglu_cpu_parts(const struct mglu_cpu_train *train, int64_t groups, int64_t chain)
{
    const int64_t most = train->panels->most_groups;

    return mglu_cpu_pieces(groups, chain > most ? chain : most);
}

static inline struct mglu_cpu_part mglu_cpu_part(int64_t groups, int64_t parts, int64_t index)
{
    const int64_t first = groups * index / parts;

    return (struct mglu_cpu_part){first, groups * (index + 1) / parts - first};
}

/* Around the products of a task. */
static inline void mglu_cpu_train_begin(const struct mglu_cpu_train *train)
{
    if (train->panels->begin)
        train->panels->begin();
}

static inline void mglu_cpu_train_end(const struct mglu_cpu_train *train)
{
    if (train->panels->end)
        train->panels->end();
}

/* train.c */
mglu_status mglu_cpu_train_create(void *backend, int32_t ordinal, const mglu_train_desc *desc, void **train);
void mglu_cpu_train_destroy(void *backend, void *train);
size_t mglu_cpu_train_workspace_size(void *backend, const void *train, int64_t batch);
size_t mglu_cpu_train_saved_size(void *backend, const void *train, int64_t batch);

/* train_layout.c */
struct mglu_cpu_train_layout mglu_cpu_train_lay_out_forward(const struct mglu_cpu_train *train, int64_t batch);
struct mglu_cpu_train_layout mglu_cpu_train_lay_out_backward(const struct mglu_cpu_train *train, int64_t batch);

/* train_pack.c: packs panels of the chunk. */
void mglu_cpu_train_parallel(const struct mglu_cpu_train_call *call, int64_t count,
                             void (*body)(const struct mglu_cpu_train_call *call, int64_t index));
void mglu_cpu_train_pack_left(const struct mglu_cpu_train *train, const mglu_cpu_train_row *block, char *panels,
                              int64_t groups, int64_t row, int64_t rows, int64_t group);
void mglu_cpu_train_load_x(const struct mglu_cpu_train_call *call, int64_t token_block, int64_t h_block,
                           mglu_cpu_train_row *block);
void mglu_cpu_train_load_w(const struct mglu_cpu_train_call *call, int64_t row, int64_t h_block,
                           mglu_cpu_train_row *block);
void mglu_cpu_train_mask_w(const struct mglu_cpu_train_call *call, int64_t row, int64_t h_block, int32_t product,
                           const mglu_cpu_train_row *block, mglu_cpu_train_row *masked);
void mglu_cpu_train_copy_bias(const struct mglu_cpu_train_call *call, const float *bias, int32_t mask, int64_t row,
                              float *padded);
size_t mglu_cpu_train_mask_stride(const struct mglu_cpu_train *train);
const uint32_t *mglu_cpu_train_mask_words(const struct mglu_cpu_train_call *call, int64_t row, int64_t h_block);

/* train_routing.c */
const float *mglu_cpu_train_p(const struct mglu_cpu_train_call *call, int32_t mask, int64_t token);
float *mglu_cpu_train_dp(const struct mglu_cpu_train_call *call, int32_t mask, int64_t token);
void mglu_cpu_train_route(const struct mglu_cpu_train_call *call);
void mglu_cpu_train_router_gradients(const struct mglu_cpu_train_call *call);

/* train_forward.c */
mglu_status mglu_cpu_train_forward(void *backend, void *train, void *queue, const mglu_train_forward_args *args);

/* train_backward.c */
int mglu_cpu_train_has_weight_gradients(const struct mglu_cpu_train_call *call);
int mglu_cpu_train_adds(const struct mglu_cpu_train_call *call);
char *mglu_cpu_train_rows_of(const struct mglu_cpu_train_call *call, int32_t product);
mglu_status mglu_cpu_train_backward(void *backend, void *train, void *queue, const mglu_train_backward_args *args);

/* train_gradients.c */
void mglu_cpu_train_pack_gates(const struct mglu_cpu_train_call *call, int64_t token_block);
void mglu_cpu_train_sum_biases(const struct mglu_cpu_train_call *call);

#endif
