/* SPDX-License-Identifier: MIT */
#include "scripts.h"

#include <mglu/io.h>
#include <mglu/pack.h>

#include <stdio.h>
#include <stdlib.h>

/* Scripts that read and write files, in the current folder. */

enum { H = 64, D = 32, OUT = 48, MASKS = 2 };

static mglu_file *file;
static mglu_file_writer *writer;
static float numbers[D * H];
static uint8_t masks[MASKS * D * H];

static mglu_status make_writer(void)
{
    return mglu_file_writer_create(&writer);
}

static mglu_status add_metadata(void)
{
    return mglu_file_writer_metadata(writer, "mglu.activation", "silu");
}

static mglu_status add_weight(void)
{
    const mglu_file_tensor tensor = {"m.up_proj.weight", MGLU_FILE_F32, 2, (const int64_t[]){D, H}, numbers, 0};

    return mglu_file_writer_tensor(writer, &tensor);
}

static mglu_status add_masks(void)
{
    const mglu_file_tensor tensor = {"m.up_proj.mask", MGLU_FILE_U8, 3, (const int64_t[]){MASKS, D, H}, masks, 0};

    return mglu_file_writer_tensor(writer, &tensor);
}

static mglu_status add_down(void)
{
    const mglu_file_tensor tensor = {"m.down_proj.weight", MGLU_FILE_F32, 2, (const int64_t[]){OUT, D}, numbers, 0};

    return mglu_file_writer_tensor(writer, &tensor);
}

static mglu_status write_output(void)
{
    return mglu_file_writer_commit(writer, "written");
}

static mglu_status open_read(void)
{
    return mglu_file_open("packed", 0, &file);
}

static mglu_status open_mapped(void)
{
    return mglu_file_open("packed", MGLU_FILE_MMAP, &file);
}

static mglu_status read_layer(void)
{
    const char *name = mglu_file_layer_at(file, 0);
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    mglu_status status;

    if (!name)
        return mglu_fail(MGLU_ERROR_CORRUPT_FILE, "the layer is missing");
    status = mglu_file_layer(file, name, &weights, &layer, NULL);
    if (status == MGLU_OK)
        script_use_layer(&weights, &layer);
    return status;
}

static mglu_status pack_as(const char *output, int convert, mglu_dtype dtype)
{
    const mglu_file_pack_options options = {.struct_size = sizeof options, .convert = convert, .dtype = dtype};

    return mglu_file_pack("checkpoint", output, &options);
}

static mglu_status pack_copy(void)
{
    return pack_as("packed-copy", 0, MGLU_DTYPE_F32);
}

static mglu_status pack_q8_0(void)
{
    return pack_as("packed-q8_0", 1, MGLU_DTYPE_Q8_0);
}

void file_scripts_clean_up(void)
{
    mglu_file_writer_destroy(&writer);
    mglu_file_close(&file);
}

static step_fn *const write_steps[] = {make_writer, add_metadata, add_weight, add_masks, add_down, write_output, NULL};
static step_fn *const read_steps[] = {open_read,    read_layer, step_context,   step_pick,    step_queue,
                                      step_weights, step_layer, step_workspace, step_forward, NULL};
static step_fn *const map_steps[] = {open_mapped,  read_layer, step_context,   step_pick,    step_queue,
                                     step_weights, step_layer, step_workspace, step_forward, NULL};
static step_fn *const copy_steps[] = {pack_copy, NULL};
static step_fn *const convert_steps[] = {pack_q8_0, NULL};

void file_scripts_write_inputs(void)
{
    for (int i = 0; i < D * H; i++)
        numbers[i] = (float)(i % 61 - 30) / 32;
    for (int i = 0; i < MASKS * D * H; i++)
        masks[i] = i % 3 == 0;
    for (step_fn *const *step = write_steps; *step && *step != write_output; step++)
        if ((*step)() != MGLU_OK)
            abort();
    if (mglu_file_writer_commit(writer, "checkpoint") != MGLU_OK ||
        mglu_file_pack("checkpoint", "packed", NULL) != MGLU_OK)
        abort();
    file_scripts_clean_up();
}

const struct script file_scripts[] = {
    {.name = "writing a file", .steps = write_steps, .output = "written"},
    {.name = "reading a file", .steps = read_steps},
    {.name = "mapping a file", .steps = map_steps},
    {.name = "packing a file", .steps = copy_steps, .output = "packed-copy"},
    {.name = "converting a file", .steps = convert_steps, .output = "packed-q8_0"},
    {.name = NULL},
};
