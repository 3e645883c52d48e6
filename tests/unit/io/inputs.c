/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/inputs.h"

#include "tests/unit/io/gguf_bytes.h"
#include "tests/unit/io/support.h"

const char input_note[] = "\xc3\xa4 text with \"escapes\" that needs a buffer of its own while it is decoded";

void write_masked_input(void)
{
    static const struct part parts[] = {
        {"m.up_proj.weight", "F32", "2, 3", NULL, 24},
        {"m.up_proj.mask", "F32", "2, 2, 3", NULL, 48},
        {"m.down_proj.weight", "F32", "3, 2", NULL, 24},
        {"norm", "F32", "3", NULL, 12},
    };

    write_parts(scratch("in"),
                "{\"format\":\"pt\",\"note\":\"\\u00e4 text with \\\"escapes\\\" that needs a buffer of its own while "
                "it is decoded\"}",
                parts, COUNT(parts));
}

void write_gguf_input(const char *name)
{
    static const struct gguf_tensor tensors[] = {
        {"blk.0.ffn_gate.weight", GGML_Q8_0, 2, {32, 32}},
        {"blk.0.ffn_up.weight", GGML_Q8_0, 2, {32, 32}},
        {"blk.0.ffn_down.weight", GGML_Q8_0, 2, {32, 32}},
    };
    static struct gguf_bytes built;

    gguf_begin(&built, COUNT(tensors), 2);
    gguf_entry(&built, "general.architecture", "llama");
    gguf_entry(&built, "llama.license", "none");
    gguf_tensors(&built, tensors, COUNT(tensors));
    write_bytes(scratch(name), built.bytes, built.size);
}
