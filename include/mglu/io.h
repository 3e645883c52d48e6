/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_H
#define MGLU_IO_H

/**
 * @file
 * libmglu-io: layers in safetensors and GGUF files. The only part of the project that accesses files; libmglu does not
 * need it. The tensor names and metadata keys are in docs/format.md. Any call may come from any thread; an open file is
 * immutable and may be shared.
 *
 * Failures name the file, and the tensor where one is at fault, in mglu_last_error(): "path: tensor 'name': why".
 */

#include <mglu/layer.h>

MGLU_BEGIN_DECLS

/** Element types of safetensors. */
typedef enum MGLU_ENUM32(mglu_file_dtype) {
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
    MGLU_FILE_U64 = 12,
    MGLU_FILE_C64 = 13, /**< this and the following are copied, and read by nothing here */
    MGLU_FILE_F8_E4M3 = 14,
    MGLU_FILE_F8_E5M2 = 15,
    MGLU_FILE_F8_E8M0 = 16,
    MGLU_FILE_F8_E4M3FNUZ = 17,
    MGLU_FILE_F8_E5M2FNUZ = 18,
    MGLU_FILE_F6_E2M3 = 19,
    MGLU_FILE_F6_E3M2 = 20,
    MGLU_FILE_F4 = 21
} mglu_file_dtype;

/** Maximum number of dimensions of a tensor in a file. */
#define MGLU_FILE_MAX_RANK 64

/** One tensor of a file. All pointers belong to the open file, or to the caller of mglu_file_writer_tensor(). */
typedef struct mglu_file_tensor {
    const char *name;      /**< UTF-8 */
    mglu_file_dtype dtype; /**< of its elements */
    int32_t rank;          /**< 0..MGLU_FILE_MAX_RANK; 0: a single element */
    const int64_t *shape;  /**< `rank` sizes */
    const void *data;      /**< rank 0 or a zero dimension: never dereferenced. No alignment is promised */
    size_t bytes;          /**< of the data */
} mglu_file_tensor;

/**
 * A file with layers, completely checked and read. Of a GGUF file, the tensors are those of its feed-forward layers,
 * under the names and in the forms that they have in safetensors files (docs/format.md); metadata are its texts.
 */
typedef struct mglu_file mglu_file;

/** Flags of mglu_file_open(). */
enum {
    /**
     * Maps the file instead of reading it. If another process truncates a mapped file, reading it raises SIGBUS.
     */
    MGLU_FILE_MMAP = 1u << 0,
    /**
     * Reads the header alone: `data` of every tensor is NULL, and so are the pointers in descs. Values are not checked.
     * The file stays open for mglu_file_read().
     */
    MGLU_FILE_HEADER = 1u << 1,
    /**
     * How gate and value share a matrix, in layers whose names say that they do (gate_up_proj, w12, ...): the rows of
     * the gate, then those of the value; or rows of gate and value by turns, the gate's first. At most one of them.
     * Without either, metadata `mglu.fused` says it, or such layers are refused.
     */
    MGLU_FILE_FUSED_HALVES = 1u << 2,
    MGLU_FILE_FUSED_INTERLEAVED = 1u << 3,
    /**
     * Layers are read although there are tensors beside theirs that nothing reads: a second gate, a bias that a masked
     * layer doesn't have, zero points of quantised weights, a norm. By default they are refused.
     */
    MGLU_FILE_IGNORE_UNREAD = 1u << 4
};

