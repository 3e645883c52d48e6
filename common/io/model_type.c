/* SPDX-License-Identifier: MIT */
#include <mglu/io.h>

#include <string.h>

/* Models of transformers, by model_type in config.json, whose files have gate and value in one matrix. */
static const struct {
    const char *name;
    uint32_t flags;
    const char *refused; /* why its layers aren't those of a GLU */
} models[] = {
    {"deepseek_v2", MGLU_FILE_FUSED_HALVES, NULL},
    {"deepseek_v3", MGLU_FILE_FUSED_HALVES, NULL},
    {"dinov2", MGLU_FILE_FUSED_HALVES, NULL},
    {"dinov2_with_registers", MGLU_FILE_FUSED_HALVES, NULL},
    {"glm", MGLU_FILE_FUSED_HALVES, NULL},
    {"glm4", MGLU_FILE_FUSED_HALVES, NULL},
    {"gpt_oss", 0, "its experts clamp gate and value, and add 1 to the value"},
    {"granitemoe", MGLU_FILE_FUSED_HALVES, NULL},
    {"granitemoehybrid", MGLU_FILE_FUSED_HALVES, NULL},
    {"granitemoeshared", MGLU_FILE_FUSED_HALVES, NULL},
    {"jetmoe", MGLU_FILE_FUSED_HALVES, NULL},
    {"llama4", MGLU_FILE_FUSED_HALVES, NULL},
    {"llama4_text", MGLU_FILE_FUSED_HALVES, NULL},
    {"mixtral", MGLU_FILE_FUSED_HALVES, NULL},
    {"olmoe", MGLU_FILE_FUSED_HALVES, NULL},
    {"phi3", MGLU_FILE_FUSED_HALVES, NULL},
    {"phi3small", 0, "its layers clamp gate and value, and add 1 to the value"},
    {"phi4_multimodal", MGLU_FILE_FUSED_HALVES, NULL},
    {"qwen2_moe", MGLU_FILE_FUSED_HALVES, NULL},
    {"qwen3_moe", MGLU_FILE_FUSED_HALVES, NULL},
    {"qwen3_vl_moe", MGLU_FILE_FUSED_HALVES, NULL},
    {"qwen3_vl_moe_text", MGLU_FILE_FUSED_HALVES, NULL},
};

mglu_status mglu_file_model_flags(const char *model_type, uint32_t *flags)
{
    if (!model_type || !flags)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_model_flags: model_type or flags is NULL");
    *flags = 0;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        if (strcmp(models[i].name, model_type) == 0) {
            if (models[i].refused)
                return mglu_fail(MGLU_ERROR_UNSUPPORTED, "model_type %s: %s", model_type, models[i].refused);
            *flags = models[i].flags;
        }
    return MGLU_OK;
}
