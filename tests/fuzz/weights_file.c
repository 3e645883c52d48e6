/* SPDX-License-Identifier: MIT */
#include "weights_file.h"

void file_read_tensors(const mglu_file *file)
{
    volatile unsigned sum = 0;

    for (size_t i = 0; i < mglu_file_tensor_count(file); i++) {
        const mglu_file_tensor *tensor = mglu_file_tensor_at(file, i);
        const unsigned char *data = tensor->data;

        for (size_t k = 0; k < tensor->bytes; k++)
            sum = sum + data[k];
        fuzz_require(mglu_file_find(file, tensor->name) == tensor, "a tensor is not found by its name");
    }
    for (size_t i = 0; mglu_file_metadata_key(file, i); i++)
        fuzz_require(mglu_file_metadata(file, mglu_file_metadata_key(file, i)) != NULL, "metadata without a value");
}

bool file_is_layer_status(mglu_status status)
{
    fuzz_check_status(status, "mglu_file_layer");
    return status == MGLU_OK || status == MGLU_ERROR_CORRUPT_FILE || status == MGLU_ERROR_VERSION_MISMATCH ||
           status == MGLU_ERROR_NONFINITE;
}
