/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_ARGUMENTS_H
#define MGLU_TEST_ARGUMENTS_H

#include "sample.h"

/* What the tests of arguments begin with: a device, and a layer that breaks no rule. */

static const struct sample_shape base_shape = {.kind = MGLU_KIND_MASKED,
                                               .dtype = MGLU_DTYPE_F32,
                                               .h = 3,
                                               .d = 2,
                                               .out = 4,
                                               .n_masks = 2,
                                               .parts = WITH_BIASES | WITH_ROUTER | WITH_DOWN};

static mglu_context *context;
static mglu_device *device;
static struct sample sample;

static int open_device(void **state)
{
    sample = sample_make(&base_shape, 1);
    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "ref", &device));
    return 0;
}

static int close_device(void **state)
{
    sample_free(&sample);
    mglu_context_destroy(&context);
    return 0;
}

#endif
