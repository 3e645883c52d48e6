/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

/* Converts the error of a driver call to a status and a text. */

mglu_status mglu_opencl_device_check(const struct mglu_opencl_device *device)
{
    if (atomic_load_explicit(&device->is_given_up, memory_order_relaxed))
        return device->backend->host->fail(MGLU_ERROR_DEVICE_LOST,
                                           "opencl: %s was given up: a queue was destroyed before its work was done",
                                           device->name);
    if (atomic_load_explicit(&device->lost, memory_order_relaxed))
        return device->backend->host->fail(MGLU_ERROR_DEVICE_LOST, "opencl: %s was lost", device->name);
    return MGLU_OK;
}

mglu_status mglu_opencl_fail(struct mglu_opencl_device *device, cl_int code, const char *call, const char *what)
{
    mglu_status status = mglu_opencl_status(code);
    char text[64];

    mglu_opencl_code_text(code, text, sizeof text);
    if (status == MGLU_ERROR_DEVICE_LOST)
        atomic_store(&device->lost, 1);
    return device->backend->host->fail(status, "opencl: %s: %s: %s: %s", device->name, what, call, text);
}
