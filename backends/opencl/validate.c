/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

#include <errno.h>
#ifdef __linux__
#include <sys/uio.h>
#endif
#include <unistd.h>

/*
 * Whether the buffers of a forward are cl_mem of this device's context, and large enough. A driver, or the loader
 * before it, follows any pointer that it is given, so it is not asked about one that may be the host's. Objects of a
 * driver that a loader can find begin with the address of its table of functions (cl_khr_icd), those of one driver all
 * with the same: the first word of the handle tells. The kernel reads it, since a handle may be no address at all; that
 * takes a microsecond, so a queue remembers the handles.
 */

enum { BUFFERS = 6 }; /* of a forward, at most */

struct buffer {
    const char *name;
    const void *handle;
    size_t bytes; /* from its start that are used; SIZE_MAX where they do not fit into a size_t */
};

struct buffers {
    struct buffer list[BUFFERS];
    int count;
};

#ifdef __linux__

/* Reads a word at each address. Returns how many could be read before the first that could not; -1: it is not allowed.
 */
static int read_words(const void *const *addresses, int count, uintptr_t *words)
{
    struct iovec from[BUFFERS], to = {words, (size_t)count * sizeof *words};
    ssize_t bytes;

    for (int i = 0; i < count; i++)
        from[i] = (struct iovec){(void *)(uintptr_t)addresses[i], sizeof *words};
    bytes = process_vm_readv(getpid(), &to, 1, from, (unsigned long)count, 0);
    if (bytes < 0)
        return errno == EFAULT ? 0 : -1;
    return (int)((size_t)bytes / sizeof *words);
}

#else

static int read_words(const void *const *addresses, int count, uintptr_t *words)
{
    return -1;
}

#endif

uintptr_t mglu_opencl_first_word(const struct mglu_opencl_device *device)
{
    const void *const objects[] = {device->empty_buffer, device->context, device->queue};
    uintptr_t words[3];

    if (read_words(objects, 3, words) != 3 || words[0] != words[1] || words[0] != words[2])
        return 0;
    return words[0];
}

/* ---- What a forward uses ---------------------------------------------------------------------------------------- */

static void add(struct buffers *buffers, const char *name, const void *handle, size_t bytes)
{
    if (handle)
        buffers->list[buffers->count++] = (struct buffer){name, handle, bytes};
}

static void add_rows(struct buffers *buffers, const char *name, const mglu_input *rows, int64_t count, int64_t columns,
                     size_t element)
{
    const size_t last = (size_t)((count - 1) * rows->row_stride + columns) * element; /* no overflow: it was checked */
    size_t bytes;

    if (__builtin_add_overflow(rows->byte_offset, last, &bytes))
        bytes = SIZE_MAX;
    add(buffers, name, rows->data, columns > 0 ? bytes : 0);
}

static struct buffers list_buffers(const struct mglu_opencl_layer *layer, const mglu_forward_args *args,
                                   size_t workspace_bytes)
{
    const mglu_packed_weights *shape = &layer->weights->shape;
    const int64_t columns = shape->output_size ? shape->output_size : shape->intermediate_size;
    const mglu_input y = {args->y.data, args->y.byte_offset, args->y.row_stride};
    const size_t y_element = mglu_dtype_size(layer->desc.y_dtype);
    struct buffers buffers = {.count = 0};

    add_rows(&buffers, "x", &args->x, args->batch, shape->hidden_size, mglu_dtype_size(layer->desc.x_dtype));
    add_rows(&buffers, "y", &y, args->batch, columns, y_element);
    add_rows(&buffers, "residual", &args->residual, args->batch, columns, y_element);
    add_rows(&buffers, "routing_ids", &args->routing_ids, args->batch, layer->desc.top_k, sizeof(int32_t));
    add_rows(&buffers, "routing_weights", &args->routing_weights, args->batch, layer->desc.top_k, sizeof(float));
    add(&buffers, "the workspace", args->workspace, workspace_bytes);
    return buffers;
}

