/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_SUPPORT_H
#define MGLU_CONFORMANCE_SUPPORT_H

#include "conformance.h"

/**
 * @file
 * Small problems for the groups that compare runs with each other (determinism, metamorphic) or look at single values
 * (special, arguments). All numbers are floats on the host that a case may change before it runs; they take the stored
 * dtype on their way to the device.
 */

/** Which dtypes a problem has, and which of a layer's flags. */
struct dtypes {
    const char *name;
    mglu_dtype weight, x, y;
    uint32_t flags;
};

enum { DTYPE_SETS = 9, ACTIVATIONS = MGLU_ACTIVATION_COUNT };
extern const struct dtypes dtype_sets[DTYPE_SETS];

/** Whether a set of dtypes is worth a case with an activation: what quantised weights change, two of them show. */
bool worth_a_case(size_t dtypes, size_t activation);

/** What a problem has beside W and the masks. */
enum { PART_BIASES = 1, PART_ROUTER = 2, PART_RESIDUAL = 4 };

struct shape {
    mglu_kind kind;
    const struct dtypes *dtypes;
    mglu_activation activation;
    int64_t h, d, out; /**< out = 0: no down-projection */
    int32_t n_masks;   /**< 0 when plain */
    int32_t top_k;     /**< above 0 without PART_ROUTER: ids and p are made up */
    int64_t batch;
    unsigned parts;
};

struct problem {
    mglu_weights_desc weights; /**< its arrays are those below */
    mglu_layer_desc layer;
    int64_t batch, columns;
    float *weight, *value_weight, *gate_bias, *value_bias, *router, *down, *down_bias;
    uint8_t *masks; /**< [n_m][d][h] */
    float *x;       /**< [batch][h] */
    float *residual;
    int32_t *ids; /**< [batch][top_k] */
    float *p;
    void *memory[16]; /**< freed by problem_free() */
    size_t used;
};

/** Never NULL: a suite without memory has no result, and ends. */
void *allocate(size_t size);

/** Fills a problem with numbers in [-1, 1). Absent arrays are NULL. */
struct problem problem_make(const struct shape *shape, struct random random);
void problem_free(struct problem *problem);

/** `bytes` of memory that live as long as the problem. */
void *problem_allocate(struct problem *problem, size_t bytes);

/** Address of W[row][column], M_mask[row][column], x[token][column] of a problem. */
float *weight_at(const struct problem *problem, int64_t row, int64_t column);
uint8_t *mask_at(const struct problem *problem, int32_t mask, int64_t row, int64_t column);
float *x_at(const struct problem *problem, int64_t token, int64_t column);

void fill_floats(float *array, size_t count, float value);
void fill_masks(const struct problem *problem, uint8_t bit);

/** Makes a rig for a problem. False, with the outcome set, when it can't be or the device does not claim it. */
bool open_rig(struct rig *rig, mglu_device *device, const struct problem *problem, struct outcome *outcome);

/** Where the arrays of a call lie in their memory. */
struct layout {
    int64_t offset;        /**< elements before the first row */
    int64_t gap;           /**< elements between the rows */
    unsigned char fill;    /**< byte that y holds before, in rows and gaps */
    bool residual_is_y;    /**< y is its own residual */
    int64_t first, tokens; /**< of the problem's batch; tokens = 0: all */
    mglu_status wait;      /**< what mglu_queue_wait() must return */
};

/** Without offset or gap, y full of NaN. */
extern const struct layout tight;

/**
 * One forward. What y's memory holds outside y must stay as it was.
 *
 * @return y [tokens][columns] in its dtype without gaps, to be freed; NULL with the outcome set when a call failed.
 */
unsigned char *run_on(const struct rig *rig, const struct problem *problem, const struct layout *layout,
                      struct outcome *outcome);

/** The same on a rig of its own. */
unsigned char *run_once(mglu_device *device, const struct problem *problem, const struct layout *layout,
                        struct outcome *outcome);

/** Element [row][column] of a y without gaps. */
float y_at(const struct problem *problem, const unsigned char *y, int64_t row, int64_t column);

/** Stands for all rows or columns, or for none where it says which to skip. */
enum { ALL = -1, NONE = -1 };

/** The same bits but for one row and one column, which may be NONE. `what` says whose bits they should be. */
bool expect_same(struct outcome *outcome, const struct problem *problem, const unsigned char *got,
                 const unsigned char *want, int64_t skip_row, int64_t skip_column, const char *what);

/** NaN in a row and a column, which may be ALL. */
bool expect_nan(struct outcome *outcome, const struct problem *problem, const unsigned char *got, int64_t row,
                int64_t column);

/** The value itself; NaN for NaN, and either zero for zero. */
bool expect_value(struct outcome *outcome, const struct problem *problem, const unsigned char *got, int64_t row,
                  int64_t column, double want);

/** What the reference says y must be, and how far off it may be: both [batch][columns], to be freed. */
struct oracle {
    double *want, *tolerance;
};
bool ask_oracle(struct oracle *oracle, const struct target *target, const struct problem *problem,
                mglu_accuracy accuracy, struct outcome *outcome);
void free_oracle(struct oracle *oracle);

/** Every element within its tolerance; NaN for NaN, infinity for infinity. */
void compare_with_oracle(const struct oracle *oracle, const struct problem *problem, const unsigned char *y,
                         struct outcome *outcome);

/** Runs a problem on the target and compares every element with the oracle. */
void check_with_oracle(const struct target *target, const struct problem *problem, struct outcome *outcome);

/** Gives one case to a sink. `number` comes back as case_number(). */
void list_case(case_sink *sink, void *user, enum tier tier, size_t number, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
size_t case_number(const struct test_case *test);

#endif
