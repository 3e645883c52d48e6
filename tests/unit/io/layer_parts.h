/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_IO_LAYER_PARTS_H
#define MGLU_TEST_IO_LAYER_PARTS_H

#include "tests/unit/io/support.h"

/* Parts common to most cases: a projection P of d = 2, h = 3 with two masks, and the blocks around it. */
#define WEIGHT(name)                                                                                                   \
    {                                                                                                                  \
        name, "F16", "2, 3", NULL, 12                                                                                  \
    }
#define MASK(name)                                                                                                     \
    {                                                                                                                  \
        name, "F32", "2, 2, 3", NULL, 48                                                                               \
    }
#define MASK_BITS(name)                                                                                                \
    {                                                                                                                  \
        name, "I32", "2, 1, 2", NULL, 16                                                                               \
    }

#define QUANTS                                                                                                         \
    {                                                                                                                  \
        "P.weight", "I8", "2, 3", NULL, 6                                                                              \
    }
#define SCALES(shape)                                                                                                  \
    {                                                                                                                  \
        "P.weight_scale", "F16", shape, NULL, 4                                                                        \
    }

#endif
