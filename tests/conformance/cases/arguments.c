/* SPDX-License-Identifier: MIT */
#include "cases/groups.h"
#include "cases/sets.h"
#include "judge/expect.h"

#include <stdlib.h>
#include <string.h>

/*
 * Calls that break a rule of the headers are refused on every device, before its backend sees them, and change nothing.
 * And mglu_supports() agrees with the other calls: what it accepts can be made and run, what it refuses can't.
 */

/* The three structs that the calls of a layer take. mglu_supports() does not read the sources. */
struct calls {
    mglu_weights_desc weights;
    mglu_layer_desc layer;
    mglu_forward_args forward;
};

enum stage { SOURCES, WEIGHTS, LAYER, FORWARD };

/* One rule: a member of a struct gets a value that it must not have. */
struct rule {
    const char *name;
    enum stage stage;
    size_t at, size;
    int64_t value;
    mglu_status status;
};

#define MEMBER(member)   offsetof(struct calls, member), sizeof(((struct calls *)0)->member)
#define INVALID          MGLU_ERROR_INVALID_ARGUMENT
#define QUIET_NAN_BITS   0x7fc00000
#define INFINITY_BITS    0x7f800000
#define NOT_NULL         64 /* never dereferenced: the call is refused first */
#define TOO_LARGE(limit) ((limit) + 1)

static const struct rule rules[] = {
    {"weights-struct_size-0", WEIGHTS, MEMBER(weights.struct_size), 0, INVALID},
    {"weights-unknown-flag", WEIGHTS, MEMBER(weights.flags), 1 << 30, INVALID},
    {"weights-unknown-kind", WEIGHTS, MEMBER(weights.kind), 7, INVALID},
    {"weights-unknown-dtype", WEIGHTS, MEMBER(weights.dtype), 9, INVALID},
    {"weights-reserved", WEIGHTS, MEMBER(weights.reserved), 1, INVALID},
    {"hidden_size-negative", WEIGHTS, MEMBER(weights.hidden_size), -1, INVALID},
    {"hidden_size-too-large", WEIGHTS, MEMBER(weights.hidden_size), TOO_LARGE(MGLU_MAX_SIZE), INVALID},
    {"intermediate_size-negative", WEIGHTS, MEMBER(weights.intermediate_size), INT64_MIN, INVALID},
    {"intermediate_size-too-large", WEIGHTS, MEMBER(weights.intermediate_size), INT64_MAX, INVALID},
    {"output_size-negative", WEIGHTS, MEMBER(weights.output_size), -1, INVALID},
    {"output_size-too-large", WEIGHTS, MEMBER(weights.output_size), TOO_LARGE(MGLU_MAX_SIZE), INVALID},
    {"output_size-0-with-down", WEIGHTS, MEMBER(weights.output_size), 0, INVALID},
    {"n_masks-0", WEIGHTS, MEMBER(weights.n_masks), 0, INVALID},
    {"n_masks-17", WEIGHTS, MEMBER(weights.n_masks), 17, INVALID},
    {"weight-missing", WEIGHTS, MEMBER(weights.weight.data), 0, INVALID},
    {"weight-quantised", WEIGHTS, MEMBER(weights.weight.dtype), MGLU_DTYPE_Q8_0, INVALID},
    {"weight-short-stride", WEIGHTS, MEMBER(weights.weight.stride_bytes), 4 * 35 - 1, INVALID},
    {"masks-missing", WEIGHTS, MEMBER(weights.masks.data), 0, INVALID},
    {"masks-unknown-form", WEIGHTS, MEMBER(weights.masks.form), 42, INVALID},
    {"value_weight-when-masked", WEIGHTS, MEMBER(weights.value_weight.data), NOT_NULL, INVALID},
    {"plain-with-masks", WEIGHTS, MEMBER(weights.kind), MGLU_KIND_PLAIN, INVALID},
    {"down-missing", WEIGHTS, MEMBER(weights.down.data), 0, INVALID},
    {"gate_bias-unknown-dtype", WEIGHTS, MEMBER(weights.gate_bias.dtype), -1, INVALID},
    {"router-short-stride", WEIGHTS, MEMBER(weights.router.stride_bytes), 4, INVALID},
    {"layer-struct_size-0", LAYER, MEMBER(layer.struct_size), 0, INVALID},
    {"layer-unknown-flag", LAYER, MEMBER(layer.flags), 1 << 30, INVALID},
    {"activation-unknown", LAYER, MEMBER(layer.activation), 6, INVALID},
    {"activation-negative", LAYER, MEMBER(layer.activation), -1, INVALID},
    {"silu_beta-nan", LAYER, MEMBER(layer.silu_beta), QUIET_NAN_BITS, INVALID},
    {"silu_beta-infinite", LAYER, MEMBER(layer.silu_beta), INFINITY_BITS, INVALID},
    {"x_dtype-quantised", LAYER, MEMBER(layer.x_dtype), MGLU_DTYPE_Q8_0, INVALID},
    {"y_dtype-unknown", LAYER, MEMBER(layer.y_dtype), 77, INVALID},
    {"top_k-negative", LAYER, MEMBER(layer.top_k), -1, INVALID},
    {"top_k-above-n_m", LAYER, MEMBER(layer.top_k), 4, INVALID},
    {"layer-reserved", LAYER, MEMBER(layer.reserved), 1, INVALID},
    {"max_batch-0", LAYER, MEMBER(layer.max_batch), 0, INVALID},
    {"max_batch-too-large", LAYER, MEMBER(layer.max_batch), TOO_LARGE(MGLU_MAX_BATCH), INVALID},
    {"forward-struct_size-0", FORWARD, MEMBER(forward.struct_size), 0, INVALID},
    {"forward-reserved", FORWARD, MEMBER(forward.reserved), 1, INVALID},
    {"batch-negative", FORWARD, MEMBER(forward.batch), -1, INVALID},
    {"batch-above-max_batch", FORWARD, MEMBER(forward.batch), 4, INVALID},
    {"x-missing", FORWARD, MEMBER(forward.x.data), 0, INVALID},
    {"x-short-stride", FORWARD, MEMBER(forward.x.row_stride), 34, INVALID},
    {"x-negative-stride", FORWARD, MEMBER(forward.x.row_stride), -35, INVALID},
    {"x-stride-overflows", FORWARD, MEMBER(forward.x.row_stride), INT64_MAX, INVALID},
    {"y-missing", FORWARD, MEMBER(forward.y.data), 0, INVALID},
    {"y-short-stride", FORWARD, MEMBER(forward.y.row_stride), 6, INVALID},
    {"residual-short-stride", FORWARD, MEMBER(forward.residual.row_stride), 6, INVALID},
    {"routing_ids-missing", FORWARD, MEMBER(forward.routing_ids.data), 0, INVALID},
    {"routing_ids-short-stride", FORWARD, MEMBER(forward.routing_ids.row_stride), 1, INVALID},
    {"routing_weights-missing", FORWARD, MEMBER(forward.routing_weights.data), 0, INVALID},
};

