/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES = 2, PATH_SIZE = 256 };

static char folder[PATH_SIZE];
static struct {
    char path[PATH_SIZE + 64];
    int descriptor;
} files[FILES];

/* Without installed OpenCL drivers, which leak, and whose start would take longer than a thousand inputs. */
__attribute__((constructor)) static void hide_drivers(void)
{
    setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
}

void fuzz_require(int is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "%s; last error: %s\n", what, mglu_last_error());
    abort();
}

void fuzz_check_status(mglu_status status, const char *call)
{
    const char *text = mglu_last_error();

    fuzz_require(strcmp(mglu_status_string(status), "unknown_status") != 0, call);
    if (status == MGLU_OK)
        return;
    fuzz_require(text[0] != '\0', "a call failed without a text");
    fuzz_require(!strpbrk(text, "\n\r"), "a text has more than one line");
}

uint8_t fuzz_byte(struct fuzz_stream *stream)
{
    return stream->at < stream->end ? *stream->at++ : 0;
}

uint64_t fuzz_number(struct fuzz_stream *stream, int bytes)
{
    uint64_t number = 0;

    for (int i = 0; i < bytes; i++)
        number |= (uint64_t)fuzz_byte(stream) << (8 * i);
    return number;
}

uint32_t fuzz_below(struct fuzz_stream *stream, uint32_t count)
{
    return (uint32_t)fuzz_number(stream, count > 256 ? 4 : 1) % count;
}

size_t fuzz_left(const struct fuzz_stream *stream)
{
    return (size_t)(stream->end - stream->at);
}

/* A target that leaves a file behind fails here. */
static void remove_folder(void)
{
    for (int i = 0; i < FILES; i++)
        if (files[i].path[0])
            unlink(files[i].path);
    if (rmdir(folder) != 0) {
        perror(folder);
        _exit(EXIT_FAILURE);
    }
}

const char *fuzz_folder(void)
{
    const char *temporary = getenv("TMPDIR");

    if (folder[0])
        return folder;
    if (access("/dev/shm", W_OK) == 0)
        temporary = "/dev/shm";
    snprintf(folder, sizeof folder, "%.200s/mglu-fuzz-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(folder) || atexit(remove_folder) != 0) {
        perror(folder);
        exit(EXIT_FAILURE);
    }
    return folder;
}

const char *fuzz_file(int slot, const char *name, const void *bytes, size_t size)
{
    if (!files[slot].path[0]) {
        snprintf(files[slot].path, sizeof files[slot].path, "%s/%s", fuzz_folder(), name);
        files[slot].descriptor = open(files[slot].path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    if (files[slot].descriptor < 0 || ftruncate(files[slot].descriptor, 0) != 0 ||
        pwrite(files[slot].descriptor, bytes, size, 0) != (ssize_t)size) {
        perror(files[slot].path);
        exit(EXIT_FAILURE);
    }
    return files[slot].path;
}
