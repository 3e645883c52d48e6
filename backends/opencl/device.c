/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

#include <stdio.h>
#include <string.h>

/* Lists the devices. No objects are made on them here: session.c does that on first use. */

enum { MAX_PLATFORMS = 32, MAX_PLATFORM_DEVICES = 64 };

/*
 * What a driver does not know, it calls an invalid value; the answer is then 0 or "". Any other code is a failure of
 * the driver: a device whose properties are guesses would give other bits or no results.
 */
static void ask(struct mglu_opencl_device *device, cl_device_info what, size_t size, void *answer)
{
    const cl_int code = device->backend->cl.clGetDeviceInfo(device->id, what, size, answer, NULL);
    char text[64];

    if (code == CL_SUCCESS)
        return;
    memset(answer, 0, size);
    mglu_opencl_code_text(code, text, sizeof text);
    if (code != CL_INVALID_VALUE && !device->reason[0])
        snprintf(device->reason, sizeof device->reason, "clGetDeviceInfo: %s", text);
}

/* A text of a device; "" when the driver has none or it does not fit. */
static void read_text(struct mglu_opencl_device *device, cl_device_info what, char *text, size_t size)
{
    ask(device, what, size, text);
    text[size - 1] = '\0';
}

/* A number of a device in `size` bytes; 0 when the driver does not report it. */
static uint64_t read_number(struct mglu_opencl_device *device, cl_device_info what, size_t size)
{
    uint64_t number = 0;
    uint32_t small = 0;

    ask(device, what, size, size == sizeof small ? (void *)&small : &number);
    return size == sizeof small ? small : number;
}

/* Whether a string such as "OpenCL 1.1 vendor" names version 1.2 or later. */
static int is_new_enough(const char *version)
{
    int major = 0, minor = 0;

    return sscanf(version, "OpenCL %d.%d", &major, &minor) == 2 && (major > 1 || minor >= 2);
}

/* Writes why the device cannot be used; "" when it can. */
static void find_fault(struct mglu_opencl_device *device, const char *version)
{
    const struct {
        int is_fault;
        const char *text;
    } faults[] = {
        {!is_new_enough(version), "its driver is older than OpenCL 1.2"},
        {!read_number(device, CL_DEVICE_AVAILABLE, sizeof(cl_bool)), "the driver says that it is not available"},
        {!read_number(device, CL_DEVICE_COMPILER_AVAILABLE, sizeof(cl_bool)), "its driver has no compiler"},
        {!read_number(device, CL_DEVICE_ENDIAN_LITTLE, sizeof(cl_bool)), "it is big-endian"},
    };

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (faults[i].is_fault && !device->reason[0])
            snprintf(device->reason, sizeof device->reason, "%s", faults[i].text);
}

static void read_device(struct mglu_opencl_device *device)
{
    char version[128], driver[64];

    read_text(device, CL_DEVICE_NAME, device->name, sizeof device->name);
    read_text(device, CL_DEVICE_VERSION, version, sizeof version);
    read_text(device, CL_DRIVER_VERSION, driver, sizeof driver);
    snprintf(device->driver, sizeof device->driver, "%s, %.30s", version, driver);
    snprintf(device->details, sizeof device->details, "%.40s", version);
    device->type = read_number(device, CL_DEVICE_TYPE, sizeof(cl_device_type));
    device->memory_bytes = read_number(device, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof(cl_ulong));
    device->most_bytes = read_number(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof(cl_ulong));
    device->local_bytes = read_number(device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof(cl_ulong));
    device->most_items = (size_t)read_number(device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(size_t));
    device->rounds_division = (read_number(device, CL_DEVICE_SINGLE_FP_CONFIG, sizeof(cl_device_fp_config)) &
                               CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
    find_fault(device, version);
}

/* Adds the call that failed to the reason for a backend without devices. */
static void add_failure(struct mglu_opencl_backend *backend, const char *call, cl_int code)
{
    const size_t used = strlen(backend->reason);
    char text[64];

    mglu_opencl_code_text(code, text, sizeof text);
    snprintf(backend->reason + used, sizeof backend->reason - used, ": %s: %s", call, text);
}

static cl_uint find_platforms(struct mglu_opencl_backend *backend, cl_platform_id platforms[MAX_PLATFORMS])
{
    enum { NO_PLATFORM = -1001 /* CL_PLATFORM_NOT_FOUND_KHR, of the loader */ };
    cl_uint count = 0;
    const cl_int code = backend->cl.clGetPlatformIDs(MAX_PLATFORMS, platforms, &count);

    if (code == CL_SUCCESS && count > 0)
        return count < MAX_PLATFORMS ? count : MAX_PLATFORMS;
    snprintf(backend->reason, sizeof backend->reason, "no OpenCL platform: the loader finds no driver");
    if (code != CL_SUCCESS && code != NO_PLATFORM)
        add_failure(backend, "clGetPlatformIDs", code);
    return 0;
}

/* The devices of all platforms. Platforms without devices, and those that fail, are skipped. */
static size_t find_devices(struct mglu_opencl_backend *backend, cl_platform_id platforms[MAX_PLATFORMS],
                           cl_device_id ids[MAX_PLATFORMS][MAX_PLATFORM_DEVICES], cl_uint counts[MAX_PLATFORMS])
{
    const cl_uint platform_count = find_platforms(backend, platforms);
    cl_int failure = CL_DEVICE_NOT_FOUND;
    size_t total = 0;

    for (cl_uint i = 0; i < platform_count; i++) {
        const cl_int code =
            backend->cl.clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, MAX_PLATFORM_DEVICES, ids[i], &counts[i]);
        if (code != CL_SUCCESS)
            counts[i] = 0;
        if (code != CL_SUCCESS && failure == CL_DEVICE_NOT_FOUND)
            failure = code;
        if (counts[i] > MAX_PLATFORM_DEVICES)
            counts[i] = MAX_PLATFORM_DEVICES;
        total += counts[i];
    }
    if (platform_count == 0 || total > 0)
        return total;
    snprintf(backend->reason, sizeof backend->reason, "no OpenCL device: %u platforms without any",
             (unsigned)platform_count);
    if (failure != CL_DEVICE_NOT_FOUND)
        add_failure(backend, "clGetDeviceIDs", failure);
    return 0;
}

