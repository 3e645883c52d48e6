/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CUDA_KERNELS_H
#define MGLU_TEST_CUDA_KERNELS_H

#include "tests/unit/sample.h"

#include "backends/cuda/kernels/params.h"

/*
 * One forward on the kernels alone, run by the shim: a minimal version of the host side of the backend. The results are
 * compared with the reference backend.
 */

/* A forward to test. Zeros are a masked layer in f32, one token, no parts, on the SIMT kernels. */
struct kernel_case {
    struct sample_shape shape;
    enum mglu_cuda_engine engine;
    mglu_dtype x, y;
    mglu_activation activation;
    int32_t top_k;
    int given_routing; /* ids and weights are the caller's */
    int64_t batch;
    int64_t gap;            /* elements between rows of x, y, residual and routing */
    int64_t offset;         /* elements before each of them */
    uint32_t grid_y, warps; /* 0: as in params.h */
    int is_positive;        /* all of W and x */
    uint32_t ring_shared;   /* bytes of shared memory of a multiprocessor; 0: as much as that of sm_120 */
    mglu_dtype quantised;   /* 0, or q8_0 or q4_0: the kernels' dtype of matrices that are f32 for the reference */
};

/* Memory of exactly this size, so that the address sanitizer detects accesses beyond it. */
void *kernel_memory(size_t bytes);
/* The scale of a group of a quantised matrix: a power of two, by row and group. */
float kernel_scale(mglu_dtype dtype, int64_t row, int64_t group);

/* A forward's arrays. All bits of y are 1 before. */
struct kernel_run {
    struct kernel_case test;
    struct sample sample;
    mglu_layer_desc layer;
    mglu_forward_args args;
    int64_t columns; /* of y */
    size_t y_bytes;
    int32_t *ids; /* given by the caller and read by the kernels */
    float *p;
    uint32_t bad_routing;
    uint32_t seed;
};

/* The dtypes that matrices, x and y of the kernels can have, without quantised ones. */
enum { KERNEL_DTYPES = 3 };
extern const mglu_dtype kernel_dtypes[KERNEL_DTYPES];

struct kernel_size {
    int64_t h, d;
};
/* A masked layer, or a plain one where n_masks is 0. */
struct sample_shape kernel_shape(struct kernel_size size, mglu_dtype dtype, int32_t n_masks);

struct kernel_run kernel_prepare(const struct kernel_case *test, uint32_t seed);
void kernel_forward(struct kernel_run *run);
/* Compares y with the reference, and checks that the bytes between its rows are unchanged. */
void kernel_compare(const struct kernel_run *run);
void kernel_free(struct kernel_run *run);

/* All of it. */
void kernel_check(const struct kernel_case *test, uint32_t seed);

/* Sets an element of x. */
void kernel_set_x(struct kernel_run *run, int64_t token, int64_t column, float value);
/* An element of y as f32. */
float kernel_y(const struct kernel_run *run, int64_t token, int64_t column);

#endif
