/* SPDX-License-Identifier: MIT */
#include "tests/unit/check.h"

#include "common/core/activate.h"

/* The selection of an activation, which the CPU and OpenCL backends share; test_activations.c tests the values. */

static void every_activation_is_handled(void **state)
{
    for (int activation = 0; activation < MGLU_ACTIVATION_COUNT; activation++)
        assert_true(isfinite(activate(0.75f, (mglu_activation)activation, 1.0f)));
    assert_true(activate(0.75f, MGLU_ACTIVATION_IDENTITY, 1.0f) == 0.75f);
}

static void an_unknown_activation_is_nan(void **state)
{
    assert_true(isnan(activate(0.75f, (mglu_activation)MGLU_ACTIVATION_COUNT, 1.0f)));
    assert_true(isnan(activate(0.75f, (mglu_activation)-1, 1.0f)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_activation_is_handled),
        cmocka_unit_test(an_unknown_activation_is_nan),
    };

    return cmocka_run_group_tests_name("activate", tests, NULL, NULL);
}
