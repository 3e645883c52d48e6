/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <mglu/backend.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The input is the function table of a plug-in, and what its functions return: numbers, names and statuses that no
 * backend should give. mglu_backend_load() must accept or refuse it, and the devices of what it accepted must be usable
 * through every call, until the context is destroyed. The functions themselves keep to the contract for memory.
 */

enum { MOST_DEVICES = 8, MOST_NAMES = 8, NAME_SIZE = 24, ARENA = 1 << 12 };

static struct fuzz_stream answers; /* what the functions return */
static char names[MOST_NAMES][NAME_SIZE];
static unsigned char arena[ARENA];
static int opened; /* backends that are open */

static mglu_status any_status(void)
{
    const uint8_t choice = fuzz_byte(&answers);

    return choice < 192 ? MGLU_OK : (mglu_status)(choice - 192);
}

/* A text of the input: NULL, or up to NAME_SIZE - 1 bytes. */
static const char *any_name(void)
{
    static int next;
    char *name = names[next++ % MOST_NAMES];
    const uint8_t choice = fuzz_byte(&answers);
    size_t length = choice % NAME_SIZE;

    if (choice == 255)
        return NULL;
    for (size_t i = 0; i < length; i++)
        name[i] = (char)fuzz_byte(&answers);
    name[length] = '\0';
    return name;
}

static mglu_status make(void **made)
{
    const mglu_status status = any_status();

    if (status == MGLU_OK)
        *made = arena;
    return status;
}

static mglu_status f_open(const mglu_host *host, void **backend)
{
    const mglu_status status = make(backend);

    opened += status == MGLU_OK;
    host->log(host, MGLU_LOG_WARN, "%d", (int)status);
    return status;
}

static void f_close(void *backend)
{
    opened--;
}

static int32_t f_device_count(void *backend)
{
    const uint8_t choice = fuzz_byte(&answers);

    return choice < 200 ? choice % MOST_DEVICES : (int32_t)fuzz_number(&answers, 4);
}

static mglu_status f_device_info(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    info->struct_size += fuzz_byte(&answers) == 1;
    info->rank = (int32_t)fuzz_number(&answers, 2);
    info->type = (mglu_device_type)(fuzz_byte(&answers) % 4);
    info->host_memory = fuzz_byte(&answers) & 1;
    info->name = any_name();
    info->reason = fuzz_byte(&answers) & 1 ? any_name() : NULL;
    info->details = any_name();
    info->memory_bytes = fuzz_number(&answers, 8);
    return any_status();
}

static mglu_status f_supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan)
{
    return any_status();
}

static mglu_status f_weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights)
{
    return make(weights);
}

static void f_destroy(void *backend, void *object)
{
}

static uint64_t f_weights_bytes(void *backend, const void *weights)
{
    return fuzz_number(&answers, 8);
}

static mglu_status f_queue_create(void *backend, int32_t ordinal, const mglu_queue_desc *desc, void **queue)
{
    return make(queue);
}

static mglu_status f_queue_wait(void *backend, void *queue)
{
    return any_status();
}

static mglu_status f_layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                  void **layer)
{
    return make(layer);
}

static size_t f_workspace_size(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch)
{
    return (size_t)fuzz_number(&answers, 2);
}

static mglu_accuracy f_accuracy(void *backend, const void *layer)
{
    return (mglu_accuracy)fuzz_byte(&answers);
}

static mglu_status f_forward(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    return any_status();
}

static mglu_status f_reference(void *backend, void *layer, const mglu_forward_args *args, mglu_accuracy accuracy,
                               double *want, double *tolerance)
{
    return any_status();
}

static mglu_status f_memory_allocate(void *backend, int32_t ordinal, size_t size, void **memory)
{
    return size > ARENA ? MGLU_ERROR_OUT_OF_MEMORY : make(memory);
}

static void f_memory_release(void *backend, int32_t ordinal, void *memory, size_t size)
{
}

static mglu_status f_memory_write(void *backend, void *queue, void *memory, size_t offset, const void *source,
                                  size_t size)
{
    return any_status();
}

static mglu_status f_memory_read(void *backend, void *queue, const void *memory, size_t offset, void *target,
                                 size_t size)
{
    memcpy(target, (const unsigned char *)memory + offset, size);
    return any_status();
}

static const mglu_backend_fns complete = {
    .abi = MGLU_BACKEND_ABI,
    .struct_size = sizeof complete,
    .open = f_open,
    .close = f_close,
    .device_count = f_device_count,
    .device_info = f_device_info,
    .supports = f_supports,
    .weights_create = f_weights_create,
    .weights_destroy = f_destroy,
    .weights_bytes = f_weights_bytes,
    .queue_create = f_queue_create,
    .queue_wait = f_queue_wait,
    .queue_destroy = f_destroy,
    .layer_create = f_layer_create,
    .layer_destroy = f_destroy,
    .workspace_size = f_workspace_size,
    .layer_accuracy = f_accuracy,
    .forward = f_forward,
    .forward_reference = f_reference,
    .memory_allocate = f_memory_allocate,
    .memory_release = f_memory_release,
    .memory_write = f_memory_write,
    .memory_read = f_memory_read,
};

