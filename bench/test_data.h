/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_TEST_DATA_H
#define MGLU_BENCH_TEST_DATA_H

/**
 * @file
 * The random weights and inputs of the layers of a comparison. Layers share the source arrays; each packs its own
 * copies.
 */

#include "problem.h"
#include "tools/common/compute.h"

struct test_data {
    struct shape shape;
    mglu_dtype dtype;      /**< of the matrices: the stored dtype, or f32 where that is quantised */
    void *weight, *value;  /**< [d][h]; value serves as down-projection [h][d] as well */
    uint32_t *masks;       /**< words of MGLU_MAX_MASKS masks fit */
    void *x;               /**< [batch][h] */
    mglu_memory *x_memory; /**< the same on the device */
    mglu_memory *y_memory; /**< for the results of any layer of the comparison */
};

/** Generates the data of a problem; keeps the matrices if shape and dtype are the same. Reports when out of memory. */
bool test_data_draw(struct test_data *test_data, const struct problem *problem, const struct compute *compute);
void test_data_free(struct test_data *test_data);

#endif
