/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_PROBLEM_H
#define MGLU_CONFORMANCE_PROBLEM_H

#include "problem/random.h"
#include "problem/rig.h"

/**
 * @file
 * Small problems for the groups that compare runs with each other (determinism, metamorphic) or look at single values
 * (special, arguments). All numbers are floats on the host that a case may change before it runs; they are converted to
 * the stored dtype when they are copied to the device.
 */

/** Which dtypes a problem has, and which of a layer's flags. */
struct dtypes {
    const char *name;
    mglu_dtype weight, x, y;
    uint32_t flags;
};

/** What a problem has besides W and the masks. */
enum { PART_BIASES = 1, PART_ROUTER = 2, PART_RESIDUAL = 4 };

struct shape {
    mglu_kind kind;
    const struct dtypes *dtypes;
    mglu_activation activation;
    int64_t h, d, out; /**< out = 0: no down-projection */
    int32_t n_masks;   /**< 0 when plain */
    int32_t top_k;     /**< above 0 without PART_ROUTER: ids and p are made up */
    int64_t batch;
    unsigned parts;
};

struct problem {
    mglu_weights_desc weights; /**< its arrays are those below */
    mglu_layer_desc layer;
    int64_t batch, columns;
    float *weight, *value_weight, *gate_bias, *value_bias, *router, *down, *down_bias;
    uint8_t *masks; /**< [n_m][d][h] */
    float *x;       /**< [batch][h] */
    float *residual;
    int32_t *ids; /**< [batch][top_k] */
    float *p;
    void *memory[16]; /**< freed by problem_free() */
    size_t used;
};

/** Never NULL: a suite without memory has no result, and ends. */
void *allocate(size_t size);

/** Fills a problem with numbers in [-1, 1). Absent arrays are NULL. */
struct problem problem_make(const struct shape *shape, struct random random);
void problem_free(struct problem *problem);

/** `bytes` of memory that live as long as the problem. */
void *problem_allocate(struct problem *problem, size_t bytes);

/** Address of W[row][column], M_mask[row][column], x[token][column] of a problem. */
float *weight_at(const struct problem *problem, int64_t row, int64_t column);
uint8_t *mask_at(const struct problem *problem, int32_t mask, int64_t row, int64_t column);
float *x_at(const struct problem *problem, int64_t token, int64_t column);

void fill_floats(float *array, size_t count, float value);
void fill_masks(const struct problem *problem, uint8_t bit);

/** Makes a rig for a problem. False, with the outcome set, when that fails or the device does not support it. */
bool open_rig(struct rig *rig, mglu_device *device, const struct problem *problem, struct outcome *outcome);

#endif
