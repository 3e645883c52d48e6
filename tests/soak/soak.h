/* SPDX-License-Identifier: MIT */
#ifndef MGLU_SOAK_H
#define MGLU_SOAK_H

#include "tests/stress/require.h"
#include "tests/stress/specimen.h"
#include "tests/stress/training.h"

/** A device that every round uses: a backend, for CPUs with a cap of the instruction set. */
struct soak_device {
    char backend[32], max_isa[32];
    bool has_cap;
    float *want[SPECIMENS]; /**< the first result of each specimen, which all later ones must equal; NULL at first */
    struct training_result *trained[TRAININGS]; /**< the same of each training */
};

enum { SOAK_DEVICES = 16 };

struct soak {
    struct specimen specimens[SPECIMENS];
    struct training trainings[TRAININGS];
    struct soak_device devices[SOAK_DEVICES];
    size_t device_count;
    uint64_t round;
    char folder[64]; /**< for the files of a round and the devices' compiled programs */
};

/** The specimen whose turn it is on a device. */
static inline size_t soak_turn(const struct soak *soak, size_t device)
{
    return (size_t)(soak->round + device) % SPECIMENS;
}

/** Ends the program unless y has the bits of the device's first result. */
void soak_compare(struct soak *soak, size_t device, size_t specimen, const float *y);

/** Room for y of any specimen; ends the program without memory. */
float *soak_output(const struct soak *soak);

mglu_device *soak_open(const struct soak *soak, size_t device, mglu_context **context, const mglu_parallel *parallel);

/* Activities of a round. `device` is the number of a device, for those that use one. */

/** A context, a layer and a forward: soak_devices.c. */
void soak_device(struct soak *soak, size_t device);

/** A plan, a step of training: soak_devices.c. */
void soak_training(struct soak *soak, size_t device);

/** Files are written, read, mapped, packed and removed; a layer of one computes: soak_files.c. */
void soak_files(struct soak *soak, size_t device);

/** Calls that fail: wrong arguments, no memory, bad routing, missing or broken files and plug-ins: soak_errors.c. */
void soak_errors(struct soak *soak, size_t device);

/**
 * Makes more threads at once than a round has, which end. The C library keeps stacks of ended threads, up to a size:
 * how many depends on how many threads ran at once, and so on the load of the machine, unless it has all it keeps. The
 * same holds for arenas of malloc(), which threads that allocate at once each have their own of: so these allocate too.
 */
void soak_make_threads(void);

/** Threads are made, share a layer whose loops run on a pool, and end: soak_threads.c. */
void soak_threads(struct soak *soak, size_t device);

/** A child process uses the parent's context, then one of its own: soak_threads.c. */
void soak_fork(struct soak *soak, size_t device);

#endif
