/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <math.h>
#include <string.h>

/* Parts of a layer, as ranks of tensor parallelism have them, together give what the whole layer does. */

enum { H = 70, D = 400, OUT = 33, BATCH = 3, PARTS = 4 };

static const int64_t firsts[PARTS + 1] = {0, 0, 32, 256, D};  /* the first part is empty */
static const int64_t uneven[PARTS + 1] = {0, 8, 9, D - 1, D}; /* for floats, which have no groups */

static const mglu_dtype dtypes[] = {MGLU_DTYPE_F32, MGLU_DTYPE_F16, MGLU_DTYPE_BF16, MGLU_DTYPE_Q8_0, MGLU_DTYPE_Q4_0};
static const int32_t mask_counts[] = {0, 1, 4}; /* 0: plain */
static const char *const backends[] = {"cpu", "ref"};

struct shape_case {
    const char *backend;
    mglu_dtype dtype;
    int32_t n_masks;
    int has_down;
};

/* The k-th combination of all. Returns 0 behind the last one. */
static int next_case(size_t k, struct shape_case *test)
{
    *test = (struct shape_case){backends[k % 2], dtypes[k / 2 % 5], mask_counts[k / 10 % 3], (int)(k / 30)};
    return k < 60;
}

struct whole {
    struct sample sample;
    struct rig rig;
    float *x;
    int64_t columns;
    float *y;
    double *want, *tolerance; /* of the whole */
};

/* The bound, by the reference backend. */
static void find_bound(struct whole *whole, const mglu_layer_desc *layer)
{
    struct rig reference = rig_make("ref", NULL, &whole->sample.desc, layer);
    const mglu_forward_args args = {.struct_size = sizeof args, .batch = BATCH, .x.data = whole->x, .y.data = whole->y};

    assert_ok(mglu_forward_reference(reference.layer, &args, MGLU_ACCURACY_A, whole->want, whole->tolerance));
    rig_free(&reference);
}

static struct whole make_whole(const struct shape_case *test)
{
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = BATCH};
    const struct sample_shape shape = {
        test->n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN, test->dtype, H, D, test->has_down ? OUT : 0, test->n_masks,
        WITH_BIASES | (test->has_down ? WITH_DOWN : 0)};
    struct whole whole = {.sample = sample_make(&shape, 3), .columns = test->has_down ? OUT : D};
    uint32_t seed = 9;

    whole.x = sample_array(MGLU_DTYPE_F32, BATCH * H, 1, &seed);
    whole.y = calloc((size_t)(BATCH * whole.columns), sizeof *whole.y);
    whole.want = calloc((size_t)(BATCH * whole.columns), sizeof *whole.want);
    whole.tolerance = calloc((size_t)(BATCH * whole.columns), sizeof *whole.tolerance);
    find_bound(&whole, &layer);
    whole.rig = rig_make(test->backend, NULL, &whole.sample.desc, &layer);
    assert_ok(rig_forward(&whole.rig, (mglu_forward_args){.batch = BATCH, .x.data = whole.x, .y.data = whole.y}));
    return whole;
}

static void free_whole(struct whole *whole)
{
    free(whole->x), free(whole->y), free(whole->want), free(whole->tolerance);
    rig_free(&whole->rig);
    sample_free(&whole->sample);
}

/* Forward of a part; y has rows of `stride` elements. Returns the bytes used in place. */
static uint64_t forward_part(mglu_device *device, const mglu_weights_desc *desc, const float *x, float *y,
                             int64_t stride)
{
    mglu_weights_info info = MGLU_WEIGHTS_INFO_INIT;
    mglu_layer_desc layer_desc = MGLU_LAYER_DESC_INIT;
    mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;

    layer_desc.max_batch = BATCH;
    assert_ok(mglu_weights_create(device, desc, &weights));
    assert_ok(mglu_weights_get_info(weights, &info));
    assert_ok(mglu_layer_create(weights, &layer_desc, &layer));
    assert_ok(mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace));
    args.batch = BATCH;
    args.x.data = x;
    args.y = (mglu_output){.data = y, .row_stride = stride};
    args.workspace = mglu_memory_data(workspace), args.workspace_size = mglu_memory_size(workspace);
    assert_ok(mglu_forward(layer, NULL, &args));
    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
    return info.borrowed_bytes;
}

