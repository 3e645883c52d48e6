/* SPDX-License-Identifier: MIT */
#include "common/io/pack_roles.h"

#include "common/io/report.h"

#include <stdlib.h>
#include <string.h>

struct plan {
    const mglu_file *file;
    unsigned char *roles;
};

static void set_role(struct plan *plan, const char *prefix, const char *inner, const char *leaf, enum mglu_io_role role)
{
    const mglu_file_tensor *tensor = mglu_io_find(plan->file, prefix, inner, leaf);

    if (tensor)
        plan->roles[tensor - plan->file->tensors] = (unsigned char)role;
}

static void set_down_roles(struct plan *plan, const char *block, enum mglu_io_role of_weight)
{
    set_role(plan, block, "down_proj", "weight", of_weight);
    set_role(plan, block, "down_proj", "bias", MGLU_IO_ROLE_FINITE);
}

static void set_plain_roles(struct plan *plan, const char *block)
{
    set_role(plan, block, "gate_proj", "weight", MGLU_IO_ROLE_MATRIX);
    set_role(plan, block, "gate_proj", "bias", MGLU_IO_ROLE_FINITE);
    set_role(plan, block, "up_proj", "weight", MGLU_IO_ROLE_MATRIX);
    set_role(plan, block, "up_proj", "bias", MGLU_IO_ROLE_FINITE);
    set_down_roles(plan, block, MGLU_IO_ROLE_MATRIX);
}

static void set_masked_roles(struct plan *plan, const char *prefix)
{
    set_role(plan, prefix, "", "weight", MGLU_IO_ROLE_MATRIX);
    set_role(plan, prefix, "", "mask", MGLU_IO_ROLE_MASKS);
    set_role(plan, prefix, "", "gate_bias", MGLU_IO_ROLE_FINITE);
    set_role(plan, prefix, "", "value_bias", MGLU_IO_ROLE_FINITE);
    set_role(plan, prefix, "router", "weight", MGLU_IO_ROLE_FINITE);
}

/* The block M of a projection M.up_proj, to be freed; NULL when out of memory or when there is none. */
static char *block_of(const char *prefix, int *has_block)
{
    static const char inner[] = "up_proj";
    size_t length = strlen(prefix), tail = sizeof inner - 1;

    *has_block = length >= tail && strcmp(prefix + length - tail, inner) == 0 &&
                 (length == tail || prefix[length - tail - 1] == '.');
    if (!*has_block)
        return NULL;
    return strndup(prefix, length == tail ? 0 : length - tail - 1);
}

static mglu_status check_layer(const mglu_file *file, const char *prefix, mglu_weights_desc *weights)
{
    mglu_layer_desc layer;

    return mglu_file_layer(file, prefix, weights, &layer, NULL);
}

static mglu_status plan_masked(struct plan *plan, const char *prefix)
{
    int has_block;
    char *block = block_of(prefix, &has_block);
    mglu_weights_desc weights;
    mglu_status status = MGLU_OK;

    if (has_block && !block)
        return mglu_io_out_of_memory(plan->file->path);
    set_masked_roles(plan, prefix);
    if (has_block) {
        status = check_layer(plan->file, block, &weights);
        /* Where a prefix is treated as a projection, the down-projection of that name was not checked. */
        if (status == MGLU_OK)
            set_down_roles(plan, block, weights.output_size > 0 ? MGLU_IO_ROLE_MATRIX : MGLU_IO_ROLE_FINITE);
    }
    free(block);
    return status;
}

mglu_status mglu_io_pack_roles(const mglu_file *file, unsigned char *roles)
{
    struct plan plan = {file, roles};
    size_t masked = 0;
    mglu_weights_desc weights;

    for (size_t i = 0; i < file->layer_count; i++) {
        mglu_status status = check_layer(file, file->layers[i], &weights);

        if (status == MGLU_OK && weights.kind == MGLU_KIND_PLAIN)
            set_plain_roles(&plan, file->layers[i]);
        else if (status == MGLU_OK)
            status = plan_masked(&plan, file->layers[i]);
        if (status != MGLU_OK)
            return status;
        masked += weights.kind == MGLU_KIND_MASKED;
    }
    if (masked == 0 && !file->gguf) /* the plain layers of a GGUF file become those of a safetensors file */
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, file->path, NULL,
                            "nothing to pack: no tensor 'P.weight' has a 'P.mask' or 'P.mask_bits'");
    return MGLU_OK;
}
