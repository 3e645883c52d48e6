/* SPDX-License-Identifier: MIT */
#include "common/io/reading.h"
#include "common/io/report.h"

#include <stdio.h>
#include <string.h>

/* What a block of experts has beside their matrices without changing them: what selects experts, and shared ones. */
static const char *const beside_experts[] = {"router", "gate.", "shared_"};

static int is_used(const struct mglu_io_reading *reading, const mglu_file_tensor *tensor)
{
    for (int i = 0; i < reading->used_count; i++)
        if (reading->used[i].tensor == tensor)
            return 1;
    return 0;
}

static int is_beside_experts(const struct mglu_io_reading *reading, const char *rest)
{
    if (reading->place.expert < 0)
        return 0;
    for (size_t i = 0; i < sizeof beside_experts / sizeof beside_experts[0]; i++)
        if (strncmp(rest, beside_experts[i], strlen(beside_experts[i])) == 0)
            return 1;
    return 0;
}

static mglu_status refuse(const struct mglu_io_reading *reading, const mglu_file_tensor *tensor)
{
    size_t length = strlen(tensor->name);
    int bias = *reading->inner && length >= 4 && strcmp(tensor->name + length - 4, "bias") == 0;

    return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, reading->place.file->path, tensor->name,
                        "nothing reads it, but it may change what the layer computes%s; to go on without it, open the "
                        "file with MGLU_FILE_IGNORE_UNREAD (mglu: --ignore-unread)",
                        bias ? " (masked layers have gate_bias and value_bias)" : "");
}

/* The first tensor in the order of names whose name is not below `begin`. */
static size_t first_from(const mglu_file *file, const char *begin)
{
    size_t low = 0, high = file->by_name.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const mglu_file_tensor *tensor = file->by_name.items[middle];

        if (strcmp(tensor->name, begin) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Refuses a tensor whose name begins with stem.inner and `joint`, unless it is read. */
static mglu_status check_scope(const struct mglu_io_reading *reading, const char *inner, const char *joint)
{
    const struct mglu_io_place *place = &reading->place;
    const mglu_file *file = place->file;
    int length =
        snprintf(place->name, place->room, "%s%s%s%s", place->stem, *place->stem && *inner ? "." : "", inner, joint);

    if (length < 0 || (size_t)length >= place->room)
        return MGLU_OK;
    for (size_t i = first_from(file, place->name); i < file->by_name.count; i++) {
        const mglu_file_tensor *tensor = file->by_name.items[i];

        if (strncmp(tensor->name, place->name, (size_t)length) != 0)
            break;
        if (!is_used(reading, tensor) && !is_beside_experts(reading, tensor->name + length))
            return refuse(reading, tensor);
    }
    return MGLU_OK;
}

/* A module that was saved by itself: only names of its own matrices are certain to belong to it. */
static mglu_status check_unnamed(const struct mglu_io_reading *reading)
{
    const struct mglu_io_layout *layout = reading->layout;
    mglu_status status;

    if (!layout) {
        status = check_scope(reading, "weight", "_");
        return status == MGLU_OK ? check_scope(reading, "bias", "") : status;
    }
    status = check_scope(reading, layout->gate, ".");
    if (status == MGLU_OK && layout->value)
        status = check_scope(reading, layout->value, ".");
    return status == MGLU_OK ? check_scope(reading, layout->down, ".") : status;
}

/* A projection that is one of the two matrices of a block: the other is then nothing's. */
static mglu_status check_partner(const struct mglu_io_reading *reading)
{
    struct mglu_io_reading block = *reading;
    const char *dot = strrchr(reading->place.stem, '.'), *last = dot ? dot + 1 : reading->place.stem;
    mglu_status status = MGLU_OK;

    for (int i = 0; i < MGLU_IO_LAYOUTS && status == MGLU_OK; i++) {
        const struct mglu_io_layout *layout = &mglu_io_layouts[i];
        int is_gate = strcmp(last, layout->gate) == 0;

        if (!layout->value || (!is_gate && strcmp(last, layout->value) != 0))
            continue;
        status = mglu_io_place_make(&block.place, reading->place.file, reading->place.stem,
                                    dot ? (size_t)(dot - reading->place.stem) : 0, -1);
        block.inner = last;
        if (status == MGLU_OK)
            status = check_scope(&block, is_gate ? layout->value : layout->gate, ".");
        mglu_io_place_clear(&block.place);
    }
    return status;
}

mglu_status mglu_io_check_unread(const struct mglu_io_reading *reading)
{
    mglu_status status;

    if (reading->place.file->flags & MGLU_FILE_IGNORE_UNREAD)
        return MGLU_OK;
    if (!reading->layout && reading->place.expert >= 0)
        return check_scope(reading, reading->inner, ".");
    if (!*reading->place.stem)
        return check_unnamed(reading);
    status = check_scope(reading, "", ".");
    return status == MGLU_OK && !reading->layout ? check_partner(reading) : status;
}
