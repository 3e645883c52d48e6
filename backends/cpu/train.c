/* SPDX-License-Identifier: MIT */
#include "backends/cpu/train.h"

/* The plan of training, and the layout of its workspace. */

enum {
    FORWARD_TOKENS = 4096, /* W is packed once for so many tokens */
    BACKWARD_TOKENS = 2048,
    BACKWARD_TERMS = 1280,    /* dx is read and written once for so many rows of all products */
    TASK_ROWS = 128,          /* tokens of a task */
    WEIGHT_TASK_ROWS = 64,    /* rows of W of a task of weight gradients */
    RIGHT_BYTES = 1024 * 1024 /* of the right panels of a chunk in forward, to stay in the level 2 cache */
};

static int64_t round_up(int64_t count, int64_t unit)
{
    return mglu_cpu_pieces(count, unit) * unit;
}

/* Divides `count` into as few chunks of at most about `most` as possible, of equal size but in whole units. */
static int64_t chunk_size(int64_t count, int64_t most, int64_t unit)
{
    const int64_t limit = round_up(most, unit);

    return round_up(mglu_cpu_pieces(count, mglu_cpu_pieces(count, limit)), unit);
}

/* The smallest number of rows in whole blocks and whole left panels. */
static int64_t row_unit(const struct mglu_cpu_train_panels *panels)
{
    int64_t unit = MGLU_CPU_TRAIN_BLOCK;

    while (unit % panels->panel_rows)
        unit += MGLU_CPU_TRAIN_BLOCK;
    return unit;
}

static int64_t forward_rows(const struct mglu_cpu_train *train)
{
    const size_t block = (size_t)train->products * (size_t)train->h_blocks * mglu_cpu_right_bytes(train);

    const int64_t blocks = RIGHT_BYTES > block ? (int64_t)(RIGHT_BYTES / block) : 1;

    return chunk_size(train->desc.intermediate_size, blocks * MGLU_CPU_TRAIN_BLOCK, MGLU_CPU_TRAIN_BLOCK);
}

/*
 * Groups of a chain in a sum of `terms` terms. A product is rounded once per term of its chain and once per chain,
 * which is least where both are about equal, the square root of all terms: docs/semantics.md allows 2 (8 + sqrt(n))
 * + 2. Sums of bf16 may have longer chains, since the rounding of their terms to bf16 is a much larger error.
 */
static int64_t chain_groups(const struct mglu_cpu_train *train, int64_t terms)
{
    int64_t groups = 1;

    if (train->desc.dtype == MGLU_DTYPE_BF16)
        return train->panels->most_groups;
    while (2 * groups * groups * MGLU_CPU_TRAIN_BLOCK * MGLU_CPU_TRAIN_BLOCK < terms)
        groups *= 2;
    return groups;
}

static void make_plan(struct mglu_cpu_train *train)
{
    const int64_t unit = row_unit(train->panels);
    const int32_t panel_rows = train->panels->panel_rows;

    train->products = 1 + train->desc.n_masks;
    train->h_blocks = mglu_cpu_pieces(train->desc.hidden_size, MGLU_CPU_TRAIN_BLOCK);
    train->forward_tokens = chunk_size(train->desc.max_batch, FORWARD_TOKENS, MGLU_CPU_TRAIN_BLOCK);
    train->forward_rows = forward_rows(train);
    train->backward_tokens = chunk_size(train->desc.max_batch, BACKWARD_TOKENS, MGLU_CPU_TRAIN_BLOCK);
    train->backward_rows = chunk_size(train->desc.intermediate_size, BACKWARD_TERMS / train->products, unit);
    train->x_chain = chain_groups(train, train->desc.hidden_size);
    train->dx_chain = chain_groups(train, train->desc.intermediate_size * train->products);
    train->weight_chain = chain_groups(train, mglu_cpu_least(train->desc.max_batch, train->backward_tokens));
    train->task_panels = TASK_ROWS / panel_rows;
    train->row_task_panels = WEIGHT_TASK_ROWS / panel_rows;
}

static const struct mglu_cpu_train_panels *select_panels(const struct mglu_cpu_isa *isa, mglu_dtype dtype)
{
    if (dtype == MGLU_DTYPE_F32)
        return isa->train_f32;
    if (isa->train_tiles && mglu_cpu_may_use_tiles())
        return isa->train_tiles;
    return isa->train_bf16 ? isa->train_bf16 : isa->train_f32;
}

mglu_status mglu_cpu_train_create(void *backend, int32_t ordinal, const mglu_train_desc *desc, void **train)
{
    const struct mglu_cpu_backend *self = backend;
    const struct mglu_cpu_isa *isa = self->isa;
    struct mglu_cpu_train *made = mglu_cpu_allocate(self->host, sizeof *made);

    if (!made)
        return self->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_cpu_train){
        .backend = self,
        .desc = *desc,
        .blocks = isa->train_blocks,
        .gates = isa->train_gates,
        .panels = select_panels(isa, desc->dtype),
    };
    make_plan(made);
    self->host->log(self->host, MGLU_LOG_DEBUG,
                    "cpu: train %d x %d, %d masks, %s: panels in %s (%s), %s, chunks of %d tokens and %d rows forward, "
                    "%d and %d backward",
                    (int)desc->intermediate_size, (int)desc->hidden_size, (int)desc->n_masks,
                    mglu_dtype_name(desc->dtype), mglu_dtype_name(made->panels->dtype), made->panels->name, isa->name,
                    (int)made->forward_tokens, (int)made->forward_rows, (int)made->backward_tokens,
                    (int)made->backward_rows);
    *train = made;
    return MGLU_OK;
}

void mglu_cpu_train_destroy(void *backend, void *train)
{
    mglu_cpu_release(((const struct mglu_cpu_backend *)backend)->host, train, sizeof(struct mglu_cpu_train));
}

size_t mglu_cpu_train_saved_size(void *backend, const void *train, int64_t batch)
{
    const struct mglu_cpu_train *self = train;

    return (size_t)self->products * (size_t)batch * (size_t)self->desc.intermediate_size *
           mglu_dtype_size(self->desc.dtype);
}

size_t mglu_cpu_train_workspace_size(void *backend, const void *train, int64_t batch)
{
    const size_t forward = mglu_cpu_train_lay_out_forward(train, batch).size;
    const size_t backward = mglu_cpu_train_lay_out_backward(train, batch).size;

    return forward > backward ? forward : backward;
}
