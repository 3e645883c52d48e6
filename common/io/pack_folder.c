/* SPDX-License-Identifier: MIT */
#include "common/io/pack_file.h"
#include "common/io/report.h"
#include "common/io/shard_index.h"
#include "common/io/text_output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file of the output folder. */
struct target {
    char *path;
    const char *name; /* in the path */
    struct mglu_io_output output;
    int begun, is_new, is_named;
};

/* The files of an output: shards and their index, or one file. */
struct targets {
    const char *folder;
    struct target *files;
    size_t count; /* of files with tensors; an index follows them */
    int indexed;
};

static const char whole[] = "model.safetensors";

static mglu_status add(struct targets *targets, const char *name)
{
    size_t size = strlen(targets->folder) + strlen(name) + 2;
    struct target *target = &targets->files[targets->count];

    target->path = malloc(size);
    if (!target->path)
        return mglu_io_out_of_memory(targets->folder);
    snprintf(target->path, size, "%s/%s", targets->folder, name);
    target->name = target->path + strlen(targets->folder) + 1;
    targets->count++;
    return MGLU_OK;
}

/* Each tensor in the shard of its source. */
static mglu_status keep_shards(struct targets *targets, struct mglu_io_plan *plan)
{
    const mglu_file *input = plan->input;
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < plan->count; i++)
        plan->tensors[i].file = (uint16_t)input->origins[plan->tensors[i].source].shard;
    for (size_t i = 0; i < input->shard_count && status == MGLU_OK; i++) {
        const char *slash = strrchr(input->shards[i]->path, '/');

        status = add(targets, slash ? slash + 1 : input->shards[i]->path);
    }
    return status;
}

static uint64_t bytes_of(const struct mglu_io_plan *plan, uint32_t planned)
{
    struct mglu_io_plan one = *plan;
    struct mglu_io_entry entry;

    one.order = &planned;
    mglu_io_plan_describe(&one, 0, &entry);
    return entry.bytes;
}

/* Fills one shard after the other; returns how many there are. */
static size_t fill_shards(struct mglu_io_plan *plan)
{
    uint64_t used = 0, limit = plan->options->shard_size;
    size_t count = 1;

    for (size_t i = 0; i < plan->count; i++) {
        uint64_t bytes = bytes_of(plan, (uint32_t)i);

        if (used > 0 && (used > limit || bytes > limit - used)) {
            count++;
            used = 0;
        }
        used += bytes;
        plan->tensors[i].file = (uint16_t)(count - 1);
    }
    return count;
}

static mglu_status name_shards(struct targets *targets, size_t count)
{
    mglu_status status = MGLU_OK;
    char name[64];

    if (count > MGLU_IO_MAX_SHARDS)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, targets->folder, NULL,
                            "the shard size gives %zu files, at most %d are written", count, MGLU_IO_MAX_SHARDS);
    for (size_t i = 0; i < count && status == MGLU_OK; i++) {
        snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, count);
        status = add(targets, name);
    }
    return status;
}

/* Whoever reads the folder would find two models there. */
static mglu_status check_other_form(const struct targets *targets)
{
    const char *other = targets->indexed ? whole : MGLU_IO_SHARD_INDEX;
    size_t size = strlen(targets->folder) + strlen(other) + 2;
    char *path = malloc(size);
    mglu_status status = MGLU_OK;

    if (!path)
        return mglu_io_out_of_memory(targets->folder);
    snprintf(path, size, "%s/%s", targets->folder, other);
    if (access(path, F_OK) == 0)
        status = mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, path, NULL,
                              "is there already, and %s would be written beside it: which one is read would depend on "
                              "the reader; remove it first, or give another folder",
                              targets->indexed ? "shards" : whole);
    free(path);
    return status;
}

static mglu_status choose_files(struct targets *targets, struct mglu_io_plan *plan)
{
    size_t count;
    mglu_status status;

    targets->files = calloc(MGLU_IO_MAX_SHARDS + 1, sizeof *targets->files);
    if (!targets->files)
        return mglu_io_out_of_memory(targets->folder);
    count = plan->options->shard_size ? fill_shards(plan) : plan->input->shards ? plan->input->shard_count : 1;
    targets->indexed = plan->options->shard_size ? count > 1 : plan->input->shards != NULL;
    if (!targets->indexed)
        status = add(targets, whole);
    else if (plan->options->shard_size)
        status = name_shards(targets, count);
    else
        status = keep_shards(targets, plan);
    if (status == MGLU_OK && targets->indexed) {
        status = add(targets, MGLU_IO_SHARD_INDEX);
        targets->count -= status == MGLU_OK;
    }
    return status == MGLU_OK ? check_other_form(targets) : status;
}

static mglu_status begin_files(struct targets *targets)
{
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < targets->count + (size_t)targets->indexed && status == MGLU_OK; i++) {
        struct target *target = &targets->files[i];

        status = mglu_io_output_begin(&target->output, target->path);
        target->begun = status == MGLU_OK;
        target->is_new = target->begun && !target->output.replaces;
    }
    return status;
}

