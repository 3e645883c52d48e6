/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <mglu/io.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * The first byte selects the options of mglu_file_pack(), the rest is the checkpoint. Whatever is written must be a
 * file that can be opened, whose layers can be loaded, and which can be packed again.
 */

/* Every status that mglu/io.h documents for mglu_file_pack(), where files can be read and written. */
static bool is_documented(mglu_status status)
{
    return status == MGLU_OK || status == MGLU_ERROR_NONFINITE || status == MGLU_ERROR_INVALID_ARGUMENT ||
           status == MGLU_ERROR_CORRUPT_FILE || status == MGLU_ERROR_VERSION_MISMATCH ||
           status == MGLU_ERROR_UNSUPPORTED || status == MGLU_ERROR_CANCELLED;
}

static int stop_at_third(void *user, size_t done, size_t total)
{
    fuzz_require(done <= total, "more progress than there is to do");
    return done == 3;
}

static mglu_file_pack_options options_of(uint8_t choice)
{
    static const char *const activations[] = {NULL, "gelu_erf", "none of them", ""};

    return (mglu_file_pack_options){
        .struct_size = sizeof(mglu_file_pack_options),
        .convert = choice & 1,
        .dtype = (mglu_dtype)(choice >> 1 & 7),
        .activation = activations[choice >> 4 & 3],
        .progress = choice & 0x40 ? stop_at_third : NULL,
    };
}

/* Loads every layer; returns whether one has masks. */
static bool load_layers(const mglu_file *file)
{
    mglu_weights_desc weights = MGLU_WEIGHTS_DESC_INIT;
    mglu_layer_desc layer = MGLU_LAYER_DESC_INIT;
    bool is_masked = false;

    for (size_t i = 0; mglu_file_layer_at(file, i); i++) {
        fuzz_require(mglu_file_layer(file, mglu_file_layer_at(file, i), &weights, &layer, NULL) == MGLU_OK,
                     "a layer of a packed file cannot be loaded");
        is_masked |= weights.n_masks > 0;
    }
    return is_masked;
}

/*
 * Without masks and without a dtype there is nothing to pack. Packing needs no order of the rows of gate and value in
 * one matrix, and loading does.
 */
static void check_packed(const char *path, const char *again)
{
    mglu_status wanted;
    mglu_file *file;

    fuzz_require(mglu_file_open(path, MGLU_FILE_FUSED_HALVES, &file) == MGLU_OK, "a packed file cannot be opened");
    wanted = load_layers(file) ? MGLU_OK : MGLU_ERROR_INVALID_ARGUMENT;
    mglu_file_close(&file);
    fuzz_require(mglu_file_pack(path, again, NULL) == wanted, "a packed file is not packed again as it should be");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const uint8_t choice = size ? bytes[0] : 0;
    const mglu_file_pack_options options = options_of(choice);
    const char *input = fuzz_file(0, "input", bytes + !!size, size - !!size);
    char output[512], again[512];
    mglu_status status;

    snprintf(output, sizeof output, "%s/output", fuzz_folder());
    snprintf(again, sizeof again, "%s/%s", fuzz_folder(), choice & 0x80 ? "output" : "again");
    status = mglu_file_pack(input, output, &options);
    fuzz_check_status(status, "mglu_file_pack");
    fuzz_require(is_documented(status), "packing has a wrong status");
    fuzz_require((access(output, F_OK) == 0) == (status == MGLU_OK), "a status and its output contradict each other");
    if (status != MGLU_OK)
        return 0;
    check_packed(output, again);
    unlink(output);
    unlink(again);
    return 0;
}
