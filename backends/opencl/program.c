/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Programs: the one source of kernels/, compiled once per context for each variant. */

/* kernels/ and the headers that they share with C, joined by embed.py. */
static const char source[] = {
#include "opencl_source.h"
    '\0',
};

/* A program of a device's list. */
struct mglu_opencl_program {
    struct mglu_opencl_program *next;
    struct mglu_opencl_variant variant;
    cl_program program;
};

enum { OPTIONS_SIZE = 400, LOG_SIZE = 360 };

static void write_options(const struct mglu_opencl_device *device, const struct mglu_opencl_variant *variant,
                          char options[OPTIONS_SIZE])
{
    snprintf(options, OPTIONS_SIZE,
             "-cl-std=CL1.2%s -DWEIGHT=%d -DMATRICES=%d -DMASKS=%d -DGLU=%d -DROUTED=%d -DROWS=%d -DTOKENS=%d "
             "-DSLICES=%d -DLINES=%d -DMASK_FORM=%d -DHALF_FORM=%d",
             device->rounds_division ? " -cl-fp32-correctly-rounded-divide-sqrt" : "", (int)variant->weight,
             variant->matrices, variant->masks, variant->is_glu, variant->routed, variant->rows, variant->tokens,
             variant->slices, variant->lines, variant->mask_form, variant->half_form);
}

/* The end of the compiler's log in one line: the last lines are the most informative. */
static void read_log(const struct mglu_opencl_device *device, cl_program program, char text[LOG_SIZE])
{
    const struct mglu_opencl_driver *cl = &device->backend->cl;
    const mglu_host *host = device->backend->host;
    size_t size = 0, start;
    char *log;

    text[0] = '\0';
    if (cl->clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) != CL_SUCCESS || size == 0)
        return;
    log = mglu_opencl_allocate(host, size + 1);
    if (!log)
        return;
    if (cl->clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, size, log, NULL) == CL_SUCCESS) {
        log[size] = '\0';
        host->log(host, MGLU_LOG_DEBUG, "opencl: %s: build log: %s", device->name, log);
        size = strlen(log);
        start = size >= LOG_SIZE ? size - LOG_SIZE + 1 : 0;
        snprintf(text, LOG_SIZE, "%s", log + start);
    }
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    mglu_opencl_release(host, log, size + 1);
}

static mglu_status compile(struct mglu_opencl_device *device, const char *options, cl_program *program)
{
    const struct mglu_opencl_driver *cl = &device->backend->cl;
    const mglu_host *host = device->backend->host;
    const char *text = source;
    const size_t length = sizeof source - 1;
    char log[LOG_SIZE], code_text[64];
    cl_int code;

    *program = cl->clCreateProgramWithSource(device->context, 1, &text, &length, &code);
    if (code != CL_SUCCESS)
        return mglu_opencl_fail(device, code, "clCreateProgramWithSource", "making a program");
    code = cl->clBuildProgram(*program, 1, &device->id, options, NULL, NULL);
    if (code == CL_SUCCESS)
        return MGLU_OK;
    read_log(device, *program, log);
    cl->clReleaseProgram(*program);
    if (mglu_opencl_status(code) != MGLU_ERROR_BUILD_FAILED)
        return mglu_opencl_fail(device, code, "clBuildProgram", "building a program");
    mglu_opencl_code_text(code, code_text, sizeof code_text);
    return host->fail(MGLU_ERROR_BUILD_FAILED, "opencl: %s: clBuildProgram: %s: %s", device->name, code_text, log);
}

