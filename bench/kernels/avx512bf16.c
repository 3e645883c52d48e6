/* SPDX-License-Identifier: MIT */
#include "loops_vnni.h"

static float dot_bf16(int64_t steps, float start)
{
    const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(start), _mm512_set1_ps(start));
    const __m512bh y = _mm512_cvtne2ps_pbh(_mm512_set1_ps(-start), _mm512_set1_ps(start));
    __m512 a = _mm512_set1_ps(start), b = a + 1.0f, c = a + 2.0f, d = a + 3.0f, e = a + 4.0f, f = a + 5.0f;
    __m512 g = a + 6.0f, h = a + 7.0f, i = a + 8.0f, j = a + 9.0f, k = a + 10.0f, l = a + 11.0f;
    for (int64_t step = 0; step < steps; step++) {
        a = _mm512_dpbf16_ps(a, x, y);
        b = _mm512_dpbf16_ps(b, x, y);
        c = _mm512_dpbf16_ps(c, x, y);
        d = _mm512_dpbf16_ps(d, x, y);
        e = _mm512_dpbf16_ps(e, x, y);
        f = _mm512_dpbf16_ps(f, x, y);
        g = _mm512_dpbf16_ps(g, x, y);
        h = _mm512_dpbf16_ps(h, x, y);
        i = _mm512_dpbf16_ps(i, x, y);
        j = _mm512_dpbf16_ps(j, x, y);
        k = _mm512_dpbf16_ps(k, x, y);
        l = _mm512_dpbf16_ps(l, x, y);
    }
    return _mm512_reduce_add_ps(a + b + c + d + e + f + g + h + i + j + k + l);
}

const struct kernels kernels_avx512bf16 = {
    .isa = "avx512-bf16",
    .read = {read_blocks, read_side_by_side},
    .units = {[UNIT_F32] = {"fma_f32", multiply_add, F32_OPERATIONS},
              [UNIT_BF16] = {"dot_bf16", dot_bf16, 4 * CHAINS *LANES},
              [UNIT_INT8] = {"dot_int8", dot_int8, INT8_OPERATIONS}},
};
