/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/*
 * Selects the variant for a matrix. The number of slices determines the bits of y and depends only on the type of the
 * device; the variants tried here all give the same bits. So results do not depend on measurements.
 */

/* Smaller matrices take too little time for a measurable difference. */
#define LEAST_WEIGHTS ((int64_t)4 << 20)
/* Maximum number of bytes that one trial reads. */
#define TRIAL_BYTES ((size_t)32 << 20)

enum { TRIAL_RUNS = 5, MOST_VALUES = 4 };

/* The variant selected for matrices of one kind and size. */
struct mglu_opencl_selection {
    struct mglu_opencl_selection *next;
    char key[MGLU_OPENCL_KEY_SIZE];
    struct mglu_opencl_variant variant;
};

/* ---- Fixed properties ----------------------------------------------------------------------------------------- */

/*
 * On a processor with vector units a work-item has whole rows, enough to amortise the widening of x; one token at a
 * time, as the rows are still in a cache for the next. On other devices 32 items share a row; the more sums, the fewer
 * rows and tokens fit into their registers.
 */
static void set_defaults(const struct mglu_opencl_device *device, struct mglu_opencl_variant *variant)
{
    const int has_vectors = (device->type & CL_DEVICE_TYPE_CPU) != 0;
    const int has_few_sums = variant->matrices + variant->masks <= 5;

    variant->slices = has_vectors ? 1 : 32;
    variant->lines = has_vectors ? 1 : 4;
    while (variant->lines > 1 && (size_t)(variant->slices * variant->lines) > device->most_items)
        variant->lines /= 2;
    if ((size_t)variant->slices > device->most_items)
        variant->slices = variant->lines = 1;
    variant->rows = variant->slices == 1 ? 16 : has_few_sums ? 2 : 1;
    if (variant->tokens != 1)
        variant->tokens = variant->slices == 1 || variant->routed ? 1 : has_few_sums ? 4 : 2;
    variant->mask_form = variant->slices == 1 ? 3 : 0;
    variant->half_form = 0;
}

/* ---- Trials --------------------------------------------------------------------------------------------------- */

/* A trial: the kernel of a variant runs over some rows of a matrix. */
struct trial {
    struct mglu_opencl_device *device;
    const struct mglu_opencl_matrix *matrix;
    cl_mem x, y;
    struct mglu_rows_job job;
};

static double seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static cl_int set_arguments(const struct trial *trial, cl_kernel kernel)
{
    const struct mglu_opencl_part *part = &trial->matrix->parts[0];
    const cl_mem empty_buffer = trial->device->empty_buffer;
    const cl_mem buffers[] = {part->weight, part->scales, part->value,  part->value_scales, part->masks, trial->x,
                              trial->y,     empty_buffer, empty_buffer, empty_buffer,       empty_buffer};
    const cl_uint count = sizeof buffers / sizeof buffers[0];
    cl_int code = CL_SUCCESS;

    for (cl_uint i = 0; i < count && code == CL_SUCCESS; i++)
        code = trial->device->backend->cl.clSetKernelArg(kernel, i, sizeof buffers[i], &buffers[i]);
    if (code == CL_SUCCESS)
        code = trial->device->backend->cl.clSetKernelArg(kernel, count, sizeof trial->job, &trial->job);
    return code;
}

/* The shortest of several runs, without the first, which may compile. Negative: it does not run. */
static double time_runs(const struct trial *trial, const struct mglu_opencl_variant *variant, cl_kernel kernel)
{
    const struct mglu_opencl_driver *cl = &trial->device->backend->cl;
    const size_t lines = (size_t)(variant->rows * variant->lines);
    const size_t group = (size_t)(variant->slices * variant->lines);
    const size_t items = ((size_t)trial->job.rows + lines - 1) / lines * group;
    double best = -1;

    for (int i = 0; i <= TRIAL_RUNS; i++) {
        const double start = seconds();
        cl_int code = cl->clEnqueueNDRangeKernel(trial->device->queue, kernel, 1, NULL, &items, &group, 0, NULL, NULL);
        if (code == CL_SUCCESS)
            code = cl->clFinish(trial->device->queue);
        if (code != CL_SUCCESS)
            return -1;
        const double taken = seconds() - start;
        if (i > 0 && (best < 0 || taken < best))
            best = taken;
    }
    return best;
}

