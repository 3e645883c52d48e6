/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_DTYPE_H
#define MGLU_IO_DTYPE_H

#include <mglu/io.h>

/* The dtype of that name. Returns 0 when there is none. */
int mglu_io_dtype_from_name(const char *name, mglu_file_dtype *dtype);

/* The dtype that the library computes with. Returns 0 when the file's is not one of F32, F16, BF16. */
int mglu_io_compute_dtype(mglu_file_dtype file_dtype, mglu_dtype *dtype);

/* The same for a matrix of weights, which may also be quantised: I8 is q8_0, U8 is q4_0. */
int mglu_io_weight_dtype(mglu_file_dtype file_dtype, mglu_dtype *dtype);

/* The same for a matrix that is read: F64 is read as F32. */
int mglu_io_matrix_dtype(mglu_file_dtype file_dtype, mglu_dtype *dtype);

/* The form of dense masks of that dtype, once mglu_io_masks_as_bytes() are bytes. Returns 0 when there is none. */
int mglu_io_mask_form(mglu_file_dtype file_dtype, mglu_mask_form *form);

/* The reverse of mglu_io_weight_dtype(). */
mglu_file_dtype mglu_io_file_dtype(mglu_dtype dtype);

/* Bytes of a tensor. Returns 0 when its bits do not fit in a size_t, or are no whole number of bytes. */
int mglu_io_tensor_bytes(mglu_file_dtype dtype, int32_t rank, const int64_t *shape, size_t *bytes);

#endif
