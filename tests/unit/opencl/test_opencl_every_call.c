/* SPDX-License-Identifier: MIT */
#include "failing_driver.h"

#include "../script.h"

#include <CL/cl.h>

/* Every call of a real driver fails once. */

static void expect_nothing_held(void)
{
    if (failing_objects() != 0)
        fail_msg("%d objects of the driver are held", failing_objects());
}

static const struct script_driver driver = {"opencl", failing_break_at, failing_heal, failing_call,
                                            expect_nothing_held};

static const struct script_failure failures[] = {
    {CL_OUT_OF_RESOURCES, 0, "CL_OUT_OF_RESOURCES (-5)", MGLU_ERROR_OUT_OF_MEMORY},
};

static const struct script_failure lost[] = {
    {CL_DEVICE_NOT_AVAILABLE, 0, "CL_DEVICE_NOT_AVAILABLE (-2)", MGLU_ERROR_DEVICE_LOST},
};

static const struct sample_shape whole = {
    MGLU_KIND_MASKED, MGLU_DTYPE_F16, 40, 30, 7, 3, WITH_BIASES | WITH_ROUTER | WITH_DOWN};
static const struct sample_shape plain = {MGLU_KIND_PLAIN, MGLU_DTYPE_F32, 9, 5, 0, 0, 0};

static void any_failing_call_is_named_and_a_retry_gives_the_same_bits(void **state)
{
    script_fail_everywhere(&driver, &whole, 2, failures, 1);
}

static void a_device_lost_at_any_call_says_so_and_another_context_works(void **state)
{
    script_fail_everywhere(&driver, &plain, 0, lost, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_failing_call_is_named_and_a_retry_gives_the_same_bits),
        cmocka_unit_test(a_device_lost_at_any_call_says_so_and_another_context_works),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
