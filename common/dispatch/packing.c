/* SPDX-License-Identifier: MIT */
#include "common/core/float_environment.h"
#include "common/core/pack.h"
#include "common/core/quantise.h"
#include "common/dispatch/parts.h"

#include <stdio.h>

#define SMALL_ALIGNMENT ((size_t)64)
#define HUGE_ALIGNMENT  ((size_t)2 << 20)
#define TASK_BYTES      ((size_t)1 << 20)

/* Why an array can't be used in place: a number that is not the packed layout's. */
struct obstacle {
    const char *what; /* NULL: none */
    size_t found, expected;
};

/* Rows of a part, or of the masks, that are packed or checked by tasks of `task_rows` rows each. */
struct work {
    mglu_status (*run)(const struct work *work, int64_t first, int64_t count);
    const mglu_weights_desc *desc;
    const struct part *part;
    unsigned char *data, *scales; /* the packed row 0 */
    int64_t rows, task_rows;
    atomic_int failed;
};

static size_t aligned(size_t size)
{
    return (size + SMALL_ALIGNMENT - 1) / SMALL_ALIGNMENT * SMALL_ALIGNMENT;
}

static size_t arena_alignment(size_t size)
{
    return size >= HUGE_ALIGNMENT ? HUGE_ALIGNMENT : SMALL_ALIGNMENT;
}

static size_t mask_stride(const mglu_weights_desc *desc)
{
    return mglu_packed_mask_stride_bytes(desc->n_masks, desc->hidden_size);
}

static size_t mask_size(const mglu_weights_desc *desc)
{
    return desc->masks.data ? (size_t)desc->intermediate_size * mask_stride(desc) : 0;
}

static int wants_borrow(const mglu_weights *weights, const mglu_weights_desc *desc)
{
    return desc->flags & (MGLU_WEIGHTS_BORROW | MGLU_WEIGHTS_REQUIRE_BORROW) && weights->device->info.host_memory;
}

static struct obstacle find_obstacle(const struct part *part)
{
    const struct obstacle all[] = {
        {"stride_bytes", mglu_source_stride(part), mglu_part_stride(part)},
        {"the address modulo 64", (uintptr_t)part->source->data % SMALL_ALIGNMENT, 0},
        {"scale_stride_bytes", mglu_source_scale_stride(part),
         mglu_packed_scale_stride_bytes(part->dtype, part->columns)},
        {"the address of the scales modulo 64", (uintptr_t)part->source->scales % SMALL_ALIGNMENT, 0},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].found != all[i].expected)
            return all[i];
    return (struct obstacle){NULL, 0, 0};
}

static int can_borrow_part(const mglu_weights *weights, const mglu_weights_desc *desc, const struct part *part)
{
    return part->is_large && wants_borrow(weights, desc) && part->source->dtype == part->dtype &&
           !find_obstacle(part).what;
}

static int can_borrow_masks(const mglu_weights *weights, const mglu_weights_desc *desc)
{
    return wants_borrow(weights, desc) && desc->masks.form == MGLU_MASK_WORDS &&
           (uintptr_t)desc->masks.data % SMALL_ALIGNMENT == 0;
}

/* For MGLU_WEIGHTS_REQUIRE_BORROW: says why an array would be copied. */
static mglu_status refuse_copy(const mglu_weights *weights, const char *name, const char *why)
{
    if (!weights->device->info.host_memory)
        return mglu_fail(MGLU_ERROR_UNSUPPORTED,
                         "weights: %s can't be used in place: backend '%s' has memory of its own", name,
                         weights->device->backend.fns->name);
    return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "weights: %s can't be used in place: %s", name, why);
}

static mglu_status refuse_copy_of_part(const mglu_weights *weights, const struct part *part)
{
    const struct obstacle obstacle = find_obstacle(part);
    char why[96];

    if (part->source->dtype != part->dtype)
        snprintf(why, sizeof why, "it is %s, to be stored as %s", mglu_dtype_name(part->source->dtype),
                 mglu_dtype_name(part->dtype));
    else
        snprintf(why, sizeof why, "%s is %zu, must be %zu", obstacle.what, obstacle.found, obstacle.expected);
    return refuse_copy(weights, part->name, why);
}

static mglu_status refuse_copy_of_masks(const mglu_weights *weights, const mglu_weights_desc *desc)
{
    return refuse_copy(weights, "masks",
                       desc->masks.form == MGLU_MASK_WORDS ? "the address modulo 64 is not 0"
                                                           : "the form is not MGLU_MASK_WORDS");
}

