/* SPDX-License-Identifier: MIT */
#include "fake_device.h"

#include "backends/builtin.h"

#include <stdlib.h>
#include <string.h>

struct fake fake;

/* Objects without content: any address that is not NULL. */
static char thing;

void fake_reset(void)
{
    fake = (struct fake){.platforms = 1,
                         .devices = {1},
                         .type = CL_DEVICE_TYPE_GPU,
                         .version = "OpenCL 1.2 fake",
                         .has_compiler = CL_TRUE,
                         .most_bytes = 1 << 20,
                         .state = CL_COMPLETE,
                         .failing = FAKE_FUNCTIONS};
    memset(fake.binary, 0x5a, sizeof fake.binary);
}

/* fake_call() for a function that waits for the work of the device. */
static cl_int waits(enum fake_function function)
{
    fake.waits += fake.state == CL_RUNNING;
    return fake_call(function);
}

/* The same for functions that return an object and give their code through a pointer. */
static int makes(enum fake_function function, cl_int *code)
{
    const cl_int result = fake_call(function);

    if (code)
        *code = result;
    fake.live += result == CL_SUCCESS;
    return result == CL_SUCCESS;
}

static cl_int releases(enum fake_function function)
{
    fake.live--;
    return fake_call(function);
}

static cl_context CL_API_CALL create_context(const cl_context_properties *properties, cl_uint count,
                                             const cl_device_id *ids,
                                             void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *),
                                             void *user, cl_int *code)
{
    return makes(FAKE_clCreateContext, code) ? (cl_context)(void *)&thing : NULL;
}

static cl_int CL_API_CALL retain_context(cl_context context)
{
    fake.live++;
    return fake_call(FAKE_clRetainContext);
}

static cl_int CL_API_CALL release_context(cl_context context)
{
    return releases(FAKE_clReleaseContext);
}

static cl_command_queue CL_API_CALL create_queue(cl_context context, cl_device_id id,
                                                 cl_command_queue_properties properties, cl_int *code)
{
    return makes(FAKE_clCreateCommandQueue, code) ? (cl_command_queue)(void *)&thing : NULL;
}

static cl_int CL_API_CALL retain_queue(cl_command_queue queue)
{
    fake.live++;
    return fake_call(FAKE_clRetainCommandQueue);
}

/* As in drivers that wait here. */
static cl_int CL_API_CALL release_queue(cl_command_queue queue)
{
    fake.waits += fake.state == CL_RUNNING;
    return releases(FAKE_clReleaseCommandQueue);
}

static cl_int CL_API_CALL get_queue_info(cl_command_queue queue, cl_command_queue_info what, size_t size, void *value,
                                         size_t *needed)
{
    return fake_call(FAKE_clGetCommandQueueInfo);
}

static cl_mem CL_API_CALL create_buffer(cl_context context, cl_mem_flags flags, size_t size, void *from, cl_int *code)
{
    void *memory;

    if (!makes(FAKE_clCreateBuffer, code))
        return NULL;
    if (size > fake.most_made)
        fake.most_made = size;
    memory = calloc(1, size);
    if (memory && flags & CL_MEM_COPY_HOST_PTR)
        memcpy(memory, from, size);
    return memory;
}

/* No object of this driver begins with a word that all have, so it is not asked. */
static cl_int CL_API_CALL get_buffer_info(cl_mem buffer, cl_mem_info what, size_t size, void *value, size_t *needed)
{
    return fake_call(FAKE_clGetMemObjectInfo);
}

static cl_int CL_API_CALL release_buffer(cl_mem buffer)
{
    free(buffer);
    return releases(FAKE_clReleaseMemObject);
}

static cl_program CL_API_CALL create_program(cl_context context, cl_uint count, const char **texts,
                                             const size_t *lengths, cl_int *code)
{
    return makes(FAKE_clCreateProgramWithSource, code) ? (cl_program)(void *)&thing : NULL;
}