static double time_variant(const struct trial *trial, const struct mglu_opencl_variant *variant)
{
    const struct mglu_opencl_driver *cl = &trial->device->backend->cl;
    double taken = -1;
    cl_program program;
    cl_kernel kernel;
    cl_int code;

    if (mglu_opencl_program_get(trial->device, variant, &program) != MGLU_OK)
        return -1;
    kernel = cl->clCreateKernel(program, "mglu_rows", &code);
    if (code != CL_SUCCESS)
        return -1;
    if (set_arguments(trial, kernel) == CL_SUCCESS)
        taken = time_runs(trial, variant, kernel);
    cl->clReleaseKernel(kernel);
    return taken;
}

/* ---- The search ----------------------------------------------------------------------------------------------- */

/* One property of a variant and its possible values. */
struct axis {
    int32_t *value;
    int32_t count, values[MOST_VALUES];
};

static void search(const struct trial *trial, struct mglu_opencl_variant *variant)
{
    struct mglu_opencl_variant tried = *variant;
    const struct axis axes[] = {
        {&tried.half_form, variant->weight == MGLU_DTYPE_F16 ? 1 : 0, {1}},
        {&tried.mask_form, variant->masks ? 3 : 0, {0, 2, 1}},
        {&tried.lines, 3, {2, 4, 8}},
    };
    double best = time_variant(trial, variant);

    for (size_t i = 0; i < sizeof axes / sizeof axes[0]; i++) {
        for (int32_t k = 0; k < axes[i].count; k++) {
            const int32_t before = *axes[i].value;
            *axes[i].value = axes[i].values[k];
            if (before == axes[i].values[k] || (size_t)(tried.slices * tried.lines) > trial->device->most_items)
                continue;
            const double taken = time_variant(trial, &tried);
            if (taken > 0 && (best < 0 || taken < best)) {
                best = taken;
                *variant = tried;
            }
        }
        tried = *variant;
    }
}

static void tune(struct mglu_opencl_device *device, const struct mglu_opencl_matrix *matrix,
                 struct mglu_opencl_variant *variant)
{
    const int64_t most = (int64_t)(TRIAL_BYTES / matrix->stride_bytes);
    const int64_t rows = matrix->parts[0].rows < most ? matrix->parts[0].rows : most;
    struct trial trial = {.device = device,
                          .matrix = matrix,
                          .job = {.x_dtype = MGLU_DTYPE_F32,
                                  .y_dtype = MGLU_DTYPE_F32,
                                  .weight_stride = matrix->stride_bytes,
                                  .bias_stride = (mglu_index)matrix->rows,
                                  .columns = (mglu_u32)matrix->columns,
                                  .rows = (mglu_u32)rows,
                                  .tokens = 1,
                                  .n_masks = (mglu_u32)matrix->n_masks,
                                  .beta = 1}};

    if (mglu_opencl_buffer(device, (size_t)matrix->columns * sizeof(float), NULL, &trial.x) == MGLU_OK &&
        mglu_opencl_buffer(device, (size_t)rows * sizeof(float), NULL, &trial.y) == MGLU_OK)
        search(&trial, variant);
    mglu_opencl_buffer_release(device, trial.x);
    mglu_opencl_buffer_release(device, trial.y);
}

/* ---- Stored selections ---------------------------------------------------------------------------------------- */

/* A selection is valid for all matrices of a kind between two powers of two in size, on one device and driver. */
static void write_key(const struct mglu_opencl_device *device, const struct mglu_opencl_matrix *matrix,
                      const struct mglu_opencl_variant *variant, char key[MGLU_OPENCL_KEY_SIZE])
{
    char text[160];
    int size = 0;

    while (matrix->rows * matrix->columns >> size > 1)
        size++;
    snprintf(text, sizeof text, "choice 2: weight %d matrices %d masks %d glu %d routed %d slices %d size %d",
             (int)variant->weight, variant->matrices, variant->masks, variant->is_glu, variant->routed, variant->slices,
             size);
    mglu_opencl_cache_key((const char *const[]){text, device->name, device->driver, NULL}, key);
}

static int find_selection(struct mglu_opencl_device *device, const char *key, struct mglu_opencl_variant *variant)
{
    const struct mglu_opencl_selection *selection;

    pthread_mutex_lock(&device->lock);
    selection = device->selections;
    while (selection && strcmp(selection->key, key) != 0)
        selection = selection->next;
    if (selection)
        *variant = selection->variant;
    pthread_mutex_unlock(&device->lock);
    return selection != NULL;
}

