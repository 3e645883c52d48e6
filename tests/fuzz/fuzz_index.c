/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <mglu/io.h>

#include <string.h>

/*
 * The input is the model.safetensors.index.json of a folder with one shard, which has a masked layer. If the index is
 * accepted, it names every tensor of the shard and no other, and the layer is described.
 */

static const char header[] = "{\"p.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]},"
                             "\"p.mask\":{\"dtype\":\"U8\",\"shape\":[1,1],\"data_offsets\":[4,5]}}";

/* Once: no input changes it. */
static void write_shard(void)
{
    static int written;
    unsigned char bytes[8 + sizeof header + 4] = {sizeof header - 1};

    memcpy(bytes + 8, header, sizeof header - 1);
    memset(bytes + 8 + sizeof header - 1, 0, 5);
    if (!written)
        fuzz_file(1, "a.safetensors", bytes, 8 + sizeof header - 1 + 5);
    written = 1;
}

static int is_wanted(mglu_status status)
{
    return status == MGLU_OK || status == MGLU_ERROR_CORRUPT_FILE || status == MGLU_ERROR_IO;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const uint32_t flags[] = {0, MGLU_FILE_HEADER};

    write_shard();
    fuzz_file(0, "model.safetensors.index.json", bytes, size);
    for (int i = 0; i < 2; i++) {
        mglu_weights_desc weights = {.struct_size = sizeof weights};
        mglu_layer_desc layer = {.struct_size = sizeof layer};
        mglu_file *file;
        mglu_status status = mglu_file_open_folder(fuzz_folder(), flags[i], &file);

        fuzz_check_status(status, "mglu_file_open_folder");
        fuzz_require(is_wanted(status), "an index has a wrong status");
        fuzz_require((status == MGLU_OK) == (file != NULL), "a status that contradicts the handle");
        if (status != MGLU_OK)
            continue;
        fuzz_require(mglu_file_tensor_count(file) == 2, "an accepted index with other tensors than the shard");
        fuzz_require(mglu_file_layer(file, "p", &weights, &layer, NULL) == MGLU_OK, "the shard's layer is not read");
        mglu_file_close(&file);
    }
    return 0;
}
