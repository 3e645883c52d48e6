/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMON_LAYER_LOG_H
#define MGLU_TOOLS_COMMON_LAYER_LOG_H

/**
 * @file
 * What the library says of the layers that it makes (docs/embedding.md, "Environment"), kept for reports.
 */

#include <mglu/mglu.h>

#include <pthread.h>

enum { LAYER_LOG_LINES = 4, LAYER_LOG_LINE = 512 };

struct layer_log {
    mglu_logger logger;
    pthread_mutex_t lock;
    int count;
    char lines[LAYER_LOG_LINES][LAYER_LOG_LINE]; /**< the last ones, oldest first, none twice */
};

/**
 * A context's logger that fills the log, which must outlive the context. NULL where MGLU_LOG is set: the library's own
 * logger prints everything then, and nothing is kept.
 */
const mglu_logger *layer_log_open(struct layer_log *log);
void layer_log_close(struct layer_log *log);

/** Forgets all lines. No layer is made at that time. */
void layer_log_clear(struct layer_log *log);

/** Writes what stands between "kernel " and the reason in each line, as "A; B"; "" without a line. */
void layer_log_kernels(const struct layer_log *log, char *text, size_t size);

#endif
