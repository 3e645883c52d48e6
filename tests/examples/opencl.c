/* SPDX-License-Identifier: MIT */
/* The code of docs/embedding/opencl.md, compiled only: tests/unit/opencl/test_opencl_interop.c runs these calls. */
#include <mglu/mglu.h>
#include <mglu/opencl.h>

mglu_status compute_on_queue(mglu_device *device, cl_command_queue commands, cl_mem x_buffer, cl_mem y_buffer,
                             const mglu_weights_desc *weights_desc, cl_event *event);

/** Returns the first failure; the application's queue goes on after `event`. */
mglu_status compute_on_queue(mglu_device *device, cl_command_queue commands, cl_mem x_buffer, cl_mem y_buffer,
                             const mglu_weights_desc *weights_desc, cl_event *event)
{
    const mglu_layer_desc layer_desc = {.struct_size = sizeof layer_desc, .max_batch = 1};
    mglu_queue *queue = NULL;
    mglu_weights *weights = NULL;
    mglu_layer *layer = NULL;
    mglu_memory *workspace = NULL;

    mglu_opencl_stream stream = {.struct_size = sizeof stream, .queue = commands, .event = event};
    mglu_status status = mglu_opencl_share_queue(device, &stream, &queue);
    if (status == MGLU_OK)
        status = mglu_weights_create(device, weights_desc, &weights);
    if (status == MGLU_OK)
        status = mglu_layer_create(weights, &layer_desc, &layer);
    if (status == MGLU_OK)
        status = mglu_memory_create(device, mglu_layer_workspace_size(layer), &workspace);

    const mglu_forward_args args = {.struct_size = sizeof args,
                                    .batch = 1,
                                    .x = mglu_opencl_input(x_buffer, 0, 0),
                                    .y = mglu_opencl_output(y_buffer, 0, 0),
                                    .workspace = mglu_memory_data(workspace),
                                    .workspace_size = mglu_memory_size(workspace)};
    if (status == MGLU_OK)
        status = mglu_forward(layer, queue, &args); /* after stream.wait_list; *event signals its end, release it */
    if (status == MGLU_OK)
        status = mglu_queue_wait(queue);

    mglu_memory_destroy(&workspace);
    mglu_layer_destroy(&layer);
    mglu_weights_destroy(&weights);
    mglu_queue_destroy(&queue);
    return status;
}
