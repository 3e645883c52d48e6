/* SPDX-License-Identifier: MIT */
#include "backends/cuda/cuda_backend.h"

#include <unistd.h>

/* The primary context of a device, shared with all other CUDA code of the process. */

mglu_status mglu_cuda_check(struct mglu_cuda_device *device, CUresult result, const char *call)
{
    const struct mglu_cuda_backend *backend = device->backend;
    char text[96];

    if (result == CUDA_SUCCESS)
        return MGLU_OK;
    if (mglu_cuda_is_sticky(result))
        atomic_store(&device->lost, (int)result);
    mglu_cuda_result_text(&backend->driver, result, text, sizeof text);
    return backend->host->fail(mglu_cuda_status(result), "cuda: %s: %s", call, text);
}

/* Conditions under which the driver must not be called. */
static mglu_status check_alive(struct mglu_cuda_device *device)
{
    const struct mglu_cuda_backend *backend = device->backend;
    int lost = atomic_load(&device->lost);
    char text[96];

    if (getpid() != backend->process)
        return backend->host->fail(MGLU_ERROR_AFTER_FORK,
                                   "cuda: the driver was opened before fork() and does not work in the child");
    if (atomic_load(&device->is_given_up))
        return backend->host->fail(MGLU_ERROR_DEVICE_LOST,
                                   "cuda: the device was given up: a queue was destroyed before its work was done");
    if (!lost)
        return MGLU_OK;
    mglu_cuda_result_text(&backend->driver, (CUresult)lost, text, sizeof text);
    return backend->host->fail(mglu_cuda_status((CUresult)lost), "cuda: the device was lost: %s", text);
}

mglu_status mglu_cuda_enter(struct mglu_cuda_device *device)
{
    mglu_status status = check_alive(device);

    if (status != MGLU_OK)
        return status;
    return mglu_cuda_check(device, device->backend->driver.ctx_push_current(device->context), "cuCtxPushCurrent");
}

mglu_status mglu_cuda_retain_and_enter(struct mglu_cuda_device *device)
{
    mglu_status status = check_alive(device);

    if (status != MGLU_OK)
        return status;
    pthread_mutex_lock(&device->lock);
    if (!device->context) {
        CUcontext context = NULL;

        status = mglu_cuda_check(device, device->backend->driver.primary_ctx_retain(&context, device->handle),
                                 "cuDevicePrimaryCtxRetain");
        device->context = status == MGLU_OK ? context : NULL;
    }
    pthread_mutex_unlock(&device->lock);
    return status == MGLU_OK ? mglu_cuda_enter(device) : status;
}

void mglu_cuda_leave_context(struct mglu_cuda_device *device)
{
    CUcontext context;

    device->backend->driver.ctx_pop_current(&context);
}

mglu_status mglu_cuda_leave(struct mglu_cuda_device *device, mglu_status status)
{
    mglu_cuda_leave_context(device);
    return status;
}

/* Entered again where it fails: a lack of memory may be over, and what is not freed now never is. */
int mglu_cuda_enter_to_free(struct mglu_cuda_device *device)
{
    const struct mglu_cuda_driver *driver = &device->backend->driver;

    if (getpid() != device->backend->process || atomic_load(&device->is_given_up))
        return 0;
    return driver->ctx_push_current(device->context) == CUDA_SUCCESS ||
           driver->ctx_push_current(device->context) == CUDA_SUCCESS;
}

void mglu_cuda_give_up(struct mglu_cuda_device *device)
{
    const mglu_host *host = device->backend->host;

    atomic_store(&device->is_given_up, 1);
    host->log(host, MGLU_LOG_WARN,
              "cuda: %s: a queue is destroyed before its work is done: the device is given up in this context, and its "
              "memory stays allocated",
              device->name);
}

void mglu_cuda_release_context(struct mglu_cuda_device *device)
{
    const struct mglu_cuda_driver *driver = &device->backend->driver;

    if (!device->context || !mglu_cuda_enter_to_free(device))
        return;
    for (int i = 0; i < MGLU_CUDA_MODULES; i++)
        if (device->modules[i])
            driver->module_unload(device->modules[i]);
    mglu_cuda_leave_context(device);
    driver->primary_ctx_release(device->handle);
}
