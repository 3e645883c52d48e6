/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/isas.h"

#include "common/core/mask_format.h"
#include "common/core/quantise.h"

#include <mglu/pack.h>

/*
 * GEMM of integers. With numbers for which all sums are exact there is one right result. Where an instruction set has a
 * kernel for packed x too, it must give the same bits.
 */

enum { MOST_TILE_ROWS = 32, MOST_TOKENS = 70, MOST_POSITIONS = (1 + MGLU_MAX_MASKS) * MOST_TOKENS };

static const int64_t sizes[] = {0, 1, 31, 32, 33, 64, 65, 96, 129, 480, 512, 513, 545, 1024, 1100};
static const mglu_dtype dtypes[] = {MGLU_DTYPE_Q8_0, MGLU_DTYPE_Q4_0};

static const struct mglu_cpu_isa *isa_with_gemm(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, gemm_int8);

    if (!isa->gemm_int8 || !isa->gemm_int8->gemm[MGLU_DTYPE_Q8_0]) /* avx512 has one of avx2's */
        skip();
    return isa;
}

struct problem {
    mglu_dtype dtype;
    int64_t h, groups;
    int32_t n_masks, rows, tokens;
    struct mglu_cpu_matrix matrix;
    char *weights, *scales;
    uint32_t *masks;
    int8_t *x; /* [token][padded column] */
    size_t x_stride;
    char *quantised_x;
    int32_t first[MGLU_MAX_MASKS + 2], list_tokens[MOST_POSITIONS];
    float *sums;
};

/* Memory of exactly this size, so that a sanitizer detects every access beyond it. */
static void *make(size_t bytes)
{
    void *memory = NULL;

    assert_int_equal(posix_memalign(&memory, 64, bytes ? bytes : 1), 0);
    memset(memory, 0, bytes);
    return memory;
}

/* Integers of groups with the scale 1, since each has 127 or -127; `largest`: only those two. */
static void make_x(struct problem *p, const struct mglu_cpu_int8 *int8, int largest, uint64_t *seed)
{
    const int64_t padded = p->groups * MGLU_GROUP_COLUMNS;
    float *x = make((size_t)padded * sizeof *x);

    p->x_stride = mglu_cpu_quantised_bytes(p->groups);
    p->x = make((size_t)(padded * p->tokens));
    p->quantised_x = make(p->x_stride * (size_t)p->tokens);
    for (int32_t token = 0; token < p->tokens; token++) {
        for (int64_t column = 0; column < p->h; column++) {
            const int number = (int)(next_random(seed) % 255) - 127;
            const int is_largest = largest || column % MGLU_GROUP_COLUMNS == 0;
            x[column] = (float)(!is_largest ? number : (largest ? token % 2 : number < 0) ? -127 : 127);
            p->x[token * padded + column] = (int8_t)x[column];
        }
        int8->quantise_x(x, p->groups, p->quantised_x + p->x_stride * (size_t)token);
    }
    free(x);
}

/* List 0 has all tokens; of the others some have all, some every other one backwards, and some none. */
static void make_lists(struct problem *p)
{
    int32_t position = 0;

    for (int32_t list = 0; list <= p->n_masks; list++) {
        p->first[list] = position;
        for (int32_t token = 0; token < p->tokens; token++) {
            if (list % 3 == 0)
                p->list_tokens[position++] = token;
            else if (list % 3 == 1 && token % 2 == 0)
                p->list_tokens[position++] = p->tokens - 1 - token;
        }
    }
    p->first[p->n_masks + 1] = position;
}

/* `byte` fills all weights, NULL: any bits. Padding has random bits too; the scales are 1, 2, 3 and 4. */
static void make_weights(struct problem *p, const char *byte, uint64_t *seed)
{
    const size_t stride = mglu_packed_weight_stride_bytes(p->dtype, p->h), rows = (size_t)p->rows + 1;
    const size_t scale_stride = mglu_packed_scale_stride_bytes(p->dtype, p->h);
    const size_t words = rows * (size_t)(p->groups * p->n_masks);

    p->weights = make(stride * rows);
    p->scales = make(scale_stride * rows);
    p->masks = make(words * sizeof *p->masks);
    for (size_t i = 0; i < stride * rows; i++)
        p->weights[i] = byte ? *byte : (char)next_random(seed);
    for (size_t i = 0; i < scale_stride * rows / sizeof(uint16_t); i++)
        mglu_store_element(p->scales, MGLU_DTYPE_F16, i, (float)(1 + next_random(seed) % 4));
    for (size_t i = 0; i < words; i++)
        p->masks[i] = next_random(seed);
    p->matrix = (struct mglu_cpu_matrix){.rows = p->weights,
                                         .stride_bytes = stride,
                                         .groups = p->groups,
                                         .masks = p->masks,
                                         .n_masks = p->n_masks,
                                         .scales = p->scales,
                                         .scale_stride = scale_stride};
}

