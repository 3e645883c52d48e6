/* SPDX-License-Identifier: MIT */
#include "common/core/pack.h"
#include "common/dispatch/memory_rows.h"
#include "common/dispatch/objects.h"

/* The arguments of training are checked here and nowhere else; backends trust them. */

#define INVALID(...) mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, __VA_ARGS__)

enum { ALIGNMENT = 64 }; /* of workspace and saved */

/* The arrays that a call reads, and those that it writes. */
enum { X, WEIGHT, MASKS, GATE_BIAS, VALUE_BIAS, ROUTER_LOGITS, DY, SAVED, READS };
enum { WORKSPACE, DX, DWEIGHT, DLOGITS, DGATE_BIAS, DVALUE_BIAS, DROUTER_LOGITS, BACKWARD_WRITES };
enum { Y = DX, SAVED_NOW, FORWARD_WRITES };

/* A call while it is checked. */
struct call {
    const char *name; /* begins the texts of errors */
    const mglu_train_desc *desc;
    int64_t batch;
    struct memory_rows reads[READS];
};

/* A dtype's name for the text of an error, or its number. */
struct dtype_text {
    char text[16];
};

static struct dtype_text text_of(mglu_dtype dtype)
{
    struct dtype_text made;

    if (mglu_dtype_name(dtype))
        snprintf(made.text, sizeof made.text, "%s", mglu_dtype_name(dtype));
    else
        snprintf(made.text, sizeof made.text, "%d", (int)dtype);
    return made;
}

static mglu_status check_sizes(const mglu_train_desc *desc)
{
    if (desc->hidden_size < 1 || desc->hidden_size > MGLU_MAX_SIZE)
        return INVALID("train: hidden_size is %lld, must be 1..%lld", (long long)desc->hidden_size,
                       (long long)MGLU_MAX_SIZE);
    if (desc->intermediate_size < 1 || desc->intermediate_size > MGLU_MAX_SIZE)
        return INVALID("train: intermediate_size is %lld, must be 1..%lld", (long long)desc->intermediate_size,
                       (long long)MGLU_MAX_SIZE);
    if (!mglu_is_mask_count(desc->n_masks))
        return INVALID("train: n_masks is %d, must be 1..%d", desc->n_masks, MGLU_MAX_MASKS);
    if (desc->top_k < 0 || desc->top_k > desc->n_masks)
        return INVALID("train: top_k is %d, must be 0..%d", desc->top_k, desc->n_masks);
    if (desc->max_batch < 1 || desc->max_batch > MGLU_MAX_BATCH)
        return INVALID("train: max_batch is %lld, must be 1..%lld", (long long)desc->max_batch,
                       (long long)MGLU_MAX_BATCH);
    return MGLU_OK;
}

mglu_status mglu_validate_train(mglu_train_desc *desc)
{
    mglu_status status = check_sizes(desc);

    if (status == MGLU_OK)
        status = mglu_validate_activation("train", desc->activation, desc->silu_beta);
    if (status != MGLU_OK)
        return status;
    if (desc->dtype != MGLU_DTYPE_F32 && desc->dtype != MGLU_DTYPE_BF16)
        return INVALID("train: dtype is %s, must be f32 or bf16", text_of(desc->dtype).text);
    if (desc->reserved != 0 || desc->flags & ~(uint32_t)(MGLU_TRAIN_GATE_BIAS | MGLU_TRAIN_VALUE_BIAS))
        return INVALID("train: unknown flags, or reserved is not 0");
    if (desc->silu_beta == 0)
        desc->silu_beta = 1;
    return MGLU_OK;
}

static mglu_status check_input(struct call *call, const char *name, mglu_input *input, int64_t columns,
                               mglu_dtype dtype, int which)
{
    return mglu_rows_check(call->name, name, input->data, input->byte_offset, &input->row_stride, call->batch, columns,
                           mglu_dtype_size(dtype), &call->reads[which]);
}

static mglu_status check_output(const struct call *call, const char *name, mglu_output *output, int64_t columns,
                                mglu_dtype dtype, struct memory_rows *rows)
{
    return mglu_rows_check(call->name, name, output->data, output->byte_offset, &output->row_stride, call->batch,
                           columns, mglu_dtype_size(dtype), rows);
}

static mglu_status check_weight(struct call *call, mglu_array *weight)
{
    const size_t h = (size_t)call->desc->hidden_size, d = (size_t)call->desc->intermediate_size;
    const size_t row = h * mglu_dtype_size(weight->dtype);
    size_t bytes;

    if (weight->dtype != MGLU_DTYPE_F32 && weight->dtype != MGLU_DTYPE_BF16)
        return INVALID("%s: weight is %s, must be f32 or bf16", call->name, text_of(weight->dtype).text);
    if (!weight->data)
        return INVALID("%s: weight is NULL", call->name);
    if (weight->scales || weight->scale_stride_bytes)
        return INVALID("%s: weight has scales: it is not quantised", call->name);
    if (!weight->stride_bytes)
        weight->stride_bytes = row;
    if (weight->stride_bytes < row)
        return INVALID("%s: stride_bytes of weight is %zu, a row has %zu bytes", call->name, weight->stride_bytes, row);
    if (__builtin_mul_overflow(weight->stride_bytes, d, &bytes))
        return INVALID("%s: stride_bytes of weight is %zu: the rows do not fit into memory", call->name,
                       weight->stride_bytes);
    call->reads[WEIGHT] = (struct memory_rows){"weight", weight->data, d, row, weight->stride_bytes};
    return MGLU_OK;
}

