/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_MACHINE_H
#define MGLU_BENCH_MACHINE_H

/**
 * @file
 * The device under test and the limits of the machine: its read bandwidth and its peaks of multiply-adds.
 */

#include "kernels/kernels.h"
#include "options.h"
#include "problem.h"
#include "timer.h"
#include "tools/common/compute.h"
#include "tools/common/layer_log.h"

struct machine {
    struct compute compute;
    struct layer_log *layers;      /**< of the layer that was made last */
    struct timer timer;            /**< of the device's queue */
    char description[512];         /**< one line */
    const struct kernels *kernels; /**< of the device's instruction set */
    int threads;                   /**< of the host: the device's own, or a peer's */
    int64_t cache_bytes;           /**< of the last level; an assumption where the device does not report it */
    int64_t cold_bytes;            /**< of all copies of cold weights */
    int read;                      /**< index into the kernels' read loops */
    void *stream; /**< memory that is read to measure bandwidth; NULL for devices with memory of their own */
    size_t stream_bytes;
};

/** Opens the device that the options name. Reports why not. */
bool machine_open(struct machine *machine, const struct options *options);
void machine_close(struct machine *machine);

/** Reads the stream once with all threads, by the faster of the read loops; bytes per second. */
double machine_read_speed(const struct machine *machine);

/** The fastest unit that such a layer may use. */
const struct unit *machine_peak(const struct machine *machine, const struct problem *problem);

/** Runs a unit for some milliseconds on all threads; operations per second. */
double machine_peak_speed(const struct machine *machine, const struct unit *peak);

#endif
