/* SPDX-License-Identifier: MIT */
/*
 * Feed-forward blocks in graphs of ggml: this library's operators, and ggml's own SwiGLU, timed in turn on the same
 * threads. Each graph is several blocks, one after the other, as in a model, with weights of their own. Their memory is
 * not freed: the program ends with the measurement.
 */
#include "bench/samples.h"
#include "examples/ggml/mglu_ggml.h"

#include <argp.h>
#include <ggml-cpu.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MOST_BLOCKS = 64, PAGE = 2 << 20 };

struct options {
    int hidden, intermediate, masks, batch, threads, blocks, rounds;
    const char *dtype;
    bool huge_pages;
};

static const struct argp_option argp_options[] = {
    {"hidden", 'h', "N", 0, "Inputs and outputs of a block (default 2048)", 0},
    {"intermediate", 'd', "N", 0, "Intermediate size (default 8192)", 0},
    {"masks", 'm', "N", 0, "Masks of this library's blocks; 0: plain (default 4)", 0},
    {"batch", 'b', "N", 0, "Tokens (default 1)", 0},
    {"threads", 't', "N", 0, "Threads (default 2)", 0},
    {"blocks", 'n', "N", 0, "Blocks in a graph (default 4)", 0},
    {"rounds", 'r', "N", 0, "Rounds (default 21)", 0},
    {"dtype", 'w', "TYPE", 0, "Type of the weights: f32, f16 or bf16 (default f16)", 0},
    {"huge-pages", 'H', NULL, 0, "ggml's weights in huge pages too; ggml itself does not ask for them", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct options *options = state->input;
    int *const numbers[] = {
        ['h'] = &options->hidden,  ['d'] = &options->intermediate, ['m'] = &options->masks, ['b'] = &options->batch,
        ['t'] = &options->threads, ['n'] = &options->blocks,       ['r'] = &options->rounds};

    if (key == 'w')
        options->dtype = value;
    else if (key == 'H')
        options->huge_pages = true;
    else if (key > 0 && (size_t)key < sizeof numbers / sizeof numbers[0] && numbers[key])
        *numbers[key] = atoi(value);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static void check(mglu_status status)
{
    if (status == MGLU_OK)
        return;
    fprintf(stderr, "%s: %s\n", mglu_status_string(status), mglu_last_error());
    exit(1);
}

static uint32_t draw(void)
{
    static uint64_t state = 1;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static enum ggml_type type_of(const char *name)
{
    if (strcmp(name, "f32") == 0)
        return GGML_TYPE_F32;
    return strcmp(name, "bf16") == 0 ? GGML_TYPE_BF16 : GGML_TYPE_F16;
}

/* Memory for tensors: pages of 4 KiB unless huge ones are asked for. */
static struct ggml_context *new_context(const struct options *options, size_t bytes)
{
    void *memory = aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);

    if (!memory)
        exit(1);
    madvise(memory, bytes, options->huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return ggml_init((struct ggml_init_params){.mem_size = bytes, .mem_buffer = memory});
}

static struct ggml_tensor *new_matrix(struct ggml_context *tensors, const char *dtype, int columns, int rows)
{
    const enum ggml_type type = type_of(dtype);
    struct ggml_tensor *matrix = ggml_new_tensor_2d(tensors, type, columns, rows);
    float *values = malloc(sizeof *values * (size_t)columns);

    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < columns; i++)
            values[i] = (float)(int32_t)draw() * 0x1p-35f;
        void *row = (char *)matrix->data + (size_t)r * matrix->nb[1];
        if (type == GGML_TYPE_F32)
            memcpy(row, values, matrix->nb[1]);
        else
            ggml_quantize_chunk(type, values, row, 0, 1, columns, NULL);
    }
    free(values);
    return matrix;
}

static struct ggml_tensor *own_block(struct ggml_context *tensors, const struct options *options, struct ggml_tensor *x)
{
    struct ggml_tensor *gate = new_matrix(tensors, options->dtype, options->hidden, options->intermediate);
    struct ggml_tensor *value = new_matrix(tensors, options->dtype, options->hidden, options->intermediate);
    struct ggml_tensor *down = new_matrix(tensors, options->dtype, options->intermediate, options->hidden);

    return ggml_mul_mat(tensors, down,
                        ggml_swiglu_split(tensors, ggml_mul_mat(tensors, gate, x), ggml_mul_mat(tensors, value, x)));
}

static uint32_t *new_masks(const struct options *options)
{
    const size_t size = mglu_packed_mask_size(options->masks, options->intermediate, options->hidden);
    uint32_t *words = malloc(size);

    for (size_t i = 0; i < size / sizeof *words; i++)
        words[i] = draw();
    return words;
}

/* The layer of new weights; they are copied to memory of the library's own. */
static mglu_layer *new_layer(mglu_device *device, const struct options *options)
{
    struct ggml_context *tensors =
        new_context(options, (size_t)16 * (size_t)options->hidden * (size_t)options->intermediate + (1 << 20));
    mglu_weights_desc desc = MGLU_WEIGHTS_DESC_INIT;
    mglu_layer_desc layer_desc = MGLU_LAYER_DESC_INIT;
    uint32_t *masks = options->masks ? new_masks(options) : NULL;
    mglu_weights *weights;
    mglu_layer *layer;
    void *packed, *memory = ggml_get_mem_buffer(tensors);

    desc.kind = masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN;
    desc.hidden_size = desc.output_size = options->hidden;
    desc.intermediate_size = options->intermediate;
    desc.n_masks = options->masks;
    desc.masks = (mglu_mask_array){masks, MGLU_MASK_WORDS};
    check(mglu_ggml_matrix(new_matrix(tensors, options->dtype, options->hidden, options->intermediate), &desc.weight,
                           &packed));
    if (!masks)
        check(mglu_ggml_matrix(new_matrix(tensors, options->dtype, options->hidden, options->intermediate),
                               &desc.value_weight, &packed));
    check(mglu_ggml_matrix(new_matrix(tensors, options->dtype, options->intermediate, options->hidden), &desc.down,
                           &packed));
    desc.dtype = desc.weight.dtype;
    layer_desc.max_batch = options->batch;
    check(mglu_weights_create(device, &desc, &weights));
    check(mglu_layer_create(weights, &layer_desc, &layer));
    mglu_weights_destroy(&weights);
    ggml_free(tensors);
    free(memory);
    free(masks);
    return layer;
}

struct graph {
    struct ggml_cgraph *nodes;
    struct ggml_cplan plan;
};

static struct graph new_graph(struct ggml_context *tensors, struct ggml_tensor *y, struct ggml_threadpool *threads,
                              int thread_count)
{
    struct graph graph = {.nodes = ggml_new_graph(tensors)};

    ggml_build_forward_expand(graph.nodes, y);
    graph.plan = ggml_graph_plan(graph.nodes, thread_count, threads);
    graph.plan.work_data = malloc(graph.plan.work_size + 1);
    return graph;
}

static double seconds_of(struct graph *graph)
{
    const double begin = seconds();

    if (ggml_graph_compute(graph->nodes, &graph->plan) != GGML_STATUS_SUCCESS)
        exit(1);
    return seconds() - begin;
}

/* Each round computes both graphs, in turns the one or the other first. The first round is not counted. */
static void measure(const struct options *options, struct graph graphs[2])
{
    static double times[2][MOST_ROUNDS], ratios[MOST_ROUNDS];

    for (int i = -1; i < options->rounds; i++)
        for (int j = 0; j < 2; j++) {
            const int which = (i & 1) ^ j;
            times[which][i < 0 ? 0 : i] = seconds_of(&graphs[which]) / options->blocks;
        }
    for (int i = 0; i < options->rounds; i++)
        ratios[i] = times[1][i] / times[0][i];
    const size_t count = (size_t)options->rounds;
    printf("%s, batch %d, %d masks, %d threads, ms of a block: mglu %.2f, ggml %.2f; ggml / mglu %.2f (%.2f to %.2f)\n",
           options->dtype, options->batch, options->masks, options->threads, 1e3 * samples_median(times[0], count),
           1e3 * samples_median(times[1], count), samples_median(ratios, count), samples_quantile(ratios, count, 0.25),
           samples_quantile(ratios, count, 0.75));
}

static struct ggml_tensor *new_x(struct ggml_context *tensors, const struct options *options)
{
    struct ggml_tensor *x = ggml_new_tensor_2d(tensors, GGML_TYPE_F32, options->hidden, options->batch);

    for (int64_t i = 0; i < ggml_nelements(x); i++)
        ((float *)x->data)[i] = (float)(int32_t)draw() * 0x1p-31f;
    return x;
}

/* y of all blocks, with one workspace, since they are computed one after the other. */
static struct ggml_tensor *our_blocks(struct ggml_context *tensors, const struct options *options,
                                      struct mglu_ggml *ops, struct ggml_tensor *x)
{
    mglu_context *context;
    mglu_device *device;
    mglu_memory *workspace;

    check(mglu_context_create(NULL, &context));
    check(mglu_device_pick(context, "host", &device));
    for (int i = 0; i < options->blocks; i++)
        ops[i] = (struct mglu_ggml){
            .layer = new_layer(device, options), .y_type = GGML_TYPE_F32, .y_columns = options->hidden};
    check(mglu_memory_create(device, mglu_layer_workspace_size(ops->layer), &workspace));
    for (int i = 0; i < options->blocks; i++) {
        ops[i].workspace = mglu_memory_data(workspace);
        ops[i].workspace_size = mglu_memory_size(workspace);
        x = mglu_ggml_apply(tensors, &ops[i], x);
    }
    return x;
}

static void run(const struct options *options)
{
    static struct mglu_ggml ops[MOST_BLOCKS];
    const size_t size = (size_t)options->hidden * (size_t)options->intermediate;
    struct ggml_context *tensors = new_context(options, 12 * size * (size_t)options->blocks + ((size_t)256 << 20));
    struct ggml_threadpool_params params = ggml_threadpool_params_default(options->threads);
    struct ggml_threadpool *threads = ggml_threadpool_new(&params);
    struct ggml_tensor *x = new_x(tensors, options), *ours = our_blocks(tensors, options, ops, x), *theirs = x;

    for (int i = 0; i < options->blocks; i++)
        theirs = own_block(tensors, options, theirs);
    struct graph graphs[2] = {new_graph(tensors, ours, threads, options->threads),
                              new_graph(tensors, theirs, threads, options->threads)};
    measure(options, graphs);
    for (int i = 0; i < options->blocks; i++)
        check(ops[i].status);
    ggml_threadpool_free(threads);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {.options = argp_options,
                                     .parser = parse,
                                     .doc = "Times feed-forward blocks in ggml: mglu's operator and ggml's own."};
    struct options options = {2048, 8192, 4, 1, 2, 4, 21, "f16", false};

    argp_parse(&argp, argc, argv, 0, NULL, &options);
    if (options.blocks < 1 || options.blocks > MOST_BLOCKS || options.rounds < 1 || options.rounds > MOST_ROUNDS) {
        fprintf(stderr, "time-ggml: 1 to %d blocks and 1 to %d rounds are possible\n", MOST_BLOCKS, MOST_ROUNDS);
        return 1;
    }
    ggml_cpu_init();
    run(&options);
    return 0;
}
