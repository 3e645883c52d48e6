/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_present.h"

#include "common/core/ggml_block.h"
#include "common/io/dtype.h"
#include "common/io/gguf_architectures.h"
#include "common/io/gguf_check.h"
#include "common/io/gguf_names.h"
#include "common/io/gguf_types.h"
#include "common/io/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Enough for the experts of every known model; more would take more memory than hostile files are worth. */
enum { MAX_TENSORS = 96 * 1024, MAX_NAMES = 5 << 20 };

/* A layer's name in metadata. */
enum { MAX_PREFIX = 255 };

/* The last parts of a tensor's name; the first is that of the layer. */
enum { NAME_PARTS = 4 };

/* Of what the file's tensors become. */
enum { MAX_RANK = 3 };

/* Counts the tensors and the bytes of their names where there is no room yet, else writes them. */
struct builder {
    const char *path;
    const struct mglu_io_gguf *gguf;
    mglu_file_tensor *tensors;
    struct mglu_io_origin *origins; /* NULL: not wanted */
    int64_t *dims;                  /* MAX_RANK for each */
    size_t count;
    char *names;
    size_t used;
};

/* One tensor of the GGUF file, and the names of its layer. */
struct source {
    const struct mglu_io_gguf_tensor *tensor;
    struct mglu_io_gguf_name name;
    char projection[MAX_PREFIX + 16], block[MAX_PREFIX + 16]; /* P and M of docs/format.md */
};

/* Joins the parts with dots, without the empty ones. */
static void emit(struct builder *builder, mglu_file_tensor tensor, struct mglu_io_origin origin, const int64_t *shape,
                 const char *const parts[NAME_PARTS])
{
    char *name = builder->tensors ? builder->names + builder->used : NULL, *to = name;

    for (int i = 0; i < NAME_PARTS; i++) {
        size_t length = parts[i] ? strlen(parts[i]) : 0;

        if (length == 0)
            continue;
        if (to) {
            memcpy(to, parts[i], length);
            to += length;
            *to++ = '.';
        }
        builder->used += length + 1;
    }
    if (to) {
        to[-1] = '\0';
        tensor.name = name;
        tensor.shape = memcpy(builder->dims + builder->count * MAX_RANK, shape, (size_t)tensor.rank * sizeof *shape);
        builder->tensors[builder->count] = tensor;
        if (builder->origins)
            builder->origins[builder->count] = origin;
    }
    builder->count++;
}

/* Rows of a matrix: all of it, one expert's, or half of a fused one. */
struct rows {
    int64_t first, count;
};

static const unsigned char *at(const unsigned char *data, size_t offset)
{
    return data ? data + offset : NULL;
}

/* The elements from a byte of a tensor on. */
static struct mglu_io_origin in_one_piece(const struct mglu_io_gguf_tensor *tensor, uint64_t first)
{
    return (struct mglu_io_origin){.offset = tensor->offset + first, .stride = 1, .part = 1};
}

static void emit_matrix(struct builder *builder, const struct source *source, struct rows rows, const char *layer,
                        const char *expert, const char *inner)
{
    const struct mglu_io_gguf_tensor *tensor = source->tensor;
    int64_t columns = tensor->size[0];
    mglu_dtype dtype = MGLU_DTYPE_F32;
    size_t row_bytes, scale_bytes;
    struct mglu_io_origin origin, scales;

    mglu_io_ggml_dtype(tensor->type, &dtype);
    row_bytes = mglu_row_bytes(dtype, (size_t)columns);
    scale_bytes = mglu_scale_row_bytes(dtype, (size_t)columns);
    origin = in_one_piece(tensor, (uint64_t)rows.first * (row_bytes + scale_bytes));
    scales = origin;
    if (scale_bytes) {
        origin.stride = scales.stride = (uint32_t)mglu_ggml_block_bytes(dtype);
        origin.part = (uint32_t)mglu_ggml_quant_bytes(dtype);
        origin.offset += MGLU_GGML_SCALE_BYTES;
        scales.part = MGLU_GGML_SCALE_BYTES;
    }
    emit(builder,
         (mglu_file_tensor){.dtype = mglu_io_file_dtype(dtype),
                            .rank = 2,
                            .data = at(tensor->data, (size_t)rows.first * row_bytes),
                            .bytes = (size_t)rows.count * row_bytes},
         origin, (const int64_t[]){rows.count, dtype == MGLU_DTYPE_Q4_0 ? columns / 2 : columns},
         (const char *const[]){layer, expert, inner, "weight"});
    if (scale_bytes)
        emit(builder,
             (mglu_file_tensor){.dtype = MGLU_FILE_F16,
                                .rank = 2,
                                .data = at(tensor->scales, (size_t)rows.first * scale_bytes),
                                .bytes = (size_t)rows.count * scale_bytes},
             scales, (const int64_t[]){rows.count, columns / MGLU_GROUP_COLUMNS},
             (const char *const[]){layer, expert, inner, "weight_scale"});
}

