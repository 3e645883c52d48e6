/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "api_arguments.h"
#include "api_train.h"

#include <stdlib.h>
#include <string.h>

/*
 * The input is a sequence of calls on a few handles: objects are made, used and destroyed in any order that the headers
 * allow, with arguments of api_arguments.h and an allocator that may fail. Every call must return a status and, where
 * it fails, a text; at the end all memory of the allocator must have been given back.
 */

enum { HANDLES = 3, MOST_CALLS = 48 };

struct made_weights {
    mglu_weights *handle;
    mglu_weights_desc desc; /* as the library knows it: with zeros for what an older caller does not have */
};

struct made_layer {
    mglu_layer *handle;
    mglu_weights_desc weights;
    mglu_layer_desc desc;
};

static struct {
    struct fuzz_stream stream;
    mglu_context *contexts[HANDLES];
    mglu_queue *queues[HANDLES];
    struct made_weights weights[HANDLES];
    struct made_layer layers[HANDLES];
    mglu_memory *memories[HANDLES];
    int64_t live;       /* blocks of the allocator */
    uint32_t countdown; /* allocations until one fails; 0: none fails */
    int told;           /* calls of the callback of mglu_queue_notify() */
} state;

#define IN (&state.stream)

/* A struct without arrays. */
#define STRUCT(members) api_struct(IN, &(members), sizeof(members), sizeof(members))

static int slot(void)
{
    return (int)fuzz_below(IN, HANDLES);
}

/* ---- Hooks ---------------------------------------------------------------------------------------------------- */

static void *allocate(void *user, size_t size, size_t alignment)
{
    void *block = NULL;

    fuzz_require(size > 0 && (alignment & (alignment - 1)) == 0, "allocate() is called with a wrong size or alignment");
    if (state.countdown && --state.countdown == 0)
        return NULL;
    if (posix_memalign(&block, alignment < sizeof(void *) ? sizeof(void *) : alignment, size) != 0)
        return NULL;
    state.live++;
    return block;
}

static void release(void *user, void *memory, size_t size, size_t alignment)
{
    fuzz_require(memory != NULL, "release() is called without memory");
    state.live--;
    free(memory);
}

static void receive(void *user, mglu_log_level level, const char *text)
{
    fuzz_require(level >= MGLU_LOG_ERROR && level <= MGLU_LOG_DEBUG, "a log line of an unknown level");
    fuzz_require(!strchr(text, '\n'), "a log line with a newline");
}

/* ---- Calls ---------------------------------------------------------------------------------------------------- */

static void create_context(void)
{
    static const mglu_allocator allocator = {.allocate = allocate, .release = release};
    static const mglu_parallel parallel = {.parallel_for = api_run_backwards};
    const uint8_t hooks = fuzz_byte(IN);
    const mglu_logger logger = {.log = hooks & 4 ? receive : NULL, .level = (mglu_log_level)api_choice(IN, 5)};
    const int threads = hooks & 1 ? api_choice(IN, 3) : 1;
    mglu_context_desc desc = {.num_threads = threads > 2 ? threads | 1 << 20 : threads, /* none or few, or too many */
                              .allocator = hooks & 2 ? &allocator : NULL,
                              .logger = hooks & 4 ? &logger : NULL,
                              .parallel = hooks & 8 ? &parallel : NULL,
                              .max_isa = hooks & 16 ? api_text(IN) : NULL};
    const int at = slot();

    if (hooks & 32 && hooks & 2)
        state.countdown = 1 + fuzz_below(IN, 64);
    mglu_context_destroy(&state.contexts[at]);
    fuzz_check_status(mglu_context_create(STRUCT(desc), &state.contexts[at]), "mglu_context_create");
}

static void destroy_context(void)
{
    mglu_context_destroy(&state.contexts[slot()]);
}

/* A context of this sequence; where it has none, that of the process: making one takes longer than all other calls. */
static mglu_context *any_context(void)
{
    mglu_context *context = state.contexts[slot()];

    return context || fuzz_byte(IN) >= 0xf8 ? context : fuzz_context();
}

static mglu_device *any_device(void)
{
    mglu_context *context = any_context();

    return mglu_device_at(context, fuzz_below(IN, 6));
}

static void list_devices(void)
{
    mglu_context *context = any_context();
    const mglu_device_info empty = {0};
    mglu_device_info *info = STRUCT(empty);
    mglu_device *device;
    size_t count;

    fuzz_check_status(mglu_device_count(context, &count), "mglu_device_count");
    fuzz_check_status(mglu_device_get_info(any_device(), info), "mglu_device_get_info");
    fuzz_check_status(mglu_device_pick(context, api_text(IN), &device), "mglu_device_pick");
}

static void create_queue(void)
{
    const mglu_queue_desc desc = {0};
    const int at = slot();

    mglu_queue_destroy(&state.queues[at]);
    fuzz_check_status(mglu_queue_create(any_device(), fuzz_byte(IN) & 1 ? NULL : STRUCT(desc), &state.queues[at]),
                      "mglu_queue_create");
}

