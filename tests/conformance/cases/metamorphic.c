/* SPDX-License-Identifier: MIT */
#include "cases/groups.h"
#include "cases/sets.h"
#include "judge/expect.h"
#include "problem/forward.h"

#include <stdlib.h>
#include <string.h>

/* Changes of the input whose effect on y is known exactly, or none: y is compared bit by bit, without an oracle. */

enum { H = 77, D = 37, MASKS = 3, TOKENS = 7 };

static struct problem sample(const struct trial *trial, int32_t top_k, unsigned parts)
{
    const struct shape shape = {.dtypes = trial->dtypes,
                                .activation = trial->activation,
                                .h = H,
                                .d = D,
                                .n_masks = MASKS,
                                .top_k = top_k,
                                .batch = TOKENS,
                                .parts = parts};

    return problem_make(&shape, trial->random);
}

static unsigned char *run(const struct trial *trial, const struct problem *problem)
{
    return run_once(trial->target->device, problem, &tight, trial->outcome);
}

/* Runs the changed problem, whose y must be `want`. */
static void expect_bits(const struct trial *trial, const struct problem *changed, const unsigned char *want,
                        const char *what)
{
    unsigned char *y = want ? run(trial, changed) : NULL;

    if (y)
        expect_same(trial->outcome, changed, y, want, NONE, NONE, what);
    free(y);
}

/* Moves the items of an array: item i moves to the index (i * step) % count. */
static void permute(void *array, size_t item, size_t count, size_t step)
{
    unsigned char *from = allocate(count * item);

    memcpy(from, array, count * item);
    for (size_t i = 0; i < count; i++)
        memcpy((unsigned char *)array + i * item, from + i * step % count * item, item);
    free(from);
}

static void permute_rows_of_w(const struct trial *trial)
{
    struct problem problem = sample(trial, 0, PART_BIASES);
    unsigned char *y = run(trial, &problem);

    permute(problem.weight, H * sizeof(float), D, 5);
    for (int32_t i = 0; i < MASKS; i++) {
        permute(mask_at(&problem, i, 0, 0), H, D, 5);
        permute(problem.gate_bias + i * D, sizeof(float), D, 5);
        permute(problem.value_bias + i * D, sizeof(float), D, 5);
    }
    for (int64_t token = 0; y && token < TOKENS; token++) {
        size_t element = mglu_dtype_size(trial->dtypes->y);
        permute(y + (size_t)token * D * element, element, D, 5);
    }
    expect_bits(trial, &problem, y, "with the rows of W in another order");
    free(y);
    problem_free(&problem);
}

static void permute_the_batch(const struct trial *trial)
{
    struct problem problem = sample(trial, 2, PART_BIASES | PART_RESIDUAL);
    unsigned char *y = run(trial, &problem);

    permute(problem.x, H * sizeof(float), TOKENS, 3);
    permute(problem.residual, D * sizeof(float), TOKENS, 3);
    permute(problem.ids, 2 * sizeof(int32_t), TOKENS, 3);
    permute(problem.p, 2 * sizeof(float), TOKENS, 3);
    if (y)
        permute(y, D * mglu_dtype_size(trial->dtypes->y), TOKENS, 3);
    expect_bits(trial, &problem, y, "with the tokens in another order");
    free(y);
    problem_free(&problem);
}

/* Rounds to the stored dtype, so that scaling by a power of two is exact; below 2^-6 it is 0: that could underflow. */
static void make_exact(float *array, size_t count, mglu_dtype dtype)
{
    unsigned char *stored = allocate(count * sizeof(float));

    for (size_t i = 0; i < count; i++)
        array[i] = array[i] > -0x1p-6f && array[i] < 0x1p-6f ? 0 : array[i];
    if (mglu_convert(array, MGLU_DTYPE_F32, stored, dtype, count) != MGLU_OK ||
        mglu_convert(stored, dtype, array, MGLU_DTYPE_F32, count) != MGLU_OK)
        fill_floats(array, count, 1);
    free(stored);
}

/* 2^k in x or in W is 4^k in y, where the activation scales with its gate and y is f32. */
static void scale_by_powers_of_two(const struct trial *trial)
{
    static const float factors[] = {0x1p+5f, 0x1p-3f};
    struct problem problem = sample(trial, 0, 0);
    float *arrays[] = {problem.x, problem.weight};
    const size_t counts[] = {TOKENS * H, D * H};
    unsigned char *y;

    make_exact(problem.x, TOKENS * H, trial->dtypes->x);
    if (!mglu_dtype_is_quantised(trial->dtypes->weight)) /* there only the scales change */
        make_exact(problem.weight, D * H, trial->dtypes->weight);
    y = run(trial, &problem);
    for (size_t i = 0; y && i < 4; i++) {
        float factor = factors[i % 2], *scaled = allocate(TOKENS * D * sizeof(float));
        for (size_t k = 0; k < counts[i / 2]; k++)
            arrays[i / 2][k] *= factor;
        for (int64_t k = 0; k < TOKENS * D; k++)
            scaled[k] = y_at(&problem, y, k / D, k % D) * factor * factor;
        expect_bits(trial, &problem, (unsigned char *)scaled, "scaled from the run with the original x and W");
        for (size_t k = 0; k < counts[i / 2]; k++)
            arrays[i / 2][k] /= factor;
        free(scaled);
    }
    free(y);
    problem_free(&problem);
}