/* The complete table with the functions missing whose bits are set, and other numbers and names. */
static void read_table(mglu_backend_fns *fns)
{
    const size_t first = offsetof(mglu_backend_fns, open);
    const uint32_t missing = (uint32_t)fuzz_number(&answers, 4);
    const uint8_t choice = fuzz_byte(&answers);

    *fns = complete;
    for (size_t i = 0; first + i * sizeof fns->open < sizeof *fns; i++)
        if (missing >> i & 1)
            memset((unsigned char *)fns + first + i * sizeof fns->open, 0, sizeof fns->open);
    if (choice & 1)
        fns->abi = (uint32_t)fuzz_number(&answers, 4);
    if (choice & 2)
        fns->struct_size = (uint32_t)fuzz_number(&answers, 4);
    fns->name = any_name();
    fns->unavailable = choice & 4 ? any_name() : NULL;
}

static void run(mglu_layer *layer, mglu_queue *queue)
{
    static float x[2], y[2];
    const mglu_forward_args args = {.struct_size = sizeof args,
                                    .batch = 1,
                                    .x = {.data = x},
                                    .y = {.data = y},
                                    .workspace = arena,
                                    .workspace_size = ARENA};
    double want[2];

    mglu_layer_accuracy(layer);
    (void)!mglu_forward(layer, queue, &args);
    (void)!mglu_forward_reference(layer, &args, MGLU_ACCURACY_A, want, NULL);
    (void)!mglu_queue_wait(queue);
}

static void make_layer(mglu_device *device, mglu_queue *queue)
{
    static const float weight[2] = {1, 2};
    static const uint32_t mask[1] = {1};
    const mglu_weights_desc desc = {.struct_size = sizeof desc,
                                    .hidden_size = 1,
                                    .intermediate_size = 1,
                                    .n_masks = 1,
                                    .weight = {.data = weight},
                                    .masks = {.data = mask}};
    const mglu_layer_desc layer_desc = {.struct_size = sizeof layer_desc, .max_batch = 1};
    mglu_weights_info info = {.struct_size = sizeof info};
    mglu_weights *weights;
    mglu_layer *layer;

    (void)!mglu_supports(device, &desc, &layer_desc);
    if (mglu_weights_create(device, &desc, &weights) != MGLU_OK)
        return;
    fuzz_require(mglu_weights_get_info(weights, &info) == MGLU_OK, "weights without a description");
    if (mglu_layer_create(weights, &layer_desc, &layer) == MGLU_OK && queue)
        run(layer, queue);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
}

static void use_memory(mglu_device *device, mglu_queue *queue)
{
    unsigned char bytes[16] = {0};
    mglu_memory *memory;

    if (mglu_memory_create(device, sizeof bytes, &memory) != MGLU_OK)
        return;
    if (queue) {
        (void)!mglu_memory_write(memory, queue, 0, bytes, sizeof bytes);
        (void)!mglu_memory_read(memory, queue, 8, bytes, 8);
    }
    mglu_memory_destroy(&memory);
}

static void use_device(mglu_device *device)
{
    mglu_device_info info = {.struct_size = sizeof info};
    mglu_queue *queue;

    fuzz_require(mglu_device_get_info(device, &info) == MGLU_OK, "a device without a description");
    fuzz_require(info.name && info.reason && info.details && info.instruction_sets, "a description without a text");
    fuzz_require(!info.available == (info.reason[0] != '\0'), "a device is unavailable without a reason");
    (void)!mglu_queue_create(device, NULL, &queue);
    make_layer(device, queue);
    use_memory(device, queue);
    mglu_queue_destroy(&queue);
}

/* The context is used again as long as plug-ins are refused, which must leave it unchanged. */
static mglu_context *context;

static size_t count_devices(void)
{
    size_t count;

    fuzz_require(mglu_device_count(context, &count) == MGLU_OK, "no list of devices");
    return count;
}

static void load(const char *path)
{
    const int before_opened = opened;
    const size_t before = count_devices();
    mglu_device *device;
    mglu_status status = mglu_backend_load(context, path);
    const size_t after = count_devices();

    if (status != MGLU_OK) {
        fuzz_require(mglu_last_error()[0] != '\0', "a plug-in is refused without a text");
        fuzz_require(after == before && opened == before_opened, "a refused plug-in leaves something behind");
        return;
    }
    fuzz_require(after > before, "an accepted plug-in without a device");
    for (size_t i = before; i < after && i < before + MOST_DEVICES; i++)
        use_device(mglu_device_at(context, i));
    (void)!mglu_device_pick(context, "auto", &device);
    mglu_context_destroy(&context);
    fuzz_require(opened == 0, "a backend is not closed");
}

/* The plug-in lies beside the program. */
static const char *find_module(const mglu_backend_fns ***table)
{
    static char path[4200];
    static const mglu_backend_fns **found;
    ssize_t length = path[0] ? 0 : readlink("/proc/self/exe", path, sizeof path - 32);

    if (length > 0) {
        path[length] = '\0';
        strcpy(strrchr(path, '/') + 1, "fuzz-module.so");
        found = dlsym(dlopen(path, RTLD_NOW | RTLD_LOCAL), "mglu_fuzz_table");
    }
    if (!found) {
        fprintf(stderr, "%s\n", dlerror());
        exit(EXIT_FAILURE);
    }
    *table = found;
    return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const mglu_context_desc desc = {.struct_size = sizeof desc, .num_threads = 1};
    const mglu_backend_fns **table;
    const char *path = find_module(&table);
    mglu_backend_fns fns;

    answers = (struct fuzz_stream){bytes, bytes + size};
    if (!context)
        fuzz_require(mglu_context_create(&desc, &context) == MGLU_OK, "no context");
    read_table(&fns);
    *table = fuzz_byte(&answers) == 255 ? NULL : &fns;
    load(path);
    return 0;
}
