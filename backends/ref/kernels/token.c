/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/estimate.h"
#include "backends/ref/kernels/kernels.h"
#include "common/core/quantise.h"

/*
 * Equations (1) to (3) for one token, with the error bound of docs/semantics.md, term by term. Without an accuracy
 * class only the values are computed, and errors are 0. u is UNIT.
 */

static double element_of(const void *data, size_t byte_offset, int64_t row_stride, mglu_dtype dtype, int64_t row,
                         int64_t column)
{
    return (double)mglu_load_element((const unsigned char *)data + byte_offset, dtype,
                                     (size_t)row * (size_t)row_stride + (size_t)column);
}

/* One of the sums of n terms + bias. */
static struct estimate with_bias(double sum, const struct mglu_ref_sums *sums, int64_t n, const mglu_accuracy *accuracy,
                                 const float *bias, int64_t index)
{
    struct estimate result = {sum + (bias ? (double)bias[index] : 0), 0};

    if (accuracy)
        result.error = mglu_ref_sum_error(*accuracy, n, sums) + UNIT * fabs(result.value);
    return result;
}

/* p g(gate) value, with the errors of its factors. */
static struct estimate term(const mglu_layer_desc *desc, struct estimate gate, struct estimate value, double p,
                            double p_error, const mglu_accuracy *accuracy)
{
    double a = mglu_ref_activate(desc, gate.value), v = value.value, a_error;
    struct estimate result = {p * (a * v), 0};

    if (!accuracy)
        return result;
    a_error = mglu_ref_activation_error(desc, gate.value, gate.error);
    result.error =
        fabs(p) * (fabs(a) * value.error + fabs(v) * a_error + a_error * value.error + 2 * UNIT * fabs(a * v)) +
        p_error * fabs(a * v) + (double)FLT_MIN;
    return result;
}

/* One element of z: the sum of all terms of row r. */
static struct estimate projection(const struct mglu_ref_layer *layer, int64_t r, const double *x,
                                  const struct mglu_ref_routing *routing, const mglu_accuracy *accuracy)
{
    const mglu_packed_weights *packed = &layer->packed;
    int masked = packed->kind == MGLU_KIND_MASKED;
    int64_t h = packed->hidden_size, d = packed->intermediate_size;
    size_t row_words = mglu_packed_mask_stride_bytes(packed->n_masks, h) / sizeof(uint32_t);
    struct mglu_ref_sums sums, other = {0};
    struct estimate z = {0, 0};
    double sizes = 0;

    mglu_ref_row_sums(mglu_ref_row(&packed->weight, packed->dtype, r), h, x,
                      masked ? packed->masks + (size_t)r * row_words : NULL, packed->n_masks, routing->ids,
                      masked ? routing->count : 0, &sums);
    if (!masked)
        mglu_ref_row_sums(mglu_ref_row(&packed->value_weight, packed->dtype, r), h, x, NULL, 0, NULL, 0, &other);
    for (int32_t i = 0; i < routing->count; i++) {
        int64_t bias = routing->ids[i] * d + r;
        struct estimate gate =
            with_bias(masked ? sums.gate[i] : sums.total, &sums, h, accuracy, packed->gate_bias, bias);
        struct estimate value = with_bias(masked ? sums.value[i] : other.total, masked ? &sums : &other, h, accuracy,
                                          packed->value_bias, bias);
        struct estimate one = term(&layer->desc, gate, value, routing->p[i], routing->p_error[i], accuracy);
        z.value += one.value;
        z.error += one.error;
        sizes += fabs(one.value);
    }
    z.error += accuracy ? (routing->count + 1) * UNIT * sizes : 0;
    return z;
}

/* Adds the products of a group of columns with z, whose error is z_error; returns the error of their sum. */
static double add_group(struct mglu_ref_row row, int64_t first, int64_t end, const double *z, const double *z_error,
                        struct mglu_ref_sums *sums)
{
    double carried = 0, largest = 0, weights = 0;

