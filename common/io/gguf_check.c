/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_check.h"

#include "common/core/mask_format.h"
#include "common/io/gguf_architectures.h"
#include "common/io/gguf_types.h"
#include "common/io/report.h"

#include <string.h>

/* A tensor of a layer, its name taken apart, and the file. */
struct part {
    const char *path;
    const struct mglu_io_gguf *gguf;
    const struct mglu_io_gguf_tensor *tensor;
    struct mglu_io_gguf_name name;
};

#define CORRUPT(part, ...)     mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, (part)->path, (part)->tensor->name, __VA_ARGS__)
#define UNSUPPORTED(part, ...) mglu_io_fail(MGLU_ERROR_UNSUPPORTED, (part)->path, (part)->tensor->name, __VA_ARGS__)

static const struct mglu_io_gguf_tensor *sibling(const struct part *part, enum mglu_io_gguf_stem stem, const char *leaf)
{
    return mglu_io_gguf_find(part->gguf, part->name.block, mglu_io_gguf_part(part->name.group, stem), leaf);
}

static const char *architecture_of(const struct mglu_io_gguf *gguf)
{
    const char *name = mglu_io_gguf_text(gguf, "general.architecture");

    return name ? name : "not named";
}

int mglu_io_gguf_is_fused(const struct mglu_io_gguf *gguf, const struct mglu_io_gguf_name *name)
{
    const struct mglu_io_architecture *known = mglu_io_architecture(mglu_io_gguf_text(gguf, "general.architecture"));

    return known && known->fused && name->group == MGLU_IO_GGUF_DENSE && name->stem == MGLU_IO_GGUF_UP &&
           !mglu_io_gguf_find(gguf, name->block, mglu_io_gguf_part(name->group, MGLU_IO_GGUF_GATE), "weight");
}

static int has_masks(const struct part *part)
{
    return part->name.group == MGLU_IO_GGUF_DENSE && sibling(part, MGLU_IO_GGUF_MASKED, "weight");
}

/* Its dimensions, and a size of at least 1 in each. */
static mglu_status check_rank(const struct part *part, uint32_t rank)
{
    const struct mglu_io_gguf_tensor *tensor = part->tensor;

    if (tensor->rank != rank)
        return CORRUPT(part, "%u dimensions, expected %u", tensor->rank, rank);
    for (uint32_t i = 0; i < rank; i++)
        if (tensor->size[i] < 1 || tensor->size[i] > MGLU_MAX_SIZE)
            return CORRUPT(part, "size %u is %lld, expected 1 to %lld", i, (long long)tensor->size[i],
                           (long long)MGLU_MAX_SIZE);
    return MGLU_OK;
}

static mglu_status check_type(const struct part *part)
{
    mglu_dtype dtype;

    if (mglu_io_ggml_dtype(part->tensor->type, &dtype))
        return MGLU_OK;
    return UNSUPPORTED(part,
                       "type %s is not read: convert the model to F32, F16, BF16, Q8_0 or Q4_0, as with llama-quantize",
                       mglu_io_ggml_type(part->tensor->type)->name);
}

/* A bias or router: floats, and the matrix that it belongs to is there. */
static mglu_status check_vector(const struct part *part, uint32_t rank)
{
    mglu_dtype dtype = MGLU_DTYPE_F32;
    mglu_status status = check_rank(part, rank);

    if (status == MGLU_OK)
        status = check_type(part);
    if (status != MGLU_OK)
        return status;
    if (mglu_io_ggml_dtype(part->tensor->type, &dtype) && mglu_dtype_is_quantised(dtype))
        return UNSUPPORTED(part, "type %s, expected F32, F16 or BF16", mglu_io_ggml_type(part->tensor->type)->name);
    if (!sibling(part, part->name.stem, "weight"))
        return CORRUPT(part, "the file has no weight for it");
    return MGLU_OK;
}

static mglu_status missing(const struct part *part, enum mglu_io_gguf_stem stem)
{
    return CORRUPT(part, "the file has no '%s.%s.weight' beside it", part->name.block,
                   mglu_io_gguf_part(part->name.group, stem));
}

/* Both matrices of a layer have one type: nothing is quantised or rounded that the file has in full. */
static mglu_status check_same(const struct part *part, enum mglu_io_gguf_stem stem)
{
    const struct mglu_io_gguf_tensor *other = sibling(part, stem, "weight");

    if (!other)
        return MGLU_OK;
    if (other->type != part->tensor->type)
        return UNSUPPORTED(part, "type %s, but '%.80s' has %s: one layer needs one type",
                           mglu_io_ggml_type(part->tensor->type)->name, other->name,
                           mglu_io_ggml_type(other->type)->name);
    if (part->name.group == MGLU_IO_GGUF_EXPERTS && other->size[2] != part->tensor->size[2])
        return CORRUPT(part, "%lld experts, but '%.80s' has %lld", (long long)part->tensor->size[2], other->name,
                       (long long)other->size[2]);
    return MGLU_OK;
}

