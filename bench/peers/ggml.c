/* SPDX-License-Identifier: MIT */
/*
 * ggml as a peer of mglu-bench: README.md has the protocol. A GLU is two ggml_mul_mat() and a ggml_swiglu_split(), a
 * block one ggml_mul_mat() more, on the CPU, in graphs that are planned once.
 */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_COPIES = 512, MOST_CASES = 4, MOST_BUFFER_TYPES = 16, GRAPH_NODES = 8 };

static const double sample_seconds = 1e-3;

/* What a request to open asks for. */
struct problem {
    char op[16];
    int64_t d, h, batch;
    double cold_bytes;
    enum ggml_type type;
};

/* Copies of a layer that are computed in turn, with weights in a buffer of one type. */
struct layer {
    char name[64]; /* as requests to run have it */
    ggml_backend_buffer_type_t buffers;
    int copies, next, calls;
    struct copy {
        struct ggml_context *weights, *others; /* two, so that the buffer of weights may be special */
        ggml_backend_buffer_t weights_memory, others_memory;
        ggml_backend_graph_plan_t plan;
        struct ggml_tensor *y;
    } copies_of[MOST_COPIES];
};

static ggml_backend_t backend;
static struct problem problem;
static struct layer layers[MOST_CASES];
static int layer_count;

