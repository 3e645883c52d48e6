/* SPDX-License-Identifier: MIT */
/*
 * Plug-ins that break the contract: the example with single slots of its table replaced. FAULT names the violation of a
 * module; a module without it reads MGLU_TEST_FAULT, so that a test can try many. ENTRY is the name of the entry point.
 */
#define mglu_backend_entry example_entry
#include "../../examples/backend/sample.c"
#undef mglu_backend_entry
#ifndef ENTRY
#define ENTRY mglu_backend_entry
#endif

#include <fenv.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

MGLU_API const mglu_backend_fns *ENTRY(uint32_t host_abi);

/* Violations in the table itself and in the device list: mglu_backend_load() must refuse them. */

static void set_newer_abi(mglu_backend_fns *fns)
{
    fns->abi = MGLU_BACKEND_ABI + 1;
}

static void set_older_abi(mglu_backend_fns *fns)
{
    fns->abi = MGLU_BACKEND_ABI - 1;
}

static void set_table_size(mglu_backend_fns *fns)
{
    fns->struct_size = offsetof(mglu_backend_fns, queue_notify);
}

static void set_larger_table(mglu_backend_fns *fns)
{
    fns->struct_size += sizeof(void *);
}

/* Not a violation: a plug-in of the time before the library could train. */
static void set_before_training(mglu_backend_fns *fns)
{
    fns->struct_size = offsetof(mglu_backend_fns, train_create);
    memset((char *)fns + fns->struct_size, 0xff, sizeof *fns - fns->struct_size);
}

static mglu_status create_no_training(void *backend, int32_t ordinal, const mglu_train_desc *desc, void **train)
{
    return MGLU_OK;
}

static void set_half_training(mglu_backend_fns *fns)
{
    fns->train_create = create_no_training;
}

/* Not a violation. */
static void set_no_poll(mglu_backend_fns *fns)
{
    fns->queue_poll = NULL;
}

static void set_no_notify(mglu_backend_fns *fns)
{
    fns->queue_notify = NULL;
}

static void set_missing_slot(mglu_backend_fns *fns)
{
    fns->queue_wait = NULL;
}

static mglu_status write_nothing(void *backend, void *queue, void *memory, size_t offset, const void *source,
                                 size_t size)
{
    return MGLU_OK;
}

static void set_half_memory(mglu_backend_fns *fns)
{
    fns->memory_write = write_nothing;
}

static void set_no_name(mglu_backend_fns *fns)
{
    fns->name = NULL;
}

static void set_empty_name(mglu_backend_fns *fns)
{
    fns->name = "";
}

static void set_name_in_two_words(mglu_backend_fns *fns)
{
    fns->name = "My GPU";
}

static void set_reserved_name(mglu_backend_fns *fns)
{
    fns->name = "auto";
}

static void set_name_of_a_choice(mglu_backend_fns *fns)
{
    fns->name = "host";
}

static void set_taken_name(mglu_backend_fns *fns)
{
    fns->name = "cpu";
}

static void set_no_reason(mglu_backend_fns *fns)
{
    fns->unavailable = "";
}

static mglu_status open_not(const mglu_host *host, void **backend)
{
    return host->fail(MGLU_ERROR_DEVICE, "the driver says 42");
}

static void set_open_fails(mglu_backend_fns *fns)
{
    fns->open = open_not;
}

static int32_t count_none(void *backend)
{
    return 0;
}

static void set_no_device(mglu_backend_fns *fns)
{
    fns->device_count = count_none;
}

static int32_t count_less_than_none(void *backend)
{
    return -7;
}

static void set_negative_count(mglu_backend_fns *fns)
{
    fns->device_count = count_less_than_none;
}

static mglu_status fail_in_silence(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    return MGLU_ERROR_DEVICE;
}

static void set_info_fails(mglu_backend_fns *fns)
{
    fns->device_info = fail_in_silence;
}

static mglu_status info_without_name(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    mglu_status status = device_info(backend, ordinal, info);

    info->name = NULL;
    return status;
}

static void set_nameless_device(mglu_backend_fns *fns)
{
    fns->device_info = info_without_name;
}

static mglu_status info_with_rank(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    mglu_status status = device_info(backend, ordinal, info);

    info->rank = MGLU_RANK_NATIVE_GPU + 1;
    return status;
}

