/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_LAYER_SIZE_H
#define MGLU_TOOLS_LAYER_SIZE_H

#include <mglu/io.h>

#include <stdbool.h>

/** Bytes of a projection in a packed file, and of that of a GLU with the same sizes and dtype. */
struct layer_size {
    uint64_t bytes;
    uint64_t glu_bytes;
};

struct layer_size layer_size_of(const mglu_weights_desc *weights);

/** The sum over all layers of a file once they are stored as `dtype`, NULL: as they are. Reports an invalid layer. */
bool layer_size_total(const mglu_file *file, const mglu_dtype *dtype, struct layer_size *total, size_t *layers,
                      size_t *masked);

/** bytes as a percentage of glu_bytes; 100 when both are 0. */
double layer_size_percent(struct layer_size size);

#endif