static void fail(const char *why)
{
    printf("error %s\n", why);
    fflush(stdout);
    exit(1);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Uniform, of the deviation. */
static void draw(float *values, int64_t count, float deviation)
{
    static uint64_t state = 1;

    for (int64_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        values[i] = (float)(int32_t)(state >> 32) * 0x1p-31f * 1.7320508f * deviation;
    }
}

static bool find_type(const char *name, enum ggml_type *type)
{
    for (int i = 0; i < GGML_TYPE_COUNT; i++)
        if (ggml_type_name((enum ggml_type)i) && strcmp(ggml_type_name((enum ggml_type)i), name) == 0) {
            *type = (enum ggml_type)i;
            return true;
        }
    return false;
}

/* Random rows, converted to the matrix's type. All at once, since buffers may order them differently. */
static void fill(struct ggml_tensor *matrix)
{
    const int64_t columns = matrix->ne[0], rows = matrix->ne[1];
    float *values = malloc(sizeof *values * (size_t)(columns * rows));
    void *stored = malloc(ggml_nbytes(matrix));

    if (!values || !stored)
        fail("out of memory");
    draw(values, columns * rows, 0.05f);
    if (matrix->type == GGML_TYPE_F32)
        memcpy(stored, values, ggml_nbytes(matrix));
    else
        ggml_quantize_chunk(matrix->type, values, stored, 0, rows, columns, NULL);
    ggml_backend_tensor_set(matrix, stored, 0, ggml_nbytes(matrix));
    free(values);
    free(stored);
}

/* The tensors of a copy, without memory. */
static struct ggml_cgraph *make_graph(struct copy *copy, struct ggml_tensor **x)
{
    const struct problem *p = &problem;
    const struct ggml_init_params params = {
        .mem_size = 8 * ggml_tensor_overhead() + ggml_graph_overhead_custom(GRAPH_NODES, false), .no_alloc = true};

    copy->weights = ggml_init(params);
    copy->others = ggml_init(params);
    struct ggml_tensor *gate = ggml_new_tensor_2d(copy->weights, p->type, p->h, p->d);
    struct ggml_tensor *value = ggml_new_tensor_2d(copy->weights, p->type, p->h, p->d);
    struct ggml_cgraph *graph = ggml_new_graph_custom(copy->others, GRAPH_NODES, false);
    *x = ggml_new_tensor_2d(copy->others, GGML_TYPE_F32, p->h, p->batch);
    copy->y =
        ggml_swiglu_split(copy->others, ggml_mul_mat(copy->others, gate, *x), ggml_mul_mat(copy->others, value, *x));
    if (strcmp(p->op, "ffn") == 0)
        copy->y = ggml_mul_mat(copy->others, ggml_new_tensor_2d(copy->weights, p->type, p->d, p->h), copy->y);
    ggml_build_forward_expand(graph, copy->y);
    return graph;
}

static void make_copy(struct layer *layer, struct copy *copy)
{
    struct ggml_tensor *x;
    struct ggml_cgraph *graph = make_graph(copy, &x);

    copy->weights_memory = ggml_backend_alloc_ctx_tensors_from_buft(copy->weights, layer->buffers);
    copy->others_memory = ggml_backend_alloc_ctx_tensors(copy->others, backend);
    if (!copy->weights_memory || !copy->others_memory)
        fail("out of memory");
    for (struct ggml_tensor *matrix = ggml_get_first_tensor(copy->weights); matrix;
         matrix = ggml_get_next_tensor(copy->weights, matrix))
        fill(matrix);
    draw(x->data, ggml_nelements(x), 1);
    copy->plan = ggml_backend_graph_plan_create(backend, graph);
}

static void free_copy(struct copy *copy)
{
    ggml_backend_graph_plan_free(backend, copy->plan);
    ggml_backend_buffer_free(copy->weights_memory);
    ggml_backend_buffer_free(copy->others_memory);
    ggml_free(copy->weights);
    ggml_free(copy->others);
}

static void run(struct layer *layer)
{
    if (ggml_backend_graph_plan_compute(backend, layer->copies_of[layer->next].plan) != GGML_STATUS_SUCCESS)
        fail("ggml could not compute the graph");
    layer->next = (layer->next + 1) % layer->copies;
}

/* Neither NaN nor all zero, as from weights in a buffer that was read as another type's. */
static bool is_plausible(const struct layer *layer)
{
    const float *y = layer->copies_of[0].y->data;
    const int64_t count = ggml_nelements(layer->copies_of[0].y);
    double squares = 0;

    for (int64_t i = 0; i < count; i++)
        squares += (double)y[i] * (double)y[i];
    return isfinite(squares) && squares > 0;
}

static void open_layer(const char *variant, ggml_backend_buffer_type_t buffers)
{
    struct layer *layer = &layers[layer_count++];

    *layer = (struct layer){.buffers = buffers};
    snprintf(layer->name, sizeof layer->name, "%s:%s:0", variant, ggml_type_name(problem.type));
    do
        make_copy(layer, &layer->copies_of[layer->copies++]);
    while (layer->copies < MOST_COPIES &&
           layer->copies * (double)ggml_backend_buffer_get_size(layer->copies_of[0].weights_memory) <
               problem.cold_bytes);
    run(layer);
    if (!is_plausible(layer))
        fail("ggml's result is not finite, or zero");
    const double begin = seconds();
    run(layer);
    const double calls = ceil(sample_seconds / (seconds() - begin));
    layer->calls = calls < 1 ? 1 : (int)calls;
}

static void close_layers(void)
{
    for (; layer_count > 0; layer_count--)
        for (int i = 0; i < layers[layer_count - 1].copies; i++)
            free_copy(&layers[layer_count - 1].copies_of[i]);
}

/* Whether ggml multiplies matrices of this type in such a buffer, with rows and columns as many as these. */
static bool can_multiply(ggml_backend_dev_t device, ggml_backend_buffer_type_t buffers)
{
    struct copy trial = {0};
    struct ggml_tensor *x;
    bool can;

    make_graph(&trial, &x);
    struct ggml_tensor *gate = ggml_get_first_tensor(trial.weights);
    gate->buffer = ggml_backend_buft_alloc_buffer(buffers, 0);
    can = ggml_backend_dev_supports_op(device, ggml_mul_mat(trial.others, gate, x));
    ggml_backend_buffer_free(gate->buffer);
    ggml_free(trial.weights);
    ggml_free(trial.others);
    return can;
}

/*
 * Buffers in which ggml repacks weights, with rows interleaved for its vectors. Not its tiles of AMX: compiled by gcc
 * 12, which drops the stores to the configuration of tiles, they end the program.
 */
static ggml_backend_buffer_type_t repacking_buffers(ggml_backend_dev_t device)
{
    void *found =
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts");
    ggml_backend_dev_get_extra_bufts_t extra;

    memcpy(&extra, &found, sizeof extra);
    for (ggml_backend_buffer_type_t *buffers = extra ? extra(device) : NULL; buffers && *buffers; buffers++)
        if (strcmp(ggml_backend_buft_name(*buffers), "AMX") != 0 && can_multiply(device, *buffers))
            return *buffers;
    return NULL;
}

static void answer_open(const char *line)
{
    char type[16];
    long long d, h, batch, cold;

    close_layers();
    if (sscanf(line, "open %15s %lld %lld %lld %lld %*s %15s", problem.op, &d, &h, &batch, &cold, type) != 6) {
        puts("error expected: open OP D H BATCH COLD_BYTES MASKS DTYPE X_DTYPE");
        return;
    }
    if (strcmp(problem.op, "routed") == 0 || !find_type(type, &problem.type)) {
        puts("error ggml has no routing, and weights are f32, f16, bf16, q8_0 or q4_0");
        return;
    }
    if (h % ggml_blck_size(problem.type) || (strcmp(problem.op, "ffn") == 0 && d % ggml_blck_size(problem.type))) {
        puts("error ggml needs whole blocks of 32 columns");
        return;
    }
    problem.d = d, problem.h = h, problem.batch = batch, problem.cold_bytes = (double)cold;
    const ggml_backend_dev_t device = ggml_backend_get_device(backend);
    const ggml_backend_buffer_type_t repacking = repacking_buffers(device);
    open_layer("glu", ggml_backend_cpu_buffer_type());
    if (repacking)
        open_layer("glu-repacked", repacking);
    printf("cases");
    for (int i = 0; i < layer_count; i++)
        printf(" %s", layers[i].name);
    putchar('\n');
}

static void answer_run(const char *name)
{
    for (int i = 0; i < layer_count; i++)
        if (strcmp(layers[i].name, name) == 0) {
            run(&layers[i]);
            const double begin = seconds();
            for (int call = 0; call < layers[i].calls; call++)
                run(&layers[i]);
            printf("us %.3f\n", 1e6 * (seconds() - begin) / layers[i].calls);
            return;
        }
    printf("error no case %s is open\n", name);
}

/* ggml writes a line for each tensor that it repacks: only what went wrong is of interest. */
static void log_problems(enum ggml_log_level level, const char *text, void *unused)
{
    (void)unused;
    if (level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

/* Threads must sleep while others are measured. OpenMP's runtime reads this variable before main(). */
static void start_again_with_passive_threads(char **argv)
{
    if (getenv("OMP_WAIT_POLICY"))
        return;
    setenv("OMP_WAIT_POLICY", "passive", 1);
    execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    const char *threads = getenv("MGLU_BENCH_THREADS");
    char line[4096];

    (void)argc;
    start_again_with_passive_threads(argv);
    ggml_log_set(log_problems, NULL);
    struct ggml_threadpool_params params = ggml_threadpool_params_default(threads ? atoi(threads) : 1);
    params.poll = 0;
    struct ggml_threadpool *pool = ggml_threadpool_new(&params);
    backend = ggml_backend_cpu_init();
    if (!backend || !pool)
        fail("ggml could not be started");
    ggml_backend_cpu_set_n_threads(backend, params.n_threads);
    ggml_backend_cpu_set_threadpool(backend, pool);
    printf("ready ggml %s\n", ggml_version());
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "open ", 5) == 0)
            answer_open(line);
        else if (strncmp(line, "run ", 4) == 0)
            answer_run(line + 4);
        else
            printf("error unknown request: %s\n", line);
        fflush(stdout);
    }
    close_layers();
    ggml_backend_free(backend);
    ggml_threadpool_free(pool);
    return 0;
}
