/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <sys/mman.h>
#include <unistd.h>

/* Arguments that no correct program passes: a struct_size from nowhere, and NULL where an object belongs. */

static struct rig rig;
static mglu_train *train; /* on the reference */
static struct sample sample;

static int make_train(void)
{
    const mglu_train_desc desc = {
        .struct_size = sizeof desc, .hidden_size = 8, .intermediate_size = 8, .n_masks = 2, .max_batch = 1};
    mglu_device *device;

    assert_ok(mglu_device_pick(rig.context, "ref", &device));
    assert_ok(mglu_train_create(device, &desc, &train));
    return 0;
}

static int open_rig(void **state)
{
    const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F32, 8, 8, 0, 2, 0};
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};

    sample = sample_make(&shape, 1);
    rig = rig_make("cpu", NULL, &sample.desc, &layer);
    return make_train();
}

static int close_rig(void **state)
{
    mglu_train_destroy(&train);
    rig_free(&rig);
    sample_free(&sample);
    return 0;
}

/* Each takes one struct; what a success would make is freed again. */
static mglu_status create_context(void *desc)
{
    mglu_context *context = NULL;
    mglu_status status = mglu_context_create(desc, &context);

    mglu_context_destroy(&context);
    return status;
}

static mglu_status create_queue(void *desc)
{
    mglu_queue *queue = NULL;
    mglu_status status = mglu_queue_create(rig.device, desc, &queue);

    mglu_queue_destroy(&queue);
    return status;
}

static mglu_status create_weights(void *desc)
{
    mglu_weights *weights = NULL;
    mglu_status status = mglu_weights_create(rig.device, desc, &weights);

    mglu_weights_destroy(&weights);
    return status;
}

static mglu_status create_layer(void *desc)
{
    mglu_layer *layer = NULL;
    mglu_status status = mglu_layer_create(rig.weights, desc, &layer);

    mglu_layer_destroy(&layer);
    return status;
}

static mglu_status support_weights(void *desc)
{
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};

    return mglu_supports(rig.device, desc, &layer);
}

static mglu_status support_layer(void *desc)
{
    return mglu_supports(rig.device, &sample.desc, desc);
}

static mglu_status forward(void *args)
{
    return mglu_forward(rig.layer, rig.queue, args);
}

static mglu_status create_train(void *desc)
{
    mglu_train *other = NULL;
    mglu_status status = mglu_train_create(rig.device, desc, &other);

    mglu_train_destroy(&other);
    return status;
}

static mglu_status train_forward(void *args)
{
    return mglu_train_forward(train, NULL, args);
}

static mglu_status train_backward(void *args)
{
    return mglu_train_backward(train, NULL, args);
}

static mglu_status train_reference(void *args)
{
    return mglu_train_reference(train, args);
}

static mglu_status get_device_info(void *info)
{
    return mglu_device_get_info(rig.device, info);
}

static mglu_status get_weights_info(void *info)
{
    return mglu_weights_get_info(rig.weights, info);
}

static mglu_status get_layer_info(void *info)
{
    return mglu_layer_get_info(rig.layer, info);
}

static const struct {
    const char *name;
    size_t size, first; /* now, and in the first version */
    mglu_status (*call)(void *);
} calls[] = {
    {"mglu_context_desc", sizeof(mglu_context_desc), offsetof(mglu_context_desc, backends), create_context},
    {"mglu_queue_desc", sizeof(mglu_queue_desc), offsetof(mglu_queue_desc, destroy_ns), create_queue},
    {"mglu_weights_desc", sizeof(mglu_weights_desc), offsetof(mglu_weights_desc, parallel), create_weights},
    {"mglu_weights_desc", sizeof(mglu_weights_desc), offsetof(mglu_weights_desc, parallel), support_weights},
    {"mglu_layer_desc", sizeof(mglu_layer_desc), sizeof(mglu_layer_desc), create_layer},
    {"mglu_layer_desc", sizeof(mglu_layer_desc), sizeof(mglu_layer_desc), support_layer},
    {"mglu_forward_args", sizeof(mglu_forward_args), offsetof(mglu_forward_args, parallel), forward},
    {"mglu_train_desc", sizeof(mglu_train_desc), sizeof(mglu_train_desc), create_train},
    {"mglu_train_forward_args", sizeof(mglu_train_forward_args), sizeof(mglu_train_forward_args), train_forward},
    {"mglu_train_backward_args", sizeof(mglu_train_backward_args), sizeof(mglu_train_backward_args), train_backward},
    {"mglu_train_reference_args", sizeof(mglu_train_reference_args), sizeof(mglu_train_reference_args),
     train_reference},
    {"mglu_device_info", sizeof(mglu_device_info), offsetof(mglu_device_info, works_after_fork), get_device_info},
    {"mglu_weights_info", sizeof(mglu_weights_info), offsetof(mglu_weights_info, borrowed_bytes), get_weights_info},
    {"mglu_layer_info", sizeof(mglu_layer_info), sizeof(mglu_layer_info), get_layer_info},
};

