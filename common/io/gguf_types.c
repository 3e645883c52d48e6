/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_types.h"

static const struct mglu_io_ggml_type types[] = {
    [MGLU_IO_GGML_F32] = {"F32", 1, 4},
    [MGLU_IO_GGML_F16] = {"F16", 1, 2},
    [MGLU_IO_GGML_Q4_0] = {"Q4_0", 32, 18},
    [3] = {"Q4_1", 32, 20},
    [6] = {"Q5_0", 32, 22},
    [7] = {"Q5_1", 32, 24},
    [MGLU_IO_GGML_Q8_0] = {"Q8_0", 32, 34},
    [9] = {"Q8_1", 32, 40},
    [10] = {"Q2_K", 256, 84},
    [11] = {"Q3_K", 256, 110},
    [12] = {"Q4_K", 256, 144},
    [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},
    [15] = {"Q8_K", 256, 292},
    [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98},
    [19] = {"IQ1_S", 256, 50},
    [20] = {"IQ4_NL", 32, 18},
    [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},
    [23] = {"IQ4_XS", 256, 136},
    [MGLU_IO_GGML_I8] = {"I8", 1, 1},
    [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},
    [27] = {"I64", 1, 8},
    [28] = {"F64", 1, 8},
    [29] = {"IQ1_M", 256, 56},
    [MGLU_IO_GGML_BF16] = {"BF16", 1, 2},
    [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},
    [39] = {"MXFP4", 32, 17},
    [40] = {"NVFP4", 64, 36},
};

static const uint32_t of_dtype[MGLU_DTYPE_COUNT] = {
    [MGLU_DTYPE_F32] = MGLU_IO_GGML_F32,   [MGLU_DTYPE_F16] = MGLU_IO_GGML_F16,   [MGLU_DTYPE_BF16] = MGLU_IO_GGML_BF16,
    [MGLU_DTYPE_Q8_0] = MGLU_IO_GGML_Q8_0, [MGLU_DTYPE_Q4_0] = MGLU_IO_GGML_Q4_0,
};
_Static_assert(MGLU_DTYPE_COUNT == 5, "a new dtype needs its type in GGUF files here");

const struct mglu_io_ggml_type *mglu_io_ggml_type(uint32_t type)
{
    return type < sizeof types / sizeof types[0] && types[type].name ? &types[type] : NULL;
}

int mglu_io_ggml_dtype(uint32_t type, mglu_dtype *dtype)
{
    for (int i = 0; i < MGLU_DTYPE_COUNT; i++)
        if (of_dtype[i] == type) {
            *dtype = (mglu_dtype)i;
            return 1;
        }
    return 0;
}

uint32_t mglu_io_ggml_type_of(mglu_dtype dtype)
{
    return of_dtype[dtype];
}
