/* SPDX-License-Identifier: MIT */
#include "backends/cuda/cuda_backend.h"
#include "common/core/variable.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Set by the tuner; see select.h. */
#define FORCED_VARIABLE "MGLU_CUDA_VARIANT"

static size_t backend_size(int32_t count)
{
    return sizeof(struct mglu_cuda_backend) + (size_t)count * sizeof(struct mglu_cuda_device);
}

/* A backend with memory for `count` devices, at least one. */
static mglu_status make_backend(const mglu_host *host, const struct mglu_cuda_driver *driver, int32_t count,
                                struct mglu_cuda_backend **backend)
{
    int32_t slots = count > 0 ? count : 1;
    struct mglu_cuda_backend *made = mglu_cuda_allocate(host, backend_size(slots));

    if (!made)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    memset(made, 0, backend_size(slots));
    made->host = host;
    made->driver = *driver;
    made->process = getpid();
    made->count = slots;
    for (int32_t i = 0; i < slots; i++) {
        made->devices[i].backend = made;
        made->devices[i].ordinal = i;
        atomic_init(&made->devices[i].lost, 0);
        atomic_init(&made->devices[i].is_given_up, 0);
        pthread_mutex_init(&made->devices[i].lock, NULL);
    }
    *backend = made;
    return MGLU_OK;
}

/* Writes the reason for a device that cannot be queried. */
static void explain(struct mglu_cuda_device *device, CUresult result, const char *call)
{
    char text[96];

    mglu_cuda_result_text(&device->backend->driver, result, text, sizeof text);
    snprintf(device->reason, sizeof device->reason, "reading the device: %s: %s", call, text);
}

/* A property of a device; 0 where the driver fails, which is then its reason. */
static int read_attribute(struct mglu_cuda_device *device, CUdevice_attribute attribute)
{
    int value = 0;
    CUresult result = device->backend->driver.device_get_attribute(&value, attribute, device->handle);

    if (result != CUDA_SUCCESS && !device->reason[0])
        explain(device, result, "cuDeviceGetAttribute");
    return result == CUDA_SUCCESS ? value : 0;
}

static void read_attributes(struct mglu_cuda_device *device)
{
    const int major = read_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    const int minor = read_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    int shared_bytes = 0;

    device->architecture = 10 * major + minor;
    device->multiprocessors = (uint32_t)read_attribute(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    device->reads_host_memory = read_attribute(device, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS);
    /* What the ring's launches need to know, where there are kernels of it. */
    if (mglu_cuda_is_ring_built_for(device->architecture))
        shared_bytes = read_attribute(device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
    if (shared_bytes > 0)
        device->ring = (struct mglu_cuda_ring_device){device->multiprocessors, (uint32_t)shared_bytes};
}

static void read_device(struct mglu_cuda_device *device, int driver_version)
{
    const struct mglu_cuda_driver *driver = &device->backend->driver;
    const char *call = "cuDeviceGet";
    CUresult result = driver->device_get(&device->handle, device->ordinal);
    size_t bytes = 0;

    if (result == CUDA_SUCCESS) {
        call = "cuDeviceGetName";
        result = driver->device_get_name(device->name, (int)sizeof device->name, device->handle);
    }
    if (result == CUDA_SUCCESS) {
        call = "cuDeviceTotalMem";
        result = driver->device_total_mem(&bytes, device->handle);
    }
    if (result != CUDA_SUCCESS)
        explain(device, result, call);
    else
        read_attributes(device);
    if (device->reason[0])
        return;
    device->memory_bytes = bytes;
    snprintf(device->details, sizeof device->details, "arch=sm_%d driver=%d.%d", (int)device->architecture,
             driver_version / 1000, driver_version % 1000 / 10);
    if (!mglu_cuda_is_built_for(device->architecture))
        snprintf(device->reason, sizeof device->reason, "no kernel for sm_%d; this build has %s",
                 (int)device->architecture, mglu_cuda_built_architectures());
}

/* Kernels of one major version of the toolkit load in drivers of that major version or newer. */
static int is_too_old(int driver_version)
{
    return driver_version / 1000 < CUDA_VERSION / 1000;
}

/* Counts the devices; where there are none, or none can be used, `reason` says why. */
static int32_t count_devices(const struct mglu_cuda_driver *driver, int *driver_version, char *reason, size_t size)
{
    char text[96];
    const char *call = "cuInit";
    CUresult result = driver->init(0);
    int count = 0;

    if (result == CUDA_SUCCESS) {
        call = "cuDriverGetVersion";
        result = driver->driver_get_version(driver_version);
    }
    if (result == CUDA_SUCCESS) {
        call = "cuDeviceGetCount";
        result = driver->device_get_count(&count);
    }
    mglu_cuda_result_text(driver, result, text, sizeof text);
    if (result == CUDA_ERROR_NOT_INITIALIZED)
        snprintf(reason, size, "%s: %s: the driver does not work in a child of the process that opened it", call, text);
    else if (result != CUDA_SUCCESS)
        snprintf(reason, size, "%s: %s", call, text);
    else if (is_too_old(*driver_version))
        snprintf(reason, size, "the driver is for CUDA %d.%d, this build needs %d.0 or newer", *driver_version / 1000,
                 *driver_version % 1000 / 10, CUDA_VERSION / 1000);
    else if (count == 0)
        snprintf(reason, size, "the driver lists no device");
    return reason[0] ? 0 : count;
}

mglu_status mglu_cuda_open(const mglu_host *host, void **backend)
{
    struct mglu_cuda_driver driver = {0};
    const char *wanted = mglu_variable(FORCED_VARIABLE);
    struct mglu_cuda_backend *made = NULL;
    struct mglu_cuda_forced forced;
    char reason[320] = "";
    int32_t count = 0;
    int driver_version = 0;
    mglu_status status;

    if (!mglu_cuda_read_forced(wanted, &forced))
        return host->fail(
            MGLU_ERROR_INVALID_ARGUMENT,
            FORCED_VARIABLE ": unknown kernel '%s'; known: simt, mma8, mma16, ring, each with :4, :8 or :16", wanted);
    if (mglu_cuda_driver_open(host, &driver) == MGLU_OK)
        count = count_devices(&driver, &driver_version, reason, sizeof reason);
    else
        snprintf(reason, sizeof reason, "%s", mglu_last_error());
    status = make_backend(host, &driver, count, &made);
    if (status != MGLU_OK)
        return status;
    made->forced = forced;
    for (int32_t i = 0; i < count; i++)
        read_device(&made->devices[i], driver_version);
    if (count == 0)
        snprintf(made->devices[0].reason, sizeof made->devices[0].reason, "%s", reason);
    *backend = made;
    return MGLU_OK;
}

void mglu_cuda_close(void *backend)
{
    struct mglu_cuda_backend *self = backend;

    for (int32_t i = 0; i < self->count; i++) {
        mglu_cuda_release_context(&self->devices[i]);
        pthread_mutex_destroy(&self->devices[i].lock);
    }
    mglu_cuda_release(self->host, self, backend_size(self->count));
}

int32_t mglu_cuda_device_count(void *backend)
{
    return ((const struct mglu_cuda_backend *)backend)->count;
}

mglu_status mglu_cuda_device_info(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    const struct mglu_cuda_device *device = &((const struct mglu_cuda_backend *)backend)->devices[ordinal];

    info->rank = MGLU_RANK_NATIVE_GPU;
    info->type = MGLU_DEVICE_GPU;
    info->host_memory = 0;
    info->name = device->name;
    info->reason = device->reason;
    info->details = device->details;
    info->memory_bytes = device->memory_bytes;
    return MGLU_OK;
}
