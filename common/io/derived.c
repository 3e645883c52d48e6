/* SPDX-License-Identifier: MIT */
#include "common/io/derived.h"

#include "common/io/dtype.h"
#include "common/io/file.h"
#include "common/io/report.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* One derived array; the struct is followed by its bytes. */
struct copy {
    const void *data; /* the part of the file that it is made of */
    struct mglu_io_grid grid;
    _Alignas(64) unsigned char bytes[];
};

struct mglu_io_derived {
    pthread_mutex_t lock; /* of the tree: an open file may be shared by threads */
    void *copies;         /* for tsearch() */
};

struct mglu_io_derived *mglu_io_derived_create(void)
{
    struct mglu_io_derived *derived = calloc(1, sizeof *derived);

    if (derived && pthread_mutex_init(&derived->lock, NULL) != 0) {
        free(derived);
        return NULL;
    }
    return derived;
}

void mglu_io_derived_destroy(struct mglu_io_derived *derived)
{
    if (!derived)
        return;
    tdestroy(derived->copies, free);
    pthread_mutex_destroy(&derived->lock);
    free(derived);
}

static int compare_copies(const void *a, const void *b)
{
    const struct copy *left = a, *right = b;

    if (left->data != right->data)
        return (uintptr_t)left->data < (uintptr_t)right->data ? -1 : 1;
    return memcmp(&left->grid, &right->grid, sizeof left->grid);
}

/* Returns a copy that is in the tree already, and frees this one; otherwise this one, or NULL when out of memory. */
static const struct copy *keep(struct mglu_io_derived *derived, struct copy *copy)
{
    void *node;
    const struct copy *kept = NULL;

    pthread_mutex_lock(&derived->lock);
    node = tsearch(copy, &derived->copies, compare_copies);
    if (node)
        kept = *(struct copy *const *)node;
    pthread_mutex_unlock(&derived->lock);
    if (kept != copy)
        free(copy);
    return kept;
}

static const struct copy *find(struct mglu_io_derived *derived, const struct copy *key)
{
    const struct copy *found;
    void *node;

    pthread_mutex_lock(&derived->lock);
    node = tfind(key, &derived->copies, compare_copies);
    found = node ? *(struct copy *const *)node : NULL;
    pthread_mutex_unlock(&derived->lock);
    return found;
}

static struct copy *make_copy(const void *data, const struct mglu_io_grid *grid, size_t bytes)
{
    struct copy *copy = NULL;
    void *memory;

    if (bytes > SIZE_MAX / 2 || posix_memalign(&memory, _Alignof(struct copy), sizeof *copy + bytes) != 0)
        return NULL;
    copy = memory;
    copy->data = data;
    copy->grid = *grid;
    return copy;
}

/* The grid's rows one after the other, with the elements of a row next to each other. */
static void gather(const mglu_file_tensor *tensor, const struct mglu_io_grid *grid, unsigned char *target)
{
    size_t size = mglu_file_dtype_size(tensor->dtype), own = tensor->dtype == MGLU_FILE_F64 ? 4 : size;
    const unsigned char *source = tensor->data;

    for (int64_t r = 0; r < grid->rows; r++)
        for (int64_t c = 0; c < grid->columns; c++) {
            const unsigned char *element =
                source + size * (size_t)(grid->first + r * grid->row_step + c * grid->column_step);

            if (tensor->dtype == MGLU_FILE_F64)
                mglu_io_round_f64(element, target, MGLU_DTYPE_F32, 1);
            else
                memcpy(target, element, size);
            target += own;
        }
}

mglu_status mglu_io_derive_grid(const mglu_file *file, const mglu_file_tensor *tensor, const struct mglu_io_grid *grid,
                                const void **data)
{
    size_t size = tensor->dtype == MGLU_FILE_F64 ? 4 : mglu_file_dtype_size(tensor->dtype);
    const struct copy key = {.data = tensor->data, .grid = *grid};
    const struct copy *kept = find(file->derived, &key);

    if (!kept) {
        struct copy *made = make_copy(tensor->data, grid, (size_t)grid->rows * (size_t)grid->columns * size);

        if (made)
            gather(tensor, grid, made->bytes);
        kept = made ? keep(file->derived, made) : NULL;
    }
    if (!kept)
        return mglu_io_out_of_memory(file->path);
    *data = kept->bytes;
    return MGLU_OK;
}

int mglu_io_masks_as_bytes(mglu_file_dtype dtype)
{
    switch (dtype) {
    case MGLU_FILE_F64:
    case MGLU_FILE_I16:
    case MGLU_FILE_U16:
    case MGLU_FILE_I32:
    case MGLU_FILE_U32:
    case MGLU_FILE_I64:
    case MGLU_FILE_U64:
        return 1;
    default:
        return 0;
    }
}

size_t mglu_io_mask_bytes(mglu_file_dtype dtype, const void *masks, size_t count, unsigned char *bytes)
{
    size_t size = mglu_file_dtype_size(dtype);
    const unsigned char *element = masks;

    for (size_t i = 0; i < count; i++, element += size) {
        uint64_t value = 0;
        double logit;

        memcpy(&value, element, size); /* little-endian */
        memcpy(&logit, &value, sizeof logit);
        if (dtype == MGLU_FILE_F64 ? logit != logit : value > 1)
            return i;
        bytes[i] = dtype == MGLU_FILE_F64 ? logit > 0 : (unsigned char)value;
    }
    return count;
}

mglu_status mglu_io_derive_masks(const mglu_file *file, const mglu_file_tensor *tensor, const void **data)
{
    size_t count = tensor->bytes / mglu_file_dtype_size(tensor->dtype), bad;
    const struct copy key = {.data = tensor->data}; /* no grid is empty where masks are */
    const struct copy *kept = find(file->derived, &key);
    struct copy *made;

    if (kept) {
        *data = kept->bytes;
        return MGLU_OK;
    }
    made = make_copy(tensor->data, &key.grid, count);
    if (!made)
        return mglu_io_out_of_memory(file->path);
    bad = mglu_io_mask_bytes(tensor->dtype, tensor->data, count, made->bytes);
    if (bad < count) {
        free(made);
        return mglu_io_fail(tensor->dtype == MGLU_FILE_F64 ? MGLU_ERROR_NONFINITE : MGLU_ERROR_CORRUPT_FILE, file->path,
                            tensor->name, "element [%zu] is %s", bad,
                            tensor->dtype == MGLU_FILE_F64 ? "NaN" : "neither 0 nor 1");
    }
    kept = keep(file->derived, made);
    if (!kept)
        return mglu_io_out_of_memory(file->path);
    *data = kept->bytes;
    return MGLU_OK;
}
