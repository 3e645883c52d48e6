/* SPDX-License-Identifier: MIT */
#include "common/io/dtype.h"

#include "common/io/derived.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned bits;
} dtypes[] = {
    [MGLU_FILE_BOOL] = {"BOOL", 8},
    [MGLU_FILE_U8] = {"U8", 8},
    [MGLU_FILE_I8] = {"I8", 8},
    [MGLU_FILE_I16] = {"I16", 16},
    [MGLU_FILE_U16] = {"U16", 16},
    [MGLU_FILE_F16] = {"F16", 16},
    [MGLU_FILE_BF16] = {"BF16", 16},
    [MGLU_FILE_I32] = {"I32", 32},
    [MGLU_FILE_U32] = {"U32", 32},
    [MGLU_FILE_F32] = {"F32", 32},
    [MGLU_FILE_F64] = {"F64", 64},
    [MGLU_FILE_I64] = {"I64", 64},
    [MGLU_FILE_U64] = {"U64", 64},
    [MGLU_FILE_C64] = {"C64", 64},
    [MGLU_FILE_F8_E4M3] = {"F8_E4M3", 8},
    [MGLU_FILE_F8_E5M2] = {"F8_E5M2", 8},
    [MGLU_FILE_F8_E8M0] = {"F8_E8M0", 8},
    [MGLU_FILE_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [MGLU_FILE_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [MGLU_FILE_F6_E2M3] = {"F6_E2M3", 6},
    [MGLU_FILE_F6_E3M2] = {"F6_E3M2", 6},
    [MGLU_FILE_F4] = {"F4", 4},
};

enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

const char *mglu_file_dtype_name(mglu_file_dtype dtype)
{
    return (size_t)dtype < DTYPES ? dtypes[dtype].name : NULL;
}

size_t mglu_file_dtype_size(mglu_file_dtype dtype)
{
    return (size_t)dtype < DTYPES && dtypes[dtype].bits % 8 == 0 ? dtypes[dtype].bits / 8 : 0;
}

int mglu_io_dtype_from_name(const char *name, mglu_file_dtype *dtype)
{
    for (size_t i = 0; i < DTYPES; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *dtype = (mglu_file_dtype)i;
            return 1;
        }
    return 0;
}

int mglu_io_compute_dtype(mglu_file_dtype file_dtype, mglu_dtype *dtype)
{
    switch (file_dtype) {
    case MGLU_FILE_F32:
        *dtype = MGLU_DTYPE_F32;
        return 1;
    case MGLU_FILE_F16:
        *dtype = MGLU_DTYPE_F16;
        return 1;
    case MGLU_FILE_BF16:
        *dtype = MGLU_DTYPE_BF16;
        return 1;
    default:
        return 0;
    }
}

int mglu_io_weight_dtype(mglu_file_dtype file_dtype, mglu_dtype *dtype)
{
    if (file_dtype != MGLU_FILE_I8 && file_dtype != MGLU_FILE_U8)
        return mglu_io_compute_dtype(file_dtype, dtype);
    *dtype = file_dtype == MGLU_FILE_I8 ? MGLU_DTYPE_Q8_0 : MGLU_DTYPE_Q4_0;
    return 1;
}

int mglu_io_matrix_dtype(mglu_file_dtype file_dtype, mglu_dtype *dtype)
{
    if (file_dtype != MGLU_FILE_F64)
        return mglu_io_weight_dtype(file_dtype, dtype);
    *dtype = MGLU_DTYPE_F32;
    return 1;
}

int mglu_io_mask_form(mglu_file_dtype file_dtype, mglu_mask_form *form)
{
    static const mglu_mask_form logits[] = {
        [MGLU_DTYPE_F32] = MGLU_MASK_LOGITS_F32,
        [MGLU_DTYPE_F16] = MGLU_MASK_LOGITS_F16,
        [MGLU_DTYPE_BF16] = MGLU_MASK_LOGITS_BF16,
    };
    mglu_dtype dtype;

    if (file_dtype == MGLU_FILE_BOOL || file_dtype == MGLU_FILE_U8 || file_dtype == MGLU_FILE_I8 ||
        mglu_io_masks_as_bytes(file_dtype)) {
        *form = MGLU_MASK_BYTES;
        return 1;
    }
    if (!mglu_io_compute_dtype(file_dtype, &dtype))
        return 0;
    *form = logits[dtype];
    return 1;
}

mglu_file_dtype mglu_io_file_dtype(mglu_dtype dtype)
{
    static const mglu_file_dtype of[MGLU_DTYPE_COUNT] = {
        [MGLU_DTYPE_F32] = MGLU_FILE_F32, [MGLU_DTYPE_F16] = MGLU_FILE_F16, [MGLU_DTYPE_BF16] = MGLU_FILE_BF16,
        [MGLU_DTYPE_Q8_0] = MGLU_FILE_I8, [MGLU_DTYPE_Q4_0] = MGLU_FILE_U8,
    };
    _Static_assert(MGLU_DTYPE_COUNT == 5, "a new dtype needs its dtype in files here");

    return of[dtype];
}

int mglu_io_tensor_bytes(mglu_file_dtype dtype, int32_t rank, const int64_t *shape, size_t *bytes)
{
    size_t product = 1;

    for (int32_t i = 0; i < rank; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(product, (uint64_t)shape[i], &product))
            return 0;
    if (__builtin_mul_overflow(product, (size_t)dtypes[dtype].bits, &product) || product % 8 != 0)
        return 0;
    *bytes = product / 8;
    return 1;
}
