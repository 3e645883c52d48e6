/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_LAYOUT_H
#define MGLU_IO_LAYOUT_H

#include "common/io/file.h"

/*
 * How files name the matrices of a gated linear unit. A block M has the matrices M.gate and M.value, or one matrix with
 * the rows of both, and may have M.down. A masked layer is one matrix under either name. docs/format.md has the table.
 */
struct mglu_io_layout {
    const char *gate;
    const char *value; /* NULL: its rows are in the gate's matrix */
    const char *down;
    int shared_name; /* units without a gate have these names too: only M.down, by its columns, tells them apart */
};

enum { MGLU_IO_LAYOUTS = 7 };

extern const struct mglu_io_layout mglu_io_layouts[MGLU_IO_LAYOUTS];

/* The names of matrices to look for, for an error message. */
extern const char mglu_io_known_layouts[];

/* Where the tensors of a layer are: under the layer's own name, or in stacks, as one of several experts. */
struct mglu_io_place {
    const mglu_file *file;
    char *stem;      /* what precedes the name of a matrix */
    char *name;      /* room for the name of any tensor of the layer */
    size_t room;     /* its size */
    int64_t expert;  /* -1: not in stacks */
    int64_t experts; /* in each stack; 0: not known yet */
};

/* Frees nothing on success; mglu_io_place_clear() does, also after a failure. `length` bytes of `prefix` count. */
mglu_status mglu_io_place_make(struct mglu_io_place *place, const mglu_file *file, const char *prefix, size_t length,
                               int64_t expert);

void mglu_io_place_clear(struct mglu_io_place *place);

/*
 * The tensor stem.inner.leaf, or NULL; empty parts are omitted with their dot. A stack may also be named stem.inner
 * (its weight), and stem.inner_leaf.
 */
const mglu_file_tensor *mglu_io_place_find(const struct mglu_io_place *place, const char *inner, const char *leaf);

/* The same, of a stack the part of this place's expert. `part->name` is NULL when there is no such tensor. */
mglu_status mglu_io_place_take(struct mglu_io_place *place, const char *inner, const char *leaf,
                               mglu_file_tensor *part);

/* Whether the matrix stem.inner has masks, packed or not. */
int mglu_io_place_masked(const struct mglu_io_place *place, const char *inner);

/* The weight stem.inner, if it can be one of this place: a stack has a dimension more. NULL for an `inner` of NULL. */
const mglu_file_tensor *mglu_io_place_weight(const struct mglu_io_place *place, const char *inner);

enum mglu_io_form {
    MGLU_IO_FORM_NONE,
    MGLU_IO_FORM_GATE_MASKED, /* masks on the matrix of the gate's name */
    MGLU_IO_FORM_VALUE_MASKED,
    MGLU_IO_FORM_PLAIN
};

/* Which kind of block of this layout is at a place. */
enum mglu_io_form mglu_io_layout_form(const struct mglu_io_layout *layout, const struct mglu_io_place *place);

/*
 * Splits the name of an expert's layer, A.N or A.N.B, before the number: sets the length of A, N and B ("" for A.N).
 * Returns 0 for any other name.
 */
int mglu_io_split_expert(const char *prefix, size_t *length, int64_t *expert, const char **inner);

#endif
