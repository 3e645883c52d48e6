/* SPDX-License-Identifier: MIT */
#include "backends/cuda/built.h"
#include "backends/cuda/cuda_backend.h"

#include <stdio.h>

/* The compiled kernels, one fatbin per .cu file, and their functions. */

extern const unsigned char mglu_cuda_image_simt_f32[], mglu_cuda_image_simt_f16[], mglu_cuda_image_simt_bf16[],
    mglu_cuda_image_simt_q8_0[], mglu_cuda_image_simt_q4_0[], mglu_cuda_image_mma_f16[], mglu_cuda_image_mma_bf16[],
    mglu_cuda_image_routing[];
#if MGLU_CUDA_HAS_RING
extern const unsigned char mglu_cuda_image_ring_f32[], mglu_cuda_image_ring_f16[], mglu_cuda_image_ring_bf16[],
    mglu_cuda_image_ring_q8_0[], mglu_cuda_image_ring_q4_0[];
#endif

static const unsigned char *const images[MGLU_CUDA_MODULES] = {
    [MGLU_CUDA_MODULE_SIMT_F32] = mglu_cuda_image_simt_f32,   [MGLU_CUDA_MODULE_SIMT_F16] = mglu_cuda_image_simt_f16,
    [MGLU_CUDA_MODULE_SIMT_BF16] = mglu_cuda_image_simt_bf16, [MGLU_CUDA_MODULE_SIMT_Q8_0] = mglu_cuda_image_simt_q8_0,
    [MGLU_CUDA_MODULE_SIMT_Q4_0] = mglu_cuda_image_simt_q4_0, [MGLU_CUDA_MODULE_MMA_F16] = mglu_cuda_image_mma_f16,
    [MGLU_CUDA_MODULE_MMA_BF16] = mglu_cuda_image_mma_bf16,   [MGLU_CUDA_MODULE_ROUTING] = mglu_cuda_image_routing,
#if MGLU_CUDA_HAS_RING
    [MGLU_CUDA_MODULE_RING_F32] = mglu_cuda_image_ring_f32,   [MGLU_CUDA_MODULE_RING_F16] = mglu_cuda_image_ring_f16,
    [MGLU_CUDA_MODULE_RING_BF16] = mglu_cuda_image_ring_bf16, [MGLU_CUDA_MODULE_RING_Q8_0] = mglu_cuda_image_ring_q8_0,
    [MGLU_CUDA_MODULE_RING_Q4_0] = mglu_cuda_image_ring_q4_0,
#endif
};

/* How code was compiled, which determines the devices that can run it. */
enum form {
    BINARY,          /* devices of the same major architecture, of this minor one or later */
    BINARY_SPECIFIC, /* as sm_90a: this architecture only */
    PTX              /* this architecture or any later one; the driver compiles it when the module is loaded */
};

struct code {
    int32_t architecture;
    enum form form;
    int has_ring; /* the kernels of the ring were compiled for it too */
};

static const struct code built[] = {MGLU_CUDA_BUILT};

static int runs_on(int32_t code, enum form form, int32_t architecture)
{
    if (form == PTX)
        return architecture >= code;
    if (form == BINARY_SPECIFIC)
        return architecture == code;
    return architecture / 10 == code / 10 && architecture >= code;
}

int mglu_cuda_is_built_for(int32_t architecture)
{
    for (size_t i = 0; i < sizeof built / sizeof built[0]; i++)
        if (runs_on(built[i].architecture, built[i].form, architecture))
            return 1;
    return 0;
}

int mglu_cuda_is_ring_built_for(int32_t architecture)
{
    for (size_t i = 0; i < sizeof built / sizeof built[0]; i++)
        if (built[i].has_ring && runs_on(built[i].architecture, built[i].form, architecture))
            return 1;
    return 0;
}

const char *mglu_cuda_built_architectures(void)
{
    return MGLU_CUDA_BUILT_NAMES;
}