/**
 * Opens and checks a file: header length, JSON, names, dtypes, shapes, and that the tensors cover the data without
 * gaps, overlaps or trailing bytes; and the same of GGUF files, whose tensors may have gaps. By default the data is
 * read into memory aligned to 64 bytes; data of 2 MiB and more is aligned to 2 MiB, and huge pages are requested. The
 * header is checked before any data is read, or memory for it allocated.
 *
 * @param[out] file The open file, NULL on failure. Release with mglu_file_close().
 * @return MGLU_ERROR_IO when it cannot be read or is not a regular file, MGLU_ERROR_CORRUPT_FILE when it violates the
 *         format, has more than 262144 layers, or is cut short while it is read, MGLU_ERROR_UNSUPPORTED for GGUF files
 *         with layers that the library does not have: the text says what to do.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_open(const char *path, uint32_t flags, mglu_file **file);

/**
 * Opens the model in a folder: model.safetensors, or else the shards that model.safetensors.index.json names, whose
 * tensors and metadata the handle has as if they were in one file. Where both exist, model.safetensors is read, as
 * transformers does. With MGLU_FILE_HEADER each shard stays open.
 *
 * @return As mglu_file_open() for each file; MGLU_ERROR_IO when there is no model, or a shard is missing;
 *         MGLU_ERROR_CORRUPT_FILE for an index that is no JSON or names anything but files of the folder, or more than
 *         512; for a tensor that is not in the shard that the index says, or in a shard but not in the index; and for
 *         metadata `mglu.*` with different values in two shards, except the producer.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_open_folder(const char *path, uint32_t flags, mglu_file **file);

/**
 * Copies bytes of a tensor to memory. The only way to them with MGLU_FILE_HEADER, where they are read from the file. Of
 * several threads each may read.
 *
 * @return MGLU_ERROR_INVALID_ARGUMENT for a tensor of another file, or bytes beyond its end; MGLU_ERROR_IO and
 *         MGLU_ERROR_CORRUPT_FILE when the file can't be read, or was cut short.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_read(const mglu_file *file, const mglu_file_tensor *tensor,
                                                    size_t offset, void *bytes, size_t size);

/**
 * The order of fused rows in models of a model_type of transformers' config.json: MGLU_FILE_FUSED_HALVES,
 * MGLU_FILE_FUSED_INTERLEAVED, or 0 for a type that is not known or not fused.
 *
 * @return MGLU_ERROR_UNSUPPORTED for a type whose layers compute something else.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_model_flags(const char *model_type, uint32_t *flags);

/** Closes a file and sets the handle to NULL; NULL is accepted. Its tensors and strings are then invalid. */
MGLU_API void mglu_file_close(mglu_file **file);

/** Path given to mglu_file_open(); of a folder that of the model.safetensors or the index in it. */
MGLU_API const char *mglu_file_path(const mglu_file *file);

/** Number of tensors, which are in the order of their data. */
MGLU_API size_t mglu_file_tensor_count(const mglu_file *file);

/** Tensor number `index`; NULL out of range. */
MGLU_API const mglu_file_tensor *mglu_file_tensor_at(const mglu_file *file, size_t index);

/** The tensor of that name, or NULL. */
MGLU_API const mglu_file_tensor *mglu_file_find(const mglu_file *file, const char *name);

/** Value of a key of __metadata__, or NULL. */
MGLU_API const char *mglu_file_metadata(const mglu_file *file, const char *key);

/** Keys of __metadata__ in the order of the file; NULL out of range. */
MGLU_API const char *mglu_file_metadata_key(const mglu_file *file, size_t index);

/** Name of a file dtype ("BF16"); NULL for a value not listed. */
MGLU_API const char *mglu_file_dtype_name(mglu_file_dtype dtype);

/** Bytes of an element; 0 for F4 and F6, and for a value not listed. */
MGLU_API size_t mglu_file_dtype_size(mglu_file_dtype dtype);

/**
 * Prefixes of all layers in the file: every P with P.weight and P.mask_bits or P.mask, then every M with the matrices
 * of a plain GLU and no mask; each in the order of the data. A stack of E experts is E layers: A.0, A.1, ... for the
 * stacks A.w1.weight and so on. NULL out of range. Belongs to the file. A tensor named just "weight" has the prefix ""
 * and no dot; likewise for the other names.
 */
MGLU_API const char *mglu_file_layer_at(const mglu_file *file, size_t index);

