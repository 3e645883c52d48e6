/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_GGUF_ARCHITECTURES_H
#define MGLU_IO_GGUF_ARCHITECTURES_H

/* What general.architecture says about feed-forward layers and their tensors do not. */
struct mglu_io_architecture {
    const char *name;
    const char *activation;
    int fused; /* ffn_up has the rows of the gate, then those of the value, where there is no ffn_gate */
};

/* NULL for a name that is not in the table, and for NULL. */
const struct mglu_io_architecture *mglu_io_architecture(const char *name);

#endif
