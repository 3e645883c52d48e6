/* SPDX-License-Identifier: MIT */
#include "backends/cuda/cuda_backend.h"

/*
 * Whether the addresses of a forward are known to the driver: a kernel that reads a host pointer ends the context of
 * the process. A queue remembers the addresses that it has asked for, so that a forward on the same memory only
 * launches. Nothing is asked while the stream is captured, nor where kernels can read any memory of the process.
 */

struct operand {
    const char *name;
    const void *data;
};

static int is_known(const struct mglu_cuda_queue *queue, const void *data)
{
    for (int i = 0; i < MGLU_CUDA_KNOWN; i++)
        if (queue->known[i] == data)
            return 1;
    return 0;
}

static mglu_status check_operand(struct mglu_cuda_queue *queue, const struct operand *operand)
{
    const struct mglu_cuda_backend *backend = queue->device->backend;
    CUmemorytype type;
    CUresult result = backend->driver.pointer_get_attribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                                            (CUdeviceptr)(uintptr_t)operand->data);

    if (result == CUDA_ERROR_INVALID_VALUE)
        return backend->host->fail(MGLU_ERROR_INVALID_ARGUMENT,
                                   "forward: %s is not device memory: the driver does not know its address; a host "
                                   "pointer? cuda takes device addresses, as mglu_memory_data() returns",
                                   operand->name);
    if (result != CUDA_SUCCESS)
        return mglu_cuda_check(queue->device, result, "cuPointerGetAttribute");
    queue->known[queue->next_known] = operand->data;
    queue->next_known = (queue->next_known + 1) % MGLU_CUDA_KNOWN;
    return MGLU_OK;
}

/* The legacy stream can't be asked while another stream is captured. */
static mglu_status ask_captured(const struct mglu_cuda_queue *queue, int *is_captured)
{
    CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_NONE;
    const CUresult result = queue->device->backend->driver.stream_is_capturing(queue->stream, &capture);

    *is_captured = result == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT || capture != CU_STREAM_CAPTURE_STATUS_NONE;
    return *is_captured ? MGLU_OK : mglu_cuda_check(queue->device, result, "cuStreamIsCapturing");
}

mglu_status mglu_cuda_check_addresses(struct mglu_cuda_queue *queue, const mglu_forward_args *args)
{
    const struct operand operands[] = {
        {"x", args->x.data},
        {"y", args->y.data},
        {"residual", args->residual.data},
        {"routing_ids", args->routing_ids.data},
        {"routing_weights", args->routing_weights.data},
        {"the workspace", args->workspace},
    };
    mglu_status status = MGLU_OK;
    int was_asked = 0, is_captured = 0;

    if (queue->device->reads_host_memory)
        return MGLU_OK;
    for (size_t i = 0; i < sizeof operands / sizeof operands[0] && status == MGLU_OK; i++) {
        if (!operands[i].data || is_known(queue, operands[i].data))
            continue;
        if (!was_asked)
            status = ask_captured(queue, &is_captured);
        was_asked = 1;
        if (status == MGLU_OK && !is_captured)
            status = check_operand(queue, &operands[i]);
    }
    return status;
}