/* A bias is a row; of a fused one, `rows` are its elements. */
static void emit_bias(struct builder *builder, const struct source *source, struct rows rows, const char *layer,
                      const char *expert, const char *inner)
{
    mglu_dtype dtype = MGLU_DTYPE_F32;

    mglu_io_ggml_dtype(source->tensor->type, &dtype);
    emit(builder,
         (mglu_file_tensor){.dtype = mglu_io_file_dtype(dtype),
                            .rank = 1,
                            .data = at(source->tensor->data, (size_t)rows.first * mglu_dtype_size(dtype)),
                            .bytes = (size_t)rows.count * mglu_dtype_size(dtype)},
         in_one_piece(source->tensor, (uint64_t)rows.first * mglu_dtype_size(dtype)), &rows.count,
         (const char *const[]){layer, expert, inner, "bias"});
}

static void emit_part(struct builder *builder, const struct source *source, struct rows rows, const char *expert,
                      const char *inner)
{
    if (strcmp(source->name.leaf, "weight") == 0)
        emit_matrix(builder, source, rows, source->block, expert, inner);
    else
        emit_bias(builder, source, rows, source->block, expert, inner);
}

static void emit_experts(struct builder *builder, const struct source *source)
{
    const struct mglu_io_gguf_tensor *tensor = source->tensor;
    int64_t experts = tensor->size[tensor->rank - 1];
    int64_t rows = strcmp(source->name.leaf, "weight") == 0 ? tensor->size[1] : tensor->size[0];
    char expert[32];

    for (int64_t i = 0; i < experts && builder->count <= MAX_TENSORS; i++) {
        snprintf(expert, sizeof expert, "experts.%lld", (long long)i);
        emit_part(builder, source, (struct rows){i * rows, rows}, expert, mglu_io_gguf_inner(source->name.stem));
    }
}

static void emit_plain(struct builder *builder, const struct source *source)
{
    const char *expert = source->name.group == MGLU_IO_GGUF_SHARED ? "shared_expert" : "";
    const int64_t *size = source->tensor->size;
    int64_t rows = strcmp(source->name.leaf, "weight") == 0 ? size[1] : size[0];

    if (!mglu_io_gguf_is_fused(builder->gguf, &source->name)) {
        emit_part(builder, source, (struct rows){0, rows}, expert, mglu_io_gguf_inner(source->name.stem));
        return;
    }
    emit_part(builder, source, (struct rows){0, rows / 2}, expert, mglu_io_gguf_inner(MGLU_IO_GGUF_GATE));
    emit_part(builder, source, (struct rows){rows / 2, rows / 2}, expert, mglu_io_gguf_inner(MGLU_IO_GGUF_UP));
}

/* ffn_mglu: a mask word of four I8 is one I32; biases and the router are rows, one for each mask. */
static void emit_masked(struct builder *builder, const struct source *source)
{
    const struct mglu_io_gguf_tensor *tensor = source->tensor;
    const char *leaf = source->name.leaf;
    mglu_dtype dtype = MGLU_DTYPE_F32;
    mglu_file_tensor found = {.data = tensor->data, .bytes = (size_t)tensor->bytes};
    int64_t shape[MAX_RANK];

    if (strcmp(leaf, "weight") == 0) {
        emit_matrix(builder, source, (struct rows){0, tensor->size[1]}, source->projection, "", "");
        return;
    }
    mglu_io_ggml_dtype(tensor->type, &dtype);
    found.dtype = strcmp(leaf, "mask") == 0 ? MGLU_FILE_I32 : mglu_io_file_dtype(dtype);
    found.rank = strcmp(leaf, "mask") == 0 ? 3 : 2;
    for (int32_t i = 0; i < found.rank; i++)
        shape[i] = tensor->size[(int32_t)tensor->rank - 1 - i];
    leaf = strcmp(leaf, "mask") == 0 ? "mask_bits" : strcmp(leaf, "router") == 0 ? "router.weight" : leaf;
    emit(builder, found, in_one_piece(tensor, 0), shape, (const char *const[]){source->projection, leaf, "", ""});
}

/* Removes ".up_proj" from the end of a projection's name. Returns 0 where there is none. */
static int strip_inner(char *name)
{
    static const char inner[] = "up_proj";
    size_t length = strlen(name), tail = sizeof inner - 1;

    if (length < tail || strcmp(name + length - tail, inner) != 0)
        return 0;
    if (length > tail && name[length - tail - 1] != '.')
        return 0;
    name[length > tail ? length - tail - 1 : 0] = '\0';
    return 1;
}

/*
 * The names of a layer: "blk.N", or that in the metadata `mglu.layer.N`, which for a masked layer is the name of its
 * projection: `M.up_proj` where the layer has a down-projection.
 */
