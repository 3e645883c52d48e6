/* SPDX-License-Identifier: MIT */
#include "training.h"

#include "require.h"
#include "specimen.h"

#include <stdlib.h>
#include <string.h>

/* Keeps an array until training_free(). */
static void *keep(struct training *training, void *array)
{
    size_t i = 0;

    while (training->memory[i])
        i++;
    return training->memory[i] = array;
}

/* Numbers in the dtype of x. */
static void *make_rows(struct training *training, int64_t columns, uint32_t *seed)
{
    const size_t count = TRAINING_BATCH * (size_t)columns;
    float *values = specimen_numbers(count, seed);
    void *rows = malloc(count * sizeof *values);

    require(rows != NULL);
    require_ok(mglu_convert(values, MGLU_DTYPE_F32, rows, training->desc.dtype, count));
    free(values);
    return keep(training, rows);
}

static float *make_floats(struct training *training, size_t count, uint32_t *seed)
{
    return keep(training, specimen_numbers(count, seed));
}

void training_make(struct training *training, size_t number)
{
    const size_t biases = TRAINING_MASKS * TRAINING_D, elements = TRAINING_D * TRAINING_H;
    mglu_train_inputs *inputs = &training->inputs;
    uint32_t seed = (uint32_t)number + 100;

    *training = (struct training){.desc = {.struct_size = sizeof training->desc,
                                           .flags = MGLU_TRAIN_GATE_BIAS | MGLU_TRAIN_VALUE_BIAS,
                                           .hidden_size = TRAINING_H,
                                           .intermediate_size = TRAINING_D,
                                           .n_masks = TRAINING_MASKS,
                                           .top_k = TRAINING_TOP_K,
                                           .dtype = number % TRAININGS ? MGLU_DTYPE_BF16 : MGLU_DTYPE_F32,
                                           .max_batch = TRAINING_BATCH}};
    inputs->x.data = make_rows(training, TRAINING_H, &seed);
    training->dy.data = make_rows(training, TRAINING_D, &seed);
    inputs->weight = (mglu_array){.data = make_floats(training, elements, &seed), .dtype = MGLU_DTYPE_F32};
    inputs->masks = (mglu_mask_array){.data = make_floats(training, TRAINING_MASKS * elements, &seed),
                                      .form = MGLU_MASK_LOGITS_F32};
    inputs->gate_bias = make_floats(training, biases, &seed);
    inputs->value_bias = make_floats(training, biases, &seed);
    inputs->router_logits.data = make_floats(training, TRAINING_BATCH * TRAINING_MASKS, &seed);
}

void training_free(struct training *training)
{
    for (size_t i = 0; i < sizeof training->memory / sizeof training->memory[0]; i++)
        free(training->memory[i]);
}

static void forward(const struct training *training, mglu_train *plan, mglu_memory *workspace, mglu_memory *saved,
                    struct training_result *result)
{
    const mglu_train_forward_args args = {.struct_size = sizeof args,
                                          .batch = TRAINING_BATCH,
                                          .inputs = training->inputs,
                                          .y.data = result->y,
                                          .saved = mglu_memory_data(saved),
                                          .saved_size = mglu_memory_size(saved),
                                          .workspace = mglu_memory_data(workspace),
                                          .workspace_size = mglu_memory_size(workspace)};

    require_ok(mglu_train_forward(plan, NULL, &args));
}

static void backward(const struct training *training, mglu_train *plan, mglu_memory *workspace, mglu_memory *saved,
                     struct training_result *result)
{
    const mglu_train_backward_args args = {.struct_size = sizeof args,
                                           .batch = TRAINING_BATCH,
                                           .inputs = training->inputs,
                                           .dy = training->dy,
                                           .saved = mglu_memory_data(saved),
                                           .saved_size = mglu_memory_size(saved),
                                           .dx.data = result->dx,
                                           .dweight = result->dweight,
                                           .dlogits = result->dlogits,
                                           .dgate_bias = result->dgate_bias,
                                           .dvalue_bias = result->dvalue_bias,
                                           .drouter_logits.data = result->drouter_logits,
                                           .workspace = mglu_memory_data(workspace),
                                           .workspace_size = mglu_memory_size(workspace)};

    require_ok(mglu_train_backward(plan, NULL, &args));
}

void training_step(const struct training *training, mglu_device *device, mglu_train *plan,
                   struct training_result *result)
{
    mglu_memory *workspace, *saved;

    memset(result, 0, sizeof *result);
    require_ok(mglu_memory_create(device, mglu_train_workspace_size(plan, TRAINING_BATCH), &workspace));
    require_ok(mglu_memory_create(device, mglu_train_saved_size(plan, TRAINING_BATCH), &saved));
    forward(training, plan, workspace, saved, result);
    backward(training, plan, workspace, saved, result);
    mglu_memory_destroy(&saved);
    mglu_memory_destroy(&workspace);
}

void training_compute(const struct training *training, mglu_device *device, struct training_result *result)
{
    mglu_train *plan;

    require_ok(mglu_train_create(device, &training->desc, &plan));
    training_step(training, device, plan, result);
    mglu_train_destroy(&plan);
}
