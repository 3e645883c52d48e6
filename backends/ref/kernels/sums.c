/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/kernels.h"
#include "common/core/quantise.h"

#include <float.h>
#include <math.h>

/* Adds one group's products to each side of one mask. */
static void add_selected(const double *products, int64_t count, uint32_t word, double *gate, double *value)
{
    double sides[2] = {*value, *gate};

    for (int64_t j = 0; j < count; j++)
        sides[mglu_format_mask_bit(word, (uint64_t)j)] += products[j];
    *value = sides[0];
    *gate = sides[1];
}

void mglu_ref_row_sums(struct mglu_ref_row row, int64_t columns, const double *x, const uint32_t *words,
                       int32_t n_masks, const int32_t *ids, int32_t n_ids, struct mglu_ref_sums *sums)
{
    double products[MGLU_GROUP_COLUMNS];

    *sums = (struct mglu_ref_sums){0};
    for (int64_t first = 0; first < columns; first += MGLU_GROUP_COLUMNS) {
        int64_t count = columns - first < MGLU_GROUP_COLUMNS ? columns - first : MGLU_GROUP_COLUMNS;
        double largest = 0, weights = 0;

        for (int64_t j = 0; j < count; j++) {
            double w = (double)mglu_load_weight(row.data, row.scales, row.dtype, (size_t)(first + j));

            products[j] = w * x[first + j];
            sums->total += products[j];
            sums->magnitude += fabs(products[j]);
            sums->flushed += (double)FLT_MIN * (1 + fabs(w) + fabs(x[first + j]));
            largest = fmax(largest, fabs(x[first + j]));
            weights += fabs(w);
        }
        if (row.scales)
            sums->quantisation += mglu_ref_quantisation_error(largest, weights);
        for (int32_t i = 0; i < n_ids; i++)
            add_selected(products, count,
                         words[mglu_format_mask_word_in_row((mglu_index)(first / MGLU_GROUP_COLUMNS), (mglu_u32)ids[i],
                                                            (mglu_u32)n_masks)],
                         &sums->gate[i], &sums->value[i]);
    }
}

double mglu_ref_quantisation_error(double largest, double weights)
{
    return largest / 254 * (1 + 0x1p-14) * weights;
}

double mglu_ref_sum_error(mglu_accuracy accuracy, int64_t n, const struct mglu_ref_sums *sums)
{
    double limit = accuracy == MGLU_ACCURACY_B ? 16 + (double)n / 64 : 8 + sqrt((double)n);
    double quantisation = accuracy == MGLU_ACCURACY_C ? sums->quantisation : 0;

    return (2 * fmin((double)n, limit) + 2) * (FLT_EPSILON / 2.0) * (sums->magnitude + quantisation) + sums->flushed +
           quantisation;
}
