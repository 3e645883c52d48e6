/* SPDX-License-Identifier: MIT */
#include "common/io/pack_roles.h"

#include "common/io/reading.h"
#include "common/io/report.h"

#include <mglu/pack.h>

#include <stdlib.h>
#include <string.h>

/* Notes what is done to a tensor of a layer. */
static mglu_status set_role(const struct mglu_io_reading *reading, const struct mglu_io_used *used,
                            unsigned char *roles)
{
    roles[used->tensor - reading->place.file->tensors] = (unsigned char)used->role;
    return used->role == MGLU_IO_ROLE_WORDS ? mglu_io_masks_check(&reading->masks) : MGLU_OK;
}

/* Checks a layer and notes the roles of its tensors. */
static mglu_status check_layer(const mglu_file *file, const char *prefix, unsigned char *roles,
                               mglu_weights_desc *weights)
{
    struct mglu_io_reading reading;
    mglu_layer_desc layer;
    int named;
    mglu_status status;

    *weights = (mglu_weights_desc){.struct_size = sizeof *weights};
    status = mglu_io_read_layer(&reading, file, prefix, MGLU_IO_DESCRIBE, weights);
    mglu_io_place_clear(&reading.place);
    if (status == MGLU_OK)
        status = mglu_io_read_activation(&reading, prefix, &layer, &named);
    for (int i = 0; i < reading.used_count && status == MGLU_OK; i++)
        status = set_role(&reading, &reading.used[i], roles);
    return status;
}

int mglu_io_is_in_block(const char *prefix, size_t *length)
{
    const char *dot = strrchr(prefix, '.'), *last = dot ? dot + 1 : prefix;

    *length = dot ? (size_t)(dot - prefix) : 0;
    for (int i = 0; i < MGLU_IO_LAYOUTS; i++) {
        const struct mglu_io_layout *layout = &mglu_io_layouts[i];

        if (strcmp(last, layout->gate) == 0 || (layout->value && strcmp(last, layout->value) == 0))
            return 1;
    }
    return 0;
}

/* The block around a projection, with its down-projection. */
static mglu_status check_block(const mglu_file *file, const char *prefix, unsigned char *roles)
{
    size_t length;
    char *block;
    mglu_weights_desc weights;
    mglu_status status;

    if (!mglu_io_is_in_block(prefix, &length))
        return MGLU_OK;
    block = strndup(prefix, length);
    if (!block)
        return mglu_io_out_of_memory(file->path);
    status = check_layer(file, block, roles, &weights);
    free(block);
    return status;
}

mglu_status mglu_io_pack_roles(const mglu_file *file, unsigned char *roles, size_t *masked)
{
    mglu_weights_desc weights;

    *masked = 0;
    for (size_t i = 0; i < file->layer_count; i++) {
        mglu_status status = check_layer(file, file->layers[i], roles, &weights);

        if (status == MGLU_OK && weights.kind == MGLU_KIND_MASKED) {
            status = check_block(file, file->layers[i], roles);
            ++*masked;
        }
        if (status != MGLU_OK)
            return status;
    }
    return MGLU_OK;
}
