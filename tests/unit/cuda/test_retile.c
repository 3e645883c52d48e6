/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"

#include "backends/cuda/kernels/retile.h"

#include <mglu/pack.h>

#include <stdlib.h>

/* Every weight, scale and mask bit is at the offset defined in tile_layout.h, and no other bit is set. */

static uint32_t next(uint32_t *seed)
{
    return *seed = *seed * 1664525u + 1013904223u;
}

/* A packed matrix of random bits. Padding is zero. */
struct source {
    struct mglu_cuda_matrix matrix;
    unsigned char *planes[2], *scales[2];
    uint32_t *masks;
    int64_t groups;
};

static struct source make_source(mglu_dtype dtype, int planes, uint32_t n_masks, int64_t rows, int64_t columns)
{
    struct source made = {.groups = (columns + 31) / 32};
    uint32_t seed = 1, bits = mglu_tile_weight_bits(dtype);
    size_t row_bytes = (size_t)made.groups * 4 * bits, stride = (row_bytes + 63) / 64 * 64;

    made.matrix = (struct mglu_cuda_matrix){.dtype = dtype, .n_masks = n_masks, .rows = rows, .columns = columns};
    for (int p = 0; p < planes; p++) {
        made.planes[p] = calloc((size_t)rows + 1, stride + 1);
        made.scales[p] = calloc((size_t)(rows * made.groups) + 1, 2);
        for (int64_t r = 0; r < rows; r++)
            for (size_t i = 0; i < row_bytes; i++)
                made.planes[p][(size_t)r * stride + i] = (unsigned char)(next(&seed) >> 24);
        for (int64_t i = 0; i < 2 * rows * made.groups; i++)
            made.scales[p][i] = (unsigned char)(next(&seed) >> 24);
        made.matrix.plane[p] = (mglu_packed_matrix){.data = made.planes[p], .stride_bytes = stride};
        made.matrix.scales[p] = mglu_tile_has_scales(dtype) ? made.scales[p] : NULL;
    }
    made.masks = calloc((size_t)(rows * made.groups) * n_masks + 1, 4);
    for (size_t i = 0; i < (size_t)(rows * made.groups) * n_masks; i++)
        made.masks[i] = next(&seed);
    made.matrix.masks = made.masks;
    return made;
}

static void free_source(struct source *source)
{
    for (int p = 0; p < 2; p++) {
        free(source->planes[p]);
        free(source->scales[p]);
    }
    free(source->masks);
}

/* Bits of an element in the packed format. */
static uint32_t packed_bits(const struct source *source, int plane, int64_t row, int64_t column)
{
    const mglu_packed_matrix *matrix = &source->matrix.plane[plane];
    const unsigned char *from = (const unsigned char *)matrix->data + (size_t)row * matrix->stride_bytes;
    uint32_t bits = 0;

    if (source->matrix.dtype == MGLU_DTYPE_Q4_0)
        return from[column / 32 * 16 + column % 16] >> (column % 32 / 16 * 4) & 15;
    memcpy(&bits, from + (size_t)column * mglu_tile_weight_bits(source->matrix.dtype) / 8,
           mglu_tile_weight_bits(source->matrix.dtype) / 8);
    return bits;
}

/* Takes the bits at an offset out of the block and leaves zeros. */
static uint32_t take_bits(unsigned char *from, uint32_t bit, uint32_t count)
{
    uint32_t taken = 0;

    for (uint32_t i = 0; i < count; i++) {
        taken |= (uint32_t)(from[(bit + i) / 8] >> (bit + i) % 8 & 1) << i;
        from[(bit + i) / 8] &= (unsigned char)~(1u << (bit + i) % 8);
    }
    return taken;
}

