/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <math.h>

/* What mglu_file_pack() refuses: no output is left. */

static const float large[6] = {0, 0, 0, 1e30f};
static const struct {
    struct part parts[MOST_PARTS];
    mglu_dtype dtype;
    mglu_status status;
    const char *says;
} not_quantised[] = {
    {{{"P.weight", "F32", "2, 3", large, 24}, {"P.mask", "U8", "2, 3", NULL, 6}},
     MGLU_DTYPE_Q8_0,
     MGLU_ERROR_NONFINITE,
     "in: tensor 'P.weight': weight [1][0]: the scale of its group"},
    {{{"P.weight", "F32", "2, 3", NULL, 24}, {"P.mask", "U8", "2, 3", NULL, 6}},
     MGLU_DTYPE_Q4_0,
     MGLU_ERROR_INVALID_ARGUMENT,
     "in: tensor 'P.weight': rows of 3, but q4_0 needs a multiple of 32 in a file"},
    {{{"P.weight", "I8", "2, 3", NULL, 6},
      {"P.weight_scale", "F16", "2, 1", NULL, 4},
      {"P.mask", "U8", "2, 3", NULL, 6}},
     MGLU_DTYPE_F16,
     MGLU_ERROR_INVALID_ARGUMENT,
     "in: tensor 'P.weight': is q8_0, which is not converted to f16"},
    {{{"P.weight", "I8", "2, 3", NULL, 6},
      {"P.weight_scale", "F16", "2, 1", NULL, 4},
      {"P.mask", "U8", "2, 3", NULL, 6}},
     MGLU_DTYPE_Q4_0,
     MGLU_ERROR_INVALID_ARGUMENT,
     "in: tensor 'P.weight': is q8_0, which is not converted to q4_0"},
    /* In a block that is read as a projection, nothing indicates that these are quants. */
    {{{"m.weight", "F32", "1, 1", NULL, 4},
      {"m.mask", "U8", "1, 1", NULL, 1},
      {"m.up_proj.weight", "F32", "1, 1", NULL, 4},
      {"m.up_proj.mask", "U8", "1, 1", NULL, 1},
      {"m.down_proj.weight", "U8", "5", NULL, 5}},
     MGLU_DTYPE_Q8_0,
     MGLU_ERROR_CORRUPT_FILE,
     "in: tensor 'm.down_proj.weight': nothing reads it"},
};

static void what_cannot_be_quantised_is_refused_by_name(void **state)
{
    for (size_t i = 0; i < COUNT(not_quantised); i++) {
        const mglu_file_pack_options options = {
            .struct_size = sizeof options, .convert = 1, .dtype = not_quantised[i].dtype};

        write_some(scratch("in"), "{\"mglu.version\":\"1\"}", not_quantised[i].parts);
        assert_status(mglu_file_pack(scratch("in"), scratch("out"), &options), not_quantised[i].status);
        assert_error_says(not_quantised[i].says);
        assert_int_equal(scratch_count(), 1);
    }
}

#define WEIGHT                                                                                                         \
    {                                                                                                                  \
        "P.weight", "F32", "2, 3", NULL, 24                                                                            \
    }
#define MASK                                                                                                           \
    {                                                                                                                  \
        "P.mask", "U8", "2, 3", NULL, 6                                                                                \
    }

