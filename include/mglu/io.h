/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_H
#define MGLU_IO_H

/**
 * @file
 * libmglu-io: layers in safetensors files. The only part of the project that knows files; libmglu does not need it.
 * The tensor names and metadata keys are in docs/format.md. Any call may come from any thread; an open file is
 * immutable and may be shared.
 *
 * Failures name the file, and the tensor where one is at fault, in mglu_last_error().
 */

#include <mglu/layer.h>

MGLU_BEGIN_DECLS

/** Element types of safetensors. */
typedef enum mglu_file_dtype {
    MGLU_FILE_BOOL = 0,
    MGLU_FILE_U8 = 1,
    MGLU_FILE_I8 = 2,
    MGLU_FILE_I16 = 3,
    MGLU_FILE_U16 = 4,
    MGLU_FILE_F16 = 5,
    MGLU_FILE_BF16 = 6,
    MGLU_FILE_I32 = 7,
    MGLU_FILE_U32 = 8,
    MGLU_FILE_F32 = 9,
    MGLU_FILE_F64 = 10,
    MGLU_FILE_I64 = 11,
    MGLU_FILE_U64 = 12
} mglu_file_dtype;

/** Most dimensions of a tensor in a file. */
#define MGLU_FILE_MAX_RANK 8

/** One tensor of an open file. All pointers belong to the file. */
typedef struct mglu_file_tensor {
    const char *name;
    mglu_file_dtype dtype;
    int32_t rank;
    int64_t shape[MGLU_FILE_MAX_RANK];
    const void *data; /**< rank 0 or a zero dimension: never dereferenced. No alignment is promised */
    size_t bytes;
} mglu_file_tensor;

/** A safetensors file, checked whole and read. */
typedef struct mglu_file mglu_file;

/** Flags of mglu_file_open(). */
enum {
    /**
     * Maps the file instead of reading it. A mapped file that another process cuts short raises SIGBUS in this one.
     */
    MGLU_FILE_MMAP = 1u << 0
};

/**
 * Opens and checks a file: header length, JSON, names, dtypes, shapes, and that the tensors cover the data without
 * hole, overlap or tail. By default it is read into 2 MiB-aligned memory with huge pages asked for.
 *
 * @return MGLU_ERROR_IO, MGLU_ERROR_CORRUPT_FILE, MGLU_ERROR_OUT_OF_MEMORY.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_open(const char *path, uint32_t flags, mglu_file **file);

/** Closes a file and nulls the handle; NULL is accepted. Its tensors and texts are then invalid. */
MGLU_API void mglu_file_close(mglu_file **file);

/** Path given to mglu_file_open(). */
MGLU_API const char *mglu_file_path(const mglu_file *file);

/** Tensors in the order of their data. */
MGLU_API size_t mglu_file_tensor_count(const mglu_file *file);
MGLU_API const mglu_file_tensor *mglu_file_tensor_at(const mglu_file *file, size_t index);

/** The tensor of that name, or NULL. */
MGLU_API const mglu_file_tensor *mglu_file_find(const mglu_file *file, const char *name);

/** Value of a key of __metadata__, or NULL. */
MGLU_API const char *mglu_file_metadata(const mglu_file *file, const char *key);

/** Keys of __metadata__ in the order of the file; NULL out of range. */
MGLU_API const char *mglu_file_metadata_key(const mglu_file *file, size_t index);

/** Name of a file dtype ("BF16") and its element size in bytes; NULL and 0 for a value not listed. */
MGLU_API const char *mglu_file_dtype_name(mglu_file_dtype dtype);
MGLU_API size_t mglu_file_dtype_size(mglu_file_dtype dtype);

/**
 * Prefixes of all layers in the file: every P with P.weight and P.mask_bits or P.mask, then every M with
 * M.gate_proj.weight and M.up_proj.weight and no mask. NULL out of range. Belongs to the file.
 */
MGLU_API const char *mglu_file_layer_at(const mglu_file *file, size_t index);

/**
 * Describes the layer with a prefix, ready for mglu_weights_create(). The descs point into the file.
 *
 * `prefix` is either a projection P (P.weight, P.mask_bits or P.mask, and if present P.gate_bias, P.value_bias,
 * P.router.weight), or a whole feed-forward block M: M.up_proj as such a projection, or M.gate_proj.weight and
 * M.up_proj.weight without masks (a plain GLU), with M.down_proj.weight and M.down_proj.bias if present.
 *
 * `weights->dtype` is the file's. `layer->activation` is that of metadata `mglu.activation.P`, else `mglu.activation`;
 * `*has_activation` (may be NULL) says whether there was one. Both structs' struct_size is set by the call.
 *
 * @return MGLU_ERROR_CORRUPT_FILE for missing tensors, wrong dtypes or shapes, set padding bits, an unknown activation
 *         or format version.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_layer(const mglu_file *file, const char *prefix,
                                                     mglu_weights_desc *weights, mglu_layer_desc *layer,
                                                     int *has_activation);

/** A safetensors file being written: collects tensors, then writes them at once. Not for several threads. */
typedef struct mglu_file_writer mglu_file_writer;

MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_writer_create(mglu_file_writer **writer);

/** Adds or replaces a metadata text; both are copied. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_writer_metadata(mglu_file_writer *writer, const char *key,
                                                               const char *value);

/** Adds a tensor. Name and shape are copied; `tensor->data` must live until the commit; `bytes` may be 0: computed. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_writer_tensor(mglu_file_writer *writer, const mglu_file_tensor *tensor);

/**
 * Writes the file: to a temporary file beside `path`, synced, then renamed. On failure nothing is left behind and an
 * older file at `path` is as it was. Data starts at a multiple of 64 bytes.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_writer_commit(mglu_file_writer *writer, const char *path);

/** Frees a writer, committed or not, and nulls the handle; NULL is accepted. */
MGLU_API void mglu_file_writer_destroy(mglu_file_writer **writer);

/** What to turn a checkpoint into. Zeros keep the file's dtypes and its activation, if it names one. */
typedef struct mglu_file_pack_options {
    uint32_t struct_size;
    int32_t convert;        /**< nonzero: store the layers' matrices as `dtype` */
    mglu_dtype dtype;       /**< f32, f16 or bf16 */
    const char *activation; /**< name to write as `mglu.activation`; NULL: keep */
    /** Called after each tensor; a nonzero return stops with MGLU_ERROR_CANCELLED and no output. NULL: not called. */
    int (*progress)(void *user, size_t done, size_t total);
    void *user;
} mglu_file_pack_options;

/**
 * Packs a training checkpoint: each P.weight with P.mask (float logits, BOOL or U8, [n_m][d][h] or [d][h]) becomes
 * P.weight with P.mask_bits; every other tensor passes through, names kept. A file that is packed already may be packed
 * again, to convert it. Weights that are not finite are refused.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_pack(const char *input_path, const char *output_path,
                                                    const mglu_file_pack_options *options);

MGLU_END_DECLS

#endif
