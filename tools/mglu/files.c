/* SPDX-License-Identifier: MIT */
#include "files.h"

#include "tools/common/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *path_in(const char *folder, const char *name)
{
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        report_failure("%s: out of memory", folder);
        return NULL;
    }
    return path;
}

bool path_is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

char *path_beside(const char *file, const char *name)
{
    if (path_is_folder(file))
        return path_in(file, name);
    const char *slash = strrchr(file, '/');
    const int length = slash ? (int)(slash - file) + 1 : 0;
    char *path;
    if (asprintf(&path, "%.*s%s", length, file, name) < 0) {
        report_failure("%s: out of memory", file);
        return NULL;
    }
    return path;
}

bool path_same(const char *a, const char *b)
{
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

/** Reads up to `room` bytes; the number, or -1 for an error. */
static ssize_t read_some(int file, char *text, size_t room)
{
    ssize_t got;
    do
        got = read(file, text, room);
    while (got < 0 && errno == EINTR);
    return got;
}

/** Appends the rest of `file` in pieces, since the size of a pipe is not known in advance. */
static bool read_all(int file, const char *path, size_t limit, char **text, size_t *size)
{
    size_t room = 0;
    ssize_t got = 1;
    *size = 0;
    *text = NULL;
    while (got > 0 && *size <= limit) {
        if (*size == room) {
            room = room ? 2 * room : 1 << 16;
            char *grown = realloc(*text, room + 1);
            if (!grown)
                return report_failure("%s: out of memory", path);
            *text = grown;
        }
        got = read_some(file, *text + *size, room - *size);
        *size += got > 0 ? (size_t)got : 0;
    }
    if (got < 0)
        return report_failure("%s: %s", path, strerror(errno));
    if (*size > limit)
        return report_failure("%s: larger than %zu bytes", path, limit);
    (*text)[*size] = '\0';
    return true;
}

static bool load(int file, const char *path, size_t limit, char **text, size_t *size)
{
    const bool done = read_all(file, path, limit, text, size);
    close(file);
    if (!done) {
        free(*text);
        *text = NULL;
    }
    return done;
}

bool text_load(const char *path, size_t limit, char **text, size_t *size)
{
    struct stat about;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (file < 0)
        return report_failure("%s: %s", path, strerror(errno));
    /* What is too large is known of a file before it is read. */
    if (fstat(file, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > (off_t)limit) {
        close(file);
        return report_failure("%s: larger than %zu bytes", path, limit);
    }
    return load(file, path, limit, text, size);
}

bool text_load_regular(const char *path, size_t limit, char **text, size_t *size)
{
    struct stat about;
    /* Without waiting for somebody to write to a pipe. */
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file < 0)
        return report_failure("%s: %s", path, strerror(errno));
    if (fstat(file, &about) != 0 || !S_ISREG(about.st_mode)) {
        close(file);
        return report_failure("%s: not a regular file", path);
    }
    return load(file, path, limit, text, size);
}

bool model_open(const char *path, uint32_t file_flags, mglu_file **file)
{
    const mglu_status status =
        path_is_folder(path) ? mglu_file_open_folder(path, file_flags, file) : mglu_file_open(path, file_flags, file);
    return status == MGLU_OK || report_library(NULL);
}

static bool read_data(struct loaded_tensor *loaded, const mglu_file_tensor *tensor)
{
    loaded->data = report_allocate(tensor->bytes, 1);
    if (!loaded->data)
        return false;
    if (mglu_file_read(loaded->file, tensor, 0, loaded->data, tensor->bytes) != MGLU_OK)
        return report_library(NULL);
    loaded->tensor = *tensor;
    loaded->tensor.data = loaded->data;
    return true;
}

bool tensor_load(const struct tensor_name *name, struct loaded_tensor *loaded)
{
    *loaded = (struct loaded_tensor){0};
    if (mglu_file_open(name->path, MGLU_FILE_HEADER, &loaded->file) != MGLU_OK)
        return report_library(NULL);
    const mglu_file_tensor *tensor = mglu_file_find(loaded->file, name->tensor);
    if (!tensor)
        report_failure("%s: tensor '%s': missing", name->path, name->tensor);
    if (tensor && read_data(loaded, tensor))
        return true;
    tensor_release(loaded);
    return false;
}

void tensor_release(struct loaded_tensor *loaded)
{
    mglu_file_close(&loaded->file);
    free(loaded->data);
    *loaded = (struct loaded_tensor){0};
}

int64_t tensor_elements(const mglu_file_tensor *tensor)
{
    int64_t count = 1;
    /* If one size is 0, the others are unbounded. */
    for (int32_t i = 0; i < tensor->rank; i++)
        if (!tensor->shape[i])
            return 0;
    for (int32_t i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    return count;
}

void tensor_shape_text(const mglu_file_tensor *tensor, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int32_t i = 0; i < tensor->rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "", (long long)tensor->shape[i]);
    if (used < size)
        snprintf(text + used, size - used, "]");
}

bool tensor_is_float(const mglu_file_tensor *tensor)
{
    return tensor->dtype == MGLU_FILE_F64 || tensor->dtype == MGLU_FILE_F32 || tensor->dtype == MGLU_FILE_F16 ||
           tensor->dtype == MGLU_FILE_BF16;
}

static bool copy_to_f32(const mglu_file_tensor *tensor, float *values, size_t count)
{
    const char *data = tensor->data;
    if (tensor->dtype == MGLU_FILE_F64) {
        for (size_t i = 0; i < count; i++) {
            double value; /* data in the file may be unaligned */
            memcpy(&value, data + i * sizeof value, sizeof value);
            values[i] = (float)value;
        }
        return true;
    }
    const mglu_dtype dtype = tensor->dtype == MGLU_FILE_F16    ? MGLU_DTYPE_F16
                             : tensor->dtype == MGLU_FILE_BF16 ? MGLU_DTYPE_BF16
                                                               : MGLU_DTYPE_F32;
    return mglu_convert(data, dtype, values, MGLU_DTYPE_F32, count) == MGLU_OK || report_library(tensor->name);
}

float *tensor_to_f32(const mglu_file_tensor *tensor)
{
    const size_t count = (size_t)tensor_elements(tensor);
    float *values = report_allocate(count, sizeof *values);
    if (values && count && !copy_to_f32(tensor, values, count)) {
        free(values);
        return NULL;
    }
    return values;
}

double *tensor_to_f64(const mglu_file_tensor *tensor)
{
    const size_t count = (size_t)tensor_elements(tensor);
    double *values = report_allocate(count, sizeof *values);
    if (!values || !count)
        return values;
    if (tensor->dtype == MGLU_FILE_F64) {
        memcpy(values, tensor->data, count * sizeof *values);
        return values;
    }
    float *narrow = tensor_to_f32(tensor);
    if (!narrow) {
        free(values);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        values[i] = (double)narrow[i];
    free(narrow);
    return values;
}
