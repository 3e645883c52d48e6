/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/train.h"
#include "common/core/convert.h"
#include "common/core/mask_format.h"

/* Half a unit in the last place of the call's dtype at 1. */
static double unit_of(const struct mglu_ref_train_call *call)
{
    return call->desc.dtype == MGLU_DTYPE_BF16 ? 0x1p-8 : UNIT;
}

struct mglu_ref_train_call mglu_ref_train_call(const mglu_train_desc *desc, int64_t batch,
                                               const mglu_train_inputs *inputs)
{
    return (struct mglu_ref_train_call){
        .desc = *desc,
        .activation = {.activation = desc->activation, .silu_beta = desc->silu_beta},
        .batch = batch,
        .inputs = *inputs,
    };
}

static double element_of(const mglu_input *input, mglu_dtype dtype, int64_t row, int64_t column)
{
    return (double)mglu_load_element((const unsigned char *)input->data + input->byte_offset, dtype,
                                     (size_t)(row * input->row_stride + column));
}

static struct mglu_ref_row weight_row(const struct mglu_ref_train_call *call, int64_t row)
{
    const mglu_array *weight = &call->inputs.weight;

    return (struct mglu_ref_row){.data = (const unsigned char *)weight->data + (size_t)row * weight->stride_bytes,
                                 .dtype = weight->dtype};
}

/* The relative error of W in products: f32 may be rounded to bf16. */
static double weight_unit(const struct mglu_ref_train_call *call)
{
    return call->inputs.weight.dtype == MGLU_DTYPE_F32 && call->desc.dtype == MGLU_DTYPE_BF16 ? unit_of(call) : 0;
}

struct estimate mglu_ref_train_weight(const struct mglu_ref_train_call *call, int64_t row, int64_t column)
{
    const struct mglu_ref_row from = weight_row(call, row);
    const double w = (double)mglu_load_element(from.data, from.dtype, (size_t)column);

    return (struct estimate){w, weight_unit(call) * fabs(w)};
}

/* The masks of one token: all with weight 1, or those that its logits select. */
static struct mglu_ref_shares shares_of(const struct mglu_ref_train_call *call, int64_t token)
{
    const int32_t n_masks = call->desc.n_masks;
    struct mglu_ref_shares shares = {0};
    struct mglu_ref_routing routing = {0};
    double logits[MGLU_MAX_MASKS];

    for (int32_t i = 0; i < n_masks && call->desc.top_k == 0; i++) {
        shares.p[i].value = 1;
        shares.selected[i] = 1;
    }
    if (call->desc.top_k == 0)
        return shares;
    for (int32_t i = 0; i < n_masks; i++)
        logits[i] = element_of(&call->inputs.router_logits, MGLU_DTYPE_F32, token, i);
    mglu_ref_route_logits(logits, n_masks, call->desc.top_k, 0, &routing);
    for (int32_t i = 0; i < routing.count; i++) {
        shares.p[routing.ids[i]] = (struct estimate){routing.p[i], routing.p_error[i]};
        shares.selected[routing.ids[i]] = 1;
    }
    return shares;
}

void mglu_ref_train_shares(struct mglu_ref_train_call *call)
{
    for (int64_t token = 0; token < call->batch; token++)
        call->shares[token] = shares_of(call, token);
}