/* Adds up the memory of what is copied. */
static mglu_status measure(const mglu_weights *weights, const mglu_weights_desc *desc, const struct part *parts,
                           size_t count, size_t *size)
{
    const int required = desc->flags & MGLU_WEIGHTS_REQUIRE_BORROW;

    *size = 0;
    for (size_t i = 0; i < count; i++) {
        if (can_borrow_part(weights, desc, &parts[i]))
            continue;
        if (required && parts[i].is_large && mglu_part_size(&parts[i]) > 0)
            return refuse_copy_of_part(weights, &parts[i]);
        *size += aligned(mglu_part_size(&parts[i])) + aligned(mglu_part_scale_size(&parts[i]));
    }
    if (mask_size(desc) == 0 || can_borrow_masks(weights, desc))
        return MGLU_OK;
    *size += aligned(mask_size(desc));
    return required ? refuse_copy_of_masks(weights, desc) : MGLU_OK;
}

static mglu_array rows_from(const struct part *part, int64_t first)
{
    mglu_array rows = *part->source;

    rows.data = (const char *)rows.data + (size_t)first * mglu_source_stride(part);
    if (rows.scales)
        rows.scales = (const char *)rows.scales + (size_t)first * mglu_source_scale_stride(part);
    return rows;
}

static mglu_status pack_part_rows(const struct work *work, int64_t first, int64_t count)
{
    MGLU_DEFAULT_FLOATS;
    const struct part *part = work->part;
    const mglu_array source = rows_from(part, first);
    const size_t rows = (size_t)count, columns = (size_t)part->columns, stride = mglu_part_stride(part);
    unsigned char *data = work->data + (size_t)first * stride;

    if (mglu_dtype_is_quantised(part->dtype))
        return mglu_quantise_rows(part->name, &source, rows, columns, part->dtype, data,
                                  work->scales +
                                      (size_t)first * mglu_packed_scale_stride_bytes(part->dtype, part->columns));
    return mglu_pack_rows(part->name, &source, rows, columns, part->dtype, stride,
                          work->desc->flags & (MGLU_WEIGHTS_ALLOW_NONFINITE | MGLU_WEIGHTS_CHECKED), data);
}

/* Refuses what packing would have: weights that are not finite, padding that is not zero. */
static mglu_status check_part_rows(const struct work *work, int64_t first, int64_t count)
{
    const struct part *part = work->part;
    const mglu_array source = rows_from(part, first);

    if (mglu_dtype_is_quantised(part->dtype))
        return mglu_check_quantised_rows(part->name, &source, (size_t)count, (size_t)part->columns);
    return mglu_check_rows(part->name, &source, (size_t)count, (size_t)part->columns,
                           work->desc->flags & MGLU_WEIGHTS_ALLOW_NONFINITE);
}

static mglu_status check_mask_rows(const struct work *work, int64_t first, int64_t count)
{
    const unsigned char *words = work->desc->masks.data;

    return mglu_check_mask_words(words + (size_t)first * mask_stride(work->desc), work->desc->n_masks, count,
                                 work->desc->hidden_size);
}

static mglu_status pack_mask_rows(const struct work *work, int64_t first, int64_t count)
{
    const mglu_weights_desc *desc = work->desc;
    const size_t stride = mask_stride(desc), at = (size_t)first * stride;
    mglu_status status = MGLU_OK;

    if (desc->masks.form != MGLU_MASK_WORDS)
        return mglu_pack_mask_rows(&desc->masks, desc->n_masks, desc->intermediate_size, desc->hidden_size, first,
                                   count, (uint32_t *)(void *)work->data);
    if (!(desc->flags & MGLU_WEIGHTS_CHECKED))
        status = check_mask_rows(work, first, count);
    memcpy(work->data + at, (const unsigned char *)desc->masks.data + at, (size_t)count * stride);
    return status;
}

static void run_task(void *argument, int64_t index)
{
    struct work *work = argument;
    int64_t first = index * work->task_rows, left = work->rows - first;

    if (work->run(work, first, left < work->task_rows ? left : work->task_rows) != MGLU_OK)
        atomic_store_explicit(&work->failed, 1, memory_order_relaxed);
}

/* Works on all threads. After a failure it works again on this one, whose text names the first faulty element. */
static mglu_status run_work(const mglu_parallel *parallel, struct work *work, size_t row_bytes)
{
    int64_t tasks;

    work->task_rows = (int64_t)(TASK_BYTES / (row_bytes + 1) + 1);
    atomic_init(&work->failed, 0);
    tasks = (work->rows + work->task_rows - 1) / work->task_rows;
    parallel->parallel_for(parallel->user, tasks, run_task, work);
    return atomic_load(&work->failed) ? work->run(work, 0, work->rows) : MGLU_OK;
}