static void make_problem(struct problem *p, const struct mglu_cpu_isa *isa, const char *byte, uint64_t seed)
{
    p->groups = (int64_t)mglu_format_groups((mglu_index)p->h);
    make_weights(p, byte, &seed);
    make_x(p, isa->int8, byte != NULL, &seed);
    make_lists(p);
    p->sums = make((size_t)p->first[p->n_masks + 1] * (size_t)isa->gemm_int8->tile_rows * sizeof *p->sums);
}

static void free_problem(struct problem *p)
{
    free(p->weights);
    free(p->scales);
    free(p->masks);
    free(p->x);
    free(p->quantised_x);
    free(p->sums);
}

/* Rows 1.. of the problem. */
static struct mglu_cpu_gemm_int8 job_of(const struct problem *p)
{
    return (struct mglu_cpu_gemm_int8){.matrix = &p->matrix,
                                       .first_row = 1,
                                       .rows = p->rows,
                                       .lists = 1 + p->n_masks,
                                       .first = p->first,
                                       .tokens = p->list_tokens,
                                       .x = p->quantised_x,
                                       .x_stride = p->x_stride,
                                       .sums = p->sums};
}

/* Packs the x of all lists, each in blocks of its own. To be freed. */
static char *pack_lists(const struct problem *p, const struct mglu_cpu_packed_gemm_int8 *kernels, size_t block_bytes,
                        int32_t *first_block)
{
    char *packed = make((size_t)(p->first[1 + p->n_masks] / kernels->block_tokens + 1 + p->n_masks) * block_bytes);
    int32_t blocks = 0;

    for (int32_t list = 0; list <= p->n_masks; list++) {
        first_block[list] = blocks;
        for (int32_t first = p->first[list]; first < p->first[list + 1]; first += kernels->block_tokens, blocks++) {
            const int32_t left = p->first[list + 1] - first;
            kernels->pack_x(&(struct mglu_cpu_pack_x){
                .x = p->quantised_x,
                .x_stride = p->x_stride,
                .tokens = p->list_tokens + first,
                .count = left < kernels->block_tokens ? left : kernels->block_tokens,
                .words = p->groups * kernels->group_words,
                .packed = (float *)(void *)(packed + (size_t)blocks * block_bytes),
            });
        }
    }
    return packed;
}

static void check_packed(const struct problem *p, const struct mglu_cpu_isa *isa)
{
    const struct mglu_cpu_packed_gemm_int8 *kernels = isa->gemm_int8_packed;
    const int32_t positions = p->first[1 + p->n_masks], tile_rows = isa->gemm_int8->tile_rows;
    struct mglu_cpu_gemm_int8 job = job_of(p);
    int32_t first_block[MGLU_MAX_MASKS + 1];

    job.block_bytes = (size_t)(p->groups * kernels->group_words * kernels->block_tokens) * sizeof(float);
    job.packed = pack_lists(p, kernels, job.block_bytes, first_block);
    job.first_block = first_block;
    job.sums = make((size_t)(positions * tile_rows) * sizeof *job.sums);
    job.x = NULL;
    kernels->gemm[p->dtype](&job);
    for (int32_t position = 0; position < positions; position++)
        assert_memory_equal(job.sums + position * tile_rows, p->sums + position * tile_rows,
                            (size_t)p->rows * sizeof *job.sums);
    free((void *)(uintptr_t)job.packed);
    free(job.sums);
}

static void run(const struct problem *p, const struct mglu_cpu_isa *isa)
{
    const struct mglu_cpu_gemm_int8 job = job_of(p);

    isa->gemm_int8->gemm[p->dtype](&job);
    if (isa->gemm_int8_packed)
        check_packed(p, isa);
}

/* The sum of a row over the columns of a list: for list 0 all, else where its mask has a 1. */
static double sum_of(const struct problem *p, int64_t row, int32_t list, int32_t token)
{
    const char *weights = p->weights + p->matrix.stride_bytes * (size_t)row;
    const char *scales = p->scales + p->matrix.scale_stride * (size_t)row;
    double sum = 0;

    for (int64_t column = 0; column < p->h; column++) {
        const uint32_t word = list == 0 ? ~0u : p->masks[(row * p->groups + column / 32) * p->n_masks + list - 1];
        if (mglu_format_mask_bit(word, (mglu_index)column))
            sum += (double)mglu_load_weight(weights, scales, p->dtype, (size_t)column) *
                   p->x[token * p->groups * MGLU_GROUP_COLUMNS + column];
    }
    return sum;
}

