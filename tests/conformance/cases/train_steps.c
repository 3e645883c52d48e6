/* SPDX-License-Identifier: MIT */
#include "cases/groups.h"
#include "cases/train_calls.h"

#include <string.h>

/*
 * Training steps over the shapes of the grid. A case takes a value of each axis by chance, the same at each start;
 * there are so many that each value meets most values of the others.
 */

enum { QUICK_CASES = 180, ALL_CASES = 1500 };

static const int hs[] = {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 255, 257};
static const int ds[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 67};
static const int batches[] = {1, 2, 3, 7, 8, 16, 17, 33, 64, 129};
static const mglu_dtype dtypes[][2] = {{MGLU_DTYPE_F32, MGLU_DTYPE_F32},
                                       {MGLU_DTYPE_BF16, MGLU_DTYPE_BF16},
                                       {MGLU_DTYPE_BF16, MGLU_DTYPE_F32},
                                       {MGLU_DTYPE_F32, MGLU_DTYPE_BF16}};
/* After the activations comes SiLU with another beta. */
static const float other_beta = 1.702f;

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

static int choose(struct random *random, int count)
{
    return (int)(random_u64(random) % (uint64_t)count);
}

/* All gradients in half of the cases; else one alone, or all but one. */
static unsigned choose_wanted(struct random *random)
{
    const unsigned all = (1u << TRAIN_RESULTS) - 1, one = 1u << (1 + choose(random, TRAIN_RESULTS - 1));

    switch (choose(random, 4)) {
    case 0:
        return one;
    case 1:
        return all & ~one;
    default:
        return all;
    }
}

static int32_t choose_top_k(struct random *random, int32_t n_masks)
{
    const int32_t choices[] = {0, 0, 0, 1, n_masks < 2 ? 1 : 2, n_masks};

    return choices[choose(random, COUNT(choices))];
}

static struct train_case choose_case(int number)
{
    struct random random = {.key = (uint64_t)number};
    const int types = choose(&random, COUNT(dtypes)), activation = choose(&random, MGLU_ACTIVATION_COUNT + 1);
    struct train_case test = {.dtype = dtypes[types][0],
                              .weight = dtypes[types][1],
                              .n_masks = 1 + number % MGLU_MAX_MASKS,
                              .h = hs[choose(&random, COUNT(hs))],
                              .d = ds[choose(&random, COUNT(ds))],
                              .batch = batches[choose(&random, COUNT(batches))],
                              .bias = (enum bias)choose(&random, BIASES),
                              .form = (mglu_mask_form)choose(&random, MGLU_MASK_BITS + 1),
                              .placement = (enum placement)choose(&random, PLACEMENTS),
                              .wanted = choose_wanted(&random),
                              .accumulate = choose(&random, 3) == 0,
                              .integers = choose(&random, 2) == 0};

    test.activation = activation == MGLU_ACTIVATION_COUNT ? MGLU_ACTIVATION_SILU : (mglu_activation)activation;
    test.silu_beta = activation == MGLU_ACTIVATION_COUNT ? other_beta : 0;
    if (test.integers)
        test.activation = activation % 2 ? MGLU_ACTIVATION_IDENTITY : MGLU_ACTIVATION_RELU;
    if (test.integers)
        test.silu_beta = 0;
    test.top_k = choose_top_k(&random, test.n_masks);
    return test;
}

/* With one column either gate or value is empty: where it has no bias, every product is 0. */
static bool can_be_nonzero(const struct train_case *test)
{
    return test->h > 1 || test->bias == BIAS_BOTH;
}

/* Products of the three matrix products together, and of the oracle's other work. */
static bool is_small(const struct train_case *test, int64_t limit)
{
    const int64_t rows = test->batch * test->d, streams = 1 + test->n_masks;

    return rows * streams * test->h <= limit && rows * streams * (1 + test->top_k) <= limit / 4;
}

/* The first cases whose sizes are small are quick; numbers that make no case are passed over. */
static void list_steps(case_sink *sink, void *user)
{
    static struct train_case table[ALL_CASES];
    int count = 0;

    for (int number = 0; count < ALL_CASES; number++) {
        struct test_case named = {.tier = count < QUICK_CASES ? TIER_QUICK : TIER_FULL, .data = &table[count]};

        table[count] = choose_case(number);
        if (!can_be_nonzero(&table[count]) || !is_small(&table[count], count < QUICK_CASES ? 1 << 15 : 1 << 19))
            continue;
        train_name(&table[count++], named.name, sizeof named.name);
        sink(user, &named);
    }
}

/* Sizes beyond those of blocks that kernels divide their work into: each is long in one direction. */
static const struct {
    int64_t h, d, batch;
    int32_t n_masks, top_k;
} long_shapes[] = {
    {4099, 3, 2, 2, 0}, {3, 4099, 2, 2, 0}, {3, 5, 4101, 2, 0}, {129, 515, 33, 3, 0}, {33, 7, 2050, 4, 1},
};
enum { LONG_SHAPES = COUNT(long_shapes), LONG_CASES = 4 * LONG_SHAPES };

static struct train_case long_case(int number)
{
    const int shape = number / 4;
    const mglu_dtype dtype = number % 2 ? MGLU_DTYPE_BF16 : MGLU_DTYPE_F32;
    const bool integers = number / 2 % 2;

    return (struct train_case){.dtype = dtype,
                               .weight = dtype,
                               .activation = integers ? MGLU_ACTIVATION_IDENTITY : MGLU_ACTIVATION_SILU,
                               .n_masks = long_shapes[shape].n_masks,
                               .top_k = long_shapes[shape].top_k,
                               .h = long_shapes[shape].h,
                               .d = long_shapes[shape].d,
                               .batch = long_shapes[shape].batch,
                               .bias = BIAS_BOTH,
                               .form = MGLU_MASK_LOGITS_F32,
                               .placement = PLACE_PADDED,
                               .wanted = (1u << TRAIN_RESULTS) - 1,
                               .accumulate = number % 3 == 0,
                               .integers = integers};
}

/* Real numbers in f32 and integers in bf16 are quick, the other two are not. */
static void list_long_steps(case_sink *sink, void *user)
{
    static struct train_case table[LONG_CASES];

    for (int i = 0; i < LONG_CASES; i++) {
        struct test_case named = {.tier = i % 4 % 3 ? TIER_FULL : TIER_QUICK, .data = &table[i]};

        table[i] = long_case(i);
        train_name(&table[i], named.name, sizeof named.name);
        sink(user, &named);
    }
}

static const char check_prefix[] = "train/call/";

static void list_checks(const struct train_check *checks, case_sink *sink, void *user)
{
    for (; checks->name; checks++) {
        struct test_case named = {.tier = TIER_QUICK, .data = checks};

        snprintf(named.name, sizeof named.name, "%s%s", check_prefix, checks->name);
        sink(user, &named);
    }
}

static void list_train(case_sink *sink, void *user)
{
    list_steps(sink, user);
    list_long_steps(sink, user);
    list_checks(train_bit_checks, sink, user);
    list_checks(train_call_checks, sink, user);
    list_checks(train_rule_checks, sink, user);
}

static void run_train(const struct target *target, const struct test_case *test, struct outcome *outcome)
{
    const struct train_check *check = test->data;

    if (strncmp(test->name, check_prefix, strlen(check_prefix)) == 0)
        check->run(target, random_for(target, test->name, "numbers"), outcome);
    else
        train_run(target, test, outcome);
}

const struct group group_train = {"train", "training: forward, and the gradients, within the error bound or exactly",
                                  list_train, run_train};
