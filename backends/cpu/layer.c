/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"

mglu_status mglu_cpu_supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan)
{
    const struct mglu_cpu_backend *self = backend;

    if (!self->isa->gemv[plan->shape->dtype])
        return self->host->fail(MGLU_ERROR_UNSUPPORTED, "cpu: no kernels for weights in %s",
                                mglu_dtype_name(plan->shape->dtype));
    return MGLU_OK;
}

mglu_status mglu_cpu_layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                  void **layer)
{
    const struct mglu_cpu_backend *self = backend;
    const mglu_packed_weights *packed = &((const struct mglu_cpu_weights *)weights)->packed;
    struct mglu_cpu_layer *made = mglu_cpu_allocate(self->host, sizeof *made);

    if (!made)
        return self->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_cpu_layer){
        .backend = self,
        .weights = weights,
        .desc = plan->desc,
        .plan = mglu_cpu_make_plan(self->isa, packed, &plan->desc),
    };
    made->layout = mglu_cpu_lay_out_workspace(packed, &made->plan);
    mglu_cpu_log_plan(self, packed, &plan->desc, &made->plan);
    *layer = made;
    return MGLU_OK;
}

void mglu_cpu_layer_destroy(void *backend, void *layer)
{
    mglu_cpu_release(((const struct mglu_cpu_backend *)backend)->host, layer, sizeof(struct mglu_cpu_layer));
}

mglu_accuracy mglu_cpu_layer_accuracy(void *backend, const void *layer)
{
    return ((const struct mglu_cpu_layer *)layer)->plan.use_int8 ? MGLU_ACCURACY_C : MGLU_ACCURACY_A;
}
