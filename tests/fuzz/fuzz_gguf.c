/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/gguf_bytes.h"

#include <mglu/io.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * libFuzzer's entry: the input is a GGUF file that is opened, read to its last byte, and packed into both formats. For
 * any content, the calls must return a status and a text, and access nothing outside of it.
 *
 *   clang -fsanitize=fuzzer,address,undefined ... and without MGLU_FUZZ_REPLAY: a fuzzer
 *   -DMGLU_FUZZ_REPLAY: a program that runs the files named on its command line once; without any, a file of its own
 *   with every byte changed
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

        for (size_t k = 0; k < tensor->bytes; k++)
            sum = sum + ((const unsigned char *)tensor->data)[k];
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
    }
}

/* What was written can be read, and written again. */
static void pack(const char *path, mglu_file_format format, int convert, mglu_dtype dtype)
{
    const mglu_file_pack_options options = {
        .struct_size = sizeof options, .convert = convert, .dtype = dtype, .format = format};
    const mglu_file_pack_options again = {.struct_size = sizeof again, .format = MGLU_FILE_FORMAT_GGUF};
    const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; /* where syncing takes no time */
    char packed[64];

    snprintf(packed, sizeof packed, "%s/mglu-fuzz-gguf-%ld", folder, (long)getpid());
    if (mglu_file_pack(path, packed, &options) != MGLU_OK)
        return;
    require(mglu_file_pack(packed, packed, &again) == MGLU_OK, "a written file cannot be written again");
    remove(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char path[64];
    int memory = memfd_create("fuzz", 0);

    if (memory < 0 || write(memory, bytes, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    for (uint32_t flags = 0; flags <= MGLU_FILE_MMAP; flags += MGLU_FILE_MMAP) {
        mglu_file *file;
        mglu_status status = mglu_file_open(path, flags, &file);

        require(status == MGLU_OK || status == MGLU_ERROR_CORRUPT_FILE || status == MGLU_ERROR_UNSUPPORTED,
                "opening has a wrong status");
        if (status != MGLU_OK)
            continue;
        read_tensors(file);
        read_layers(file);
        mglu_file_close(&file);
        pack(path, MGLU_FILE_FORMAT_SAFETENSORS, 0, MGLU_DTYPE_F32);
        pack(path, MGLU_FILE_FORMAT_GGUF, flags != 0, MGLU_DTYPE_Q8_0);
    }
    close(memory);
    return 0;
}

#ifdef MGLU_FUZZ_REPLAY
static void replay_file(const char *path)
{
    static unsigned char bytes[1 << 20];
    FILE *file = fopen(path, "rb");

    require(file != NULL, path);
    LLVMFuzzerTestOneInput(bytes, fread(bytes, 1, sizeof bytes, file));
    fclose(file);
}

/* One layer of each kind. Returns the size of the header. */
static size_t build(struct gguf_bytes *file)
{
    static const struct gguf_tensor tensors[] = {
        {"blk.0.ffn_gate.weight", GGML_Q8_0, 2, {32, 32}},    {"blk.0.ffn_up.weight", GGML_Q8_0, 2, {32, 32}},
        {"blk.0.ffn_down.weight", GGML_Q8_0, 2, {32, 32}},    {"blk.1.ffn_gate_exps.weight", GGML_F16, 3, {3, 2, 2}},
        {"blk.1.ffn_up_exps.weight", GGML_F16, 3, {3, 2, 2}}, {"blk.1.ffn_down_exps.weight", GGML_F16, 3, {2, 3, 2}},
        {"blk.2.ffn_mglu.weight", GGML_Q4_0, 2, {32, 2}},     {"blk.2.ffn_mglu.mask", GGML_I8, 4, {4, 1, 1, 2}},
        {"blk.2.ffn_mglu.gate_bias", GGML_F32, 2, {2, 1}},    {"blk.2.ffn_down.weight", GGML_BF16, 2, {2, 3}},
    };
    size_t header;

    gguf_begin(file, sizeof tensors / sizeof tensors[0], 4);
    gguf_entry(file, "general.architecture", "llama");
    gguf_entry(file, "mglu.layer.2", "a.up_proj");
    gguf_key(file, "general.alignment", GGUF_U32);
    gguf_put(file, 32, 4);
    gguf_key(file, "nested", GGUF_ARRAY);
    gguf_put(file, GGUF_ARRAY, 4);
    gguf_put(file, 1, 8);
    gguf_put(file, GGUF_STRING, 4);
    gguf_put(file, 1, 8);
    gguf_text(file, "a");
    header = file->size;
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        header += 8 + strlen(tensors[i].name) + 4 + 8 * tensors[i].rank + 12;
    gguf_tensors(file, tensors, sizeof tensors / sizeof tensors[0]);
    return header;
}

/* The file itself, and the file with each byte of the header replaced. */
static size_t replay_changes(void)
{
    static const unsigned char values[] = {0x00, 0x01, 0x08, 0x20, 0x7f, 0x80, 0xff};
    static struct gguf_bytes file;
    size_t header = build(&file), count = 1;

    LLVMFuzzerTestOneInput(file.bytes, file.size);
    for (size_t i = 0; i < header; i++)
        for (size_t k = 0; k < sizeof values; k++, count++) {
            unsigned char kept = file.bytes[i];

            file.bytes[i] = values[k];
            LLVMFuzzerTestOneInput(file.bytes, file.size);
            file.bytes[i] = kept;
        }
    return count;
}

int main(int count, char **paths)
{
    size_t inputs = (size_t)count - 1;

    for (int i = 1; i < count; i++)
        replay_file(paths[i]);
    if (count == 1)
        inputs = replay_changes();
    printf("%zu inputs\n", inputs);
    return 0;
}
#endif