/**
 * Describes the layer with a prefix, ready for mglu_weights_create(). The descs point into the file, or to copies that
 * belong to it: F64 is rounded to F32, and what is not contiguous in the file is made so.
 *
 * `prefix` is either a projection P (P.weight, P.mask_bits or P.mask, and if present P.gate_bias, P.value_bias,
 * P.router.weight), or a whole feed-forward block M: M.up_proj as such a projection, or M.gate_proj.weight and
 * M.up_proj.weight without masks (a plain GLU, with M.gate_proj.bias and M.up_proj.bias if present), each with
 * M.down_proj.weight and M.down_proj.bias if present. A prefix that could be both is treated as P. docs/format.md lists
 * the other names that are read: w1, w3 and w2, gate_up_proj and down_proj, and so on, and stacks of experts.
 *
 * `weights->dtype` is that of P.weight (plain: of the gate); the other arrays keep their own. A matrix `weight`
 * of I8 or U8 is q8_0 or q4_0, with its scales in `weight_scale`. A bias of one row may be a vector. Values are not
 * checked, except scales and the padding bits of P.mask_bits.
 *
 * `layer->activation` is that of metadata `mglu.activation.P`, else `mglu.activation.M`, else `mglu.activation`;
 * `*has_activation` (may be NULL) is set to whether there was one. `layer->max_batch` is 1 and the rest zero: routing,
 * dtypes and batch are the caller's. The caller sets struct_size of both structs. On failure no output is written.
 *
 * @return MGLU_ERROR_INVALID_ARGUMENT when the file has no such layer; the text lists some that it has. Also when gate
 *         and value share a matrix, and neither the flags of mglu_file_open() nor `mglu.fused` say in which order.
 *         MGLU_ERROR_CORRUPT_FILE for missing tensors, wrong dtypes or shapes, set padding bits, an unknown activation,
 *         and for tensors beside those of the layer that nothing reads, without MGLU_FILE_IGNORE_UNREAD.
 *         MGLU_ERROR_NONFINITE for a scale that is not finite, and for F64 logits that are NaN.
 *         MGLU_ERROR_VERSION_MISMATCH when there are mask bits or scales and `mglu.version` is not MGLU_FORMAT_VERSION;
 *         scales also need it to be there.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_layer(const mglu_file *file, const char *prefix,
                                                     mglu_weights_desc *weights, mglu_layer_desc *layer,
                                                     int *has_activation);

/**
 * Reads rows of all masks of a masked layer, packed as mglu_pack_masks() does, whatever their form in the file, and
 * whether the file was read or its header alone. The desc of mglu_file_layer() has their sizes.
 *
 * @param[out] words Room for mglu_packed_mask_size(n_masks, rows, hidden_size) bytes.
 * @return As mglu_file_layer(); MGLU_ERROR_INVALID_ARGUMENT for a layer without masks, and rows that it does not have;
 *         MGLU_ERROR_NONFINITE and MGLU_ERROR_CORRUPT_FILE for logits that are NaN, integers but 0 and 1, and set
 *         padding bits; as mglu_file_read() when the file can't be read.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_masks(const mglu_file *file, const char *prefix, int64_t first,
                                                     int64_t rows, uint32_t *words);

/** A safetensors file being written: collects tensors, then writes them at once. Not for several threads. */
typedef struct mglu_file_writer mglu_file_writer;

/** Makes a writer without tensors. Release with mglu_file_writer_destroy(). */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_writer_create(mglu_file_writer **writer);

/** Adds or replaces a metadata entry; key and value are copied. MGLU_ERROR_INVALID_ARGUMENT if one is not UTF-8. */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_writer_metadata(mglu_file_writer *writer, const char *key,
                                                               const char *value);

/**
 * Adds a tensor. Name and shape are copied; `tensor->data` must stay valid until the commit; `bytes` may be 0:
 * computed. MGLU_ERROR_INVALID_ARGUMENT for a name that is empty, already used or not UTF-8, and for a shape that
 * `bytes` contradicts.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_writer_tensor(mglu_file_writer *writer, const mglu_file_tensor *tensor);

/**
 * Writes the file, which is complete or absent: a file without a name (O_TMPFILE), where the file system has those, or
 * a temporary one beside `path`, is synced, then gets its name. On failure nothing is left of it and an older file at
 * `path` is unchanged. A symbolic link is followed. The mode and owner of an older file are kept; where that is not
 * allowed, it is not replaced, and neither is anything but a regular file. May be called again.
 *
 * Data starts at a multiple of 64 bytes, and so does every tensor whose size is one: those come first, then the others
 * by descending alignment, otherwise in the order in which they were added.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_writer_commit(mglu_file_writer *writer, const char *path);

/** Frees a writer, committed or not, and sets the handle to NULL; NULL is accepted. */
MGLU_API void mglu_file_writer_destroy(mglu_file_writer **writer);

/** The form of a file. */
typedef enum MGLU_ENUM32(mglu_file_format) {
    MGLU_FILE_FORMAT_SAFETENSORS = 0,
    MGLU_FILE_FORMAT_GGUF = 1 /**< the layers alone: no other tensors and metadata */
} mglu_file_format;

