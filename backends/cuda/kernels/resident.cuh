/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_RESIDENT_CUH
#define MGLU_CUDA_RESIDENT_CUH

/*
 * How many blocks of four warps a multiprocessor is to hold at once, which decides how many registers a thread may
 * have. A strip that does not find a place at first runs alone at the end, for as long as all the others together. So
 * all strips of 14336 rows should find one: 7 on each of the 132 multiprocessors of an H100 or H200 and of the 148 of a
 * B200, 6 on each of the 170 of an RTX 5090. Where that would spill it is as many as do not. tests/build/cuda_waves.txt
 * has what comes of it.
 */

#include "backends/cuda/kernels/params.h"

struct resident_blocks {
    int simt_same[MGLU_CUDA_FORMS];  /* x has the dtype of the weights */
    int simt_other[MGLU_CUDA_FORMS]; /* x has to be widened, or weights */
    int mma8[MGLU_CUDA_FORMS], mma16[MGLU_CUDA_FORMS];
};

/* In the order of the forms: the row alone, a plain layer, 1, 2, 4, 8 and 16 masks. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
static constexpr resident_blocks RESIDENT = {
    {6, 6, 6, 6, 6, 5, 2}, {6, 6, 6, 7, 4, 4, 2}, {0, 6, 6, 6, 6, 5, 3}, {0, 5, 6, 5, 4, 3, 0}};
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
static constexpr resident_blocks RESIDENT = {
    {7, 7, 7, 7, 7, 5, 2}, {7, 7, 7, 7, 4, 4, 2}, {0, 7, 7, 7, 7, 5, 3}, {0, 5, 6, 5, 4, 3, 0}};
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
static constexpr resident_blocks RESIDENT = {
    {7, 7, 7, 7, 6, 4, 2}, {7, 7, 7, 7, 6, 4, 2}, {0, 7, 7, 7, 7, 5, 3}, {0, 5, 6, 5, 4, 3, 0}};
#else
static constexpr resident_blocks RESIDENT = {
    {4, 4, 4, 4, 4, 4, 2}, {4, 4, 4, 4, 4, 4, 2}, {0, 4, 4, 4, 4, 4, 2}, {0, 4, 4, 4, 3, 2, 0}};
#endif

/* Of a thread of SIMT kernels, whose blocks may have more than four warps. */
template <mglu_dtype DTYPE, mglu_cuda_x X, mglu_cuda_form FORM> struct simt_registers {
    static constexpr int REGISTERS_OF_A_MULTIPROCESSOR = 65536, GRANULE = 8, MOST = 255;
    static constexpr int ASKED = X == MGLU_CUDA_X_SAME ? RESIDENT.simt_same[FORM] : RESIDENT.simt_other[FORM];
    /* Weights in f32 are twice the registers; those in q8_0 are widened by way of more of them from sm_100 on. */
    static constexpr bool IS_LARGE =
        (DTYPE == MGLU_DTYPE_F32 && (FORM == MGLU_CUDA_GLU || FORM == MGLU_CUDA_MASKS_4)) ||
        (DTYPE == MGLU_DTYPE_Q8_0 && FORM == MGLU_CUDA_MASKS_2 && RESIDENT.simt_same[MGLU_CUDA_MASKS_8] == 5);
    static constexpr int BLOCKS = IS_LARGE && ASKED > 5 ? 5 : ASKED;
    static constexpr int SHARE = REGISTERS_OF_A_MULTIPROCESSOR / (128 * BLOCKS) / GRANULE * GRANULE;
    static constexpr int COUNT = SHARE < MOST ? SHARE : MOST;
};

#endif
