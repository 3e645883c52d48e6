/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_FILES_H
#define MGLU_TOOLS_FILES_H

/**
 * @file
 * Paths, texts and tensors. Every function that fails has reported why.
 */

#include <mglu/io.h>

#include <stdbool.h>

/** A tensor as it is named on the command line, FILE:TENSOR. */
struct tensor_name {
    char *path;
    const char *tensor; /**< points into the memory of path */
};

/** "folder/name" in new memory, or NULL. */
char *path_in(const char *folder, const char *name);

bool path_is_folder(const char *path);

/** The path of another file in the folder of `file`, or in `file` if it is a folder, in new memory, or NULL. */
char *path_beside(const char *file, const char *name);

/** Whether both paths name the same existing file. */
bool path_same(const char *a, const char *b);

/** Reads a whole file or pipe into new memory, with a NUL after it. Refuses more than `limit` bytes. */
bool text_load(const char *path, size_t limit, char **text, size_t *size);

/** The same for files whose content a program does not ask for by name: anything but a regular file is refused. */
bool text_load_regular(const char *path, size_t limit, char **text, size_t *size);

/** Opens a file with layers, or the folder of a model. */
bool model_open(const char *path, uint32_t file_flags, mglu_file **file);

/** A tensor, and what its members point to. */
struct loaded_tensor {
    mglu_file_tensor tensor;
    mglu_file *file; /**< its header alone */
    void *data;
};

/** Reads the tensor of this name, and nothing else of its file. The caller releases it. */
bool tensor_load(const struct tensor_name *name, struct loaded_tensor *loaded);
void tensor_release(struct loaded_tensor *loaded);

int64_t tensor_elements(const mglu_file_tensor *tensor);

/** Writes a shape as "[64, 128]". */
void tensor_shape_text(const mglu_file_tensor *tensor, char *text, size_t size);

/** Whether the program can read the tensor's elements as numbers: F64, F32, F16 or BF16. Reports nothing. */
bool tensor_is_float(const mglu_file_tensor *tensor);

/** Elements of a floating-point tensor in new memory, as f32 or double; NULL when that fails. */
float *tensor_to_f32(const mglu_file_tensor *tensor);
double *tensor_to_f64(const mglu_file_tensor *tensor);

#endif
