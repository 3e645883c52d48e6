/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CUDA_USE_H
#define MGLU_TEST_CUDA_USE_H

#include "fake_driver.h"
#include "tests/unit/sample.h"

/* A host's whole use of the CUDA backend: a routed layer with a down-projection, one forward of BATCH tokens. */

enum { USE_H = 70, USE_D = 40, USE_OUT = 20, USE_MASKS = 3, USE_TOP_K = 2, USE_BATCH = 3 };

/* What a forward needs on the device. */
struct use {
    struct sample sample;
    struct rig rig;
    mglu_memory *x, *y;
    mglu_forward_args args;
};

/* Makes everything, up to the first failure. Returns the first status that is not MGLU_OK. */
mglu_status use_make(struct use *use, const mglu_context_desc *desc, void *native_stream);

/* A forward, a wait, and the first number of y. */
mglu_status use_forward(struct use *use, float *first);

void use_free(struct use *use);

/* use_make, use_forward, use_free. */
mglu_status use_everything(void);

/* Asserts that everything of the driver has been released. */
void assert_nothing_held(void);

/* Fixtures of a test: a reset of the driver before it, assert_nothing_held() after it. */
int reset(void **state);
int no_leak(void **state);

#endif
