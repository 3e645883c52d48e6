/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_LOOPS_INT8_H
#define MGLU_BENCH_LOOPS_INT8_H

/**
 * @file
 * The loop of integers. The including file defines add_products() before: four products of bytes of x and y are added
 * to each sum.
 */

static float dot_int8(int64_t steps, float start)
{
    const vector_i32 x = (vector_i32){0} + (int32_t)start * 0x01020304, y = x + 1;
    vector_i32 a = x, b = x + 1, c = x + 2, d = x + 3, e = x + 4, f = x + 5;
    vector_i32 g = x + 6, h = x + 7, i = x + 8, j = x + 9, k = x + 10, l = x + 11;
    for (int64_t step = 0; step < steps; step++) {
        a = add_products(a, x, y);
        b = add_products(b, x, y);
        c = add_products(c, x, y);
        d = add_products(d, x, y);
        e = add_products(e, x, y);
        f = add_products(f, x, y);
        g = add_products(g, x, y);
        h = add_products(h, x, y);
        i = add_products(i, x, y);
        j = add_products(j, x, y);
        k = add_products(k, x, y);
        l = add_products(l, x, y);
    }
    a ^= b ^ c ^ d ^ e ^ f ^ g ^ h ^ i ^ j ^ k ^ l;
    return (float)a[0];
}

#endif
