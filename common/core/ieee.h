/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_IEEE_H
#define MGLU_CORE_IEEE_H

/*
 * What is computed is defined bit for bit by IEEE 754: NaN and infinities have meanings, and the order of additions
 * decides the rounding. With these options results are wrong by more than a thousandth, so nothing is compiled.
 * ieee_probe.c finds at configure time what no macro tells, as flush-to-zero by the linker.
 */
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "mglu: compiled with -ffast-math, -Ofast or -ffinite-math-only, which make its results wrong: leave them out"
#endif
#if defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__)
#error "mglu: compiled with -funsafe-math-optimizations or a part of it, which makes its results wrong: leave it out"
#endif

#endif