/* Masks that no token lists are inverted. */
static void change_unlisted_masks(const struct trial *trial)
{
    struct problem problem = sample(trial, 2, PART_BIASES);
    unsigned char *y;

    for (size_t i = 0; i < 2 * TOKENS; i++)
        problem.ids[i] = i % 2 ? 0 : 2;
    y = run(trial, &problem);
    for (int64_t i = 0; i < D * H; i++)
        *mask_at(&problem, 1, 0, i) ^= 1;
    expect_bits(trial, &problem, y, "with other bits in a mask that is not listed");
    free(y);
    problem_free(&problem);
}

/* Every form of the same masks; the bits beyond h are 0 as required. */
static void write_masks_in_every_form(const struct trial *trial)
{
    struct problem problem = sample(trial, 0, 0);
    enum { COUNT = MASKS * D * H, ROW = (H + 7) / 8 };
    uint32_t *words = problem_allocate(&problem, mglu_packed_mask_size(MASKS, D, H));
    float *logits = problem_allocate(&problem, COUNT * sizeof(float));
    uint16_t *f16 = problem_allocate(&problem, COUNT * 2), *bf16 = problem_allocate(&problem, COUNT * 2);
    uint8_t *bits = problem_allocate(&problem, MASKS * D * ROW);
    const mglu_mask_array forms[] = {{words, MGLU_MASK_WORDS},
                                     {logits, MGLU_MASK_LOGITS_F32},
                                     {f16, MGLU_MASK_LOGITS_F16},
                                     {bf16, MGLU_MASK_LOGITS_BF16},
                                     {bits, MGLU_MASK_BITS}};
    unsigned char *y = run(trial, &problem);

    for (size_t i = 0; i < COUNT; i++) {
        logits[i] = problem.masks[i] ? 0x1p-20f : i % 2 ? 0 : -2.5f;
        bits[i / H * ROW + i % H / 8] |= (uint8_t)(problem.masks[i] << i % H % 8);
    }
    outcome_expect(trial->outcome, "mglu_pack_masks", mglu_pack_masks(&problem.weights.masks, MASKS, D, H, words),
                   MGLU_OK);
    outcome_expect(trial->outcome, "mglu_convert", mglu_convert(logits, MGLU_DTYPE_F32, f16, MGLU_DTYPE_F16, COUNT),
                   MGLU_OK);
    outcome_expect(trial->outcome, "mglu_convert", mglu_convert(logits, MGLU_DTYPE_F32, bf16, MGLU_DTYPE_BF16, COUNT),
                   MGLU_OK);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        problem.weights.masks = forms[i];
        expect_bits(trial, &problem, y, "with the masks as bytes");
    }
    free(y);
    problem_free(&problem);
}

/* `count` bytes at an address that is a multiple of 64. */
static unsigned char *allocate_aligned(struct problem *problem, size_t count)
{
    unsigned char *memory = problem_allocate(problem, count + 64);

    return memory + (64 - (uintptr_t)memory % 64) % 64;
}

/* In the packed layout, in place; a byte of the padding that is not 0 is refused. */
static void borrow_packed_weights(const struct trial *trial)
{
    struct problem problem = sample(trial, 0, PART_BIASES);
    mglu_dtype dtype = trial->dtypes->weight;
    size_t stride = mglu_packed_weight_stride_bytes(dtype, H);
    unsigned char *weight = allocate_aligned(&problem, mglu_packed_weight_size(dtype, D, H));
    size_t scale_bytes = mglu_packed_scale_size(dtype, D, H);
    unsigned char *scales = scale_bytes ? allocate_aligned(&problem, scale_bytes) : NULL;
    unsigned char *words = allocate_aligned(&problem, mglu_packed_mask_size(MASKS, D, H));
    unsigned char *y = run(trial, &problem);
    mglu_weights *refused = NULL;

    outcome_expect(trial->outcome, "mglu_pack_weights",
                   mglu_pack_weights(&problem.weights.weight, D, H, dtype, 0, weight, scales), MGLU_OK);
    outcome_expect(trial->outcome, "mglu_pack_masks",
                   mglu_pack_masks(&problem.weights.masks, MASKS, D, H, (uint32_t *)(void *)words), MGLU_OK);
    problem.weights.weight = (mglu_array){.data = weight, .dtype = dtype, .stride_bytes = stride, .scales = scales};
    problem.weights.masks = (mglu_mask_array){words, MGLU_MASK_WORDS};
    problem.weights.flags = MGLU_WEIGHTS_BORROW;
    expect_bits(trial, &problem, y, "with copied weights");
    weight[stride - 1] = 0x40;
    if (trial->target->info.host_memory)
        outcome_expect(trial->outcome, "mglu_weights_create with padding that is not zero",
                       mglu_weights_create(trial->target->device, &problem.weights, &refused),
                       MGLU_ERROR_INVALID_ARGUMENT);
    mglu_weights_destroy(&refused);
    free(y);
    problem_free(&problem);
}

