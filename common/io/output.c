/* SPDX-License-Identifier: MIT */
#include "common/io/output.h"

#include "common/io/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Number of names tried: earlier processes may have left temporary files. */
enum { MAX_ATTEMPTS = 1000 };

/* Linux writes at most 2^31 - 4096 bytes at once. */
enum { WRITE_AT_ONCE = 1 << 30 };

/* Bytes of the folder at the start of a path, with its slash. */
static int folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? (int)(slash - path) + 1 : 0;
}

/*
 * Not mkstemp(): its files are 0600 regardless of the umask, and the umask cannot be read without changing it for all
 * threads. The name is short, so that any file name that the folder allows can be written.
 */
static mglu_status create_temporary(struct mglu_io_output *output)
{
    static const char pattern[] = "%.*s.mglu-%ld-%d.tmp";
    size_t size = strlen(output->path) + sizeof pattern + 40;

    output->temporary = malloc(size);
    if (!output->temporary)
        return mglu_io_out_of_memory(output->path);
    for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        snprintf(output->temporary, size, pattern, folder_length(output->path), output->path, (long)getpid(), attempt);
        output->descriptor = open(output->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (output->descriptor >= 0)
            return MGLU_OK;
        if (errno != EEXIST && errno != EINTR)
            break;
    }
    free(output->temporary);
    output->temporary = NULL;
    return mglu_io_system_error(output->path, "cannot create a file in its folder");
}

mglu_status mglu_io_output_begin(struct mglu_io_output *output, const char *path)
{
    struct stat about;

    *output = (struct mglu_io_output){.path = path, .descriptor = -1};
    if (stat(path, &about) == 0 && !S_ISREG(about.st_mode))
        return mglu_io_fail(MGLU_ERROR_IO, path, NULL, "cannot write: not a regular file");
    return create_temporary(output);
}

mglu_status mglu_io_output_write(struct mglu_io_output *output, const void *bytes, size_t count)
{
    const unsigned char *next = bytes;

    while (count > 0) {
        ssize_t written = write(output->descriptor, next, count < WRITE_AT_ONCE ? count : WRITE_AT_ONCE);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return mglu_io_system_error(output->path, "cannot write");
        next += written;
        count -= (size_t)written;
    }
    return MGLU_OK;
}

/* Makes the rename durable. Some file systems cannot; the file itself is already synced. */
static void sync_folder(const char *path)
{
    int length = folder_length(path), descriptor;
    char *folder = length ? strndup(path, (size_t)length) : strdup(".");

    descriptor = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (descriptor >= 0) {
        fsync(descriptor);
        close(descriptor);
    }
    free(folder);
}

mglu_status mglu_io_output_commit(struct mglu_io_output *output)
{
    mglu_status status = MGLU_OK;
    int closed;

    if (fsync(output->descriptor) != 0)
        status = mglu_io_system_error(output->path, "cannot sync");
    closed = close(output->descriptor);
    output->descriptor = -1;
    if (status == MGLU_OK && closed != 0 && errno != EINTR)
        status = mglu_io_system_error(output->path, "cannot write");
    if (status == MGLU_OK && rename(output->temporary, output->path) != 0)
        status = mglu_io_system_error(output->path, "cannot rename the new file to it");
    if (status != MGLU_OK) {
        mglu_io_output_discard(output);
        return status;
    }
    free(output->temporary);
    output->temporary = NULL;
    sync_folder(output->path);
    return MGLU_OK;
}

void mglu_io_output_discard(struct mglu_io_output *output)
{
    if (output->descriptor >= 0)
        close(output->descriptor);
    if (output->temporary)
        unlink(output->temporary);
    free(output->temporary);
    output->temporary = NULL;
    output->descriptor = -1;
}
