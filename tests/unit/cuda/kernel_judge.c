/* SPDX-License-Identifier: MIT */
#include "tests/unit/cuda/kernels.h"

#include "tests/unit/cuda/shim/shim.h"

#include <math.h>

/* Comparison of a forward with the reference. */

static int is_within(double got, double want, double tolerance)
{
    return (isnan(got) && isnan(want)) || got == want || fabs(got - want) <= tolerance;
}

static void judge_values(const struct kernel_run *run, const double *want, const double *tolerance)
{
    const struct kernel_case *test = &run->test;

    for (int64_t token = 0; token < test->batch; token++) {
        for (int64_t c = 0; c < run->columns; c++) {
            int64_t at = token * run->columns + c;
            double got = (double)kernel_y(run, token, c);
            if (!is_within(got, want[at], tolerance[at]))
                fail_msg("%s, %s weights, x %s, y %s, h %d, d %d, n_m %d, top_k %d, batch %d, parts %d: "
                         "y[%d][%d] is %.9g, not %.9g within %.3g",
                         mglu_cuda_engine_name(test->engine), mglu_dtype_name(test->shape.dtype),
                         mglu_dtype_name(test->x), mglu_dtype_name(test->y), (int)test->shape.h, (int)test->shape.d,
                         (int)test->shape.n_masks, (int)test->top_k, (int)test->batch, test->shape.parts, (int)token,
                         (int)c, got, want[at], tolerance[at]);
        }
    }
}

/* Checks that bytes before the first row and between rows are still 0xff. */
static void judge_gaps(const struct kernel_run *run)
{
    const size_t size = mglu_dtype_size(run->test.y), row = (size_t)run->args.y.row_stride * size;
    const size_t used = (size_t)run->columns * size, offset = run->args.y.byte_offset;

    for (size_t i = 0; i < run->y_bytes; i++)
        if (i < offset || (i - offset) % row >= used)
            assert_int_equal(((const unsigned char *)run->args.y.data)[i], 0xff);
}

void kernel_compare(const struct kernel_run *run)
{
    const size_t count = (size_t)(run->test.batch * run->columns);
    const mglu_accuracy accuracy = mglu_cuda_has_tensor_cores(run->test.engine) ? MGLU_ACCURACY_B : MGLU_ACCURACY_A;
    double *want = kernel_memory(count * sizeof *want), *tolerance = kernel_memory(count * sizeof *tolerance);
    struct rig rig = rig_make("ref", NULL, &run->sample.desc, &run->layer);

    assert_ok(mglu_forward_reference(rig.layer, &run->args, accuracy, want, tolerance));
    judge_values(run, want, tolerance);
    judge_gaps(run);
    rig_free(&rig);
    free(want);
    free(tolerance);
}

void kernel_check(const struct kernel_case *test, uint32_t seed)
{
    struct kernel_run run = kernel_prepare(test, seed);

    mglu_shim_shuffle(seed);
    kernel_forward(&run);
    kernel_compare(&run);
    assert_int_equal(run.bad_routing, 0);
    kernel_free(&run);
}