/* All before the data of one shard, whose tensors are in the order in which they would be in one file. */
static mglu_status write_front(const struct mglu_io_plan *plan, size_t number)
{
    struct mglu_io_plan part = *plan;
    mglu_status status;

    part.count = 0;
    part.order = malloc((plan->count + 1) * sizeof *part.order);
    if (!part.order)
        return mglu_io_out_of_memory(plan->input->path);
    for (size_t i = 0; i < plan->count; i++)
        if (plan->tensors[plan->order[i]].file == number)
            part.order[part.count++] = plan->order[i];
    status = mglu_io_pack_front(&part, (uint16_t)number);
    free(part.order);
    return status;
}

static mglu_status write_index(struct targets *targets, const struct mglu_io_plan *plan)
{
    struct mglu_io_text text = {.output = &targets->files[targets->count].output, .status = MGLU_OK};

    mglu_io_text_put(&text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                     (unsigned long long)mglu_io_plan_bytes(plan));
    for (size_t i = 0; i < plan->count; i++) {
        struct mglu_io_entry entry;

        mglu_io_plan_describe(plan, i, &entry);
        mglu_io_text_put(&text, i ? ",\n    \"" : "\n    \"");
        mglu_io_text_put_escaped(&text, entry.name);
        mglu_io_text_put_escaped(&text, entry.tail);
        mglu_io_text_put(&text, "\": \"");
        mglu_io_text_put_escaped(&text, targets->files[plan->tensors[plan->order[i]].file].name);
        mglu_io_text_put(&text, "\"");
    }
    mglu_io_text_put(&text, "\n  }\n}\n");
    mglu_io_text_flush(&text);
    return text.status;
}

static mglu_status write_files(struct targets *targets, struct mglu_io_plan *plan)
{
    struct mglu_io_output *outputs[MGLU_IO_MAX_SHARDS];
    mglu_status status = MGLU_OK;

    plan->outputs = outputs;
    for (size_t i = 0; i < targets->count; i++)
        outputs[i] = &targets->files[i].output;
    for (size_t i = 0; i < targets->count && status == MGLU_OK; i++)
        status = write_front(plan, i);
    if (status == MGLU_OK)
        status = mglu_io_pack_data(plan);
    if (status == MGLU_OK && targets->indexed)
        status = write_index(targets, plan);
    plan->outputs = NULL;
    return status;
}

/*
 * Where shards replace others, the older index goes first: a process that is killed while they get their names, or
 * fails, leaves no index that names shards of both outputs.
 */
static mglu_status remove_older_index(const struct targets *targets)
{
    const struct target *index = &targets->files[targets->count];
    int replaces = 0;

    for (size_t i = 0; i < targets->count; i++)
        replaces |= !targets->files[i].is_new;
    if (!targets->indexed || !replaces || index->is_new || unlinkat(index->output.folder, index->output.name, 0) == 0)
        return MGLU_OK;
    return mglu_io_system_error(index->path, "cannot remove the older index");
}

/* The index comes last: until then nobody finds the shards. */
static mglu_status name_files(struct targets *targets)
{
    mglu_status status = remove_older_index(targets);

    for (size_t i = 0; i < targets->count + (size_t)targets->indexed && status == MGLU_OK; i++) {
        status = mglu_io_output_commit(&targets->files[i].output);
        targets->files[i].begun = 0;
        targets->files[i].is_named = status == MGLU_OK;
    }
    for (size_t i = 0; i < targets->count && status != MGLU_OK; i++)
        if (targets->files[i].is_named && targets->files[i].is_new)
            unlink(targets->files[i].path);
    return status;
}

static void clear(struct targets *targets)
{
    for (size_t i = 0; targets->files && i < MGLU_IO_MAX_SHARDS + 1; i++) {
        if (targets->files[i].begun)
            mglu_io_output_discard(&targets->files[i].output);
        free(targets->files[i].path);
    }
    free(targets->files);
}

static mglu_status pack(const mglu_file *input, const char *folder, const mglu_file_pack_options *options)
{
    struct mglu_io_plan plan = {.input = input, .options = options};
    struct targets targets = {.folder = folder};
    mglu_status status = mglu_io_plan_make(&plan);

    if (status == MGLU_OK)
        status = choose_files(&targets, &plan);
    if (status == MGLU_OK)
        status = begin_files(&targets);
    if (status == MGLU_OK)
        status = write_files(&targets, &plan);
    if (status == MGLU_OK)
        status = name_files(&targets);
    clear(&targets);
    mglu_io_plan_clear(&plan);
    return status;
}

mglu_status mglu_file_pack_folder(const char *input_path, const char *output_path,
                                  const mglu_file_pack_options *options)
{
    mglu_file_pack_options known;
    mglu_file *input;
    mglu_status status;

    if (!input_path || !output_path)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_pack_folder: input or output path is NULL");
    status = mglu_io_pack_options("mglu_file_pack_folder", options, &known);
    if (status == MGLU_OK && known.format == MGLU_FILE_FORMAT_GGUF)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_pack_folder: GGUF is written from a file");
    if (status == MGLU_OK)
        status = mglu_file_open_folder(input_path, known.input_flags | MGLU_FILE_HEADER, &input);
    if (status != MGLU_OK)
        return status;
    status = pack(input, output_path, &known);
    mglu_file_close(&input);
    return status;
}
