/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_FAKE_DEVICE_H
#define MGLU_TESTS_FAKE_DEVICE_H

#include "fake_driver.h"

/** @file The platforms and devices of the fake driver; fake_driver.c has its other functions. */

/** Counts a call and returns the code that the call must return. */
cl_int fake_call(enum fake_function function);

/** Answers a question with `count` bytes. */
cl_int fake_give(void *value, size_t size, const void *from, size_t count);

cl_int CL_API_CALL fake_get_platforms(cl_uint room, cl_platform_id *ids, cl_uint *count);
cl_int CL_API_CALL fake_get_platform_info(cl_platform_id id, cl_platform_info what, size_t size, void *value,
                                          size_t *needed);
cl_int CL_API_CALL fake_get_devices(cl_platform_id id, cl_device_type type, cl_uint room, cl_device_id *ids,
                                    cl_uint *count);
cl_int CL_API_CALL fake_get_device_info(cl_device_id id, cl_device_info what, size_t size, void *value, size_t *needed);

#endif
