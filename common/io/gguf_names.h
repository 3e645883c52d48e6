/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_NAMES_H
#define MGLU_IO_GGUF_NAMES_H

/*
 * The tensors of feed-forward layers in GGUF files: block, part and leaf, as "blk.7", "ffn_up_exps", "weight".
 *
 *   ffn_gate, ffn_up, ffn_down   each alone, with _shexp (experts that see every token) or _exps (stacks of experts)
 *   ffn_mglu                     the projection of a masked layer, which mglu writes; ffn_down beside it
 */

enum mglu_io_gguf_group { MGLU_IO_GGUF_DENSE, MGLU_IO_GGUF_SHARED, MGLU_IO_GGUF_EXPERTS, MGLU_IO_GGUF_GROUPS };

enum mglu_io_gguf_stem {
    MGLU_IO_GGUF_GATE,
    MGLU_IO_GGUF_UP,
    MGLU_IO_GGUF_DOWN,
    MGLU_IO_GGUF_STEMS,
    MGLU_IO_GGUF_MASKED = MGLU_IO_GGUF_STEMS
};

enum { MGLU_IO_GGUF_BLOCK_TEXT = 16 };

struct mglu_io_gguf_name {
    char block[MGLU_IO_GGUF_BLOCK_TEXT]; /* "blk.7" */
    enum mglu_io_gguf_group group;
    enum mglu_io_gguf_stem stem;
    const char *leaf;
};

enum mglu_io_gguf_kind {
    MGLU_IO_GGUF_OTHER,  /* outside of feed-forward layers */
    MGLU_IO_GGUF_PART,   /* a part of a layer */
    MGLU_IO_GGUF_UNKNOWN /* a feed-forward tensor that the library does not know, so the layer would be wrong */
};

/* Takes a tensor's name apart; `parsed` is set for a part, and points into `name`. */
enum mglu_io_gguf_kind mglu_io_gguf_parse(const char *name, struct mglu_io_gguf_name *parsed);

/* "ffn_up_exps" */
const char *mglu_io_gguf_part(enum mglu_io_gguf_group group, enum mglu_io_gguf_stem stem);

/* The name of a stem in the library: "gate_proj", "up_proj", "down_proj". */
const char *mglu_io_gguf_inner(enum mglu_io_gguf_stem stem);

#endif
