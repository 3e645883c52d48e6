/* SPDX-License-Identifier: MIT */
/*
 * Masks that are learned. A teacher layer has masks that nobody knows; a student with the same W sees what the teacher
 * makes of random tokens, and learns its mask logits by gradient descent with the straight-through rule. Training in
 * Python is in docs/training.md.
 *
 *     cc 07-train.c -o 07-train $(pkg-config --cflags --libs mglu)
 *
 * It prints:
 *     step   0: loss 4.66, 26 of 64 bits of the mask are the teacher's
 *     step 300: loss 0.00, 64 of 64 bits of the mask are the teacher's
 */
#include <mglu/mglu.h>

#include <stdio.h>
#include <stdlib.h>

enum { HIDDEN = 8, INTERMEDIATE = 8, TOKENS = 128, STEPS = 300 };
enum { WEIGHTS = INTERMEDIATE * HIDDEN, OUTPUTS = TOKENS * INTERMEDIATE };

static float weight[WEIGHTS], teacher[WEIGHTS], logits[WEIGHTS], dlogits[WEIGHTS];
static float x[TOKENS * HIDDEN], want[OUTPUTS], y[OUTPUTS], dy[OUTPUTS];

static struct {
    mglu_context *context;
    mglu_device *device;
    mglu_train *train;
    mglu_memory *workspace, *saved;
} made;

/** Ends the program where a call failed. */
static void require(mglu_status status)
{
    if (status == MGLU_OK)
        return;
    fprintf(stderr, "%s: %s\n", mglu_status_string(status), mglu_last_error());
    exit(1);
}

/** Numbers in -1..1, the same on every machine. */
static void fill(float *numbers, int count)
{
    static uint32_t seed = 1;

    for (int i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        numbers[i] = (float)(seed >> 8) / 8388608 - 1;
    }
}

/** A plan for steps of up to TOKENS tokens: SiLU, f32. It holds no parameters. */
static void make_plan(void)
{
    mglu_train_desc desc = MGLU_TRAIN_DESC_INIT;

    desc.hidden_size = HIDDEN;
    desc.intermediate_size = INTERMEDIATE;
    desc.n_masks = 1;
    desc.max_batch = TOKENS;
    require(mglu_context_create(NULL, &made.context));
    require(mglu_device_pick(made.context, "host", &made.device));
    require(mglu_train_create(made.device, &desc, &made.train));
    require(mglu_memory_create(made.device, mglu_train_workspace_size(made.train, TOKENS), &made.workspace));
    require(mglu_memory_create(made.device, mglu_train_saved_size(made.train, TOKENS), &made.saved));
}

/** What both calls read. The mask is 1 where a logit is above 0. */
static mglu_train_inputs inputs(const float *mask_logits)
{
    mglu_train_inputs inputs = {0};

    inputs.x.data = x;
    inputs.weight.data = weight; /* f32 */
    inputs.masks.data = mask_logits;
    inputs.masks.form = MGLU_MASK_LOGITS_F32;
    return inputs;
}

static void forward(const float *mask_logits, float *result)
{
    mglu_train_forward_args args = MGLU_TRAIN_FORWARD_ARGS_INIT;

    args.batch = TOKENS;
    args.inputs = inputs(mask_logits);
    args.y.data = result;
    args.saved = mglu_memory_data(made.saved); /* for the backward */
    args.saved_size = mglu_memory_size(made.saved);
    args.workspace = mglu_memory_data(made.workspace);
    args.workspace_size = mglu_memory_size(made.workspace);
    require(mglu_train_forward(made.train, NULL, &args));
}

/** dlogits, after a forward; other gradients are not asked for. */
static void backward(void)
{
    mglu_train_backward_args args = MGLU_TRAIN_BACKWARD_ARGS_INIT;

    args.batch = TOKENS;
    args.inputs = inputs(logits);
    args.dy.data = dy;
    args.dlogits = dlogits;
    args.saved = mglu_memory_data(made.saved);
    args.saved_size = mglu_memory_size(made.saved);
    args.workspace = mglu_memory_data(made.workspace);
    args.workspace_size = mglu_memory_size(made.workspace);
    require(mglu_train_backward(made.train, NULL, &args));
}

/** The mean of squared differences, and dy, the gradient of half their sum. */
static double loss(void)
{
    double sum = 0;

    for (int i = 0; i < OUTPUTS; i++) {
        dy[i] = y[i] - want[i];
        sum += (double)dy[i] * (double)dy[i];
    }
    return sum / OUTPUTS;
}

static void report(int step, double now)
{
    int same = 0;

    for (int i = 0; i < WEIGHTS; i++)
        same += (logits[i] > 0) == (teacher[i] > 0);
    printf("step %3d: loss %.2f, %d of %d bits of the mask are the teacher's\n", step, now, same, WEIGHTS);
}

int main(void)
{
    double now;

    fill(weight, WEIGHTS);
    fill(teacher, WEIGHTS);
    fill(logits, WEIGHTS);
    fill(x, TOKENS * HIDDEN);
    for (int i = 0; i < WEIGHTS; i++)
        weight[i] += weight[i] > 0 ? 1 : -1; /* none so small that its side makes no difference */
    make_plan();
    forward(teacher, want);
    for (int step = 0; step <= STEPS; step++) {
        forward(logits, y);
        now = loss();
        if (step % STEPS == 0)
            report(step, now);
        backward();
        for (int i = 0; i < WEIGHTS; i++)
            logits[i] -= 0.01f * dlogits[i];
    }
    mglu_memory_destroy(&made.saved);
    mglu_memory_destroy(&made.workspace);
    mglu_train_destroy(&made.train);
    mglu_context_destroy(&made.context);
    return 0;
}
