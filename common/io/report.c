/* SPDX-License-Identifier: MIT */
#include "common/io/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN_PATH = 140, SHOWN_NAME = 120, REASON = 240 };

/* The end of a path is more informative than its beginning. */
static const char *path_end(const char *path, const char **ellipsis)
{
    size_t length = strlen(path);

    *ellipsis = length > SHOWN_PATH ? "..." : "";
    return length > SHOWN_PATH ? path + length - SHOWN_PATH : path;
}

mglu_status mglu_io_fail(mglu_status status, const char *path, const char *tensor, const char *format, ...)
{
    char reason[REASON];
    const char *ellipsis, *shown = path_end(path, &ellipsis);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    if (!tensor)
        return mglu_fail(status, "%s%s: %s", ellipsis, shown, reason);
    return mglu_fail(status, "%s%s: tensor '%.*s%s': %s", ellipsis, shown, SHOWN_NAME, tensor,
                     strlen(tensor) > SHOWN_NAME ? "..." : "", reason);
}

mglu_status mglu_io_out_of_memory(const char *path)
{
    return mglu_io_fail(MGLU_ERROR_OUT_OF_MEMORY, path, NULL, "out of memory");
}

mglu_status mglu_io_system_error(const char *path, const char *what)
{
    return mglu_io_fail(MGLU_ERROR_IO, path, NULL, "%s: %s", what, strerror(errno));
}

const char *mglu_io_shape_text(char text[MGLU_IO_SHAPE_TEXT], int32_t rank, const int64_t *shape)
{
    size_t used = 0;

    text[used++] = '[';
    for (int32_t i = 0; i < rank && i < MGLU_IO_SHOWN_SIZES; i++)
        used += (size_t)snprintf(text + used, MGLU_IO_SHAPE_TEXT - used, i ? ", %lld" : "%lld", (long long)shape[i]);
    snprintf(text + used, MGLU_IO_SHAPE_TEXT - used, "%s", rank > MGLU_IO_SHOWN_SIZES ? ", ...]" : "]");
    return text;
}