static const float nan_f32[6] = {0, 0, 0, 0, NAN, 0}, inf_f32[6] = {0, 0, 0, 0, 0, -INFINITY};
static const float large_f32[6] = {0, 65504.0f, 0, 65520.0f, 0, 0};
static const uint16_t inf_f16[6] = {0, 0, 0x7c00, 0, 0, 0}, nan_bf16[6] = {0x7f81};
static const uint8_t two[6] = {0, 1, 2, 0, 0, 0};
static const struct {
    struct part parts[MOST_PARTS];
    int to_f16;
    mglu_status status;
    const char *says;
} not_computed[] = {
    {{MASK, {"P.weight", "F32", "2, 3", nan_f32, 24}},
     0,
     MGLU_ERROR_NONFINITE,
     "in: tensor 'P.weight': element [1, 1] is not finite"},
    {{MASK, {"P.weight", "F32", "2, 3", inf_f32, 24}},
     1,
     MGLU_ERROR_NONFINITE,
     "in: tensor 'P.weight': element [1, 2] is not finite"},
    {{MASK, {"P.weight", "F16", "2, 3", inf_f16, 12}},
     0,
     MGLU_ERROR_NONFINITE,
     "in: tensor 'P.weight': element [0, 2] is not finite"},
    {{MASK, {"P.weight", "BF16", "2, 3", nan_bf16, 12}},
     0,
     MGLU_ERROR_NONFINITE,
     "in: tensor 'P.weight': element [0, 0] is not finite"},
    {{MASK, {"P.weight", "F32", "2, 3", large_f32, 24}},
     1,
     MGLU_ERROR_NONFINITE,
     "in: tensor 'P.weight': element [1, 0] overflows f16"},
    {{WEIGHT, MASK, {"P.gate_bias", "F32", "2", nan_f32 + 3, 8}},
     0,
     MGLU_ERROR_NONFINITE,
     "in: tensor 'P.gate_bias': element [1] is not finite"},
    {{WEIGHT, MASK, {"P.router.weight", "F32", "1, 3", inf_f32 + 3, 12}},
     0,
     MGLU_ERROR_NONFINITE,
     "in: tensor 'P.router.weight': element [0, 2] is not finite"},
    {{WEIGHT, {"P.mask", "F32", "2, 3", nan_f32, 24}}, 0, MGLU_ERROR_NONFINITE, "in: tensor 'P.mask': mask 0 [1][1]"},
    {{WEIGHT, {"P.mask", "BOOL", "2, 3", two, 6}}, 0, MGLU_ERROR_CORRUPT_FILE, "in: tensor 'P.mask': mask 0 [0][2]"},
    {{WEIGHT, {"P.mask", "U8", "17, 2, 3", NULL, 102}}, 0, MGLU_ERROR_CORRUPT_FILE, "in: tensor 'P.mask': 17 masks"},
    {{WEIGHT, MASK, {"P.mask_bits", "I32", "2, 1, 1", NULL, 8}},
     0,
     MGLU_ERROR_CORRUPT_FILE,
     "in: tensor 'P.mask_bits': the file also has these masks unpacked"},
    {{WEIGHT}, 0, MGLU_ERROR_INVALID_ARGUMENT, "in: nothing to pack"},
    {{{"m.gate_proj.weight", "F32", "1, 1", NULL, 4}, {"m.up_proj.weight", "F32", "1, 1", NULL, 4}},
     0,
     MGLU_ERROR_INVALID_ARGUMENT,
     "in: nothing to pack: its layers have no masks"},
    {{{"m.up_proj.weight", "F32", "2, 3", NULL, 24},
      {"m.up_proj.mask", "U8", "2, 3", NULL, 6},
      {"m.down_proj.weight", "I64", "1, 2", NULL, 16}},
     0,
     MGLU_ERROR_CORRUPT_FILE,
     "in: tensor 'm.down_proj.weight': dtype I64"},
    /* The block m is read as the projection m, so its other matrices are not checked and must not be used. */
    {{{"m.weight", "F32", "1, 1", NULL, 4},
      {"m.mask", "U8", "1, 1", NULL, 1},
      {"m.up_proj.weight", "F32", "1, 1", NULL, 4},
      {"m.up_proj.mask", "U8", "1, 1", NULL, 1},
      {"m.down_proj.weight", "BOOL", "5", NULL, 5}},
     1,
     MGLU_ERROR_CORRUPT_FILE,
     "in: tensor 'm.down_proj.weight': nothing reads it"},
};

static void what_cannot_be_computed_with_is_refused_by_name(void **state)
{
    for (size_t i = 0; i < COUNT(not_computed); i++) {
        const mglu_file_pack_options options = {
            .struct_size = sizeof options, .convert = not_computed[i].to_f16, .dtype = MGLU_DTYPE_F16};

        write_some(scratch("in"), NULL, not_computed[i].parts);
        assert_status(mglu_file_pack(scratch("in"), scratch("out"), &options), not_computed[i].status);
        assert_error_says(not_computed[i].says);
        assert_int_equal(scratch_count(), 1);
    }
}

static void wrong_options_are_refused(void **state)
{
    struct {
        mglu_file_pack_options known;
        uint64_t unknown;
    } newer = {.known.struct_size = sizeof newer};
    mglu_file_pack_options options = {.struct_size = sizeof options, .convert = 1, .dtype = (mglu_dtype)77};
    const mglu_parallel no_function = {0};

    write_some(scratch("in"), NULL, packable_layer);
    assert_status(mglu_file_pack(scratch("in"), scratch("out"), &options), MGLU_ERROR_INVALID_ARGUMENT);
    options.convert = 0;
    options.activation = "swish";
    assert_status(mglu_file_pack(scratch("in"), scratch("out"), &options), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("unknown activation 'swish'; known: silu");
    options.activation = NULL;
    options.parallel = &no_function;
    assert_status(mglu_file_pack(scratch("in"), scratch("out"), &options), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("mglu_file_pack: parallel: parallel_for is NULL");
    options.struct_size = 0;
    assert_status(mglu_file_pack(scratch("in"), scratch("out"), &options), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("struct_size");
    newer.unknown = 1;
    assert_status(mglu_file_pack(scratch("in"), scratch("out"), &newer.known), MGLU_ERROR_VERSION_MISMATCH);
    newer.unknown = 0;
    assert_ok(mglu_file_pack(scratch("in"), scratch("out"), &newer.known));
    assert_status(mglu_file_pack(NULL, scratch("out"), NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_pack(scratch("in"), NULL, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_pack(scratch("absent"), scratch("out"), NULL), MGLU_ERROR_IO);
    assert_status(mglu_file_pack(scratch("in"), scratch("absent/out"), NULL), MGLU_ERROR_IO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(what_cannot_be_quantised_is_refused_by_name),
        TEST(what_cannot_be_computed_with_is_refused_by_name),
        TEST(wrong_options_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
