/* SPDX-License-Identifier: MIT */
#include "tensor_core.hpp"

#include <algorithm>
#include <cmath>

namespace shim
{

namespace
{

constexpr int F32_FRACTION_BITS = 23;

/* Products added at once, and the bits that terms keep below the last bit of the largest one; negative: all. */
struct model {
    int depth, extra_bits;
};

const model models[MGLU_SHIM_TENSOR_CORES] = {{16, -1}, {8, 1}, {16, 1}, {16, 2}};

model current = models[MGLU_SHIM_EXACT_TERMS];

float round_to_zero(double value)
{
    float rounded = static_cast<float>(value);
    return std::fabs(static_cast<double>(rounded)) > std::fabs(value) ? std::nextafter(rounded, 0.0f) : rounded;
}

double plain_sum(const double *terms, int count)
{
    double total = 0;

    for (int i = 0; i < count; i++)
        total += terms[i];
    return total;
}

/* Terms are aligned with the largest one and truncated below its last bit and the extra bits. */
double aligned_sum(const double *terms, int count)
{
    double largest = 0, unit, total = 0;

    for (int i = 0; i < count; i++)
        largest = std::max(largest, std::fabs(terms[i]));
    if (largest == 0)
        return 0;
    unit = std::ldexp(1.0, std::ilogb(largest) - F32_FRACTION_BITS - current.extra_bits);
    for (int i = 0; i < count; i++)
        total += static_cast<double>(static_cast<int64_t>(terms[i] / unit));
    return total * unit;
}

} // namespace

void set_tensor_core(mglu_shim_tensor_core chosen)
{
    current = models[chosen];
}

float tensor_core_sum(const double (&a)[MMA_DEPTH], const double (&b)[MMA_DEPTH], float sum)
{
    double terms[MMA_DEPTH + 1];

    for (int first = 0; first < MMA_DEPTH; first += current.depth) {
        terms[0] = static_cast<double>(sum);
        for (int k = 0; k < current.depth; k++)
            terms[1 + k] = a[first + k] * b[first + k];
        double total = plain_sum(terms, 1 + current.depth);
        if (current.extra_bits >= 0 && std::isfinite(total))
            total = aligned_sum(terms, 1 + current.depth);
        sum = round_to_zero(total);
    }
    return sum;
}

} // namespace shim

void mglu_shim_set_tensor_core(mglu_shim_tensor_core chosen)
{
    shim::set_tensor_core(chosen);
}