/* ---- Checks ----------------------------------------------------------------------------------------------------- */

static mglu_status refuse(const struct mglu_opencl_device *device, const struct buffer *buffer)
{
    return device->backend->host->fail(MGLU_ERROR_INVALID_ARGUMENT,
                                       "forward: %s is not a cl_mem of the driver of %s; a host pointer? opencl takes "
                                       "buffers, as mglu_memory_data() returns",
                                       buffer->name, device->name);
}

/* Of an object of this driver. */
static mglu_status check_buffer(struct mglu_opencl_device *device, const struct buffer *buffer)
{
    const struct mglu_opencl_driver *cl = &device->backend->cl;
    const mglu_host *host = device->backend->host;
    cl_mem handle = (cl_mem)(uintptr_t)buffer->handle;
    cl_context context = NULL;
    size_t size = 0;
    cl_int code = cl->clGetMemObjectInfo(handle, CL_MEM_CONTEXT, sizeof(cl_context), &context, NULL);

    if (code == CL_SUCCESS)
        code = cl->clGetMemObjectInfo(handle, CL_MEM_SIZE, sizeof size, &size, NULL);
    if (code == CL_INVALID_MEM_OBJECT)
        return refuse(device, buffer);
    if (code != CL_SUCCESS)
        return mglu_opencl_fail(device, code, "clGetMemObjectInfo", "checking a buffer");
    if (context != device->context)
        return host->fail(MGLU_ERROR_INVALID_ARGUMENT, "forward: %s is of another cl_context than the queue",
                          buffer->name);
    if (size < buffer->bytes)
        return host->fail(MGLU_ERROR_INVALID_ARGUMENT, "forward: %s needs %zu bytes, its buffer has %zu", buffer->name,
                          buffer->bytes, size);
    return MGLU_OK;
}

static int is_known(const struct mglu_opencl_queue *queue, const void *handle)
{
    for (int i = 0; i < MGLU_OPENCL_KNOWN; i++)
        if (queue->known[i] == handle)
            return 1;
    return 0;
}

static void remember(struct mglu_opencl_queue *queue, const void *handle)
{
    queue->known[queue->next_known] = handle;
    queue->next_known = (queue->next_known + 1) % MGLU_OPENCL_KNOWN;
}

/* Refuses what is no object of the driver. MGLU_ERROR_UNSUPPORTED, without a text: it can't be told. */
static mglu_status check_new(struct mglu_opencl_queue *queue, const struct buffers *all)
{
    const struct mglu_opencl_device *device = queue->device;
    const struct buffer *unknown[BUFFERS];
    const void *handles[BUFFERS];
    uintptr_t words[BUFFERS];
    int count = 0, readable;

    for (int i = 0; i < all->count; i++)
        if (!is_known(queue, all->list[i].handle)) {
            handles[count] = all->list[i].handle;
            unknown[count++] = &all->list[i];
        }
    if (count == 0)
        return MGLU_OK;
    readable = device->first_word ? read_words(handles, count, words) : -1;
    if (readable < 0)
        return MGLU_ERROR_UNSUPPORTED;
    for (int i = 0; i < count; i++) {
        if (i >= readable || words[i] != device->first_word)
            return refuse(device, unknown[i]);
        remember(queue, handles[i]);
    }
    return MGLU_OK;
}

mglu_status mglu_opencl_check_buffers(struct mglu_opencl_queue *queue, const struct mglu_opencl_layer *layer,
                                      const mglu_forward_args *args, size_t workspace_bytes)
{
    const struct buffers buffers = list_buffers(layer, args, workspace_bytes);
    mglu_status status = check_new(queue, &buffers);

    if (status == MGLU_ERROR_UNSUPPORTED)
        return MGLU_OK;
    for (int i = 0; i < buffers.count && status == MGLU_OK; i++)
        status = check_buffer(queue->device, &buffers.list[i]);
    return status;
}
