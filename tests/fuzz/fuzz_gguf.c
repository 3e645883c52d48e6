/* SPDX-License-Identifier: MIT */
#include "weights_file.h"

#include <stdio.h>
#include <unistd.h>

/*
 * The input is a GGUF file that is opened, read to its last byte, and packed into both formats. For any content the
 * calls must return a status and a text, and access nothing outside of it; what was written can be written again.
 */

static void read_layers(const mglu_file *file)
{
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};

    for (size_t i = 0; mglu_file_layer_at(file, i); i++) {
        mglu_status status = mglu_file_layer(file, mglu_file_layer_at(file, i), &weights, &layer, NULL);

        fuzz_require(file_is_layer_status(status), "a listed layer has a wrong status");
    }
}

/* What was written can be read, and written again. */
static void pack(const char *path, mglu_file_format format, int convert, mglu_dtype dtype)
{
    const mglu_file_pack_options options = {
        .struct_size = sizeof options, .convert = convert, .dtype = dtype, .format = format};
    const mglu_file_pack_options again = {.struct_size = sizeof again, .format = MGLU_FILE_FORMAT_GGUF};
    char packed[512];

    snprintf(packed, sizeof packed, "%s/output", fuzz_folder());
    if (mglu_file_pack(path, packed, &options) != MGLU_OK)
        return;
    fuzz_require(mglu_file_pack(packed, packed, &again) == MGLU_OK, "a written file cannot be written again");
    unlink(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *path = fuzz_file(0, "input", bytes, size);

    for (uint32_t flags = 0; flags <= MGLU_FILE_MMAP; flags += MGLU_FILE_MMAP) {
        mglu_file *file;
        mglu_status status = mglu_file_open(path, flags, &file);

        fuzz_check_status(status, "mglu_file_open");
        fuzz_require(status == MGLU_OK || status == MGLU_ERROR_CORRUPT_FILE || status == MGLU_ERROR_UNSUPPORTED,
                     "opening has a wrong status");
        if (status != MGLU_OK)
            continue;
        file_read_tensors(file);
        read_layers(file);
        mglu_file_close(&file);
        pack(path, MGLU_FILE_FORMAT_SAFETENSORS, 0, MGLU_DTYPE_F32);
        pack(path, MGLU_FILE_FORMAT_GGUF, flags != 0, MGLU_DTYPE_Q8_0);
    }
    return 0;
}