static void rows_of_existing_weights_have_the_bits_of_the_whole(void **state)
{
    struct shape_case test;

    for (size_t k = 0; next_case(k, &test) && !test.has_down; k++) {
        struct whole whole = make_whole(&test);
        float *y = calloc(BATCH * D, sizeof *y);

        for (size_t p = 0; p < PARTS; p++) {
            const int64_t count = firsts[p + 1] - firsts[p];
            const size_t matrix =
                mglu_packed_weight_size(test.dtype, count, H) + mglu_packed_scale_size(test.dtype, count, H);
            mglu_weights_desc rows = MGLU_WEIGHTS_DESC_INIT;

            assert_ok(mglu_weights_rows(whole.rig.weights, firsts[p], count, &rows));
            assert_int_equal(rows.intermediate_size, count);
            assert_int_equal(forward_part(whole.rig.device, &rows, whole.x, y + firsts[p], D),
                             test.n_masks ? matrix + mglu_packed_mask_size(test.n_masks, count, H) : 2 * matrix);
        }
        if (memcmp(y, whole.y, BATCH * D * sizeof *y) != 0)
            fail_msg("%s %s, %d masks: other bits", test.backend, mglu_dtype_name(test.dtype), test.n_masks);
        free(y);
        free_whole(&whole);
    }
}

static void check_sum(const struct whole *whole, const struct shape_case *test, const double *sum)
{
    for (int64_t i = 0; i < BATCH * OUT; i++)
        if (!(fabs(sum[i] - whole->want[i]) <= whole->tolerance[i]))
            fail_msg("%s %s, %d masks: [%d] is %.9g, expected %.9g within %.3g", test->backend,
                     mglu_dtype_name(test->dtype), test->n_masks, (int)i, sum[i], whole->want[i], whole->tolerance[i]);
}

static void check_parts(const struct whole *whole, const struct shape_case *test, const int64_t cuts[PARTS + 1])
{
    double sum[BATCH * OUT] = {0};

    for (size_t p = 0; p < PARTS; p++) {
        mglu_weights_desc rows = MGLU_WEIGHTS_DESC_INIT;
        float y[BATCH * OUT];

        assert_ok(mglu_weights_rows(whole->rig.weights, cuts[p], cuts[p + 1] - cuts[p], &rows));
        forward_part(whole->rig.device, &rows, whole->x, y, 0);
        for (size_t i = 0; i < BATCH * OUT; i++)
            sum[i] += (double)y[i];
    }
    check_sum(whole, test, sum);
}

static void parts_with_a_down_projection_add_up_to_the_whole(void **state)
{
    struct shape_case test;

    for (size_t k = 30; next_case(k, &test); k++) {
        struct whole whole = make_whole(&test);

        check_parts(&whole, &test, firsts);
        if (test.dtype <= MGLU_DTYPE_BF16)
            check_parts(&whole, &test, uneven);
        free_whole(&whole);
    }
}

/* A row of 399 columns takes as many groups as one of 400, but its padding would be a column of the other part. */
static void columns_of_the_down_projection_are_never_used_in_place(void **state)
{
    static const int64_t counts[] = {D - 1, 32};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const struct shape_case test = {"cpu", MGLU_DTYPE_F16, 1, 1};
        const size_t projection =
            mglu_packed_weight_size(test.dtype, counts[i], H) + mglu_packed_mask_size(1, counts[i], H);
        struct whole whole = make_whole(&test);
        mglu_weights_desc rows = MGLU_WEIGHTS_DESC_INIT;
        float y[BATCH * OUT];

        assert_ok(mglu_weights_rows(whole.rig.weights, 0, counts[i], &rows));
        assert_true(forward_part(whole.rig.device, &rows, whole.x, y, 0) <= projection);
        free_whole(&whole);
    }
}

