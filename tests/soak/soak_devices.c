/* SPDX-License-Identifier: MIT */
#include "soak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void soak_compare(struct soak *soak, size_t device, size_t specimen, const float *y)
{
    struct soak_device *known = &soak->devices[device];
    const size_t size = soak->specimens[specimen].y_size;

    if (known->want[specimen] && memcmp(known->want[specimen], y, size) == 0)
        return;
    if (known->want[specimen]) {
        fprintf(stderr, "round %llu: %s %s: specimen %zu has other bits than in the first round\n",
                (unsigned long long)soak->round, known->backend, known->max_isa, specimen);
        require(!"the same bits");
    }
    known->want[specimen] = malloc(size);
    require(known->want[specimen] != NULL);
    memcpy(known->want[specimen], y, size);
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
