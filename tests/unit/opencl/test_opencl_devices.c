/* SPDX-License-Identifier: MIT */
#include "session.h"

#include <stdio.h>

/* The devices listed for various drivers, and the reasons why some are unavailable. */

static const struct {
    const char *name;
    struct fake fake;
    size_t devices;
    const char *reason; /* of the first; NULL: it is available */
} machines[] = {
    {"a GPU", {.platforms = 1, .devices = {1}}, 1, NULL},
    {"no platform", {.platforms = 0}, 1, "no OpenCL platform"},
    {"a loader without drivers",
     {.platforms = 0, .failing = FAKE_clGetPlatformIDs, .failing_call = 1, .code = -1001},
     1,
     "finds no driver"},
    {"a loader that fails",
     {.platforms = 0, .failing = FAKE_clGetPlatformIDs, .failing_call = 1, .code = CL_OUT_OF_HOST_MEMORY},
     1,
     "CL_OUT_OF_HOST_MEMORY (-6)"},
    {"empty platforms", {.platforms = 2, .devices = {0, 0}}, 1, "2 platforms without any"},
    {"an empty platform before a working one", {.platforms = 2, .devices = {0, 1}}, 1, NULL},
    {"two working platforms", {.platforms = 3, .devices = {1, 0, 1}}, 2, NULL},
    {"a platform that fails",
     {.platforms = 1, .devices = {1}, .failing = FAKE_clGetDeviceIDs, .failing_call = 1, .code = CL_INVALID_PLATFORM},
     1,
     "1 platforms without any"},
    {"OpenCL 1.1", {.platforms = 1, .devices = {1}, .version = "OpenCL 1.1 old"}, 1, "older than OpenCL 1.2"},
    {"OpenCL 3.0", {.platforms = 1, .devices = {1}, .version = "OpenCL 3.0 new"}, 1, NULL},
    {"no compiler", {.platforms = 1, .devices = {1}, .version = "OpenCL 1.2", .has_compiler = 2}, 1, "no compiler"},
    {"a device whose properties can't be read",
     {.platforms = 1, .devices = {1}, .failing = FAKE_clGetDeviceInfo, .failing_call = 1, .code = CL_INVALID_DEVICE},
     1,
     "clGetDeviceInfo: CL_INVALID_DEVICE (-33)"},
};

/* Members of a machine that are 0 describe a working driver. */
static void set_up(const struct fake *machine)
{
    fake_reset();
    fake.platforms = machine->platforms;
    memcpy(fake.devices, machine->devices, sizeof fake.devices);
    if (machine->version)
        fake.version = machine->version;
    if (machine->has_compiler)
        fake.has_compiler = CL_FALSE;
    if (machine->failing_call) {
        fake.failing = machine->failing;
        fake.failing_call = machine->failing_call;
        fake.code = machine->code;
    }
}

static void test_machines(void **state)
{
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        mglu_device_info info = {.struct_size = sizeof info};
        size_t before, after;
        struct rig rig = {0};

        set_up(&machines[i].fake);
        assert_ok(mglu_context_create(NULL, &rig.context));
        assert_ok(mglu_device_count(rig.context, &before));
        mglu_context_destroy(&rig.context);
        assert_ok(open_fake_context(NULL, &rig));
        assert_ok(mglu_device_count(rig.context, &after));
        assert_int_equal(after - before, machines[i].devices);
        assert_ok(mglu_device_get_info(mglu_device_at(rig.context, before), &info));
        assert_int_equal(info.available, !machines[i].reason);
        if (machines[i].reason && !strstr(info.reason, machines[i].reason))
            fail_msg("%s: the reason is '%s'", machines[i].name, info.reason);
        mglu_context_destroy(&rig.context);
        assert_int_equal(fake.live, 0);
    }
}

/* The other backends are available whatever OpenCL returns. */
static void test_cpu_works_without_opencl(void **state)
{
    struct rig rig = {0};

    fake_reset();
    fake.platforms = 0;
    assert_ok(open_fake_context(NULL, &rig));
    assert_status(mglu_device_pick(rig.context, "fake", &rig.device), MGLU_ERROR_NO_DEVICE);
    assert_error_says("no OpenCL platform");
    assert_ok(mglu_device_pick(rig.context, "cpu", &rig.device));
    mglu_context_destroy(&rig.context);
}