/* From a cached binary; NULL when there is none, or the driver does not accept it. */
static cl_program from_cache(struct mglu_opencl_device *device, const char *key, const char *options)
{
    const struct mglu_opencl_driver *cl = &device->backend->cl;
    size_t size = 0;
    unsigned char *binary = mglu_opencl_cache_load(&device->backend->cache, key, &size);
    const unsigned char *constant = binary;
    cl_program program = NULL;
    cl_int code, loaded;

    if (!binary)
        return NULL;
    program = cl->clCreateProgramWithBinary(device->context, 1, &device->id, &size, &constant, &loaded, &code);
    if (code == CL_SUCCESS && loaded == CL_SUCCESS)
        code = cl->clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    else if (code == CL_SUCCESS)
        code = loaded;
    mglu_opencl_release(device->backend->host, binary, size);
    if (code == CL_SUCCESS)
        return program;
    if (program)
        cl->clReleaseProgram(program);
    return NULL;
}

static void to_cache(struct mglu_opencl_device *device, const char *key, cl_program program)
{
    const struct mglu_opencl_driver *cl = &device->backend->cl;
    const mglu_host *host = device->backend->host;
    unsigned char *binary;
    size_t size = 0;

    if (!mglu_opencl_cache_is_on(&device->backend->cache) ||
        cl->clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS || size == 0)
        return;
    binary = mglu_opencl_allocate(host, size);
    if (!binary)
        return;
    if (cl->clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS)
        mglu_opencl_cache_store(&device->backend->cache, key, binary, size);
    mglu_opencl_release(host, binary, size);
}

/*
 * The binary is read after a kernel was made: some drivers do not compile earlier. It depends on the source, the
 * options, the device and the driver; all are in the key.
 */
static mglu_status make_program(struct mglu_opencl_device *device, const char *options, cl_program *program)
{
    const struct mglu_opencl_driver *cl = &device->backend->cl;
    char key[MGLU_OPENCL_KEY_SIZE];
    cl_kernel kernel;
    mglu_status status;
    cl_int code;

    mglu_opencl_cache_key((const char *const[]){source, options, device->name, device->driver, NULL}, key);
    *program = from_cache(device, key, options);
    if (*program)
        return MGLU_OK;
    status = compile(device, options, program);
    if (status != MGLU_OK)
        return status;
    kernel = cl->clCreateKernel(*program, "mglu_rows", &code);
    if (code != CL_SUCCESS) {
        cl->clReleaseProgram(*program);
        return mglu_opencl_fail(device, code, "clCreateKernel", "making a kernel");
    }
    (void)cl->clReleaseKernel(kernel);
    to_cache(device, key, *program);
    return MGLU_OK;
}

static mglu_status add_program(struct mglu_opencl_device *device, const struct mglu_opencl_variant *variant,
                               cl_program *program)
{
    const mglu_host *host = device->backend->host;
    struct mglu_opencl_program *made = mglu_opencl_allocate(host, sizeof *made);
    char options[OPTIONS_SIZE];
    mglu_status status;

    if (!made)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    write_options(device, variant, options);
    host->log(host, MGLU_LOG_DEBUG, "opencl: %s: program %s", device->name, options);
    status = make_program(device, options, program);
    if (status != MGLU_OK) {
        mglu_opencl_release(host, made, sizeof *made);
        return status;
    }
    *made = (struct mglu_opencl_program){.next = device->programs, .variant = *variant, .program = *program};
    device->programs = made;
    return MGLU_OK;
}

mglu_status mglu_opencl_program_get(struct mglu_opencl_device *device, const struct mglu_opencl_variant *variant,
                                    cl_program *program)
{
    mglu_status status = MGLU_OK;
    const struct mglu_opencl_program *found;

    pthread_mutex_lock(&device->lock);
    found = device->programs;
    while (found && memcmp(&found->variant, variant, sizeof *variant) != 0)
        found = found->next;
    if (found)
        *program = found->program;
    else
        status = add_program(device, variant, program);
    pthread_mutex_unlock(&device->lock);
    return status;
}

void mglu_opencl_programs_free(struct mglu_opencl_device *device)
{
    while (device->programs) {
        struct mglu_opencl_program *first = device->programs;
        device->programs = first->next;
        device->backend->cl.clReleaseProgram(first->program);
        mglu_opencl_release(device->backend->host, first, sizeof *first);
    }
}