static void store_selection(struct mglu_opencl_device *device, const char *key,
                            const struct mglu_opencl_variant *variant)
{
    struct mglu_opencl_selection *made = mglu_opencl_allocate(device->backend->host, sizeof *made);

    if (!made)
        return; /* it will be measured again */
    *made = (struct mglu_opencl_selection){.variant = *variant};
    memcpy(made->key, key, sizeof made->key);
    pthread_mutex_lock(&device->lock);
    made->next = device->selections;
    device->selections = made;
    pthread_mutex_unlock(&device->lock);
}

void mglu_opencl_selections_free(struct mglu_opencl_device *device)
{
    while (device->selections) {
        struct mglu_opencl_selection *first = device->selections;
        device->selections = first->next;
        mglu_opencl_release(device->backend->host, first, sizeof *first);
    }
}

/* Whether a variant from outside is one that search() could have selected instead of `expected`, the default. */
static int is_possible(const struct mglu_opencl_device *device, const struct mglu_opencl_variant *stored,
                       const struct mglu_opencl_variant *expected)
{
    const int32_t most_lines = (int32_t)(device->most_items / (size_t)expected->slices);
    const int has_lines =
        stored->lines == expected->lines || stored->lines == 2 || stored->lines == 4 || stored->lines == 8;
    struct mglu_opencl_variant fixed = *stored;

    fixed.lines = expected->lines;
    fixed.mask_form = expected->mask_form;
    fixed.half_form = expected->half_form;
    return memcmp(&fixed, expected, sizeof fixed) == 0 && has_lines && stored->lines <= most_lines &&
           stored->mask_form >= 0 && stored->mask_form <= (expected->masks ? 2 : 0) && stored->half_form >= 0 &&
           stored->half_form <= (expected->weight == MGLU_DTYPE_F16);
}

/* From another process; anything but a valid variant is ignored, and said. */
static int load_selection(struct mglu_opencl_device *device, const char *key, struct mglu_opencl_variant *variant)
{
    const mglu_host *host = device->backend->host;
    size_t size = 0;
    struct mglu_opencl_variant *stored = mglu_opencl_cache_load(&device->backend->cache, key, &size);
    const int fits = stored && size == sizeof *stored && is_possible(device, stored, variant);

    if (fits)
        *variant = *stored;
    else if (stored)
        host->log(host, MGLU_LOG_WARN, "opencl: %s: the stored selection %s is not one of this tuner: measured anew",
                  device->name, key);
    mglu_opencl_release(host, stored, size);
    return fits;
}

/* Copies the tuned properties of `best`, regardless of the number of tokens that it was tuned for. */
static void apply(const struct mglu_opencl_variant *best, struct mglu_opencl_variant *variant)
{
    variant->mask_form = best->mask_form;
    variant->half_form = best->half_form;
    variant->lines = best->lines;
}

const char *mglu_opencl_select(struct mglu_opencl_device *device, const struct mglu_opencl_matrix *matrix,
                               struct mglu_opencl_variant *variant)
{
    const mglu_host *host = device->backend->host;
    struct mglu_opencl_variant best = *variant;
    char key[MGLU_OPENCL_KEY_SIZE];

    set_defaults(device, variant);
    if (variant->slices == 1) /* lanes.cl is not tuned */
        return device->type & CL_DEVICE_TYPE_CPU ? "a processor with vectors sums whole rows in an item"
                                                 : "the device's work-groups are too small to share a row";
    if (matrix->rows * matrix->columns < LEAST_WEIGHTS)
        return "the defaults: too few weights to tell variants apart";
    best.tokens = 1;
    set_defaults(device, &best);
    write_key(device, matrix, &best, key);
    if (!find_selection(device, key, &best)) {
        if (!load_selection(device, key, &best)) {
            tune(device, matrix, &best);
            mglu_opencl_cache_store(&device->backend->cache, key, &best, sizeof best);
        }
        store_selection(device, key, &best);
        host->log(host, MGLU_LOG_INFO, "opencl: %s: %d masks: mask form %d, half form %d, %d lines", device->name,
                  best.masks, best.mask_form, best.half_form, best.lines);
    }
    apply(&best, variant);
    return "the fastest of the variants tried on this device";
}
