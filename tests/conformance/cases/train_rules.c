/* SPDX-License-Identifier: MIT */
#include "cases/train_calls.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Calls of training that break a rule of mglu/train.h are refused before the backend sees them, and change nothing. */

struct calls {
    mglu_train_desc desc;
    mglu_train_forward_args forward;
    mglu_train_backward_args backward;
};

/* One rule: a member gets a value that it must not have. 4 or 8 bytes. */
struct rule {
    const char *name;
    size_t at, size;
    int64_t value;
};

#define MEMBER(member)      offsetof(struct calls, member), sizeof(((struct calls *)0)->member)
#define NAN_BITS            0x7fc00000
#define NOT_NULL            64 /* never dereferenced: the call is refused first */
#define ONE_TOO_MANY(limit) ((limit) + 1)

static const struct rule desc_rules[] = {
    {"struct_size 0", MEMBER(desc.struct_size), 0},
    {"an unknown flag", MEMBER(desc.flags), 1 << 30},
    {"hidden_size 0", MEMBER(desc.hidden_size), 0},
    {"a negative hidden_size", MEMBER(desc.hidden_size), INT64_MIN},
    {"a hidden_size too large", MEMBER(desc.hidden_size), ONE_TOO_MANY(MGLU_MAX_SIZE)},
    {"intermediate_size 0", MEMBER(desc.intermediate_size), 0},
    {"an intermediate_size too large", MEMBER(desc.intermediate_size), INT64_MAX},
    {"n_masks 0", MEMBER(desc.n_masks), 0},
    {"n_masks 17", MEMBER(desc.n_masks), 17},
    {"a negative top_k", MEMBER(desc.top_k), -1},
    {"top_k above n_m", MEMBER(desc.top_k), 4},
    {"an unknown activation", MEMBER(desc.activation), 6},
    {"silu_beta NaN", MEMBER(desc.silu_beta), NAN_BITS},
    {"dtype f16", MEMBER(desc.dtype), MGLU_DTYPE_F16},
    {"dtype q8_0", MEMBER(desc.dtype), MGLU_DTYPE_Q8_0},
    {"an unknown dtype", MEMBER(desc.dtype), 77},
    {"reserved", MEMBER(desc.reserved), 1},
    {"max_batch 0", MEMBER(desc.max_batch), 0},
    {"max_batch too large", MEMBER(desc.max_batch), ONE_TOO_MANY(MGLU_MAX_BATCH)},
};

static const struct rule forward_rules[] = {
    {"struct_size 0", MEMBER(forward.struct_size), 0},
    {"reserved", MEMBER(forward.reserved), 1},
    {"a negative batch", MEMBER(forward.batch), -1},
    {"a batch above max_batch", MEMBER(forward.batch), 20},
    {"no x", MEMBER(forward.inputs.x.data), 0},
    {"a short stride of x", MEMBER(forward.inputs.x.row_stride), 76},
    {"a negative stride of x", MEMBER(forward.inputs.x.row_stride), -77},
    {"a stride of x that overflows", MEMBER(forward.inputs.x.row_stride), INT64_MAX},
    {"no weight", MEMBER(forward.inputs.weight.data), 0},
    {"a weight in f16", MEMBER(forward.inputs.weight.dtype), MGLU_DTYPE_F16},
    {"a weight with scales", MEMBER(forward.inputs.weight.scales), NOT_NULL},
    {"a short stride of weight", MEMBER(forward.inputs.weight.stride_bytes), 77 * 4 - 1},
    {"a stride of weight beyond memory", MEMBER(forward.inputs.weight.stride_bytes), INT64_MAX},
    {"no masks", MEMBER(forward.inputs.masks.data), 0},
    {"an unknown form of masks", MEMBER(forward.inputs.masks.form), 42},
    {"no gate_bias", MEMBER(forward.inputs.gate_bias), 0},
    {"no value_bias", MEMBER(forward.inputs.value_bias), 0},
    {"no router_logits", MEMBER(forward.inputs.router_logits.data), 0},
    {"a short stride of router_logits", MEMBER(forward.inputs.router_logits.row_stride), 2},
    {"no y", MEMBER(forward.y.data), 0},
    {"a short stride of y", MEMBER(forward.y.row_stride), 36},
    {"saved too small", MEMBER(forward.saved_size), 1},
    {"no workspace", MEMBER(forward.workspace), 0},
    {"a workspace too small", MEMBER(forward.workspace_size), 1},
};

