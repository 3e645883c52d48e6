/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"

#include <mglu/pack.h>

#include <math.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { COLUMNS = 32, MOST_ROWS = 3, MOST_COLUMNS = 160, MOST_BLOCK = 34 };

/* The rules of the two types, in double precision and without the library. */

static double half_value(const unsigned char *bytes)
{
    int bits = bytes[0] | bytes[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);

    return bits >> 15 ? -magnitude : magnitude;
}

static double block_value(mglu_dtype dtype, const unsigned char *block, int column)
{
    const unsigned char *quants = block + 2;

    if (dtype == MGLU_DTYPE_Q8_0)
        return half_value(block) * (quants[column] < 128 ? quants[column] : quants[column] - 256);
    return half_value(block) * ((column < 16 ? quants[column] & 15 : quants[column - 16] >> 4) - 8);
}

static size_t block_bytes(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_Q8_0 ? 34 : 18;
}

/* Any quants, and scales of every kind that is finite: normal, subnormal, zero, negative. */
static void fill_blocks(mglu_dtype dtype, unsigned char *blocks, size_t count, size_t gap)
{
    static const uint16_t scales[] = {0x3c00, 0x0001, 0x8000, 0xb4cd, 0x7bff, 0x0000, 0x2e66, 0x83ff};
    unsigned state = 12345;

    for (size_t i = 0; i < count; i++, blocks += block_bytes(dtype) + gap) {
        blocks[0] = scales[i % COUNT(scales)] & 255;
        blocks[1] = scales[i % COUNT(scales)] >> 8;
        for (size_t k = 2; k < block_bytes(dtype); k++)
            blocks[k] = (unsigned char)((state = state * 1664525 + 1013904223) >> 24);
    }
}

static const mglu_dtype dtypes[] = {MGLU_DTYPE_Q8_0, MGLU_DTYPE_Q4_0};

static void every_weight_is_that_of_its_block(void **state)
{
    for (size_t t = 0; t < COUNT(dtypes); t++)
        for (int h = COLUMNS; h <= MOST_COLUMNS; h += COLUMNS) {
            mglu_dtype dtype = dtypes[t];
            unsigned char blocks[MOST_ROWS * MOST_COLUMNS / COLUMNS * MOST_BLOCK];
            unsigned char packed[MOST_ROWS * 192], scales[MOST_ROWS * MOST_COLUMNS / COLUMNS * 2];
            float weights[MOST_ROWS * MOST_COLUMNS];
            size_t row_bytes = (size_t)h / COLUMNS * block_bytes(dtype);

            fill_blocks(dtype, blocks, MOST_ROWS * (size_t)h / COLUMNS, 0);
            assert_ok(mglu_pack_ggml_blocks(blocks, 0, dtype, MOST_ROWS, h, packed, scales));
            assert_ok(mglu_unpack_weights(packed, scales, dtype, MOST_ROWS, h, MGLU_DTYPE_F32, weights));
            for (int r = 0; r < MOST_ROWS; r++)
                for (int c = 0; c < h; c++) {
                    const unsigned char *block = blocks + (size_t)r * row_bytes + (size_t)c / 32 * block_bytes(dtype);
                    double got = (double)weights[r * h + c], expected = block_value(dtype, block, c % COLUMNS);

                    if (got != expected)
                        fail_msg("%s h %d [%d][%d]: %g, not %g", mglu_dtype_name(dtype), h, r, c, got, expected);
                }
        }
}

/* The packed bytes, padding included, are those of a matrix whose quants and scales were apart from the start. */
static void the_bytes_are_those_of_mglu_pack_weights(void **state)
{
    for (size_t t = 0; t < COUNT(dtypes); t++) {
        mglu_dtype dtype = dtypes[t];
        size_t quant_bytes = block_bytes(dtype) - 2;
        unsigned char blocks[2 * 3 * MOST_BLOCK], quants[6 * 32], apart[6 * 2];
        unsigned char packed[2][2 * 128], scales[2][6 * 2];

        fill_blocks(dtype, blocks, 6, 0);
        for (size_t i = 0; i < 6; i++) {
            memcpy(apart + 2 * i, blocks + i * block_bytes(dtype), 2);
            memcpy(quants + i * quant_bytes, blocks + i * block_bytes(dtype) + 2, quant_bytes);
        }
        assert_ok(mglu_pack_ggml_blocks(blocks, 0, dtype, 2, 96, packed[0], scales[0]));
        assert_ok(mglu_pack_weights(&(mglu_array){.data = quants, .dtype = dtype, .scales = apart}, 2, 96, dtype, 0,
                                    packed[1], scales[1]));
        assert_memory_equal(packed[0], packed[1], mglu_packed_weight_size(dtype, 2, 96));
        assert_memory_equal(scales[0], scales[1], sizeof scales[0]);
    }
}

