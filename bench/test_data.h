/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_TEST_DATA_H
#define MGLU_BENCH_TEST_DATA_H

/**
 * @file
 * The random numbers that the layers of a comparison are made of and fed with. Layers share them as sources; each packs
 * copies of its own.
 */

#include "problem.h"
#include "tools/common/compute.h"

struct test_data {
    struct shape shape;
    mglu_dtype dtype;      /**< of the matrices: the stored one, f32 where that is quantised */
    void *weight, *value;  /**< [d][h]; value serves as down-projection [h][d] as well */
    uint32_t *masks;       /**< words of MGLU_MAX_MASKS masks fit */
    void *x;               /**< [batch][h] */
    mglu_memory *x_memory; /**< the same on the device */
    mglu_memory *y_memory; /**< room for the results of any layer of the comparison */
};

/** Draws what a problem needs; matrices are kept while shape and dtype stay. Reports when there is no memory. */
bool test_data_draw(struct test_data *test_data, const struct problem *problem, const struct compute *compute);
void test_data_free(struct test_data *test_data);

#endif