static cl_program CL_API_CALL create_from_binary(cl_context context, cl_uint count, const cl_device_id *ids,
                                                 const size_t *sizes, const unsigned char **binaries, cl_int *loaded,
                                                 cl_int *code)
{
    const int is_ours = sizes[0] == sizeof fake.binary && !memcmp(binaries[0], fake.binary, sizes[0]);

    *loaded = is_ours ? CL_SUCCESS : CL_INVALID_BINARY;
    return makes(FAKE_clCreateProgramWithBinary, code) ? (cl_program)(void *)&thing : NULL;
}

static cl_int CL_API_CALL build_program(cl_program program, cl_uint count, const cl_device_id *ids, const char *options,
                                        void(CL_CALLBACK *notify)(cl_program, void *), void *user)
{
    return fake_call(FAKE_clBuildProgram);
}

static cl_int CL_API_CALL get_program_info(cl_program program, cl_program_info what, size_t size, void *value,
                                           size_t *needed)
{
    const cl_int code = fake_call(FAKE_clGetProgramInfo);
    const size_t bytes = sizeof fake.binary;

    if (what == CL_PROGRAM_BINARY_SIZES)
        memcpy(value, &bytes, sizeof bytes);
    else
        memcpy(*(unsigned char **)value, fake.binary, bytes);
    return code;
}

static cl_int CL_API_CALL get_build_info(cl_program program, cl_device_id id, cl_program_build_info what, size_t size,
                                         void *value, size_t *needed)
{
    const size_t length = fake.log ? strlen(fake.log) + 1 : 0;

    if (needed)
        *needed = length;
    if (value)
        memcpy(value, fake.log, length);
    return fake_call(FAKE_clGetProgramBuildInfo);
}

static cl_int CL_API_CALL release_program(cl_program program)
{
    return releases(FAKE_clReleaseProgram);
}

static cl_kernel CL_API_CALL create_kernel(cl_program program, const char *name, cl_int *code)
{
    return makes(FAKE_clCreateKernel, code) ? (cl_kernel)(void *)&thing : NULL;
}

static cl_int CL_API_CALL release_kernel(cl_kernel kernel)
{
    return releases(FAKE_clReleaseKernel);
}

static cl_int CL_API_CALL set_argument(cl_kernel kernel, cl_uint index, size_t size, const void *value)
{
    return fake_call(FAKE_clSetKernelArg);
}

/* The work-group size must be given and the same for every batch: a driver that chooses one may recompile for each. */
static cl_int CL_API_CALL enqueue_kernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions,
                                         const size_t *offset, const size_t *items, const size_t *group,
                                         cl_uint wait_count, const cl_event *wait_list, cl_event *event)
{
    const cl_int code = fake_call(FAKE_clEnqueueNDRangeKernel);

    return code == CL_SUCCESS && (!group || *group == 0 || *items % *group != 0) ? CL_INVALID_WORK_GROUP_SIZE : code;
}

static cl_int CL_API_CALL enqueue_read(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset,
                                       size_t size, void *target, cl_uint wait_count, const cl_event *wait_list,
                                       cl_event *event)
{
    const cl_int code = blocking ? waits(FAKE_clEnqueueReadBuffer) : fake_call(FAKE_clEnqueueReadBuffer);

    if (code == CL_SUCCESS)
        memcpy(target, (char *)(void *)buffer + offset, size);
    if (size == sizeof fake.raised && fake.raised)
        memcpy(target, &fake.raised, size);
    if (code == CL_SUCCESS && event) {
        *event = (cl_event)(void *)&thing;
        fake.live++;
    }
    return code;
}

static cl_int CL_API_CALL enqueue_write(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset,
                                        size_t size, const void *from, cl_uint wait_count, const cl_event *wait_list,
                                        cl_event *event)
{
    const cl_int code = waits(FAKE_clEnqueueWriteBuffer);

    if (code == CL_SUCCESS)
        memcpy((char *)(void *)buffer + offset, from, size);
    return code;
}

