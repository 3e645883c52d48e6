/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "tests/unit/io/gguf_bytes.h"

#include <stdio.h>

/* Runs the target gguf, without a fuzzing engine, on a file of its own, and on that file with each byte changed. */

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

/* The file itself, and the file with each byte of the header replaced. Returns how many. */
static size_t run_changes(void)
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

int main(void)
{
    printf("%zu inputs\n", run_changes());
    return 0;
}
