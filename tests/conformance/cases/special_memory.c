/* SPDX-License-Identifier: MIT */
#include "cases/special.h"

#include <stdlib.h>
#include <string.h>

/* Rows 15 and 16: the previous content of y, the memory around it, overlaps, and the padding of masks. */

static const unsigned char fills[] = {0x00, 0xff, 0x7f, 0x80, 0x3c};

/* run_on() itself checks the gaps. */
static void old_content(const struct trial *trial)
{
    static const struct layout roomy = {.offset = 3, .gap = 5, .fill = 0xff};

    for (int64_t out = 0; out <= 7; out += 7) {
        struct problem problem = special_problem(trial, out, PART_BIASES | PART_RESIDUAL);
        unsigned char *first = special_run(trial, &problem);
        for (size_t i = 0; first && i < sizeof fills; i++) {
            struct layout layout = i % 2 ? roomy : tight;
            layout.fill = fills[i];
            unsigned char *y = run_once(trial->target->device, &problem, &layout, trial->outcome);
            if (y)
                expect_same(trial->outcome, &problem, y, first, NONE, NONE, "over another old content of y");
            free(y);
        }
        free(first);
        problem_free(&problem);
    }
}

static void residual_is_y(const struct trial *trial)
{
    for (int64_t out = 0; out <= 7; out += 7)
        for (int64_t gap = 0; gap < 2; gap++) {
            struct problem problem = special_problem(trial, out, PART_RESIDUAL);
            struct layout layout = {.offset = gap, .gap = gap, .fill = 0xff};
            unsigned char *apart = run_once(trial->target->device, &problem, &layout, trial->outcome), *y = NULL;
            layout.residual_is_y = true;
            if (apart)
                y = run_once(trial->target->device, &problem, &layout, trial->outcome);
            if (y)
                expect_same(trial->outcome, &problem, y, apart, NONE, NONE, "with a residual of its own");
            free(apart);
            free(y);
            problem_free(&problem);
        }
}

/* In elements of one buffer: x [3][35], and where y or the residual begin in or near it. */
static const struct {
    int64_t y, y_stride, residual, residual_stride;
    mglu_status status;
} overlaps[] = {
    {0, 9, -1, 0, MGLU_ERROR_INVALID_ARGUMENT},
    {104, 9, -1, 0, MGLU_ERROR_INVALID_ARGUMENT},
    {105, 9, -1, 0, MGLU_OK},
    {200, 9, 208, 9, MGLU_ERROR_INVALID_ARGUMENT},
    {200, 9, 200, 10, MGLU_ERROR_INVALID_ARGUMENT},
    {200, 9, 226, 9, MGLU_ERROR_INVALID_ARGUMENT},
    {200, 9, 227, 9, MGLU_OK},
    {200, 9, 200, 9, MGLU_OK},
    {200, 20, 209, 20, MGLU_OK},
    {200, 20, 208, 20, MGLU_ERROR_INVALID_ARGUMENT},
};

/* An overlap can be detected only where y is a host pointer. A refused call writes nothing. */
static void overlap(const struct trial *trial)
{
    enum { ELEMENTS = 320 };
    size_t element = mglu_dtype_size(trial->dtypes->x);
    struct problem problem = special_problem(trial, 0, 0);
    unsigned char *memory = allocate(ELEMENTS * element), *before = allocate(ELEMENTS * element);
    struct rig rig;

    if (trial->target->info.host_memory && open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        for (size_t i = 0; i < sizeof overlaps / sizeof overlaps[0]; i++) {
            mglu_forward_args args = {.struct_size = sizeof args,
                                      .batch = 3,
                                      .x = {.data = memory},
                                      .y = {memory, (size_t)overlaps[i].y * element, overlaps[i].y_stride},
                                      .workspace = mglu_memory_data(rig.workspace),
                                      .workspace_size = mglu_memory_size(rig.workspace)};
            if (overlaps[i].residual >= 0)
                args.residual =
                    (mglu_input){memory, (size_t)overlaps[i].residual * element, overlaps[i].residual_stride};
            memcpy(before, memory, ELEMENTS * element);
            outcome_expect(trial->outcome, "mglu_forward", mglu_forward(rig.layer, rig.queue, &args),
                           overlaps[i].status);
            if (overlaps[i].status != MGLU_OK && memcmp(before, memory, ELEMENTS * element) != 0)
                outcome_set(trial->outcome, VERDICT_FAIL, "a call that was refused has written");
        }
        rig_close(&rig);
    }
    free(memory);
    free(before);
    problem_free(&problem);
}

