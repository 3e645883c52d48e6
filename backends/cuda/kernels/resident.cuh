/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_RESIDENT_CUH
#define MGLU_CUDA_RESIDENT_CUH

/*
 * The number of resident blocks of four warps per multiprocessor, which limits the registers of a thread. The strips of
 * a partial second wave run nearly alone, for as long as the whole first wave. So all strips of 14336 rows should be
 * resident: 7 on each of the 132 multiprocessors of an H100 or H200 and of the 148 of a B200, 6 on each of the 170 of
 * an RTX 5090. Where that would spill, it is fewer, and 4 rather than 5: a second wave of few strips is expected to be
 * less efficient than one of many. tests/build/cuda_waves.txt lists the resulting waves.
 */

#include "backends/cuda/kernels/params.h"

struct resident_blocks {
    int simt_same[MGLU_CUDA_FORMS];  /* x has the dtype of the weights */
    int simt_other[MGLU_CUDA_FORMS]; /* x has to be widened, or weights */
    int q8_0_two_masks;              /* instead of simt_other, which spills for it on one architecture */
    int mma8[MGLU_CUDA_FORMS], mma16[MGLU_CUDA_FORMS];
};

/* In the order of the forms: SUM, GLU, 1, 2, 4, 8 and 16 masks. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
static constexpr resident_blocks RESIDENT = {
    {6, 6, 6, 6, 6, 4, 2}, {6, 6, 6, 7, 4, 4, 2}, 4, {0, 6, 6, 6, 6, 4, 3}, {0, 4, 6, 4, 4, 3, 0}};
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
static constexpr resident_blocks RESIDENT = {
    {7, 7, 7, 7, 7, 4, 2}, {7, 7, 7, 7, 4, 4, 2}, 7, {0, 7, 7, 7, 7, 4, 3}, {0, 4, 4, 4, 4, 3, 0}};
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
static constexpr resident_blocks RESIDENT = {
    {7, 7, 7, 7, 6, 4, 2}, {7, 7, 7, 7, 6, 4, 2}, 7, {0, 7, 7, 7, 7, 4, 3}, {0, 4, 7, 4, 4, 3, 0}};
#else
static constexpr resident_blocks RESIDENT = {
    {4, 4, 4, 4, 4, 4, 2}, {4, 4, 4, 4, 4, 4, 2}, 4, {0, 4, 4, 4, 4, 4, 2}, {0, 4, 4, 4, 3, 2, 0}};
#endif

constexpr int resident_simt_blocks(mglu_dtype weights, mglu_cuda_x x, mglu_cuda_form form)
{
    const int blocks = x == MGLU_CUDA_X_SAME ? RESIDENT.simt_same[form] : RESIDENT.simt_other[form];

    if (weights == MGLU_DTYPE_F32 && (form == MGLU_CUDA_GLU || form == MGLU_CUDA_MASKS_4))
        return blocks < 5 ? blocks : 5; /* f32 weights need twice the registers */
    return weights == MGLU_DTYPE_Q8_0 && form == MGLU_CUDA_MASKS_2 ? RESIDENT.q8_0_two_masks : blocks;
}

/* Launch bounds of SIMT kernels, whose blocks may have more than four warps. */
constexpr int simt_registers(mglu_dtype weights, mglu_cuda_x x, mglu_cuda_form form)
{
    const int of_a_multiprocessor = 65536, granule = 8, most = 255;
    const int share = of_a_multiprocessor / (128 * resident_simt_blocks(weights, x, form)) / granule * granule;

    return share < most ? share : most;
}

#endif