/* Borrows one array or packs it at *at, which is then advanced. */
static mglu_status place_part(mglu_weights *weights, const mglu_weights_desc *desc, const struct part *part,
                              unsigned char **at)
{
    struct work work = {.run = pack_part_rows, .desc = desc, .part = part, .data = *at, .rows = part->rows};

    if (can_borrow_part(weights, desc, part)) {
        mglu_part_point_at(part, part->source->data, part->source->scales);
        weights->borrowed_size += mglu_part_size(part) + mglu_part_scale_size(part);
        if (desc->flags & MGLU_WEIGHTS_CHECKED)
            return MGLU_OK;
        work.run = check_part_rows;
    } else {
        work.scales = work.data + aligned(mglu_part_size(part));
        mglu_part_point_at(part, work.data, work.scales);
        *at = work.scales + aligned(mglu_part_scale_size(part));
    }
    return run_work(weights->packed.parallel, &work, mglu_part_stride(part));
}

mglu_status mglu_pack_desc_masks(const mglu_weights_desc *desc, const mglu_parallel *parallel, void *target)
{
    struct work work = {.run = target ? pack_mask_rows : check_mask_rows,
                        .desc = desc,
                        .data = target,
                        .rows = desc->intermediate_size};

    return run_work(parallel, &work, (size_t)desc->n_masks * (size_t)desc->hidden_size);
}

static mglu_status place_masks(mglu_weights *weights, const mglu_weights_desc *desc, unsigned char *at)
{
    const int borrowed = can_borrow_masks(weights, desc);

    if (!desc->masks.data)
        return MGLU_OK;
    weights->packed.masks = borrowed ? desc->masks.data : (const uint32_t *)(void *)at;
    weights->borrowed_size += borrowed ? mask_size(desc) : 0;
    if (borrowed && desc->flags & MGLU_WEIGHTS_CHECKED)
        return MGLU_OK;
    return mglu_pack_desc_masks(desc, weights->packed.parallel, borrowed ? NULL : at);
}

/* Sets an address for required parts without elements, which may be NULL, so that backends need not check. */
static void place_empty(mglu_weights *weights)
{
    mglu_packed_weights *packed = &weights->packed;
    const struct {
        mglu_packed_matrix *matrix;
        int required;
    } parts[] = {
        {&packed->weight, 1},
        {&packed->value_weight, packed->kind == MGLU_KIND_PLAIN},
        {&packed->down, packed->output_size > 0},
    };

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].required && !parts[i].matrix->data) {
            parts[i].matrix->data = weights->arena;
            parts[i].matrix->scales = mglu_dtype_is_quantised(packed->dtype) ? weights->arena : NULL;
        }
    if (packed->kind == MGLU_KIND_MASKED && !packed->masks)
        packed->masks = weights->arena;
}

/* One block of memory for all that is copied, in huge pages where it is large enough for them. */
static mglu_status allocate_arena(mglu_weights *weights, size_t size)
{
    /* Never empty: parts without elements need an address. */
    weights->arena_size = size + SMALL_ALIGNMENT;
    weights->arena =
        mglu_host_allocate(weights->device->context, weights->arena_size, arena_alignment(weights->arena_size));
    if (!weights->arena)
        return mglu_fail(MGLU_ERROR_OUT_OF_MEMORY, "no memory for %zu bytes of weights", weights->arena_size);
    return MGLU_OK;
}

void mglu_free_arena(mglu_weights *weights)
{
    mglu_host_release(weights->device->context, weights->arena, weights->arena_size,
                      arena_alignment(weights->arena_size));
    weights->arena = NULL;
    weights->arena_size = 0;
}

mglu_status mglu_pack_parts(mglu_weights *weights, const mglu_weights_desc *desc)
{
    struct part parts[MAX_PARTS];
    size_t count = mglu_list_parts(desc, &weights->packed, parts), size;
    mglu_status status = measure(weights, desc, parts, count, &size);
    unsigned char *at;

    if (status == MGLU_OK)
        status = allocate_arena(weights, size);
    at = weights->arena;
    for (size_t i = 0; i < count && status == MGLU_OK; i++)
        status = place_part(weights, desc, &parts[i], &at);
    if (status != MGLU_OK)
        return status;
    place_empty(weights);
    return place_masks(weights, desc, at);
}