static void rows_may_be_apart(void **state)
{
    unsigned char blocks[2 * 50], packed[2][2 * 64], scales[2][4];

    fill_blocks(MGLU_DTYPE_Q8_0, blocks, 2, 16);
    assert_ok(mglu_pack_ggml_blocks(blocks, 50, MGLU_DTYPE_Q8_0, 2, 32, packed[0], scales[0]));
    memmove(blocks + 34, blocks + 50, 34);
    assert_ok(mglu_pack_ggml_blocks(blocks, 0, MGLU_DTYPE_Q8_0, 2, 32, packed[1], scales[1]));
    assert_memory_equal(packed[0], packed[1], sizeof packed[0]);
    assert_memory_equal(scales[0], scales[1], sizeof scales[0]);
}

static void arguments_that_mean_nothing_are_refused(void **state)
{
    unsigned char blocks[68] = {0}, packed[128], scales[4];
    static const struct {
        mglu_dtype dtype;
        int64_t d, h;
        size_t stride_bytes;
        const char *says;
    } cases[] = {
        {MGLU_DTYPE_F16, 1, 32, 0, "only q8_0 and q4_0"},
        {MGLU_DTYPE_COUNT, 1, 32, 0, "only q8_0 and q4_0"},
        {MGLU_DTYPE_Q8_0, 1, 33, 0, "hidden_size is 33"},
        {MGLU_DTYPE_Q8_0, -1, 32, 0, "sizes must be"},
        {MGLU_DTYPE_Q8_0, 1, -32, 0, "sizes must be"},
        {MGLU_DTYPE_Q4_0, MGLU_MAX_SIZE + 1, 32, 0, "sizes must be"},
        {MGLU_DTYPE_Q4_0, 1, MGLU_MAX_SIZE + 32, 0, "sizes must be"},
        {MGLU_DTYPE_Q4_0, 1, 32, 17, "shorter than a row"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_status(mglu_pack_ggml_blocks(blocks, cases[i].stride_bytes, cases[i].dtype, cases[i].d, cases[i].h,
                                            packed, scales),
                      MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says(cases[i].says);
    }
    assert_status(mglu_pack_ggml_blocks(NULL, 0, MGLU_DTYPE_Q8_0, 1, 32, packed, scales), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_pack_ggml_blocks(blocks, 0, MGLU_DTYPE_Q8_0, 1, 32, NULL, scales), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_pack_ggml_blocks(blocks, 0, MGLU_DTYPE_Q8_0, 1, 32, packed, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_ok(mglu_pack_ggml_blocks(NULL, 0, MGLU_DTYPE_Q8_0, 0, 32, NULL, NULL));
    assert_ok(mglu_pack_ggml_blocks(NULL, 0, MGLU_DTYPE_Q8_0, 1, 0, NULL, NULL));
}

static void a_scale_that_is_not_finite_is_refused(void **state)
{
    unsigned char blocks[2 * 3 * MOST_BLOCK], packed[2 * 128], scales[12];

    for (size_t t = 0; t < COUNT(dtypes); t++) {
        fill_blocks(dtypes[t], blocks, 6, 0);
        blocks[4 * block_bytes(dtypes[t]) + 1] = 0x7c; /* exponent 31: infinite or NaN */
        assert_status(mglu_pack_ggml_blocks(blocks, 0, dtypes[t], 2, 96, packed, scales), MGLU_ERROR_NONFINITE);
        assert_error_says("block [1][1]");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_weight_is_that_of_its_block),
        cmocka_unit_test(the_bytes_are_those_of_mglu_pack_weights),
        cmocka_unit_test(rows_may_be_apart),
        cmocka_unit_test(arguments_that_mean_nothing_are_refused),
        cmocka_unit_test(a_scale_that_is_not_finite_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
