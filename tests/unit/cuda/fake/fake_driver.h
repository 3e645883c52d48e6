/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_FAKE_DRIVER_H
#define MGLU_TEST_FAKE_DRIVER_H

#include <cuda.h>

/*
 * A CUDA driver without a GPU: a libcuda.so.1 whose device memory is memory of the process and whose kernels are those
 * of the shim. It checks, as the real one does, that calls have a current context, that copies and frees are of
 * allocated memory, and that a launch is possible on the device. Tests set the properties of the driver, make calls
 * fail, and read the log of calls.
 */

enum { FAKE_MOST_DEVICES = 4, FAKE_LOG_CALLS = 256, FAKE_REGISTERS = 64 /* of every kernel */ };

#define FAKE_EVERY_CALL "*"

/* The properties of the driver. Read at every call. */
struct fake_settings {
    int device_count;
    int driver_version;
    int architecture;          /* 90 for sm_90 */
    int multiprocessors;       /* each with 228 KiB of shared memory in sm_90 and sm_100, else 100 KiB */
    int written_for;           /* architecture of the code that is found in a module */
    int reads_host_memory;     /* of the process, that the driver has not allocated */
    const char *hidden_symbol; /* that cuGetProcAddress does not find, or NULL */
    const char *failing_call;  /* as "cuMemAlloc", or FAKE_EVERY_CALL; NULL: any but those on the stack of contexts */
    int calls_before_failure;  /* calls that succeed first; negative: nothing fails */
    CUresult failure;
    int failure_stays;      /* all later calls fail too, as after a fault of a device */
    int is_hanging;         /* kernels that are launched do not run before fake_end_work() */
    int queries_before_end; /* above 0: that many questions for a stream later their time has come */
};

/* What is allocated now. All zero once a context is destroyed. */
struct fake_balance {
    int contexts, allocations, host_allocations, streams, modules;
    int pushed; /* contexts on this thread's stack */
};

/* The parameters of a launch. */
struct fake_launch {
    CUstream stream;
    char symbol[64];
    unsigned int grid_x, grid_y, block_x, shared_bytes;
    int overlaps; /* programmatic stream serialization was allowed */
};

struct fake_settings *fake_settings(void);
struct fake_balance fake_balance(void);

/* Resets to one sm_90 device on which nothing fails, and an empty log. What is allocated is kept. */
void fake_reset(void);

/* Names of the calls since the last clearing, in order, and the launches among them. */
void fake_log_clear(void);
int fake_log_count(void);
const char *fake_log_call(int index);
/* The first call that was made to fail since the reset, or "". */
const char *fake_failed_call(void);

/* Runs the kernels that hang, in the order of their launches. */
void fake_end_work(void);
/* Forgets them, as a context that a fault has ended does. */
void fake_drop_work(void);
/* Frees all that is allocated, as the end of the process would. */
void fake_forget(void);
/* Calls that waited for one: on a device none of them would have returned. */
int fake_hanging_calls(void);

int fake_launch_count(void);
struct fake_launch fake_launch_at(int index);

/* Allocated bytes of device memory, and a copy of an allocation's bytes; NULL when `address` is not of one. */
size_t fake_device_bytes(void);
const void *fake_device_memory(CUdeviceptr address, size_t *size);

#endif
