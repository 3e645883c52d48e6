/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_TRAINING_H
#define MGLU_TEST_TRAINING_H

#include <mglu/mglu.h>

/** Number of kinds of training: x in f32 and in bf16. */
enum { TRAININGS = 2 };

/** Several blocks of 32 in each direction, in part. */
enum { TRAINING_H = 40, TRAINING_D = 36, TRAINING_MASKS = 3, TRAINING_TOP_K = 2, TRAINING_BATCH = 37 };

/** A step with made-up numbers, the same for the same number, with every part. */
struct training {
    mglu_train_desc desc;
    mglu_train_inputs inputs;
    mglu_input dy;
    void *memory[8]; /**< what they point to */
};

/** Everything that a step computes. With bf16, y and dx fill half of their arrays. */
struct training_result {
    float y[TRAINING_BATCH * TRAINING_D], dx[TRAINING_BATCH * TRAINING_H];
    float dweight[TRAINING_D * TRAINING_H], dlogits[TRAINING_MASKS * TRAINING_D * TRAINING_H];
    float dgate_bias[TRAINING_MASKS * TRAINING_D], dvalue_bias[TRAINING_MASKS * TRAINING_D];
    float drouter_logits[TRAINING_BATCH * TRAINING_MASKS];
};

void training_make(struct training *training, size_t number);
void training_free(struct training *training);

/** One forward and one backward, with a workspace of their own, on a plan that has the desc. */
void training_step(const struct training *training, mglu_device *device, mglu_train *plan,
                   struct training_result *result);

/** The same on a plan of its own. */
void training_compute(const struct training *training, mglu_device *device, struct training_result *result);

#endif