static mglu_status list_devices(struct mglu_opencl_backend *backend)
{
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_device_id ids[MAX_PLATFORMS][MAX_PLATFORM_DEVICES];
    cl_uint counts[MAX_PLATFORMS] = {0};
    size_t total = find_devices(backend, platforms, ids, counts);

    if (total == 0)
        return MGLU_OK;
    backend->devices = mglu_opencl_allocate(backend->host, total * sizeof *backend->devices);
    if (!backend->devices)
        return backend->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    for (size_t i = 0; i < MAX_PLATFORMS; i++)
        for (cl_uint k = 0; k < counts[i]; k++) {
            struct mglu_opencl_device *device = &backend->devices[backend->count++];
            *device = (struct mglu_opencl_device){.backend = backend, .platform = platforms[i], .id = ids[i][k]};
            atomic_init(&device->lost, 0);
            atomic_init(&device->is_given_up, 0);
            pthread_mutex_init(&device->lock, NULL);
            read_device(device);
        }
    return MGLU_OK;
}

mglu_status mglu_opencl_open_with(const mglu_host *host, const struct mglu_opencl_driver *driver, const char *reason,
                                  void **backend)
{
    struct mglu_opencl_backend *made = mglu_opencl_allocate(host, sizeof *made);
    mglu_status status = MGLU_OK;

    if (!made)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_opencl_backend){.host = host, .cache.host = host};
    atomic_init(&made->cache.is_said, 0);
    if (driver) {
        made->cl = *driver;
        status = list_devices(made);
    } else {
        snprintf(made->reason, sizeof made->reason, "%s", reason);
    }
    if (status != MGLU_OK)
        mglu_opencl_release(host, made, sizeof *made);
    else
        *backend = made;
    return status;
}

mglu_status mglu_opencl_open(const mglu_host *host, void **backend)
{
    struct mglu_opencl_driver driver;
    char reason[200];

    if (mglu_opencl_driver_open(&driver, reason, sizeof reason))
        return mglu_opencl_open_with(host, &driver, NULL, backend);
    return mglu_opencl_open_with(host, NULL, reason, backend);
}

void mglu_opencl_close(void *backend)
{
    struct mglu_opencl_backend *self = backend;

    for (int32_t i = 0; i < self->count; i++) {
        mglu_opencl_device_stop(&self->devices[i]);
        pthread_mutex_destroy(&self->devices[i].lock);
    }
    mglu_opencl_release(self->host, self->devices, (size_t)self->count * sizeof *self->devices);
    mglu_opencl_release(self->host, self, sizeof *self);
}

int32_t mglu_opencl_device_count(void *backend)
{
    const struct mglu_opencl_backend *self = backend;

    return self->count ? self->count : 1;
}

/* A simulator may report all types; treat it as a CPU. */
static mglu_device_type type_of(const struct mglu_opencl_device *device)
{
    if (device->type & CL_DEVICE_TYPE_CPU)
        return MGLU_DEVICE_CPU;
    return device->type & CL_DEVICE_TYPE_GPU ? MGLU_DEVICE_GPU : MGLU_DEVICE_ACCELERATOR;
}

mglu_status mglu_opencl_device_info(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    const struct mglu_opencl_backend *self = backend;
    const struct mglu_opencl_device *device;

    info->host_memory = 0;
    if (self->count == 0) {
        info->rank = MGLU_RANK_NEVER;
        info->type = MGLU_DEVICE_GPU;
        info->name = "OpenCL";
        info->reason = self->reason;
        return MGLU_OK;
    }
    device = &self->devices[ordinal];
    info->type = type_of(device);
    info->rank = info->type == MGLU_DEVICE_CPU ? MGLU_RANK_FOREIGN_CPU : MGLU_RANK_PORTABLE_GPU;
    info->name = device->name;
    info->reason = device->reason;
    info->details = device->details;
    info->memory_bytes = device->memory_bytes;
    return MGLU_OK;
}