static const struct rule backward_rules[] = {
    {"struct_size 0", MEMBER(backward.struct_size), 0},
    {"an unknown flag", MEMBER(backward.flags), 1 << 30},
    {"a negative batch", MEMBER(backward.batch), -1},
    {"a batch above max_batch", MEMBER(backward.batch), 20},
    {"no x", MEMBER(backward.inputs.x.data), 0},
    {"no weight", MEMBER(backward.inputs.weight.data), 0},
    {"no masks", MEMBER(backward.inputs.masks.data), 0},
    {"no gate_bias", MEMBER(backward.inputs.gate_bias), 0},
    {"no router_logits", MEMBER(backward.inputs.router_logits.data), 0},
    {"no dy", MEMBER(backward.dy.data), 0},
    {"a short stride of dy", MEMBER(backward.dy.row_stride), 36},
    {"no saved", MEMBER(backward.saved), 0},
    {"saved too small", MEMBER(backward.saved_size), 1},
    {"a short stride of dx", MEMBER(backward.dx.row_stride), 76},
    {"a short stride of drouter_logits", MEMBER(backward.drouter_logits.row_stride), 2},
    {"no workspace", MEMBER(backward.workspace), 0},
    {"a workspace too small", MEMBER(backward.workspace_size), 1},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A step that is valid, and the arguments of its calls. */
struct step {
    struct train_case test;
    struct train_problem problem;
    struct train_rig rig;
    struct calls calls;
};

static bool open_step(struct step *step, const struct target *target, struct random random, struct outcome *outcome)
{
    step->test = whole_train_case(MGLU_DTYPE_F32);
    train_problem_make(&step->problem, &step->test, random);
    if (!train_open(&step->rig, target->device, &step->problem.desc, step->test.batch, outcome))
        return false;
    step->calls = (struct calls){step->problem.desc, train_forward_args(&step->rig, &step->problem, NULL),
                                 train_backward_args(&step->rig, &step->problem, NULL)};
    return true;
}

static void close_step(struct step *step)
{
    train_close(&step->rig);
    train_problem_free(&step->problem);
}

static struct calls with_rule(const struct calls *calls, const struct rule *rule)
{
    const int32_t narrow = (int32_t)rule->value;
    struct calls broken = *calls;

    memcpy((char *)&broken + rule->at, rule->size == sizeof narrow ? (const void *)&narrow : (const void *)&rule->value,
           rule->size);
    return broken;
}

/* A refused call writes no result. */
static void expect_refused(const struct step *step, const char *call, const char *rule, mglu_status status,
                           struct outcome *outcome)
{
    if (status != MGLU_ERROR_INVALID_ARGUMENT)
        outcome_set(outcome, VERDICT_FAIL, "%s with %s gave %s, expected invalid_argument", call, rule,
                    mglu_status_string(status));
    for (int i = 0; i < TRAIN_RESULTS; i++)
        for (size_t k = 0; k < step->problem.results[i].region_size; k++)
            if (step->problem.results[i].region[k] != ROWS_GAP) {
                outcome_set(outcome, VERDICT_FAIL, "%s with %s wrote to %s", call, rule,
                            train_result_name((enum train_result)i));
                return;
            }
}

static void expect_desc_refused(const struct step *step, const struct target *target, const struct rule *rule,
                                struct outcome *outcome)
{
    const struct calls broken = with_rule(&step->calls, rule);
    mglu_train *train = NULL;

    expect_refused(step, "mglu_train_create", rule->name, mglu_train_create(target->device, &broken.desc, &train),
                   outcome);
    if (train)
        outcome_set(outcome, VERDICT_FAIL, "mglu_train_create with %s failed and set its result", rule->name);
    mglu_train_destroy(&train);
}

static void expect_forward_refused(const struct step *step, const mglu_train_forward_args *args, const char *rule,
                                   struct outcome *outcome)
{
    expect_refused(step, "mglu_train_forward", rule, mglu_train_forward(step->rig.train, NULL, args), outcome);
}

static void expect_backward_refused(const struct step *step, const mglu_train_backward_args *args, const char *rule,
                                    struct outcome *outcome)
{
    expect_refused(step, "mglu_train_backward", rule, mglu_train_backward(step->rig.train, NULL, args), outcome);
}

static void broken_members_are_refused(const struct target *target, struct random random, struct outcome *outcome)
{
    struct step step;

    if (open_step(&step, target, random, outcome)) {
        for (size_t i = 0; i < COUNT(desc_rules); i++)
            expect_desc_refused(&step, target, &desc_rules[i], outcome);
        for (size_t i = 0; i < COUNT(forward_rules); i++) {
            const struct calls broken = with_rule(&step.calls, &forward_rules[i]);
            expect_forward_refused(&step, &broken.forward, forward_rules[i].name, outcome);
        }
        for (size_t i = 0; i < COUNT(backward_rules); i++) {
            const struct calls broken = with_rule(&step.calls, &backward_rules[i]);
            expect_backward_refused(&step, &broken.backward, backward_rules[i].name, outcome);
        }
    }
    close_step(&step);
}

/* One byte less than what the plan asks for, and an address that is not aligned. */
static void memory_that_does_not_suffice_is_refused(const struct target *target, struct random random,
                                                    struct outcome *outcome)
{
    struct step step;

    if (open_step(&step, target, random, outcome)) {
        mglu_train_forward_args forward = step.calls.forward;
        mglu_train_backward_args backward = step.calls.backward;

        forward.workspace_size--;
        expect_forward_refused(&step, &forward, "a workspace one byte too small", outcome);
        forward = step.calls.forward;
        forward.saved_size--;
        expect_forward_refused(&step, &forward, "saved one byte too small", outcome);
        forward = step.calls.forward;
        forward.saved = (char *)forward.saved + 4;
        expect_forward_refused(&step, &forward, "saved at an odd address", outcome);
        backward.saved_size--;
        expect_backward_refused(&step, &backward, "saved one byte too small", outcome);
        backward = step.calls.backward;
        backward.workspace = (char *)backward.workspace + 4;
        expect_backward_refused(&step, &backward, "a workspace at an odd address", outcome);
    }
    close_step(&step);
}

/* A gradient where something else is: what is read, another gradient, the workspace. */
static void overlaps_are_refused(const struct target *target, struct random random, struct outcome *outcome)
{
    struct step step;

    if (open_step(&step, target, random, outcome)) {
        const struct calls *calls = &step.calls;
        float *const taken[] = {(float *)calls->backward.inputs.weight.data, (float *)calls->backward.inputs.masks.data,
                                (float *)calls->backward.saved, (float *)calls->backward.workspace,
                                calls->backward.dlogits};
        mglu_train_forward_args forward = calls->forward;

        for (size_t i = 0; i < COUNT(taken); i++) {
            mglu_train_backward_args backward = calls->backward;
            backward.dweight = taken[i];
            expect_backward_refused(&step, &backward, "dweight over something else", outcome);
        }
        forward.y = (mglu_output){(void *)forward.inputs.x.data, forward.inputs.x.byte_offset, 77};
        expect_forward_refused(&step, &forward, "y over x", outcome);
        forward = calls->forward;
        forward.saved = forward.workspace;
        expect_forward_refused(&step, &forward, "saved over the workspace", outcome);
    }
    close_step(&step);
}

static void no_gradient_at_all_is_refused(const struct target *target, struct random random, struct outcome *outcome)
{
    struct step step;

    if (open_step(&step, target, random, outcome)) {
        mglu_train_backward_args backward = step.calls.backward;

        backward.dx.data = backward.drouter_logits.data = NULL;
        backward.dweight = backward.dlogits = backward.dgate_bias = backward.dvalue_bias = NULL;
        expect_backward_refused(&step, &backward, "no gradient", outcome);
    }
    close_step(&step);
}

/* Of a plan without one part: the part can't be given, nor its gradient. */
static void expect_part_refused(struct step *step, const struct target *target, const char *part,
                                const mglu_train_desc *desc, mglu_train_inputs inputs, struct outcome *outcome)
{
    mglu_train_backward_args backward = step->calls.backward;
    mglu_train *bare = NULL, *whole = step->rig.train;

    outcome_expect(outcome, "mglu_train_create", mglu_train_create(target->device, desc, &bare), MGLU_OK);
    step->rig.train = bare;
    expect_forward_refused(step, &step->calls.forward, part, outcome);
    backward.inputs = inputs;
    expect_backward_refused(step, &backward, part, outcome);
    step->rig.train = whole;
    mglu_train_destroy(&bare);
}

static void parts_that_the_plan_lacks_are_refused(const struct target *target, struct random random,
                                                  struct outcome *outcome)
{
    struct step step;

    if (open_step(&step, target, random, outcome)) {
        mglu_train_desc desc = step.calls.desc;
        mglu_train_inputs inputs = step.calls.backward.inputs;

        desc.flags = MGLU_TRAIN_VALUE_BIAS;
        inputs.gate_bias = NULL;
        expect_part_refused(&step, target, "a gate bias that the plan lacks", &desc, inputs, outcome);
        desc.flags = MGLU_TRAIN_GATE_BIAS;
        inputs = step.calls.backward.inputs;
        inputs.value_bias = NULL;
        expect_part_refused(&step, target, "a value bias that the plan lacks", &desc, inputs, outcome);
        desc = step.calls.desc;
        desc.top_k = 0;
        inputs = step.calls.backward.inputs;
        inputs.router_logits = (mglu_input){0};
        expect_part_refused(&step, target, "routing that the plan lacks", &desc, inputs, outcome);
    }
    close_step(&step);
}

static void expect_nan_refused(const struct step *step, int64_t at, struct outcome *outcome)
{
    char where[64];
    float *logits = (float *)(void *)rows_at(&step->problem.masks, 0), kept = logits[at];

    snprintf(where, sizeof where, "mask %lld [%lld][%lld] is NaN", (long long)(at / (37 * 77)),
             (long long)(at / 77 % 37), (long long)(at % 77));
    logits[at] = NAN;
    expect_forward_refused(step, &step->calls.forward, "a NaN logit", outcome);
    if (!strstr(mglu_last_error(), where))
        outcome_set(outcome, VERDICT_FAIL, "the text does not say that %s: %s", where, mglu_last_error());
    expect_backward_refused(step, &step->calls.backward, "a NaN logit", outcome);
    logits[at] = kept;
}

/* In groups of 32 columns that are whole, and in the last one, which is not; mglu/types.h names the text. */
static void a_nan_logit_is_refused_by_name(const struct target *target, struct random random, struct outcome *outcome)
{
    static const int64_t places[] = {0, 76, 77, 37 * 77 + 40, 3 * 37 * 77 - 1};
    struct step step;

    if (open_step(&step, target, random, outcome))
        for (size_t i = 0; i < COUNT(places); i++)
            expect_nan_refused(&step, places[i], outcome);
    close_step(&step);
}

const struct train_check train_rule_checks[] = {
    {"broken-members-are-refused", broken_members_are_refused},
    {"memory-that-does-not-suffice-is-refused", memory_that_does_not_suffice_is_refused},
    {"overlaps-are-refused", overlaps_are_refused},
    {"no-gradient-at-all-is-refused", no_gradient_at_all_is_refused},
    {"parts-that-the-plan-lacks-are-refused", parts_that_the_plan_lacks_are_refused},
    {"a-nan-logit-is-refused-by-name", a_nan_logit_is_refused_by_name},
    {NULL, NULL},
};
