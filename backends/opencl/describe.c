/* SPDX-License-Identifier: MIT */
#include "common/core/describe.h"
#include "backends/opencl/opencl.h"

/* What the log says of a layer: the kernel of its projection for the largest batch, and why it is that one. */

static const char *type_name(cl_device_type type)
{
    if (type & CL_DEVICE_TYPE_CPU)
        return "cpu";
    return type & CL_DEVICE_TYPE_GPU ? "gpu" : "accelerator";
}

void mglu_opencl_describe(const struct mglu_opencl_layer *layer)
{
    const mglu_host *host = layer->device->backend->host;
    const struct mglu_opencl_step *step = &layer->projection;
    const struct mglu_opencl_variant *variant = &step->variants[step->last];
    char text[MGLU_LAYER_TEXT_SIZE];

    mglu_describe_layer(&layer->weights->shape, layer->desc.max_batch, text);
    host->log(host, MGLU_LOG_DEBUG,
              "opencl: %s: kernel %s, %s device, %d rows and %d tokens at once, %d slices, %d lines, mask form %d, "
              "half form %d: %s",
              text, variant->slices == 1 ? "lanes" : "slices", type_name(layer->device->type), (int)variant->rows,
              (int)variant->tokens, (int)variant->slices, (int)variant->lines, (int)variant->mask_form,
              (int)variant->half_form, step->reason);
}
