/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_FAILING_DRIVER_H
#define MGLU_TESTS_FAILING_DRIVER_H

/* A real OpenCL driver any call of which can be made to fail: see failing_driver.c. */

/* Call number k from now on, from 0 on, fails with a code; `stays` is not used: no code of OpenCL's stays. */
void failing_break_at(int k, int code, int stays);
void failing_heal(void);
/* The call that failed since, or "". */
const char *failing_call(void);
/* Objects that were made or retained and not released. */
int failing_objects(void);

#endif
