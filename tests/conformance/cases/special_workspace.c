/* SPDX-License-Identifier: MIT */
#include "cases/special.h"

#include <stdlib.h>

/* The workspace of each batch: no larger than mglu_layer_workspace_size_for() says, and of any such size the same bits.
 */

enum { MAX_BATCH = 129 };

static const int64_t batches[] = {1, 2, 3, 7, 8, 9, 31, 33, 128, MAX_BATCH};

static struct problem problem_of(const struct trial *trial, int64_t out, int32_t top_k)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = 35,
                                .d = 17,
                                .out = out,
                                .n_masks = 3,
                                .top_k = top_k,
                                .batch = MAX_BATCH,
                                .parts = PART_BIASES | (top_k ? PART_ROUTER : 0)};

    return problem_make(&shape, trial->random);
}

/* The size without weights is that with them, and does not fall from one batch to the next. */
static bool check_size(const struct trial *trial, const struct rig *rig, const struct problem *problem, size_t i)
{
    const size_t size = mglu_layer_workspace_size_for(rig->layer, batches[i]);
    const size_t before = i ? mglu_layer_workspace_size_for(rig->layer, batches[i - 1]) : 0;
    size_t planned = 0;

    if (!outcome_expect(trial->outcome, "mglu_workspace_size",
                        mglu_workspace_size(rig->device, &problem->weights, &problem->layer, batches[i], &planned),
                        MGLU_OK))
        return false;
    if (planned != size || size < before)
        outcome_set(
            trial->outcome, VERDICT_FAIL,
            "the workspace of %lld tokens has %zu bytes, before there are weights %zu, and of a smaller batch %zu",
            (long long)batches[i], size, planned, before);
    return planned == size && size >= before;
}

/* With memory of exactly the size of the batch; in less the call is refused. */
static void check_batch(const struct trial *trial, const struct rig *rig, const struct problem *problem, size_t i)
{
    const struct layout layout = {.fill = 0xff, .tokens = batches[i]};
    const size_t size = mglu_layer_workspace_size_for(rig->layer, batches[i]);
    struct rig exact = *rig;
    struct problem part = *problem;
    unsigned char *want, *got = NULL;

    exact.workspace = NULL;
    part.batch = batches[i];
    want = run_on(rig, problem, &layout, trial->outcome);
    if (want && outcome_expect(trial->outcome, "mglu_memory_create",
                               mglu_memory_create(rig->device, size, &exact.workspace), MGLU_OK))
        got = run_on(&exact, problem, &layout, trial->outcome);
    if (got)
        expect_same(trial->outcome, &part, got, want, NONE, NONE, "in the workspace of the largest batch");
    mglu_memory_destroy(&exact.workspace);
    free(want);
    free(got);
}

static void refuse_less(const struct trial *trial, const struct rig *rig, const struct problem *problem, int64_t batch)
{
    const size_t size = mglu_layer_workspace_size_for(rig->layer, batch);
    void *data = mglu_memory_data(rig->workspace);
    const mglu_forward_args args = {.struct_size = sizeof args,
                                    .batch = batch,
                                    .x = {.data = data},
                                    .y = {.data = data},
                                    .workspace = data,
                                    .workspace_size = size - 1};

    if (size > 0)
        outcome_expect(trial->outcome, "mglu_forward with too small a workspace",
                       mglu_forward(rig->layer, rig->queue, &args), MGLU_ERROR_INVALID_ARGUMENT);
}

static void every_batch(const struct trial *trial)
{
    for (int64_t out = 0; out <= 7; out += 7)
        for (int32_t top_k = 0; top_k <= 2; top_k += 2) {
            struct problem problem = problem_of(trial, out, top_k);
            struct rig rig;

            if (open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
                for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
                    if (check_size(trial, &rig, &problem, i))
                        check_batch(trial, &rig, &problem, i);
                    refuse_less(trial, &rig, &problem, batches[i]);
                }
                rig_close(&rig);
            }
            problem_free(&problem);
        }
}

const struct special_check workspace_checks[] = {
    {"00-workspace-of-a-batch", PER_DTYPE | QUANTISED, every_batch},
    {NULL, 0, NULL},
};