static size_t mask_bytes(const mglu_train_desc *desc, mglu_mask_form form)
{
    static const size_t bits[] = {[MGLU_MASK_BYTES] = 8,
                                  [MGLU_MASK_LOGITS_F32] = 32,
                                  [MGLU_MASK_LOGITS_F16] = 16,
                                  [MGLU_MASK_LOGITS_BF16] = 16,
                                  [MGLU_MASK_BITS] = 1};
    const size_t h = (size_t)desc->hidden_size, rows = (size_t)desc->n_masks * (size_t)desc->intermediate_size;

    if (form == MGLU_MASK_WORDS)
        return mglu_packed_mask_size(desc->n_masks, desc->intermediate_size, desc->hidden_size);
    return rows * ((h * bits[form] + 7) / 8);
}

static mglu_status check_masks(struct call *call, const mglu_mask_array *masks)
{
    if ((unsigned)masks->form > MGLU_MASK_BITS)
        return INVALID("%s: unknown mask form %d", call->name, (int)masks->form);
    if (!masks->data)
        return INVALID("%s: masks are NULL", call->name);
    call->reads[MASKS] = memory_block("masks", masks->data, mask_bytes(call->desc, masks->form));
    return MGLU_OK;
}

static size_t bias_bytes(const mglu_train_desc *desc)
{
    return (size_t)desc->n_masks * (size_t)desc->intermediate_size * sizeof(float);
}

static mglu_status check_bias(struct call *call, const char *name, const float *bias, uint32_t flag, int which)
{
    if (!bias != !(call->desc->flags & flag))
        return INVALID("%s: %s is %s, but the desc says there is %s", call->name, name, bias ? "given" : "NULL",
                       bias ? "none" : "one");
    call->reads[which] = memory_block(name, bias, bias_bytes(call->desc));
    return MGLU_OK;
}

static mglu_status check_router_logits(struct call *call, mglu_input *logits)
{
    if (!logits->data != !call->desc->top_k)
        return INVALID("%s: router_logits are %s, but top_k is %d", call->name, logits->data ? "given" : "NULL",
                       call->desc->top_k);
    if (!logits->data)
        return MGLU_OK;
    return check_input(call, "router_logits", logits, call->desc->n_masks, MGLU_DTYPE_F32, ROUTER_LOGITS);
}

static mglu_status check_inputs(struct call *call, mglu_train_inputs *inputs)
{
    mglu_status status = check_input(call, "x", &inputs->x, call->desc->hidden_size, call->desc->dtype, X);

    if (status == MGLU_OK)
        status = check_weight(call, &inputs->weight);
    if (status == MGLU_OK)
        status = check_masks(call, &inputs->masks);
    if (status == MGLU_OK)
        status = check_bias(call, "gate_bias", inputs->gate_bias, MGLU_TRAIN_GATE_BIAS, GATE_BIAS);
    if (status == MGLU_OK)
        status = check_bias(call, "value_bias", inputs->value_bias, MGLU_TRAIN_VALUE_BIAS, VALUE_BIAS);
    if (status == MGLU_OK)
        status = check_router_logits(call, &inputs->router_logits);
    return status;
}

/* A block of the caller's that must have `needed` bytes. */
static mglu_status check_block(const struct call *call, const char *name, const void *data, size_t size, size_t needed,
                               struct memory_rows *rows)
{
    if ((data ? size : 0) < needed)
        return INVALID("%s: %s has %zu bytes, a batch of %lld needs %zu", call->name, name, data ? size : 0,
                       (long long)call->batch, needed);
    if (needed > 0 && (uintptr_t)data % ALIGNMENT != 0)
        return INVALID("%s: %s is not aligned to %d bytes", call->name, name, ALIGNMENT);
    *rows = memory_block(name, data, needed);
    return MGLU_OK;
}

static mglu_status check_workspace(const struct call *call, const mglu_train *train, const void *workspace, size_t size,
                                   struct memory_rows *rows)
{
    return check_block(call, "the workspace", workspace, size, mglu_train_workspace_size(train, call->batch), rows);
}

/* No output may overlap what is read, or another output. */
static mglu_status check_overlaps(const struct call *call, const struct memory_rows *writes, size_t count)
{
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < count && status == MGLU_OK; i++) {
        status = mglu_rows_check_overlap(call->name, &writes[i], call->reads, READS);
        if (status == MGLU_OK)
            status = mglu_rows_check_overlap(call->name, &writes[i], writes, i);
    }
    return status;
}

