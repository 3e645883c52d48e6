/* SPDX-License-Identifier: MIT */
#include "common/io/foreign.h"

#include "common/io/header.h"
#include "common/io/report.h"

#include <string.h>
#include <strings.h>

/* How files of a kind begin, after white space and a byte order mark where they are text. */
static const struct kind {
    const char *start;
    size_t bytes;
    int is_text;
    const char *within; /* a text in the first bytes, or NULL */
    const char *text;
} kinds[] = {
    {"<!doctype html", 14, 1, NULL, "a web page, not a model: probably an error or login page that was saved"},
    {"<html", 5, 1, NULL, "a web page, not a model: probably an error or login page that was saved"},
    {"<?xml", 5, 1, NULL, "XML, not a model: probably an error message of the server that was saved"},
    {"version https://git-lfs", 23, 1, NULL, "a Git LFS pointer, not the model: fetch it with git lfs pull"},
    {"{", 1, 1, "\"weight_map\"", "an index of shards, not a model: give the folder it is in, or one of its shards"},
    {"{", 1, 1, NULL, "JSON, not a model: give the safetensors file beside it"},
    {"PK\3\4", 4, 0, NULL,
     "a zip archive, as torch.save() and numpy.savez() write: convert it with safetensors.torch.save_file()"},
    {"\x80\2", 2, 0, NULL, "a Python pickle, as torch.save() writes: convert it with safetensors.torch.save_file()"},
    {"\x80\3", 2, 0, NULL, "a Python pickle, as torch.save() writes: convert it with safetensors.torch.save_file()"},
    {"\x80\4", 2, 0, NULL, "a Python pickle, as torch.save() writes: convert it with safetensors.torch.save_file()"},
    {"\x80\5", 2, 0, NULL, "a Python pickle, as torch.save() writes: convert it with safetensors.torch.save_file()"},
    {"lmgg", 4, 0, NULL, "a GGML file from before GGUF: convert the model again, to GGUF or safetensors"},
    {"fmgg", 4, 0, NULL, "a GGML file from before GGUF: convert the model again, to GGUF or safetensors"},
    {"tjgg", 4, 0, NULL, "a GGML file from before GGUF: convert the model again, to GGUF or safetensors"},
    {"\x93NUMPY", 6, 0, NULL, "a NumPy array: write it with safetensors.numpy.save_file()"},
    {"\x89HDF", 4, 0, NULL, "an HDF5 file: convert it to safetensors"},
    {"\x1f\x8b", 2, 0, NULL, "compressed by gzip: decompress it"},
    {"\x28\xb5\x2f\xfd", 4, 0, NULL, "compressed by zstd: decompress it"},
};

/* Whether the file begins with the length of a header and the header's bracket: then the header decides. */
static int can_be_safetensors(const unsigned char *start, size_t count)
{
    uint64_t length = 0;

    if (count <= MGLU_IO_LENGTH_BYTES)
        return 0;
    memcpy(&length, start, sizeof length);
    return length <= MGLU_IO_MAX_HEADER && start[MGLU_IO_LENGTH_BYTES] &&
           strchr("{ \t\r\n", start[MGLU_IO_LENGTH_BYTES]);
}

/* Without a byte order mark and white space. */
static void trim(const char **text, size_t *count)
{
    size_t skipped = *count >= 3 && memcmp(*text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

    while (skipped < *count && (*text)[skipped] && strchr(" \t\r\n", (*text)[skipped]))
        skipped++;
    *text += skipped;
    *count -= skipped;
}

static int is_kind(const struct kind *kind, const unsigned char *start, size_t count)
{
    const char *text = (const char *)start;

    if (kind->is_text)
        trim(&text, &count);
    if (count < kind->bytes)
        return 0;
    if (kind->is_text ? strncasecmp(text, kind->start, kind->bytes) : memcmp(text, kind->start, kind->bytes))
        return 0;
    return !kind->within || memmem(text, count, kind->within, strlen(kind->within));
}

mglu_status mglu_io_refuse_foreign(const char *path, const unsigned char *start, size_t count)
{
    if (can_be_safetensors(start, count))
        return MGLU_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (is_kind(&kinds[i], start, count))
            return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, path, NULL, "%s", kinds[i].text);
    return MGLU_OK;
}
