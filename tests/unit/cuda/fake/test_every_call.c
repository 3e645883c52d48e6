/* SPDX-License-Identifier: MIT */
#include "use.h"

#include "../../script.h"

/* Every call of the driver, those on the stack of contexts too, fails once; all fail from it on, but the stack works.
 */

static void break_at(int k, int code, int stays)
{
    fake_reset();
    fake_settings()->failing_call = stays ? NULL : FAKE_EVERY_CALL;
    fake_settings()->calls_before_failure = k;
    fake_settings()->failure = (CUresult)code;
    fake_settings()->failure_stays = stays;
}

/* A failed call is remembered. */
static void heal(void)
{
    fake_settings()->calls_before_failure = -1;
}

static const struct script_driver driver = {"cuda", break_at, heal, fake_failed_call, assert_nothing_held};

static const struct script_failure failures[] = {
    {CUDA_ERROR_OUT_OF_MEMORY, 0, "CUDA_ERROR_OUT_OF_MEMORY (2)", MGLU_ERROR_OUT_OF_MEMORY},
    {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 0, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701)", MGLU_ERROR_DEVICE},
    {9999, 0, "(9999)", MGLU_ERROR_DEVICE},
    {CUDA_ERROR_ILLEGAL_ADDRESS, 1, "CUDA_ERROR_ILLEGAL_ADDRESS (700)", MGLU_ERROR_DEVICE_LOST},
    {CUDA_ERROR_LAUNCH_TIMEOUT, 1, "CUDA_ERROR_LAUNCH_TIMEOUT (702)", MGLU_ERROR_DEVICE_LOST},
};

static const struct sample_shape shape = {
    MGLU_KIND_MASKED, MGLU_DTYPE_F16, USE_H, USE_D, USE_OUT, USE_MASKS, WITH_BIASES | WITH_ROUTER | WITH_DOWN};

static void any_failing_call_is_named_and_a_retry_gives_the_same_bits(void **state)
{
    script_fail_everywhere(&driver, &shape, USE_TOP_K, failures, sizeof failures / sizeof failures[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(any_failing_call_is_named_and_a_retry_gives_the_same_bits, reset, no_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
