/* SPDX-License-Identifier: MIT */
#include "backends/opencl/driver.h"
#include "common/core/library.h"

#include <dlfcn.h>
#include <stdio.h>

int mglu_opencl_driver_open(struct mglu_opencl_driver *driver, char *reason, size_t size)
{
    const char *why;
    void *library = mglu_library_open("libOpenCL.so.1", &why);

    if (!library) {
        snprintf(reason, size, "no OpenCL loader: %s", why);
        return 0;
    }
    /* dlsym() returns a pointer to data, which ISO C cannot convert to a function pointer. */
#define FIND(name)                                                                                                     \
    *(void **)(void *)&driver->name = dlsym(library, #name);                                                           \
    if (!driver->name) {                                                                                               \
        snprintf(reason, size, "libOpenCL.so.1 has no %s: it is older than OpenCL 1.2", #name);                        \
        return 0;                                                                                                      \
    }
    MGLU_OPENCL_FUNCTIONS(FIND)
#undef FIND
    return 1;
}

static const struct {
    cl_int code;
    const char *name;
    mglu_status status;
} codes[] = {
    {CL_DEVICE_NOT_AVAILABLE, "CL_DEVICE_NOT_AVAILABLE", MGLU_ERROR_DEVICE_LOST},
    {CL_COMPILER_NOT_AVAILABLE, "CL_COMPILER_NOT_AVAILABLE", MGLU_ERROR_BUILD_FAILED},
    {CL_MEM_OBJECT_ALLOCATION_FAILURE, "CL_MEM_OBJECT_ALLOCATION_FAILURE", MGLU_ERROR_OUT_OF_MEMORY},
    {CL_OUT_OF_RESOURCES, "CL_OUT_OF_RESOURCES", MGLU_ERROR_OUT_OF_MEMORY},
    {CL_OUT_OF_HOST_MEMORY, "CL_OUT_OF_HOST_MEMORY", MGLU_ERROR_OUT_OF_MEMORY},
    {CL_BUILD_PROGRAM_FAILURE, "CL_BUILD_PROGRAM_FAILURE", MGLU_ERROR_BUILD_FAILED},
    {CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST", MGLU_ERROR_DEVICE},
    {CL_INVALID_VALUE, "CL_INVALID_VALUE", MGLU_ERROR_DEVICE},
    {CL_INVALID_DEVICE, "CL_INVALID_DEVICE", MGLU_ERROR_DEVICE_LOST},
    {CL_INVALID_CONTEXT, "CL_INVALID_CONTEXT", MGLU_ERROR_DEVICE_LOST},
    {CL_INVALID_COMMAND_QUEUE, "CL_INVALID_COMMAND_QUEUE", MGLU_ERROR_DEVICE_LOST},
    {CL_INVALID_MEM_OBJECT, "CL_INVALID_MEM_OBJECT", MGLU_ERROR_DEVICE},
    {CL_INVALID_BINARY, "CL_INVALID_BINARY", MGLU_ERROR_BUILD_FAILED},
    {CL_INVALID_BUILD_OPTIONS, "CL_INVALID_BUILD_OPTIONS", MGLU_ERROR_BUILD_FAILED},
    {CL_INVALID_KERNEL_NAME, "CL_INVALID_KERNEL_NAME", MGLU_ERROR_BUILD_FAILED},
    {CL_INVALID_KERNEL_ARGS, "CL_INVALID_KERNEL_ARGS", MGLU_ERROR_DEVICE},
    {CL_INVALID_WORK_GROUP_SIZE, "CL_INVALID_WORK_GROUP_SIZE", MGLU_ERROR_DEVICE},
    {CL_INVALID_WORK_ITEM_SIZE, "CL_INVALID_WORK_ITEM_SIZE", MGLU_ERROR_DEVICE},
    {CL_INVALID_EVENT_WAIT_LIST, "CL_INVALID_EVENT_WAIT_LIST", MGLU_ERROR_DEVICE},
    {CL_INVALID_BUFFER_SIZE, "CL_INVALID_BUFFER_SIZE", MGLU_ERROR_OUT_OF_MEMORY},
};

enum { CODES = sizeof codes / sizeof codes[0] };

void mglu_opencl_code_text(cl_int code, char *text, size_t size)
{
    const char *name = "OpenCL error";

    for (int i = 0; i < CODES; i++)
        if (codes[i].code == code)
            name = codes[i].name;
    snprintf(text, size, "%s (%d)", name, (int)code);
}

mglu_status mglu_opencl_status(cl_int code)
{
    for (int i = 0; i < CODES; i++)
        if (codes[i].code == code)
            return codes[i].status;
    return code == CL_SUCCESS ? MGLU_OK : MGLU_ERROR_DEVICE;
}
