/* SPDX-License-Identifier: MIT */
#include "sample.h"

/* What a host opens and closes in test_dlopened.c. */

void forward_on_two_threads(void);

void forward_on_two_threads(void)
{
    enum { H = 512, D = 512 };
    static const float x[H];
    static float y[D];
    const struct sample_shape shape = {.h = H, .d = D, .n_masks = 1};
    const mglu_context_desc context = {.struct_size = sizeof context, .num_threads = 2};
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};
    struct sample sample = sample_make(&shape, 1);
    struct rig rig = rig_make("cpu", &context, &sample.desc, &layer);

    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = 1, .x = {.data = x}, .y = {.data = y}}));
    rig_free(&rig);
    sample_free(&sample);
}
