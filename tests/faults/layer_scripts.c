/* SPDX-License-Identifier: MIT */
#include "scripts.h"

#include "tools/common/pool.h"

#include <stdlib.h>
#include <string.h>

/* Scripts from a context to y: layers with every feature, on each backend of the CPU and on a plug-in. */

enum { H = 64, D = 96, OUT = 48, MASKS = 4, BATCH = 16, TRAIN_BATCH = 8, D_FOR_THREADS = 4096 };

float script_y[Y_SIZE];

static float numbers[D_FOR_THREADS * H], x[BATCH * H];
static uint8_t masks[MASKS * D_FOR_THREADS * H];

static struct {
    mglu_context *context;
    mglu_device *device;
    mglu_queue *queue;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace, *saved;
    mglu_train *train;
} made;

static struct {
    const char *backend;
    int32_t threads;
    struct pool *pool; /* NULL: OpenMP */
    mglu_weights_desc weights;
    mglu_layer_desc layer;
} chosen;

static mglu_array array(void)
{
    return (mglu_array){.data = numbers, .dtype = MGLU_DTYPE_F32};
}

static void choose(const char *backend, mglu_dtype dtype, int64_t batch)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        numbers[i] = (float)((int)(i * 7919 % 257) - 128) / 256;
    for (size_t i = 0; i < sizeof masks; i++)
        masks[i] = i * 31 % 7 < 3;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)((int)(i * 13 % 17) - 8) / 8;
    chosen.backend = backend;
    chosen.threads = 1;
    chosen.pool = NULL;
    chosen.weights = (mglu_weights_desc){.struct_size = sizeof chosen.weights,
                                         .dtype = dtype,
                                         .hidden_size = H,
                                         .intermediate_size = D,
                                         .n_masks = MASKS,
                                         .weight = array(),
                                         .masks = {masks, MGLU_MASK_BYTES}};
    chosen.layer = (mglu_layer_desc){.struct_size = sizeof chosen.layer, .max_batch = batch};
}

void script_use_layer(const mglu_weights_desc *weights, const mglu_layer_desc *layer)
{
    chosen.weights = *weights;
    chosen.layer = *layer;
}

static void add_every_part(void)
{
    chosen.weights.output_size = OUT;
    chosen.weights.gate_bias = chosen.weights.value_bias = chosen.weights.router = array();
    chosen.weights.down = chosen.weights.down_bias = array();
    chosen.layer.top_k = 2;
}

static void every_part_f16(void)
{
    choose("cpu", MGLU_DTYPE_F16, 1);
    add_every_part();
}

static void quantised_x(void)
{
    choose("cpu", MGLU_DTYPE_Q4_0, 2);
    add_every_part();
    chosen.layer.flags = MGLU_LAYER_ALLOW_QUANTISED_X;
}

static void reproducible(void)
{
    choose("cpu", MGLU_DTYPE_BF16, BATCH);
    add_every_part();
    chosen.layer.flags = MGLU_LAYER_REPRODUCIBLE;
}

static void batch(void)
{
    choose("cpu", MGLU_DTYPE_Q8_0, BATCH);
    add_every_part();
}

static void plain(void)
{
    choose("cpu", MGLU_DTYPE_F32, 1);
    chosen.weights.kind = MGLU_KIND_PLAIN;
    chosen.weights.n_masks = 0;
    chosen.weights.masks.data = NULL;
    chosen.weights.value_weight = array();
    chosen.layer.activation = MGLU_ACTIVATION_GELU_TANH;
}

static void training(void)
{
    choose("cpu", MGLU_DTYPE_F32, 1);
}

static void reference(void)
{
    choose("ref", MGLU_DTYPE_F16, 2);
    add_every_part();
}

static void plugin(void)
{
    choose("sample", MGLU_DTYPE_F16, 2);
    add_every_part();
}

/* Large enough for the library to use its threads, in packing and in forward. */
static void two_threads(void)
{
    choose("cpu", MGLU_DTYPE_F16, 1);
    chosen.threads = 2;
    chosen.weights.intermediate_size = D_FOR_THREADS;
    chosen.weights.output_size = OUT;
    chosen.weights.down = array();
}

