/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_TRAIN_CASE_H
#define MGLU_CONFORMANCE_TRAIN_CASE_H

#include "conformance.h"
#include "problem/axes.h"

/** What a training step computes. */
enum train_result {
    TRAIN_Y,
    TRAIN_DX,
    TRAIN_DWEIGHT,
    TRAIN_DLOGITS,
    TRAIN_DGATE_BIAS,
    TRAIN_DVALUE_BIAS,
    TRAIN_DROUTER_LOGITS,
    TRAIN_RESULTS
};

/** All that defines a forward and a backward, apart from the numbers. */
struct train_case {
    mglu_dtype dtype, weight;
    mglu_activation activation;
    float silu_beta;
    int32_t n_masks, top_k;
    int64_t h, d, batch;
    enum bias bias;
    mglu_mask_form form;
    enum placement placement;
    unsigned wanted; /**< bit i: result i is asked for */
    bool accumulate; /**< MGLU_TRAIN_ACCUMULATE */
    bool integers;   /**< small integers as numbers */
};

const char *train_result_name(enum train_result result);

/** Whether such a layer has the result, and whether the case asks for it. */
bool train_has(const struct train_case *test, enum train_result result);
bool train_wants(const struct train_case *test, enum train_result result);

/** Shape and dtype of a result. */
int64_t train_rows(const struct train_case *test, enum train_result result);
int64_t train_columns(const struct train_case *test, enum train_result result);
mglu_dtype train_dtype(const struct train_case *test, enum train_result result);

/** Whether MGLU_TRAIN_ACCUMULATE applies to a result. */
bool train_accumulates(enum train_result result);

/** Whether every right result has the same bits. */
bool train_is_exact(const struct train_case *test);

/** The plan of a case. */
mglu_train_desc train_desc(const struct train_case *test);

/** Writes "train/nm=2_..." to `name`, with everything that defines the case. */
void train_name(const struct train_case *test, char *name, size_t size);

#endif
