/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_DERIVED_H
#define MGLU_IO_DERIVED_H

#include <mglu/io.h>

/*
 * What a layer needs and a file does not have in that form: F64 as F32, masks of wide integers as bytes, and elements
 * that are not contiguous. It is made when a layer is read and belongs to the file, which has one copy of each.
 */

struct mglu_io_derived;

/* NULL when out of memory. */
struct mglu_io_derived *mglu_io_derived_create(void);
void mglu_io_derived_destroy(struct mglu_io_derived *derived);

/* Rows and columns within a tensor, in elements as they are stored. */
struct mglu_io_grid {
    int64_t rows, columns;
    int64_t first, row_step, column_step;
};

/* The elements of a grid, contiguous; F64 as F32. */
mglu_status mglu_io_derive_grid(const mglu_file *file, const mglu_file_tensor *tensor, const struct mglu_io_grid *grid,
                                const void **data);

/* The masks of a tensor of mglu_io_masks_as_bytes(), one byte each. Refuses what is no mask. */
mglu_status mglu_io_derive_masks(const mglu_file *file, const mglu_file_tensor *tensor, const void **data);

/* Whether masks of that dtype are first converted to bytes: logits of F64, and integers of more than one byte. */
int mglu_io_masks_as_bytes(mglu_file_dtype dtype);

/*
 * Converts `count` masks of such a dtype. Returns the index of the first that is none, or `count`: a logit that is NaN,
 * an integer that is neither 0 nor 1.
 */
size_t mglu_io_mask_bytes(mglu_file_dtype dtype, const void *masks, size_t count, unsigned char *bytes);

/*
 * Rounds `count` F64 once to f32, f16 or bf16, to nearest even whatever the caller's rounding mode. Neither array needs
 * alignment; they do not overlap.
 */
void mglu_io_round_f64(const void *source, void *target, mglu_dtype dtype, size_t count);

#endif
