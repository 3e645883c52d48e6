/* SPDX-License-Identifier: MIT */
#include "common/io/pack_plan.h"

#include "common/core/mask_format.h"
#include "common/io/dtype.h"
#include "common/io/pack_roles.h"
#include "common/io/reading.h"
#include "common/io/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const tails[] = {
    [MGLU_IO_MAKE_COPY] = "",         [MGLU_IO_MAKE_FLOATS] = "",     [MGLU_IO_MAKE_QUANTS] = "",
    [MGLU_IO_MAKE_SCALES] = "_scale", [MGLU_IO_MAKE_WORDS] = "_bits",
};

/* The name of the new tensor must be free; the checks of layers should see to that already. */
static mglu_status check_name(const mglu_file *input, const char *stem, const char *tail)
{
    size_t size = strlen(stem) + strlen(tail) + 1;
    char *name = malloc(size);
    mglu_status status = MGLU_OK;

    if (!name)
        return mglu_io_out_of_memory(input->path);
    snprintf(name, size, "%s%s", stem, tail);
    if (mglu_file_find(input, name))
        status = mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, input->path, name, "is in the file already, and would be made");
    free(name);
    return status;
}

static mglu_status add(struct mglu_io_plan *plan, size_t source, enum mglu_io_make make, enum mglu_io_role role)
{
    const char *tail = tails[make];

    plan->tensors[plan->count++] =
        (struct mglu_io_planned){.source = (uint32_t)source, .make = (uint8_t)make, .role = (uint8_t)role};
    return *tail ? check_name(plan->input, plan->input->tensors[source].name, tail) : MGLU_OK;
}

static int quantises(const struct mglu_io_plan *plan)
{
    return plan->options->convert && mglu_dtype_is_quantised(plan->options->dtype);
}

mglu_dtype mglu_io_plan_floats(const struct mglu_io_plan *plan, const struct mglu_io_planned *planned)
{
    int matrix = planned->role == MGLU_IO_ROLE_MATRIX || planned->role == MGLU_IO_ROLE_TRANSPOSED;

    return matrix && plan->options->convert ? plan->options->dtype : MGLU_DTYPE_F32;
}

static mglu_status add_quantised(struct mglu_io_plan *plan, size_t source, enum mglu_io_role role)
{
    const mglu_file_tensor *tensor = &plan->input->tensors[source];
    int64_t columns = tensor->shape[tensor->rank - 1];
    mglu_status status;

    if (role == MGLU_IO_ROLE_TRANSPOSED)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, plan->input->path, tensor->name,
                            "is stored as [experts, inputs, outputs], and only rows of inputs can be quantised; use "
                            "f16, bf16 or f32, or store it as [experts, outputs, inputs]");
    if (plan->options->dtype == MGLU_DTYPE_Q4_0 && columns % MGLU_GROUP_COLUMNS != 0)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, plan->input->path, tensor->name,
                            "rows of %lld, but q4_0 needs a multiple of %d in a file", (long long)columns,
                            MGLU_GROUP_COLUMNS);
    status = add(plan, source, MGLU_IO_MAKE_QUANTS, MGLU_IO_ROLE_MATRIX);
    return status == MGLU_OK ? add(plan, source, MGLU_IO_MAKE_SCALES, MGLU_IO_ROLE_PASS) : status;
}

/* A layer's matrix. One that is already quantised is unchanged, and so are its scales. F64 is never kept. */
static mglu_status add_matrix(struct mglu_io_plan *plan, size_t source, enum mglu_io_role role)
{
    const mglu_file_pack_options *options = plan->options;
    const mglu_file_tensor *tensor = &plan->input->tensors[source];
    mglu_dtype dtype = MGLU_DTYPE_F32;
    int quantised = mglu_io_matrix_dtype(tensor->dtype, &dtype) && mglu_dtype_is_quantised(dtype);
    int keep = (!options->convert || options->dtype == dtype) && tensor->dtype != MGLU_FILE_F64;

    if (quantised && !keep)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, plan->input->path, tensor->name,
                            "is %s, which is not converted to %s", mglu_dtype_name(dtype),
                            mglu_dtype_name(options->dtype));
    if (keep)
        return add(plan, source, MGLU_IO_MAKE_COPY, quantised ? MGLU_IO_ROLE_PASS : role);
    return quantises(plan) ? add_quantised(plan, source, role) : add(plan, source, MGLU_IO_MAKE_FLOATS, role);
}

static mglu_status add_tensor(struct mglu_io_plan *plan, size_t source, enum mglu_io_role role)
{
    int wide = plan->input->tensors[source].dtype == MGLU_FILE_F64;

    if (role == MGLU_IO_ROLE_MASKS || role == MGLU_IO_ROLE_STACKED_MASKS)
        return add(plan, source, MGLU_IO_MAKE_WORDS, role);
    if (role == MGLU_IO_ROLE_MATRIX || role == MGLU_IO_ROLE_TRANSPOSED)
        return add_matrix(plan, source, role);
    return add(plan, source, role == MGLU_IO_ROLE_FINITE && wide ? MGLU_IO_MAKE_FLOATS : MGLU_IO_MAKE_COPY, role);
}

