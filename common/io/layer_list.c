/* SPDX-License-Identifier: MIT */
#include "common/io/file.h"
#include "common/io/report.h"

#include <stdlib.h>
#include <string.h>

/* Far above any model: 512 experts in 128 layers are a quarter of it. */
enum { MAX_LAYERS = 1 << 18 };

const mglu_file_tensor *mglu_io_find(const mglu_file *file, const char *prefix, const char *inner, const char *leaf)
{
    return mglu_io_index_find(&file->by_name, &(struct mglu_io_name){{prefix, inner, leaf}});
}

int mglu_io_has_masks(const mglu_file *file, const char *prefix, const char *inner)
{
    return mglu_io_find(file, prefix, inner, "mask_bits") || mglu_io_find(file, prefix, inner, "mask");
}

/* Copies the part of `name` before ".leaf": "" when it is "leaf" alone. Returns 0 for any other end. */
static int copy_prefix(const char *name, const char *leaf, char *prefix)
{
    size_t length = strlen(name), tail = strlen(leaf);

    if (length < tail || strcmp(name + length - tail, leaf) != 0)
        return 0;
    length -= tail;
    if (length > 0 && name[--length] != '.')
        return 0;
    memcpy(prefix, name, length);
    prefix[length] = '\0';
    return 1;
}

static int is_masked_layer(const mglu_file *file, const char *prefix)
{
    return mglu_io_has_masks(file, prefix, "");
}

static int is_plain_layer(const mglu_file *file, const char *prefix)
{
    return mglu_io_find(file, prefix, "up_proj", "weight") && !mglu_io_has_masks(file, prefix, "up_proj") &&
           !mglu_io_has_masks(file, prefix, "gate_proj");
}

/* Appends the layers among the tensors named P.`leaf`; returns where the next prefix can be written. */
static char *append_layers(mglu_file *file, const char *leaf, int (*is_layer)(const mglu_file *, const char *),
                           char *text)
{
    for (size_t i = 0; i < file->tensor_count && file->layer_count <= MAX_LAYERS; i++)
        if (copy_prefix(file->tensors[i].name, leaf, text) && is_layer(file, text)) {
            file->layers[file->layer_count++] = text;
            text += strlen(text) + 1;
        }
    return text;
}

mglu_status mglu_io_list_layers(mglu_file *file)
{
    size_t room = 1;
    char *text;

    for (size_t i = 0; i < file->tensor_count; i++)
        room += strlen(file->tensors[i].name) + 1;
    file->layers = malloc((file->tensor_count + 1) * sizeof *file->layers); /* each tensor names at most one layer */
    file->layer_texts = malloc(room);
    if (!file->layers || !file->layer_texts)
        return mglu_io_out_of_memory(file->path);
    text = append_layers(file, "weight", is_masked_layer, file->layer_texts);
    append_layers(file, "gate_proj.weight", is_plain_layer, text);
    if (file->layer_count > MAX_LAYERS)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "more than %d layers", MAX_LAYERS);
    return MGLU_OK;
}

const char *mglu_file_layer_at(const mglu_file *file, size_t index)
{
    return file && index < file->layer_count ? file->layers[index] : NULL;
}