    for (int64_t c = first; c < end; c++) {
        double w = (double)mglu_load_weight(row.data, row.scales, row.dtype, (size_t)c);
        sums->total += w * z[c];
        sums->magnitude += fabs(w) * (fabs(z[c]) + z_error[c]);
        sums->flushed += (double)FLT_MIN * (1 + fabs(w) + fabs(z[c]));
        carried += fabs(w) * z_error[c];
        largest = fmax(largest, fabs(z[c]) + z_error[c]);
        weights += fabs(w);
    }
    if (row.scales)
        sums->quantisation += mglu_ref_quantisation_error(largest, weights);
    return carried;
}

/* One element of z W_o^T + bias, from all of z and its errors. */
static struct estimate down_projection(const mglu_packed_weights *packed, int64_t r, const double *z,
                                       const double *z_error, const mglu_accuracy *accuracy)
{
    const struct mglu_ref_row row = mglu_ref_row(&packed->down, packed->dtype, r);
    const int64_t d = packed->intermediate_size;
    struct mglu_ref_sums sums = {0};
    struct estimate result;
    double carried = 0;

    for (int64_t first = 0; first < d; first += MGLU_GROUP_COLUMNS)
        carried +=
            add_group(row, first, first + MGLU_GROUP_COLUMNS < d ? first + MGLU_GROUP_COLUMNS : d, z, z_error, &sums);
    result = with_bias(sums.total, &sums, d, accuracy, packed->down_bias, r);
    result.error += carried;
    return result;
}

/* Adds the residual and the rounding to y's dtype. */
static struct estimate finish(const struct mglu_ref_layer *layer, const mglu_forward_args *args, int64_t token,
                              int64_t column, struct estimate y)
{
    static const double units[] = {[MGLU_DTYPE_F32] = 0x1p-24, [MGLU_DTYPE_F16] = 0x1p-11, [MGLU_DTYPE_BF16] = 0x1p-8};
    static const double smallest[] = {
        [MGLU_DTYPE_F32] = (double)FLT_MIN, [MGLU_DTYPE_F16] = 0x1p-24, [MGLU_DTYPE_BF16] = (double)FLT_MIN};
    mglu_dtype dtype = layer->desc.y_dtype;

    if (args->residual.data) {
        y.value += element_of(args->residual.data, args->residual.byte_offset, args->residual.row_stride, dtype, token,
                              column);
        y.error += UNIT * (fabs(y.value) + y.error);
    }
    y.error += units[dtype] * (fabs(y.value) + y.error) + smallest[dtype];
    return y;
}

size_t mglu_ref_token_scratch(const mglu_packed_weights *packed)
{
    return (size_t)packed->hidden_size + 2 * (size_t)packed->intermediate_size;
}

int mglu_ref_token(const struct mglu_ref_layer *layer, const mglu_forward_args *args, int64_t token,
                   const mglu_accuracy *accuracy, double *scratch, double *want, double *tolerance)
{
    const mglu_packed_weights *packed = &layer->packed;
    int64_t h = packed->hidden_size, d = packed->intermediate_size, out = packed->output_size ? packed->output_size : d;
    double *x = scratch, *z = x + h, *z_error = z + d;
    struct mglu_ref_routing routing;
    int in_range;

    for (int64_t c = 0; c < h; c++)
        x[c] = element_of(args->x.data, args->x.byte_offset, args->x.row_stride, layer->desc.x_dtype, token, c);
    in_range = mglu_ref_route(layer, args, token, x, accuracy, &routing);
    for (int64_t r = 0; r < d; r++) {
        struct estimate one = projection(layer, r, x, &routing, accuracy);
        z[r] = one.value;
        z_error[r] = one.error;
    }
    for (int64_t r = 0; r < out; r++) {
        struct estimate y = {packed->output_size ? 0 : z[r], packed->output_size ? 0 : z_error[r]};
        if (packed->output_size)
            y = down_projection(packed, r, z, z_error, accuracy);
        y = finish(layer, args, token, r, y);
        if (want)
            want[r] = y.value;
        if (tolerance)
            tolerance[r] = y.error;
    }
    return in_range;
}