/* Without masks there is something to do only where the matrices are to be converted. */
static mglu_status check_layers(const struct mglu_io_plan *plan, size_t masked)
{
    const mglu_file *input = plan->input;
    mglu_status status = mglu_io_check_row_masks(input);

    if (status != MGLU_OK)
        return status;
    /* The plain layers of a GGUF file become those of a safetensors file. */
    if (masked > 0 || input->gguf || (input->layer_count > 0 && plan->options->convert))
        return MGLU_OK;
    if (input->layer_count > 0)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, input->path, NULL,
                            "nothing to pack: its layers have no masks, and their dtype is to be kept; give one to "
                            "convert them (mglu: --dtype)");
    return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, input->path, NULL,
                        "nothing to pack: no P.weight with P.mask or P.mask_bits, and no %s", mglu_io_known_layouts);
}

static mglu_status add_tensors(struct mglu_io_plan *plan)
{
    size_t count = plan->input->tensor_count;
    unsigned char *roles = calloc(count + 1, 1);
    size_t masked;
    mglu_status status;

    /* Quantising makes two tensors of one. */
    plan->tensors = malloc((2 * count + 1) * sizeof *plan->tensors);
    if (!roles || !plan->tensors) {
        free(roles);
        return mglu_io_out_of_memory(plan->input->path);
    }
    status = mglu_io_pack_roles(plan->input, roles, &masked);
    if (status == MGLU_OK)
        status = check_layers(plan, masked);
    for (size_t i = 0; i < count && status == MGLU_OK; i++)
        status = add_tensor(plan, i, (enum mglu_io_role)roles[i]);
    free(roles);
    return status;
}

/* The words of masks: [d][groups][masks], of stacks for each expert. */
static void describe_words(const struct mglu_io_planned *planned, const mglu_file_tensor *source,
                           struct mglu_io_entry *entry)
{
    int stacked = planned->role == MGLU_IO_ROLE_STACKED_MASKS;
    const int64_t *sizes = source->shape + (source->rank - 2);
    int64_t *own = entry->own_shape;

    if (stacked)
        *own++ = source->shape[0];
    own[0] = sizes[0];
    own[1] = (int64_t)mglu_format_groups((uint64_t)sizes[1]);
    own[2] = source->rank == 3 + stacked ? source->shape[stacked] : 1;
    entry->dtype = MGLU_FILE_I32;
    entry->rank = 3 + stacked;
}

static void describe_tensor(const struct mglu_io_plan *plan, const struct mglu_io_planned *planned,
                            struct mglu_io_entry *entry)
{
    const mglu_file_tensor *source = &plan->input->tensors[planned->source];
    int64_t columns = source->rank ? source->shape[source->rank - 1] : 0, *own = entry->own_shape;
    int q4_0 = plan->options->dtype == MGLU_DTYPE_Q4_0;

    *entry = (struct mglu_io_entry){.name = source->name,
                                    .tail = tails[planned->make],
                                    .dtype = source->dtype,
                                    .rank = source->rank,
                                    .shape = source->shape};
    if (planned->make == MGLU_IO_MAKE_COPY)
        return;
    if (planned->make == MGLU_IO_MAKE_FLOATS) {
        entry->dtype = mglu_io_file_dtype(mglu_io_plan_floats(plan, planned));
        return;
    }
    entry->shape = own;
    if (planned->make == MGLU_IO_MAKE_WORDS) {
        describe_words(planned, source, entry);
        return;
    }
    memcpy(own, source->shape, (size_t)source->rank * sizeof *own); /* a matrix, or a stack of them */
    if (planned->make == MGLU_IO_MAKE_SCALES) {
        entry->dtype = MGLU_FILE_F16;
        own[source->rank - 1] = (int64_t)mglu_format_groups((uint64_t)columns);
    } else {
        entry->dtype = mglu_io_file_dtype(plan->options->dtype);
        own[source->rank - 1] = columns / (q4_0 ? 2 : 1);
    }
}

void mglu_io_plan_describe(const void *source, size_t index, struct mglu_io_entry *entry)
{
    const struct mglu_io_plan *plan = source;

    describe_tensor(plan, &plan->tensors[plan->order[index]], entry);
    mglu_io_tensor_bytes(entry->dtype, entry->rank, entry->shape, &entry->bytes);
}

static mglu_status order_tensors(struct mglu_io_plan *plan)
{
    size_t *bytes = malloc((plan->count + 1) * sizeof *bytes);

    plan->order = malloc((plan->count + 1) * sizeof *plan->order);
    if (!bytes || !plan->order) {
        free(bytes);
        return mglu_io_out_of_memory(plan->input->path);
    }
    for (size_t i = 0; i < plan->count; i++) {
        struct mglu_io_entry entry;

        plan->order[i] = (uint32_t)i;
        mglu_io_plan_describe(plan, i, &entry);
        bytes[i] = entry.bytes;
    }
    mglu_io_order(bytes, plan->count, plan->order);
    free(bytes);
    return MGLU_OK;
}

mglu_status mglu_io_plan_make(struct mglu_io_plan *plan)
{
    mglu_status status = add_tensors(plan);

    return status == MGLU_OK ? order_tensors(plan) : status;
}

uint64_t mglu_io_plan_bytes(const struct mglu_io_plan *plan)
{
    uint64_t total = 0;

    for (size_t i = 0; i < plan->count; i++) {
        struct mglu_io_entry entry;

        mglu_io_plan_describe(plan, i, &entry);
        total += entry.bytes;
    }
    return total;
}

void mglu_io_plan_clear(struct mglu_io_plan *plan)
{
    free(plan->tensors);
    free(plan->order);
}
