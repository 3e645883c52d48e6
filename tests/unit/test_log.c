/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <stdio.h>

/* What the log says of a layer when it is made. */

enum { H = 70, D = 40, LINE = 512 };

struct lines {
    int all, of_layers;
    char last[LINE]; /* of a layer */
};

static void keep(void *user, mglu_log_level level, const char *text)
{
    struct lines *lines = user;

    lines->all++;
    if (!strstr(text, ": layer "))
        return;
    assert_int_equal(level, MGLU_LOG_DEBUG);
    lines->of_layers++;
    snprintf(lines->last, sizeof lines->last, "%s", text);
}

/* Makes a layer at a level of the log and returns what was said from then on. */
static struct lines lines_of_layer(const char *backend, const struct sample_shape *shape, const mglu_layer_desc *layer,
                                   mglu_log_level level)
{
    struct lines lines = {0};
    const mglu_logger logger = {.user = &lines, .log = keep, .level = level};
    const mglu_context_desc context = {.struct_size = sizeof context, .logger = &logger};
    struct sample sample = sample_make(shape, 1);
    struct rig rig = rig_make(backend, &context, &sample.desc, layer);

    rig_free(&rig);
    sample_free(&sample);
    return lines;
}

static const struct {
    const char *backend;
    struct sample_shape shape;
    mglu_layer_desc layer;
    const char *begins, *reason;
} cases[] = {
    {"ref",
     {MGLU_KIND_MASKED, MGLU_DTYPE_F16, H, D, 0, 3, 0},
     {.struct_size = sizeof(mglu_layer_desc), .max_batch = 3},
     "ref: layer 70x40 n_m=3 f16 batch<=3: kernel reference, double, ",
     ": it is the oracle"},
    {"ref",
     {MGLU_KIND_PLAIN, MGLU_DTYPE_Q8_0, H, D, 20, 0, WITH_DOWN},
     {.struct_size = sizeof(mglu_layer_desc), .max_batch = 1},
     "ref: layer 70x40 n_m=0 q8_0 batch<=1: kernel reference, double, ",
     ": it is the oracle"},
    {"cpu",
     {MGLU_KIND_PLAIN, MGLU_DTYPE_F32, H, D, 0, 0, 0},
     {.struct_size = sizeof(mglu_layer_desc), .max_batch = 1},
     "cpu: layer 70x40 n_m=0 f32 batch<=1: kernel gemv, ",
     ": no faster kernel of this instruction set fits the layer; "},
    {"cpu",
     {MGLU_KIND_MASKED, MGLU_DTYPE_BF16, H, D, 20, 2, WITH_DOWN},
     {.struct_size = sizeof(mglu_layer_desc), .max_batch = 8, .flags = MGLU_LAYER_REPRODUCIBLE},
     "cpu: layer 70x40 n_m=2 bf16 batch<=8: kernel gemv, ",
     ": reproducible: the summation order of all instruction sets; no gemm: reproducible"},
};

static void a_layer_has_one_debug_line_with_its_shape_its_kernel_and_a_reason(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct lines lines = lines_of_layer(cases[i].backend, &cases[i].shape, &cases[i].layer, MGLU_LOG_DEBUG);

        assert_int_equal(lines.of_layers, 1);
        assert_memory_equal(lines.last, cases[i].begins, strlen(cases[i].begins));
        assert_non_null(strstr(lines.last, cases[i].reason));
        assert_null(strchr(lines.last, '\n'));
    }
}

static void nothing_is_said_of_a_layer_unless_the_host_wants_details(void **state)
{
    static const mglu_log_level levels[] = {0, MGLU_LOG_ERROR, MGLU_LOG_WARN, MGLU_LOG_INFO};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t k = 0; k < sizeof levels / sizeof levels[0]; k++) {
            const struct lines lines = lines_of_layer(cases[i].backend, &cases[i].shape, &cases[i].layer, levels[k]);
            assert_int_equal(lines.of_layers, 0);
            assert_int_equal(lines.all, levels[k] == MGLU_LOG_INFO); /* which device was picked */
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_has_one_debug_line_with_its_shape_its_kernel_and_a_reason),
        cmocka_unit_test(nothing_is_said_of_a_layer_unless_the_host_wants_details),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