/* The other matrices of a plain layer. */
static mglu_status check_partners(const struct part *part)
{
    struct mglu_io_gguf_name up = part->name;
    mglu_status status = MGLU_OK;

    up.stem = MGLU_IO_GGUF_UP;
    if (!sibling(part, MGLU_IO_GGUF_UP, "weight"))
        return missing(part, MGLU_IO_GGUF_UP);
    if (!sibling(part, MGLU_IO_GGUF_DOWN, "weight"))
        return missing(part, MGLU_IO_GGUF_DOWN);
    if (!sibling(part, MGLU_IO_GGUF_GATE, "weight") && !mglu_io_gguf_is_fused(part->gguf, &up))
        return UNSUPPORTED(part,
                           "the file has no '%s.%s.weight' beside it: not a gated linear unit that mglu knows "
                           "(architecture: %.40s)",
                           part->name.block, mglu_io_gguf_part(part->name.group, MGLU_IO_GGUF_GATE),
                           architecture_of(part->gguf));
    for (int stem = 0; stem < MGLU_IO_GGUF_STEMS && status == MGLU_OK; stem++)
        status = check_same(part, (enum mglu_io_gguf_stem)stem);
    return status;
}

static mglu_status check_matrix(const struct part *part)
{
    mglu_status status = check_type(part);

    if (status == MGLU_OK)
        status = check_rank(part, part->name.group == MGLU_IO_GGUF_EXPERTS ? 3 : 2);
    if (status != MGLU_OK || (part->name.stem == MGLU_IO_GGUF_DOWN && has_masks(part)))
        return status;
    if (has_masks(part))
        return CORRUPT(part, "the block has a masked layer as well");
    status = check_partners(part);
    if (status == MGLU_OK && mglu_io_gguf_is_fused(part->gguf, &part->name) && part->tensor->size[1] % 2 != 0)
        status = CORRUPT(part, "%lld rows, expected those of gate and value", (long long)part->tensor->size[1]);
    return status;
}

static mglu_status check_masks(const struct part *part)
{
    mglu_status status = check_rank(part, 4);

    if (status != MGLU_OK)
        return status;
    if (part->tensor->type != MGLU_IO_GGML_I8 || part->tensor->size[0] != (int64_t)sizeof(mglu_u32))
        return CORRUPT(part, "expected I8 of [d, groups, masks, %zu]", sizeof(mglu_u32));
    return sibling(part, MGLU_IO_GGUF_MASKED, "weight") ? MGLU_OK : missing(part, MGLU_IO_GGUF_MASKED);
}

static mglu_status check_masked(const struct part *part)
{
    mglu_status status;

    if (strcmp(part->name.leaf, "mask") == 0)
        return check_masks(part);
    if (strcmp(part->name.leaf, "weight") != 0)
        return check_vector(part, 2);
    status = check_type(part);
    if (status == MGLU_OK)
        status = check_rank(part, 2);
    if (status == MGLU_OK && !sibling(part, MGLU_IO_GGUF_MASKED, "mask"))
        return CORRUPT(part, "the file has no '%s.ffn_mglu.mask' beside it", part->name.block);
    return status;
}

static mglu_status check_part(const struct part *part)
{
    if (part->name.stem == MGLU_IO_GGUF_MASKED)
        return check_masked(part);
    if (strcmp(part->name.leaf, "weight") == 0)
        return check_matrix(part);
    return check_vector(part, part->name.group == MGLU_IO_GGUF_EXPERTS ? 2 : 1);
}

mglu_status mglu_io_gguf_check_layers(const char *path, struct mglu_io_gguf *gguf)
{
    mglu_status status = MGLU_OK;
    size_t wanted = 0;

    for (size_t i = 0; i < gguf->tensor_count && status == MGLU_OK; i++) {
        struct part part = {.path = path, .gguf = gguf, .tensor = &gguf->tensors[i]};
        enum mglu_io_gguf_kind kind = mglu_io_gguf_parse(gguf->tensors[i].name, &part.name);

        if (kind == MGLU_IO_GGUF_UNKNOWN)
            return UNSUPPORTED(&part, "unknown part of a feed-forward layer: the layer is more than mglu computes");
        gguf->tensors[i].wanted = kind == MGLU_IO_GGUF_PART;
        wanted += kind == MGLU_IO_GGUF_PART;
        if (kind == MGLU_IO_GGUF_PART)
            status = check_part(&part);
    }
    if (status != MGLU_OK || wanted > 0)
        return status;
    return mglu_io_fail(
        MGLU_ERROR_UNSUPPORTED, path, NULL,
        "a GGUF file of %zu tensors without feed-forward layers: no 'blk.N.ffn_up.weight' (architecture: "
        "%.40s)",
        gguf->tensor_count, architecture_of(gguf));
}