static mglu_status name_layer(const struct builder *builder, struct source *source)
{
    const char *block = source->name.block, *given;
    char key[40];

    snprintf(key, sizeof key, "mglu.layer.%s", block + strlen("blk."));
    given = mglu_io_gguf_text(builder->gguf, key);
    if (given && strlen(given) > MAX_PREFIX)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, builder->path, NULL, "metadata %s: longer than %d bytes", key,
                            MAX_PREFIX);
    snprintf(source->block, sizeof source->block, "%s", given ? given : block);
    if (given)
        snprintf(source->projection, sizeof source->projection, "%s", given);
    else
        snprintf(source->projection, sizeof source->projection, "%s.up_proj", block);
    if (!given || !mglu_io_gguf_find(builder->gguf, block, "ffn_mglu", "weight") || strip_inner(source->block) ||
        source->name.stem != MGLU_IO_GGUF_DOWN)
        return MGLU_OK;
    return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, builder->path, source->tensor->name,
                        "the layer's name, metadata %s, does not end in 'up_proj'", key);
}

static mglu_status emit_all(struct builder *builder)
{
    const struct mglu_io_gguf *gguf = builder->gguf;

    for (size_t i = 0; i < gguf->tensor_count; i++) {
        struct source source = {.tensor = &gguf->tensors[i]};
        mglu_status status;

        if (!gguf->tensors[i].wanted)
            continue;
        mglu_io_gguf_parse(gguf->tensors[i].name, &source.name);
        status = name_layer(builder, &source);
        if (status != MGLU_OK)
            return status;
        if (source.name.stem == MGLU_IO_GGUF_MASKED)
            emit_masked(builder, &source);
        else if (source.name.group == MGLU_IO_GGUF_EXPERTS)
            emit_experts(builder, &source);
        else
            emit_plain(builder, &source);
        if (builder->count > MAX_TENSORS || builder->used > MAX_NAMES)
            return mglu_io_fail(MGLU_ERROR_UNSUPPORTED, builder->path, gguf->tensors[i].name,
                                "too many layers: at most %d tensors with %d bytes of names are read", MAX_TENSORS,
                                MAX_NAMES);
    }
    return MGLU_OK;
}

static mglu_status make_tensors(const struct mglu_io_gguf *gguf, mglu_file *file)
{
    struct builder builder = {.path = file->path, .gguf = gguf};
    int header = (file->flags & MGLU_FILE_HEADER) != 0;
    const char *twice;
    mglu_status status = emit_all(&builder);

    if (status != MGLU_OK)
        return status;
    file->tensors = calloc(builder.count + 1, sizeof *file->tensors);
    file->dims = malloc((builder.count + 1) * MAX_RANK * sizeof *file->dims);
    file->texts = malloc(builder.used + 1);
    if (header)
        file->origins = malloc((builder.count + 1) * sizeof *file->origins);
    if (!file->tensors || !file->dims || !file->texts || (header && !file->origins))
        return mglu_io_out_of_memory(file->path);
    builder = (struct builder){.path = file->path,
                               .gguf = gguf,
                               .tensors = file->tensors,
                               .origins = file->origins,
                               .dims = file->dims,
                               .names = file->texts};
    status = emit_all(&builder);
    file->tensor_count = builder.count;
    if (status == MGLU_OK &&
        !mglu_io_index_build(&file->by_name, file->tensors, file->tensor_count, sizeof *file->tensors))
        status = mglu_io_out_of_memory(file->path);
    if (status != MGLU_OK)
        return status;
    twice = mglu_io_index_duplicate(&file->by_name);
    return twice ? mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, twice, "two layers have this name") : MGLU_OK;
}

/* The texts of the file, and the activation that its architecture stands for if none is named. */
static mglu_status make_metadata(const struct mglu_io_gguf *gguf, mglu_file *file)
{
    const struct mglu_io_architecture *known = mglu_io_architecture(mglu_io_gguf_text(gguf, "general.architecture"));

    file->metadata = calloc(gguf->text_count + 1, sizeof *file->metadata);
    if (!file->metadata)
        return mglu_io_out_of_memory(file->path);
    for (size_t i = 0; i < gguf->text_count; i++)
        if (strncmp(gguf->texts[i].key, "mglu.layer.", strlen("mglu.layer.")) != 0)
            file->metadata[file->metadata_count++] =
                (struct mglu_io_metadata){gguf->texts[i].key, gguf->texts[i].value};
    if (known && !mglu_io_gguf_text(gguf, "mglu.activation"))
        file->metadata[file->metadata_count++] = (struct mglu_io_metadata){"mglu.activation", known->activation};
    if (!mglu_io_index_build(&file->by_key, file->metadata, file->metadata_count, sizeof *file->metadata))
        return mglu_io_out_of_memory(file->path);
    return MGLU_OK;
}

mglu_status mglu_io_gguf_present(const struct mglu_io_gguf *gguf, mglu_file *file)
{
    mglu_status status = make_tensors(gguf, file);

    return status == MGLU_OK ? make_metadata(gguf, file) : status;
}