enum { RULES = sizeof rules / sizeof rules[0] };

/* 4 or 8 bytes: all that the rules have. */
static void set_member(struct calls *calls, const struct rule *rule)
{
    int32_t narrow = (int32_t)rule->value;

    memcpy((char *)calls + rule->at, rule->size == sizeof narrow ? (void *)&narrow : (void *)&rule->value, rule->size);
}

/* With every part, so that every rule can be broken. */
static struct problem whole_problem(struct random random)
{
    const struct shape shape = {.dtypes = &dtype_sets[0],
                                .h = 35,
                                .d = 9,
                                .out = 7,
                                .n_masks = 3,
                                .top_k = 2,
                                .batch = 3,
                                .parts = PART_BIASES | PART_RESIDUAL};
    struct problem problem = problem_make(&shape, random);

    problem.router = problem_allocate(&problem, 3 * 35 * sizeof(float));
    problem.weights.router = (mglu_array){.data = problem.router, .dtype = MGLU_DTYPE_F32};
    return problem;
}

static void expect_weights_refused(const struct target *target, const struct calls *calls, mglu_status status,
                                   struct outcome *outcome)
{
    mglu_weights *weights = NULL;

    outcome_expect(outcome, "mglu_weights_create", mglu_weights_create(target->device, &calls->weights, &weights),
                   status);
    if (weights)
        outcome_set(outcome, VERDICT_FAIL, "mglu_weights_create failed and set its result");
    mglu_weights_destroy(&weights);
}

