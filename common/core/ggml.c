/* SPDX-License-Identifier: MIT */
#include <mglu/pack.h>

#include "common/core/ggml_block.h"

#define INVALID(...) mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_pack_ggml_blocks: " __VA_ARGS__)

static mglu_status check_shape(mglu_dtype dtype, int64_t rows, int64_t columns, size_t stride_bytes)
{
    size_t groups = (size_t)columns / MGLU_GROUP_COLUMNS;

    if (!mglu_dtype_is_quantised(dtype))
        return INVALID("dtype %d has no blocks, only q8_0 and q4_0 have", (int)dtype);
    if (rows < 0 || columns < 0 || rows > MGLU_MAX_SIZE || columns > MGLU_MAX_SIZE)
        return INVALID("sizes must be 0..%lld", (long long)MGLU_MAX_SIZE);
    if (columns % MGLU_GROUP_COLUMNS != 0)
        return INVALID("hidden_size is %lld, but rows of blocks have a multiple of %d columns", (long long)columns,
                       MGLU_GROUP_COLUMNS);
    if (stride_bytes && stride_bytes < groups * mglu_ggml_block_bytes(dtype))
        return INVALID("stride_bytes is %zu bytes, shorter than a row", stride_bytes);
    return MGLU_OK;
}

mglu_status mglu_pack_ggml_blocks(const void *blocks, size_t stride_bytes, mglu_dtype dtype, int64_t intermediate_size,
                                  int64_t hidden_size, void *packed, void *scales)
{
    mglu_status status = check_shape(dtype, intermediate_size, hidden_size, stride_bytes);
    size_t groups = (size_t)hidden_size / MGLU_GROUP_COLUMNS, stride, used, bad;
    const unsigned char *row = blocks;
    unsigned char *quants = packed, *row_scales = scales;

    if (status != MGLU_OK || intermediate_size == 0 || hidden_size == 0)
        return status;
    if (!blocks || !packed || !scales)
        return INVALID("blocks, packed or scales is NULL");
    stride = mglu_packed_weight_stride_bytes(dtype, hidden_size);
    used = groups * mglu_ggml_quant_bytes(dtype);
    stride_bytes = stride_bytes ? stride_bytes : groups * mglu_ggml_block_bytes(dtype);
    for (int64_t r = 0; r < intermediate_size; r++, row += stride_bytes, quants += stride) {
        mglu_ggml_split(dtype, row, groups, quants, row_scales);
        memset(quants + used, mglu_padding_byte(dtype), stride - used);
        bad = mglu_first_nonfinite(row_scales, MGLU_DTYPE_F16, groups);
        if (bad < groups)
            return mglu_fail(MGLU_ERROR_NONFINITE, "block [%lld][%zu]: its scale is not finite", (long long)r, bad);
        row_scales += groups * MGLU_GGML_SCALE_BYTES;
    }
    return MGLU_OK;
}
