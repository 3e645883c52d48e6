/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CUDA_ENTRIES_HPP
#define MGLU_TEST_CUDA_ENTRIES_HPP

/* Kernels by their names. */

namespace shim
{

struct entry {
    const char *symbol;
    void (*body)(const void *argument);
};

template <class P, void (*KERNEL)(P)> void call(const void *argument)
{
    KERNEL(*static_cast<const P *>(argument));
}

/* In ring_kernels.cpp; NULL for other names. */
const entry *find_ring_kernel(const char *symbol);

} // namespace shim

#define PROJECTION(symbol) {#symbol, shim::call<mglu_cuda_projection, symbol>},
#define PROJECTIONS_TO_8(name)                                                                                         \
    PROJECTION(name##_glu)                                                                                             \
    PROJECTION(name##_m1)                                                                                              \
    PROJECTION(name##_m2)                                                                                              \
    PROJECTION(name##_m4)                                                                                              \
    PROJECTION(name##_m8)
#define PROJECTIONS(name) PROJECTIONS_TO_8(name) PROJECTION(name##_m16)
#define WIDENED(name)     PROJECTIONS(name##_xf32) PROJECTIONS(name##_xhalf)

#endif
