/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <string.h>

/* What mglu_layer_get_info() counts, calculated by hand: h 96, d 40, OUT outputs. */

enum { H = 96, D = 40, OUT = 8 };

static const struct {
    struct sample_shape shape;
    int32_t top_k;
    mglu_dtype x, y;
    uint64_t operations, weight_bytes, token_bytes;
} cases[] = {
    /* Two matrices of rows of 96 * 2 bytes. */
    {{MGLU_KIND_PLAIN, MGLU_DTYPE_F16, H, D, 0, 0, 0},
     0,
     MGLU_DTYPE_F32,
     MGLU_DTYPE_F32,
     2 * (2 * H * D),
     2 * D * 192,
     4 * H + 4 * D},
    /* One, and four masks of 3 words a row: sums of all weights and of each mask. */
    {{MGLU_KIND_MASKED, MGLU_DTYPE_F16, H, D, 0, 4, 0},
     0,
     MGLU_DTYPE_F16,
     MGLU_DTYPE_BF16,
     2 * (5 * H * D),
     D *(192 + 4 * 12),
     2 * H + 2 * D},
    {{MGLU_KIND_MASKED, MGLU_DTYPE_F16, H, D, 0, 4, WITH_ROUTER},
     2,
     MGLU_DTYPE_F16,
     MGLU_DTYPE_F32,
     2 * (3 * H * D),
     D *(192 + 4 * 12),
     2 * H + 4 * D},
    /* Rows of 3 groups of 32 bytes, padded to 128, and 3 scales; W_o has rows of 2 groups: 64 bytes and 2 scales. */
    {{MGLU_KIND_MASKED, MGLU_DTYPE_Q8_0, H, D, OUT, 1, WITH_DOWN | WITH_BIASES},
     0,
     MGLU_DTYPE_F32,
     MGLU_DTYPE_F32,
     2 * (2 * H * D + D * OUT),
     D *(128 + 6 + 12) + OUT *(64 + 4),
     4 * H + 4 * OUT},
};

static void costs_are_those_of_the_documented_count(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sample sample = sample_make(&cases[i].shape, 1);
        mglu_layer_desc desc = MGLU_LAYER_DESC_INIT;
        mglu_device_info device = MGLU_DEVICE_INFO_INIT;
        mglu_layer_info info = MGLU_LAYER_INFO_INIT;
        struct rig rig;

        desc.x_dtype = cases[i].x, desc.y_dtype = cases[i].y, desc.top_k = cases[i].top_k, desc.max_batch = 9;
        rig = rig_make("cpu", NULL, &sample.desc, &desc);
        assert_ok(mglu_layer_get_info(rig.layer, &info));
        assert_ok(mglu_device_get_info(rig.device, &device));
        assert_int_equal(info.operations, cases[i].operations);
        assert_int_equal(info.weight_bytes, cases[i].weight_bytes);
        assert_int_equal(info.token_bytes, cases[i].token_bytes);
        assert_int_equal(info.workspace_size, mglu_layer_workspace_size(rig.layer));
        assert_int_equal(info.accuracy, MGLU_ACCURACY_A);
        assert_string_equal(info.details, device.details);
        assert_non_null(strstr(info.details, "isa="));
        rig_free(&rig);
        sample_free(&sample);
    }
}

static void without_a_layer_it_is_refused(void **state)
{
    mglu_layer_info info = MGLU_LAYER_INFO_INIT;

    assert_status(mglu_layer_get_info(NULL, &info), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("layer is NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(costs_are_those_of_the_documented_count),
        cmocka_unit_test(without_a_layer_it_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
