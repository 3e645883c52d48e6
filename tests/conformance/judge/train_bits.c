/* SPDX-License-Identifier: MIT */
#include "judge/train_bits.h"

#include <stdlib.h>
#include <string.h>

struct train_bits train_bits_read(const struct train_problem *problem)
{
    struct train_bits bits = {{NULL}, {0}};

    for (int i = 0; i < TRAIN_RESULTS; i++) {
        const struct rows *rows = &problem->results[i];
        const size_t row = (size_t)rows->columns * rows->element;

        bits.sizes[i] = (size_t)rows->count * row;
        bits.bytes[i] = malloc(bits.sizes[i] + 1);
        if (!bits.bytes[i])
            exit(EXIT_FAILURE);
        for (int64_t r = 0; r < rows->count; r++)
            memcpy(bits.bytes[i] + (size_t)r * row, rows_at(rows, r), row);
    }
    return bits;
}

void train_bits_free(struct train_bits *bits)
{
    for (int i = 0; i < TRAIN_RESULTS; i++)
        free(bits->bytes[i]);
}

void train_bits_expect(const struct train_bits *got, const struct train_bits *want, const char *what,
                       struct outcome *outcome)
{
    for (int i = 0; i < TRAIN_RESULTS; i++)
        if (got->sizes[i] != want->sizes[i] || memcmp(got->bytes[i], want->bytes[i], got->sizes[i]) != 0)
            outcome_set(outcome, VERDICT_FAIL, "%s: %s has other bits", what, train_result_name((enum train_result)i));
}