mglu_status mglu_validate_train_forward(const mglu_train *train, mglu_train_forward_args *args)
{
    struct call call = {.name = "train forward", .desc = &train->desc, .batch = args->batch};
    struct memory_rows writes[FORWARD_WRITES] = {{0}};
    mglu_status status = check_inputs(&call, &args->inputs);

    if (status == MGLU_OK)
        status = check_output(&call, "y", &args->y, train->desc.intermediate_size, train->desc.dtype, &writes[Y]);
    if (status == MGLU_OK && args->saved)
        status = check_block(&call, "saved", args->saved, args->saved_size, mglu_train_saved_size(train, args->batch),
                             &writes[SAVED_NOW]);
    if (status == MGLU_OK)
        status = check_workspace(&call, train, args->workspace, args->workspace_size, &writes[WORKSPACE]);
    return status == MGLU_OK ? check_overlaps(&call, writes, FORWARD_WRITES) : status;
}

mglu_status mglu_validate_train_gradients(const mglu_train *train, const mglu_train_backward_args *args)
{
    const mglu_train_desc *desc = &train->desc;

    if (args->flags & ~(uint32_t)MGLU_TRAIN_ACCUMULATE)
        return INVALID("train backward: unknown flags");
    if (args->dgate_bias && !(desc->flags & MGLU_TRAIN_GATE_BIAS))
        return INVALID("train backward: dgate_bias is given, but the desc says there is no gate bias");
    if (args->dvalue_bias && !(desc->flags & MGLU_TRAIN_VALUE_BIAS))
        return INVALID("train backward: dvalue_bias is given, but the desc says there is no value bias");
    if (args->drouter_logits.data && !desc->top_k)
        return INVALID("train backward: drouter_logits are given, but top_k is 0");
    if (args->batch > 0 && !args->dx.data && !args->dweight && !args->dlogits && !args->dgate_bias &&
        !args->dvalue_bias && !args->drouter_logits.data)
        return INVALID("train backward: every gradient is NULL: give at least one");
    return MGLU_OK;
}

/* The gradients as memory; those that are NULL have none. */
static mglu_status list_gradients(const struct call *call, mglu_train_backward_args *args, struct memory_rows *writes)
{
    const mglu_train_desc *desc = call->desc;
    const size_t matrix = (size_t)desc->intermediate_size * (size_t)desc->hidden_size * sizeof(float);
    mglu_status status = MGLU_OK;

    writes[DWEIGHT] = memory_block("dweight", args->dweight, matrix);
    writes[DLOGITS] = memory_block("dlogits", args->dlogits, (size_t)desc->n_masks * matrix);
    writes[DGATE_BIAS] = memory_block("dgate_bias", args->dgate_bias, bias_bytes(desc));
    writes[DVALUE_BIAS] = memory_block("dvalue_bias", args->dvalue_bias, bias_bytes(desc));
    if (args->dx.data)
        status = check_output(call, "dx", &args->dx, desc->hidden_size, desc->dtype, &writes[DX]);
    if (status == MGLU_OK && args->drouter_logits.data)
        status = check_output(call, "drouter_logits", &args->drouter_logits, desc->n_masks, MGLU_DTYPE_F32,
                              &writes[DROUTER_LOGITS]);
    return status;
}

mglu_status mglu_validate_train_backward(const mglu_train *train, mglu_train_backward_args *args)
{
    struct call call = {.name = "train backward", .desc = &train->desc, .batch = args->batch};
    struct memory_rows writes[BACKWARD_WRITES] = {{0}};
    mglu_status status = check_inputs(&call, &args->inputs);

    if (status == MGLU_OK)
        status = check_input(&call, "dy", &args->dy, train->desc.intermediate_size, train->desc.dtype, DY);
    if (status == MGLU_OK)
        status = check_block(&call, "saved", args->saved, args->saved_size, mglu_train_saved_size(train, args->batch),
                             &call.reads[SAVED]);
    if (status == MGLU_OK)
        status = list_gradients(&call, args, writes);
    if (status == MGLU_OK)
        status = check_workspace(&call, train, args->workspace, args->workspace_size, &writes[WORKSPACE]);
    return status == MGLU_OK ? check_overlaps(&call, writes, BACKWARD_WRITES) : status;
}

static int is_wanted(const mglu_train_expected *result)
{
    return result->want || result->tolerance;
}

static int wants_gradient(const mglu_train_reference_args *args)
{
    return is_wanted(&args->dx) || is_wanted(&args->dweight) || is_wanted(&args->dlogits) ||
           is_wanted(&args->dgate_bias) || is_wanted(&args->dvalue_bias) || is_wanted(&args->drouter_logits);
}

mglu_status mglu_validate_train_reference(const mglu_train *train, mglu_train_reference_args *args)
{
    struct call call = {.name = "train reference", .desc = &train->desc, .batch = args->batch};
    mglu_status status = check_inputs(&call, &args->inputs);

    if (status != MGLU_OK || (!args->dy.data && !wants_gradient(args)))
        return status;
    return check_input(&call, "dy", &args->dy, train->desc.intermediate_size, train->desc.dtype, DY);
}
