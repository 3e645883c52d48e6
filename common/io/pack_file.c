/* SPDX-License-Identifier: MIT */
#include "common/io/pack_file.h"

#include "common/core/parallel.h"
#include "common/core/structs.h"
#include "common/io/gguf_write.h"
#include "common/io/report.h"

#include <mglu/pack.h>
#include <mglu/version.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mglu_status check_options(const char *function, const mglu_file_pack_options *options)
{
    mglu_activation activation;
    const mglu_status status = mglu_parallel_check(function, options->parallel);

    if (status != MGLU_OK)
        return status;
    if (options->convert && !mglu_dtype_name(options->dtype))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: unknown dtype %d", function, (int)options->dtype);
    if (options->format != MGLU_FILE_FORMAT_SAFETENSORS && options->format != MGLU_FILE_FORMAT_GGUF)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: unknown format %d", function, (int)options->format);
    return options->activation ? mglu_activation_from_name(options->activation, &activation) : MGLU_OK;
}

mglu_status mglu_io_pack_options(const char *function, const mglu_file_pack_options *given,
                                 mglu_file_pack_options *options)
{
    mglu_status status = MGLU_OK;

    *options = (mglu_file_pack_options){.struct_size = sizeof *options};
    if (given)
        status = mglu_struct_read("mglu_file_pack_options", options, sizeof *options,
                                  MGLU_FIRST_SIZE(mglu_file_pack_options, user), given);
    return status == MGLU_OK ? check_options(function, options) : status;
}

/* Sets a pair of the list, which has room for it. */
static void set_pair(struct mglu_io_metadata *pairs, size_t *count, const char *key, const char *value)
{
    size_t i = 0;

    while (i < *count && strcmp(pairs[i].key, key) != 0)
        i++;
    pairs[i] = (struct mglu_io_metadata){key, value};
    *count += i == *count;
}

/* Writes everything up to the data: the metadata of the input, with some keys set. */
static mglu_status write_front(const struct mglu_io_plan *plan, struct mglu_io_output *output)
{
    const mglu_file *input = plan->input;
    struct mglu_io_front front = {.count = plan->count, .describe = mglu_io_plan_describe, .source = plan};
    struct mglu_io_metadata *pairs = malloc((input->metadata_count + 5) * sizeof *pairs);
    const char *fused = input->flags & MGLU_FILE_FUSED_HALVES        ? "halves"
                        : input->flags & MGLU_FILE_FUSED_INTERLEAVED ? "interleaved"
                                                                     : NULL;
    char producer[64], version[16];
    mglu_status status;

    if (!pairs)
        return mglu_io_out_of_memory(input->path);
    snprintf(version, sizeof version, "%d", MGLU_FORMAT_VERSION);
    snprintf(producer, sizeof producer, "mglu %s", mglu_version());
    memcpy(pairs, input->metadata, input->metadata_count * sizeof *pairs);
    front.metadata = pairs;
    front.metadata_count = input->metadata_count;
    set_pair(pairs, &front.metadata_count, "format", "pt");
    set_pair(pairs, &front.metadata_count, "mglu.version", version);
    set_pair(pairs, &front.metadata_count, "mglu.producer", producer);
    if (fused)
        set_pair(pairs, &front.metadata_count, "mglu.fused", fused);
    if (plan->options->activation)
        set_pair(pairs, &front.metadata_count, "mglu.activation", plan->options->activation);
    status = mglu_io_front_write(&front, output);
    free(pairs);
    return status;
}

mglu_status mglu_io_pack_front(const struct mglu_io_plan *plan, uint16_t file)
{
    struct mglu_io_output *output = plan->outputs[file];
    mglu_status status = write_front(plan, output);
    uint64_t offset = output->size;

    for (size_t i = 0; i < plan->count; i++) {
        struct mglu_io_planned *planned = &plan->tensors[plan->order[i]];
        struct mglu_io_entry entry;

        mglu_io_plan_describe(plan, i, &entry);
        planned->file = file;
        planned->offset = offset;
        offset += entry.bytes;
    }
    return status;
}

static mglu_status pack_opened(const mglu_file *input, const mglu_file_pack_options *options,
                               struct mglu_io_output *output)
{
    struct mglu_io_plan plan = {.input = input, .options = options, .outputs = &output};
    mglu_status status = mglu_io_plan_make(&plan);

    if (status == MGLU_OK)
        status = mglu_io_pack_front(&plan, 0);
    if (status == MGLU_OK)
        status = mglu_io_pack_data(&plan);
    mglu_io_plan_clear(&plan);
    return status;
}

static mglu_status pack(const char *input_path, const mglu_file_pack_options *options, struct mglu_io_output *output)
{
    int gguf = options->format == MGLU_FILE_FORMAT_GGUF;
    mglu_file *input;
    mglu_status status = mglu_file_open(input_path, options->input_flags | MGLU_FILE_HEADER, &input);

    if (status != MGLU_OK)
        return status;
    status = gguf ? mglu_io_gguf_write(input, options, output) : pack_opened(input, options, output);
    mglu_file_close(&input);
    return status;
}

mglu_status mglu_file_pack(const char *input_path, const char *output_path, const mglu_file_pack_options *options)
{
    mglu_file_pack_options known;
    struct mglu_io_output output;
    mglu_status status;

    if (!input_path || !output_path)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_pack: input or output path is NULL");
    status = mglu_io_pack_options("mglu_file_pack", options, &known);
    if (status == MGLU_OK && known.shard_size)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_pack: shard_size is for mglu_file_pack_folder()");
    if (status == MGLU_OK)
        status = mglu_io_output_begin(&output, output_path);
    if (status != MGLU_OK)
        return status;
    status = pack(input_path, &known, &output);
    if (status == MGLU_OK)
        return mglu_io_output_commit(&output);
    mglu_io_output_discard(&output);
    return status;
}