static void set_rank(mglu_backend_fns *fns)
{
    fns->device_info = info_with_rank;
}

static mglu_status info_of_the_best(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    mglu_status status = device_info(backend, ordinal, info);

    info->rank = MGLU_RANK_NATIVE_GPU;
    return status;
}

/* No fault. */
static void set_best_rank(mglu_backend_fns *fns)
{
    fns->device_info = info_of_the_best;
}

static mglu_status info_with_type(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    mglu_status status = device_info(backend, ordinal, info);

    info->type = (mglu_device_type)7;
    return status;
}

static void set_type(mglu_backend_fns *fns)
{
    fns->device_info = info_with_type;
}

static mglu_status info_with_own_memory(void *backend, int32_t ordinal, mglu_backend_device *info)
{
    mglu_status status = device_info(backend, ordinal, info);

    info->host_memory = 0;
    return status;
}

static void set_own_memory(mglu_backend_fns *fns)
{
    fns->device_info = info_with_own_memory;
}

/* Violations of the contract of the calls. */

static mglu_status refuse_plain(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                void **layer)
{
    if (plan->shape->kind == MGLU_KIND_PLAIN)
        return ((struct sample *)backend)->host->fail(MGLU_ERROR_UNSUPPORTED, "sample: plain layers are not supported");
    return layer_create(backend, ordinal, plan, weights, layer);
}

static void set_refuses_plain(mglu_backend_fns *fns)
{
    fns->layer_create = refuse_plain;
}

static mglu_status take_bf16_for_f16(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights)
{
    mglu_packed_weights mistaken = *packed;

    if (mistaken.dtype == MGLU_DTYPE_BF16)
        mistaken.dtype = MGLU_DTYPE_F16;
    return weights_create(backend, ordinal, &mistaken, weights);
}

static void set_bf16_as_f16(mglu_backend_fns *fns)
{
    fns->weights_create = take_bf16_for_f16;
}

static mglu_status forward_and_round_up(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    mglu_status status = forward(backend, layer, queue, args);

    fesetround(FE_UPWARD);
    return status;
}

static void set_changes_rounding(mglu_backend_fns *fns)
{
    fns->forward = forward_and_round_up;
}

/* Violations of the memory layout. */

static int64_t columns_of_y(const struct sample *layer)
{
    return layer->packed.output_size ? layer->packed.output_size : layer->packed.intermediate_size;
}

static mglu_status write_past_y(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    const struct sample *self = layer;
    int64_t past = (args->batch - 1) * args->y.row_stride + columns_of_y(self);
    size_t size = mglu_dtype_size(self->desc.y_dtype);

    memset((char *)args->y.data + args->y.byte_offset + (size_t)past * size, 0x3f, size);
    return forward(backend, layer, queue, args);
}

static void set_writes_past_y(mglu_backend_fns *fns)
{
    fns->forward = write_past_y;
}

static mglu_status forward_dense(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    mglu_forward_args dense = *args;

    dense.y.row_stride = columns_of_y(layer);
    return forward(backend, layer, queue, &dense);
}

static void set_ignores_stride(mglu_backend_fns *fns)
{
    fns->forward = forward_dense;
}

/* Omits z, which is stored after x. */
static size_t workspace_without_z(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch)
{
    return (size_t)plan->shape->hidden_size * sizeof(float);
}

static void set_small_workspace(mglu_backend_fns *fns)
{
    fns->workspace_size = workspace_without_z;
}

/* Errors of the arithmetic. */

static uint32_t reversed(uint32_t word)
{
    uint32_t result = 0;

    for (int i = 0; i < 32; i++)
        result |= (word >> i & 1) << (31 - i);
    return result;
}

static mglu_status reverse_masks(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights)
{
    mglu_packed_weights mistaken = *packed;
    size_t size = mglu_packed_mask_size(packed->n_masks, packed->intermediate_size, packed->hidden_size);
    uint32_t *masks = malloc(size + 1);
    mglu_status status;

    if (!masks)
        return ((struct sample *)backend)->host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    for (size_t i = 0; i < size / sizeof *masks; i++)
        masks[i] = reversed(packed->masks[i]);
    mistaken.masks = packed->masks ? masks : NULL;
    status = weights_create(backend, ordinal, &mistaken, weights);
    if (status != MGLU_OK || !packed->masks)
        free(masks);
    return status;
}

