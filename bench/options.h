/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_OPTIONS_H
#define MGLU_BENCH_OPTIONS_H

#include "tools/common/compute.h"

#include <mglu/mglu.h>

#include <stdbool.h>

enum { LIST_MAX = 32 };

enum op { OP_PROJECTION, OP_FFN, OP_ROUTED, OP_COUNT };
enum regime { REGIME_COLD, REGIME_WARM, REGIME_COUNT };

extern const char *const op_names[OP_COUNT];
extern const char *const regime_names[REGIME_COUNT];

struct shape {
    int64_t d, h;
};

/** A program to compare with: a script of mglu-bench, mglu-bench with another backend, or any command. */
struct peer_option {
    const char *name;
    const char *command; /**< NULL: the script of this name, else the backend of this name */
};

/** What to measure. Each list has at least one member, except peers. */
struct options {
    struct compute_options compute;
    const char *json;
    bool verbose;
    bool serve; /**< run as a peer instead */
    struct shape shapes[LIST_MAX];
    int32_t masks[LIST_MAX];
    int64_t batches[LIST_MAX];
    mglu_dtype dtypes[LIST_MAX];
    enum op ops[LIST_MAX];
    enum regime regimes[LIST_MAX];
    struct peer_option peers[LIST_MAX];
    int shape_count, mask_count, batch_count, dtype_count, op_count, regime_count, peer_count;
    mglu_dtype x_dtype; /**< of x and y */
    int32_t top_k;
    int64_t repeats;    /**< rounds; 0: as many as fit into `seconds` */
    double seconds;     /**< of each comparison */
    int64_t cold_bytes; /**< 0: three times the last-level cache */
};

/** Parses the command line and splits its lists, in place. A usage error ends the program. */
void options_parse(struct options *options, int argc, char **argv);

#endif