static mglu_backend_device describe(cl_device_type type)
{
    mglu_backend_device info = {.struct_size = sizeof info};
    struct rig rig = {0};
    void *backend;

    fake_reset();
    fake.type = type;
    assert_ok(mglu_context_create(NULL, &rig.context));
    assert_ok(mglu_opencl_open_with(&rig.context->host, &fake_driver, NULL, &backend));
    assert_ok(mglu_opencl_device_info(backend, 0, &info));
    mglu_opencl_close(backend);
    mglu_context_destroy(&rig.context);
    return info;
}

static void test_rank_follows_type(void **state)
{
    mglu_backend_device gpu = describe(CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_DEFAULT);
    mglu_backend_device cpu = describe(CL_DEVICE_TYPE_CPU);
    mglu_backend_device other = describe(CL_DEVICE_TYPE_ACCELERATOR);

    assert_int_equal(gpu.type, MGLU_DEVICE_GPU);
    assert_int_equal(gpu.rank, MGLU_RANK_PORTABLE_GPU);
    assert_int_equal(cpu.type, MGLU_DEVICE_CPU);
    assert_int_equal(cpu.rank, MGLU_RANK_FOREIGN_CPU);
    assert_int_equal(other.type, MGLU_DEVICE_ACCELERATOR);
    assert_int_equal(other.rank, MGLU_RANK_PORTABLE_GPU);
}

static void test_no_loader(void **state)
{
    mglu_backend_device info = {.struct_size = sizeof info};
    struct rig rig = {0};
    void *backend;

    assert_ok(mglu_context_create(NULL, &rig.context));
    assert_ok(mglu_opencl_open_with(&rig.context->host, NULL, "no OpenCL loader: not found", &backend));
    assert_int_equal(mglu_opencl_device_count(backend), 1);
    assert_ok(mglu_opencl_device_info(backend, 0, &info));
    assert_string_equal(info.reason, "no OpenCL loader: not found");
    assert_int_equal(info.rank, MGLU_RANK_NEVER);
    mglu_opencl_close(backend);
    mglu_context_destroy(&rig.context);
}

static void keep_layer_line(void *user, mglu_log_level level, const char *text)
{
    if (level == MGLU_LOG_DEBUG && strstr(text, ": layer "))
        snprintf((char *)user + strlen(user), 512 - strlen(user), "%s\n", text);
}

static const struct {
    cl_device_type type;
    const char *line;
} described[] = {
    {CL_DEVICE_TYPE_GPU, "opencl: layer 40x300 n_m=3 f16 batch<=4: kernel slices, gpu device, 2 rows and 1 tokens at "
                         "once, 32 slices, 4 lines, mask form 0, half form 0: the defaults: too few weights to tell "
                         "variants apart\n"},
    {CL_DEVICE_TYPE_CPU, "opencl: layer 40x300 n_m=3 f16 batch<=4: kernel lanes, cpu device, 16 rows and 1 tokens at "
                         "once, 1 slices, 1 lines, mask form 3, half form 0: a processor with vectors sums whole rows "
                         "in an item\n"},
};

static void test_log_of_a_layer(void **state)
{
    for (size_t i = 0; i < sizeof described / sizeof described[0]; i++) {
        char lines[512] = "";
        const mglu_logger logger = {.level = MGLU_LOG_DEBUG, .log = keep_layer_line, .user = lines};
        const mglu_context_desc desc = {.struct_size = sizeof desc, .logger = &logger};
        struct sample sample = sample_make(&whole, 1);
        struct rig rig = {0};

        fake_reset();
        fake.type = described[i].type;
        assert_ok(make_fake_rig(&desc, &sample, &rig));
        assert_string_equal(lines, described[i].line);
        rig_free(&rig);
        sample_free(&sample);
    }
}

static void test_training_needs_host_memory(void **state)
{
    const mglu_train_desc desc = {
        .struct_size = sizeof desc, .hidden_size = 8, .intermediate_size = 8, .n_masks = 1, .max_batch = 1};
    mglu_train *train = NULL;
    struct rig rig = {0};

    fake_reset();
    assert_ok(open_fake_context(NULL, &rig));
    assert_ok(mglu_device_pick(rig.context, "fake", &rig.device));
    assert_status(mglu_train_create(rig.device, &desc, &train), MGLU_ERROR_UNSUPPORTED);
    assert_error_says("backend 'fake' has memory of its own: only devices with host memory train");
    assert_null(train);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machines),          cmocka_unit_test(test_cpu_works_without_opencl),
        cmocka_unit_test(test_rank_follows_type), cmocka_unit_test(test_no_loader),
        cmocka_unit_test(test_log_of_a_layer),    cmocka_unit_test(test_training_needs_host_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
