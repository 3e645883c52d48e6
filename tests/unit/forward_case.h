/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_FORWARD_CASE_H
#define MGLU_TEST_FORWARD_CASE_H

#include "sample.h"

/* One forward of every device of this machine, and of every instruction set of the CPU backend. */

struct target {
    const char *backend, *max_isa;
};

extern struct target targets[16];
extern size_t target_count;

/* A case has all that one forward depends on. */
struct shape_case {
    struct sample_shape shape;
    mglu_layer_desc layer;
    int64_t batch;
    int routing; /* 0 none, 1 the router's, 2 the caller's */
    int residual;
};

/* The inputs of a case, and y with bytes around it that must not change. */
struct buffers {
    void *x, *residual;
    unsigned char *y;
    int32_t *ids;
    float *p;
    int64_t columns, x_stride, y_stride;
    size_t y_bytes;
};

enum { CANARY = 0xa5, GAP = 3 };

enum { DTYPES = 6, QUANTISED_X_CASES = 34 };

/* Set-up and tear-down of a group of tests. */
int find_targets(void **state);
int forget_targets(void **state);

struct rig open_target(const struct target *target, const mglu_weights_desc *weights, const mglu_layer_desc *layer);

struct buffers make_buffers(const struct shape_case *test, uint32_t seed);
void free_buffers(struct buffers *buffers);

/* Everything begins one element into its buffer, so that nothing is aligned by luck. */
mglu_forward_args make_args(const struct shape_case *test, const struct buffers *buffers);

/* Of y, as f32. */
float element(const struct shape_case *test, const struct buffers *buffers, int64_t row, int64_t column);

/* Runs a case on every target and compares with the reference. */
void run_case(const struct shape_case *test, uint32_t seed);

/* A small case of one of DTYPES dtypes of weights, x and y. */
struct shape_case base_case(size_t dtype);

/* x of 2 to 33 tokens in quantised layers that allow quantised x. */
struct shape_case quantised_x_case(size_t i);

#endif