/* The threads are the application's: they are made before anything fails, and stay. */
static void use_pool(void)
{
    chosen.pool = pool_create(2);
    if (!chosen.pool || pool_threads(chosen.pool) != 2)
        abort();
}

static void two_threads_of_a_pool(void)
{
    two_threads();
    use_pool();
}

/* The sizes of training are enough for two threads. */
static void training_on_two_threads(void)
{
    training();
    chosen.threads = 2;
}

static void training_on_a_pool(void)
{
    training_on_two_threads();
    use_pool();
}

mglu_status step_context(void)
{
    const mglu_parallel hook = pool_hook(chosen.pool);
    const mglu_context_desc desc = {
        .struct_size = sizeof desc, .num_threads = chosen.threads, .parallel = chosen.pool ? &hook : NULL};

    return mglu_context_create(&desc, &made.context);
}

static mglu_status load_plugin(void)
{
    return mglu_backend_load(made.context, getenv("MGLU_TEST_PLUGIN"));
}

mglu_status step_pick(void)
{
    return mglu_device_pick(made.context, chosen.backend ? chosen.backend : "cpu", &made.device);
}

mglu_status step_queue(void)
{
    return mglu_queue_create(made.device, NULL, &made.queue);
}

mglu_status step_weights(void)
{
    return mglu_weights_create(made.device, &chosen.weights, &made.weights);
}

mglu_status step_layer(void)
{
    return mglu_layer_create(made.weights, &chosen.layer, &made.layer);
}

mglu_status step_workspace(void)
{
    return mglu_memory_create(made.device, mglu_layer_workspace_size(made.layer), &made.workspace);
}

static mglu_forward_args arguments(void)
{
    return (mglu_forward_args){.struct_size = sizeof(mglu_forward_args),
                               .batch = chosen.layer.max_batch,
                               .x.data = x,
                               .y.data = script_y,
                               .workspace = mglu_memory_data(made.workspace),
                               .workspace_size = mglu_memory_size(made.workspace)};
}

mglu_status step_forward(void)
{
    mglu_forward_args args = arguments();
    mglu_status status = mglu_forward(made.layer, made.queue, &args);

    return status == MGLU_OK ? mglu_queue_wait(made.queue) : status;
}

static mglu_status oracle(void)
{
    static double want[Y_SIZE], tolerance[Y_SIZE];
    mglu_forward_args args = arguments();

    return mglu_forward_reference(made.layer, &args, MGLU_ACCURACY_A, want, tolerance);
}

static mglu_status read_info(void)
{
    mglu_device_info device = {.struct_size = sizeof device};
    mglu_weights_info weights = {.struct_size = sizeof weights};
    mglu_status status = mglu_device_get_info(made.device, &device);

    return status == MGLU_OK ? mglu_weights_get_info(made.weights, &weights) : status;
}

/* A plan to train, and memory for both of its calls. */
static mglu_status make_train(void)
{
    const mglu_train_desc desc = {.struct_size = sizeof desc,
                                  .flags = MGLU_TRAIN_GATE_BIAS,
                                  .hidden_size = H,
                                  .intermediate_size = OUT,
                                  .n_masks = MASKS,
                                  .top_k = 2,
                                  .max_batch = TRAIN_BATCH};

    return mglu_train_create(made.device, &desc, &made.train);
}

static mglu_status make_train_workspace(void)
{
    return mglu_memory_create(made.device, mglu_train_workspace_size(made.train, TRAIN_BATCH), &made.workspace);
}

static mglu_status make_saved(void)
{
    return mglu_memory_create(made.device, mglu_train_saved_size(made.train, TRAIN_BATCH), &made.saved);
}

static mglu_train_inputs train_inputs(void)
{
    return (mglu_train_inputs){.x.data = x,
                               .weight = array(),
                               .masks = {masks, MGLU_MASK_BYTES},
                               .gate_bias = numbers,
                               .router_logits.data = x};
}

static mglu_status train_forward(void)
{
    const mglu_train_forward_args args = {.struct_size = sizeof args,
                                          .batch = TRAIN_BATCH,
                                          .inputs = train_inputs(),
                                          .y.data = script_y,
                                          .saved = mglu_memory_data(made.saved),
                                          .saved_size = mglu_memory_size(made.saved),
                                          .workspace = mglu_memory_data(made.workspace),
                                          .workspace_size = mglu_memory_size(made.workspace)};

    return mglu_train_forward(made.train, made.queue, &args);
}

