/* SPDX-License-Identifier: MIT */
#include <mglu/io.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * libFuzzer's entry: the input is a file that is opened, read to its last byte, and packed. For any content, the
 * calls must return a status and a text, and access nothing outside of it.
 *
 *   clang -fsanitize=fuzzer,address,undefined ... and without MGLU_FUZZ_REPLAY: a fuzzer
 *   -DMGLU_FUZZ_REPLAY: a program that runs the files named on its command line once
 */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A check has failed: abort, so that a fuzzer or a test detects it. */
static void require(int is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "%s: %s\n", what, mglu_last_error());
    abort();
}

static void read_tensors(const mglu_file *file)
{
    volatile unsigned sum = 0;

    for (size_t i = 0; i < mglu_file_tensor_count(file); i++) {
        const mglu_file_tensor *tensor = mglu_file_tensor_at(file, i);
        const unsigned char *data = tensor->data;

        for (size_t k = 0; k < tensor->bytes; k++)
            sum = sum + data[k];
        require(mglu_file_find(file, tensor->name) == tensor, "a tensor is not found by its name");
    }
    for (size_t i = 0; mglu_file_metadata_key(file, i); i++)
        require(mglu_file_metadata(file, mglu_file_metadata_key(file, i)) != NULL, "metadata without a value");
}

static void read_layers(const mglu_file *file)
{
    mglu_weights_desc weights;
    mglu_layer_desc layer;

    for (size_t i = 0; mglu_file_layer_at(file, i); i++) {
        mglu_status status = mglu_file_layer(file, mglu_file_layer_at(file, i), &weights, &layer, NULL);

        require(status == MGLU_OK || status == MGLU_ERROR_CORRUPT_FILE || status == MGLU_ERROR_VERSION_MISMATCH ||
                    status == MGLU_ERROR_NONFINITE,
                "a listed layer has a wrong status");
        if (status == MGLU_OK)
            require(weights.weight.data != NULL, "a layer without weights");
    }
}

/* Packs, and packs the result again, which must succeed. */
static void pack(const char *path, mglu_dtype dtype)
{
    const mglu_file_pack_options options = {.struct_size = sizeof options, .convert = 1, .dtype = dtype};
    const char *folder = getenv("TMPDIR");
    char packed[512];

    snprintf(packed, sizeof packed, "%s/mglu-fuzz-%ld", folder ? folder : "/tmp", (long)getpid());
    if (mglu_file_pack(path, packed, &options) != MGLU_OK)
        return;
    require(mglu_file_pack(packed, packed, NULL) == MGLU_OK, "a packed file cannot be packed");
    remove(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char path[64];
    mglu_file *file;
    int memory = memfd_create("fuzz", 0);

    if (memory < 0 || write(memory, bytes, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    for (uint32_t flags = 0; flags <= MGLU_FILE_MMAP; flags += MGLU_FILE_MMAP) {
        mglu_status status = mglu_file_open(path, flags, &file);

        /* unsupported: a GGUF file of another kind */
        require(status == MGLU_OK || status == MGLU_ERROR_CORRUPT_FILE || status == MGLU_ERROR_UNSUPPORTED,
                "opening has a wrong status");
        if (status != MGLU_OK)
            continue;
        read_tensors(file);
        read_layers(file);
        mglu_file_close(&file);
        for (mglu_dtype dtype = MGLU_DTYPE_F16; flags == 0 && dtype < MGLU_DTYPE_COUNT; dtype++)
            pack(path, dtype);
    }
    close(memory);
    return 0;
}

#ifdef MGLU_FUZZ_REPLAY
int main(int count, char **paths)
{
    static unsigned char bytes[1 << 20];

    for (int i = 1; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");

        if (!file) {
            fprintf(stderr, "%s: cannot be read\n", paths[i]);
            return 1;
        }
        LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof bytes, file));
        fclose(file);
    }
    printf("%d inputs\n", count - 1);
    return count > 1 ? 0 : 1;
}
#endif
