/* SPDX-License-Identifier: MIT */
/*
 * A user of every public header, in C and in C++: enums have 32 bits, and a struct's macro initialises it, is assigned
 * and leaves nothing but struct_size set. headers.sh compiles and runs this in each language and includes the headers.
 */
#include <stdio.h>
#include <string.h>

static int failures;

static void expect(int holds, const char *what)
{
    if (!holds) {
        printf("not so: %s\n", what);
        failures++;
    }
}

/* A switch over all values of an enum needs no default. */
static const char *dtype_name(mglu_dtype dtype)
{
    switch (dtype) {
    case MGLU_DTYPE_F32:
        return "f32";
    case MGLU_DTYPE_F16:
        return "f16";
    case MGLU_DTYPE_BF16:
        return "bf16";
    case MGLU_DTYPE_Q8_0:
        return "q8_0";
    case MGLU_DTYPE_Q4_0:
        return "q4_0";
    }
    return NULL;
}

#define EXPECT_32_BITS(type) expect(sizeof(type) == 4, "sizeof(" #type ") == 4")

static void check_enums(void)
{
    EXPECT_32_BITS(mglu_status);
    EXPECT_32_BITS(mglu_dtype);
    EXPECT_32_BITS(mglu_activation);
    EXPECT_32_BITS(mglu_kind);
    EXPECT_32_BITS(mglu_mask_form);
    EXPECT_32_BITS(mglu_device_type);
    EXPECT_32_BITS(mglu_log_level);
    EXPECT_32_BITS(mglu_accuracy);
#ifdef MGLU_IO_H
    EXPECT_32_BITS(mglu_file_dtype);
    EXPECT_32_BITS(mglu_file_format);
#endif
    expect(strcmp(dtype_name(MGLU_DTYPE_Q4_0), "q4_0") == 0, "the name of q4_0");
}

/* A macro initialises, is assigned and is passed; `last` is the struct's last number or pointer. */
#define EXPECT_INITIAL(type, macro, last)                                                                              \
    do {                                                                                                               \
        type first = macro, second;                                                                                    \
        memset(&second, 1, sizeof second);                                                                             \
        second = macro;                                                                                                \
        expect(first.struct_size == sizeof(type) && !first.last, #macro " initialises");                               \
        expect(second.struct_size == sizeof(type) && !second.last, #macro " is assigned");                             \
        expect(!macro.last, #macro " is a value");                                                                     \
    } while (0)

static void check_structs(void)
{
    EXPECT_INITIAL(mglu_context_desc, MGLU_CONTEXT_DESC_INIT, cache_dir);
    EXPECT_INITIAL(mglu_device_info, MGLU_DEVICE_INFO_INIT, works_after_fork);
    EXPECT_INITIAL(mglu_queue_desc, MGLU_QUEUE_DESC_INIT, destroy_ns);
    EXPECT_INITIAL(mglu_weights_desc, MGLU_WEIGHTS_DESC_INIT, parallel);
    EXPECT_INITIAL(mglu_weights_info, MGLU_WEIGHTS_INFO_INIT, borrowed_bytes);
    EXPECT_INITIAL(mglu_layer_desc, MGLU_LAYER_DESC_INIT, max_batch);
    EXPECT_INITIAL(mglu_layer_info, MGLU_LAYER_INFO_INIT, details);
    EXPECT_INITIAL(mglu_forward_args, MGLU_FORWARD_ARGS_INIT, workspace_size);
    EXPECT_INITIAL(mglu_train_desc, MGLU_TRAIN_DESC_INIT, max_batch);
    EXPECT_INITIAL(mglu_train_forward_args, MGLU_TRAIN_FORWARD_ARGS_INIT, parallel);
    EXPECT_INITIAL(mglu_train_backward_args, MGLU_TRAIN_BACKWARD_ARGS_INIT, parallel);
    EXPECT_INITIAL(mglu_train_reference_args, MGLU_TRAIN_REFERENCE_ARGS_INIT, drouter_logits.want);
#ifdef MGLU_OPENCL_H
    EXPECT_INITIAL(mglu_opencl_stream, MGLU_OPENCL_STREAM_INIT, event);
#endif
#ifdef MGLU_IO_H
    EXPECT_INITIAL(mglu_file_pack_options, MGLU_FILE_PACK_OPTIONS_INIT, shard_size);
#endif
}

int main(void)
{
    check_enums();
    check_structs();
    return failures != 0;
}
