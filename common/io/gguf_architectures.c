/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_architectures.h"

#include <stddef.h>
#include <string.h>

/* Architectures whose layers are y = g(gate) * value and nothing more. What ggml calls GELU is the tanh form. */
static const struct mglu_io_architecture architectures[] = {
    {"baichuan", "silu", 0},      {"chatglm", "silu", 1},
    {"cohere2", "silu", 0},       {"command-r", "silu", 0},
    {"dbrx", "silu", 0},          {"deepseek", "silu", 0},
    {"deepseek2", "silu", 0},     {"dots1", "silu", 0},
    {"ernie4_5", "silu", 0},      {"ernie4_5-moe", "silu", 0},
    {"exaone", "silu", 0},        {"exaone4", "silu", 0},
    {"gemma", "gelu_tanh", 0},    {"gemma-embedding", "gelu_tanh", 0},
    {"gemma2", "gelu_tanh", 0},   {"gemma3", "gelu_tanh", 0},
    {"glm4", "silu", 1},          {"glm4moe", "silu", 0},
    {"granite", "silu", 0},       {"granitemoe", "silu", 0},
    {"hunyuan-dense", "silu", 0}, {"hunyuan-moe", "silu", 0},
    {"internlm2", "silu", 0},     {"llama", "silu", 0},
    {"minicpm", "silu", 0},       {"minicpm3", "silu", 0},
    {"mistral", "silu", 0},       {"mistral3", "silu", 0},
    {"olmo", "silu", 0},          {"olmo2", "silu", 0},
    {"olmoe", "silu", 0},         {"orion", "silu", 0},
    {"phi3", "silu", 1},          {"phimoe", "silu", 0},
    {"qwen2", "silu", 0},         {"qwen2moe", "silu", 0},
    {"qwen2vl", "silu", 0},       {"qwen3", "silu", 0},
    {"qwen3moe", "silu", 0},      {"qwen3vl", "silu", 0},
    {"qwen3vlmoe", "silu", 0},    {"seed_oss", "silu", 0},
    {"smollm3", "silu", 0},       {"stablelm", "silu", 0},
    {"xverse", "silu", 0},
};

const struct mglu_io_architecture *mglu_io_architecture(const char *name)
{
    for (size_t i = 0; name && i < sizeof architectures / sizeof architectures[0]; i++)
        if (strcmp(architectures[i].name, name) == 0)
            return &architectures[i];
    return NULL;
}
