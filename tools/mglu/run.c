/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "commands.h"
#include "layout_options.h"
#include "run_inputs.h"
#include "tensor_arguments.h"
#include "tools/common/arguments.h"
#include "tools/common/compute.h"
#include "tools/common/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** One run: its inputs and its result. */
struct job {
    struct run_inputs inputs;
    void *x_rows;       /**< aligned copy of x in the dtype of the computation: elements in a file have no alignment */
    mglu_file_tensor y; /**< inputs.y with its data */
    void *result;
    struct compute compute;
    struct ffn ffn;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct run_request *request = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &request->compute;
        state->child_inputs[1] = &request->file_flags;
        state->child_inputs[2] = &request->file_flags;
        return 0;
    case 'l':
        request->prefix = argument;
        return 0;
    case 'x':
        arguments_tensor(state, "--x", argument, &request->x);
        return 0;
    case 'o':
        arguments_tensor(state, "--out", argument, &request->out);
        return 0;
    case 'c':
        arguments_tensor(state, "--check", argument, &request->check);
        return 0;
    case 'a':
        request->activation = arguments_activation(state, argument);
        request->has_activation = true;
        return 0;
    case ARGP_KEY_ARG:
        arguments_operand(state, argument, (char **const[]){&request->path}, 1);
        return 0;
    case ARGP_KEY_END:
        arguments_need(state, request->path, "FILE");
        arguments_need(state, request->prefix, "--layer");
        arguments_need(state, request->x.path, "--x");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void *copy_x(const struct run_inputs *inputs)
{
    if (inputs->desc.x_dtype == MGLU_DTYPE_F32)
        return tensor_to_f32(inputs->x);
    void *rows = report_allocate(inputs->x->bytes, 1);
    if (rows && inputs->x->bytes)
        memcpy(rows, inputs->x->data, inputs->x->bytes);
    return rows;
}

static bool compute(struct job *job)
{
    const struct run_inputs *inputs = &job->inputs;
    const struct run_request *request = inputs->request;
    job->result = report_allocate(inputs->y.bytes, 1);
    job->x_rows = copy_x(inputs);
    job->y = inputs->y;
    job->y.data = job->result;
    return job->result && job->x_rows && compute_open(&job->compute, &request->compute) &&
           ffn_create(&job->ffn, job->compute.device, &inputs->weights, &inputs->desc, request->prefix) &&
           ffn_forward(&job->ffn, job->compute.queue, inputs->rows, job->x_rows, job->result, NULL);
}

static void print_layer(const struct run_inputs *inputs, const struct compute *compute)
{
    char device[512], in[256], out[256];
    compute_describe(compute, device, sizeof device);
    tensor_shape_text(inputs->x, in, sizeof in);
    tensor_shape_text(&inputs->y, out, sizeof out);
    printf("layer: %s, %s %s, %d masks\n", inputs->request->prefix, mglu_dtype_name(inputs->weights.dtype),
           mglu_activation_name(inputs->desc.activation), inputs->weights.n_masks);
    printf("device: %s\n", device);
    printf("x: %s %s, y: %s %s\n", mglu_file_dtype_name(inputs->x->dtype), in, mglu_file_dtype_name(inputs->y.dtype),
           out);
}

static bool write_output(const mglu_file_tensor *y, const char *path)
{
    mglu_file_writer *writer = NULL;
    if (!path)
        return true;
    const bool done = mglu_file_writer_create(&writer) == MGLU_OK &&
                      mglu_file_writer_metadata(writer, "format", "pt") == MGLU_OK &&
                      mglu_file_writer_tensor(writer, y) == MGLU_OK && mglu_file_writer_commit(writer, path) == MGLU_OK;
    if (!done)
        report_library(NULL);
    mglu_file_writer_destroy(&writer);
    return done;
}

static bool compare(const struct job *job)
{
    const struct run_inputs *inputs = &job->inputs;
    if (!inputs->want)
        return true;
    double *got = tensor_to_f64(&job->y);
    double *want = got ? tensor_to_f64(inputs->want) : NULL;
    struct check check = {.got = got, .want = want, .rows = inputs->rows, .width = inputs->width};
    check.tolerance = want ? report_allocate((size_t)tensor_elements(&job->y), sizeof *check.tolerance) : NULL;
    const bool done = check.tolerance &&
                      check_tolerances(&check, job->compute.context, &inputs->weights, &inputs->desc,
                                       mglu_layer_accuracy(job->ffn.layer), job->x_rows) &&
                      check_print(&check);
    free(got);
    free(want);
    free(check.tolerance);
    return done;
}

static bool run(const struct run_request *request)
{
    struct job job = {0};
    if (!run_inputs_open(&job.inputs, request))
        return false;
    bool done = compute(&job);
    if (done) {
        print_layer(&job.inputs, &job.compute);
        done = write_output(&job.y, request->out.path) && compare(&job);
    }
    ffn_destroy(&job.ffn);
    compute_close(&job.compute);
    free(job.x_rows);
    free(job.result);
    run_inputs_close(&job.inputs);
    return done;
}

int command_run(int argc, char **argv)
{
    static const struct argp_option list[] = {
        {"layer", 'l', "P", 0, "Projection or whole feed-forward block, as model.layers.0.mlp", 0},
        {"x", 'x', "FILE:TENSOR", 0, "Activations, rows of the layer's input size", 0},
        {"out", 'o', "FILE:TENSOR", 0, "Write the result as the only tensor of a new file", 0},
        {"check", 'c', "FILE:TENSOR", 0, "Compare with the exact result; exit status 1 if the error exceeds its bound",
         0},
        {"activation", 'a', "A", 0,
         "Activation, as silu; an unknown name prints the list of names (default: the file's, else hidden_act of a "
         "config.json beside it)",
         0},
        {0},
    };
    const struct argp_child children[] = {arguments_compute[0], {.argp = &layout_argp}, {.argp = &mapping_argp}, {0}};
    const struct argp argp = {
        .options = list,
        .parser = parse,
        .children = children,
        .args_doc = "FILE",
        .doc = "Computes one layer of a packed file, a training checkpoint, a GGUF file or the model in a folder.",
    };
    struct run_request request = {.compute = {.own_pool = true}};
    if (!arguments_parse(&argp, argc, argv, 0, &request))
        return EXIT_FAILED;
    const bool done = run(&request);
    arguments_release(&request.x);
    arguments_release(&request.out);
    arguments_release(&request.check);
    return done ? EXIT_SUCCESS : EXIT_FAILED;
}