/* As of a file that each rank maps: masks are packed, matrices are floats with rows of any length. */
static void rows_of_a_desc_are_those_of_weights_made_of_it(void **state)
{
    struct shape_case test;

    for (size_t k = 0; next_case(k, &test); k++) {
        struct whole whole = make_whole(&test);
        mglu_weights_desc desc = whole.sample.desc;
        uint32_t *words = calloc(mglu_packed_mask_size(4, D, H), 1);

        if (test.n_masks) {
            assert_ok(mglu_pack_masks(&desc.masks, test.n_masks, D, H, words));
            desc.masks = (mglu_mask_array){words, MGLU_MASK_WORDS};
        }
        for (size_t p = 0; p < PARTS; p++) {
            const int64_t count = firsts[p + 1] - firsts[p], columns = test.has_down ? OUT : count;
            mglu_weights_desc rows = MGLU_WEIGHTS_DESC_INIT;
            float want[BATCH * D], y[BATCH * D];

            assert_ok(mglu_weights_rows(whole.rig.weights, firsts[p], count, &rows));
            forward_part(whole.rig.device, &rows, whole.x, want, 0);
            assert_ok(mglu_weights_desc_rows(&desc, firsts[p], count, &rows));
            forward_part(whole.rig.device, &rows, whole.x, y, 0);
            assert_memory_equal(y, want, (size_t)(BATCH * columns) * sizeof *y);
        }
        free(words);
        free_whole(&whole);
    }
}

static void what_is_no_part_is_refused_by_name(void **state)
{
    static const struct {
        mglu_dtype dtype;
        int has_down;
        int64_t first, count;
        const char *says; /* NULL: accepted */
    } cases[] = {
        {MGLU_DTYPE_F32, 0, 0, D + 1, "401 rows from 0 on, the layer has 400"},
        {MGLU_DTYPE_F32, 0, -1, 1, "1 rows from -1 on"},
        {MGLU_DTYPE_F32, 0, 1, -1, "-1 rows from 1 on"},
        {MGLU_DTYPE_F32, 0, INT64_MAX, 1, "the layer has 400"},
        {MGLU_DTYPE_F32, 0, 1, INT64_MAX, "the layer has 400"},
        {MGLU_DTYPE_Q4_0, 0, 7, 1, NULL},
        {MGLU_DTYPE_F32, 0, D, 0, NULL},
        {MGLU_DTYPE_F16, 1, 32, 64, NULL},
        {MGLU_DTYPE_F16, 1, 33, 64, NULL},
        {MGLU_DTYPE_Q8_0, 1, 32, D - 32, NULL},
        {MGLU_DTYPE_Q8_0, 1, 33, 64, "in q8_0, parts begin at multiples of 32"},
        {MGLU_DTYPE_Q4_0, 1, 0, 96, NULL},
        {MGLU_DTYPE_Q4_0, 1, 0, 95, "in q4_0, parts begin at multiples of 32"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct shape_case test = {"ref", cases[i].dtype, 1, cases[i].has_down};
        struct whole whole = make_whole(&test);
        mglu_weights_desc rows = MGLU_WEIGHTS_DESC_INIT;
        mglu_status status = mglu_weights_rows(whole.rig.weights, cases[i].first, cases[i].count, &rows);

        assert_status(status, cases[i].says ? MGLU_ERROR_INVALID_ARGUMENT : MGLU_OK);
        if (cases[i].says)
            assert_error_says(cases[i].says);
        assert_status(mglu_weights_desc_rows(&whole.sample.desc, 0, D, &rows), MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says("masks must be MGLU_MASK_WORDS");
        free_whole(&whole);
    }
    assert_status(mglu_weights_rows(NULL, 0, 1, &(mglu_weights_desc){0}), MGLU_ERROR_INVALID_ARGUMENT);
}

static void parts_that_must_be_used_in_place_have_no_down_projection(void **state)
{
    for (int has_down = 0; has_down <= 1; has_down++) {
        const struct shape_case test = {"ref", MGLU_DTYPE_F16, 0, has_down};
        struct whole whole = make_whole(&test);
        mglu_weights_desc desc = whole.sample.desc, rows = MGLU_WEIGHTS_DESC_INIT;

        desc.flags |= MGLU_WEIGHTS_REQUIRE_BORROW;
        assert_status(mglu_weights_desc_rows(&desc, 0, 32, &rows), has_down ? MGLU_ERROR_INVALID_ARGUMENT : MGLU_OK);
        if (has_down)
            assert_error_says("columns of the down-projection are always copied");
        assert_ok(mglu_weights_desc_rows(&desc, 0, D, &rows));
        free_whole(&whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_existing_weights_have_the_bits_of_the_whole),
        cmocka_unit_test(parts_with_a_down_projection_add_up_to_the_whole),
        cmocka_unit_test(columns_of_the_down_projection_are_never_used_in_place),
        cmocka_unit_test(rows_of_a_desc_are_those_of_weights_made_of_it),
        cmocka_unit_test(what_is_no_part_is_refused_by_name),
        cmocka_unit_test(parts_that_must_be_used_in_place_have_no_down_projection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