/*
 * A device without host memory must not follow a pointer of the host's: the call is refused. One that can read host
 * memory may also compute.
 */
static void host_pointers(const struct trial *trial)
{
    static const char *const operands[] = {"x", "y", "the residual", "the workspace"};
    enum { BYTES = 1 << 16 };
    struct problem problem = special_problem(trial, 7, 0);
    void *host = allocate(BYTES);
    mglu_memory *memory = NULL;
    struct rig rig;

    memset(host, 0, BYTES);
    if (!trial->target->info.host_memory && open_rig(&rig, trial->target->device, &problem, trial->outcome)) {
        outcome_expect(trial->outcome, "mglu_memory_create", mglu_memory_create(rig.device, BYTES, &memory), MGLU_OK);
        for (int operand = 0; memory && operand < 4; operand++) {
            void *data = mglu_memory_data(memory);
            const mglu_forward_args args = {.struct_size = sizeof args,
                                            .batch = 3,
                                            .x.data = operand == 0 ? host : data,
                                            .y.data = operand == 1 ? host : data,
                                            .residual.data = operand == 2 ? host : data,
                                            .workspace = operand == 3 ? host : mglu_memory_data(rig.workspace),
                                            .workspace_size = mglu_memory_size(rig.workspace)};
            const mglu_status status = mglu_forward(rig.layer, rig.queue, &args);

            if (status != MGLU_ERROR_INVALID_ARGUMENT && (status != MGLU_OK || mglu_queue_wait(rig.queue) != MGLU_OK))
                outcome_set(trial->outcome, VERDICT_FAIL, "a host pointer as %s: %s: %s", operands[operand],
                            mglu_status_string(status), mglu_last_error());
        }
        mglu_memory_destroy(&memory);
        rig_close(&rig);
    }
    free(host);
    problem_free(&problem);
}

/* Makes weights with one padding bit of the masks set. */
static void expect_refused(const struct trial *trial, const struct problem *problem, unsigned char *byte, int bit)
{
    mglu_weights *weights = NULL;

    *byte = (unsigned char)(1u << bit);
    outcome_expect(trial->outcome, "mglu_weights_create with a padding bit set",
                   mglu_weights_create(trial->target->device, &problem->weights, &weights),
                   MGLU_ERROR_INVALID_ARGUMENT);
    mglu_weights_destroy(&weights);
    *byte = 0;
}

/* Each padding bit of the last row and mask, in the two forms that have padding. The last word is little-endian. */
static void padding_bits(const struct trial *trial)
{
    static const int64_t sizes[] = {1, 7, 31, 33, 35, 63};
    static const mglu_mask_form forms[] = {MGLU_MASK_WORDS, MGLU_MASK_BITS};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t k = 0; k < 2; k++) {
            const struct shape shape = {.dtypes = trial->dtypes, .h = sizes[i], .d = 2, .n_masks = 3, .batch = 1};
            const int64_t unit = forms[k] == MGLU_MASK_WORDS ? 32 : 8, width = (sizes[i] + unit - 1) / unit * unit;
            struct problem problem = problem_make(&shape, trial->random);
            unsigned char *bits = problem_allocate(&problem, (size_t)(6 * width / 8));
            unsigned char *last = bits + (6 * width - unit) / 8;
            problem.weights.masks = (mglu_mask_array){bits, forms[k]};
            for (int64_t bit = sizes[i] - (width - unit); bit < unit; bit++)
                expect_refused(trial, &problem, last + bit / 8, (int)(bit % 8));
            problem_free(&problem);
        }
}

const struct special_check memory_checks[] = {
    {"00-host-pointers", PER_DTYPE, host_pointers}, {"15-old-content", PER_DTYPE | QUANTISED, old_content},
    {"15-residual-is-y", PER_DTYPE, residual_is_y}, {"15-overlap", PER_DTYPE | ONLY_SAME, overlap},
    {"16-padding-bits", 0, padding_bits},           {NULL, 0, NULL},
};
