/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_FAKE_DRIVER_H
#define MGLU_TEST_FAKE_DRIVER_H

#include <cuda.h>

/*
 * A CUDA driver without a GPU: a libcuda.so.1 whose devices' memory is the process's own and whose kernels are those of
 * the shim. It is as strict as the real one where that is easy: calls need a current context, copies and frees must lie
 * in memory that was allocated, a launch must be one that a device could do. Tests set what it pretends to be, make
 * calls fail, and read what was called.
 */

enum { FAKE_MOST_DEVICES = 4, FAKE_LOG_CALLS = 256, FAKE_REGISTERS = 64 /* of every kernel */ };

/* What the driver pretends to be. Read at every call. */
struct fake_settings {
    int device_count;
    int driver_version;
    int architecture;          /* 90 for sm_90 */
    int multiprocessors;       /* each with 228 KiB of shared memory in sm_90 and sm_100, else 100 KiB */
    int written_for;           /* architecture of the code that is found in a module */
    const char *hidden_symbol; /* that cuGetProcAddress does not find, or NULL */
    const char *failing_call;  /* as "cuMemAlloc"; NULL: any */
    int calls_before_failure;  /* that go well; negative: nothing fails */
    CUresult failure;
    int failure_stays; /* everything fails from then on, as after a fault on a device */
};

/* What is held now. All zero once a context is gone. */
struct fake_balance {
    int contexts, allocations, host_allocations, streams, modules;
    int pushed; /* contexts on this thread's stack */
};

/* A launch, as it was asked for. */
struct fake_launch {
    CUstream stream;
    char symbol[64];
    unsigned int grid_x, grid_y, block_x, shared_bytes;
    int overlaps; /* programmatic stream serialization was allowed */
};

struct fake_settings *fake_settings(void);
struct fake_balance fake_balance(void);

/* Back to one sm_90 device on which nothing fails, and an empty log. What is held stays. */
void fake_reset(void);

/* Names of the calls since the last clearing, in order, and the launches among them. */
void fake_log_clear(void);
int fake_log_count(void);
const char *fake_log_call(int index);
int fake_launch_count(void);
struct fake_launch fake_launch_at(int index);

/* Bytes of device memory that is held, and a copy of an allocation's bytes; NULL when `address` is none. */
size_t fake_device_bytes(void);
const void *fake_device_memory(CUdeviceptr address, size_t *size);

#endif
