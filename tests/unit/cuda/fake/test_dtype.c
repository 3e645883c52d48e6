/* SPDX-License-Identifier: MIT */
#include "use.h"

#include "common/dispatch/objects.h"

/* A dtype of a later version of the library, which its checks let pass: refused by name, never taken for another. */
static void a_dtype_without_kernels_is_refused(void **state)
{
    const mglu_packed_weights packed = {.struct_size = sizeof packed,
                                        .n_masks = 1,
                                        .dtype = (mglu_dtype)MGLU_DTYPE_COUNT,
                                        .hidden_size = 64,
                                        .intermediate_size = 16};
    const mglu_layer_plan plan = {.struct_size = sizeof plan, .shape = &packed};
    const struct opened_backend *backend;
    mglu_context *context;
    mglu_device *device;
    void *weights;

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "cuda", &device));
    backend = &device->backend;
    assert_status(backend->fns->supports(backend->state, 0, &plan), MGLU_ERROR_UNSUPPORTED);
    assert_error_says("cuda: no kernels for weights of dtype unknown (5)");
    mglu_fail(MGLU_OK, "%s", "");
    assert_status(backend->fns->weights_create(backend->state, 0, &packed, &weights), MGLU_ERROR_UNSUPPORTED);
    assert_error_says("cuda: no kernels for weights of dtype unknown (5)");
    mglu_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_dtype_without_kernels_is_refused, reset, no_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
