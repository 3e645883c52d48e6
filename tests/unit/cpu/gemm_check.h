/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CPU_GEMM_CHECK_H
#define MGLU_TEST_CPU_GEMM_CHECK_H

#include "tests/unit/cpu/gemm_problem.h"

#include <math.h>

/* Runs a kernel of GEMM and compares its sums with those in double. */

enum { MOST_TOKENS = 70, GUARD = 64 };

/* A GEMM kernel, and the dtype of its x, or the number of parts into which it is split. */
struct kernel {
    mglu_cpu_gemm_fn *run;
    const struct mglu_cpu_gemm_kernels *of;
    int takes_bf16;
    int32_t parts_of_x;
    mglu_cpu_pack_x_fn *split_x;
};

/* Words of 32 bits of a token's packed x. */
static inline size_t words_of(const struct problem *p, const struct kernel *kernel)
{
    const size_t columns = (size_t)p->matrix.groups * MGLU_GROUP_COLUMNS;

    if (kernel->split_x)
        return columns / 2 * (size_t)kernel->parts_of_x;
    return kernel->takes_bf16 ? columns / 2 : columns;
}

/* Makes the tokens of a job the blocks that its kernel needs, to be freed. */
static inline float *pack_tokens(const struct problem *p, const struct kernel *kernel, const int32_t *tokens,
                                 struct mglu_cpu_gemm *job)
{
    const size_t element_bytes = kernel->takes_bf16 ? sizeof(uint16_t) : sizeof(float);
    const size_t words = words_of(p, kernel);
    mglu_cpu_pack_x_fn *pack = kernel->split_x ? kernel->split_x : kernel->of->pack_x;
    const int32_t block = kernel->of->block_tokens;
    float *blocks = make((size_t)(job->count / block + 1) * (size_t)block * words * sizeof *blocks);

    for (int32_t first = 0; first < job->count; first += block)
        pack(&(struct mglu_cpu_pack_x){
            .x = kernel->takes_bf16 ? (const char *)p->x_bf16 : (const char *)p->x,
            .x_stride = p->x_columns * element_bytes,
            .tokens = tokens + first,
            .count = job->count - first < block ? job->count - first : block,
            .words = (int64_t)words,
            .packed = blocks + (size_t)first * words,
        });
    job->x = (const char *)blocks;
    job->x_stride = (size_t)block * words * sizeof *blocks;
    return blocks;
}

/* Floats of the sums of so many tokens, which are written in whole blocks. */
static inline size_t count_sums(const struct kernel *kernel, int32_t tokens)
{
    const int32_t block = kernel->of->block_tokens;

    return (size_t)((tokens + block - 1) / block * block * kernel->of->tile_rows);
}

/* Twice the tokens in the order 1, 0, 3, 2, ...: a last one without a partner stays in place, and some are listed
 * twice. */
static inline int32_t list_tokens(const struct problem *p, int32_t *tokens)
{
    int32_t count = p->tokens + p->tokens / 3;

    for (int32_t i = 0; i < count; i++)
        tokens[i] = i < p->tokens ? ((i ^ 1) < p->tokens ? i ^ 1 : i) : i - p->tokens;
    return count;
}

static inline void expect_sum(const struct problem *p, int64_t row, int32_t token, int32_t mask, float got)
{
    /* Products of parts are not rounded, so sums may be, once more. */
    const double units = fmin((double)p->h, 8 + sqrt((double)p->h)) + (p->parts_of_x > 0);
    const float *x = p->x + (size_t)token * p->x_columns;
    double want = 0, magnitude = 0;

    for (int64_t column = 0; column < p->h; column++) {
        double product = (double)x[column] * p->values[row * p->h + column];
        uint32_t word = mask < 0 ? ~0u : p->masks[(row * p->matrix.groups + column / 32) * p->n_masks + mask];
        magnitude += fabs(product);
        want += mglu_format_mask_bit(word, (mglu_index)column) ? product : 0;
    }
    if (!(fabs((double)got - want) <= (p->fill == FILL_INTEGERS ? 0 : units * 0x1p-24 * magnitude)))
        fail_msg("%s fill=%d h=%d row=%d token=%d mask=%d: got %a, want %a, error %g of %g units",
                 mglu_dtype_name(p->dtype), (int)p->fill, (int)p->h, (int)row, (int)token, (int)mask, (double)got, want,
                 fabs((double)got - want) / (0x1p-24 * magnitude), units);
}

static inline void check_mask(const struct problem *p, const struct kernel *kernel, int32_t mask)
{
    int32_t tokens[2 * MOST_TOKENS], count = list_tokens(p, tokens);
    const int32_t most = kernel->of->tile_rows;
    const size_t floats = count_sums(kernel, count);
    float *sums = make((floats + GUARD) * sizeof *sums);
    uint32_t not_finite = 0;
    struct mglu_cpu_gemm job = {
        .matrix = &p->matrix, .mask = mask, .count = count, .sums = sums, .not_finite = &not_finite};

    float *packed = pack_tokens(p, kernel, tokens, &job);
    for (job.first_row = 0; job.first_row < p->rows; job.first_row += most) {
        job.rows = p->rows - job.first_row < most ? (int32_t)(p->rows - job.first_row) : most;
        kernel->run(&job);
        for (int32_t i = 0; i < count; i++)
            for (int32_t r = 0; r < job.rows; r++)
                expect_sum(p, job.first_row + r, tokens[i], mask, sums[i * most + r]);
    }
    for (size_t i = 0; i < GUARD; i++)
        assert_true(sums[floats + i] == 0);
    assert_int_equal(not_finite, 0);
    free(sums), free(packed);
}

static inline void check_kernel(struct problem p, const struct kernel *kernel, uint64_t seed)
{
    p = make_problem(p, seed);
    check_mask(&p, kernel, MGLU_CPU_NO_MASK);
    for (int32_t mask = 0; mask<p.n_masks; mask += p.n_masks> 4 ? 5 : 1)
        check_mask(&p, kernel, mask);
    free_problem(&p);
}

#endif
