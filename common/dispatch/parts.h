/* SPDX-License-Identifier: MIT */
#ifndef MGLU_DISPATCH_PARTS_H
#define MGLU_DISPATCH_PARTS_H

#include "common/dispatch/objects.h"

/* The arrays of a layer except the masks, in the caller's form and in the packed one. */

struct part {
    const char *name;
    const mglu_array *source;
    int64_t rows, columns;
    mglu_dtype dtype;
    mglu_packed_matrix *matrix; /* the output, if a matrix of padded rows, else NULL */
    const float **vector;       /* the output, if a plain f32 [rows][columns], else NULL */
    int is_large;               /* not a bias or a router */
};

enum { MAX_PARTS = 7 };

/* Rows of the biases, and of the router. */
int32_t mglu_term_count(const mglu_weights_desc *desc);

/* Fills the table of all parts that are present, and returns their number. Their pointers are those of `packed`. */
size_t mglu_list_parts(const mglu_weights_desc *desc, mglu_packed_weights *packed, struct part parts[MAX_PARTS]);

/* Bytes from row to row, and of all rows, as packed. */
size_t mglu_part_stride(const struct part *part);
size_t mglu_part_size(const struct part *part);
size_t mglu_part_scale_size(const struct part *part);

/* Bytes from row to row in the caller's form. */
size_t mglu_source_stride(const struct part *part);
size_t mglu_source_scale_stride(const struct part *part);

/* Sets the address of a part for the backend. */
void mglu_part_point_at(const struct part *part, const void *data, const void *scales);

/* packing.c: makes the packed arrays in weights->arena, except those that are borrowed. */
mglu_status mglu_pack_parts(mglu_weights *weights, const mglu_weights_desc *desc);
void mglu_free_arena(mglu_weights *weights);
/* Packs the masks of a desc, of which sizes, masks and flags are read; target NULL: checks words used in place. */
mglu_status mglu_pack_desc_masks(const mglu_weights_desc *desc, const mglu_parallel *parallel, void *target);

#endif
