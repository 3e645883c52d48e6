/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CUDA_SELECT_H
#define MGLU_CUDA_SELECT_H

/* Selects the kernel for each batch of a layer: from the row of dispatch_table.h for the device, else its default. */

#include "backends/cuda/kernels/params.h"
#include "backends/cuda/kernels/ring_plan.h"

#include <mglu/layer.h>

/* What MGLU_CUDA_VARIANT asks for, as "simt", "mma8:4", "ring" or "": the tuner's way of timing one kernel. */
struct mglu_cuda_forced {
    int is_forced;
    enum mglu_cuda_engine engine;
    uint32_t warps; /* 0: as many as when not forced */
};

/* The smallest batch that each engine computes, up to that of the next engine. INT64_MAX: the engine is not used. */
struct mglu_cuda_selection {
    int64_t from_batch[MGLU_CUDA_ENGINES];
    uint32_t simt_warps; /* minimum number of warps that share a strip */
    const char *reason;  /* why these, for the log */
};

/* Parses such a string; 0 when it is invalid. */
int mglu_cuda_read_forced(const char *text, struct mglu_cuda_forced *forced);

/* The properties of a layer and its device that determine the selection. */
struct mglu_cuda_request {
    int32_t architecture;
    mglu_dtype weights, x;
    enum mglu_cuda_form form;
    int has_routing;
    int is_reproducible; /* one kernel for every batch */
    int has_infinite;    /* among the weights of the projection */
    uint32_t columns, block_bytes;
    struct mglu_cuda_ring_device ring;
};

/* Why the engine cannot compute this layer; NULL when it can. */
const char *mglu_cuda_refusal(const struct mglu_cuda_request *request, enum mglu_cuda_engine engine);

/* Without force, never the ring: it has not been timed on any device. */
struct mglu_cuda_selection mglu_cuda_select(const struct mglu_cuda_request *request,
                                            const struct mglu_cuda_forced *forced);

enum mglu_cuda_engine mglu_cuda_engine_for(const struct mglu_cuda_selection *selection, int64_t batch);

#endif
