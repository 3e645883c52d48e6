/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_READING_H
#define MGLU_IO_READING_H

#include "common/io/layout.h"
#include "common/io/masks.h"
#include "common/io/pack_roles.h"
#include "common/io/slice.h"

/* Reading one layer: which tensors it takes, and as what. */

/* A matrix, its scales and a bias for the gate, the value and the down-projection, masks, router. */
enum { MGLU_IO_MOST_USED = 12 };

struct mglu_io_used {
    const mglu_file_tensor *tensor;
    enum mglu_io_role role;
};

/* A weight matrix and its scales for the gate, the value and the down-projection, four biases, router. */
enum { MGLU_IO_MOST_PLACED = 11 };

/* Where an array of a desc is. */
struct mglu_io_placed {
    const void *const *of; /* the member of the desc that points to its elements */
    struct mglu_io_slice slice;
};

/* What is wanted of a layer. */
enum mglu_io_purpose {
    MGLU_IO_DESCRIBE, /* sizes and dtypes; rows of gate and value need no order */
    MGLU_IO_LOCATE,   /* and where each array is in the file */
    MGLU_IO_LOAD      /* and its elements, if the file has been read; what it does not have in that form is derived */
};

struct mglu_io_reading {
    enum mglu_io_purpose purpose;
    struct mglu_io_place place;
    const struct mglu_io_layout *layout; /* NULL: a projection */
    const char *inner;                   /* the matrix with masks, or "" where its name is the stem */
    int transposed;                      /* matrices of experts are stored as [inputs, outputs] */
    int interleaved;                     /* rows of gate and value alternate */
    struct mglu_io_masks masks;          /* of a masked layer */
    struct mglu_io_used used[MGLU_IO_MOST_USED];
    int used_count;
    struct mglu_io_placed placed[MGLU_IO_MOST_PLACED];
    int placed_count;
};

/*
 * Reads the layer of a prefix: finds its place, and describes its tensors. Arrays that the file does not have in the
 * form of a desc have no elements unless they are to be loaded. mglu_io_place_clear() frees the place, also after a
 * failure.
 */
mglu_status mglu_io_read_layer(struct mglu_io_reading *reading, const mglu_file *file, const char *prefix,
                               enum mglu_io_purpose purpose, mglu_weights_desc *weights);

/* Where the array is whose elements this member of the desc points to; NULL when the layer has none. */
const struct mglu_io_slice *mglu_io_find_slice(const struct mglu_io_reading *reading, const void *const *of);

/* The tensors below come from the place of `reading`, by the name of a matrix in it. */

/* The matrix and the masks of a masked layer, with its biases and router. */
mglu_status mglu_io_take_masked(struct mglu_io_reading *reading, mglu_weights_desc *weights);

/* The matrices and biases of a plain one. */
mglu_status mglu_io_take_plain(struct mglu_io_reading *reading, mglu_weights_desc *weights);

/* The down-projection of a block, if it has one. */
mglu_status mglu_io_take_down(struct mglu_io_reading *reading, mglu_weights_desc *weights);

/* A weight matrix of `reading`, with its scales. */
struct mglu_io_matrix {
    mglu_file_tensor tensor, scales;
    mglu_dtype dtype;
    int64_t rows, columns; /* as numbers, not as they are stored */
};

/*
 * Finds the matrix of a name, which exists. It has `columns` columns, or any number when that is negative, and with two
 * parts the rows of gate and value.
 */
mglu_status mglu_io_take_matrix(struct mglu_io_reading *reading, const char *inner, int parts, int64_t columns,
                                struct mglu_io_matrix *matrix);

/*
 * Describes a matrix, or a half of one that holds gate and value: `parts` is 1 or 2. A value's part is 1, a gate's 0.
 */
mglu_status mglu_io_place_matrix(struct mglu_io_reading *reading, const struct mglu_io_matrix *matrix, int parts,
                                 int part, mglu_array *array);

/* The masks of the projection stem.inner, whose sizes `weights` has. */
mglu_status mglu_io_take_masks(struct mglu_io_reading *reading, mglu_weights_desc *weights);

/*
 * The floats stem.inner.leaf: [rows][columns], or [columns] when there is one row. An absent tensor is skipped. With
 * two parts there is one row of twice as many.
 */
mglu_status mglu_io_take_rows(struct mglu_io_reading *reading, const char *inner, const char *leaf, int64_t rows,
                              int64_t columns, int parts, int part, mglu_array *array);

mglu_status mglu_io_corrupt(const mglu_file *file, const mglu_file_tensor *tensor, const char *text);
mglu_status mglu_io_wrong_shape(const mglu_file *file, const mglu_file_tensor *tensor, const char *expected);

/* Notes that a tensor is read. */
void mglu_io_use(struct mglu_io_reading *reading, const mglu_file_tensor *part, enum mglu_io_role role);

/* The activation of the layer that was read under this prefix: its own, else that of its block, else the file's. */
mglu_status mglu_io_read_activation(const struct mglu_io_reading *reading, const char *prefix, mglu_layer_desc *layer,
                                    int *has_activation);

/* Refuses a tensor beside those of the layer that nothing reads. */
mglu_status mglu_io_check_unread(const struct mglu_io_reading *reading);

/* Refuses P.mask of one value per row, where a file has no layers: it is another layer than those computed here. */
mglu_status mglu_io_check_row_masks(const mglu_file *file);

/* MGLU_ERROR_INVALID_ARGUMENT: says what was looked for. */
mglu_status mglu_io_no_layer(const mglu_file *file, const char *prefix);

/* Refuses quants and masks of another version, and quants of none. */
mglu_status mglu_io_check_version(const mglu_file *file, const mglu_file_tensor *quants);

#endif