/* dx and the small gradients are the result, one behind the other. */
static mglu_status train_backward(void)
{
    enum { BIASES_AT = TRAIN_BATCH * H, ROUTER_AT = BIASES_AT + MASKS * OUT };
    static float dweight[OUT * H], dlogits[MASKS * OUT * H];
    const mglu_train_backward_args args = {.struct_size = sizeof args,
                                           .batch = TRAIN_BATCH,
                                           .inputs = train_inputs(),
                                           .dy.data = x,
                                           .saved = mglu_memory_data(made.saved),
                                           .saved_size = mglu_memory_size(made.saved),
                                           .dx.data = script_y,
                                           .dweight = dweight,
                                           .dlogits = dlogits,
                                           .dgate_bias = script_y + BIASES_AT,
                                           .drouter_logits.data = script_y + ROUTER_AT,
                                           .workspace = mglu_memory_data(made.workspace),
                                           .workspace_size = mglu_memory_size(made.workspace)};

    return mglu_train_backward(made.train, made.queue, &args);
}

static mglu_status train_oracle(void)
{
    static double y[TRAIN_BATCH * OUT], dx[TRAIN_BATCH * H], dlogits[MASKS * OUT * H], tolerance[MASKS * OUT * H];
    const mglu_train_reference_args args = {.struct_size = sizeof args,
                                            .batch = TRAIN_BATCH,
                                            .inputs = train_inputs(),
                                            .dy.data = x,
                                            .y.want = y,
                                            .dx.want = dx,
                                            .dlogits = {dlogits, tolerance}};

    return mglu_train_reference(made.train, &args);
}

void layer_scripts_clean_up(void)
{
    mglu_memory_destroy(&made.saved);
    mglu_train_destroy(&made.train);
    mglu_memory_destroy(&made.workspace);
    mglu_layer_destroy(&made.layer);
    mglu_weights_destroy(&made.weights);
    mglu_queue_destroy(&made.queue);
    mglu_context_destroy(&made.context);
}

static step_fn *const layer_steps[] = {step_context, step_pick,      step_queue,   step_weights, read_info,
                                       step_layer,   step_workspace, step_forward, step_forward, NULL};
static step_fn *const oracle_steps[] = {step_context,   step_pick,    step_queue, step_weights, step_layer,
                                        step_workspace, step_forward, oracle,     NULL};
static step_fn *const plugin_steps[] = {step_context, load_plugin,    step_pick,    step_queue, step_weights,
                                        step_layer,   step_workspace, step_forward, NULL};
static step_fn *const train_steps[] = {step_context, step_pick,     step_queue,     make_train, make_train_workspace,
                                       make_saved,   train_forward, train_backward, NULL};
static step_fn *const oracle_train_steps[] = {step_context, step_pick,     make_train,   make_train_workspace,
                                              make_saved,   train_forward, train_oracle, NULL};

const struct script layer_scripts[] = {
    {.name = "layer with every part, f16", .steps = layer_steps, .prepare = every_part_f16},
    {.name = "layer with quantised x, q4_0", .steps = layer_steps, .prepare = quantised_x},
    {.name = "reproducible layer, bf16", .steps = layer_steps, .prepare = reproducible},
    {.name = "batch, q8_0", .steps = layer_steps, .prepare = batch},
    {.name = "plain layer, f32", .steps = layer_steps, .prepare = plain},
    {.name = "reference", .steps = oracle_steps, .prepare = reference},
    {.name = "training", .steps = train_steps, .prepare = training},
    {.name = "training on the reference", .steps = oracle_train_steps, .prepare = reference},
    {.name = "training on two threads of a pool", .steps = train_steps, .prepare = training_on_a_pool},
    {.name = "plug-in", .steps = plugin_steps, .prepare = plugin, .kept_by_linker = 1},
    {.name = "two threads of a pool", .steps = layer_steps, .prepare = two_threads_of_a_pool},
    {.name = "two threads of OpenMP", .steps = layer_steps, .prepare = two_threads, .uses_openmp = 1},
    {.name = "training on two threads of OpenMP",
     .steps = train_steps,
     .prepare = training_on_two_threads,
     .uses_openmp = 1},
    {.name = NULL},
};