static void expect_layer_refused(const struct calls *calls, const struct rig *rig, mglu_status status,
                                 struct outcome *outcome)
{
    mglu_layer *layer = NULL;

    outcome_expect(outcome, "mglu_layer_create", mglu_layer_create(rig->weights, &calls->layer, &layer), status);
    if (layer)
        outcome_set(outcome, VERDICT_FAIL, "mglu_layer_create failed and set its result");
    mglu_layer_destroy(&layer);
}

/* One allocation has all arrays, 1 KiB apart. */
static void point_into(mglu_forward_args *forward, const struct rig *rig, const mglu_memory *memory)
{
    void *data = mglu_memory_data(memory);

    *forward = (mglu_forward_args){.struct_size = sizeof *forward,
                                   .batch = 3,
                                   .x = {data, 0, 0},
                                   .y = {data, 1024, 0},
                                   .residual = {data, 2048, 0},
                                   .routing_ids = {data, 3072, 0},
                                   .routing_weights = {data, 4096, 0},
                                   .workspace = mglu_memory_data(rig->workspace),
                                   .workspace_size = mglu_memory_size(rig->workspace)};
}

static void expect_forward_refused(struct calls *calls, const struct rig *rig, const struct rule *rule,
                                   struct outcome *outcome)
{
    enum { BYTES = 8192 };
    unsigned char before[BYTES] = {0}, after[BYTES];
    mglu_memory *memory = NULL;

    if (outcome_expect(outcome, "mglu_memory_create", mglu_memory_create(rig->device, BYTES, &memory), MGLU_OK) &&
        outcome_expect(outcome, "mglu_memory_write", mglu_memory_write(memory, rig->queue, 0, before, BYTES),
                       MGLU_OK)) {
        point_into(&calls->forward, rig, memory);
        outcome_expect(outcome, "a sound mglu_forward", mglu_forward(rig->layer, rig->queue, &calls->forward), MGLU_OK);
        outcome_expect(outcome, "mglu_memory_read", mglu_memory_read(memory, rig->queue, 0, before, BYTES), MGLU_OK);
        before[1024] ^= 0xff;
        outcome_expect(outcome, "mglu_memory_write", mglu_memory_write(memory, rig->queue, 0, before, BYTES), MGLU_OK);
        set_member(calls, rule);
        outcome_expect(outcome, "mglu_forward", mglu_forward(rig->layer, rig->queue, &calls->forward), rule->status);
        outcome_expect(outcome, "mglu_queue_wait", mglu_queue_wait(rig->queue), MGLU_OK);
        outcome_expect(outcome, "mglu_memory_read", mglu_memory_read(memory, rig->queue, 0, after, BYTES), MGLU_OK);
        if (memcmp(before, after, BYTES) != 0)
            outcome_set(outcome, VERDICT_FAIL, "a forward that was refused has written");
    }
    mglu_memory_destroy(&memory);
}

static void check_rule(const struct target *target, const struct rule *rule, struct random random,
                       struct outcome *outcome)
{
    struct problem problem = whole_problem(random);
    struct calls calls = {.weights = problem.weights, .layer = problem.layer};
    struct rig rig;

    if (open_rig(&rig, target->device, &problem, outcome)) {
        if (rule->stage != FORWARD)
            set_member(&calls, rule);
        if (rule->stage == SOURCES || rule->stage == WEIGHTS)
            expect_weights_refused(target, &calls, rule->status, outcome);
        if (rule->stage == WEIGHTS || rule->stage == LAYER)
            outcome_expect(outcome, "mglu_supports", mglu_supports(target->device, &calls.weights, &calls.layer),
                           rule->status);
        if (rule->stage == LAYER)
            expect_layer_refused(&calls, &rig, rule->status, outcome);
        if (rule->stage == FORWARD)
            expect_forward_refused(&calls, &rig, rule, outcome);
        rig_close(&rig);
    }
    problem_free(&problem);
}

