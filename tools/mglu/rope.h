/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_ROPE_H
#define MGLU_TOOLS_ROPE_H

/**
 * @file
 * Rotary position embedding: the frequencies of pairs of elements, as transformers computes them.
 */

#include <stdint.h>

enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_TYPES };

struct rope {
    enum rope_type type;
    double theta;
    double factor; /**< by which positions are divided; from here on not for ROPE_DEFAULT */
    /* From here on only for ROPE_LLAMA3. */
    double low_factor;         /**< original_positions / low_factor is the wavelength from which on factor applies */
    double high_factor;        /**< original_positions / high_factor is the wavelength up to which it does not */
    double original_positions; /**< of the training before the extension */
};

/** The name of a type in config.json, NULL beyond the last. */
const char *rope_type_name(int type);

/** The angle by which pair `index` of `pairs` in a head turns per position, in radians. */
double rope_frequency(const struct rope *rope, int64_t index, int64_t pairs);

/** Cosines and sines of positions 0..positions - 1: both [positions][pairs]. */
void rope_fill(const struct rope *rope, int64_t positions, int64_t pairs, float *cosines, float *sines);

#endif