static void wait_queue(void)
{
    fuzz_check_status(mglu_queue_wait(state.queues[slot()]), "mglu_queue_wait");
}

static void hear(void *user, mglu_status status)
{
    fuzz_require(user == &state && (unsigned)status <= MGLU_ERROR_BAD_ROUTING, "a callback's arguments are wrong");
    state.told++;
}

/* The devices of this process work in the calling thread, and so tell at once. */
static void notify_queue(void)
{
    const int before = state.told;
    const mglu_status status = mglu_queue_notify(state.queues[slot()], fuzz_byte(IN) & 7 ? hear : NULL, &state);

    fuzz_check_status(status, "mglu_queue_notify");
    fuzz_require(state.told - before == (status == MGLU_OK), "a callback is not called once");
}

static void destroy_queue(void)
{
    mglu_queue_destroy(&state.queues[slot()]);
}

/* What the library has read of a struct: missing members are zero. */
static void read_known(void *known, size_t size, const void *given)
{
    uint32_t given_size;

    memset(known, 0, size);
    memcpy(&given_size, given, sizeof given_size);
    memcpy(known, given, given_size < size ? given_size : size);
}

static void create_weights(void)
{
    const mglu_weights_desc desc = api_weights(IN);
    void *given = api_struct(IN, &desc, offsetof(mglu_weights_desc, weight), sizeof desc);
    struct made_weights *made = &state.weights[slot()];
    mglu_status status;

    mglu_weights_destroy(&made->handle);
    status = mglu_weights_create(any_device(), given, &made->handle);
    fuzz_check_status(status, "mglu_weights_create");
    fuzz_require((status == MGLU_OK) == (made->handle != NULL), "a status and its handle contradict each other");
    if (status == MGLU_OK)
        read_known(&made->desc, sizeof made->desc, given);
}

static void describe_weights(void)
{
    const mglu_weights_info empty = {0};

    fuzz_check_status(mglu_weights_get_info(state.weights[slot()].handle, STRUCT(empty)), "mglu_weights_get_info");
}

/* Rows that the weights may not have, of packed arrays and of a desc; where they have, a layer's part is computed. */
static void take_rows(void)
{
    const mglu_weights_desc empty = {0}, whole = api_weights(IN);
    mglu_weights_desc *rows = STRUCT(empty);
    const int64_t first = fuzz_below(IN, 64), count = fuzz_byte(IN) >= 0xf0 ? -1 : (int64_t)fuzz_below(IN, 64);
    mglu_weights *part = NULL;
    mglu_status status;

    if (fuzz_byte(IN) & 1)
        status = mglu_weights_rows(state.weights[slot()].handle, first, count, rows);
    else
        status = mglu_weights_desc_rows(api_struct(IN, &whole, offsetof(mglu_weights_desc, weight), sizeof whole),
                                        first, count, rows);
    fuzz_check_status(status, "mglu_weights_rows or mglu_weights_desc_rows");
    if (status == MGLU_OK)
        fuzz_check_status(mglu_weights_create(any_device(), rows, &part), "mglu_weights_create of rows");
    mglu_weights_destroy(&part);
}

static void destroy_weights(void)
{
    mglu_weights_destroy(&state.weights[slot()].handle);
}

static void ask_support(void)
{
    const mglu_weights_desc weights = api_weights(IN);
    const mglu_layer_desc layer = api_layer(IN, weights.n_masks & 15);
    void *given = api_struct(IN, &weights, offsetof(mglu_weights_desc, weight), sizeof weights);

    fuzz_check_status(mglu_supports(any_device(), given, STRUCT(layer)), "mglu_supports");
}

/* Bytes for a batch, before there are weights. */
static void ask_workspace(void)
{
    const mglu_weights_desc weights = api_weights(IN);
    const mglu_layer_desc layer = api_layer(IN, weights.n_masks & 15);
    void *given = api_struct(IN, &weights, offsetof(mglu_weights_desc, weight), sizeof weights);
    size_t size;

    fuzz_check_status(mglu_workspace_size(any_device(), given, STRUCT(layer), (int64_t)fuzz_byte(IN) - 1, &size),
                      "mglu_workspace_size");
}

static void create_layer(void)
{
    const struct made_weights *weights = &state.weights[slot()];
    const mglu_layer_desc desc = api_layer(IN, weights->handle ? weights->desc.n_masks : 0);
    void *given = STRUCT(desc);
    struct made_layer *made = &state.layers[slot()];
    mglu_status status;

    mglu_layer_destroy(&made->handle);
    status = mglu_layer_create(weights->handle, given, &made->handle);
    fuzz_check_status(status, "mglu_layer_create");
    fuzz_require((status == MGLU_OK) == (made->handle != NULL), "a status and its handle contradict each other");
    if (status != MGLU_OK)
        return;
    read_known(&made->desc, sizeof made->desc, given);
    made->weights = weights->desc;
    fuzz_require(mglu_layer_accuracy(made->handle) <= MGLU_ACCURACY_C, "an unknown accuracy class");
}

