/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/kernels.h"
#include "backends/ref/kernels/store.h"
#include "backends/ref/ref.h"
#include "common/core/float_environment.h"

static void store(const struct mglu_ref_layer *layer, const mglu_forward_args *args, int64_t token, const double *want)
{
    mglu_dtype dtype = layer->desc.y_dtype;
    unsigned char *row = (unsigned char *)args->y.data + args->y.byte_offset +
                         (size_t)token * (size_t)args->y.row_stride * mglu_dtype_size(dtype);

    for (int64_t c = 0; c < mglu_ref_output_columns(&layer->packed); c++)
        mglu_ref_store(row, dtype, (size_t)c, want[c]);
}

mglu_status mglu_ref_forward(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    MGLU_DEFAULT_FLOATS;
    const struct mglu_ref_layer *self = layer;
    double *scratch = args->workspace, *want = scratch + mglu_ref_token_scratch(&self->packed);
    struct mglu_ref_queue own = {0}, *errors = queue ? queue : &own;

    for (int64_t token = 0; token < args->batch; token++) {
        if (!mglu_ref_token(self, args, token, NULL, scratch, want, NULL))
            atomic_store(&errors->bad_routing, 1);
        store(self, args, token, want);
    }
    return queue ? MGLU_OK : mglu_ref_queue_wait(backend, &own);
}

mglu_status mglu_ref_forward_reference(void *backend, void *layer, const mglu_forward_args *args,
                                       mglu_accuracy accuracy, double *want, double *tolerance)
{
    MGLU_DEFAULT_FLOATS;
    const mglu_host *host = ((const struct mglu_ref_backend *)backend)->host;
    const struct mglu_ref_layer *self = layer;
    size_t size = mglu_ref_token_scratch(&self->packed) * sizeof(double) + sizeof(double);
    double *scratch = host->allocator.allocate(host->allocator.user, size, _Alignof(double));

    if (!scratch)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    for (int64_t token = 0; token < args->batch; token++) {
        int64_t at = token * mglu_ref_output_columns(&self->packed);
        mglu_ref_token(self, args, token, &accuracy, scratch, want ? want + at : NULL,
                       tolerance ? tolerance + at : NULL);
    }
    host->allocator.release(host->allocator.user, scratch, size, _Alignof(double));
    return MGLU_OK;
}
