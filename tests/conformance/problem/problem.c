/* SPDX-License-Identifier: MIT */
#include "problem/problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void *allocate(size_t size)
{
    void *memory = calloc(1, size + 1);

    if (!memory) {
        fprintf(stderr, "mglu-conformance: out of memory\n");
        exit(1);
    }
    return memory;
}

void *problem_allocate(struct problem *problem, size_t bytes)
{
    void *memory = allocate(bytes);

    problem->memory[problem->used++] = memory;
    return memory;
}

static float *make_floats(struct problem *problem, int64_t count, struct random *random)
{
    float *floats = problem_allocate(problem, (size_t)count * sizeof(float));

    for (int64_t i = 0; i < count; i++)
        floats[i] = random_unit(random);
    return floats;
}

static void make_masks(struct problem *problem, const struct shape *shape, struct random *random)
{
    int64_t count = shape->n_masks * shape->d * shape->h;

    problem->masks = problem_allocate(problem, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        problem->masks[i] = random_u64(random) >> 63 & 1;
    problem->weights.masks = (mglu_mask_array){problem->masks, MGLU_MASK_BYTES};
}

static void make_routing(struct problem *problem, const struct shape *shape, struct random *random)
{
    int64_t count = shape->batch * shape->top_k;

    problem->ids = problem_allocate(problem, (size_t)count * sizeof(int32_t));
    problem->p = make_floats(problem, count, random);
    for (int64_t i = 0; i < count; i++)
        problem->ids[i] = (int32_t)(random_u64(random) % (uint64_t)shape->n_masks);
}

/* The arrays that some problems lack. */
static void make_parts(struct problem *problem, const struct shape *shape, struct random *random)
{
    int64_t terms = shape->n_masks ? shape->n_masks : 1;

    if (shape->kind == MGLU_KIND_PLAIN)
        problem->value_weight = make_floats(problem, shape->d * shape->h, random);
    else
        make_masks(problem, shape, random);
    if (shape->parts & PART_BIASES) {
        problem->gate_bias = make_floats(problem, terms * shape->d, random);
        problem->value_bias = make_floats(problem, terms * shape->d, random);
    }
    if (shape->parts & PART_ROUTER)
        problem->router = make_floats(problem, terms * shape->h, random);
    if (shape->out > 0)
        problem->down = make_floats(problem, shape->out * shape->d, random);
    if (shape->out > 0 && shape->parts & PART_BIASES)
        problem->down_bias = make_floats(problem, shape->out, random);
    if (shape->parts & PART_RESIDUAL)
        problem->residual = make_floats(problem, shape->batch * problem->columns, random);
    if (shape->top_k > 0 && !(shape->parts & PART_ROUTER))
        make_routing(problem, shape, random);
}

static void describe(struct problem *problem, const struct shape *shape)
{
    const struct {
        mglu_array *array;
        const float *data;
    } arrays[] = {
        {&problem->weights.weight, problem->weight},       {&problem->weights.value_weight, problem->value_weight},
        {&problem->weights.gate_bias, problem->gate_bias}, {&problem->weights.value_bias, problem->value_bias},
        {&problem->weights.router, problem->router},       {&problem->weights.down, problem->down},
        {&problem->weights.down_bias, problem->down_bias},
    };

    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        *arrays[i].array = (mglu_array){.data = arrays[i].data, .dtype = MGLU_DTYPE_F32};
    problem->layer = (mglu_layer_desc){.struct_size = sizeof problem->layer,
                                       .activation = shape->activation,
                                       .flags = shape->dtypes->flags,
                                       .x_dtype = shape->dtypes->x,
                                       .y_dtype = shape->dtypes->y,
                                       .top_k = shape->top_k,
                                       .max_batch = shape->batch ? shape->batch : 1};
}

struct problem problem_make(const struct shape *shape, struct random random)
{
    struct problem problem = {
        .batch = shape->batch,
        .columns = shape->out ? shape->out : shape->d,
        .weights = {.struct_size = sizeof problem.weights,
                    .kind = shape->kind,
                    .dtype = shape->dtypes->weight,
                    .hidden_size = shape->h,
                    .intermediate_size = shape->d,
                    .output_size = shape->out,
                    .n_masks = shape->n_masks},
    };

    problem.weight = make_floats(&problem, shape->d * shape->h, &random);
    problem.x = make_floats(&problem, shape->batch * shape->h, &random);
    make_parts(&problem, shape, &random);
    describe(&problem, shape);
    return problem;
}

void problem_free(struct problem *problem)
{
    while (problem->used)
        free(problem->memory[--problem->used]);
}

float *weight_at(const struct problem *problem, int64_t row, int64_t column)
{
    return problem->weight + row * problem->weights.hidden_size + column;
}

uint8_t *mask_at(const struct problem *problem, int32_t mask, int64_t row, int64_t column)
{
    return problem->masks + (mask * problem->weights.intermediate_size + row) * problem->weights.hidden_size + column;
}

float *x_at(const struct problem *problem, int64_t token, int64_t column)
{
    return problem->x + token * problem->weights.hidden_size + column;
}

void fill_floats(float *array, size_t count, float value)
{
    for (size_t i = 0; i < count; i++)
        array[i] = value;
}

void fill_masks(const struct problem *problem, uint8_t bit)
{
    const mglu_weights_desc *weights = &problem->weights;

    memset(problem->masks, bit, (size_t)(weights->n_masks * weights->intermediate_size * weights->hidden_size));
}

bool open_rig(struct rig *rig, mglu_device *device, const struct problem *problem, struct outcome *outcome)
{
    *rig = (struct rig){0};
    if (mglu_supports(device, &problem->weights, &problem->layer) == MGLU_ERROR_UNSUPPORTED) {
        outcome_set(outcome, VERDICT_UNSUPPORTED, "%s", mglu_last_error());
        return false;
    }
    return rig_open(rig, device, &problem->weights, &problem->layer, outcome);
}
