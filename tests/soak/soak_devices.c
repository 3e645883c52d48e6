/* SPDX-License-Identifier: MIT */
#include "soak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require_same(const struct soak *soak, size_t device, const char *what, size_t number, const void *first,
                         const void *result, size_t size)
{
    const struct soak_device *known = &soak->devices[device];

    if (memcmp(first, result, size) == 0)
        return;
    fprintf(stderr, "round %llu: %s %s: %s %zu has other bits than in the first round\n",
            (unsigned long long)soak->round, known->backend, known->max_isa, what, number);
    require(!"the same bits");
}

static void *copy_of(const void *result, size_t size)
{
    void *copy = malloc(size);

    require(copy != NULL);
    return memcpy(copy, result, size);
}

void soak_compare(struct soak *soak, size_t device, size_t specimen, const float *y)
{
    float **first = &soak->devices[device].want[specimen];
    const size_t size = soak->specimens[specimen].y_size;

    if (*first)
        require_same(soak, device, "specimen", specimen, *first, y, size);
    else
        *first = copy_of(y, size);
}

static void compare_training(struct soak *soak, size_t device, size_t number, const struct training_result *result)
{
    struct training_result **first = &soak->devices[device].trained[number];

    if (*first)
        require_same(soak, device, "training", number, *first, result, sizeof *result);
    else
        *first = copy_of(result, sizeof *result);
}

float *soak_output(const struct soak *soak)
{
    size_t size = 1;
    float *y;

    for (size_t i = 0; i < SPECIMENS; i++)
        size = size < soak->specimens[i].y_size ? soak->specimens[i].y_size : size;
    y = malloc(size);
    require(y != NULL);
    return y;
}

mglu_device *soak_open(const struct soak *soak, size_t device, mglu_context **context, const mglu_parallel *parallel)
{
    const struct soak_device *known = &soak->devices[device];

    return open_device(context, known->backend, known->has_cap ? known->max_isa : NULL, parallel);
}

/* In odd rounds the context is destroyed first, whose objects keep it. */
void soak_device(struct soak *soak, size_t device)
{
    const size_t turn = soak_turn(soak, device);
    const struct specimen *specimen = &soak->specimens[turn];
    mglu_context *context;
    mglu_device *handle = soak_open(soak, device, &context, NULL);
    struct user user = {0};
    float *y = soak_output(soak);

    user_open(&user, handle, specimen);
    if (soak->round % 2)
        mglu_context_destroy(&context);
    user_forward(&user, y);
    soak_compare(soak, device, turn, y);
    user_close(&user);
    mglu_context_destroy(&context);
    free(y);
}

/* In odd rounds the context is destroyed first, which the plan keeps. */
void soak_training(struct soak *soak, size_t device)
{
    const size_t turn = soak->round % TRAININGS;
    const struct training *training = &soak->trainings[turn];
    struct training_result *result = malloc(sizeof *result);
    mglu_context *context;
    mglu_device *handle = soak_open(soak, device, &context, NULL);
    mglu_train *plan;

    require(result != NULL);
    require_ok(mglu_train_create(handle, &training->desc, &plan));
    if (soak->round % 2)
        mglu_context_destroy(&context);
    training_step(training, handle, plan, result);
    compare_training(soak, device, turn, result);
    mglu_train_destroy(&plan);
    mglu_context_destroy(&context);
    free(result);
}
