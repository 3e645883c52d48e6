/* SPDX-License-Identifier: MIT */

/* Prints the launch of each projection kernel for one token on a device with this number of multiprocessors. */

#include "backends/cuda/kernels/params.h"

#include <mglu/mglu.h>

#include <stdio.h>
#include <stdlib.h>

static void print_launch(struct mglu_cuda_variant variant, uint32_t rows, uint32_t columns, uint32_t multiprocessors)
{
    const uint32_t warps = mglu_cuda_warps(variant, rows, columns, multiprocessors);
    const struct mglu_cuda_launch launch = mglu_cuda_projection_launch(variant, warps, rows, 1);

    printf("mglu_%s_%s_x%s_%s %u %u %u\n", mglu_cuda_engine_name(variant.engine), mglu_dtype_name(variant.weights),
           mglu_cuda_x_name(variant), mglu_cuda_form_name(variant.form), launch.grid_y, launch.block_x,
           launch.shared_bytes);
}

int main(int count, char **arguments)
{
    if (count != 4) {
        fprintf(stderr, "usage: cuda-launches ROWS COLUMNS MULTIPROCESSORS\n");
        return 2;
    }
    for (int engine = 0; engine < MGLU_CUDA_RING; engine++) /* persistent kernels are not launched in waves */
        for (int dtype = MGLU_DTYPE_F32; dtype <= MGLU_DTYPE_Q4_0; dtype++)
            for (int x = MGLU_CUDA_X_F32; x <= MGLU_CUDA_X_SAME; x++)
                for (int form = 0; form < MGLU_CUDA_FORMS; form++) {
                    const struct mglu_cuda_variant variant = {(enum mglu_cuda_engine)engine, (mglu_dtype)dtype,
                                                              (enum mglu_cuda_x)x, (enum mglu_cuda_form)form};
                    if (mglu_cuda_variant_exists(variant))
                        print_launch(variant, (uint32_t)strtoul(arguments[1], NULL, 10),
                                     (uint32_t)strtoul(arguments[2], NULL, 10),
                                     (uint32_t)strtoul(arguments[3], NULL, 10));
                }
    return 0;
}