static void check_problem(const struct problem *p, const struct mglu_cpu_isa *isa)
{
    run(p, isa);
    for (int32_t list = 0; list <= p->n_masks; list++)
        for (int32_t position = p->first[list]; position < p->first[list + 1]; position++)
            for (int32_t r = 0; r < p->rows; r++) {
                const double want = sum_of(p, r + 1, list, p->list_tokens[position]);
                const float got = p->sums[position * isa->gemm_int8->tile_rows + r];
                if ((double)got != want)
                    fail_msg("%s h=%d n_masks=%d tokens=%d: row %d, list %d, token %d: got %.9g, want %.9g",
                             mglu_dtype_name(p->dtype), (int)p->h, (int)p->n_masks, (int)p->tokens, (int)r, (int)list,
                             (int)p->list_tokens[position], (double)got, want);
            }
}

static void sums_of_integers_are_exact_at_every_hidden_size(void **state)
{
    const struct mglu_cpu_isa *isa = isa_with_gemm(state);

    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t t = 0; t < sizeof dtypes / sizeof dtypes[0]; t++) {
            struct problem p = {.dtype = dtypes[t], .h = sizes[s], .n_masks = (int32_t)(s % 4), .tokens = 7};
            p.rows = isa->gemm_int8->tile_rows - (int32_t)(s % 3);
            make_problem(&p, isa, NULL, s);
            check_problem(&p, isa);
            free_problem(&p);
        }
}

static void sums_are_exact_for_every_number_of_tokens_rows_and_masks(void **state)
{
    const struct mglu_cpu_isa *isa = isa_with_gemm(state);

    for (int32_t i = 1; i <= MOST_TOKENS; i++) {
        struct problem p = {
            .dtype = dtypes[i % 2], .h = i % 3 ? 65 : 600, .n_masks = i % (MGLU_MAX_MASKS + 1), .tokens = i};
        p.rows = 1 + i % isa->gemm_int8->tile_rows;
        make_problem(&p, isa, NULL, (uint64_t)i);
        check_problem(&p, isa);
        free_problem(&p);
    }
}

/* The bytes whose products come closest to overflowing; the quants of q4_0 are between -8 and 7. */
static void the_largest_products_are_exact(void **state)
{
    static const char bytes[] = {-128, 127, -127, 0, -1, 0x0f, -16, 0x77};
    const struct mglu_cpu_isa *isa = isa_with_gemm(state);

    for (size_t i = 0; i < sizeof bytes; i++)
        for (size_t t = 0; t < sizeof dtypes / sizeof dtypes[0]; t++) {
            struct problem p = {.dtype = dtypes[t], .h = 96, .n_masks = 1, .rows = 3, .tokens = 4};
            make_problem(&p, isa, &bytes[i], i);
            check_problem(&p, isa);
            free_problem(&p);
        }
}

/* With scales that make rounding depend on the order of additions. */
static void a_sum_does_not_depend_on_the_other_tokens(void **state)
{
    const struct mglu_cpu_isa *isa = isa_with_gemm(state);
    struct problem p = {.dtype = MGLU_DTYPE_Q8_0, .h = 1100, .n_masks = 1, .rows = 5, .tokens = 67};
    uint64_t seed = 9;

    make_problem(&p, isa, NULL, 3);
    for (size_t i = 0; i < (size_t)(p.rows + 1) * (size_t)p.groups; i++)
        mglu_store_element(p.scales, MGLU_DTYPE_F16, i, random_real(&seed));
    run(&p, isa);
    for (int32_t token = 0; token < p.tokens; token++) {
        float alone[2 * MOST_TILE_ROWS];
        struct problem one = p;
        one.first[1] = 1;
        one.list_tokens[0] = one.list_tokens[1] = token;
        one.first[2] = 2;
        one.sums = alone;
        run(&one, isa);
        assert_memory_equal(alone, p.sums + token * isa->gemm_int8->tile_rows, (size_t)p.rows * sizeof *alone);
        for (int32_t position = p.first[1]; position < p.first[2]; position++)
            if (p.list_tokens[position] == token)
                assert_memory_equal(alone + isa->gemm_int8->tile_rows, p.sums + position * isa->gemm_int8->tile_rows,
                                    (size_t)p.rows * sizeof *alone);
    }
    free_problem(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_integers_are_exact_at_every_hidden_size),
        cmocka_unit_test(sums_are_exact_for_every_number_of_tokens_rows_and_masks),
        cmocka_unit_test(the_largest_products_are_exact),
        cmocka_unit_test(a_sum_does_not_depend_on_the_other_tokens),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
