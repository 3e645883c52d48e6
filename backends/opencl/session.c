/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

/* The single cl_context of all objects of a device, and the first objects in it. */

static mglu_status make_objects(struct mglu_opencl_device *device, cl_context wanted)
{
    const struct mglu_opencl_driver *cl = &device->backend->cl;
    mglu_status status;
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)device->platform, 0};
    static const int zeros[16];
    cl_int code = CL_SUCCESS;

    if (wanted)
        code = cl->clRetainContext(wanted);
    device->context = wanted ? wanted : cl->clCreateContext(properties, 1, &device->id, NULL, NULL, &code);
    if (code != CL_SUCCESS) {
        device->context = NULL;
        return mglu_opencl_fail(device, code, wanted ? "clRetainContext" : "clCreateContext", "making a context");
    }
    device->queue = cl->clCreateCommandQueue(device->context, device->id, 0, &code);
    if (code != CL_SUCCESS) {
        device->queue = NULL;
        return mglu_opencl_fail(device, code, "clCreateCommandQueue", "making a queue");
    }
    status = mglu_opencl_buffer(device, sizeof zeros, zeros, &device->empty_buffer);
    if (status == MGLU_OK)
        device->first_word = mglu_opencl_first_word(device);
    return status;
}

static void drop_objects(struct mglu_opencl_device *device)
{
    const struct mglu_opencl_driver *cl = &device->backend->cl;

    mglu_opencl_buffer_release(device, device->empty_buffer);
    if (device->queue)
        cl->clReleaseCommandQueue(device->queue);
    if (device->context)
        cl->clReleaseContext(device->context);
    device->empty_buffer = NULL;
    device->queue = NULL;
    device->context = NULL;
}

mglu_status mglu_opencl_device_start(struct mglu_opencl_device *device, cl_context wanted)
{
    mglu_status status = mglu_opencl_device_check(device);

    if (status != MGLU_OK)
        return status;
    pthread_mutex_lock(&device->lock);
    if (!device->context) {
        status = make_objects(device, wanted);
        if (status != MGLU_OK)
            drop_objects(device);
    } else if (wanted && wanted != device->context) {
        status = device->backend->host->fail(MGLU_ERROR_INVALID_ARGUMENT,
                                             "opencl: %s: the queue is of another cl_context than what was made on "
                                             "this device before",
                                             device->name);
    }
    pthread_mutex_unlock(&device->lock);
    return status;
}

void mglu_opencl_device_stop(struct mglu_opencl_device *device)
{
    mglu_opencl_selections_free(device);
    mglu_opencl_programs_free(device);
    drop_objects(device);
}
