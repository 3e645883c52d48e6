/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/train.h"
#include "common/core/convert.h"
#include "common/core/mask_format.h"

typedef struct estimate element_fn(const struct mglu_ref_train_call *call, int64_t row, int64_t column);

static int mask_bit(const struct mglu_ref_train_call *call, int64_t row, int64_t column, int32_t mask)
{
    const size_t at = mglu_packed_mask_offset(call->desc.n_masks, call->desc.hidden_size, row, column, mask);
    const uint32_t word = ((const uint32_t *)call->inputs.masks.data)[at / sizeof(uint32_t)];

    return (int)mglu_format_mask_bit(word, (uint64_t)column);
}

static struct estimate x_at(const struct mglu_ref_train_call *call, int64_t token, int64_t column)
{
    const mglu_input *x = &call->inputs.x;

    return (struct estimate){(double)mglu_load_element((const unsigned char *)x->data + x->byte_offset,
                                                       call->desc.dtype, (size_t)(token * x->row_stride + column)),
                             0};
}

static struct estimate y_element(const struct mglu_ref_train_call *call, int64_t token, int64_t row)
{
    struct dot y = {0};

    for (int32_t i = 0; i < call->desc.n_masks; i++)
        add_term(&y, mglu_ref_train_terms(call, token, row, i).y);
    return sum_of_terms(&y, call->desc.n_masks);
}

/* Adds the products of one factor with the streams of a row that a column is part of. A mask selects. */
static void add_streams(const struct mglu_ref_train_call *call, int64_t token, int64_t row, int64_t column,
                        struct estimate factor, struct dot *dot)
{
    const struct estimate *deltas = mglu_ref_streams_at(call, call->deltas, token, row);

    add_product(dot, deltas[0], factor);
    for (int32_t i = 0; i < call->desc.n_masks; i++)
        if (mask_bit(call, row, column, i))
            add_product(dot, deltas[1 + i], factor);
}

static struct estimate dx_element(const struct mglu_ref_train_call *call, int64_t token, int64_t column)
{
    const int64_t rows = call->desc.intermediate_size;
    struct dot dot = {0};

    for (int64_t row = 0; row < rows; row++)
        add_streams(call, token, row, column, mglu_ref_train_weight(call, row, column), &dot);
    return sum_of_products(&dot, rows * (1 + call->desc.n_masks));
}

static struct estimate dweight_element(const struct mglu_ref_train_call *call, int64_t row, int64_t column)
{
    struct dot dot = {0};

    for (int64_t token = 0; token < call->batch; token++)
        add_streams(call, token, row, column, x_at(call, token, column), &dot);
    return sum_of_products(&dot, call->batch * (1 + call->desc.n_masks));
}

static struct estimate dlogits_element(const struct mglu_ref_train_call *call, int64_t mask_row, int64_t column)
{
    const int64_t row = mask_row % call->desc.intermediate_size, mask = mask_row / call->desc.intermediate_size;
    struct dot dot = {0};

    for (int64_t token = 0; token < call->batch; token++)
        add_product(&dot, mglu_ref_streams_at(call, call->deltas, token, row)[1 + mask], x_at(call, token, column));
    return product_of(mglu_ref_train_weight(call, row, column), sum_of_products(&dot, call->batch));
}

static struct estimate dgate_bias_element(const struct mglu_ref_train_call *call, int64_t mask, int64_t row)
{
    struct dot dot = {0};

    for (int64_t token = 0; token < call->batch; token++)
        add_term(&dot, mglu_ref_train_terms(call, token, row, (int32_t)mask).dgate);
    return sum_of_products(&dot, call->batch);
}

static struct estimate dvalue_bias_element(const struct mglu_ref_train_call *call, int64_t mask, int64_t row)
{
    struct dot dot = {0};

    for (int64_t token = 0; token < call->batch; token++)
        add_term(&dot, mglu_ref_train_terms(call, token, row, (int32_t)mask).dvalue);
    return sum_of_products(&dot, call->batch);
}

