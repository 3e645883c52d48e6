/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "config.h"
#include "files.h"
#include "layer_size.h"
#include "layout_options.h"
#include "pack_folder.h"
#include "tools/common/arguments.h"
#include "tools/common/compute.h"
#include "tools/common/pool.h"
#include "tools/common/report.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

struct options {
    char *input, *output;
    const char *activation; /**< NULL: not given */
    mglu_dtype dtype;
    bool convert;
    bool has_format;
    mglu_file_format format;
    uint32_t file_flags; /**< for mglu_file_open() */
    uint64_t shard_size; /**< 0: not given */
    int threads;         /**< 0: not given */
    const mglu_parallel *parallel;
};

/** Options without a letter. */
enum { SHARD_SIZE = 0x200, THREADS };

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    interrupted = 1;
}

/**
 * What would end the program stops the packing first, so that it can remove a temporary file where the file system has
 * no others. A second time it ends the program at once. Calls that wait are not begun again.
 */
static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction before, action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
        /* What is ignored stays so, as SIGHUP under nohup. */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

static bool ends_in(const char *text, const char *end)
{
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static mglu_file_format format_from_name(struct argp_state *state, const char *name)
{
    if (strcmp(name, "safetensors") == 0)
        return MGLU_FILE_FORMAT_SAFETENSORS;
    if (strcmp(name, "gguf") != 0)
        argp_error(state, "--format: '%s' is neither safetensors nor gguf", name);
    return MGLU_FILE_FORMAT_GGUF;
}

/** Bytes from "5GB", "500MB" or a number; units are powers of ten, as in transformers. */
static uint64_t parse_size(struct argp_state *state, const char *text)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"", 1}, {"KB", 1000}, {"MB", 1000000}, {"GB", 1000000000}};
    char *end;
    errno = 0;
    const unsigned long long count = strtoull(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (*text >= '0' && *text <= '9' && errno == 0 && count > 0 && strcasecmp(end, units[i].name) == 0 &&
            count <= (1ULL << 53) / units[i].bytes)
            return count * units[i].bytes;
    argp_error(state, "--shard-size: '%s' is no size; expected a number of bytes, or one with KB, MB or GB, as 5GB",
               text);
    return 0;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->file_flags;
        return 0;
    case 'd':
        options->dtype = arguments_dtype(state, argument);
        options->convert = true;
        return 0;
    case 'a':
        options->activation = mglu_activation_name(arguments_activation(state, argument));
        return 0;
    case 'f':
        options->format = format_from_name(state, argument);
        options->has_format = true;
        return 0;
    case SHARD_SIZE:
        options->shard_size = parse_size(state, argument);
        return 0;
    case THREADS:
        options->threads = (int)arguments_number(state, "--threads", argument, 1, COMPUTE_MAX_THREADS);
        return 0;
    case ARGP_KEY_ARG:
        arguments_operand(state, argument, (char **const[]){&options->input, &options->output}, 2);
        return 0;
    case ARGP_KEY_END:
        arguments_need(state, options->input, "IN");
        arguments_need(state, options->output, "OUT");
        if (!options->has_format && ends_in(options->output, ".gguf"))
            options->format = MGLU_FILE_FORMAT_GGUF;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int progress(void *user, size_t done, size_t total)
{
    report_progress("packing", done, total);
    return interrupted;
}

/**
 * That of a config.json beside the input. A GGUF file states its architecture in place of an activation: if that
 * does not say which, nothing is written that would have to be guessed later.
 */
static bool activation_beside(const mglu_file *file, const char **name)
{
    const char *architecture = mglu_file_metadata(file, "general.architecture");
    bool found = false;
    mglu_activation activation;
    char *config = path_beside(mglu_file_path(file), "config.json");
    const bool done = config && config_activation(config, &activation, &found);
    free(config);
    if (done && found)
        *name = mglu_activation_name(activation);
    if (!done || found || !architecture)
        return done;
    return report_failure("%s: the activation of the architecture '%.40s' is not known: give it with --activation",
                          mglu_file_path(file), architecture);
}

/** The activation to write: that of --activation, else the file's own (NULL), else that of a config.json beside it. */
static bool find_activation(const char *input, const struct options *options, const char **name)
{
    *name = options->activation;
    mglu_file *file;
    if (*name)
        return true;
    if (!model_open(input, MGLU_FILE_HEADER, &file))
        return false;
    const bool has = mglu_file_metadata(file, "mglu.activation") != NULL;
    const bool done = has || activation_beside(file, name);
    mglu_file_close(&file);
    return done;
}

/** Bytes of a file, or of all tensors of a folder's model. */
static bool measure(const char *path, unsigned long long *bytes)
{
    struct stat about;
    mglu_file *file;
    *bytes = 0;
    if (!path_is_folder(path)) {
        const bool done = stat(path, &about) == 0;
        *bytes = done ? (unsigned long long)about.st_size : 0;
        return done || report_failure("%s: can't be read back", path);
    }
    if (!model_open(path, MGLU_FILE_HEADER, &file))
        return false;
    for (size_t i = 0; i < mglu_file_tensor_count(file); i++)
        *bytes += mglu_file_tensor_at(file, i)->bytes;
    mglu_file_close(&file);
    return true;
}

/**
 * From the header of the input, which is smaller than that of the output. `activation`: NULL where it is the input's.
 */
static bool print_summary(const char *input, const char *output, const struct options *options, const char *activation)
{
    struct layer_size total;
    size_t layers, masked;
    unsigned long long before, after;
    mglu_file *file;
    if (!measure(input, &before) || !measure(output, &after) ||
        !model_open(input, options->file_flags | MGLU_FILE_HEADER, &file))
        return false;
    const bool done = layer_size_total(file, options->convert ? &options->dtype : NULL, &total, &layers, &masked);
    const char *named = activation ? activation : mglu_file_metadata(file, "mglu.activation");
    if (done)
        printf("%zu layers %s, activation %s\n"
               "%s %llu bytes, before %llu\n"
               "projections %llu bytes, equal GLUs %llu (%.1f %%)\n",
               masked ? masked : layers, masked ? "packed" : "written, none with masks", named ? named : "not named",
               path_is_folder(output) ? "tensors" : "file", after, before, (unsigned long long)total.bytes,
               (unsigned long long)total.glu_bytes, layer_size_percent(total));
    mglu_file_close(&file);
    return done;
}

/** Packs a file, or the model in a folder. Sets the activation to write, NULL where it is the input's. */
static bool pack_model(const char *input, const char *output, const struct options *options, const char **activation)
{
    mglu_file_pack_options wanted = {
        .struct_size = sizeof wanted,
        .convert = options->convert,
        .dtype = options->dtype,
        .progress = progress,
        .format = options->format,
        .input_flags = options->file_flags,
        .shard_size = options->shard_size,
        .parallel = options->parallel,
    };
    if (path_same(input, output))
        return report_failure("%s: the output would replace the input", output);
    if (!layout_complete_flags(input, &wanted.input_flags) || !find_activation(input, options, activation))
        return false;
    wanted.activation = *activation;
    const mglu_status status =
        path_is_folder(input) ? mglu_file_pack_folder(input, output, &wanted) : mglu_file_pack(input, output, &wanted);
    if (status != MGLU_OK)
        return interrupted ? report_failure("%s: interrupted, not written", output) : report_library(NULL);
    report_progress_end();
    return true;
}

static bool pack_folder(const struct options *options)
{
    struct pack_folder folder;
    const char *activation;
    if (!pack_folder_begin(&folder, options->input, options->output))
        return false;
    const bool done = pack_model(options->input, options->output, options, &activation) &&
                      pack_folder_finish(&folder) &&
                      print_summary(options->input, options->output, options, activation);
    pack_folder_end(&folder);
    return done;
}

static bool pack(const struct options *options)
{
    const char *activation;
    const bool is_folder = path_is_folder(options->input);
    if (is_folder && options->format == MGLU_FILE_FORMAT_GGUF)
        return report_failure("%s: is a folder; GGUF is written from a file: give the model.safetensors in it",
                              options->input);
    if (is_folder)
        return pack_folder(options);
    if (options->shard_size)
        return report_failure("%s: is a file; --shard-size is for the model in a folder", options->input);
    if (path_is_folder(options->output))
        return report_failure("%s: is a directory, but %s is a file", options->output, options->input);
    return pack_model(options->input, options->output, options, &activation) &&
           print_summary(options->input, options->output, options, activation);
}

/** Packs on the threads that were asked for. A context refuses a MGLU_NUM_THREADS that is no number. */
static bool pack_on_threads(struct options *options)
{
    struct pool *pool = NULL;
    mglu_context *context = NULL;
    if (!compute_context(&context) || !compute_pool(&pool, options->threads)) {
        mglu_context_destroy(&context);
        return false;
    }
    const mglu_parallel parallel = pool_hook(pool);
    options->parallel = pool ? &parallel : NULL;
    const bool done = pack(options);
    pool_destroy(pool);
    mglu_context_destroy(&context);
    return done;
}

int command_pack(int argc, char **argv)
{
    static const struct argp_option list[] = {
        {"dtype", 'd', "T", 0, "Store the matrices as f16, bf16, f32, q8_0 or q4_0 (default: as they are)", 0},
        {"activation", 'a', "A", 0,
         "Activation to name in the output, as silu; an unknown name prints the list of names (default: the input's, "
         "else hidden_act of a config.json beside it)",
         0},
        {"shard-size", SHARD_SIZE, "N", 0,
         "Write a folder's model to files of at most N bytes, as 5GB (default: in the files that it has)", 0},
        {"threads", THREADS, "N", 0, "Threads (default: MGLU_NUM_THREADS, else as many as this process may use)", 0},
        {"format", 'f', "F", 0,
         "Write safetensors or gguf; GGUF gets the layers alone (default: gguf where OUT ends in .gguf)", 0},
        {0},
    };
    static const struct argp_child children[] = {{.argp = &layout_argp}, {0}};
    static const struct argp argp = {
        .options = list,
        .parser = parse,
        .children = children,
        .args_doc = "IN OUT",
        .doc = "Converts a training checkpoint to the packed format: each mask logit becomes one bit. With --dtype, "
               "converts or quantises the matrices, also those of layers without masks. IN is a safetensors "
               "file, or a folder with model.safetensors or with shards and their index; OUT is then a folder too, and "
               "gets a copy of config.json. "
               "Or IN is a GGUF file, whose feed-forward layers are written.",
    };
    struct options options = {0};
    if (!arguments_parse(&argp, argc, argv, 0, &options))
        return EXIT_FAILED;
    catch_signals();
    return pack_on_threads(&options) ? EXIT_SUCCESS : EXIT_FAILED;
}
