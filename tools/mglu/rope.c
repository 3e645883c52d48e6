/* SPDX-License-Identifier: MIT */
#include "rope.h"

#include <math.h>
#include <stddef.h>

static const double full_turn = 6.283185307179586;

const char *rope_type_name(int type)
{
    static const char *const names[ROPE_TYPES] = {"default", "linear", "llama3"};
    return type >= 0 && type < ROPE_TYPES ? names[type] : NULL;
}

/**
 * Llama 3.1: short wavelengths keep their frequency, long ones are divided by the factor, and between them the two
 * are interpolated.
 */
static double llama3_frequency(const struct rope *rope, double frequency)
{
    const double turns = rope->original_positions * frequency / full_turn;
    if (turns < rope->low_factor)
        return frequency / rope->factor;
    if (turns > rope->high_factor)
        return frequency;
    const double kept = (turns - rope->low_factor) / (rope->high_factor - rope->low_factor);
    return (1 - kept) * frequency / rope->factor + kept * frequency;
}

double rope_frequency(const struct rope *rope, int64_t index, int64_t pairs)
{
    const double frequency = pow(rope->theta, -(double)index / (double)pairs);
    if (rope->type == ROPE_LINEAR)
        return frequency / rope->factor;
    if (rope->type == ROPE_LLAMA3)
        return llama3_frequency(rope, frequency);
    return frequency;
}

void rope_fill(const struct rope *rope, int64_t positions, int64_t pairs, float *cosines, float *sines)
{
    for (int64_t i = 0; i < pairs; i++) {
        const double frequency = rope_frequency(rope, i, pairs);
        for (int64_t position = 0; position < positions; position++) {
            cosines[position * pairs + i] = (float)cos((double)position * frequency);
            sines[position * pairs + i] = (float)sin((double)position * frequency);
        }
    }
}