/* The gradient of the weight of one mask. */
static struct estimate dp_of(const struct mglu_ref_train_call *call, int64_t token, int32_t mask)
{
    struct dot dot = {0};

    for (int64_t row = 0; row < call->desc.intermediate_size; row++)
        add_term(&dot, mglu_ref_train_terms(call, token, row, mask).dp);
    return sum_of_products(&dot, call->desc.intermediate_size);
}

/* p_i (dp_i - sum of p_k dp_k): the softmax of the selected logits. */
static struct estimate drouter_logits_element(const struct mglu_ref_train_call *call, int64_t token, int64_t mask)
{
    const struct mglu_ref_shares *shares = &call->shares[token];
    struct dot mean = {0};

    if (!shares->selected[mask])
        return (struct estimate){0, 0};
    for (int32_t i = 0; i < call->desc.n_masks; i++)
        if (shares->selected[i])
            add_term(&mean, product_of(shares->p[i], dp_of(call, token, i)));
    return product_of(shares->p[mask],
                      sum_of(dp_of(call, token, (int32_t)mask), negative(sum_of_terms(&mean, call->desc.top_k))));
}

static element_fn *const elements[MGLU_REF_RESULTS] = {
    [MGLU_REF_Y] = y_element,
    [MGLU_REF_DX] = dx_element,
    [MGLU_REF_DWEIGHT] = dweight_element,
    [MGLU_REF_DLOGITS] = dlogits_element,
    [MGLU_REF_DGATE_BIAS] = dgate_bias_element,
    [MGLU_REF_DVALUE_BIAS] = dvalue_bias_element,
    [MGLU_REF_DROUTER_LOGITS] = drouter_logits_element,
};

static int64_t rows_of(const struct mglu_ref_train_call *call, enum mglu_ref_result result)
{
    const int64_t d = call->desc.intermediate_size, masks = call->desc.n_masks;
    const int64_t rows[MGLU_REF_RESULTS] = {
        [MGLU_REF_Y] = call->batch,
        [MGLU_REF_DX] = call->batch,
        [MGLU_REF_DWEIGHT] = d,
        [MGLU_REF_DLOGITS] = masks * d,
        [MGLU_REF_DGATE_BIAS] = masks,
        [MGLU_REF_DVALUE_BIAS] = masks,
        [MGLU_REF_DROUTER_LOGITS] = call->batch,
    };

    return rows[result];
}

int64_t mglu_ref_train_columns(const mglu_train_desc *desc, enum mglu_ref_result result)
{
    const int64_t h = desc->hidden_size, d = desc->intermediate_size;
    const int64_t columns[MGLU_REF_RESULTS] = {
        [MGLU_REF_Y] = d,
        [MGLU_REF_DX] = h,
        [MGLU_REF_DWEIGHT] = h,
        [MGLU_REF_DLOGITS] = h,
        [MGLU_REF_DGATE_BIAS] = d,
        [MGLU_REF_DVALUE_BIAS] = d,
        [MGLU_REF_DROUTER_LOGITS] = desc->n_masks,
    };

    return columns[result];
}

mglu_dtype mglu_ref_train_dtype(const mglu_train_desc *desc, enum mglu_ref_result result)
{
    return result == MGLU_REF_Y || result == MGLU_REF_DX ? desc->dtype : MGLU_DTYPE_F32;
}

void mglu_ref_train_result(const struct mglu_ref_train_call *call, enum mglu_ref_result result, mglu_ref_sink *sink,
                           void *user)
{
    const int64_t columns = mglu_ref_train_columns(&call->desc, result);
    const double unit = mglu_ref_train_dtype(&call->desc, result) == MGLU_DTYPE_BF16 ? 0x1p-8 : UNIT;

    for (int64_t row = 0; row < rows_of(call, result); row++)
        for (int64_t column = 0; column < columns; column++)
            sink(user, row, column, rounded(elements[result](call, row, column), unit));
}
