/* SPDX-License-Identifier: MIT */
#include "common/io/layout.h"

#include "common/io/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct mglu_io_layout mglu_io_layouts[MGLU_IO_LAYOUTS] = {
    {.gate = "gate_proj", .value = "up_proj", .down = "down_proj"},
    {.gate = "w1", .value = "w3", .down = "w2"},
    {.gate = "wi_0", .value = "wi_1", .down = "wo"},
    {.gate = "gate_up_proj", .down = "down_proj"},
    {.gate = "w12", .down = "w3"},
    {.gate = "linear_fc1", .down = "linear_fc2", .shared_name = 1},
    {.gate = "input_linear", .down = "output_linear", .shared_name = 1},
};

const char mglu_io_known_layouts[] = "gate_proj + up_proj, w1 + w3, wi_0 + wi_1, gate_up_proj, w12, linear_fc1 + "
                                     "linear_fc2, input_linear + output_linear";

/* Room for the longest names behind a stem. */
enum { LONGEST_TAIL = 64, MOST_DIGITS = 6 };

mglu_status mglu_io_place_make(struct mglu_io_place *place, const mglu_file *file, const char *prefix, size_t length,
                               int64_t expert)
{
    *place = (struct mglu_io_place){.file = file, .room = strlen(prefix) + LONGEST_TAIL, .expert = expert};
    place->stem = strndup(prefix, length);
    place->name = malloc(place->room);
    return place->stem && place->name ? MGLU_OK : mglu_io_out_of_memory(file->path);
}

void mglu_io_place_clear(struct mglu_io_place *place)
{
    free(place->stem);
    free(place->name);
}

static const mglu_file_tensor *find_joined(const struct mglu_io_place *place, const char *inner, const char *joint,
                                           const char *leaf)
{
    int length = snprintf(place->name, place->room, "%s%s%s%s%s", place->stem, *place->stem && *inner ? "." : "", inner,
                          joint, leaf);

    return length >= 0 && (size_t)length < place->room ? mglu_file_find(place->file, place->name) : NULL;
}

const mglu_file_tensor *mglu_io_place_find(const struct mglu_io_place *place, const char *inner, const char *leaf)
{
    const mglu_file_tensor *found = find_joined(place, inner, *place->stem || *inner ? "." : "", leaf);

    if (found || place->expert < 0)
        return found;
    if (strcmp(leaf, "weight") == 0)
        return find_joined(place, inner, "", "");
    return strcmp(leaf, "weight_scale") == 0 ? find_joined(place, inner, "_", "scale")
                                             : find_joined(place, inner, "_", leaf);
}

mglu_status mglu_io_place_take(struct mglu_io_place *place, const char *inner, const char *leaf, mglu_file_tensor *part)
{
    const mglu_file_tensor *found = mglu_io_place_find(place, inner, leaf);

    *part = (mglu_file_tensor){0};
    if (!found)
        return MGLU_OK;
    *part = *found;
    if (place->expert < 0)
        return MGLU_OK;
    if (found->rank > 0 && !place->experts)
        place->experts = found->shape[0];
    if (found->rank == 0 || found->shape[0] != place->experts || place->expert >= place->experts)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, place->file->path, found->name,
                            "is not a stack of the %lld experts that the layer has", (long long)place->experts);
    part->rank--;
    part->shape++;
    part->bytes /= (size_t)place->experts;
    if (part->data)
        part->data = (const char *)part->data + part->bytes * (size_t)place->expert;
    return MGLU_OK;
}

int mglu_io_place_masked(const struct mglu_io_place *place, const char *inner)
{
    return mglu_io_place_find(place, inner, "mask_bits") || mglu_io_place_find(place, inner, "mask");
}

const mglu_file_tensor *mglu_io_place_weight(const struct mglu_io_place *place, const char *inner)
{
    const mglu_file_tensor *weight = inner ? mglu_io_place_find(place, inner, "weight") : NULL;

    return weight && place->expert >= 0 && (weight->rank != 3 || place->expert >= weight->shape[0]) ? NULL : weight;
}

/* Whether `fused` has twice as many rows as `down` has columns. */
static int is_gated(const mglu_file_tensor *fused, const mglu_file_tensor *down)
{
    int64_t per_byte = down && down->dtype == MGLU_FILE_U8 ? 2 : 1;

    return down && fused->rank >= 2 && down->rank == fused->rank && fused->shape[fused->rank - 2] % 2 == 0 &&
           down->shape[down->rank - 1] == fused->shape[fused->rank - 2] / 2 / per_byte;
}

enum mglu_io_form mglu_io_layout_form(const struct mglu_io_layout *layout, const struct mglu_io_place *place)
{
    const mglu_file_tensor *gate = mglu_io_place_weight(place, layout->gate),
                           *value = mglu_io_place_weight(place, layout->value);

    if (value && mglu_io_place_masked(place, layout->value))
        return MGLU_IO_FORM_VALUE_MASKED;
    if (gate && mglu_io_place_masked(place, layout->gate))
        return MGLU_IO_FORM_GATE_MASKED;
    if (!gate || (layout->value && !value))
        return MGLU_IO_FORM_NONE;
    if (layout->shared_name && !is_gated(gate, mglu_io_place_find(place, layout->down, "weight")))
        return MGLU_IO_FORM_NONE;
    return MGLU_IO_FORM_PLAIN;
}

/* The number that ends at `end`, begins a component and has no leading zero; its length, or 0. */
static size_t number_before(const char *prefix, const char *end, int64_t *number)
{
    const char *first = end;

    while (first > prefix && first[-1] >= '0' && first[-1] <= '9')
        first--;
    if (first == end || end - first > MOST_DIGITS || (*first == '0' && end - first > 1))
        return 0;
    if (first != prefix && first[-1] != '.')
        return 0;
    *number = strtoll(first, NULL, 10);
    return (size_t)(end - first);
}

int mglu_io_split_expert(const char *prefix, size_t *length, int64_t *expert, const char **inner)
{
    const char *end = prefix + strlen(prefix), *dot = strrchr(prefix, '.');
    size_t digits = number_before(prefix, end, expert);

    *inner = end;
    if (!digits && dot) {
        *inner = dot + 1;
        end = dot;
        digits = number_before(prefix, dot, expert);
    }
    if (!digits)
        return 0;
    *length = (size_t)(end - prefix) - digits;
    *length -= *length > 0; /* the dot */
    return 1;
}