static void check_element(const struct source *source, unsigned char *block, int64_t row, int64_t column)
{
    const struct mglu_cuda_matrix *matrix = &source->matrix;
    const int planes = matrix->plane[1].data ? 2 : 1;
    const struct mglu_tile_place place = mglu_tile_place_of((uint32_t)(row % 16), (uint32_t)(column % 64));
    const uint32_t bits = mglu_tile_weight_bits(matrix->dtype), plane_bytes = mglu_tile_plane_bytes(matrix->dtype);
    const size_t group = (size_t)(row * source->groups + column / 32);

    for (int p = 0; p < planes; p++) {
        unsigned char *plane = block + (uint32_t)p * plane_bytes;
        assert_int_equal(take_bits(plane, mglu_tile_weight_bit_offset(matrix->dtype, place), bits),
                         packed_bits(source, p, row, column));
        if (mglu_tile_has_scales(matrix->dtype) && column % 32 == 31) {
            uint32_t offset = mglu_tile_weights_bytes(matrix->dtype) +
                              mglu_tile_scale_offset((uint32_t)(row % 16), (uint32_t)(column % 64 / 32));
            assert_int_equal(take_bits(plane, offset * 8, 16),
                             source->scales[p][2 * group] | source->scales[p][2 * group + 1] << 8);
        }
    }
    for (uint32_t i = 0; i < matrix->n_masks; i++) {
        uint32_t word = (uint32_t)planes * plane_bytes + (i * MGLU_TILE_LANES + place.lane) * 4;
        assert_int_equal(take_bits(block, word * 8 + mglu_tile_mask_bit(place.element), 1),
                         source->masks[group * matrix->n_masks + i] >> column % 32 & 1);
    }
}

static void check_matrix(mglu_dtype dtype, int planes, uint32_t n_masks, int64_t rows, int64_t columns)
{
    struct source source = make_source(dtype, planes, n_masks, rows, columns);
    const uint64_t bytes = mglu_cuda_matrix_bytes(&source.matrix);
    const uint32_t block_bytes = mglu_tile_block_bytes(dtype, (uint32_t)planes, n_masks);
    unsigned char *tiles = malloc(bytes + 1), *strips = malloc(bytes + 1);

    memset(strips, 0xff, bytes);
    mglu_cuda_retile(&source.matrix, 0, mglu_tile_strips(rows), tiles);
    for (uint32_t strip = 0; strip < mglu_tile_strips(rows); strip++)
        mglu_cuda_retile(&source.matrix, strip, 1, strips + bytes / mglu_tile_strips(rows) * strip);
    assert_memory_equal(tiles, strips, bytes);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < source.groups * 32; column++)
            check_element(&source,
                          tiles +
                              ((uint64_t)(row / 16) * mglu_tile_blocks(columns) + (uint64_t)column / 64) * block_bytes,
                          row, column);
    for (uint64_t i = 0; i < bytes; i++)
        assert_int_equal(tiles[i], 0);
    free(tiles);
    free(strips);
    free_source(&source);
}

static void test_every_element_is_at_its_offset_and_padding_is_zero(void **state)
{
    static const int64_t shapes[][2] = {{16, 64}, {1, 1}, {21, 70}, {33, 200}, {48, 32}};

    for (int dtype = MGLU_DTYPE_F32; dtype < MGLU_DTYPE_COUNT; dtype++) {
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            check_matrix((mglu_dtype)dtype, 2, 0, shapes[i][0], shapes[i][1]);
            for (uint32_t n_masks = 0; n_masks <= MGLU_MAX_MASKS; n_masks += 1 + n_masks)
                check_matrix((mglu_dtype)dtype, 1, n_masks, shapes[i][0], shapes[i][1]);
        }
    }
}

/* Memory is that of the packed format where no padding is needed: (bits + n_m) / 8 for each weight. */
static void test_whole_blocks_have_no_padding(void **state)
{
    for (uint32_t n_masks = 1; n_masks <= MGLU_MAX_MASKS; n_masks++)
        assert_int_equal(mglu_tile_matrix_bytes(MGLU_DTYPE_F16, 1, n_masks, 14336, 4096),
                         (uint64_t)14336 * 4096 * (16 + n_masks) / 8);
    assert_int_equal(mglu_tile_matrix_bytes(MGLU_DTYPE_F16, 2, 0, 14336, 4096), (uint64_t)14336 * 4096 * 4);
    assert_int_equal(mglu_tile_matrix_bytes(MGLU_DTYPE_Q8_0, 1, 4, 14336, 4096), (uint64_t)14336 * 4096 * 25 / 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_element_is_at_its_offset_and_padding_is_zero),
        cmocka_unit_test(test_whole_blocks_have_no_padding),
    };

    return cmocka_run_group_tests_name("cuda retile", tests, NULL, NULL);
}
