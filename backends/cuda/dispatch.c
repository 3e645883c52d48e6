/* SPDX-License-Identifier: MIT */
#include "backends/cuda/dispatch.h"
#include "backends/cuda/dispatch_table.h"

#include <stdlib.h>
#include <string.h>

static int is_allowed(const struct mglu_cuda_question *question, enum mglu_cuda_engine engine)
{
    const struct mglu_cuda_variant variant = {engine, question->weights, question->x == question->weights,
                                              question->form};

    if (engine == MGLU_CUDA_SIMT)
        return 1;
    /* Turning the sign of an infinite weight is no selection; docs/semantics.md, row 4. */
    return mglu_cuda_variant_exists(variant) && !question->has_routing &&
           (!question->has_infinite || question->form == MGLU_CUDA_GLU);
}

static const struct mglu_cuda_dispatch_row *find_row(const struct mglu_cuda_question *question)
{
    const struct mglu_cuda_dispatch_row *found = NULL;

    for (size_t i = 0; i < sizeof mglu_cuda_dispatch_rows / sizeof mglu_cuda_dispatch_rows[0]; i++) {
        const struct mglu_cuda_dispatch_row *row = &mglu_cuda_dispatch_rows[i];

        if (row->form == question->form && (!found || row->architecture <= question->architecture))
            found = row;
    }
    return found;
}

/* One engine for every batch. */
static struct mglu_cuda_choice only(enum mglu_cuda_engine engine, uint32_t simt_warps)
{
    struct mglu_cuda_choice choice = {.simt_warps = simt_warps};

    for (int i = 0; i < MGLU_CUDA_ENGINES; i++)
        choice.from_batch[i] = INT64_MAX;
    choice.from_batch[engine] = 1;
    return choice;
}

struct mglu_cuda_choice mglu_cuda_choose(const struct mglu_cuda_question *question,
                                         const struct mglu_cuda_forced *forced)
{
    const struct mglu_cuda_dispatch_row *row = find_row(question);
    struct mglu_cuda_choice choice;

    if (forced->is_forced && is_allowed(question, forced->engine))
        return only(forced->engine, forced->warps);
    if (question->is_reproducible && is_allowed(question, MGLU_CUDA_MMA8))
        return only(MGLU_CUDA_MMA8, row->simt_warps);
    choice = only(MGLU_CUDA_SIMT, row->simt_warps);
    if (question->is_reproducible || forced->is_forced)
        return choice;
    if (row->mma8_from && is_allowed(question, MGLU_CUDA_MMA8))
        choice.from_batch[MGLU_CUDA_MMA8] = row->mma8_from;
    if (row->mma16_from && is_allowed(question, MGLU_CUDA_MMA16))
        choice.from_batch[MGLU_CUDA_MMA16] = row->mma16_from;
    return choice;
}

enum mglu_cuda_engine mglu_cuda_engine_for(const struct mglu_cuda_choice *choice, int64_t batch)
{
    enum mglu_cuda_engine engine = MGLU_CUDA_ENGINES;

    while (engine > 0 && choice->from_batch[engine - 1] > batch)
        engine--;
    return engine > 0 ? engine - 1 : MGLU_CUDA_SIMT;
}

int mglu_cuda_read_forced(const char *text, struct mglu_cuda_forced *forced)
{
    *forced = (struct mglu_cuda_forced){0};
    if (!text || !text[0])
        return 1;
    for (int engine = 0; engine < MGLU_CUDA_ENGINES; engine++) {
        const char *name = mglu_cuda_engine_name((enum mglu_cuda_engine)engine);
        size_t length = strlen(name);
        const char *rest = text + length;

        if (strncmp(text, name, length) != 0)
            continue;
        *forced = (struct mglu_cuda_forced){.is_forced = 1, .engine = (enum mglu_cuda_engine)engine};
        if (!rest[0])
            return 1;
        forced->warps = (uint32_t)strtoul(rest + (rest[0] == ':'), NULL, 10);
        if (!strcmp(rest, ":4") || !strcmp(rest, ":8") || !strcmp(rest, ":16"))
            return 1;
    }
    return 0;
}