static void destroy_layer(void)
{
    mglu_layer_destroy(&state.layers[slot()].handle);
}

static void *given_args(const mglu_forward_args *args)
{
    return api_struct(IN, args, offsetof(mglu_forward_args, x), sizeof *args);
}

static void forward(void)
{
    const struct made_layer *layer = &state.layers[slot()];
    mglu_queue *queue = state.queues[slot()];
    mglu_forward_args args = {0};

    if (layer->handle) {
        const size_t most = mglu_layer_workspace_size(layer->handle);
        args = api_forward(IN, &layer->weights, &layer->desc, most);
        args.parallel = api_parallel(IN);
        if (args.workspace_size == most && fuzz_byte(IN) & 1)
            args.workspace_size = mglu_layer_workspace_size_for(layer->handle, args.batch);
        fuzz_require(args.workspace_size <= most, "a batch needs more than the largest");
    }
    fuzz_check_status(mglu_forward(layer->handle, queue, given_args(&args)), "mglu_forward");
}

static void ask_oracle(void)
{
    const struct made_layer *layer = &state.layers[slot()];
    mglu_forward_args args = {0};
    double *want = NULL, *tolerance = NULL;
    int64_t count = 0;

    if (layer->handle) {
        args = api_forward(IN, &layer->weights, &layer->desc, 0);
        count = layer->weights.output_size ? layer->weights.output_size : layer->weights.intermediate_size;
        count *= args.batch > 0 && args.batch <= 64 ? args.batch : 0;
    }
    if (fuzz_byte(IN) & 1)
        want = api_bytes(IN, (size_t)count * sizeof *want);
    if (fuzz_byte(IN) & 1)
        tolerance = api_bytes(IN, (size_t)count * sizeof *tolerance);
    fuzz_check_status(
        mglu_forward_reference(layer->handle, given_args(&args), (mglu_accuracy)api_choice(IN, 3), want, tolerance),
        "mglu_forward_reference");
}

static void create_memory(void)
{
    const int at = slot();

    mglu_memory_destroy(&state.memories[at]);
    fuzz_check_status(mglu_memory_create(any_device(), fuzz_below(IN, 200), &state.memories[at]), "mglu_memory_create");
}

static void copy_memory(void)
{
    mglu_memory *memory = state.memories[slot()];
    mglu_queue *queue = state.queues[slot()];
    const size_t size = fuzz_below(IN, 200);
    const size_t offset = fuzz_byte(IN) >= 0xf8 ? SIZE_MAX - fuzz_below(IN, 4) : fuzz_below(IN, 200);
    void *host = api_bytes(IN, size);

    fuzz_check_status(mglu_memory_write(memory, queue, offset, host, size), "mglu_memory_write");
    fuzz_check_status(mglu_memory_read(memory, queue, offset, host, size), "mglu_memory_read");
}

static void destroy_memory(void)
{
    mglu_memory_destroy(&state.memories[slot()]);
}

static void look_up_names(void)
{
    const char *text = api_text(IN);
    mglu_activation activation;
    mglu_dtype dtype;

    fuzz_check_status(mglu_dtype_from_name(text, &dtype), "mglu_dtype_from_name");
    fuzz_check_status(mglu_activation_from_name(text, &activation), "mglu_activation_from_name");
    mglu_dtype_name((mglu_dtype)api_choice(IN, MGLU_DTYPE_COUNT));
    mglu_status_string((mglu_status)api_choice(IN, MGLU_ERROR_BAD_ROUTING + 1));
}

static void train(void)
{
    mglu_device *device = any_device();

    api_train_call(IN, device, state.queues[slot()]);
}

/* More entries for what is deep: a layer needs weights, and a forward a layer and a queue. */
static void (*const calls[])(void) = {
    create_weights, create_queue,    create_weights,  create_layer,  forward,
    forward,        ask_oracle,      destroy_context, destroy_queue, wait_queue,
    create_layer,   destroy_weights, destroy_layer,   list_devices,  describe_weights,
    create_memory,  copy_memory,     destroy_memory,  ask_support,   look_up_names,
    create_context, forward,         notify_queue,    take_rows,     ask_workspace,
    train,          train,           train,           train,         train,
};

static void destroy_all(void)
{
    for (int i = 0; i < HANDLES; i++) {
        mglu_context_destroy(&state.contexts[i]);
        mglu_weights_destroy(&state.weights[i].handle);
        mglu_memory_destroy(&state.memories[i]);
        mglu_queue_destroy(&state.queues[i]);
        mglu_layer_destroy(&state.layers[i].handle);
    }
    api_train_destroy();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    state.stream = (struct fuzz_stream){bytes, bytes + size};
    state.countdown = 0;
    if (fuzz_byte(IN) >= 0xe0)
        create_context();
    create_queue();
    for (int i = 0; i < MOST_CALLS && fuzz_left(IN) > 0; i++)
        calls[fuzz_below(IN, sizeof calls / sizeof calls[0])]();
    destroy_all();
    fuzz_require(state.live == 0, "memory of the allocator was not given back");
    api_free_all();
    return 0;
}