/** Options of mglu_file_pack(). Zeros keep the file's dtypes and its activation, if it names one. */
typedef struct mglu_file_pack_options {
    uint32_t struct_size;   /**< sizeof(mglu_file_pack_options) */
    int32_t convert;        /**< nonzero: store the layers' matrices (not biases and routers) as `dtype` */
    mglu_dtype dtype;       /**< any; see mglu_pack_weights(). q4_0 needs rows of whole groups of 32 */
    const char *activation; /**< name to write as `mglu.activation`; NULL: keep */
    /**
     * Called on the calling thread for each tensor that was written, and within large ones for each 16 MB, with the
     * bytes of tensors that were written and those of all; a nonzero return stops with MGLU_ERROR_CANCELLED and no
     * output. NULL: not called.
     */
    int (*progress)(void *user, size_t done, size_t total);
    void *user;              /**< the first argument of progress() */
    mglu_file_format format; /**< of the output */
    uint32_t input_flags;    /**< flags of mglu_file_open() for the input; the order of fused rows is written as well */
    /**
     * Of mglu_file_pack_folder(): bytes of tensors in a file, at most; a larger tensor has a file of its own. 0: each
     * tensor stays in the shard in which it was.
     */
    uint64_t shard_size;
    const mglu_parallel *parallel; /**< threads that read, pack and write; NULL: the calling one alone */
} mglu_file_pack_options;
#define MGLU_FILE_PACK_OPTIONS_INIT MGLU_INIT(mglu_file_pack_options) /**< its size, else zeros */

/**
 * Packs a training checkpoint: each P.weight with P.mask (float logits, BOOL or integers, [n_m][d][h] or [d][h])
 * becomes P.weight with P.mask_bits, and with `convert` the matrices of all layers are converted; F64 in layers becomes
 * F32, or is rounded once to `dtype`. Every other tensor and the metadata are copied under the same names. Metadata
 * `format`, `mglu.version` and `mglu.producer` are set. A file that is already packed may be packed again, to convert
 * it, but quantised tensors are never converted. The paths may be the same. The output is begun before the input is
 * read, and complete or absent, as with mglu_file_writer_commit(). Input and output are read and written in pieces of
 * some rows: a few megabytes are in memory besides the headers, and about one more for each thread of `parallel`.
 *
 * The layers of a GGUF file are packed likewise, plain ones too: they become layers of a safetensors file. Its other
 * tensors are not copied. With MGLU_FILE_FORMAT_GGUF all layers of the input, and nothing else, become tensors of a
 * GGUF file, which libmglu-io reads as the same layers under the same names; quantised rows are whole groups of 32
 * there.
 *
 * @param options NULL for all defaults.
 * @return MGLU_ERROR_NONFINITE for a layer's weight, bias or router element that is not finite or overflows `dtype`,
 *         and for a NaN mask logit; MGLU_ERROR_INVALID_ARGUMENT when no layer of the file has masks and nothing is to
 *         be converted, when a quantised matrix would have to be converted, and for q4_0 where rows are not a multiple
 *         of 32; else as mglu_file_open(), mglu_file_layer() and mglu_file_writer_commit().
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_pack(const char *input_path, const char *output_path,
                                                    const mglu_file_pack_options *options);

/**
 * Packs the model in a folder, as mglu_file_open_folder() reads it, to files in another, which exists: a
 * model.safetensors if the input is one and no `shard_size` is given, or if all tensors fit into that. Else to shards:
 * of the names that they have in the input, or with `shard_size` to model-00001-of-00003.safetensors and so on, in the
 * order of the input; and to model.safetensors.index.json. Nothing else is copied.
 *
 * All files are written before the first gets its name, and the index gets it last; when naming fails, the new ones are
 * removed. Shards that an older index named are left. The folders may be the same.
 *
 * @return As mglu_file_open_folder() and mglu_file_pack(). MGLU_ERROR_INVALID_ARGUMENT for MGLU_FILE_FORMAT_GGUF, for a
 *         shard size with which there would be more than 512 files, and when the output folder has a model of the other
 *         form, that is a model.safetensors where shards would be written, or an index where there would be one file:
 *         others would read the wrong one.
 */
MGLU_API MGLU_MUST_CHECK mglu_status mglu_file_pack_folder(const char *input_path, const char *output_path,
                                                           const mglu_file_pack_options *options);

MGLU_END_DECLS

#endif