static cl_int CL_API_CALL enqueue_marker(cl_command_queue queue, cl_uint wait_count, const cl_event *wait_list,
                                         cl_event *event)
{
    cl_int code;

    if (makes(FAKE_clEnqueueMarkerWithWaitList, &code))
        *event = (cl_event)(void *)&thing;
    return code;
}

static cl_int CL_API_CALL get_event_info(cl_event event, cl_event_info what, size_t size, void *value, size_t *needed)
{
    const cl_int code = fake_call(FAKE_clGetEventInfo);

    return code == CL_SUCCESS ? fake_give(value, size, &fake.state, sizeof fake.state) : code;
}

/* Calls back at once where the work is done, as a driver may. */
static cl_int CL_API_CALL set_event_callback(cl_event event, cl_int state,
                                             void(CL_CALLBACK *notify)(cl_event, cl_int, void *), void *user)
{
    const cl_int code = fake_call(FAKE_clSetEventCallback);

    if (code != CL_SUCCESS)
        return code;
    fake.waiting[fake.waiting_count++] = (struct fake_callback){notify, user};
    if (fake.state <= CL_COMPLETE)
        fake_end_work(fake.state);
    return CL_SUCCESS;
}

void fake_end_work(cl_int state)
{
    fake.state = state;
    for (int i = 0; i < fake.waiting_count; i++)
        fake.waiting[i].notify((cl_event)(void *)&thing, state, fake.waiting[i].user);
    fake.waiting_count = 0;
}

static cl_int CL_API_CALL release_event(cl_event event)
{
    return releases(FAKE_clReleaseEvent);
}

static cl_int CL_API_CALL flush(cl_command_queue queue)
{
    return fake_call(FAKE_clFlush);
}

static cl_int CL_API_CALL finish(cl_command_queue queue)
{
    return waits(FAKE_clFinish);
}

const struct mglu_opencl_driver fake_driver = {
    .clGetPlatformIDs = fake_get_platforms,
    .clGetPlatformInfo = fake_get_platform_info,
    .clGetDeviceIDs = fake_get_devices,
    .clGetDeviceInfo = fake_get_device_info,
    .clCreateContext = create_context,
    .clRetainContext = retain_context,
    .clReleaseContext = release_context,
    .clCreateCommandQueue = create_queue,
    .clRetainCommandQueue = retain_queue,
    .clReleaseCommandQueue = release_queue,
    .clGetCommandQueueInfo = get_queue_info,
    .clCreateBuffer = create_buffer,
    .clGetMemObjectInfo = get_buffer_info,
    .clReleaseMemObject = release_buffer,
    .clCreateProgramWithSource = create_program,
    .clCreateProgramWithBinary = create_from_binary,
    .clBuildProgram = build_program,
    .clGetProgramInfo = get_program_info,
    .clGetProgramBuildInfo = get_build_info,
    .clReleaseProgram = release_program,
    .clCreateKernel = create_kernel,
    .clReleaseKernel = release_kernel,
    .clSetKernelArg = set_argument,
    .clEnqueueNDRangeKernel = enqueue_kernel,
    .clEnqueueReadBuffer = enqueue_read,
    .clEnqueueWriteBuffer = enqueue_write,
    .clEnqueueMarkerWithWaitList = enqueue_marker,
    .clGetEventInfo = get_event_info,
    .clSetEventCallback = set_event_callback,
    .clReleaseEvent = release_event,
    .clFlush = flush,
    .clFinish = finish,
};

static mglu_status open_fake(const mglu_host *host, void **backend)
{
    return mglu_opencl_open_with(host, &fake_driver, NULL, backend);
}

const mglu_backend_fns *fake_backend(void)
{
    static mglu_backend_fns fns;

    fns = mglu_fns_opencl;
    fns.name = "fake";
    fns.open = open_fake;
    return &fns;
}
