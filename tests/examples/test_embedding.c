/* SPDX-License-Identifier: MIT */
#include "pool.h"
#include "sample.h"

#include <mglu/io.h>

#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * The code of docs/embedding.md and docs/embedding/: test_examples.py finds each block of it in a source file.
 * require() is what an application does with a status.
 */
#define require(call) assert_ok(call)

enum { WIDTH = 64, LAYERS = 3, CHILDREN = 2 };

static const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F32, WIDTH, WIDTH, 0, 2, 0};

static mglu_layer *create_layer(mglu_device *device, uint32_t seed)
{
    struct sample sample = sample_make(&shape, seed);
    const mglu_layer_desc desc = {.struct_size = sizeof desc, .max_batch = 1};
    mglu_weights *weights;
    mglu_layer *layer;

    require(mglu_weights_create(device, &sample.desc, &weights));
    require(mglu_layer_create(weights, &desc, &layer));
    mglu_weights_destroy(&weights);
    sample_free(&sample);
    return layer;
}

static mglu_context *create_context(mglu_device **device)
{
    mglu_context *context;

    require(mglu_context_create(NULL, &context));
    require(mglu_device_pick(context, "host", device));
    return context;
}

static void a_context_opens_the_backends_that_are_named(void **state)
{
    mglu_context *context;
    mglu_device *device;

    mglu_context_desc desc = MGLU_CONTEXT_DESC_INIT;

    desc.backends = "cpu,ref";
    require(mglu_context_create(&desc, &context));
    require(mglu_device_pick(context, "cpu", &device));

    size_t count;
    require(mglu_device_count(context, &count));
    for (size_t i = 0; i < count; i++) {
        mglu_device_info info = MGLU_DEVICE_INFO_INIT;
        require(mglu_device_get_info(mglu_device_at(context, i), &info));
        printf("%s: %s\n", info.backend, info.available ? info.name : info.reason);
    }
    assert_true(count >= 2);
    mglu_context_destroy(&context);
}

static void layers_one_after_another_share_a_workspace(void **state)
{
    float x[LAYERS + 1][WIDTH] = {{1, -1, 0.5f}};
    mglu_layer *layers[LAYERS];
    mglu_device *device;
    mglu_memory *workspace;
    mglu_context *context = create_context(&device);

    for (int i = 0; i < LAYERS; i++)
        layers[i] = create_layer(device, (uint32_t)i);

    size_t largest = 0;
    for (int i = 0; i < LAYERS; i++) {
        const size_t size = mglu_layer_workspace_size(layers[i]);
        largest = size > largest ? size : largest;
    }
    require(mglu_memory_create(device, largest, &workspace));
    for (int i = 0; i < LAYERS; i++) {
        const mglu_forward_args args = {.struct_size = sizeof args,
                                        .batch = 1,
                                        .x.data = x[i],
                                        .y.data = x[i + 1],
                                        .workspace = mglu_memory_data(workspace),
                                        .workspace_size = mglu_memory_size(workspace)};
        require(mglu_forward(layers[i], NULL, &args));
    }

    assert_true(x[LAYERS][0] != 0);
    mglu_memory_destroy(&workspace);
    for (int i = 0; i < LAYERS; i++)
        mglu_layer_destroy(&layers[i]);
    mglu_context_destroy(&context);
}

static void mapped_weights_are_used_in_place(void **state)
{
    char packed[] = "/tmp/mglu-embedding-XXXXXX", path[4096];
    mglu_file *file;
    mglu_device *device;
    mglu_weights *weights;
    mglu_context *context = create_context(&device);

    snprintf(path, sizeof path, "%s/licence-lm/model.safetensors", getenv("MGLU_TEST_DATA"));
    assert_return_code(close(mkstemp(packed)), 0);
    require(mglu_file_pack(path, packed, NULL));

    mglu_weights_info info = MGLU_WEIGHTS_INFO_INIT;
    mglu_weights_desc weights_desc = MGLU_WEIGHTS_DESC_INIT;
    mglu_layer_desc layer_desc = MGLU_LAYER_DESC_INIT;
    require(mglu_file_open(packed, MGLU_FILE_MMAP, &file));
    require(mglu_file_layer(file, "model.layers.0.mlp", &weights_desc, &layer_desc, NULL));
    weights_desc.flags |= MGLU_WEIGHTS_BORROW;
    require(mglu_weights_create(device, &weights_desc, &weights));
    require(mglu_weights_get_info(weights, &info)); /* info.borrowed_bytes of info.device_bytes are the file's */
    assert_true(info.borrowed_bytes > 0 && info.borrowed_bytes <= info.device_bytes);

    mglu_weights_destroy(&weights); /* and all layers on them; then */
    mglu_file_close(&file);

    unlink(packed);
    mglu_context_destroy(&context);
}

static int serve(mglu_device *device, mglu_layer *layer)
{
    float x[WIDTH] = {1}, y[WIDTH];
    mglu_memory *workspace;
    mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x.data = x, .y.data = y};

    if (mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace) != MGLU_OK)
        return 1;
    args.workspace = mglu_memory_data(workspace);
    args.workspace_size = mglu_memory_size(workspace);
    const mglu_status status = mglu_forward(layer, NULL, &args);
    mglu_memory_destroy(&workspace);
    return status != MGLU_OK;
}

static void children_compute_with_weights_of_the_parent(void **state)
{
    mglu_device *device;
    mglu_context *context = create_context(&device);
    int status;

    mglu_layer *layer = create_layer(device, 1); /* once, before fork(); its memory is shared */
    for (int i = 0; i < CHILDREN; i++)
        if (fork() == 0)
            _exit(serve(device, layer)); /* with a workspace of its own */

    for (int i = 0; i < CHILDREN; i++) {
        wait(&status);
        assert_int_equal(status, 0);
    }
    mglu_layer_destroy(&layer);
    mglu_context_destroy(&context);
}

/* Threads and pages of a NUMA node; here the node is one CPU that this process may use. */
static void a_pool_made_on_bound_threads_is_bound(void **state)
{
    cpu_set_t before, cpus;
    mglu_context *context;
    mglu_device *device;

    sched_getaffinity(0, sizeof before, &before);
    CPU_ZERO(&cpus);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&cpus) == 0; i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &cpus);

    sched_setaffinity(0, sizeof cpus, &cpus); /* the CPUs of the node: threads that are made now inherit them */
    struct pool *pool = pool_create(CPU_COUNT(&cpus));
    const mglu_parallel parallel = pool_hook(pool);
    const mglu_context_desc desc = {.struct_size = sizeof desc, .parallel = &parallel, .backends = "cpu"};
    require(mglu_context_create(&desc, &context));
    require(mglu_device_pick(context, "cpu", &device));
    mglu_layer *layer = create_layer(device, 1); /* packed on the node's threads, so into its memory */

    sched_setaffinity(0, sizeof before, &before);
    assert_int_equal(serve(device, layer), 0);
    mglu_layer_destroy(&layer);
    mglu_context_destroy(&context);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_context_opens_the_backends_that_are_named),
        cmocka_unit_test(layers_one_after_another_share_a_workspace),
        cmocka_unit_test(mapped_weights_are_used_in_place),
        cmocka_unit_test(children_compute_with_weights_of_the_parent),
        cmocka_unit_test(a_pool_made_on_bound_threads_is_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
