/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_PACK_ROLES_H
#define MGLU_IO_PACK_ROLES_H

#include "common/io/file.h"

/* What packing does to a tensor. */
enum mglu_io_role {
    MGLU_IO_ROLE_PASS,          /* copies it */
    MGLU_IO_ROLE_FINITE,        /* refuses it unless every element is finite; F64 becomes F32 */
    MGLU_IO_ROLE_MATRIX,        /* the same, and converts it if requested; it was read with its scales, if any */
    MGLU_IO_ROLE_TRANSPOSED,    /* such a matrix whose rows are inputs: it can't be quantised */
    MGLU_IO_ROLE_MASKS,         /* packs it into words, under another name */
    MGLU_IO_ROLE_STACKED_MASKS, /* the same, for each of several experts */
    MGLU_IO_ROLE_SCALES,        /* refuses scales that are not finite, and copies them */
    MGLU_IO_ROLE_WORDS          /* copies words of masks, whose padding was checked with their layer */
};

/* Whether a projection has the name of a matrix in a block, whose name is then of this length. */
int mglu_io_is_in_block(const char *prefix, size_t *length);

/* Checks every layer and gives each tensor of the file its role; `roles` is all zero. Counts the layers with masks. */
mglu_status mglu_io_pack_roles(const mglu_file *file, unsigned char *roles, size_t *masked);

#endif
