/* SPDX-License-Identifier: MIT */
/* The code of docs/embedding/cuda.md, compiled only: tests/unit/cuda/fake has tests of these calls. */
#include <mglu/cuda.h>

mglu_status compute_on_stream(mglu_device *device, struct CUstream_st *stream, mglu_layer *layer, unsigned long long x,
                              unsigned long long y, mglu_memory *workspace);

mglu_status compute_on_stream(mglu_device *device, struct CUstream_st *stream, mglu_layer *layer, unsigned long long x,
                              unsigned long long y, mglu_memory *workspace)
{
    mglu_queue *queue = NULL;

    const mglu_queue_desc desc = mglu_cuda_queue_desc(stream); /* a cudaStream_t or CUstream */
    mglu_status status = mglu_queue_create(device, &desc, &queue);
    const mglu_forward_args args = {.struct_size = sizeof args,
                                    .batch = 1,
                                    .x.data = mglu_cuda_data(x), /* a CUdeviceptr */
                                    .y.data = mglu_cuda_data(y),
                                    .workspace = mglu_memory_data(workspace),
                                    .workspace_size = mglu_memory_size(workspace)};
    if (status == MGLU_OK)
        status = mglu_forward(layer, queue, &args); /* launches kernels on the stream and returns */

    mglu_queue_destroy(&queue); /* waits for the work */
    return status;
}
