/* SPDX-License-Identifier: MIT */
#include "common/io/reading.h"
#include "common/io/report.h"

#include <stdio.h>
#include <string.h>

/* How the rows of gate and value are ordered in one matrix: what the caller says, else what the file says. */
static mglu_status find_order(struct mglu_io_reading *reading)
{
    const mglu_file *file = reading->place.file;
    const char *named = mglu_file_metadata(file, "mglu.fused");
    uint32_t flags = file->flags & (MGLU_FILE_FUSED_HALVES | MGLU_FILE_FUSED_INTERLEAVED);

    if (!flags && named && strcmp(named, "halves") == 0)
        flags = MGLU_FILE_FUSED_HALVES;
    else if (!flags && named && strcmp(named, "interleaved") == 0)
        flags = MGLU_FILE_FUSED_INTERLEAVED;
    else if (!flags && named)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL,
                            "metadata mglu.fused is '%.20s', expected halves or interleaved", named);
    reading->interleaved = flags == MGLU_FILE_FUSED_INTERLEAVED;
    if (flags || reading->purpose == MGLU_IO_DESCRIBE ||
        (reading->purpose == MGLU_IO_LOAD && file->flags & MGLU_FILE_HEADER))
        return MGLU_OK;
    return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, file->path,
                        mglu_io_place_find(&reading->place, reading->layout->gate, "weight")->name,
                        "gate and value in one matrix, but not said whether as halves or in alternating rows: open the "
                        "file with MGLU_FILE_FUSED_HALVES or _INTERLEAVED (mglu: --fused)");
}

/*
 * Whether stacks are [inputs, outputs] rather than [outputs, inputs] for each expert; both are in use. The sizes of a
 * down-projection beside them tell: with d rows per part, d is its number of columns in one case and of rows in the
 * other.
 */
static mglu_status find_orientation(struct mglu_io_reading *reading)
{
    const struct mglu_io_layout *layout = reading->layout;
    struct mglu_io_place *place = &reading->place;
    int64_t parts = layout->value ? 1 : 2;
    mglu_file_tensor gate, down;
    mglu_status status = mglu_io_place_take(place, layout->gate, "weight", &gate);

    if (status == MGLU_OK)
        status = mglu_io_place_take(place, layout->down, "weight", &down);
    if (status != MGLU_OK || gate.rank != 2 || down.rank != 2 || gate.dtype == MGLU_FILE_U8)
        return status;
    reading->transposed = gate.shape[1] == parts * down.shape[0] && gate.shape[0] == down.shape[1] &&
                          gate.shape[0] != parts * down.shape[1];
    return MGLU_OK;
}

static mglu_status read_block(struct mglu_io_reading *reading, enum mglu_io_form form, mglu_weights_desc *weights)
{
    const struct mglu_io_layout *layout = reading->layout;
    mglu_status status = MGLU_OK;

    if (form != MGLU_IO_FORM_PLAIN) {
        reading->inner = form == MGLU_IO_FORM_GATE_MASKED ? layout->gate : layout->value;
        status = mglu_io_take_masked(reading, weights);
    } else {
        if (reading->place.expert >= 0)
            status = find_orientation(reading);
        if (status == MGLU_OK && !layout->value)
            status = find_order(reading);
        if (status == MGLU_OK)
            status = mglu_io_take_plain(reading, weights);
    }
    return status == MGLU_OK ? mglu_io_take_down(reading, weights) : status;
}

/* Reads what is at the reading's place: a projection of that name, or a block. `*found` says whether there is one. */
static mglu_status read_place(struct mglu_io_reading *reading, const char *inner, mglu_weights_desc *weights,
                              int *found)
{
    const struct mglu_io_place *place = &reading->place;
    enum mglu_io_form form;

    *found = 1;
    reading->inner = inner;
    if (mglu_io_place_weight(place, inner) && mglu_io_place_masked(place, inner))
        return mglu_io_take_masked(reading, weights);
    for (int i = 0; i < MGLU_IO_LAYOUTS && !*inner; i++) {
        form = mglu_io_layout_form(&mglu_io_layouts[i], place);
        if (form == MGLU_IO_FORM_NONE)
            continue;
        reading->layout = &mglu_io_layouts[i];
        return read_block(reading, form, weights);
    }
    *found = 0;
    return MGLU_OK;
}

mglu_status mglu_io_read_layer(struct mglu_io_reading *reading, const mglu_file *file, const char *prefix,
                               enum mglu_io_purpose purpose, mglu_weights_desc *weights)
{
    size_t length;
    int64_t expert;
    const char *inner;
    int found = 0;
    mglu_status status;

    *reading = (struct mglu_io_reading){.purpose = purpose};
    status = mglu_io_place_make(&reading->place, file, prefix, strlen(prefix), -1);
    if (status == MGLU_OK)
        status = read_place(reading, "", weights, &found);
    if (status == MGLU_OK && !found && mglu_io_split_expert(prefix, &length, &expert, &inner)) {
        mglu_io_place_clear(&reading->place);
        status = mglu_io_place_make(&reading->place, file, prefix, length, expert);
        if (status == MGLU_OK)
            status = read_place(reading, inner, weights, &found);
    }
    if (status == MGLU_OK && !found)
        return mglu_io_no_layer(file, prefix);
    return status == MGLU_OK ? mglu_io_check_unread(reading) : status;
}

/* Whether a name is "mask", or ends with it behind a dot. */
static int is_mask(const char *name)
{
    const char *dot = strrchr(name, '.');

    return strcmp(dot ? dot + 1 : name, "mask") == 0;
}

mglu_status mglu_io_check_row_masks(const mglu_file *file)
{
    char shape[MGLU_IO_SHAPE_TEXT];

    for (size_t i = 0; i < file->tensor_count && file->layer_count == 0; i++) {
        const mglu_file_tensor *tensor = &file->tensors[i];

        if (tensor->rank == 1 && is_mask(tensor->name))
            return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name,
                                "one value per row, shape %s; a mask of a masked GLU (arXiv 2506.23225) has one per "
                                "weight, as P.mask of [masks, d, h] beside P.weight: this is another layer, which is "
                                "not computed",
                                mglu_io_shape_text(shape, tensor->rank, tensor->shape));
    }
    return MGLU_OK;
}

mglu_status mglu_io_no_layer(const mglu_file *file, const char *prefix)
{
    char known[160] = "";
    size_t used = 0, count = 0;
    mglu_status status = mglu_io_check_row_masks(file);

    if (status != MGLU_OK)
        return status;
    if (mglu_io_find(file, prefix, "", "weight"))
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL,
                            "'%.100s.weight' has no masks: '.mask_bits' or '.mask' is missing", prefix);
    for (; count < file->layer_count && count < 3 && used < sizeof known; count++)
        used +=
            (size_t)snprintf(known + used, sizeof known - used, "%s'%.45s'", count ? ", " : "", file->layers[count]);
    if (count)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, file->path, NULL, "no layer '%.60s'; the file has %s%s",
                            prefix, known, count < file->layer_count ? ", ..." : "");
    return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, file->path, NULL,
                        "no layer '%.40s'; the file has none: no P.weight with P.mask or P.mask_bits, and no %s",
                        prefix, mglu_io_known_layouts);
}
