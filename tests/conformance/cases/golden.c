/* SPDX-License-Identifier: MIT */
#include "cases/groups.h"
#include "cases/sets.h"
#include "judge/expect.h"
#include "problem/forward.h"

#include <mglu/io.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The golden vectors: layers whose correct outputs were computed by another program (tests/golden/make_golden.py). The
 * device's outputs must be within their tolerances, and the reference must agree with both.
 */

#define BESIDE "/share/mglu/golden"
enum { FOLDER = 4096 };

static const char *const names[] = {
    "masks-1-silu-f32",          "masks-1-identity-bf16",   "masks-4-gelu_erf-f16",  "masks-4-sigmoid-f32-biases",
    "masks-4-silu-f16-ids",      "masks-4-silu-f16-router", "masks-4-silu-f16-down", "masks-16-gelu_tanh-bf16",
    "masks-16-relu-bf16-block",  "plain-relu-f16",          "plain-silu-f32-block",  "masks-4-silu-q8_0",
    "plain-gelu_erf-q4_0-block",
};

/* An open file, and its layer as a problem. */
struct golden {
    mglu_file *file;
    struct problem problem;
    double *want, *tolerance;
};

/* Writes ../share/mglu/golden as seen from this program: where the files are when its whole folder was moved. */
static void find_beside_program(char folder[FOLDER])
{
    ssize_t length = readlink("/proc/self/exe", folder, FOLDER - sizeof BESIDE);

    for (int parts = 0; length > 0 && parts < 2; length--)
        parts += folder[length - 1] == '/';
    strcpy(folder + (length > 0 ? length : 0), BESIDE);
}

/* The folder that the environment names, the one beside the program, the source's, or the installed one. */
static bool open_file(const char *name, mglu_file **file, struct outcome *outcome)
{
    char beside[FOLDER], path[FOLDER + 64] = "";
    const char *const folders[] = {getenv("MGLU_GOLDEN_DIR"), beside, MGLU_GOLDEN_SOURCE_DIR, MGLU_GOLDEN_DIR};

    find_beside_program(beside);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (!folders[i])
            continue;
        snprintf(path, sizeof path, "%s/%s.safetensors", folders[i], name);
        if (i == 0 || access(path, R_OK) == 0)
            break;
    }
    return outcome_expect(outcome, "mglu_file_open", mglu_file_open(path, 0, file), MGLU_OK);
}

/* The same dtype as the library names it, among those that x and y may have. */
static mglu_dtype dtype_of(mglu_file_dtype dtype)
{
    return dtype == MGLU_FILE_F16 ? MGLU_DTYPE_F16 : dtype == MGLU_FILE_BF16 ? MGLU_DTYPE_BF16 : MGLU_DTYPE_F32;
}

/* A copy of a tensor's bytes that lives as long as the problem; NULL where the file has no such tensor. */
static void *copy_of(struct golden *golden, const char *name)
{
    const mglu_file_tensor *tensor = mglu_file_find(golden->file, name);
    void *copy;

    if (!tensor)
        return NULL;
    copy = problem_allocate(&golden->problem, tensor->bytes);
    memcpy(copy, tensor->data, tensor->bytes);
    return copy;
}

static float *floats_of(struct golden *golden, const char *name)
{
    const mglu_file_tensor *tensor = mglu_file_find(golden->file, name);
    float *floats;
    size_t count;

    if (!tensor)
        return NULL;
    count = tensor->bytes / mglu_file_dtype_size(tensor->dtype);
    floats = problem_allocate(&golden->problem, count * sizeof *floats);
    if (mglu_convert(tensor->data, dtype_of(tensor->dtype), floats, MGLU_DTYPE_F32, count) != MGLU_OK)
        return NULL;
    return floats;
}

static const char *metadata_of(const struct golden *golden, const char *key)
{
    const char *value = mglu_file_metadata(golden->file, key);

    return value ? value : "";
}

static bool read_problem(struct golden *golden, struct outcome *outcome)
{
    struct problem *problem = &golden->problem;
    const mglu_file_tensor *x = mglu_file_find(golden->file, "golden.x");
    const char *y_dtype = metadata_of(golden, "golden.y_dtype");

    problem->weights.struct_size = sizeof problem->weights;
    problem->layer.struct_size = sizeof problem->layer;
    if (!outcome_expect(outcome, "mglu_file_layer",
                        mglu_file_layer(golden->file, "mlp", &problem->weights, &problem->layer, NULL), MGLU_OK))
        return false;
    problem->x = floats_of(golden, "golden.x");
    problem->residual = floats_of(golden, "golden.residual");
    problem->ids = copy_of(golden, "golden.routing_ids");
    problem->p = floats_of(golden, "golden.routing_weights");
    golden->want = copy_of(golden, "golden.y");
    golden->tolerance = copy_of(golden, "golden.tolerance");
    if (!x || !problem->x || !golden->want || !golden->tolerance) {
        outcome_set(outcome, VERDICT_FAIL, "%s lacks a tensor", mglu_file_path(golden->file));
        return false;
    }
    problem->batch = x->shape[0];
    problem->columns = problem->weights.output_size ? problem->weights.output_size : problem->weights.intermediate_size;
    problem->layer.max_batch = problem->batch;
    problem->layer.top_k = atoi(metadata_of(golden, "golden.top_k"));
    problem->layer.x_dtype = dtype_of(x->dtype);
    problem->layer.y_dtype = strcmp(y_dtype, "F16") == 0    ? MGLU_DTYPE_F16
                             : strcmp(y_dtype, "BF16") == 0 ? MGLU_DTYPE_BF16
                                                            : MGLU_DTYPE_F32;
    return true;
}

