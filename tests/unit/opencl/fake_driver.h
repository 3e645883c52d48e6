/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_FAKE_DRIVER_H
#define MGLU_TESTS_FAKE_DRIVER_H

#include "backends/opencl/opencl.h"

/**
 * @file
 * An OpenCL driver that computes nothing, counts every call, and fails on request. Its buffers are real memory.
 */

/** One number for each function of the driver. */
enum fake_function {
#define FAKE_NUMBER(name) FAKE_##name,
    MGLU_OPENCL_FUNCTIONS(FAKE_NUMBER)
#undef FAKE_NUMBER
        FAKE_FUNCTIONS
};

enum { FAKE_PLATFORMS = 3, FAKE_CALLBACKS = 8 };

struct fake_callback {
    void(CL_CALLBACK *notify)(cl_event event, cl_int state, void *user);
    void *user;
};

/** The behaviour of the driver. fake_reset() sets a working one: one platform with one GPU. */
struct fake {
    cl_uint platforms;
    cl_uint devices[FAKE_PLATFORMS];
    cl_device_type type;
    const char *version;
    cl_bool has_compiler;
    cl_ulong most_bytes;
    const char *log;            /**< of a build that fails */
    enum fake_function failing; /**< FAKE_FUNCTIONS: none */
    int failing_call;           /**< 1: its first call fails, and all after it */
    cl_int code;                /**< with this code */
    int calls[FAKE_FUNCTIONS];
    int live;         /**< objects that were made and not released */
    size_t most_made; /**< bytes of the largest buffer */
    int raised;       /**< the result of a read of one int */
    cl_int state;     /**< of every event: CL_COMPLETE, CL_RUNNING where the device hangs, or an error */
    int waits;        /**< calls that would have waited for ever, had the device hung */
    unsigned char binary[64];
    struct fake_callback waiting[FAKE_CALLBACKS]; /**< for the end of the work */
    int waiting_count;
};

extern struct fake fake;
extern const struct mglu_opencl_driver fake_driver;

void fake_reset(void);

/** Ends all work with CL_COMPLETE or an error, and calls back. */
void fake_end_work(cl_int state);

/** A backend "fake" on this driver, for mglu_context_add_backend(). */
const mglu_backend_fns *fake_backend(void);

#endif
