/* SPDX-License-Identifier: MIT */
#include "soak.h"

#include <mglu/io.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The specimen that is written: masked, without other parts, with rows that every dtype can store. */
enum { WRITTEN = 1, PATH_SIZE = 96 };

static void write_checkpoint(const struct specimen *specimen, const char *path)
{
    const mglu_weights_desc *desc = &specimen->weights;
    const int64_t sizes[] = {desc->n_masks, desc->intermediate_size, desc->hidden_size};
    const mglu_file_tensor weight = {
        .name = "a.weight", .dtype = MGLU_FILE_F32, .rank = 2, .shape = sizes + 1, .data = desc->weight.data};
    const mglu_file_tensor mask = {
        .name = "a.mask", .dtype = MGLU_FILE_U8, .rank = 3, .shape = sizes, .data = desc->masks.data};
    mglu_file_writer *writer;

    require_ok(mglu_file_writer_create(&writer));
    require_ok(mglu_file_writer_metadata(writer, "source", "soak \xe2\x82\xac"));
    require_ok(mglu_file_writer_tensor(writer, &mask));
    require_ok(mglu_file_writer_tensor(writer, &weight));
    require_ok(mglu_file_writer_commit(writer, path));
    mglu_file_writer_destroy(&writer);
}

/* A forward of the file's layer; the specimen has the input. */
static void compute_file(const mglu_file *file, const struct specimen *written, mglu_device *handle, float *y)
{
    struct specimen specimen = *written;
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    int has_activation;

    require(mglu_file_layer_at(file, 0) && !mglu_file_layer_at(file, 1));
    require_ok(mglu_file_layer(file, mglu_file_layer_at(file, 0), &weights, &layer, &has_activation));
    layer.max_batch = specimen.layer.max_batch;
    specimen.weights = weights;
    specimen.layer = layer;
    specimen_compute(&specimen, handle, y);
}

void soak_files(struct soak *soak, size_t device)
{
    const struct specimen *written = &soak->specimens[WRITTEN];
    const mglu_file_pack_options options = {
        .struct_size = sizeof options, .convert = 1, .dtype = (mglu_dtype)(soak->round % MGLU_DTYPE_COUNT)};
    char checkpoint[PATH_SIZE], packed[PATH_SIZE];
    float *y = soak_output(soak);
    mglu_context *context;
    mglu_device *handle = soak_open(soak, device, &context, NULL);
    mglu_file *file;

    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint", soak->folder);
    snprintf(packed, sizeof packed, "%s/packed", soak->folder);
    write_checkpoint(written, checkpoint);
    require_ok(mglu_file_pack(checkpoint, packed, &options));
    require_ok(mglu_file_open(packed, soak->round % 2 ? MGLU_FILE_MMAP : 0, &file));
    compute_file(file, written, handle, y);
    if (options.dtype == written->weights.dtype)
        soak_compare(soak, device, WRITTEN, y);
    mglu_file_close(&file);
    require(unlink(checkpoint) == 0 && unlink(packed) == 0);
    mglu_context_destroy(&context);
    free(y);
}