/* The workspace and routing depend on the layer; a table of members can't express that. */
static void check_workspace_and_routing(const struct target *target, struct random random, struct outcome *outcome)
{
    struct problem problem = whole_problem(random);
    struct calls calls = {0};
    mglu_memory *memory = NULL;
    struct rig rig;

    problem.weights.router.data = NULL;
    if (!open_rig(&rig, target->device, &problem, outcome)) {
        problem_free(&problem);
        return;
    }
    if (outcome_expect(outcome, "mglu_memory_create", mglu_memory_create(rig.device, 8192, &memory), MGLU_OK)) {
        point_into(&calls.forward, &rig, memory);
        calls.forward.routing_ids = calls.forward.routing_weights = (mglu_input){0};
        outcome_expect(outcome, "mglu_forward without router or routing",
                       mglu_forward(rig.layer, rig.queue, &calls.forward), INVALID);
        point_into(&calls.forward, &rig, memory);
        if (calls.forward.workspace_size > 0) {
            calls.forward.workspace_size--;
            outcome_expect(outcome, "mglu_forward with a workspace too small",
                           mglu_forward(rig.layer, rig.queue, &calls.forward), INVALID);
            calls.forward.workspace_size++;
            calls.forward.workspace = NULL;
            outcome_expect(outcome, "mglu_forward without a workspace",
                           mglu_forward(rig.layer, rig.queue, &calls.forward), INVALID);
        }
    }
    mglu_memory_destroy(&memory);
    rig_close(&rig);
    problem_free(&problem);
}

/* What is refused can't be made either; what is accepted gives correct results. */
static void check_claim(const struct target *target, const struct shape *shape, struct random random,
                        struct outcome *outcome)
{
    struct problem problem = problem_make(shape, random);
    mglu_status claim = mglu_supports(target->device, &problem.weights, &problem.layer), made;
    mglu_weights *weights = NULL;
    mglu_layer *layer = NULL;

    if (claim == MGLU_OK) {
        check_with_oracle(target, &problem, outcome);
    } else if (outcome_expect(outcome, "mglu_supports", claim, MGLU_ERROR_UNSUPPORTED)) {
        made = mglu_weights_create(target->device, &problem.weights, &weights);
        if (made == MGLU_OK)
            made = mglu_layer_create(weights, &problem.layer, &layer);
        outcome_expect(outcome, "making what mglu_supports() refuses", made, MGLU_ERROR_UNSUPPORTED);
        mglu_layer_destroy(&layer);
        mglu_weights_destroy(&weights);
    }
    problem_free(&problem);
}

/* Every dtype of weights with every one of x and y, and every number of masks, with all parts and without. */
static void check_claims(const struct target *target, mglu_activation activation, struct random random,
                         struct outcome *outcome)
{
    for (int32_t i = 0; i < 27 * (MGLU_MAX_MASKS + 1); i++) {
        const int32_t n_masks = i / 27;
        const struct dtypes dtypes = {"", (mglu_dtype)(i / 9 % 3), (mglu_dtype)(i / 3 % 3), (mglu_dtype)(i % 3), 0};
        const struct shape shape = {.kind = n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
                                    .dtypes = &dtypes,
                                    .activation = activation,
                                    .h = 5,
                                    .d = 3,
                                    .out = i % 2 ? 2 : 0,
                                    .n_masks = n_masks,
                                    .top_k = i % 4 == 3 ? (n_masks + 1) / 2 : 0,
                                    .batch = 1,
                                    .parts = i % 3 ? PART_BIASES | PART_RESIDUAL : 0};
        check_claim(target, &shape, random, outcome);
    }
}

static void list_arguments(case_sink *sink, void *user)
{
    for (size_t i = 0; i < RULES; i++)
        list_case(sink, user, TIER_QUICK, i, "arguments/%s", rules[i].name);
    list_case(sink, user, TIER_QUICK, RULES, "arguments/workspace-and-routing");
    for (size_t i = 0; i < ACTIVATIONS; i++)
        list_case(sink, user, TIER_QUICK, RULES + 1 + i, "arguments/supports/%s",
                  mglu_activation_name((mglu_activation)i));
}

static void run_arguments(const struct target *target, const struct test_case *test, struct outcome *outcome)
{
    struct random random = random_for(target, test->name, "problem");
    size_t number = case_number(test);

    if (number < RULES)
        check_rule(target, &rules[number], random, outcome);
    else if (number == RULES)
        check_workspace_and_routing(target, random, outcome);
    else
        check_claims(target, (mglu_activation)(number - RULES - 1), random, outcome);
}

const struct group group_arguments = {
    "arguments",
    "what the headers forbid is refused, and mglu_supports() agrees with that",
    list_arguments,
    run_arguments,
};