/* The library quantises the floats of a quantised matrix to exactly the bytes of the file. */
static void compare_quantised(const struct golden *golden, const char *floats, const mglu_array *array,
                              struct outcome *outcome)
{
    const mglu_file_tensor *source = mglu_file_find(golden->file, floats);
    int64_t rows = source ? source->shape[0] : 0, columns = source ? source->shape[1] : 0;
    size_t stride = mglu_packed_weight_stride_bytes(array->dtype, columns);
    size_t bytes = (size_t)columns / (array->dtype == MGLU_DTYPE_Q4_0 ? 2 : 1);
    size_t scale_bytes = mglu_packed_scale_size(array->dtype, rows, columns);
    unsigned char *quants, *scales;

    if (!array->data || !mglu_dtype_is_quantised(array->dtype))
        return;
    if (!source) {
        outcome_set(outcome, VERDICT_FAIL, "%s lacks %s", mglu_file_path(golden->file), floats);
        return;
    }
    quants = allocate((size_t)rows * stride);
    scales = allocate(scale_bytes);
    if (outcome_expect(
            outcome, "mglu_pack_weights",
            mglu_pack_weights(&(mglu_array){.data = source->data}, rows, columns, array->dtype, 0, quants, scales),
            MGLU_OK))
        for (size_t r = 0; r < (size_t)rows; r++)
            if (memcmp(quants + r * stride, (const unsigned char *)array->data + r * bytes, bytes) != 0)
                outcome_set(outcome, VERDICT_FAIL, "%s: row %zu is not quantised as in the file", floats, r);
    if (memcmp(scales, array->scales, scale_bytes) != 0)
        outcome_set(outcome, VERDICT_FAIL, "%s: its scales differ from those in the file", floats);
    free(quants);
    free(scales);
}

static void compare_weights(const struct golden *golden, struct outcome *outcome)
{
    const mglu_weights_desc *weights = &golden->problem.weights;

    compare_quantised(golden, "golden.weight", &weights->weight, outcome);
    compare_quantised(golden, "golden.value_weight", &weights->value_weight, outcome);
    compare_quantised(golden, "golden.down", &weights->down, outcome);
}

/* Two programs that implement the same equations and bound differ only by rounding in double. */
static void compare_reference(const struct golden *golden, const struct oracle *oracle, struct outcome *outcome)
{
    for (int64_t i = 0; i < golden->problem.batch * golden->problem.columns; i++) {
        double want = golden->want[i], tolerance = golden->tolerance[i];

        if (!(fabs(oracle->want[i] - want) <= 1e-12 * (1 + fabs(want))))
            outcome_set(outcome, VERDICT_FAIL, "element %d: the reference says %.17g, the file %.17g", (int)i,
                        oracle->want[i], want);
        if (!(fabs(oracle->tolerance[i] - tolerance) <= 1e-6 * tolerance))
            outcome_set(outcome, VERDICT_FAIL, "element %d: the reference's tolerance is %.9g, the file's %.9g", (int)i,
                        oracle->tolerance[i], tolerance);
    }
}

/* The file's tolerances are those of class A. */
static void compare_device(const struct golden *golden, const struct target *target, struct outcome *outcome)
{
    const struct problem *problem = &golden->problem;
    struct oracle file = {golden->want, golden->tolerance}, other = {0};
    unsigned char *y;
    struct rig rig;

    if (!open_rig(&rig, target->device, problem, outcome))
        return;
    y = run_on(&rig, problem, &tight, outcome);
    if (y && mglu_layer_accuracy(rig.layer) == MGLU_ACCURACY_A)
        compare_with_oracle(&file, problem, y, outcome);
    else if (y && compute_oracle(&other, target, problem, mglu_layer_accuracy(rig.layer), outcome))
        compare_with_oracle(&other, problem, y, outcome);
    free_oracle(&other);
    free(y);
    rig_close(&rig);
}

static void run_golden(const struct target *target, const struct test_case *test, struct outcome *outcome)
{
    struct golden golden = {0};
    struct oracle oracle;

    if (!open_file(names[case_number(test)], &golden.file, outcome))
        return;
    if (read_problem(&golden, outcome)) {
        if (compute_oracle(&oracle, target, &golden.problem, MGLU_ACCURACY_A, outcome)) {
            compare_weights(&golden, outcome);
            compare_reference(&golden, &oracle, outcome);
            free_oracle(&oracle);
        }
        compare_device(&golden, target, outcome);
    }
    problem_free(&golden.problem);
    mglu_file_close(&golden.file);
}

static void list_golden(case_sink *sink, void *user)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        list_case(sink, user, TIER_QUICK, i, "golden/%s", names[i]);
}

const struct group group_golden = {
    "golden",
    "files of layers whose outputs another program has computed",
    list_golden,
    run_golden,
};
