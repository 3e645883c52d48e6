/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_VEC_H
#define MGLU_CPU_VEC_H

/*
 * The instruction set that a file is compiled for. The build compiles the kernels once per instruction set, each time
 * with a different one of the macros below. A vec_<isa>.h defines the f32 vectors of gemv.c, gemm.h and elementwise.c,
 * a bytes_<isa>.h the byte vectors of gemv_int8.h.
 *
 * What a vec_<isa>.h defines: vec, VEC_LANES, VEC_MASKS (masks whose sums fit the registers, 1 to 16) and its
 * VEC_FOR_MASK_COUNTS, VEC_MASKS_OF_TWO_ROWS (masks whose sums of two rows do), TILE_VECS and TILE_TOKENS (the size of
 * the register tile of gemm.h); vec_zero; from any address vec_load_f32, vec_load_f16, vec_load_bf16, vec_load_i8,
 * vec_load_nibbles and vec_broadcast; vec_broadcast_f16, vec_store_f32, where the hardware can (VEC_STORES_F16)
 * vec_store_f16, vec_mul, vec_add, vec_fma; vec_select, which selects the lanes whose bits are set in a mask word from
 * bit part * VEC_LANES on; vec_add_masked, which adds the lanes that vec_select selects; vec_add_masked_at, the same
 * with the addend in memory; vec_transpose; and vec_reduce, the end of the summation tree.
 */

#if defined(MGLU_ISA_BASELINE)
#include "vec_baseline.h"
#define KERNEL(name) mglu_##name##_baseline
#elif defined(MGLU_ISA_AVX2)
#include "bytes_avx2madd.h"
#include "vec_avx2.h"
#define KERNEL(name) mglu_##name##_avx2
#elif defined(MGLU_ISA_AVXVNNI)
#include "bytes_avxvnni.h"
#include "vec_avx2.h"
#define KERNEL(name) mglu_##name##_avxvnni
#elif defined(MGLU_ISA_AVX512)
#include "vec_avx512.h"
#define KERNEL(name) mglu_##name##_avx512
#elif defined(MGLU_ISA_AVX512VNNI)
#include "bytes_avx512vnni.h"
#include "vec_avx512.h"
#define KERNEL(name) mglu_##name##_avx512vnni
#elif defined(MGLU_ISA_AVX512BF16)
#include "vec_avx512.h"
#define KERNEL(name) mglu_##name##_avx512bf16
#elif defined(MGLU_ISA_AVX512AMX)
#include "vec_avx512.h"
#define KERNEL(name) mglu_##name##_avx512amx
#elif defined(MGLU_ISA_NEON)
#include "bytes_neonmull.h"
#include "vec_neon.h"
#define KERNEL(name) mglu_##name##_neon
#elif defined(MGLU_ISA_NEONDOT)
#include "bytes_neondot.h"
#include "vec_neon.h"
#define KERNEL(name) mglu_##name##_neondot
#elif defined(MGLU_ISA_NEONI8MM)
#include "vec_neon.h"
#define KERNEL(name) mglu_##name##_neoni8mm
#elif defined(MGLU_ISA_SVE128)
#include "bytes_sve.h"
#include "vec_sve.h"
#define KERNEL(name) mglu_##name##_sve128
#elif defined(MGLU_ISA_SVE256)
#include "bytes_sve.h"
#include "vec_sve.h"
#define KERNEL(name) mglu_##name##_sve256
#else
#error "define MGLU_ISA_<instruction set>, as backends/cpu/meson.build does"
#endif

/* Rows of one call of GEMM. */
enum { GEMM_ROWS = VEC_LANES > 8 ? 32 : 16 };

#endif