/* Whether the module has no code for the device. */
static int is_no_image(CUresult result)
{
    return result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_INVALID_PTX ||
           result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION || result == CUDA_ERROR_JIT_COMPILER_NOT_FOUND ||
           result == CUDA_ERROR_INVALID_IMAGE;
}

static mglu_status load(struct mglu_cuda_device *device, enum mglu_cuda_module module)
{
    const struct mglu_cuda_driver *driver = &device->backend->driver;
    CUmodule loaded = NULL;
    CUresult result = driver->module_load_data(&loaded, images[module]);
    char text[96];

    if (is_no_image(result)) {
        mglu_cuda_result_text(driver, result, text, sizeof text);
        return device->backend->host->fail(MGLU_ERROR_NO_KERNEL_FOR_DEVICE,
                                           "cuda: no kernel for sm_%d; this build has %s: cuModuleLoadData: %s",
                                           (int)device->architecture, mglu_cuda_built_architectures(), text);
    }
    if (result == CUDA_SUCCESS)
        device->modules[module] = loaded;
    return mglu_cuda_check(device, result, "cuModuleLoadData");
}

/* With lazy loading a function is loaded at its first launch; forward must not wait for that. */
static mglu_status load_function(struct mglu_cuda_device *device, CUfunction function)
{
    const struct mglu_cuda_driver *driver = &device->backend->driver;

    return driver->func_load ? mglu_cuda_check(device, driver->func_load(function), "cuFuncLoad") : MGLU_OK;
}

/* Kernels wait for the previous launch where the architecture that they were compiled for supports it. */
enum { WAITING_ARCHITECTURE = 90 };

static mglu_status ask_function(struct mglu_cuda_device *device, const char *symbol, uint32_t threads,
                                struct mglu_cuda_function *function)
{
    const struct mglu_cuda_driver *driver = &device->backend->driver;
    int most = 0, written_for = 0;
    CUresult result = driver->func_get_attribute(&most, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function->handle);

    if (result == CUDA_SUCCESS)
        result = driver->func_get_attribute(&written_for, CU_FUNC_ATTRIBUTE_PTX_VERSION, function->handle);
    if (result == CUDA_SUCCESS)
        result = driver->func_get_attribute(&function->registers, CU_FUNC_ATTRIBUTE_NUM_REGS, function->handle);
    function->waits = written_for >= WAITING_ARCHITECTURE;
    if (result == CUDA_SUCCESS && (uint32_t)most < threads)
        return device->backend->host->fail(MGLU_ERROR_DEVICE, "cuda: %s needs %u threads, the device allows %d", symbol,
                                           threads, most);
    return mglu_cuda_check(device, result, "cuFuncGetAttribute");
}

mglu_status mglu_cuda_find_function(struct mglu_cuda_device *device, enum mglu_cuda_module module, const char *symbol,
                                    uint32_t threads, struct mglu_cuda_function *function)
{
    const struct mglu_cuda_driver *driver = &device->backend->driver;
    mglu_status status = MGLU_OK;
    char call[128];

    snprintf(call, sizeof call, "cuModuleGetFunction of %s", symbol);
    pthread_mutex_lock(&device->lock);
    if (!device->modules[module])
        status = load(device, module);
    pthread_mutex_unlock(&device->lock);
    if (status == MGLU_OK)
        status = mglu_cuda_check(device,
                                 driver->module_get_function(&function->handle, device->modules[module], symbol), call);
    if (status == MGLU_OK)
        status = load_function(device, function->handle);
    return status == MGLU_OK ? ask_function(device, symbol, threads, function) : status;
}

mglu_status mglu_cuda_allow_shared(struct mglu_cuda_device *device, const struct mglu_cuda_function *function,
                                   uint32_t bytes)
{
    return mglu_cuda_check(device,
                           device->backend->driver.func_set_attribute(
                               function->handle, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)bytes),
                           "cuFuncSetAttribute");
}