/* The sums of one row of W with call->x, each rounded to the call's dtype. */
static void row_streams(const struct mglu_ref_train_call *call, int64_t row, struct estimate *streams)
{
    static const int32_t all[MGLU_MAX_MASKS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const mglu_train_desc *desc = &call->desc;
    const size_t row_words = mglu_packed_mask_stride_bytes(desc->n_masks, desc->hidden_size) / sizeof(uint32_t);
    const uint32_t *words = (const uint32_t *)call->inputs.masks.data + (size_t)row * row_words;
    const double w_unit = weight_unit(call);
    struct mglu_ref_sums sums;
    double error;

    mglu_ref_row_sums(weight_row(call, row), desc->hidden_size, call->x, words, desc->n_masks, all, desc->n_masks,
                      &sums);
    error = (1 + w_unit) * mglu_ref_sum_error(MGLU_ACCURACY_A, desc->hidden_size, &sums) + w_unit * sums.magnitude;
    streams[0] = rounded((struct estimate){sums.total, error}, unit_of(call));
    for (int32_t i = 0; i < desc->n_masks; i++)
        streams[1 + i] = rounded((struct estimate){sums.gate[i], error}, unit_of(call));
}

void mglu_ref_train_sums(struct mglu_ref_train_call *call)
{
    for (int64_t token = 0; token < call->batch; token++) {
        for (int64_t c = 0; c < call->desc.hidden_size; c++)
            call->x[c] = element_of(&call->inputs.x, call->desc.dtype, token, c);
        for (int64_t row = 0; row < call->desc.intermediate_size; row++)
            row_streams(call, row, mglu_ref_streams_at(call, call->sums, token, row));
    }
}

static struct estimate bias_at(const float *bias, int64_t index)
{
    return (struct estimate){bias ? (double)bias[index] : 0, 0};
}

/* t - s_i + bias: three terms in any order. */
static struct estimate value_of(struct estimate total, struct estimate gate, struct estimate bias)
{
    struct dot dot = {0};

    add_term(&dot, total);
    add_term(&dot, negative(gate));
    add_term(&dot, bias);
    return sum_of_terms(&dot, 3);
}

struct mglu_ref_terms mglu_ref_train_terms(const struct mglu_ref_train_call *call, int64_t token, int64_t row,
                                           int32_t mask)
{
    const struct estimate *streams = mglu_ref_streams_at(call, call->sums, token, row);
    const mglu_layer_desc *g = &call->activation;
    const int64_t bias = mask * call->desc.intermediate_size + row;
    const struct estimate p = call->shares[token].p[mask];
    const struct estimate dy = {call->dy.data ? element_of(&call->dy, call->desc.dtype, token, row) : 0, 0};
    struct estimate gate, value, a, slope;

    if (!call->shares[token].selected[mask])
        return (struct mglu_ref_terms){{0, 0}, {0, 0}, {0, 0}, {0, 0}};
    gate = sum_of(streams[1 + mask], bias_at(call->inputs.gate_bias, bias));
    value = value_of(streams[0], streams[1 + mask], bias_at(call->inputs.value_bias, bias));
    a = (struct estimate){mglu_ref_activate(g, gate.value), mglu_ref_activation_error(g, gate.value, gate.error)};
    slope = (struct estimate){mglu_ref_slope(g, gate.value), mglu_ref_slope_error(g, gate.value, gate.error)};
    return (struct mglu_ref_terms){
        .y = product_of(p, product_of(a, value)),
        .dgate = product_of(product_of(dy, p), product_of(slope, value)),
        .dvalue = product_of(product_of(dy, p), a),
        .dp = product_of(dy, product_of(a, value)),
    };
}

static void row_deltas(const struct mglu_ref_train_call *call, int64_t token, int64_t row, struct estimate *deltas)
{
    struct dot total = {0};

    for (int32_t i = 0; i < call->desc.n_masks; i++) {
        const struct mglu_ref_terms terms = mglu_ref_train_terms(call, token, row, i);

        add_term(&total, terms.dvalue);
        deltas[1 + i] = rounded(sum_of(terms.dgate, negative(terms.dvalue)), unit_of(call));
    }
    deltas[0] = rounded(sum_of_terms(&total, call->desc.n_masks), unit_of(call));
}

void mglu_ref_train_deltas(struct mglu_ref_train_call *call)
{
    for (int64_t token = 0; token < call->batch; token++)
        for (int64_t row = 0; row < call->desc.intermediate_size; row++)
            row_deltas(call, token, row, mglu_ref_streams_at(call, call->deltas, token, row));
}
