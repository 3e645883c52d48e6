/* SPDX-License-Identifier: MIT */
#include "fake_device.h"

#include <string.h>

/* What is known of an object is its address. */
static char platforms[FAKE_PLATFORMS], devices[FAKE_PLATFORMS];

cl_int fake_call(enum fake_function function)
{
    fake.calls[function]++;
    return fake.failing == function && fake.calls[function] >= fake.failing_call ? fake.code : CL_SUCCESS;
}

cl_int CL_API_CALL fake_get_platforms(cl_uint room, cl_platform_id *ids, cl_uint *count)
{
    const cl_int code = fake_call(FAKE_clGetPlatformIDs);

    for (cl_uint i = 0; i < room && i < fake.platforms; i++)
        ids[i] = (cl_platform_id)(void *)&platforms[i];
    *count = fake.platforms;
    return code;
}

cl_int CL_API_CALL fake_get_platform_info(cl_platform_id id, cl_platform_info what, size_t size, void *value,
                                          size_t *needed)
{
    return fake_call(FAKE_clGetPlatformInfo);
}

cl_int CL_API_CALL fake_get_devices(cl_platform_id id, cl_device_type type, cl_uint room, cl_device_id *ids,
                                    cl_uint *count)
{
    const size_t platform = (size_t)((char *)(void *)id - platforms);
    const cl_int code = fake_call(FAKE_clGetDeviceIDs);

    if (code == CL_SUCCESS && fake.devices[platform] == 0)
        return CL_DEVICE_NOT_FOUND;
    *count = fake.devices[platform];
    ids[0] = (cl_device_id)(void *)&devices[platform];
    return code;
}

cl_int fake_give(void *value, size_t size, const void *from, size_t count)
{
    if (size < count)
        return CL_INVALID_VALUE;
    memcpy(value, from, count);
    return CL_SUCCESS;
}

cl_int CL_API_CALL fake_get_device_info(cl_device_id id, cl_device_info what, size_t size, void *value, size_t *needed)
{
    const cl_int code = fake_call(FAKE_clGetDeviceInfo);
    const cl_ulong memory = 1 << 30;
    const size_t items = 256;
    const cl_bool yes = CL_TRUE;

    if (code != CL_SUCCESS)
        return code;
    switch (what) {
    case CL_DEVICE_NAME:
        return fake_give(value, size, "Fake 3000", 10);
    case CL_DEVICE_VERSION:
        return fake_give(value, size, fake.version, strlen(fake.version) + 1);
    case CL_DEVICE_TYPE:
        return fake_give(value, size, &fake.type, sizeof fake.type);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
        return fake_give(value, size, &memory, sizeof memory);
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
        return fake_give(value, size, &fake.most_bytes, sizeof fake.most_bytes);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
        return fake_give(value, size, &items, sizeof items);
    case CL_DEVICE_COMPILER_AVAILABLE:
        return fake_give(value, size, &fake.has_compiler, sizeof fake.has_compiler);
    case CL_DEVICE_AVAILABLE:
    case CL_DEVICE_ENDIAN_LITTLE:
        return fake_give(value, size, &yes, sizeof yes);
    default:
        return CL_INVALID_VALUE;
    }
}
