/* SPDX-License-Identifier: MIT */
#include "common/io/layout.h"
#include "common/io/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Far above any model: 512 experts in 128 layers are a quarter of the first. A stack of experts names many layers with
 * one tensor: their names may take as many bytes as the file, and the second number more.
 */
enum { MAX_LAYERS = 1 << 18, MAX_MORE_TEXT = 1 << 20 };

/* The list in the making: counted first, and then written. */
struct listing {
    mglu_file *file;
    size_t count, length; /* of layers, and of their names with the NULs */
    int writing;
};

const mglu_file_tensor *mglu_io_find(const mglu_file *file, const char *prefix, const char *inner, const char *leaf)
{
    return mglu_io_index_find(&file->by_name, &(struct mglu_io_name){{prefix, inner, leaf}});
}

/* Whether a name is `leaf`, or ends with it behind a dot; `*length` is that of what precedes, without the dot. */
static int ends_with(const char *name, const char *leaf, size_t *length)
{
    size_t whole = strlen(name), tail = strlen(leaf);

    if (whole < tail || strcmp(name + whole - tail, leaf) != 0)
        return 0;
    *length = whole - tail;
    return *length == 0 || name[--*length] == '.';
}

static mglu_status add_name(struct listing *listing, const char *stem, int stem_length, const char *expert,
                            const char *inner, int inner_length)
{
    mglu_file *file = listing->file;
    const char *first = stem_length && *expert ? "." : "", *second = *expert && inner_length ? "." : "";
    char *text = listing->writing ? file->layer_texts + listing->length : NULL;
    size_t room = listing->writing ? file->layer_text_size - listing->length : 0;
    int length = snprintf(text, room, "%.*s%s%s%s%.*s", stem_length, stem, first, expert, second, inner_length, inner);

    if (listing->count == MAX_LAYERS)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "more than %d layers", MAX_LAYERS);
    if (length < 0 || listing->length > file->size + MAX_MORE_TEXT)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL,
                            "the names of the layers in stacks of experts take more bytes than the file");
    if (listing->writing)
        file->layers[listing->count] = text;
    listing->count++;
    listing->length += (size_t)length + 1;
    return MGLU_OK;
}

/* A layer stem.inner, or with `experts` a layer stem.N.inner for each of them. */
static mglu_status add_layers(struct listing *listing, const char *stem, size_t stem_length, const char *inner,
                              size_t inner_length, int64_t experts)
{
    mglu_status status = MGLU_OK;
    char number[24];

    if (experts < 0)
        return add_name(listing, stem, (int)stem_length, "", inner, (int)inner_length);
    for (int64_t i = 0; i < experts && status == MGLU_OK; i++) {
        snprintf(number, sizeof number, "%lld", (long long)i);
        status = add_name(listing, stem, (int)stem_length, number, inner, (int)inner_length);
    }
    return status;
}

/* Whether the place of this length has masks; a stack's also as name_mask. */
static mglu_status find_masks(const mglu_file *file, const char *name, size_t length, int stacked, int *found)
{
    struct mglu_io_place place;
    mglu_status status = mglu_io_place_make(&place, file, name, length, stacked ? 0 : -1);

    *found = status == MGLU_OK && mglu_io_place_masked(&place, "");
    mglu_io_place_clear(&place);
    return status;
}

/* A tensor that is the weight of a projection with masks. */
static mglu_status list_masked(struct listing *listing, const mglu_file_tensor *tensor)
{
    const char *name = tensor->name, *dot;
    size_t length;
    int stacked = tensor->rank == 3, found;
    mglu_status status;

    if (!ends_with(name, "weight", &length)) {
        if (!stacked)
            return MGLU_OK;
        length = strlen(name);
    }
    status = find_masks(listing->file, name, length, stacked, &found);
    if (status != MGLU_OK || !found)
        return status;
    if (!stacked || length == 0)
        return add_layers(listing, name, length, "", 0, -1);
    dot = memrchr(name, '.', length);
    if (!dot)
        return add_layers(listing, "", 0, name, length, tensor->shape[0]);
    return add_layers(listing, name, (size_t)(dot - name), dot + 1, length - (size_t)(dot + 1 - name),
                      tensor->shape[0]);
}

/* A tensor that is the gate of a block without masks. */
static mglu_status list_plain(struct listing *listing, const mglu_file_tensor *tensor)
{
    int stacked = tensor->rank == 3;

    for (int i = 0; i < MGLU_IO_LAYOUTS; i++) {
        const struct mglu_io_layout *layout = &mglu_io_layouts[i];
        char leaf[40];
        struct mglu_io_place place;
        size_t length;
        enum mglu_io_form form;
        mglu_status status;

        snprintf(leaf, sizeof leaf, "%s.weight", layout->gate);
        if (!ends_with(tensor->name, leaf, &length) && !(stacked && ends_with(tensor->name, layout->gate, &length)))
            continue;
        status = mglu_io_place_make(&place, listing->file, tensor->name, length, stacked ? 0 : -1);
        form = status == MGLU_OK ? mglu_io_layout_form(layout, &place) : MGLU_IO_FORM_NONE;
        mglu_io_place_clear(&place);
        if (status != MGLU_OK || form == MGLU_IO_FORM_PLAIN)
            return status == MGLU_OK ? add_layers(listing, tensor->name, length, "", 0, stacked ? tensor->shape[0] : -1)
                                     : status;
    }
    return MGLU_OK;
}

static mglu_status list(struct listing *listing)
{
    const mglu_file *file = listing->file;
    mglu_status status = MGLU_OK;

    listing->count = listing->length = 0;
    for (size_t i = 0; i < file->tensor_count && status == MGLU_OK; i++)
        status = list_masked(listing, &file->tensors[i]);
    for (size_t i = 0; i < file->tensor_count && status == MGLU_OK; i++)
        status = list_plain(listing, &file->tensors[i]);
    return status;
}

mglu_status mglu_io_list_layers(mglu_file *file)
{
    struct listing listing = {.file = file};
    mglu_status status = list(&listing);

    if (status != MGLU_OK)
        return status;
    file->layer_text_size = listing.length;
    file->layers = malloc((listing.count + 1) * sizeof *file->layers);
    file->layer_texts = malloc(listing.length + 1);
    if (!file->layers || !file->layer_texts)
        return mglu_io_out_of_memory(file->path);
    listing.writing = 1;
    status = list(&listing);
    file->layer_count = listing.count;
    return status;
}

const char *mglu_file_layer_at(const mglu_file *file, size_t index)
{
    return file && index < file->layer_count ? file->layers[index] : NULL;
}
