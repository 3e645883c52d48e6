/* SPDX-License-Identifier: MIT */
#include <mglu/types.h>

#include "common/core/names.h"

/* The one table of dtypes. A quantised dtype has no size of a single element. */
static const char *const dtype_names[MGLU_DTYPE_COUNT] = {
    [MGLU_DTYPE_F32] = "f32",   [MGLU_DTYPE_F16] = "f16",   [MGLU_DTYPE_BF16] = "bf16",
    [MGLU_DTYPE_Q8_0] = "q8_0", [MGLU_DTYPE_Q4_0] = "q4_0",
};

static const size_t dtype_sizes[MGLU_DTYPE_COUNT] = {
    [MGLU_DTYPE_F32] = 4,
    [MGLU_DTYPE_F16] = 2,
    [MGLU_DTYPE_BF16] = 2,
};

static const char *const activation_names[MGLU_ACTIVATION_COUNT] = {
    [MGLU_ACTIVATION_SILU] = "silu", [MGLU_ACTIVATION_GELU_ERF] = "gelu_erf", [MGLU_ACTIVATION_GELU_TANH] = "gelu_tanh",
    [MGLU_ACTIVATION_RELU] = "relu", [MGLU_ACTIVATION_SIGMOID] = "sigmoid",   [MGLU_ACTIVATION_IDENTITY] = "identity",
};

const char *mglu_dtype_name(mglu_dtype dtype)
{
    return (size_t)dtype < MGLU_DTYPE_COUNT ? dtype_names[dtype] : NULL;
}

size_t mglu_dtype_size(mglu_dtype dtype)
{
    return (size_t)dtype < MGLU_DTYPE_COUNT ? dtype_sizes[dtype] : 0;
}

int mglu_dtype_is_quantised(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_Q8_0 || dtype == MGLU_DTYPE_Q4_0;
}

const char *mglu_activation_name(mglu_activation activation)
{
    return (size_t)activation < MGLU_ACTIVATION_COUNT ? activation_names[activation] : NULL;
}

static mglu_status find_name(const char *what, const char *const *names, size_t count, const char *name, int *index)
{
    char known[256];

    if (!name || !index)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: no name given", what);
    *index = mglu_name_index(names, count, name);
    if (*index >= 0)
        return MGLU_OK;
    mglu_name_list(names, count, known, sizeof known);
    return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "unknown %s '%s'; known: %s", what, name, known);
}

mglu_status mglu_dtype_from_name(const char *name, mglu_dtype *dtype)
{
    int index = -1;
    mglu_status status = find_name("dtype", dtype_names, MGLU_DTYPE_COUNT, dtype ? name : NULL, &index);

    if (status == MGLU_OK)
        *dtype = (mglu_dtype)index;
    return status;
}

mglu_status mglu_activation_from_name(const char *name, mglu_activation *activation)
{
    int index = -1;
    mglu_status status =
        find_name("activation", activation_names, MGLU_ACTIVATION_COUNT, activation ? name : NULL, &index);

    if (status == MGLU_OK)
        *activation = (mglu_activation)index;
    return status;
}