/* Copies rows of `bytes` bytes, which begin every `stride` bytes, to a buffer with `gap` bytes of 0xff between them. */
static unsigned char *move_apart(struct problem *problem, const unsigned char *rows, size_t bytes, size_t stride,
                                 size_t gap)
{
    unsigned char *apart = problem_allocate(problem, D * (bytes + gap));

    memset(apart, 0xff, D * (bytes + gap));
    for (size_t r = 0; r < D; r++)
        memcpy(apart + r * (bytes + gap), rows + r * stride, bytes);
    return apart;
}

/* Rows of W with gaps that contain NaN, already in the stored dtype. */
static void poison_between_rows_of_w(const struct trial *trial)
{
    struct problem problem = sample(trial, 0, PART_BIASES);
    mglu_dtype dtype = trial->dtypes->weight;
    bool quantised = mglu_dtype_is_quantised(dtype);
    size_t scale_bytes = mglu_packed_scale_stride_bytes(dtype, H), gap = quantised ? 6 : 3 * mglu_dtype_size(dtype);
    size_t bytes = dtype == MGLU_DTYPE_Q8_0 ? H : quantised ? (H + 31) / 32 * 16 : H * mglu_dtype_size(dtype);
    _Static_assert(MGLU_DTYPE_COUNT == 5, "a new quantised dtype needs the bytes of a row here");
    unsigned char *packed = problem_allocate(&problem, mglu_packed_weight_size(dtype, D, H));
    unsigned char *scales = quantised ? problem_allocate(&problem, mglu_packed_scale_size(dtype, D, H)) : NULL;
    unsigned char *y = run(trial, &problem);

    outcome_expect(trial->outcome, "mglu_pack_weights",
                   mglu_pack_weights(&problem.weights.weight, D, H, dtype, 0, packed, scales), MGLU_OK);
    problem.weights.weight = (mglu_array){
        .data = move_apart(&problem, packed, bytes, mglu_packed_weight_stride_bytes(dtype, H), gap),
        .dtype = dtype,
        .stride_bytes = bytes + gap,
        .scales = quantised ? move_apart(&problem, scales, scale_bytes, scale_bytes, gap) : NULL,
        .scale_stride_bytes = quantised ? scale_bytes + gap : 0,
    };
    expect_bits(trial, &problem, y, "with W as f32 without gaps");
    free(y);
    problem_free(&problem);
}

static bool scales(size_t dtypes, size_t activation)
{
    return dtype_sets[dtypes].y == MGLU_DTYPE_F32 &&
           (activation == MGLU_ACTIVATION_IDENTITY || activation == MGLU_ACTIVATION_RELU);
}

static const struct {
    const char *name;
    bool (*applies)(size_t dtypes, size_t activation); /* NULL: to all */
    void (*run)(const struct trial *trial);
} relations[] = {
    {"rows-of-w-permuted", NULL, permute_rows_of_w},
    {"batch-permuted", NULL, permute_the_batch},
    {"scaled-by-powers-of-two", scales, scale_by_powers_of_two},
    {"unlisted-masks-changed", NULL, change_unlisted_masks},
    {"every-form-of-masks", NULL, write_masks_in_every_form},
    {"borrowed-weights", NULL, borrow_packed_weights},
    {"poison-between-rows-of-w", NULL, poison_between_rows_of_w},
};

static void list_metamorphic(case_sink *sink, void *user)
{
    for (size_t k = 0; k < sizeof relations / sizeof relations[0]; k++)
        for (size_t i = 0; i < DTYPE_SETS; i++)
            for (size_t a = 0; a < ACTIVATIONS; a++)
                if (worth_a_case(i, a) && (!relations[k].applies || relations[k].applies(i, a)))
                    list_case(sink, user, TIER_QUICK, trial_number(k, i, a), "metamorphic/%s/%s/%s", relations[k].name,
                              dtype_sets[i].name, mglu_activation_name((mglu_activation)a));
}

static void run_metamorphic(const struct target *target, const struct test_case *test, struct outcome *outcome)
{
    const struct trial trial = trial_of(target, test, outcome);

    relations[trial.kind].run(&trial);
}

const struct group group_metamorphic = {
    "metamorphic",
    "changes whose effect on y is known exactly",
    list_metamorphic,
    run_metamorphic,
};
