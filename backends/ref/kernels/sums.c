/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/kernels.h"
#include "common/core/convert.h"
#include "common/core/mask_format.h"

#include <float.h>
#include <math.h>

void mglu_ref_row_sums(const void *row, mglu_dtype dtype, int64_t columns, const double *x, const uint32_t *words,
                       int32_t n_masks, const int32_t *ids, int32_t n_ids, struct mglu_ref_sums *sums)
{
    *sums = (struct mglu_ref_sums){0};
    for (int64_t c = 0; c < columns; c++) {
        double product = (double)mglu_load_element(row, dtype, (size_t)c) * x[c];

        sums->total += product;
        sums->magnitude += fabs(product);
        for (int32_t i = 0; i < n_ids; i++) {
            uint32_t word = words[c / MGLU_GROUP_COLUMNS * n_masks + ids[i]];
            double *sum = mglu_format_mask_bit(word, (uint64_t)c) ? &sums->gate[i] : &sums->value[i];
            *sum += product;
        }
    }
}

double mglu_ref_sum_error(mglu_accuracy accuracy, int64_t n, double magnitude)
{
    double limit = accuracy == MGLU_ACCURACY_A ? 8 + sqrt((double)n) : 16 + (double)n / 64;

    return (2 * fmin((double)n, limit) + 2) * (FLT_EPSILON / 2.0) * magnitude;
}
