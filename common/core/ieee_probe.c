/* SPDX-License-Identifier: MIT */
#include <float.h>
#include <math.h>
#include <stdio.h>

/*
 * Run when a build is configured, with its flags: does arithmetic follow IEEE 754? Says what does not, and fails. The
 * numbers are volatile so that they are computed with at run time, after what the linker adds has set up the process.
 */

static volatile float smallest_normal = FLT_MIN, subnormal = FLT_MIN / 4, one = 1, zero = 0;

static int fault(const char *text)
{
    puts(text);
    return 1;
}

int main(void)
{
    const float nan = zero / zero, x = one;
    int faults = 0;

    if (smallest_normal / 4 == 0)
        faults += fault("subnormal results are flushed to zero");
    if (subnormal * 4 != smallest_normal)
        faults += fault("subnormal inputs are taken for zero");
    if (nan == nan || !isnan(nan))
        faults += fault("NaN is taken for a number");
    if ((1e8f + x) - 1e8f != 0)
        faults += fault("sums are simplified: (1e8 + x) - 1e8 is x");
    return faults != 0;
}