/* Zeros that end where memory ends: whatever reads or writes behind them is killed. */
static unsigned char *page_end(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
    return pages + page;
}

static void a_struct_size_that_no_version_has_is_refused_by_name_and_the_rest_is_not_touched(void **state)
{
    unsigned char *end = page_end();

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const uint32_t sizes[] = {0, 1, 4, 8, (uint32_t)calls[i].first - 8, 4097, 1u << 28, 0x7fffffff, 0xffffffff};
        unsigned char *object = end - calls[i].size;
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            memset(object, 0, calls[i].size);
            memcpy(object, &sizes[k], sizeof sizes[k]);
            assert_status(calls[i].call(object), MGLU_ERROR_INVALID_ARGUMENT);
            assert_error_says(calls[i].name);
            assert_error_says("struct_size");
            for (size_t byte = sizeof sizes[k]; byte < calls[i].size; byte++)
                assert_int_equal(object[byte], 0);
        }
    }
    munmap(end - sysconf(_SC_PAGESIZE), 2 * (size_t)sysconf(_SC_PAGESIZE));
}

static void members_that_the_library_does_not_know_are_left_as_they_are(void **state)
{
    struct {
        mglu_device_info known;
        unsigned char later[40];
    } info = {.known.struct_size = sizeof info};

    memset(info.later, 0x5a, sizeof info.later);
    assert_ok(mglu_device_get_info(rig.device, &info.known));
    assert_string_equal(info.known.backend, "cpu");
    assert_int_equal(info.known.struct_size, sizeof info);
    for (size_t i = 0; i < sizeof info.later; i++)
        assert_int_equal(info.later[i], 0x5a);
}

static void a_later_member_that_is_not_zero_is_a_version_mismatch(void **state)
{
    struct {
        mglu_layer_desc known;
        uint64_t later;
    } desc = {{.struct_size = sizeof desc, .max_batch = 1}, 0};

    assert_ok(create_layer(&desc));
    desc.later = 1;
    assert_status(create_layer(&desc), MGLU_ERROR_VERSION_MISMATCH);
    assert_error_says("mglu_layer_desc");
}

static void getters_accept_null(void **state)
{
    const float one = 1;

    assert_int_equal(mglu_layer_accuracy(NULL), MGLU_ACCURACY_A);
    assert_int_equal(mglu_layer_workspace_size(NULL), 0);
    assert_int_equal(mglu_memory_size(NULL), 0);
    assert_int_equal(mglu_train_workspace_size(NULL, 1), 0);
    assert_int_equal(mglu_train_saved_size(NULL, 1), 0);
    assert_null(mglu_memory_data(NULL));
    assert_int_equal(mglu_first_nonfinite(NULL, MGLU_DTYPE_F32, 0), 0);
    assert_int_equal(mglu_first_nonfinite(NULL, MGLU_DTYPE_F32, 1), 0);
    assert_int_equal(mglu_first_nonfinite(&one, MGLU_DTYPE_Q8_0, 1), 0);
    assert_int_equal(mglu_first_nonfinite(&one, (mglu_dtype)99, 1), 0);
    assert_int_equal(mglu_first_nonfinite(&one, MGLU_DTYPE_F32, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_struct_size_that_no_version_has_is_refused_by_name_and_the_rest_is_not_touched),
        cmocka_unit_test(members_that_the_library_does_not_know_are_left_as_they_are),
        cmocka_unit_test(a_later_member_that_is_not_zero_is_a_version_mismatch),
        cmocka_unit_test(getters_accept_null),
    };

    return cmocka_run_group_tests(tests, open_rig, close_rig);
}
