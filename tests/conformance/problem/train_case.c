/* SPDX-License-Identifier: MIT */
#include "problem/train_case.h"

#include <string.h>

static const char *const result_names[TRAIN_RESULTS] = {"y",          "dx",          "dweight",       "dlogits",
                                                        "dgate_bias", "dvalue_bias", "drouter_logits"};
static const char *const form_names[] = {"words", "bytes", "f32", "f16", "bf16", "bits"};
static const char *const bias_names[] = {"none", "gate", "value", "both"};
static const char *const placement_names[] = {"tight",         "padded",        "offset",
                                              "offset-padded", "ends-at-guard", "starts-at-guard"};

const char *train_result_name(enum train_result result)
{
    return result_names[result];
}

bool train_has(const struct train_case *test, enum train_result result)
{
    switch (result) {
    case TRAIN_DGATE_BIAS:
        return test->bias == BIAS_GATE || test->bias == BIAS_BOTH;
    case TRAIN_DVALUE_BIAS:
        return test->bias == BIAS_VALUE || test->bias == BIAS_BOTH;
    case TRAIN_DROUTER_LOGITS:
        return test->top_k > 0;
    default:
        return true;
    }
}

bool train_wants(const struct train_case *test, enum train_result result)
{
    return result == TRAIN_Y || (train_has(test, result) && test->wanted >> result & 1);
}

int64_t train_rows(const struct train_case *test, enum train_result result)
{
    switch (result) {
    case TRAIN_DWEIGHT:
        return test->d;
    case TRAIN_DLOGITS:
        return test->n_masks * test->d;
    case TRAIN_DGATE_BIAS:
    case TRAIN_DVALUE_BIAS:
        return test->n_masks;
    default:
        return test->batch;
    }
}

int64_t train_columns(const struct train_case *test, enum train_result result)
{
    switch (result) {
    case TRAIN_DX:
    case TRAIN_DWEIGHT:
    case TRAIN_DLOGITS:
        return test->h;
    case TRAIN_DROUTER_LOGITS:
        return test->n_masks;
    default:
        return test->d;
    }
}

mglu_dtype train_dtype(const struct train_case *test, enum train_result result)
{
    return result == TRAIN_Y || result == TRAIN_DX ? test->dtype : MGLU_DTYPE_F32;
}

bool train_accumulates(enum train_result result)
{
    return result >= TRAIN_DWEIGHT && result <= TRAIN_DVALUE_BIAS;
}

bool train_is_exact(const struct train_case *test)
{
    const bool rational = test->activation == MGLU_ACTIVATION_IDENTITY || test->activation == MGLU_ACTIVATION_RELU;

    return test->integers && rational && test->top_k <= 1;
}

mglu_train_desc train_desc(const struct train_case *test)
{
    const uint32_t gate = train_has(test, TRAIN_DGATE_BIAS) ? MGLU_TRAIN_GATE_BIAS : 0;
    const uint32_t value = train_has(test, TRAIN_DVALUE_BIAS) ? MGLU_TRAIN_VALUE_BIAS : 0;

    return (mglu_train_desc){.struct_size = sizeof(mglu_train_desc),
                             .flags = gate | value,
                             .hidden_size = test->h,
                             .intermediate_size = test->d,
                             .n_masks = test->n_masks,
                             .top_k = test->top_k,
                             .activation = test->activation,
                             .silu_beta = test->silu_beta,
                             .dtype = test->dtype,
                             .max_batch = test->batch ? test->batch : 1};
}

static void name_wanted(const struct train_case *test, char *text)
{
    static const char letters[TRAIN_RESULTS + 1] = "yxwmgvr";

    for (int i = TRAIN_DX; i < TRAIN_RESULTS; i++)
        if (train_wants(test, (enum train_result)i))
            *text++ = letters[i];
    *text = '\0';
}

void train_name(const struct train_case *test, char *name, size_t size)
{
    char activation[24], wanted[TRAIN_RESULTS + 1];

    snprintf(activation, sizeof activation, "%s%.4g", mglu_activation_name(test->activation), (double)test->silu_beta);
    if (test->silu_beta == 0)
        activation[strlen(activation) - 1] = '\0';
    name_wanted(test, wanted);
    snprintf(
        name, size, "train/%s/w=%s_nm=%d_k=%d_act=%s_h=%lld_d=%lld_b=%lld_bias=%s_masks=%s_layout=%s_grad=%s%s_fill=%s",
        mglu_dtype_name(test->dtype), mglu_dtype_name(test->weight), test->n_masks, test->top_k, activation,
        (long long)test->h, (long long)test->d, (long long)test->batch, bias_names[test->bias], form_names[test->form],
        placement_names[test->placement], wanted, test->accumulate ? "+" : "", test->integers ? "integers" : "real");
}