static void destroy_reversed(void *backend, void *weights)
{
    free((void *)((struct sample *)weights)->packed.masks);
    destroy(backend, weights);
}

static void set_reversed_masks(mglu_backend_fns *fns)
{
    fns->weights_create = reverse_masks;
    fns->weights_destroy = destroy_reversed;
}

static mglu_status forward_first_masks(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    static const int32_t first[MGLU_MAX_MASKS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    mglu_forward_args mistaken = *args;

    if (args->routing_ids.data)
        mistaken.routing_ids = (mglu_input){.data = first};
    return forward(backend, layer, queue, &mistaken);
}

static void set_ignores_routing(mglu_backend_fns *fns)
{
    fns->forward = forward_first_masks;
}

/* Not thread-safe: results are written to one static buffer and then copied. */

static char shared_rows[1 << 20];

static mglu_status forward_through_static(void *backend, void *layer, void *queue, const mglu_forward_args *args)
{
    const struct timespec a_moment = {.tv_nsec = 50000};
    const struct sample *self = layer;
    size_t size = mglu_dtype_size(self->desc.y_dtype), row = (size_t)columns_of_y(self) * size;
    mglu_forward_args inner = *args;
    mglu_status status;

    if ((size_t)args->batch * row > sizeof shared_rows)
        return forward(backend, layer, queue, args);
    inner.y = (mglu_output){.data = shared_rows, .row_stride = columns_of_y(self)};
    status = forward(backend, layer, queue, &inner);
    nanosleep(&a_moment, NULL);
    for (int64_t b = 0; b < args->batch; b++)
        memcpy((char *)args->y.data + args->y.byte_offset + (size_t)(b * args->y.row_stride) * size,
               shared_rows + (size_t)b * row, row);
    return status;
}

static void set_static_buffer(mglu_backend_fns *fns)
{
    fns->forward = forward_through_static;
}

static const struct {
    const char *name;
    void (*tell)(mglu_backend_fns *fns);
} faults[] = {
    {"newer-abi", set_newer_abi},
    {"older-abi", set_older_abi},
    {"table-size", set_table_size},
    {"larger-table", set_larger_table},
    {"before-training", set_before_training},
    {"half-training", set_half_training},
    {"no-poll", set_no_poll},
    {"no-notify", set_no_notify},
    {"missing-slot", set_missing_slot},
    {"half-memory", set_half_memory},
    {"no-name", set_no_name},
    {"empty-name", set_empty_name},
    {"name-in-two-words", set_name_in_two_words},
    {"reserved-name", set_reserved_name},
    {"name-of-a-choice", set_name_of_a_choice},
    {"taken-name", set_taken_name},
    {"no-reason", set_no_reason},
    {"open-fails", set_open_fails},
    {"no-device", set_no_device},
    {"negative-count", set_negative_count},
    {"info-fails", set_info_fails},
    {"nameless-device", set_nameless_device},
    {"rank", set_rank},
    {"best-rank", set_best_rank},
    {"type", set_type},
    {"own-memory", set_own_memory},
    {"refuses-plain", set_refuses_plain},
    {"bf16-as-f16", set_bf16_as_f16},
    {"changes-rounding", set_changes_rounding},
    {"writes-past-y", set_writes_past_y},
    {"ignores-stride", set_ignores_stride},
    {"small-workspace", set_small_workspace},
    {"reversed-masks", set_reversed_masks},
    {"ignores-routing", set_ignores_routing},
    {"static-buffer", set_static_buffer},
};

/* NULL, which is refused too, for a fault that is not in the list. */
const mglu_backend_fns *ENTRY(uint32_t host_abi)
{
    static mglu_backend_fns table;
#ifdef FAULT
    const char *fault = FAULT;
#else
    const char *fault = getenv("MGLU_TEST_FAULT");
#endif

    for (size_t i = 0; fault && i < sizeof faults / sizeof faults[0]; i++) {
        if (strcmp(faults[i].name, fault) != 0)
            continue;
        table = *example_entry(host_abi);
        faults[i].tell(&table);
        return &table;
    }
    return NULL;
}
