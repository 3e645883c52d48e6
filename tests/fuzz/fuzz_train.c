/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "judge/train.h"

#include <stdlib.h>
#include <string.h>

/*
 * The input selects a small training step of the conformance suite and the seed of its numbers. Every instruction set
 * of this machine computes its forward and its backward; each result lies within the oracle's tolerance, and where
 * numbers are exact it has the oracle's bits.
 */

enum { MOST_PRODUCTS = 1 << 13 };

static void read_types(struct fuzz_stream *stream, struct train_case *step)
{
    step->dtype = fuzz_below(stream, 2) ? MGLU_DTYPE_BF16 : MGLU_DTYPE_F32;
    step->weight = fuzz_below(stream, 2) ? MGLU_DTYPE_BF16 : MGLU_DTYPE_F32;
    step->form = (mglu_mask_form)fuzz_below(stream, MGLU_MASK_BITS + 1);
    step->activation = (mglu_activation)fuzz_below(stream, MGLU_ACTIVATION_COUNT);
    if (step->activation == MGLU_ACTIVATION_SILU && fuzz_below(stream, 2))
        step->silu_beta = 1.5f;
}

/* Up to several blocks of 32 in each direction, in part. */
static void read_sizes(struct fuzz_stream *stream, struct train_case *step)
{
    step->h = 1 + fuzz_below(stream, 160);
    step->d = 1 + fuzz_below(stream, 80);
    step->batch = 1 + fuzz_below(stream, 80);
    while (step->h * step->d * step->batch * (1 + step->n_masks) > MOST_PRODUCTS && step->batch > 1)
        step->batch /= 2;
    while (step->h * step->d * step->batch * (1 + step->n_masks) > MOST_PRODUCTS)
        step->d = (step->d + 1) / 2;
}

static struct train_case read_case(struct fuzz_stream *stream)
{
    struct train_case step = {.n_masks = 1 + (int32_t)fuzz_below(stream, MGLU_MAX_MASKS)};

    step.top_k = (int32_t)fuzz_below(stream, (uint32_t)step.n_masks + 1);
    read_types(stream, &step);
    read_sizes(stream, &step);
    step.bias = (enum bias)fuzz_below(stream, BIASES);
    step.placement = (enum placement)fuzz_below(stream, PLACEMENTS);
    step.wanted = ~(unsigned)fuzz_byte(stream);
    step.accumulate = fuzz_below(stream, 2);
    step.integers = fuzz_below(stream, 2);
    return step;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fuzz_stream stream = {bytes, bytes + size};
    const struct train_case step = read_case(&stream);
    struct target target = {.reference = fuzz_device("ref"), .seed = fuzz_number(&stream, 8)};
    struct test_case test = {.data = &step};

    train_name(&step, test.name, sizeof test.name);
    for (const struct fuzz_isa *isa = fuzz_isas(); isa->device; isa++) {
        struct outcome outcome = {.rho = -1};

        target.device = isa->device;
        train_run(&target, &test, &outcome);
        /* Numbers that prove little are no fault of the library. */
        if (outcome.verdict == VERDICT_PASS || outcome.verdict == VERDICT_VACUOUS)
            continue;
        fprintf(stderr, "%s on %s: %s\n", test.name, isa->name, outcome.text);
        abort();
    }
    return 0;
}
