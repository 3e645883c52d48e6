/* SPDX-License-Identifier: MIT */
#include "soak.h"

#include <mglu/io.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 96 };

/* An allocator whose allocation number `left` fails. */
struct failing {
    uint64_t left;
};

static void *allocate_until(void *user, size_t size, size_t alignment)
{
    struct failing *failing = user;
    void *memory;

    if (failing->left-- == 0 || posix_memalign(&memory, alignment < sizeof memory ? sizeof memory : alignment, size))
        return NULL;
    return memory;
}

static void release(void *user, void *memory, size_t size, size_t alignment)
{
    free(memory);
}

/* Whether a context, weights and a layer could be made; what was made is destroyed. */
static bool make_with(struct failing *failing, const struct soak_device *known, const struct specimen *specimen)
{
    const mglu_allocator allocator = {.user = failing, .allocate = allocate_until, .release = release};
    const mglu_context_desc desc = {
        .struct_size = sizeof desc, .allocator = &allocator, .max_isa = known->has_cap ? known->max_isa : NULL};
    mglu_context *context = NULL;
    mglu_weights *weights = NULL;
    mglu_layer *layer = NULL;
    mglu_device *handle;
    mglu_status status = mglu_context_create(&desc, &context);

    if (status == MGLU_OK)
        status = mglu_device_pick(context, known->backend, &handle);
    if (status == MGLU_OK)
        status = mglu_weights_create(handle, &specimen->weights, &weights);
    if (status == MGLU_OK)
        status = mglu_layer_create(weights, &specimen->layer, &layer);
    if (status != MGLU_OK)
        require_failure(status);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
    mglu_context_destroy(&context);
    return status == MGLU_OK;
}

/* Every allocation fails once. */
static void run_out_of_memory(const struct soak_device *known, const struct specimen *specimen)
{
    uint64_t kth = 0;

    for (struct failing failing = {0}; !make_with(&failing, known, specimen); failing.left = ++kth)
        ;
    require(kth > 0);
}

static void fail_contexts(mglu_context *context)
{
    const mglu_context_desc unknown_isa = {.struct_size = sizeof unknown_isa, .max_isa = "avx1024"};
    const mglu_context_desc short_struct = {.struct_size = 1};
    mglu_context *other;
    mglu_device *handle;

    require_ok(mglu_context_create(&unknown_isa, &other));
    require_failure(mglu_device_pick(other, "cpu", &handle));
    mglu_context_destroy(&other);
    require_failure(mglu_context_create(&short_struct, &other));
    require_status(mglu_device_pick(context, "none", &handle), MGLU_ERROR_NO_DEVICE);
    require_failure(mglu_backend_load(context, "/nonexistent/backend.so"));
    require_failure(mglu_backend_load(context, "backend.so"));
}

static void fail_weights(mglu_device *handle, const struct specimen *specimen)
{
    const size_t count = (size_t)(specimen->weights.hidden_size * specimen->weights.intermediate_size);
    float *numbers = malloc(count * sizeof *numbers);
    mglu_weights_desc desc = specimen->weights;
    mglu_weights *weights;

    require(numbers != NULL);
    memcpy(numbers, desc.weight.data, count * sizeof *numbers);
    numbers[count - 1] = NAN;
    desc.weight.data = numbers;
    require_status(mglu_weights_create(handle, &desc, &weights), MGLU_ERROR_NONFINITE);
    desc.hidden_size = -1;
    require_status(mglu_weights_create(handle, &desc, &weights), MGLU_ERROR_INVALID_ARGUMENT);
    free(numbers);
}

/* Of the last specimen, which has a router. */
static void fail_forwards(mglu_device *handle, const struct specimen *specimen)
{
    const int32_t ids[2] = {0, 99};
    const float p[2] = {1, 1};
    struct user user = {0};
    mglu_forward_args args = {.struct_size = sizeof args};

    user_open(&user, handle, specimen);
    args.batch = specimen->layer.max_batch + 1;
    require_status(mglu_forward(user.layer, user.queue, &args), MGLU_ERROR_INVALID_ARGUMENT);
    args = (mglu_forward_args){.struct_size = sizeof args,
                               .batch = 2,
                               .x.data = mglu_memory_data(user.x),
                               .y.data = mglu_memory_data(user.y),
                               .workspace = mglu_memory_data(user.workspace),
                               .workspace_size = mglu_memory_size(user.workspace),
                               .routing_ids.data = ids,
                               .routing_weights.data = p};
    require_ok(mglu_forward(user.layer, user.queue, &args));
    require_status(mglu_queue_wait(user.queue), MGLU_ERROR_BAD_ROUTING);
    require_ok(mglu_queue_wait(user.queue));
    user_close(&user);
}

/* A file of `size` bytes of `text`, a header's length before them. */
static void fail_file(const char *path, uint64_t length, const char *text)
{
    FILE *stream = fopen(path, "we");
    mglu_file *file;

    require(stream && fwrite(&length, sizeof length, 1, stream) == 1 && fputs(text, stream) >= 0);
    require(fclose(stream) == 0);
    require_status(mglu_file_open(path, 0, &file), MGLU_ERROR_CORRUPT_FILE);
    require_status(mglu_file_pack(path, path, NULL), MGLU_ERROR_CORRUPT_FILE);
}

static void fail_files(const struct soak *soak)
{
    static const char short_data[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}}12345678";
    char path[PATH_SIZE];
    mglu_file *file;

    snprintf(path, sizeof path, "%s/broken", soak->folder);
    fail_file(path, sizeof short_data - 1 - 8, short_data);
    fail_file(path, 1 << 20, "{}");
    fail_file(path, 9, "{\"a\":[[[[");
    require(unlink(path) == 0);
    require_status(mglu_file_open(path, 0, &file), MGLU_ERROR_IO);
    require_status(mglu_file_open(soak->folder, 0, &file), MGLU_ERROR_IO);
}

void soak_errors(struct soak *soak, size_t device)
{
    mglu_context *context;
    mglu_device *handle = soak_open(soak, device, &context, NULL);

    fail_contexts(context);
    fail_weights(handle, &soak->specimens[0]);
    fail_forwards(handle, &soak->specimens[SPECIMENS - 1]);
    fail_files(soak);
    run_out_of_memory(&soak->devices[device], &soak->specimens[SPECIMENS - 1]);
    mglu_context_destroy(&context);
}
