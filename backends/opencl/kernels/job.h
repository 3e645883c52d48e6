/* SPDX-License-Identifier: MIT */
#ifndef MGLU_OPENCL_JOB_H
#define MGLU_OPENCL_JOB_H

/*
 * The interface between the host and the kernels: the scalar arguments, passed by value. The 64-bit members come first,
 * so that the layout is the same on both sides. Offsets and strides count elements of their array.
 */

/* mglu_rows: `columns` products for each of `rows` rows and `tokens` tokens. */
struct mglu_rows_job {
    mglu_index x_offset, x_stride;
    mglu_index y_offset, y_stride;
    mglu_index residual_offset, residual_stride;
    mglu_index ids_offset, p_offset; /* of the routing in the workspace, [token][terms] */
    mglu_index weight_stride;        /* bytes */
    mglu_index bias_stride;          /* rows of the whole matrix */
    mglu_u32 columns, first_row, rows, tokens;
    mglu_u32 n_masks;          /* of the matrix; `terms` of them are summed */
    mglu_u32 activation;       /* mglu_activation */
    mglu_u32 x_dtype, y_dtype; /* mglu_dtype; the residual has that of y */
    mglu_u32 parts;            /* MGLU_HAS_* */
    float beta;
};

#define MGLU_HAS_GATE_BIAS  1
#define MGLU_HAS_VALUE_BIAS 2
#define MGLU_HAS_RESIDUAL   4

/* mglu_route: ids and weights of each token's masks. */
struct mglu_route_job {
    mglu_index given_ids_offset, given_ids_stride;
    mglu_index given_p_offset, given_p_stride;
    mglu_index logits_offset; /* in the workspace, [token][n_masks] */
    mglu_index ids_offset, p_offset;
    mglu_u32 tokens, terms, n_masks;
    mglu_u32 is_given;
};

#endif
