/* SPDX-License-Identifier: MIT */
#include "cases/groups.h"
#include "judge/grid.h"

/* Sizes of 0: an empty batch and no rows write nothing; without columns y depends on the biases only. */

struct empty_shape {
    int64_t h, d, batch, out;
    enum residual residual;
};

static const struct empty_shape shapes[] = {
    {0, 17, 3, 0, RESIDUAL_NONE},       {0, 17, 3, 21, RESIDUAL_SEPARATE}, {33, 0, 3, 0, RESIDUAL_NONE},
    {33, 0, 3, 21, RESIDUAL_NONE},      {33, 0, 3, 21, RESIDUAL_IN_PLACE}, {33, 17, 0, 0, RESIDUAL_NONE},
    {33, 17, 0, 21, RESIDUAL_SEPARATE}, {0, 0, 3, 21, RESIDUAL_SEPARATE},  {0, 0, 0, 0, RESIDUAL_NONE},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0], TYPES = 3, ACTIVATIONS = MGLU_ACTIVATION_COUNT };

static struct grid_case make_case(const struct empty_shape *shape, mglu_dtype dtype, int activation, int32_t n_masks,
                                  enum routing routing)
{
    return (struct grid_case){.kind = n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
                              .weight = dtype,
                              .x = dtype,
                              .y = dtype,
                              .n_masks = n_masks,
                              .activation = (mglu_activation)activation,
                              .h = shape->h,
                              .d = shape->d,
                              .batch = shape->batch,
                              .out = shape->out,
                              .bias = BIAS_BOTH,
                              .routing = routing,
                              .residual = shape->residual,
                              .placement = PLACE_OFFSET_PADDED,
                              .fill = FILL_EXACT};
}

static void list(case_sink *sink, void *user)
{
    static const mglu_dtype types[TYPES] = {MGLU_DTYPE_F32, MGLU_DTYPE_F16, MGLU_DTYPE_BF16};
    static const struct {
        int32_t n_masks;
        enum routing routing;
    } kinds[] = {{0, ROUTING_OFF}, {3, ROUTING_OFF}, {3, ROUTING_TWO}};
    enum { KINDS = sizeof kinds / sizeof kinds[0] };
    static struct grid_case table[SHAPES * TYPES * ACTIVATIONS * KINDS];
    struct grid_case *next = table;

    for (int s = 0; s < SHAPES; s++)
        for (int t = 0; t < TYPES; t++)
            for (int a = 0; a < ACTIVATIONS; a++)
                for (int k = 0; k < KINDS; k++, next++) {
                    *next = make_case(&shapes[s], types[t], a, kinds[k].n_masks, kinds[k].routing);
                    grid_emit(next, "empty", a % 3 == 0 ? TIER_QUICK : TIER_FULL, sink, user);
                }
}

const struct group group_empty = {"empty", "sizes of 0", list, grid_run};
